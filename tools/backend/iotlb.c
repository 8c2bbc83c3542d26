/*
 * The translation cache of the device: IOTLB_MSG fills and empties it, misses go out on the back-end
 * channel.
 */
#include <sys/socket.h>

#include "fault.h"
#include "options.h"
#include "session.h"

enum { PAGE = 4096 };

bool iotlb_on(const struct session *s)
{
	return s->features & V(VIRTIO_F_ACCESS_PLATFORM);
}

void iotlb_clear(struct session *s)
{
	if (!fault(iotlb_kept))
		s->iotlb.n = 0;
	s->iotlb.n_misses = 0;
}

void iotlb_ask_again(struct session *s)
{
	s->iotlb.n_misses = 0;
}

/* --- questions ----------------------------------------------------------------------------------- */

static bool tell(struct session *s, unsigned type, uint64_t iova, unsigned perm)
{
	uint8_t payload[PMAX_IOTLB] = {0};

	if (s->channel.src.fd < 0 || fault(iotlb_miss_never))
		return false;
	if (fault(iotlb_type) && type == C_IOTLB_MISS)
		type = C_IOTLB_INVALIDATE;
	FIELD_SET(payload, IOTLB, iova, fault(iotlb_miss_page) ? iova / PAGE : iova);
	FIELD_SET(payload, IOTLB, perm, fault(iotlb_perm_shifted) ? perm << 1 : perm);
	FIELD_SET(payload, IOTLB, type, type);
	if (wire_send(&s->channel, MSG_BACKEND_BACKEND_IOTLB_MSG, C_HEADER_VERSION, payload, sizeof(payload),
		      -1) == 0)
		return true;
	return false;
}

/* What a reader does that looks for the answer and for nothing else. */
static void wait_for_main(const struct session *s)
{
	uint8_t byte;

	while (recv(s->wire.src.fd, &byte, sizeof(byte), MSG_PEEK | MSG_DONTWAIT) <= 0)
		fault_pause_ms(1);
}

static void ask(struct session *s, uint64_t iova, unsigned perm)
{
	struct iotlb *t = &s->iotlb;
	uint64_t page = iova - iova % PAGE;

	for (unsigned i = 0; i < t->n_misses; i++) {
		if (t->misses[i].page == page && (t->misses[i].perm & perm) == perm)
			return;
	}
	/* The rest is asked for when one of these is answered. */
	if (t->n_misses < IOTLB_MISSES && tell(s, C_IOTLB_MISS, iova, perm))
		t->misses[t->n_misses++] = (struct miss){.page = page, .perm = perm};
	if (fault(iotlb_miss_blocks) && s->channel.src.fd >= 0)
		wait_for_main(s);
}

/* What the new entry answers is no question any more; what it denies is told once. */
static void answered(struct session *s, const struct translation *e)
{
	struct iotlb *t = &s->iotlb;
	unsigned kept = 0;

	for (unsigned i = 0; i < t->n_misses; i++) {
		struct miss m = t->misses[i];

		if (m.page + PAGE - 1 < e->first || m.page > e->last) {
			t->misses[kept++] = m;
			continue;
		}
		if ((m.perm & e->perm) == m.perm)
			continue;
		if (!m.denied)
			m.denied = tell(s, C_IOTLB_ACCESS_FAIL, m.page, m.perm);
		t->misses[kept++] = m;
	}
	t->n_misses = kept;
}

/* --- the cache ----------------------------------------------------------------------------------- */

static void insert(struct iotlb *t, const struct translation *e)
{
	if (t->n < IOTLB_ENTRIES)
		t->entries[t->n++] = *e;
	else
		t->entries[t->victim++ % IOTLB_ENTRIES] = *e;
}

/* Takes a range out; what an entry has on both sides of it stays. */
static void cut(struct iotlb *t, uint64_t first, uint64_t last)
{
	for (unsigned i = 0; i < t->n;) {
		struct translation e = t->entries[i], rest = e;

		if (e.first > last || e.last < first || (fault(iotlb_invalidate_start) && e.first != first)) {
			i++;
			continue;
		}
		t->entries[i] = t->entries[--t->n];
		if (e.first < first) {
			rest.last = first - 1;
			insert(t, &rest);
		}
		if (e.last > last) {
			rest = e;
			rest.first = last + 1;
			rest.addr += rest.first - e.first;
			insert(t, &rest);
		}
	}
}

static uint8_t *target_of(struct session *s, uint64_t addr, uint64_t *len, uint64_t *ret_gpa)
{
	if (!(s->pfeatures & P(GPA_ADDRESSES)))
		return memory_user(&s->mem, addr, len, ret_gpa);
	if (fault(iotlb_gpa_pointer))
		return NULL;
	if (ret_gpa)
		*ret_gpa = addr;
	return memory_gpa(&s->mem, addr, len);
}

static bool in_memory(struct session *s, uint64_t addr, uint64_t size)
{
	uint64_t len;

	for (; size; size -= len, addr += len) {
		len = size;
		if (!target_of(s, addr, &len, NULL))
			return false;
	}
	return true;
}

