/* What the commands of vhu-trace share. Each tells its own errors and returns an exit code. */
#pragma once

#include "base/buf.h"
#include "cli/conform.h"
#include "cli/trace.h"
#include "trace/trace.h"

struct vhu_trace_opts {
	bool help, version;
	unsigned verbose;
	const char *filter;
	uint32_t session, session_b;	/* 0: not given; B of diff */
	enum vhu_device device;		/* VHU_DEV_ANY: as the capture says */
	bool svg, json, all, strict, update_baseline;
	enum vhu_since spec;
	const char *baseline, *output;
	struct vhu_words ignore;
	struct vhu_parsed parsed;
	const char *command;
	const char *files[2];
	size_t n_files;
};

/* The commands. */
int vhu_command_show(const struct vhu_trace_opts *o);
int vhu_command_ladder(const struct vhu_trace_opts *o);
int vhu_command_stats(const struct vhu_trace_opts *o);
int vhu_command_check(const struct vhu_trace_opts *o);
int vhu_command_diff(const struct vhu_trace_opts *o);
int vhu_command_case(const struct vhu_trace_opts *o);
int vhu_command_anonymize(const struct vhu_trace_opts *o);

/* "vhu-trace: WHAT: WHY" on stderr; returns the exit code that fits: the input, or us. */
int vhu_trace_complain(const struct vhu_err *err);
/* Whether standard output took everything; tells and returns VHU_EXIT_BROKEN if not, else `code`. */
int vhu_trace_finish(int code);
/* Notes about a file, a line each, on stderr. */
void vhu_trace_tell_notes(const char *path, const char *notes);
/* Texts of a capture may hold anything: what a terminal would obey becomes a dot. */
void vhu_trace_tame(struct vhu_buf *line);

/* A capture record by record: whatever its size, memory for one record. */
struct vhu_trace_input {
	const char *path;
	struct vhu_trace_reader *reader;
	struct vhu_arena *arena;
	enum vhu_device device;		/* what the option says */
	struct vhu_device_guess *guess; /* what the capture says */
	uint64_t first_ns;		/* time of the first record with one */
	bool started;
	bool over;			/* the file was read to its end */
	bool ended;			/* the closing record was seen */
	struct vhu_err err;		/* here, since clearing one for each record takes its time */
};
/* VHU_EXIT_OK, or what it told. */
int vhu_trace_open(const struct vhu_trace_opts *o, struct vhu_trace_input *ret);
/* The next record, good until the next call: 1, 0 at the end, negative: told, the exit code negated. */
int vhu_trace_next(struct vhu_trace_input *in, struct vhu_record *ret);
/* The device of this record's session, as far as it is known by now. */
enum vhu_device vhu_trace_device_of(struct vhu_trace_input *in, const struct vhu_record *r);
/* Tells the notes and frees. */
void vhu_trace_close(struct vhu_trace_input *in);

/* Loads a whole capture, and tells its notes. */
int vhu_trace_take(const char *path, struct vhu_trace **ret);
/* The session that was asked for, or the only one; else tells which there are. NULL: told. */
const struct vhu_session_ref *vhu_trace_pick(const struct vhu_trace *t, const char *path, uint32_t session);
