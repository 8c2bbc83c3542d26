/*
 * The life of a ring: set up, started, enabled, processed, stopped.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "fault.h"
#include "inflight.h"
#include "notify.h"
#include "options.h"
#include "session.h"

enum {
	ROUNDS = 4,	 /* looks at a busy ring in one visit; after that the others have their turn */
	FAULT_EVERY = 8, /* how often a fault that is not for every request strikes */
	FAULT_LATENCY_NS = 5000000,
	FAULT_LATER_NS = 3000000,
	FAULT_WINDOW_NS = 100000000, /* between a check and what relies on it */
	FAULT_IDLE_KICKS = 1000,
};

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static uint64_t latency(void)
{
	if (fault(state_stop_no_drain) || fault(vring_base_reply_used) || fault(blk_inflight_leak) ||
	    fault(memslot_rem_in_io_crash) || fault(vring_call_drops) || fault(vring_kick_drops) ||
	    fault(mem_table_drops) || fault(memslot_add_drops) || fault(feat_again_drops) ||
	    fault(enable_off_drops) || fault(vring_addr_drops))
		return options.latency_ns > FAULT_LATENCY_NS ? options.latency_ns : FAULT_LATENCY_NS;
	return options.latency_ns;
}

static bool some_disabled(const struct session *s)
{
	for (unsigned i = 0; i < s->n_rings; i++) {
		if (s->rings[i].started && !s->rings[i].enabled)
			return true;
	}
	return false;
}

static bool ring_live(const struct ring *r)
{
	if (fault(start_needs_call) && r->call_fd < 0)
		return false;
	if (fault(start_all_rings) && r->s->n_started < r->s->n_rings)
		return false;
	if ((fault(mq_last_only) && r->s->last_started != r->index) ||
	    (fault(mq_all_enabled) && some_disabled(r->s)))
		return false;
	if (fault(mq_first_two) && r->index > 1)
		return false;
	if (fault(feat_packed_dead) && format_of(r) == &packed_format)
		return false;
	return (r->started || fault(process_stopped)) && r->enabled && r->desc && !r->broken && !r->deaf &&
	       !session_held(r->s) && !(r->s->dev->keeps && r->s->dev->keeps(r->s, r));
}

bool ring_running(const struct ring *r)
{
	return r->started && r->desc;
}

const struct ring_format *format_of(const struct ring *r)
{
	return r->s->features & V(VIRTIO_F_RING_PACKED) ? &packed_format : &split_format;
}

static void set_polled(struct ring *r, bool polled)
{
	if (r->polled != polled)
		r->s->n_polled += polled ? 1 : (unsigned)-1;
	r->polled = polled;
}

static void set_due(struct ring *r, uint64_t due)
{
	if (!r->due_ns != !due)
		r->s->n_due += due ? 1 : (unsigned)-1;
	r->due_ns = due;
}

void ring_call(struct ring *r)
{
	int fd = fault(vring_call_ring0) ? r->s->rings[0].call_fd : r->call_fd;

	if (fault(call_old_fd) && r->old_call_fd >= 0)
		fd = r->old_call_fd;
	if (fault(call_every_other) && r->calls++ % 2)
		return;
	if (fault(inband_call_besides) && fd >= 0 && channel_signal(r, &r->tell_call))
		return;
	/* a descriptor that comes later must not have missed it */
	r->call_due = fd < 0 && !channel_signal(r, &r->tell_call);
	notify_signal(fd);
	if (fault(vring_call_twice))
		notify_signal(fd);
}

/* The driver broke its rules: what was taken and not done is left to it. */
static void ring_break(struct ring *r)
{
	if (fault(ring_error_abort))
		abort();
	remark("ring %u is broken", r->index);
	r->broken = true;
	format_of(r)->untake(r);
	set_due(r, 0);
	if (r->err_fd < 0)
		channel_signal(r, &r->tell_err);
	notify_signal(r->err_fd);
}

