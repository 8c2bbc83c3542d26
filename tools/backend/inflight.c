/*
 * The buffer, and the published layout for split rings (inflight_packed.c: for packed ones). What the buffer
 * holds may come from a program that died at any instruction, or from a peer that means us ill: it is data,
 * and checked as such.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fault.h"
#include "inflight.h"
#include "session.h"

enum { VERSION = 1, ALIGN = 64 };

struct entry {
	uint8_t inflight;
	uint8_t padding[5];
	uint16_t next; /* entry of the batch before this one */
	uint64_t counter;
};

/* One queue's part of the buffer. */
struct area {
	uint64_t features;
	uint16_t version, desc_num, last_batch_head, used_idx;
	struct entry desc[];
};

/* Of one queue's region, by the format that the session has. */
static uint64_t stride(const struct session *s, uint32_t queue_size)
{
	uint64_t size = sizeof(struct area) + sizeof(struct entry) * (uint64_t)queue_size;

	if (s->features & V(VIRTIO_F_RING_PACKED))
		size = inflight_packed_size(queue_size);
	return (size + ALIGN - 1) / ALIGN * ALIGN;
}

uint64_t inflight_size(const struct session *s, unsigned queues, uint32_t queue_size)
{
	if (!queues || queues > s->n_rings || !queue_size || queue_size > C_VRING_SIZE_MAX)
		return 0;
	return fault(inflight_size_small) ? stride(s, queue_size) / 2 : stride(s, queue_size) * queues;
}

