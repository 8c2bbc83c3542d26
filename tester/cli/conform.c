/* vhu-conform's main function, and how it speaks. */
#include "cli/conform.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#include "program.h"

void vhu_complain(const char *program, const struct vhu_err *err)
{
	fflush(stdout);
	fprintf(stderr, "%s: %s\n", program, err->text);
}

void vhu_tell_notes(FILE *out, const char *before, const char *notes)
{
	while (*notes) {
		size_t len = strcspn(notes, "\n");

		fprintf(out, "%snote: %.*s\n", before, (int)len, notes);
		notes += len + (notes[len] == '\n');
	}
}

int vhu_conform_complain(const struct vhu_err *err, int exit_code)
{
	vhu_complain(vhu_conform_options.program, err);
	return exit_code;
}

int vhu_conform_print(struct vhu_buf *text)
{
	struct vhu_err err = {0};
	int code = VHU_EXIT_OK;

	if (text->failed) {
		vhu_err_errno(&err, -ENOMEM, "output");
		code = vhu_conform_complain(&err, VHU_EXIT_BROKEN);
	} else if (fputs(vhu_buf_text(text), stdout) < 0 || fflush(stdout)) {
		vhu_err_errno(&err, -errno, "standard output");
		code = vhu_conform_complain(&err, VHU_EXIT_BROKEN);
	}
	vhu_buf_done(text);
	return code;
}

int vhu_conform_tell_diags(const struct vhu_diags *diags)
{
	struct vhu_err err = {0};

	fflush(stdout);
	fputs(vhu_buf_text(diags->text), stderr);
	vhu_err_set(&err, -EINVAL, "case files: %zu error%s", diags->errors, diags->errors == 1 ? "" : "s");
	return vhu_conform_complain(&err, VHU_EXIT_USAGE);
}

int vhu_conform_nothing_to_run(const struct vhu_conform_opts *o)
{
	struct vhu_err err = {0};

	if (o->allow_empty)
		return VHU_EXIT_OK;
	vhu_err_set(&err, -ENOENT, "nothing to run: no case is selected");
	return vhu_conform_complain(&err, VHU_EXIT_EMPTY);
}

int vhu_conform_load(const struct vhu_conform_opts *o, struct vhu_case_set **ret)
{
	struct vhu_buf text = {0};
	struct vhu_diags diags = {.text = &text};
	struct vhu_case_set *set = NULL;
	struct vhu_err err = {0};
	int code = vhu_select_load(o, &set, &diags, &err);

	if (diags.errors)
		code = vhu_conform_tell_diags(&diags);
	else if (code < 0)
		code = vhu_conform_complain(&err, code == -ENOMEM ? VHU_EXIT_BROKEN : VHU_EXIT_USAGE);
	vhu_buf_done(&text);
	if (code)
		vhu_case_set_free(set);
	else
		*ret = set;
	return code;
}

int vhu_conform_compile(const struct vhu_selection *s, const struct vhu_case_set *set,
			const struct vhu_compile_opts *opts, struct vhu_plan **plans, struct vhu_diags *diags,
			struct vhu_err *err)
{
	for (size_t i = 0; i < s->n; i++) {
		size_t before = diags->errors;
		int code = vhu_plan_from_case(set, s->index[i], opts, &plans[i], diags, err);

		if (code < 0 && diags->errors == before)
			return code;
	}
	return 0;
}

void vhu_conform_free_plans(struct vhu_plan **plans, size_t n)
{
	for (size_t i = 0; plans && i < n; i++)
		vhu_plan_free(plans[i]);
	free(plans);
}

/* A report's reader that goes away is a write error, not our end. Unlike "ignore" this ends with exec. */
static void on_broken_pipe(int signal)
{
}

int vhu_conform_main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = on_broken_pipe, .sa_flags = SA_RESTART};
	struct vhu_conform_opts o;
	struct vhu_err err = {0};
	int code;

	sigaction(SIGPIPE, &action, NULL);
	if (vhu_conform_opts_parse(argc, argv, &o, &err) < 0)
		return vhu_conform_complain(&err, VHU_EXIT_USAGE);
	code = vhu_conform_asks(&o) ? vhu_conform_answer(&o) : vhu_conform_execute(&o);
	vhu_conform_opts_done(&o);
	return code;
}
