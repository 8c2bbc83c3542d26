/*
 * Memory that the target was given and that is no guest memory of ours: regions of a replay, or of a case
 * that says where they lie. Nothing is known of it but what the messages say, and the rings that start in it
 * have to stand where they were said to.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "internal.h"

static void drop(struct vhu_run *r, size_t i)
{
	vhu_close(&r->foreign[i].fd);
	r->foreign[i] = r->foreign[--r->n_foreign];
}

void vhu_run_foreign_forget(struct vhu_conn *c)
{
	for (size_t i = c->r->n_foreign; i-- > 0;)
		if (c->r->foreign[i].conn == c->index)
			drop(c->r, i);
}

void vhu_run_foreign_release(struct vhu_run *r)
{
	while (r->n_foreign)
		drop(r, r->n_foreign - 1);
	free(r->foreign);
	r->foreign = NULL;
}

static struct vhu_foreign region_of(const struct vhu_frame *f, enum vhu_payload pl, size_t i)
{
	struct vhu_foreign g = {.fd = -1};

	vhu_frame_region(f, pl, i, "guest_phys_addr", &g.gpa);
	vhu_frame_region(f, pl, i, "memory_size", &g.size);
	vhu_frame_region(f, pl, i, "userspace_addr", &g.uaddr);
	vhu_frame_region(f, pl, i, "mmap_offset", &g.offset);
	return g;
}

static bool is_ours(const struct vhu_run *r, uint64_t gpa)
{
	const struct vhu_mem *mem = r->driver && !r->plan->recorded ? vhu_driver_mem(r->driver) : NULL;

	for (size_t i = 0; mem && i < vhu_mem_regions(mem); i++)
		if (vhu_mem_region(mem, i)->at.gpa == gpa)
			return true;
	return false;
}

static void add(struct vhu_conn *c, const struct vhu_frame *f, enum vhu_payload pl, size_t i)
{
	struct vhu_foreign g = region_of(f, pl, i), *grown;
	struct vhu_run *r = c->r;

	if (i >= f->n_fds || f->fds[i] < 0 || is_ours(r, g.gpa) || r->n_foreign == VHU_SESSION_REGIONS)
		return;
	grown = realloc(r->foreign, (r->n_foreign + 1) * sizeof(*grown));
	if (grown)
		r->foreign = grown;
	g.conn = c->index;
	g.fd = grown ? fcntl(f->fds[i], F_DUPFD_CLOEXEC, 3) : -1;
	if (g.fd < 0) {
		vhu_run_broken(r, "a region's file: %s", strerror(grown ? errno : ENOMEM));
		return;
	}
	r->foreign[r->n_foreign++] = g;
}

static void remove_region(struct vhu_conn *c, const struct vhu_frame *f)
{
	struct vhu_run *r = c->r;
	const struct vhu_foreign gone = region_of(f, VHU_PL_MEM_REG, 0);

	for (size_t i = 0; i < r->n_foreign; i++)
		if (r->foreign[i].conn == c->index && r->foreign[i].gpa == gone.gpa &&
		    r->foreign[i].uaddr == gone.uaddr && r->foreign[i].size == gone.size) {
			drop(r, i);
			return;
		}
}

void vhu_run_foreign_note(struct vhu_conn *c, const struct vhu_frame *f)
{
	const struct vhu_msg_row *row = vhu_frame_row(f);
	uint64_t n = 0;

	if (!row)
		return;
	switch ((int)row->msg) {
	case VHU_MSG_SET_MEM_TABLE:
		/* An acknowledgement of postcopy has this name too, and no regions. */
		if (vhu_frame_payload(f) != VHU_PL_MEM_TABLE || !f->n_fds)
			return;
		vhu_run_foreign_forget(c);
		vhu_frame_get(f, VHU_PL_MEM_TABLE, "num_regions", &n);
		for (size_t i = 0; i < VHU_MIN(n, (uint64_t)VHU_C_MEM_TABLE_REGIONS); i++)
			add(c, f, VHU_PL_MEM_TABLE, i);
		return;
	case VHU_MSG_ADD_MEM_REG:
		add(c, f, VHU_PL_MEM_REG, 0);
		return;
	case VHU_MSG_REM_MEM_REG:
		remove_region(c, f);
		return;
	default:
		return;
	}
}

