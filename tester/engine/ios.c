/* Requests on their way: submission, waiting, and the verdict on each. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

static bool add_io(struct vhu_run *r, struct vhu_io *io, const struct vhu_step *s, const char *tag)
{
	if (r->n_ios == r->cap_ios) {
		size_t cap = r->cap_ios ? 2 * r->cap_ios : 64;
		struct vhu_io_run *ios = realloc(r->ios, cap * sizeof(*ios));

		if (!ios) {
			vhu_run_broken(r, "out of memory");
			return false;
		}
		r->ios = ios;
		r->cap_ios = cap;
	}
	r->ios[r->n_ios++] = (struct vhu_io_run){.io = io, .step = s, .tag = tag};
	r->res->ios++;
	return true;
}

/* --- verdict --------------------------------------------------------------------------------------- */

static const char *status_name(unsigned status, char *buf, size_t cap)
{
	static const char *const names[] = {
		[VHU_C_BLK_S_OK] = "ok",
		[VHU_C_BLK_S_IOERR] = "ioerr",
		[VHU_C_BLK_S_UNSUPP] = "unsupp",
		[VHU_C_BLK_S_ZONE_INVALID_CMD] = "zone_invalid_cmd",
		[VHU_C_BLK_S_ZONE_UNALIGNED_WP] = "zone_unaligned_wp",
		[VHU_C_BLK_S_ZONE_OPEN_RESOURCE] = "zone_open_resource",
		[VHU_C_BLK_S_ZONE_ACTIVE_RESOURCE] = "zone_active_resource",
	};

	if (status < VHU_ARRAY_SIZE(names))
		return names[status];
	snprintf(buf, cap, "0x%02x", status);
	return buf;
}

static void judge_status(struct vhu_run *r, const struct vhu_io_run *i)
{
	uint32_t accepted = i->step->verb == VHU_VERB_IO ? i->step->io.statuses : 0;
	char want[200] = "", got[8], text[120];
	size_t n = 0;

	if (vhu_io_accepted(i->io))
		return;
	for (unsigned st = 0; st < 8; st++)
		if (accepted >> st & 1)
			n += (size_t)snprintf(want + n, sizeof(want) - n, "%sstatus %s", n ? "\n" : "",
					      status_name(st, got, sizeof(got)));
	vhu_run_unmet(r, i->step, VHU_FINDING_ROBUST, want, "status %s of %s",
		      status_name(vhu_io_status(i->io), got, sizeof(got)),
		      vhu_io_describe(i->io, text, sizeof(text)));
}

static void save_fields(struct vhu_run *r, const struct vhu_chain_elem *e, const uint8_t *bytes, size_t len)
{
	const struct vhu_layout_row *row;

	for (size_t i = 0; i < e->n_save; i++)
		for (size_t k = 0; (row = vhu_layout_field(e->layout, k)); k++)
			if (!strcmp(row->field, e->save[i].field) && row->offset + row->size <= len) {
				r->vars[e->save[i].var] = vhu_le_get(bytes + row->offset, row->size);
				r->vars_set[e->save[i].var] = true;
			}
}

void vhu_run_match_fields(struct vhu_run *r, const struct vhu_step *s, const struct vhu_chain_elem *e,
			  const uint8_t *bytes, size_t len)
{
	const struct vhu_layout_row *row;

	for (size_t m = 0; m < e->n_matches; m++)
		for (size_t k = 0; (row = vhu_layout_field(e->layout, k)); k++)
			if (!strcmp(row->field, e->matches[m].field) && row->offset + row->size <= len)
				vhu_run_match(r, s, &e->matches[m].match, row->field,
					      vhu_le_get(bytes + row->offset, row->size));
}

static void judge_parts(struct vhu_run *r, const struct vhu_io_run *i)
{
	const struct vhu_step_chain *chain = &i->step->chain;

	for (size_t k = 0; k < chain->n_elems; k++) {
		const struct vhu_chain_elem *e = &chain->elems[k];
		size_t len = 0, term;
		const uint8_t *bytes;
		char accepted[240], hex[200], what[40];

		if (e->kind != VHU_ELEM_IN || (!e->match.n && !e->n_matches && !e->n_save))
			continue;
		bytes = vhu_io_part(i->io, k, &len);
		save_fields(r, e, bytes, len);
		vhu_run_match_fields(r, i->step, e, bytes, len);
		if (!e->match.n || vhu_match_bytes(&e->match, bytes, len, r->vars, r->vars_set, &term) == 1)
			continue;
		vhu_matcher_describe(&e->match, r->vars, r->vars_set, accepted, sizeof(accepted));
		snprintf(what, sizeof(what), "part %zu", k);
		vhu_run_unmet(r, i->step, VHU_FINDING_RULE, accepted, "%s = %s", what,
			      vhu_hex_format(bytes, len, hex, sizeof(hex)));
	}
}

