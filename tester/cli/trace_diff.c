/* vhu-trace diff: two sessions aligned by meaning. */
#include "plan/plan.h"
#include "trace/diff.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#include "base/arena.h"
#include "trace_command.h"

struct both {
	const char *path[2];
	struct vhu_trace *trace[2];
	enum vhu_device device;
};

/* A session of each; of one NULL where the other file has more. */
struct pair {
	const struct vhu_session_ref *session[2];
	struct vhu_diff diff;
};

struct pairs {
	struct pair *items;
	size_t n;
};

static void describe(const struct both *b, const struct vhu_record *r, struct vhu_buf *text)
{
	vhu_buf_reset(text);
	vhu_record_describe(r, b->device, text);
}

/* --- as text ---------------------------------------------------------------------------------------- */

struct counts {
	size_t messages[2], alike, only[2], fields, chance[2];
};

static void print_difference(const struct both *b, const struct vhu_difference *x, struct vhu_buf *text,
			     struct counts *counts)
{
	char scratch[VHU_RECORD_NAME_CAP];

	switch (x->kind) {
	case VHU_DIFF_ONLY_A:
		describe(b, x->a, text);
		printf("- %6" PRIu32 "         %s\n", x->a->seq, vhu_buf_text(text));
		counts->only[0]++;
		break;
	case VHU_DIFF_ONLY_B:
		describe(b, x->b, text);
		printf("+        %6" PRIu32 "  %s\n", x->b->seq, vhu_buf_text(text));
		counts->only[1]++;
		break;
	case VHU_DIFF_FIELD:
		printf("! %6" PRIu32 " %6" PRIu32 "  %c %s%s %s: %s | %s\n", x->a->seq, x->b->seq,
		       x->a->dir == VHU_CAP_DIR_FE ? '>' : '<', vhu_record_name(x->a, scratch),
		       vhu_record_is_reply(x->a) ? " reply" : "", x->field, x->text_a, x->text_b);
		counts->fields++;
		break;
	}
}

/* Which sessions these are, where there are several. */
static void print_pair(const struct pair *p)
{
	if (p->session[0] && p->session[1])
		printf("session %" PRIu32 " and %" PRIu32 "\n", p->session[0]->connection,
		       p->session[1]->connection);
	else
		printf("session %" PRIu32 " is only in %s\n",
		       (p->session[0] ? p->session[0] : p->session[1])->connection,
		       p->session[0] ? "A" : "B");
}

static void print_text(const struct both *b, const struct pairs *pairs)
{
	struct counts counts = {0};
	struct vhu_buf text = {0};

	for (size_t i = 0; i < pairs->n; i++) {
		const struct pair *p = &pairs->items[i];
		bool whole = p->session[0] && p->session[1];

		if (pairs->n > 1 && (p->diff.n || !whole))
			print_pair(p);
		for (int side = 0; side < 2; side++) {
			size_t n = whole	    ? (side ? p->diff.messages_b : p->diff.messages_a)
				   : p->session[side] ? p->session[side]->messages
						    : 0;

			counts.messages[side] += n;
			counts.only[side] += whole ? 0 : n;
			counts.chance[side] += side ? p->diff.chance_b : p->diff.chance_a;
		}
		for (size_t k = 0; k < p->diff.n; k++)
			print_difference(b, &p->diff.items[k], &text, &counts);
		if (p->diff.too_different)
			puts("The sessions differ too much to be aligned to their ends.");
		counts.alike += p->diff.alike;
	}
	vhu_buf_done(&text);
	if (counts.chance[0] || counts.chance[1])
		printf("not compared: %zu and %zu messages that come by chance (--all)\n", counts.chance[0],
		       counts.chance[1]);
	printf("%zu and %zu messages: %zu alike, %zu only in A, %zu only in B, %zu fields differ\n",
	       counts.messages[0], counts.messages[1], counts.alike, counts.only[0], counts.only[1],
	       counts.fields);
}

