/* The bounded log behind failure blocks. Entries are fixed in size, so that logging cannot fail. */
#include "trace/log.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "wire/frame.h"

enum {
	KEPT_BYTES = 512,
	KEPT_FDS = 16,
	HEX_COLUMNS = 32,	/* bytes on a line of a dump */
	CAP_MAX = 1 << 20,
};

struct entry {
	uint64_t t_ns;
	unsigned conn;
	bool note;
	uint8_t channel, dir;
	uint32_t request, flags, size, defects;
	uint32_t len;			/* of the payload as it was; KEPT_BYTES of it are here */
	uint32_t n_fds;
	uint8_t fd_kind[KEPT_FDS];
	uint8_t bytes[KEPT_BYTES];	/* payload, or the text of a note */
};

struct vhu_trace_log {
	size_t cap;
	size_t first, count;		/* ring of entries */
	size_t dropped;
	bool started;
	uint64_t t0_ns;
	struct entry *entries;
};

int vhu_trace_log_new(size_t cap, struct vhu_trace_log **ret, struct vhu_err *err)
{
	struct vhu_trace_log *l;

	if (cap == 0 || cap > CAP_MAX)
		return vhu_err_set(err, -EINVAL, "trace log: %zu entries are out of range", cap);
	l = calloc(1, sizeof(*l));
	if (l)
		l->entries = calloc(cap, sizeof(*l->entries));
	if (!l || !l->entries) {
		free(l);
		return vhu_err_errno(err, -ENOMEM, "trace log");
	}
	l->cap = cap;
	*ret = l;
	return 0;
}

void vhu_trace_log_free(struct vhu_trace_log *l)
{
	if (!l)
		return;
	free(l->entries);
	free(l);
}

void vhu_trace_log_clear(struct vhu_trace_log *l)
{
	l->first = 0;
	l->count = 0;
	l->dropped = 0;
	l->started = false;
}

/* The entry for the next thing that happened; the oldest makes room. */
static struct entry *next_entry(struct vhu_trace_log *l, uint64_t t_ns, unsigned conn)
{
	struct entry *e;

	if (!l->started) {
		l->started = true;
		l->t0_ns = t_ns;
	}
	if (l->count == l->cap) {
		l->first = (l->first + 1) % l->cap;
		l->count--;
		l->dropped++;
	}
	e = &l->entries[(l->first + l->count) % l->cap];
	l->count++;
	e->t_ns = t_ns;
	e->conn = conn;
	return e;
}

void vhu_trace_log_frame(struct vhu_trace_log *l, uint64_t t_ns, unsigned conn, const struct vhu_frame *f)
{
	struct entry *e = next_entry(l, t_ns, conn);

	e->note = false;
	e->channel = (uint8_t)f->channel;
	e->dir = (uint8_t)f->dir;
	e->request = f->request;
	e->flags = f->flags;
	e->size = f->size;
	e->defects = f->defects;
	e->len = (uint32_t)VHU_MIN(f->len, (size_t)UINT32_MAX);
	if (e->len)
		memcpy(e->bytes, f->payload, VHU_MIN(e->len, (uint32_t)KEPT_BYTES));
	e->n_fds = (uint32_t)f->n_fds;
	for (size_t i = 0; i < f->n_fds && i < KEPT_FDS; i++)
		e->fd_kind[i] = (uint8_t)vhu_fd_kind(f->fds[i]);
}

void vhu_trace_log_note(struct vhu_trace_log *l, uint64_t t_ns, unsigned conn, const char *format, ...)
{
	struct entry *e = next_entry(l, t_ns, conn);
	va_list ap;

	e->note = true;
	va_start(ap, format);
	vsnprintf((char *)e->bytes, sizeof(e->bytes), format, ap);
	va_end(ap);
}

size_t vhu_trace_log_count(const struct vhu_trace_log *l)
{
	return l->count;
}

size_t vhu_trace_log_dropped(const struct vhu_trace_log *l)
{
	return l->dropped;
}

static void print_hex(const struct entry *e, struct vhu_buf *out)
{
	uint8_t bytes[VHU_C_HEADER_SIZE + KEPT_BYTES];
	size_t kept = VHU_MIN(e->len, (uint32_t)KEPT_BYTES);
	size_t len = VHU_C_HEADER_SIZE + kept;
	char text[HEX_COLUMNS * 3 + 1];

	vhu_ne_put(bytes, 4, e->request);
	vhu_ne_put(bytes + 4, 4, e->flags);
	vhu_ne_put(bytes + 8, 4, e->size);
	memcpy(bytes + VHU_C_HEADER_SIZE, e->bytes, kept);
	for (size_t at = 0; at < len; at += HEX_COLUMNS) {
		vhu_hex_format(bytes + at, VHU_MIN(len - at, (size_t)HEX_COLUMNS), text, sizeof(text));
		vhu_buf_printf(out, "                %s\n", text);
	}
	if (e->len > kept)
		vhu_buf_printf(out, "                and %zu bytes more\n", e->len - kept);
}

static void print_frame(const struct entry *e, enum vhu_device device, struct vhu_buf *out)
{
	int fds[KEPT_FDS];
	/* The descriptors are gone; their kinds are told. */
	struct vhu_frame f = {
		.channel = e->channel, .dir = e->dir, .request = e->request, .flags = e->flags,
		.size = e->size, .defects = e->defects,
		.payload = e->len ? (uint8_t *)e->bytes : NULL,
		.len = VHU_MIN(e->len, (uint32_t)KEPT_BYTES),
		.fds = fds, .n_fds = VHU_MIN(e->n_fds, (uint32_t)KEPT_FDS),
	};

	for (size_t i = 0; i < f.n_fds; i++)
		fds[i] = vhu_fd_ghost(e->fd_kind[i]);
	vhu_frame_describe(&f, device, out);
	if (e->n_fds > KEPT_FDS)
		vhu_buf_printf(out, ",+%u", e->n_fds - KEPT_FDS);
}

void vhu_trace_log_print(const struct vhu_trace_log *l, size_t n, enum vhu_device device, bool hex,
			 struct vhu_buf *out)
{
	n = VHU_MIN(n, l->count);
	for (size_t i = l->count - n; i < l->count; i++) {
		const struct entry *e = &l->entries[(l->first + i) % l->cap];

		vhu_buf_printf(out, "%9.3f ms  ", (double)(e->t_ns - l->t0_ns) / 1e6);
		if (e->conn > 1)
			vhu_buf_printf(out, "[%u] ", e->conn);
		if (e->note)
			vhu_buf_puts(out, (const char *)e->bytes);
		else
			print_frame(e, device, out);
		vhu_buf_puts(out, "\n");
		if (hex && !e->note)
			print_hex(e, out);
	}
}
