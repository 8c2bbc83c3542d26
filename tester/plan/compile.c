/* Compiles one case: the header, the steps, the memory, then judges the whole. */
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "internal.h"
#include "plan/script.h"

/* --- memory and nodes --------------------------------------------------------------------------------- */

void *vhu_plan_take(struct compile *c, size_t count, size_t size)
{
	void *p = vhu_arena_array(c->arena, count, size);

	c->oom |= !p;
	return p;
}

const char *vhu_plan_text(struct compile *c, const char *text)
{
	const char *copy = vhu_arena_strdup(c->arena, text);

	c->oom |= !copy;
	return copy;
}

struct node vhu_node_get(const struct node *n, const char *key, struct path *path)
{
	*path = (struct path){.up = n->path, .key = key};
	return (struct node){json_object_get(n->json, key), path, n->scope};
}

struct node vhu_node_at(const struct node *n, size_t i, struct path *path)
{
	*path = (struct path){.up = n->path, .index = i};
	return (struct node){json_array_get(n->json, i), path, n->scope};
}

void vhu_plan_skip(struct compile *c, const char *format, ...)
{
	va_list args;
	char why[512];

	/* What a branch that is not taken would need does not matter. */
	if (c->plan->skip || c->silent)
		return;
	va_start(args, format);
	vsnprintf(why, sizeof(why), format, args);
	va_end(args);
	c->plan->skip = vhu_plan_text(c, why);
}

/* --- the header ---------------------------------------------------------------------------------------- */

static uint64_t union_bits(enum vhu_namespace ns, enum vhu_device device)
{
	const struct vhu_feature_row *row;
	uint64_t bits = 0;

	for (size_t i = 0; (row = vhu_feature_row(ns, i)); i++)
		if (row->bit < 64 && (row->device == VHU_DEV_ANY || row->device == device))
			bits |= UINT64_C(1) << row->bit;
	return bits;
}

/* What a key of the file's top says, where "$name" stands for what the row has of that name. */
static json_t *of_row(const struct entry *e, json_t *value)
{
	const char *name = json_string_value(value);

	return name && *name == '$' ? json_object_get(e->row, name + 1) : value;
}

/* What --check compiles against: all that there is, less what the case must not find. */
static void union_facts(struct compile *c, const struct entry *e, const struct node *top)
{
	struct node needs = NODE_GET(top, "needs"), without = NODE_GET(&needs, "without");
	struct node features = NODE_GET(&without, "features"),
		    pfeatures = NODE_GET(&without, "protocol_features");
	json_int_t queues = json_integer_value(json_object_get(needs.json, "queues"));
	json_int_t slots = json_integer_value(json_object_get(needs.json, "mem_slots"));
	json_int_t capacity = json_integer_value(json_object_get(needs.json, "capacity"));
	json_int_t used = json_integer_value(of_row(e, json_object_get(top->json, "queues")));
	struct vhu_facts *f = &c->facts;
	uint64_t off, poff;

	*f = (struct vhu_facts){.device = c->file->n_devices ? c->file->devices[0] : VHU_DEV_BLK};
	vhu_get_names(c, &features, VHU_NS_VIRTIO, &off);
	vhu_get_names(c, &pfeatures, VHU_NS_PROTOCOL, &poff);
	f->features = union_bits(VHU_NS_VIRTIO, f->device) & ~off;
	f->pfeatures = union_bits(VHU_NS_PROTOCOL, f->device) & ~poff;
	f->queues = (unsigned)VHU_MAX(VHU_MAX(queues, used), (json_int_t)UNION_QUEUES);
	f->queues = VHU_MIN(f->queues, (unsigned)VHU_LAYOUT_RINGS_MAX);
	f->queue_num = f->queues;
	f->mem_slots = (uint64_t)VHU_MAX(slots, (json_int_t)UNION_MEM_SLOTS);
	f->config_size = VHU_MIN(vhu_device_row(f->device)->config_size, sizeof(f->config));
	f->capacity = (uint64_t)VHU_MAX(capacity, (json_int_t)UNION_CAPACITY);
	f->spawn = f->hugetlb = true;
}

