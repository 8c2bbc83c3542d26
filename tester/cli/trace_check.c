/* vhu-trace check: the oracle over a capture. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <string.h>

#include "cli/judge.h"
#include "cli/words.h"
#include "trace_baseline.h"
#include "trace_command.h"

/* Findings of one requirement that are told in full; JSON has all. */
enum { TOLD = 10 };

struct check {
	const struct vhu_trace_opts *o;
	const struct vhu_trace_input *in;
	struct vhu_known *known;
	uint64_t n[VHU_VERDICT_MAX], n_known;
	uint64_t told[VHU_REQ_MAX];
	bool any; /* in JSON: an element stands before the next */
	int code; /* of what went wrong with us */
};

/* --- text ------------------------------------------------------------------------------------------- */

static void put_lines(const char *head, const char *text)
{
	while (*text) {
		size_t len = strcspn(text, "\n");

		printf("  %s %.*s\n", head, (int)len, text);
		head = "      or:";
		text += len + (text[len] == '\n');
	}
}

static void put_text(const struct check *c, const struct vhu_judged *d, const char *verdict, const char *why)
{
	const struct vhu_finding *f = d->f;
	const struct vhu_req_row *row = vhu_req_row(f->req);
	const char *gap = vhu_known_gap(f->req, f->front);
	uint64_t ns = d->t_ns >= c->in->first_ns ? d->t_ns - c->in->first_ns : 0;

	printf("%s %s %s, binds %s: %s\n", verdict, row->id, vhu_level_name(row->level),
	       vhu_party_words(row->party), f->summary);
	printf("  record %" PRIu64 " at offset %lld, session %" PRIu32 ", %" PRIu64 ".%06" PRIu64 " s\n",
	       d->record, d->offset, d->connection, ns / 1000000000, ns % 1000000000 / 1000);
	if (*f->message)
		printf("  message:  %s\n", f->message);
	if (c->o->verbose && *f->hex)
		printf("  bytes:    %s\n", f->hex);
	put_lines("accepted:", f->accepted);
	if (*f->actual)
		printf("  came:     %s\n", f->actual);
	if (gap)
		printf("  seen in:  %s\n", gap);
	if (why)
		printf("  known:    %s\n", why);
}

/* --- JSON ------------------------------------------------------------------------------------------- */

static json_t *lines_json(const char *text)
{
	json_t *list = json_array();

	while (*text) {
		size_t len = strcspn(text, "\n");

		json_array_append_new(list, json_stringn_nocheck(text, len));
		text += len + (text[len] == '\n');
	}
	return list;
}

static void put_json(struct check *c, const struct vhu_judged *d, const char *verdict, const char *why)
{
	const struct vhu_finding *f = d->f;
	const struct vhu_req_row *row = vhu_req_row(f->req);
	json_t *o;
	char *text;

	o = json_pack("{s:I, s:I, s:I, s:I, s:s, s:s, s:s, s:s, s:s, s:o, s:s, s:s, s:s, s:s?, s:s?}",
		      "record", (json_int_t)d->record, "offset", (json_int_t)d->offset, "session",
		      (json_int_t)d->connection, "time_ns", (json_int_t)d->t_ns, "requirement", row->id,
		      "level", vhu_level_name(row->level), "party", vhu_party_words(row->party), "verdict",
		      verdict, "summary", f->summary, "accepted", lines_json(f->accepted), "actual",
		      f->actual, "message", f->message, "hex", f->hex, "known", why, "seen_in",
		      vhu_known_gap(f->req, f->front));
	text = o ? json_dumps(o, JSON_COMPACT) : NULL;
	if (text)
		printf("%s\n    %s", c->any ? "," : "", text);
	else
		c->code = VHU_EXIT_BROKEN;
	c->any = true;
	free(text);
	json_decref(o);
}

static void tell(struct check *c, const struct vhu_judged *d)
{
	static const char *const words[VHU_VERDICT_MAX] = {[VHU_WARN] = "warn", [VHU_FAIL] = "fail"};
	const char *why = vhu_known_why(c->known, d->f);
	struct vhu_err err = {0};

	if (c->o->update_baseline && vhu_known_learn(c->known, d->f, &err) < 0)
		c->code = vhu_trace_complain(&err);
	if (why)
		c->n_known++;
	else
		c->n[d->verdict]++;
	if (c->o->json)
		put_json(c, d, why ? "known" : words[d->verdict], why);
	else if ((!why || c->o->verbose) && c->told[d->f->req]++ < TOLD)
		put_text(c, d, why ? "KNOWN" : vhu_verdict_name(d->verdict), why);
}

/* --- the whole -------------------------------------------------------------------------------------- */

static void put_rest(const struct check *c)
{
	for (int req = 0; req < VHU_REQ_MAX; req++)
		if (c->told[req] > TOLD)
			printf("%s: %" PRIu64 " findings more; --json tells all\n",
			       vhu_req_row((enum vhu_req)req)->id, c->told[req] - TOLD);
}

