/* A record as the bytes of a packet, and back. Every length of a packet is checked before it is used. */
#include "trace/record.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include <jansson.h>

#include "base/arena.h"
#include "base/util.h"

enum {
	TLV_HEAD = 4,
	TEXT_MAX = 1024, /* of one text; longer ones are cut */
	COMM_MAX = 16,
};

enum { FD_SIZE_VALID = 1, FD_INODE_VALID = 2, FD_SEALS_VALID = 4, FD_BAD = 8, FD_STAND_IN = 16 };

/* --- descriptors ------------------------------------------------------------------------------------ */

void vhu_fd_info_read(int fd, struct vhu_fd_info *ret)
{
	struct stat st;
	int seals;

	*ret = (struct vhu_fd_info){.kind = vhu_fd_kind(fd), .number = (uint32_t)fd};
	if (fd < 0 || fstat(fd, &st) < 0) {
		ret->bad = fd == -1;
		ret->number = 0;
		return;
	}
	ret->inode_valid = true;
	ret->dev = st.st_dev;
	ret->inode = st.st_ino;
	if (S_ISREG(st.st_mode)) {
		ret->size_valid = true;
		ret->size = (uint64_t)st.st_size;
	}
	seals = fcntl(fd, F_GET_SEALS);
	if (seals >= 0) {
		ret->seals_valid = true;
		ret->seals = (uint16_t)seals;
	}
}

static void put_fd(uint8_t *p, const struct vhu_fd_info *fd)
{
	p[0] = (uint8_t)fd->kind;
	p[1] = (uint8_t)((fd->size_valid ? FD_SIZE_VALID : 0) | (fd->inode_valid ? FD_INODE_VALID : 0) |
			 (fd->seals_valid ? FD_SEALS_VALID : 0) | (fd->bad ? FD_BAD : 0) |
			 (fd->stand_in ? FD_STAND_IN : 0));
	vhu_le_put(p + 2, 2, fd->seals);
	vhu_le_put(p + 4, 4, fd->number);
	vhu_le_put(p + 8, 8, fd->size);
	vhu_le_put(p + 16, 8, fd->dev);
	vhu_le_put(p + 24, 8, fd->inode);
}

static void get_fd(const uint8_t *p, struct vhu_fd_info *ret)
{
	*ret = (struct vhu_fd_info){
		.kind = p[0] < VHU_FDK_MAX ? (enum vhu_fd_kind)p[0] : VHU_FDK_OTHER,
		.size_valid = p[1] & FD_SIZE_VALID,
		.inode_valid = p[1] & FD_INODE_VALID,
		.seals_valid = p[1] & FD_SEALS_VALID,
		.bad = p[1] & FD_BAD,
		.stand_in = p[1] & FD_STAND_IN,
		.seals = (uint16_t)vhu_le_get(p + 2, 2),
		.number = (uint32_t)vhu_le_get(p + 4, 4),
		.size = vhu_le_get(p + 8, 8),
		.dev = vhu_le_get(p + 16, 8),
		.inode = vhu_le_get(p + 24, 8),
	};
}

/* --- writing ---------------------------------------------------------------------------------------- */

static void put_tlv(struct vhu_buf *b, unsigned type, const void *value, size_t len)
{
	size_t padded = (len + 3) & ~(size_t)3;
	uint8_t *p = vhu_buf_more(b, TLV_HEAD + padded);

	if (!p)
		return;
	memset(p + padded, 0, TLV_HEAD);
	vhu_le_put(p, 2, type);
	vhu_le_put(p + 2, 2, len);
	memcpy(p + TLV_HEAD, value, len);
}

/* What fits of a text before the header's soft end; an empty rest is left out. */
static void put_text(struct vhu_buf *b, size_t start, unsigned type, const char *text, size_t max)
{
	size_t used = b->len - start, room, len;

	if (!text || used + TLV_HEAD + 8 > VHU_CAP_HEADER_SOFT)
		return;
	room = VHU_CAP_HEADER_SOFT - used - TLV_HEAD - 8;
	len = VHU_MIN(VHU_MIN(strlen(text), max), room);
	/* Never in the middle of a character. */
	while (len && ((uint8_t)text[len] & 0xc0) == 0x80)
		len--;
	if (len)
		put_tlv(b, type, text, len);
}

