/* From a `send` step to its frame: legal values, then what the step says. */
#include <errno.h>
#include <string.h>

#include "internal.h"
#include "oracle/oracle.h"
#include "plan/script.h"
#include "wire/frame.h"

enum { CONFIG_GROWS_TO = 4096 }; /* a larger size of config space is a lie that needs no bytes */

struct build {
	const struct vhu_step_send *s;
	struct vhu_moment m;
	const uint64_t *vars;
	const bool *set;
	struct vhu_frame *f;
	enum vhu_payload pl;
	struct vhu_err *err;
};

static int eval(struct build *b, const struct vhu_value *v, uint64_t *ret)
{
	int r = vhu_value_eval(v, b->vars, b->set, ret);

	if (r == -ENODATA)
		return vhu_err_set(b->err, r, "a variable is used before it was saved");
	if (r < 0)
		return vhu_err_set(b->err, r, "a value leaves the range of 64 bits without sign");
	return 0;
}

/* --- which layout, which ring -------------------------------------------------------------------- */

static bool has_field(enum vhu_payload pl, const char *name)
{
	const struct vhu_field_row *row;

	if (vhu_field_by_name(pl, name) || vhu_bits_by_name(pl, name))
		return true;
	for (size_t i = 0; (row = vhu_payload_field(pl, i)); i++)
		if (row->kind == VHU_FIELD_REGION && !row->count && vhu_field_by_name(VHU_PL_REGION, name))
			return true;
	return false;
}

/* The first layout that has all the fields named. */
static enum vhu_payload layout_of(const struct vhu_step_send *s)
{
	const struct layouts request = {{s->row->request, s->row->request_alt}, s->row->name};
	const struct layouts l =
		s->channel == VHU_CHAN_BACKEND ? vhu_answer_layouts(s->row, s->row->name) : request;

	for (size_t i = 0; i < s->n_with; i++)
		if (!has_field(l.payload[0], s->with[i].field))
			return l.payload[1];
	return l.payload[0];
}

/* The legal values are those of the ring that the step names. */
static int find_ring(struct build *b)
{
	for (size_t i = 0; i < b->s->n_with; i++) {
		uint64_t index;
		int r;

		if (strcmp(b->s->with[i].field, "index") || !b->s->with[i].value.n)
			continue;
		r = eval(b, &b->s->with[i].value, &index);
		if (r < 0)
			return r;
		if (index < b->m.layout->n_rings)
			b->m.queue = (unsigned)index;
	}
	/* The field is set by its own value, which may be a ring that does not exist. */
	return 0;
}

static int start(struct build *b)
{
	const struct vhu_step_send *s = b->s;
	int r;

	b->pl = VHU_PL_NONE;
	if (!s->row) {
		memset(b->f, 0, sizeof(*b->f));
		b->f->channel = s->channel;
		b->f->dir = VHU_DIR_FE;
		b->f->request = s->request;
		b->f->flags = VHU_C_HEADER_VERSION;
		return 0;
	}
	r = vhu_frame_request(b->f, s->row->msg, b->err);
	if (r < 0)
		return r;
	b->pl = layout_of(s);
	if (s->channel == VHU_CHAN_BACKEND) {
		b->f->dir = VHU_DIR_FE;
		b->f->flags = VHU_C_HEADER_VERSION | VHU_C_HEADER_REPLY;
		return vhu_frame_resize(b->f, vhu_payload_row(b->pl)->min, b->err);
	}
	r = find_ring(b);
	if (r == 0)
		r = vhu_moment_fill(&b->m, b->f, b->err);
	/* Another layout than the usual one starts from zeroes. */
	if (r == 0 && b->pl != s->row->request) {
		r = vhu_frame_resize(b->f, 0, b->err);
		if (r == 0)
			r = vhu_frame_resize(b->f, vhu_payload_row(b->pl)->min, b->err);
	}
	return r;
}

/* --- what the step says
 * --------------------------------------------------------------------------------------- */

static bool names_field(const struct vhu_step_send *s, const char *field)
{
	for (size_t i = 0; i < s->n_with; i++)
		if (!strcmp(s->with[i].field, field))
			return true;
	return false;
}

/* A size of config space brings its bytes, unless the step gives them or asks for more than anybody has. */
static int fit_config(struct build *b)
{
	uint64_t size;
	int r = 0;

	if (b->pl != VHU_PL_CONFIG || !names_field(b->s, "size") || names_field(b->s, "payload"))
		return 0;
	for (size_t i = 0; r == 0 && i < b->s->n_with; i++) {
		if (strcmp(b->s->with[i].field, "size"))
			continue;
		r = eval(b, &b->s->with[i].value, &size);
		if (r == 0 && size <= CONFIG_GROWS_TO)
			r = vhu_frame_resize(b->f, vhu_payload_row(b->pl)->min + (size_t)size, b->err);
	}
	return r;
}

