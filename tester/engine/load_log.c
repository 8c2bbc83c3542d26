/* The dirty log of a guest under load, as a migration reads it: again and again while the rings run. */
#include "load.h"

#include <stdlib.h>
#include <string.h>

static bool offered(const struct load *l)
{
	return (l->facts->features & VHU_V(VHOST_F_LOG_ALL)) && (l->plan.pfeatures & VHU_P(LOG_SHMFD));
}

bool vhu_load_log_begin(struct load *l)
{
	struct vhu_step s = vhu_load_step("handover: the log begins");
	struct vhu_err err = {0};
	uint64_t first;

	if (!offered(l))
		return true;
	l->run.phase = s.where;
	s.verb = VHU_VERB_LOG;
	s.log.op = VHU_LOG_START;
	vhu_do_log(&l->run, &s);
	l->run.phase = "load";
	if (l->run.stop)
		return false;
	if (vhu_guest_log_new(l->guest, &err) == 0)
		l->marked = calloc(vhu_guest_log_pages(l->guest, &first), sizeof(*l->marked));
	if (!l->marked) {
		vhu_run_broken(&l->run, "the dirty log: out of memory");
		return false;
	}
	l->ret->logged = true;
	l->round = 1;
	vhu_guest_log_round(l->guest, l->round);
	return true;
}

static void mark(struct load *l, uint64_t page, uint64_t first, uint64_t n)
{
	if (page >= first && page - first < n)
		l->marked[page - first] = l->round;
}

/* Takes what is marked out of the log, by whole bytes: whoever marks meanwhile does so before or after. */
static void take(struct load *l)
{
	uint64_t first, n = vhu_guest_log_pages(l->guest, &first);
	uint64_t end = VHU_MIN((first + n + 7) / 8, l->run.log.size);

	for (uint64_t i = first / 8; i < end; i++) {
		uint8_t bits =
			l->run.log.map[i] ? __atomic_exchange_n(&l->run.log.map[i], 0, __ATOMIC_ACQ_REL) : 0;

		for (; bits; bits &= (uint8_t)(bits - 1))
			mark(l, i * 8 + (unsigned)__builtin_ctz(bits), first, n);
	}
}

void vhu_load_log_collect(struct load *l)
{
	if (!l->round)
		return;
	take(l);
	vhu_guest_log_round(l->guest, ++l->round);
}

static bool is_missing(const struct load *l, uint64_t page, uint64_t first)
{
	return vhu_guest_log_written(l->guest, page) > l->marked[page - first];
}

/* The ring whose used entries lie in that page; -1: none. */
static int ring_of(const struct load *l, uint64_t page)
{
	for (unsigned q = 0; q < l->o->guest.queues; q++)
		if (vhu_moment_log_address(&l->plan.layout.ring[q]) / VHU_C_LOG_PAGE == page)
			return (int)q;
	return -1;
}

/* Marked by now, it was late; else it was forgotten. */
static void tell(struct load *l, uint64_t page, uint64_t first, uint64_t n)
{
	struct vhu_step s = vhu_load_step("handover: the log at the stop");
	int ring = ring_of(l, page);
	bool late;

	if (!vhu_conn_fence(&l->conn, &s, NULL))
		return;
	take(l);
	late = !is_missing(l, page, first);
	s.requirement = late ? VHU_REQ_LOG_19 : ring >= 0 ? VHU_REQ_LOG_02 : VHU_REQ_LOG_01;
	if (ring >= 0 && !late && l->o->packed)
		s.requirement = VHU_REQ_LOG_28;
	vhu_run_unmet(&l->run, &s, VHU_FINDING_ROBUST,
		      late ? "all marks by the reply to GET_VRING_BASE"
			   : "a mark on each page that was written",
		      "%llu pages were not marked, the first at 0x%llx%s%s", (unsigned long long)n,
		      (unsigned long long)page * VHU_C_LOG_PAGE, ring >= 0 ? ", used entries" : "",
		      late ? "; it was marked after the reply" : "");
}

void vhu_load_log_judge(struct load *l)
{
	uint64_t first, n, missing = 0, page = 0;

	if (!l->round)
		return;
	n = vhu_guest_log_pages(l->guest, &first);
	take(l);
	for (uint64_t i = 0; i < n; i++) {
		if (!is_missing(l, first + i, first))
			continue;
		page = missing++ ? page : first + i;
	}
	if (missing)
		tell(l, page, first, missing);
	for (uint64_t i = 0; i < n; i++)
		l->ret->logged_pages += vhu_guest_log_written(l->guest, first + i) > 0;
	vhu_guest_log_round(l->guest, 0);
	l->round = 0;
}
