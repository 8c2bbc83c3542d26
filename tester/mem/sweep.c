/*
 * Memory that no one was given. A file knows which of its pages exist, so that only those are
 * read: a page that does not exist is zero. A target that only reads makes pages of zeroes,
 * which is why the content decides and not the existence.
 */
#include "state.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum { HUGE_PAGE = 2 << 20, HEAL = 4096, READ_CHUNK = 64 << 10 };

static bool bytes_zero(const uint8_t *p, uint64_t len, uint64_t *ret_at)
{
	uint64_t i = 0;

	for (; i + 8 <= len; i += 8) {
		uint64_t word;

		memcpy(&word, p + i, 8);
		if (word)
			break;
	}
	for (; i < len; i++) {
		if (p[i]) {
			*ret_at = i;
			return false;
		}
	}
	return true;
}

static bool mapped_zero(const struct vhu_region *r, uint64_t from, uint64_t to, uint64_t *ret_gpa)
{
	uint64_t at;

	if (bytes_zero(r->host + (from - r->at.gpa), to - from, &at))
		return true;
	*ret_gpa = from + at;
	return false;
}

static bool memfd_zero(const struct vhu_region *r, uint64_t from, uint64_t to, uint64_t *ret_gpa)
{
	uint64_t delta = r->at.gpa - r->at.offset; /* gpa = place in the file + delta */

	while (from < to) {
		off_t data = lseek(r->fd, (off_t)(from - delta), SEEK_DATA), hole;

		if (data < 0 && errno == ENXIO)
			return true; /* nothing but holes up to the end */
		if (data < 0)
			return mapped_zero(r, from, to, ret_gpa);
		hole = lseek(r->fd, data, SEEK_HOLE);
		from = VHU_MAX(from, (uint64_t)data + delta);
		if (from >= to)
			return true;
		data = hole < 0 ? (off_t)(to - delta) : hole;
		if (!mapped_zero(r, from, VHU_MIN(to, (uint64_t)data + delta), ret_gpa))
			return false;
		from = (uint64_t)data + delta;
	}
	return true;
}

/* Reads through the file: that makes no page where there is none. */
static bool file_zero(const struct vhu_region *r, uint64_t from, uint64_t to, uint64_t *ret_gpa)
{
	_cleanup_(vhu_freep) uint8_t *chunk = malloc(READ_CHUNK);

	while (chunk && from < to) {
		ssize_t n = pread(r->fd, chunk, VHU_MIN(to - from, (uint64_t)READ_CHUNK),
				  (off_t)(from - r->at.gpa + r->at.offset));
		uint64_t at;

		if (n <= 0)
			break;
		if (!bytes_zero(chunk, (uint64_t)n, &at)) {
			*ret_gpa = from + at;
			return false;
		}
		from += (uint64_t)n;
	}
	return from >= to || mapped_zero(r, from, to, ret_gpa);
}

/*
 * hugetlbfs cannot tell holes. mincore tells what our own mapping has touched, and the number
 * of blocks whether a target has touched more.
 */
static bool huge_zero(const struct vhu_region *r, uint64_t from, uint64_t to, uint64_t *ret_gpa)
{
	uint64_t ours = 0, all;
	struct stat st;

	all = fstat(r->fd, &st) < 0 ? UINT64_MAX : (uint64_t)st.st_blocks * 512;
	for (uint64_t at = 0; at < r->at.size && ours < all; at += HUGE_PAGE) {
		unsigned char in;

		if (mincore(r->host + at, 1, &in) == 0 && (in & 1))
			ours += HUGE_PAGE;
	}
	while (from < to) {
		uint64_t at = (from - r->at.gpa) & ~(uint64_t)(HUGE_PAGE - 1);
		uint64_t end = VHU_MIN(to, r->at.gpa + at + HUGE_PAGE);
		unsigned char in;
		bool touched = mincore(r->host + at, 1, &in) == 0 && (in & 1);

		if (touched ? !mapped_zero(r, from, end, ret_gpa)
			    : ours < all && !file_zero(r, from, end, ret_gpa))
			return false;
		from = end;
	}
	return true;
}

