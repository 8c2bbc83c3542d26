/* Which contents a sector may hold, over time. */
#include "device/ledger.h"

#include <errno.h>

#include "base/rng.h"
#include "content.h"

enum {
	EACH_MAX =
		65536, /* sectors of one request that are kept one by one; known ones beyond are kept too */
	VALUES_MAX = 256, /* contents that a sector may hold; more are "not known" */
	TABLE_MIN = 1024,
};

#define IN_FLIGHT UINT64_MAX

/* One content that a sector may hold. */
struct value {
	enum vhu_content content;
	bool done; /* succeeded: it replaces what ended before it began */
	uint64_t arg, start, end;
	struct value *next; /* the younger first */
};

struct entry {
	uint64_t sector;
	struct value *values; /* NULL: the entry is free */
};

struct vhu_ledger {
	uint64_t seed, now, generation;
	struct entry *table; /* open addressing */
	size_t cap, used;
	struct vhu_ledger_write *big;	      /* in flight */
	struct vhu_ledger_read *first, *last; /* in flight, oldest first */
};

int vhu_ledger_new(uint64_t seed, struct vhu_ledger **ret, struct vhu_err *err)
{
	struct vhu_ledger *l = calloc(1, sizeof(*l));

	if (l)
		l->table = calloc(TABLE_MIN, sizeof(*l->table));
	if (!l || !l->table) {
		free(l);
		return vhu_err_set(err, -ENOMEM, "out of memory");
	}
	l->seed = seed;
	l->cap = TABLE_MIN;
	*ret = l;
	return 0;
}

static void values_free(struct value *v)
{
	for (struct value *next; v; v = next) {
		next = v->next;
		free(v);
	}
}

void vhu_ledger_forget(struct vhu_ledger *l)
{
	for (size_t i = 0; i < l->cap; i++) {
		values_free(l->table[i].values);
		l->table[i].values = NULL;
	}
	l->used = 0;
}

void vhu_ledger_free(struct vhu_ledger *l)
{
	if (!l)
		return;
	vhu_ledger_forget(l);
	free(l->table);
	free(l);
}

/* The entry of the sector, or the free one where it belongs. */
static struct entry *slot_of(struct entry *table, size_t cap, uint64_t sector)
{
	size_t i = vhu_mix64(sector) & (cap - 1);

	while (table[i].values && table[i].sector != sector)
		i = (i + 1) & (cap - 1);
	return &table[i];
}

static int grow(struct vhu_ledger *l)
{
	size_t cap = l->cap * 2;
	struct entry *table;

	if ((l->used + 1) * 4 < l->cap * 3)
		return 0;
	table = calloc(cap, sizeof(*table));
	if (!table)
		return -ENOMEM;
	for (size_t i = 0; i < l->cap; i++) {
		if (l->table[i].values)
			*slot_of(table, cap, l->table[i].sector) = l->table[i];
	}
	free(l->table);
	l->table = table;
	l->cap = cap;
	return 0;
}

static bool covers(const struct vhu_ledger_write *w, uint64_t sector)
{
	return sector - w->sector < w->count;
}

static int push(struct entry *e, enum vhu_content content, uint64_t arg, uint64_t start, uint64_t end)
{
	struct value *v = malloc(sizeof(*v));

	if (!v)
		return -ENOMEM;
	*v = (struct value){content, false, arg, start, end, e->values};
	e->values = v;
	return 0;
}

/* A sector that was never written: its content is not known, and big requests in flight may change it. */
static int make_entry(struct vhu_ledger *l, uint64_t sector, struct entry **ret)
{
	struct entry *e;
	int r = grow(l);

	if (r < 0)
		return r;
	e = slot_of(l->table, l->cap, sector);
	*ret = e;
	if (e->values)
		return 0;
	r = push(e, VHU_CONTENT_ANY, 0, 0, 0);
	for (const struct vhu_ledger_write *w = l->big; w && r == 0; w = w->next) {
		if (covers(w, sector))
			r = push(e, w->content, w->arg, w->start, IN_FLIGHT);
	}
	if (r < 0) {
		values_free(e->values);
		e->values = NULL;
		return r;
	}
	e->sector = sector;
	l->used++;
	return 0;
}

/* Values that no read in flight and no later one can see are dropped. */
static void prune(const struct vhu_ledger *l, struct entry *e)
{
	uint64_t horizon = l->first ? l->first->start : IN_FLIGHT, replaced = 0;
	struct value **at = &e->values, *v;
	size_t n = 0;

	for (v = e->values; v; v = v->next) {
		if (v->done && v->end < horizon)
			replaced = VHU_MAX(replaced, v->start);
	}
	while ((v = *at)) {
		if (v->end < replaced) {
			*at = v->next;
			free(v);
		} else if (++n > VALUES_MAX) { /* the oldest are joined to one that is not known */
			for (const struct value *rest = v->next; rest; rest = rest->next)
				v->end = VHU_MAX(v->end, rest->end);
			v->content = VHU_CONTENT_ANY;
			v->done = false;
			v->start = 0; /* no write's */
			values_free(v->next);
			v->next = NULL;
			return;
		} else {
			at = &v->next;
		}
	}
}

