/*
 * The control queue of a network device: filters, addresses, pairs in use, offloads. What goes by is not
 * filtered: these commands are best effort, and a wire of its own has no strangers on it.
 */
#include <string.h>

#include "buffers.h"
#include "dev_net.h"
#include "fault.h"
#include "options.h"

enum {
	COMMAND_MAX = 1024,
	HEADER = LAY_net_ctrl_command + LAYLEN_net_ctrl_command,
	ACK = LAYLEN_net_ctrl_ack_ack,
	MAC = CFGLEN_NET_mac,
	VLANS = 4096,
	QUEUE_ALONE = 2, /* its place without several pairs */
	OK = 0,
	ERR = 1,
};

enum { CLASS_RX, CLASS_MAC, CLASS_VLAN, CLASS_MQ = 4, CLASS_OFFLOADS };

static const uint8_t mac_of_birth[MAC] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
static uint8_t mac[MAC];
static uint64_t switched_off;

bool net_ctrl_on(void)
{
	return options.control_queue || fault_any("net_ctrl_");
}

uint64_t net_ctrl_features(void)
{
	if (!net_ctrl_on())
		return 0;
	return V(VIRTIO_NET_F_CTRL_RX) | V(VIRTIO_NET_F_CTRL_RX_EXTRA) | V(VIRTIO_NET_F_CTRL_VLAN) |
	       V(VIRTIO_NET_F_CTRL_MAC_ADDR) | V(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS);
}

unsigned net_pairs(const struct session *s)
{
	return (s->n_rings - (net_ctrl_on() && s->n_rings > 2)) / 2;
}

uint64_t net_ctrl_switched_off(void)
{
	return fault(net_ctrl_offloads_kept) ? 0 : switched_off;
}

const uint8_t *net_mac(void)
{
	return mac;
}

void net_ctrl_reset(void)
{
	memcpy(mac, mac_of_birth, MAC);
	switched_off = 0;
	net_rss_reset();
}

bool net_ctrl_ring(const struct session *s, const struct ring *r)
{
	bool several = s->features & (V(VIRTIO_NET_F_MQ) | V(VIRTIO_NET_F_RSS));

	return net_ctrl_on() && s->features & V(VIRTIO_NET_F_CTRL_VQ) &&
	       r->index == (several ? 2 * net_pairs(s) : QUEUE_ALONE);
}

/* --- commands: whether they are done ------------------------------------------------------------------ */

static uint64_t number_at(const uint8_t *at, size_t len)
{
	return le64toh(field_get(at, (unsigned)len));
}

static bool do_rx(const struct session *s, unsigned command, const uint8_t *data, size_t len)
{
	bool extra = command > 1;

	if (extra ? fault(net_ctrl_rx_extra) : fault(net_ctrl_rx) && command)
		return false;
	return s->features & (extra ? V(VIRTIO_NET_F_CTRL_RX_EXTRA) : V(VIRTIO_NET_F_CTRL_RX)) && len == 1 &&
	       *data <= 1;
}

/* The length of a table of addresses, or 0 if it is cut short. */
static size_t table_len(const uint8_t *data, size_t len)
{
	size_t count = len < sizeof(uint32_t) ? len : number_at(data, sizeof(uint32_t));

	if (fault(net_ctrl_entries_crash) && count > len)
		fault_crash();
	return len >= sizeof(uint32_t) && count <= (len - sizeof(uint32_t)) / MAC ?
		       sizeof(uint32_t) + count * MAC :
		       0;
}

static bool do_mac_table(const struct session *s, unsigned command, const uint8_t *data, size_t len)
{
	size_t unicast = table_len(data, len);

	(void)command;
	return s->features & V(VIRTIO_NET_F_CTRL_RX) && unicast &&
	       table_len(data + unicast, len - unicast) == len - unicast;
}

static bool do_mac(const struct session *s, unsigned command, const uint8_t *data, size_t len)
{
	(void)command;
	if (!(s->features & V(VIRTIO_NET_F_CTRL_MAC_ADDR)) || len != MAC)
		return false;
	if (!fault(net_ctrl_mac))
		memcpy(mac, data, MAC);
	return true;
}

static bool do_vlan(const struct session *s, unsigned command, const uint8_t *data, size_t len)
{
	(void)command;
	return s->features & V(VIRTIO_NET_F_CTRL_VLAN) && len == sizeof(uint16_t) &&
	       number_at(data, len) < VLANS;
}

static bool do_pairs(const struct session *s, unsigned command, const uint8_t *data, size_t len)
{
	bool whole = len == LAYLEN_net_ctrl_mq_virtqueue_pairs;
	uint64_t pairs = whole ? LAYOUT(data, net_ctrl_mq, virtqueue_pairs) : 0;

	(void)command;
	if (fault(net_ctrl_pairs_any) && pairs > net_pairs(s))
		return true;
	if (!(s->features & V(VIRTIO_NET_F_MQ)) || !pairs || pairs > net_pairs(s))
		return false;
	net_rss_off();
	return true;
}

static bool do_rss(const struct session *s, unsigned command, const uint8_t *data, size_t len)
{
	(void)command;
	return net_rss_set(s, data, len);
}

static bool do_hash(const struct session *s, unsigned command, const uint8_t *data, size_t len)
{
	(void)command;
	return net_hash_set(s, data, len);
}

static bool do_offloads(const struct session *s, unsigned command, const uint8_t *data, size_t len)
{
	const uint64_t all = V(VIRTIO_NET_F_GUEST_CSUM) | V(VIRTIO_NET_F_GUEST_TSO4);

	(void)command;
	if (!(s->features & V(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS)) || len != sizeof(uint64_t) ||
	    number_at(data, len) & ~(s->features & all) ||
	    (fault(net_ctrl_offloads) && !number_at(data, len)))
		return false;
	switched_off = all & ~number_at(data, len);
	return true;
}

static const struct {
	uint8_t class, first, last;
	bool (*act)(const struct session *s, unsigned command, const uint8_t *data, size_t len);
} commands[] = {
	{CLASS_RX, 0, 5, do_rx},       {CLASS_MAC, 0, 0, do_mac_table}, {CLASS_MAC, 1, 1, do_mac},
	{CLASS_VLAN, 0, 1, do_vlan},   {CLASS_MQ, 0, 0, do_pairs},      {CLASS_MQ, 1, 1, do_rss},
	{CLASS_MQ, 2, 2, do_hash},     {CLASS_OFFLOADS, 0, 0, do_offloads},
};

static bool act(const struct session *s, const uint8_t *bytes, size_t len)
{
	uint64_t class = LAYOUT(bytes, net_ctrl, class), command = LAYOUT(bytes, net_ctrl, command);

	if (fault(net_ctrl_short_crash) && len < HEADER)
		fault_crash();
	for (size_t i = 0; len >= HEADER && i < sizeof(commands) / sizeof(commands[0]); i++)
		if (commands[i].class == class && command >= commands[i].first && command <= commands[i].last)
			return commands[i].act(s, (unsigned)command, bytes + HEADER, len - HEADER);
	return fault(net_ctrl_unknown);
}

int64_t net_ctrl_execute(struct session *s, struct chain *c)
{
	uint8_t bytes[COMMAND_MAX] = {0}, ack[ACK];
	size_t len = chain_gather(c, bytes, sizeof(bytes));

	*ack = !c->out_len && act(s, bytes, len) ? OK : ERR;
	if (fault(net_ctrl_ack))
		*ack = UINT8_MAX;
	return chain_answer(s, c, ack, sizeof(ack));
}
