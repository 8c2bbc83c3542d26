/*
 * Steps that are repeated for each ring become a loop. What has to be alike is everything but numbers; a
 * number has to be the same for all rings, the ring's own, or to grow by the same amount from ring to ring.
 */
#include <inttypes.h>
#include <string.h>

#include "internal.h"
#include "trace_case.h"

enum { BODY_MAX = 16, RINGS_MAX = 256 };

#define NO_RING UINT64_MAX

/* The ring that a step is about. */
static uint64_t ring_of(json_t *steps, size_t i)
{
	json_t *index = json_object_get(json_object_get(json_array_get(steps, i), "with"), "index");

	return json_is_integer(index) ? (uint64_t)json_integer_value(index) : NO_RING;
}

/* A number, also where it is text because of its size. */
static bool number_of(json_t *json, uint64_t *ret)
{
	if (json_is_integer(json)) {
		*ret = (uint64_t)json_integer_value(json);
		return json_integer_value(json) >= 0;
	}
	return json_is_string(json) && !strncmp(json_string_value(json), "0x", 2) &&
	       vhu_u64_parse(json_string_value(json), ret) == 0;
}

/* Numbers of one place, ring by ring. */
struct place {
	const uint64_t *rings;
	size_t n;
	uint64_t values[RINGS_MAX];
};

/* values = a + ring * b, all of it without a wrap; false if it is nothing of that kind. */
static bool is_line(const struct place *p, uint64_t *ret_a, uint64_t *ret_b)
{
	uint64_t step = p->rings[1] > p->rings[0] ? p->rings[1] - p->rings[0] : p->rings[0] - p->rings[1];
	uint64_t low = p->rings[1] > p->rings[0] ? p->values[0] : p->values[1];
	uint64_t high = p->rings[1] > p->rings[0] ? p->values[1] : p->values[0];
	uint64_t b, at;

	if (!step || high < low || (high - low) % step)
		return false;
	b = (high - low) / step;
	if (__builtin_mul_overflow(b, p->rings[0], &at) || at > p->values[0])
		return false;
	*ret_a = p->values[0] - at;
	*ret_b = b;
	for (size_t i = 0; i < p->n; i++)
		if (p->values[i] != *ret_a + b * p->rings[i])
			return false;
	return true;
}

static json_t *line(uint64_t a, uint64_t b)
{
	char text[80];

	if (b == 1 && !a)
		return json_string("$q");
	if (a)
		snprintf(text, sizeof(text), "$q * 0x%" PRIx64 " + 0x%" PRIx64, b, a);
	else
		snprintf(text, sizeof(text), "$q * 0x%" PRIx64, b);
	return json_string(text);
}

static json_t *merge(json_t *const *of, const uint64_t *rings, size_t n, const char *key);

/* One value of n steps; NULL: they can't be one. */
static json_t *merge_numbers(json_t *const *of, const uint64_t *rings, size_t n, const char *key)
{
	struct place p = {.rings = rings, .n = n};
	bool alike = true;
	uint64_t a, b;

	for (size_t i = 0; i < n; i++) {
		if (!number_of(of[i], &p.values[i]))
			return NULL;
		alike &= p.values[i] == p.values[0];
	}
	if (alike && (!key || strcmp(key, "index")))
		return json_incref(of[0]);
	return is_line(&p, &a, &b) ? line(a, b) : NULL;
}

static json_t *merge_objects(json_t *const *of, const uint64_t *rings, size_t n)
{
	json_t *all = json_object(), *parts[RINGS_MAX], *value;
	const char *key;

	json_object_foreach(of[0], key, value)
	{
		json_t *one = NULL;

		for (size_t i = 0; i < n; i++)
			parts[i] = json_object_get(of[i], key);
		for (size_t i = 1; i < n && parts[0]; i++)
			if (!parts[i] || json_object_size(of[i]) != json_object_size(of[0]))
				parts[0] = NULL;
		one = parts[0] ? merge(parts, rings, n, key) : NULL;
		if (!one || json_object_set_new(all, key, one) < 0) {
			json_decref(all);
			return NULL;
		}
	}
	return all;
}

