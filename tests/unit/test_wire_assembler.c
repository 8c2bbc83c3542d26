/* Reassembly: joined and split frames, whose descriptors are whose, and streams that cannot be trusted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <sys/eventfd.h>
#include <wire/frame.h>

static size_t open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	size_t n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* A descriptor that can be told from others by its counter. */
static int marked_fd(unsigned mark)
{
	int fd = eventfd(mark, EFD_CLOEXEC | EFD_NONBLOCK);

	assert_true(fd >= 0);
	return fd;
}

static unsigned mark_of(struct vhu_frame *f, size_t i)
{
	int fd = vhu_frame_take_fd(f, i);
	uint64_t mark = 0;

	assert_true(fd >= 0);
	assert_int_equal(read(fd, &mark, sizeof(mark)), sizeof(mark));
	close(fd);
	return (unsigned)mark;
}

/* --- a stream of three frames of 20, 12 and 52 bytes ------------------------------------------ */

enum { FIRST = 20, SECOND = 12, THIRD = 52, ALL = FIRST + SECOND + THIRD };

static void add_frame(struct vhu_buf *wire, enum vhu_msg msg)
{
	struct vhu_frame f;

	assert_int_equal(vhu_frame_request(&f, msg, NULL), 0);
	assert_int_equal(vhu_frame_encode(&f, wire, NULL), 0);
	vhu_frame_done(&f);
}

static struct vhu_buf three_frames(void)
{
	struct vhu_buf wire = {0};

	add_frame(&wire, VHU_MSG_SET_FEATURES);
	add_frame(&wire, VHU_MSG_SET_OWNER);
	add_frame(&wire, VHU_MSG_SET_VRING_ADDR);
	assert_int_equal(wire.len, ALL);
	return wire;
}

static void expect_frame(struct vhu_assembler *a, enum vhu_msg msg, struct vhu_frame *ret)
{
	struct vhu_err err = {0};

	assert_int_equal(vhu_assembler_next(a, ret, &err), 1);
	assert_ptr_equal(vhu_frame_row(ret), vhu_msg_row(msg));
	assert_int_equal(ret->defects & ~(uint32_t)VHU_DEFECT_FDS_LOST, 0);
	assert_int_equal(ret->len, ret->size);
}

static void expect_none(struct vhu_assembler *a)
{
	struct vhu_frame f;

	assert_int_equal(vhu_assembler_next(a, &f, NULL), 0);
}

/* The stream in three pieces. */
static void in_pieces(const struct vhu_buf *wire, size_t a_cut, size_t b_cut)
{
	struct vhu_assembler a;
	struct vhu_frame f[3];
	size_t n = 0, from = 0;
	size_t cuts[] = {a_cut, b_cut, wire->len};

	vhu_assembler_init(&a, VHU_CHAN_MAIN, VHU_DIR_FE);
	for (size_t i = 0; i < VHU_ARRAY_SIZE(cuts); i++) {
		assert_int_equal(
			vhu_assembler_feed(&a, wire->data + from, cuts[i] - from, NULL, 0, false, NULL), 0);
		from = cuts[i];
		while (vhu_assembler_next(&a, &f[n], NULL) == 1)
			assert_true(++n <= 3);
		/* A frame comes out as soon as it is whole. */
		assert_int_equal(n, (from >= FIRST) + (from >= FIRST + SECOND) + (from >= ALL));
	}
	assert_int_equal(f[0].request, VHU_ID_SET_FEATURES);
	assert_int_equal(f[1].request, VHU_ID_SET_OWNER);
	assert_int_equal(f[2].request, VHU_ID_SET_VRING_ADDR);
	for (size_t i = 0; i < 3; i++)
		vhu_frame_done(&f[i]);
	vhu_assembler_done(&a);
}

static void any_two_cuts(void **state)
{
	struct vhu_buf wire = three_frames();

	for (size_t a = 0; a <= ALL; a++)
		for (size_t b = a; b <= ALL; b++)
			in_pieces(&wire, a, b);
	vhu_buf_done(&wire);
}

