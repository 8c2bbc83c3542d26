/*
 * Another process of the target's program, started in a way of our own: what management programs expect
 * of the command line of a vhost-user back-end.
 */
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"

struct vhu_program;
struct vhu_target;

enum vhu_program_way {
	VHU_PROGRAM_CAPABILITIES,	 /* the command with --print-capabilities in place of its socket */
	VHU_PROGRAM_CAPABILITIES_BESIDE, /* with --socket-path=PATH, too */
	VHU_PROGRAM_SOCKET_PATH,	 /* the command with --socket-path=PATH in place of its socket */
	VHU_PROGRAM_FD_CONNECTED,	 /* with --fd=N, one end of a connection */
	VHU_PROGRAM_FD_LISTENING,	 /* with --fd=N, a socket that listens */
	VHU_PROGRAM_BOTH,		 /* with --socket-path=PATH and --fd=N */
	VHU_PROGRAM_QUIET,		 /* the three standard descriptors are /dev/null */
	VHU_PROGRAM_STALE,		 /* a socket that nobody listens on is at PATH */
	VHU_PROGRAM_RELATIVE,		 /* PATH begins with ../ */
	VHU_PROGRAM_LONG,		 /* PATH is as long as a socket's may be */
	VHU_PROGRAM_TOO_LONG,		 /* and one byte longer */
	VHU_PROGRAM_READ_ONLY_FOLDER,	 /* PATH is in a folder without write permission */
	VHU_PROGRAM_NO_FOLDER,		 /* in one that does not exist */
	VHU_PROGRAM_NO_IMAGE,		 /* {image} does not exist */
	VHU_PROGRAM_READ_ONLY,		 /* with --read-only, too */
	VHU_PROGRAM_AGAIN,		 /* as before, with whatever the process before has left at PATH */
	VHU_PROGRAM_WAYS,
};

/*
 * Starts it; `last` (NULL: none) is the one before it, whose files VHU_PROGRAM_AGAIN keeps, and which is
 * freed.
 * -ENOTSUP with the reason if the target's command can't be varied so.
 */
int vhu_program_start(struct vhu_target *t, enum vhu_program_way way, struct vhu_program *last,
		      struct vhu_program **ret, struct vhu_err *err);
/* Ends it, and a process that it has put in its place, and removes its files. NULL is fine. */
void vhu_program_free(struct vhu_program *p);

/*
 * Waits until it serves a connection (GET_FEATURES is answered) or has ended; of --print-capabilities only
 * the end is waited for. -ETIME if neither happens, -EINTR.
 */
int vhu_program_await(struct vhu_program *p, uint64_t deadline_ns, struct vhu_err *err);
/*
 * SIGTERM to the process alone; waits for its end, and for that of the others of its group. -ETIME if it
 * lives on; vhu_program_left tells if others do. -EINTR.
 */
int vhu_program_end(struct vhu_program *p, uint64_t deadline_ns, struct vhu_err *err);

bool vhu_program_serves(const struct vhu_program *p);
bool vhu_program_ended(const struct vhu_program *p);
int vhu_program_status(const struct vhu_program *p);	/* once it has ended: as waitpid gives it */
/* "exited with status 1: its last line", "killed by SIGSEGV", "runs" */
char *vhu_program_describe(const struct vhu_program *p, char *out, size_t cap);
bool vhu_program_crashed(const struct vhu_program *p);	/* by a signal, or as a sanitizer says */
void vhu_program_command(const struct vhu_program *p, struct vhu_buf *out);	/* its words */
unsigned vhu_program_left(const struct vhu_program *p);	/* processes of its group after its end */
bool vhu_program_made_socket(const struct vhu_program *p);	/* something is at PATH */
/* What --print-capabilities wrote to standard output, to be freed; NULL: out of memory. */
char *vhu_program_output(const struct vhu_program *p);