static void put_summary(const struct check *c, const struct vhu_judge_counts *n)
{
	if (c->o->json) {
		printf("%s],\n  \"summary\": {\"sessions\": %" PRIu64 ", \"partial\": %" PRIu64
		       ", \"messages\": %" PRIu64 ", \"unjudged\": %" PRIu64 ", \"dropped\": %" PRIu64
		       ", \"beyond\": %" PRIu64 ", \"fail\": %" PRIu64 ", \"warn\": %" PRIu64
		       ", \"known\": %" PRIu64 "}\n}\n",
		       c->any ? "\n  " : "", n->sessions, n->partial, n->messages, n->unjudged, n->dropped,
		       n->beyond, c->n[VHU_FAIL], c->n[VHU_WARN], c->n_known);
		return;
	}
	put_rest(c);
	if (n->beyond)
		printf("%" PRIu64 " findings more are not told\n", n->beyond);
	if (n->dropped)
		printf("%" PRIu64 " findings do not count: something was lost that may explain them\n",
		       n->dropped);
	printf("%" PRIu64 " messages of %" PRIu64 " sessions judged", n->messages, n->sessions);
	if (n->partial)
		printf(" (%" PRIu64 " only in part: something of them was not seen)", n->partial);
	if (n->unjudged)
		printf(", %" PRIu64 " not judged", n->unjudged);
	printf(": %" PRIu64 " failed, %" PRIu64 " warned, %" PRIu64 " known\n", c->n[VHU_FAIL],
	       c->n[VHU_WARN], c->n_known);
}

static int judge_all(struct vhu_judge *j, struct vhu_trace_input *in)
{
	struct vhu_err err = {0};
	struct vhu_record r;
	uint64_t number;
	long long offset;
	int more;

	while ((more = vhu_trace_next(in, &r)) > 0) {
		vhu_trace_device_of(in, &r);
		vhu_trace_reader_position(in->reader, &number, &offset);
		if (vhu_judge_record(j, &r, number, offset, &err) < 0)
			return vhu_trace_complain(&err);
	}
	vhu_judge_end(j);
	return more < 0 ? -more : VHU_EXIT_OK;
}

static int judge(struct check *c, struct vhu_trace_input *in)
{
	const struct vhu_judge_config config = {
		in->device, in->guess, c->o->session, {c->o->strict, c->o->spec}};
	const struct vhu_judge_counts *n;
	struct vhu_judged d;
	struct vhu_judge *j;
	struct vhu_err err = {0};

	if (vhu_judge_new(&config, &j, &err) < 0)
		return vhu_trace_complain(&err);
	c->code = judge_all(j, in);
	if (c->o->json)
		fputs("{\n  \"format\": \"vhu-trace-check\", \"version\": 1,\n  \"findings\": [", stdout);
	for (size_t i = 0; vhu_judge_finding(j, i, &d); i++)
		tell(c, &d);
	n = vhu_judge_counts(j);
	put_summary(c, n);
	if (!c->code && c->n[VHU_FAIL])
		c->code = VHU_EXIT_FAILED;
	else if (!c->code && !n->messages)
		c->code = VHU_EXIT_EMPTY;
	vhu_judge_free(j);
	return c->code;
}

/* The file that was named, or the one beside the capture, if it is there. */
static int load_known(const struct vhu_trace_opts *o, char *path, size_t cap, struct vhu_known **ret)
{
	bool found_path = o->baseline ? snprintf(path, cap, "%s", o->baseline) < (int)cap
				      : vhu_known_path(o->files[0], path, cap);
	bool there = found_path && !access(path, F_OK);
	struct vhu_err err = {0};

	if (o->update_baseline && !found_path)
		vhu_err_set(&err, -EINVAL, "--update-baseline: --baseline has to name the file");
	else if (vhu_known_load(there || (o->baseline && !o->update_baseline) ? path : NULL, ret, &err) == 0)
		return VHU_EXIT_OK;
	return vhu_trace_complain(&err);
}

static int save_known(const struct vhu_known *known, const char *path)
{
	struct vhu_err err = {0};
	size_t open;

	if (vhu_known_save(known, path, &open, &err) < 0)
		return vhu_trace_complain(&err);
	if (open)
		fprintf(stderr, "%s: %s: %zu entries still lack their \"why\"\n", vhu_trace_options.program,
			path, open);
	return VHU_EXIT_OK;
}

static void tell_unused(const struct vhu_known *known, const char *path)
{
	struct vhu_buf list = {0};

	vhu_known_unused(known, &list);
	if (list.len)
		fprintf(stderr, "%s: %s: note: explains what does not come any more: %s\n",
			vhu_trace_options.program, path, vhu_buf_text(&list));
	vhu_buf_done(&list);
}

int vhu_command_check(const struct vhu_trace_opts *o)
{
	struct vhu_trace_input in;
	struct check c = {.o = o, .in = &in};
	char path[PATH_MAX] = "";
	int code = load_known(o, path, sizeof(path), &c.known);

	if (code == VHU_EXIT_OK)
		code = vhu_trace_open(o, &in);
	if (code == VHU_EXIT_OK) {
		code = judge(&c, &in);
		vhu_trace_close(&in);
		if (o->update_baseline && (code == VHU_EXIT_OK || code == VHU_EXIT_FAILED))
			code = save_known(c.known, path);
		else if (!o->session)
			tell_unused(c.known, path);
	}
	vhu_known_free(c.known);
	return vhu_trace_finish(code);
}
