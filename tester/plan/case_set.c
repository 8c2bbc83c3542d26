/* Which files: paths, folders, ids; and the set that comes of them. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "load.h"

enum { LEVELS_ABOVE = 3 }; /* cases/core/AREA/x.json finds cases/lib */

/* --- folders ------------------------------------------------------------------------------------- */

static bool is_folder(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static bool is_file(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static bool is_json(const char *name)
{
	size_t len = strlen(name);

	return len > 5 && !strcmp(name + len - 5, ".json");
}

static int shown(const struct dirent *d)
{
	return d->d_name[0] != '.';
}

/* By bytes: the same order whatever the locale. */
static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

typedef int visit_fn(void *ctx, const char *path, const char *name);

static int each_entry(const char *folder, visit_fn *visit, void *ctx, struct vhu_err *err)
{
	struct dirent **list;
	int n = scandir(folder, &list, shown, by_name), r = 0;

	if (n < 0)
		return vhu_err_errno(err, -errno, "%s", folder);
	for (int i = 0; i < n; i++) {
		char path[PATH_MAX];

		if (r == 0 &&
		    snprintf(path, sizeof(path), "%s/%s", folder, list[i]->d_name) < (int)sizeof(path))
			r = visit(ctx, path, list[i]->d_name);
		free(list[i]);
	}
	free(list);
	return r;
}

static int visit_library(void *ctx, const char *path, const char *name)
{
	struct casefile *f;

	return is_json(name) && is_file(path) ? vhu_load_file(ctx, path, true, &f) : 0;
}

static int load_library_folder(struct load *l, const char *folder)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/lib", folder) >= (int)sizeof(path) || !is_folder(path))
		return 0;
	return each_entry(path, visit_library, l, l->err);
}

/* The folder above, in the words that the user chose for this one. */
static bool go_up(char folder[PATH_MAX])
{
	char *slash = strrchr(folder, '/');
	const char *last = slash ? slash + 1 : folder;

	if (!strcmp(last, ".."))
		return strlen(folder) + 4 < PATH_MAX && strcat(folder, "/..");
	if (!strcmp(last, ".")) {
		strcpy(folder + (last - folder), "..");
		return true;
	}
	if (!slash)
		strcpy(folder, ".");
	else if (slash == folder)
		return false;
	else
		*slash = '\0';
	return true;
}

int vhu_load_libraries_of(struct load *l, const char *path)
{
	char folder[PATH_MAX];
	const char *slash = strrchr(path, '/');
	int r = 0;

	if (snprintf(folder, sizeof(folder), "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".") >=
	    (int)sizeof(folder))
		return 0;
	for (int level = 0; r == 0 && level < LEVELS_ABOVE && *folder; level++) {
		r = load_library_folder(l, folder);
		if (!go_up(folder))
			break;
	}
	return r;
}

struct walk {
	struct load *l;
	unsigned depth;
};

static int visit_case(void *ctx, const char *path, const char *name)
{
	struct walk *w = ctx, below = {w->l, w->depth + 1};
	struct casefile *f;
	int r;

	if (is_folder(path)) {
		if (w->depth == LIMIT_FOLDERS)
			return vhu_err_set(w->l->err, -ELOOP, "%s: folders are nested too deeply", path);
		if (!strcmp(name, "lib"))
			return each_entry(path, visit_library, w->l, w->l->err);
		return each_entry(path, visit_case, &below, w->l->err);
	}
	if (!is_json(name) || !is_file(path))
		return 0;
	r = vhu_load_file(w->l, path, false, &f);
	return r < 0 ? r : vhu_load_entries(w->l, f, NULL);
}

/* --- ids
 * ---------------------------------------------------------------------------------------------------- */

struct ids {
	struct vhu_arena *arena;
	const char *root;
	const char *id[4096];
	size_t n;
	unsigned depth;
};

static int visit_id(void *ctx, const char *path, const char *name)
{
	struct ids *ids = ctx;
	struct vhu_err err;
	char *id;
	int r = 0;

	if (is_folder(path) && strcmp(name, "lib") && ids->depth < LIMIT_FOLDERS) {
		ids->depth++;
		r = each_entry(path, visit_id, ctx, &err);
		ids->depth--;
	} else if (is_json(name) && ids->n < VHU_ARRAY_SIZE(ids->id) - 1) {
		id = vhu_arena_strdup(ids->arena, path + strlen(ids->root) + 1);
		if (!id)
			return -ENOMEM;
		id[strlen(id) - 5] = '\0';
		ids->id[ids->n++] = id;
	}
	return r;
}

static int no_such_path(struct load *l, const char *root, const char *path)
{
	struct ids *ids = root ? calloc(1, sizeof(*ids)) : NULL;
	struct vhu_err unread;
	char near[HINT_CAP] = "";
	int r;

	if (ids) {
		ids->arena = l->set->arena;
		ids->root = root;
		each_entry(root, visit_id, ids, &unread);
		vhu_hint_word(near, path, ids->id);
	}
	r = vhu_err_set(l->err, -ENOENT, "no file, folder or case '%s'%s", path, near);
	free(ids);
	return r;
}

/* --- paths
 * ----------------------------------------------------------------------------------------------------- */

static int load_one(struct load *l, const char *path, const char *row)
{
	struct walk w = {l, 0};
	struct casefile *f;
	int r;

	if (is_folder(path) && !row)
		return each_entry(path, visit_case, &w, l->err);
	r = vhu_load_file(l, path, false, &f);
	return r < 0 ? r : vhu_load_entries(l, f, row);
}

static int load_path(struct load *l, const char *root, const char *path)
{
	const char *hash = strrchr(path, '#');
	char name[PATH_MAX], full[PATH_MAX + 8];

	if (is_folder(path) || is_file(path))
		return load_one(l, path, NULL);
	if (snprintf(name, sizeof(name), "%.*s", hash ? (int)(hash - path) : (int)strlen(path), path) >=
	    (int)sizeof(name))
		return no_such_path(l, NULL, path);
	if (hash && is_file(name))
		return load_one(l, name, hash + 1);
	if (!root || snprintf(full, sizeof(full), "%s/%s.json", root, name) >= (int)sizeof(full))
		return no_such_path(l, NULL, path);
	if (is_file(full))
		return load_one(l, full, hash ? hash + 1 : NULL);
	full[strlen(full) - 5] = '\0';
	if (is_folder(full) && !hash)
		return load_one(l, full, NULL);
	return no_such_path(l, root, path);
}

int vhu_case_set_load(const char *root, const char *const *paths, size_t n, struct vhu_case_set **ret,
		      struct vhu_diags *diags, struct vhu_err *err)
{
	struct load l = {.set = calloc(1, sizeof(*l.set)), .report = {.diags = diags}, .err = err};
	int r = 0;

	if (l.set)
		l.set->arena = vhu_arena_new();
	if (!l.set || !l.set->arena) {
		free(l.set);
		return vhu_err_set(err, -ENOMEM, "case files: out of memory");
	}
	l.set->root = root ? realpath(root, NULL) : NULL;
	if (l.set->root)
		r = load_library_folder(&l, root);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = load_path(&l, root, paths[i]);
	if (r < 0)
		vhu_case_set_free(l.set);
	else
		*ret = l.set;
	return r;
}

void vhu_case_set_free(struct vhu_case_set *s)
{
	if (!s)
		return;
	vhu_case_set_free_files(s);
	free(s->root);
	vhu_arena_free(s->arena);
	free(s);
}

size_t vhu_case_set_count(const struct vhu_case_set *s)
{
	return s->n_entries;
}

const struct vhu_case_info *vhu_case_set_info(const struct vhu_case_set *s, size_t i)
{
	return i < s->n_entries ? &s->entries[i].info : NULL;
}

int vhu_plan_from_case(const struct vhu_case_set *s, size_t i, const struct vhu_compile_opts *opts,
		       struct vhu_plan **ret, struct vhu_diags *diags, struct vhu_err *err)
{
	struct report r = {.diags = diags};

	if (i >= s->n_entries)
		return vhu_err_set(err, -ENOENT, "no case number %zu", i);
	return vhu_case_compile(s, &s->entries[i], opts, &r, ret, err);
}
