/* What happens in a case, told to a capture. */
#include <errno.h>
#include <string.h>

#include "record.h"
#include "trace/file.h"

int vhu_engine_record(struct vhu_engine *e, struct vhu_trace_writer *w, unsigned level, struct vhu_err *err)
{
	if (e->recording)
		free(e->recording->conns);
	free(e->recording);
	e->recording = NULL;
	if (!w)
		return 0;
	e->recording = calloc(1, sizeof(*e->recording));
	if (!e->recording)
		return vhu_err_errno(err, -ENOMEM, "recording");
	e->recording->writer = w;
	e->recording->level = level;
	return 0;
}

/* A capture that is not complete must not pass for one. */
static void put(struct vhu_run *r, struct vhu_record *record)
{
	struct vhu_err err = {0};

	record->tap = VHU_CAP_TAP_SELF;
	if (vhu_trace_writer_put(r->e->recording->writer, record, &err) < 0) {
		vhu_run_broken(r, "recording: %s", err.text);
		r->e->recording->writer = NULL;
	}
}

bool vhu_recording_on(const struct vhu_run *r)
{
	return r->e->recording && r->e->recording->writer;
}

uint32_t vhu_recording_number(const struct vhu_conn *c)
{
	const struct vhu_recording *rec = c->r->e->recording;

	return c->index < rec->n_conns ? rec->conns[c->index].connection : 0;
}

void vhu_record_aside(struct vhu_run *r)
{
	if (vhu_recording_on(r))
		vhu_trace_writer_lay_aside(r->e->recording->writer);
}

void vhu_record_take_back(struct vhu_run *r, bool keep)
{
	struct vhu_err err = {0};

	if (vhu_recording_on(r) && vhu_trace_writer_take_back(r->e->recording->writer, keep, &err) < 0)
		vhu_run_broken(r, "recording: %s", err.text);
}

/* The place of connection `index`; NULL when out of memory. */
static struct recorded_conn *conn_at(struct vhu_recording *rec, unsigned index)
{
	if (index >= rec->n_conns) {
		struct recorded_conn *grown = realloc(rec->conns, (index + 1) * sizeof(*grown));

		if (!grown)
			return NULL;
		memset(grown + rec->n_conns, 0, (index + 1 - rec->n_conns) * sizeof(*grown));
		rec->conns = grown;
		rec->n_conns = index + 1;
	}
	return &rec->conns[index];
}

void vhu_record_opened(struct vhu_conn *c)
{
	struct vhu_record record = {.channel = VHU_CAP_LIFE,
				    .dir = VHU_CAP_DIR_FE,
				    .kind = c->r->e->opts.listen ? VHU_CAP_LIFE_ACCEPT
								 : VHU_CAP_LIFE_CONNECT};
	struct recorded_conn *rc;

	if (!vhu_recording_on(c->r))
		return;
	rc = conn_at(c->r->e->recording, c->index);
	if (!rc) {
		vhu_run_broken(c->r, "recording: out of memory");
		return;
	}
	*rc = (struct recorded_conn){.connection = ++c->r->e->recording->connections};
	record.connection = rc->connection;
	put(c->r, &record);
}

void vhu_record_closed(struct vhu_conn *c, enum vhu_dir by, int errno_value)
{
	struct vhu_record record = {.channel = VHU_CAP_LIFE,
				    .dir = by == VHU_DIR_BE ? VHU_CAP_DIR_BE : VHU_CAP_DIR_FE,
				    .kind = VHU_CAP_LIFE_CLOSE,
				    .has_errno = errno_value != 0,
				    .errno_value = errno_value};

	if (!vhu_recording_on(c->r) || c->index >= c->r->e->recording->n_conns)
		return;
	record.connection = vhu_recording_number(c);
	put(c->r, &record);
	vhu_record_ring_over(c);
}

void vhu_record_exited(struct vhu_run *r, int status)
{
	uint8_t payload[4];
	struct vhu_record record = {.channel = VHU_CAP_LIFE,
				    .dir = VHU_CAP_DIR_BE,
				    .kind = VHU_CAP_LIFE_EXIT,
				    .payload = payload,
				    .len = sizeof(payload)};

	vhu_le_put(payload, sizeof(payload), (uint32_t)status);
	if (vhu_recording_on(r))
		put(r, &record);
}

/* --- messages --------------------------------------------------------------------------------------- */

