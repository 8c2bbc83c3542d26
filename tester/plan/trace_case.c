/* From a capture's plan to a case file that does the same. */
#include "trace_case.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "internal.h"
#include "model.h"
#include "oracle/oracle.h"
#include "session/session.h"
#include "trace/format.h"
#include "trace_plan.h"
#include "wire/frame.h"

enum { PLAIN_NUMBER = 65536, TITLE_MAX = 80 };

struct writing {
	const struct vhu_plan *plan;
	enum vhu_device device;
	json_t *steps;
	uint64_t features, pfeatures; /* that the front-end negotiates */
	uint64_t offered;	      /* features that the back-end has */
	bool kills;
	bool *opened; /* by connection */
	size_t *last; /* step that sent last on it, plus 1 */
};

/* Small numbers read best as they are, others in hex. */
static json_t *number(uint64_t x)
{
	char text[24];

	if (x < PLAIN_NUMBER)
		return json_integer((json_int_t)x);
	snprintf(text, sizeof(text), "0x%" PRIx64, x);
	return json_string(text);
}

static json_t *hex(const uint8_t *bytes, size_t len)
{
	size_t cap = 3 * len + 1;
	char *text = malloc(cap);
	json_t *json = text ? json_string(vhu_hex_format(bytes, len, text, cap)) : NULL;

	free(text);
	return json;
}

static void set(json_t *o, const char *key, json_t *value)
{
	json_object_set_new(o, key, value);
}

static json_t *append(struct writing *w, const struct vhu_step *s, json_t *step)
{
	char name[16];

	if (s->conn) {
		snprintf(name, sizeof(name), "c%u", s->conn + 1);
		set(step, "conn", json_string(name));
	}
	json_array_append_new(w->steps, step);
	return step;
}

/* --- fields ---------------------------------------------------------------------------------------- */

static json_t *region(const struct vhu_frame *f, enum vhu_payload pl, size_t i)
{
	static const char *const fields[] = {"guest_phys_addr", "memory_size", "userspace_addr",
					     "mmap_offset"};
	json_t *o = json_object();

	for (size_t k = 0; k < VHU_ARRAY_SIZE(fields); k++) {
		uint64_t x = 0;

		vhu_frame_region(f, pl, i, fields[k], &x);
		set(o, fields[k], number(x));
	}
	return o;
}

static json_t *table(const struct vhu_frame *f)
{
	json_t *list = json_array();
	uint64_t n = 0;

	vhu_frame_get(f, VHU_PL_MEM_TABLE, "num_regions", &n);
	for (size_t i = 0; i < VHU_MIN(n, (uint64_t)VHU_C_MEM_TABLE_REGIONS); i++)
		json_array_append_new(list, region(f, VHU_PL_MEM_TABLE, i));
	return json_pack("{s:o}", "region", list);
}

/* Whether a number of this payload has names for its parts, which say more. */
static bool has_bits(enum vhu_payload pl, const char *field)
{
	return pl == VHU_PL_VRING_FD && !strcmp(field, "u64");
}

/* The numbers of a payload by name; NULL if bytes say it better. */
static json_t *fields_of(const struct vhu_frame *f, enum vhu_payload pl)
{
	const struct vhu_field_row *row;
	json_t *o = json_object();

	for (size_t i = 0; (row = vhu_payload_field(pl, i)); i++) {
		uint64_t x;

		if (row->kind == VHU_FIELD_PAD)
			continue;
		if (row->kind != VHU_FIELD_UINT || row->count || !vhu_frame_get(f, pl, row->name, &x)) {
			json_decref(o);
			return NULL;
		}
		if (!has_bits(pl, row->name)) {
			set(o, row->name, number(x));
			continue;
		}
		set(o, "index", number(vhu_frame_u64(f, "index")));
		if (vhu_frame_u64(f, "no_fd"))
			set(o, "no_fd", json_integer(1));
	}
	return o;
}

static bool zeroes(const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (bytes[i])
			return false;
	return true;
}

