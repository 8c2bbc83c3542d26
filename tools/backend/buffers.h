/*
 * The bytes of a request's buffers, wherever the driver cut them.
 */
#ifndef BACKEND_BUFFERS_H
#define BACKEND_BUFFERS_H

#include <endian.h>

#include "session.h"

/* A field of a structure that lies at `at`. */
#define LAYOUT(at, layout, field) le64toh(field_get((at) + LAY_##layout##_##field, LAYLEN_##layout##_##field))

/* Moves up to len bytes out of the front of the readable part. */
size_t chain_gather(struct chain *c, uint8_t *to, size_t len);
/* Copies into the front of the writable part; as much as there is room for. */
uint64_t chain_scatter(struct chain *c, const uint8_t *from, size_t len);
/* Notes in the dirty log that the first len bytes of the writable part were written. */
void chain_mark(struct session *s, const struct chain *c, uint64_t len);

#endif
