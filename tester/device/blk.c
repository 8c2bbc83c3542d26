/* Block requests: header, data, status. */
#include "io.h"

#include <errno.h>
#include <string.h>

enum { HEADER = 16, RANGE = 16, STATUS_NONE = 0xff };

static bool reads(const struct vhu_io *io)
{
	return io->op != VHU_IO_CHAIN && io->type == VHU_C_BLK_T_IN;
}

static bool writes(const struct vhu_io *io)
{
	return io->op != VHU_IO_CHAIN && io->type == VHU_C_BLK_T_OUT;
}

/* Types with bit 0 set send data to the device, by convention. */
static bool data_is_in(const struct vhu_io *io)
{
	return (io->type & 1) == 0;
}

static uint64_t data_sectors(const struct vhu_io *io)
{
	return (io->data_len + VHU_C_SECTOR_SIZE - 1) / VHU_C_SECTOR_SIZE;
}

/* The request's type and how much data it has without segments of its own. */
static uint64_t set_type(struct vhu_io *io, const struct vhu_io_spec *spec)
{
	uint64_t sectors = (uint64_t)spec->count * VHU_C_SECTOR_SIZE;

	switch (spec->op) {
	case VHU_IO_READ:
		io->type = VHU_C_BLK_T_IN;
		return sectors;
	case VHU_IO_WRITE:
		io->type = VHU_C_BLK_T_OUT;
		return sectors;
	case VHU_IO_FLUSH:
		io->type = VHU_C_BLK_T_FLUSH;
		return 0;
	case VHU_IO_DISCARD:
		io->type = VHU_C_BLK_T_DISCARD;
		return RANGE;
	case VHU_IO_WRITE_ZEROES:
		io->type = VHU_C_BLK_T_WRITE_ZEROES;
		return RANGE;
	case VHU_IO_GET_ID:
		io->type = VHU_C_BLK_T_GET_ID;
		return VHU_C_BLK_ID_SIZE;
	case VHU_IO_RAW:
		io->type = spec->type;
		return sectors;
	case VHU_IO_CHAIN:
	case VHU_IO_SEND:
	case VHU_IO_RECEIVE:
	case VHU_IO_OP_MAX:
		break;
	}
	return 0;
}

static int push_data(struct vhu_io *io, const struct vhu_io_spec *spec, struct vhu_err *err)
{
	int r = 0;

	if (spec->n_segments > VHU_IO_SEGMENTS_MAX)
		return vhu_err_set(err, -EINVAL, "%zu segments: at most %d", spec->n_segments,
				   VHU_IO_SEGMENTS_MAX);
	if (spec->n_segments == 0)
		return io->data_len ? vhu_io_push(io, data_is_in(io), io->data_len, IO_DATA, err) : 0;
	io->data_len = 0;
	for (size_t i = 0; i < spec->n_segments && r == 0; i++) {
		io->data_len += spec->segments[i];
		r = vhu_io_push(io, data_is_in(io), spec->segments[i], IO_DATA, err);
	}
	return r;
}

static int blk_build(struct vhu_io *io, const struct vhu_io_spec *spec, struct vhu_err *err)
{
	bool range = spec->op == VHU_IO_DISCARD || spec->op == VHU_IO_WRITE_ZEROES;
	int r;

	if (spec->op == VHU_IO_CHAIN)
		return vhu_chain_build(io, spec, err);
	if (spec->op >= VHU_IO_SEND)
		return vhu_err_set(err, -ENOTSUP, "a disk takes no frames");
	io->data_len = set_type(io, spec);
	r = vhu_io_push(io, false, HEADER, IO_HEADER, err);
	if (r == 0)
		r = push_data(io, spec, err);
	if (r == 0)
		r = vhu_io_push(io, true, 1, IO_STATUS, err);
	if (r == 0 && ((range && io->data_len != RANGE) || (spec->op == VHU_IO_FLUSH && io->data_len)))
		return vhu_err_set(err, -EINVAL, "segments of %llu bytes, the request has %d",
				   (unsigned long long)io->data_len, range ? RANGE : 0);
	return r;
}

