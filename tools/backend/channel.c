/*
 * The channel for requests of our own. What there is to tell is remembered where it belongs (session,
 * ring, shared memory) and told one after the other: where the front-end answers, the next request
 * waits for that. Nothing else does.
 */
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fault.h"
#include "options.h"
#include "session.h"

enum { FAULT_LATER_NS = 3000000, FAULT_NOTIFIER_SIZE = 512 };

static bool answer_ok(const struct msg *m)
{
	if (fault(breq_answer_crash))
		fault_crash();
	return (m->flags & C_HEADER_VERSION_MASK) == C_HEADER_VERSION && (m->flags & C_HEADER_REPLY) &&
	       m->size == PMAX_U64;
}

static bool main_waits(const struct session *s)
{
	struct pollfd p = {.fd = s->wire.src.fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1 && p.revents & POLLIN;
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
		uint32_t asked = s->asked;

		if (event == WIRE_NOTHING)
			break;
		if (fault(breq_refused_crash) && event == WIRE_MESSAGE &&
		    FIELD(s->channel.msg.payload, U64, u64))
			fault_crash();
		if (event == WIRE_END || !asked || s->channel.msg.request != asked) {
			if (fault(breq_hangup_crash))
				fault_crash();
			channel_close(s); /* gone, or it says what nobody asked */
			return;
		}
		msg_close_fds(&s->channel.msg);
		if (fault(inband_cross_hang) && asked == MSG_BACKEND_BACKEND_VRING_CALL && main_waits(s))
			fault_hang(); /* it crossed, though the answer is seen first */
		s->asked = 0;
		/* refused or not: of all but a mapping the front-end knows by now */
		if (asked == MSG_BACKEND_BACKEND_SHMEM_MAP)
			shm_answered(s, !FIELD(s->channel.msg.payload, U64, u64));
		channel_tell(s);
		if (s->channel.src.fd < 0)
			return;
	}
	channel_tell(s);
}

int channel_open(struct session *s, int fd)
{
	if (fault(breq_old_leak) && s->channel.src.fd >= 0) {
		loop_remove(&s->channel.src);
		s->channel.src.fd = -1;
	}
	channel_close(s);
	s->channel.src.ready = channel_ready;
	s->channel.header_ok = answer_ok;
	return wire_open(&s->channel, fd);
}

void channel_close(struct session *s)
{
	wire_close(&s->channel);
	s->asked = 0;
}

void channel_send(struct session *s, uint32_t request, const uint8_t *payload, uint32_t size, int fd)
{
	struct wire *to = fault(breq_main_socket) ? &s->wire : &s->channel;
	uint32_t flags = C_HEADER_VERSION;

	if ((s->pfeatures & P(REPLY_ACK)) || fault(breq_need_reply))
		flags |= C_HEADER_NEED_REPLY;
	if (fault(breq_header))
		flags &= ~(uint32_t)C_HEADER_VERSION_MASK;
	if (fault(inband_no_need_reply) && request == MSG_BACKEND_BACKEND_VRING_CALL)
		flags &= ~(uint32_t)C_HEADER_NEED_REPLY;
	if (fault(breq_fd_unneg) && !(s->pfeatures & P(BACKEND_SEND_FD)) && fd < 0)
		fd = dup(s->wire.src.fd);
	s->asked = flags & C_HEADER_NEED_REPLY ? request : 0;
	if (wire_send(to, request, flags, payload, size, fd) < 0)
		channel_close(s);
}

static void send_change(struct session *s)
{
	channel_send(s, MSG_BACKEND_BACKEND_CONFIG_CHANGE_MSG, NULL, 0, -1);
}

static void send_late(struct session *s, uint64_t unused)
{
	(void)unused;
	if (s->channel.src.fd >= 0 && !s->asked && (s->pfeatures & P(CONFIG)) && !s->n_started)
		send_change(s);
}

