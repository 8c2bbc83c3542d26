/*
 * One connection at a time: receive, judge, dispatch, answer; and the clock of what is due.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fault.h"
#include "options.h"
#include "session.h"

#include <string.h>

enum {
	MS = 1000000,
	POLL_SPIN_NS = MS,	/* a polled ring is looked at without a pause that long after it had work */
	POLL_PAUSE_NS = MS / 5, /* and then at this pace */
	LOOK_NS = 100 * MS,	/* how often the medium's size is looked at */
	MESSAGES_IN_A_ROW = 16, /* before the rings have their turn */
	HELD_NS = 20 * MS,
	DRY_MESSAGES = 400,
	ACKS_KEPT = 16,
	HALVES = 4,
};

/* Taken by a device that has pictures. */
static enum result msg_gpu_set_socket(struct session *s, struct msg *m, struct reply *r)
{
	int type = 0, fd;
	socklen_t len = sizeof(type);

	(void)r;
	if (!options.exact && strcmp(s->dev->name, "gpu") != 0)
		return RES_REFUSED;
	if (!m->n_fds || getsockopt(m->fds[0], SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_STREAM)
		return options.exact ? RES_OK : RES_REFUSED;
	fd = msg_take_fd(m);
	if (screen_open(s, fd) < 0 && s->screen.src.fd < 0)
		close(fd);
	return RES_OK;
}

/* Requests that we serve; others are unknown to us, whatever the tables say. */
static msg_handler *const handlers[] = {
	[MSG_MAIN_GET_FEATURES] = msg_get_features,
	[MSG_MAIN_SET_FEATURES] = msg_set_features,
	[MSG_MAIN_SET_OWNER] = msg_set_owner,
	[MSG_MAIN_RESET_OWNER] = msg_reset_owner,
	[MSG_MAIN_SET_MEM_TABLE] = msg_set_mem_table,
	[MSG_MAIN_SET_LOG_BASE] = msg_set_log_base,
	[MSG_MAIN_SET_LOG_FD] = msg_set_log_fd,
	[MSG_MAIN_SET_VRING_NUM] = msg_set_vring_num,
	[MSG_MAIN_SET_VRING_ADDR] = msg_set_vring_addr,
	[MSG_MAIN_SET_VRING_BASE] = msg_set_vring_base,
	[MSG_MAIN_GET_VRING_BASE] = msg_get_vring_base,
	[MSG_MAIN_SET_VRING_KICK] = msg_set_vring_kick,
	[MSG_MAIN_SET_VRING_CALL] = msg_set_vring_call,
	[MSG_MAIN_SET_VRING_ERR] = msg_set_vring_err,
	[MSG_MAIN_GET_PROTOCOL_FEATURES] = msg_get_protocol_features,
	[MSG_MAIN_SET_PROTOCOL_FEATURES] = msg_set_protocol_features,
	[MSG_MAIN_GET_QUEUE_NUM] = msg_get_queue_num,
	[MSG_MAIN_GPU_SET_SOCKET] = msg_gpu_set_socket,
	[MSG_MAIN_SET_VRING_ENDIAN] = msg_set_vring_endian,
	[MSG_MAIN_SET_VRING_ENABLE] = msg_set_vring_enable,
	[MSG_MAIN_SET_BACKEND_REQ_FD] = msg_set_backend_req_fd,
	[MSG_MAIN_IOTLB_MSG] = msg_iotlb,
	[MSG_MAIN_GET_CONFIG] = msg_get_config,
	[MSG_MAIN_SET_CONFIG] = msg_set_config,
	[MSG_MAIN_GET_INFLIGHT_FD] = msg_get_inflight_fd,
	[MSG_MAIN_SET_INFLIGHT_FD] = msg_set_inflight_fd,
	[MSG_MAIN_RESET_DEVICE] = msg_reset_device,
	[MSG_MAIN_GET_MAX_MEM_SLOTS] = msg_get_max_mem_slots,
	[MSG_MAIN_ADD_MEM_REG] = msg_add_mem_reg,
	[MSG_MAIN_REM_MEM_REG] = msg_rem_mem_reg,
	[MSG_MAIN_SET_STATUS] = msg_set_status,
	[MSG_MAIN_VRING_KICK] = msg_vring_kick,
	[MSG_MAIN_SEND_RARP] = msg_send_rarp,
	[MSG_MAIN_NET_SET_MTU] = msg_net_set_mtu,
	[MSG_MAIN_GET_SHMEM_CONFIG] = msg_get_shmem_config,
	[MSG_MAIN_GET_VRING_BASE_SKIP_DRAIN] = msg_get_vring_base_skip_drain,
	[MSG_MAIN_GET_STATUS] = msg_get_status,
	[MSG_MAIN_SET_DEVICE_STATE_FD] = msg_set_device_state_fd,
	[MSG_MAIN_CHECK_DEVICE_STATE] = msg_check_device_state,
	[MSG_MAIN_GET_SHARED_OBJECT] = msg_get_shared_object,
	[MSG_MAIN_POSTCOPY_ADVISE] = msg_postcopy_advise,
	[MSG_MAIN_POSTCOPY_LISTEN] = msg_postcopy_listen,
	[MSG_MAIN_POSTCOPY_END] = msg_postcopy_end,
};

static msg_handler *handler_of(uint32_t request)
{
	return request < sizeof(handlers) / sizeof(handlers[0]) ? handlers[request] : NULL;
}

/*
 * The driver has not said DRIVER_OK. Counts only after a SET_STATUS on this connection: a front-end
 * that reconnects in the middle of the guest's life does not set the status again. FEATURES_OK alone is no
 * driver's status: a front-end that says only when features are agreed (QEMU, for all but disks and network
 * devices) would wait for ever for a device that waits.
 */
bool session_held(const struct session *s)
{
	uint8_t ok = C_STATUS_DRIVER_OK;

	if (fault(driver_ok_ignored))
		return false;
	if (fault(devstate_load_resets) && s->transfer.loaded)
		return true;
	if (fault(status_exact))
		return s->status_seen && s->status != ok;
	return s->status_seen && !(s->status & ok) && s->status != C_STATUS_FEATURES_OK;
}

void session_later(struct session *s, uint64_t delay_ns, void (*act)(struct session *s, uint64_t arg),
		   uint64_t arg)
{
	for (size_t i = 0; i < LATER_MAX; i++) {
		if (s->later[i].due_ns)
			continue;
		s->later[i] = (struct later){.due_ns = now_ns() + delay_ns, .act = act, .arg = arg};
		return;
	}
}

void session_remap(struct session *s)
{
	for (unsigned i = 0; i < s->n_rings; i++)
		ring_remap(&s->rings[i]);
	session_run_all(s);
}

void session_run_all(struct session *s)
{
	for (unsigned i = 0; i < s->n_rings; i++)
		ring_run(&s->rings[i]);
}

static uint32_t reply_flags(const struct session *s)
{
	uint32_t flags = C_HEADER_VERSION | C_HEADER_REPLY;

	if (fault(hdr_need_reply_always))
		flags |= C_HEADER_NEED_REPLY;
	if (fault(hdr_need_reply_echo))
		flags |= s->wire.msg.flags & C_HEADER_NEED_REPLY;

	if (fault(hdr_version))
		flags &= ~(uint32_t)C_HEADER_VERSION_MASK;
	if (fault(hdr_reply_bit) || s->answers_bare)
		flags &= ~(uint32_t)C_HEADER_REPLY;
	if (fault(hdr_reserved_bits))
		flags |= C_HEADER_NEED_REPLY << 1;
	return flags;
}

static void send_held(struct session *s, uint64_t unused)
{
	uint8_t payload[PMAX_U64];

	(void)unused;
	if (!s->held_request)
		return;
	FIELD_SET(payload, U64, u64, s->held_value);
	if (wire_send(&s->wire, s->held_request, reply_flags(s), payload, sizeof(payload), -1) < 0)
		s->ending = true;
	s->held_request = 0;
}

void session_answer(struct session *s, uint32_t request, const uint8_t *payload, uint32_t size, int fd)
{
	uint8_t padded[C_HEADER_SIZE + PAYLOAD_MAX] = {0};

	if (fault(hdr_order) && request == MSG_MAIN_GET_FEATURES && !s->held_request) {
		s->held_request = request;
		s->held_value = FIELD(payload, U64, u64);
		session_later(s, HELD_NS, send_held, 0);
		return;
	}
	if ((fault(hdr_answers_dry) && s->messages > DRY_MESSAGES) || s->deaf)
		return;
	if (fault(hdr_wrong_id) && request == MSG_MAIN_GET_PROTOCOL_FEATURES)
		request = MSG_MAIN_GET_FEATURES;
	if (fault(hdr_byteorder))
		request = __builtin_bswap32(request);
	if (fault(hdr_extra_fd) && fd < 0)
		fd = dup(s->wire.src.fd);
	if (fault(hdr_size) && size + C_HEADER_SIZE <= PAYLOAD_MAX) {
		memcpy(padded, payload, size);
		payload = padded;
		size += C_HEADER_SIZE;
	}
	if (wire_send(&s->wire, request, reply_flags(s), payload, size, fd) < 0)
		s->ending = true;
	send_held(s, 0);
	s->deaf |= fault(hdr_unknown_deaf) && !handler_of(request);
}

static void acknowledge(struct session *s, const struct msg *m, uint64_t value)
{
	uint8_t payload[PMAX_U64];
	uint32_t size = sizeof(payload);

	if (fault(reply_waiting_merged) && m->request == MSG_MAIN_SET_VRING_NUM && ++s->acks % ACKS_KEPT == 0)
		return;
	if (fault(ack_never) || (fault(ack_rare_never) && m->request == MSG_MAIN_SET_VRING_ERR))
		return;
	if ((fault(ack_nonzero_on_success) && m->request == MSG_MAIN_SET_VRING_NUM) ||
	    (fault(breq_ack) && m->request == MSG_MAIN_SET_BACKEND_REQ_FD))
		value = 1;
	if (fault(ack_zero_on_failure))
		value = 0;
	if (fault(ack_length))
		size /= 2;
	FIELD_SET(payload, U64, u64, value);
	session_answer(s, m->request, payload, size, -1);
	if (fault(ack_double))
		session_answer(s, m->request, payload, size, -1);
}

/* Messages that a fault dies of when their size is wrong. */
static bool deadly_size(const struct msg *m)
{
	static const struct {
		uint32_t request;
		enum fault_id fault;
	} deadly[] = {
		{MSG_MAIN_SET_MEM_TABLE, FAULT_mem_half_region_crash},
		{MSG_MAIN_ADD_MEM_REG, FAULT_memslot_add_length_crash},
		{MSG_MAIN_REM_MEM_REG, FAULT_memslot_rem_length_crash},
		{MSG_MAIN_SET_VRING_NUM, FAULT_vring_state_length_crash},
		{MSG_MAIN_SET_VRING_BASE, FAULT_vring_state_length_crash},
		{MSG_MAIN_GET_VRING_BASE, FAULT_vring_state_length_crash},
		{MSG_MAIN_SET_VRING_ADDR, FAULT_vring_addr_length_crash},
		{MSG_MAIN_GET_CONFIG, FAULT_config_short_crash},
		{MSG_MAIN_GET_INFLIGHT_FD, FAULT_inflight_short_request},
	};

	for (size_t i = 0; i < sizeof(deadly) / sizeof(deadly[0]); i++) {
		if (deadly[i].request == m->request && fault_on[deadly[i].fault])
			return true;
	}
	return false;
}

/* Messages that a fault acknowledges without the descriptor that they need. */
static bool fd_forgiven(const struct msg *m)
{
	if (m->n_fds)
		return false;
	return (fault(memslot_no_fd_ok) && m->request == MSG_MAIN_ADD_MEM_REG) ||
	       (fault(inflight_no_fd_ok) && m->request == MSG_MAIN_SET_INFLIGHT_FD);
}

/* Handlers that believe the size field. */
static void crash_of_size(const struct msg *m, const struct msg_row *row)
{
	if ((fault(hdr_long_crash) && row->max && m->size > row->max) ||
	    (fault(hdr_unwanted_payload_crash) && !row->max) ||
	    (fault(owner_payload_crash) && m->request == MSG_MAIN_SET_OWNER) ||
	    (fault(feat_size_crash) && m->request == MSG_MAIN_SET_FEATURES) ||
	    (fault(proto_size_crash) && m->request == MSG_MAIN_SET_PROTOCOL_FEATURES) ||
	    (fault(enable_size_crash) && m->request == MSG_MAIN_SET_VRING_ENABLE) ||
	    (fault(status_size_crash) && m->request == MSG_MAIN_SET_STATUS))
		fault_crash();
}

/* Whether a request may be served at all, by the tables. */
static enum result judge(const struct session *s, struct msg *m, const struct msg_row *row)
{
	if (!row || !handler_of(m->request)) {
		if (fault(hdr_unknown_kill))
			abort();
		if (fault(prog_exits_unasked))
			exit(EXIT_FAILURE);
		remark("request %u is unknown", m->request);
		return RES_REFUSED;
	}
	if ((row->gate & ~s->pfeatures) && !options.ungated) {
		if (fault(proto_ungated_crash) ||
		    (fault(inband_unneg_crash) && m->request == MSG_MAIN_VRING_KICK))
			fault_crash();
		remark("%s: its protocol feature was not negotiated", row->name);
		return RES_REFUSED;
	}
	if (postcopy_is_ack(s, m)) {
		if (fault(postcopy_ack_crash) && m->request == MSG_MAIN_ADD_MEM_REG)
			fault_crash();
		return RES_OK;
	}
	if (fault(shobj_size0_crash) && m->request == MSG_MAIN_GET_SHARED_OBJECT && !m->size)
		fault_crash();
	if ((m->size < row->min || m->size > row->max) &&
	    (m->size < row->alt_min || m->size > row->alt_max)) {
		if ((fault(hdr_short_crash) && m->size < row->min) || deadly_size(m))
			fault_crash();
		if (fault(iotlb_short_crash) && m->request == MSG_MAIN_IOTLB_MSG)
			fault_crash();
		crash_of_size(m, row);
		if (fault(net_rarp_size_crash) && m->request == MSG_MAIN_SEND_RARP)
			fault_crash();
		if (fault(mem_9_crash) && m->request == MSG_MAIN_SET_MEM_TABLE && m->size > row->max)
			fault_crash();
		remark("%s: payload of %u bytes", row->name, m->size);
		if (fault(vring_fd_length_leak) && row->min == PMAX_VRING_FD)
			m->n_fds = 0;
		return RES_REFUSED;
	}
	if (fault(devstate_nofd_crash) && m->request == MSG_MAIN_SET_DEVICE_STATE_FD && !m->n_fds)
		fault_crash();
	if (fault(breq_no_fd_ok) && m->request == MSG_MAIN_SET_BACKEND_REQ_FD && !m->n_fds)
		return RES_OK;
	if (fault(breq_surplus_leak) && m->request == MSG_MAIN_SET_BACKEND_REQ_FD && m->n_fds > 1)
		m->n_fds = 1;
	if (m->fds_lost || m->n_fds < row->fds_min || (row->fds_max && m->n_fds > row->fds_max)) {
		remark("%s: %u descriptors", row->name, m->n_fds);
		if (fault(hdr_fd_surplus_leak) ||
		    (fault(memslot_surplus_leak) && m->request == MSG_MAIN_ADD_MEM_REG))
			m->n_fds = 0;
		return RES_REFUSED;
	}
	if (fault(feat_owner_required) && !s->owned && m->request != MSG_MAIN_SET_OWNER)
		return RES_END;
	if (fault(reset_disowns) && s->reset_before && !s->owned && m->request != MSG_MAIN_SET_OWNER)
		return RES_REFUSED;
	return RES_OK;
}

/* A refusal that the capture shows comes before all judgement: whatever its reason was, it is told once. */
static enum refusal refused_as_captured(struct session *s, const struct msg *m, bool acks)
{
	enum refusal how =
		acks && (m->flags & C_HEADER_NEED_REPLY) ? options_refuse(m->request) : NOT_REFUSED;

