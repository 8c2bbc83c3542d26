/* What a front-end may not send in migration: postcopy, the transfer of device state. */
#include "illegal.h"

/* --- postcopy -------------------------------------------------------------------------------------- */

/* Between the table of bases and our acknowledgement the back-end reads nothing else. */
static void check_exchange(struct vhu_trial *v)
{
	if (v->s->postcopy_ack_due && !vhu_session_is_postcopy_ack(v->s, v->f))
		vhu_trial_breaks(v, VHU_REQ_POSTCOPY_06, "the table of bases was not acknowledged");
}

static void check_end(struct vhu_trial *v)
{
	if (!v->s->postcopy_listens)
		vhu_trial_malformed(v, VHU_MALFORMED_ORDER, "POSTCOPY_END without POSTCOPY_LISTEN");
}

/* --- device state ---------------------------------------------------------------------------------- */

static void check_transfer(struct vhu_trial *v)
{
	uint64_t direction = VHU_NUMBER(v->f, DEVICE_STATE, direction),
		 phase = VHU_NUMBER(v->f, DEVICE_STATE, phase);

	if (direction > 1 || phase)
		vhu_trial_breaks(v, VHU_REQ_DEVSTATE_11, "direction %llu, phase %llu",
				 (unsigned long long)direction, (unsigned long long)phase);
	for (size_t i = 0; i < v->s->n_rings; i++) {
		if (!v->s->ring[i].started)
			continue;
		vhu_trial_breaks(v, VHU_REQ_DEVSTATE_11, "SET_DEVICE_STATE_FD while ring %zu is started", i);
		return;
	}
}

static void check_outcome(struct vhu_trial *v)
{
	if (!v->s->state_transfer)
		vhu_trial_malformed(v, VHU_MALFORMED_ORDER, "CHECK_DEVICE_STATE without a transfer");
}

static void (*const on_message[VHU_MSG_MAX])(struct vhu_trial *v) = {
	[VHU_MSG_POSTCOPY_END] = check_end,
	[VHU_MSG_SET_DEVICE_STATE_FD] = check_transfer,
	[VHU_MSG_CHECK_DEVICE_STATE] = check_outcome,
};

void vhu_trial_state(struct vhu_trial *v)
{
	check_exchange(v);
	if (on_message[v->row->msg])
		on_message[v->row->msg](v);
}
