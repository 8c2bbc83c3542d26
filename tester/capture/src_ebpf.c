/* The passive source: eBPF programs in the kernel watch unix sockets, nothing changes for those who talk. */
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>

#include "capture/watch.h"
#include "capture/sources.h"
#include "capture/tap.h"
#include "privileges.h"
#include "tap.skel.h"

#define SWEEP_NS UINT64_C(100000000)
#define PACE_NS	 UINT64_C(20000000)
#define LATE_NS	 UINT64_C(1000000000)

enum {
	PERIOD_MS = 20,
	URGENT_NICE = -10,
	/* That waited in the ring: who records must not wait behind those who talk. */
	URGENT_BYTES = VHU_TAP_RING / 4 * 3,
	CALM_BYTES = 256 << 10,
	MANY = 4096, /* bytes a millisecond in the ring: those who talk are busy with that */
	HASTY = 100, /* messages a millisecond that nobody answers: a flood, */
	EASY = 10,   /* until it is over */
};

struct ebpf {
	struct vhu_tap *tap;
	struct ring_buffer *ring;
	struct bpf_link *links[8];
	size_t n_links;
	struct bpf_link *reads; /* NULL: in a flood, or never */
	struct vhu_watch *sessions;
	vhu_record_sink *sink;
	void *sink_ctx;
	uint64_t *existing; /* inodes of sockets, sorted */
	size_t n_existing;
	/* Of the ring: what was ever put in and taken out, in bytes, as the kernel counts. */
	const volatile unsigned long *put, *taken;
	unsigned long seen; /* of `put`, at `looked_ns` */
	uint64_t looked_ns, emptied_ns;
	bool busy; /* much came until then */
	uint64_t swept_ns;
	struct vhu_err *err;	 /* of the drain at hand */
	size_t drained;		 /* by it, so far */
	uint64_t paced_ns, flow; /* of the last event */
	uint64_t unanswered;	 /* events since then that followed one of the same flow */
	bool urgent;
	int nice;					 /* otherwise */
	struct pollfd processes[VHU_SOURCE_TARGETS_MAX]; /* that were named; without them nothing is left to
							    record */
	size_t n_processes;				 /* 0: other things were named, too */
};

/* libbpf's last complaint: it says more than an errno. */
static char complaint[512];

static int VHU_PRINTF(2, 0) keep_complaint(enum libbpf_print_level level, const char *format, va_list args)
{
	if (level == LIBBPF_WARN) {
		vsnprintf(complaint, sizeof(complaint), format, args);
		complaint[strcspn(complaint, "\n")] = '\0';
	}
	return 0;
}

static const char by_proxy[] = "without privileges: --proxy LISTEN=TARGET";

static int refused(struct vhu_err *err, int code, const char *what)
{
	if (code == -EPERM || code == -EACCES)
		return vhu_err_set(
			err, -EPERM,
			"%s: not permitted; it takes CAP_BPF and CAP_PERFMON (root has them)\n  %s", what,
			by_proxy);
	if (access("/sys/kernel/btf/vmlinux", R_OK) < 0)
		return vhu_err_set(err, -EOPNOTSUPP,
				   "%s: the kernel tells no types (CONFIG_DEBUG_INFO_BTF)\n  %s", what,
				   by_proxy);
	return vhu_err_set(err, code, "%s: %s%s%s\n  %s", what, strerror(-code), complaint[0] ? ": " : "",
			   complaint, by_proxy);
}

/* --- sockets that were there before ------------------------------------------------------------------ */

