#include "cli/target_options.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "channel/target.h"

#define ROW(member) .offset = offsetof(struct vhu_target_cli, member)
#define GROUP "Target (one of the first four)"

enum { REFERENCE_QUEUES = 4 };

static const uint64_t ms = 1000000;

/* --- values that are no plain text or number -------------------------------------------------- */

static const char *fault_at(void *ctx, size_t i)
{
	const struct vhu_fault_row *row = vhu_fault_row(i);

	return row ? row->id : NULL;
}

static int set_reference(void *opts, const char *arg, struct vhu_err *err)
{
	struct vhu_target_cli *t = opts;

	t->reference = true;
	if (arg && !vhu_fault_by_id(arg)) {
		const char *near = vhu_nearest_name(arg, fault_at, NULL);

		return vhu_err_set(err, -EINVAL, near ? "there is no fault '%s'\n  did you mean '%s'?" :
				   "there is no fault '%s'%s", arg, near ? near : "");
	}
	t->fault = arg;
	return 0;
}

static int set_device(void *opts, const char *arg, struct vhu_err *err)
{
	struct vhu_target_cli *t = opts;

	t->device = VHU_DEV_ANY;
	return strcmp(arg, "auto") ? vhu_device_option(arg, "auto", &t->device, err) : 0;
}

static int set_memory(void *opts, const char *arg, struct vhu_err *err)
{
	struct vhu_target_cli *t = opts;

	if (!strcmp(arg, "auto"))
		t->memory = VHU_BACKING_AUTO;
	else if (!strcmp(arg, "hugetlb"))
		t->memory = VHU_BACKING_HUGETLB;
	else if (!strcmp(arg, "memfd"))
		t->memory = VHU_BACKING_MEMFD;
	else
		return vhu_err_set(err, -EINVAL, "'%s' is none of hugetlb, memfd, auto", arg);
	return 0;
}

static int set_spawn_per(void *opts, const char *arg, struct vhu_err *err)
{
	struct vhu_target_cli *t = opts;

	if (strcmp(arg, "case"))
		return vhu_err_set(err, -EINVAL, "'%s' is not 'case'", arg);
	t->spawn_per_case = true;
	return 0;
}

/* --- the rows -------------------------------------------------------------------------------- */

static const struct vhu_option rows[] = {
	{"backend", 'b', "SOCKET", GROUP, "connect to a back-end that listens there, anew for each case",
	 VHU_OPTION_TEXT, ROW(backend), .rerun = true},
	{"spawn", 's', "COMMAND", GROUP,
	 "start the back-end ourselves: {socket}, {image} and {fd} in COMMAND are a "
	 "socket's path, a fresh disk image and a listening descriptor; words are split as by a shell",
	 VHU_OPTION_TEXT, ROW(spawn), .rerun = true},
	{"listen", 'l', "SOCKET", GROUP, "be the socket's server; the back-end connects to us",
	 VHU_OPTION_TEXT, ROW(listen), .rerun = true},
	{"reference", 'r', "[=FAULT]", GROUP,
	 "start the bundled reference back-end, with one planted fault if given", VHU_OPTION_CALL,
	 .set = set_reference, .rerun = true},
	{"after-start", 0, "COMMAND", GROUP,
	 "with --spawn: run by sh -c once the process is up, before the first connect", VHU_OPTION_TEXT,
	 ROW(after_start), .rerun = true},
	{"one-shot", '1', NULL, GROUP, "the back-end serves one connection and exits; that is no finding",
	 VHU_OPTION_FLAG, ROW(one_shot), .rerun = true},
	{"spawn-per", 0, "case", GROUP, "with --spawn or --reference: a new process for each case",
	 VHU_OPTION_CALL, .set = set_spawn_per, .rerun = true},
	{"image-size", 0, "SIZE", GROUP, "bytes of the {image}; K, M, G allowed; default 64M",
	 VHU_OPTION_SIZE, ROW(image_size), .min = 512, .max = UINT64_C(1) << 50, .rerun = true},
	{"queues", 'Q', "N", GROUP, "rings that the target really serves; default: what it tells",
	 VHU_OPTION_NUMBER, ROW(queues), .min = 1, .max = 256, .rerun = true},
	{"device", 'd', "NAME", GROUP,
	 "blk, net, scsi, fs …; default auto: from the cases and from the target", VHU_OPTION_CALL,
	 .set = set_device, .rerun = true},
	{"allow-writes", 'w', NULL, GROUP, "run what changes the disk; implied where we made the disk",
	 VHU_OPTION_FLAG, ROW(allow_writes), .rerun = true},
	{"settle", 0, "MS", GROUP,
	 "how long to watch where only time can show that nothing happens; default 20, or 50 "
	 "round trips if that is more",
	 VHU_OPTION_NUMBER, ROW(settle_ms), .min = 1, .max = 600000, .rerun = true},
	{"memory", 'm', "KIND", GROUP, "memory of the fake guest: hugetlb, memfd, or auto (default)",
	 VHU_OPTION_CALL, .set = set_memory, .rerun = true},
	{"timeout", 'T', "MS", GROUP, "an answer's deadline; default 5000", VHU_OPTION_NUMBER,
	 ROW(timeout_ms), .min = 1, .max = 3600000, .rerun = true},
	{"max-time", 0, "S", GROUP,
	 "bound on the whole run: what has not run by then is skipped, exit code 4", VHU_OPTION_NUMBER,
	 ROW(max_time_s), .min = 1, .max = 1000000},
};

