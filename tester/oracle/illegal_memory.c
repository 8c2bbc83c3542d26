/* What a front-end may not say of memory. */
#include "illegal.h"

static bool overlap(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
	return a < b ? b - a < a_len : a - b < b_len;
}

static void check_region(struct vhu_trial *v, const struct vhu_region_state *r)
{
	if (r->size == 0)
		vhu_trial_malformed(v, VHU_MALFORMED_ADDRESS, "a region of size 0");
	if (r->gpa + r->size < r->gpa || r->uaddr + r->size < r->uaddr || r->offset + r->size < r->offset)
		vhu_trial_malformed(v, VHU_MALFORMED_ADDRESS, "a region that wraps");
	if (r->offset % 4096)
		vhu_trial_malformed(v, VHU_MALFORMED_ADDRESS, "an offset of 0x%llx is not page aligned",
				    (unsigned long long)r->offset);
	if ((vhu_session_pfeatures(v->s) & VHU_P(GPA_ADDRESSES)) && r->uaddr != r->gpa)
		vhu_trial_breaks(
			v, VHU_REQ_MEM_48,
			"the user address is not the guest address although GPA_ADDRESSES is negotiated");
}

static void check_overlap(struct vhu_trial *v, const struct vhu_region_state *a,
			  const struct vhu_region_state *b)
{
	if (overlap(a->gpa, a->size, b->gpa, b->size))
		vhu_trial_breaks(v, VHU_REQ_MEM_09, "regions overlap in guest addresses");
	if (overlap(a->uaddr, a->size, b->uaddr, b->size))
		vhu_trial_breaks(v, VHU_REQ_MEM_10, "regions overlap in user addresses");
}

/* The exchange of addresses in postcopy listen mode has answers of its own. */
static void check_postcopy(struct vhu_trial *v)
{
	if (v->s->postcopy_listening && (v->f->flags & VHU_C_HEADER_NEED_REPLY))
		vhu_trial_breaks(v, VHU_REQ_POSTCOPY_06, "need_reply is set in postcopy listen mode");
}

static void check_mem_table(struct vhu_trial *v)
{
	struct vhu_region_state r[VHU_C_MEM_TABLE_REGIONS] = {0};
	uint64_t n = 0;

	check_postcopy(v);
	if (vhu_session_is_postcopy_ack(v->s, v->f) || vhu_frame_payload(v->f) != VHU_PL_MEM_TABLE ||
	    !vhu_frame_load(v->f, VHU_SLOT(MEM_TABLE, num_regions), &n))
		return;
	if (n > VHU_C_MEM_TABLE_REGIONS)
		vhu_trial_breaks(v, VHU_REQ_MEM_49, "a table of %llu regions", (unsigned long long)n);
	if (n == 0)
		vhu_trial_malformed(v, VHU_MALFORMED_PAYLOAD, "a table without regions");
	if (VHU_NUMBER(v->f, MEM_TABLE, padding))
		vhu_trial_malformed(v, VHU_MALFORMED_PAYLOAD, "padding that is not 0");
	n = VHU_MIN(n, (uint64_t)VHU_C_MEM_TABLE_REGIONS);
	for (size_t i = 0; i < n; i++) {
		vhu_session_read_region(v->f, VHU_PL_MEM_TABLE, i, &r[i]);
		check_region(v, &r[i]);
		for (size_t k = 0; k < i; k++)
			check_overlap(v, &r[k], &r[i]);
	}
}

static void check_add_region(struct vhu_trial *v)
{
	struct vhu_region_state r = {0};

	check_postcopy(v);
	if (vhu_session_is_postcopy_ack(v->s, v->f))
		return;
	vhu_session_read_region(v->f, VHU_PL_MEM_REG, 0, &r);
	check_region(v, &r);
	for (size_t i = 0; i < v->s->n_regions; i++)
		check_overlap(v, &v->s->region[i], &r);
	if (v->s->mem_slots && v->s->n_regions >= v->s->mem_slots)
		vhu_trial_malformed(v, VHU_MALFORMED_ORDER, "one region more than GET_MAX_MEM_SLOTS allows");
}

static void check_remove_region(struct vhu_trial *v)
{
	struct vhu_region_state r = {0};

	vhu_session_read_region(v->f, VHU_PL_MEM_REG, 0, &r);
	for (size_t i = 0; i < v->s->n_regions; i++)
		if (v->s->region[i].gpa == r.gpa && v->s->region[i].uaddr == r.uaddr &&
		    v->s->region[i].size == r.size)
			return;
	vhu_trial_malformed(v, VHU_MALFORMED_ADDRESS, "no such region is mapped");
}

bool vhu_trial_in_regions(const struct vhu_session *s, uint64_t at, uint64_t len)
{
	bool gpa = vhu_session_pfeatures(s) & VHU_P(GPA_ADDRESSES);

	for (size_t i = 0; i < s->n_regions; i++) {
		uint64_t start = gpa ? s->region[i].gpa : s->region[i].uaddr;

		if (at >= start && at - start < s->region[i].size && len <= s->region[i].size - (at - start))
			return true;
	}
	return false;
}

static void check_iotlb(struct vhu_trial *v)
{
	uint64_t iova = VHU_NUMBER(v->f, IOTLB, iova), size = VHU_NUMBER(v->f, IOTLB, size),
		 uaddr = VHU_NUMBER(v->f, IOTLB, uaddr), perm = VHU_NUMBER(v->f, IOTLB, perm),
		 type = VHU_NUMBER(v->f, IOTLB, type);

	if (!(vhu_session_features(v->s) & VHU_V(VIRTIO_F_ACCESS_PLATFORM)))
		vhu_trial_breaks(v, VHU_REQ_IOTLB_11, "IOTLB_MSG without VIRTIO_F_ACCESS_PLATFORM");
	if (type != VHU_C_IOTLB_UPDATE && type != VHU_C_IOTLB_INVALIDATE) {
		vhu_trial_breaks(v, VHU_REQ_IOTLB_24, "IOTLB_MSG of type %llu", (unsigned long long)type);
		return;
	}
	if (size == 0 || iova + size - 1 < iova) {
		vhu_trial_malformed(v, VHU_MALFORMED_ADDRESS, "an IOTLB range of 0x%llx bytes at 0x%llx",
				    (unsigned long long)size, (unsigned long long)iova);
		return;
	}
	if (type == VHU_C_IOTLB_UPDATE &&
	    (perm > 3 || (v->s->memory_set && !vhu_trial_in_regions(v->s, uaddr, size))))
		vhu_trial_breaks(v, VHU_REQ_IOTLB_04, "a translation to 0x%llx, permission %llu",
				 (unsigned long long)uaddr, (unsigned long long)perm);
}

static void (*const on_message[VHU_MSG_MAX])(struct vhu_trial *v) = {
	[VHU_MSG_SET_MEM_TABLE] = check_mem_table,
	[VHU_MSG_ADD_MEM_REG] = check_add_region,
	[VHU_MSG_REM_MEM_REG] = check_remove_region, [VHU_MSG_IOTLB_MSG] = check_iotlb,
};

void vhu_trial_memory(struct vhu_trial *v)
{
	if (on_message[v->row->msg])
		on_message[v->row->msg](v);
}
