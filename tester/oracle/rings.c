#include "oracle/rings.h"

#include <errno.h>
#include <stdarg.h>

/* COVERED: IN_ORDER, a later one came back; its own element may be left out. */
enum chain_state { CHAIN_NEVER, CHAIN_OUT, CHAIN_COVERED, CHAIN_BACK };

struct chain {
	uint64_t writable;
	uint64_t turn; /* the how-manieth that was made available, from 0 */
	enum chain_state state;
};

struct ring {
	bool known;		/* seen from its start, without a doubt since then */
	bool stopped;
	bool packed;
	uint32_t size;
	uint16_t index;		/* split: the used index, once an element has shown it */
	bool index_known;
	uint32_t out;		/* chains */
	uint64_t turns, first;	/* made available so far; before that one none is out (IN_ORDER) */
	struct chain *chain;	/* by head */
	uint32_t *by_turn;	/* heads, modulo size */
};

struct vhu_rings {
	struct ring ring[VHU_SESSION_RINGS];
};

int vhu_rings_new(struct vhu_rings **ret, struct vhu_err *err)
{
	*ret = calloc(1, sizeof(**ret));
	return *ret ? 0 : vhu_err_errno(err, -ENOMEM, "rings");
}

static void free_ring(struct ring *ring)
{
	free(ring->chain);
	free(ring->by_turn);
	*ring = (struct ring){0};
}

void vhu_rings_free(struct vhu_rings *r)
{
	for (size_t i = 0; r && i < VHU_SESSION_RINGS; i++)
		free_ring(&r->ring[i]);
	free(r);
}

static struct ring *known_ring(struct vhu_rings *r, unsigned queue)
{
	return queue < VHU_SESSION_RINGS && r->ring[queue].known ? &r->ring[queue] : NULL;
}

int vhu_rings_start(struct vhu_rings *r, unsigned queue, uint32_t size, bool packed, struct vhu_err *err)
{
	struct ring *ring = queue < VHU_SESSION_RINGS ? &r->ring[queue] : NULL;

	if (!ring)
		return 0;
	free_ring(ring);
	*ring = (struct ring){.packed = packed, .size = size};
	if (!size || size > VHU_C_VRING_SIZE_MAX)
		return 0;
	ring->chain = calloc(size, sizeof(*ring->chain));
	ring->by_turn = calloc(size, sizeof(*ring->by_turn));
	ring->known = ring->chain && ring->by_turn;
	return ring->known ? 0 : vhu_err_errno(err, -ENOMEM, "rings");
}

void vhu_rings_stop(struct vhu_rings *r, unsigned queue)
{
	struct ring *ring = known_ring(r, queue);

	if (ring)
		ring->stopped = true;
}

void vhu_rings_doubt(struct vhu_rings *r, unsigned queue)
{
	for (unsigned q = 0; q < VHU_SESSION_RINGS; q++)
		if (q == queue || queue == VHU_SESSION_RINGS)
			r->ring[q].known = false;
}

void vhu_rings_avail(struct vhu_rings *r, unsigned queue, uint32_t head, uint64_t writable)
{
	struct ring *ring = known_ring(r, queue);

	if (!ring)
		return;
	/* A driver that does this has lost its way, and a record of it is nothing to judge by. */
	if (head >= ring->size || ring->chain[head].state == CHAIN_OUT) {
		ring->known = false;
		return;
	}
	ring->by_turn[ring->turns % ring->size] = head;
	ring->chain[head] = (struct chain){writable, ring->turns++, CHAIN_OUT};
	ring->out++;
}

/* --- what comes back ---------------------------------------------------------------------------------- */

static void VHU_PRINTF(4, 5) tell(struct vhu_oracle *o, unsigned queue, enum vhu_breach breach,
				  const char *format, ...)
{
	char text[200];
	struct vhu_obs obs = {.kind = VHU_OBS_BREACH, .breach = breach, .text = text};
	int n = snprintf(text, sizeof(text), "queue %u: ", queue);
	va_list args;

	va_start(args, format);
	vsnprintf(text + n, sizeof(text) - (size_t)n, format, args);
	va_end(args);
	vhu_oracle_observe(o, &obs);
}