bool vhu_region_zero(const struct vhu_region *r, uint64_t from, uint64_t to, uint64_t *ret_gpa)
{
	return r->hugetlb ? huge_zero(r, from, to, ret_gpa) : memfd_zero(r, from, to, ret_gpa);
}

static const struct vhu_region *region_of(const struct vhu_mem *m, uint64_t gpa, uint64_t len)
{
	for (size_t i = 0; i < m->n_regions; i++) {
		const struct vhu_region *r = m->region[i];

		if (gpa - r->at.gpa < r->at.size && len <= r->at.size - (gpa - r->at.gpa))
			return r;
	}
	return NULL;
}

bool vhu_mem_zero(const struct vhu_mem *m, uint64_t gpa, uint64_t len, uint64_t *ret_gpa)
{
	const struct vhu_region *r = region_of(m, gpa, len);

	return len == 0 || !r || vhu_region_zero(r, gpa, gpa + len, ret_gpa);
}

/* from … to without the exceptions. What is not zero there is made zero, up to the end of its page. */
static bool unjudged_zero(const struct vhu_mem *m, const struct vhu_region *r, uint64_t from, uint64_t to,
			  uint64_t *ret_gpa)
{
	for (size_t i = 0; i <= m->n_except && from < to; i++) {
		uint64_t end = i < m->n_except ? VHU_MIN(m->except[i].base, to) : to;

		if (i < m->n_except && m->except[i].end <= from)
			continue;
		if (from < end && !vhu_region_zero(r, from, end, ret_gpa)) {
			uint64_t heal = VHU_MIN((*ret_gpa | (HEAL - 1)) + 1, end);

			memset(r->host + (*ret_gpa - r->at.gpa), 0, heal - *ret_gpa);
			return false;
		}
		from = i < m->n_except ? VHU_MAX(from, m->except[i].end) : to;
	}
	return true;
}

static bool sweep_range(struct vhu_mem *m, const struct range *range, uint64_t *ret_gpa)
{
	const struct vhu_region *r = region_of(m, range->base, range->end - range->base);

	for (const struct block *b = range->first; b && r; b = b->next) {
		if (b->state == BLOCK_FRESH && !unjudged_zero(m, r, b->base, b->end, ret_gpa))
			return false;
		if (b->state == BLOCK_LIVE && !vhu_mem_canary_whole(m, b, ret_gpa)) {
			vhu_mem_canary_paint(m, b);
			return false;
		}
	}
	return true;
}

/* The data range that starts first at or behind `from` and before `to`, or NULL. */
static const struct range *next_range(const struct vhu_mem *m, uint64_t from, uint64_t to)
{
	const struct range *next = NULL;

	for (size_t i = 0; i < m->n_ranges; i++) {
		const struct range *r = &m->range[i];

		if (r->base >= from && r->base < to && (!next || r->base < next->base))
			next = r;
	}
	return next;
}

/* What of a region lies in no data range. */
static bool sweep_rest(const struct vhu_mem *m, const struct vhu_region *r, uint64_t *ret_gpa)
{
	uint64_t from = r->at.gpa, end = r->at.gpa + r->at.size;
	const struct range *data;

	while (from < end && (data = next_range(m, from, end))) {
		if (!unjudged_zero(m, r, from, data->base, ret_gpa))
			return false;
		from = data->end;
	}
	return from >= end || unjudged_zero(m, r, from, end, ret_gpa);
}

bool vhu_mem_sweep(struct vhu_mem *m, uint64_t *ret_gpa)
{
	for (size_t i = m->n_ranges; i-- > 0;) { /* they were put in from the last to the first */
		if (!sweep_range(m, &m->range[i], ret_gpa))
			return false;
	}
	for (size_t i = 0; i < m->n_regions; i++) {
		if (!sweep_rest(m, m->region[i], ret_gpa))
			return false;
	}
	return true;
}
