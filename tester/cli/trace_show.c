/* vhu-trace show: one line a record; with -v what is known of it besides. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "trace/filter.h"
#include "trace_command.h"

enum { HEX_COLUMNS = 32, HEX_LINES = 32 };

static void add_flags(const struct vhu_record *r, struct vhu_buf *out)
{
	static const char *const names[] = {"truncated", "lost-before", "partial", "malformed", "big-endian",
					    "fds-lost",	 "intended",	"split",   "joined",	"scrubbed"};

	for (size_t i = 0; i < VHU_ARRAY_SIZE(names); i++)
		if (r->flags & 1u << i)
			vhu_buf_printf(out, " %s", names[i]);
}

static void add_fd(const struct vhu_fd_info *fd, struct vhu_buf *out)
{
	vhu_buf_printf(out, "\n        fd %s", vhu_fd_kind_name(fd->kind));
	if (fd->bad)
		vhu_buf_puts(out, " -1");
	else if (fd->stand_in)
		vhu_buf_puts(out, " number unknown");
	else
		vhu_buf_printf(out, " number %" PRIu32, fd->number);
	if (fd->size_valid)
		vhu_buf_printf(out, " size 0x%" PRIx64, fd->size);
	if (fd->inode_valid)
		vhu_buf_printf(out, " dev %" PRIu64 " inode %" PRIu64, fd->dev, fd->inode);
	if (fd->seals_valid)
		vhu_buf_printf(out, " seals 0x%x", fd->seals);
}

static void add_bytes(const struct vhu_record *r, struct vhu_buf *out)
{
	char hex[3 * HEX_COLUMNS + 8];

	for (size_t at = 0; at < r->len; at += HEX_COLUMNS) {
		if (at == HEX_COLUMNS * HEX_LINES) {
			vhu_buf_printf(out, "\n        … %zu bytes more", r->len - at);
			return;
		}
		vhu_hex_format(r->payload + at, VHU_MIN(r->len - at, (size_t)HEX_COLUMNS), hex, sizeof(hex));
		vhu_buf_printf(out, "\n        %04zx  %s", at, hex);
	}
}

static void add_named(const char *name, const char *text, struct vhu_buf *out)
{
	if (text)
		vhu_buf_printf(out, "\n        %s %s", name, text);
}

static void add_details(const struct vhu_record *r, struct vhu_buf *out)
{
	vhu_buf_printf(out, "\n        channel %s, tap %s, %" PRIu32 " bytes at offset %" PRIu64,
		       vhu_cap_channel_name(r->channel), vhu_cap_tap_name(r->tap), r->orig_len,
		       r->stream_off);
	if (r->flags) {
		vhu_buf_puts(out, "\n        flags");
		add_flags(r, out);
	}
	if (r->tgid)
		vhu_buf_printf(out, "\n        process %" PRIu32 ", thread %" PRIu32, r->tgid, r->tid);
	if (r->snd_ino || r->rcv_ino)
		vhu_buf_printf(out, "\n        sockets %" PRIu64 " to %" PRIu64, r->snd_ino, r->rcv_ino);
	for (size_t i = 0; i < r->n_fds; i++)
		add_fd(&r->fds[i], out);
	add_named("sender", r->comm, out);
	add_named("receiver", r->peer_comm, out);
	add_named("path", r->path, out);
	add_named("step", r->step, out);
	add_named("text", r->text, out);
	for (size_t i = 0; i < r->n_recvs; i++)
		vhu_buf_printf(out, "%s %" PRIu32, i ? "" : "\n        read in pieces of", r->recvs[i]);
	for (size_t i = 0; i < r->n_findings; i++)
		vhu_buf_printf(out, "\n        finding %s %s %s", r->findings[i].requirement,
			       r->findings[i].verdict, r->findings[i].summary);
	if (r->has_region)
		vhu_buf_printf(out,
			       "\n        region at guest 0x%" PRIx64 ", user 0x%" PRIx64 ", size 0x%" PRIx64
			       ", offset 0x%" PRIx64,
			       r->region[0], r->region[1], r->region[2], r->region[3]);
	add_bytes(r, out);
}

static void add_line(const struct vhu_trace_opts *o, struct vhu_trace_input *in,
		     const struct vhu_record *r, struct vhu_buf *out)
{
	uint64_t ns = r->t_ns >= in->first_ns ? r->t_ns - in->first_ns : 0;
	char session[16] = "";

	if (r->connection)
		snprintf(session, sizeof(session), "[%" PRIu32 "]", r->connection);
	vhu_buf_printf(out, "%6" PRIu32 " %5" PRIu64 ".%06" PRIu64 " %-4s ", r->seq, ns / 1000000000,
		       ns % 1000000000 / 1000, session);
	vhu_record_describe(r, vhu_trace_device_of(in, r), out);
	if (o->verbose)
		add_details(r, out);
	vhu_buf_puts(out, "\n");
}

static int show(const struct vhu_trace_opts *o, struct vhu_trace_input *in, const struct vhu_filter *filter)
{
	struct vhu_buf line = {0};
	struct vhu_record r;
	int code;

	while ((code = vhu_trace_next(in, &r)) > 0) {
		if (o->session && r.connection != o->session)
			continue;
		if (filter && !vhu_filter_match(filter, &r))
			continue;
		vhu_buf_reset(&line);
		add_line(o, in, &r, &line);
		vhu_trace_tame(&line);
		if (line.len && fwrite(line.data, line.len, 1, stdout) != 1)
			break; /* told at the end */
	}
	vhu_buf_done(&line);
	return code < 0 ? -code : VHU_EXIT_OK;
}

int vhu_command_show(const struct vhu_trace_opts *o)
{
	struct vhu_filter *filter = NULL;
	struct vhu_trace_input in;
	struct vhu_err err = {0};
	int code;

	if (o->filter && vhu_filter_parse(o->filter, &filter, &err) < 0)
		return vhu_trace_complain(&err);
	code = vhu_trace_open(o, &in);
	if (code == VHU_EXIT_OK) {
		code = show(o, &in, filter);
		vhu_trace_close(&in);
	}
	vhu_filter_free(filter);
	return vhu_trace_finish(code);
}
