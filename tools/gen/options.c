/*
 * Text made of a program's option table, so that it can't be stale.
 *
 *   gen-options man PROGRAM          a man page (roff)
 *   gen-options completion PROGRAM   bash completion
 */
#include <ctype.h>
#include <string.h>

#include "cli/capture.h"
#include "cli/conform.h"
#include "cli/guest.h"
#include "cli/options.h"
#include "cli/replay.h"
#include "cli/trace.h"

/* vhu-backend shares nothing with the others but tables. */
static const struct vhu_option backend_rows[] = {
#define VHU_BACKEND_OPTION(id, ...) {VHU_BACKEND_ROW(__VA_ARGS__)},
#define VHU_BACKEND_ROW(letter_, name_, arg_, group_, help_) \
	.letter = (letter_), .name = (name_), .arg = (arg_), .group = (group_), .help = (help_)
#include "vhu/backend_options.def"
};
static const struct vhu_option_part backend_part = {backend_rows, VHU_ARRAY_SIZE(backend_rows)};
static const struct vhu_option_part *const backend_parts[] = {&backend_part};
static const struct vhu_option_table backend_options = {
	.program = "vhu-backend",
	.usage = "--socket PATH --device NAME [OPTION]…",
	.intro = "The reference vhost-user back-end: it keeps to the specification, save for the faults "
		 "asked for.",
	.parts = backend_parts,
	.n_parts = 1,
};

static const struct program {
	const struct vhu_option_table *table;
	const char *what;  /* in a line */
	const char *words; /* that completion offers besides files; NULL: none */
	bool serves;	   /* it judges nobody: exit codes say nothing */
} programs[] = {
	{&vhu_capture_options, "record vhost-user sessions of other programs", "import"},
	{&backend_options, "a vhost-user back-end that keeps to the specification, or breaks it on request",
	 NULL, true},
	{&vhu_conform_options, "test a vhost-user back-end without a virtual machine", NULL},
	{&vhu_replay_options, "replay captured vhost-user sessions against a back-end", NULL},
	{&vhu_guest_options, "put a vhost-user back-end under load without a virtual machine", NULL},
	{&vhu_trace_options, "read captures of vhost-user sessions",
	 "show ladder stats check diff case anonymize"},
};

static const struct program *program;
static const struct vhu_option_table *table;

/* --- man page ---------------------------------------------------------------------------------- */

/* A line that begins with a dot or a quote would be a request; backslashes and hyphens are special. */
static void roff(const char *text)
{
	if (*text == '.' || *text == '\'')
		fputs("\\&", stdout);
	for (; *text; text++) {
		if (*text == '\\' || *text == '-')
			putchar('\\');
		if (*text == '\\')
			putchar('e');
		else
			putchar(*text);
	}
}

static void man_option(const struct vhu_option *o)
{
	puts(".TP");
	fputs("\\fB", stdout);
	if (o->letter)
		printf("\\-%c\\fR, \\fB", o->letter);
	fputs("\\-\\-", stdout);
	roff(o->name);
	fputs("\\fR", stdout);
	if (o->arg) {
		fputs(o->arg[0] == '[' ? "\\fI" : " \\fI", stdout);
		roff(o->arg);
		fputs("\\fR", stdout);
	}
	putchar('\n');
	roff(o->help);
	putchar('\n');
}

static void upper(const char *text)
{
	for (; *text; text++)
		putchar(toupper((unsigned char)*text));
}

/* The text behind the options lists the commands; their exit status follows anyway. */
static void man_commands(void)
{
	const char *end = strstr(table->outro, "\nExit status");
	size_t len = end ? (size_t)(end - table->outro) : strlen(table->outro);

	puts(".SH COMMANDS\n.nf");
	for (size_t at = strcspn(table->outro, "\n") + 1; at < len;) {
		char line[200];
		size_t n = strcspn(table->outro + at, "\n");

		snprintf(line, sizeof(line), "%.*s", (int)n, table->outro + at);
		roff(line);
		putchar('\n');
		at += n + 1;
	}
	puts(".fi");
}

static void man(void)
{
	static const char *const codes[][2] = {
		{"0", "it ran and nothing failed"},
		{"1", "the target failed something"},
		{"2", "usage, or an input file that is wrong"},
		{"3", "the tester itself is at fault or out of resources"},
		{"4", "the target died, hung past its deadline, or could not be started or reached"},
		{"5", "nothing ran"},
	};
	const char *group = "";
	const struct vhu_option *o;

	fputs(".TH ", stdout);
	upper(table->program);
	fputs(" 1 \"\" \"", stdout);
	roff(table->program);
	printf(" %s\"\n.SH NAME\n", VHU_VERSION);
	roff(table->program);
	fputs(" \\- ", stdout);
	roff(program->what);
	fputs("\n.SH SYNOPSIS\n.B ", stdout);
	roff(table->program);
	putchar('\n');
	roff(table->usage);
	puts("\n.SH DESCRIPTION");
	roff(table->intro);
	puts("\n.SH OPTIONS");
	for (size_t i = 0; (o = vhu_option_at(table, i)); i++) {
		if (strcmp(o->group, group)) {
			group = o->group;
			fputs(".SS ", stdout);
			roff(group);
			putchar('\n');
		}
		man_option(o);
	}
	if (program->words)
		man_commands();
	if (program->serves)
		return;
	puts(".SH EXIT STATUS");
	for (size_t i = 0; i < VHU_ARRAY_SIZE(codes); i++) {
		printf(".TP\n.B %s\n", codes[i][0]);
		roff(codes[i][1]);
		putchar('\n');
	}
}

/* --- completion --------------------------------------------------------------------------------- */

static void completion(void)
{
	const struct vhu_option *o;

	printf("# bash completion of %s; generated from its option table.\n", table->program);
	fputs("_", stdout);
	for (const char *c = table->program; *c; c++)
		putchar(*c == '-' ? '_' : *c);
	puts("() {\n\tlocal cur=${COMP_WORDS[COMP_CWORD]}");
	fputs("\tlocal options='", stdout);
	for (size_t i = 0; (o = vhu_option_at(table, i)); i++)
		printf("%s--%s", i ? " " : "", o->name);
	puts("'\n\tcase $cur in");
	puts("\t-*) COMPREPLY=($(compgen -W \"$options\" -- \"$cur\")) ;;");
	if (program->words)
		printf("\t*) if [ \"$COMP_CWORD\" = 1 ]; then COMPREPLY=($(compgen -W '%s' -- \"$cur\"))\n"
		       "\t   else COMPREPLY=($(compgen -f -- \"$cur\")); fi ;;\n",
		       program->words);
	else
		puts("\t*) COMPREPLY=($(compgen -f -- \"$cur\")) ;;");
	puts("\tesac\n}");
	fputs("complete -o filenames -F _", stdout);
	for (const char *c = table->program; *c; c++)
		putchar(*c == '-' ? '_' : *c);
	printf(" %s\n", table->program);
}

static bool choose(const char *name)
{
	for (size_t i = 0; i < VHU_ARRAY_SIZE(programs); i++) {
		if (strcmp(programs[i].table->program, name) != 0)
			continue;
		program = &programs[i];
		table = program->table;
		return true;
	}
	return false;
}

int main(int argc, char **argv)
{
	if (argc == 3 && choose(argv[2]) && !strcmp(argv[1], "man")) {
		man();
	} else if (table && !strcmp(argv[1], "completion")) {
		completion();
	} else {
		fputs("usage: gen-options man|completion PROGRAM\n", stderr);
		return 2;
	}
	return ferror(stdout) || fflush(stdout) ? 1 : 0;
}
