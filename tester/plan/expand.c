/* Blocks: loops are unrolled, conditions decided, macros put in. What comes out is a flat list of steps. */
#include <string.h>

#include "internal.h"
#include "oracle/oracle.h"

/* --- steps --------------------------------------------------------------------------------------------- */

static bool grow(struct compile *c)
{
	size_t cap = c->cap_steps ? 2 * c->cap_steps : 64;
	struct vhu_step *steps;
	struct origin *origins;

	if (c->n_steps < c->cap_steps)
		return true;
	steps = realloc(c->steps, cap * sizeof(*steps));
	if (steps)
		c->steps = steps;
	origins = realloc(c->origins, cap * sizeof(*origins));
	if (origins)
		c->origins = origins;
	if (!steps || !origins) {
		c->oom = true;
		return false;
	}
	c->cap_steps = cap;
	return true;
}

static void emit(struct compile *c, const struct node *n, struct vhu_step *step)
{
	struct vhu_buf where = {0}, pointer = {0};

	if (!grow(c))
		return;
	vhu_path_where(n->path, &where);
	vhu_path_pointer(n->path, &pointer);
	step->where = vhu_plan_text(c, vhu_buf_text(&where));
	c->origins[c->n_steps] =
		(struct origin){vhu_path_source(n->path), vhu_plan_text(c, vhu_buf_text(&pointer))};
	c->steps[c->n_steps++] = *step;
	c->oom |= where.failed || pointer.failed;
	vhu_buf_done(&where);
	vhu_buf_done(&pointer);
}

/* Of a step whose shape is wrong: its variables, so that their users are not blamed. */
static void save_of_broken(struct compile *c, const struct node *n)
{
	struct node save = NODE_GET(n, "save");
	const char *name;
	json_t *value;
	unsigned var;

	json_object_foreach(save.json, name, value)
		vhu_var_save(c, &save, name, &var);
}

static bool too_many(struct compile *c, const struct node *n)
{
	if (++c->n_seen <= LIMIT_SEEN && c->n_steps < LIMIT_STEPS)
		return false;
	if (!c->too_many)
		vhu_diag(c->report, n->path, "more than %d steps after expansion", LIMIT_STEPS);
	return c->too_many = true;
}

static void expand_step(struct compile *c, const struct node *n)
{
	const struct defaults before = c->defaults;
	const struct verb *v;
	struct vhu_step step = {0};
	size_t count;

	if (too_many(c, n))
		return;
	if (vhu_path_source(n->path)->broken && !vhu_shape_step_ok(n->json)) {
		save_of_broken(c, n);
		return;
	}
	v = vhu_verb_of(n->json, &count);
	if (!v)
		return;
	step.verb = v->verb;
	vhu_get_common(c, n, &step);
	if (v->step) {
		v->step(c, n, &step);
		if (!c->silent)
			emit(c, n, &step);
	} else if (c->depth == LIMIT_DEPTH) {
		vhu_diag(c->report, n->path, "more than %d blocks one in the other", LIMIT_DEPTH);
	} else {
		c->depth++;
		c->defaults = (struct defaults){step.note, step.requirement, step.within_ms};
		v->block(c, n);
		c->defaults = before;
		c->depth--;
	}
}

void vhu_steps_expand(struct compile *c, const struct node *steps)
{
	for (size_t i = 0; i < json_array_size(steps->json) && !c->oom && !c->too_many; i++) {
		struct node step = NODE_AT(steps, i);

		expand_step(c, &step);
	}
}

/* --- loops --------------------------------------------------------------------------------------- */

/* One round: `label` goes into the places of its steps. */
static void one_round(struct compile *c, const struct node *n, const char *label, const struct binding *scope)
{
	struct path here = *n->path;
	struct node block = {n->json, &here, scope}, body = NODE_GET(&block, "do");

	here.loop = label;
	vhu_steps_expand(c, &body);
}

static void number_round(struct compile *c, const struct node *n, const char *name, uint64_t u)
{
	struct binding b = {.up = n->scope, .name = name, .u = u};
	char label[96];

	snprintf(label, sizeof(label), "[%s=%llu]", name, (unsigned long long)u);
	one_round(c, n, label, &b);
}

static void queue_range(struct compile *c, const struct node *n, const char *name, uint64_t from,
			uint64_t end)
{
	for (uint64_t q = from; q < end && !c->oom && !c->too_many; q++)
		number_round(c, n, name, q);
}

