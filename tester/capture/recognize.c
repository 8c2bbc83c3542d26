/* Which connections are sessions that are wanted, and which are other channels of one. */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "watch_priv.h"

static int make_streams(struct conn *c, struct vhu_err *err)
{
	for (unsigned i = 0; i < 2; i++) {
		struct vhu_stream_id id;
		int code;

		vhu_conn_id(c, i, &id);
		code = vhu_stream_new(&id, vhu_conn_put, c, &c->flow[i].stream, err);
		if (code < 0)
			return code;
		if (c->existed)
			vhu_stream_resync(c->flow[i].stream);
	}
	c->state = TAKEN;
	return 0;
}

/* The connection is a channel of a session; who holds `ino`, the end that was passed, is the back-end. */
static int adopt(struct conn *c, const struct conn *of, enum vhu_cap_channel channel, uint64_t ino,
		 struct vhu_err *err)
{
	c->channel = channel;
	c->connection = of->connection;
	c->main_key = of->key;
	c->fe = c->flow[0].ino == ino ? 1 : 0;
	c->existed = false;
	return make_streams(c, err);
}

static bool has_end(const struct conn *c, uint64_t ino)
{
	return ino && (c->flow[0].ino == ino || c->flow[1].ino == ino);
}

int vhu_conn_pass(struct conn *c, enum vhu_cap_channel channel, uint64_t ino, struct vhu_err *err)
{
	const struct vhu_watch *s = c->sessions;

	for (size_t i = 0; i < BUCKETS; i++)
		for (struct conn *other = s->buckets[i]; other; other = other->next)
			if (other->state == UNDECIDED && has_end(other, ino))
				return adopt(other, c, channel, ino, err);
	c->passed[c->n_passed % PASSED_MAX].ino = ino;
	c->passed[c->n_passed % PASSED_MAX].channel = channel;
	c->n_passed++;
	return 0;
}

int vhu_conn_find_main(struct vhu_watch *s, struct conn *c, struct vhu_err *err)
{
	for (size_t i = 0; i < BUCKETS; i++)
		for (const struct conn *of = s->buckets[i]; of; of = of->next)
			for (size_t k = 0; k < VHU_MIN(of->n_passed, (size_t)PASSED_MAX); k++)
				if (of->state == TAKEN && has_end(c, of->passed[k].ino))
					return adopt(c, of, of->passed[k].channel, of->passed[k].ino, err);
	return 0;
}

/* --- which connections are wanted -------------------------------------------------------------------- */

static bool is_pid(const struct vhu_watch *s, uint32_t pid)
{
	for (size_t i = 0; i < s->opts.n_pids; i++)
		if (pid == s->opts.pids[i])
			return true;
	return false;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_dev == b->st_dev;
}

static bool stat_folder(const char *path, struct stat *ret)
{
	const char *slash = strrchr(path, '/');
	char folder[PATH_MAX];

	snprintf(folder, sizeof(folder), "%.*s", slash ? (int)(slash - path + 1) : 2, slash ? path : "./");
	return stat(folder, ret) == 0;
}