static void get_queues(struct compile *c, const struct entry *e, const struct node *top)
{
	struct node node = NODE_GET(top, "queues");
	json_t *queues = of_row(e, node.json);

	c->plan->queues = 1;
	if (queues != node.json && (json_integer_value(queues) < 1 ||
				    json_integer_value(queues) > VHU_LAYOUT_RINGS_MAX))
		vhu_diag(c->report, node.path,
			 "queues are 1 to %d, or '$' and the name of a number in the row",
			 VHU_LAYOUT_RINGS_MAX);
	else if (json_is_string(queues))
		c->plan->queues = VHU_MIN(VHU_MAX(c->facts.queues, 1u), (unsigned)VHU_LAYOUT_RINGS_MAX);
	else if (json_is_integer(queues))
		c->plan->queues = (unsigned)json_integer_value(queues);
	if (c->plan->queues > VHU_MAX(c->facts.queues, 1u))
		vhu_plan_skip(c, "needs %u rings, the target has %u", c->plan->queues, c->facts.queues);
}

static void get_profile(struct compile *c, const struct entry *e, const struct node *top)
{
	struct node profile = NODE_GET(top, "profile");

	if (profile.json && !of_row(e, profile.json))
		vhu_diag(c->report, profile.path, "the row has no %s", json_string_value(profile.json));
	profile.json = of_row(e, profile.json);
	c->plan->profile = json_is_string(profile.json)
				   ? vhu_plan_text(c, json_string_value(profile.json))
				   : vhu_plan_text(c, c->opts->profile ? c->opts->profile : "plain");
	vhu_profile_check(c, &profile);
}

/* What makes the front-end hang up in its set-up leaves nothing to be tested with it. */
static void check_set_up(struct compile *c, const struct node *top)
{
	static const enum vhu_msg asked[] = {VHU_MSG_GET_PROTOCOL_FEATURES, VHU_MSG_SET_PROTOCOL_FEATURES,
					     VHU_MSG_GET_QUEUE_NUM, VHU_MSG_SET_VRING_KICK};
	const struct vhu_plan *p = c->plan;
	struct vhu_facts_of_front facts = {
		.profile = p->profile,
		.device = c->facts.device,
		.features_offered = c->facts.features,
		.pfeatures = vhu_profile_takes(p->profile, c->facts.device, c->facts.pfeatures),
	};
	const char *why = NULL;

	if (!c->facts.known || !NODE_GET(top, "profile").json)
		return;
	for (size_t i = 0; !why && i < VHU_ARRAY_SIZE(asked); i++)
		why = vhu_persona_gives_up(&facts, asked[i]);
	if (why)
		vhu_plan_skip(c, "the persona '%s' gives up: %s", p->profile, why);
}

/* A number, or "$name" of one in the row. */
static void get_queue_size(struct compile *c, const struct entry *e, const struct node *top)
{
	struct node size = NODE_GET(top, "queue_size");
	json_int_t n = json_integer_value(of_row(e, size.json));

	c->plan->queue_size = 128;
	if (!size.json)
		return;
	if (n < 1 || n > VHU_C_VRING_SIZE_MAX)
		vhu_diag(c->report, size.path,
			 "a queue size is 1 to %d, or '$' and the name of a number in the row",
			 VHU_C_VRING_SIZE_MAX);
	else if ((n & (n - 1)) && c->file->ring != FILE_RING_PACKED)
		vhu_diag(c->report, size.path, "a split ring has a power of two of entries");
	else
		c->plan->queue_size = (uint16_t)n;
}

/* A case that needs a read-only disk says what becomes of writes to one. */
static bool needs_read_only(const struct node *needs)
{
	struct node features = NODE_GET(needs, "features");
	size_t i;
	json_t *name;

	json_array_foreach(features.json, i, name) {
		if (json_is_string(name) && !strcmp(json_string_value(name), "VIRTIO_BLK_F_RO"))
			return true;
	}
	return false;
}

void vhu_plan_split_only(struct compile *c, const char *what)
{
	if (c->twin)
		vhu_plan_skip(c, "%s are of split rings", what);
}