/* What a write leaves in its sectors. */
static enum vhu_content content_of(const struct vhu_io *io)
{
	switch (io->pattern) {
	case VHU_PATTERN_STAMP:
		return VHU_CONTENT_STAMP;
	case VHU_PATTERN_FILL:
		return VHU_CONTENT_FILL;
	case VHU_PATTERN_SEED:
		return VHU_CONTENT_SEED;
	case VHU_PATTERN_ZERO:
		break;
	}
	return VHU_CONTENT_ZERO;
}

static void fill_data(struct vhu_io *io)
{
	uint8_t *data = io->out + HEADER, sector[VHU_C_SECTOR_SIZE];

	for (uint64_t at = 0; at < io->data_len; at += VHU_C_SECTOR_SIZE) {
		vhu_ledger_render(io->d->ledger, content_of(io), io->pattern_arg,
				  io->sector + at / VHU_C_SECTOR_SIZE, sector);
		memcpy(data + at, sector, VHU_MIN(io->data_len - at, (uint64_t)VHU_C_SECTOR_SIZE));
	}
}

static void blk_fill(struct vhu_io *io, const struct vhu_io_spec *spec)
{
	bool range = io->op == VHU_IO_DISCARD || io->op == VHU_IO_WRITE_ZEROES;

	if (io->op == VHU_IO_CHAIN) {
		vhu_chain_fill(io, spec);
		return;
	}
	vhu_le_put(io->out, 4, io->type);
	vhu_le_put(io->out + 4, 4, 0);
	vhu_le_put(io->out + 8, 8, range ? 0 : io->sector);
	if (range) {
		vhu_le_put(io->out + HEADER, 8, io->sector);
		vhu_le_put(io->out + HEADER + 8, 4, io->count);
		vhu_le_put(io->out + HEADER + 12, 4, 0);
	} else if (!data_is_in(io)) {
		if (io->pattern == VHU_PATTERN_STAMP)
			io->pattern_arg = vhu_ledger_generation(io->d->ledger);
		fill_data(io);
	}
}

static int blk_begin(struct vhu_io *io)
{
	struct vhu_ledger_write *w = &io->write;

	if (io->op == VHU_IO_CHAIN)
		return 0;
	if (reads(io) && io->verify)
		vhu_ledger_read_begin(io->d->ledger, &io->read);
	if (data_is_in(io))
		return 0;
	w->sector = io->sector;
	w->count = io->op == VHU_IO_DISCARD || io->op == VHU_IO_WRITE_ZEROES ? io->count : data_sectors(io);
	w->arg = io->pattern_arg;
	w->content = VHU_CONTENT_ANY;
	if (io->op == VHU_IO_WRITE_ZEROES)
		w->content = VHU_CONTENT_ZEROED;
	else if (writes(io) && io->data_len % VHU_C_SECTOR_SIZE == 0)
		w->content = content_of(io);
	return vhu_ledger_begin(io->d->ledger, w);
}

static void blk_drop(struct vhu_io *io, bool sent)
{
	vhu_ledger_end(io->d->ledger, &io->write, sent ? VHU_LEDGER_LOST : VHU_LEDGER_REFUSED);
	vhu_ledger_read_end(io->d->ledger, &io->read);
}

/* How a write ended. UNSUPP says that nothing was tried; a read-only device changes nothing. */
static enum vhu_ledger_end end_of(const struct vhu_io *io)
{
	if (io->status == VHU_C_BLK_S_OK)
		return VHU_LEDGER_DONE;
	if (io->status == VHU_C_BLK_S_UNSUPP ||
	    (io->status == VHU_C_BLK_S_IOERR && (io->d->opts.features & VHU_V(VIRTIO_BLK_F_RO))))
		return VHU_LEDGER_REFUSED;
	return VHU_LEDGER_FAILED;
}

