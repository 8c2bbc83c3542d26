#include "target_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

static const uint64_t default_timeout_ns = UINT64_C(10000000000);
/* A large program whose files have to come from a slow disk. */
static const uint64_t default_start_ns = UINT64_C(60000000000);
static const uint64_t default_image_size = UINT64_C(64) << 20;
/* Address space that only a sanitizer's shadow memory takes. */
enum { SHADOW_KIB = 1 << 30 };

/* --- options --------------------------------------------------------------------------------- */

static int out_of_memory(struct vhu_err *err)
{
	return vhu_err_set(err, -ENOMEM, "target: out of memory");
}

static int check_socket_path(const char *path, const char *advice, struct vhu_err *err)
{
	return vhu_unix_check(path, advice, err) < 0 ? vhu_err_prefix(err, "target") : 0;
}

/* A folder of our own, so that names can be plain and several targets do not meet. */
static int make_dir(struct vhu_target *t, const char *parent, struct vhu_err *err)
{
	char real[PATH_MAX];

	if (!parent)
		parent = getenv("TMPDIR");
	if (!parent || !*parent)
		parent = "/tmp";
	if (!realpath(parent, real))
		return vhu_err_errno(err, -errno, "target: cannot use '%s' for sockets and images", parent);

	char *dir = vhu_arena_printf(t->arena, "%s/vhu-XXXXXX", real);

	if (!dir)
		return out_of_memory(err);
	if (!mkdtemp(dir))
		return vhu_err_errno(err, -errno, "target: cannot make a folder in '%s'", real);
	t->dir = dir;
	t->socket = vhu_arena_printf(t->arena, "%s/socket", dir);
	t->image_path = vhu_arena_printf(t->arena, "%s/image", dir);
	if (!t->socket || !t->image_path)
		return out_of_memory(err);
	return check_socket_path(t->socket, "set TMPDIR to a shorter one", err);
}

