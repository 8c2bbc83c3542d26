/* What goes over the sockets: send, raw, recv, fence. */
#include <string.h>

#include "internal.h"
#include "wire/frame.h"

static const char *const region_fields[] = {"guest_phys_addr", "memory_size", "userspace_addr", "mmap_offset",
					    NULL};

/* The layouts of a request, or of an answer of ours on the back-end channel. */
static struct layouts sent_layouts(const struct vhu_step_send *s)
{
	if (s->channel == VHU_CHAN_BACKEND)
		return vhu_answer_layouts(s->row, s->row->name);
	return (struct layouts){{s->row->request, s->row->request_alt}, s->row->name};
}

/* "the reply to GET_CONFIG" */
static const char *joined(struct compile *c, const char *prefix, const char *name)
{
	char text[96];

	snprintf(text, sizeof(text), "%s %s", prefix, name);
	return vhu_plan_text(c, text);
}

/* --- send: what goes out ------------------------------------------------------------------------- */

/* The member of `with` that is a list of regions; json NULL if there is none. */
static struct node region_member(const struct node *with, const struct layouts *l, struct path *path)
{
	const struct vhu_field_row *row;

	for (unsigned k = 0; k < 2; k++)
		for (size_t i = 0; (row = vhu_payload_field(l->payload[k], i)); i++)
			if (row->kind == VHU_FIELD_REGION && json_object_get(with->json, row->name))
				return vhu_node_get(with, row->name, path);
	return (struct node){0};
}

static void send_with(struct compile *c, const struct node *with, struct vhu_step_send *s)
{
	struct layouts l;
	struct path path;
	struct node region;

	if (!with->json)
		return;
	if (!s->row) {
		vhu_diag_key(c->report, with->path,
			     "request %u is unknown and has no fields: give its bytes as 'payload'",
			     s->request);
		return;
	}
	l = sent_layouts(s);
	vhu_get_assigns(c, with, &l, &s->with, &s->n_with);
	region = region_member(with, &l, &path);
	if (!region.json)
		return;
	s->regions_given = true;
	vhu_get_regions(c, &region, region_fields, &s->regions, &s->n_regions);
	if (l.payload[0] == VHU_PL_MEM_REG && s->n_regions != 1)
		vhu_diag(c->report, region.path, "%s speaks of one region", l.what);
}

static void send_bytes(struct compile *c, const struct node *n, struct vhu_step_send *s)
{
	struct node payload = NODE_GET(n, "payload"), tail = NODE_GET(n, "tail"), with = NODE_GET(n, "with");

	if (payload.json && with.json)
		vhu_diag_key(c->report, payload.path, "'payload' stands in place of 'with'");
	if (payload.json)
		s->payload_given = vhu_get_bytes(c, &payload, &s->payload, &s->n_payload);
	if (tail.json)
		vhu_get_bytes(c, &tail, &s->tail, &s->n_tail);
}

static void send_header(struct compile *c, const struct node *n, struct vhu_step_send *s)
{
	struct node flags = NODE_GET(n, "flags"), size = NODE_GET(n, "size");
	json_t *need_reply = json_object_get(n->json, "need_reply");
	uint64_t u;

	if (flags.json && vhu_get_value(c, &flags, VHU_NS_NONE, &s->flags) && need_reply)
		vhu_diag_key(c->report, flags.path,
			     "'flags' is the whole word: it leaves nothing to 'need_reply'");
	if (size.json)
		vhu_get_value(c, &size, VHU_NS_NONE, &s->size);
	if (s->flags.n && vhu_value_eval(&s->flags, NULL, NULL, &u) == 0 && u > UINT32_MAX)
		vhu_diag(c->report, flags.path, "0x%llx does not fit the 32 bits of the flags",
			 (unsigned long long)u);
	if (s->size.n && vhu_value_eval(&s->size, NULL, NULL, &u) == 0 && u > UINT32_MAX)
		vhu_diag(c->report, size.path, "0x%llx does not fit the 32 bits of the size",
			 (unsigned long long)u);
	s->need_reply = !need_reply ? VHU_NR_PROFILE : json_is_true(need_reply) ? VHU_NR_YES : VHU_NR_NO;
}

static void send_pieces(struct compile *c, const struct node *n, struct vhu_step_send *s)
{
	json_t *pieces = json_object_get(n->json, "pieces");
	size_t count = json_array_size(pieces);
	size_t *list = count ? vhu_plan_take(c, count, sizeof(*list)) : NULL;

	for (size_t i = 0; list && i < count; i++)
		list[i] = (size_t)json_integer_value(json_array_get(pieces, i));
	s->pieces = list;
	s->n_pieces = list ? count : 0;
}

