/*
 * What stands in a ring when it starts, where somebody has asked for memory: its areas, and what the requests
 * in it hold that nobody has served yet. Read before the back-end learns of the ring, out of the files that
 * pass through; nothing is mapped, so that a file that is cut short is a short read.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "proxy_priv.h"
#include "session/session.h"
#include "spec/layout.h"

enum {
	EVENT = 4, /* bytes of an event suppression structure */
	WAITING_MAX = 1024, /* descriptors whose message is not whole yet */
	BUDGET = 4 << 20,   /* bytes of buffers for one start of a ring */
};

struct memory_region {
	struct vhu_region_state at;
	int fd;
	uint64_t dev, inode;
};

struct proxy_memory {
	struct vhu_session session;
	struct memory_region region[VHU_SESSION_REGIONS];
	size_t n_regions;
	int waiting[WAITING_MAX];
	size_t n_waiting;
	size_t budget;
	uint8_t bytes[VHU_CAP_MEM_HEAD + VHU_CAP_PIECE];
};

/* One reading of a ring. */
struct snapshot {
	struct proxy_link *link;
	struct proxy_memory *m;
	const struct vhu_record *because; /* the message that starts the ring */
	int code;
	struct vhu_err *err;
};

/* --- the guest's memory ------------------------------------------------------------------------------ */

static void drop_region(struct proxy_memory *m, size_t i)
{
	vhu_close(&m->region[i].fd);
	m->region[i] = m->region[--m->n_regions];
}

static void drop_regions(struct proxy_memory *m)
{
	while (m->n_regions)
		drop_region(m, m->n_regions - 1);
}

static void drop_waiting(struct proxy_memory *m, size_t n)
{
	for (size_t i = 0; i < n; i++)
		vhu_close(&m->waiting[i]);
	m->n_waiting -= n;
	memmove(m->waiting, m->waiting + n, m->n_waiting * sizeof(*m->waiting));
}

void vhu_proxy_memory_free(struct proxy_memory *m)
{
	if (!m)
		return;
	drop_regions(m);
	drop_waiting(m, m->n_waiting);
	free(m);
}

struct proxy_memory *vhu_proxy_memory_new(void)
{
	struct proxy_memory *m = calloc(1, sizeof(*m));

	if (m)
		vhu_session_init(&m->session, VHU_DEV_ANY, 0);
	return m;
}

void vhu_proxy_memory_came(struct proxy_memory *m, const int *fds, size_t n)
{
	for (size_t i = 0; i < n && m->n_waiting < WAITING_MAX; i++)
		m->waiting[m->n_waiting++] = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
}

static void add_region(struct proxy_memory *m, const struct vhu_frame *f, enum vhu_payload pl, size_t i)
{
	struct memory_region r = {.fd = -1};
	struct stat st;

	if (i >= f->n_fds || i >= m->n_waiting || m->n_regions == VHU_ARRAY_SIZE(m->region) ||
	    fstat(m->waiting[i], &st) < 0)
		return;
	vhu_session_read_region(f, pl, i, &r.at);
	r.dev = st.st_dev;
	r.inode = st.st_ino;
	r.fd = m->waiting[i];
	m->waiting[i] = -1;
	m->region[m->n_regions++] = r;
}

static void remove_region(struct proxy_memory *m, const struct vhu_frame *f)
{
	struct vhu_region_state gone = {0};

	vhu_session_read_region(f, VHU_PL_MEM_REG, 0, &gone);
	for (size_t i = 0; i < m->n_regions; i++)
		if (m->region[i].at.gpa == gone.gpa && m->region[i].at.uaddr == gone.uaddr) {
			drop_region(m, i);
			return;
		}
}

static void note_regions(struct proxy_memory *m, const struct vhu_frame *f, enum vhu_msg msg)
{
	uint64_t n = 0;

	switch ((int)msg) {
	case VHU_MSG_SET_MEM_TABLE:
		if (vhu_frame_payload(f) != VHU_PL_MEM_TABLE || !f->n_fds)
			return;
		drop_regions(m);
		vhu_frame_get(f, VHU_PL_MEM_TABLE, "num_regions", &n);
		for (size_t i = 0; i < VHU_MIN(n, (uint64_t)VHU_C_MEM_TABLE_REGIONS); i++)
			add_region(m, f, VHU_PL_MEM_TABLE, i);
		return;
	case VHU_MSG_ADD_MEM_REG:
		add_region(m, f, VHU_PL_MEM_REG, 0);
		return;
	case VHU_MSG_REM_MEM_REG:
		remove_region(m, f);
		return;
	default:
		return;
	}
}

