/* vhu-capture: records the sessions of other programs into a file. */
#include "cli/capture.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <string.h>

#include "capture/sources.h"
#include "cli/conform.h"
#include "event/loop.h"
#include "trace/file.h"

struct vhu_capture_opts {
	struct vhu_source_opts source;
	const char *output;
	uint64_t duration_s;
	enum vhu_device device; /* what META says; VHU_DEV_ANY: nothing */
	char *proxy;		/* what source.listen and source.target point into */
	bool quiet, help, version;
	const char *const *logs; /* import: into parsed.rest */
	size_t n_logs;
	struct vhu_parsed parsed;
};

/* --- options ----------------------------------------------------------------------------------------- */

static int set_pid(void *opts, const char *arg, struct vhu_err *err)
{
	struct vhu_source_opts *o = &((struct vhu_capture_opts *)opts)->source;
	uint64_t pid;

	if (vhu_u64_parse(arg, &pid) < 0 || pid < 1 || pid > INT_MAX)
		return vhu_err_set(err, -EINVAL, "'%s' is no process id", arg);
	if (kill((pid_t)pid, 0) < 0 && errno == ESRCH)
		return vhu_err_set(err, -EINVAL, "there is no process %s", arg);
	if (o->n_pids == VHU_SOURCE_TARGETS_MAX)
		return vhu_err_set(err, -EINVAL, "at most %d", VHU_SOURCE_TARGETS_MAX);
	o->pids[o->n_pids++] = (uint32_t)pid;
	return 0;
}

static int set_socket(void *opts, const char *arg, struct vhu_err *err)
{
	struct vhu_source_opts *o = &((struct vhu_capture_opts *)opts)->source;

	if (!*arg)
		return vhu_err_set(err, -EINVAL, "an empty path");
	if (o->n_sockets == VHU_SOURCE_TARGETS_MAX)
		return vhu_err_set(err, -EINVAL, "at most %d", VHU_SOURCE_TARGETS_MAX);
	o->sockets[o->n_sockets++] = arg;
	return 0;
}

static int set_proxy(void *opts, const char *arg, struct vhu_err *err)
{
	struct vhu_capture_opts *o = opts;
	char *sign;

	if (o->proxy)
		return vhu_err_set(err, -EINVAL, "one is enough");
	o->proxy = strdup(arg);
	if (!o->proxy)
		return vhu_err_errno(err, -ENOMEM, "'%s'", arg);
	sign = strchr(o->proxy, '=');
	if (!sign || sign == o->proxy || !sign[1])
		return vhu_err_set(err, -EINVAL, "'%s' is not LISTEN=TARGET, two paths of sockets", arg);
	*sign = '\0';
	o->source.listen = o->proxy;
	o->source.target = sign + 1;
	return 0;
}

#define AT(field) .offset = offsetof(struct vhu_capture_opts, field)
#define WHAT	  "What to record"
#define HOW	  "How"
static int set_device(void *opts, const char *arg, struct vhu_err *err)
{
	return vhu_device_option(arg, NULL, &((struct vhu_capture_opts *)opts)->device, err);
}

static const struct vhu_option rows[] = {
	{"pid", 'p', "PID", WHAT,
	 "sessions of this process, whichever side it is; repeatable. Ends with the last of them",
	 VHU_OPTION_CALL, .set = set_pid},
	{"socket", 's', "PATH", WHAT,
	 "sessions over this socket (abstract ones: @NAME), now or once it is there; repeatable",
	 VHU_OPTION_CALL, .set = set_socket},
	{"all", 'a', NULL, WHAT, "every vhost-user session of this machine", VHU_OPTION_FLAG, AT(source.all)},
	{"proxy", 'x', "LISTEN=TARGET", WHAT,
	 "be a socket at LISTEN, and pass on to TARGET what comes there; needs no privileges",
	 VHU_OPTION_CALL, .set = set_proxy},
	{"memory", 'm', NULL, HOW,
	 "with --proxy: also the guest's memory that rings take, and what waits in them, whenever they start",
	 VHU_OPTION_FLAG, AT(source.memory)},
	{"write", 'w', "FILE", HOW, "where to; the same as the word FILE. - is standard output, for a pipe",
	 VHU_OPTION_TEXT, AT(output)},
	{"device", 'D', "NAME", HOW,
	 "the device type that the sessions are of, for the file: few of them tell it themselves",
	 VHU_OPTION_CALL, .set = set_device},
	{"duration", 'd', "SECONDS", HOW, "stop by itself after so long", VHU_OPTION_NUMBER, AT(duration_s),
	 .min = 1, .max = 1 << 30},
	{"quiet", 'q', NULL, HOW, "no words but of errors", VHU_OPTION_FLAG, AT(quiet)},
	{"help", 'h', NULL, HOW, "this text", VHU_OPTION_FLAG, AT(help)},
	{"version", 'V', NULL, HOW, "the version", VHU_OPTION_FLAG, AT(version)},
};

