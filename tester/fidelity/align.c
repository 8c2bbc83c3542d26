/* What the persona says, laid over what was recorded. */
#include "internal.h"

#include <errno.h>
#include <string.h>

enum { SLACK = 8 };

/* --- one message -------------------------------------------------------------------------------------------
 */

static enum match differs(char *why, size_t cap, const char *what)
{
	snprintf(why, cap, "%s", what);
	return MATCH_DIFFERS;
}

static bool kind_fits(const struct spoken_fd *s, const struct vhu_tape_fd *fd)
{
	if (s->kind != VHU_FDK_UNKNOWN)
		return s->kind == fd->kind;
	return fd->kind == VHU_FDK_MEMFD || fd->kind == VHU_FDK_HUGETLB || fd->kind == VHU_FDK_FILE;
}

static enum match match_fd(const struct bindings *b, const struct spoken_fd *s, const struct vhu_tape_fd *fd,
			   char *why, size_t cap)
{
	uint32_t label = fd->label < LABELS_TRACKED ? fd->label : 0;

	if (!kind_fits(s, fd))
		return differs(why, cap, "another kind of descriptor");
	if (s->kind == VHU_FDK_EVENTFD && fd->count >= 0 && (fd->count < s->least || fd->count > s->most))
		return differs(why, cap, "what the eventfd holds");
	if (fd->blocking)
		return differs(why, cap, "a blocking eventfd");
	if (s->name && fd->name[0] && strcmp(s->name, fd->name) != 0)
		return differs(why, cap, "another memfd");
	if (s->label && label && s->label != label)
		return differs(why, cap, "another object than before");
	if (!s->symbol && label && b->symbol_of[label] && b->symbol_of[label] != s->shared)
		return differs(why, cap, "an object used before");
	if (s->symbol && label &&
	    (b->label_of[s->symbol] ? b->label_of[s->symbol] != label : b->symbol_of[label] != 0))
		return differs(why, cap,
			       b->label_of[s->symbol] ? "another object than before"
						      : "an object used before");
	return MATCH_SAME;
}

static enum match match_payload(const struct spoken *s, const struct vhu_frame *f, char *why, size_t cap)
{
	size_t n = VHU_MIN(f->len, s->len);

	if (f->size != s->len && !s->any_len)
		return differs(why, cap, "size of the payload");
	for (size_t i = 0; i < n; i++)
		if (!s->masked[i] && s->payload[i] != f->payload[i])
			return differs(why, cap, "payload");
	return MATCH_SAME;
}

enum match vhu_match_spoken(const struct bindings *b, const struct spoken *s,
			    const struct vhu_tape_item *item, char *why, size_t cap)
{
	const struct vhu_msg_row *row = vhu_msg_row(s->msg);
	const struct vhu_frame *f = &item->frame;
	uint32_t flags = VHU_C_HEADER_VERSION | (s->need_reply ? VHU_C_HEADER_NEED_REPLY : 0);
	enum match m;

	if (f->request != row->id)
		return MATCH_OTHER;
	if (row->scope == VHU_SCOPE_RING && f->len >= 4 && vhu_ne_get(f->payload, 4) != s->queue)
		return MATCH_OTHER;
	if (item->odd)
		return differs(why, cap, item->odd);
	if (f->flags != flags)
		return differs(why, cap, "flags");
	if (item->n_fds != s->n_fds)
		return differs(why, cap, "number of descriptors");
	m = match_payload(s, f, why, cap);
	for (size_t i = 0; m == MATCH_SAME && i < s->n_fds; i++)
		m = match_fd(b, &s->fds[i], &item->fds[i], why, cap);
	return m;
}

void vhu_bind_fds(struct bindings *b, const struct spoken *s, const struct vhu_tape_item *item)
{
	for (size_t i = 0; i < VHU_MIN(s->n_fds, item->n_fds); i++) {
		uint32_t symbol = s->fds[i].symbol, label = item->fds[i].label;

		if (symbol >= SYMBOLS_MAX || label == 0 || label >= LABELS_TRACKED || b->symbol_of[label] ||
		    (symbol && b->label_of[symbol]))
			continue;
		if (symbol == 0) {
			b->symbol_of[label] = s->fds[i].shared;
			continue;
		}
		b->label_of[symbol] = label;
		b->symbol_of[label] = s->fds[i].shared ? s->fds[i].shared : symbol;
	}
}

/* --- a phase -----------------------------------------------------------------------------------------------
 */

/* cost * WEIGHT - matches: fewest differences first, then most that is right. */
enum { WEIGHT = 1 << 16 };

