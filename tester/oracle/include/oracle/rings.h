/*
 * Rings as records tell of them: what was made available and what came back, held against the rules that hold
 * without a look at memory. Breaches go through the session's oracle like those of live rings. What could
 * have another explanation is not told.
 */
#pragma once

#include "base/err.h"
#include "oracle/oracle.h"

struct vhu_rings;

/* -ENOMEM. */
int vhu_rings_new(struct vhu_rings **ret, struct vhu_err *err);
void vhu_rings_free(struct vhu_rings *r);
/* A ring starts here: from now on it is seen whole. Its used index shows at the first element. -ENOMEM. */
int vhu_rings_start(struct vhu_rings *r, unsigned queue, uint32_t size, bool packed, struct vhu_err *err);
/* It stopped, and GET_VRING_BASE was answered. */
void vhu_rings_stop(struct vhu_rings *r, unsigned queue);
/* Nothing more is known of it until it starts again; `queue` VHU_SESSION_RINGS: of all. */
void vhu_rings_doubt(struct vhu_rings *r, unsigned queue);
/* A chain was made available, of which the device may write so many bytes. */
void vhu_rings_avail(struct vhu_rings *r, unsigned queue, uint32_t head, uint64_t writable);
/* An element came back; `none`: the index alone moved there. `o` is told what is wrong. */
void vhu_rings_used(struct vhu_rings *r, struct vhu_oracle *o, unsigned queue, uint32_t id, bool none,
		    uint32_t len, uint32_t index);
