/* One message as the persona sends it: payload, what of it is masked, descriptors. */
#include "internal.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#define BIT30	VHU_V(VHOST_USER_F_PROTOCOL_FEATURES)
#define LOG_ALL VHU_V(VHOST_F_LOG_ALL)

/* --- helpers -------------------------------------------------------------------------------------------- */

static void put_number(struct spoken *s, size_t offset, size_t size, uint64_t value)
{
	vhu_ne_put(s->payload + offset, size, value);
	s->len = VHU_MAX(s->len, offset + size);
}

static void mask(struct spoken *s, size_t offset, size_t size)
{
	memset(s->masked + offset, 1, size);
	s->len = VHU_MAX(s->len, offset + size);
}

static uint32_t give(struct front *f, struct spoken *s, enum vhu_fd_kind kind, uint32_t symbol)
{
	struct spoken_fd fd = {.kind = kind, .symbol = symbol ? symbol : ++f->symbols};

	if (s->n_fds < FDS_MAX)
		s->fds[s->n_fds++] = fd;
	return fd.symbol;
}

static struct spoken_fd *last_fd(struct spoken *s)
{
	return &s->fds[s->n_fds - 1];
}

/* What the back-end answered this time; NULL if it did not. */
static const struct vhu_tape_item *take_reply(struct front *f, uint32_t id)
{
	const struct vhu_tape_item *item = id < ID_MAX ? vhu_reply_at(f->seg, id, f->cursor[id]) : NULL;

	if (item)
		f->cursor[id]++;
	return item;
}

static bool take_u64(struct front *f, uint32_t id, uint64_t *ret)
{
	const struct vhu_tape_item *item = take_reply(f, id);

	return item && vhu_frame_get(&item->frame, VHU_PL_U64, "u64", ret);
}

/* --- features ------------------------------------------------------------------------------------------- */

static void say_get_features(struct front *f, const struct vhu_script_item *i, struct spoken *s)
{
	if (take_u64(f, VHU_ID_GET_FEATURES, &f->facts.features_offered))
		f->facts.features = (f->facts.features & ~BIT30) | (f->facts.features_offered & BIT30);
}

static void say_get_protocol(struct front *f, const struct vhu_script_item *i, struct spoken *s)
{
	uint64_t offered;

	if (take_u64(f, VHU_ID_GET_PROTOCOL_FEATURES, &offered))
		f->facts.pfeatures = vhu_profile_takes(f->facts.profile, f->facts.device, offered);
}

static void say_get_queue_num(struct front *f, const struct vhu_script_item *i, struct spoken *s)
{
	uint64_t offered;

	if (take_u64(f, VHU_ID_GET_QUEUE_NUM, &offered))
		f->facts.queues_offered = (unsigned)offered;
}

static void say_set_protocol(struct front *f, const struct vhu_script_item *i, struct spoken *s)
{
	put_number(s, 0, 8, f->facts.pfeatures);
}

static void say_set_features(struct front *f, const struct vhu_script_item *i, struct spoken *s)
{
	const uint64_t features = f->facts.features | (f->facts.logging ? LOG_ALL : 0);

	put_number(s, 0, 8, i->low ? (uint32_t)features : features);
}

static void say_get_status(struct front *f, const struct vhu_script_item *i, struct spoken *s)
{
	uint64_t status;

	if (take_u64(f, VHU_ID_GET_STATUS, &status))
		f->facts.status = (uint8_t)status;
}

static void say_set_status(struct front *f, const struct vhu_script_item *i, struct spoken *s)
{
	put_number(s, 0, 8, i->status);
}

/* --- rings
 * -------------------------------------------------------------------------------------------------- */

static void say_ring_fd(struct front *f, const struct vhu_script_item *i, struct spoken *s, uint32_t *symbol,
			long least, long most)
{
	put_number(s, 0, 8, i->queue);
	*symbol = give(f, s, VHU_FDK_EVENTFD, *symbol);
	last_fd(s)->least = least;
	last_fd(s)->most = most;
}

