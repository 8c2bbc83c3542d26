/*
 * The floor of tools/bench/null.py: a split ring between two threads, each on a processor of its own and
 * looking all the time, with what the ring's rules ask of both and nothing else. Requests are chains of
 * header, data and status.
 *
 *   bench-two-threads DEPTH SECONDS [--line]
 *
 * Prints requests a second; --line: nanoseconds there and back of one word, the floor of a latency.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SIZE = 512, PARTS = 3, NEXT = 1, WRITE = 2, PATIENCE = 1 << 14, WORDS = 200000 };

static struct {
	struct {
		uint64_t addr;
		uint32_t len;
		uint16_t flags, next;
	} desc[SIZE];
	_Alignas(64) _Atomic uint16_t avail_flags, avail;
	uint16_t avail_ring[SIZE];
	_Alignas(64) _Atomic uint16_t used_flags, used;
	struct {
		uint32_t id, len;
	} used_ring[SIZE];
	_Alignas(64) _Atomic bool stop;
	struct {
		_Alignas(64) uint32_t type, reserved;
		uint64_t sector;
		uint8_t status;
	} request[SIZE];
	_Alignas(64) _Atomic uint64_t word;
	_Alignas(64) _Atomic uint64_t answer;
} shared;

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void pin(int nth)
{
	cpu_set_t all, one;

	CPU_ZERO(&one);
	sched_getaffinity(0, sizeof(all), &all);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &all) && nth-- == 0)
			CPU_SET(cpu, &one);
	if (CPU_COUNT(&one))
		pthread_setaffinity_np(pthread_self(), sizeof(one), &one);
}

/* The other thread may have no processor of its own. */
static void look_again(unsigned *looks)
{
	if (++*looks % PATIENCE == 0)
		sched_yield();
}

/* Whether the other side asks to be told, which has to be looked up after each change of an index. */
static bool wanted(const _Atomic uint16_t *flags)
{
	atomic_thread_fence(memory_order_seq_cst);
	return !atomic_load_explicit(flags, memory_order_relaxed);
}

static void *device(void *ctx)
{
	uint16_t last = 0, used = 0;
	unsigned looks = 0;

	pin(1);
	while (!atomic_load_explicit(&shared.stop, memory_order_relaxed)) {
		uint16_t avail = atomic_load_explicit(&shared.avail, memory_order_acquire);

		if (avail == last)
			look_again(&looks);
		if (avail == last)
			continue;
		for (; last != avail; last++) {
			uint16_t head = shared.avail_ring[last % SIZE], at = head;
			uint32_t written = 0;

			if (*(uint32_t *)(uintptr_t)shared.desc[at].addr > 1)
				abort();
			for (;;) {
				written += shared.desc[at].flags & WRITE ? shared.desc[at].len : 0;
				if (!(shared.desc[at].flags & NEXT))
					break;
				at = shared.desc[at].next;
			}
			*(uint8_t *)(uintptr_t)shared.desc[at].addr = 0;
			shared.used_ring[used % SIZE].id = head;
			shared.used_ring[used++ % SIZE].len = written;
		}
		atomic_store_explicit(&shared.used, used, memory_order_release);
		if (wanted(&shared.avail_flags))
			abort();
	}
	return ctx;
}

static void prepare(int depth)
{
	static uint8_t data[4096];

	shared.avail_flags = shared.used_flags = 1; /* both look all the time */
	for (int i = 0; i < depth; i++) {
		int at = i * PARTS;

		shared.desc[at].addr = (uintptr_t)&shared.request[i];
		shared.desc[at].len = 16;
		shared.desc[at].flags = NEXT;
		shared.desc[at + 1].addr = (uintptr_t)data;
		shared.desc[at + 1].len = sizeof(data);
		shared.desc[at + 1].flags = NEXT | WRITE;
		shared.desc[at + 2].addr = (uintptr_t)&shared.request[i].status;
		shared.desc[at + 2].len = 1;
		shared.desc[at + 2].flags = WRITE;
		shared.desc[at].next = (uint16_t)(at + 1);
		shared.desc[at + 1].next = (uint16_t)(at + 2);
	}
}

static double drive(int depth, double seconds)
{
	uint16_t avail = 0, last = 0, ready[SIZE], n = 0;
	double start = now(), end = start + seconds;
	unsigned rounds = 0, looks = 0;
	uint64_t done = 0;

	for (int i = 0; i < depth; i++)
		ready[n++] = (uint16_t)(i * PARTS);
	while (++rounds % 1024 || now() < end) {
		uint16_t used;

		for (; n; n--) {
			uint16_t head = ready[n - 1];

			shared.request[head / PARTS].sector = done * 8;
			shared.request[head / PARTS].status = 0xff;
			shared.avail_ring[avail++ % SIZE] = head;
		}
		atomic_store_explicit(&shared.avail, avail, memory_order_release);
		if (wanted(&shared.used_flags))
			abort();
		used = atomic_load_explicit(&shared.used, memory_order_acquire);
		if (used == last)
			look_again(&looks);
		for (; last != used; last++) {
			uint16_t head = (uint16_t)shared.used_ring[last % SIZE].id;

			if (shared.request[head / PARTS].status)
				abort();
			ready[n++] = head;
			done++;
		}
	}
	atomic_store(&shared.stop, true);
	return (double)done / (now() - start);
}

static void *echo(void *ctx)
{
	uint64_t seen = 0;
	unsigned looks = 0;

	pin(1);
	while (seen < WORDS) {
		uint64_t word = atomic_load_explicit(&shared.word, memory_order_acquire);

		if (word == seen)
			look_again(&looks);
		else
			atomic_store_explicit(&shared.answer, seen = word, memory_order_release);
	}
	return ctx;
}

static double line(void)
{
	double start = now();
	unsigned looks = 0;

	for (uint64_t i = 1; i <= WORDS; i++) {
		atomic_store_explicit(&shared.word, i, memory_order_release);
		while (atomic_load_explicit(&shared.answer, memory_order_acquire) != i)
			look_again(&looks);
	}
	return (now() - start) * 1e9 / WORDS;
}

int main(int argc, char **argv)
{
	bool words = argc > 3 && !strcmp(argv[3], "--line");
	int depth = argc > 2 ? atoi(argv[1]) : 0;
	pthread_t thread;
	double result;

	if (depth < 1 || depth * PARTS > SIZE)
		return 2;
	prepare(depth);
	if (pthread_create(&thread, NULL, words ? echo : device, NULL))
		return 1;
	pin(0);
	result = words ? line() : drive(depth, strtod(argv[2], NULL));
	pthread_join(thread, NULL);
	printf("%.0f\n", result);
	return fflush(stdout) ? 1 : 0;
}
