#include "cli/resources.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <string.h>

/* What a spawned target has open on our side while it runs, at most. */
static const struct { const char *kind; size_t most; } of_target[] = {
	{"anon_inode:[pidfd]", 1},
	{"pipe", 1},			/* its output */
	{"socket", 2},			/* the one it listens on, and the first connection */
};

void vhu_resources_done(struct vhu_resources *r)
{
	for (size_t i = 0; i < r->n; i++)
		free(r->kinds[i]);
	free(r->kinds);
	*r = (struct vhu_resources){0};
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* "socket:[123]" is a socket whatever its number. */
static int add_kind(struct vhu_resources *r, const char *link)
{
	char **kinds = reallocarray(r->kinds, r->n + 1, sizeof(*kinds));
	bool numbered = !strncmp(link, "socket:", 7) || !strncmp(link, "pipe:", 5);

	if (!kinds)
		return -ENOMEM;
	r->kinds = kinds;
	kinds[r->n] = numbered ? strndup(link, strcspn(link, ":")) : strdup(link);
	return kinds[r->n++] ? 0 : -ENOMEM;
}

static int take_fds(struct vhu_resources *r)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	int code = 0;

	r->known = dir != NULL;
	while (dir && code == 0 && (entry = readdir(dir))) {
		char link[PATH_MAX];
		ssize_t len;

		if (entry->d_name[0] == '.' || atoi(entry->d_name) == dirfd(dir))
			continue;
		len = readlinkat(dirfd(dir), entry->d_name, link, sizeof(link) - 1);
		if (len < 0)
			continue;
		link[len] = '\0';
		code = add_kind(r, link);
	}
	if (dir)
		closedir(dir);
	return code;
}

/* Private mappings come and go with malloc and the loader; ours that matter are shared. */
static void take_mappings(struct vhu_resources *r)
{
	_cleanup_(vhu_fclosep) FILE *f = fopen("/proc/self/maps", "re");
	char line[PATH_MAX + 128];

	while (f && fgets(line, sizeof(line), f)) {
		const char *flags = strchr(line, ' ');

		if (flags && strlen(flags) > 5 && flags[4] == 's')
			r->mappings++;
	}
}

int vhu_resources_take(struct vhu_resources *ret)
{
	struct vhu_resources r = {0};
	int code = take_fds(&r);

	if (code < 0) {
		vhu_resources_done(&r);
		return code;
	}
	if (r.n)
		qsort(r.kinds, r.n, sizeof(*r.kinds), compare);
	take_mappings(&r);
	*ret = r;
	return 0;
}

static size_t count(const struct vhu_resources *r, const char *kind)
{
	size_t n = 0;

	for (size_t i = 0; i < r->n; i++)
		n += !strcmp(r->kinds[i], kind);
	return n;
}

/* How many of a kind may be there at the end. */
static size_t allowance(const struct vhu_resources *before, const struct vhu_resources *idle,
			const char *kind)
{
	size_t n = count(before, kind);

	for (size_t i = 0; idle && i < VHU_ARRAY_SIZE(of_target); i++)
		if (!strcmp(of_target[i].kind, kind))
			return VHU_MAX(n, count(idle, kind) + of_target[i].most);
	return n;
}

void vhu_resources_compare(const struct vhu_resources *before, const struct vhu_resources *after,
			   const struct vhu_resources *idle, struct vhu_buf *out)
{
	if (!before->known || !after->known)
		return;
	for (size_t i = 0; i < after->n; i++) {
		const char *kind = after->kinds[i];
		size_t have, may;

		if (i && !strcmp(kind, after->kinds[i - 1]))
			continue;
		have = count(after, kind);
		may = allowance(before, idle, kind);
		if (have > may)
			vhu_buf_printf(out, "%s%zu more of %s", out->len ? ", " : "", have - may, kind);
	}
	if (after->mappings > before->mappings)
		vhu_buf_printf(out, "%s%zu more shared mappings", out->len ? ", " : "",
			       after->mappings - before->mappings);
}
