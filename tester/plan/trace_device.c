/* Which device a capture is of. */
#include <jansson.h>
#include <string.h>

#include "plan/plan.h"
#include "trace/trace.h"
#include "wire/frame.h"

/* META may say: {"target":{"device":"blk"}}. */
static enum vhu_device by_meta(const struct vhu_trace *t)
{
	json_t *meta = json_loads(t->meta, 0, NULL);
	const char *name = json_string_value(json_object_get(json_object_get(meta, "target"), "device"));
	const struct vhu_device_row *row = name ? vhu_device_by_name(name) : NULL;
	enum vhu_device device = row ? row->device : VHU_DEV_ANY;

	json_decref(meta);
	return device;
}

/* Bits that only one device type offers among those that are met in the field. */
static enum vhu_device by_features(uint64_t features)
{
	if (features & (VHU_V(VIRTIO_NET_F_MRG_RXBUF) | VHU_V(VIRTIO_NET_F_CTRL_VQ)))
		return VHU_DEV_NET;
	if ((features & VHU_V(VIRTIO_BLK_F_BLK_SIZE)) && (features & VHU_V(VIRTIO_BLK_F_SEG_MAX)))
		return VHU_DEV_BLK;
	return VHU_DEV_ANY;
}

/* A whole configuration space has the size of its device's. */
static enum vhu_device by_config(const struct vhu_frame *f)
{
	uint64_t offset = 1, size = 0;

	vhu_frame_get(f, VHU_PL_CONFIG, "offset", &offset);
	vhu_frame_get(f, VHU_PL_CONFIG, "size", &size);
	if (offset)
		return VHU_DEV_ANY;
	if (size == vhu_device_row(VHU_DEV_VSOCK)->config_size)
		return VHU_DEV_VSOCK;
	if (size == 36 || size == 57 || size == 60 || size == 72 || size == 96)
		return VHU_DEV_BLK;
	return VHU_DEV_ANY;
}

static enum vhu_device by_message(const struct vhu_record *r)
{
	_cleanup_(vhu_frame_done) struct vhu_frame f = {0};
	const struct vhu_msg_row *row;
	struct vhu_err err = {0};

	if (r->channel == VHU_CAP_GPU)
		return VHU_DEV_GPU;
	if (r->channel != VHU_CAP_MAIN || !vhu_record_is_message(r) || vhu_record_frame(r, &f, &err) < 0)
		return VHU_DEV_ANY;
	row = vhu_frame_row(&f);
	if (!row || f.defects)
		return VHU_DEV_ANY;
	if (row->msg == VHU_MSG_NET_SET_MTU || row->msg == VHU_MSG_SEND_RARP)
		return VHU_DEV_NET;
	if (row->msg == VHU_MSG_GPU_SET_SOCKET)
		return VHU_DEV_GPU;
	if (row->msg == VHU_MSG_GET_CONFIG && f.dir == VHU_DIR_BE)
		return by_config(&f);
	if (row->msg == VHU_MSG_GET_FEATURES && f.dir == VHU_DIR_BE)
		return by_features(vhu_frame_u64(&f, "u64"));
	return VHU_DEV_ANY;
}

enum vhu_device vhu_trace_guess_device(const struct vhu_trace *t)
{
	enum vhu_device device = by_meta(t);

	for (size_t i = 0; device == VHU_DEV_ANY && i < t->n_records; i++)
		device = by_message(t->records[i]);
	return device;
}
