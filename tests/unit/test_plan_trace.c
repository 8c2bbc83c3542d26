/* Captures become plans, and plans case files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <base/arena.h>
#include <base/buf.h>
#include <errno.h>
#include <plan/plan.h>
#include <trace/ring_record.h>
#include <trace/trace.h>
#include <wire/frame.h>

enum { RECORDS = 64, BYTES = 512 };

/* A capture in memory: what vhu_trace_load would give. */
struct capture {
	struct vhu_record record[RECORDS];
	uint8_t bytes[RECORDS][BYTES];
	struct vhu_fd_info fds[RECORDS][4];
	const struct vhu_record *all[RECORDS];
	struct vhu_session_ref session[4];
	struct vhu_trace trace;
	size_t n;
	enum vhu_cap_tap tap;
};

static struct vhu_record *add(struct capture *c, enum vhu_cap_channel channel, enum vhu_cap_direction dir)
{
	struct vhu_record *r = &c->record[c->n];

	assert_true(c->n < RECORDS);
	*r = (struct vhu_record){.t_ns = 1000 + c->n,
				 .channel = channel,
				 .dir = dir,
				 .tap = c->tap,
				 .connection = 1,
				 .seq = (uint32_t)c->n + 1,
				 .tgid = 7};
	c->all[c->n++] = r;
	return r;
}

static struct vhu_record *message(struct capture *c, enum vhu_cap_direction dir, enum vhu_msg msg,
				  uint32_t flags, const void *payload, size_t len)
{
	struct vhu_record *r =
		add(c, vhu_msg_row(msg)->channel == VHU_CHAN_BACKEND ? VHU_CAP_BACKEND : VHU_CAP_MAIN, dir);
	uint8_t *to = c->bytes[c->n - 1];

	vhu_ne_put(to, 4, vhu_msg_row(msg)->id);
	vhu_ne_put(to + 4, 4, flags);
	vhu_ne_put(to + 8, 4, len);
	if (len)
		memcpy(to + 12, payload, len);
	r->payload = to;
	r->len = 12 + len;
	r->orig_len = (uint32_t)r->len;
	return r;
}

static struct vhu_record *ask(struct capture *c, enum vhu_msg msg, const void *payload, size_t len)
{
	return message(c, VHU_CAP_DIR_FE, msg, 1, payload, len);
}

static struct vhu_record *reply(struct capture *c, enum vhu_msg msg, const void *payload, size_t len)
{
	return message(c, VHU_CAP_DIR_BE, msg, 5, payload, len);
}

static void give(struct capture *c, struct vhu_record *r, const struct vhu_fd_info *info)
{
	struct vhu_fd_info *fds = c->fds[r - c->record];

	fds[r->n_fds++] = *info;
	r->fds = fds;
}

static struct vhu_record *life(struct capture *c, enum vhu_cap_life kind, enum vhu_cap_direction dir,
			       uint32_t conn)
{
	struct vhu_record *r = add(c, VHU_CAP_LIFE, dir);

	r->kind = (uint16_t)kind;
	r->connection = conn;
	return r;
}

static struct vhu_trace *finish(struct capture *c)
{
	size_t n = 0;

	c->trace = (struct vhu_trace){.meta = (char *)"{}",
				      .notes = (char *)"",
				      .records = c->all,
				      .n_records = c->n,
				      .sessions = c->session};
	for (uint32_t conn = 1; conn <= VHU_ARRAY_SIZE(c->session); conn++)
		for (size_t i = 0; i < c->n; i++)
			if (c->all[i]->connection == conn) {
				struct vhu_session_ref *ref = &c->session[n++];

				*ref = (struct vhu_session_ref){
					.connection = conn, .messages = 1, .records = &c->all[i]};
				while (i + ref->n < c->n && ref->records[ref->n]->connection == conn)
					ref->n++;
				break;
			}
	c->trace.n_sessions = n;
	return &c->trace;
}

static struct vhu_plan *compile(struct capture *c, const struct vhu_replay_opts *opts, struct vhu_buf *notes)
{
	struct vhu_plan *plan;
	struct vhu_err err = {0};

	if (vhu_plan_from_trace(finish(c), opts, &plan, notes, &err) < 0)
		fail_msg("%s", err.text);
	return plan;
}

