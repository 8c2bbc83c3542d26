/*
 * From a capture to a plan: what went through rings. A request that was made available is put into the ring
 * that the session has, with its contents, and has to come back as it did then; a kick is a kick.
 */
#include "trace_plan.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

enum {
	EVENT_VALUE_AT = 8,
	BLK_HEAD = 16,
};

/* A ring while it is played. */
struct trace_ring {
	bool laid;	     /* its area is in the capture: what is made available stands there */
	bool fresh;	     /* nothing came back since it has its base */
	uint16_t base, made; /* where it began; requests since then */
	uint64_t *out;	     /* a bit for each head that was sent and did not come back */
};

/* A request as the record tells it. */
struct request {
	unsigned queue;
	uint16_t head;
	size_t n;
	const uint8_t *entries, *data;
	size_t n_data;
};

static struct trace_ring *ring_at(struct trace_compile *c, struct track *t, uint64_t queue)
{
	if (!t->rings)
		t->rings = vhu_arena_array(c->arena, VHU_SESSION_RINGS, sizeof(*t->rings));
	return t->rings ? &t->rings[queue] : NULL;
}

int vhu_trace_note_ring(struct trace_compile *c, struct track *t, const struct vhu_frame *f)
{
	const struct vhu_msg_row *row = vhu_frame_row(f);
	uint64_t queue = vhu_frame_u64(f, "index");
	struct trace_ring *ring;

	if (!row || row->msg != VHU_MSG_SET_VRING_BASE || queue >= VHU_SESSION_RINGS)
		return 0;
	ring = ring_at(c, t, queue);
	if (!ring)
		return -ENOMEM;
	*ring = (struct trace_ring){.fresh = true, .base = (uint16_t)vhu_frame_u64(f, "num")};
	return 0;
}

/* An area with an available ring in it. */
int vhu_trace_note_area(struct trace_compile *c, struct track *t, uint64_t uaddr, uint64_t len)
{
	for (unsigned q = 0; q < VHU_SESSION_RINGS; q++) {
		const struct vhu_ring_state *state = vhu_session_ring(t->session, q);
		struct trace_ring *ring;

		if (!state || !state->addr_set || state->avail - uaddr >= len)
			continue;
		ring = ring_at(c, t, q);
		if (!ring)
			return -ENOMEM;
		ring->laid = true;
	}
	return 0;
}

/* --- what stands in a record ------------------------------------------------------------------------- */

static bool parse(const struct vhu_record *r, struct request *ret)
{
	size_t table;

	if (r->len < VHU_CAP_AVAIL_HEAD)
		return false;
	ret->n = (size_t)vhu_le_get(r->payload + 6, 2);
	ret->n_data = (size_t)vhu_le_get(r->payload + 12, 4);
	table = ret->n * VHU_CAP_AVAIL_ENTRY;
	if (!ret->n || r->len - VHU_CAP_AVAIL_HEAD < table ||
	    r->len - VHU_CAP_AVAIL_HEAD - table < ret->n_data)
		return false;
	ret->head = (uint16_t)vhu_le_get(r->payload + 4, 2);
	ret->entries = r->payload + VHU_CAP_AVAIL_HEAD;
	ret->data = ret->entries + table;
	return true;
}

static uint64_t entry_addr(const struct request *q, size_t i)
{
	return vhu_le_get(q->entries + i * VHU_CAP_AVAIL_ENTRY, 8);
}

static uint32_t entry_len(const struct request *q, size_t i)
{
	return (uint32_t)vhu_le_get(q->entries + i * VHU_CAP_AVAIL_ENTRY + 8, 4);
}

static unsigned entry_flags(const struct request *q, size_t i)
{
	return (unsigned)vhu_le_get(q->entries + i * VHU_CAP_AVAIL_ENTRY + 12, 2);
}

static unsigned entry_id(const struct request *q, size_t i)
{
	return (unsigned)vhu_le_get(q->entries + i * VHU_CAP_AVAIL_ENTRY + 14, 2);
}

/* A recorder that does not say in which place of the table a descriptor stood leaves them one after the
 * other. */
static unsigned slot_of(const struct request *q, size_t i, unsigned num)
{
	bool told = entry_id(q, 0) == q->head;

	for (size_t k = 1; k < q->n && told; k++)
		told = entry_id(q, k) < num && entry_id(q, k) != entry_id(q, k - 1);
	return told ? entry_id(q, i) : (q->head + (unsigned)i) % num;
}

