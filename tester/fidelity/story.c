/*
 * What the device lived through, told by the persona: marks, the back-end's frames and the guest's choices
 * say which phase comes next, the persona says what is sent in it. Where they leave open which of several
 * phases comes (a guest resets a device without a mark), it is the one that explains most, as a whole phase
 * or not at all.
 */
#include "story.h"

#include <errno.h>
#include <string.h>

/* --- events
 * -------------------------------------------------------------------------------------------------- */

static const struct event_row {
	const char *name;
	enum vhu_phase phase;
	enum vhu_msg single; /* its only message, of which an event is not told unless it is there */
	bool answered;	     /* … with its reply */
} events[EVENT_MAX] = {
	[EVENT_SETUP] = {"set-up", VHU_PHASE_OWNED, VHU_MSG_MAX},
	[EVENT_START] = {"start", VHU_PHASE_RUNNING, VHU_MSG_MAX},
	[EVENT_STOP] = {"stop", VHU_PHASE_STOP, VHU_MSG_MAX},
	[EVENT_PAUSE] = {"pause", VHU_PHASE_PAUSE, VHU_MSG_MAX},
	[EVENT_RESUME] = {"resume", VHU_PHASE_RESUME, VHU_MSG_MAX},
	[EVENT_RESET] = {"reset", VHU_PHASE_RESET, VHU_MSG_MAX},
	[EVENT_MACHINE_RESET] = {"machine reset", VHU_PHASE_RESET, VHU_MSG_MAX},
	[EVENT_SWITCH] = {"queues", VHU_PHASE_SWITCH, VHU_MSG_MAX},
	[EVENT_LOG_ON] = {"log on", VHU_PHASE_LOG, VHU_MSG_MAX},
	[EVENT_LOG_OFF] = {"log off", VHU_PHASE_LOG_OFF, VHU_MSG_MAX},
	[EVENT_RECONFIG] = {"config read", VHU_PHASE_RECONFIG, VHU_MSG_GET_CONFIG, true},
	[EVENT_WRITE_CONFIG] = {"config written", VHU_PHASE_WRITE_CONFIG, VHU_MSG_SET_CONFIG, true},
	[EVENT_PLUG] = {"memory plugged", VHU_PHASE_PLUG, VHU_MSG_ADD_MEM_REG, true},
	[EVENT_PLUG_TABLE] = {"memory changed", VHU_PHASE_PLUG, VHU_MSG_SET_MEM_TABLE, true},
	[EVENT_UNPLUG] = {"memory unplugged", VHU_PHASE_UNPLUG, VHU_MSG_REM_MEM_REG, true},
	[EVENT_UNPLUG_TABLE] = {"memory gone", VHU_PHASE_UNPLUG, VHU_MSG_SET_MEM_TABLE, true},
	[EVENT_SAVE] = {"state saved", VHU_PHASE_SAVE, VHU_MSG_SET_DEVICE_STATE_FD, true},
	[EVENT_LOAD] = {"state loaded", VHU_PHASE_LOAD, VHU_MSG_SET_DEVICE_STATE_FD, true},
	[EVENT_ANNOUNCE] = {"announced", VHU_PHASE_ANNOUNCE, VHU_MSG_SEND_RARP},
	[EVENT_ADVISE] = {"postcopy advised", VHU_PHASE_ADVISE, VHU_MSG_POSTCOPY_ADVISE, true},
	[EVENT_LISTEN] = {"postcopy begins", VHU_PHASE_LISTEN, VHU_MSG_POSTCOPY_LISTEN, true},
	[EVENT_POSTCOPY_END] = {"postcopy ends", VHU_PHASE_POSTCOPY_END, VHU_MSG_POSTCOPY_END, true},
	[EVENT_OPEN_SESSION] = {"session opened", VHU_PHASE_OPEN_SESSION, VHU_MSG_CREATE_CRYPTO_SESSION,
				true},
	[EVENT_CLOSE_SESSION] = {"session closed", VHU_PHASE_CLOSE_SESSION, VHU_MSG_CLOSE_CRYPTO_SESSION},
	[EVENT_TRANSLATE] = {"translated", VHU_PHASE_TRANSLATE, VHU_MSG_IOTLB_MSG, true},
};

