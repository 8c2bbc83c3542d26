/* Regions: files that the target maps too. */
#include "state.h"

#include "mem/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum { HUGE_PAGE = 2 << 20 };

uint64_t vhu_mem_free_hugepages(void)
{
	_cleanup_(vhu_fclosep) FILE *f =
		fopen("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "re");
	unsigned long long pages;

	if (!f || fscanf(f, "%llu", &pages) != 1)
		return 0;
	return pages;
}

/* A target maps from the file's start, so that the bytes before the region count as well. */
static uint64_t hugepages_of(const struct vhu_region_layout *at)
{
	return (at->offset + at->size) / HUGE_PAGE;
}

static bool can_be_huge(const struct vhu_region_layout *at)
{
	return at->size % HUGE_PAGE == 0 && at->offset % HUGE_PAGE == 0;
}

static int open_file(const struct vhu_region_layout *at, bool huge, struct vhu_err *err)
{
	int fd = vhu_memfd("vhu-guest", at->offset + at->size, huge ? MFD_HUGETLB | MFD_HUGE_2MB : 0,
			   F_SEAL_GROW | F_SEAL_SEAL);

	if (fd < 0)
		return vhu_err_errno(err, -errno, "guest memory: cannot make a %s file of %llu bytes",
				     huge ? "huge page" : "memory",
				     (unsigned long long)(at->offset + at->size));
	return fd;
}

static int check_layout(const struct vhu_region_layout *at, struct vhu_err *err)
{
	if (at->size == 0 || at->gpa + at->size <= at->gpa || at->offset + at->size < at->offset ||
	    at->offset + at->size > INT64_MAX)
		return vhu_err_set(err, -EINVAL,
				   "guest memory: a region of %#llx bytes at %#llx, offset %#llx",
				   (unsigned long long)at->size, (unsigned long long)at->gpa,
				   (unsigned long long)at->offset);
	if (at->offset % (uint64_t)sysconf(_SC_PAGESIZE))
		return vhu_err_set(err, -EINVAL, "guest memory: offset %#llx is not a whole number of pages",
				   (unsigned long long)at->offset);
	if (at->backing == VHU_BACKING_HUGETLB && !can_be_huge(at))
		return vhu_err_set(err, -EINVAL,
				   "guest memory: a region of huge pages is not a multiple of 2 MiB");
	return 0;
}

/* Takes the file, also on failure. */
static int map_region(struct vhu_mem *m, const struct vhu_region_layout *at, int fd, bool huge,
		      struct vhu_err *err)
{
	struct vhu_region *r = calloc(1, sizeof(*r));
	void *host = r ? mmap(NULL, at->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)at->offset)
		       : MAP_FAILED;

	if (host == MAP_FAILED) {
		int code = r ? -errno : -ENOMEM;

		close(fd);
		free(r);
		return vhu_err_errno(err, code, "guest memory: cannot map %llu bytes",
				     (unsigned long long)at->size);
	}
	*r = (struct vhu_region){.at = *at, .fd = fd, .host = host, .hugetlb = huge};
	m->region[m->n_regions++] = r;
	return 0;
}

static int make_region(struct vhu_mem *m, const struct vhu_region_layout *at, bool huge, struct vhu_err *err)
{
	int fd = open_file(at, huge, err);

	return fd < 0 ? fd : map_region(m, at, fd, huge, err);
}

static void drop_regions(struct vhu_mem *m)
{
	while (m->n_regions > 0) {
		struct vhu_region *r = m->region[--m->n_regions];

		munmap(r->host, r->at.size);
		vhu_close(&r->fd);
		free(r);
	}
}

static int no_hugepages(uint64_t need, uint64_t have, struct vhu_err *err)
{
	return vhu_err_set(
		err, -ENOMEM,
		"guest memory: %llu huge pages of 2 MiB are needed and %llu are free; reserve them with "
		"'echo %llu > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages'",
		(unsigned long long)need, (unsigned long long)have, (unsigned long long)need);
}

static int make_regions(struct vhu_mem *m, const struct vhu_layout *l, bool huge, struct vhu_err *err)
{
	for (size_t i = 0; i < l->n_regions; i++) {
		const struct vhu_region_layout *at = &l->region[i];
		bool h = at->backing == VHU_BACKING_HUGETLB || (at->backing == VHU_BACKING_AUTO && huge);
		int r = make_region(m, at, h, err);

		if (r < 0) {
			drop_regions(m);
			return r;
		}
	}
	return 0;
}

/* All regions that may choose get huge pages, or none, so that a run is of one kind. */
static int choose_and_make(struct vhu_mem *m, const struct vhu_layout *l, struct vhu_err *err)
{
	uint64_t must = 0, may = 0, have;
	bool fit = true;
	int r;

	for (size_t i = 0; i < l->n_regions; i++) {
		const struct vhu_region_layout *at = &l->region[i];

		r = check_layout(at, err);
		if (r < 0)
			return r;
		if (at->backing == VHU_BACKING_HUGETLB)
			must += hugepages_of(at);
		else if (at->backing == VHU_BACKING_AUTO) {
			may += hugepages_of(at);
			fit = fit && can_be_huge(at);
		}
	}
	have = must || (may && fit) ? vhu_mem_free_hugepages() : 0;
	if (must > have)
		return no_hugepages(must, have, err);
	if (may && fit && must + may <= have && make_regions(m, l, true, NULL) == 0)
		return 0;
	r = make_regions(m, l, false, err);
	/* Someone else took the pages between the count and the use of them. */
	return r < 0 && must ? no_hugepages(must, vhu_mem_free_hugepages(), err) : r;
}