int inflight_make(uint64_t size, uint32_t queue_size)
{
	int fd = memfd_create("vhu-inflight", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct area dirty = {.version = VERSION, .desc_num = (uint16_t)queue_size};
	struct entry mark = {.inflight = 1};

	if (fd < 0)
		return -errno;
	/* whoever maps it can rely on its length */
	if (ftruncate(fd, (off_t)size) < 0 ||
	    (!fault(inflight_cut) && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) ||
	    (fault(inflight_not_zero) && (pwrite(fd, &dirty, sizeof(dirty), 0) < 0 ||
					  pwrite(fd, &mark, sizeof(mark), sizeof(dirty)) < 0))) {
		int err = errno;

		close(fd);
		return -err;
	}
	return fd;
}

int inflight_open(struct session *s, int fd, uint64_t offset, uint64_t size, unsigned queues,
		  uint32_t queue_size)
{
	struct mapping map;
	int r;

	if (fault(inflight_queues_crash) && queues > s->n_rings)
		fault_crash();
	if (fault(inflight_fewer_refused) && queues < s->n_rings)
		return -EINVAL;
	if (!queues || queues > s->n_rings || !queue_size || queue_size > C_VRING_SIZE_MAX ||
	    offset % sizeof(uint64_t) ||
	    (size < stride(s, queue_size) * queues && !fault(inflight_size_small))) {
		if (fault(inflight_short_crash) && size < stride(s, queue_size) * queues)
			fault_crash();
		return -EINVAL;
	}
	if (fault(inflight_cut))
		return ftruncate(fd, 0);
	r = mapping_open(&map, fd, offset, size);
	if (r < 0)
		return fault(inflight_map_ok) ? 0 : r;
	if (!fault(inflight_map_leak))
		mapping_close(&s->inflight.map);
	s->inflight.map = map;
	s->inflight.queues = queues;
	s->inflight.size = size;
	s->inflight.queue_size = queue_size;
	s->inflight.counter = 0;
	return 0;
}

void inflight_close(struct session *s)
{
	mapping_close(&s->inflight.map);
	s->inflight.queues = 0;
}

/* NULL for a ring that the buffer has no room for, and for one of the other format. */
void *inflight_area(const struct ring *r, bool packed)
{
	const struct inflight *f = &r->s->inflight;
	uint64_t size = stride(r->s, f->queue_size);

	/* the format may have been changed since the buffer came */
	if (!f->map.base || r->index >= f->queues || r->num > f->queue_size ||
	    (format_of(r) == &packed_format) != packed || size * (r->index + 1) > f->size ||
	    fault(inflight_size_small))
		return NULL;
	return f->map.at + size * (fault(inflight_from_the_end) ? f->queues - 1 - r->index : r->index);
}

static struct area *area_of(const struct ring *r)
{
	return inflight_area(r, false);
}

bool inflight_tracks(const struct ring *r)
{
	return area_of(r) || inflight_area(r, true);
}

static void init(struct ring *r, struct area *a)
{
	memset(a, 0, stride(r->s, r->s->inflight.queue_size));
	a->desc_num = fault(inflight_desc_num) ? 0 : (uint16_t)r->s->inflight.queue_size;
	a->used_idx = fault(inflight_used_late) ? 0 : r->used_idx;
	a->features = fault(inflight_features);
	__atomic_store_n(&a->version, fault(inflight_version) ? 0 : VERSION, __ATOMIC_RELEASE);
}

/*
 * The last batch reached the used ring, and the marks were not cleared: they are the entries linked from
 * last_batch_head on, as many as the used index is ahead.
 */
static void settle_batch(struct ring *r, struct area *a)
{
	uint16_t n = (uint16_t)(r->used_idx - a->used_idx), at = a->last_batch_head;

	if (fault(inflight_batch_one) && n)
		n = 1;
	for (; n && n <= r->num && at < r->num; n--) {
		a->desc[at].inflight = 0;
		at = a->desc[at].next;
	}
	if (at >= r->num && fault(inflight_last_crash))
		fault_crash();
	a->used_idx = r->used_idx;
}

void inflight_mark(struct ring *r, struct inflight_marks *marks, uint16_t entry, const uint64_t *counter)
{
	struct inflight_mark *m = &marks->of[marks->n++];

	m->entry = entry;
	m->counter = __atomic_load_n(counter, __ATOMIC_RELAXED);
	if (m->counter >= r->s->inflight.counter)
		r->s->inflight.counter = m->counter + 1;
}

static int by_counter(const void *left, const void *right)
{
	uint64_t l = ((const struct inflight_mark *)left)->counter;
	uint64_t r = ((const struct inflight_mark *)right)->counter;

	if (fault(inflight_order))
		return l < r ? 1 : -(l > r);
	return l < r ? -1 : l > r;
}

unsigned inflight_in_order(struct inflight_marks *marks, uint16_t *redo)
{
	if (marks->n)
		qsort(marks->of, marks->n, sizeof(*marks->of), by_counter);
	for (unsigned i = 0; i < marks->n; i++) {
		redo[i] = marks->of[i].entry;
		if (fault(inflight_counter_crash) && i && marks->of[i].counter == marks->of[i - 1].counter)
			fault_crash();
	}
	free(marks->of);
	return marks->n;
}

static unsigned collect(struct ring *r, struct area *a, uint16_t *redo)
{
	struct inflight_marks marks = {.of = calloc(r->num, sizeof(*marks.of))};

	for (uint32_t i = 0; marks.of && i < r->num; i++)
		if (__atomic_load_n(&a->desc[i].inflight, __ATOMIC_ACQUIRE))
			inflight_mark(r, &marks, (uint16_t)i, &a->desc[i].counter);
	return inflight_in_order(&marks, redo);
}

unsigned inflight_recover(struct ring *r, uint16_t *redo)
{
	struct area *a = area_of(r);

	if (inflight_area(r, true))
		return inflight_packed_recover(r, redo);
	if (!a)
		return 0;
	if (fault(inflight_version_crash) && a->version > VERSION)
		fault_crash();
	if (fault(inflight_desc_num_crash) && a->desc_num && a->desc_num != r->s->inflight.queue_size)
		fault_crash();
	if (a->version != VERSION || a->desc_num != r->s->inflight.queue_size) {
		init(r, a);
		return 0;
	}
	if (a->used_idx != r->used_idx)
		settle_batch(r, a);
	return collect(r, a, redo);
}

void inflight_take(struct ring *r, uint16_t head)
{
	struct area *a = area_of(r);

	if (!a || head >= r->num || fault(inflight_never_set))
		return;
	a->desc[head].counter = r->s->inflight.counter++;
	__atomic_store_n(&a->desc[head].inflight, 1, __ATOMIC_RELEASE);
}

void inflight_link(struct ring *r, uint16_t head)
{
	struct area *a = area_of(r);

	if (!a || head >= r->num || fault(inflight_no_link))
		return;
	a->desc[head].next = a->last_batch_head;
	__atomic_store_n(&a->last_batch_head, head, __ATOMIC_RELEASE);
}

/* The used index is out: the batch is over. */
void inflight_commit(struct ring *r, uint16_t n)
{
	struct area *a = area_of(r);
	uint16_t at;

	if (!a)
		return;
	at = a->last_batch_head;
	for (; n && at < r->num && !fault(inflight_never_clear); n--) {
		uint16_t next = a->desc[at].next;

		__atomic_store_n(&a->desc[at].inflight, 0, __ATOMIC_RELEASE);
		at = next;
	}
	__atomic_store_n(&a->used_idx, r->used_idx, __ATOMIC_RELEASE);
}
