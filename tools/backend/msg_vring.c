/*
 * Rings: size, addresses, index, descriptors, start and stop.
 */
#include <linux/kcmp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fault.h"
#include "notify.h"
#include "options.h"
#include "session.h"

enum {
	LATE_NS = 1000000000,
	WORN_OUT = 500,
};

static struct ring *ring_of(struct session *s, uint64_t index)
{
	unsigned n = s->n_rings;

	if (fault(mq_array_short) && n > 1)
		n--;
	if (fault(mq_index_wraps))
		index %= n;
	if (index >= n) {
		remark("there is no ring %llu", (unsigned long long)index);
		return NULL;
	}
	return &s->rings[index];
}

/* Whether a ring that was never started comes too late: a planted fault. */
static bool late(const struct ring *ring)
{
	for (unsigned i = 0; fault(mq_start_late) && i < ring->s->n_rings; i++) {
		if (!ring->starts && ring->s->rings[i].completions)
			return true;
	}
	return false;
}

/* The ring whose descriptor comes; NULL unless bit 8 and the descriptor agree. */
static struct ring *ring_of_fd(struct session *s, struct msg *m)
{
	uint64_t value = FIELD(m->payload, VRING_FD, u64), index = value & C_VRING_INDEX_MAX;
	bool none = value & C_VRING_NO_FD;

	if (fault(vring_no_fd_index))
		index = value;
	if (value & ~(uint64_t)(C_VRING_INDEX_MAX | C_VRING_NO_FD)) {
		if (fault(vring_fd_bits_crash))
			fault_crash();
		return NULL;
	}
	if (none == (m->n_fds > 0)) {
		if (fault(vring_no_fd_leak) && none)
			m->n_fds = 0;
		remark("%s: bit 8 and the descriptor disagree", proto_row(m->request)->name);
		return NULL;
	}
	if (fault(vring_fd_ring0) && index < s->n_rings)
		index = 0;
	return ring_of(s, index);
}

enum result msg_set_vring_num(struct session *s, struct msg *m, struct reply *r)
{
	struct ring *ring = ring_of(s, FIELD(m->payload, VRING_STATE, index));
	uint64_t num = FIELD(m->payload, VRING_STATE, num);
	bool odd;

	(void)r;
	if (!ring) {
		if (fault(vring_num_index_crash))
			fault_crash();
		if (fault(reply_failed_state))
			s->rings[0].enabled = false;
		return RES_REFUSED;
	}
	odd = format_of(ring) == &split_format && (num & (num - 1));
	if ((fault(vring_num_0_crash) && !num) || (fault(vring_num_huge_crash) && num > C_VRING_SIZE_MAX))
		fault_crash();
	if (fault(packed_num_crash) && num > C_VRING_SIZE_MAX && (s->features & V(VIRTIO_F_RING_PACKED)))
		fault_crash();
	if (fault(vring_num_any) && (!num || num > C_VRING_SIZE_MAX || (num & (num - 1))))
		return RES_OK;
	if (!num || num > C_VRING_SIZE_MAX || (odd && !fault(vring_num_odd_crash)) || ring_running(ring)) {
		remark("ring %u cannot have size %llu", ring->index, (unsigned long long)num);
		return RES_REFUSED;
	}
	if (fault(vring_num_sticky) && ring->num)
		return RES_OK;
	ring->num = (uint32_t)num;
	if (fault(vring_num_min) && num < 64)
		ring->num = 64;
	if (fault(mq_same_size)) {
		for (unsigned i = 0; i < s->n_rings; i++)
			s->rings[i].num = ring->num;
	}
	return RES_OK;
}

static void log_ring_begins(struct session *s, uint64_t index)
{
	s->rings[index].log_used = true;
}

enum result msg_set_vring_addr(struct session *s, struct msg *m, struct reply *r)
{
	struct ring *ring = ring_of(s, FIELD(m->payload, VRING_ADDR, index));
	uint64_t flags = FIELD(m->payload, VRING_ADDR, flags),
		 desc = FIELD(m->payload, VRING_ADDR, descriptor),
		 avail = FIELD(m->payload, VRING_ADDR, available), used = FIELD(m->payload, VRING_ADDR, used);

