/*
 * Recorded requests in rings of ours that stand where the recorded ones stood: what comes back is judged as
 * in any other ring.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "event/loop.h"
#include "internal.h"

enum { REAP_MAX = 64 };

static const uint64_t look_ns = 200000;

struct played_ring {
	struct played_ring *next;
	unsigned conn, queue;
	struct vhu_layout layout; /* the regions that its parts lie in, and itself */
	ino_t inode[VHU_RING_PARTS];
	struct vhu_mem *mem;
	struct vhu_vring *v;
	unsigned *number;	 /* by recorded head: what is out, plus 1 */
	unsigned kick, call;	 /* objects, plus 1 */
	bool kick_due, call_due; /* it waits for a kick; a call has to come for what came back */
	bool armed;		 /* the device knows that the next one is to be signalled */
	uint64_t said;		 /* where it stands in the recording */
	bool stopped;		 /* said by the back-end, and by this one: */
	uint64_t says;
	bool left;    /* without that, as its connection ended */
	bool resumes; /* it started again amid what is out */
};

/* Every request of the plan, once it was sent. */
struct came {
	bool back, len_known;
	uint32_t len;
	unsigned call;		  /* object that was to signal it, plus 1 */
	unsigned same;		  /* plus 1: another one of before that is still out */
	struct vhu_disk_io *disk; /* while it is out; NULL: none */
};

struct vhu_played {
	struct played_ring *rings;
	struct came *came;
	size_t n_came;
};

/* --- what comes back ---------------------------------------------------------------------------------- */

static size_t take(struct vhu_run *r, struct played_ring *ring)
{
	struct vhu_used used[REAP_MAX];
	size_t n, total = 0;

	do {
		n = vhu_vring_reap(ring->v, used, REAP_MAX);
		for (size_t i = 0; i < n; i++) {
			struct came *came = &r->played->came[(uintptr_t)used[i].cookie];

			came->back = true;
			came->len = used[i].len;
			came->len_known = !used[i].batch;
			if (came->disk)
				vhu_run_disk_end(&r->conns[ring->conn], came->disk, ring->queue);
			came->disk = NULL;
		}
		total += n;
	} while (n == REAP_MAX);
	return total;
}

/*
 * A call is wished for behind what was seen. While one is due the wish stays where it is: the device may not
 * have come to look at it yet.
 */
static void wish(struct vhu_run *r, struct played_ring *ring)
{
	if (!ring->call || ring->call_due || ring->armed)
		return;
	/* What comes between the look and the wish need not be signalled. */
	while (!vhu_vring_arm(ring->v) && take(r, ring) > 0)
		;
	ring->armed = true;
}

static void reap(struct vhu_run *r, struct played_ring *ring)
{
	bool call = vhu_vring_take_calls(ring->v) > 0;
	size_t n = take(r, ring);

	/* A call that came before we looked is for whatever is there by now. */
	if (call)
		ring->call_due = false;
	else if (n && ring->armed)
		ring->call_due = true;
	ring->armed &= !n;
	wish(r, ring);
}

/* --- rings -------------------------------------------------------------------------------------------- */

static void free_ring(struct played_ring *ring)
{
	vhu_vring_free(ring->v);
	vhu_mem_free(ring->mem);
	free(ring->number);
	free(ring);
}

void vhu_run_played_release(struct vhu_run *r)
{
	while (r->played && r->played->rings) {
		struct played_ring *ring = r->played->rings;

		r->played->rings = ring->next;
		free_ring(ring);
	}
	if (r->played)
		free(r->played->came);
	free(r->played);
	r->played = NULL;
}

static struct played_ring *find(const struct vhu_run *r, unsigned conn, unsigned queue)
{
	struct played_ring *ring = r->played ? r->played->rings : NULL;

	while (ring && (ring->conn != conn || ring->queue != queue))
		ring = ring->next;
	return ring;
}

static void drop(struct vhu_run *r, struct played_ring *ring)
{
	struct played_ring **at = &r->played->rings;

	while (*at && *at != ring)
		at = &(*at)->next;
	if (!*at)
		return;
	*at = ring->next;
	free_ring(ring);
}

/* The regions that hold the parts, with their files. False: one is in none. */
static bool lay_out(struct vhu_conn *c, const struct vhu_ring_state *state, struct played_ring *ring,
		    int fds[VHU_RING_PARTS])
{
	const struct vhu_foreign *in[VHU_RING_PARTS];
	struct stat st;

	if (!vhu_run_captured_ring(c, state, &ring->layout.ring[0], in))
		return false;
	ring->layout.n_rings = 1;
	for (size_t i = 0; i < VHU_RING_PARTS; i++) {
		if (fstat(in[i]->fd, &st) < 0)
			return false;
		ring->inode[i] = st.st_ino;
		fds[vhu_layout_add_foreign(&ring->layout, in[i])] = in[i]->fd;
	}
	return true;
}