static void judge_io(struct vhu_run *r, const struct vhu_io_run *i)
{
	bool chain = i->step->verb == VHU_VERB_CHAIN;

	if (vhu_io_abandoned(i->io))
		return;
	if (!chain)
		judge_status(r, i);
	else
		judge_parts(r, i);
	if (!vhu_io_len_known(i->io))
		return;
	vhu_run_match(r, i->step, chain ? &i->step->chain.used_len : &i->step->io.used_len, "the used length",
		      vhu_io_used_len(i->io));
}

static bool selected(const struct vhu_io_run *i, const char *tag)
{
	return !tag || (i->tag && !strcmp(i->tag, tag));
}

/* Judges and forgets every request of the tag that is done. Tagged ones stay for `log check`. */
static void settle_done(struct vhu_run *r, const char *tag)
{
	size_t kept = 0;

	for (size_t k = 0; k < r->n_ios; k++) {
		struct vhu_io_run *i = &r->ios[k];

		if (!selected(i, tag) || !vhu_io_done(i->io) || i->settled) {
			r->ios[kept++] = *i;
			continue;
		}
		judge_io(r, i);
		i->settled = true;
		if (i->tag)
			r->ios[kept++] = *i;
		else
			vhu_io_free(i->io);
	}
	r->n_ios = kept;
}

/* A tag that is used again begins anew. */
static void forget_settled(struct vhu_run *r, const char *tag)
{
	size_t kept = 0;

	for (size_t k = 0; k < r->n_ios; k++) {
		if (r->ios[k].settled && tag && r->ios[k].tag && !strcmp(r->ios[k].tag, tag))
			vhu_io_free(r->ios[k].io);
		else
			r->ios[kept++] = r->ios[k];
	}
	r->n_ios = kept;
}

void vhu_run_forget_ios(struct vhu_run *r)
{
	for (size_t k = 0; k < r->n_ios; k++)
		vhu_io_free(r->ios[k].io);
	r->n_ios = 0;
}

/* --- waiting --------------------------------------------------------------------------------------- */

struct io_wait {
	struct vhu_run *r;
	const char *tag;
	size_t want; /* so many may stay outstanding */
};

static size_t outstanding(const struct vhu_run *r, const char *tag)
{
	size_t n = 0;

	for (size_t k = 0; k < r->n_ios; k++)
		n += selected(&r->ios[k], tag) && !vhu_io_done(r->ios[k].io);
	return n;
}

bool vhu_run_connection_lost(const struct vhu_run *r)
{
	bool any_open = false;

	for (size_t i = 0; i < r->n_conns; i++)
		any_open |= vhu_conn_live(&r->conns[i]);
	return r->exited || !any_open;
}

/* Every ring with requests in flight asks for a call. False: something came in meanwhile. */
static bool arm(struct vhu_run *r)
{
	bool quiet = true;

	for (unsigned q = 0; q < r->n_rings; q++) {
		struct vhu_vring *v = vhu_driver_ring(r->driver, q);

		if (vhu_vring_inflight(v) && vhu_run_has_call(r, q))
			quiet &= vhu_vring_arm(v);
	}
	return quiet;
}

/* A ring that nothing signals has to be polled. */
static bool must_poll(const struct vhu_run *r)
{
	for (unsigned q = 0; q < r->n_rings; q++) {
		struct vhu_vring *v = vhu_driver_ring(r->driver, q);

		if (vhu_vring_inflight(v) && !vhu_run_has_call(r, q))
			return true;
	}
	return false;
}

struct ring_wait {
	struct vhu_run *r;
	bool (*done)(void *ctx);
	void *ctx;
};

static bool rings_done(void *ctx)
{
	struct ring_wait *w = ctx;

	do {
		vhu_driver_poll(w->r->driver);
		if (w->done(w->ctx) || vhu_run_connection_lost(w->r))
			return true;
	} while (!arm(w->r));
	return false;
}

