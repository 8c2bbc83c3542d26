/*
 * POSTCOPY_ADVISE, POSTCOPY_LISTEN, POSTCOPY_END.
 */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fault.h"
#include "options.h"
#include "session.h"

enum { FAULT_LEAK_MAX = 64 };

static int open_userfaultfd(void)
{
	struct uffdio_api api = {.api = UFFD_API};
	int device, fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0) {
		device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
		if (device >= 0) {
			fd = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
			close(device);
		}
	}
	if (fd >= 0 && ioctl(fd, UFFDIO_API, &api) < 0) {
		close(fd);
		fd = -1;
	}
	return fd;
}

bool postcopy_possible(void)
{
	static int known = -1;
	int fd;

	if (known < 0) {
		fd = open_userfaultfd();
		known = fd >= 0;
		if (fd >= 0)
			close(fd);
	}
	return known;
}

void postcopy_close(struct session *s)
{
	if (s->postcopy.fd >= 0)
		close(s->postcopy.fd);
	s->postcopy = (struct postcopy){.fd = -1};
}

static bool register_region(struct session *s, const struct region *r)
{
	struct uffdio_register reg = {.range = {.start = (uintptr_t)r->map.base, .len = r->map.len},
				      .mode = UFFDIO_REGISTER_MODE_MISSING};

	if (fault(postcopy_unregistered))
		return true;
	return ioctl(s->postcopy.fd, UFFDIO_REGISTER, &reg) == 0;
}

bool postcopy_is_ack(const struct session *s, const struct msg *m)
{
	return s->postcopy.ack_due && m->size == PMAX_U64 && !m->n_fds && !FIELD(m->payload, U64, u64) &&
	       (m->request == MSG_MAIN_SET_MEM_TABLE || m->request == MSG_MAIN_ADD_MEM_REG);
}

bool postcopy_tell_bases(struct session *s, struct msg *m, const struct region *regions, unsigned n,
			 unsigned at)
{
	for (unsigned i = 0; i < n; i++) {
		uint8_t *slot = m->payload + at + (size_t)i * PMAX_REGION;

		if (!register_region(s, &regions[i]))
			return false;
		if (!fault(postcopy_bases_own))
			FIELD_SET(slot, REGION, userspace_addr, (uintptr_t)regions[i].map.at);
		if (fault(postcopy_bases_size))
			FIELD_SET(slot, REGION, memory_size, regions[i].size - 1);
	}
	if (!fault(postcopy_no_bases))
		session_answer(s, m->request, m->payload, m->size, -1);
	s->postcopy.ack_due = true;
	return true;
}

enum result msg_postcopy_advise(struct session *s, struct msg *m, struct reply *r)
{
	static unsigned leaked;

	(void)m;
	if (fault(postcopy_refused_crash))
		fault_crash();
	if (fault(postcopy_advise_leak) && s->postcopy.fd >= 0 && leaked++ < FAULT_LEAK_MAX)
		s->postcopy.fd = -1;
	postcopy_close(s);
	if (!fault(postcopy_refused_no_flag))
		s->postcopy.fd = open_userfaultfd();
	s->answers_bare = s->postcopy.fd < 0 && fault(postcopy_refused_no_flag);
	if (s->postcopy.fd < 0) {
		remark("POSTCOPY_ADVISE: no userfaultfd");
		return RES_OK; /* an answer without descriptor */
	}
	r->fd = fault(postcopy_advise_eventfd) ? eventfd(0, EFD_CLOEXEC)
					       : fcntl(s->postcopy.fd, F_DUPFD_CLOEXEC, 3);
	return RES_OK;
}

enum result msg_postcopy_listen(struct session *s, struct msg *m, struct reply *r)
{
	(void)m;
	(void)r;
	if ((fault(postcopy_unadvised_crash) && s->postcopy.fd < 0) ||
	    (fault(postcopy_late_crash) && s->mem.n))
		fault_crash();
	if (s->postcopy.fd < 0 || s->mem.n)
		return RES_REFUSED;
	s->postcopy.listening = true;
	if (fault(postcopy_listen_twice))
		session_answer(s, m->request, (uint8_t[PMAX_U64]){0}, PMAX_U64, -1);
	return RES_OK;
}

enum result msg_postcopy_end(struct session *s, struct msg *m, struct reply *r)
{
	(void)m;
	if (fault(postcopy_end_early_crash) && !s->postcopy.listening)
		fault_crash();
	if (fault(postcopy_end_closes))
		return RES_END;
	for (unsigned i = 0; s->postcopy.fd >= 0 && i < s->mem.n; i++) {
		struct uffdio_range range = {.start = (uintptr_t)s->mem.regions[i].map.base,
					     .len = s->mem.regions[i].map.len};

		/* one that was never registered is none the worse */
		(void)!ioctl(s->postcopy.fd, UFFDIO_UNREGISTER, &range);
	}
	if (!fault(postcopy_end_stays))
		postcopy_close(s);
	FIELD_SET(r->payload, U64, u64, fault(postcopy_end_fails));
	r->size = PMAX_U64;
	return RES_OK;
}
