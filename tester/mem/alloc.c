/*
 * Buffers. The book-keeping is ours alone: nothing of it lies in guest memory, where a target
 * could change it.
 */
#include "state.h"

#include <assert.h>
#include <errno.h>

#include "base/rng.h"

enum {
	GRAIN = 16,	 /* blocks end at multiples of it */
	SPLIT_MIN = 256, /* smaller rests stay with the buffer, as canaries */
	BUCKETS_MIN = 256,
};

static void list_push(struct vhu_mem *m, struct block *b)
{
	struct block **head = &m->list[b->state];

	b->before = NULL;
	b->after = *head;
	if (*head)
		(*head)->before = b;
	*head = b;
}

static void list_remove(struct vhu_mem *m, struct block *b)
{
	if (b->before)
		b->before->after = b->after;
	else
		m->list[b->state] = b->after;
	if (b->after)
		b->after->before = b->before;
}

static size_t bucket_of(const struct vhu_mem *m, uint64_t gpa)
{
	return vhu_mix64(gpa) & (m->n_buckets - 1);
}

static void live_push(struct vhu_mem *m, struct block *b)
{
	struct block **head = &m->bucket[bucket_of(m, b->gpa)];

	b->after = *head;
	*head = b;
}

static void live_add(struct vhu_mem *m, struct block *b)
{
	size_t n = m->n_buckets * 2;
	struct block **old = m->bucket, **more = NULL;

	if (m->n_live >= n)
		more = calloc(n, sizeof(struct block *));
	if (more) { /* else the lists get longer, no more */
		size_t n_old = m->n_buckets;

		m->bucket = more;
		m->n_buckets = n;
		for (size_t i = 0; i < n_old; i++) {
			for (struct block *e = old[i], *after; e; e = after) {
				after = e->after;
				live_push(m, e);
			}
		}
		free(old);
	}
	live_push(m, b);
	m->n_live++;
}

static struct block *live_find(const struct vhu_mem *m, uint64_t gpa)
{
	struct block *b = m->bucket[bucket_of(m, gpa)];

	while (b && b->gpa != gpa)
		b = b->after;
	return b;
}

static void live_remove(struct vhu_mem *m, struct block *b)
{
	struct block **at = &m->bucket[bucket_of(m, b->gpa)];

	while (*at != b)
		at = &(*at)->after;
	*at = b->after;
	m->n_live--;
}

static int order_spans(const void *a, const void *b)
{
	const struct span *x = a, *y = b;

	return x->base < y->base ? -1 : x->base > y->base;
}

int vhu_mem_except(struct vhu_mem *m, uint64_t gpa, uint64_t len)
{
	uint64_t end = gpa + len < gpa ? UINT64_MAX : gpa + len;
	struct span *more;
	size_t n = 0;

	if (len == 0)
		return 0;
	more = realloc(m->except, (m->n_except + 1) * sizeof(*more));
	if (!more)
		return -ENOMEM;
	m->except = more;
	more[m->n_except++] = (struct span){gpa, end};
	qsort(more, m->n_except, sizeof(*more), order_spans);
	for (size_t i = 1; i < m->n_except; i++) {
		if (more[i].base <= more[n].end)
			more[n].end = VHU_MAX(more[n].end, more[i].end);
		else
			more[++n] = more[i];
	}
	m->n_except = n + 1;
	return 0;
}

/* The rings' part of region 0: all before the first data range in it. */
static int except_rings(struct vhu_mem *m, const struct vhu_layout *l)
{
	const struct vhu_region_layout *r = &l->region[0];
	uint64_t len = r->size;

	for (size_t i = 0; i < l->n_data; i++) {
		uint64_t at = l->data[i].gpa - r->gpa;

		if (at < len)
			len = at;
	}
	return vhu_mem_except(m, r->gpa, len);
}

