/* vhu-trace stats. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#include "plan/plan.h"
#include "trace/stats.h"
#include "trace_command.h"

enum { SESSIONS_TOLD = 20 };

static double seconds(uint64_t from, uint64_t to)
{
	return to > from ? (double)(to - from) / 1e9 : 0;
}

/* Text of each kind of loss and oddity, where there was one. */
static void print_oddities(const struct vhu_stats_total *t)
{
	const struct {
		uint64_t n;
		const char *text;
	} rows[] = {
		{t->missing, "records are missing, by their numbers"},
		{t->lost, "records were lost, as the recorder counted"},
		{t->truncated, "messages were cut by the recorder"},
		{t->malformed, "pieces are raw bytes: framing was lost"},
		{t->intended, "messages break a rule on purpose"},
		{t->scrubbed, "records were scrubbed"},
	};

	for (size_t i = 0; i < VHU_ARRAY_SIZE(rows); i++)
		if (rows[i].n)
			printf("%12" PRIu64 "  %s\n", rows[i].n, rows[i].text);
}

static void print_kinds(const struct vhu_trace_stats *s)
{
	struct vhu_kind_count k;

	printf("\n%12s %12s %8s %8s  %s\n", "messages", "bytes", "largest", "fds", "kind");
	for (size_t i = 0; vhu_trace_stats_kind(s, i, &k); i++)
		printf("%12" PRIu64 " %12" PRIu64 " %8" PRIu64 " %8" PRIu64 "  %s%s%s\n", k.messages, k.bytes,
		       k.largest, k.fds, k.row ? k.row->name : "unknown on channel ",
		       k.row ? "" : vhu_channel_name(k.channel), k.reply ? " reply" : "");
}

static enum vhu_device session_device(const struct vhu_trace_input *in, const struct vhu_session_count *c)
{
	return in->device != VHU_DEV_ANY ? in->device : vhu_device_guess_of(in->guess, c->connection);
}

static const char *ending(const struct vhu_session_count *c)
{
	return !c->closed ? "open at the end" : c->closed_by_be ? "closed by the back-end" : "closed";
}

/* What it is of, where, and between whom, as far as the capture says. */
static void print_who(const struct vhu_trace_input *in, const struct vhu_session_count *c)
{
	enum vhu_device device = session_device(in, c);
	const char *parts[] = {device == VHU_DEV_ANY ? "" : vhu_device_row(device)->name,
			       c->path ? c->path : "", c->front_end, c->back_end};
	static const char *const heads[] = {", ", ", ", ", ", " > "};

	for (size_t i = 0; i < VHU_ARRAY_SIZE(parts); i++) {
		struct vhu_buf tame = {0};

		vhu_buf_puts(&tame, parts[i]);
		vhu_trace_tame(&tame);
		if (tame.len)
			printf("%s%s", heads[i], vhu_buf_text(&tame));
		vhu_buf_done(&tame);
	}
}

static void print_sessions(const struct vhu_trace_input *in, struct vhu_trace_stats *s, bool all)
{
	const struct vhu_stats_total *t = vhu_trace_stats_total(s);
	const struct vhu_session_count *c = vhu_trace_stats_session(s, 0);

	printf("\n%8s %12s %12s %12s %12s\n", "session", "start s", "length s", "messages", "bytes");
	for (size_t i = 0; c; c = vhu_trace_stats_session(s, c->connection), i++) {
		if (i == SESSIONS_TOLD && !all) {
			printf("%8s (%zu sessions more; -v lists all)\n", "…", t->sessions - i);
			return;
		}
		printf("%8" PRIu32 " %12.6f %12.6f %12" PRIu64 " %12" PRIu64 "  %s%s", c->connection,
		       seconds(t->first_ns, c->first_ns), seconds(c->first_ns, c->last_ns), c->messages,
		       c->bytes, c->opened ? "" : "start not seen, ", ending(c));
		if (c->lost || c->gaps || c->marked)
			printf(", lost %" PRIu64 " records, %" PRIu64 " gaps", c->lost, c->gaps);
		print_who(in, c);
		putchar('\n');
	}
}

static void print_text(const struct vhu_trace_input *in, struct vhu_trace_stats *s, bool all)
{
	const struct vhu_stats_total *t = vhu_trace_stats_total(s);

	printf("%" PRIu64 " records in %.6f s: %" PRIu64 " messages of %zu sessions, %" PRIu64
	       " bytes, %" PRIu64 " descriptors\n",
	       t->records, seconds(t->first_ns, t->last_ns), t->messages, t->sessions, t->bytes, t->fds);
	for (int c = 0; c < VHU_CAP_CHANNEL_MAX; c++)
		if (t->other[c] && c != VHU_CAP_META)
			printf("%12" PRIu64 "  %s records\n", t->other[c],
			       vhu_cap_channel_name((enum vhu_cap_channel)c));
	for (unsigned kind = 0; kind < VHU_CAP_RING_MAX; kind++)
		if (t->rings[kind])
			printf("%12" PRIu64 "    %s\n", t->rings[kind],
			       kind ? vhu_cap_ring_name(kind) : "of kinds that are not known here");
	print_oddities(t);
	if (t->messages)
		print_kinds(s);
	if (t->sessions)
		print_sessions(in, s, all);
}

