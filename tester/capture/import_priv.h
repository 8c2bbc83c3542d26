/* What the parts of the import share: endpoints as the logs show them. */
#pragma once

#include "base/arena.h"
#include "capture/import.h"
#include "strace_text.h"
#include "walk.h"

enum {
	IMPORT_ENDPOINTS_MAX = 1 << 20,
	IMPORT_EARLY_MAX = 4096, /* bytes of what may turn out to be a session */
};
#define IMPORT_BYTES_MAX (UINT64_C(1) << 30) /* of messages, kept until all is read */

enum io_dir { IO_OUT, IO_IN, IO_MAX };

struct endpoint;

/* One call that moved bytes. */
struct io {
	uint64_t t_ns, order;
	uint32_t tid;
	const uint8_t *bytes;
	size_t kept, len;
	struct vhu_fd_info *fds;
	struct endpoint **at; /* what those descriptors are, as far as known; n_fds */
	size_t n_fds;
	bool fds_lost;
	struct io *next;
};

enum end_kind { END_NONE, END_OURS, END_PEERS };

enum endpoint_how { HOW_UNKNOWN, HOW_SOCKET, HOW_CONNECT, HOW_ACCEPT, HOW_PAIR, HOW_RECEIVED };

/* A socket as one process has it. */
struct endpoint {
	struct endpoint *next, *prev; /* all of them, in order */
	struct endpoint *pair;	      /* the other end of a socketpair */
	const struct process *user;   /* who used it last; before, who made it */
	enum endpoint_how how;
	uint32_t tgid;
	int fd;
	uint64_t inode, peer_inode; /* 0: unknown */
	char *path;
	uint64_t opened_ns, opened_order, first_ns;
	struct io *first[IO_MAX], *last[IO_MAX];
	size_t kept[IO_MAX], len[IO_MAX];
	struct walk walk[IO_MAX];
	unsigned score[2][2]; /* pieces that look like MAIN, BACKEND; sent by a FE, by a BE */
	enum end_kind ended;
	int error;
	uint64_t ended_ns, ended_order;
	bool exited; /* with its process */
	int status;
	bool used; /* it is part of a session */
};

/* A table from numbers to endpoints or numbers. Zeroed: empty. */
struct table {
	struct table_entry {
		uint64_t key;
		void *value;
		bool used;
	} * entries;
	size_t n, cap;
};
/* NULL if there is none. */
void *vhu_table_get(const struct table *t, uint64_t key);
int vhu_table_put(struct table *t, uint64_t key, void *value);
void vhu_table_done(struct table *t);

/* What numbers stand for, in whichever process. Without an endpoint only its kind is known. */
struct opened {
	unsigned refs; /* numbers that do; 0: it is closed */
	struct endpoint *endpoint;
	enum vhu_fd_kind kind;
	bool sized;
	uint64_t size;
	uint32_t pid; /* of a pidfd */
};

struct process {
	uint32_t tgid;	      /* the first thread that was seen */
	struct table fds;     /* number → struct opened */
	bool certain;	      /* it is known whose descriptors it shares */
	struct process *same; /* it turned out to be a thread of this one */
	struct process *next; /* all of them */
};

struct import {
	struct vhu_arena *arena;
	struct table processes; /* thread → struct process */
	struct table inodes;	/* → endpoint */
	struct opened closed;	/* what numbers stand for that are in no use */
	struct process *first_process;
	struct endpoint *first, *last;
	size_t n_endpoints;
	uint64_t order;	   /* of the call that is taken into account */
	uint64_t begun_ns; /* and when it began */
	uint64_t bytes;
	struct vhu_import_stats stats;
	vhu_record_sink *sink;
	void *ctx;
};

/* import_world.c: what is known of processes, their descriptors and their sockets. */
/* What a thread belongs to, made if need be. NULL: no memory. */
struct process *vhu_import_process(struct import *m, uint32_t tid);
/* NULL if nothing is known of it. */
struct opened *vhu_import_lookup(const struct process *p, int fd);
/* From now on the number is this; NULL: closed. What it was before is closed by that. -ENOMEM. */
int vhu_import_put(struct import *m, struct process *p, int fd, struct opened *what);
/* All of these numbers are closed. */
void vhu_import_close_range(struct import *m, struct process *p, uint64_t first, uint64_t last);
/* Something new at this number. NULL: no memory. */
struct opened *vhu_import_open(struct import *m, struct process *p, int fd, enum vhu_fd_kind kind);
/* A thread that shares its maker's descriptors, or a process that has copies. -ENOMEM. */
int vhu_import_fork(struct import *m, struct process *maker, uint32_t tid, bool shares);
/* The process is gone, and with it its descriptors. */
void vhu_import_exit(struct import *m, struct process *p, int status);
void vhu_import_processes_done(struct import *m);
/* "UNIX-STREAM:[12->34,…]", "socket:[12]" */
void vhu_import_inodes(const char *note, uint64_t *ret, uint64_t *ret_peer);
/* What strace writes behind a number: what sort of file that is. */
enum vhu_fd_kind vhu_import_kind(const char *note);
/* A new socket of the process. NULL: too many, or no memory. */
struct endpoint *vhu_import_endpoint(struct import *m, struct process *p, int fd, enum endpoint_how how,
				     const struct strace_line *line);
/* The first end counts. */
void vhu_import_end(const struct import *m, struct endpoint *e, enum end_kind kind, int error, uint64_t t_ns);
/* Whether bytes look like the start of a message of any sort; counts for which. */
bool vhu_import_judge(struct endpoint *e, enum io_dir dir, const uint8_t *bytes, size_t len);
/*
 * The endpoint that a call means, or NULL. A thread that nothing is known of may be one of a process
 * that has a socket of that number, when what it moves fits there.
 */
struct endpoint *vhu_import_find(struct import *m, struct process *p, int fd, const char *note,
				 enum io_dir dir, const uint8_t *bytes, size_t len);

/* A number of a descriptor; false if it is none. */
bool vhu_import_fd(const struct strace_value *v, int *ret);

/* What takes a call into account. -ENOMEM, -EFBIG. */
typedef int import_take(struct import *m, const struct strace_line *line, struct vhu_err *err);
struct import_call {
	const char *name;
	import_take *take;
};
/* import_fds.c: calls that make descriptors, copy or close them, and what becomes of processes; up to a NULL.
 */
extern const struct import_call vhu_import_fd_calls[];
/* Whether a call of this name is one that matters. */
bool vhu_import_knows(const char *name);

/* Takes one line's call into account. -ENOMEM, -EFBIG. */
int vhu_import_call(struct import *m, const struct strace_line *line, struct vhu_err *err);
/* All is read: finds the sessions and hands out their records. */
int vhu_import_emit(struct import *m, struct vhu_err *err);
