/* The inflight region: it outlives the back-end, and has a published layout for each ring format. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "internal.h"

void vhu_run_inflight_release(struct vhu_run *r)
{
	struct vhu_inflight_run *in = &r->inflight;

	if (in->map)
		munmap(in->map, in->size);
	vhu_close(&in->fd);
	*in = (struct vhu_inflight_run){.fd = -1};
}

/* The back-end may cut its file short at any time. */
static void tell_cut(struct vhu_run *r, const struct vhu_step *s)
{
	struct vhu_step step = *s;

	step.requirement = VHU_REQ_INFLIGHT_22;
	vhu_run_unmet(r, &step, VHU_FINDING_RULE, "a buffer that can be read and written for all of its size",
		      "its file was made shorter");
	r->stop = true;
}

/* A file that ends within the mapping is a SIGBUS for whoever looks. */
static bool long_enough(const struct vhu_inflight_run *in)
{
	struct stat st;

	return fstat(in->fd, &st) == 0 && in->offset <= (uint64_t)st.st_size &&
	       in->size <= (uint64_t)st.st_size - in->offset;
}

bool vhu_run_inflight_get(struct vhu_conn *c, const struct vhu_step *s, uint64_t queues, uint64_t size,
			  bool needlessly)
{
	struct vhu_run *r = c->r;
	struct vhu_inflight_run *in = &r->inflight;
	const struct vhu_script_item ask = {.msg = VHU_MSG_GET_INFLIGHT_FD, .needlessly = needlessly};
	void *map;

	vhu_run_inflight_release(r);
	in->queues = (uint16_t)queues;
	in->queue_size = (uint16_t)size;
	if (!vhu_run_step_message(c, s, &ask))
		return false;
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
		return false;
	}
	in->map = map;
	return true;
}

static void inflight_get(struct vhu_run *r, const struct vhu_step *s)
{
	uint64_t queues = r->plan->queues, size = r->plan->queue_size;

	if ((s->inflight.queues.n && !vhu_run_value(r, &s->inflight.queues, &queues)) ||
	    (s->inflight.queue_size.n && !vhu_run_value(r, &s->inflight.queue_size, &size)))
		return;
	vhu_run_inflight_get(&r->conns[s->conn], s, queues, size, false);
}

enum { VERSION = 1 };

struct inflight_place {
	const char *name; /* '#' stands for an index */
	uint32_t offset, stride;
	uint8_t size;
};

static const struct inflight_place split_places[] = {
	{"inflight.features", 0, 0, 8},	      {"inflight.version", 8, 0, 2},
	{"inflight.desc_num", 10, 0, 2},      {"inflight.last_batch_head", 12, 0, 2},
	{"inflight.used_idx", 14, 0, 2},      {"inflight.desc[#].inflight", 16, 16, 1},
	{"inflight.desc[#].next", 22, 16, 2}, {"inflight.desc[#].counter", 24, 16, 8},
};

static const struct inflight_place packed_places[] = {
	{"inflight.features", 0, 0, 8},
	{"inflight.version", 8, 0, 2},
	{"inflight.desc_num", 10, 0, 2},
	{"inflight.free_head", 12, 0, 2},
	{"inflight.old_free_head", 14, 0, 2},
	{"inflight.used_idx", 16, 0, 2},
	{"inflight.old_used_idx", 18, 0, 2},
	{"inflight.used_wrap_counter", 20, 0, 1},
	{"inflight.old_used_wrap_counter", 21, 0, 1},
	{"inflight.desc[#].inflight", 32, 32, 1},
	{"inflight.desc[#].next", 34, 32, 2},
	{"inflight.desc[#].last", 36, 32, 2},
	{"inflight.desc[#].num", 38, 32, 2},
	{"inflight.desc[#].counter", 40, 32, 8},
	{"inflight.desc[#].id", 48, 32, 2},
	{"inflight.desc[#].flags", 50, 32, 2},
	{"inflight.desc[#].len", 52, 32, 4},
	{"inflight.desc[#].addr", 56, 32, 8},
};

