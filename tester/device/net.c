/* A network device's requests: frames to send, and buffers for what comes. */
#include "net_frame.h"

#include <errno.h>
#include <string.h>

#include "io.h"

enum {
	PAIRS_MAX = VHU_LAYOUT_RINGS_MAX / 2,
	PACKET_MAX = 1 << 18, /* what is kept of a packet that goes over several buffers */
	TOLD_MAX = 2,	      /* of a kind */
	BEFORE = 54,	      /* bytes of a frame that names itself */
};

/* What a receive ring has, and the packet that is coming in by several buffers. */
struct receiver {
	unsigned posted;
	uint64_t received;
	unsigned want, have; /* buffers of the packet */
	bool split_told;
	uint8_t *bytes;
	size_t len;
};

struct vhu_net {
	struct vhu_driver *d;
	struct receiver rx[PAIRS_MAX];
	unsigned unsent[PAIRS_MAX];
	struct vhu_net_frame *sent;
	size_t n_sent, cap_sent;
	unsigned told[VHU_BREACH_MAX];
};

/* What is wrong with one frame is wrong with most. */
#define TELL(io, breach, ...)                                                                                \
	do {                                                                                                 \
		if ((io)->d->net->told[breach]++ < TOLD_MAX)                                                 \
			vhu_driver_report(io, breach, 0, __VA_ARGS__);                                       \
	} while (0)

struct vhu_net *vhu_driver_net(struct vhu_driver *d)
{
	if (!d->net && (d->net = calloc(1, sizeof(*d->net))))
		d->net->d = d;
	return d->net;
}

void vhu_net_free(struct vhu_net *n)
{
	if (!n)
		return;
	for (size_t i = 0; i < PAIRS_MAX; i++)
		free(n->rx[i].bytes);
	free(n->sent);
	free(n);
}

size_t vhu_net_header_size(uint64_t features)
{
	if (features & VHU_V(VIRTIO_NET_F_HASH_REPORT))
		return 20;
	return features & (VHU_V(VIRTIO_F_VERSION_1) | VHU_V(VIRTIO_NET_F_MRG_RXBUF)) ? 12 : 10;
}

static bool has(const struct vhu_net *n, uint64_t features)
{
	return n->d->opts.features & features;
}

unsigned vhu_net_posted(const struct vhu_net *n, unsigned pair)
{
	return pair < PAIRS_MAX ? n->rx[pair].posted : 0;
}

uint64_t vhu_net_received(const struct vhu_net *n, unsigned pair)
{
	return pair < PAIRS_MAX ? n->rx[pair].received : 0;
}

unsigned vhu_net_unsent(const struct vhu_net *n, unsigned pair)
{
	return pair < PAIRS_MAX ? n->unsent[pair] : 0;
}

const struct vhu_net_frame *vhu_net_frame(const struct vhu_net *n, uint32_t number)
{
	return number < n->n_sent ? &n->sent[number] : NULL;
}

/* --- sending ------------------------------------------------------------------------------------- */

static bool book_frame(struct vhu_net *n, const struct vhu_net_send *spec)
{
	if (n->n_sent == n->cap_sent) {
		size_t cap = n->cap_sent ? 2 * n->cap_sent : 64;
		struct vhu_net_frame *more = realloc(n->sent, cap * sizeof(*more));

		if (!more)
			return false;
		n->sent = more;
		n->cap_sent = cap;
	}
	n->sent[n->n_sent] = (struct vhu_net_frame){
		.pair = spec->pair, .len = spec->len, .partial = spec->partial, .loose = spec->loose};
	return true;
}

int64_t vhu_net_send(struct vhu_net *n, const struct vhu_net_send *spec, struct vhu_err *err)
{
	struct vhu_io_spec io_spec = {.op = VHU_IO_SEND,
				      .indirect = spec->indirect,
				      .segments = spec->segments,
				      .n_segments = spec->n_segments,
				      .send = spec};
	struct vhu_io *io;
	int r;

	if (spec->len < VHU_NET_FRAME_MIN || spec->len > VHU_NET_FRAME_MAX || spec->pair >= PAIRS_MAX)
		return vhu_err_set(err, -EINVAL, "a frame of %u bytes on pair %u: must be %d to %d bytes",
				   spec->len, spec->pair, VHU_NET_FRAME_MIN, VHU_NET_FRAME_MAX);
	if (!book_frame(n, spec))
		return vhu_err_set(err, -ENOMEM, "out of memory");
	r = vhu_driver_submit(n->d, 2 * spec->pair + 1, &io_spec, &io, err);
	if (r < 0)
		return r;
	vhu_io_free(io);
	return (int64_t)n->n_sent++;
}