static int make_image(struct vhu_target *t, uint64_t size, struct vhu_err *err)
{
	int fd = open(t->image_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int r = 0;

	if (!size)
		size = default_image_size;
	t->image_size = size;
	if (fd < 0)
		return vhu_err_errno(err, -errno, "target: cannot make the image '%s'", t->image_path);
	if (size > INT64_MAX || ftruncate(fd, (off_t)size) < 0)
		r = vhu_err_errno(err, size > INT64_MAX ? -EFBIG : -errno,
				  "target: cannot give the image '%s' a size of %llu bytes", t->image_path,
				  (unsigned long long)size);
	close(fd);
	return r;
}

char *vhu_target_expand(struct vhu_target *t, const char *word, const char *image)
{
	const struct {
		const char *name, *value;
	} holders[] = {
		{"{socket}", t->socket},
		{"{image}", image},
		{"{fd}", "3"},
	};
	struct vhu_buf out = {0};
	char *text;

	_Static_assert(CHILD_INHERITED_FD == 3, "the text of {fd}");
	while (*word) {
		size_t i = 0, len = 0;

		for (; i < VHU_ARRAY_SIZE(holders); i++) {
			len = strlen(holders[i].name);
			if (strncmp(word, holders[i].name, len) == 0)
				break;
		}
		if (i < VHU_ARRAY_SIZE(holders))
			vhu_buf_puts(&out, holders[i].value);
		else
			vhu_buf_add(&out, word, len = 1);
		word += len;
	}
	text = out.failed ? NULL : vhu_arena_strdup(t->arena, vhu_buf_text(&out));
	vhu_buf_done(&out);
	return text;
}

/* What the user's text shows that it wants of us. */
static void look_for_names(struct vhu_target *t, const char *text)
{
	if (strstr(text, "{fd}"))
		t->inherits_socket = true;
	if (strstr(text, "{fd}") || strstr(text, "{socket}") || strstr(text, "VHU_SOCKET"))
		t->names_socket = true;
	if (strstr(text, "{image}") || strstr(text, "VHU_IMAGE"))
		t->image = t->image_path;
}

static int fill_argv(struct vhu_target *t, const char *const *words, struct vhu_err *err)
{
	size_t n = 0;

	while (words[n])
		n++;
	if (!n || !*words[0])
		return vhu_err_set(err, -EINVAL, "target: the command to start is empty");
	t->argv = vhu_arena_array(t->arena, n + 1, sizeof(*t->argv));
	t->words = vhu_arena_array(t->arena, n + 1, sizeof(*t->words));
	if (!t->argv || !t->words)
		return out_of_memory(err);
	for (size_t i = 0; i < n; i++) {
		t->words[i] = vhu_arena_strdup(t->arena, words[i]);
		t->argv[i] = vhu_target_expand(t, words[i], t->image_path);
		if (!t->words[i] || !t->argv[i])
			return out_of_memory(err);
		look_for_names(t, words[i]);
	}
	t->program = strrchr(t->argv[0], '/') ? strrchr(t->argv[0], '/') + 1 : t->argv[0];
	return 0;
}

static bool names_variable(const char *entry, const char *name)
{
	size_t len = strlen(name);

	return strncmp(entry, name, len) == 0 && entry[len] == '=';
}

static int fill_envp(struct vhu_target *t, struct vhu_err *err)
{
	size_t n = 0, kept = 0;

	while (environ[n])
		n++;
	t->envp = vhu_arena_array(t->arena, n + 3, sizeof(*t->envp));
	if (!t->envp)
		return out_of_memory(err);
	for (size_t i = 0; i < n; i++) {
		if (names_variable(environ[i], "VHU_SOCKET") || names_variable(environ[i], "VHU_IMAGE"))
			continue;
		t->envp[kept] = vhu_arena_strdup(t->arena, environ[i]);
		if (!t->envp[kept++])
			return out_of_memory(err);
	}
	t->envp[kept] = vhu_arena_printf(t->arena, "VHU_SOCKET=%s", t->socket);
	t->envp[kept + 1] = vhu_arena_printf(t->arena, "VHU_IMAGE=%s", t->image_path);
	return t->envp[kept] && t->envp[kept + 1] ? 0 : out_of_memory(err);
}

static int prepare_spawn(struct vhu_target *t, const struct vhu_target_opts *opts, struct vhu_err *err)
{
	char **words = NULL;
	size_t n;
	int r;

	if (!opts->argv && !opts->command)
		return vhu_err_set(err, -EINVAL, "target: no command to start");
	if (!opts->argv) {
		r = vhu_words_split(opts->command, &words, &n, err);
		if (r < 0)
			return r;
	}
	r = make_dir(t, opts->dir, err);
	if (r == 0)
		r = fill_argv(t, opts->argv ? opts->argv : (const char *const *)words, err);
	vhu_words_free(words);
	if (r < 0)
		return r;
	if (opts->after_start) {
		t->after_start = vhu_arena_strdup(t->arena, opts->after_start);
		if (!t->after_start)
			return out_of_memory(err);
		if (strstr(t->after_start, "VHU_IMAGE"))
			t->image = t->image_path;
	}
	r = make_image(t, opts->image_size, err);
	return r < 0 ? r : fill_envp(t, err);
}

static int prepare(struct vhu_target *t, const struct vhu_target_opts *opts, struct vhu_err *err)
{
	int r;

	if (opts->how == VHU_TARGET_SPAWN)
		return prepare_spawn(t, opts, err);
	if (!opts->socket)
		return vhu_err_set(err, -EINVAL, "target: no socket to %s",
				   opts->how == VHU_TARGET_LISTEN ? "listen on" : "connect to");
	r = check_socket_path(opts->socket, "use a shorter one, or a relative one", err);
	if (r < 0)
		return r;
	t->socket = vhu_arena_strdup(t->arena, opts->socket);
	return t->socket ? 0 : out_of_memory(err);
}

/* --- its end --------------------------------------------------------------------------------- */

void vhu_target_set_name(struct vhu_target *t)
{
	if (t->how != VHU_TARGET_SPAWN)
		snprintf(t->name, sizeof(t->name), "%s", t->socket);
	else if (vhu_child_running(&t->child))
		snprintf(t->name, sizeof(t->name), "%s (pid %d)", t->program, (int)t->child.pid);
	else
		snprintf(t->name, sizeof(t->name), "%s", t->program);
}

void vhu_target_clear_exit(struct vhu_target *t)
{
	free(t->exit.stderr_tail);
	t->exit = (struct vhu_exit){0};
}

static bool orderly(const struct vhu_target *t)
{
	return WIFEXITED(t->exit.status) && !t->child.tail.report[0];
}

/* A crash on the way out of our TERM is a crash; what a sanitizer reports is never as expected. */
static bool expected(const struct vhu_target *t)
{
	int by = WIFSIGNALED(t->exit.status) ? WTERMSIG(t->exit.status) : 0;

	if (by)
		return t->expect_exit && (by == t->sent_signal || by == SIGKILL);
	return orderly(t) && (t->expect_exit || t->one_shot);
}

static void on_child_ended(void *ctx)
{
	struct vhu_target *t = ctx;

	vhu_close(&t->ready_fd);
	free(t->exit.stderr_tail);
	t->exit.stderr_tail = vhu_tail_text(&t->child.tail);
	t->exit.exited = true;
	t->exit.status = t->child.status;
	t->exit.in_order = orderly(t);
	t->exit.expected = expected(t);
	vhu_child_describe_end(&t->child, t->exit.what, sizeof(t->exit.what));
	vhu_target_set_name(t);
	if (t->on_exit)
		t->on_exit(t->on_exit_ctx);
}

static void expect_signal(struct vhu_target *t, int signal)
{
	t->expect_exit = true;
	t->sent_signal = signal;
}

void vhu_target_stop(struct vhu_target *t)
{
	vhu_child_check(&t->child);
	if (!vhu_child_running(&t->child))
		return;
	expect_signal(t, SIGTERM);
	vhu_child_stop(&t->child);
}

int vhu_target_signal(struct vhu_target *t, int signal, bool is_expected, struct vhu_err *err)
{
	int r;

	vhu_child_check(&t->child);
	if (!vhu_child_running(&t->child))
		return vhu_err_set(err, -ESRCH, "cannot send signal %d to %s: it does not run", signal,
				   t->name);
	if (is_expected)
		expect_signal(t, signal);
	r = vhu_child_signal(&t->child, signal);
	return r < 0 ? vhu_err_errno(err, r, "cannot send signal %d to %s", signal, t->name) : 0;
}

static bool has_ended(void *ctx)
{
	struct vhu_target *t = ctx;

	return !vhu_child_running(&t->child);
}

int vhu_target_await_exit(struct vhu_target *t, uint64_t deadline_ns, struct vhu_err *err)
{
	int r;

	if (t->how != VHU_TARGET_SPAWN)
		return vhu_err_set(err, -EINVAL, "cannot wait for the end of %s: we did not start it",
				   t->name);
	r = vhu_loop_run_until(t->loop, has_ended, t, deadline_ns, false, err);
	return r == -ETIME ? vhu_err_set(err, r, "%s did not end in time", t->name) : r;
}

/* --- life ------------------------------------------------------------------------------------ */

int vhu_target_new(struct vhu_loop *loop, const struct vhu_target_opts *opts, struct vhu_target **ret,
		   struct vhu_err *err)
{
	struct vhu_target *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return out_of_memory(err);
	t->loop = loop;
	t->how = opts->how;
	t->one_shot = t->one_shot_asked = opts->one_shot;
	t->timeout_ns = opts->timeout_ns ? opts->timeout_ns : default_timeout_ns;
	t->start_ns = opts->start_ns ? opts->start_ns : VHU_MAX(t->timeout_ns, default_start_ns);
	t->listen_fd = t->ready_fd = -1;
	vhu_child_init(&t->child, loop, on_child_ended, t);
	vhu_child_init(&t->helper, loop, NULL, NULL);
	t->arena = vhu_arena_new();
	r = t->arena ? prepare(t, opts, err) : out_of_memory(err);
	if (r < 0) {
		vhu_target_free(t);
		return r;
	}
	vhu_target_set_name(t);
	*ret = t;
	return 0;
}

void vhu_target_free(struct vhu_target *t)
{
	if (!t)
		return;
	t->on_exit = NULL;
	vhu_child_stop(&t->helper);
	vhu_child_stop(&t->child);
	vhu_close(&t->ready_fd);
	if (t->listen_fd >= 0)
		unlink(t->socket);
	vhu_close(&t->listen_fd);
	if (t->dir) {
		if (t->socket)
			unlink(t->socket);
		if (t->image_path)
			unlink(t->image_path);
		rmdir(t->dir);
	}
	free(t->exit.stderr_tail);
	vhu_arena_free(t->arena);
	free(t);
}

void vhu_target_on_exit(struct vhu_target *t, void (*cb)(void *ctx), void *ctx)
{
	t->on_exit = cb;
	t->on_exit_ctx = ctx;
}

/* --- questions ------------------------------------------------------------------------------- */

bool vhu_target_spawned(const struct vhu_target *t)
{
	return t->how == VHU_TARGET_SPAWN;
}

bool vhu_target_running(const struct vhu_target *t)
{
	return vhu_child_running(&t->child);
}

pid_t vhu_target_pid(const struct vhu_target *t)
{
	return t->child.pid;
}

bool vhu_target_one_shot(const struct vhu_target *t)
{
	return t->one_shot;
}

void vhu_target_answered(struct vhu_target *t)
{
	if (++t->answered < 2)
		return;
	t->lives_on = !t->one_shot_asked;
	t->one_shot = t->one_shot_asked;
}

void vhu_target_set_one_shot(struct vhu_target *t)
{
	t->one_shot = !t->lives_on;
	if (t->exit.exited)
		t->exit.expected = expected(t);
}

const struct vhu_exit *vhu_target_exit(const struct vhu_target *t)
{
	return &t->exit;
}

int vhu_target_fd_count(const struct vhu_target *t)
{
	char path[64];
	int n = 0;
	DIR *dir;

	if (!vhu_child_running(&t->child))
		return -1;
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)t->child.pid);
	dir = opendir(path);
	if (!dir)
		return -1;
	for (const struct dirent *entry; (entry = readdir(dir));)
		n += entry->d_name[0] != '.';
	closedir(dir);
	return n;
}

