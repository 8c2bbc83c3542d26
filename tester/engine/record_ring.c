/* What goes through rings and pipes, told to a capture. Of a ring that does not run nothing is told. */
#include <errno.h>
#include <string.h>

#include "record.h"
#include "trace/ring_record.h"

static bool recording(const struct vhu_run *r, unsigned level)
{
	return vhu_recording_on(r) && r->e->recording->level >= level;
}

static struct recorded_ring *ring_at(const struct vhu_run *r, unsigned queue)
{
	return queue < VHU_SESSION_RINGS ? &r->e->recording->rings[queue] : NULL;
}

static void put(struct vhu_run *r, const struct vhu_ring_record *ring, uint32_t connection, uint16_t flags)
{
	struct vhu_buf bytes = {0};
	struct vhu_record record = {.channel = VHU_CAP_RING,
				    .dir = vhu_ring_record_dir(ring->kind),
				    .kind = (uint16_t)ring->kind,
				    .connection = connection,
				    .flags = flags};

	vhu_ring_record_put(ring, &bytes);
	if (bytes.failed) {
		vhu_run_broken(r, "recording: out of memory");
	} else {
		record.payload = (const uint8_t *)bytes.data;
		record.len = bytes.len;
		vhu_recording_put(r, &record);
	}
	vhu_buf_done(&bytes);
}

/* A ring that was spoilt on purpose shows nothing of anybody's fault. */
static uint16_t flags_of(const struct vhu_run *r, const struct vhu_vring *v)
{
	return r->hostile || vhu_vring_spoilt(v) ? VHU_CAP_INTENDED : 0;
}

/* --- chains ------------------------------------------------------------------------------------------- */

/* A chain with what stands in the buffers of one direction. */
struct seen_chain {
	struct vhu_raw_desc *desc;
	size_t n;
	uint32_t index;
	struct vhu_buf table, data;
};

static void done(struct seen_chain *c)
{
	free(c->desc);
	vhu_buf_done(&c->table);
	vhu_buf_done(&c->data);
}

static void add_contents(const struct vhu_run *r, const struct vhu_raw_desc *d, struct vhu_buf *out)
{
	struct vhu_mem *mem = vhu_driver_mem(r->driver);
	const void *p = vhu_mem_at(mem, d->addr - vhu_mem_device_address(mem, 0), d->len);

	if (p)
		vhu_buf_add(out, p, d->len);
}

/* How long the table of an indirect chain is shows only where there is room for its descriptor. */
static bool read_chain(const struct vhu_vring *v, uint16_t head, struct seen_chain *ret)
{
	for (size_t cap = 0; ret->n > cap || !cap;) {
		struct vhu_raw_desc *desc;

		cap = VHU_MAX(ret->n, (size_t)4);
		desc = reallocarray(ret->desc, cap, sizeof(*desc));
		if (!desc)
			return false;
		ret->desc = desc;
		ret->n = vhu_vring_chain(v, head, desc, cap, &ret->index);
	}
	ret->n = VHU_MIN(ret->n, (size_t)UINT16_MAX);
	return true;
}

/* False: out of memory (told). The caller ends it with done() in any case. */
static bool look(struct vhu_run *r, const struct vhu_vring *v, uint16_t head, bool written,
		 struct seen_chain *ret)
{
	if (!read_chain(v, head, ret)) {
		vhu_run_broken(r, "recording: out of memory");
		return false;
	}
	for (size_t i = 0; i < ret->n; i++) {
		const struct vhu_raw_desc *d = &ret->desc[i];
		const struct vhu_ring_desc told = {d->addr, d->len, d->flags, d->id};

		vhu_ring_desc_put(&ret->table, &told);
		if (r->e->recording->level >= 3 && !(d->flags & VHU_C_DESC_F_INDIRECT) &&
		    !(d->flags & VHU_C_DESC_F_WRITE) == !written)
			add_contents(r, d, &ret->data);
	}
	return true;
}

static void tell_chain(struct vhu_run *r, struct vhu_vring *v, uint16_t head)
{
	struct seen_chain c = {0};
	unsigned queue = vhu_vring_queue(v);

	if (look(r, v, head, false, &c)) {
		const struct vhu_ring_record record = {.kind = VHU_CAP_RING_AVAIL,
						       .queue = queue,
						       .head = head,
						       .n_desc = (uint16_t)c.n,
						       .desc = (const uint8_t *)c.table.data,
						       .index = c.index,
						       .data = (const uint8_t *)c.data.data,
						       .n_data = c.data.len};

		put(r, &record, ring_at(r, queue)->connection, flags_of(r, v));
	}
	done(&c);
}

static void on_added(void *ctx, struct vhu_vring *v, uint16_t head)
{
	struct vhu_run *r = ctx;
	const struct recorded_ring *ring = recording(r, 2) ? ring_at(r, vhu_vring_queue(v)) : NULL;

	if (ring && ring->started)
		tell_chain(r, v, head);
}

static void on_used(void *ctx, struct vhu_vring *v, const struct vhu_used_seen *u)
{
	struct vhu_run *r = ctx;
	const struct recorded_ring *ring = recording(r, 2) ? ring_at(r, vhu_vring_queue(v)) : NULL;
	struct vhu_ring_record record = {.kind = VHU_CAP_RING_USED,
					 .queue = vhu_vring_queue(v),
					 .id = u->id,
					 .len = u->len,
					 .index = u->index};
	struct seen_chain c = {0};

	if (!ring || !ring->connection)
		return;
	if (r->e->recording->level < 3 || !u->in_flight || look(r, v, (uint16_t)u->id, true, &c)) {
		record.data = (const uint8_t *)c.data.data;
		record.n_data = c.data.len;
		if (c.data.len)
			record.hash = vhu_fnv1a64(c.data.data, c.data.len, VHU_FNV1A64_SEED);
		put(r, &record, ring->connection, flags_of(r, v));
	}
	done(&c);
}

