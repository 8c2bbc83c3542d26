/* What each persona says, in order: the rows of profiles.def as loops. */
#include <errno.h>
#include <string.h>

#include "internal.h"
#include "profile.h"

static const struct end_row {
	enum script script;
	enum vhu_msg msg;
	vhu_when when;
	const char *reason;
} ends[] = {
#define VHU_GIVES_UP(script, msg, when, reason) {SCRIPT_##script, VHU_MSG_##msg, (when), reason},
#include <vhu/profiles.def>
};

static const struct unheeded_row {
	enum script script;
	enum vhu_msg msg;
	vhu_when when;
} unheeded[] = {
#define VHU_UNHEEDED(script, msg, when) {SCRIPT_##script, VHU_MSG_##msg, (when)},
#include <vhu/profiles.def>
};

static const struct stuck_row {
	enum script script;
	enum vhu_phase phase;
	vhu_when when;
} stuck[] = {
#define VHU_STUCK(script, phase, when, reason) {SCRIPT_##script, VHU_PHASE_##phase, (when)},
#include <vhu/profiles.def>
};

struct walk {
	struct vhu_facts_of_front *f;
	const struct profile_row *profile;
	const struct front_row *front;
	enum vhu_phase from, to;
	unsigned part, parts; /* in a loop over the parts of a device */
	bool reply_ack;	      /* agreed at this point of the script */
	vhu_persona_emit *emit;
	void *ctx;
};

static unsigned part_rings(const struct walk *w)
{
	if (w->front->traits & W(SINGLES))
		return 1;
	return w->front->traits & W(PAIRS) ? 2 : w->f->queues;
}

static bool negotiated(const struct walk *w, enum when when)
{
	static const struct {
		enum when when;
		uint64_t bit;
	} gates[] = {
		{WHEN_MQ, VHU_P(MQ)},
		{WHEN_SLOTS, VHU_P(CONFIGURE_MEM_SLOTS)},
		{WHEN_SHMEM, VHU_P(SHMEM_MAP)},
		{WHEN_BACKEND_REQ, VHU_P(BACKEND_REQ)},
		{WHEN_STATUS, VHU_P(STATUS)},
		{WHEN_RESET_DEVICE, VHU_P(RESET_DEVICE)},
		{WHEN_INFLIGHT, VHU_P(INFLIGHT_SHMFD)},
		{WHEN_RARP, VHU_P(RARP)},
		{WHEN_MTU, VHU_P(MTU)},
		{WHEN_STATE, VHU_P(DEVICE_STATE)},
		{WHEN_PAGEFAULT, VHU_P(PAGEFAULT)},
		{WHEN_SESSIONS, VHU_P(CRYPTO_SESSION)},
		{WHEN_INBAND, VHU_P(INBAND_NOTIFICATIONS)},
	};

	for (size_t i = 0; i < VHU_ARRAY_SIZE(gates); i++)
		if (gates[i].when == when)
			return w->f->pfeatures & gates[i].bit;
	return false;
}

/* QEMU's table goes region by region as soon as it can; by the book that is for what fits into no table. */
static bool by_slots(const struct walk *w)
{
	if (!(w->f->pfeatures & VHU_P(CONFIGURE_MEM_SLOTS)))
		return false;
	return w->profile->script == SCRIPT_QEMU || w->f->regions > VHU_C_MEM_TABLE_REGIONS;
}

/*
 * Parts of the device that run once it is started: a guest that knows of one pair only gets that. Of rings
 * that are devices of their own no guest has more than the first.
 */
static unsigned live_parts(const struct walk *w)
{
	const uint64_t many = VHU_V(VIRTIO_NET_F_MQ) | VHU_V(VIRTIO_NET_F_RSS);

	if (w->front->traits & W(SINGLES))
		return 1;
	return (w->front->traits & W(PAIRS)) && !(w->f->features & many) ? 1 : w->parts;
}

static bool pair_is_on(const struct walk *w, unsigned queue)
{
	return queue / 2 < w->f->pairs_on;
}

