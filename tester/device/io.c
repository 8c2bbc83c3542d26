/*
 * A request's buffers. The device's view of them is guest memory; ours are copies, made once
 * when the request comes back, so that a device which goes on writing changes no verdict.
 */
#include "io.h"

#include <errno.h>
#include <string.h>

#include "base/rng.h"
#include "mem/mem.h"

enum { PAGE = 4096 };

/* What a request paints its memory with: words that differ from each other and from request to request. */
static uint64_t paint_base(const struct vhu_io *io, bool returned)
{
	return vhu_mix64(io->d->opts.seed ^ vhu_mix64(io->seq * 2 + returned));
}

static uint64_t paint(uint64_t base, uint64_t i)
{
	return base + i * UINT64_C(0x9e3779b97f4a7c15);
}

uint8_t vhu_io_poison(const struct vhu_io *io, size_t at)
{
	return (uint8_t)(paint(paint_base(io, false), at / 8) >> at % 8 * 8);
}

size_t vhu_io_unwritten(const struct vhu_io *io, size_t from, size_t to)
{
	uint64_t base = paint_base(io, false);

	for (size_t at = (from + 7) / 8 * 8; at + 8 <= to; at += 8) {
		if (vhu_le_get(io->in + at, 8) == paint(base, at / 8))
			return at;
	}
	return to;
}

bool vhu_io_came(const struct vhu_io *io, size_t at)
{
	for (size_t i = 0; i < io->n_buf; i++) {
		const struct io_buf *b = &io->buf[i];
		size_t from = VHU_MAX((size_t)b->at, at), to = VHU_MIN((size_t)b->at + b->len, at + 8);

		if (!b->live || !b->in || from >= to)
			continue;
		if (memcmp(vhu_mem_at(io->d->mem, b->gpa + (from - b->at), to - from), io->in + from,
			   to - from) != 0)
			return true;
	}
	return false;
}

void vhu_io_check_claim(struct vhu_io *io, size_t claimed)
{
	size_t at = io->batch ? claimed : vhu_io_unwritten(io, 0, claimed);

	if (at < claimed)
		vhu_driver_report(io, VHU_BREACH_CLAIMED_UNWRITTEN, 0,
				  "used length %u, but byte %zu was not written%s", io->used_len, at,
				  vhu_io_came(io, at) ? " in time" : "");
}

/* The byte that in[at] held at submission: of block devices the status, which 0xff shows to be unwritten. */
static uint8_t before(const struct vhu_io *io, size_t at)
{
	bool status = at + 1 == io->in_len && io->d->opts.device == VHU_DEV_BLK;

	return status ? 0xff : vhu_io_poison(io, at);
}

bool vhu_io_touched(const struct vhu_io *io)
{
	for (size_t at = io->in_len; at > 0; at--) { /* the last byte is the likeliest */
		if (io->in[at - 1] != before(io, at - 1))
			return true;
	}
	return false;
}

/* Paints a buffer that is ours again, or (check) finds the first byte that is not as painted: len if there is
 * none. */
static uint32_t refill(const struct vhu_io *io, const struct io_buf *b, bool check)
{
	uint8_t *p = vhu_mem_at(io->d->mem, b->gpa, b->len);
	uint64_t base = paint_base(io, true) ^ b->gpa;

	for (uint32_t at = 0; at < b->len; at += 8) {
		uint32_t n = VHU_MIN(b->len - at, 8u);
		uint8_t word[8];

		vhu_le_put(word, 8, paint(base, at / 8));
		if (!check)
			memcpy(p + at, word, n);
		else if (n == 8 && !memcmp(p + at, word, 8))
			continue;
		for (uint32_t i = 0; check && i < n; i++) {
			if (p[at + i] != word[i])
				return at + i;
		}
	}
	return b->len;
}

int vhu_io_push(struct vhu_io *io, bool in, uint64_t len, enum io_role role, struct vhu_err *err)
{
	size_t *sum = in ? &io->in_len : &io->out_len;

	if (len + *sum > UINT32_MAX)
		return vhu_err_set(err, -EINVAL, "a request of more than 4 GiB");
	if (io->n_buf == io->cap_buf) {
		size_t cap = io->cap_buf ? io->cap_buf * 2 : 4;
		struct io_buf *more = realloc(io->buf, cap * sizeof(*more));

		if (!more)
			return vhu_err_set(err, -ENOMEM, "out of memory");
		io->buf = more;
		io->cap_buf = cap;
	}
	io->buf[io->n_buf++] =
		(struct io_buf){.len = (uint32_t)len, .at = (uint32_t)*sum, .role = role, .in = in};
	*sum += len;
	return 0;
}

/* Pieces of odd lengths go to odd addresses as well: nothing promises more. */
static uint64_t align_of(const struct io_buf *b)
{
	switch (b->role) {
	case IO_HEADER:
		return 16;
	case IO_DATA:
	case IO_PART:
		if (b->len % VHU_C_SECTOR_SIZE)
			return 1;
		return b->len >= PAGE ? PAGE : VHU_C_SECTOR_SIZE;
	case IO_STATUS:
	case IO_RAW:
		break;
	}
	return 1;
}

