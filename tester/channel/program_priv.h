/* What program.c (the process) and program_words.c (how it is told of its socket) share. */
#pragma once

#include <sys/un.h>

#include "channel/program.h"
#include "target_priv.h"

enum {
	/* Of a socket's path, with its 0 behind it. */
	PATH_MOST = sizeof(((struct sockaddr_un *)0)->sun_path) - 1,
};

struct vhu_program {
	struct vhu_target *t;
	enum vhu_program_way way;
	char *dir;   /* ours */
	char *path;  /* the program's socket, as it is told */
	char *reach; /* the same for us */
	char **argv;
	size_t n_own; /* words of the command before its first option */
	struct child child;
	int out_fd; /* a file that its standard output goes to; -1: none */
	int listen_fd, own_fd, its_fd, conn_fd;
	int connect_error;
	bool asked, serves, ended;
	bool by_path; /* VHU_PROGRAM_BOTH: connected by the path, not by what it inherited */
	int status;
	char what[160];
	unsigned left;
	int other_pidfd; /* a process that serves in its place */
};

/* The folder, the paths and what is to be found at them. */
int vhu_program_place(struct vhu_program *p, struct vhu_err *err);
/* The words of the command in this way. */
int vhu_program_words(struct vhu_program *p, struct vhu_err *err);
/* Whether it is only asked what it can do. */
bool vhu_program_asks(const struct vhu_program *p);
