#include "explain.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "cli/words.h"
#include "oracle/oracle.h"
#include "plan/plan.h"

enum { WIDTH = 96 };

/* --- words for the columns of the tables ------------------------------------------------------ */

static const char *answer_words(enum vhu_answer a)
{
	switch (a) {
	case VHU_ANSWER_ALWAYS:
		return "always";
	case VHU_ANSWER_NEVER:
		return "never";
	case VHU_ANSWER_ON_NEED_REPLY:
		return "when need_reply asks for it";
	case VHU_ANSWER_WITH_LOG_SHMFD:
		return "always with LOG_SHMFD, else when need_reply asks for it";
	}
	return "";
}

static const char *scope_words(enum vhu_scope s)
{
	switch (s) {
	case VHU_SCOPE_DEVICE:
		return "the device";
	case VHU_SCOPE_RING:
		return "one ring";
	case VHU_SCOPE_SCANOUT:
		return "one scanout";
	}
	return "";
}

static const char *status_words(enum vhu_status s)
{
	switch (s) {
	case VHU_STATUS_RELEASED:
		return "released";
	case VHU_STATUS_DEPRECATED:
		return "deprecated";
	case VHU_STATUS_PENDING:
		return "not released yet";
	}
	return "";
}

/* "  name      value", the value broken into lines. */
static void add_row(struct vhu_buf *out, const char *name, const char *value)
{
	size_t column = 14;

	if (!value || !*value)
		return;
	vhu_buf_printf(out, "  %-12s", name);
	while (*value) {
		size_t len = strcspn(value, " ");

		if (column > 14 && column + 1 + len > WIDTH) {
			vhu_buf_printf(out, "\n%14s", "");
			column = 14;
		}
		vhu_buf_printf(out, "%s%.*s", column > 14 ? " " : "", (int)len, value);
		column += len + (column > 14);
		value += len;
		value += strspn(value, " ");
	}
	vhu_buf_puts(out, "\n");
}

static void add_bits(struct vhu_buf *out, const char *name, enum vhu_namespace ns, uint64_t mask)
{
	char names[512];

	if (mask)
		add_row(out, name, vhu_bit_names(ns, VHU_DEV_ANY, mask, names, sizeof(names)));
}

/* --- what belongs together -------------------------------------------------------------------- */

static bool cites(const struct vhu_case_info *info, enum vhu_req req)
{
	for (size_t i = 0; i < info->n_cites; i++)
		if (info->cites[i] == req)
			return true;
	return false;
}

static void add_cases(struct vhu_buf *out, const struct vhu_case_set *set, enum vhu_req req)
{
	size_t n = 0;

	for (size_t i = 0; set && i < vhu_case_set_count(set); i++) {
		const struct vhu_case_info *info = vhu_case_set_info(set, i);

		if (!cites(info, req))
			continue;
		vhu_buf_printf(out, "%s    %s  %s\n", n++ ? "" : "  cases:\n", info->id, info->title);
	}
	if (!n)
		vhu_buf_puts(out, "  cases:      none\n");
}

static void add_faults(struct vhu_buf *out, enum vhu_req req)
{
	const struct vhu_fault_row *row;
	size_t n = 0;

	for (size_t i = 0; (row = vhu_fault_row(i)); i++)
		for (size_t j = 0; j < row->n_reqs; j++)
			if (row->reqs[j] == req)
				vhu_buf_printf(out, "%s    %s  %s\n",
					       n++ ? "" : "  faults of the reference back-end:\n", row->id,
					       row->summary);
}

/* Bugs of real back-ends that a fault stands for; true if there was one. */
static bool add_bugs(struct vhu_buf *out, const struct vhu_fault_row *fault, bool heading)
{
	const struct vhu_bug_row *bug;
	bool any = false;

	for (size_t i = 0; (bug = vhu_bug_row(i)); i++) {
		if (bug->fault != fault)
			continue;
		if (heading && !any)
			vhu_buf_puts(out, "  real bugs like it:\n");
		any = true;
		vhu_buf_printf(out, "    BUG-%03u  %s, %u: %s\n", bug->number, bug->project, bug->year,
			       bug->title);
	}
	return any;
}

static void add_bugs_of_requirement(struct vhu_buf *out, enum vhu_req req)
{
	const struct vhu_fault_row *row;
	bool any = false;

	for (size_t i = 0; (row = vhu_fault_row(i)); i++)
		for (size_t j = 0; j < row->n_reqs; j++)
			if (row->reqs[j] == req)
				any |= add_bugs(out, row, !any);
}

