/* Two sessions held against each other. */
#include "trace/diff.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "trace/align.h"
#include "base/arena.h"

enum { NAME_MAX_LEN = 96, SHOWN_BYTES = 48 };

/* Differs between two honest runs: where things lie in memory, what depends on the medium, on traffic, on
 * time. */
static const char *const masks[] = {
	"*userspace_addr",	    "SET_VRING_ADDR.descriptor", "SET_VRING_ADDR.used",
	"SET_VRING_ADDR.available", "SET_VRING_ADDR.log",	 "*IOTLB_MSG.iova",
	"*IOTLB_MSG.uaddr",	    "*_INFLIGHT_FD.mmap_size",	 "*_INFLIGHT_FD.mmap_offset",
	"GET_CONFIG.payload",	    "*_VRING_BASE.num",		 "GET_VRING_BASE_SKIP_DRAIN.num",
	"GET_MAX_MEM_SLOTS.u64",
};

const char *vhu_diff_masks(size_t i)
{
	return i < VHU_ARRAY_SIZE(masks) ? masks[i] : NULL;
}

/* One side: its messages in the order in which they are compared. */
struct side {
	const struct vhu_record **records;
	uint64_t *keys;
	size_t n;
	size_t chance; /* messages left out */
};

struct comparison {
	const struct vhu_diff_opts *opts;
	struct vhu_arena *arena;
	struct vhu_difference *items; /* malloc'ed while their number is unknown */
	size_t n, cap;
	struct vhu_err *err;
};

/* --- which messages, in which order ------------------------------------------------------------------ */

static bool wanted(const struct vhu_record *r, enum vhu_cap_channel channel, const struct vhu_diff_opts *opts)
{
	return r->channel == channel && vhu_record_is_message(r) &&
	       (!opts->front_end || r->dir == VHU_CAP_DIR_FE);
}

static bool by_chance(const struct vhu_record *r, const struct vhu_diff_opts *opts)
{
	const struct vhu_msg_row *row = opts->all ? NULL : vhu_record_row(r);

	return row && vhu_msg_by_chance(row);
}

static uint32_t request_of(const struct vhu_record *r)
{
	return r->len >= VHU_C_HEADER_SIZE ? (uint32_t)vhu_ne_get(r->payload, 4) : UINT32_MAX;
}

/* The ring that a message speaks of, plus 1; 0: none. */
static uint64_t ring_of(const struct vhu_record *r)
{
	const struct vhu_msg_row *row = vhu_record_row(r);
	_cleanup_(vhu_frame_done) struct vhu_frame f = {0};
	uint64_t index = 0;

	if (!row || row->scope == VHU_SCOPE_DEVICE || vhu_record_frame(r, &f, NULL) < 0 ||
	    !vhu_frame_get(&f, vhu_frame_payload(&f), "index", &index))
		return 0;
	return index + 1;
}

static uint64_t key_of(const struct vhu_record *r, uint64_t ring)
{
	return (uint64_t)r->channel << 60 | (uint64_t)vhu_record_is_reply(r) << 59 | (ring & 0xffffff) << 32 |
	       request_of(r);
}

/*
 * Where an answer comes depends on how the peer was scheduled, so each is put beside its request: the
 * oldest of its id that waits. `ring` of an acknowledgement is that of its request.
 */
