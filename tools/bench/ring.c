/*
 * What the checks of a ring at full speed cost: one thread is driver and device in turns, first with the
 * tester's ring, then with one that believes everything. Split rings, chains of three buffers.
 *
 *   bench-ring     prints nanoseconds a request of both, and the difference
 */
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "mem/mem.h"
#include "vring/hot.h"

enum { SIZE = 512, DEPTH = 128, PARTS = 3, ROUNDS = 40000, RUNS = 7 };

static struct vhu_layout layout;
static struct vhu_mem *mem;
static struct vhu_vring *ring;
static struct {
	uint8_t *desc, *avail, *used;
	uint16_t seen;
} device;

static _Noreturn void die(const struct vhu_err *err)
{
	fprintf(stderr, "bench-ring: %s\n", err->text);
	exit(1);
}

static void on_breach(void *ctx, const struct vhu_ring_event *event)
{
	fprintf(stderr, "bench-ring: %s\n", event->text);
	exit(1);
}

/* As little as a device can do. */
static void serve(void)
{
	uint16_t idx = __atomic_load_n((uint16_t *)(void *)(device.avail + 2), __ATOMIC_ACQUIRE);

	for (; device.seen != idx; device.seen++) {
		uint8_t *element = device.used + 4 + 8 * (device.seen % SIZE);

		vhu_le_put(element, 4, vhu_le_get(device.avail + 4 + 2 * (device.seen % SIZE), 2));
		vhu_le_put(element + 4, 4, 1);
	}
	__atomic_store_n((uint16_t *)(void *)(device.used + 2), idx, __ATOMIC_RELEASE);
}

static struct vhu_hot *prepare(void)
{
	struct vhu_layout_opts lo = {
		.size = 8 << 20, .regions = 1, .backing = VHU_BACKING_MEMFD, .rings = 1, .queue_size = SIZE};
	struct vhu_vring_opts o = {.layout = &layout.ring[0], .breach = on_breach};
	struct vhu_hot *hot;
	struct vhu_err err = {0};

	if (vhu_layout_make(&lo, &layout, &err) < 0 || vhu_mem_new(&layout, &mem, &err) < 0)
		die(&err);
	o.mem = mem;
	if (vhu_vring_new(&o, &ring, &err) < 0 ||
	    vhu_hot_new(ring, DEPTH, PARTS, false, on_breach, NULL, &hot, &err) < 0)
		die(&err);
	for (unsigned i = 0; i < DEPTH; i++) {
		uint64_t gpa = layout.data[0].gpa + i * 4096;
		struct vhu_sg sg[PARTS] = {{gpa, 16, false}, {gpa + 16, 512, true}, {gpa + 528, 1, true}};

		if (vhu_hot_chain(hot, i, sg, PARTS, &err) < 0)
			die(&err);
	}
	device.desc = vhu_mem_at(mem, layout.ring[0].desc, layout.ring[0].desc_len);
	device.avail = vhu_mem_at(mem, layout.ring[0].avail, layout.ring[0].avail_len);
	device.used = vhu_mem_at(mem, layout.ring[0].used, layout.ring[0].used_len);
	return hot;
}

static double checked(struct vhu_hot *hot)
{
	static struct vhu_hot_used back[DEPTH];
	uint16_t chains[DEPTH];
	unsigned n = DEPTH;
	uint64_t start = vhu_now_ns();

	for (uint16_t i = 0; i < DEPTH; i++)
		chains[i] = i;
	for (unsigned round = 0; round < ROUNDS; round++) {
		vhu_hot_send(hot, chains, n);
		serve();
		n = vhu_hot_reap(hot, back);
		for (unsigned i = 0; i < n; i++)
			chains[i] = back[i].chain;
	}
	return (double)(vhu_now_ns() - start) / ROUNDS / DEPTH;
}

/* The same loop, and whatever the used ring says is so. */
static double bare(void)
{
	uint16_t avail = device.seen, last = device.seen, heads[DEPTH];
	uint64_t start = vhu_now_ns();

	for (uint16_t i = 0; i < DEPTH; i++)
		heads[i] = (uint16_t)(i * PARTS);
	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned i = 0; i < DEPTH; i++)
			vhu_le_put(device.avail + 4 + 2 * (avail++ % SIZE), 2, heads[i]);
		__atomic_store_n((uint16_t *)(void *)(device.avail + 2), avail, __ATOMIC_RELEASE);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		serve();
		for (unsigned i = 0; i < DEPTH; i++)
			heads[i] = (uint16_t)vhu_le_get(device.used + 4 + 8 * (last++ % SIZE), 4);
	}
	return (double)(vhu_now_ns() - start) / ROUNDS / DEPTH;
}

int main(void)
{
	struct vhu_hot *hot = prepare();
	double ours = 1e9, floor = 1e9;

	for (int i = 0; i < RUNS; i++) {
		double t = checked(hot);

		ours = VHU_MIN(ours, t);
	}
	vhu_hot_free(hot);
	for (int i = 0; i < RUNS; i++) {
		double t = bare();

		floor = VHU_MIN(floor, t);
	}
	printf("checked %.1f ns a request, believed %.1f ns, checks %.1f ns\n", ours, floor, ours - floor);
	vhu_vring_free(ring);
	vhu_mem_free(mem);
	return fflush(stdout) ? 1 : 0;
}
