/* Macros: of the case itself, else of a library. */
#include <string.h>

#include "internal.h"

static json_t *macros_of(const struct casefile *f)
{
	return json_object_get(f->source.root, "macros");
}

bool vhu_macro_find(const struct compile *c, const char *name, struct macro *ret)
{
	json_t *own = json_object_get(macros_of(c->file), name);

	if (own) {
		*ret = (struct macro){c->file, name, own, NULL};
		return true;
	}
	for (size_t i = 0; i < c->set->n_files; i++) {
		const struct casefile *f = c->set->files[i];
		json_t *json = f->library ? json_object_get(macros_of(f), name) : NULL;

		if (!json || !vhu_library_serves(c->set, f, c->file))
			continue;
		*ret = (struct macro){f, name, json, NULL};
		return true;
	}
	return false;
}

/* The i-th key of an object, counting *i down while there are fewer. */
static const char *key_at(json_t *object, size_t *i)
{
	for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it), --*i)
		if (!*i)
			return json_object_iter_key(it);
	return NULL;
}

const char *vhu_macro_name_at(void *ctx, size_t i)
{
	const struct compile *c = ctx;
	const char *name = key_at(macros_of(c->file), &i);

	for (size_t k = 0; !name && k < c->set->n_files; k++)
		if (c->set->files[k]->library && vhu_library_serves(c->set, c->set->files[k], c->file))
			name = key_at(macros_of(c->set->files[k]), &i);
	return name;
}
