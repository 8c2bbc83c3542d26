/*
 * Text made of vhu-conform's option table, so that it can't be stale.
 *
 *   gen-options man          a man page (roff)
 *   gen-options completion   bash completion
 */
#include <ctype.h>
#include <string.h>

#include "cli/conform.h"
#include "cli/options.h"

static const struct vhu_option_table *const table = &vhu_conform_options;

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

	printf(".TH VHU\\-CONFORM 1 \"\" \"vhu\\-conform %s\"\n", VHU_VERSION);
	puts(".SH NAME\nvhu\\-conform \\- test a vhost\\-user back\\-end without a virtual machine");
	puts(".SH SYNOPSIS\n.B vhu\\-conform");
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

	puts("# bash completion of vhu-conform; generated from its option table.");
	puts("_vhu_conform() {\n\tlocal cur=${COMP_WORDS[COMP_CWORD]}");
	fputs("\tlocal options='", stdout);
	for (size_t i = 0; (o = vhu_option_at(table, i)); i++)
		printf("%s--%s", i ? " " : "", o->name);
	puts("'\n\tcase $cur in");
	puts("\t-*) COMPREPLY=($(compgen -W \"$options\" -- \"$cur\")) ;;");
	puts("\t*) COMPREPLY=($(compgen -f -- \"$cur\")) ;;\n\tesac\n}");
	puts("complete -o filenames -F _vhu_conform vhu-conform");
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "man")) {
		man();
	} else if (argc == 2 && !strcmp(argv[1], "completion")) {
		completion();
	} else {
		fputs("usage: gen-options man|completion\n", stderr);
		return 2;
	}
	return ferror(stdout) || fflush(stdout) ? 1 : 0;
}
