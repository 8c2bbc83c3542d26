/* Files that are shared with a target. */
#include "mem/file.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/util.h"

int vhu_memfd(const char *name, uint64_t size, unsigned flags, int seals)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);
	int why;

	if (fd < 0)
		return -1;
	/* EINVAL: kernels that cannot seal huge pages. */
	if (ftruncate(fd, (off_t)size) == 0 &&
	    (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | seals) == 0 || errno == EINVAL))
		return fd;
	why = errno;
	close(fd);
	errno = why;
	return -1;
}

static _Thread_local sigjmp_buf *way_out;

static void on_sigbus(int sig)
{
	if (way_out)
		siglongjmp(*way_out, 1);
	signal(sig, SIG_DFL); /* another thread's, and no business of ours */
}

bool vhu_mem_guarded(void (*look)(void *ctx), void *ctx)
{
	const struct sigaction act = {.sa_handler = on_sigbus};
	struct sigaction before;
	sigjmp_buf here;
	bool whole = false;

	sigaction(SIGBUS, &act, &before);
	way_out = &here;
	if (sigsetjmp(here, 1) == 0) {
		look(ctx);
		whole = true;
	}
	way_out = NULL;
	sigaction(SIGBUS, &before, NULL);
	return whole;
}