int vhu_run_wait_rings(struct vhu_run *r, bool (*done)(void *ctx), void *ctx, uint64_t deadline_ns)
{
	struct ring_wait w = {.r = r, .done = done, .ctx = ctx};

	return vhu_run_wait(r, rings_done, &w, deadline_ns, must_poll(r));
}

static bool ios_done(void *ctx)
{
	const struct io_wait *w = ctx;

	return outstanding(w->r, w->tag) <= w->want;
}

/* The data is there, but nobody called: in a guest, this request hangs. */
static void tell_missing_call(struct vhu_run *r, const struct vhu_step *s)
{
	bool event_idx = r->conns[s->conn].features & VHU_V(VIRTIO_RING_F_EVENT_IDX);
	bool inband = false;
	struct vhu_obs obs = {
		.kind = VHU_OBS_BREACH,
		.breach = event_idx ? VHU_BREACH_CALL_MISSING_EVENT_IDX : VHU_BREACH_CALL_MISSING,
		.text = "the used index moved, the call descriptor did not fire until the deadline",
	};

	for (unsigned q = 0; q < r->n_rings; q++)
		inband |= r->rings[q].started && vhu_conn_calls_inband(&r->conns[s->conn], q);
	if (inband) {
		obs.breach = VHU_BREACH_CALL_MISSING_INBAND;
		obs.text = "the used index moved, no message came until the deadline";
	}
	vhu_oracle_observe(&r->conns[s->conn].oracle, &obs);
	r->stop = true;
}

static void tell_lost(struct vhu_run *r, const struct vhu_step *s, const char *tag)
{
	char text[160] = "";
	size_t n = outstanding(r, tag);

	for (size_t k = 0; k < r->n_ios && !text[0]; k++)
		if (selected(&r->ios[k], tag) && !vhu_io_done(r->ios[k].io))
			vhu_io_describe(r->ios[k].io, text, sizeof(text));
	vhu_run_unmet(r, s, VHU_FINDING_ROBUST, "every request completed",
		      "%zu not completed until the deadline: %s", n, text);
	r->res->deadline = !r->skipped;
	r->stop = true;
}

void vhu_run_gone(struct vhu_run *r, const struct vhu_step *s)
{
	vhu_run_closed_at(&r->conns[s->conn], s);
	r->stop = true;
	if (!r->exited)
		vhu_run_unmet(r, s, VHU_FINDING_ROBUST, "every request completed",
			      "the back-end closed the connection");
}

static uint64_t calls_of(const struct vhu_run *r)
{
	uint64_t n = 0;

	for (unsigned q = 0; q < r->n_rings; q++)
		n += r->rings[q].calls;
	return n;
}

struct call_wait {
	const struct vhu_run *r;
	uint64_t calls;
};

static bool called_since(void *ctx)
{
	const struct call_wait *w = ctx;

	return calls_of(w->r) != w->calls;
}

/* Who was done in the last moment before the deadline may be about to call. */
static bool call_comes(struct vhu_run *r, uint64_t calls)
{
	struct call_wait w = {.r = r, .calls = calls};

	return vhu_run_wait(r, called_since, &w, vhu_run_now(r) + vhu_run_settle_ns(r), false) == 0;
}

static bool wait_ios(struct vhu_run *r, const struct vhu_step *s, const char *tag, size_t want)
{
	struct io_wait w = {.r = r, .tag = tag, .want = want};
	uint64_t deadline = vhu_run_deadline(r, s);
	int rc;

	rc = vhu_run_wait_rings(r, ios_done, &w, deadline);
	if (r->interrupted || r->broken)
		return false;
	if (rc == -ETIME) {
		size_t before = outstanding(r, tag);
		uint64_t calls = calls_of(r);

		/* Woken by the deadline alone: what is there now was not signalled. */
		if (vhu_driver_poll(r->driver), outstanding(r, tag) > want || before <= want)
			tell_lost(r, s, tag);
		else if (call_comes(r, calls))
			return true;
		else if (!r->stop)
			tell_missing_call(r, s);
		return false;
	}
	if (outstanding(r, tag) > want) {
		vhu_run_gone(r, s);
		return false;
	}
	return true;
}

