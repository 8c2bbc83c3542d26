/* One case, different targets: what is negotiated, what is skipped and why, what is legal where. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "plan_case.h"

#define FENCE "{\"fence\": true}"
#define BIT30 VHU_V(VHOST_USER_F_PROTOCOL_FEATURES)

static void load(const char *start, const char *extra, const char *steps)
{
	work_case("x.json", start, extra, steps);
	assert_int_equal(work_load(&work, ".", "x.json"), 0);
	assert_string_equal(vhu_buf_text(&work.text), "");
}

static struct vhu_plan *compile(const struct vhu_facts *facts, bool writes)
{
	struct vhu_compile_opts opts = {.facts = facts, .allow_writes = writes};
	struct vhu_plan *p = NULL;

	assert_int_equal(vhu_plan_from_case(work.set, 0, &opts, &p, &work.diags, &work.err), 0);
	assert_string_equal(vhu_buf_text(&work.text), "");
	return p;
}

static void test_needs(void **state)
{
	static const struct {
		const char *extra, *skip; /* NULL: it runs */
	} rows[] = {
		{"", NULL},
		{"\"needs\": {\"device\": [\"blk\"], \"features\": [\"VIRTIO_BLK_F_MQ\"], \"queues\": 4, "
		 "\"mem_slots\": 32},",
		 NULL},
		{"\"needs\": {\"capacity\": \"0x20000\", \"spawn\": true, \"hugetlb\": true, \"ring\": "
		 "\"split\"},",
		 NULL},
		{"\"needs\": {\"device\": [\"net\", \"fs\"]},",
		 "needs a net or fs device, the target's is blk"},
		{"\"needs\": {\"features\": [\"VIRTIO_F_VERSION_1\", \"VIRTIO_BLK_F_RO\"]},",
		 "needs feature VIRTIO_BLK_F_RO, which the target does not offer"},
		{"\"needs\": {\"protocol_features\": [\"STATUS\"]},",
		 "needs protocol feature STATUS, which the target does not offer"},
		{"\"needs\": {\"features\": [\"VIRTIO_NET_F_MTU\"]},",
		 "needs VIRTIO_NET_F_MTU, a feature of net devices; the target's is blk"},
		{"\"needs\": {\"without\": {\"protocol_features\": [\"STATUS\", \"CONFIG\"]}},",
		 "needs a target without protocol feature CONFIG, this one offers it"},
		{"\"needs\": {\"any\": {\"features\": [\"VIRTIO_BLK_F_RO\", \"VIRTIO_BLK_F_DISCARD\"]}},",
		 "needs one of the features VIRTIO_BLK_F_RO, VIRTIO_BLK_F_DISCARD, the target offers none"},
		{"\"needs\": {\"queues\": 5},", "needs 5 rings, the target has 4"},
		{"\"queues\": 5,", "needs 5 rings, the target has 4"},
		{"\"needs\": {\"mem_slots\": 33},", "needs 33 memory slots, the target has 32"},
		{"\"needs\": {\"capacity\": 131073},", "needs a disk of 131073 sectors, this one has 131072"},
		{"\"needs\": {\"device\": [\"blk\"], \"config\": {\"num_queues\": {\"ge\": 8}}},",
		 "needs config space with num_queues >= 8, the target has 4"},
		{"\"needs\": {\"device\": [\"blk\"], \"config\": {\"seg_max\": 1}},",
		 "needs 'seg_max' of config space, which its feature bit does not make valid"},
		{"\"needs\": {\"device\": [\"blk\"], \"config\": {\"zoned_model\": 1}},",
		 "needs 'zoned_model' of config space, which the target does not show"},
		{"\"needs\": {\"ring\": \"packed\"},", "needs packed rings, which the target does not offer"},
		{"\"ring\": \"packed\", \"queue_size\": 5,",
		 "needs packed rings, which the target does not offer"},
		{"\"memory\": {\"regions\": 9}, \"offer\": {\"drop_protocol_features\": "
		 "[\"CONFIGURE_MEM_SLOTS\"]},",
		 "9 memory regions need CONFIGURE_MEM_SLOTS, which is not negotiated"},
		{"\"memory\": {\"regions\": 33, \"size\": \"0x10000000\"},",
		 "needs 33 memory slots, the target has 32"},
	};
	struct vhu_facts facts = work_facts();

	for (size_t i = 0; i < VHU_ARRAY_SIZE(rows); i++) {
		struct vhu_plan *p;

		load("owned", rows[i].extra, FENCE);
		p = compile(&facts, false);
		if (rows[i].skip)
			assert_string_equal(p->skip ? p->skip : "", rows[i].skip);
		else
			assert_null(p->skip);
		assert_int_equal(p->n_steps, rows[i].skip ? 0 : 1);
		vhu_plan_free(p);
	}
}

