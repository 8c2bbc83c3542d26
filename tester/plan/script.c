/* A persona's messages from one state of a session to the next, as a list. */
#include "plan/script.h"

#include <errno.h>

#include "internal.h"

struct list {
	const struct vhu_script_opts *opts;
	struct vhu_script_item *out;
	size_t n, max;
	struct vhu_err *err;
};

static int put(void *ctx, const struct vhu_script_item *item)
{
	struct list *l = ctx;

	if (l->n == l->max)
		return vhu_err_set(l->err, -ENOSPC, "the script of '%s' has more than %zu messages",
				   l->opts->profile, l->max);
	l->out[l->n++] = *item;
	return 0;
}

static struct vhu_facts_of_front facts_of(const struct vhu_script_opts *o)
{
	return (struct vhu_facts_of_front){
		.profile = o->profile,
		.device = o->device,
		.features_offered = o->features_offered,
		.features = o->features,
		.pfeatures = o->pfeatures,
		.queues = o->queues,
		.pairs_on = VHU_PERSONA_RINGS_MAX,
		.regions = o->regions,
		.no_status = o->no_status,
	};
}

long vhu_script(const struct vhu_script_opts *opts, struct vhu_script_item *out, size_t max,
		struct vhu_err *err)
{
	struct list l = {.opts = opts, .out = out, .max = max, .err = err};
	struct vhu_facts_of_front facts = facts_of(opts);
	int rc = vhu_persona_walk(&facts, (enum vhu_phase)opts->from, (enum vhu_phase)opts->to, put, &l, err);

	return rc < 0 ? rc : (long)l.n;
}

long vhu_script_ring(const struct vhu_script_opts *opts, unsigned queue, struct vhu_script_item *out,
		     size_t max, struct vhu_err *err)
{
	struct list l = {.opts = opts, .out = out, .max = max, .err = err};
	struct vhu_facts_of_front facts = facts_of(opts);
	int rc = vhu_persona_ring(&facts, queue, put, &l, err);

	return rc < 0 ? rc : (long)l.n;
}
