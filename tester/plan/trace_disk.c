/*
 * From a capture to a plan: what the requests of a disk read and write, so that data which the capture itself
 * wrote can be asked for when it is read again.
 */
#include "trace_plan.h"

#include <errno.h>

#include "trace/ring_record.h"

/* Those that change nothing, and of which nothing is compared. */
static bool is_harmless(uint32_t type)
{
	static const uint32_t types[] = {VHU_C_BLK_T_FLUSH, VHU_C_BLK_T_FLUSH_OUT, VHU_C_BLK_T_GET_ID,
					 VHU_C_BLK_T_GET_LIFETIME, VHU_C_BLK_T_ZONE_REPORT};

	for (size_t i = 0; i < VHU_ARRAY_SIZE(types); i++)
		if (type == types[i])
			return true;
	return false;
}

/* The buffers that the device writes, and their bytes. -EFAULT: one is nowhere; -ENOMEM. */
static int list_written(struct trace_compile *c, const struct track *t, const struct vhu_record *r,
			const struct vhu_ring_record *q, struct vhu_offer_disk *ret, uint64_t *ret_len)
{
	struct vhu_buf list = {0};
	int rc = 0;

	*ret_len = 0;
	for (size_t i = 0; i < q->n_desc && rc == 0; i++) {
		struct vhu_ring_desc d = vhu_ring_record_desc(q, i);
		struct vhu_offer_buffer b;

		if ((d.flags & (VHU_C_DESC_F_WRITE | VHU_C_DESC_F_INDIRECT)) != VHU_C_DESC_F_WRITE)
			continue;
		for (uint64_t at = 0; at < d.len && rc == 0; at += b.len) {
			b.len = vhu_trace_user(t, r->seq, d.addr + at, d.len - at, &b.uaddr);
			rc = b.len ? 0 : -EFAULT;
			vhu_buf_add(&list, &b, sizeof(b));
		}
		*ret_len += d.len;
	}
	if (rc == 0 && list.len) {
		ret->in = list.failed ? NULL : vhu_arena_memdup(c->arena, list.data, list.len);
		ret->n_in = list.len / sizeof(*ret->in);
		rc = ret->in ? 0 : vhu_err_errno(c->err, -ENOMEM, "capture");
	}
	vhu_buf_done(&list);
	return rc;
}

int vhu_trace_disk(struct trace_compile *c, const struct track *t, const struct vhu_record *r,
		   const struct vhu_ring_record *q, struct vhu_offer_disk *ret)
{
	const uint64_t read = vhu_trace_read_len(q);
	uint64_t written, data;
	uint32_t type;
	int rc;

	/* Ours has zeroes where the capture has nothing, and reads the disk's beginning. */
	if (!q->n_data)
		return 0;
	ret->does = VHU_DISK_CHANGE;
	if (q->n_data < VHU_TRACE_BLK_HEAD || q->n_data < read ||
	    !(vhu_session_features(t->session) & VHU_V(VIRTIO_F_VERSION_1)))
		return 0;
	type = (uint32_t)vhu_le_get(q->data, 4);
	ret->sector = vhu_le_get(q->data + 8, 8);
	if (is_harmless(type)) {
		ret->does = VHU_DISK_NOTHING;
		return 0;
	}
	if (type != VHU_C_BLK_T_IN && type != VHU_C_BLK_T_OUT)
		return 0;
	rc = list_written(c, t, r, q, ret, &written);
	if (rc < 0 || !written)
		return rc == -EFAULT ? 0 : rc;
	data = type == VHU_C_BLK_T_IN ? written - 1 : read - VHU_TRACE_BLK_HEAD;
	ret->count = data / VHU_C_SECTOR_SIZE;
	if (type == VHU_C_BLK_T_IN) {
		ret->does = data % VHU_C_SECTOR_SIZE || read != VHU_TRACE_BLK_HEAD ? VHU_DISK_NOTHING
										   : VHU_DISK_READ;
		return 0;
	}
	if (data % VHU_C_SECTOR_SIZE || written != 1)
		return 0;
	ret->bytes = vhu_arena_memdup(c->arena, q->data + VHU_TRACE_BLK_HEAD, data);
	if (data && !ret->bytes)
		return vhu_err_errno(c->err, -ENOMEM, "capture");
	ret->does = VHU_DISK_WRITE;
	return 0;
}
