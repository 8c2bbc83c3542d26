/* The dirty log and the inflight region: shared memory with a meaning of its own. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "internal.h"

/* Sends one message as the step's own. */
static bool send_message(struct vhu_conn *c, const struct vhu_step *s, enum vhu_msg msg, unsigned queue)
{
	struct vhu_script_item item = {.msg = msg, .queue = queue, .need_reply = true};
	struct vhu_step step = {.where = s->where,
				.note = s->note,
				.requirement = s->requirement,
				.within_ms = s->within_ms,
				.expect_given = s->expect_given,
				.expect = s->expect,
				.tolerate = s->tolerate,
				.skip = s->skip};
	struct vhu_moment m = vhu_run_moment(c);

	return vhu_run_item(c, &item, &step, &m);
}

/* --- dirty log ----------------------------------------------------------------------------------------- */

/* One bit a page from guest address 0 to the end of the highest region. */
static uint64_t log_size(const struct vhu_mem *mem)
{
	uint64_t top = 0;

	for (size_t i = 0; i < vhu_mem_regions(mem); i++)
		top = VHU_MAX(top, vhu_mem_region(mem, i)->at.gpa + vhu_mem_region(mem, i)->at.size);
	return (top / VHU_C_LOG_PAGE / 8 + 4096) & ~UINT64_C(4095);
}

static bool make_log(struct vhu_run *r, uint64_t offset)
{
	struct vhu_log_run *log = &r->log;

	if (log->map)
		return true;
	log->offset = offset;
	log->size = log_size(vhu_driver_mem(r->driver));
	log->fd = memfd_create("dirty-log", MFD_CLOEXEC);
	if (log->fd < 0 || ftruncate(log->fd, (off_t)(offset + log->size)) < 0) {
		vhu_run_broken(r, "the dirty log: %s", strerror(errno));
		return false;
	}
	log->map = mmap(NULL, log->size, PROT_READ | PROT_WRITE, MAP_SHARED, log->fd, (off_t)offset);
	if (log->map == MAP_FAILED) {
		log->map = NULL;
		vhu_run_broken(r, "the dirty log: %s", strerror(errno));
		return false;
	}
	return true;
}

