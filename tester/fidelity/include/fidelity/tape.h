/* A recorded session as a list of what happened, whatever file it came from. */
#pragma once

#include "base/err.h"
#include "wire/frame.h"

struct vhu_arena;

enum vhu_tape_kind { VHU_TAPE_OPEN, VHU_TAPE_CLOSE, VHU_TAPE_MARK, VHU_TAPE_FRAME };

struct vhu_tape_fd {
	enum vhu_fd_kind kind;
	uint32_t label;			/* the same kernel object has the same one; 0: not known */
	uint64_t size;			/* of a file; 0: not known */
	long count;			/* of an eventfd as it passed; -1: not known */
	bool blocking;			/* an eventfd known to be */
	const char *name;		/* of a memfd, "" if not known */
};

struct vhu_tape_item {
	enum vhu_tape_kind kind;
	unsigned conn;
	size_t line;			/* in the file, from 1 */
	uint64_t time;			/* as the recorder's clock counts */
	bool by_be;			/* CLOSE: the back-end hung up */
	const char *text;		/* MARK: what the test or the guest did; CLOSE: the channel */
	struct vhu_frame frame;		/* FRAME; its payload lives in the arena, and may be cut */
	const struct vhu_tape_fd *fds;
	size_t n_fds;
	const char *odd;		/* what the record contradicts itself in, or NULL */
};

struct vhu_tape {
	struct vhu_arena *arena;
	const char *front, *back, *name;	/* of the meta line; "" where it says nothing */
	struct vhu_tape_item *items;
	size_t n_items, cap_items;
	size_t messages;
	bool tester;			/* the front-end was the tester: its own business is left out */
};

/*
 * Reads the JSON-lines form, or a capture of ours. -errno with file and line in the text; *ret is the
 * caller's (vhu_tape_free).
 */
int vhu_tape_load(const char *path, struct vhu_tape **ret, struct vhu_err *err);
void vhu_tape_free(struct vhu_tape *t);
