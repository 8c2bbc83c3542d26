/*
 * The block device's parts: requests (dev_blk.c) and config space (dev_blk_config.c).
 */
#ifndef BACKEND_DEV_BLK_H
#define BACKEND_DEV_BLK_H

#include "session.h"
#include "store.h"

/* What config space promises, and requests keep. */
enum {
	BLK_SEG_MAX = 126,
	BLK_SIZE_MAX = 1 << 20,
	BLK_RANGE_SECTORS = 32768,
	BLK_RANGES = 64,
};

struct blk {
	struct store store;
	bool read_only;
	bool writeback;	     /* the cache mode that config space shows */
	bool writeback_wide; /* a planted fault: a write to it went too far */
};

extern struct blk blk;

uint32_t blk_block_size(void);
uint64_t blk_features(void);
void blk_features_set(struct session *s, uint64_t old);
unsigned blk_config(struct session *s, uint8_t *to);
bool blk_set_config(struct session *s, uint32_t offset, uint32_t size, uint32_t flags, const uint8_t *bytes);

#endif
