/* A run: target, plans, cases, reports. */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/time.h>

#include "campaign.h"
#include "event/loop.h"
#include "program.h"
#include "runner.h"

struct execution {
	const struct vhu_conform_opts *o;
	struct vhu_case_set *set;
	struct vhu_selection selection;
	enum vhu_device device;
	struct vhu_runner runner;
	bool probed;
	struct vhu_buf target_name;
	struct vhu_campaign c;
};

/* --- the campaign's arrays ------------------------------------------------------------------- */

/* A case of the installed ones is named by its id, another by its file. */
static bool below_root(const char *file)
{
	_cleanup_(vhu_freep) char *root = vhu_case_root();
	char a[PATH_MAX], b[PATH_MAX];
	size_t len;

	if (!root || !realpath(root, a) || !realpath(file, b))
		return false;
	len = strlen(a);
	return !strncmp(a, b, len) && b[len] == '/';
}

/* Whether other cases come from the same file. */
static bool shares_file(const struct vhu_case_set *set, const struct vhu_case_info *info)
{
	for (size_t i = 0; i < vhu_case_set_count(set); i++) {
		const struct vhu_case_info *other = vhu_case_set_info(set, i);

		if (other != info && !strcmp(other->file, info->file))
			return true;
	}
	return false;
}

static int name_cases(struct execution *e, struct vhu_err *err)
{
	struct vhu_campaign *c = &e->c;

	for (size_t i = 0; i < c->n; i++) {
		const struct vhu_case_info *info = e->selection.info[i];
		bool installed = below_root(info->file);

		/* The id of a file with variants selects them all. */
		bool several = shares_file(e->set, info) && (!installed || !strpbrk(info->id, "#%"));

		c->words[i] = strdup(installed ? info->id : info->file);
		c->filters[i] = several ? strdup(info->id) : NULL;
		if (!c->words[i] || (several && !c->filters[i]))
			return vhu_err_errno(err, -ENOMEM, "cases");
	}
	return 0;
}

static int make_campaign(struct execution *e, struct vhu_err *err)
{
	struct vhu_campaign *c = &e->c;
	size_t n = e->selection.n;

	c->n = n;
	c->plans = calloc(n + 1, sizeof(*c->plans));
	c->words = calloc(n + 1, sizeof(*c->words));
	c->filters = calloc(n + 1, sizeof(*c->filters));
	c->outcomes = calloc(n + 1, sizeof(*c->outcomes));
	c->done = calloc(n + 1, sizeof(*c->done));
	if (!c->plans || !c->words || !c->filters || !c->outcomes || !c->done)
		return vhu_err_errno(err, -ENOMEM, "cases");
	return name_cases(e, err);
}

static void free_campaign(struct vhu_campaign *c)
{
	for (size_t i = 0; i < c->n; i++) {
		if (c->words)
			free(c->words[i]);
		if (c->filters)
			free(c->filters[i]);
		if (c->outcomes)
			vhu_outcome_done(&c->outcomes[i]);
	}
	vhu_conform_free_plans(c->plans, c->n);
	free(c->words);
	free(c->filters);
	free(c->outcomes);
	free(c->done);
	for (size_t i = 0; i < c->n_reports; i++)
		vhu_report_free(c->reports[i]);
	vhu_baseline_free(c->baseline);
	free(c->stop);
}

static int compile(struct execution *e)
{
	const struct vhu_conform_opts *o = e->o;
	struct vhu_compile_opts opts = {
		.facts = e->probed ? &e->runner.facts : NULL,
		.profile = o->profile,
		.allow_writes = o->target.allow_writes,
		.backing = o->target.memory,
	};
	struct vhu_buf text = {0};
	struct vhu_diags diags = {.text = &text};
	struct vhu_err err = {0};
	int code = make_campaign(e, &err);

	if (code == 0)
		code = vhu_conform_compile(&e->selection, e->set, &opts, e->c.plans, &diags, &err);
	if (code < 0)
		code = vhu_conform_complain(&err, VHU_EXIT_BROKEN);
	else if (diags.errors)
		code = vhu_conform_tell_diags(&diags);
	vhu_buf_done(&text);
	return code;
}

/* --- reports --------------------------------------------------------------------------------- */