/* A file that asks for the feature by name has packed rings wherever it gets it. */
static void get_format(struct compile *c, const struct node *top)
{
	struct vhu_plan *p = c->plan;

	p->packed = c->twin || c->file->ring == FILE_RING_PACKED;
	if (p->packed && !(c->facts.features & VHU_V(VIRTIO_F_RING_PACKED)))
		vhu_plan_skip(c, "needs packed rings, which the target does not offer");
	vhu_plan_negotiate(c, top);
	if (p->packed && !vhu_profile_passes(p->profile, c->facts.device, VHU_V(VIRTIO_F_RING_PACKED)))
		vhu_plan_skip(c, "the persona '%s' has no packed rings", p->profile);
	p->packed |= (p->features & VHU_V(VIRTIO_F_RING_PACKED)) != 0;
	if (c->twin && !(p->features & VHU_V(VIRTIO_F_VERSION_1)))
		vhu_plan_skip(c, "legacy devices have split rings");
	for (size_t i = 0; c->twin && i < p->n_requirements; i++)
		if (vhu_req_row(p->requirements[i])->v_off & VHU_V(VIRTIO_F_RING_PACKED))
			vhu_plan_skip(c, "%s is about split rings", vhu_req_row(p->requirements[i])->id);
}

static void get_head(struct compile *c, const struct entry *e, const struct node *top)
{
	struct vhu_plan *p = c->plan;
	struct node needs = NODE_GET(top, "needs");
	char why[400];

	p->device = c->facts.device;
	p->start = (enum vhu_state)vhu_get_word(top, "start", vhu_words_state, VHU_STATE_CONNECTED);
	p->writes = vhu_get_bool(top, "writes", false);
	if (json_object_get(top->json, "captured"))
		p->captured = vhu_plan_text(c, json_string_value(json_object_get(top->json, "captured")));
	get_queue_size(c, e, top);
	c->needs_spawn = json_is_true(json_object_get(needs.json, "spawn"));
	c->device_is_blk = c->file->n_devices == 1 && c->file->devices[0] == VHU_DEV_BLK;
	c->device_is_net = c->file->n_devices == 1 && c->file->devices[0] == VHU_DEV_NET;
	get_profile(c, e, top);
	check_set_up(c, top);
	if (needs.json && !vhu_needs_met(c, &needs, false, why, sizeof(why)))
		vhu_plan_skip(c, "%s", why);
	get_queues(c, e, top);
	if (p->writes && c->facts.read_only && !needs_read_only(&needs))
		vhu_plan_skip(c, "changes the disk, and the disk is read-only");
	else if (p->writes && c->facts.known && !c->opts->allow_writes)
		vhu_plan_skip(c, "changes the disk: --allow-writes");
	get_format(c, top);
}

/* --- memory -------------------------------------------------------------------------------------- */

/* Laid out twice: once for $mem before the steps, then with all the rings that the steps use. */
static void lay_out(struct compile *c, const struct node *top, unsigned rings)
{
	struct node memory = NODE_GET(top, "memory"), size = NODE_GET(&memory, "size");
	json_t *regions = json_object_get(memory.json, "regions");
	uint64_t bytes = 64 << 20;
	struct vhu_layout_opts o = {
		.regions = json_is_integer(regions) ? (size_t)json_integer_value(regions) : 1,
		.backing = (enum vhu_backing)vhu_get_word(&memory, "backing", vhu_words_backing,
							  VHU_BACKING_AUTO),
		.rings = rings,
		.queue_size = c->plan->queue_size,
		.tight = vhu_get_word(&memory, "rings", vhu_words_rings, 0) == 1,
		.packed = c->plan->packed,
	};
	struct vhu_err err = {0};

	if (size.json && !vhu_get_count(c, &size, "the memory's size", 1, UINT64_MAX, &bytes))
		return;
	if (c->opts->backing != VHU_BACKING_AUTO)
		o.backing = c->opts->backing;
	o.size = bytes;
	if (vhu_layout_make(&o, &c->plan->layout, &err) < 0)
		vhu_diag(c->report, memory.json ? memory.path : top->path, "%s", err.text);
	else if (o.regions > VHU_C_MEM_TABLE_REGIONS && !(c->plan->pfeatures & VHU_P(CONFIGURE_MEM_SLOTS)))
		vhu_plan_skip(c, "%zu memory regions need CONFIGURE_MEM_SLOTS, which is not negotiated",
			      o.regions);
	else if (o.regions > VHU_C_MEM_TABLE_REGIONS && c->facts.known && c->facts.mem_slots < o.regions)
		vhu_plan_skip(c, "needs %zu memory slots, the target has %llu", o.regions,
			      (unsigned long long)c->facts.mem_slots);
}

