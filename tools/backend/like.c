/*
 * A capture is a pcap or pcapng file, link type USER0, each packet a pseudo-header,
 * TLVs and one message. Only answers on the main channel are looked at; the first of each kind counts.
 */
#include "like.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	EXIT_USAGE = 2,
	FILE_HEADER = 24,
	PACKET_HEADER = 16,
	PACKET_MAX = 262144,
	LINKTYPE = 147,
	PSEUDO_HEADER = 56,
	CHANNEL_META = 0,
	CHANNEL_MAIN = 1,
	CHANNEL_BACKEND = 2,
	CHANNEL_LIFE = 5,
	CHANNEL_GPU = 6,
	REQUEST_BITS = 64,
	NG_SECTION = 0x0a0d0d0a,
	NG_ORDER = 0x1a2b3c4d,
	NG_ENHANCED = 6,
	NG_HEAD = 8,
	NG_PACKET = 20, /* before its bytes */
	CONNECTIONS = 65536,
	OFF_KIND = 34,
	LIFE_CLOSE = 3,
	TLV_PATH = 4,
	TLV_HEAD = 4,
	FROM_FRONT = 1,
	FROM_BACK = 2,
	HEADER_FLAGS = 4,
	INTENDED = 1 << 6, /* a violation on purpose */
	LOW_HALF = 0xffff,
	SLOTS_MAX = 65536, /* more are told by nobody, and would cost memory */
};

struct reading {
	const char *path;
	FILE *file;
	bool swapped; /* the pcap headers are in the other byte order; what we put in is not */
	bool blocks;  /* it is pcapng */
	bool queue_num, mem_slots, config, log_base, packed, base_high, told_low, told_all;
	uint32_t rings;			 /* highest index that was used, plus 1 */
	uint32_t rings_before;		 /* the same, if what was asked last is refused */
	unsigned screens, screens_asked; /* sockets of the graphics channel; over which it asked */
	uint64_t config_end;		 /* of the bytes that were asked for last */
	uint32_t session;		 /* the sessions of its socket alone; 0: all */
	uint64_t socket[CONNECTIONS];	 /* what each goes over, as a hash; 0: not told */
	uint32_t connection;		 /* whose state this is: */
	uint64_t pfeatures;
	uint64_t taken;			     /* requests that were at least once, a bit each */
	unsigned acknowledged[REQUEST_BITS]; /* of each request, refusals as well */
	bool acted;			     /* the back-end asked for something since it was asked last */
	uint32_t asked; /* the request that waits for an acknowledgement without REPLY_ACK; 0: none */
	bool ungated, unoffered; /* was asked for without agreement, without offer; served, if it goes on */
	uint8_t packet[PACKET_MAX];
};

__attribute__((noreturn)) static void refuse(const struct reading *r, const char *why)
{
	complain("--like %s: %s", r->path, why);
	exit(EXIT_USAGE);
}

static uint32_t file_u32(const struct reading *r, const uint8_t *at)
{
	uint32_t v;

	memcpy(&v, at, sizeof(v));
	return r->swapped ? __builtin_bswap32(v) : v;
}

static uint32_t le16(const uint8_t *at)
{
	uint16_t v;

	memcpy(&v, at, sizeof(v));
	return le16toh(v);
}

/* Pseudo-headers are little-endian always. */
static uint32_t file_connection(const struct reading *r)
{
	return le16(r->packet + 8) | le16(r->packet + 10) << 16;
}

/* pcapng: a section's header tells the byte order by a magic of its own; blocks follow it. */
static void open_section(struct reading *r, const uint8_t head[FILE_HEADER])
{
	uint32_t magic;

	memcpy(&magic, head + 8, sizeof(magic));
	r->blocks = true;
	r->swapped = magic == __builtin_bswap32(NG_ORDER);
	if ((magic != NG_ORDER && !r->swapped) || fseek(r->file, file_u32(r, head + 4), SEEK_SET) < 0)
		refuse(r, "its first block makes no sense");
}

static void open_file(struct reading *r)
{
	static const uint32_t magics[] = {0xa1b23c4d, 0xa1b2c3d4};
	uint8_t head[FILE_HEADER];
	uint32_t magic;
	bool known = false;

	r->file = fopen(r->path, "re");
	if (!r->file)
		refuse(r, strerror(errno));
	if (fread(head, sizeof(head), 1, r->file) != 1)
		refuse(r, "it is no capture: too short");
	memcpy(&magic, head, sizeof(magic));
	if (magic == NG_SECTION) {
		open_section(r, head);
		return;
	}
	for (size_t i = 0; i < sizeof(magics) / sizeof(*magics); i++) {
		known |= magic == magics[i] || magic == __builtin_bswap32(magics[i]);
		r->swapped |= magic == __builtin_bswap32(magics[i]);
	}
	if (!known)
		refuse(r, "it is no pcap file");
	if ((file_u32(r, head + 20) & 0xffff) != LINKTYPE)
		refuse(r, "it is no capture of vhost-user: another link type");
}

