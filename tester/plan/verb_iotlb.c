/* Translations: the table of the fake guest's IOMMU and the messages about it. */
#include <string.h>

#include "internal.h"

enum { GRANULE = 4096, PERM_BOTH = 3 };

#define ON(op) (1u << VHU_IOTLB_##op)

/* Which words take a key. */
static const struct {
	const char *key;
	unsigned set;
} only[] = {
	{"iova", ON(MAP) | ON(UPDATE) | ON(INVALIDATE) | ON(AWAIT)},
	{"gpa", ON(MAP) | ON(UPDATE) | ON(INVALIDATE) | ON(AWAIT)},
	{"size", ON(MAP) | ON(UPDATE) | ON(INVALIDATE) | ON(AWAIT)},
	{"perm", ON(MAP) | ON(UPDATE)},
	{"granule", ON(SERVE)},
	{"wants", ON(AWAIT)},
	{"expect", ON(UPDATE) | ON(INVALIDATE)},
	{"tolerate", ON(UPDATE) | ON(INVALIDATE)},
	{"skip", ON(UPDATE) | ON(INVALIDATE)},
	{"breaks", ON(UPDATE) | ON(INVALIDATE)},
};

static uint64_t integer(const struct node *n, const char *key, uint64_t otherwise)
{
	json_t *value = json_object_get(n->json, key);

	return json_is_integer(value) ? (uint64_t)json_integer_value(value) : otherwise;
}

static void check_keys(struct compile *c, const struct node *n, int word)
{
	bool place = json_object_get(n->json, "iova") || json_object_get(n->json, "gpa");

	for (size_t i = 0; i < VHU_ARRAY_SIZE(only); i++) {
		struct node key = NODE_GET(n, only[i].key);

		if (key.json && !(only[i].set >> word & 1))
			vhu_diag_key(c->report, key.path, "'%s' does not go with \"iotlb\": \"%s\"",
				     only[i].key, vhu_words_iotlb[word]);
	}
	if (place != !!json_object_get(n->json, "size"))
		vhu_diag(c->report, n->path, "a range is 'iova' or 'gpa', and 'size'");
	if (!place && (ON(MAP) >> word & 1))
		vhu_diag(c->report, n->path, "'map' needs a range");
}

void vhu_verb_iotlb(struct compile *c, const struct node *n, struct vhu_step *step)
{
	struct vhu_step_iotlb *t = &step->iotlb;
	struct node iova = NODE_GET(n, "iova"), gpa = NODE_GET(n, "gpa"), size = NODE_GET(n, "size"),
		    wants = NODE_GET(n, "wants"), perm = NODE_GET(n, "perm");
	uint64_t bits = PERM_BOTH;
	int word = vhu_get_word(n, "iotlb", vhu_words_iotlb, 0);

	t->op = (enum vhu_iotlb_op)word;
	check_keys(c, n, word);
	if (iova.json)
		vhu_get_value(c, &iova, VHU_NS_NONE, &t->iova);
	if (gpa.json)
		vhu_get_value(c, &gpa, VHU_NS_NONE, &t->gpa);
	if (size.json)
		vhu_get_value(c, &size, VHU_NS_NONE, &t->size);
	if (wants.json)
		vhu_get_match(c, &wants, MATCH_NUMBER, VHU_NS_NONE, &t->wants);
	if (perm.json)
		vhu_get_count(c, &perm, "a permission", 0, PERM_BOTH, &bits);
	t->perm = (unsigned)bits;
	t->granule = integer(n, "granule", GRANULE);
}