/* True if the index can be what it is. Packed rings have none. */
static bool judge_index(struct ring *ring, struct vhu_oracle *o, unsigned queue, uint16_t index, bool none)
{
	uint16_t ahead = (uint16_t)(index - ring->index);
	bool back = ring->index_known && ahead > 0x7fff;

	/* An element too many says itself what is wrong with it. */
	if (!none && (ring->packed || !ring->index_known || ahead <= ring->out || ahead == 1))
		return true;
	if (ring->index_known)
		tell(o, queue, back ? VHU_BREACH_USED_IDX_BACK : VHU_BREACH_USED_IDX_JUMP,
		     "the used index went from %u to %u, %u chains are outstanding", ring->index, index,
		     ring->out);
	else
		tell(o, queue, VHU_BREACH_USED_IDX_JUMP,
		     "the used index went to %u without an element, %u chains are outstanding", index,
		     ring->out);
	return false;
}

/* IN_ORDER: an element stands for all that were made available before its own. */
static void take_before(struct ring *ring, uint64_t turn)
{
	for (; ring->first < turn; ring->first++) {
		struct chain *chain = &ring->chain[ring->by_turn[ring->first % ring->size]];

		if (chain->state != CHAIN_OUT || chain->turn != ring->first)
			continue;
		chain->state = CHAIN_COVERED;
		ring->out--;
	}
}

static void take(struct ring *ring, const struct vhu_oracle *o, struct chain *chain)
{
	if (vhu_session_features(&o->session) & VHU_V(VIRTIO_F_IN_ORDER))
		take_before(ring, chain->turn);
	chain->state = CHAIN_BACK;
	ring->out--;
}

static void judge_element(struct ring *ring, struct vhu_oracle *o, unsigned queue, uint32_t id, uint32_t len)
{
	struct chain *chain = id < ring->size ? &ring->chain[id] : NULL;

	if (!chain)
		tell(o, queue, VHU_BREACH_USED_ID_RANGE, "used id %u (len %u), the ring has %u descriptors",
		     id, len, ring->size);
	else if (chain->state == CHAIN_BACK)
		tell(o, queue, VHU_BREACH_USED_TWICE, "used id %u (len %u) had been returned already", id,
		     len);
	else if (chain->state == CHAIN_NEVER)
		tell(o, queue, VHU_BREACH_USED_ID_IDLE, "used id %u (len %u) is not in flight", id, len);
	else if (len > chain->writable)
		tell(o, queue, VHU_BREACH_USED_LEN_LONG,
		     "chain %u: used length %u, only %llu bytes are writable", id, len,
		     (unsigned long long)chain->writable);
	if (chain && chain->state == CHAIN_OUT)
		take(ring, o, chain);
	else if (chain && chain->state == CHAIN_COVERED)
		chain->state = CHAIN_BACK;
}

void vhu_rings_used(struct vhu_rings *r, struct vhu_oracle *o, unsigned queue, uint32_t id, bool none,
		    uint32_t len, uint32_t index)
{
	struct ring *ring = known_ring(r, queue);

	if (!ring)
		return;
	if (ring->stopped) {
		tell(o, queue, VHU_BREACH_USED_AFTER_STOP, "used id %u after GET_VRING_BASE was answered",
		     id);
		return;
	}
	/* Of what follows a jump nothing is known. */
	if (!judge_index(ring, o, queue, (uint16_t)index, none)) {
		ring->known = false;
		return;
	}
	/* Elements that were missing come later, behind an index that was there before. */
	ring->index = (uint16_t)index;
	ring->index_known = true;
	if (!none)
		judge_element(ring, o, queue, id, len);
}