static int add_report(struct vhu_campaign *c, const char *format, const char *path, struct vhu_err *err)
{
	bool terminal = !strcmp(path, "-") && isatty(STDOUT_FILENO);
	const char *term = getenv("TERM");
	bool dumb = !term || !strcmp(term, "dumb");
	struct vhu_report_opts opts = {
		.path = path,
		.color = terminal && !dumb && !getenv("NO_COLOR"),
		.live = terminal && !dumb,
		.verbosity = c->o->quiet ? -1 : (int)VHU_MIN(c->o->verbose, 2u),
	};
	int code = vhu_report_open(format, &opts, &c->reports[c->n_reports], err);

	if (code == 0)
		c->n_reports++;
	return code;
}

static int open_reports(struct vhu_campaign *c, struct vhu_err *err)
{
	const struct vhu_conform_opts *o = c->o;
	struct vhu_report_wish w[VHU_REPORTS_MAX];
	size_t n = vhu_conform_reports(o, w);
	bool taken = false;
	int code = 0;

	for (size_t i = 0; i < n; i++)
		taken |= !strcmp(w[i].path, "-");
	if (!taken)
		code = add_report(c, "tty", "-", err);
	for (size_t i = 0; i < n && code == 0; i++)
		code = add_report(c, w[i].format, w[i].path, err);
	if (code == 0 && c->bundle.report)
		code = add_report(c, "json", c->bundle.report, err);
	return code;
}

static const char *memory_name(const struct execution *e)
{
	switch (e->o->target.memory) {
	case VHU_BACKING_HUGETLB:
		return "hugetlb";
	case VHU_BACKING_MEMFD:
		return "memfd";
	case VHU_BACKING_AUTO:
		break;
	}
	return e->runner.facts.hugetlb ? "hugetlb" : "memfd";
}

static int begin_reports(struct execution *e)
{
	const struct vhu_facts *f = &e->runner.facts;
	struct vhu_report_run run = {
		.target = {
			.name = vhu_buf_text(&e->target_name),
			.probed = e->probed,
			.device = f->device,
			.features = f->features,
			.pfeatures = f->pfeatures,
			.queues = f->queues,
			.config_size = f->config_size,
			.memory = memory_name(e),
		},
		.seed = e->o->seed,
		.strict = e->o->strict,
		.spec = e->o->spec,
		.profile = e->o->profile,
	};
	struct vhu_err err = {0};
	int code = open_reports(&e->c, &err);

	for (size_t i = 0; i < e->c.n_reports && code == 0; i++)
		code = vhu_report_begin(e->c.reports[i], &run, e->c.n, &err);
	return code < 0 ? vhu_conform_complain(&err, VHU_EXIT_BROKEN) : 0;
}

/* --- the target ------------------------------------------------------------------------------ */

static int open_target(struct execution *e)
{
	struct itimerval bound = {.it_value.tv_sec = (time_t)e->o->target.max_time_s};
	struct vhu_err err = {0};
	int code;

	e->device = e->o->target.device;
	if (e->device == VHU_DEV_ANY)
		e->device = vhu_selection_device(&e->selection);
	/* That is what the reference back-end is unless told otherwise. */
	if (e->device == VHU_DEV_ANY && e->o->target.reference)
		e->device = VHU_DEV_BLK;
	code = vhu_runner_open(&e->runner, e->o, e->device, true, NULL, &err);
	if (code < 0)
		return vhu_conform_complain(&err, code == -EINVAL ? VHU_EXIT_USAGE : VHU_EXIT_BROKEN);
	/* The runner has made a descriptor of the signal by now. 0 seconds are no timer. */
	setitimer(ITIMER_REAL, &bound, NULL);
	return 0;
}

/* What the target offers, and with that, which cases fit it. */
static int probe(struct execution *e)
{
	struct vhu_err err = {0};
	int code = vhu_runner_probe(&e->runner, &err);

	if (code == -EINTR) {
		vhu_campaign_interrupt(&e->c, vhu_loop_signalled(e->runner.loop));
		return 0;
	}
	if (code)
		vhu_conform_complain(&err, 0);
	if (code == -ENOMEM || code == -EIO)
		return VHU_EXIT_BROKEN;
	if (code < 0) {
		/* The reports say of every case why it did not run. */
		vhu_campaign_stop(&e->c, "the target cannot be reached: %s", err.text);
		e->c.target_lost = true;
		return 0;
	}
	e->probed = true;
	e->device = e->runner.facts.device;
	vhu_selection_done(&e->selection);
	code = vhu_select_set(e->o, e->set, e->runner.facts.device, &e->selection, &err);
	return code < 0 ? vhu_conform_complain(&err, VHU_EXIT_BROKEN) : 0;
}

