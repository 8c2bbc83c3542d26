/*
 * What a guest under load knows of the dirty log: the pages that its back-end has to have marked. Requests
 * bear the round in which they were sent; who looks at the log ends a round each time. A page that was
 * written for a request of some round is marked in that round or a later one, whenever the back-end does it.
 */
#include <errno.h>
#include <string.h>

#include "guest.h"
#include "mem/mem.h"

#define POISON UINT64_C(0xa5a5a5a5a5a5a5a5) /* as where reads are verified */

int vhu_guest_log_new(struct vhu_guest *g, struct vhu_err *err)
{
	const struct vhu_region *region = vhu_mem_region(vhu_driver_mem(g->opts.driver), 0);

	if (g->log.page)
		return 0;
	g->log.first = region->at.gpa / VHU_C_LOG_PAGE;
	g->log.n = region->at.size / VHU_C_LOG_PAGE;
	g->log.page = calloc(g->log.n, sizeof(*g->log.page));
	return g->log.page ? 0 : vhu_err_set(err, -ENOMEM, "out of memory");
}

void vhu_guest_log_round(struct vhu_guest *g, uint32_t round)
{
	atomic_store_explicit(&g->log.round, round, memory_order_release);
}

uint64_t vhu_guest_log_pages(const struct vhu_guest *g, uint64_t *ret_first)
{
	*ret_first = g->log.first;
	return g->log.page ? g->log.n : 0;
}

uint32_t vhu_guest_log_written(const struct vhu_guest *g, uint64_t page)
{
	return atomic_load_explicit(&g->log.page[page - g->log.first], memory_order_relaxed);
}

/* --- of the threads -------------------------------------------------------------------------------- */

static void wrote(struct guest_queue *q, uint64_t gpa, uint32_t round)
{
	uint64_t page = gpa / VHU_C_LOG_PAGE - q->g->log.first;

	if (page < q->g->log.n)
		atomic_store_explicit(&q->g->log.page[page], round, memory_order_relaxed);
}

/* The parts of a buffer, each in a page of its own. */
static uint32_t part_behind(uint64_t gpa, uint32_t at, uint32_t len)
{
	return VHU_MIN(at + VHU_C_LOG_PAGE - (uint32_t)((gpa + at) % VHU_C_LOG_PAGE), len);
}

void vhu_guest_log_send(struct guest_queue *q, struct guest_slot *s)
{
	uint32_t len = q->g->opts.bs;

	if (s->write)
		return;
	for (uint32_t at = 0; at < len; at = part_behind(s->data_gpa, at, len))
		memset(s->data + at, 0xa5, sizeof(uint64_t));
}

/* What the device did not write it need not mark: only bytes that changed count. */
void vhu_guest_log_back(struct guest_queue *q, const struct guest_slot *s)
{
	uint32_t len = q->g->opts.bs;

	wrote(q, s->header_gpa + GUEST_HEADER, s->round);
	for (uint32_t at = 0; at < len && !s->write; at = part_behind(s->data_gpa, at, len))
		if (vhu_le_get(s->data + at, sizeof(uint64_t)) != POISON)
			wrote(q, s->data_gpa + at, s->round);
}

void vhu_guest_log_used(struct guest_queue *q, uint32_t first, unsigned n)
{
	uint64_t ring = vhu_hot_used_gpa(q->hot);
	uint32_t oldest = UINT32_MAX;

	for (unsigned i = 0; i < n; i++) {
		uint32_t round = q->slot[q->used[i].chain].round;

		oldest = VHU_MIN(oldest, round);
		if (round && !q->g->opts.in_order)
			wrote(q, ring + vhu_hot_entry(q->hot, first, i), round);
	}
	if (n && oldest && !q->g->opts.packed)
		wrote(q, ring + VHU_USED_IDX, oldest);
}
