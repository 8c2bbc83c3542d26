/* Frames of a network device. */
#include <string.h>

#include "internal.h"

enum {
	FRAME_MIN = 60,
	FRAME_MAX = 65535,
	FRAMES_MAX = 65536,
	PAIRS_MAX = VHU_LAYOUT_RINGS_MAX / 2,
	BUFFER_MAX = 1 << 20,
};

/* A list of numbers that are known now; *ret stays where the key is absent. */
static void get_list(struct compile *c, const struct node *n, const char *key, uint64_t min, uint64_t max,
		     const uint32_t **ret, size_t *ret_n)
{
	struct node list = NODE_GET(n, key);
	size_t count = json_array_size(list.json);
	uint32_t *numbers;

	if (!list.json)
		return;
	if (count > LIMIT_SEGMENTS) {
		vhu_diag(c->report, list.path, "more than %d numbers", LIMIT_SEGMENTS);
		return;
	}
	numbers = vhu_plan_take(c, count, sizeof(*numbers));
	for (size_t i = 0; numbers && i < count; i++) {
		struct node item = NODE_AT(&list, i);
		uint64_t u = 0;

		if (!vhu_get_count(c, &item, "a number", min, max, &u))
			return;
		numbers[i] = (uint32_t)u;
	}
	*ret = numbers;
	*ret_n = numbers ? count : 0;
}

void vhu_verb_frames(struct compile *c, const struct node *n, struct vhu_step *step)
{
	static const uint32_t first_pair[] = {0}, shortest[] = {FRAME_MIN};
	struct vhu_step_frames *f = &step->frames;
	struct node count = NODE_GET(n, "frames"), header = NODE_GET(n, "header");
	struct node received = NODE_GET(n, "received");
	struct node pairs = NODE_GET(n, "pairs"), arrive = NODE_GET(n, "arrive");
	uint64_t u = 0;

	*f = (struct vhu_step_frames){
		.pairs = first_pair, .n_pairs = 1, .sizes = shortest, .n_sizes = 1, .arrive = -1};
	if (!c->device_is_net)
		vhu_diag(c->report, n->path,
			 "'frames' are a network device's: \"needs\": {\"device\": [\"net\"]} is missing");
	if (vhu_get_count(c, &count, "'frames'", 1, FRAMES_MAX, &u))
		f->count = (uint32_t)u;
	if (arrive.json && vhu_get_count(c, &arrive, "a pair", 0, PAIRS_MAX - 1, &u)) {
		f->arrive = (int)u;
		vhu_queue_use(c, arrive.path, 2 * (unsigned)u);
	}
	if (json_is_string(pairs.json)) {
		bool on = vhu_get_word(n, "pairs", vhu_words_pairs, 0) == 0;

		f->which = on ? VHU_PAIRS_ON : VHU_PAIRS_OFF;
		f->n_pairs = 0;
	} else {
		get_list(c, n, "pairs", 0, PAIRS_MAX - 1, &f->pairs, &f->n_pairs);
	}
	get_list(c, n, "sizes", FRAME_MIN, FRAME_MAX, &f->sizes, &f->n_sizes);
	get_list(c, n, "segments", 1, FRAME_MAX, &f->segments, &f->n_segments);
	get_list(c, n, "buffers", 1, BUFFER_MAX, &f->buffers, &f->n_buffers);
	f->one_piece = json_is_array(json_object_get(n->json, "segments")) && !f->n_segments;
	for (size_t i = 0; i < f->n_pairs; i++)
		vhu_queue_use(c, pairs.json ? pairs.path : n->path, 2 * f->pairs[i] + 1);
	f->indirect = vhu_get_bool(n, "indirect", false);
	f->partial = vhu_get_bool(n, "partial", false);
	f->expect = (enum vhu_frames_expect)vhu_get_word(n, "come", vhu_words_frames, VHU_FRAMES_BACK);
	f->header = (struct vhu_chain_elem){.kind = VHU_ELEM_OUT, .layout = "net_header"};
	if (header.json)
		vhu_get_layout_fields(c, &header, &f->header);
	f->received = (struct vhu_chain_elem){.kind = VHU_ELEM_IN, .layout = f->header.layout};
	if (received.json)
		vhu_get_layout_matches(c, &received, &f->received);
	if (f->indirect)
		vhu_need_indirect(c);
}
