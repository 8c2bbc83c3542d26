/* The rows of a sequence diagram: what came, with the messages of several rings folded into loops. */
#include "trace/ladder.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/arena.h"

enum {
	WORDS_MAX = 64,	   /* of a message's text, for folding */
	ROUND_MAX = 32,	   /* messages of a round */
	VALUES_SHOWN = 40, /* characters of a list of values */
	RINGS_WAIT = 64,   /* requests whose answers are told apart */
};

/* A record, and what is said of it. */
struct item {
	const struct vhu_record *r;
	const char *text;
	long ring; /* that it speaks of, also an answer; -1: none */
};

struct builder {
	struct vhu_arena *arena;
	enum vhu_device device;
	const struct vhu_session_ref *session;
	struct item *items;
	size_t n_items;
	struct vhu_ladder ladder;
	struct {
		uint32_t request;
		long ring;
	} waiting[RINGS_WAIT]; /* the last requests of the main channel, oldest first */
	size_t n_waiting;
};

/* --- texts and rings --------------------------------------------------------------------------------- */

/* Without the mark of the direction, and without the names of bits: the arrow says the one, `show` the other.
 */
static const char *short_text(struct builder *b, const struct vhu_record *r)
{
	struct vhu_buf text = {0};
	char *copy, *to;
	int depth = 0;

	vhu_record_describe(r, b->device, &text);
	copy = vhu_arena_strdup(b->arena, vhu_buf_text(&text));
	vhu_buf_done(&text);
	if (!copy)
		return NULL;
	to = copy;
	for (const char *p = copy + (vhu_record_is_message(r) || r->channel == VHU_CAP_RING ? 2 : 0); *p;
	     p++) {
		if (*p == '(' && depth++ == 0 && to > copy && to[-1] == ' ')
			to--;
		if (!depth)
			*to++ = (unsigned char)*p < ' ' || *p == 0x7f ? '.' : *p;
		depth -= *p == ')' && depth > 0;
	}
	*to = '\0';
	return copy;
}

static long own_ring(const struct vhu_record *r)
{
	const struct vhu_msg_row *row = vhu_record_row(r);
	int fds[VHU_CAP_FDS_MAX];
	struct vhu_frame f;
	uint64_t index;

	if (!row || row->scope != VHU_SCOPE_RING || vhu_record_frame_borrow(r, fds, &f, NULL) < 0 ||
	    !vhu_frame_get(&f, vhu_frame_payload(&f), "index", &index))
		return -1;
	return (long)(index & INT32_MAX);
}

static void remember(struct builder *b, uint32_t request, long ring)
{
	if (b->n_waiting == RINGS_WAIT)
		memmove(b->waiting, b->waiting + 1, --b->n_waiting * sizeof(*b->waiting));
	b->waiting[b->n_waiting].request = request;
	b->waiting[b->n_waiting++].ring = ring;
}

/* An acknowledgement speaks of the ring of its request. */
static long ring_of(struct builder *b, const struct vhu_record *r)
{
	long ring = own_ring(r);
	uint32_t request;

	if (r->channel != VHU_CAP_MAIN || r->len < VHU_C_HEADER_SIZE)
		return ring;
	request = (uint32_t)vhu_ne_get(r->payload, 4);
	if (!vhu_record_is_reply(r)) {
		remember(b, request, ring);
		return ring;
	}
	for (size_t i = 0; i < b->n_waiting; i++) {
		if (b->waiting[i].request != request)
			continue;
		ring = b->waiting[i].ring;
		b->n_waiting -= i + 1;
		memmove(b->waiting, b->waiting + i + 1, b->n_waiting * sizeof(*b->waiting));
		break;
	}
	return ring;
}

static int gather(struct builder *b)
{
	for (size_t i = 0; i < b->session->n; i++) {
		const struct vhu_record *r = b->session->records[i];
		struct item *item = &b->items[b->n_items];

		item->r = r;
		item->text = short_text(b, r);
		item->ring = vhu_record_is_message(r) ? ring_of(b, r) : -1;
		if (!item->text)
			return -ENOMEM;
		b->n_items++;
	}
	return 0;
}

/* --- folding ------------------------------------------------------------------------------------------ */

/* Words of a text; 0 if there are too many. Each ends at a blank or at the end. */
static size_t split(const char *text, const char *words[WORDS_MAX])
{
	size_t n = 0;

	while (*text && n < WORDS_MAX) {
		words[n++] = text;
		text += strcspn(text, " ");
		text += strspn(text, " ");
	}
	return *text ? 0 : n;
}

static size_t word_len(const char *word)
{
	return strcspn(word, " ");
}

static bool same_word(const char *a, const char *b)
{
	return word_len(a) == word_len(b) && !strncmp(a, b, word_len(a));
}

/* The same message of another ring: all words that name something are equal. */
static bool same_shape(const struct item *a, const struct item *b)
{
	const char *wa[WORDS_MAX], *wb[WORDS_MAX];
	size_t n = split(a->text, wa);

	if (a->r->channel != b->r->channel || a->r->dir != b->r->dir || !n || split(b->text, wb) != n)
		return false;
	for (size_t i = 0; i < n; i++) {
		size_t name = strcspn(wa[i], "= ");

		if (same_word(wa[i], wb[i]))
			continue;
		if (wa[i][name] != '=' || strncmp(wa[i], wb[i], name + 1) != 0)
			return false;
	}
	return true;
}

/* Messages from `at` on that speak of one ring, and only of it. */
static size_t round_length(const struct builder *b, size_t at)
{
	size_t n = 0;

	while (at + n < b->n_items && b->items[at + n].ring == b->items[at].ring && n < ROUND_MAX)
		n++;
	return b->items[at].ring < 0 ? 0 : n;
}

