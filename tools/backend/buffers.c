/*
 * The bytes of a request's buffers.
 */
#include <string.h>

#include "buffers.h"

size_t chain_gather(struct chain *c, uint8_t *to, size_t len)
{
	size_t got = 0;

	while (got < len && c->n_out) {
		size_t some = c->out->iov_len < len - got ? c->out->iov_len : len - got;

		memcpy(to + got, c->out->iov_base, some);
		got += some;
		c->out->iov_base = (uint8_t *)c->out->iov_base + some;
		c->out->iov_len -= some;
		if (!c->out->iov_len) {
			c->out++;
			c->n_out--;
		}
	}
	c->out_len -= got;
	return got;
}

uint64_t chain_scatter(struct chain *c, const uint8_t *from, size_t len)
{
	size_t put = 0;

	for (unsigned i = 0; i < c->n_in && put < len; i++) {
		size_t some = c->in[i].iov_len < len - put ? c->in[i].iov_len : len - put;

		memcpy(c->in[i].iov_base, from + put, some);
		put += some;
	}
	return put;
}

void chain_mark(struct session *s, const struct chain *c, uint64_t len)
{
	for (unsigned i = 0; i < c->n_in && len; i++) {
		uint64_t some = c->in[i].iov_len < len ? c->in[i].iov_len : len;

		log_mark(s, c->in_gpa[i], some);
		len -= some;
	}
}

int64_t chain_answer(struct session *s, struct chain *c, const uint8_t *bytes, size_t len)
{
	uint64_t written = chain_scatter(c, bytes, len);

	chain_mark(s, c, written);
	return (int64_t)written;
}
