/* Requests: io, chain, await. */
#include <string.h>

#include "internal.h"

/* --- io -------------------------------------------------------------------------------------------- */

/* Words of io in the order of enum vhu_io_op. */
enum { IO_READ, IO_WRITE, IO_FLUSH, IO_DISCARD, IO_WRITE_ZEROES, IO_GET_ID, IO_RAW };

enum { STATUS_OK = 1u << VHU_C_BLK_S_OK };

static void count_key(struct compile *c, const struct node *n, const char *key, uint64_t min, uint64_t max,
		      uint32_t *ret)
{
	struct node count = NODE_GET(n, key);
	char what[32];
	uint64_t u;

	snprintf(what, sizeof(what), "'%s'", key);
	if (count.json && vhu_get_count(c, &count, what, min, max, &u))
		*ret = (uint32_t)u;
}

static void io_segments(struct compile *c, const struct node *n, struct vhu_step_io *io)
{
	struct node segments = NODE_GET(n, "segments");
	size_t count = json_array_size(segments.json);
	uint32_t *list = count ? vhu_plan_take(c, count, sizeof(*list)) : NULL;
	uint64_t sum = 0, want = (uint64_t)io->count * VHU_C_SECTOR_SIZE;

	if (count > LIMIT_SEGMENTS) {
		vhu_diag(c->report, segments.path, "more than %d segments", LIMIT_SEGMENTS);
		return;
	}
	for (size_t i = 0; list && i < count; i++) {
		struct node segment = NODE_AT(&segments, i);
		uint64_t u = 0;

		if (!vhu_get_count(c, &segment, "a segment", 1, UINT32_MAX, &u))
			return;
		list[i] = (uint32_t)u;
		sum += u;
	}
	if (list && sum != want && (io->op == IO_READ || io->op == IO_WRITE))
		vhu_diag(c->report, segments.path, "the segments hold %llu bytes, the request is of %llu",
			 (unsigned long long)sum, (unsigned long long)want);
	io->segments = list;
	io->n_segments = list ? count : 0;
}

static bool writes(const struct vhu_step_io *io)
{
	switch (io->op) {
	case IO_WRITE:
	case IO_DISCARD:
	case IO_WRITE_ZEROES:
		return true;
	case IO_RAW:
		return io->type == VHU_C_BLK_T_OUT || io->type == VHU_C_BLK_T_DISCARD ||
		       io->type == VHU_C_BLK_T_WRITE_ZEROES || io->type == VHU_C_BLK_T_SECURE_ERASE;
	default:
		return false;
	}
}

void vhu_need_indirect(struct compile *c)
{
	if (!(c->plan->features & VHU_V(VIRTIO_RING_F_INDIRECT_DESC)))
		vhu_plan_skip(c, "needs feature VIRTIO_RING_F_INDIRECT_DESC, which is not negotiated");
}

static void io_type(struct compile *c, const struct node *n, struct vhu_step_io *io)
{
	struct node type = NODE_GET(n, "type");

	if ((io->op == IO_RAW) == (type.json != NULL))
		count_key(c, n, "type", 0, UINT32_MAX, &io->type);
	else if (type.json)
		vhu_diag_key(c->report, type.path, "'type' goes with \"io\": \"raw\"");
	else
		vhu_diag(c->report, n->path, "a raw request needs its 'type'");
}

