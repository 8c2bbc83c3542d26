/* What a session remembers of shared memory mappings, and of rings that were stopped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "session/session.h"
#include "wire/frame.h"

enum { PAGE = 4096 };

static void from_backend(struct vhu_session *s, enum vhu_msg msg, uint32_t flags, uint64_t offset,
			 uint64_t len)
{
	struct vhu_frame f = {0};

	assert_int_equal(vhu_frame_request(&f, msg, NULL), 0);
	f.dir = VHU_DIR_BE;
	f.flags = VHU_C_HEADER_VERSION | flags;
	assert_int_equal(vhu_frame_set(&f, VHU_PL_MMAP, "shm_offset", offset), 0);
	assert_int_equal(vhu_frame_set(&f, VHU_PL_MMAP, "len", len), 0);
	vhu_session_apply(s, &f, false);
	vhu_frame_done(&f);
}

static void answer_backend(struct vhu_session *s, enum vhu_msg msg, uint64_t value)
{
	struct vhu_frame f = {
		.channel = VHU_CHAN_BACKEND, .dir = VHU_DIR_FE, .request = vhu_msg_row(msg)->id};

	f.flags = VHU_C_HEADER_VERSION | VHU_C_HEADER_REPLY;
	assert_int_equal(vhu_frame_resize(&f, sizeof(value), NULL), 0);
	vhu_ne_put(f.payload, sizeof(value), value);
	vhu_session_apply(s, &f, false);
	vhu_frame_done(&f);
}

static void send(struct vhu_session *s, enum vhu_msg msg)
{
	struct vhu_frame f = {0};

	assert_int_equal(vhu_frame_request(&f, msg, NULL), 0);
	f.flags = VHU_C_HEADER_VERSION;
	vhu_session_apply(s, &f, false);
	vhu_frame_done(&f);
}

/* A reply of len bytes with a number at `at`. */
static void reply(struct vhu_session *s, enum vhu_msg msg, size_t len, size_t at, uint64_t value)
{
	struct vhu_frame f = {.channel = VHU_CHAN_MAIN, .dir = VHU_DIR_BE, .request = vhu_msg_row(msg)->id};

	f.flags = VHU_C_HEADER_VERSION | VHU_C_HEADER_REPLY;
	assert_int_equal(vhu_frame_resize(&f, len, NULL), 0);
	vhu_ne_put(f.payload + at, sizeof(value), value);
	vhu_session_apply(s, &f, false);
	vhu_frame_done(&f);
}

static struct vhu_shm_map range(uint64_t offset, uint64_t len)
{
	return (struct vhu_shm_map){.offset = offset, .len = len};
}

static void test_ranges(void **state)
{
	struct vhu_session s;
	struct vhu_shm_map m;

	vhu_session_init(&s, VHU_DEV_ANY, 0);
	m = range(UINT64_MAX, 2);
	assert_false(vhu_session_shm_valid(&s, &m));
	m = range(0, 0);
	assert_false(vhu_session_shm_valid(&s, &m));
	m = range(8 * PAGE, PAGE);
	assert_true(vhu_session_shm_valid(&s, &m)); /* sizes are not known yet */

	send(&s, VHU_MSG_GET_SHMEM_CONFIG);
	reply(&s, VHU_MSG_GET_SHMEM_CONFIG, 16, 8, 8 * PAGE);
	assert_true(s.shm_known);
	assert_false(vhu_session_shm_valid(&s, &m));
	m = range(7 * PAGE, PAGE);
	assert_true(vhu_session_shm_valid(&s, &m));
	m = range(7 * PAGE, 2 * PAGE);
	assert_false(vhu_session_shm_valid(&s, &m));
	m.shmid = 1;
	assert_false(vhu_session_shm_valid(&s, &m)); /* left out of a short reply: size 0 */
}