/* What waits for the next message can't be waited for. */
static void send_hold(struct compile *c, const struct node *n, struct vhu_step *step)
{
	struct vhu_step_send *s = &step->send;
	struct node hold = NODE_GET(n, "hold");

	s->hold = vhu_get_bool(n, "hold", false);
	if (!s->hold)
		return;
	if (s->channel != VHU_CHAN_MAIN)
		vhu_diag_key(c->report, hold.path, "'hold' is for the main channel");
	if (step->expect_given && step->expect != VHU_OUT_NONE)
		vhu_diag_key(c->report, hold.path,
			     "the answer to a held message is not waited for: 'expect' can only be \"none\"");
	step->expect_given = true;
	step->expect = VHU_OUT_NONE;
}

/* --- send: what comes back
 * ---------------------------------------------------------------------------------- */

static bool has_reply(const struct vhu_msg_row *row)
{
	return row && (row->answer == VHU_ANSWER_ALWAYS || row->reply != VHU_PL_NONE ||
		       row->reply_alt != VHU_PL_NONE);
}

/* Reply keys of a request that is never replied to can't be met. */
static bool reply_possible(struct compile *c, const struct node *n, const struct vhu_step_send *s)
{
	static const char *const keys[] = {"reply", "reply_fds", "reply_size", "save"};

	if (has_reply(s->row) && s->channel == VHU_CHAN_MAIN)
		return true;
	for (size_t i = 0; i < VHU_ARRAY_SIZE(keys); i++) {
		struct node key = NODE_GET(n, keys[i]);

		if (key.json)
			vhu_diag_key(c->report, key.path, "%s has no reply of its own",
				     s->row ? s->row->name : "an unknown request");
	}
	return false;
}

static const char *fd_kind_at(void *ctx, size_t i)
{
	return i < VHU_FDK_MAX ? vhu_fd_kind_name((enum vhu_fd_kind)i) : NULL;
}

static int get_reply_fds(struct compile *c, const struct node *n)
{
	struct node fds = NODE_GET(n, "reply_fds");
	char near[HINT_CAP];

	if (!fds.json)
		return -1;
	if (json_is_integer(fds.json))
		return (int)json_integer_value(fds.json);
	for (size_t i = 0; i < json_array_size(fds.json); i++) {
		const char *name = json_string_value(json_array_get(fds.json, i));
		bool known = false;

		for (int k = 0; k < VHU_FDK_MAX; k++)
			known |= !strcmp(vhu_fd_kind_name((enum vhu_fd_kind)k), name);
		if (!known)
			vhu_diag(c->report, PATH_INDEX(fds.path, i), "no kind of descriptor '%s'%s", name,
				 vhu_hint(near, name, fd_kind_at, NULL));
	}
	return (int)json_array_size(fds.json);
}

static void send_reply(struct compile *c, const struct node *n, struct vhu_step *step)
{
	struct vhu_step_send *s = &step->send;
	struct node reply = NODE_GET(n, "reply"), size = NODE_GET(n, "reply_size"),
		    save = NODE_GET(n, "save");
	struct layouts l;

	s->reply_fds = -1;
	if (!reply_possible(c, n, s))
		return;
	l = (struct layouts){{s->row->reply, s->row->reply_alt}, joined(c, "the reply to", s->row->name)};
	s->reply_fds = get_reply_fds(c, n);
	if (size.json)
		vhu_get_match(c, &size, MATCH_NUMBER, VHU_NS_NONE, &s->reply_size);
	if (save.json)
		vhu_get_saves(c, &save, &l, s->row->reply_fds_max, &s->save, &s->n_save);
	if (!reply.json)
		return;
	vhu_get_field_matches(c, &reply, &l, &s->reply, &s->n_reply);
	if (!step->expect_given) {
		step->expect_given = true;
		step->expect = VHU_OUT_REPLY;
	} else if (!(step->expect & (VHU_OUT_REPLY | VHU_OUT_ALIVE))) {
		vhu_diag_key(c->report, reply.path, "'reply' can't be matched: 'expect' takes no reply");
	}
}

static enum vhu_channel get_channel(const struct node *n, enum vhu_channel otherwise)
{
	return (enum vhu_channel)vhu_get_word(n, "on", vhu_words_channel, otherwise);
}

/* A ring that a message names is one that has to be laid out; others are wrong on purpose, or judged. */
static void note_index(struct compile *c, const struct vhu_step_send *s)
{
	uint64_t index;

	for (size_t i = 0; s->row && s->row->scope == VHU_SCOPE_RING && i < s->n_with; i++)
		if (!strcmp(s->with[i].field, "index") &&
		    vhu_value_eval(&s->with[i].value, NULL, NULL, &index) == 0 && index < c->facts.queues &&
		    index < VHU_LAYOUT_RINGS_MAX && !c->silent)
			c->n_rings = VHU_MAX(c->n_rings, (unsigned)index + 1);
}

