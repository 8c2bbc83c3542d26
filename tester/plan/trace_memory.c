/* From a capture to a plan: what was recorded of shared memory and of rings, where it can be played. */
#include "trace_plan.h"

#include <errno.h>
#include <string.h>

/* How many bytes stand for those that the record is about; -1: it makes no sense. */
static long bytes_behind(uint32_t encoding, uint32_t length)
{
	switch (encoding) {
	case VHU_CAP_RAW:
		return length;
	case VHU_CAP_ZERO:
		return 0;
	case VHU_CAP_PATTERN:
		return VHU_CAP_PATTERN_LEN;
	default:
		return -1;
	}
}

/* What the inflight buffer and the log held is the other back-end's doing. */
static bool playable(const struct vhu_record *r, struct vhu_step_fill *ret)
{
	uint64_t offset, end;
	long n;

	if ((r->kind != VHU_CAP_MEM_RING && r->kind != VHU_CAP_MEM_BUFFER) || !r->has_region ||
	    r->len < VHU_CAP_MEM_HEAD)
		return false;
	offset = vhu_le_get(r->payload, 8);
	ret->len = vhu_le_get(r->payload + 8, 4);
	n = bytes_behind((uint32_t)vhu_le_get(r->payload + 12, 4), (uint32_t)ret->len);
	if (n < 0 || !ret->len || ret->len > VHU_CAP_PIECE || r->len - VHU_CAP_MEM_HEAD < (size_t)n)
		return false;
	if (__builtin_add_overflow(offset, ret->len, &end) || end > r->region[VHU_CAP_REGION_LEN] ||
	    __builtin_add_overflow(r->region[VHU_CAP_REGION_OFFSET], offset, &ret->offset) ||
	    __builtin_add_overflow(r->region[VHU_CAP_REGION_OFFSET], r->region[VHU_CAP_REGION_LEN], &end))
		return false;
	ret->uaddr = r->region[VHU_CAP_REGION_USER] + offset;
	ret->bytes = r->payload + VHU_CAP_MEM_HEAD;
	ret->n_bytes = (size_t)n;
	return true;
}

int vhu_trace_memory(struct trace_compile *c, struct track *t, const struct vhu_record *r)
{
	struct vhu_step_fill fill = {0};
	struct vhu_step *s;
	int rc;

	/* Requests of ours take the rings for themselves. */
	if (c->opts->io || !t->opened || t->closed || !playable(r, &fill)) {
		c->no_memory++;
		return 0;
	}
	rc = r->kind == VHU_CAP_MEM_RING ? vhu_trace_note_area(c, t, fill.uaddr, fill.len) : 0;
	if (rc == 0)
		rc = vhu_trace_file(c, r->region, &fill.known, &fill.object);
	s = rc == 0 ? vhu_trace_step(c, VHU_VERB_FILL, t, r) : NULL;
	if (!s)
		return rc < 0 ? rc : -ENOMEM;
	s->fill = fill;
	return 0;
}

int vhu_trace_note_signal(struct track *t, const struct vhu_frame *f, const struct vhu_step_recorded *sent)
{
	static const enum vhu_msg messages[VHU_TRACE_SIGNALS] = {
		[VHU_TRACE_KICK] = VHU_MSG_SET_VRING_KICK, [VHU_TRACE_CALL] = VHU_MSG_SET_VRING_CALL};
	uint64_t queue = vhu_frame_u64(f, "index");

	for (int i = 0; i < VHU_TRACE_SIGNALS && queue < VHU_SESSION_RINGS; i++) {
		if (!sent->row || sent->row->msg != messages[i])
			continue;
		if (!t->signals[i])
			t->signals[i] = calloc(VHU_SESSION_RINGS, sizeof(*t->signals[i]));
		if (!t->signals[i])
			return -ENOMEM;
		t->signals[i][queue] = !sent->n_fds			      ? 0
				       : sent->fds[0].source == VHU_FD_OBJECT ? sent->fds[0].object + 1
									      : VHU_TRACE_STRANGE;
	}
	return 0;
}

unsigned vhu_trace_signal(const struct track *t, uint64_t queue, enum vhu_trace_signals which)
{
	unsigned object = t->signals[which] && queue < VHU_SESSION_RINGS ? t->signals[which][queue] : 0;

	return object == VHU_TRACE_STRANGE ? 0 : object;
}

void vhu_trace_tell_memory(struct trace_compile *c)
{
	const char *why = c->opts->io ? " (--io takes the rings)" : "";

	if (c->no_memory)
		vhu_trace_note(c, "%zu memory records not replayed%s", c->no_memory, why);
	if (c->no_ring)
		vhu_trace_note(
			c,
			"%zu ring records not replayed: what was written down as memory, writes to a "
			"disk that is not ours (--allow-writes), rings that were spoilt, what makes no "
			"sense%s",
			c->no_ring, why);
	if (c->bare)
		vhu_trace_note(c, "%zu requests have no contents in the capture, and ours are zeroes",
			       c->bare);
}
