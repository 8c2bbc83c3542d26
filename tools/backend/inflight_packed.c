/*
 * The published layout for packed rings. Every descriptor that is taken is copied into an entry of a free
 * list, since the ring's own may be written over before the request is done. Each step is undone or completed
 * by whoever comes after a death in the middle of it: the fields without old_ run ahead, those with it follow
 * once the ring shows what was done.
 */
#include <stdlib.h>

#include "chain.h"
#include "fault.h"
#include "inflight.h"
#include "options.h"
#include "session.h"

enum { VERSION = 1 };

struct entry {
	uint8_t inflight, padding;
	uint16_t next;	    /* of the list, or of the free list */
	uint16_t last, num; /* of a head: the list's last entry, and how many it has */
	uint64_t counter;
	uint16_t id, flags;
	uint32_t len;
	uint64_t addr;
};

struct area {
	uint64_t features;
	uint16_t version, desc_num;
	uint16_t free_head, old_free_head;
	uint16_t used_idx, old_used_idx;
	uint8_t used_wrap, old_used_wrap;
	uint8_t padding[10];
	struct entry desc[];
};

_Static_assert(sizeof(struct area) == 32 && sizeof(struct entry) == 32, "the published layout");

uint64_t inflight_packed_size(uint32_t queue_size)
{
	return sizeof(struct area) + sizeof(struct entry) * (uint64_t)queue_size;
}

static struct area *area_of(const struct ring *r)
{
	return inflight_area(r, true);
}

static uint16_t entries(const struct ring *r)
{
	return (uint16_t)r->s->inflight.queue_size;
}

static void init(struct ring *r, struct area *a)
{
	uint16_t n = entries(r);

	memset(a, 0, inflight_packed_size(n));
	a->desc_num = fault(inflight_desc_num) ? 0 : n;
	for (uint16_t i = 0; i < n; i++) /* the last one's is the end */
		a->desc[i].next = (uint16_t)(i + 1);
	a->used_idx = a->old_used_idx = (uint16_t)r->put.at;
	a->used_wrap = a->old_used_wrap = r->put.wrap;
	__atomic_store_n(&a->version, fault(inflight_version) ? 0 : VERSION, __ATOMIC_RELEASE);
}

/* What stands there is used as index and count from now on: whether it can be. */
static bool sane(const struct ring *r, const struct area *a)
{
	uint16_t n = entries(r);

	return a->version == VERSION && a->desc_num == n && a->free_head <= n && a->old_free_head <= n &&
	       a->used_idx < r->num && a->old_used_idx < r->num;
}

/*
 * A return that was under way reached the ring, or did not: a descriptor that is no longer available in its
 * lap was marked as used.
 */
static void settle(struct ring *r, struct area *a)
{
	bool moved = a->used_idx != a->old_used_idx || a->used_wrap != a->old_used_wrap;
	bool out = !packed_available(r, a->old_used_idx, a->old_used_wrap);

	if (moved && (out || fault(inflight_packed_commit)) && !fault(inflight_packed_rollback)) {
		a->old_free_head = a->free_head;
		a->old_used_idx = a->used_idx;
		a->old_used_wrap = a->used_wrap;
	}
	a->free_head = a->old_free_head;
	a->used_idx = a->old_used_idx;
	a->used_wrap = a->old_used_wrap;
}

/*
 * Entries on the free list are in flight no more. False if the list has no end, or what is left cannot be in
 * a ring of that size.
 */
static bool clear_free(const struct ring *r, struct area *a)
{
	uint16_t n = entries(r), at = a->free_head;
	uint32_t left = n, slots = 0;

	for (; at < n && left; left--) {
		a->desc[at].inflight = 0;
		at = a->desc[at].next;
	}
	if (at < n)
		return false;
	for (uint16_t i = 0; i < n; i++)
		slots += a->desc[i].inflight ? a->desc[i].num : 0;
	return slots <= r->num;
}

static unsigned collect(struct ring *r, struct area *a, uint16_t *redo)
{
	struct inflight_marks marks = {.of = calloc(r->num, sizeof(*marks.of))};

	for (uint16_t i = 0; marks.of && i < entries(r) && marks.n < r->num; i++)
		if (__atomic_load_n(&a->desc[i].inflight, __ATOMIC_ACQUIRE))
			inflight_mark(r, &marks, i, &a->desc[i].counter);
	return inflight_in_order(&marks, redo);
}