static void explain_requirement(const struct vhu_req_row *row, const struct vhu_case_set *set,
				struct vhu_buf *out)
{
	vhu_buf_printf(out, "%s  requirement, %s\n", row->id, vhu_level_name(row->level));
	add_row(out, "says:", row->text);
	add_row(out, "binds:", vhu_party_words(row->party));
	add_row(out, "section:", row->section);
	add_row(out, "since:", vhu_since_words(row->since));
	add_row(out, "observable:", vhu_seen_words(row->seen));
	add_row(out, "how:", row->how);
	if (row->may_end)
		add_row(out, "or:", "an orderly end of the connection");
	add_row(out, "seen in:", vhu_known_gap(row->req, false));
	add_row(out, "seen in:", vhu_known_gap(row->req, true));
	add_bits(out, "with:", VHU_NS_VIRTIO, row->v_on);
	add_bits(out, "with:", VHU_NS_PROTOCOL, row->p_on);
	add_bits(out, "without:", VHU_NS_VIRTIO, row->v_off);
	add_bits(out, "without:", VHU_NS_PROTOCOL, row->p_off);
	add_bits(out, "with one of:", VHU_NS_VIRTIO, row->v_any);
	add_cases(out, set, row->req);
	add_faults(out, row->req);
	add_bugs_of_requirement(out, row->req);
}

static void add_payload(struct vhu_buf *out, const char *name, enum vhu_payload pl)
{
	const struct vhu_payload_row *row = vhu_payload_row(pl);
	const struct vhu_field_row *f;
	const struct vhu_bits_row *b;

	if (row->max == 0)
		return;
	vhu_buf_printf(out, "  %-12s%s, ", name, row->name);
	if (row->min == row->max)
		vhu_buf_printf(out, "%zu bytes\n", row->min);
	else
		vhu_buf_printf(out, "%zu to %zu bytes\n", row->min, row->max);
	for (size_t i = 0; (f = vhu_payload_field(pl, i)); i++)
		vhu_buf_printf(out, "    %4zu  %-20s %s%s%s\n", f->offset, f->name, f->meaning,
			       f->count ? ", as many as " : "", f->count ? f->count : "");
	for (size_t i = 0; (b = vhu_payload_bits(pl, i)); i++)
		vhu_buf_printf(out, "          %-20s bits %u to %u of %s: %s\n", b->name, b->first,
			       b->first + b->width - 1, b->field, b->meaning);
}

static void explain_message(const struct vhu_msg_row *row, struct vhu_buf *out)
{
	char text[64];

	vhu_buf_printf(out, "%s  message %u of the %s channel\n", row->name, row->id,
		       vhu_channel_name(row->channel));
	add_row(out, "note:", row->note);
	add_row(out, "section:", row->section);
	add_row(out, "concerns:", scope_words(row->scope));
	add_row(out, "answered:", answer_words(row->answer));
	add_row(out, "status:", status_words(row->status));
	add_bits(out, "needs:", VHU_NS_PROTOCOL, row->gate);
	if (row->fds_max) {
		snprintf(text, sizeof(text), "%u to %u with the request", row->fds_min, row->fds_max);
		add_row(out, "descriptors:", text);
	}
	if (row->reply_fds_max) {
		snprintf(text, sizeof(text), "%u to %u with the reply", row->reply_fds_min,
			 row->reply_fds_max);
		add_row(out, "descriptors:", text);
	}
	add_payload(out, "request:", row->request);
	if (row->request_alt != row->request)
		add_payload(out, "or:", row->request_alt);
	add_payload(out, "reply:", row->reply);
	if (row->reply_alt != row->reply)
		add_payload(out, "or:", row->reply_alt);
}

static void explain_feature(const struct vhu_feature_row *row, enum vhu_namespace ns, struct vhu_buf *out)
{
	const struct vhu_msg_row *msg;
	size_t n = 0;

	vhu_buf_printf(out, "%s  %s, bit %u\n", row->name,
		       ns == VHU_NS_PROTOCOL ? "protocol feature" : "virtio feature", row->bit);
	add_row(out, "says:", row->summary);
	if (row->device != VHU_DEV_ANY)
		add_row(out, "device:", vhu_device_row(row->device)->name);
	add_bits(out, "needs:", ns, row->needs);
	if (row->opt_in)
		add_row(out, "offered:", "only by cases that ask for it");
	for (int i = 0; ns == VHU_NS_PROTOCOL && i < VHU_MSG_MAX; i++) {
		msg = vhu_msg_row((enum vhu_msg)i);
		if (msg->gate >> row->bit & 1)
			vhu_buf_printf(out, "%s    %s\n", n++ ? "" : "  messages:\n", msg->name);
	}
}

static void explain_fault(const struct vhu_fault_row *row, struct vhu_buf *out)
{
	vhu_buf_printf(out, "%s  fault of the reference back-end, area %s\n", row->id, row->area);
	add_row(out, "does:", row->summary);
	for (size_t i = 0; i < row->n_reqs; i++)
		add_row(out, "breaks:", vhu_req_row(row->reqs[i])->id);
	add_bugs(out, row, true);
	vhu_buf_printf(out, "  try:        vhu-conform --reference=%s\n", row->id);
}

