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
	struct vhu_load_result *ret;
	struct vhu_source *told, *timer, *tick;
	uint64_t start_ns;
	bool taken_over;
};

static inline struct vhu_step vhu_load_step(const char *where)
{
	return (struct vhu_step){.where = where, .requirement = VHU_REQ_PROG_16};
}

/* Waits for something about the guest; what it tells is heard meanwhile. False if the load is over. */
bool vhu_load_wait(struct load *l, bool (*done)(void *ctx), uint64_t deadline_ns);
/* The session up to running rings. False if the load is over. */
bool vhu_load_connect(struct load *l, const char *where);

/* load_disturb.c: each false if the load is over */
bool vhu_load_crash(struct load *l);
bool vhu_load_reconnect(struct load *l);
bool vhu_load_hand_over(struct load *l);
