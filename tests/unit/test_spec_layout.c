/* Where regions and rings lie: nothing overlaps, nothing agrees by chance, and what does not fit is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <spec/layout.h>

#define MIB  UINT64_C(0x100000)
#define PAGE UINT64_C(4096)

static struct vhu_layout layout; /* too large for a stack frame */

static struct vhu_layout_opts opts_of(uint64_t mib, size_t regions, size_t rings, uint16_t queue_size)
{
	return (struct vhu_layout_opts){
		.size = mib * MIB,
		.regions = regions,
		.rings = rings,
		.queue_size = queue_size,
	};
}

static void make(const struct vhu_layout_opts *o)
{
	struct vhu_err err = {0};
	int r = vhu_layout_make(o, &layout, &err);

	if (r < 0)
		print_error("%s\n", err.text);
	assert_int_equal(r, 0);
}

static void refuse(const struct vhu_layout_opts *o, const char *word)
{
	struct vhu_err err = {0};

	memset(&layout, 0x5a, sizeof(layout));
	assert_int_equal(vhu_layout_make(o, &layout, &err), -EINVAL);
	assert_non_null(strstr(err.text, word));
	/* Untouched on failure, and the text is optional. */
	for (size_t i = 0; i < sizeof(layout); i++)
		assert_int_equal(((unsigned char *)&layout)[i], 0x5a);
	assert_int_equal(vhu_layout_make(o, &layout, NULL), -EINVAL);
}

static bool apart(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
	return a + a_len <= b || b + b_len <= a;
}

/* What holds for every layout. */
static void check_regions(const struct vhu_layout_opts *o)
{
	uint64_t sum = 0;

	assert_int_equal(layout.n_regions, o->regions);
	for (size_t i = 0; i < layout.n_regions; i++) {
		const struct vhu_region_layout *r = &layout.region[i];

		sum += r->size;
		assert_true(r->size > 0);
		assert_int_equal(r->size % VHU_REGION_ALIGN, 0);
		assert_int_equal(r->gpa % VHU_REGION_ALIGN, 0);
		assert_int_equal(r->offset % VHU_REGION_ALIGN, 0);
		assert_int_equal(r->uaddr % PAGE, 0);
		assert_int_equal(r->backing, o->backing);
		/* An address of one kind is none of another. */
		assert_true(r->offset > 0);
		assert_true(apart(r->gpa, r->size, r->uaddr, r->size));
		assert_true(apart(r->gpa, r->size, 0, r->offset + r->size));
		for (size_t j = 0; j < layout.n_regions; j++) {
			const struct vhu_region_layout *other = &layout.region[j];

			if (i == j)
				continue;
			assert_true(apart(r->gpa, r->size, other->gpa, other->size));
			assert_true(apart(r->uaddr, r->size, other->uaddr, other->size));
			assert_true(apart(r->gpa, r->size, other->uaddr, other->size));
			/* One constant does not translate two regions. */
			assert_int_not_equal(r->uaddr - r->gpa, other->uaddr - other->gpa);
		}
	}
	assert_int_equal(sum, o->size);
}

struct part {
	uint64_t gpa, len;
};

