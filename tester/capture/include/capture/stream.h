/*
 * One direction of one socket: pieces as a tap sees them in, records out, one for each message. Shared by
 * every source of captures. What a stranger sends is never trusted: a size that cannot be is MALFORMED, and
 * the rest comes raw.
 */
#pragma once

#include "trace/record.h"

/* Takes a record, whose parts are borrowed for the call. A negative errno stops whoever called. */
typedef int vhu_record_sink(void *ctx, const struct vhu_record *r, struct vhu_err *err);

/* What all records of a stream have in common. Texts are copied. */
struct vhu_stream_id {
	enum vhu_cap_channel channel; /* MAIN, BACKEND, GPU */
	enum vhu_cap_direction dir;
	enum vhu_cap_tap tap;
	uint32_t connection;
	uint64_t snd_ino, rcv_ino;    /* 0: unknown */
	char comm[17], peer_comm[17]; /* "": unknown */
};

enum { VHU_STREAM_NEXT = -1 }; /* as offset: right behind the piece before */

/* Bytes that were read at once, or a part of them. */
struct vhu_piece {
	uint64_t t_ns; /* CLOCK_REALTIME */
	int64_t off;   /* of the first byte; a jump means that the tap lost what lies between */
	const uint8_t *bytes;
	size_t len;
	size_t missing;		       /* bytes behind them that went by unseen */
	uint64_t read;		       /* number of the read that it belongs to; 0: one of its own */
	const struct vhu_fd_info *fds; /* came with the piece */
	size_t n_fds;
	bool fds_lost;	    /* there were more */
	uint32_t tgid, tid; /* of the sender; 0: unknown */
	const char *text;   /* a remark for the records that end in it, or NULL */
};

struct vhu_stream;

/* A stream that starts with its first byte. -ENOMEM. */
int vhu_stream_new(const struct vhu_stream_id *id, vhu_record_sink *sink, void *ctx, struct vhu_stream **ret,
		   struct vhu_err *err);
void vhu_stream_free(struct vhu_stream *s);
/* What was learned later; holds for records from now on. */
void vhu_stream_rename(struct vhu_stream *s, const struct vhu_stream_id *id);
const struct vhu_stream_id *vhu_stream_id(const struct vhu_stream *s);
/*
 * The tap came late, or lost an unknown part: nothing is believed before a piece that begins with a message's
 * header. The record behind it is marked LOST_BEFORE.
 */
void vhu_stream_resync(struct vhu_stream *s);
/*
 * Takes a piece, and hands out what is complete. Descriptors belong to the first message that starts in the
 * piece they came with, or, if none does, to the one that it continues. -ENOMEM, or what the sink says.
 */
int vhu_stream_feed(struct vhu_stream *s, const struct vhu_piece *piece, struct vhu_err *err);
/*
 * The connection ended, or the tap was detached: what is left of a message comes out as PARTIAL, with `text`
 * as remark (may be NULL). The stream takes nothing further.
 */
int vhu_stream_end(struct vhu_stream *s, uint64_t t_ns, const char *text, struct vhu_err *err);

/* Messages handed out, and bytes that no message holds because something was lost. */
uint64_t vhu_stream_messages(const struct vhu_stream *s);
uint64_t vhu_stream_skipped(const struct vhu_stream *s);

/*
 * Whether these bytes look like the start of a message of this channel: an id that exists, version 1, flags
 * and size that are legal for it. `dir` NONE: of either side.
 */
bool vhu_stream_is_start(enum vhu_cap_channel channel, enum vhu_cap_direction dir, const uint8_t *bytes,
			 size_t len);
