/* JUnit XML, in the form that CI systems read: one suite, a testcase for each case. */
#include <errno.h>
#include <string.h>

#include "impl.h"

struct junit {
	struct vhu_buf cases;		/* the counts stand before them in the file */
};

static int begin(struct vhu_report *r, struct vhu_err *err)
{
	r->state = calloc(1, sizeof(struct junit));
	return r->state ? 0 : vhu_err_errno(err, -ENOMEM, "junit report");
}

static void free_state(struct vhu_report *r)
{
	struct junit *j = r->state;

	vhu_buf_done(&j->cases);
	free(j);
	r->state = NULL;
}

static void add_attribute(const char *name, const char *text, struct vhu_buf *out)
{
	struct vhu_buf line = {0};

	vhu_text_add(&line, VHU_TEXT_LINE, text);
	vhu_buf_printf(out, " %s=\"", name);
	vhu_text_add(out, VHU_TEXT_XML, vhu_buf_text(&line));
	vhu_buf_puts(out, "\"");
	vhu_buf_done(&line);
}

/* "  got: ack"; further lines of the text stand below its first. */
static void add_part(const char *name, const char *text, struct vhu_buf *out)
{
	if (!text || !*text)
		return;
	vhu_buf_puts(out, name);
	for (; *text; text++) {
		vhu_buf_add(out, text, 1);
		if (*text == '\n')
			vhu_buf_printf(out, "%*s", (int)strlen(name), "");
	}
	vhu_buf_puts(out, "\n");
}

/* Everything that a person wants to know, as text. */
static void describe(const struct vhu_outcome *o, struct vhu_buf *out)
{
	const struct vhu_result *r = &o->result;
	struct vhu_buf text = {0};

	add_part("", r->reason, &text);
	add_part("baseline: ", o->note, &text);
	if (o->runs > 1)
		vhu_buf_printf(&text, "passed %u of %u runs\n", o->passed, o->runs);
	for (size_t i = 0; i < r->n_findings; i++) {
		const struct vhu_finding *f = &r->findings[i];
		const struct vhu_req_row *row = vhu_req_row(f->req);

		vhu_buf_printf(&text, "%s %s (%s): %s [%s]\n", row->id, vhu_level_name(row->level),
			       vhu_finding_kind_name(f->kind), row->text, row->section);
		add_part("  wrong: ", f->summary, &text);
		add_part("  accepted: ", f->accepted, &text);
		add_part("  got: ", f->actual, &text);
		add_part("  message: ", f->message, &text);
		add_part("  bytes: ", f->hex, &text);
		add_part("  where: ", f->where, &text);
	}
	if (r->trace && *r->trace) {
		vhu_buf_puts(&text, "last messages:\n");
		vhu_text_indent(&text, "  ", r->trace);
	}
	add_part("alone: ", r->rerun, &text);
	vhu_text_add(out, VHU_TEXT_XML, vhu_buf_text(&text));
	if (text.failed)
		out->failed = true;
	vhu_buf_done(&text);
}

static void add_element(const char *element, const char *type, const struct vhu_outcome *o,
			struct vhu_buf *out)
{
	struct vhu_buf message = {0};

	vhu_outcome_headline(o, &message);
	vhu_buf_printf(out, "      <%s", element);
	add_attribute("message", vhu_buf_text(&message), out);
	if (type)
		add_attribute("type", type, out);
	vhu_buf_puts(out, ">");
	if (o->verdict != VHU_SKIP)
		describe(o, out);
	vhu_buf_printf(out, "</%s>\n", element);
	vhu_buf_done(&message);
}

static void add_streams(const struct vhu_outcome *o, struct vhu_buf *out)
{
	if (o->verdict == VHU_WARN || o->known == VHU_KNOWN_FIXED) {
		vhu_buf_puts(out, "      <system-out>");
		describe(o, out);
		vhu_buf_puts(out, "</system-out>\n");
	}
	if (o->result.target_stderr && *o->result.target_stderr) {
		vhu_buf_puts(out, "      <system-err>");
		vhu_text_add(out, VHU_TEXT_XML, o->result.target_stderr);
		vhu_buf_puts(out, "</system-err>\n");
	}
}

