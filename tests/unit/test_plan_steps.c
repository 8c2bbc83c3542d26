/* What each verb becomes in the plan: every key, and every default. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "oracle/oracle.h"
#include "plan_case.h"

/* A case on a disk that may be written and killed. */
static struct vhu_plan *plan_of(const char *start, const char *steps)
{
	struct vhu_facts facts = work_facts();
	struct vhu_compile_opts opts = {.facts = &facts, .allow_writes = true};
	struct vhu_plan *p = NULL;

	work_case("x.json", start,
		  "\"needs\": {\"device\": [\"blk\"], \"spawn\": true, \"protocol_features\": "
		  "[\"INFLIGHT_SHMFD\"]}, \"writes\": true, \"vars\": {\"two\": 2},",
		  steps);
	assert_int_equal(work_load(&work, ".", "x.json"), 0);
	assert_string_equal(vhu_buf_text(&work.text), "");
	assert_int_equal(vhu_plan_from_case(work.set, 0, &opts, &p, &work.diags, &work.err), 0);
	if (p->skip)
		fail_msg("%s", p->skip);
	return p;
}

static uint64_t number(const struct vhu_value *v)
{
	uint64_t u = UINT64_MAX;

	assert_true(vhu_value_is_const(v));
	assert_int_equal(vhu_value_eval(v, NULL, NULL, &u), 0);
	return u;
}

static void test_send_defaults(void **state)
{
	struct vhu_plan *p = plan_of("mapped", "{\"send\": \"GET_FEATURES\"}");
	const struct vhu_step *s = &p->steps[0];

	assert_int_equal(s->verb, VHU_VERB_SEND);
	assert_string_equal(vhu_verb_name(s->verb), "send");
	assert_string_equal(s->where, "/steps/0");
	assert_int_equal(s->requirement, VHU_REQ_HDR_01);
	assert_false(s->expect_given);
	assert_int_equal(s->expect | s->tolerate | s->within_ms | s->conn, 0);
	assert_false(s->breaks.set);
	assert_int_equal(s->send.row->msg, VHU_MSG_GET_FEATURES);
	assert_int_equal(s->send.request, 1);
	assert_int_equal(s->send.channel, VHU_CHAN_MAIN);
	assert_int_equal(s->send.need_reply, VHU_NR_PROFILE);
	assert_false(s->send.fds_given || s->send.payload_given || s->send.regions_given);
	assert_int_equal(s->send.reply_fds, -1);
	assert_int_equal(s->send.flags.n | s->send.size.n | s->send.reply_size.n, 0);
	assert_string_equal(p->conns[0], "first");
	assert_string_equal(vhu_state_name(p->start), "mapped");
	vhu_plan_free(p);
}

