/*
 * Block device: requests.
 */
#include <endian.h>
#include <stdlib.h>

#include "buffers.h"
#include "dev_blk.h"
#include "fault.h"
#include "options.h"

enum {
	HEADER = LAY_blk_outhdr_sector + LAYLEN_blk_outhdr_sector,
	RANGE = LAY_blk_range_flags + LAYLEN_blk_range_flags,
	LARGE = 256 << 10,
	FAULT_ZONE = 2048, /* sectors of a zone, where a fault needs zones */
	FAULT_BITS = 32,   /* of an offset, where a fault keeps no more; its disk is twice as large */
};

struct blk blk;

/* A request taken apart: header, data on one side or the other, room for the status. */
struct request {
	struct session *s;
	struct ring *r;
	struct chain *c;
	uint32_t type, reserved;
	uint64_t sector;
	uint64_t written; /* data bytes that the guest got */
	bool dropped;
};

/* As many bytes at the end of the writable part; false if it is too short. */
static bool scatter_tail(struct request *q, const uint8_t *from, size_t len)
{
	uint64_t at = 0;

	if (q->c->in_len < len)
		return false;
	for (unsigned i = 0; i < q->c->n_in; at += q->c->in[i++].iov_len) {
		for (size_t k = 0; k < q->c->in[i].iov_len; k++) {
			uint64_t place = at + k + len;

			if (place >= q->c->in_len)
				((uint8_t *)q->c->in[i].iov_base)[k] = from[place - q->c->in_len];
		}
	}
	return true;
}

static bool in_range(uint64_t sector, uint64_t sectors)
{
	uint64_t capacity = (fault(grow_io_old) ? blk.opened : blk.store.size) / C_SECTOR_SIZE;

	if (fault(blk_oob_overflow) && sector + sectors < sector)
		fault_crash();
	return sector <= capacity && sectors <= capacity - sector;
}

/* Whether each write has to be on the medium when it completes. */
static bool write_through(const struct session *s)
{
	if (s->features & V(VIRTIO_BLK_F_CONFIG_WCE))
		return !blk.writeback;
	return !(s->features & V(VIRTIO_BLK_F_FLUSH));
}

/* Requests that an otherwise good device fails: planted faults. */
static bool failed(const struct request *q)
{
	return (fault(blk_large_fail) && q->c->in_len + q->c->out_len >= LARGE) ||
	       (fault(blk_read_first_queue) && q->type == C_BLK_T_IN && q->r->index);
}

static uint64_t offset_of(uint64_t sector)
{
	uint64_t at = sector * C_SECTOR_SIZE;

	return fault(blk_offset_32) ? at % (1ULL << FAULT_BITS) : at;
}

static bool shape_refused(const struct chain *c, const struct iovec *iov, unsigned n, unsigned descs)
{
	for (unsigned i = 0; fault(blk_seg_align) && i < n; i++) {
		if (iov[i].iov_len % C_SECTOR_SIZE)
			return true;
	}
	for (unsigned i = 0; fault(blk_address_align) && i < n; i++) {
		if ((uintptr_t)iov[i].iov_base % C_SECTOR_SIZE)
			return true;
	}
	for (unsigned i = 0; fault(blk_sizemax_fail) && i < n; i++) {
		if (iov[i].iov_len >= BLK_SIZE_MAX)
			return true;
	}
	return fault(blk_segmax_fail) && descs + !c->n_in > BLK_SEG_MAX / 2;
}

