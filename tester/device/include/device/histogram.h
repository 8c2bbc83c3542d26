/*
 * Latencies: buckets of powers of two, each cut into 32 equal parts, so that a value is known to about three
 * per cent whatever its size.
 */
#pragma once

#include "base/util.h"

enum {
	VHU_HISTOGRAM_SUB = 32,
	VHU_HISTOGRAM_BUCKETS = (64 - 4) * VHU_HISTOGRAM_SUB, /* up to 2^64 ns */
};

struct vhu_histogram {
	uint64_t n, min, max, sum;
	uint64_t count[VHU_HISTOGRAM_BUCKETS];
};

void vhu_histogram_add(struct vhu_histogram *h, uint64_t value, uint64_t times);
void vhu_histogram_merge(struct vhu_histogram *to, const struct vhu_histogram *from);
/* The value that `share` (0 … 1) of all do not exceed; 0 if there are none. */
uint64_t vhu_histogram_at(const struct vhu_histogram *h, double share);
