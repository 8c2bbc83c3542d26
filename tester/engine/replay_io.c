/*
 * Requests of our own through the rings of a captured session, while they live: in its memory, at its
 * addresses, with its descriptors. Between two messages nothing is in flight, so that the driver can be made
 * anew whenever the session's memory or rings change.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

enum {
	CHUNK = 16 << 20,    /* of guest memory for our buffers, and for rings that the guest does not use */
	CHUNK_MIN = 1 << 20, /* in a small guest */
	PAGE = 4096,
	IDLE_PAGES = 3, /* of a ring that is not used: its three parts */
	IDLE_SIZE = 4,
	CHAIN = 3,	      /* descriptors of a request */
	SECTORS = 8,	      /* of a request */
	SECTORS_KNOWN = 2048, /* of a disk whose size nobody told: any has so many */
};

struct vhu_replay_io {
	struct vhu_layout layout, next; /* as the driver has it; as the session is now */
	int fds[VHU_LAYOUT_REGIONS_MAX], next_fds[VHU_LAYOUT_REGIONS_MAX];
	bool lives[VHU_SESSION_RINGS], next_lives[VHU_SESSION_RINGS]; /* it has a place in memory */
	uint32_t at[VHU_SESSION_RINGS];				      /* where each ring stands */
	struct span {
		uint64_t gpa, len;
	} * left; /* what rings have left in memory, until they are there again or it is wiped */
	size_t n_left, cap_left;
	int fd[VHU_SESSION_RINGS][VHU_VRING_FD_MAX]; /* as they were sent last */
	uint64_t chunk, chunk_len;
	uint64_t capacity, sector;
	bool off;		      /* it cannot be done */
	bool told[VHU_SESSION_RINGS]; /* where it lies or goes on, since it stopped */
};

static struct vhu_replay_io *io_of(struct vhu_run *r)
{
	if (!r->io) {
		r->io = calloc(1, sizeof(*r->io));
		if (!r->io) {
			vhu_run_broken(r, "out of memory");
			return NULL;
		}
		memset(r->io->fd, -1, sizeof(r->io->fd));
		r->io->capacity = SECTORS_KNOWN;
	}
	return r->io;
}

static bool wanted(const struct vhu_run *r)
{
	return r->e->opts.replay && r->e->opts.replay->ios;
}

static void VHU_PRINTF(2, 3) give_up(struct vhu_run *r, const char *format, ...)
{
	struct vhu_replay *replay = r->e->opts.replay;
	va_list args;

	r->io->off = true;
	va_start(args, format);
	vsnprintf(replay->no_io, sizeof(replay->no_io), format, args);
	va_end(args);
}

/* --- the guest as it is now ------------------------------------------------------------------------ */

/* A driver that has not said DRIVER_OK is not there yet; one that reconnects does not say it again. */
static bool driver_ready(const struct vhu_session *s)
{
	return !(vhu_session_pfeatures(s) & VHU_P(STATUS)) || !s->status_set ||
	       s->status & VHU_C_STATUS_DRIVER_OK;
}

static bool overlap(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
	return a < b + b_len && b < a + a_len;
}

static bool hits_ring(const struct vhu_layout *l, uint64_t at, uint64_t len)
{
	for (size_t i = 0; i < l->n_rings; i++)
		if (overlap(at, len, l->ring[i].desc, l->ring[i].desc_len) ||
		    overlap(at, len, l->ring[i].avail, l->ring[i].avail_len) ||
		    overlap(at, len, l->ring[i].used, l->ring[i].used_len))
			return true;
	return false;
}

/* The largest region comes first: its upper end is where our own things go, below rings that lie there. */
static bool find_chunk(struct vhu_replay_io *io, uint64_t *ret_at, uint64_t *ret_len)
{
	struct vhu_layout *l = &io->next;
	uint64_t end, len;
	size_t best = 0;

	for (size_t i = 1; i < l->n_regions; i++)
		if (l->region[i].size > l->region[best].size)
			best = i;
	if (best) {
		struct vhu_region_layout region = l->region[0];
		int fd = io->next_fds[0];

		l->region[0] = l->region[best];
		io->next_fds[0] = io->next_fds[best];
		l->region[best] = region;
		io->next_fds[best] = fd;
	}
	len = l->region[0].size / 4 >= CHUNK ? CHUNK : CHUNK_MIN;
	end = (l->region[0].gpa + l->region[0].size) & ~(uint64_t)(PAGE - 1);
	for (; end >= l->region[0].gpa + len; end -= CHUNK_MIN)
		if (!hits_ring(l, end - len, len)) {
			*ret_at = end - len;
			*ret_len = len;
			return true;
		}
	return false;
}

