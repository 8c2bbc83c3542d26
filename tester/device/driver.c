/* Requests of any type: into the rings and back. */
#include "io.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "mem/mem.h"

enum { REAP_MAX = 64 };

void vhu_driver_report(struct vhu_io *io, enum vhu_breach breach, uint64_t gpa, const char *format, ...)
{
	struct vhu_driver *d = io->d;
	struct vhu_ring_event event = {.breach = breach,
				       .queue = io->queue,
				       .head = io->head,
				       .id = io->head,
				       .len = io->used_len,
				       .gpa = gpa};
	va_list args;
	size_t n;

	if (!d->opts.breach)
		return;
	d->ops->describe(io, event.text, sizeof(event.text));
	n = strlen(event.text);
	n += (size_t)snprintf(event.text + n, sizeof(event.text) - n, ": ");
	va_start(args, format);
	if (n < sizeof(event.text))
		vsnprintf(event.text + n, sizeof(event.text) - n, format, args);
	va_end(args);
	d->opts.breach(d->opts.ctx, &event);
}

void vhu_driver_report_memory(struct vhu_driver *d, enum vhu_breach breach, uint64_t gpa, const char *text)
{
	struct vhu_ring_event event = {.breach = breach, .gpa = gpa};

	if (!d->opts.breach)
		return;
	snprintf(event.text, sizeof(event.text), "0x%llx was written: %s", (unsigned long long)gpa, text);
	d->opts.breach(d->opts.ctx, &event);
}

void vhu_driver_report_ring(struct vhu_driver *d, enum vhu_breach breach, unsigned queue, const char *text)
{
	struct vhu_ring_event event = {.breach = breach, .queue = queue};

	if (!d->opts.breach)
		return;
	snprintf(event.text, sizeof(event.text), "%s", text);
	d->opts.breach(d->opts.ctx, &event);
}

static void list_append(struct io_list *l, struct vhu_io *io)
{
	io->prev = l->last;
	io->next = NULL;
	if (l->last)
		l->last->next = io;
	else
		l->first = io;
	l->last = io;
}

static void list_remove(struct io_list *l, struct vhu_io *io)
{
	if (io->prev)
		io->prev->next = io->next;
	else
		l->first = io->next;
	if (io->next)
		io->next->prev = io->prev;
	else
		l->last = io->prev;
}

static size_t bytes_of(const struct vhu_io *io)
{
	return io->out_len + io->in_len;
}

/* The oldest of those whose buffers are watched: looked at once more, and gone. */
static void evict(struct vhu_driver *d)
{
	struct vhu_io *io = d->kept.first;

	list_remove(&d->kept, io);
	d->n_kept--;
	d->kept_bytes -= bytes_of(io);
	vhu_io_check_refill(io);
	vhu_io_destroy(io);
}

static void keep(struct vhu_driver *d, struct vhu_io *io)
{
	list_append(&d->kept, io);
	d->n_kept++;
	d->kept_bytes += bytes_of(io);
	free(io->out);
	free(io->in);
	io->out = io->in = NULL;
	while (d->n_kept > KEPT_IOS_MAX || d->kept_bytes > KEPT_BYTES_MAX)
		evict(d);
}

bool vhu_driver_reclaim(struct vhu_driver *d)
{
	struct vhu_io *io = d->lost.first;

	if (d->kept.first) {
		while (d->kept.first)
			evict(d);
		return true;
	}
	if (!io)
		return false;
	list_remove(&d->lost, io);
	vhu_io_destroy(io);
	return true;
}

static int make_ring(struct vhu_driver *d, unsigned queue, struct vhu_err *err)
{
	const struct vhu_ring_layout *l = &d->opts.layout->ring[queue];
	struct vhu_vring_opts o = {
		.queue = queue,
		.layout = l,
		.mem = d->mem,
		.event_idx = d->opts.features & VHU_V(VIRTIO_RING_F_EVENT_IDX),
		.indirect_desc = d->opts.features & VHU_V(VIRTIO_RING_F_INDIRECT_DESC),
		.in_order = d->opts.features & VHU_V(VIRTIO_F_IN_ORDER),
		.base = d->opts.bases ? &d->opts.bases[queue] : NULL,
		.breach = d->opts.breach,
		.ctx = d->opts.ctx,
		.watch = d->opts.watch,
	};
	uint64_t tables = (uint64_t)l->indirect_entries * l->size * VHU_C_DESC_SIZE;

	if (vhu_mem_except(d->mem, l->desc, l->desc_len) < 0 ||
	    vhu_mem_except(d->mem, l->avail, l->avail_len) < 0 ||
	    vhu_mem_except(d->mem, l->used, l->used_len) < 0 ||
	    (l->indirect && vhu_mem_except(d->mem, l->indirect, tables) < 0))
		return vhu_err_set(err, -ENOMEM, "out of memory");
	return vhu_vring_new(&o, &d->ring[queue], err);
}

