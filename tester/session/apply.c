/* How a session changes with each frame. One function a message that changes something. */
#include <string.h>

#include "internal.h"
#include "wire/frame.h"

typedef void apply_fn(struct vhu_session *s, const struct vhu_frame *f);

/* Drops the first n entries of a list of pending requests. */
static void drop(struct vhu_pending *list, size_t *count, size_t n)
{
	memmove(list, list + n, (*count - n) * sizeof(*list));
	*count -= n;
}

static void remember(struct vhu_pending *list, size_t *count, const struct vhu_pending *p)
{
	/* The oldest goes when a front-end floods: it can no longer be told apart. */
	if (*count == VHU_SESSION_PENDING)
		drop(list, count, 1);
	list[(*count)++] = *p;
}

/* --- requests of the front-end ----------------------------------------------------------------- */

static struct vhu_ring_state *ring_of(struct vhu_session *s, const struct vhu_frame *f)
{
	uint64_t index;

	vhu_frame_ring(f, &index);
	if (index >= VHU_SESSION_RINGS)
		return NULL;
	s->n_rings = VHU_MAX(s->n_rings, (size_t)index + 1);
	return &s->ring[index];
}

static void enable_all(struct vhu_session *s)
{
	s->n_rings = VHU_SESSION_RINGS;
	for (size_t i = 0; i < s->n_rings; i++)
		s->ring[i].enabled = true;
}

static void set_features(struct vhu_session *s, const struct vhu_frame *f)
{
	s->features_set = VHU_NUMBER(f, FEATURES, u64);
	s->features_set_known = true;
	if (!(s->features_set & VHU_V(VHOST_USER_F_PROTOCOL_FEATURES)))
		enable_all(s);
}

static void set_protocol_features(struct vhu_session *s, const struct vhu_frame *f)
{
	s->pfeatures_set = VHU_NUMBER(f, PROTOCOL_FEATURES, u64);
	s->pfeatures_set_known = true;
}

static void set_owner(struct vhu_session *s, const struct vhu_frame *f)
{
	s->owned = true;
}

void vhu_session_read_region(const struct vhu_frame *f, enum vhu_payload pl, size_t i,
			     struct vhu_region_state *r)
{
	vhu_frame_region(f, pl, i, "guest_phys_addr", &r->gpa);
	vhu_frame_region(f, pl, i, "memory_size", &r->size);
	vhu_frame_region(f, pl, i, "userspace_addr", &r->uaddr);
	vhu_frame_region(f, pl, i, "mmap_offset", &r->offset);
}

static void set_mem_table(struct vhu_session *s, const struct vhu_frame *f)
{
	uint64_t n = 0;

	if (vhu_session_is_postcopy_ack(s, f)) {
		s->postcopy_ack_due = false;
		return;
	}
	if (vhu_frame_payload(f) != VHU_PL_MEM_TABLE ||
	    !vhu_frame_load(f, VHU_SLOT(MEM_TABLE, num_regions), &n))
		return;
	s->postcopy_ack_due = s->postcopy_listening;
	s->n_regions = VHU_MIN(n, (uint64_t)VHU_C_MEM_TABLE_REGIONS);
	memset(s->region, 0, s->n_regions * sizeof(*s->region));
	for (size_t i = 0; i < s->n_regions; i++)
		vhu_session_read_region(f, VHU_PL_MEM_TABLE, i, &s->region[i]);
	s->memory_set = true;
}

static void add_mem_reg(struct vhu_session *s, const struct vhu_frame *f)
{
	struct vhu_region_state r = {0};

	if (vhu_session_is_postcopy_ack(s, f) || s->n_regions == VHU_SESSION_REGIONS)
		return;
	vhu_session_read_region(f, VHU_PL_MEM_REG, 0, &r);
	s->region[s->n_regions++] = r;
	s->memory_set = true;
}

