/* Payload fields by name: what is sent, what is expected, what is saved. */
#include <string.h>

#include "internal.h"

/* Where a name stands in one of the layouts that a message may have. */
struct place {
	enum vhu_payload payload;
	enum vhu_field_kind kind;
	unsigned width; /* bits of a number */
	enum vhu_namespace ns;
};

static bool in_payload(enum vhu_payload payload, const char *name, struct place *ret)
{
	const struct vhu_field_row *row = vhu_field_by_name(payload, name), *field;
	const struct vhu_bits_row *bits = vhu_bits_by_name(payload, name);

	if (row) {
		*ret = (struct place){payload, row->kind, (unsigned)VHU_MIN(8 * row->size, (size_t)64),
				      vhu_field_namespace(payload, name)};
		return true;
	}
	if (bits) {
		*ret = (struct place){payload, VHU_FIELD_UINT, bits->width, VHU_NS_NONE};
		return true;
	}
	/* The fields of a payload's only region are its own. */
	for (size_t i = 0; (field = vhu_payload_field(payload, i)); i++)
		if (field->kind == VHU_FIELD_REGION && !field->count && in_payload(VHU_PL_REGION, name, ret))
			return true;
	return false;
}

static bool find(struct compile *c, const struct path *at, const struct layouts *l, const char *name,
		 struct place *ret)
{
	enum vhu_payload first = l->payload[0];
	char near[HINT_CAP];

	if (in_payload(l->payload[0], name, ret) || in_payload(l->payload[1], name, ret))
		return true;
	vhu_diag_key(c->report, at, "%s has no field '%s'%s", l->what, name,
		     vhu_hint(near, name, vhu_field_name_at, &first));
	return false;
}

bool vhu_config_byte(const char *field, unsigned *ret)
{
	static const char prefix[] = "byte_";
	uint64_t n;

	if (strncmp(field, prefix, sizeof(prefix) - 1) || vhu_u64_parse(field + sizeof(prefix) - 1, &n) < 0 ||
	    n >= VHU_C_CONFIG_SIZE_MAX)
		return false;
	*ret = (unsigned)n;
	return true;
}

/* An answer with config space has the device's fields, too. */
static bool in_answer(struct compile *c, const struct layouts *l, const char *name, struct place *ret)
{
	const struct vhu_config_row *row;

	if (in_payload(l->payload[0], name, ret) || in_payload(l->payload[1], name, ret))
		return true;
	if (l->payload[0] != VHU_PL_CONFIG && l->payload[1] != VHU_PL_CONFIG)
		return false;
	if (vhu_config_byte(name, &(unsigned){0})) {
		*ret = (struct place){VHU_PL_CONFIG, VHU_FIELD_UINT, 8, VHU_NS_NONE};
		return true;
	}
	row = vhu_config_by_name(c->facts.device, name);
	if (!row || row->size > sizeof(uint64_t))
		return false;
	*ret = (struct place){VHU_PL_CONFIG, VHU_FIELD_UINT, (unsigned)(8 * row->size), VHU_NS_NONE};
	return true;
}

struct layouts vhu_answer_layouts(const struct vhu_msg_row *row, const char *what)
{
	bool plain = row->reply == VHU_PL_NONE && row->answer != VHU_ANSWER_NEVER;

	return (struct layouts){{plain ? VHU_PL_U64 : row->reply, plain ? VHU_PL_U64 : row->reply_alt}, what};
}

/* --- sent ---------------------------------------------------------------------------------------- */

