/* Values of a case file: numbers, names, expressions. */
#include <errno.h>
#include <string.h>

#include "internal.h"

/* --- names ------------------------------------------------------------------------------------------ */

static const char *const constant_names[] = {
#define VHU_CONSTANT(name, value, meaning) #name,
#include <vhu/constants.def>
	NULL,
};

static const char *namespace_words(enum vhu_namespace ns)
{
	switch (ns) {
	case VHU_NS_VIRTIO:
		return "virtio feature";
	case VHU_NS_PROTOCOL:
		return "protocol feature";
	case VHU_NS_STATUS:
		return "status bit";
	case VHU_NS_NONE:
		break;
	}
	return "name of the tables";
}

/* Features of one namespace, or of both, then the constants. */
static const char *known_at(void *ctx, size_t i)
{
	const enum vhu_namespace *ns = ctx;

	for (enum vhu_namespace k = VHU_NS_VIRTIO; k <= VHU_NS_STATUS; k++) {
		const struct vhu_feature_row *row;

		if (*ns != VHU_NS_NONE && *ns != k)
			continue;
		row = vhu_feature_row(k, i);
		if (row)
			return row->name;
		for (size_t n = 0; (row = vhu_feature_row(k, n)); n++)
			i--;
	}
	return i < VHU_ARRAY_SIZE(constant_names) ? constant_names[i] : NULL;
}

static bool unknown_name(struct compile *c, const struct node *n, enum vhu_namespace ns, const char *name)
{
	char near[HINT_CAP];

	for (enum vhu_namespace k = VHU_NS_VIRTIO; k <= VHU_NS_STATUS; k++) {
		if (!vhu_feature_by_name(k, name))
			continue;
		vhu_diag(c->report, n->path, "'%s' is a %s, a %s is wanted here", name, namespace_words(k),
			 namespace_words(ns));
		return false;
	}
	vhu_diag(c->report, n->path, "'%s' is no %s%s", name, namespace_words(ns),
		 vhu_hint(near, name, known_at, &ns));
	return false;
}

static bool bit_of(struct compile *c, const struct node *n, const struct vhu_feature_row *row, uint64_t *ret)
{
	if (row->bit >= 64) {
		vhu_diag(c->report, n->path, "%s is bit %u: vhost-user carries 64", row->name, row->bit);
		return false;
	}
	*ret = UINT64_C(1) << row->bit;
	return true;
}

static bool name_value(struct compile *c, const struct node *n, enum vhu_namespace ns, const char *name,
		       uint64_t *ret)
{
	for (enum vhu_namespace k = VHU_NS_VIRTIO; k <= VHU_NS_STATUS; k++) {
		const struct vhu_feature_row *row =
			ns == VHU_NS_NONE || ns == k ? vhu_feature_by_name(k, name) : NULL;

		if (row)
			return bit_of(c, n, row, ret);
	}
	return vhu_constant_by_name(name, ret) || unknown_name(c, n, ns, name);
}

const struct vhu_feature_row *vhu_get_feature(struct compile *c, const struct node *n, enum vhu_namespace ns)
{
	const char *name = json_string_value(n->json);
	const struct vhu_feature_row *row = name ? vhu_feature_by_name(ns, name) : NULL;
	uint64_t bit;

	if (!row && name)
		unknown_name(c, n, ns, name);
	return row && bit_of(c, n, row, &bit) ? row : NULL;
}

bool vhu_get_names(struct compile *c, const struct node *n, enum vhu_namespace ns, uint64_t *ret)
{
	bool ok = true;

	*ret = 0;
	for (size_t i = 0; i < json_array_size(n->json); i++) {
		struct node name = NODE_AT(n, i);
		const struct vhu_feature_row *row = vhu_get_feature(c, &name, ns);

		if (row)
			*ret |= UINT64_C(1) << row->bit;
		ok &= row != NULL;
	}
	return ok;
}

/* --- terms ------------------------------------------------------------------------------------------ */

struct expression {
	struct vhu_term terms[LIMIT_TERMS];
	unsigned n;
	bool sum, product, bits; /* kinds of operator seen */
};

static struct vhu_value constant(struct compile *c, uint64_t u)
{
	struct vhu_term *t = vhu_plan_take(c, 1, sizeof(*t));

	if (!t)
		return (struct vhu_value){0};
	t->u = u;
	return (struct vhu_value){t, 1};
}

/* What a variable stands for, as a value of its own. */
static bool variable_value(struct compile *c, const struct node *n, enum vhu_namespace ns, const char *name,
			   struct vhu_value *ret)
{
	struct lookup found;
	struct vhu_term *t;
	bool ok;

