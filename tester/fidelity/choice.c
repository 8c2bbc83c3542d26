/*
 * What the guest chose: features, rings and their sizes, where the used index stands, where its memory lies.
 * A choice shows in several messages, so that one that is missing or wrong does not change the story.
 */
#include "internal.h"

#include <string.h>

/* More than half of the votes; else the last one. */
struct votes {
	uint64_t value[16];
	unsigned n[16];
	size_t len;
};

static void vote(struct votes *v, uint64_t value)
{
	size_t i = 0;

	while (i < v->len && v->value[i] != value)
		i++;
	if (i == VHU_ARRAY_SIZE(v->value))
		return;
	if (i == v->len) {
		v->len++;
		v->n[i] = 0;
		v->value[i] = value;
	}
	v->n[i]++;
}

/* Half of them is no other choice. */
static void vote_features(struct votes *v, uint64_t features)
{
	for (size_t i = 0; i < v->len; i++)
		if (v->value[i] == (uint32_t)features)
			v->value[i] = features;
	vote(v, features);
}

static uint64_t winner(const struct votes *v)
{
	size_t best = 0;

	for (size_t i = 1; i < v->len; i++)
		if (v->n[i] > v->n[best])
			best = i;
	return v->len ? v->value[best] : 0;
}

static bool read_region(const struct vhu_tape_item *item, enum vhu_payload pl, size_t i, struct region *ret)
{
	return vhu_frame_region(&item->frame, pl, i, "guest_phys_addr", &ret->gpa) &&
	       vhu_frame_region(&item->frame, pl, i, "memory_size", &ret->size) &&
	       vhu_frame_region(&item->frame, pl, i, "userspace_addr", &ret->uaddr) &&
	       vhu_frame_region(&item->frame, pl, i, "mmap_offset", &ret->offset);
}

static void add_region(struct choice *c, const struct vhu_tape_item *item, enum vhu_payload pl, size_t i)
{
	struct region r = {0};

	if (i < item->n_fds) {
		r.label = item->fds[i].label;
		r.file = item->fds[i].size;
	}

	if (c->n_regions < REGIONS_MAX && read_region(item, pl, i, &r))
		c->regions[c->n_regions++] = r;
}

static void read_table(struct choice *c, const struct vhu_tape_item *item)
{
	uint64_t n = 0;

	vhu_frame_get(&item->frame, VHU_PL_MEM_TABLE, "num_regions", &n);
	/* The second message of the postcopy handshake; or another table behind this one. */
	if (n == 0 || c->n_regions)
		return;
	c->table = true;
	for (size_t i = 0; i < VHU_MIN(n, (uint64_t)VHU_C_MEM_TABLE_REGIONS); i++)
		add_region(c, item, VHU_PL_MEM_TABLE, i);
}

struct reading {
	struct choice *c;
	unsigned seen[RINGS_MAX]; /* messages that speak of the ring */
	bool rings, pairs;
	bool num_seen[RINGS_MAX], kicked[RINGS_MAX];
	struct votes features, num;
};

/* The log is part of a start whose features switch it on. */
static bool ends_start(const struct reading *r, const struct vhu_tape_item *item)
{
	switch (item->frame.request) {
	case VHU_ID_GET_VRING_BASE:
		return r->c->any;
	case VHU_ID_SET_LOG_BASE:
		return r->c->any && !(winner(&r->features) & VHU_V(VHOST_F_LOG_ALL));
	default:
		return false;
	}
}

/* False: this belongs to a later start. */
static bool read_ring(struct reading *r, const struct vhu_tape_item *item)
{
	uint64_t queue = vhu_frame_u64(&item->frame, "index"), value = vhu_frame_u64(&item->frame, "num");

	if (queue >= RINGS_MAX)
		return true;
	r->seen[queue]++;
	switch (item->frame.request) {
	case VHU_ID_SET_VRING_NUM:
		if (r->num_seen[queue])
			return r->seen[queue]-- == 0;
		r->num_seen[queue] = true;
		r->c->num[queue] = (uint32_t)value;
		vote(&r->num, value);
		break;
	case VHU_ID_SET_VRING_BASE:
		if (r->c->base_seen[queue])
			return r->seen[queue]-- == 0;
		r->c->base[queue] = (uint32_t)value;
		r->c->base_seen[queue] = true;
		break;
	case VHU_ID_SET_VRING_ADDR:
		r->c->desc[queue] = vhu_frame_u64(&item->frame, "descriptor");
		r->c->used[queue] = vhu_frame_u64(&item->frame, "used");
		break;
	case VHU_ID_SET_VRING_KICK:
		if (r->kicked[queue])
			return r->seen[queue]-- == 0;
		r->kicked[queue] = true;
		break;
	default:
		break;
	}
	return true;
}

/* False at the end of the start. */
static bool read_message(struct reading *r, const struct vhu_tape_item *item)
{
	switch (item->frame.request) {
	case VHU_ID_SET_FEATURES:
		if (r->rings && !r->pairs)
			return false; /* of a later start */
		vote_features(&r->features, vhu_frame_u64(&item->frame, "u64"));
		r->c->any = true;
		return true;
	case VHU_ID_SET_VRING_NUM:
	case VHU_ID_SET_VRING_BASE:
	case VHU_ID_SET_VRING_ADDR:
	case VHU_ID_SET_VRING_KICK:
		r->c->any = r->rings = true;
		return read_ring(r, item);
	case VHU_ID_SET_MEM_TABLE:
		if (r->rings)
			return false; /* hotplug into a running device */
		read_table(r->c, item);
		return true;
	case VHU_ID_ADD_MEM_REG:
		if (r->rings)
			return false;
		if (item->frame.len >= 40)
			add_region(r->c, item, VHU_PL_MEM_REG, 0);
		return true;
	case VHU_ID_REM_MEM_REG:
		if (r->rings)
			return false;
		if (r->c->n_gone < REGIONS_MAX)
			read_region(item, VHU_PL_MEM_REG, 0, &r->c->gone[r->c->n_gone++]);
		return true;
	default:
		return true;
	}
}

void vhu_choice_read(const struct front *f, size_t at, struct choice *ret)
{
	const struct segment *s = f->seg;
	size_t i = at;
	struct reading r = {.c = ret, .pairs = vhu_profile_has_pairs(f->facts.profile, f->facts.device)};

	memset(ret, 0, sizeof(*ret));
	for (; i < s->n_said && !ends_start(&r, vhu_said_at(s, i)); i++)
		if (!read_message(&r, vhu_said_at(s, i)))
			break;
	ret->features = winner(&r.features);
	for (unsigned q = 0; q < RINGS_MAX; q++) {
		ret->ready[q] = r.seen[q] >= (vhu_may_be_cut(s) && i == s->n_said ? 1 : 2);
		if (!r.num_seen[q])
			ret->num[q] = (uint32_t)winner(&r.num);
	}
}
