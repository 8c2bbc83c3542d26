/* What proxy.c (connections) and proxy_record.c (what is written of them) share. */
#pragma once

#include <sys/stat.h>

#include "capture/source.h"
#include "relay.h"
#include "walk.h"

struct vhu_source;

/* One connection of a session: end 0 is that of who connected to us, end 1 the target's. */
struct proxy_link {
	struct proxy_session *session;
	struct proxy_link *prev, *next;
	enum vhu_cap_channel channel;
	struct relay *relay;
	struct vhu_stream *stream[2]; /* by the end that it comes from; made when it is known whose that is */
	struct walk walk;	      /* MAIN: what the front-end sends */
	struct proxy_memory *memory;  /* MAIN, where memory is recorded */
	bool ended, half;
	unsigned first_end; /* that ended first */
	int errno_value;
};

struct proxy_peer {
	uint32_t tgid;
	char comm[17];
};

struct proxy_session {
	struct proxy *proxy;
	struct proxy_session *prev, *next;
	uint32_t connection;
	struct proxy_link *links, *main; /* main: NULL before and after */
	int waiting_fd;			 /* accepted, and not yet connected to the target */
	struct vhu_source *retry;
	struct proxy_peer peer[2];
	uint64_t connected_ns;
	bool begun; /* it is known which end the front-end is at */
	unsigned front_end;
	bool busy; /* somebody walks over its links */
};

struct proxy {
	struct vhu_loop *loop;
	vhu_record_sink *sink;
	void *sink_ctx;
	const char *listen, *target;
	bool memory; /* what stands in rings is recorded */
	int listen_fd;
	dev_t dev; /* the socket that we made */
	ino_t inode;
	struct vhu_source *listening, *pause;
	struct vhu_source *watch; /* while nobody is at the target: looks for somebody */
	bool visible;		  /* the target was seen to listen, so that it can be seen to be gone */
	struct stat gone;	  /* what was at the target's path when nobody was there */
	unsigned looks;
	struct proxy_session *sessions;
	struct vhu_source_stats stats;
	struct vhu_err err; /* the first, with `failed` */
	int failed;
	struct vhu_err record_err; /* the same of the recording; sessions go on without it */
	int unrecorded;
	bool stopped; /* what ends now ends by our doing */
};

uint64_t vhu_proxy_realtime(void);
/* Who is at the other ends of these two sockets. */
void vhu_proxy_record_peers(struct proxy_session *s, const int fds[2]);
void vhu_proxy_record_piece(struct proxy_link *l, unsigned from, const struct relay_piece *piece);
/* The link's sockets are closed. */
void vhu_proxy_record_over(struct proxy_link *l);
/* The target could not be reached. */
void vhu_proxy_record_refused(struct proxy_session *s, int errno_value);
/* The recording ends before the session. */
void vhu_proxy_record_stop(struct proxy_session *s);

/* proxy_memory.c; NULL: out of memory. */
struct proxy_memory *vhu_proxy_memory_new(void);
void vhu_proxy_memory_free(struct proxy_memory *m);
/* Descriptors of the front-end, before the records of their messages come. */
void vhu_proxy_memory_came(struct proxy_memory *m, const int *fds, size_t n);
/* A vhu_record_sink for what the front-end of a link says; ctx is the link. */
int vhu_proxy_memory_record(void *ctx, const struct vhu_record *r, struct vhu_err *err);
