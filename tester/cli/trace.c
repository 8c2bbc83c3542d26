/* vhu-trace: command line, and the table of its commands. */
#include "cli/trace.h"

#include <errno.h>
#include <string.h>

#include "trace_command.h"

/* --- options --------------------------------------------------------------------------------------- */

static int set_session(void *opts, const char *arg, struct vhu_err *err)
{
	struct vhu_trace_opts *o = opts;
	const char *comma = strchr(arg, ',');
	char first[16];
	uint64_t a, b = 0;

	snprintf(first, sizeof(first), "%.*s", (int)(comma ? comma - arg : (long)strlen(arg)), arg);
	if (vhu_u64_parse(first, &a) < 0 || (comma && vhu_u64_parse(comma + 1, &b) < 0) || a < 1 ||
	    a > VHU_CAP_CONNECTIONS_MAX || (comma && b < 1) || b > VHU_CAP_CONNECTIONS_MAX)
		return vhu_err_set(err, -EINVAL, "'%s' is no number of a session, or two of them", arg);
	o->session = (uint32_t)a;
	o->session_b = (uint32_t)b;
	return 0;
}

static int set_device(void *opts, const char *arg, struct vhu_err *err)
{
	return vhu_device_option(arg, NULL, &((struct vhu_trace_opts *)opts)->device, err);
}

static int set_spec(void *opts, const char *arg, struct vhu_err *err)
{
	static const struct {
		const char *name;
		enum vhu_since since;
	} versions[] = {{"7.2", VHU_SINCE_V7_2}, {"10.2", VHU_SINCE_V10_2}, {"11.1", VHU_SINCE_V11_1}};

	for (size_t i = 0; i < VHU_ARRAY_SIZE(versions); i++) {
		if (!strcmp(versions[i].name, arg)) {
			((struct vhu_trace_opts *)opts)->spec = versions[i].since;
			return 0;
		}
	}
	return vhu_err_set(err, -EINVAL, "'%s' is no version that is known here: 7.2, 10.2 or 11.1", arg);
}

#define AT(field) .offset = offsetof(struct vhu_trace_opts, field)
#define ALL	  "All commands"
static const struct vhu_option rows[] = {
	{"session", 'n', "N[,M]", ALL,
	 "only this session (the number of its connection); two of them for diff", VHU_OPTION_CALL,
	 .set = set_session},
	{"device", 'd', "NAME", ALL,
	 "the device type, where the capture does not say it: names of feature bits, rules of the device",
	 VHU_OPTION_CALL, .set = set_device},
	{"verbose", 'v', NULL, ALL,
	 "show: each message with its header, descriptors and bytes; stats: each session; check: messages in "
	 "hex",
	 VHU_OPTION_COUNT, AT(verbose)},
	{"help", 'h', NULL, ALL, "this text", VHU_OPTION_FLAG, AT(help)},
	{"version", 'V', NULL, ALL, "the version", VHU_OPTION_FLAG, AT(version)},
	{"filter", 'f', "EXPR", "show",
	 "only records that fit all terms: GLOB (of the name), channel=, dir=fe|be, session=, record=, "
	 "type=, fds=, "
	 "FIELD=VALUE; with != < <= > >=, ! before a term, | between values",
	 VHU_OPTION_TEXT, AT(filter)},
	{"svg", 0, NULL, "ladder", "an SVG picture instead of text", VHU_OPTION_FLAG, AT(svg)},
	{"json", 'j', NULL, "stats, check, diff", "as JSON", VHU_OPTION_FLAG, AT(json)},
	{"baseline", 'b', "FILE", "check",
	 "findings that are known, each with its reason (default: NAME.baseline.json beside NAME.pcap)",
	 VHU_OPTION_TEXT, AT(baseline)},
	{"update-baseline", 0, NULL, "check", "write the findings into that file, and keep the reasons in it",
	 VHU_OPTION_FLAG, AT(update_baseline)},
	{"strict", 0, NULL, "check", "SHOULD and IMPLIED rules and known gaps fail too", VHU_OPTION_FLAG,
	 AT(strict)},
	{"spec", 0, "VERSION", "check",
	 "the specification to judge by: 7.2, 10.2, 11.1 (default: the newest)", VHU_OPTION_CALL,
	 .set = set_spec},
	{"ignore", 'i', "FIELD", "diff",
	 "MESSAGE.field that may differ (* and ? stand for any text); repeatable", VHU_OPTION_LIST,
	 AT(ignore)},
	{"all", 'a', NULL, "diff", "also what differs between two honest runs: addresses, bases, capacities",
	 VHU_OPTION_FLAG, AT(all)},
	{"output", 'o', "FILE", "ladder, case", "write there instead of standard output", VHU_OPTION_TEXT,
	 AT(output)},
};

static const struct vhu_option_part part = {rows, VHU_ARRAY_SIZE(rows)};
static const struct vhu_option_part *const parts[] = {&part};