/* Whether the recording has the one message of a small phase next, and the back-end's answer to it. */
static bool is_next(const struct front *f, enum event e, size_t at)
{
	const struct vhu_tape_item *item = vhu_said_at(f->seg, at);
	const struct vhu_msg_row *row;

	if (e == EVENT_RESET && item && item->frame.request == VHU_ID_RESET_DEVICE)
		return true;
	if (e == EVENT_RESET && !vhu_profile_has_pairs(f->facts.profile, f->facts.device))
		return false;
	if (events[e].single == VHU_MSG_MAX)
		return true;
	row = vhu_msg_row(events[e].single);
	return item && item->frame.request == row->id &&
	       (!events[e].answered || (vhu_may_be_cut(f->seg) && at + 1 == f->seg->n_said) ||
		vhu_reply_at(f->seg, row->id, row->id < ID_MAX ? f->cursor[row->id] : 0));
}

/* Whether the event may come now, marks or not. */
static bool is_possible(const struct front *f, enum event e)
{
	const bool slots = f->facts.pfeatures & VHU_P(CONFIGURE_MEM_SLOTS);
	const bool pairs = vhu_profile_has_pairs(f->facts.profile, f->facts.device);

	switch (e) {
	case EVENT_SETUP:
	case EVENT_MACHINE_RESET:
		return false;
	case EVENT_START:
	case EVENT_LOAD:
		return !f->started;
	case EVENT_STOP:
		return f->started;
	case EVENT_PAUSE:
		return f->started && vhu_profile_has_phase(f->facts.profile, VHU_PHASE_PAUSE);
	case EVENT_RESUME:
		return !f->started && vhu_profile_has_phase(f->facts.profile, VHU_PHASE_RESUME);
	case EVENT_RESET:
		/* Where marks tell of resets, one message alone is none. */
		return !f->started && (pairs || !f->marked || !f->booted);
	case EVENT_SWITCH:
		return pairs;
	case EVENT_LOG_ON:
		return f->started && !f->facts.logging;
	case EVENT_LOG_OFF:
		return f->started && f->facts.logging;
	case EVENT_PLUG:
	case EVENT_UNPLUG:
		return f->started && slots;
	case EVENT_PLUG_TABLE:
	case EVENT_UNPLUG_TABLE:
		return f->started && !slots;
	case EVENT_TRANSLATE:
	case EVENT_OPEN_SESSION:
		return f->started;
	case EVENT_CLOSE_SESSION:
		return f->sessions > 0;
	case EVENT_ANNOUNCE:
		/* The tester's own recordings have no marks of where a machine came from. */
		return f->seg->tape->tester || ((f->incoming || !f->marked) && f->announced < ANNOUNCES);
	case EVENT_SAVE:
		return !f->started;
	case EVENT_RECONFIG:
	case EVENT_WRITE_CONFIG:
	case EVENT_ADVISE:
	case EVENT_LISTEN:
	case EVENT_POSTCOPY_END:
		return true;
	case EVENT_MAX:
		break;
	}
	return false;
}

/* How many pairs the next round of SET_VRING_ENABLE switches on. */
static unsigned pairs_ahead(const struct front *f, size_t at)
{
	unsigned on = 0;

	for (size_t i = 0; i < f->queues; i++) {
		const struct vhu_tape_item *item = vhu_said_at(f->seg, at + i);

		if (item && item->frame.request == VHU_ID_SET_VRING_ENABLE &&
		    vhu_frame_u64(&item->frame, "num") == 1)
			on++;
	}
	return VHU_MAX((on + 1) / 2, 1u);
}