/* The same of pcapng: interfaces and what else there is are passed over. */
static size_t next_block(struct reading *r)
{
	uint8_t head[NG_HEAD], packet[NG_PACKET];
	uint32_t type, size, len;

	while (fread(head, sizeof(head), 1, r->file) == 1) {
		type = file_u32(r, head);
		size = file_u32(r, head + 4);
		if (type == NG_ENHANCED && size >= sizeof(head) + sizeof(packet) + 4) {
			if (fread(packet, sizeof(packet), 1, r->file) != 1)
				return 0;
			len = file_u32(r, packet + 12);
			if (len > PACKET_MAX || len > size - sizeof(head) - sizeof(packet) - 4 ||
			    fread(r->packet, 1, len, r->file) != len)
				return 0;
			size -= (uint32_t)sizeof(packet) + len;
			return fseek(r->file, (long)(size - sizeof(head)), SEEK_CUR) < 0 ? 0 : len;
		}
		if (size < sizeof(head) || fseek(r->file, (long)(size - sizeof(head)), SEEK_CUR) < 0)
			return 0;
	}
	return 0;
}

/* The next packet's length; 0 at the end, which may be a cut one. */
static size_t next_packet(struct reading *r)
{
	uint8_t head[PACKET_HEADER];
	uint32_t len;

	if (r->blocks)
		return next_block(r);
	if (fread(head, sizeof(head), 1, r->file) != 1)
		return 0;
	len = file_u32(r, head + 8);
	return len <= PACKET_MAX && fread(r->packet, 1, len, r->file) == len ? len : 0;
}

/* --- what an answer tells ------------------------------------------------------------------------- */

static void take_config(struct reading *r, const uint8_t *payload, size_t len)
{
	uint64_t offset, size;

	if (!len && r->config_end > 1 && r->config_end <= options.config_size)
		options.config_size = (unsigned)r->config_end - 1;
	if (r->config || len < OFF_CONFIG_payload)
		return;
	offset = FIELD(payload, CONFIG, offset);
	size = FIELD(payload, CONFIG, size);
	if (!size || offset > C_CONFIG_SIZE_MAX || size > C_CONFIG_SIZE_MAX - offset ||
	    size > len - OFF_CONFIG_payload)
		return;
	r->config = true;
	memcpy(options.config + offset, payload + OFF_CONFIG_payload, size);
	options.config_len = (unsigned)(offset + size);
}

/* The front-end's own numbers are echoed, or there is one number, or nothing. */
static void take_log_base(struct reading *r, size_t len)
{
	if (r->log_base)
		return;
	r->log_base = true;
	options.log_reply = len == PMAX_LOG ? LOG_REPLY_ECHO : len ? LOG_REPLY_U64 : LOG_REPLY_EMPTY;
}

static void take_u64(struct reading *r, uint32_t request, uint64_t value)
{
	switch (request) {
	case MSG_MAIN_GET_FEATURES:
		if (!options.has_features)
			options.features = value;
		options.has_features = options.exact = true;
		break;
	case MSG_MAIN_GET_PROTOCOL_FEATURES:
		if (!options.has_pfeatures)
			options.pfeatures = value;
		options.has_pfeatures = options.exact = true;
		break;
	case MSG_MAIN_GET_QUEUE_NUM:
		if (!r->queue_num)
			options.queue_num = value;
		r->queue_num = true;
		break;
	case MSG_MAIN_GET_MAX_MEM_SLOTS:
		if (!r->mem_slots && value && value <= SLOTS_MAX)
			options.mem_slots = (unsigned)value;
		r->mem_slots = true;
		break;
	case MSG_MAIN_GET_VRING_BASE:
		/* Without its upper half the used position of a packed ring is missing. */
		r->told_low |= r->packed && r->base_high && value >> 32 <= LOW_HALF;
		r->told_all |= value >> 32 > LOW_HALF;
		break;
	default:
		break;
	}
}

static bool is_of_ring(uint32_t request)
{
	return request == MSG_MAIN_SET_VRING_ENABLE || request == MSG_MAIN_SET_VRING_NUM ||
	       request == MSG_MAIN_SET_VRING_CALL || request == MSG_MAIN_SET_VRING_KICK;
}

/* The connection goes on: so what it took was served, agreed on or not. */
static void take_as_served(struct reading *r)
{
	options.ungated |= r->ungated;
	options.unoffered |= r->unoffered;
	r->ungated = r->unoffered = false;
}

