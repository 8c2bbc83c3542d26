/* What is known of processes, their descriptors and their sockets. */
#include <errno.h>
#include <string.h>

#include "import_priv.h"

enum { SEARCH_MAX = 1024 }; /* endpoints that a thread of unknown descent is tried with */

/* --- tables ----------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

static struct table_entry *slot(const struct table *t, uint64_t key)
{
	size_t i = (size_t)mix(key) & (t->cap - 1);

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
	}
	while (p->same)
		p = p->same;
	return p;
}

static uint64_t key_of(const struct process *p, int fd)
{
	return (uint64_t)p->tgid << 32 | (uint32_t)fd;
}

struct descriptor *vhu_import_lookup(const struct import *m, const struct process *p, int fd)
{
	for (unsigned depth = 0; p && depth < 64; p = p->parent, depth++) {
		struct descriptor *d = vhu_table_get(&m->descriptors, key_of(p, fd));

		if (d)
			return d;
	}
	return NULL;
}

struct descriptor *vhu_import_own(struct import *m, const struct process *p, int fd)
{
	struct descriptor *d = vhu_table_get(&m->descriptors, key_of(p, fd));

	if (d)
		return d;
	d = vhu_arena_alloc(m->arena, sizeof(*d));
	return d && vhu_table_put(&m->descriptors, key_of(p, fd), d) == 0 ? d : NULL;
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
	struct descriptor *d;

	if (m->n_endpoints == IMPORT_ENDPOINTS_MAX)
		return NULL;
	e = vhu_arena_alloc(m->arena, sizeof(*e));
	d = vhu_import_own(m, p, fd);
	if (!e || !d)
		return NULL;
	/* Its close was not seen. */
	if (d->open && d->endpoint)
		vhu_import_end(m, d->endpoint, END_OURS, 0, line->t_ns);
	*d = (struct descriptor){
		.open = true, .endpoint = e, .kind = how == HOW_RECEIVED ? VHU_FDK_UNKNOWN : VHU_FDK_SOCKET};
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
	e->sibling = p->endpoints;
	p->endpoints = e;
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

struct endpoint *vhu_import_find(struct import *m, struct process *p, int fd, const char *note,
				 enum io_dir dir, const uint8_t *bytes, size_t len)
{
	struct descriptor *d = vhu_import_lookup(m, p, fd);
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
	if (d)
		return d->open ? d->endpoint : NULL;
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
