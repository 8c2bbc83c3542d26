/*
 * How busy a spawned target's threads are, by the kernel's own accounts: the time that a thread ran, and the
 * time that it was ready to run and had to wait. The sum tells a loop that never sleeps from one that does,
 * however loaded the machine is.
 */
#include "channel/runtime.h"

#include <ctype.h>
#include <dirent.h>
#include <string.h>

#include "target_priv.h"

static bool read_line(const char *path, char *line, size_t cap)
{
	_cleanup_(vhu_fclosep) FILE *file = fopen(path, "re");

	return file && fgets(line, (int)cap, file);
}

static bool look_at(const char *task, const char *tid, struct vhu_runtime *out)
{
	struct vhu_runtime_thread *t = &out->thread[out->n];
	unsigned long long ran, waited;
	char path[320], line[512];
	const char *behind;

	snprintf(path, sizeof(path), "%s/%.20s/schedstat", task, tid);
	if (!read_line(path, line, sizeof(line)) || sscanf(line, "%llu %llu", &ran, &waited) != 2)
		return false;
	snprintf(path, sizeof(path), "%s/%.20s/stat", task, tid);
	if (!read_line(path, line, sizeof(line)))
		return false;
	behind = strrchr(line, ')');
	*t = (struct vhu_runtime_thread){.tid = atoi(tid),
					 .ran_ns = ran,
					 .ready_ns = ran + waited,
					 .ready = behind && !strncmp(behind, ") R", 3)};
	out->n++;
	return true;
}

bool vhu_target_runtime(const struct vhu_target *t, struct vhu_runtime *ret)
{
	char task[64];
	DIR *dir;

	*ret = (struct vhu_runtime){.at_ns = vhu_now_ns()};
	if (!vhu_child_running(&t->child))
		return false;
	snprintf(task, sizeof(task), "/proc/%d/task", (int)t->child.pid);
	dir = opendir(task);
	if (!dir)
		return false;
	for (const struct dirent *e; ret->n < VHU_RUNTIME_THREADS && (e = readdir(dir));)
		if (isdigit((unsigned char)e->d_name[0]))
			look_at(task, e->d_name, ret);
	closedir(dir);
	return ret->n > 0;
}

static const struct vhu_runtime_thread *thread_of(const struct vhu_runtime *r, int tid)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->thread[i].tid == tid)
			return &r->thread[i];
	return NULL;
}

/* The most that one thread's account grew. */
static uint64_t most(const struct vhu_runtime *from, const struct vhu_runtime *to, bool ran_only)
{
	uint64_t most = 0;

	for (size_t i = 0; i < to->n; i++) {
		const struct vhu_runtime_thread *b = &to->thread[i], *a = thread_of(from, b->tid);
		uint64_t was = !a ? UINT64_MAX : ran_only ? a->ran_ns : a->ready_ns;
		uint64_t is = ran_only ? b->ran_ns : b->ready_ns;

		if (is > was)
			most = VHU_MAX(most, is - was);
	}
	return most;
}

unsigned vhu_runtime_busiest(const struct vhu_runtime *from, const struct vhu_runtime *to)
{
	uint64_t span = to->at_ns > from->at_ns ? to->at_ns - from->at_ns : 1;

	return (unsigned)(most(from, to, false) * 100 / span);
}

uint64_t vhu_runtime_ran(const struct vhu_runtime *from, const struct vhu_runtime *to)
{
	return most(from, to, true);
}

bool vhu_runtime_ready(const struct vhu_runtime *r)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->thread[i].ready)
			return true;
	return false;
}