/* What the back-end's offer lacks. */
static bool lacks(const struct walk *w, enum when when)
{
	const struct vhu_facts_of_front *f = w->f;

	switch (when) {
	case WHEN_NO_CONFIG:
		return !(f->pfeatures & VHU_P(CONFIG));
	case WHEN_FEW_QUEUES:
		return f->queues > (negotiated(w, WHEN_MQ) ? f->queues_offered : 1);
	default:
		return (f->features_offered & VHU_V(VIRTIO_F_ACCESS_PLATFORM)) &&
		       !(f->pfeatures & VHU_P(REPLY_ACK) && f->pfeatures & VHU_P(BACKEND_REQ));
	}
}

static bool holds(const struct walk *w, enum when when, const struct row *r)
{
	const struct vhu_facts_of_front *f = w->f;
	const uint64_t bit30 = VHU_V(VHOST_USER_F_PROTOCOL_FEATURES);

	switch (when) {
	case WHEN_PROTOCOL:
		return (f->features_offered & bit30) && ((f->features & bit30) || f->pfeatures);
	case WHEN_MQ:
	case WHEN_SLOTS:
	case WHEN_SHMEM:
	case WHEN_BACKEND_REQ:
	case WHEN_STATUS:
	case WHEN_RESET_DEVICE:
	case WHEN_INFLIGHT:
	case WHEN_RARP:
	case WHEN_MTU:
	case WHEN_STATE:
	case WHEN_PAGEFAULT:
	case WHEN_SESSIONS:
	case WHEN_INBAND:
		return negotiated(w, when);
	case WHEN_FDS:
		return !negotiated(w, WHEN_INBAND);
	case WHEN_BIT30:
		return f->features & bit30;
	case WHEN_MEM_TABLE:
		return !by_slots(w);
	case WHEN_MEM_SLOTS:
		return by_slots(w);
	case WHEN_FIRST:
		return w->part == 0;
	case WHEN_LAST:
		return w->part + 1 == live_parts(w);
	case WHEN_FRESH:
		return !f->reconnected;
	case WHEN_CONFIG:
		return w->front->config && (f->pfeatures & VHU_P(CONFIG));
	case WHEN_NO_AREA:
		return !f->has_area;
	case WHEN_ENABLED:
		return f->enabled;
	case WHEN_LACKING:
		return (f->status & r->value) != r->value;
	case WHEN_IOMMU:
		return f->iommu;
	case WHEN_LOGGING:
		return f->logging;
	case WHEN_POSTCOPY:
		return f->postcopy;
	case WHEN_ON:
		return pair_is_on(w, w->part * 2);
	case WHEN_ANNOUNCES:
		return !(f->features & VHU_V(VIRTIO_NET_F_GUEST_ANNOUNCE));
	case WHEN_HAS_MTU:
		return f->features & VHU_V(VIRTIO_NET_F_MTU);
	case WHEN_SINCE_7:
		return w->profile->version >= 700;
	case WHEN_SINCE_10:
		return w->profile->version >= 1000;
	case WHEN_SINCE_11:
		return w->profile->version >= 1100;
	case WHEN_NO_BIT30:
		return !(f->features_offered & bit30);
	case WHEN_WHOLE:
		return !(w->front->traits & (W(PAIRS) | W(SINGLES)));
	case WHEN_NO_CONFIG:
	case WHEN_FEW_QUEUES:
	case WHEN_IOMMU_ALONE:
		return lacks(w, when);
	case WHEN_DOWN:
		return f->vectors == VHU_VECTORS_AS_USUAL ? w->front->traits >> when & 1
							  : f->vectors == VHU_VECTORS_SHARED;
	case WHEN_PAIRS:
	case WHEN_SINGLES:
	case WHEN_FORGETS:
	case WHEN_GENERIC:
	case WHEN_PREPARE:
	case WHEN_MASKS:
	case WHEN_LATE:
	case WHEN_SOCKET:
	case WHEN_READS:
	case WHEN_DEAF:
	case WHEN_UNAWARE:
	case WHEN_EARLY:
	case WHEN_AT_RING:
	case WHEN_AGAIN:
	case WHEN_EAGER:
	case WHEN_ENABLES:
	case WHEN_FINISHES:
	case WHEN_RESETS:
	case WHEN_AREA_FIRST:
	case WHEN_HANGS_UP:
		return w->front->traits >> when & 1;
	}
	return false;
}

