/* Whose descriptors are these? Follows the headers of a stream, no more. */
#pragma once

#include "base/util.h"
#include "spec/spec.h"

/* Zeroed: at the start of a stream. */
struct walk {
	uint8_t header[VHU_C_HEADER_SIZE];
	size_t have;	/* bytes of it */
	uint64_t left;	/* bytes of the payload that are still to come */
	bool lost;	/* a size beyond belief: nothing further is known */
};

/*
 * The id of the message that descriptors of these next bytes belong to: the first that begins in them, or
 * else the one that they continue. False if that is not known by now.
 */
bool vhu_walk_owner(const struct walk *w, const uint8_t *bytes, size_t len, uint32_t *ret_id);
void vhu_walk_over(struct walk *w, const uint8_t *bytes, size_t len);
/* The same for bytes that are not here: behind a header among them nothing is known. */
void vhu_walk_skip(struct walk *w, size_t len);