static const struct vhu_step *nth(const struct vhu_plan *p, enum vhu_verb verb, size_t n)
{
	for (size_t i = 0; i < p->n_steps; i++)
		if (p->steps[i].verb == verb && n-- == 0)
			return &p->steps[i];
	return NULL;
}

static struct capture *start(void)
{
	struct capture *c = calloc(1, sizeof(*c));

	assert_non_null(c);
	life(c, VHU_CAP_LIFE_CONNECT, VHU_CAP_DIR_FE, 1);
	return c;
}

/* --- tests ------------------------------------------------------------------------------------------ */

static void messages_become_steps_in_their_order(void **state)
{
	struct capture *c = start();
	const struct vhu_replay_opts opts = {.device = VHU_DEV_BLK};
	struct vhu_buf notes = {0};
	uint64_t features = 0x140000000;
	struct vhu_plan *p;

	ask(c, VHU_MSG_GET_FEATURES, NULL, 0);
	reply(c, VHU_MSG_GET_FEATURES, &features, 8);
	ask(c, VHU_MSG_SET_OWNER, NULL, 0);
	life(c, VHU_CAP_LIFE_CLOSE, VHU_CAP_DIR_FE, 1);
	p = compile(c, &opts, &notes);
	assert_string_equal(vhu_buf_text(&notes), "");
	assert_true(p->recorded);
	assert_int_equal(p->n_conns, 1);
	assert_int_equal(p->n_steps, 4);
	assert_int_equal(p->steps[0].verb, VHU_VERB_RECORDED);
	assert_int_equal(p->steps[1].verb, VHU_VERB_ANSWER);
	assert_int_equal(p->steps[1].answer.n_payload, 8);
	assert_int_equal(p->steps[2].recorded.request, VHU_ID_SET_OWNER);
	assert_int_equal(p->steps[3].verb, VHU_VERB_CLOSE);
	assert_false(p->steps[3].close.unread);
	vhu_plan_free(p);
	free(c);
}

/* Bits of the n-th answer's payload that count. */
static uint8_t counts(const struct vhu_plan *p, size_t n, size_t byte)
{
	const struct vhu_step *s = nth(p, VHU_VERB_ANSWER, n);

	return s->answer.mask ? s->answer.mask[byte] : 0xff;
}

static void what_may_differ_is_masked(void **state)
{
	static const char *const mask[] = {"GET_QUEUE_NUM"}, *const ignore[] = {"GET_FEATURES.u64"};
	const struct vhu_replay_opts opts = {.device = VHU_DEV_BLK, .ignore = ignore, .n_ignore = 1};
	struct capture *c = start();
	struct vhu_buf notes = {0};
	uint64_t u64 = 8;
	uint32_t base[2] = {0, 5}, moved[2] = {0, 9};
	struct vhu_plan *p;

	ask(c, VHU_MSG_GET_FEATURES, NULL, 0);
	reply(c, VHU_MSG_GET_FEATURES, &u64, 8);
	reply(c, VHU_MSG_GET_QUEUE_NUM, &u64, 8);
	reply(c, VHU_MSG_GET_MAX_MEM_SLOTS, &u64, 8);
	reply(c, VHU_MSG_GET_PROTOCOL_FEATURES, &u64, 8);
	ask(c, VHU_MSG_SET_VRING_BASE, base, 8);
	reply(c, VHU_MSG_GET_VRING_BASE, base, 8);
	reply(c, VHU_MSG_GET_VRING_BASE, moved, 8);
	finish(c);
	c->trace.mask = mask;
	c->trace.n_mask = 1;
	{
		struct vhu_trace trace = c->trace;
		struct vhu_err err = {0};

		assert_int_equal(vhu_plan_from_trace(&trace, &opts, &p, &notes, &err), 0);
	}
	assert_int_equal(counts(p, 0, 0), 0);
	assert_int_equal(counts(p, 1, 0), 0);
	assert_int_equal(counts(p, 2, 0), 0);
	assert_int_equal(counts(p, 3, 0), 0xff);
	/* Without traffic a ring stands where it was set. */
	assert_int_equal(counts(p, 4, 4), 0xff);
	assert_int_equal(counts(p, 5, 0), 0xff);
	assert_int_equal(counts(p, 5, 4), 0);
	vhu_plan_free(p);
	free(c);
}

