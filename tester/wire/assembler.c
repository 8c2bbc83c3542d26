/* Frames out of the pieces that a stream delivers. */
#include <errno.h>
#include <string.h>

#include "wire/frame.h"

enum {
	HEADER = VHU_C_HEADER_SIZE,
	PENDING_FDS_MAX = 2 * VHU_FRAME_FDS_MAX, /* held for frames that are not complete */
	KEEP_MAX = 1 << 20,			 /* a larger buffer goes when it is empty */
};

void vhu_assembler_init(struct vhu_assembler *a, enum vhu_channel channel, enum vhu_dir dir)
{
	*a = (struct vhu_assembler){.channel = channel, .dir = dir};
}

static void close_all(const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

void vhu_assembler_done(struct vhu_assembler *a)
{
	if (!a)
		return;
	close_all(a->fds, a->n_fds);
	free(a->bytes);
	free(a->fds);
	free(a->batches);
	*a = (struct vhu_assembler){.channel = a->channel, .dir = a->dir, .lost = true};
}

/* Room for `need` elements; `least` at the first allocation. */
static int grow(void **array, size_t *cap, size_t need, size_t element, size_t least)
{
	size_t n = *cap ? *cap : least;
	void *p;

	if (need <= *cap)
		return 0;
	while (n < need)
		n *= 2;
	p = reallocarray(*array, n, element);
	if (!p)
		return -ENOMEM;
	*array = p;
	*cap = n;
	return 0;
}

/* Room for a piece and its descriptors. */
static int make_room(struct vhu_assembler *a, size_t len, size_t n_fds)
{
	if (a->start) {
		memmove(a->bytes, a->bytes + a->start, a->end - a->start);
		a->end -= a->start;
		a->start = 0;
	}
	if (grow((void **)&a->bytes, &a->cap, a->end + len, 1, 4096) < 0)
		return -ENOMEM;
	if (grow((void **)&a->fds, &a->cap_fds, a->n_fds + n_fds, sizeof(*a->fds), 8) < 0)
		return -ENOMEM;
	return grow((void **)&a->batches, &a->cap_batches, a->n_batches + 1, sizeof(*a->batches), 4);
}

int vhu_assembler_feed(struct vhu_assembler *a, const void *bytes, size_t len, const int *fds, size_t n_fds,
		       bool fds_lost, struct vhu_err *err)
{
	if (a->lost) {
		close_all(fds, n_fds);
		return 0;
	}
	if (n_fds > PENDING_FDS_MAX - a->n_fds) {
		size_t keep = PENDING_FDS_MAX - a->n_fds;

		close_all(fds + keep, n_fds - keep);
		n_fds = keep;
		fds_lost = true;
	}
	if (make_room(a, len, n_fds) < 0) {
		close_all(fds, n_fds);
		a->lost = true;
		return vhu_err_set(err, -ENOMEM, "received frame: out of memory");
	}
	if (n_fds || fds_lost) {
		uint64_t at = a->at + (a->end - a->start);

		a->batches[a->n_batches++] = (struct vhu_fd_batch){at, at + len, n_fds, fds_lost};
		if (n_fds)
			memcpy(a->fds + a->n_fds, fds, n_fds * sizeof(*fds));
		a->n_fds += n_fds;
	}
	if (len)
		memcpy(a->bytes + a->end, bytes, len);
	a->end += len;
	return 0;
}

/*
 * Gives the frame at a->at its descriptors: those of the piece in which it starts, if no earlier
 * frame has them, and those of pieces that lie within it. A piece that goes on behind its end has
 * a next frame that starts in it, and waits for that one.
 */
static int take_fds(struct vhu_assembler *a, uint64_t frame_end, struct vhu_frame *f)
{
	size_t n_batches = 0, n_fds = 0, n_kept;

	for (; n_batches < a->n_batches; n_batches++) {
		const struct vhu_fd_batch *b = &a->batches[n_batches];

		if (b->start > a->at && (b->start >= frame_end || b->end > frame_end))
			break;
		n_fds += b->n_fds;
	}
	if (!n_batches)
		return 0;
	n_kept = VHU_MIN(n_fds, (size_t)VHU_FRAME_FDS_MAX);
	if (n_kept) {
		f->fds = malloc(n_kept * sizeof(*f->fds));
		if (!f->fds)
			return -ENOMEM;
		memcpy(f->fds, a->fds, n_kept * sizeof(*f->fds));
		f->n_fds = n_kept;
	}
	if (n_kept < n_fds) {
		close_all(a->fds + n_kept, n_fds - n_kept);
		f->defects |= VHU_DEFECT_FDS_LOST;
	}
	for (size_t i = 0; i < n_batches; i++)
		if (a->batches[i].lost)
			f->defects |= VHU_DEFECT_FDS_LOST;

	a->n_fds -= n_fds;
	a->n_batches -= n_batches;
	if (a->n_fds)
		memmove(a->fds, a->fds + n_fds, a->n_fds * sizeof(*a->fds));
	memmove(a->batches, a->batches + n_batches, a->n_batches * sizeof(*a->batches));
	return 0;
}

/*
 * Builds a frame from `skip` bytes of header and `len` bytes of payload at the front, and takes
 * them off. On failure nothing is changed.
 */
static int cut_frame(struct vhu_assembler *a, struct vhu_frame *f, size_t skip, size_t len,
		     uint64_t frame_end, struct vhu_err *err)
{
	if (len) {
		f->payload = malloc(len);
		if (!f->payload)
			return vhu_err_set(err, -ENOMEM, "received frame: out of memory");
		memcpy(f->payload, a->bytes + a->start + skip, len);
		f->len = len;
	}
	if (take_fds(a, frame_end, f) < 0) {
		free(f->payload);
		return vhu_err_set(err, -ENOMEM, "received frame: out of memory");
	}
	a->start += skip + len;
	a->at += skip + len;
	if (a->start == a->end) {
		a->start = a->end = 0;
		if (a->cap > KEEP_MAX) {
			free(a->bytes);
			a->bytes = NULL;
			a->cap = 0;
		}
	}
	return 1;
}

static void read_header(const struct vhu_assembler *a, struct vhu_frame *f)
{
	const uint8_t *p = a->bytes + a->start;

	f->request = (uint32_t)vhu_ne_get(p, 4);
	f->flags = (uint32_t)vhu_ne_get(p + 4, 4);
	f->size = (uint32_t)vhu_ne_get(p + 8, 4);
}

int vhu_assembler_next(struct vhu_assembler *a, struct vhu_frame *ret, struct vhu_err *err)
{
	struct vhu_frame f = {.channel = a->channel, .dir = a->dir};
	size_t here = a->end - a->start;
	int r;

	if (a->lost || here < HEADER)
		return 0;
	read_header(a, &f);
	if (f.size > vhu_frame_payload_max(a->channel)) {
		f.defects = VHU_DEFECT_OVERSIZED;
		r = cut_frame(a, &f, HEADER, 0, UINT64_MAX, err);
		if (r > 0)
			a->lost = true;
	} else {
		if (here - HEADER < f.size)
			return 0;
		r = cut_frame(a, &f, HEADER, f.size, a->at + HEADER + f.size, err);
	}
	if (r > 0)
		*ret = f;
	return r;
}

int vhu_assembler_end(struct vhu_assembler *a, struct vhu_frame *ret, struct vhu_err *err)
{
	struct vhu_frame f = {.channel = a->channel, .dir = a->dir, .defects = VHU_DEFECT_TRUNCATED};
	size_t here = a->end - a->start, skip = HEADER;
	int r;

	if (a->lost || !here)
		return 0;
	if (here < HEADER) {
		f.defects |= VHU_DEFECT_HEADER_CUT;
		skip = 0;
	} else {
		read_header(a, &f);
	}
	r = cut_frame(a, &f, skip, here - skip, UINT64_MAX, err);
	if (r > 0) {
		a->lost = true;
		*ret = f;
	}
	return r;
}
