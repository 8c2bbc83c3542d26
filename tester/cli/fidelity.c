/* vhu-fidelity: how near our front-end is to recorded ones. */
#include "cli/fidelity.h"

#include <errno.h>
#include <string.h>

#include "cli/conform.h"
#include "cli/options.h"
#include "fidelity/fidelity.h"
#include "plan/persona.h"

struct opts {
	const char *persona;
	enum vhu_device device;
	unsigned verbose;
	bool markdown, help, version;
	struct vhu_parsed parsed;
};

static int set_persona(void *opts, const char *arg, struct vhu_err *err)
{
	if (!vhu_profile_known(arg))
		return vhu_err_set(err, -EINVAL, "there is no persona '%s'\n  profiles.def lists them", arg);
	((struct opts *)opts)->persona = arg;
	return 0;
}

static int set_device(void *opts, const char *arg, struct vhu_err *err)
{
	return vhu_device_option(arg, NULL, &((struct opts *)opts)->device, err);
}

#define AT(member) .offset = offsetof(struct opts, member)
static const struct vhu_option rows[] = {
	{"persona", 'p', "NAME", "Options", "the front-end to be (default: as the recording says)",
	 VHU_OPTION_CALL, .set = set_persona},
	{"device", 'd', "NAME", "Options", "the device type (default: as the recording says)",
	 VHU_OPTION_CALL, .set = set_device},
	{"verbose", 'v', NULL, "Options", "each difference; twice: each phase that the device lives through",
	 VHU_OPTION_COUNT, AT(verbose)},
	{"markdown", 0, NULL, "Options", "the lines as a table", VHU_OPTION_FLAG, AT(markdown)},
	{"help", 'h', NULL, "Options", "this text", VHU_OPTION_FLAG, AT(help)},
	{"version", 'V', NULL, "Options", "the version", VHU_OPTION_FLAG, AT(version)},
};
static const struct vhu_option_part part = {rows, VHU_ARRAY_SIZE(rows)};
static const struct vhu_option_part *const parts[] = {&part};
static const struct vhu_option_table table = {
	.program = "vhu-fidelity",
	.usage = "RECORDED… [OPTIONS]",
	.intro = "Plays a persona's phases against the back-end's side of recorded sessions, and compares "
		 "what both "
		 "front-ends sent.",
	.outro = "Exit status: 0 no difference; 1 differences; 2 usage, or a file that is no recording; 3 "
		 "our own failure.\n",
	.parts = parts,
	.n_parts = VHU_ARRAY_SIZE(parts),
};

static int complain(const struct vhu_err *err, int code)
{
	vhu_complain("vhu-fidelity", err);
	return code;
}

struct sums {
	size_t sessions, messages, differences;
};

/* Lines that begin with a tab: phases are in brackets, differences are not. */
static void print_details(const char *text, unsigned verbose)
{
	while (*text) {
		size_t len = strcspn(text, "\n") + 1;

		if (verbose > 1 || !memmem(text, len, ": [", 3))
			fwrite(text, 1, len, stdout);
		text += len;
	}
}

static int judge(const struct opts *o, const char *path, struct sums *sums, struct vhu_err *err)
{
	struct vhu_fidelity_opts opts = {.profile = o->persona, .device = o->device};
	struct vhu_fidelity result;
	struct vhu_tape *tape = NULL;
	struct vhu_buf text = {0};
	int rc = vhu_tape_load(path, &tape, err);

	if (rc < 0)
		return rc;
	rc = vhu_fidelity_run(tape, &opts, o->verbose ? &text : NULL, &result, err);
	vhu_tape_free(tape);
	if (rc < 0) {
		vhu_buf_done(&text);
		return vhu_err_prefix(err, "%s", path);
	}
	if (o->markdown)
		printf("| %s | %s | %zu | %zu |\n", strrchr(path, '/') ? strrchr(path, '/') + 1 : path,
		       result.profile, result.messages, result.differences);
	else
		printf("%s: %zu messages, %zu differences\n", path, result.messages, result.differences);
	print_details(vhu_buf_text(&text), o->verbose);
	vhu_buf_done(&text);
	sums->sessions++;
	sums->messages += result.messages;
	sums->differences += result.differences;
	return 0;
}

static int judge_all(const struct opts *o, struct vhu_err *err)
{
	struct sums sums = {0};
	int code = VHU_EXIT_OK;

	if (o->markdown)
		printf("| session | persona | messages | differences |\n| --- | --- | ---: | ---: |\n");
	for (size_t i = 0; i < o->parsed.rest.n; i++) {
		int rc = judge(o, o->parsed.rest.items[i], &sums, err);

		if (rc < 0)
			code = VHU_MAX(code, complain(err, rc == -ENOMEM ? VHU_EXIT_BROKEN : VHU_EXIT_USAGE));
	}
	if (o->markdown)
		printf("\n");
	printf("%zu sessions, %zu messages, %zu differences\n", sums.sessions, sums.messages,
	       sums.differences);
	if (fflush(stdout) || ferror(stdout))
		return VHU_EXIT_BROKEN;
	return code == VHU_EXIT_OK && sums.differences ? VHU_EXIT_FAILED : code;
}

int vhu_fidelity_main(int argc, char **argv)
{
	struct opts o = {.device = VHU_DEV_ANY};
	struct vhu_buf text = {0};
	struct vhu_err err = {0};
	int code = VHU_EXIT_OK;

	if (vhu_options_parse(&table, argc, argv, &o, &o.parsed, &err) < 0)
		return complain(&err, VHU_EXIT_USAGE);
	if (o.help) {
		vhu_options_help(&table, &text);
		fputs(vhu_buf_text(&text), stdout);
		vhu_buf_done(&text);
	} else if (o.version) {
		printf("vhu-fidelity %s\n", VHU_VERSION);
	} else if (o.parsed.rest.n == 0) {
		vhu_err_set(&err, -EINVAL, "a recording is missing");
		code = complain(&err, VHU_EXIT_USAGE);
	} else {
		code = judge_all(&o, &err);
	}
	vhu_parsed_done(&o.parsed);
	return code;
}
