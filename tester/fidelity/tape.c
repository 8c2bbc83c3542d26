/* What all loaders share. */
#include "base/arena.h"
#include "tape_priv.h"

#include <errno.h>
#include <string.h>

struct vhu_tape *vhu_tape_new(void)
{
	struct vhu_tape *t = calloc(1, sizeof(*t));

	if (t)
		t->arena = vhu_arena_new();
	if (t && !t->arena) {
		free(t);
		return NULL;
	}
	if (t)
		t->front = t->back = t->name = "";
	return t;
}

void vhu_tape_free(struct vhu_tape *t)
{
	if (!t)
		return;
	vhu_arena_free(t->arena);
	free(t->items);
	free(t);
}

struct vhu_tape_item *vhu_tape_add(struct vhu_tape *t)
{
	if (t->n_items == t->cap_items) {
		size_t cap = t->cap_items ? 2 * t->cap_items : 256;
		struct vhu_tape_item *more = reallocarray(t->items, cap, sizeof(*more));

		if (!more)
			return NULL;
		t->items = more;
		t->cap_items = cap;
	}
	t->items[t->n_items] = (struct vhu_tape_item){.text = ""};
	return &t->items[t->n_items++];
}

int vhu_tape_load(const char *path, struct vhu_tape **ret, struct vhu_err *err)
{
	_cleanup_(vhu_fclosep) FILE *in = fopen(path, "re");
	char first[2];
	size_t n;

	if (!in)
		return vhu_err_errno(err, -errno, "%s", path);
	n = fread(first, 1, sizeof(first), in);
	return n == 0 || strchr("{ \t\r\n", first[0]) ? vhu_tape_load_json(path, ret, err)
						      : vhu_tape_load_pcap(path, ret, err);
}