static void scribble(struct session *s, uint64_t gpa)
{
	uint64_t len = 1;
	uint8_t *p = memory_gpa(&s->mem, gpa, &len);

	if (p)
		*p ^= UINT8_MAX;
}

static bool head_sane(const struct ring *r)
{
	return format_of(r)->next(r) < r->num;
}

/* A planted fault: what was good when it was checked may be bad when it is used. */
static void look_twice(const struct ring *r, bool (*sane)(const struct ring *r))
{
	uint64_t end = now_ns() + FAULT_WINDOW_NS;

	while (!sane(r) && now_ns() < end)
		;
	while (now_ns() < end) {
		if (!sane(r))
			fault_crash();
	}
}

/* One request, from its head to its place in the used ring. False if the ring broke, or has to wait. */
static bool execute(struct ring *r, uint16_t head, bool lost)
{
	struct chain c;
	uint64_t in_gpa, total;
	int64_t len;

	if (fault(head_read_twice) && !lost)
		look_twice(r, head_sane);
	if (head >= r->num && !lost) {
		if (fault(bad_head_crash) || (fault(head_last_crash) && head == UINT16_MAX) ||
		    (fault(bad_head_behind_crash) && r->done != r->last_avail - 1))
			fault_crash();
		return false;
	}
	r->s->iotlb.stalled = false;
	if (!(lost ? format_of(r)->lost_chain : format_of(r)->chain)(r, head, &c)) {
		if (lost && fault(inflight_chain_crash))
			fault_crash();
		return false;
	}
	in_gpa = c.n_in ? c.in_gpa[0] : 0;
	total = c.out_len + c.in_len;
	if ((fault(ro_write) || (fault(packed_ro_write) && format_of(r) == &packed_format)) && c.n_out)
		*(uint8_t *)c.out[0].iov_base ^= UINT8_MAX;
	if (fault(ro_data_write) && c.n_out > 1)
		*(uint8_t *)c.out[1].iov_base ^= UINT8_MAX;
	if (fault(data_after_idx)) {
		format_of(r)->push(r, &c, (uint32_t)c.in_len);
		format_of(r)->publish(r);
		fault_pause_ms(2);
		r->s->dev->execute(r->s, r, &c);
		return true;
	}
	len = r->s->dev->execute(r->s, r, &c);
	if (len == NO_COMPLETION)
		return true;
	if (fault(used_lost) && r->completions % FAULT_EVERY == FAULT_EVERY - 1) {
		r->completions++;
		return true;
	}
	if (fault(used_len_total))
		len = (int64_t)total;
	if (fault(vring_used_len_page))
		len = (len + C_LOG_PAGE - 1) / C_LOG_PAGE * C_LOG_PAGE;
	if (fault(mem_scribble))
		r->s->mem.regions[0].map.at[r->s->mem.regions[0].size - 1] = 0;
	format_of(r)->push(r, &c, (uint32_t)len);
	if (fault(write_after_used) && in_gpa)
		session_later(r->s, FAULT_LATER_NS, scribble, in_gpa);
	return true;
}

bool ring_reorders(const struct ring *r)
{
	/* With translations to wait for, only one of two may be possible now. */
	uint64_t in_order = V(VIRTIO_F_IN_ORDER) | V(VIRTIO_F_ACCESS_PLATFORM);

	/* of a packed ring the descriptors of those that wait are written over: there have to be copies */
	return fault(in_order_swap) || (options.reorder && !(r->s->features & in_order) &&
					!r->s->dev->wants && /* it fills its buffers in turn */
					(format_of(r) == &split_format || inflight_tracks(r)));
}

static unsigned to_redo(const struct ring *r)
{
	return r->n_redo - r->next_redo;
}

/* The next request cannot be executed: not yet, or never. */
static void halt(struct ring *r)
{
	if (r->s->iotlb.stalled)
		r->stalled = true;
	else
		ring_break(r);
}

