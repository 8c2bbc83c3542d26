/* Logs of strace: files, lines, order of time. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "import_priv.h"

/* One log while it is read. Where there are several, the line that is earliest is next. */
struct log {
	const char *path;
	FILE *file;
	struct strace_reader *reader;
	uint32_t tid; /* of its name */
	struct strace_line line;
	bool ready; /* `line` is the next */
	uint64_t n; /* its number */
	struct vhu_buf text;
};

/* The number that the name of a log of one thread ends in: strace -ff. */
static uint32_t tid_of_name(const char *path)
{
	const char *dot = strrchr(path, '.');
	uint64_t tid;

	return dot && vhu_u64_parse(dot + 1, &tid) == 0 && isdigit((unsigned char)dot[1]) && tid <= INT32_MAX
		       ? (uint32_t)tid
		       : 0;
}

static int open_log(struct log *l, const char *path, struct vhu_err *err)
{
	*l = (struct log){.path = path, .tid = tid_of_name(path)};
	l->file = strcmp(path, "-") ? fopen(path, "re") : stdin;
	if (!l->file)
		return vhu_err_errno(err, -errno, "%s", path);
	return vhu_strace_new(&l->reader, err);
}

static void close_log(struct log *l)
{
	if (l->file && l->file != stdin)
		fclose(l->file);
	vhu_strace_free(l->reader);
	vhu_buf_done(&l->text);
}

/* The next line, without its end: 1, 0 at the end, -errno. Of one that is too long the rest is passed over.
 */
static int read_line(struct log *l, struct vhu_err *err)
{
	char part[4096];
	size_t n = 0;
	int c;

	vhu_buf_reset(&l->text);
	while ((c = getc_unlocked(l->file)) != EOF && c != '\n') {
		part[n++] = (char)c;
		if (n < sizeof(part))
			continue;
		if (l->text.len < STRACE_LINE_MAX)
			vhu_buf_add(&l->text, part, n);
		n = 0;
	}
	if (l->text.len < STRACE_LINE_MAX)
		vhu_buf_add(&l->text, part, n);
	if (ferror(l->file))
		return vhu_err_errno(err, -EIO, "%s", l->path);
	if (l->text.failed)
		return vhu_err_errno(err, -ENOMEM, "%s", l->path);
	return c != EOF || l->text.len;
}

static void note_broken(struct import *m, const struct log *l)
{
	if (!m->stats.broken++)
		snprintf(m->stats.first_broken, sizeof(m->stats.first_broken), "%s:%" PRIu64, l->path, l->n);
}

/* Up to the next whole call: 1, 0 at the end, -errno. */
static int advance(struct log *l, struct import *m, struct vhu_err *err)
{
	int r;

	l->ready = false;
	while ((r = read_line(l, err)) > 0) {
		m->stats.lines++;
		l->n++;
		r = vhu_strace_line(l->reader, vhu_buf_text(&l->text), l->text.len, &l->line, err);
		if (r < 0)
			return r;
		if (!r && l->line.broken && vhu_import_knows(l->line.call.name))
			note_broken(m, l);
		if (!r)
			continue;
		m->stats.calls++;
		m->stats.timed |= l->line.timed;
		if (!l->line.tid)
			l->line.tid = l->tid ? l->tid : 1;
		l->ready = true;
		return 1;
	}
	return r;
}

static int read_logs(struct import *m, struct log *logs, size_t n, struct vhu_err *err)
{
	for (size_t i = 0; i < n; i++) {
		int r = advance(&logs[i], m, err);

		if (r < 0)
			return r;
	}
	for (;;) {
		struct log *next = NULL;
		int r;

		for (size_t i = 0; i < n; i++)
			if (logs[i].ready && (!next || logs[i].line.t_ns < next->line.t_ns))
				next = &logs[i];
		if (!next)
			return 0;
		r = vhu_import_call(m, &next->line, err);
		if (r == 0)
			r = advance(next, m, err);
		if (r < 0)
			return r;
	}
}

int vhu_import_strace(const char *const *paths, size_t n, vhu_record_sink *sink, void *ctx,
		      struct vhu_import_stats *ret, struct vhu_err *err)
{
	struct import m = {.arena = vhu_arena_new(), .sink = sink, .ctx = ctx};
	struct log *logs = calloc(n, sizeof(*logs));
	int r = 0;

	if (!m.arena || !logs)
		r = vhu_err_errno(err, -ENOMEM, "import");
	for (size_t i = 0; i < n && r == 0; i++)
		r = open_log(&logs[i], paths[i], err);
	if (r == 0)
		r = read_logs(&m, logs, n, err);
	if (r == 0)
		r = vhu_import_emit(&m, err);
	for (size_t i = 0; logs && i < n; i++)
		close_log(&logs[i]);
	free(logs);
	vhu_import_processes_done(&m);
	vhu_table_done(&m.inodes);
	vhu_arena_free(m.arena);
	*ret = m.stats;
	return r;
}