static void rem_mem_reg(struct vhu_session *s, const struct vhu_frame *f)
{
	struct vhu_region_state r = {0};

	vhu_session_read_region(f, VHU_PL_MEM_REG, 0, &r);
	for (size_t i = 0; i < s->n_regions; i++) {
		const struct vhu_region_state *have = &s->region[i];

		if (have->gpa != r.gpa || have->uaddr != r.uaddr || have->size != r.size)
			continue;
		memmove(&s->region[i], &s->region[i + 1], (s->n_regions - i - 1) * sizeof(*s->region));
		s->n_regions--;
		return;
	}
}

static void set_vring_num(struct vhu_session *s, const struct vhu_frame *f)
{
	struct vhu_ring_state *r = ring_of(s, f);

	if (!r)
		return;
	r->num = (uint32_t)VHU_NUMBER(f, VRING_STATE, num);
	r->num_set = true;
}

static void set_vring_base(struct vhu_session *s, const struct vhu_frame *f)
{
	struct vhu_ring_state *r = ring_of(s, f);

	if (!r)
		return;
	r->base = (uint32_t)VHU_NUMBER(f, VRING_BASE, num);
	r->base_set = true;
}

static void set_vring_addr(struct vhu_session *s, const struct vhu_frame *f)
{
	struct vhu_ring_state *r = ring_of(s, f);

	if (!r)
		return;
	r->flags = (uint32_t)VHU_NUMBER(f, VRING_ADDR, flags);
	r->desc = VHU_NUMBER(f, VRING_ADDR, descriptor);
	r->used = VHU_NUMBER(f, VRING_ADDR, used);
	r->avail = VHU_NUMBER(f, VRING_ADDR, available);
	r->log = VHU_NUMBER(f, VRING_ADDR, log);
	r->addr_set = true;
}

static void start(struct vhu_ring_state *r)
{
	r->started = r->ran = true;
	r->suspended = false;
}

static void set_vring_kick(struct vhu_session *s, const struct vhu_frame *f)
{
	struct vhu_ring_state *r = ring_of(s, f);

	if (!r)
		return;
	r->kick_fd = !VHU_NUMBER(f, VRING_FD, no_fd);
	r->kick_set = true;
	start(r);
}

static void set_vring_call(struct vhu_session *s, const struct vhu_frame *f)
{
	struct vhu_ring_state *r = ring_of(s, f);

	if (!r)
		return;
	r->call_fd = !VHU_NUMBER(f, VRING_FD, no_fd);
	r->call_set = true;
}

static void set_vring_err(struct vhu_session *s, const struct vhu_frame *f)
{
	struct vhu_ring_state *r = ring_of(s, f);

	if (r)
		r->err_fd = !VHU_NUMBER(f, VRING_FD, no_fd);
}

static void set_vring_enable(struct vhu_session *s, const struct vhu_frame *f)
{
	struct vhu_ring_state *r = ring_of(s, f);

	if (!r)
		return;
	r->enabled = VHU_NUMBER(f, VRING_STATE, num) != 0;
	r->enable_named = true;
}

static void vring_kick(struct vhu_session *s, const struct vhu_frame *f)
{
	struct vhu_ring_state *r = ring_of(s, f);

	if (r)
		start(r);
}

static void get_vring_base(struct vhu_session *s, const struct vhu_frame *f)
{
	struct vhu_ring_state *r = ring_of(s, f);

	if (r)
		r->started = false;
}

static void disable_all(struct vhu_session *s)
{
	for (size_t i = 0; i < s->n_rings; i++) {
		s->ring[i].enabled = false;
		s->ring[i].started = s->ring[i].ran = s->ring[i].suspended = false;
	}
}

static void reset_device(struct vhu_session *s, const struct vhu_frame *f)
{
	disable_all(s);
	s->status = 0;
	s->shm_reset |= s->n_shm > 0;
	s->shm_reset_at = s->serial;
}

static void set_status(struct vhu_session *s, const struct vhu_frame *f)
{
	s->status = VHU_NUMBER(f, STATUS, u64);
	s->status_set = true;
}

