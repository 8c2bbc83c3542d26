#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cli/conform.h"
#include "cli/select.h"
#include "plan/plan.h"

static const enum vhu_req hdr[] = {VHU_REQ_HDR_01, VHU_REQ_HDR_05};
static const enum vhu_req implied[] = {VHU_REQ_HDR_05};
static const enum vhu_device blk[] = {VHU_DEV_BLK}, net[] = {VHU_DEV_NET},
			     both[] = {VHU_DEV_BLK, VHU_DEV_NET};
static const char *const smoke[] = {"slow", "smoke"}, *const slow[] = {"slow"};

#define CASE(name, ...) {.id = name, .file = "/nonexistent/x.json", .title = "Title", __VA_ARGS__}
#define REQS(r) .requirements = r, .n_requirements = VHU_ARRAY_SIZE(r), .cites = r, \
	.n_cites = VHU_ARRAY_SIZE(r)
#define TAGS(t) .tags = t, .n_tags = VHU_ARRAY_SIZE(t)
#define DEVICES(d) .devices = d, .n_devices = VHU_ARRAY_SIZE(d)

static const struct vhu_case_info cases[] = {
	CASE("core/z", REQS(hdr), TAGS(smoke)),
	CASE("core/kill", REQS(hdr), TAGS(smoke), .may_kill = true),
	CASE("core/b#two", REQS(implied)),
	CASE("core/b#one", REQS(implied)),
	CASE("blk/read", REQS(hdr), DEVICES(blk), TAGS(slow)),
	CASE("net/send", REQS(hdr), DEVICES(net)),
	CASE("any/two", REQS(implied), DEVICES(both)),
};
enum { N = VHU_ARRAY_SIZE(cases) };

/* The selected ids, in order, with blanks between. */
static void assert_selects(const struct vhu_conform_opts *o, enum vhu_device device, const char *want)
{
	const struct vhu_case_info *infos[N];
	struct vhu_selection s = {0};
	struct vhu_buf have = {0};

	for (size_t i = 0; i < N; i++)
		infos[i] = &cases[i];
	assert_int_equal(vhu_select(o, infos, N, device, &s, NULL), 0);
	for (size_t i = 0; i < s.n; i++) {
		vhu_buf_printf(&have, "%s%s", i ? " " : "", s.info[i]->id);
		assert_ptr_equal(infos[s.index[i]], s.info[i]);
	}
	assert_string_equal(vhu_buf_text(&have), want);
	vhu_buf_done(&have);
	vhu_selection_done(&s);
}

static struct vhu_words words(const char **items, size_t n)
{
	return (struct vhu_words){.items = items, .n = n};
}

static void test_order(void **state)
{
	struct vhu_conform_opts o = {0};

	/* Smoke first, then by id, what may kill the target last. */
	assert_selects(&o, VHU_DEV_ANY, "core/z any/two blk/read core/b#one core/b#two net/send core/kill");
}

static void test_device(void **state)
{
	struct vhu_conform_opts o = {0};
	const char *ids[] = {"net/send"};

	assert_selects(&o, VHU_DEV_BLK, "core/z any/two blk/read core/b#one core/b#two core/kill");
	/* What is named runs, and is skipped with the reason if it does not fit. */
	o.parsed.rest = words(ids, 1);
	assert_selects(&o, VHU_DEV_BLK, "core/z any/two blk/read core/b#one core/b#two net/send core/kill");
}

static void test_filters(void **state)
{
	struct vhu_conform_opts o = {0};
	const char *globs[] = {"core/b*", "blk/?ead"}, *tags[] = {"smoke"}, *reqs[] = {"HDR-01"},
		   *areas[] = {"HDR-*"};
	const char *none[] = {"nothing"};

	o.filters = words(globs, 2);
	assert_selects(&o, VHU_DEV_ANY, "blk/read core/b#one core/b#two");
	o.requirements = words(reqs, 1);
	assert_selects(&o, VHU_DEV_ANY, "blk/read");
	o.filters = (struct vhu_words){0};
	o.requirements = words(areas, 1);
	o.tags = words(tags, 1);
	assert_selects(&o, VHU_DEV_ANY, "core/z core/kill");
	o.tags = words(none, 1);
	assert_selects(&o, VHU_DEV_ANY, "");
}