static void test_send_out(void **state)
{
	struct vhu_plan *p =
		plan_of("mapped", "{\"send\": \"SET_VRING_CALL\", \"with\": {\"index\": \"$two + 1\", "
				  "\"no_fd\": 1}, \"fds\": [], \"need_reply\": false,\n"
				  " \"expect\": [\"silent\", \"alive\"], \"tolerate\": \"closes\", "
				  "\"within_ms\": 100, \"note\": \"n\"},\n"
				  "{\"send\": \"SET_CONFIG\", \"with\": {\"offset\": 32, \"payload\": "
				  "{\"bytes\": \"01 02\"}}, \"need_reply\": true},\n"
				  "{\"send\": \"0x63\", \"payload\": \"aa\", \"tail\": \"bb cc\", \"flags\": "
				  "9, \"size\": \"0xffff\", \"pieces\": [5, 7],\n"
				  " \"fds\": [\"pipe\", \"memfd:0x1000\", \"memfd:$two\"], \"breaks\": "
				  "\"malformed:request\"},\n"
				  "{\"send\": \"SET_MEM_TABLE\", \"with\": {\"region\": [{}, "
				  "{\"guest_phys_addr\": 4096, \"mmap_offset\": 1}]},\n"
				  " \"breaks\": \"malformed:address\"},\n"
				  "{\"send\": 1, \"fds\": [\"auto\"]},\n"
				  "{\"send\": \"GET_FEATURES\", \"hold\": true}");
	const struct vhu_step *s = p->steps;

	assert_int_equal(s[0].expect, VHU_OUT_SILENT | VHU_OUT_ALIVE);
	assert_true(s[0].expect_given && s[0].send.fds_given);
	assert_int_equal(s[0].tolerate, VHU_OUT_CLOSES);
	assert_int_equal(s[0].within_ms, 100);
	assert_string_equal(s[0].note, "n");
	assert_int_equal(s[0].send.n_fds, 0);
	assert_int_equal(s[0].send.need_reply, VHU_NR_NO);
	assert_string_equal(s[0].send.with[0].field, "index");
	assert_int_equal(number(&s[0].send.with[0].value), 3);
	assert_string_equal(s[0].send.with[1].field, "no_fd");
	assert_int_equal(s[1].send.n_with, 2);
	assert_int_equal(s[1].send.need_reply, VHU_NR_YES);
	assert_int_equal(s[1].send.with[1].n_bytes, 2);
	assert_memory_equal(s[1].send.with[1].bytes, "\1\2", 2);
	assert_null(s[2].send.row);
	assert_int_equal(s[2].send.request, 0x63);
	assert_true(s[2].send.payload_given && s[2].send.n_payload == 1 && s[2].send.n_tail == 2);
	assert_int_equal(number(&s[2].send.flags), 9);
	assert_int_equal(number(&s[2].send.size), 0xffff);
	assert_int_equal(s[2].send.n_pieces, 2);
	assert_int_equal(s[2].send.pieces[1], 7);
	assert_int_equal(s[2].send.n_fds, 3);
	assert_int_equal(s[2].send.fds[0].source, VHU_FD_PIPE);
	assert_int_equal(s[2].send.fds[1].source, VHU_FD_MEMFD);
	assert_int_equal(number(&s[2].send.fds[1].size), 4096);
	assert_int_equal(number(&s[2].send.fds[2].size), 2);
	assert_true(s[2].breaks.set && s[2].breaks.req == VHU_REQ_MAX &&
		    s[2].breaks.malformed == VHU_MALFORMED_REQUEST);
	assert_int_equal(s[3].send.n_regions, 2);
	assert_int_equal(s[3].send.regions[0].gpa.n, 0);
	assert_int_equal(number(&s[3].send.regions[1].gpa), 4096);
	assert_int_equal(number(&s[3].send.regions[1].offset), 1);
	/* A number that has a name is that message; "auto" is what it takes. */
	assert_int_equal(s[4].send.row->msg, VHU_MSG_GET_FEATURES);
	assert_false(s[4].send.fds_given);
	/* The answer to a held message is nobody's to wait for. */
	assert_true(!s[4].send.hold && s[5].send.hold && s[5].expect_given);
	assert_int_equal(s[5].expect, VHU_OUT_NONE);
	vhu_plan_free(p);
}

static void test_send_back(void **state)
{
	struct vhu_plan *p = plan_of(
		"mapped",
		"{\"send\": \"GET_INFLIGHT_FD\", \"reply\": {\"mmap_size\": {\"gt\": 0, \"multiple_of\": "
		"64}, \"num_queues\": 1},\n"
		" \"reply_fds\": 1, \"reply_size\": 24, \"save\": {\"size\": \"mmap_size\", \"fd\": "
		"\"fd0\"}},\n"
		"{\"send\": \"GET_FEATURES\", \"reply\": {\"u64\": {\"has\": [\"VIRTIO_F_VERSION_1\"], "
		"\"lacks\": \"$size\"}},\n"
		" \"expect\": [\"reply\", \"closes\"], \"reply_fds\": [\"memfd\", \"eventfd\"]},\n"
		"{\"send\": \"GET_CONFIG\", \"reply\": {\"payload\": {\"prefix\": \"00\", \"len\": 60}}}");
	const struct vhu_step *s = p->steps;
	char text[80];

	/* Whoever matches a reply expects one. */
	assert_true(s[0].expect_given);
	assert_int_equal(s[0].expect, VHU_OUT_REPLY);
	assert_int_equal(s[0].send.n_reply, 2);
	assert_string_equal(s[0].send.reply[0].field, "mmap_size");
	assert_int_equal(s[0].send.reply[0].match.n, 2);
	assert_int_equal(s[0].send.reply_fds, 1);
	assert_int_equal(s[0].send.reply_size.n, 1);
	assert_int_equal(s[0].send.n_save, 2);
	assert_string_equal(p->vars[s[0].send.save[0].var], "size");
	assert_string_equal(s[0].send.save[1].field, "fd0");
	assert_int_equal(s[1].expect, VHU_OUT_REPLY | VHU_OUT_CLOSES);
	assert_int_equal(s[1].send.reply_fds, 2);
	vhu_matcher_describe(&s[1].send.reply[0].match, NULL, NULL, text, sizeof(text));
	assert_string_equal(text, "has VERSION_1 and lacks (not known yet)");
	vhu_matcher_describe(&s[2].send.reply[0].match, NULL, NULL, text, sizeof(text));
	assert_string_equal(text, "starts with 00 and bytes: 0x3c");
	vhu_plan_free(p);
}

