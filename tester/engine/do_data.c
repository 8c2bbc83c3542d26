/* Steps on rings and guest memory, one function a verb. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

#define MS UINT64_C(1000000)

static struct vhu_conn *conn_of(struct vhu_run *r, const struct vhu_step *s)
{
	return &r->conns[s->conn];
}

static struct vhu_vring *ring_of(struct vhu_run *r, const struct vhu_step *s)
{
	if (!vhu_run_driver(r))
		return NULL;
	if (s->ring.queue < r->n_rings)
		return vhu_driver_ring(r->driver, s->ring.queue);
	vhu_run_broken(r, "%s: the case has no ring %u", s->where, s->ring.queue);
	return NULL;
}

/* --- start, stop, enable ------------------------------------------------------------------------------ */

static void ring_start(struct vhu_run *r, const struct vhu_step *s, struct vhu_vring *v)
{
	struct vhu_ring_run *ring = &r->rings[s->ring.queue];
	uint64_t base;

	if (s->ring.base.n) {
		if (!vhu_run_value(r, &s->ring.base.terms[0].value, &base))
			return;
		/* Another place than where ring memory stands: the ring is formatted for it. */
		if (!vhu_vring_stands_at(v, (uint32_t)base)) {
			vhu_driver_abandon(r->driver, s->ring.queue);
			vhu_vring_reset(v, (uint32_t)base);
		}
		ring->base = (uint32_t)base;
		ring->base_known = true;
	}
	vhu_run_ring_start(conn_of(r, s), s->ring.queue, NULL, s);
}

static void ring_stop(struct vhu_run *r, const struct vhu_step *s)
{
	struct vhu_conn *c = conn_of(r, s);
	uint32_t base;

	if (!vhu_run_ring_stop(c, s->ring.queue, false, s, &base))
		return;
	vhu_run_match(r, s, &s->ring.base, "the base", base);
	vhu_run_save(r, s->ring.save, s->ring.n_save, &c->answer);
}

static void ring_enable(struct vhu_run *r, const struct vhu_step *s, uint64_t on)
{
	struct vhu_term term = {.u = on};
	struct vhu_assign with[] = {
		{.field = "index", .value = {.terms = &(struct vhu_term){.u = s->ring.queue}, .n = 1}},
		{.field = "num", .value = {.terms = &term, .n = 1}},
	};
	struct vhu_step step = *s;

	step.verb = VHU_VERB_SEND;
	step.send = (struct vhu_step_send){.row = vhu_msg_row(VHU_MSG_SET_VRING_ENABLE),
					   .request = VHU_ID_SET_VRING_ENABLE,
					   .with = with,
					   .n_with = 2,
					   .reply_fds = -1};
	vhu_do_send(r, &step);
}

/* --- check ---------------------------------------------------------------------------------------------- */

struct check_wait {
	struct vhu_run *r;
	const struct vhu_step *s;
	struct vhu_vring *v;
};

static void collect(struct vhu_run *r, unsigned queue, struct vhu_vring *v)
{
	r->rings[queue].calls += vhu_vring_take_calls(v);
	r->rings[queue].errors += vhu_vring_take_errors(v);
}

/* Whether a matcher holds now. Only those that 0 does not satisfy are worth waiting for. */
static bool satisfied(struct vhu_run *r, const struct vhu_matcher *m, uint64_t x)
{
	size_t term;

	return !m->n || vhu_match_u64(m, 0, r->vars, r->vars_set, &term) != 0 ||
	       vhu_match_u64(m, x, r->vars, r->vars_set, &term) != 0;
}

static bool check_done(void *ctx)
{
	struct check_wait *w = ctx;
	const struct vhu_step_ring *ring = &w->s->ring;
	const struct vhu_ring_run *rr = &w->r->rings[ring->queue];

	vhu_driver_poll(w->r->driver);
	collect(w->r, ring->queue, w->v);
	return w->r->exited || conn_of(w->r, w->s)->closed ||
	       (satisfied(w->r, &ring->used, vhu_vring_used_idx(w->v)) &&
		satisfied(w->r, &ring->called, rr->calls) && satisfied(w->r, &ring->error, rr->errors));
}

