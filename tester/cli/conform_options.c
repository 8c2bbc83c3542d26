#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "cli/conform.h"
#include "plan/script.h"

#define ROW(member) .offset = offsetof(struct vhu_conform_opts, member)

static const char group_ask[] = "Instead of a run";
static const char group_select[] = "Selection";
static const char group_judge[] = "Judgement";
static const char group_run[] = "Run";
static const char group_report[] = "Reports";

/* --- values that are no plain text or number -------------------------------------------------- */

static int no_such_requirement(const char *arg, struct vhu_err *err)
{
	const char *near = vhu_nearest_name(arg, vhu_req_id_at, NULL);

	return vhu_err_set(err, -EINVAL, near ? "there is no requirement '%s'\n  did you mean '%s'?" :
			   "there is no requirement '%s'%s", arg, near ? near : "");
}

static int set_requirement(void *opts, const char *arg, struct vhu_err *err)
{
	struct vhu_conform_opts *o = opts;

	if (!strpbrk(arg, "*?") && !vhu_req_by_id(arg))
		return no_such_requirement(arg, err);
	return vhu_words_add(&o->requirements, arg, err);
}

static int set_until(void *opts, const char *arg, struct vhu_err *err)
{
	struct vhu_conform_opts *o = opts;
	const struct vhu_req_row *row = vhu_req_by_id(arg);

	if (!row)
		return no_such_requirement(arg, err);
	if (o->n_until == VHU_ARRAY_SIZE(o->until))
		return vhu_err_set(err, -EINVAL, "at most %zu", VHU_ARRAY_SIZE(o->until));
	o->until[o->n_until++] = row->req;
	return 0;
}

static int set_profile(void *opts, const char *arg, struct vhu_err *err)
{
	if (!vhu_profile_known(arg))
		return vhu_err_set(
			err, -EINVAL,
			"there is no profile '%s'\n  known: plain, qemu-2.10, qemu-7.2, "
				   "qemu-10.0, "
			"qemu-11.1, cloud-hypervisor, crosvm, firecracker",
			arg);
	((struct vhu_conform_opts *)opts)->profile = arg;
	return 0;
}

static int set_spec(void *opts, const char *arg, struct vhu_err *err)
{
	static const struct { const char *name; enum vhu_since since; } versions[] = {
		{"7.2", VHU_SINCE_V7_2}, {"10.2", VHU_SINCE_V10_2}, {"11.1", VHU_SINCE_V11_1},
	};

	for (size_t i = 0; i < VHU_ARRAY_SIZE(versions); i++)
		if (!strcmp(versions[i].name, arg)) {
			((struct vhu_conform_opts *)opts)->spec = versions[i].since;
			return 0;
		}
	return vhu_err_set(err, -EINVAL, "'%s' is none of 7.2, 10.2, 11.1", arg);
}

static bool is_area(const char *name, size_t len)
{
	for (int i = 0; i < VHU_REQ_MAX; i++) {
		const char *area = vhu_req_row((enum vhu_req)i)->area;

		if (strlen(area) == len && !strncmp(area, name, len))
			return true;
	}
	return false;
}

static int set_areas(void *opts, const char *arg, struct vhu_err *err)
{
	for (const char *at = arg; ; at++) {
		size_t len = strcspn(at, ",");

		if (!is_area(at, len))
			return vhu_err_set(err, -EINVAL, "there is no area '%.*s'\n"
					   "  'vhu-conform --coverage -q' lists them", (int)len, at);
		at += len;
		if (!*at)
			break;
	}
	((struct vhu_conform_opts *)opts)->areas = arg;
	return 0;
}

static int set_rings(void *opts, const char *arg, struct vhu_err *err)
{
	static const char *const names[] = {
		[VHU_RINGS_SPLIT] = "split", [VHU_RINGS_PACKED] = "packed", [VHU_RINGS_BOTH] = "both"};

	for (size_t i = 0; i < VHU_ARRAY_SIZE(names); i++)
		if (!strcmp(names[i], arg)) {
			((struct vhu_conform_opts *)opts)->rings = i;
			return 0;
		}
	return vhu_err_set(err, -EINVAL, "'%s' is none of split, packed, both", arg);
}

static int set_shard(void *opts, const char *arg, struct vhu_err *err)
{
	struct vhu_conform_opts *o = opts;
	const char *slash = strchr(arg, '/');
	char first[12] = "";
	uint64_t i, n;

	if (slash && (size_t)(slash - arg) < sizeof(first))
		memcpy(first, arg, (size_t)(slash - arg));
	if (!slash || vhu_u64_parse(first, &i) < 0 || vhu_u64_parse(slash + 1, &n) < 0 || i < 1 || i > n ||
	    n > 10000)
		return vhu_err_set(err, -EINVAL, "'%s' is not I/N with I from 1 to N", arg);
	o->shard = (unsigned)i;
	o->shards = (unsigned)n;
	return 0;
}

