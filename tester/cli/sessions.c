/* Sessions under judgement: those that speak in full, the others packed. */
#include "sessions.h"

#include <errno.h>
#include <string.h>

#include "trace/format.h"

/*
 * In full at a time: few enough to stay in the processor's cache. They are searched for words that are not 0
 * by blocks, most of which are empty.
 */
enum { SLOTS = 32, WORDS = sizeof(struct vhu_oracle) / sizeof(uint64_t), BLOCK = 64 };

_Static_assert(sizeof(struct vhu_oracle) % sizeof(uint64_t) == 0, "it is packed by words");
_Static_assert(WORDS < UINT16_MAX, "runs are counted in 16 bits");

union state {
	struct vhu_oracle oracle;
	uint64_t words[WORDS];
};

struct vhu_sessions {
	struct vhu_one_session *by_connection[VHU_CAP_CONNECTIONS_MAX + 1];
	struct vhu_one_session *owners[SLOTS];
	uint64_t used[SLOTS]; /* when, by the clock */
	union state *states;
	uint64_t clock;
	uint16_t scratch[WORDS * 6 + 2]; /* the largest that packing can give */
};

int vhu_sessions_new(struct vhu_sessions **ret, struct vhu_err *err)
{
	struct vhu_sessions *t = calloc(1, sizeof(*t));

	if (t)
		t->states = calloc(SLOTS, sizeof(*t->states));
	if (!t || !t->states) {
		free(t);
		return vhu_err_errno(err, -ENOMEM, "sessions");
	}
	*ret = t;
	return 0;
}

void vhu_sessions_free(struct vhu_sessions *t)
{
	if (!t)
		return;
	for (size_t i = 0; i <= VHU_CAP_CONNECTIONS_MAX; i++) {
		if (t->by_connection[i])
			free(t->by_connection[i]->packed);
		free(t->by_connection[i]);
	}
	free(t->states);
	free(t);
}

/* --- packing: runs of words that are not 0, each behind its place and its length; 0 0 at the end ---------
 */

/* Runs of one block, appended to `out`; returns where they end. */
static uint16_t *pack_block(uint16_t *out, const uint64_t *words, size_t i, size_t end)
{
	while (i < end) {
		size_t start;

		while (i < end && !words[i])
			i++;
		start = i;
		while (i < end && words[i])
			i++;
		if (i == start)
			break;
		*out++ = (uint16_t)start;
		*out++ = (uint16_t)(i - start);
		memcpy(out, &words[start], (i - start) * sizeof(uint64_t));
		out += (i - start) * sizeof(uint64_t) / sizeof(*out);
	}
	return out;
}

/* And leaves the slot empty. */
static uint16_t *pack(struct vhu_sessions *t, union state *state)
{
	static const uint64_t zeroes[BLOCK];
	uint16_t *out = t->scratch, *packed;

	for (size_t i = 0; i < WORDS; i += BLOCK) {
		size_t n = VHU_MIN((size_t)BLOCK, (size_t)WORDS - i);

		if (!memcmp(&state->words[i], zeroes, n * sizeof(uint64_t)))
			continue;
		out = pack_block(out, state->words, i, i + n);
		memset(&state->words[i], 0, n * sizeof(uint64_t));
	}
	*out++ = 0;
	*out++ = 0;
	packed = malloc((size_t)(out - t->scratch) * sizeof(*out));
	if (packed)
		memcpy(packed, t->scratch, (size_t)(out - t->scratch) * sizeof(*out));
	return packed;
}

/* Into an empty slot. */
static void unpack(const uint16_t *packed, union state *state)
{
	while (packed[1]) {
		memcpy(&state->words[packed[0]], packed + 2, packed[1] * sizeof(uint64_t));
		packed += 2 + packed[1] * sizeof(uint64_t) / sizeof(*packed);
	}
}

/* A slot that is free, or the one that was not used for the longest time, emptied. -1 when out of memory. */
static int take_slot(struct vhu_sessions *t)
{
	int oldest = 0;

	for (int i = 0; i < SLOTS; i++) {
		if (!t->owners[i])
			return i;
		if (t->used[i] < t->used[oldest])
			oldest = i;
	}
	t->owners[oldest]->packed = pack(t, &t->states[oldest]);
	if (!t->owners[oldest]->packed)
		return -1;
	t->owners[oldest]->slot = -1;
	t->owners[oldest] = NULL;
	return oldest;
}

/* --- the table ---------------------------------------------------------------------------------------- */

struct vhu_one_session *vhu_sessions_find(struct vhu_sessions *t, uint32_t connection)
{
	return t->by_connection[connection];
}

static void drop_state(struct vhu_sessions *t, struct vhu_one_session *s)
{
	if (s->slot >= 0) {
		t->owners[s->slot] = NULL;
		memset(&t->states[s->slot], 0, sizeof(t->states[s->slot]));
	}
	s->slot = -1;
	free(s->packed);
	s->packed = NULL;
}

int vhu_sessions_begin(struct vhu_sessions *t, uint32_t connection, struct vhu_one_session **ret,
		       struct vhu_err *err)
{
	struct vhu_one_session *s = t->by_connection[connection];

	if (s)
		drop_state(t, s);
	else
		s = t->by_connection[connection] = malloc(sizeof(*s));
	if (!s)
		return vhu_err_errno(err, -ENOMEM, "sessions");
	*s = (struct vhu_one_session){.connection = connection, .slot = -1};
	*ret = s;
	return 0;
}

int vhu_sessions_oracle(struct vhu_sessions *t, struct vhu_one_session *s, struct vhu_oracle **ret,
			struct vhu_err *err)
{
	if (s->slot < 0) {
		int slot = take_slot(t);

		if (slot < 0)
			return vhu_err_errno(err, -ENOMEM, "sessions");
		if (s->packed)
			unpack(s->packed, &t->states[slot]);
		free(s->packed);
		s->packed = NULL;
		t->owners[slot] = s;
		s->slot = slot;
	}
	t->used[s->slot] = ++t->clock;
	*ret = &t->states[s->slot].oracle;
	return 0;
}

void vhu_sessions_close(struct vhu_sessions *t, struct vhu_one_session *s)
{
	drop_state(t, s);
	s->closed = true;
}