static void names_that_mean_nothing_are_refused(void **state)
{
	static const struct {
		const char *name, *says;
	} rows[] = {
		{"GET_FEATURE", "did you mean 'GET_FEATURES'"},
		{"GET_FEATURES.num", "GET_FEATURES has no field 'num'"},
		{"", "names no message"},
	};
	struct capture *c = start();

	ask(c, VHU_MSG_GET_FEATURES, NULL, 0);
	for (size_t i = 0; i < VHU_ARRAY_SIZE(rows); i++) {
		const struct vhu_replay_opts opts = {.ignore = &rows[i].name, .n_ignore = 1};
		struct vhu_buf notes = {0};
		struct vhu_err err = {0};
		struct vhu_plan *p;

		assert_int_equal(vhu_plan_from_trace(finish(c), &opts, &p, &notes, &err), -EINVAL);
		if (!strstr(err.text, rows[i].says))
			fail_msg("%s", err.text);
	}
	free(c);
}

static void objects_are_told_by_inode_and_number(void **state)
{
	const struct vhu_fd_info file = {.kind = VHU_FDK_MEMFD,
					 .inode_valid = true,
					 .dev = 1,
					 .inode = 42,
					 .size_valid = true,
					 .size = UINT64_C(64) << 30};
	const struct vhu_fd_info event = {.kind = VHU_FDK_EVENTFD, .number = 31};
	const uint64_t region[5] = {0, 0, 0x1000, 0x7f0000000000, 0};
	const struct vhu_replay_opts opts = {.device = VHU_DEV_BLK};
	struct vhu_plan *p;

	for (int tap = VHU_CAP_TAP_SELF; tap <= VHU_CAP_TAP_EBPF;
	     tap += VHU_CAP_TAP_EBPF - VHU_CAP_TAP_SELF) {
		struct capture *c = start();
		struct vhu_buf notes = {0};
		uint64_t queue = 0;

		c->tap = (enum vhu_cap_tap)tap;
		for (int i = 0; i < 2; i++)
			give(c, ask(c, VHU_MSG_ADD_MEM_REG, region, 40), &file);
		for (int i = 0; i < 2; i++)
			give(c, ask(c, VHU_MSG_SET_VRING_KICK, &queue, 8), &event);
		p = compile(c, &opts, &notes);
		assert_int_equal(nth(p, VHU_VERB_RECORDED, 0)->recorded.fds[0].object,
				 nth(p, VHU_VERB_RECORDED, 1)->recorded.fds[0].object);
		assert_int_equal(p->objects[0].size, UINT64_C(64) << 30);
		/* A number names an eventfd only where it is the front-end's own. */
		assert_int_equal(p->n_objects, tap == VHU_CAP_TAP_EBPF ? 2 : 3);
		/* A kick arrives signalled. */
		assert_int_equal(nth(p, VHU_VERB_RECORDED, 2)->recorded.fds[0].signals, 1);
		vhu_plan_free(p);
		free(c);
	}
}

static void lost_descriptors_are_made_up_for(void **state)
{
	const struct vhu_replay_opts opts = {.device = VHU_DEV_BLK};
	struct capture *c = start();
	struct vhu_buf notes = {0};
	uint64_t queue = 1, none = 1 | 1 << 8;
	struct vhu_plan *p;

	ask(c, VHU_MSG_SET_VRING_CALL, &queue, 8)->flags = VHU_CAP_FDS_LOST;
	ask(c, VHU_MSG_SET_VRING_CALL, &none, 8)->flags = VHU_CAP_FDS_LOST;
	p = compile(c, &opts, &notes);
	assert_int_equal(nth(p, VHU_VERB_RECORDED, 0)->recorded.n_fds, 1);
	assert_int_equal(nth(p, VHU_VERB_RECORDED, 1)->recorded.n_fds, 0);
	assert_non_null(strstr(vhu_buf_text(&notes), "descriptors of 1 messages were not seen"));
	vhu_buf_done(&notes);
	vhu_plan_free(p);
	free(c);
}

