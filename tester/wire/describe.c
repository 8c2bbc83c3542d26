/* The one text form of a frame. */
#include <inttypes.h>
#include <string.h>

#include "wire/frame.h"

enum {
	HEX_BYTES = 32,		     /* shown of a byte field */
	HEX_CAP = 3 * HEX_BYTES + 4, /* its text, with room for the mark of a cut */
	ELEMENTS = 16,		     /* shown of an array */
	FDS = 16,		     /* shown of the descriptors */
};

static void put_hex(struct vhu_buf *out, const uint8_t *bytes, size_t len)
{
	char text[HEX_CAP];

	vhu_buf_puts(out, vhu_hex_format(bytes, len, text, sizeof(text)));
}

/* Whether a field is told by its bit fields: a word that holds nothing but them. */
static bool told_by_bits(enum vhu_payload pl, const struct vhu_field_row *field)
{
	const struct vhu_bits_row *bits;

	if (field->size != 8 || vhu_field_namespace(pl, field->name) != VHU_NS_NONE)
		return false;
	for (size_t i = 0; (bits = vhu_payload_bits(pl, i)); i++)
		if (!strcmp(bits->field, field->name))
			return true;
	return false;
}

static void put_bits(struct vhu_buf *out, enum vhu_payload pl, const struct vhu_field_row *field,
		     uint64_t value)
{
	const struct vhu_bits_row *bits;
	uint64_t undefined = value;

	for (size_t i = 0; (bits = vhu_payload_bits(pl, i)); i++) {
		uint64_t mask = ((UINT64_C(1) << bits->width) - 1) << bits->first;

		if (strcmp(bits->field, field->name))
			continue;
		undefined &= ~mask;
		if (bits->width > 1)
			vhu_buf_printf(out, " %s=%" PRIu64, bits->name, (value & mask) >> bits->first);
		else if (value & mask)
			vhu_buf_printf(out, " %s", bits->name);
	}
	if (undefined)
		vhu_buf_printf(out, " %s=0x%" PRIx64, field->name, value);
}

/* Words are addresses, sizes and sets of bits, and read best in hex; a lone u64 is a number. */
static void put_number(struct vhu_buf *out, enum vhu_payload pl, const struct vhu_field_row *field,
		       uint64_t value, enum vhu_device device)
{
	enum vhu_namespace ns = vhu_field_namespace(pl, field->name);
	char names[512];

	if (field->size == 8 && pl != VHU_PL_U64)
		vhu_buf_printf(out, "%s=0x%" PRIx64, field->name, value);
	else
		vhu_buf_printf(out, "%s=%" PRIu64, field->name, value);
	if (ns != VHU_NS_NONE && value)
		vhu_buf_printf(out, " (%s)", vhu_bit_names(ns, device, value, names, sizeof(names)));
}

/* The fields of one region, parted by blanks. */
static void put_region(struct vhu_buf *out, const struct vhu_frame *f, enum vhu_payload pl, size_t i,
		       enum vhu_device device)
{
	const struct vhu_field_row *field;
	uint64_t value;

	for (size_t n = 0; (field = vhu_payload_field(VHU_PL_REGION, n)); n++) {
		if (!vhu_frame_region(f, pl, i, field->name, &value))
			break;
		if (n)
			vhu_buf_puts(out, " ");
		put_number(out, VHU_PL_REGION, field, value, device);
	}
}

/* The elements that are there, whatever the field that counts them says. */
static void put_array(struct vhu_buf *out, const struct vhu_frame *f, enum vhu_payload pl,
		      const struct vhu_field_row *field, enum vhu_device device)
{
	size_t n = f->len > field->offset ? (f->len - field->offset) / field->size : 0;
	size_t shown = 0;

	for (size_t i = 0; i < n; i++) {
		uint64_t value = 0;

		if (field->kind == VHU_FIELD_UINT) {
			value = vhu_ne_get(f->payload + field->offset + i * field->size, field->size);
			if (!value)
				continue;
		}
		if (shown++ == ELEMENTS) {
			vhu_buf_puts(out, " …");
			return;
		}
		vhu_buf_printf(out, " %s[%zu]=", field->name, i);
		if (field->kind == VHU_FIELD_UINT) {
			vhu_buf_printf(out, "0x%" PRIx64, value);
			continue;
		}
		vhu_buf_puts(out, "{");
		put_region(out, f, pl, i, device);
		vhu_buf_puts(out, "}");
	}
}