static void say_call(struct front *f, const struct vhu_script_item *i, struct spoken *s)
{
	struct ring *r = &f->ring[i->queue];
	bool again = i->role == VHU_CALL_SAME || (i->role == VHU_CALL_SETUP && f->set_up);
	/* A device that takes its notifiers from the guest's vectors may pass one on that was signalled
	 * before. */
	bool by_vector = f->facts.device == VHU_DEV_FS || f->facts.device == VHU_DEV_GPU;

	if (i->role == VHU_CALL_NEW)
		r->call = 0;
	else if (i->role == VHU_CALL_SETUP && !f->set_up)
		r->setup_call = 0;
	say_ring_fd(f, i, s, i->role == VHU_CALL_SETUP ? &r->setup_call : &r->call, 0,
		    again ? LONG_MAX : by_vector);
}

static void say_err(struct front *f, const struct vhu_script_item *i, struct spoken *s)
{
	uint32_t symbol = 0;

	say_ring_fd(f, i, s, &symbol, 0, 0);
}

static void say_kick(struct front *f, const struct vhu_script_item *i, struct spoken *s)
{
	uint32_t symbol = 0;

	/* A guest that runs while nobody reads adds its own kicks. */
	say_ring_fd(f, i, s, &symbol, 1, f->lost_started ? LONG_MAX : 2);
}

static void say_num(struct front *f, const struct vhu_script_item *i, struct spoken *s)
{
	put_number(s, 0, 4, i->queue);
	put_number(s, 4, 4, f->ring[i->queue].num);
}

static void say_base(struct front *f, const struct vhu_script_item *i, struct spoken *s)
{
	put_number(s, 0, 4, i->queue);
	put_number(s, 4, 4, f->ring[i->queue].base);
}

static void say_addr(struct front *f, const struct vhu_script_item *i, struct spoken *s)
{
	put_number(s, 0, 4, i->queue);
	put_number(s, 4, 4, f->facts.logging);
	mask(s, 8, 32);
}

static void say_enable(struct front *f, const struct vhu_script_item *i, struct spoken *s)
{
	put_number(s, 0, 4, i->queue);
	put_number(s, 4, 4, i->enable);
}

static void say_get_base(struct front *f, const struct vhu_script_item *i, struct spoken *s)
{
	struct ring *r = &f->ring[i->queue];
	const struct vhu_tape_item *item = vhu_reply_of_ring(f->seg, i->queue, r->stops);

	put_number(s, 0, 4, i->queue);
	put_number(s, 4, 4, 0);
	if (item) {
		r->stops++;
		r->base = (uint32_t)vhu_frame_u64(&item->frame, "num");
		r->base_known = true;
	}
}

/* --- memory ------------------------------------------------------------------------------------------------
 */

/* Addresses and sizes are the guest's; that they come in order is not. */
static void give_region(struct front *f, struct spoken *s, size_t at, const struct region *r)
{
	put_number(s, at, 8, r->gpa);
	put_number(s, at + 8, 8, r->size);
	put_number(s, at + 16, 8, r->uaddr);
	put_number(s, at + 24, 8, r->offset);
	if (!r->size)
		mask(s, at, 32);
	give(f, s, VHU_FDK_UNKNOWN, 0);
	if (!f->plugged)
		last_fd(s)->symbol = 0;
	last_fd(s)->shared = SHARED_MEMORY;
	last_fd(s)->label = r->label;
}

static void say_mem_table(struct front *f, const struct vhu_script_item *i, struct spoken *s)
{
	put_number(s, 0, 8, 0);
	if (i->go_on)
		return;
	put_number(s, 0, 4, f->n_regions);
	for (size_t k = 0; k < VHU_MIN(f->n_regions, (size_t)VHU_C_MEM_TABLE_REGIONS); k++) {
		give_region(f, s, 8 + 32 * k, &f->regions[k]);
	}
}

static void say_add_region(struct front *f, const struct vhu_script_item *i, struct spoken *s)
{
	put_number(s, 0, 8, 0);
	if (i->go_on)
		return;
	if (i->region < f->n_fresh)
		give_region(f, s, 8, &f->fresh[i->region]);
}

static void say_rem_region(struct front *f, const struct vhu_script_item *i, struct spoken *s)
{
	put_number(s, 0, 8, 0);
	mask(s, 8, 32);
}

static void say_log(struct front *f, const struct vhu_script_item *i, struct spoken *s)
{
	mask(s, 0, 8);
	put_number(s, 8, 8, 0);
	f->log_symbol = give(f, s, VHU_FDK_MEMFD, f->log_symbol);
	last_fd(s)->name = "vhost-log";
}

