/* Guest memory: what is mapped, what buffers get, and that no stray write goes unseen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <base/rng.h>
#include <mem/file.h>
#include <mem/mem.h>

#define MIB UINT64_C(0x100000)

static struct vhu_layout layout;

struct fixture {
	struct vhu_mem *m;
};

static void make_layout(uint64_t mib, size_t regions)
{
	struct vhu_layout_opts o = {.size = mib * MIB,
				    .regions = regions,
				    .backing = VHU_BACKING_MEMFD,
				    .rings = 1,
				    .queue_size = 128};

	assert_int_equal(vhu_layout_make(&o, &layout, NULL), 0);
}

static int setup(void **state)
{
	static struct fixture f;
	struct vhu_err err = {0};

	make_layout(8, 2);
	assert_int_equal(vhu_mem_new(&layout, &f.m, &err), 0);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	vhu_mem_free(((struct fixture *)*state)->m);
	return 0;
}

static void assert_same_place(const struct vhu_region_layout *a, const struct vhu_region_layout *b)
{
	assert_int_equal(a->gpa, b->gpa);
	assert_int_equal(a->uaddr, b->uaddr);
	assert_int_equal(a->size, b->size);
	assert_int_equal(a->offset, b->offset);
	assert_int_equal(a->backing, b->backing);
}

static uint64_t alloc(struct vhu_mem *m, uint64_t len, uint64_t align)
{
	uint64_t gpa = 0;

	assert_int_equal(vhu_mem_alloc(m, len, align, &gpa, NULL), 0);
	assert_int_equal(gpa % align, 0);
	assert_non_null(vhu_mem_at(m, gpa, len));
	assert_non_null(vhu_mem_at(m, gpa, 1));
	return gpa;
}

static void poke(struct vhu_mem *m, uint64_t gpa)
{
	uint8_t *p = vhu_mem_at(m, gpa, 1);

	assert_non_null(p);
	*p ^= 0x40;
}

/* A second mapping of the whole file, as a target has it. */
static uint8_t *as_target(const struct vhu_region *r, uint64_t *ret_len)
{
	void *p;

	*ret_len = r->at.offset + r->at.size;
	p = mmap(NULL, *ret_len, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, 0);
	assert_ptr_not_equal(p, MAP_FAILED);
	return p;
}

