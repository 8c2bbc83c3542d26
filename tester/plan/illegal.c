/* What a step's frame would break: the oracle's view, and the kinds of descriptor, which it can't see. */
#include <stdarg.h>
#include <string.h>

#include "internal.h"
#include "oracle/oracle.h"
#include "plan/script.h"
#include "wire/frame.h"

#define FD(source) (1u << VHU_FD_##source)
enum {
	SIGNALS = FD(CALL) | FD(KICK) | FD(ERR) | FD(EVENTFD) | FD(PIPE) | FD(KICK_BLOCKING) |
		  FD(PIPE_UNREAD) | FD(PIPE_UNWRITTEN) | FD(KICK_PIPE) | FD(CALL_PIPE) | FD(CALL_FULL) |
		  FD(CALL_OF_0),
	MEMORY = FD(MEMORY) | FD(LOG) | FD(INFLIGHT) | FD(MEMFD) | FD(HUGE),
};

/* What descriptors of each message can be. Those that are not here take none, or any. */
static const struct {
	enum vhu_msg msg;
	unsigned kinds;
} suitable[] = {
	{VHU_MSG_SET_VRING_KICK, SIGNALS},
	{VHU_MSG_SET_VRING_CALL, SIGNALS},
	{VHU_MSG_SET_VRING_ERR, SIGNALS},
	{VHU_MSG_SET_LOG_FD, SIGNALS},
	{VHU_MSG_SET_MEM_TABLE, MEMORY},
	{VHU_MSG_ADD_MEM_REG, MEMORY},
	{VHU_MSG_SET_LOG_BASE, MEMORY},
	{VHU_MSG_SET_INFLIGHT_FD, MEMORY},
	{VHU_MSG_SET_BACKEND_REQ_FD, FD(SOCKET)},
	{VHU_MSG_GPU_SET_SOCKET, FD(SOCKET)},
	{VHU_MSG_SET_DEVICE_STATE_FD, FD(PIPE) | FD(SOCKET) | FD(MEMFD) | FD(STATE) | FD(STATE_NARROW)},
};

struct list {
	struct vhu_illegal *out;
	size_t n, max;
};

static void VHU_PRINTF(2, 3) wrong_fd(struct list *l, const char *format, ...)
{
	va_list args;

	if (l->n == l->max)
		return;
	l->out[l->n] = (struct vhu_illegal){
		.req = VHU_REQ_MAX, .malformed = VHU_MALFORMED_FDS, .broken = VHU_REQ_MAX};
	va_start(args, format);
	vsnprintf(l->out[l->n++].text, sizeof(l->out->text), format, args);
	va_end(args);
}

static void check_kinds(struct list *l, const struct vhu_step_send *s)
{
	for (size_t i = 0; i < VHU_ARRAY_SIZE(suitable); i++) {
		if (suitable[i].msg != s->row->msg)
			continue;
		for (size_t k = 0; k < s->n_fds; k++)
			if (!(suitable[i].kinds >> s->fds[k].source & 1))
				wrong_fd(l, "descriptor %zu of %s is of the wrong kind", k, s->row->name);
	}
}

static void check_sizes(struct list *l, const struct vhu_step_send *s, const struct vhu_frame *f)
{
	for (size_t i = 0; i < s->n_fds; i++) {
		uint64_t size;

		if (s->fds[i].source == VHU_FD_MEMFD &&
		    vhu_value_eval(&s->fds[i].size, NULL, NULL, &size) == 0 &&
		    size < vhu_frame_end_in_file(f, i))
			wrong_fd(l, "the file of descriptor %zu is shorter than what %s says", i,
				 s->row->name);
	}
}

size_t vhu_send_illegal(const struct vhu_session *session, const struct vhu_step_send *s,
			const struct vhu_frame *f, struct vhu_illegal *out, size_t max)
{
	struct list l = {out, vhu_oracle_illegal(session, f, out, max), max};

	if (s->row && s->channel == VHU_CHAN_MAIN && s->fds_given) {
		check_kinds(&l, s);
		check_sizes(&l, s, f);
	}
	return l.n;
}
