/* Random numbers that are the same everywhere for the same seed (xoshiro256**, seeded by splitmix64). */
#pragma once

#include "base/util.h"

struct vhu_rng {
	uint64_t s[4];
};

void vhu_rng_init(struct vhu_rng *r, uint64_t seed);

static inline uint64_t vhu_rotate64(uint64_t x, unsigned by)
{
	return x << by | x >> (64 - by);
}

/* Here, for it is drawn once for each request of a load. */
static inline uint64_t vhu_rng_u64(struct vhu_rng *r)
{
	uint64_t *s = r->s;
	uint64_t result = vhu_rotate64(s[1] * 5, 7) * 9;
	uint64_t shifted = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= shifted;
	s[3] = vhu_rotate64(s[3], 45);
	return result;
}

/* 0 … bound-1 without bias; 0 when bound is 0. */
uint64_t vhu_rng_below(struct vhu_rng *r, uint64_t bound);
void vhu_rng_fill(struct vhu_rng *r, void *bytes, size_t len);
/* One mixing step of splitmix64: a stateless hash of x. */
static inline uint64_t vhu_mix64(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}
