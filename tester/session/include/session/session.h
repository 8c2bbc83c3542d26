/*
 * What both parties may assume now: a pure function of the frames seen so far on one
 * connection. No I/O, no clock; a plain struct that can be copied.
 */
#pragma once

#include "base/util.h"
#include "spec/spec.h"

struct vhu_frame;

enum {
	VHU_SESSION_RINGS = 256,
	VHU_SESSION_REGIONS = 520,
	VHU_SESSION_PENDING = 256,	/* requests in flight that are remembered */
	VHU_SESSION_QUIET = 64,		/* request ids remembered that need no answer, or got none */
	VHU_SESSION_SHM_IDS = 256,
	VHU_SESSION_SHM_MAPS = 64,	/* mappings that are remembered */
	VHU_SESSION_OBJECTS = 32,	/* shared objects that are remembered */
	VHU_UUID_SIZE = 16,
};

struct vhu_ring_state {
	bool num_set, addr_set, base_set, call_set, kick_set;
	bool kick_fd, call_fd, err_fd;	/* the descriptor message carried one */
	bool started;			/* SET_VRING_KICK, or VRING_KICK in-band; ends with GET_VRING_BASE */
	bool ran;			/* was started since the last reset */
	bool suspended;			/* and GET_VRING_BASE was answered since the last start */
	bool enabled;
	bool enable_named;		/* by SET_VRING_ENABLE, not by default */
	uint32_t num, base, flags;
	uint64_t desc, used, avail, log;
};

/* From its start until GET_VRING_BASE was answered, or all were reset. */
static inline bool vhu_ring_runs(const struct vhu_ring_state *r)
{
	return r->ran && !r->suspended;
}

struct vhu_region_state {
	uint64_t gpa, size, uaddr, offset;
};

/* A mapping that the back-end has asked for. */
struct vhu_shm_map {
	uint8_t shmid;
	bool asked;			/* the front-end has not answered yet */
	uint64_t offset, len;		/* in the region */
};

/* How sure the answer to a request is. */
enum vhu_due {
	VHU_DUE_NOTHING,		/* none may come */
	VHU_DUE_MAYBE,			/* one may come (the specification or the field leaves it open) */
	VHU_DUE_ACK,			/* the u64 acknowledgement has to come */
	VHU_DUE_REPLY,			/* the message's own reply has to come */
};

/* A request that waits for its answer. */
struct vhu_pending {
	const struct vhu_msg_row *row;	/* NULL: unknown request */
	uint32_t request;
	bool need_reply;
	enum vhu_due due;
	bool intended;			/* it broke a rule on purpose: any answer to it is fine */
	uint32_t index;			/* ring, for messages of ring scope */
	uint32_t size;			/* of its payload */
	uint32_t offset;		/* in config space */
	uint8_t uuid[VHU_UUID_SIZE];	/* that it asks for */
	bool announced;			/* which the back-end had announced by then */
	uint64_t serial;		/* number of the request on this connection, from 1 */
};

struct vhu_session {
	enum vhu_device device;		/* told by the caller; VHU_DEV_ANY if unknown */
	unsigned queues;		/* rings that exist, as far as known; 0: unknown */

	bool features_known, features_set_known, pfeatures_known, pfeatures_set_known;
	uint64_t features_offered, features_set;
	uint64_t pfeatures_offered, pfeatures_set;
	bool owned;
	uint64_t queue_num;		/* answer of GET_QUEUE_NUM; 0: not asked */
	uint64_t mem_slots;
	uint64_t status;
	bool status_set;		/* by SET_STATUS; a driver that reconnects does not say it again */
	bool backend_channel;
	bool memory_set;
	bool log_set, inflight_set;
	uint64_t log_size;		/* of the bitmap; 0: unknown */
	bool postcopy_advised, postcopy_listening;
	unsigned postcopy_listens;	/* of several parts of a device; each has its POSTCOPY_END */
	bool postcopy_ended;		/* memory is set as before */
	bool postcopy_ack_due;		/* a table was sent; our acknowledgement of its bases has to follow */
	bool state_transfer;		/* SET_DEVICE_STATE_FD was sent */
	size_t n_objects;		/* shared objects that the back-end announced, newest last */
	uint8_t object[VHU_SESSION_OBJECTS][VHU_UUID_SIZE];

	size_t n_regions;
	struct vhu_region_state region[VHU_SESSION_REGIONS];
	size_t n_rings;			/* rings behind these were not spoken of: their state is zero */
	struct vhu_ring_state ring[VHU_SESSION_RINGS];

	bool shm_known;			/* GET_SHMEM_CONFIG was answered, at first with these sizes: */
	uint64_t shm_size[VHU_SESSION_SHM_IDS];
	size_t n_shm;
	struct vhu_shm_map shm[VHU_SESSION_SHM_MAPS];
	bool shm_lost;			/* more mappings than are remembered, or known for certain */
	bool shm_reset;			/* RESET_DEVICE dropped mappings */
	uint64_t shm_reset_at;		/* its serial, while no answer shows that it was taken; else 0 */

