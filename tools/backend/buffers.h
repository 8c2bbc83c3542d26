/*
 * The bytes of a request's buffers, wherever the driver cut them.
 */
#ifndef BACKEND_BUFFERS_H
#define BACKEND_BUFFERS_H

#include <endian.h>
#include <string.h>

#include "session.h"

/* A field of a structure that lies at `at`. */
#define LAYOUT(at, layout, field) le64toh(field_get((at) + LAY_##layout##_##field, LAYLEN_##layout##_##field))

static inline void field_put(uint8_t *at, unsigned len, uint64_t value)
{
	value = htole64(value);
	memcpy(at, &value, len);
}

/* Those that are written, of a structure or of the configuration. */
#define PUT_LAYOUT(at, field, value) field_put((at) + LAY_##field, LAYLEN_##field, value)
#define PUT_CONFIG(to, field, value) field_put((to) + CFG_##field, CFGLEN_##field, value)

/* Moves up to len bytes out of the front of the readable part. */
size_t chain_gather(struct chain *c, uint8_t *to, size_t len);
/* Copies into the front of the writable part; as much as there is room for. */
uint64_t chain_scatter(struct chain *c, const uint8_t *from, size_t len);
/* Notes in the dirty log that the first len bytes of the writable part were written. */
void chain_mark(struct session *s, const struct chain *c, uint64_t len);
/* Answers with so many bytes, noted there; returns how many there was room for. */
int64_t chain_answer(struct session *s, struct chain *c, const uint8_t *bytes, size_t len);

#endif