static void put_finding(struct vhu_buf *b, size_t start, const struct vhu_record_finding *f)
{
	char text[TEXT_MAX];

	snprintf(text, sizeof(text), "%s\t%s\t%s", f->requirement, f->verdict, f->summary);
	put_text(b, start, VHU_CAP_TLV_FINDING, text, TEXT_MAX);
}

static void put_recvs(struct vhu_buf *b, size_t start, const struct vhu_record *r)
{
	uint8_t bytes[VHU_CAP_RECVS_MAX * 4];
	size_t n = VHU_MIN(r->n_recvs, (size_t)VHU_CAP_RECVS_MAX);

	if (!n || b->len - start + TLV_HEAD + n * 4 + 8 > VHU_CAP_HEADER_SOFT)
		return;
	for (size_t i = 0; i < n; i++)
		vhu_le_put(bytes + i * 4, 4, r->recvs[i]);
	put_tlv(b, VHU_CAP_TLV_RECVS, bytes, n * 4);
}

/* Descriptors and numbers first: texts get the room that is left. */
static void put_tlvs(struct vhu_buf *b, size_t start, const struct vhu_record *r)
{
	uint8_t bytes[VHU_CAP_REGION_SIZE];

	for (size_t i = 0; i < r->n_fds; i++) {
		put_fd(bytes, &r->fds[i]);
		put_tlv(b, VHU_CAP_TLV_FD, bytes, VHU_CAP_FD_SIZE);
	}
	if (r->has_errno) {
		vhu_le_put(bytes, 4, (uint32_t)r->errno_value);
		put_tlv(b, VHU_CAP_TLV_ERRNO, bytes, 4);
	}
	if (r->has_region) {
		for (size_t i = 0; i < VHU_ARRAY_SIZE(r->region); i++)
			vhu_le_put(bytes + i * 8, 8, r->region[i]);
		put_tlv(b, VHU_CAP_TLV_REGION, bytes, VHU_CAP_REGION_SIZE);
	}
	put_recvs(b, start, r);
	put_text(b, start, VHU_CAP_TLV_COMM, r->comm, COMM_MAX);
	put_text(b, start, VHU_CAP_TLV_PEER_COMM, r->peer_comm, COMM_MAX);
	put_text(b, start, VHU_CAP_TLV_STEP, r->step, TEXT_MAX);
	put_text(b, start, VHU_CAP_TLV_PATH, r->path, TEXT_MAX);
	for (size_t i = 0; i < VHU_MIN(r->n_findings, (size_t)VHU_CAP_FINDINGS_MAX); i++)
		put_finding(b, start, &r->findings[i]);
	put_text(b, start, VHU_CAP_TLV_TEXT, r->text, TEXT_MAX);
}

static void put_head(uint8_t *p, const struct vhu_record *r, uint32_t seq, size_t hdrlen, unsigned flags,
		     uint32_t orig_len)
{
	p[0] = VHU_CAP_VERSION;
	p[1] = (uint8_t)r->dir;
	vhu_le_put(p + 2, 2, hdrlen);
	p[4] = (uint8_t)r->channel;
	p[5] = (uint8_t)r->tap;
	vhu_le_put(p + 6, 2, flags);
	vhu_le_put(p + 8, 4, r->connection);
	vhu_le_put(p + 12, 4, orig_len);
	vhu_le_put(p + 16, 8, r->stream_off);
	vhu_le_put(p + 24, 4, r->tgid);
	vhu_le_put(p + 28, 4, r->tid);
	vhu_le_put(p + 32, 2, r->n_fds);
	vhu_le_put(p + 34, 2, r->kind);
	vhu_le_put(p + 36, 4, seq);
	vhu_le_put(p + 40, 8, r->snd_ino);
	vhu_le_put(p + 48, 8, r->rcv_ino);
}