const struct vhu_option_part vhu_target_options = {rows, VHU_ARRAY_SIZE(rows)};

/* --- what they come to ----------------------------------------------------------------------- */

void vhu_target_cli_init(struct vhu_target_cli *t)
{
	*t = (struct vhu_target_cli){.device = VHU_DEV_ANY, .memory = VHU_BACKING_AUTO, .timeout_ms = 5000};
}

bool vhu_target_cli_named(const struct vhu_target_cli *t)
{
	return t->backend || t->spawn || t->listen || t->reference;
}

bool vhu_target_cli_spawns(const struct vhu_target_cli *t)
{
	return t->spawn || t->reference;
}

int vhu_target_cli_check(struct vhu_target_cli *t, struct vhu_err *err)
{
	if (!!t->backend + !!t->spawn + !!t->listen + t->reference > 1)
		return vhu_err_set(err, -EINVAL,
				   "target: only one of --backend, --spawn, --listen, --reference");
	if (t->after_start && !t->spawn)
		return vhu_err_set(err, -EINVAL, "--after-start: only with --spawn");
	if (t->spawn_per_case && !vhu_target_cli_spawns(t))
		return vhu_err_set(err, -EINVAL, "--spawn-per: only with --spawn or --reference");
	if (t->image_size && !vhu_target_cli_spawns(t))
		return vhu_err_set(err, -EINVAL, "--image-size: only with --spawn or --reference");
	if (t->image_size && t->spawn && !strstr(t->spawn, "{image}"))
		return vhu_err_set(err, -EINVAL, "--image-size: there is no {image} in the --spawn command");
	if (t->reference || (t->spawn && strstr(t->spawn, "{image}")))
		t->allow_writes = true;
	return 0;
}

void vhu_target_cli_name(const struct vhu_target_cli *t, struct vhu_buf *out)
{
	if (t->reference)
		vhu_buf_printf(out, "reference back-end%s%s", t->fault ? " with fault " : "",
			       t->fault ? t->fault : "");
	else
		vhu_buf_puts(out, t->backend ? t->backend : t->spawn ? t->spawn : t->listen ? t->listen : "");
}

/* --- the reference back-end ------------------------------------------------------------------ */