/* Rings that don't live lie in our own part of memory, so that each has the number that the protocol gives
 * it. */
static void lay_out_idle(struct vhu_replay_io *io, uint64_t chunk, uint64_t len)
{
	struct vhu_layout *l = &io->next;
	uint64_t at = chunk;

	for (size_t q = 0; q < l->n_rings; q++) {
		if (io->next_lives[q])
			continue;
		l->ring[q] = (struct vhu_ring_layout){
			.size = IDLE_SIZE,
			.desc = at,
			.avail = at + PAGE,
			.used = at + 2 * (uint64_t)PAGE,
			.desc_len = vhu_ring_desc_len(IDLE_SIZE),
			.avail_len = vhu_ring_avail_len(IDLE_SIZE, false),
			.used_len = vhu_ring_used_len(IDLE_SIZE, false),
		};
		at += (uint64_t)IDLE_PAGES * PAGE;
	}
	l->n_data = 1;
	l->data[0].gpa = at;
	l->data[0].len = chunk + len - at;
}

static void lay_out_regions(struct vhu_conn *c)
{
	struct vhu_layout *l = &c->r->io->next;

	for (size_t i = 0; i < c->r->n_foreign && l->n_regions < VHU_LAYOUT_REGIONS_MAX; i++) {
		const struct vhu_foreign *g = &c->r->foreign[i];

		if (g->conn == c->index)
			c->r->io->next_fds[vhu_layout_add_foreign(l, g)] = g->fd;
	}
}

static bool works(const struct vhu_ring_state *ring)
{
	return ring->started && ring->enabled;
}

/* True if a ring is there to work with. */
static bool lay_out(struct vhu_conn *c)
{
	const struct vhu_session *s = &c->oracle.session;
	struct vhu_replay_io *io = c->r->io;
	bool any = false;

	memset(&io->next, 0, sizeof(io->next));
	memset(io->next_lives, 0, sizeof(io->next_lives));
	lay_out_regions(c);
	for (unsigned q = 0; q < VHU_SESSION_RINGS && driver_ready(s); q++) {
		const struct vhu_ring_state *ring = &s->ring[q];

		io->next_lives[q] = ring->addr_set && vhu_run_captured_ring(c, ring, &io->next.ring[q], NULL);
		if (!io->next_lives[q])
			continue;
		io->next.n_rings = q + 1;
		any |= works(ring);
	}
	return any;
}

/* --- the driver ------------------------------------------------------------------------------------ */

void vhu_run_replay_breach(void *ctx, const struct vhu_ring_event *event)
{
	struct vhu_run *r = ctx;
	struct vhu_obs obs = {.kind = VHU_OBS_BREACH, .breach = event->breach, .text = event->text};

	vhu_oracle_observe(&r->conns[r->step ? r->step->conn : 0].oracle, &obs);
}

/* What a ring leaves in memory is no stranger's write. */
static void leave(struct vhu_run *r, uint64_t gpa, uint64_t len)
{
	struct vhu_replay_io *io = r->io;
	size_t cap = io->cap_left ? 2 * io->cap_left : 64;
	struct span *left = io->n_left == io->cap_left ? realloc(io->left, cap * sizeof(*left)) : io->left;

	if (!left) {
		vhu_run_broken(r, "out of memory");
		return;
	}
	if (io->n_left == io->cap_left)
		io->cap_left = cap;
	io->left = left;
	io->left[io->n_left++] = (struct span){gpa, len};
}

static void leave_ring(struct vhu_run *r, const struct vhu_ring_layout *ring)
{
	leave(r, ring->desc, ring->desc_len);
	leave(r, ring->avail, ring->avail_len);
	leave(r, ring->used, ring->used_len);
}