/* --- as JSON ---------------------------------------------------------------------------------------- */

static json_t *side_json(const struct both *b, const struct pair *p, int side)
{
	const struct vhu_session_ref *s = p->session[side];

	return s ? json_pack("{s:s, s:I, s:I}", "file", b->path[side], "session", (json_int_t)s->connection,
			     "messages", (json_int_t)s->messages)
		 : json_null();
}

static json_t *item_json(const struct both *b, const struct vhu_difference *x, struct vhu_buf *text)
{
	static const char *const kinds[] = {"only-a", "only-b", "field"};
	char scratch[VHU_RECORD_NAME_CAP];
	json_t *item = json_pack("{s:s, s:s, s:s?, s:s?, s:s?}", "kind", kinds[x->kind], "name",
				 vhu_record_name(x->a ? x->a : x->b, scratch), "field", x->field, "a",
				 x->text_a, "b", x->text_b);

	for (int side = 0; side < 2; side++) {
		const struct vhu_record *r = side ? x->b : x->a;

		if (!r)
			continue;
		describe(b, r, text);
		json_object_set_new(item, side ? "record_b" : "record_a", json_integer(r->seq));
		json_object_set_new(item, side ? "text_b" : "text_a", json_string(vhu_buf_text(text)));
	}
	return item;
}

static void put_pair(const struct both *b, const struct pair *p, json_t *into)
{
	json_t *items = json_array();
	struct vhu_buf text = {0};

	for (size_t i = 0; i < p->diff.n; i++)
		json_array_append_new(items, item_json(b, &p->diff.items[i], &text));
	json_object_set_new(into, "a", side_json(b, p, 0));
	json_object_set_new(into, "b", side_json(b, p, 1));
	json_object_set_new(into, "alike", json_integer((json_int_t)p->diff.alike));
	json_object_set_new(into, "by_chance", json_pack("[I, I]", (json_int_t)p->diff.chance_a,
							   (json_int_t)p->diff.chance_b));
	json_object_set_new(into, "too_different", json_boolean(p->diff.too_different));
	json_object_set_new(into, "differences", items);
	vhu_buf_done(&text);
}

/* One pair stands at the top, several in a list. */
static int print_json(const struct both *b, const struct pairs *pairs)
{
	json_t *root = json_pack("{s:s, s:i}", "format", "vhu-trace-diff", "version", 1);
	json_t *list = pairs->n == 1 ? NULL : json_array();
	struct vhu_err err = {0};
	char *out;

	for (size_t i = 0; i < pairs->n; i++) {
		json_t *into = list ? json_object() : json_incref(root);

		put_pair(b, &pairs->items[i], into);
		if (list)
			json_array_append(list, into);
		json_decref(into);
	}
	if (list)
		json_object_set_new(root, "sessions", list);
	out = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
	if (out)
		puts(out);
	free(out);
	json_decref(root);
	if (out)
		return VHU_EXIT_OK;
	vhu_err_errno(&err, -ENOMEM, "diff");
	return vhu_trace_complain(&err);
}

/* --- which sessions --------------------------------------------------------------------------------- */

