/* How a program is told of its socket in each of the ways, and what it finds there. */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "program_priv.h"

bool vhu_program_asks(const struct vhu_program *p)
{
	return p->way == VHU_PROGRAM_CAPABILITIES || p->way == VHU_PROGRAM_CAPABILITIES_BESIDE;
}

static int out_of_memory(struct vhu_err *err)
{
	return vhu_err_set(err, -ENOMEM, "program: out of memory");
}

/* --- the socket's path --------------------------------------------------------------------------- */

/* FOLDER/sss… of `len` bytes. */
static char *path_of_length(struct vhu_program *p, size_t len)
{
	size_t head = strlen(p->dir) + 1;
	char *path = head < len ? vhu_arena_array(p->t->arena, len + 1, 1) : NULL;

	if (path) {
		snprintf(path, len + 1, "%s/", p->dir);
		memset(path + head, 's', len - head);
	}
	return path;
}

/* The way up from our folder to the root, and down again. */
static char *relative_path(struct vhu_program *p)
{
	char here[PATH_MAX], up[PATH_MAX] = "";
	size_t n = 0;

	if (!getcwd(here, sizeof(here)))
		return NULL;
	for (const char *at = here; (at = strchr(at, '/')) && n + 4 < sizeof(up); at++)
		if (at[1]) {
			memcpy(up + n, "../", 4);
			n += 3;
		}
	return vhu_arena_printf(p->t->arena, "%s%s/socket", n ? up : "./", p->dir + 1);
}

static char *path_in_this_way(struct vhu_program *p)
{
	switch (p->way) {
	case VHU_PROGRAM_RELATIVE:
		return relative_path(p);
	case VHU_PROGRAM_LONG:
		return path_of_length(p, PATH_MOST);
	case VHU_PROGRAM_TOO_LONG:
		return path_of_length(p, PATH_MOST + 1);
	case VHU_PROGRAM_NO_FOLDER:
		return vhu_arena_printf(p->t->arena, "%s/none/socket", p->dir);
	default:
		return vhu_arena_printf(p->t->arena, "%s/socket", p->dir);
	}
}

/* A name by which we reach the socket, however long its path is. */
static int make_reachable(struct vhu_program *p, struct vhu_err *err)
{
	p->reach = p->path;
	if (strlen(p->path) <= PATH_MOST)
		return 0;
	p->reach = vhu_arena_printf(p->t->arena, "%s/link", p->dir);
	if (!p->reach)
		return out_of_memory(err);
	return symlink(p->path, p->reach) < 0
		       ? vhu_err_errno(err, -errno, "program: cannot link '%s'", p->reach)
		       : 0;
}

