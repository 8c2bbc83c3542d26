/*
 * Mappings and address translation.
 *
 * A front-end can truncate the file behind a mapping at any time; touching what is gone raises SIGBUS.
 * Every mapping is therefore on a list, and the signal's handler puts empty private memory where the
 * file has gone: the guest loses its data, the program goes on.
 */
#include <errno.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "fault.h"
#include "memory.h"

enum {
	GUARDS_MAX = 1024,
	POINTER_MIN = 1 << 16, /* what a process may have for its own addresses */
	POINTER_BITS = 47,
};

static struct guard {
	volatile uintptr_t base;
	volatile size_t len, page;
} guards[GUARDS_MAX];

static void on_bus(int sig, siginfo_t *info, void *context)
{
	uintptr_t at = (uintptr_t)info->si_addr;

	(void)context;
	for (size_t i = 0; i < GUARDS_MAX; i++) {
		size_t page = guards[i].page;

		if (!guards[i].base || at < guards[i].base || at - guards[i].base >= guards[i].len)
			continue;
		at -= at % page;
		if (mmap((void *)at, page, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS,
			 -1, 0) != MAP_FAILED)
			return;
	}
	signal(sig, SIG_DFL); /* none of ours: the access is repeated, and fatal */
}

static int guard_add(void *base, size_t len, size_t page)
{
	struct sigaction sa = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO | SA_NODEFER};

	sigemptyset(&sa.sa_mask);
	sigaction(SIGBUS, &sa, NULL);
	for (size_t i = 0; i < GUARDS_MAX; i++) {
		if (guards[i].base)
			continue;
		guards[i].len = len;
		guards[i].page = page;
		guards[i].base = (uintptr_t)base;
		return 0;
	}
	return -ENOSPC;
}

static void guard_remove(void *base)
{
	for (size_t i = 0; i < GUARDS_MAX; i++) {
		if (guards[i].base == (uintptr_t)base)
			guards[i].base = 0;
	}
}

static size_t page_of(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) == 0 && (unsigned long)fs.f_type == HUGETLBFS_MAGIC)
		return (size_t)fs.f_bsize;
	return (size_t)sysconf(_SC_PAGESIZE);
}

int mapping_open(struct mapping *map, int fd, uint64_t offset, uint64_t size)
{
	size_t page = page_of(fd), lead = offset % page, len;
	struct stat st;
	void *base;
	int r;

	if (!size || offset + size < size || offset + size > INT64_MAX)
		return -EINVAL;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISREG(st.st_mode) && offset + size > (uint64_t)st.st_size && !fault(mem_fd_first))
		return -EINVAL;
	len = (size_t)(lead + size + page - 1) / page * page;
	base = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
		    (off_t)(offset - lead));
	if (base == MAP_FAILED)
		return -errno;
	r = guard_add(base, len, page);
	if (r < 0) {
		munmap(base, len);
		return r;
	}
	map->base = base;
	map->len = len;
	map->at = (uint8_t *)base + lead;
	return 0;
}

void mapping_close(struct mapping *map)
{
	if (!map->base)
		return;
	guard_remove(map->base);
	munmap(map->base, map->len);
	memset(map, 0, sizeof(*map));
}

int memory_init(struct memory *m, unsigned max)
{
	m->regions = calloc(max, sizeof(*m->regions));
	m->n = m->hidden = 0;
	m->max = max;
	return m->regions ? 0 : -ENOMEM;
}

void memory_done(struct memory *m)
{
	memory_clear(m);
	free(m->regions);
	m->regions = NULL;
}

void memory_clear(struct memory *m)
{
	while (m->n)
		region_close(&m->regions[--m->n]);
}

static bool shorter(int fd, uint64_t len)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size < len;
}

int region_open(struct region *r, int fd)
{
	uint64_t offset = r->offset;
	int err;

	memset(&r->map, 0, sizeof(r->map));
	if (!r->size || r->gpa + r->size - 1 < r->gpa || r->uva + r->size - 1 < r->uva) {
		if ((fault(mem_overflow_crash) && r->size) || (fault(mem_size_0_crash) && !r->size))
			fault_crash();
		return -EINVAL;
	}
	if (fault(mem_huge_only) && page_of(fd) == (size_t)sysconf(_SC_PAGESIZE))
		return -EINVAL;
	if (fault(mem_uva_pointer) && (r->uva < POINTER_MIN || (r->uva + r->size - 1) >> POINTER_BITS))
		return -EFAULT;
	if (fault(mem_offset))
		offset = 0;
	if (fault(mem_offset_32))
		offset = (uint32_t)offset;
	if (fault(mem_huge_offset_crash) && offset % page_of(fd) &&
	    !(offset % (uint64_t)sysconf(_SC_PAGESIZE)))
		fault_crash();
	if (fault(mem_unaligned_crash) && offset % (uint64_t)sysconf(_SC_PAGESIZE))
		fault_crash();
	err = mapping_open(&r->map, fd, offset, r->size);
	if ((fault(mem_short_file_crash) && shorter(fd, offset + r->size)) ||
	    (fault(mem_read_only_crash) && err == -EACCES))
		fault_crash();
	if (err < 0 && fault(mem_map_fail)) {
		r->map.at = (uint8_t *)MAP_FAILED;
		return 0;
	}
	return err;
}

void region_close(struct region *r)
{
	mapping_close(&r->map);
}

static bool apart(uint64_t a, uint64_t b, uint64_t a_size, uint64_t b_size)
{
	return a < b ? b - a >= a_size : a - b >= b_size;
}

bool region_fits(const struct region *regions, unsigned n, const struct region *r)
{
	for (unsigned i = 0; i < n; i++) {
		bool gpa = apart(regions[i].gpa, r->gpa, regions[i].size, r->size);
		bool uva = apart(regions[i].uva, r->uva, regions[i].size, r->size);

		if ((fault(mem_gpa_overlap_crash) && !gpa) || (fault(mem_uva_overlap_crash) && gpa && !uva))
			fault_crash();
		if (!gpa || !uva)
			return false;
	}
	return true;
}

uint8_t *memory_uva(const struct memory *m, uint64_t uva, uint64_t len)
{
	for (unsigned i = 0; i < m->n; i++) {
		const struct region *r = &m->regions[i];
		uint64_t start = fault(mem_ring_gpa) ? r->gpa : r->uva;

		if (fault(mem_uva_last))
			start = r->gpa + m->regions[m->n - 1].uva - m->regions[m->n - 1].gpa;

		if (uva >= start && uva - start < r->size)
			return r->size - (uva - start) >= len ? r->map.at + (uva - start) : NULL;
	}
	return NULL;
}

uint8_t *memory_user(const struct memory *m, uint64_t uva, uint64_t *len, uint64_t *ret_gpa)
{
	for (unsigned i = 0; i < m->n; i++) {
		const struct region *r = &m->regions[i];
		uint64_t at = uva - r->uva;

		if (uva < r->uva || at >= r->size)
			continue;
		if (r->size - at < *len)
			*len = r->size - at;
		if (ret_gpa)
			*ret_gpa = r->gpa + at;
		return r->map.at + at;
	}
	return NULL;
}