static void end_value(struct vhu_ledger *l, struct entry *e, const struct vhu_ledger_write *w,
		      enum vhu_ledger_end how)
{
	struct value **at = &e->values, *v;

	while ((v = *at) && v->start != w->start)
		at = &v->next;
	if (v && how == VHU_LEDGER_REFUSED) {
		*at = v->next;
		free(v);
	} else if (v && how != VHU_LEDGER_LOST) {
		v->end = l->now;
		v->done = how == VHU_LEDGER_DONE;
		if (how == VHU_LEDGER_FAILED)
			v->content = VHU_CONTENT_ANY;
	}
	prune(l, e);
}

/* Ends w in each sector that knows it. */
static void end_everywhere(struct vhu_ledger *l, const struct vhu_ledger_write *w, enum vhu_ledger_end how)
{
	if (w->count > l->cap) {
		for (size_t i = 0; i < l->cap; i++) {
			if (l->table[i].values && covers(w, l->table[i].sector))
				end_value(l, &l->table[i], w, how);
		}
		return;
	}
	for (uint64_t i = 0; i < w->count; i++) {
		struct entry *e = slot_of(l->table, l->cap, w->sector + i);

		if (e->values)
			end_value(l, e, w, how);
	}
}

static int begin_everywhere(struct vhu_ledger *l, const struct vhu_ledger_write *w)
{
	uint64_t each = VHU_MIN(w->count, (uint64_t)EACH_MAX);
	struct entry *e;
	int r;

	for (uint64_t i = 0; i < each; i++) {
		r = make_entry(l, w->sector + i, &e);
		if (r == 0) {
			prune(l, e);
			r = push(e, w->content, w->arg, w->start, IN_FLIGHT);
		}
		if (r < 0)
			return r;
	}
	for (size_t i = 0; w->count > each && i < l->cap; i++) {
		e = &l->table[i];
		if (!e->values || !covers(w, e->sector) || e->sector - w->sector < each)
			continue;
		r = push(e, w->content, w->arg, w->start, IN_FLIGHT);
		if (r < 0)
			return r;
	}
	return 0;
}

uint64_t vhu_ledger_generation(struct vhu_ledger *l)
{
	return ++l->generation;
}

int vhu_ledger_begin(struct vhu_ledger *l, struct vhu_ledger_write *w)
{
	int r;

	w->start = ++l->now;
	r = begin_everywhere(l, w);
	if (r < 0) {
		end_everywhere(l, w, VHU_LEDGER_REFUSED);
		w->start = 0;
		return r;
	}
	if (w->count > EACH_MAX) {
		w->prev = NULL;
		w->next = l->big;
		if (l->big)
			l->big->prev = w;
		l->big = w;
	}
	return 0;
}

void vhu_ledger_end(struct vhu_ledger *l, struct vhu_ledger_write *w, enum vhu_ledger_end how)
{
	if (!w->start)
		return;
	++l->now;
	if (w->count > EACH_MAX) {
		if (w->next)
			w->next->prev = w->prev;
		if (w->prev)
			w->prev->next = w->next;
		else
			l->big = w->next;
	}
	end_everywhere(l, w, how);
	w->start = 0;
}

void vhu_ledger_read_begin(struct vhu_ledger *l, struct vhu_ledger_read *r)
{
	r->start = ++l->now;
	r->prev = l->last;
	r->next = NULL;
	if (l->last)
		l->last->next = r;
	else
		l->first = r;
	l->last = r;
}

void vhu_ledger_read_end(struct vhu_ledger *l, struct vhu_ledger_read *r)
{
	if (!r->start)
		return;
	++l->now;
	if (r->prev)
		r->prev->next = r->next;
	else
		l->first = r->next;
	if (r->next)
		r->next->prev = r->prev;
	else
		l->last = r->prev;
	r->start = 0;
}

void vhu_ledger_render(const struct vhu_ledger *l, enum vhu_content content, uint64_t arg, uint64_t sector,
		       uint8_t out[VHU_C_SECTOR_SIZE])
{
	vhu_content_render(l->seed, content, arg, sector, out);
}

/* Whether a read that began at `start` may see the value: nothing that succeeded before it replaces it. */
static bool visible(const struct entry *e, const struct value *v, uint64_t start)
{
	for (const struct value *by = e->values; by; by = by->next) {
		if (by->done && by->end < start && by->start > v->end)
			return false;
	}
	return true;
}

bool vhu_ledger_judge(const struct vhu_ledger *l, const struct vhu_ledger_read *r, uint64_t sector,
		      const uint8_t bytes[VHU_C_SECTOR_SIZE], enum vhu_breach *ret_breach, char *text,
		      size_t cap)
{
	const struct entry *e = slot_of(l->table, l->cap, sector);
	const struct value *expected = NULL;

	if (!e->values)
		return true;
	for (const struct value *v = e->values; v; v = v->next) {
		if (!visible(e, v, r->start))
			continue;
		if (v->content == VHU_CONTENT_ANY ||
		    vhu_content_matches(l->seed, v->content, v->arg, sector, bytes))
			return true;
		if (!expected)
			expected = v;
	}
	if (!expected)
		return true;
	*ret_breach = vhu_content_blame(l->seed, expected->content, expected->arg, sector, bytes, text, cap);
	return false;
}