/* The published layout of a queue's region. */
static const struct inflight_layout {
	const struct inflight_place *places;
	size_t n_places;
	uint32_t head, entry; /* bytes before the entries, and of each */
	uint32_t used_idx, counter;
} layouts[] = {
	{split_places, VHU_ARRAY_SIZE(split_places), 16, 16, 14, 8},
	{packed_places, VHU_ARRAY_SIZE(packed_places), 32, 32, 16, 8},
};

enum { REGION_VERSION = 8, REGION_DESC_NUM = 10 };

static const struct inflight_layout *layout_of(const struct vhu_run *r)
{
	return &layouts[r->plan->packed];
}

/* Regions follow each other at equal distance where the size divides; else only the first can be found. */
static uint8_t *queue_region(const struct vhu_run *r, unsigned queue)
{
	const struct vhu_inflight_run *in = &r->inflight;
	const struct inflight_layout *l = layout_of(r);

	if (!in->map || !in->queues || queue >= in->queues || (queue && in->size % in->queues))
		return NULL;
	if (in->size / in->queues < l->head + l->entry * (uint64_t)in->queue_size)
		return NULL;
	return in->map + queue * (in->size / in->queues);
}

/* The layout is advice: whether a region has it is known only by what the back-end wrote at its head. */
static bool is_published(const struct vhu_run *r, const uint8_t *region)
{
	return vhu_ne_get(region + REGION_VERSION, 2) == VERSION ||
	       vhu_ne_get(region + REGION_DESC_NUM, 2) == r->inflight.queue_size;
}

/* Offset and size of a place by its name; false: there is none of that name or index. */
static bool find_place(const struct vhu_run *r, const char *at, size_t *ret_offset, size_t *ret_size)
{
	const char *open = strchr(at, '['), *close = open ? strchr(open, ']') : NULL;
	unsigned long index = open ? strtoul(open + 1, NULL, 10) : 0;
	const struct inflight_layout *l = layout_of(r);
	char form[64];

	snprintf(form, sizeof(form), "%.*s%s%s", open ? (int)(open - at) : (int)strlen(at), at,
		 open ? "[#" : "", close ? close : "");
	for (size_t i = 0; i < l->n_places && index < r->inflight.queue_size; i++) {
		if (strcmp(l->places[i].name, form) != 0)
			continue;
		*ret_offset = l->places[i].offset + l->places[i].stride * index;
		*ret_size = l->places[i].size;
		return true;
	}
	return false;
}

/* What a check speaks of, as it is now. */
struct inflight_look {
	struct vhu_run *r;
	const struct vhu_step *s;
	bool at_known;	/* the region that `at` is in has it */
	bool published; /* some region has the layout that we can read */
	uint64_t entries, version, desc_num, used_idx, counter, is;
};

static void look_at_region(struct inflight_look *l, const uint8_t *region, bool first)
{
	const struct inflight_layout *at = layout_of(l->r);

	for (unsigned i = 0; i < l->r->inflight.queue_size; i++) {
		const uint8_t *entry = region + at->head + at->entry * i;

		l->entries += __atomic_load_n(entry, __ATOMIC_ACQUIRE) == 1;
		if (first)
			l->counter = VHU_MAX(l->counter, vhu_ne_get(entry + at->counter, 8));
	}
	if (!first)
		return;
	l->version = vhu_ne_get(region + REGION_VERSION, 2);
	l->desc_num = vhu_ne_get(region + REGION_DESC_NUM, 2);
	l->used_idx = vhu_ne_get(region + at->used_idx, 2);
}