static const struct vhu_option_part part = {rows, VHU_ARRAY_SIZE(rows)};
static const struct vhu_option_part *const parts[] = {&part};

const struct vhu_option_table vhu_capture_options = {
	.program = "vhu-capture",
	.usage = "FILE.pcap (--pid PID | --socket PATH | --all | --proxy LISTEN=TARGET) [OPTIONS]\n"
		 "       vhu-capture import FILE.pcap STRACE.log…",
	.intro = "Records vhost-user sessions of other programs, without either side noticing: messages of "
		 "both "
		 "directions and all channels, and what is known of the descriptors that travel with them; "
		 "never "
		 "the guest's memory unless asked for (--memory). Ctrl-C ends it.",
	.outro = "It takes CAP_BPF and CAP_PERFMON (root has them), which are given up once it is attached; "
		 "a proxy\n"
		 "takes nothing: tell the front-end LISTEN in place of the back-end's socket.\n"
		 "\n"
		 "  vhu-capture -w - --all | wireshark -k -i -\n"
		 "\n"
		 "import reads what strace wrote, of either side or both:\n"
		 "  strace -f -xx -s 65536 -ttt -yy -o FILE -e trace=%network,read,write,close …\n"
		 "\n"
		 "Exit status: 0 fine; 2 usage; 3 it is not possible here, or the file could not be "
		 "written.\n",
	.parts = parts,
	.n_parts = VHU_ARRAY_SIZE(parts),
};

/* Which source the options ask for. */
static const struct vhu_source_ops *source_of(const struct vhu_capture_opts *o)
{
	if (o->proxy)
		return &vhu_source_proxy;
	return o->source.all || o->source.n_pids || o->source.n_sockets ? &vhu_source_ebpf : NULL;
}

/* "import FILE LOG…", or with --write: "import LOG…" */
static int check_import(struct vhu_capture_opts *o, struct vhu_err *err)
{
	const struct vhu_words *rest = &o->parsed.rest;
	size_t first = o->output ? 1 : 2;

	if (source_of(o) || o->source.memory)
		return vhu_err_set(err, -EINVAL,
				   "import goes with none of --pid, --socket, --all, --proxy, --memory");
	if (rest->n < first)
		return vhu_err_set(err, -EINVAL, "import: where to: a file is missing");
	if (!o->output)
		o->output = rest->items[1];
	if (rest->n == first)
		return vhu_err_set(err, -EINVAL, "import: what from: a log of strace is missing");
	o->logs = rest->items + first;
	o->n_logs = rest->n - first;
	return 0;
}

static int check_live(struct vhu_capture_opts *o, struct vhu_err *err)
{
	const struct vhu_words *rest = &o->parsed.rest;

	if (rest->n && !o->output) {
		o->output = rest->items[0];
		if (rest->n > 1)
			return vhu_err_set(err, -EINVAL, "%s: one file is enough", rest->items[1]);
	} else if (rest->n) {
		return vhu_err_set(err, -EINVAL, "%s: --write names the file already", rest->items[0]);
	}
	if (!o->output)
		return vhu_err_set(err, -EINVAL, "where to: a file is missing\n  '-w -' writes into a pipe");
	if (!source_of(o))
		return vhu_err_set(err, -EINVAL,
				   "what to record: none of --pid, --socket, --all, --proxy was given");
	if (o->source.memory && !o->proxy)
		return vhu_err_set(err, -EINVAL,
				   "--memory: only a proxy can see the guest's memory\n"
				   "  give --proxy in place of --pid, --socket, --all");
	if (o->proxy && (o->source.all || o->source.n_pids || o->source.n_sockets))
		return vhu_err_set(err, -EINVAL, "--proxy goes with none of --pid, --socket, --all");
	return 0;
}