static void byte_by_byte(void **state)
{
	struct vhu_buf wire = three_frames();
	struct vhu_assembler a;
	struct vhu_frame f;
	size_t n = 0;

	vhu_assembler_init(&a, VHU_CHAN_MAIN, VHU_DIR_FE);
	for (size_t i = 0; i < wire.len; i++) {
		assert_int_equal(vhu_assembler_feed(&a, wire.data + i, 1, NULL, 0, false, NULL), 0);
		if (vhu_assembler_next(&a, &f, NULL) == 1) {
			vhu_frame_done(&f);
			n++;
		}
	}
	assert_int_equal(n, 3);
	vhu_assembler_done(&a);
	vhu_buf_done(&wire);
}

static void many_frames_at_once(void **state)
{
	enum { MANY = 5000 };
	struct vhu_buf wire = {0};
	struct vhu_assembler a;
	struct vhu_frame f;

	for (size_t i = 0; i < MANY; i++)
		add_frame(&wire, VHU_MSG_SET_VRING_NUM);
	vhu_assembler_init(&a, VHU_CHAN_MAIN, VHU_DIR_FE);
	assert_int_equal(vhu_assembler_feed(&a, wire.data, wire.len, NULL, 0, false, NULL), 0);
	for (size_t i = 0; i < MANY; i++) {
		expect_frame(&a, VHU_MSG_SET_VRING_NUM, &f);
		vhu_frame_done(&f);
	}
	expect_none(&a);
	vhu_assembler_done(&a);
	vhu_buf_done(&wire);
}

/* --- descriptors ------------------------------------------------------------------------------- */

struct piece {
	size_t len;
	unsigned mark; /* of one descriptor that comes with it; 0: none */
};

/* Feeds the pieces, then checks how many descriptors each of the three frames has, and the first's mark. */
static void whose(const struct piece *pieces, size_t n_pieces, const size_t n_fds[3], const unsigned mark[3])
{
	static const enum vhu_msg msgs[] = {VHU_MSG_SET_FEATURES, VHU_MSG_SET_OWNER, VHU_MSG_SET_VRING_ADDR};
	size_t before = open_fds();

	/* It makes no difference whether frames are fetched at once or at the end. */
	for (int lazy = 0; lazy < 2; lazy++) {
		struct vhu_buf wire = three_frames();
		struct vhu_assembler a;
		struct vhu_frame f[3] = {0};
		size_t from = 0, n = 0;

		vhu_assembler_init(&a, VHU_CHAN_MAIN, VHU_DIR_FE);
		for (size_t i = 0; i < n_pieces; i++) {
			int fd = pieces[i].mark ? marked_fd(pieces[i].mark) : -1;

			assert_int_equal(vhu_assembler_feed(&a, wire.data + from, pieces[i].len, &fd, fd >= 0,
							    false, NULL),
					 0);
			from += pieces[i].len;
			while (!lazy && n < 3 && vhu_assembler_next(&a, &f[n], NULL) == 1)
				n++;
		}
		assert_int_equal(from, wire.len);
		while (n < 3 && vhu_assembler_next(&a, &f[n], NULL) == 1)
			n++;
		assert_int_equal(n, 3);
		for (size_t i = 0; i < 3; i++) {
			assert_ptr_equal(vhu_frame_row(&f[i]), vhu_msg_row(msgs[i]));
			assert_int_equal(f[i].n_fds, n_fds[i]);
			if (n_fds[i])
				assert_int_equal(mark_of(&f[i], 0), mark[i]);
			vhu_frame_done(&f[i]);
		}
		vhu_assembler_done(&a);
		vhu_buf_done(&wire);
	}
	assert_int_equal(open_fds(), before);
}

#define WHOSE(pieces, ...) whose(pieces, VHU_ARRAY_SIZE(pieces), __VA_ARGS__)