/* Beside our own program first, so that a build tree or an unpacked package uses its own. */
static int find_reference(char *path, size_t cap, struct vhu_err *err)
{
	static const char name[] = "vhu-backend";
	ssize_t len = readlink("/proc/self/exe", path, cap - 1);

	while (len > 0 && path[len - 1] != '/')
		len--;
	if (len > 0 && (size_t)len + sizeof(name) <= cap) {
		memcpy(path + len, name, sizeof(name));
		if (access(path, X_OK) == 0)
			return 0;
	}
#ifdef VHU_REFERENCE
	snprintf(path, cap, "%s", VHU_REFERENCE);
	if (access(path, X_OK) == 0)
		return 0;
#endif
	return vhu_err_set(err, -ENOENT, "--reference: %s is not beside this program", name);
}

static int add_word(struct vhu_reference *r, size_t *n, const char *word)
{
	r->argv[*n] = strdup(word);
	return r->argv[(*n)++] ? 0 : -ENOMEM;
}

int vhu_reference_command(const struct vhu_target_cli *t, struct vhu_reference *ret, struct vhu_err *err)
{
	/* Other devices have no disk, and an image that was not made is none that can be used up. */
	bool disk = t->device == VHU_DEV_ANY || t->device == VHU_DEV_BLK || t->device == VHU_DEV_SCSI;
	struct vhu_reference r = {0};
	char path[PATH_MAX], queues[24], session[16];
	size_t n = 0;
	int code = find_reference(path, sizeof(path), err);

	if (code < 0)
		return code;
	snprintf(queues, sizeof(queues), "%llu",
		 (unsigned long long)(t->queues ? t->queues : REFERENCE_QUEUES));
	code |= add_word(&r, &n, path) | add_word(&r, &n, "--socket") | add_word(&r, &n, "{socket}");
	snprintf(session, sizeof(session), "%u", t->like_session);
	if (t->like)
		code |= add_word(&r, &n, "--like-session") | add_word(&r, &n, session) |
			add_word(&r, &n, "--like") | add_word(&r, &n, t->like);
	if (t->queues || !t->like)
		code |= add_word(&r, &n, "--queues") | add_word(&r, &n, queues);
	if (t->device != VHU_DEV_ANY)
		code |= add_word(&r, &n, "--device") | add_word(&r, &n, vhu_device_row(t->device)->name);
	if (disk)
		code |= add_word(&r, &n, "--image") | add_word(&r, &n, "{image}");
	if (t->fault)
		code |= add_word(&r, &n, "--fault") | add_word(&r, &n, t->fault);
	if (code < 0) {
		vhu_reference_done(&r);
		return vhu_err_errno(err, -ENOMEM, "--reference");
	}
	*ret = r;
	return 0;
}

void vhu_reference_done(struct vhu_reference *r)
{
	for (size_t i = 0; i < VHU_ARRAY_SIZE(r->argv); i++)
		free(r->argv[i]);
	*r = (struct vhu_reference){0};
}

int vhu_target_cli_new(struct vhu_loop *loop, const struct vhu_target_cli *t, struct vhu_target **ret,
		       struct vhu_err *err)
{
	struct vhu_reference reference = {0};
	struct vhu_target_opts opts = {
		.how = t->backend ? VHU_TARGET_CONNECT : t->listen ? VHU_TARGET_LISTEN : VHU_TARGET_SPAWN,
		.socket = t->backend ? t->backend : t->listen,
		.command = t->spawn,
		.after_start = t->after_start,
		.image_size = t->image_size,
		.dir = t->dir,
		.one_shot = t->one_shot,
		.timeout_ns = t->timeout_ms * ms,
	};
	int code = 0;

	if (t->reference) {
		code = vhu_reference_command(t, &reference, err);
		opts.argv = (const char *const *)reference.argv;
	}
	if (code == 0)
		code = vhu_target_new(loop, &opts, ret, err);
	vhu_reference_done(&reference);
	return code;
}
