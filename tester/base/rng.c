#include "base/rng.h"

static const uint64_t golden = UINT64_C(0x9e3779b97f4a7c15);

void vhu_rng_init(struct vhu_rng *r, uint64_t seed)
{
	for (unsigned i = 0; i < VHU_ARRAY_SIZE(r->s); i++)
		r->s[i] = vhu_mix64(seed + i * golden);
}

uint64_t vhu_rng_below(struct vhu_rng *r, uint64_t bound)
{
	if (!bound)
		return 0;

	/* The lowest 2^64 mod bound values would make small results likelier: draw again. */
	uint64_t lowest = -bound % bound;
	uint64_t x;

	do {
		x = vhu_rng_u64(r);
	} while (x < lowest);
	return x % bound;
}

void vhu_rng_fill(struct vhu_rng *r, void *bytes, size_t len)
{
	uint8_t *p = bytes;

	while (len) {
		size_t n = VHU_MIN(len, sizeof(uint64_t));

		vhu_le_put(p, n, vhu_rng_u64(r));
		p += n;
		len -= n;
	}
}