static const char *last_word(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/*
 * The file was gone, or another one was there, before anybody could look: then the tap's look at the name and
 * its folder's has to do, and the folder itself, where the bound name tells it.
 */
static bool was_socket(const struct vhu_watch *s, const struct conn *c, const char *path,
		       const struct stat *now)
{
	uint64_t since =
		now ? (uint64_t)now->st_ctim.tv_sec * UINT64_C(1000000000) + (uint64_t)now->st_ctim.tv_nsec
		    : UINT64_MAX;
	struct stat a, b;

	if (!c->named || strcmp(last_word(c->path), last_word(path)))
		return false;
	if (since <= c->opened_ns + s->env.clock_offset_ns)
		return false;
	return c->path[0] != '/' || !stat_folder(c->path, &a) || !stat_folder(path, &b) || same_file(&a, &b);
}

/* By name as it was bound, or because it is the same file. */
static bool is_socket(const struct vhu_watch *s, const struct conn *c)
{
	const struct stat its = {.st_ino = c->path_ino, .st_dev = c->path_dev};

	/* Its path was not told; the tap looked at the name. */
	if (c->named && !c->path[0])
		return true;
	for (size_t i = 0; i < s->opts.n_sockets; i++) {
		const char *path = s->opts.sockets[i];
		struct stat st;
		bool there = stat(path, &st) == 0;

		if (!strcmp(c->path, path) || (c->path_ino && there && same_file(&st, &its)) ||
		    was_socket(s, c, path, there ? &st : NULL))
			return true;
	}
	return false;
}

/* Of what is known now; UNDECIDED where a process may still turn out to take part. */
static enum conn_state choose(const struct vhu_watch *s, const struct conn *c)
{
	if (s->opts.all || is_socket(s, c))
		return TAKEN;
	for (unsigned i = 0; i < 2; i++)
		if (is_pid(s, c->flow[i].sender) || is_pid(s, c->flow[i].reader) ||
		    is_pid(s, c->flow[i].owner))
			return TAKEN;
	return s->opts.n_pids ? UNDECIDED : REFUSED;
}

static void refuse(struct vhu_watch *s, struct conn *c)
{
	c->state = REFUSED;
	if (s->env.ignore)
		s->env.ignore(s->env.ctx, c->key);
}

/* A session between the same two processes, one that was seen from before its back-end channel was passed. */
static const struct conn *main_between(const struct vhu_watch *s, uint32_t fe, uint32_t be)
{
	for (size_t i = 0; fe && be && i < BUCKETS; i++)
		for (const struct conn *c = s->buckets[i]; c; c = c->next)
			if (c->state == TAKEN && c->channel == VHU_CAP_MAIN && c->flow[c->fe].sender == fe &&
			    c->flow[!c->fe].sender == be)
				return c;
	return NULL;
}

static bool opens(const uint8_t *bytes)
{
	uint32_t request = (uint32_t)vhu_ne_get(bytes, 4);

	return request == VHU_ID_GET_FEATURES || request == VHU_ID_SET_OWNER;
}

static int begin_session(struct vhu_watch *s, struct conn *c, struct vhu_err *err)
{
	const struct flow *fe = &c->flow[c->fe], *be = &c->flow[!c->fe];
	struct vhu_record r = {.path = c->path[0] ? c->path : NULL};
	struct vhu_stream_id id;
	int code;

	if (s->n_connections == VHU_CAP_CONNECTIONS_MAX)
		return vhu_err_set(err, -E2BIG, "more than %d connections do not fit into one capture",
				   VHU_CAP_CONNECTIONS_MAX);
	c->connection = ++s->n_connections;
	s->open++;
	code = make_streams(c, err);
	if (code < 0)
		return code;
	vhu_conn_id(c, c->fe, &id);
	r.comm = id.comm[0] ? id.comm : NULL;
	r.peer_comm = id.peer_comm[0] ? id.peer_comm : NULL;
	r.tgid = fe->sender ? fe->sender : be->reader;
	r.text = c->existed ? "it was there before the capture" : NULL;
	return vhu_conn_life(s, c, VHU_CAP_LIFE_CONNECT, VHU_CAP_DIR_FE, &r, c->opened_ns, err);
}

int vhu_conn_decide(struct vhu_watch *s, struct conn *c, unsigned flow, const uint8_t *bytes, size_t len,
		    struct vhu_err *err)
{
	bool start = vhu_stream_is_start(VHU_CAP_MAIN, VHU_CAP_DIR_NONE, bytes, len);
	bool reply = start && vhu_ne_get(bytes + 4, 4) & VHU_C_HEADER_REPLY;
	const struct conn *of;

	switch (choose(s, c)) {
	case UNDECIDED:
		return 0;
	case REFUSED:
		refuse(s, c);
		return 0;
	case TAKEN:
		break;
	}
	of = main_between(s, c->flow[!flow].sender, c->flow[flow].sender);
	if (c->existed && of && vhu_stream_is_start(VHU_CAP_BACKEND, VHU_CAP_DIR_BE, bytes, len)) {
		c->channel = VHU_CAP_BACKEND;
		c->connection = of->connection;
		c->main_key = of->key;
		c->fe = !flow;
		return make_streams(c, err);
	}
	/* A named socket is believed whatever it says; it may be nonsense that is to be looked at. */
	if (!start && (c->existed || !is_socket(s, c))) {
		if (!is_socket(s, c))
			refuse(s, c);
		return 0;
	}
	c->channel = VHU_CAP_MAIN;
	c->fe = reply ? !flow : flow;
	c->existed = c->existed && !(start && !reply && opens(bytes));
	return begin_session(s, c, err);
}