static int add_pair(struct pairs *pairs, const struct vhu_session_ref *a, const struct vhu_session_ref *b)
{
	struct pair *grown = reallocarray(pairs->items, pairs->n + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	pairs->items = grown;
	pairs->items[pairs->n++] = (struct pair){.session = {a, b}};
	return 0;
}

/* The next session in which anything is said; NULL: there is none. */
static const struct vhu_session_ref *next_session(const struct vhu_trace *t, size_t *at)
{
	while (*at < t->n_sessions)
		if (t->sessions[(*at)++].messages)
			return &t->sessions[*at - 1];
	return NULL;
}

/* The first of each, the second of each … */
static int pair_all(const struct both *b, struct pairs *pairs)
{
	size_t at[2] = {0};

	for (;;) {
		const struct vhu_session_ref *first = next_session(b->trace[0], &at[0]);
		const struct vhu_session_ref *second = next_session(b->trace[1], &at[1]);

		if (!first && !second)
			return 0;
		if (add_pair(pairs, first, second) < 0)
			return -ENOMEM;
	}
}

/* VHU_EXIT_OK, or what it told. */
static int pair_sessions(const struct vhu_trace_opts *o, const struct both *b, struct pairs *pairs)
{
	const struct vhu_session_ref *s[2];
	struct vhu_err err = {0};
	int code;

	if (o->session) {
		s[0] = vhu_trace_pick(b->trace[0], b->path[0], o->session);
		s[1] = s[0] ? vhu_trace_pick(b->trace[1], b->path[1],
					     o->session_b ? o->session_b : o->session)
			    : NULL;
		if (!s[1])
			return VHU_EXIT_USAGE;
		code = add_pair(pairs, s[0], s[1]);
	} else {
		code = pair_all(b, pairs);
	}
	if (code < 0)
		vhu_err_errno(&err, -ENOMEM, "diff");
	else if (!pairs->n)
		vhu_err_set(&err, -ENOENT, "%s: there is no session in it", b->path[0]);
	return pairs->n && code == 0 ? VHU_EXIT_OK : vhu_trace_complain(&err);
}

/* --- the whole -------------------------------------------------------------------------------------- */

static int compare(const struct vhu_trace_opts *o, const struct both *b, struct pairs *pairs)
{
	const struct vhu_diff_opts opts = {.ignore = o->ignore.items, .n_ignore = o->ignore.n, .all = o->all};
	struct vhu_arena *arena = vhu_arena_new();
	struct vhu_err err = {0};
	bool differ = false;
	int code = arena ? 0 : vhu_err_errno(&err, -ENOMEM, "diff");

	for (size_t i = 0; i < pairs->n && code == 0; i++) {
		struct pair *p = &pairs->items[i];

		if (p->session[0] && p->session[1])
			code = vhu_trace_diff(p->session[0], p->session[1], &opts, arena, &p->diff, &err);
		differ |= p->diff.n || !p->session[0] || !p->session[1];
	}
	if (code < 0)
		code = vhu_trace_complain(&err);
	else if (o->json)
		code = print_json(b, pairs);
	else
		print_text(b, pairs);
	vhu_arena_free(arena);
	return code == VHU_EXIT_OK && differ ? VHU_EXIT_FAILED : code;
}

int vhu_command_diff(const struct vhu_trace_opts *o)
{
	struct both b = {.path = {o->files[0], o->n_files > 1 ? o->files[1] : o->files[0]}};
	struct pairs pairs = {0};
	struct vhu_err err = {0};
	const struct vhu_replay_opts chosen = {.session = o->session};
	int code;

	if (o->n_files < 2 && !o->session_b) {
		vhu_err_set(&err, -EINVAL,
			    "diff: a second file is missing, or --session N,M for two sessions of one");
		return vhu_trace_complain(&err);
	}
	code = vhu_trace_take(b.path[0], &b.trace[0]);
	if (code == VHU_EXIT_OK && o->n_files < 2)
		b.trace[1] = b.trace[0];
	else if (code == VHU_EXIT_OK)
		code = vhu_trace_take(b.path[1], &b.trace[1]);
	if (code == VHU_EXIT_OK)
		code = pair_sessions(o, &b, &pairs);
	if (code == VHU_EXIT_OK) {
		b.device = o->device != VHU_DEV_ANY ? o->device : vhu_trace_guess_device(b.trace[0], &chosen);
		code = compare(o, &b, &pairs);
	}
	free(pairs.items);
	vhu_trace_free(b.trace[0]);
	if (b.trace[1] != b.trace[0])
		vhu_trace_free(b.trace[1]);
	return vhu_trace_finish(code);
}
