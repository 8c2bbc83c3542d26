/* What a sector looks like after a write, and what it looks like if it is not that. */
#pragma once

#include "ledger.h"

void vhu_content_render(uint64_t seed, enum vhu_content content, uint64_t arg, uint64_t sector, uint8_t *out);
bool vhu_content_matches(uint64_t seed, enum vhu_content content, uint64_t arg, uint64_t sector,
			 const uint8_t *bytes);
/* Says what `bytes` are where that content was expected, and which breach it is. */
enum vhu_breach vhu_content_blame(uint64_t seed, enum vhu_content content, uint64_t arg, uint64_t sector,
				  const uint8_t *bytes, char *text, size_t cap);
