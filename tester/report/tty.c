/*
 * For people: a line a case while it runs, then a block for each failure, the warnings, the
 * skips by reason and the summary. What many cases have in common is told once.
 */
#include <errno.h>
#include <string.h>

#include "impl.h"

enum section { SECTION_BROKEN, SECTION_FAILED, SECTION_ROBUST, SECTION_WARNED, SECTION_SKIPPED, SECTION_KNOWN,
	       SECTION_FIXED, SECTION_MAX };

/* What one or more cases came to. */
struct group {
	enum section section;
	char *key;
	struct vhu_buf text;		/* for the first of them */
	struct vhu_buf others;		/* ids of the rest */
	size_t count;
	struct group *next;
};

struct tty {
	struct vhu_buf line;
	struct group *groups, **tail;
	size_t done;
	bool counter;			/* a live counter stands on the last line */
};

static const char *const colors[VHU_VERDICT_MAX] = {
	[VHU_PASS] = "\033[32m", [VHU_WARN] = "\033[33m", [VHU_FAIL] = "\033[1;31m", [VHU_SKIP] = "\033[36m",
	[VHU_BROKEN] = "\033[1;35m",
};

static void add_verdict(const struct vhu_report *r, const struct vhu_outcome *o, struct vhu_buf *out)
{
	if (r->opts.color)
		vhu_buf_printf(out, "%s%s\033[0m", colors[o->verdict], vhu_outcome_name(o));
	else
		vhu_buf_puts(out, vhu_outcome_name(o));
}

static void add_heading(const struct vhu_report *r, const char *text, struct vhu_buf *out)
{
	vhu_buf_printf(out, r->opts.color ? "\n\033[1m%s\033[0m\n" : "\n%s\n", text);
}

static void add_duration(uint64_t ns, struct vhu_buf *out)
{
	if (ns < UINT64_C(10000000000))
		vhu_buf_printf(out, "%.1f ms", (double)ns / 1e6);
	else
		vhu_buf_printf(out, "%.1f s", (double)ns / 1e9);
}

/* --- groups ---------------------------------------------------------------------------------- */

/* The group of that key; a fresh one has count 0. NULL when out of memory. */
static struct group *group_of(struct tty *t, enum section section, const char *key)
{
	struct group *g;

	for (g = t->groups; g; g = g->next)
		if (g->section == section && !strcmp(g->key, key))
			return g;
	g = calloc(1, sizeof(*g));
	if (!g)
		return NULL;
	g->section = section;
	g->key = strdup(key);
	if (!g->key) {
		free(g);
		return NULL;
	}
	*t->tail = g;
	t->tail = &g->next;
	return g;
}

/* Counts the case; -ENOMEM also if the group's text could not be kept. */
static int group_join(struct group *g, const char *id)
{
	if (g->count++)
		vhu_buf_printf(&g->others, "%s%s", g->others.len ? "\n" : "", id);
	return g->text.failed || g->others.failed ? -ENOMEM : 0;
}

static void free_state(struct vhu_report *r)
{
	struct tty *t = r->state;

	while (t->groups) {
		struct group *g = t->groups;

		t->groups = g->next;
		vhu_buf_done(&g->text);
		vhu_buf_done(&g->others);
		free(g->key);
		free(g);
	}
	vhu_buf_done(&t->line);
	free(t);
	r->state = NULL;
}

/* --- failures -------------------------------------------------------------------------------- */

static void add_field(const char *name, const char *text, struct vhu_buf *out)
{
	struct vhu_buf clean = {0};
	const char *p;

	if (!text || !*text)
		return;
	vhu_text_add(&clean, VHU_TEXT_PLAIN, text);
	for (p = vhu_buf_text(&clean); *p;) {
		size_t n = strcspn(p, "\n");

		vhu_buf_printf(out, "    %-10s%.*s\n", name, (int)n, p);
		name = "";
		p += n + (p[n] == '\n');
	}
	vhu_buf_done(&clean);
}