/* Header and frame, each in a descriptor, or cut as the spec says; the last piece has what is left. */
static int build_send(struct vhu_io *io, const struct vhu_io_spec *spec, struct vhu_err *err)
{
	size_t header = vhu_net_header_size(io->d->opts.features), left = header + spec->send->len;
	int r = 0;

	io->data_len = spec->send->len;
	if (spec->n_segments == 0 && !spec->send->one_piece) {
		r = vhu_io_push(io, false, header, IO_HEADER, err);
		left -= header;
	}
	for (size_t i = 0; i < spec->n_segments && r == 0; i++) {
		if (spec->segments[i] >= left)
			return vhu_err_set(err, -EINVAL, "segments of more than the %zu bytes of the frame",
					   header + spec->send->len);
		r = vhu_io_push(io, false, spec->segments[i], IO_PART, err);
		left -= spec->segments[i];
	}
	return r < 0 ? r : vhu_io_push(io, false, left, IO_PART, err);
}

static void fill_send(struct vhu_io *io, const struct vhu_net_send *spec)
{
	size_t header = vhu_net_header_size(io->d->opts.features);
	const struct net_id id = {.seed = io->d->opts.seed,
				  .number = (uint32_t)io->d->net->n_sent,
				  .pair = spec->pair,
				  .len = spec->len};

	memcpy(io->out, spec->header, header);
	vhu_net_frame_make(&id, spec->partial, io->out + header);
	io->sector = id.number;
}

static void complete_send(struct vhu_io *io)
{
	if (!io->batch && io->used_len && has(io->d->net, VHU_V(VIRTIO_F_VERSION_1)))
		TELL(io, VHU_BREACH_NET_SENT_LEN, "used length %u, must be 0", io->used_len);
}

/* --- receiving ----------------------------------------------------------------------------------- */

int vhu_net_post(struct vhu_net *n, unsigned pair, const uint32_t *segments, size_t n_segments, unsigned max,
		 struct vhu_err *err)
{
	const struct vhu_io_spec spec = {
		.op = VHU_IO_RECEIVE, .segments = segments, .n_segments = n_segments};
	int added = 0;

	if (pair >= PAIRS_MAX)
		return vhu_err_set(err, -EINVAL, "there is no pair %u", pair);
	for (; n->rx[pair].posted < max; added++) {
		struct vhu_io *io;
		int r = vhu_driver_submit(n->d, 2 * pair, &spec, &io, err);

		if (r == -ENOSPC && n->rx[pair].posted)
			break;
		if (r < 0)
			return r;
		vhu_io_free(io);
	}
	return added;
}

static int build_receive(struct vhu_io *io, const struct vhu_io_spec *spec, struct vhu_err *err)
{
	int r = 0;

	for (size_t i = 0; i < spec->n_segments && r == 0; i++)
		r = vhu_io_push(io, true, spec->segments[i], IO_PART, err);
	return r;
}

static uint64_t field(const uint8_t *header, const char *name)
{
	const struct vhu_layout_row *row;

	for (size_t i = 0; (row = vhu_layout_field("net_header", i)); i++)
		if (!strcmp(row->field, name))
			return vhu_le_get(header + row->offset, row->size);
	return 0;
}

static const struct {
	unsigned type;
	uint64_t features; /* one of them allows it */
} gso_types[] = {
	{VHU_C_NET_GSO_TCPV4, VHU_V(VIRTIO_NET_F_GUEST_TSO4)},
	{VHU_C_NET_GSO_TCPV6, VHU_V(VIRTIO_NET_F_GUEST_TSO6)},
	{VHU_C_NET_GSO_UDP, VHU_V(VIRTIO_NET_F_GUEST_UFO)},
	{VHU_C_NET_GSO_UDP_L4, VHU_V(VIRTIO_NET_F_GUEST_USO4) | VHU_V(VIRTIO_NET_F_GUEST_USO6)},
};

