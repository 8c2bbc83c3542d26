#include "runner.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#include "channel/target.h"
#include "engine/engine.h"
#include "event/loop.h"
#include "recording.h"

enum {
	TRACE_TAIL = 24,		/* messages shown of a failing case */
	TRACE_ALL = 4096,		/* and with -v, of any */
};

static const uint64_t ms = 1000000;

/* SIGALRM is the end of --max-time: it gets us out of whatever a case waits for. */
static int watch_signals(struct vhu_loop *loop, struct vhu_err *err)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGALRM};

	return vhu_loop_watch_signals(loop, signals, VHU_ARRAY_SIZE(signals), err);
}

int vhu_runner_open(struct vhu_runner *r, const struct vhu_conform_opts *o, enum vhu_device device,
		    bool identify, const char *dir, struct vhu_err *err)
{
	struct vhu_target_cli cli = o->target;
	struct vhu_engine_opts opts = {
		.timeout_ns = o->target.timeout_ms * ms,
		.settle_ns = o->target.settle_ms * ms,
		.judge = {.strict = o->strict, .spec = o->spec},
		.seed = o->seed,
		.device = device,
		.identify = identify && o->target.device == VHU_DEV_ANY && !o->target.reference,
		.queues = (unsigned)o->target.queues,
		.listen = o->target.listen != NULL,
		.trace_entries = o->verbose ? TRACE_ALL : TRACE_TAIL,
		.trace_all = o->verbose >= 1,
		.trace_hex = o->verbose >= 2,
	};
	int code;

	*r = (struct vhu_runner){.o = o};
	cli.device = device;
	cli.dir = dir;
	code = vhu_loop_new(&r->loop, err);
	if (code == 0)
		code = watch_signals(r->loop, err);
	if (code == 0 && vhu_resources_take(&r->idle) < 0)
		code = vhu_err_errno(err, -ENOMEM, "open files");
	if (code == 0)
		code = vhu_target_cli_new(r->loop, &cli, &r->target, err);
	if (code == 0)
		code = vhu_engine_new(r->loop, r->target, &opts, &r->engine, err);
	if (code < 0)
		vhu_runner_close(r);
	return code;
}

void vhu_runner_release_target(struct vhu_runner *r)
{
	vhu_engine_free(r->engine);
	vhu_target_free(r->target);
	r->engine = NULL;
	r->target = NULL;
}

void vhu_runner_close(struct vhu_runner *r)
{
	vhu_runner_release_target(r);
	vhu_resources_done(&r->idle);
	vhu_loop_free(r->loop);
	*r = (struct vhu_runner){0};
}

int vhu_runner_probe(struct vhu_runner *r, struct vhu_err *err)
{
	int code = vhu_engine_probe(r->engine, &r->facts, err);

	if (code != -EPROTO)
		return code;
	/* Nothing is known, so that cases run which need nothing. */
	r->facts = (struct vhu_facts){
		.known = true,
		.device = r->o->target.device,
		.queues = r->o->target.queues ? (unsigned)r->o->target.queues : 1,
		.spawn = vhu_target_spawned(r->target),
		.one_shot = vhu_target_one_shot(r->target),
	};
	return 1;
}

/* --- one case -------------------------------------------------------------------------------- */

static char *copy(const char *text)
{
	return strdup(text ? text : "");
}

int vhu_outcome_without_run(const struct vhu_plan *plan, enum vhu_verdict verdict, const char *reason,
			    struct vhu_outcome *ret, struct vhu_err *err)
{
	struct vhu_outcome o = {.verdict = verdict};
	struct vhu_result *r = &o.result;

	r->verdict = verdict;
	r->id = copy(plan->id);
	r->title = copy(plan->title);
	r->file = copy(plan->file);
	r->reason = copy(reason);
	r->requirements = calloc(plan->n_requirements + 1, sizeof(*r->requirements));
	if (!r->id || !r->title || !r->file || !r->reason || !r->requirements) {
		vhu_outcome_done(&o);
		return vhu_err_errno(err, -ENOMEM, "%s", plan->id);
	}
	memcpy(r->requirements, plan->requirements, plan->n_requirements * sizeof(*r->requirements));
	r->n_requirements = plan->n_requirements;
	*ret = o;
	return 0;
}

