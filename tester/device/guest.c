/* A guest under load: its memory, its threads, and what is told of them. */
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>

#include "mem/mem.h"

enum { LINE = 64, PAGE = 4096 };

/* Headers, then data; each request's data begins on a page where it can. */
static uint64_t data_stride(uint32_t bs)
{
	return bs >= PAGE ? ((uint64_t)bs + PAGE - 1) / PAGE * PAGE : bs;
}

uint64_t vhu_guest_memory(uint32_t bs, unsigned depth)
{
	return (uint64_t)depth * (LINE + data_stride(bs)) + 4 * PAGE;
}

/* --- a queue --------------------------------------------------------------------------------------- */

static int lay_out(struct guest_queue *q, struct vhu_err *err)
{
	const struct vhu_guest_opts *o = &q->g->opts;
	struct vhu_mem *mem = vhu_driver_mem(o->driver);
	uint64_t headers, data, stride = data_stride(o->bs);
	int r = vhu_mem_alloc(mem, (uint64_t)o->depth * LINE, PAGE, &headers, err);

	if (r == 0)
		r = vhu_mem_alloc(mem, o->depth * stride, PAGE, &data, err);
	for (unsigned i = 0; i < o->depth && r == 0; i++) {
		struct vhu_sg sg[VHU_GUEST_PARTS] = {
			{.gpa = headers + (uint64_t)i * LINE, .len = GUEST_HEADER},
			{.gpa = data + i * stride, .len = o->bs, .write = true},
			{.gpa = headers + (uint64_t)i * LINE + GUEST_HEADER, .len = 1, .write = true},
		};

		q->slot[i].header = vhu_mem_at(mem, sg[0].gpa, LINE);
		q->slot[i].data = vhu_mem_at(mem, sg[1].gpa, o->bs);
		q->slot[i].header_gpa = sg[0].gpa;
		q->slot[i].data_gpa = sg[1].gpa;
		memset(q->slot[i].header, 0, LINE);
		vhu_le_put(q->slot[i].header + GUEST_HEADER + 1, 7, GUEST_GUARD);
		r = vhu_hot_chain(q->hot, i, sg, VHU_GUEST_PARTS, err);
		q->free[q->n_free++] = (uint16_t)(o->depth - 1 - i);
	}
	return r;
}

static int watch(struct guest_queue *q, int fd, bool call)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.u32 = call};

	return fd < 0 || epoll_ctl(q->epoll, EPOLL_CTL_ADD, fd, &ev) == 0 ? 0 : -errno;
}

static void on_event(void *ctx, const struct vhu_ring_event *event)
{
	struct guest_queue *q = ctx;

	vhu_guest_count(event->breach == VHU_BREACH_USED_TWICE ? &q->counts.duplicated : &q->counts.ring, 1);
	vhu_guest_tell(q, event);
}

/* Both descriptors tell by their edges: nobody has to read them. */
static int open_queue(struct guest_queue *q, struct vhu_err *err)
{
	const struct vhu_guest_opts *o = &q->g->opts;
	int r = 0;

	q->epoll = epoll_create1(EPOLL_CLOEXEC);
	q->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (q->epoll < 0 || q->wake < 0 || watch(q, q->wake, false) < 0 ||
	    watch(q, vhu_vring_fd(q->v, VHU_VRING_CALL), true) < 0)
		return vhu_err_errno(err, -errno, "queue %u", q->index);
	q->slot = calloc(o->depth, sizeof(*q->slot));
	q->free = calloc(o->depth, sizeof(*q->free));
	q->batch = calloc(o->depth, sizeof(*q->batch));
	q->used = calloc(o->depth, sizeof(*q->used));
	if (o->verify) {
		q->generation = calloc(q->blocks, sizeof(*q->generation));
		q->busy = calloc(q->blocks, sizeof(*q->busy));
	}
	if (!q->slot || !q->free || !q->batch || !q->used || (o->verify && (!q->generation || !q->busy)))
		return vhu_err_set(err, -ENOMEM, "queue %u: out of memory", q->index);
	r = vhu_hot_new(q->v, o->depth, VHU_GUEST_PARTS, o->indirect, on_event, q, &q->hot, err);
	return r < 0 ? r : lay_out(q, err);
}

/* The disk in equal parts, and the requests. */
static void share_out(struct guest_queue *q)
{
	const struct vhu_guest_opts *o = &q->g->opts;
	uint64_t blocks = o->size / o->bs;

	q->first = blocks * q->index / o->queues;
	q->blocks = blocks * (q->index + 1) / o->queues - q->first;
	q->sectors = o->bs / VHU_C_SECTOR_SIZE;
	q->left = UINT64_MAX;
	if (o->ios)
		q->left = o->ios * (q->index + 1) / o->queues - o->ios * q->index / o->queues;
	else if (o->rw == VHU_GUEST_VERIFY && !o->forever)
		q->left = 2 * q->blocks;
}

