/* Two sessions held against each other, and the alignment beneath. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <base/arena.h>
#include <base/rng.h>
#include <trace/align.h>
#include <trace/diff.h>

/* --- alignment --------------------------------------------------------------------------------- */

enum { LONGEST = 24 };

static size_t common_length(const uint64_t *a, size_t n_a, const uint64_t *b, size_t n_b)
{
	size_t best[LONGEST + 1][LONGEST + 1] = {0};

	for (size_t i = 1; i <= n_a; i++)
		for (size_t k = 1; k <= n_b; k++)
			best[i][k] = a[i - 1] == b[k - 1] ? best[i - 1][k - 1] + 1
							  : VHU_MAX(best[i - 1][k], best[i][k - 1]);
	return best[n_a][n_b];
}

/* Steps go through both, each once and in order, and meet only where keys are equal. */
static size_t check_steps(const uint64_t *a, size_t n_a, const uint64_t *b, size_t n_b,
			  const struct vhu_align_step *steps, size_t n)
{
	size_t x = 0, y = 0, met = 0;

	for (size_t i = 0; i < n; i++) {
		if (steps[i].a >= 0)
			assert_int_equal(steps[i].a, x++);
		if (steps[i].b >= 0)
			assert_int_equal(steps[i].b, y++);
		if (steps[i].a < 0 || steps[i].b < 0)
			continue;
		assert_true(a[steps[i].a] == b[steps[i].b]);
		met++;
	}
	assert_int_equal(x, n_a);
	assert_int_equal(y, n_b);
	return met;
}

static void the_longest_common_subsequence_is_found(void **state)
{
	struct vhu_rng rng;

	vhu_rng_init(&rng, 5);
	for (unsigned round = 0; round < 3000; round++) {
		struct vhu_arena *arena = vhu_arena_new();
		uint64_t a[LONGEST], b[LONGEST], letters = 1 + vhu_rng_below(&rng, 6);
		size_t n_a = vhu_rng_below(&rng, LONGEST + 1), n_b = vhu_rng_below(&rng, LONGEST + 1), n;
		struct vhu_align_step *steps;
		bool gave_up;

		for (size_t i = 0; i < n_a; i++)
			a[i] = vhu_rng_below(&rng, letters);
		for (size_t i = 0; i < n_b; i++)
			b[i] = vhu_rng_below(&rng, letters);
		assert_int_equal(vhu_align(a, n_a, b, n_b, arena, &steps, &n, &gave_up), 0);
		assert_false(gave_up);
		assert_int_equal(check_steps(a, n_a, b, n_b, steps, n), common_length(a, n_a, b, n_b));
		vhu_arena_free(arena);
	}
}

static void what_differs_too_much_is_given_up(void **state)
{
	enum { N = 20000 };
	struct vhu_arena *arena = vhu_arena_new();
	uint64_t *a = vhu_arena_array(arena, N, sizeof(*a)), *b = vhu_arena_array(arena, N, sizeof(*b));
	struct vhu_align_step *steps;
	bool gave_up;
	size_t n;

	for (size_t i = 0; i < N; i++) {
		a[i] = i < 100 ? i : 1000000 + i;
		b[i] = i < 100 ? i : 2000000 + i;
	}
	assert_int_equal(vhu_align(a, N, b, N, arena, &steps, &n, &gave_up), 0);
	assert_true(gave_up);
	assert_true(check_steps(a, N, b, N, steps, n) >= 100);
	vhu_arena_free(arena);
}

/* --- sessions ---------------------------------------------------------------------------------- */

enum { MESSAGES = 64, BYTES = 64 };

struct session {
	struct vhu_record records[MESSAGES];
	const struct vhu_record *list[MESSAGES];
	uint8_t bytes[MESSAGES][BYTES];
	struct vhu_fd_info fds[MESSAGES];
	struct vhu_session_ref ref;
};