static int take_channel(struct side *s, const struct vhu_session_ref *from, enum vhu_cap_channel channel,
			const struct vhu_diff_opts *opts, struct vhu_arena *arena)
{
	const struct vhu_record **list = vhu_arena_array(arena, from->n + 1, sizeof(*list));
	size_t *answer = vhu_arena_array(arena, from->n + 1, sizeof(*answer)); /* index + 1 */
	bool *used = vhu_arena_array(arena, from->n + 1, sizeof(*used));
	size_t n = 0, oldest = 0;

	if (!list || !answer || !used)
		return -ENOMEM;
	for (size_t i = 0; i < from->n; i++) {
		if (!wanted(from->records[i], channel, opts))
			continue;
		if (by_chance(from->records[i], opts))
			s->chance++;
		else
			list[n++] = from->records[i];
	}
	for (size_t i = 0; i < n; i++) {
		if (!vhu_record_is_reply(list[i]))
			continue;
		for (size_t k = oldest; k < i; k++) {
			if (vhu_record_is_reply(list[k]) || request_of(list[k]) != request_of(list[i]) ||
			    answer[k])
				continue;
			answer[k] = i + 1;
			used[i] = true;
			/* Answers come in order: what stands before was not answered. */
			oldest = k + 1;
			break;
		}
	}
	for (size_t i = 0; i < n; i++) {
		uint64_t ring = ring_of(list[i]);

		if (used[i])
			continue;
		s->records[s->n] = list[i];
		s->keys[s->n++] = key_of(list[i], ring);
		if (!answer[i])
			continue;
		s->records[s->n] = list[answer[i] - 1];
		s->keys[s->n++] = key_of(list[answer[i] - 1], ring);
	}
	return 0;
}

static int take_side(struct side *s, const struct vhu_session_ref *from, const struct vhu_diff_opts *opts,
		     struct vhu_arena *arena)
{
	static const enum vhu_cap_channel channels[] = {VHU_CAP_MAIN, VHU_CAP_BACKEND, VHU_CAP_GPU};
	int code = 0;

	s->records = vhu_arena_array(arena, from->n + 1, sizeof(*s->records));
	s->keys = vhu_arena_array(arena, from->n + 1, sizeof(*s->keys));
	if (!s->records || !s->keys)
		return -ENOMEM;
	for (size_t i = 0; i < VHU_ARRAY_SIZE(channels) && code == 0; i++)
		code = take_channel(s, from, channels[i], opts, arena);
	return code;
}

/* --- differences -------------------------------------------------------------------------------------- */

