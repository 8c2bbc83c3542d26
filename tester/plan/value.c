/* Values and matchers when they are used. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "internal.h"

bool vhu_value_is_const(const struct vhu_value *v)
{
	for (unsigned i = 0; i < v->n; i++)
		if (v->terms[i].is_var)
			return false;
	return v->n > 0;
}

static int apply(enum vhu_value_op op, uint64_t a, uint64_t b, uint64_t *ret)
{
	bool wrapped = false;

	switch (op) {
	case VHU_OP_FIRST:
		*ret = b;
		break;
	case VHU_OP_ADD:
		wrapped = __builtin_add_overflow(a, b, ret);
		break;
	case VHU_OP_SUB:
		wrapped = __builtin_sub_overflow(a, b, ret);
		break;
	case VHU_OP_MUL:
		wrapped = __builtin_mul_overflow(a, b, ret);
		break;
	case VHU_OP_OR:
		*ret = a | b;
		break;
	case VHU_OP_AND:
		*ret = a & b;
		break;
	case VHU_OP_ANDNOT:
		*ret = a & ~b;
		break;
	case VHU_OP_XOR:
		*ret = a ^ b;
		break;
	}
	return wrapped ? -ERANGE : 0;
}

int vhu_value_eval(const struct vhu_value *v, const uint64_t *vars, const bool *set, uint64_t *ret)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < v->n; i++) {
		const struct vhu_term *t = &v->terms[i];

		if (t->is_var && (!set || !set[t->var])) {
			*ret = t->var;
			return -ENODATA;
		}
		int r = apply(t->op, sum, t->is_var ? vars[t->var] : t->u, &sum);

		if (r < 0)
			return r;
	}
	*ret = sum;
	return 0;
}

/* --- matchers ------------------------------------------------------------------------------------- */

static int match_list(const struct vhu_match_term *t, uint64_t x, const uint64_t *vars, const bool *set)
{
	for (size_t i = 0; i < t->n_list; i++) {
		uint64_t value;
		int r = vhu_value_eval(&t->list[i], vars, set, &value);

		if (r < 0)
			return r;
		if (value == x)
			return 1;
	}
	return 0;
}

static int match_term(const struct vhu_match_term *t, uint64_t x, const uint64_t *vars, const bool *set)
{
	uint64_t value = 0, mask = 0;
	int r = 0;

	if (t->value.n)
		r = vhu_value_eval(&t->value, vars, set, &value);
	if (r == 0 && t->mask.n)
		r = vhu_value_eval(&t->mask, vars, set, &mask);
	if (r < 0)
		return r;
	switch (t->op) {
	case VHU_MATCH_EQ:
		return x == value;
	case VHU_MATCH_NE:
		return x != value;
	case VHU_MATCH_LT:
		return x < value;
	case VHU_MATCH_LE:
		return x <= value;
	case VHU_MATCH_GT:
		return x > value;
	case VHU_MATCH_GE:
		return x >= value;
	case VHU_MATCH_IN:
		return match_list(t, x, vars, set);
	case VHU_MATCH_HAS:
		return (x & value) == value;
	case VHU_MATCH_LACKS:
		return (x & value) == 0;
	case VHU_MATCH_MASKED:
		return (x & mask) == value;
	case VHU_MATCH_MULTIPLE_OF:
		return value && x % value == 0;
	case VHU_MATCH_ANY:
		return 1;
	case VHU_MATCH_BYTES:
	case VHU_MATCH_PREFIX:
	case VHU_MATCH_LEN:
		return 0; /* a number has no bytes */
	}
	return 0;
}

int vhu_match_u64(const struct vhu_matcher *m, uint64_t x, const uint64_t *vars, const bool *set,
		  size_t *ret_term)
{
	for (size_t i = 0; i < m->n; i++) {
		int r = match_term(&m->terms[i], x, vars, set);

		if (r == 0)
			*ret_term = i;
		if (r <= 0)
			return r;
	}
	return 1;
}

static int match_bytes_term(const struct vhu_match_term *t, const uint8_t *bytes, size_t len,
			    const uint64_t *vars, const bool *set)
{
	uint64_t value;
	int r;

	switch ((int)t->op) {
	case VHU_MATCH_ANY:
		return 1;
	case VHU_MATCH_BYTES:
		return len == t->n_bytes && (!len || !memcmp(bytes, t->bytes, len));
	case VHU_MATCH_PREFIX:
		return len >= t->n_bytes && (!t->n_bytes || !memcmp(bytes, t->bytes, t->n_bytes));
	case VHU_MATCH_LEN:
		r = vhu_value_eval(&t->value, vars, set, &value);
		return r < 0 ? r : len == value;
	default:
		return 0; /* bytes are no number */
	}
}

int vhu_match_bytes(const struct vhu_matcher *m, const uint8_t *bytes, size_t len, const uint64_t *vars,
		    const bool *set, size_t *ret_term)
{
	for (size_t i = 0; i < m->n; i++) {
		int r = match_bytes_term(&m->terms[i], bytes, len, vars, set);

		if (r == 0)
			*ret_term = i;
		if (r <= 0)
			return r;
	}
	return 1;
}