static void test_poorer_targets(void **state)
{
	struct vhu_facts facts = work_facts();
	struct vhu_plan *p;

	load("owned", "\"needs\": {\"spawn\": true},", FENCE);
	facts.spawn = false;
	p = compile(&facts, false);
	assert_string_equal(p->skip, "needs a target that we start and stop ourselves: --spawn");
	vhu_plan_free(p);
	facts.spawn = true;
	facts.image = false;
	load("owned", "\"needs\": {\"spawn\": true},", "{\"target\": \"grow\", \"by\": 512}");
	p = compile(&facts, false);
	assert_string_equal(p->skip, "needs a disk that we made: {image} in the command of --spawn");
	vhu_plan_free(p);
	load("owned", "\"needs\": {\"hugetlb\": true},", FENCE);
	facts.hugetlb = false;
	p = compile(&facts, false);
	assert_string_equal(p->skip, "needs huge pages, none are free here");
	vhu_plan_free(p);
	/* Rings that a step names. */
	load("mapped", "", "{\"ring\": \"start\", \"queue\": 3}");
	facts.queues = 2;
	p = compile(&facts, false);
	assert_string_equal(p->skip, "needs ring 3, the target has 2");
	vhu_plan_free(p);
	facts.queues = 4;
	p = compile(&facts, false);
	assert_null(p->skip);
	vhu_plan_free(p);
	load("running", "\"needs\": {\"device\": [\"blk\"]},", "{\"io\": \"read\", \"indirect\": true}");
	facts.features &= ~VHU_V(VIRTIO_RING_F_INDIRECT_DESC);
	p = compile(&facts, false);
	assert_string_equal(p->skip, "needs feature VIRTIO_RING_F_INDIRECT_DESC, which is not negotiated");
	vhu_plan_free(p);
}

/* A host-managed disk has to be told that its zones are known, and is written by nobody else. */
static void test_zoned(void **state)
{
	const struct vhu_config_row *model = vhu_config_by_name(VHU_DEV_BLK, "zoned_model");
	struct vhu_facts facts = work_facts();
	struct vhu_plan *p;

	facts.features |= VHU_V(VIRTIO_BLK_F_ZONED);
	facts.config_size = model->offset + model->size;
	facts.config[model->offset] = VHU_C_BLK_Z_HM;
	load("owned", "\"needs\": {\"device\": [\"blk\"]},", FENCE);
	p = compile(&facts, false);
	assert_string_equal(p->skip, "needs a disk without zones, this one is host-managed");
	vhu_plan_free(p);
	facts.config[model->offset] = VHU_C_BLK_Z_HA;
	p = compile(&facts, false);
	assert_null(p->skip);
	assert_false(p->features & VHU_V(VIRTIO_BLK_F_ZONED));
	vhu_plan_free(p);
	facts.config[model->offset] = VHU_C_BLK_Z_HM;
	load("owned", "", FENCE);
	p = compile(&facts, false);
	assert_null(p->skip);
	assert_true(p->features & VHU_V(VIRTIO_BLK_F_ZONED));
	vhu_plan_free(p);
	load("owned", "\"needs\": {\"device\": [\"blk\"], \"features\": [\"VIRTIO_BLK_F_ZONED\"]},", FENCE);
	p = compile(&facts, false);
	assert_null(p->skip);
	vhu_plan_free(p);
}