/* The same memory, by whatever connection. */
static bool same_place(const struct played_ring *a, const struct played_ring *b)
{
	return a->queue == b->queue &&
	       !memcmp(&a->layout.ring[0], &b->layout.ring[0], sizeof(a->layout.ring[0])) &&
	       !memcmp(a->inode, b->inode, sizeof(a->inode));
}

/* A ring of before in that memory. */
static struct played_ring *find_same(const struct vhu_run *r, const struct played_ring *like)
{
	struct played_ring *ring = r->played ? r->played->rings : NULL;

	while (ring && !same_place(ring, like))
		ring = ring->next;
	return ring;
}

/*
 * Requests did not come back yet, and the ring goes on amid them; or the back-end died over what may be its
 * last one, and whoever comes next looks in the ring whether that was done.
 */
static bool goes_on(const struct played_ring *ring, uint32_t base)
{
	char right[80];

	return (ring->left || vhu_vring_inflight(ring->v) > 0) &&
	       vhu_vring_base_right(ring->v, base, right, sizeof(right));
}

void vhu_run_played_stopped(const struct vhu_conn *c, const struct vhu_step_answer *was,
			    const struct vhu_frame *f)
{
	const struct vhu_frame recorded = {.dir = VHU_DIR_BE,
					   .request = was->request,
					   .flags = was->flags,
					   .payload = (uint8_t *)was->payload,
					   .len = was->n_payload};
	struct played_ring *ring = find(c->r, c->index, (unsigned)vhu_frame_u64(f, "index"));

	if (!ring)
		return;
	ring->stopped = true;
	ring->said = vhu_frame_u64(&recorded, "num");
	ring->says = vhu_frame_u64(f, "num");
}

static bool has_memory(const struct vhu_conn *c, ino_t inode)
{
	const struct vhu_run *r = c->r;
	struct stat st;

	for (size_t i = 0; i < r->n_foreign; i++)
		if (r->foreign[i].conn == c->index && fstat(r->foreign[i].fd, &st) == 0 && st.st_ino == inode)
			return true;
	return false;
}

/* The ring that a back-end left behind in the memory of this connection. */
static struct played_ring *find_left(const struct vhu_conn *c, unsigned queue)
{
	struct played_ring *ring = c->r->played ? c->r->played->rings : NULL;

	while (ring && (ring->queue != queue || !ring->left || !has_memory(c, ring->inode[0])))
		ring = ring->next;
	return ring;
}

void vhu_run_played_base(const struct vhu_conn *c, struct vhu_frame *f)
{
	const unsigned queue = (unsigned)vhu_frame_u64(f, "index");
	const uint64_t said = vhu_frame_u64(f, "num");
	const struct played_ring *stopped = find(c->r, c->index, queue), *left = find_left(c, queue);

	if (stopped && stopped->stopped && vhu_vring_inflight(stopped->v) && said == stopped->said)
		vhu_frame_set(f, vhu_frame_payload(f), "num", stopped->says);
	else if (left && said == left->said)
		vhu_frame_set(f, vhu_frame_payload(f), "num", vhu_vring_base_used(left->v));
}

enum vhu_played_start vhu_run_played_start(struct vhu_conn *c, const struct vhu_ring_state *state,
					   unsigned queue)
{
	struct played_ring *like = c->r->played ? calloc(1, sizeof(*like)) : NULL, *ring = NULL;
	enum vhu_played_start ret = VHU_PLAYED_NONE;
	int fds[VHU_RING_PARTS];

	if (like) {
		like->queue = queue;
		ring = lay_out(c, state, like, fds) ? find_same(c->r, like) : NULL;
	}
	free(like);
	if (ring)
		ring->resumes = state->base_set && goes_on(ring, state->base);
	/* Where it goes on may be said later. */
	if (ring && (!state->base_set || ring->resumes)) {
		ret = VHU_PLAYED_BUSY;
	} else if (ring) {
		reap(c->r, ring);
		drop(c->r, ring);
		ret = VHU_PLAYED_OVER;
	}
	return ret;
}

static int open_ring(struct vhu_conn *c, const struct vhu_ring_state *state, struct played_ring *ring,
		     const int *fds, struct vhu_err *err)
{
	uint64_t features = vhu_session_features(&c->oracle.session);
	struct vhu_vring_opts opts = {.queue = ring->queue,
				      .layout = &ring->layout.ring[0],
				      .event_idx = features & VHU_V(VIRTIO_RING_F_EVENT_IDX),
				      .indirect_desc = true,
				      .in_order = features & VHU_V(VIRTIO_F_IN_ORDER),
				      .base = &state->base,
				      .breach = vhu_run_replay_breach,
				      .ctx = c->r};
	int rc = vhu_mem_adopt(&ring->layout, fds, &ring->mem, err);

	opts.mem = ring->mem;
	ring->number = calloc(VHU_C_VRING_SIZE_MAX, sizeof(*ring->number));
	if (rc == 0 && !ring->number)
		rc = -ENOMEM;
	return rc < 0 ? rc : vhu_vring_new(&opts, &ring->v, err);
}

