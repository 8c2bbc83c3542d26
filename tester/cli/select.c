#include "cli/select.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "base/rng.h"
#include "cli/conform.h"
#include "plan/plan.h"

/* --- case files ------------------------------------------------------------------------------ */

/* DIR of our program + `below`, if that exists. */
static char *beside_program(const char *below)
{
	char path[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);

	while (len > 0 && path[len - 1] != '/')
		len--;
	if (len <= 0 || (size_t)len + strlen(below) >= sizeof(path))
		return NULL;
	memcpy(path + len, below, strlen(below) + 1);
	return access(path, R_OK) == 0 ? strdup(path) : NULL;
}

char *vhu_case_root(void)
{
	const char *root = getenv("VHU_CASES");
	char *found;

	if (root && *root)
		return strdup(root);
#ifdef VHU_CASES_DIR
	if (access(VHU_CASES_DIR, R_OK) == 0)
		return strdup(VHU_CASES_DIR);
#endif
	found = beside_program("cases");
	return found ? found : beside_program("../share/vhu-conform/cases");
}

/* "core/x#row%packed" is one variant of the file core/x: the length of "core/x". */
static size_t base_length(const char *id)
{
	return strcspn(id, "#%");
}

/* Whether a word of the command line names one variant by its id, rather than a file. */
static bool is_variant(const char *word)
{
	return word[base_length(word)] && access(word, F_OK) != 0;
}

static void add_hint(struct vhu_err *err)
{
	size_t len = err ? strlen(err->text) : 0;

	if (err)
		snprintf(err->text + len, sizeof(err->text) - len,
			 "\n  'vhu-conform --list' shows the installed ones");
}

int vhu_select_load(const struct vhu_conform_opts *o, struct vhu_case_set **ret, struct vhu_diags *diags,
		    struct vhu_err *err)
{
	const struct vhu_words *words = &o->parsed.rest;
	_cleanup_(vhu_freep) char *root = vhu_case_root();
	size_t n = words->n ? words->n : 1;
	char **paths = calloc(n, sizeof(*paths));
	int code = paths ? 0 : vhu_err_errno(err, -ENOMEM, "cases");

	if (code == 0 && !words->n && !root)
		code = vhu_err_set(err, -ENOENT,
				   "cases: none are installed\n  name case files, or set VHU_CASES");
	for (size_t i = 0; i < n && code == 0; i++) {
		const char *word = words->n ? words->items[i] : root;

		paths[i] = words->n && is_variant(word) ? strndup(word, base_length(word)) : strdup(word);
		if (!paths[i])
			code = vhu_err_errno(err, -ENOMEM, "cases");
	}
	if (code == 0)
		code = vhu_case_set_load(root ? root : "", (const char *const *)paths, n, ret, diags, err);
	if (code == -ENOENT && words->n)
		add_hint(err);
	for (size_t i = 0; paths && i < n; i++)
		free(paths[i]);
	free(paths);
	return code;
}

/* --- filters --------------------------------------------------------------------------------- */

/* Whether `path` is the file itself or a folder above it, however the two are written. */
static bool path_covers(const char *path, const char *file)
{
	char a[PATH_MAX], b[PATH_MAX];
	size_t len;

	if (!realpath(path, a) || !realpath(file, b))
		return false;
	len = strlen(a);
	return !strncmp(a, b, len) && (b[len] == '\0' || b[len] == '/');
}

/* The words have chosen files; this is about variants that were named among them. */
static bool named(const struct vhu_words *words, const struct vhu_case_info *info)
{
	size_t base = base_length(info->id);
	bool restricted = false;

	for (size_t i = 0; i < words->n; i++) {
		const char *word = words->items[i];

		if (is_variant(word)) {
			if (!strcmp(word, info->id))
				return true;
			restricted |= base_length(word) == base && !strncmp(word, info->id, base);
		} else if ((strlen(word) == base && !strncmp(word, info->id, base)) ||
			   path_covers(word, info->file)) {
			return true;
		}
	}
	return !restricted;
}