/* Other padding cannot be told by fields; at the end of a payload it is undefined. */
static bool padding_is_0(const struct vhu_frame *f, enum vhu_payload pl)
{
	const struct vhu_field_row *row;

	for (size_t i = 0; (row = vhu_payload_field(pl, i)); i++)
		if (row->kind == VHU_FIELD_PAD && vhu_payload_field(pl, i + 1) &&
		    row->offset + row->size <= f->len && !zeroes(f->payload + row->offset, row->size))
			return false;
	return true;
}

/* A request by its fields, if those make the same bytes again; else NULL. */
static json_t *with_of(const struct vhu_frame *f, const struct vhu_msg_row *row)
{
	const struct vhu_payload_row *p = vhu_payload_row(row->request);
	enum vhu_payload pl = row->request;
	uint64_t size = 0;

	if (!vhu_payload_size_ok(pl, f->payload, f->len) || !f->len || !padding_is_0(f, pl))
		return NULL;
	if (pl == VHU_PL_MEM_TABLE)
		return table(f);
	if (pl == VHU_PL_MEM_REG && f->len == p->min)
		return json_pack("{s:[o]}", "region", region(f, pl, 0));
	if (pl == VHU_PL_CONFIG && row->msg == VHU_MSG_GET_CONFIG &&
	    zeroes(f->payload + p->min, f->len - p->min)) {
		json_t *o = json_object();

		vhu_frame_get(f, pl, "size", &size);
		if (f->len != p->min + size) {
			json_decref(o);
			return NULL;
		}
		set(o, "offset", number(vhu_frame_u64(f, "offset")));
		set(o, "size", number(size));
		set(o, "flags", number(vhu_frame_u64(f, "flags")));
		return o;
	}
	if (pl == VHU_PL_VRING_FD &&
	    vhu_frame_u64(f, "u64") & ~(uint64_t)(VHU_C_VRING_INDEX_MAX | VHU_C_VRING_NO_FD))
		return NULL;
	return f->len == p->min ? fields_of(f, pl) : NULL;
}

/* --- requests -------------------------------------------------------------------------------------- */

static const char *fd_word(const struct vhu_plan *plan, const struct vhu_fd_spec *spec, char *buf, size_t cap)
{
	switch (spec->source) {
	case VHU_FD_OBJECT:
		if (plan->objects[spec->object].kind == VHU_OBJECT_EVENT)
			return "eventfd";
		snprintf(buf, cap, "memfd:%" PRIu64, plan->objects[spec->object].size);
		return buf;
	case VHU_FD_PIPE:
		return "pipe";
	case VHU_FD_SOCKET:
		return "socket";
	case VHU_FD_DIRECTORY:
		return "directory";
	case VHU_FD_INFLIGHT:
		return "inflight";
	default:
		return "state";
	}
}

/* What each message takes, where that is made for it without a word. */
static const struct {
	enum vhu_msg msg;
	enum vhu_fd_source source;
	enum vhu_object_kind kind; /* OBJECT */
} made[] = {
	{VHU_MSG_SET_VRING_KICK, VHU_FD_OBJECT, VHU_OBJECT_EVENT},
	{VHU_MSG_SET_VRING_CALL, VHU_FD_OBJECT, VHU_OBJECT_EVENT},
	{VHU_MSG_SET_VRING_ERR, VHU_FD_OBJECT, VHU_OBJECT_EVENT},
	{VHU_MSG_SET_LOG_FD, VHU_FD_OBJECT, VHU_OBJECT_EVENT},
	{VHU_MSG_SET_MEM_TABLE, VHU_FD_OBJECT, VHU_OBJECT_FILE},
	{VHU_MSG_ADD_MEM_REG, VHU_FD_OBJECT, VHU_OBJECT_FILE},
	{VHU_MSG_SET_BACKEND_REQ_FD, VHU_FD_SOCKET, 0},
	{VHU_MSG_GPU_SET_SOCKET, VHU_FD_SOCKET, 0},
	{VHU_MSG_SET_DEVICE_STATE_FD, VHU_FD_STATE, 0},
	{VHU_MSG_SET_INFLIGHT_FD, VHU_FD_INFLIGHT, 0},
};

