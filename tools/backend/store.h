/*
 * The medium: a file, a block device, or memory.
 */
#ifndef BACKEND_STORE_H
#define BACKEND_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct store {
	int fd; /* -1: memory */
	uint8_t *mem;
	uint64_t size; /* bytes, whole sectors */
	bool read_only;
};

/* Opens path, or makes size bytes of memory where path is NULL. */
int store_open(struct store *st, const char *path, uint64_t size, bool read_only);
void store_close(struct store *st);

/* Looks at the file's length again; true if it changed. */
bool store_resized(struct store *st);

/*
 * The whole range lies inside the medium (the caller checked). Negative errno on failure.
 * Zeroing with keep releases no space.
 */
int store_read(struct store *st, const struct iovec *iov, unsigned n, uint64_t at);
int store_write(struct store *st, const struct iovec *iov, unsigned n, uint64_t at);
int store_zero(struct store *st, uint64_t at, uint64_t len, bool keep);
int store_flush(struct store *st);

#endif
