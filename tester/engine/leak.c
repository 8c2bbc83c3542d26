/*
 * Whether a spawned target gives back what it was given, and the memory that it took. It is looked
 * at while a fresh connection is open, so that the session before is gone; programs may keep a
 * descriptor or two for good, and grow with their load, so that only growth with every further run
 * of the same case is a leak.
 */
#include <stdio.h>
#include <string.h>

#include "internal.h"

/* Less than LEAST_KIB a run is the allocator's business: arenas, pools, fragments. */
enum { ROUNDS = 3, LEAST_KIB = 256 };

struct vhu_holdings vhu_run_holdings(const struct vhu_run *r)
{
	const struct vhu_target *t = r->e->target;

	return (struct vhu_holdings){.pid = vhu_target_pid(t),
				     .fds = vhu_target_fd_count(t),
				     .maps = vhu_target_map_count(t),
				     .heap_kib = vhu_target_heap_kib(t)};
}

/* What may leak, in the order of `kinds`; -1: not known. */
enum { FDS, MAPS, HEAP, KINDS = VHU_HELD_KINDS };

static const struct {
	const char *name, *unit;
	long least; /* growth that counts */
} kinds[KINDS] = {
	[FDS] = {"descriptors", "", 1},
	[MAPS] = {"mappings", "", 1},
	[HEAP] = {"memory", " KiB", LEAST_KIB},
};

static long held_of(const struct vhu_holdings *h, int kind)
{
	return kind == FDS ? h->fds : kind == MAPS ? h->maps : h->heap_kib;
}

/* What it holds counts only for the same process, and where it can be seen. */
static bool grew(const struct vhu_holdings *a, const struct vhu_holdings *b, int kind)
{
	long before = held_of(a, kind), now = held_of(b, kind);

	return a->pid && a->pid == b->pid && before >= 0 && now >= before + kinds[kind].least;
}

/* Runs the case again, for what it leaves behind alone. */
static struct vhu_holdings once_more(struct vhu_engine *e, const struct vhu_plan *plan)
{
	struct vhu_result scratch = {0};
	struct vhu_holdings held = {0};

	vhu_engine_run_once(e, plan, &scratch, &held);
	vhu_result_done(&scratch);
	return held;
}

static void tell(struct vhu_engine *e, const struct vhu_plan *plan, struct vhu_result *ret, enum vhu_req req,
		 const char *accepted, const struct vhu_holdings *now, const struct vhu_holdings *before,
		 int kind)
{
	struct vhu_run r = {.e = e, .plan = plan, .res = ret, .phase = "after the case"};
	const char *unit = kinds[kind].unit;
	struct vhu_finding f;

	vhu_finding_init(&f, req, VHU_FINDING_ROBUST, "the back-end leaks %s", kinds[kind].name);
	snprintf(f.accepted, sizeof(f.accepted), "%s", accepted);
	snprintf(f.actual, sizeof(f.actual), "%ld%s after %ld%s, and more with each further run",
		 held_of(now, kind), unit, held_of(before, kind), unit);
	vhu_run_finding(&r, &f);
	vhu_run_conclude(&r);
}

/* What grows with each of some runs, as bits; and how much, over all of them. */
struct growth {
	unsigned kinds;
	long by[VHU_HELD_KINDS];
	uint64_t connections;
};

static struct growth run_again(struct vhu_engine *e, const struct vhu_plan *plan, unsigned suspects)
{
	struct growth g = {.kinds = suspects};
	struct vhu_holdings last = e->held;
	uint64_t opened = e->opened;

	for (int i = 0; i < ROUNDS && g.kinds; i++) {
		struct vhu_holdings next = once_more(e, plan);

		for (int kind = 0; kind < KINDS; kind++) {
			if (!grew(&last, &next, kind))
				g.kinds &= ~(1U << kind);
			g.by[kind] += held_of(&next, kind) - held_of(&last, kind);
		}
		last = next;
		if (next.pid)
			e->held = next;
	}
	g.connections = e->opened - opened;
	return g;
}

/* What a target that loses something with every connection has lost with so many. */
static long lost_with(const struct vhu_engine *e, int kind, uint64_t connections)
{
	return e->lost.connections ? e->lost.by[kind] * (long)connections / (long)e->lost.connections : 0;
}

/* Connections that come and go without a word: what is lost with them belongs to no case, and is told once.
 */
static void judge_connections(struct vhu_engine *e, const struct vhu_plan *plan, struct vhu_result *ret,
			      unsigned suspects, const struct vhu_holdings *before)
{
	struct vhu_plan nothing = *plan;
	struct growth g;

	nothing.start = VHU_STATE_CONNECTED;
	nothing.n_steps = 0;
	g = run_again(e, &nothing, suspects);
	for (int kind = 0; kind < KINDS; kind++) {
		if (!(g.kinds >> kind & 1))
			continue;
		e->lost.by[kind] = g.by[kind];
		e->lost.connections = g.connections;
		tell(e, plan, ret, VHU_REQ_OWNER_15, "no more than before, whoever came and went", &e->held,
		     before, kind);
	}
}

static void tell_case(struct vhu_engine *e, const struct vhu_plan *plan, struct vhu_result *ret,
		      const struct growth *g, const struct vhu_holdings *now,
		      const struct vhu_holdings *before)
{
	for (int kind = 0; kind < KINDS; kind++)
		if ((g->kinds >> kind & 1) &&
		    g->by[kind] >= lost_with(e, kind, g->connections) + kinds[kind].least)
			tell(e, plan, ret, plan->requirements[0],
			     "no more than before, however often the case runs", now, before, kind);
}

void vhu_engine_check_leaks(struct vhu_engine *e, const struct vhu_plan *plan, struct vhu_result *ret,
			    const struct vhu_holdings *now)
{
	struct vhu_holdings before = e->held;
	uint64_t connections = e->opened - e->opened_when_held;
	struct growth g = {0};
	unsigned suspects = 0;

	for (int kind = 0; kind < KINDS; kind++)
		if (grew(&before, now, kind) &&
		    held_of(now, kind) >= held_of(&before, kind) + lost_with(e, kind, connections) + 1)
			suspects |= 1U << kind;
	e->held = *now;
	if (suspects)
		g = run_again(e, plan, suspects);
	if (g.kinds && !e->lost.connections)
		judge_connections(e, plan, ret, g.kinds, &before);
	tell_case(e, plan, ret, &g, now, &before);
	e->opened_when_held = e->opened;
}