static bool all_hold(const struct walk *w, vhu_when when, const struct row *r)
{
	const uint64_t wanted = (uint64_t)when, unwanted = (uint64_t)(when >> 64);

	for (unsigned bit = 0; bit < 64 && (wanted | unwanted) >> bit; bit++)
		if (((wanted | unwanted) >> bit & 1) && holds(w, (enum when)bit, r) != (wanted >> bit & 1))
			return false;
	return true;
}

static bool applies(const struct walk *w, const struct row *r)
{
	if (w->f->no_status && (r->msg == VHU_MSG_SET_STATUS || r->msg == VHU_MSG_GET_STATUS))
		return false;
	return all_hold(w, r->when, r);
}

/* Whether it hangs before this row of a start, or did so with an earlier part of the device. */
static bool is_stuck(const struct walk *w, const struct row *r)
{
	struct walk part = *w;

	if (r->phase <= VHU_PHASE_OWNED || r->phase > VHU_PHASE_RUNNING)
		return false;
	for (size_t i = 0; i < VHU_ARRAY_SIZE(stuck); i++)
		for (part.part = 0; stuck[i].script == r->script && part.part <= w->part; part.part++)
			if ((part.part < w->part || stuck[i].phase <= r->phase) &&
			    all_hold(&part, stuck[i].when, r))
				return true;
	return false;
}

static int put(struct walk *w, const struct row *r, unsigned queue, size_t region)
{
	struct vhu_facts_of_front *f = w->f;
	struct vhu_script_item item = {.msg = r->msg, .queue = queue, .region = region};
	int rc;

	if (is_stuck(w, r) || !applies(w, r))
		return 0;
	item.need_reply = r->asks == ASKS_DEMAND ||
			  (w->reply_ack && vhu_profile_asks(w->profile, r->asks, f->logging) &&
			   (r->asks == ASKS_ASK_ALL || vhu_may_ask(r->msg, f->pfeatures)));
	item.needlessly = r->asks == ASKS_ASK_ALL || r->asks == ASKS_DEMAND;
	switch (r->msg) {
	case VHU_MSG_SET_FEATURES:
		item.low = r->value;
		break;
	case VHU_MSG_SET_STATUS:
		/* QEMU adds bits to what it read; by the book the value is the value. */
		item.status = w->profile->script == SCRIPT_QEMU && r->value ? f->status | r->value : r->value;
		f->status = item.status;
		break;
	case VHU_MSG_SET_VRING_ENABLE:
		item.enable = r->value == USED ? pair_is_on(w, queue) : r->value;
		break;
	case VHU_MSG_SET_VRING_CALL:
		item.role = r->value;
		item.fresh = w->profile->script == SCRIPT_QEMU && item.role != VHU_CALL_SAME;
		break;
	case VHU_MSG_SET_VRING_KICK:
		item.fresh = w->profile->script == SCRIPT_QEMU;
		break;
	case VHU_MSG_IOTLB_MSG:
		item.unasked = r->value == USED;
		break;
	case VHU_MSG_SET_DEVICE_STATE_FD:
		item.load = r->value;
		break;
	case VHU_MSG_GET_CONFIG:
		if (w->front->config < VHU_C_CONFIG_SIZE_MAX)
			item.config_size = w->front->config;
		item.config_flags = r->value;
		break;
	case VHU_MSG_SET_CONFIG:
		item.config_flags = r->value;
		break;
	case VHU_MSG_ADD_MEM_REG:
		item.again = w->part > 0;
		item.go_on = r->value == GO_ON;
		break;
	default:
		item.go_on = r->value == GO_ON;
		break;
	}
	rc = w->emit(w->ctx, &item);
	if (r->msg == VHU_MSG_SET_PROTOCOL_FEATURES)
		w->reply_ack = f->pfeatures & VHU_P(REPLY_ACK);
	return rc;
}

/* Whether a row belongs to this part of the script. */
static bool is_wanted(const struct walk *w, const struct row *r)
{
	enum vhu_phase from = w->from, to = w->to;

	if (r->script != w->profile->script)
		return false;
	if (to > VHU_PHASE_RUNNING)
		return r->phase == to && (w->part < live_parts(w) || (r->loop & OF_ALL));
	/* Later parts of a device come up as a whole, once the first one is up. */
	if (w->part > 0) {
		if (to == VHU_PHASE_RUNNING && w->part < live_parts(w))
			from = VHU_MIN(from, VHU_PHASE_OWNED);
		else
			to = VHU_MIN(to, VHU_PHASE_OWNED);
	}
	return r->phase > from && r->phase <= to;
}

