/* Which cases run, and in which order. */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "spec/spec.h"

struct vhu_case_info;
struct vhu_case_set;
struct vhu_conform_opts;
struct vhu_diags;

/*
 * Where installed cases are: VHU_CASES, else what was compiled in, else beside the program.
 * malloc'ed, NULL if nowhere.
 */
char *vhu_case_root(void);

/* Reads the case files that the command line names, all installed ones if it names none. */
int vhu_select_load(const struct vhu_conform_opts *o, struct vhu_case_set **ret, struct vhu_diags *diags,
		    struct vhu_err *err);

struct vhu_selection {
	const struct vhu_case_info **info;	/* borrowed from the case set */
	size_t *index;				/* in the case set */
	size_t n;
};
void vhu_selection_done(struct vhu_selection *s);

/*
 * Those of the n cases that the options ask for: smoke first, then by id (or shuffled), those
 * that may kill the target last. Without cases on the command line, only those that fit `device`.
 */
int vhu_select(const struct vhu_conform_opts *o, const struct vhu_case_info *const *infos, size_t n,
	       enum vhu_device device, struct vhu_selection *ret, struct vhu_err *err);
/* The same over a case set. */
int vhu_select_set(const struct vhu_conform_opts *o, const struct vhu_case_set *set, enum vhu_device device,
		   struct vhu_selection *ret, struct vhu_err *err);

/* The device that the selected cases are for, if it is the same for all that name one; else VHU_DEV_ANY. */
enum vhu_device vhu_selection_device(const struct vhu_selection *s);

/* The strongest level among a case's requirements. */
enum vhu_level vhu_case_level(const struct vhu_case_info *info);
/* --list: a line each, in aligned columns. */
void vhu_selection_list(const struct vhu_selection *s, struct vhu_buf *out);