	(void)r;
	if (!ring) {
		if (fault(vring_addr_index_crash))
			fault_crash();
		return RES_REFUSED;
	}
	if ((fault(vring_addr_early_crash) && !s->mem.n) ||
	    (fault(vring_addr_flags_crash) && (flags & ~(uint64_t)C_VRING_F_LOG)))
		fault_crash();
	if (fault(state_addr_first_crash) && !ring->num)
		fault_crash();
	if (fault(vring_addr_align_crash) && !format_of(ring)->aligned(desc, avail, used))
		fault_crash();
	if ((flags & ~(uint64_t)C_VRING_F_LOG) || !format_of(ring)->aligned(desc, avail, used) ||
	    (fault(vring_addr_page) && ((desc | avail | used) % C_LOG_PAGE))) {
		remark("ring %u: addresses not aligned, or unknown flags", ring->index);
		return RES_REFUSED;
	}
	if (ring_running(ring) &&
	    (desc != ring->desc_addr || avail != ring->avail_addr || used != ring->used_addr)) {
		remark("ring %u cannot move while it runs", ring->index);
		return RES_REFUSED;
	}
	if (fault(vring_addr_drops) && ring_running(ring))
		ring_forget(ring);
	if (fault(vring_addr_restarts) && ring_running(ring))
		ring->last_avail = ring->done = 0;
	if (fault(vring_addr_sticky) && ring->starts)
		return RES_OK;
	if (ring_set_addr(ring, desc, avail, used, FIELD(m->payload, VRING_ADDR, log),
			  flags & C_VRING_F_LOG) < 0) {
		remark("ring %u does not lie in guest memory", ring->index);
		return RES_REFUSED;
	}
	if (fault(reply_log_ring_early) && (flags & C_VRING_F_LOG)) {
		ring->log_used = false;
		session_later(s, LATE_NS, log_ring_begins, ring->index);
	}
	if (fault(state_born_started) && !ring->started && ring->num)
		return ring_set_kick(ring, -1) == 0 ? RES_OK : RES_REFUSED;
	ring_run(ring);
	return RES_OK;
}

enum result msg_set_vring_base(struct session *s, struct msg *m, struct reply *r)
{
	struct ring *ring = ring_of(s, FIELD(m->payload, VRING_BASE, index));
	uint64_t base = FIELD(m->payload, VRING_BASE, num);

	(void)r;
	if ((!ring && fault(vring_base_index_crash)) || (fault(vring_base_wide_crash) && base > UINT16_MAX))
		fault_crash();
	if (!ring || (format_of(ring) == &split_format && base > UINT16_MAX) || ring_running(ring))
		return RES_REFUSED;
	if (fault(vring_base_ignored) || (fault(reset_keeps_index) && s->reset_before))
		return RES_OK;
	if (fault(state_base_skips) && base)
		base++;
	if (fault(vring_base_in_ring) && ring->num && format_of(ring) == &split_format)
		base %= ring->num;
	if (fault(vring_base_drops_addr))
		ring->addr_set = false;
	format_of(ring)->set_base(ring, (uint32_t)base);
	return RES_OK;
}

/* Stops the ring, then tells where it stands. */
static enum result get_base(struct session *s, struct msg *m, struct reply *r, bool suspend)
{
	struct ring *ring = ring_of(s, FIELD(m->payload, VRING_STATE, index));
	uint64_t index, base;
	uint16_t used;
	bool was, unused;

	if (!ring) {
		if (fault(vring_get_base_index_crash))
			fault_crash();
		return RES_REFUSED;
	}
	if (fault(vring_base_unset_crash) && !ring->num)
		fault_crash();
	used = ring->published;
	was = ring->started;
	s->first_over |= was;
	ring->off_at_stop = was && !ring->enabled;
	unused = was && ring->fresh;
	if (suspend)
		ring_suspend(ring);
	else
		ring_stop(ring);
	for (unsigned i = 0; fault(state_stop_all) && i < s->n_rings; i++)
		ring_stop(&s->rings[i]);
	if (fault(vring_stop_other) && ring->index)
		ring_stop(&s->rings[ring->index - 1]);
	index = fault(vring_base_reply_index) ? 0 : ring->index;
	base = format_of(ring)->base(ring);
	if (fault(vring_base_counts_avail) && ring->num && split_format.map(ring)) {
		base = split_avail_index(ring);
		ring->desc = NULL;
	}
	if (fault(vring_base_reply_used))
		base = used;
	if (fault(vring_base_reply_0) || (fault(vring_base_second) && !was) ||
	    (fault(vring_base_unused_0) && unused) || (fault(vring_base_disabled_0) && ring->off_at_stop))
		base = 0;
	if (fault(vring_base_high_bits))
		base |= (uint64_t)ring->used_idx << 16;
	if (options.base_low)
		base &= UINT16_MAX;
	FIELD_SET(r->payload, VRING_BASE, index, index);
	FIELD_SET(r->payload, VRING_BASE, num, base);
	r->size = PMAX_VRING_BASE;
	if (fault(suspended_config) && was)
		channel_tell(s);
	return RES_OK;
}

