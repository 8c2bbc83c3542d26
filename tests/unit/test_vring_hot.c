/*
 * Rings at full speed: a device on a thread of its own, which returns chains in any order, against the
 * driver; and devices that lie. Every access is atomic, so that a thread sanitizer sees what the barriers
 * order.
 */
#include "toy_ring.h"

#include <pthread.h>
#include <vring/hot.h>

#include "base/rng.h"

enum { AVAIL = 1 << 7, USED = 1 << 15, NEXT = 1, WRITE = 2, INDIRECT = 4 };
enum { PARTS = 3, WINDOW = 8, DEPTH_MAX = 64 };

/* What stands in a chain's buffers: the driver's question, the device's answer. */
struct words {
	uint64_t question, answer;
	uint8_t end;
};

static struct vhu_hot *hot;
static struct words *words[DEPTH_MAX];

static struct {
	pthread_t thread;
	bool packed, in_order;
	uint32_t size;
	uint32_t take, put; /* split: free-running */
	bool take_wrap, put_wrap;
	uint64_t goal;
	struct vhu_rng rng;
	struct {
		uint16_t id, slots;
		struct words *at;
	} window[WINDOW];
	unsigned n;
} dev;

static uint16_t load16(const uint8_t *p)
{
	return __atomic_load_n((const uint16_t *)(const void *)p, __ATOMIC_ACQUIRE);
}

static void store16(uint8_t *p, uint16_t value)
{
	__atomic_store_n((uint16_t *)(void *)p, value, __ATOMIC_RELEASE);
}

static uint64_t load64(const uint8_t *p)
{
	return __atomic_load_n((const uint64_t *)(const void *)p, __ATOMIC_RELAXED);
}

static uint32_t load32(const uint8_t *p)
{
	return __atomic_load_n((const uint32_t *)(const void *)p, __ATOMIC_RELAXED);
}

/* Through a table where there is one. */
static struct words *words_at(const uint8_t *desc, uint16_t flags)
{
	uint64_t gpa = load64(desc);

	if (flags & INDIRECT)
		gpa = load64(vhu_mem_at(mem, gpa, load32(desc + 8)));
	return vhu_mem_at(mem, gpa, sizeof(struct words));
}

static bool take_split(void)
{
	const uint8_t *desc;
	uint16_t head;

	if ((uint16_t)dev.take == load16(toy.avail + 2))
		return false;
	head = load16(toy.avail + 4 + 2 * (dev.take & (dev.size - 1)));
	desc = toy.desc + 16 * (size_t)head;
	dev.take++;
	dev.window[dev.n].id = head;
	dev.window[dev.n++].at = words_at(desc, load16(desc + 12));
	return true;
}

static bool take_packed(void)
{
	const uint8_t *desc = toy.desc + 16 * (size_t)dev.take;
	uint16_t flags = load16(desc + 14), slots = 0;

	if (!!(flags & AVAIL) != dev.take_wrap || !!(flags & USED) == dev.take_wrap)
		return false;
	dev.window[dev.n].at = words_at(desc, flags);
	do {
		desc = toy.desc + 16 * (size_t)dev.take;
		flags = load16(desc + 14);
		dev.window[dev.n].id = load16(desc + 12);
		slots++;
		if (++dev.take == dev.size) {
			dev.take = 0;
			dev.take_wrap = !dev.take_wrap;
		}
	} while (flags & NEXT);
	dev.window[dev.n++].slots = slots;
	return true;
}

static void give_split(uint16_t id)
{
	uint8_t *p = toy.used + 4 + 8 * (size_t)(dev.put & (dev.size - 1));

	__atomic_store_n((uint32_t *)(void *)p, id, __ATOMIC_RELAXED);
	__atomic_store_n((uint32_t *)(void *)(p + 4), 9, __ATOMIC_RELAXED);
	store16(toy.used + 2, (uint16_t)++dev.put);
}

static void give_packed(uint16_t id, uint16_t slots)
{
	uint8_t *p = toy.desc + 16 * (size_t)dev.put;

	__atomic_store_n((uint32_t *)(void *)(p + 8), 9, __ATOMIC_RELAXED);
	__atomic_store_n((uint16_t *)(void *)(p + 12), id, __ATOMIC_RELAXED);
	store16(p + 14, dev.put_wrap ? AVAIL | USED | WRITE : WRITE);
	dev.put += slots;
	if (dev.put >= dev.size) {
		dev.put -= dev.size;
		dev.put_wrap = !dev.put_wrap;
	}
}