static void unplug(struct front *f, size_t at)
{
	const struct vhu_tape_item *item = vhu_said_at(f->seg, at);
	struct region gone = {0};

	if (item) {
		vhu_frame_region(&item->frame, VHU_PL_MEM_REG, 0, "guest_phys_addr", &gone.gpa);
		vhu_frame_region(&item->frame, VHU_PL_MEM_REG, 0, "memory_size", &gone.size);
	}
	vhu_front_unplug(f, &gone);
}

/* What the guest, or who runs it, changed: before the persona speaks. */
static void before_event(struct front *f, enum event e, const struct choice *c, size_t at)
{
	f->at = at;
	f->n_fresh = f->n_gone = 0;
	f->log_symbol = 0;
	f->plugged = false;
	switch (e) {
	case EVENT_SETUP:
		f->set_up = f->mem_known = false;
		f->parts_told = 0;
		break;
	case EVENT_START:
		vhu_front_prepare_start(f, c);
		break;
	case EVENT_RESET:
	case EVENT_MACHINE_RESET:
		f->facts.pairs_on = 1;
		f->unserved = false;
		f->keeps &= e != EVENT_MACHINE_RESET;
		break;
	case EVENT_SWITCH:
		f->facts.pairs_on = pairs_ahead(f, at);
		break;
	case EVENT_LOG_ON:
	case EVENT_LOG_OFF:
		f->facts.logging = e == EVENT_LOG_ON;
		break;
	case EVENT_PLUG:
	case EVENT_PLUG_TABLE:
		vhu_front_plug(f, c);
		break;
	case EVENT_UNPLUG:
		unplug(f, at);
		break;
	case EVENT_UNPLUG_TABLE:
		vhu_front_shrink(f, c);
		break;
	case EVENT_TRANSLATE:
		vhu_front_translate(f, at);
		break;
	case EVENT_LISTEN:
		f->facts.postcopy = true;
		break;
	case EVENT_ANNOUNCE:
		f->announced++;
		if (c->any)
			vhu_front_take_features(f, c);
		break;
	default:
		break;
	}
}

static void after_event(struct front *f, enum event e)
{
	switch (e) {
	case EVENT_SETUP:
		f->set_up = true;
		f->facts.reconnected = true;
		break;
	case EVENT_START:
	case EVENT_RESUME:
		f->started = !f->refused;
		f->lost_started = f->incoming = f->keeps = f->drops = f->paused = false;
		break;
	case EVENT_STOP:
	case EVENT_PAUSE:
		vhu_front_stopped(f);
		break;
	case EVENT_POSTCOPY_END:
		f->facts.postcopy = false;
		break;
	case EVENT_OPEN_SESSION:
		f->sessions++;
		break;
	case EVENT_CLOSE_SESSION:
		f->sessions--;
		break;
	default:
		break;
	}
}

static int count_item(void *ctx, const struct vhu_script_item *item)
{
	++*(size_t *)ctx;
	return 0;
}

/* Whether this front-end says something in that phase. */
static int tells(struct story *s, const struct front *f, enum vhu_phase phase, bool *ret)
{
	struct vhu_facts_of_front facts = f->facts;
	size_t n = 0;
	int rc = vhu_persona_walk(&facts, VHU_PHASE_CONNECTED, phase, count_item, &n, s->err);

	*ret = n > 0;
	return rc;
}

/* Lives through an event: the front-end is another one afterwards. */
static int live(struct story *s, struct front *f, enum event e, size_t at, struct speech *out)
{
	struct choice *c = &s->choice;
	int rc;

	out->n = 0;
	vhu_choice_read(f, at, c);
	if (e == EVENT_STOP && f->marked)
		f->keeps = !s->resets;
	before_event(f, e, c, at);
	rc = e == EVENT_START ? vhu_front_start(f, out, s->err)
			      : vhu_front_walk(f, VHU_PHASE_CONNECTED, events[e].phase, out, s->err);
	after_event(f, e);
	f->unreset &= e != EVENT_RESET && e != EVENT_MACHINE_RESET && e != EVENT_START;
	if (rc == 0 && e == EVENT_STOP)
		rc = tells(s, f, VHU_PHASE_RESET, &f->unreset);
	return rc;
}