/* Executes what was taken; first what another took before us. */
static void complete(struct ring *r)
{
	uint16_t old = r->published;

	set_due(r, 0);
	r->stalled = false;
	while (to_redo(r) && !r->broken && !r->stalled) {
		if (execute(r, r->redo[r->next_redo], true))
			r->next_redo++;
		else
			halt(r);
	}
	while (!r->broken && !r->stalled && r->done != r->last_avail) {
		if (ring_reorders(r) && format_of(r) == &split_format &&
		    (uint16_t)(r->last_avail - r->done) > 1) {
			if (!execute(r, split_head(r, (uint16_t)(r->done + 1)), false) ||
			    !execute(r, split_head(r, r->done), false))
				halt(r);
			r->done = (uint16_t)(r->done + 2);
			continue;
		}
		if (execute(r, format_of(r)->next(r), false))
			format_of(r)->executed(r);
		else
			halt(r);
	}
	format_of(r)->publish(r);
	if (format_of(r)->wants_call(r, old))
		ring_call(r);
	r->fresh = false;
	log_tell(r->s);
}

/* How many requests the driver has made available. */
static unsigned waiting(const struct ring *r)
{
	unsigned n = format_of(r)->waiting(r);

	return fault(kick_one_each) && n ? 1 : n;
}

static bool index_sane(const struct ring *r)
{
	return waiting(r) <= r->num;
}

/* How many of them are taken now. */
static unsigned wanted(struct ring *r, unsigned n)
{
	const struct device *dev = r->s->dev;

	if (!n || (!dev->keeps && !dev->wants))
		return n;
	if (dev->keeps && dev->keeps(r->s, r))
		return 0;
	return dev->wants ? dev->wants(r->s, r, n) : 1;
}

/* Takes what is available. False if there was nothing. */
static bool take(struct ring *r)
{
	unsigned n = waiting(r);

	if (!n && (to_redo(r) || r->stalled) && !r->due_ns)
		complete(r);
	if (!n)
		return false;
	if (fault(avail_read_twice))
		look_twice(r, index_sane);
	/* what is in flight still has its place in the ring */
	if (n + (uint16_t)(r->last_avail - r->done) + to_redo(r) > r->num) {
		if (fault(avail_jump_crash) || (fault(avail_one_more_crash) && n == r->num + 1) ||
		    (fault(avail_back_crash) && n > INT16_MAX))
			fault_crash();
		ring_break(r);
		return false;
	}
	n = wanted(r, n);
	if (!n)
		return false;
	format_of(r)->kicks_off(r);
	for (; n; n--)
		format_of(r)->take(r);
	if (fault(avail_peek_crash) && split_head(r, r->last_avail) >= r->num)
		fault_crash();
	if (!latency())
		complete(r);
	else if (!r->due_ns)
		set_due(r, now_ns() + latency());
	return true;
}

void ring_run(struct ring *r)
{
	r->again = false;
	if (!ring_live(r))
		return;
	if (options.poll)
		format_of(r)->kicks_off(r);
	if (options.null && ring_null(r) && options.poll) {
		r->s->busy_ns = now_ns();
		return;
	}
	for (unsigned round = 0; round < ROUNDS; round++) {
		bool worked = take(r);

		if (r->broken)
			return;
		if (worked && r->polled)
			r->s->busy_ns = now_ns();
		if (options.poll && !worked)
			return;
		if (options.poll)
			continue;
		if (fault(kick_on_late))
			fault_pause_ms(2);
		if (!format_of(r)->kicks_on(r) || !ring_live(r) || fault(kick_on_late))
			return;
		if (fault(kick_one_each) || fault(avail_off_by_one) || fault(avail_full_empty))
			return;
	}
	r->again = r->s->again = true;
}

void ring_wake(struct ring *r)
{
	r->again = r->s->again = true;
}

void ring_forget(struct ring *r)
{
	set_due(r, 0);
	r->done = r->last_avail;
}

void rings_forget(struct session *s)
{
	for (unsigned i = 0; i < s->n_rings; i++) {
		if (s->rings[i].started)
			ring_forget(&s->rings[i]);
	}
}

