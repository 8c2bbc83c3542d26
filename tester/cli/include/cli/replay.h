/* vhu-replay: its options and its main function. */
#pragma once

#include "cli/target_options.h"

struct vhu_replay_cli {
	struct vhu_target_cli target;	/* first: the common rows count from here */
	bool io, paced, keep_going;
	uint64_t session, until;	/* 0: all */
	const char *socket;		/* NULL: the first session's */
	struct vhu_words ignore;
	const char *json;
	uint64_t seed;
	bool strict, help, version;
	const char *program;		/* argv[0] */
	struct vhu_parsed parsed;	/* parsed.rest: the capture */
};

extern const struct vhu_option_table vhu_replay_options;

/* Parses and checks; -EINVAL with text. */
int vhu_replay_cli_parse(int argc, char **argv, struct vhu_replay_cli *ret, struct vhu_err *err);
void vhu_replay_cli_done(struct vhu_replay_cli *o);

int vhu_replay_main(int argc, char **argv);