static uint8_t do_read(struct request *q)
{
	struct chain *c = q->c;
	uint64_t sector = q->sector;
	int r;

	if (fault(blk_segs_crash) && c->desc_in > BLK_SEG_MAX + 1)
		fault_crash();
	if (fault(blk_read_out_crash) && c->n_out)
		fault_crash();
	if (fault(blk_direction) && c->n_out)
		memset(c->out[0].iov_base, 0, c->out[0].iov_len);
	if (c->out_len || (c->in_len % C_SECTOR_SIZE && !fault(blk_len_odd)))
		return C_BLK_S_IOERR;
	if (!in_range(sector, c->in_len / C_SECTOR_SIZE)) {
		if (fault(blk_read_oob_ok))
			return C_BLK_S_OK;
		return fault(blk_status_undefined) ? UINT8_MAX - 1 : C_BLK_S_IOERR;
	}
	if (zones_on() && zones_read(sector, c->in_len / C_SECTOR_SIZE) != C_BLK_S_OK)
		return C_BLK_S_ZONE_INVALID_CMD;
	q->written = c->in_len;
	if (options.null)
		return C_BLK_S_OK;
	if (shape_refused(c, c->in, c->n_in, c->desc_in))
		return C_BLK_S_IOERR;
	if (fault(blk_read_off1) && in_range(sector + 1, c->in_len / C_SECTOR_SIZE))
		sector++;
	if (fault(blk_sector_blksize))
		sector = sector * (blk_block_size() / C_SECTOR_SIZE) % (blk.store.size / C_SECTOR_SIZE / 2);
	r = store_read(&blk.store, c->in, c->n_in, offset_of(sector));
	chain_mark(q->s, c, c->in_len);
	return r < 0 ? C_BLK_S_IOERR : C_BLK_S_OK;
}

/* Cuts len bytes off the end of the readable part. */
static void cut_out(struct chain *c, size_t len)
{
	while (len && c->n_out) {
		struct iovec *last = &c->out[c->n_out - 1];
		size_t some = last->iov_len < len ? last->iov_len : len;

		last->iov_len -= some;
		len -= some;
		c->n_out -= !last->iov_len;
	}
}

/* The last write of a ring, held back until the same ring has its next request: a planted fault. */
static struct {
	const struct ring *r;
	uint8_t *bytes;
	size_t len;
	uint64_t at;
} held;

static void release_held(const struct ring *r)
{
	struct iovec iov = {.iov_base = held.bytes, .iov_len = held.len};

	if (!held.r || held.r != r)
		return;
	store_write(&blk.store, &iov, 1, held.at);
	free(held.bytes);
	held.r = NULL;
}

static bool hold_back(struct request *q)
{
	release_held(held.r);
	held.bytes = malloc(q->c->out_len);
	if (!held.bytes)
		return false;
	held.len = (size_t)q->c->out_len;
	held.at = q->sector * C_SECTOR_SIZE;
	held.r = q->r;
	chain_gather(q->c, held.bytes, held.len);
	return true;
}

/* Planted faults: a cache that the driver was not told of, or that a flush leaves as it is. */
static bool kept_back(const struct session *s)
{
	bool none = !(s->features & (V(VIRTIO_BLK_F_FLUSH) | V(VIRTIO_BLK_F_CONFIG_WCE)));

	return fault(blk_stale_read) || (fault(blk_flush_lost) && !write_through(s)) ||
	       (fault(blk_through_lost) && write_through(s) && !none) || (fault(blk_no_flush_lost) && none);
}

static bool may_write(const struct session *s)
{
	if (fault(blk_ro_writes))
		return true;
	if (fault(blk_ro_unneg) && !(s->features & V(VIRTIO_BLK_F_RO)))
		return true;
	return !blk.read_only;
}

static uint8_t do_write(struct request *q)
{
	struct chain *c = q->c;
	uint8_t status;
	int r;

	if (fault(blk_len_odd))
		cut_out(c, c->out_len % C_SECTOR_SIZE);
	if (c->in_len || (c->out_len % C_SECTOR_SIZE && !fault(blk_len_odd)) || !may_write(q->s))
		return C_BLK_S_IOERR;
	if (!in_range(q->sector, c->out_len / C_SECTOR_SIZE))
		return fault(blk_write_oob_ok) ? C_BLK_S_OK : C_BLK_S_IOERR;
	if (options.null || !c->out_len)
		return C_BLK_S_OK;
	status = zones_on() ? zones_write(q->sector, c->out_len / C_SECTOR_SIZE) : C_BLK_S_OK;
	if (status != C_BLK_S_OK)
		return status;
	if (shape_refused(c, c->out, c->n_out, c->desc_out))
		return C_BLK_S_IOERR;
	if (fault(blk_mq_first_only) && q->r->index)
		return C_BLK_S_UNSUPP;
	if (fault(blk_write_short))
		cut_out(c, C_SECTOR_SIZE);
	if (fault(blk_batch_lost) && (uint16_t)(q->r->last_avail - q->r->done) > 1)
		return C_BLK_S_OK;
	if (kept_back(q->s) && hold_back(q))
		return C_BLK_S_OK;
	r = store_write(&blk.store, c->out, c->n_out, offset_of(q->sector));
	if (r == 0 && write_through(q->s))
		r = store_flush(&blk.store);
	return r < 0 ? C_BLK_S_IOERR : C_BLK_S_OK;
}

