/* vhu-guest's main function: the target, the load, the report. */
#include "cli/guest.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/time.h>

#include "channel/target.h"
#include "cli/conform.h"
#include "engine/load.h"
#include "event/loop.h"
#include "plan/plan.h"

enum { TRACE_TAIL = 24, LIVE_MS = 500 };

static const uint64_t ms = 1000000;

struct session {
	const struct vhu_guest_cli *o;
	struct vhu_loop *loop;
	struct vhu_target *target, *then;
	struct vhu_engine *engine;
	struct vhu_facts facts, second; /* of the first one, but for what the other does not offer */
	struct vhu_load_progress last; /* what the live line has shown */
	FILE *json; /* or NULL */
	bool live;
	uint64_t features_left, pfeatures_left; /* that the second back-end does not have */
};

static int complain(const struct vhu_err *err, int exit_code)
{
	vhu_complain(vhu_guest_options.program, err);
	return exit_code;
}

static int print(struct vhu_buf *text)
{
	struct vhu_err err = {0};
	int code = VHU_EXIT_OK;

	if (text->failed || fputs(vhu_buf_text(text), stdout) < 0 || fflush(stdout)) {
		vhu_err_errno(&err, text->failed ? -ENOMEM : -errno, "standard output");
		code = complain(&err, VHU_EXIT_BROKEN);
	}
	vhu_buf_done(text);
	return code;
}

/* --- the target ------------------------------------------------------------------------------ */

/* The second program uses the disk of the first. */
static int open_then(struct session *s, struct vhu_err *err)
{
	struct vhu_target_cli cli = s->o->target;
	const char *at = strstr(s->o->then, "{image}"), *image = vhu_target_image(s->target);
	struct vhu_buf command = {0};
	int code;

	if (at && !image)
		return vhu_err_set(err, -EINVAL, "--then: {image} is that of --spawn, which names none");
	for (const char *from = s->o->then;; from = at + strlen("{image}"), at = strstr(from, "{image}")) {
		vhu_buf_printf(&command, "%.*s%s", at ? (int)(at - from) : (int)strlen(from), from,
			       at ? image : "");
		if (!at)
			break;
	}
	cli.spawn = vhu_buf_text(&command);
	cli.reference = false;
	cli.image_size = 0;
	code = command.failed ? vhu_err_errno(err, -ENOMEM, "--then")
			      : vhu_target_cli_new(s->loop, &cli, &s->then, err);
	vhu_buf_done(&command);
	return code;
}

static int open_session(struct session *s, struct vhu_err *err)
{
	static const int signals[] = {SIGINT, SIGTERM};
	const struct vhu_target_cli *t = &s->o->target;
	struct vhu_engine_opts opts = {
		.timeout_ns = t->timeout_ms * ms,
		.settle_ns = t->settle_ms * ms,
		.judge = {.spec = VHU_SINCE_V11_1},
		.seed = s->o->seed,
		.device = VHU_DEV_BLK,
		.identify = t->device == VHU_DEV_ANY && !t->reference,
		.queues = (unsigned)t->queues,
		.listen = t->listen != NULL,
		.trace_entries = TRACE_TAIL,
	};
	int code = vhu_loop_new(&s->loop, err);

	/* Whoever cannot write it says so before the load, not after it. */
	if (code == 0 && s->o->json)
		s->json = strcmp(s->o->json, "-") ? fopen(s->o->json, "we") : stdout;
	if (code == 0 && s->o->json && !s->json)
		code = vhu_err_errno(err, -errno, "%s", s->o->json);
	if (code == 0)
		code = vhu_loop_watch_signals(s->loop, signals, VHU_ARRAY_SIZE(signals), err);
	if (code == 0)
		code = vhu_target_cli_new(s->loop, t, &s->target, err);
	if (code == 0)
		code = vhu_engine_new(s->loop, s->target, &opts, &s->engine, err);
	if (code == 0 && s->o->then)
		code = open_then(s, err);
	return code;
}

static void close_session(struct session *s)
{
	vhu_engine_free(s->engine);
	vhu_target_free(s->then);
	vhu_target_free(s->target);
	vhu_loop_free(s->loop);
	if (s->json && s->json != stdout)
		fclose(s->json);
}

/* --- whether what is asked for fits ------------------------------------------------------------ */