static void only_what_the_back_end_gave_is_its_own_buffer_again(void **state)
{
	static const struct vhu_fd_info given = {
		.kind = VHU_FDK_MEMFD, .size = 0x4040, .size_valid = true, .inode_valid = true, .inode = 5};
	static const struct vhu_fd_info other = {
		.kind = VHU_FDK_MEMFD, .size = 0x1000, .size_valid = true, .inode_valid = true, .inode = 6};
	static const struct vhu_fd_info unknown = {.kind = VHU_FDK_UNKNOWN};
	const struct vhu_replay_opts opts = {.device = VHU_DEV_BLK};
	struct capture *c = start();
	struct vhu_buf notes = {0};
	uint64_t whole[3] = {0x4040, 0, 1024 << 16 | 1}, small[3] = {0x1000, 0, 1024 << 16 | 1};
	struct vhu_plan *p;

	ask(c, VHU_MSG_GET_INFLIGHT_FD, whole, sizeof(whole));
	give(c, reply(c, VHU_MSG_GET_INFLIGHT_FD, whole, sizeof(whole)), &given);
	give(c, ask(c, VHU_MSG_SET_INFLIGHT_FD, whole, sizeof(whole)), &given);
	give(c, ask(c, VHU_MSG_SET_INFLIGHT_FD, whole, sizeof(whole)), &other);
	give(c, ask(c, VHU_MSG_SET_INFLIGHT_FD, whole, sizeof(whole)), &unknown);
	give(c, ask(c, VHU_MSG_SET_INFLIGHT_FD, small, sizeof(small)), &unknown);
	p = compile(c, &opts, &notes);
	for (size_t i = 1; i <= 4; i++)
		assert_int_equal(nth(p, VHU_VERB_RECORDED, i)->recorded.inflight, i % 2);
	assert_int_equal(p->n_objects, 2);
	assert_int_equal(p->objects[0].size, 0x1000);
	vhu_plan_free(p);
	free(c);
}

static void a_death_is_a_kill_and_a_start(void **state)
{
	for (int spawned = 0; spawned < 2; spawned++) {
		const struct vhu_replay_opts opts = {.device = VHU_DEV_BLK, .spawned = spawned};
		struct capture *c = start();
		struct vhu_buf notes = {0};
		struct vhu_plan *p;

		ask(c, VHU_MSG_SET_OWNER, NULL, 0);
		life(c, VHU_CAP_LIFE_CLOSE, VHU_CAP_DIR_BE, 1);
		life(c, VHU_CAP_LIFE_CONNECT, VHU_CAP_DIR_FE, 2);
		ask(c, VHU_MSG_SET_OWNER, NULL, 0)->connection = 2;
		p = compile(c, &opts, &notes);
		assert_int_equal(p->n_conns, 1);
		assert_int_equal(!!nth(p, VHU_VERB_TARGET, 0), spawned);
		if (spawned) {
			assert_int_equal(nth(p, VHU_VERB_TARGET, 0)->target.op, VHU_TARGET_KILL);
			assert_int_equal(nth(p, VHU_VERB_TARGET, 1)->target.op, VHU_TARGET_RESTART);
		}
		assert_false(nth(p, VHU_VERB_END, 0)->end.provoked);
		assert_non_null(nth(p, VHU_VERB_CONNECT, 0));
		vhu_plan_free(p);
		free(c);
	}
}

static void a_hang_up_over_a_wrong_message_is_expected(void **state)
{
	const struct vhu_replay_opts opts = {.device = VHU_DEV_BLK, .spawned = true};
	struct capture *c = start();
	struct vhu_buf notes = {0};
	struct vhu_plan *p;

	ask(c, VHU_MSG_SET_OWNER, NULL, 0)->flags = VHU_CAP_INTENDED;
	life(c, VHU_CAP_LIFE_CLOSE, VHU_CAP_DIR_BE, 1);
	p = compile(c, &opts, &notes);
	assert_true(nth(p, VHU_VERB_END, 0)->end.provoked);
	assert_null(nth(p, VHU_VERB_TARGET, 0));
	vhu_plan_free(p);
	free(c);
}

