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
	bool lingers;		  /* its end is not reaped as it is seen: its group is looked at first */
	bool over;		  /* and that end was seen */
	void (*ended)(void *ctx); /* it was reaped; NULL: nobody asks */
	void *ctx;
};

/* What a process gets beside its words. */
struct child_io {
	int inherit;	 /* becomes its CHILD_INHERITED_FD; -1: none */
	int out;	 /* becomes its standard output; -1: kept with its errors */
	bool quiet;	 /* what it says goes to /dev/null */
	const char *cwd; /* NULL: ours */
};

void vhu_child_init(struct child *c, struct vhu_loop *loop, void (*ended)(void *ctx), void *ctx);
/* Runs argv. Returns once exec has succeeded. */
int vhu_child_start(struct child *c, char *const argv[], char *const envp[], const struct child_io *io,
		    struct vhu_err *err);
bool vhu_child_running(const struct child *c);
/* Notices an end that the loop has not yet told about. */
void vhu_child_check(struct child *c);
/* To its whole group. */
int vhu_child_signal(struct child *c, int signal);
/* The processes of its group beside it that run. */
unsigned vhu_child_others(const struct child *c);
/* Ends it, asking first, and reaps it. Needs no loop: it works when that is interrupted. */
void vhu_child_stop(struct child *c);
/* "exited with status 1", "killed by SIGSEGV (ASan: …)". */
void vhu_child_describe_end(const struct child *c, char *out, size_t cap);
