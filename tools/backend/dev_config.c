/*
 * Devices of which only the control plane is here: features and config space.
 */
#include <endian.h>
#include <string.h>

#include "buffers.h"
#include "dev_net.h"
#include "dev_small.h"
#include "fault.h"

enum {
	SPEED_10G = 10000,
	FULL_DUPLEX = 1,
	RSS_KEY = 40,
	RSS_TABLE = 128,
	MTU = 1500,
	MTU_FLOOR = 68,
	GUEST_CID = 3,
	HOST_CID = 2,
	EVENT_INFO_SIZE = 16,
	SENSE_SIZE = 96,
	CDB_SIZE = 32,
	CRYPTO_READY = 1,
	CRYPTO_AES_CBC = 1 << 3,
};

int small_open(void)
{
	return 0;
}

void small_nothing(void)
{
}

uint64_t small_no_features(void)
{
	return 0;
}

void small_features_set(struct session *s, uint64_t old)
{
	(void)s;
	(void)old;
}

void small_reset(struct session *s)
{
	(void)s;
}

unsigned small_no_config(struct session *s, uint8_t *to)
{
	(void)s;
	(void)to;
	return 0;
}

bool small_refuse(struct session *s, uint32_t offset, uint32_t size, uint32_t flags, const uint8_t *bytes)
{
	(void)s;
	(void)offset;
	(void)size;
	(void)flags;
	(void)bytes;
	return false;
}

bool small_unchanged(struct session *s)
{
	(void)s;
	return false;
}

int64_t small_return(struct session *s, struct ring *r, struct chain *c)
{
	(void)s;
	(void)c;
	return fault(queues_sink_stuck) && r->index == 1 ? NO_COMPLETION : 0;
}

/* --- net -------------------------------------------------------------------------------------- */

static uint64_t net_features(void)
{
	return V(VIRTIO_NET_F_MAC) | V(VIRTIO_NET_F_STATUS) | V(VIRTIO_NET_F_MTU) | V(VIRTIO_NET_F_CTRL_VQ) |
	       V(VIRTIO_NET_F_MQ) | V(VIRTIO_NET_F_RSS) | V(VIRTIO_NET_F_SPEED_DUPLEX) |
	       V(VIRTIO_NET_F_MRG_RXBUF) | V(VIRTIO_NET_F_CSUM) | V(VIRTIO_NET_F_GUEST_CSUM) |
	       V(VIRTIO_NET_F_HOST_TSO4) | V(VIRTIO_NET_F_GUEST_TSO4) | V(VIRTIO_NET_F_HASH_REPORT) |
	       net_ctrl_features();
}

static unsigned net_config(struct session *s, uint8_t *to)
{
	static unsigned reads;
	unsigned mtu = s->mtu ? s->mtu : MTU;

	memcpy(to + CFG_NET_mac, net_mac(), CFGLEN_NET_mac);
	if (fault(cfg_net_mac))
		to[CFG_NET_mac] |= 1;
	PUT_CONFIG(to, NET_status, fault(cfg_net_status) ? 4 : 1);
	PUT_CONFIG(to, NET_max_virtqueue_pairs, fault(cfg_net_pairs) ? 0 : net_pairs(s));
	if (fault(cfg_net_mtu_moves))
		mtu += reads++;
	PUT_CONFIG(to, NET_mtu, fault(cfg_net_mtu) ? MTU_FLOOR - 1 : mtu);
	PUT_CONFIG(to, NET_speed, fault(cfg_net_speed) ? 0x80000000 : SPEED_10G);
	PUT_CONFIG(to, NET_duplex, fault(cfg_net_duplex) ? 2 : FULL_DUPLEX);
	PUT_CONFIG(to, NET_rss_max_key_size, fault(cfg_net_rss_key) ? RSS_KEY / 2 : RSS_KEY);
	PUT_CONFIG(to, NET_rss_max_indirection_table_length,
		   fault(cfg_net_rss_table) ? RSS_TABLE / 2 : RSS_TABLE);
	PUT_CONFIG(to, NET_supported_hash_types, net_rss_types());
	return CONFIG_SIZE_NET;
}

const struct device device_net = {
	.name = "net", .capabilities = "{\"type\":\"net\",\"features\":[]}", .open = small_open,
	.close = small_nothing, .features = net_features, .features_set = small_features_set,
	.reset = net_reset, .config = net_config, .set_config = small_refuse, .changed = small_unchanged,
	.protocol_features = P(RARP) | P(MTU), .execute = net_execute, .keeps = net_keeps, .wants = net_wants,
};

/* --- scsi, vsock, fs --------------------------------------------------------------------------------- */

static unsigned scsi_config(struct session *s, uint8_t *to)
{
	PUT_CONFIG(to, SCSI_num_queues, fault(cfg_scsi_queues) ? 0 : s->n_rings > 2 ? s->n_rings - 2 : 1);
	PUT_CONFIG(to, SCSI_seg_max, 126);
	PUT_CONFIG(to, SCSI_max_sectors, 0xffff);
	PUT_CONFIG(to, SCSI_cmd_per_lun, 128);
	PUT_CONFIG(to, SCSI_event_info_size, EVENT_INFO_SIZE);
	PUT_CONFIG(to, SCSI_sense_size, SENSE_SIZE);
	PUT_CONFIG(to, SCSI_cdb_size, CDB_SIZE);
	PUT_CONFIG(to, SCSI_max_target, 255);
	PUT_CONFIG(to, SCSI_max_lun, 16383);
	return CONFIG_SIZE_SCSI;
}