static bool any_glob(const struct vhu_words *globs, const char *text)
{
	for (size_t i = 0; i < globs->n; i++)
		if (vhu_glob(globs->items[i], text))
			return true;
	return globs->n == 0;
}

static bool any_requirement(const struct vhu_words *wanted, const struct vhu_case_info *info)
{
	for (size_t i = 0; i < info->n_cites; i++)
		if (any_glob(wanted, vhu_req_row(info->cites[i])->id))
			return true;
	return wanted->n == 0;
}

static bool has_tag(const struct vhu_case_info *info, const char *tag)
{
	for (size_t i = 0; i < info->n_tags; i++)
		if (!strcmp(info->tags[i], tag))
			return true;
	return false;
}

static bool any_tag(const struct vhu_words *wanted, const struct vhu_case_info *info)
{
	for (size_t i = 0; i < wanted->n; i++)
		if (has_tag(info, wanted->items[i]))
			return true;
	return wanted->n == 0;
}

static bool fits_device(const struct vhu_case_info *info, enum vhu_device device)
{
	for (size_t i = 0; i < info->n_devices; i++)
		if (info->devices[i] == device)
			return true;
	return info->n_devices == 0 || device == VHU_DEV_ANY;
}

/* By the id alone: a case stays in its shard whatever cases come and go. */
static bool in_shard(const struct vhu_conform_opts *o, const char *id)
{
	return !o->shards ||
	       vhu_mix64(vhu_fnv1a64(id, strlen(id), VHU_FNV1A64_SEED)) % o->shards == o->shard - 1;
}

/* The packed twin of a case runs where it is asked for, or named. */
static bool ring_wanted(const struct vhu_conform_opts *o, const struct vhu_case_info *info)
{
	for (size_t i = 0; info->twin && i < o->parsed.rest.n; i++)
		if (!strcmp(o->parsed.rest.items[i], info->id))
			return true;
	return o->rings == VHU_RINGS_BOTH || (o->rings == VHU_RINGS_PACKED ? info->packed : !info->twin);
}

static bool selected(const struct vhu_conform_opts *o, const struct vhu_case_info *info,
		     enum vhu_device device)
{
	return (o->parsed.rest.n ? named(&o->parsed.rest, info) : fits_device(info, device)) &&
	       any_glob(&o->filters, info->id) && any_requirement(&o->requirements, info) &&
	       any_tag(&o->tags, info) && ring_wanted(o, info) && in_shard(o, info->id);
}

/* --- order ----------------------------------------------------------------------------------- */

struct place {
	const struct vhu_case_info *info;
	size_t index;
	int class;			/* 0 smoke, 1 the others, 2 those that may kill the target */
};

static int compare_places(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	return x->class != y->class ? x->class - y->class : strcmp(x->info->id, y->info->id);
}

static void shuffle(struct place *p, size_t n, uint64_t seed)
{
	struct vhu_rng rng;

	vhu_rng_init(&rng, seed);
	while (n && p[n - 1].class == 2)
		n--;
	for (size_t i = n; i > 1; i--) {
		size_t j = (size_t)vhu_rng_below(&rng, i);
		struct place swap = p[i - 1];

		p[i - 1] = p[j];
		p[j] = swap;
	}
}

void vhu_selection_done(struct vhu_selection *s)
{
	free(s->info);
	free(s->index);
	*s = (struct vhu_selection){0};
}

static int take_order(const struct place *places, size_t n, struct vhu_selection *ret, struct vhu_err *err)
{
	struct vhu_selection s = {
		.info = calloc(n + 1, sizeof(*s.info)), .index = calloc(n + 1, sizeof(*s.index)), .n = n,
	};

	if (!s.info || !s.index) {
		vhu_selection_done(&s);
		return vhu_err_errno(err, -ENOMEM, "cases");
	}
	for (size_t i = 0; i < n; i++) {
		s.info[i] = places[i].info;
		s.index[i] = places[i].index;
	}
	*ret = s;
	return 0;
}

