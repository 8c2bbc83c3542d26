/* The legal value of every payload field for the moment. */
#include <errno.h>
#include <string.h>

#include "internal.h"
#include "plan/script.h"
#include "session/session.h"
#include "wire/frame.h"

enum { LEGAL_MTU = 1500 };

/* A frame that is being filled in; the first failure stays. */
struct fill {
	const struct vhu_moment *m;
	struct vhu_frame *f;
	enum vhu_payload pl;
	int r;
	struct vhu_err *err;
};

static void set(struct fill *x, const char *field, uint64_t value)
{
	int r = x->r < 0 ? 0 : vhu_frame_set(x->f, x->pl, field, value);

	if (r < 0)
		x->r = vhu_err_errno(x->err, r, "%s: %s", vhu_payload_row(x->pl)->name, field);
}

static void resize(struct fill *x, size_t len)
{
	int r = x->r < 0 ? 0 : vhu_frame_resize(x->f, len, x->err);

	if (r < 0)
		x->r = r;
}

/* --- memory -------------------------------------------------------------------------------------------- */

/* Behind the layout: a region as large as the alignment, with a hole before it in each address space. */
static struct vhu_region_layout spare_region(const struct vhu_layout *l, size_t n)
{
	struct vhu_region_layout r = {.size = VHU_REGION_ALIGN};

	for (size_t i = 0; i < l->n_regions; i++) {
		r.gpa = VHU_MAX(r.gpa, l->region[i].gpa + l->region[i].size);
		r.uaddr = VHU_MAX(r.uaddr, l->region[i].uaddr + l->region[i].size);
	}
	r.gpa += (uint64_t)VHU_REGION_ALIGN * (1 + 2 * n);
	r.uaddr += (uint64_t)VHU_REGION_ALIGN * (1 + 2 * n);
	return r;
}

struct vhu_region_layout vhu_moment_region(const struct vhu_moment *m, size_t i)
{
	struct vhu_region_layout r = i < m->layout->n_regions
					     ? m->layout->region[i]
					     : spare_region(m->layout, i - m->layout->n_regions);

	if (m->pfeatures & VHU_P(GPA_ADDRESSES))
		r.uaddr = r.gpa;
	return r;
}

static void put_region(struct fill *x, size_t slot, size_t i)
{
	struct vhu_region_layout at = vhu_moment_region(x->m, i);
	const struct {
		const char *field;
		uint64_t value;
	} fields[] = {
		{"guest_phys_addr", at.gpa},
		{"memory_size", at.size},
		{"userspace_addr", at.uaddr},
		{"mmap_offset", at.offset},
	};

	for (size_t k = 0; x->r == 0 && k < VHU_ARRAY_SIZE(fields); k++) {
		int r = vhu_frame_set_region(x->f, x->pl, slot, fields[k].field, fields[k].value);

		if (r < 0)
			x->r = vhu_err_errno(x->err, r, "region %zu", slot);
	}
}

static void fill_mem_table(struct fill *x)
{
	size_t n = VHU_MIN(x->m->layout->n_regions + x->m->plugged, (size_t)VHU_C_MEM_TABLE_REGIONS);

	if (x->m->go_on) {
		resize(x, sizeof(uint64_t));
		return;
	}
	resize(x, vhu_payload_row(x->pl)->min + n * vhu_payload_row(VHU_PL_REGION)->min);
	set(x, "num_regions", n);
	for (size_t i = 0; i < n; i++)
		put_region(x, i, i);
}

static void fill_mem_reg(struct fill *x)
{
	if (x->m->go_on)
		resize(x, sizeof(uint64_t));
	else
		put_region(x, 0, x->m->region);
}

/* --- rings --------------------------------------------------------------------------------------- */

/* As the table says that the back-end has; before there is one, as the layout's own will. */
uint64_t vhu_moment_uaddr(const struct vhu_moment *m, uint64_t gpa)
{
	const struct vhu_session *s = m->session;

	for (size_t i = 0; s && i < s->n_regions; i++)
		if (gpa >= s->region[i].gpa && gpa - s->region[i].gpa < s->region[i].size)
			return s->region[i].uaddr + (gpa - s->region[i].gpa);
	return m->pfeatures & VHU_P(GPA_ADDRESSES) ? gpa : vhu_layout_uaddr(m->layout, gpa);
}

static uint64_t ring_address(const struct vhu_moment *m, uint64_t gpa)
{
	if (m->features & VHU_V(VIRTIO_F_ACCESS_PLATFORM))
		return gpa + VHU_IOVA_SHIFT;
	return vhu_moment_uaddr(m, gpa);
}