/* No parameter ever changes; but QEMU acknowledges this one whether it was offered or not. */
static uint64_t scsi_features(void)
{
	return V(VIRTIO_SCSI_F_CHANGE);
}

const struct device device_scsi = {
	SMALL_DEVICE("scsi", "scsi"), .features = scsi_features, .config = scsi_config,
	.set_config = small_refuse,   .execute = scsi_execute, .keeps = scsi_keeps,
};

static unsigned vsock_config(struct session *s, uint8_t *to)
{
	(void)s;
	PUT_CONFIG(to, VSOCK_guest_cid, fault(cfg_vsock_cid) ? HOST_CID : GUEST_CID);
	return CONFIG_SIZE_VSOCK;
}

const struct device device_vsock = {
	.name = "vsock", .capabilities = "{\"type\":\"vsock\",\"features\":[]}", .open = small_open,
	.close = small_nothing, .features = small_no_features, .features_set = small_features_set,
	.reset = vsock_reset, .config = vsock_config, .set_config = small_refuse, .changed = small_unchanged,
	.execute = vsock_execute, .keeps = vsock_keeps,
};

static unsigned fs_config(struct session *s, uint8_t *to)
{
	static const char tag[] = "shared";

	memcpy(to + CFG_FS_tag, tag, sizeof(tag) - 1);
	if (fault(cfg_fs_tag)) /* a name after the end of the name */
		memcpy(to + CFG_FS_tag + CFGLEN_FS_tag - sizeof(tag), tag, sizeof(tag));
	PUT_CONFIG(to, FS_num_request_queues, s->n_rings > 1 ? s->n_rings - 1 : 1);
	return CONFIG_SIZE_FS;
}

const struct device device_fs = {
	SMALL_DEVICE("fs", "fs"),   .features = small_no_features, .config = fs_config,
	.set_config = small_refuse, .execute = fs_execute,
};

/* --- input -------------------------------------------------------------------------------------- */

static struct {
	uint8_t select, subsel;
} input;

enum { INPUT_ID_NAME = 1 };

static unsigned input_config(struct session *s, uint8_t *to)
{
	static const char name[] = "vhu-reference keyboard";
	bool known = input.select == INPUT_ID_NAME && !input.subsel;

	(void)s;
	PUT_CONFIG(to, INPUT_select, input.select);
	PUT_CONFIG(to, INPUT_subsel, input.subsel);
	if (known) {
		PUT_CONFIG(to, INPUT_u_size, sizeof(name) - !fault(cfg_input_terminator));
		memcpy(to + CFG_INPUT_u, name, sizeof(name) - 1);
	} else if (fault(cfg_input_size)) {
		PUT_CONFIG(to, INPUT_u_size, 8);
	}
	return CONFIG_SIZE_INPUT;
}

static bool input_set_config(struct session *s, uint32_t offset, uint32_t size, uint32_t flags,
			     const uint8_t *bytes)
{
	(void)s;
	(void)flags;
	if (offset + size > CFG_INPUT_u_size)
		return false;
	/* A fault: only both in one write are taken. */
	if (fault(cfg_input_steps) && size == 1)
		return true;
	for (uint32_t i = 0; i < size; i++)
		*(offset + i == CFG_INPUT_select ? &input.select : &input.subsel) = bytes[i];
	return true;
}

const struct device device_input = {
	SMALL_DEVICE("input", "input"), .features = small_no_features, .config = input_config,
	.set_config = input_set_config, .execute = small_return,
};

/* --- crypto, console ---------------------------------------------------------------------------- */

static unsigned crypto_config(struct session *s, uint8_t *to)
{
	PUT_CONFIG(to, CRYPTO_status, fault(cfg_crypto_status) ? CRYPTO_READY | 2 : CRYPTO_READY);
	PUT_CONFIG(to, CRYPTO_max_dataqueues, fault(cfg_crypto_queues) ? 0 : crypto_queues(s));
	PUT_CONFIG(to, CRYPTO_crypto_services, 1);
	PUT_CONFIG(to, CRYPTO_cipher_algo_l, CRYPTO_AES_CBC);
	PUT_CONFIG(to, CRYPTO_max_cipher_key_len, 32);
	PUT_CONFIG(to, CRYPTO_max_size, fault(cfg_crypto_size) ? 0 : 1 << 20);
	return CONFIG_SIZE_CRYPTO;
}

const struct device device_crypto = {
	SMALL_DEVICE("crypto", "crypto"), .features = small_no_features, .config = crypto_config,
	.set_config = small_refuse,	  .execute = crypto_execute,
};

static uint64_t console_features(void)
{
	return V(VIRTIO_CONSOLE_F_SIZE) | V(VIRTIO_CONSOLE_F_EMERG_WRITE);
}

static unsigned console_config(struct session *s, uint8_t *to)
{
	(void)s;
	PUT_CONFIG(to, CONSOLE_cols, fault(cfg_console_size) ? 0 : 80);
	PUT_CONFIG(to, CONSOLE_rows, 25);
	return CONFIG_SIZE_CONSOLE;
}

/* The character goes nowhere: there is no terminal. */
static bool console_set_config(struct session *s, uint32_t offset, uint32_t size, uint32_t flags,
			       const uint8_t *bytes)
{
	(void)s;
	(void)flags;
	(void)bytes;
	return offset == CFG_CONSOLE_emerg_wr && size == CFGLEN_CONSOLE_emerg_wr && !fault(cfg_console_emerg);
}

const struct device device_console = {
	SMALL_DEVICE("console", "console"), .features = console_features, .config = console_config,
	.set_config = console_set_config,   .execute = small_return,
};