static void test_raw_recv_fence(void **state)
{
	struct vhu_plan *p =
		plan_of("negotiated",
			"{\"raw\": \"01 00\", \"breaks\": \"malformed:bytes\", \"expect\": \"alive\"},\n"
			"{\"recv\": \"BACKEND_CONFIG_CHANGE_MSG\"},\n"
			"{\"recv\": \"BACKEND_VRING_HOST_NOTIFIER_MSG\", \"with\": {\"index\": 0}, \"fds\": "
			"1, \"answer\": \"nack\",\n"
			" \"optional\": true, \"save\": {\"at\": \"offset\"}},\n"
			"{\"recv\": \"BACKEND_CONFIG_CHANGE_MSG\", \"answer\": {\"u64\": 7}},\n"
			"{\"fence\": true}, {\"fence\": \"GET_QUEUE_NUM\"}");
	const struct vhu_step *s = p->steps;

	assert_int_equal(s[0].raw.n_bytes, 2);
	assert_memory_equal(s[0].raw.bytes, "\1\0", 2);
	assert_int_equal(s[0].breaks.malformed, VHU_MALFORMED_BYTES);
	assert_int_equal(s[1].recv.row->msg, VHU_MSG_BACKEND_CONFIG_CHANGE_MSG);
	assert_int_equal(s[1].recv.answer, VHU_RECV_ACK);
	assert_int_equal(s[1].recv.fds, -1);
	assert_false(s[1].recv.optional);
	assert_int_equal(s[2].recv.answer, VHU_RECV_NACK);
	assert_int_equal(s[2].recv.fds, 1);
	assert_true(s[2].recv.optional);
	assert_int_equal(s[2].recv.n_with, 1);
	assert_string_equal(s[2].recv.save[0].field, "offset");
	assert_int_equal(s[3].recv.answer, VHU_RECV_FIELDS);
	assert_int_equal(number(&s[3].recv.fields[0].value), 7);
	assert_null(s[4].fence.row);
	assert_int_equal(s[5].fence.row->msg, VHU_MSG_GET_QUEUE_NUM);
	vhu_plan_free(p);
}