/* The ring as the session has it now; NULL: it can't be made. */
static struct played_ring *make_ring(struct vhu_conn *c, unsigned queue)
{
	const struct vhu_ring_state *state = vhu_session_ring(&c->oracle.session, queue);
	struct played_ring *ring = state ? calloc(1, sizeof(*ring)) : NULL, *busy;
	struct vhu_err err = {0};
	int fds[VHU_RING_PARTS];

	if (!ring)
		return NULL;
	ring->queue = queue;
	if (!lay_out(c, state, ring, fds)) {
		free_ring(ring);
		return NULL;
	}
	busy = find_same(c->r, ring);
	if (busy && busy->resumes) {
		free_ring(ring);
		busy->conn = c->index;
		busy->left = busy->resumes = false;
		return busy;
	}
	if (find(c->r, c->index, queue))
		drop(c->r, find(c->r, c->index, queue));
	if (open_ring(c, state, ring, fds, &err) < 0) {
		free_ring(ring);
		return NULL;
	}
	ring->conn = c->index;
	ring->said = state->base;
	ring->next = c->r->played->rings;
	c->r->played->rings = ring;
	return ring;
}

void vhu_run_played_look(struct vhu_conn *c, bool last)
{
	struct vhu_run *r = c->r;

	for (struct played_ring *ring = r->played ? r->played->rings : NULL; ring; ring = ring->next) {
		if (ring->conn != c->index)
			continue;
		reap(r, ring);
		ring->left |= last && !ring->stopped;
		/* Who still works in it, or died there, may be in the middle of something. */
		if (last && vhu_conn_live(c) && !r->death_wanted && !r->exited &&
		    !vhu_vring_inflight(ring->v))
			vhu_vring_audit(ring->v);
	}
}

/* --- steps -------------------------------------------------------------------------------------------- */

static bool room_for(struct vhu_run *r, unsigned number)
{
	struct came *grown;

	if (!r->played)
		r->played = calloc(1, sizeof(*r->played));
	if (!r->played)
		return false;
	if (number < r->played->n_came)
		return true;
	grown = realloc(r->played->came, (number + 64) * sizeof(*grown));
	if (!grown)
		return false;
	memset(grown + r->played->n_came, 0, (number + 64 - r->played->n_came) * sizeof(*grown));
	r->played->came = grown;
	r->played->n_came = number + 64;
	return true;
}

/* The objects of the recording that signal the ring now. */
static void signal_by(struct vhu_run *r, struct played_ring *ring, const struct vhu_step_offer *o)
{
	if (ring->kick != o->kick)
		vhu_run_lend_fd(ring->v, VHU_VRING_KICK, o->kick ? vhu_run_object(r, o->kick - 1) : -1);
	if (ring->call != o->call)
		vhu_run_lend_fd(ring->v, VHU_VRING_CALL, o->call ? vhu_run_object(r, o->call - 1) : -1);
	ring->kick = o->kick;
	ring->call = o->call;
}

void vhu_run_played_kicked(struct vhu_run *r, unsigned object)
{
	for (struct played_ring *ring = r->played ? r->played->rings : NULL; ring; ring = ring->next)
		if (ring->kick == object + 1)
			ring->kick_due = false;
}

static int add(struct played_ring *ring, const struct vhu_step_offer *o)
{
	struct vhu_raw_desc *desc = calloc(o->n, sizeof(*desc));
	struct vhu_err err = {0};
	uint16_t head;
	int rc;

	if (!desc)
		return -ENOMEM;
	for (size_t i = 0; i < o->n; i++)
		desc[i] = (struct vhu_raw_desc){.addr = o->desc[i].addr,
						.len = o->desc[i].len,
						.flags = o->desc[i].flags,
						.table_known = true,
						.writable = o->desc[i].writable};
	rc = vhu_vring_add_raw(ring->v, desc, o->n, (void *)(uintptr_t)o->number, &head, &err);
	free(desc);
	return rc;
}

