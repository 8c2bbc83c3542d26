/*
 * Hashes of a network device's frames, made of their addresses: they choose the ring that gets a frame
 * (receive-side scaling), and are told to its guest.
 */
#include <string.h>

#include "buffers.h"
#include "dev_net.h"
#include "fault.h"

enum {
	KEY = 40,
	TABLE = 128,
	FIXED = LAY_net_rss_unclassified_queue + LAYLEN_net_rss_unclassified_queue,
	ENTRY = sizeof(uint16_t),
	TAIL = ENTRY + 1, /* behind the table: max_tx_vq, the length of the key */
	TYPE_IPV4 = 1 << 0,
	TYPE_TCPV4 = 1 << 1,
	TYPE_UDPV4 = 1 << 2,
	REPORT_IPV4 = 1,
	REPORT_TCPV4,
	REPORT_UDPV4,
	ETHER_TYPE = 12,
	IP = 14,
	IP_LEN = 20,
	IP_PROTOCOL = IP + 9,
	IP_ADDRESSES = IP + 12,
	ADDRESSES = 8,
	PORTS = 4,
	TCP = 6,
	UDP = 17,
};

static struct {
	uint32_t types;
	uint8_t key[KEY];
	bool steers;
	unsigned mask, unclassified;
	unsigned table[TABLE]; /* pairs */
} rss;

uint64_t net_rss_types(void)
{
	return net_ctrl_on() ? TYPE_IPV4 | TYPE_TCPV4 | TYPE_UDPV4 : 0;
}

void net_rss_reset(void)
{
	rss.types = 0;
	rss.steers = false;
}

void net_rss_off(void)
{
	rss.steers = false;
}

static unsigned entry_at(const uint8_t *at)
{
	return (unsigned)le64toh(field_get(at, ENTRY));
}

/* Whether kinds of hash and a key lie around a table of so many entries. */
static bool hash_is(const uint8_t *data, size_t len, size_t entries)
{
	const uint8_t *tail = data + FIXED + entries * ENTRY;
	size_t before = FIXED + entries * ENTRY + TAIL;

	return len >= before && !(LAYOUT(data, net_rss, hash_types) & ~net_rss_types()) &&
	       tail[ENTRY] <= KEY && len == before + tail[ENTRY];
}

static void take_hash(const uint8_t *data, size_t entries)
{
	const uint8_t *tail = data + FIXED + entries * ENTRY;

	rss.types = (uint32_t)LAYOUT(data, net_rss, hash_types);
	memset(rss.key, 0, KEY);
	memcpy(rss.key, tail + TAIL, tail[ENTRY]);
}

bool net_rss_set(const struct session *s, const uint8_t *data, size_t len)
{
	size_t entries = LAYOUT(data, net_rss, indirection_table_mask) + 1;
	bool known = true;

	if (!(s->features & V(VIRTIO_NET_F_RSS)) || entries > TABLE || entries & (entries - 1) ||
	    !hash_is(data, len, entries))
		return false;
	for (size_t i = 0; i < entries; i++)
		known &= entry_at(data + FIXED + i * ENTRY) < net_pairs(s);
	if (!known || LAYOUT(data, net_rss, unclassified_queue) >= net_pairs(s))
		return false;
	take_hash(data, entries);
	rss.mask = (unsigned)entries - 1;
	rss.unclassified = (unsigned)LAYOUT(data, net_rss, unclassified_queue);
	for (size_t i = 0; i < entries; i++)
		rss.table[i] = entry_at(data + FIXED + i * ENTRY);
	rss.steers = true;
	return true;
}

/* The same layout with a table of one entry, but all that is about steering is reserved. */
bool net_hash_set(const struct session *s, const uint8_t *data, size_t len)
{
	static const uint8_t reserved[FIXED + 2 * ENTRY - LAYLEN_net_rss_hash_types];

	if (!(s->features & V(VIRTIO_NET_F_HASH_REPORT)) || !hash_is(data, len, 1) ||
	    memcmp(data + LAYLEN_net_rss_hash_types, reserved, sizeof(reserved)) != 0)
		return false;
	if (!fault(net_ctrl_hash_ignored))
		take_hash(data, 1);
	return true;
}

/* Toeplitz: each bit of the data that is set adds the 32 bits of the key that begin in its place. */
static uint32_t hash_of(const uint8_t *data, size_t len)
{
	uint32_t hash = 0, window = 0;

	for (size_t i = 0; i < sizeof(window); i++)
		window = window << 8 | rss.key[i];
	for (size_t bit = 0; bit < 8 * len; bit++) {
		size_t next = bit + 32;

		if (data[bit / 8] >> (7 - bit % 8) & 1)
			hash ^= window;
		window = window << 1 | (rss.key[next / 8] >> (7 - next % 8) & 1);
	}
	return fault(net_ctrl_rss_hash) ? ~hash : hash;
}

uint32_t net_hash(const uint8_t *frame, size_t len, unsigned *ret_report)
{
	bool ipv4 = len >= IP + IP_LEN + PORTS && frame[ETHER_TYPE] == 0x08 && frame[ETHER_TYPE + 1] == 0 &&
		    frame[IP] == 0x45;
	uint32_t ports = !ipv4 ? 0 : frame[IP_PROTOCOL] == TCP ? TYPE_TCPV4 :
			 frame[IP_PROTOCOL] == UDP ? TYPE_UDPV4 : 0;

	*ret_report = 0;
	if (!ipv4 || !(rss.types & (TYPE_IPV4 | ports)))
		return 0;
	*ret_report = !(rss.types & ports) ? REPORT_IPV4 : ports == TYPE_TCPV4 ? REPORT_TCPV4 : REPORT_UDPV4;
	return hash_of(frame + IP_ADDRESSES, ADDRESSES + (rss.types & ports ? PORTS : 0));
}

int net_rss_pair(const uint8_t *frame, size_t len)
{
	unsigned report;
	uint32_t hash = net_hash(frame, len, &report);

	if (!rss.steers)
		return -1;
	if (!report)
		return fault(net_ctrl_rss_unclassified) ? 0 : (int)rss.unclassified;
	return (int)rss.table[rss.mask & hash];
}
