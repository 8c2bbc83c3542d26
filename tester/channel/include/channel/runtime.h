/* How busy a spawned target is. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vhu_target;

enum { VHU_RUNTIME_THREADS = 256 }; /* more are not looked at */

struct vhu_runtime {
	uint64_t at_ns;
	size_t n;
	struct vhu_runtime_thread {
		int tid;
		uint64_t ran_ns, ready_ns; /* that it ran; that it ran or could have */
		bool ready;	   /* it does now */
	} thread[VHU_RUNTIME_THREADS];
};

/* A look at its threads; false where there is nothing to be seen. */
bool vhu_target_runtime(const struct vhu_target *t, struct vhu_runtime *ret);
/* Percent of the time between two looks that its busiest thread ran or could have. */
unsigned vhu_runtime_busiest(const struct vhu_runtime *from, const struct vhu_runtime *to);
/* How long the thread that ran most ran between them. */
uint64_t vhu_runtime_ran(const struct vhu_runtime *from, const struct vhu_runtime *to);
/* Whether a thread runs or could, at that moment. */
bool vhu_runtime_ready(const struct vhu_runtime *r);
