/*
 * Devices with a host behind: SCSI, sockets, a file system, a crypto unit, a power controller. Each has the
 * first exchange of its driver, on the queues that are for it, and nothing behind it.
 */
#include <string.h>

#include "buffers.h"
#include "dev_small.h"
#include "fault.h"

/* --- file system ---------------------------------------------------------------------------------- */

enum {
	FS_FIRST = 1, /* the first request queue, without notifications */
	FUSE_INIT = 26,
	FUSE_MAJOR = 7,
	FUSE_MINOR = 31,
	FUSE_INIT_OUT = 64,
	FUSE_ENOSYS = 38,
};

int64_t fs_execute(struct session *s, struct ring *r, struct chain *c)
{
	enum {
		HEADER = LAY_fuse_in_padding + LAYLEN_fuse_in_padding,
		ANSWER = LAY_fuse_out_unique + LAYLEN_fuse_out_unique
	};
	uint8_t in[HEADER] = {0}, out[ANSWER + FUSE_INIT_OUT] = {0};
	bool known;

	chain_gather(c, in, sizeof(in));
	known = LAYOUT(in, fuse_in, opcode) == FUSE_INIT &&
		r->index >= FS_FIRST + (fault(queues_fs_shifted) ? 1 : 0);
	if (!c->in_len) /* one that wants no answer */
		return 0;
	PUT_LAYOUT(out, fuse_out_len, known ? sizeof(out) : ANSWER);
	PUT_LAYOUT(out, fuse_out_error, known ? 0 : -(uint64_t)FUSE_ENOSYS);
	memcpy(out + LAY_fuse_out_unique, in + LAY_fuse_in_unique, LAYLEN_fuse_out_unique);
	PUT_LAYOUT(out + ANSWER, fuse_init_out_major, FUSE_MAJOR);
	PUT_LAYOUT(out + ANSWER, fuse_init_out_minor, FUSE_MINOR);
	return chain_answer(s, c, out, known ? sizeof(out) : ANSWER);
}

/* --- SCSI: no logical unit ------------------------------------------------------------------------- */

enum {
	SCSI_CONTROL = 0,
	SCSI_EVENT = 1,
	SCSI_RESPONSE = 108,
	SCSI_BAD_TARGET = 3,
};

bool scsi_keeps(const struct session *s, const struct ring *r)
{
	(void)s;
	return r->index == SCSI_EVENT && !fault(queues_event_returned);
}

int64_t scsi_execute(struct session *s, struct ring *r, struct chain *c)
{
	uint8_t response[SCSI_RESPONSE] = {0};

	if (r->index == SCSI_EVENT)
		return 0;
	if (r->index == SCSI_CONTROL && !fault(queues_scsi_control)) {
		response[0] = SCSI_BAD_TARGET;
		return chain_answer(s, c, response, 1);
	}
	if (c->in_len < sizeof(response))
		return 0;
	PUT_LAYOUT(response, scsi_response_response, SCSI_BAD_TARGET);
	return chain_answer(s, c, response, sizeof(response));
}

/* --- sockets: nobody listens ------------------------------------------------------------------------ */

enum {
	VSOCK_RX = 0,
	VSOCK_TX = 1,
	VSOCK_EVENT = 2,
	VSOCK_HEADER = LAY_vsock_header_fwd_cnt + LAYLEN_vsock_header_fwd_cnt,
	VSOCK_REQUEST = 1,
	VSOCK_RST = 3,
};

/* What goes to the guest next. */
static struct {
	uint8_t header[VSOCK_HEADER];
	bool due;
} vsock;

void vsock_reset(struct session *s)
{
	(void)s;
	vsock.due = false;
}

bool vsock_keeps(const struct session *s, const struct ring *r)
{
	(void)s;
	if (r->index == VSOCK_TX)
		return fault(queues_vsock_mute);
	return r->index == VSOCK_RX ? !vsock.due : r->index == VSOCK_EVENT && !fault(queues_event_returned);
}

