/* Free chains: segments as a case gives them, for any device type. */
#include "io.h"

#include <errno.h>
#include <string.h>

#include "base/rng.h"

int vhu_chain_build(struct vhu_io *io, const struct vhu_io_spec *spec, struct vhu_err *err)
{
	if (spec->op != VHU_IO_CHAIN)
		return vhu_err_set(err, -ENOTSUP, "the %s driver sends free chains only",
				   vhu_device_row(io->d->opts.device)->name);
	if (spec->n_parts == 0 || spec->n_parts > VHU_IO_SEGMENTS_MAX)
		return vhu_err_set(err, -EINVAL, "a chain of %zu parts: must be 1 to %d", spec->n_parts,
				   VHU_IO_SEGMENTS_MAX);
	for (size_t i = 0; i < spec->n_parts; i++) {
		const struct vhu_chain_part *p = &spec->parts[i];
		int r = p->raw ? vhu_io_push(io, false, 0, IO_RAW, err)
			       : vhu_io_push(io, p->in, p->len, IO_PART, err);

		if (r < 0)
			return r;
		if (!p->raw)
			continue;
		io->raw = true;
		io->buf[i].raw = *p->raw;
	}
	if (io->raw && spec->indirect)
		return vhu_err_set(err, -EINVAL, "raw descriptors do not go into an indirect table");
	return 0;
}

static void fill_pattern(const struct vhu_io *io, const struct io_buf *b)
{
	struct vhu_rng rng;

	switch (io->pattern) {
	case VHU_PATTERN_FILL:
		memset(io->out + b->at, (int)(io->pattern_arg & 0xff), b->len);
		return;
	case VHU_PATTERN_ZERO:
		memset(io->out + b->at, 0, b->len);
		return;
	case VHU_PATTERN_STAMP:
	case VHU_PATTERN_SEED:
		break;
	}
	vhu_rng_init(&rng, io->pattern == VHU_PATTERN_SEED ? io->pattern_arg : io->d->opts.seed ^ io->seq);
	vhu_rng_fill(&rng, io->out + b->at, b->len);
}

void vhu_chain_fill(struct vhu_io *io, const struct vhu_io_spec *spec)
{
	for (size_t i = 0; i < io->n_buf; i++) {
		const struct io_buf *b = &io->buf[i];

		if (b->role != IO_PART || b->in)
			continue;
		if (spec->parts[i].bytes)
			memcpy(io->out + b->at, spec->parts[i].bytes, b->len);
		else
			fill_pattern(io, b);
	}
}

static int chain_begin(struct vhu_io *io)
{
	return 0;
}

static void chain_drop(struct vhu_io *io, bool sent)
{
}

void vhu_chain_complete(struct vhu_io *io)
{
	if (!io->raw)
		vhu_io_check_claim(io, VHU_MIN((size_t)io->used_len, io->in_len));
}

static uint32_t chain_expected_len(const struct vhu_io *io)
{
	return (uint32_t)io->in_len;
}

char *vhu_chain_describe(const struct vhu_io *io, char *out, size_t cap)
{
	snprintf(out, cap, "chain of %zu parts, queue %u, head %u", io->n_buf, io->queue, io->head);
	return out;
}

const struct vhu_device_ops vhu_chain_ops = {
	.name = "chain",
	.build = vhu_chain_build,
	.fill = vhu_chain_fill,
	.begin = chain_begin,
	.drop = chain_drop,
	.complete = vhu_chain_complete,
	.expected_len = chain_expected_len,
	.describe = vhu_chain_describe,
};
