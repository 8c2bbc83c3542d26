/* What a front-end knows of its device, from one event to the next. */
#include "internal.h"

#include <errno.h>
#include <string.h>

#define BIT30 VHU_V(VHOST_USER_F_PROTOCOL_FEATURES)

enum { PACKED_START = 0x80008000 };

void vhu_front_connect(struct front *f, const struct segment *s)
{
	f->seg = s;
	memset(f->cursor, 0, sizeof(f->cursor));
	for (size_t q = 0; q < RINGS_MAX; q++)
		f->ring[q].stops = 0;
	f->facts.status = 0;
	f->n_misses = 0;
	f->broken = false;
}

static bool has_region(const struct region *list, size_t n, const struct region *r)
{
	for (size_t i = 0; i < n; i++)
		if (list[i].gpa == r->gpa && list[i].size == r->size)
			return true;
	return false;
}

static int by_address(const void *a, const void *b)
{
	const struct region *x = a, *y = b;

	return (x->gpa > y->gpa) - (x->gpa < y->gpa);
}

/* Whether some region reaches to the end of the file that this one lies in. */
static bool is_used_up(const struct front *f, const struct region *r)
{
	for (size_t i = 0; i < f->n_regions; i++)
		if (f->regions[i].label == r->label && f->regions[i].offset + f->regions[i].size >= r->file)
			return true;
	return r->label == 0;
}

/*
 * Guest memory begins at 0, takes its files up to their ends, and rings lie in it: a region that this says is
 * missing, is.
 */
static void add_what_must_be(struct front *f, const struct choice *c)
{
	static const struct region unknown = {0};
	bool whole = f->n_regions > 0 && f->regions[0].gpa == 0;

	/* Ours lies anywhere. */
	if (f->seg->tape->tester)
		return;
	for (size_t i = 0; whole && i < f->n_regions; i++)
		whole = is_used_up(f, &f->regions[i]);
	for (unsigned q = 0; whole && q < f->queues; q++) {
		bool in = !c->ready[q] || c->desc[q] == 0 || (c->features & VHU_V(VIRTIO_F_ACCESS_PLATFORM));

		for (size_t i = 0; !in && i < f->n_regions; i++)
			in = c->desc[q] - f->regions[i].uaddr < f->regions[i].size;
		whole &= in;
	}
	if (!whole && f->n_regions < REGIONS_MAX)
		f->regions[f->n_regions++] = unknown;
	qsort(f->regions, f->n_regions, sizeof(f->regions[0]), by_address);
}

/* Whether a start may bring fewer regions than there were: what is told message by message may lack some. */
static bool may_shrink(const struct front *f, const struct choice *c)
{
	return c->table || (c->n_regions && c->n_regions + f->leaving >= f->n_regions);
}

/* A whole set of regions: what was told before holds, unless there is something `news` in it. */
static void take_all_regions(struct front *f, const struct choice *c, bool news)
{
	for (size_t i = 0; i < c->n_regions; i++)
		news |= !has_region(f->regions, f->n_regions, &c->regions[i]);
	if (news) {
		memcpy(f->regions, c->regions, c->n_regions * sizeof(*c->regions));
		f->n_regions = c->n_regions;
	}
	qsort(f->regions, f->n_regions, sizeof(f->regions[0]), by_address);
}

/* False: there was none like that. */
static bool forget_region(struct front *f, const struct region *gone)
{
	for (size_t i = 0; i < f->n_regions; i++)
		if (f->regions[i].gpa == gone->gpa && f->regions[i].size == gone->size) {
			f->gone = f->regions[i];
			memmove(&f->regions[i], &f->regions[i + 1],
				(--f->n_regions - i) * sizeof(f->regions[0]));
			return true;
		}
	return false;
}

static void take_new_regions(struct front *f, const struct choice *c)
{
	static const struct region unknown = {0};

	f->n_fresh = 0;
	for (size_t i = 0; i < c->n_gone; i++)
		f->n_gone += forget_region(f, &c->gone[i]);
	for (size_t i = 0; i < c->n_regions && f->n_regions < REGIONS_MAX; i++)
		if (!has_region(f->regions, f->n_regions, &c->regions[i]))
			f->regions[f->n_regions++] = f->fresh[f->n_fresh++] = c->regions[i];
	while (f->n_fresh < f->pending && f->n_regions < REGIONS_MAX)
		f->regions[f->n_regions++] = f->fresh[f->n_fresh++] = unknown;
}

