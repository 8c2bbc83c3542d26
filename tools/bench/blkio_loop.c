/*
 * The peer of vhu-guest in tools/bench/io.py: a bare loop on libblkio, as small as it can be. A thread for
 * each queue keeps DEPTH requests in flight and waits for at least one.
 *
 *   bench-blkio SOCKET read|write BS DEPTH QUEUES SECONDS     prints "IOS SECONDS CPU-SECONDS"
 */
#include <blkio.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { QUEUES_MAX = 64, DEPTH_MAX = 1024, LOOKS = 64 };

static struct work {
	pthread_t thread;
	struct blkioq *queue;
	uint8_t *memory;
	uint64_t blocks, seed, ios;
	double cpu;
} work[QUEUES_MAX];

static bool writes;
static size_t bs;
static int depth;
static double seconds;

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "bench-blkio: %s: %s\n", what, blkio_get_error_msg());
	exit(1);
}

static double now(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void submit(struct work *w, size_t slot)
{
	uint64_t at;

	w->seed ^= w->seed << 13;
	w->seed ^= w->seed >> 7;
	w->seed ^= w->seed << 17;
	at = w->seed % w->blocks * bs;
	if (writes)
		blkioq_write(w->queue, at, w->memory + slot * bs, bs, (void *)slot, 0);
	else
		blkioq_read(w->queue, at, w->memory + slot * bs, bs, (void *)slot, 0);
}

static void *loop(void *ctx)
{
	static __thread struct blkio_completion done[DEPTH_MAX];
	struct work *w = ctx;
	double cpu = now(CLOCK_THREAD_CPUTIME_ID), end = now(CLOCK_MONOTONIC) + seconds;
	unsigned rounds = 0;

	for (int i = 0; i < depth; i++)
		submit(w, (size_t)i);
	while (++rounds % LOOKS || now(CLOCK_MONOTONIC) < end) {
		int n = blkioq_do_io(w->queue, done, 1, depth, NULL);

		if (n < 0)
			die("do_io");
		for (int i = 0; i < n; i++) {
			if (done[i].ret)
				die("a request failed");
			submit(w, (size_t)done[i].user_data);
		}
		w->ios += (uint64_t)n;
	}
	w->cpu = now(CLOCK_THREAD_CPUTIME_ID) - cpu;
	return NULL;
}

int main(int argc, char **argv)
{
	struct blkio_mem_region region;
	uint64_t capacity, ios = 0;
	struct blkio *b;
	double start, cpu = 0;
	int queues;

	if (argc < 7)
		return 2;
	writes = !strcmp(argv[2], "write");
	bs = strtoul(argv[3], NULL, 10);
	depth = atoi(argv[4]);
	queues = atoi(argv[5]);
	seconds = strtod(argv[6], NULL);
	if (depth > DEPTH_MAX || queues > QUEUES_MAX)
		return 2;
	if (blkio_create("virtio-blk-vhost-user", &b) || blkio_set_str(b, "path", argv[1]) ||
	    blkio_connect(b) || blkio_set_int(b, "num-queues", queues) || blkio_start(b) ||
	    blkio_get_uint64(b, "capacity", &capacity))
		die("start");
	if (blkio_alloc_mem_region(b, &region, bs * (size_t)depth * (size_t)queues) ||
	    blkio_map_mem_region(b, &region))
		die("memory");
	start = now(CLOCK_MONOTONIC);
	for (int i = 0; i < queues; i++) {
		work[i] = (struct work){.queue = blkio_get_queue(b, i),
					.memory = (uint8_t *)region.addr + (size_t)i * (size_t)depth * bs,
					.blocks = capacity / bs,
					.seed = 88172645463325252u + (uint64_t)i};
		memset(work[i].memory, i, (size_t)depth * bs);
		if (pthread_create(&work[i].thread, NULL, loop, &work[i]))
			return 1;
	}
	for (int i = 0; i < queues; i++) {
		pthread_join(work[i].thread, NULL);
		ios += work[i].ios;
		cpu += work[i].cpu;
	}
	printf("%llu %.6f %.6f\n", (unsigned long long)ios, now(CLOCK_MONOTONIC) - start, cpu);
	return fflush(stdout) ? 1 : 0;
}
