/*
 * The medium's bytes.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto.h"
#include "store.h"

enum { ZERO_STEP = 65536 };

static int measure(struct store *st, uint64_t *ret_size)
{
	struct stat s;
	off_t end;

	if (fstat(st->fd, &s) < 0)
		return -errno;
	end = S_ISBLK(s.st_mode) ? lseek(st->fd, 0, SEEK_END) : s.st_size;
	if (end < 0)
		return -errno;
	*ret_size = (uint64_t)end / C_SECTOR_SIZE * C_SECTOR_SIZE;
	return 0;
}

int store_open(struct store *st, const char *path, uint64_t size, bool read_only)
{
	int r;

	memset(st, 0, sizeof(*st));
	st->fd = -1;
	st->read_only = read_only;
	if (!path) {
		st->mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (st->mem == MAP_FAILED) {
			st->mem = NULL;
			return -errno;
		}
		st->size = size;
		return 0;
	}
	st->fd = open(path, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	if (st->fd < 0)
		return -errno;
	r = measure(st, &st->size);
	if (r == 0 && !st->size)
		r = -ENODATA;
	if (r < 0)
		store_close(st);
	return r;
}

void store_close(struct store *st)
{
	if (st->mem)
		munmap(st->mem, st->size);
	if (st->fd >= 0)
		close(st->fd);
	st->mem = NULL;
	st->fd = -1;
}

bool store_resized(struct store *st)
{
	uint64_t size;

	if (st->fd < 0 || measure(st, &size) < 0 || size == st->size)
		return false;
	st->size = size;
	return true;
}

/* One piece, whole. */
static int transfer_one(struct store *st, uint8_t *bytes, size_t len, uint64_t at, bool to_medium)
{
	while (len) {
		ssize_t done = to_medium ? pwrite(st->fd, bytes, len, (off_t)at)
					 : pread(st->fd, bytes, len, (off_t)at);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return done ? -errno : -EIO;
		bytes += done;
		at += (uint64_t)done;
		len -= (size_t)done;
	}
	return 0;
}

static int transfer(struct store *st, const struct iovec *iov, unsigned n, uint64_t at, bool to_medium)
{
	while (n) {
		int some = n < IOV_MAX ? (int)n : IOV_MAX, r;
		ssize_t done = to_medium ? pwritev(st->fd, iov, some, (off_t)at)
					 : preadv(st->fd, iov, some, (off_t)at);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return done ? -errno : -EIO;
		at += (uint64_t)done;
		for (; n && (size_t)done >= iov->iov_len; iov++, n--)
			done -= (ssize_t)iov->iov_len;
		if (!done)
			continue;
		/* cut within a piece: the rest of it by itself */
		r = transfer_one(st, (uint8_t *)iov->iov_base + done, iov->iov_len - (size_t)done, at,
				 to_medium);
		if (r < 0)
			return r;
		at += iov->iov_len - (size_t)done;
		iov++;
		n--;
	}
	return 0;
}

int store_read(struct store *st, const struct iovec *iov, unsigned n, uint64_t at)
{
	if (st->fd >= 0)
		return transfer(st, iov, n, at, false);
	for (; n; at += iov->iov_len, iov++, n--)
		memcpy(iov->iov_base, st->mem + at, iov->iov_len);
	return 0;
}

int store_write(struct store *st, const struct iovec *iov, unsigned n, uint64_t at)
{
	if (st->fd >= 0)
		return transfer(st, iov, n, at, true);
	for (; n; at += iov->iov_len, iov++, n--)
		memcpy(st->mem + at, iov->iov_base, iov->iov_len);
	return 0;
}

int store_zero(struct store *st, uint64_t at, uint64_t len, bool keep)
{
	static uint8_t zeroes[ZERO_STEP];

	if (st->fd < 0) {
		memset(st->mem + at, 0, len);
		return 0;
	}
	if (fallocate(st->fd, FALLOC_FL_KEEP_SIZE | (keep ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE),
		      (off_t)at, (off_t)len) == 0)
		return 0;
	while (len) {
		size_t step = len < ZERO_STEP ? (size_t)len : ZERO_STEP;
		int r = transfer_one(st, zeroes, step, at, true);

		if (r < 0)
			return r;
		at += step;
		len -= step;
	}
	return 0;
}

int store_flush(struct store *st)
{
	return st->fd >= 0 && fdatasync(st->fd) < 0 ? -errno : 0;
}
