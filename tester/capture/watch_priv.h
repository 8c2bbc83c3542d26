/* What the parts of the sessions' bookkeeping share. */
#pragma once

#include "capture/watch.h"
#include "capture/tap.h"

enum {
	BUCKETS = 1024,
	CONNECTIONS_MAX = VHU_TAP_FLOWS_MAX, /* kept at a time: the tap knows half as many */
	PASSED_MAX = 32,		     /* sockets passed over one session that are remembered */
	HELD_MAX = 8 << 20,		     /* bytes of events that wait for descriptors' numbers */
	NUMBERS_MAX = 1024,		     /* sets of numbers that wait for their data */
	FIRST_GUESS = 0x80000000u,	     /* descriptors' numbers that are not the sender's start here */
};
#define HOLD_NS	  UINT64_C(200000000)  /* data waits so long for numbers, */
#define FORGET_NS UINT64_C(1000000000) /* and numbers for data */

enum conn_state { UNDECIDED, TAKEN, REFUSED };

/* One direction. */
struct flow {
	struct vhu_stream *stream; /* of TAKEN connections */
	uint64_t sock, ino;
	uint32_t sender, owner; /* processes */
	uint32_t reader;
	uint64_t next, told_sender, told_reader; /* what goes for NEXT data */
	char comm[17], reader_comm[17];
	struct vhu_fd_info fds[VHU_CAP_FDS_MAX]; /* came, and wait for their data */
	uint64_t objects[VHU_CAP_FDS_MAX];
	size_t n_fds;
	uint32_t owed;	  /* descriptors whose numbers had not come in time: those may still come, */
	uint64_t owed_ns; /* since then */
	uint32_t lost;
	bool closed; /* the sender's end */
	bool ended;  /* all was read */
};

struct conn {
	struct conn *next;
	struct vhu_watch *sessions;
	uint64_t key;	    /* the tap's number */
	uint64_t opened_ns; /* when it was seen first */
	enum conn_state state;
	enum vhu_cap_channel channel;
	uint32_t connection;
	uint64_t main_key; /* of BACKEND and GPU: the session that they belong to */
	unsigned fe;	   /* which flow is the front-end's */
	struct flow flow[2];
	char path[VHU_TAP_PATH + 2];
	uint64_t path_ino, path_dev;
	bool named;   /* the tap says that it was asked for */
	bool existed; /* before the capture */
	bool told_close;
	bool news;	/* something closed since the last settling */
	unsigned dying; /* settlings since both ends were closed */
	struct {
		uint64_t ino;
		enum vhu_cap_channel channel;
	} passed[PASSED_MAX];
	size_t n_passed;
};

/* What a sender called descriptors. */
struct numbers {
	uint64_t flow, t_ns;
	uint32_t n;
	int32_t number[VHU_TAP_FDS_MAX];
};

struct vhu_watch {
	struct vhu_source_opts opts;
	struct vhu_watch_env env;
	vhu_record_sink *sink;
	void *ctx;
	struct conn *buckets[BUCKETS];
	size_t n_conns;
	uint32_t n_connections;
	uint64_t open, messages, lost;
	struct numbers *numbers;
	size_t n_numbers;
	struct vhu_buf held; /* events behind one that waits for numbers */
	uint64_t held_since;
	uint64_t now;
};

struct conn *vhu_conn_find(const struct vhu_watch *s, uint64_t key);
enum vhu_cap_direction vhu_conn_dir(const struct conn *c, unsigned flow);
/* A LIFE record of the connection (NULL: of none), completed from what the caller filled in. */
int vhu_conn_life(struct vhu_watch *s, const struct conn *c, enum vhu_cap_life kind,
		  enum vhu_cap_direction dir, struct vhu_record *r, uint64_t t_ns, struct vhu_err *err);
void vhu_conn_id(const struct conn *c, unsigned flow, struct vhu_stream_id *ret);
/* What streams hand out; ctx is the connection. */
vhu_record_sink vhu_conn_put;

/*
 * The tap's count of what it could not keep of a flow has grown: the session is not wholly seen from here on.
 */
int vhu_conn_count_lost(struct vhu_watch *s, struct conn *c, unsigned flow, uint32_t lost, uint64_t t_ns,
			struct vhu_err *err);
int vhu_watch_open(struct vhu_watch *s, const struct vhu_tap_open *e, struct vhu_err *err);
void vhu_watch_numbers(struct vhu_watch *s, const struct vhu_tap_numbers *e);
/* The numbers of the data's descriptors, if they have come; NULL: not (yet). */
const struct numbers *vhu_watch_numbers_of(const struct vhu_watch *s, uint64_t flow, uint32_t n_fds);
int vhu_watch_data(struct vhu_watch *s, const struct vhu_tap_data *d, struct vhu_err *err);
int vhu_watch_next(struct vhu_watch *s, const struct vhu_tap_next *n, struct vhu_err *err);

/* The front-end has given away a socket, which becomes a channel of the session. */
int vhu_conn_pass(struct conn *c, enum vhu_cap_channel channel, uint64_t ino, struct vhu_err *err);
/* A connection that is new: a session may have been told of one of its ends before. */
int vhu_conn_find_main(struct vhu_watch *s, struct conn *c, struct vhu_err *err);
/* The first bytes of a connection say what it is. Without an error it may still be UNDECIDED. */
int vhu_conn_decide(struct vhu_watch *s, struct conn *c, unsigned flow, const uint8_t *bytes, size_t len,
		    struct vhu_err *err);
