/* Captures out of what other programs wrote down: logs of strace. */
#pragma once

#include "capture/stream.h"

struct vhu_import_stats {
	uint64_t lines, calls; /* read; of them, whole system calls */
	uint64_t sessions, messages;
	uint64_t cut; /* bytes that strace left out */
	uint64_t broken; /* lines of calls that matter that are not whole, or cannot be understood */
	char first_broken[120]; /* the first of them: LOG:LINE */
	uint64_t unread; /* calls that moved more messages than their lines tell */
	bool timed;   /* the logs tell times */
};

/*
 * * Reads the logs ("-": stdin), of one machine and one time, and hands out the records of the vhost-
 * user sessions that are in them, in order of time. Sessions are found by what went over the sockets;
 * where both sides were traced, they are told once. A name that ends in a number (strace -ff) is that
 * of the thread. -errno with text when a file cannot be read, -EFBIG, -ENOMEM, or what the sink gives.
 */
int vhu_import_strace(const char *const *paths, size_t n, vhu_record_sink *sink, void *ctx,
		      struct vhu_import_stats *ret, struct vhu_err *err);