int vhu_target_map_count(const struct vhu_target *t)
{
	_cleanup_(vhu_fclosep) FILE *maps = NULL;
	char path[64], line[512], perms[5];
	int n = 0;

	if (!vhu_child_running(&t->child))
		return -1;
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)t->child.pid);
	maps = fopen(path, "re");
	if (!maps)
		return -1;
	while (fgets(line, sizeof(line), maps))
		n += sscanf(line, "%*s %4s", perms) == 1 && perms[3] == 's';
	return n;
}

/* A number of /proc/PID/status. */
static long status_kib(FILE *status, const char *key)
{
	char line[256];
	long kib;

	rewind(status);
	while (fgets(line, sizeof(line), status))
		if (!strncmp(line, key, strlen(key)) && sscanf(line + strlen(key), ":%ld kB", &kib) == 1)
			return kib;
	return -1;
}

long vhu_target_heap_kib(const struct vhu_target *t)
{
	_cleanup_(vhu_fclosep) FILE *status = NULL;
	char path[64];

	if (!vhu_child_running(&t->child))
		return -1;
	snprintf(path, sizeof(path), "/proc/%d/status", (int)t->child.pid);
	status = fopen(path, "re");
	if (!status || status_kib(status, "VmSize") > SHADOW_KIB)
		return -1;
	return status_kib(status, "RssAnon");
}