static void test_connections(void **state)
{
	struct vhu_plan *p =
		plan_of("owned", "{\"for_each\": \"name\", \"in\": [\"b\", \"c\"], \"do\": [{\"connect\": "
				 "\"$name\", \"to\": \"mapped\", \"profile\": \"plain\"},\n"
				 " {\"fence\": true, \"conn\": \"$name\"}]},\n"
				 "{\"close\": \"both\", \"conn\": \"c\"},\n"
				 "{\"reconnect\": \"running\", \"keep\": [\"memory\", \"rings\"], \"base\": "
				 "\"saved\", \"status\": false,\n"
				 " \"features\": [\"VIRTIO_F_VERSION_1\", \"VIRTIO_BLK_F_RO\"]},\n"
				 "{\"reconnect\": \"running\", \"keep\": [\"memory\", \"rings\", "
				 "\"inflight\", \"log\"], \"base\": \"$two\", \"conn\": \"b\"},\n"
				 "{\"close\": \"backend\"}, {\"close\": \"write\"},\n"
				 "{\"target\": \"kill\"}, {\"target\": \"await-exit\"}, {\"target\": "
				 "\"restart\"}, {\"target\": \"kill\", \"signal\": \"TERM\"},"
				 "{\"program\": \"again\", \"expect\": \"dead\"}, {\"program\": \"end\"},"
				 "{\"target\": \"restart\"}, {\"target\": \"grow\", \"by\": 4096}");
	const struct vhu_step *s = p->steps;

	assert_int_equal(p->n_conns, 3);
	assert_string_equal(p->conns[2], "c");
	assert_int_equal(s[0].verb, VHU_VERB_CONNECT);
	assert_int_equal(s[0].conn, 1);
	assert_int_equal(s[0].reconnect.state, VHU_STATE_MAPPED);
	assert_string_equal(s[0].reconnect.profile, "plain");
	assert_int_equal(s[3].conn, 2);
	assert_true(s[4].close.main && s[4].close.backend && !s[4].close.write_side);
	assert_int_equal(s[5].reconnect.keep, VHU_KEEP_MEMORY | VHU_KEEP_RINGS);
	assert_int_equal(s[5].reconnect.base_from, VHU_BASE_SAVED);
	assert_true(s[5].reconnect.no_status && s[5].reconnect.features_given);
	/* Of what is offered only, and with bit 30. */
	assert_int_equal(s[5].reconnect.features,
			 VHU_V(VIRTIO_F_VERSION_1) | VHU_V(VHOST_USER_F_PROTOCOL_FEATURES));
	assert_null(s[5].reconnect.profile);
	assert_int_equal(s[6].reconnect.base_from, VHU_BASE_VALUE);
	assert_int_equal(number(&s[6].reconnect.base), 2);
	assert_int_equal(s[6].reconnect.keep,
			 VHU_KEEP_MEMORY | VHU_KEEP_RINGS | VHU_KEEP_INFLIGHT | VHU_KEEP_LOG);
	assert_false(s[6].reconnect.no_status || s[6].reconnect.features_given);
	assert_true(!s[7].close.main && s[7].close.backend);
	assert_true(!s[8].close.main && s[8].close.write_side);
	assert_int_equal(s[9].target.op, VHU_TARGET_KILL);
	assert_int_equal(s[9].target.signal, SIGKILL);
	assert_int_equal(s[10].target.op, VHU_TARGET_AWAIT_EXIT);
	assert_int_equal(s[11].target.op, VHU_TARGET_RESTART);
	assert_int_equal(s[12].target.signal, SIGTERM);
	assert_int_equal(s[13].program.op, VHU_DO_PROGRAM_AGAIN);
	assert_int_equal(s[13].expect, VHU_OUT_DEAD);
	assert_int_equal(s[14].program.op, VHU_DO_PROGRAM_END);
	assert_int_equal(s[16].target.op, VHU_TARGET_GROW);
	assert_int_equal(s[16].target.by, 4096);
	vhu_plan_free(p);
}

static void test_ring(void **state)
{
	struct vhu_plan *p = plan_of(
		"mapped",
		"{\"ring\": \"start\", \"queue\": \"$two\", \"base\": 5}, {\"ring\": \"kick\"}, {\"ring\": "
		"\"disable\", \"queue\": 2},\n"
		"{\"for_each\": \"i\", \"in\": [3], \"do\": [{\"ring\": \"poke\", \"queue\": 2, \"at\": "
		"\"desc[$i].next\", \"value\": 9,\n"
		" \"breaks\": \"RING-80\"}]},\n"
		"{\"ring\": \"check\", \"queue\": 2, \"used\": 3, \"called\": {\"ge\": 1}, \"stale\": 0, "
		"\"error\": 0, \"idle\": true,\n"
		" \"settle_ms\": 30},\n"
		"{\"ring\": \"stop\", \"queue\": 2, \"base\": {\"le\": 8}, \"save\": {\"at\": \"num\"}}");
	const struct vhu_step *s = p->steps;

	assert_int_equal(p->layout.n_rings, 3);
	assert_int_equal(s[0].ring.op, VHU_RING_START);
	assert_int_equal(s[0].ring.queue, 2);
	assert_int_equal(number(&s[0].ring.base.terms[0].value), 5);
	assert_int_equal(s[1].ring.op, VHU_RING_KICK);
	assert_int_equal(s[1].ring.queue, 0);
	assert_int_equal(s[2].ring.op, VHU_RING_DISABLE);
	assert_string_equal(s[3].ring.at, "desc[3].next");
	assert_int_equal(number(&s[3].ring.value), 9);
	assert_int_equal(s[3].breaks.req, VHU_REQ_RING_80);
	assert_true(s[4].ring.used.n && s[4].ring.called.n && s[4].ring.stale.n && s[4].ring.error.n &&
		    s[4].ring.idle);
	assert_int_equal(s[4].ring.settle_ms, 30);
	assert_int_equal(s[5].ring.op, VHU_RING_STOP);
	assert_string_equal(s[5].ring.save[0].field, "num");
	vhu_plan_free(p);
}

