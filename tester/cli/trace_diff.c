/* vhu-trace diff: two sessions aligned by meaning. */
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
	const struct vhu_session_ref *session[2];
	enum vhu_device device;
};

static void describe(const struct both *b, const struct vhu_record *r, struct vhu_buf *text)
{
	vhu_buf_reset(text);
	vhu_record_describe(r, b->device, text);
}

static void print_text(const struct both *b, const struct vhu_diff *d)
{
	size_t only_a = 0, only_b = 0, fields = 0;
	char scratch[VHU_RECORD_NAME_CAP];
	struct vhu_buf text = {0};

	for (size_t i = 0; i < d->n; i++) {
		const struct vhu_difference *x = &d->items[i];

		switch (x->kind) {
		case VHU_DIFF_ONLY_A:
			describe(b, x->a, &text);
			printf("- %6" PRIu32 "         %s\n", x->a->seq, vhu_buf_text(&text));
			only_a++;
			break;
		case VHU_DIFF_ONLY_B:
			describe(b, x->b, &text);
			printf("+        %6" PRIu32 "  %s\n", x->b->seq, vhu_buf_text(&text));
			only_b++;
			break;
		case VHU_DIFF_FIELD:
			printf("! %6" PRIu32 " %6" PRIu32 "  %c %s%s %s: %s | %s\n", x->a->seq, x->b->seq,
			       x->a->dir == VHU_CAP_DIR_FE ? '>' : '<', vhu_record_name(x->a, scratch),
			       vhu_record_is_reply(x->a) ? " reply" : "", x->field, x->text_a, x->text_b);
			fields++;
			break;
		}
	}
	vhu_buf_done(&text);
	if (d->too_different)
		puts("The sessions differ too much to be aligned to their ends.");
	printf("%zu and %zu messages: %zu alike, %zu only in A, %zu only in B, %zu fields differ\n",
	       d->messages_a, d->messages_b, d->alike, only_a, only_b, fields);
}

static json_t *side_json(const struct both *b, int side)
{
	return json_pack("{s:s, s:I, s:I}", "file", b->path[side], "session",
			 (json_int_t)b->session[side]->connection, "messages",
			 (json_int_t)b->session[side]->messages);
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

static int print_json(const struct both *b, const struct vhu_diff *d)
{
	json_t *items = json_array(), *root;
	struct vhu_buf text = {0};
	struct vhu_err err = {0};
	char *out;

	for (size_t i = 0; i < d->n; i++)
		json_array_append_new(items, item_json(b, &d->items[i], &text));
	root = json_pack("{s:s, s:i, s:o, s:o, s:I, s:b, s:o}", "format", "vhu-trace-diff", "version", 1, "a",
			 side_json(b, 0), "b", side_json(b, 1), "alike", (json_int_t)d->alike,
			 "too_different", d->too_different, "differences", items);
	out = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
	if (out)
		puts(out);
	free(out);
	json_decref(root);
	vhu_buf_done(&text);
	if (out)
		return VHU_EXIT_OK;
	vhu_err_errno(&err, -ENOMEM, "diff");
	return vhu_trace_complain(&err);
}

static int compare(const struct vhu_trace_opts *o, const struct both *b)
{
	const struct vhu_diff_opts opts = {.ignore = o->ignore.items, .n_ignore = o->ignore.n, .all = o->all};
	struct vhu_arena *arena = vhu_arena_new();
	struct vhu_diff diff;
	struct vhu_err err = {0};
	int code = VHU_EXIT_OK;

	if (!arena)
		vhu_err_errno(&err, -ENOMEM, "diff");
	if (!arena || vhu_trace_diff(b->session[0], b->session[1], &opts, arena, &diff, &err) < 0)
		code = vhu_trace_complain(&err);
	else if (o->json)
		code = print_json(b, &diff);
	else
		print_text(b, &diff);
	if (code == VHU_EXIT_OK && diff.n)
		code = VHU_EXIT_FAILED;
	vhu_arena_free(arena);
	return code;
}

int vhu_command_diff(const struct vhu_trace_opts *o)
{
	struct both b = {.path = {o->files[0], o->n_files > 1 ? o->files[1] : o->files[0]}};
	struct vhu_err err = {0};
	int code = VHU_EXIT_OK;

	if (o->n_files < 2 && !o->session_b) {
		vhu_err_set(&err, -EINVAL,
			    "diff: a second file is missing, or --session N,M for two sessions of one");
		return vhu_trace_complain(&err);
	}
	for (int side = 0; side < 2 && code == VHU_EXIT_OK; side++) {
		if (side && o->n_files < 2)
			b.trace[1] = b.trace[0];
		else
			code = vhu_trace_take(b.path[side], &b.trace[side]);
		if (code != VHU_EXIT_OK)
			break;
		b.session[side] = vhu_trace_pick(b.trace[side], b.path[side],
						 side && o->session_b ? o->session_b : o->session);
		code = b.session[side] ? VHU_EXIT_OK : VHU_EXIT_USAGE;
	}
	if (code == VHU_EXIT_OK) {
		b.device = vhu_trace_device(o, b.trace[0]->meta);
		code = compare(o, &b);
	}
	vhu_trace_free(b.trace[0]);
	if (b.trace[1] != b.trace[0])
		vhu_trace_free(b.trace[1]);
	return vhu_trace_finish(code);
}