/* The data goes to the write pointer, and where that was comes back in front of the status. */
static uint8_t do_append(struct request *q)
{
	struct chain *c = q->c;
	uint64_t at = 0, told;
	uint8_t status;

	if (c->in_len < LAYLEN_blk_append_append_sector || !c->out_len || c->out_len % C_SECTOR_SIZE ||
	    !may_write(q->s) || !in_range(q->sector, 0))
		return C_BLK_S_IOERR;
	status = zones_append(q->sector, c->out_len / C_SECTOR_SIZE, &at);
	if (status != C_BLK_S_OK)
		return status;
	if (store_write(&blk.store, c->out, c->n_out, at * C_SECTOR_SIZE) < 0)
		return C_BLK_S_IOERR;
	told = htole64(fault(zone_append_at) ? at + c->out_len / C_SECTOR_SIZE : at);
	scatter_tail(q, (const uint8_t *)&told, sizeof(told));
	q->written = c->in_len;
	chain_mark(q->s, q->c, q->written);
	return C_BLK_S_OK;
}

static uint8_t do_report(struct request *q)
{
	const uint8_t *report;
	size_t len;
	uint8_t status = zones_report(q->sector, q->c->in_len, &report, &len);

	if (status == C_BLK_S_OK) {
		q->written = chain_scatter(q->c, report, len);
		chain_mark(q->s, q->c, q->written);
	}
	return status;
}

static uint8_t do_zone(struct request *q)
{
	switch (q->type) {
	case C_BLK_T_ZONE_APPEND:
		return do_append(q);
	case C_BLK_T_ZONE_REPORT:
		return do_report(q);
	default:
		return may_write(q->s) ? zones_manage(q->type, q->sector) : C_BLK_S_IOERR;
	}
}

/* Wear of a medium that does not wear. */
static uint8_t do_lifetime(struct request *q)
{
	uint8_t figures[LAY_blk_lifetime_device_lifetime_est_typ_b +
			LAYLEN_blk_lifetime_device_lifetime_est_typ_b] = {1, 0, 1, 0, 1, 0};

	if (fault(blk_lifetime_reserved))
		figures[LAY_blk_lifetime_device_lifetime_est_typ_a] = UINT8_MAX;
	q->written = chain_scatter(q->c, figures, sizeof(figures));
	chain_mark(q->s, q->c, q->written);
	return C_BLK_S_OK;
}

struct range {
	uint64_t sector;
	uint32_t sectors, flags;
};

static uint8_t judge_ranges(const struct request *q, const struct range *ranges, size_t n)
{
	uint32_t known = q->type == C_BLK_T_WRITE_ZEROES || fault(blk_discard_unmap) ? C_BLK_RANGE_UNMAP : 0;

	if (fault(blk_wz_unmap_unsupp))
		known = 0;
	if (fault(blk_erase_flags) && q->type == C_BLK_T_SECURE_ERASE)
		known = UINT32_MAX;
	for (size_t i = 0; i < n; i++) {
		uint32_t strange = ranges[i].flags & ~known;

		if (strange && !(fault(blk_range_flags) && !(strange & C_BLK_RANGE_UNMAP)))
			return C_BLK_S_UNSUPP;
	}
	for (size_t i = 0; i < n; i++) {
		bool inside = in_range(ranges[i].sector, ranges[i].sectors);

		if (fault(blk_range_crash) && ranges[i].sectors > BLK_RANGE_SECTORS)
			fault_crash();
		if ((!inside && !fault(blk_range_oob_ok)) ||
		    (ranges[i].sectors > BLK_RANGE_SECTORS && !fault(blk_range_huge)))
			return C_BLK_S_IOERR;
	}
	return C_BLK_S_OK;
}

