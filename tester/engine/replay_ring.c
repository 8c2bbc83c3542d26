/* What a replayed request comes back as, out of rings that stand in the recorded memory. */
#include <string.h>
#include <unistd.h>

#include "event/loop.h"
#include "internal.h"

static const uint64_t look_ns = 200000;

/* A used ring, as far as it was read. */
struct vhu_came_back {
	struct vhu_came_back *next;
	uint64_t uaddr;
	unsigned conn;
	uint16_t seen;
	bool came[VHU_C_VRING_SIZE_MAX]; /* by head: it came back, and nobody has asked yet */
	uint32_t len[VHU_C_VRING_SIZE_MAX];
};

struct used_wait {
	struct vhu_conn *c;
	const struct vhu_step_used *s;
	struct vhu_came_back *ring;
};

static struct vhu_came_back *ring_of(struct vhu_run *r, const struct vhu_step *s)
{
	struct vhu_came_back *ring = r->came_back;

	while (ring && (ring->uaddr != s->used.uaddr || ring->conn != s->conn))
		ring = ring->next;
	if (!ring) {
		ring = calloc(1, sizeof(*ring));
		if (!ring) {
			vhu_run_broken(r, "out of memory");
			return NULL;
		}
		ring->next = r->came_back;
		ring->uaddr = s->used.uaddr;
		ring->conn = s->conn;
		r->came_back = ring;
	}
	if (s->used.fresh) {
		ring->seen = s->used.base;
		memset(ring->came, 0, sizeof(ring->came));
	}
	return ring;
}

void vhu_run_used_release(struct vhu_run *r)
{
	while (r->came_back) {
		struct vhu_came_back *ring = r->came_back;

		r->came_back = ring->next;
		free(ring);
	}
}

static bool read_at(const struct vhu_conn *c, uint64_t uaddr, uint8_t *bytes, size_t len)
{
	uint64_t at;
	int fd = vhu_run_foreign_at(c, uaddr, len, &at);

	return fd >= 0 && pread(fd, bytes, len, (off_t)at) == (ssize_t)len;
}

/* Takes what is there. What the device says is believed no further than its place in our own arrays. */
static void reap(struct used_wait *w)
{
	uint8_t bytes[VHU_USED_ELEMENT];
	uint16_t index;

	if (!read_at(w->c, w->s->uaddr + VHU_USED_IDX, bytes, sizeof(index)))
		return;
	index = (uint16_t)vhu_le_get(bytes, 2);
	for (size_t i = 0; w->ring->seen != index && i < w->s->num; i++, w->ring->seen++) {
		uint64_t at = VHU_USED_RING + VHU_USED_ELEMENT * (uint64_t)(w->ring->seen % w->s->num);
		uint64_t id;

		if (!read_at(w->c, w->s->uaddr + at, bytes, sizeof(bytes)))
			return;
		id = vhu_le_get(bytes, 4);
		if (id >= VHU_C_VRING_SIZE_MAX)
			continue;
		w->ring->came[id] = true;
		w->ring->len[id] = (uint32_t)vhu_le_get(bytes + 4, 4);
	}
}

static bool is_back(void *ctx)
{
	struct used_wait *w = ctx;

	reap(w);
	return w->ring->came[w->s->id] || w->c->closed || w->c->r->exited;
}

static void on_look(void *ctx, uint32_t events)
{
}

/* Calls are the recording's own descriptors, and may be off: it is looked. */
void vhu_do_used(struct vhu_run *r, const struct vhu_step *s)
{
	struct used_wait w = {&r->conns[s->conn], &s->used, ring_of(r, s)};
	struct vhu_source *timer = NULL;

	if (!w.ring)
		return;
	if (!is_back(&w)) {
		if (vhu_loop_add_timer(r->e->loop, look_ns, look_ns, on_look, NULL, &timer, NULL) == 0)
			vhu_run_wait(r, is_back, &w, vhu_run_deadline(r, s), false);
		vhu_source_free(timer);
	}
	if (w.ring->came[s->used.id])
		vhu_run_used_compare(r, s, w.ring->len[s->used.id]);
	else
		vhu_run_replay_missing(w.c, s);
	w.ring->came[s->used.id] = false;
}
