/* Matchers: a value, or an object whose keys must all hold. */
#include <string.h>

#include "internal.h"

enum { TERMS_MAX = 16 };

static const struct {
	const char *key;
	enum vhu_match_op op;
	bool number, bytes; /* of what */
} ops[] = {
	{"eq", VHU_MATCH_EQ, true, false},
	{"ne", VHU_MATCH_NE, true, false},
	{"lt", VHU_MATCH_LT, true, false},
	{"le", VHU_MATCH_LE, true, false},
	{"gt", VHU_MATCH_GT, true, false},
	{"ge", VHU_MATCH_GE, true, false},
	{"in", VHU_MATCH_IN, true, false},
	{"has", VHU_MATCH_HAS, true, false},
	{"lacks", VHU_MATCH_LACKS, true, false},
	{"mask", VHU_MATCH_MASKED, true, false},
	{"multiple_of", VHU_MATCH_MULTIPLE_OF, true, false},
	{"any", VHU_MATCH_ANY, true, true},
	{"bytes", VHU_MATCH_BYTES, false, true},
	{"prefix", VHU_MATCH_PREFIX, false, true},
	{"len", VHU_MATCH_LEN, false, true},
};

static bool get_list(struct compile *c, const struct node *n, enum vhu_namespace ns, struct vhu_match_term *t)
{
	size_t count = json_array_size(n->json);
	struct vhu_value *list = vhu_plan_take(c, count, sizeof(*list));
	bool ok = list;

	for (size_t i = 0; list && i < count; i++) {
		struct node element = NODE_AT(n, i);

		ok &= vhu_get_value(c, &element, ns, &list[i]);
	}
	t->list = list;
	t->n_list = count;
	return ok;
}

/* `mask` says which bits `eq` is about: the two are one term. */
static bool get_masked(struct compile *c, const struct node *n, enum vhu_namespace ns,
		       struct vhu_match_term *t)
{
	struct node mask = NODE_GET(n, "mask"), eq = NODE_GET(n, "eq");

	if (!eq.json) {
		vhu_diag_key(c->report, mask.path, "'mask' goes with 'eq': only these bits have to be equal");
		return false;
	}
	return vhu_get_value(c, &mask, ns, &t->mask) && vhu_get_value(c, &eq, ns, &t->value);
}

static bool get_term(struct compile *c, const struct node *n, const struct node *value, size_t op,
		     enum vhu_namespace ns, struct vhu_match_term *t)
{
	t->op = ops[op].op;
	switch (t->op) {
	case VHU_MATCH_IN:
		return get_list(c, value, ns, t);
	case VHU_MATCH_MASKED:
		return get_masked(c, n, ns, t);
	case VHU_MATCH_ANY:
		return true;
	case VHU_MATCH_BYTES:
	case VHU_MATCH_PREFIX:
		return vhu_get_bytes(c, value, &t->bytes, &t->n_bytes);
	case VHU_MATCH_EQ:
	case VHU_MATCH_NE:
	case VHU_MATCH_LT:
	case VHU_MATCH_LE:
	case VHU_MATCH_GT:
	case VHU_MATCH_GE:
	case VHU_MATCH_HAS:
	case VHU_MATCH_LACKS:
	case VHU_MATCH_MULTIPLE_OF:
	case VHU_MATCH_LEN:
		break;
	}
	return vhu_get_value(c, value, ns, &t->value);
}

static bool get_terms(struct compile *c, const struct node *n, enum match_kind kind, enum vhu_namespace ns,
		      struct vhu_matcher *ret)
{
	bool masked = json_object_get(n->json, "mask"), ok = true;
	struct vhu_match_term *terms = vhu_plan_take(c, TERMS_MAX, sizeof(*terms));

	if (!terms)
		return false;
	for (size_t i = 0; i < VHU_ARRAY_SIZE(ops); i++) {
		struct node value = NODE_GET(n, ops[i].key);

		if (!value.json || (masked && ops[i].op == VHU_MATCH_EQ))
			continue;
		if (!(kind == MATCH_NUMBER ? ops[i].number : ops[i].bytes)) {
			vhu_diag_key(c->report, value.path, "'%s' does not apply to %s", ops[i].key,
				     kind == MATCH_NUMBER ? "a number" : "bytes");
			ok = false;
			continue;
		}
		ok &= get_term(c, n, &value, i, ns, &terms[ret->n++]);
	}
	ret->terms = terms;
	return ok;
}

bool vhu_get_match(struct compile *c, const struct node *n, enum match_kind kind, enum vhu_namespace ns,
		   struct vhu_matcher *ret)
{
	struct vhu_match_term *t;

	*ret = (struct vhu_matcher){.ns = ns, .device = c->facts.device};
	if (json_is_object(n->json))
		return get_terms(c, n, kind, ns, ret);
	if (kind == MATCH_BYTES) {
		vhu_diag(c->report, n->path,
			 "the field holds bytes: match it with {\"bytes\": …}, {\"prefix\": …} or {\"len\": "
			 "…}");
		return false;
	}
	t = vhu_plan_take(c, 1, sizeof(*t));
	if (!t || !vhu_get_value(c, n, ns, &t->value))
		return false;
	*ret = (struct vhu_matcher){t, 1, ns, c->facts.device};
	return true;
}
