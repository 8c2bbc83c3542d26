/* --explain: what an id means, and which cases have to do with it. */
#pragma once

#include "base/buf.h"
#include "base/err.h"

struct vhu_case_set;

/* `set` may be NULL (no cases installed). -ENOENT with a hint if nothing is called so. */
int vhu_explain(const char *id, const struct vhu_case_set *set, struct vhu_buf *out, struct vhu_err *err);