/* Zeroes, but where a ring is that the device may be looking at. */
static void wipe(struct vhu_replay_io *io, const struct span *span)
{
	static const uint8_t zero;
	const struct vhu_region_layout *region = NULL;
	int fd = -1;

	for (size_t i = 0; i < io->next.n_regions; i++)
		if (span->gpa - io->next.region[i].gpa < io->next.region[i].size) {
			region = &io->next.region[i];
			fd = io->next_fds[i];
		}
	for (uint64_t at = span->gpa; region && at < span->gpa + span->len; at++)
		if (!hits_ring(&io->next, at, 1) &&
		    pwrite(fd, &zero, 1, (off_t)(at - region->gpa + region->offset)) < 0)
			return;
}

static void wipe_left(struct vhu_replay_io *io)
{
	for (size_t i = 0; i < io->n_left; i++)
		wipe(io, &io->left[i]);
	io->n_left = 0;
}

/* Our own part of memory is as it was found. */
static void clean(struct vhu_run *r)
{
	const struct vhu_region *region = vhu_mem_region(vhu_driver_mem(r->driver), 0);
	const struct vhu_replay_io *io = r->io;

	for (size_t q = 0; q < io->layout.n_rings; q++)
		if (io->lives[q])
			leave_ring(r, &io->layout.ring[q]);
	if (region)
		fallocate(region->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			  (off_t)(io->chunk - region->at.gpa + region->at.offset), (off_t)io->chunk_len);
}

/* Where the rings have come to, for those that go on. */
static void remember(struct vhu_run *r)
{
	for (unsigned q = 0; q < r->n_rings; q++)
		if (r->io->lives[q])
			r->io->at[q] = vhu_vring_base(vhu_driver_ring(r->driver, q));
}

static int make_driver(struct vhu_run *r, struct vhu_err *err)
{
	struct vhu_replay_io *io = r->io;
	struct vhu_driver_opts opts = {.device = r->plan->device,
				       .layout = &io->layout,
				       .fds = io->fds,
				       .bases = io->at,
				       .capacity = io->capacity,
				       .seed = r->e->opts.seed,
				       .features = r->conns[r->step->conn].features,
				       .breach = vhu_run_replay_breach,
				       .ctx = r};

	return r->driver ? vhu_driver_replace(r->driver, &io->layout, io->fds, io->at, err)
			 : vhu_driver_new(&opts, &r->driver, err);
}

static bool make_runs(struct vhu_run *r)
{
	free(r->rings);
	r->n_rings = vhu_driver_rings(r->driver);
	r->rings = calloc(VHU_MAX(r->n_rings, (size_t)1), sizeof(*r->rings));
	if (!r->rings) {
		r->n_rings = 0;
		vhu_run_broken(r, "out of memory");
		return false;
	}
	return true;
}

void vhu_run_lend_fd(struct vhu_vring *v, enum vhu_vring_fd which, int fd)
{
	if (fd >= 0)
		vhu_vring_put_fd(v, which, fcntl(fd, F_DUPFD_CLOEXEC, 3));
	else
		vhu_vring_drop_fd(v, which);
}

/* Rings that live stand where they stood, and signal by the captured session's descriptors. */
static void start_rings(struct vhu_run *r)
{
	for (unsigned q = 0; q < r->n_rings; q++) {
		struct vhu_vring *v = vhu_driver_ring(r->driver, q);

		r->rings[q].call_fd = -1;
		if (!r->io->lives[q])
			continue;
		r->rings[q].started = true;
		for (int which = 0; which < VHU_VRING_FD_MAX; which++)
			vhu_run_lend_fd(v, (enum vhu_vring_fd)which, r->io->fd[q][which]);
		vhu_run_watch_calls(r, q);
	}
}

void vhu_run_io_end(struct vhu_run *r)
{
	if (!r->io || !r->driver || !vhu_driver_mem(r->driver))
		return;
	vhu_driver_poll(r->driver);
	vhu_driver_audit(r->driver);
	remember(r);
	clean(r);
	vhu_run_forget_ios(r);
	vhu_run_unwatch_calls(r);
	vhu_driver_retire(r->driver);
	r->n_rings = 0;
	memset(r->io->lives, 0, sizeof(r->io->lives));
}