static void judge_gso(struct vhu_io *io, unsigned flags, unsigned type, unsigned size)
{
	const struct vhu_net *n = io->d->net;
	bool allowed = false;

	if (!type)
		return;
	for (size_t i = 0; i < VHU_ARRAY_SIZE(gso_types); i++)
		allowed |= (type & ~(unsigned)VHU_C_NET_GSO_ECN) == gso_types[i].type &&
			   has(n, gso_types[i].features);
	if (!allowed)
		TELL(io, VHU_BREACH_NET_GSO, "gso_type %u, no negotiated feature allows that", type);
	else if (!size || !(flags & VHU_C_NET_F_NEEDS_CSUM))
		TELL(io, VHU_BREACH_NET_GSO_SIZE, "gso_type %u, gso_size %u, flags %u", type, size, flags);
}

static void judge_csum(struct vhu_io *io, const uint8_t *header, unsigned flags, size_t frame_len)
{
	uint64_t start = field(header, "csum_start"), offset = field(header, "csum_offset");

	if (!has(io->d->net, VHU_V(VIRTIO_NET_F_GUEST_CSUM))) {
		if (flags)
			TELL(io,
			     flags == VHU_C_NET_F_DATA_VALID ? VHU_BREACH_NET_DATA_VALID
							     : VHU_BREACH_NET_FLAGS,
			     "flags %u, must be 0 without GUEST_CSUM", flags);
		return;
	}
	if ((flags & VHU_C_NET_F_NEEDS_CSUM) && start + offset + 2 > frame_len)
		TELL(io, VHU_BREACH_NET_CSUM, "csum_start %llu and csum_offset %llu in a frame of %zu bytes",
		     (unsigned long long)start, (unsigned long long)offset, frame_len);
}

static void judge_hash(struct vhu_io *io, const uint8_t *header)
{
	uint64_t report = field(header, "hash_report"), padding = field(header, "padding");

	if (has(io->d->net, VHU_V(VIRTIO_NET_F_HASH_REPORT)) && (report > 9 || padding))
		TELL(io, VHU_BREACH_NET_HASH, "hash_report %llu, padding %llu", (unsigned long long)report,
		     (unsigned long long)padding);
}

static enum vhu_breach offset_breach(const struct vhu_net *n)
{
	if (has(n, VHU_V(VIRTIO_F_RING_PACKED)))
		return VHU_BREACH_NET_OFFSET_PACKED;
	return has(n, VHU_V(VIRTIO_F_VERSION_1)) ? VHU_BREACH_NET_OFFSET : VHU_BREACH_NET_OFFSET_LEGACY;
}

/* A frame of another length than it was sent with. */
static void tell_length(struct vhu_io *io, uint32_t sent, size_t len)
{
	size_t header = vhu_net_header_size(io->d->opts.features);
	bool merges = has(io->d->net, VHU_V(VIRTIO_NET_F_MRG_RXBUF));
	bool part = !merges && len < sent && header + sent > io->in_len;
	enum vhu_breach breach = part ? VHU_BREACH_NET_PART : VHU_BREACH_NET_USED_LEN;

	TELL(io, breach, "%zu bytes of a frame of %u bytes came%s", len, sent,
	     part ? ", there was no room for more" : "");
}

/* A frame that says it is ours: noted with what it was sent as. */
static void note_frame(struct vhu_io *io, const struct net_id *id, const uint8_t *packet, size_t len)
{
	struct vhu_net *n = io->d->net;
	size_t header = vhu_net_header_size(io->d->opts.features);
	struct vhu_net_frame *f = id->number < n->n_sent ? &n->sent[id->number] : NULL;
	struct net_id was;
	bool complete = !(packet[0] & (VHU_C_NET_F_NEEDS_CSUM | VHU_C_NET_F_DATA_VALID));

	if (!f)
		return;
	was = (struct net_id){.seed = id->seed, .number = id->number, .pair = f->pair, .len = f->len};
	f->came++;
	f->pair_came = io->queue / 2;
	memcpy(f->header, packet, header);
	if (f->loose)
		return;
	if (len - header != was.len)
		tell_length(io, was.len, len - header);
	if (!f->harm[0])
		f->rewritten = vhu_net_frame_same(&was, complete, packet + header, len - header, f->harm,
						  sizeof(f->harm)) == NET_REWRITTEN;
}