static void bytes_that_are_no_message_go_out_in_their_pieces(void **state)
{
	static const struct vhu_fd_info event = {.kind = VHU_FDK_EVENTFD};
	static const uint32_t pieces[] = {5, 7};
	const struct vhu_replay_opts opts = {.device = VHU_DEV_BLK};
	struct capture *c = start();
	struct vhu_buf notes = {0};
	struct vhu_record *r;
	struct vhu_plan *p;

	r = ask(c, VHU_MSG_SET_OWNER, NULL, 0);
	r->flags = VHU_CAP_MALFORMED;
	r->recvs = pieces;
	r->n_recvs = 2;
	give(c, r, &event);
	p = compile(c, &opts, &notes);
	assert_int_equal(nth(p, VHU_VERB_RAW, 0)->raw.n_bytes, 5);
	assert_int_equal(nth(p, VHU_VERB_RAW, 0)->raw.n_fds, 1);
	assert_int_equal(nth(p, VHU_VERB_RAW, 1)->raw.n_bytes, 7);
	assert_int_equal(nth(p, VHU_VERB_RAW, 1)->raw.n_fds, 0);
	assert_null(nth(p, VHU_VERB_RAW, 2));
	vhu_plan_free(p);
	free(c);
}

static void what_cannot_be_replayed_is_said(void **state)
{
	struct vhu_replay_opts opts = {.device = VHU_DEV_BLK};
	struct capture *c = start();
	struct vhu_buf notes = {0};
	struct vhu_err err = {0};
	struct vhu_plan *p;
	struct vhu_record *r;

	assert_int_equal(vhu_plan_from_trace(finish(c), &opts, &p, &notes, &err), -EINVAL);
	opts.session = 9;
	assert_int_equal(vhu_plan_from_trace(finish(c), &opts, &p, &notes, &err), -EINVAL);
	assert_string_equal(err.text, "there is no session 9 in the capture");
	opts.session = 0;
	r = ask(c, VHU_MSG_SET_OWNER, NULL, 0);
	r->stream_off = 1096;
	r = ask(c, VHU_MSG_SET_OWNER, NULL, 0);
	r->orig_len += 100;
	r->flags = VHU_CAP_TRUNCATED;
	finish(c);
	c->session[0].partial = c->session[0].headless = true;
	assert_int_equal(vhu_plan_from_trace(&c->trace, &opts, &p, &notes, &err), 0);
	assert_non_null(strstr(vhu_buf_text(&notes), "session 1 began before the capture"));
	assert_non_null(strstr(vhu_buf_text(&notes), "never learns of features (SET_FEATURES), memory"));
	assert_non_null(strstr(vhu_buf_text(&notes), "record 3: left out, since the recorder cut it"));
	vhu_buf_done(&notes);
	vhu_plan_free(p);
	free(c);
}

/* Device state that is in the capture is loaded; of a piece that was cut nobody knows the rest. */
static void state_of_the_capture_is_loaded(void **state)
{
	static const uint8_t bytes[] = {1, 2, 3, 4, 5};
	const struct vhu_replay_opts opts = {.device = VHU_DEV_FS};

	for (int cut = 0; cut < 2; cut++) {
		struct capture *c = start();
		struct vhu_buf notes = {0};
		uint32_t load[2] = {1, 0};
		uint64_t fine = 0;
		const struct vhu_step *s;
		const uint8_t *mask;
		struct vhu_record *r;
		struct vhu_plan *p;

		ask(c, VHU_MSG_SET_DEVICE_STATE_FD, load, sizeof(load));
		for (size_t at = 0; at < sizeof(bytes); at += 3) {
			r = add(c, VHU_CAP_STATE, VHU_CAP_DIR_FE);
			r->payload = bytes + at;
			r->len = VHU_MIN(sizeof(bytes) - at, (size_t)3);
			r->orig_len = (uint32_t)r->len + (uint32_t)cut;
		}
		ask(c, VHU_MSG_CHECK_DEVICE_STATE, NULL, 0);
		reply(c, VHU_MSG_CHECK_DEVICE_STATE, &fine, 8);
		p = compile(c, &opts, &notes);
		s = nth(p, VHU_VERB_STATE, 0);
		assert_int_equal(s->state.op, VHU_TRANSFER_WRITE);
		assert_int_equal(s->state.content == VHU_CONTENT_GIVEN, !cut);
		mask = nth(p, VHU_VERB_ANSWER, 0)->answer.mask;
		assert_int_equal(!mask || mask[0], !cut);
		assert_int_equal(strstr(vhu_buf_text(&notes), "not in the capture") != NULL, cut);
		if (!cut) {
			assert_int_equal(s->state.len, sizeof(bytes));
			assert_memory_equal(s->state.bytes, bytes, sizeof(bytes));
		}
		vhu_buf_done(&notes);
		vhu_plan_free(p);
		free(c);
	}
}

