/*
 * Planted faults. Each place that can misbehave on purpose asks `if (fault(name))`; the names are the
 * rows of faults.def and all are off unless --fault turns them on.
 */
#ifndef BACKEND_FAULT_H
#define BACKEND_FAULT_H

#include <stdbool.h>
#include <stdio.h>

#define VHU_FAULT(name, ...) FAULT_##name,
enum fault_id {
#include <vhu/faults.def>
	FAULT_COUNT
};

extern bool fault_on[FAULT_COUNT];

#define fault(name) __builtin_expect(fault_on[FAULT_##name], 0)

/* Turns a fault on by its name on the command line ('-' or '_'); false for an unknown one. */
bool fault_enable(const char *id);
/* Whether one is on whose name begins like that. */
bool fault_any(const char *prefix);
/* A line a fault: id, requirement ids, what it does wrong. */
void fault_list(FILE *to);

/* What the worst faults end in: a wild access, a hang that only a signal ends, a pause. */
void fault_crash(void);
void fault_hang(void);
void fault_pause_ms(unsigned ms);

#endif
