/* Sessions under judgement: those that speak in full, the others packed. */
#include "sessions.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "trace/format.h"

/* In full at a time: few enough to stay in the processor's cache. */
enum {
	SLOTS = 32,
	WORDS = sizeof(struct vhu_oracle) / sizeof(uint64_t),
	PARTS = VHU_SESSION_SPANS + 1,
};

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
	union state *states;  /* zero where nobody owns them, wherever a session holds something */
	uint64_t clock;
	uint16_t scratch[(WORDS + PARTS) * 6 + 2]; /* the largest that packing can give */
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
		if (t->by_connection[i]) {
			free(t->by_connection[i]->packed);
			vhu_rings_free(t->by_connection[i]->rings);
		}
		free(t->by_connection[i]);
	}
	free(t->states);
	free(t);
}

/* --- packing: runs of words that are not 0, each behind its place and its length; 0 0 at the end ---------
 */

/* Words of a state that may not be 0. */
struct part {
	size_t first, end;
};

static size_t parts_of(const union state *state, struct part ret[PARTS])
{
	const size_t word = sizeof(uint64_t), head = offsetof(struct vhu_oracle, session);
	struct vhu_session_span spans[VHU_SESSION_SPANS];
	size_t n = vhu_session_spans(&state->oracle.session, spans);

	for (size_t i = 0; i < n; i++)
		ret[i] = (struct part){(head + spans[i].at) / word,
				       (head + spans[i].at + spans[i].len + word - 1) / word};
	ret[n] = (struct part){(head + sizeof(struct vhu_session)) / word, WORDS};
	return n + 1;
}

static void clear(union state *state)
{
	struct part parts[PARTS];
	size_t n = parts_of(state, parts);

	for (size_t i = 0; i < n; i++)
		memset(&state->words[parts[i].first], 0, (parts[i].end - parts[i].first) * sizeof(uint64_t));
}

/* Runs of one part, appended to `out`; returns where they end. */
static uint16_t *pack_part(uint16_t *out, const uint64_t *words, size_t i, size_t end)
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

/* Into the session's own room, which grows as needed; leaves the slot empty. */
static int pack(struct vhu_sessions *t, union state *state, struct vhu_one_session *s)
{
	struct part parts[PARTS];
	size_t n = parts_of(state, parts), len;
	uint16_t *out = t->scratch;

	for (size_t i = 0; i < n; i++) {
		uint64_t *first = &state->words[parts[i].first];

		out = pack_part(out, state->words, parts[i].first, parts[i].end);
		memset(first, 0, (parts[i].end - parts[i].first) * sizeof(*first));
	}
	*out++ = 0;
	*out++ = 0;
	len = (size_t)(out - t->scratch);
	if (len > s->room) {
		uint16_t *grown = malloc((len + len / 4) * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		free(s->packed);
		s->packed = grown;
		s->room = len + len / 4;
	}
	memcpy(s->packed, t->scratch, len * sizeof(*out));
	return 0;
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
	if (pack(t, &t->states[oldest], t->owners[oldest]) < 0)
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
		clear(&t->states[s->slot]);
	}
	s->slot = -1;
	vhu_rings_free(s->rings);
	s->rings = NULL;
	free(s->packed);
	s->packed = NULL;
	s->room = 0;
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
