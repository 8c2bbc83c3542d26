/* What a record says: as a frame, and as a line of text. */
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/wait.h>

#include "trace/ring_record.h"

static const char *name_of(const char *const *names, size_t n, unsigned i)
{
	return i < n && names[i] ? names[i] : "?";
}

const char *vhu_cap_tap_name(enum vhu_cap_tap tap)
{
	static const char *const names[] = {"unknown", "self", "proxy", "ebpf", "import"};

	return name_of(names, VHU_ARRAY_SIZE(names), tap);
}

const char *vhu_cap_channel_name(enum vhu_cap_channel channel)
{
	static const char *const names[] = {"meta", "main", "backend", "ring", "mem", "life", "gpu", "state"};

	return name_of(names, VHU_ARRAY_SIZE(names), channel);
}

const char *vhu_cap_life_name(unsigned kind)
{
	static const char *const names[] = {NULL,    "connect", "accept", "close",
					    "start", "exit",	"stop",	  "lost"};

	return name_of(names, VHU_ARRAY_SIZE(names), kind);
}

const char *vhu_cap_ring_name(unsigned kind)
{
	static const char *const names[] = {NULL, "kick", "call", "err", "avail", "used", "layout"};

	return name_of(names, VHU_ARRAY_SIZE(names), kind);
}

enum vhu_cap_channel vhu_cap_channel_of(enum vhu_channel channel)
{
	static const enum vhu_cap_channel of[VHU_CHAN_MAX] = {[VHU_CHAN_MAIN] = VHU_CAP_MAIN,
							      [VHU_CHAN_BACKEND] = VHU_CAP_BACKEND,
							      [VHU_CHAN_GPU] = VHU_CAP_GPU};

	return of[channel];
}

/* What the bytes and the flags say is wrong with it. What only the recorder cut is no defect. */
static uint32_t defects(const struct vhu_record *r, enum vhu_channel channel, uint32_t size)
{
	uint32_t bits = 0;

	if (r->flags & VHU_CAP_FDS_LOST)
		bits |= VHU_DEFECT_FDS_LOST;
	if (r->orig_len < VHU_C_HEADER_SIZE)
		return bits | VHU_DEFECT_TRUNCATED | VHU_DEFECT_HEADER_CUT;
	if (r->flags & VHU_CAP_MALFORMED || size > vhu_frame_payload_max(channel))
		bits |= VHU_DEFECT_OVERSIZED;
	else if (r->flags & VHU_CAP_PARTIAL || r->orig_len - VHU_C_HEADER_SIZE < size)
		bits |= VHU_DEFECT_TRUNCATED;
	return bits;
}

int vhu_record_frame_borrow(const struct vhu_record *r, int fds[VHU_CAP_FDS_MAX], struct vhu_frame *ret,
			    struct vhu_err *err)
{
	size_t header = r->orig_len < VHU_C_HEADER_SIZE ? 0 : VHU_C_HEADER_SIZE;
	uint32_t words[VHU_C_HEADER_SIZE / 4] = {0};

	if (!vhu_record_is_message(r))
		return vhu_err_set(err, -EINVAL, "record %" PRIu32 " is no message", r->seq);
	if (vhu_record_is_foreign(r))
		return vhu_err_set(err, -EINVAL,
				   "record %" PRIu32 " is a message of a machine of the other byte order",
				   r->seq);
	if (r->len < header)
		return vhu_err_set(err, -EINVAL, "record %" PRIu32 " was cut inside the message's header",
				   r->seq);
	if (header)
		memcpy(words, r->payload, sizeof(words));
	for (size_t i = 0; i < r->n_fds; i++)
		fds[i] = vhu_fd_ghost(r->fds[i].kind);
	*ret = (struct vhu_frame){
		.channel = vhu_cap_frames(r->channel),
		.dir = r->dir == VHU_CAP_DIR_BE ? VHU_DIR_BE : VHU_DIR_FE,
		.request = words[0],
		.flags = words[1],
		.size = words[2],
		.payload = r->len > header ? (uint8_t *)r->payload + header : NULL,
		.len = r->len - header,
		.fds = r->n_fds ? fds : NULL,
		.n_fds = r->n_fds,
		.defects = defects(r, vhu_cap_frames(r->channel), words[2]),
	};
	return 0;
}