static void test_mappings(void **state)
{
	struct vhu_session s;
	struct vhu_shm_map m = range(PAGE, 2 * PAGE), part = range(2 * PAGE, PAGE);
	struct vhu_shm_map behind = range(3 * PAGE, PAGE);

	vhu_session_init(&s, VHU_DEV_ANY, 0);
	from_backend(&s, VHU_MSG_BACKEND_SHMEM_MAP, VHU_C_HEADER_NEED_REPLY, m.offset, m.len);
	answer_backend(&s, VHU_MSG_BACKEND_SHMEM_MAP, 1);
	assert_false(vhu_session_shm_mapped(&s, &m));
	from_backend(&s, VHU_MSG_BACKEND_SHMEM_MAP, VHU_C_HEADER_NEED_REPLY, m.offset, m.len);
	answer_backend(&s, VHU_MSG_BACKEND_SHMEM_MAP, 0);
	assert_true(vhu_session_shm_mapped(&s, &m));
	assert_false(vhu_session_shm_mapped(&s, &part));
	assert_false(vhu_session_shm_free(&s, &part));
	assert_true(vhu_session_shm_free(&s, &behind));
	part.shmid = 1;
	assert_true(vhu_session_shm_free(&s, &part));

	from_backend(&s, VHU_MSG_BACKEND_SHMEM_UNMAP, 0, m.offset, m.len);
	assert_false(vhu_session_shm_mapped(&s, &m));
	assert_true(vhu_session_shm_free(&s, &m));

	from_backend(&s, VHU_MSG_BACKEND_SHMEM_MAP, 0, m.offset, m.len);
	assert_true(vhu_session_shm_mapped(&s, &m)); /* nobody is asked: it counts as done */
	send(&s, VHU_MSG_RESET_DEVICE);
	assert_true(s.shm_reset);
	assert_true(vhu_session_shm_mapped(&s, &m)); /* an UNMAP may be under way */
	assert_true(vhu_session_shm_free(&s, &m));   /* or a MAP that came after it */
	send(&s, VHU_MSG_GET_FEATURES);
	reply(&s, VHU_MSG_GET_FEATURES, 8, 0, 0);
	assert_false(vhu_session_shm_mapped(&s, &m));
	assert_true(vhu_session_shm_free(&s, &m));
}

/* Nobody knows on which side of the reset it was sent: neither it nor what follows is held against the
 * back-end. */
static void test_mapped_while_a_reset_is_under_way(void **state)
{
	struct vhu_session s;
	struct vhu_shm_map m = range(PAGE, 2 * PAGE);

	vhu_session_init(&s, VHU_DEV_ANY, 0);
	send(&s, VHU_MSG_RESET_DEVICE);
	from_backend(&s, VHU_MSG_BACKEND_SHMEM_MAP, 0, m.offset, m.len);
	send(&s, VHU_MSG_GET_FEATURES);
	reply(&s, VHU_MSG_GET_FEATURES, 8, 0, 0);
	assert_true(vhu_session_shm_mapped(&s, &m));
	assert_true(vhu_session_shm_free(&s, &m));
}

static void test_more_than_are_remembered(void **state)
{
	struct vhu_session s;
	struct vhu_shm_map first = range(0, PAGE);

	vhu_session_init(&s, VHU_DEV_ANY, 0);
	for (uint64_t i = 0; i <= VHU_SESSION_SHM_MAPS; i++)
		from_backend(&s, VHU_MSG_BACKEND_SHMEM_MAP, 0, i * PAGE, PAGE);
	assert_int_equal(s.n_shm, VHU_SESSION_SHM_MAPS);
	assert_true(vhu_session_shm_mapped(&s, &first)); /* nothing can be said of it any more */
}

static void test_suspended(void **state)
{
	struct vhu_session s;

	vhu_session_init(&s, VHU_DEV_ANY, 0);
	send(&s, VHU_MSG_VRING_KICK);
	assert_true(s.ring[0].started && s.ring[0].ran && !s.ring[0].suspended);
	send(&s, VHU_MSG_GET_VRING_BASE);
	assert_false(s.ring[0].started || s.ring[0].suspended); /* not before the answer */
	reply(&s, VHU_MSG_GET_VRING_BASE, 8, 0, 0);
	assert_true(s.ring[0].suspended);
	send(&s, VHU_MSG_SET_VRING_KICK);
	assert_false(s.ring[0].suspended);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_mappings),
		cmocka_unit_test(test_mapped_while_a_reset_is_under_way),
		cmocka_unit_test(test_more_than_are_remembered),
		cmocka_unit_test(test_suspended),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
