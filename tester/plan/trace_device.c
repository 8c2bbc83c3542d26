/* Which device a session of a capture is of. */
#include <jansson.h>
#include <string.h>

#include "trace_plan.h"

struct vhu_device_guess {
	enum vhu_device said; /* by META, of all */
	enum vhu_device found[VHU_CAP_CONNECTIONS_MAX + 1];
	struct vhu_facts *facts[VHU_CAP_CONNECTIONS_MAX + 1]; /* of those that are not found yet */
	const char *path;	 /* of the socket that was asked for last, */
	enum vhu_device by_path; /* and what those over it are of */
};

/* META may say: {"target":{"device":"blk"}}. */
static enum vhu_device by_meta(const char *text)
{
	json_t *meta = json_loads(text, 0, NULL);
	const char *name = json_string_value(json_object_get(json_object_get(meta, "target"), "device"));
	const struct vhu_device_row *row = name ? vhu_device_by_name(name) : NULL;
	enum vhu_device device = row ? row->device : VHU_DEV_ANY;

	json_decref(meta);
	return device;
}

struct vhu_device_guess *vhu_device_guess_new(const char *meta)
{
	struct vhu_device_guess *g = calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	g->said = by_meta(meta);
	for (size_t i = 0; i < VHU_ARRAY_SIZE(g->found); i++)
		g->found[i] = VHU_DEV_ANY;
	return g;
}

void vhu_device_guess_free(struct vhu_device_guess *g)
{
	for (size_t i = 0; g && i < VHU_ARRAY_SIZE(g->facts); i++)
		free(g->facts[i]);
	free(g);
}

/* What only one device has to do with. */
static enum vhu_device by_message(const struct vhu_msg_row *row)
{
	switch ((int)row->msg) {
	case VHU_MSG_NET_SET_MTU:
	case VHU_MSG_SEND_RARP:
		return VHU_DEV_NET;
	case VHU_MSG_GPU_SET_SOCKET:
		return VHU_DEV_GPU;
	default:
		return row->channel == VHU_CHAN_GPU ? VHU_DEV_GPU : VHU_DEV_ANY;
	}
}

/* The config space from its start, as far as it was read. */
static void note_config(struct vhu_facts *facts, const struct vhu_frame *f)
{
	const size_t head = vhu_payload_row(VHU_PL_CONFIG)->min;
	uint64_t offset = 1, size = 0;

	vhu_frame_get(f, VHU_PL_CONFIG, "offset", &offset);
	vhu_frame_get(f, VHU_PL_CONFIG, "size", &size);
	if (offset || size > sizeof(facts->config) || f->len < head + size || size <= facts->config_size)
		return;
	memcpy(facts->config, f->payload + head, size);
	facts->config_size = size;
}

/* What is offered and read; where the start was not seen, what a driver takes of it. */
static bool tells(const struct vhu_msg_row *row, const struct vhu_record *r)
{
	return row->msg == VHU_MSG_SET_FEATURES ||
	       (r->dir == VHU_CAP_DIR_BE &&
		(row->msg == VHU_MSG_GET_CONFIG || row->msg == VHU_MSG_GET_FEATURES));
}

static enum vhu_device by_facts(struct vhu_device_guess *g, const struct vhu_record *r,
				const struct vhu_msg_row *row)
{
	struct vhu_facts **facts = &g->facts[r->connection];
	int fds[VHU_CAP_FDS_MAX];
	struct vhu_frame f;

	if (!*facts)
		*facts = calloc(1, sizeof(**facts));
	if (!*facts || vhu_record_frame_borrow(r, fds, &f, NULL) < 0 || f.defects)
		return VHU_DEV_ANY;
	if (row->msg == VHU_MSG_GET_CONFIG)
		note_config(*facts, &f);
	else
		(*facts)->features |= vhu_frame_u64(&f, "u64");
	return vhu_facts_device(*facts);
}

void vhu_device_guess_note(struct vhu_device_guess *g, const struct vhu_record *r)
{
	enum vhu_device *found = &g->found[r->connection];
	const struct vhu_msg_row *row =
		g->said == VHU_DEV_ANY && *found == VHU_DEV_ANY ? vhu_record_row(r) : NULL;

	if (!row)
		return;
	*found = by_message(row);
	if (*found == VHU_DEV_ANY && tells(row, r))
		*found = by_facts(g, r, row);
	if (*found == VHU_DEV_ANY)
		return;
	free(g->facts[r->connection]);
	g->facts[r->connection] = NULL;
}

enum vhu_device vhu_device_guess_of(const struct vhu_device_guess *g, uint32_t connection)
{
	return g->said != VHU_DEV_ANY ? g->said : g->found[connection];
}

static enum vhu_device of_chosen(const struct vhu_trace *t, const struct vhu_replay_opts *opts,
				 const struct vhu_device_guess *g)
{
	enum vhu_device device = VHU_DEV_ANY;

	for (size_t i = 0; i < t->n_sessions && device == VHU_DEV_ANY; i++)
		if (vhu_trace_chosen(t, opts, &t->sessions[i]))
			device = vhu_device_guess_of(g, t->sessions[i].connection);
	return device;
}

struct vhu_device_guess *vhu_device_guess_over(const struct vhu_trace *t)
{
	struct vhu_device_guess *g = vhu_device_guess_new(t->meta);

	for (size_t i = 0; g && i < t->n_records; i++)
		vhu_device_guess_note(g, t->records[i]);
	return g;
}

enum vhu_device vhu_device_guess_session(struct vhu_device_guess *g, const struct vhu_trace *t,
					 const struct vhu_session_ref *s)
{
	const struct vhu_replay_opts beside = {.socket = s->path};
	enum vhu_device device = vhu_device_guess_of(g, s->connection);

	if (device != VHU_DEV_ANY || !s->path)
		return device;
	/* One that only reconnects asks less: others over its socket are of the same device. */
	if (!g->path || strcmp(g->path, s->path))
		g->by_path = of_chosen(t, &beside, g);
	g->path = s->path;
	return g->by_path;
}

enum vhu_device vhu_trace_guess_device(const struct vhu_trace *t, const struct vhu_replay_opts *opts)
{
	struct vhu_device_guess *g = vhu_device_guess_over(t);
	const struct vhu_session_ref *s = vhu_trace_session(t, opts->session);
	enum vhu_device device;

	if (!g)
		return VHU_DEV_ANY;
	device = s ? vhu_device_guess_session(g, t, s) : of_chosen(t, opts, g);
	vhu_device_guess_free(g);
	return device;
}
