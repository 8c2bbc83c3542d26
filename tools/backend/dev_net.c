/*
 * The network device: a wire whose other end is tied to its beginning. What the guest sends on a pair of
 * queues comes back on the same pair, as a packet that is the guest's own to complete where it takes partial
 * checksums and segmentation, else whole.
 */
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "buffers.h"
#include "dev_net.h"
#include "dev_small.h"
#include "fault.h"

enum {
	HEADER_MAX = 20,
	FRAME_MIN = 14, /* an Ethernet header */
	FRAME_MAX = 65550,
	PAIRS_MAX = 128,
	WAITING_MAX = 64, /* frames that no buffer was there for; more are lost */
	TAG = 4,	  /* of a VLAN */
	MTU = 1500,
};

#define SET(at, name, value)                                                                                 \
	do {                                                                                                 \
		uint64_t set_ = htole64(value);                                                              \
		memcpy((at) + LAY_net_header_##name, &set_, LAYLEN_net_header_##name);                       \
	} while (0)
#define GET(at, name) LAYOUT(at, net_header, name)

struct frame {
	struct frame *next;
	size_t len;
	uint8_t bytes[]; /* header first */
};

static struct pair {
	struct frame *first, **last;
	unsigned n;
	unsigned buffers; /* that the first one takes */
	size_t placed;	  /* bytes of it that are in buffers */
} pairs[PAIRS_MAX];

static bool has(const struct session *s, uint64_t features)
{
	return s->features & features;
}

/* What the guest takes at the moment. */
static bool takes(const struct session *s, uint64_t feature)
{
	return has(s, feature & ~net_ctrl_switched_off());
}

static size_t header_size(const struct session *s)
{
	bool modern = has(s, V(VIRTIO_F_VERSION_1) | V(VIRTIO_NET_F_MRG_RXBUF));

	if (has(s, V(VIRTIO_NET_F_HASH_REPORT)))
		return HEADER_MAX;
	return modern ? 12 : 10;
}

/* The same in front of what the guest receives. */
static size_t given_size(const struct session *s)
{
	size_t size = header_size(s);

	if (has(s, V(VIRTIO_F_RING_PACKED)) ? fault(net_packed_hdr) : fault(net_hdr))
		return size - 2;
	return fault(net_hdr_legacy) ? 12 : size;
}

static void drop_first(struct pair *p)
{
	struct frame *f = p->first;

	p->first = f->next;
	if (!p->first)
		p->last = &p->first;
	p->n--;
	p->placed = 0;
	free(f);
}

void net_reset(struct session *s)
{
	(void)s;
	net_ctrl_reset();
	for (unsigned i = 0; i < PAIRS_MAX; i++)
		while (pairs[i].first)
			drop_first(&pairs[i]);
}

static bool receives(const struct session *s, const struct ring *r)
{
	return r->index % 2 == 0 && r->index + 1 < s->n_rings && r->index / 2 < PAIRS_MAX &&
	       !net_ctrl_ring(s, r);
}

bool net_keeps(const struct session *s, const struct ring *r)
{
	return receives(s, r) && !pairs[r->index / 2].first;
}

/* --- to the guest -------------------------------------------------------------------------------- */

/* Buffers for the first frame: so many of those that wait; 0: it is lost, or waits for translations. */
static unsigned buffers_for(struct session *s, struct ring *r, struct pair *p, unsigned waiting)
{
	uint64_t room = 0;

	for (unsigned i = 0; i < waiting; i++) {
		struct chain c;

		if (!format_of(r)->peek(r, i, &c))
			return s->iotlb.stalled ? 0 : i + 1; /* the ring breaks over it */
		room += c.in_len;
		if (room >= p->first->len || fault(net_part))
			return i + 1;
		if (!has(s, V(VIRTIO_NET_F_MRG_RXBUF)) && !fault(net_merge_none))
			break;
	}
	drop_first(p);
	return 0;
}

unsigned net_wants(struct session *s, struct ring *r, unsigned waiting)
{
	struct pair *p = &pairs[r->index / 2];

	if (!receives(s, r))
		return waiting;
	/* With a latency the first frame may be on its way, in the buffers that were counted for it. */
	if (r->done != r->last_avail)
		return 0;
	p->buffers = 0;
	s->iotlb.stalled = false;
	while (p->first && !p->buffers && !s->iotlb.stalled)
		p->buffers = buffers_for(s, r, p, waiting);
	return p->buffers;
}

/* What is left of the first frame, or as much as there is room for. */
static int64_t receive(struct session *s, struct pair *p, struct chain *c)
{
	uint8_t *bytes = p->first->bytes + p->placed;
	size_t left = p->first->len - p->placed, some = left < c->in_len ? left : c->in_len;
	uint64_t written;

	if (!p->placed && has(s, V(VIRTIO_F_VERSION_1) | V(VIRTIO_NET_F_MRG_RXBUF)))
		SET(bytes, num_buffers, fault(net_num_buffers) ? 0 : p->buffers);
	if (p->placed && fault(net_merge_header)) {
		bytes -= header_size(s);
		memcpy(bytes, p->first->bytes, header_size(s));
		some = some < c->in_len ? some : c->in_len;
	}
	written = chain_scatter(c, bytes, some);
	chain_mark(s, c, written);
	p->placed += some;
	if (some == left || p->buffers == 1)
		drop_first(p);
	return (int64_t)(fault(net_used_len) ? written - header_size(s) : written);
}

/* --- from the guest ------------------------------------------------------------------------------ */

static uint16_t checksum(const uint8_t *p, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum += (uint32_t)p[i] << (i % 2 ? 0 : 8);
	while (sum >> 16)
		sum = (sum & UINT16_MAX) + (sum >> 16);
	return (uint16_t)~sum;
}

/* Completes a checksum that the guest has left to the device. */
static void complete_sum(uint8_t *frame, size_t len, size_t start, size_t offset)
{
	uint16_t sum = checksum(frame + start, len - start);

	frame[start + offset] = (uint8_t)(sum >> 8);
	frame[start + offset + 1] = (uint8_t)sum;
}

static void offload_faults(const struct session *s, const uint8_t *header, uint8_t *frame, size_t len)
{
	size_t start = GET(header, csum_start), offset = GET(header, csum_offset);
	uint64_t type = GET(header, gso_type);

	if (fault(net_csum_unasked) && start && start + offset + 2 <= len)
		complete_sum(frame, len, start, offset);
	if ((fault(net_csum_crash) && start + offset + 2 > len) ||
	    (fault(net_hdr_len_crash) && GET(header, hdr_len) > len) ||
	    (fault(net_gso_size_crash) && type && !GET(header, gso_size)) ||
	    (fault(net_gso_crash) && type && !has(s, V(VIRTIO_NET_F_HOST_TSO4))))
		fault_crash();
}

static void tell_hash(const struct session *s, uint8_t *header, const uint8_t *frame, size_t len)
{
	unsigned report;
	uint32_t hash = net_hash(frame, len, &report);

	if (!has(s, V(VIRTIO_NET_F_HASH_REPORT)))
		return;
	SET(header, hash_value, fault(net_ctrl_hash_order) ? htobe32(hash) : hash);
	SET(header, hash_report, report);
}

static void header_faults(const struct session *s, uint8_t *header, size_t len)
{
	if (fault(net_flags) && !has(s, V(VIRTIO_NET_F_GUEST_CSUM)))
		SET(header, flags, C_NET_F_NEEDS_CSUM);
	if (fault(net_gso_type) && !has(s, V(VIRTIO_NET_F_GUEST_TSO4)))
		SET(header, gso_type, C_NET_GSO_TCPV4);
	if (fault(net_gso_csum) && GET(header, gso_type))
		SET(header, flags, 0);
	if (fault(net_csum_start) && GET(header, flags))
		SET(header, csum_start, len);
	if (fault(net_hash))
		SET(header, hash_report, UINT16_MAX);
}

/*
 * What the guest asks for with its header is done here, or asked of the receiver: `header` becomes the one
 * that it gets. False for a frame that is lost.
 */
static bool offload(const struct session *s, uint8_t *header, uint8_t *frame, size_t len)
{
	bool partial = has(s, V(VIRTIO_NET_F_CSUM)) && (GET(header, flags) & C_NET_F_NEEDS_CSUM);
	uint64_t type = GET(header, gso_type), size = GET(header, gso_size);
	size_t start = GET(header, csum_start), offset = GET(header, csum_offset);

	offload_faults(s, header, frame, len);
	memset(header, 0, HEADER_MAX);
	if (partial && start + offset + 2 > len)
		return false;
	if (type && (!has(s, V(VIRTIO_NET_F_HOST_TSO4)) || !takes(s, V(VIRTIO_NET_F_GUEST_TSO4)) ||
		     !partial || !size || type != C_NET_GSO_TCPV4))
		return false;
	if (type) {
		SET(header, gso_type, type);
		SET(header, gso_size, size);
	}
	if (partial && takes(s, V(VIRTIO_NET_F_GUEST_CSUM))) {
		SET(header, flags, C_NET_F_NEEDS_CSUM);
		SET(header, csum_start, start);
		SET(header, csum_offset, offset);
	} else if (partial) {
		complete_sum(frame, len, start, offset);
	}
	tell_hash(s, header, frame, len);
	header_faults(s, header, len);
	return true;
}

static bool too_long(const struct session *s, const uint8_t *header, size_t len)
{
	const size_t mtu = s->mtu ? s->mtu : MTU;

	if (fault(net_mtu_drop) && len == mtu + FRAME_MIN)
		return true;
	return has(s, V(VIRTIO_NET_F_MTU)) && !GET(header, gso_type) && len > mtu + FRAME_MIN + TAG;
}

static void append(struct pair *p, struct frame *f)
{
	if (!p->last)
		p->last = &p->first;
	*p->last = f;
	p->last = &f->next;
	p->n++;
}

/* The ring that gets what is sent on a pair. */
static struct ring *other_end(struct session *s, unsigned pair)
{
	unsigned n = s->n_rings / 2;

	for (unsigned i = 1; i < n; i++) {
		struct ring *rx = &s->rings[(pair + i) % n * 2];

		if (rx->started && (rx->enabled ? fault(net_next_pair) : fault(net_spread)))
			return rx;
	}
	return &s->rings[pair * 2];
}

/* The ring that gets a frame of a pair; NULL: the frame is lost. */
static struct ring *receiver(struct session *s, unsigned pair, const uint8_t *frame, size_t len)
{
	int steered = net_rss_pair(frame, len);
	struct ring *rx = steered < 0 ? other_end(s, pair) : &s->rings[steered * 2];

	/* A disabled ring gives its guest nothing. */
	if (pairs[rx->index / 2].n == WAITING_MAX ||
	    (!rx->enabled && !fault(state_disabled_receives) && !fault(net_spread)))
		return NULL;
	if (fault(net_empty_crash) && !format_of(rx)->waiting(rx))
		fault_crash();
	return rx;
}

static void loop_back(struct session *s, unsigned pair, struct chain *c)
{
	size_t header = header_size(s), given = given_size(s), len = c->out_len - header;
	uint8_t asked[HEADER_MAX] = {0};
	struct frame *f;
	struct ring *rx;

	if (c->out_len < header + FRAME_MIN || len > FRAME_MAX)
		return;
	if ((fault(net_pieces_crash) && c->desc_out > 2) ||
	    (fault(net_header_alone) && c->first_out != header)) {
		if (fault(net_pieces_crash))
			fault_crash();
		return;
	}
	f = calloc(1, sizeof(*f) + given + len);
	if (!f)
		return;
	chain_gather(c, asked, header);
	chain_gather(c, f->bytes + given, len);
	f->len = given + len;
	rx = receiver(s, pair, f->bytes + given, len);
	if (!rx || (fault(net_flags_drop) && GET(asked, flags) >> 3) || too_long(s, asked, len) ||
	    !offload(s, asked, f->bytes + given, len)) {
		free(f);
		return;
	}
	memcpy(f->bytes, asked, given);
	append(&pairs[rx->index / 2], f);
	rx->enabled = rx->enabled || fault(state_disabled_receives) || fault(net_spread);
	ring_wake(rx);
}

/* Later buffers of a packet come after the first ones were published. */
static void split_up(struct ring *r, const struct pair *p)
{
	if (!p->placed || !fault(net_merge_split))
		return;
	format_of(r)->publish(r);
	fault_pause_ms(2);
}

int64_t net_execute(struct session *s, struct ring *r, struct chain *c)
{
	if (net_ctrl_ring(s, r))
		return net_ctrl_execute(s, c);
	if (receives(s, r))
		split_up(r, &pairs[r->index / 2]);
	if (receives(s, r))
		return pairs[r->index / 2].first ? receive(s, &pairs[r->index / 2], c) : 0;
	if (r->index % 2 == 1 && r->index / 2 < PAIRS_MAX) {
		uint64_t len = c->out_len;

		if (fault(net_short_crash) && len < header_size(s))
			fault_crash();
		if (fault(net_runt_stuck) && len < header_size(s) + FRAME_MIN)
			return NO_COMPLETION;
		loop_back(s, r->index / 2, c);
		return fault(net_sent_len) ? (int64_t)len : 0;
	}
	return 0;
}
