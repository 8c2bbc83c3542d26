/* The personas of profiles.def, and what is looked up of them. */
#include "internal.h"
#include "profile.h"

#include <stdio.h>
#include <string.h>

enum profile {
#define VHU_PROFILE(name, ...) PROFILE_##name,
#include <vhu/profiles.def>
	PROFILE_MAX
};

const struct row vhu_persona_rows[] = {
#define VHU_STEP(script, phase, msg, loop, asks, when, value)                                                \
	{SCRIPT_##script, VHU_PHASE_##phase, VHU_MSG_##msg, LOOP_##loop, ASKS_##asks, (when), (value)},
#include <vhu/profiles.def>
};

const size_t vhu_persona_n_rows = VHU_ARRAY_SIZE(vhu_persona_rows);

static const struct profile_row profiles[] = {
#define VHU_PROFILE(id, name, script, version, protocol, summary) {name, SCRIPT_##script, version, protocol},
#include <vhu/profiles.def>
};

static const struct front_row fronts[] = {
#define VHU_FRONT(script, device, since, traits, config)                                                     \
	{SCRIPT_##script, VHU_DEV_##device, since, traits, config},
#include <vhu/profiles.def>
};

static const struct size_row {
	enum script script;
	enum vhu_device device;
	size_t bytes;
} sizes[] = {
#define VHU_CONFIG(script, device, bytes) {SCRIPT_##script, VHU_DEV_##device, bytes},
#include <vhu/profiles.def>
};

static const struct pass_row {
	enum script script;
	enum vhu_device device;
	unsigned since;
	uint64_t features;
} passes[] = {
#define VHU_PASSES(script, device, since, features) {SCRIPT_##script, VHU_DEV_##device, since, (features)},
#include <vhu/profiles.def>
};

const char *vhu_profile_name_at(void *ctx, size_t i)
{
	return i < PROFILE_MAX ? profiles[i].name : NULL;
}

const struct profile_row *vhu_profile_row(const char *name)
{
	for (size_t i = 0; name && i < PROFILE_MAX; i++)
		if (strcmp(profiles[i].name, name) == 0)
			return &profiles[i];
	return NULL;
}

bool vhu_profile_known(const char *profile)
{
	return vhu_profile_row(profile);
}

static bool is_ideal(const struct profile_row *p)
{
	return p->script == SCRIPT_PLAIN || p->script == SCRIPT_INBAND;
}

bool vhu_profile_is_real(const char *profile)
{
	const struct profile_row *p = vhu_profile_row(profile);

	return p && !is_ideal(p);
}

bool vhu_profile_has_phase(const char *profile, enum vhu_phase phase)
{
	const struct profile_row *p = vhu_profile_row(profile);

	for (size_t i = 0; p && i < vhu_persona_n_rows; i++)
		if (vhu_persona_rows[i].script == p->script && vhu_persona_rows[i].phase == phase)
			return true;
	return false;
}

const struct front_row *vhu_front_row(const struct profile_row *p, enum vhu_device device)
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
	const struct profile_row *p = vhu_profile_row(profile);

	if (!p)
		return 0;
	if (vhu_front_row(p, device)->traits & W(READS))
		return offered & (p->protocol | VHU_P(CONFIG));
	return offered & p->protocol & ~VHU_P(CONFIG);
}

uint64_t vhu_profile_passes(const char *profile, enum vhu_device device, uint64_t features)
{
	const struct profile_row *p = vhu_profile_row(profile);
	uint64_t passed = UINT64_MAX;

	for (size_t i = 0; p && i < VHU_ARRAY_SIZE(passes); i++)
		if (passes[i].script == p->script && passes[i].since <= p->version &&
		    (passes[i].device == device || passes[i].device == VHU_DEV_ANY))
			passed = passes[i].features;
	return features & passed;
}

size_t vhu_profile_config(const char *profile, enum vhu_device device, size_t chosen)
{
	const struct profile_row *p = vhu_profile_row(profile);

	for (size_t i = 0; p && i < VHU_ARRAY_SIZE(sizes); i++)
		if (sizes[i].script == p->script && sizes[i].device == device &&
		    (sizes[i].bytes == chosen || (sizes[i].bytes == 0 && chosen)))
			return chosen;
	return vhu_front_row(p, device)->config;
}

bool vhu_profile_has_pairs(const char *profile, enum vhu_device device)
{
	return vhu_front_row(vhu_profile_row(profile), device)->traits & W(PAIRS);
}

bool vhu_profile_is_deaf(const char *profile, enum vhu_device device, bool started)
{
	const struct profile_row *p = vhu_profile_row(profile);
	const uint64_t traits = vhu_front_row(p, device)->traits;

	return (traits & W(UNAWARE)) || (p && p->version < 1000 && !started && (traits & W(DEAF)));
}

bool vhu_profile_remembers_rings(const char *profile)
{
	const struct profile_row *p = vhu_profile_row(profile);

	return p && p->version < 1000;
}

bool vhu_profile_forgets(const char *profile, enum vhu_device device)
{
	return vhu_front_row(vhu_profile_row(profile), device)->traits & W(FORGETS);
}

bool vhu_profile_hangs_up(const char *profile, enum vhu_device device)
{
	return vhu_front_row(vhu_profile_row(profile), device)->traits & W(HANGS_UP);
}

bool vhu_profile_says_driver_ok(const char *profile, enum vhu_device device)
{
	const struct profile_row *p = vhu_profile_row(profile);
	const uint64_t traits = vhu_front_row(p, device)->traits;

	for (size_t i = 0; p && i < vhu_persona_n_rows; i++)
		if (vhu_persona_rows[i].script == p->script &&
		    vhu_persona_rows[i].msg == VHU_MSG_SET_STATUS &&
		    (vhu_persona_rows[i].value & VHU_C_STATUS_DRIVER_OK) &&
		    (!(vhu_persona_rows[i].when & W(FINISHES)) || (traits & W(FINISHES))))
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

bool vhu_may_ask(enum vhu_msg msg, uint64_t pfeatures)
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

bool vhu_profile_asks(const struct profile_row *p, enum asks a, bool logging)
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
	const struct profile_row *p = vhu_profile_row(profile);

	for (size_t i = 0; p && i < vhu_persona_n_rows; i++)
		if (vhu_persona_rows[i].script == p->script && vhu_persona_rows[i].msg == msg)
			return vhu_profile_asks(p, vhu_persona_rows[i].asks, false) && vhu_may_ask(msg, 0);
	/* Messages that are in no persona's script: the plain one asks, others don't unless it is said. */
	return p == &profiles[PROFILE_PLAIN] && vhu_msg_row(msg)->channel == VHU_CHAN_MAIN &&
	       vhu_may_ask(msg, 0);
}
