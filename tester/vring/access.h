/*
 * Every access to ring memory. The target writes it while we read, so that plain loads could be
 * repeated or torn by the compiler: a value is loaded once into a local, and checked there.
 */
#pragma once

#include <endian.h>
#include <stdint.h>

static inline uint16_t ring_load16(const void *p)
{
	return le16toh(__atomic_load_n((const uint16_t *)p, __ATOMIC_RELAXED));
}

static inline uint32_t ring_load32(const void *p)
{
	return le32toh(__atomic_load_n((const uint32_t *)p, __ATOMIC_RELAXED));
}

static inline uint64_t ring_load64(const void *p)
{
	return le64toh(__atomic_load_n((const uint64_t *)p, __ATOMIC_RELAXED));
}

/* What was written before the index was raised is visible behind this. */
static inline uint16_t ring_load16_acquire(const void *p)
{
	return le16toh(__atomic_load_n((const uint16_t *)p, __ATOMIC_ACQUIRE));
}

static inline void ring_store16(void *p, uint16_t value)
{
	__atomic_store_n((uint16_t *)p, htole16(value), __ATOMIC_RELAXED);
}

static inline void ring_store32(void *p, uint32_t value)
{
	__atomic_store_n((uint32_t *)p, htole32(value), __ATOMIC_RELAXED);
}

static inline void ring_store64(void *p, uint64_t value)
{
	__atomic_store_n((uint64_t *)p, htole64(value), __ATOMIC_RELAXED);
}

/* Everything written so far is visible to who sees this value. */
static inline void ring_store16_release(void *p, uint16_t value)
{
	__atomic_store_n((uint16_t *)p, htole16(value), __ATOMIC_RELEASE);
}

static inline uint32_t ring_load32_acquire(const void *p)
{
	return le32toh(__atomic_load_n((const uint32_t *)p, __ATOMIC_ACQUIRE));
}

static inline void ring_store32_release(void *p, uint32_t value)
{
	__atomic_store_n((uint32_t *)p, htole32(value), __ATOMIC_RELEASE);
}

/* Between our store and a load that decides whether the other side sleeps. */
static inline void ring_fence(void)
{
#ifdef __SANITIZE_THREAD__ /* which knows no fences */
	static uint32_t word;

	__atomic_fetch_add(&word, 1, __ATOMIC_SEQ_CST);
#else
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}
