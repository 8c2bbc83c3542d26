#include "jsonfile.h"

#include <errno.h>
#include <string.h>

#include "base/json_pos.h"

enum { SIZE_MAX_BYTES = 16 << 20 };

static int read_text(struct vhu_jsonfile *f, struct vhu_err *err)
{
	_cleanup_(vhu_fclosep) FILE *file = fopen(f->path, "re");
	char chunk[4096];
	size_t n;

	if (!file)
		return vhu_err_errno(err, -errno, "%s", f->path);
	while ((n = fread(chunk, 1, sizeof(chunk), file)) > 0 && f->text.len <= SIZE_MAX_BYTES)
		vhu_buf_add(&f->text, chunk, n);
	if (ferror(file))
		return vhu_err_errno(err, -EIO, "%s", f->path);
	if (f->text.len > SIZE_MAX_BYTES)
		return vhu_err_set(err, -EINVAL, "%s: larger than %d MiB", f->path, SIZE_MAX_BYTES >> 20);
	return f->text.failed ? vhu_err_errno(err, -ENOMEM, "%s", f->path) : 0;
}

int vhu_jsonfile_wrong(const struct vhu_jsonfile *f, const char *path, const char *what, struct vhu_err *err)
{
	struct vhu_json_pos pos = {1, 1};

	vhu_json_find(f->text.data, f->text.len, path, false, &pos);
	return vhu_err_set(err, -EINVAL, "%s:%u:%u: %s: %s", f->path, pos.line, pos.column, path, what);
}

void vhu_jsonfile_add_key(struct vhu_buf *out, const char *key)
{
	vhu_buf_puts(out, "/");
	for (; *key; key++) {
		if (*key == '~' || *key == '/')
			vhu_buf_puts(out, *key == '~' ? "~0" : "~1");
		else
			vhu_buf_add(out, key, 1);
	}
}

static int parse(struct vhu_jsonfile *f, const char *format, struct vhu_err *err)
{
	json_error_t e;
	const char *is;
	char what[80];

	f->root = json_loadb(vhu_buf_text(&f->text), f->text.len, JSON_REJECT_DUPLICATES, &e);
	if (!f->root)
		return vhu_err_set(err, -EINVAL, "%s:%d:%d: %s", f->path, e.line, e.column, e.text);
	is = json_string_value(json_object_get(f->root, "format"));
	snprintf(what, sizeof(what), "has to be \"%s\"", format);
	if (!is || strcmp(is, format))
		return vhu_jsonfile_wrong(f, "/format", what, err);
	if (json_integer_value(json_object_get(f->root, "version")) != 1)
		return vhu_jsonfile_wrong(f, "/version", "has to be 1", err);
	return 0;
}

int vhu_jsonfile_read(const char *path, const char *format, struct vhu_jsonfile *ret, struct vhu_err *err)
{
	struct vhu_jsonfile f = {.path = path};
	int code = read_text(&f, err);

	if (code == 0)
		code = parse(&f, format, err);
	if (code < 0)
		vhu_jsonfile_done(&f);
	else
		*ret = f;
	return code;
}

void vhu_jsonfile_done(struct vhu_jsonfile *f)
{
	json_decref(f->root);
	vhu_buf_done(&f->text);
	*f = (struct vhu_jsonfile){0};
}

static int write_file(const char *text, const char *path)
{
	struct vhu_buf temporary = {0};
	int code = 0;
	FILE *f;

	vhu_buf_printf(&temporary, "%s.new", path);
	if (temporary.failed)
		return -ENOMEM;
	f = fopen(temporary.data, "we");
	if (!f || fprintf(f, "%s\n", text) < 0)
		code = -errno;
	if (f && fclose(f) && code == 0)
		code = -errno;
	if (code == 0 && rename(temporary.data, path))
		code = -errno;
	if (code < 0 && f)
		unlink(temporary.data);
	vhu_buf_done(&temporary);
	return code;
}

int vhu_jsonfile_write(const json_t *root, const char *path, size_t flags, struct vhu_err *err)
{
	_cleanup_(vhu_freep) char *text = json_dumps(root, flags);
	int code = 0;

	if (!text)
		code = -ENOMEM;
	else if (strcmp(path, "-"))
		code = write_file(text, path);
	else if (printf("%s\n", text) < 0 || fflush(stdout))
		code = -errno;
	return code < 0 ? vhu_err_errno(err, code, "%s", strcmp(path, "-") ? path : "standard output") : 0;
}