/* --- JSON ------------------------------------------------------------------------------------------- */

static json_t *kinds_json(const struct vhu_trace_stats *s)
{
	json_t *list = json_array();
	struct vhu_kind_count k;

	for (size_t i = 0; vhu_trace_stats_kind(s, i, &k); i++)
		json_array_append_new(list,
				      json_pack("{s:s?, s:s, s:b, s:I, s:I, s:I, s:I}", "name",
						k.row ? k.row->name : NULL, "channel",
						vhu_channel_name(k.channel), "reply", k.reply, "messages",
						(json_int_t)k.messages, "bytes", (json_int_t)k.bytes,
						"largest", (json_int_t)k.largest, "fds", (json_int_t)k.fds));
	return list;
}

static json_t *sessions_json(const struct vhu_trace_input *in, struct vhu_trace_stats *s)
{
	const struct vhu_session_count *c = vhu_trace_stats_session(s, 0);
	json_t *list = json_array();

	for (; c; c = vhu_trace_stats_session(s, c->connection)) {
		enum vhu_device device = session_device(in, c);
		json_t *path = c->path ? json_string(c->path) : NULL; /* NULL as well: it is no UTF-8 */

		json_array_append_new(
			list,
			json_pack("{s:I, s:s?, s:o?, s:I, s:I, s:I, s:b, s:b, s:b, s:I, s:I}", "session",
				  (json_int_t)c->connection, "device",
				  device == VHU_DEV_ANY ? NULL : vhu_device_row(device)->name, "socket", path,
				  "duration_ns", (json_int_t)(c->last_ns - c->first_ns), "messages",
				  (json_int_t)c->messages, "bytes", (json_int_t)c->bytes, "start_seen",
				  c->opened, "closed", c->closed, "closed_by_backend", c->closed_by_be,
				  "lost", (json_int_t)c->lost, "gaps", (json_int_t)c->gaps));
	}
	return list;
}

static json_t *rings_json(const struct vhu_stats_total *t)
{
	json_t *o = json_object();

	for (unsigned kind = 1; kind < VHU_CAP_RING_MAX; kind++)
		if (t->rings[kind])
			json_object_set_new(o, vhu_cap_ring_name(kind),
					    json_integer((json_int_t)t->rings[kind]));
	return o;
}

static int print_json(const struct vhu_trace_input *in, struct vhu_trace_stats *s)
{
	const struct vhu_stats_total *t = vhu_trace_stats_total(s);
	json_t *root = json_pack("{s:s, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o}",
				 "format", "vhu-trace-stats", "version", 1, "records", (json_int_t)t->records,
				 "messages", (json_int_t)t->messages, "bytes", (json_int_t)t->bytes, "fds",
				 (json_int_t)t->fds, "duration_ns", (json_int_t)(t->last_ns - t->first_ns),
				 "missing", (json_int_t)t->missing, "lost", (json_int_t)t->lost, "truncated",
				 (json_int_t)t->truncated, "malformed", (json_int_t)t->malformed, "rings",
				 rings_json(t), "kinds", kinds_json(s), "sessions", sessions_json(in, s));
	_cleanup_(vhu_freep) char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
	struct vhu_err err = {0};

	json_decref(root);
	if (text) {
		puts(text);
		return VHU_EXIT_OK;
	}
	vhu_err_errno(&err, -ENOMEM, "statistics");
	return vhu_trace_complain(&err);
}

int vhu_command_stats(const struct vhu_trace_opts *o)
{
	struct vhu_trace_stats *s = NULL;
	struct vhu_trace_input in;
	struct vhu_err err = {0};
	struct vhu_record r;
	int code = vhu_trace_open(o, &in), more = 0;

	if (code)
		return code;
	if (vhu_trace_stats_new(o->session, &s, &err) < 0)
		code = vhu_trace_complain(&err);
	while (code == VHU_EXIT_OK && (more = vhu_trace_next(&in, &r)) > 0)
		if (vhu_trace_stats_add(s, &r, &err) < 0)
			code = vhu_trace_complain(&err);
	if (more < 0)
		code = -more;
	if (code == VHU_EXIT_OK && o->json)
		code = print_json(&in, s);
	else if (code == VHU_EXIT_OK)
		print_text(&in, s, o->verbose);
	vhu_trace_close(&in);
	vhu_trace_stats_free(s);
	return vhu_trace_finish(code);
}