static void take_regions(struct front *f, const struct choice *c)
{
	if (!(f->facts.pfeatures & VHU_P(CONFIGURE_MEM_SLOTS)) || !f->mem_known) {
		take_all_regions(f, c, f->n_regions == 0 || may_shrink(f, c));
		add_what_must_be(f, c);
		memcpy(f->fresh, f->regions, sizeof(f->fresh));
		f->n_fresh = f->n_regions;
	} else {
		take_new_regions(f, c);
	}
	f->pending = f->leaving = 0;
	f->mem_known = true;
}

static uint32_t first_base(uint64_t features)
{
	return features & VHU_V(VIRTIO_F_RING_PACKED) ? PACKED_START : 0;
}

static uint32_t base_of(const struct front *f, const struct choice *c, unsigned q)
{
	const struct ring *r = &f->ring[q];

	if (f->lost_started || f->unserved)
		return c->base[q]; /* which only the guest's memory knows */
	/* What the guest sends while its link is down is taken, and lost. */
	if (f->keeps && f->drops && r->base_known && q % 2 && (int16_t)(c->base[q] - r->base) > 0)
		return c->base[q];
	if ((f->keeps || f->incoming) && r->base_known)
		return r->base;
	if (f->incoming)
		return c->base[q];
	return first_base(f->facts.features);
}

/* Nor where a device comes from: one that finds several rings in use was migrated, or state was loaded. */
static void arrive(struct front *f, const struct choice *c)
{
	const uint32_t fresh = first_base(c->features);
	unsigned used = 0;

	for (unsigned q = 0; q < f->queues && !f->facts.postcopy; q++)
		used += c->base_seen[q] && c->base[q] != fresh;
	if (!f->facts.postcopy && used < 2)
		return;
	f->incoming = true;
	for (unsigned q = 0; q < f->queues; q++)
		f->ring[q].base_known = false;
}

/* A recording without marks does not say whether a stop was a reset; the rings do. */
static bool goes_on(const struct front *f, const struct choice *c)
{
	const uint32_t fresh = first_base(c->features);

	for (unsigned q = 0; q < f->queues; q++)
		if (f->ring[q].base_known && c->base_seen[q] && c->base[q] == f->ring[q].base &&
		    c->base[q] != fresh)
			return true;
	return false;
}

void vhu_front_take_features(struct front *f, const struct choice *c)
{
	const uint64_t kept = BIT30 | VHU_V(VHOST_F_LOG_ALL);

	f->facts.features = (c->features & ~kept) | (f->facts.features_offered & BIT30);
}

void vhu_front_prepare_start(struct front *f, const struct choice *c)
{
	vhu_front_take_features(f, c);
	if (f->log_unsure)
		f->facts.logging = c->features & VHU_V(VHOST_F_LOG_ALL);
	f->log_unsure = false;
	if (f->unsure)
		f->keeps = f->unreset || goes_on(f, c);
	if (f->unsure && !f->keeps && !f->lost_started)
		arrive(f, c);
	if (!f->keeps && !f->lost_started && !f->incoming)
		f->facts.has_area = false;
	for (unsigned q = 0; q < f->queues; q++) {
		f->ready[q] = c->ready[q];
		f->ring[q].num = c->num[q];
		f->ring[q].base = base_of(f, c, q);
		if (c->ready[q] || !vhu_profile_remembers_rings(f->facts.profile))
			f->ring[q].used = c->used[q];
		f->ring[q].call = 0;
	}
	take_regions(f, c);
	f->n_misses = 0;
	f->facts.iommu = !f->seg->tape->tester && (f->facts.features & VHU_V(VIRTIO_F_ACCESS_PLATFORM));
}

/* Whether the front-end sent that memory's file before: another part of it, or this one, which was gone. */
static bool is_of_a_file(const struct front *f, const struct region *r)
{
	bool known = f->gone.label == r->label && f->gone.offset == r->offset;

	for (size_t i = 0; i < f->n_regions; i++)
		known |= f->regions[i].label == r->label && f->regions[i].offset != r->offset;
	return known && r->label;
}