void ring_ripe(struct ring *r, uint64_t now)
{
	if (!r->due_ns || now < r->due_ns)
		return;
	if (!r->desc)
		set_due(r, 0); /* its memory is gone; a new table brings it back */
	else
		complete(r);
}

static void kick_ready(struct source *src, uint32_t events)
{
	struct ring *r = owner_of(src, struct ring, kick);
	unsigned long long count = 0;

	if (!notify_take(src->fd, &count)) {
		if (fault(vring_kick_spin))
			fault_hang(); /* it reads until there is something */
		if (!fault(vring_kick_burns))
			loop_remove(src);
	}
	(void)events;
	if (fault(vring_kick_unread) || (fault(vring_kick_wide) && count >> 32))
		return;
	if (fault(vring_blocking_kick) && read(src->fd, &count, sizeof(count)) < 0)
		count = 0; /* it reads until there is nothing more */
	if (fault(inband_kick_fd_ignored) && (r->s->pfeatures & P(INBAND_NOTIFICATIONS)))
		return;
	iotlb_ask_again(r->s);
	if (r->deaf)
		r->deaf--;
	if (fault(status_early_crash) && session_held(r->s))
		fault_crash();
	if (fault(state_kicks_merged) && count > 1)
		return;
	if (r->lazy) {
		r->lazy = false;
		r->enabled = true;
		return;
	}
	if (r->started && !r->desc)
		notify_signal(r->err_fd); /* nothing to look at */
	if (fault(kick_storm_crash) && ring_live(r) && !waiting(r) &&
	    (r->idle_kicks += count) > FAULT_IDLE_KICKS)
		fault_crash();
	if (fault(empty_kick_used) && ring_live(r) && !waiting(r)) {
		struct chain none = {.head = 0};

		format_of(r)->push(r, &none, 0);
		format_of(r)->publish(r);
	}
	ring_run(r);
}

/* Finds the ring's parts; false if it is configured and they do not lie in memory. */
static bool try_map(struct ring *r)
{
	if (!r->num || !r->addr_set || !r->s->mem.n) {
		r->desc = NULL;
		if (fault(unconfigured_crash))
			fault_crash();
		return true;
	}
	/* Its translations are asked for when it starts, and it waits for them. */
	if (iotlb_on(r->s)) {
		r->desc = NULL;
		if (r->started)
			format_of(r)->map(r);
		return true;
	}
	if (!format_of(r)->map(r)) {
		if (fault(vring_addr_unmapped))
			fault_crash();
		return false;
	}
	if (fault(vring_num_odd_crash) && (r->num & (r->num - 1)) && format_of(r) == &split_format)
		fault_crash();
	return true;
}

/* A ring that becomes both started and mapped. */
static void pick_up(struct ring *r)
{
	format_of(r)->start(r);
	r->fresh = true;
	r->n_redo = r->next_redo = 0;
	free(r->redo);
	r->redo = calloc(r->num, sizeof(*r->redo));
	if (r->redo)
		r->n_redo = inflight_recover(r, r->redo);
	if (r->n_redo && !fault(inflight_avail_base))
		format_of(r)->recovered(r);
	if (fault(inflight_no_resubmit))
		r->n_redo = 0;
}

int ring_set_addr(struct ring *r, uint64_t desc, uint64_t avail, uint64_t used, uint64_t log, bool log_used)
{
	struct ring was = *r;

	r->desc_addr = desc;
	r->avail_addr = avail;
	r->used_addr = used;
	r->addr_set = true;
	if (!fault(unconfigured_crash) && !try_map(r)) {
		*r = was;
		return -EFAULT;
	}
	if (r->started && r->desc && !was.desc)
		pick_up(r);
	if (!r->started)
		r->desc = NULL;
	r->log_addr = log;
	r->log_used = log_used || (fault(log_used_off_late) && was.log_used);
	return 0;
}

void ring_remap(struct ring *r)
{
	bool was = r->desc;

	if (!r->started || (fault(mem_ring_stale) && was))
		return;
	if (!try_map(r))
		r->desc = NULL; /* waits for a table that has it */
	else if (r->desc && !was && r->fresh)
		pick_up(r);
}