/* --- which event comes next ------------------------------------------------------------------------------
 */

struct guess {
	enum event event;
	size_t cost, matches, consumed;
	size_t total; /* with the best that may follow */
};

/* Lays one event over the recording; *after (if not NULL) is the front-end behind it. */
static int try_event(struct story *s, const struct front *f, enum event e, size_t at, struct front *after,
		     struct guess *ret)
{
	struct alignment a = {0};
	bool unannounced = false;
	int rc;

	*after = *f;
	rc = live(s, after, e, at, &s->scratch);
	if (rc == 0)
		rc = vhu_align(&s->bindings, &s->scratch, f->seg, at, &a, NULL, NULL);
	/* Without being announced nobody who arrives is started. */
	if (rc == 0 && e == EVENT_START && f->incoming && !f->announced)
		rc = tells(s, after, VHU_PHASE_ANNOUNCE, &unannounced);
	a.cost += unannounced;
	*ret = (struct guess){
		.event = e, .cost = a.cost, .matches = a.matches, .consumed = a.consumed, .total = a.cost};
	return rc;
}

static bool is_better(const struct guess *a, const struct guess *b)
{
	if (b->event == EVENT_MAX || a->total != b->total)
		return b->event == EVENT_MAX || a->total < b->total;
	return a->cost != b->cost ? a->cost < b->cost : a->matches > b->matches;
}

/* An explanation that explains nothing, or less than it leaves open, is none. */
static bool explains(const struct guess *g)
{
	return g->matches > 0 && g->matches >= g->cost;
}

/*
 * The event that fits best at this place; EVENT_MAX if none does. `depth`: how many further events to look
 * at. What no event explains costs one difference.
 */
static int guess_event(struct story *s, const struct front *f, size_t at, unsigned depth, struct guess *ret)
{
	struct front *after = &s->tries[depth];
	int rc = 0;

	*ret = (struct guess){.event = EVENT_MAX, .total = at < f->seg->n_said ? 1 : 0};
	for (enum event e = 0; rc == 0 && at < f->seg->n_said && e < EVENT_MAX; e++) {
		struct guess g, next;

		if (!is_possible(f, e) || !is_next(f, e, at))
			continue;
		rc = try_event(s, f, e, at, after, &g);
		if (rc < 0 || !explains(&g))
			continue;
		if (depth) {
			rc = guess_event(s, after, at + g.consumed, depth - 1, &next);
			g.total += next.total;
		}
		if (rc == 0 && is_better(&g, ret))
			*ret = g;
	}
	return rc;
}

/* --- telling
 * -------------------------------------------------------------------------------------------------- */

static void difference(struct story *s, size_t line, const char *name, const char *what, enum event e)
{
	s->result->differences++;
	if (s->text)
		vhu_buf_printf(s->text, "\t%zu: %s: %s (%s)\n", line, name, what,
			       e < EVENT_MAX ? events[e].name : "no phase");
}

static const char *name_of(const struct vhu_tape_item *item)
{
	const struct vhu_msg_row *row = vhu_msg_by_id(item->frame.channel, item->frame.request);

	return row ? row->name : "unknown message";
}

static void spoken_name(const struct spoken *e, char *out, size_t cap)
{
	const struct vhu_msg_row *row = vhu_msg_row(e->msg);

	if (row->scope == VHU_SCOPE_RING)
		snprintf(out, cap, "%s q%u", row->name, e->queue);
	else
		snprintf(out, cap, "%s", row->name);
}

