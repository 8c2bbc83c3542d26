/*
 * The socket of GPU_SET_SOCKET. We agree with the front-end on what it can do there, and draw nothing.
 */
#include <unistd.h>

#include "options.h"
#include "session.h"

static bool answer_ok(const struct msg *m)
{
	return m->request == MSG_GPU_GPU_GET_PROTOCOL_FEATURES && (m->flags & C_HEADER_REPLY) &&
	       m->size == PMAX_GPU_PROTOCOL_FEATURES;
}

static void agree(struct session *s)
{
	uint8_t payload[PMAX_GPU_PROTOCOL_FEATURES];
	uint64_t offer = FIELD(s->screen.msg.payload, GPU_PROTOCOL_FEATURES, u64);

	FIELD_SET(payload, GPU_PROTOCOL_FEATURES, u64, offer & options.gpu_features);
	if (wire_send(&s->screen, MSG_GPU_GPU_SET_PROTOCOL_FEATURES, 0, payload, sizeof(payload), -1) < 0)
		screen_close(s);
}

static void screen_ready(struct source *src, uint32_t events)
{
	struct session *s = owner_of(owner_of(src, struct wire, src), struct session, screen);

	(void)events;
	if (s->screen.out_n && wire_flush(&s->screen) < 0) {
		screen_close(s);
		return;
	}
	while (s->screen.src.fd >= 0) {
		enum wire_event event = wire_receive(&s->screen);

		if (event == WIRE_NOTHING)
			return;
		if (event == WIRE_END) {
			screen_close(s);
			return;
		}
		msg_close_fds(&s->screen.msg);
		agree(s);
	}
}

int screen_open(struct session *s, int fd)
{
	screen_close(s);
	s->screen.src.ready = screen_ready;
	s->screen.header_ok = answer_ok;
	if (wire_open(&s->screen, fd) < 0)
		return -1;
	if (options.gpu_asks == GPU_ASKS_NEVER || (options.gpu_asks == GPU_ASKS_ONCE && s->screen_asked))
		return 0;
	s->screen_asked = true;
	return wire_send(&s->screen, MSG_GPU_GPU_GET_PROTOCOL_FEATURES, 0, NULL, 0, -1);
}

void screen_close(struct session *s)
{
	wire_close(&s->screen);
}
