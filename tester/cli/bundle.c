#include "bundle.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <string.h>
#include <sys/stat.h>

#include "recording.h"

static char *join(const char *dir, const char *name)
{
	struct vhu_buf path = {0};

	vhu_buf_printf(&path, "%s/%s", dir, name);
	return vhu_buf_steal(&path);
}

int vhu_bundle_begin(struct vhu_conform_opts *o, struct vhu_bundle *ret, struct vhu_err *err)
{
	const char *tmp = getenv("TMPDIR");

	if (!o->bundle)
		return 0;
	ret->dir = join(tmp && *tmp ? tmp : "/tmp", "vhu-bundle-XXXXXX");
	if (!ret->dir)
		return vhu_err_errno(err, -ENOMEM, "--bundle");
	if (!mkdtemp(ret->dir)) {
		int code = vhu_err_errno(err, -errno, "%s", ret->dir);

		free(ret->dir);
		ret->dir = NULL;
		return code;
	}
	ret->report = join(ret->dir, "report.json");
	if (!ret->report)
		return vhu_err_errno(err, -ENOMEM, "--bundle");
	if (!o->record)
		o->record = ret->dir;
	ret->path = o->bundle;
	ret->sessions = o->record;
	return 0;
}

/* The session of a case that went well, which nobody asked to keep. */
static int forget(const struct vhu_bundle *b, const char *id, struct vhu_err *err)
{
	_cleanup_(vhu_freep) char *path = NULL;

	if (b->sessions != b->dir)
		return 0;
	path = vhu_recording_path(b->dir, id);
	if (!path)
		return vhu_err_errno(err, -ENOMEM, "--bundle");
	return unlink(path) < 0 && errno != ENOENT ? vhu_err_errno(err, -errno, "%s", path) : 0;
}

int vhu_bundle_case(struct vhu_bundle *b, const struct vhu_outcome *o, struct vhu_err *err)
{
	char **grown;

	if (!b->dir)
		return 0;
	if (o->verdict != VHU_FAIL && o->verdict != VHU_BROKEN)
		return forget(b, o->result.id, err);
	grown = realloc(b->failed, (b->n_failed + 1) * sizeof(*grown));
	if (grown) {
		b->failed = grown;
		b->failed[b->n_failed] = strdup(o->result.id);
	}
	if (!grown || !b->failed[b->n_failed])
		return vhu_err_errno(err, -ENOMEM, "--bundle");
	b->n_failed++;
	return 0;
}

/* --- the archive ------------------------------------------------------------------------------------ */

static int archive_error(struct archive *a, const char *what, struct vhu_err *err)
{
	int code = archive_errno(a);

	return vhu_err_set(err, code > 0 ? -code : -EIO, "%s: %s", what, archive_error_string(a));
}

static int copy_content(struct archive *a, int fd, const char *path, struct vhu_err *err)
{
	char bytes[65536];
	ssize_t n;

	while ((n = read(fd, bytes, sizeof(bytes))) > 0)
		if (archive_write_data(a, bytes, (size_t)n) < 0)
			return archive_error(a, path, err);
	return n < 0 ? vhu_err_errno(err, -errno, "%s", path) : 0;
}

/* Adds a file under a name. One that is not there (a case that had no session) is left out. */
static int add(struct archive *a, const char *path, const char *name, struct vhu_err *err)
{
	struct archive_entry *entry;
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC), rc;

	if (fd < 0)
		return errno == ENOENT ? 0 : vhu_err_errno(err, -errno, "%s", path);
	entry = archive_entry_new();
	if (!entry || fstat(fd, &st) < 0) {
		rc = vhu_err_errno(err, entry ? -errno : -ENOMEM, "%s", path);
	} else {
		archive_entry_set_pathname(entry, name);
		archive_entry_set_size(entry, st.st_size);
		archive_entry_set_filetype(entry, AE_IFREG);
		archive_entry_set_perm(entry, 0644);
		archive_entry_set_mtime(entry, st.st_mtime, 0);
		rc = archive_write_header(a, entry) < ARCHIVE_OK ? archive_error(a, path, err)
								 : copy_content(a, fd, path, err);
	}
	archive_entry_free(entry);
	close(fd);
	return rc;
}

static int add_sessions(struct archive *a, const struct vhu_bundle *b, struct vhu_err *err)
{
	int rc = 0;

	for (size_t i = 0; i < b->n_failed && rc == 0; i++) {
		_cleanup_(vhu_freep) char *path = vhu_recording_path(b->sessions, b->failed[i]);
		_cleanup_(vhu_freep) char *name = vhu_recording_path("sessions", b->failed[i]);

		rc = path && name ? add(a, path, name, err) : vhu_err_errno(err, -ENOMEM, "--bundle");
	}
	return rc;
}

int vhu_bundle_write(const struct vhu_bundle *b, struct vhu_err *err)
{
	struct archive *a;
	int rc = 0;

	if (!b->dir)
		return 0;
	a = archive_write_new();
	if (!a)
		return vhu_err_errno(err, -ENOMEM, "--bundle");
	if (archive_write_set_format_pax_restricted(a) < ARCHIVE_OK ||
	    archive_write_open_filename(a, b->path) < ARCHIVE_OK)
		rc = archive_error(a, b->path, err);
	if (rc == 0)
		rc = add(a, b->report, "report.json", err);
	if (rc == 0)
		rc = add_sessions(a, b, err);
	if (rc == 0 && archive_write_close(a) < ARCHIVE_OK)
		rc = archive_error(a, b->path, err);
	archive_write_free(a);
	return rc;
}

/* --- the folder ------------------------------------------------------------------------------------- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
	return remove(path);
}

void vhu_bundle_done(struct vhu_bundle *b)
{
	if (b->dir)
		nftw(b->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	for (size_t i = 0; i < b->n_failed; i++)
		free(b->failed[i]);
	free(b->failed);
	free(b->dir);
	free(b->report);
	*b = (struct vhu_bundle){0};
}
