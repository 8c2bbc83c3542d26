#pragma once

#include "internal.h"

typedef void peer_odd(void *ctx, const struct vhu_tape_item *item, const char *what);
void vhu_peer_check(struct segment *seg, peer_odd *odd, void *ctx);
