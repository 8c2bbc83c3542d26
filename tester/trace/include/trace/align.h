/* The longest common subsequence of two sequences of keys. */
#pragma once

#include "base/util.h"

struct vhu_arena;

/* A step along both: -1 where one of them stands still. */
struct vhu_align_step {
	long a, b;
};

/*
 * n steps through both sequences, in order, as long as they differ in at most some thousand places; else
 * *gave_up, and what follows stands alone. -ENOMEM.
 */
int vhu_align(const uint64_t *a, size_t n_a, const uint64_t *b, size_t n_b, struct vhu_arena *arena,
	      struct vhu_align_step **ret, size_t *ret_n, bool *gave_up);