/* Whether each thread can have a processor to itself. */
static bool has_processors(const struct vhu_guest_opts *o)
{
	cpu_set_t set;

	if (o->n_cpus)
		return o->queues <= o->n_cpus;
	return sched_getaffinity(0, sizeof(set), &set) == 0 && o->queues <= (unsigned)CPU_COUNT(&set);
}

static int start(struct guest_queue *q, struct vhu_err *err)
{
	const struct vhu_guest_opts *o = &q->g->opts;
	pthread_attr_t attr;
	sigset_t all, old;
	int r;

	pthread_attr_init(&attr);
	if (o->n_cpus) {
		cpu_set_t set;

		CPU_ZERO(&set);
		CPU_SET(o->cpu[q->index % o->n_cpus], &set);
		pthread_attr_setaffinity_np(&attr, sizeof(set), &set);
	}
	/* Signals are the caller's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&q->thread, &attr, vhu_guest_thread, q);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	q->started = r == 0;
	return r ? vhu_err_errno(err, -r, "the thread of queue %u", q->index) : 0;
}

static void close_queue(struct guest_queue *q)
{
	vhu_hot_free(q->hot);
	vhu_close(&q->epoll);
	vhu_close(&q->wake);
	free(q->slot);
	free(q->free);
	free(q->batch);
	free(q->used);
	free(q->generation);
	free(q->busy);
}

/* --- all of them ----------------------------------------------------------------------------------- */

static int check(const struct vhu_guest_opts *o, struct vhu_err *err)
{
	if (o->bs == 0 || o->bs % VHU_C_SECTOR_SIZE)
		return vhu_err_set(err, -EINVAL, "a block of %u bytes: must be a multiple of %d", o->bs,
				   VHU_C_SECTOR_SIZE);
	if (o->queues == 0 || o->queues > vhu_driver_rings(o->driver))
		return vhu_err_set(err, -EINVAL, "%u queues, the guest has %zu", o->queues,
				   vhu_driver_rings(o->driver));
	if (o->size / o->bs < o->queues * (o->verify ? (uint64_t)o->depth : 1))
		return vhu_err_set(
			err, -EINVAL,
			"the disk has %llu blocks of %u bytes: too few for %u queue%s of %u requests",
			(unsigned long long)(o->size / o->bs), o->bs, o->queues, o->queues == 1 ? "" : "s",
			o->depth);
	return 0;
}

int vhu_guest_new(const struct vhu_guest_opts *opts, struct vhu_guest **ret, struct vhu_err *err)
{
	int r = check(opts, err);
	struct vhu_guest *g;

	if (r < 0)
		return r;
	g = calloc(1, sizeof(*g));
	if (!g)
		return vhu_err_set(err, -ENOMEM, "out of memory");
	g->opts = *opts;
	/* What an earlier run left on the disk is none of this one's. */
	g->content_seed = vhu_mix64(opts->seed) ^ vhu_mix64(vhu_now_ns());
	atomic_init(&g->want, GUEST_PAUSE);
	g->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	g->queue = aligned_alloc(LINE, (opts->queues * sizeof(*g->queue) + LINE - 1) / LINE * LINE);
	if (g->queue)
		memset(g->queue, 0, opts->queues * sizeof(*g->queue));
	if (g->fd < 0 || !g->queue)
		r = vhu_err_set(err, -ENOMEM, "out of memory or descriptors");
	for (unsigned i = 0; i < opts->queues && g->queue; i++)
		g->queue[i] = (struct guest_queue){
			.g = g, .index = i, .v = vhu_driver_ring(opts->driver, i), .epoll = -1, .wake = -1};
	for (unsigned i = 0; i < opts->queues && r == 0; i++) {
		share_out(&g->queue[i]);
		g->queue[i].alone = has_processors(opts);
		g->queue[i].tells_written = opts->packed && !opts->in_order;
		g->queue[i].plain =
			!opts->verify && (opts->rw == VHU_GUEST_RANDREAD || opts->rw == VHU_GUEST_RANDWRITE);
		vhu_rng_init(&g->queue[i].rng, opts->seed + i);
		r = open_queue(&g->queue[i], err);
	}
	for (unsigned i = 0; i < opts->queues && r == 0; i++)
		r = start(&g->queue[i], err);
	if (r < 0)
		vhu_guest_free(g);
	else
		*ret = g;
	return r;
}

static void want(struct vhu_guest *g, enum guest_want what)
{
	atomic_store_explicit(&g->want, (int)what, memory_order_release);
	for (unsigned i = 0; i < g->opts.queues; i++)
		if (g->queue[i].started)
			eventfd_write(g->queue[i].wake, 1);
}

void vhu_guest_free(struct vhu_guest *g)
{
	if (!g)
		return;
	if (g->queue) {
		want(g, GUEST_QUIT);
		for (unsigned i = 0; i < g->opts.queues; i++)
			if (g->queue[i].started)
				pthread_join(g->queue[i].thread, NULL);
		for (unsigned i = 0; i < g->opts.queues; i++)
			close_queue(&g->queue[i]);
	}
	vhu_close(&g->fd);
	free(g->log.page);
	free(g->queue);
	free(g);
}

void vhu_guest_go(struct vhu_guest *g)
{
	want(g, GUEST_RUN);
}

void vhu_guest_drain(struct vhu_guest *g)
{
	want(g, GUEST_DRAIN);
}

void vhu_guest_pause(struct vhu_guest *g)
{
	want(g, GUEST_PAUSE);
}

static bool all_are(const struct vhu_guest *g, enum guest_state state)
{
	for (unsigned i = 0; i < g->opts.queues; i++)
		if (atomic_load_explicit(&g->queue[i].state, memory_order_acquire) != (int)state)
			return false;
	return true;
}

bool vhu_guest_paused(const struct vhu_guest *g)
{
	return all_are(g, GUEST_PAUSED);
}

bool vhu_guest_finished(const struct vhu_guest *g)
{
	return all_are(g, GUEST_FINISHED);
}

static void replaced(struct guest_queue *q, bool again)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < q->g->opts.depth; i++) {
		q->slot[i].recovering = vhu_hot_sent(q->hot, i);
		n += q->slot[i].recovering;
	}
	atomic_store_explicit(&q->counts.recovering, n, memory_order_relaxed);
	q->resend = true;
	q->again = again;
	if (again)
		vhu_hot_reset(q->hot);
}

