/* Holds what a step breaks against what it says that it breaks. */
#include <stdarg.h>
#include <string.h>

#include "model.h"

void vhu_model_complain(struct model *m, const char *format, ...)
{
	struct compile *c = m->c;
	const struct origin *here = &c->origins[m->step - c->steps];
	const char *where = m->step->where;
	char text[600];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	/* The file was found right against the union: it is this target that it does not fit. */
	if (c->facts.known) {
		vhu_plan_skip(c, "on this target %s: %s", where, text);
		return;
	}
	if (!vhu_told_once(&m->told, here))
		return;
	if (strcmp(where, here->pointer))
		vhu_diag_at(c->report, here->source, here->pointer, "%s (in %s)", text, where);
	else
		vhu_diag_at(c->report, here->source, here->pointer, "%s", text);
}

const char *vhu_breaks_name(enum vhu_req req, unsigned malformed, char out[VHU_BREAKS_NAME_MAX])
{
	if (req != VHU_REQ_MAX)
		snprintf(out, VHU_BREAKS_NAME_MAX, "%s", vhu_req_row(req)->id);
	else
		snprintf(out, VHU_BREAKS_NAME_MAX, "malformed:%s",
			 vhu_malformed_name((enum vhu_malformed)malformed));
	return out;
}

static bool names(const struct vhu_breaks *b, const struct vhu_illegal *i)
{
	return b->req == i->req && (b->req != VHU_REQ_MAX || b->malformed == (unsigned)i->malformed);
}

static void list_illegal(const struct model *m, struct vhu_buf *out)
{
	char name[VHU_BREAKS_NAME_MAX];

	for (size_t i = 0; i < m->n_illegal; i++) {
		bool again = false;

		for (size_t k = 0; k < i; k++)
			again |= !strcmp(m->illegal[k].text, m->illegal[i].text);
		if (!again)
			vhu_buf_printf(out, "%s%s (%s)", out->len ? ", " : "",
				       vhu_breaks_name(m->illegal[i].req, m->illegal[i].malformed, name),
				       m->illegal[i].text);
	}
}

void vhu_model_verdict(struct model *m)
{
	const struct vhu_breaks *b = &m->step->breaks;
	struct vhu_buf all = {0};
	char name[VHU_BREAKS_NAME_MAX];

	if (!m->judged)
		return;
	list_illegal(m, &all);
	if (!b->set && m->n_illegal)
		vhu_model_complain(m, "the step breaks %s: say so with 'breaks'", vhu_buf_text(&all));
	else if (b->set && !m->n_illegal)
		vhu_model_complain(m, "the step is legal here, it does not break %s",
				   vhu_breaks_name(b->req, b->malformed, name));
	else if (b->set) {
		bool found = false;

		for (size_t i = 0; i < m->n_illegal; i++)
			found |= names(b, &m->illegal[i]);
		if (!found)
			vhu_model_complain(m, "the step does not break %s, but %s",
					   vhu_breaks_name(b->req, b->malformed, name), vhu_buf_text(&all));
	}
	m->failed |= all.failed;
	vhu_buf_done(&all);
}