const struct vhu_option_table vhu_trace_options = {
	.program = "vhu-trace",
	.usage = "COMMAND FILE [OPTIONS]",
	.intro = "Reads captures of vhost-user sessions: what vhu-capture and vhu-conform --record write. "
		 "FILE - is standard input.",
	.outro = "Commands:\n"
		 "  show FILE           one line a message, decoded\n"
		 "  ladder FILE         a sequence diagram\n"
		 "  stats FILE          messages by kind, sessions, durations, losses\n"
		 "  check FILE          what either side did against the specification\n"
		 "  diff A [B]          two sessions aligned by meaning, what differs\n"
		 "  case FILE           a case file that replays a session\n"
		 "  anonymize IN OUT    the same capture without contents and names\n"
		 "\n"
		 "Exit status: 0 fine; 1 check found a FAIL, diff a difference; 2 usage, or no capture; 3 "
		 "our own failure;\n"
		 "5 check found nothing to judge.\n",
	.parts = parts,
	.n_parts = VHU_ARRAY_SIZE(parts),
};

/* --- commands --------------------------------------------------------------------------------------- */

static const struct command {
	const char *name;
	size_t min, max;     /* files */
	const char *options; /* beside those of all commands, parted by blanks */
	int (*run)(const struct vhu_trace_opts *o);
} commands[] = {
	{"show", 1, 1, "filter", vhu_command_show},
	{"ladder", 1, 1, "svg output", vhu_command_ladder},
	{"stats", 1, 1, "json", vhu_command_stats},
	{"check", 1, 1, "json baseline update-baseline strict spec", vhu_command_check},
	{"diff", 1, 2, "json ignore all", vhu_command_diff},
	{"anonymize", 2, 2, "", vhu_command_anonymize},
	{"case", 1, 1, "output", vhu_command_case},
};

static const char *command_at(void *ctx, size_t i)
{
	return i < VHU_ARRAY_SIZE(commands) ? commands[i].name : NULL;
}

static const struct command *command_by_name(const char *name, struct vhu_err *err)
{
	const char *near;

	for (size_t i = 0; i < VHU_ARRAY_SIZE(commands); i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	near = vhu_nearest_name(name, command_at, NULL);
	vhu_err_set(err, -EINVAL, "%s: there is no such command\n  %s%s%s", name,
		    near ? "did you mean '" : "'vhu-trace --help' lists them", near ? near : "",
		    near ? "'?" : "");
	return NULL;
}

static bool in_words(const char *words, const char *word)
{
	size_t len = strlen(word);

	for (const char *p = words; *p; p += strcspn(p, " "), p += strspn(p, " "))
		if (strcspn(p, " ") == len && !strncmp(p, word, len))
			return true;
	return false;
}

/* An option that the command would not look at is a mistake. */
static int check_options(const struct command *c, const struct vhu_trace_opts *o, struct vhu_err *err)
{
	for (size_t i = 0; i < o->parsed.n_given; i++) {
		const struct vhu_option *given = o->parsed.given[i].option;

		if (strcmp(given->group, ALL) != 0 && !in_words(c->options, given->name))
			return vhu_err_set(err, -EINVAL, "--%s: %s has no such option; %s", given->name,
					   c->name, given->group);
	}
	if (o->session_b && strcmp(c->name, "diff") != 0)
		return vhu_err_set(err, -EINVAL, "--session: %s takes one session", c->name);
	return 0;
}

static const struct command *choose(struct vhu_trace_opts *o, struct vhu_err *err)
{
	const struct vhu_words *rest = &o->parsed.rest;
	const struct command *c;

	if (!rest->n) {
		vhu_err_set(err, -EINVAL, "a command is missing\n  'vhu-trace --help' lists them");
		return NULL;
	}
	c = command_by_name(rest->items[0], err);
	if (!c || check_options(c, o, err) < 0)
		return NULL;
	if (rest->n - 1 < c->min || rest->n - 1 > c->max) {
		vhu_err_set(err, -EINVAL, "%s: %s", c->name,
			    rest->n - 1 > c->max ? "too many files"
			    : c->max == 2	 ? "two files are needed"
						 : "a file is missing");
		return NULL;
	}
	o->command = c->name;
	o->n_files = rest->n - 1;
	for (size_t i = 0; i < o->n_files; i++)
		o->files[i] = rest->items[i + 1];
	return c;
}

int vhu_trace_main(int argc, char **argv)
{
	struct vhu_trace_opts o = {.device = VHU_DEV_ANY, .spec = VHU_SINCE_V11_1};
	struct vhu_buf text = {0};
	struct vhu_err err = {0};
	const struct command *c;
	int code;

	if (vhu_options_parse(&vhu_trace_options, argc, argv, &o, &o.parsed, &err) < 0) {
		vhu_words_done(&o.ignore);
		return vhu_trace_complain(&err);
	}
	if (o.help) {
		vhu_options_help(&vhu_trace_options, &text);
		fputs(vhu_buf_text(&text), stdout);
		vhu_buf_done(&text);
		code = vhu_trace_finish(VHU_EXIT_OK);
	} else if (o.version) {
		printf("vhu-trace %s\n", VHU_VERSION);
		code = vhu_trace_finish(VHU_EXIT_OK);
	} else {
		c = choose(&o, &err);
		code = c ? c->run(&o) : vhu_trace_complain(&err);
	}
	vhu_words_done(&o.ignore);
	vhu_parsed_done(&o.parsed);
	return code;
}