/* Rings are named by the front-end's addresses, buffers by the guest's. */
static const struct memory_region *region_of(const struct proxy_memory *m, bool user, uint64_t addr,
					     uint64_t len)
{
	for (size_t i = 0; i < m->n_regions; i++) {
		const struct vhu_region_state *at = &m->region[i].at;
		uint64_t off = addr - (user ? at->uaddr : at->gpa);

		if (off < at->size && len <= at->size - off)
			return &m->region[i];
	}
	return NULL;
}

static bool read_at(const struct memory_region *r, uint64_t off, uint8_t *bytes, size_t len)
{
	uint64_t at;

	return !__builtin_add_overflow(off, r->at.offset, &at) && at <= INT64_MAX &&
	       pread(r->fd, bytes, len, (off_t)at) == (ssize_t)len;
}

/* --- records ------------------------------------------------------------------------------------------- */

static bool all_zero(const uint8_t *bytes, size_t len)
{
	return !len || (!*bytes && !memcmp(bytes, bytes + 1, len - 1));
}

static void put_piece(struct snapshot *s, uint16_t kind, const struct memory_region *r, uint64_t off,
		      size_t len)
{
	struct proxy *p = s->link->session->proxy;
	uint8_t *payload = s->m->bytes;
	bool zero = all_zero(payload + VHU_CAP_MEM_HEAD, len);
	struct vhu_record record = {
		.t_ns = s->because->t_ns,
		.channel = VHU_CAP_MEM,
		.dir = VHU_CAP_DIR_FE,
		.tap = VHU_CAP_TAP_PROXY,
		.kind = kind,
		.connection = s->because->connection,
		.payload = payload,
		.len = VHU_CAP_MEM_HEAD + (zero ? 0 : len),
		.has_region = true,
		.region = {r->at.gpa, r->at.uaddr, r->at.size, r->at.offset, r->dev, r->inode},
	};

	vhu_le_put(payload, 8, off);
	vhu_le_put(payload + 8, 4, len);
	vhu_le_put(payload + 12, 4, zero ? VHU_CAP_ZERO : VHU_CAP_RAW);
	s->code = p->sink(p->sink_ctx, &record, s->err);
}

static void put_memory(struct snapshot *s, uint16_t kind, bool user, uint64_t addr, uint64_t len)
{
	const struct memory_region *r = region_of(s->m, user, addr, len);
	uint64_t off = r ? addr - (user ? r->at.uaddr : r->at.gpa) : 0;

	while (r && len && s->code == 0) {
		size_t n = (size_t)VHU_MIN(len, (uint64_t)VHU_CAP_PIECE);

		if (!read_at(r, off, s->m->bytes + VHU_CAP_MEM_HEAD, n))
			return;
		put_piece(s, kind, r, off, n);
		off += n;
		len -= n;
	}
}

static bool get(const struct proxy_memory *m, bool user, uint64_t addr, uint8_t *bytes, size_t len)
{
	const struct memory_region *r = region_of(m, user, addr, len);

	return r && read_at(r, addr - (user ? r->at.uaddr : r->at.gpa), bytes, len);
}

/* --- requests that wait -------------------------------------------------------------------------------- */

/* What a descriptor says the device shall read. */
static void put_buffer(struct snapshot *s, uint64_t addr, uint32_t len, unsigned flags)
{
	if (flags & VHU_C_DESC_F_WRITE || len > s->m->budget)
		return;
	s->m->budget -= len;
	put_memory(s, VHU_CAP_MEM_BUFFER, false, addr, len);
}

static void put_table(struct snapshot *s, uint64_t table, uint32_t len, bool packed)
{
	uint32_t n = VHU_MIN(len / VHU_C_DESC_SIZE, (uint32_t)VHU_C_VRING_SIZE_MAX);

	put_buffer(s, table, len, 0);
	for (uint32_t i = 0; i < n; i++) {
		uint8_t desc[VHU_C_DESC_SIZE];

		if (!get(s->m, false, table + i * VHU_C_DESC_SIZE, desc, sizeof(desc)) || s->code)
			return;
		put_buffer(s, vhu_le_get(desc, 8), (uint32_t)vhu_le_get(desc + 8, 4),
			   (unsigned)vhu_le_get(desc + (packed ? 14 : 12), 2));
	}
}

static void put_desc(struct snapshot *s, const uint8_t desc[VHU_C_DESC_SIZE], unsigned flags, bool packed)
{
	uint64_t addr = vhu_le_get(desc, 8);
	uint32_t len = (uint32_t)vhu_le_get(desc + 8, 4);

	if (flags & VHU_C_DESC_F_INDIRECT)
		put_table(s, addr, len, packed);
	else
		put_buffer(s, addr, len, flags);
}