/* Whether some driver or other has headers of that size; a fault may be two bytes off. */
static bool is_header(long size)
{
	static const long sizes[] = {8, 10, 12, 14, 18, 20, 22, 24, 32};

	for (size_t i = 0; i < VHU_ARRAY_SIZE(sizes); i++)
		if (sizes[i] == size)
			return true;
	return false;
}

/* A packet is whole: its header is judged, and its frame if it is one of ours. */
static void judge_packet(struct vhu_io *io, const uint8_t *bytes, size_t len)
{
	struct vhu_net *n = io->d->net;
	size_t header = vhu_net_header_size(io->d->opts.features);
	unsigned flags = bytes[0];
	struct net_id id = {0};
	long at = vhu_net_frame_find(io->d->opts.seed, bytes, len, header, &id);

	if (at >= 0 && (size_t)at != header && !is_header(at))
		at = -1; /* another's packet quotes ours: an ICMP error does */
	if (at >= 0 && (size_t)at != header) {
		enum vhu_breach breach = offset_breach(n);

		TELL(io, breach, "the frame begins at byte %ld, must be at %zu", at, header);
		return;
	}
	judge_gso(io, flags, bytes[1], (unsigned)field(bytes, "gso_size"));
	judge_csum(io, bytes, flags, len - header);
	judge_hash(io, bytes);
	if (at >= 0)
		note_frame(io, &id, bytes, len);
}

/* How many buffers the packet has, by the header in its first one. */
static unsigned buffers_of(struct vhu_io *io, const struct receiver *rx)
{
	const struct vhu_net *n = io->d->net;
	size_t header = vhu_net_header_size(io->d->opts.features);
	unsigned said = header > 10 ? (unsigned)field(io->in, "num_buffers") : 1;

	if (!has(n, VHU_V(VIRTIO_NET_F_MRG_RXBUF))) {
		if (said != 1)
			TELL(io, VHU_BREACH_NET_NUM_BUFFERS_ONE,
			     "num_buffers %u, must be 1 without MRG_RXBUF", said);
		return 1;
	}
	if (said >= 1 && said <= rx->posted + 1)
		return said;
	TELL(io, VHU_BREACH_NET_NUM_BUFFERS, "num_buffers %u, %u buffers were available", said,
	     rx->posted + 1);
	return 1;
}

static bool append(struct receiver *rx, const uint8_t *bytes, size_t len)
{
	if (!rx->bytes)
		rx->bytes = malloc(PACKET_MAX);
	if (!rx->bytes || rx->len + len > PACKET_MAX)
		return false;
	memcpy(rx->bytes + rx->len, bytes, len);
	rx->len += len;
	return true;
}

/* A later buffer that begins like a first one holds another packet: num_buffers said too much. */
static bool begins_anew(const struct vhu_io *io, size_t len)
{
	size_t header = vhu_net_header_size(io->d->opts.features);
	struct net_id id;

	return len >= header + BEFORE &&
	       vhu_net_frame_find(io->d->opts.seed, io->in + header, BEFORE, 0, &id) == 0;
}

static void forget_packet(struct receiver *rx)
{
	rx->want = rx->have = 0;
	rx->len = 0;
	rx->split_told = false;
}

/* A packet ended before its last buffer. */
static void cut_short(struct vhu_io *io, struct receiver *rx)
{
	TELL(io, VHU_BREACH_NET_NUM_BUFFERS, "num_buffers was %u, but a packet begins in buffer %u", rx->want,
	     rx->have + 1);
	forget_packet(rx);
}

static bool first_buffer(struct vhu_io *io, struct receiver *rx, size_t len)
{
	size_t header = vhu_net_header_size(io->d->opts.features);

	if (len < header) {
		TELL(io, VHU_BREACH_NET_USED_LEN, "used length %u, less than the %zu bytes of a header",
		     io->used_len, header);
		return false;
	}
	rx->want = buffers_of(io, rx);
	return true;
}