static json_t *merge_lists(json_t *const *of, const uint64_t *rings, size_t n)
{
	json_t *all = json_array(), *parts[RINGS_MAX];

	for (size_t k = 0; k < json_array_size(of[0]); k++) {
		json_t *one;

		for (size_t i = 0; i < n; i++)
			parts[i] = json_array_size(of[i]) == json_array_size(of[0]) ? json_array_get(of[i], k)
										    : NULL;
		for (size_t i = 1; i < n; i++)
			if (!parts[i])
				parts[0] = NULL;
		one = parts[0] ? merge(parts, rings, n, NULL) : NULL;
		if (!one || json_array_append_new(all, one) < 0) {
			json_decref(all);
			return NULL;
		}
	}
	return all;
}

static json_t *merge(json_t *const *of, const uint64_t *rings, size_t n, const char *key)
{
	uint64_t number;
	bool alike = true;

	if (number_of(of[0], &number))
		return merge_numbers(of, rings, n, key);
	for (size_t i = 1; i < n; i++) {
		if (json_typeof(of[i]) != json_typeof(of[0]))
			return NULL;
		alike &= json_equal(of[i], of[0]);
	}
	if (json_is_object(of[0]))
		return merge_objects(of, rings, n);
	if (json_is_array(of[0]))
		return merge_lists(of, rings, n);
	return alike ? json_incref(of[0]) : NULL;
}

/* --- runs of steps --------------------------------------------------------------------------------- */

/* How many times `body` steps from `at` on are repeated, each time about one ring; their rings in `rings`. */
static size_t rounds_of(json_t *steps, size_t at, size_t body, uint64_t *rings)
{
	size_t n = 0;

	for (; n < RINGS_MAX && at + (n + 1) * body <= json_array_size(steps); n++) {
		uint64_t ring = ring_of(steps, at + n * body);
		bool one = ring != NO_RING;

		for (size_t k = 1; k < body; k++)
			one &= ring_of(steps, at + n * body + k) == ring;
		for (size_t i = 0; i < n; i++)
			one &= rings[i] != ring;
		if (!one)
			break;
		rings[n] = ring;
	}
	return n;
}

/* The loop's body over the first n rounds, or NULL if they are not alike. */
static json_t *body_of(json_t *steps, size_t at, size_t body, const uint64_t *rings, size_t n)
{
	json_t *all = json_array(), *parts[RINGS_MAX];

	for (size_t k = 0; k < body; k++) {
		json_t *one;

		for (size_t i = 0; i < n; i++)
			parts[i] = json_array_get(steps, at + i * body + k);
		one = merge(parts, rings, n, NULL);
		if (!one || json_array_append_new(all, one) < 0) {
			json_decref(all);
			return NULL;
		}
	}
	return all;
}

static json_t *range(const uint64_t *rings, size_t n)
{
	bool row = true;
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++) {
		row &= rings[i] == rings[0] + i;
		json_array_append_new(list, json_integer((json_int_t)rings[i]));
	}
	if (!row)
		return list;
	json_decref(list);
	return json_pack("{s:I, s:I}", "from", (json_int_t)rings[0], "to", (json_int_t)rings[n - 1]);
}

/* The loop that begins at this step and covers most; NULL: none. */
static json_t *loop_at(json_t *steps, size_t at, size_t *ret_covered)
{
	json_t *best = NULL;
	uint64_t rings[RINGS_MAX];

	*ret_covered = 0;
	for (size_t body = 1; body <= BODY_MAX; body++) {
		size_t n = rounds_of(steps, at, body, rings);
		json_t *all = NULL;

		for (; n >= 2 && n * body > *ret_covered && !all; n--)
			all = body_of(steps, at, body, rings, n);
		if (!all)
			continue;
		n++;
		json_decref(best);
		best = json_pack("{s:s, s:o, s:o}", "for_each_queue", "q", "of", range(rings, n), "do", all);
		*ret_covered = n * body;
	}
	return best;
}

json_t *vhu_trace_fold(json_t *steps)
{
	json_t *folded = json_array();

	for (size_t i = 0; folded && i < json_array_size(steps);) {
		size_t covered;
		json_t *loop = loop_at(steps, i, &covered);

		if (loop)
			json_array_append_new(folded, loop);
		else
			json_array_append(folded, json_array_get(steps, i));
		i += loop ? covered : 1;
	}
	json_decref(steps);
	return folded;
}
