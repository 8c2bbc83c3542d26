/* What several vhu_verbs have in common. */
#include <string.h>

#include "internal.h"
#include "oracle/oracle.h"
#include "plan/script.h"

/* --- keys of every step -------------------------------------------------------------------------- */

static uint32_t outcome_bit(json_t *json)
{
	int i = json_is_string(json) ? vhu_word_index(vhu_words_outcome, json_string_value(json)) : -1;

	return i < 0 ? 0 : UINT32_C(1) << i;
}

static uint32_t get_outcomes(struct compile *c, const struct node *n)
{
	uint32_t bits = outcome_bit(n->json);

	for (size_t i = 0; i < json_array_size(n->json); i++)
		bits |= outcome_bit(json_array_get(n->json, i));
	if ((bits & VHU_OUT_DEAD) && !c->needs_spawn)
		vhu_diag(
			c->report, n->path,
			"only a process of ours can be seen to die: \"needs\": {\"spawn\": true} is missing");
	return bits;
}

static const char *malformed_at(void *ctx, size_t i)
{
	return i < VHU_MALFORMED_MAX ? vhu_malformed_name((enum vhu_malformed)i) : NULL;
}

static bool get_malformed(struct compile *c, const struct node *n, const char *kind, struct vhu_breaks *ret)
{
	enum vhu_malformed m = vhu_malformed_by_name(kind);
	char near[HINT_CAP];

	if (m == VHU_MALFORMED_MAX) {
		vhu_diag(c->report, n->path, "no kind of malformation '%s'%s", kind,
			 vhu_hint(near, kind, malformed_at, NULL));
		return false;
	}
	*ret = (struct vhu_breaks){true, VHU_REQ_MAX, m};
	return true;
}

static void get_breaks(struct compile *c, const struct node *n, struct vhu_breaks *ret)
{
	const char *text = json_string_value(n->json);
	enum vhu_req req;

	if (!strncmp(text, "malformed:", 10)) {
		get_malformed(c, n, text + 10, ret);
		return;
	}
	if (!vhu_requirement_get(c->report, n->json, n->path, &req))
		return;
	*ret = (struct vhu_breaks){true, req, VHU_MALFORMED_MAX};
	switch (vhu_req_row(req)->party) {
	case VHU_PARTY_FRONT:
	case VHU_PARTY_BOTH:
	case VHU_PARTY_DRIVER:
		break;
	case VHU_PARTY_BACK:
	case VHU_PARTY_DEVICE:
		vhu_diag(c->report, n->path, "%s binds the back-end: 'breaks' names what we do wrong", text);
		break;
	}
}

int vhu_case_conn_find(const struct compile *c, const char *name)
{
	for (size_t i = 0; i < c->n_conns; i++)
		if (!strcmp(c->conns[i], name))
			return (int)i;
	return -1;
}

static const char *conn_at(void *ctx, size_t i)
{
	const struct compile *c = ctx;

	return i < c->n_conns ? c->conns[i] : NULL;
}

static void get_conn(struct compile *c, const struct node *n, unsigned *ret)
{
	const char *name = vhu_get_text(c, n, "a connection's name");
	int i = name ? vhu_case_conn_find(c, name) : -1;
	char near[HINT_CAP];

	if (i >= 0)
		*ret = (unsigned)i;
	else if (name)
		vhu_diag(c->report, n->path, "no connection '%s' was opened%s", name,
			 vhu_hint(near, name, conn_at, c));
}

void vhu_get_common(struct compile *c, const struct node *n, struct vhu_step *step)
{
	struct node note = NODE_GET(n, "note"), requirement = NODE_GET(n, "requirement"),
		    within = NODE_GET(n, "within_ms");
	struct node conn = NODE_GET(n, "conn"), expect = NODE_GET(n, "expect"),
		    tolerate = NODE_GET(n, "tolerate"), skip = NODE_GET(n, "skip");
	struct node breaks = NODE_GET(n, "breaks");

	step->note = note.json ? vhu_plan_text(c, json_string_value(note.json)) : c->defaults.note;
	step->requirement = c->defaults.requirement;
	if (requirement.json &&
	    vhu_requirement_cite(c->report, requirement.json, requirement.path, &step->requirement))
		c->cited[step->requirement] = true;
	step->within_ms = within.json ? (uint32_t)json_integer_value(within.json) : c->defaults.within_ms;
	if (conn.json)
		get_conn(c, &conn, &step->conn);
	step->expect_given = expect.json;
	if (expect.json)
		step->expect = get_outcomes(c, &expect);
	if (tolerate.json)
		step->tolerate = get_outcomes(c, &tolerate);
	if (skip.json)
		step->skip = get_outcomes(c, &skip);
	step->breaks.req = VHU_REQ_MAX;
	if (breaks.json)
		get_breaks(c, &breaks, &step->breaks);
}

