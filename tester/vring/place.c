/* Places in a ring by their names. */
#include <errno.h>

#include "access.h"
#include "ring.h"

static bool name_matches(const char *pattern, const char *at, uint64_t *ret_index)
{
	*ret_index = 0;
	for (; *pattern; pattern++) {
		if (*pattern != '#') {
			if (*at++ != *pattern)
				return false;
			continue;
		}
		if (*at < '0' || *at > '9')
			return false;
		for (; *at >= '0' && *at <= '9'; at++) {
			if (*ret_index > UINT32_MAX)
				return false;
			*ret_index = *ret_index * 10 + (uint64_t)(*at - '0');
		}
	}
	return *at == '\0';
}

int vhu_place_find(const struct vhu_places *places, uint32_t ring_size, const char *at, struct vhu_place *ret,
		   struct vhu_err *err)
{
	for (size_t i = 0; i < places->n; i++) {
		const struct vhu_place_row *row = &places->row[i];

		if (!name_matches(row->name, at, &ret->index))
			continue;
		if (ret->index >= ring_size)
			return vhu_err_set(err, -ENOENT, "'%s': the ring has %u entries", at, ring_size);
		ret->row = row;
		ret->offset = row->offset + row->stride * (row->behind ? ring_size : (uint32_t)ret->index);
		return 0;
	}
	return vhu_err_set(err, -ENOENT, "no '%s' in %s", at, places->all);
}

static int fits(const struct vhu_place *p, const char *at, uint64_t value, struct vhu_err *err)
{
	if (p->row->size < 8 && value >> (p->row->size * 8))
		return vhu_err_set(err, -EINVAL, "'%s' has %u bytes, 0x%llx does not fit", at, p->row->size,
				   (unsigned long long)value);
	return 0;
}

void vhu_place_store(const struct vhu_place *p, uint64_t value)
{
	if (p->row->size == 8)
		ring_store64(p->mem, value);
	else if (p->row->size == 4)
		ring_store32(p->mem, (uint32_t)value);
	else
		ring_store16_release(p->mem, (uint16_t)value);
}

int vhu_vring_poke(struct vhu_vring *v, const char *at, uint64_t value, struct vhu_err *err)
{
	struct vhu_place p;
	int r = v->ops->find(v, at, &p, err);

	if (r == 0)
		r = fits(&p, at, value, err);
	if (r < 0)
		return r;
	v->ops->acknowledge(v, &p, value);
	vhu_place_store(&p, value);
	return 0;
}

int vhu_vring_peek(const struct vhu_vring *v, const char *at, uint64_t *ret, struct vhu_err *err)
{
	struct vhu_place p;
	int r = v->ops->find(v, at, &p, err);

	if (r < 0)
		return r;
	*ret = p.row->size == 8	  ? ring_load64(p.mem)
	       : p.row->size == 4 ? ring_load32(p.mem)
				  : ring_load16_acquire(p.mem);
	return 0;
}
