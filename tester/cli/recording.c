#include "recording.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

char *vhu_recording_path(const char *dir, const char *id)
{
	struct vhu_buf path = {0};

	vhu_buf_printf(&path, "%s/%s.pcap", dir, id);
	return vhu_buf_steal(&path);
}

/* The folders that the file lies in. */
static int make_folders(char *path, struct vhu_err *err)
{
	for (char *at = strchr(path + 1, '/'); at; at = strchr(at + 1, '/')) {
		*at = '\0';
		if (mkdir(path, 0777) < 0 && errno != EEXIST)
			return vhu_err_errno(err, -errno, "%s", path);
		*at = '/';
	}
	return 0;
}

int vhu_recording_open(const char *dir, const char *id, unsigned level, const struct vhu_facts *facts,
		       struct vhu_trace_writer **ret, struct vhu_err *err)
{
	_cleanup_(vhu_freep) char *path = vhu_recording_path(dir, id);
	struct vhu_trace_meta meta = {.level = level, .tool = "vhu-conform " VHU_VERSION};
	char target[256];
	int rc;

	if (!path)
		return vhu_err_errno(err, -ENOMEM, "%s", id);
	snprintf(target, sizeof(target),
		 "{\"device\":\"%s\",\"features\":\"0x%" PRIx64 "\",\"protocol_features\":\"0x%" PRIx64
		 "\",\"queues\":%u,\"config_size\":%zu}",
		 facts->device < VHU_DEV_MAX ? vhu_device_row(facts->device)->name : "",
		 facts->features, facts->pfeatures, facts->queues,
		 facts->config_size);
	meta.target = target;
	rc = make_folders(path, err);
	return rc < 0 ? rc : vhu_trace_writer_new(path, &meta, ret, err);
}