/* --- rings ------------------------------------------------------------------------------------------ */

static void made_available(struct capture *c, const struct vhu_ring_desc *desc, uint16_t n, const char *data)
{
	struct vhu_buf table = {0}, bytes = {0};
	struct vhu_ring_record q = {.kind = VHU_CAP_RING_AVAIL, .n_desc = n, .n_data = strlen(data)};
	struct vhu_record *r = add(c, VHU_CAP_RING, VHU_CAP_DIR_FE);

	for (uint16_t i = 0; i < n; i++)
		vhu_ring_desc_put(&table, &desc[i]);
	q.desc = (const uint8_t *)table.data;
	q.data = (const uint8_t *)data;
	vhu_ring_record_put(&q, &bytes);
	assert_true(bytes.len <= BYTES);
	memcpy(c->bytes[c->n - 1], bytes.data, bytes.len);
	r->kind = VHU_CAP_RING_AVAIL;
	r->payload = c->bytes[c->n - 1];
	r->len = bytes.len;
	r->orig_len = (uint32_t)bytes.len;
	vhu_buf_done(&table);
	vhu_buf_done(&bytes);
}

static void translate(struct capture *c, uint64_t iova, uint64_t size, uint64_t uaddr, uint8_t type)
{
	uint8_t iotlb[32] = {0};

	vhu_ne_put(iotlb, 8, iova);
	vhu_ne_put(iotlb + 8, 8, size);
	vhu_ne_put(iotlb + 16, 8, uaddr);
	iotlb[24] = 3;
	iotlb[25] = type;
	ask(c, VHU_MSG_IOTLB_MSG, iotlb, sizeof(iotlb));
}

/* Some translations come before the request that needs them, others when the device has asked. */
static void behind_an_iommu_bytes_are_where_the_messages_say(void **state)
{
	static const struct vhu_ring_desc desc[] = {{0x10ffc, 8, 1, 0}, {0x20000, 4, 0, 0}};
	const struct vhu_replay_opts opts = {.device = VHU_DEV_NET, .writes = true};
	const uint64_t features = VHU_V(VIRTIO_F_ACCESS_PLATFORM);
	struct capture *c = start();
	struct vhu_buf notes = {0};
	uint32_t num[2] = {0, 4};
	uint64_t addr[5] = {0, 0x1000, 0x2000, 0x3000, 0};
	const struct vhu_step *s;
	struct vhu_plan *p;

	ask(c, VHU_MSG_SET_FEATURES, &features, 8);
	ask(c, VHU_MSG_SET_VRING_NUM, num, 8);
	ask(c, VHU_MSG_SET_VRING_ADDR, addr, 40);
	translate(c, 0x1000, 0x3000, 0x7000000, VHU_C_IOTLB_UPDATE);
	translate(c, 0x10000, 0x1000, 0x7100000, VHU_C_IOTLB_UPDATE);
	translate(c, 0x11000, 0x1000, 0x7900000, VHU_C_IOTLB_UPDATE);
	translate(c, 0x11000, 0x1000, 0, VHU_C_IOTLB_INVALIDATE);
	made_available(c, desc, 2, "abcdefghijkl");
	translate(c, 0x11000, 0x800, 0x7200000, VHU_C_IOTLB_UPDATE);
	p = compile(c, &opts, &notes);
	assert_string_equal(vhu_buf_text(&notes), "");
	/* Nobody knows of 0x20000. */
	assert_null(nth(p, VHU_VERB_FILL, 2));
	s = nth(p, VHU_VERB_FILL, 0);
	assert_int_equal(s->fill.uaddr, 0x7100ffc);
	assert_memory_equal(s->fill.bytes, "abcd", 4);
	s = nth(p, VHU_VERB_FILL, 1);
	assert_int_equal(s->fill.uaddr, 0x7200000);
	assert_memory_equal(s->fill.bytes, "efgh", 4);
	s = nth(p, VHU_VERB_IOTLB, 0);
	assert_int_equal(s->iotlb.iova.terms->u, 0x11000);
	assert_int_equal(s->iotlb.gpa.terms->u, 0x7200000);
	assert_int_equal(s->iotlb.size.terms->u, 0x800);
	assert_null(nth(p, VHU_VERB_IOTLB, 1));
	assert_non_null(nth(p, VHU_VERB_OFFER, 0));
	vhu_plan_free(p);
	free(c);
}

