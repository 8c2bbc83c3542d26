/*
 * The fake guest's IOMMU: what the device's addresses stand for, and the messages that tell it. What the
 * back-end asks for is answered as it comes, unless a step holds it back.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

enum {
	REPEATS_MAX = 64, /* a back-end that asks for the same so often does not listen */
	NEAR = 2 << 20,	  /* a back-end may ask for the start of a page of its own size */
};

/* --- the table --------------------------------------------------------------------------------------- */

static bool add_map(struct vhu_run *r, const struct vhu_iommu_map *map)
{
	struct vhu_iommu_run *t = &r->iommu;
	struct vhu_iommu_map *more = realloc(t->maps, (t->n_maps + 1) * sizeof(*more));

	if (!more) {
		vhu_run_broken(r, "out of memory");
		return false;
	}
	t->maps = more;
	more[t->n_maps++] = *map;
	return true;
}

/* Cuts *piece, which holds iova, down to what lies on the same side of a range's ends. */
static void clip(struct vhu_iommu_map *piece, const struct vhu_iommu_map *other, uint64_t iova)
{
	uint64_t end = piece->iova + piece->size, other_end = other->iova + other->size;
	uint64_t start = piece->iova;

	if (other->iova > iova)
		end = VHU_MIN(end, other->iova);
	else if (other_end <= iova)
		start = VHU_MAX(start, other_end);
	piece->gpa += start - piece->iova;
	piece->iova = start;
	piece->size = end - start;
}

/* The contiguous piece around iova that the table translates alike; false: nothing is there. */
static bool look_up(struct vhu_run *r, uint64_t iova, struct vhu_iommu_map *ret)
{
	const struct vhu_iommu_run *t = &r->iommu;
	size_t i = t->n_maps;

	while (i && (iova < t->maps[i - 1].iova || iova - t->maps[i - 1].iova >= t->maps[i - 1].size))
		i--;
	if (i) {
		*ret = t->maps[i - 1];
	} else {
		const struct vhu_layout *l = r->plan->recorded ? vhu_run_io_layout(r) : &r->plan->layout;
		const struct vhu_region_layout *at =
			l ? vhu_layout_region(l, iova - VHU_IOVA_SHIFT, 1) : NULL;

		if (!at)
			return false;
		*ret = (struct vhu_iommu_map){.iova = at->gpa + VHU_IOVA_SHIFT,
					      .size = at->size,
					      .gpa = r->plan->recorded ? at->uaddr : at->gpa,
					      .perm = 3};
	}
	for (size_t k = i; k < t->n_maps; k++)
		clip(ret, &t->maps[k], iova);
	return ret->perm != 0;
}

/* --- answers ----------------------------------------------------------------------------------------- */

/* Sends the translation of the granule around iova. False: there is none. */
static bool send_update(struct vhu_conn *c, uint64_t iova)
{
	struct vhu_run *r = c->r;
	struct vhu_moment m = vhu_run_moment(c);
	uint64_t start = iova - iova % r->iommu.granule;
	struct vhu_iommu_map piece, granule = {.iova = start, .size = r->iommu.granule};
	struct vhu_frame f = {0};
	struct vhu_err err = {0};

	if (!vhu_conn_live(c) || !look_up(r, iova, &piece))
		return false;
	clip(&piece, &(struct vhu_iommu_map){.iova = 0, .size = granule.iova}, iova);
	clip(&piece, &(struct vhu_iommu_map){.iova = granule.iova + granule.size, .size = 0}, iova);
	if (vhu_frame_request(&f, VHU_MSG_IOTLB_MSG, &err) < 0) {
		vhu_run_broken(r, "%s", err.text);
		return false;
	}
	f.flags |= VHU_C_HEADER_NEED_REPLY;
	vhu_frame_set(&f, VHU_PL_IOTLB, "iova", piece.iova);
	vhu_frame_set(&f, VHU_PL_IOTLB, "size", piece.size);
	vhu_frame_set(&f, VHU_PL_IOTLB, "uaddr",
		      r->plan->recorded ? piece.gpa : vhu_moment_uaddr(&m, piece.gpa));
	vhu_frame_set(&f, VHU_PL_IOTLB, "perm", piece.perm);
	vhu_frame_set(&f, VHU_PL_IOTLB, "type", VHU_C_IOTLB_UPDATE);
	vhu_conn_send_aside(c, &f);
	vhu_frame_done(&f);
	return true;
}