unsigned inflight_packed_recover(struct ring *r, uint16_t *redo)
{
	struct area *a = area_of(r);

	if (fault(inflight_version_crash) && a->version > VERSION)
		fault_crash();
	if (!sane(r, a)) {
		if (a->version == VERSION && fault(inflight_last_crash))
			fault_crash();
		init(r, a);
		return 0;
	}
	settle(r, a);
	if (!clear_free(r, a)) {
		remark("ring %u: its inflight region makes no sense", r->index);
		init(r, a);
		return 0;
	}
	r->put = (struct spot){.at = a->used_idx, .wrap = a->used_wrap};
	return collect(r, a, redo);
}

uint32_t inflight_packed_slots(const struct ring *r)
{
	const struct area *a = area_of(r);
	uint32_t slots = 0;

	for (unsigned i = 0; a && i < r->n_redo; i++)
		slots += a->desc[r->redo[i]].num;
	return slots <= r->num ? slots : 0;
}

uint16_t inflight_packed_count(const struct ring *r, uint16_t entry)
{
	const struct area *a = area_of(r);
	uint16_t n = a && entry < entries(r) ? a->desc[entry].num : 0;

	return n <= r->num ? n : 0;
}

bool inflight_packed_copy(const struct ring *r, uint16_t *entry, struct packed_copy *ret)
{
	const struct area *a = area_of(r);
	const struct entry *e;

	if (!a || *entry >= entries(r))
		return false;
	e = &a->desc[*entry];
	*ret = (struct packed_copy){.addr = e->addr, .len = e->len, .id = e->id, .flags = e->flags};
	*entry = e->next;
	return true;
}

void inflight_packed_take(struct ring *r, struct taken *t)
{
	struct area *a = area_of(r);
	struct spot at = t->from;
	struct entry *head;

	if (!a || fault(inflight_never_set) || a->old_free_head >= entries(r))
		return;
	t->entry = a->old_free_head;
	head = &a->desc[t->entry];
	head->num = 0;
	head->counter = r->s->inflight.counter++;
	__atomic_store_n(&head->inflight, 1, __ATOMIC_RELEASE);
	for (uint32_t i = 0; i < t->slots && a->free_head < entries(r); i++, at = packed_forward(r, at, 1)) {
		struct entry *e = &a->desc[a->free_head];
		struct packed_copy d = packed_read(r, at);

		if (i + 1 == t->slots)
			head->last = a->free_head;
		head->num++;
		e->addr = d.addr;
		e->len = d.len;
		e->flags = d.flags;
		e->id = d.id;
		__atomic_store_n(&a->free_head, e->next, __ATOMIC_RELEASE);
	}
	__atomic_store_n(&a->old_free_head, a->free_head, __ATOMIC_RELEASE);
}

/* Back to the free list, and the place of what is used next moves on: neither counts until the commit. */
void inflight_packed_give(struct ring *r, const struct chain *c)
{
	struct area *a = area_of(r);
	struct entry *head;
	struct spot used;

	if (!a || c->entry >= entries(r) || fault(inflight_never_set))
		return;
	head = &a->desc[c->entry];
	if (head->last >= entries(r))
		return;
	a->desc[head->last].next = a->free_head;
	__atomic_store_n(&a->free_head, c->entry, __ATOMIC_RELEASE);
	used = packed_forward(r, (struct spot){.at = a->used_idx, .wrap = a->used_wrap}, c->slots);
	a->used_wrap = used.wrap;
	if (!fault(inflight_packed_used))
		__atomic_store_n(&a->used_idx, (uint16_t)used.at, __ATOMIC_RELEASE);
	r->given[r->n_given++] = c->entry;
}

/* The ring shows it. */
void inflight_packed_commit(struct ring *r)
{
	struct area *a = area_of(r);

	for (; a && r->n_given && !fault(inflight_never_clear); r->n_given--)
		__atomic_store_n(&a->desc[r->given[r->n_given - 1]].inflight, 0, __ATOMIC_RELEASE);
	r->n_given = 0;
	if (!a)
		return;
	a->old_free_head = a->free_head;
	if (fault(inflight_packed_old))
		return;
	a->old_used_wrap = a->used_wrap;
	__atomic_store_n(&a->old_used_idx, a->used_idx, __ATOMIC_RELEASE);
}