static bool is_made(const struct vhu_plan *plan, enum vhu_msg msg, const struct vhu_fd_spec *fd)
{
	for (size_t i = 0; i < VHU_ARRAY_SIZE(made); i++)
		if (made[i].msg == msg && made[i].source == fd->source)
			return fd->source != VHU_FD_OBJECT || plan->objects[fd->object].kind == made[i].kind;
	return false;
}

/* Whether the descriptors are those that go with the message if nothing is said. */
static bool usual_fds(const struct vhu_plan *plan, const struct vhu_frame *f,
		      const struct vhu_step_recorded *rec)
{
	const struct vhu_msg_row *row = rec->row;

	/* Not every session has a log to go with it. */
	if (row && row->msg == VHU_MSG_SET_LOG_BASE)
		return false;
	for (size_t i = 0; i < rec->n_fds; i++)
		if (!row || !is_made(plan, row->msg, &rec->fds[i]))
			return false;
	return rec->n_fds == vhu_trace_fds_due(f);
}

static void put_fds(const struct writing *w, json_t *step, const struct vhu_fd_spec *fds, size_t n)
{
	json_t *list = json_array();
	char buf[40];

	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, json_string(fd_word(w->plan, &fds[i], buf, sizeof(buf))));
	set(step, "fds", list);
}

static void put_payload(json_t *step, const struct vhu_frame *f, const struct vhu_step_recorded *rec)
{
	json_t *with = rec->row ? with_of(f, rec->row) : NULL;

	/* Size and place are what the back-end gave this time. */
	if (rec->inflight && with) {
		json_object_del(with, "mmap_size");
		json_object_del(with, "mmap_offset");
	}
	if (with)
		set(step, "with", with);
	else if (f->len || (rec->row && vhu_payload_row(rec->row->request)->min))
		set(step, "payload", hex(f->payload, f->len));
}

static void put_header(json_t *step, const struct vhu_step_recorded *rec)
{
	if (rec->flags == (VHU_C_HEADER_VERSION | VHU_C_HEADER_NEED_REPLY))
		set(step, "need_reply", json_true());
	else if (rec->flags != VHU_C_HEADER_VERSION)
		set(step, "flags", number(rec->flags));
	if (rec->size != rec->n_payload)
		set(step, "size", number(rec->size));
}

static void note_offer(struct writing *w, const struct vhu_frame *f, const struct vhu_msg_row *row)
{
	if (row && row->msg == VHU_MSG_SET_FEATURES && f->len == sizeof(uint64_t))
		w->features |= vhu_frame_u64(f, "u64");
	if (row && row->msg == VHU_MSG_SET_PROTOCOL_FEATURES && f->len == sizeof(uint64_t))
		w->pfeatures |= vhu_frame_u64(f, "u64");
}

/* --- what is expected ------------------------------------------------------------------------------ */

/* What goes through rings goes on beside the messages. */
static bool is_of_rings(enum vhu_verb verb)
{
	return verb == VHU_VERB_IOTLB || verb == VHU_VERB_FILL || verb == VHU_VERB_SIGNAL ||
	       verb == VHU_VERB_OFFER || verb == VHU_VERB_USED;
}

/*
 * Its answer, if it came before the front-end went on; answers to what was sent before may stand between.
 * NULL: it went on without.
 */
static const struct vhu_step *answer_to(const struct vhu_plan *plan, size_t at)
{
	const struct vhu_step *s = &plan->steps[at];

	for (size_t i = at + 1; i < plan->n_steps; i++) {
		const struct vhu_step *next = &plan->steps[i];

		if (next->conn != s->conn || is_of_rings(next->verb))
			continue;
		if (next->verb != VHU_VERB_ANSWER)
			return NULL;
		if (next->answer.channel == VHU_CHAN_MAIN && next->answer.request == s->recorded.request)
			return next;
	}
	return NULL;
}

