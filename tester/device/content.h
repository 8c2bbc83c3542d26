/* What a sector looks like after a write, and what it looks like if it is not that. */
#pragma once

#include "device/ledger.h"

void vhu_content_render(uint64_t seed, enum vhu_content content, uint64_t arg, uint64_t sector, uint8_t *out);
bool vhu_content_matches(uint64_t seed, enum vhu_content content, uint64_t arg, uint64_t sector,
			 const uint8_t *bytes);
/* Says what `bytes` are where that content was expected, and which breach it is. */
enum vhu_breach vhu_content_blame(uint64_t seed, enum vhu_content content, uint64_t arg, uint64_t sector,
				  const uint8_t *bytes, char *text, size_t cap);

/* What a sector is that should hold a stamp of this generation. */
enum vhu_content_class {
	VHU_CONTENT_RIGHT,
	VHU_CONTENT_STALE,     /* an earlier generation, whole */
	VHU_CONTENT_TORN,      /* parts of several */
	VHU_CONTENT_MISPLACED, /* another sector's data of this run */
	VHU_CONTENT_FOREIGN,   /* nothing that this run wrote */
};
/* Makes a sector's place in memory one that bears no stamp, at little cost. */
void vhu_content_spoil(uint8_t *bytes);
enum vhu_content_class vhu_content_classify(uint64_t seed, uint64_t generation, uint64_t sector,
					    const uint8_t *bytes);
