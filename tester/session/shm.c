/* What the back-end has had mapped into its shared memory regions. */
#include <string.h>

#include "internal.h"
#include "wire/frame.h"

struct vhu_shm_map vhu_session_shm_range(const struct vhu_frame *f)
{
	return (struct vhu_shm_map){.shmid = (uint8_t)VHU_NUMBER(f, MMAP, shmid),
				    .offset = VHU_NUMBER(f, MMAP, shm_offset),
				    .len = VHU_NUMBER(f, MMAP, len)};
}

bool vhu_session_shm_valid(const struct vhu_session *s, const struct vhu_shm_map *m)
{
	uint64_t size = s->shm_size[m->shmid];

	if (!m->len || m->offset + m->len < m->len)
		return false;
	return !s->shm_known || (m->offset < size && m->len <= size - m->offset);
}

bool vhu_session_shm_free(const struct vhu_session *s, const struct vhu_shm_map *m)
{
	if (s->shm_reset_at)
		return true;
	for (size_t i = 0; i < s->n_shm; i++) {
		const struct vhu_shm_map *have = &s->shm[i];

		if (have->shmid == m->shmid && have->offset < m->offset + m->len &&
		    m->offset < have->offset + have->len)
			return false;
	}
	return true;
}

static size_t find(const struct vhu_session *s, const struct vhu_shm_map *m)
{
	size_t i = 0;

	while (i < s->n_shm && (s->shm[i].shmid != m->shmid || s->shm[i].offset != m->offset ||
				s->shm[i].len != m->len))
		i++;
	return i;
}

bool vhu_session_shm_mapped(const struct vhu_session *s, const struct vhu_shm_map *m)
{
	return s->shm_lost || find(s, m) < s->n_shm;
}

static void drop(struct vhu_session *s, size_t i)
{
	if (i >= s->n_shm)
		return;
	s->n_shm--;
	memmove(&s->shm[i], &s->shm[i + 1], (s->n_shm - i) * sizeof(*s->shm));
}

void vhu_session_shm_map(struct vhu_session *s, const struct vhu_frame *f, bool asked)
{
	struct vhu_shm_map m = vhu_session_shm_range(f);

	m.asked = asked;
	/* Sent before the reset, or after it: who knows. */
	s->shm_lost |= s->shm_reset_at != 0;
	if (s->n_shm == VHU_SESSION_SHM_MAPS) {
		s->shm_lost = true;
		drop(s, 0);
	}
	s->shm[s->n_shm++] = m;
}

void vhu_session_shm_gone(struct vhu_session *s)
{
	s->n_shm = 0;
	s->shm_reset_at = 0;
}

void vhu_session_shm_unmap(struct vhu_session *s, const struct vhu_frame *f)
{
	struct vhu_shm_map m = vhu_session_shm_range(f);

	drop(s, find(s, &m));
}

void vhu_session_shm_answered(struct vhu_session *s, bool refused)
{
	size_t i = 0;

	while (i < s->n_shm && !s->shm[i].asked)
		i++;
	if (i == s->n_shm)
		return;
	s->shm[i].asked = false;
	if (refused)
		drop(s, i);
}