/* Where something is lacking: behind the message before, and the answer to it. */
static size_t line_at(const struct segment *seg, size_t at)
{
	size_t i = at ? seg->said[at - 1] : seg->first;

	while (i + 1 < seg->end && seg->tape->items[i + 1].kind == VHU_TAPE_FRAME &&
	       seg->tape->items[i + 1].frame.dir == VHU_DIR_BE)
		i++;
	return i + 1 < seg->tape->n_items ? seg->tape->items[i + 1].line : seg->tape->items[i].line;
}

struct telling {
	struct story *s;
	enum event event;
	size_t at;	/* recorded messages told so far */
	bool may_end;	/* the back-end hung up in the middle of it */
	size_t missing; /* at the end, so far */
	const struct spoken *first_missing;
};

static void tell_missing(struct telling *t, const struct spoken *e)
{
	const struct vhu_tape_item *next = vhu_said_at(t->s->front.seg, t->at);
	char name[64];

	spoken_name(e, name, sizeof(name));
	difference(t->s, next && t->at == t->s->at ? next->line : line_at(t->s->front.seg, t->at), name,
		   "missing", t->event);
}

static void tell_step(void *ctx, const struct spoken *e, const struct vhu_tape_item *r)
{
	struct telling *t = ctx;
	char why[128];

	if (!r) {
		/* Whether it was never sent or too late to be, shows at the end. */
		t->s->cut |= t->may_end && t->at == t->s->front.seg->n_said;
		if (!t->may_end || t->at < t->s->front.seg->n_said)
			tell_missing(t, e);
		return;
	}
	t->at++;
	if (!e) {
		difference(t->s, r->line, name_of(r), "unexpected", t->event);
		return;
	}
	if (vhu_match_spoken(&t->s->bindings, e, r, why, sizeof(why)) != MATCH_SAME)
		difference(t->s, r->line, name_of(r), why, t->event);
	vhu_bind_fds(&t->s->bindings, e, r);
}

/* The event is the story's; the differences are counted. */
static int commit_one(struct story *s, enum event e)
{
	const struct segment *seg = s->front.seg;
	struct telling t = {.s = s, .event = e, .at = s->at, .may_end = vhu_may_be_cut(seg)};
	struct alignment a;
	int rc;

	rc = live(s, &s->front, e, s->at, &s->speech);
	if (rc < 0)
		return rc;
	if (s->text && s->speech.n)
		vhu_buf_printf(s->text, "\t%zu: [%s]\n", line_at(seg, s->at), events[e].name);
	s->result->told += s->speech.n;
	rc = vhu_align(&s->bindings, &s->speech, seg, s->at, &a, tell_step, &t);
	s->at += a.consumed;
	if (rc == 0)
		vhu_story_followed(s, e);
	return rc;
}

/*
 * A guest that arrived by migration and cannot announce itself is announced: at least once before the start,
 * the other times when they are due.
 */
static int commit(struct story *s, enum event e)
{
	const struct front *f = &s->front;
	const bool arrives = e == EVENT_START && f->incoming;
	int rc = 0;

	/* Firmware resets a device before it starts it; what it did without a connection nobody heard. */
	if (e == EVENT_START && f->marked && !f->booted && !arrives && !f->keeps && !f->lost_started &&
	    !s->guest_resets && !s->just_back)
		rc = commit_one(s, EVENT_RESET);

	if (rc == 0 && arrives && !f->announced)
		rc = commit_one(s, EVENT_ANNOUNCE);
	if (rc == 0)
		rc = commit_one(s, e);
	for (unsigned i = f->announced; rc == 0 && arrives && i < ANNOUNCES; i++)
		vhu_story_due(s, EVENT_ANNOUNCE);
	return rc;
}

/* --- a connection
 * ------------------------------------------------------------------------------------------- */

static void drop_due(struct story *s)
{
	memmove(&s->due[0], &s->due[1], --s->n_due * sizeof(s->due[0]));
}