static void set_backend_req_fd(struct vhu_session *s, const struct vhu_frame *f)
{
	s->backend_channel = true;
}

static void set_log_base(struct vhu_session *s, const struct vhu_frame *f)
{
	s->log_set = true;
	if (!vhu_frame_load(f, VHU_SLOT(LOG, mmap_size), &s->log_size))
		s->log_size = 0;
}

static void set_inflight_fd(struct vhu_session *s, const struct vhu_frame *f)
{
	s->inflight_set = true;
}

static void postcopy_advise(struct vhu_session *s, const struct vhu_frame *f)
{
	s->postcopy_advised = true;
}

static void postcopy_listen(struct vhu_session *s, const struct vhu_frame *f)
{
	s->postcopy_listening = true;
	s->postcopy_listens++;
}

static void postcopy_end(struct vhu_session *s, const struct vhu_frame *f)
{
	s->postcopy_advised = s->postcopy_listening = s->postcopy_ack_due = false;
	s->postcopy_listens -= s->postcopy_listens > 0;
	s->postcopy_ended = true;
}

static void set_device_state_fd(struct vhu_session *s, const struct vhu_frame *f)
{
	s->state_transfer = true;
}

static apply_fn *const on_request[VHU_MSG_MAX] = {
	[VHU_MSG_SET_FEATURES] = set_features,
	[VHU_MSG_SET_PROTOCOL_FEATURES] = set_protocol_features,
	[VHU_MSG_SET_OWNER] = set_owner,
	[VHU_MSG_SET_MEM_TABLE] = set_mem_table,
	[VHU_MSG_ADD_MEM_REG] = add_mem_reg,
	[VHU_MSG_REM_MEM_REG] = rem_mem_reg,
	[VHU_MSG_SET_VRING_NUM] = set_vring_num,
	[VHU_MSG_SET_VRING_BASE] = set_vring_base,
	[VHU_MSG_SET_VRING_ADDR] = set_vring_addr,
	[VHU_MSG_SET_VRING_KICK] = set_vring_kick,
	[VHU_MSG_SET_VRING_CALL] = set_vring_call,
	[VHU_MSG_SET_VRING_ERR] = set_vring_err,
	[VHU_MSG_SET_VRING_ENABLE] = set_vring_enable,
	[VHU_MSG_VRING_KICK] = vring_kick,
	[VHU_MSG_GET_VRING_BASE] = get_vring_base,
	[VHU_MSG_GET_VRING_BASE_SKIP_DRAIN] = get_vring_base,
	[VHU_MSG_RESET_DEVICE] = reset_device,
	[VHU_MSG_SET_STATUS] = set_status,
	[VHU_MSG_SET_BACKEND_REQ_FD] = set_backend_req_fd,
	[VHU_MSG_SET_LOG_BASE] = set_log_base,
	[VHU_MSG_SET_INFLIGHT_FD] = set_inflight_fd,
	[VHU_MSG_POSTCOPY_ADVISE] = postcopy_advise,
	[VHU_MSG_POSTCOPY_LISTEN] = postcopy_listen,
	[VHU_MSG_POSTCOPY_END] = postcopy_end,
	[VHU_MSG_SET_DEVICE_STATE_FD] = set_device_state_fd,
};

/* Which object a request names, and whether it was announced by then. */
static void note_uuid(const struct vhu_session *s, const struct vhu_frame *f, struct vhu_pending *p)
{
	const uint8_t *uuid;
	size_t len;

	if (!p->row || p->row->msg != VHU_MSG_GET_SHARED_OBJECT ||
	    !vhu_frame_bytes(f, VHU_PL_SHARED, "uuid", &uuid, &len) || len != VHU_UUID_SIZE)
		return;
	memcpy(p->uuid, uuid, len);
	p->announced = vhu_session_announced(s, uuid);
}

/* The ring of a message of ring scope; 0: none, or it is no such message. */
static uint32_t ring_index(const struct vhu_frame *f, const struct vhu_msg_row *row)
{
	uint64_t index = 0;

	if (row && row->scope == VHU_SCOPE_RING)
		vhu_frame_ring(f, &index);
	return (uint32_t)index;
}