/* Makes the driver what the session is now. False: it can't be. */
static bool follow(struct vhu_conn *c)
{
	struct vhu_replay_io *io = c->r->io;
	uint64_t chunk, chunk_len;
	struct vhu_err err = {0};
	int rc;

	if (!find_chunk(io, &chunk, &chunk_len)) {
		give_up(c->r, "there is no room in the guest's memory for requests");
		return false;
	}
	lay_out_idle(io, chunk, chunk_len);
	if (c->r->n_rings && !memcmp(&io->layout, &io->next, sizeof(io->layout)) &&
	    !memcmp(io->lives, io->next_lives, sizeof(io->lives)))
		return true;
	vhu_run_io_end(c->r);
	wipe_left(io);
	io->chunk = chunk;
	io->chunk_len = chunk_len;
	io->layout = io->next;
	memcpy(io->fds, io->next_fds, sizeof(io->fds));
	memcpy(io->lives, io->next_lives, sizeof(io->lives));
	rc = make_driver(c->r, &err);
	if (rc < 0) {
		vhu_driver_free(c->r->driver);
		c->r->driver = NULL;
		c->r->n_rings = 0;
		give_up(c->r, "%s", err.text);
		return false;
	}
	if (!make_runs(c->r))
		return false;
	start_rings(c->r);
	return true;
}

/* --- what the messages tell ------------------------------------------------------------------------ */

static int which_fd(const struct vhu_msg_row *row)
{
	switch ((int)row->msg) {
	case VHU_MSG_SET_VRING_KICK:
		return VHU_VRING_KICK;
	case VHU_MSG_SET_VRING_CALL:
		return VHU_VRING_CALL;
	case VHU_MSG_SET_VRING_ERR:
		return VHU_VRING_ERR;
	default:
		return -1;
	}
}

/* The descriptor that signals a ring now; also in the driver, if the ring lives already. */
static void put_fd(struct vhu_run *r, uint64_t queue, int which, const struct vhu_frame *f)
{
	struct vhu_vring *v = r->driver ? vhu_driver_ring(r->driver, (unsigned)queue) : NULL;
	int *have = &r->io->fd[queue][which];

	vhu_close(have);
	if (f->n_fds)
		*have = fcntl(f->fds[0], F_DUPFD_CLOEXEC, 3);
	if (!v || !r->io->lives[queue])
		return;
	vhu_run_lend_fd(v, (enum vhu_vring_fd)which, *have);
	if (which == VHU_VRING_CALL)
		vhu_run_watch_calls(r, (unsigned)queue);
}

/* A ring that the front-end starts anew stands where it says. */
static void note_base(struct vhu_run *r, const struct vhu_msg_row *row, const struct vhu_frame *f,
		      uint64_t queue)
{
	/* Before the ring moves to another place, what it was is looked at. */
	if (row->msg == VHU_MSG_SET_VRING_BASE || row->msg == VHU_MSG_GET_VRING_BASE)
		vhu_run_io_end(r);
	if (row->msg == VHU_MSG_SET_VRING_BASE || row->msg == VHU_MSG_SET_VRING_ADDR)
		r->io->told[queue] = true;
	else if (row->msg == VHU_MSG_SET_VRING_KICK)
		r->io->told[queue] = false;
	if (row->msg == VHU_MSG_SET_VRING_BASE)
		r->io->at[queue] = (uint32_t)vhu_frame_u64(f, "num");
}

void vhu_run_io_note_sent(struct vhu_conn *c, const struct vhu_frame *f)
{
	const struct vhu_msg_row *row = vhu_frame_row(f);
	uint64_t queue = vhu_frame_u64(f, "index");
	const struct vhu_ring_state *ring;
	struct vhu_ring_layout layout;

	if (!wanted(c->r) || !row || !io_of(c->r))
		return;
	if (row->scope != VHU_SCOPE_RING || queue >= VHU_SESSION_RINGS)
		return;
	note_base(c->r, row, f, queue);
	if (which_fd(row) >= 0)
		put_fd(c->r, queue, which_fd(row), f);
	/* Its indexes may be set by now, whether it comes to requests or not. */
	ring = &c->oracle.session.ring[queue];
	if (row->msg == VHU_MSG_SET_VRING_KICK && vhu_run_captured_ring(c, ring, &layout, NULL))
		leave_ring(c->r, &layout);
}