	if (how == NOT_REFUSED)
		return how;
	remark("request %u was refused in the capture", m->request);
	/* What the device status tells. */
	s->features_refused |= m->request == MSG_MAIN_SET_FEATURES;
	return how;
}

static bool has_own_reply(const struct session *s, const struct msg_row *row)
{
	return row && (row->answer == ANSWER_ALWAYS ||
		       (row->answer == ANSWER_WITH_LOG_SHMFD && (s->pfeatures & P(LOG_SHMFD))));
}

static bool own_reply_lost(const struct msg *m, bool asked)
{
	return (fault(reply_get_none) && m->request == MSG_MAIN_GET_VRING_BASE) ||
	       (fault(reply_queue_num_none) && m->request == MSG_MAIN_GET_QUEUE_NUM && !asked) ||
	       (fault(reply_inflight_none) && m->request == MSG_MAIN_GET_INFLIGHT_FD) ||
	       (fault(log_reply_none) && m->request == MSG_MAIN_SET_LOG_BASE);
}

static void acknowledge_again(struct session *s, const struct msg *m, bool asked)
{
	if (fault(proto_ack_twice) && m->request == MSG_MAIN_SET_PROTOCOL_FEATURES && asked)
		acknowledge(s, m, 0);
	if (fault(reply_unasked_twice) && (m->flags & C_HEADER_NEED_REPLY) && !asked) {
		acknowledge(s, m, 0);
		acknowledge(s, m, 0);
	}
}

static void answer(struct session *s, const struct msg *m, const struct msg_row *row, enum result res,
		   const struct reply *reply, bool asked)
{
	bool own = has_own_reply(s, row);

	if (res == RES_REFUSED && fault(hdr_unknown_ok) && asked && !handler_of(m->request))
		res = RES_OK;
	if (res == RES_HANDLED)
		return;
	if (res == RES_OK && own) {
		if (!own_reply_lost(m, asked))
			session_answer(s, m->request, reply->payload, reply->size, reply->fd);
		if (fault(reply_double) && asked)
			acknowledge(s, m, 0);
	} else if (res == RES_OK) {
		if (asked || fault(hdr_unasked_reply))
			acknowledge(s, m, 0);
		acknowledge_again(s, m, asked);
	} else if (res == RES_REFUSED && asked && (!own || row->answer != ANSWER_ALWAYS)) {
		s->ending = fault(reply_refusal_0) && m->request == MSG_MAIN_SET_VRING_ENABLE;
		acknowledge(s, m, !s->ending);
		s->deaf |= fault(reply_refusal_deaf);
	} else if (!fault(hdr_unknown_skip) || handler_of(m->request)) {
		s->ending = true;
	}
}

static void dispatch(struct session *s)
{
	struct msg *m = &s->wire.msg;
	const struct msg_row *row = proto_row(m->request);
	struct reply reply = {.size = 0, .fd = -1};
	bool acks = (s->pfeatures & P(REPLY_ACK)) || options.ack_always, asked;
	enum refusal captured = refused_as_captured(s, m, acks);
	enum result res = captured == REFUSED_AT_ONCE ? RES_REFUSED : judge(s, m, row);

	s->messages++;
	if (fault(inband_cross_hang) && s->asked == MSG_BACKEND_BACKEND_VRING_CALL)
		fault_hang();
	if (fault(breq_waits_crash) && s->asked)
		fault_crash();
	s->mem.hidden = 0;
	if (fault(log_late) && m->request != MSG_MAIN_GET_VRING_BASE)
		log_catch_up(s);
	if (row && !row->fds_max && !fault(hdr_fd_leak))
		msg_close_fds(m);
	if (res == RES_OK)
		res = handler_of(m->request)(s, m, &reply);
	else if (res == RES_REFUSED && fd_forgiven(m))
		res = RES_OK;
	if (captured == REFUSED_AFTER_ALL && res == RES_OK)
		res = RES_REFUSED;
	/* a mask that ends REPLY_ACK is still acknowledged, one that begins it already */
	asked = (m->flags & C_HEADER_NEED_REPLY) && (acks || (s->pfeatures & P(REPLY_ACK)));
	if (s->acks_late && m->request != MSG_MAIN_SET_PROTOCOL_FEATURES && s->acks_late--)
		asked = false;
	answer(s, m, row, res, &reply, asked);
	if (row && !row->fds_max && fault(hdr_fd_leak))
		m->n_fds = 0;
	msg_close_fds(m);
	if (fault(hdr_unknown_skip) && !handler_of(m->request)) {
		uint8_t lost[C_HEADER_SIZE];
		struct pollfd next = {.fd = s->wire.src.fd, .events = POLLIN};

		/* What comes next may not be there yet. */
		if (poll(&next, 1, -1) < 0 || read(s->wire.src.fd, lost, sizeof(lost)) < 0)
			s->ending = true;
	}
}

static bool header_ok(const struct msg *m)
{
	bool version = (m->flags & C_HEADER_VERSION_MASK) == C_HEADER_VERSION;
	bool reply = m->flags & C_HEADER_REPLY;

	if ((fault(hdr_version_crash) && !version) || (fault(hdr_reply_flag_crash) && reply) ||
	    (fault(hdr_undefined_bits_crash) && (m->flags >> 4)) ||
	    (fault(hdr_negative_id) && (int32_t)m->request < 0) || (fault(hdr_id0_kill) && !m->request))
		fault_crash();
	return version && !reply;
}

static void wire_ready(struct source *src, uint32_t events)
{
	struct session *s = owner_of(owner_of(src, struct wire, src), struct session, wire);

	if (s->wire.out_n && wire_flush(&s->wire) < 0)
		s->ending = true;
	/* nothing is read while an answer waits for what it will say */
	if (s->transfer.asked)
		s->ending = events & (EPOLLHUP | EPOLLERR);
	for (unsigned i = 0; i < MESSAGES_IN_A_ROW && !s->ending && !s->wire.out_n && !s->transfer.asked;
	     i++) {
		switch (wire_receive(&s->wire)) {
		case WIRE_MESSAGE:
			dispatch(s);
			break;
		case WIRE_END:
			if (fault(hdr_half_close) && !(events & (EPOLLHUP | EPOLLERR)))
				loop_change(src, 0);
			else
				s->ending = true;
			return;
		case WIRE_NOTHING:
			return;
		}
	}
}

/* How long to wait before something is due without an event. */
static int64_t patience(const struct session *s)
{
	uint64_t now = now_ns(), due = s->look_ns ? s->look_ns : UINT64_MAX;

	if (s->again || s->restless)
		return 0;
	if (s->n_polled) {
		if (now - s->busy_ns < POLL_SPIN_NS)
			return 0;
		due = now + POLL_PAUSE_NS < due ? now + POLL_PAUSE_NS : due;
	}
	for (size_t i = 0; i < LATER_MAX; i++) {
		if (s->later[i].due_ns && s->later[i].due_ns < due)
			due = s->later[i].due_ns;
	}
	for (unsigned i = 0; s->n_due && i < s->n_rings; i++) {
		if (s->rings[i].due_ns && s->rings[i].due_ns < due)
			due = s->rings[i].due_ns;
	}
	if (due == UINT64_MAX)
		return -1;
	return due > now ? (int64_t)(due - now) : 0;
}

static void do_what_is_due(struct session *s)
{
	bool again = s->again, told = loop_reload();
	uint64_t now = now_ns();

	s->again = false;
	for (unsigned i = 0; (again || s->n_polled || s->n_due) && i < s->n_rings; i++) {
		struct ring *r = &s->rings[i];

		ring_ripe(r, now);
		if (r->again || r->polled)
			ring_run(r);
	}
	for (size_t i = 0; i < LATER_MAX; i++) {
		struct later l = s->later[i];

		if (!l.due_ns || l.due_ns > now)
			continue;
		s->later[i].due_ns = 0;
		l.act(s, l.arg);
	}
	if (told || (s->look_ns && now >= s->look_ns)) {
		if (s->dev->changed(s))
			channel_config_changed(s);
		if (s->look_ns)
			s->look_ns = now + LOOK_NS;
	}
}

static void begin(struct session *s)
{
	bool keep = fault(owner_state_kept) && s->connections;

	s->connections++;
	s->ending = false;
	if (!keep) {
		s->features = s->pfeatures = 0;
		if (!fault(status_kept))
			s->status = fault(status_not_zero) ? C_STATUS_ACKNOWLEDGE : 0;
	}
	s->features_set = s->features_refused = s->status_seen = false;
	s->config_pending = false;
	shm_forget(s);
	s->owned = s->reset_before = s->first_table_seen = s->inflight_given = s->deaf = false;
	s->log_waits = s->no_bit30_before = s->log_deaf = s->features_asked = s->status_frozen = false;
	for (unsigned i = 0; fault(state_born_enabled) && i < s->n_rings; i++)
		s->rings[i].enabled = true;
	s->acks = s->acks_late = s->mask_asked = s->held_request = s->messages = s->n_held_marks = 0;
	s->log_over = s->first_over = false;
	s->first_rings = 0;
	s->ending = fault(owner_half_locks) && s->halves >= HALVES;
	s->look_ns = options.image ? now_ns() + LOOK_NS : 0;
	memset(s->later, 0, sizeof(s->later));
	iotlb_clear(s);
	s->dev->reset(s);
}

static void end(struct session *s)
{
	s->halves = s->owned || !s->messages ? 0 : s->halves + 1;
	wire_close(&s->wire);
	screen_close(s);
	channel_close(s);
	if (fault(feat_log_leak) && s->log.map.base && !s->old_log.map.base) {
		s->old_log = s->log;
		memset(&s->log.map, 0, sizeof(s->log.map));
	}
	for (unsigned i = 0; fault(owner_leave_crash) && i < s->n_rings; i++) {
		if (s->rings[i].desc && split_avail_index(&s->rings[i]) != s->rings[i].last_avail)
			fault_crash();
	}
	if (fault(owner_state_kept))
		return;
	if (fault(owner_disconnect_leak)) {
		for (unsigned i = 0; i < s->n_rings; i++) {
			loop_remove(&s->rings[i].kick);
			s->rings[i].kick_fd = s->rings[i].call_fd = s->rings[i].err_fd = -1;
		}
		s->mem.n = 0;
	}
	for (unsigned i = 0; i < s->n_rings; i++)
		ring_reset(&s->rings[i]);
	memory_clear(&s->mem);
	log_close(&s->log);
	inflight_close(s);
	state_close(s);
	object_close(s);
	if (fault(postcopy_wait_crash) && s->postcopy.ack_due)
		fault_crash();
	postcopy_close(s);
	if (fault(hdr_eof_hang) && !s->messages)
		fault_hang();
}

/* A front-end that uses one of its queues starts the first. */
static bool some_rings_only(const struct session *s)
{
	return s->n_rings > 1 && s->rings[0].starts && !s->rings[1].starts;
}

void session_serve(struct session *s, int fd)
{
	s->wire.src.ready = wire_ready;
	s->wire.header_ok = header_ok;
	if (wire_open(&s->wire, fd) < 0) {
		close(fd);
		return;
	}
	begin(s);
	while (!s->ending && !loop_stopping()) {
		loop_wait(patience(s));
		do_what_is_due(s);
	}
	while (fault(prog_sigterm_waits) && loop_stopping() && some_rings_only(s))
		pause();
	end(s);
}

int session_init(struct session *s, const struct device *dev, unsigned n_rings, unsigned mem_slots)
{
	int r;

	memset(s, 0, sizeof(*s));
	s->dev = dev;
	s->wire.src.fd = s->screen.src.fd = s->channel.src.fd = s->transfer.src.fd = s->object.fd =
		s->postcopy.fd = s->log.fd = -1;
	r = rings_init(s, n_rings);
	if (r < 0)
		return r;
	return memory_init(&s->mem, mem_slots > C_MEM_TABLE_REGIONS ? mem_slots : C_MEM_TABLE_REGIONS);
}

void session_done(struct session *s)
{
	rings_done(s);
	memory_done(&s->mem);
	log_close(&s->log);
	mapping_close(&s->old_log.map);
}