/* Whether it counts data of a read that it did not write (yet): told here. */
static bool claims_unwritten(struct vhu_io *io)
{
	size_t claimed = VHU_MIN((uint64_t)io->used_len, io->data_len);
	size_t at = vhu_io_unwritten(io, 0, claimed);

	if (at == claimed || io->batch)
		return false;
	vhu_driver_report(io, VHU_BREACH_CLAIMED_UNWRITTEN, 0,
			  "used length %u, but byte %zu of the data was not written%s", io->used_len, at,
			  vhu_io_came(io, at) ? " in time" : "");
	return true;
}

/* False if the status is missing or no status. A read without any of its bytes lacks more than its status. */
static bool check_status(struct vhu_io *io)
{
	bool zoned = io->d->opts.features & VHU_V(VIRTIO_BLK_F_ZONED);
	unsigned last = zoned ? VHU_C_BLK_S_ZONE_ACTIVE_RESOURCE : VHU_C_BLK_S_UNSUPP;

	if (io->status == STATUS_NONE && reads(io) && claims_unwritten(io))
		return false;
	if (io->status == STATUS_NONE)
		vhu_driver_report(io, VHU_BREACH_BLK_STATUS_MISSING, 0,
				  "the status byte was not written (used length %u)", io->used_len);
	else if (io->status > last)
		vhu_driver_report(io, VHU_BREACH_BLK_STATUS_UNKNOWN, 0, "status %u, must be 0 to %u",
				  io->status, last);
	return io->status <= last;
}

/* One behind the last byte of in[0 … len-1] that the device changed. */
static size_t written_up_to(const struct vhu_io *io, size_t len)
{
	while (len > 0 && io->in[len - 1] == vhu_io_poison(io, len - 1))
		len--;
	return len;
}

/* The used length counts the data that was written; a status left out is no fault. */
static void check_len(struct vhu_io *io, size_t data)
{
	size_t written = written_up_to(io, data);

	if (!io->batch && io->used_len < written)
		vhu_driver_report(io, VHU_BREACH_USED_LEN_SHORT, 0,
				  "used length %u, %zu bytes of data were written", io->used_len, written);
}

static void check_data(struct vhu_io *io)
{
	uint64_t bad = 0, sectors = io->data_len / VHU_C_SECTOR_SIZE;
	char first[160] = "", text[160];
	enum vhu_breach breach = VHU_BREACH_BLK_READ_WRONG, b;

	for (uint64_t i = 0; i < sectors; i++) {
		size_t at = i * VHU_C_SECTOR_SIZE;

		if (vhu_io_unwritten(io, at, at + VHU_C_SECTOR_SIZE) < at + VHU_C_SECTOR_SIZE)
			continue; /* told as unwritten */
		if (vhu_ledger_judge(io->d->ledger, &io->read, io->sector + i, io->in + at, &b, text,
				     sizeof(text)))
			continue;
		if (bad++ == 0) {
			breach = b;
			snprintf(first, sizeof(first), "%s", text);
		}
	}
	if (bad > 1)
		vhu_driver_report(io, breach, 0, "%s (and %llu more)", first, (unsigned long long)(bad - 1));
	else if (bad)
		vhu_driver_report(io, breach, 0, "%s", first);
}

/* A read that succeeded: all data is there, counted and right. */
static void check_read(struct vhu_io *io)
{
	size_t at = vhu_io_unwritten(io, 0, io->data_len);

	check_len(io, io->data_len);
	if (!claims_unwritten(io) && at < io->data_len && io->verify)
		vhu_driver_report(io, VHU_BREACH_BLK_READ_WRONG, 0,
				  "status OK, but byte %zu of the data was not written", at);
	if (io->read.start)
		check_data(io);
}

/* A read that failed may count no data that it did not write. */
static void check_failed_read(struct vhu_io *io)
{
	size_t claimed = VHU_MIN((uint64_t)io->used_len, io->data_len);
	size_t at = vhu_io_unwritten(io, 0, claimed);

	if (at < claimed && !io->batch)
		vhu_driver_report(io, VHU_BREACH_BLK_FAILED_LEN, 0,
				  "status %u and used length %u, but byte %zu was not written", io->status,
				  io->used_len, at);
}

