/*
 * Which device the target is, where the user did not say it: by what its program says, or by what it shows. A
 * case about a disk says nothing about any other device.
 */
#include "capabilities.h"
#include "internal.h"

enum vhu_device vhu_engine_identify(struct vhu_engine *e, const struct vhu_facts *f)
{
	enum vhu_device assumed = e->opts.device;
	struct vhu_err err = {0};

	if (!e->opts.identify)
		return assumed;
	if (vhu_facts_look_like_a_disk(f, assumed))
		return VHU_DEV_BLK;
	if (vhu_engine_capabilities(e, &err) > 0)
		return vhu_capabilities_device(e->capabilities.json);
	return assumed == VHU_DEV_BLK || vhu_facts_contradict(f, assumed) ? VHU_DEV_ANY : assumed;
}
