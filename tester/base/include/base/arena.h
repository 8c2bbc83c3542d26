/* Memory that is freed as a whole. Not for threads. */
#pragma once

#include "base/util.h"

struct vhu_arena;

struct vhu_arena *vhu_arena_new(void);
void vhu_arena_free(struct vhu_arena *a);	/* NULL is fine */
/* Forgets all that was allocated; one block is kept for what comes. */
void vhu_arena_reset(struct vhu_arena *a);
/* Zeroed, aligned for any type; NULL when out of memory. */
void *vhu_arena_alloc(struct vhu_arena *a, size_t size);
/* count * size with overflow check. */
void *vhu_arena_array(struct vhu_arena *a, size_t count, size_t size);
char *vhu_arena_strdup(struct vhu_arena *a, const char *text);
char *vhu_arena_printf(struct vhu_arena *a, const char *format, ...) VHU_PRINTF(2, 3);
void *vhu_arena_memdup(struct vhu_arena *a, const void *bytes, size_t len);
