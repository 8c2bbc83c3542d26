/*
 * What a front-end persona sends to bring a session from one state to the next, and the legal
 * value of every payload field for the moment. Pure functions, used by the compiler's dry run
 * and by the engine alike, so that both see the same frames.
 */
#pragma once

#include "base/err.h"
#include "plan/persona.h"
#include "plan/plan.h"
#include "spec/layout.h"
#include "spec/spec.h"

struct vhu_frame;
struct vhu_illegal;
struct vhu_session;

/* Everything that the legal value of a field may depend on. */
struct vhu_moment {
	const struct vhu_layout *layout;
	const struct vhu_session *session;
	uint64_t features, pfeatures;	/* to negotiate */
	unsigned queue;			/* for messages of ring scope */
	uint32_t base;			/* SET_VRING_BASE */
	bool logging;
	uint64_t log_size, log_offset;
	uint64_t inflight_size, inflight_offset;
	uint16_t inflight_queues, inflight_queue_size;
	size_t config_size;		/* GET_CONFIG: bytes to ask for */
	uint8_t config_flags;		/* GET_CONFIG, SET_CONFIG */
	uint8_t status;			/* SET_STATUS */
	bool disable;			/* SET_VRING_ENABLE */
	bool load;			/* SET_DEVICE_STATE_FD */
	bool low;			/* SET_FEATURES: bits 0 to 31 alone */
	bool go_on;			/* SET_MEM_TABLE, ADD_MEM_REG: postcopy, the empty one */
	size_t region;			/* ADD_MEM_REG, REM_MEM_REG: which of the layout */
	size_t plugged;			/* regions beyond the layout's that the guest has got since */
	uint8_t written;		/* SET_CONFIG: what the guest writes, and whether it is said */
	bool writes;
};

/* What one message of a script says of its moment. */
void vhu_moment_take(struct vhu_moment *m, const struct vhu_script_item *item);
/* Gives every field of a request its legal value for this moment (payload resized as needed). */
int vhu_moment_fill(const struct vhu_moment *m, struct vhu_frame *f, struct vhu_err *err);
/* Region i of the layout; beyond its last a spare one that overlaps none. */
struct vhu_region_layout vhu_moment_region(const struct vhu_moment *m, size_t i);
/* The address by which the front-end names gpa: a user address, or gpa itself with GPA_ADDRESSES. */
uint64_t vhu_moment_uaddr(const struct vhu_moment *m, uint64_t gpa);
/* What SET_VRING_ADDR gives as the address in the dirty log. */
uint64_t vhu_moment_log_address(const struct vhu_ring_layout *ring);
/* How many descriptors a request carries when nothing else is said. */
size_t vhu_moment_fds(const struct vhu_moment *m, const struct vhu_frame *f);

/*
 * The frame of a `send` step: legal values for the moment, then what the step says (fields,
 * regions, bytes, flags, size). Without descriptors. -ENODATA while a variable is not known,
 * -ERANGE if a value does not fit its field. *ret is the caller's (vhu_frame_done).
 */
int vhu_send_build(const struct vhu_step_send *s, const struct vhu_moment *m, const uint64_t *vars,
		   const bool *set, bool need_reply, struct vhu_frame *ret, struct vhu_err *err);

/*
 * What that frame would break, descriptors attached: vhu_oracle_illegal, and descriptors of a
 * kind or size that the message can't use, which only the step knows. Up to max of them.
 */
size_t vhu_send_illegal(const struct vhu_session *session, const struct vhu_step_send *s,
			const struct vhu_frame *f, struct vhu_illegal *out, size_t max);

struct vhu_script_opts {
	const char *profile;
	enum vhu_device device;
	enum vhu_state from, to;	/* from == to: nothing */
	uint64_t features_offered;	/* decides what is sent at all */
	uint64_t features, pfeatures;	/* negotiated in this session */
	unsigned queues;
	size_t regions;
	bool no_status;
	bool reconnected;		/* not the first connection of the device */
	bool has_area;			/* an inflight area is at hand */
	unsigned pairs;			/* net: that the guest uses; 0: all */
	uint8_t status;			/* of the device, as the back-end has it */
	size_t first_region;		/* of the `regions` that it is about */
	bool logging;
	bool postcopy;			/* memory comes by postcopy: POSTCOPY_LISTEN was said */
	unsigned ready;			/* rings that the guest has set up, from 0 on; 0: all */
	uint8_t written;		/* to config space, by the guest */
};

/*
 * The messages in order, up to max (512 is enough for `to` below RUNNING, plus 8 a ring).
 * Returns their number, or -ENOENT for an unknown persona, -ENOSPC.
 */
long vhu_script(const struct vhu_script_opts *opts, struct vhu_script_item *out, size_t max,
		struct vhu_err *err);
/* The messages of a phase that leads to no state: VHU_PHASE_STOP and those behind it. */
long vhu_script_phase(const struct vhu_script_opts *opts, enum vhu_phase phase,
		      struct vhu_script_item *out, size_t max, struct vhu_err *err);
/*
 * Which regions a phase is about: those that the back-end has not got yet, or the one that comes or goes.
 * `regions`: how many the guest has, once that is done.
 */
void vhu_script_regions(struct vhu_script_opts *opts, enum vhu_phase_word word, const struct vhu_session *s,
			size_t regions);
/* Whether the persona has anything to say in a phase that not all front-ends have. */
bool vhu_script_has_phase(const char *profile, enum vhu_phase_word word);
/* The same for what a `phase` step says; its start goes from opts->from to opts->to. */
long vhu_phase_script(enum vhu_phase_word word, const struct vhu_script_opts *opts,
		      struct vhu_script_item *out, size_t max, struct vhu_err *err);
/* The messages that start one ring (`ring: start`), in the persona's order. */
long vhu_script_ring(const struct vhu_script_opts *opts, unsigned queue, struct vhu_script_item *out,
		     size_t max, struct vhu_err *err);