/* --- case files ------------------------------------------------------------------------------------- */

static void rings_fold_into_a_loop(void **state)
{
	const struct vhu_replay_opts opts = {.device = VHU_DEV_BLK};
	struct capture *c = start();
	struct vhu_buf notes = {0}, text = {0};
	struct vhu_err err = {0};
	struct vhu_plan *p;

	for (uint32_t q = 0; q < 3; q++) {
		uint32_t num[2] = {q, 256};
		uint64_t addr[5] = {q, 0x10000 + 0x3000 * (uint64_t)q, 0x12000 + 0x3000 * (uint64_t)q,
				    0x11000 + 0x3000 * (uint64_t)q, 7};

		ask(c, VHU_MSG_SET_VRING_NUM, num, 8);
		ask(c, VHU_MSG_SET_VRING_ADDR, addr, 40);
	}
	p = compile(c, &opts, &notes);
	assert_int_equal(vhu_plan_to_case(p, "test.pcap", &text, &err), 0);
	if (!strstr(vhu_buf_text(&text), "\"for_each_queue\": \"q\", \"of\": {\"from\": 0, \"to\": 2}") ||
	    !strstr(vhu_buf_text(&text), "{\"index\": \"$q\", \"num\": 256}") ||
	    !strstr(vhu_buf_text(&text), "\"descriptor\": \"$q * 0x3000 + 0x10000\""))
		fail_msg("%s", vhu_buf_text(&text));
	vhu_buf_done(&text);
	vhu_plan_free(p);
	free(c);
}

/* What a case cannot say by fields stands in it as bytes, and what came with half a message beside it. */
static void nothing_of_a_message_is_left_out(void **state)
{
	static const struct vhu_fd_info event = {.kind = VHU_FDK_EVENTFD};
	const struct vhu_replay_opts opts = {.device = VHU_DEV_BLK};
	struct capture *c = start();
	struct vhu_buf notes = {0}, text = {0};
	uint64_t table[5] = {UINT64_C(0xffffffff) << 32 | 1, 0, 0x1000, 0x7f0000000000, 0};
	struct vhu_err err = {0};
	struct vhu_record *r;
	struct vhu_plan *p;

	ask(c, VHU_MSG_SET_MEM_TABLE, table, sizeof(table));
	r = ask(c, VHU_MSG_SET_OWNER, NULL, 0);
	r->flags = VHU_CAP_MALFORMED;
	give(c, r, &event);
	p = compile(c, &opts, &notes);
	assert_int_equal(vhu_plan_to_case(p, "test.pcap", &text, &err), 0);
	if (!strstr(vhu_buf_text(&text), "\"payload\": \"01 00 00 00 ff ff ff ff ") ||
	    !strstr(vhu_buf_text(&text), "\"breaks\": \"malformed:bytes\", \"fds\": [\"eventfd\"]"))
		fail_msg("%s", vhu_buf_text(&text));
	vhu_buf_done(&text);
	vhu_plan_free(p);
	free(c);
}

static void what_is_not_alike_stays_apart(void **state)
{
	const struct vhu_replay_opts opts = {.device = VHU_DEV_BLK};
	struct capture *c = start();
	struct vhu_buf notes = {0}, text = {0};
	struct vhu_err err = {0};
	uint32_t nums[3][2] = {{0, 256}, {1, 128}, {2, 64}};
	struct vhu_plan *p;

	for (int i = 0; i < 3; i++)
		ask(c, VHU_MSG_SET_VRING_NUM, nums[i], 8);
	nums[0][0] = 5;
	ask(c, VHU_MSG_GET_VRING_BASE, nums[0], 8);
	p = compile(c, &opts, &notes);
	assert_int_equal(vhu_plan_to_case(p, "test.pcap", &text, &err), 0);
	assert_null(strstr(vhu_buf_text(&text), "for_each_queue"));
	vhu_buf_done(&text);
	vhu_plan_free(p);
	free(c);
}

