/*
 * A stamped sector begins and ends with its stamp (magic, sector, generation, seed) and has bytes
 * made of all of these between, so that what is wrong can be told from the bytes alone.
 */
#include "content.h"

#include <string.h>

#include "base/rng.h"

enum { STAMP = 32, TAIL = VHU_C_SECTOR_SIZE - STAMP, BODY = TAIL - STAMP };

#define STEP UINT64_C(0x9e3779b97f4a7c15)

typedef uint64_t words __attribute__((vector_size(16)));

#define MAGIC UINT64_C(0x504d4154532d5548) /* "HU-STAMP" */

struct stamp {
	uint64_t sector, generation, seed;
};

static void stamp_put(uint8_t *p, const struct stamp *s)
{
	vhu_le_put(p, 8, MAGIC);
	vhu_le_put(p + 8, 8, s->sector);
	vhu_le_put(p + 16, 8, s->generation);
	vhu_le_put(p + 24, 8, s->seed);
}

static bool stamp_get(const uint8_t *p, struct stamp *ret)
{
	ret->sector = vhu_le_get(p + 8, 8);
	ret->generation = vhu_le_get(p + 16, 8);
	ret->seed = vhu_le_get(p + 24, 8);
	return vhu_le_get(p, 8) == MAGIC;
}

static void random_words(uint8_t *p, size_t len, uint64_t x)
{
	for (size_t i = 0; i < len; i += 8)
		vhu_le_put(p + i, 8, vhu_mix64(x + i));
}

/*
 * Words that differ from each other and from stamp to stamp; cheap, for loads of full speed. Two at a time: a
 * store waits for a line that the device has read, and twice as many lines are on their way then.
 */
static void body_put(uint8_t *p, uint64_t x)
{
	words w = {x, x + STEP};

	for (size_t at = 0; at < BODY; at += sizeof(w), w += 2 * STEP)
		memcpy(p + at, &w, sizeof(w));
}

static uint64_t body_of(const struct stamp *s)
{
	return vhu_mix64(s->sector ^ vhu_mix64(s->generation ^ s->seed));
}

void vhu_content_render(uint64_t seed, enum vhu_content content, uint64_t arg, uint64_t sector, uint8_t *out)
{
	const struct vhu_content_bytes *given = (const void *)(uintptr_t)arg;
	struct stamp s = {sector, arg, seed};

	switch (content) {
	case VHU_CONTENT_STAMP:
		stamp_put(out, &s);
		body_put(out + STAMP, body_of(&s));
		stamp_put(out + TAIL, &s);
		return;
	case VHU_CONTENT_FILL:
		memset(out, (int)(arg & 0xff), VHU_C_SECTOR_SIZE);
		return;
	case VHU_CONTENT_BYTES:
		memcpy(out, given->bytes + (sector - given->sector) * VHU_C_SECTOR_SIZE, VHU_C_SECTOR_SIZE);
		return;
	case VHU_CONTENT_SEED:
		random_words(out, VHU_C_SECTOR_SIZE, vhu_mix64(sector ^ vhu_mix64(arg)));
		return;
	case VHU_CONTENT_ANY:
	case VHU_CONTENT_ZERO:
	case VHU_CONTENT_ZEROED:
		break;
	}
	memset(out, 0, VHU_C_SECTOR_SIZE);
}

bool vhu_content_matches(uint64_t seed, enum vhu_content content, uint64_t arg, uint64_t sector,
			 const uint8_t *bytes)
{
	uint8_t want[VHU_C_SECTOR_SIZE];

	vhu_content_render(seed, content, arg, sector, want);
	return memcmp(want, bytes, sizeof(want)) == 0;
}

static bool body_is(const uint8_t *p, uint64_t x)
{
	words w = {x, x + STEP}, wrong = {0}, found;

	for (size_t at = 0; at < BODY; at += sizeof(w), w += 2 * STEP) {
		memcpy(&found, p + at, sizeof(found));
		wrong |= found ^ w;
	}
	return !(wrong[0] | wrong[1]);
}

static bool is_whole(const struct stamp *s, const uint8_t *bytes)
{
	struct stamp tail;

	return stamp_get(bytes + TAIL, &tail) && tail.sector == s->sector &&
	       tail.generation == s->generation && tail.seed == s->seed &&
	       body_is(bytes + STAMP, body_of(s));
}

void vhu_content_spoil(uint8_t *bytes)
{
	memset(bytes, 0xa5, sizeof(uint64_t));
	memset(bytes + TAIL, 0xa5, sizeof(uint64_t));
}