void vhu_verb_io(struct compile *c, const struct node *n, struct vhu_step *step)
{
	struct vhu_step_io *io = &step->io;
	struct node sector = NODE_GET(n, "sector"), pattern = NODE_GET(n, "pattern"),
		    used_len = NODE_GET(n, "used_len");

	io->op = (unsigned)vhu_get_word(n, "io", vhu_words_io, 0);
	if (!c->device_is_blk)
		vhu_diag(c->report, n->path,
			 "'io' speaks to a disk: \"needs\": {\"device\": [\"blk\"]} is missing");
	vhu_get_queue(c, n, &io->queue);
	io->count = 8;
	io->times = 1;
	count_key(c, n, "count", 0, UINT32_MAX / VHU_C_SECTOR_SIZE, &io->count);
	count_key(c, n, "times", 1, LIMIT_STEPS, &io->times);
	if (sector.json)
		vhu_get_value(c, &sector, VHU_NS_NONE, &io->sector);
	vhu_get_pattern(c, &pattern, &io->pattern, &io->pattern_arg);
	io->verify = vhu_get_bool(n, "verify", true);
	io_type(c, n, io);
	io_segments(c, n, io);
	io->indirect = vhu_get_bool(n, "indirect", false);
	io->kick = vhu_get_bool(n, "kick", true);
	io->wait = vhu_get_bool(n, "wait", true);
	io->tag = vhu_get_tag(c, n);
	io->statuses = vhu_get_statuses(n, STATUS_OK);
	if (used_len.json)
		vhu_get_match(c, &used_len, MATCH_NUMBER, VHU_NS_NONE, &io->used_len);
	if (io->indirect)
		vhu_need_indirect(c);
	if (writes(io) && !c->plan->writes)
		vhu_diag(c->report, n->path, "the step changes the disk: the case needs \"writes\": true");
}

/* --- chain ----------------------------------------------------------------------------------------- */

/* Fields of a layout of the device; false if there is no such layout. */
static bool get_layout(struct compile *c, const struct node *n, const char **ret)
{
	struct node layout = NODE_GET(n, "layout");
	const char *name = json_string_value(layout.json);

	*ret = NULL;
	if (!name)
		return true;
	if (!vhu_layout_size(name)) {
		vhu_diag(c->report, layout.path, "no layout '%s'", name);
		return false;
	}
	*ret = vhu_plan_text(c, name);
	return true;
}

static const char *layout_field_at(void *ctx, size_t i)
{
	const struct vhu_layout_row *row = vhu_layout_field(ctx, i);

	return row ? row->field : NULL;
}

static const struct vhu_layout_row *layout_field(struct compile *c, const struct path *at, const char *layout,
						 const char *name)
{
	const struct vhu_layout_row *row;
	char near[HINT_CAP];

	for (size_t i = 0; (row = vhu_layout_field(layout, i)); i++)
		if (!strcmp(row->field, name))
			return row;
	vhu_diag_key(c->report, at, "layout '%s' has no field '%s'%s", layout, name,
		     vhu_hint(near, name, layout_field_at, (void *)layout));
	return NULL;
}

void vhu_get_layout_fields(struct compile *c, const struct node *n, struct vhu_chain_elem *e)
{
	struct vhu_assign *list = vhu_plan_take(c, json_object_size(n->json), sizeof(*list));
	const char *name;
	json_t *json;

	e->fields = list;
	json_object_foreach(n->json, name, json) {
		struct node value = NODE_GET(n, name);
		const struct vhu_layout_row *row = layout_field(c, value.path, e->layout, name);
		uint64_t u;

		if (!list || !row)
			continue;
		list[e->n_fields].field = vhu_plan_text(c, name);
		if (!vhu_get_value(c, &value, VHU_NS_NONE, &list[e->n_fields].value))
			continue;
		if (row->size < 8 && vhu_value_eval(&list[e->n_fields].value, NULL, NULL, &u) == 0 &&
		    u >> (8 * row->size))
			vhu_diag(c->report, value.path, "0x%llx does not fit the %zu bytes of '%s'",
				 (unsigned long long)u, row->size, name);
		e->n_fields++;
	}
}

static void elem_out(struct compile *c, const struct node *n, const struct node *out,
		     struct vhu_chain_elem *e)
{
	e->kind = VHU_ELEM_OUT;
	if (!get_layout(c, n, &e->layout))
		return;
	if (json_is_string(out->json))
		vhu_get_bytes(c, out, &e->bytes, &e->n_bytes);
	else if (e->layout)
		vhu_get_layout_fields(c, out, e);
	else
		vhu_diag(c->report, n->path, "fields need the 'layout' that they are of");
}

