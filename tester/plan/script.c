/* A persona's messages from one state of a session to the next, as a list. */
#include "plan/script.h"

#include <errno.h>

#include "internal.h"
#include "session/session.h"

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
	l->out[l->n] = *item;
	l->out[l->n].written = l->opts->written;
	l->out[l->n++].region += l->opts->first_region;
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
		.logging = o->logging,
		.postcopy = o->postcopy,
		.n_ready = o->ready,
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

static const struct {
	enum vhu_phase phase;
	bool special; /* not all front-ends have it */
} words[] = {
	[VHU_DO_PHASE_START] = {VHU_PHASE_RUNNING, false},
	[VHU_DO_PHASE_STOP] = {VHU_PHASE_STOP, false},
	[VHU_DO_PHASE_PAUSE] = {VHU_PHASE_PAUSE, true},
	[VHU_DO_PHASE_RESUME] = {VHU_PHASE_RESUME, true},
	[VHU_DO_PHASE_RESET] = {VHU_PHASE_RESET, false},
	[VHU_DO_PHASE_SWITCH] = {VHU_PHASE_SWITCH, false},
	[VHU_DO_PHASE_RECONFIG] = {VHU_PHASE_RECONFIG, true},
	[VHU_DO_PHASE_WRITE_CONFIG] = {VHU_PHASE_WRITE_CONFIG, true},
	[VHU_DO_PHASE_PLUG] = {VHU_PHASE_PLUG, true},
	[VHU_DO_PHASE_UNPLUG] = {VHU_PHASE_UNPLUG, true},
	[VHU_DO_PHASE_LOG_ON] = {VHU_PHASE_LOG, true},
	[VHU_DO_PHASE_LOG_OFF] = {VHU_PHASE_LOG_OFF, true},
	[VHU_DO_PHASE_SAVE] = {VHU_PHASE_SAVE, true},
	[VHU_DO_PHASE_LOAD] = {VHU_PHASE_LOAD, true},
	[VHU_DO_PHASE_ANNOUNCE] = {VHU_PHASE_ANNOUNCE, true},
	[VHU_DO_PHASE_ADVISE] = {VHU_PHASE_ADVISE, true},
	[VHU_DO_PHASE_LISTEN] = {VHU_PHASE_LISTEN, true},
	[VHU_DO_PHASE_POSTCOPY_END] = {VHU_PHASE_POSTCOPY_END, true},
};

bool vhu_script_has_phase(const char *profile, enum vhu_phase_word word)
{
	return !words[word].special || vhu_profile_has_phase(profile, words[word].phase);
}

void vhu_script_regions(struct vhu_script_opts *opts, enum vhu_phase_word word, const struct vhu_session *s,
			size_t regions)
{
	const bool slots = vhu_session_pfeatures(s) & VHU_P(CONFIGURE_MEM_SLOTS);

	opts->first_region = slots ? VHU_MIN(s->n_regions, regions) : 0;
	opts->regions = regions - opts->first_region;
	if (word != VHU_DO_PHASE_PLUG && word != VHU_DO_PHASE_UNPLUG)
		return;
	opts->first_region = word == VHU_DO_PHASE_PLUG ? regions - 1 : regions;
	opts->regions = 1;
}

long vhu_phase_script(enum vhu_phase_word word, const struct vhu_script_opts *opts,
		      struct vhu_script_item *out, size_t max, struct vhu_err *err)
{
	if (word == VHU_DO_PHASE_START)
		return vhu_script(opts, out, max, err);
	return vhu_script_phase(opts, words[word].phase, out, max, err);
}

long vhu_script_ring(const struct vhu_script_opts *opts, unsigned queue, struct vhu_script_item *out,
		     size_t max, struct vhu_err *err)
{
	struct list l = {.opts = opts, .out = out, .max = max, .err = err};
	struct vhu_facts_of_front facts = facts_of(opts);
	int rc = vhu_persona_ring(&facts, queue, put, &l, err);

	return rc < 0 ? rc : (long)l.n;
}
