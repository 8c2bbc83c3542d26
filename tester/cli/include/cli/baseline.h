/*
 * Known failures, as a JSON file:
 * {"format": "vhu-baseline", "version": 1, "cases": {ID: {"verdict": "fail" | "flaky",
 *  "findings": [requirement ids], "why": "…"}}}
 */
#pragma once

#include "base/err.h"

struct vhu_baseline;
struct vhu_outcome;

/* -EINVAL with file, line, column and path. With `may_be_absent`, no file is an empty baseline. */
int vhu_baseline_load(const char *path, bool may_be_absent, struct vhu_baseline **ret, struct vhu_err *err);
void vhu_baseline_free(struct vhu_baseline *b);

/*
 * Compares an outcome with what is known: a failure with nothing new in it becomes a warning, a
 * worse one stays, a case that no longer fails is marked fixed. With `update` the baseline
 * learns instead, and keeps each "why".
 */
int vhu_baseline_judge(struct vhu_baseline *b, struct vhu_outcome *o, bool update, struct vhu_err *err);

/*
 * Whether the case is known to end the target (it lists PROG-16), so that one that outlived it is not to be
 * trusted with another case. NULL knows nothing.
 */
bool vhu_baseline_kills(const struct vhu_baseline *b, const char *id);

/* Replaces the file whole. */
int vhu_baseline_save(const struct vhu_baseline *b, const char *path, struct vhu_err *err);
