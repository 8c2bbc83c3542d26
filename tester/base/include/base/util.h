/* Small things that libc lacks. No knowledge of vhost-user. */
#pragma once

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VHU_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define VHU_MIN(a, b) ((a) < (b) ? (a) : (b))
#define VHU_MAX(a, b) ((a) > (b) ? (a) : (b))
#define VHU_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

/* `_cleanup_(f) type x = …;` calls f(&x) when x goes out of scope. */
#define _cleanup_(f) __attribute__((cleanup(f)))
static inline void vhu_freep(void *p) { free(*(void **)p); }
static inline void vhu_closep(int *fd) { if (*fd >= 0) close(*fd); }
static inline void vhu_fclosep(FILE **f) { if (*f) fclose(*f); }

/* Closes *fd if it is >= 0 and makes it -1. */
static inline void vhu_close(int *fd) { if (*fd >= 0) close(*fd); *fd = -1; }

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t vhu_now_ns(void);

/*
 * Parses a whole decimal or 0x… number. 0, or -EINVAL (no number, trailing bytes) or -ERANGE.
 * *ret is untouched on failure.
 */
int vhu_u64_parse(const char *text, uint64_t *ret);

/*
 * Hex text ("00 ff 1a", spaces allowed between bytes, both cases) to bytes.
 * Returns the number of bytes, or -EINVAL, or -ENOSPC when they exceed cap.
 */
long vhu_hex_parse(const char *text, uint8_t *out, size_t cap);

/* Bytes to "00 ff 1a" in out (cut at cap, always terminated, "…" marks a cut). Returns out. */
char *vhu_hex_format(const void *bytes, size_t len, char *out, size_t cap);

/* FNV-1a, 64 bits. */
uint64_t vhu_fnv1a64(const void *bytes, size_t len, uint64_t seed);
#define VHU_FNV1A64_SEED UINT64_C(0xcbf29ce484222325)

/* Shell-style glob with * and ? over the whole text. */
bool vhu_glob(const char *pattern, const char *text);

/*
 * The candidate nearest to `name` by edit distance, or NULL if none is near enough to be a
 * likely slip (distance <= 1 + length / 4). `next` is called with i = 0, 1, … until it
 * returns NULL. Used for "did you mean".
 */
const char *vhu_nearest_name(const char *name, const char *(*next)(void *ctx, size_t i), void *ctx);

/* Little-endian loads and stores at any alignment; size is 1, 2, 4 or 8. */
static inline uint64_t vhu_le_get(const void *p, size_t size)
{
	uint64_t value = 0;

	memcpy(&value, p, size);
	return le64toh(value);
}

static inline void vhu_le_put(void *p, size_t size, uint64_t value)
{
	value = htole64(value);
	memcpy(p, &value, size);
}

/* The same in host order; 0 for another size. */
static inline uint64_t vhu_ne_get(const void *p, size_t size)
{
	uint8_t u8;
	uint16_t u16;
	uint32_t u32;
	uint64_t u64;

	switch (size) {
	case sizeof(u8):
		return memcpy(&u8, p, sizeof(u8)), u8;
	case sizeof(u16):
		return memcpy(&u16, p, sizeof(u16)), u16;
	case sizeof(u32):
		return memcpy(&u32, p, sizeof(u32)), u32;
	case sizeof(u64):
		return memcpy(&u64, p, sizeof(u64)), u64;
	default:
		return 0;
	}
}

void vhu_ne_put(void *p, size_t size, uint64_t value);
