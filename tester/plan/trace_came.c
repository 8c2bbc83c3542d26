/* From a capture to a plan: what the back-end sent, on each of its channels, and what it was answered. */
#include "trace_plan.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static int remember_asked(struct trace_compile *c, struct asked *t)
{
	if (t->n == t->cap) {
		size_t cap = t->cap ? 2 * t->cap : 16;
		size_t *steps = realloc(t->steps, cap * sizeof(*steps));

		if (!steps)
			return vhu_err_errno(c->err, -ENOMEM, "capture");
		t->steps = steps;
		t->cap = cap;
	}
	t->steps[t->n++] = c->n_steps - 1;
	return 0;
}

static void note_disk(struct trace_compile *c, const struct vhu_frame *f, const struct vhu_msg_row *row)
{
	uint64_t sectors;

	if (c->opts->device == VHU_DEV_BLK && row && row->msg == VHU_MSG_GET_CONFIG &&
	    vhu_frame_config(f, VHU_DEV_BLK, "capacity", &sectors) &&
	    sectors <= UINT64_MAX / VHU_C_SECTOR_SIZE)
		c->plan->disk = VHU_MAX(c->plan->disk, sectors * VHU_C_SECTOR_SIZE);
}

/* A message of the back-end, on either channel. */
int vhu_trace_came(struct trace_compile *c, struct track *t, const struct vhu_record *r,
		   const struct vhu_frame *f)
{
	const struct vhu_msg_row *row = vhu_frame_row(f);
	bool backend = f->channel == VHU_CHAN_BACKEND;
	struct vhu_step_answer answer = {.channel = f->channel,
					 .request = f->request,
					 .flags = f->flags,
					 .payload = r->payload + VHU_C_HEADER_SIZE,
					 .n_payload = f->len,
					 .n_fds = r->n_fds};
	/* What the recorder cut still came, and has to come again. */
	bool cut = r->len < r->orig_len && r->len >= VHU_C_HEADER_SIZE;
	const uint32_t bearable = VHU_DEFECT_FDS_LOST | (cut ? VHU_DEFECT_TRUNCATED : 0);
	struct vhu_step *s;
	int rc;

	if (f->defects & ~bearable || cut)
		vhu_trace_note(
			c, "record %" PRIu32 ": a message of the back-end that is not whole is not compared",
			r->seq);
	if (f->defects & ~bearable)
		return 0;
	rc = vhu_trace_mask(c, t, f, &answer);
	answer.any_size |= cut;
	s = rc == 0 ? vhu_trace_step(c, VHU_VERB_ANSWER, t, r) : NULL;
	if (!s)
		return rc < 0 ? rc : -ENOMEM;
	/* It was asked in the middle of a request: without an answer to it that one's may not come. */
	answer.optional = backend && (!row || vhu_msg_by_chance(row) || !vhu_session_overdue(t->session));
	s->answer = answer;
	if (backend && f->flags & VHU_C_HEADER_NEED_REPLY)
		rc = remember_asked(c, &t->asked[f->channel]);
	if (row && row->msg == VHU_MSG_GET_INFLIGHT_FD)
		vhu_trace_note_inflight(c, r, f);
	if (!backend)
		t->provoked = false;
	note_disk(c, f, row);
	vhu_session_apply(t->session, f, false);
	return rc;
}

/* The oldest step that waits for an answer; NULL: none. */
static struct vhu_step_answer *oldest(struct trace_compile *c, struct asked *t)
{
	struct vhu_step_answer *a;

	if (!t->n)
		return NULL;
	a = &c->steps[t->steps[0]].answer;
	memmove(t->steps, t->steps + 1, --t->n * sizeof(*t->steps));
	return a;
}

void vhu_trace_answered(struct trace_compile *c, struct track *t, const struct vhu_frame *f)
{
	struct vhu_step_answer *a;

	vhu_session_apply(t->session, f, false);
	a = oldest(c, &t->asked[VHU_CHAN_BACKEND]);
	if (!a)
		return;
	a->answered = f->len >= sizeof(uint64_t);
	if (a->answered)
		a->value = vhu_ne_get(f->payload, sizeof(uint64_t));
}

/* --- the graphics channel -------------------------------------------------------------------------- */

/* What the guest draws, at no time that the front-end has to do with; nobody answers it. */
static bool is_drawing(const struct vhu_msg_row *row)
{
	return vhu_msg_by_chance(row) && row->answer != VHU_ANSWER_ALWAYS;
}

static int gpu_asked(struct trace_compile *c, struct track *t, const struct vhu_record *r,
		     const struct vhu_frame *f, const struct vhu_msg_row *row)
{
	struct vhu_step *s = vhu_trace_step(c, VHU_VERB_ANSWER, t, r);

	if (!s)
		return -ENOMEM;
	s->answer = (struct vhu_step_answer){.channel = VHU_CHAN_GPU,
					     .request = f->request,
					     .flags = f->flags,
					     .payload = r->payload + VHU_C_HEADER_SIZE,
					     .n_payload = f->len,
					     .n_fds = r->n_fds,
					     .optional = vhu_msg_by_chance(row)};
	return row->answer == VHU_ANSWER_ALWAYS ? remember_asked(c, &t->asked[VHU_CHAN_GPU]) : 0;
}

int vhu_trace_gpu(struct trace_compile *c, struct track *t, const struct vhu_record *r)
{
	_cleanup_(vhu_frame_done) struct vhu_frame f = {0};
	const struct vhu_msg_row *row;
	struct vhu_step_answer *a;
	bool whole = vhu_record_frame(r, &f, NULL) == 0 && r->len >= r->orig_len && !f.defects;

	row = vhu_record_row(r);
	if (row && r->dir == VHU_CAP_DIR_BE && is_drawing(row)) {
		c->drawings++;
		return 0;
	}
	if (row && whole && r->dir == VHU_CAP_DIR_BE)
		return gpu_asked(c, t, r, &f, row);
	if (r->dir == VHU_CAP_DIR_BE) {
		vhu_trace_note(c,
			       "record %" PRIu32
			       ": a message of the graphics channel that is not whole is not compared",
			       r->seq);
		return 0;
	}
	/* One that is not whole is as good as none: the usual one takes its place. */
	a = oldest(c, &t->asked[VHU_CHAN_GPU]);
	if (a && whole) {
		a->answered = true;
		a->reply = r->payload + VHU_C_HEADER_SIZE;
		a->n_reply = f.len;
	}
	return 0;
}
