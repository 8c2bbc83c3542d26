#include "base/util.h"

#include <errno.h>
#include <string.h>
#include <time.h>

uint64_t vhu_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

static int digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int vhu_u64_parse(const char *text, uint64_t *ret)
{
	unsigned base = 10;
	uint64_t value = 0;

	if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
		base = 16;
		text += 2;
	}
	if (!*text)
		return -EINVAL;
	/* Read to the end even when it is too large: "99…9x" is no number, not one out of range. */
	bool range = false;
	for (; *text; text++) {
		int digit = digit_value(*text);

		if (digit < 0 || (unsigned)digit >= base)
			return -EINVAL;
		if (__builtin_mul_overflow(value, base, &value) ||
		    __builtin_add_overflow(value, (unsigned)digit, &value))
			range = true;
	}
	if (range)
		return -ERANGE;
	*ret = value;
	return 0;
}

long vhu_hex_parse(const char *text, uint8_t *out, size_t cap)
{
	size_t n = 0;

	for (;;) {
		while (*text == ' ')
			text++;
		if (!*text)
			return (long)n;

		int high = digit_value(text[0]);
		int low = high < 0 ? -1 : digit_value(text[1]);

		if (low < 0)
			return -EINVAL;
		if (n == cap)
			return -ENOSPC;
		out[n++] = (uint8_t)(high << 4 | low);
		text += 2;
	}
}

char *vhu_hex_format(const void *bytes, size_t len, char *out, size_t cap)
{
	static const char digits[] = "0123456789abcdef";
	static const char mark[] = "…";
	const uint8_t *p = bytes;
	bool cut = false;
	char *o = out;

	if (!cap)
		return out;
	/* Three characters a byte; the last one's space is the terminator's place. */
	if (len > cap / 3) {
		cut = true;
		len = cap > sizeof(mark) ? (cap - sizeof(mark)) / 3 : 0;
	}
	for (size_t i = 0; i < len; i++) {
		*o++ = digits[p[i] >> 4];
		*o++ = digits[p[i] & 15];
		*o++ = ' ';
	}
	if (cut && cap >= sizeof(mark)) {
		memcpy(o, mark, sizeof(mark) - 1);
		o += sizeof(mark) - 1;
	} else if (o > out) {
		o--;
	}
	*o = '\0';
	return out;
}

uint64_t vhu_fnv1a64(const void *bytes, size_t len, uint64_t seed)
{
	const uint8_t *p = bytes;

	for (size_t i = 0; i < len; i++)
		seed = (seed ^ p[i]) * UINT64_C(0x100000001b3);
	return seed;
}

void vhu_ne_put(void *p, size_t size, uint64_t value)
{
	uint8_t u8 = (uint8_t)value;
	uint16_t u16 = (uint16_t)value;
	uint32_t u32 = (uint32_t)value;

	switch (size) {
	case sizeof(u8):
		memcpy(p, &u8, sizeof(u8));
		break;
	case sizeof(u16):
		memcpy(p, &u16, sizeof(u16));
		break;
	case sizeof(u32):
		memcpy(p, &u32, sizeof(u32));
		break;
	case sizeof(value):
		memcpy(p, &value, sizeof(value));
		break;
	}
}