static void complete_receive(struct vhu_io *io)
{
	struct receiver *rx = &io->d->net->rx[io->queue / 2];
	size_t len = io->batch ? io->in_len : VHU_MIN((size_t)io->used_len, io->in_len);

	rx->received++;
	vhu_io_check_claim(io, len);
	if (rx->want && begins_anew(io, len))
		cut_short(io, rx);
	if (!rx->want && !first_buffer(io, rx, len))
		return;
	rx->have++;
	if (rx->have < rx->want && len < io->in_len)
		TELL(io, VHU_BREACH_NET_MERGED_HOLE,
		     "buffer %u of %u of the packet holds %zu bytes, has room for %zu", rx->have, rx->want,
		     len, io->in_len);
	if (!append(rx, io->in, len)) {
		forget_packet(rx);
		return;
	}
	if (rx->have < rx->want)
		return;
	judge_packet(io, rx->bytes, rx->len);
	forget_packet(rx);
}

/* All that the device has published was taken: a packet that lacks buffers was published in parts. */
static void net_reaped(struct vhu_driver *d, unsigned queue)
{
	struct receiver *rx = d->net && queue % 2 == 0 ? &d->net->rx[queue / 2] : NULL;
	char text[120];

	if (!rx || !rx->want || rx->split_told)
		return;
	rx->split_told = true;
	snprintf(text, sizeof(text), "queue %u: %u of %u buffers of a packet were used", queue, rx->have,
		 rx->want);
	vhu_driver_report_ring(d, VHU_BREACH_NET_MERGED_LATE, queue, text);
}

/* --- the device ---------------------------------------------------------------------------------- */

static int net_build(struct vhu_io *io, const struct vhu_io_spec *spec, struct vhu_err *err)
{
	if (spec->op == VHU_IO_SEND)
		return build_send(io, spec, err);
	if (spec->op == VHU_IO_RECEIVE)
		return build_receive(io, spec, err);
	return vhu_chain_build(io, spec, err);
}

static void net_fill(struct vhu_io *io, const struct vhu_io_spec *spec)
{
	if (io->op == VHU_IO_SEND)
		fill_send(io, spec->send);
	else if (io->op == VHU_IO_CHAIN)
		vhu_chain_fill(io, spec);
}

/* Counts what is outstanding. */
static void outstanding(struct vhu_io *io, int change)
{
	struct vhu_net *n = io->d->net;

	if (io->op == VHU_IO_SEND)
		n->unsent[io->queue / 2] += (unsigned)change;
	else if (io->op == VHU_IO_RECEIVE)
		n->rx[io->queue / 2].posted += (unsigned)change;
}

static int net_begin(struct vhu_io *io)
{
	outstanding(io, 1);
	return 0;
}

static void net_drop(struct vhu_io *io, bool sent)
{
	outstanding(io, -1);
	if (io->op == VHU_IO_RECEIVE && sent)
		forget_packet(&io->d->net->rx[io->queue / 2]);
}

static void net_complete(struct vhu_io *io)
{
	outstanding(io, -1);
	if (io->op == VHU_IO_SEND)
		complete_send(io);
	else if (io->op == VHU_IO_RECEIVE)
		complete_receive(io);
	else
		vhu_chain_complete(io);
}

static uint32_t net_expected_len(const struct vhu_io *io)
{
	return (uint32_t)io->in_len;
}

static char *net_describe(const struct vhu_io *io, char *out, size_t cap)
{
	if (io->op == VHU_IO_CHAIN)
		return vhu_chain_describe(io, out, cap);
	if (io->op == VHU_IO_SEND)
		snprintf(out, cap, "frame %llu of %llu bytes, queue %u, head %u",
			 (unsigned long long)io->sector, (unsigned long long)io->data_len, io->queue,
			 io->head);
	else
		snprintf(out, cap, "receive buffer, queue %u, head %u", io->queue, io->head);
	return out;
}

const struct vhu_device_ops vhu_net_ops = {
	.name = "net",
	.build = net_build,
	.fill = net_fill,
	.begin = net_begin,
	.drop = net_drop,
	.complete = net_complete,
	.reaped = net_reaped,
	.expected_len = net_expected_len,
	.describe = net_describe,
};