/* Fields that say something else with packed rings. */
static void check_format(struct compile *c, const struct vhu_step_send *s)
{
	bool num = false;

	if (!s->row)
		return;
	for (size_t i = 0; i < s->n_with; i++)
		num |= !strcmp(s->with[i].field, "num");
	for (size_t i = 0; i < s->n_reply; i++)
		num |= !strcmp(s->reply[i].field, "num");
	if (num && (s->row->msg == VHU_MSG_SET_VRING_BASE || s->row->msg == VHU_MSG_GET_VRING_BASE))
		vhu_plan_split_only(c, "indexes");
	if (s->row->msg == VHU_MSG_SET_FEATURES && s->n_with)
		vhu_plan_split_only(c, "features by hand");
}

void vhu_verb_send(struct compile *c, const struct node *n, struct vhu_step *step)
{
	struct vhu_step_send *s = &step->send;
	struct node send = NODE_GET(n, "send"), with = NODE_GET(n, "with"), fds = NODE_GET(n, "fds");

	s->channel = get_channel(n, VHU_CHAN_MAIN);
	s->reply_fds = -1;
	if (!vhu_get_message(c, &send, s->channel, &s->row, &s->request))
		return;
	send_with(c, &with, s);
	send_bytes(c, n, s);
	send_header(c, n, s);
	send_pieces(c, n, s);
	if (fds.json)
		vhu_get_fds(c, &fds, &s->fds, &s->n_fds, &s->fds_given);
	send_reply(c, n, step);
	send_hold(c, n, step);
	note_index(c, s);
	check_format(c, s);
}

/* --- raw, recv, fence
 * ------------------------------------------------------------------------------------------ */

void vhu_verb_raw(struct compile *c, const struct node *n, struct vhu_step *step)
{
	struct node raw = NODE_GET(n, "raw"), fds = NODE_GET(n, "fds");
	bool given;

	step->raw.channel = get_channel(n, VHU_CHAN_MAIN);
	vhu_get_bytes(c, &raw, &step->raw.bytes, &step->raw.n_bytes);
	if (fds.json)
		vhu_get_fds(c, &fds, &step->raw.fds, &step->raw.n_fds, &given);
	if (!json_object_get(n->json, "breaks"))
		vhu_diag(
			c->report, n->path,
			"'raw' needs 'breaks': what is wrong with these bytes (a right message is a 'send')");
}

static void recv_answer(struct compile *c, const struct node *n, struct vhu_step_recv *r)
{
	struct node answer = NODE_GET(n, "answer");
	struct layouts l = vhu_answer_layouts(r->row, joined(c, "the answer to", r->row->name));

	if (!json_is_object(answer.json)) {
		r->answer = vhu_get_word(n, "answer", vhu_words_answer, VHU_RECV_ACK);
		return;
	}
	r->answer = VHU_RECV_FIELDS;
	vhu_get_assigns(c, &answer, &l, &r->fields, &r->n_fields);
}

void vhu_verb_recv(struct compile *c, const struct node *n, struct vhu_step *step)
{
	struct vhu_step_recv *r = &step->recv;
	struct node recv = NODE_GET(n, "recv"), with = NODE_GET(n, "with"), save = NODE_GET(n, "save"),
		    on = NODE_GET(n, "on");
	const char *name = json_string_value(recv.json);
	const struct vhu_msg_row *named = name ? vhu_msg_by_name(name) : NULL;
	bool gpu = named && named->channel == VHU_CHAN_GPU;
	json_t *fds = json_object_get(n->json, "fds");
	struct layouts l;
	uint32_t id;

	if (get_channel(n, VHU_CHAN_BACKEND) != VHU_CHAN_BACKEND)
		vhu_diag(c->report, on.path, "the back-end's requests come on the back-end channel");
	if (!vhu_get_message(c, &recv, gpu ? VHU_CHAN_GPU : VHU_CHAN_BACKEND, &r->row, &id))
		return;
	if (!r->row) {
		vhu_diag(c->report, recv.path, "no back-end request has the id %u", id);
		return;
	}
	l = (struct layouts){{r->row->request, r->row->request_alt}, r->row->name};
	if (with.json)
		vhu_get_field_matches(c, &with, &l, &r->with, &r->n_with);
	if (save.json)
		vhu_get_saves(c, &save, &l, r->row->fds_max, &r->save, &r->n_save);
	r->fds = json_is_integer(fds) ? (int)json_integer_value(fds) : -1;
	r->optional = vhu_get_bool(n, "optional", false);
	recv_answer(c, n, r);
}

void vhu_verb_fence(struct compile *c, const struct node *n, struct vhu_step *step)
{
	struct node fence = NODE_GET(n, "fence");
	uint32_t id;

	if (json_is_true(fence.json) || !vhu_get_message(c, &fence, VHU_CHAN_MAIN, &step->fence.row, &id))
		return;
	/* GET_VRING_BASE stops a ring: its answer comes always, but it is no question. */
	if (!step->fence.row || step->fence.row->answer != VHU_ANSWER_ALWAYS ||
	    step->fence.row->scope != VHU_SCOPE_DEVICE)
		vhu_diag(c->report, fence.path,
			 "a fence is a message that is always answered and changes nothing");
}
