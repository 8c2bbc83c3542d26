/* What each persona says, in order: the rows of profiles.def as loops. */
#include "plan/script.h"

#include <errno.h>
#include <string.h>

#include "internal.h"

enum profile {
#define VHU_PROFILE(name, ...) PROFILE_##name,
#include <vhu/profiles.def>
	PROFILE_MAX
};

enum loop { LOOP_ONCE, LOOP_REGIONS, LOOP_RINGS_1, LOOP_RINGS_2, LOOP_RINGS_3, LOOP_RINGS_4 };
enum asks { ASKS_QUIET, ASKS_ASK };
enum condition {
	IF_ALWAYS,
	IF_PROTOCOL,
	IF_MQ,
	IF_SLOTS,
	IF_SHMEM,
	IF_INBAND,
	IF_FDS,
	IF_BACKEND_REQ,
	IF_STATUS,
	IF_BIT30,
	IF_MEM_TABLE,
	IF_MEM_SLOTS,
};

struct row {
	enum profile profile;
	enum vhu_state state;
	enum vhu_msg msg;
	enum loop loop;
	enum asks asks;
	enum condition condition;
	uint8_t status;
};

#define S(name) VHU_C_STATUS_##name
static const struct row rows[] = {
#define VHU_STEP(profile, state, msg, loop, asks, condition, status)                                         \
	{PROFILE_##profile, VHU_STATE_##state, VHU_MSG_##msg, LOOP_##loop,                                   \
	 ASKS_##asks,	    IF_##condition,    (status)},
#include <vhu/profiles.def>
};

static const char *const names[] = {
#define VHU_PROFILE(id, name, summary) name,
#include <vhu/profiles.def>
	NULL,
};

const char *vhu_profile_name_at(void *ctx, size_t i)
{
	return i < PROFILE_MAX ? names[i] : NULL;
}

bool vhu_profile_known(const char *profile)
{
	return vhu_word_index(names, profile) >= 0;
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

bool vhu_profile_need_reply(const char *profile, enum vhu_msg msg)
{
	int p = vhu_word_index(names, profile);

	for (size_t i = 0; p >= 0 && i < VHU_ARRAY_SIZE(rows); i++)
		if ((int)rows[i].profile == p && rows[i].msg == msg)
			return rows[i].asks == ASKS_ASK;
	/* Messages that are in no persona's script: the plain one asks, others don't unless it is said. */
	return p == PROFILE_PLAIN && vhu_msg_row(msg)->channel == VHU_CHAN_MAIN && may_ask(msg, 0);
}

struct script {
	const struct vhu_script_opts *o;
	struct vhu_script_item *out;
	size_t n, max;
	bool reply_ack; /* agreed at this point of the script */
};

static bool applies(const struct vhu_script_opts *o, const struct row *r)
{
	const uint64_t bit30 = VHU_V(VHOST_USER_F_PROTOCOL_FEATURES);
	bool slots = (o->pfeatures & VHU_P(CONFIGURE_MEM_SLOTS)) && o->regions > VHU_C_MEM_TABLE_REGIONS;

	if (o->no_status && (r->msg == VHU_MSG_SET_STATUS || r->msg == VHU_MSG_GET_STATUS))
		return false;
	switch (r->condition) {
	case IF_ALWAYS:
		return true;
	case IF_PROTOCOL:
		return (o->features_offered & bit30) && ((o->features & bit30) || o->pfeatures);
	case IF_MQ:
		return o->pfeatures & VHU_P(MQ);
	case IF_SLOTS:
		return o->pfeatures & VHU_P(CONFIGURE_MEM_SLOTS);
	case IF_SHMEM:
		return o->pfeatures & VHU_P(SHMEM_MAP);
	case IF_INBAND:
		return o->pfeatures & VHU_P(INBAND_NOTIFICATIONS);
	case IF_FDS:
		return !(o->pfeatures & VHU_P(INBAND_NOTIFICATIONS));
	case IF_BACKEND_REQ:
		return o->pfeatures & VHU_P(BACKEND_REQ);
	case IF_STATUS:
		return o->pfeatures & VHU_P(STATUS);
	case IF_BIT30:
		return o->features & bit30;
	case IF_MEM_TABLE:
		return !slots;
	case IF_MEM_SLOTS:
		return slots;
	}
	return false;
}

static int put(struct script *s, const struct row *r, unsigned queue, size_t region, struct vhu_err *err)
{
	if (!applies(s->o, r))
		return 0;
	if (s->n == s->max)
		return vhu_err_set(err, -ENOSPC, "the script of '%s' has more than %zu messages",
				   s->o->profile, s->max);
	s->out[s->n++] = (struct vhu_script_item){
		.msg = r->msg,
		.queue = queue,
		.region = region,
		.need_reply = s->reply_ack && r->asks == ASKS_ASK && may_ask(r->msg, s->o->pfeatures),
		.status = r->status,
	};
	if (r->msg == VHU_MSG_SET_PROTOCOL_FEATURES)
		s->reply_ack = s->o->pfeatures & VHU_P(REPLY_ACK);
	return 0;
}

/* Whether a row belongs to this part of the script. */
static bool is_part(const struct script *s, size_t i, int profile)
{
	return i < VHU_ARRAY_SIZE(rows) && (int)rows[i].profile == profile && rows[i].state > s->o->from &&
	       rows[i].state <= s->o->to;
}

/* One row, or the rows of one loop over the rings from i on; *ret_end is behind them. */
static int put_group(struct script *s, size_t i, size_t *ret_end, int profile, struct vhu_err *err)
{
	size_t end = i + 1;
	int r = 0;

	if (rows[i].loop == LOOP_ONCE) {
		r = put(s, &rows[i], 0, 0, err);
	} else if (rows[i].loop == LOOP_REGIONS) {
		for (size_t k = 0; r == 0 && k < s->o->regions; k++)
			r = put(s, &rows[i], 0, k, err);
	} else {
		while (is_part(s, end, profile) && rows[end].loop == rows[i].loop &&
		       rows[end].state == rows[i].state)
			end++;
		for (unsigned q = 0; q < s->o->queues; q++)
			for (size_t k = i; r == 0 && k < end; k++)
				r = put(s, &rows[k], q, 0, err);
	}
	*ret_end = end;
	return r;
}

static int profile_of(const char *name, struct vhu_err *err)
{
	int p = name ? vhu_word_index(names, name) : -1;

	return p >= 0 ? p : vhu_err_set(err, -ENOENT, "no profile '%s'", name ? name : "");
}

long vhu_script(const struct vhu_script_opts *opts, struct vhu_script_item *out, size_t max,
		struct vhu_err *err)
{
	struct script s = {.o = opts, .out = out, .max = max};
	int profile = profile_of(opts->profile, err), r;

	if (profile < 0)
		return profile;
	s.reply_ack = opts->from >= VHU_STATE_NEGOTIATED && (opts->pfeatures & VHU_P(REPLY_ACK));
	for (size_t i = 0, end; i < VHU_ARRAY_SIZE(rows); i = end) {
		end = i + 1;
		if (!is_part(&s, i, profile))
			continue;
		r = put_group(&s, i, &end, profile, err);
		if (r < 0)
			return r;
	}
	return (long)s.n;
}

long vhu_script_ring(const struct vhu_script_opts *opts, unsigned queue, struct vhu_script_item *out,
		     size_t max, struct vhu_err *err)
{
	struct script s = {
		.o = opts, .out = out, .max = max, .reply_ack = opts->pfeatures & VHU_P(REPLY_ACK)};
	int profile = profile_of(opts->profile, err), r;

	if (profile < 0)
		return profile;
	for (size_t i = 0; i < VHU_ARRAY_SIZE(rows); i++) {
		if ((int)rows[i].profile != profile || rows[i].state != VHU_STATE_RUNNING ||
		    rows[i].loop < LOOP_RINGS_1)
			continue;
		r = put(&s, &rows[i], queue, 0, err);
		if (r < 0)
			return r;
	}
	return (long)s.n;
}
