/* vhu-replay: a capture against a live back-end. */
#include "cli/replay.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <string.h>

#include "channel/target.h"
#include "cli/conform.h"
#include "event/loop.h"
#include "oracle/oracle.h"
#include "replay_show.h"

enum { IOS_A_RING = 4, SHOWN_MAX = 100 };

static const uint64_t ms = 1000000;
static const uint64_t disk_max = UINT64_C(1) << 40; /* bytes; not every file system takes larger files */

struct replay_run {
	const struct vhu_replay_cli *o;
	struct vhu_trace *trace;
	struct vhu_divergence_view view;
	uint32_t first; /* session that is played */
	struct vhu_plan *plan;
	struct vhu_buf notes, text;
	json_t *divergences;
	struct vhu_loop *loop;
	struct vhu_target *target;
	struct vhu_engine *engine;
	struct vhu_replay replay;
	struct vhu_result result;
	bool ran, interrupted;
	bool known[VHU_REQ_MAX]; /* broken by the recorded back-end as well */
};

static int complain(const struct vhu_err *err, int exit_code)
{
	vhu_complain(vhu_replay_options.program, err);
	return exit_code;
}

/* --- what differs ---------------------------------------------------------------------------------- */

static char *describe(const struct vhu_frame *got, enum vhu_device device)
{
	struct vhu_buf text = {0};

	vhu_frame_describe(got, device, &text);
	return vhu_buf_steal(&text);
}

static void remember(struct replay_run *x, enum vhu_divergence kind, const struct vhu_step *s,
		     const struct vhu_frame *got)
{
	const struct vhu_record *r = vhu_divergence_record(x->trace, s->record);
	struct vhu_buf was = {0};
	_cleanup_(vhu_freep) char *now = got ? describe(got, x->view.device) : NULL;

	if (r)
		vhu_record_describe(r, x->view.device, &was);
	json_array_append_new(x->divergences,
			      json_pack("{s:I, s:I, s:s, s:s, s:s?}", "record", (json_int_t)s->record,
					"session", (json_int_t)(r ? r->connection : 0), "kind",
					vhu_divergence_name(kind), "recorded", vhu_buf_text(&was), "now",
					now));
	vhu_buf_done(&was);
}

static void on_divergence(void *ctx, enum vhu_divergence kind, const struct vhu_step *s,
			  const struct vhu_frame *got)
{
	struct replay_run *x = ctx;

	if (json_array_size(x->divergences) >= SHOWN_MAX)
		return;
	remember(x, kind, s, got);
	vhu_divergence_show(&x->view, kind, s, got, &x->text);
}

/* --- findings -------------------------------------------------------------------------------------- */

static void note_known(void *ctx, const struct vhu_finding *f)
{
	struct replay_run *x = ctx;

	x->known[f->req] = true;
}

/* What the recorded back-end did wrong is no news of this one. */
static void judge_recorded(struct replay_run *x, const struct vhu_session_ref *s)
{
	struct vhu_oracle *oracle = malloc(sizeof(*oracle));

	if (!oracle)
		return;
	vhu_oracle_init(oracle, x->view.device, 0, note_known, x);
	for (size_t i = 0; i < s->n; i++) {
		_cleanup_(vhu_frame_done) struct vhu_frame f = {0};
		struct vhu_obs obs = {.kind = VHU_OBS_FRAME,
				      .frame = &f,
				      .intended = s->records[i]->flags & VHU_CAP_INTENDED};
		struct vhu_err err;

		if (vhu_record_is_message(s->records[i]) && vhu_record_frame(s->records[i], &f, &err) == 0)
			vhu_oracle_observe(oracle, &obs);
	}
	free(oracle);
}

static bool is_news(const struct replay_run *x, size_t i)
{
	return !x->known[x->result.findings[i].req];
}

static void show_findings(struct replay_run *x)
{
	for (size_t i = 0; i < x->result.n_findings; i++) {
		const struct vhu_finding *f = &x->result.findings[i];

		if (!is_news(x, i))
			continue;
		vhu_buf_printf(&x->text, "%s %s: %s\n  at        %s\n  accepted  %s\n  now       %s\n",
			       vhu_verdict_name(x->result.grades[i]), vhu_req_row(f->req)->id, f->summary,
			       f->where, f->accepted, f->actual);
	}
}

/* --- the run --------------------------------------------------------------------------------------- */