const struct vhu_foreign *vhu_run_foreign_of(const struct vhu_conn *c, uint64_t uaddr, uint64_t len)
{
	const struct vhu_run *r = c->r;

	for (size_t i = 0; i < r->n_foreign; i++) {
		const struct vhu_foreign *g = &r->foreign[i];
		uint64_t at = uaddr - g->uaddr; /* huge if it lies below */

		if (g->conn == c->index && at < g->size && len <= g->size - at)
			return g;
	}
	return NULL;
}

int vhu_run_foreign_at(const struct vhu_conn *c, uint64_t uaddr, uint64_t len, uint64_t *ret_offset)
{
	const struct vhu_foreign *g = vhu_run_foreign_of(c, uaddr, len);

	return g && !__builtin_add_overflow(uaddr - g->uaddr, g->offset, ret_offset) &&
			       *ret_offset + len <= INT64_MAX
		       ? g->fd
		       : -1;
}

/* The file and the place of a ring's index; -1: nowhere. */
static int index_at(const struct vhu_conn *c, uint64_t ring, uint64_t *ret_offset)
{
	return vhu_run_foreign_at(c, ring + VHU_AVAIL_IDX, sizeof(uint16_t), ret_offset);
}

/* Files of huge pages can't be written; nobody makes such for memory that is not looked at. */
static void put_index(struct vhu_conn *c, uint64_t ring, uint16_t index)
{
	uint8_t bytes[sizeof(index)];
	uint64_t at;
	int fd = index_at(c, ring, &at);

	vhu_le_put(bytes, sizeof(bytes), index);
	if (fd >= 0 && vhu_run_is_filled(c->r, fd, at))
		return;
	if (fd >= 0 && pwrite(fd, bytes, sizeof(bytes), (off_t)at) < 0)
		vhu_trace_log_note(c->r->e->trace, vhu_now_ns(), 0, "a ring's index cannot be set: %s",
				   strerror(errno));
}

static bool index_stands(const struct vhu_conn *c, uint64_t ring, uint16_t index)
{
	uint8_t bytes[sizeof(index)];
	uint64_t at;
	int fd = index_at(c, ring, &at);

	return fd >= 0 && pread(fd, bytes, sizeof(bytes), (off_t)at) == sizeof(bytes) &&
	       vhu_le_get(bytes, sizeof(bytes)) == index;
}

static void zero(struct vhu_conn *c, uint64_t uaddr, uint64_t len)
{
	static const uint8_t zeroes[4096];
	uint64_t at;
	int fd = vhu_run_foreign_at(c, uaddr, len, &at);

	while (fd >= 0 && len) {
		ssize_t n = pwrite(fd, zeroes, VHU_MIN(len, (uint64_t)sizeof(zeroes)), (off_t)at);

		if (n <= 0)
			return;
		at += (uint64_t)n;
		len -= (uint64_t)n;
	}
}

/*
 * While pages are missing on purpose (postcopy), whoever touches one waits for it. Those of rings are there,
 * as with a guest that has used them.
 */
static void make_present(struct vhu_conn *c, uint64_t uaddr, uint64_t len)
{
	uint64_t at;
	int fd = vhu_run_foreign_at(c, uaddr, len, &at);

	if (fd >= 0 && fallocate(fd, 0, (off_t)at, (off_t)len) < 0)
		vhu_trace_log_note(c->r->e->trace, vhu_now_ns(), 0, "pages of a ring: %s", strerror(errno));
}

/* Nothing of what went through the ring before may be left, and its indexes are where it goes on. */
static void prepare(struct vhu_conn *c, const struct vhu_ring_state *ring, unsigned queue, bool packed)
{
	enum vhu_played_start played = vhu_run_played_start(c, ring, queue);
	const bool used = c->r->io || played == VHU_PLAYED_OVER; /* by us, before */

	if (played == VHU_PLAYED_BUSY)
		return;
	if (used)
		vhu_run_io_end(c->r);
	/* Told twice: whoever reads them between the two must not see them gone for a moment. */
	if (!packed && index_stands(c, ring->avail, (uint16_t)ring->base) &&
	    index_stands(c, ring->used, (uint16_t)ring->base))
		return;
	if (used) {
		zero(c, ring->desc, vhu_ring_desc_len(ring->num));
		zero(c, ring->avail, vhu_ring_avail_len(ring->num, packed));
		zero(c, ring->used, vhu_ring_used_len(ring->num, packed));
	}
	/* Zeroed packed descriptors are available to nobody, wherever the ring stands. */
	if (packed || (!ring->base && !c->r->index_put))
		return;
	c->r->index_put = true;
	put_index(c, ring->avail, (uint16_t)ring->base);
	put_index(c, ring->used, (uint16_t)ring->base);
}

