/*
 * Steps of captures: what the front-end sent goes out as it stands, what the back-end sent is held against
 * what comes now. A difference is no finding of a rule: it is told to whoever replays.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "internal.h"

enum { INFLIGHT_MAX = 64 << 20 };

static struct vhu_conn *conn_of(struct vhu_run *r, const struct vhu_step *s)
{
	return &r->conns[s->conn];
}

/* A replay without anybody who listens still counts. */
static struct vhu_replay *replay_of(struct vhu_run *r)
{
	static struct vhu_replay nobody;

	return r->e->opts.replay ? r->e->opts.replay : &nobody;
}

static void diverge(struct vhu_run *r, const struct vhu_step *s, enum vhu_divergence kind,
		    const struct vhu_frame *got)
{
	struct vhu_replay *replay = replay_of(r);

	replay->divergences++;
	if (replay->diverged)
		replay->diverged(replay->ctx, kind, s, got);
	r->stop |= !replay->keep_going;
}

/* Who hangs up may have died of it, which shows a moment later. */
static void diverge_closed(struct vhu_conn *c, const struct vhu_step *s)
{
	vhu_run_closed_at(c, s);
	c->close_told = true;
	diverge(c->r, s, VHU_DIVERGENCE_CLOSED, NULL);
}

/* --- what descriptors stood for -------------------------------------------------------------------- */

static int make_object(const struct vhu_object *o)
{
	if (o->kind == VHU_OBJECT_EVENT)
		return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return vhu_memfd("replay", VHU_MIN(o->size, (uint64_t)INT64_MAX), 0, 0);
}

int vhu_run_object(struct vhu_run *r, unsigned i)
{
	if (!r->objects) {
		r->objects = malloc(r->plan->n_objects * sizeof(*r->objects));
		if (!r->objects)
			return -1;
		memset(r->objects, -1, r->plan->n_objects * sizeof(*r->objects));
	}
	if (r->objects[i] < 0)
		r->objects[i] = make_object(&r->plan->objects[i]);
	return r->objects[i];
}

void vhu_run_objects_release(struct vhu_run *r)
{
	for (size_t i = 0; r->objects && i < r->plan->n_objects; i++)
		vhu_close(&r->objects[i]);
	free(r->objects);
	r->objects = NULL;
	vhu_run_played_release(r);
	vhu_run_disk_release(r);
	free(r->filled);
	r->filled = NULL;
	r->n_filled = 0;
}

/* --- time ------------------------------------------------------------------------------------------ */

static bool never(void *ctx)
{
	struct vhu_run *r = ctx;

	return r->exited;
}

/* Waits for the recorded moment. False if the run is over meanwhile. */
static bool pace(struct vhu_run *r, const struct vhu_step *s)
{
	if (!r->start_ns)
		r->start_ns = vhu_run_now(r);
	if (replay_of(r)->paced && r->start_ns + s->at_ns > vhu_run_now(r))
		vhu_run_wait(r, never, r, r->start_ns + s->at_ns, false);
	return !r->stop;
}

/* --- requests through the rings --------------------------------------------------------------------- */

/* Nothing is on its way, and the recording has none to come. */
static void push(struct vhu_conn *c, const struct vhu_step *s)
{
	const struct vhu_step *next = s + 1 < c->r->plan->steps + c->r->plan->n_steps ? s + 1 : NULL;

	if (replay_of(c->r)->ios && vhu_conn_live(c) && !vhu_session_overdue(&c->oracle.session) &&
	    !(next && next->verb == VHU_VERB_ANSWER && next->conn == s->conn) && !c->r->stop)
		vhu_run_io_push(c, s);
}

/* --- sending --------------------------------------------------------------------------------------- */

/* Size and offset are the target's own, where it gave the buffer. */
static void fit_inflight(struct vhu_run *r, struct vhu_frame *f)
{
	if (r->inflight.fd < 0)
		return;
	vhu_frame_set(f, VHU_PL_INFLIGHT, "mmap_size", r->inflight.size);
	vhu_frame_set(f, VHU_PL_INFLIGHT, "mmap_offset", r->inflight.offset);
}

