/* Messages out of the pieces in which a stream was read. */
#include "capture/stream.h"

#include <errno.h>
#include <string.h>

enum {
	HEADER = VHU_C_HEADER_SIZE,
	KEPT_MAX = VHU_CAP_RECORD_MAX - VHU_CAP_HEADER, /* of a message; further bytes are counted */
	ALL_FLAGS = VHU_C_HEADER_VERSION_MASK | VHU_C_HEADER_REPLY | VHU_C_HEADER_NEED_REPLY,
};

struct vhu_stream {
	struct vhu_stream_id id;
	vhu_record_sink *sink;
	void *ctx;
	uint64_t at;  /* offset of the next byte */
	bool raw;     /* framing is lost for good */
	bool syncing; /* waits for a piece that begins with a header */
	bool ended;
	bool lost_before; /* the next record says so */

	/* The message that is being put together; none while `have` is 0. */
	uint64_t start;	      /* its offset */
	uint64_t have, need;  /* bytes that went by; in all, 0 until the header is complete */
	struct vhu_buf bytes; /* those that are kept */
	bool cut;	      /* some were not seen */
	bool joined;
	uint32_t recvs[VHU_CAP_RECVS_MAX];
	size_t n_recvs;		 /* reads that it came in, those beyond the array counted */
	struct vhu_fd_info *fds; /* room for VHU_CAP_FDS_MAX once there were some */
	size_t n_fds;
	bool fds_lost;

	uint64_t read, last_read; /* of the piece at hand; that ended the message before */
	uint64_t own_reads;	  /* numbers for pieces that have none */
	uint64_t messages, skipped;
};

int vhu_stream_new(const struct vhu_stream_id *id, vhu_record_sink *sink, void *ctx, struct vhu_stream **ret,
		   struct vhu_err *err)
{
	struct vhu_stream *s = calloc(1, sizeof(*s));

	if (!s)
		return vhu_err_errno(err, -ENOMEM, "capture");
	s->id = *id;
	s->sink = sink;
	s->ctx = ctx;
	*ret = s;
	return 0;
}

void vhu_stream_free(struct vhu_stream *s)
{
	if (!s)
		return;
	vhu_buf_done(&s->bytes);
	free(s->fds);
	free(s);
}

void vhu_stream_rename(struct vhu_stream *s, const struct vhu_stream_id *id)
{
	s->id = *id;
}

const struct vhu_stream_id *vhu_stream_id(const struct vhu_stream *s)
{
	return &s->id;
}

uint64_t vhu_stream_messages(const struct vhu_stream *s)
{
	return s->messages;
}

uint64_t vhu_stream_skipped(const struct vhu_stream *s)
{
	return s->skipped;
}

/* --- what a header looks like ----------------------------------------------------------------------- */

static bool size_fits(enum vhu_payload payload, uint64_t size)
{
	const struct vhu_payload_row *row = payload < VHU_PL_MAX ? vhu_payload_row(payload) : NULL;

	return row && size >= row->min && size <= row->max;
}

bool vhu_stream_is_start(enum vhu_cap_channel channel, enum vhu_cap_direction dir, const uint8_t *bytes,
			 size_t len)
{
	const struct vhu_msg_row *row;
	uint32_t flags;
	uint64_t size;
	bool reply;

	if (len < HEADER)
		return false;
	row = vhu_msg_by_id(vhu_cap_frames(channel), (uint32_t)vhu_ne_get(bytes, 4));
	flags = (uint32_t)vhu_ne_get(bytes + 4, 4);
	size = vhu_ne_get(bytes + 8, 4);
	reply = flags & VHU_C_HEADER_REPLY;
	if (!row || flags & ~(uint32_t)ALL_FLAGS)
		return false;
	/* The GPU channel's headers carry no version. */
	if (channel != VHU_CAP_GPU && (flags & VHU_C_HEADER_VERSION_MASK) != VHU_C_HEADER_VERSION)
		return false;
	if (dir != VHU_CAP_DIR_NONE &&
	    reply != (dir == (channel == VHU_CAP_MAIN ? VHU_CAP_DIR_BE : VHU_CAP_DIR_FE)))
		return false;
	if (reply)
		return size == 8 || size_fits(row->reply, size) || size_fits(row->reply_alt, size);
	return size_fits(row->request, size) || size_fits(row->request_alt, size);
}