static void test_regions(void **state)
{
	struct vhu_mem *m = ((struct fixture *)*state)->m;

	assert_int_equal(vhu_mem_regions(m), 2);
	assert_null(vhu_mem_region(m, 2));
	assert_string_equal(vhu_mem_kind(m), "memfd");
	for (size_t i = 0; i < 2; i++) {
		const struct vhu_region *r = vhu_mem_region(m, i);
		uint64_t len;
		uint8_t *other = as_target(r, &len);
		struct stat st;

		assert_same_place(&r->at, &layout.region[i]);
		assert_false(r->hugetlb);
		assert_int_equal(fcntl(r->fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
		assert_int_equal(fstat(r->fd, &st), 0);
		assert_int_equal(st.st_size, len);
		r->host[0] = 0x11;
		r->host[r->at.size - 1] = 0x22;
		assert_int_equal(other[r->at.offset], 0x11);
		assert_int_equal(other[len - 1], 0x22);
		/* A target cannot take the ground from under us. */
		assert_int_equal(ftruncate(r->fd, 0), -1);
		assert_true(fcntl(r->fd, F_GET_SEALS) & F_SEAL_SHRINK);
		munmap(other, len);
	}
}

static void test_at(void **state)
{
	struct vhu_mem *m = ((struct fixture *)*state)->m;
	const struct vhu_region_layout *a = &layout.region[0], *b = &layout.region[1];
	const struct vhu_region *r = vhu_mem_region(m, 0);

	assert_ptr_equal(vhu_mem_at(m, a->gpa, a->size), r->host);
	assert_ptr_equal(vhu_mem_at(m, a->gpa + a->size - 1, 1), r->host + a->size - 1);
	assert_ptr_equal(vhu_mem_at(m, b->gpa, 1), vhu_mem_region(m, 1)->host);
	assert_null(vhu_mem_at(m, a->gpa - 1, 1));
	assert_null(vhu_mem_at(m, a->gpa - 1, 2));
	assert_null(vhu_mem_at(m, a->gpa, a->size + 1));
	assert_null(vhu_mem_at(m, a->gpa + a->size - 1, 2));
	assert_null(vhu_mem_at(m, a->gpa + 8, UINT64_MAX));
	assert_null(vhu_mem_at(m, UINT64_MAX, 1));
	assert_null(vhu_mem_at(m, 0, 1));
	/* The names that a front-end gives are no guest addresses. */
	assert_null(vhu_mem_at(m, a->uaddr, 1));
	assert_null(vhu_mem_at(m, a->offset, 1));
}

static void test_bad_layouts(void **state)
{
	static struct vhu_layout l;
	struct vhu_mem *m = (void *)1;
	struct vhu_err err = {0};

	(void)state;
	assert_int_equal(vhu_mem_new(&l, &m, &err), -EINVAL); /* no region */
	make_layout(4, 1);
	l = layout;
	l.region[0].size = 0;
	assert_int_equal(vhu_mem_new(&l, &m, &err), -EINVAL);
	l = layout;
	l.region[0].gpa = UINT64_MAX - 4095;
	assert_int_equal(vhu_mem_new(&l, &m, &err), -EINVAL);
	l = layout;
	l.region[0].offset = UINT64_MAX - 4095;
	assert_int_equal(vhu_mem_new(&l, &m, &err), -EINVAL);
	l = layout;
	l.region[0].offset = 100;
	assert_int_equal(vhu_mem_new(&l, &m, &err), -EINVAL);
	assert_non_null(strstr(err.text, "pages"));
	l = layout;
	l.region[0].backing = VHU_BACKING_HUGETLB;
	l.region[0].size += 4096;
	assert_int_equal(vhu_mem_new(&l, &m, &err), -EINVAL);
	l = layout;
	l.data[0].len += 4096; /* beyond its region */
	assert_int_equal(vhu_mem_new(&l, &m, &err), -EINVAL);
	l = layout;
	l.n_regions = VHU_LAYOUT_REGIONS_MAX + 1;
	assert_int_equal(vhu_mem_new(&l, &m, NULL), -EINVAL);
	assert_ptr_equal(m, (void *)1); /* untouched on failure */
	vhu_mem_free(NULL);
}

static unsigned open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void test_no_fd_left(void **state)
{
	static struct vhu_layout l;
	unsigned before = open_fds();
	struct vhu_mem *m;

	(void)state;
	make_layout(64, 8);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(vhu_mem_new(&layout, &m, NULL), 0);
		vhu_mem_free(m);
	}
	l = layout;
	l.region[7].offset = 1; /* checked before anything is made */
	assert_int_equal(vhu_mem_new(&l, &m, NULL), -EINVAL);
	assert_int_equal(open_fds(), before);
}

static void test_hugepages(void **state)
{
	uint64_t have = vhu_mem_free_hugepages();
	struct vhu_err err = {0};
	struct vhu_mem *m;

	(void)state;
	make_layout(8, 2);
	for (size_t i = 0; i < 2; i++)
		layout.region[i].backing = VHU_BACKING_HUGETLB;
	layout.region[1].size = (have + 1) * 2 * MIB; /* one more than there is */
	layout.n_data = 1;
	assert_int_equal(vhu_mem_new(&layout, &m, &err), -ENOMEM);
	assert_non_null(strstr(err.text, "huge pages"));
	assert_non_null(strstr(err.text, "nr_hugepages"));

	/* Who may choose takes plain memory then. */
	for (size_t i = 0; i < 2; i++)
		layout.region[i].backing = VHU_BACKING_AUTO;
	assert_int_equal(vhu_mem_new(&layout, &m, &err), 0);
	assert_string_equal(vhu_mem_kind(m), "memfd");
	vhu_mem_free(m);
}

/* Runs only where pages are reserved. */
static void test_hugetlb_sweep(void **state)
{
	uint64_t gpa, bad, len;
	struct vhu_mem *m;
	uint8_t *other;

	(void)state;
	make_layout(8, 2);
	for (size_t i = 0; i < 2; i++)
		layout.region[i].backing = VHU_BACKING_AUTO;
	assert_int_equal(vhu_mem_new(&layout, &m, NULL), 0);
	if (strcmp(vhu_mem_kind(m), "hugetlb") != 0) {
		vhu_mem_free(m);
		skip();
	}
	gpa = alloc(m, 100, 1);
	assert_true(vhu_mem_sweep(m, &bad));
	other = as_target(vhu_mem_region(m, 1), &len);
	other[len - 5] = 1; /* a page that our own mapping has never touched */
	assert_false(vhu_mem_sweep(m, &bad));
	assert_int_equal(bad, layout.region[1].gpa + layout.region[1].size - 5);
	assert_true(vhu_mem_sweep(m, &bad));
	assert_true(vhu_mem_release(m, gpa, &bad));
	munmap(other, len);
	vhu_mem_free(m);
}

static void test_add(void **state)
{
	struct vhu_mem *m = ((struct fixture *)*state)->m;
	struct vhu_region_layout at = {.gpa = UINT64_C(0x900000000),
				       .uaddr = 0x5000,
				       .size = 640 << 10,
				       .offset = 4096,
				       .backing = VHU_BACKING_MEMFD};
	const struct vhu_region *first = vhu_mem_region(m, 0);
	struct vhu_err err = {0};
	uint64_t bad;

	assert_int_equal(vhu_mem_add(m, &at, &err), 2);
	assert_ptr_equal(vhu_mem_region(m, 0), first); /* regions do not move */
	assert_same_place(&vhu_mem_region(m, 2)->at, &at);
	assert_non_null(vhu_mem_at(m, at.gpa, at.size));
	poke(m, at.gpa + at.size - 1);
	assert_false(vhu_mem_sweep(m, &bad));
	assert_int_equal(bad, at.gpa + at.size - 1);

	at.size = 0;
	assert_int_equal(vhu_mem_add(m, &at, &err), -EINVAL);
	at.size = 4096;
	at.backing = VHU_BACKING_HUGETLB;
	assert_int_equal(vhu_mem_add(m, &at, &err), -EINVAL);
	at.size = (vhu_mem_free_hugepages() + 1) * 2 * MIB;
	at.offset = 0;
	assert_int_equal(vhu_mem_add(m, &at, &err), -ENOMEM);
	at.backing = VHU_BACKING_AUTO;
	assert_int_equal(vhu_mem_add(m, &at, &err), 3);
	assert_int_equal(vhu_mem_regions(m), 4);
}

static void test_add_too_many(void **state)
{
	struct vhu_mem *m = ((struct fixture *)*state)->m;
	struct vhu_region_layout at = {.size = 4096, .backing = VHU_BACKING_MEMFD};

	for (size_t i = 2; i < VHU_LAYOUT_REGIONS_MAX; i++) {
		at.gpa = UINT64_C(0x900000000) + i * 8192;
		assert_int_equal(vhu_mem_add(m, &at, NULL), i);
	}
	assert_int_equal(vhu_mem_add(m, &at, NULL), -ENOSPC);
}

static void test_alloc_apart(void **state)
{
	struct vhu_mem *m = ((struct fixture *)*state)->m;
	uint64_t gpa[64], len[64], bad;
	struct vhu_rng rng;

	vhu_rng_init(&rng, 1);
	for (size_t i = 0; i < 64; i++) {
		len[i] = vhu_rng_below(&rng, 5000);
		gpa[i] = alloc(m, len[i], UINT64_C(1) << vhu_rng_below(&rng, 13));
		for (size_t k = 0; k < i; k++)
			assert_true(gpa[i] >= gpa[k] + len[k] + VHU_MEM_GUARD ||
				    gpa[k] >= gpa[i] + len[i] + VHU_MEM_GUARD);
		memset(vhu_mem_at(m, gpa[i], len[i]), 0xff, len[i]);
	}
	/* Buffers filled to the brim harm no canary. */
	assert_true(vhu_mem_sweep(m, &bad));
	for (size_t i = 0; i < 64; i++)
		assert_true(vhu_mem_release(m, gpa[(i * 29) % 64], &bad));
	assert_true(vhu_mem_sweep(m, &bad));
}

static void test_alloc_bad(void **state)
{
	struct vhu_mem *m = ((struct fixture *)*state)->m;
	struct vhu_err err = {0};
	uint64_t gpa = 7;

	assert_int_equal(vhu_mem_alloc(m, 1, 0, &gpa, &err), -EINVAL);
	assert_int_equal(vhu_mem_alloc(m, 1, 3, &gpa, &err), -EINVAL);
	assert_int_equal(vhu_mem_alloc(m, 9 * MIB, 1, &gpa, &err), -ENOSPC);
	assert_int_equal(vhu_mem_alloc(m, UINT64_MAX, 1, &gpa, &err), -ENOSPC);
	assert_int_equal(vhu_mem_alloc(m, UINT64_MAX - 100, 1, &gpa, NULL), -ENOSPC);
	assert_int_equal(vhu_mem_alloc(m, 1, UINT64_C(1) << 63, &gpa, &err), -ENOSPC);
	assert_int_equal(gpa, 7);
}

static void test_zero_length(void **state)
{
	struct vhu_mem *m = ((struct fixture *)*state)->m;
	uint64_t a = alloc(m, 0, 1), b = alloc(m, 0, 1), bad;

	assert_int_not_equal(a, b);
	poke(m, a); /* a write of one byte to a buffer of none */
	assert_false(vhu_mem_check(m, a, &bad));
	assert_int_equal(bad, a);
	assert_true(vhu_mem_release(m, a, &bad));
	assert_true(vhu_mem_release(m, b, &bad));
}

/* A buffer as large as its range has no room for canaries, and is given out all the same. */
static void test_edges(void **state)
{
	struct vhu_mem *m = ((struct fixture *)*state)->m;
	uint64_t base = layout.data[1].gpa, size = layout.data[1].len, gpa, bad;

	gpa = alloc(m, size, 1);
	assert_int_equal(gpa, base);
	poke(m, base + size - 1);
	assert_true(vhu_mem_check(m, gpa, &bad));
	assert_true(vhu_mem_release(m, gpa, &bad));

	/* One byte less leaves a canary of one byte. */
	gpa = alloc(m, size - 1, 1);
	assert_int_equal(gpa, base);
	poke(m, base + size - 1);
	assert_false(vhu_mem_release(m, gpa, &bad));
	assert_int_equal(bad, base + size - 1);
	assert_int_equal(vhu_mem_alloc(m, size + 1, 1, &gpa, NULL), -ENOSPC);
}

/* All of it can be used, over and over. */
static void test_use_up(void **state)
{
	struct vhu_mem *m = ((struct fixture *)*state)->m;
	uint64_t gpa[4096], bad;
	size_t first = 0;

	for (int round = 0; round < 3; round++) {
		size_t n = 0;

		while (n < 4096 && vhu_mem_alloc(m, 4096, 512, &gpa[n], NULL) == 0)
			n++;
		assert_in_range(n, 1000, 4095);
		if (round == 0)
			first = n;
		assert_int_equal(n, first); /* nothing is lost to fragments */
		for (size_t i = 0; i < n; i++)
			assert_true(vhu_mem_release(m, gpa[round == 1 ? n - 1 - i : i], &bad));
	}
	assert_true(vhu_mem_sweep(m, &bad));
	alloc(m, layout.data[1].len, 1); /* and in one piece again */
}

static void check_hit(struct vhu_mem *m, uint64_t gpa, uint64_t hit)
{
	uint64_t bad = 0;

	poke(m, hit);
	assert_false(vhu_mem_check(m, gpa, &bad));
	assert_int_equal(bad, hit);
	assert_true(vhu_mem_check(m, gpa, &bad)); /* told once */
	poke(m, hit);
	bad = 0;
	assert_false(vhu_mem_sweep(m, &bad));
	assert_int_equal(bad, hit);
	assert_true(vhu_mem_sweep(m, &bad));
}

static void test_canaries(void **state)
{
	struct vhu_mem *m = ((struct fixture *)*state)->m;
	uint64_t gpa = alloc(m, 513, 1), other = alloc(m, 100, 64), bad;

	check_hit(m, gpa, gpa - 1);
	check_hit(m, gpa, gpa - VHU_MEM_GUARD);
	check_hit(m, gpa, gpa + 513);
	check_hit(m, gpa, gpa + 513 + VHU_MEM_GUARD - 1);
	check_hit(m, other, other - 1);
	check_hit(m, other, other + 100);
	/* The buffer itself is the device's. */
	poke(m, gpa);
	poke(m, gpa + 512);
	assert_true(vhu_mem_sweep(m, &bad));
	poke(m, gpa + 520);
	assert_false(vhu_mem_release(m, gpa, &bad));
	assert_int_equal(bad, gpa + 520);
	assert_true(vhu_mem_release(m, other, &bad));
	/* Memory that was given out once is not judged. */
	poke(m, gpa + 520);
	assert_true(vhu_mem_sweep(m, &bad));
}

static void check_stray(struct vhu_mem *m, uint64_t gpa)
{
	uint64_t bad = 0;

	poke(m, gpa);
	assert_false(vhu_mem_sweep(m, &bad));
	assert_int_equal(bad, gpa);
	assert_true(vhu_mem_sweep(m, &bad));
	assert_int_equal(*(uint8_t *)vhu_mem_at(m, gpa, 1), 0);
}

static void test_sweep(void **state)
{
	struct vhu_mem *m = ((struct fixture *)*state)->m;
	const struct vhu_region_layout *a = &layout.region[0], *b = &layout.region[1];
	uint64_t bad, gpa = alloc(m, 4096, 4096);

	assert_true(vhu_mem_sweep(m, &bad));
	check_stray(m, layout.data[0].gpa + MIB);
	check_stray(m, a->gpa + a->size - 1);
	check_stray(m, b->gpa);
	check_stray(m, b->gpa + b->size - 1);
	check_stray(m, b->gpa + b->size / 2 + 4095);
	/* Two places: one after the other. */
	poke(m, b->gpa + 3 * 4096 + 7);
	poke(m, b->gpa + 9 * 4096);
	assert_false(vhu_mem_sweep(m, &bad));
	assert_int_equal(bad, b->gpa + 3 * 4096 + 7);
	assert_false(vhu_mem_sweep(m, &bad));
	assert_int_equal(bad, b->gpa + 9 * 4096);
	assert_true(vhu_mem_sweep(m, &bad));
	/* The rings judge themselves. */
	poke(m, a->gpa);
	poke(m, layout.data[0].gpa - 1);
	assert_true(vhu_mem_sweep(m, &bad));
	/* The pages before the region in the file are in no region. */
	assert_true(vhu_mem_release(m, gpa, &bad));
}

static void test_read_makes_no_write(void **state)
{
	struct vhu_mem *m = ((struct fixture *)*state)->m;
	const struct vhu_region *r = vhu_mem_region(m, 1);
	uint64_t len, bad, sum = 0;
	uint8_t *other = as_target(r, &len);
	struct stat st;

	for (uint64_t i = 0; i < len; i += 4096)
		sum += *(volatile uint8_t *)(other + i);
	assert_int_equal(sum, 0);
	other[r->at.offset - 1] = 1; /* in front of the region */
	assert_int_equal(fstat(r->fd, &st), 0);
	assert_true(st.st_blocks > 0);
	assert_true(vhu_mem_sweep(m, &bad));
	other[r->at.offset + 12345] = 1;
	assert_false(vhu_mem_sweep(m, &bad));
	assert_int_equal(bad, r->at.gpa + 12345);
	munmap(other, len);
}

/* Looking does not make the memory that it looks at. */
static void test_sweep_is_cheap(void **state)
{
	struct vhu_mem *m;
	struct stat st;
	uint64_t bad;

	(void)state;
	make_layout(64, 2);
	assert_int_equal(vhu_mem_new(&layout, &m, NULL), 0);
	alloc(m, 100, 1);
	assert_true(vhu_mem_sweep(m, &bad));
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(fstat(vhu_mem_region(m, i)->fd, &st), 0);
		assert_in_range(st.st_blocks, 0, 16);
	}
	vhu_mem_free(m);
}