static int by_number(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static int add_existing(struct ebpf *e, size_t *cap, uint64_t ino)
{
	if (e->n_existing == *cap) {
		size_t more = *cap ? *cap * 2 : 1024;
		uint64_t *grown = realloc(e->existing, more * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		e->existing = grown;
		*cap = more;
	}
	e->existing[e->n_existing++] = ino;
	return 0;
}

static int list_sockets_of(struct ebpf *e, size_t *cap, const char *pid)
{
	char folder[64], link[64];
	struct dirent *entry;
	DIR *fds;
	int code = 0;

	snprintf(folder, sizeof(folder), "/proc/%.20s/fd", pid);
	fds = opendir(folder);
	while (fds && code == 0 && (entry = readdir(fds))) {
		ssize_t n = readlinkat(dirfd(fds), entry->d_name, link, sizeof(link) - 1);

		link[n > 0 ? n : 0] = '\0';
		if (!strncmp(link, "socket:[", 8))
			code = add_existing(e, cap, strtoull(link + 8, NULL, 10));
	}
	if (fds)
		closedir(fds);
	return code;
}

/* Of all processes; those that end meanwhile do not matter. */
static int list_sockets(struct ebpf *e, struct vhu_err *err)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	size_t cap = 0;
	int code = 0;

	while (proc && code == 0 && (entry = readdir(proc)))
		if (isdigit((unsigned char)entry->d_name[0]))
			code = list_sockets_of(e, &cap, entry->d_name);
	if (proc)
		closedir(proc);
	if (e->n_existing)
		qsort(e->existing, e->n_existing, sizeof(*e->existing), by_number);
	return code < 0 ? vhu_err_errno(err, code, "capture") : 0;
}

/* --- loading ----------------------------------------------------------------------------------------- */

/* Events that older kernels have not; what is missed without them is said in docs/capture.md. */
struct optional {
	struct bpf_program *program;
	const char *event;
};

static void leave_out_unknown(struct vhu_tap *tap)
{
	const struct optional rows[] = {
		{tap->progs.vhu_queued, "btf_trace_sk_data_ready"},
		{tap->progs.vhu_received, "btf_trace_sock_recv_length"},
	};
	struct btf *btf = btf__load_vmlinux_btf();

	for (size_t i = 0; btf && i < VHU_ARRAY_SIZE(rows); i++)
		if (btf__find_by_name_kind(btf, rows[i].event, BTF_KIND_TYPEDEF) < 0)
			bpf_program__set_autoload(rows[i].program, false);
	btf__free(btf);
}

/* The last two words of the path as the kernel has them; the rest is looked at when a connection shows up. */
static void configure_socket(struct vhu_tap *tap, size_t i, const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	char *folder, *text = strndup(path, slash ? (size_t)(slash - path) : 0);

	/* Abstract names have no file: everything is looked at. */
	if (path[0] == '@')
		tap->rodata->vhu_all = 1;
	snprintf((char *)tap->rodata->vhu_names[i], VHU_TAP_NAME, "%s", name);
	folder = text ? realpath(text[0] ? text : slash ? "/" : ".", NULL) : NULL;
	slash = folder ? strrchr(folder, '/') : NULL;
	if (slash)
		snprintf((char *)tap->rodata->vhu_folders[i], VHU_TAP_NAME, "%s", slash[1] ? slash + 1 : "/");
	free(folder);
	free(text);
}

/* What the kernel's verifier lets programs do; each includes those before it. */
enum reach { CALLS, CASTS, PAGES };

static void configure(struct vhu_tap *tap, const struct vhu_source_opts *o, enum reach reach)
{
	tap->rodata->vhu_all = o->all;
	for (size_t i = 0; i < o->n_sockets; i++)
		configure_socket(tap, i, o->sockets[i]);
	for (size_t i = 0; i < o->n_pids; i++)
		tap->rodata->vhu_pids[i] = o->pids[i];
	tap->rodata->vhu_n_names = (uint32_t)o->n_sockets;
	tap->rodata->vhu_n_pids = (uint32_t)o->n_pids;
	tap->rodata->vhu_pages = reach >= PAGES;
	tap->rodata->vhu_casts = reach >= CASTS;
	tap->rodata->vhu_self = (uint32_t)getpid();
	leave_out_unknown(tap);
}

static int attach_reads(struct ebpf *e)
{
	if (!bpf_program__autoload(e->tap->progs.vhu_received))
		return 0;
	e->reads = bpf_program__attach(e->tap->progs.vhu_received);
	e->tap->bss->vhu_reads = e->reads != NULL;
	return e->reads ? 0 : -errno;
}

static void detach_reads(struct ebpf *e)
{
	e->tap->bss->vhu_reads = 0;
	bpf_link__destroy(e->reads);
	e->reads = NULL;
}

/*
 * To be told of the end of each read costs those who talk as much as all the rest. Who sends on and on
 * without an answer is spared that. It takes no privileges to attach again what was loaded with them.
 */
static void keep_pace(struct ebpf *e, uint64_t now)
{
	uint64_t pace;

	if (now - e->paced_ns < PACE_NS)
		return;
	pace = e->unanswered * UINT64_C(1000000) / (now - e->paced_ns);
	if (pace > HASTY && e->reads)
		detach_reads(e);
	else if (pace < EASY && !e->reads)
		attach_reads(e);
	e->paced_ns = now;
	e->unanswered = 0;
}

static int attach(struct ebpf *e, struct vhu_err *err)
{
	struct bpf_program *const programs[] = {
		e->tap->progs.vhu_dropped,
		e->tap->progs.vhu_queued,
		e->tap->progs.vhu_exited,
		e->tap->progs.vhu_copied,
	};
	int code = attach_reads(e);

	if (code < 0)
		return refused(err, code, "eBPF");

	for (size_t i = 0; i < VHU_ARRAY_SIZE(programs); i++) {
		if (!bpf_program__autoload(programs[i]))
			continue;
		e->links[e->n_links] = bpf_program__attach(programs[i]);
		if (!e->links[e->n_links])
			return refused(err, -errno, "eBPF");
		e->n_links++;
	}
	return 0;
}

static void detach(struct ebpf *e)
{
	if (e->reads)
		detach_reads(e);
	for (size_t i = 0; i < e->n_links; i++)
		bpf_link__destroy(e->links[i]);
	e->n_links = 0;
}

/*
 * A high priority keeps the ring from running over, but moves those who talk together onto one processor: it
 * is for when the ring fills.
 */
static void set_urgent(struct ebpf *e, bool urgent)
{
	if (urgent != e->urgent && setpriority(PRIO_PROCESS, 0, urgent ? URGENT_NICE : e->nice) == 0)
		e->urgent = urgent;
}

static int on_event(void *ctx, void *event, size_t len)
{
	const struct vhu_tap_head *head = event;
	struct ebpf *e = ctx;

	e->drained += len;
	e->unanswered += head->flow == e->flow;
	e->flow = head->flow;
	if (e->drained > URGENT_BYTES)
		set_urgent(e, true);
	return vhu_watch_event(e->sessions, event, len, e->err);
}

static int load_programs(struct ebpf *e, const struct vhu_source_opts *o, enum reach reach)
{
	int code;

	e->tap = vhu_tap__open();
	if (!e->tap)
		return -errno;
	configure(e->tap, o, reach);
	code = vhu_tap__load(e->tap);
	if (code == 0)
		return 0;
	vhu_tap__destroy(e->tap);
	e->tap = NULL;
	return code;
}

/* The ring's first pages begin with what was taken out, then with what was put in. NULL, errno. */
static const unsigned long *map_count(const struct ebpf *e, int page)
{
	long size = sysconf(_SC_PAGESIZE);
	void *p = mmap(NULL, (size_t)size, PROT_READ, MAP_SHARED, bpf_map__fd(e->tap->maps.vhu_ring),
		       page * size);

	return p == MAP_FAILED ? NULL : p;
}

static void unmap_count(const volatile unsigned long *count)
{
	if (count)
		munmap((void *)count, (size_t)sysconf(_SC_PAGESIZE));
}

static int load(struct ebpf *e, const struct vhu_source_opts *o, struct vhu_err *err)
{
	int code = -EINVAL;

	complaint[0] = '\0';
	libbpf_set_print(keep_complaint);
	for (int reach = PAGES; reach >= CALLS && (code == -EINVAL || code == -EACCES); reach--)
		code = load_programs(e, o, (enum reach)reach);
	if (code < 0)
		return refused(err, code, "eBPF");
	e->ring = ring_buffer__new(bpf_map__fd(e->tap->maps.vhu_ring), on_event, e, NULL);
	e->taken = map_count(e, 0);
	e->put = map_count(e, 1);
	if (!e->ring || !e->taken || !e->put)
		return refused(err, -errno, "eBPF: its ring buffer");
	return 0;
}

/* --- sessions ---------------------------------------------------------------------------------------- */

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

/* Spares the kernel the work. Where it is not permitted any more, the events come and are passed over. */
static void ignore(void *ctx, uint64_t number)
{
	const struct ebpf *e = ctx;

	bpf_map_update_elem(bpf_map__fd(e->tap->maps.vhu_refused), &number, &number, BPF_ANY);
}

static bool flow_at(const struct ebpf *e, uint64_t sock, struct vhu_tap_flow *ret)
{
	uint32_t place;

	return bpf_map_lookup_elem(bpf_map__fd(e->tap->maps.vhu_places), &sock, &place) == 0 &&
	       bpf_map_lookup_elem(bpf_map__fd(e->tap->maps.vhu_flows), &place, ret) == 0;
}

static bool look_up(void *ctx, uint64_t sock, uint64_t flow, struct vhu_tap_flow ret[2])
{
	const struct ebpf *e = ctx;
	struct vhu_tap_flow *this = &ret[flow & 1], *other = &ret[!(flow & 1)];

	return flow_at(e, sock, this) && this->flow == flow && flow_at(e, this->peer, other) &&
	       other->flow == (flow ^ 1);
}

static int make_sessions(struct ebpf *e, const struct vhu_source_opts *o, vhu_record_sink *sink, void *ctx,
			 struct vhu_err *err)
{
	const struct vhu_watch_env env = {
		.clock_offset_ns = clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_MONOTONIC),
		.numbers = bpf_program__autoload(e->tap->progs.vhu_queued),
		.existing = e->existing,
		.n_existing = e->n_existing,
		.ignore = ignore,
		.look_up = look_up,
		.ctx = e,
	};

	e->sink = sink;
	e->sink_ctx = ctx;
	return vhu_watch_new(o, &env, sink, ctx, &e->sessions, err);
}

