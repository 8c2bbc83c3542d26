/* Which cases and which planted faults stand behind each requirement. */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "spec/spec.h"

struct vhu_case_info;

struct vhu_matrix_fault {
	const struct vhu_fault_row *fault;
	bool shown;			/* a run found this very requirement: vhu_matrix_measure */
};

struct vhu_matrix_row {
	const struct vhu_req_row *req;
	const char **cases;		/* ids of files; the rows of a file count as one */
	size_t n_cases;
	struct vhu_matrix_fault *faults;
	size_t n_faults;
};

struct vhu_matrix {
	struct vhu_arena *arena;
	struct vhu_matrix_row rows[VHU_REQ_MAX];
	size_t n_cases, n_faults;	/* in all; every row of a file is a case here */
	bool measured;
};

/* Over n cases; those of one file stand together. -ENOMEM. */
int vhu_matrix_new(const struct vhu_case_info *const *infos, size_t n, struct vhu_matrix **ret,
		   struct vhu_err *err);
void vhu_matrix_free(struct vhu_matrix *m);

/* Reads what tools/mutants --json wrote. -EINVAL with file, line, column and path, or what reading says. */
int vhu_matrix_measure(struct vhu_matrix *m, const char *path, struct vhu_err *err);

/* Whether the requirement binds the back-end or its device: what a target can be tested for. */
bool vhu_matrix_binds(const struct vhu_req_row *req);
/* Whether a fault stands for it: one that was shown, once that has been measured; else one that names it. */
bool vhu_matrix_has_fault(const struct vhu_matrix *m, const struct vhu_matrix_row *row);