/*
 * With requests of our own the rings stand elsewhere than when the buffer was given back; nothing is in
 * flight between two messages, so that it may be a fresh one.
 */
static void clear_inflight(struct vhu_run *r)
{
	static const uint8_t zeroes[4096];
	uint64_t at = r->inflight.offset, end;
	struct stat st;

	if (!replay_of(r)->ios || r->inflight.fd < 0 || fstat(r->inflight.fd, &st) < 0 ||
	    __builtin_add_overflow(at, r->inflight.size, &end))
		return;
	/* What the back-end says of its size need not be so. */
	end = VHU_MIN(end, (uint64_t)VHU_MIN(st.st_size, (off_t)INFLIGHT_MAX));
	while (at < end) {
		ssize_t n = pwrite(r->inflight.fd, zeroes, VHU_MIN(end - at, (uint64_t)sizeof(zeroes)),
				   (off_t)at);

		if (n <= 0)
			return;
		at += (uint64_t)n;
	}
}

static bool build(struct vhu_conn *c, const struct vhu_step_recorded *rec, struct vhu_frame *f)
{
	const struct vhu_step_send send = {.fds = rec->fds, .n_fds = rec->n_fds, .fds_given = true};

	*f = (struct vhu_frame){.channel = VHU_CHAN_MAIN,
				.dir = VHU_DIR_FE,
				.request = rec->request,
				.flags = rec->flags,
				.size = rec->size,
				.len = rec->n_payload};
	if (rec->n_payload) {
		f->payload = malloc(rec->n_payload);
		if (!f->payload) {
			vhu_run_broken(c->r, "out of memory");
			return false;
		}
		memcpy(f->payload, rec->payload, rec->n_payload);
	}
	if (rec->inflight) {
		fit_inflight(c->r, f);
		clear_inflight(c->r);
	}
	if (rec->row && rec->row->msg == VHU_MSG_SET_VRING_BASE)
		vhu_run_played_base(c, f);
	return vhu_run_attach_fds(c, f, &send);
}

static void note_sent(struct vhu_conn *c, const struct vhu_frame *f)
{
	const struct vhu_msg_row *row = vhu_frame_row(f);

	vhu_run_foreign_note(c, f);
	if (row && row->msg == VHU_MSG_IOTLB_MSG)
		vhu_run_captured_iotlb(c, f);
	vhu_run_io_note_sent(c, f);
	if (row && row->msg == VHU_MSG_SET_FEATURES)
		c->features = vhu_frame_u64(f, "u64");
}

void vhu_do_recorded(struct vhu_run *r, const struct vhu_step *s)
{
	struct vhu_conn *c = conn_of(r, s);
	struct vhu_frame f = {0};

	if (!pace(r, s))
		return;
	if (!vhu_conn_live(c)) {
		diverge_closed(c, s);
		return;
	}
	if (build(c, &s->recorded, &f)) {
		c->framing_lost |= f.size != f.len;
		vhu_run_foreign_ring(c, &f);
		if (vhu_conn_send(c, &f, s->recorded.intended, NULL, 0)) {
			replay_of(r)->sent++;
			note_sent(c, &f);
			push(c, s);
		}
	}
	vhu_frame_done(&f);
}

/* --- what comes ------------------------------------------------------------------------------------ */

void vhu_run_came(struct vhu_conn *c, struct vhu_frame *f)
{
	/* Nobody looks at so many any more: one that floods differs from the recorded one long before. */
	if (c->n_came == VHU_CAME_MAX)
		vhu_frame_done(f);
	else
		c->came[c->n_came++] = *f;
}

static void drop_came(struct vhu_conn *c)
{
	vhu_frame_done(&c->came[0]);
	memmove(&c->came[0], &c->came[1], --c->n_came * sizeof(c->came[0]));
}

static int find_asked(const struct vhu_conn *c, const struct vhu_step *s)
{
	for (size_t i = 0; i < c->n_inbox; i++)
		if (c->inbox[i].f.channel == s->answer.channel && c->inbox[i].f.request == s->answer.request)
			return (int)i;
	return -1;
}