/* Variants that are named keep out the other variants of their file only. */
static void test_variants(void **state)
{
	struct vhu_conform_opts o = {0};
	const char *one[] = {"core/b#two", "core/z"}, *all[] = {"core/b#two", "core/b"};

	o.parsed.rest = words(one, 2);
	assert_selects(&o, VHU_DEV_ANY, "core/z any/two blk/read core/b#two net/send core/kill");
	o.parsed.rest = words(all, 2);
	assert_selects(&o, VHU_DEV_ANY, "core/z any/two blk/read core/b#one core/b#two net/send core/kill");
}

static void test_shards(void **state)
{
	const struct vhu_case_info *infos[N];
	unsigned seen[N] = {0};

	for (size_t i = 0; i < N; i++)
		infos[i] = &cases[i];
	for (unsigned shard = 1; shard <= 3; shard++) {
		struct vhu_conform_opts o = {.shard = shard, .shards = 3};
		struct vhu_selection all = {0}, some = {0};

		assert_int_equal(vhu_select(&o, infos, N, VHU_DEV_ANY, &all, NULL), 0);
		for (size_t i = 0; i < all.n; i++)
			seen[all.index[i]]++;
		/* Where a case goes does not depend on the others. */
		assert_int_equal(vhu_select(&o, infos, 1, VHU_DEV_ANY, &some, NULL), 0);
		for (size_t i = 0; i < all.n; i++)
			if (all.index[i] == 0)
				assert_int_equal(some.n, 1);
		vhu_selection_done(&all);
		vhu_selection_done(&some);
	}
	for (size_t i = 0; i < N; i++)
		assert_int_equal(seen[i], 1);
}

static void test_shuffle(void **state)
{
	const struct vhu_case_info *infos[N];
	bool changed = false;

	for (size_t i = 0; i < N; i++)
		infos[i] = &cases[i];
	for (uint64_t seed = 0; seed < 20; seed++) {
		struct vhu_conform_opts o = {.shuffle = true, .seed = seed}, plain = {0};
		struct vhu_selection a = {0}, b = {0}, c = {0};

		assert_int_equal(vhu_select(&o, infos, N, VHU_DEV_ANY, &a, NULL), 0);
		assert_int_equal(vhu_select(&o, infos, N, VHU_DEV_ANY, &b, NULL), 0);
		assert_int_equal(vhu_select(&plain, infos, N, VHU_DEV_ANY, &c, NULL), 0);
		assert_int_equal(a.n, N);
		assert_memory_equal(a.index, b.index, N * sizeof(*a.index));
		assert_string_equal(a.info[N - 1]->id, "core/kill");
		changed |= memcmp(a.index, c.index, N * sizeof(*a.index)) != 0;
		vhu_selection_done(&a);
		vhu_selection_done(&b);
		vhu_selection_done(&c);
	}
	assert_true(changed);
}

static void test_device_of_selection(void **state)
{
	const struct vhu_case_info *list[] = {&cases[0], &cases[4], &cases[5], &cases[6]};
	struct vhu_selection s = {.info = list, .n = 2};

	assert_int_equal(vhu_selection_device(&s), VHU_DEV_BLK);
	s.n = 3;
	assert_int_equal(vhu_selection_device(&s), VHU_DEV_ANY);
	s.n = 1;
	assert_int_equal(vhu_selection_device(&s), VHU_DEV_ANY);
	s.info = list + 3;
	assert_int_equal(vhu_selection_device(&s), VHU_DEV_ANY);
}

static void test_list(void **state)
{
	const struct vhu_case_info *list[] = {&cases[0], &cases[3]};
	struct vhu_selection s = {.info = list, .n = 2};
	struct vhu_buf out = {0};

	vhu_selection_list(&s, &out);
	assert_string_equal(vhu_buf_text(&out), "core/z      MUST     HDR-01,HDR-05  Title\n"
						"core/b#one  IMPLIED  HDR-05         Title\n");
	vhu_buf_done(&out);
}

static void test_root(void **state)
{
	char *root;

	setenv("VHU_CASES", "/some/where", 1);
	root = vhu_case_root();
	assert_string_equal(root, "/some/where");
	free(root);
	unsetenv("VHU_CASES");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_device),
		cmocka_unit_test(test_filters),
		cmocka_unit_test(test_variants),
		cmocka_unit_test(test_shards),
		cmocka_unit_test(test_shuffle),
		cmocka_unit_test(test_device_of_selection),
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_root),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