static void test_writes(void **state)
{
	struct vhu_facts facts = work_facts();
	struct vhu_plan *p;

	load("running", "\"needs\": {\"device\": [\"blk\"]}, \"writes\": true,", "{\"io\": \"write\"}");
	p = compile(&facts, false);
	assert_string_equal(p->skip, "changes the disk: --allow-writes");
	assert_true(p->writes);
	vhu_plan_free(p);
	p = compile(&facts, true);
	assert_null(p->skip);
	vhu_plan_free(p);
	facts.read_only = true;
	p = compile(&facts, true);
	assert_string_equal(p->skip, "changes the disk, and the disk is read-only");
	vhu_plan_free(p);
	/* A case about such a disk writes to it to see what becomes of it. */
	facts.features |= VHU_V(VIRTIO_BLK_F_RO);
	load("running",
	     "\"needs\": {\"device\": [\"blk\"], \"features\": [\"VIRTIO_BLK_F_RO\"]}, \"writes\": true,",
	     "{\"io\": \"write\"}");
	p = compile(&facts, true);
	assert_null(p->skip);
	vhu_plan_free(p);
}

/* --- negotiation --------------------------------------------------------------------------------- */

static void test_negotiation(void **state)
{
	const uint64_t usual = VHU_V(VIRTIO_F_VERSION_1) | BIT30 | VHU_V(VIRTIO_RING_F_INDIRECT_DESC) |
			       VHU_V(VIRTIO_BLK_F_MQ) | VHU_V(VIRTIO_BLK_F_FLUSH) |
			       VHU_V(VIRTIO_BLK_F_CONFIG_WCE);
	const uint64_t pusual = VHU_P(MQ) | VHU_P(REPLY_ACK) | VHU_P(CONFIG) | VHU_P(BACKEND_REQ) |
				VHU_P(BACKEND_SEND_FD) | VHU_P(LOG_SHMFD) | VHU_P(CONFIGURE_MEM_SLOTS);
	const struct {
		const char *extra;
		uint64_t features, pfeatures;
	} rows[] = {
		{"", usual, pusual},
		/* What the tables mark opt-in comes when it is needed by name; logging only with `log`. */
		{"\"needs\": {\"features\": [\"VIRTIO_F_IN_ORDER\", \"VHOST_F_LOG_ALL\"], "
		 "\"protocol_features\": [\"PAGEFAULT\", \"INFLIGHT_SHMFD\"]},",
		 usual | VHU_V(VIRTIO_F_IN_ORDER), pusual | VHU_P(PAGEFAULT) | VHU_P(INFLIGHT_SHMFD)},
		{"\"offer\": {\"features\": [\"VIRTIO_F_VERSION_1\", \"VIRTIO_BLK_F_RO\"], "
		 "\"protocol_features\": [\"MQ\", \"STATUS\"]},",
		 VHU_V(VIRTIO_F_VERSION_1) | BIT30, VHU_P(MQ)},
		/* What depends on a bit goes with it. */
		{"\"offer\": {\"drop_features\": [\"VIRTIO_BLK_F_FLUSH\"], \"drop_protocol_features\": "
		 "[\"BACKEND_REQ\"]},",
		 usual & ~VHU_V(VIRTIO_BLK_F_FLUSH), pusual & ~(VHU_P(BACKEND_REQ) | VHU_P(BACKEND_SEND_FD))},
		/* Who does not take bit 30 has no protocol features, unless it says which. */
		{"\"offer\": {\"drop_features\": [\"VHOST_USER_F_PROTOCOL_FEATURES\"]},", usual & ~BIT30, 0},
		{"\"offer\": {\"drop_features\": [\"VHOST_USER_F_PROTOCOL_FEATURES\"], "
		 "\"protocol_features\": [\"REPLY_ACK\"]},",
		 usual & ~BIT30, VHU_P(REPLY_ACK)},
		{"\"offer\": {\"features\": [\"VIRTIO_F_VERSION_1\", \"VHOST_F_LOG_ALL\"]},",
		 VHU_V(VIRTIO_F_VERSION_1) | BIT30 | VHU_V(VHOST_F_LOG_ALL), pusual},
	};
	struct vhu_facts facts = work_facts();
	struct vhu_plan *p;

	facts.pfeatures |= VHU_P(BACKEND_SEND_FD);
	for (size_t i = 0; i < VHU_ARRAY_SIZE(rows); i++) {
		load("owned", rows[i].extra, FENCE);
		p = compile(&facts, false);
		assert_int_equal(p->features, rows[i].features);
		assert_int_equal(p->pfeatures, rows[i].pfeatures);
		vhu_plan_free(p);
	}
	load("owned", "", FENCE);
	facts.features &= ~BIT30;
	p = compile(&facts, false);
	assert_int_equal(p->pfeatures, 0);
	vhu_plan_free(p);
}