struct answer_wait {
	struct vhu_conn *c;
	const struct vhu_step *s;
};

static bool has_come(void *ctx)
{
	struct answer_wait *w = ctx;

	if (w->c->closed || w->c->r->exited)
		return true;
	return w->s->answer.channel == VHU_CHAN_MAIN ? w->c->n_came > 0 : find_asked(w->c, w->s) >= 0;
}

static bool same_payload(const struct vhu_step_answer *a, const struct vhu_frame *got)
{
	if (a->n_payload != got->len)
		return a->any_size;
	if (!a->mask)
		return !got->len || !memcmp(a->payload, got->payload, got->len);
	for (size_t i = 0; i < got->len; i++)
		if ((a->payload[i] ^ got->payload[i]) & a->mask[i])
			return false;
	return true;
}

static bool same(const struct vhu_step_answer *a, const struct vhu_frame *got)
{
	return a->request == got->request && a->flags == got->flags && a->n_fds == got->n_fds &&
	       !got->defects && same_payload(a, got);
}

/* The buffer that the recorded back-end gave is this one's now. */
void vhu_run_take_inflight(struct vhu_run *r, struct vhu_frame *f)
{
	int fd = vhu_frame_take_fd(f, 0);

	if (fd < 0)
		return;
	vhu_close(&r->inflight.fd);
	r->inflight.fd = fd;
	r->inflight.size = vhu_frame_u64(f, "mmap_size");
	r->inflight.offset = vhu_frame_u64(f, "mmap_offset");
}

static void take_effects(struct vhu_conn *c, const struct vhu_step *s, struct vhu_frame *f)
{
	const struct vhu_msg_row *row = vhu_frame_row(f);

	if (!row || f->defects)
		return;
	if (row->msg == VHU_MSG_GET_VRING_BASE || row->msg == VHU_MSG_GET_VRING_BASE_SKIP_DRAIN)
		vhu_run_played_stopped(c, &s->answer, f);
	if (row->msg == VHU_MSG_GET_INFLIGHT_FD)
		vhu_run_take_inflight(c->r, f);
	if (row->msg == VHU_MSG_SET_DEVICE_STATE_FD) {
		c->answer = *f;
		c->have_answer = true;
		vhu_run_state_answered(c);
		*f = c->answer;
		c->have_answer = false;
	}
}

/* Whether a later step of the connection expects a message of this kind. */
static bool expected_later(const struct vhu_run *r, const struct vhu_step *s, uint32_t request)
{
	for (size_t i = r->step_index + 1; i < r->plan->n_steps; i++) {
		const struct vhu_step *later = &r->plan->steps[i];

		if (later->conn != s->conn)
			continue;
		/* Nothing of what is asked further on can be here already. */
		if (later->verb == VHU_VERB_RECORDED || later->verb == VHU_VERB_CLOSE)
			return false;
		if (later->verb == VHU_VERB_ANSWER && later->answer.request == request &&
		    later->answer.channel == VHU_CHAN_MAIN)
			return true;
	}
	return false;
}

/* Compares what came with what was recorded. True if the step is done. */
static bool compare_main(struct vhu_conn *c, const struct vhu_step *s)
{
	struct vhu_frame *f = &c->came[0];

	replay_of(c->r)->compared++;
	if (f->request != s->answer.request) {
		bool missing = expected_later(c->r, s, f->request);

		diverge(c->r, s, VHU_DIVERGENCE_OTHER, f);
		if (missing)
			return true;
		drop_came(c);
		return c->r->stop;
	}
	if (!same(&s->answer, f))
		diverge(c->r, s, VHU_DIVERGENCE_DIFFERS, f);
	vhu_run_io_note_came(c, f);
	vhu_run_played_look(c, false);
	take_effects(c, s, f);
	drop_came(c);
	push(c, s);
	return true;
}

void vhu_run_replay_missing(struct vhu_conn *c, const struct vhu_step *s)
{
	struct vhu_run *r = c->r;

	if (r->stop)
		return;
	if (c->closed || r->exited) {
		diverge_closed(c, s);
		return;
	}
	diverge(r, s, VHU_DIVERGENCE_MISSING, NULL);
	r->res->deadline = true;
}