static enum loop kind_of(const struct row *r)
{
	return (enum loop)(r->loop >> 4 & 15);
}

static bool same_loop(const struct row *a, const struct row *b)
{
	return a->script == b->script && a->loop == b->loop && a->phase == b->phase;
}

/* The rows i … end-1, one after the other, for one ring or region. */
static int put_rows(struct walk *w, size_t i, size_t end, unsigned queue, size_t region)
{
	int rc = 0;

	for (; rc == 0 && i < end; i++)
		rc = put(w, &vhu_persona_rows[i], queue, region);
	return rc;
}

static bool is_ready(const struct vhu_facts_of_front *f, unsigned queue)
{
	if (f->ready)
		return f->ready[queue];
	return !f->n_ready || queue < f->n_ready;
}

static int put_rings(struct walk *w, size_t i, size_t end, unsigned first, unsigned n, enum loop kind)
{
	int rc = 0;

	n = VHU_MIN(n, w->f->queues - VHU_MIN(first, w->f->queues));
	for (unsigned k = 0; rc == 0 && k < n; k++) {
		bool down = kind == EACH_DOWN || kind == READY_DOWN;
		bool any = kind != EACH_READY && kind != READY_DOWN;
		unsigned queue = first + (down ? n - 1 - k : k);

		if (any || is_ready(w->f, queue))
			rc = put_rows(w, i, end, queue, 0);
	}
	return rc;
}

/* One row, or the rows of one loop from i on, of which vhu_persona_rows[i] is wanted; *ret_end is behind
 * them. */
static int put_group(struct walk *w, size_t i, size_t *ret_end)
{
	enum loop kind = kind_of(&vhu_persona_rows[i]);
	size_t end = i + 1;
	int rc = 0;

	if (kind != ONCE && kind != EACH)
		while (end < vhu_persona_n_rows && same_loop(&vhu_persona_rows[i], &vhu_persona_rows[end]))
			end++;
	*ret_end = end;
	switch (kind) {
	case ONCE:
	case EACH:
		return put_rows(w, i, end, 0, 0);
	case REGIONS:
	case EACH_REGION:
	case EACH_GONE:
		for (size_t k = 0; rc == 0 && k < (kind == EACH_GONE ? w->f->gone : w->f->regions); k++)
			rc = put_rows(w, i, end, 0, k);
		return rc;
	case RINGS:
		return put_rings(w, i, end, 0, w->f->queues, kind);
	case EACH_RING:
	case EACH_DOWN:
	case EACH_READY:
	case READY_DOWN:
		return put_rings(w, i, end, w->part * part_rings(w), part_rings(w), kind);
	}
	return 0;
}

static bool is_part_wanted(const struct walk *w)
{
	return !w->f->part || w->part + 1 == w->f->part;
}

static bool in_parts(const struct row *r)
{
	return kind_of(r) >= EACH;
}

/* All rows from i on that speak of the parts of a device, for each part. */
static int put_parts(struct walk *w, size_t i, size_t *ret_end)
{
	size_t end = i;
	int rc = 0;

	while (end < vhu_persona_n_rows && in_parts(&vhu_persona_rows[end]) &&
	       vhu_persona_rows[end].script == vhu_persona_rows[i].script &&
	       (vhu_persona_rows[end].phase == vhu_persona_rows[i].phase ||
		(vhu_persona_rows[i].phase > VHU_PHASE_OWNED &&
		 vhu_persona_rows[end].phase <= VHU_PHASE_RUNNING)))
		end++;
	w->parts = part_rings(w) ? VHU_MAX(w->f->queues / part_rings(w), 1u) : 1;
	for (unsigned n = 0; rc == 0 && n < w->parts; n++) {
		w->part = vhu_persona_rows[i].loop & FROM_LAST ? w->parts - 1 - n : n;
		for (size_t k = i, next; rc == 0 && k < end; k = next) {
			next = k + 1;
			if (is_part_wanted(w) && is_wanted(w, &vhu_persona_rows[k]))
				rc = put_group(w, k, &next);
		}
	}
	w->part = 0;
	*ret_end = end;
	return rc;
}

