/* What each persona says, in order: the rows of profiles.def as loops. */
#include "plan/persona.h"

#include <errno.h>
#include <string.h>

#include "internal.h"

enum profile {
#define VHU_PROFILE(name, ...) PROFILE_##name,
#include <vhu/profiles.def>
	PROFILE_MAX
};

enum script { SCRIPT_PLAIN, SCRIPT_INBAND, SCRIPT_QEMU, SCRIPT_CLOUD, SCRIPT_CROSVM, SCRIPT_FIRECRACKER };

enum loop { ONCE, REGIONS, RINGS, EACH, EACH_RING, EACH_DOWN, EACH_READY, EACH_REGION };
/*
 * Kind and number of a loop in one, and which parts of a device it goes over, unless upwards over those that run:
 * rows next to each other with the same one go together.
 */
enum {
	FROM_LAST = 1 << 8,
	OF_ALL = 1 << 9,
	LOOP_ONCE = ONCE << 4,
	LOOP_REGIONS_1 = REGIONS << 4 | 1,
	LOOP_RINGS_1 = RINGS << 4 | 1,
	LOOP_RINGS_2,
	LOOP_EACH = EACH << 4,
	LOOP_EACH_RING_1 = EACH_RING << 4 | 1,
	LOOP_EACH_RING_2,
	LOOP_EACH_RING_3,
	LOOP_EACH_RING_4,
	LOOP_EACH_DOWN_3 = EACH_DOWN << 4 | 3,
	LOOP_EACH_READY_1 = EACH_READY << 4 | 1,
	LOOP_EACH_REGION_1 = EACH_REGION << 4 | 1,
	LOOP_EACH_REGION_2,
	LOOP_LAST_EACH = FROM_LAST | LOOP_EACH,
	LOOP_LAST_EACH_READY_1 = FROM_LAST | LOOP_EACH_READY_1,
	LOOP_ALL_EACH = OF_ALL | LOOP_EACH,
};

enum asks { ASKS_QUIET, ASKS_ASK, ASKS_ASK_10, ASKS_ASK_11, ASKS_ASK_LOG, ASKS_ASK_ALL, ASKS_DEMAND };

enum when {
	WHEN_PROTOCOL,
	WHEN_MQ,
	WHEN_SLOTS,
	WHEN_SHMEM,
	WHEN_BACKEND_REQ,
	WHEN_STATUS,
	WHEN_RESET_DEVICE,
	WHEN_INFLIGHT,
	WHEN_RARP,
	WHEN_MTU,
	WHEN_STATE,
	WHEN_PAGEFAULT,
	WHEN_INBAND,
	WHEN_FDS,
	WHEN_BIT30,
	WHEN_MEM_TABLE,
	WHEN_MEM_SLOTS,
	WHEN_FIRST,
	WHEN_LAST,
	WHEN_FRESH,
	WHEN_CONFIG,
	WHEN_NO_AREA,
	WHEN_LACKING,
	WHEN_LOGGING,
	WHEN_POSTCOPY,
	WHEN_PRECOPY,
	WHEN_ON,
	WHEN_ANNOUNCES,
	WHEN_HAS_MTU,
	WHEN_SINCE_7,
	WHEN_SINCE_10,
	WHEN_SINCE_11,
	WHEN_BEFORE_10,
	WHEN_PAIRS,
	WHEN_SINGLES,
	WHEN_FORGETS,
	WHEN_WHOLE,
	WHEN_GENERIC,
	WHEN_NO_GENERIC,
	WHEN_PREPARE,
	WHEN_MASKS,
	WHEN_DOWN,
	WHEN_NO_DOWN,
	WHEN_LATE,
	WHEN_SOCKET,
	WHEN_READS,
	WHEN_DEAF,
	WHEN_EARLY,
	WHEN_AT_RING,
	WHEN_AGAIN,
	WHEN_EAGER,
	WHEN_NO_SLOTS,
	WHEN_ENABLES,
	WHEN_NO_ENABLES,
	WHEN_NO_BIT30,
	WHEN_NO_MQ,
	WHEN_NO_CONFIG,
	WHEN_FEW_QUEUES,
	WHEN_IOMMU_ALONE,
	WHEN_FINISHES,
	WHEN_RESETS,
	WHEN_AREA_FIRST,
};
#define W(name) (UINT64_C(1) << WHEN_##name)
#define S(name) VHU_C_STATUS_##name
#define V(name) VHU_V(name)

enum {
	FD_SETUP = VHU_CALL_SETUP,
	FD_NEW = VHU_CALL_NEW,
	FD_SAME = VHU_CALL_SAME,
	USED = 2, /* SET_VRING_ENABLE: by the pairs that the guest uses */
	GO_ON = 1,
	WRITABLE = 1, /* what the Rust front-ends mean by 1; the specification means migration */
};

