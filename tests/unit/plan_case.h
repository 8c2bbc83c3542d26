/* Case files of a test: written into a folder of their own, loaded and compiled. */
#pragma once

#include <assert.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "plan/plan.h"

struct work {
	char dir[64];
	struct vhu_buf text;
	struct vhu_diags diags;
	struct vhu_case_set *set;
	struct vhu_err err;
};

/* Works in the folder, so that file names in errors are short and the same everywhere. */
static inline void work_start(struct work *w)
{
	memset(w, 0, sizeof(*w));
	strcpy(w->dir, "/tmp/vhu-plan-XXXXXX");
	w->diags.text = &w->text;
	if (!mkdtemp(w->dir) || chdir(w->dir) < 0)
		abort();
}

static inline int work_remove(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	return remove(path);
}

static inline void work_end(struct work *w)
{
	vhu_case_set_free(w->set);
	vhu_buf_done(&w->text);
	if (chdir("/") < 0 || nftw(w->dir, work_remove, 8, FTW_DEPTH | FTW_PHYS) < 0)
		abort();
}

/* The folder of a test that needs one. */
static struct work work;

static inline int work_set_up(void **state)
{
	work_start(&work);
	return 0;
}

static inline int work_tear_down(void **state)
{
	work_end(&work);
	return 0;
}

static inline void work_folder(const char *path)
{
	if (mkdir(path, 0777) < 0)
		abort();
}

static inline void work_bytes(const char *path, const void *bytes, size_t len)
{
	FILE *f = fopen(path, "w");

	if (!f || fwrite(bytes, 1, len, f) != len || fclose(f) != 0)
		abort();
}

static inline void work_write(const char *path, const char *text)
{
	work_bytes(path, text, strlen(text));
}

/* A case whose steps stand on line 4; `extra` are further keys of the top level, each with a comma behind it.
 */
static inline void work_case(const char *path, const char *start, const char *extra, const char *steps)
{
	FILE *f = fopen(path, "w");

	if (!f)
		abort();
	fprintf(f,
		"{\"title\": \"A title that is long\", \"why\": \"A reason that is long enough\", \"start\": "
		"\"%s\",\n"
		"\"requirements\": [\"HDR-01\", \"HDR-02\"], %s\n"
		"\"steps\": [\n%s\n]}\n",
		start, extra, steps);
	fclose(f);
}

static inline int work_load(struct work *w, const char *root, const char *path)
{
	vhu_case_set_free(w->set);
	w->set = NULL;
	vhu_buf_reset(&w->text);
	w->diags.errors = 0;
	return vhu_case_set_load(root, &path, 1, &w->set, &w->diags, &w->err);
}

/* A disk that offers a good deal, by a process of ours. */
static inline struct vhu_facts work_facts(void)
{
	struct vhu_facts f = {
		.known = true,
		.device = VHU_DEV_BLK,
		.features = VHU_V(VIRTIO_F_VERSION_1) | VHU_V(VHOST_USER_F_PROTOCOL_FEATURES) |
			    VHU_V(VHOST_F_LOG_ALL) | VHU_V(VIRTIO_RING_F_INDIRECT_DESC) |
			    VHU_V(VIRTIO_BLK_F_MQ) | VHU_V(VIRTIO_BLK_F_FLUSH) |
			    VHU_V(VIRTIO_BLK_F_CONFIG_WCE) | VHU_V(VIRTIO_F_IN_ORDER),
		.pfeatures = VHU_P(MQ) | VHU_P(REPLY_ACK) | VHU_P(CONFIG) | VHU_P(BACKEND_REQ) |
			     VHU_P(LOG_SHMFD) | VHU_P(CONFIGURE_MEM_SLOTS) | VHU_P(INFLIGHT_SHMFD) |
			     VHU_P(PAGEFAULT),
		.queue_num = 4,
		.queues = 4,
		.mem_slots = 32,
		.config_size = 60,
		.capacity = 131072,
		.spawn = true,
		.image = true,
		.hugetlb = true,
	};

	f.config[1] = 2;  /* capacity: 512 … */
	f.config[34] = 4; /* num_queues */
	return f;
}