/* The update goes out first, then the acknowledgement, where one was asked for. */
static void serve(struct vhu_conn *c, const struct vhu_frame *f)
{
	struct vhu_iommu_run *t = &c->r->iommu;
	uint64_t iova = vhu_frame_u64(f, "iova"), page = iova - iova % VHU_C_LOG_PAGE;
	bool ok = true;

	if (vhu_frame_u64(f, "type") == VHU_C_IOTLB_MISS) {
		t->repeats = t->last == page ? t->repeats + 1 : 0;
		t->last = page;
		ok = t->repeats < REPEATS_MAX && send_update(c, iova);
	}
	vhu_conn_answer(c, f, !ok);
}

bool vhu_run_iotlb_keeps(struct vhu_conn *c, const struct vhu_frame *f)
{
	if (c->r->iommu.hold && c->n_inbox < VHU_INBOX_MAX)
		return true;
	serve(c, f);
	return false;
}

/* --- of a replay: the table holds user addresses in place of guest addresses --------------------------- */

static bool has_iommu(const struct vhu_conn *c)
{
	return c->r->plan->recorded && (c->features & VHU_V(VIRTIO_F_ACCESS_PLATFORM));
}

bool vhu_run_captured_uaddr(struct vhu_conn *c, uint64_t iova, uint64_t len, uint64_t *ret)
{
	struct vhu_iommu_map piece;
	uint64_t done = 0, n;

	if (!has_iommu(c)) {
		*ret = iova;
		return true;
	}
	while (done < len) {
		if (!look_up(c->r, iova + done, &piece))
			return false;
		n = piece.gpa + (iova + done - piece.iova);
		if (!done)
			*ret = n;
		else if (n != *ret + done)
			return false;
		done += piece.size - (iova + done - piece.iova);
	}
	return true;
}

void vhu_run_captured_iotlb(struct vhu_conn *c, const struct vhu_frame *f)
{
	uint64_t type = vhu_frame_u64(f, "type");
	struct vhu_iommu_map map = {.iova = vhu_frame_u64(f, "iova"),
				    .size = vhu_frame_u64(f, "size"),
				    .gpa = vhu_frame_u64(f, "uaddr")};

	map.perm = type == VHU_C_IOTLB_UPDATE ? (unsigned)vhu_frame_u64(f, "perm") : 0;
	/* One that wraps is nowhere. */
	if ((type == VHU_C_IOTLB_UPDATE || type == VHU_C_IOTLB_INVALIDATE) && map.size &&
	    map.iova + map.size > map.iova)
		add_map(c->r, &map);
}

void vhu_run_io_missed(struct vhu_conn *c, const struct vhu_frame *f)
{
	struct vhu_iommu_run *t = &c->r->iommu;
	uint64_t iova = vhu_frame_u64(f, "iova"), page = iova - iova % VHU_C_LOG_PAGE;
	struct vhu_iommu_map piece;

	if (f->defects || vhu_frame_row(f) != vhu_msg_row(VHU_MSG_BACKEND_IOTLB_MSG) || !has_iommu(c) ||
	    vhu_frame_u64(f, "type") != VHU_C_IOTLB_MISS)
		return;
	t->repeats = t->last == page ? t->repeats + 1 : 0;
	t->last = page;
	/* What it asks for beyond what the recording ever gave is asked for in vain again. */
	if (t->repeats < REPEATS_MAX && look_up(c->r, iova, &piece) &&
	    !(vhu_frame_u64(f, "perm") & ~piece.perm))
		send_update(c, iova);
}

static bool is_iotlb(const struct vhu_frame *f)
{
	return vhu_frame_row(f) == vhu_msg_row(VHU_MSG_BACKEND_IOTLB_MSG);
}

static void serve_held(struct vhu_conn *c)
{
	for (size_t i = 0; i < c->n_inbox;) {
		if (!is_iotlb(&c->inbox[i].f)) {
			i++;
			continue;
		}
		serve(c, &c->inbox[i].f);
		vhu_conn_inbox_drop(c, i);
	}
}

/* --- steps ------------------------------------------------------------------------------------------- */

/* The range of the step: IOVA and guest address each tell the other where only one is given. */
static bool range_of(struct vhu_run *r, const struct vhu_step *s, struct vhu_iommu_map *ret)
{
	*ret = (struct vhu_iommu_map){.perm = s->iotlb.perm};
	if ((s->iotlb.iova.n && !vhu_run_value(r, &s->iotlb.iova, &ret->iova)) ||
	    (s->iotlb.gpa.n && !vhu_run_value(r, &s->iotlb.gpa, &ret->gpa)) ||
	    !vhu_run_value(r, &s->iotlb.size, &ret->size))
		return false;
	if (!s->iotlb.iova.n)
		ret->iova = ret->gpa + VHU_IOVA_SHIFT;
	if (!s->iotlb.gpa.n)
		ret->gpa = ret->iova - VHU_IOVA_SHIFT;
	return true;
}