static bool get_assign(struct compile *c, const struct node *n, const struct place *p, struct vhu_assign *ret)
{
	struct node bytes = NODE_GET(n, "bytes");
	uint64_t u;

	if (p->kind == VHU_FIELD_BYTES) {
		if (bytes.json)
			return vhu_get_bytes(c, &bytes, &ret->bytes, &ret->n_bytes);
		vhu_diag(c->report, n->path, "'%s' holds bytes: {\"bytes\": \"…\"}", ret->field);
		return false;
	}
	if (!vhu_get_value(c, n, p->ns, &ret->value))
		return false;
	if (p->width < 64 && vhu_value_eval(&ret->value, NULL, NULL, &u) == 0 && u >> p->width) {
		vhu_diag(c->report, n->path, "0x%llx does not fit the %u bits of '%s'", (unsigned long long)u,
			 p->width, ret->field);
		return false;
	}
	return true;
}

bool vhu_get_assigns(struct compile *c, const struct node *n, const struct layouts *l,
		     const struct vhu_assign **ret, size_t *ret_n)
{
	struct vhu_assign *list = vhu_plan_take(c, json_object_size(n->json), sizeof(*list));
	const char *name;
	json_t *json;
	bool ok = true;

	*ret = list;
	json_object_foreach(n->json, name, json) {
		struct node value = NODE_GET(n, name);
		struct place p;

		if (!list || !find(c, value.path, l, name, &p)) {
			ok = false;
			continue;
		}
		if (p.kind == VHU_FIELD_REGION)
			continue; /* get_regions */
		list[*ret_n].field = vhu_plan_text(c, name);
		if (get_assign(c, &value, &p, &list[*ret_n]))
			++*ret_n;
		else
			ok = false;
	}
	return ok && list;
}

static bool get_region(struct compile *c, const struct node *n, const char *const keys[],
		       struct vhu_region_assign *ret)
{
	struct vhu_value *const values[] = {&ret->gpa, &ret->size, &ret->uaddr, &ret->offset};
	const char *name;
	json_t *json;
	char near[HINT_CAP];
	bool ok = true;

	json_object_foreach(n->json, name, json) {
		struct node value = NODE_GET(n, name);
		int i = vhu_word_index(keys, name);

		if (i >= 0)
			ok &= vhu_get_value(c, &value, VHU_NS_NONE, values[i]);
		else if (strcmp(name, "backing")) {
			vhu_diag_key(c->report, value.path,
				     "a region has no field '%s', only %s, %s, %s, %s%s", name, keys[0],
				     keys[1], keys[2], keys[3], vhu_hint_word(near, name, keys));
			ok = false;
		}
	}
	ret->backing = (enum vhu_backing)vhu_get_word(n, "backing", vhu_words_backing, VHU_BACKING_AUTO);
	return ok;
}

bool vhu_get_regions(struct compile *c, const struct node *n, const char *const keys[],
		     const struct vhu_region_assign **ret, size_t *ret_n)
{
	size_t count = json_array_size(n->json);
	struct vhu_region_assign *list = vhu_plan_take(c, count, sizeof(*list));
	bool ok = list;

	if (!json_is_array(n->json)) {
		vhu_diag(c->report, n->path, "expected a list of regions, not %s", vhu_json_type(n->json));
		return false;
	}
	for (size_t i = 0; list && i < count; i++) {
		struct node region = NODE_AT(n, i);

		if (json_is_object(region.json)) {
			ok &= get_region(c, &region, keys, &list[i]);
			continue;
		}
		vhu_diag(c->report, region.path, "expected a region, not %s", vhu_json_type(region.json));
		ok = false;
	}
	*ret = list;
	*ret_n = count;
	return ok;
}

/* --- expected
 * ------------------------------------------------------------------------------------------------ */

struct matches {
	struct vhu_field_match *list;
	size_t n, cap;
};

static bool add_match(struct compile *c, struct matches *m, const struct node *n, const struct place *p,
		      const char *field)
{
	if (m->n == m->cap) {
		size_t cap = m->cap ? 2 * m->cap : 8;
		struct vhu_field_match *list = vhu_plan_take(c, cap, sizeof(*list));

		if (!list)
			return false;
		if (m->n)
			memcpy(list, m->list, m->n * sizeof(*list));
		m->list = list;
		m->cap = cap;
	}
	if (!field || !vhu_get_match(c, n, p->kind == VHU_FIELD_BYTES ? MATCH_BYTES : MATCH_NUMBER, p->ns,
				     &m->list[m->n].match))
		return false;
	m->list[m->n++].field = field;
	return true;
}