	size_t n_pending;
	struct vhu_pending pending[VHU_SESSION_PENDING];	/* oldest first */
	size_t n_pending_backend;
	struct vhu_pending pending_backend[VHU_SESSION_PENDING]; /* requests of the back-end */
	struct vhu_pending answered;	/* what the last reply answered; serial 0: none yet */
	uint32_t quiet[VHU_SESSION_QUIET];	/* requests since then that are not answered */
	size_t n_quiet;
	uint32_t missed[VHU_SESSION_QUIET];	/* requests that were passed over by a later reply */
	size_t n_missed;
	uint64_t serial;
	uint64_t frames;
	bool tainted;			/* the tester broke a rule on purpose on this connection */
};

void vhu_session_init(struct vhu_session *s, enum vhu_device device, unsigned queues);

/*
 * Where a session's state lies: most of the struct holds nothing. Other bytes do not matter, but that rings
 * behind n_rings are zero; so who has many sessions moves these alone.
 */
struct vhu_session_span {
	size_t at, len;			/* bytes */
};
enum { VHU_SESSION_SPANS = 19 };
size_t vhu_session_spans(const struct vhu_session *s, struct vhu_session_span ret[VHU_SESSION_SPANS]);

/* Negotiated: SET_FEATURES / SET_PROTOCOL_FEATURES, or, before the first of them, what was offered. */
static inline uint64_t vhu_session_features(const struct vhu_session *s)
{
	return s->features_set_known ? s->features_set : s->features_offered;
}
static inline uint64_t vhu_session_pfeatures(const struct vhu_session *s)
{
	return s->pfeatures_set_known ? s->pfeatures_set : 0;
}
/* Whether its rings are packed ones. */
static inline bool vhu_session_packed(const struct vhu_session *s)
{
	return vhu_session_features(s) & VHU_V(VIRTIO_F_RING_PACKED);
}
/* Whether the acknowledgement protocol is on for the next request. */
static inline bool vhu_session_reply_ack(const struct vhu_session *s)
{
	return vhu_session_pfeatures(s) & VHU_P(REPLY_ACK);
}

/* What a request of the front-end has to be answered with, in this state. */
enum vhu_due vhu_session_due(const struct vhu_session *s, const struct vhu_frame *f);

/*
 * Takes a frame of either party and either channel into account. `intended`: the tester broke
 * a rule on purpose with it; such a frame changes no state but may be answered. Returns the
 * serial of a front-end request, else 0.
 */
uint64_t vhu_session_apply(struct vhu_session *s, const struct vhu_frame *f, bool intended);

/*
 * The pending request that a frame of the back-end on the main channel answers: its index in
 * s->pending, or -1 if it answers none. Requests before it that needed an answer were passed over.
 */
int vhu_session_match(const struct vhu_session *s, const struct vhu_frame *f);
/* The oldest pending request that has to be answered, or NULL. */
const struct vhu_pending *vhu_session_overdue(const struct vhu_session *s);
/* The pending request of that serial, or NULL once it was answered or passed over. */
const struct vhu_pending *vhu_session_pending(const struct vhu_session *s, uint64_t serial);
/* Region i of a MEM_TABLE or MEM_REG payload; fields that the payload is too short for stay as they are. */
void vhu_session_read_region(const struct vhu_frame *f, enum vhu_payload pl, size_t i,
			     struct vhu_region_state *r);
/*
 * In postcopy listen mode the back-end answers a memory message with the addresses that it uses, and
 * the front-end acknowledges that with 8 bytes under the same id: no memory, no request of its own.
 */
bool vhu_session_is_postcopy_ack(const struct vhu_session *s, const struct vhu_frame *f);
/* The shared memory range that a BACKEND_SHMEM_MAP or UNMAP names. */
struct vhu_shm_map vhu_session_shm_range(const struct vhu_frame *f);
/* Whether it lies in a region, as far as regions are known; whether it touches none that is mapped. */
bool vhu_session_shm_valid(const struct vhu_session *s, const struct vhu_shm_map *m);
bool vhu_session_shm_free(const struct vhu_session *s, const struct vhu_shm_map *m);
/* Whether it is exactly one that is mapped. */
bool vhu_session_shm_mapped(const struct vhu_session *s, const struct vhu_shm_map *m);
/* Ring state; index is checked: NULL beyond VHU_SESSION_RINGS. */
const struct vhu_ring_state *vhu_session_ring(const struct vhu_session *s, uint32_t index);
/* Whether the back-end has announced the object of this UUID and not taken that back. */
bool vhu_session_announced(const struct vhu_session *s, const uint8_t uuid[VHU_UUID_SIZE]);