/* --- one message ------------------------------------------------------------------------------------ */

static void forget(struct vhu_stream *s)
{
	s->have = s->need = 0;
	s->n_recvs = s->n_fds = 0;
	s->cut = s->joined = s->fds_lost = false;
	vhu_buf_reset(&s->bytes);
}

static uint16_t flags_of(struct vhu_stream *s)
{
	unsigned flags = (s->cut ? VHU_CAP_TRUNCATED : 0) | (s->lost_before ? VHU_CAP_LOST_BEFORE : 0) |
			 (s->fds_lost ? VHU_CAP_FDS_LOST : 0) | (s->n_recvs > 1 ? VHU_CAP_SPLIT : 0) |
			 (s->joined ? VHU_CAP_JOINED : 0);

	if (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)
		flags |= VHU_CAP_BIG_ENDIAN;
	return (uint16_t)flags;
}

/* Hands out the message at hand, whose kept bytes are these. */
static int put(struct vhu_stream *s, const struct vhu_piece *p, const uint8_t *bytes, size_t len,
	       unsigned more, struct vhu_err *err)
{
	struct vhu_record r = {
		.t_ns = p->t_ns,
		.channel = s->id.channel,
		.dir = s->id.dir,
		.tap = s->id.tap,
		.flags = (uint16_t)(flags_of(s) | more),
		.connection = s->id.connection,
		.orig_len = (uint32_t)VHU_MIN(s->have, (uint64_t)UINT32_MAX),
		.stream_off = s->start,
		.tgid = p->tgid,
		.tid = p->tid,
		.snd_ino = s->id.snd_ino,
		.rcv_ino = s->id.rcv_ino,
		.payload = bytes,
		.len = len,
		.fds = s->fds,
		.n_fds = s->n_fds,
		.comm = s->id.comm[0] ? s->id.comm : NULL,
		.peer_comm = s->id.peer_comm[0] ? s->id.peer_comm : NULL,
		.text = p->text,
		.recvs = s->recvs,
		.n_recvs = s->n_recvs > 1 ? VHU_MIN(s->n_recvs, (size_t)VHU_CAP_RECVS_MAX) : 0,
	};

	int code = s->sink(s->ctx, &r, err);

	s->messages++;
	s->lost_before = false;
	s->last_read = s->read;
	forget(s);
	return code;
}

static int put_kept(struct vhu_stream *s, const struct vhu_piece *p, unsigned more, struct vhu_err *err)
{
	return put(s, p, (const uint8_t *)vhu_buf_text(&s->bytes), s->bytes.len, more, err);
}

static void take_fds(struct vhu_stream *s, const struct vhu_piece *p, bool *waiting)
{
	size_t n;

	if (!*waiting)
		return;
	*waiting = false;
	if (!s->fds)
		s->fds = calloc(VHU_CAP_FDS_MAX, sizeof(*s->fds));
	n = s->fds ? VHU_MIN(p->n_fds, VHU_CAP_FDS_MAX - s->n_fds) : 0;
	if (n)
		memcpy(s->fds + s->n_fds, p->fds, n * sizeof(*p->fds));
	s->n_fds += n;
	s->fds_lost |= p->fds_lost || n < p->n_fds;
}

/* Counts bytes of the message, to the read that brought them; also those that were not seen. */
static void count(struct vhu_stream *s, uint64_t n, bool new_read)
{
	if (!s->n_recvs || new_read)
		s->n_recvs++;
	if (s->n_recvs <= VHU_CAP_RECVS_MAX) {
		if (!s->have || new_read)
			s->recvs[s->n_recvs - 1] = 0;
		s->recvs[s->n_recvs - 1] += (uint32_t)n;
	}
	s->have += n;
	s->at += n;
}