/* The phase behind which protocol features are agreed. */
static enum vhu_phase agrees_in(const struct profile_row *p)
{
	for (size_t i = 0; i < vhu_persona_n_rows; i++)
		if (vhu_persona_rows[i].script == p->script &&
		    vhu_persona_rows[i].msg == VHU_MSG_SET_PROTOCOL_FEATURES)
			return vhu_persona_rows[i].phase;
	return VHU_PHASE_RUNNING;
}

static int begin(struct walk *w, struct vhu_facts_of_front *f, vhu_persona_emit *emit, void *ctx,
		 struct vhu_err *err)
{
	*w = (struct walk){
		.f = f, .profile = vhu_profile_row(f->profile), .parts = 1, .emit = emit, .ctx = ctx};
	if (!w->profile)
		return vhu_err_set(err, -ENOENT, "no profile '%s'", f->profile ? f->profile : "");
	w->front = vhu_front_row(w->profile, f->device);
	return 0;
}

int vhu_persona_walk(struct vhu_facts_of_front *facts, enum vhu_phase from, enum vhu_phase to,
		     vhu_persona_emit *emit, void *ctx, struct vhu_err *err)
{
	struct walk w;
	int rc = begin(&w, facts, emit, ctx, err);

	w.from = from;
	w.to = to;
	if (rc < 0)
		return rc;
	w.reply_ack = (to > VHU_PHASE_RUNNING || from >= agrees_in(w.profile)) &&
		      (facts->pfeatures & VHU_P(REPLY_ACK));
	for (size_t i = 0, end; rc == 0 && i < vhu_persona_n_rows; i = end) {
		end = i + 1;
		if (vhu_persona_rows[i].script != w.profile->script)
			continue;
		if (in_parts(&vhu_persona_rows[i]))
			rc = put_parts(&w, i, &end);
		else if (is_part_wanted(&w) && is_wanted(&w, &vhu_persona_rows[i]))
			rc = put_group(&w, i, &end);
	}
	return rc;
}

int vhu_persona_ring(struct vhu_facts_of_front *facts, unsigned queue, vhu_persona_emit *emit, void *ctx,
		     struct vhu_err *err)
{
	struct walk w;
	int rc = begin(&w, facts, emit, ctx, err);

	if (rc < 0)
		return rc;
	w.reply_ack = facts->pfeatures & VHU_P(REPLY_ACK);
	for (size_t i = 0; rc == 0 && i < vhu_persona_n_rows; i++) {
		enum loop kind = kind_of(&vhu_persona_rows[i]);

		/* Where all calls come before the rings, one ring's comes before that ring. */
		if (vhu_persona_rows[i].script == w.profile->script &&
		    (vhu_persona_rows[i].phase == VHU_PHASE_RUNNING ||
		     (vhu_persona_rows[i].phase == VHU_PHASE_NEGOTIATED &&
		      vhu_persona_rows[i].msg == VHU_MSG_SET_VRING_CALL)) &&
		    (kind == RINGS || kind == EACH_RING || kind == EACH_DOWN || kind == EACH_READY))
			rc = put(&w, &vhu_persona_rows[i], queue, 0);
	}
	return rc;
}

bool vhu_persona_heeds(struct vhu_facts_of_front *facts, enum vhu_msg refused)
{
	struct walk w;

	if (begin(&w, facts, NULL, NULL, NULL) < 0)
		return false;
	for (size_t i = 0; i < VHU_ARRAY_SIZE(unheeded); i++)
		if (unheeded[i].script == w.profile->script && unheeded[i].msg == refused &&
		    all_hold(&w, unheeded[i].when, NULL))
			return false;
	return true;
}

const char *vhu_persona_gives_up(struct vhu_facts_of_front *facts, enum vhu_msg said)
{
	struct walk w;

	if (begin(&w, facts, NULL, NULL, NULL) < 0)
		return NULL;
	for (size_t i = 0; i < VHU_ARRAY_SIZE(ends); i++)
		if (ends[i].script == w.profile->script && ends[i].msg == said &&
		    all_hold(&w, ends[i].when, NULL))
			return ends[i].reason;
	return NULL;
}