static void give_one(void)
{
	unsigned i = dev.in_order ? 0 : (unsigned)vhu_rng_below(&dev.rng, dev.n);
	struct words *w = dev.window[i].at;

	w->answer = ~w->question;
	w->end = 0;
	if (dev.packed)
		give_packed(dev.window[i].id, dev.window[i].slots);
	else
		give_split(dev.window[i].id);
	memmove(&dev.window[i], &dev.window[i + 1], (dev.n - i - 1) * sizeof(dev.window[0]));
	dev.n--;
}

static void *device(void *ctx)
{
	for (uint64_t done = 0; done < dev.goal;) {
		while (dev.n < WINDOW && (dev.packed ? take_packed() : take_split()))
			;
		if (dev.n == 0) {
			sched_yield();
			continue;
		}
		give_one();
		done++;
	}
	return NULL;
}

static void open_hot(bool packed, uint16_t size, unsigned depth, bool indirect, bool in_order)
{
	struct vhu_err err = {0};

	open_format(packed, size, true, indirect, in_order);
	toy_attach(0);
	assert_int_equal(vhu_hot_new(ring, depth, PARTS, indirect, on_breach, &ring, &hot, &err), 0);
	for (unsigned i = 0; i < depth; i++) {
		uint64_t gpa = layout.data[1].gpa + i * 64;
		struct vhu_sg sg[PARTS] = {{gpa, 8, false}, {gpa + 8, 8, true}, {gpa + 16, 1, true}};

		words[i] = vhu_mem_at(mem, gpa, sizeof(struct words));
		assert_int_equal(vhu_hot_chain(hot, i, sg, PARTS, &err), 0);
	}
	memset(&dev, 0, sizeof(dev));
	dev.packed = packed;
	dev.in_order = in_order;
	dev.size = size;
	dev.take_wrap = dev.put_wrap = true;
	vhu_rng_init(&dev.rng, 7);
}

static void close_hot(void)
{
	vhu_hot_free(hot);
	vhu_vring_audit(ring);
	expect_none();
	/* The words lie in memory that was never given out. */
	memset(vhu_mem_at(mem, layout.data[1].gpa, DEPTH_MAX * 64), 0, DEPTH_MAX * 64);
	close_ring();
}

static void stress(bool packed, uint16_t size, unsigned depth, bool indirect, bool in_order)
{
	static struct vhu_hot_used back[DEPTH_MAX];
	uint16_t batch[DEPTH_MAX];
	uint64_t sent = 0, done = 0, asked[DEPTH_MAX];
	unsigned n_free = depth;

	open_hot(packed, size, depth, indirect, in_order);
	dev.goal = 20000;
	for (unsigned i = 0; i < depth; i++)
		batch[i] = (uint16_t)i;
	assert_int_equal(pthread_create(&dev.thread, NULL, device, NULL), 0);
	while (done < dev.goal) {
		unsigned n = (unsigned)VHU_MIN((uint64_t)n_free, dev.goal - sent);

		for (unsigned i = 0; i < n; i++) {
			uint16_t c = batch[n_free - 1 - i];

			asked[c] = words[c]->question = vhu_mix64(sent + i);
			words[c]->end = 0xff;
		}
		if (n)
			vhu_hot_send(hot, &batch[n_free - n], n);
		n_free -= n;
		sent += n;
		n = vhu_hot_reap(hot, back);
		for (unsigned i = 0; i < n; i++) {
			uint16_t c = back[i].chain;

			assert_true(c < depth && words[c]->end == 0);
			assert_int_equal(words[c]->answer, ~asked[c]);
			batch[n_free++] = c;
		}
		done += n;
		if (n == 0)
			sched_yield();
	}
	assert_int_equal(pthread_join(dev.thread, NULL), 0);
	assert_int_equal(vhu_hot_inflight(hot), 0);
	assert_int_equal(vhu_vring_inflight(ring), 0);
	expect_none();
	close_hot();
}

static void test_split(void **state)
{
	stress(false, 128, 32, false, false);
	stress(false, 16, 5, false, false);
	stress(false, 64, 64, true, false);
}

static void test_split_in_order(void **state)
{
	stress(false, 64, 20, false, true);
	stress(false, 16, 11, true, true);
}

static void test_packed(void **state)
{
	stress(true, 100, 33, false, false);
	stress(true, 7, 2, false, false);
	stress(true, 3, 1, false, false);
	stress(true, 37, 37, true, false);
}

