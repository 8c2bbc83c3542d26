/* What "$name" means: a variable of the file, of a row, a loop or a macro, a saved one, or a fact. */
#include <string.h>

#include "internal.h"

static const char *const facts_names[] = {
	"target.queue_num",
	"target.features",
	"target.protocol_features",
	"target.capacity",
	"target.mem_slots",
	"case.queues",
	"case.queue_size",
	"mem.gpa",
	"mem.uaddr",
	"mem.size",
	"mem.iova",
	NULL,
};

static uint64_t fact(const struct compile *c, int i)
{
	const uint64_t values[] = {
		c->facts.queue_num ? c->facts.queue_num : c->facts.queues,
		c->facts.features,
		c->facts.pfeatures,
		c->facts.capacity,
		c->facts.mem_slots,
		c->plan->queues,
		c->plan->queue_size,
		c->plan->layout.region[0].gpa,
		c->plan->layout.region[0].uaddr,
		c->plan->layout.region[0].size,
		c->plan->layout.region[0].gpa + VHU_IOVA_SHIFT,
	};

	return values[i];
}

static int saved(const struct compile *c, const char *name)
{
	for (size_t i = 0; i < c->n_vars; i++)
		if (!strcmp(c->vars[i], name))
			return (int)i;
	return -1;
}

struct names {
	const struct compile *c;
	const struct binding *scope;
};

/* All names that could have been meant. */
static const char *known_name_at(void *ctx, size_t i)
{
	const struct names *n = ctx;
	const struct binding *b = n->scope;

	for (; b; b = b->up, i--)
		if (i == 0)
			return b->name;
	if (i < n->c->n_vars)
		return n->c->vars[i];
	i -= n->c->n_vars;
	return i < VHU_ARRAY_SIZE(facts_names) ? facts_names[i] : NULL;
}

static bool unknown(struct compile *c, const struct node *at, const char *name)
{
	struct names names = {c, at->scope};
	char near[HINT_CAP];

	vhu_diag(c->report, at->path, "nothing sets $%s before this step%s", name,
		 vhu_hint(near, name, known_name_at, &names));
	return false;
}

static const struct binding *find(const struct binding *scope, const char *name, size_t len)
{
	for (; scope; scope = scope->up)
		if (strlen(scope->name) == len && !memcmp(scope->name, name, len))
			return scope;
	return NULL;
}

/* "$v.field" where v is an object that a loop goes over. */
static bool member(struct compile *c, const struct node *at, const struct binding *b, const char *name,
		   const char *field, struct lookup *ret)
{
	json_t *json = b->json ? json_object_get(b->json, field) : NULL;
	struct path *path = vhu_plan_take(c, 1, sizeof(*path));

	if (!path)
		return false;
	if (!json) {
		vhu_diag(c->report, at->path, "$%s has no member '%s'", b->name, field);
		return false;
	}
	*path = (struct path){.up = b->path, .key = vhu_plan_text(c, field)};
	*ret = (struct lookup){LOOKUP_JSON, .node = {json, path, b->scope}};
	return true;
}

bool vhu_binding_lookup(struct compile *c, const struct node *at, const char *name, struct lookup *ret)
{
	const char *dot = strchr(name, '.');
	const struct binding *b = find(at->scope, name, dot ? (size_t)(dot - name) : strlen(name));
	int i;

	if (b && dot)
		return member(c, at, b, name, dot + 1, ret);
	if (b && b->json)
		*ret = (struct lookup){LOOKUP_JSON, .node = {b->json, b->path, b->scope}};
	else if (b)
		*ret = (struct lookup){LOOKUP_U64, .u = b->u};
	else if ((i = vhu_word_index(facts_names, name)) >= 0)
		*ret = (struct lookup){LOOKUP_U64, .u = fact(c, i)};
	else if ((i = saved(c, name)) < 0)
		return unknown(c, at, name);
	else if (!c->var_visible[i]) {
		vhu_diag(c->report, at->path, "$%s is saved only in a branch that may not run", name);
		return false;
	} else
		*ret = (struct lookup){LOOKUP_SAVED, .var = (unsigned)i};
	return true;
}

bool vhu_binding_name_ok(struct compile *c, const struct path *at, const char *name)
{
	if (!strcmp(name, "target") || !strcmp(name, "case") || !strcmp(name, "mem")) {
		vhu_diag_key(c->report, at, "'%s' is taken: $%s.… are facts", name, name);
		return false;
	}
	return true;
}

bool vhu_var_save(struct compile *c, const struct node *at, const char *name, unsigned *ret)
{
	int i = saved(c, name);

	if (!vhu_binding_name_ok(c, at->path, name))
		return false;
	if (find(at->scope, name, strlen(name))) {
		vhu_diag_key(c->report, at->path, "'%s' is a constant here: save under another name", name);
		return false;
	}
	if (i < 0) {
		if (c->n_vars == LIMIT_VARS) {
			vhu_diag_key(c->report, at->path, "more than %d saved variables", LIMIT_VARS);
			return false;
		}
		i = (int)c->n_vars;
		c->vars[i] = vhu_plan_text(c, name);
		if (!c->vars[i])
			return false;
		c->n_vars++;
	}
	c->var_visible[i] = true;
	*ret = (unsigned)i;
	return true;
}
