/*
 * Front-end personas: the rows of profiles.def, walked for one phase of a device's life. What a persona
 * cannot know by itself (what the back-end offered, what the guest chose) are facts; nothing else decides
 * what is sent.
 */
#pragma once

#include "base/err.h"
#include "spec/spec.h"

enum { VHU_PERSONA_RINGS_MAX = 1024 };

/* The first five are the states of a session (plan/plan.h), in the same order. */
enum vhu_phase {
	VHU_PHASE_CONNECTED,
	VHU_PHASE_OWNED,
	VHU_PHASE_NEGOTIATED,
	VHU_PHASE_MAPPED,
	VHU_PHASE_RUNNING,
	VHU_PHASE_STOP,
	VHU_PHASE_FAIL,
	VHU_PHASE_PAUSE,
	VHU_PHASE_RESUME,
	VHU_PHASE_RESET,
	VHU_PHASE_SWITCH,
	VHU_PHASE_RECONFIG,
	VHU_PHASE_WRITE_CONFIG,
	VHU_PHASE_PLUG,
	VHU_PHASE_UNPLUG,
	VHU_PHASE_LOG,
	VHU_PHASE_LOG_OFF,
	VHU_PHASE_SAVE,
	VHU_PHASE_LOAD,
	VHU_PHASE_ANNOUNCE,
	VHU_PHASE_ADVISE,
	VHU_PHASE_LISTEN,
	VHU_PHASE_POSTCOPY_END,
	VHU_PHASE_OPEN_SESSION,
	VHU_PHASE_CLOSE_SESSION,
	VHU_PHASE_TRANSLATE,
	VHU_PHASE_MAX
};

/* Which eventfd goes with SET_VRING_CALL. */
enum vhu_call_role { VHU_CALL_SETUP = 1, VHU_CALL_NEW, VHU_CALL_SAME };

struct vhu_script_item {
	enum vhu_msg msg;
	unsigned queue;
	size_t region;
	bool need_reply;
	bool needlessly;	 /* … also where an answer comes anyway */
	uint8_t status;		 /* SET_STATUS */
	bool enable;		 /* SET_VRING_ENABLE */
	enum vhu_call_role role; /* SET_VRING_CALL */
	bool go_on;		 /* the empty second message of the postcopy handshake */
	bool load;		 /* SET_DEVICE_STATE_FD */
	bool low;		 /* SET_FEATURES: bits 0 to 31 alone */
	bool unasked;		 /* IOTLB_MSG: where the used ring lies */
	bool fresh;		 /* SET_VRING_KICK, SET_VRING_CALL: a descriptor of its own for this start */
	uint8_t written;	 /* SET_CONFIG: what the guest writes; the walk knows nothing of it */
	size_t config_size;	 /* GET_CONFIG: bytes that it asks for; 0: as many as there are */
	uint8_t config_flags;	 /* GET_CONFIG, SET_CONFIG */
	bool again;		 /* ADD_MEM_REG: of a region that the back-end was told of */
};

enum vhu_vectors { VHU_VECTORS_AS_USUAL, VHU_VECTORS_SHARED, VHU_VECTORS_OWN };

struct vhu_facts_of_front {
	const char *profile;
	enum vhu_device device;
	uint64_t features_offered;    /* decides what is sent at all */
	uint64_t features, pfeatures; /* negotiated in this session */
	unsigned queues;	      /* rings of the device */
	unsigned queues_offered;      /* as GET_QUEUE_NUM told; 0: it did not */
	unsigned pairs_on;	      /* net: pairs that the guest uses */
	const bool *ready;	      /* rings that the guest has set up; NULL: by the next */
	unsigned n_ready;	      /* the first ones; 0: all */
	size_t regions;		      /* that are new to the back-end */
	size_t gone;		      /* that it knows and the guest no longer has */
	bool no_status;		      /* leave the status messages out */
	enum vhu_vectors vectors;     /* what the guest gives its rings */
	bool reconnected;	      /* not the first connection of this device */
	bool has_area;		      /* an inflight area is at hand */
	bool logging, postcopy;
	bool enabled;	/* all rings of the part at hand are */
	bool iommu;     /* of the guest, for the device */
	uint8_t status; /* as the back-end told last; kept up by the walk */
	unsigned part;	/* of those that a device has: only this one, counted from 1; 0: all */
};

/* Takes one message; may change the facts, which later rows see. A negative errno ends the walk. */
typedef int vhu_persona_emit(void *ctx, const struct vhu_script_item *item);

/*
 * Walks the rows of all phases behind `from` up to `to`, which are states; or of the one phase `to` if it is
 * none. -ENOENT for an unknown persona, or what `emit` said.
 */
int vhu_persona_walk(struct vhu_facts_of_front *facts, enum vhu_phase from, enum vhu_phase to,
		     vhu_persona_emit *emit, void *ctx, struct vhu_err *err);
/* The messages that start one ring (`ring: start`), in the persona's order. */
int vhu_persona_ring(struct vhu_facts_of_front *facts, unsigned queue, vhu_persona_emit *emit, void *ctx,
		     struct vhu_err *err);

bool vhu_profile_known(const char *profile);
/* Whether it stands for a program that there is, not for the book. */
bool vhu_profile_is_real(const char *profile);
/* Whether it says anything in a phase, with any device. */
bool vhu_profile_has_phase(const char *profile, enum vhu_phase phase);
/* What it takes of an offer of protocol features, for a device. */
uint64_t vhu_profile_takes(const char *profile, enum vhu_device device, uint64_t offered);
/* What it passes on of the features that the back-end offers and a guest may acknowledge. */
uint64_t vhu_profile_passes(const char *profile, enum vhu_device device, uint64_t features);
/*
 * Bytes of config space that it asks for; 0: it never asks. `chosen`: what its user seems to have given the
 * device, which counts where there is a choice.
 */
size_t vhu_profile_config(const char *profile, enum vhu_device device, size_t chosen);
/*
 * Why it gives up its set-up behind that message and the answer to it; NULL if it goes on. `facts->pfeatures`
 * are those that it takes of the back-end's offer.
 */
const char *vhu_persona_gives_up(struct vhu_facts_of_front *facts, enum vhu_msg said);
/* Whether a start fails in which the back-end refuses that message. */
bool vhu_persona_heeds(struct vhu_facts_of_front *facts, enum vhu_msg refused);
/* Whether its rings come up two by two, as parts of their own (QEMU's network devices). */
bool vhu_profile_has_pairs(const char *profile, enum vhu_device device);
/*
 * Whether it ever sets DRIVER_OK. QEMU does not for most devices, though it takes STATUS of an offer: a
 * back-end that then waits for it never starts.
 */
bool vhu_profile_says_driver_ok(const char *profile, enum vhu_device device);
/* Whether a connection lost while the device was started, or was not, is followed by one without set-up. */
bool vhu_profile_is_deaf(const char *profile, enum vhu_device device, bool started);
/* Whether a device that ran when its connection was lost is not started on the next one. */
bool vhu_profile_forgets(const char *profile, enum vhu_device device);
/* Whether it ends the connection after a start that failed. */
bool vhu_profile_hangs_up(const char *profile, enum vhu_device device);
/* Whether it translates a ring that the guest did not set up this time where it lay before, and not 0. */
bool vhu_profile_remembers_rings(const char *profile);
/* The persona of a front-end's version ("10.0.2"): the newest that is no newer; NULL if all are. */
const char *vhu_profile_of_version(const char *family, const char *version);
/* Whether this persona asks for an acknowledgement of `msg` where it may. */
bool vhu_profile_need_reply(const char *profile, enum vhu_msg msg);