static void add_finding(const struct vhu_outcome *o, size_t i, struct vhu_buf *out)
{
	const struct vhu_finding *f = &o->result.findings[i];
	const struct vhu_req_row *row = vhu_req_row(f->req);
	struct vhu_buf where = {0};

	vhu_buf_printf(out, "  %s %s%s: %s [%s]\n", row->id, vhu_level_name(row->level),
		       f->kind == VHU_FINDING_RULE     ? ""
		       : f->kind == VHU_FINDING_ROBUST ? ", robustness"
						       : ", quirk",
		       row->text, row->section);
	add_field("wrong:", f->summary, out);
	add_field("accepted:", f->accepted, out);
	add_field("got:", f->actual, out);
	add_field("message:", f->message, out);
	add_field("bytes:", f->hex, out);
	if (o->result.file)
		vhu_buf_printf(&where, "%s%s", o->result.file, f->where[0] ? " " : "");
	vhu_buf_puts(&where, f->where);
	add_field("where:", vhu_buf_text(&where), out);
	vhu_buf_done(&where);
}

static void add_lines(const char *heading, const char *text, struct vhu_buf *out)
{
	struct vhu_buf clean = {0};

	if (!text || !*text)
		return;
	vhu_text_add(&clean, VHU_TEXT_PLAIN, text);
	vhu_buf_printf(out, "  %s\n", heading);
	vhu_text_indent(out, "    ", vhu_buf_text(&clean));
	vhu_buf_done(&clean);
}

static void add_block(const struct vhu_report *r, const struct vhu_outcome *o, struct vhu_buf *out)
{
	const struct vhu_result *result = &o->result;

	add_verdict(r, o, out);
	vhu_buf_printf(out, " %s: %s\n", result->id, result->title ? result->title : "");
	if (o->flaky)
		vhu_buf_printf(out, "  passed %u of %u runs\n", o->passed, o->runs);
	if (o->known == VHU_KNOWN_WORSE && o->note)
		vhu_buf_printf(out, "  worse than the baseline: %s\n", o->note);
	if (o->verdict == VHU_BROKEN && result->reason) {
		add_lines("the tester is at fault:", result->reason, out);
	}
	for (size_t i = 0; i < result->n_findings; i++)
		if (o->verdict == VHU_BROKEN || result->grades[i] == VHU_FAIL)
			add_finding(o, i, out);
	if (result->dropped_findings)
		vhu_buf_printf(out, "  and %zu findings more\n", result->dropped_findings);
	if (r->opts.verbosity < 1)
		add_lines("last messages:", result->trace, out);
	add_lines("the target's stderr:", result->target_stderr, out);
	if (result->rerun)
		vhu_buf_printf(out, "  alone: %s\n", result->rerun);
}

/* What makes two failing cases one block: the same things found, wherever they were met. */
static void failure_key(const struct vhu_outcome *o, struct vhu_buf *key)
{
	const struct vhu_result *r = &o->result;

	vhu_buf_printf(key, "%d %d %s", o->flaky, (int)o->known, r->reason ? r->reason : "");
	for (size_t i = 0; i < r->n_findings; i++) {
		const struct vhu_finding *f = &r->findings[i];

		if (r->grades[i] == VHU_FAIL)
			vhu_buf_printf(key, "\n%d %d %s\n%s", (int)f->req, (int)f->kind, f->summary,
				       f->actual);
	}
	/* Without findings there is nothing that could be the same. */
	if (r->n_findings == 0)
		vhu_buf_printf(key, "\n%s", r->id);
}

static enum section failure_section(const struct vhu_outcome *o)
{
	const struct vhu_result *r = &o->result;
	size_t robust = 0, failed = 0;

	if (o->verdict == VHU_BROKEN)
		return SECTION_BROKEN;
	for (size_t i = 0; i < r->n_findings; i++) {
		failed += r->grades[i] == VHU_FAIL;
		robust += r->grades[i] == VHU_FAIL && vhu_finding_is_robustness(&r->findings[i]);
	}
	return failed && robust == failed ? SECTION_ROBUST : SECTION_FAILED;
}

static int keep_failure(struct vhu_report *r, const struct vhu_outcome *o)
{
	struct vhu_buf key = {0};
	struct group *g;

	failure_key(o, &key);
	g = key.failed ? NULL : group_of(r->state, failure_section(o), vhu_buf_text(&key));
	vhu_buf_done(&key);
	if (!g)
		return -ENOMEM;
	if (g->count == 0)
		add_block(r, o, &g->text);
	return group_join(g, o->result.id);
}

/* --- everything else ------------------------------------------------------------------------- */

/* One line for all cases that share `key`; `text` is what the first of them shows. */
static int keep_line(struct vhu_report *r, enum section section, const char *key, const char *text,
		     const char *id)
{
	struct group *g = group_of(r->state, section, key);

	if (!g)
		return -ENOMEM;
	if (g->count == 0)
		vhu_text_add(&g->text, VHU_TEXT_LINE, text);
	return group_join(g, id);
}