static uint64_t apply_request(struct vhu_session *s, const struct vhu_frame *f, bool intended)
{
	const struct vhu_msg_row *row = vhu_frame_row(f);
	struct vhu_pending p = {
		.row = row,
		.request = f->request,
		.need_reply = f->flags & VHU_C_HEADER_NEED_REPLY,
		.due = intended ? VHU_DUE_MAYBE : vhu_session_due(s, f),
		.intended = intended,
		.index = ring_index(f, row),
		.size = (uint32_t)f->len,
		.offset = (uint32_t)VHU_NUMBER(f, CONFIG, offset),
		.serial = ++s->serial,
	};

	note_uuid(s, f, &p);
	if (p.due != VHU_DUE_NOTHING)
		remember(s->pending, &s->n_pending, &p);
	else
		s->quiet[s->n_quiet++ % VHU_SESSION_QUIET] = f->request;
	if (intended)
		s->tainted = true;
	else if (row && on_request[row->msg])
		on_request[row->msg](s, f);
	return p.serial;
}

/* --- replies of the back-end ------------------------------------------------------------------- */

static void got_features(struct vhu_session *s, const struct vhu_frame *f)
{
	if (!s->features_known)
		s->features_offered = VHU_NUMBER(f, FEATURES, u64);
	s->features_known = true;
}

static void got_protocol_features(struct vhu_session *s, const struct vhu_frame *f)
{
	if (!s->pfeatures_known)
		s->pfeatures_offered = VHU_NUMBER(f, PROTOCOL_FEATURES, u64);
	s->pfeatures_known = true;
}

static void got_queue_num(struct vhu_session *s, const struct vhu_frame *f)
{
	if (!s->queue_num)
		s->queue_num = VHU_NUMBER(f, U64, u64);
}

static void got_mem_slots(struct vhu_session *s, const struct vhu_frame *f)
{
	if (!s->mem_slots)
		s->mem_slots = VHU_NUMBER(f, U64, u64);
}

static void got_vring_base(struct vhu_session *s, const struct vhu_frame *f)
{
	struct vhu_ring_state *r =
		s->answered.index < s->n_rings ? &s->ring[s->answered.index] : NULL;

	if (r)
		r->suspended = r->ran && !r->started;
}

static void got_shmem_config(struct vhu_session *s, const struct vhu_frame *f)
{
	const size_t at = VHU_AT_SHMEM_CONFIG_mem_size;

	for (size_t i = 0; !s->shm_known && i < VHU_SESSION_SHM_IDS; i++)
		if (at + (i + 1) * sizeof(uint64_t) <= f->len)
			s->shm_size[i] = vhu_ne_get(f->payload + at + i * sizeof(uint64_t), sizeof(uint64_t));
	s->shm_known = true;
}

static apply_fn *const on_reply[VHU_MSG_MAX] = {
	[VHU_MSG_GET_FEATURES] = got_features,
	[VHU_MSG_GET_PROTOCOL_FEATURES] = got_protocol_features,
	[VHU_MSG_GET_QUEUE_NUM] = got_queue_num,
	[VHU_MSG_GET_MAX_MEM_SLOTS] = got_mem_slots,
	[VHU_MSG_GET_VRING_BASE] = got_vring_base,
	[VHU_MSG_GET_VRING_BASE_SKIP_DRAIN] = got_vring_base,
	[VHU_MSG_GET_SHMEM_CONFIG] = got_shmem_config,
};

