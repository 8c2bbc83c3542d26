/*
 * Bytes to frames and back, driven by the payload rows; no code for single messages. A frame
 * that breaks the format is a frame with defects, not an error: judging it is the oracle's.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "spec/spec.h"

enum {
	VHU_FRAME_FDS_MAX = 253,	/* the kernel's SCM_MAX_FD */
	VHU_FRAME_PAYLOAD_MAX = 65536,	/* a larger size field is believed to be none */
	VHU_FRAME_GPU_PAYLOAD_MAX = 64 << 20,	/* on the GPU channel, whose frames carry pictures */
};
/* The limit of a channel. */
size_t vhu_frame_payload_max(enum vhu_channel channel);

/*
 * Kinds of descriptor, as far as the tester can tell; for traces and for choosing what to send. Captures hold
 * these numbers.
 */
enum vhu_fd_kind {
	VHU_FDK_UNKNOWN, VHU_FDK_MEMFD, VHU_FDK_HUGETLB, VHU_FDK_SHM, VHU_FDK_FILE, VHU_FDK_EVENTFD,
	VHU_FDK_SOCKET,	VHU_FDK_PIPE, VHU_FDK_USERFAULT, VHU_FDK_DEVICE, VHU_FDK_OTHER, VHU_FDK_MAX
};
enum vhu_fd_kind vhu_fd_kind(int fd);
const char *vhu_fd_kind_name(enum vhu_fd_kind kind);
/*
 * Stands for a descriptor that is not here and of which only the kind is known, as in a recorded frame: a
 * number below -1, of which vhu_fd_kind gives the kind back. -1 is one that was taken from its frame.
 */
int vhu_fd_ghost(enum vhu_fd_kind kind);

/* What is wrong with a frame's form, as bits. */
enum {
	VHU_DEFECT_OVERSIZED = 1 << 0,	/* size above the channel's limit: the stream is lost behind it */
	VHU_DEFECT_TRUNCATED = 1 << 1,	/* the connection ended inside it */
	VHU_DEFECT_FDS_LOST = 1 << 2,	/* the kernel dropped descriptors (MSG_CTRUNC), or too many came */
	VHU_DEFECT_HEADER_CUT = 1 << 3,	/* with TRUNCATED: inside its header, whose bytes are the payload */
};

struct vhu_frame {
	enum vhu_channel channel;
	enum vhu_dir dir;
	uint32_t request, flags, size;	/* the header as it was */
	uint8_t *payload;		/* len bytes, malloc'ed; NULL when len is 0 */
	size_t len;			/* may differ from size where defects say so, or where a case lies */
	int *fds;			/* n_fds descriptors, owned until vhu_frame_take_fd */
	size_t n_fds;
	uint32_t defects;
	/* What vhu_frame_settle found. */
	bool settled;
	enum vhu_payload layout;
	const struct vhu_msg_row *row;
};

/* A request of `msg` with header filled in and a zeroed payload of its smallest legal size. */
int vhu_frame_request(struct vhu_frame *f, enum vhu_msg msg, struct vhu_err *err);
/* Frees payload and closes the descriptors still owned. A zeroed frame is fine. */
void vhu_frame_done(struct vhu_frame *f);
/* A copy without descriptors. */
int vhu_frame_copy(const struct vhu_frame *f, struct vhu_frame *ret, struct vhu_err *err);
/* The i-th descriptor becomes the caller's; -1 if there is none or it was taken. */
int vhu_frame_take_fd(struct vhu_frame *f, size_t i);
/* Gives a descriptor to the frame; on failure it stays the caller's. */
int vhu_frame_give_fd(struct vhu_frame *f, int fd, struct vhu_err *err);
/* Grows (zeroes) or shrinks the payload and sets size to it. -E2BIG above VHU_FRAME_GPU_PAYLOAD_MAX. */
int vhu_frame_resize(struct vhu_frame *f, size_t len, struct vhu_err *err);