static int keep_warnings(struct vhu_report *r, const struct vhu_outcome *o)
{
	const struct vhu_result *result = &o->result;
	int code = 0;

	for (size_t i = 0; i < result->n_findings && code == 0; i++) {
		const struct vhu_finding *f = &result->findings[i];
		const struct vhu_req_row *row = vhu_req_row(f->req);
		struct vhu_buf key = {0}, text = {0};

		if (result->grades[i] != VHU_WARN)
			continue;
		vhu_buf_printf(&key, "%s %s", row->id, f->summary);
		vhu_buf_printf(&text, "%s: %s %s%s: %s", result->id, row->id, vhu_level_name(row->level),
			       f->kind == VHU_FINDING_QUIRK ? ", quirk" : "", f->summary);
		if (f->actual[0])
			vhu_buf_printf(&text, "; got %s", f->actual);
		if (f->where[0])
			vhu_buf_printf(&text, " (%s)", f->where);
		code = key.failed || text.failed ? -ENOMEM :
			keep_line(r, SECTION_WARNED, vhu_buf_text(&key), vhu_buf_text(&text), result->id);
		vhu_buf_done(&key);
		vhu_buf_done(&text);
	}
	return code;
}

/* Known failures and fixed ones, by what the baseline says of them. */
static int keep_baseline(struct vhu_report *r, const struct vhu_outcome *o, enum section section)
{
	struct vhu_buf text = {0};
	int code;

	vhu_buf_printf(&text, "%s", o->result.id);
	if (o->note && *o->note)
		vhu_buf_printf(&text, ": %s", o->note);
	code = text.failed ? -ENOMEM :
		keep_line(r, section, o->result.id, vhu_buf_text(&text), o->result.id);
	vhu_buf_done(&text);
	return code;
}

static int keep(struct vhu_report *r, const struct vhu_outcome *o)
{
	const char *reason = o->result.reason ? o->result.reason : "no reason given";
	int code = 0;

	if (o->verdict == VHU_FAIL || o->verdict == VHU_BROKEN)
		code = keep_failure(r, o);
	if (o->verdict == VHU_SKIP)
		code = keep_line(r, SECTION_SKIPPED, reason, reason, o->result.id);
	else if (code == 0)
		code = keep_warnings(r, o);
	if (code == 0 && o->known == VHU_KNOWN_SAME)
		code = keep_baseline(r, o, SECTION_KNOWN);
	if (code == 0 && o->known == VHU_KNOWN_FIXED)
		code = keep_baseline(r, o, SECTION_FIXED);
	return code;
}

static void add_case_line(const struct vhu_report *r, const struct vhu_outcome *o, struct vhu_buf *out)
{
	const struct vhu_result *result = &o->result;

	add_verdict(r, o, out);
	vhu_buf_printf(out, " %s  ", result->id);
	if (o->verdict == VHU_SKIP) {
		vhu_text_add(out, VHU_TEXT_LINE, result->reason);
	} else {
		add_duration(result->duration_ns, out);
		if (o->flaky)
			vhu_buf_printf(out, "  passed %u of %u runs", o->passed, o->runs);
		else if (o->runs > 1)
			vhu_buf_printf(out, "  %u runs", o->runs);
		if (o->known == VHU_KNOWN_SAME)
			vhu_buf_puts(out, "  known");
	}
	vhu_buf_puts(out, "\n");
	if (r->opts.verbosity >= 1 && result->trace && *result->trace) {
		struct vhu_buf clean = {0};

		vhu_text_add(&clean, VHU_TEXT_PLAIN, result->trace);
		vhu_text_indent(out, "    ", vhu_buf_text(&clean));
		vhu_buf_done(&clean);
	}
}

static void clear_counter(struct tty *t)
{
	if (t->counter)
		vhu_buf_puts(&t->line, "\r\033[K");
	t->counter = false;
}

static void show_counter(const struct vhu_report *r, struct tty *t)
{
	if (!r->opts.live || t->done >= r->planned)
		return;
	vhu_buf_printf(&t->line, "[%zu/%zu]", t->done, r->planned);
	t->counter = true;
}