/* Up to 20 characters; behind a NUL zeroes, or nothing written (a known habit). The same at each call. */
static void check_id(struct vhu_io *io)
{
	struct vhu_driver *d = io->d;
	char id[VHU_C_BLK_ID_SIZE + 1] = "";
	size_t len;

	if (io->data_len != VHU_C_BLK_ID_SIZE)
		return;
	check_len(io, io->data_len);
	if (vhu_io_unwritten(io, 0, 8) == 0) {
		vhu_driver_report(io, VHU_BREACH_BLK_ID_FORM, 0, "status OK, but the id was not written");
		return;
	}
	memcpy(id, io->in, VHU_C_BLK_ID_SIZE);
	len = strlen(id);
	for (size_t i = len + 1; i < VHU_C_BLK_ID_SIZE; i++) {
		if (io->in[i] == 0 || io->in[i] == vhu_io_poison(io, i))
			continue;
		vhu_driver_report(io, VHU_BREACH_BLK_ID_FORM, 0,
				  "byte %zu is 0x%02x, behind the end of the id at %zu", i, io->in[i], len);
		return;
	}
	if (d->id_known && strcmp(d->id, id) != 0)
		vhu_driver_report(io, VHU_BREACH_BLK_ID_FORM, 0, "the id was \"%s\" before and is \"%s\" now",
				  d->id, id);
	memcpy(d->id, id, sizeof(id));
	d->id_known = true;
}

static void blk_complete(struct vhu_io *io)
{
	bool known;

	io->status = io->in_len ? io->in[io->in_len - 1] : STATUS_NONE;
	if (io->op == VHU_IO_CHAIN)
		return;
	known = check_status(io);
	vhu_ledger_end(io->d->ledger, &io->write, end_of(io));
	if (known && reads(io)) {
		if (io->status == VHU_C_BLK_S_OK)
			check_read(io);
		else
			check_failed_read(io);
	}
	if (io->op == VHU_IO_GET_ID && io->status == VHU_C_BLK_S_OK)
		check_id(io);
	vhu_ledger_read_end(io->d->ledger, &io->read);
}

/* A request that failed has written its status, and nothing else for sure. */
static uint32_t blk_expected_len(const struct vhu_io *io)
{
	if (io->op == VHU_IO_CHAIN)
		return (uint32_t)io->in_len;
	return io->status == VHU_C_BLK_S_OK ? (uint32_t)io->in_len : 1;
}

static char *blk_describe(const struct vhu_io *io, char *out, size_t cap)
{
	static const char *const name[VHU_IO_OP_MAX] = {
		[VHU_IO_READ] = "read",
		[VHU_IO_WRITE] = "write",
		[VHU_IO_FLUSH] = "flush",
		[VHU_IO_DISCARD] = "discard",
		[VHU_IO_WRITE_ZEROES] = "write zeroes",
		[VHU_IO_GET_ID] = "get id",
	};
	char what[48];

	if (io->op == VHU_IO_CHAIN)
		return vhu_chain_describe(io, out, cap);
	if (io->op == VHU_IO_RAW)
		snprintf(what, sizeof(what), "request of type %u,", io->type);
	else
		snprintf(what, sizeof(what), "%s", name[io->op]);
	if (io->op == VHU_IO_FLUSH || io->op == VHU_IO_GET_ID)
		snprintf(out, cap, "%s, queue %u, head %u", what, io->queue, io->head);
	else
		snprintf(out, cap, "%s sector %llu, %u sectors, queue %u, head %u", what,
			 (unsigned long long)io->sector, io->count, io->queue, io->head);
	return out;
}

const struct vhu_device_ops vhu_blk_ops = {
	.name = "blk",
	.build = blk_build,
	.fill = blk_fill,
	.begin = blk_begin,
	.drop = blk_drop,
	.complete = blk_complete,
	.expected_len = blk_expected_len,
	.describe = blk_describe,
};
