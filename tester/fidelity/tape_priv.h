#pragma once

#include "fidelity/tape.h"

struct vhu_tape *vhu_tape_new(void);
/* A new item at the end; NULL when out of memory. Valid until the next one. */
struct vhu_tape_item *vhu_tape_add(struct vhu_tape *t);