void vhu_front_plug(struct front *f, const struct choice *c)
{
	static const struct region unknown = {0};

	if (!(f->facts.pfeatures & VHU_P(CONFIGURE_MEM_SLOTS))) {
		take_all_regions(f, c, f->n_regions == 0);
		return;
	}
	f->fresh[0] = unknown;
	/* Of those to come the lowest: addresses are given out in order. */
	for (size_t i = 0; i < c->n_regions; i++)
		if (!has_region(f->regions, f->n_regions, &c->regions[i]) &&
		    (f->fresh[0].size == 0 || c->regions[i].gpa < f->fresh[0].gpa))
			f->fresh[0] = c->regions[i];
	f->n_fresh = 1;
	f->plugged = !is_of_a_file(f, &f->fresh[0]);
	if (f->n_regions < REGIONS_MAX)
		f->regions[f->n_regions++] = f->fresh[0];
}

/* The update for that page, here or later; NULL if none comes. */
static const struct vhu_tape_item *answer_to(const struct front *f, size_t at, uint64_t page)
{
	for (size_t i = at; i < f->seg->n_said; i++) {
		const struct vhu_tape_item *item = vhu_said_at(f->seg, i);
		const struct vhu_frame *frame = &item->frame;

		if (frame->request == VHU_ID_IOTLB_MSG &&
		    vhu_frame_u64(frame, "type") == VHU_C_IOTLB_UPDATE &&
		    page - vhu_frame_u64(frame, "iova") < VHU_MAX(vhu_frame_u64(frame, "size"), UINT64_C(1)))
			return item;
	}
	return NULL;
}

static bool is_unmapping(const struct vhu_tape_item *item)
{
	return item && item->frame.request == VHU_ID_IOTLB_MSG &&
	       vhu_frame_u64(&item->frame, "type") != VHU_C_IOTLB_UPDATE;
}

void vhu_front_translate(struct front *f, size_t at)
{
	const struct vhu_tape_item *item = vhu_said_at(f->seg, at), *answer = NULL;
	const struct vhu_frame *frame = &item->frame;
	bool update = !is_unmapping(item);

	f->translating = TRANSLATING_NOTHING;
	while (f->n_misses && f->translating == TRANSLATING_NOTHING) {
		f->translated = f->misses[0];
		answer = answer_to(f, at, f->translated);
		/* One that is not answered at all has no translation. */
		if (answer)
			f->translating = TRANSLATING_PAGE;
		/* What is mapped together is translated together. */
		if (f->translated - vhu_frame_u64(frame, "iova") < vhu_frame_u64(frame, "size"))
			f->translated = vhu_frame_u64(frame, "iova");
		if (f->translating == TRANSLATING_NOTHING || update)
			memmove(&f->misses[0], &f->misses[1], --f->n_misses * sizeof(f->misses[0]));
	}
	/* What the guest unmaps while the question is on its way goes out before the answer, all of it. */
	if (!update &&
	    (!answer || item->time < answer->time || (at && is_unmapping(vhu_said_at(f->seg, at - 1)))))
		f->translating = TRANSLATING_GUEST;
}

void vhu_front_unplug(struct front *f, const struct region *gone)
{
	f->n_fresh = 1;
	forget_region(f, gone);
}

void vhu_front_shrink(struct front *f, const struct choice *c)
{
	for (size_t i = 0; i < f->n_regions; i++) {
		const struct region gone = f->regions[i];

		if (has_region(c->regions, c->n_regions, &gone))
			continue;
		vhu_front_unplug(f, &gone);
		return;
	}
}

void vhu_front_stopped(struct front *f)
{
	f->started = false;
	f->unsure = !f->marked;
	/* What stopped it was the end of a migration, unless it was a reset or the user. */
	f->log_unsure |= !f->marked || (f->keeps && !f->paused);
}

/* --- walking a persona ------------------------------------------------------------------------------------
 */

struct walk {
	struct front *f;
	struct speech *out;
	bool in_set_up;
	unsigned muted; /* the part, counted from 1, of whose rings one could not be enabled or disabled */
};

/* What has no translation is left out; what is mapped together is translated together. */
static bool has_translation(struct front *f, unsigned queue)
{
	const struct vhu_tape_item *answer = answer_to(f, f->at, f->ring[queue].used);

	f->translating = TRANSLATING_PAGE;
	f->translated = answer ? vhu_frame_u64(&answer->frame, "iova") : 0;
	return answer;
}