static int load(struct replay_run *x, struct vhu_err *err)
{
	struct vhu_replay_opts opts = {
		.session = (uint32_t)x->o->session,
		.socket = x->o->socket,
		.until = (uint32_t)x->o->until,
		.spawned = vhu_target_cli_spawns(&x->o->target),
		.io = x->o->io,
		.writes = x->o->target.allow_writes,
		.ignore = x->o->ignore.items,
		.n_ignore = x->o->ignore.n,
	};
	int code = vhu_trace_load(x->o->parsed.rest.items[0], &x->trace, err);

	if (code < 0)
		return code;
	vhu_buf_puts(&x->notes, x->trace->notes);
	opts.device = x->o->target.device != VHU_DEV_ANY ? x->o->target.device
							 : vhu_trace_guess_device(x->trace, &opts);
	x->view = (struct vhu_divergence_view){x->trace, opts.device, &x->replay.used};
	if (x->o->io && opts.device != VHU_DEV_BLK)
		return vhu_err_set(err, -EINVAL,
				   "--io: what is played is of %s, and only disks do I/O here\n"
				   "  if it is one, say --device blk; --socket and --session choose others",
				   opts.device == VHU_DEV_ANY ? "a device that the capture does not tell"
							      : vhu_device_row(opts.device)->name);
	x->first = vhu_trace_first(x->trace, &opts);
	return vhu_plan_from_trace(x->trace, &opts, &x->plan, &x->notes, err);
}

static int open_target(struct replay_run *x, struct vhu_err *err)
{
	static const int signals[] = {SIGINT, SIGTERM};
	struct vhu_target_cli cli = x->o->target;
	struct vhu_engine_opts opts = {
		.timeout_ns = cli.timeout_ms * ms,
		.settle_ns = cli.settle_ms * ms,
		.judge = {.strict = x->o->strict, .spec = VHU_SINCE_V11_1},
		.seed = x->o->seed,
		.device = x->view.device,
		.listen = cli.listen != NULL,
		.replay = &x->replay,
	};
	int code = vhu_loop_new(&x->loop, err);

	/* As large a disk as the captured one: what lies beyond its end does so here. */
	if (!cli.image_size && x->plan->disk <= disk_max)
		cli.image_size = x->plan->disk;
	cli.device = x->view.device;
	cli.like = x->o->parsed.rest.items[0];
	cli.like_session = x->first;
	x->replay = (struct vhu_replay){.paced = x->o->paced,
					.keep_going = x->o->keep_going,
					.ios = x->o->io ? IOS_A_RING : 0,
					.writes = cli.allow_writes,
					.diverged = on_divergence,
					.ctx = x};
	if (code == 0)
		code = vhu_loop_watch_signals(x->loop, signals, VHU_ARRAY_SIZE(signals), err);
	if (code == 0)
		code = vhu_target_cli_new(x->loop, &cli, &x->target, err);
	return code == 0 ? vhu_engine_new(x->loop, x->target, &opts, &x->engine, err) : code;
}

static void release(struct replay_run *x)
{
	vhu_engine_free(x->engine);
	vhu_target_free(x->target);
	vhu_loop_free(x->loop);
	vhu_result_done(&x->result);
	vhu_plan_free(x->plan);
	vhu_trace_free(x->trace);
	vhu_buf_done(&x->notes);
	vhu_buf_done(&x->text);
	json_decref(x->divergences);
}

/* --- what came of it ------------------------------------------------------------------------------- */

static bool failed(const struct replay_run *x)
{
	for (size_t i = 0; i < x->result.n_findings; i++)
		if (x->result.grades[i] == VHU_FAIL && is_news(x, i))
			return true;
	return x->replay.divergences > 0;
}

static int exit_code(const struct replay_run *x)
{
	if (x->interrupted)
		return VHU_EXIT_SIGNAL + vhu_loop_signalled(x->loop);
	if (x->result.verdict == VHU_BROKEN)
		return VHU_EXIT_BROKEN;
	if (x->result.target_died || x->result.target_gone || x->result.deadline)
		return VHU_EXIT_TARGET;
	return failed(x) ? VHU_EXIT_FAILED : VHU_EXIT_OK;
}

static json_t *findings_json(const struct replay_run *x)
{
	json_t *list = json_array();

	for (size_t i = 0; i < x->result.n_findings; i++) {
		const struct vhu_finding *f = &x->result.findings[i];

		json_array_append_new(
			list, json_pack("{s:s, s:s, s:s, s:s, s:b}", "requirement", vhu_req_row(f->req)->id,
					"verdict", vhu_verdict_name(x->result.grades[i]), "summary",
					f->summary, "actual", f->actual, "recorded_too", !is_news(x, i)));
	}
	return list;
}

