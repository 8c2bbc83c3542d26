/*
 * From a capture to a plan: where the device's addresses lie for the front-end. Behind an IOMMU its messages
 * tell, some of them only when the device has asked, after the request was there.
 */
#include "trace_plan.h"

#include <errno.h>
#include <string.h>

/* Of a range of the device's addresses, from a record on. */
struct translation {
	uint32_t seq;
	uint64_t iova, size, uaddr;
	unsigned perm; /* 0: it is taken back */
};

static bool holds(const struct translation *e, uint64_t at)
{
	return at - e->iova < e->size;
}

static bool take(struct track *t, const struct vhu_record *r)
{
	_cleanup_(vhu_frame_done) struct vhu_frame f = {0};
	struct translation e = {.seq = r->seq}, *grown;
	uint64_t type;

	if (r->channel != VHU_CAP_MAIN || r->dir != VHU_CAP_DIR_FE || r->len < VHU_C_HEADER_SIZE ||
	    vhu_ne_get(r->payload, 4) != VHU_ID_IOTLB_MSG || vhu_record_frame(r, &f, NULL) < 0 || f.defects)
		return true;
	type = vhu_frame_u64(&f, "type");
	e.iova = vhu_frame_u64(&f, "iova");
	e.size = vhu_frame_u64(&f, "size");
	e.uaddr = vhu_frame_u64(&f, "uaddr");
	e.perm = type == VHU_C_IOTLB_UPDATE ? (unsigned)vhu_frame_u64(&f, "perm") : 0;
	/* One that wraps is nowhere. */
	if ((type != VHU_C_IOTLB_UPDATE && type != VHU_C_IOTLB_INVALIDATE) || e.iova + e.size <= e.iova)
		return true;
	grown = reallocarray(t->iotlb, t->n_iotlb + 1, sizeof(*grown));
	if (!grown)
		return false;
	t->iotlb = grown;
	t->iotlb[t->n_iotlb++] = e;
	return true;
}

int vhu_trace_iotlb(struct trace_compile *c, struct track *t)
{
	const struct vhu_session_ref *s = vhu_trace_session(c->trace, t->connection);
	bool behind = vhu_session_features(t->session) & VHU_V(VIRTIO_F_ACCESS_PLATFORM);

	for (; behind && s && t->iotlb_read < s->n; t->iotlb_read++)
		if (!take(t, s->records[t->iotlb_read]))
			return vhu_err_errno(c->err, -ENOMEM, "capture");
	t->behind_iommu = behind;
	return 0;
}

void vhu_trace_iotlb_done(struct track *t)
{
	free(t->iotlb);
	t->iotlb = NULL;
	t->n_iotlb = 0;
}

/* --- addresses --------------------------------------------------------------------------------------- */

/* What is told of an address by this record; else what is told of it first, later. NULL: nothing, ever. */
static const struct translation *find(const struct track *t, uint32_t seq, uint64_t at, uint64_t *len)
{
	size_t low = 0, high = t->n_iotlb;
	uint64_t page = VHU_C_LOG_PAGE - at % VHU_C_LOG_PAGE;
	const struct translation *e;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (t->iotlb[mid].seq <= seq)
			low = mid + 1;
		else
			high = mid;
	}
	for (size_t i = low; i > 0; i--) {
		e = &t->iotlb[i - 1];
		if (holds(e, at)) {
			*len = VHU_MIN(*len, e->iova + e->size - at);
			if (e->perm)
				return e;
			break;
		}
		/* What is told later of addresses behind counts there. */
		if (e->iova > at)
			*len = VHU_MIN(*len, e->iova - at);
	}
	*len = VHU_MIN(*len, page);
	for (e = &t->iotlb[low]; e < t->iotlb + t->n_iotlb; e++)
		if (holds(e, at) && e->perm) {
			*len = VHU_MIN(*len, e->iova + e->size - at);
			return e;
		}
	return NULL;
}

uint64_t vhu_trace_user(const struct track *t, uint32_t seq, uint64_t at, uint64_t len, uint64_t *ret)
{
	const struct vhu_session *s = t->session;
	const struct translation *e;

	if (t->behind_iommu) {
		e = find(t, seq, at, &len);
		if (e)
			*ret = e->uaddr + (at - e->iova);
		return e ? len : 0;
	}
	for (size_t i = 0; i < s->n_regions; i++) {
		uint64_t from = at - s->region[i].gpa;

		if (from < s->region[i].size) {
			*ret = s->region[i].uaddr + from;
			return VHU_MIN(len, s->region[i].size - from);
		}
	}
	return 0;
}

/* --- what the device is told before it was in the capture ---------------------------------------------- */

/* Of its page all that belongs together: nobody asks for less. */
static int tell(struct trace_compile *c, const struct track *t, const struct vhu_record *r,
		const struct translation *e, uint64_t page)
{
	const uint64_t at = VHU_MAX(page, e->iova), end = VHU_MIN(page + VHU_C_LOG_PAGE, e->iova + e->size);
	struct vhu_step *s = vhu_trace_step(c, VHU_VERB_IOTLB, t, r);
	struct vhu_term *terms = s ? vhu_arena_array(c->arena, 3, sizeof(*terms)) : NULL;

	if (!terms)
		return vhu_err_errno(c->err, -ENOMEM, "capture");
	terms[0].u = at;
	terms[1].u = e->uaddr + (at - e->iova);
	terms[2].u = end - at;
	s->iotlb = (struct vhu_step_iotlb){.op = VHU_IOTLB_MAP,
					   .iova = {&terms[0], 1},
					   .gpa = {&terms[1], 1},
					   .size = {&terms[2], 1},
					   .perm = e->perm};
	return 0;
}

int vhu_trace_foretell(struct trace_compile *c, const struct track *t, const struct vhu_record *r,
		       uint64_t at, uint64_t len)
{
	int rc = 0;

	while (t->behind_iommu && len && rc == 0) {
		uint64_t n = len;
		const struct translation *e = find(t, r->seq, at, &n);

		if (!e)
			return 0;
		if (e->seq > r->seq)
			rc = tell(c, t, r, e, at - at % VHU_C_LOG_PAGE);
		at += n;
		len -= n;
	}
	return rc;
}
