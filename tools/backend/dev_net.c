/*
 * The network device: a wire whose other end is tied to its beginning. What the guest sends on a pair of
 * queues comes back on the same pair.
 */
#include <stdlib.h>
#include <string.h>

#include "buffers.h"
#include "dev_small.h"
#include "fault.h"

enum {
	HEADER = 12,	  /* virtio_net_hdr with num_buffers, as every modern driver has it */
	FRAME_MIN = 14,	  /* an Ethernet header */
	FRAME_MAX = 65550,
	PAIRS_MAX = 128,
	WAITING_MAX = 64, /* frames that no buffer was there for; more are lost */
	NUM_BUFFERS = 10, /* of the header */
};

struct frame {
	struct frame *next;
	size_t len;
	uint8_t bytes[]; /* header first */
};

static struct pair {
	struct frame *first, **last;
	unsigned n;
} pairs[PAIRS_MAX];

static void drop_first(struct pair *p)
{
	struct frame *f = p->first;

	p->first = f->next;
	if (!p->first)
		p->last = &p->first;
	p->n--;
	free(f);
}

void net_reset(struct session *s)
{
	(void)s;
	for (unsigned i = 0; i < PAIRS_MAX; i++)
		while (pairs[i].first)
			drop_first(&pairs[i]);
}

static bool receives(const struct session *s, const struct ring *r)
{
	return r->index % 2 == 0 && r->index + 1 < s->n_rings && r->index / 2 < PAIRS_MAX;
}

bool net_keeps(const struct session *s, const struct ring *r)
{
	return receives(s, r) && !pairs[r->index / 2].first;
}

/* The next frame into the buffer; one that does not fit is lost. */
static int64_t receive(struct session *s, struct pair *p, struct chain *c)
{
	uint64_t written = 0;

	if (p->first->len <= c->in_len) {
		written = chain_scatter(c, p->first->bytes, p->first->len);
		chain_mark(s, c, written);
	}
	drop_first(p);
	return (int64_t)written;
}

static void loop_back(struct ring *rx, struct pair *p, struct chain *c)
{
	struct frame *f;

	if (c->out_len < HEADER + FRAME_MIN || c->out_len > HEADER + FRAME_MAX || p->n == WAITING_MAX)
		return;
	/* A disabled ring gives its guest nothing: the frame is lost. */
	if (!rx->enabled && !fault(state_disabled_receives))
		return;
	f = calloc(1, sizeof(*f) + c->out_len);
	if (!f)
		return;
	f->len = chain_gather(c, f->bytes, c->out_len);
	memset(f->bytes, 0, HEADER);
	f->bytes[NUM_BUFFERS] = 1;
	if (!p->last)
		p->last = &p->first;
	*p->last = f;
	p->last = &f->next;
	p->n++;
	rx->enabled = rx->enabled || fault(state_disabled_receives);
	ring_wake(rx);
}

int64_t net_execute(struct session *s, struct ring *r, struct chain *c)
{
	if (receives(s, r))
		return pairs[r->index / 2].first ? receive(s, &pairs[r->index / 2], c) : 0;
	if (r->index % 2 == 1 && r->index / 2 < PAIRS_MAX)
		loop_back(&s->rings[r->index - 1], &pairs[r->index / 2], c);
	return 0;
}
