/* vhu-capture import: a capture out of logs that another program wrote. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "capture/import.h"
#include "cli/capture.h"
#include "cli/conform.h"
#include "trace/file.h"

struct output {
	const char *path;
	struct vhu_trace_meta meta;
	struct vhu_trace_writer *writer; /* made for the first record, whose time it begins with */
	bool failed;			 /* it is the capture that cannot be written */
};

static int put(void *ctx, const struct vhu_record *r, struct vhu_err *err)
{
	struct output *o = ctx;
	int code = 0;

	o->meta.t_ns = r->t_ns;
	if (!o->writer)
		code = vhu_trace_writer_new(o->path, &o->meta, &o->writer, err);

	if (code == 0)
		code = vhu_trace_writer_put(o->writer, r, err);
	o->failed |= code < 0;
	return code;
}

static void tell(const struct vhu_import_stats *stats, FILE *out)
{
	fprintf(out, "%" PRIu64 " sessions, %" PRIu64 " messages\n", stats->sessions, stats->messages);
	if (stats->cut)
		fprintf(stderr,
			"vhu-capture: %" PRIu64
			" bytes of messages are not in the logs: trace with -s 65536\n",
			stats->cut);
	if (stats->broken)
		fprintf(stderr,
			"vhu-capture: %" PRIu64
			" calls are not whole or cannot be understood, and left out; the first: %s\n",
			stats->broken, stats->first_broken);
	if (stats->unread)
		fprintf(stderr,
			"vhu-capture: %" PRIu64
			" calls moved more messages than the logs tell: trace with -v\n",
			stats->unread);
	if (!stats->timed)
		fprintf(stderr, "vhu-capture: the logs tell no times, only an order: trace with -ttt\n");
}

/* Why there is nothing to import, as far as the logs tell. */
static int found_nothing(const struct vhu_import_stats *stats, struct vhu_err *err)
{
	if (!stats->calls)
		return vhu_err_set(err, -ENODATA,
				   "import: no system call was found: are these logs of strace?");
	return vhu_err_set(
		err, -ENODATA,
		"import: no vhost-user session was found in %" PRIu64 " calls\n"
		"  trace with: strace -f -xx -s 65536 -ttt -yy -o FILE -e trace=%%network,read,write,close",
		stats->calls);
}

int vhu_capture_import(const char *output, const struct vhu_trace_meta *meta, const char *const *logs,
		       size_t n, bool quiet)
{
	struct vhu_import_stats stats = {0};
	struct output o = {.path = output, .meta = *meta};
	struct vhu_err err = {0};
	int code = vhu_import_strace(logs, n, put, &o, &stats, &err), closed = 0;

	if (code == 0 && !o.writer)
		code = found_nothing(&stats, &err);
	if (o.writer)
		closed = vhu_trace_writer_close(o.writer, code < 0 ? NULL : &err);
	if (code == -EPIPE && !strcmp(output, "-"))
		return VHU_EXIT_OK;
	if (code < 0 || closed < 0) {
		vhu_complain("vhu-capture", &err);
		return o.failed || closed < 0 || code == -ENOMEM ? VHU_EXIT_BROKEN : VHU_EXIT_USAGE;
	}
	if (!quiet)
		tell(&stats, strcmp(output, "-") ? stdout : stderr);
	return VHU_EXIT_OK;
}
