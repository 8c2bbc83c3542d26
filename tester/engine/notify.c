/* Kicks and calls, by descriptors or by messages (INBAND_NOTIFICATIONS); mappings that the back-end wants. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "internal.h"

static bool inband(const struct vhu_conn *c)
{
	const struct vhu_session *s = &c->oracle.session;

	return s->pfeatures_set_known && (s->pfeatures_set & VHU_P(INBAND_NOTIFICATIONS));
}

static const struct vhu_ring_state *state_of(const struct vhu_conn *c, unsigned queue)
{
	return vhu_session_ring(&c->oracle.session, queue);
}

bool vhu_conn_calls_inband(const struct vhu_conn *c, unsigned queue)
{
	return inband(c) && c->backend && state_of(c, queue) && !state_of(c, queue)->call_fd;
}

bool vhu_run_has_call(const struct vhu_run *r, unsigned queue)
{
	if (vhu_vring_fd(vhu_driver_ring(r->driver, queue), VHU_VRING_CALL) >= 0)
		return true;
	for (size_t i = 0; i < r->n_conns; i++)
		if (vhu_conn_live(&r->conns[i]) && vhu_conn_calls_inband(&r->conns[i], queue))
			return true;
	return false;
}

bool vhu_conn_kicks_inband(const struct vhu_conn *c, unsigned queue)
{
	return inband(c) && state_of(c, queue) && !state_of(c, queue)->kick_fd;
}

/* Of a replay: between what was recorded, and unanswered like it. */
static bool kick_aside(struct vhu_conn *c, unsigned queue)
{
	struct vhu_frame f = {0};
	struct vhu_err err = {0};

	if (vhu_frame_request(&f, VHU_MSG_VRING_KICK, &err) < 0) {
		vhu_run_broken(c->r, "%s", err.text);
		return false;
	}
	vhu_frame_set(&f, VHU_PL_VRING_STATE, "index", queue);
	vhu_conn_send_aside(c, &f);
	vhu_frame_done(&f);
	return true;
}

bool vhu_run_kick(struct vhu_conn *c, unsigned queue, const struct vhu_step *s)
{
	struct vhu_script_item item = {.msg = VHU_MSG_VRING_KICK, .queue = queue, .need_reply = true};
	struct vhu_moment m = vhu_run_moment(c);
	struct vhu_step step;

	if (!vhu_conn_live(c) || !vhu_conn_kicks_inband(c, queue)) {
		vhu_vring_kick(vhu_driver_ring(c->r->driver, queue));
		return true;
	}
	if (c->r->plan->recorded)
		return kick_aside(c, queue);
	step = (struct vhu_step){.where = s->where, .note = s->note, .requirement = s->requirement,
				 .within_ms = s->within_ms};
	return vhu_run_item(c, &item, &step, &m);
}

void vhu_run_signalled(struct vhu_conn *c, const struct vhu_frame *f)
{
	const struct vhu_msg_row *row = vhu_frame_row(f);
	uint64_t queue = vhu_frame_u64(f, "index");
	struct vhu_run *r = c->r;

	if (!row || queue >= r->n_rings || !state_of(c, (unsigned)queue))
		return;
	if (row->msg == VHU_MSG_BACKEND_VRING_CALL && !state_of(c, (unsigned)queue)->call_fd)
		r->rings[queue].calls++;
	if (row->msg == VHU_MSG_BACKEND_VRING_ERR && !state_of(c, (unsigned)queue)->err_fd)
		r->rings[queue].errors++;
}

void vhu_run_drop_unsent(struct vhu_conn *c, unsigned queue)
{
	struct vhu_vring *v = vhu_driver_ring(c->r->driver, queue);

	if (!inband(c) || !state_of(c, queue))
		return;
	if (!state_of(c, queue)->kick_fd)
		vhu_vring_drop_fd(v, VHU_VRING_KICK);
	if (!state_of(c, queue)->call_fd)
		vhu_vring_drop_fd(v, VHU_VRING_CALL);
}

/* Why what a well-formed map request names cannot be mapped; NULL if it can. */
static const char *unmappable(const struct vhu_frame *f)
{
	uint64_t offset = vhu_frame_u64(f, "fd_offset"), len = vhu_frame_u64(f, "len");
	int prot = PROT_READ | (vhu_frame_u64(f, "flags") & 1 ? PROT_WRITE : 0);
	struct stat st;
	void *p;

	if (offset + len < len || offset + len > INT64_MAX)
		return "an offset beyond the end of any file";
	if (fstat(f->fds[0], &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size < offset + len)
		return "a descriptor that is shorter than the mapping";
	p = mmap(NULL, len, prot, MAP_SHARED, f->fds[0], (off_t)offset);
	if (p == MAP_FAILED)
		return strerror(errno);
	munmap(p, len);
	return NULL;
}

void vhu_run_shm(struct vhu_conn *c, const struct vhu_frame *f)
{
	const struct vhu_msg_row *row = vhu_frame_row(f);
	const struct vhu_shm_map m = vhu_session_shm_range(f);
	struct vhu_finding finding;
	const char *why;

	if (!row || row->msg != VHU_MSG_BACKEND_SHMEM_MAP || f->n_fds != 1 ||
	    !vhu_session_shm_valid(&c->oracle.session, &m))
		return;
	why = unmappable(f);
	if (!why)
		return;
	vhu_finding_init(&finding, VHU_REQ_SHMEM_05, VHU_FINDING_RULE, "a mapping cannot be made");
	snprintf(finding.accepted, sizeof(finding.accepted), "a descriptor that can be mapped as asked");
	snprintf(finding.actual, sizeof(finding.actual), "%s", why);
	vhu_run_found(c, &finding);
}
