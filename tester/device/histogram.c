#include "device/histogram.h"

enum { SUB_BITS = 5 };

/* Values below 32 have a bucket each; above, the five bits behind the first count. */
static unsigned bucket_of(uint64_t value)
{
	unsigned shift;

	if (value < VHU_HISTOGRAM_SUB)
		return (unsigned)value;
	shift = 63 - (unsigned)__builtin_clzll(value) - SUB_BITS;
	return (shift + 1) * VHU_HISTOGRAM_SUB + (unsigned)(value >> shift & (VHU_HISTOGRAM_SUB - 1));
}

/* The highest value that falls into it. */
static uint64_t top_of(unsigned bucket)
{
	unsigned shift = bucket / VHU_HISTOGRAM_SUB;
	uint64_t sub = bucket % VHU_HISTOGRAM_SUB;

	if (shift == 0)
		return sub;
	return ((VHU_HISTOGRAM_SUB + sub + 1) << (shift - 1)) - 1;
}

void vhu_histogram_add(struct vhu_histogram *h, uint64_t value, uint64_t times)
{
	if (times == 0)
		return;
	h->min = h->n == 0 || value < h->min ? value : h->min;
	h->max = VHU_MAX(h->max, value);
	h->sum += value * times;
	h->n += times;
	h->count[bucket_of(value)] += times;
}

void vhu_histogram_merge(struct vhu_histogram *to, const struct vhu_histogram *from)
{
	if (from->n == 0)
		return;
	to->min = to->n == 0 ? from->min : VHU_MIN(to->min, from->min);
	to->max = VHU_MAX(to->max, from->max);
	to->sum += from->sum;
	to->n += from->n;
	for (unsigned i = 0; i < VHU_HISTOGRAM_BUCKETS; i++)
		to->count[i] += from->count[i];
}

uint64_t vhu_histogram_at(const struct vhu_histogram *h, double share)
{
	uint64_t want = (uint64_t)(share * (double)h->n + 0.5), seen = 0;

	want = VHU_MIN(VHU_MAX(want, (uint64_t)1), h->n);
	for (unsigned i = 0; i < VHU_HISTOGRAM_BUCKETS && h->n; i++) {
		seen += h->count[i];
		if (seen >= want)
			return VHU_MIN(VHU_MAX(top_of(i), h->min), h->max);
	}
	return h->max;
}