static int allocate(struct vhu_io *io, struct io_buf *b, struct vhu_err *err)
{
	int r;

	do {
		r = vhu_mem_alloc(io->d->mem, b->len, align_of(b), &b->gpa, err);
	} while (r == -ENOSPC && vhu_driver_reclaim(io->d));
	b->live = r == 0;
	return r;
}

int vhu_io_lay_out(struct vhu_io *io, struct vhu_err *err)
{
	io->out = malloc(io->out_len + 1);
	io->in = malloc(io->in_len + 1);
	if (!io->out || !io->in)
		return vhu_err_set(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < io->n_buf; i++) {
		int r = io->buf[i].role == IO_RAW ? 0 : allocate(io, &io->buf[i], err);

		if (r < 0)
			return r;
	}
	return 0;
}

void vhu_io_write(struct vhu_io *io)
{
	uint64_t base = paint_base(io, false);

	for (size_t at = 0; at < io->in_len; at += 8) {
		uint8_t word[8];

		vhu_le_put(word, 8, paint(base, at / 8));
		memcpy(io->in + at, word, VHU_MIN(io->in_len - at, sizeof(word)));
	}
	if (io->in_len > 0)
		io->in[io->in_len - 1] = before(io, io->in_len - 1);
	for (size_t i = 0; i < io->n_buf; i++) {
		const struct io_buf *b = &io->buf[i];

		if (b->live)
			memcpy(vhu_mem_at(io->d->mem, b->gpa, b->len), (b->in ? io->in : io->out) + b->at,
			       b->len);
	}
}

static const char *role_name(const struct io_buf *b)
{
	switch (b->role) {
	case IO_HEADER:
		return "header";
	case IO_DATA:
		return "data";
	case IO_STATUS:
		return "status";
	case IO_PART:
	case IO_RAW:
		break;
	}
	return b->in ? "writable part" : "readable part";
}

static void check_readable(struct vhu_io *io, const struct io_buf *b)
{
	uint8_t *is = vhu_mem_at(io->d->mem, b->gpa, b->len);
	const uint8_t *was = io->out + b->at;
	uint32_t i = 0;

	if (memcmp(is, was, b->len) == 0)
		return;
	while (i + 1 < b->len && is[i] == was[i])
		i++;
	vhu_driver_report(io, VHU_BREACH_WROTE_READABLE, b->gpa + i,
			  "byte %u of its %s is 0x%02x, was 0x%02x", i, role_name(b), is[i], was[i]);
	memcpy(is, was, b->len);
}

void vhu_io_check_readable(struct vhu_io *io)
{
	for (size_t i = 0; i < io->n_buf; i++) {
		if (io->buf[i].live && !io->buf[i].in)
			check_readable(io, &io->buf[i]);
	}
}

static void check_canaries(struct vhu_io *io, const struct io_buf *b)
{
	uint64_t gpa;

	if (vhu_mem_check(io->d->mem, b->gpa, &gpa))
		return;
	if (gpa < b->gpa)
		vhu_driver_report(io, VHU_BREACH_WROTE_OUTSIDE, gpa,
				  "0x%llx was written, %llu bytes in front of its %s",
				  (unsigned long long)gpa, (unsigned long long)(b->gpa - gpa), role_name(b));
	else
		vhu_driver_report(io, VHU_BREACH_WROTE_OUTSIDE, gpa,
				  "0x%llx was written, %llu bytes behind its %s", (unsigned long long)gpa,
				  (unsigned long long)(gpa - b->gpa - b->len), role_name(b));
}

void vhu_io_collect(struct vhu_io *io)
{
	for (size_t i = 0; i < io->n_buf; i++) {
		const struct io_buf *b = &io->buf[i];

		if (b->live && b->in)
			memcpy(io->in + b->at, vhu_mem_at(io->d->mem, b->gpa, b->len), b->len);
	}
	vhu_io_check_readable(io);
	for (size_t i = 0; i < io->n_buf; i++) {
		if (io->buf[i].live)
			check_canaries(io, &io->buf[i]);
	}
}

void vhu_io_refill(struct vhu_io *io)
{
	for (size_t i = 0; i < io->n_buf; i++) {
		if (io->buf[i].live)
			refill(io, &io->buf[i], false);
	}
}

void vhu_io_check_refill(struct vhu_io *io)
{
	for (size_t i = 0; i < io->n_buf; i++) {
		const struct io_buf *b = &io->buf[i];
		uint32_t at;

		if (!b->live)
			continue;
		check_canaries(io, b);
		at = refill(io, b, true);
		/* A ring that changes by itself may have made the chain available again. */
		if (at == b->len || vhu_vring_spoilt(io->d->ring[io->queue]))
			continue;
		vhu_driver_report(io, VHU_BREACH_WROTE_AFTER_USED, b->gpa + at,
				  "byte %u of its %s was written after its return", at, role_name(b));
		refill(io, b, false);
	}
}

void vhu_io_destroy(struct vhu_io *io)
{
	uint64_t gpa;

	if (!io)
		return;
	/* Canaries were checked when the request came back; those of abandoned ones are nobody's fault. */
	for (size_t i = 0; i < io->n_buf; i++) {
		if (io->buf[i].live)
			vhu_mem_release(io->d->mem, io->buf[i].gpa, &gpa);
	}
	free(io->buf);
	free(io->out);
	free(io->in);
	free(io);
}