/* --- running --------------------------------------------------------------------------------- */

static int run_here(struct execution *e, struct vhu_err *err)
{
	struct vhu_campaign *c = &e->c;
	struct vhu_streak streak = {0};
	int code = 0;

	for (size_t i = 0; i < c->n && code == 0 && vhu_campaign_goes_on(c); i++) {
		struct vhu_outcome o;

		code = vhu_campaign_run(c, &e->runner, i, &o, err);
		if (code == 0)
			code = vhu_campaign_deliver(c, i, &o, &streak, err);
	}
	if (code == -EINTR) {
		vhu_campaign_interrupt(c, vhu_loop_signalled(e->runner.loop));
		return 0;
	}
	return code;
}

static int run_cases(struct execution *e, struct vhu_err *err)
{
	if (e->o->jobs == 1 || e->c.n < 2 || !e->probed)
		return run_here(e, err);
	vhu_runner_release_target(&e->runner);
	return vhu_jobs_run(&e->c, e->runner.loop, e->device, err);
}

static int run_and_report(struct execution *e)
{
	struct vhu_campaign *c = &e->c;
	struct vhu_err err = {0};
	int code = begin_reports(e);

	if (code)
		return code;
	if (c->n == 0 && !c->o->allow_empty)
		vhu_conform_nothing_to_run(c->o);
	if (c->n && run_cases(e, &err) < 0) {
		vhu_conform_complain(&err, 0);
		vhu_campaign_stop(c, "the run ended early: %s", err.text);
		c->tester_fault = true;
	}
	if (vhu_campaign_finish(c, &err) < 0) {
		vhu_conform_complain(&err, 0);
		c->tester_fault = true;
	}
	if (vhu_bundle_write(&c->bundle, &err) < 0) {
		vhu_conform_complain(&err, 0);
		c->tester_fault = true;
	}
	if (c->o->update_baseline && vhu_baseline_save(c->baseline, c->o->baseline, &err) < 0) {
		vhu_conform_complain(&err, 0);
		c->tester_fault = true;
	}
	return vhu_campaign_exit_code(c);
}

static int prepare(struct execution *e)
{
	const struct vhu_conform_opts *o = e->o;
	struct vhu_err err = {0};
	int code = vhu_conform_load(o, &e->set);

	if (code)
		return code;
	if (o->baseline && vhu_baseline_load(o->baseline, o->update_baseline, &e->c.baseline, &err) < 0)
		return vhu_conform_complain(&err, VHU_EXIT_USAGE);
	if (vhu_select_set(o, e->set, o->target.device, &e->selection, &err) < 0)
		return vhu_conform_complain(&err, VHU_EXIT_BROKEN);
	/* No target is bothered for nothing. */
	if (e->selection.n) {
		code = open_target(e);
		code = code ? code : probe(e);
	}
	return code ? code : compile(e);
}

int vhu_conform_execute(struct vhu_conform_opts *o)
{
	struct execution *e = calloc(1, sizeof(*e));
	struct vhu_err err = {0};
	int code;

	if (!e) {
		vhu_err_errno(&err, -ENOMEM, "run");
		return vhu_conform_complain(&err, VHU_EXIT_BROKEN);
	}
	e->o = e->c.o = o;
	e->c.start_ns = vhu_now_ns();
	vhu_target_cli_name(&o->target, &e->target_name);
	code = vhu_bundle_begin(o, &e->c.bundle, &err);
	code = code < 0 ? vhu_conform_complain(&err, VHU_EXIT_BROKEN) : prepare(e);
	if (code == 0)
		code = run_and_report(e);
	vhu_runner_close(&e->runner);
	vhu_bundle_done(&e->c.bundle);
	free_campaign(&e->c);
	vhu_selection_done(&e->selection);
	vhu_case_set_free(e->set);
	vhu_buf_done(&e->target_name);
	free(e);
	return code;
}
