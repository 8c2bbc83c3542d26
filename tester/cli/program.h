/* What the parts of vhu-conform's main function share. Each tells its own errors and returns an exit code. */
#pragma once

#include "base/buf.h"
#include "cli/conform.h"
#include "cli/select.h"
#include "plan/plan.h"

/* Tells the error and returns exit_code. */
int vhu_conform_complain(const struct vhu_err *err, int exit_code);
/* Prints text and frees it. */
int vhu_conform_print(struct vhu_buf *text);
/* Prints the errors of case files and how many they are. */
int vhu_conform_tell_diags(const struct vhu_diags *diags);
int vhu_conform_nothing_to_run(const struct vhu_conform_opts *o);
/* The case files of the command line, all of them right. */
int vhu_conform_load(const struct vhu_conform_opts *o, struct vhu_case_set **ret);

/* Compiles the selection into s->n plans; the errors of all files are collected. A negative errno. */
int vhu_conform_compile(const struct vhu_selection *s, const struct vhu_case_set *set,
			const struct vhu_compile_opts *opts, struct vhu_plan **plans, struct vhu_diags *diags,
			struct vhu_err *err);
void vhu_conform_free_plans(struct vhu_plan **plans, size_t n);

/* --list, --check, --schema, --explain, --coverage, --help, --version: what needs no target. */
bool vhu_conform_asks(const struct vhu_conform_opts *o);
int vhu_conform_answer(const struct vhu_conform_opts *o);

/* Runs the cases. */
int vhu_conform_execute(struct vhu_conform_opts *o);
