/* What a guest under load reads and writes, and what has to be there. */
#include "content.h"
#include "guest.h"

static bool is_random(enum vhu_guest_rw rw)
{
	return rw == VHU_GUEST_RANDREAD || rw == VHU_GUEST_RANDWRITE || rw == VHU_GUEST_RANDRW;
}

static bool is_busy(const struct guest_queue *q, uint64_t block)
{
	return q->busy && q->busy[block];
}

/* With verification a block has one request at a time, so that there is never a doubt about what it holds. */
static bool random_block(struct guest_queue *q, uint64_t *ret)
{
	enum { TRIES = 64 };
	uint64_t block = vhu_guest_random_block(&q->rng, q->blocks);

	for (unsigned i = 0; i < TRIES; i++) {
		if (!is_busy(q, block)) {
			*ret = block;
			return true;
		}
		block = block + 1 == q->blocks ? 0 : block + 1;
	}
	return false;
}

/* VERIFY reads only what stands: every write of the round is back. */
static bool next_block(struct guest_queue *q, uint64_t *ret)
{
	if (q->next == q->blocks) {
		if (q->g->opts.rw == VHU_GUEST_VERIFY && vhu_hot_inflight(q->hot) > 0)
			return false;
		q->next = 0;
		q->reading = !q->reading;
	}
	if (is_busy(q, q->next))
		return false;
	*ret = q->next++;
	return true;
}

static bool chooses_write(struct guest_queue *q)
{
	switch (q->g->opts.rw) {
	case VHU_GUEST_READ:
	case VHU_GUEST_RANDREAD:
		break;
	case VHU_GUEST_WRITE:
	case VHU_GUEST_RANDWRITE:
		return true;
	case VHU_GUEST_RANDRW:
		return vhu_rng_u64(&q->rng) % 100 >= q->g->opts.read_percent;
	case VHU_GUEST_VERIFY:
		return !q->reading;
	}
	return false;
}

static void stamp(const struct guest_queue *q, struct guest_slot *s)
{
	uint32_t sectors = q->sectors;
	uint64_t first = (q->first + s->block) * sectors;

	for (uint32_t i = 0; i < sectors; i++)
		vhu_content_render(q->g->content_seed, VHU_CONTENT_STAMP, s->generation, first + i,
				   s->data + (size_t)i * VHU_C_SECTOR_SIZE);
}

/* What a device does not write is seen not to be written, whatever the buffer was used for before. */
static void spoil(const struct guest_queue *q, struct guest_slot *s)
{
	for (uint32_t i = 0; i < q->sectors; i++)
		vhu_content_spoil(s->data + (size_t)i * VHU_C_SECTOR_SIZE);
}

bool vhu_guest_choose(struct guest_queue *q, struct guest_slot *s)
{
	if (!(is_random(q->g->opts.rw) ? random_block(q, &s->block) : next_block(q, &s->block)))
		return false;
	s->write = chooses_write(q);
	if (!q->generation)
		return true;
	q->busy[s->block] = true;
	s->generation = q->generation[s->block] + s->write;
	if (s->write)
		stamp(q, s);
	else
		spoil(q, s);
	return true;
}

/* --- what came back -------------------------------------------------------------------------------- */

/* Sectors of a block by what they hold. */
struct findings {
	unsigned right, stale, lost, torn, misplaced;
	uint32_t first; /* sector that is wrong */
};

/* Of a block that this run has not written nothing is known, but that none of its own data belongs there. */
static void look(const struct guest_queue *q, const struct guest_slot *s, uint64_t first, struct findings *f)
{
	uint32_t sectors = q->sectors;

	*f = (struct findings){.first = sectors};
	for (uint32_t i = 0; i < sectors; i++) {
		const uint8_t *bytes = s->data + (size_t)i * VHU_C_SECTOR_SIZE;
		enum vhu_content_class class =
			vhu_content_classify(q->g->content_seed, s->generation, first + i, bytes);

		if (s->generation == 0 && class != VHU_CONTENT_MISPLACED)
			class = VHU_CONTENT_RIGHT;
		switch (class) {
		case VHU_CONTENT_RIGHT:
			f->right++;
			continue;
		case VHU_CONTENT_STALE:
			f->stale++;
			break;
		case VHU_CONTENT_TORN:
			f->torn++;
			break;
		case VHU_CONTENT_MISPLACED:
			f->misplaced++;
			break;
		case VHU_CONTENT_FOREIGN:
			f->lost++;
			break;
		}
		f->first = VHU_MIN(f->first, i);
	}
}

static void blame(struct guest_queue *q, const struct guest_slot *s, uint64_t first, const struct findings *f)
{
	struct vhu_ring_event event = {.queue = q->index};
	struct guest_counts *c = &q->counts;
	unsigned wrong = f->stale + f->lost;

	if (f->misplaced)
		vhu_guest_count(&c->misplaced, 1);
	else if (f->torn || (wrong && f->right))
		vhu_guest_count(&c->torn, 1);
	else if (f->stale)
		vhu_guest_count(&c->stale, 1);
	else
		vhu_guest_count(&c->lost, 1);
	event.breach = vhu_content_blame(q->g->content_seed, VHU_CONTENT_STAMP, s->generation,
					 first + f->first, s->data + (size_t)f->first * VHU_C_SECTOR_SIZE,
					 event.text, sizeof(event.text));
	vhu_guest_tell(q, &event);
}

/* All of it was written, which the used length has to tell. */
static void check_len(struct guest_queue *q, const struct guest_slot *s, const struct vhu_hot_used *u)
{
	struct vhu_ring_event event = {.breach = VHU_BREACH_USED_LEN_SHORT, .len = u->len};

	if (!u->len_known || u->len >= q->g->opts.bs)
		return;
	vhu_guest_count(&q->counts.ring, 1);
	snprintf(event.text, sizeof(event.text),
		 "read of block %llu: used length %u, %u bytes of data were written",
		 (unsigned long long)(q->first + s->block), u->len, q->g->opts.bs);
	vhu_guest_tell(q, &event);
}

static void check(struct guest_queue *q, struct guest_slot *s, const struct vhu_hot_used *u)
{
	uint64_t first = (q->first + s->block) * q->sectors;
	struct findings f;

	look(q, s, first, &f);
	if (f.first < q->sectors)
		blame(q, s, first, &f);
	else if (s->generation)
		check_len(q, s, u);
}

void vhu_guest_settle(struct guest_queue *q, struct guest_slot *s, const struct vhu_hot_used *u)
{
	if (!q->generation)
		return;
	q->busy[s->block] = false;
	if (s->write)
		q->generation[s->block] = s->generation;
	else
		check(q, s, u);
}

void vhu_guest_unsettle(struct guest_queue *q, struct guest_slot *s)
{
	if (!q->generation)
		return;
	q->busy[s->block] = false;
	if (s->write)
		q->generation[s->block] = 0;
}
