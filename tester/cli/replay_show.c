#include "replay_show.h"

#include <inttypes.h>
#include <string.h>

#include "wire/frame.h"

enum { BEFORE = 6, HEX_BYTES = 64 };

const char *vhu_divergence_name(enum vhu_divergence kind)
{
	static const char *const names[] = {
		[VHU_DIVERGENCE_DIFFERS] = "the answer differs",
		[VHU_DIVERGENCE_MISSING] = "the answer does not come",
		[VHU_DIVERGENCE_OTHER] = "another message comes",
		[VHU_DIVERGENCE_EXTRA] = "a message comes that was not recorded",
		[VHU_DIVERGENCE_CLOSED] = "the back-end closes the connection",
		[VHU_DIVERGENCE_OPEN] = "the back-end does not close the connection",
		[VHU_DIVERGENCE_USED] = "the request comes back otherwise",
	};

	return names[kind];
}

/* Records are sorted by number, but for merged files. */
static size_t find(const struct vhu_trace *t, uint32_t seq)
{
	for (size_t i = 0; i < t->n_records; i++)
		if (t->records[i]->seq == seq)
			return i;
	return t->n_records;
}

const struct vhu_record *vhu_divergence_record(const struct vhu_trace *t, uint32_t seq)
{
	size_t i = find(t, seq);

	return i < t->n_records ? t->records[i] : NULL;
}

/* --- the fields that differ ------------------------------------------------------------------------ */

struct sides {
	const struct vhu_step_answer *a;
	struct vhu_frame was;
	const struct vhu_frame *now;
	enum vhu_device device;
};

static bool counts(const struct vhu_step_answer *a, size_t at)
{
	return !a->mask || a->mask[at];
}

/* Whether these bytes differ where that counts. */
static bool differ(const struct sides *s, size_t at, size_t len)
{
	for (size_t i = at; i < at + len && i < s->was.len && i < s->now->len; i++)
		if (counts(s->a, i) &&
		    (s->was.payload[i] ^ s->now->payload[i]) & (s->a->mask ? s->a->mask[i] : 0xff))
			return true;
	return false;
}

static void show_number(struct vhu_buf *out, const char *name, uint64_t was, uint64_t now)
{
	vhu_buf_printf(out, "  differs   %s: 0x%" PRIx64 " recorded, 0x%" PRIx64 " now\n", name, was, now);
}

static void show_config(const struct sides *s, struct vhu_buf *out)
{
	const size_t head = vhu_payload_row(VHU_PL_CONFIG)->min;
	const struct vhu_config_row *row;
	uint64_t from = 0;

	vhu_frame_get(&s->was, VHU_PL_CONFIG, "offset", &from);
	for (size_t i = 0; s->device != VHU_DEV_ANY && (row = vhu_config_row(s->device, i)); i++) {
		size_t at = head + row->offset - (size_t)from;

		if (row->offset < from || at + row->size > s->was.len || at + row->size > s->now->len ||
		    row->size > 8 || !differ(s, at, row->size))
			continue;
		show_number(out, row->field, vhu_le_get(s->was.payload + at, row->size),
			    vhu_le_get(s->now->payload + at, row->size));
	}
}

static void show_fields(const struct sides *s, struct vhu_buf *out)
{
	enum vhu_payload pl = vhu_frame_payload(&s->was);
	const struct vhu_field_row *row;

	if (pl >= VHU_PL_MAX || pl != vhu_frame_payload(s->now))
		return;
	if (pl == VHU_PL_CONFIG)
		show_config(s, out);
	for (size_t i = 0; (row = vhu_payload_field(pl, i)); i++) {
		uint64_t was, now;

		if (row->kind == VHU_FIELD_UINT && !row->count && differ(s, row->offset, row->size) &&
		    vhu_frame_get(&s->was, pl, row->name, &was) && vhu_frame_get(s->now, pl, row->name, &now))
			show_number(out, row->name, was, now);
	}
}

static void show_head(const struct sides *s, struct vhu_buf *out)
{
	if (s->was.flags != s->now->flags)
		show_number(out, "flags", s->was.flags, s->now->flags);
	if (s->was.len != s->now->len)
		vhu_buf_printf(out, "  differs   size: %zu recorded, %zu now\n", s->was.len, s->now->len);
	if (s->a->n_fds != s->now->n_fds)
		vhu_buf_printf(out, "  differs   descriptors: %zu recorded, %zu now\n", s->a->n_fds,
			       s->now->n_fds);
}

static void show_hex(const struct sides *s, struct vhu_buf *out)
{
	char hex[3 * HEX_BYTES + 8];

	if (s->was.len == s->now->len && !differ(s, 0, s->was.len))
		return;
	vhu_buf_printf(
		out, "  bytes     %s recorded\n",
		vhu_hex_format(s->was.payload, VHU_MIN(s->was.len, (size_t)HEX_BYTES), hex, sizeof(hex)));
	vhu_buf_printf(
		out, "            %s now\n",
		vhu_hex_format(s->now->payload, VHU_MIN(s->now->len, (size_t)HEX_BYTES), hex, sizeof(hex)));
}

/* --- the whole --------------------------------------------------------------------------------------- */

static void show_before(const struct vhu_divergence_view *v, size_t at, struct vhu_buf *out)
{
	uint32_t connection = v->trace->records[at]->connection;
	size_t first = at, n = 0;

	while (first > 0 && n < BEFORE)
		n += v->trace->records[--first]->connection == connection;
	for (size_t i = first; i < at; i++) {
		if (v->trace->records[i]->connection != connection)
			continue;
		vhu_buf_printf(out, "  %8" PRIu32 "  ", v->trace->records[i]->seq);
		vhu_record_describe(v->trace->records[i], v->device, out);
		vhu_buf_puts(out, "\n");
	}
}

static void show_now(const struct vhu_divergence_view *v, enum vhu_divergence kind,
		     const struct vhu_frame *got, struct vhu_buf *out)
{
	vhu_buf_puts(out, "  now       ");
	if (kind == VHU_DIVERGENCE_USED)
		vhu_buf_printf(out, "%" PRIu32 " bytes written", *v->used);
	else if (got)
		vhu_frame_describe(got, v->device, out);
	else
		vhu_buf_puts(out, "nothing");
	vhu_buf_puts(out, "\n");
}

void vhu_divergence_show(const struct vhu_divergence_view *v, enum vhu_divergence kind,
			 const struct vhu_step *s, const struct vhu_frame *got, struct vhu_buf *out)
{
	size_t at = find(v->trace, s->record);
	struct sides sides = {.now = got, .device = v->device};
	struct vhu_err err = {0};

	if (at == v->trace->n_records) {
		vhu_buf_printf(out, "%s\n", vhu_divergence_name(kind));
		return;
	}
	vhu_buf_printf(out, "record %" PRIu32 ", session %" PRIu32 ": %s\n", s->record,
		       v->trace->records[at]->connection, vhu_divergence_name(kind));
	show_before(v, at, out);
	vhu_buf_puts(out, "  recorded  ");
	vhu_record_describe(v->trace->records[at], v->device, out);
	vhu_buf_puts(out, "\n");
	show_now(v, kind, got, out);
	if (kind != VHU_DIVERGENCE_DIFFERS || !got ||
	    vhu_record_frame(v->trace->records[at], &sides.was, &err) < 0)
		return;
	sides.a = &s->answer;
	show_head(&sides, out);
	show_fields(&sides, out);
	show_hex(&sides, out);
	vhu_frame_done(&sides.was);
}