/* --- the rows -------------------------------------------------------------------------------- */

static const struct vhu_option rows[] = {
	{"list", 0, NULL, group_ask, "the cases that would run: id, level, requirements, title",
	 VHU_OPTION_FLAG, ROW(list)},
	{"check", 'c', NULL, group_ask, "parse and compile the case files only; all errors of all files",
	 VHU_OPTION_FLAG, ROW(check)},
	{"schema", 0, NULL, group_ask, "print the JSON Schema of case files", VHU_OPTION_FLAG, ROW(schema)},
	{"explain", 'e', "ID", group_ask,
	 "what a requirement, case, message, feature or fault says, and which cases cover it",
	 VHU_OPTION_TEXT, ROW(explain)},
	{"coverage", 0, NULL, group_ask,
	 "which cases and planted faults stand behind each requirement; with --json as data",
	 VHU_OPTION_FLAG, ROW(coverage)},
	{"mutants", 0, "FILE", group_ask,
	 "with --coverage: what tools/mutants --json wrote; only faults that it shows count",
	 VHU_OPTION_TEXT, ROW(mutants)},
	{"area", 0, "A,B", group_ask, "with --coverage: only these areas", VHU_OPTION_CALL, .set = set_areas},
	{"fail-under", 0, "PERCENT", group_ask,
	 "with --coverage: exit code 1 if fewer observable MUST have a case and a fault",
	 VHU_OPTION_NUMBER, ROW(fail_under), .min = 0, .max = 100},
	{"compare", 0, NULL, group_ask,
	 "of two reports (--json) A B: what changed, by case and requirement; exit code 1 if a case got "
	 "worse",
	 VHU_OPTION_FLAG, ROW(compare)},
	{"merge", 0, NULL, group_ask,
	 "reports (--json) of shards into one, for --json FILE or standard output", VHU_OPTION_FLAG,
	 ROW(merge)},
	{"help", 'h', NULL, group_ask, "show this help", VHU_OPTION_FLAG, ROW(help)},
	{"version", 'V', NULL, group_ask, "show the version", VHU_OPTION_FLAG, ROW(version)},

	{"filter", 'f', "GLOB", group_select, "only cases whose id matches; repeatable, any of them",
	 VHU_OPTION_LIST, ROW(filters)},
	{"requirement", 'R', "ID", group_select,
	 "only cases for this requirement (a glob is fine); repeatable", VHU_OPTION_CALL,
	 .set = set_requirement},
	{"tag", 't', "TAG", group_select, "only cases with this tag; repeatable", VHU_OPTION_LIST, ROW(tags)},
	{"ring", 0, "FORMAT", group_select,
	 "cases for any ring: split (default), packed (only cases with packed rings, ids ID%packed), both",
	 VHU_OPTION_CALL, .set = set_rings, .rerun = true},
	{"shard", 0, "I/N", group_select, "the I-th of N parts of the cases", VHU_OPTION_CALL,
	 .set = set_shard},

	{"profile", 'p', "NAME", group_judge,
	 "front-end persona of cases that fix none: plain (default), qemu-7.2, "
	 "qemu-10.0, qemu-11.1, cloud-hypervisor, crosvm, firecracker",
	 VHU_OPTION_CALL, .set = set_profile, .rerun = true},
	{"strict", 'S', NULL, group_judge, "what a keyword only recommends, or none asks for, fails too",
	 VHU_OPTION_FLAG, ROW(strict), .rerun = true},
	{"spec", 0, "VERSION", group_judge,
	 "judge by this version of the specification: 7.2, 10.2, 11.1 (default)", VHU_OPTION_CALL,
	 .set = set_spec, .rerun = true},
	{"baseline", 'B', "FILE", group_judge, "known failures: only what is worse fails", VHU_OPTION_TEXT,
	 ROW(baseline)},
	{"update-baseline", 0, NULL, group_judge, "write what this run found into the --baseline file",
	 VHU_OPTION_FLAG, ROW(update_baseline)},
	{"allow-empty", 0, NULL, group_judge, "a run of nothing is exit code 0, not 5", VHU_OPTION_FLAG,
	 ROW(allow_empty)},

	{"jobs", 'j', "N", group_run, "with --spawn or --reference: N targets side by side",
	 VHU_OPTION_NUMBER, ROW(jobs), .min = 1, .max = 256},
	{"repeat", 'n', "N", group_run,
	 "run each case N times; one that passes and fails is flaky, and fails", VHU_OPTION_NUMBER,
	 ROW(repeat), .min = 1, .max = 1000000},
	{"shuffle", 0, NULL, group_run, "in random order; the seed is reported", VHU_OPTION_FLAG,
	 ROW(shuffle)},
	{"seed", 0, "S", group_run, "of everything random; default 1, with --shuffle a fresh one",
	 VHU_OPTION_NUMBER, ROW(seed), .min = 0, .max = INT64_MAX},
	{"fail-fast", 'x', NULL, group_run, "skip the rest after the first failure", VHU_OPTION_FLAG,
	 ROW(fail_fast)},

	{"until", 0, "ID", group_run,
	 "skip the rest once each requirement named so has had a finding; repeatable", VHU_OPTION_CALL,
	 .set = set_until},

	{"tap", 0, NULL, group_report, "Test Anything Protocol on standard output", VHU_OPTION_FLAG,
	 ROW(tap)},
	{"junit", 0, "FILE", group_report, "JUnit XML; - is standard output", VHU_OPTION_TEXT, ROW(junit)},
	{"json", 0, "FILE", group_report, "everything as JSON; - is standard output", VHU_OPTION_TEXT,
	 ROW(json)},
	{"html", 0, "FILE", group_report, "one page of HTML; - is standard output", VHU_OPTION_TEXT,
	 ROW(html)},
	{"sarif", 0, "FILE", group_report, "SARIF 2.1.0 for code scanning; - is standard output",
	 VHU_OPTION_TEXT, ROW(sarif)},
	{"markdown", 0, "FILE", group_report, "Markdown for a job's summary; - is standard output",
	 VHU_OPTION_TEXT, ROW(markdown)},
	{"record", 0, "DIR", group_report, "keep each case's session as DIR/ID.pcap (vhu-trace shows it)",
	 VHU_OPTION_TEXT, ROW(record)},
	{"record-level", 0, "N", group_report,
	 "of --record and --bundle, what goes with the messages: 0 nothing, 1 kicks and calls (default), "
	 "2 also the requests in the rings, 3 also what they hold",
	 VHU_OPTION_NUMBER, ROW(record_level), .max = 3},
	{"bundle", 0, "FILE.tar", group_report,
	 "for a bug report: the results as JSON, and the sessions of the cases that failed", VHU_OPTION_TEXT,
	 ROW(bundle)},
	{"verbose", 'v', NULL, group_report,
	 "the decoded messages of every case, not only of failing ones; twice: with their bytes",
	 VHU_OPTION_COUNT, ROW(verbose)},
	{"quiet", 'q', NULL, group_report, "only the summary", VHU_OPTION_FLAG, ROW(quiet)},
};