enum vhu_content_class vhu_content_classify(uint64_t seed, uint64_t generation, uint64_t sector,
					    const uint8_t *bytes)
{
	struct stamp head, tail;
	bool has_head = stamp_get(bytes, &head) && head.seed == seed;
	bool has_tail;

	if (has_head && head.sector == sector && is_whole(&head, bytes))
		return head.generation == generation ? VHU_CONTENT_RIGHT : VHU_CONTENT_STALE;
	has_tail = stamp_get(bytes + TAIL, &tail) && tail.seed == seed;
	if (has_head && head.sector != sector)
		return VHU_CONTENT_MISPLACED;
	if (has_head || (has_tail && tail.sector == sector))
		return VHU_CONTENT_TORN;
	return has_tail ? VHU_CONTENT_MISPLACED : VHU_CONTENT_FOREIGN;
}

/* The first byte that differs from what a sector with that stamp holds; the sector's size if none does. */
static size_t differs_at(const struct stamp *s, const uint8_t *bytes)
{
	uint8_t want[VHU_C_SECTOR_SIZE];
	size_t i = 0;

	vhu_content_render(s->seed, VHU_CONTENT_STAMP, s->generation, s->sector, want);
	while (i < sizeof(want) && want[i] == bytes[i])
		i++;
	return i;
}

static bool all_equal(const uint8_t *bytes, uint8_t to)
{
	for (size_t i = 0; i < VHU_C_SECTOR_SIZE; i++) {
		if (bytes[i] != to)
			return false;
	}
	return true;
}

/* "expected …" */
static void name_content(enum vhu_content content, uint64_t arg, char *out, size_t cap)
{
	switch (content) {
	case VHU_CONTENT_STAMP:
		snprintf(out, cap, "generation %llu", (unsigned long long)arg);
		return;
	case VHU_CONTENT_FILL:
		snprintf(out, cap, "bytes 0x%02x", (unsigned)(arg & 0xff));
		return;
	case VHU_CONTENT_BYTES:
		snprintf(out, cap, "what was written there before");
		return;
	case VHU_CONTENT_SEED:
		snprintf(out, cap, "random bytes of seed %llu", (unsigned long long)arg);
		return;
	case VHU_CONTENT_ANY:
	case VHU_CONTENT_ZERO:
	case VHU_CONTENT_ZEROED:
		break;
	}
	snprintf(out, cap, "zeroes");
}

/* Two different stamps at the ends, or one with other bytes between. */
static void name_torn(const struct stamp *head, const struct stamp *tail, bool two, size_t at, char *out,
		      size_t cap)
{
	if (two)
		snprintf(out, cap, "torn: generation %llu at its start, %llu at its end",
			 (unsigned long long)head->generation, (unsigned long long)tail->generation);
	else
		snprintf(out, cap, "torn: generation %llu up to byte %zu, something else from there",
			 (unsigned long long)head->generation, at);
}

/* What the sector holds by its own account. True if a write to this sector was lost, in part or whole. */
static bool name_found(uint64_t seed, uint64_t sector, const uint8_t *bytes, char *out, size_t cap)
{
	struct stamp head, tail;
	bool has_head = stamp_get(bytes, &head), has_tail = stamp_get(bytes + TAIL, &tail);
	size_t at;

	if (!has_head && has_tail) {
		snprintf(out, cap,
			 "torn: it ends with sector %llu, generation %llu, and begins with something else",
			 (unsigned long long)tail.sector, (unsigned long long)tail.generation);
		return tail.sector == sector && tail.seed == seed;
	}
	if (has_head && head.seed != seed) {
		snprintf(out, cap, "a stamp of an earlier run");
		return head.sector == sector;
	}
	if (has_head && head.sector != sector) {
		snprintf(out, cap, "the data of sector %llu, generation %llu",
			 (unsigned long long)head.sector, (unsigned long long)head.generation);
		return false;
	}
	if (has_head) {
		bool two = has_tail && memcmp(&head, &tail, sizeof(head)) != 0;

		at = differs_at(&head, bytes);
		if (at < VHU_C_SECTOR_SIZE)
			name_torn(&head, &tail, two, at, out, cap);
		else
			snprintf(out, cap, "stale: generation %llu", (unsigned long long)head.generation);
		return true;
	}
	if (all_equal(bytes, 0)) {
		snprintf(out, cap, "zeroes");
		return true;
	}
	snprintf(out, cap, "garbage: ");
	at = strlen(out);
	vhu_hex_format(bytes, 8, out + at, cap - at);
	return false;
}

enum vhu_breach vhu_content_blame(uint64_t seed, enum vhu_content content, uint64_t arg, uint64_t sector,
				  const uint8_t *bytes, char *text, size_t cap)
{
	char found[128], want[64];
	bool lost = name_found(seed, sector, bytes, found, sizeof(found));

	name_content(content, arg, want, sizeof(want));
	snprintf(text, cap, "sector %llu: %s; expected %s", (unsigned long long)sector, found, want);
	if (content == VHU_CONTENT_ZEROED)
		return VHU_BREACH_BLK_ZEROES_WRONG;
	return lost ? VHU_BREACH_BLK_WRITE_LOST : VHU_BREACH_BLK_READ_WRONG;
}
