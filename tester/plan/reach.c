/* Steps that can't be reached: they speak on a connection that an earlier step has ended. */
#include <stdarg.h>

#include "internal.h"

struct reach {
	struct compile *c;
	const struct vhu_step **ended; /* for each connection: the step that ended it; NULL: open */
	bool *opened;
	struct told told;
	const struct vhu_step *gone; /* the step after which there is no target, or NULL */
};

static void VHU_PRINTF(3, 4) unreachable(struct reach *r, size_t i, const char *format, ...)
{
	const struct origin *o = &r->c->origins[i];
	char text[400];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	/* Only the branches that this target takes can bring it about: the file itself was found right. */
	if (r->c->facts.known)
		vhu_plan_skip(r->c, "on this target %s: %s", r->c->steps[i].where, text);
	else if (vhu_told_once(&r->told, o))
		vhu_diag_at(r->c->report, o->source, o->pointer, "%s", text);
}

static bool ring_speaks(enum vhu_ring_op op)
{
	return op != VHU_RING_POKE && op != VHU_RING_CHECK && op != VHU_RING_FLIP;
}

static bool memory_speaks(enum vhu_memory_op op)
{
	return op == VHU_MEMORY_MAP || op == VHU_MEMORY_ADD || op == VHU_MEMORY_REMOVE;
}

/* Whether a step is nothing without a connection. */
static bool speaks(const struct vhu_step *s)
{
	switch (s->verb) {
	case VHU_VERB_SEND:
	case VHU_VERB_RAW:
	case VHU_VERB_RECV:
	case VHU_VERB_FENCE:
	case VHU_VERB_PHASE:
		return true;
	case VHU_VERB_RING:
		return ring_speaks(s->ring.op);
	case VHU_VERB_IO:
		return s->io.wait;
	case VHU_VERB_CHAIN:
		return s->chain.wait;
	case VHU_VERB_FRAMES:
		return true;
	case VHU_VERB_MEMORY:
		return memory_speaks(s->memory.op);
	case VHU_VERB_LOG:
		return s->log.op != VHU_LOG_CHECK;
	case VHU_VERB_INFLIGHT:
		return s->inflight.op == VHU_INFLIGHT_GET || s->inflight.op == VHU_INFLIGHT_SET;
	case VHU_VERB_IOTLB:
		return s->iotlb.op != VHU_IOTLB_MAP && s->iotlb.op != VHU_IOTLB_HOLD;
	case VHU_VERB_RECORDED:
	case VHU_VERB_ANSWER:
	case VHU_VERB_END:
	case VHU_VERB_FILL:
	case VHU_VERB_SIGNAL:
	case VHU_VERB_OFFER:
	case VHU_VERB_USED:
	case VHU_VERB_CONNECT:
	case VHU_VERB_CLOSE:
	case VHU_VERB_RECONNECT:
	case VHU_VERB_TARGET:
	case VHU_VERB_PROGRAM:
	case VHU_VERB_AWAIT:
	case VHU_VERB_STATE:
	case VHU_VERB_ASSERT:
	case VHU_VERB_NOTE:
	case VHU_VERB_MAX:
		break;
	}
	return false;
}

static void end_all(struct reach *r, const struct vhu_step *s)
{
	for (size_t i = 0; i < r->c->n_conns; i++)
		if (!r->ended[i])
			r->ended[i] = s;
}

static void check(struct reach *r, size_t i)
{
	const struct vhu_step *s = &r->c->steps[i];
	const char *name = r->c->conns[s->conn];

	if (s->verb == VHU_VERB_CONNECT || s->verb == VHU_VERB_RECONNECT) {
		if (r->gone)
			unreachable(r, i, "there is no target since %s: \"target\": \"restart\" is missing",
				    r->gone->where);
		else if (s->verb == VHU_VERB_CONNECT && r->opened[s->conn] && !r->ended[s->conn])
			unreachable(r, i, "the connection '%s' is open already", name);
	} else if (speaks(s) && !r->opened[s->conn]) {
		unreachable(r, i, "the connection '%s' is not open here", name);
	} else if (speaks(s) && r->ended[s->conn]) {
		unreachable(r, i, "can't be reached: %s ends the connection, and no step opens it again",
			    r->ended[s->conn]->where);
	}
}

/* What is left of the connections behind the step. */
static void follow(struct reach *r, const struct vhu_step *s)
{
	const uint32_t ends = VHU_OUT_CLOSES | VHU_OUT_DEAD;

	switch ((int)s->verb) {
	case VHU_VERB_CONNECT:
	case VHU_VERB_RECONNECT:
		r->opened[s->conn] = true;
		r->ended[s->conn] = NULL;
		return;
	case VHU_VERB_CLOSE:
		if (s->close.main || s->close.write_side)
			r->ended[s->conn] = s;
		return;
	case VHU_VERB_PROGRAM:
		end_all(r, s);
		return;
	case VHU_VERB_TARGET:
		if (s->target.op == VHU_TARGET_STOP || s->target.op == VHU_TARGET_CONTINUE ||
		    s->target.op == VHU_TARGET_IDLE || s->target.op == VHU_TARGET_GROW)
			return;
		end_all(r, s);
		r->gone = s->target.op == VHU_TARGET_RESTART ? NULL : s;
		return;
	default:
		break;
	}
	if (!s->expect_given || !s->expect || (s->expect & ~ends))
		return;
	r->ended[s->conn] = s;
	if (s->expect == VHU_OUT_DEAD) {
		end_all(r, s);
		r->gone = s;
	}
}

void vhu_plan_reach(struct compile *c)
{
	struct reach r = {.c = c,
			  .ended = calloc(c->n_conns, sizeof(*r.ended)),
			  .opened = calloc(c->n_conns, sizeof(*r.opened))};

	if (!r.ended || !r.opened) {
		c->oom = true;
	} else {
		r.opened[0] = true;
		for (size_t i = 0; i < c->n_steps; i++) {
			check(&r, i);
			follow(&r, &c->steps[i]);
		}
	}
	free(r.ended);
	free(r.opened);
}