static bool has_deadline_value(const struct vhu_step_ring *ring)
{
	return ring->used.n || ring->called.n || ring->error.n;
}

/* Nothing may move: a fence, then the settle time, since a ring can prove no silence. */
static void check_idle(struct vhu_run *r, const struct vhu_step *s, struct vhu_vring *v)
{
	struct vhu_conn *c = conn_of(r, s);
	uint16_t before = vhu_vring_used_idx(v);

	if (vhu_conn_live(c) && !c->framing_lost && !vhu_conn_fence(c, s, NULL))
		return;
	vhu_run_settle(r, s->ring.settle_ms ? s->ring.settle_ms * MS : vhu_run_settle_ns(r));
	if (vhu_vring_used_idx(v) != before)
		vhu_run_unmet(r, s, VHU_FINDING_RULE, "no progress on the ring",
			      "the used index went from %u to %u", before, vhu_vring_used_idx(v));
}

/* Kicks that nobody reads prove themselves only by lying there for a while. */
static void check_kicks(struct vhu_run *r, const struct vhu_step *s, struct vhu_vring *v)
{
	struct vhu_conn *c = conn_of(r, s);

	if (vhu_conn_live(c) && !c->framing_lost && !vhu_conn_fence(c, s, NULL))
		return;
	vhu_run_settle(r, s->ring.settle_ms ? s->ring.settle_ms * MS : vhu_run_settle_ns(r));
	vhu_run_match(r, s, &s->ring.kicks, "kicks that were not read", vhu_vring_take_kicks(v));
}

/*
 * The back-end has ended the connection: nothing more is to be seen in the ring. After a ring that was spoilt
 * on purpose that is for the next step to judge.
 */
static bool connection_over(struct vhu_run *r, const struct vhu_step *s)
{
	struct vhu_conn *c = conn_of(r, s);

	if (c->closed && !r->hostile)
		vhu_conn_fence(c, s, NULL);
	return c->closed;
}

static void ring_check(struct vhu_run *r, const struct vhu_step *s, struct vhu_vring *v)
{
	struct check_wait w = {.r = r, .s = s, .v = v};
	struct vhu_ring_run *ring = &r->rings[s->ring.queue];

	if (connection_over(r, s))
		return;
	if (s->ring.idle)
		check_idle(r, s, v);
	if (s->ring.kicks.n)
		check_kicks(r, s, v);
	if (has_deadline_value(&s->ring) && !check_done(&w))
		vhu_run_wait(r, check_done, &w, vhu_run_deadline(r, s), s->ring.used.n > 0);
	if (r->stop || connection_over(r, s))
		return;
	/* The index may be further than at the last look: the next call is asked for behind what was seen. */
	vhu_driver_poll(r->driver);
	collect(r, s->ring.queue, v);
	vhu_run_match(r, s, &s->ring.used, "the used index", vhu_vring_used_idx(v));
	vhu_run_match(r, s, &s->ring.called, "signals on the call descriptor", ring->calls);
	vhu_run_match(r, s, &s->ring.error, "signals on the error descriptor", ring->errors);
	if (s->ring.stale.n)
		vhu_run_match(r, s, &s->ring.stale, "signals on replaced call descriptors",
			      vhu_vring_take_stale(v));
	/* Signals that this step did not ask about are still to be counted by the next that does. */
	if (s->ring.called.n)
		ring->calls = 0;
	if (s->ring.error.n)
		ring->errors = 0;
}