/* Memory in which nothing is yet. */
static int begin(const struct vhu_layout *layout, struct vhu_mem **ret, struct vhu_err *err)
{
	if (layout->n_regions == 0 || layout->n_regions > VHU_LAYOUT_REGIONS_MAX ||
	    layout->n_data > VHU_LAYOUT_REGIONS_MAX)
		return vhu_err_set(err, -EINVAL, "guest memory: %zu regions", layout->n_regions);
	*ret = calloc(1, sizeof(**ret));
	return *ret ? 0 : vhu_err_set(err, -ENOMEM, "guest memory: out of memory");
}

/* Divides it, once it has its regions. `code` is what making those came to. */
static int finish(struct vhu_mem *m, const struct vhu_layout *layout, int code, struct vhu_mem **ret,
		  struct vhu_err *err)
{
	if (code == 0) {
		code = vhu_mem_ranges_init(m, layout);
		if (code < 0)
			vhu_err_errno(err, code, "guest memory: cannot divide it");
	}
	if (code < 0)
		vhu_mem_free(m);
	else
		*ret = m;
	return code;
}

int vhu_mem_new(const struct vhu_layout *layout, struct vhu_mem **ret, struct vhu_err *err)
{
	struct vhu_mem *m;
	int r = begin(layout, &m, err);

	return r < 0 ? r : finish(m, layout, choose_and_make(m, layout, err), ret, err);
}

static int adopt(struct vhu_mem *m, const struct vhu_region_layout *at, int fd, struct vhu_err *err)
{
	struct stat st;
	int r = check_layout(at, err), own;

	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0 || (uint64_t)st.st_size < at->offset + at->size)
		return vhu_err_set(err, -EINVAL, "guest memory: the file ends before the region at %#llx",
				   (unsigned long long)at->gpa);
	own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (own < 0)
		return vhu_err_errno(err, -errno, "guest memory");
	return map_region(m, at, own, false, err);
}

int vhu_mem_adopt(const struct vhu_layout *layout, const int *fds, struct vhu_mem **ret, struct vhu_err *err)
{
	struct vhu_mem *m;
	int r = begin(layout, &m, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < layout->n_regions && r == 0; i++)
		r = adopt(m, &layout->region[i], fds[i], err);
	return finish(m, layout, r, ret, err);
}

void vhu_mem_free(struct vhu_mem *m)
{
	if (!m)
		return;
	vhu_mem_ranges_done(m);
	drop_regions(m);
	free(m->except);
	free(m);
}

size_t vhu_mem_regions(const struct vhu_mem *m)
{
	return m->n_regions;
}

const struct vhu_region *vhu_mem_region(const struct vhu_mem *m, size_t i)
{
	return i < m->n_regions ? m->region[i] : NULL;
}

int vhu_mem_add(struct vhu_mem *m, const struct vhu_region_layout *at, struct vhu_err *err)
{
	uint64_t need, have;
	bool huge;
	int r = check_layout(at, err);

	if (r < 0)
		return r;
	if (m->n_regions == VHU_LAYOUT_REGIONS_MAX)
		return vhu_err_set(err, -ENOSPC, "guest memory: more than %d regions",
				   VHU_LAYOUT_REGIONS_MAX);
	need = hugepages_of(at);
	have = at->backing == VHU_BACKING_MEMFD ? 0 : vhu_mem_free_hugepages();
	if (at->backing == VHU_BACKING_HUGETLB && have < need)
		return no_hugepages(need, have, err);
	huge = at->backing == VHU_BACKING_HUGETLB ||
	       (at->backing == VHU_BACKING_AUTO && can_be_huge(at) && have >= need);
	r = make_region(m, at, huge, err);
	if (r < 0 && huge && at->backing == VHU_BACKING_AUTO)
		r = make_region(m, at, false, err);
	return r < 0 ? r : (int)m->n_regions - 1;
}

const char *vhu_mem_kind(const struct vhu_mem *m)
{
	size_t huge = 0;

	for (size_t i = 0; i < m->n_regions; i++)
		huge += m->region[i]->hugetlb;
	return huge == 0 ? "memfd" : huge == m->n_regions ? "hugetlb" : "mixed";
}

void *vhu_mem_at(const struct vhu_mem *m, uint64_t gpa, uint64_t len)
{
	for (size_t i = 0; i < m->n_regions; i++) {
		const struct vhu_region *r = m->region[i];
		uint64_t at = gpa - r->at.gpa; /* huge if gpa lies below */

		if (at < r->at.size && len <= r->at.size - at)
			return r->host + at;
	}
	return NULL;
}

uint64_t vhu_mem_device_address(const struct vhu_mem *m, uint64_t gpa)
{
	return gpa + m->shift;
}

void vhu_mem_set_shift(struct vhu_mem *m, uint64_t shift)
{
	m->shift = shift;
}
