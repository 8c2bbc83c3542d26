/* What is known of a case without compiling it: titles, requirements, tags, rows. */
#include <ctype.h>
#include <string.h>

#include "internal.h"

struct head {
	struct vhu_arena *arena;
	struct casefile *f;
	struct report *r;
	const struct path *top;
	bool oom;
};

static void *head_take(struct head *h, size_t count, size_t size)
{
	void *p = vhu_arena_array(h->arena, count, size);

	h->oom |= !p;
	return p;
}

bool vhu_requirement_get(struct report *r, json_t *json, const struct path *at, enum vhu_req *ret)
{
	const char *id = json_string_value(json);
	const struct vhu_req_row *row = id ? vhu_req_by_id(id) : NULL;
	char near[HINT_CAP];

	if (!row && id)
		vhu_diag(r, at, "no requirement '%s'%s", id, vhu_hint(near, id, vhu_req_id_at, NULL));
	if (!row)
		return false;
	*ret = row->req;
	return true;
}

bool vhu_requirement_cite(struct report *r, json_t *json, const struct path *at, enum vhu_req *ret)
{
	const struct vhu_req_row *row;

	if (!vhu_requirement_get(r, json, at, ret))
		return false;
	row = vhu_req_row(*ret);
	if (row->party == VHU_PARTY_FRONT || row->party == VHU_PARTY_DRIVER)
		vhu_diag(r, at, "%s binds the front-end's side: only 'breaks' can name it", row->id);
	else if (row->seen == VHU_SEEN_NO)
		vhu_diag(r, at, "%s can't be observed by a front-end: no case shows it", row->id);
	else
		return true;
	return false;
}

static bool has_word(const char *text, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = text; (at = strcasestr(at, word)); at += len)
		if ((at == text || !isalpha((unsigned char)at[-1])) && !isalpha((unsigned char)at[len]))
			return true;
	return false;
}

static void head_title(struct head *h)
{
	h->f->title = json_string_value(json_object_get(h->f->source.root, "title"));
	h->f->why = json_string_value(json_object_get(h->f->source.root, "why"));
	if (h->f->title && has_word(h->f->title, "should"))
		vhu_diag(h->r, PATH_KEY(h->top, "title"), "a title states what holds: no 'should'");
}

static void head_requirements(struct head *h)
{
	json_t *list = json_object_get(h->f->source.root, "requirements");
	const struct path *at = PATH_KEY(h->top, "requirements");

	h->f->requirements = head_take(h, json_array_size(list), sizeof(*h->f->requirements));
	for (size_t i = 0; h->f->requirements && i < json_array_size(list); i++) {
		enum vhu_req req;

		if (vhu_requirement_cite(h->r, json_array_get(list, i), PATH_INDEX(at, i), &req))
			h->f->requirements[h->f->n_requirements++] = req;
	}
}

static void head_tags(struct head *h)
{
	json_t *list = json_object_get(h->f->source.root, "tags");

	h->f->tags = head_take(h, json_array_size(list), sizeof(*h->f->tags));
	for (size_t i = 0; h->f->tags && i < json_array_size(list); i++) {
		const char *tag = json_string_value(json_array_get(list, i));

		if (tag)
			h->f->tags[h->f->n_tags++] = tag;
	}
}

static void head_devices(struct head *h)
{
	json_t *list = json_object_get(json_object_get(h->f->source.root, "needs"), "device");

	h->f->devices = head_take(h, json_array_size(list), sizeof(*h->f->devices));
	for (size_t i = 0; h->f->devices && i < json_array_size(list); i++) {
		const char *name = json_string_value(json_array_get(list, i));
		const struct vhu_device_row *row = name ? vhu_device_by_name(name) : NULL;

		/* A wrong one is told when the needs are compiled. */
		if (row)
			h->f->devices[h->f->n_devices++] = row->device;
	}
}

static void head_rows(struct head *h)
{
	json_t *rows = json_object_get(h->f->source.root, "rows");
	const struct path *at = PATH_KEY(h->top, "rows");

	if (!json_is_array(rows) || !json_array_size(rows))
		return;
	h->f->rows = rows;
	for (size_t i = 0; i < json_array_size(rows); i++) {
		const char *name = json_string_value(json_object_get(json_array_get(rows, i), "row"));

		for (size_t k = 0; name && k < i; k++) {
			const char *other =
				json_string_value(json_object_get(json_array_get(rows, k), "row"));

			if (other && !strcmp(name, other))
				vhu_diag(h->r, PATH_KEY(PATH_INDEX(at, i), "row"), "two rows named '%s'",
					 name);
		}
	}
}

bool vhu_head_parse(struct vhu_case_set *set, struct casefile *f, struct report *r)
{
	struct path top = {.source = &f->source};
	struct head h = {set->arena, f, r, &top, false};
	struct node root = {f->source.root, &top, NULL};

	f->ring = vhu_get_word(&root, "ring", vhu_words_format, FILE_RING_ANY);
	head_title(&h);
	head_requirements(&h);
	head_tags(&h);
	head_devices(&h);
	head_rows(&h);
	return !h.oom;
}
