/* A process of ours: started, its output kept, its end noticed, and never left behind. */
#pragma once

#include <sys/types.h>

#include "base/err.h"
#include "event/loop.h"
#include "tail.h"

enum { CHILD_INHERITED_FD = 3 }; /* where the child finds the descriptor it inherits */

struct child {
	struct vhu_loop *loop;
	pid_t pid; /* and its process group's; 0: none runs */
	int pidfd, out_fd;
	struct vhu_source *pid_source, *out_source;
	struct tail tail;
	int status;		  /* of the last one that ended */
	void (*ended)(void *ctx); /* it was reaped; NULL: nobody asks */
	void *ctx;
};

void vhu_child_init(struct child *c, struct vhu_loop *loop, void (*ended)(void *ctx), void *ctx);
/* Runs argv; `inherit` (-1: none) becomes its CHILD_INHERITED_FD. Returns once exec has succeeded. */
int vhu_child_start(struct child *c, char *const argv[], char *const envp[], int inherit,
		    struct vhu_err *err);
bool vhu_child_running(const struct child *c);
/* Notices an end that the loop has not yet told about. */
void vhu_child_check(struct child *c);
/* To its whole group. */
int vhu_child_signal(struct child *c, int signal);
/* Ends it, asking first, and reaps it. Needs no loop: it works when that is interrupted. */
void vhu_child_stop(struct child *c);
/* "exited with status 1", "killed by SIGSEGV (ASan: …)". */
void vhu_child_describe_end(const struct child *c, char *out, size_t cap);