static void fds_go_to_the_frame_they_came_with(void **state)
{
	static const struct piece each[] = {{FIRST, 1}, {SECOND, 2}, {THIRD, 3}};
	static const struct piece second[] = {{FIRST, 0}, {SECOND, 2}, {THIRD, 0}};
	static const struct piece all[] = {{ALL, 7}};

	WHOSE(each, (size_t[]){1, 1, 1}, (unsigned[]){1, 2, 3});
	WHOSE(second, (size_t[]){0, 1, 0}, (unsigned[]){0, 2, 0});
	/* Coalesced: the descriptors came with the first byte of the piece. */
	WHOSE(all, (size_t[]){1, 0, 0}, (unsigned[]){7, 0, 0});
}

static void fds_go_to_the_first_frame_that_starts_in_the_piece(void **state)
{
	static const struct piece header_alone[] = {{12, 1}, {8, 0}, {SECOND + THIRD, 0}};
	static const struct piece first_byte[] = {{1, 1}, {ALL - 1, 0}};
	static const struct piece over_the_end[] = {{FIRST - 1, 0}, {1 + SECOND, 2}, {THIRD, 0}};
	static const struct piece far_over[] = {{FIRST - 1, 0}, {1 + SECOND + THIRD, 2}};
	static const struct piece two_of_one[] = {{FIRST - 1, 1}, {1 + SECOND + THIRD, 2}};

	WHOSE(header_alone, (size_t[]){1, 0, 0}, (unsigned[]){1, 0, 0});
	WHOSE(first_byte, (size_t[]){1, 0, 0}, (unsigned[]){1, 0, 0});
	WHOSE(over_the_end, (size_t[]){0, 1, 0}, (unsigned[]){0, 2, 0});
	WHOSE(far_over, (size_t[]){0, 1, 0}, (unsigned[]){0, 2, 0});
	WHOSE(two_of_one, (size_t[]){1, 1, 0}, (unsigned[]){1, 2, 0});
}

static void fds_of_a_later_piece_go_to_the_frame_in_progress(void **state)
{
	static const struct piece with_payload[] = {{12, 0}, {8, 1}, {SECOND + THIRD, 0}};
	static const struct piece inside[] = {{4, 0}, {4, 1}, {4, 0}, {8, 2}, {SECOND + THIRD, 0}};
	static const struct piece last[] = {{FIRST + SECOND + 12, 0}, {THIRD - 12, 3}};

	WHOSE(with_payload, (size_t[]){1, 0, 0}, (unsigned[]){1, 0, 0});
	WHOSE(inside, (size_t[]){2, 0, 0}, (unsigned[]){1, 0, 0});
	WHOSE(last, (size_t[]){0, 0, 1}, (unsigned[]){0, 0, 3});
}

static void lost_fds_are_a_defect_of_their_frame(void **state)
{
	struct vhu_buf wire = three_frames();
	struct vhu_assembler a;
	struct vhu_frame f;

	vhu_assembler_init(&a, VHU_CHAN_MAIN, VHU_DIR_FE);
	assert_int_equal(vhu_assembler_feed(&a, wire.data, FIRST, NULL, 0, false, NULL), 0);
	assert_int_equal(vhu_assembler_feed(&a, wire.data + FIRST, SECOND, NULL, 0, true, NULL), 0);
	assert_int_equal(vhu_assembler_feed(&a, wire.data + FIRST + SECOND, THIRD, NULL, 0, false, NULL), 0);
	expect_frame(&a, VHU_MSG_SET_FEATURES, &f);
	assert_int_equal(f.defects, 0);
	vhu_frame_done(&f);
	expect_frame(&a, VHU_MSG_SET_OWNER, &f);
	assert_int_equal(f.defects, VHU_DEFECT_FDS_LOST);
	vhu_frame_done(&f);
	expect_frame(&a, VHU_MSG_SET_VRING_ADDR, &f);
	assert_int_equal(f.defects, 0);
	vhu_frame_done(&f);
	vhu_assembler_done(&a);
	vhu_buf_done(&wire);
}

