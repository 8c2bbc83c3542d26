/*
 * The front-end's part of postcopy: pages that have not arrived are waited for by the back-end, told through
 * the userfaultfd that it gave, and brought here at once, for all that the case sees. The descriptor stays
 * until POSTCOPY_END is answered: as long as one is open the ranges stay registered.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>

#include "internal.h"
#include "wire/frame.h"

enum { PAGE = 4096, HUGE_PAGE = 2 << 20, EVENTS = 16 };

struct page {
	uint64_t gpa, size;
};

/* The region of the table that the back-end answered in which it has this address. */
static const struct vhu_postcopy_region *region_at(const struct vhu_postcopy_run *p, uint64_t address)
{
	for (size_t i = 0; i < p->n_regions; i++)
		if (address >= p->regions[i].base && address - p->regions[i].base < p->regions[i].size)
			return &p->regions[i];
	return NULL;
}

static void remember(struct vhu_postcopy_run *p, uint64_t gpa)
{
	if (p->n_seen < VHU_ARRAY_SIZE(p->seen))
		p->seen[p->n_seen++] = gpa;
}

/* A page of the file that was never touched comes into being, as zeros. */
static void make_page(struct vhu_run *r, uint64_t gpa)
{
	uint8_t *page = r->driver ? vhu_mem_at(vhu_driver_mem(r->driver), gpa, 1) : NULL;

	if (page)
		__atomic_fetch_or(page, 0, __ATOMIC_SEQ_CST);
}

static void serve(struct vhu_run *r, uint64_t address)
{
	static const uint8_t zeros[PAGE] __attribute__((aligned(PAGE)));
	const struct vhu_postcopy_region *at = region_at(&r->postcopy, address);
	uint64_t start = address - address % PAGE;
	struct uffdio_copy copy = {.dst = start, .src = (uintptr_t)zeros, .len = PAGE};
	struct uffdio_range range = {.start = start, .len = PAGE};

	if (!at) {
		r->postcopy.n_stray++;
	} else {
		remember(&r->postcopy, at->gpa + (address - at->base));
		make_page(r, at->gpa + (address - at->base));
	}
	/*
	 * One that is there already is only to be told of; where the kernel had no time (EAGAIN) who waits
	 * shall ask again. What cannot be served shows as a hang.
	 */
	if (ioctl(r->postcopy.fd, UFFDIO_COPY, &copy) < 0)
		(void)!ioctl(r->postcopy.fd, UFFDIO_WAKE, &range);
}

static void on_fault(void *ctx, uint32_t events)
{
	struct vhu_run *r = ctx;
	struct uffd_msg msgs[EVENTS];
	ssize_t n = read(r->postcopy.fd, msgs, sizeof(msgs));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		vhu_source_free(r->postcopy.source);
		r->postcopy.source = NULL;
		return;
	}
	for (size_t i = 0; i < (size_t)n / sizeof(*msgs); i++)
		if (msgs[i].event == UFFD_EVENT_PAGEFAULT)
			serve(r, msgs[i].arg.pagefault.address);
}

static void advised(struct vhu_run *r, const struct vhu_frame *f)
{
	struct vhu_err err = {0};

	if (f->n_fds != 1 || vhu_fd_kind(f->fds[0]) != VHU_FDK_USERFAULT)
		return;
	vhu_run_postcopy_release(r);
	r->postcopy.fd = fcntl(f->fds[0], F_DUPFD_CLOEXEC, 3);
	/* Whoever made it decides how it is read; we wait in the loop alone. */
	if (r->postcopy.fd < 0 ||
	    fcntl(r->postcopy.fd, F_SETFL, fcntl(r->postcopy.fd, F_GETFL) | O_NONBLOCK) < 0 ||
	    vhu_loop_add_fd(r->e->loop, r->postcopy.fd, EPOLLIN, on_fault, r, &r->postcopy.source, &err) < 0)
		vhu_run_broken(r, "userfaultfd: %s", err.text[0] ? err.text : strerror(errno));
}

static void add_region(struct vhu_postcopy_run *p, const struct vhu_frame *f, enum vhu_payload pl, size_t i)
{
	struct vhu_postcopy_region at = {0};

	if (p->n_regions < VHU_ARRAY_SIZE(p->regions) &&
	    vhu_frame_region(f, pl, i, "guest_phys_addr", &at.gpa) &&
	    vhu_frame_region(f, pl, i, "memory_size", &at.size) &&
	    vhu_frame_region(f, pl, i, "userspace_addr", &at.base))
		p->regions[p->n_regions++] = at;
}

void vhu_run_postcopy_saw(struct vhu_conn *c, const struct vhu_frame *f)
{
	struct vhu_run *r = c->r;
	uint64_t n = 0;

	if (f->request == VHU_ID_POSTCOPY_ADVISE)
		advised(r, f);
	else if (f->request == VHU_ID_POSTCOPY_END)
		vhu_run_postcopy_release(r);
	if (r->postcopy.fd < 0)
		return;
	if (f->request == VHU_ID_ADD_MEM_REG && f->len > sizeof(uint64_t))
		add_region(&r->postcopy, f, VHU_PL_MEM_REG, 0);
	if (f->request != VHU_ID_SET_MEM_TABLE || !vhu_frame_get(f, VHU_PL_MEM_TABLE, "num_regions", &n))
		return;
	r->postcopy.n_regions = 0;
	for (size_t i = 0; i < VHU_MIN(n, (uint64_t)VHU_C_MEM_TABLE_REGIONS); i++)
		add_region(&r->postcopy, f, VHU_PL_MEM_TABLE, i);
}

/* The page that holds this address. A huge one is told of by its first address, whatever was touched. */
static struct page page_of(const struct vhu_run *r, uint64_t gpa)
{
	const struct vhu_mem *mem = r->driver ? vhu_driver_mem(r->driver) : NULL;

	for (size_t i = 0; mem && i < vhu_mem_regions(mem); i++) {
		const struct vhu_region *at = vhu_mem_region(mem, i);
		uint64_t size = at->hugetlb ? HUGE_PAGE : PAGE;

		if (gpa >= at->at.gpa && gpa - at->at.gpa < at->at.size)
			return (struct page){gpa - (gpa - at->at.gpa) % size, size};
	}
	return (struct page){gpa - gpa % PAGE, PAGE};
}

bool vhu_run_postcopy_faulted(const struct vhu_run *r, uint64_t gpa, uint64_t len)
{
	for (size_t i = 0; i < r->postcopy.n_seen; i++) {
		struct page page = page_of(r, r->postcopy.seen[i]);

		if (gpa < page.gpa + page.size && page.gpa < gpa + len)
			return true;
	}
	return false;
}

void vhu_run_postcopy_release(struct vhu_run *r)
{
	vhu_source_free(r->postcopy.source);
	r->postcopy.source = NULL;
	if (r->postcopy.fd >= 0)
		vhu_close(&r->postcopy.fd);
	r->postcopy.n_regions = 0;
}