static bool tell_config(struct session *s)
{
	if (!s->config_pending || !((s->pfeatures & P(CONFIG)) || fault(breq_config_unneg)))
		return false;
	s->config_pending = false;
	send_change(s);
	return true;
}

/* The doorbell: a page that the guest may write instead of being trapped. We look at the ring anyway. */
static void send_notifier(struct session *s, const struct ring *r)
{
	uint8_t payload[PMAX_VRING_AREA] = {0};
	long page = sysconf(_SC_PAGESIZE);
	int fd = memfd_create("vhu-notifier", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, page) < 0) {
		if (fd >= 0)
			close(fd);
		return;
	}
	FIELD_SET(payload, VRING_AREA, u64, r->index + (fault(breq_notifier_index) ? s->n_rings : 0));
	FIELD_SET(payload, VRING_AREA, size,
		  fault(breq_notifier_size) ? FAULT_NOTIFIER_SIZE : (uint64_t)page);
	channel_send(s, MSG_BACKEND_BACKEND_VRING_HOST_NOTIFIER_MSG, payload, sizeof(payload), fd);
}

static void send_signal(struct session *s, const struct ring *r, uint32_t request)
{
	uint8_t payload[PMAX_VRING_STATE] = {0};

	FIELD_SET(payload, VRING_STATE, index, fault(inband_call_ring0) ? 0 : r->index);
	FIELD_SET(payload, VRING_STATE, num, fault(inband_num) ? 1 : 0);
	channel_send(s, request, payload, sizeof(payload), -1);
}

static bool tell_ring(struct session *s, struct ring *r)
{
	if (r->tell_notifier) {
		r->tell_notifier = false;
		send_notifier(s, r);
	} else if (r->tell_err) {
		r->tell_err = false;
		send_signal(s, r, MSG_BACKEND_BACKEND_VRING_ERR);
	} else if (r->tell_call) {
		r->tell_call = false;
		send_signal(s, r, MSG_BACKEND_BACKEND_VRING_CALL);
	} else {
		return false;
	}
	return true;
}

/* Sends one request; false if there is nothing to tell. */
static bool tell_next(struct session *s)
{
	if (tell_config(s))
		return true;
	for (unsigned i = 0; i < s->n_rings; i++) {
		if (tell_ring(s, &s->rings[i]))
			return true;
	}
	return object_tell(s) || shm_tell(s);
}

/* A device whose rings are all stopped sends nothing; what there is is told when one starts. */
void channel_tell(struct session *s)
{
	if (fault(suspended_config) && !s->n_started && !s->asked)
		session_later(s, FAULT_LATER_NS, send_late, 0);
	while (s->channel.src.fd >= 0 && !s->asked && !s->channel.out_n && s->n_started) {
		if (!tell_next(s))
			return;
	}
}

/* Faults in the message need one. To tell of a change that is none is legal. */
void channel_ring_started(struct ring *r)
{
	struct session *s = r->s;

	if (fault(breq_main_socket) || fault(breq_config_unneg) || fault(breq_need_reply) ||
	    fault(breq_header) || fault(breq_fd_unneg))
		s->config_pending = true;
	r->tell_notifier = ((s->pfeatures & P(HOST_NOTIFIER)) &&
			    options_asks(MSG_BACKEND_BACKEND_VRING_HOST_NOTIFIER_MSG)) ||
			   fault(breq_notifier_unneg);
	shm_ring_started(r);
	channel_tell(s);
}

void channel_config_changed(struct session *s)
{
	if (fault(grow_no_channel_crash) && s->channel.src.fd < 0)
		fault_crash();
	s->config_pending = true;
	if (fault(grow_suspended))
		send_late(s, 0);
	channel_tell(s);
}

bool channel_signal(struct ring *r, bool *due)
{
	if (!(r->s->pfeatures & P(INBAND_NOTIFICATIONS)) || r->s->channel.src.fd < 0)
		return false;
	if (fault(inband_call_none) && due == &r->tell_call)
		return true;
	*due = true;
	channel_tell(r->s);
	return true;
}