/* A socket's file whose listener is gone. */
static int leave_socket(const char *path, struct vhu_err *err)
{
	int fd = vhu_unix_listen(path, err);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

int vhu_program_place(struct vhu_program *p, struct vhu_err *err)
{
	if (!p->dir) {
		p->dir = vhu_arena_printf(p->t->arena, "%s/p", p->t->dir);
		if (!p->dir)
			return out_of_memory(err);
		if (mkdir(p->dir, 0700) < 0)
			return vhu_err_errno(err, -errno, "program: cannot make the folder '%s'", p->dir);
	}
	p->path = path_in_this_way(p);
	if (!p->path)
		return vhu_err_set(err, -ENOTSUP, "its socket's path would be too long here");
	if (p->way == VHU_PROGRAM_RELATIVE && strlen(p->path) > PATH_MOST)
		return vhu_err_set(err, -ENOTSUP, "a relative path from here is too long for a socket");
	if (p->way == VHU_PROGRAM_STALE)
		return leave_socket(p->path, err) < 0 ? -EIO : make_reachable(p, err);
	if (p->way == VHU_PROGRAM_READ_ONLY_FOLDER && chmod(p->dir, 0500) < 0)
		return vhu_err_errno(err, -errno, "program: cannot change '%s'", p->dir);
	return make_reachable(p, err);
}

/* --- the command --------------------------------------------------------------------------------- */

static bool is_socket_holder(const char *word)
{
	return !strcmp(word, "{socket}") || !strcmp(word, "{fd}");
}

/* How many words from here on tell the program of its socket; -1: they can't be told from others. */
static int socket_words(char *const *words)
{
	const char *value = strchr(words[0], '=');

	if (words[0][0] == '-' && words[1] && is_socket_holder(words[1]) && !value)
		return 2;
	if (is_socket_holder(words[0]) || (words[0][0] == '-' && value && is_socket_holder(value + 1)))
		return 1;
	return strstr(words[0], "{socket}") || strstr(words[0], "{fd}") ? -1 : 0;
}

/* The program itself, as it is found from another folder as well. */
static char *program_word(struct vhu_program *p, const char *word)
{
	char here[PATH_MAX];

	if (word[0] == '/' || !strchr(word, '/') || access(word, F_OK) < 0 || !getcwd(here, sizeof(here)))
		return vhu_arena_strdup(p->t->arena, word);
	return vhu_arena_printf(p->t->arena, "%s/%s", here, word);
}

/* What stands before the first option and the first placeholder. */
static size_t program_words(char *const *words)
{
	size_t n = 0;

	while (words[n] && words[n][0] != '-' && !strchr(words[n], '{'))
		n++;
	return n;
}

/* One word of the command as this start has it, or NULL. */
static char *word_in_this_way(struct vhu_program *p, size_t i, const char *image)
{
	/* Asked from a folder of our own: whatever it takes the option for happens there. */
	if (p->way == VHU_PROGRAM_CAPABILITIES && i < p->n_own)
		return program_word(p, p->t->words[i]);
	return vhu_target_expand(p->t, p->t->words[i], image);
}

/* All but what tells it of its socket. */
static int copy_command(struct vhu_program *p, size_t *n, struct vhu_err *err)
{
	char **words = p->t->words;
	const char *image = p->t->image_path;

	if (p->way == VHU_PROGRAM_NO_IMAGE)
		image = vhu_arena_printf(p->t->arena, "%s/none/image", p->dir);
	for (size_t i = 0; words[i];) {
		int skip = i ? socket_words(&words[i]) : 0;

		if (skip < 0)
			return vhu_err_set(err, -ENOTSUP, "its command has the socket inside of '%s'",
					   words[i]);
		if (!skip)
			p->argv[(*n)++] = word_in_this_way(p, i, image);
		if (!skip && !p->argv[*n - 1])
			return out_of_memory(err);
		i += skip ? (size_t)skip : 1;
	}
	return 0;
}

static int add_word(struct vhu_program *p, size_t *n, const char *option, const char *value,
		    struct vhu_err *err)
{
	p->argv[*n] = vhu_arena_printf(p->t->arena, "%s%s", option, value);
	return p->argv[(*n)++] ? 0 : out_of_memory(err);
}

static bool by_fd(const struct vhu_program *p)
{
	return p->way == VHU_PROGRAM_FD_CONNECTED || p->way == VHU_PROGRAM_FD_LISTENING ||
	       p->way == VHU_PROGRAM_BOTH;
}

int vhu_program_words(struct vhu_program *p, struct vhu_err *err)
{
	bool by_path = p->way != VHU_PROGRAM_CAPABILITIES && p->way != VHU_PROGRAM_FD_CONNECTED &&
		       p->way != VHU_PROGRAM_FD_LISTENING;
	size_t most = 0, n = 0;
	int r = 0;

	while (p->t->words[most])
		most++;
	p->n_own = program_words(p->t->words);
	if (!p->n_own)
		return vhu_err_set(err, -ENOTSUP, "its command does not begin with a program");
	if (p->way == VHU_PROGRAM_NO_IMAGE && !p->t->image)
		return vhu_err_set(err, -ENOTSUP, "its command names no {image}");
	p->argv = vhu_arena_array(p->t->arena, most + 4, sizeof(*p->argv));
	if (!p->argv)
		return out_of_memory(err);
	_Static_assert(CHILD_INHERITED_FD == 3, "the text of the option");
	r = copy_command(p, &n, err);
	if (r == 0 && by_path)
		r = add_word(p, &n, "--socket-path=", p->path, err);
	if (r == 0 && by_fd(p))
		r = add_word(p, &n, "--fd=", "3", err);
	if (r == 0 && p->way == VHU_PROGRAM_READ_ONLY)
		r = add_word(p, &n, "--read-only", "", err);
	if (r == 0 && vhu_program_asks(p))
		r = add_word(p, &n, "--print-capabilities", "", err);
	return r;
}
