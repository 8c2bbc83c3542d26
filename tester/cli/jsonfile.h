/* JSON files that earlier runs wrote: read whole, with errors that say where. */
#pragma once

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"

struct vhu_jsonfile {
	const char *path;		/* borrowed */
	struct vhu_buf text;
	json_t *root;
};

/*
 * Reads a file of the given "format", version 1. -EINVAL with "FILE:LINE:COLUMN: JSON PATH: WHAT", or what
 * open and read say.
 */
int vhu_jsonfile_read(const char *path, const char *format, struct vhu_jsonfile *ret, struct vhu_err *err);
void vhu_jsonfile_done(struct vhu_jsonfile *f);
/* Sets such an error about the value at `path` and returns -EINVAL. */
int vhu_jsonfile_wrong(const struct vhu_jsonfile *f, const char *path, const char *what, struct vhu_err *err);
/* Appends a key as a part of a JSON path. */
void vhu_jsonfile_add_key(struct vhu_buf *out, const char *key);
/* Writes a value: to standard output if path is "-", else to a file that is there whole or not at all. */
int vhu_jsonfile_write(const json_t *root, const char *path, size_t flags, struct vhu_err *err);
