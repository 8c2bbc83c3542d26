#pragma once

#include "fidelity/tape.h"

struct vhu_tape *vhu_tape_new(void);
/* A new item at the end; NULL when out of memory. Valid until the next one. */
struct vhu_tape_item *vhu_tape_add(struct vhu_tape *t);
/* One loader for each form; what the file begins with says which. */
int vhu_tape_load_json(const char *path, struct vhu_tape **ret, struct vhu_err *err);
int vhu_tape_load_pcap(const char *path, struct vhu_tape **ret, struct vhu_err *err);
