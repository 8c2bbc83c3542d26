/* The rows of profiles.def, for those who look something up in them and for those who walk them. */
#pragma once

#include "plan/persona.h"

enum script { SCRIPT_PLAIN, SCRIPT_INBAND, SCRIPT_QEMU, SCRIPT_CLOUD, SCRIPT_CROSVM, SCRIPT_FIRECRACKER };

enum loop {
	ONCE, REGIONS, RINGS, EACH, EACH_RING, EACH_DOWN, EACH_READY, READY_DOWN, EACH_REGION, EACH_GONE
};

/*
 * Kind and number of a loop in one, and which parts of a device it goes over, unless upwards over those that
 * run: rows next to each other with the same one go together.
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
	LOOP_EACH_RING_5,
	LOOP_EACH_DOWN_3 = EACH_DOWN << 4 | 3,
	LOOP_EACH_READY_1 = EACH_READY << 4 | 1,
	LOOP_READY_DOWN_1 = READY_DOWN << 4 | 1,
	LOOP_EACH_REGION_1 = EACH_REGION << 4 | 1,
	LOOP_EACH_REGION_2,
	LOOP_EACH_GONE_1 = EACH_GONE << 4 | 1,
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
	WHEN_SESSIONS,
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
	WHEN_ENABLED,
	WHEN_LACKING,
	WHEN_IOMMU,
	WHEN_LOGGING,
	WHEN_POSTCOPY,
	WHEN_ON,
	WHEN_ANNOUNCES,
	WHEN_HAS_MTU,
	WHEN_SINCE_7,
	WHEN_SINCE_10,
	WHEN_SINCE_11,
	WHEN_PAIRS,
	WHEN_SINGLES,
	WHEN_FORGETS,
	WHEN_WHOLE,
	WHEN_GENERIC,
	WHEN_PREPARE,
	WHEN_MASKS,
	WHEN_DOWN,
	WHEN_LATE,
	WHEN_SOCKET,
	WHEN_READS,
	WHEN_DEAF,
	WHEN_UNAWARE,
	WHEN_EARLY,
	WHEN_AT_RING,
	WHEN_AGAIN,
	WHEN_EAGER,
	WHEN_ENABLES,
	WHEN_NO_BIT30,
	WHEN_NO_CONFIG,
	WHEN_FEW_QUEUES,
	WHEN_IOMMU_ALONE,
	WHEN_FINISHES,
	WHEN_HANGS_UP,
	WHEN_RESETS,
	WHEN_AREA_FIRST,
};
/* Conditions that have to hold, and (in the upper half) that must not. */
typedef unsigned __int128 vhu_when;
#define W(name) (UINT64_C(1) << WHEN_##name)
#define N(name) ((vhu_when)1 << (64 + WHEN_##name))
#define S(name) VHU_C_STATUS_##name
#define V(name) VHU_V(name)

enum {
	FD_SETUP = VHU_CALL_SETUP,
	FD_NEW = VHU_CALL_NEW,
	FD_SAME = VHU_CALL_SAME,
	USED = 2, /* SET_VRING_ENABLE: by the pairs that the guest uses; IOTLB_MSG: the used ring */
	GO_ON = 1,
	LOW = 1,
	WRITABLE = 1, /* what the Rust front-ends mean by 1; the specification means migration */
};

struct row {
	enum script script;
	enum vhu_phase phase;
	enum vhu_msg msg;
	unsigned loop;
	enum asks asks;
	vhu_when when;
	uint8_t value;
};

struct profile_row {
	const char *name;
	enum script script;
	unsigned version;
	uint64_t protocol;
};

struct front_row {
	enum script script;
	enum vhu_device device;
	unsigned since;
	uint64_t traits;
	size_t config;
};

extern const struct row vhu_persona_rows[];
extern const size_t vhu_persona_n_rows;

/* NULL: there is none of this name. */
const struct profile_row *vhu_profile_row(const char *name);
/* What a front-end is like with a device; all zeroes where that is not known. */
const struct front_row *vhu_front_row(const struct profile_row *p, enum vhu_device device);
/* Whether need_reply is set, and may be: only what has no answer of its own is worth asking for. */
bool vhu_profile_asks(const struct profile_row *p, enum asks a, bool logging);
bool vhu_may_ask(enum vhu_msg msg, uint64_t pfeatures);