static uint8_t do_ranges(struct request *q)
{
	uint8_t bytes[(BLK_RANGES + 1) * RANGE];
	struct range ranges[BLK_RANGES];
	size_t len, n;
	uint8_t status;
	bool keep;

	if (!may_write(q->s) && !fault(blk_ro_ranges))
		return C_BLK_S_IOERR;
	if (fault(blk_range_one_desc) && q->c->desc_out != 2)
		return C_BLK_S_IOERR;
	len = chain_gather(q->c, bytes, sizeof(bytes));
	n = len / RANGE;
	if (n > BLK_RANGES && fault(blk_range_many))
		n = BLK_RANGES;
	if (!n || n > BLK_RANGES || (len % RANGE && !fault(blk_range_len)))
		return C_BLK_S_IOERR;
	for (size_t i = 0; i < n; i++) {
		const uint8_t *at = bytes + i * RANGE;

		ranges[i].sector = LAYOUT(at, blk_range, sector);
		ranges[i].sectors = (uint32_t)LAYOUT(at, blk_range, num_sectors);
		ranges[i].flags = (uint32_t)LAYOUT(at, blk_range, flags);
	}
	status = judge_ranges(q, ranges, n);
	if (status != C_BLK_S_OK)
		return status;
	if (fault(blk_range_first_only))
		n = 1;
	for (size_t i = 0; i < n; i++) {
		if (!in_range(ranges[i].sector, ranges[i].sectors) || ranges[i].sectors > BLK_RANGE_SECTORS ||
		    !ranges[i].sectors || (fault(blk_wz_notzero) && q->type == C_BLK_T_WRITE_ZEROES))
			continue;
		if (zones_on() && zones_erase(ranges[i].sector, ranges[i].sectors) != C_BLK_S_OK)
			return C_BLK_S_ZONE_INVALID_CMD;
		keep = q->type == C_BLK_T_WRITE_ZEROES && !(ranges[i].flags & C_BLK_RANGE_UNMAP);
		if (store_zero(&blk.store, ranges[i].sector * C_SECTOR_SIZE,
			       (uint64_t)ranges[i].sectors * C_SECTOR_SIZE, keep) < 0)
			return C_BLK_S_IOERR;
	}
	if (write_through(q->s) && store_flush(&blk.store) < 0)
		return C_BLK_S_IOERR;
	return C_BLK_S_OK;
}

static uint8_t do_get_id(struct request *q)
{
	uint8_t id[C_BLK_ID_SIZE] = "vhu-reference";
	uint64_t room = C_BLK_ID_SIZE;
	uint8_t *at;

	if (fault(blk_getid_crash) && q->c->in_len != sizeof(id))
		fault_crash();
	if (fault(blk_getid_form))
		memset(id + sizeof("vhu-reference"), UINT8_MAX, sizeof(id) - sizeof("vhu-reference"));
	if (fault(blk_getid_restart) && q->r->starts > 1)
		memset(id, 0, sizeof(id));
	if (fault(blk_getid_short) && q->c->n_in) {
		at = memory_gpa(&q->s->mem, q->c->in_gpa[0], &room);
		if (at && room == sizeof(id))
			memcpy(at, id, sizeof(id));
	}
	q->written = chain_scatter(q->c, id, sizeof(id));
	chain_mark(q->s, q->c, q->written);
	return C_BLK_S_OK;
}

static uint8_t do_flush(struct request *q)
{
	if (fault(blk_flush_sector_crash) && q->sector)
		fault_crash();
	if (fault(blk_flush_unsupp))
		return C_BLK_S_UNSUPP;
	return store_flush(&blk.store) < 0 ? C_BLK_S_IOERR : C_BLK_S_OK;
}

static bool negotiated(const struct request *q, uint64_t bit)
{
	return q->s->features & bit;
}