static int add(struct comparison *c, const struct vhu_difference *d)
{
	if (c->n == c->cap) {
		size_t cap = c->cap ? c->cap * 2 : 64;
		struct vhu_difference *grown = reallocarray(c->items, cap, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		c->items = grown;
		c->cap = cap;
	}
	c->items[c->n++] = *d;
	return 0;
}

static bool masked(const struct comparison *c, const char *message, const char *field)
{
	char name[NAME_MAX_LEN];

	snprintf(name, sizeof(name), "%s.%s", message, field);
	for (size_t i = 0; !c->opts->all && i < VHU_ARRAY_SIZE(masks); i++)
		if (vhu_glob(masks[i], name))
			return true;
	for (size_t i = 0; i < c->opts->n_ignore; i++)
		if (vhu_glob(c->opts->ignore[i], name))
			return true;
	return false;
}

/* A pair under comparison. */
struct pair {
	struct comparison *c;
	const struct vhu_record *a, *b;
	struct vhu_frame fa, fb;
	const char *message;
	int code;
};

static void differs(struct pair *p, const char *field, const char *text_a, const char *text_b)
{
	struct vhu_difference d = {.kind = VHU_DIFF_FIELD, .a = p->a, .b = p->b};

	if (p->code < 0 || masked(p->c, p->message, field))
		return;
	d.field = vhu_arena_strdup(p->c->arena, field);
	d.text_a = vhu_arena_strdup(p->c->arena, text_a);
	d.text_b = vhu_arena_strdup(p->c->arena, text_b);
	p->code = d.field && d.text_a && d.text_b ? add(p->c, &d) : -ENOMEM;
}

static void compare_numbers(struct pair *p, const char *field, uint64_t a, uint64_t b, bool hex)
{
	char text_a[24], text_b[24];

	if (a == b)
		return;
	snprintf(text_a, sizeof(text_a), hex ? "0x%" PRIx64 : "%" PRIu64, a);
	snprintf(text_b, sizeof(text_b), hex ? "0x%" PRIx64 : "%" PRIu64, b);
	differs(p, field, text_a, text_b);
}

static void compare_bytes(struct pair *p, const char *field, const uint8_t *a, size_t n_a, const uint8_t *b,
			  size_t n_b)
{
	char text_a[3 * SHOWN_BYTES + 8], text_b[sizeof(text_a)];
	size_t from = 0;

	if (n_a == n_b && (!n_a || !memcmp(a, b, n_a)))
		return;
	/* From where they differ, so that it shows. */
	while (from < VHU_MIN(n_a, n_b) && a[from] == b[from])
		from++;
	from = from > SHOWN_BYTES / 2 ? from - 4 : 0;
	vhu_hex_format(a + from, n_a - from, text_a, sizeof(text_a));
	vhu_hex_format(b + from, n_b - from, text_b, sizeof(text_b));
	differs(p, field, text_a, text_b);
}

/* What its recorder cut off is not known to differ. */
static bool is_cut(const struct vhu_record *r)
{
	return r->len < r->orig_len;
}

static void compare_element(struct pair *p, enum vhu_payload pl, const char *name, bool hex)
{
	uint64_t a, b;
	bool in_a = vhu_frame_get(&p->fa, pl, name, &a), in_b = vhu_frame_get(&p->fb, pl, name, &b);

	if (in_a && in_b)
		compare_numbers(p, name, a, b, hex);
	else if (in_a != in_b && !is_cut(in_a ? p->b : p->a))
		differs(p, name, in_a ? "there" : "not there", in_b ? "there" : "not there");
}

static void compare_region(struct pair *p, enum vhu_payload pl, const struct vhu_field_row *field, long i)
{
	const struct vhu_field_row *part;
	char name[NAME_MAX_LEN];

	for (size_t n = 0; (part = vhu_payload_field(VHU_PL_REGION, n)); n++) {
		if (i < 0)
			snprintf(name, sizeof(name), "%s", part->name);
		else
			snprintf(name, sizeof(name), "%s[%ld].%s", field->name, i, part->name);
		compare_element(p, pl, name, true);
	}
}

static size_t elements(const struct vhu_frame *f, const struct vhu_field_row *field)
{
	return field->size && f->len > field->offset ? (f->len - field->offset) / field->size : 0;
}

static void compare_field(struct pair *p, enum vhu_payload pl, const struct vhu_field_row *field)
{
	const uint8_t *a = NULL, *b = NULL;
	size_t n_a = 0, n_b = 0, n;
	char name[NAME_MAX_LEN];

	if (field->kind == VHU_FIELD_BYTES) {
		vhu_frame_bytes(&p->fa, pl, field->name, &a, &n_a);
		vhu_frame_bytes(&p->fb, pl, field->name, &b, &n_b);
		compare_bytes(p, field->name, a, n_a, b, n_b);
		return;
	}
	if (!field->count && field->kind == VHU_FIELD_REGION) {
		compare_region(p, pl, field, -1);
		return;
	}
	if (!field->count) {
		compare_element(p, pl, field->name, field->size == 8 && pl != VHU_PL_U64);
		return;
	}
	n = VHU_MAX(elements(&p->fa, field), elements(&p->fb, field));
	for (size_t i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "%s[%zu]", field->name, i);
		if (field->kind == VHU_FIELD_REGION)
			compare_region(p, pl, field, (long)i);
		else
			compare_element(p, pl, name, true);
	}
}

/* Kinds that serve the same purpose are alike; of an unknown one nothing is known. */
static int fd_class(enum vhu_fd_kind kind)
{
	switch (kind) {
	case VHU_FDK_MEMFD:
	case VHU_FDK_HUGETLB:
	case VHU_FDK_SHM:
	case VHU_FDK_FILE:
		return VHU_FDK_MEMFD;
	default:
		return (int)kind;
	}
}

