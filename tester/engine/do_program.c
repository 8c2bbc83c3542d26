/* The program beside the protocol: how it is started, what it can say of itself, how it ends. */
#include <errno.h>
#include <string.h>
#include <sys/wait.h>

#include "channel/program.h"
#include "internal.h"

enum { STATUS_TEXT = 400 };

/* The program is alone with its image and its files: the target that the case began with ends. */
static void clear_the_stage(struct vhu_run *r)
{
	for (size_t i = 0; i < r->n_conns; i++)
		vhu_conn_close(&r->conns[i]);
	vhu_target_stop(r->e->target);
}

/* False: the case stops, for one reason or the other. */
static bool went_well(struct vhu_run *r, int rc, const struct vhu_err *err)
{
	if (rc == 0 || rc == -ETIME)
		return true;
	if (rc == -EINTR)
		r->interrupted = r->stop = true;
	else if (rc == -ENOTSUP)
		vhu_run_skip(r, "the program can't be started in this way: %s", err->text);
	else
		vhu_run_broken(r, "%s", err->text);
	return false;
}

/* Nobody is judged by conventions that he does not follow. */
static bool follows_conventions(struct vhu_run *r)
{
	struct vhu_err err = {0};
	int rc = vhu_engine_capabilities(r->e, &err);

	if (rc < 0)
		return went_well(r, rc, &err);
	if (!rc)
		vhu_run_skip(r, "needs a program that follows the conventions of back-end programs: %s",
			     r->e->capabilities.why);
	return rc > 0;
}

static void tell_command(struct vhu_run *r)
{
	struct vhu_buf text = {0};

	vhu_program_command(r->program, &text);
	vhu_trace_log_note(r->e->trace, vhu_now_ns(), 0, "started: %s", vhu_buf_text(&text));
	vhu_buf_done(&text);
}

/* Starts it in one of the ways, and waits for what comes of it. */
static bool start(struct vhu_run *r, const struct vhu_step *s, enum vhu_program_way way, bool *ret_in_time)
{
	struct vhu_program *last = r->program;
	struct vhu_err err = {0};
	int rc;

	r->program = NULL;
	rc = vhu_program_start(r->e->target, way, last, &r->program, &err);
	if (rc == 0)
		tell_command(r);
	if (rc == 0)
		rc = vhu_program_await(r->program, vhu_run_deadline(r, s), &err);
	*ret_in_time = rc == 0;
	return went_well(r, rc, &err);
}

static const char *end_of(const struct vhu_program *p, char *out, size_t cap)
{
	return vhu_program_describe(p, out, cap);
}

/* --- capabilities -------------------------------------------------------------------------------- */

static void judge_capabilities(struct vhu_run *r, const struct vhu_step *s)
{
	const struct vhu_capabilities *c = &r->e->capabilities;

	if (!c->in_order)
		vhu_run_unmet(r, s, VHU_FINDING_RULE, "the end with status 0", "it %s", c->end);
	else if (!json_is_string(json_object_get(c->json, "type")))
		vhu_run_unmet(r, s, VHU_FINDING_RULE, "an object with a 'type'", "one without");
}

static void judge_schema(struct vhu_run *r, const struct vhu_step *s)
{
	char what[STATUS_TEXT];

	if (!vhu_capabilities_known(r->e->capabilities.json, what, sizeof(what)))
		vhu_run_unmet(r, s, VHU_FINDING_RULE, "a type and features of the schema", "%s", what);
}

/* With other options beside it: these are ignored. */
static void judge_beside(struct vhu_run *r, const struct vhu_step *s)
{
	char what[STATUS_TEXT];
	bool in_time;
	json_t *json;
	char *text;

	if (!start(r, s, VHU_PROGRAM_CAPABILITIES_BESIDE, &in_time))
		return;
	text = vhu_program_output(r->program);
	json = text ? vhu_capabilities_parse(text) : NULL;
	if (!in_time)
		vhu_run_unmet(r, s, VHU_FINDING_RULE, "the end", "it runs on");
	else if (vhu_program_crashed(r->program) || !json)
		vhu_run_unmet(r, s, VHU_FINDING_RULE, "the capabilities", "it %s, and %s",
			      end_of(r->program, what, sizeof(what)),
			      json ? "printed them" : "printed no JSON object");
	else if (vhu_program_made_socket(r->program))
		vhu_run_unmet(r, s, VHU_FINDING_RULE, "the capabilities alone", "it made its socket, too");
	json_decref(json);
	free(text);
}

/* --- start --------------------------------------------------------------------------------------- */

static uint32_t outcome_of(const struct vhu_program *p, bool in_time)
{
	if (!in_time || vhu_program_crashed(p))
		return 0;
	if (vhu_program_serves(p))
		return VHU_OUT_ALIVE;
	return WEXITSTATUS(vhu_program_status(p)) ? VHU_OUT_DEAD : 0;
}

static const char *wanted(uint32_t expect)
{
	if (!(expect & VHU_OUT_DEAD))
		return "a program that serves";
	return expect & VHU_OUT_ALIVE ? "a program that serves, or ends with a status other than 0"
				      : "an end with a status other than 0";
}