static bool counts(const struct vhu_step_answer *a, size_t offset, size_t size)
{
	for (size_t i = offset; a->mask && i < offset + size; i++)
		if (a->mask[i] != 0xff)
			return false;
	return offset + size <= a->n_payload;
}

static void put_config(json_t *o, const struct vhu_step_answer *a, enum vhu_device device)
{
	const size_t head = vhu_payload_row(VHU_PL_CONFIG)->min;
	const struct vhu_config_row *row;
	uint64_t from = vhu_ne_get(a->payload, 4);

	for (size_t i = 0; device != VHU_DEV_ANY && (row = vhu_config_row(device, i)); i++)
		if (row->offset >= from && row->size <= 8 &&
		    counts(a, head + row->offset - (size_t)from, row->size))
			set(o, row->field,
			    number(vhu_le_get(a->payload + head + row->offset - from, row->size)));
}

/* The fields of a reply that have to be as they were; NULL: none. */
static json_t *reply_of(const struct vhu_step_answer *a, enum vhu_payload pl, enum vhu_device device)
{
	const struct vhu_frame f = {.payload = (uint8_t *)a->payload, .len = a->n_payload};
	const struct vhu_field_row *row;
	json_t *o = json_object();

	for (size_t i = 0; pl < VHU_PL_MAX && (row = vhu_payload_field(pl, i)); i++) {
		uint64_t x;

		if (row->kind == VHU_FIELD_UINT && !row->count && counts(a, row->offset, row->size) &&
		    vhu_frame_get(&f, pl, row->name, &x))
			set(o, row->name, number(x));
	}
	if (pl == VHU_PL_CONFIG && a->n_payload >= vhu_payload_row(pl)->min)
		put_config(o, a, device);
	if (json_object_size(o))
		return o;
	json_decref(o);
	return NULL;
}

static void put_expected(struct writing *w, json_t *step, size_t at, enum vhu_due due)
{
	const struct vhu_step *a = answer_to(w->plan, at);
	const struct vhu_msg_row *row = w->plan->steps[at].recorded.row;
	enum vhu_payload pl;
	struct vhu_frame f;
	json_t *reply;
	bool own;

	if (!a) {
		if (due >= VHU_DUE_ACK)
			set(step, "expect", json_string("none"));
		return;
	}
	f = (struct vhu_frame){.dir = VHU_DIR_BE,
			       .request = a->answer.request,
			       .flags = a->answer.flags,
			       .payload = (uint8_t *)a->answer.payload,
			       .len = a->answer.n_payload};
	/* Where either may come, what is longer than an acknowledgement is none. */
	own = due == VHU_DUE_REPLY ||
	      (due == VHU_DUE_MAYBE && row && (row->answer == VHU_ANSWER_ALWAYS || f.len > sizeof(uint64_t)));
	if (!own) {
		bool nack = f.len >= sizeof(uint64_t) && vhu_ne_get(f.payload, sizeof(uint64_t));

		if (nack || due != VHU_DUE_ACK)
			set(step, "expect", json_string(nack ? "nack" : "ack"));
		return;
	}
	pl = vhu_frame_payload(&f);
	reply = pl == row->reply || pl == row->reply_alt ? reply_of(&a->answer, pl, w->device) : NULL;
	if (reply)
		set(step, "reply", reply);
	else if (due != VHU_DUE_REPLY)
		set(step, "expect", json_string("reply"));
}

/* --- steps ----------------------------------------------------------------------------------------- */

/* The descriptors are none: how many there are is what counts. */
static struct vhu_frame frame_of(const struct vhu_step_recorded *rec, int fds[VHU_CAP_FDS_MAX])
{
	memset(fds, -1, VHU_CAP_FDS_MAX * sizeof(*fds));
	return (struct vhu_frame){.channel = VHU_CHAN_MAIN,
				  .dir = VHU_DIR_FE,
				  .request = rec->request,
				  .flags = rec->flags,
				  .size = rec->size,
				  .payload = (uint8_t *)rec->payload,
				  .len = rec->n_payload,
				  .fds = fds,
				  .n_fds = rec->n_fds};
}

