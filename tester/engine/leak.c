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
enum { FDS, MAPS, HEAP, KINDS };

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

static void tell(struct vhu_engine *e, const struct vhu_plan *plan, struct vhu_result *ret,
		 const struct vhu_holdings *now, const struct vhu_holdings *before, int kind)
{
	struct vhu_run r = {.e = e, .plan = plan, .res = ret, .phase = "after the case"};
	const char *unit = kinds[kind].unit;
	struct vhu_finding f;

	vhu_finding_init(&f, plan->requirements[0], VHU_FINDING_ROBUST, "the back-end leaks %s",
			 kinds[kind].name);
	snprintf(f.accepted, sizeof(f.accepted), "no more than before, however often the case runs");
	snprintf(f.actual, sizeof(f.actual), "%ld%s after %ld%s, and more with each further run",
		 held_of(now, kind), unit, held_of(before, kind), unit);
	vhu_run_finding(&r, &f);
	vhu_run_conclude(&r);
}

void vhu_engine_check_leaks(struct vhu_engine *e, const struct vhu_plan *plan, struct vhu_result *ret,
			    const struct vhu_holdings *now)
{
	struct vhu_holdings before = e->held, last = *now;
	unsigned leaks = 0;

	for (int kind = 0; kind < KINDS; kind++)
		leaks |= (unsigned)grew(&before, now, kind) << kind;
	e->held = *now;
	for (int i = 0; i < ROUNDS && leaks; i++) {
		struct vhu_holdings next = once_more(e, plan);

		for (int kind = 0; kind < KINDS; kind++)
			if (!grew(&last, &next, kind))
				leaks &= ~(1U << kind);
		last = next;
		if (next.pid)
			e->held = next;
	}
	for (int kind = 0; kind < KINDS; kind++)
		if (leaks >> kind & 1)
			tell(e, plan, ret, now, &before, kind);
}
