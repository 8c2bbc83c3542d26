/* Which features a case negotiates: what both sides know, as the case offers them. */
#include <string.h>

#include "internal.h"
#include "plan/persona.h"

struct offer {
	uint64_t named, dropped;
	bool exactly;
};

static struct offer get_offer(struct compile *c, const struct node *top, enum vhu_namespace ns,
			      const char *key, const char *drop_key)
{
	struct node offer = NODE_GET(top, "offer"), needs = NODE_GET(top, "needs");
	struct node named = NODE_GET(&offer, key), dropped = NODE_GET(&offer, drop_key),
		    needed = NODE_GET(&needs, key);
	struct offer o = {.exactly = named.json};
	uint64_t also;

	vhu_get_names(c, &named, ns, &o.named);
	vhu_get_names(c, &dropped, ns, &o.dropped);
	/* What a case needs by name it wants to have, also where others leave it alone. */
	vhu_get_names(c, &needed, ns, &also);
	if (!o.exactly)
		o.named |= also;
	return o;
}

static uint64_t choose(const struct compile *c, enum vhu_namespace ns, const struct offer *o,
		       uint64_t offered)
{
	uint64_t wanted = o->named;

	if (!o->exactly)
		wanted |= vhu_features_known(ns, c->facts.device);
	if (ns == VHU_NS_VIRTIO)
		wanted |= VHU_V(VHOST_USER_F_PROTOCOL_FEATURES) |
			  (c->plan->packed ? VHU_V(VIRTIO_F_RING_PACKED) : 0);
	return vhu_features_with_needs(ns, c->facts.device, offered & wanted & ~o->dropped);
}

void vhu_plan_negotiate(struct compile *c, const struct node *top)
{
	const uint64_t bit30 = VHU_V(VHOST_USER_F_PROTOCOL_FEATURES), log_all = VHU_V(VHOST_F_LOG_ALL);
	struct offer v = get_offer(c, top, VHU_NS_VIRTIO, "features", "drop_features");
	struct offer p = get_offer(c, top, VHU_NS_PROTOCOL, "protocol_features", "drop_protocol_features");
	struct vhu_plan *plan = c->plan;
	const bool own = NODE_GET(top, "profile").json && vhu_profile_is_real(plan->profile);
	uint64_t agreed, passed;

	plan->own_persona = own;
	/* A host-managed disk works with no driver that knows nothing of zones. */
	if (!v.exactly && vhu_facts_host_managed(&c->facts))
		v.named |= VHU_V(VIRTIO_BLK_F_ZONED);
	plan->features = choose(c, VHU_NS_VIRTIO, &v, c->facts.features);
	/* A machine has an MTU of its own only where its user gives one, as a case does that names it. */
	if (!v.exactly && c->facts.device == VHU_DEV_NET && vhu_profile_is_real(plan->profile))
		plan->features &= ~VHU_V(VIRTIO_NET_F_MTU) | v.named;
	/* Not where the case has chosen what its guest acknowledges. */
	passed = v.exactly ? plan->features
			   : vhu_profile_passes(plan->profile, c->facts.device, plan->features);
	if (v.named & plan->features & ~passed & ~log_all)
		vhu_plan_skip(c, "the persona '%s' does not pass on the features that this is about",
			      plan->profile);
	plan->features = passed;
	/* Logging is switched on by `log`, whatever a case needs. */
	if (!v.exactly)
		plan->features &= ~log_all;
	plan->pfeatures = choose(c, VHU_NS_PROTOCOL, &p, c->facts.pfeatures);
	agreed = plan->pfeatures;
	/*
	 * Of what a case leaves open a persona takes what it knows; in cases of its own also what other cases
	 * leave alone.
	 */
	if (!p.exactly)
		plan->pfeatures = vhu_features_with_needs(
			VHU_NS_PROTOCOL, c->facts.device,
			vhu_profile_takes(plan->profile, c->facts.device,
					  own ? c->facts.pfeatures & ~p.dropped : plan->pfeatures));
	/* So that cases work with a back-end that waits for DRIVER_OK. */
	if (!p.exactly && !own && !vhu_profile_says_driver_ok(plan->profile, c->facts.device))
		plan->pfeatures &= ~VHU_P(STATUS);
	if (!p.exactly && plan->pfeatures != agreed && (p.named & agreed & ~plan->pfeatures))
		vhu_plan_skip(c, "the persona '%s' does not take the protocol features that this is about",
			      plan->profile);
	/* A front-end that does not take bit 30 knows nothing of protocol features, unless the case says
	 * which. */
	if (!(c->facts.features & bit30) || (!(plan->features & bit30) && !p.exactly))
		plan->pfeatures = 0;
	c->when_features = plan->features | (c->facts.features & log_all & ~v.dropped);
}

uint64_t vhu_plan_negotiate_named(struct compile *c, uint64_t named)
{
	struct offer o = {.named = named, .exactly = true};

	return choose(c, VHU_NS_VIRTIO, &o, c->facts.features);
}