static int write_json(const struct replay_run *x, struct vhu_err *err)
{
	json_t *o = json_pack("{s:s, s:i, s:s, s:I, s:I, s:I, s:I, s:s, s:O, s:o}", "format", "vhu-replay",
			      "version", 1, "capture", x->o->parsed.rest.items[0], "replayed",
			      (json_int_t)x->replay.sent, "compared", (json_int_t)x->replay.compared,
			      "divergences", (json_int_t)x->replay.divergences, "ios",
			      (json_int_t)x->result.ios, "notes", vhu_buf_text(&x->notes), "diverged",
			      x->divergences, "findings", findings_json(x));
	bool to_stdout = !strcmp(x->o->json, "-");
	FILE *out = to_stdout ? stdout : fopen(x->o->json, "we");
	bool ok = o && out && json_dumpf(o, out, JSON_INDENT(1)) == 0 && fputs("\n", out) >= 0 &&
		  fflush(out) == 0;
	int saved = errno;

	if (out && !to_stdout)
		fclose(out);
	json_decref(o);
	return ok ? 0 : vhu_err_errno(err, -(saved ? saved : EIO), "--json %s", x->o->json);
}

/* Standard output is one report's alone. */
static void print_text(struct replay_run *x)
{
	if (x->o->json && !strcmp(x->o->json, "-"))
		return;
	vhu_tell_notes(stdout, "", vhu_buf_text(&x->notes));
	if (x->replay.unplaced)
		printf("note: %zu memory records not replayed: the back-end has no such memory\n",
		       x->replay.unplaced);
	if (x->replay.no_io[0])
		printf("note: --io: %s\n", x->replay.no_io);
	fputs(vhu_buf_text(&x->text), stdout);
	printf("%zu messages replayed, %zu replies compared, %zu divergences, %" PRIu64 " I/Os verified\n",
	       x->replay.sent, x->replay.compared, x->replay.divergences, x->result.ios);
}

static int report(struct replay_run *x)
{
	struct vhu_err err = {0};
	int code = exit_code(x);

	show_findings(x);
	if (x->result.target_stderr)
		vhu_buf_printf(&x->text, "the back-end's last words:\n%s\n", x->result.target_stderr);
	print_text(x);
	if (x->result.reason) {
		vhu_err_set(&err, -EIO, "%s", x->result.reason);
		complain(&err, 0);
	}
	if (fflush(stdout)) {
		vhu_err_errno(&err, -errno, "standard output");
		return complain(&err, VHU_EXIT_BROKEN);
	}
	if (x->o->json && write_json(x, &err) < 0)
		return complain(&err, VHU_EXIT_BROKEN);
	return code;
}

static int replay(struct replay_run *x)
{
	struct vhu_err err = {0};
	int code = load(x, &err);

	if (code < 0) {
		/* What is wrong with the file may well be why. */
		if (x->trace)
			vhu_tell_notes(stderr, "vhu-replay: ", x->trace->notes);
		return complain(&err, code == -ENOMEM ? VHU_EXIT_BROKEN : VHU_EXIT_USAGE);
	}
	for (size_t i = 0; i < x->trace->n_sessions; i++)
		judge_recorded(x, &x->trace->sessions[i]);
	code = open_target(x, &err);
	if (code < 0)
		return complain(&err, code == -ENOMEM ? VHU_EXIT_BROKEN : VHU_EXIT_USAGE);
	code = vhu_engine_run(x->engine, x->plan, &x->result, &err);
	x->interrupted = code == -EINTR;
	if (code < 0 && !x->interrupted)
		return complain(&err, VHU_EXIT_BROKEN);
	return report(x);
}

static int answer(const struct vhu_replay_cli *o)
{
	struct vhu_buf text = {0};
	int code = VHU_EXIT_OK;

	if (o->help)
		vhu_options_help(&vhu_replay_options, &text);
	else
		vhu_buf_printf(&text, "%s %s\n", vhu_replay_options.program, VHU_VERSION);
	if (fputs(vhu_buf_text(&text), stdout) < 0 || fflush(stdout))
		code = VHU_EXIT_BROKEN;
	vhu_buf_done(&text);
	return code;
}

/* A report's reader that goes away is a write error, not our end. */
static void on_broken_pipe(int signal)
{
}

int vhu_replay_main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = on_broken_pipe, .sa_flags = SA_RESTART};
	struct vhu_replay_cli o;
	struct replay_run *x = calloc(1, sizeof(*x));
	struct vhu_err err = {0};
	int code;

	sigaction(SIGPIPE, &action, NULL);
	if (!x || vhu_replay_cli_parse(argc, argv, &o, &err) < 0) {
		free(x);
		return complain(&err, VHU_EXIT_USAGE);
	}
	x->o = &o;
	x->divergences = json_array();
	code = o.help || o.version ? answer(&o) : replay(x);
	release(x);
	free(x);
	vhu_replay_cli_done(&o);
	return code;
}
