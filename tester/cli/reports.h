/* Reports that earlier runs wrote with --json. */
#pragma once

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"
#include "cli/options.h"

/*
 * Tells in `out` what differs, by case and requirement. *ret_worse: a case fails that did not. -EINVAL with
 * file, place and text for what is no such report.
 */
int vhu_reports_compare(const char *before, const char *now, struct vhu_buf *out, bool *ret_worse,
			struct vhu_err *err);
/* One report of several shards (the caller's). -EINVAL also where a case is in two, or the targets differ. */
int vhu_reports_merge(const struct vhu_words *paths, json_t **ret, struct vhu_err *err);
/* Whether its summary counts such a case ("fail"). */
bool vhu_report_has(const json_t *report, const char *verdict);