static int check(struct vhu_capture_opts *o, struct vhu_err *err)
{
	const struct vhu_words *rest = &o->parsed.rest;
	int code = rest->n && !strcmp(rest->items[0], "import") ? check_import(o, err) : check_live(o, err);

	if (code < 0)
		return code;
	if (!strcmp(o->output, "-") && isatty(STDOUT_FILENO))
		return vhu_err_set(err, -EINVAL,
				   "-: a terminal cannot read captures\n  name a file, or a pipe");
	return 0;
}

/* --- recording --------------------------------------------------------------------------------------- */

#define LIVE_NS	 UINT64_C(500000000)
#define FLUSH_NS UINT64_C(100000000) /* what a recorder that is killed may take with it */

struct recording {
	const struct vhu_source_ops *ops;
	void *source;
	struct vhu_trace_writer *writer;
	struct vhu_err *err;
	uint64_t sessions, messages, lost;
	bool live;
	uint64_t told_ns;
	int code; /* negative: it is over because of this */
	bool ended, told;
};

/* A proxy's sessions go on when nothing can be written any more; that is told at once. */
static void tell_unrecorded(struct recording *c, const struct vhu_err *err)
{
	struct vhu_err told = *err;

	if (c->told || c->ops != &vhu_source_proxy)
		return;
	c->told = true;
	snprintf(told.text, sizeof(told.text), "%.900s\n  the sessions go on, but are no longer recorded",
		 err->text);
	vhu_complain("vhu-capture", &told);
}

static int put(void *ctx, const struct vhu_record *r, struct vhu_err *err)
{
	struct recording *c = ctx;
	int code;

	if (r->channel == VHU_CAP_LIFE && r->kind == VHU_CAP_LIFE_LOST && r->len == 8) {
		c->lost += vhu_le_get(r->payload, 8);
		vhu_trace_writer_lost(c->writer, r->connection, vhu_le_get(r->payload, 8));
	}
	c->sessions = VHU_MAX(c->sessions, (uint64_t)r->connection);
	c->messages += vhu_record_is_message(r);
	code = vhu_trace_writer_put(c->writer, r, err);
	if (code < 0 && err)
		tell_unrecorded(c, err);
	return code;
}

/* On a terminal: what there is so far. */
static void tell_state(struct recording *c)
{
	struct vhu_source_stats stats;
	uint64_t now = vhu_now_ns();

	if (!c->live || now - c->told_ns < LIVE_NS)
		return;
	c->told_ns = now;
	c->ops->stats(c->source, &stats);
	fprintf(stderr,
		"\r\033[K%" PRIu64 " sessions (%" PRIu64 " open), %" PRIu64 " messages, %" PRIu64 " lost ",
		stats.connections, stats.open, stats.messages, stats.lost);
}

static void drain(void *ctx, uint32_t events)
{
	struct recording *c = ctx;
	int code;

	if (c->code < 0 || c->ended)
		return;
	code = c->ops->drain(c->source, c->err);
	if (code < 0)
		c->code = code;
	c->ended = code > 0;
	tell_state(c);
}

static void flush(void *ctx, uint32_t events)
{
	struct recording *c = ctx;
	int code = c->code < 0 || c->told ? 0 : vhu_trace_writer_flush(c->writer, c->err);

	if (code < 0 && c->ops == &vhu_source_proxy)
		tell_unrecorded(c, c->err);
	else if (code < 0)
		c->code = code;
}

static bool is_over(void *ctx)
{
	const struct recording *c = ctx;

	return c->code < 0 || c->ended;
}

/* Until a signal, the end of the source or of the time. Errors are in c->code. */
static void wait_for_end(struct recording *c, struct vhu_loop *loop, const struct vhu_capture_opts *o)
{
	uint64_t deadline =
		o->duration_s ? vhu_loop_now(loop) + o->duration_s * UINT64_C(1000000000) : UINT64_MAX;
	struct vhu_source *ready = NULL, *timer = NULL, *flusher = NULL;
	int fd = c->ops->poll_fd(c->source), code = 0;

	if (fd >= 0)
		code = vhu_loop_add_fd(loop, fd, EPOLLIN, drain, c, &ready, c->err);
	if (code == 0)
		code = vhu_loop_add_timer(loop, 0, c->ops->period_ms * UINT64_C(1000000), drain, c, &timer,
					  c->err);
	if (code == 0)
		code = vhu_loop_add_timer(loop, FLUSH_NS, FLUSH_NS, flush, c, &flusher, c->err);
	if (code == 0)
		code = vhu_loop_run_until(loop, is_over, c, deadline, false, c->err);
	if (code < 0 && code != -EINTR && code != -ETIME && c->code == 0)
		c->code = code;
	vhu_source_free(ready);
	vhu_source_free(timer);
	vhu_source_free(flusher);
}

