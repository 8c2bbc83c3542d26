/*
 * From a capture to a plan: what went through rings. A request that was made available is put into a ring of
 * ours where the session has it, with its contents, and has to come back as it did then; a kick is a kick.
 */
#include "trace_plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "trace/ring_record.h"

/* A ring while it is played. */
struct trace_ring {
	bool laid;    /* its area is in the capture: what is made available stands there */
	bool begun;   /* a request was sent since it has its base */
	uint32_t num; /* heads in `out` */
	struct out {
		const struct vhu_record *record; /* that made it available; NULL: none is out */
		unsigned number;
		bool asks; /* the device reads some of it … */
		bool bare; /* … that is not in the capture: ours is another request */
	} * out;	   /* by head */
};

static struct trace_ring *ring_at(struct trace_compile *c, struct track *t, uint64_t queue)
{
	if (!t->rings)
		t->rings = calloc(VHU_SESSION_RINGS, sizeof(*t->rings));
	return t->rings ? &t->rings[queue] : NULL;
}

static void forget(struct trace_ring *ring)
{
	free(ring->out);
	*ring = (struct trace_ring){0};
}

void vhu_trace_rings_done(struct track *t)
{
	for (size_t i = 0; t->rings && i < VHU_SESSION_RINGS; i++)
		forget(&t->rings[i]);
	free(t->rings);
	t->rings = NULL;
}

int vhu_trace_note_ring(struct trace_compile *c, struct track *t, const struct vhu_frame *f)
{
	const struct vhu_msg_row *row = vhu_frame_row(f);
	uint64_t queue = vhu_frame_u64(f, "index");
	struct trace_ring *ring;

	if (!row || row->msg != VHU_MSG_SET_VRING_BASE || queue >= VHU_SESSION_RINGS)
		return 0;
	ring = ring_at(c, t, queue);
	if (!ring)
		return -ENOMEM;
	forget(ring);
	return 0;
}

/* An area with an available ring in it. */
int vhu_trace_note_area(struct trace_compile *c, struct track *t, uint64_t uaddr, uint64_t len)
{
	for (unsigned q = 0; q < VHU_SESSION_RINGS; q++) {
		const struct vhu_ring_state *state = vhu_session_ring(t->session, q);
		struct trace_ring *ring;

		if (!state || !state->addr_set || state->avail - uaddr >= len)
			continue;
		ring = ring_at(c, t, q);
		if (!ring)
			return -ENOMEM;
		ring->laid = true;
	}
	return 0;
}

bool vhu_trace_ring_begun(const struct track *t, uint64_t queue)
{
	return t->rings && queue < VHU_SESSION_RINGS && t->rings[queue].begun;
}

/* --- a request --------------------------------------------------------------------------------------- */

static bool reads_only(const struct trace_compile *c, const struct vhu_ring_record *q)
{
	static const uint32_t types[] = {VHU_C_BLK_T_IN, VHU_C_BLK_T_FLUSH, VHU_C_BLK_T_GET_ID};
	uint32_t type = q->n_data >= VHU_TRACE_BLK_HEAD ? (uint32_t)vhu_le_get(q->data, 4) : VHU_C_BLK_T_IN;

	for (size_t i = 0; i < VHU_ARRAY_SIZE(types); i++)
		if (type == types[i])
			return true;
	return c->opts->device != VHU_DEV_BLK;
}

/* Descriptors in the ring itself: up to an INDIRECT one, whose whole table has to follow. 0: no chain. */
static size_t in_ring(const struct vhu_ring_record *q)
{
	for (size_t i = 0; i < q->n_desc; i++) {
		struct vhu_ring_desc d = vhu_ring_record_desc(q, i);

		if (d.flags & VHU_C_DESC_F_INDIRECT)
			return d.len == (q->n_desc - i - 1) * (uint64_t)VHU_C_DESC_SIZE ? i + 1 : 0;
	}
	return q->n_desc;
}

uint64_t vhu_trace_read_len(const struct vhu_ring_record *q)
{
	uint64_t len = 0;

	for (size_t i = 0; i < q->n_desc; i++) {
		struct vhu_ring_desc d = vhu_ring_record_desc(q, i);

		if (!(d.flags & (VHU_C_DESC_F_WRITE | VHU_C_DESC_F_INDIRECT)))
			len += d.len;
	}
	return len;
}

