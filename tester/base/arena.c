#include "base/arena.h"

#include <stdalign.h>
#include <stdarg.h>
#include <string.h>

enum { BLOCK_SIZE = 16 * 1024 };

struct block {
	struct block *next;
	size_t used, cap;
	alignas(max_align_t) unsigned char bytes[];
};

/* The first block is the one in use; what is larger than a block gets one of its own behind it. */
struct vhu_arena {
	struct block *first;
};

struct vhu_arena *vhu_arena_new(void)
{
	return calloc(1, sizeof(struct vhu_arena));
}

void vhu_arena_free(struct vhu_arena *a)
{
	if (!a)
		return;
	for (struct block *b = a->first, *next; b; b = next) {
		next = b->next;
		free(b);
	}
	free(a);
}

void vhu_arena_reset(struct vhu_arena *a)
{
	struct block *kept = NULL;

	if (!a->first || (!a->first->used && !a->first->next))
		return;
	for (struct block *b = a->first, *next; b; b = next) {
		next = b->next;
		if (!kept && b->cap == BLOCK_SIZE) {
			memset(b->bytes, 0, b->used);
			*b = (struct block){.cap = BLOCK_SIZE};
			kept = b;
		} else {
			free(b);
		}
	}
	a->first = kept;
}

static struct block *block_new(size_t cap)
{
	struct block *b = calloc(1, sizeof(*b) + cap);

	if (b)
		b->cap = cap;
	return b;
}

void *vhu_arena_alloc(struct vhu_arena *a, size_t size)
{
	const size_t align = alignof(max_align_t);
	struct block *b = a->first;

	if (size > SIZE_MAX / 2)
		return NULL;
	size = size ? (size + align - 1) & ~(align - 1) : align;
	if (!b || b->cap - b->used < size) {
		struct block *fresh = block_new(VHU_MAX(size, (size_t)BLOCK_SIZE));

		if (!fresh)
			return NULL;
		if (b && size > BLOCK_SIZE / 4) {
			fresh->next = b->next;
			b->next = fresh;
		} else {
			fresh->next = b;
			a->first = fresh;
		}
		b = fresh;
	}
	void *p = b->bytes + b->used;

	b->used += size;
	return p;
}

void *vhu_arena_array(struct vhu_arena *a, size_t count, size_t size)
{
	size_t total;

	if (__builtin_mul_overflow(count, size, &total))
		return NULL;
	return vhu_arena_alloc(a, total);
}

void *vhu_arena_memdup(struct vhu_arena *a, const void *bytes, size_t len)
{
	void *p = vhu_arena_alloc(a, len);

	if (p && len)
		memcpy(p, bytes, len);
	return p;
}

char *vhu_arena_strdup(struct vhu_arena *a, const char *text)
{
	return vhu_arena_memdup(a, text, strlen(text) + 1);
}

char *vhu_arena_printf(struct vhu_arena *a, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (n < 0)
		return NULL;

	char *text = vhu_arena_alloc(a, (size_t)n + 1);

	if (!text)
		return NULL;
	va_start(args, format);
	vsnprintf(text, (size_t)n + 1, format, args);
	va_end(args);
	return text;
}