/* What is in flight may stay so, unless there is a message of its own for that. */
enum result msg_get_vring_base(struct session *s, struct msg *m, struct reply *r)
{
	return get_base(s, m, r,
			(s->pfeatures & P(GET_VRING_BASE_INFLIGHT)) &&
				(!(s->pfeatures & P(GET_VRING_BASE_SKIP_DRAIN)) ||
				 fault(vring_base_never_drains)));
}

enum result msg_get_vring_base_skip_drain(struct session *s, struct msg *m, struct reply *r)
{
	return get_base(s, m, r, true);
}

enum result msg_vring_kick(struct session *s, struct msg *m, struct reply *r)
{
	struct ring *ring = ring_of(s, FIELD(m->payload, VRING_STATE, index));

	(void)r;
	if (!ring && fault(inband_index_crash))
		fault_crash();
	if (!ring || FIELD(m->payload, VRING_STATE, num))
		return RES_REFUSED;
	return ring_kick(ring) < 0 ? RES_REFUSED : RES_OK;
}

/* A message that a fault takes for one without descriptor. */
static bool missing_taken(const struct session *s, const struct msg *m)
{
	uint64_t value = FIELD(m->payload, VRING_FD, u64);

	return fault(vring_fd_missing_ok) && !m->n_fds && value < s->n_rings;
}

static void kick_late(struct session *s, uint64_t arg)
{
	int fd = (int)(uint32_t)arg;

	if (ring_set_kick(&s->rings[arg >> 32], fd) < 0 && fd >= 0)
		close(fd);
}

enum result msg_set_vring_kick(struct session *s, struct msg *m, struct reply *r)
{
	struct ring *ring = ring_of_fd(s, m);
	int fd = msg_take_fd(m);

	(void)r;
	if (missing_taken(s, m))
		return RES_OK;
	if (fault(inflight_unset_crash) && (s->pfeatures & P(INFLIGHT_SHMFD)) && !s->inflight.queues)
		fault_crash();
	if (options.area_first && (s->pfeatures & P(INFLIGHT_SHMFD)) && !s->inflight.queues)
		ring = NULL;
	if (ring && fault(memslot_ring_lost) && ring->lost)
		ring = NULL;
	if (ring && !s->first_over && ring->index >= s->first_rings)
		s->first_rings = ring->index + 1;
	if (ring && fault(start_first_rings) && ring->index >= s->first_rings) {
		close(fd);
		return RES_OK;
	}
	if (ring && fault(mq_order) && ring->index && !s->rings[ring->index - 1].started)
		ring = NULL;
	if (fault(reset_no_restart) && s->reset_before)
		ring = NULL;
	if (fault(owner_none_crash) && !s->owned)
		fault_crash();
	if (ring && ring->starts && !ring->started && fault(reply_kick_early)) {
		session_later(s, LATE_NS, kick_late, (uint64_t)ring->index << 32 | (uint32_t)fd);
		return RES_OK;
	}
	if (ring && !late(ring) && ring_set_kick(ring, fd) == 0)
		return RES_OK;
	if (fd >= 0 && !(fault(vring_bad_index_fd_leak) && !ring))
		close(fd);
	return RES_REFUSED;
}

static bool same_file(int a, int b)
{
	pid_t self = getpid();

	return a >= 0 && b >= 0 && syscall(SYS_kcmp, self, self, KCMP_FILE, a, b) == 0;
}

enum result msg_set_vring_call(struct session *s, struct msg *m, struct reply *r)
{
	struct ring *ring = ring_of_fd(s, m);
	int fd;