static bool reads_only(const struct trace_compile *c, const struct request *q)
{
	static const uint32_t types[] = {VHU_C_BLK_T_IN, VHU_C_BLK_T_FLUSH, VHU_C_BLK_T_GET_ID};
	uint32_t type = q->n_data >= BLK_HEAD ? (uint32_t)vhu_le_get(q->data, 4) : VHU_C_BLK_T_IN;

	for (size_t i = 0; i < VHU_ARRAY_SIZE(types); i++)
		if (type == types[i])
			return true;
	return c->opts->device != VHU_DEV_BLK;
}

/* --- into our memory ----------------------------------------------------------------------------------- */

/* Where a guest address is for the front-end; false: in no region. */
static bool to_user(const struct vhu_session *s, uint64_t gpa, uint64_t len, uint64_t *ret)
{
	for (size_t i = 0; i < s->n_regions; i++) {
		uint64_t at = gpa - s->region[i].gpa;

		if (at < s->region[i].size && len <= s->region[i].size - at) {
			*ret = s->region[i].uaddr + at;
			return true;
		}
	}
	return false;
}

/* `n` bytes, and zeroes behind them. */
static int fill(struct trace_compile *c, const struct track *t, const struct vhu_record *r, uint64_t uaddr,
		const void *bytes, size_t n, uint64_t len)
{
	struct vhu_step *s;

	if (n && n < len) {
		int rc = fill(c, t, r, uaddr, bytes, n, n);

		return rc == 0 ? fill(c, t, r, uaddr + n, NULL, 0, len - n) : rc;
	}
	s = vhu_trace_step(c, VHU_VERB_FILL, t, r);
	if (!s)
		return -ENOMEM;
	s->fill.uaddr = uaddr;
	s->fill.len = len;
	s->fill.n_bytes = n;
	if (!n)
		return 0;
	s->fill.bytes = vhu_arena_memdup(c->arena, bytes, n);
	return s->fill.bytes ? 0 : vhu_err_errno(c->err, -ENOMEM, "capture");
}

static int fill_u16(struct trace_compile *c, const struct track *t, const struct vhu_record *r,
		    uint64_t uaddr, uint16_t value)
{
	value = htole16(value);
	return fill(c, t, r, uaddr, &value, sizeof(value), sizeof(value));
}

/* Descriptors, and the bytes that the device will read: what was there before would be another request. */
static int fill_chain(struct trace_compile *c, const struct track *t, const struct vhu_record *r,
		      const struct request *q, const struct vhu_ring_state *state)
{
	size_t at = 0;
	int rc = 0;

	for (size_t i = 0; i < q->n && rc == 0; i++) {
		bool more = i + 1 < q->n, write = entry_flags(q, i) & VHU_C_DESC_F_WRITE;
		uint32_t len = entry_len(q, i);
		size_t n = write ? 0 : VHU_MIN((size_t)len, q->n_data - at);
		uint8_t desc[VHU_C_DESC_SIZE];
		uint64_t uaddr;

		vhu_le_put(desc, 8, entry_addr(q, i));
		vhu_le_put(desc + 8, 4, entry_len(q, i));
		vhu_le_put(desc + 12, 2, (more ? VHU_C_DESC_F_NEXT : 0) | (write ? VHU_C_DESC_F_WRITE : 0));
		vhu_le_put(desc + 14, 2, more ? slot_of(q, i + 1, state->num) : 0);
		rc = fill(c, t, r, state->desc + (uint64_t)slot_of(q, i, state->num) * sizeof(desc), desc,
			  sizeof(desc), sizeof(desc));
		if (rc == 0 && !write && len && to_user(t->session, entry_addr(q, i), len, &uaddr))
			rc = fill(c, t, r, uaddr, q->data + at, n, len);
		at += n;
	}
	return rc;
}

/* Whether it can be put into the ring as that is now. */
static bool fits(const struct trace_compile *c, const struct track *t, const struct request *q,
		 const struct vhu_ring_state *state, const struct trace_ring *ring)
{
	if (!state || !state->addr_set || !state->num || state->num > VHU_C_VRING_SIZE_MAX || !ring ||
	    ring->laid || q->n > state->num || q->head >= state->num ||
	    vhu_session_features(t->session) & VHU_V(VIRTIO_F_RING_PACKED))
		return false;
	for (size_t i = 0; i < q->n; i++)
		if (entry_flags(q, i) & VHU_C_DESC_F_INDIRECT)
			return false;
	return c->opts->writes || reads_only(c, q);
}

