/* The dirty log: shared memory with a meaning of its own. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "internal.h"

enum { GUARD = 4096 }; /* bytes behind the log, at least */

bool vhu_run_step_message(struct vhu_conn *c, const struct vhu_step *s, const struct vhu_script_item *what)
{
	struct vhu_script_item item = *what;
	struct vhu_step step = {.where = s->where,
				.note = s->note,
				.requirement = s->requirement,
				.within_ms = s->within_ms,
				.expect_given = s->expect_given,
				.expect = s->expect,
				.tolerate = s->tolerate,
				.skip = s->skip};
	struct vhu_moment m = vhu_run_moment(c);

	item.need_reply = true;
	return vhu_run_item(c, &item, &step, &m);
}

/* --- dirty log ----------------------------------------------------------------------------------------- */

static uint64_t log_size(const struct vhu_mem *mem)
{
	uint64_t top = 0;

	for (size_t i = 0; i < vhu_mem_regions(mem); i++)
		top = VHU_MAX(top, vhu_mem_region(mem, i)->at.gpa + vhu_mem_region(mem, i)->at.size);
	return vhu_layout_log_size(top);
}

/* What lies in the file before the log and behind it is none of the back-end's. */
static void audit(struct vhu_run *r)
{
	static const struct vhu_step step = {.where = "the dirty log", .requirement = VHU_REQ_LOG_25};
	const struct vhu_log_run *log = &r->log;

	for (uint64_t i = 0; i < log->file_size; i++) {
		/* Reading its holes would give them pages. */
		if (i == log->offset)
			i += log->size;
		if (!log->file[i])
			continue;
		vhu_run_unmet(r, &step, VHU_FINDING_ROBUST, "marks in the log alone",
			      "byte 0x%llx of its file was written, the log is 0x%llx bytes from 0x%llx on",
			      (unsigned long long)i, (unsigned long long)log->size,
			      (unsigned long long)log->offset);
		return;
	}
}

void vhu_run_log_release(struct vhu_run *r)
{
	if (r->log.file) {
		audit(r);
		munmap(r->log.file, r->log.file_size);
	}
	vhu_close(&r->log.fd);
	r->log = (struct vhu_log_run){.fd = -1};
}

bool vhu_run_log_make(struct vhu_run *r, uint64_t offset)
{
	struct vhu_log_run *log = &r->log;

	vhu_run_log_release(r);
	log->offset = offset;
	log->size = log_size(vhu_driver_mem(r->driver));
	log->file_size = (offset + log->size + GUARD - 1) / GUARD * GUARD + GUARD;
	log->fd = vhu_memfd("dirty-log", log->file_size, 0, 0);
	if (log->fd < 0) {
		vhu_run_broken(r, "the dirty log: %s", strerror(errno));
		return false;
	}
	log->file = mmap(NULL, log->file_size, PROT_READ | PROT_WRITE, MAP_SHARED, log->fd, 0);
	if (log->file == MAP_FAILED) {
		log->file = NULL;
		vhu_run_broken(r, "the dirty log: %s", strerror(errno));
		return false;
	}
	log->map = log->file + offset;
	return true;
}

static bool say(struct vhu_conn *c, const struct vhu_step *s, enum vhu_msg msg, unsigned queue)
{
	return vhu_run_step_message(c, s, &(struct vhu_script_item){.msg = msg, .queue = queue});
}

/* Switches logging on or off: the feature bit, then the rings. */
static void log_switch(struct vhu_run *r, const struct vhu_step *s, bool on)
{
	struct vhu_conn *c = &r->conns[s->conn];

	c->logging = on;
	if (on && !r->log.map && !vhu_run_log_make(r, s->log.offset))
		return;
	if (on && !say(c, s, VHU_MSG_SET_LOG_BASE, 0))
		return;
	if (!say(c, s, VHU_MSG_SET_FEATURES, 0))
		return;
	for (unsigned q = 0; q < r->plan->queues && q < r->n_rings; q++) {
		bool chosen = s->log.n_queues == 0;

		for (size_t i = 0; i < s->log.n_queues; i++)
			chosen |= s->log.queues[i] == q;
		if (chosen && r->rings[q].started && !say(c, s, VHU_MSG_SET_VRING_ADDR, q))
			return;
	}
}

static void expect_page(struct vhu_run *r, uint8_t *expected, uint64_t gpa, uint64_t len)
{
	if (!len)
		return;
	for (uint64_t page = gpa / VHU_C_LOG_PAGE; page <= (gpa + len - 1) / VHU_C_LOG_PAGE; page++)
		if (page / 8 < r->log.size)
			expected[page / 8] |= (uint8_t)(1 << (page % 8));
}

/* Pages that the device wrote for the requests of a tag: of each chain, the bytes that the used length
 * counts. */
static void expect_buffers(struct vhu_run *r, uint8_t *expected, const char *tag)
{
	for (size_t k = 0; k < r->n_ios; k++) {
		const struct vhu_io_run *i = &r->ios[k];
		uint64_t gpa, left;
		uint32_t len;

		if (!i->tag || strcmp(i->tag, tag) || !vhu_io_done(i->io))
			continue;
		left = vhu_io_len_known(i->io) ? vhu_io_used_len(i->io) : 0;
		for (size_t w = 0; left && vhu_io_written(i->io, w, &gpa, &len); w++) {
			expect_page(r, expected, gpa, VHU_MIN(left, (uint64_t)len));
			left -= VHU_MIN(left, (uint64_t)len);
		}
	}
}

