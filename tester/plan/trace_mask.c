/*
 * Which bytes of a reply may differ between two honest runs. A name is "MESSAGE.field" or "MESSAGE": the
 * reply of that message, or the request of the back-end with that name. Fields of the config space count as
 * GET_CONFIG's.
 */
#include <errno.h>
#include <string.h>

#include "trace_plan.h"

/* What belongs to the medium, the host, or the traffic, and not to the back-end's behaviour. */
static const char *const masked[] = {
	"GET_MAX_MEM_SLOTS",
	"GET_INFLIGHT_FD.mmap_size",
	"GET_INFLIGHT_FD.mmap_offset",
};

static const struct {
	enum vhu_device device;
	const char *field;
} medium[] = {
	{VHU_DEV_BLK, "capacity"},
	{VHU_DEV_BLK, "size_max"},
	{VHU_DEV_BLK, "geometry_cylinders"},
	{VHU_DEV_BLK, "geometry_heads"},
	{VHU_DEV_BLK, "geometry_sectors"},
	{VHU_DEV_BLK, "blk_size"},
	{VHU_DEV_BLK, "topology_physical_block_exp"},
	{VHU_DEV_BLK, "topology_alignment_offset"},
	{VHU_DEV_BLK, "topology_min_io_size"},
	{VHU_DEV_BLK, "topology_opt_io_size"},
	{VHU_DEV_BLK, "max_discard_sectors"},
	{VHU_DEV_BLK, "discard_sector_alignment"},
	{VHU_DEV_BLK, "max_write_zeroes_sectors"},
	{VHU_DEV_NET, "mac"},
	{VHU_DEV_NET, "status"},
	{VHU_DEV_NET, "speed"},
	{VHU_DEV_NET, "duplex"},
	{VHU_DEV_FS, "tag"},
	{VHU_DEV_VSOCK, "guest_cid"},
};

/* --- names ----------------------------------------------------------------------------------------- */

/* The message of a name, and its field behind the dot; "" for the whole reply. NULL if there is no such
 * message. */
static const struct vhu_msg_row *split(const char *name, const char **ret_field)
{
	size_t len = strcspn(name, ".");
	char message[64];

	*ret_field = name[len] ? name + len + 1 : name + len;
	if (len >= sizeof(message))
		return NULL;
	memcpy(message, name, len);
	message[len] = '\0';
	return vhu_msg_by_name(message);
}

static bool config_field(const char *field)
{
	for (int d = 0; d < VHU_DEV_MAX; d++)
		if (vhu_config_by_name((enum vhu_device)d, field))
			return true;
	return false;
}

static bool has_field(enum vhu_payload pl, const char *field)
{
	return vhu_field_by_name(pl, field) || vhu_bits_by_name(pl, field) ||
	       (pl == VHU_PL_CONFIG && config_field(field)) ||
	       ((pl == VHU_PL_MEM_TABLE || pl == VHU_PL_MEM_REG) && vhu_field_by_name(VHU_PL_REGION, field));
}

int vhu_trace_mask_check(const char *const *names, size_t n, const char *what, struct vhu_err *err)
{
	for (size_t i = 0; i < n; i++) {
		const char *field, *near;
		const struct vhu_msg_row *row = split(names[i], &field);

		if (!row) {
			near = vhu_nearest_name(names[i], vhu_msg_name_at, NULL);
			return vhu_err_set(err, -EINVAL, "%s: '%s' names no message%s%s%s", what, names[i],
					   near ? "\n  did you mean '" : "", near ? near : "",
					   near ? "'?" : "");
		}
		if (*field && !has_field(row->reply, field) && !has_field(row->reply_alt, field) &&
		    !has_field(row->request, field) && strcmp(field, "u64"))
			return vhu_err_set(err, -EINVAL, "%s: %s has no field '%s'", what, row->name, field);
	}
	return 0;
}

/* --- bytes ----------------------------------------------------------------------------------------- */

/* All bits of the field become 1 in `mask`. */
static void set_field(struct vhu_frame *mask, enum vhu_payload pl, const char *field)
{
	const uint8_t *bytes;
	size_t len;

	if (vhu_frame_bytes(mask, pl, field, &bytes, &len)) {
		memset(mask->payload + (bytes - mask->payload), 0xff, len);
		return;
	}
	for (unsigned width = 64; width; width--) {
		uint64_t ones = width == 64 ? UINT64_MAX : (UINT64_C(1) << width) - 1;

		if (vhu_frame_set(mask, pl, field, ones) != -ERANGE)
			return;
	}
}

static void set_config(struct vhu_frame *mask, const struct vhu_frame *f, enum vhu_device device,
		       const char *field)
{
	const struct vhu_config_row *row = vhu_config_by_name(device, field);
	const size_t head = vhu_payload_row(VHU_PL_CONFIG)->min;
	uint64_t from = 0;

	if (!row || f->len < head || !vhu_frame_get(f, VHU_PL_CONFIG, "offset", &from))
		return;
	for (size_t at = row->offset; at < row->offset + row->size; at++)
		if (at >= from && at - from < f->len - head)
			mask->payload[head + (at - from)] = 0xff;
}