static void free_ebpf(struct ebpf *e)
{
	detach(e);
	ring_buffer__free(e->ring);
	unmap_count(e->taken);
	unmap_count(e->put);
	vhu_tap__destroy(e->tap);
	vhu_watch_free(e->sessions);
	free(e->existing);
	for (size_t i = 0; i < e->n_processes; i++)
		vhu_close(&e->processes[i].fd);
	free(e);
}

/* The right to a high priority outlives the privileges; without it, it has to do. */
static void allow_urgent(struct ebpf *e)
{
	const struct rlimit limit = {20 - URGENT_NICE, 20 - URGENT_NICE};

	e->nice = getpriority(PRIO_PROCESS, 0);
	setrlimit(RLIMIT_NICE, &limit);
}

/*
 * The ring has room for long: who records has its share of the processors, but does not take them from those
 * who talk whenever it wakes up.
 */
static void be_patient(void)
{
	const struct sched_param none = {0};

	if (sched_getscheduler(0) == SCHED_OTHER)
		sched_setscheduler(0, SCHED_BATCH, &none);
}

/* Those that are gone already have none. */
static void watch_processes(struct ebpf *e, const struct vhu_source_opts *o)
{
	if (o->all || o->n_sockets)
		return;
	for (size_t i = 0; i < o->n_pids; i++)
		e->processes[e->n_processes++] =
			(struct pollfd){.fd = (int)syscall(SYS_pidfd_open, o->pids[i], 0), .events = POLLIN};
}