int vhu_record_encode(const struct vhu_record *r, uint32_t seq, struct vhu_buf *ret, struct vhu_err *err)
{
	static const uint8_t zeroes[VHU_CAP_HEADER];
	size_t start = ret->len, kept = r->len, hdrlen;
	unsigned flags = r->flags;

	if (r->n_fds > VHU_CAP_FDS_MAX || r->len > UINT32_MAX)
		return vhu_err_set(err, -E2BIG,
				   "capture: a record of %zu descriptors and %zu bytes is too large",
				   r->n_fds, r->len);
	vhu_buf_add(ret, zeroes, VHU_CAP_HEADER);
	put_tlvs(ret, start, r);
	vhu_buf_add(ret, zeroes, -(ret->len - start) & 7);
	hdrlen = ret->len - start;
	if (kept > VHU_CAP_RECORD_MAX - hdrlen) {
		kept = VHU_CAP_RECORD_MAX - hdrlen;
		flags |= VHU_CAP_TRUNCATED;
	}
	if (kept)
		vhu_buf_add(ret, r->payload, kept);
	if (ret->failed)
		return vhu_err_errno(err, -ENOMEM, "capture: a record");
	put_head((uint8_t *)ret->data + start, r, seq, hdrlen, flags, VHU_MAX(r->orig_len, (uint32_t)r->len));
	return 0;
}

/* --- reading ---------------------------------------------------------------------------------------- */

const char *vhu_record_fault_text(enum vhu_record_fault fault)
{
	static const char *const texts[] = {
		[VHU_RECORD_OK] = "nothing",
		[VHU_RECORD_SHORT] = "its header or a field of it reaches beyond the record",
		[VHU_RECORD_VERSION] = "its version is not known here: a newer vhu-conform wrote it",
		[VHU_RECORD_BAD] = "a number in its header is out of range",
		[VHU_RECORD_CONNECTION] = "its session is one more than a capture holds: 65535",
		[VHU_RECORD_CRITICAL] = "it has a field that must be understood and is not known here",
		[VHU_RECORD_UNKNOWN] = "its channel is not known here",
	};

	return texts[fault];
}

/* One reading of the TLVs: their values go where they belong. */
struct reading {
	struct vhu_arena *arena;
	struct vhu_record *r;
	struct vhu_fd_info *fds;
	struct vhu_record_finding *findings;
	size_t n_fds;
	enum vhu_record_fault fault;
};

static const char *take_text(struct reading *g, const uint8_t *value, size_t len)
{
	char *text = vhu_arena_alloc(g->arena, len + 1);

	if (text)
		memcpy(text, value, len); /* a NUL in the middle ends the text */
	return text;
}

static int take_finding(struct reading *g, const uint8_t *value, size_t len)
{
	struct vhu_record_finding *f;
	char *text, *verdict, *summary;

	if (g->r->n_findings == VHU_CAP_FINDINGS_MAX)
		return 0;
	if (!g->findings)
		g->r->findings = g->findings =
			vhu_arena_array(g->arena, VHU_CAP_FINDINGS_MAX, sizeof(*g->findings));
	text = (char *)take_text(g, value, len);
	if (!g->findings || !text)
		return -ENOMEM;
	f = &g->findings[g->r->n_findings++];
	verdict = strchr(text, '\t');
	summary = verdict ? strchr(verdict + 1, '\t') : NULL;
	if (verdict)
		*verdict++ = '\0';
	if (summary)
		*summary++ = '\0';
	*f = (struct vhu_record_finding){text, verdict ? verdict : "", summary ? summary : ""};
	return 0;
}

static int take_recvs(struct reading *g, const uint8_t *value, size_t len)
{
	size_t n = VHU_MIN(len / 4, (size_t)VHU_CAP_RECVS_MAX);
	uint32_t *recvs = vhu_arena_array(g->arena, n, sizeof(*recvs));

	if (!recvs)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		recvs[i] = (uint32_t)vhu_le_get(value + i * 4, 4);
	g->r->recvs = recvs;
	g->r->n_recvs = n;
	return 0;
}