static bool expect_dirty(struct vhu_run *r, const struct vhu_step *s, uint8_t *expected)
{
	for (size_t i = 0; i < s->log.n_dirty; i++) {
		const struct vhu_dirty *d = &s->log.dirty[i];
		uint64_t gpa, len;

		if (d->buffers) {
			expect_buffers(r, expected, d->buffers);
		} else if (d->ring >= 0) {
			/* What is written lies in one page for the sizes that cases use; the first counts. */
			expect_page(r, expected, vhu_moment_log_address(&r->plan->layout.ring[d->ring]), 4);
		} else if (vhu_run_value(r, &d->gpa, &gpa) && vhu_run_value(r, &d->len, &len)) {
			expect_page(r, expected, gpa, len);
		} else {
			return false;
		}
	}
	return true;
}

struct log_wait {
	struct vhu_run *r;
	const uint8_t *expected;
	uint64_t missing; /* first page that is not marked */
};

/* The first page that is marked in `have` and not in `allowed`; false if there is none. */
static bool first_beyond(const uint8_t *have, const uint8_t *allowed, uint64_t bytes, uint64_t *ret_page)
{
	for (uint64_t i = 0; i < bytes; i++) {
		uint8_t beyond = (uint8_t)(__atomic_load_n(&have[i], __ATOMIC_ACQUIRE) &
					   ~__atomic_load_n(&allowed[i], __ATOMIC_ACQUIRE));

		if (!beyond)
			continue;
		*ret_page = i * 8 + (unsigned)__builtin_ctz(beyond);
		return true;
	}
	return false;
}

static bool all_marked(void *ctx)
{
	struct log_wait *w = ctx;

	return !first_beyond(w->expected, w->r->log.map, w->r->log.size, &w->missing) || w->r->exited;
}

static void check_only(struct vhu_run *r, const struct vhu_step *s, const uint8_t *expected)
{
	struct vhu_conn *c = &r->conns[s->conn];
	uint64_t page;

	if (vhu_conn_fence(c, s, NULL) && first_beyond(r->log.map, expected, r->log.size, &page))
		vhu_run_unmet(r, s, VHU_FINDING_RULE, "marks on pages that were written",
			      "page 0x%llx is marked", (unsigned long long)page);
}

/* How many pages are marked, once everything before is over. */
static void check_marked(struct vhu_run *r, const struct vhu_step *s)
{
	uint64_t n = 0;

	if (!vhu_conn_fence(&r->conns[s->conn], s, NULL))
		return;
	for (uint64_t i = 0; i < r->log.size; i++)
		n += (unsigned)__builtin_popcount(__atomic_load_n(&r->log.map[i], __ATOMIC_ACQUIRE));
	vhu_run_match(r, s, &s->log.marked, "marked pages", n);
}

/* Whether the marks are there: by now, or as soon as the deadline. */
static bool marks_missing(struct vhu_run *r, const struct vhu_step *s, struct log_wait *w)
{
	if (s->log.at_once)
		return !all_marked(w);
	return vhu_run_wait(r, all_marked, w, vhu_run_deadline(r, s), true) == -ETIME;
}

static void log_check(struct vhu_run *r, const struct vhu_step *s)
{
	uint8_t *expected = calloc(1, r->log.size + 1);
	struct log_wait w = {.r = r, .expected = expected};

	if (!expected) {
		vhu_run_broken(r, "out of memory");
		return;
	}
	if (expect_dirty(r, s, expected)) {
		if (marks_missing(r, s, &w))
			vhu_run_unmet(r, s, VHU_FINDING_ROBUST, "a mark on each page that was written",
				      "page 0x%llx is not marked", (unsigned long long)w.missing);
		else if (s->log.only && !r->stop)
			check_only(r, s, expected);
	}
	free(expected);
	if (s->log.marked.n && !r->stop)
		check_marked(r, s);
}

static void log_clear(struct vhu_run *r, const struct vhu_step *s)
{
	if (!vhu_conn_fence(&r->conns[s->conn], s, NULL))
		return;
	for (uint64_t i = 0; i < r->log.size; i++)
		__atomic_store_n(&r->log.map[i], 0, __ATOMIC_RELEASE);
}

void vhu_do_log(struct vhu_run *r, const struct vhu_step *s)
{
	if (!vhu_run_driver(r))
		return;
	if (s->log.op != VHU_LOG_START && !r->log.map) {
		vhu_run_broken(r, "%s: there is no log before `log: start`", s->where);
		return;
	}
	switch (s->log.op) {
	case VHU_LOG_START:
		log_switch(r, s, true);
		break;
	case VHU_LOG_STOP:
		log_switch(r, s, false);
		break;
	case VHU_LOG_CLEAR:
		log_clear(r, s);
		break;
	case VHU_LOG_CHECK:
		log_check(r, s);
		break;
	}
}
