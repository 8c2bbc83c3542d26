/*
 * How near a persona is to a recorded front-end. The persona is driven by what the recording says of the
 * world around the front-end (the test's marks, the back-end's frames, connections coming and going, what
 * the guest chose), and what it says is compared with what the recorded front-end said.
 */
#pragma once

#include "base/buf.h"
#include "fidelity/tape.h"

struct vhu_fidelity_opts {
	const char *profile;		/* NULL: from the meta line */
	enum vhu_device device;		/* VHU_DEV_ANY: from the meta line and the frames */
};

struct vhu_fidelity {
	size_t messages;		/* in the recording, both directions */
	size_t differences;
	size_t told;			/* messages that the persona sent */
	const char *profile;
	enum vhu_device device;
};

/*
 * `text`: a line for each difference, and what the front-end was taken to live through; may be NULL. -errno
 * with text.
 */
int vhu_fidelity_run(const struct vhu_tape *tape, const struct vhu_fidelity_opts *opts, struct vhu_buf *text,
		     struct vhu_fidelity *ret, struct vhu_err *err);
