/* Reading case files into a set. */
#pragma once

#include "internal.h"

struct load {
	struct vhu_case_set *set;
	struct report report;
	struct vhu_err *err;
};

/* load.c; negative errnos are what we could not do, not what is wrong in the file. */
int vhu_load_file(struct load *l, const char *path, bool library, struct casefile **ret);
int vhu_load_entries(struct load *l, const struct casefile *f, const char *row);
void vhu_case_set_free_files(struct vhu_case_set *s);
/* case_set.c: the lib folders beside and above a file. */
int vhu_load_libraries_of(struct load *l, const char *path);
