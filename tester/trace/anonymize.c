/* A capture without what is private in it. */
#include "trace/anonymize.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "base/arena.h"
#include "trace/ring_record.h"

enum { IDS_MAX = 1 << 20 };

/* Numbers that become 1, 2, … in the order in which they come; found by hash, in place. */
struct renumber {
	uint64_t *keys;
	uint32_t *values;
	size_t n, cap;
};

struct vhu_scrubber {
	enum vhu_device device; /* of the record at hand */
	struct renumber processes, sockets, objects, paths;
};

int vhu_scrubber_new(struct vhu_scrubber **ret, struct vhu_err *err)
{
	struct vhu_scrubber *s = calloc(1, sizeof(*s));

	if (!s)
		return vhu_err_errno(err, -ENOMEM, "anonymize");
	*ret = s;
	return 0;
}

static void renumber_done(struct renumber *t)
{
	free(t->keys);
	free(t->values);
}

void vhu_scrubber_free(struct vhu_scrubber *s)
{
	if (!s)
		return;
	renumber_done(&s->processes);
	renumber_done(&s->sockets);
	renumber_done(&s->objects);
	renumber_done(&s->paths);
	free(s);
}

/* --- numbers ------------------------------------------------------------------------------------------ */

static size_t place(const struct renumber *t, uint64_t key)
{
	size_t at = (size_t)vhu_fnv1a64(&key, sizeof(key), VHU_FNV1A64_SEED) & (t->cap - 1);

	while (t->values[at] && t->keys[at] != key)
		at = (at + 1) & (t->cap - 1);
	return at;
}

static bool grow(struct renumber *t)
{
	struct renumber old = *t, fresh = {.cap = old.cap ? old.cap * 2 : 256, .n = old.n};

	fresh.keys = calloc(fresh.cap, sizeof(*fresh.keys));
	fresh.values = calloc(fresh.cap, sizeof(*fresh.values));
	if (!fresh.keys || !fresh.values) {
		renumber_done(&fresh);
		return false;
	}
	*t = fresh;
	for (size_t i = 0; i < old.cap; i++) {
		if (!old.values[i])
			continue;
		size_t at = place(t, old.keys[i]);

		t->keys[at] = old.keys[i];
		t->values[at] = old.values[i];
	}
	renumber_done(&old);
	return true;
}

/* 0 stays 0: unknown. So does what comes after too many, or when memory is out. */
static uint32_t renumbered(struct renumber *t, uint64_t key)
{
	size_t at;

	if (!key)
		return 0;
	if (2 * t->n >= t->cap && (t->n >= IDS_MAX || !grow(t)))
		return 0;
	at = place(t, key);
	if (!t->values[at]) {
		t->keys[at] = key;
		t->values[at] = (uint32_t)++t->n;
	}
	return t->values[at];
}

static uint64_t object(struct vhu_scrubber *s, uint64_t dev, uint64_t inode)
{
	return renumbered(&s->objects, vhu_fnv1a64(&dev, sizeof(dev), inode | 1) | 1);
}

/* --- payloads ----------------------------------------------------------------------------------------- */

/* Fields of config space that name somebody or something. */
static const struct {
	enum vhu_device device;
	const char *field;
} private_config[] = {
	{VHU_DEV_NET, "mac"},	 {VHU_DEV_FS, "tag"},	       {VHU_DEV_INPUT, "u"},
	{VHU_DEV_MEDIA, "card"}, {VHU_DEV_VSOCK, "guest_cid"},
};

static bool is_private(const struct vhu_config_row *row)
{
	for (size_t i = 0; i < VHU_ARRAY_SIZE(private_config); i++)
		if (private_config[i].device == row->device && !strcmp(private_config[i].field, row->field))
			return true;
	return false;
}

/* Bytes of config space from `offset` on: zeroes but where a field is that is known, and not private. */
static void scrub_config(const struct vhu_scrubber *s, uint64_t offset, uint8_t *bytes, size_t len)
{
	const struct vhu_config_row *row;

	for (size_t k = 0; k < len; k++) {
		bool kept = false;

		for (size_t i = 0; !kept && (row = vhu_config_row(s->device, i)); i++)
			kept = offset + k >= row->offset && offset + k - row->offset < row->size &&
			       !is_private(row);
		if (!kept)
			bytes[k] = 0;
	}
}

