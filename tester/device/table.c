/* The drivers by device type. */
#include "io.h"

static const struct vhu_device_ops *const table[VHU_DEV_MAX] = {
	[VHU_DEV_BLK] = &vhu_blk_ops,
	[VHU_DEV_NET] = &vhu_net_ops,
};

const struct vhu_device_ops *vhu_device_ops_find(enum vhu_device device)
{
	const struct vhu_device_ops *ops = device < VHU_DEV_MAX ? table[device] : NULL;

	return ops ? ops : &vhu_chain_ops;
}