static void tell_end(const struct recording *c, const struct vhu_capture_opts *o)
{
	FILE *out = strcmp(o->output, "-") ? stdout : stderr;

	if (!o->quiet)
		fprintf(out, "%" PRIu64 " sessions, %" PRIu64 " messages, %" PRIu64 " lost\n", c->sessions,
			c->messages, c->lost);
}

static int record(struct recording *c, struct vhu_loop *loop, const struct vhu_capture_opts *o)
{
	int code = c->ops->open(&o->source, put, c, &c->source, c->err);

	if (code < 0)
		return code;
	if (!o->quiet)
		fprintf(stderr, "vhu-capture: recording to %s; Ctrl-C ends it\n", o->output);
	c->live = !o->quiet && isatty(STDERR_FILENO);
	wait_for_end(c, loop, o);
	if (c->told_ns)
		fputs("\r\033[K", stderr);
	if (c->code < 0) {
		struct vhu_err ignored = {0};

		c->ops->close(c->source, &ignored);
		return c->code;
	}
	code = c->ops->close(c->source, c->err);
	if (code == 0)
		tell_end(c, o);
	return code;
}

/* What the file's first record says. */
static struct vhu_trace_meta meta_of(const struct vhu_capture_opts *o, char *target, size_t cap)
{
	struct vhu_trace_meta meta = {.tool = "vhu-capture " VHU_VERSION, .level = o->source.memory ? 3 : 0};

	if (o->device == VHU_DEV_ANY)
		return meta;
	snprintf(target, cap, "{\"device\":\"%s\"}", vhu_device_row(o->device)->name);
	meta.target = target;
	return meta;
}

static int run(const struct vhu_capture_opts *o, struct vhu_err *err)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
	char target[64];
	const struct vhu_trace_meta meta = meta_of(o, target, sizeof(target));
	struct recording c = {.ops = source_of(o), .err = err};
	struct vhu_loop *loop;
	int code = vhu_loop_new(&loop, err), closed;

	if (code < 0)
		return code;
	signal(SIGPIPE, SIG_IGN);
	code = vhu_loop_watch_signals(loop, signals, VHU_ARRAY_SIZE(signals), err);
	if (code == 0)
		code = vhu_trace_writer_new(o->output, &meta, &c.writer, err);
	if (code == 0) {
		code = record(&c, loop, o);
		/* Whatever happened: what was recorded is there to be read. */
		closed = vhu_trace_writer_close(c.writer, code < 0 ? NULL : err);
		code = code < 0 ? code : closed;
	}
	vhu_loop_free(loop);
	/* Who reads our pipe has seen enough. */
	return code == -EPIPE && !strcmp(o->output, "-") ? 0 : code;
}

static int import(const struct vhu_capture_opts *o)
{
	char target[64];
	const struct vhu_trace_meta meta = meta_of(o, target, sizeof(target));

	return vhu_capture_import(o->output, &meta, o->logs, o->n_logs, o->quiet);
}

int vhu_capture_main(int argc, char **argv)
{
	struct vhu_capture_opts o = {.device = VHU_DEV_ANY};
	struct vhu_err err = {0};
	int exit_code = VHU_EXIT_OK;

	if (vhu_options_parse(&vhu_capture_options, argc, argv, &o, &o.parsed, &err) < 0) {
		vhu_complain("vhu-capture", &err);
		free(o.proxy);
		return VHU_EXIT_USAGE;
	}
	if (o.help) {
		struct vhu_buf text = {0};

		vhu_options_help(&vhu_capture_options, &text);
		fputs(vhu_buf_text(&text), stdout);
		vhu_buf_done(&text);
	} else if (o.version) {
		puts("vhu-capture " VHU_VERSION);
	} else if (check(&o, &err) < 0) {
		vhu_complain("vhu-capture", &err);
		exit_code = VHU_EXIT_USAGE;
	} else if (o.n_logs) {
		exit_code = import(&o);
	} else if (run(&o, &err) < 0) {
		vhu_complain("vhu-capture", &err);
		exit_code = VHU_EXIT_BROKEN;
	}
	vhu_parsed_done(&o.parsed);
	free(o.proxy);
	return exit_code;
}
