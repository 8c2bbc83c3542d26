/* What target.c (options, life, questions) and target_connect.c (how it is reached) share. */
#pragma once

#include "base/arena.h"
#include "channel/target.h"
#include "channel/unix.h"
#include "child.h"

/* Tells a socket's file from one that was made later at the same path. */
struct socket_id {
	ino_t ino;
	struct timespec made;
};

struct vhu_target {
	struct vhu_loop *loop;
	struct vhu_arena *arena; /* every string below */
	enum vhu_target_how how;
	const char *socket;
	const char *dir; /* ours: removed with what is in it */
	const char *image_path;
	const char *image;   /* the same, if the command names it */
	uint64_t image_size;
	bool image_grown;
	const char *program; /* last part of argv[0] */
	const char *after_start;
	char **words; /* the command as it was given, NULL at its end */
	char **argv, **envp;
	uint64_t timeout_ns, start_ns;
	bool one_shot;
	bool one_shot_asked; /* not only found out */
	bool lives_on;	     /* one process of it has answered on several connections: it is none */
	unsigned answered;   /* connections of this process on which it has spoken */
	bool inherits_socket; /* {fd} */
	bool names_socket;    /* the command says where its socket is */

	struct child child;
	struct child helper; /* after_start */
	int listen_fd;	     /* LISTEN */
	int ready_fd;	     /* connected, not yet given out */
	int connect_error;   /* why the last attempt failed, negative errno */
	uint64_t served;     /* connections given out, of this process where it is ours */
	struct socket_id served_at; /* the socket's file when the last one was given out */
	bool relistens;		    /* it makes its socket anew after each session */
	bool left;		    /* and no session is going on */

	struct vhu_exit exit;
	bool expect_exit;
	int sent_signal;
	void (*on_exit)(void *ctx);
	void *on_exit_ctx;
	char name[160];
};

void vhu_target_set_name(struct vhu_target *t);
/* A word of the command with its placeholders filled in, of t's arena; NULL: out of memory. */
char *vhu_target_expand(struct vhu_target *t, const char *word, const char *image);
