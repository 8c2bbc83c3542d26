/*
 * Config space and the channel for requests of our own.
 */
#include <sys/socket.h>
#include <unistd.h>

#include "fault.h"
#include "options.h"
#include "session.h"

enum { FAULT_SECRET = 0xa7 };

static unsigned config_bytes(struct session *s, uint8_t *to)
{
	static uint8_t counter;
	unsigned len;

	memset(to, 0, C_CONFIG_SIZE_MAX);
	if (fault(config_leak))
		memset(to, FAULT_SECRET, C_CONFIG_SIZE_MAX);
	len = s->dev->config(s, to);
	if (fault(config_leak))
		len = C_CONFIG_SIZE_MAX;
	if (len > options.config_size)
		len = options.config_size;
	if (fault(cfg_early_zero) && !s->features_set)
		memset(to + CFG_BLK_size_max, 0, C_CONFIG_SIZE_MAX - CFG_BLK_size_max);
	if (fault(config_unstable))
		to[CFG_BLK_unused1] = ++counter;
	return len;
}

/* An error is told by a reply without payload. */
enum result msg_get_config(struct session *s, struct msg *m, struct reply *r)
{
	uint8_t bytes[C_CONFIG_SIZE_MAX];
	uint64_t offset = FIELD(m->payload, CONFIG, offset), size = FIELD(m->payload, CONFIG, size);
	unsigned len = config_bytes(s, bytes);

	if ((fault(config_early) && !s->features_set) || (fault(config_running) && s->n_started))
		return RES_END;
	if (fault(proto_unoffered_served))
		return RES_END;
	if (fault(config_get_crash) && size > m->size - OFF_CONFIG_payload)
		fault_crash();
	if ((fault(config_size_0_crash) && !size) || (fault(config_beyond_crash) && offset > len) ||
	    (fault(config_small_crash) && size && size < m->size - OFF_CONFIG_payload) ||
	    (fault(config_head_crash) && size && m->size == OFF_CONFIG_payload))
		fault_crash();
	if (size != m->size - OFF_CONFIG_payload || offset + size > len) {
		/* the front-end waits for ever for what was not sent */
		if (!fault(config_fail_noreply))
			session_answer(s, m->request, NULL, 0, -1);
		return RES_HANDLED;
	}
	if (fault(config_size))
		size = len;
	memcpy(r->payload, m->payload, OFF_CONFIG_payload);
	memcpy(r->payload + OFF_CONFIG_payload,
	       bytes + (fault(config_offset) || fault(config_size) ? 0 : offset), size);
	if (fault(config_reply_offset))
		FIELD_SET(r->payload, CONFIG, offset, 0);
	FIELD_SET(r->payload, CONFIG, size, size);
	r->size = OFF_CONFIG_payload + (uint32_t)size;
	return RES_OK;
}

enum result msg_set_config(struct session *s, struct msg *m, struct reply *r)
{
	uint64_t offset = FIELD(m->payload, CONFIG, offset), size = FIELD(m->payload, CONFIG, size);
	uint8_t bytes[C_CONFIG_SIZE_MAX];

	(void)r;
	if (fault(config_set_crash) && size > m->size - OFF_CONFIG_payload)
		fault_crash();
	if (!size || size != m->size - OFF_CONFIG_payload || offset + size > config_bytes(s, bytes))
		return fault(config_set_beyond_ok) ? RES_OK : RES_REFUSED;
	if (fault(config_set_noop))
		return RES_OK;
	if (s->dev->set_config(s, (uint32_t)offset, (uint32_t)size,
			       (uint32_t)FIELD(m->payload, CONFIG, flags), m->payload + OFF_CONFIG_payload))
		return RES_OK;
	if (fault(config_ro_crash))
		fault_crash();
	return fault(config_ro_ack) ? RES_OK : RES_REFUSED;
}

enum result msg_set_backend_req_fd(struct session *s, struct msg *m, struct reply *r)
{
	int type = 0, fd;
	socklen_t len = sizeof(type);

	(void)r;
	if (!m->n_fds)
		return RES_OK; /* by a fault only */
	if (getsockopt(m->fds[0], SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_STREAM)
		return RES_REFUSED;
	fd = msg_take_fd(m);
	if (channel_open(s, fd) < 0) {
		close(fd);
		return RES_REFUSED;
	}
	return RES_OK;
}