static void test_io(void **state)
{
	struct vhu_plan *p =
		plan_of("running", "{\"io\": \"read\"},\n"
				   "{\"io\": \"write\", \"sector\": \"$two * 8\", \"count\": 2, \"times\": "
				   "3, \"pattern\": \"fill:Ab\", \"segments\": [1, 1023],\n"
				   " \"indirect\": true, \"kick\": false, \"wait\": false, \"tag\": \"t\", "
				   "\"status\": [\"ok\", \"ioerr\"], \"verify\": false,\n"
				   " \"used_len\": 1},\n"
				   "{\"io\": \"raw\", \"type\": \"0x7f\", \"count\": 0, \"status\": \"any\", "
				   "\"pattern\": \"seed:77\"},\n"
				   "{\"io\": \"get_id\", \"status\": \"unsupp\", \"pattern\": \"zero\"},\n"
				   "{\"await\": [\"t\"], \"order\": \"submitted\", \"exactly_once\": false, "
				   "\"status\": \"ioerr\"}, {\"await\": \"any\"}, {\"await\": \"all\"}");
	const struct vhu_step *s = p->steps;

	assert_int_equal(s[0].io.op, 0);
	assert_true(s[0].io.verify && s[0].io.kick && s[0].io.wait && !s[0].io.indirect && !s[0].io.tag);
	assert_int_equal(s[0].io.count, 8);
	assert_int_equal(s[0].io.times, 1);
	assert_int_equal(s[0].io.sector.n, 0);
	assert_int_equal(s[0].io.statuses, 1 << VHU_C_BLK_S_OK);
	assert_int_equal(s[0].io.pattern, 0);
	assert_int_equal(s[1].io.op, 1);
	assert_int_equal(number(&s[1].io.sector), 16);
	assert_int_equal(s[1].io.times, 3);
	assert_int_equal(s[1].io.pattern, 1);
	assert_int_equal(s[1].io.pattern_arg, 0xab);
	assert_int_equal(s[1].io.n_segments, 2);
	assert_int_equal(s[1].io.segments[1], 1023);
	assert_true(s[1].io.indirect && !s[1].io.kick && !s[1].io.wait && !s[1].io.verify);
	assert_string_equal(s[1].io.tag, "t");
	assert_int_equal(s[1].io.statuses, 1 << VHU_C_BLK_S_OK | 1 << VHU_C_BLK_S_IOERR);
	assert_int_equal(s[1].io.used_len.n, 1);
	assert_int_equal(s[2].io.op, 6);
	assert_int_equal(s[2].io.type, 0x7f);
	assert_int_equal(s[2].io.count, 0);
	assert_int_equal(s[2].io.statuses, 0);
	assert_int_equal(s[2].io.pattern, 2);
	assert_int_equal(s[2].io.pattern_arg, 77);
	assert_int_equal(s[3].io.op, 5);
	assert_int_equal(s[3].io.statuses, 1 << VHU_C_BLK_S_UNSUPP);
	assert_int_equal(s[3].io.pattern, 3);
	assert_int_equal(s[4].await.what, VHU_AWAIT_TAGS);
	assert_string_equal(s[4].await.tags[0], "t");
	assert_true(s[4].await.in_order && !s[4].await.exactly_once);
	assert_int_equal(s[4].await.statuses, 1 << VHU_C_BLK_S_IOERR);
	assert_int_equal(s[5].await.what, VHU_AWAIT_ANY);
	assert_true(s[6].await.what == VHU_AWAIT_ALL && s[6].await.exactly_once && s[6].await.statuses == 0);
	vhu_plan_free(p);
}