static void ring_poke(struct vhu_run *r, const struct vhu_step *s)
{
	struct vhu_err err = {0};
	uint64_t value;

	if (!vhu_run_value(r, &s->ring.value, &value))
		return;
	r->hostile |= s->breaks.set;
	if (!strncmp(s->ring.at, "inflight.", strlen("inflight.")))
		vhu_run_inflight_poke(r, s, value);
	else if (vhu_driver_poke(r->driver, s->ring.queue, s->ring.at, value, &err) < 0)
		vhu_run_broken(r, "%s: %s", s->where, err.text);
}

static void ring_flip(struct vhu_run *r, const struct vhu_step *s)
{
	struct vhu_err err = {0};
	uint64_t value, other;

	if (!vhu_run_value(r, &s->ring.value, &value) || !vhu_run_value(r, &s->ring.other, &other))
		return;
	r->hostile = true;
	if (vhu_driver_flip(r->driver, s->ring.queue, s->ring.at, value, other, &err) < 0)
		vhu_run_broken(r, "%s: %s", s->where, err.text);
}

static void ring_kick(struct vhu_run *r, const struct vhu_step *s, struct vhu_vring *v)
{
	uint64_t value;

	vhu_vring_arm(v);
	vhu_vring_publish(v);
	if (!s->ring.value.n)
		vhu_run_kick(conn_of(r, s), s->ring.queue, s);
	else if (vhu_run_value(r, &s->ring.value, &value))
		vhu_vring_kick_value(v, value);
}

void vhu_do_ring(struct vhu_run *r, const struct vhu_step *s)
{
	struct vhu_vring *v = ring_of(r, s);

	if (!v)
		return;
	switch (s->ring.op) {
	case VHU_RING_START:
		ring_start(r, s, v);
		break;
	case VHU_RING_STOP:
		ring_stop(r, s);
		break;
	case VHU_RING_ENABLE:
		ring_enable(r, s, 1);
		break;
	case VHU_RING_DISABLE:
		ring_enable(r, s, 0);
		break;
	case VHU_RING_KICK:
		ring_kick(r, s, v);
		break;
	case VHU_RING_POKE:
		ring_poke(r, s);
		break;
	case VHU_RING_CHECK:
		ring_check(r, s, v);
		break;
	case VHU_RING_FLIP:
		ring_flip(r, s);
		break;
	}
}

/* --- memory --------------------------------------------------------------------------------------------- */

/* Sends one message as the case's own step: its expectations, its note. */
static void send_as_step(struct vhu_run *r, const struct vhu_step *s, enum vhu_msg msg,
			 const struct vhu_region_assign *regions, size_t n_regions)
{
	struct vhu_step step = *s;

	step.verb = VHU_VERB_SEND;
	step.send = (struct vhu_step_send){.row = vhu_msg_row(msg),
					   .request = vhu_msg_row(msg)->id,
					   .regions = regions,
					   .n_regions = n_regions,
					   .regions_given = n_regions > 0,
					   .reply_fds = -1};
	vhu_do_send(r, &step);
}

/* A region of the guest's own for `add`: behind all others in each of the three address spaces. */
static bool spare_region(struct vhu_run *r, const struct vhu_region_assign *wish,
			 struct vhu_region_layout *at)
{
	const struct vhu_mem *mem = vhu_driver_mem(r->driver);
	uint64_t gpa = 0, uaddr = 0;

	for (size_t i = 0; i < vhu_mem_regions(mem); i++) {
		const struct vhu_region_layout *have = &vhu_mem_region(mem, i)->at;

		gpa = VHU_MAX(gpa, have->gpa + have->size);
		uaddr = VHU_MAX(uaddr, have->uaddr + have->size);
	}
	/* A hole of a region's size behind each neighbour, so that an overrun hits nothing. */
	*at = (struct vhu_region_layout){.gpa = gpa + VHU_REGION_ALIGN,
					 .uaddr = uaddr + VHU_REGION_ALIGN,
					 .size = VHU_REGION_ALIGN,
					 .backing = wish ? wish->backing : VHU_BACKING_MEMFD};
	if (!wish)
		return true;
	return (!wish->gpa.n || vhu_run_value(r, &wish->gpa, &at->gpa)) &&
	       (!wish->size.n || vhu_run_value(r, &wish->size, &at->size)) &&
	       (!wish->uaddr.n || vhu_run_value(r, &wish->uaddr, &at->uaddr)) &&
	       (!wish->offset.n || vhu_run_value(r, &wish->offset, &at->offset));
}

