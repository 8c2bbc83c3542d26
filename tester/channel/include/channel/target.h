/*
 * The program under test: how to reach it, and whether it still lives.
 */
#pragma once

#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"

struct vhu_loop;
struct vhu_target;

enum vhu_target_how { VHU_TARGET_CONNECT, VHU_TARGET_LISTEN, VHU_TARGET_SPAWN };

struct vhu_target_opts {
	enum vhu_target_how how;
	const char *socket;		/* CONNECT, LISTEN: its path */
	/*
	 * SPAWN: words are split as a shell splits them; {socket}, {image} and {fd} are replaced
	 * inside words. {fd}: we listen and the child inherits the listening descriptor.
	 */
	const char *command;
	const char *const *argv;	/* SPAWN: words that are ready, in place of command */
	const char *after_start;	/* SPAWN: for `sh -c`, once the process is up and before we connect */
	uint64_t image_size;		/* bytes of the fresh sparse {image}, kept over restarts; 0: 64 MiB */
	const char *dir;		/* a fresh directory in it holds socket and image; NULL: in TMPDIR */
	bool one_shot;			/* an exit after each connection is no finding */
	uint64_t timeout_ns;		/* to connect, to be connected to; 0: 10 s */
	uint64_t start_ns;		/* to start, or connect at first; 0: timeout_ns, 60 s at least */
};

/* How a spawned process ended. */
struct vhu_exit {
	bool exited;			/* false: it runs, or was never ours */
	int status;			/* as waitpid gives it */
	/*
	 * The signal that we sent ended it, or it ended by itself after that or as one-shot, and
	 * no sanitizer reported anything.
	 */
	bool expected;
	bool in_order;			/* by exit, and no sanitizer reported anything */
	char what[160];	/* "killed by SIGSEGV", "exited with status 1 (ASan: stack-overflow)" */
	char *stderr_tail;		/* last lines of its output, borrowed until the next start or free */
};

/* Validates and prepares; starts nothing. -EINVAL with text. */
int vhu_target_new(struct vhu_loop *loop, const struct vhu_target_opts *opts, struct vhu_target **ret,
		   struct vhu_err *err);
/* Kills and reaps the process, removes what was made. */
void vhu_target_free(struct vhu_target *t);

/*
 * A fresh connection. Starts or restarts a spawned process as needed. 0 and *ret_fd (the
 * caller's); -ECONNREFUSED, -ENOENT, -ETIME, -ECHILD (it died while starting), -EINTR and so on
 * with text, when the target cannot be reached: that is the target's failure (exit code 4).
 */
int vhu_target_connect(struct vhu_target *t, int *ret_fd, struct vhu_err *err);
/*
 * The last connection was closed: a target that makes its socket anew after each session gets the time for it
 * before the next connect, since connections to the old one are lost.
 */
void vhu_target_left(struct vhu_target *t);
/*
 * Calls cb when the spawned process ends (any reason), from inside the loop or from a function
 * below that finds it dead; not from vhu_target_free. A restart forgets vhu_target_exit().
 */
void vhu_target_on_exit(struct vhu_target *t, void (*cb)(void *ctx), void *ctx);

bool vhu_target_spawned(const struct vhu_target *t);
bool vhu_target_running(const struct vhu_target *t);	/* a spawned one; false for others */
pid_t vhu_target_pid(const struct vhu_target *t);	/* 0 if not ours or not running */
bool vhu_target_one_shot(const struct vhu_target *t);
/* Declares it one-shot: found out from an orderly exit after a session; not one known to serve several. */
void vhu_target_set_one_shot(struct vhu_target *t);
/* It has spoken on the connection that was given out last; told once for each. */
void vhu_target_answered(struct vhu_target *t);
/* The session of a one-shot target is over: waits a few seconds for its end, and stops one that stays. */
int vhu_target_end_one_shot(struct vhu_target *t, struct vhu_err *err);
const struct vhu_exit *vhu_target_exit(const struct vhu_target *t);
/* Forgets the last exit, so that the next start begins clean. */
void vhu_target_clear_exit(struct vhu_target *t);

/* Sends a signal to it and its children; the exit that follows is expected if `expected`. */
int vhu_target_signal(struct vhu_target *t, int signal, bool expected, struct vhu_err *err);
/* Starts it if it does not run, and waits until it listens. */
int vhu_target_start(struct vhu_target *t, struct vhu_err *err);
/* Waits for its end. -ETIME if it lives on. */
int vhu_target_await_exit(struct vhu_target *t, uint64_t deadline_ns, struct vhu_err *err);
/* Ends it (TERM, then KILL) so that the next connect starts a new one. */
void vhu_target_stop(struct vhu_target *t);

/* Open descriptors of the spawned process, or -1 where that cannot be known. */
int vhu_target_fd_count(const struct vhu_target *t);
/* Its shared mappings (guest memory, logs), or -1. */
int vhu_target_map_count(const struct vhu_target *t);
/* KiB of its own memory that are resident, or -1; so too where a sanitizer keeps what was freed. */
long vhu_target_heap_kib(const struct vhu_target *t);
/* For reports: "vhu-backend (pid 4711)", "/var/tmp/vhost.0". */
const char *vhu_target_name(const struct vhu_target *t);
const char *vhu_target_socket(const struct vhu_target *t);	/* its path */
/* The image that the command names ({image} or VHU_IMAGE); NULL if it names none. */
const char *vhu_target_image(const struct vhu_target *t);
/* The size that it was made with, in bytes; 0: there is none. */
uint64_t vhu_target_image_size(const struct vhu_target *t);
/* Makes it that many bytes larger than it was made, behind the process's back. -ENOTSUP: there is none. */
int vhu_target_grow_image(struct vhu_target *t, uint64_t by, struct vhu_err *err);
/* One that has grown gets its size back, and the process that knows the other size is ended. */
int vhu_target_restore_image(struct vhu_target *t, struct vhu_err *err);

/* Splits a command line as a shell splits words (quotes and backslashes, nothing else). */
int vhu_words_split(const char *text, char ***ret_words, size_t *ret_n, struct vhu_err *err);
void vhu_words_free(char **words);
