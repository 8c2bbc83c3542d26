/* What the files of this room share. */
#pragma once

#include "session/session.h"

/* A request of the back-end about shared memory; the front-end's answer to the oldest map request. */
/* RESET_DEVICE was carried out. */
void vhu_session_shm_gone(struct vhu_session *s);
void vhu_session_shm_map(struct vhu_session *s, const struct vhu_frame *f, bool asked);
void vhu_session_shm_unmap(struct vhu_session *s, const struct vhu_frame *f);
void vhu_session_shm_answered(struct vhu_session *s, bool refused);