static void test_chain(void **state)
{
	struct vhu_plan *p = plan_of(
		"running",
		"{\"chain\": [{\"out\": {\"type\": \"BLK_T_IN\", \"sector\": 7}, \"layout\": "
		"\"blk_outhdr\"}, {\"out\": \"0102\"},\n"
		" {\"in\": 512, \"match\": \"00 01\"}, {\"in\": 4, \"match\": {\"prefix\": \"ff\"}},\n"
		" {\"in\": 1, \"layout\": \"blk_status\", \"match\": {\"status\": 0}}, {\"desc\": {\"len\": "
		"4, \"flags\": \"DESC_F_WRITE\"}}],\n"
		" \"queue\": 1, \"wait\": false, \"tag\": \"c\", \"used_len\": {\"any\": true}, \"breaks\": "
		"\"malformed:ring\"}");
	const struct vhu_step_chain *c = &p->steps[0].chain;

	assert_int_equal(c->n_elems, 6);
	assert_int_equal(c->queue, 1);
	assert_true(c->kick && !c->wait && !c->indirect);
	assert_string_equal(c->tag, "c");
	assert_int_equal(c->elems[0].kind, VHU_ELEM_OUT);
	assert_string_equal(c->elems[0].layout, "blk_outhdr");
	assert_int_equal(c->elems[0].n_fields, 2);
	assert_int_equal(number(&c->elems[0].fields[1].value), 7);
	assert_int_equal(c->elems[1].n_bytes, 2);
	assert_int_equal(c->elems[2].kind, VHU_ELEM_IN);
	assert_int_equal(c->elems[2].len, 512);
	assert_int_equal(c->elems[2].match.terms[0].op, VHU_MATCH_BYTES);
	assert_int_equal(c->elems[3].match.terms[0].op, VHU_MATCH_PREFIX);
	assert_int_equal(c->elems[4].n_matches, 1);
	assert_string_equal(c->elems[4].matches[0].field, "status");
	assert_int_equal(c->elems[5].kind, VHU_ELEM_DESC);
	assert_int_equal(c->elems[5].addr.n, 0);
	assert_int_equal(number(&c->elems[5].flags), VHU_C_DESC_F_WRITE);
	vhu_plan_free(p);
}