static void the_device_is_found_where_it_is_sure(void **state)
{
	static const struct {
		uint64_t features;
		uint32_t config; /* bytes read of it; 0: none */
		uint64_t first;	 /* eight of them */
		enum vhu_msg msg;
		enum vhu_device device;
	} rows[] = {
		{0x175007e46, 57, 65536, VHU_MSG_SET_OWNER, VHU_DEV_BLK},
		{0x175000000, 0, 0, VHU_MSG_SET_OWNER, VHU_DEV_ANY}, /* a file system, or noise */
		{0x170008000, 0, 0, VHU_MSG_SET_OWNER, VHU_DEV_NET},
		{0x175000000, 0, 0, VHU_MSG_SEND_RARP, VHU_DEV_NET},
		{0x175000000, 0, 0, VHU_MSG_GPU_SET_SOCKET, VHU_DEV_GPU},
		{0x175000000, 8, 3, VHU_MSG_SET_OWNER, VHU_DEV_VSOCK},
		{0x175000000, 8, 0x4000000008, VHU_MSG_SET_OWNER, VHU_DEV_GPIO},
		{0x175000007, 0, 0, VHU_MSG_SET_OWNER, VHU_DEV_ANY}, /* SCSI, or a disk */
	};

	for (size_t i = 0; i < VHU_ARRAY_SIZE(rows); i++) {
		const struct vhu_replay_opts opts = {0};
		struct capture *c = start();
		uint8_t config[12 + 64] = {0};

		reply(c, VHU_MSG_GET_FEATURES, &rows[i].features, 8);
		ask(c, rows[i].msg, NULL, 0);
		vhu_ne_put(config + 4, 4, rows[i].config);
		vhu_le_put(config + 12, 8, rows[i].first);
		if (rows[i].config)
			reply(c, VHU_MSG_GET_CONFIG, config, 12 + rows[i].config);
		if (vhu_trace_guess_device(finish(c), &opts) != rows[i].device)
			fail_msg("row %zu", i);
		free(c);
	}
}

/* A session that tells nothing is of the device that others over its socket are of. */
static void the_device_is_that_of_the_socket(void **state)
{
	const struct vhu_replay_opts opts = {.session = 2};
	struct capture *c = start();
	uint64_t features = 0x170008000;

	reply(c, VHU_MSG_GET_FEATURES, &features, 8);
	ask(c, VHU_MSG_SET_OWNER, NULL, 0)->connection = 2;
	finish(c);
	assert_int_equal(vhu_trace_guess_device(&c->trace, &opts), VHU_DEV_ANY);
	c->session[0].path = c->session[1].path = "/run/a";
	assert_int_equal(vhu_trace_guess_device(&c->trace, &opts), VHU_DEV_NET);
	c->session[1].path = "/run/b";
	assert_int_equal(vhu_trace_guess_device(&c->trace, &opts), VHU_DEV_ANY);
	free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_become_steps_in_their_order),
		cmocka_unit_test(what_may_differ_is_masked),
		cmocka_unit_test(names_that_mean_nothing_are_refused),
		cmocka_unit_test(objects_are_told_by_inode_and_number),
		cmocka_unit_test(lost_descriptors_are_made_up_for),
		cmocka_unit_test(only_what_the_back_end_gave_is_its_own_buffer_again),
		cmocka_unit_test(a_death_is_a_kill_and_a_start),
		cmocka_unit_test(a_hang_up_over_a_wrong_message_is_expected),
		cmocka_unit_test(bytes_that_are_no_message_go_out_in_their_pieces),
		cmocka_unit_test(what_cannot_be_replayed_is_said),
		cmocka_unit_test(state_of_the_capture_is_loaded),
		cmocka_unit_test(behind_an_iommu_bytes_are_where_the_messages_say),
		cmocka_unit_test(rings_fold_into_a_loop),
		cmocka_unit_test(nothing_of_a_message_is_left_out),
		cmocka_unit_test(what_is_not_alike_stays_apart),
		cmocka_unit_test(the_device_is_found_where_it_is_sure),
		cmocka_unit_test(the_device_is_that_of_the_socket),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
