/* One record of a capture, in memory and as the bytes of a packet. */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "trace/format.h"
#include "wire/frame.h"

struct vhu_arena;

/* A descriptor that travelled: what is known of it. Descriptors themselves are never recorded. */
struct vhu_fd_info {
	enum vhu_fd_kind kind;
	bool size_valid, inode_valid, seals_valid, bad;
	bool stand_in;			/* `number` is not the sender's, and tells files apart at best */
	uint16_t seals;
	uint32_t number;		/* the sender's */
	uint64_t size, dev, inode;	/* dev and inode: the same object in later messages */
};
/* Looks at a descriptor of this process; of a ghost (wire/frame.h) the kind is all that is known. */
void vhu_fd_info_read(int fd, struct vhu_fd_info *ret);

struct vhu_record_finding {
	const char *requirement, *verdict, *summary;
};

/* Pointers are borrowed, from whoever made the record. Absent texts are NULL. */
/* What a REGION says, in this order. */
enum {
	VHU_CAP_REGION_GUEST, VHU_CAP_REGION_USER, VHU_CAP_REGION_LEN, VHU_CAP_REGION_OFFSET,
	VHU_CAP_REGION_DEV, VHU_CAP_REGION_INODE, VHU_CAP_REGION_PARTS
};

struct vhu_record {
	uint64_t t_ns;			/* CLOCK_REALTIME, when the last byte was seen */
	enum vhu_cap_channel channel;
	enum vhu_cap_direction dir;
	enum vhu_cap_tap tap;
	uint16_t flags, kind;
	uint32_t connection;		/* from 1; 0: the file itself */
	uint32_t orig_len;		/* true length; the writer takes `len` where this is smaller */
	uint32_t seq;			/* the writer counts itself */
	uint64_t stream_off;		/* of the first byte, in this direction of this socket */
	uint32_t tgid, tid;
	uint64_t snd_ino, rcv_ino;
	const uint8_t *payload;
	size_t len;
	const struct vhu_fd_info *fds;
	size_t n_fds;
	const char *comm, *peer_comm, *path, *step, *text;
	const struct vhu_record_finding *findings;
	size_t n_findings;
	const uint32_t *recvs;
	size_t n_recvs;
	bool has_errno;
	int32_t errno_value;
	bool has_region;
	uint64_t region[VHU_CAP_REGION_PARTS];
};

/*
 * Appends pseudo-header, TLVs and payload. A payload that does not fit is cut (TRUNCATED, orig_len true);
 * texts that do not fit into the header are cut, then left out; descriptors never. -E2BIG, -ENOMEM.
 */
int vhu_record_encode(const struct vhu_record *r, uint32_t seq, struct vhu_buf *ret, struct vhu_err *err);

enum vhu_record_fault {
	VHU_RECORD_OK,
	VHU_RECORD_SHORT,		/* header or a TLV reaches beyond the packet */
	VHU_RECORD_VERSION,		/* a version that we don't know */
	VHU_RECORD_BAD,			/* a number out of its range */
	VHU_RECORD_CONNECTION,		/* the number of its session is */
	VHU_RECORD_CRITICAL,		/* a TLV that must be understood is unknown */
	VHU_RECORD_UNKNOWN,		/* a channel that we don't know: skip it */
};
const char *vhu_record_fault_text(enum vhu_record_fault fault);
/*
 * A packet of caplen bytes to a record whose parts live in the arena; its payload points into
 * the packet. -ENOMEM, or 0 with *fault; the record is complete only if that is VHU_RECORD_OK.
 */
int vhu_record_decode(const uint8_t *packet, size_t caplen, uint64_t t_ns, struct vhu_arena *arena,
		      struct vhu_record *ret, enum vhu_record_fault *fault, struct vhu_err *err);

/* The channel whose frames records of this channel hold; VHU_CHAN_MAX: none. */
static inline enum vhu_channel vhu_cap_frames(enum vhu_cap_channel channel)
{
	switch (channel) {
	case VHU_CAP_MAIN:
		return VHU_CHAN_MAIN;
	case VHU_CAP_BACKEND:
		return VHU_CHAN_BACKEND;
	case VHU_CAP_GPU:
		return VHU_CHAN_GPU;
	default:
		return VHU_CHAN_MAX;
	}
}

/* Whether it is a message (or what was left of one) of a channel that carries frames. */
static inline bool vhu_record_is_message(const struct vhu_record *r)
{
	return r->dir != VHU_CAP_DIR_NONE && vhu_cap_frames(r->channel) != VHU_CHAN_MAX;
}
/*
 * The frame that it records: bytes as they were, descriptors as ghosts, defects from the flags and lengths.
 * Where only the recorder cut the payload (VHU_CAP_TRUNCATED) the frame has no defect, but less of a
 * payload than its size says. -EINVAL for other records, -ENOMEM. The caller ends it with vhu_frame_done.
 */
int vhu_record_frame(const struct vhu_record *r, struct vhu_frame *ret, struct vhu_err *err);

/*
 * The same without copies: its payload is the record's, its descriptors stand in `fds`. Only for looking at,
 * as long as both are there; it is not to be ended.
 */
int vhu_record_frame_borrow(const struct vhu_record *r, int fds[VHU_CAP_FDS_MAX], struct vhu_frame *ret,
			    struct vhu_err *err);

/* "SET_OWNER", "connect", "kick"; "request 99" and "?" for what is unknown. `scratch` may hold it. */
enum { VHU_RECORD_NAME_CAP = 32 };
const char *vhu_record_name(const struct vhu_record *r, char scratch[VHU_RECORD_NAME_CAP]);
/* The row of a message, as far as its header is there. */
const struct vhu_msg_row *vhu_record_row(const struct vhu_record *r);
/* By who sent it on which channel. */
static inline bool vhu_record_is_reply(const struct vhu_record *r)
{
	return vhu_record_is_message(r) && (r->channel == VHU_CAP_MAIN) == (r->dir == VHU_CAP_DIR_BE);
}
/* A message whose numbers are in the other byte order. */
static inline bool vhu_record_is_foreign(const struct vhu_record *r)
{
	return (r->flags & VHU_CAP_BIG_ENDIAN) != (htobe16(1) == 1 ? VHU_CAP_BIG_ENDIAN : 0);
}
/* Of a session's first message: others went before it that nobody saw. */
static inline bool vhu_record_is_headless(const struct vhu_record *r)
{
	return r->stream_off || r->flags & VHU_CAP_LOST_BEFORE;
}

/*
 * What the file's last record says was lost: each connection's share, then with connection 0 the rest, of
 * which nobody knows whose it was. Nothing for what it does not make sense of.
 */
void vhu_record_losses(const struct vhu_record *r,
		       void (*tell)(void *ctx, uint32_t connection, uint64_t lost), void *ctx);

/* One line of text: LIFE, RING, MEM and META in words, messages as vhu_frame_describe says. Appends. */
void vhu_record_describe(const struct vhu_record *r, enum vhu_device device, struct vhu_buf *out);

enum vhu_cap_channel vhu_cap_channel_of(enum vhu_channel channel);
const char *vhu_cap_tap_name(enum vhu_cap_tap tap);		/* "ebpf" */
const char *vhu_cap_channel_name(enum vhu_cap_channel channel);	/* "main" */
const char *vhu_cap_life_name(unsigned kind);			/* "connect", "?" */
const char *vhu_cap_ring_name(unsigned kind);			/* "kick", "?" */