/* Kicks are the recording's, unless this target wants one where that one did not. */
static bool offer(struct vhu_run *r, struct played_ring *ring, const struct vhu_step_offer *o)
{
	unsigned *number = &ring->number[o->head % VHU_C_VRING_SIZE_MAX];
	unsigned before = *number;

	*number = o->number + 1;
	r->played->came[o->number].call = o->call;
	reap(r, ring);
	/* It stands there since before the ring was started again. */
	if (before && !r->played->came[before - 1].back) {
		r->played->came[o->number].same = before;
		return true;
	}
	signal_by(r, ring, o);
	if (!o->call) {
		vhu_vring_disarm(ring->v);
		ring->armed = ring->call_due = false;
	}
	wish(r, ring);
	if (add(ring, o) < 0)
		return false;
	r->played->came[o->number].disk = vhu_run_disk_begin(r, &o->disk);
	ring->kick_due |= vhu_vring_publish(ring->v);
	return true;
}

void vhu_do_offer(struct vhu_run *r, const struct vhu_step *s)
{
	struct vhu_conn *c = &r->conns[s->conn];
	struct played_ring *ring;

	if (!room_for(r, s->offer.number)) {
		vhu_run_broken(r, "out of memory");
		return;
	}
	ring = s->offer.fresh ? make_ring(c, s->offer.queue) : find(r, s->conn, s->offer.queue);
	if ((!ring || !offer(r, ring, &s->offer)) && r->e->opts.replay)
		r->e->opts.replay->unplaced++;
}

struct used_wait {
	struct vhu_conn *c;
	struct played_ring *ring;
	const struct came *came;
	bool call; /* that too */
};

static bool is_back(void *ctx)
{
	struct used_wait *w = ctx;

	reap(w->c->r, w->ring);
	return (w->came->back && !(w->call && w->ring->call_due)) || w->c->closed || w->c->r->exited;
}

static void on_look(void *ctx, uint32_t events)
{
}

/* What comes back in one ring may be brought about in another. */
static void kick_all(struct vhu_conn *c)
{
	for (struct played_ring *ring = c->r->played->rings; ring; ring = ring->next) {
		if (ring->conn != c->index || !ring->kick_due)
			continue;
		vhu_vring_kick(ring->v);
		ring->kick_due = false;
	}
}

static void wait_for(struct used_wait *w, const struct vhu_step *s)
{
	struct vhu_run *r = w->c->r;
	struct vhu_source *timer = NULL;

	if (is_back(w))
		return;
	kick_all(w->c);
	if (vhu_loop_add_timer(r->e->loop, look_ns, look_ns, on_look, NULL, &timer, NULL) == 0)
		vhu_run_wait(r, is_back, w, vhu_run_deadline(r, s), false);
	vhu_source_free(timer);
}

/* In a guest this request would hang. */
static void tell_no_call(const struct used_wait *w)
{
	bool event_idx = vhu_session_features(&w->c->oracle.session) & VHU_V(VIRTIO_RING_F_EVENT_IDX);
	struct vhu_ring_event event = {.queue = w->ring->queue,
				       .breach = event_idx ? VHU_BREACH_CALL_MISSING_EVENT_IDX
							   : VHU_BREACH_CALL_MISSING};

	snprintf(event.text, sizeof(event.text),
		 "the request came back, the call descriptor did not fire until the deadline");
	vhu_run_replay_breach(w->c->r, &event);
}

/*
 * What a ring gave back before it stopped, or lost its memory, was seen only then; this target may not have
 * come to it.
 */
static bool works(const struct used_wait *w)
{
	const struct vhu_ring_state *state = vhu_session_ring(&w->c->oracle.session, w->ring->queue);
	struct vhu_ring_layout layout;

	return state && state->started && state->enabled && vhu_run_captured_ring(w->c, state, &layout, NULL);
}

/* As SET_VRING_BASE would say that place. */
static uint64_t base_at(const struct played_ring *ring, uint32_t index)
{
	index &= UINT16_MAX;
	return ring->layout.ring[0].packed ? index << 16 | index : index;
}

void vhu_do_used(struct vhu_run *r, const struct vhu_step *s)
{
	struct used_wait w = {.c = &r->conns[s->conn], .ring = find(r, s->conn, s->used.queue)};
	const struct came *came =
		r->played && s->used.number < r->played->n_came ? &r->played->came[s->used.number] : NULL;

	if (!w.ring)
		return;
	if (s->used.seen && !w.ring->stopped)
		w.ring->said = base_at(w.ring, s->used.index);
	/* What could not be offered does not come back. */
	if (!came || s->used.late || (w.c->closed && w.c->close_told))
		return;
	w.came = came->same ? &r->played->came[came->same - 1] : came;
	w.call = s->used.call && s->used.call == w.ring->call && s->used.call == w.came->call;
	if (!works(&w) && !is_back(&w))
		return;
	wait_for(&w, s);
	if (!w.came->back)
		vhu_run_replay_missing(w.c, s);
	else if (w.call && w.ring->call_due && !r->stop)
		tell_no_call(&w);
	w.ring->call_due = false;
	if (w.came->back)
		vhu_run_used_compare(r, s, w.came->len, w.came->len_known);
}