/* With an IOMMU its parts are where that says. False: it does not say. */
static bool find_ring(struct vhu_conn *c, struct vhu_ring_state *ring, bool packed)
{
	return vhu_run_captured_uaddr(c, ring->desc, vhu_ring_desc_len(ring->num), &ring->desc) &&
	       vhu_run_captured_uaddr(c, ring->avail, vhu_ring_avail_len(ring->num, packed), &ring->avail) &&
	       vhu_run_captured_uaddr(c, ring->used, vhu_ring_used_len(ring->num, packed), &ring->used);
}

static const struct vhu_foreign *place(const struct vhu_conn *c, uint64_t uaddr, uint64_t len, uint64_t *ret)
{
	const struct vhu_foreign *g = vhu_run_foreign_of(c, uaddr, len);

	if (g)
		*ret = g->gpa + (uaddr - g->uaddr);
	return g;
}

bool vhu_run_captured_ring(struct vhu_conn *c, const struct vhu_ring_state *state,
			   struct vhu_ring_layout *ret, const struct vhu_foreign *ret_in[VHU_RING_PARTS])
{
	const bool packed = vhu_session_packed(&c->oracle.session);
	const struct vhu_foreign *in[VHU_RING_PARTS];
	struct vhu_ring_state ring = *state;

	if (!ring.num || ring.num > VHU_C_VRING_SIZE_MAX || !find_ring(c, &ring, packed))
		return false;
	*ret = (struct vhu_ring_layout){
		.size = (uint16_t)ring.num,
		.packed = packed,
		.desc_len = vhu_ring_desc_len(ring.num),
		.avail_len = vhu_ring_avail_len(ring.num, packed),
		.used_len = vhu_ring_used_len(ring.num, packed),
	};
	in[0] = place(c, ring.desc, ret->desc_len, &ret->desc);
	in[1] = place(c, ring.avail, ret->avail_len, &ret->avail);
	in[2] = place(c, ring.used, ret->used_len, &ret->used);
	if (ret_in)
		memcpy(ret_in, in, sizeof(in));
	return in[0] && in[1] && in[2];
}

size_t vhu_layout_add_foreign(struct vhu_layout *l, const struct vhu_foreign *g)
{
	for (size_t i = 0; i < l->n_regions; i++)
		if (l->region[i].gpa == g->gpa)
			return i;
	l->region[l->n_regions] = (struct vhu_region_layout){.gpa = g->gpa,
							     .uaddr = g->uaddr,
							     .size = g->size,
							     .offset = g->offset,
							     .backing = VHU_BACKING_MEMFD};
	return l->n_regions++;
}

void vhu_run_foreign_ring(struct vhu_conn *c, const struct vhu_frame *f)
{
	const struct vhu_msg_row *row = vhu_frame_row(f);
	const struct vhu_session *s = &c->oracle.session;
	bool packed = vhu_session_packed(s);
	const struct vhu_ring_state *ring;
	struct vhu_ring_state next;

	if (!c->r->n_foreign || !row || row->scope != VHU_SCOPE_RING)
		return;
	ring = vhu_session_ring(s, (uint32_t)vhu_frame_u64(f, "index"));
	if (!ring)
		return;
	next = *ring;
	/* Some read the used index when they learn where it is, others when the ring starts. */
	if (row->msg == VHU_MSG_SET_VRING_ADDR) {
		next.desc = vhu_frame_u64(f, "descriptor");
		next.avail = vhu_frame_u64(f, "available");
		next.used = vhu_frame_u64(f, "used");
		next.addr_set = true;
		if (s->postcopy_listening) {
			make_present(c, next.desc, vhu_ring_desc_len(ring->num));
			make_present(c, next.avail, vhu_ring_avail_len(ring->num, packed));
			make_present(c, next.used, vhu_ring_used_len(ring->num, packed));
		}
	} else if (row->msg != VHU_MSG_SET_VRING_KICK ||
		   vhu_run_io_resumes(c->r, (unsigned)vhu_frame_u64(f, "index"))) {
		return;
	}
	if (!ring->started && next.addr_set && find_ring(c, &next, packed))
		prepare(c, &next, (unsigned)vhu_frame_u64(f, "index"), packed);
}