static void ring_start(struct ring *r)
{
	r->started = true;
	r->s->last_started = r->index;
	r->s->n_started++;
	r->starts++;
	r->broken = false;
	r->fresh = true;
	r->done = r->last_avail;
	if (iotlb_on(r->s))
		try_map(r);
	if (r->desc)
		pick_up(r);
	if (fault(enable_forgotten) && (r->s->features & V(VHOST_USER_F_PROTOCOL_FEATURES)))
		r->enabled = false;
	if (r->kick_fd >= 0 && fault(start_needs_kick))
		r->deaf = 1;
	if (r->kick_fd >= 0 && fault(start_kick_lost))
		r->deaf = 2;
	channel_ring_started(r);
}

int ring_kick(struct ring *r)
{
	if (fault(inband_early_crash) && !r->num)
		fault_crash();
	if (r->started ? fault(inband_kick_ignored) : fault(inband_no_start))
		return 0;
	if (!r->started) {
		if (!try_map(r))
			return -EFAULT;
		set_polled(r, options.poll);
		ring_start(r);
	}
	iotlb_ask_again(r->s);
	ring_run(r);
	return 0;
}

int ring_set_kick(struct ring *r, int fd)
{
	struct source old = r->kick;

	if (fd >= 0 && !notify_usable(fd)) {
		if (fault(vring_kick_file_crash))
			fault_crash();
		r->s->restless |= fault(vring_kick_file_burns);
		return -EINVAL;
	}
	if (fd < 0 && fault(vring_poll_refused))
		return -EINVAL;
	if (fault(state_restart_ignored) && r->starts && !r->started) {
		close_fd(&fd);
		return 0;
	}
	if (r->started && r->kick_fd >= 0 && fault(state_kick_swap_ignored)) {
		close_fd(&fd);
		return 0;
	}
	if (!r->started && !try_map(r))
		return -EFAULT;
	r->kick.fd = -1;
	r->kick.ready = kick_ready;
	if (fd >= 0 && loop_add(&r->kick, fd, EPOLLIN) < 0) {
		r->kick = old;
		if (!r->started)
			r->desc = NULL;
		return -EINVAL;
	}
	loop_remove(&old);
	if (fault(vring_kick_drops) && r->started)
		ring_forget(r);
	if (!fault(state_kick_leak))
		close_fd(&r->kick_fd);
	r->kick_fd = fd;
	set_polled(r, fd < 0 || options.poll);
	if (!r->started)
		ring_start(r);
	ring_run(r);
	return 0;
}

void ring_set_call(struct ring *r, int fd)
{
	if (fault(call_old_fd) && r->old_call_fd < 0) {
		r->old_call_fd = r->call_fd;
		r->call_fd = -1;
	}
	if (fault(vring_call_drops) && r->started)
		ring_forget(r);
	close_fd(&r->call_fd);
	r->call_fd = fd;
	if (r->call_due && fd >= 0)
		ring_call(r);
	r->call_due = false;
	if (fault(start_needs_call))
		ring_run(r);
}

void ring_set_err(struct ring *r, int fd)
{
	close_fd(&r->err_fd);
	r->err_fd = fd;
}

void ring_enable(struct ring *r, bool on)
{
	bool was = r->enabled;

	r->enabled = on;
	if (fault(enable_off_drops) && !on && r->started)
		ring_forget(r);
	if (fault(enable_drop) && !on && r->started && r->desc)
		r->last_avail = r->done = split_avail_index(r);
	if (!on || was)
		return;
	if (fault(enable_skips) && r->started && r->desc)
		r->last_avail = r->done = split_avail_index(r);
	if (fault(enable_lazy) && r->started) {
		r->enabled = false;
		r->lazy = true;
	}
	ring_run(r);
}

static void late_call(struct session *s, uint64_t index)
{
	notify_signal(s->rings[index].call_fd);
}

static void late_mark(struct session *s, uint64_t index)
{
	log_mark(s, s->rings[index].log_addr, 1);
}