/* A pipe, say, where kicks go. */
static bool kicked_strangely(const struct track *t, unsigned queue)
{
	return t->signals[VHU_TRACE_KICK] && t->signals[VHU_TRACE_KICK][queue] == VHU_TRACE_STRANGE;
}

/* Whether it can be put into the ring as that is now, with `n` descriptors. */
static bool fits(const struct trace_compile *c, const struct track *t, const struct vhu_record *r,
		 const struct vhu_ring_record *q, const struct vhu_ring_state *state, size_t n)
{
	return state && state->addr_set && state->num && state->num <= VHU_C_VRING_SIZE_MAX &&
	       !(r->flags & VHU_CAP_INTENDED) && n && n <= state->num && q->head < state->num &&
	       !kicked_strangely(t, q->queue) && !(t->rings && t->rings[q->queue].laid) &&
	       (c->opts->writes || reads_only(c, q));
}

/* --- into our memory ----------------------------------------------------------------------------------- */

/* `n` bytes, and zeroes behind them. */
static int fill(struct trace_compile *c, const struct track *t, const struct vhu_record *r, uint64_t uaddr,
		const void *bytes, size_t n, uint64_t len)
{
	struct vhu_step *s;

	if (n && n < len) {
		int rc = fill(c, t, r, uaddr, bytes, n, n);

		return rc == 0 ? fill(c, t, r, uaddr + n, NULL, 0, len - n) : rc;
	}
	s = vhu_trace_step(c, VHU_VERB_FILL, t, r);
	if (!s)
		return -ENOMEM;
	s->fill.uaddr = uaddr;
	s->fill.len = len;
	s->fill.n_bytes = n;
	if (!n)
		return 0;
	s->fill.bytes = vhu_arena_memdup(c->arena, bytes, n);
	return s->fill.bytes ? 0 : vhu_err_errno(c->err, -ENOMEM, "capture");
}

/* The same at an address of the device's, as far as that is anywhere. */
static int fill_device(struct trace_compile *c, const struct track *t, const struct vhu_record *r,
		       uint64_t at, const uint8_t *bytes, size_t n, uint64_t len)
{
	uint64_t uaddr, part;
	int rc = 0;

	while (len && rc == 0 && (part = vhu_trace_user(t, r->seq, at, len, &uaddr))) {
		size_t there = (size_t)VHU_MIN((uint64_t)n, part);

		rc = fill(c, t, r, uaddr, bytes, there, part);
		at += part;
		len -= part;
		n -= there;
		bytes = there ? bytes + there : bytes;
	}
	return rc;
}

/* The entries behind an INDIRECT descriptor, where it says that they are. */
static int fill_table(struct trace_compile *c, const struct track *t, const struct vhu_record *r,
		      const struct vhu_ring_record *q, size_t first)
{
	uint64_t at = vhu_ring_record_desc(q, first - 1).addr;
	const bool packed = vhu_session_packed(t->session);
	size_t n = q->n_desc - first;
	struct vhu_buf table = {0};
	int rc = 0;

	for (size_t i = 0; i < n; i++) {
		struct vhu_ring_desc d = vhu_ring_record_desc(q, first + i);
		uint8_t *p = vhu_buf_more(&table, VHU_C_DESC_SIZE);

		if (!p)
			break;
		vhu_le_put(p, 8, d.addr);
		vhu_le_put(p + 8, 4, d.len);
		vhu_le_put(p + (packed ? 14 : 12), 2, d.flags);
		vhu_le_put(p + (packed ? 12 : 14), 2, packed || d.flags & VHU_C_DESC_F_NEXT ? i + 1 : 0);
	}
	if (table.failed)
		rc = vhu_err_errno(c->err, -ENOMEM, "capture");
	else
		rc = fill_device(c, t, r, at, (const uint8_t *)table.data, table.len, table.len);
	vhu_buf_done(&table);
	return rc;
}

/* The bytes that the device will read: what was there before would be another request. */
static int fill_buffers(struct trace_compile *c, const struct track *t, const struct vhu_record *r,
			const struct vhu_ring_record *q)
{
	size_t at = 0;
	int rc = 0;

	for (size_t i = 0; i < q->n_desc && rc == 0; i++) {
		struct vhu_ring_desc d = vhu_ring_record_desc(q, i);
		size_t n = VHU_MIN((size_t)d.len, q->n_data - at);

		if (d.flags & (VHU_C_DESC_F_WRITE | VHU_C_DESC_F_INDIRECT))
			continue;
		rc = fill_device(c, t, r, d.addr, q->data + at, n, d.len);
		at += n;
	}
	return rc;
}