static uint8_t unsupported(struct request *q)
{
	if (fault(blk_unneg_crash) && (q->type == C_BLK_T_DISCARD || q->type == C_BLK_T_WRITE_ZEROES))
		fault_crash();
	if (fault(blk_unsupp_drop) || (fault(blk_flush_out_lost) && q->type == C_BLK_T_FLUSH_OUT))
		q->dropped = true;
	if (fault(blk_unsupp_ok))
		return C_BLK_S_OK;
	if (fault(blk_zone_ioerr) && q->type > C_BLK_T_SECURE_ERASE)
		return C_BLK_S_IOERR;
	return C_BLK_S_UNSUPP;
}

static uint8_t perform(struct request *q)
{
	if (fault(blk_ioprio) && q->reserved)
		return C_BLK_S_IOERR;
	if (failed(q))
		return C_BLK_S_IOERR;
	if (fault(blk_len0_stuck) && q->type <= C_BLK_T_OUT && !q->c->in_len && !q->c->out_len)
		q->dropped = true;
	switch (q->type) {
	case C_BLK_T_IN:
		return do_read(q);
	case C_BLK_T_OUT:
		return do_write(q);
	case C_BLK_T_FLUSH_OUT: /* the flush of legacy drivers */
		if (negotiated(q, V(VIRTIO_F_VERSION_1)))
			return unsupported(q);
		return do_flush(q);
	case C_BLK_T_FLUSH:
		if (!(session_offer(q->s) & V(VIRTIO_BLK_F_FLUSH)))
			return unsupported(q);
		return do_flush(q);
	case C_BLK_T_GET_ID:
		return do_get_id(q);
	case C_BLK_T_DISCARD:
		if (fault(blk_discard_unsupp))
			return C_BLK_S_UNSUPP;
		return negotiated(q, V(VIRTIO_BLK_F_DISCARD)) ? do_ranges(q) : unsupported(q);
	case C_BLK_T_WRITE_ZEROES:
		return negotiated(q, V(VIRTIO_BLK_F_WRITE_ZEROES)) ? do_ranges(q) : unsupported(q);
	case C_BLK_T_SECURE_ERASE:
		if (fault(blk_erase_unsupp))
			return C_BLK_S_UNSUPP;
		return negotiated(q, V(VIRTIO_BLK_F_SECURE_ERASE)) ? do_ranges(q) : unsupported(q);
	case C_BLK_T_GET_LIFETIME:
		return negotiated(q, V(VIRTIO_BLK_F_LIFETIME)) ? do_lifetime(q) : unsupported(q);
	case C_BLK_T_ZONE_APPEND:
	case C_BLK_T_ZONE_REPORT:
	case C_BLK_T_ZONE_OPEN:
	case C_BLK_T_ZONE_CLOSE:
	case C_BLK_T_ZONE_FINISH:
	case C_BLK_T_ZONE_RESET:
	case C_BLK_T_ZONE_RESET_ALL:
		return zones_on() && negotiated(q, V(VIRTIO_BLK_F_ZONED)) ? do_zone(q) : unsupported(q);
	default:
		return unsupported(q);
	}
}

/* Takes the last writable byte, the status, out of the data. */
static uint8_t *take_status(struct chain *c, uint64_t *ret_gpa)
{
	struct iovec *last = &c->in[c->n_in - 1];
	uint8_t *at;

	last->iov_len--;
	at = (uint8_t *)last->iov_base + last->iov_len;
	*ret_gpa = c->in_gpa[c->n_in - 1] + last->iov_len;
	c->n_in -= !last->iov_len;
	c->in_len--;
	return at;
}

/* All that can be done is to give the chain back. */
static int64_t refuse_without_status(void)
{
	if (fault(blk_no_status_crash))
		fault_crash();
	return 0;
}