static void compare_fds(struct pair *p)
{
	char field[24];

	compare_numbers(p, "fds", p->a->n_fds, p->b->n_fds, false);
	for (size_t i = 0; i < VHU_MIN(p->a->n_fds, p->b->n_fds); i++) {
		enum vhu_fd_kind a = p->a->fds[i].kind, b = p->b->fds[i].kind;

		if (a == VHU_FDK_UNKNOWN || b == VHU_FDK_UNKNOWN || fd_class(a) == fd_class(b))
			continue;
		snprintf(field, sizeof(field), "fds[%zu]", i);
		differs(p, field, vhu_fd_kind_name(a), vhu_fd_kind_name(b));
	}
}

static int compare_pair(struct comparison *c, const struct vhu_record *a, const struct vhu_record *b)
{
	struct pair p = {.c = c, .a = a, .b = b};
	const struct vhu_field_row *field;
	char scratch[VHU_RECORD_NAME_CAP];
	enum vhu_payload pl;

	p.message = vhu_record_name(a, scratch);
	if (vhu_record_frame(a, &p.fa, NULL) < 0 || vhu_record_frame(b, &p.fb, NULL) < 0) {
		compare_bytes(&p, "bytes", a->payload, a->len, b->payload, b->len);
		vhu_frame_done(&p.fa);
		return p.code;
	}
	pl = vhu_frame_payload(&p.fa);
	compare_numbers(&p, "flags", p.fa.flags, p.fb.flags, true);
	compare_numbers(&p, "size", p.fa.size, p.fb.size, false);
	if (pl != vhu_frame_payload(&p.fb) || pl == VHU_PL_MAX)
		compare_bytes(&p, "payload", p.fa.payload, p.fa.len, p.fb.payload, p.fb.len);
	else
		for (size_t i = 0; (field = vhu_payload_field(pl, i)); i++)
			compare_field(&p, pl, field);
	compare_fds(&p);
	vhu_frame_done(&p.fa);
	vhu_frame_done(&p.fb);
	return p.code;
}

/* --- the whole ---------------------------------------------------------------------------------------- */

static int compare(struct comparison *c, const struct side *a, const struct side *b,
		   const struct vhu_align_step *steps, size_t n, struct vhu_diff *diff)
{
	int code = 0;

	for (size_t i = 0; i < n && code == 0; i++) {
		struct vhu_difference d = {.kind = VHU_DIFF_ONLY_A};
		size_t before = c->n;

		d.a = steps[i].a < 0 ? NULL : a->records[steps[i].a];
		d.b = steps[i].b < 0 ? NULL : b->records[steps[i].b];
		if (d.a && d.b) {
			code = compare_pair(c, d.a, d.b);
			diff->alike += c->n == before;
			continue;
		}
		d.kind = d.a ? VHU_DIFF_ONLY_A : VHU_DIFF_ONLY_B;
		code = add(c, &d);
	}
	return code;
}

int vhu_trace_diff(const struct vhu_session_ref *a, const struct vhu_session_ref *b,
		   const struct vhu_diff_opts *opts, struct vhu_arena *arena, struct vhu_diff *ret,
		   struct vhu_err *err)
{
	struct comparison c = {.opts = opts, .arena = arena};
	struct vhu_align_step *steps = NULL;
	struct vhu_diff diff = {0};
	struct side sa = {0}, sb = {0};
	size_t n = 0;
	int code = take_side(&sa, a, opts, arena);

	if (code == 0)
		code = take_side(&sb, b, opts, arena);
	if (code == 0)
		code = vhu_align(sa.keys, sa.n, sb.keys, sb.n, arena, &steps, &n, &diff.too_different);
	if (code == 0)
		code = compare(&c, &sa, &sb, steps, n, &diff);
	diff.chance_a = sa.chance;
	diff.chance_b = sb.chance;
	diff.messages_a = sa.n;
	diff.messages_b = sb.n;
	diff.n = c.n;
	diff.items = vhu_arena_memdup(arena, c.items, c.n * sizeof(*c.items));
	free(c.items);
	if (code < 0 || !diff.items)
		return vhu_err_errno(err, -ENOMEM, "diff");
	*ret = diff;
	return 0;
}