static void test_memory_log_inflight(void **state)
{
	struct vhu_plan *p =
		plan_of("running",
			"{\"memory\": \"add\", \"regions\": [{\"size\": \"0x400000\", \"backing\": "
			"\"memfd\"}]}, {\"memory\": \"add\"},\n"
			"{\"memory\": \"remove\"}, {\"memory\": \"fill\", \"gpa\": \"$mem.gpa\", \"len\": "
			"64, \"pattern\": \"fill:5a\"},\n"
			"{\"memory\": \"check\", \"gpa\": \"$mem.gpa\", \"len\": 4, \"match\": \"5a 5a\"},\n"
			"{\"log\": \"start\", \"queues\": [0], \"offset\": 8192},\n"
			"{\"io\": \"read\", \"tag\": \"r\"},\n"
			"{\"log\": \"check\", \"dirty\": [{\"buffers\": \"r\"}, {\"ring\": 0}, {\"gpa\": 1, "
			"\"len\": 2}], \"only\": true},\n"
			"{\"log\": \"clear\"}, {\"log\": \"stop\", \"queues\": \"all\"},\n"
			"{\"inflight\": \"get\", \"queues\": 1, \"queue_size\": \"$case.queue_size\"}, "
			"{\"inflight\": \"check\", \"entries\": 0}, "
			"{\"inflight\": \"check\", \"used_idx\": 8, \"counter\": {\"ge\": 7}},\n"
			"{\"ring\": \"poke\", \"at\": \"inflight.desc[3].counter\", \"value\": 7}");
	const struct vhu_step *s = p->steps;

	assert_int_equal(s[0].memory.op, VHU_MEMORY_ADD);
	assert_int_equal(number(&s[0].memory.regions[0].size), 0x400000);
	assert_int_equal(s[0].memory.regions[0].backing, VHU_BACKING_MEMFD);
	assert_int_equal(s[1].memory.n_regions, 0);
	assert_int_equal(s[3].memory.pattern, 1);
	assert_int_equal(s[3].memory.pattern_arg, 0x5a);
	assert_int_equal(number(&s[3].memory.gpa), p->layout.region[0].gpa);
	assert_int_equal(s[4].memory.n_match, 2);
	assert_int_equal(s[5].log.op, VHU_LOG_START);
	assert_int_equal(s[5].log.n_queues, 1);
	assert_int_equal(s[5].log.offset, 8192);
	assert_int_equal(s[7].log.n_dirty, 3);
	assert_string_equal(s[7].log.dirty[0].buffers, "r");
	assert_true(s[7].log.dirty[0].ring == -1 && s[7].log.dirty[1].ring == 0 && s[7].log.only);
	assert_int_equal(number(&s[7].log.dirty[2].len), 2);
	assert_int_equal(s[9].log.n_queues, 0);
	assert_int_equal(number(&s[10].inflight.queue_size), 128);
	assert_int_equal(s[11].inflight.op, VHU_INFLIGHT_CHECK);
	assert_int_equal(s[11].inflight.entries.n, 1);
	assert_int_equal(s[11].inflight.counter.n, 0);
	assert_int_equal(s[12].inflight.entries.n, 0);
	assert_int_equal(s[12].inflight.used_idx.n, 1);
	assert_int_equal(s[12].inflight.counter.terms[0].op, VHU_MATCH_GE);
	/* What a dead back-end left breaks no rule of ours. */
	assert_string_equal(s[13].ring.at, "inflight.desc[3].counter");
	assert_false(s[13].breaks.set);
	vhu_plan_free(p);
}

/* An answer with config space is matched and saved by the device's fields. */
static void test_config_fields(void **state)
{
	struct vhu_plan *p = plan_of("negotiated",
				     "{\"send\": \"GET_CONFIG\", \"save\": {\"size\": \"capacity\"}},\n"
				     "{\"send\": \"GET_CONFIG\", \"reply\": {\"capacity\": \"$size\"}},\n"
				     "{\"memory\": \"fill\", \"gpa\": \"$mem.gpa\", \"len\": 8, "
				     "\"value\": \"$mem.gpa + 16\"}");

	assert_string_equal(p->steps[0].send.save[0].field, "capacity");
	assert_string_equal(p->steps[1].send.reply[0].field, "capacity");
	assert_int_equal(p->steps[1].expect, VHU_OUT_REPLY);
	assert_int_equal(number(&p->steps[2].memory.value), p->layout.region[0].gpa + 16);
	vhu_plan_free(p);
}

static void test_assert(void **state)
{
	struct vhu_plan *p = plan_of("owned", "{\"assert\": [\"$target.features\", \"has\", "
					      "[\"VIRTIO_F_VERSION_1\"]], \"says\": \"modern\"}");
	const struct vhu_step_assert *a = &p->steps[0].assertion;

	assert_string_equal(a->text, "$target.features has VIRTIO_F_VERSION_1");
	assert_string_equal(a->says, "modern");
	assert_int_equal(number(&a->b), VHU_V(VIRTIO_F_VERSION_1));
	vhu_plan_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_send_defaults),
		cmocka_unit_test(test_send_out),
		cmocka_unit_test(test_send_back),
		cmocka_unit_test(test_raw_recv_fence),
		cmocka_unit_test(test_connections),
		cmocka_unit_test(test_ring),
		cmocka_unit_test(test_io),
		cmocka_unit_test(test_chain),
		cmocka_unit_test(test_memory_log_inflight),
		cmocka_unit_test(test_config_fields),
		cmocka_unit_test(test_assert),
	};

	return cmocka_run_group_tests(tests, work_set_up, work_tear_down);
}
