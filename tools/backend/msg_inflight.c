/*
 * The buffer of requests in flight: given, and given back.
 */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "fault.h"
#include "options.h"
#include "session.h"

static int read_only(int fd)
{
	char path[64];
	int ro;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ro = open(path, O_RDONLY | O_CLOEXEC);
	close(fd);
	return ro;
}

/* A size of 0 and no descriptor: we have none for that. */
enum result msg_get_inflight_fd(struct session *s, struct msg *m, struct reply *r)
{
	unsigned queues = (unsigned)FIELD(m->payload, INFLIGHT, num_queues);
	uint32_t queue_size = (uint32_t)FIELD(m->payload, INFLIGHT, queue_size);
	uint64_t size = inflight_size(s, queues, queue_size);
	int fd = size && !fault(inflight_get_none) ? inflight_make(size, queue_size) : -1;

	if (fault(inflight_zero_crash) && (!queues || !queue_size))
		fault_crash();
	if (fault(reply_get_silent) && !queue_size)
		return RES_HANDLED;
	s->inflight_given = true;
	if (fault(inflight_huge_crash) && (queues == UINT16_MAX || queue_size == C_VRING_SIZE_MAX))
		fault_crash();
	if (fault(inflight_read_only) && fd >= 0)
		fd = read_only(fd);
	r->size = PMAX_INFLIGHT;
	memset(r->payload, 0, r->size);
	FIELD_SET(r->payload, INFLIGHT, mmap_size, fd >= 0 ? size : 0);
	if (!fault(inflight_no_echo)) {
		FIELD_SET(r->payload, INFLIGHT, num_queues, queues);
		FIELD_SET(r->payload, INFLIGHT, queue_size, queue_size);
	}
	if (fault(inflight_length_20))
		r->size -= sizeof(uint32_t);
	r->fd = fd >= 0 ? fd : -1;
	return RES_OK;
}

enum result msg_set_inflight_fd(struct session *s, struct msg *m, struct reply *r)
{
	int err;

	if (fault(inflight_not_own) && s->inflight_given)
		return RES_REFUSED;
	if (s->n_started) {
		remark("SET_INFLIGHT_FD: rings run");
		return RES_REFUSED;
	}
	if (fault(inflight_early_crash) && !s->rings[0].num)
		fault_crash();
	for (unsigned i = 0; fault(inflight_drops_sizes) && i < s->n_rings; i++)
		s->rings[i].num = 0;
	err = inflight_open(s, m->fds[0], FIELD(m->payload, INFLIGHT, mmap_offset),
			    FIELD(m->payload, INFLIGHT, mmap_size),
			    (unsigned)FIELD(m->payload, INFLIGHT, num_queues),
			    (uint32_t)FIELD(m->payload, INFLIGHT, queue_size));
	if (err < 0)
		remark("SET_INFLIGHT_FD: the buffer cannot be used");
	return err < 0 ? RES_REFUSED : RES_OK;
}