static void region_message(struct vhu_run *r, const struct vhu_step *s, enum vhu_msg msg,
			   const struct vhu_region_layout *at)
{
	struct vhu_term gpa = {.u = at->gpa}, size = {.u = at->size}, uaddr = {.u = at->uaddr},
			offset = {.u = at->offset};
	struct vhu_region_assign region = {.gpa = {&gpa, 1},
					   .size = {&size, 1},
					   .uaddr = {&uaddr, 1},
					   .offset = {&offset, 1},
					   .backing = at->backing};

	send_as_step(r, s, msg, &region, 1);
}

static void memory_add(struct vhu_run *r, const struct vhu_step *s)
{
	struct vhu_region_layout at;
	struct vhu_err err = {0};
	int index;

	if (!spare_region(r, s->memory.n_regions ? &s->memory.regions[0] : NULL, &at))
		return;
	index = vhu_mem_add(vhu_driver_mem(r->driver), &at, &err);
	if (index < 0) {
		vhu_run_broken(r, "%s: %s", s->where, err.text);
		return;
	}
	r->last_added_region = (size_t)index;
	region_message(r, s, VHU_MSG_ADD_MEM_REG, &at);
}

static void memory_remove(struct vhu_run *r, const struct vhu_step *s)
{
	const struct vhu_mem *mem = vhu_driver_mem(r->driver);
	struct vhu_region_layout at;

	if (s->memory.n_regions) {
		if (spare_region(r, &s->memory.regions[0], &at))
			region_message(r, s, VHU_MSG_REM_MEM_REG, &at);
		return;
	}
	if (r->last_added_region >= vhu_mem_regions(mem)) {
		vhu_run_broken(r, "%s: no region was added that could be removed", s->where);
		return;
	}
	at = vhu_mem_region(mem, r->last_added_region)->at;
	/* The one before it is the next to go: regions are removed in the reverse order. */
	r->last_added_region--;
	region_message(r, s, VHU_MSG_REM_MEM_REG, &at);
}

static uint8_t *memory_at(struct vhu_run *r, const struct vhu_step *s, uint64_t *ret_len)
{
	uint64_t gpa;
	uint8_t *p;

	if (!vhu_run_value(r, &s->memory.gpa, &gpa) || !vhu_run_value(r, &s->memory.len, ret_len))
		return NULL;
	p = vhu_mem_at(vhu_driver_mem(r->driver), gpa, *ret_len);
	if (!p)
		vhu_run_broken(r, "%s: 0x%llx is no guest memory", s->where, (unsigned long long)gpa);
	return p;
}

static void put_value(uint8_t *p, uint64_t len, uint64_t value, bool big)
{
	for (uint64_t i = 0; i < len; i++)
		p[big ? len - 1 - i : i] = (uint8_t)(value >> (8 * i));
}

static void memory_fill(struct vhu_run *r, const struct vhu_step *s)
{
	uint64_t len, gpa, value;
	uint8_t *p = memory_at(r, s, &len);

	if (!p || !vhu_run_value(r, &s->memory.gpa, &gpa))
		return;
	vhu_mem_except(vhu_driver_mem(r->driver), gpa, len);
	if (s->memory.value.n) {
		if (!vhu_run_value(r, &s->memory.value, &value))
			return;
		if (len > sizeof(value) || (len < sizeof(value) && value >> (8 * len)))
			vhu_run_broken(r, "%s: 0x%llx does not fit %llu bytes", s->where,
				       (unsigned long long)value, (unsigned long long)len);
		else
			put_value(p, len, value, s->memory.big);
		return;
	}
	memset(p, (int)s->memory.pattern_arg, len);
}

