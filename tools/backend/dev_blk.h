/*
 * The block device's parts: requests (dev_blk.c), config space (dev_blk_config.c), zones (dev_blk_zone.c).
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
	BLK_ZONES_OPEN = 4,
	BLK_ZONES_ACTIVE = 6,
	BLK_ZONE_APPEND = 256, /* sectors */
};

struct blk {
	struct store store;
	uint64_t opened; /* bytes that it had at the start: only planted faults look at it */
	bool read_only;
	bool flash;	     /* wear figures and secure erase */
	bool writeback;	     /* the cache mode that config space shows */
	bool writeback_set;  /* by the driver: in place of what --config says */
	bool writeback_wide; /* a planted fault: a write to it went too far */
};

extern struct blk blk;

uint32_t blk_block_size(void);
uint64_t blk_features(void);
void blk_features_set(struct session *s, uint64_t old);
unsigned blk_config(struct session *s, uint8_t *to);
/* A host-managed disk is of no use to a driver that knows nothing of zones. */
bool blk_accepts(uint64_t features);

/* Zones. Ranges lie inside the medium (the caller checked); the results are status bytes. */
int zones_open(uint32_t sectors); /* of each zone; negative errno on failure */
void zones_close(void);
bool zones_on(void);
uint32_t zones_sectors(void);
/* As many whole descriptors as `room` has; *ret is valid until the next call. */
uint8_t zones_report(uint64_t sector, uint64_t room, const uint8_t **ret, size_t *ret_len);
uint8_t zones_manage(uint32_t type, uint64_t sector); /* open, close, finish, reset, reset all */
uint8_t zones_erase(uint64_t sector, uint64_t sectors);
uint8_t zones_read(uint64_t sector, uint64_t sectors);
/* Moves the write pointer; what was let in is then written. */
uint8_t zones_write(uint64_t sector, uint64_t sectors);
uint8_t zones_append(uint64_t sector, uint64_t sectors, uint64_t *ret_at);

bool blk_set_config(struct session *s, uint32_t offset, uint32_t size, uint32_t flags, const uint8_t *bytes);

#endif
