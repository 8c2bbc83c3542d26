/* One session that collects what a target offers, before any case runs. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

struct probe {
	struct vhu_run run;
	struct vhu_plan plan;
	struct vhu_result result;
	struct vhu_conn conn;
};

/* Sends one message and returns whether it was answered; the answer is in conn.answer. */
static bool ask(struct probe *p, enum vhu_msg msg, struct vhu_moment *m)
{
	static const struct vhu_step step = {.where = "probe", .requirement = VHU_REQ_REPLY_05};
	struct vhu_script_item item = {.msg = msg};

	return vhu_run_item(&p->conn, &item, &step, m) && p->conn.have_answer;
}

/*
 * The largest size of config space below `below` that is worth asking for: where a field of the device type
 * ends, since older versions of it end there. Of an unknown device: what the block device had over time, and
 * the size of one word.
 */
static size_t smaller_config(const struct vhu_device_row *dev, size_t below)
{
	static const size_t unknown[] = {8, 24, 36, 57, 60, 72, 96};
	const struct vhu_config_row *row;
	size_t size = 0;

	for (size_t i = 0; !dev && i < VHU_ARRAY_SIZE(unknown) && unknown[i] < below; i++)
		size = unknown[i];
	for (size_t i = 0; dev && (row = vhu_config_row(dev->device, i)); i++)
		if (row->offset + row->size < below)
			size = VHU_MAX(size, (size_t)(row->offset + row->size));
	return size;
}

/* Back-ends refuse to give more than they have. */
static void probe_config(struct probe *p, struct vhu_facts *ret)
{
	const struct vhu_device_row *dev = ret->device == VHU_DEV_ANY ? NULL : vhu_device_row(ret->device);
	size_t want = VHU_C_CONFIG_SIZE_MAX + 1;

	while ((want = smaller_config(dev, want)) && !p->run.stop) {
		struct vhu_moment m = vhu_run_moment(&p->conn);
		const struct vhu_frame *f = &p->conn.answer;
		uint64_t size;

		m.config_size = want;
		if (!ask(p, VHU_MSG_GET_CONFIG, &m))
			return;
		if (!vhu_frame_get(f, VHU_PL_CONFIG, "size", &size) || !size ||
		    f->len < sizeof(uint32_t[3]) + want)
			continue;
		ret->config_size = want;
		memcpy(ret->config, f->payload + sizeof(uint32_t[3]), want);
		return;
	}
}

static void read_config(struct vhu_facts *ret)
{
	const struct vhu_config_row *row;
	uint64_t num;

	if (ret->device != VHU_DEV_BLK || ret->config_size < 8)
		return;
	ret->capacity = vhu_le_get(ret->config, 8);
	ret->read_only = ret->features & VHU_V(VIRTIO_BLK_F_RO);
	row = vhu_config_by_name(VHU_DEV_BLK, "num_queues");
	if (!(ret->features & VHU_V(VIRTIO_BLK_F_MQ))) {
		ret->queues = 1;
	} else if (row->offset + row->size <= ret->config_size) {
		num = vhu_le_get(ret->config + row->offset, row->size);
		if (num)
			ret->queues = (unsigned)VHU_MIN(
				num, (uint64_t)(ret->queues ? ret->queues : VHU_SESSION_RINGS));
	}
}

/* Another device than the one whose config space was read has it in other sizes. */
static void find_device(struct probe *p, struct vhu_facts *ret)
{
	enum vhu_device device = vhu_engine_identify(p->run.e, ret);

	if (device == ret->device)
		return;
	ret->device = device;
	if (ret->config_size)
		probe_config(p, ret);
}

static void collect(struct probe *p, struct vhu_facts *ret)
{
	struct vhu_moment m = vhu_run_moment(&p->conn);
	uint64_t start = vhu_now_ns();

	if (!ask(p, VHU_MSG_GET_FEATURES, &m))
		return;
	ret->rtt_ns = vhu_now_ns() - start;
	ret->features = vhu_frame_u64(&p->conn.answer, "u64");
	if (ret->features & VHU_V(VHOST_USER_F_PROTOCOL_FEATURES)) {
		struct vhu_script_item set = {.msg = VHU_MSG_SET_PROTOCOL_FEATURES};
		static const struct vhu_step step = {.where = "probe", .requirement = VHU_REQ_PROTO_03};

		if (!ask(p, VHU_MSG_GET_PROTOCOL_FEATURES, &m))
			return;
		ret->pfeatures = vhu_frame_u64(&p->conn.answer, "u64");
		/* As a case negotiates: what lacks its own needs may be refused, and all else with it. */
		p->conn.pfeatures = m.pfeatures = vhu_features_with_needs(
			VHU_NS_PROTOCOL, VHU_DEV_ANY,
			ret->pfeatures & vhu_features_known(VHU_NS_PROTOCOL, VHU_DEV_ANY));
		if (!vhu_run_item(&p->conn, &set, &step, &m))
			return;
	}
	if ((m.pfeatures & VHU_P(MQ)) && ask(p, VHU_MSG_GET_QUEUE_NUM, &m)) {
		ret->queue_num = vhu_frame_u64(&p->conn.answer, "u64");
		ret->queues = (unsigned)VHU_MIN(ret->queue_num, (uint64_t)VHU_SESSION_RINGS);
	}
	if ((m.pfeatures & VHU_P(CONFIGURE_MEM_SLOTS)) && ask(p, VHU_MSG_GET_MAX_MEM_SLOTS, &m))
		ret->mem_slots = vhu_frame_u64(&p->conn.answer, "u64");
	if (m.pfeatures & VHU_P(CONFIG)) {
		probe_config(p, ret);
	}
	find_device(p, ret);
	if (m.pfeatures & VHU_P(CONFIG))
		read_config(ret);
	if (!ret->queues)
		ret->queues = ret->device == VHU_DEV_NET ? 2 : 1;
}