bool vhu_profile_check(struct compile *c, const struct node *n)
{
	const char *name = json_string_value(n->json);
	char near[HINT_CAP];

	if (!name || vhu_profile_known(name))
		return true;
	vhu_diag(c->report, n->path, "no profile '%s'%s", name,
		 vhu_hint(near, name, vhu_profile_name_at, NULL));
	return false;
}

/* --- messages ------------------------------------------------------------------------------------ */

bool vhu_get_message(struct compile *c, const struct node *n, enum vhu_channel channel,
		     const struct vhu_msg_row **ret, uint32_t *ret_id)
{
	const char *name = vhu_get_text(c, n, "a message");
	char near[HINT_CAP];
	uint64_t id;

	if (!name)
		return false;
	if (*name >= '0' && *name <= '9') {
		if (vhu_u64_parse(name, &id) < 0 || id > UINT32_MAX) {
			vhu_diag(c->report, n->path, "%s is no request id of 32 bits", name);
			return false;
		}
		*ret = vhu_msg_by_id(channel, (uint32_t)id);
		*ret_id = (uint32_t)id;
		return true;
	}
	*ret = vhu_msg_by_name(name);
	if (!*ret) {
		vhu_diag(c->report, n->path, "no message '%s'%s", name,
			 vhu_hint(near, name, vhu_msg_name_at, NULL));
		return false;
	}
	if ((*ret)->channel != channel) {
		vhu_diag(c->report, n->path, "%s belongs to the %s channel", name,
			 vhu_channel_name((*ret)->channel));
		return false;
	}
	*ret_id = (*ret)->id;
	return true;
}

/* --- fds
 * ---------------------------------------------------------------------------------------------------- */

static bool get_fd(struct compile *c, const struct node *n, struct vhu_fd_spec *ret)
{
	const char *text = json_string_value(n->json);
	json_t *size;
	bool ok;

	if (strncmp(text, "memfd:", 6)) {
		*ret = (struct vhu_fd_spec){.source = (enum vhu_fd_source)vhu_word_index(vhu_words_fd, text)};
		return true;
	}
	size = json_string(text + 6);
	if (!size) {
		c->oom = true;
		return false;
	}
	ret->source = VHU_FD_MEMFD;
	ok = vhu_get_value(c, &(struct node){size, n->path, n->scope}, VHU_NS_NONE, &ret->size);
	json_decref(size);
	return ok;
}

bool vhu_get_fds(struct compile *c, const struct node *n, const struct vhu_fd_spec **ret, size_t *ret_n,
		 bool *ret_given)
{
	size_t count = json_array_size(n->json);
	struct vhu_fd_spec *fds;
	bool ok = true;

	*ret_given = n->json;
	for (size_t i = 0; i < count; i++) {
		if (strcmp(json_string_value(json_array_get(n->json, i)), "auto"))
			continue;
		*ret_given = false;
		if (count > 1)
			vhu_diag(c->report, n->path, "'auto' stands alone: it is what the message takes");
		return count == 1;
	}
	fds = vhu_plan_take(c, count, sizeof(*fds));
	for (size_t i = 0; fds && i < count; i++) {
		struct node fd = NODE_AT(n, i);

		ok &= get_fd(c, &fd, &fds[i]);
	}
	*ret = fds;
	*ret_n = count;
	return ok && fds;
}

/* --- data plane
 * ---------------------------------------------------------------------------------------------- */