static void judge_start(struct vhu_run *r, const struct vhu_step *s, bool in_time)
{
	uint32_t expect = s->expect_given ? s->expect : VHU_OUT_ALIVE;
	const struct vhu_program *p = r->program;
	bool crashed = vhu_program_crashed(p);
	char what[STATUS_TEXT];

	if (outcome_of(p, in_time) & expect)
		return;
	r->stop = true;
	if (!in_time)
		vhu_run_unmet(r, s, VHU_FINDING_ROBUST, wanted(expect), "it neither serves nor ends");
	else if (vhu_program_serves(p))
		vhu_run_unmet(r, s, VHU_FINDING_RULE, wanted(expect), "it serves");
	else
		vhu_run_unmet(r, s, crashed ? VHU_FINDING_ROBUST : VHU_FINDING_RULE, wanted(expect), "it %s",
			      end_of(p, what, sizeof(what)));
}

static void start_and_judge(struct vhu_run *r, const struct vhu_step *s, enum vhu_program_way way)
{
	bool in_time;

	if (start(r, s, way, &in_time))
		judge_start(r, s, in_time);
}

/*
 * An inherited socket listens, or is connected: one of the two has to work. Who takes a listening one for a
 * connection fails at once, who takes a connection for a listening one may not.
 */
static void start_by_fd(struct vhu_run *r, const struct vhu_step *s)
{
	bool in_time;

	if (!start(r, s, VHU_PROGRAM_FD_LISTENING, &in_time) || (in_time && vhu_program_serves(r->program)))
		return;
	start_and_judge(r, s, VHU_PROGRAM_FD_CONNECTED);
}

/* --- life and end -------------------------------------------------------------------------------- */

static void judge_stay(struct vhu_run *r, const struct vhu_step *s)
{
	char what[STATUS_TEXT];

	if (r->program && vhu_program_ended(r->program))
		vhu_run_unmet(r, s, VHU_FINDING_RULE, "the process that was started serves",
			      "it %s, and another one serves", end_of(r->program, what, sizeof(what)));
}

static void judge_end(struct vhu_run *r, const struct vhu_step *s)
{
	struct vhu_step left = *s;
	struct vhu_err err = {0};
	char what[STATUS_TEXT];
	int rc;

	if (!r->program)
		return;
	rc = vhu_program_end(r->program, vhu_run_deadline(r, s), &err);
	if (!went_well(r, rc, &err))
		return;
	if (rc == -ETIME)
		vhu_run_unmet(r, s, VHU_FINDING_ROBUST, "an end by SIGTERM", "it lives on");
	else if (vhu_program_crashed(r->program) && WTERMSIG(vhu_program_status(r->program)) != SIGTERM)
		vhu_run_unmet(r, s, VHU_FINDING_ROBUST, "an exit, or an end by SIGTERM", "it %s",
			      end_of(r->program, what, sizeof(what)));
	left.requirement = VHU_REQ_PROG_20;
	if (rc == 0 && vhu_program_left(r->program))
		vhu_run_unmet(r, &left, VHU_FINDING_ROBUST, "no process of its group", "%u stayed behind",
			      vhu_program_left(r->program));
}

void vhu_do_program(struct vhu_run *r, const struct vhu_step *s)
{
	static const enum vhu_program_way ways[VHU_DO_PROGRAM_MAX] = {
		[VHU_DO_PROGRAM_SOCKET_PATH] = VHU_PROGRAM_SOCKET_PATH,
		[VHU_DO_PROGRAM_BOTH] = VHU_PROGRAM_BOTH,
		[VHU_DO_PROGRAM_QUIET] = VHU_PROGRAM_QUIET,
		[VHU_DO_PROGRAM_STALE] = VHU_PROGRAM_STALE,
		[VHU_DO_PROGRAM_RELATIVE] = VHU_PROGRAM_RELATIVE,
		[VHU_DO_PROGRAM_LONG] = VHU_PROGRAM_LONG,
		[VHU_DO_PROGRAM_TOO_LONG] = VHU_PROGRAM_TOO_LONG,
		[VHU_DO_PROGRAM_READ_ONLY_FOLDER] = VHU_PROGRAM_READ_ONLY_FOLDER,
		[VHU_DO_PROGRAM_NO_FOLDER] = VHU_PROGRAM_NO_FOLDER,
		[VHU_DO_PROGRAM_NO_IMAGE] = VHU_PROGRAM_NO_IMAGE,
		[VHU_DO_PROGRAM_AGAIN] = VHU_PROGRAM_AGAIN,
	};

	clear_the_stage(r);
	if (!follows_conventions(r))
		return;
	switch (s->program.op) {
	case VHU_DO_PROGRAM_CAPABILITIES:
		judge_capabilities(r, s);
		break;
	case VHU_DO_PROGRAM_SCHEMA:
		judge_schema(r, s);
		break;
	case VHU_DO_PROGRAM_BESIDE:
		judge_beside(r, s);
		break;
	case VHU_DO_PROGRAM_FD:
		start_by_fd(r, s);
		break;
	case VHU_DO_PROGRAM_STAYS:
		judge_stay(r, s);
		break;
	case VHU_DO_PROGRAM_END:
		judge_end(r, s);
		break;
	case VHU_DO_PROGRAM_READ_ONLY:
		if (vhu_capabilities_list(r->e->capabilities.json, "read-only"))
			start_and_judge(r, s, VHU_PROGRAM_READ_ONLY);
		else
			vhu_run_skip(r, "its capabilities list no 'read-only'");
		break;
	default:
		start_and_judge(r, s, ways[s->program.op]);
	}
}
