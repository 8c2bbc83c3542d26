/*
 * Guest memory and the dirty log.
 */
#include <stdlib.h>
#include <unistd.h>

#include "fault.h"
#include "notify.h"
#include "options.h"
#include "session.h"

enum { FAULT_PAGE = 2 << 20, RECORD = 2048 };

static void region_parse(struct region *r, const uint8_t *at)
{
	memset(r, 0, sizeof(*r));
	r->gpa = FIELD(at, REGION, guest_phys_addr);
	r->size = FIELD(at, REGION, memory_size);
	r->uva = FIELD(at, REGION, userspace_addr);
	r->offset = FIELD(at, REGION, mmap_offset);
}

static bool sorted(const struct region *regions, unsigned i)
{
	return !i || regions[i].gpa > regions[i - 1].gpa;
}

/* Maps the regions of a table; how many it could, all of them if *ret_ok. */
static unsigned open_table(struct region *regions, unsigned n, struct msg *m, bool *ret_ok)
{
	*ret_ok = false;
	for (unsigned i = 0; i < n; i++) {
		unsigned fd = fault(mem_fd_first) ? 0 : i;

		if (fault(mem_fd_count) && fd >= m->n_fds)
			fd = m->n_fds - 1;
		region_parse(&regions[i], m->payload + OFF_MEM_TABLE_region + (size_t)i * PMAX_REGION);
		if (fd >= m->n_fds || !region_fits(regions, i, &regions[i]))
			return i;
		if ((fault(mem_share_file) && i && regions[i].offset) ||
		    (fault(mem_sorted_only) && !sorted(regions, i)) ||
		    (fault(mem_whole_pages) && regions[i].size % FAULT_PAGE))
			return i;
		if (region_open(&regions[i], m->fds[fd]) < 0)
			return i;
	}
	*ret_ok = true;
	return n;
}

/* A running ring whose memory has gone. */
static bool lost_ring(const struct session *s)
{
	for (unsigned i = 0; i < s->n_rings; i++) {
		if (s->rings[i].started && s->rings[i].addr_set && !s->rings[i].desc)
			return true;
	}
	return false;
}

/* Whether a table has the addresses of the one in use. */
static bool same_table(const struct session *s, const struct msg *m, uint64_t n)
{
	struct region r;

	if (!n || n != s->mem.n || n * PMAX_REGION > m->size - OFF_MEM_TABLE_region)
		return false;
	for (unsigned i = 0; i < n; i++) {
		region_parse(&r, m->payload + OFF_MEM_TABLE_region + (size_t)i * PMAX_REGION);
		if (r.gpa != s->mem.regions[i].gpa || r.uva != s->mem.regions[i].uva ||
		    r.size != s->mem.regions[i].size)
			return false;
	}
	return true;
}

/* The place in the table of the region that holds a user address, for a planted fault. */
static unsigned region_of(const struct memory *m, uint64_t uva)
{
	unsigned i = 0;

	while (i < m->n && (uva < m->regions[i].uva || uva - m->regions[i].uva >= m->regions[i].size))
		i++;
	return i;
}

/* Ring addresses in the new table; a table that lacks a running ring leaves it waiting. */
static void take_table(struct session *s, struct region *regions, unsigned n)
{
	struct memory *mem = &s->mem;
	unsigned kept = 0, was;

	if (fault(mem_table_noop) || (fault(reply_table_kept) && s->first_table_seen) ||
	    (fault(mem_table_no_more) && mem->n && n > mem->n)) {
		while (n)
			region_close(&regions[--n]);
		return;
	}
	was = region_of(mem, s->rings[0].desc_addr);
	if (fault(mem_table_drops))
		rings_forget(s);
	if (fault(mem_stale))
		kept = mem->n < mem->max - n ? mem->n : mem->max - n;
	else if (!fault(mem_leak_old))
		memory_clear(mem);
	memmove(mem->regions + n, mem->regions, kept * sizeof(*regions));
	memcpy(mem->regions, regions, n * sizeof(*regions));
	mem->n = n + kept;
	s->first_table_seen = true;
	session_remap(s);
	if (fault(mem_ring_slot) && was != region_of(mem, s->rings[0].desc_addr))
		s->rings[0].desc = NULL;
	if (fault(mem_ring_gone_crash) && lost_ring(s))
		fault_crash();
	if (fault(mem_table_stops)) {
		for (unsigned i = 0; i < s->n_rings; i++)
			s->rings[i].enabled = false;
	}
}

enum result msg_set_mem_table(struct session *s, struct msg *m, struct reply *r)
{
	struct region regions[C_MEM_TABLE_REGIONS];
	uint64_t n = FIELD(m->payload, MEM_TABLE, num_regions);
	unsigned opened;
	bool ok;