int vhu_mem_ranges_init(struct vhu_mem *m, const struct vhu_layout *l)
{
	m->bucket = calloc(BUCKETS_MIN, sizeof(struct block *));
	if (!m->bucket)
		return -ENOMEM;
	m->n_buckets = BUCKETS_MIN;
	/* From the last to the first: the list then starts with the first. */
	for (size_t i = l->n_data; i-- > 0;) {
		struct block *b;

		if (l->data[i].len == 0)
			continue;
		if (!vhu_mem_at(m, l->data[i].gpa, l->data[i].len))
			return -EINVAL;
		b = calloc(1, sizeof(*b));
		if (!b)
			return -ENOMEM;
		b->base = l->data[i].gpa;
		b->end = b->base + l->data[i].len;
		b->state = BLOCK_FRESH;
		list_push(m, b);
		m->range[m->n_ranges++] = (struct range){b->base, b->end, b};
	}
	return except_rings(m, l);
}

void vhu_mem_ranges_done(struct vhu_mem *m)
{
	for (size_t i = 0; i < m->n_ranges; i++) {
		for (struct block *b = m->range[i].first, *next; b; b = next) {
			next = b->next;
			free(b);
		}
	}
	free(m->bucket);
}

/* Where in b a buffer would lie, with `front` and `back` bytes around it at least; false if it does not fit.
 */
static bool place(const struct block *b, uint64_t len, uint64_t align, uint64_t front, uint64_t back,
		  uint64_t *ret_gpa)
{
	uint64_t room = b->end - b->base, gpa;

	if (front > room)
		return false;
	gpa = (b->base + front + align - 1) & ~(align - 1);
	if (gpa < b->base + front || gpa >= b->end)
		return false;
	room = b->end - gpa;
	if (VHU_MAX(len, 1) > room || back > room - len)
		return false;
	*ret_gpa = gpa;
	return true;
}

/* Puts `part` before b in its range, with the bytes from b's base up to `end`. */
static void split_front(struct vhu_mem *m, struct block *b, struct block *part, uint64_t end)
{
	*part = (struct block){.base = b->base, .end = end, .state = b->state, .prev = b->prev, .next = b};
	b->base = end;
	b->prev = part;
	if (part->prev) {
		part->prev->next = part;
		return;
	}
	for (size_t i = 0; i < m->n_ranges; i++) {
		if (m->range[i].first == b)
			m->range[i].first = part;
	}
}

static void split_back(struct block *b, struct block *part, uint64_t base)
{
	*part = (struct block){.base = base, .end = b->end, .state = b->state, .prev = b, .next = b->next};
	b->end = base;
	if (part->next)
		part->next->prev = part;
	b->next = part;
}

/* Makes the buffer of block b, giving back what lies too far before and behind it. */
static int carve(struct vhu_mem *m, struct block *b, uint64_t gpa, uint64_t len, uint64_t front,
		 uint64_t back)
{
	uint64_t start = (gpa - front) & ~(uint64_t)(GRAIN - 1);
	uint64_t end = gpa + VHU_MAX(len, 1) + back;
	struct block *lead = NULL, *tail = NULL;

	end = VHU_MIN((end + GRAIN - 1) & ~(uint64_t)(GRAIN - 1), b->end);
	if (start > b->base && start - b->base >= SPLIT_MIN) {
		lead = malloc(sizeof(*lead));
		if (!lead)
			return -ENOMEM;
	}
	if (b->end - end >= SPLIT_MIN) {
		tail = malloc(sizeof(*tail));
		if (!tail) {
			free(lead);
			return -ENOMEM;
		}
	}
	list_remove(m, b);
	if (lead) {
		split_front(m, b, lead, start);
		list_push(m, lead);
	}
	if (tail) {
		split_back(b, tail, end);
		list_push(m, tail); /* pushed last: the next buffer follows this one */
	}
	b->state = BLOCK_LIVE;
	b->gpa = gpa;
	b->len = len;
	live_add(m, b);
	vhu_mem_canary_paint(m, b);
	return 0;
}

