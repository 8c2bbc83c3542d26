/*
 * A disk that grows while a guest has it. No back-end has to notice, and none that does has to tell; so what
 * does not show within a bounded time makes the case SKIP.
 */
#include "internal.h"

enum { NOTICE_NS = 1000000000, LOOK_NS = 10000000 };

struct growth {
	struct vhu_conn *c;
	const struct vhu_step *s;
	uint64_t changes; /* told of before */
	uint64_t sectors; /* that the disk had */
	uint64_t deadline_ns;
};

static bool is_told(void *ctx)
{
	const struct growth *g = ctx;

	return g->c->closed || g->c->r->exited || g->c->config_changes != g->changes;
}

/* A change is told only to who has agreed to hear of it, while a ring runs. */
static bool may_be_told(const struct vhu_conn *c)
{
	bool running = false;

	for (size_t q = 0; q < c->oracle.session.n_rings; q++)
		running |= c->oracle.session.ring[q].started;
	return c->backend && running;
}

static bool await_telling(struct growth *g)
{
	vhu_run_wait(g->c->r, is_told, g, g->deadline_ns, false);
	return is_told(g);
}

/* Asks until config space shows another capacity than before. */
static bool await_capacity(struct growth *g)
{
	static const struct vhu_script_item get = {.msg = VHU_MSG_GET_CONFIG};
	struct vhu_run *r = g->c->r;

	for (;;) {
		struct vhu_moment m = vhu_run_moment(g->c);
		uint64_t sectors;

		if (!vhu_run_item(g->c, &get, g->s, &m) || g->c->closed)
			return true; /* there is a finding by now */
		if (!vhu_run_field(r, &g->c->answer, "capacity", &sectors) ||
		    vhu_run_now(r) >= g->deadline_ns)
			return false;
		if (sectors != g->sectors)
			return true;
		vhu_run_settle(r, LOOK_NS);
	}
}

static void await_notice(struct growth *g)
{
	struct vhu_run *r = g->c->r;
	const bool tells = may_be_told(g->c);
	bool *unseen = &r->e->growth_unseen[tells];

	g->deadline_ns = vhu_run_now(r) + (g->s->within_ms ? g->s->within_ms * UINT64_C(1000000) : NOTICE_NS);
	if (*unseen || !(tells ? await_telling(g) : await_capacity(g))) {
		*unseen = true;
		vhu_run_skip(r, "the back-end does not %s that its disk has grown", tells ? "tell" : "show");
	}
}

void vhu_run_grow(struct vhu_run *r, const struct vhu_step *s)
{
	struct growth g = {.c = &r->conns[s->conn], .s = s, .sectors = r->e->capacity};
	struct vhu_target *t = r->e->target;
	struct vhu_err err = {0};

	if (!(vhu_session_pfeatures(&g.c->oracle.session) & VHU_P(CONFIG)) ||
	    g.sectors != vhu_target_image_size(t) / VHU_C_SECTOR_SIZE) {
		vhu_run_skip(r, "needs a disk that shows the size of its image in config space");
		return;
	}
	/* What it told before is about something else; a persona sends nothing of its own accord. */
	if (!r->plan->own_persona && !vhu_conn_fence(g.c, s, NULL))
		return;
	vhu_conn_backend_catch_up(g.c);
	g.changes = g.c->config_changes;
	if (vhu_target_grow_image(t, s->target.by, &err) < 0)
		vhu_run_broken(r, "%s", err.text);
	else
		await_notice(&g);
}
