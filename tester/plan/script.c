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
		.pairs_on = o->pairs ? o->pairs : VHU_PERSONA_RINGS_MAX,
		.reconnected = o->reconnected,
		.has_area = o->has_area,
		.regions = o->regions,
		.no_status = o->no_status,
		.status = o->status,
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

long vhu_script_phase(const struct vhu_script_opts *opts, enum vhu_phase phase, struct vhu_script_item *out,
		      size_t max, struct vhu_err *err)
{
	struct list l = {.opts = opts, .out = out, .max = max, .err = err};
	struct vhu_facts_of_front facts = facts_of(opts);
	int rc = vhu_persona_walk(&facts, VHU_PHASE_CONNECTED, phase, put, &l, err);

	return rc < 0 ? rc : (long)l.n;
}

long vhu_phase_script(enum vhu_phase_word word, const struct vhu_script_opts *opts,
		      struct vhu_script_item *out, size_t max, struct vhu_err *err)
{
	switch (word) {
	case VHU_DO_PHASE_START:
		return vhu_script(opts, out, max, err);
	case VHU_DO_PHASE_STOP:
		return vhu_script_phase(opts, VHU_PHASE_STOP, out, max, err);
	case VHU_DO_PHASE_RESET:
		return vhu_script_phase(opts, VHU_PHASE_RESET, out, max, err);
	case VHU_DO_PHASE_SWITCH:
		return vhu_script_phase(opts, VHU_PHASE_SWITCH, out, max, err);
	case VHU_DO_PHASE_RECONFIG:
		return vhu_script_phase(opts, VHU_PHASE_RECONFIG, out, max, err);
	}
	return 0;
}

long vhu_script_ring(const struct vhu_script_opts *opts, unsigned queue, struct vhu_script_item *out,
		     size_t max, struct vhu_err *err)
{
	struct list l = {.opts = opts, .out = out, .max = max, .err = err};
	struct vhu_facts_of_front facts = facts_of(opts);
	int rc = vhu_persona_ring(&facts, queue, put, &l, err);

	return rc < 0 ? rc : (long)l.n;
}