static void test_head(void **state)
{
	struct vhu_facts facts = work_facts();
	struct vhu_compile_opts opts = {.facts = &facts, .backing = VHU_BACKING_MEMFD};
	struct vhu_plan *p;

	load("running",
	     "\"queues\": \"all\", \"queue_size\": 256, \"tags\": [\"may-kill\"],"
	     "\"memory\": {\"regions\": 3, \"size\": \"0x3000000\", \"backing\": \"hugetlb\"},",
	     FENCE);
	p = compile(&facts, false);
	assert_string_equal(p->id, "x");
	assert_string_equal(p->file, "x.json");
	assert_string_equal(p->title, "A title that is long");
	assert_string_equal(p->why, "A reason that is long enough");
	assert_string_equal(p->profile, "plain");
	assert_int_equal(p->n_requirements, 2);
	assert_int_equal(p->device, VHU_DEV_BLK);
	assert_int_equal(p->start, VHU_STATE_RUNNING);
	assert_int_equal(p->queues, 4);
	assert_int_equal(p->queue_size, 256);
	assert_true(p->may_kill && !p->writes && !p->packed);
	assert_int_equal(p->layout.n_regions, 3);
	assert_int_equal(p->layout.region[0].size, 16 << 20);
	assert_int_equal(p->layout.region[0].backing, VHU_BACKING_HUGETLB);
	assert_int_equal(p->layout.n_rings, 4);
	assert_int_equal(p->layout.ring[3].size, 256);
	vhu_plan_free(p);
	/* The command line's word on backing is the last. */
	assert_int_equal(vhu_plan_from_case(work.set, 0, &opts, &p, &work.diags, &work.err), 0);
	assert_int_equal(p->layout.region[0].backing, VHU_BACKING_MEMFD);
	vhu_plan_free(p);
	/* It runs on packed rings as well. */
	assert_string_equal(vhu_case_set_info(work.set, 1)->id, "x%packed");
	assert_true(vhu_case_set_info(work.set, 1)->packed && vhu_case_set_info(work.set, 1)->twin);
	assert_int_equal(vhu_plan_from_case(work.set, 1, &opts, &p, &work.diags, &work.err), 0);
	assert_string_equal(p->skip, "needs packed rings, which the target does not offer");
	vhu_plan_free(p);
	assert_int_equal(vhu_plan_from_case(work.set, 2, &opts, &p, &work.diags, &work.err), -ENOENT);
	vhu_plan_free(NULL);
}

/* --- legality
 * ---------------------------------------------------------------------------------------------------- */