/* What a tester did wrong on purpose is no measure of the back-end. */
static void put_breaks(json_t *step, const struct vhu_session *session, const struct vhu_frame *f)
{
	struct vhu_illegal illegal;
	char name[VHU_BREAKS_NAME_MAX];

	if (vhu_oracle_illegal(session, f, &illegal, 1))
		set(step, "breaks", json_string(vhu_breaks_name(illegal.req, illegal.malformed, name)));
}

static void put_send(struct writing *w, size_t at, struct vhu_session *session)
{
	const struct vhu_step *s = &w->plan->steps[at];
	const struct vhu_step_recorded *rec = &s->recorded;
	int fds[VHU_CAP_FDS_MAX];
	struct vhu_frame f = frame_of(rec, fds);
	json_t *step = json_object();
	char name[16];

	snprintf(name, sizeof(name), "0x%" PRIx32, rec->request);
	set(step, "send", json_string(rec->row ? rec->row->name : name));
	put_payload(step, &f, rec);
	if (!usual_fds(w->plan, &f, rec))
		put_fds(w, step, rec->fds, rec->n_fds);
	put_header(step, rec);
	put_expected(w, step, at, vhu_session_due(session, &f));
	if (rec->intended)
		put_breaks(step, session, &f);
	note_offer(w, &f, rec->row);
	vhu_session_apply(session, &f, rec->intended);
	append(w, s, step);
	w->last[s->conn] = json_array_size(w->steps);
}

static void put_raw(struct writing *w, const struct vhu_step *s)
{
	json_t *step = append(w, s,
			      json_pack("{s:o, s:s}", "raw", hex(s->raw.bytes, s->raw.n_bytes), "breaks",
					"malformed:bytes"));

	if (s->raw.n_fds)
		put_fds(w, step, s->raw.fds, s->raw.n_fds);
	w->last[s->conn] = json_array_size(w->steps);
}

/* Which features a front-end of the graphics channel offers is not for the engine to choose. */
static void put_gpu(struct writing *w, const struct vhu_step *s)
{
	const struct vhu_msg_row *row = vhu_msg_by_id(VHU_CHAN_GPU, s->answer.request);
	json_t *step;

	if (!row || s->answer.optional)
		return;
	step = append(w, s, json_pack("{s:s}", "recv", row->name));
	if (s->answer.answered && s->answer.n_reply == sizeof(uint64_t))
		set(step, "answer", json_pack("{s:o}", "u64", number(vhu_ne_get(s->answer.reply, 8))));
	if (s->answer.n_payload == sizeof(uint64_t))
		set(step, "with", json_pack("{s:o}", "u64", number(vhu_ne_get(s->answer.payload, 8))));
}

static void put_answer(struct writing *w, const struct vhu_step *s, struct vhu_session *session)
{
	const struct vhu_frame f = {.channel = s->answer.channel,
				    .dir = VHU_DIR_BE,
				    .request = s->answer.request,
				    .flags = s->answer.flags,
				    .size = (uint32_t)s->answer.n_payload,
				    .payload = (uint8_t *)s->answer.payload,
				    .len = s->answer.n_payload};

	if (f.request == VHU_ID_GET_FEATURES && f.channel == VHU_CHAN_MAIN && f.len == sizeof(uint64_t))
		w->offered |= vhu_frame_u64(&f, "u64");
	if (s->answer.channel == VHU_CHAN_GPU)
		put_gpu(w, s);
	else
		vhu_session_apply(session, &f, false);
}