const char *vhu_target_name(const struct vhu_target *t)
{
	return t->name;
}

const char *vhu_target_socket(const struct vhu_target *t)
{
	return t->socket;
}

const char *vhu_target_image(const struct vhu_target *t)
{
	return t->image;
}

uint64_t vhu_target_image_size(const struct vhu_target *t)
{
	return t->image ? t->image_size : 0;
}

int vhu_target_grow_image(struct vhu_target *t, uint64_t by, struct vhu_err *err)
{
	uint64_t size;

	if (!t->image)
		return vhu_err_set(err, -ENOTSUP, "%s has no image of ours", t->name);
	if (__builtin_add_overflow(t->image_size, by, &size) || size > INT64_MAX)
		return vhu_err_set(err, -EFBIG, "the image cannot grow by %llu bytes",
				   (unsigned long long)by);
	if (truncate(t->image, (off_t)size) < 0)
		return vhu_err_errno(err, -errno, "the image cannot grow to %llu bytes",
				     (unsigned long long)size);
	t->image_grown = true;
	return 0;
}

int vhu_target_restore_image(struct vhu_target *t, struct vhu_err *err)
{
	if (!t->image_grown)
		return 0;
	vhu_target_stop(t);
	t->image_grown = false;
	return truncate(t->image, (off_t)t->image_size) < 0
		       ? vhu_err_errno(err, -errno, "the image does not get its size back")
		       : 0;
}
