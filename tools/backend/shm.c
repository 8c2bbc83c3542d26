/*
 * Shared memory regions. A device would map there what its driver asks for; a disk has no use for them,
 * so that these two mappings are made for whoever looks: a writable one and a read-only one.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "fault.h"
#include "options.h"
#include "session.h"

/* In pages. */
static const struct {
	unsigned shmid, offset, len;
	bool writable;
} maps[SHM_MAPS] = {
	{.shmid = 0, .offset = 1, .len = 2, .writable = true},
	{.shmid = 2, .offset = 0, .len = 1, .writable = false},
};

static const struct {
	unsigned shmid, pages;
} regions[] = {{0, 16}, {2, 1}};

enum { REGIONS = sizeof(regions) / sizeof(regions[0]), CONTENT = 0x5a, SECTOR = 512 };

static uint64_t pages(unsigned n)
{
	return (uint64_t)sysconf(_SC_PAGESIZE) * n;
}

enum result msg_get_shmem_config(struct session *s, struct msg *m, struct reply *r)
{
	static unsigned asked;
	uint64_t extra = 0;

	(void)s;
	(void)m;
	if (fault(shmem_size_odd))
		extra = SECTOR;
	if (fault(shmem_config_changes))
		extra = pages(++asked % 2);
	r->size = PMAX_SHMEM_CONFIG;
	memset(r->payload, 0, r->size);
	FIELD_SET(r->payload, SHMEM_CONFIG, num_regions,
		  fault(shmem_num) ? regions[REGIONS - 1].shmid + 1 : REGIONS);
	for (unsigned i = 0; i < REGIONS; i++)
		field_set(r->payload + OFF_SHMEM_CONFIG_mem_size +
				  LEN_SHMEM_CONFIG_mem_size * regions[i].shmid,
			  LEN_SHMEM_CONFIG_mem_size, pages(regions[i].pages) + extra);
	if (fault(shmem_config_short))
		r->size = OFF_SHMEM_CONFIG_mem_size;
	return RES_OK;
}

static int content(uint64_t size)
{
	int fd = memfd_create("vhu-shm", MFD_CLOEXEC);
	uint8_t first = CONTENT;

	if (fd < 0)
		return -1;
	if (ftruncate(fd, (off_t)size) == 0 && pwrite(fd, &first, sizeof(first), 0) == sizeof(first))
		return fd;
	close(fd);
	return -1;
}

static void describe(uint8_t *payload, int i)
{
	memset(payload, 0, PMAX_MMAP);
	FIELD_SET(payload, MMAP, shmid, maps[i].shmid);
	FIELD_SET(payload, MMAP, shm_offset, pages(maps[i].offset));
	FIELD_SET(payload, MMAP, len, pages(maps[i].len));
	FIELD_SET(payload, MMAP, flags, maps[i].writable);
}

static void send_unmap(struct session *s, int i)
{
	uint8_t payload[PMAX_MMAP];

	describe(payload, i);
	FIELD_SET(payload, MMAP, flags, 0);
	if (fault(shmem_unmap_part))
		FIELD_SET(payload, MMAP, len, pages(1));
	s->shm.map[i].unmap_due = s->shm.map[i].mapped = false;
	channel_send(s, MSG_BACKEND_BACKEND_SHMEM_UNMAP, payload, sizeof(payload), -1);
}

static void send_map(struct session *s, int i)
{
	uint8_t payload[PMAX_MMAP];
	int fd = content(pages(maps[i].len));

	s->shm.map[i].map_due = false;
	if (fd < 0)
		return;
	describe(payload, i);
	if (fault(shmem_map_beyond))
		FIELD_SET(payload, MMAP, shm_offset, pages(regions[0].pages));
	if (fault(shmem_map_flags))
		FIELD_SET(payload, MMAP, flags, 2);
	if (fault(shmem_map_no_fd)) {
		close(fd);
		fd = -1;
	}
	s->shm.asked = i;
	s->shm.map[i].mapped = true; /* unless the front-end says otherwise */
	channel_send(s, MSG_BACKEND_BACKEND_SHMEM_MAP, payload, sizeof(payload), fd);
}

bool shm_tell(struct session *s)
{
	for (int i = 0; i < SHM_MAPS; i++) {
		if (s->shm.map[i].unmap_due)
			send_unmap(s, i);
		else if (s->shm.map[i].map_due)
			send_map(s, i);
		else
			continue;
		return true;
	}
	return false;
}

void shm_answered(struct session *s, bool done)
{
	if (!fault(shmem_refusal_ignored))
		s->shm.map[s->shm.asked].mapped = done;
}

void shm_ring_started(struct ring *r)
{
	struct shm *shm = &r->s->shm;

	if (r->index || !options_asks(MSG_BACKEND_BACKEND_SHMEM_MAP) ||
	    !((r->s->pfeatures & P(SHMEM_MAP)) || fault(shmem_map_unneg)))
		return;
	for (int i = 0; i < SHM_MAPS; i++) {
		shm->map[i].unmap_due = shm->map[i].mapped && maps[i].writable;
		shm->map[i].map_due = shm->map[i].unmap_due || !shm->map[i].mapped;
	}
}

void shm_forget(struct session *s)
{
	memset(&s->shm, 0, sizeof(s->shm));
}