struct row {
	enum script script;
	enum vhu_phase phase;
	enum vhu_msg msg;
	unsigned loop;
	enum asks asks;
	uint64_t when;
	uint8_t value;
};

static const struct row rows[] = {
#define VHU_STEP(script, phase, msg, loop, asks, when, value)                                                \
	{SCRIPT_##script, VHU_PHASE_##phase, VHU_MSG_##msg, LOOP_##loop, ASKS_##asks, (when), (value)},
#include <vhu/profiles.def>
};

static const struct profile_row {
	const char *name;
	enum script script;
	unsigned version;
	uint64_t protocol;
} profiles[] = {
#define VHU_PROFILE(id, name, script, version, protocol, summary) {name, SCRIPT_##script, version, protocol},
#include <vhu/profiles.def>
};

static const struct front_row {
	enum script script;
	enum vhu_device device;
	unsigned since;
	uint64_t traits;
	size_t config;
} fronts[] = {
#define VHU_FRONT(script, device, since, traits, config)                                                     \
	{SCRIPT_##script, VHU_DEV_##device, since, traits, config},
#include <vhu/profiles.def>
};

static const struct pass_row {
	enum script script;
	enum vhu_device device;
	unsigned since;
	uint64_t features;
} passes[] = {
#define VHU_PASSES(script, device, since, features)                                                          \
	{SCRIPT_##script, VHU_DEV_##device, since, (features)},
#include <vhu/profiles.def>
};

static const struct end_row {
	enum script script;
	enum vhu_msg msg;
	uint64_t when;
	const char *reason;
} ends[] = {
#define VHU_GIVES_UP(script, msg, when, reason) {SCRIPT_##script, VHU_MSG_##msg, (when), reason},
#include <vhu/profiles.def>
};

/* --- look-ups --------------------------------------------------------------------------------------------
 */

const char *vhu_profile_name_at(void *ctx, size_t i)
{
	return i < PROFILE_MAX ? profiles[i].name : NULL;
}

static const struct profile_row *profile_of(const char *name)
{
	for (size_t i = 0; name && i < PROFILE_MAX; i++)
		if (strcmp(profiles[i].name, name) == 0)
			return &profiles[i];
	return NULL;
}

bool vhu_profile_known(const char *profile)
{
	return profile_of(profile);
}

static bool is_ideal(const struct profile_row *p)
{
	return p->script == SCRIPT_PLAIN || p->script == SCRIPT_INBAND;
}

bool vhu_profile_is_real(const char *profile)
{
	const struct profile_row *p = profile_of(profile);

	return p && !is_ideal(p);
}

bool vhu_profile_has_phase(const char *profile, enum vhu_phase phase)
{
	const struct profile_row *p = profile_of(profile);

	for (size_t i = 0; p && i < VHU_ARRAY_SIZE(rows); i++)
		if (rows[i].script == p->script && rows[i].phase == phase)
			return true;
	return false;
}

static const struct front_row *front_of(const struct profile_row *p, enum vhu_device device)
{
	static const struct front_row by_the_book = {.traits = W(READS), .config = VHU_C_CONFIG_SIZE_MAX};
	static const struct front_row unknown = {0};

	const struct front_row *row = p && p->version == 0 ? &by_the_book : &unknown;

	for (size_t i = 0; p && i < VHU_ARRAY_SIZE(fronts); i++)
		if (fronts[i].script == p->script && fronts[i].device == device &&
		    fronts[i].since <= p->version)
			row = &fronts[i];
	return row;
}

uint64_t vhu_profile_takes(const char *profile, enum vhu_device device, uint64_t offered)
{
	const struct profile_row *p = profile_of(profile);

	if (!p)
		return 0;
	if (front_of(p, device)->traits & W(READS))
		return offered & (p->protocol | VHU_P(CONFIG));
	return offered & p->protocol & ~VHU_P(CONFIG);
}

uint64_t vhu_profile_passes(const char *profile, enum vhu_device device, uint64_t features)
{
	const struct profile_row *p = profile_of(profile);
	uint64_t passed = UINT64_MAX;

	for (size_t i = 0; p && i < VHU_ARRAY_SIZE(passes); i++)
		if (passes[i].script == p->script && passes[i].since <= p->version &&
		    (passes[i].device == device || passes[i].device == VHU_DEV_ANY))
			passed = passes[i].features;
	return features & passed;
}

size_t vhu_profile_config(const char *profile, enum vhu_device device)
{
	return front_of(profile_of(profile), device)->config;
}

bool vhu_profile_has_pairs(const char *profile, enum vhu_device device)
{
	return front_of(profile_of(profile), device)->traits & W(PAIRS);
}

bool vhu_profile_is_deaf(const char *profile, enum vhu_device device)
{
	const struct profile_row *p = profile_of(profile);

	return p && p->version < 1000 && (front_of(p, device)->traits & W(DEAF));
}

bool vhu_profile_forgets(const char *profile, enum vhu_device device)
{
	return front_of(profile_of(profile), device)->traits & W(FORGETS);
}

bool vhu_profile_says_driver_ok(const char *profile, enum vhu_device device)
{
	const struct profile_row *p = profile_of(profile);
	const uint64_t traits = front_of(p, device)->traits;

	for (size_t i = 0; p && i < VHU_ARRAY_SIZE(rows); i++)
		if (rows[i].script == p->script && rows[i].msg == VHU_MSG_SET_STATUS &&
		    (rows[i].value & VHU_C_STATUS_DRIVER_OK) &&
		    (!(rows[i].when & W(FINISHES)) || (traits & W(FINISHES))))
			return true;
	return false;
}

const char *vhu_profile_of_version(const char *family, const char *version)
{
	const char *best = NULL;
	unsigned major = 0, minor = 99, newest = 0;
	size_t len = strlen(family);

	if (sscanf(version, "%u.%u", &major, &minor) < 1)
		return NULL;
	for (size_t i = 0; i < PROFILE_MAX; i++) {
		const struct profile_row *p = &profiles[i];

		if (strncmp(p->name, family, len) == 0 && p->name[len] == '-' &&
		    p->version <= 100 * major + minor && p->version > newest) {
			newest = p->version;
			best = p->name;
		}
	}
	return best;
}

/* Only what has no answer of its own is worth asking for. */
static bool may_ask(enum vhu_msg msg, uint64_t pfeatures)
{
	const struct vhu_msg_row *row = vhu_msg_row(msg);

	switch (row->answer) {
	case VHU_ANSWER_ALWAYS:
	case VHU_ANSWER_NEVER:
		return false;
	case VHU_ANSWER_WITH_LOG_SHMFD:
		return !(pfeatures & VHU_P(LOG_SHMFD));
	case VHU_ANSWER_ON_NEED_REPLY:
		break;
	}
	return true;
}

static bool asks(const struct profile_row *p, enum asks a, bool logging)
{
	switch (a) {
	case ASKS_QUIET:
		return false;
	case ASKS_ASK:
	case ASKS_ASK_ALL:
	case ASKS_DEMAND:
		return true;
	case ASKS_ASK_10:
		return p->version >= 1000;
	case ASKS_ASK_11:
		return p->version >= 1100;
	case ASKS_ASK_LOG:
		return logging;
	}
	return false;
}

bool vhu_profile_need_reply(const char *profile, enum vhu_msg msg)
{
	const struct profile_row *p = profile_of(profile);

	for (size_t i = 0; p && i < VHU_ARRAY_SIZE(rows); i++)
		if (rows[i].script == p->script && rows[i].msg == msg)
			return asks(p, rows[i].asks, false) && may_ask(msg, 0);
	/* Messages that are in no persona's script: the plain one asks, others don't unless it is said. */
	return p == &profiles[PROFILE_PLAIN] && vhu_msg_row(msg)->channel == VHU_CHAN_MAIN && may_ask(msg, 0);
}

/* --- the walk --------------------------------------------------------------------------------------------
 */

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

/* Of a condition NO_…, what it denies. */
static enum when opposite(enum when when)
{
	static const enum when denied[] = {
		[WHEN_NO_MQ] = WHEN_MQ,		  [WHEN_NO_SLOTS] = WHEN_SLOTS, [WHEN_NO_GENERIC] = WHEN_GENERIC,
		[WHEN_NO_ENABLES] = WHEN_ENABLES, [WHEN_NO_DOWN] = WHEN_DOWN,
	};

	return denied[when];
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
	case WHEN_LACKING:
		return (f->status & r->value) != r->value;
	case WHEN_LOGGING:
		return f->logging;
	case WHEN_POSTCOPY:
		return f->postcopy;
	case WHEN_PRECOPY:
		return !f->postcopy;
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
	case WHEN_BEFORE_10:
		return w->profile->version < 1000;
	case WHEN_NO_MQ:
	case WHEN_NO_SLOTS:
	case WHEN_NO_GENERIC:
	case WHEN_NO_ENABLES:
	case WHEN_NO_DOWN:
		return !holds(w, opposite(when), r);
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
	case WHEN_EARLY:
	case WHEN_AT_RING:
	case WHEN_AGAIN:
	case WHEN_EAGER:
	case WHEN_ENABLES:
	case WHEN_FINISHES:
	case WHEN_RESETS:
	case WHEN_AREA_FIRST:
		return w->front->traits >> when & 1;
	}
	return false;
}

static bool all_hold(const struct walk *w, uint64_t when, const struct row *r)
{
	for (unsigned bit = 0; bit < 64 && when >> bit; bit++)
		if ((when >> bit & 1) && !holds(w, (enum when)bit, r))
			return false;
	return true;
}

static bool applies(const struct walk *w, const struct row *r)
{
	if (w->f->no_status && (r->msg == VHU_MSG_SET_STATUS || r->msg == VHU_MSG_GET_STATUS))
		return false;
	return all_hold(w, r->when, r);
}

static int put(struct walk *w, const struct row *r, unsigned queue, size_t region)
{
	struct vhu_facts_of_front *f = w->f;
	struct vhu_script_item item = {.msg = r->msg, .queue = queue, .region = region};
	int rc;

	if (!applies(w, r))
		return 0;
	item.need_reply =
		r->asks == ASKS_DEMAND || (w->reply_ack && asks(w->profile, r->asks, f->logging) &&
					   (r->asks == ASKS_ASK_ALL || may_ask(r->msg, f->pfeatures)));
	item.needlessly = r->asks == ASKS_ASK_ALL || r->asks == ASKS_DEMAND;
	switch (r->msg) {
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
		rc = put(w, &rows[i], queue, region);
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
		unsigned queue = first + (kind == EACH_DOWN ? n - 1 - k : k);

		if (kind != EACH_READY || is_ready(w->f, queue))
			rc = put_rows(w, i, end, queue, 0);
	}
	return rc;
}

/* One row, or the rows of one loop from i on, of which rows[i] is wanted; *ret_end is behind them. */
static int put_group(struct walk *w, size_t i, size_t *ret_end)
{
	enum loop kind = kind_of(&rows[i]);
	size_t end = i + 1;
	int rc = 0;

	if (kind != ONCE && kind != EACH)
		while (end < VHU_ARRAY_SIZE(rows) && same_loop(&rows[i], &rows[end]))
			end++;
	*ret_end = end;
	switch (kind) {
	case ONCE:
	case EACH:
		return put_rows(w, i, end, 0, 0);
	case REGIONS:
	case EACH_REGION:
		for (size_t k = 0; rc == 0 && k < w->f->regions; k++)
			rc = put_rows(w, i, end, 0, k);
		return rc;
	case RINGS:
		return put_rings(w, i, end, 0, w->f->queues, kind);
	case EACH_RING:
	case EACH_DOWN:
	case EACH_READY:
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

	while (end < VHU_ARRAY_SIZE(rows) && in_parts(&rows[end]) && rows[end].script == rows[i].script &&
	       (rows[end].phase == rows[i].phase ||
		(rows[i].phase > VHU_PHASE_OWNED && rows[end].phase <= VHU_PHASE_RUNNING)))
		end++;
	w->parts = part_rings(w) ? VHU_MAX(w->f->queues / part_rings(w), 1u) : 1;
	for (unsigned n = 0; rc == 0 && n < w->parts; n++) {
		w->part = rows[i].loop & FROM_LAST ? w->parts - 1 - n : n;
		for (size_t k = i, next; rc == 0 && k < end; k = next) {
			next = k + 1;
			if (is_part_wanted(w) && is_wanted(w, &rows[k]))
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
	for (size_t i = 0; i < VHU_ARRAY_SIZE(rows); i++)
		if (rows[i].script == p->script && rows[i].msg == VHU_MSG_SET_PROTOCOL_FEATURES)
			return rows[i].phase;
	return VHU_PHASE_RUNNING;
}

static int begin(struct walk *w, struct vhu_facts_of_front *f, vhu_persona_emit *emit, void *ctx,
		 struct vhu_err *err)
{
	*w = (struct walk){.f = f, .profile = profile_of(f->profile), .parts = 1, .emit = emit, .ctx = ctx};
	if (!w->profile)
		return vhu_err_set(err, -ENOENT, "no profile '%s'", f->profile ? f->profile : "");
	w->front = front_of(w->profile, f->device);
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
	for (size_t i = 0, end; rc == 0 && i < VHU_ARRAY_SIZE(rows); i = end) {
		end = i + 1;
		if (rows[i].script != w.profile->script)
			continue;
		if (in_parts(&rows[i]))
			rc = put_parts(&w, i, &end);
		else if (is_part_wanted(&w) && is_wanted(&w, &rows[i]))
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
	for (size_t i = 0; rc == 0 && i < VHU_ARRAY_SIZE(rows); i++) {
		enum loop kind = kind_of(&rows[i]);

		/* Where all calls come before the rings, one ring's comes before that ring. */
		if (rows[i].script == w.profile->script &&
		    (rows[i].phase == VHU_PHASE_RUNNING ||
		     (rows[i].phase == VHU_PHASE_NEGOTIATED && rows[i].msg == VHU_MSG_SET_VRING_CALL)) &&
		    (kind == RINGS || kind == EACH_RING || kind == EACH_DOWN || kind == EACH_READY))
			rc = put(&w, &rows[i], queue, 0);
	}
	return rc;
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
