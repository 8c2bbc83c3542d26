/* A frame as a thing: made, copied, freed, given descriptors, laid out, encoded. */
#include "wire/frame.h"

#include <errno.h>
#include <string.h>

size_t vhu_frame_payload_max(enum vhu_channel channel)
{
	return channel == VHU_CHAN_GPU ? VHU_FRAME_GPU_PAYLOAD_MAX : VHU_FRAME_PAYLOAD_MAX;
}

/* Who sends requests on a channel. */
static enum vhu_dir requester(enum vhu_channel channel)
{
	return channel == VHU_CHAN_MAIN ? VHU_DIR_FE : VHU_DIR_BE;
}

int vhu_frame_request(struct vhu_frame *f, enum vhu_msg msg, struct vhu_err *err)
{
	const struct vhu_msg_row *row = vhu_msg_row(msg);

	memset(f, 0, sizeof(*f));
	if (!row)
		return vhu_err_set(err, -EINVAL, "no message has number %d in the table", (int)msg);
	f->channel = row->channel;
	f->dir = requester(row->channel);
	f->request = row->id;
	/* The GPU channel has no version. */
	f->flags = row->channel == VHU_CHAN_GPU ? 0 : VHU_C_HEADER_VERSION;
	return vhu_frame_resize(f, vhu_payload_row(row->request)->min, err);
}

void vhu_frame_done(struct vhu_frame *f)
{
	if (!f)
		return;
	for (size_t i = 0; i < f->n_fds; i++)
		vhu_close(&f->fds[i]);
	free(f->fds);
	free(f->payload);
	memset(f, 0, sizeof(*f));
}

int vhu_frame_copy(const struct vhu_frame *f, struct vhu_frame *ret, struct vhu_err *err)
{
	uint8_t *payload = NULL;

	if (f->len) {
		payload = malloc(f->len);
		if (!payload)
			return vhu_err_set(err, -ENOMEM, "copy of a frame: out of memory");
		memcpy(payload, f->payload, f->len);
	}
	*ret = *f;
	ret->payload = payload;
	ret->fds = NULL;
	ret->n_fds = 0;
	return 0;
}

int vhu_frame_take_fd(struct vhu_frame *f, size_t i)
{
	if (i >= f->n_fds)
		return -1;

	int fd = f->fds[i];
	f->fds[i] = -1;
	return fd;
}

int vhu_frame_give_fd(struct vhu_frame *f, int fd, struct vhu_err *err)
{
	if (f->n_fds >= VHU_FRAME_FDS_MAX)
		return vhu_err_set(err, -E2BIG, "a frame carries at most %d descriptors", VHU_FRAME_FDS_MAX);

	int *fds = realloc(f->fds, (f->n_fds + 1) * sizeof(*fds));
	if (!fds)
		return vhu_err_set(err, -ENOMEM, "descriptor for a frame: out of memory");
	f->fds = fds;
	f->fds[f->n_fds++] = fd;
	return 0;
}

int vhu_frame_resize(struct vhu_frame *f, size_t len, struct vhu_err *err)
{
	if (len > VHU_FRAME_GPU_PAYLOAD_MAX)
		return vhu_err_set(err, -E2BIG, "payload of %zu bytes: at most %d", len,
				   VHU_FRAME_GPU_PAYLOAD_MAX);
	if (!len) {
		free(f->payload);
		f->payload = NULL;
	} else if (len != f->len) {
		uint8_t *payload = realloc(f->payload, len);

		if (!payload)
			return vhu_err_set(err, -ENOMEM, "payload of %zu bytes: out of memory", len);
		if (len > f->len)
			memset(payload + f->len, 0, len - f->len);
		f->payload = payload;
	}
	f->len = len;
	f->size = (uint32_t)len;
	return 0;
}

bool vhu_frame_is_reply(const struct vhu_frame *f)
{
	return f->dir != requester(f->channel);
}

/* Whether len can be the size of the payload; what its count fields say is left aside. */
static bool fits(enum vhu_payload pl, size_t len)
{
	const struct vhu_payload_row *row = vhu_payload_row(pl);
	const struct vhu_field_row *field, *last = NULL;

	if (!row)
		return false;
	if (len >= row->min && len <= row->max)
		return true;
	for (size_t i = 0; (field = vhu_payload_field(pl, i)); i++)
		last = field;
	return last && last->kind == VHU_FIELD_PAD && len == last->offset;
}

enum vhu_payload vhu_frame_find_payload(const struct vhu_frame *f)
{
	const struct vhu_msg_row *row = vhu_frame_row(f);

	if (!vhu_frame_is_reply(f)) {
		if (row && fits(row->request, f->len))
			return row->request;
		return row && fits(row->request_alt, f->len) ? row->request_alt : VHU_PL_MAX;
	}
	if (row && fits(row->reply, f->len))
		return row->reply;
	/* The acknowledgement; before the second layout, since a table of no regions is no answer. */
	if (fits(VHU_PL_U64, f->len))
		return VHU_PL_U64;
	return row && fits(row->reply_alt, f->len) ? row->reply_alt : VHU_PL_MAX;
}

void vhu_frame_settle(struct vhu_frame *f)
{
	f->row = vhu_frame_row(f);
	f->layout = vhu_frame_find_payload(f);
	f->settled = true;
}

bool vhu_payload_size_ok(enum vhu_payload pl, const uint8_t *payload, size_t len)
{
	const struct vhu_payload_row *row = vhu_payload_row(pl);
	const struct vhu_field_row *field, *counter;

	if (!fits(pl, len))
		return false;
	if (row->min == row->max)
		return true; /* without an array, then */
	for (size_t i = 0; (field = vhu_payload_field(pl, i)); i++) {
		size_t element = field->size ? field->size : 1;

		if (!field->count)
			continue;
		if (!strcmp(field->count, "END"))
			return (len - field->offset) % element == 0;
		counter = vhu_field_by_name(pl, field->count);
		return len == field->offset + vhu_ne_get(payload + counter->offset, counter->size) * element;
	}
	return true;
}

int vhu_frame_encode(const struct vhu_frame *f, struct vhu_buf *ret, struct vhu_err *err)
{
	uint8_t header[VHU_C_HEADER_SIZE];

	vhu_ne_put(header, 4, f->request);
	vhu_ne_put(header + 4, 4, f->flags);
	vhu_ne_put(header + 8, 4, f->size);
	if (!(f->defects & VHU_DEFECT_HEADER_CUT))
		vhu_buf_add(ret, header, sizeof(header));
	vhu_buf_add(ret, f->payload, f->len);
	if (ret->failed)
		return vhu_err_set(err, -ENOMEM, "frame of %zu bytes: out of memory", f->len);
	return 0;
}