static void put_chain(struct snapshot *s, const struct vhu_ring_state *ring, uint32_t head)
{
	uint8_t desc[VHU_C_DESC_SIZE];
	unsigned flags = VHU_C_DESC_F_NEXT;

	for (uint32_t i = 0; i < ring->num && flags & VHU_C_DESC_F_NEXT && head < ring->num && !s->code;
	     i++) {
		if (!get(s->m, true, ring->desc + (uint64_t)head * VHU_C_DESC_SIZE, desc, sizeof(desc)))
			return;
		flags = (unsigned)vhu_le_get(desc + 12, 2);
		head = (uint32_t)vhu_le_get(desc + 14, 2);
		put_desc(s, desc, flags, false);
	}
}

/* Between what was used and what was made available. */
static void put_split(struct snapshot *s, const struct vhu_ring_state *ring)
{
	uint8_t bytes[2];
	uint16_t avail, used;

	put_memory(s, VHU_CAP_MEM_RING, true, ring->avail, vhu_ring_avail_len(ring->num, false));
	put_memory(s, VHU_CAP_MEM_RING, true, ring->used, vhu_ring_used_len(ring->num, false));
	if (!get(s->m, true, ring->avail + VHU_AVAIL_IDX, bytes, sizeof(bytes)))
		return;
	avail = (uint16_t)vhu_le_get(bytes, 2);
	if (!get(s->m, true, ring->used + VHU_USED_IDX, bytes, sizeof(bytes)))
		return;
	used = (uint16_t)vhu_le_get(bytes, 2);
	for (uint32_t i = 0; used != avail && i < ring->num && !s->code; i++, used++)
		if (get(s->m, true, ring->avail + VHU_AVAIL_RING + 2 * (uint64_t)(used % ring->num), bytes,
			sizeof(bytes)))
			put_chain(s, ring, (uint32_t)vhu_le_get(bytes, 2));
}

/* Those that are marked available and not used. */
static void put_packed(struct snapshot *s, const struct vhu_ring_state *ring)
{
	uint8_t desc[VHU_C_DESC_SIZE];

	put_memory(s, VHU_CAP_MEM_RING, true, ring->avail, EVENT);
	put_memory(s, VHU_CAP_MEM_RING, true, ring->used, EVENT);
	for (uint32_t i = 0; i < ring->num && !s->code; i++) {
		unsigned flags;

		if (!get(s->m, true, ring->desc + (uint64_t)i * VHU_C_DESC_SIZE, desc, sizeof(desc)))
			return;
		flags = (unsigned)vhu_le_get(desc + 14, 2);
		if (!(flags & VHU_C_DESC_F_AVAIL) != !(flags & VHU_C_DESC_F_USED))
			put_desc(s, desc, flags, true);
	}
}

static void put_ring(struct snapshot *s, uint64_t index)
{
	const struct vhu_ring_state *ring =
		index < VHU_SESSION_RINGS ? vhu_session_ring(&s->m->session, (uint32_t)index) : NULL;

	if (!ring || !ring->addr_set || !ring->num || ring->num > VHU_C_VRING_SIZE_MAX)
		return;
	s->m->budget = BUDGET;
	put_memory(s, VHU_CAP_MEM_RING, true, ring->desc, vhu_ring_desc_len(ring->num));
	if (vhu_session_packed(&s->m->session))
		put_packed(s, ring);
	else
		put_split(s, ring);
}

/* --- messages ------------------------------------------------------------------------------------------ */

int vhu_proxy_memory_record(void *ctx, const struct vhu_record *r, struct vhu_err *err)
{
	struct proxy_link *l = ctx;
	struct proxy_memory *m = l->memory;
	struct snapshot s = {.link = l, .m = m, .because = r, .err = err};
	const struct vhu_msg_row *row = vhu_record_row(r);
	int fds[VHU_CAP_FDS_MAX];
	struct vhu_frame f;

	if (row && vhu_record_frame_borrow(r, fds, &f, NULL) == 0 && !f.defects) {
		if (row->msg == VHU_MSG_SET_VRING_KICK)
			put_ring(&s, vhu_frame_u64(&f, "index"));
		note_regions(m, &f, row->msg);
		vhu_session_apply(&m->session, &f, false);
	}
	drop_waiting(m, VHU_MIN(r->n_fds, m->n_waiting));
	return s.code < 0 ? s.code : l->session->proxy->sink(l->session->proxy->sink_ctx, r, err);
}