static void apply_reply(struct vhu_session *s, const struct vhu_frame *f)
{
	const struct vhu_msg_row *row = vhu_frame_row(f);
	int i = vhu_session_match(s, f);

	if (i < 0)
		return;
	/* Answers come in order: what was passed over is not waited for any more. */
	s->answered = s->pending[i];
	for (int k = 0; k < i; k++)
		if (s->pending[k].due >= VHU_DUE_ACK)
			s->missed[s->n_missed++ % VHU_SESSION_QUIET] = s->pending[k].request;
	s->n_quiet = 0;
	drop(s->pending, &s->n_pending, (size_t)i + 1);
	if (s->shm_reset_at && s->answered.serial >= s->shm_reset_at)
		vhu_session_shm_gone(s);
	if (row && on_reply[row->msg])
		on_reply[row->msg](s, f);
}

/* --- the back-end channel ---------------------------------------------------------------------- */

static size_t object_at(const struct vhu_session *s, const uint8_t uuid[VHU_UUID_SIZE])
{
	size_t i = 0;

	while (i < s->n_objects && memcmp(s->object[i], uuid, VHU_UUID_SIZE) != 0)
		i++;
	return i;
}

bool vhu_session_announced(const struct vhu_session *s, const uint8_t uuid[VHU_UUID_SIZE])
{
	return object_at(s, uuid) < s->n_objects;
}

static void forget_object(struct vhu_session *s, size_t i)
{
	memmove(s->object[i], s->object[i + 1], (s->n_objects - i - 1) * sizeof(s->object[i]));
	s->n_objects--;
}

/* Objects that come and go; of too many the oldest is forgotten. */
static void note_object(struct vhu_session *s, const struct vhu_frame *f, enum vhu_msg msg)
{
	const uint8_t *uuid;
	size_t len, i;

	if (!vhu_frame_bytes(f, VHU_PL_SHARED, "uuid", &uuid, &len) || len != VHU_UUID_SIZE)
		return;
	i = object_at(s, uuid);
	if (i < s->n_objects)
		forget_object(s, i);
	if (msg != VHU_MSG_BACKEND_SHARED_OBJECT_ADD)
		return;
	if (s->n_objects == VHU_SESSION_OBJECTS)
		forget_object(s, 0);
	memcpy(s->object[s->n_objects++], uuid, len);
}

static void apply_backend(struct vhu_session *s, const struct vhu_frame *f)
{
	const struct vhu_msg_row *row = vhu_frame_row(f);
	bool need_reply = f->flags & VHU_C_HEADER_NEED_REPLY;

	if (f->dir == VHU_DIR_FE) {
		if (!s->n_pending_backend)
			return;
		row = s->pending_backend[0].row;
		drop(s->pending_backend, &s->n_pending_backend, 1);
		if (row && row->msg == VHU_MSG_BACKEND_SHMEM_MAP)
			vhu_session_shm_answered(s, f->len < sizeof(uint64_t) ||
							    vhu_ne_get(f->payload, sizeof(uint64_t)));
		return;
	}
	if (row && row->msg == VHU_MSG_BACKEND_SHMEM_MAP)
		vhu_session_shm_map(s, f, need_reply);
	else if (row && row->msg == VHU_MSG_BACKEND_SHMEM_UNMAP)
		vhu_session_shm_unmap(s, f);
	if (row && (row->msg == VHU_MSG_BACKEND_SHARED_OBJECT_ADD ||
		    row->msg == VHU_MSG_BACKEND_SHARED_OBJECT_REMOVE))
		note_object(s, f, row->msg);
	if (need_reply || (row && row->answer == VHU_ANSWER_ALWAYS)) {
		struct vhu_pending p = {
			.row = row, .request = f->request, .need_reply = need_reply, .due = VHU_DUE_ACK};

		remember(s->pending_backend, &s->n_pending_backend, &p);
	}
}

uint64_t vhu_session_apply(struct vhu_session *s, const struct vhu_frame *f, bool intended)
{
	uint64_t serial = 0;

	s->frames++;
	if (f->channel == VHU_CHAN_BACKEND)
		apply_backend(s, f);
	else if (f->channel == VHU_CHAN_MAIN && f->dir == VHU_DIR_FE)
		serial = apply_request(s, f, intended);
	else if (f->channel == VHU_CHAN_MAIN)
		apply_reply(s, f);
	return serial;
}
