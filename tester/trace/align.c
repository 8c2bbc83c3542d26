/*
 * Myers' greedy algorithm: the furthest points that d edits reach, for d = 0, 1, …; the way back is read from
 * the points that were kept of each round.
 */
#include "trace/align.h"

#include <errno.h>
#include <string.h>

#include "base/arena.h"

enum { EDITS_MAX = 3000 };

struct aligner {
	const uint64_t *a, *b;
	long n_a, n_b;
	struct vhu_arena *arena;
	int32_t **rounds; /* of round d: x on the diagonals -d … d */
	struct vhu_align_step *steps;
	size_t n;
};

static void put(struct aligner *g, long a, long b)
{
	g->steps[g->n++] = (struct vhu_align_step){a, b};
}

/* How far diagonal k goes with one edit more than `before` of round d - 1. */
static long furthest(const struct aligner *g, const int32_t *before, long d, long k)
{
	long x;

	if (d == 0)
		x = 0;
	else if (k == -d || (k != d && before[k - 1 + d - 1] < before[k + 1 + d - 1]))
		x = before[k + 1 + d - 1];
	else
		x = before[k - 1 + d - 1] + 1;
	while (x < g->n_a && x - k < g->n_b && g->a[x] == g->b[x - k])
		x++;
	return x;
}

/* The steps of rounds d … 0 that end at (x, y), written from the back. */
static void walk_back(struct aligner *g, long d, long x, long y)
{
	for (; d > 0; d--) {
		const int32_t *before = g->rounds[d - 1];
		long k = x - y, from, from_x, from_y;

		if (k == -d || (k != d && before[k - 1 + d - 1] < before[k + 1 + d - 1]))
			from = k + 1;
		else
			from = k - 1;
		from_x = before[from + d - 1];
		from_y = from_x - from;
		while (x > from_x && y > from_y)
			put(g, --x, --y);
		if (x > from_x)
			put(g, --x, -1);
		else
			put(g, -1, --y);
	}
	while (x > 0 && y > 0)
		put(g, --x, --y);
}

static void reverse(struct aligner *g)
{
	for (size_t i = 0; i < g->n / 2; i++) {
		struct vhu_align_step t = g->steps[i];

		g->steps[i] = g->steps[g->n - 1 - i];
		g->steps[g->n - 1 - i] = t;
	}
}

/* The end that round d reached, or the point that got furthest. */
static bool best(const struct aligner *g, long d, long *x, long *y)
{
	*x = *y = -1;
	for (long k = -d; k <= d; k += 2) {
		long at = g->rounds[d][k + d];

		if (at > g->n_a || at - k > g->n_b)
			continue;
		if (at + at - k > *x + *y) {
			*x = at;
			*y = at - k;
		}
	}
	return *x == g->n_a && *y == g->n_b;
}

static int find(struct aligner *g, bool *gave_up)
{
	long limit = VHU_MIN(g->n_a + g->n_b, (long)EDITS_MAX), x = 0, y = 0, d;
	bool done = false;

	g->rounds = vhu_arena_array(g->arena, (size_t)limit + 1, sizeof(*g->rounds));
	if (!g->rounds)
		return -ENOMEM;
	for (d = 0; d <= limit && !done; d++) {
		g->rounds[d] = vhu_arena_array(g->arena, 2 * (size_t)d + 1, sizeof(**g->rounds));
		if (!g->rounds[d])
			return -ENOMEM;
		for (long k = -d; k <= d; k += 2) {
			long at = furthest(g, d ? g->rounds[d - 1] : NULL, d, k);

			g->rounds[d][k + d] = (int32_t)at;
		}
		done = best(g, d, &x, &y);
	}
	walk_back(g, d - 1, x, y);
	reverse(g);
	*gave_up = !done;
	while (x < g->n_a)
		put(g, x++, -1);
	while (y < g->n_b)
		put(g, -1, y++);
	return 0;
}

int vhu_align(const uint64_t *a, size_t n_a, const uint64_t *b, size_t n_b, struct vhu_arena *arena,
	      struct vhu_align_step **ret, size_t *ret_n, bool *gave_up)
{
	struct aligner g = {.a = a, .b = b, .n_a = (long)n_a, .n_b = (long)n_b, .arena = arena};
	int code;

	g.steps = vhu_arena_array(arena, n_a + n_b, sizeof(*g.steps));
	if (!g.steps)
		return -ENOMEM;
	code = find(&g, gave_up);
	*ret = g.steps;
	*ret_n = g.n;
	return code;
}