static int64_t blk_execute(struct session *s, struct ring *r, struct chain *c)
{
	struct request q = {.s = s, .r = r, .c = c};
	uint8_t header[HEADER], status, *at, *first;
	uint64_t gpa, all = c->in_len;
	struct iovec *last;
	bool whole;

	if (!c->n_in)
		return refuse_without_status();
	first = c->in[0].iov_base;
	last = &c->in[c->n_in - 1];
	at = take_status(c, &gpa);
	if (fault(blk_status_first))
		at = first;
	if (fault(blk_stale_read))
		release_held(r);
	if (fault(blk_direction_crash) && !c->n_out)
		fault_crash();
	if (fault(blk_status_last_desc) && c->last_in > 1 && last->iov_len == c->last_in - 1)
		at = last->iov_base;
	whole = !(fault(blk_hdr_one_desc) && c->first_out < HEADER) &&
		!(fault(blk_hdr_alone) && c->first_out > HEADER) &&
		!(fault(blk_status_own_desc) && c->last_in > 1) &&
		!(fault(feat_indirect_assumed) && !(s->features & V(VIRTIO_RING_F_INDIRECT_DESC)));
	if (chain_gather(c, header, sizeof(header)) == sizeof(header) && whole) {
		q.type = (uint32_t)LAYOUT(header, blk_outhdr, type);
		q.reserved = (uint32_t)LAYOUT(header, blk_outhdr, reserved);
		q.sector = LAYOUT(header, blk_outhdr, sector);
		if (r->big_endian) {
			q.type = __builtin_bswap32(q.type);
			q.reserved = __builtin_bswap32(q.reserved);
			q.sector = __builtin_bswap64(q.sector);
		}
		status = perform(&q);
	} else {
		if (fault(blk_hdr_short_crash) && whole)
			fault_crash();
		status = C_BLK_S_IOERR;
	}
	if (q.dropped)
		return NO_COMPLETION;
	if (!(fault(blk_status_none) && status == C_BLK_S_UNSUPP))
		*at = status;
	if (fault(blk_status_wide))
		memset(at + 1, 0, sizeof(uint32_t) - 1);
	log_mark(s, gpa, 1);
	if (status != C_BLK_S_OK)
		return fault(blk_err_len) ? (int64_t)all : 1;
	return (int64_t)q.written + 1;
}

static int blk_open(void)
{
	bool read_only = options.read_only;
	uint32_t zone = options.zoned ? options.zoned : fault_any("zone_") ? FAULT_ZONE : 0;
	int r;

	/* a fault in keeping to it needs a device that promises it */
	if (fault(blk_ro_writes) || fault(blk_ro_unneg) || fault(blk_ro_ranges))
		blk.read_only = true;
	blk.read_only |= read_only;
	blk.flash = options.flash || zone || fault(blk_lifetime_reserved) || fault(blk_erase_unsupp) ||
		    fault(blk_erase_flags) || fault(cfg_erase_0);
	if (fault(blk_offset_32))
		r = store_open(&blk.store, NULL, 2ULL << FAULT_BITS, read_only);
	else
		r = store_open(&blk.store, options.image, options.size, read_only);
	blk.opened = blk.store.size;
	return r == 0 && zone ? zones_open(zone) : r;
}

static void blk_close(void)
{
	release_held(held.r);
	zones_close();
	store_close(&blk.store);
}

static void blk_reset(struct session *s)
{
	release_held(held.r);
	blk.writeback = true;
	blk.writeback_set = false;
	blk.writeback_wide = false;
	(void)s;
}

/* The cache mode is all that the protocol does not tell. */
static uint32_t blk_save(const struct session *s, uint8_t *to)
{
	(void)s;
	to[0] = blk.writeback;
	return 1;
}

static bool blk_load(struct session *s, const uint8_t *bytes, uint32_t len)
{
	(void)s;
	if (len != 1 || bytes[0] > 1)
		return false;
	blk.writeback = bytes[0];
	return true;
}

static bool blk_changed(struct session *s)
{
	bool changed = store_resized(&blk.store);

	(void)s;
	if (fault(grow_told_only))
		blk.store.size = blk.opened;
	return changed;
}

const struct device device_blk = {
	.name = "blk",
	.capabilities = "{\"type\":\"block\",\"features\":[\"read-only\",\"blk-file\"]}",
	.open = blk_open,
	.close = blk_close,
	.features = blk_features,
	.features_set = blk_features_set,
	.accepts = blk_accepts,
	.reset = blk_reset,
	.config = blk_config,
	.set_config = blk_set_config,
	.save = blk_save,
	.load = blk_load,
	.changed = blk_changed,
	.execute = blk_execute,
};