static struct vhu_record *put(struct session *s, enum vhu_cap_direction dir, uint32_t id, const void *payload,
			      size_t len)
{
	size_t i = s->ref.n++;
	struct vhu_record *r = &s->records[i];

	assert_true(i < MESSAGES && VHU_C_HEADER_SIZE + len <= BYTES);
	vhu_ne_put(s->bytes[i], 4, id);
	vhu_ne_put(s->bytes[i] + 4, 4, dir == VHU_CAP_DIR_BE ? 5 : 1);
	vhu_ne_put(s->bytes[i] + 8, 4, len);
	if (len)
		memcpy(s->bytes[i] + VHU_C_HEADER_SIZE, payload, len);
	*r = (struct vhu_record){.channel = VHU_CAP_MAIN,
				 .dir = dir,
				 .connection = 1,
				 .seq = (uint32_t)i,
				 .payload = s->bytes[i],
				 .len = VHU_C_HEADER_SIZE + len,
				 .orig_len = (uint32_t)(VHU_C_HEADER_SIZE + len)};
	s->list[i] = r;
	s->ref.records = s->list;
	return r;
}

static void put_u64(struct session *s, enum vhu_cap_direction dir, uint32_t id, uint64_t value)
{
	put(s, dir, id, &value, sizeof(value));
}

static void put_ring(struct session *s, enum vhu_cap_direction dir, uint32_t id, uint32_t index, uint32_t num)
{
	const uint32_t words[] = {index, num};

	put(s, dir, id, words, sizeof(words));
}

static void put_addr(struct session *s, uint32_t index, uint64_t where)
{
	uint8_t bytes[40] = {0};

	vhu_ne_put(bytes, 4, index);
	for (size_t i = 0; i < 3; i++)
		vhu_ne_put(bytes + 8 + 8 * i, 8, where + i * 4096);
	put(s, VHU_CAP_DIR_FE, VHU_ID_SET_VRING_ADDR, bytes, sizeof(bytes));
}

static void put_fd(struct session *s, uint32_t id, uint64_t value, enum vhu_fd_kind kind, uint32_t number)
{
	struct vhu_record *r = put(s, VHU_CAP_DIR_FE, id, &value, sizeof(value));
	struct vhu_fd_info *fd = &s->fds[r->seq];

	*fd = (struct vhu_fd_info){.kind = kind, .number = number};
	r->fds = fd;
	r->n_fds = 1;
}

static void ask(struct session *s, uint32_t id)
{
	put(s, VHU_CAP_DIR_FE, id, NULL, 0);
}

static struct vhu_diff compare(struct session *a, struct session *b, const struct vhu_diff_opts *opts,
			       struct vhu_arena *arena)
{
	static const struct vhu_diff_opts none;
	struct vhu_diff d;

	assert_int_equal(vhu_trace_diff(&a->ref, &b->ref, opts ? opts : &none, arena, &d, NULL), 0);
	assert_int_equal(d.messages_a, opts && opts->front_end ? d.messages_a : a->ref.n);
	return d;
}

static void addresses_and_bases_do_not_count(void **state)
{
	struct vhu_diff_opts all = {.all = true};
	struct vhu_arena *arena = vhu_arena_new();
	struct session a = {0}, b = {0};
	struct vhu_diff d;

	put_addr(&a, 0, 0x7f0000000000);
	put_addr(&b, 0, 0x560000000000);
	ask(&a, VHU_ID_GET_MAX_MEM_SLOTS);
	ask(&b, VHU_ID_GET_MAX_MEM_SLOTS);
	put_u64(&a, VHU_CAP_DIR_BE, VHU_ID_GET_MAX_MEM_SLOTS, 32);
	put_u64(&b, VHU_CAP_DIR_BE, VHU_ID_GET_MAX_MEM_SLOTS, 509);
	put_fd(&a, VHU_ID_SET_VRING_KICK, 0, VHU_FDK_EVENTFD, 17);
	put_fd(&b, VHU_ID_SET_VRING_KICK, 0, VHU_FDK_EVENTFD, 99);
	put_fd(&a, VHU_ID_SET_LOG_BASE, 0, VHU_FDK_MEMFD, 5);
	put_fd(&b, VHU_ID_SET_LOG_BASE, 0, VHU_FDK_HUGETLB, 6);
	d = compare(&a, &b, NULL, arena);
	assert_int_equal(d.n, 0);
	assert_int_equal(d.alike, 5);
	d = compare(&a, &b, &all, arena);
	assert_int_equal(d.n, 4);
	assert_string_equal(d.items[0].field, "descriptor");
	assert_string_equal(d.items[0].text_a, "0x7f0000000000");
	assert_string_equal(d.items[3].field, "u64");
	vhu_arena_free(arena);
}