/* First fit; `edge`: buffers may touch the ends of their range, where there is no room for canaries. */
static int try_list(struct vhu_mem *m, enum block_state state, uint64_t len, uint64_t align, bool edge,
		    uint64_t *ret_gpa)
{
	for (struct block *b = m->list[state]; b; b = b->after) {
		uint64_t front = edge && !b->prev ? 0 : VHU_MEM_GUARD;
		uint64_t back = edge && !b->next ? 0 : VHU_MEM_GUARD;

		if (place(b, len, align, front, back, ret_gpa))
			return carve(m, b, *ret_gpa, len, front, back);
	}
	return -ENOSPC;
}

/* Joins b with the free block behind it. */
static void join_next(struct vhu_mem *m, struct block *b)
{
	struct block *n = b->next;

	if (!n || n->state != BLOCK_FREE)
		return;
	list_remove(m, n);
	b->end = n->end;
	b->next = n->next;
	if (n->next)
		n->next->prev = b;
	free(n);
}

static void give_back(struct vhu_mem *m, struct block *b)
{
	b->state = BLOCK_FREE;
	list_push(m, b);
	join_next(m, b);
	if (b->prev && b->prev->state == BLOCK_FREE)
		join_next(m, b->prev);
}

/*
 * Memory is short: what was never given out joins its free neighbours, and is no longer looked
 * at by vhu_mem_sweep. False if there is none.
 */
static bool join_fresh(struct vhu_mem *m)
{
	bool any = m->list[BLOCK_FRESH] != NULL;

	while (m->list[BLOCK_FRESH]) {
		struct block *b = m->list[BLOCK_FRESH];

		list_remove(m, b);
		give_back(m, b);
	}
	return any;
}

static uint64_t largest_range(const struct vhu_mem *m)
{
	uint64_t len = 0;

	for (size_t i = 0; i < m->n_ranges; i++)
		len = VHU_MAX(len, m->range[i].end - m->range[i].base);
	return len;
}

static int try_all(struct vhu_mem *m, uint64_t len, uint64_t align, uint64_t *ret_gpa)
{
	int r = -ENOSPC;

	for (int edge = 0; edge < 2 && r == -ENOSPC; edge++) {
		r = try_list(m, BLOCK_FREE, len, align, edge, ret_gpa);
		if (r == -ENOSPC)
			r = try_list(m, BLOCK_FRESH, len, align, edge, ret_gpa);
	}
	return r;
}

int vhu_mem_alloc(struct vhu_mem *m, uint64_t len, uint64_t align, uint64_t *ret_gpa, struct vhu_err *err)
{
	uint64_t gpa;
	int r;

	if (align == 0 || (align & (align - 1)))
		return vhu_err_set(err, -EINVAL, "guest memory: alignment %llu is no power of two",
				   (unsigned long long)align);
	r = try_all(m, len, align, &gpa);
	if (r == -ENOSPC && len <= largest_range(m) && join_fresh(m))
		r = try_all(m, len, align, &gpa);
	if (r == -ENOSPC)
		return vhu_err_set(err, r, "guest memory: no room for a buffer of %llu bytes",
				   (unsigned long long)len);
	if (r < 0)
		return vhu_err_errno(err, r, "guest memory");
	*ret_gpa = gpa;
	return 0;
}

bool vhu_mem_release(struct vhu_mem *m, uint64_t gpa, uint64_t *ret_gpa)
{
	struct block *b = live_find(m, gpa);
	bool whole;

	assert(b);
	whole = vhu_mem_canary_whole(m, b, ret_gpa);
	live_remove(m, b);
	give_back(m, b);
	return whole;
}

bool vhu_mem_check(struct vhu_mem *m, uint64_t gpa, uint64_t *ret_gpa)
{
	struct block *b = live_find(m, gpa);

	assert(b);
	if (vhu_mem_canary_whole(m, b, ret_gpa))
		return true;
	vhu_mem_canary_paint(m, b);
	return false;
}
