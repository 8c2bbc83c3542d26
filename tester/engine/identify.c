/*
 * Which device the target is, where the user did not say it: by what its program says, or by what it shows. A
 * case about a disk says nothing about any other device.
 */
#include "capabilities.h"
#include "internal.h"

enum {
	DEVICE_BITS = 24,	/* feature bits below it mean what the device type says */
	BLK_CONFIG_LEGACY = 24, /* bytes of config space that every disk has had */
	BLK_CONFIG_MODERN = 57, /* more than small devices have */
	CAPACITY_BITS = 44,	/* no disk has more sectors */
};

static uint64_t device_bits(const struct vhu_facts *f)
{
	return f->features & ((UINT64_C(1) << DEVICE_BITS) - 1);
}

/* It offers what does not exist on such a device. */
static bool contradicts(const struct vhu_facts *f, enum vhu_device device)
{
	for (unsigned bit = 0; bit < DEVICE_BITS; bit++)
		if ((device_bits(f) >> bit & 1) && !vhu_feature_by_bit(VHU_NS_VIRTIO, bit, device))
			return true;
	return false;
}

static bool looks_like_a_disk(const struct vhu_facts *f, enum vhu_device assumed)
{
	const uint64_t of_disks =
		VHU_V(VIRTIO_BLK_F_BLK_SIZE) | VHU_V(VIRTIO_BLK_F_FLUSH) | VHU_V(VIRTIO_BLK_F_CONFIG_WCE);
	uint64_t capacity = f->config_size >= 8 ? vhu_le_get(f->config, 8) : 0;

	if (contradicts(f, VHU_DEV_BLK) || !capacity || capacity >> CAPACITY_BITS)
		return false;
	if (f->config_size >= BLK_CONFIG_MODERN)
		return true;
	return (assumed == VHU_DEV_ANY || assumed == VHU_DEV_BLK) && f->config_size >= BLK_CONFIG_LEGACY &&
	       (f->features & of_disks);
}

enum vhu_device vhu_engine_identify(struct vhu_engine *e, const struct vhu_facts *f)
{
	enum vhu_device assumed = e->opts.device;
	struct vhu_err err = {0};

	if (!e->opts.identify)
		return assumed;
	if (looks_like_a_disk(f, assumed))
		return VHU_DEV_BLK;
	if (vhu_engine_capabilities(e, &err) > 0)
		return vhu_capabilities_device(e->capabilities.json);
	return assumed == VHU_DEV_BLK || contradicts(f, assumed) ? VHU_DEV_ANY : assumed;
}
