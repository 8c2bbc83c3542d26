/*
 * What was written where: the truth that reads are compared with. Knows sectors and contents,
 * not requests, rings or memory.
 *
 * Time is counted in events (submissions and completions). A write counts from its submission
 * to its completion, and until then a sector may hold either content. A later write that began
 * after its completion and succeeded replaces it.
 */
#pragma once

#include "base/err.h"
#include "spec/spec.h"

struct vhu_ledger;

enum vhu_content {
	VHU_CONTENT_ANY,   /* not known: discarded, failed, or written in a way of a case's own */
	VHU_CONTENT_STAMP, /* sector number, generation and seed */
	VHU_CONTENT_FILL,  /* one byte */
	VHU_CONTENT_SEED,  /* random by `arg` and sector */
	VHU_CONTENT_ZERO,
	VHU_CONTENT_ZEROED, /* zeroes by the request for it */
	VHU_CONTENT_BYTES,  /* a struct vhu_content_bytes, borrowed, whose address `arg` is */
};

struct vhu_content_bytes {
	uint64_t sector; /* of the first byte */
	const uint8_t *bytes;
};

/* A request that changes sectors; embedded in what submits it. */
struct vhu_ledger_write {
	uint64_t sector, count;
	enum vhu_content content;
	uint64_t arg;			      /* the generation of a stamp, the byte, the seed */
	uint64_t start;			      /* 0: not begun, or over */
	struct vhu_ledger_write *prev, *next; /* those whose sectors are too many to be kept one by one */
};

struct vhu_ledger_read {
	uint64_t start; /* 0: not begun, or over */
	struct vhu_ledger_read *prev, *next;
};

enum vhu_ledger_end {
	VHU_LEDGER_DONE,    /* it succeeded */
	VHU_LEDGER_FAILED,  /* what it did is not known */
	VHU_LEDGER_REFUSED, /* it did nothing */
	VHU_LEDGER_LOST,    /* it may happen at any later time */
};

int vhu_ledger_new(uint64_t seed, struct vhu_ledger **ret, struct vhu_err *err);
void vhu_ledger_free(struct vhu_ledger *l);
/* All sectors are unknown again. */
void vhu_ledger_forget(struct vhu_ledger *l);

/* The next generation of a stamp. */
uint64_t vhu_ledger_generation(struct vhu_ledger *l);
/* sector, count, content and arg are set by the caller. 0 or -ENOMEM. */
int vhu_ledger_begin(struct vhu_ledger *l, struct vhu_ledger_write *w);
void vhu_ledger_end(struct vhu_ledger *l, struct vhu_ledger_write *w, enum vhu_ledger_end how);
void vhu_ledger_read_begin(struct vhu_ledger *l, struct vhu_ledger_read *r);
void vhu_ledger_read_end(struct vhu_ledger *l, struct vhu_ledger_read *r);

/* What sector holds after such a write. */
void vhu_ledger_render(const struct vhu_ledger *l, enum vhu_content content, uint64_t arg, uint64_t sector,
		       uint8_t out[VHU_C_SECTOR_SIZE]);

/*
 * Whether `bytes`, read by r, may be what the sector held between r's submission and now. If
 * not, *ret_breach says what it breaks and `text` what was found instead of what.
 */
bool vhu_ledger_judge(const struct vhu_ledger *l, const struct vhu_ledger_read *r, uint64_t sector,
		      const uint8_t bytes[VHU_C_SECTOR_SIZE], enum vhu_breach *ret_breach, char *text,
		      size_t cap);