static void check_rings(const struct vhu_layout_opts *o)
{
	static struct part part[4 * VHU_LAYOUT_RINGS_MAX + VHU_LAYOUT_REGIONS_MAX];
	size_t n = 0;

	assert_int_equal(layout.n_rings, o->rings);
	for (size_t i = 0; i < layout.n_rings; i++) {
		const struct vhu_ring_layout *r = &layout.ring[i];
		uint64_t tables = (uint64_t)r->size * r->indirect_entries * 16;

		assert_int_equal(r->size, o->queue_size);
		assert_int_equal(r->packed, o->packed);
		assert_int_equal(r->desc_len, vhu_ring_desc_len(r->size));
		assert_int_equal(r->avail_len, vhu_ring_avail_len(r->size, r->packed));
		assert_int_equal(r->used_len, vhu_ring_used_len(r->size, r->packed));
		assert_true(r->indirect_entries >= 1 && r->indirect_entries <= r->size);
		part[n++] = (struct part){r->desc, r->desc_len};
		part[n++] = (struct part){r->avail, r->avail_len};
		part[n++] = (struct part){r->used, r->used_len};
		part[n++] = (struct part){r->indirect, tables};
	}
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(part[i].gpa % PAGE, 0);
		assert_ptr_equal(vhu_layout_region(&layout, part[i].gpa, part[i].len), &layout.region[0]);
	}
	/* They lie in order, so neighbours tell it all: each begins on a page of its own. */
	for (size_t i = 1; i < n; i++)
		assert_true(part[i].gpa >= (part[i - 1].gpa + part[i - 1].len + PAGE - 1) / PAGE * PAGE);
	for (size_t i = 0; i < layout.n_data; i++) {
		uint64_t gpa = layout.data[i].gpa, len = layout.data[i].len;

		assert_true(len > 0);
		assert_non_null(vhu_layout_region(&layout, gpa, len));
		for (size_t j = 0; j < n; j++)
			assert_true(apart(gpa, len, part[j].gpa, part[j].len));
		for (size_t j = 0; j < i; j++)
			assert_true(apart(gpa, len, layout.data[j].gpa, layout.data[j].len));
	}
	assert_true(layout.n_data > 0);
}

static void check(const struct vhu_layout_opts *o)
{
	make(o);
	check_regions(o);
	check_rings(o);
}

static void ring_parts_have_their_sizes(void **state)
{
	/* Worked out by hand from the structures of the standard. */
	assert_int_equal(vhu_ring_desc_len(128), 2048);
	assert_int_equal(vhu_ring_avail_len(128, false), 262);
	assert_int_equal(vhu_ring_used_len(128, false), 1030);
	assert_int_equal(vhu_ring_desc_len(32768), 524288);
	assert_int_equal(vhu_ring_avail_len(32768, false), 65542);
	assert_int_equal(vhu_ring_used_len(32768, false), 262150);
	assert_int_equal(vhu_ring_desc_len(100), 1600);
	assert_int_equal(vhu_ring_avail_len(100, true), 4);
	assert_int_equal(vhu_ring_used_len(100, true), 4);
}

static void default_layout(void **state)
{
	struct vhu_layout_opts o = opts_of(64, 1, 1, 128);

	check(&o);
	assert_int_equal(layout.ring[0].indirect_entries, 8);
	assert_true(layout.data[0].len > 63 * MIB);
	/* The log of a default layout stays small. */
	assert_true(layout.region[0].gpa + layout.region[0].size <= UINT64_C(8) << 30);
	assert_true(layout.region[0].gpa > UINT32_MAX);
}

static void layouts_of_many_shapes(void **state)
{
	static const size_t regions[] = {1, 2, 3, 7, 8, 32, 509, VHU_LAYOUT_REGIONS_MAX};
	static const uint16_t sizes[] = {1, 2, 4, 8, 64, 128, 256, 1024};

	for (size_t i = 0; i < VHU_ARRAY_SIZE(regions); i++) {
		for (size_t j = 0; j < VHU_ARRAY_SIZE(sizes); j++) {
			struct vhu_layout_opts o = opts_of(64 + 2 * regions[i], regions[i], 4, sizes[j]);

			o.backing = VHU_BACKING_MEMFD;
			o.packed = j % 2;
			check(&o);
			assert_true(layout.region[o.regions - 1].gpa + layout.region[o.regions - 1].size <=
				    UINT64_C(8) << 30);
		}
	}
}

static void most_rings_fit_into_64_mib(void **state)
{
	struct vhu_layout_opts o = opts_of(64, 1, VHU_LAYOUT_RINGS_MAX, 128);

	check(&o);
	o.packed = true;
	o.queue_size = 100;
	check(&o);
}