static void begin(struct vhu_stream *s)
{
	s->start = s->at;
	s->joined = s->last_read && s->read == s->last_read;
}

static int keep(struct vhu_stream *s, const uint8_t *bytes, size_t len, struct vhu_err *err)
{
	size_t room = s->bytes.len < KEPT_MAX ? KEPT_MAX - s->bytes.len : 0;

	/* Behind a hole nothing is kept: a record's payload is cut at its end only. */
	if (s->cut)
		return 0;
	if (len > room) {
		s->cut = true;
		len = room;
	}
	vhu_buf_add(&s->bytes, bytes, len);
	return s->bytes.failed ? vhu_err_errno(err, -ENOMEM, "capture: a message") : 0;
}

/* --- pieces ----------------------------------------------------------------------------------------- */

/* What is left of a piece. */
struct rest {
	const uint8_t *bytes;
	size_t len;
	bool new_read; /* nothing of this read was counted for the message at hand yet */
	bool fds_waiting;
};

static const uint8_t *eat(struct rest *rest, size_t n)
{
	const uint8_t *bytes = rest->bytes;

	rest->bytes += n;
	rest->len -= n;
	return bytes;
}

/* Framing is lost: bytes as they come, in pieces that fit. */
static int put_raw(struct vhu_stream *s, const struct vhu_piece *p, struct rest *rest, struct vhu_err *err)
{
	while (rest->len || s->bytes.len) {
		size_t n = VHU_MIN(rest->len, (size_t)VHU_CAP_PIECE - s->bytes.len);
		int code;

		if (!s->have)
			begin(s);
		take_fds(s, p, &rest->fds_waiting);
		code = keep(s, rest->bytes, n, err);
		if (n)
			count(s, n, s->have && rest->new_read);
		rest->new_read = false;
		eat(rest, n);
		if (code == 0)
			code = put_kept(s, p, VHU_CAP_MALFORMED, err);
		if (code < 0)
			return code;
	}
	return 0;
}

/* Whether the message at hand ends with this piece's last byte or behind it: nothing else starts in the
 * piece. */
static bool ends_piece(const struct vhu_stream *s, const struct rest *rest)
{
	return s->need && s->need - s->have >= rest->len;
}

/* Takes what belongs to the header. True once it is complete. */
static int take_header(struct vhu_stream *s, struct rest *rest, struct vhu_err *err)
{
	size_t n = VHU_MIN(rest->len, HEADER - (size_t)s->have);
	uint32_t size;
	int code = keep(s, rest->bytes, n, err);

	if (code < 0)
		return code;
	count(s, n, s->have && rest->new_read);
	rest->new_read = false;
	eat(rest, n);
	if (s->have < HEADER)
		return 0;
	size = (uint32_t)vhu_ne_get(s->bytes.data + 8, 4);
	if (size > vhu_frame_payload_max(vhu_cap_frames(s->id.channel)))
		s->raw = true;
	else
		s->need = HEADER + (uint64_t)size;
	return 1;
}

/* A message that lies whole in what is left goes out without being copied. */
static bool whole(const struct vhu_stream *s, const struct rest *rest, size_t *ret)
{
	uint32_t size;

	if (s->have || rest->len < HEADER)
		return false;
	size = (uint32_t)vhu_ne_get(rest->bytes + 8, 4);
	if (size > vhu_frame_payload_max(vhu_cap_frames(s->id.channel)) || rest->len - HEADER < size ||
	    HEADER + (size_t)size > KEPT_MAX)
		return false;
	*ret = HEADER + size;
	return true;
}