static const struct vhu_option_part own = {rows, VHU_ARRAY_SIZE(rows)};
static const struct vhu_option_part *const parts[] = {&vhu_target_options, &own};

const struct vhu_option_table vhu_conform_options = {
	.program = "vhu-conform",
	.usage = "[TARGET] [OPTIONS] [CASE…]",
	.intro = "Tests whether a vhost-user back-end keeps to the specification. A CASE is a case file, a "
		 "folder of them, or a case id; with none, every installed case that fits the device runs.",
	.outro = "Exit codes: 0 nothing failed, 1 the target failed something, 2 usage or a wrong input\n"
		 "file, 3 the tester itself is at fault, 4 the target died, hung or cannot be reached,\n"
		 "5 nothing ran.\n"
		 "\n"
		 "Examples:\n"
		 "  vhu-conform --reference\n"
		 "  vhu-conform --backend /run/vhost.sock --filter 'core/*'\n"
		 "  vhu-conform --spawn './backend --socket {socket} --image {image}' --junit out.xml\n",
	.parts = parts,
	.n_parts = VHU_ARRAY_SIZE(parts),
};

/* --- what they come to ----------------------------------------------------------------------- */

size_t vhu_conform_reports(const struct vhu_conform_opts *o, struct vhu_report_wish ret[VHU_REPORTS_MAX])
{
	const struct vhu_report_wish all[VHU_REPORTS_MAX] = {
		{"tap", o->tap ? "-" : NULL}, {"junit", o->junit}, {"json", o->json},
		{"html", o->html}, {"sarif", o->sarif}, {"markdown", o->markdown},
	};
	size_t n = 0;

	for (size_t i = 0; i < VHU_ARRAY_SIZE(all); i++)
		if (all[i].path)
			ret[n++] = all[i];
	return n;
}

