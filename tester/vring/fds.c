/*
 * Kick, call and err descriptors. An eventfd that was sent is one open file for both sides, so
 * that a target can make it blocking: each use asks poll first.
 */
#include "ring.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>

enum { READS_MAX = 4096 };

static const char *const fd_name[VHU_VRING_FD_MAX] = {"kick", "call", "err"};

static int open_one(struct vhu_vring *v, enum vhu_vring_fd which, struct vhu_err *err)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (fd < 0)
		return vhu_err_errno(err, -errno, "queue %u: cannot make a %s descriptor", v->queue,
				     fd_name[which]);
	return fd;
}

static bool ready(int fd, short events)
{
	struct pollfd p = {.fd = fd, .events = events};

	return fd >= 0 && poll(&p, 1, 0) == 1 && (p.revents & events);
}

/* Counters come from the target: their sum may be anything. */
static uint64_t add_up(uint64_t a, uint64_t b)
{
	return a + b < a ? UINT64_MAX : a + b;
}

/* The counter, which reading empties. A pipe gives one signal a read, and a mad target would never end. */
static uint64_t drain(int fd)
{
	uint64_t sum = 0, count;

	for (unsigned i = 0; i < READS_MAX && ready(fd, POLLIN); i++) {
		if (read(fd, &count, sizeof(count)) != sizeof(count))
			break;
		sum = add_up(sum, count);
	}
	return sum;
}

int vhu_vring_fds_open(struct vhu_vring *v, struct vhu_err *err)
{
	for (int i = 0; i < VHU_VRING_FD_MAX; i++)
		v->fd[i] = -1;
	for (int i = 0; i < VHU_VRING_FD_MAX; i++) {
		int fd = open_one(v, (enum vhu_vring_fd)i, err);

		if (fd < 0) {
			vhu_vring_fds_close(v);
			return fd;
		}
		v->fd[i] = fd;
	}
	return 0;
}

void vhu_vring_fds_close(struct vhu_vring *v)
{
	for (int i = 0; i < VHU_VRING_FD_MAX; i++)
		vhu_close(&v->fd[i]);
	while (v->n_stale > 0)
		vhu_close(&v->stale[--v->n_stale]);
}

void vhu_vring_kick(struct vhu_vring *v)
{
	vhu_vring_kick_value(v, 1);
}

void vhu_vring_kick_value(struct vhu_vring *v, uint64_t value)
{
	ssize_t n;

	if (!ready(v->fd[VHU_VRING_KICK], POLLOUT))
		return; /* none in service, or its counter is full: the target is signalled already */
	if (v->watch)
		v->watch->signal(v->watch->ctx, v, VHU_VRING_KICK, value);
	n = write(v->fd[VHU_VRING_KICK], &value, sizeof(value));
	(void)n; /* EAGAIN is the full counter again */
}

int vhu_vring_fd(const struct vhu_vring *v, enum vhu_vring_fd which)
{
	return v->fd[which];
}

/* Out of service. A call descriptor is watched on: the target may still signal it. */
static void retire(struct vhu_vring *v, enum vhu_vring_fd which)
{
	int fd = v->fd[which];

	v->fd[which] = -1;
	if (fd < 0)
		return;
	if (which != VHU_VRING_CALL) {
		close(fd);
		return;
	}
	/* What it counted while it was in service is no late signal. */
	drain(fd);
	if (v->n_stale == STALE_MAX) {
		v->stale_count = add_up(v->stale_count, drain(v->stale[0]));
		close(v->stale[0]);
		for (size_t i = 1; i < STALE_MAX; i++)
			v->stale[i - 1] = v->stale[i];
		v->n_stale--;
	}
	v->stale[v->n_stale++] = fd;
}

int vhu_vring_renew_fd(struct vhu_vring *v, enum vhu_vring_fd which, struct vhu_err *err)
{
	int fd = open_one(v, which, err);

	if (fd < 0)
		return fd;
	vhu_vring_put_fd(v, which, fd);
	return 0;
}

void vhu_vring_put_fd(struct vhu_vring *v, enum vhu_vring_fd which, int fd)
{
	retire(v, which);
	v->fd[which] = fd;
}

void vhu_vring_drop_fd(struct vhu_vring *v, enum vhu_vring_fd which)
{
	retire(v, which);
}

/* What the target has signalled there, for us and for who looks on. */
static uint64_t take(struct vhu_vring *v, enum vhu_vring_fd which)
{
	uint64_t value = drain(v->fd[which]);

	if (value && v->watch)
		v->watch->signal(v->watch->ctx, v, which, value);
	return value;
}

uint64_t vhu_vring_take_calls(struct vhu_vring *v)
{
	return take(v, VHU_VRING_CALL);
}

uint64_t vhu_vring_take_stale(struct vhu_vring *v)
{
	uint64_t sum = v->stale_count;

	v->stale_count = 0;
	for (size_t i = 0; i < v->n_stale; i++)
		sum = add_up(sum, drain(v->stale[i]));
	return sum;
}

uint64_t vhu_vring_take_errors(struct vhu_vring *v)
{
	return take(v, VHU_VRING_ERR);
}

uint64_t vhu_vring_take_kicks(struct vhu_vring *v)
{
	return drain(v->fd[VHU_VRING_KICK]);
}