static void put_area(struct front *f, struct spoken *s, uint64_t size, uint64_t offset)
{
	put_number(s, 0, 8, size);
	put_number(s, 8, 8, offset);
	put_number(s, 16, 2, f->queues);
	mask(s, 18, 2); /* what the user gave the device */
	put_number(s, 20, 4, 0);
}

static void say_get_inflight(struct front *f, const struct vhu_script_item *i, struct spoken *s)
{
	const struct vhu_tape_item *item = take_reply(f, VHU_ID_GET_INFLIGHT_FD);

	put_area(f, s, 0, 0);
	f->facts.has_area = true;
	f->area_label = 0;
	if (!item)
		return;
	f->area_size = vhu_frame_u64(&item->frame, "mmap_size");
	f->area_offset = vhu_frame_u64(&item->frame, "mmap_offset");
	f->area_label = item->n_fds ? item->fds[0].label : 0;
}

static void say_set_inflight(struct front *f, const struct vhu_script_item *i, struct spoken *s)
{
	put_area(f, s, f->area_size, f->area_offset);
	give(f, s, VHU_FDK_MEMFD, 0);
	last_fd(s)->symbol = 0; /* the back-end's object, not ours */
	last_fd(s)->shared = SHARED_AREA;
	last_fd(s)->label = f->area_label;
}

/* --- the device's own -------------------------------------------------------------------------------------
 */

static void put_config(struct spoken *s, uint32_t offset, uint32_t size, uint32_t flags)
{
	put_number(s, 0, 4, offset);
	put_number(s, 4, 4, size);
	put_number(s, 8, 4, flags);
}

static void say_get_config(struct front *f, const struct vhu_script_item *i, struct spoken *s)
{
	const struct vhu_tape_item *item = take_reply(f, VHU_ID_GET_CONFIG);
	size_t size = vhu_profile_config(f->facts.profile, f->facts.device,
					 item ? (size_t)vhu_frame_u64(&item->frame, "size") : 0);

	put_config(s, 0, (uint32_t)size, i->config_flags);
	s->len = VHU_MIN((size_t)12 + size, (size_t)PAYLOAD_MAX);
	f->gave_up = !f->set_up && item && item->frame.len < s->len;
	if (item && f->facts.device == VHU_DEV_BLK && item->frame.len > 12 + 32) {
		f->write_cache = item->frame.payload[12 + 32];
		f->write_cache_known = true;
	}
}

/* Which bytes, and what, is the guest's choice; a disk's only such field is its cache mode. */
static void say_set_config(struct front *f, const struct vhu_script_item *i, struct spoken *s)
{
	bool disk = f->facts.device == VHU_DEV_BLK;

	put_config(s, 32, 1, i->config_flags);
	if (!disk)
		mask(s, 0, 8);
	mask(s, 12, 1);
	s->any_len = !disk;
}

static void say_socket(struct front *f, const struct vhu_script_item *i, struct spoken *s)
{
	give(f, s, VHU_FDK_SOCKET, 0);
}

static void say_state(struct front *f, const struct vhu_script_item *i, struct spoken *s)
{
	put_number(s, 0, 4, i->load);
	put_number(s, 4, 4, 0);
	give(f, s, VHU_FDK_PIPE, 0);
}

/* Ciphers and keys are the guest's; 7.2 has another layout for them. */
static void say_open_session(struct front *f, const struct vhu_script_item *i, struct spoken *s)
{
	mask(s, 0, PAYLOAD_MAX);
	s->any_len = true;
	take_reply(f, VHU_ID_CREATE_CRYPTO_SESSION);
}

/* The user's number, the guest's address, or a session of its. */
static void say_any_u64(struct front *f, const struct vhu_script_item *i, struct spoken *s)
{
	mask(s, 0, 8);
}

/* A question is answered before anything else is said; what the guest unmaps is its own affair. */
static void say_iotlb(struct front *f, const struct vhu_script_item *i, struct spoken *s)
{
	mask(s, 0, 32);
	if (f->translating == TRANSLATING_GUEST)
		return;
	put_number(s, 0, 8, f->translating == TRANSLATING_PAGE ? f->translated : UINT64_MAX);
	put_number(s, 25, 1, VHU_C_IOTLB_UPDATE);
	memset(s->masked, 0, 8);
	s->masked[25] = 0;
}

