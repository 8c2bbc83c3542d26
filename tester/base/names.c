/* Comparing names: globs, and the slip of a typing hand. */
#include "base/util.h"

#include <string.h>

bool vhu_glob(const char *pattern, const char *text)
{
	const char *star = NULL, *resume = NULL;

	/* Only the last star needs to be tried again: an earlier one can take no more than it had to. */
	while (*text) {
		if (*pattern == '*') {
			star = ++pattern;
			resume = text;
		} else if (*pattern == '?' || *pattern == *text) {
			pattern++;
			text++;
		} else if (star) {
			pattern = star;
			text = ++resume;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return !*pattern;
}

enum { NAME_MAX_LEN = 96 }; /* longer ones are no names of ours */

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

/*
 * Edit distance where insertion, deletion, replacement and a swap of neighbours cost one, and
 * case costs nothing. Both lengths are at most NAME_MAX_LEN.
 */
static size_t distance(const char *a, size_t na, const char *b, size_t nb)
{
	size_t rows[3][NAME_MAX_LEN + 1];
	size_t *before = rows[0], *above = rows[1], *row = rows[2];

	for (size_t j = 0; j <= nb; j++)
		above[j] = j;
	for (size_t i = 1; i <= na; i++) {
		row[0] = i;
		for (size_t j = 1; j <= nb; j++) {
			size_t differ = lower(a[i - 1]) != lower(b[j - 1]);
			size_t best = VHU_MIN(above[j], row[j - 1]) + 1;

			best = VHU_MIN(best, above[j - 1] + differ);
			if (i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) &&
			    lower(a[i - 2]) == lower(b[j - 1]))
				best = VHU_MIN(best, before[j - 2] + 1);
			row[j] = best;
		}
		size_t *oldest = before;
		before = above;
		above = row;
		row = oldest;
	}
	return above[nb];
}

const char *vhu_nearest_name(const char *name, const char *(*next)(void *ctx, size_t i), void *ctx)
{
	size_t len = strlen(name);
	size_t best_distance = 1 + len / 4 + 1;
	const char *best = NULL, *candidate;

	if (len > NAME_MAX_LEN)
		return NULL;
	for (size_t i = 0; (candidate = next(ctx, i)); i++) {
		size_t n = strlen(candidate);
		size_t gap = n > len ? n - len : len - n;

		if (n > NAME_MAX_LEN || gap >= best_distance)
			continue;
		size_t d = distance(name, len, candidate, n);

		/* A name of which nothing is left is no slip. */
		if (d < best_distance && d < len) {
			best_distance = d;
			best = candidate;
		}
	}
	return best;
}
