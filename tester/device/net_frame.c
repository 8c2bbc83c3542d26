/* Frames that name themselves: Ethernet, IPv4, UDP, and behind these number, pair and length. */
#include "net_frame.h"

#include <string.h>

#include "base/rng.h"

enum {
	ETHER_TYPE = 12,
	IP = 14,
	UDP = VHU_NET_CSUM_START,
	UDP_CSUM = UDP + VHU_NET_CSUM_OFFSET,
	MARK = 42,   /* who made it … */
	NUMBER = 46, /* … and which one it is */
	PAIR = 50,
	LEN = 52,
	FILL = 54,
	IP_PROTOCOL_UDP = 17,
	PORT = 50000, /* of pair 0, the next ones for the others: each pair has a flow of its own */
	PORT_DISCARD = 9,
};

static void put_be(uint8_t *p, size_t size, uint64_t value)
{
	for (size_t i = 0; i < size; i++)
		p[i] = (uint8_t)(value >> (8 * (size - 1 - i)));
}

static uint64_t get_be(const uint8_t *p, size_t size)
{
	uint64_t value = 0;

	for (size_t i = 0; i < size; i++)
		value = value << 8 | p[i];
	return value;
}

static uint32_t mark_of(uint64_t seed)
{
	return (uint32_t)vhu_mix64(seed ^ 0x6672616d65);
}

static uint32_t sum(const uint8_t *p, size_t len, uint32_t start)
{
	for (size_t i = 0; i < len; i++)
		start += (uint32_t)p[i] << (i % 2 ? 0 : 8);
	while (start >> 16)
		start = (start & 0xffff) + (start >> 16);
	return start;
}

static uint32_t pseudo_sum(const uint8_t *frame, size_t len)
{
	return sum(frame + IP + 12, 8, (uint32_t)(IP_PROTOCOL_UDP + (len - UDP)));
}

/* RFC 2544 has these addresses for tests of networks. */
static void make_ip(uint8_t *frame, const struct net_id *id)
{
	uint8_t *ip = frame + IP;

	ip[0] = 0x45;
	put_be(ip + 2, 2, id->len - IP);
	put_be(ip + 4, 2, id->number & 0xffff);
	put_be(ip + 6, 2, 0x4000); /* not to be cut */
	ip[8] = 64;
	ip[9] = IP_PROTOCOL_UDP;
	put_be(ip + 12, 4, 0xc6120001);
	put_be(ip + 16, 4, 0xc6130001);
	put_be(ip + 10, 2, ~sum(ip, 20, 0) & 0xffff);
}

void vhu_net_frame_make(const struct net_id *id, bool partial, uint8_t *out)
{
	struct vhu_rng rng;
	uint32_t csum;

	memset(out, 0, FILL);
	put_be(out, 6, 0x027668750000 | id->pair);
	put_be(out + 6, 6, 0x027668750100 | id->pair);
	put_be(out + ETHER_TYPE, 2, 0x0800);
	make_ip(out, id);
	put_be(out + UDP, 2, PORT + id->pair);
	put_be(out + UDP + 2, 2, PORT_DISCARD);
	put_be(out + UDP + 4, 2, id->len - UDP);
	put_be(out + MARK, 4, mark_of(id->seed));
	put_be(out + NUMBER, 4, id->number);
	put_be(out + PAIR, 2, id->pair);
	put_be(out + LEN, 2, id->len);
	vhu_rng_init(&rng, vhu_mix64(id->seed ^ id->number));
	vhu_rng_fill(&rng, out + FILL, id->len - FILL);
	csum = pseudo_sum(out, id->len);
	if (!partial) {
		csum = ~sum(out + UDP, id->len - UDP, csum) & 0xffff;
		csum = csum ? csum : 0xffff;
	}
	put_be(out + UDP_CSUM, 2, csum);
}

static bool begins_at(uint64_t seed, const uint8_t *bytes, size_t len, size_t at)
{
	return at + FILL <= len && get_be(bytes + at + MARK, 4) == mark_of(seed);
}

long vhu_net_frame_find(uint64_t seed, const uint8_t *bytes, size_t len, size_t at, struct net_id *ret)
{
	bool found = begins_at(seed, bytes, len, at);

	for (size_t i = 0; !found && i + FILL <= len; i++) {
		found = begins_at(seed, bytes, len, i);
		at = found ? i : at;
	}
	if (!found)
		return -1;
	*ret = (struct net_id){.seed = seed,
			       .number = (uint32_t)get_be(bytes + at + NUMBER, 4),
			       .pair = (unsigned)get_be(bytes + at + PAIR, 2),
			       .len = (uint32_t)get_be(bytes + at + LEN, 2)};
	return (long)at;
}

/* UDP has two ways to write a sum of 0. */
static bool csum_right(const uint8_t *want, const uint8_t *got)
{
	uint64_t w = get_be(want + UDP_CSUM, 2), g = get_be(got + UDP_CSUM, 2);

	return w == g || (w == 0xffff && g == 0);
}

static enum net_same compare(const uint8_t *want, const uint8_t *partial, bool complete, const uint8_t *got,
			     size_t len, char *out, size_t cap)
{
	for (size_t i = len; i-- > ETHER_TYPE;) {
		if (i == UDP_CSUM || i == UDP_CSUM + 1 || want[i] == got[i])
			continue;
		snprintf(out, cap, "byte %zu is 0x%02x, was sent as 0x%02x", i, got[i], want[i]);
		return i < MARK ? NET_REWRITTEN : NET_HARMED;
	}
	if (csum_right(want, got) || (!complete && csum_right(partial, got)))
		return NET_SAME;
	snprintf(out, cap, "the checksum is 0x%04x, must be 0x%04x", (unsigned)get_be(got + UDP_CSUM, 2),
		 (unsigned)get_be(want + UDP_CSUM, 2));
	return NET_REWRITTEN;
}

enum net_same vhu_net_frame_same(const struct net_id *id, bool complete, const uint8_t *bytes, size_t len,
				 char *out, size_t cap)
{
	enum net_same same = NET_HARMED;
	uint8_t *want, *partial;

	if (len != id->len) {
		snprintf(out, cap, "%zu bytes came, %u were sent", len, id->len);
		return same;
	}
	want = malloc(id->len);
	partial = malloc(id->len);
	if (want && partial) {
		vhu_net_frame_make(id, false, want);
		vhu_net_frame_make(id, true, partial);
		same = compare(want, partial, complete, bytes, len, out, cap);
	} else {
		snprintf(out, cap, "out of memory");
	}
	free(want);
	free(partial);
	return same;
}