/* Whether guest or user did something between two messages: what was due before does not come behind it. */
static bool marked_between(const struct story *s, size_t from, size_t to)
{
	const struct segment *seg = s->front.seg;

	for (size_t i = seg->said[from]; to < seg->n_said && i < seg->said[to]; i++)
		if (seg->tape->items[i].kind == VHU_TAPE_MARK &&
		    vhu_mark_of(seg->tape->items[i].text, s->front.facts.device) != MARK_NONE)
			return true;
	return false;
}

/*
 * An event that has to come now. It does, or something else comes first and it comes then; else it comes now
 * and is missing.
 */
static int commit_due(struct story *s, const struct guess *other)
{
	enum event e = s->due[0].event;
	struct guess g, first, later;
	int rc = try_event(s, &s->front, e, s->at, &s->tries[0], &g);

	if (rc < 0)
		return rc;
	/* The back-end's questions come in between. */
	if (other->event == EVENT_TRANSLATE && other->cost == 0 && !explains(&g))
		return commit(s, other->event);
	if (s->scratch.n == 0 || (explains(&g) && g.cost == 0) || other->event == EVENT_MAX) {
		drop_due(s);
		return commit(s, e);
	}
	rc = try_event(s, &s->front, other->event, s->at, &s->tries[1], &first);
	if (rc == 0)
		rc = try_event(s, &s->tries[1], e, s->at + other->consumed, &s->tries[0], &later);
	if (rc < 0)
		return rc;
	if (explains(&later) && !marked_between(s, s->at, s->at + other->consumed) &&
	    (!explains(&g) || first.cost + later.cost < g.cost))
		return commit(s, other->event);
	drop_due(s);
	return commit(s, e);
}

static int next_event(struct story *s)
{
	const struct segment *seg = s->front.seg;
	struct guess g;
	int rc;

	vhu_story_cues(s);
	rc = guess_event(s, &s->front, s->at, DEPTH - 1, &g);
	if (rc < 0)
		return rc;
	if (s->n_due && !((s->resumed || s->front.lost_started) && g.event == EVENT_START))
		return commit_due(s, &g);
	if (g.event != EVENT_MAX)
		return commit(s, g.event);
	difference(s, vhu_said_at(seg, s->at)->line, name_of(vhu_said_at(seg, s->at)), "unexpected",
		   EVENT_MAX);
	s->at++;
	return 0;
}

int vhu_story_connection(struct story *s, const struct segment *seg)
{
	int rc = 0;

	vhu_front_connect(&s->front, seg);
	s->at = s->cue = 0;
	s->n_due = 0;
	s->firmware = false;
	s->cut = s->half_set_up = false;
	if (seg->n_said == 0 && !s->front.deaf)
		return 0; /* it came and went */
	if (!s->front.deaf) {
		const bool fresh = !s->front.facts.reconnected;
		const bool pairs = vhu_profile_has_pairs(s->front.facts.profile, s->front.facts.device);

		rc = commit(s, EVENT_SETUP);
		/* Who waits for a network to come up hears twice that it has, the second time. */
		if (rc == 0 && s->tries_again && pairs && !s->front.gave_up && s->at < seg->n_said)
			rc = commit(s, EVENT_SETUP);
		/* More queues are wanted than there are, which shows after the first, or the first pair. */
		s->front.gave_up |=
			fresh && (seg->again || seg->alone) && !seg->by_be && s->at == seg->n_said;
		s->just_back = !fresh;
		s->half_set_up = fresh && (s->cut || s->front.gave_up);
		if (rc == 0 && fresh && !s->front.gave_up)
			vhu_story_due(s, EVENT_MACHINE_RESET);
	}
	while (rc == 0 && s->at < seg->n_said)
		rc = next_event(s);
	vhu_story_cues(s);
	if (!seg->by_be)
		vhu_story_overtake_firmware(s);
	while (rc == 0 && s->n_due && !vhu_may_be_cut(seg)) {
		enum event e = s->due[0].event;

		drop_due(s);
		rc = commit(s, e);
	}
	return rc;
}
