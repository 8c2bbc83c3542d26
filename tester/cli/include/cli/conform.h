/* vhu-conform: its options and its main function. */
#pragma once

#include "cli/target_options.h"
#include "engine/result.h"

/* Exit codes, the same for all programs. */
enum vhu_exit_code {
	VHU_EXIT_OK = 0,
	VHU_EXIT_FAILED = 1,		/* the target failed something */
	VHU_EXIT_USAGE = 2,		/* or an input file that is wrong */
	VHU_EXIT_BROKEN = 3,		/* the tester itself, or a report that cannot be written */
	VHU_EXIT_TARGET = 4,		/* died, hung, could not be started or reached */
	VHU_EXIT_EMPTY = 5,		/* nothing ran */
	VHU_EXIT_SIGNAL = 128,		/* plus its number */
};

struct vhu_conform_opts {
	struct vhu_target_cli target;	/* first: the common rows count from here */
	bool list, check, schema, coverage, compare, merge, help, version;
	const char *explain;
	const char *mutants, *areas;	/* of --coverage; areas as "A,B", NULL: all */
	uint64_t fail_under;		/* percent */
	struct vhu_words filters, requirements, tags;
	enum { VHU_RINGS_SPLIT, VHU_RINGS_PACKED, VHU_RINGS_BOTH } rings;
	unsigned shard, shards;		/* 1 … shards; 0: all */
	const char *profile;		/* NULL: plain */
	bool strict;
	enum vhu_since spec;
	uint64_t jobs, repeat, seed;
	bool shuffle, fail_fast;
	enum vhu_req until[16];		/* n_until requirements whose findings end the run; 0: none */
	size_t n_until;
	const char *baseline;
	bool update_baseline, allow_empty;
	bool tap;
	const char *junit, *json, *html, *sarif, *markdown, *record, *bundle;
	uint64_t record_level;
	unsigned verbose;
	bool quiet;
	const char *program;		/* argv[0] */
	struct vhu_parsed parsed;	/* parsed.rest: the cases */
};

extern const struct vhu_option_table vhu_conform_options;

enum { VHU_REPORTS_MAX = 6 };

struct vhu_report_wish {
	const char *format, *path;	/* "-": standard output */
};
/* The reports that were asked for by name; the one for people is none of them. */
size_t vhu_conform_reports(const struct vhu_conform_opts *o, struct vhu_report_wish ret[VHU_REPORTS_MAX]);

/* Parses and checks; -EINVAL with text. */
int vhu_conform_opts_parse(int argc, char **argv, struct vhu_conform_opts *ret, struct vhu_err *err);
void vhu_conform_opts_done(struct vhu_conform_opts *o);

/* The command that runs the case `word` (an id or a file) alone again, as these options ran it. */
void vhu_conform_rerun(const struct vhu_conform_opts *o, const char *word, const char *filter,
		       struct vhu_buf *out);

/* "vhu-conform: WHAT: WHY" on stderr. */
void vhu_complain(const char *program, const struct vhu_err *err);
/* "BEFOREnote: LINE" for each line of `notes`. */
void vhu_tell_notes(FILE *out, const char *before, const char *notes);

int vhu_conform_main(int argc, char **argv);