static void large_rings(void **state)
{
	struct vhu_layout_opts o = opts_of(64, 1, 4, 32768);

	check(&o);
	assert_int_equal(layout.ring[3].indirect_entries, 8);
}

static void small_rings_have_large_tables(void **state)
{
	struct vhu_layout_opts o = opts_of(64, 1, 1, 64);

	check(&o);
	assert_int_equal(layout.ring[0].indirect_entries, 16);
	o.queue_size = 16;
	check(&o);
	assert_int_equal(layout.ring[0].indirect_entries, 16);
	o.queue_size = 2;
	check(&o);
	assert_int_equal(layout.ring[0].indirect_entries, 2);
}

/* Parts at 16, 2 and 4 bytes and at no more, still apart from each other and from the data. */
static void tight_rings(void **state)
{
	static const uint16_t sizes[] = {1, 2, 128, 32768};

	for (size_t i = 0; i < VHU_ARRAY_SIZE(sizes); i++) {
		struct vhu_layout_opts o = opts_of(128, 1, 3, sizes[i]);

		o.tight = true;
		make(&o);
		for (size_t q = 0; q < layout.n_rings; q++) {
			const struct vhu_ring_layout *r = &layout.ring[q];

			assert_int_equal(r->desc % 32, 16);
			assert_int_equal(r->avail % 4, 2);
			assert_int_equal(r->used % 8, 4);
			assert_true(r->desc + r->desc_len < r->avail);
			assert_true(r->avail + r->avail_len < r->used);
			assert_true(r->used + r->used_len <= r->indirect);
			assert_true(!q || layout.ring[q - 1].indirect < r->desc);
		}
	}
}

static void no_rings(void **state)
{
	struct vhu_layout_opts o = opts_of(2, 1, 0, 0);

	check(&o);
	assert_int_equal(layout.data[0].gpa, layout.region[0].gpa);
	assert_int_equal(layout.data[0].len, 2 * MIB);
}

static void neighbours_and_holes(void **state)
{
	struct vhu_layout_opts o = opts_of(64, 5, 1, 128);

	check(&o);
	for (size_t i = 0; i + 1 < o.regions; i++) {
		const struct vhu_region_layout *r = &layout.region[i];
		uint64_t end = r->gpa + r->size;

		/* Regions 1 and 2, 3 and 4 meet in guest addresses, but nowhere else. */
		if (i % 2)
			assert_int_equal(end, r[1].gpa);
		else
			assert_null(vhu_layout_region(&layout, end, 1));
		assert_int_not_equal(r->uaddr + r->size, r[1].uaddr);
		assert_int_not_equal(r->offset + r->size, r[1].offset);
		/* A buffer over the border lies in neither of them. */
		assert_null(vhu_layout_region(&layout, end - 1, 2));
	}
}

static void rings_take_from_the_other_regions(void **state)
{
	struct vhu_layout_opts o = opts_of(16, 4, 256, 128);

	/* 256 rings of 128 need 7 MiB, an even share is 4 MiB. */
	check(&o);
	assert_int_equal(layout.region[0].size, 10 * MIB);
	assert_int_equal(layout.region[1].size, 2 * MIB);
	assert_int_equal(layout.region[3].size, 2 * MIB);
	o.size = 14 * MIB;
	check(&o);
	assert_int_equal(layout.region[0].size, 8 * MIB);
}

static void uneven_shares_leave_nothing_over(void **state)
{
	struct vhu_layout_opts o = opts_of(22, 4, 1, 128);

	check(&o);
	assert_int_equal(layout.region[0].size, 10 * MIB);
	assert_int_equal(layout.region[1].size, 4 * MIB);
}

