/* The parts of a queue that no format differs in, and the way to the format. */
#include "ring.h"

#include <errno.h>
#include <stdarg.h>

void vhu_vring_report(struct vhu_vring *v, struct vhu_ring_event *event, const char *format, ...)
{
	va_list args;

	if (v->reports == 0 || !v->breach || v->spoilt)
		return;
	v->reports--;
	event->queue = v->queue;
	va_start(args, format);
	vsnprintf(event->text, sizeof(event->text), format, args);
	va_end(args);
	v->breach(v->ctx, event);
}

int vhu_vring_new(const struct vhu_vring_opts *opts, struct vhu_vring **ret, struct vhu_err *err)
{
	const struct vhu_vring_ops *ops = opts->layout->packed ? &vhu_packed_ops : &vhu_split_ops;
	struct vhu_vring *v;
	int r = ops->create(opts, &v, err);

	if (r < 0)
		return r;
	v->ops = ops;
	v->queue = opts->queue;
	v->layout = opts->layout;
	v->mem = opts->mem;
	v->event_idx = opts->event_idx;
	v->indirect_desc = opts->indirect_desc;
	v->in_order = opts->in_order;
	v->breach = opts->breach;
	v->ctx = opts->ctx;
	v->watch = opts->watch;
	r = vhu_vring_fds_open(v, err);
	if (r < 0) {
		ops->destroy(v);
		return r;
	}
	/* In one step: a device may be looking at the ring already. */
	vhu_vring_reset(v, opts->base ? vhu_vring_base_cut(v, *opts->base) : vhu_vring_first_base(v));
	*ret = v;
	return 0;
}

void vhu_vring_free(struct vhu_vring *v)
{
	if (!v)
		return;
	vhu_vring_still(v);
	vhu_vring_fds_close(v);
	v->ops->destroy(v);
}

void vhu_vring_reset(struct vhu_vring *v, uint32_t base)
{
	vhu_vring_still(v);
	v->spoilt = false;
	v->ops->reset(v, base);
}

void vhu_vring_spoil(struct vhu_vring *v)
{
	v->spoilt = true;
}

bool vhu_vring_spoilt(const struct vhu_vring *v)
{
	return v->spoilt;
}

uint32_t vhu_vring_first_base(const struct vhu_vring *v)
{
	return v->ops->first_base(v);
}

uint32_t vhu_vring_base(const struct vhu_vring *v)
{
	return v->ops->base(v);
}

uint32_t vhu_vring_base_used(const struct vhu_vring *v)
{
	return v->ops->base_used(v);
}

uint32_t vhu_vring_base_cut(const struct vhu_vring *v, uint64_t base)
{
	return v->ops->base_cut(v, base);
}

bool vhu_vring_stands_at(const struct vhu_vring *v, uint32_t base)
{
	return v->ops->stands_at(v, base);
}

bool vhu_vring_base_right(const struct vhu_vring *v, uint32_t base, char *out, size_t cap)
{
	return v->ops->base_right(v, base, out, cap);
}

void vhu_vring_features(struct vhu_vring *v, bool event_idx, bool indirect_desc, bool in_order)
{
	if (v->event_idx == event_idx && v->indirect_desc == indirect_desc && v->in_order == in_order)
		return;
	v->event_idx = event_idx;
	v->indirect_desc = indirect_desc;
	v->in_order = in_order;
	v->ops->features(v);
}

static int tell_added(struct vhu_vring *v, int r, const uint16_t *head)
{
	if (r == 0 && v->watch)
		v->watch->added(v->watch->ctx, v, *head);
	return r;
}

int vhu_vring_add(struct vhu_vring *v, const struct vhu_sg *sg, size_t n, bool indirect, void *cookie,
		  uint16_t *ret_head, struct vhu_err *err)
{
	return tell_added(v, v->ops->add(v, sg, n, indirect, cookie, ret_head, err), ret_head);
}

int vhu_vring_add_raw(struct vhu_vring *v, const struct vhu_raw_desc *desc, size_t n, void *cookie,
		      uint16_t *ret_head, struct vhu_err *err)
{
	return tell_added(v, v->ops->add_raw(v, desc, n, cookie, ret_head, err), ret_head);
}

unsigned vhu_vring_queue(const struct vhu_vring *v)
{
	return v->queue;
}

size_t vhu_vring_chain(const struct vhu_vring *v, uint16_t head, struct vhu_raw_desc *out, size_t max,
		       uint32_t *index)
{
	size_t n = v->ops->chain(v, head, out, max, index), total = n;

	/* Behind those that have none it is nobody's business what follows. */
	if (n && n <= max && (out[n - 1].flags & VHU_C_DESC_F_INDIRECT))
		total += vhu_table_entries(v, &out[n - 1], out + n, max - n);
	return total;
}

bool vhu_vring_next(const struct vhu_vring *v, uint16_t *head)
{
	return v->ops->next(v, head);
}

bool vhu_vring_publish(struct vhu_vring *v)
{
	v->reports = REPORTS_MAX;
	return v->ops->publish(v);
}

size_t vhu_vring_reap(struct vhu_vring *v, struct vhu_used *out, size_t max)
{
	v->reports = REPORTS_MAX;
	return v->ops->reap(v, out, max);
}

bool vhu_vring_pending(const struct vhu_vring *v)
{
	return v->ops->pending(v);
}

bool vhu_vring_arm(struct vhu_vring *v)
{
	return v->ops->arm(v);
}

void vhu_vring_disarm(struct vhu_vring *v)
{
	v->ops->disarm(v);
}

void *vhu_vring_forget(struct vhu_vring *v)
{
	return v->ops->forget(v);
}

unsigned vhu_vring_inflight(const struct vhu_vring *v)
{
	return v->ops->inflight(v);
}

void vhu_vring_audit(struct vhu_vring *v)
{
	vhu_vring_still(v);
	v->reports = REPORTS_MAX;
	v->ops->audit(v);
}

uint16_t vhu_vring_avail_idx(const struct vhu_vring *v)
{
	return v->ops->avail_idx(v);
}

uint16_t vhu_vring_seen_idx(const struct vhu_vring *v)
{
	return v->ops->seen_idx(v);
}

uint16_t vhu_vring_used_idx(const struct vhu_vring *v)
{
	return v->ops->used_idx(v);
}