static int check_reports(const struct vhu_conform_opts *o, struct vhu_err *err)
{
	struct vhu_report_wish w[VHU_REPORTS_MAX];
	size_t n = vhu_conform_reports(o, w);

	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < i; k++) {
			if (strcmp(w[i].path, w[k].path))
				continue;
			if (!strcmp(w[i].path, "-"))
				return vhu_err_set(err, -EINVAL,
						   "reports: only one of them can go to standard output");
			return vhu_err_set(err, -EINVAL, "reports: --%s and --%s name the same file, %s",
					   w[k].format, w[i].format, w[i].path);
		}
	if (o->quiet && o->verbose)
		return vhu_err_set(err, -EINVAL, "--quiet: not together with --verbose");
	return 0;
}

static int check(struct vhu_conform_opts *o, struct vhu_err *err)
{
	unsigned asks = (unsigned)o->list + o->check + o->schema + (o->explain != NULL) + o->coverage +
			o->compare + o->merge;
	int code;

	if (asks > 1)
		return vhu_err_set(err, -EINVAL, "usage: only one of --list, --check, --schema, --explain, "
				   "--coverage, --compare, --merge");
	if (o->compare && o->parsed.rest.n != 2)
		return vhu_err_set(err, -EINVAL, "--compare: two reports are needed: A.json B.json");
	if (o->merge && !o->parsed.rest.n)
		return vhu_err_set(err, -EINVAL, "--merge: which reports?\n  give REPORT.json…");
	if (!o->coverage && (o->mutants || o->areas || vhu_parsed_has(&o->parsed, "fail-under")))
		return vhu_err_set(err, -EINVAL, "--mutants, --area, --fail-under: only with --coverage");
	code = vhu_target_cli_check(&o->target, err);
	if (code < 0)
		return code;
	if (!asks && !vhu_target_cli_named(&o->target))
		return vhu_err_set(err, -EINVAL, "no target: nothing says what to test\n"
				   "  give --backend, --spawn, --listen or --reference");
	if (o->jobs > 1 && !asks && !vhu_target_cli_spawns(&o->target))
		return vhu_err_set(err, -EINVAL,
				   "--jobs: only with --spawn or --reference, where there can be "
				   "several targets");
	if (o->update_baseline && !o->baseline)
		return vhu_err_set(err, -EINVAL, "--update-baseline: which one?\n  give --baseline FILE");
	return check_reports(o, err);
}

/* Fixed unless the order shall be random, so that two runs are the same run. */
static uint64_t default_seed(bool shuffle)
{
	uint32_t seed;

	if (!shuffle || getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		return 1;
	return seed;
}

int vhu_conform_opts_parse(int argc, char **argv, struct vhu_conform_opts *ret, struct vhu_err *err)
{
	struct vhu_conform_opts o = {.spec = VHU_SINCE_V11_1, .jobs = 1, .repeat = 1, .record_level = 1};
	int code;

	vhu_target_cli_init(&o.target);
	o.program = argv[0];
	code = vhu_options_parse(&vhu_conform_options, argc, argv, &o, &o.parsed, err);
	if (code == 0 && !o.help && !o.version)
		code = check(&o, err);
	if (code < 0) {
		vhu_conform_opts_done(&o);
		return code;
	}
	if (!vhu_parsed_has(&o.parsed, "seed"))
		o.seed = default_seed(o.shuffle);
	*ret = o;
	return 0;
}

void vhu_conform_opts_done(struct vhu_conform_opts *o)
{
	vhu_words_done(&o->filters);
	vhu_words_done(&o->requirements);
	vhu_words_done(&o->tags);
	vhu_parsed_done(&o->parsed);
}

void vhu_conform_rerun(const struct vhu_conform_opts *o, const char *word, const char *filter,
		       struct vhu_buf *out)
{
	vhu_shell_quote(out, o->program);
	for (size_t i = 0; i < o->parsed.n_given; i++) {
		const struct vhu_given *g = &o->parsed.given[i];

		if (!g->option->rerun)
			continue;
		vhu_buf_printf(out, " --%s", g->option->name);
		if (g->arg)
			vhu_buf_puts(out, g->option->arg[0] == '[' ? "=" : " ");
		if (g->arg)
			vhu_shell_quote(out, g->arg);
	}
	vhu_buf_printf(out, " --seed %llu", (unsigned long long)o->seed);
	if (filter) {
		vhu_buf_puts(out, " --filter ");
		vhu_shell_quote(out, filter);
	}
	vhu_buf_puts(out, " ");
	vhu_shell_quote(out, word);
}
