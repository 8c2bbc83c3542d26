/* What recorded requests write to a disk is there when later ones read it. */
#include <string.h>

#include "device/ledger.h"
#include "internal.h"

/* One of them, from when it is made available to the end of the replay: the ledger knows what it wrote by its
 * bytes. */
struct vhu_disk_io {
	const struct vhu_offer_disk *disk;
	struct vhu_content_bytes content;
	struct vhu_ledger_write write;
	struct vhu_ledger_read read;
	struct vhu_disk_io *next;
};

struct vhu_disk_run {
	struct vhu_ledger *ledger;
	struct vhu_disk_io *ios;
	bool off; /* something was done to the disk of which it is not known what it changes */
};

static struct vhu_disk_run *disk_of(struct vhu_run *r)
{
	struct vhu_err err;

	if (r->disk)
		return r->disk;
	r->disk = calloc(1, sizeof(*r->disk));
	/* Without a ledger nothing is asked for: what an earlier request wrote would not be in it. */
	if (r->disk)
		r->disk->off = vhu_ledger_new(r->e->opts.seed, &r->disk->ledger, &err) < 0;
	return r->disk;
}

struct vhu_disk_io *vhu_run_disk_begin(struct vhu_run *r, const struct vhu_offer_disk *disk)
{
	struct vhu_disk_run *d = disk->does == VHU_DISK_NOTHING ? NULL : disk_of(r);
	struct vhu_disk_io *io;

	if (!d)
		return NULL;
	d->off |= disk->does == VHU_DISK_CHANGE;
	io = d->off ? NULL : calloc(1, sizeof(*io));
	if (!io) {
		/* What it writes is not known any more. */
		d->off = true;
		return NULL;
	}
	io->disk = disk;
	io->next = d->ios;
	d->ios = io;
	if (disk->does == VHU_DISK_READ) {
		vhu_ledger_read_begin(d->ledger, &io->read);
		return io;
	}
	io->content = (struct vhu_content_bytes){disk->sector, disk->bytes};
	io->write = (struct vhu_ledger_write){.sector = disk->sector,
					      .count = disk->count,
					      .content = VHU_CONTENT_BYTES,
					      .arg = (uintptr_t)&io->content};
	d->off = vhu_ledger_begin(d->ledger, &io->write) < 0;
	return d->off ? NULL : io;
}

/* All that the device wrote, which is the caller's; NULL: it is not there any more. */
static uint8_t *fetch(const struct vhu_conn *c, const struct vhu_offer_disk *disk)
{
	uint8_t *bytes = malloc(disk->count * VHU_C_SECTOR_SIZE + 1);
	size_t done = 0;

	for (size_t i = 0; bytes && i < disk->n_in; i++) {
		const struct vhu_offer_buffer *b = &disk->in[i];
		uint64_t at;
		int fd = vhu_run_foreign_at(c, b->uaddr, b->len, &at);

		if (fd < 0 || pread(fd, bytes + done, b->len, (off_t)at) != (ssize_t)b->len) {
			free(bytes);
			return NULL;
		}
		done += b->len;
	}
	return bytes;
}

static void judge(struct vhu_run *r, const struct vhu_disk_io *io, unsigned queue, const uint8_t *bytes)
{
	struct vhu_ring_event event = {.queue = queue};

	for (uint64_t i = 0; i < io->disk->count; i++)
		if (!vhu_ledger_judge(r->disk->ledger, &io->read, io->disk->sector + i,
				      bytes + i * VHU_C_SECTOR_SIZE, &event.breach, event.text,
				      sizeof(event.text))) {
			vhu_run_replay_breach(r, &event);
			return;
		}
}

void vhu_run_disk_end(struct vhu_conn *c, struct vhu_disk_io *io, unsigned queue)
{
	struct vhu_disk_run *d = c->r->disk;
	bool reads = io->disk->does == VHU_DISK_READ, ok;
	uint8_t *bytes = fetch(c, io->disk);

	ok = bytes && bytes[reads ? io->disk->count * VHU_C_SECTOR_SIZE : 0] == VHU_C_BLK_S_OK;
	if (ok && reads && !d->off)
		judge(c->r, io, queue, bytes);
	if (reads)
		vhu_ledger_read_end(d->ledger, &io->read);
	else
		vhu_ledger_end(d->ledger, &io->write, ok ? VHU_LEDGER_DONE : VHU_LEDGER_FAILED);
	free(bytes);
}

void vhu_run_disk_release(struct vhu_run *r)
{
	while (r->disk && r->disk->ios) {
		struct vhu_disk_io *io = r->disk->ios;

		r->disk->ios = io->next;
		free(io);
	}
	if (r->disk)
		vhu_ledger_free(r->disk->ledger);
	free(r->disk);
	r->disk = NULL;
}