/* How many ring indexes exist: what GET_QUEUE_NUM says counts pairs on net, where both readings are about. */
static unsigned ring_indexes(const struct vhu_facts *facts)
{
	uint64_t n = VHU_MAX(facts->queue_num, (uint64_t)facts->queues);

	if (facts->device == VHU_DEV_NET)
		n *= 2;
	return (unsigned)VHU_MIN(n, (uint64_t)VHU_SESSION_RINGS);
}

/* Why the probe failed, in one line. */
static int failure(struct probe *p, struct vhu_err *err)
{
	const struct vhu_result *res = &p->result;
	const struct vhu_finding *f = res->n_findings ? &res->findings[res->n_findings - 1] : NULL;

	if (p->run.interrupted)
		return vhu_err_set(err, -EINTR, "interrupted");
	if (p->run.broken)
		return vhu_err_set(err, -EIO, "%s", res->reason);
	return vhu_err_set(err, res->target_gone || res->target_died ? -ECONNREFUSED : -EPROTO, "%s: %s",
			   f ? f->summary : "the back-end gave no usable answer", f ? f->actual : "");
}

static struct probe *begin(struct vhu_engine *e)
{
	struct probe *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->plan = (struct vhu_plan){.id = "probe", .profile = "plain", .device = e->opts.device, .queues = 1};
	p->conn.r = &p->run;
	p->run = (struct vhu_run){.e = e,
				  .plan = &p->plan,
				  .res = &p->result,
				  .phase = "probe",
				  .conns = &p->conn,
				  .n_conns = 1};
	p->run.log.fd = p->run.inflight.fd = p->run.state.fd = p->run.postcopy.fd = -1;
	e->run = &p->run;
	return p;
}

static void end(struct probe *p)
{
	p->run.e->run = NULL;
	vhu_result_done(&p->result);
	free(p);
}

/* A connection that does nothing; what the target holds meanwhile, seen as after a case. */
static void look(struct probe *p)
{
	static const struct vhu_step step = {.where = "probe", .requirement = VHU_REQ_PROG_16};

	if (!p->run.stop && vhu_conn_open(&p->run, &p->conn) && vhu_conn_fence(&p->conn, &step, NULL))
		p->run.e->held = vhu_run_holdings(&p->run);
	vhu_conn_close(&p->conn);
}

int vhu_engine_probe(struct vhu_engine *e, struct vhu_facts *ret, struct vhu_err *err)
{
	struct probe *p = begin(e);
	struct vhu_facts facts = {.known = true, .device = e->opts.identify ? VHU_DEV_ANY : e->opts.device};
	bool answered = false;
	int rc = 0;

	if (!p)
		return vhu_err_set(err, -ENOMEM, "out of memory");
	if (vhu_conn_open(&p->run, &p->conn))
		collect(p, &facts);
	answered = p->conn.oracle.session.features_known;
	vhu_conn_close(&p->conn);
	/* A program that serves one session ends about now. */
	if (vhu_target_spawned(e->target) && !vhu_target_one_shot(e->target))
		vhu_run_settle(&p->run, vhu_run_settle_ns(&p->run));
	/* What it holds before any case. */
	if (answered && !vhu_target_one_shot(e->target))
		look(p);
	if (!answered || p->run.broken || p->run.interrupted) {
		rc = failure(p, err);
	} else {
		facts.spawn = vhu_target_spawned(e->target);
		facts.image = vhu_target_image_size(e->target);
		facts.one_shot = vhu_target_one_shot(e->target);
		facts.hugetlb = vhu_mem_free_hugepages() > 0;
		if (e->opts.queues)
			facts.queues = e->opts.queues;
		e->rings = ring_indexes(&facts);
		e->capacity = facts.capacity;
		e->config_size = facts.config_size;
		e->rtt_ns = facts.rtt_ns;
		*ret = facts;
	}
	end(p);
	return rc;
}

void vhu_engine_meet(struct vhu_engine *e)
{
	struct vhu_recording *recording = e->recording;
	struct probe *p;

	if (!vhu_target_spawned(e->target) || vhu_target_one_shot(e->target) || vhu_target_running(e->target))
		return;
	p = begin(e);
	if (!p)
		return;
	/* No part of the case that is about to be recorded. */
	e->recording = NULL;
	/* The first session of all may leave something behind for good. */
	look(p);
	look(p);
	e->recording = recording;
	end(p);
}