static int take_fd(struct reading *g, const uint8_t *value, size_t len)
{
	if (len != VHU_CAP_FD_SIZE || g->n_fds == g->r->n_fds)
		g->fault = VHU_RECORD_BAD;
	else
		get_fd(value, &g->fds[g->n_fds++]);
	return 0;
}

static int take_text_into(struct reading *g, const char **ret, const uint8_t *value, size_t len)
{
	*ret = take_text(g, value, len);
	return *ret ? 0 : -ENOMEM;
}

static int take_tlv(struct reading *g, unsigned type, const uint8_t *value, size_t len)
{
	struct vhu_record *r = g->r;

	switch (type) {
	case VHU_CAP_TLV_FD:
		return take_fd(g, value, len);
	case VHU_CAP_TLV_COMM:
		return take_text_into(g, &r->comm, value, len);
	case VHU_CAP_TLV_PEER_COMM:
		return take_text_into(g, &r->peer_comm, value, len);
	case VHU_CAP_TLV_PATH:
		return take_text_into(g, &r->path, value, len);
	case VHU_CAP_TLV_STEP:
		return take_text_into(g, &r->step, value, len);
	case VHU_CAP_TLV_TEXT:
		return take_text_into(g, &r->text, value, len);
	case VHU_CAP_TLV_FINDING:
		return take_finding(g, value, len);
	case VHU_CAP_TLV_RECVS:
		return take_recvs(g, value, len);
	case VHU_CAP_TLV_ERRNO:
		r->has_errno = len == 4;
		r->errno_value = r->has_errno ? (int32_t)vhu_le_get(value, 4) : 0;
		return 0;
	case VHU_CAP_TLV_REGION:
		r->has_region = len == VHU_CAP_REGION_SIZE;
		for (size_t i = 0; r->has_region && i < VHU_ARRAY_SIZE(r->region); i++)
			r->region[i] = vhu_le_get(value + i * 8, 8);
		return 0;
	default:
		if (type & VHU_CAP_TLV_CRITICAL)
			g->fault = VHU_RECORD_CRITICAL;
		return 0;
	}
}

static int take_tlvs(struct reading *g, const uint8_t *p, size_t len)
{
	while (len >= TLV_HEAD) {
		unsigned type = (unsigned)vhu_le_get(p, 2);
		size_t value = (size_t)vhu_le_get(p + 2, 2), padded = (value + 3) & ~(size_t)3;
		int rc;

		if (type == VHU_CAP_TLV_END)
			return 0;
		if (padded > len - TLV_HEAD) {
			g->fault = VHU_RECORD_SHORT;
			return 0;
		}
		rc = take_tlv(g, type, p + TLV_HEAD, value);
		if (rc < 0 || g->fault != VHU_RECORD_OK)
			return rc;
		p += TLV_HEAD + padded;
		len -= TLV_HEAD + padded;
	}
	return 0;
}

