/* Our own captures. They have no marks, and tell eventfds apart by their numbers only, which are used again.
 */
#include <errno.h>
#include <string.h>

#include "base/arena.h"
#include "tape_priv.h"
#include "trace/trace.h"

enum { OBJECTS_MAX = 4096 };

struct loader {
	struct vhu_tape *t;
	struct {
		uint64_t dev, inode;
	} objects[OBJECTS_MAX];
	size_t n_objects;
	bool open[VHU_CAP_CONNECTIONS_MAX + 1], over[VHU_CAP_CONNECTIONS_MAX + 1];
	bool features_set[VHU_CAP_CONNECTIONS_MAX + 1];
};

static uint32_t label_of(struct loader *l, const struct vhu_fd_info *fd)
{
	size_t i = 0;

	if (!fd->inode_valid || fd->kind == VHU_FDK_EVENTFD)
		return 0;
	while (i < l->n_objects && (l->objects[i].dev != fd->dev || l->objects[i].inode != fd->inode))
		i++;
	if (i == OBJECTS_MAX)
		return 0;
	if (i == l->n_objects) {
		l->objects[i].dev = fd->dev;
		l->objects[i].inode = fd->inode;
		l->n_objects++;
	}
	return (uint32_t)i + 1;
}

static int get_fds(struct loader *l, const struct vhu_record *r, struct vhu_tape_item *item)
{
	struct vhu_tape_fd *fds = vhu_arena_array(l->t->arena, r->n_fds, sizeof(*fds));

	if (!fds)
		return -ENOMEM;
	for (size_t i = 0; i < r->n_fds; i++)
		fds[i] = (struct vhu_tape_fd){
			.kind = r->fds[i].kind,
			.label = label_of(l, &r->fds[i]),
			.size = r->fds[i].size_valid ? r->fds[i].size : 0,
			.count = -1,
			.name = "",
		};
	item->fds = fds;
	item->n_fds = r->n_fds;
	return 0;
}

static enum vhu_channel channel_of(enum vhu_cap_channel channel)
{
	return channel == VHU_CAP_MAIN	? VHU_CHAN_MAIN
	       : channel == VHU_CAP_GPU ? VHU_CHAN_GPU
					: VHU_CHAN_BACKEND;
}

static int get_frame(struct loader *l, const struct vhu_record *r, struct vhu_tape_item *item)
{
	struct vhu_frame *f = &item->frame;
	uint8_t *payload;

	f->channel = channel_of(r->channel);
	f->dir = r->dir == VHU_CAP_DIR_BE ? VHU_DIR_BE : VHU_DIR_FE;
	l->t->messages++;
	if (r->len < VHU_C_HEADER_SIZE) {
		item->odd = "cut off in its header";
		return 0;
	}
	f->request = (uint32_t)vhu_ne_get(r->payload, 4);
	f->flags = (uint32_t)vhu_ne_get(r->payload + 4, 4);
	f->size = (uint32_t)vhu_ne_get(r->payload + 8, 4);
	f->len = VHU_MIN(r->len - VHU_C_HEADER_SIZE, (size_t)f->size);
	payload = vhu_arena_memdup(l->t->arena, r->payload + VHU_C_HEADER_SIZE, VHU_MAX(f->len, (size_t)1));
	if (!payload)
		return -ENOMEM;
	f->payload = payload;
	return get_fds(l, r, item);
}

static struct vhu_tape_item *add(struct loader *l, enum vhu_tape_kind kind, uint32_t connection,
				 size_t number)
{
	struct vhu_tape_item *item = vhu_tape_add(l->t);

	if (!item)
		return NULL;
	item->kind = kind;
	item->conn = connection;
	item->line = number;
	return item;
}