void vhu_run_used_compare(struct vhu_run *r, const struct vhu_step *s, uint32_t len, bool known)
{
	replay_of(r)->compared++;
	replay_of(r)->used = len;
	if (known && !s->used.any_len && len != s->used.len)
		diverge(r, s, VHU_DIVERGENCE_USED, NULL);
}

/* A request that was not waited for, and comes only now. */
static bool is_late(const struct vhu_run *r, const struct vhu_step *s, const struct vhu_frame *f)
{
	for (const struct vhu_step *was = r->plan->steps; was < s; was++)
		if (was->verb == VHU_VERB_ANSWER && was->conn == s->conn && was->answer.optional &&
		    same(&was->answer, f))
			return true;
	return false;
}

/* The request's place in the inbox, or -1. */
static int await_asked(struct vhu_conn *c, const struct vhu_step *s)
{
	struct answer_wait w = {.c = c, .s = s};
	bool there = s->answer.channel == VHU_CHAN_GPU ? c->gpu : c->backend;
	uint64_t deadline = vhu_run_deadline(c->r, s);
	int i;

	vhu_conn_backend_catch_up(c);
	vhu_gpu_catch_up(c);
	for (;;) {
		if (!s->answer.optional && there && !has_come(&w))
			vhu_run_wait(c->r, has_come, &w, deadline, false);
		i = find_asked(c, s);
		if (i < 0 || s->answer.optional || same(&s->answer, &c->inbox[i].f) ||
		    !is_late(c->r, s, &c->inbox[i].f))
			return i;
		vhu_conn_inbox_drop(c, (size_t)i);
	}
}

/* A request of the back-end: it was answered when it came. */
static void compare_backend(struct vhu_conn *c, const struct vhu_step *s)
{
	int i = await_asked(c, s);

	if (i < 0) {
		if (!s->answer.optional)
			vhu_run_replay_missing(c, s);
		return;
	}
	replay_of(c->r)->compared++;
	if (!s->answer.optional && !same(&s->answer, &c->inbox[i].f))
		diverge(c->r, s, VHU_DIVERGENCE_DIFFERS, &c->inbox[i].f);
	vhu_conn_inbox_drop(c, (size_t)i);
}

void vhu_do_answer(struct vhu_run *r, const struct vhu_step *s)
{
	struct vhu_conn *c = conn_of(r, s);
	struct answer_wait w = {.c = c, .s = s};
	bool done = false;

	if (s->answer.channel != VHU_CHAN_MAIN) {
		compare_backend(c, s);
		push(c, s);
		return;
	}
	while (!done && !r->stop) {
		if (!c->n_came)
			vhu_run_wait(r, has_come, &w, vhu_run_deadline(r, s), false);
		if (c->n_came) {
			done = compare_main(c, s);
			continue;
		}
		vhu_run_replay_missing(c, s);
		done = true;
	}
}

void vhu_run_unasked(struct vhu_conn *c, const struct vhu_step *s)
{
	if (vhu_conn_live(c))
		vhu_chan_drain(c->main);
	while (c->n_came && !s->close.unread && !c->r->stop) {
		diverge(c->r, s, VHU_DIVERGENCE_EXTRA, &c->came[0]);
		drop_came(c);
	}
}

/* --- the end of a connection ----------------------------------------------------------------------- */

static bool ended(void *ctx)
{
	struct vhu_conn *c = ctx;

	return c->closed || c->r->exited;
}

void vhu_do_end(struct vhu_run *r, const struct vhu_step *s)
{
	struct vhu_conn *c = conn_of(r, s);

	if (!vhu_conn_live(c)) {
		c->close_told = true;
		return;
	}
	/* What nothing has provoked need not happen again: then we hang up in its place. */
	if (!s->end.provoked && !r->death_wanted)
		return;
	vhu_run_wait(r, ended, c, vhu_run_deadline(r, s), false);
	if (!c->closed && !r->exited && !r->stop)
		diverge(r, s, VHU_DIVERGENCE_OPEN, NULL);
	c->close_told = c->closed;
}