	(void)r;
	if (postcopy_is_ack(s, m)) {
		s->postcopy.ack_due = false;
		return RES_HANDLED;
	}
	if ((fault(mem_zero_crash) && !n) ||
	    (fault(mem_padding_crash) && FIELD(m->payload, MEM_TABLE, padding)) ||
	    (fault(mem_count_crash) && n * PMAX_REGION > m->size - OFF_MEM_TABLE_region) ||
	    (fault(mem_half_region_crash) && (m->size - OFF_MEM_TABLE_region) % PMAX_REGION))
		fault_crash();
	if ((fault(mem_no_fd_ok) && !m->n_fds) || (fault(mem_same_kept) && same_table(s, m, n)))
		return RES_OK;
	if (fault(mem_surplus_leak) && m->n_fds > n)
		m->n_fds = (unsigned)n;
	if (fault(state_table_once) && s->rings[0].starts)
		return RES_REFUSED;
	if ((fault(memslot_no_table) && (s->pfeatures & P(CONFIGURE_MEM_SLOTS))) ||
	    (fault(mem_table_whole) && m->size != PMAX_MEM_TABLE))
		return RES_REFUSED;
	if (n > C_MEM_TABLE_REGIONS || (m->size - OFF_MEM_TABLE_region) % PMAX_REGION ||
	    n * PMAX_REGION > m->size - OFF_MEM_TABLE_region ||
	    (m->n_fds != n && !(fault(mem_fd_count) && m->n_fds && m->n_fds < n)) ||
	    (fault(mem_few_regions) && n > C_MEM_TABLE_REGIONS / 2)) {
		remark("SET_MEM_TABLE: %llu regions, %u bytes, %u descriptors", (unsigned long long)n,
		       m->size, m->n_fds);
		return RES_REFUSED;
	}
	if (fault(proto_xen) && (s->pfeatures & P(XEN_MMAP)))
		fault_crash();
	opened = open_table(regions, (unsigned)n, m, &ok);
	if (ok) {
		take_table(s, regions, opened);
		if (!s->postcopy.listening)
			return RES_OK;
		return postcopy_tell_bases(s, m, regions, opened, OFF_MEM_TABLE_region) ? RES_HANDLED
											: RES_END;
	}
	remark("SET_MEM_TABLE: region %u cannot be used", opened);
	while (opened)
		region_close(&regions[--opened]);
	return fault(mem_refusal_0) ? RES_OK : RES_REFUSED;
}

enum result msg_get_max_mem_slots(struct session *s, struct msg *m, struct reply *r)
{
	uint64_t n = fault(memslot_max_0) ? 0 : options.mem_slots;

	(void)m;
	if (fault(memslot_shrinks) && !(s->connections % 2))
		n /= 2;
	FIELD_SET(r->payload, U64, u64, n);
	r->size = PMAX_U64;
	return RES_OK;
}

/* An answer that only postcopy knows. */
static void answer_region(struct session *s, const struct msg *m)
{
	if (fault(memslot_reply_region) && !(m->flags & C_HEADER_NEED_REPLY))
		session_answer(s, m->request, m->payload, m->size, -1);
}

static bool deadly_region(const struct session *s, const struct region *r)
{
	if (fault(memslot_size_0_crash) && !r->size)
		return true;
	if (fault(memslot_wrap_crash) && (r->gpa + r->size < r->gpa || r->uva + r->size < r->uva))
		return true;
	return fault(memslot_overlap_crash) && !region_fits(s->mem.regions, s->mem.n, r);
}

enum result msg_add_mem_reg(struct session *s, struct msg *m, struct reply *r)
{
	struct region region;
	void *record;
	unsigned max = fault(memslot_max_half) ? options.mem_slots / 2 : options.mem_slots;

	(void)r;
	if (postcopy_is_ack(s, m)) {
		s->postcopy.ack_due = false;
		return RES_HANDLED;
	}
	if (m->size != PMAX_MEM_REG || (fault(memslot_needs_table) && !s->first_table_seen))
		return RES_REFUSED;
	region_parse(&region, m->payload + OFF_MEM_REG_region);
	if (deadly_region(s, &region))
		fault_crash();
	if (s->mem.n >= max) {
		if (fault(memslot_overflow_crash))
			fault_crash();
		remark("ADD_MEM_REG: all %u slots are taken", max);
		return RES_REFUSED;
	}
	if (!region_fits(s->mem.regions, s->mem.n, &region) || region_open(&region, m->fds[0]) < 0) {
		remark("ADD_MEM_REG: the region cannot be used");
		return fault(memslot_map_ok) ? RES_OK : RES_REFUSED;
	}
	if (fault(memslot_record) && (record = malloc(RECORD)))
		memset(record, 1, RECORD);
	if (fault(memslot_add_noop) || (fault(memslot_add_stopped) && s->rings[0].starts && !s->n_started)) {
		region_close(&region);
		return RES_OK;
	}
	s->mem.regions[s->mem.n++] = region;
	s->mem.hidden = fault(memslot_lazy) ? 1 : 0;
	if (fault(memslot_add_drops))
		rings_forget(s);
	session_remap(s);
	if (fault(memslot_add_stops)) {
		for (unsigned i = 0; i < s->n_rings; i++)
			s->rings[i].enabled = false;
	}
	if (s->postcopy.listening)
		return postcopy_tell_bases(s, m, &region, 1, OFF_MEM_REG_region) ? RES_HANDLED : RES_END;
	answer_region(s, m);
	return RES_OK;
}

