/* The device's own state over a handover: the steps that cases take, and what shows that it arrived. */
#include "load.h"

static const struct vhu_term zero_term = {.op = VHU_OP_FIRST, .u = 0},
			     one_term = {.op = VHU_OP_FIRST, .u = 1};
static const struct vhu_match_term is_zero_term = {.op = VHU_MATCH_EQ, .value = {&zero_term, 1}};
static const struct vhu_matcher is_zero = {.terms = &is_zero_term, .n = 1};

static bool do_send(struct load *l, enum vhu_msg msg, enum vhu_req req, const struct vhu_assign *with,
		    const char *reply)
{
	struct vhu_field_match match = {.field = reply, .match = is_zero};
	struct vhu_step s = vhu_load_step(l->run.phase);

	s.verb = VHU_VERB_SEND;
	s.requirement = req;
	s.send = (struct vhu_step_send){.row = vhu_msg_row(msg),
					.with = with,
					.n_with = with ? 1 : 0,
					.reply = &match,
					.n_reply = reply ? 1 : 0,
					.reply_fds = -1};
	vhu_do_send(&l->run, &s);
	return !l->run.stop && !l->run.exited && !l->conn.closed;
}

static bool do_transfer(struct load *l, enum vhu_transfer_op op, enum vhu_req req)
{
	struct vhu_step s = vhu_load_step(l->run.phase);

	s.verb = VHU_VERB_STATE;
	s.requirement = req;
	s.state = (struct vhu_step_state){.op = op, .pieces = 1};
	vhu_do_state(&l->run, &s);
	return !l->run.stop && !l->run.exited;
}

/* The cache mode is what a disk's guest can see of it. */
static bool has_cache_mode(const struct load *l)
{
	return (l->plan.features & VHU_V(VIRTIO_BLK_F_CONFIG_WCE)) && (l->plan.pfeatures & VHU_P(CONFIG));
}

/* Not for long: a disk that writes through is slow. */
static bool set_cache_mode(struct load *l, uint8_t writeback)
{
	const struct vhu_assign with = {.field = "payload", .bytes = &writeback, .n_bytes = 1};

	return !has_cache_mode(l) || do_send(l, VHU_MSG_SET_CONFIG, VHU_REQ_PROG_16, &with, NULL);
}

bool vhu_load_state_save(struct load *l)
{
	if (!l->state_moves)
		return true;
	l->run.phase = "handover: the state is saved";
	return set_cache_mode(l, 0) &&
	       do_send(l, VHU_MSG_SET_DEVICE_STATE_FD, VHU_REQ_DEVSTATE_02, NULL, "error") &&
	       do_transfer(l, VHU_TRANSFER_READ, VHU_REQ_DEVSTATE_06) &&
	       do_send(l, VHU_MSG_CHECK_DEVICE_STATE, VHU_REQ_DEVSTATE_08, NULL, "u64");
}

bool vhu_load_state_load(struct load *l)
{
	const struct vhu_assign load = {.field = "direction", .value = {&one_term, 1}};

	if (!l->state_moves || !l->taken_over)
		return true;
	l->run.phase = "handover: the state is loaded";
	l->ret->state_bytes = l->run.state.n_saved;
	return do_send(l, VHU_MSG_SET_DEVICE_STATE_FD, VHU_REQ_DEVSTATE_02, &load, "error") &&
	       do_transfer(l, VHU_TRANSFER_WRITE, VHU_REQ_DEVSTATE_07) &&
	       do_transfer(l, VHU_TRANSFER_CLOSE, VHU_REQ_DEVSTATE_07) &&
	       do_send(l, VHU_MSG_CHECK_DEVICE_STATE, VHU_REQ_DEVSTATE_07, NULL, "u64");
}

bool vhu_load_state_check(struct load *l)
{
	if (!l->state_moves || !has_cache_mode(l))
		return true;
	l->run.phase = "handover: the state that was loaded";
	return do_send(l, VHU_MSG_GET_CONFIG, VHU_REQ_DEVSTATE_07, NULL, "writeback") && set_cache_mode(l, 1);
}