static void test_legal_here(void **state)
{
	static const struct {
		const char *start, *steps;
		const char *skip; /* on the target; everywhere else it is right */
	} rows[] = {
		{"negotiated", "{\"send\": \"SET_STATUS\", \"with\": {\"u64\": 1}}",
		 "on this target /steps/0: the step breaks STATUS-03 (SET_STATUS without the protocol "
		 "feature that it needs): say so "
		 "with 'breaks'"},
		{"connected", "{\"send\": \"SET_FEATURES\", \"with\": {\"u64\": [\"VIRTIO_BLK_F_RO\"]}}",
		 NULL},
		{"owned", "{\"send\": \"SET_FEATURES\", \"with\": {\"u64\": [\"VIRTIO_BLK_F_RO\"]}}",
		 "on this target /steps/0: the step breaks RING-93 (features 0x20 were not offered): say so "
		 "with 'breaks'"},
		{"negotiated",
		 "{\"send\": \"SET_VRING_NUM\", \"with\": {\"index\": 4}, \"breaks\": \"malformed:index\"}",
		 NULL},
	};
	struct vhu_facts facts = work_facts();

	for (size_t i = 0; i < VHU_ARRAY_SIZE(rows); i++) {
		struct vhu_plan *p;

		load(rows[i].start, "", rows[i].steps);
		p = compile(&facts, false);
		if (rows[i].skip)
			assert_string_equal(p->skip ? p->skip : "", rows[i].skip);
		else
			assert_null(p->skip);
		vhu_plan_free(p);
	}
	/* What was wrong against the union can be right on a target: then there is nothing to provoke. */
	load("mapped", "",
	     "{\"send\": \"SET_VRING_NUM\", \"with\": {\"index\": 4}, \"breaks\": \"malformed:index\"}");
	facts.queues = 8;
	struct vhu_plan *p = compile(&facts, false);

	assert_string_equal(
		p->skip,
		"on this target /steps/0: the step is legal here, it does not break malformed:index");
	vhu_plan_free(p);
}

