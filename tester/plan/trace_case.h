/* What the files share that write a capture as a case. */
#pragma once

#include <jansson.h>

#include "plan/plan.h"

/*
 * Puts steps that differ in their ring's number alone into blocks: a list of steps becomes a shorter one.
 * Takes `steps` and gives the new list, or NULL when out of memory.
 */
json_t *vhu_trace_fold(json_t *steps);
