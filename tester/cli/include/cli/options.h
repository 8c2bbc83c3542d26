/*
 * Command lines from one table: it drives getopt_long, --help, and what is generated from it
 * (man page, completion). A program's options are some arrays of rows over one struct.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "spec/spec.h"

enum vhu_option_kind {
	VHU_OPTION_FLAG,		/* bool */
	VHU_OPTION_COUNT,		/* unsigned: how often it was given */
	VHU_OPTION_TEXT,		/* const char *, into argv */
	VHU_OPTION_NUMBER,		/* uint64_t, min … max */
	VHU_OPTION_SIZE,		/* the same, K, M, G allowed */
	VHU_OPTION_LIST,		/* struct vhu_words: every argument given */
	VHU_OPTION_CALL,		/* set() knows */
};

struct vhu_words {
	const char **items;		/* into argv */
	size_t n;
};
void vhu_words_done(struct vhu_words *w);
int vhu_words_add(struct vhu_words *w, const char *item, struct vhu_err *err);

struct vhu_option {
	const char *name;
	char letter;			/* short form, or 0 */
	const char *arg;		/* NULL: none; "[=X]": may be left out */
	const char *group;		/* heading in --help */
	const char *help;
	enum vhu_option_kind kind;
	size_t offset;			/* of the value in the program's struct */
	uint64_t min, max;
	/* CALL: arg is NULL where none was given; a hint may follow the message after a newline. */
	int (*set)(void *opts, const char *arg, struct vhu_err *err);
	bool rerun;			/* belongs to the command that runs one case alone again */
};

struct vhu_option_part {
	const struct vhu_option *rows;
	size_t n;
};

struct vhu_option_table {
	const char *program;
	const char *usage;		/* "[TARGET] [OPTIONS] CASE…" */
	const char *intro;		/* a paragraph */
	const char *outro;		/* behind the options, as it stands */
	const struct vhu_option_part *const *parts;
	size_t n_parts;
};

/* The i-th row over all parts, or NULL. */
const struct vhu_option *vhu_option_at(const struct vhu_option_table *t, size_t i);
const struct vhu_option *vhu_option_by_name(const struct vhu_option_table *t, const char *name);

struct vhu_given {
	const struct vhu_option *option;
	const char *arg;		/* NULL if none */
};

/* What stood on a command line, in its order. */
struct vhu_parsed {
	struct vhu_given *given;
	size_t n_given;
	struct vhu_words rest;		/* words that are no options */
};
void vhu_parsed_done(struct vhu_parsed *p);
bool vhu_parsed_has(const struct vhu_parsed *p, const char *name);

/*
 * Fills opts and *ret. -EINVAL with "--NAME: WHY" and a hint on a line of its own. argv is
 * permuted as getopt_long does.
 */
int vhu_options_parse(const struct vhu_option_table *t, int argc, char **argv, void *opts,
		      struct vhu_parsed *ret, struct vhu_err *err);
void vhu_options_help(const struct vhu_option_table *t, struct vhu_buf *out);

/* "64M", "4k", "1G", "512", "0x1000": bytes. -EINVAL, -ERANGE. */
int vhu_size_parse(const char *text, uint64_t *ret);
/* The device type of that name, or -EINVAL with a hint; `other`: a further word that the caller knows. */
int vhu_device_option(const char *arg, const char *other, enum vhu_device *ret, struct vhu_err *err);
/* Appends a word so that a shell reads it back as it is. */
void vhu_shell_quote(struct vhu_buf *out, const char *word);
