/* Which device a back-end can be, by what it shows. */
#include "plan/plan.h"

enum {
	DEVICE_BITS = 24,	/* feature bits below it mean what the device type says */
	BLK_CONFIG_LEGACY = 24, /* bytes of config space that every disk has had */
	BLK_CONFIG_MODERN = 57, /* more than small devices have */
	CAPACITY_BITS = 44,	/* no disk has more sectors */
	VSOCK_CID = 4,		/* bytes of an address; the rest of the field is 0 */
};

static uint64_t device_bits(const struct vhu_facts *f)
{
	return f->features & ((UINT64_C(1) << DEVICE_BITS) - 1);
}

bool vhu_facts_contradict(const struct vhu_facts *f, enum vhu_device device)
{
	for (unsigned bit = 0; bit < DEVICE_BITS; bit++)
		if ((device_bits(f) >> bit & 1) && !vhu_feature_by_bit(VHU_NS_VIRTIO, bit, device))
			return true;
	return false;
}

bool vhu_facts_look_like_a_disk(const struct vhu_facts *f, enum vhu_device assumed)
{
	const uint64_t of_disks =
		VHU_V(VIRTIO_BLK_F_BLK_SIZE) | VHU_V(VIRTIO_BLK_F_FLUSH) | VHU_V(VIRTIO_BLK_F_CONFIG_WCE);
	uint64_t capacity = f->config_size >= 8 ? vhu_le_get(f->config, 8) : 0;

	if (vhu_facts_contradict(f, VHU_DEV_BLK) || !capacity || capacity >> CAPACITY_BITS)
		return false;
	if (f->config_size >= BLK_CONFIG_MODERN)
		return true;
	return (assumed == VHU_DEV_ANY || assumed == VHU_DEV_BLK) && f->config_size >= BLK_CONFIG_LEGACY &&
	       (f->features & of_disks);
}

/* An address of a guest has 32 bits; the names of GPIO lines stand where the others are. */
static bool config_fits(const struct vhu_facts *f, enum vhu_device device)
{
	size_t size = vhu_device_row(device)->config_size;

	if (f->config_size != size)
		return false;
	if (device != VHU_DEV_VSOCK && device != VHU_DEV_GPIO)
		return true;
	return (device == VHU_DEV_GPIO) == (vhu_le_get(f->config + VSOCK_CID, size - VSOCK_CID) != 0);
}

enum vhu_device vhu_facts_device(const struct vhu_facts *f)
{
	enum vhu_device only = VHU_DEV_ANY;
	size_t n = 0;

	if (vhu_facts_look_like_a_disk(f, VHU_DEV_ANY))
		return VHU_DEV_BLK;
	if (!device_bits(f) && !f->config_size)
		return VHU_DEV_ANY;
	/* A disk with the bit of this place has a config space that is read. */
	if (!f->config_size && !vhu_facts_contradict(f, VHU_DEV_NET) &&
	    (f->features & (VHU_V(VIRTIO_NET_F_MRG_RXBUF) | VHU_V(VIRTIO_NET_F_CTRL_VQ))))
		return VHU_DEV_NET;
	for (int d = 0; d < VHU_DEV_MAX; d++) {
		/* Disks and network cards of old have shorter ones. */
		bool fits = !f->config_size || d == VHU_DEV_BLK || d == VHU_DEV_NET ||
			    config_fits(f, (enum vhu_device)d);

		if (!fits || vhu_facts_contradict(f, (enum vhu_device)d))
			continue;
		/* Without a bit of its own, nothing but its configuration speaks for it. */
		if (!device_bits(f) && !config_fits(f, (enum vhu_device)d))
			continue;
		only = (enum vhu_device)d;
		n++;
	}
	return n == 1 ? only : VHU_DEV_ANY;
}

bool vhu_facts_host_managed(const struct vhu_facts *f)
{
	const struct vhu_config_row *model = vhu_config_by_name(VHU_DEV_BLK, "zoned_model");

	return f->known && f->device == VHU_DEV_BLK && (f->features & VHU_V(VIRTIO_BLK_F_ZONED)) &&
	       model->offset + model->size <= f->config_size &&
	       vhu_le_get(f->config + model->offset, model->size) == VHU_C_BLK_Z_HM;
}