static void a_frame_has_so_many_fds_and_no_more(void **state)
{
	struct vhu_buf wire = {0};
	struct vhu_assembler a;
	struct vhu_frame f;
	size_t before = open_fds();

	/* Each byte brings some, more than a frame holds and more than may be pending. */
	add_frame(&wire, VHU_MSG_SET_VRING_ADDR);
	vhu_assembler_init(&a, VHU_CHAN_MAIN, VHU_DIR_FE);
	for (size_t i = 0; i < wire.len; i++) {
		int fds[40];

		for (size_t n = 0; n < VHU_ARRAY_SIZE(fds); n++)
			fds[n] = marked_fd(1);
		assert_int_equal(
			vhu_assembler_feed(&a, wire.data + i, 1, fds, VHU_ARRAY_SIZE(fds), false, NULL), 0);
	}
	expect_frame(&a, VHU_MSG_SET_VRING_ADDR, &f);
	assert_int_equal(f.n_fds, VHU_FRAME_FDS_MAX);
	assert_int_equal(f.defects, VHU_DEFECT_FDS_LOST);
	assert_int_equal(open_fds(), before + VHU_FRAME_FDS_MAX);
	vhu_frame_done(&f);
	vhu_assembler_done(&a);
	vhu_buf_done(&wire);
	assert_int_equal(open_fds(), before);
}

static void nothing_leaks_when_it_ends_anywhere(void **state)
{
	struct vhu_buf wire = three_frames();
	size_t before = open_fds();

	for (size_t cut = 0; cut <= wire.len; cut++) {
		struct vhu_assembler a;
		struct vhu_frame f;
		int fd = marked_fd(9);

		vhu_assembler_init(&a, VHU_CHAN_MAIN, VHU_DIR_FE);
		assert_int_equal(vhu_assembler_feed(&a, wire.data, cut, &fd, 1, false, NULL), 0);
		if (cut % 2 && vhu_assembler_next(&a, &f, NULL) == 1)
			vhu_frame_done(&f);
		vhu_assembler_done(&a);
		vhu_assembler_done(&a);
	}
	assert_int_equal(open_fds(), before);
	vhu_assembler_done(NULL);
	vhu_buf_done(&wire);
}

static void the_end_takes_the_rest(void **state)
{
	struct vhu_buf wire = three_frames();
	struct vhu_assembler a;
	struct vhu_frame f;
	int fd = marked_fd(4);

	vhu_assembler_init(&a, VHU_CHAN_MAIN, VHU_DIR_FE);
	assert_int_equal(vhu_assembler_feed(&a, wire.data, 15, &fd, 1, false, NULL), 0);
	expect_none(&a);
	assert_int_equal(vhu_assembler_end(&a, &f, NULL), 1);
	assert_int_equal(f.defects, VHU_DEFECT_TRUNCATED);
	assert_int_equal(f.request, VHU_ID_SET_FEATURES);
	assert_int_equal(f.size, 8);
	assert_int_equal(f.len, 3);
	assert_int_equal(f.n_fds, 1);
	assert_int_equal(mark_of(&f, 0), 4);
	vhu_frame_done(&f);
	/* Nothing comes behind an end. */
	assert_int_equal(vhu_assembler_feed(&a, wire.data, wire.len, NULL, 0, false, NULL), 0);
	expect_none(&a);
	vhu_assembler_done(&a);
	vhu_buf_done(&wire);
}

/* --- streams that cannot be trusted ------------------------------------------------------------ */

static struct vhu_buf header(uint32_t request, uint32_t flags, uint32_t size)
{
	struct vhu_frame f = {.request = request, .flags = flags, .size = size};
	struct vhu_buf wire = {0};

	assert_int_equal(vhu_frame_encode(&f, &wire, NULL), 0);
	return wire;
}