/* Who they talked to may still read what they said last. */
static bool all_ended(struct ebpf *e)
{
	struct vhu_source_stats stats;
	size_t n = 0;

	poll(e->processes, e->n_processes, 0);
	for (size_t i = 0; i < e->n_processes; i++)
		n += e->processes[i].fd < 0 || e->processes[i].revents;
	vhu_watch_stats(e->sessions, &stats);
	return n && n == e->n_processes && !stats.open;
}

static int ebpf_open(const struct vhu_source_opts *o, vhu_record_sink *sink, void *ctx, void **ret,
		     struct vhu_err *err)
{
	struct ebpf *e = calloc(1, sizeof(*e));
	int code;

	if (!e)
		return vhu_err_errno(err, -ENOMEM, "capture");
	watch_processes(e, o);
	code = load(e, o, err);
	/* Sockets that are made between the list and the first event are new to both. */
	if (code == 0)
		code = list_sockets(e, err);
	if (code == 0)
		code = make_sessions(e, o, sink, ctx, err);
	if (code == 0)
		allow_urgent(e);
	if (code == 0)
		be_patient();
	if (code == 0)
		code = attach(e, err);
	if (code == 0)
		code = vhu_privileges_drop(err);
	if (code < 0) {
		free_ebpf(e);
		return code;
	}
	*ret = e;
	return 0;
}

