/*
 * The channel for our own requests. There is one kind: the config space changed. Nothing waits for
 * the front-end's answer; while it is out, a further change is only remembered.
 */
#include <unistd.h>

#include "fault.h"
#include "session.h"

enum { FAULT_LATER_NS = 3000000 };

static bool answer_ok(const struct msg *m)
{
	if (fault(breq_answer_crash))
		fault_crash();
	return (m->flags & C_HEADER_VERSION_MASK) == C_HEADER_VERSION && (m->flags & C_HEADER_REPLY) &&
	       m->request == MSG_BACKEND_BACKEND_CONFIG_CHANGE_MSG && m->size == PMAX_U64;
}

static void channel_ready(struct source *src, uint32_t events)
{
	struct session *s = owner_of(owner_of(src, struct wire, src), struct session, channel);

	(void)events;
	if (s->channel.out_n && wire_flush(&s->channel) < 0) {
		channel_close(s);
		return;
	}
	for (;;) {
		enum wire_event event = wire_receive(&s->channel);

		if (event == WIRE_NOTHING)
			return;
		if (event == WIRE_END || !s->config_waiting) {
			if (fault(breq_hangup_crash))
				fault_crash();
			channel_close(s); /* gone, or it says what nobody asked */
			return;
		}
		msg_close_fds(&s->channel.msg);
		/* refused or not: the front-end knows */
		s->config_waiting = false;
		channel_tell(s);
		if (s->channel.src.fd < 0)
			return;
	}
}

int channel_open(struct session *s, int fd)
{
	channel_close(s);
	s->channel.src.ready = channel_ready;
	s->channel.header_ok = answer_ok;
	return wire_open(&s->channel, fd);
}

void channel_close(struct session *s)
{
	wire_close(&s->channel);
	s->config_waiting = false;
}

static void send_change(struct session *s)
{
	struct wire *to = fault(breq_main_socket) ? &s->wire : &s->channel;
	uint32_t flags = C_HEADER_VERSION;

	if ((s->pfeatures & P(REPLY_ACK)) || fault(breq_need_reply))
		flags |= C_HEADER_NEED_REPLY;
	if (fault(breq_header))
		flags &= ~(uint32_t)C_HEADER_VERSION_MASK;
	s->config_waiting = flags & C_HEADER_NEED_REPLY;
	if (wire_send(to, MSG_BACKEND_BACKEND_CONFIG_CHANGE_MSG, flags, NULL, 0, -1) < 0)
		channel_close(s);
}

static void send_late(struct session *s, uint64_t unused)
{
	(void)unused;
	if (s->channel.src.fd >= 0 && (s->pfeatures & P(CONFIG)) && !s->n_started)
		send_change(s);
}

/* A device whose rings are all stopped sends nothing; the change is told when one starts. */
void channel_tell(struct session *s)
{
	if (s->channel.src.fd < 0 || s->config_waiting)
		return;
	if (fault(suspended_config) && !s->n_started)
		session_later(s, FAULT_LATER_NS, send_late, 0);
	if (!s->n_started)
		return;
	if (!s->config_pending || !((s->pfeatures & P(CONFIG)) || fault(breq_config_unneg)))
		return;
	s->config_pending = false;
	send_change(s);
}

/* Faults in the message need one. To tell of a change that is none is legal. */
void channel_ring_started(struct session *s)
{
	if (fault(breq_main_socket) || fault(breq_config_unneg) || fault(breq_need_reply) ||
	    fault(breq_header))
		s->config_pending = true;
	channel_tell(s);
}

void channel_config_changed(struct session *s)
{
	s->config_pending = true;
	channel_tell(s);
}