static int put_bytes(struct build *b, const struct vhu_assign *a)
{
	const struct vhu_field_row *row = vhu_field_by_name(b->pl, a->field);
	int r = vhu_frame_set_bytes(b->f, b->pl, a->field, a->bytes, a->n_bytes);

	if (r < 0)
		return vhu_err_errno(b->err, r, "%s.%s: %zu bytes", b->s->row->name, a->field, a->n_bytes);
	/* The field that counts them follows, unless the step sets it. */
	if (row && row->count && !names_field(b->s, row->count))
		r = vhu_frame_set(b->f, b->pl, row->count, a->n_bytes);
	return r < 0 ? vhu_err_errno(b->err, r, "%s.%s", b->s->row->name, row->count) : 0;
}

static int put_field(struct build *b, const struct vhu_assign *a)
{
	uint64_t value;
	int r;

	if (a->bytes)
		return put_bytes(b, a);
	r = eval(b, &a->value, &value);
	if (r < 0)
		return r;
	r = vhu_frame_set(b->f, b->pl, a->field, value);
	if (r == -ERANGE)
		return vhu_err_set(b->err, r, "%s.%s: 0x%llx does not fit", b->s->row->name, a->field,
				   (unsigned long long)value);
	return r < 0 ? vhu_err_errno(b->err, r, "%s.%s", b->s->row->name, a->field) : 0;
}

static int put_region(struct build *b, size_t i)
{
	const struct vhu_region_assign *a = &b->s->regions[i];
	/* A table's regions are the layout's, in order; a single one is that of the moment. */
	struct vhu_region_layout at = vhu_moment_region(&b->m, b->pl == VHU_PL_MEM_TABLE ? i : b->m.region);
	const struct {
		const char *field;
		const struct vhu_value *given;
		uint64_t legal;
	} fields[] = {
		{"guest_phys_addr", &a->gpa, at.gpa},
		{"memory_size", &a->size, at.size},
		{"userspace_addr", &a->uaddr, at.uaddr},
		{"mmap_offset", &a->offset, at.offset},
	};

	for (size_t k = 0; k < VHU_ARRAY_SIZE(fields); k++) {
		uint64_t value = fields[k].legal;
		int r = fields[k].given->n ? eval(b, fields[k].given, &value) : 0;

		if (r == 0)
			r = vhu_frame_set_region(b->f, b->pl, i, fields[k].field, value);
		if (r == -ENODATA)
			return r;
		if (r < 0)
			return vhu_err_errno(b->err, r, "region %zu", i);
	}
	return 0;
}

static int put_regions(struct build *b)
{
	size_t n = b->s->n_regions;
	int r = 0;

	if (!b->s->regions_given)
		return 0;
	if (b->pl == VHU_PL_MEM_TABLE) {
		r = vhu_frame_resize(
			b->f, vhu_payload_row(b->pl)->min + n * vhu_payload_row(VHU_PL_REGION)->min, b->err);
		if (r == 0)
			r = vhu_frame_set(b->f, b->pl, "num_regions", n);
	}
	for (size_t i = 0; r == 0 && i < n; i++)
		r = put_region(b, i);
	return r;
}

static int replace_bytes(struct build *b)
{
	const struct vhu_step_send *s = b->s;
	size_t len = s->payload_given ? s->n_payload : b->f->len;
	int r = vhu_frame_resize(b->f, len + s->n_tail, b->err);

	if (r < 0)
		return r;
	if (s->payload_given && s->n_payload)
		memcpy(b->f->payload, s->payload, s->n_payload);
	if (s->n_tail)
		memcpy(b->f->payload + len, s->tail, s->n_tail);
	return 0;
}

static int put_header(struct build *b, bool need_reply)
{
	uint64_t u;
	int r;

	if (need_reply)
		b->f->flags |= VHU_C_HEADER_NEED_REPLY;
	if (b->s->flags.n) {
		r = eval(b, &b->s->flags, &u);
		if (r < 0)
			return r;
		b->f->flags = (uint32_t)u;
	}
	if (b->s->size.n) {
		r = eval(b, &b->s->size, &u);
		if (r < 0)
			return r;
		b->f->size = (uint32_t)u;
	}
	return 0;
}

static int build(struct build *b, bool need_reply)
{
	int r = start(b);

	if (r == 0)
		r = put_regions(b);
	if (r == 0)
		r = fit_config(b);
	for (size_t i = 0; r == 0 && i < b->s->n_with; i++)
		r = put_field(b, &b->s->with[i]);
	if (r == 0)
		r = replace_bytes(b);
	return r == 0 ? put_header(b, need_reply) : r;
}

int vhu_send_build(const struct vhu_step_send *s, const struct vhu_moment *m, const uint64_t *vars,
		   const bool *set, bool need_reply, struct vhu_frame *ret, struct vhu_err *err)
{
	struct vhu_frame f = {0};
	struct build b = {.s = s, .m = *m, .vars = vars, .set = set, .f = &f, .err = err};
	int r = build(&b, need_reply);

	if (r < 0)
		vhu_frame_done(&f);
	else
		*ret = f;
	return r;
}
