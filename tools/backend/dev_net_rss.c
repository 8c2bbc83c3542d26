/*
 * Receive-side scaling of a network device: a hash of a frame's addresses chooses the ring that gets it.
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
	bool on;
	uint32_t types;
	unsigned mask, unclassified;
	unsigned table[TABLE]; /* pairs */
	uint8_t key[KEY];
} rss;

uint64_t net_rss_types(void)
{
	return net_ctrl_on() ? TYPE_IPV4 | TYPE_TCPV4 | TYPE_UDPV4 : 0;
}

void net_rss_off(void)
{
	rss.on = false;
}

static unsigned entry_at(const uint8_t *at)
{
	return (unsigned)le64toh(field_get(at, ENTRY));
}

bool net_rss_set(const struct session *s, const uint8_t *data, size_t len)
{
	uint64_t types = LAYOUT(data, net_rss, hash_types);
	size_t entries = LAYOUT(data, net_rss, indirection_table_mask) + 1;
	size_t tail = FIXED + entries * ENTRY;
	bool known = true;

	if (len < FIXED || !(s->features & V(VIRTIO_NET_F_RSS)) || types & ~net_rss_types() ||
	    entries > TABLE || entries & (entries - 1) || len < tail + TAIL || data[tail + ENTRY] > KEY ||
	    len != tail + TAIL + data[tail + ENTRY])
		return false;
	for (size_t i = 0; i < entries; i++)
		known &= entry_at(data + FIXED + i * ENTRY) < net_pairs(s);
	if (!known || LAYOUT(data, net_rss, unclassified_queue) >= net_pairs(s))
		return false;
	rss.types = (uint32_t)types;
	rss.mask = (unsigned)entries - 1;
	rss.unclassified = (unsigned)LAYOUT(data, net_rss, unclassified_queue);
	for (size_t i = 0; i < entries; i++)
		rss.table[i] = entry_at(data + FIXED + i * ENTRY);
	memset(rss.key, 0, KEY);
	memcpy(rss.key, data + tail + TAIL, data[tail + ENTRY]);
	rss.on = true;
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

int net_rss_pair(const uint8_t *frame, size_t len)
{
	bool ipv4 = len >= IP + IP_LEN + PORTS && frame[ETHER_TYPE] == 0x08 && frame[ETHER_TYPE + 1] == 0 &&
		    frame[IP] == 0x45;
	uint32_t ports = !ipv4 ? 0 : frame[IP_PROTOCOL] == TCP ? TYPE_TCPV4 :
			 frame[IP_PROTOCOL] == UDP ? TYPE_UDPV4 : 0;

	if (!rss.on)
		return -1;
	if (!ipv4 || !(rss.types & (TYPE_IPV4 | ports)))
		return fault(net_ctrl_rss_unclassified) ? 0 : (int)rss.unclassified;
	return (int)rss.table[rss.mask &
			      hash_of(frame + IP_ADDRESSES, ADDRESSES + (rss.types & ports ? PORTS : 0))];
}