/* How many rounds of n messages there are from `at` on, each of the next ring. */
static size_t rounds(const struct builder *b, size_t at, size_t n)
{
	size_t count = 1;

	for (;; count++) {
		const struct item *next = &b->items[at + count * n];

		if (at + (count + 1) * n > b->n_items)
			return count;
		for (size_t i = 0; i < n; i++)
			if (next[i].ring != b->items[at].ring + (long)count ||
			    !same_shape(&b->items[at + i], &next[i]))
				return count;
	}
}

/* A word that is not the same in all rounds: "index=0…3", "num=128,256", "used=0x1000…". */
static void put_values(struct vhu_buf *out, const struct builder *b, size_t at, size_t n, size_t count,
		       size_t word)
{
	const char *words[WORDS_MAX];
	size_t start = out->len, name;

	split(b->items[at].text, words);
	name = strcspn(words[word], "=") + 1;
	vhu_buf_add(out, words[word], word_len(words[word]));
	if (!strncmp(words[word], "index=", name)) {
		split(b->items[at + (count - 1) * n].text, words);
		vhu_buf_puts(out, "…");
		vhu_buf_add(out, words[word] + name, word_len(words[word]) - name);
		return;
	}
	for (size_t i = 1; i < count; i++) {
		split(b->items[at + i * n].text, words);
		if (out->len - start + word_len(words[word]) > VALUES_SHOWN) {
			vhu_buf_puts(out, "…");
			return;
		}
		vhu_buf_puts(out, ",");
		vhu_buf_add(out, words[word] + name, word_len(words[word]) - name);
	}
}

static const char *folded_text(const struct builder *b, size_t at, size_t n, size_t count)
{
	const char *words[WORDS_MAX], *others[WORDS_MAX], *text;
	size_t n_words = split(b->items[at].text, words);
	struct vhu_buf out = {0};

	for (size_t w = 0; w < n_words; w++) {
		bool same = true;

		for (size_t i = 1; i < count && same; i++) {
			split(b->items[at + i * n].text, others);
			same = same_word(words[w], others[w]);
		}
		vhu_buf_puts(&out, w ? " " : "");
		if (same)
			vhu_buf_add(&out, words[w], word_len(words[w]));
		else
			put_values(&out, b, at, n, count, w);
	}
	text = vhu_arena_strdup(b->arena, vhu_buf_text(&out));
	vhu_buf_done(&out);
	return text;
}

/* --- rows --------------------------------------------------------------------------------------------- */

static struct vhu_ladder_row *add(struct builder *b, enum vhu_ladder_kind kind, const struct vhu_record *r)
{
	struct vhu_ladder_row *row = &b->ladder.rows[b->ladder.n++];
	uint64_t first = b->session->records[0]->t_ns;

	*row = (struct vhu_ladder_row){
		.kind = kind, .t_ns = r->t_ns > first ? r->t_ns - first : 0, .times = 1};
	return row;
}

static void add_message(struct builder *b, const struct vhu_record *r, const char *text)
{
	struct vhu_ladder_row *row = add(b, VHU_LADDER_MESSAGE, r);

	row->to_backend = r->dir == VHU_CAP_DIR_FE;
	row->beyond = r->channel != VHU_CAP_MAIN;
	row->reply = vhu_record_is_reply(r);
	row->text = text;
	b->ladder.beyond |= row->beyond;
}

/* Kicks come in thousands: equal ones are counted. */
static void add_note(struct builder *b, const struct item *item)
{
	struct vhu_ladder_row *last = b->ladder.n ? &b->ladder.rows[b->ladder.n - 1] : NULL;

	if (last && last->kind == VHU_LADDER_NOTE && !strcmp(last->text, item->text))
		last->times++;
	else
		add(b, VHU_LADDER_NOTE, item->r)->text = item->text;
}

static int add_loop(struct builder *b, size_t at, size_t n, size_t count)
{
	const struct item *first = &b->items[at];
	struct vhu_ladder_row *row = add(b, VHU_LADDER_LOOP, first->r);

	row->times = count;
	row->text = vhu_arena_printf(b->arena, "for each ring %ld…%ld", first->ring,
				     first->ring + (long)count - 1);
	for (size_t i = 0; i < n; i++) {
		const char *text = folded_text(b, at + i, n, count);

		if (!text)
			return -ENOMEM;
		add_message(b, first[i].r, text);
	}
	add(b, VHU_LADDER_END, b->items[at + n * count - 1].r);
	return row->text ? 0 : -ENOMEM;
}

static int add_rows(struct builder *b)
{
	for (size_t at = 0; at < b->n_items;) {
		const struct item *item = &b->items[at];
		size_t n = round_length(b, at), count = n ? rounds(b, at, n) : 1;

		if (count > 1) {
			if (add_loop(b, at, n, count) < 0)
				return -ENOMEM;
			at += n * count;
			continue;
		}
		if (vhu_record_is_message(item->r))
			add_message(b, item->r, item->text);
		else
			add_note(b, item);
		at++;
	}
	return 0;
}

int vhu_ladder_new(const struct vhu_session_ref *s, enum vhu_device device, struct vhu_arena *arena,
		   struct vhu_ladder *ret, struct vhu_err *err)
{
	struct builder b = {.arena = arena, .device = device, .session = s};

	b.items = vhu_arena_array(arena, s->n + 1, sizeof(*b.items));
	/* A loop of two rounds is one row more than its messages, of two messages. */
	b.ladder.rows = vhu_arena_array(arena, 2 * s->n + 2, sizeof(*b.ladder.rows));
	if (!b.items || !b.ladder.rows || gather(&b) < 0 || add_rows(&b) < 0)
		return vhu_err_errno(err, -ENOMEM, "ladder");
	*ret = b.ladder;
	return 0;
}