/* --- the whole ----------------------------------------------------------------------------------- */

/* Variables of the file and of the row, as bindings; NULL-terminated by `up`. */
static const struct binding *bind_all(struct compile *c, const struct node *object, const struct path *at,
				      const struct binding *scope)
{
	const char *name;
	json_t *value;

	json_object_foreach(object->json, name, value) {
		struct binding *b = vhu_plan_take(c, 1, sizeof(*b));
		struct path *path = vhu_plan_take(c, 1, sizeof(*path));

		if (!b || !path)
			break;
		*path = (struct path){.up = at, .key = name};
		if (!vhu_binding_name_ok(c, path, name))
			continue;
		*b = (struct binding){scope, name, 0, value, path, NULL};
		scope = b;
	}
	return scope;
}

/* All of them see each other, whatever their order. */
static void share_scope(const struct binding *last)
{
	for (const struct binding *b = last; b; b = b->up)
		((struct binding *)b)->scope = last;
}

static void check_unused_macros(struct compile *c, const struct node *top)
{
	struct node macros = NODE_GET(top, "macros");
	const char *name;
	json_t *macro;

	json_object_foreach(macros.json, name, macro) {
		bool used = false;

		for (size_t i = 0; i < c->n_used; i++)
			used |= c->used_macros[i] == macro;
		if (!used)
			vhu_diag_key(c->report, PATH_KEY(macros.path, name), "nothing uses the macro '%s'",
				     name);
	}
}

static void compile_steps(struct compile *c, const struct entry *e, struct node *top)
{
	struct node vars = NODE_GET(top, "vars"), rows = NODE_GET(top, "rows"),
		    row = NODE_AT(&rows, e->row_index);
	struct node steps = NODE_GET(top, "steps");
	const struct binding *scope;

	scope = bind_all(c, &vars, vars.path, NULL);
	if (e->row)
		scope = bind_all(c, &row, row.path, scope);
	share_scope(scope);
	steps.scope = c->root_scope = scope;
	vhu_steps_expand(c, &steps);
	check_unused_macros(c, top);
}

static void take_cited(struct compile *c)
{
	enum vhu_req cited[VHU_REQ_MAX];
	size_t n = 0;

	for (int req = 0; req < VHU_REQ_MAX; req++)
		if (c->cited[req])
			cited[n++] = (enum vhu_req)req;
	c->plan->step_requirements = vhu_arena_memdup(c->arena, cited, n * sizeof(*cited));
	c->oom |= !c->plan->step_requirements;
	c->plan->n_step_requirements = n;
}

/* Hands what was collected over to the plan. */
static void finish(struct compile *c)
{
	struct vhu_plan *p = c->plan;

	p->steps = vhu_arena_memdup(c->arena, c->steps, c->n_steps * sizeof(*c->steps));
	p->n_steps = c->n_steps;
	p->vars = vhu_arena_memdup(c->arena, c->vars, c->n_vars * sizeof(*c->vars));
	p->n_vars = c->n_vars;
	p->conns = vhu_arena_memdup(c->arena, c->conns, c->n_conns * sizeof(*c->conns));
	p->n_conns = c->n_conns;
	c->oom |= !p->steps || !p->vars || !p->conns;
	take_cited(c);
}

