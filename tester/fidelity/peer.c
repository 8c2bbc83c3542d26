/*
 * The back-end's side of the conversation: each request that has an answer due gets it before the next
 * request, and there is no answer to nothing. A recording that lacks a frame shows here, on whichever side it
 * was.
 */
#include "peer.h"

struct dialogue {
	const struct segment *seg;
	peer_odd *odd;
	void *ctx;
	bool log_answered;		  /* LOG_SHMFD is agreed */
	size_t asked;			  /* requests so far */
	const struct vhu_tape_item *due;  /* the request whose answer is awaited */
	const struct vhu_tape_item *last; /* the last request */
};

static bool has_answer(const struct dialogue *d, const struct vhu_frame *f)
{
	const struct vhu_msg_row *row = vhu_msg_by_id(VHU_CHAN_MAIN, f->request);

	if (f->flags & VHU_C_HEADER_NEED_REPLY)
		return true;
	if (!row)
		return false;
	return row->answer == VHU_ANSWER_ALWAYS ||
	       (row->answer == VHU_ANSWER_WITH_LOG_SHMFD && d->log_answered);
}

/* In postcopy mode memory is answered unasked, and the front-end goes on with an empty message of the same
 * kind. */
static bool is_unasked_answer(const struct dialogue *d, const struct vhu_tape_item *item)
{
	const struct vhu_tape_item *next = vhu_said_at(d->seg, d->asked);
	uint32_t id = item->frame.request;

	return (id == VHU_ID_SET_MEM_TABLE || id == VHU_ID_ADD_MEM_REG) && d->last &&
	       d->last->frame.request == id && next && next->frame.request == id && next->frame.size == 8;
}

static void hear_request(struct dialogue *d, const struct vhu_tape_item *item)
{
	if (d->due)
		d->odd(d->ctx, d->due, "has no answer");
	d->asked++;
	d->last = item;
	d->due = has_answer(d, &item->frame) ? item : NULL;
	if (item->frame.request == VHU_ID_SET_PROTOCOL_FEATURES)
		d->log_answered = vhu_frame_u64(&item->frame, "u64") & VHU_P(LOG_SHMFD);
}

static void hear_answer(struct dialogue *d, const struct vhu_tape_item *item)
{
	if (item->frame.flags != (VHU_C_HEADER_VERSION | VHU_C_HEADER_REPLY))
		d->odd(d->ctx, item, "flags of an answer");
	if (item->odd)
		d->odd(d->ctx, item, item->odd);
	if (d->due && d->due->frame.request == item->frame.request)
		d->due = NULL;
	else if (!is_unasked_answer(d, item))
		d->odd(d->ctx, item, "an answer to nothing");
}

void vhu_peer_check(struct segment *seg, peer_odd *odd, void *ctx)
{
	struct dialogue d = {.seg = seg, .odd = odd, .ctx = ctx};

	for (size_t i = seg->first; i < seg->end; i++) {
		const struct vhu_tape_item *item = &seg->tape->items[i];

		if (item->kind != VHU_TAPE_FRAME || item->conn != seg->conn ||
		    item->frame.channel != VHU_CHAN_MAIN)
			continue;
		if (item->frame.dir == VHU_DIR_FE)
			hear_request(&d, item);
		else
			hear_answer(&d, item);
	}
	/* Who waits for it goes no further. */
	seg->unanswered = d.due && (seg->killed || !vhu_may_be_cut(seg));
}
