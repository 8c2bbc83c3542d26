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

/* Which device it speaks of by itself; else what it tells of it. */
static enum vhu_device note_message(struct vhu_facts *facts, const struct vhu_record *r)
{
	const struct vhu_msg_row *row = vhu_record_is_message(r) ? vhu_record_row(r) : NULL;
	_cleanup_(vhu_frame_done) struct vhu_frame f = {0};
	enum vhu_device device = row ? by_message(row) : VHU_DEV_ANY;

	if (!row || device != VHU_DEV_ANY || r->dir != VHU_CAP_DIR_BE || vhu_record_frame(r, &f, NULL) < 0 ||
	    f.defects)
		return device;
	if (row->msg == VHU_MSG_GET_CONFIG)
		note_config(facts, &f);
	if (row->msg == VHU_MSG_GET_FEATURES)
		facts->features |= vhu_frame_u64(&f, "u64");
	return device;
}

enum vhu_device vhu_trace_guess_device(const struct vhu_trace *t)
{
	enum vhu_device device = by_meta(t);
	struct vhu_facts facts = {0};

	for (size_t i = 0; device == VHU_DEV_ANY && i < t->n_records; i++)
		device = note_message(&facts, t->records[i]);
	return device == VHU_DEV_ANY ? vhu_facts_device(&facts) : device;
}