/* A request of the back-end that comes each time, or that the front-end refused; others take no step. */
static void put_asked(struct writing *w, const struct vhu_step *s)
{
	const struct vhu_msg_row *row = vhu_msg_by_id(VHU_CHAN_BACKEND, s->answer.request);
	bool refused = s->answer.answered && s->answer.value;
	json_t *step;

	if (s->answer.channel != VHU_CHAN_BACKEND || !row || (vhu_msg_by_chance(row) && !refused))
		return;
	step = append(w, s, json_pack("{s:s}", "recv", row->name));
	if (refused)
		set(step, "answer", json_string("nack"));
	if (s->answer.optional)
		set(step, "optional", json_true());
}

static void put_connect(struct writing *w, const struct vhu_step *s)
{
	char name[16];

	if (w->opened[s->conn]) {
		append(w, s, json_pack("{s:s}", "reconnect", "connected"));
		return;
	}
	w->opened[s->conn] = true;
	snprintf(name, sizeof(name), "c%u", s->conn + 1);
	json_array_append_new(w->steps, json_pack("{s:s, s:s}", "connect", name, "to", "connected"));
}

/* The back-end hung up over what it was sent. */
static void put_end(struct writing *w, const struct vhu_step *s)
{
	json_t *last = w->last[s->conn] ? json_array_get(w->steps, w->last[s->conn] - 1) : NULL;

	if (s->end.provoked && last)
		set(last, "expect", json_string("closes"));
}

static void put_target(struct writing *w, const struct vhu_step *s)
{
	w->kills = true;
	json_array_append_new(
		w->steps, json_pack("{s:s}", "target", s->target.op == VHU_TARGET_KILL ? "kill" : "restart"));
}

static void put_step(struct writing *w, size_t at, struct vhu_session *session)
{
	static const char *const transfers[] = {
		[VHU_TRANSFER_READ] = "read", [VHU_TRANSFER_WRITE] = "write", [VHU_TRANSFER_CLOSE] = "close"};
	const struct vhu_step *s = &w->plan->steps[at];

	switch (s->verb) {
	case VHU_VERB_RECORDED:
		put_send(w, at, session);
		break;
	case VHU_VERB_ANSWER:
		put_asked(w, s);
		put_answer(w, s, session);
		break;
	case VHU_VERB_RAW:
		put_raw(w, s);
		break;
	case VHU_VERB_STATE:
		append(w, s, json_pack("{s:s}", "state", transfers[s->state.op]));
		break;
	case VHU_VERB_CONNECT:
		put_connect(w, s);
		break;
	case VHU_VERB_CLOSE:
		append(w, s, json_pack("{s:s}", "close", "both"));
		break;
	case VHU_VERB_END:
		put_end(w, s);
		break;
	case VHU_VERB_TARGET:
		put_target(w, s);
		break;
	default:
		break;
	}
}

/* --- the file --------------------------------------------------------------------------------------- */

/* The bits that have names, which are all that a case can need. */
static json_t *names(enum vhu_namespace ns, enum vhu_device device, uint64_t bits)
{
	json_t *list = json_array();

	for (unsigned bit = 0; bit < 64; bit++) {
		const struct vhu_feature_row *row =
			bits >> bit & 1 ? vhu_feature_by_bit(ns, bit, device) : NULL;

		if (row)
			json_array_append_new(list, json_string(row->name));
	}
	return list;
}

static json_t *needs(const struct writing *w)
{
	json_t *o = json_object();

	if (w->device != VHU_DEV_ANY)
		set(o, "device", json_pack("[s]", vhu_device_row(w->device)->name));
	/* Some front-ends take features that they serve themselves, and nobody offered. */
	if (w->features & w->offered)
		set(o, "features", names(VHU_NS_VIRTIO, w->device, w->features & w->offered));
	if (w->pfeatures)
		set(o, "protocol_features", names(VHU_NS_PROTOCOL, VHU_DEV_ANY, w->pfeatures));
	if (w->kills)
		set(o, "spawn", json_true());
	return o;
}

static void print_value(struct vhu_buf *out, const char *key, json_t *value, const char *end)
{
	char *text = json_dumps(value, JSON_ENCODE_ANY);

	vhu_buf_printf(out, "  \"%s\": %s%s\n", key, text ? text : "null", end);
	free(text);
	json_decref(value);
}