/* Sequences that are right, and stay right: the model follows what was said. */
static void test_right_sequences(void **state)
{
	static const struct {
		const char *start, *extra, *steps;
	} rows[] = {
		/* The facts tell what a saved variable will be. */
		{"connected", "",
		 "{\"send\": \"GET_FEATURES\", \"save\": {\"f\": \"u64\"}}, {\"send\": "
		 "\"GET_PROTOCOL_FEATURES\", \"save\": {\"p\": \"u64\"}},\n"
		 "{\"send\": \"SET_PROTOCOL_FEATURES\", \"with\": {\"u64\": \"$p & 0x9\"}}, {\"send\": "
		 "\"SET_OWNER\", \"need_reply\": true},\n"
		 "{\"send\": \"SET_FEATURES\", \"with\": {\"u64\": \"$f &~ VHOST_F_LOG_ALL\"}, "
		 "\"need_reply\": true},\n"
		 "{\"send\": \"GET_QUEUE_NUM\"}"},
		/* What is not known of negotiation is not held against what follows. */
		{"connected", "",
		 "{\"send\": \"GET_VRING_BASE\", \"save\": {\"x\": \"num\"}}, {\"send\": "
		 "\"SET_PROTOCOL_FEATURES\", \"with\": {\"u64\": \"$x\"},\n"
		 " \"fds\": []}, {\"send\": \"SET_STATUS\"}"},
		/* A ring stopped, its base given back, started again. */
		{"running", "\"queues\": 2,",
		 "{\"send\": \"GET_VRING_BASE\", \"with\": {\"index\": 1}, \"save\": {\"b\": \"num\"}},\n"
		 "{\"send\": \"SET_VRING_BASE\", \"with\": {\"index\": 1, \"num\": \"$b\"}}, {\"send\": "
		 "\"SET_VRING_KICK\", \"with\": {\"index\": 1}},\n"
		 "{\"ring\": \"stop\", \"queue\": 1}, {\"ring\": \"start\", \"queue\": 1}, {\"ring\": "
		 "\"disable\"}, {\"ring\": \"enable\"}"},
		/* Memory that comes and goes. */
		{"mapped", "\"memory\": {\"regions\": 2},",
		 "{\"memory\": \"add\"}, {\"memory\": \"add\"}, {\"memory\": \"remove\"}, {\"memory\": "
		 "\"remove\"}, {\"memory\": \"map\"}"},
		{"mapped", "\"memory\": {\"regions\": 10},",
		 "{\"memory\": \"add\"}, {\"memory\": \"remove\"}"},
		{"running", "\"needs\": {\"protocol_features\": [\"INFLIGHT_SHMFD\"]},",
		 "{\"log\": \"start\"}, {\"log\": \"stop\"}, {\"inflight\": \"get\"}, {\"inflight\": "
		 "\"set\"}"},
		/* Wrong on purpose changes nothing. */
		{"mapped", "",
		 "{\"send\": \"SET_VRING_NUM\", \"with\": {\"num\": 0}, \"breaks\": "
		 "\"malformed:ring-size\"}, {\"ring\": \"start\"}"},
		{"negotiated", "",
		 "{\"send\": \"SET_VRING_ADDR\", \"breaks\": \"malformed:order\"}, {\"memory\": \"map\"}, "
		 "{\"send\": \"SET_VRING_ADDR\"}"},
		/* A new connection starts anew. */
		{"owned", "",
		 "{\"reconnect\": \"connected\"}, {\"send\": \"SET_OWNER\"}, {\"connect\": \"b\", \"to\": "
		 "\"connected\"},\n"
		 "{\"send\": \"SET_OWNER\", \"conn\": \"b\"}"},
		{"negotiated", "",
		 "{\"recv\": \"BACKEND_CONFIG_CHANGE_MSG\", \"answer\": \"none\"},\n"
		 "{\"send\": \"BACKEND_CONFIG_CHANGE_MSG\", \"on\": \"backend\", \"with\": {\"u64\": 1}}"},
		{"owned", "",
		 "{\"raw\": \"01 00 00 00 01 00 00 00 08 00 00 00 00\", \"breaks\": \"malformed:size\"}"},
		{"owned", "",
		 "{\"raw\": \"01 00 00 00 01 00 00 00 00 00 00 00 01 00 00 00 01 00 00 00 00 00 00 00\",\n"
		 " \"breaks\": \"malformed:bytes\"}"},
		{"owned", "\"needs\": {\"spawn\": true},",
		 "{\"target\": \"kill\"}, {\"target\": \"restart\"}, {\"reconnect\": \"owned\"}, " FENCE},
		{"owned", "",
		 "{\"send\": \"99\", \"breaks\": \"malformed:request\", \"expect\": \"closes\"}, "
		 "{\"reconnect\": \"owned\"}, " FENCE},
	};
	struct vhu_facts facts = work_facts();

	for (size_t i = 0; i < VHU_ARRAY_SIZE(rows); i++) {
		struct vhu_plan *p;

		load(rows[i].start, rows[i].extra, rows[i].steps);
		/* Of `$x` nothing is known; SET_STATUS is not offered by this one. */
		p = compile(&facts, false);
		if (p->skip)
			fail_msg("%s: %s", rows[i].steps, p->skip);
		vhu_plan_free(p);
	}
}

/* With a profile that there is not, and nothing at all. */
static void test_opts(void **state)
{
	struct vhu_compile_opts opts = {.profile = "plain"};
	struct vhu_plan *p = NULL;

	load("running", "\"needs\": {\"device\": [\"net\"], \"queues\": 7},", FENCE);
	/* --check: the union is what the case asks for. */
	assert_int_equal(vhu_plan_from_case(work.set, 0, &opts, &p, &work.diags, &work.err), 0);
	assert_null(p->skip);
	assert_int_equal(p->device, VHU_DEV_NET);
	assert_string_equal(p->profile, "plain");
	vhu_plan_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_needs),
		cmocka_unit_test(test_poorer_targets),
		cmocka_unit_test(test_zoned),
		cmocka_unit_test(test_writes),
		cmocka_unit_test(test_negotiation),
		cmocka_unit_test(test_head),
		cmocka_unit_test(test_legal_here),
		cmocka_unit_test(test_right_sequences),
		cmocka_unit_test(test_opts),
	};

	return cmocka_run_group_tests(tests, work_set_up, work_tear_down);
}