static void put_field(struct vhu_buf *out, const struct vhu_frame *f, enum vhu_payload pl,
		      const struct vhu_field_row *field, enum vhu_device device)
{
	const uint8_t *bytes;
	uint64_t value;
	size_t len;

	switch (field->kind) {
	case VHU_FIELD_UINT:
		if (field->count) {
			put_array(out, f, pl, field, device);
		} else if (vhu_frame_get(f, pl, field->name, &value)) {
			if (told_by_bits(pl, field)) {
				put_bits(out, pl, field, value);
				return;
			}
			vhu_buf_puts(out, " ");
			put_number(out, pl, field, value, device);
		}
		return;
	case VHU_FIELD_PAD:
		/* Only worth a word where it holds something; what C leaves at the end does not count. */
		if (vhu_frame_get(f, pl, field->name, &value) && value &&
		    field->offset + field->size < vhu_payload_row(pl)->max)
			vhu_buf_printf(out, " %s=0x%" PRIx64, field->name, value);
		return;
	case VHU_FIELD_REGION:
		if (field->count) {
			put_array(out, f, pl, field, device);
			return;
		}
		vhu_buf_puts(out, " ");
		put_region(out, f, pl, 0, device);
		return;
	case VHU_FIELD_BYTES:
		if (vhu_frame_bytes(f, pl, field->name, &bytes, &len)) {
			vhu_buf_printf(out, " %s=", field->name);
			put_hex(out, bytes, len);
		}
		return;
	}
}

static void put_payload(struct vhu_buf *out, const struct vhu_frame *f, enum vhu_device device)
{
	enum vhu_payload pl = vhu_frame_payload(f);
	const struct vhu_field_row *field;

	if (f->size != f->len)
		vhu_buf_printf(out, " size=%" PRIu32 " (%zu here)", f->size, f->len);
	else if (pl == VHU_PL_MAX)
		vhu_buf_printf(out, " size=%" PRIu32, f->size);
	if (pl == VHU_PL_MAX && f->len) {
		vhu_buf_puts(out, " ");
		put_hex(out, f->payload, f->len);
	}
	for (size_t i = 0; (field = vhu_payload_field(pl, i)); i++)
		put_field(out, f, pl, field, device);
}

static void put_flags(struct vhu_buf *out, const struct vhu_frame *f)
{
	bool reply = vhu_frame_is_reply(f), gpu = f->channel == VHU_CHAN_GPU;
	uint32_t usual = (gpu ? 0 : VHU_C_HEADER_VERSION) | (reply ? VHU_C_HEADER_REPLY : 0);
	uint32_t ask = reply || gpu ? 0 : f->flags & VHU_C_HEADER_NEED_REPLY;

	if (ask)
		vhu_buf_puts(out, " [need_reply]");
	if (f->flags != (usual | ask))
		vhu_buf_printf(out, " [flags=0x%" PRIx32 "]", f->flags);
}

static void put_defects(struct vhu_buf *out, uint32_t defects)
{
	static const struct {
		uint32_t bit;
		const char *name;
	} names[] = {
		{VHU_DEFECT_OVERSIZED, "oversized"},
		{VHU_DEFECT_TRUNCATED, "truncated"},
		{VHU_DEFECT_FDS_LOST, "fds lost"},
	};

	for (size_t i = 0; i < VHU_ARRAY_SIZE(names); i++)
		if (defects & names[i].bit)
			vhu_buf_printf(out, " [%s]", names[i].name);
}

static void put_fds(struct vhu_buf *out, const struct vhu_frame *f)
{
	for (size_t i = 0; i < f->n_fds && i < FDS; i++)
		vhu_buf_printf(out, "%s%s", i ? "," : " fds=",
			       f->fds[i] == -1 ? "taken" : vhu_fd_kind_name(vhu_fd_kind(f->fds[i])));
	if (f->n_fds > FDS)
		vhu_buf_printf(out, ",… (%zu)", f->n_fds);
}

void vhu_frame_describe(const struct vhu_frame *f, enum vhu_device device, struct vhu_buf *out)
{
	const struct vhu_msg_row *row = vhu_frame_row(f);

	vhu_buf_puts(out, f->dir == VHU_DIR_FE ? "> " : "< ");
	if (f->defects & VHU_DEFECT_HEADER_CUT) {
		vhu_buf_puts(out, "incomplete header ");
		put_hex(out, f->payload, f->len);
	} else {
		if (row)
			vhu_buf_puts(out, row->name);
		else
			vhu_buf_printf(out, "request %" PRIu32, f->request);
		if (vhu_frame_is_reply(f))
			vhu_buf_puts(out, " reply");
		put_payload(out, f, device);
		put_flags(out, f);
	}
	put_defects(out, f->defects);
	put_fds(out, f);
}