static void test_except(void **state)
{
	struct vhu_mem *m = ((struct fixture *)*state)->m;
	uint64_t at = layout.region[1].gpa + MIB, bad;

	assert_int_equal(vhu_mem_except(m, at, 100), 0);
	assert_int_equal(vhu_mem_except(m, at + 200, 100), 0);
	assert_int_equal(vhu_mem_except(m, at + 90, 20), 0); /* overlaps the first */
	assert_int_equal(vhu_mem_except(m, at, 0), 0);
	assert_int_equal(vhu_mem_except(m, UINT64_MAX - 1, 100), 0);
	poke(m, at);
	poke(m, at + 109);
	poke(m, at + 200);
	poke(m, at + 299);
	assert_true(vhu_mem_sweep(m, &bad));
	check_stray(m, at - 1);
	check_stray(m, at + 110);
	check_stray(m, at + 199);
	check_stray(m, at + 300);
	/* Excepted bytes keep what they hold while the page around is put right. */
	assert_int_not_equal(*(uint8_t *)vhu_mem_at(m, at + 200, 1), 0);
}

static void test_zero(void **state)
{
	struct vhu_mem *m = ((struct fixture *)*state)->m;
	uint64_t at = layout.region[0].gpa, bad = 0;

	assert_true(vhu_mem_zero(m, at, layout.region[0].size, &bad));
	poke(m, at + 5000);
	assert_true(vhu_mem_zero(m, at, 5000, &bad));
	assert_true(vhu_mem_zero(m, at + 5001, 8192, &bad));
	assert_true(vhu_mem_zero(m, at + 5000, 0, &bad));
	assert_false(vhu_mem_zero(m, at + 4999, 2, &bad));
	assert_int_equal(bad, at + 5000);
}

