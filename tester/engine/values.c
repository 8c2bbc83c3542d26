/* Values, matchers and saved variables of a running case. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

bool vhu_run_value(struct vhu_run *r, const struct vhu_value *v, uint64_t *ret)
{
	int rc = vhu_value_eval(v, r->vars, r->vars_set, ret);

	if (rc == -ENODATA)
		vhu_run_broken(r, "$%s is used before it was saved", r->plan->vars[*ret]);
	else if (rc < 0)
		vhu_run_broken(r, "a value does not fit 64 bits");
	return rc == 0;
}

void vhu_run_match(struct vhu_run *r, const struct vhu_step *s, const struct vhu_matcher *m, const char *what,
		   uint64_t x)
{
	char accepted[240];
	size_t term;
	int rc;

	if (!m->n)
		return;
	rc = vhu_match_u64(m, x, r->vars, r->vars_set, &term);
	if (rc < 0) {
		vhu_run_broken(r, "the matcher of %s: %s", what, strerror(-rc));
	} else if (rc == 0) {
		vhu_matcher_describe(m, r->vars, r->vars_set, accepted, sizeof(accepted));
		vhu_run_unmet(r, s, VHU_FINDING_RULE, accepted, "%s = %llu (0x%llx)", what,
			      (unsigned long long)x, (unsigned long long)x);
	}
}

bool vhu_run_field(const struct vhu_run *r, const struct vhu_frame *f, const char *name, uint64_t *ret)
{
	const size_t head = vhu_payload_row(VHU_PL_CONFIG)->min;
	enum vhu_payload pl = vhu_frame_payload(f);
	unsigned byte;

	if (pl >= VHU_PL_MAX)
		return false;
	if (vhu_frame_get(f, pl, name, ret))
		return true;
	if (pl == VHU_PL_CONFIG && vhu_config_byte(name, &byte)) {
		if (f->len > head + byte)
			*ret = f->payload[head + byte];
		return f->len > head + byte;
	}
	return pl == VHU_PL_CONFIG && vhu_frame_config(f, r->plan->device, name, ret);
}

void vhu_run_save(struct vhu_run *r, const struct vhu_save *save, size_t n, const struct vhu_frame *f)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t x;

		if (!vhu_run_field(r, f, save[i].field, &x)) {
			vhu_run_unmet(r, r->step, VHU_FINDING_RULE, save[i].field,
				      "an answer without this field");
			r->stop = true;
			return;
		}
		r->vars[save[i].var] = x;
		r->vars_set[save[i].var] = true;
	}
}