/* A request for a connection is refused: addresses change places. */
static void vsock_refuse(struct session *s, const uint8_t *request)
{
	if (LAYOUT(request, vsock_header, op) != VSOCK_REQUEST)
		return;
	memset(vsock.header, 0, sizeof(vsock.header));
	PUT_LAYOUT(vsock.header, vsock_header_src_cid, LAYOUT(request, vsock_header, dst_cid));
	PUT_LAYOUT(vsock.header, vsock_header_dst_cid, LAYOUT(request, vsock_header, src_cid));
	PUT_LAYOUT(vsock.header, vsock_header_src_port, LAYOUT(request, vsock_header, dst_port));
	PUT_LAYOUT(vsock.header, vsock_header_dst_port, LAYOUT(request, vsock_header, src_port));
	PUT_LAYOUT(vsock.header, vsock_header_type, LAYOUT(request, vsock_header, type));
	PUT_LAYOUT(vsock.header, vsock_header_op, VSOCK_RST);
	vsock.due = true;
	ring_wake(&s->rings[VSOCK_RX]);
}

int64_t vsock_execute(struct session *s, struct ring *r, struct chain *c)
{
	uint8_t request[VSOCK_HEADER] = {0};

	if (r->index == VSOCK_RX && vsock.due) {
		vsock.due = false;
		return chain_answer(s, c, vsock.header, sizeof(vsock.header));
	}
	if (r->index == VSOCK_TX && chain_gather(c, request, sizeof(request)) == sizeof(request))
		vsock_refuse(s, request);
	return 0;
}

/* --- crypto: sessions and nothing to do in them ------------------------------------------------------- */

enum {
	CRYPTO_CREATE_CIPHER = 2,
	CRYPTO_OK = 0,
	CRYPTO_NOTSUPP = 3,
	CRYPTO_CONTROL = LAY_crypto_control_padding + LAYLEN_crypto_control_padding,
	CRYPTO_SESSION = LAY_crypto_session_padding + LAYLEN_crypto_session_padding,
};

unsigned crypto_queues(const struct session *s)
{
	return s->n_rings > 1 ? s->n_rings - 1 : 1;
}

int64_t crypto_execute(struct session *s, struct ring *r, struct chain *c)
{
	uint8_t request[CRYPTO_CONTROL] = {0}, session[CRYPTO_SESSION] = {0};
	bool known = chain_gather(c, request, sizeof(request)) == sizeof(request) &&
		     LAYOUT(request, crypto_control, opcode) == CRYPTO_CREATE_CIPHER;

	if (r->index != (fault(queues_crypto_control) ? 0 : crypto_queues(s)))
		return 0;
	PUT_LAYOUT(session, crypto_session_status, known ? CRYPTO_OK : CRYPTO_NOTSUPP);
	return chain_answer(s, c, session, sizeof(session));
}

/* --- SCMI: the base protocol's version ------------------------------------------------------------------ */

enum {
	SCMI_BASE_VERSION = 0x10 << 10, /* protocol 0x10, message 0 */
	SCMI_VERSION = 0x20000,
	SCMI_NOT_FOUND = 4,
	SCMI_TOKEN = 18,
};

static uint64_t scmi_features(void)
{
	return 0;
}

static int64_t scmi_execute(struct session *s, struct ring *r, struct chain *c)
{
	enum {
		STATUS = LAY_scmi_version_status + LAYLEN_scmi_version_status,
		VERSION = LAY_scmi_version_version + LAYLEN_scmi_version_version
	};
	uint8_t message[LAYLEN_scmi_message_header] = {0}, reply[VERSION] = {0};
	uint64_t header;
	bool known;

	if (r->index)
		return NO_COMPLETION;
	chain_gather(c, message, sizeof(message));
	header = LAYOUT(message, scmi_message, header);
	known = (header & ((1 << SCMI_TOKEN) - 1)) == SCMI_BASE_VERSION && !fault(queues_scmi_status);
	PUT_LAYOUT(reply, scmi_version_header, header);
	PUT_LAYOUT(reply, scmi_version_status, known ? 0 : -(uint64_t)SCMI_NOT_FOUND);
	PUT_LAYOUT(reply, scmi_version_version, SCMI_VERSION);
	return chain_answer(s, c, reply, known ? VERSION : STATUS);
}

const struct device device_scmi = {
	SMALL_DEVICE("scmi", "scmi"), .features = scmi_features, .config = small_no_config,
	.set_config = small_refuse,   .execute = scmi_execute,
};