/* --- signals ------------------------------------------------------------------------------------------ */

/* A ring that was never started is of the connection that is open. */
static uint32_t connection_of(const struct vhu_run *r, unsigned queue)
{
	uint32_t number = ring_at(r, queue)->connection;

	for (size_t i = 0; !number && i < r->n_conns; i++)
		if (vhu_conn_live(&r->conns[i]))
			number = vhu_recording_number(&r->conns[i]);
	return number;
}

static void on_signal(void *ctx, struct vhu_vring *v, enum vhu_vring_fd which, uint64_t value)
{
	static const enum vhu_cap_ring kinds[VHU_VRING_FD_MAX] = {[VHU_VRING_KICK] = VHU_CAP_RING_KICK,
								  [VHU_VRING_CALL] = VHU_CAP_RING_CALL,
								  [VHU_VRING_ERR] = VHU_CAP_RING_ERR};
	struct vhu_run *r = ctx;
	const struct vhu_ring_record record = {
		.kind = kinds[which], .queue = vhu_vring_queue(v), .value = value};
	uint32_t connection = 0;

	if (recording(r, 1) && ring_at(r, record.queue))
		connection = connection_of(r, record.queue);
	if (connection)
		put(r, &record, connection, 0);
}

const struct vhu_ring_watch *vhu_record_watch(struct vhu_run *r)
{
	struct vhu_recording *rec = r->e->recording;

	if (!recording(r, 1))
		return NULL;
	rec->watch =
		(struct vhu_ring_watch){.signal = on_signal, .added = on_added, .used = on_used, .ctx = r};
	return &rec->watch;
}

/* --- life --------------------------------------------------------------------------------------------- */

/* Rings behind an IOMMU are where the device sees them. */
static uint64_t guest_address(const struct vhu_session *s, uint64_t uaddr)
{
	for (size_t i = 0; i < s->n_regions; i++)
		if (uaddr - s->region[i].uaddr < s->region[i].size)
			return uaddr - s->region[i].uaddr + s->region[i].gpa;
	return uaddr;
}

/* A ring that stops stands where the reply says. */
static void tell_layout(struct vhu_conn *c, const struct vhu_frame *f, unsigned queue)
{
	const struct vhu_session *s = &c->oracle.session;
	const struct vhu_ring_state *state = &s->ring[queue];
	bool stop = f->dir == VHU_DIR_BE && vhu_frame_row(f) == vhu_msg_row(VHU_MSG_GET_VRING_BASE);
	const struct vhu_ring_record record = {
		.kind = VHU_CAP_RING_LAYOUT,
		.queue = queue,
		.size = (uint16_t)state->num,
		.packed = vhu_session_packed(s),
		.part = {guest_address(s, state->desc), guest_address(s, state->avail),
			 guest_address(s, state->used)},
		.base = stop ? (uint32_t)vhu_frame_u64(f, "num") : state->base,
	};

	put(c->r, &record, ring_at(c->r, queue)->connection, 0);
}

/* What stands in a ring that starts was put there before. */
static void tell_waiting(struct vhu_run *r, unsigned queue)
{
	struct vhu_vring *v = r->driver ? vhu_driver_ring(r->driver, queue) : NULL;
	uint16_t head = VHU_CHAIN_FIRST;

	while (v && recording(r, 2) && vhu_vring_next(v, &head))
		tell_chain(r, v, head);
}

void vhu_record_ring_states(struct vhu_conn *c, const struct vhu_frame *f)
{
	const struct vhu_session *s = &c->oracle.session;
	uint32_t number = vhu_recording_number(c);

	for (unsigned q = 0; recording(c->r, 1) && q < s->n_rings; q++) {
		struct recorded_ring *ring = ring_at(c->r, q);
		bool was = ring->started && ring->connection == number;

		if (vhu_ring_runs(&s->ring[q]) == was)
			continue;
		ring->started = !was;
		ring->connection = number;
		tell_layout(c, f, q);
		if (ring->started)
			tell_waiting(c->r, q);
	}
}

void vhu_record_ring_over(struct vhu_conn *c)
{
	uint32_t number = vhu_recording_number(c);

	for (unsigned q = 0; recording(c->r, 1) && q < VHU_SESSION_RINGS; q++)
		if (ring_at(c->r, q)->connection == number)
			ring_at(c->r, q)->started = false;
}

void vhu_record_catch_up(struct vhu_conn *c)
{
	if (recording(c->r, 2) && c->r->driver && vhu_driver_mem(c->r->driver))
		vhu_driver_poll(c->r->driver);
}

/* --- device state ------------------------------------------------------------------------------------- */

void vhu_record_state(struct vhu_conn *c, enum vhu_dir dir, const uint8_t *bytes, size_t len)
{
	struct vhu_record record = {.channel = VHU_CAP_STATE,
				    .dir = dir == VHU_DIR_BE ? VHU_CAP_DIR_BE : VHU_CAP_DIR_FE,
				    .connection = recording(c->r, 1) ? vhu_recording_number(c) : 0};

	for (size_t at = 0; record.connection && at < len; at += record.orig_len) {
		record.orig_len = (uint32_t)VHU_MIN(len - at, (size_t)VHU_CAP_PIECE);
		if (recording(c->r, 3)) {
			record.payload = bytes + at;
			record.len = record.orig_len;
		}
		vhu_recording_put(c->r, &record);
	}
}