void vhu_guest_replaced(struct vhu_guest *g, bool again)
{
	for (unsigned i = 0; i < g->opts.queues; i++)
		replaced(&g->queue[i], again);
}

void vhu_guest_catch_up(struct vhu_guest *g)
{
	for (unsigned i = 0; i < g->opts.queues; i++) {
		struct guest_queue *q = &g->queue[i];

		vhu_guest_reap(q, false);
		/* Whoever serves it from now on has no part in that log. */
		for (unsigned k = 0; k < g->opts.depth; k++)
			q->slot[k].round = 0;
	}
}

bool vhu_guest_moved(const struct vhu_guest *g, unsigned queue)
{
	return vhu_hot_ready(g->queue[queue].hot, 1);
}

uint64_t vhu_guest_recovering(const struct vhu_guest *g)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < g->opts.queues; i++)
		n += atomic_load_explicit(&g->queue[i].counts.recovering, memory_order_relaxed);
	return n;
}

unsigned vhu_guest_inflight(const struct vhu_guest *g, unsigned queue)
{
	return atomic_load_explicit(&g->queue[queue].counts.inflight, memory_order_relaxed);
}

bool vhu_guest_stuck(const struct vhu_guest *g)
{
	for (unsigned i = 0; i < g->opts.queues; i++)
		if (g->queue[i].stuck)
			return true;
	return false;
}

/* --- what it tells --------------------------------------------------------------------------------- */

int vhu_guest_fd(const struct vhu_guest *g)
{
	return g->fd;
}

void vhu_guest_heard(struct vhu_guest *g)
{
	uint64_t count;

	while (read(g->fd, &count, sizeof(count)) > 0)
		;
}

bool vhu_guest_next(struct vhu_guest *g, struct vhu_ring_event *ret)
{
	for (unsigned i = 0; i < g->opts.queues; i++) {
		struct guest_queue *q = &g->queue[i];
		unsigned taken = atomic_load_explicit(&q->taken, memory_order_relaxed);

		if (taken == atomic_load_explicit(&q->put, memory_order_acquire))
			continue;
		*ret = q->event[taken % GUEST_EVENTS];
		atomic_store_explicit(&q->taken, taken + 1, memory_order_release);
		return true;
	}
	return false;
}

uint64_t vhu_guest_dropped(const struct vhu_guest *g)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < g->opts.queues; i++)
		n += atomic_load_explicit(&g->queue[i].counts.dropped, memory_order_relaxed);
	return n;
}

static uint64_t cpu_of(const struct guest_queue *q)
{
	struct timespec ts;
	clockid_t clock;

	if (!q->started || pthread_getcpuclockid(q->thread, &clock) || clock_gettime(clock, &ts) < 0)
		return 0;
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

void vhu_guest_stats(const struct vhu_guest *g, unsigned queue, struct vhu_guest_stats *ret)
{
	const struct guest_queue *q = &g->queue[queue];
	const struct guest_counts *c = &q->counts;

#define LOAD(counter) atomic_load_explicit(&c->counter, memory_order_relaxed)
	*ret = (struct vhu_guest_stats){
		.ios = LOAD(ios),
		.bytes = LOAD(bytes),
		.recovered = LOAD(recovered),
		.kicks = LOAD(kicks),
		.sleeps = LOAD(sleeps),
		.cpu_ns = cpu_of(q),
		.errors = {.io = LOAD(io),
			   .lost = LOAD(lost),
			   .duplicated = LOAD(duplicated),
			   .torn = LOAD(torn),
			   .stale = LOAD(stale),
			   .misplaced = LOAD(misplaced),
			   .ring = LOAD(ring)},
	};
#undef LOAD
}

const struct vhu_histogram *vhu_guest_latency(const struct vhu_guest *g, unsigned queue)
{
	return &g->queue[queue].latency;
}