static void print_steps(struct vhu_buf *out, json_t *steps, const char *indent)
{
	json_t *step;
	size_t i;

	json_array_foreach(steps, i, step)
	{
		json_t *body = json_object_get(step, "do");
		const char *comma = i + 1 < json_array_size(steps) ? "," : "";
		char *text;

		if (!body) {
			text = json_dumps(step, 0);
			vhu_buf_printf(out, "%s%s%s\n", indent, text ? text : "{}", comma);
			free(text);
			continue;
		}
		text = json_dumps(json_object_get(step, "of"), JSON_ENCODE_ANY);
		vhu_buf_printf(out, "%s{\"for_each_queue\": \"q\", \"of\": %s, \"do\": [\n", indent,
			       text ? text : "null");
		print_steps(out, body, "      ");
		vhu_buf_printf(out, "%s]}%s\n", indent, comma);
		free(text);
	}
}

static void print(struct writing *w, const char *from, struct vhu_buf *out)
{
	char title[TITLE_MAX + 1];

	snprintf(title, sizeof(title), "A captured session is answered as it was then: %s", from);
	vhu_buf_puts(out, "{\n");
	print_value(out, "title", json_string(title), ",");
	print_value(out, "why",
		    json_string("This is what a real front-end sends; an answer other than the captured "
				"one is a change that it may not expect."),
		    ",");
	print_value(out, "captured", json_string(from), ",");
	print_value(out, "requirements", json_pack("[s]", "REPLY-02"), ",");
	print_value(out, "needs", needs(w), ",");
	print_value(out, "start", json_string("connected"), ",");
	vhu_buf_puts(out, "  \"steps\": [\n");
	print_steps(out, w->steps, "    ");
	vhu_buf_puts(out, "  ]\n}\n");
}

/* A session for each connection; one that opens begins anew. */
static struct vhu_session *session_at(struct vhu_session **sessions, const struct vhu_step *s,
				      enum vhu_device device)
{
	struct vhu_session **have = &sessions[s->conn];

	if (!*have) {
		*have = malloc(sizeof(**have));
		if (!*have)
			return NULL;
		vhu_session_init(*have, device, 0);
	}
	if (s->verb == VHU_VERB_CONNECT)
		vhu_session_init(*have, device, 0);
	return *have;
}

static int write_steps(struct writing *w)
{
	size_t n = VHU_MAX(w->plan->n_conns, (size_t)1);
	struct vhu_session **sessions = calloc(n, sizeof(struct vhu_session *));
	bool ok = sessions;

	for (size_t i = 0; ok && i < w->plan->n_steps; i++) {
		struct vhu_session *session = session_at(sessions, &w->plan->steps[i], w->device);

		ok = session;
		if (ok)
			put_step(w, i, session);
	}
	for (size_t i = 0; sessions && i < n; i++)
		free(sessions[i]);
	free(sessions);
	return ok ? 0 : -ENOMEM;
}

int vhu_plan_to_case(const struct vhu_plan *plan, const char *from, struct vhu_buf *out, struct vhu_err *err)
{
	size_t n = VHU_MAX(plan->n_conns, (size_t)1);
	struct writing w = {.plan = plan,
			    .device = plan->device,
			    .steps = json_array(),
			    .opened = calloc(n, sizeof(*w.opened)),
			    .last = calloc(n, sizeof(*w.last))};
	int rc = w.steps && w.opened && w.last ? 0 : -ENOMEM;

	if (rc == 0) {
		w.opened[0] = true;
		rc = write_steps(&w);
	}
	if (rc == 0) {
		w.steps = vhu_trace_fold(w.steps);
		rc = w.steps ? 0 : -ENOMEM;
	}
	if (rc == 0)
		print(&w, from, out);
	json_decref(w.steps);
	free(w.opened);
	free(w.last);
	if (rc == 0 && out->failed)
		rc = -ENOMEM;
	return rc < 0 ? vhu_err_errno(err, rc, "case") : 0;
}
