/*
 * What the tester itself could not do, as text for its user. A target's misbehaviour never
 * travels this way: it is a finding.
 */
#pragma once

#include "base/util.h"

struct vhu_err {
	int code;		/* negative errno, 0 if nothing was set */
	char text[1024];	/* "WHAT: WHY", without the program's name */
};

/*
 * Sets code and text (cut if too long) and returns `code`, so that a function can end with
 * `return vhu_err_set(err, -ENOMEM, "…")`. `err` may be NULL.
 */
int vhu_err_set(struct vhu_err *err, int code, const char *format, ...) VHU_PRINTF(3, 4);

/* The same with ": " and strerror(-code) appended. */
int vhu_err_errno(struct vhu_err *err, int code, const char *format, ...) VHU_PRINTF(3, 4);

/* Puts "PREFIX: " before the text that is already there. Returns err->code. */
int vhu_err_prefix(struct vhu_err *err, const char *format, ...) VHU_PRINTF(2, 3);
