#include "walk.h"

#include "wire/frame.h"

enum { HEADER = VHU_C_HEADER_SIZE };

/* One step: the rest of a header, or of a payload. */
static size_t step(struct walk *w, const uint8_t *bytes, size_t len)
{
	size_t n;

	if (w->have == HEADER && w->left) {
		n = (size_t)VHU_MIN((uint64_t)len, w->left);
		w->left -= n;
		if (!w->left)
			w->have = 0;
		return n;
	}
	n = VHU_MIN(len, HEADER - w->have);
	memcpy(w->header + w->have, bytes, n);
	w->have += n;
	if (w->have == HEADER) {
		w->left = vhu_ne_get(w->header + 8, 4);
		w->lost = w->left > VHU_FRAME_PAYLOAD_MAX;
		if (!w->left)
			w->have = 0;
	}
	return n;
}

void vhu_walk_over(struct walk *w, const uint8_t *bytes, size_t len)
{
	while (len && !w->lost) {
		size_t n = step(w, bytes, len);

		bytes += n;
		len -= n;
	}
}

bool vhu_walk_owner(const struct walk *w, const uint8_t *bytes, size_t len, uint32_t *ret_id)
{
	struct walk ahead = *w;
	uint8_t id[4];
	size_t have;

	/* To the first message that begins here, if one does. */
	while (len && !ahead.lost && ahead.have) {
		size_t n = step(&ahead, bytes, len);

		bytes += n;
		len -= n;
	}
	if (ahead.lost)
		return false;
	have = VHU_MIN(ahead.have, sizeof(id));
	memcpy(id, ahead.header, have);
	if (len) {
		size_t n = VHU_MIN(len, sizeof(id) - have);

		memcpy(id + have, bytes, n);
		have += n;
	} else if (!ahead.have) {
		/* It ended with the last byte. */
		memcpy(id, ahead.header, sizeof(id));
		have = sizeof(id);
	}
	*ret_id = (uint32_t)vhu_ne_get(id, sizeof(id));
	return have == sizeof(id);
}

void vhu_walk_skip(struct walk *w, size_t len)
{
	if (!len || w->lost)
		return;
	if (w->have < HEADER || len > w->left) {
		w->lost = true;
		return;
	}
	w->left -= len;
	if (!w->left)
		w->have = 0;
}