struct content {
	const struct vhu_step_memory *want;
	const uint8_t *p;
	uint64_t len;
	uint64_t at; /* the first byte that is another; len: none */
};

static uint8_t expected_at(const struct vhu_step_memory *m, uint64_t i)
{
	return m->n_match ? m->match[i % m->n_match] : (uint8_t)m->pattern_arg;
}

static bool content_right(void *ctx)
{
	struct content *c = ctx;

	for (c->at = 0; c->at < c->len; c->at++)
		if (__atomic_load_n(&c->p[c->at], __ATOMIC_ACQUIRE) != expected_at(c->want, c->at))
			return false;
	return true;
}

static void memory_check(struct vhu_run *r, const struct vhu_step *s)
{
	struct content c = {.want = &s->memory};
	char want[200], got[200];

	c.p = memory_at(r, s, &c.len);
	if (!c.p || content_right(&c) ||
	    (s->memory.wait && vhu_run_wait(r, content_right, &c, vhu_run_deadline(r, s), true) != -ETIME))
		return;
	snprintf(want, sizeof(want), "0x%02x at byte %llu", expected_at(&s->memory, c.at),
		 (unsigned long long)c.at);
	vhu_run_unmet(r, s, s->memory.quirk ? VHU_FINDING_QUIRK : VHU_FINDING_ROBUST, want, "%s",
		      vhu_hex_format(c.p + c.at, VHU_MIN(c.len - c.at, UINT64_C(16)), got, sizeof(got)));
}

/* It had to wait for the page before it could go on, so that nothing is to be waited for here. */
static void memory_faulted(struct vhu_run *r, const struct vhu_step *s)
{
	uint64_t gpa, len;

	if (!vhu_run_value(r, &s->memory.gpa, &gpa) || !vhu_run_value(r, &s->memory.len, &len))
		return;
	vhu_mem_except(vhu_driver_mem(r->driver), gpa, len);
	if (vhu_run_postcopy_faulted(r, gpa, len))
		return;
	if (r->postcopy.n_stray) {
		struct vhu_step told = *s;

		told.requirement = VHU_REQ_POSTCOPY_03;
		vhu_run_unmet(r, &told, VHU_FINDING_RULE, "a fault in a region that the back-end told of",
			      "%zu faults at other addresses", r->postcopy.n_stray);
		return;
	}
	vhu_run_unmet(r, s, VHU_FINDING_RULE, "a fault of the back-end there", "%zu faults, all elsewhere",
		      r->postcopy.n_seen);
}

void vhu_do_memory(struct vhu_run *r, const struct vhu_step *s)
{
	struct vhu_conn *c = conn_of(r, s);

	if (!vhu_run_driver(r))
		return;
	switch (s->memory.op) {
	case VHU_MEMORY_MAP:
		if (s->memory.n_regions || s->expect_given ||
		    r->plan->layout.n_regions <= VHU_C_MEM_TABLE_REGIONS)
			send_as_step(r, s, VHU_MSG_SET_MEM_TABLE, s->memory.regions, s->memory.n_regions);
		else
			vhu_run_prelude(c, VHU_STATE_NEGOTIATED, VHU_STATE_MAPPED, NULL, s);
		break;
	case VHU_MEMORY_ADD:
		memory_add(r, s);
		break;
	case VHU_MEMORY_REMOVE:
		memory_remove(r, s);
		break;
	case VHU_MEMORY_FILL:
		memory_fill(r, s);
		break;
	case VHU_MEMORY_CHECK:
		memory_check(r, s);
		break;
	case VHU_MEMORY_FAULTED:
		memory_faulted(r, s);
		break;
	}
}