/* How large the disk is. */
void vhu_run_io_note_came(struct vhu_conn *c, const struct vhu_frame *f)
{
	const struct vhu_msg_row *row = vhu_frame_row(f);
	uint64_t capacity;

	if (wanted(c->r) && row && row->msg == VHU_MSG_GET_CONFIG &&
	    vhu_frame_config(f, VHU_DEV_BLK, "capacity", &capacity) && io_of(c->r))
		c->r->io->capacity = capacity;
}

/* --- requests -------------------------------------------------------------------------------------- */

static void push_one(struct vhu_conn *c, const struct vhu_step *at, unsigned queue, bool write,
		     uint64_t sector)
{
	const struct vhu_term term = {.u = sector};
	struct vhu_step s = {
		.verb = VHU_VERB_IO, .conn = at->conn, .where = at->where, .requirement = VHU_REQ_BLK_02};

	s.io = (struct vhu_step_io){.op = write ? VHU_IO_WRITE : VHU_IO_READ,
				    .queue = queue,
				    .sector = {&term, 1},
				    .count = SECTORS,
				    .times = 1,
				    .pattern = VHU_PATTERN_STAMP,
				    .verify = true,
				    .kick = true,
				    .wait = true,
				    .statuses = 1U << VHU_C_BLK_S_OK};
	vhu_do_io(c->r, &s);
}

static void push_ring(struct vhu_conn *c, const struct vhu_step *s, unsigned queue)
{
	const struct vhu_replay *replay = c->r->e->opts.replay;
	struct vhu_replay_io *io = c->r->io;
	bool writes = replay->writes && !(vhu_session_features(&c->oracle.session) & VHU_V(VIRTIO_BLK_F_RO));
	uint64_t room = io->capacity / SECTORS;

	for (unsigned i = 0; i < replay->ios && room && !c->r->stop; i++) {
		/* Each is read back right after it was written. */
		if (!writes || i % 2 == 0)
			io->sector = (io->sector + 1) % room;
		push_one(c, s, queue, writes && i % 2 == 0, io->sector * SECTORS);
	}
}

static bool possible(struct vhu_conn *c)
{
	return c->r->plan->device == VHU_DEV_BLK && !c->oracle.session.postcopy_listening;
}

/* A pipe, say, is nothing that our driver signals by; without a descriptor messages do. */
static bool can_kick(const struct vhu_conn *c, unsigned queue)
{
	return vhu_fd_kind(c->r->io->fd[queue][VHU_VRING_KICK]) == VHU_FDK_EVENTFD ||
	       vhu_conn_kicks_inband(c, queue);
}

void vhu_run_io_push(struct vhu_conn *c, const struct vhu_step *s)
{
	struct vhu_replay_io *io = io_of(c->r);

	if (!io || io->off || !possible(c) || !lay_out(c) || !follow(c))
		return;
	vhu_driver_features(c->r->driver, c->features);
	for (unsigned q = 0; q < c->r->n_rings && !c->r->stop; q++)
		if (io->lives[q] && can_kick(c, q) && works(&c->oracle.session.ring[q]) &&
		    io->layout.ring[q].size >= CHAIN)
			push_ring(c, s, q);
}

const struct vhu_layout *vhu_run_io_layout(const struct vhu_run *r)
{
	return r->io ? &r->io->layout : NULL;
}

bool vhu_run_io_resumes(const struct vhu_run *r, unsigned queue)
{
	return r->io && !r->io->told[queue];
}

void vhu_run_io_release(struct vhu_run *r)
{
	for (size_t q = 0; r->io && q < VHU_SESSION_RINGS; q++)
		for (int which = 0; which < VHU_VRING_FD_MAX; which++)
			vhu_close(&r->io->fd[q][which]);
	if (r->io)
		free(r->io->left);
	free(r->io);
	r->io = NULL;
}