/* An identity that is compared, but says nothing: the same again for the same bytes. */
static void scrub_uuid(struct vhu_scrubber *s, uint8_t *bytes, size_t len)
{
	uint64_t number = renumbered(&s->objects, vhu_fnv1a64(bytes, len, VHU_FNV1A64_SEED) | 1);

	memset(bytes, 0, len);
	/* As of version 4, so that it still looks like one. */
	if (len == 16) {
		vhu_le_put(bytes, 4, number);
		bytes[6] = 0x40;
		bytes[8] = 0x80;
	}
}

static void scrub_frame(struct vhu_scrubber *s, const struct vhu_record *r, uint8_t *bytes)
{
	int fds[VHU_CAP_FDS_MAX];
	const struct vhu_msg_row *row = vhu_record_row(r);
	const struct vhu_field_row *field;
	struct vhu_frame f;
	enum vhu_payload pl;
	uint64_t offset = 0, n;

	/* What lost its framing has no header either. */
	if (r->flags & VHU_CAP_MALFORMED || vhu_record_frame_borrow(r, fds, &f, NULL) < 0) {
		memset(bytes, 0, r->len);
		return;
	}
	pl = vhu_frame_payload(&f);
	bytes += r->len - f.len;
	/* Nobody knows what it is. */
	if (!row || pl == VHU_PL_MAX || f.defects) {
		if (f.len)
			memset(bytes, 0, f.len);
		return;
	}
	if (row->msg == VHU_MSG_SEND_RARP)
		memset(bytes, 0, f.len);
	vhu_frame_get(&f, pl, "offset", &offset);
	for (size_t i = 0; (field = vhu_payload_field(pl, i)); i++) {
		size_t len = field->offset < f.len ? f.len - field->offset : 0;

		/* Whoever sends a whole table sends whatever stands behind the regions that count. */
		if (field->kind == VHU_FIELD_REGION && field->count &&
		    vhu_frame_get(&f, pl, field->count, &n)) {
			size_t used = (size_t)VHU_MIN(n * field->size, (uint64_t)len);

			memset(bytes + f.len - (len - used), 0, len - used);
		}
		if (field->kind != VHU_FIELD_BYTES || !len)
			continue;
		if (field->size)
			len = VHU_MIN(len, field->size);
		if (!strcmp(field->name, "uuid"))
			scrub_uuid(s, bytes + field->offset, len);
		else if (pl == VHU_PL_CONFIG)
			scrub_config(s, offset, bytes + field->offset, len);
		else
			memset(bytes + field->offset, 0, len);
	}
}

/* Bytes of the records that are no messages: what stands before the contents is kept. */
static size_t head_of(const struct vhu_record *r)
{
	struct vhu_ring_record ring;

	switch (r->channel) {
	case VHU_CAP_MEM:
		return VHU_CAP_MEM_HEAD;
	case VHU_CAP_LIFE:
		return r->kind == VHU_CAP_LIFE_EXIT ? 4 : r->kind == VHU_CAP_LIFE_LOST ? 8 : 0;
	case VHU_CAP_RING:
		/* Nothing is known of what makes no sense. */
		if (!vhu_ring_record_parse(r, &ring))
			return 0;
		if (ring.data)
			return (size_t)(ring.data - r->payload);
		return ring.kind == VHU_CAP_RING_LAYOUT ? VHU_CAP_LAYOUT_LEN : VHU_CAP_EVENT_LEN;
	default:
		return 0;
	}
}

static void scrub_bytes(struct vhu_scrubber *s, const struct vhu_record *r, uint8_t *bytes)
{
	size_t head = VHU_MIN(head_of(r), r->len);

	if (vhu_record_is_message(r)) {
		scrub_frame(s, r, bytes);
		return;
	}
	memset(bytes + head, 0, r->len - head);
	/* A hash of contents tells whether they are guessed. */
	if (r->channel == VHU_CAP_RING && r->kind == VHU_CAP_RING_USED && r->len >= 24)
		memset(bytes + 16, 0, 8);
}

/* --- records ------------------------------------------------------------------------------------------ */

static int scrub_fds(struct vhu_scrubber *s, const struct vhu_record *r, struct vhu_arena *arena,
		     struct vhu_record *ret)
{
	struct vhu_fd_info *fds = vhu_arena_memdup(arena, r->fds, r->n_fds * sizeof(*fds));

	if (!fds)
		return -ENOMEM;
	for (size_t i = 0; i < r->n_fds; i++) {
		if (!fds[i].inode_valid)
			continue;
		fds[i].inode = object(s, fds[i].dev, fds[i].inode);
		fds[i].dev = 1;
	}
	ret->fds = fds;
	return 0;
}

