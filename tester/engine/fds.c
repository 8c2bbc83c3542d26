/* The descriptors that a message carries: by its row, or as the case says. */
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "internal.h"

/* Sparse files of regions that no guest memory backs: large enough to map, never filled. */
#define STRANGER_MAX (UINT64_C(1) << 32)
#define CAPTURED_MAX (UINT64_C(1) << 46)

enum { HUGE_FILE = 8 << 20 };

static bool give(struct vhu_run *r, struct vhu_frame *f, int fd)
{
	struct vhu_err err = {0};

	if (fd < 0) {
		vhu_run_broken(r, "no descriptor to send: %s", strerror(errno));
		return false;
	}
	if (vhu_frame_give_fd(f, fd, &err) < 0) {
		close(fd);
		vhu_run_broken(r, "%s", err.text);
		return false;
	}
	return true;
}

static bool lend(struct vhu_run *r, struct vhu_frame *f, int fd)
{
	if (fd < 0) {
		vhu_run_broken(r, "the descriptor that this message carries does not exist yet");
		return false;
	}
	return give(r, f, fcntl(fd, F_DUPFD_CLOEXEC, 3));
}

/* Our end of something stays open as long as the case runs. */
static void keep(struct vhu_run *r, int fd)
{
	if (r->n_lent < VHU_LENT_MAX)
		r->lent[r->n_lent++] = fd;
	else
		close(fd);
}

/* A file of huge pages. It needs none until somebody touches it. */
static bool give_huge(struct vhu_run *r, struct vhu_frame *f)
{
	int fd = vhu_memfd("huge", HUGE_FILE, MFD_HUGETLB | MFD_HUGE_2MB, 0);

	if (fd >= 0)
		return give(r, f, fd);
	vhu_run_skip(r, "no files of huge pages here: %s", strerror(errno));
	return false;
}

/* A memfd that can't be written: reopened read-only. */
static int readonly_memfd(uint64_t size)
{
	int fd = vhu_memfd("readonly", size, 0, 0);
	char path[64];
	int ro;

	if (fd < 0)
		return -1;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ro = open(path, O_RDONLY | O_CLOEXEC);
	close(fd);
	return ro;
}

/* One end of a pipe whose other end is closed. */
static int dead_pipe_end(int end)
{
	int p[2];

	if (pipe2(p, O_CLOEXEC | O_NONBLOCK) < 0)
		return -1;
	close(p[!end]);
	return p[end];
}

static int pipe_end(struct vhu_run *r)
{
	int p[2];

	if (pipe2(p, O_CLOEXEC | O_NONBLOCK) < 0)
		return -1;
	keep(r, p[1]);
	return p[0];
}

static int socket_end(struct vhu_run *r)
{
	int p[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, p) < 0)
		return -1;
	keep(r, p[1]);
	return p[0];
}

/* A call descriptor whose next signal does not fit. */
static int full_eventfd(void)
{
	uint64_t most = UINT64_MAX - 1;
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (fd >= 0 && write(fd, &most, sizeof(most)) != sizeof(most))
		vhu_close(&fd);
	return fd;
}

/* Memory of a captured guest: the same again where the target has it already. */
static bool give_captured(struct vhu_run *r, struct vhu_frame *f, uint64_t gpa, uint64_t size,
			  uint64_t offset)
{
	uint64_t end;

	for (size_t i = 0; i < r->n_foreign; i++)
		if (r->foreign[i].gpa == gpa && r->foreign[i].size == size && r->foreign[i].offset == offset)
			return lend(r, f, r->foreign[i].fd);
	if (__builtin_add_overflow(size, offset, &end) || end > CAPTURED_MAX)
		end = 0;
	return give(r, f, vhu_memfd("region", VHU_MAX(end, UINT64_C(4096)), 0, 0));
}

/* Memory for region i of the frame: the guest's own where it is that, else a stranger. */
static bool give_region(struct vhu_conn *c, struct vhu_frame *f, enum vhu_payload pl, size_t i)
{
	uint64_t gpa = 0, size = 0, offset = 0;
	struct vhu_mem *mem;

	vhu_frame_region(f, pl, i, "guest_phys_addr", &gpa);
	vhu_frame_region(f, pl, i, "memory_size", &size);
	vhu_frame_region(f, pl, i, "mmap_offset", &offset);
	if (c->r->plan->captured)
		return give_captured(c->r, f, gpa, size, offset);
	if (!vhu_run_driver(c->r))
		return false;
	mem = vhu_driver_mem(c->r->driver);
	for (size_t k = 0; k < vhu_mem_regions(mem); k++)
		if (vhu_mem_region(mem, k)->at.gpa == gpa)
			return lend(c->r, f, vhu_mem_region(mem, k)->fd);
	if (offset > STRANGER_MAX || size > STRANGER_MAX)
		size = offset = 0;
	return give(c->r, f, vhu_memfd("region", VHU_MAX(size + offset, UINT64_C(4096)), 0, 0));
}