/* A case after which we hold more than before is our own fault, whatever came of it. */
static int judge_leak(struct vhu_runner *r, const struct vhu_resources *before, struct vhu_result *result)
{
	struct vhu_resources after;
	struct vhu_buf leak = {0}, reason = {0};
	int code = vhu_resources_take(&after);

	if (code < 0)
		return code;
	vhu_resources_compare(before, &after, vhu_target_spawned(r->target) ? &r->idle : NULL, &leak);
	vhu_resources_done(&after);
	if (leak.len) {
		vhu_buf_printf(&reason, "the tester leaked in this case: %s", leak.data);
		free(result->reason);
		result->reason = vhu_buf_steal(&reason);
		result->verdict = VHU_BROKEN;
	}
	code = leak.failed || (leak.len && !result->reason) ? -ENOMEM : 0;
	vhu_buf_done(&leak);
	vhu_buf_done(&reason);
	return code;
}

/* Runs the plan, and keeps the session where that is wanted. */
static int run_recorded(struct vhu_runner *r, const struct vhu_plan *plan, struct vhu_result *ret,
			struct vhu_err *err)
{
	struct vhu_trace_writer *writer = NULL;
	int code, closed;

	if (!r->o->record)
		return vhu_engine_run(r->engine, plan, ret, err);
	code = vhu_recording_open(r->o->record, plan->id, (unsigned)r->o->record_level, &r->facts, &writer,
				  err);
	if (code < 0)
		return code;
	code = vhu_engine_record(r->engine, writer, (unsigned)r->o->record_level, err);
	if (code == 0)
		code = vhu_engine_run(r->engine, plan, ret, err);
	closed = vhu_trace_writer_close(writer, code == 0 ? err : NULL);
	if (code == 0 && closed < 0) {
		vhu_result_done(ret);
		return closed;
	}
	return code;
}

static int run_once(struct vhu_runner *r, const struct vhu_plan *plan, struct vhu_result *ret,
		    struct vhu_err *err)
{
	struct vhu_resources before;
	struct vhu_result result = {0};
	int code = vhu_loop_poll(r->loop, err);

	if (code < 0)
		return code;
	if (vhu_resources_take(&before) < 0)
		return vhu_err_errno(err, -ENOMEM, "%s", plan->id);
	code = run_recorded(r, plan, &result, err);
	if (code == 0 && judge_leak(r, &before, &result) < 0)
		code = vhu_err_errno(err, -ENOMEM, "%s", plan->id);
	vhu_resources_done(&before);
	if (code < 0) {
		vhu_result_done(&result);
		return code;
	}
	if (r->o->target.spawn_per_case)
		vhu_target_stop(r->target);
	*ret = result;
	return 0;
}

/* Skips are worth less than anything that was seen. */
static int badness(enum vhu_verdict v)
{
	return v == VHU_SKIP ? -1 : (int)v;
}

int vhu_runner_run(struct vhu_runner *r, const struct vhu_plan *plan, struct vhu_outcome *ret,
		   struct vhu_err *err)
{
	struct vhu_outcome o = {0};
	bool more = true;

	if (plan->skip)
		return vhu_outcome_without_run(plan, VHU_SKIP, plan->skip, ret, err);
	for (uint64_t i = 0; i < r->o->repeat && more; i++) {
		struct vhu_result result;
		int code = run_once(r, plan, &result, err);

		if (code < 0) {
			vhu_outcome_done(&o);
			return code;
		}
		o.runs += result.verdict != VHU_SKIP;
		o.passed += result.verdict == VHU_PASS || result.verdict == VHU_WARN;
		more = !result.target_gone && result.verdict != VHU_SKIP;
		if (i && badness(result.verdict) <= badness(o.result.verdict)) {
			vhu_result_done(&result);
		} else {
			vhu_result_done(&o.result);
			o.result = result;
		}
	}
	o.verdict = o.result.verdict;
	o.flaky = o.verdict == VHU_FAIL && o.passed > 0;
	*ret = o;
	return 0;
}