static const struct vhu_ring_layout *ring_of(const struct vhu_moment *m)
{
	const struct vhu_layout *l = m->layout;

	if (!l->n_rings)
		return NULL;
	return m->queue < l->n_rings ? &l->ring[m->queue] : &l->ring[0];
}

static void fill_num(struct fill *x)
{
	const struct vhu_ring_layout *ring = ring_of(x->m);

	set(x, "index", x->m->queue);
	set(x, "num", ring ? ring->size : 1);
}

/* Of what the device writes; in packed rings the descriptors themselves. */
uint64_t vhu_moment_log_address(const struct vhu_ring_layout *ring)
{
	return ring->packed ? ring->desc : ring->used;
}

static void fill_addr(struct fill *x)
{
	const struct vhu_ring_layout *ring = ring_of(x->m);

	set(x, "index", x->m->queue);
	set(x, "flags", x->m->logging ? VHU_C_VRING_F_LOG : 0);
	if (!ring)
		return;
	set(x, "descriptor", ring_address(x->m, ring->desc));
	set(x, "used", ring_address(x->m, ring->used));
	set(x, "available", ring_address(x->m, ring->avail));
	set(x, "log", vhu_moment_log_address(ring));
}

static void fill_base(struct fill *x)
{
	set(x, "index", x->m->queue);
	set(x, "num", x->m->base);
}

static void fill_index(struct fill *x)
{
	set(x, "index", x->m->queue);
}

static void fill_enable(struct fill *x)
{
	set(x, "index", x->m->queue);
	set(x, "num", !x->m->disable);
}

/* --- the rest
 * ------------------------------------------------------------------------------------------------ */

static void fill_features(struct fill *x)
{
	const uint64_t features = x->m->features | (x->m->logging ? VHU_V(VHOST_F_LOG_ALL) : 0);

	set(x, "u64", x->m->low ? (uint32_t)features : features);
}

static void fill_pfeatures(struct fill *x)
{
	set(x, "u64", x->m->pfeatures);
}

static void fill_get_config(struct fill *x)
{
	size_t size = VHU_MIN(VHU_MAX(x->m->config_size, (size_t)1), (size_t)VHU_C_CONFIG_SIZE_MAX);

	resize(x, vhu_payload_row(x->pl)->min + size);
	set(x, "size", size);
	set(x, "flags", x->m->config_flags);
}

/* The one field that a disk's driver may write; elsewhere a byte at the start. */
static void fill_set_config(struct fill *x)
{
	bool blk = x->m->session && x->m->session->device == VHU_DEV_BLK;
	const struct vhu_config_row *row = blk ? vhu_config_by_name(VHU_DEV_BLK, "writeback") : NULL;
	size_t head = vhu_payload_row(x->pl)->min;

	resize(x, head + 1);
	set(x, "size", 1);
	set(x, "offset", row ? row->offset : 0);
	set(x, "flags", x->m->config_flags);
	if (row && x->r == 0)
		x->f->payload[head] = x->m->writes ? x->m->written : 1;
}

static uint64_t log_size(const struct vhu_layout *l)
{
	uint64_t top = 0;

	for (size_t i = 0; i < l->n_regions; i++)
		top = VHU_MAX(top, l->region[i].gpa + l->region[i].size);
	return vhu_layout_log_size(top);
}

static void fill_log(struct fill *x)
{
	set(x, "mmap_size", x->m->log_size ? x->m->log_size : log_size(x->m->layout));
	set(x, "mmap_offset", x->m->log_offset);
}

static void fill_get_inflight(struct fill *x)
{
	const struct vhu_ring_layout *ring = ring_of(x->m);

	set(x, "num_queues",
	    x->m->inflight_queues ? x->m->inflight_queues : VHU_MAX(x->m->layout->n_rings, (size_t)1));
	set(x, "queue_size", x->m->inflight_queue_size ? x->m->inflight_queue_size : ring ? ring->size : 1);
}

static void fill_set_inflight(struct fill *x)
{
	fill_get_inflight(x);
	set(x, "mmap_size", x->m->inflight_size);
	set(x, "mmap_offset", x->m->inflight_offset);
}

static void fill_status(struct fill *x)
{
	set(x, "u64", x->m->status);
}

static void fill_device_state(struct fill *x)
{
	set(x, "direction", x->m->load);
}

static void fill_mtu(struct fill *x)
{
	set(x, "u64", LEGAL_MTU);
}

/* A locally administered address, first byte lowest. */
static void fill_rarp(struct fill *x)
{
	static const uint8_t mac[] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};

	set(x, "u64", vhu_ne_get((const uint8_t[8]){mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]}, 8));
}