bool vhu_queue_use(struct compile *c, const struct path *at, uint64_t queue)
{
	/* Rings of a capture are not of our making: none has to be laid out for them. */
	if (c->silent || c->plan->captured)
		return true;
	if (queue >= VHU_MAX(c->facts.queues, 1u)) {
		if (c->facts.known) {
			vhu_plan_skip(c, "needs ring %llu, the target has %u", (unsigned long long)queue,
				      c->facts.queues);
			return true;
		}
		vhu_diag(
			c->report, at,
			"ring %llu: the case can count on %u rings; \"needs\": {\"queues\": %llu} is missing",
			(unsigned long long)queue, c->facts.queues, (unsigned long long)queue + 1);
		return false;
	}
	c->n_rings = VHU_MAX(c->n_rings, (unsigned)queue + 1);
	return true;
}

bool vhu_get_queue(struct compile *c, const struct node *n, unsigned *ret)
{
	struct node queue = NODE_GET(n, "queue");
	uint64_t q = 0;

	*ret = 0;
	if (queue.json && !vhu_get_count(c, &queue, "a queue", 0, VHU_LAYOUT_RINGS_MAX - 1, &q))
		return false;
	*ret = (unsigned)q;
	return vhu_queue_use(c, queue.json ? queue.path : n->path, q);
}

bool vhu_get_pattern(struct compile *c, const struct node *n, unsigned *ret, uint64_t *ret_arg)
{
	const char *text = json_string_value(n->json), *arg = text ? strchr(text, ':') : NULL;
	char word[8] = "";
	uint8_t byte = 0;
	int i;

	if (!text)
		return true;
	snprintf(word, sizeof(word), "%.*s", arg ? (int)(arg - text) : 7, text);
	i = vhu_word_index(vhu_words_pattern, word);
	*ret = (unsigned)VHU_MAX(i, 0);
	if (!arg)
		return true;
	if (*word == 's') {
		if (vhu_u64_parse(arg + 1, ret_arg) == 0)
			return true;
		vhu_diag(c->report, n->path, "the seed does not fit 64 bits");
		return false;
	}
	vhu_hex_parse(arg + 1, &byte, 1);
	*ret_arg = byte;
	return true;
}

uint32_t vhu_get_statuses(const struct node *n, uint32_t otherwise)
{
	json_t *status = json_object_get(n->json, "status");
	uint32_t bits = 0;

	if (!status)
		return otherwise;
	if (json_is_string(status)) {
		int i = vhu_word_index(vhu_words_status, json_string_value(status));

		return i < 0 ? 0 : UINT32_C(1) << i;
	}
	for (size_t i = 0; i < json_array_size(status); i++)
		bits |= UINT32_C(1) << vhu_word_index(vhu_words_status,
						      json_string_value(json_array_get(status, i)));
	return bits;
}

const char *vhu_get_tag(struct compile *c, const struct node *n)
{
	struct node tag = NODE_GET(n, "tag");
	const char *text = json_string_value(tag.json), **tags;

	if (!text)
		return NULL;
	for (size_t i = 0; i < c->n_tags; i++)
		if (!strcmp(c->tags[i], text))
			return c->tags[i];
	if (c->n_tags == c->cap_tags) {
		size_t cap = c->cap_tags ? 2 * c->cap_tags : 16;

		tags = realloc(c->tags, cap * sizeof(*tags));
		if (!tags) {
			c->oom = true;
			return NULL;
		}
		c->tags = tags;
		c->cap_tags = cap;
	}
	text = vhu_plan_text(c, text);
	if (text)
		c->tags[c->n_tags++] = text;
	return text;
}

static const char *tag_name_at(void *ctx, size_t i)
{
	const struct compile *c = ctx;

	return i < c->n_tags ? c->tags[i] : NULL;
}

bool vhu_tag_check(struct compile *c, const struct path *at, const char *tag)
{
	char near[HINT_CAP];

	for (size_t i = 0; i < c->n_tags; i++)
		if (!strcmp(c->tags[i], tag))
			return true;
	vhu_diag(c->report, at, "no request before this step has the tag '%s'%s", tag,
		 vhu_hint(near, tag, tag_name_at, c));
	return false;
}