static uint64_t config_field(const struct vhu_facts *f, const char *name)
{
	const struct vhu_config_row *row = vhu_config_by_name(VHU_DEV_BLK, name);

	return row && row->offset + row->size <= f->config_size
		       ? vhu_le_get(f->config + row->offset, row->size)
		       : 0;
}

/* The most rings that it can mean; 0: it does not say. */
static uint64_t rings_told(const struct vhu_facts *f)
{
	uint64_t of_config = f->features & VHU_V(VIRTIO_BLK_F_MQ) ? config_field(f, "num_queues") : 0;

	if (f->queue_num && of_config)
		return VHU_MIN(f->queue_num, of_config);
	return f->queue_num + of_config;
}

static int check_fit(const struct vhu_guest_cli *o, const struct vhu_facts *f, unsigned queues, uint64_t size,
		     struct vhu_err *err)
{
	uint64_t block = f->features & VHU_V(VIRTIO_BLK_F_BLK_SIZE) ? config_field(f, "blk_size") : 0;
	uint64_t size_max = f->features & VHU_V(VIRTIO_BLK_F_SIZE_MAX) ? config_field(f, "size_max") : 0;

	if (f->device != VHU_DEV_BLK)
		return vhu_err_set(err, -EINVAL, "the back-end is no block device");
	if (vhu_facts_host_managed(f))
		return vhu_err_set(err, -EINVAL, "the disk is host-managed: the load knows nothing of zones");
	if (!f->capacity)
		return vhu_err_set(err, -EINVAL,
				   "the back-end does not tell the size of its disk, or it is 0");
	if (size > f->capacity * VHU_C_SECTOR_SIZE)
		return vhu_err_set(err, -EINVAL, "--size: the disk has %llu bytes",
				   (unsigned long long)(f->capacity * VHU_C_SECTOR_SIZE));
	if (vhu_guest_writes(o) && f->read_only)
		return vhu_err_set(err, -EINVAL, "--rw %s: the disk is read-only", vhu_guest_rw_name(o->rw));
	if (block && o->bs % block)
		return vhu_err_set(err, -EINVAL,
				   "--bs: the disk has blocks of %llu bytes, %llu is no multiple",
				   (unsigned long long)block, (unsigned long long)o->bs);
	if (size_max && o->bs > size_max)
		return vhu_err_set(err, -EINVAL, "--bs: the back-end takes %llu bytes in one buffer",
				   (unsigned long long)size_max);
	if (rings_told(f) && queues > rings_told(f))
		return vhu_err_set(err, -EINVAL, "--queues: the back-end serves %llu",
				   (unsigned long long)rings_told(f));
	return 0;
}

/* --- a handover ------------------------------------------------------------------------------ */

/*
 * The second back-end tells what it is before the first one starts, for both use one disk: a guest that is to
 * move uses what both of them have.
 */
static int meet_second(struct session *s, struct vhu_err *err)
{
	int code;

	vhu_engine_use_target(s->engine, s->then);
	code = vhu_engine_probe(s->engine, &s->second, err);
	vhu_target_stop(s->then);
	vhu_engine_use_target(s->engine, s->target);
	return code;
}

static int join(struct session *s, struct vhu_err *err)
{
	const struct vhu_facts *second = &s->second;
	struct vhu_facts *f = &s->facts;

	if (second->capacity != f->capacity)
		return vhu_err_set(err, -EINVAL, "--then: its disk has %llu sectors, the first one's %llu",
				   (unsigned long long)second->capacity, (unsigned long long)f->capacity);
	s->features_left = f->features & ~second->features;
	s->pfeatures_left = f->pfeatures & ~second->pfeatures;
	f->features &= second->features;
	f->pfeatures &= second->pfeatures;
	return 0;
}

static int probe(struct session *s, struct vhu_err *err)
{
	int code = s->then ? meet_second(s, err) : 0;

	if (code == 0)
		code = vhu_engine_probe(s->engine, &s->facts, err);
	return code == 0 && s->then ? join(s, err) : code;
}

/* --- the load -------------------------------------------------------------------------------- */

static void show(void *ctx, const struct vhu_load_progress *p)
{
	struct session *s = ctx;
	double t = (double)(p->at_ns - s->last.at_ns) / 1e9;
	double iops = t > 0 ? (double)(p->sum.ios - s->last.sum.ios) / t : 0;

	printf("\r%.0f s  %.0f IOPS  %.1f MiB/s  %.1f us%s", (double)p->at_ns / 1e9, iops,
	       t > 0 ? (double)(p->sum.bytes - s->last.sum.bytes) / t / (1 << 20) : 0,
	       iops > 0 ? (double)s->o->depth * (double)VHU_MAX(s->o->target.queues, (uint64_t)1) * 1e6 / iops
			: 0,
	       vhu_guest_errors(&p->sum.errors) ? "  ERRORS" : "");
	if (p->crashes)
		printf("  %llu crashes", (unsigned long long)p->crashes);
	printf("\033[K");
	fflush(stdout);
	s->last = *p;
}

