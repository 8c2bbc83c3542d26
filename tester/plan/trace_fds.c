/*
 * What takes the place of the descriptors that travelled. The same object in two messages is the same object
 * again: files are told by their inode, eventfds by the sender's number.
 */
#include <errno.h>
#include <string.h>

#include "trace_plan.h"

/* Sparse files of this size can be made everywhere; a larger one is a lie. */
#define FILE_MAX (UINT64_C(1) << 46)

static bool signals_ring(const struct vhu_msg_row *row)
{
	return row && (row->request == VHU_PL_VRING_FD || row->msg == VHU_MSG_SET_LOG_FD);
}

static struct known_object *find(const struct trace_compile *c, const struct known_object *like)
{
	for (size_t i = 0; i < c->n_objects; i++)
		if (c->known[i].kind == like->kind && c->known[i].by_inode == like->by_inode &&
		    c->known[i].a == like->a && c->known[i].b == like->b)
			return &c->known[i];
	return NULL;
}

static int make_room(struct trace_compile *c)
{
	size_t cap = c->cap_objects ? 2 * c->cap_objects : 64;
	struct vhu_object *objects;
	struct known_object *known;

	if (c->n_objects < c->cap_objects)
		return 0;
	objects = realloc(c->objects, cap * sizeof(*objects));
	if (objects)
		c->objects = objects;
	known = realloc(c->known, cap * sizeof(*known));
	if (known)
		c->known = known;
	if (!objects || !known)
		return vhu_err_errno(c->err, -ENOMEM, "capture");
	c->cap_objects = cap;
	return 0;
}

/* The object's index, a new one if it was not seen before. `nameless`: it is no other's. */
static int object(struct trace_compile *c, const struct known_object *like, bool nameless,
		  const struct vhu_object *what, unsigned *ret)
{
	struct known_object *have = nameless ? NULL : find(c, like);
	int rc;

	if (have) {
		struct vhu_object *o = &c->objects[have->object];

		o->size = VHU_MAX(o->size, what->size);
		*ret = have->object;
		return 0;
	}
	rc = make_room(c);
	if (rc < 0)
		return rc;
	c->objects[c->n_objects] = *what;
	c->known[c->n_objects] = *like;
	if (nameless)
		c->known[c->n_objects] =
			(struct known_object){.kind = VHU_OBJECT_FILE, .a = UINT64_MAX, .b = c->n_objects};
	c->known[c->n_objects].object = (unsigned)c->n_objects;
	*ret = (unsigned)c->n_objects++;
	return 0;
}

static int event_object(struct trace_compile *c, const struct vhu_record *r, const struct vhu_frame *f,
			const struct vhu_fd_info *info, struct vhu_fd_spec *ret)
{
	const struct vhu_msg_row *row = vhu_frame_row(f);
	/* One that signals several rings stands for one each: nobody minds, and numbers are used again. */
	struct known_object like = {.kind = VHU_OBJECT_EVENT,
				    .a = (uint64_t)r->tgid << 32 | f->request,
				    .b = vhu_frame_u64(f, "index") << 32 | (info ? info->number : 0)};
	const struct vhu_object what = {.kind = VHU_OBJECT_EVENT};

	ret->source = VHU_FD_OBJECT;
	/* Front-ends signal a kick before they send it, so that nothing that waits in the ring is missed. */
	ret->signals = info && info->size_valid			   ? VHU_MIN(info->size, UINT64_MAX - 1)
		       : row && row->msg == VHU_MSG_SET_VRING_KICK ? 1
								   : 0;
	/* A number means something only where it is the front-end's own, and not of a copy on its way. What
	 * stands in its place with eBPF is the open file's. */
	return object(
		c, &like,
		!info || info->bad || !info->number ||
			(r->tap != VHU_CAP_TAP_EBPF && (r->tap != VHU_CAP_TAP_IMPORT || info->stand_in)),
		&what, &ret->object);
}

/* A region that came without its descriptor's inode is known by where it lies. */
static uint64_t region_key(const struct vhu_frame *f, size_t i)
{
	enum vhu_payload pl = vhu_frame_payload(f);
	uint64_t part[3] = {0};

	if (pl == VHU_PL_MEM_TABLE || pl == VHU_PL_MEM_REG) {
		vhu_frame_region(f, pl, i, "guest_phys_addr", &part[0]);
		vhu_frame_region(f, pl, i, "memory_size", &part[1]);
		vhu_frame_region(f, pl, i, "mmap_offset", &part[2]);
	}
	return vhu_fnv1a64(part, sizeof(part), VHU_FNV1A64_SEED);
}

static int file_object(struct trace_compile *c, const struct vhu_frame *f, size_t i,
		       const struct vhu_fd_info *info, struct vhu_fd_spec *ret)
{
	bool known = info && info->inode_valid && info->inode;
	struct known_object like = {.kind = VHU_OBJECT_FILE,
				    .by_inode = known,
				    .a = known ? info->dev : 1,
				    .b = known ? info->inode : region_key(f, i)};
	uint64_t size = info && info->size_valid ? info->size : vhu_frame_end_in_file(f, i);
	struct vhu_object what = {.kind = VHU_OBJECT_FILE,
				  .size = VHU_MIN(size, FILE_MAX),
				  .hugetlb = info && info->kind == VHU_FDK_HUGETLB};

	ret->source = VHU_FD_OBJECT;
	return object(c, &like, false, &what, &ret->object);
}