/* How far a start got. */
static void follow_start(struct front *f, const struct vhu_script_item *item)
{
	if (item->msg == VHU_MSG_SET_MEM_TABLE || item->msg == VHU_MSG_ADD_MEM_REG)
		f->mapped = !f->refused;
	if (item->msg == VHU_MSG_SET_VRING_KICK)
		f->running[item->queue] = !f->refused;
	if (item->msg == VHU_MSG_SET_VRING_ENABLE)
		f->facts.enabled = !f->refused;
}

static int hear(void *ctx, const struct vhu_script_item *item)
{
	const bool enables = item->msg == VHU_MSG_SET_VRING_ENABLE;
	struct walk *w = ctx;
	unsigned part = vhu_profile_has_pairs(w->f->facts.profile, w->f->facts.device) ? item->queue / 2 : 0;
	int rc;

	if (enables && w->muted == part + 1)
		return 0;

	if (item->unasked && !has_translation(w->f, item->queue)) {
		w->f->refused = w->f->starting && vhu_persona_heeds(&w->f->facts, item->msg);
		return w->f->refused ? -ECANCELED : 0;
	}
	if (w->out->n == SPOKEN_MAX)
		return -E2BIG;
	rc = vhu_speak(w->f, item, &w->out->said[w->out->n++]);
	if (w->f->starting)
		follow_start(w->f, item);
	if (enables && w->f->denied)
		w->muted = part + 1;
	if (w->in_set_up)
		w->f->gave_up |= w->f->refused || vhu_persona_gives_up(&w->f->facts, item->msg);
	return rc == 0 && (w->f->refused || w->f->gave_up) ? -ECANCELED : rc;
}

int vhu_front_walk(struct front *f, enum vhu_phase from, enum vhu_phase to, struct speech *out,
		   struct vhu_err *err)
{
	struct walk w = {.f = f, .out = out, .in_set_up = to == VHU_PHASE_OWNED};
	int rc;

	f->facts.queues = f->queues;
	f->facts.ready = to == VHU_PHASE_FAIL ? f->running : f->ready;
	f->facts.regions = f->n_fresh;
	f->facts.gone = f->n_gone;
	f->refused = f->gave_up = false;
	rc = vhu_persona_walk(&f->facts, from, to, hear, &w, err);
	if (rc == -ECANCELED)
		return 0;
	if (rc < 0 && err && err->text[0] == '\0')
		vhu_err_errno(err, rc, "a phase of the persona");
	return rc;
}

/* One part, or (0) all. */
static int walk_part(struct front *f, unsigned part, enum vhu_phase from, enum vhu_phase to,
		     struct speech *out, struct vhu_err *err)
{
	int rc;

	f->facts.part = part;
	rc = vhu_front_walk(f, from, to, out, err);
	f->facts.part = 0;
	return rc;
}

int vhu_front_start(struct front *f, struct speech *out, struct vhu_err *err)
{
	const bool pairs = vhu_profile_has_pairs(f->facts.profile, f->facts.device);
	const unsigned parts = pairs ? VHU_MAX(f->queues / 2, 1u) : 1;
	unsigned part = 0;
	int rc = 0;

	f->refused = f->facts.enabled = false;
	memset(f->running, 0, sizeof(f->running));
	f->starting = true;
	while (rc == 0 && part < parts && !f->refused) {
		/* Whoever knows of nothing yet is told of everything. */
		if (part++ >= f->parts_told) {
			memcpy(f->fresh, f->regions, sizeof(f->fresh));
			f->n_fresh = f->n_regions;
			f->n_gone = 0;
		}
		f->mapped = false;
		rc = walk_part(f, part, VHU_PHASE_OWNED, VHU_PHASE_RUNNING, out, err);
	}
	f->starting = false;
	f->parts_told = f->refused ? part - !f->mapped : parts;
	if (rc < 0 || !f->refused)
		return rc;
	f->mem_known = f->parts_told > 0;
	f->unserved = pairs;
	f->broken = vhu_profile_hangs_up(f->facts.profile, f->facts.device);
	rc = walk_part(f, part, VHU_PHASE_CONNECTED, VHU_PHASE_FAIL, out, err);
	while (rc == 0 && --part > 0)
		rc = walk_part(f, part, VHU_PHASE_CONNECTED, VHU_PHASE_STOP, out, err);
	f->refused = true;
	return rc;
}
