/* One file from disk: read, parsed, held against its shape, compiled once for its errors. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>

#include "load.h"

/* --- bytes --------------------------------------------------------------------------------------------- */

static int read_all(int fd, struct vhu_buf *out)
{
	char chunk[16384];
	ssize_t n;

	while ((n = read(fd, chunk, sizeof(chunk))) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		vhu_buf_add(out, chunk, (size_t)n);
		if (out->failed)
			return -ENOMEM;
		if (out->len > LIMIT_FILE_BYTES)
			return -EFBIG;
	}
	return 0;
}

/* 0 also for a file that is too large: that is an error of the file. */
static int read_source(struct load *l, struct source *s)
{
	int fd = open(s->file, O_RDONLY | O_CLOEXEC), r;
	struct vhu_buf text = {0};

	if (fd < 0)
		return vhu_err_errno(l->err, -errno, "%s", s->file);
	r = read_all(fd, &text);
	close(fd);
	if (r == -EFBIG) {
		vhu_diag_at(&l->report, s, "", "the file is larger than %d bytes", LIMIT_FILE_BYTES);
		r = 0;
	} else if (r < 0) {
		r = vhu_err_errno(l->err, r, "%s", s->file);
	} else {
		s->len = text.len;
		s->text = vhu_buf_steal(&text);
		if (!s->text)
			s->text = strdup("");
		if (!s->text)
			r = vhu_err_set(l->err, -ENOMEM, "%s: out of memory", s->file);
	}
	vhu_buf_done(&text);
	return r;
}

/* jansson tells where it stopped itself; without a word, it ran out of memory. */
static int parse(struct load *l, struct source *s)
{
	json_error_t e;

	if (!s->text)
		return 0;
	if (!strncmp(s->text, "\xef\xbb\xbf", 3)) {
		vhu_diag_at(&l->report, s, "",
			    "the file starts with a byte order mark: it has to be plain UTF-8");
		return 0;
	}
	s->root = json_loadb(s->text, s->len, JSON_REJECT_DUPLICATES, &e);
	if (!s->root && !e.text[0])
		return vhu_err_set(l->err, -ENOMEM, "%s: out of memory", s->file);
	if (!s->root)
		vhu_diag_line(&l->report, s, (unsigned)VHU_MAX(e.line, 1), (unsigned)VHU_MAX(e.column, 1),
			      "no JSON: %s", e.text);
	return 0;
}

/* --- names --------------------------------------------------------------------------------------- */

static const char *id_of(struct load *l, const char *real)
{
	const char *root = l->set->root, *inside, *cases = NULL;
	char *id;
	size_t len;

	if (root && !strncmp(real, root, strlen(root)) && real[strlen(root)] == '/') {
		inside = real + strlen(root) + 1;
	} else {
		for (const char *at = real; (at = strstr(at, "/cases/")); at++)
			cases = at;
		inside = cases ? cases + strlen("/cases/") : strrchr(real, '/') + 1;
	}
	id = vhu_arena_strdup(l->set->arena, inside);
	len = id ? strlen(id) : 0;
	if (len > 5 && !strcmp(id + len - 5, ".json"))
		id[len - 5] = '\0';
	return id;
}

bool vhu_library_serves(const struct vhu_case_set *set, const struct casefile *library,
			const struct casefile *f)
{
	size_t root = set->root ? strlen(set->root) : 0, len = strlen(library->folder),
	       above = len - strlen("/lib");

	/* A library that was named by its path, and lies elsewhere, was only to be checked. */
	if (len < strlen("/lib") || strcmp(library->folder + above, "/lib"))
		return false;
	if (root && !strncmp(library->folder, set->root, root) && !strcmp(library->folder + root, "/lib"))
		return true;
	return !strncmp(f->folder, library->folder, above) && (f->folder[above] == '/' || !f->folder[above]);
}

/* --- the set
 * ------------------------------------------------------------------------------------------------ */

static bool push_file(struct vhu_case_set *set, struct casefile *f)
{
	if (set->n_files == set->cap_files) {
		size_t cap = set->cap_files ? 2 * set->cap_files : 64;
		struct casefile **files = realloc(set->files, cap * sizeof(*files));

		if (!files)
			return false;
		set->files = files;
		set->cap_files = cap;
	}
	set->files[set->n_files++] = f;
	return true;
}

static bool push_entry(struct vhu_case_set *set, const struct entry *e)
{
	for (size_t i = 0; i < set->n_entries; i++)
		if (set->entries[i].file == e->file && set->entries[i].row_index == e->row_index &&
		    set->entries[i].info.twin == e->info.twin)
			return true;
	if (set->n_entries == set->cap_entries) {
		size_t cap = set->cap_entries ? 2 * set->cap_entries : 64;
		struct entry *entries = realloc(set->entries, cap * sizeof(*entries));

		if (!entries)
			return false;
		set->entries = entries;
		set->cap_entries = cap;
	}
	set->entries[set->n_entries++] = *e;
	return true;
}

