/* What is known of processes, their descriptors and their sockets. */
#include <errno.h>
#include <string.h>

#include "base/rng.h"
#include "import_priv.h"

enum { SEARCH_MAX = 1024 }; /* endpoints that a thread of unknown descent is tried with */

/* --- tables ----------------------------------------------------------------------------------------- */

static struct table_entry *slot(const struct table *t, uint64_t key)
{
	size_t i = (size_t)vhu_mix64(key) & (t->cap - 1);

	while (t->entries[i].used && t->entries[i].key != key)
		i = (i + 1) & (t->cap - 1);
	return &t->entries[i];
}

void *vhu_table_get(const struct table *t, uint64_t key)
{
	return t->cap ? slot(t, key)->value : NULL;
}

int vhu_table_put(struct table *t, uint64_t key, void *value)
{
	struct table_entry *e;

	if (t->n * 2 >= t->cap) {
		struct table grown = {.cap = t->cap ? t->cap * 2 : 64};

		grown.entries = calloc(grown.cap, sizeof(*grown.entries));
		if (!grown.entries)
			return -ENOMEM;
		for (size_t i = 0; i < t->cap; i++)
			if (t->entries[i].used)
				*slot(&grown, t->entries[i].key) = t->entries[i];
		grown.n = t->n;
		free(t->entries);
		*t = grown;
	}
	e = slot(t, key);
	t->n += !e->used;
	*e = (struct table_entry){key, value, true};
	return 0;
}

void vhu_table_done(struct table *t)
{
	free(t->entries);
	*t = (struct table){0};
}

/* --- processes and their descriptors ---------------------------------------------------------------- */

struct process *vhu_import_process(struct import *m, uint32_t tid)
{
	struct process *p = vhu_table_get(&m->processes, tid);

	if (!p) {
		p = vhu_arena_alloc(m->arena, sizeof(*p));
		if (!p || vhu_table_put(&m->processes, tid, p) < 0)
			return NULL;
		p->tgid = tid;
		p->next = m->first_process;
		m->first_process = p;
	}
	while (p->same)
		p = p->same;
	return p;
}

struct opened *vhu_import_lookup(const struct process *p, int fd)
{
	return vhu_table_get(&p->fds, (uint64_t)fd);
}

/* Whether another number of the process is the same. */
static bool holds(const struct process *p, const struct opened *what)
{
	for (size_t i = 0; i < p->fds.cap; i++)
		if (p->fds.entries[i].used && p->fds.entries[i].value == what)
			return true;
	return false;
}

/*
 * A number is no more. What others have inherited, and do not use, is closed all the same; when they do use
 * it later, it was not.
 */
static void let_go(const struct import *m, const struct process *p, struct opened *what, const int *status)
{
	struct endpoint *e = what->endpoint;

	what->refs--;
	if (!e || (what->refs && (e->user != p || holds(p, what))) || e->ended != END_NONE)
		return;
	vhu_import_end(m, e, END_OURS, 0, m->begun_ns);
	e->exited = status;
	e->status = status ? *status : 0;
}

int vhu_import_put(struct import *m, struct process *p, int fd, struct opened *what)
{
	struct opened *was = vhu_import_lookup(p, fd);

	what = what ? what : &m->closed;
	if (vhu_table_put(&p->fds, (uint64_t)fd, what) < 0)
		return -ENOMEM;
	what->refs += what != &m->closed;
	if (was && was->refs)
		let_go(m, p, was, NULL);
	return 0;
}

struct opened *vhu_import_open(struct import *m, struct process *p, int fd, enum vhu_fd_kind kind)
{
	struct opened *new = vhu_arena_alloc(m->arena, sizeof(*new));

	if (!new)
		return NULL;
	new->kind = kind;
	return vhu_import_put(m, p, fd, new) < 0 ? NULL : new;
}