static int offer(struct trace_compile *c, struct track *t, const struct vhu_record *r)
{
	struct request q = {.queue = r->len >= 4 ? (unsigned)vhu_le_get(r->payload, 4) : UINT32_MAX};
	const struct vhu_ring_state *state = vhu_session_ring(t->session, q.queue);
	struct trace_ring *ring = state && t->rings ? &t->rings[q.queue] : NULL;
	uint16_t at;
	int rc;

	if (!parse(r, &q) || !fits(c, t, &q, state, ring)) {
		c->no_ring++;
		return 0;
	}
	if (!ring->out)
		ring->out = vhu_arena_array(c->arena, (VHU_C_VRING_SIZE_MAX + 63) / 64, sizeof(*ring->out));
	if (!ring->out)
		return vhu_err_errno(c->err, -ENOMEM, "capture");
	at = (uint16_t)(ring->base + ring->made++);
	ring->out[q.head / 64] |= UINT64_C(1) << q.head % 64;
	c->bare += !q.n_data;
	rc = fill_chain(c, t, r, &q, state);
	if (rc == 0)
		rc = fill_u16(c, t, r, state->avail + VHU_AVAIL_RING + 2 * (uint64_t)(at % state->num),
			      q.head);
	return rc == 0 ? fill_u16(c, t, r, state->avail + VHU_AVAIL_IDX, (uint16_t)(at + 1)) : rc;
}

/* What was sent comes back. */
static int await_used(struct trace_compile *c, struct track *t, const struct vhu_record *r)
{
	unsigned queue = r->len >= VHU_CAP_USED_HEAD ? (unsigned)vhu_le_get(r->payload, 4) : UINT32_MAX;
	uint32_t id = r->len >= VHU_CAP_USED_HEAD ? (uint32_t)vhu_le_get(r->payload + 4, 4) : UINT32_MAX;
	const struct vhu_ring_state *state = vhu_session_ring(t->session, queue);
	struct trace_ring *ring = state && t->rings ? &t->rings[queue] : NULL;
	struct vhu_step *s;

	if (!ring || !ring->out || id >= VHU_C_VRING_SIZE_MAX || !(ring->out[id / 64] >> id % 64 & 1)) {
		c->no_ring++;
		return 0;
	}
	ring->out[id / 64] &= ~(UINT64_C(1) << id % 64);
	s = vhu_trace_step(c, VHU_VERB_USED, t, r);
	if (!s)
		return -ENOMEM;
	s->used = (struct vhu_step_used){.queue = queue,
					 .uaddr = state->used,
					 .num = state->num,
					 .base = ring->base,
					 .fresh = ring->fresh,
					 .id = id,
					 .len = (uint32_t)vhu_le_get(r->payload + 8, 4)};
	ring->fresh = false;
	return 0;
}

static int kick(struct trace_compile *c, const struct track *t, const struct vhu_record *r)
{
	uint64_t queue = r->len >= VHU_CAP_EVENT_LEN ? vhu_le_get(r->payload, 4) : UINT64_MAX;
	struct vhu_step *s;

	if (!t->kicks || queue >= VHU_SESSION_RINGS || !t->kicks[queue]) {
		c->no_ring++;
		return 0;
	}
	s = vhu_trace_step(c, VHU_VERB_SIGNAL, t, r);
	if (!s)
		return -ENOMEM;
	s->signal.object = t->kicks[queue] - 1;
	s->signal.value = vhu_le_get(r->payload + EVENT_VALUE_AT, 8);
	return 0;
}

int vhu_trace_ring(struct trace_compile *c, struct track *t, const struct vhu_record *r)
{
	/* Calls, and where a ring lies, are the back-end's doing, or said by messages. */
	if (r->kind == VHU_CAP_RING_CALL || r->kind == VHU_CAP_RING_LAYOUT)
		return 0;
	if (c->opts->io || !t->opened || t->closed) {
		c->no_ring++;
		return 0;
	}
	switch (r->kind) {
	case VHU_CAP_RING_KICK:
		return kick(c, t, r);
	case VHU_CAP_RING_AVAIL:
		return offer(c, t, r);
	case VHU_CAP_RING_USED:
		return await_used(c, t, r);
	default:
		c->no_ring++;
		return 0;
	}
}