static bool has_tag(const struct casefile *f, const char *tag)
{
	for (size_t i = 0; i < f->n_tags; i++)
		if (!strcmp(f->tags[i], tag))
			return true;
	return false;
}

static struct entry make_entry(struct load *l, const struct casefile *f, size_t i)
{
	json_t *row = json_array_get(f->rows, i);
	const char *name = json_string_value(json_object_get(row, "row"));
	struct entry e = {.file = f, .row = row, .row_index = i};

	e.info = (struct vhu_case_info){
		.id = name ? vhu_arena_printf(l->set->arena, "%s#%s", f->id, name) : f->id,
		.file = f->source.file,
		.title = f->title ? f->title : "",
		.requirements = f->requirements,
		.n_requirements = f->n_requirements,
		.cites = f->cites,
		.n_cites = f->n_cites,
		.tags = f->tags,
		.n_tags = f->n_tags,
		.devices = f->devices,
		.n_devices = f->n_devices,
		.may_kill = has_tag(f, "may-kill"),
		.packed = f->ring == FILE_RING_PACKED,
	};
	return e;
}

static struct entry make_twin(struct load *l, const struct entry *e)
{
	struct entry twin = *e;

	twin.info.id = vhu_arena_printf(l->set->arena, "%s%%packed", e->info.id);
	twin.info.packed = twin.info.twin = true;
	return twin;
}

static bool uses_rings(const struct vhu_plan *p)
{
	bool uses = p->start == VHU_STATE_RUNNING;

	for (size_t i = 0; i < p->n_steps; i++) {
		enum vhu_verb v = p->steps[i].verb;

		uses |= v == VHU_VERB_RING || v == VHU_VERB_IO || v == VHU_VERB_CHAIN ||
			v == VHU_VERB_FRAMES;
	}
	return uses;
}

/* Whether a case for any ring has something to say about packed ones; else it is as good as the same. */
static int twin_works(struct load *l, const struct entry *twin, bool *ret)
{
	const struct vhu_compile_opts opts = {0};
	struct vhu_diags unread = {.text = NULL};
	struct report r = {.diags = &unread, .muted = 1};
	struct vhu_plan *plan = NULL;
	int code = vhu_case_compile(l->set, twin, &opts, &r, &plan, l->err);

	*ret = code == 0 && !plan->skip && plan->packed && uses_rings(plan);
	vhu_plan_free(plan);
	return code == -EINVAL ? 0 : code;
}

static size_t rows_of(const struct casefile *f)
{
	return f->rows ? json_array_size(f->rows) : 1;
}

struct cites {
	enum vhu_req req[VHU_REQ_MAX];
	size_t n;
	bool has[VHU_REQ_MAX];
};

static void add_cites(struct cites *c, const enum vhu_req *reqs, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (!c->has[reqs[i]])
			c->req[c->n++] = reqs[i];
		c->has[reqs[i]] = true;
	}
}

/* Every row against the union, for its errors and for what its steps cite. */
static int check_rows(struct load *l, struct casefile *f)
{
	const struct vhu_compile_opts opts = {0};
	struct cites cites = {0};
	int r = 0;

	add_cites(&cites, f->requirements, f->n_requirements);

	for (size_t i = 0; r == 0 && i < rows_of(f); i++) {
		struct entry e = make_entry(l, f, i);
		struct vhu_plan *plan = NULL;

		if (!e.info.id)
			return vhu_err_set(l->err, -ENOMEM, "%s: out of memory", f->source.file);
		r = vhu_case_compile(l->set, &e, &opts, &l->report, &plan, l->err);
		if (r == -EINVAL)
			r = 0;
		if (plan)
			add_cites(&cites, plan->step_requirements, plan->n_step_requirements);
		vhu_plan_free(plan);
	}
	f->cites = vhu_arena_memdup(l->set->arena, cites.req, cites.n * sizeof(*cites.req));
	f->n_cites = cites.n;
	return f->cites || r < 0 ? r : vhu_err_set(l->err, -ENOMEM, "%s: out of memory", f->source.file);
}

static bool has_macro(const struct casefile *f, const char *name)
{
	return json_object_get(json_object_get(f->source.root, "macros"), name);
}

/* A macro of one name in two libraries of a folder is one too many. */
static void check_twins(struct load *l, const struct casefile *f)
{
	struct path top = {.source = &f->source};
	json_t *macros = json_object_get(f->source.root, "macros"), *macro;
	const char *name;

	json_object_foreach(macros, name, macro) {
		for (size_t i = 0; i < l->set->n_files; i++) {
			const struct casefile *other = l->set->files[i];

			if (!other->library || other == f || strcmp(other->folder, f->folder) ||
			    !has_macro(other, name))
				continue;
			vhu_diag_key(&l->report, PATH_KEY(PATH_KEY(&top, "macros"), name),
				     "macro '%s' is in %s, too", name, other->source.file);
		}
	}
}