void vhu_run_finish_ios(struct vhu_run *r, const struct vhu_step *s, const char *tag)
{
	if (r->driver && wait_ios(r, s, tag, 0))
		settle_done(r, tag);
}

/* --- submission ------------------------------------------------------------------------------------ */

void vhu_run_publish(struct vhu_run *r, const struct vhu_step *s, unsigned queue, bool kick)
{
	struct vhu_vring *v = vhu_driver_ring(r->driver, queue);

	/* Calls are asked for beforehand: a fast device may be done before we would ask. A ring without a
	 * call descriptor asks for none: back-ends exist that write to the one they don't have. */
	if (vhu_run_has_call(r, queue))
		vhu_vring_arm(v);
	else
		vhu_vring_disarm(v);
	if (vhu_vring_publish(v) && kick)
		vhu_run_kick(&r->conns[s->conn], queue, s);
}

/* When the ring is full, what is in it is let go first. */
static bool submit(struct vhu_run *r, const struct vhu_step *s, unsigned queue,
		   const struct vhu_io_spec *spec, bool kick, const char *tag)
{
	struct vhu_io *io;
	struct vhu_err err = {0};
	int rc = vhu_driver_submit(r->driver, queue, spec, &io, &err);

	if (rc == -ENOSPC && outstanding(r, NULL)) {
		vhu_run_publish(r, s, queue, kick);
		if (!wait_ios(r, s, NULL, outstanding(r, NULL) / 2))
			return false;
		settle_done(r, NULL);
		rc = vhu_driver_submit(r->driver, queue, spec, &io, &err);
	}
	if (rc < 0) {
		vhu_run_broken(r, "%s: %s", s->where, err.text);
		return false;
	}
	return add_io(r, io, s, tag);
}

static bool can_do_io(struct vhu_run *r, const struct vhu_step *s, unsigned queue)
{
	if (!vhu_run_driver(r))
		return false;
	if (queue < r->n_rings)
		return true;
	vhu_run_broken(r, "%s: the case has no ring %u", s->where, queue);
	return false;
}

void vhu_do_io(struct vhu_run *r, const struct vhu_step *s)
{
	const struct vhu_step_io *io = &s->io;
	struct vhu_io_spec spec = {
		.op = (enum vhu_io_op)io->op,
		.count = io->count,
		.pattern = (enum vhu_pattern)io->pattern,
		.pattern_arg = io->pattern_arg,
		.verify = io->verify,
		.segments = io->segments,
		.n_segments = io->n_segments,
		.indirect = io->indirect,
		.type = io->type,
		.statuses = io->statuses,
	};

	if (!can_do_io(r, s, io->queue) || (io->sector.n && !vhu_run_value(r, &io->sector, &spec.sector)))
		return;
	forget_settled(r, io->tag);
	for (uint32_t i = 0; i < io->times; i++) {
		if (!submit(r, s, io->queue, &spec, io->kick, io->tag))
			return;
		spec.sector += io->count;
	}
	vhu_run_publish(r, s, io->queue, io->kick);
	if (io->wait && !r->stop)
		vhu_run_finish_ios(r, s, io->tag);
}

/* --- chain ------------------------------------------------------------------------------------------ */

/* The bytes of an OUT element given by fields of a layout. */
bool vhu_run_build_out(struct vhu_run *r, const struct vhu_chain_elem *e, uint8_t *bytes)
{
	for (size_t i = 0; i < e->n_fields; i++) {
		uint64_t x;

		if (!vhu_run_value(r, &e->fields[i].value, &x))
			return false;
		for (size_t k = 0; vhu_layout_field(e->layout, k); k++) {
			const struct vhu_layout_row *row = vhu_layout_field(e->layout, k);

			if (!strcmp(row->field, e->fields[i].field))
				vhu_le_put(bytes + row->offset, row->size, x);
		}
	}
	return true;
}

static bool build_desc(struct vhu_run *r, const struct vhu_chain_elem *e, struct vhu_raw_desc *d)
{
	uint64_t addr = 0, len = 0, flags = 0, next = 0, id = 0;

	if ((e->addr.n && !vhu_run_value(r, &e->addr, &addr)) ||
	    (e->dlen.n && !vhu_run_value(r, &e->dlen, &len)) ||
	    (e->flags.n && !vhu_run_value(r, &e->flags, &flags)) ||
	    (e->next.n && !vhu_run_value(r, &e->next, &next)) || (e->id.n && !vhu_run_value(r, &e->id, &id)))
		return false;
	*d = (struct vhu_raw_desc){.addr = addr,
				   .len = (uint32_t)len,
				   .flags = (uint16_t)flags,
				   .next = (uint16_t)next,
				   .id = (uint16_t)id,
				   .next_set = e->next.n > 0,
				   .id_set = e->id.n > 0};
	return true;
}

