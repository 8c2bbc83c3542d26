/* The back-end's side of a recording: what it answered to which request. */
#include "internal.h"

const struct vhu_tape_item *vhu_said_at(const struct segment *s, size_t i)
{
	return i < s->n_said ? &s->tape->items[s->said[i]] : NULL;
}

static bool is_reply(const struct segment *s, const struct vhu_tape_item *item, uint32_t id)
{
	return item->kind == VHU_TAPE_FRAME && item->conn == s->conn &&
	       item->frame.channel == VHU_CHAN_MAIN && item->frame.dir == VHU_DIR_BE &&
	       item->frame.request == id;
}

const struct vhu_tape_item *vhu_reply_at(const struct segment *s, uint32_t id, unsigned n)
{
	for (size_t i = s->first; i < s->end; i++)
		if (is_reply(s, &s->tape->items[i], id) && n-- == 0)
			return &s->tape->items[i];
	return NULL;
}

const struct vhu_tape_item *vhu_reply_of_ring(const struct segment *s, unsigned queue, unsigned n)
{
	for (size_t i = s->first; i < s->end; i++)
		if (is_reply(s, &s->tape->items[i], VHU_ID_GET_VRING_BASE) &&
		    vhu_frame_u64(&s->tape->items[i].frame, "index") == queue && n-- == 0)
			return &s->tape->items[i];
	return NULL;
}