static void late_write(struct session *s, uint64_t index)
{
	struct ring *r = &s->rings[index];
	uint16_t *used;

	used = (uint16_t *)(void *)memory_uva(&s->mem, r->used_addr, 2 * sizeof(*used));
	if (used && !r->started)
		used[1]++;
}

static void come_to_rest(struct ring *r)
{
	if (!fault(state_stop_no_drain))
		set_due(r, 0);
	r->stalled = false;
	format_of(r)->stop(r);
	r->n_redo = r->next_redo = 0;
	r->started = r->lazy = r->tell_notifier = r->tell_call = false;
	r->deaf = 0;
	r->s->n_started--;
	set_polled(r, false);
	if (!fault(process_stopped) && !fault(vring_kick_kept)) {
		loop_remove(&r->kick);
		close_fd(&r->kick_fd);
	}
	if (!fault(process_stopped) && !fault(state_stop_no_drain)) {
		r->desc = NULL;
		r->done = r->last_avail;
	}
	if (fault(call_after_stop) || (fault(suspended_call) && !r->s->n_started))
		session_later(r->s, FAULT_LATER_NS, late_call, r->index);
	if (fault(state_stop_logs) && !r->s->n_started)
		session_later(r->s, FAULT_LATER_NS, late_mark, r->index);
	if (fault(enable_ends_with_stop) && (r->s->features & V(VHOST_USER_F_PROTOCOL_FEATURES)))
		r->enabled = false;
	if (fault(suspended_write) && !r->s->n_started)
		session_later(r->s, FAULT_LATER_NS, late_write, r->index);
}

void ring_stop(struct ring *r)
{
	if (!r->started)
		return;
	ring_run(r);
	if (r->due_ns && r->desc && !fault(state_stop_no_drain) && !fault(blk_inflight_leak))
		complete(r);
	if (r->stalled)
		format_of(r)->untake(r);
	if (to_redo(r)) /* never enabled: they are still to be done */
		format_of(r)->unrecover(r, to_redo(r));
	come_to_rest(r);
}

void ring_suspend(struct ring *r)
{
	if (!inflight_tracks(r) || format_of(r) != &split_format) {
		ring_stop(r);
		return;
	}
	if (!r->started)
		return;
	if (ring_live(r) && waiting(r) + to_redo(r) + (uint16_t)(r->last_avail - r->done) <= r->num) {
		for (unsigned n = waiting(r); n; n--, r->last_avail++) {
			if (!fault(vring_suspend_lost))
				inflight_take(r, split_head(r, r->last_avail));
		}
	}
	come_to_rest(r);
}

void ring_reset(struct ring *r)
{
	if (r->started)
		r->s->n_started--;
	set_polled(r, false);
	set_due(r, 0);
	loop_remove(&r->kick);
	close_fd(&r->kick_fd);
	close_fd(&r->call_fd);
	close_fd(&r->err_fd);
	close_fd(&r->old_call_fd);
	free(r->redo);
	free(r->taken);
	free(r->given);
	*r = (struct ring){.s = r->s,
			   .index = r->index,
			   .base = FIRST_BASE,
			   .kick = {.fd = -1},
			   .kick_fd = -1,
			   .call_fd = -1,
			   .err_fd = -1,
			   .old_call_fd = -1};
}

int rings_init(struct session *s, unsigned n)
{
	s->rings = calloc(n, sizeof(*s->rings));
	if (!s->rings)
		return -ENOMEM;
	s->n_rings = n;
	for (unsigned i = 0; i < n; i++) {
		struct ring *r = &s->rings[i];

		r->s = s;
		r->index = i;
		r->base = FIRST_BASE;
		r->kick.fd = r->kick_fd = r->call_fd = r->err_fd = r->old_call_fd = -1;
	}
	return 0;
}

void rings_done(struct session *s)
{
	for (unsigned i = 0; i < s->n_rings; i++)
		ring_reset(&s->rings[i]);
	free(s->rings);
	s->rings = NULL;
	s->n_rings = 0;
}