/* It hung up over what was asked last. */
static void take_as_refused(struct reading *r)
{
	r->ungated = r->unoffered = false;
	r->rings = r->rings_before;
}

static void take_acknowledgement(struct reading *r, uint32_t request, const uint8_t *payload, size_t len)
{
	bool refused = len == PMAX_U64 && FIELD(payload, U64, u64);
	struct refusals *all;
	unsigned nth;

	if (request >= REQUEST_BITS)
		return;
	all = &options.refusals[request];
	nth = r->acknowledged[request]++;
	r->taken |= (uint64_t)!refused << request;
	if (refused && all->n < REFUSALS_MAX) {
		all->at[all->n].nth = nth;
		all->at[all->n++].how = r->acted ? REFUSED_AFTER_ALL : REFUSED_AT_ONCE;
	}
	if (request == MSG_MAIN_NET_SET_MTU)
		options.mtu_any &= !refused;
}

static void take_answer(struct reading *r, uint32_t request, const uint8_t *payload, size_t len)
{
	take_as_served(r);
	if (is_of_ring(request) && len == PMAX_U64 && FIELD(payload, U64, u64))
		r->rings = r->rings_before;
	options.ack_always |= r->asked && request == r->asked;
	r->asked = 0;
	if (request == MSG_MAIN_GET_CONFIG)
		take_config(r, payload, len);
	else if (request == MSG_MAIN_SET_LOG_BASE)
		take_log_base(r, len);
	else if (proto_row(request) && proto_row(request)->answer == ANSWER_ON_NEED_REPLY)
		take_acknowledgement(r, request, payload, len);
	else if (len == PMAX_U64)
		take_u64(r, request, FIELD(payload, U64, u64));
}

static void take_request(struct reading *r, uint32_t request, const uint8_t *payload, size_t len)
{
	uint32_t index;

	if (request == MSG_MAIN_SET_PROTOCOL_FEATURES && len == PMAX_U64)
		r->pfeatures = FIELD(payload, U64, u64);
	if (request == MSG_MAIN_SET_FEATURES && len == PMAX_U64) {
		r->packed = FIELD(payload, U64, u64) & V(VIRTIO_F_RING_PACKED);
		r->unoffered |= options.has_features && (FIELD(payload, U64, u64) & ~options.features);
	}
	if (request == MSG_MAIN_GET_CONFIG && len >= OFF_CONFIG_payload)
		r->config_end = FIELD(payload, CONFIG, offset) + FIELD(payload, CONFIG, size);
	if (request == MSG_MAIN_SET_VRING_BASE && len == PMAX_VRING_BASE)
		r->base_high = FIELD(payload, VRING_BASE, num) > LOW_HALF;
	r->screens += request == MSG_MAIN_GPU_SET_SOCKET;
	r->rings_before = r->rings;
	r->acted = false;
	if (!is_of_ring(request))
		return;
	index = request == MSG_MAIN_SET_VRING_CALL || request == MSG_MAIN_SET_VRING_KICK
			? *payload
			: (uint32_t)FIELD(payload, VRING_STATE, index);
	if (len >= PMIN_VRING_STATE && index <= C_VRING_INDEX_MAX && index >= r->rings)
		r->rings = index + 1;
}

/* Before its answer is known: what it asks for without having agreed on it. */
static void take_liberties(struct reading *r, uint32_t request, uint32_t flags)
{
	const struct msg_row *row = proto_row(request);

	if (!row)
		return;
	r->ungated |= (row->gate & ~r->pfeatures) != 0;
	if (row->answer == ANSWER_ON_NEED_REPLY && (flags & C_HEADER_NEED_REPLY) &&
	    !(r->pfeatures & P(REPLY_ACK)))
		r->asked = request;
}

/* What it asked and agreed to on the graphics channel. */
static void take_screen(struct reading *r, uint32_t request, const uint8_t *payload, size_t len)
{
	r->screens_asked += request == MSG_GPU_GPU_GET_PROTOCOL_FEATURES;
	if (request == MSG_GPU_GPU_SET_PROTOCOL_FEATURES && len == PMAX_GPU_PROTOCOL_FEATURES)
		options.gpu_features = FIELD(payload, GPU_PROTOCOL_FEATURES, u64);
}

static void new_connection(struct reading *r, uint32_t connection)
{
	if (connection == r->connection)
		return;
	take_as_served(r);
	r->connection = connection;
	r->pfeatures = 0;
	r->asked = 0;
}

/* --- whose answers count ------------------------------------------------------------------------------ */

static uint64_t hash(const uint8_t *bytes, size_t len)
{
	uint64_t h = 0xcbf29ce484222325;

	for (size_t i = 0; i < len; i++)
		h = (h ^ bytes[i]) * 0x100000001b3;
	return h | 1;
}