static int take_payload(struct vhu_stream *s, const struct vhu_piece *p, struct rest *rest,
			struct vhu_err *err)
{
	size_t n = (size_t)VHU_MIN((uint64_t)rest->len, s->need - s->have);
	int code;

	if (ends_piece(s, rest))
		take_fds(s, p, &rest->fds_waiting);
	code = keep(s, rest->bytes, n, err);
	if (code < 0)
		return code;
	if (n)
		count(s, n, s->have && rest->new_read);
	rest->new_read = false;
	eat(rest, n);
	if (s->have < s->need)
		return 0;
	return put_kept(s, p, 0, err);
}

static int take(struct vhu_stream *s, const struct vhu_piece *p, struct rest *rest, struct vhu_err *err)
{
	while (rest->len) {
		size_t len;
		int code;

		if (s->raw)
			return put_raw(s, p, rest, err);
		if (!s->have) {
			begin(s);
			take_fds(s, p, &rest->fds_waiting);
		}
		if (whole(s, rest, &len)) {
			count(s, len, false);
			rest->new_read = false;
			code = put(s, p, eat(rest, len), len, 0, err);
			if (code < 0)
				return code;
			continue;
		}
		if (s->have < HEADER) {
			code = take_header(s, rest, err);
			if (code < 0)
				return code;
			if (s->raw)
				continue;
		}
		if (s->need) {
			code = take_payload(s, p, rest, err);
			if (code < 0)
				return code;
		}
	}
	/* A message of no payload whose header ended the piece, or one whose header was all that came. */
	return s->raw && s->have ? put_raw(s, p, rest, err) : 0;
}

/* `n` bytes went by unseen. */
static int skip(struct vhu_stream *s, const struct vhu_piece *p, uint64_t n, struct vhu_err *err)
{
	if (s->have && s->need) {
		uint64_t inside = VHU_MIN(n, s->need - s->have);

		if (inside)
			s->cut = true;
		s->have += inside;
		s->at += inside;
		n -= inside;
		if (s->have == s->need) {
			int code = put_kept(s, p, 0, err);

			if (code < 0)
				return code;
		}
	}
	if (n) {
		s->skipped += n + s->have;
		s->at += n;
		s->lost_before = true;
		if (!s->raw)
			vhu_stream_resync(s);
	}
	return 0;
}

void vhu_stream_resync(struct vhu_stream *s)
{
	forget(s);
	s->syncing = true;
	s->lost_before = true;
}

int vhu_stream_feed(struct vhu_stream *s, const struct vhu_piece *piece, struct vhu_err *err)
{
	struct rest rest = {
		.bytes = piece->bytes, .len = piece->len, .fds_waiting = piece->n_fds || piece->fds_lost};
	uint64_t read = piece->read ? piece->read : UINT64_MAX - s->own_reads++;
	int code = 0;

	if (s->ended)
		return 0;
	if (piece->off >= 0 && (uint64_t)piece->off > s->at)
		code = skip(s, piece, (uint64_t)piece->off - s->at, err);
	if (code < 0)
		return code;
	rest.new_read = read != s->read;
	s->read = read;
	if (s->syncing && !vhu_stream_is_start(s->id.channel, s->id.dir, piece->bytes, piece->len)) {
		s->at += piece->len + piece->missing;
		s->skipped += piece->len + piece->missing;
		return 0;
	}
	s->syncing = false;
	code = take(s, piece, &rest, err);
	if (code == 0 && rest.fds_waiting && s->have)
		take_fds(s, piece, &rest.fds_waiting);
	if (code == 0 && piece->missing)
		code = skip(s, piece, piece->missing, err);
	return code;
}

int vhu_stream_end(struct vhu_stream *s, uint64_t t_ns, const char *text, struct vhu_err *err)
{
	struct vhu_piece p = {.t_ns = t_ns, .text = text};

	if (s->ended)
		return 0;
	s->ended = true;
	if (!s->have)
		return 0;
	return put_kept(s, &p, VHU_CAP_PARTIAL, err);
}
