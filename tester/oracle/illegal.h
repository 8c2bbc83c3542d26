/* What the checks of a front-end's frame share: the frame under judgement, and how they say what it breaks.
 */
#pragma once

#include "oracle/oracle.h"
#include "wire/frame.h"

struct vhu_trial {
	const struct vhu_session *s; /* before the frame */
	const struct vhu_frame *f;
	const struct vhu_msg_row *row; /* NULL: unknown id */
	struct vhu_illegal *out;
	size_t n, max;
	struct vhu_illegal spill; /* beyond max: written and never read */
};

/* The frame breaks a requirement on front-ends. */
void VHU_PRINTF(3, 4) vhu_trial_breaks(struct vhu_trial *v, enum vhu_req req, const char *format, ...);
/* It is wrong in a way that no row says. */
void VHU_PRINTF(3, 4)
	vhu_trial_malformed(struct vhu_trial *v, enum vhu_malformed kind, const char *format, ...);

/* The same, and a stranger is told the row of both parties, or of the guest's driver, that it breaks. */
void VHU_PRINTF(4, 5) vhu_trial_malformed_by(struct vhu_trial *v, enum vhu_malformed kind, enum vhu_req req,
					     const char *format, ...);

/* Whether [at, at+len) lies in the address space that the front-end names memory by. */
bool vhu_trial_in_regions(const struct vhu_session *s, uint64_t at, uint64_t len);

/* The checks of single messages, by area; the payload has its legal size by then. */
void vhu_trial_features(struct vhu_trial *v);
void vhu_trial_memory(struct vhu_trial *v);
void vhu_trial_vring(struct vhu_trial *v);
void vhu_trial_state(struct vhu_trial *v);