struct grid {
	int *value; /* (m + 1) rows of (width + 1) */
	size_t m, width;
};

static int *at_grid(const struct grid *g, size_t i, size_t j)
{
	return &g->value[i * (g->width + 1) + j];
}

static int pair_value(const struct bindings *b, const struct speech *s, const struct segment *seg, size_t at,
		      size_t i, size_t j)
{
	char why[16];

	switch (vhu_match_spoken(b, &s->said[i], vhu_said_at(seg, at + j), why, sizeof(why))) {
	case MATCH_SAME:
		return -1;
	case MATCH_DIFFERS:
		return WEIGHT;
	case MATCH_OTHER:
		break;
	}
	return 2 * WEIGHT + 1;
}

static void fill_grid(const struct grid *g, const struct bindings *b, const struct speech *s,
		      const struct segment *seg, size_t at)
{
	for (size_t j = 0; j <= g->width; j++)
		*at_grid(g, 0, j) = (int)j * WEIGHT;
	for (size_t i = 1; i <= g->m; i++) {
		*at_grid(g, i, 0) = (int)i * WEIGHT;
		for (size_t j = 1; j <= g->width; j++) {
			int both = *at_grid(g, i - 1, j - 1), best;

			/* Far from the diagonal nothing is worth a look. */
			both += i > j + 64 || j > i + 64 ? 2 * WEIGHT + 1
							 : pair_value(b, s, seg, at, i - 1, j - 1);
			best = VHU_MIN(both, VHU_MIN(*at_grid(g, i - 1, j), *at_grid(g, i, j - 1)) + WEIGHT);
			*at_grid(g, i, j) = best;
		}
	}
}

static size_t best_end(const struct grid *g)
{
	size_t best = 0;

	for (size_t j = 1; j <= g->width; j++)
		if (*at_grid(g, g->m, j) < *at_grid(g, g->m, best))
			best = j;
	return best;
}

/* The way back through the grid, told in order. */
static int tell(const struct grid *g, const struct bindings *b, const struct speech *s,
		const struct segment *seg, size_t at, size_t last, size_t end, align_step *step, void *ctx)
{
	struct pair {
		const struct spoken *expected;
		const struct vhu_tape_item *recorded;
	} * way;
	size_t i = last, j = end, n = 0;

	way = calloc(i + j + 1, sizeof(*way));
	if (!way)
		return -ENOMEM;
	while (i || j) {
		int here = *at_grid(g, i, j);
		struct pair *p = &way[n++];

		if (i && j && (i <= j + 64 && j <= i + 64) &&
		    here == *at_grid(g, i - 1, j - 1) + pair_value(b, s, seg, at, i - 1, j - 1) &&
		    pair_value(b, s, seg, at, i - 1, j - 1) <= WEIGHT) {
			p->expected = &s->said[--i];
			p->recorded = vhu_said_at(seg, at + --j);
		} else if (i && here == *at_grid(g, i - 1, j) + WEIGHT) {
			p->expected = &s->said[--i];
		} else {
			p->recorded = vhu_said_at(seg, at + --j);
		}
	}
	while (n--)
		step(ctx, way[n].expected, way[n].recorded);
	for (i = last; i < g->m; i++)
		step(ctx, &s->said[i], NULL);
	free(way);
	return 0;
}

int vhu_align(const struct bindings *b, const struct speech *s, const struct segment *seg, size_t at,
	      struct alignment *ret, align_step *step, void *ctx)
{
	size_t left = seg->n_said - VHU_MIN(at, seg->n_said);
	struct grid g = {.m = s->n, .width = VHU_MIN(left, s->n + SLACK)};
	size_t end, last = s->n;
	int rc = 0, value;

	g.value = calloc((g.m + 1) * (g.width + 1), sizeof(*g.value));
	if (!g.value)
		return -ENOMEM;
	fill_grid(&g, b, s, seg, at);
	end = best_end(&g);
	value = *at_grid(&g, g.m, end);
	/* Cut off by the back-end: it may end anywhere, if the recording does. */
	for (size_t i = 0; i < g.m && vhu_may_be_cut(seg) && g.width == left; i++)
		if (*at_grid(&g, i, left) < value) {
			value = *at_grid(&g, i, left);
			end = left;
			last = i;
		}
	ret->consumed = end;
	ret->cost = value > 0 ? ((size_t)value + WEIGHT - 1) / WEIGHT : 0;
	ret->matches = (size_t)((long)(ret->cost * WEIGHT) - value);
	if (step)
		rc = tell(&g, b, s, seg, at, last, end, step, ctx);
	free(g.value);
	return rc;
}