/* By who sent it on which channel; what its flags say is another question. */
bool vhu_frame_is_reply(const struct vhu_frame *f);
/* Its row, NULL if the id is unknown on its channel. */
static inline const struct vhu_msg_row *vhu_frame_row(const struct vhu_frame *f)
{
	return f->settled ? f->row : vhu_msg_by_id(f->channel, f->request);
}
/*
 * How the payload of this frame is laid out: by its row, direction and size (a reply of 8 bytes
 * that is no reply of the message's own is a u64). VHU_PL_MAX if nothing fits. Where two layouts
 * of a row have one size the first counts: 8 bytes of SET_MEM_TABLE are a table of no regions.
 */
enum vhu_payload vhu_frame_find_payload(const struct vhu_frame *f);
static inline enum vhu_payload vhu_frame_payload(const struct vhu_frame *f)
{
	return f->settled ? f->layout : vhu_frame_find_payload(f);
}
/* Looks both up once, in a frame that many look at and that stays as it is. */
void vhu_frame_settle(struct vhu_frame *f);

/* Where a number stands: `size` bytes at `offset`, of these `width` bits from bit `shift`. */
struct vhu_slot {
	size_t offset, size;
	unsigned shift, width;
};
/* That of a field or bit field: VHU_SLOT(VRING_FD, no_fd). */
#define VHU_SLOT(pl, name)                                                                                   \
	((struct vhu_slot){VHU_AT_##pl##_##name, VHU_BYTES_##pl##_##name, VHU_SHIFT_##pl##_##name,           \
			   VHU_WIDTH_##pl##_##name})

static inline uint64_t vhu_slot_mask(struct vhu_slot s)
{
	return s.width >= 64 ? UINT64_MAX : (UINT64_C(1) << s.width) - 1;
}

static inline bool vhu_frame_has(const struct vhu_frame *f, struct vhu_slot s)
{
	return s.offset <= f->len && s.size <= f->len - s.offset;
}

/* The number there; false if the payload is too short to hold it. */
static inline bool vhu_frame_load(const struct vhu_frame *f, struct vhu_slot s, uint64_t *ret)
{
	if (!vhu_frame_has(f, s))
		return false;
	*ret = vhu_ne_get(f->payload + s.offset, s.size) >> s.shift & vhu_slot_mask(s);
	return true;
}

/* The same; 0 unless `pl` is the frame's own layout. */
static inline uint64_t vhu_frame_number(const struct vhu_frame *f, enum vhu_payload pl, struct vhu_slot s)
{
	uint64_t value = 0;

	if (vhu_frame_payload(f) == pl)
		vhu_frame_load(f, s, &value);
	return value;
}
/* What vhu_frame_u64 says, where layout and name are known when this is compiled: VHU_NUMBER(f, U64, u64). */
#define VHU_NUMBER(f, pl, name) vhu_frame_number(f, VHU_PL_##pl, VHU_SLOT(pl, name))
/* The ring that it names, under whichever of the layouts that name one; else false and 0. */
bool vhu_frame_ring(const struct vhu_frame *f, uint64_t *ret);

/*
 * A number by name under a given layout: a field ("num"), a bit field ("no_fd"), an element of
 * an array ("mem_size[3]", "region[0].memory_size"), a field of an embedded region
 * ("memory_size" of MEM_REG). False if there is none or the payload is too short to hold it.
 */
bool vhu_frame_get(const struct vhu_frame *f, enum vhu_payload pl, const char *name, uint64_t *ret);
/* Sets it; -ENOENT, -ERANGE (does not fit the field), -ENOSPC (payload too short). */
int vhu_frame_set(struct vhu_frame *f, enum vhu_payload pl, const char *name, uint64_t value);
/* Short for the common case: field of the frame's own layout; 0 if it has none. */
uint64_t vhu_frame_u64(const struct vhu_frame *f, const char *name);
/* A field of the config space that a payload of layout CONFIG carries; false if it is not (whole) in it. */
bool vhu_frame_config(const struct vhu_frame *f, enum vhu_device device, const char *name, uint64_t *ret);

/* Region i of a MEM_TABLE or (i = 0) MEM_REG payload: field of payload REGION. */
bool vhu_frame_region(const struct vhu_frame *f, enum vhu_payload pl, size_t i, const char *field,
		      uint64_t *ret);
/*
 * Bytes of the file behind descriptor number i that the message speaks of: region, log or inflight buffer.
 * 0 if it speaks of none, or of more than 64 bits hold.
 */
uint64_t vhu_frame_end_in_file(const struct vhu_frame *f, size_t i);
int vhu_frame_set_region(struct vhu_frame *f, enum vhu_payload pl, size_t i, const char *field,
			 uint64_t value);

/*
 * A byte field ("uuid", "payload"), as far as it is there. False if there is none or nothing of
 * it. *ret points into the frame.
 */
bool vhu_frame_bytes(const struct vhu_frame *f, enum vhu_payload pl, const char *name, const uint8_t **ret,
		     size_t *ret_len);
/*
 * Sets it: one that reaches to the payload's end resizes the frame (the field that counts its
 * bytes is the caller's); one of fixed size is filled up with zeroes. -ENOENT, -ERANGE (too
 * long), -ENOSPC (payload too short), -E2BIG, -ENOMEM.
 */
int vhu_frame_set_bytes(struct vhu_frame *f, enum vhu_payload pl, const char *name, const uint8_t *bytes,
			size_t len);

/* Whether len is a legal size of the payload (count fields looked at, tail padding may be left out). */
bool vhu_payload_size_ok(enum vhu_payload pl, const uint8_t *payload, size_t len);

/* Appends header and payload as they go on the wire (or came from it, where defects say so). */
int vhu_frame_encode(const struct vhu_frame *f, struct vhu_buf *ret, struct vhu_err *err);

/*
 * The one text form of a frame, on one line:
 *   > SET_VRING_NUM index=0 num=128 [need_reply] fds=eventfd
 * `>` is front-end to back-end; replies say "reply". Appends; never fails; cuts long values.
 */
void vhu_frame_describe(const struct vhu_frame *f, enum vhu_device device, struct vhu_buf *out);

/* --- reassembly ------------------------------------------------------------------------------ */

/* Descriptors that arrived with one piece of the stream. */
struct vhu_fd_batch {
	uint64_t start, end;		/* the piece, as offsets in the stream */
	size_t n_fds;
	bool lost;			/* there were more */
};

/* Puts frames together from whatever pieces a stream delivers. A zeroed struct after _init. */
struct vhu_assembler {
	enum vhu_channel channel;
	enum vhu_dir dir;
	uint8_t *bytes;			/* kept from frame to frame: no allocation for each */
	size_t start, end, cap;		/* bytes[start … end) are in no frame yet */
	uint64_t at;			/* offset of bytes[start] in the stream */
	int *fds;			/* arrived and not yet given to a frame */
	size_t n_fds, cap_fds;
	struct vhu_fd_batch *batches;	/* the same, by piece */
	size_t n_batches, cap_batches;
	bool lost;			/* framing is lost: everything further is swallowed */
};

void vhu_assembler_init(struct vhu_assembler *a, enum vhu_channel channel, enum vhu_dir dir);
void vhu_assembler_done(struct vhu_assembler *a);
/* Takes bytes and descriptors (ownership of all, also on failure). -ENOMEM. */
int vhu_assembler_feed(struct vhu_assembler *a, const void *bytes, size_t len, const int *fds, size_t n_fds,
		       bool fds_lost, struct vhu_err *err);
/*
 * The next frame: 1 and *ret (the caller's), 0 if none is complete, -ENOMEM. Descriptors belong
 * to the first frame that starts in the piece they came with, or, if none does, to the frame
 * that the piece continues. After an oversized header (one frame with that defect) there are
 * no more.
 */
int vhu_assembler_next(struct vhu_assembler *a, struct vhu_frame *ret, struct vhu_err *err);
/* At the stream's end, once _next gave 0: what is left as one TRUNCATED frame: 1; 0: nothing; -ENOMEM. */
int vhu_assembler_end(struct vhu_assembler *a, struct vhu_frame *ret, struct vhu_err *err);
