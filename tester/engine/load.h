/* A guest under load, as the files of the engine see it. */
#pragma once

#include "engine/load.h"
#include "internal.h"

struct load {
	struct vhu_run run;
	struct vhu_plan plan;
	struct vhu_conn conn;
	struct vhu_guest *guest;
	const struct vhu_load_opts *o;
	const struct vhu_facts *facts;
	struct vhu_load_result *ret;
	struct vhu_source *told, *timer, *tick;
	uint64_t start_ns; /* by vhu_now_ns() */
	uint64_t began_ns; /* the same, by vhu_run_now() */
	bool taken_over;

	/* the dirty log of a handover */
	unsigned looks;	  /* at it */
	uint64_t ios_awaited; /* before the next */
	uint32_t round;	  /* that goes on; 0: there is no log */
	uint32_t *marked; /* of each page of the guest: the last round in which it was found marked */
	bool state_moves; /* both back-ends can move the device's state */
};

static inline struct vhu_step vhu_load_step(const char *where)
{
	return (struct vhu_step){.where = where, .requirement = VHU_REQ_PROG_16};
}

/* Waits for something about the guest; what it tells is heard meanwhile. False if the load is over. */
bool vhu_load_wait(struct load *l, bool (*done)(void *ctx), uint64_t deadline_ns);
/* The session up to running rings. False if the load is over. */
bool vhu_load_connect(struct load *l, const char *where);

/*
 * load_log.c. The log is switched on; what it holds is taken out of it, and a round ends; all rings have
 * stopped, so that all marks must be there.
 */
bool vhu_load_log_begin(struct load *l);
void vhu_load_log_collect(struct load *l);
void vhu_load_log_judge(struct load *l);

/*
 * load_state.c: the device's own state, where both can move it; with it goes the cache mode, which the second
 * back-end can know by nothing else. Each false if the load is over.
 */
bool vhu_load_state_save(struct load *l);
bool vhu_load_state_load(struct load *l);
bool vhu_load_state_check(struct load *l);

/* load_disturb.c: each false if the load is over */
bool vhu_load_crash(struct load *l);
bool vhu_load_reconnect(struct load *l);
bool vhu_load_hand_over(struct load *l);
