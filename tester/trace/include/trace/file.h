/* Captures as files: written through libpcap record by record, read with every byte distrusted. */
#pragma once

#include "trace/record.h"

struct vhu_arena;
struct vhu_trace_writer;
struct vhu_trace_reader;

/* What the first record says of a capture. */
struct vhu_trace_meta {
	unsigned level;			/* 0 messages … 3 contents of buffers */
	uint64_t t_ns;			/* when it begins, for what is converted; 0: now */
	const char *tool;
	const char *target;		/* a JSON object, or NULL */
	const char *const *mask;	/* reply fields that may differ on replay */
	size_t n_mask;
};

/*
 * `path` "-" is stdout, flushed after each record. The first record is written at once. -errno with text.
 */
int vhu_trace_writer_new(const char *path, const struct vhu_trace_meta *meta, struct vhu_trace_writer **ret,
			 struct vhu_err *err);
/* Appends one; t_ns 0: now. -errno when the file cannot take it (disk full, closed pipe). */
int vhu_trace_writer_put(struct vhu_trace_writer *w, const struct vhu_record *r, struct vhu_err *err);
/* What was put so far is in the file, whatever becomes of the program. -errno with text. */
int vhu_trace_writer_flush(struct vhu_trace_writer *w, struct vhu_err *err);
/* Counts what a tap lost: written into the closing record. connection 0: of none in particular. */
void vhu_trace_writer_lost(struct vhu_trace_writer *w, uint32_t connection, uint64_t n);
/*
 * What is put from here on about new connections is kept back until it is known whether it belongs into the
 * file: with `keep` it is written then, else it never was. -errno as of _put.
 */
void vhu_trace_writer_lay_aside(struct vhu_trace_writer *w);
int vhu_trace_writer_take_back(struct vhu_trace_writer *w, bool keep, struct vhu_err *err);
uint64_t vhu_trace_writer_records(const struct vhu_trace_writer *w);
/* Writes the closing record and closes; frees in any case. 0 or -errno: the file is not complete. */
int vhu_trace_writer_close(struct vhu_trace_writer *w, struct vhu_err *err);
/* Frees without a closing record: a recorder that was cut off. */
void vhu_trace_writer_free(struct vhu_trace_writer *w);

/*
 * Opens a file ("-": stdin). -EINVAL with text where it is no capture: another link type, no META record
 * first, another version.
 */
int vhu_trace_reader_new(const char *path, struct vhu_trace_reader **ret, struct vhu_err *err);
/* The same for bytes in memory, which stay the caller's while it reads. */
int vhu_trace_reader_new_mem(const void *bytes, size_t len, struct vhu_trace_reader **ret,
			     struct vhu_err *err);
void vhu_trace_reader_free(struct vhu_trace_reader *r);
/* The text of the META record (one JSON object, checked); it is the first that _next gives as well. */
const char *vhu_trace_reader_meta(const struct vhu_trace_reader *r);
/*
 * The next record: 1, 0 at the end, -errno. Its parts live in the arena, its payload too. Packets that are no
 * records are passed over and counted. An end that was cut off is an end: `notes` says so.
 */
int vhu_trace_reader_next(struct vhu_trace_reader *r, struct vhu_arena *arena, struct vhu_record *ret,
			  struct vhu_err *err);
/* Where the record that came last stands: its number among the packets from 0, its offset (-1: unknown). */
void vhu_trace_reader_position(const struct vhu_trace_reader *r, uint64_t *record, long long *offset);
/* From now on payloads stay where libpcap has them, good until the next call of _next. */
void vhu_trace_reader_borrow(struct vhu_trace_reader *r);
/* What was odd about the file so far, a line each: packets passed over and why, a cut end. "" if nothing. */
const char *vhu_trace_reader_notes(struct vhu_trace_reader *r);