/* The first record of a connection that names its socket tells it. */
static void note_socket(struct reading *r, size_t len)
{
	size_t head = le16(r->packet + 2), at = PSEUDO_HEADER;
	uint64_t *socket = &r->socket[file_connection(r) % CONNECTIONS];

	while (!*socket && head <= len && at + TLV_HEAD <= head && le16(r->packet + at)) {
		size_t size = le16(r->packet + at + 2);

		if (size > head - at - TLV_HEAD)
			return;
		if (le16(r->packet + at) == TLV_PATH)
			*socket = hash(r->packet + at + TLV_HEAD, size);
		at += TLV_HEAD + ((size + 3) & ~(size_t)3);
	}
}

static bool counts(const struct reading *r)
{
	return !r->session ||
	       r->socket[file_connection(r) % CONNECTIONS] == r->socket[r->session % CONNECTIONS];
}

static void take_packet(struct reading *r, size_t len)
{
	size_t head = le16(r->packet + 2), from = r->packet[1];
	const uint8_t *message;
	uint32_t request, flags;

	if (head < PSEUDO_HEADER || head > len || !counts(r))
		return;
	if (r->packet[4] == CHANNEL_LIFE && le16(r->packet + OFF_KIND) == LIFE_CLOSE && from == FROM_BACK &&
	    file_connection(r) == r->connection)
		take_as_refused(r);
	if (len - head < C_HEADER_SIZE)
		return;
	message = r->packet + head;
	memcpy(&request, message, sizeof(request));
	if (r->packet[4] == CHANNEL_BACKEND && from == FROM_BACK) {
		r->acted = true;
		if (request < REQUEST_BITS)
			options.unasked &= ~(1ULL << request);
	}
	if (r->packet[4] == CHANNEL_GPU && from == FROM_BACK)
		take_screen(r, request, message + C_HEADER_SIZE, len - head - C_HEADER_SIZE);
	if (r->packet[4] != CHANNEL_MAIN)
		return;
	memcpy(&flags, message + HEADER_FLAGS, sizeof(flags));
	new_connection(r, file_connection(r));
	if (from == FROM_FRONT && !(le16(r->packet + 6) & INTENDED)) {
		take_liberties(r, request, flags);
		take_request(r, request, message + C_HEADER_SIZE, len - head - C_HEADER_SIZE);
	} else if (from == FROM_BACK && (message[HEADER_FLAGS] & C_HEADER_REPLY))
		take_answer(r, request, message + C_HEADER_SIZE, len - head - C_HEADER_SIZE);
}

/* From the first record, which has to be ours, to the end. */
static void read_all(struct reading *r, void (*take)(struct reading *r, size_t len))
{
	size_t len;

	open_file(r);
	len = next_packet(r);
	if (len < PSEUDO_HEADER || r->packet[4] != CHANNEL_META)
		refuse(r, "it is no capture of vhost-user: it does not begin with one's first record");
	while ((len = next_packet(r)) >= PSEUDO_HEADER)
		take(r, len);
	fclose(r->file);
}

void like_capture(const char *path, uint32_t session)
{
	struct reading *r = calloc(1, sizeof(*r));

	if (!r) {
		complain("--like: out of memory");
		exit(EXIT_FAILURE);
	}
	r->path = path;
	r->session = session;
	/* Requests of its own are made that it made then, whenever that may be. */
	options.unasked = 1ULL << MSG_BACKEND_BACKEND_VRING_HOST_NOTIFIER_MSG |
			  1ULL << MSG_BACKEND_BACKEND_SHMEM_MAP |
			  1ULL << MSG_BACKEND_BACKEND_SHARED_OBJECT_ADD;
	options.mtu_any = true; /* it may have been told anything */
	if (session)
		read_all(r, note_socket);
	read_all(r, take_packet);
	take_as_served(r);
	for (unsigned request = 0; request < REQUEST_BITS; request++)
		options.refusals[request].always =
			options.refusals[request].n && !is_of_ring(request) && !(r->taken >> request & 1);
	options.gpu_asks = !r->screens_asked		   ? GPU_ASKS_NEVER
			   : r->screens_asked < r->screens ? GPU_ASKS_ONCE
							   : GPU_ASKS_ALWAYS;
	/* How many are served, whatever the number that is told. */
	if (r->queue_num && options.queue_num <= C_VRING_INDEX_MAX + 1 && options.queue_num > r->rings)
		r->rings = (uint32_t)options.queue_num;
	options.base_low = r->told_low && !r->told_all;
	if (r->rings)
		options.queues = r->rings;
	free(r);
}