int vhu_record_frame(const struct vhu_record *r, struct vhu_frame *ret, struct vhu_err *err)
{
	int fds[VHU_CAP_FDS_MAX];
	struct vhu_frame f;
	int code = vhu_record_frame_borrow(r, fds, &f, err);

	if (code < 0)
		return code;
	if (f.len) {
		const uint8_t *bytes = f.payload;

		f.payload = malloc(f.len);
		if (!f.payload)
			return vhu_err_errno(err, -ENOMEM, "capture: a frame");
		memcpy(f.payload, bytes, f.len);
	}
	if (f.n_fds) {
		f.fds = calloc(f.n_fds, sizeof(*f.fds));
		if (!f.fds) {
			free(f.payload);
			return vhu_err_errno(err, -ENOMEM, "capture: a frame");
		}
		memcpy(f.fds, fds, f.n_fds * sizeof(*f.fds));
	}
	*ret = f;
	return 0;
}

const struct vhu_msg_row *vhu_record_row(const struct vhu_record *r)
{
	if (!vhu_record_is_message(r) || r->len < VHU_C_HEADER_SIZE || vhu_record_is_foreign(r))
		return NULL;
	return vhu_msg_by_id(vhu_cap_frames(r->channel), (uint32_t)vhu_ne_get(r->payload, 4));
}

const char *vhu_record_name(const struct vhu_record *r, char scratch[VHU_RECORD_NAME_CAP])
{
	const struct vhu_msg_row *row = vhu_record_row(r);

	if (row)
		return row->name;
	if (vhu_record_is_message(r) && r->len >= VHU_C_HEADER_SIZE) {
		snprintf(scratch, VHU_RECORD_NAME_CAP, "request %" PRIu32,
			 (uint32_t)vhu_ne_get(r->payload, 4));
		return scratch;
	}
	switch (r->channel) {
	case VHU_CAP_LIFE:
		return vhu_cap_life_name(r->kind);
	case VHU_CAP_RING:
		return vhu_cap_ring_name(r->kind);
	case VHU_CAP_META:
		return r->kind == VHU_CAP_META_END ? "end" : "capture";
	case VHU_CAP_MEM:
		return "memory";
	case VHU_CAP_STATE:
		return "state";
	default:
		return "?";
	}
}

/* --- text ------------------------------------------------------------------------------------------- */

static void describe_life(const struct vhu_record *r, struct vhu_buf *out)
{
	const char *who = r->dir == VHU_CAP_DIR_FE   ? " by the front-end"
			  : r->dir == VHU_CAP_DIR_BE ? " by the back-end"
						     : "";
	int status = r->len >= 4 ? (int)vhu_le_get(r->payload, 4) : 0;

	vhu_buf_printf(out, "* %s%s", vhu_cap_life_name(r->kind), who);
	if (r->kind == VHU_CAP_LIFE_EXIT && r->len >= 4 && WIFSIGNALED(status))
		vhu_buf_printf(out, " by signal %d", WTERMSIG(status));
	else if (r->kind == VHU_CAP_LIFE_EXIT && r->len >= 4)
		vhu_buf_printf(out, " with status %d", WEXITSTATUS(status));
	if (r->kind == VHU_CAP_LIFE_LOST && r->len >= 8)
		vhu_buf_printf(out, " %" PRIu64 " records", vhu_le_get(r->payload, 8));
	if (r->has_errno && r->errno_value)
		vhu_buf_printf(out, ": %s", strerror(r->errno_value));
	if (r->path)
		vhu_buf_printf(out, " path=%s", r->path);
}

static uint64_t part(const struct vhu_record *r, size_t at, unsigned size)
{
	return vhu_le_get(r->payload + at, size);
}

/* A request: its descriptors, those that the device writes with a "w", and how much of it is in the record.
 */
static void describe_avail(const struct vhu_ring_record *ring, struct vhu_buf *out)
{
	enum { TOLD = 8 };

	vhu_buf_printf(out, " head=%u index=%" PRIu32 " descriptors=%u", ring->head, ring->index,
		       ring->n_desc);
	for (size_t i = 0; i < VHU_MIN(ring->n_desc, (size_t)TOLD); i++) {
		struct vhu_ring_desc d = vhu_ring_record_desc(ring, i);

		vhu_buf_printf(out, "%s0x%" PRIx64 "+%" PRIu32 "%s", i ? " " : " [", d.addr, d.len,
			       d.flags & VHU_C_DESC_F_WRITE	 ? "w"
			       : d.flags & VHU_C_DESC_F_INDIRECT ? "i"
								 : "");
	}
	vhu_buf_printf(out, "%s contents=%zu",
		       !ring->n_desc	     ? ""
		       : ring->n_desc > TOLD ? " …]"
					     : "]",
		       ring->n_data);
}

static void describe_used(const struct vhu_ring_record *ring, struct vhu_buf *out)
{
	if (ring->id == VHU_CAP_NO_ID)
		vhu_buf_printf(out, " no element, index=%" PRIu32, ring->index);
	else
		vhu_buf_printf(out,
			       " id=%" PRIu32 " len=%" PRIu32 " index=%" PRIu32 " hash=0x%" PRIx64
			       " contents=%zu",
			       ring->id, ring->len, ring->index, ring->hash, ring->n_data);
}

