/* The frames that a guest's network interface sends: made of number, pair and length, and known again. */
#pragma once

#include "device/net.h"

struct net_id {
	uint64_t seed;
	uint32_t number;
	unsigned pair;
	uint32_t len;
};

/* The frame's bytes (id->len of them). `partial`: the checksum field holds the pseudo-header's sum. */
void vhu_net_frame_make(const struct net_id *id, bool partial, uint8_t *out);
/*
 * Looks for a frame of this seed that begins at `at`, or, where none does, anywhere in the bytes: its place,
 * or -1. The id is what the frame says of itself.
 */
long vhu_net_frame_find(uint64_t seed, const uint8_t *bytes, size_t len, size_t at, struct net_id *ret);

enum net_same {
	NET_SAME,
	NET_REWRITTEN, /* another address, port or checksum: what a network on the way might do */
	NET_HARMED,
};

/*
 * Whether a frame is the one that was sent, but for its Ethernet addresses. `complete`: its checksum has to
 * be whole; else that of the pseudo-header does as well. Says in `out` what is wrong.
 */
enum net_same vhu_net_frame_same(const struct net_id *id, bool complete, const uint8_t *bytes, size_t len,
				 char *out, size_t cap);