static struct vhu_load_opts load_opts(struct session *s, unsigned queues, uint64_t size)
{
	const struct vhu_guest_cli *o = s->o;
	struct vhu_load_opts l = {
		.guest = {.rw = o->rw,
			  .read_percent = o->read_percent,
			  .bs = (uint32_t)o->bs,
			  .depth = (unsigned)o->depth,
			  .queues = queues,
			  .size = size,
			  .ios = o->ios,
			  .forever = o->runtime_ns != 0,
			  .notify = o->notify,
			  .indirect = o->indirect,
			  .verify = o->verify,
			  .seed = o->seed,
			  .rate = o->rate,
			  .timeout_ns = o->target.timeout_ms * ms,
			  .n_cpus = o->n_cpus},
		.packed = o->packed,
		.event_idx = o->event_idx,
		.in_order = o->in_order,
		.ring_size = (uint16_t)o->ring_size,
		.backing = o->target.memory,
		.runtime_ns = o->runtime_ns,
		.crash_every_ns = o->crash_every_ms * ms,
		.reconnect_every_ns = o->reconnect_every_ms * ms,
		.then = s->then,
		.progress_ns = s->live ? LIVE_MS * ms : 0,
		.progress = show,
		.ctx = s,
	};

	if (o->target.max_time_s && (!l.runtime_ns || l.runtime_ns > o->target.max_time_s * 1000 * ms))
		l.runtime_ns = o->target.max_time_s * 1000 * ms;
	memcpy(l.guest.cpu, o->cpu, sizeof(l.guest.cpu));
	return l;
}

/* --max-time came before the load had done its part. */
static bool out_of_time(const struct vhu_guest_cli *o, const struct vhu_load_result *r)
{
	uint64_t most = o->target.max_time_s * 1000 * ms;

	return most && !r->signal && (!o->runtime_ns || o->runtime_ns > most) && r->runtime_ns >= most;
}

static int exit_code(const struct vhu_guest_cli *o, const struct vhu_load_result *r)
{
	/* Without a time a signal is how it is meant to end. */
	if (r->signal && o->runtime_ns)
		return VHU_EXIT_SIGNAL + r->signal;
	if (r->result.verdict == VHU_BROKEN)
		return VHU_EXIT_BROKEN;
	if (r->result.target_died || out_of_time(o, r))
		return VHU_EXIT_TARGET;
	if (r->result.verdict == VHU_FAIL || vhu_guest_errors(&r->sum.errors))
		return VHU_EXIT_FAILED;
	return r->sum.ios ? VHU_EXIT_OK : VHU_EXIT_EMPTY;
}

/* What the guest went without, since the second back-end does not have it. */
static void add_left(const struct session *s, struct vhu_buf *out)
{
	char names[600];

	if (s->features_left)
		vhu_buf_printf(
			out, "the second back-end has no %s\n",
			vhu_bit_names(VHU_NS_VIRTIO, VHU_DEV_BLK, s->features_left, names, sizeof(names)));
	if (s->pfeatures_left)
		vhu_buf_printf(
			out, "the second back-end has no %s\n",
			vhu_bit_names(VHU_NS_PROTOCOL, VHU_DEV_BLK, s->pfeatures_left, names, sizeof(names)));
}

static int report(const struct session *s, const struct vhu_load_result *r)
{
	struct vhu_buf text = {0};
	struct vhu_err err = {0};
	int code = VHU_EXIT_OK;

	if (s->live)
		printf("\r\033[K");
	if (!s->o->json || strcmp(s->o->json, "-")) {
		vhu_guest_report_text(s->o, r, &text);
		add_left(s, &text);
		code = print(&text);
	}
	if (s->json && vhu_guest_report_json(s->o, r, s->json, &err) < 0)
		code = complain(&err, VHU_EXIT_BROKEN);
	return code ? code : exit_code(s->o, r);
}