	if (!vhu_binding_lookup(c, n, name, &found))
		return false;
	switch (found.kind) {
	case LOOKUP_U64:
		*ret = constant(c, found.u);
		return ret->n;
	case LOOKUP_SAVED:
		t = vhu_plan_take(c, 1, sizeof(*t));
		if (!t)
			return false;
		*t = (struct vhu_term){.is_var = true, .var = found.var};
		*ret = (struct vhu_value){t, 1};
		return true;
	case LOOKUP_JSON:
		if (c->lookups == LIMIT_LOOKUPS) {
			vhu_diag(c->report, n->path, "$%s stands for itself, or for too many others", name);
			return false;
		}
		c->lookups++;
		ok = vhu_get_value(c, &found.node, ns, ret);
		c->lookups--;
		return ok;
	case LOOKUP_NONE:
		break;
	}
	return false;
}

static bool term_value(struct compile *c, const struct node *n, enum vhu_namespace ns, const char *text,
		       struct vhu_value *ret)
{
	uint64_t u;

	if (*text == '$')
		return variable_value(c, n, ns, text + 1, ret);
	if (*text >= '0' && *text <= '9') {
		if (vhu_u64_parse(text, &u) < 0) {
			vhu_diag(c->report, n->path, "%s does not fit 64 bits", text);
			return false;
		}
	} else if (!name_value(c, n, ns, text, &u)) {
		return false;
	}
	*ret = constant(c, u);
	return ret->n;
}

/* Left to right has to mean what everybody reads: no product behind a sum, no bits beside either. */
static bool operator_ok(struct compile *c, const struct node *n, struct expression *e, enum vhu_value_op op)
{
	bool is_sum = op == VHU_OP_ADD || op == VHU_OP_SUB, is_product = op == VHU_OP_MUL;
	bool is_bits = op != VHU_OP_FIRST && !is_sum && !is_product;

	if ((is_bits && (e->sum || e->product)) || (e->bits && (is_sum || is_product))) {
		vhu_diag(c->report, n->path, "arithmetic and bit operators in one expression");
		return false;
	}
	if (is_product && e->sum) {
		vhu_diag(c->report, n->path,
			 "'*' behind '+' or '-': it is evaluated from left to right, so write the product "
			 "first");
		return false;
	}
	e->sum |= is_sum;
	e->product |= is_product;
	e->bits |= is_bits;
	return true;
}

static bool add_value(struct compile *c, const struct node *n, struct expression *e, enum vhu_value_op op,
		      const struct vhu_value *v)
{
	if (!operator_ok(c, n, e, op))
		return false;
	if (v->n > 1 && e->n) {
		vhu_diag(c->report, n->path,
			 "a variable that stands for several terms of the run can only come first");
		return false;
	}
	if (e->n + v->n > LIMIT_TERMS) {
		vhu_diag(c->report, n->path, "more than %d terms", LIMIT_TERMS);
		return false;
	}
	memcpy(&e->terms[e->n], v->terms, v->n * sizeof(*v->terms));
	e->terms[e->n].op = op;
	e->n += v->n;
	return true;
}

/* Constants are worked out now, so that what can't be shows before the run. */
static bool finish(struct compile *c, const struct node *n, struct expression *e, struct vhu_value *ret)
{
	struct vhu_value v = {e->terms, e->n};
	uint64_t u;

	if (vhu_value_is_const(&v)) {
		if (vhu_value_eval(&v, NULL, NULL, &u) < 0) {
			vhu_diag(c->report, n->path, "the value leaves the range of 64 bits without sign");
			return false;
		}
		*ret = constant(c, u);
		return ret->n;
	}
	struct vhu_term *terms = vhu_plan_take(c, e->n, sizeof(*terms));

	if (!terms)
		return false;
	memcpy(terms, e->terms, e->n * sizeof(*terms));
	*ret = (struct vhu_value){terms, e->n};
	return true;
}

/* --- values -------------------------------------------------------------------------------------------- */

static enum vhu_value_op operator_of(const char *text)
{
	switch (text[0]) {
	case '+':
		return VHU_OP_ADD;
	case '-':
		return VHU_OP_SUB;
	case '*':
		return VHU_OP_MUL;
	case '|':
		return VHU_OP_OR;
	case '^':
		return VHU_OP_XOR;
	default:
		return text[1] == '~' ? VHU_OP_ANDNOT : VHU_OP_AND;
	}
}

static bool expression_value(struct compile *c, const struct node *n, enum vhu_namespace ns,
			     struct vhu_value *ret)
{
	const char *text = json_string_value(n->json);
	struct expression e = {0};
	enum vhu_value_op op = VHU_OP_FIRST;
	char *copy, *word, *rest = NULL;
	bool operand = true;

	if (!vhu_form_expr_ok(text)) {
		vhu_diag(c->report, n->path, "'%s' is no expression", text);
		return false;
	}
	copy = vhu_arena_strdup(c->arena, text);
	if (!copy) {
		c->oom = true;
		return false;
	}
	for (word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest), operand = !operand) {
		struct vhu_value v;

		if (!operand)
			op = operator_of(word);
		else if (!term_value(c, n, ns, word, &v) || !add_value(c, n, &e, op, &v))
			return false;
	}
	return finish(c, n, &e, ret);
}