/* The descriptors for the ring itself; what a table gives to the device to write is told with it. */
static struct vhu_offer_desc *chain_of(const struct trace_compile *c, const struct vhu_ring_record *q,
				       size_t n)
{
	struct vhu_offer_desc *chain = vhu_arena_array(c->arena, n, sizeof(*chain));

	for (size_t i = 0; chain && i < q->n_desc; i++) {
		struct vhu_ring_desc d = vhu_ring_record_desc(q, i);

		if (i < n)
			chain[i] = (struct vhu_offer_desc){
				.addr = d.addr,
				.len = d.len,
				.flags = (d.flags & (VHU_C_DESC_F_WRITE | VHU_C_DESC_F_INDIRECT)) |
					 (i + 1 < n ? VHU_C_DESC_F_NEXT : 0)};
		else if (d.flags & VHU_C_DESC_F_WRITE)
			chain[n - 1].writable += d.len;
	}
	return chain;
}

/* --- steps --------------------------------------------------------------------------------------------- */

/* What is out by this head; NULL: no head. */
static struct out *out_at(struct trace_ring *ring, uint32_t num, uint32_t head)
{
	if (ring->num != num) {
		free(ring->out);
		ring->out = calloc(num, sizeof(*ring->out));
		ring->num = ring->out ? num : 0;
	}
	return head < ring->num ? &ring->out[head] : NULL;
}

static int put_offer(struct trace_compile *c, struct track *t, const struct vhu_record *r,
		     const struct vhu_ring_record *q, const struct vhu_ring_state *state, size_t n)
{
	struct trace_ring *ring = ring_at(c, t, q->queue);
	struct out *out = ring ? out_at(ring, state->num, q->head) : NULL;
	struct vhu_offer_desc *chain = out ? chain_of(c, q, n) : NULL;
	struct vhu_step *s = chain ? vhu_trace_step(c, VHU_VERB_OFFER, t, r) : NULL;
	const uint64_t read = vhu_trace_read_len(q);
	struct vhu_offer_disk disk = {0};

	if (!s)
		return vhu_err_errno(c->err, -ENOMEM, "capture");
	if (c->opts->device == VHU_DEV_BLK && vhu_trace_disk(c, t, r, q, &disk) < 0)
		return -ENOMEM;
	s->offer = (struct vhu_step_offer){.queue = q->queue,
					   .head = q->head,
					   .number = c->n_offers,
					   .fresh = !ring->begun,
					   .desc = chain,
					   .n = n,
					   .kick = vhu_trace_signal(t, q->queue, VHU_TRACE_KICK),
					   .call = vhu_trace_signal(t, q->queue, VHU_TRACE_CALL),
					   .disk = disk};
	ring->begun = true;
	*out = (struct out){.record = r, .number = c->n_offers++, .asks = read > 0, .bare = read > q->n_data};
	c->bare += out->bare;
	t->bare |= out->bare;
	return 0;
}

/* Where the ring and the request lie. */
static int foretell(struct trace_compile *c, struct track *t, const struct vhu_record *r,
		    const struct vhu_ring_record *q, const struct vhu_ring_state *state)
{
	const bool packed = vhu_session_packed(t->session);
	int rc = vhu_trace_iotlb(c, t);

	if (rc == 0)
		rc = vhu_trace_foretell(c, t, r, state->desc, vhu_ring_desc_len(state->num));
	if (rc == 0)
		rc = vhu_trace_foretell(c, t, r, state->avail, vhu_ring_avail_len(state->num, packed));
	if (rc == 0)
		rc = vhu_trace_foretell(c, t, r, state->used, vhu_ring_used_len(state->num, packed));
	for (size_t i = 0; i < q->n_desc && rc == 0; i++) {
		struct vhu_ring_desc d = vhu_ring_record_desc(q, i);

		rc = vhu_trace_foretell(c, t, r, d.addr, d.len);
	}
	return rc;
}

static int offer(struct trace_compile *c, struct track *t, const struct vhu_record *r,
		 const struct vhu_ring_record *q)
{
	const struct vhu_ring_state *state = vhu_session_ring(t->session, q->queue);
	size_t n = in_ring(q);
	int rc;

	if (!fits(c, t, r, q, state, n)) {
		c->no_ring++;
		return 0;
	}
	rc = foretell(c, t, r, q, state);
	if (rc == 0)
		rc = fill_buffers(c, t, r, q);
	if (rc == 0 && n < q->n_desc)
		rc = fill_table(c, t, r, q, n);
	return rc == 0 ? put_offer(c, t, r, q, state, n) : rc;
}