void vhu_get_layout_matches(struct compile *c, const struct node *n, struct vhu_chain_elem *e)
{
	struct vhu_field_match *list = vhu_plan_take(c, json_object_size(n->json), sizeof(*list));
	const char *name;
	json_t *json;

	e->matches = list;
	json_object_foreach(n->json, name, json) {
		struct node match = NODE_GET(n, name);

		if (!list || !layout_field(c, match.path, e->layout, name))
			continue;
		list[e->n_matches].field = vhu_plan_text(c, name);
		if (vhu_get_match(c, &match, MATCH_NUMBER, VHU_NS_NONE, &list[e->n_matches].match))
			e->n_matches++;
	}
}

/* Fields of what comes back, as variables of the steps behind. */
static void in_saves(struct compile *c, const struct node *save, struct vhu_chain_elem *e)
{
	struct vhu_save *list = vhu_plan_take(c, json_object_size(save->json), sizeof(*list));
	const char *name;
	json_t *json;

	e->save = list;
	json_object_foreach(save->json, name, json) {
		struct node field = NODE_GET(save, name);
		const struct vhu_layout_row *row;
		unsigned var;

		/* Set all the same where the field is wrong, so that its users are not blamed. */
		if (!list || !vhu_var_save(c, &field, name, &var))
			continue;
		if (!e->layout) {
			vhu_diag(c->report, field.path, "'save' needs the 'layout' that the field is of");
			continue;
		}
		row = layout_field(c, field.path, e->layout, json_string_value(json));
		if (row && row->size > sizeof(uint64_t))
			vhu_diag(c->report, field.path, "'%s' is no number that could be saved", row->field);
		else if (row)
			list[e->n_save++] = (struct vhu_save){var, row->field};
	}
}

static void elem_in(struct compile *c, const struct node *n, const struct node *in, struct vhu_chain_elem *e)
{
	struct node match = NODE_GET(n, "match"), save = NODE_GET(n, "save");
	struct vhu_match_term *term;
	uint64_t len;

	e->kind = VHU_ELEM_IN;
	if (vhu_get_count(c, in, "the length", 1, UINT32_MAX, &len))
		e->len = (uint32_t)len;
	if (!get_layout(c, n, &e->layout))
		return;
	if (save.json)
		in_saves(c, &save, e);
	if (e->layout && (save.json || json_is_object(match.json)) && e->len &&
	    e->len < vhu_layout_size(e->layout))
		vhu_diag(c->report, in->path, "'%s' has %zu bytes, there is room for %u", e->layout,
			 vhu_layout_size(e->layout), e->len);
	if (!match.json)
		return;
	if (e->layout && json_is_object(match.json)) {
		vhu_get_layout_matches(c, &match, e);
		return;
	}
	if (json_is_object(match.json)) {
		vhu_get_match(c, &match, MATCH_BYTES, VHU_NS_NONE, &e->match);
		return;
	}
	term = vhu_plan_take(c, 1, sizeof(*term));
	if (!term)
		return;
	term->op = VHU_MATCH_BYTES;
	if (vhu_get_bytes(c, &match, &term->bytes, &term->n_bytes))
		e->match = (struct vhu_matcher){.terms = term, .n = 1};
}

static void elem_desc(struct compile *c, const struct node *n, const struct node *desc,
		      struct vhu_chain_elem *e)
{
	struct vhu_value *const values[] = {&e->addr, &e->dlen, &e->flags, &e->next, &e->id};
	static const char *const keys[] = {"addr", "len", "flags", "next", "id"};
	bool packed = c->file->ring == FILE_RING_PACKED;
	struct node other = NODE_GET(desc, packed ? "next" : "id");

	e->kind = VHU_ELEM_DESC;
	for (size_t i = 0; i < VHU_ARRAY_SIZE(keys); i++) {
		struct node value = NODE_GET(desc, keys[i]);

		if (value.json)
			vhu_get_value(c, &value, VHU_NS_NONE, values[i]);
	}
	if (other.json)
		vhu_diag_key(c->report, other.path, packed ? "descriptors of packed rings have no 'next'"
							   : "only descriptors of packed rings have an 'id'");
	if (e->next.n)
		vhu_plan_split_only(c, "links between descriptors");
}