int vhu_import_fork(struct import *m, struct process *maker, uint32_t tid, bool shares)
{
	struct process *child = vhu_import_process(m, tid);

	if (!child)
		return -ENOMEM;
	if (child == maker || child->certain)
		return 0;
	child->certain = true;
	if (shares) {
		child->same = maker;
		return 0;
	}
	/* What it was seen to open before its maker returned is its own. */
	for (size_t i = 0; i < maker->fds.cap; i++) {
		const struct table_entry *entry = &maker->fds.entries[i];

		if (entry->used && !vhu_table_get(&child->fds, entry->key) &&
		    vhu_import_put(m, child, (int)entry->key, entry->value) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* With the status of the process, if that ends. */
static void close_all(struct import *m, struct process *p, uint64_t first, uint64_t last, const int *status)
{
	for (size_t i = 0; i < p->fds.cap; i++) {
		struct table_entry *entry = &p->fds.entries[i];
		struct opened *what = entry->value;

		if (!entry->used || entry->key < first || entry->key > last || !what->refs)
			continue;
		entry->value = &m->closed;
		let_go(m, p, what, status);
	}
}

void vhu_import_close_range(struct import *m, struct process *p, uint64_t first, uint64_t last)
{
	close_all(m, p, first, last, NULL);
}

void vhu_import_exit(struct import *m, struct process *p, int status)
{
	close_all(m, p, 0, UINT64_MAX, &status);
	vhu_table_done(&p->fds);
}

void vhu_import_processes_done(struct import *m)
{
	for (struct process *p = m->first_process; p; p = p->next)
		vhu_table_done(&p->fds);
	vhu_table_done(&m->processes);
}

bool vhu_import_fd(const struct strace_value *v, int *ret)
{
	int64_t fd;

	if (!vhu_strace_number(v, &fd) || fd < 0 || fd > INT32_MAX)
		return false;
	*ret = (int)fd;
	return true;
}

void vhu_import_inodes(const char *note, uint64_t *ret, uint64_t *ret_peer)
{
	const char *p = note ? strstr(note, ":[") : NULL;
	char *end;

	*ret = *ret_peer = 0;
	if (!p || (strncmp(note, "UNIX", 4) && strncmp(note, "socket", 6)))
		return;
	*ret = strtoull(p + 2, &end, 10);
	if (!strncmp(end, "->", 2))
		*ret_peer = strtoull(end + 2, NULL, 10);
}

enum vhu_fd_kind vhu_import_kind(const char *note)
{
	static const struct {
		const char *begin;
		enum vhu_fd_kind kind;
	} kinds[] = {
		{"anon_inode:[eventfd", VHU_FDK_EVENTFD},
		{"anon_inode:[userfaultfd", VHU_FDK_USERFAULT},
		{"/memfd:", VHU_FDK_MEMFD},
		{"/dev/shm/", VHU_FDK_SHM},
		{"/dev/hugepages", VHU_FDK_HUGETLB},
		{"/dev/", VHU_FDK_DEVICE},
		{"/", VHU_FDK_FILE},
		{"UNIX", VHU_FDK_SOCKET},
		{"socket:", VHU_FDK_SOCKET},
		{"pipe:", VHU_FDK_PIPE},
	};

	if (!note)
		return VHU_FDK_UNKNOWN;
	for (size_t i = 0; i < VHU_ARRAY_SIZE(kinds); i++)
		if (!strncmp(note, kinds[i].begin, strlen(kinds[i].begin)))
			return kinds[i].kind;
	return VHU_FDK_OTHER;
}

/* --- endpoints -------------------------------------------------------------------------------------- */

void vhu_import_end(const struct import *m, struct endpoint *e, enum end_kind kind, int error, uint64_t t_ns)
{
	if (e->ended != END_NONE)
		return;
	e->ended = kind;
	e->error = error;
	e->ended_ns = t_ns;
	e->ended_order = m->order;
}

struct endpoint *vhu_import_endpoint(struct import *m, struct process *p, int fd, enum endpoint_how how,
				     const struct strace_line *line)
{
	struct endpoint *e;
	struct opened *what;

	if (m->n_endpoints == IMPORT_ENDPOINTS_MAX)
		return NULL;
	e = vhu_arena_alloc(m->arena, sizeof(*e));
	what = vhu_import_open(m, p, fd, how == HOW_RECEIVED ? VHU_FDK_UNKNOWN : VHU_FDK_SOCKET);
	if (!e || !what)
		return NULL;
	what->endpoint = e;
	e->user = p;
	e->how = how;
	e->tgid = p->tgid;
	e->fd = fd;
	e->opened_ns = line->t_ns;
	e->opened_order = m->order;
	e->prev = m->last;
	if (m->last)
		m->last->next = e;
	else
		m->first = e;
	m->last = e;
	m->n_endpoints++;
	return e;
}

static const enum vhu_cap_channel channels[2] = {VHU_CAP_MAIN, VHU_CAP_BACKEND};
static const enum vhu_cap_direction dirs[2] = {VHU_CAP_DIR_FE, VHU_CAP_DIR_BE};

bool vhu_import_judge(struct endpoint *e, enum io_dir dir, const uint8_t *bytes, size_t len)
{
	bool any = false;

	for (unsigned channel = 0; channel < 2; channel++) {
		for (unsigned by = 0; by < 2; by++) {
			bool fits = vhu_stream_is_start(channels[channel], dirs[by], bytes, len);
			/* What comes in was sent by the other party. */
			unsigned ours = dir == IO_OUT ? by : !by;

			any |= fits;
			if (e)
				e->score[channel][ours] += fits;
		}
	}
	return any;
}

/* Whether bytes can be the next of a stream: what is left of a message, or the start of one. */
static bool continues(const struct endpoint *e, enum io_dir dir, const uint8_t *bytes, size_t len)
{
	const struct walk *w = &e->walk[dir];

	if (w->lost || !e->len[dir])
		return vhu_import_judge(NULL, dir, bytes, len);
	if (w->have == VHU_C_HEADER_SIZE)
		return len <= w->left;
	return w->have ? len <= VHU_C_HEADER_SIZE - w->have : vhu_import_judge(NULL, dir, bytes, len);
}

/*
 * What is inherited may have been closed where nobody looked (by execve), and the number be something else by
 * now.
 */
static struct endpoint *of_process(struct import *m, struct process *p, int fd, struct endpoint *e,
				   enum io_dir dir, const uint8_t *bytes, size_t len)
{
	if (!e || e->user == p || !len || continues(e, dir, bytes, len))
		return e;
	vhu_import_put(m, p, fd, NULL);
	return NULL;
}

struct endpoint *vhu_import_find(struct import *m, struct process *p, int fd, const char *note,
				 enum io_dir dir, const uint8_t *bytes, size_t len)
{
	const struct opened *what = vhu_import_lookup(p, fd);
	struct endpoint *found = NULL;
	uint64_t inode, peer;
	unsigned seen = 0;

	vhu_import_inodes(note, &inode, &peer);
	if (inode) {
		found = vhu_table_get(&m->inodes, inode);
		if (found)
			found->peer_inode = found->peer_inode ? found->peer_inode : peer;
		return found;
	}
	if (what)
		return what->refs ? of_process(m, p, fd, what->endpoint, dir, bytes, len) : NULL;
	if (p->certain)
		return NULL;
	for (struct endpoint *e = m->last; e && ++seen < SEARCH_MAX; e = e->prev) {
		if (e->fd != fd || e->ended == END_OURS || !e->len[dir] || !continues(e, dir, bytes, len))
			continue;
		if (found)
			return NULL;
		found = e;
	}
	if (found) {
		struct process *other = vhu_import_process(m, found->tgid);

		if (other && other != p)
			p->same = other;
	}
	return found;
}