/* What was sent comes back. Once something was wrong there, no length behind it is a measure. */
static int await_used(struct trace_compile *c, struct track *t, const struct vhu_record *r,
		      const struct vhu_ring_record *q)
{
	struct trace_ring *ring = t->rings && q->queue < VHU_SESSION_RINGS ? &t->rings[q->queue] : NULL;
	struct out *out = ring && q->id < ring->num ? &ring->out[q->id] : NULL;
	struct vhu_step *s;

	if (!out || !out->record) {
		c->no_ring++;
		return 0;
	}
	out->record = NULL;
	/* Empty buffers that a device fills come back for what it was sent, or heard elsewhere. */
	if (t->bare && !out->asks)
		return 0;
	t->lengths_wrong |= r->n_findings > 0;
	s = vhu_trace_step(c, VHU_VERB_USED, t, r);
	if (!s)
		return -ENOMEM;
	s->used = (struct vhu_step_used){.queue = q->queue,
					 .number = out->number,
					 .len = q->len,
					 .any_len = t->lengths_wrong || out->bare,
					 .seen = true,
					 .index = q->index,
					 .call = vhu_trace_signal(t, q->queue, VHU_TRACE_CALL)};
	return 0;
}

/* What a dead back-end had done is seen when its connection is gone: its ring stands there. */
static int note_left(struct trace_compile *c, const struct track *t, const struct vhu_record *r,
		     const struct vhu_ring_record *q)
{
	struct vhu_step *s = vhu_trace_step(c, VHU_VERB_USED, t, r);

	if (!s)
		return -ENOMEM;
	s->used = (struct vhu_step_used){.queue = q->queue, .late = true, .seen = true, .index = q->index};
	return 0;
}

static int kick(struct trace_compile *c, const struct track *t, const struct vhu_record *r,
		const struct vhu_ring_record *q)
{
	unsigned object = vhu_trace_signal(t, q->queue, VHU_TRACE_KICK);
	struct vhu_step *s;

	if (!object) {
		c->no_ring++;
		return 0;
	}
	s = vhu_trace_step(c, VHU_VERB_SIGNAL, t, r);
	if (!s)
		return -ENOMEM;
	s->signal.object = object - 1;
	s->signal.value = q->value;
	return 0;
}

int vhu_trace_ring(struct trace_compile *c, struct track *t, const struct vhu_record *r)
{
	struct vhu_ring_record q;
	bool sound = vhu_ring_record_parse(r, &q);

	/* Calls, and where a ring lies, are the back-end's doing, or said by messages. */
	if (sound && (q.kind == VHU_CAP_RING_CALL || q.kind == VHU_CAP_RING_LAYOUT))
		return 0;
	if (sound && !c->opts->io && t->closed && q.kind == VHU_CAP_RING_USED)
		return note_left(c, t, r, &q);
	if (!sound || c->opts->io || !t->opened || t->closed) {
		c->no_ring++;
		return 0;
	}
	switch (q.kind) {
	case VHU_CAP_RING_KICK:
		return kick(c, t, r, &q);
	case VHU_CAP_RING_AVAIL:
		return offer(c, t, r, &q);
	case VHU_CAP_RING_USED:
		return await_used(c, t, r, &q);
	default:
		c->no_ring++;
		return 0;
	}
}

/* --- what never came back ------------------------------------------------------------------------------ */

/* A disk that is enabled returns what it was given, be it only as the session ends. */
int vhu_trace_rings_end(struct trace_compile *c, struct track *t)
{
	if (c->opts->device != VHU_DEV_BLK || c->dead)
		return 0;
	for (unsigned q = 0; t->rings && q < VHU_SESSION_RINGS; q++) {
		const struct vhu_ring_state *state = vhu_session_ring(t->session, q);

		for (uint32_t head = 0; state && state->started && state->enabled && head < t->rings[q].num;
		     head++) {
			const struct out *out = &t->rings[q].out[head];
			struct vhu_step *s;

			if (!out->record)
				continue;
			s = vhu_trace_step(c, VHU_VERB_USED, t, out->record);
			if (!s)
				return -ENOMEM;
			s->used = (struct vhu_step_used){.queue = q, .number = out->number, .any_len = true};
		}
	}
	return 0;
}