static int scrub_findings(const struct vhu_record *r, struct vhu_arena *arena, struct vhu_record *ret)
{
	struct vhu_record_finding *findings =
		vhu_arena_memdup(arena, r->findings, r->n_findings * sizeof(*findings));

	if (!findings)
		return -ENOMEM;
	for (size_t i = 0; i < r->n_findings; i++)
		findings[i].summary = "";
	ret->findings = findings;
	return 0;
}

/* Who sends and who receives, by their part. */
static void scrub_names(const struct vhu_record *r, struct vhu_record *ret)
{
	static const char *const parts[VHU_CAP_DIR_MAX][2] = {
		{"process", "peer"}, {"front-end", "back-end"}, {"back-end", "front-end"}};

	ret->comm = r->comm ? parts[r->dir][0] : NULL;
	ret->peer_comm = r->peer_comm ? parts[r->dir][1] : NULL;
	ret->text = NULL;
}

/* The case and the step in it are kept, without the files that its macros are in. */
static int scrub_step(const struct vhu_record *r, struct vhu_arena *arena, struct vhu_record *ret)
{
	const char *files = r->step ? strstr(r->step, " (") : NULL;

	if (!files)
		return 0;
	ret->step = vhu_arena_printf(arena, "%.*s", (int)(files - r->step), r->step);
	return ret->step ? 0 : -ENOMEM;
}

static int scrub_path(struct vhu_scrubber *s, const struct vhu_record *r, struct vhu_arena *arena,
		      struct vhu_record *ret)
{
	if (!r->path)
		return 0;
	ret->path = vhu_arena_printf(
		arena, "/socket-%u",
		renumbered(&s->paths, vhu_fnv1a64(r->path, strlen(r->path), VHU_FNV1A64_SEED) | 1));
	return ret->path ? 0 : -ENOMEM;
}

int vhu_scrubber_record(struct vhu_scrubber *s, enum vhu_device device, const struct vhu_record *r,
			struct vhu_arena *arena, struct vhu_record *ret, struct vhu_err *err)
{
	struct vhu_record out = *r;
	uint8_t *bytes = NULL;
	int code = 0;

	s->device = device;
	out.flags |= VHU_CAP_SCRUBBED;
	out.tgid = renumbered(&s->processes, r->tgid);
	out.tid = renumbered(&s->processes, r->tid);
	out.snd_ino = renumbered(&s->sockets, r->snd_ino);
	out.rcv_ino = renumbered(&s->sockets, r->rcv_ino);
	if (r->has_region) {
		out.region[5] = object(s, r->region[4], r->region[5]);
		out.region[4] = 1;
	}
	scrub_names(r, &out);
	if (r->n_fds)
		code = scrub_fds(s, r, arena, &out);
	if (code == 0 && r->n_findings)
		code = scrub_findings(r, arena, &out);
	if (code == 0)
		code = scrub_path(s, r, arena, &out);
	if (code == 0)
		code = scrub_step(r, arena, &out);
	if (code == 0 && r->len) {
		bytes = vhu_arena_memdup(arena, r->payload, r->len);
		code = bytes ? 0 : -ENOMEM;
	}
	if (code < 0)
		return vhu_err_errno(err, code, "anonymize");
	if (bytes)
		scrub_bytes(s, r, bytes);
	out.payload = bytes;
	*ret = out;
	return 0;
}

/* --- the capture ---------------------------------------------------------------------------------------- */

static const char *kept_text(struct vhu_arena *arena, const json_t *value)
{
	return json_is_string(value) ? vhu_arena_strdup(arena, json_string_value(value)) : NULL;
}

int vhu_scrubber_meta(const char *meta, struct vhu_arena *arena, struct vhu_trace_meta *ret,
		      struct vhu_err *err)
{
	json_t *root = json_loads(meta, 0, NULL), *mask = json_object_get(root, "mask");
	const char *device = json_string_value(json_object_get(json_object_get(root, "target"), "device"));
	const char **names = vhu_arena_array(arena, json_array_size(mask) + 1, sizeof(*names));
	struct vhu_trace_meta m = {.mask = names};
	const json_t *item;
	size_t i;

	m.level = (unsigned)json_integer_value(json_object_get(root, "level")) & 3;
	m.tool = kept_text(arena, json_object_get(root, "tool"));
	if (device && vhu_device_by_name(device))
		m.target = vhu_arena_printf(arena, "{\"device\": \"%s\"}", device);
	json_array_foreach(mask, i, item)
	{
		const char *name = kept_text(arena, item);

		if (names && name)
			names[m.n_mask++] = name;
	}
	json_decref(root);
	if (!names)
		return vhu_err_errno(err, -ENOMEM, "anonymize");
	*ret = m;
	return 0;
}