static void describe_ring(const struct vhu_record *r, struct vhu_buf *out)
{
	struct vhu_ring_record ring;

	vhu_buf_printf(out, "%s %s", r->dir == VHU_CAP_DIR_BE ? "<" : ">", vhu_cap_ring_name(r->kind));
	if (r->len >= 4)
		vhu_buf_printf(out, " queue=%" PRIu64, part(r, 0, 4));
	if (!vhu_ring_record_parse(r, &ring)) {
		vhu_buf_printf(out, " (%zu bytes that make no sense)", r->len);
		return;
	}
	switch (ring.kind) {
	case VHU_CAP_RING_AVAIL:
		describe_avail(&ring, out);
		break;
	case VHU_CAP_RING_USED:
		describe_used(&ring, out);
		break;
	case VHU_CAP_RING_LAYOUT:
		vhu_buf_printf(out,
			       " size=%u %s desc=0x%" PRIx64 " driver=0x%" PRIx64 " device=0x%" PRIx64
			       " base=%" PRIu32,
			       ring.size, ring.packed ? "packed" : "split", ring.part[0], ring.part[1],
			       ring.part[2], ring.base);
		break;
	default:
		vhu_buf_printf(out, " value=%" PRIu64, ring.value);
		break;
	}
}

/* Which memory, and what of it. */
static void describe_memory(const struct vhu_record *r, struct vhu_buf *out)
{
	static const char *const kinds[VHU_CAP_MEM_MAX] = {NULL, "ring", "buffer", "inflight", "log"};
	static const char *const encodings[VHU_CAP_ENCODING_MAX] = {"bytes", "zeroes", "a pattern"};

	vhu_buf_printf(out, "%s memory of %s", r->dir == VHU_CAP_DIR_BE ? "<" : ">",
		       name_of(kinds, VHU_ARRAY_SIZE(kinds), r->kind));
	if (r->has_region)
		vhu_buf_printf(out, " region=0x%" PRIx64 "+0x%" PRIx64, r->region[VHU_CAP_REGION_GUEST],
			       r->region[VHU_CAP_REGION_LEN]);
	if (r->len >= VHU_CAP_MEM_HEAD)
		vhu_buf_printf(out, " offset=0x%" PRIx64 " length=%" PRIu64 " (%s)", part(r, 0, 8),
			       part(r, 8, 4),
			       name_of(encodings, VHU_ARRAY_SIZE(encodings), (unsigned)part(r, 12, 4)));
}

static void describe_flags(const struct vhu_record *r, struct vhu_buf *out)
{
	static const struct {
		unsigned bit;
		const char *text;
	} words[] = {
		{VHU_CAP_TRUNCATED, "cut by the recorder"},
		{VHU_CAP_LOST_BEFORE, "something was lost before"},
		{VHU_CAP_PARTIAL, "the connection ended inside"},
		{VHU_CAP_MALFORMED, "raw bytes"},
		{VHU_CAP_INTENDED, "on purpose"},
		{VHU_CAP_SCRUBBED, "scrubbed"},
	};

	for (size_t i = 0; i < VHU_ARRAY_SIZE(words); i++)
		if (r->flags & words[i].bit)
			vhu_buf_printf(out, " (%s)", words[i].text);
}

static void describe_other(const struct vhu_record *r, struct vhu_buf *out)
{
	switch (r->channel) {
	case VHU_CAP_LIFE:
		describe_life(r, out);
		return;
	case VHU_CAP_RING:
		describe_ring(r, out);
		return;
	case VHU_CAP_MEM:
		describe_memory(r, out);
		return;
	case VHU_CAP_META:
		vhu_buf_printf(out, "* %s %.*s", r->kind == VHU_CAP_META_END ? "end" : "capture",
			       (int)VHU_MIN(r->len, (size_t)200), (const char *)r->payload);
		return;
	default:
		vhu_buf_printf(out, "%s %s of %" PRIu32 " bytes", r->dir == VHU_CAP_DIR_BE ? "<" : ">",
			       vhu_cap_channel_name(r->channel), r->orig_len);
	}
}

void vhu_record_describe(const struct vhu_record *r, enum vhu_device device, struct vhu_buf *out)
{
	_cleanup_(vhu_frame_done) struct vhu_frame f = {0};
	struct vhu_err err = {0};

	if (!vhu_record_is_message(r))
		describe_other(r, out);
	else if (vhu_record_frame(r, &f, &err) == 0)
		vhu_frame_describe(&f, device, out);
	else
		vhu_buf_puts(out, err.text);
	describe_flags(r, out);
}