static void fields_are_compared(void **state)
{
	const char *ignore[] = {"SET_VRING_N?M.*"};
	struct vhu_diff_opts opts = {.ignore = ignore, .n_ignore = 1};
	struct vhu_arena *arena = vhu_arena_new();
	struct session a = {0}, b = {0};
	struct vhu_diff d;

	put_ring(&a, VHU_CAP_DIR_FE, VHU_ID_SET_VRING_NUM, 0, 128);
	put_ring(&b, VHU_CAP_DIR_FE, VHU_ID_SET_VRING_NUM, 0, 256);
	put_fd(&a, VHU_ID_SET_VRING_CALL, 0, VHU_FDK_EVENTFD, 3);
	put_fd(&b, VHU_ID_SET_VRING_CALL, 0, VHU_FDK_PIPE, 3);
	d = compare(&a, &b, NULL, arena);
	assert_int_equal(d.n, 2);
	assert_int_equal(d.items[0].kind, VHU_DIFF_FIELD);
	assert_string_equal(d.items[0].field, "num");
	assert_string_equal(d.items[0].text_a, "128");
	assert_string_equal(d.items[0].text_b, "256");
	assert_string_equal(d.items[1].field, "fds[0]");
	assert_string_equal(d.items[1].text_b, "pipe");
	d = compare(&a, &b, &opts, arena);
	assert_int_equal(d.n, 1);
	vhu_arena_free(arena);
}

/* A ring's messages are aligned with those of the same ring. */
static void rings_are_told_apart(void **state)
{
	struct vhu_arena *arena = vhu_arena_new();
	struct session a = {0}, b = {0};
	struct vhu_diff d;

	for (uint32_t i = 0; i < 4; i++) {
		put_ring(&a, VHU_CAP_DIR_FE, VHU_ID_SET_VRING_NUM, i, 128);
		if (i != 2)
			put_ring(&b, VHU_CAP_DIR_FE, VHU_ID_SET_VRING_NUM, i, 128);
	}
	ask(&b, VHU_ID_SET_OWNER);
	d = compare(&a, &b, NULL, arena);
	assert_int_equal(d.n, 2);
	assert_int_equal(d.items[0].kind, VHU_DIFF_ONLY_A);
	assert_int_equal(d.items[0].a->seq, 2);
	assert_null(d.items[0].b);
	assert_int_equal(d.items[1].kind, VHU_DIFF_ONLY_B);
	assert_int_equal(d.items[1].b->seq, 3);
	vhu_arena_free(arena);
}

/* Whether requests wait for their answers is a matter of scheduling. */
static void answers_belong_to_their_requests(void **state)
{
	struct vhu_diff_opts front_end = {.front_end = true};
	struct vhu_arena *arena = vhu_arena_new();
	struct session a = {0}, b = {0};
	struct vhu_diff d;

	ask(&a, VHU_ID_GET_FEATURES);
	put_u64(&a, VHU_CAP_DIR_BE, VHU_ID_GET_FEATURES, 7);
	ask(&a, VHU_ID_GET_QUEUE_NUM);
	put_u64(&a, VHU_CAP_DIR_BE, VHU_ID_GET_QUEUE_NUM, 4);
	ask(&b, VHU_ID_GET_FEATURES);
	ask(&b, VHU_ID_GET_QUEUE_NUM);
	put_u64(&b, VHU_CAP_DIR_BE, VHU_ID_GET_FEATURES, 7);
	put_u64(&b, VHU_CAP_DIR_BE, VHU_ID_GET_QUEUE_NUM, 4);
	d = compare(&a, &b, NULL, arena);
	assert_int_equal(d.n, 0);
	put_u64(&b, VHU_CAP_DIR_BE, VHU_ID_GET_QUEUE_NUM, 4); /* answers nothing */
	d = compare(&a, &b, NULL, arena);
	assert_int_equal(d.n, 1);
	assert_int_equal(d.items[0].kind, VHU_DIFF_ONLY_B);
	d = compare(&a, &b, &front_end, arena);
	assert_int_equal(d.n, 0);
	assert_int_equal(d.messages_b, 2);
	vhu_arena_free(arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_longest_common_subsequence_is_found),
		cmocka_unit_test(what_differs_too_much_is_given_up),
		cmocka_unit_test(addresses_and_bases_do_not_count),
		cmocka_unit_test(fields_are_compared),
		cmocka_unit_test(rings_are_told_apart),
		cmocka_unit_test(answers_belong_to_their_requests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
