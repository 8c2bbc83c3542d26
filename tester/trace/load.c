/* A whole capture in memory: its records by sessions, ordered as they were written. */
#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "base/arena.h"
#include "trace/trace.h"

/* Records while their number is not known yet. */
struct gathered {
	const struct vhu_record **records;
	size_t n, cap;
	uint64_t bytes;
};

static int gather(struct gathered *g, struct vhu_arena *arena, const struct vhu_record *r)
{
	struct vhu_record *kept = vhu_arena_memdup(arena, r, sizeof(*r));

	if (g->n == g->cap) {
		size_t cap = g->cap ? g->cap * 2 : 256;
		const struct vhu_record **grown = realloc(g->records, cap * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		g->records = grown;
		g->cap = cap;
	}
	if (!kept)
		return -ENOMEM;
	g->records[g->n++] = kept;
	g->bytes += sizeof(*r) + r->len + VHU_CAP_HEADER;
	return g->bytes > VHU_TRACE_BYTES_MAX ? -EFBIG : 0;
}

static int by_seq(const void *a, const void *b)
{
	const struct vhu_record *x = *(const struct vhu_record *const *)a,
				*y = *(const struct vhu_record *const *)b;

	if (x->seq != y->seq)
		return x->seq < y->seq ? -1 : 1;
	return x->t_ns < y->t_ns ? -1 : x->t_ns > y->t_ns;
}

static int by_connection(const void *a, const void *b)
{
	const struct vhu_record *x = *(const struct vhu_record *const *)a,
				*y = *(const struct vhu_record *const *)b;

	if (x->connection != y->connection)
		return x->connection < y->connection ? -1 : 1;
	return by_seq(a, b);
}

/* --- sessions --------------------------------------------------------------------------------------- */

/* The u64 that a request of the front-end carries. */
static uint64_t payload_u64(const struct vhu_record *r)
{
	return r->len >= VHU_C_HEADER_SIZE + 8 ? vhu_ne_get(r->payload + VHU_C_HEADER_SIZE, 8) : 0;
}

static void see_message(struct vhu_session_ref *s, const struct vhu_record *r)
{
	const struct vhu_msg_row *row;

	s->headless |= s->messages == 0 && vhu_record_is_headless(r);
	s->partial |= s->headless || r->flags & VHU_CAP_LOST_BEFORE;
	s->messages++;
	if (r->channel != VHU_CAP_MAIN || r->dir != VHU_CAP_DIR_FE || r->len < VHU_C_HEADER_SIZE)
		return;
	row = vhu_msg_by_id(VHU_CHAN_MAIN, (uint32_t)vhu_ne_get(r->payload, 4));
	if (row && row->msg == VHU_MSG_SET_FEATURES)
		s->features = payload_u64(r);
	else if (row && row->msg == VHU_MSG_SET_PROTOCOL_FEATURES)
		s->pfeatures = payload_u64(r);
}

static void see(struct vhu_session_ref *s, const struct vhu_record *r)
{
	if (!s->path)
		s->path = r->path;
	if (vhu_record_is_message(r))
		see_message(s, r);
	else if (r->channel == VHU_CAP_LIFE && r->kind == VHU_CAP_LIFE_LOST)
		s->partial = true;
	else if (r->channel == VHU_CAP_LIFE && r->kind == VHU_CAP_LIFE_CLOSE)
		s->closed_by_be = r->dir == VHU_CAP_DIR_BE;
}

/* Splits the records, sorted by connection, into sessions. Connection 0 is the file itself. */
static int split(struct vhu_trace *t, const struct vhu_record *const *sorted)
{
	struct vhu_session_ref *sessions, *s = NULL;
	size_t n = 0;

	for (size_t i = 0; i < t->n_records; i++)
		n += sorted[i]->connection && (!i || sorted[i]->connection != sorted[i - 1]->connection);
	t->sessions = sessions = vhu_arena_array(t->arena, n, sizeof(*sessions));
	if (!sessions)
		return -ENOMEM;
	for (size_t i = 0; i < t->n_records; i++) {
		if (!sorted[i]->connection)
			continue;
		if (!s || s->connection != sorted[i]->connection) {
			s = &sessions[t->n_sessions++];
			s->connection = sorted[i]->connection;
			s->records = &sorted[i];
		}
		s->n++;
		see(s, sorted[i]);
	}
	return 0;
}

static int sort_out(struct vhu_trace *t, struct gathered *g)
{
	const struct vhu_record **all = vhu_arena_memdup(t->arena, g->records, g->n * sizeof(*all));
	const struct vhu_record **sorted = vhu_arena_memdup(t->arena, g->records, g->n * sizeof(*all));

	if (!all || !sorted)
		return -ENOMEM;
	/* Merged captures count from 0 more than once: there time decides. */
	qsort(all, g->n, sizeof(*all), by_seq);
	qsort(sorted, g->n, sizeof(*sorted), by_connection);
	t->records = all;
	t->n_records = g->n;
	return split(t, sorted);
}

/* --- META ------------------------------------------------------------------------------------------- */

static int read_head(struct vhu_trace *t)
{
	json_t *o = json_loads(t->meta, 0, NULL), *mask = json_object_get(o, "mask");
	json_int_t level = json_integer_value(json_object_get(o, "level"));
	const char **names = vhu_arena_array(t->arena, json_array_size(mask), sizeof(*names));
	size_t i;
	json_t *item;

	t->level = level >= 0 && level <= 3 ? (unsigned)level : 0;
	t->mask = names;
	json_array_foreach(mask, i, item)
	{
		if (!names || !json_is_string(item))
			continue;
		names[t->n_mask] = vhu_arena_strdup(t->arena, json_string_value(item));
		t->n_mask += names[t->n_mask] != NULL;
	}
	json_decref(o);
	return names ? 0 : -ENOMEM;
}

static void read_end(struct vhu_trace *t, const struct vhu_record *r)
{
	json_t *o = json_loadb((const char *)r->payload, r->len, 0, NULL);
	json_int_t lost = json_integer_value(json_object_get(o, "lost"));

	t->complete = o != NULL;
	t->lost = lost > 0 ? (uint64_t)lost : 0;
	json_decref(o);
}

/* --- loading ---------------------------------------------------------------------------------------- */

static int read_all(struct vhu_trace *t, struct vhu_trace_reader *reader, struct gathered *g,
		    struct vhu_err *err)
{
	struct vhu_record r;
	int rc;

	while ((rc = vhu_trace_reader_next(reader, t->arena, &r, err)) == 1) {
		if (r.channel == VHU_CAP_META && r.kind == VHU_CAP_META_END)
			read_end(t, &r);
		rc = gather(g, t->arena, &r);
		if (rc == -EFBIG)
			return vhu_err_set(err, rc, "capture: more than %d MiB do not fit into memory",
					   VHU_TRACE_BYTES_MAX >> 20);
		if (rc < 0)
			return vhu_err_errno(err, rc, "capture");
	}
	return rc;
}

static int load(struct vhu_trace_reader *reader, struct vhu_trace **ret, struct vhu_err *err)
{
	struct vhu_trace *t = calloc(1, sizeof(*t));
	struct gathered g = {0};
	int rc;

	if (!t || !(t->arena = vhu_arena_new())) {
		vhu_trace_free(t);
		return vhu_err_errno(err, -ENOMEM, "capture");
	}
	rc = read_all(t, reader, &g, err);
	if (rc == 0) {
		t->meta = vhu_arena_strdup(t->arena, vhu_trace_reader_meta(reader));
		t->notes = vhu_arena_strdup(t->arena, vhu_trace_reader_notes(reader));
		if (!t->meta || !t->notes || read_head(t) < 0 || sort_out(t, &g) < 0)
			rc = vhu_err_errno(err, -ENOMEM, "capture");
	}
	free(g.records);
	if (rc < 0) {
		vhu_trace_free(t);
		return rc;
	}
	*ret = t;
	return 0;
}

int vhu_trace_load(const char *path, struct vhu_trace **ret, struct vhu_err *err)
{
	struct vhu_trace_reader *reader;
	int rc = vhu_trace_reader_new(path, &reader, err);

	if (rc < 0)
		return rc;
	rc = load(reader, ret, err);
	vhu_trace_reader_free(reader);
	return rc;
}

int vhu_trace_load_mem(const void *bytes, size_t len, struct vhu_trace **ret, struct vhu_err *err)
{
	struct vhu_trace_reader *reader;
	int rc = vhu_trace_reader_new_mem(bytes, len, &reader, err);

	if (rc < 0)
		return rc;
	rc = load(reader, ret, err);
	vhu_trace_reader_free(reader);
	return rc;
}

void vhu_trace_free(struct vhu_trace *t)
{
	if (!t)
		return;
	vhu_arena_free(t->arena);
	free(t);
}

const struct vhu_session_ref *vhu_trace_session(const struct vhu_trace *t, uint32_t connection)
{
	for (size_t i = 0; i < t->n_sessions; i++)
		if (t->sessions[i].connection == connection)
			return &t->sessions[i];
	return NULL;
}