/* Switches logging on or off: the feature bit, then the rings. */
static void log_switch(struct vhu_run *r, const struct vhu_step *s, bool on)
{
	struct vhu_conn *c = &r->conns[s->conn];

	c->logging = on;
	if (on && (!make_log(r, s->log.offset) || !send_message(c, s, VHU_MSG_SET_LOG_BASE, 0)))
		return;
	if (!send_message(c, s, VHU_MSG_SET_FEATURES, 0))
		return;
	for (unsigned q = 0; q < r->plan->queues && q < r->n_rings; q++) {
		bool chosen = s->log.n_queues == 0;

		for (size_t i = 0; i < s->log.n_queues; i++)
			chosen |= s->log.queues[i] == q;
		if (chosen && r->rings[q].started && !send_message(c, s, VHU_MSG_SET_VRING_ADDR, q))
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

/* --- inflight ------------------------------------------------------------------------------------------ */

void vhu_run_inflight_release(struct vhu_run *r)
{
	struct vhu_inflight_run *in = &r->inflight;

	if (in->map)
		munmap(in->map, in->size);
	vhu_close(&in->fd);
	*in = (struct vhu_inflight_run){.fd = -1};
}

/* A file that ends within the mapping is a SIGBUS for whoever looks. */
static bool long_enough(const struct vhu_inflight_run *in)
{
	struct stat st;

	return fstat(in->fd, &st) == 0 && in->offset <= (uint64_t)st.st_size &&
	       in->size <= (uint64_t)st.st_size - in->offset;
}

static void inflight_get(struct vhu_run *r, const struct vhu_step *s)
{
	struct vhu_conn *c = &r->conns[s->conn];
	struct vhu_inflight_run *in = &r->inflight;
	uint64_t queues = r->plan->queues, size = r->plan->queue_size;
	void *map;

	if ((s->inflight.queues.n && !vhu_run_value(r, &s->inflight.queues, &queues)) ||
	    (s->inflight.queue_size.n && !vhu_run_value(r, &s->inflight.queue_size, &size)))
		return;
	vhu_run_inflight_release(r);
	in->queues = (uint16_t)queues;
	in->queue_size = (uint16_t)size;
	if (!send_message(c, s, VHU_MSG_GET_INFLIGHT_FD, 0))
		return;
	in->size = vhu_frame_u64(&c->answer, "mmap_size");
	in->offset = vhu_frame_u64(&c->answer, "mmap_offset");
	in->fd = vhu_frame_take_fd(&c->answer, 0);
	map = in->size && in->fd >= 0 && long_enough(in)
		      ? mmap(NULL, in->size, PROT_READ | PROT_WRITE, MAP_SHARED, in->fd, (off_t)in->offset)
		      : MAP_FAILED;
	if (map == MAP_FAILED) {
		vhu_run_unmet(r, s, VHU_FINDING_RULE, "a buffer that can be mapped",
			      "%llu bytes at %llu, descriptor %s", (unsigned long long)in->size,
			      (unsigned long long)in->offset, in->fd < 0 ? "missing" : "given");
		r->stop = true;
		return;
	}
	in->map = map;
}

bool vhu_run_inflight_set(struct vhu_conn *c, const struct vhu_step *s)
{
	return !c->r->inflight.map || send_message(c, s, VHU_MSG_SET_INFLIGHT_FD, 0);
}

/* The published layout of a split queue's region. */
enum {
	REGION_VERSION = 8,
	REGION_DESC_NUM = 10,
	REGION_USED_IDX = 14,
	REGION_HEAD = 16,
	ENTRY_SIZE = 16,
	ENTRY_COUNTER = 8,
	VERSION = 1
};

/* '#' stands for an index. */
static const struct {
	const char *name;
	uint32_t offset, stride;
	uint8_t size;
} places[] = {
	{"inflight.features", 0, 0, 8},
	{"inflight.version", REGION_VERSION, 0, 2},
	{"inflight.desc_num", REGION_DESC_NUM, 0, 2},
	{"inflight.last_batch_head", 12, 0, 2},
	{"inflight.used_idx", REGION_USED_IDX, 0, 2},
	{"inflight.desc[#].inflight", REGION_HEAD, ENTRY_SIZE, 1},
	{"inflight.desc[#].next", REGION_HEAD + 6, ENTRY_SIZE, 2},
	{"inflight.desc[#].counter", REGION_HEAD + ENTRY_COUNTER, ENTRY_SIZE, 8},
};

/* Regions follow each other at equal distance where the size divides; else only the first can be found. */
static uint8_t *queue_region(const struct vhu_run *r, unsigned queue)
{
	const struct vhu_inflight_run *in = &r->inflight;

	if (!in->map || !in->queues || queue >= in->queues || (queue && in->size % in->queues))
		return NULL;
	if (in->size / in->queues < REGION_HEAD + ENTRY_SIZE * (uint64_t)in->queue_size)
		return NULL;
	return in->map + queue * (in->size / in->queues);
}

/* The layout is advice: whether a region has it is known only by what the back-end wrote at its head. */
static bool is_published(const struct vhu_run *r, const uint8_t *region)
{
	return vhu_ne_get(region + REGION_VERSION, 2) == VERSION ||
	       vhu_ne_get(region + REGION_DESC_NUM, 2) == r->inflight.queue_size;
}

/* What a check speaks of, as it is now. */
struct inflight_look {
	struct vhu_run *r;
	const struct vhu_step *s;
	bool published; /* some region has the layout that we can read */
	uint64_t entries, version, desc_num, used_idx, counter;
};

static void look_at_region(struct inflight_look *l, const uint8_t *region, bool first)
{
	for (unsigned i = 0; i < l->r->inflight.queue_size; i++) {
		const uint8_t *entry = region + REGION_HEAD + ENTRY_SIZE * i;

		l->entries += __atomic_load_n(entry, __ATOMIC_ACQUIRE) == 1;
		if (first)
			l->counter = VHU_MAX(l->counter, vhu_ne_get(entry + ENTRY_COUNTER, 8));
	}
	if (!first)
		return;
	l->version = vhu_ne_get(region + REGION_VERSION, 2);
	l->desc_num = vhu_ne_get(region + REGION_DESC_NUM, 2);
	l->used_idx = vhu_ne_get(region + REGION_USED_IDX, 2);
}

static void look(struct inflight_look *l)
{
	*l = (struct inflight_look){.r = l->r, .s = l->s};
	for (unsigned q = 0; q < l->r->inflight.queues; q++) {
		const uint8_t *region = queue_region(l->r, q);

		if (!region || !is_published(l->r, region))
			continue;
		l->published = true;
		look_at_region(l, region, q == 0);
	}
}

static bool holds(const struct vhu_run *r, const struct vhu_matcher *m, uint64_t x)
{
	size_t term;

	return !m->n || vhu_match_u64(m, x, r->vars, r->vars_set, &term) == 1;
}

static bool inflight_matches(void *ctx)
{
	struct inflight_look *l = ctx;
	const struct vhu_step_inflight *want = &l->s->inflight;

	look(l);
	return l->r->exited ||
	       (holds(l->r, &want->entries, l->entries) && holds(l->r, &want->version, l->version) &&
		holds(l->r, &want->desc_num, l->desc_num) && holds(l->r, &want->used_idx, l->used_idx) &&
		holds(l->r, &want->counter, l->counter));
}

/* A buffer that the back-end uses in another way, or not at all, tells nothing. */
static bool readable(struct inflight_look *l)
{
	struct vhu_conn *c = &l->r->conns[l->s->conn];

	if (inflight_matches(l) || l->published)
		return true;
	if (vhu_conn_live(c) && !c->framing_lost && !vhu_conn_fence(c, l->s, NULL))
		return false;
	if (inflight_matches(l) || l->published)
		return true;
	vhu_run_skip(l->r, "%s: the inflight buffer has not the published layout", l->s->where);
	return false;
}

static void inflight_check(struct vhu_run *r, const struct vhu_step *s)
{
	const struct vhu_step_inflight *want = &s->inflight;
	struct inflight_look l = {.r = r, .s = s};

	if (!readable(&l))
		return;
	if (!inflight_matches(&l))
		vhu_run_wait(r, inflight_matches, &l, vhu_run_deadline(r, s), true);
	if (r->stop)
		return;
	vhu_run_match(r, s, &want->entries, "entries in flight", l.entries);
	vhu_run_match(r, s, &want->version, "the region's version", l.version);
	vhu_run_match(r, s, &want->desc_num, "the region's desc_num", l.desc_num);
	vhu_run_match(r, s, &want->used_idx, "the region's used_idx", l.used_idx);
	vhu_run_match(r, s, &want->counter, "the highest counter", l.counter);
}

/* Offset and size of a place by its name; false: there is none of that name or index. */
static bool find_place(const struct vhu_run *r, const char *at, size_t *ret_offset, size_t *ret_size)
{
	const char *open = strchr(at, '['), *close = open ? strchr(open, ']') : NULL;
	unsigned long index = open ? strtoul(open + 1, NULL, 10) : 0;
	char form[64];

	snprintf(form, sizeof(form), "%.*s%s%s", open ? (int)(open - at) : (int)strlen(at), at,
		 open ? "[#" : "", close ? close : "");
	for (size_t i = 0; i < VHU_ARRAY_SIZE(places) && index < r->inflight.queue_size; i++) {
		if (strcmp(places[i].name, form) != 0)
			continue;
		*ret_offset = places[i].offset + places[i].stride * index;
		*ret_size = places[i].size;
		return true;
	}
	return false;
}

void vhu_run_inflight_poke(struct vhu_run *r, const struct vhu_step *s, uint64_t value)
{
	uint8_t *region = queue_region(r, s->ring.queue);
	size_t offset, size;

	if (!r->inflight.map)
		vhu_run_broken(r, "%s: there is no inflight region before `inflight: get`", s->where);
	else if (!region)
		vhu_run_skip(r, "%s: the inflight buffer has not the published layout", s->where);
	else if (!find_place(r, s->ring.at, &offset, &size))
		vhu_run_broken(r, "%s: no '%s' in a region of %u entries", s->where, s->ring.at,
			       r->inflight.queue_size);
	else if (size < 8 && value >> (8 * size))
		vhu_run_broken(r, "%s: '%s' has %zu bytes", s->where, s->ring.at, size);
	else
		vhu_ne_put(region + offset, size, value);
}

void vhu_do_inflight(struct vhu_run *r, const struct vhu_step *s)
{
	if (s->inflight.op != VHU_INFLIGHT_GET && !r->inflight.map) {
		vhu_run_broken(r, "%s: there is no inflight region before `inflight: get`", s->where);
		return;
	}
	switch (s->inflight.op) {
	case VHU_INFLIGHT_GET:
		inflight_get(r, s);
		break;
	case VHU_INFLIGHT_SET:
		vhu_run_inflight_set(&r->conns[s->conn], s);
		break;
	case VHU_INFLIGHT_CHECK:
		inflight_check(r, s);
		break;
	case VHU_INFLIGHT_CLEAR:
		memset(r->inflight.map, 0, r->inflight.size);
		break;
	}
}