static void set_regions(struct vhu_frame *mask, const struct vhu_frame *f, const char *field)
{
	uint64_t n = 0;

	vhu_frame_get(f, VHU_PL_MEM_TABLE, "num_regions", &n);
	for (size_t i = 0; i < VHU_MIN(n, (uint64_t)VHU_C_MEM_TABLE_REGIONS); i++)
		vhu_frame_set_region(mask, VHU_PL_MEM_TABLE, i, field, UINT64_MAX);
}

struct masking {
	const struct vhu_frame *f;
	struct vhu_frame ones; /* bits that may differ */
	enum vhu_payload pl;
	enum vhu_device device;
};

static void mask_field(struct masking *m, const char *field)
{
	if (!*field)
		memset(m->ones.payload, 0xff, m->ones.len);
	else if (m->pl == VHU_PL_MEM_TABLE)
		set_regions(&m->ones, m->f, field);
	else if (m->pl == VHU_PL_CONFIG && !vhu_field_by_name(m->pl, field))
		set_config(&m->ones, m->f, m->device, field);
	else if (m->pl < VHU_PL_MAX)
		set_field(&m->ones, m->pl, field);
}

static void mask_names(struct masking *m, const struct vhu_msg_row *row, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const char *field;

		if (split(names[i], &field) == row)
			mask_field(m, field);
	}
}

/*
 * Where the ring came to by the traffic: without it, ours stands where it was set, unless a buffer of
 * requests in flight, which has not seen the traffic of before either, says where a packed ring goes on.
 */
static bool traffic(const struct trace_compile *c, const struct track *t, const struct vhu_frame *f)
{
	const struct vhu_ring_state *ring = vhu_session_ring(t->session, (uint32_t)vhu_frame_u64(f, "index"));

	return c->opts->io || !ring || vhu_trace_ring_begun(t, vhu_frame_u64(f, "index")) ||
	       vhu_frame_u64(f, "num") != ring->base ||
	       (t->session->inflight_set && vhu_session_packed(t->session));
}

static void mask_usual(struct trace_compile *c, const struct track *t, const struct vhu_msg_row *row,
		       struct masking *m)
{
	mask_names(m, row, masked, VHU_ARRAY_SIZE(masked));
	if (row->msg == VHU_MSG_GET_CONFIG)
		for (size_t i = 0; i < VHU_ARRAY_SIZE(medium); i++)
			if (medium[i].device == m->device)
				mask_field(m, medium[i].field);
	if ((row->msg == VHU_MSG_GET_VRING_BASE || row->msg == VHU_MSG_GET_VRING_BASE_SKIP_DRAIN) &&
	    traffic(c, t, m->f))
		mask_field(m, "num");
	/* In postcopy the back-end tells where it has mapped memory. */
	if (m->pl == VHU_PL_MEM_TABLE || m->pl == VHU_PL_MEM_REG)
		mask_field(m, "userspace_addr");
	/* What went through the pipe is not in the capture: a good state is ours to load, a bad one is not.
	 */
	if (row->msg == VHU_MSG_CHECK_DEVICE_STATE &&
	    (vhu_frame_u64(m->f, "u64") || (t->loading && !vhu_trace_has_state(c, t))))
		mask_field(m, "");
}

int vhu_trace_mask(struct trace_compile *c, const struct track *t, const struct vhu_frame *f,
		   struct vhu_step_answer *s)
{
	const struct vhu_msg_row *row = vhu_frame_row(f);
	struct masking m = {.f = f, .pl = vhu_frame_payload(f), .device = c->opts->device};
	uint8_t *mask;
	int rc;

	if (!row || !f->len)
		return 0;
	rc = vhu_frame_resize(&m.ones, f->len, c->err);
	if (rc < 0)
		return rc;
	memset(m.ones.payload, 0, m.ones.len);
	mask_usual(c, t, row, &m);
	mask_names(&m, row, c->trace->mask, c->trace->n_mask);
	mask_names(&m, row, c->opts->ignore, c->opts->n_ignore);
	mask = vhu_arena_memdup(c->arena, m.ones.payload, m.ones.len);
	if (!mask) {
		vhu_frame_done(&m.ones);
		return vhu_err_errno(c->err, -ENOMEM, "capture");
	}
	/* What may differ as a whole may also be of another length. */
	s->any_size = true;
	for (size_t i = 0; i < m.ones.len; i++) {
		mask[i] = (uint8_t)~mask[i];
		s->any_size &= !mask[i];
	}
	s->mask = mask;
	vhu_frame_done(&m.ones);
	return 0;
}
