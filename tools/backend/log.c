/*
 * The dirty log: one bit for each page of guest memory that we wrote.
 */
#include <unistd.h>

#include "fault.h"
#include "notify.h"
#include "session.h"

enum { BITS = 8, FAULT_PAGES = 256 };

int log_open(struct dirty_log *log, int fd, uint64_t offset, uint64_t size)
{
	struct mapping map;
	int r = mapping_open(&map, fd, fault(log_offset) ? 0 : offset, size);

	if (r < 0)
		return r;
	if (log->map.base && fault(log_stale)) {
		mapping_close(&map);
		return 0;
	}
	if (!fault(log_map_leak))
		mapping_close(&log->map);
	log->map = map;
	log->size = size;
	return 0;
}

void log_close(struct dirty_log *log)
{
	mapping_close(&log->map);
	log->size = 0;
	if (log->fd >= 0)
		close(log->fd);
	log->fd = -1;
	log->touched = false;
}

/* False for a page beyond the log: a write there cannot be told. */
static bool mark_page(struct dirty_log *log, uint64_t page)
{
	unsigned bit = fault(log_bit_order) ? BITS - 1 - page % BITS : page % BITS;

	if (page / BITS >= log->size) {
		if (fault(log_oob_crash))
			fault_crash();
		return false;
	}
	__atomic_fetch_or(&log->map.at[page / BITS], (uint8_t)(1U << bit), __ATOMIC_RELEASE);
	if (fault(log_tail))
		log->map.at[log->size] = 1;
	log->touched = true;
	return true;
}

static void mark(struct dirty_log *log, uint64_t gpa, uint64_t len)
{
	uint64_t last = gpa + len - 1;

	if (!len || last < gpa || !log->map.base)
		return;
	last /= C_LOG_PAGE;
	if (fault(log_bulk))
		last += FAULT_PAGES;
	for (uint64_t page = gpa / C_LOG_PAGE; page <= last && mark_page(log, page); page++) {
		if (fault(log_first_page))
			break;
	}
}

void log_mark(struct session *s, uint64_t gpa, uint64_t len)
{
	bool on = s->features & V(VHOST_F_LOG_ALL);

	if (fault(log_none) || s->log_waits || s->log_over || (fault(log_swap_lost) && s->log_deaf))
		return;
	if (fault(log_late) && on && s->n_held_marks < HELD_MARKS_MAX) {
		s->held_marks[s->n_held_marks].gpa = gpa;
		s->held_marks[s->n_held_marks++].len = len;
		return;
	}
	if (fault(feat_log_leak))
		mark(&s->old_log, gpa, len);
	if (fault(log_base_region) && s->mem.n)
		gpa -= s->mem.regions[0].gpa;
	if (on || fault(log_early) || (fault(log_off_late) && s->log.touched))
		mark(&s->log, gpa, len);
}

void log_catch_up(struct session *s)
{
	for (; s->n_held_marks; s->n_held_marks--)
		mark(&s->log, s->held_marks[s->n_held_marks - 1].gpa, s->held_marks[s->n_held_marks - 1].len);
}

void log_tell(struct session *s)
{
	if (s->log.touched && s->log.fd >= 0) {
		notify_signal(s->log.fd);
		s->log.touched = false;
	}
}