/* --- in words --------------------------------------------------------------------------------------- */

struct words {
	char *out;
	size_t cap, len;
};

static void VHU_PRINTF(2, 3) put(struct words *w, const char *format, ...)
{
	va_list args;
	int n;

	if (w->len >= w->cap)
		return;
	va_start(args, format);
	n = vsnprintf(w->out + w->len, w->cap - w->len, format, args);
	va_end(args);
	w->len = VHU_MIN(w->len + (size_t)VHU_MAX(n, 0), w->cap - 1);
}

static void put_value(struct words *w, const struct vhu_value *v, const uint64_t *vars, const bool *set)
{
	uint64_t u;

	if (vhu_value_eval(v, vars, set, &u) < 0)
		put(w, "(not known yet)");
	else
		put(w, u < 10 ? "%" PRIu64 : "0x%" PRIx64, u);
}

/* Bits by name where the field has names for them. */
static void put_bits(struct words *w, const struct vhu_matcher *m, const struct vhu_value *v,
		     const uint64_t *vars, const bool *set)
{
	char names[256];
	uint64_t u;

	if (m->ns == VHU_NS_NONE || vhu_value_eval(v, vars, set, &u) < 0)
		put_value(w, v, vars, set);
	else
		put(w, "%s", vhu_bit_names(m->ns, m->device, u, names, sizeof(names)));
}

static void put_hex(struct words *w, const uint8_t *bytes, size_t len)
{
	char hex[128];

	put(w, "%s", vhu_hex_format(bytes, len, hex, sizeof(hex)));
}

static void put_term(struct words *w, const struct vhu_matcher *m, const struct vhu_match_term *t,
		     const uint64_t *vars, const bool *set)
{
	static const char *const before[] = {
		[VHU_MATCH_EQ] = "= ",
		[VHU_MATCH_NE] = "not ",
		[VHU_MATCH_LT] = "< ",
		[VHU_MATCH_LE] = "<= ",
		[VHU_MATCH_GT] = "> ",
		[VHU_MATCH_GE] = ">= ",
		[VHU_MATCH_IN] = "one of ",
		[VHU_MATCH_HAS] = "has ",
		[VHU_MATCH_LACKS] = "lacks ",
		[VHU_MATCH_MASKED] = "= ",
		[VHU_MATCH_MULTIPLE_OF] = "a multiple of ",
		[VHU_MATCH_ANY] = "anything",
		[VHU_MATCH_BYTES] = "the bytes ",
		[VHU_MATCH_PREFIX] = "starts with ",
		[VHU_MATCH_LEN] = "bytes: ",
	};

	put(w, "%s", before[t->op]);
	switch (t->op) {
	case VHU_MATCH_HAS:
	case VHU_MATCH_LACKS:
		put_bits(w, m, &t->value, vars, set);
		break;
	case VHU_MATCH_IN:
		for (size_t i = 0; i < t->n_list; i++) {
			put(w, "%s", i ? ", " : "");
			put_value(w, &t->list[i], vars, set);
		}
		break;
	case VHU_MATCH_MASKED:
		put_value(w, &t->value, vars, set);
		put(w, " in the bits ");
		put_value(w, &t->mask, vars, set);
		break;
	case VHU_MATCH_BYTES:
	case VHU_MATCH_PREFIX:
		put_hex(w, t->bytes, t->n_bytes);
		break;
	case VHU_MATCH_ANY:
		break;
	case VHU_MATCH_EQ:
	case VHU_MATCH_NE:
	case VHU_MATCH_LT:
	case VHU_MATCH_LE:
	case VHU_MATCH_GT:
	case VHU_MATCH_GE:
	case VHU_MATCH_MULTIPLE_OF:
	case VHU_MATCH_LEN:
		put_value(w, &t->value, vars, set);
		break;
	}
}

void vhu_matcher_describe(const struct vhu_matcher *m, const uint64_t *vars, const bool *set, char *out,
			  size_t cap)
{
	struct words w = {out, cap, 0};

	if (!cap)
		return;
	out[0] = '\0';
	if (!m->n)
		put(&w, "anything");
	for (size_t i = 0; i < m->n; i++) {
		put(&w, "%s", i ? " and " : "");
		put_term(&w, m, &m->terms[i], vars, set);
	}
}

char *vhu_outcomes_describe(uint32_t outcomes, char *out, size_t cap)
{
	struct words w = {out, cap, 0};
	unsigned left = (unsigned)__builtin_popcount(outcomes);

	if (!cap)
		return out;
	out[0] = '\0';
	for (unsigned i = 0; vhu_words_outcome[i]; i++) {
		if (!(outcomes >> i & 1))
			continue;
		left--;
		put(&w, "%s%s", vhu_words_outcome[i], left > 1 ? ", " : left ? " or " : "");
	}
	return out;
}