static bool get_range(struct compile *c, const struct node *of, uint64_t *from, uint64_t *end)
{
	struct node a = NODE_GET(of, "from"), b = NODE_GET(of, "to");

	if (!vhu_get_count(c, &a, "a queue", 0, VHU_LAYOUT_RINGS_MAX - 1, from) ||
	    !vhu_get_count(c, &b, "a queue", 0, VHU_LAYOUT_RINGS_MAX - 1, end))
		return false;
	++*end;
	return true;
}

void vhu_block_for_each_queue(struct compile *c, const struct node *n)
{
	struct node of = NODE_GET(n, "of"), var = NODE_GET(n, "for_each_queue");
	const char *name = json_string_value(var.json), *word = json_string_value(of.json);
	uint64_t from = 0, end = c->plan->queues;

	if (!vhu_binding_name_ok(c, var.path, name))
		return;
	if (json_is_array(of.json)) {
		for (size_t i = 0; i < json_array_size(of.json); i++) {
			struct node q = NODE_AT(&of, i);

			if (vhu_get_count(c, &q, "a queue", 0, VHU_LAYOUT_RINGS_MAX - 1, &from))
				number_round(c, n, name, from);
		}
		return;
	}
	if (json_is_object(of.json) && !get_range(c, &of, &from, &end))
		return;
	if (word && strcmp(word, "used")) {
		end = c->facts.queues;
		from = strcmp(word, "unused") ? 0 : c->plan->queues;
	}
	/* On a real target it may well be that no queue is unused. */
	if (from >= end && (!c->facts.known || !word))
		vhu_diag(c->report, of.json ? of.path : n->path, "the loop goes over no queue");
	queue_range(c, n, name, from, end);
}

static void item_label(char *label, size_t cap, const char *name, json_t *item, size_t i)
{
	if (json_is_string(item))
		snprintf(label, cap, "[%s=%.40s]", name, json_string_value(item));
	else if (json_is_integer(item))
		snprintf(label, cap, "[%s=%lld]", name, (long long)json_integer_value(item));
	else
		snprintf(label, cap, "[%s=#%zu]", name, i);
}

void vhu_block_for_each(struct compile *c, const struct node *n)
{
	struct node in = NODE_GET(n, "in"), var = NODE_GET(n, "for_each");
	const char *name = json_string_value(var.json);

	if (!vhu_binding_name_ok(c, var.path, name))
		return;
	for (size_t i = 0; i < json_array_size(in.json) && !c->oom && !c->too_many; i++) {
		struct node item = NODE_AT(&in, i);
		struct binding b = {.up = n->scope,
				    .name = name,
				    .json = item.json,
				    .path = item.path,
				    .scope = n->scope};
		char label[128];

		item_label(label, sizeof(label), name, item.json, i);
		one_round(c, n, label, &b);
	}
}

void vhu_block_repeat(struct compile *c, const struct node *n)
{
	struct node times = NODE_GET(n, "repeat");
	uint64_t rounds;

	if (vhu_get_count(c, &times, "the number of rounds", 1, LIMIT_STEPS, &rounds))
		queue_range(c, n, "i", 0, rounds);
}

/* --- conditions ---------------------------------------------------------------------------------- */

/*
 * A branch that is not taken is compiled all the same, so that a file is not right or wrong by
 * target; only, on a real target, its errors depend on facts that it does not expect.
 */
static void branch(struct compile *c, const struct node *n, const char *key, bool taken)
{
	struct node steps = NODE_GET(n, key);
	bool mute = !taken && c->facts.known;

	c->silent += !taken;
	c->report->muted += mute;
	vhu_steps_expand(c, &steps);
	c->report->muted -= mute;
	c->silent -= !taken;
}

static bool names_only(json_t *needs, const char *device)
{
	json_t *devices = json_object_get(needs, "device");
	const char *name = json_string_value(json_array_get(devices, 0));

	return json_array_size(devices) == 1 && name && !strcmp(name, device);
}

void vhu_block_when(struct compile *c, const struct node *n)
{
	struct node needs = NODE_GET(n, "when");
	const bool was_blk = c->device_is_blk, was_net = c->device_is_net, could_spawn = c->needs_spawn;
	bool *before = calloc(2 * LIMIT_VARS, sizeof(*before)), *after = before ? before + LIMIT_VARS : NULL;
	char why[400];
	bool met;

	if (!before) {
		c->oom = true;
		return;
	}
	if (!json_object_size(needs.json))
		vhu_diag(c->report, needs.path, "the condition is empty: it always holds");
	met = vhu_needs_met(c, &needs, true, why, sizeof(why));
	memcpy(before, c->var_visible, LIMIT_VARS * sizeof(*before));
	c->device_is_blk |= names_only(needs.json, "blk");
	c->device_is_net |= names_only(needs.json, "net");
	c->needs_spawn |= vhu_get_bool(&needs, "spawn", false);
	branch(c, n, "do", met);
	c->device_is_blk = was_blk;
	c->device_is_net = was_net;
	c->needs_spawn = could_spawn;
	memcpy(after, c->var_visible, LIMIT_VARS * sizeof(*after));
	memcpy(c->var_visible, before, LIMIT_VARS * sizeof(*before));
	branch(c, n, "else", !met);
	/* What is saved is there only if either branch saves it. */
	for (size_t i = 0; i < c->n_vars; i++)
		c->var_visible[i] = before[i] || (after[i] && c->var_visible[i]);
	free(before);
}