static bool names_value(struct compile *c, const struct node *n, enum vhu_namespace ns, struct vhu_value *ret)
{
	struct expression e = {0};
	bool ok = true;

	for (size_t i = 0; i < json_array_size(n->json); i++) {
		struct node element = NODE_AT(n, i);
		struct vhu_value v;
		const char *name = json_string_value(element.json);

		if (!name || strchr(name, ' ') || !vhu_form_expr_ok(name)) {
			vhu_diag(c->report, element.path, "expected a bit's name");
			ok = false;
			continue;
		}
		ok &= term_value(c, &element, ns, name, &v) &&
		      add_value(c, &element, &e, i ? VHU_OP_OR : VHU_OP_FIRST, &v);
	}
	if (ok && !e.n) {
		*ret = constant(c, 0);
		return ret->n;
	}
	return ok && finish(c, n, &e, ret);
}

bool vhu_get_value(struct compile *c, const struct node *n, enum vhu_namespace ns, struct vhu_value *ret)
{
	*ret = (struct vhu_value){0};
	if (json_is_string(n->json))
		return expression_value(c, n, ns, ret);
	if (json_is_array(n->json))
		return names_value(c, n, ns, ret);
	if (!json_is_integer(n->json)) {
		vhu_diag(c->report, n->path, "expected a value, not %s", vhu_json_type(n->json));
		return false;
	}
	if (!vhu_shape_check(c->report, &vhu_shape_count, n->json, n->path))
		return false;
	*ret = constant(c, (uint64_t)json_integer_value(n->json));
	return ret->n;
}

bool vhu_get_count(struct compile *c, const struct node *n, const char *what, uint64_t min, uint64_t max,
		   uint64_t *ret)
{
	struct vhu_value v;
	uint64_t u;
	int r;

	if (!vhu_get_value(c, n, VHU_NS_NONE, &v))
		return false;
	r = vhu_value_eval(&v, NULL, NULL, &u);
	if (r == -ENODATA) {
		vhu_diag(c->report, n->path, "$%s is known only in the run, %s has to be known before",
			 c->vars[u], what);
		return false;
	}
	if (r < 0 || u < min || u > max) {
		vhu_diag(c->report, n->path, "%s of %llu is out of range: %llu … %llu", what,
			 (unsigned long long)u, (unsigned long long)min, (unsigned long long)max);
		return false;
	}
	*ret = u;
	return true;
}

/* --- texts --------------------------------------------------------------------------------------- */

const char *vhu_get_text(struct compile *c, const struct node *n, const char *what)
{
	struct node at = *n;

	for (unsigned i = 0; i <= LIMIT_LOOKUPS; i++) {
		const char *text = json_string_value(at.json);
		struct lookup found;

		if (json_is_integer(at.json)) {
			char number[24];

			snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(at.json));
			return vhu_plan_text(c, number);
		}
		if (!text) {
			vhu_diag(c->report, at.path, "expected %s, not %s", what, vhu_json_type(at.json));
			return NULL;
		}
		if (*text != '$')
			return vhu_plan_text(c, text);
		if (!vhu_binding_lookup(c, &at, text + 1, &found))
			return NULL;
		if (found.kind == LOOKUP_U64) {
			char number[24];

			snprintf(number, sizeof(number), "%llu", (unsigned long long)found.u);
			return vhu_plan_text(c, number);
		}
		if (found.kind != LOOKUP_JSON) {
			vhu_diag(c->report, at.path, "%s is known only in the run, %s has to be known before",
				 text, what);
			return NULL;
		}
		at = found.node;
	}
	vhu_diag(c->report, n->path, "a variable stands for itself, or for too many others");
	return NULL;
}

bool vhu_get_bytes(struct compile *c, const struct node *n, const uint8_t **ret, size_t *ret_len)
{
	uint8_t bytes[LIMIT_BYTES];
	long len;

	if (!vhu_shape_check(c->report, &vhu_shape_bytes, n->json, n->path))
		return false;
	len = vhu_hex_parse(json_string_value(n->json), bytes, sizeof(bytes));
	if (len < 0)
		return false;
	*ret = vhu_arena_memdup(c->arena, bytes, (size_t)len);
	*ret_len = (size_t)len;
	c->oom |= !*ret;
	return *ret;
}

bool vhu_get_bool(const struct node *n, const char *key, bool otherwise)
{
	json_t *json = json_object_get(n->json, key);

	return json_is_boolean(json) ? json_is_true(json) : otherwise;
}

int vhu_get_word(const struct node *n, const char *key, const char *const *words, int otherwise)
{
	const char *text = json_string_value(json_object_get(n->json, key));
	int i = text ? vhu_word_index(words, text) : -1;

	return i >= 0 ? i : otherwise;
}