static bool give_regions(struct vhu_conn *c, struct vhu_frame *f)
{
	uint64_t n = 0;

	vhu_frame_get(f, VHU_PL_MEM_TABLE, "num_regions", &n);
	for (size_t i = 0; i < VHU_MIN(n, (uint64_t)VHU_C_MEM_TABLE_REGIONS); i++)
		if (!give_region(c, f, VHU_PL_MEM_TABLE, i))
			return false;
	return true;
}

static struct vhu_vring *ring_of(struct vhu_conn *c, const struct vhu_frame *f)
{
	uint64_t index = vhu_frame_u64(f, "index");

	/* A replay has rings of its own only where requests go through them. */
	if (c->r->plan->recorded || c->r->plan->captured ? !c->r->driver : !vhu_run_driver(c->r))
		return NULL;
	return index < vhu_driver_rings(c->r->driver) ? vhu_driver_ring(c->r->driver, (unsigned)index) : NULL;
}

static const struct {
	enum vhu_msg msg;
	enum vhu_vring_fd which;
} ring_messages[] = {
	{VHU_MSG_SET_VRING_KICK, VHU_VRING_KICK},
	{VHU_MSG_SET_VRING_CALL, VHU_VRING_CALL},
	{VHU_MSG_SET_VRING_ERR, VHU_VRING_ERR},
};

/* The ring's descriptor in service; a fresh one if `renew`. A ring that we don't have lends none of its own.
 */
static bool give_ring_fd(struct vhu_conn *c, struct vhu_frame *f, enum vhu_vring_fd which, bool renew)
{
	struct vhu_vring *v = ring_of(c, f);
	struct vhu_err err = {0};

	if (!v)
		return !c->r->stop && give(c->r, f, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	if ((renew || vhu_vring_fd(v, which) < 0) && vhu_vring_renew_fd(v, which, &err) < 0) {
		vhu_run_broken(c->r, "%s", err.text);
		return false;
	}
	if (which == VHU_VRING_CALL)
		vhu_run_watch_calls(c->r, (unsigned)vhu_frame_u64(f, "index"));
	return lend(c->r, f, vhu_vring_fd(v, which));
}

static bool give_state(struct vhu_run *r, struct vhu_frame *f, bool narrow)
{
	return give(r, f, vhu_run_state_channel(r, vhu_frame_u64(f, "direction") != 1, narrow));
}

/* A pipe in place of the eventfd: one end goes into service, the peer gets the other. */
static bool give_ring_pipe(struct vhu_conn *c, struct vhu_frame *f, enum vhu_vring_fd which)
{
	struct vhu_vring *v = ring_of(c, f);
	int p[2], ours = which == VHU_VRING_KICK;

	if (!v || pipe2(p, O_CLOEXEC | O_NONBLOCK) < 0) {
		vhu_run_broken(c->r, "no pipe for a ring");
		return false;
	}
	vhu_vring_put_fd(v, which, p[ours]);
	if (which == VHU_VRING_CALL)
		vhu_run_watch_calls(c->r, (unsigned)vhu_frame_u64(f, "index"));
	return give(c->r, f, p[!ours]);
}

static bool give_by_row(struct vhu_conn *c, struct vhu_frame *f, const struct vhu_msg_row *row)
{
	struct vhu_run *r = c->r;

	for (size_t i = 0; i < VHU_ARRAY_SIZE(ring_messages); i++)
		if (ring_messages[i].msg == row->msg)
			return vhu_frame_u64(f, "no_fd") || give_ring_fd(c, f, ring_messages[i].which, false);
	switch ((int)row->msg) {
	case VHU_MSG_SET_MEM_TABLE:
		return give_regions(c, f);
	case VHU_MSG_ADD_MEM_REG:
		return give_region(c, f, VHU_PL_MEM_REG, 0);
	case VHU_MSG_SET_BACKEND_REQ_FD:
		return give(r, f, vhu_conn_backend_open(c));
	case VHU_MSG_SET_LOG_BASE:
		return !(vhu_session_pfeatures(&c->oracle.session) & VHU_P(LOG_SHMFD)) ||
		       lend(r, f, r->log.fd);
	case VHU_MSG_SET_LOG_FD:
		return give(r, f, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	case VHU_MSG_SET_INFLIGHT_FD:
		return lend(r, f, r->inflight.fd);
	case VHU_MSG_SET_DEVICE_STATE_FD:
		return give_state(r, f, false);
	case VHU_MSG_GPU_SET_SOCKET:
		return give(r, f, vhu_gpu_open(c));
	default:
		return true;
	}
}

/* What stands for a recorded descriptor; an eventfd as signalled as that was. */
static bool give_object(struct vhu_run *r, struct vhu_frame *f, const struct vhu_fd_spec *spec)
{
	int fd = vhu_run_object(r, spec->object);

	/* One that is full already is as signalled as can be. */
	if (fd >= 0 && spec->signals && write(fd, &spec->signals, sizeof(spec->signals)) < 0 &&
	    errno != EAGAIN) {
		vhu_run_broken(r, "an eventfd: %s", strerror(errno));
		return false;
	}
	return give(r, f, fd < 0 ? fd : fcntl(fd, F_DUPFD_CLOEXEC, 3));
}

/* The channels of the back-end are such that we listen on. */
static bool give_socket(struct vhu_conn *c, struct vhu_frame *f)
{
	const struct vhu_msg_row *row = vhu_frame_row(f);

	if (c->r->plan->recorded && row && row->msg == VHU_MSG_GPU_SET_SOCKET && !f->n_fds)
		return give(c->r, f, vhu_gpu_open(c));
	if (c->r->plan->recorded && row && row->msg == VHU_MSG_SET_BACKEND_REQ_FD && !f->n_fds)
		return give(c->r, f, vhu_conn_backend_open(c));
	return give(c->r, f, socket_end(c->r));
}

/* The file is one for both sides: blocking for the peer, while we ask poll before each use. */
static bool make_blocking(struct vhu_run *r, int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags >= 0 && fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) == 0)
		return true;
	vhu_run_broken(r, "fcntl: %s", strerror(errno));
	return false;
}