/* --- macros
 * --------------------------------------------------------------------------------------------------- */

static void mark_used(struct compile *c, json_t *macro)
{
	json_t **used;

	for (size_t i = 0; i < c->n_used; i++)
		if (c->used_macros[i] == macro)
			return;
	if (c->n_used == c->cap_used) {
		size_t cap = c->cap_used ? 2 * c->cap_used : 8;

		used = realloc(c->used_macros, cap * sizeof(*used));
		if (!used) {
			c->oom = true;
			return;
		}
		c->used_macros = used;
		c->cap_used = cap;
	}
	c->used_macros[c->n_used++] = macro;
}

static const char *param_at(void *ctx, size_t i)
{
	for (void *it = json_object_iter(ctx); it; it = json_object_iter_next(ctx, it), i--)
		if (!i)
			return json_object_iter_key(it);
	return NULL;
}

static void unknown_arguments(struct compile *c, const struct node *with, const char *macro, json_t *params)
{
	const char *name;
	json_t *value;
	char near[HINT_CAP];

	json_object_foreach(with->json, name, value) {
		if (!json_object_get(params, name))
			vhu_diag_key(c->report, PATH_KEY(with->path, name),
				     "macro '%s' has no parameter '%s'%s", macro, name,
				     vhu_hint(near, name, param_at, params));
	}
}

/* The parameters as variables, over `scope`. False if one is missing. */
static bool bind_params(struct compile *c, const struct node *n, const struct macro *m, const struct path *at,
			const struct binding **scope)
{
	struct node with = NODE_GET(n, "with");
	json_t *params = json_object_get(m->json, "params"), *otherwise;
	const char *name;
	bool ok = true;

	unknown_arguments(c, &with, m->name, params);
	json_object_foreach(params, name, otherwise) {
		json_t *given = json_object_get(with.json, name);
		struct binding *b = vhu_plan_take(c, 1, sizeof(*b));
		struct path *path = vhu_plan_take(c, 1, sizeof(*path));
		struct path *up = vhu_plan_take(c, 1, sizeof(*up));

		if (!b || !path || !up)
			return false;
		if (!given && json_is_null(otherwise)) {
			vhu_diag(c->report, n->path, "macro '%s' needs '%s'", m->name, name);
			ok = false;
			continue;
		}
		*up = given ? *with.path : (struct path){.up = at, .key = "params"};
		*path = (struct path){.up = up, .key = name};
		if (!vhu_binding_name_ok(c, path, name))
			continue;
		*b = (struct binding){
			*scope, name, 0, given ? given : otherwise, path, given ? n->scope : *scope};
		*scope = b;
	}
	return ok;
}

void vhu_block_use(struct compile *c, const struct node *n)
{
	struct node use = NODE_GET(n, "use");
	const char *name = json_string_value(use.json);
	struct path root = {.via = n->path}, macros = {.up = &root, .key = "macros"},
		    at = {.up = &macros, .key = name};
	const struct binding *scope;
	struct macro m;
	char near[HINT_CAP];

	if (!vhu_macro_find(c, name, &m)) {
		vhu_diag(c->report, use.path, "no macro '%s'%s", name,
			 vhu_hint(near, name, vhu_macro_name_at, c));
		return;
	}
	for (const struct macro *a = c->active; a; a = a->up) {
		if (a->json != m.json)
			continue;
		vhu_diag(c->report, use.path, "macro '%s' uses itself", name);
		return;
	}
	root.source = &m.file->source;
	/* Its errors were told; what uses it is no good either. */
	c->report->errors += m.file->bad && m.file != c->file;
	mark_used(c, m.json);
	m.up = c->active;
	scope = m.file == c->file ? c->root_scope : NULL;
	if (bind_params(c, n, &m, &at, &scope)) {
		struct node macro = {m.json, &at, scope}, steps = NODE_GET(&macro, "steps");

		c->active = &m;
		vhu_steps_expand(c, &steps);
		c->active = m.up;
	}
}