static uint16_t flags_of(const struct vhu_frame *f, bool intended, bool pieces)
{
	unsigned flags = 0;

	if (f->defects & VHU_DEFECT_TRUNCATED)
		flags |= VHU_CAP_PARTIAL;
	if (f->defects & VHU_DEFECT_OVERSIZED)
		flags |= VHU_CAP_MALFORMED;
	if (f->defects & VHU_DEFECT_FDS_LOST)
		flags |= VHU_CAP_FDS_LOST;
	if (intended)
		flags |= VHU_CAP_INTENDED;
	if (pieces)
		flags |= VHU_CAP_SPLIT;
	if (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)
		flags |= VHU_CAP_BIG_ENDIAN;
	return (uint16_t)flags;
}

/* The findings of the observation that this record tells. */
static size_t findings_since(const struct vhu_run *r, size_t first, struct vhu_record_finding *ret)
{
	size_t n = 0;

	for (size_t i = first; i < r->res->n_findings && n < VHU_CAP_FINDINGS_MAX; i++)
		ret[n++] = (struct vhu_record_finding){vhu_req_row(r->res->findings[i].req)->id,
						       vhu_verdict_name(r->res->grades[i]),
						       r->res->findings[i].summary};
	return n;
}

static const char *step_of(const struct vhu_run *r, char *text, size_t size)
{
	snprintf(text, size, "%s\t%s", r->plan->id, r->step ? r->step->where : r->phase ? r->phase : "");
	return text;
}

void vhu_recording_put(struct vhu_run *r, struct vhu_record *record)
{
	struct vhu_record_finding findings[VHU_CAP_FINDINGS_MAX];
	char step[512];

	record->step = step_of(r, step, sizeof(step));
	record->findings = findings;
	record->n_findings = findings_since(r, r->e->recording->told, findings);
	r->e->recording->told = r->res->n_findings;
	put(r, record);
}

/* Everything of a record but its bytes. */
static void put_message(struct vhu_conn *c, enum vhu_channel channel, enum vhu_dir dir, const int *fds,
			size_t n_fds, struct vhu_record *record)
{
	struct recorded_conn *rc;
	struct vhu_fd_info info[VHU_CAP_FDS_MAX];
	uint64_t *off;
	char step[512];

	if (c->index >= c->r->e->recording->n_conns)
		return;
	rc = &c->r->e->recording->conns[c->index];
	off = &rc->off[channel][dir];
	record->channel = vhu_cap_channel_of(channel);
	record->dir = dir == VHU_DIR_BE ? VHU_CAP_DIR_BE : VHU_CAP_DIR_FE;
	record->connection = rc->connection;
	record->stream_off = *off;
	record->tgid = (uint32_t)(dir == VHU_DIR_FE ? getpid() : vhu_target_pid(c->r->e->target));
	record->step = step_of(c->r, step, sizeof(step));
	record->fds = info;
	record->n_fds = VHU_MIN(n_fds, (size_t)VHU_CAP_FDS_MAX);
	for (size_t i = 0; i < record->n_fds; i++)
		vhu_fd_info_read(fds[i], &info[i]);
	*off += record->len;
	put(c->r, record);
}

void vhu_record_frame_seen(struct vhu_conn *c, const struct vhu_frame *f, bool intended, const size_t *pieces,
			   size_t n_pieces, size_t first_finding)
{
	struct vhu_record_finding findings[VHU_CAP_FINDINGS_MAX];
	uint32_t recvs[VHU_CAP_RECVS_MAX];
	struct vhu_buf bytes = {0};
	struct vhu_err err = {0};
	struct vhu_record record = {.flags = flags_of(f, intended, n_pieces > 1), .findings = findings};

	if (!vhu_recording_on(c->r))
		return;
	if (vhu_frame_encode(f, &bytes, &err) < 0) {
		vhu_run_broken(c->r, "recording: %s", err.text);
	} else {
		record.payload = (const uint8_t *)bytes.data;
		record.len = bytes.len;
		record.n_findings = findings_since(c->r, first_finding, findings);
		record.n_recvs = VHU_MIN(n_pieces, (size_t)VHU_CAP_RECVS_MAX);
		for (size_t i = 0; i < record.n_recvs; i++)
			recvs[i] = (uint32_t)pieces[i];
		record.recvs = recvs;
		put_message(c, f->channel, f->dir, f->fds, f->n_fds, &record);
		c->r->e->recording->told = c->r->res->n_findings;
		vhu_record_ring_states(c, f);
	}
	vhu_buf_done(&bytes);
}

void vhu_record_raw(struct vhu_conn *c, enum vhu_channel channel, const uint8_t *bytes, size_t len,
		    const int *fds, size_t n_fds)
{
	/* What comes behind is bytes as well: nobody can tell where a message begins. */
	struct vhu_record record = {
		.flags = VHU_CAP_MALFORMED | VHU_CAP_INTENDED, .payload = bytes, .len = len};

	if (vhu_recording_on(c->r))
		put_message(c, channel, VHU_DIR_FE, fds, n_fds, &record);
}