static void what_does_not_fit_is_refused_with_what_would(void **state)
{
	struct vhu_layout_opts o = opts_of(12, 4, 256, 128);

	refuse(&o, "at least 14 MiB");
	o.size = 14 * MIB;
	make(&o);
	/* The only region keeps some room for buffers. */
	o = opts_of(6, 1, 256, 128);
	refuse(&o, "at least 8 MiB");
	o.size = 8 * MIB;
	make(&o);
	o = opts_of(0, 1, 0, 0);
	refuse(&o, "at least 2 MiB");
}

static void numbers_out_of_range_are_refused(void **state)
{
	struct vhu_layout_opts o;

	o = opts_of(64, 0, 1, 128);
	refuse(&o, "regions");
	o = opts_of(4096, VHU_LAYOUT_REGIONS_MAX + 1, 1, 128);
	refuse(&o, "regions");
	o = opts_of(64, SIZE_MAX, 1, 128);
	refuse(&o, "regions");
	o = opts_of(64, 1, VHU_LAYOUT_RINGS_MAX + 1, 128);
	refuse(&o, "rings");
	o = opts_of(64, 1, 1, 0);
	refuse(&o, "queue size 0");
	o = opts_of(64, 1, 1, 32769);
	refuse(&o, "queue size 32769");
	o = opts_of(64, 1, 1, 100);
	refuse(&o, "power of two");
	o.packed = true;
	check(&o);
	o = opts_of(63, 1, 1, 128);
	refuse(&o, "multiple");
	o = opts_of(64, 1, 1, 128);
	o.size += 1;
	refuse(&o, "multiple");
	o.size = UINT64_MAX - UINT64_MAX % VHU_REGION_ALIGN;
	refuse(&o, "at most");
	o = opts_of(64, 1, 1, 128);
	o.backing = (enum vhu_backing)7;
	refuse(&o, "backing");
}

static void lookup_by_gpa(void **state)
{
	struct vhu_layout_opts o = opts_of(64, 3, 1, 128);
	const struct vhu_region_layout *r;

	make(&o);
	r = &layout.region[1];
	assert_ptr_equal(vhu_layout_region(&layout, r->gpa, r->size), r);
	assert_ptr_equal(vhu_layout_region(&layout, r->gpa, 0), r);
	assert_ptr_equal(vhu_layout_region(&layout, r->gpa + r->size - 1, 1), r);
	assert_null(vhu_layout_region(&layout, r->gpa, r->size + 1));
	assert_null(vhu_layout_region(&layout, r->gpa + 1, UINT64_MAX));
	assert_null(vhu_layout_region(&layout, r->gpa - 1, 1));
	assert_null(vhu_layout_region(&layout, 0, 1));
	assert_null(vhu_layout_region(&layout, UINT64_MAX, 1));
	assert_int_equal(vhu_layout_uaddr(&layout, r->gpa + 5), r->uaddr + 5);
	assert_int_equal(vhu_layout_uaddr(&layout, r->gpa + r->size), layout.region[2].uaddr);
	assert_int_equal(vhu_layout_uaddr(&layout, r->gpa - 1), 0);
	assert_int_equal(vhu_layout_uaddr(&layout, r->uaddr), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ring_parts_have_their_sizes),
		cmocka_unit_test(default_layout),
		cmocka_unit_test(layouts_of_many_shapes),
		cmocka_unit_test(most_rings_fit_into_64_mib),
		cmocka_unit_test(large_rings),
		cmocka_unit_test(small_rings_have_large_tables),
		cmocka_unit_test(tight_rings),
		cmocka_unit_test(no_rings),
		cmocka_unit_test(neighbours_and_holes),
		cmocka_unit_test(rings_take_from_the_other_regions),
		cmocka_unit_test(uneven_shares_leave_nothing_over),
		cmocka_unit_test(what_does_not_fit_is_refused_with_what_would),
		cmocka_unit_test(numbers_out_of_range_are_refused),
		cmocka_unit_test(lookup_by_gpa),
	};

	return cmocka_run_group_tests_name("spec_layout", tests, NULL, NULL);
}
