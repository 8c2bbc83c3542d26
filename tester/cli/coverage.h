/* --coverage: requirement × case × fault, as text and as data. */
#pragma once

#include "base/buf.h"
#include "cli/conform.h"

struct vhu_matrix;

/* Whether the row counts under --area. */
bool vhu_coverage_wants(const struct vhu_conform_opts *o, const struct vhu_req_row *req);

/* The whole report, or with --quiet the counts. */
void vhu_coverage_text(const struct vhu_matrix *m, const struct vhu_conform_opts *o, struct vhu_buf *out);
/* To --json's FILE. A negative errno. */
int vhu_coverage_json(const struct vhu_matrix *m, const struct vhu_conform_opts *o, struct vhu_err *err);
/* False if less than --fail-under percent of the observable MUST rows have a case and a fault. */
bool vhu_coverage_suffices(const struct vhu_matrix *m, const struct vhu_conform_opts *o);