static int case_done(struct vhu_report *r, const struct vhu_outcome *o, struct vhu_err *err)
{
	struct vhu_buf *out = &((struct junit *)r->state)->cases;
	const struct vhu_finding *f = vhu_outcome_main_finding(o);
	const char *slash = strrchr(o->result.id, '/');
	struct vhu_buf folder = {0};

	vhu_buf_add(&folder, o->result.id, slash ? (size_t)(slash - o->result.id) : 0);
	vhu_buf_puts(out, "    <testcase");
	add_attribute("name", o->result.id, out);
	add_attribute("classname", folder.len ? vhu_buf_text(&folder) : "cases", out);
	vhu_buf_done(&folder);
	vhu_buf_printf(out, " time=\"%.6f\"", (double)o->result.duration_ns / 1e9);
	if (o->result.file)
		add_attribute("file", o->result.file, out);
	vhu_buf_puts(out, ">\n");
	switch (o->verdict) {
	case VHU_FAIL:
		add_element("failure", o->flaky ? "flaky" : f ? vhu_req_row(f->req)->id : "failed", o, out);
		break;
	case VHU_BROKEN:
		add_element("error", "broken", o, out);
		break;
	case VHU_SKIP:
		add_element("skipped", NULL, o, out);
		break;
	case VHU_PASS:
	case VHU_WARN:
	case VHU_VERDICT_MAX:
		break;
	}
	add_streams(o, out);
	vhu_buf_puts(out, "    </testcase>\n");
	return out->failed ? vhu_err_errno(err, -ENOMEM, "junit report") : 0;
}

static void add_property(const char *name, const char *value, struct vhu_buf *out)
{
	vhu_buf_printf(out, "      <property name=\"%s\"", name);
	add_attribute("value", value, out);
	vhu_buf_puts(out, "/>\n");
}

static void add_properties(const struct vhu_report *r, struct vhu_buf *out)
{
	const struct vhu_report_target *t = &r->run.target;
	char number[32];

	vhu_buf_puts(out, "    <properties>\n");
	add_property("version", VHU_VERSION, out);
	add_property("target", t->name, out);
	if (t->probed) {
		if (t->device != VHU_DEV_ANY)
			add_property("device", vhu_device_row(t->device)->name, out);
		snprintf(number, sizeof(number), "0x%llx", (unsigned long long)t->features);
		add_property("features", number, out);
		snprintf(number, sizeof(number), "0x%llx", (unsigned long long)t->pfeatures);
		add_property("protocol_features", number, out);
		add_property("memory", t->memory, out);
	}
	snprintf(number, sizeof(number), "%llu", (unsigned long long)r->run.seed);
	add_property("seed", number, out);
	vhu_buf_puts(out, "    </properties>\n");
}

static int end(struct vhu_report *r, const struct vhu_summary *s, struct vhu_err *err)
{
	struct junit *j = r->state;
	struct vhu_buf b = {0};
	int code;

	vhu_buf_puts(&b, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
	vhu_buf_printf(&b, "  <testsuite name=\"vhu-conform\" tests=\"%zu\" failures=\"%zu\" errors=\"%zu\" "
		       "skipped=\"%zu\" time=\"%.6f\">\n", vhu_summary_ran(s) + s->skip, s->fail + s->flaky,
		       s->broken, s->skip, (double)s->wall_ns / 1e9);
	add_properties(r, &b);
	code = vhu_report_write(r, &b, err);
	if (code == 0)
		code = vhu_report_write(r, &j->cases, err);
	if (s->stopped) {
		vhu_buf_puts(&b, "    <system-out>");
		vhu_text_add(&b, VHU_TEXT_XML, s->stopped);
		vhu_buf_puts(&b, "</system-out>\n");
	}
	vhu_buf_puts(&b, "  </testsuite>\n</testsuites>\n");
	if (code == 0)
		code = vhu_report_write(r, &b, err);
	vhu_buf_done(&b);
	return code;
}

const struct vhu_report_ops vhu_report_junit = {
	.name = "junit", .begin = begin, .case_done = case_done, .end = end, .free = free_state,
};