static void test_packed_in_order(void **state)
{
	stress(true, 50, 16, false, true);
}

/* --- devices that lie ------------------------------------------------------------------------------- */

static void send_all(unsigned n)
{
	uint16_t chains[DEPTH_MAX];

	for (unsigned i = 0; i < n; i++)
		chains[i] = (uint16_t)i;
	vhu_hot_send(hot, chains, n);
}

static unsigned reap_hot(void)
{
	struct vhu_hot_used back[DEPTH_MAX];

	return vhu_hot_reap(hot, back);
}

static void test_split_lies(void **state)
{
	open_hot(false, 64, 4, false, false);
	send_all(4);
	toy_return(64, 0);
	assert_int_equal(reap_hot(), 0);
	expect(VHU_BREACH_USED_ID_RANGE);
	toy_return(1, 0);
	assert_int_equal(reap_hot(), 0);
	expect(VHU_BREACH_USED_ID_IDLE);
	toy_return(3, 9);
	assert_int_equal(reap_hot(), 1);
	expect_none();
	toy_return(3, 9);
	assert_int_equal(reap_hot(), 0);
	expect(VHU_BREACH_USED_TWICE);
	toy_return(0, 10);
	assert_int_equal(reap_hot(), 1);
	expect(VHU_BREACH_USED_LEN_LONG);
	toy_raise((uint16_t)(toy.idx + 9));
	assert_int_equal(reap_hot(), 0);
	expect(VHU_BREACH_USED_IDX_JUMP);
	assert_true(vhu_hot_broken(hot));
	assert_int_equal(reap_hot(), 0);
	close_hot();
}

static void test_packed_lies(void **state)
{
	open_hot(true, 12, 4, false, false);
	send_all(4);
	give_packed(9, 3);
	assert_int_equal(reap_hot(), 0);
	expect(VHU_BREACH_USED_ID_IDLE);
	give_packed(2, 3);
	assert_int_equal(reap_hot(), 1);
	expect_none();
	give_packed(2, 3);
	assert_int_equal(reap_hot(), 0);
	expect(VHU_BREACH_USED_TWICE);
	close_hot();
}

/* More elements than chains: those that are too much had been returned, and are told as that. */
static void test_split_too_many(void **state)
{
	open_hot(false, 64, 4, false, false);
	send_all(4);
	for (uint32_t i = 0; i < 4; i++)
		toy_element((uint16_t)i, i * PARTS, 9);
	toy_element(4, 2 * PARTS, 9);
	toy_raise(5);
	assert_int_equal(reap_hot(), 4);
	expect(VHU_BREACH_USED_TWICE);
	close_hot();
}

/* What was in flight is sent again on rings that begin anew. */
static void test_reset(void **state)
{
	uint16_t one = 2;

	open_hot(false, 64, 4, false, false);
	send_all(4);
	vhu_hot_reset(hot);
	toy_attach(0);
	assert_int_equal(vhu_hot_inflight(hot), 0);
	vhu_hot_send(hot, &one, 1);
	assert_int_equal(toy_take(), 6);
	toy_return(6, 9);
	assert_int_equal(reap_hot(), 1);
	expect_none();
	close_hot();
}

/* What was given up and told of may come back later, which is no news. */
static void test_split_given_up(void **state)
{
	open_hot(false, 64, 4, false, false);
	send_all(4);
	vhu_hot_free(hot);
	hot = NULL;
	toy_return(3, 9);
	assert_int_equal(reap(), 0);
	expect_none();
	close_hot();
}

static void test_too_many(void **state)
{
	struct vhu_err err = {0};

	open_ring(16, false, false, false);
	assert_int_equal(vhu_hot_new(ring, 6, PARTS, false, on_breach, &ring, &hot, &err), -ENOSPC);
	assert_int_equal(vhu_hot_new(ring, 5, PARTS, true, on_breach, &ring, &hot, &err), -EINVAL);
	close_ring();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_split),	       cmocka_unit_test(test_split_in_order),
		cmocka_unit_test(test_packed),	       cmocka_unit_test(test_packed_in_order),
		cmocka_unit_test(test_split_lies),     cmocka_unit_test(test_packed_lies),
		cmocka_unit_test(test_split_too_many), cmocka_unit_test(test_reset),
		cmocka_unit_test(test_split_given_up), cmocka_unit_test(test_too_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