static bool build_part(struct vhu_run *r, const struct vhu_chain_elem *e, struct vhu_chain_part *part,
		       struct vhu_raw_desc *desc, struct vhu_arena *arena)
{
	size_t len;
	uint8_t *bytes;

	switch (e->kind) {
	case VHU_ELEM_IN:
		part->in = true;
		part->len = e->len;
		return true;
	case VHU_ELEM_DESC:
		part->raw = desc;
		return build_desc(r, e, desc);
	case VHU_ELEM_OUT:
		break;
	}
	if (!e->layout) {
		part->bytes = e->bytes;
		part->len = (uint32_t)e->n_bytes;
		return true;
	}
	len = vhu_layout_size(e->layout);
	bytes = vhu_arena_alloc(arena, VHU_MAX(len, (size_t)1));
	if (!bytes) {
		vhu_run_broken(r, "out of memory");
		return false;
	}
	part->bytes = bytes;
	part->len = (uint32_t)len;
	return vhu_run_build_out(r, e, bytes);
}

void vhu_do_chain(struct vhu_run *r, const struct vhu_step *s)
{
	const struct vhu_step_chain *chain = &s->chain;
	struct vhu_io_spec spec = {
		.op = VHU_IO_CHAIN, .indirect = chain->indirect, .n_parts = chain->n_elems};
	struct vhu_arena *arena = vhu_arena_new();
	struct vhu_chain_part *parts = arena ? vhu_arena_array(arena, chain->n_elems, sizeof(*parts)) : NULL;
	struct vhu_raw_desc *descs = arena ? vhu_arena_array(arena, chain->n_elems, sizeof(*descs)) : NULL;
	bool ok = parts && descs;

	if (!ok)
		vhu_run_broken(r, "out of memory");
	for (size_t i = 0; ok && i < chain->n_elems; i++)
		ok = build_part(r, &chain->elems[i], &parts[i], &descs[i], arena);
	spec.parts = parts;
	r->hostile |= s->breaks.set;
	if (ok && can_do_io(r, s, chain->queue)) {
		forget_settled(r, chain->tag);
		ok = submit(r, s, chain->queue, &spec, chain->kick, chain->tag);
		if (ok)
			vhu_run_publish(r, s, chain->queue, chain->kick);
		if (ok && chain->wait && !r->stop)
			vhu_run_finish_ios(r, s, chain->tag);
	}
	vhu_arena_free(arena);
}

/* --- await ------------------------------------------------------------------------------------------ */

static void judge_order(struct vhu_run *r, const struct vhu_step *s)
{
	const struct vhu_io_run *last = NULL;

	for (size_t k = 0; s->await.in_order && k < r->n_ios; k++) {
		const struct vhu_io_run *i = &r->ios[k];

		if (last && vhu_io_seq(i->io) > vhu_io_seq(last->io) &&
		    vhu_io_done_seq(i->io) < vhu_io_done_seq(last->io)) {
			vhu_run_unmet(r, s, VHU_FINDING_RULE, "completion in the order of submission",
				      "another order");
			return;
		}
		last = i;
	}
}

void vhu_do_await(struct vhu_run *r, const struct vhu_step *s)
{
	if (!can_do_io(r, s, 0))
		return;
	switch (s->await.what) {
	case VHU_AWAIT_ANY:
		if (outstanding(r, NULL) && wait_ios(r, s, NULL, outstanding(r, NULL) - 1))
			settle_done(r, NULL);
		return;
	case VHU_AWAIT_ALL:
		if (!wait_ios(r, s, NULL, 0))
			return;
		judge_order(r, s);
		settle_done(r, NULL);
		return;
	case VHU_AWAIT_TAGS:
		break;
	}
	for (size_t i = 0; i < s->await.n_tags && !r->stop; i++)
		vhu_run_finish_ios(r, s, s->await.tags[i]);
}
