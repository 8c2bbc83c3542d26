/* Canaries: a pattern made of the address, so that a copy from elsewhere shows as well. */
#include "state.h"

#include <string.h>

#include "base/rng.h"

static uint64_t word_at(uint64_t gpa)
{
	return vhu_mix64(gpa ^ UINT64_C(0x6775617264626e64));
}

static uint8_t byte_at(uint64_t gpa)
{
	return (uint8_t)(word_at(gpa & ~UINT64_C(7)) >> (gpa & 7) * 8);
}

static void paint(const struct vhu_mem *m, uint64_t from, uint64_t to)
{
	uint8_t *p = vhu_mem_at(m, from, to - from);

	if (!p)
		return;
	while (from < to) {
		if (from % 8 == 0 && to - from >= 8) {
			vhu_le_put(p, 8, word_at(from));
			from += 8;
			p += 8;
		} else {
			*p++ = byte_at(from++);
		}
	}
}

static bool whole(const struct vhu_mem *m, uint64_t from, uint64_t to, uint64_t *ret_gpa)
{
	const uint8_t *p = vhu_mem_at(m, from, to - from);

	if (!p)
		return true;
	while (from < to) {
		if (from % 8 == 0 && to - from >= 8 && vhu_le_get(p, 8) == word_at(from)) {
			from += 8;
			p += 8;
		} else if (*p == byte_at(from)) {
			p++;
			from++;
		} else {
			*ret_gpa = from;
			return false;
		}
	}
	return true;
}

void vhu_mem_canary_paint(const struct vhu_mem *m, const struct block *b)
{
	paint(m, b->base, b->gpa);
	paint(m, b->gpa + b->len, b->end);
}

bool vhu_mem_canary_whole(const struct vhu_mem *m, const struct block *b, uint64_t *ret_gpa)
{
	return whole(m, b->base, b->gpa, ret_gpa) && whole(m, b->gpa + b->len, b->end, ret_gpa);
}