static int run(struct session *s)
{
	const struct vhu_guest_cli *o = s->o;
	unsigned queues = o->target.queues ? (unsigned)o->target.queues : 1;
	struct vhu_load_result result;
	struct vhu_load_opts opts;
	struct vhu_err err = {0};
	uint64_t size;
	int code = open_session(s, &err);

	if (code < 0)
		return complain(&err, code == -EINVAL ? VHU_EXIT_USAGE : VHU_EXIT_BROKEN);
	code = probe(s, &err);
	if (code == -EINTR)
		return VHU_EXIT_SIGNAL + vhu_loop_signalled(s->loop);
	if (code == -EINVAL)
		return complain(&err, VHU_EXIT_USAGE);
	if (code < 0)
		return complain(&err, code == -ENOMEM || code == -EIO ? VHU_EXIT_BROKEN : VHU_EXIT_TARGET);
	size = o->size ? o->size : s->facts.capacity * VHU_C_SECTOR_SIZE;
	size -= size % o->bs;
	code = check_fit(o, &s->facts, queues, size, &err);
	if (code == 0 && s->then && check_fit(o, &s->second, queues, size, &err) < 0)
		code = vhu_err_prefix(&err, "the second back-end");
	if (code < 0)
		return complain(&err, VHU_EXIT_USAGE);
	opts = load_opts(s, queues, size);
	code = vhu_engine_load(s->engine, &s->facts, &opts, &result, &err);
	if (code < 0)
		return complain(&err, code == -EINVAL ? VHU_EXIT_USAGE : VHU_EXIT_BROKEN);
	code = report(s, &result);
	vhu_load_result_done(&result);
	return code;
}

/* --- whatever happens, it ends ------------------------------------------------------------------- */

enum { PATIENCE_S = 3 };

static volatile sig_atomic_t seconds_left; /* 0: no bound */

/*
 * Each second. A signal that waits to be taken for some seconds finds nobody who takes it; and a run that is
 * long over its time is not over by itself.
 */
static void on_second(int signal)
{
	static volatile sig_atomic_t waits;
	int saved = errno, pending = 0;
	sigset_t set;

	sigpending(&set);
	pending = sigismember(&set, SIGINT) == 1 ? SIGINT : sigismember(&set, SIGTERM) == 1 ? SIGTERM : 0;
	waits = pending ? waits + 1 : 0;
	if (waits > PATIENCE_S)
		_exit(VHU_EXIT_SIGNAL + pending);
	if (seconds_left && --seconds_left == 0) {
		static const char text[] = "vhu-guest: the run does not end: given up\n";

		if (write(STDERR_FILENO, text, sizeof(text) - 1) >= 0)
			_exit(VHU_EXIT_BROKEN);
		_exit(VHU_EXIT_BROKEN);
	}
	errno = saved;
}

static void watch_over(const struct vhu_guest_cli *o)
{
	enum { SPARE_S = 60, STEPS = 8 };
	struct sigaction action = {.sa_handler = on_second, .sa_flags = SA_RESTART};
	struct itimerval each = {.it_value.tv_sec = 1, .it_interval.tv_sec = 1};

	if (o->runtime_ns && o->runtime_ns / 1000000000 < INT_MAX / 2)
		seconds_left = (sig_atomic_t)(o->runtime_ns / 1000000000 + SPARE_S +
					      STEPS * (o->target.timeout_ms / 1000 + 1));
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &each, NULL);
}

/* A report's reader that goes away is a write error, not our end. */
static void on_broken_pipe(int signal)
{
}

int vhu_guest_main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = on_broken_pipe, .sa_flags = SA_RESTART};
	const char *term = getenv("TERM");
	struct vhu_guest_cli o;
	struct session s = {.o = &o};
	struct vhu_buf text = {0};
	struct vhu_err err = {0};
	int code;

	sigaction(SIGPIPE, &action, NULL);
	if (vhu_guest_opts_parse(argc, argv, &o, &err) < 0)
		return complain(&err, VHU_EXIT_USAGE);
	s.live = !o.quiet && isatty(STDOUT_FILENO) && term && strcmp(term, "dumb") &&
		 !(o.json && !strcmp(o.json, "-"));
	if (o.help) {
		vhu_options_help(&vhu_guest_options, &text);
		code = print(&text);
	} else if (o.version) {
		vhu_buf_puts(&text, "vhu-guest " VHU_VERSION "\n");
		code = print(&text);
	} else {
		watch_over(&o);
		code = run(&s);
		close_session(&s);
	}
	vhu_guest_opts_done(&o);
	return code;
}
