/*
 * What the eBPF tap tells of sockets, put together to sessions: which connections are vhost-user and wanted,
 * who is the front-end, which sockets are a session's other channels, when it ends. Knows no eBPF: events
 * come as bytes.
 */
#pragma once

#include "capture/source.h"
#include "capture/tap.h"

struct vhu_watch;

struct vhu_watch_env {
	uint64_t clock_offset_ns; /* CLOCK_REALTIME minus CLOCK_MONOTONIC */
	bool numbers;		  /* the tap tells what senders call their descriptors */
	const uint64_t *existing; /* inodes of sockets older than the capture, sorted; borrowed */
	size_t n_existing;
	/* Nothing more is wanted of this connection, by the tap's number. May be NULL. */
	void (*ignore)(void *ctx, uint64_t number);
	/*
	 * What the tap knows of the flow of a sending end and its way back; false if that is another one by
	 * now. For connections of which no event told. May be NULL.
	 */
	bool (*look_up)(void *ctx, uint64_t sock, uint64_t flow, struct vhu_tap_flow ret[2]);
	void *ctx;
};

int vhu_watch_new(const struct vhu_source_opts *o, const struct vhu_watch_env *env, vhu_record_sink *sink,
		  void *ctx, struct vhu_watch **ret, struct vhu_err *err);
void vhu_watch_free(struct vhu_watch *s);
/* One event of capture/tap.h; what is none is passed over. -ENOMEM, or what the sink says. */
int vhu_watch_event(struct vhu_watch *s, const void *event, size_t len, struct vhu_err *err);
/* To be called when all events that there are were handed over; now in CLOCK_MONOTONIC. */
int vhu_watch_settle(struct vhu_watch *s, uint64_t now_ns, struct vhu_err *err);
/* The tap was detached: unfinished messages, and LIFE STOP for what is still open. */
int vhu_watch_stop(struct vhu_watch *s, uint64_t now_ns, struct vhu_err *err);
void vhu_watch_stats(const struct vhu_watch *s, struct vhu_source_stats *ret);
