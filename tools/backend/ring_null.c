/*
 * The way of --null: requests are completed where they are found, without being collected, executed and
 * returned one by one. Whatever is not as usual is left to the ordinary way.
 */
#include <endian.h>

#include "fault.h"
#include "inflight.h"
#include "iotlb.h"
#include "options.h"
#include "session.h"

enum {
	CHAIN_MAX = 8, /* descriptors that are walked here */
	BATCH = 64,    /* requests between two looks at anything else */
	SPINS = 4000,  /* looks in vain at a polled ring before the others have their turn */
	HEADER = 16,
	LINE = 64,     /* of the cache */
	ELEMENT = 8,   /* of the used ring */
};

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

static bool faultless(void)
{
	static enum { UNKNOWN, NONE, SOME } faults;

	if (faults == UNKNOWN)
		faults = fault_any("") ? SOME : NONE;
	return faults == NONE;
}

static bool applies(const struct ring *r)
{
	return options.null && !options.reorder && !options.latency_ns && faultless() &&
	       format_of(r) == &split_format && !inflight_tracks(r) && !iotlb_on(r->s) && !r->log_used &&
	       !(r->s->features & V(VHOST_F_LOG_ALL)) && r->next_redo == r->n_redo &&
	       r->done == r->last_avail && !strcmp(r->s->dev->name, "blk");
}

/* Where a chain's header lies; NULL: not as usual. Another processor has it, so it is asked for early. */
static uint8_t *header_of(const struct ring *r, uint16_t head)
{
	const struct desc *d = (const struct desc *)(const void *)r->desc + head;
	uint64_t len = HEADER;
	uint8_t *header;

	if (head >= r->num || le32toh(d->len) != HEADER || (le16toh(d->flags) & C_DESC_F_INDIRECT))
		return NULL;
	header = memory_gpa(&r->s->mem, le64toh(d->addr), &len);
	if (!header || len < HEADER)
		return NULL;
	__builtin_prefetch(header, 1);
	return header;
}

/* After the header what the device writes, its status last: where that goes, and for how many bytes. */
static uint8_t *status_of(const struct ring *r, uint16_t head, const uint8_t *header, uint32_t *ret_len)
{
	const struct desc *table = (const struct desc *)(const void *)r->desc;
	uint64_t addr = 0, one = 1;
	uint32_t written = 0, last = 0, type;

	memcpy(&type, header, sizeof(type));
	if (le32toh(type) > C_BLK_T_OUT)
		return NULL;
	for (unsigned i = 0; i < CHAIN_MAX && head < r->num; i++) {
		struct desc d = table[head];

		__asm__ volatile("" : : : "memory");
		if (le16toh(d.flags) & C_DESC_F_INDIRECT)
			return NULL;
		if (le16toh(d.flags) & C_DESC_F_WRITE) {
			last = le32toh(d.len);
			written += last;
			addr = le64toh(d.addr);
		}
		if (!(le16toh(d.flags) & C_DESC_F_NEXT)) {
			if (!(le16toh(d.flags) & C_DESC_F_WRITE) || !last)
				return NULL;
			*ret_len = written;
			return memory_gpa(&r->s->mem, addr + last - 1, &one);
		}
		head = le16toh(d.next);
	}
	return NULL;
}

/* Returns how many were completed. */
static unsigned complete(struct ring *r)
{
	uint16_t idx = split_avail_index(r), n = (uint16_t)(idx - r->last_avail), done = 0, heads[BATCH];
	volatile const uint16_t *avail = &r->avail[2];
	uint32_t *used = (uint32_t *)(void *)&r->used[2], mask = r->num - 1;
	uint8_t *header[BATCH];

	if (n > r->num)
		return 0;
	n = n < BATCH ? n : BATCH;
	for (unsigned i = 0; i < n; i += LINE / ELEMENT)
		__builtin_prefetch(&used[2 * ((r->used_idx + i) & mask)], 1);
	for (unsigned i = 0; i < n; i++) {
		heads[i] = le16toh(avail[(r->last_avail + i) & mask]);
		header[i] = header_of(r, heads[i]);
	}
	for (; done < n && header[done]; done++) {
		uint32_t slot = (r->used_idx + done) & mask, len = 0;
		uint8_t *status = status_of(r, heads[done], header[done], &len);

		if (!status)
			break;
		*status = C_BLK_S_OK;
		used[2 * slot] = htole32(heads[done]);
		used[2 * slot + 1] = htole32(len);
	}
	r->last_avail = r->done = (uint16_t)(r->last_avail + done);
	r->used_idx = (uint16_t)(r->used_idx + done);
	return done;
}

bool ring_null(struct ring *r)
{
	unsigned n, looks = 0, total = 0;

	if (!applies(r))
		return false;
	do {
		uint16_t old = r->published;

		n = complete(r);
		if (n) {
			format_of(r)->publish(r);
			if (format_of(r)->wants_call(r, old))
				ring_call(r);
			r->fresh = false;
			looks = 0;
			total += n;
		}
	} while (n == BATCH || (options.poll && looks++ < SPINS && total < BATCH * SPINS));
	return true;
}
