/* What a capture has of the guest's memory and kicks, put into ours. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "internal.h"

enum { PIECE = 4096 };

/* The bytes of a step, piece by piece; patterns fill whole pieces. */
static bool put(int fd, const struct vhu_step_fill *fill, uint64_t at)
{
	uint8_t piece[PIECE] = {0};
	bool raw = fill->n_bytes == fill->len;
	uint64_t done = 0;

	for (size_t i = 0; !raw && fill->n_bytes && i < sizeof(piece); i++)
		piece[i] = fill->bytes[i % fill->n_bytes];
	while (done < fill->len) {
		size_t n =
			raw ? (size_t)(fill->len - done) : (size_t)VHU_MIN(fill->len - done, (uint64_t)PIECE);
		ssize_t got = pwrite(fd, raw ? fill->bytes + done : piece, n, (off_t)(at + done));

		/* A pattern goes on where the piece ended only if that was whole. */
		if (got <= 0 || (!raw && (size_t)got != n))
			return false;
		done += (uint64_t)got;
	}
	return true;
}

static bool remember(struct vhu_run *r, int fd, uint64_t at, uint64_t len)
{
	struct vhu_filled *grown = realloc(r->filled, (r->n_filled + 1) * sizeof(*grown));
	struct stat st;

	if (!grown || fstat(fd, &st) < 0) {
		r->filled = grown ? grown : r->filled;
		return false;
	}
	r->filled = grown;
	r->filled[r->n_filled++] = (struct vhu_filled){st.st_dev, st.st_ino, at, len};
	return true;
}

bool vhu_run_is_filled(const struct vhu_run *r, int fd, uint64_t at)
{
	struct stat st;

	if (!r->n_filled || fstat(fd, &st) < 0)
		return false;
	for (size_t i = 0; i < r->n_filled; i++)
		if (r->filled[i].dev == st.st_dev && r->filled[i].inode == st.st_ino &&
		    at - r->filled[i].at < r->filled[i].len)
			return true;
	return false;
}

void vhu_do_fill(struct vhu_run *r, const struct vhu_step *s)
{
	const struct vhu_step_fill *fill = &s->fill;
	uint64_t at = fill->offset, end;
	int fd = fill->known ? vhu_run_object(r, fill->object)
			     : vhu_run_foreign_at(&r->conns[s->conn], fill->uaddr, fill->len, &at);

	if (fd < 0 || __builtin_add_overflow(at, fill->len, &end) || end > INT64_MAX || !put(fd, fill, at)) {
		if (r->e->opts.replay)
			r->e->opts.replay->unplaced++;
		return;
	}
	if (!remember(r, fd, at, fill->len))
		vhu_run_broken(r, "out of memory");
}

/* A descriptor that is full already is as signalled as can be. */
void vhu_do_signal(struct vhu_run *r, const struct vhu_step *s)
{
	uint64_t value = VHU_MIN(s->signal.value, UINT64_MAX - 1);
	int fd = vhu_run_object(r, s->signal.object);

	vhu_run_played_kicked(r, s->signal.object);
	if (fd >= 0 && value && write(fd, &value, sizeof(value)) < 0 && errno != EAGAIN)
		vhu_run_broken(r, "a kick: %s", strerror(errno));
}