	(void)r;
	if (missing_taken(s, m))
		return RES_OK;
	if (!ring || (m->n_fds && !notify_usable(m->fds[0]))) {
		if (fault(vring_call_index_leak) && !ring)
			m->n_fds = 0;
		return RES_REFUSED;
	}
	if (ring->started && fault(state_call_late))
		return RES_OK;
	if (fault(vring_call_same_crash) && m->n_fds && same_file(ring->call_fd, m->fds[0]))
		fault_crash();
	for (unsigned i = 0; fault(mq_call_shared) && i < s->n_rings; i++) {
		if (&s->rings[i] != ring && same_file(s->rings[i].call_fd, m->fds[0]))
			return RES_REFUSED;
	}
	fd = msg_take_fd(m);
	ring_set_call(ring, fd);
	return RES_OK;
}

enum result msg_set_vring_err(struct session *s, struct msg *m, struct reply *r)
{
	struct ring *ring = ring_of_fd(s, m);

	(void)r;
	if (missing_taken(s, m))
		return RES_OK;
	if (!ring || (m->n_fds && !notify_usable(m->fds[0]))) {
		if (fault(vring_err_index_leak) && !ring)
			m->n_fds = 0;
		return RES_REFUSED;
	}
	ring_set_err(ring, msg_take_fd(m));
	return RES_OK;
}

/* Until the first SET_FEATURES bit 30 counts as negotiated where it is offered: front-ends do so. */
static bool enable_allowed(const struct session *s)
{
	uint64_t features = s->features_set ? s->features : session_offer(s);

	return features & V(VHOST_USER_F_PROTOCOL_FEATURES);
}

/* Byte orders are a matter of legacy drivers; a ring that runs keeps its own. */
enum result msg_set_vring_endian(struct session *s, struct msg *m, struct reply *r)
{
	struct ring *ring = ring_of(s, FIELD(m->payload, VRING_STATE, index));
	uint64_t order = FIELD(m->payload, VRING_STATE, num);

	(void)r;
	if (fault(vring_endian_late) && ring && !ring->starts)
		return RES_REFUSED;
	if (!ring || ring->started || (s->features & V(VIRTIO_F_VERSION_1)) ||
	    (order > 1 && !fault(vring_endian_any))) {
		remark("SET_VRING_ENDIAN: no such ring or value, it runs, or its driver is none of old");
		return RES_REFUSED;
	}
	if (!fault(vring_endian_little))
		ring->big_endian = order == !fault(vring_endian_swapped);
	return RES_OK;
}

enum result msg_set_vring_enable(struct session *s, struct msg *m, struct reply *r)
{
	struct ring *ring = ring_of(s, FIELD(m->payload, VRING_STATE, index));
	uint64_t on = FIELD(m->payload, VRING_STATE, num);

	(void)r;
	if (!ring && fault(enable_index_crash))
		fault_crash();
	if ((fault(enable_value_crash) && on > 1) || (fault(enable_bit30_crash) && !enable_allowed(s)))
		fault_crash();
	if (ring && on && fault(enable_wears_out) && ring->enables++ >= WORN_OUT)
		return RES_REFUSED;
	if (!ring || on > 1 || !enable_allowed(s) ||
	    (fault(enable_disable_twice) && !on && ring->enable_named && !ring->enabled)) {
		remark("SET_VRING_ENABLE: no such ring or value, or bit 30 was not negotiated");
		return RES_REFUSED;
	}
	if (fault(enable_before_features) && !s->features_set)
		return RES_END;
	if ((fault(enable_after_stop) && on && ring->off_at_stop) || (fault(enable_disable_noop) && !on) ||
	    (fault(enable_first_only) && ring->index) || (fault(enable_before_setup) && !ring->addr_set))
		return RES_OK;
	if (fault(enable_toggles) && on && ring->enabled)
		on = 0;
	ring_enable(ring, on);
	ring->enable_named = true;
	if (fault(enable_all) && !on) {
		for (unsigned i = 0; i < s->n_rings; i++)
			s->rings[i].enabled = false;
	}
	if (fault(start_on_enable) && on && !ring->started && ring->addr_set && ring->num)
		return ring_set_kick(ring, -1) == 0 ? RES_OK : RES_REFUSED;
	return RES_OK;
}