static bool same_region(const struct region *a, const struct region *b)
{
	if (fault(memslot_rem_offset) && a->offset != b->offset)
		return false;
	return a->gpa == b->gpa && a->uva == b->uva && (a->size == b->size || fault(memslot_rem_loose));
}

enum result msg_rem_mem_reg(struct session *s, struct msg *m, struct reply *r)
{
	struct region region;

	(void)r;
	region_parse(&region, m->payload + OFF_MEM_REG_region);
	if (fault(memslot_rem_needs_fd) && !m->n_fds)
		return RES_REFUSED;
	if (fault(memslot_rem_fd_leak))
		m->n_fds = 0;
	for (unsigned i = 0; i < s->mem.n; i++) {
		if (!same_region(&s->mem.regions[i], &region))
			continue;
		if (fault(memslot_rem_noop))
			return RES_OK;
		if (fault(memslot_rem_last))
			i = s->mem.n - 1;
		if (fault(memslot_rem_in_io_crash) && s->n_due)
			fault_crash();
		if (!fault(memslot_rem_map_leak))
			region_close(&s->mem.regions[i]);
		s->mem.regions[i] = s->mem.regions[--s->mem.n];
		session_remap(s);
		if (fault(memslot_rem_ring_crash) && lost_ring(s))
			fault_crash();
		for (unsigned k = 0; fault(memslot_ring_lost) && k < s->n_rings; k++)
			s->rings[k].lost |= s->rings[k].addr_set;
		return RES_OK;
	}
	remark("REM_MEM_REG: there is no such region");
	return fault(memslot_rem_absent_ok) ? RES_OK : RES_REFUSED;
}

/* Back-ends differ in the form; nothing is read from it. */
static void reply_log_base(const struct msg *m, struct reply *r)
{
	static const uint32_t sizes[] = {
		[LOG_REPLY_ECHO] = PMAX_LOG, [LOG_REPLY_U64] = PMAX_U64, [LOG_REPLY_EMPTY] = 0};

	memcpy(r->payload, m->payload, m->size);
	r->size = sizes[options.log_reply];
}

/* Answered by its own payload; without LOG_SHMFD there is no memory that we could share. */
enum result msg_set_log_base(struct session *s, struct msg *m, struct reply *r)
{
	uint64_t size, offset;

	if ((fault(log_no_fd_crash) && !m->n_fds) ||
	    (fault(log_short_crash) && m->size != PMAX_LOG && m->n_fds) ||
	    (fault(log_kernel_crash) && !(s->pfeatures & P(LOG_SHMFD))))
		fault_crash();
	if (fault(log_length_8) && m->size == PMAX_LOG)
		return RES_REFUSED;
	if (!(s->pfeatures & P(LOG_SHMFD)) || m->size != PMAX_LOG || !m->n_fds)
		return RES_REFUSED;
	size = FIELD(m->payload, LOG, mmap_size);
	offset = FIELD(m->payload, LOG, mmap_offset);
	if (fault(log_after_feature) && (s->features & V(VHOST_F_LOG_ALL))) {
		reply_log_base(m, r);
		return RES_OK;
	}
	s->log_deaf = s->n_started && s->log.map.base;
	if (log_open(&s->log, m->fds[0], offset, size) < 0) {
		if (fault(log_map_fail_crash))
			fault_crash();
		remark("SET_LOG_BASE: the log cannot be mapped");
		return RES_REFUSED;
	}
	if (fault(log_fd_leak))
		msg_take_fd(m);
	reply_log_base(m, r);
	return RES_OK;
}

enum result msg_set_log_fd(struct session *s, struct msg *m, struct reply *r)
{
	(void)r;
	if (!notify_usable(m->fds[0]) || fault(log_fd_refused))
		return RES_REFUSED;
	if (s->log.fd >= 0)
		close(s->log.fd);
	s->log.fd = msg_take_fd(m);
	return RES_OK;
}