typedef void say_fn(struct front *f, const struct vhu_script_item *item, struct spoken *ret);

static say_fn *const says[VHU_MSG_MAX] = {
	[VHU_MSG_GET_FEATURES] = say_get_features,
	[VHU_MSG_SET_FEATURES] = say_set_features,
	[VHU_MSG_GET_PROTOCOL_FEATURES] = say_get_protocol,
	[VHU_MSG_SET_PROTOCOL_FEATURES] = say_set_protocol,
	[VHU_MSG_GET_QUEUE_NUM] = say_get_queue_num,
	[VHU_MSG_GET_STATUS] = say_get_status,
	[VHU_MSG_SET_STATUS] = say_set_status,
	[VHU_MSG_SET_VRING_CALL] = say_call,
	[VHU_MSG_SET_VRING_ERR] = say_err,
	[VHU_MSG_SET_VRING_KICK] = say_kick,
	[VHU_MSG_SET_VRING_NUM] = say_num,
	[VHU_MSG_SET_VRING_BASE] = say_base,
	[VHU_MSG_SET_VRING_ADDR] = say_addr,
	[VHU_MSG_SET_VRING_ENABLE] = say_enable,
	[VHU_MSG_GET_VRING_BASE] = say_get_base,
	[VHU_MSG_SET_MEM_TABLE] = say_mem_table,
	[VHU_MSG_ADD_MEM_REG] = say_add_region,
	[VHU_MSG_REM_MEM_REG] = say_rem_region,
	[VHU_MSG_SET_LOG_BASE] = say_log,
	[VHU_MSG_GET_INFLIGHT_FD] = say_get_inflight,
	[VHU_MSG_SET_INFLIGHT_FD] = say_set_inflight,
	[VHU_MSG_GET_CONFIG] = say_get_config,
	[VHU_MSG_SET_CONFIG] = say_set_config,
	[VHU_MSG_SET_BACKEND_REQ_FD] = say_socket,
	[VHU_MSG_GPU_SET_SOCKET] = say_socket,
	[VHU_MSG_SET_DEVICE_STATE_FD] = say_state,
	[VHU_MSG_NET_SET_MTU] = say_any_u64,
	[VHU_MSG_SEND_RARP] = say_any_u64,
	[VHU_MSG_CREATE_CRYPTO_SESSION] = say_open_session,
	[VHU_MSG_CLOSE_CRYPTO_SESSION] = say_any_u64,
	[VHU_MSG_IOTLB_MSG] = say_iotlb,
};

/* Requests whose reply is looked at nowhere else, so that the next one is the next one's. */
static bool has_own_cursor(enum vhu_msg msg)
{
	return msg == VHU_MSG_GET_FEATURES || msg == VHU_MSG_GET_PROTOCOL_FEATURES ||
	       msg == VHU_MSG_GET_QUEUE_NUM || msg == VHU_MSG_GET_STATUS || msg == VHU_MSG_GET_INFLIGHT_FD ||
	       msg == VHU_MSG_GET_CONFIG || msg == VHU_MSG_GET_VRING_BASE;
}

int vhu_speak(struct front *f, const struct vhu_script_item *item, struct spoken *ret)
{
	const struct vhu_msg_row *row = vhu_msg_row(item->msg);
	const bool memory = item->msg == VHU_MSG_ADD_MEM_REG || item->msg == VHU_MSG_SET_MEM_TABLE;
	/* In postcopy it is answered unasked, with the back-end's addresses. */
	const bool exchange = memory && f->facts.postcopy && !item->go_on;
	const struct vhu_tape_item *reply = NULL;
	uint64_t refusal;

	memset(ret, 0, sizeof(*ret));
	ret->msg = item->msg;
	ret->queue = item->queue;
	ret->need_reply = item->need_reply;
	if (row->scope == VHU_SCOPE_RING && item->queue >= RINGS_MAX)
		return -E2BIG;
	if (says[item->msg])
		says[item->msg](f, item, ret);
	if (!has_own_cursor(item->msg) && (item->need_reply || exchange))
		reply = take_reply(f, row->id);
	f->denied =
		reply && !exchange && vhu_frame_get(&reply->frame, VHU_PL_U64, "u64", &refusal) && refusal;
	f->refused |= f->denied && (!f->set_up || (f->starting && vhu_persona_heeds(&f->facts, item->msg)));
	return 0;
}