static int understand(struct load *l, struct casefile *f)
{
	struct path top = {.source = &f->source};
	size_t errors = l->report.errors;
	int r = parse(l, &f->source);

	if (r < 0)
		return r;
	if (f->source.root) {
		f->library |= json_is_object(f->source.root) && !json_object_get(f->source.root, "steps") &&
			      json_object_get(f->source.root, "macros");
		f->source.broken = !vhu_shape_check(
			&l->report, f->library ? &vhu_shape_library : &vhu_shape_case, f->source.root, &top);
	}
	if (f->library)
		check_twins(l, f);
	else if (json_is_object(f->source.root) && !vhu_head_parse(l->set, f, &l->report))
		r = vhu_err_set(l->err, -ENOMEM, "%s: out of memory", f->source.file);
	else if (json_is_object(f->source.root))
		r = check_rows(l, f);
	f->bad = l->report.errors != errors || !f->source.root;
	return r;
}

static void casefile_free(struct casefile *f)
{
	if (!f)
		return;
	free(f->source.text);
	json_decref(f->source.root);
	free(f->folder);
	free(f->real);
	free(f);
}

/* Reads a file, once: *ret is the earlier one if it was read before. */
/* A path as its user would write it: relative where it lies below the working folder. */
static const char *below_here(const char *path)
{
	char here[PATH_MAX];
	size_t len;

	if (!getcwd(here, sizeof(here)))
		return path;
	len = strlen(here);
	return !strncmp(path, here, len) && path[len] == '/' ? path + len + 1 : path;
}

int vhu_load_file(struct load *l, const char *path, bool library, struct casefile **ret)
{
	char *real = realpath(path, NULL);
	struct casefile *f;
	int r;

	if (!real)
		return vhu_err_errno(l->err, -errno, "%s", path);
	for (size_t i = 0; i < l->set->n_files; i++) {
		if (strcmp(l->set->files[i]->real, real))
			continue;
		free(real);
		*ret = l->set->files[i];
		return 0;
	}
	f = calloc(1, sizeof(*f));
	if (f) {
		f->real = real;
		f->library = library;
		f->source.file = vhu_arena_strdup(l->set->arena, below_here(path));
		f->id = id_of(l, real);
		f->folder = strndup(real, (size_t)(strrchr(real, '/') - real));
	}
	if (!f || !f->source.file || !f->id || !f->folder || !push_file(l->set, f)) {
		if (f)
			casefile_free(f);
		else
			free(real);
		return vhu_err_set(l->err, -ENOMEM, "%s: out of memory", path);
	}
	*ret = f;
	r = library ? 0 : vhu_load_libraries_of(l, path);
	if (r == 0)
		r = read_source(l, &f->source);
	return r < 0 ? r : understand(l, f);
}

static const char *row_name_at(void *ctx, size_t i)
{
	return json_string_value(json_object_get(json_array_get(ctx, i), "row"));
}

static int load_twin(struct load *l, const struct entry *e)
{
	struct entry twin = make_twin(l, e);
	bool works = false;
	int r = twin.info.id ? twin_works(l, &twin, &works) : -ENOMEM;

	if (r == 0 && works && !push_entry(l->set, &twin))
		r = -ENOMEM;
	return r == -ENOMEM ? vhu_err_set(l->err, -ENOMEM, "%s: out of memory", e->file->source.file) : r;
}

/* The cases of a file, or the one of a row. */
int vhu_load_entries(struct load *l, const struct casefile *f, const char *row)
{
	char near[HINT_CAP];
	bool found = !row;
	int r;

	if (f->bad || f->library)
		return 0;
	for (size_t i = 0; i < rows_of(f); i++) {
		const char *name = row_name_at(f->rows, i);
		struct entry e;

		if (row && (!name || strcmp(row, name)))
			continue;
		found = true;
		e = make_entry(l, f, i);
		if (!e.info.id || !push_entry(l->set, &e))
			return vhu_err_set(l->err, -ENOMEM, "%s: out of memory", f->source.file);
		r = f->ring == FILE_RING_ANY ? load_twin(l, &e) : 0;
		if (r < 0)
			return r;
	}
	if (found)
		return 0;
	return vhu_err_set(l->err, -ENOENT, "%s has no row '%s'%s", f->source.file, row,
			   f->rows ? vhu_hint(near, row, row_name_at, f->rows) : "");
}

void vhu_case_set_free_files(struct vhu_case_set *s)
{
	for (size_t i = 0; i < s->n_files; i++)
		casefile_free(s->files[i]);
	free(s->files);
	free(s->entries);
}