static void get_elem(struct compile *c, const struct node *n, struct vhu_chain_elem *e)
{
	struct node out = NODE_GET(n, "out"), in = NODE_GET(n, "in"), desc = NODE_GET(n, "desc");
	struct node match = NODE_GET(n, "match"), layout = NODE_GET(n, "layout");

	if ((out.json != NULL) + (in.json != NULL) + (desc.json != NULL) != 1) {
		vhu_diag(c->report, n->path, "an element is one of 'out', 'in' and 'desc'");
		return;
	}
	if (match.json && !in.json)
		vhu_diag_key(c->report, match.path, "'match' goes with 'in'");
	if (json_object_get(n->json, "save") && !in.json)
		vhu_diag_key(c->report, PATH_KEY(n->path, "save"), "'save' goes with 'in'");
	if (layout.json && desc.json)
		vhu_diag_key(c->report, layout.path, "'layout' goes with 'out' and 'in'");
	if (out.json)
		elem_out(c, n, &out, e);
	else if (in.json)
		elem_in(c, n, &in, e);
	else
		elem_desc(c, n, &desc, e);
}

void vhu_verb_chain(struct compile *c, const struct node *n, struct vhu_step *step)
{
	struct vhu_step_chain *s = &step->chain;
	struct node chain = NODE_GET(n, "chain"), used_len = NODE_GET(n, "used_len");
	size_t count = json_array_size(chain.json);
	struct vhu_chain_elem *list = vhu_plan_take(c, count, sizeof(*list));

	vhu_get_queue(c, n, &s->queue);
	for (size_t i = 0; list && i < count; i++) {
		struct node elem = NODE_AT(&chain, i);

		get_elem(c, &elem, &list[i]);
		if (list[i].kind == VHU_ELEM_DESC && !json_object_get(n->json, "breaks"))
			vhu_diag(c->report, elem.path,
				 "a raw descriptor needs 'breaks': what is wrong with it");
	}
	s->elems = list;
	s->n_elems = list ? count : 0;
	s->indirect = vhu_get_bool(n, "indirect", false);
	s->kick = vhu_get_bool(n, "kick", true);
	s->wait = vhu_get_bool(n, "wait", true);
	s->unmet_skips = json_object_get(n->json, "unmet");
	s->tag = vhu_get_tag(c, n);
	if (used_len.json)
		vhu_get_match(c, &used_len, MATCH_NUMBER, VHU_NS_NONE, &s->used_len);
	if (s->indirect)
		vhu_need_indirect(c);
}

/* --- await ----------------------------------------------------------------------------------------- */

void vhu_verb_await(struct compile *c, const struct node *n, struct vhu_step *step)
{
	struct vhu_step_await *a = &step->await;
	struct node await = NODE_GET(n, "await");
	size_t count = json_array_size(await.json);
	const char *order = json_string_value(json_object_get(n->json, "order"));
	const char **tags = count ? vhu_plan_take(c, count, sizeof(*tags)) : NULL;

	for (size_t i = 0; tags && i < count; i++) {
		const char *tag = json_string_value(json_array_get(await.json, i));

		vhu_tag_check(c, PATH_INDEX(await.path, i), tag);
		tags[i] = vhu_plan_text(c, tag);
	}
	if (json_is_string(await.json))
		a->what = !strcmp(json_string_value(await.json), "all") ? VHU_AWAIT_ALL : VHU_AWAIT_ANY;
	else
		a->what = VHU_AWAIT_TAGS;
	a->tags = tags;
	a->n_tags = tags ? count : 0;
	a->exactly_once = vhu_get_bool(n, "exactly_once", true);
	a->in_order = order && !strcmp(order, "submitted");
	a->statuses = vhu_get_statuses(n, 0);
}