/* One message as the case's own step: its expectations, its note. */
static void send_as_step(struct vhu_conn *c, const struct vhu_step *s, const struct vhu_iommu_map *range)
{
	struct vhu_moment m = vhu_run_moment(c);
	bool update = s->iotlb.op == VHU_IOTLB_UPDATE;
	struct vhu_term iova = {.u = range->iova}, size = {.u = range->size},
			uaddr = {.u = update ? vhu_moment_uaddr(&m, range->gpa) : 0},
			perm = {.u = update ? range->perm : 0},
			type = {.u = update ? VHU_C_IOTLB_UPDATE : VHU_C_IOTLB_INVALIDATE};
	const struct vhu_assign with[] = {
		{.field = "iova", .value = {&iova, 1}},	  {.field = "size", .value = {&size, 1}},
		{.field = "uaddr", .value = {&uaddr, 1}}, {.field = "perm", .value = {&perm, 1}},
		{.field = "type", .value = {&type, 1}},
	};
	struct vhu_step step = *s;

	step.verb = VHU_VERB_SEND;
	step.send = (struct vhu_step_send){.row = vhu_msg_row(VHU_MSG_IOTLB_MSG),
					   .request = VHU_ID_IOTLB_MSG,
					   .with = with,
					   .n_with = VHU_ARRAY_SIZE(with),
					   .reply_fds = -1};
	vhu_do_send(c->r, &step);
}

static void send_range(struct vhu_conn *c, const struct vhu_step *s)
{
	struct vhu_run *r = c->r;
	const struct vhu_layout *l = &r->plan->layout;
	struct vhu_iommu_map range;

	if (s->iotlb.size.n) {
		if (range_of(r, s, &range) && (s->iotlb.op != VHU_IOTLB_UPDATE || add_map(r, &range)))
			send_as_step(c, s, &range);
		return;
	}
	for (size_t i = 0; i < l->n_regions && !r->stop && vhu_conn_live(c); i++) {
		range = (struct vhu_iommu_map){.iova = l->region[i].gpa + VHU_IOVA_SHIFT,
					       .size = l->region[i].size,
					       .gpa = l->region[i].gpa,
					       .perm = s->iotlb.perm};
		send_as_step(c, s, &range);
	}
}

struct miss_wait {
	struct vhu_conn *c;
	struct vhu_iommu_map range;
	bool anywhere;
};

static struct vhu_frame *find_miss(const struct miss_wait *w)
{
	uint64_t from = w->range.iova & ~(uint64_t)(NEAR - 1);

	for (size_t i = 0; i < w->c->n_inbox; i++) {
		struct vhu_frame *f = &w->c->inbox[i].f;
		uint64_t iova = vhu_frame_u64(f, "iova");

		if (is_iotlb(f) && vhu_frame_u64(f, "type") == VHU_C_IOTLB_MISS &&
		    (w->anywhere || (iova >= from && iova < w->range.iova + w->range.size)))
			return f;
	}
	return NULL;
}

static bool missed(void *ctx)
{
	struct miss_wait *w = ctx;

	return w->c->closed || w->c->r->exited || find_miss(w);
}

static void await_miss(struct vhu_conn *c, const struct vhu_step *s)
{
	struct miss_wait w = {.c = c, .anywhere = !s->iotlb.size.n};
	struct vhu_run *r = c->r;
	struct vhu_frame *f;
	char accepted[120] = "a request for a translation";

	if (!w.anywhere) {
		if (!range_of(r, s, &w.range))
			return;
		snprintf(accepted, sizeof(accepted), "a request for the translation of 0x%llx",
			 (unsigned long long)w.range.iova);
	}
	vhu_run_wait(r, missed, &w, vhu_run_deadline(r, s), false);
	f = find_miss(&w);
	if (f)
		vhu_run_match(r, s, &s->iotlb.wants, "the permission asked for", vhu_frame_u64(f, "perm"));
	else if (!r->stop)
		vhu_run_unmet(r, s, VHU_FINDING_RULE, accepted, "no such request until the deadline");
}

void vhu_do_iotlb(struct vhu_run *r, const struct vhu_step *s)
{
	struct vhu_conn *c = &r->conns[s->conn];
	struct vhu_iommu_map range;

	switch (s->iotlb.op) {
	case VHU_IOTLB_MAP:
		if (range_of(r, s, &range))
			add_map(r, &range);
		break;
	case VHU_IOTLB_UPDATE:
	case VHU_IOTLB_INVALIDATE:
		send_range(c, s);
		break;
	case VHU_IOTLB_HOLD:
		r->iommu.hold = true;
		break;
	case VHU_IOTLB_AWAIT:
		await_miss(c, s);
		break;
	case VHU_IOTLB_SERVE:
		r->iommu.granule = s->iotlb.granule;
		r->iommu.hold = false;
		serve_held(c);
		break;
	}
}