static uint8_t *translate(struct session *s, uint64_t iova, uint64_t *len, unsigned perm, uint64_t *ret_gpa)
{
	struct iotlb *t = &s->iotlb;

	if (fault(iotlb_perm_both))
		perm = PERM_READ | PERM_WRITE;
	for (unsigned i = 0; i < t->n; i++) {
		const struct translation *e = &t->entries[i];

		if (iova < e->first || iova > e->last)
			continue;
		if ((e->perm & perm) != perm && !fault(iotlb_perm_ignored))
			break;
		if (e->last - iova < *len - 1 && !fault(iotlb_span_first))
			*len = e->last - iova + 1;
		return target_of(s, e->addr + (iova - e->first), len, ret_gpa);
	}
	t->stalled = true;
	ask(s, iova, perm);
	return NULL;
}

uint8_t *dma_at(struct session *s, uint64_t addr, uint64_t *len, unsigned perm, uint64_t *ret_gpa)
{
	if (iotlb_on(s) && !(fault(iotlb_gpa_first) && memory_gpa(&s->mem, addr, len)))
		return translate(s, addr, len, perm, ret_gpa);
	if (ret_gpa)
		*ret_gpa = addr;
	return memory_gpa(&s->mem, addr, len);
}

/* Translations of neighbouring pages may be as many as there are pages: each is looked up, or asked for. */
static uint8_t *translate_ring(struct session *s, uint64_t addr, uint64_t size, unsigned perm,
			       uint64_t *ret_gpa)
{
	uint8_t *start = NULL;
	bool whole = true;

	for (uint64_t at = 0, len; at < size; at += len) {
		uint64_t gpa = 0;
		uint8_t *p;

		len = size - at;
		p = translate(s, addr + at, &len, perm, &gpa);
		if (!p)
			len = PAGE - (addr + at) % PAGE;
		if (!at) {
			start = p;
			*ret_gpa = gpa;
		}
		whole &= p && p == start + at;
	}
	return whole ? start : NULL;
}

uint8_t *dma_ring(struct session *s, uint64_t addr, uint64_t len, unsigned perm, uint64_t *ret_gpa)
{
	uint64_t got = len;
	uint8_t *p;

	if (!iotlb_on(s) && fault(iotlb_unneg_miss))
		tell(s, C_IOTLB_MISS, addr, perm);
	if (iotlb_on(s) && !fault(iotlb_ring_user))
		return translate_ring(s, addr, len, perm, ret_gpa);
	*ret_gpa = addr;
	if (!(s->pfeatures & P(GPA_ADDRESSES)))
		return memory_uva(&s->mem, addr, len);
	if (fault(mem_gpa_pointer))
		return NULL;
	p = memory_gpa(&s->mem, addr, &got);
	return got == len ? p : NULL;
}

/* --- the message --------------------------------------------------------------------------------- */

static bool update(struct session *s, const uint8_t *p, uint64_t first, uint64_t last)
{
	struct translation e = {.first = first,
				.last = last,
				.addr = FIELD(p, IOTLB, uaddr),
				.perm = (unsigned)FIELD(p, IOTLB, perm)};

	if (e.perm > (PERM_READ | PERM_WRITE))
		return false;
	if (!in_memory(s, e.addr, last - first + 1)) {
		if (fault(iotlb_outside_crash))
			fault_crash();
		return fault(iotlb_outside_taken);
	}
	if (fault(iotlb_update_lost))
		return true;
	cut(&s->iotlb, first, last);
	insert(&s->iotlb, &e);
	answered(s, &e);
	return true;
}

static void invalidate(struct iotlb *t, uint64_t first, uint64_t last)
{
	unsigned before = t->n;

	if (fault(iotlb_invalidate_noop))
		return;
	cut(t, first, last);
	if (fault(iotlb_unknown_crash) && t->n == before)
		fault_crash();
}

static bool serve(struct session *s, const uint8_t *p)
{
	uint64_t first = FIELD(p, IOTLB, iova), size = FIELD(p, IOTLB, size), last = first + size - 1;
	uint64_t type = FIELD(p, IOTLB, type);

	if (!iotlb_on(s))
		return false;
	if (!size || last < first) {
		if (fault(iotlb_size_crash))
			fault_crash();
		return false;
	}
	if (fault(iotlb_type_crash) && type != C_IOTLB_UPDATE && type != C_IOTLB_INVALIDATE)
		fault_crash();
	if (type == C_IOTLB_INVALIDATE)
		invalidate(&s->iotlb, first, last);
	else if (type != C_IOTLB_UPDATE || !update(s, p, first, last))
		return false;
	/* Who waited goes on; whose ring lost a page asks for it. */
	session_remap(s);
	return true;
}

static bool answer_lost(const struct session *s, const struct msg *m)
{
	uint64_t type = FIELD(m->payload, IOTLB, type);

	return fault(iotlb_answer_never) || (fault(iotlb_unneg_silent) && !iotlb_on(s)) ||
	       (fault(iotlb_type_silent) && type != C_IOTLB_UPDATE && type != C_IOTLB_INVALIDATE);
}

/* Front-ends ask for the answer whether REPLY_ACK was negotiated or not. */
enum result msg_iotlb(struct session *s, struct msg *m, struct reply *r)
{
	bool ok = serve(s, m->payload);

	if (!ok)
		remark("IOTLB_MSG: type %llu is refused",
		       (unsigned long long)FIELD(m->payload, IOTLB, type));
	FIELD_SET(r->payload, U64, u64, !ok || fault(iotlb_answer_nonzero));
	r->size = PMAX_U64;
	if ((m->flags & C_HEADER_NEED_REPLY) && !answer_lost(s, m))
		session_answer(s, m->request, r->payload, r->size, -1);
	return RES_HANDLED;
}