static int ebpf_poll_fd(const void *source)
{
	return ring_buffer__epoll_fd(((const struct ebpf *)source)->ring);
}

/* Asks the kernel side to look for sockets that were closed; the answers come through the ring. */
static void sweep(struct ebpf *e, uint64_t now)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);

	e->swept_ns = now;
	bpf_prog_test_run_opts(bpf_program__fd(e->tap->progs.vhu_sweep), &opts);
}

/* Hands on what is in the ring. */
static int empty_ring(struct ebpf *e, uint64_t now, struct vhu_err *err)
{
	int code;

	if (now - e->swept_ns > SWEEP_NS)
		sweep(e, now);
	e->err = err;
	e->drained = 0;
	code = ring_buffer__consume(e->ring);
	if (e->drained < CALM_BYTES)
		set_urgent(e, false);
	if (code >= 0)
		code = vhu_watch_settle(e->sessions, now, err);
	else if (!err->code)
		vhu_err_errno(err, code, "eBPF: its ring buffer");
	return code < 0 ? code : 0;
}

/*
 * Who records would take the processors from those who talk. While they are busy what they say waits, as long
 * as the ring is not half full; a call behind another one is the kernel's, which says that it is.
 */
static bool can_wait(struct ebpf *e, uint64_t now)
{
	unsigned long put = *e->put;
	uint64_t since = now - e->looked_ns;
	bool was_busy = e->busy;

	if (since < PACE_NS / 2)
		return false;
	e->busy = (put - e->seen) / MANY > since / UINT64_C(1000000);
	e->seen = put;
	e->looked_ns = now;
	return was_busy && e->busy && put - *e->taken < VHU_TAP_RING / 2 && now - e->emptied_ns < LATE_NS;
}

static int ebpf_drain(void *source, struct vhu_err *err)
{
	struct ebpf *e = source;
	uint64_t now = clock_ns(CLOCK_MONOTONIC);
	int code;

	if (can_wait(e, now))
		return 0;
	code = empty_ring(e, now, err);
	e->emptied_ns = now;
	keep_pace(e, now);
	return code ? code : all_ended(e);
}

static void ebpf_stats(const void *source, struct vhu_source_stats *ret)
{
	const struct ebpf *e = source;

	vhu_watch_stats(e->sessions, ret);
	ret->lost = VHU_MAX(ret->lost, e->tap->bss->vhu_lost);
}

/* What was lost and belongs to no record that followed. */
static int tell_lost(struct ebpf *e, struct vhu_err *err)
{
	struct vhu_source_stats stats;
	uint64_t lost = e->tap->bss->vhu_lost;
	uint8_t count[8];
	const struct vhu_record r = {
		.channel = VHU_CAP_LIFE,
		.kind = VHU_CAP_LIFE_LOST,
		.tap = VHU_CAP_TAP_EBPF,
		.payload = count,
		.len = sizeof(count),
	};

	vhu_watch_stats(e->sessions, &stats);
	if (lost <= stats.lost)
		return 0;
	vhu_le_put(count, sizeof(count), lost - stats.lost);
	return e->sink(e->sink_ctx, &r, err);
}

static int ebpf_close(void *source, struct vhu_err *err)
{
	struct ebpf *e = source;
	int code = 0;

	/* Detached first: then what is in the ring is all there is. */
	detach(e);
	e->tap->bss->vhu_flush = 1;
	e->swept_ns = 0;
	code = empty_ring(e, clock_ns(CLOCK_MONOTONIC), err);
	if (code == 0)
		code = tell_lost(e, err);
	if (code == 0)
		code = vhu_watch_stop(e->sessions, clock_ns(CLOCK_MONOTONIC), err);
	free_ebpf(e);
	return code;
}

const struct vhu_source_ops vhu_source_ebpf = {
	.name = "ebpf",
	.tap = VHU_CAP_TAP_EBPF,
	.open = ebpf_open,
	.poll_fd = ebpf_poll_fd,
	.drain = ebpf_drain,
	.period_ms = PERIOD_MS,
	.stats = ebpf_stats,
	.close = ebpf_close,
};