static int begin(struct vhu_report *r, struct vhu_err *err)
{
	const struct vhu_report_target *target = &r->run.target;
	struct tty *t = calloc(1, sizeof(*t));

	if (!t)
		return vhu_err_errno(err, -ENOMEM, "tty report");
	t->tail = &t->groups;
	r->state = t;
	if (r->opts.verbosity >= 0 && target->probed) {
		const struct vhu_device_row *device =
			target->device == VHU_DEV_ANY ? NULL : vhu_device_row(target->device);

		vhu_text_add(&t->line, VHU_TEXT_LINE, target->name);
		vhu_buf_printf(
			&t->line,
			": %s, %u queue%s, features 0x%llx, protocol features 0x%llx, %s memory, seed %llu\n",
			device ? device->name : "unknown device", target->queues,
			target->queues == 1 ? "" : "s", (unsigned long long)target->features,
			(unsigned long long)target->pfeatures, target->memory,
			(unsigned long long)r->run.seed);
	}
	show_counter(r, t);
	return vhu_report_write(r, &t->line, err);
}

static int case_done(struct vhu_report *r, const struct vhu_outcome *o, struct vhu_err *err)
{
	struct tty *t = r->state;

	t->done++;
	clear_counter(t);
	if (r->opts.verbosity >= 0) {
		add_case_line(r, o, &t->line);
		if (keep(r, o) < 0)
			return vhu_err_errno(err, -ENOMEM, "tty report");
	}
	show_counter(r, t);
	return vhu_report_write(r, &t->line, err);
}

/* "and in 37 more cases" with their names, some on a line. */
static void add_others(const struct group *g, struct vhu_buf *out)
{
	size_t column = 0;

	if (g->count < 2)
		return;
	vhu_buf_printf(out, "    and in %zu more case%s:\n", g->count - 1, g->count == 2 ? "" : "s");
	for (const char *p = vhu_buf_text(&g->others); *p;) {
		size_t n = strcspn(p, "\n");

		if (column && column + n + 1 > 96) {
			vhu_buf_puts(out, "\n");
			column = 0;
		}
		vhu_buf_printf(out, "%s%.*s", column ? " " : "      ", (int)n, p);
		column += n + 1;
		p += n + (p[n] == '\n');
	}
	vhu_buf_puts(out, "\n");
}

static const char *const headings[SECTION_MAX] = {
	[SECTION_BROKEN] = "Broken: the tester could not judge these",
	[SECTION_FAILED] = "Failed",
	[SECTION_ROBUST] =
		"Robustness: no keyword of the specification asks for it, but the target did not survive",
	[SECTION_WARNED] = "Warnings",
	[SECTION_SKIPPED] = "Skipped",
	[SECTION_KNOWN] = "Known failures, as the baseline says",
	[SECTION_FIXED] = "Fixed: the baseline still lists these as failing",
};

static void add_section(const struct vhu_report *r, enum section section, struct vhu_buf *out)
{
	const struct tty *t = r->state;
	bool headed = false;

	for (const struct group *g = t->groups; g; g = g->next) {
		if (g->section != section)
			continue;
		if (!headed)
			add_heading(r, headings[section], out);
		else if (section <= SECTION_ROBUST)
			vhu_buf_puts(out, "\n");
		headed = true;
		if (section == SECTION_SKIPPED) {
			vhu_buf_printf(out, "  %5zu  %s\n", g->count, vhu_buf_text(&g->text));
			continue;
		}
		if (section > SECTION_ROBUST)
			vhu_buf_printf(out, "  %s\n", vhu_buf_text(&g->text));
		else
			vhu_buf_puts(out, vhu_buf_text(&g->text));
		add_others(g, out);
	}
}

static int end(struct vhu_report *r, const struct vhu_summary *summary, struct vhu_err *err)
{
	struct tty *t = r->state;

	clear_counter(t);
	for (int section = 0; section < SECTION_MAX; section++)
		add_section(r, section, &t->line);
	if (r->opts.verbosity >= 0)
		vhu_buf_puts(&t->line, "\n");
	if (summary->stopped) {
		vhu_text_add(&t->line, VHU_TEXT_LINE, summary->stopped);
		vhu_buf_puts(&t->line, "\n");
	}
	vhu_summary_line(summary, &t->line);
	vhu_buf_puts(&t->line, "\n");
	return vhu_report_write(r, &t->line, err);
}

const struct vhu_report_ops vhu_report_tty = {
	.name = "tty", .begin = begin, .case_done = case_done, .end = end, .free = free_state,
};