/* [{"guest_phys_addr": …}, …] becomes region[0].guest_phys_addr …, as frames name it. */
static bool add_region_matches(struct compile *c, struct matches *m, const struct node *n, const char *field)
{
	static const struct layouts region = {{VHU_PL_REGION, VHU_PL_REGION}, "a region"};
	bool ok = true;

	for (size_t i = 0; i < json_array_size(n->json); i++) {
		struct node element = NODE_AT(n, i);
		const char *name;
		json_t *json;

		json_object_foreach(element.json, name, json) {
			struct node value = NODE_GET(&element, name);
			struct place p;

			ok &= find(c, value.path, &region, name, &p) &&
			      add_match(c, m, &value, &p,
					vhu_arena_printf(c->arena, "%s[%zu].%s", field, i, name));
		}
	}
	return ok;
}

bool vhu_get_field_matches(struct compile *c, const struct node *n, const struct layouts *l,
			   const struct vhu_field_match **ret, size_t *ret_n)
{
	struct matches m = {0};
	const char *name;
	json_t *json;
	bool ok = true;

	json_object_foreach(n->json, name, json) {
		struct node value = NODE_GET(n, name);
		struct place p;

		if (!in_answer(c, l, name, &p) && !find(c, value.path, l, name, &p))
			ok = false;
		else if (p.kind == VHU_FIELD_REGION)
			ok &= add_region_matches(c, &m, &value, name);
		else
			ok &= add_match(c, &m, &value, &p, vhu_plan_text(c, name));
	}
	*ret = m.list;
	*ret_n = m.n;
	return ok;
}

/* --- saved
 * ---------------------------------------------------------------------------------------------------- */

static bool is_fd_name(const char *field, unsigned fds)
{
	uint64_t i;

	return !strncmp(field, "fd", 2) && vhu_u64_parse(field + 2, &i) == 0 && i < fds;
}

static bool save_field_ok(struct compile *c, const struct node *n, const struct layouts *l, unsigned fds,
			  const char *field)
{
	enum vhu_payload first = l->payload[0];
	char near[HINT_CAP];
	struct place p;

	if (is_fd_name(field, fds))
		return true;
	if (!in_answer(c, l, field, &p)) {
		vhu_diag(c->report, n->path, "%s has no field '%s'%s", l->what, field,
			 vhu_hint(near, field, vhu_field_name_at, &first));
		return false;
	}
	if (p.kind == VHU_FIELD_UINT || p.kind == VHU_FIELD_PAD)
		return true;
	vhu_diag(c->report, n->path, "'%s' is no number that could be saved", field);
	return false;
}

bool vhu_get_saves(struct compile *c, const struct node *n, const struct layouts *l, unsigned fds,
		   const struct vhu_save **ret, size_t *ret_n)
{
	struct vhu_save *list = vhu_plan_take(c, json_object_size(n->json), sizeof(*list));
	const char *name;
	json_t *json;
	bool ok = list;

	*ret = list;
	json_object_foreach(n->json, name, json) {
		struct node field = NODE_GET(n, name);
		const char *text = json_string_value(json);

		if (!list || !save_field_ok(c, &field, l, fds, text)) {
			unsigned var;

			/* Set all the same, so that its users are not blamed. */
			vhu_var_save(c, &field, name, &var);
			ok = false;
			continue;
		}
		list[*ret_n].field = vhu_plan_text(c, text);
		if (vhu_var_save(c, &field, name, &list[*ret_n].var))
			++*ret_n;
		else
			ok = false;
	}
	return ok;
}