static void look(void *ctx)
{
	struct inflight_look *l = ctx;
	size_t offset, size;

	*l = (struct inflight_look){.r = l->r, .s = l->s};
	for (unsigned q = 0; q < l->r->inflight.queues; q++) {
		const uint8_t *region = queue_region(l->r, q);

		if (!region || !is_published(l->r, region))
			continue;
		l->published = true;
		look_at_region(l, region, q == 0);
		if (l->s->inflight.at && q == l->s->inflight.queue &&
		    find_place(l->r, l->s->inflight.at, &offset, &size)) {
			l->at_known = true;
			l->is = vhu_ne_get(region + offset, size);
		}
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

	if (!vhu_mem_guarded(look, l)) {
		if (!l->r->stop)
			tell_cut(l->r, l->s);
		return true;
	}
	return l->r->exited ||
	       (holds(l->r, &want->entries, l->entries) && holds(l->r, &want->version, l->version) &&
		holds(l->r, &want->desc_num, l->desc_num) && holds(l->r, &want->used_idx, l->used_idx) &&
		holds(l->r, &want->counter, l->counter) && holds(l->r, &want->is, l->is));
}

static bool known(const struct inflight_look *l)
{
	return l->s->inflight.at ? l->at_known : l->published;
}

/* A buffer that the back-end uses in another way, or not at all, tells nothing. */
static bool readable(struct inflight_look *l)
{
	struct vhu_conn *c = &l->r->conns[l->s->conn];

	if (inflight_matches(l) || known(l))
		return true;
	if (vhu_conn_live(c) && !c->framing_lost && !vhu_conn_fence(c, l->s, NULL))
		return false;
	if (inflight_matches(l) || known(l))
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
	vhu_run_match(r, s, &want->is, want->at, l.is);
}

struct write {
	uint8_t *at;
	size_t size;
	uint64_t value;
};

static void put_value(void *ctx)
{
	const struct write *w = ctx;

	vhu_ne_put(w->at, w->size, w->value);
}

static void clear(void *ctx)
{
	struct vhu_inflight_run *in = ctx;

	memset(in->map, 0, in->size);
}

/* A real front-end may ask for its buffer as late as it starts all rings. */
static bool has_area(struct vhu_run *r, const struct vhu_step *s)
{
	if (r->inflight.map)
		return true;
	if (vhu_profile_is_real(r->plan->profile))
		vhu_run_skip(r, "%s: the persona '%s' has no inflight buffer yet", s->where,
			     r->plan->profile);
	else
		vhu_run_broken(r, "%s: there is no inflight region before `inflight: get`", s->where);
	return false;
}

void vhu_run_inflight_poke(struct vhu_run *r, const struct vhu_step *s, uint64_t value)
{
	uint8_t *region = queue_region(r, s->ring.queue);
	struct write w = {.value = value};
	size_t offset;

	if (!has_area(r, s))
		return;
	if (!region)
		vhu_run_skip(r, "%s: the inflight buffer has not the published layout", s->where);
	else if (!find_place(r, s->ring.at, &offset, &w.size))
		vhu_run_broken(r, "%s: no '%s' in a region of %u entries", s->where, s->ring.at,
			       r->inflight.queue_size);
	else if (w.size < 8 && value >> (8 * w.size))
		vhu_run_broken(r, "%s: '%s' has %zu bytes", s->where, s->ring.at, w.size);
	if (r->stop)
		return;
	w.at = region + offset;
	if (!vhu_mem_guarded(put_value, &w))
		tell_cut(r, s);
}

void vhu_do_inflight(struct vhu_run *r, const struct vhu_step *s)
{
	if (s->inflight.op != VHU_INFLIGHT_GET && !has_area(r, s))
		return;
	switch (s->inflight.op) {
	case VHU_INFLIGHT_GET:
		inflight_get(r, s);
		break;
	case VHU_INFLIGHT_SET:
		vhu_run_step_message(&r->conns[s->conn], s,
				     &(struct vhu_script_item){.msg = VHU_MSG_SET_INFLIGHT_FD});
		break;
	case VHU_INFLIGHT_CHECK:
		inflight_check(r, s);
		break;
	case VHU_INFLIGHT_CLEAR:
		if (!vhu_mem_guarded(clear, &r->inflight))
			tell_cut(r, s);
		break;
	}
}