/* With an IOMMU the device sees memory elsewhere. */
static void place_memory(struct vhu_driver *d)
{
	vhu_mem_set_shift(d->mem, d->opts.features & VHU_V(VIRTIO_F_ACCESS_PLATFORM) ? VHU_IOVA_SHIFT : 0);
}

/* Memory and the rings in it. */
static int make_guest(struct vhu_driver *d, struct vhu_err *err)
{
	const struct vhu_layout *l = d->opts.layout;
	int r = d->opts.fds ? vhu_mem_adopt(l, d->opts.fds, &d->mem, err) : vhu_mem_new(l, &d->mem, err);

	if (r < 0)
		return r;
	place_memory(d);
	d->ring = calloc(l->n_rings + 1, sizeof(*d->ring));
	if (!d->ring)
		return vhu_err_set(err, -ENOMEM, "out of memory");
	for (; d->n_rings < l->n_rings; d->n_rings++) {
		r = make_ring(d, (unsigned)d->n_rings, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int vhu_driver_new(const struct vhu_driver_opts *opts, struct vhu_driver **ret, struct vhu_err *err)
{
	struct vhu_driver *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return vhu_err_set(err, -ENOMEM, "out of memory");
	d->opts = *opts;
	d->ops = vhu_device_ops_find(opts->device);
	r = vhu_ledger_new(opts->seed, &d->ledger, err);
	if (r == 0)
		r = make_guest(d, err);
	if (r < 0) {
		vhu_driver_free(d);
		return r;
	}
	*ret = d;
	return 0;
}

static void free_list(struct io_list *l)
{
	while (l->first) {
		struct vhu_io *io = l->first;

		list_remove(l, io);
		vhu_io_destroy(io);
	}
}

static void free_guest(struct vhu_driver *d)
{
	free_list(&d->ios);
	free_list(&d->kept);
	free_list(&d->lost);
	d->n_kept = d->kept_bytes = 0;
	d->rings_given = false;
	for (size_t i = 0; i < d->n_rings; i++)
		vhu_vring_free(d->ring[i]);
	free(d->ring);
	vhu_mem_free(d->mem);
	d->ring = NULL;
	d->n_rings = 0;
	d->mem = NULL;
}

int vhu_driver_renew(struct vhu_driver *d, struct vhu_err *err)
{
	vhu_driver_retire(d);
	return make_guest(d, err);
}

int vhu_driver_replace(struct vhu_driver *d, const struct vhu_layout *layout, const int *fds,
		       const uint32_t *bases, struct vhu_err *err)
{
	vhu_driver_retire(d);
	d->opts.layout = layout;
	d->opts.fds = fds;
	d->opts.bases = bases;
	return make_guest(d, err);
}

void vhu_driver_retire(struct vhu_driver *d)
{
	for (size_t i = 0; i < d->n_rings; i++)
		vhu_driver_abandon(d, (unsigned)i);
	free_guest(d);
}

void vhu_driver_free(struct vhu_driver *d)
{
	if (!d)
		return;
	free_guest(d);
	vhu_ledger_free(d->ledger);
	vhu_net_free(d->net);
	free(d);
}

struct vhu_mem *vhu_driver_mem(struct vhu_driver *d)
{
	return d->mem;
}

size_t vhu_driver_rings(const struct vhu_driver *d)
{
	return d->n_rings;
}

struct vhu_vring *vhu_driver_ring(struct vhu_driver *d, unsigned queue)
{
	return queue < d->n_rings ? d->ring[queue] : NULL;
}

void vhu_driver_features(struct vhu_driver *d, uint64_t features)
{
	d->opts.features = features;
	place_memory(d);
	for (size_t i = 0; i < d->n_rings; i++)
		vhu_vring_features(d->ring[i], features & VHU_V(VIRTIO_RING_F_EVENT_IDX),
				   features & VHU_V(VIRTIO_RING_F_INDIRECT_DESC),
				   features & VHU_V(VIRTIO_F_IN_ORDER));
}

void vhu_driver_forget_data(struct vhu_driver *d)
{
	vhu_ledger_forget(d->ledger);
	d->id_known = false;
}

static struct vhu_io *io_new(struct vhu_driver *d, unsigned queue, const struct vhu_io_spec *spec)
{
	struct vhu_io *io = calloc(1, sizeof(*io));

	if (!io)
		return NULL;
	*io = (struct vhu_io){
		.d = d,
		.op = spec->op,
		.sector = spec->sector,
		.count = spec->count,
		.statuses = spec->statuses,
		.pattern = spec->pattern,
		.pattern_arg = spec->pattern_arg,
		.verify = spec->verify,
		.indirect = spec->indirect,
		.queue = queue,
		.seq = d->n_submitted + 1,
		.status = 0xff,
	};
	return io;
}

static int put_chain(struct vhu_io *io, struct vhu_err *err)
{
	_cleanup_(vhu_freep) struct vhu_sg *sg = calloc(io->n_buf, sizeof(*sg));

	if (!sg)
		return vhu_err_set(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < io->n_buf; i++)
		sg[i] = (struct vhu_sg){io->buf[i].gpa, io->buf[i].len, io->buf[i].in};
	return vhu_vring_add(io->d->ring[io->queue], sg, io->n_buf, io->indirect, io, &io->head, err);
}

void vhu_driver_give_rings(struct vhu_driver *d)
{
	d->rings_given = true;
	for (size_t q = 0; q < d->n_rings; q++)
		vhu_vring_spoil(d->ring[q]);
}

/* Whatever lies there: the device may write it. */
static int give(struct vhu_driver *d, uint64_t gpa, uint32_t len)
{
	uint64_t end = gpa + len < gpa ? UINT64_MAX : gpa + len;

	if (gpa < vhu_driver_rings_end(d) && d->opts.layout->region[0].gpa < end)
		vhu_driver_give_rings(d);
	return vhu_mem_except(d->mem, gpa, len);
}

/* A descriptor of a ring as it stands there now. */
static int give_poked(struct vhu_driver *d, unsigned queue, unsigned long desc)
{
	static const char *const fields[] = {"addr", "len", "flags"};
	uint64_t value[VHU_ARRAY_SIZE(fields)];
	struct vhu_err err;
	char at[40];

	for (size_t i = 0; i < VHU_ARRAY_SIZE(fields); i++) {
		snprintf(at, sizeof(at), "desc[%lu].%s", desc, fields[i]);
		if (vhu_vring_peek(d->ring[queue], at, &value[i], &err) < 0)
			return 0;
	}
	return value[2] & VHU_C_DESC_F_WRITE ? give(d, value[0], (uint32_t)value[1]) : 0;
}

int vhu_driver_poke(struct vhu_driver *d, unsigned queue, const char *at, uint64_t value, struct vhu_err *err)
{
	int r = vhu_vring_poke(d->ring[queue], at, value, err);

	if (r == 0 && !strncmp(at, "desc[", strlen("desc[")) &&
	    give_poked(d, queue, strtoul(at + strlen("desc["), NULL, 10)) < 0)
		return vhu_err_set(err, -ENOMEM, "out of memory");
	return r;
}

int vhu_driver_flip(struct vhu_driver *d, unsigned queue, const char *at, uint64_t value, uint64_t other,
		    struct vhu_err *err)
{
	int r = vhu_driver_poke(d, queue, at, other, err);

	if (r == 0)
		r = vhu_driver_poke(d, queue, at, value, err);
	return r < 0 ? r : vhu_vring_flip(d->ring[queue], at, value, other, err);
}

/* A chain with raw descriptors goes in raw as a whole. */
static int put_raw(struct vhu_io *io, struct vhu_err *err)
{
	_cleanup_(vhu_freep) struct vhu_raw_desc *desc = calloc(io->n_buf, sizeof(*desc));

	if (!desc)
		return vhu_err_set(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < io->n_buf; i++) {
		const struct io_buf *b = &io->buf[i];

		desc[i] = b->raw;
		if (b->role == IO_RAW) {
			if ((b->raw.flags & VHU_C_DESC_F_WRITE) && give(io->d, b->raw.addr, b->raw.len) < 0)
				return vhu_err_set(err, -ENOMEM, "out of memory");
			continue;
		}
		desc[i].addr = vhu_mem_device_address(io->d->mem, b->gpa);
		desc[i].len = b->len;
		desc[i].flags =
			(b->in ? VHU_C_DESC_F_WRITE : 0) | (i + 1 < io->n_buf ? VHU_C_DESC_F_NEXT : 0);
	}
	return vhu_vring_add_raw(io->d->ring[io->queue], desc, io->n_buf, io, &io->head, err);
}

static int send(struct vhu_io *io, const struct vhu_io_spec *spec, struct vhu_err *err)
{
	const struct vhu_device_ops *ops = io->d->ops;
	int r = ops->build(io, spec, err);

	if (r == 0)
		r = vhu_io_lay_out(io, err);
	if (r < 0)
		return r;
	ops->fill(io, spec);
	vhu_io_write(io);
	r = ops->begin(io);
	if (r < 0)
		return vhu_err_errno(err, r, "cannot book a request");
	r = io->raw ? put_raw(io, err) : put_chain(io, err);
	if (r < 0)
		ops->drop(io, false);
	return r;
}

int vhu_driver_submit(struct vhu_driver *d, unsigned queue, const struct vhu_io_spec *spec,
		      struct vhu_io **ret, struct vhu_err *err)
{
	struct vhu_io *io;
	int r;

	if (queue >= d->n_rings)
		return vhu_err_set(err, -EINVAL, "there is no queue %u", queue);
	if (spec->op >= VHU_IO_OP_MAX)
		return vhu_err_set(err, -EINVAL, "there is no operation %d", (int)spec->op);
	io = io_new(d, queue, spec);
	if (!io)
		return vhu_err_set(err, -ENOMEM, "out of memory");
	r = send(io, spec, err);
	if (r < 0) {
		vhu_io_destroy(io);
		return r;
	}
	d->n_submitted++;
	list_append(&d->ios, io);
	*ret = io;
	return 0;
}

/* Its owner gave it up before: nobody asks for what came back. */
static void dispose(struct vhu_io *io)
{
	list_remove(&io->d->ios, io);
	if (io->done)
		keep(io->d, io);
	else
		list_append(&io->d->lost, io);
}

static void complete(struct vhu_io *io, const struct vhu_used *used)
{
	io->used_len = used->len;
	io->batch = used->batch || used->unwritten;
	vhu_io_collect(io);
	if (used->unwritten && !io->raw && vhu_io_touched(io))
		vhu_driver_report(io, VHU_BREACH_PACKED_WRITE_FLAG, 0,
				  "the used descriptor is without WRITE, but the buffer was written");
	io->d->ops->complete(io);
	vhu_io_refill(io);
	io->done = true;
	io->done_seq = ++io->d->n_done;
	if (io->freed)
		dispose(io);
}

size_t vhu_driver_poll(struct vhu_driver *d)
{
	struct vhu_used used[REAP_MAX];
	size_t n, total = 0;

	for (size_t q = 0; q < d->n_rings; q++) {
		do {
			n = vhu_vring_reap(d->ring[q], used, REAP_MAX);
			for (size_t i = 0; i < n; i++)
				complete(used[i].cookie, &used[i]);
			total += n;
		} while (n == REAP_MAX); /* no more come back than were sent */
		if (d->ops->reaped)
			d->ops->reaped(d, (unsigned)q);
	}
	return total;
}

void vhu_driver_abandon(struct vhu_driver *d, unsigned queue)
{
	struct vhu_io *io;

	while (queue < d->n_rings && (io = vhu_vring_forget(d->ring[queue]))) {
		d->ops->drop(io, true);
		io->abandoned = true;
		if (io->freed)
			dispose(io);
	}
}

void vhu_io_free(struct vhu_io *io)
{
	if (!io || io->freed)
		return;
	io->freed = true;
	if (io->done || io->abandoned)
		dispose(io);
}

bool vhu_io_done(const struct vhu_io *io)
{
	return io->done;
}

bool vhu_io_abandoned(const struct vhu_io *io)
{
	return io->abandoned;
}

unsigned vhu_io_queue(const struct vhu_io *io)
{
	return io->queue;
}

uint64_t vhu_io_seq(const struct vhu_io *io)
{
	return io->seq;
}

uint64_t vhu_io_done_seq(const struct vhu_io *io)
{
	return io->done_seq;
}

uint8_t vhu_io_status(const struct vhu_io *io)
{
	return io->status;
}

uint32_t vhu_io_used_len(const struct vhu_io *io)
{
	return io->used_len;
}

bool vhu_io_len_known(const struct vhu_io *io)
{
	return !io->batch;
}

uint32_t vhu_io_writable(const struct vhu_io *io)
{
	return (uint32_t)io->in_len;
}

uint32_t vhu_io_expected_len(const struct vhu_io *io)
{
	return io->d->ops->expected_len(io);
}

bool vhu_io_accepted(const struct vhu_io *io)
{
	return io->done && (io->statuses == 0 || (io->status < 32 && (io->statuses >> io->status & 1)));
}

const uint8_t *vhu_io_part(const struct vhu_io *io, size_t i, size_t *ret_len)
{
	const struct io_buf *b = i < io->n_buf ? &io->buf[i] : NULL;

	*ret_len = 0;
	if (io->op != VHU_IO_CHAIN || !b || b->role == IO_RAW || (b->in && !io->done))
		return NULL;
	*ret_len = b->len;
	return (b->in ? io->in : io->out) + b->at;
}

bool vhu_io_written(const struct vhu_io *io, size_t i, uint64_t *ret_gpa, uint32_t *ret_len)
{
	for (size_t k = 0; k < io->n_buf; k++) {
		const struct io_buf *b = &io->buf[k];

		if (!b->live || !b->in || i-- > 0)
			continue;
		*ret_gpa = b->gpa;
		*ret_len = b->len;
		return true;
	}
	return false;
}

char *vhu_io_describe(const struct vhu_io *io, char *out, size_t cap)
{
	return io->d->ops->describe(io, out, cap);
}
