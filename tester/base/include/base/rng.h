/* Random numbers that are the same everywhere for the same seed (xoshiro256**, seeded by splitmix64). */
#pragma once

#include "base/util.h"

struct vhu_rng {
	uint64_t s[4];
};

void vhu_rng_init(struct vhu_rng *r, uint64_t seed);
uint64_t vhu_rng_u64(struct vhu_rng *r);
/* 0 … bound-1 without bias; 0 when bound is 0. */
uint64_t vhu_rng_below(struct vhu_rng *r, uint64_t bound);
void vhu_rng_fill(struct vhu_rng *r, void *bytes, size_t len);
/* One mixing step of splitmix64: a stateless hash of x. */
uint64_t vhu_mix64(uint64_t x);
