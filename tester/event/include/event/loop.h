/*
 * One epoll loop: the only place of the tester that waits. Callbacks record what happened and
 * return; they never block and never run the loop again.
 */
#pragma once

#include <signal.h>
#include <sys/epoll.h>

#include "base/err.h"

struct vhu_loop;
struct vhu_source;	/* something watched; freed by vhu_source_free or with the loop */

typedef void vhu_source_cb(void *ctx, uint32_t epoll_events);

int vhu_loop_new(struct vhu_loop **ret, struct vhu_err *err);
void vhu_loop_free(struct vhu_loop *loop);

/* Watches fd (borrowed) for EPOLLIN and so on, level-triggered. Safe to free inside callbacks. */
int vhu_loop_add_fd(struct vhu_loop *loop, int fd, uint32_t events, vhu_source_cb *cb, void *ctx,
		    struct vhu_source **ret, struct vhu_err *err);
int vhu_source_modify(struct vhu_source *s, uint32_t events, struct vhu_err *err);
/* NULL is fine. Free it before its descriptor is closed, and before the loop. */
void vhu_source_free(struct vhu_source *s);

/* Calls cb after after_ns, and then each period_ns (0: once) until the source is freed. */
int vhu_loop_add_timer(struct vhu_loop *loop, uint64_t after_ns, uint64_t period_ns, vhu_source_cb *cb,
		       void *ctx, struct vhu_source **ret, struct vhu_err *err);

/*
 * Blocks the signals and turns their arrival into vhu_loop_signalled(); a loop that is
 * running returns -EINTR then, and again at each further run until it is acknowledged.
 */
int vhu_loop_watch_signals(struct vhu_loop *loop, const int *signals, size_t n, struct vhu_err *err);
int vhu_loop_signalled(const struct vhu_loop *loop);	/* the first signal's number, or 0 */
void vhu_loop_acknowledge(struct vhu_loop *loop);

/*
 * The clock of deadlines: CLOCK_MONOTONIC (ns) less the time in which the loop waited and was not run, since
 * the machine stood still or had no time for us. Whoever was waited for had none either.
 */
uint64_t vhu_loop_now(struct vhu_loop *loop);

/*
 * Runs until done(ctx) is true (checked before waiting and after each batch of events): 0.
 * -ETIME when vhu_loop_now() passes deadline_ns first (what is ready by then is still handled;
 * UINT64_MAX: no deadline), -EINTR on a watched signal, another negative errno if the loop
 * itself fails. With `spin` it polls without sleeping (for rings that have no call descriptor),
 * giving up its time slice between rounds.
 */
int vhu_loop_run_until(struct vhu_loop *loop, bool (*done)(void *ctx), void *ctx, uint64_t deadline_ns,
		       bool spin, struct vhu_err *err);
/* Handles what is ready now, without waiting. */
int vhu_loop_poll(struct vhu_loop *loop, struct vhu_err *err);
/*
 * A descriptor that is readable when something is ready, for loops of others: they call vhu_loop_poll then.
 */
int vhu_loop_fd(const struct vhu_loop *loop);
/* Descriptors that the loop itself holds open, for leak accounting. */
int vhu_loop_fds(const struct vhu_loop *loop);