int vhu_trace_file(struct trace_compile *c, const uint64_t *region, bool *known, unsigned *ret)
{
	const struct known_object like = {.kind = VHU_OBJECT_FILE,
					  .by_inode = true,
					  .a = region[VHU_CAP_REGION_DEV],
					  .b = region[VHU_CAP_REGION_INODE]};
	uint64_t end = region[VHU_CAP_REGION_OFFSET] + region[VHU_CAP_REGION_LEN];
	const struct vhu_object what = {.kind = VHU_OBJECT_FILE, .size = VHU_MIN(end, FILE_MAX)};

	*known = like.b != 0;
	return *known ? object(c, &like, false, &what, ret) : 0;
}

/* What the message usually carries, where nothing is known of what it did carry. */
static int by_message(struct trace_compile *c, const struct vhu_record *r, const struct vhu_frame *f,
		      size_t i, const struct vhu_fd_info *info, struct vhu_fd_spec *ret)
{
	const struct vhu_msg_row *row = vhu_frame_row(f);

	if (row && (row->msg == VHU_MSG_SET_BACKEND_REQ_FD || row->msg == VHU_MSG_GPU_SET_SOCKET)) {
		ret->source = VHU_FD_SOCKET;
		return 0;
	}
	if (row && row->msg == VHU_MSG_SET_DEVICE_STATE_FD) {
		ret->source = VHU_FD_STATE;
		return 0;
	}
	return signals_ring(row) ? event_object(c, r, f, info, ret) : file_object(c, f, i, info, ret);
}

void vhu_trace_note_inflight(struct trace_compile *c, const struct vhu_record *r, const struct vhu_frame *f)
{
	if (r->n_fds)
		c->inflight = (struct given_inflight){.any = true,
						      .size = vhu_frame_u64(f, "mmap_size"),
						      .offset = vhu_frame_u64(f, "mmap_offset"),
						      .fd = r->fds[0]};
}

/* Whether the message gives back what the target gave: the same file, or what is described alike. */
static bool brings_back(const struct given_inflight *given, const struct vhu_frame *f,
			const struct vhu_fd_info *info)
{
	const struct vhu_msg_row *row = vhu_frame_row(f);

	if (!row || row->msg != VHU_MSG_SET_INFLIGHT_FD || !given->any)
		return false;
	if (info && info->inode_valid && given->fd.inode_valid)
		return info->dev == given->fd.dev && info->inode == given->fd.inode;
	return vhu_frame_u64(f, "mmap_size") == given->size &&
	       vhu_frame_u64(f, "mmap_offset") == given->offset;
}

static int one(struct trace_compile *c, const struct vhu_record *r, const struct vhu_frame *f, size_t i,
	       const struct vhu_fd_info *info, struct vhu_fd_spec *ret)
{
	const struct vhu_msg_row *row = vhu_frame_row(f);

	if (i == 0 && brings_back(&c->inflight, f, info)) {
		ret->source = VHU_FD_INFLIGHT;
		return 0;
	}
	switch (info ? info->kind : VHU_FDK_UNKNOWN) {
	case VHU_FDK_MEMFD:
	case VHU_FDK_HUGETLB:
	case VHU_FDK_SHM:
	case VHU_FDK_FILE:
		return file_object(c, f, i, info, ret);
	case VHU_FDK_EVENTFD:
		return event_object(c, r, f, info, ret);
	case VHU_FDK_SOCKET:
		ret->source = VHU_FD_SOCKET;
		return 0;
	case VHU_FDK_PIPE:
		ret->source = row && row->msg == VHU_MSG_SET_DEVICE_STATE_FD ? VHU_FD_STATE : VHU_FD_PIPE;
		return 0;
	case VHU_FDK_USERFAULT:
	case VHU_FDK_DEVICE:
	case VHU_FDK_OTHER:
		c->others_fds++;
		ret->source = VHU_FD_DIRECTORY;
		return 0;
	case VHU_FDK_UNKNOWN:
	case VHU_FDK_MAX:
		break;
	}
	return by_message(c, r, f, i, info, ret);
}

size_t vhu_trace_fds_due(const struct vhu_frame *f)
{
	const struct vhu_msg_row *row = vhu_frame_row(f);
	uint64_t n = 0;

	if (!row)
		return 0;
	if (row->request == VHU_PL_VRING_FD)
		return vhu_frame_u64(f, "no_fd") ? 0 : 1;
	if (row->msg == VHU_MSG_SET_MEM_TABLE && vhu_frame_get(f, VHU_PL_MEM_TABLE, "num_regions", &n))
		return (size_t)VHU_MIN(n, (uint64_t)row->fds_max);
	return row->fds_min;
}

int vhu_trace_fds(struct trace_compile *c, struct track *t, const struct vhu_record *r,
		  const struct vhu_frame *f, struct vhu_step_recorded *s)
{
	size_t n = r->flags & VHU_CAP_FDS_LOST ? VHU_MAX(r->n_fds, vhu_trace_fds_due(f)) : r->n_fds;
	struct vhu_fd_spec *specs = vhu_arena_array(c->arena, n, sizeof(*specs));
	int rc = 0;

	if (!specs)
		return vhu_err_errno(c->err, -ENOMEM, "capture");
	c->no_fds += n > r->n_fds;
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = one(c, r, f, i, i < r->n_fds ? &r->fds[i] : NULL, &specs[i]);
	s->fds = specs;
	s->n_fds = n;
	s->inflight = n && specs[0].source == VHU_FD_INFLIGHT;
	return rc;
}