static enum vhu_record_fault take_head(const uint8_t *p, size_t caplen, struct vhu_record *r, size_t *hdrlen)
{
	if (caplen < VHU_CAP_HEADER)
		return VHU_RECORD_SHORT;
	if (p[0] != VHU_CAP_VERSION)
		return VHU_RECORD_VERSION;
	*hdrlen = (size_t)vhu_le_get(p + 2, 2);
	if (*hdrlen > caplen)
		return VHU_RECORD_SHORT;
	if (*hdrlen < VHU_CAP_HEADER || *hdrlen > VHU_CAP_HEADER_MAX || *hdrlen % 8 ||
	    p[1] >= VHU_CAP_DIR_MAX)
		return VHU_RECORD_BAD;
	if (p[4] >= VHU_CAP_CHANNEL_MAX)
		return VHU_RECORD_UNKNOWN;
	r->dir = p[1];
	r->channel = p[4];
	r->tap = p[5] < VHU_CAP_TAP_MAX ? p[5] : VHU_CAP_TAP_UNKNOWN;
	r->flags = (uint16_t)vhu_le_get(p + 6, 2);
	r->connection = (uint32_t)vhu_le_get(p + 8, 4);
	r->orig_len = (uint32_t)vhu_le_get(p + 12, 4);
	r->stream_off = vhu_le_get(p + 16, 8);
	r->tgid = (uint32_t)vhu_le_get(p + 24, 4);
	r->tid = (uint32_t)vhu_le_get(p + 28, 4);
	r->n_fds = (size_t)vhu_le_get(p + 32, 2);
	r->kind = (uint16_t)vhu_le_get(p + 34, 2);
	r->seq = (uint32_t)vhu_le_get(p + 36, 4);
	r->snd_ino = vhu_le_get(p + 40, 8);
	r->rcv_ino = vhu_le_get(p + 48, 8);
	r->payload = p + *hdrlen;
	r->len = caplen - *hdrlen;
	/* Each descriptor has its TLV, so the header bounds their number as well. */
	if (r->n_fds > VHU_CAP_FDS_MAX ||
	    r->n_fds * (TLV_HEAD + VHU_CAP_FD_SIZE) > *hdrlen - VHU_CAP_HEADER || r->orig_len < r->len)
		return VHU_RECORD_BAD;
	return r->connection > VHU_CAP_CONNECTIONS_MAX ? VHU_RECORD_CONNECTION : VHU_RECORD_OK;
}

/* What only TLVs give. Member by member, which takes less than one memset: millions come by here. */
static void take_nothing(struct vhu_record *r)
{
	r->comm = r->peer_comm = r->path = r->step = r->text = NULL;
	r->findings = NULL;
	r->recvs = NULL;
	r->n_findings = r->n_recvs = 0;
	r->has_errno = r->has_region = false;
	r->errno_value = 0;
}

int vhu_record_decode(const uint8_t *packet, size_t caplen, uint64_t t_ns, struct vhu_arena *arena,
		      struct vhu_record *ret, enum vhu_record_fault *fault, struct vhu_err *err)
{
	struct reading g = {.arena = arena, .r = ret};
	size_t hdrlen;
	int rc;

	ret->t_ns = t_ns;
	take_nothing(ret);
	*fault = take_head(packet, caplen, ret, &hdrlen);
	if (*fault != VHU_RECORD_OK)
		return 0;
	if (ret->n_fds) {
		g.fds = vhu_arena_array(arena, ret->n_fds, sizeof(*g.fds));
		if (!g.fds)
			return vhu_err_errno(err, -ENOMEM, "capture: a record");
	}
	ret->fds = g.fds;
	rc = take_tlvs(&g, packet + VHU_CAP_HEADER, hdrlen - VHU_CAP_HEADER);
	if (rc < 0)
		return vhu_err_errno(err, rc, "capture: a record");
	*fault = g.fault == VHU_RECORD_OK && g.n_fds != ret->n_fds ? VHU_RECORD_BAD : g.fault;
	return 0;
}

void vhu_record_losses(const struct vhu_record *r,
		       void (*tell)(void *ctx, uint32_t connection, uint64_t lost), void *ctx)
{
	json_t *root = json_loadb((const char *)r->payload, r->len, 0, NULL);
	json_int_t lost = json_integer_value(json_object_get(root, "lost"));
	json_t *item;
	size_t i;

	json_array_foreach(json_object_get(root, "connections"), i, item)
	{
		json_int_t connection = json_integer_value(json_object_get(item, "connection"));
		json_int_t here = json_integer_value(json_object_get(item, "lost"));

		if (here <= 0 || connection < 1 || connection > VHU_CAP_CONNECTIONS_MAX)
			continue;
		tell(ctx, (uint32_t)connection, (uint64_t)here);
		lost -= VHU_MIN(here, lost);
	}
	if (lost > 0)
		tell(ctx, 0, (uint64_t)lost);
	json_decref(root);
}