/* The translation of the first region. */
static void fill_iotlb(struct fill *x)
{
	struct vhu_region_layout at = vhu_moment_region(x->m, 0);

	set(x, "iova", at.gpa + VHU_IOVA_SHIFT);
	set(x, "size", at.size);
	set(x, "uaddr", at.uaddr);
	set(x, "perm", 3);
	set(x, "type", VHU_C_IOTLB_UPDATE);
}

/* An object that the back-end has announced. */
static void fill_object(struct fill *x)
{
	const struct vhu_session *s = x->m->session;

	if (s && s->n_objects && x->r == 0)
		x->r = vhu_frame_set_bytes(x->f, x->pl, "uuid", s->object[s->n_objects - 1], VHU_UUID_SIZE);
}

/* Messages that are not here are legal with zeroes. */
static void (*const fills[VHU_MSG_MAX])(struct fill *x) = {
	[VHU_MSG_SET_FEATURES] = fill_features,
	[VHU_MSG_SET_PROTOCOL_FEATURES] = fill_pfeatures,
	[VHU_MSG_SET_MEM_TABLE] = fill_mem_table,
	[VHU_MSG_ADD_MEM_REG] = fill_mem_reg,
	[VHU_MSG_REM_MEM_REG] = fill_mem_reg,
	[VHU_MSG_SET_VRING_NUM] = fill_num,
	[VHU_MSG_SET_VRING_ADDR] = fill_addr,
	[VHU_MSG_SET_VRING_BASE] = fill_base,
	[VHU_MSG_GET_VRING_BASE] = fill_index,
	[VHU_MSG_GET_VRING_BASE_SKIP_DRAIN] = fill_index,
	[VHU_MSG_SET_VRING_KICK] = fill_index,
	[VHU_MSG_SET_VRING_CALL] = fill_index,
	[VHU_MSG_SET_VRING_ERR] = fill_index,
	[VHU_MSG_SET_VRING_ENDIAN] = fill_index,
	[VHU_MSG_VRING_KICK] = fill_index,
	[VHU_MSG_SET_VRING_ENABLE] = fill_enable,
	[VHU_MSG_GET_CONFIG] = fill_get_config,
	[VHU_MSG_SET_CONFIG] = fill_set_config,
	[VHU_MSG_SET_LOG_BASE] = fill_log,
	[VHU_MSG_GET_INFLIGHT_FD] = fill_get_inflight,
	[VHU_MSG_SET_INFLIGHT_FD] = fill_set_inflight,
	[VHU_MSG_SET_STATUS] = fill_status,
	[VHU_MSG_SET_DEVICE_STATE_FD] = fill_device_state,
	[VHU_MSG_NET_SET_MTU] = fill_mtu,
	[VHU_MSG_SEND_RARP] = fill_rarp,
	[VHU_MSG_IOTLB_MSG] = fill_iotlb,
	[VHU_MSG_GET_SHARED_OBJECT] = fill_object,
};

void vhu_moment_take(struct vhu_moment *m, const struct vhu_script_item *item)
{
	m->queue = item->queue;
	m->region = item->region;
	m->status = item->status;
	m->disable = item->msg == VHU_MSG_SET_VRING_ENABLE && !item->enable;
	m->load = item->load;
	m->go_on = item->go_on;
	m->low = item->low;
	m->writes = item->msg == VHU_MSG_SET_CONFIG;
	m->written = item->written;
	m->config_flags = item->config_flags;
	if (item->config_size)
		m->config_size = item->config_size;
}

int vhu_moment_fill(const struct vhu_moment *m, struct vhu_frame *f, struct vhu_err *err)
{
	const struct vhu_msg_row *row = vhu_frame_row(f);
	struct fill x = {.m = m, .f = f, .err = err};

	if (!row || !fills[row->msg])
		return 0;
	x.pl = row->request;
	fills[row->msg](&x);
	return x.r;
}

size_t vhu_moment_fds(const struct vhu_moment *m, const struct vhu_frame *f)
{
	const struct vhu_msg_row *row = vhu_frame_row(f);
	uint64_t n = 0;

	if (!row || f->channel != VHU_CHAN_MAIN || vhu_session_is_postcopy_ack(m->session, f))
		return 0;
	if (row->request == VHU_PL_VRING_FD)
		return vhu_frame_u64(f, "no_fd") ? 0 : 1;
	if (row->msg == VHU_MSG_SET_MEM_TABLE) {
		vhu_frame_get(f, VHU_PL_MEM_TABLE, "num_regions", &n);
		return (size_t)VHU_MIN(n, (uint64_t)row->fds_max);
	}
	if (row->msg == VHU_MSG_SET_LOG_BASE)
		return vhu_session_pfeatures(m->session) & VHU_P(LOG_SHMFD) ? 1 : 0;
	return row->fds_min;
}