/* The reason stands in the plan only; without a target it compiles against the union. */
static void add_why(struct vhu_buf *out, const struct vhu_case_set *set, size_t i)
{
	struct vhu_compile_opts opts = {.allow_writes = true};
	struct vhu_buf text = {0};
	struct vhu_diags diags = {.text = &text};
	struct vhu_plan *plan = NULL;

	if (vhu_plan_from_case(set, i, &opts, &plan, &diags, NULL) == 0)
		add_row(out, "why:", plan->why);
	vhu_plan_free(plan);
	vhu_buf_done(&text);
}

static void explain_case(const struct vhu_case_set *set, size_t i, struct vhu_buf *out)
{
	const struct vhu_case_info *info = vhu_case_set_info(set, i);

	vhu_buf_printf(out, "%s  case\n", info->id);
	add_row(out, "says:", info->title);
	add_why(out, set, i);
	add_row(out, "file:", info->file);
	for (size_t d = 0; d < info->n_devices; d++)
		add_row(out, "device:", vhu_device_row(info->devices[d])->name);
	for (size_t t = 0; t < info->n_tags; t++)
		add_row(out, "tag:", info->tags[t]);
	for (size_t r = 0; r < info->n_requirements; r++) {
		const struct vhu_req_row *row = vhu_req_row(info->requirements[r]);

		vhu_buf_printf(out, "  %-12s%s: %s\n", vhu_level_name(row->level), row->id, row->text);
	}
}

/* --- finding it ------------------------------------------------------------------------------- */

static void explain_cases(const char *id, const struct vhu_case_set *set, struct vhu_buf *out)
{
	size_t len = strlen(id);

	for (size_t i = 0; set && i < vhu_case_set_count(set); i++) {
		const char *have = vhu_case_set_info(set, i)->id;

		/* A file's id stands for all its rows. */
		if (strncmp(have, id, len) || (have[len] && have[len] != '#' && have[len] != '%'))
			continue;
		explain_case(set, i, out);
	}
}

struct names {
	const struct vhu_case_set *set;
	enum vhu_namespace ns;
};

/* Everything that can be explained, one after the other. */
static const char *name_at(void *ctx, size_t i)
{
	struct names *n = ctx;
	const struct vhu_fault_row *fault;
	size_t at = i;

	if (at < VHU_REQ_MAX)
		return vhu_req_id_at(NULL, at);
	at -= VHU_REQ_MAX;
	if (at < VHU_MSG_MAX)
		return vhu_msg_name_at(NULL, at);
	at -= VHU_MSG_MAX;
	for (n->ns = VHU_NS_VIRTIO; n->ns <= VHU_NS_PROTOCOL; n->ns++)
		for (size_t f = 0; vhu_feature_name_at(&n->ns, f); f++)
			if (at-- == 0)
				return vhu_feature_name_at(&n->ns, f);
	for (size_t f = 0; (fault = vhu_fault_row(f)); f++)
		if (at-- == 0)
			return fault->id;
	return n->set && at < vhu_case_set_count(n->set) ? vhu_case_set_info(n->set, at)->id : NULL;
}

static const char *without_prefix(const char *id)
{
	static const char prefix[] = "VHOST_USER_";

	return strncmp(id, prefix, sizeof(prefix) - 1) ? id : id + sizeof(prefix) - 1;
}

int vhu_explain(const char *id, const struct vhu_case_set *set, struct vhu_buf *out, struct vhu_err *err)
{
	char upper[80];
	const struct vhu_feature_row *protocol, *virtio;
	const struct vhu_fault_row *fault = vhu_fault_by_id(id);
	const struct vhu_req_row *req;
	const struct vhu_msg_row *msg;
	struct names names = {.set = set};
	const char *near;
	size_t i, before = out->len;

	for (i = 0; id[i] && i + 1 < sizeof(upper); i++)
		upper[i] = (char)toupper((unsigned char)id[i]);
	upper[i] = '\0';
	req = vhu_req_by_id(upper);
	msg = vhu_msg_by_name(without_prefix(upper));
	protocol = vhu_feature_by_name(VHU_NS_PROTOCOL, upper);
	virtio = vhu_feature_by_name(VHU_NS_VIRTIO, upper);
	if (req)
		explain_requirement(req, set, out);
	if (msg)
		explain_message(msg, out);
	if (protocol)
		explain_feature(protocol, VHU_NS_PROTOCOL, out);
	if (virtio)
		explain_feature(virtio, VHU_NS_VIRTIO, out);
	if (fault)
		explain_fault(fault, out);
	explain_cases(id, set, out);
	if (out->len > before)
		return 0;
	near = vhu_nearest_name(id, name_at, &names);
	return vhu_err_set(err, -ENOENT,
			   "%s: no requirement, case, message, feature or fault is called so%s%s%s", id,
			   near ? "\n  did you mean '" : "", near ? near : "", near ? "'?" : "");
}