/* A process that ends takes its connections with it, though they are told to close later. */
static int get_end(struct loader *l, const struct vhu_record *r, size_t number)
{
	struct vhu_tape_item *item;

	if (!l->open[r->connection])
		return 0;
	l->open[r->connection] = false;
	l->over[r->connection] = true;
	/* The tester hangs up where a back-end is to be gone. */
	if (l->t->tester || (r->kind == VHU_CAP_LIFE_EXIT && r->dir == VHU_CAP_DIR_BE)) {
		item = add(l, VHU_TAPE_MARK, r->connection, number);
		if (!item)
			return -ENOMEM;
		item->text = "back-end killed";
	}
	item = add(l, VHU_TAPE_CLOSE, r->connection, number);
	if (!item)
		return -ENOMEM;
	item->by_be = l->t->tester || r->dir == VHU_CAP_DIR_BE;
	item->text = "main";
	return 0;
}

/*
 * What the tester says beside its persona: fences, which are GET_FEATURES where no front-end asks for them,
 * and what ends a case.
 */
static bool is_aside(struct loader *l, const struct vhu_record *r)
{
	const char *where = r->step ? strchr(r->step, '\t') : NULL;
	uint32_t request = 0;

	if (!l->t->tester)
		return false;
	if (r->len >= VHU_C_HEADER_SIZE && r->channel == VHU_CAP_MAIN)
		request = (uint32_t)vhu_ne_get(r->payload, 4);
	l->features_set[r->connection] |= request == VHU_ID_SET_FEATURES;
	return (where && strcmp(where, "\tepilogue") == 0) ||
	       (request == VHU_ID_GET_FEATURES && l->features_set[r->connection]);
}

static int get_record(struct loader *l, const struct vhu_record *r, size_t number)
{
	const bool ends =
		r->channel == VHU_CAP_LIFE && (r->kind == VHU_CAP_LIFE_CLOSE || r->kind == VHU_CAP_LIFE_EXIT);
	struct vhu_tape_item *item;

	if (r->connection == 0 || r->connection > VHU_CAP_CONNECTIONS_MAX)
		return 0;
	if (ends)
		return get_end(l, r, number);
	if (!vhu_record_is_message(r) || l->over[r->connection] || is_aside(l, r))
		return 0;
	if (!l->open[r->connection] && !add(l, VHU_TAPE_OPEN, r->connection, number))
		return -ENOMEM;
	l->open[r->connection] = true;
	item = add(l, VHU_TAPE_FRAME, r->connection, number);
	if (item)
		item->time = r->t_ns;
	return item ? get_frame(l, r, item) : -ENOMEM;
}

/* A capture does not say what it is of; its name may: DEVICE-WHAT-qVERSION.pcap. */
static void take_name(struct loader *l, const char *path)
{
	const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path, *dot = strrchr(name, '.'),
		   *q = NULL;
	const char *copy = vhu_arena_printf(l->t->arena, "%.*s", dot ? (int)(dot - name) : -1, name);

	if (!copy)
		return;
	l->t->name = copy;
	for (const char *p = copy; (p = strstr(p, "-q")); p++)
		if (p[2] >= '1' && p[2] <= '9')
			q = p;
	if (q)
		l->t->front = q + 2;
}

int vhu_tape_load_pcap(const char *path, struct vhu_tape **ret, struct vhu_err *err)
{
	_cleanup_(vhu_freep) struct loader *l = calloc(1, sizeof(*l));
	struct vhu_trace *trace = NULL;
	int rc = vhu_trace_load(path, &trace, err);

	if (rc < 0)
		return rc;
	if (l)
		l->t = vhu_tape_new();
	rc = l && l->t ? 0 : -ENOMEM;
	if (rc == 0)
		l->t->tester = trace->meta && strstr(trace->meta, "\"tool\":\"vhu-conform ");
	for (size_t i = 0; rc == 0 && i < trace->n_records; i++)
		rc = get_record(l, trace->records[i], i);
	vhu_trace_free(trace);
	if (rc < 0) {
		vhu_tape_free(l ? l->t : NULL);
		return vhu_err_set(err, rc, "out of memory");
	}
	take_name(l, path);
	*ret = l->t;
	return 0;
}