static bool give_spec(struct vhu_conn *c, struct vhu_frame *f, const struct vhu_fd_spec *spec)
{
	struct vhu_run *r = c->r;
	uint64_t size = 2 << 20;

	if (spec->size.n && !vhu_run_value(r, &spec->size, &size))
		return false;
	switch (spec->source) {
	case VHU_FD_CALL:
		return give_ring_fd(c, f, VHU_VRING_CALL, true);
	case VHU_FD_KICK:
		return give_ring_fd(c, f, VHU_VRING_KICK, true);
	case VHU_FD_ERR:
		return give_ring_fd(c, f, VHU_VRING_ERR, true);
	case VHU_FD_EVENTFD:
		return give(r, f, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	case VHU_FD_MEMORY:
		return vhu_run_driver(r) && lend(r, f, vhu_mem_region(vhu_driver_mem(r->driver), 0)->fd);
	case VHU_FD_LOG:
		return lend(r, f, r->log.fd);
	case VHU_FD_INFLIGHT:
		/* The target of a replay may have refused it, where the recorded one gave it. */
		if (r->plan->recorded && r->inflight.fd < 0)
			return give(r, f, vhu_memfd("inflight", 2 << 20, 0, 0));
		return lend(r, f, r->inflight.fd);
	case VHU_FD_SOCKET:
		return give_socket(c, f);
	case VHU_FD_PIPE:
		return give(r, f, pipe_end(r));
	case VHU_FD_READONLY:
		return give(r, f, readonly_memfd(size));
	case VHU_FD_KICK_BLOCKING:
		return give_ring_fd(c, f, VHU_VRING_KICK, true) &&
		       make_blocking(r, f->fds[f->n_fds - 1]);
	case VHU_FD_PIPE_UNREAD:
		return give(r, f, dead_pipe_end(1));
	case VHU_FD_PIPE_UNWRITTEN:
		return give(r, f, dead_pipe_end(0));
	case VHU_FD_STATE:
		return give_state(r, f, false);
	case VHU_FD_STATE_NARROW:
		return give_state(r, f, true);
	case VHU_FD_KICK_PIPE:
		return give_ring_pipe(c, f, VHU_VRING_KICK);
	case VHU_FD_CALL_PIPE:
		return give_ring_pipe(c, f, VHU_VRING_CALL);
	case VHU_FD_CALL_FULL:
		return give(r, f, full_eventfd());
	case VHU_FD_CALL_OF_0:
		return vhu_run_driver(r) &&
		       lend(r, f, vhu_vring_fd(vhu_driver_ring(r->driver, 0), VHU_VRING_CALL));
	case VHU_FD_DIRECTORY:
		return give(r, f, open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	case VHU_FD_HUGE:
		return give_huge(r, f);
	case VHU_FD_MEMFD:
		return give(r, f, vhu_memfd("memfd", size, 0, 0));
	case VHU_FD_OBJECT:
		return give_object(r, f, spec);
	}
	return true;
}

/* A ring without a descriptor is polled: ours forgets it, too. */
static void drop_ring_fd(struct vhu_conn *c, const struct vhu_frame *f, const struct vhu_msg_row *row)
{
	struct vhu_vring *v;

	for (size_t i = 0; i < VHU_ARRAY_SIZE(ring_messages); i++) {
		if (ring_messages[i].msg != row->msg || !vhu_frame_u64(f, "no_fd"))
			continue;
		v = ring_of(c, f);
		if (!v)
			return;
		vhu_vring_drop_fd(v, ring_messages[i].which);
		if (ring_messages[i].which == VHU_VRING_CALL)
			vhu_run_watch_calls(c->r, (unsigned)vhu_frame_u64(f, "index"));
	}
}

bool vhu_run_attach_fds(struct vhu_conn *c, struct vhu_frame *f, const struct vhu_step_send *send)
{
	const struct vhu_msg_row *row = vhu_frame_row(f);

	if (!send || !send->fds_given) {
		if (row && f->n_fds == 0 && !give_by_row(c, f, row))
			return false;
	} else {
		for (size_t i = 0; i < send->n_fds; i++)
			if (!give_spec(c, f, &send->fds[i]))
				return false;
	}
	if (row && f->n_fds == 0)
		drop_ring_fd(c, f, row);
	return true;
}