/* --- files of others -------------------------------------------------------------------------------- */

static void read_last(void *ctx)
{
	volatile uint8_t *last = (uint8_t *)ctx + 8191;

	*last += 1;
}

static void test_guarded(void **state)
{
	int fd = memfd_create("theirs", MFD_CLOEXEC);
	uint8_t *map;

	(void)state;
	assert_int_equal(ftruncate(fd, 8192), 0);
	map = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(map != MAP_FAILED);
	assert_true(vhu_mem_guarded(read_last, map));
	assert_int_equal(map[8191], 1);
	assert_int_equal(ftruncate(fd, 4096), 0);
	assert_false(vhu_mem_guarded(read_last, map));
	assert_false(vhu_mem_guarded(read_last, map));
	assert_int_equal(ftruncate(fd, 8192), 0);
	assert_true(vhu_mem_guarded(read_last, map));
	munmap(map, 8192);
	close(fd);
}

static void test_sealed(void **state)
{
	int fd = vhu_memfd("ours", 8192, 0, 0);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 4096), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(ftruncate(fd, 16384), 0);
	close(fd);
	fd = vhu_memfd("ours", 8192, 0, F_SEAL_GROW);
	assert_int_equal(ftruncate(fd, 16384), -1);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_regions, setup, teardown),
		cmocka_unit_test_setup_teardown(test_at, setup, teardown),
		cmocka_unit_test(test_bad_layouts),
		cmocka_unit_test(test_no_fd_left),
		cmocka_unit_test(test_hugepages),
		cmocka_unit_test(test_hugetlb_sweep),
		cmocka_unit_test_setup_teardown(test_add, setup, teardown),
		cmocka_unit_test_setup_teardown(test_add_too_many, setup, teardown),
		cmocka_unit_test_setup_teardown(test_alloc_apart, setup, teardown),
		cmocka_unit_test_setup_teardown(test_alloc_bad, setup, teardown),
		cmocka_unit_test_setup_teardown(test_zero_length, setup, teardown),
		cmocka_unit_test_setup_teardown(test_edges, setup, teardown),
		cmocka_unit_test_setup_teardown(test_use_up, setup, teardown),
		cmocka_unit_test_setup_teardown(test_canaries, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sweep, setup, teardown),
		cmocka_unit_test_setup_teardown(test_read_makes_no_write, setup, teardown),
		cmocka_unit_test(test_sweep_is_cheap),
		cmocka_unit_test(test_guarded),
		cmocka_unit_test(test_sealed),
		cmocka_unit_test_setup_teardown(test_except, setup, teardown),
		cmocka_unit_test_setup_teardown(test_zero, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