static void compile_all(struct compile *c, const struct entry *e, struct node *top)
{
	size_t errors = c->report->errors;

	if (!c->facts.known)
		union_facts(c, e, top);
	get_head(c, e, top);
	lay_out(c, top, 1);
	/* Nothing of a case that is skipped is looked at: --check has done that. */
	if (c->plan->skip && c->facts.known)
		return;
	c->n_rings = VHU_MAX(c->plan->queues, 1u);
	compile_steps(c, e, top);
	lay_out(c, top, c->n_rings);
	finish(c);
	if (c->oom || c->report->errors != errors)
		return;
	vhu_plan_reach(c);
	/* A capture is of a front-end that may do as it likes. */
	if (!c->plan->captured)
		vhu_plan_judge(c);
}

static bool start_plan(struct compile *c, const struct entry *e)
{
	struct vhu_plan *p = vhu_arena_alloc(c->arena, sizeof(*p));

	if (!p)
		return false;
	c->plan = p;
	p->arena = c->arena;
	p->id = vhu_plan_text(c, e->info.id);
	p->file = vhu_plan_text(c, e->file->source.file);
	p->title = e->file->title ? vhu_plan_text(c, e->file->title) : "";
	p->why = e->file->why ? vhu_plan_text(c, e->file->why) : "";
	p->requirements = vhu_arena_memdup(c->arena, e->file->requirements,
					   e->file->n_requirements * sizeof(*e->file->requirements));
	p->n_requirements = e->file->n_requirements;
	p->may_kill = e->info.may_kill;
	c->vars = calloc(LIMIT_VARS, sizeof(*c->vars));
	c->var_visible = calloc(LIMIT_VARS, sizeof(*c->var_visible));
	c->conns = calloc(LIMIT_CONNS, sizeof(*c->conns));
	if (!p->requirements || !c->vars || !c->var_visible || !c->conns)
		return false;
	c->conns[0] = "first";
	c->n_conns = 1;
	c->defaults.requirement = p->n_requirements ? p->requirements[0] : VHU_REQ_MAX;
	return !c->oom;
}

static void drop_scratch(struct compile *c)
{
	free(c->steps);
	free(c->origins);
	free(c->vars);
	free(c->var_visible);
	free(c->conns);
	free(c->tags);
	free(c->used_macros);
}

/*
 * The file was found right against the union: what is wrong now is that this target's numbers fit no such
 * case. That says nothing of the file, and the other cases go on.
 */
static void skip_misfit(struct compile *c, const struct vhu_buf *told)
{
	const char *text = vhu_buf_text(told);

	c->plan->skip = NULL;
	vhu_plan_skip(c, "on this target %.*s", (int)strcspn(text, "\n"), text);
}

int vhu_case_compile(const struct vhu_case_set *set, const struct entry *e,
		     const struct vhu_compile_opts *opts, struct report *r, struct vhu_plan **ret,
		     struct vhu_err *err)
{
	struct path root = {.source = &e->file->source};
	struct node top = {e->file->source.root, &root, NULL};
	struct vhu_buf told = {0};
	struct vhu_diags diags = {.text = &told};
	struct report misfits = {.diags = &diags};
	struct compile c = {.report = opts->facts ? &misfits : r,
			    .arena = vhu_arena_new(),
			    .set = set,
			    .file = e->file,
			    .top = &root,
			    .twin = e->info.twin,
			    .opts = opts};
	size_t errors = r->errors;
	int result = 0;

	if (opts->facts) {
		c.facts = *opts->facts;
		c.facts.known = true;
	}
	if (!c.arena || !start_plan(&c, e))
		c.oom = true;
	else
		compile_all(&c, e, &top);
	drop_scratch(&c);
	if (misfits.errors && !c.oom)
		skip_misfit(&c, &told);
	c.oom |= told.failed || (misfits.errors && !c.plan->skip);
	vhu_buf_done(&told);
	if (c.oom)
		result = vhu_err_set(err, -ENOMEM, "%s: out of memory", e->file->source.file);
	else if (r->errors != errors)
		result = vhu_err_set(err, -EINVAL, "%s has errors", e->file->source.file);
	if (result < 0)
		vhu_arena_free(c.arena);
	else
		*ret = c.plan;
	return result;
}