static void oversized(enum vhu_channel channel, uint32_t size, bool too_large)
{
	struct vhu_buf wire = header(1, 1, size);
	struct vhu_assembler a;
	struct vhu_frame f;
	size_t before = open_fds();
	int fd = marked_fd(1);

	vhu_assembler_init(&a, channel, VHU_DIR_BE);
	assert_int_equal(vhu_assembler_feed(&a, wire.data, wire.len, &fd, 1, false, NULL), 0);
	assert_int_equal(vhu_assembler_next(&a, &f, NULL), too_large);
	if (too_large) {
		assert_int_equal(f.defects, VHU_DEFECT_OVERSIZED);
		assert_int_equal(f.size, size);
		assert_int_equal(f.len, 0);
		assert_int_equal(f.n_fds, 1);
		vhu_frame_done(&f);
		/* The rest is swallowed, and its descriptors are closed. */
		fd = marked_fd(2);
		assert_int_equal(vhu_assembler_feed(&a, wire.data, wire.len, &fd, 1, false, NULL), 0);
		expect_none(&a);
		assert_int_equal(vhu_assembler_end(&a, &f, NULL), 0);
	}
	vhu_assembler_done(&a);
	vhu_buf_done(&wire);
	assert_int_equal(open_fds(), before);
}

static void sizes_beyond_belief(void **state)
{
	oversized(VHU_CHAN_MAIN, 65536, false);
	oversized(VHU_CHAN_MAIN, 65537, true);
	oversized(VHU_CHAN_MAIN, UINT32_MAX, true);
	oversized(VHU_CHAN_BACKEND, 65537, true);
	oversized(VHU_CHAN_GPU, 4096020, false);
	oversized(VHU_CHAN_GPU, 64 << 20, false);
	oversized(VHU_CHAN_GPU, (64 << 20) + 1, true);
}

static void the_largest_frame_comes_through(void **state)
{
	struct vhu_buf wire = header(VHU_ID_GPU_UPDATE, 0, 2 << 20);
	struct vhu_assembler a;
	struct vhu_frame f;
	static uint8_t chunk[65536];

	memset(chunk, 0xab, sizeof(chunk));
	vhu_assembler_init(&a, VHU_CHAN_GPU, VHU_DIR_BE);
	assert_int_equal(vhu_assembler_feed(&a, wire.data, wire.len, NULL, 0, false, NULL), 0);
	for (size_t i = 0; i < (2 << 20) / sizeof(chunk); i++) {
		expect_none(&a);
		assert_int_equal(vhu_assembler_feed(&a, chunk, sizeof(chunk), NULL, 0, false, NULL), 0);
	}
	expect_frame(&a, VHU_MSG_GPU_UPDATE, &f);
	assert_int_equal(f.payload[f.len - 1], 0xab);
	assert_int_equal(vhu_frame_payload(&f), VHU_PL_GPU_UPDATE);
	vhu_frame_done(&f);
	/* The stream goes on behind it. */
	wire.data[8] = wire.data[9] = wire.data[10] = wire.data[11] = 0;
	assert_int_equal(vhu_assembler_feed(&a, wire.data, wire.len, NULL, 0, false, NULL), 0);
	expect_frame(&a, VHU_MSG_GPU_UPDATE, &f);
	vhu_frame_done(&f);
	vhu_assembler_done(&a);
	vhu_buf_done(&wire);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_two_cuts),
		cmocka_unit_test(byte_by_byte),
		cmocka_unit_test(many_frames_at_once),
		cmocka_unit_test(fds_go_to_the_frame_they_came_with),
		cmocka_unit_test(fds_go_to_the_first_frame_that_starts_in_the_piece),
		cmocka_unit_test(fds_of_a_later_piece_go_to_the_frame_in_progress),
		cmocka_unit_test(lost_fds_are_a_defect_of_their_frame),
		cmocka_unit_test(a_frame_has_so_many_fds_and_no_more),
		cmocka_unit_test(nothing_leaks_when_it_ends_anywhere),
		cmocka_unit_test(the_end_takes_the_rest),
		cmocka_unit_test(sizes_beyond_belief),
		cmocka_unit_test(the_largest_frame_comes_through),
	};

	return cmocka_run_group_tests_name("wire_assembler", tests, NULL, NULL);
}
