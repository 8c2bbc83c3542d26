/* What the report formats share. */
#pragma once

#include <stdio.h>

#include "base/buf.h"
#include "report/report.h"

struct vhu_report {
	const struct vhu_report_ops *ops;
	struct vhu_report_opts opts;
	char *path;
	FILE *out;
	bool is_stdout;
	struct vhu_report_run run;
	size_t planned;
	void *state;			/* the format's own */
};

extern const struct vhu_report_ops vhu_report_tty, vhu_report_tap, vhu_report_junit, vhu_report_json;
extern const struct vhu_report_ops vhu_report_html, vhu_report_markdown, vhu_report_sarif;

/* What a text from outside may not put into a report. */
enum vhu_text_for {
	VHU_TEXT_PLAIN,			/* no control characters but newline and tab, valid UTF-8 */
	VHU_TEXT_LINE,			/* the same on one line */
	VHU_TEXT_XML,			/* markup escaped */
	VHU_TEXT_YAML,			/* inside double quotes */
	VHU_TEXT_MARKDOWN,		/* on one line, as text and no markup */
};
/* Appends text in that form; NULL adds nothing. Carriage returns become newlines. */
void vhu_text_add(struct vhu_buf *out, enum vhu_text_for how, const char *text);
/* Text as a JSON string, NULL when out of memory: jansson refuses what is no UTF-8. */
struct json_t *vhu_text_json(const char *text);
/* Appends each line of text behind `indent`, the last one ended too. */
void vhu_text_indent(struct vhu_buf *out, const char *indent, const char *text);

/* Writes the buffer to the report's file and empties it. */
int vhu_report_write(struct vhu_report *r, struct vhu_buf *b, struct vhu_err *err);

/* The finding that made the verdict, which need not be the first; NULL if there is none. */
const struct vhu_finding *vhu_outcome_main_finding(const struct vhu_outcome *o);
/* "the main finding's summary", or the reason: one line that says what came of the case. */
void vhu_outcome_headline(const struct vhu_outcome *o, struct vhu_buf *out);
/* A finding that only says that the target did not survive what no keyword forbids. */
bool vhu_finding_is_robustness(const struct vhu_finding *f);
const char *vhu_finding_kind_name(enum vhu_finding_kind kind);
/* "412 passed, 3 failed, 2 warned, 31 skipped in 0.61 s". */
void vhu_summary_line(const struct vhu_summary *s, struct vhu_buf *out);

/* Verdict of each requirement over the run, for the JSON report. */
struct vhu_rollup;
struct json_t;
struct vhu_rollup *vhu_rollup_new(void);
void vhu_rollup_free(struct vhu_rollup *u);
int vhu_rollup_add(struct vhu_rollup *u, const struct vhu_outcome *o);
/* [{"id", "level", "verdict", "cases"}], NULL when out of memory. */
struct json_t *vhu_rollup_json(const struct vhu_rollup *u);