int vhu_select(const struct vhu_conform_opts *o, const struct vhu_case_info *const *infos, size_t n,
	       enum vhu_device device, struct vhu_selection *ret, struct vhu_err *err)
{
	struct place *places = calloc(n + 1, sizeof(*places));
	size_t kept = 0;
	int code;

	if (!places)
		return vhu_err_errno(err, -ENOMEM, "cases");
	for (size_t i = 0; i < n; i++) {
		if (!selected(o, infos[i], device))
			continue;
		places[kept++] = (struct place){
			.info = infos[i], .index = i,
			.class = infos[i]->may_kill ? 2 : has_tag(infos[i], "smoke") ? 0 : 1,
		};
	}
	qsort(places, kept, sizeof(*places), compare_places);
	if (o->shuffle)
		shuffle(places, kept, o->seed);
	code = take_order(places, kept, ret, err);
	free(places);
	return code;
}

int vhu_select_set(const struct vhu_conform_opts *o, const struct vhu_case_set *set, enum vhu_device device,
		   struct vhu_selection *ret, struct vhu_err *err)
{
	size_t n = vhu_case_set_count(set);
	const struct vhu_case_info **infos = calloc(n + 1, sizeof(*infos));
	int code;

	if (!infos)
		return vhu_err_errno(err, -ENOMEM, "cases");
	for (size_t i = 0; i < n; i++)
		infos[i] = vhu_case_set_info(set, i);
	code = vhu_select(o, infos, n, device, ret, err);
	free(infos);
	return code;
}

enum vhu_device vhu_selection_device(const struct vhu_selection *s)
{
	enum vhu_device device = VHU_DEV_ANY;

	for (size_t i = 0; i < s->n; i++) {
		const struct vhu_case_info *info = s->info[i];

		if (info->n_devices == 0)
			continue;
		if (info->n_devices > 1 || (device != VHU_DEV_ANY && device != info->devices[0]))
			return VHU_DEV_ANY;
		device = info->devices[0];
	}
	return device;
}

/* --- --list ---------------------------------------------------------------------------------- */

enum vhu_level vhu_case_level(const struct vhu_case_info *info)
{
	static const int strength[VHU_LEVEL_MAX] = {
		[VHU_LEVEL_MUST] = 3, [VHU_LEVEL_SHOULD] = 2, [VHU_LEVEL_IMPLIED] = 1, [VHU_LEVEL_MAY] = 0,
	};
	enum vhu_level level = VHU_LEVEL_MAY;

	for (size_t i = 0; i < info->n_requirements; i++) {
		enum vhu_level l = vhu_req_row(info->requirements[i])->level;

		if (strength[l] > strength[level])
			level = l;
	}
	return level;
}

static void add_requirements(const struct vhu_case_info *info, struct vhu_buf *out)
{
	for (size_t i = 0; i < info->n_cites; i++)
		vhu_buf_printf(out, "%s%s", i ? "," : "", vhu_req_row(info->cites[i])->id);
}

void vhu_selection_list(const struct vhu_selection *s, struct vhu_buf *out)
{
	size_t id_width = 0, req_width = 0;
	struct vhu_buf reqs = {0};

	for (size_t i = 0; i < s->n; i++) {
		vhu_buf_reset(&reqs);
		add_requirements(s->info[i], &reqs);
		id_width = VHU_MAX(id_width, strlen(s->info[i]->id));
		req_width = VHU_MAX(req_width, reqs.len);
	}
	for (size_t i = 0; i < s->n; i++) {
		vhu_buf_reset(&reqs);
		add_requirements(s->info[i], &reqs);
		vhu_buf_printf(out, "%-*s  %-7s  %-*s  %s\n", (int)id_width, s->info[i]->id,
			       vhu_level_name(vhu_case_level(s->info[i])), (int)req_width,
			       vhu_buf_text(&reqs), s->info[i]->title);
	}
	vhu_buf_done(&reqs);
}
