/* The oracle over a capture. */
#include "cli/judge.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "base/err.h"
#include "sessions.h"
#include "trace/ring_record.h"
#include "wire/frame.h"

/* One requirement shall not take the place of all others. */
enum { KEPT_OF_ONE = 1000 };

/* A finding that waits for the end; its connection's session is told by its place among all sessions. */
struct kept {
	struct vhu_judged told;
	struct vhu_finding f;
	uint64_t session;
	bool alone; /* whatever else was lost */
};

struct vhu_judge {
	struct vhu_judge_config config;
	struct vhu_judge_counts counts;
	struct vhu_sessions *sessions;
	uint32_t next_seq;
	uint64_t losses;		 /* of which nobody knows whose records they were */
	uint64_t doubted;		 /* sessions up to this number may all have lost something */
	const struct vhu_record *record; /* under judgement */
	struct vhu_one_session *session;
	uint64_t number;
	long long offset;
	int fds[VHU_CAP_FDS_MAX]; /* of the frame under judgement */
	bool softly;		  /* what is found has more than one explanation */
	struct kept **kept;
	size_t n_kept, cap_kept;
	uint32_t of_one[VHU_REQ_MAX]; /* findings so far */
	int code;		      /* a finding could not be kept: -ENOMEM */
};

static int keep(struct vhu_judge *j, struct kept *k)
{
	if (j->n_kept == j->cap_kept) {
		size_t cap = j->cap_kept ? j->cap_kept * 2 : 64;
		struct kept **grown = reallocarray(j->kept, cap, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		j->kept = grown;
		j->cap_kept = cap;
	}
	j->kept[j->n_kept++] = k;
	return 0;
}

static void found(void *ctx, const struct vhu_finding *f)
{
	struct vhu_judge *j = ctx;
	struct kept *k;

	j->session->found = true;
	if (j->n_kept == VHU_JUDGE_KEPT || j->of_one[f->req]++ >= KEPT_OF_ONE) {
		j->counts.beyond++;
		return;
	}
	k = malloc(sizeof(*k));
	if (!k || keep(j, k) < 0) {
		free(k);
		j->code = -ENOMEM;
		return;
	}
	k->f = *f;
	k->alone = vhu_finding_stands_alone(f->req);
	k->session = j->session->number;
	k->told = (struct vhu_judged){
		.record = j->number,
		.offset = j->offset,
		.connection = j->record->connection,
		.t_ns = j->record->t_ns,
		.verdict = j->softly ? VHU_WARN : vhu_finding_grade(f, &j->config.grade),
	};
}

int vhu_judge_new(const struct vhu_judge_config *config, struct vhu_judge **ret, struct vhu_err *err)
{
	struct vhu_judge *j = calloc(1, sizeof(*j));
	int code;

	if (!j)
		return vhu_err_errno(err, -ENOMEM, "check");
	j->config = *config;
	code = vhu_sessions_new(&j->sessions, err);
	if (code < 0) {
		free(j);
		return code;
	}
	*ret = j;
	return 0;
}

void vhu_judge_free(struct vhu_judge *j)
{
	if (!j)
		return;
	for (size_t i = 0; i < j->n_kept; i++)
		free(j->kept[i]);
	free(j->kept);
	vhu_sessions_free(j->sessions);
	free(j);
}

const struct vhu_judge_counts *vhu_judge_counts(const struct vhu_judge *j)
{
	return &j->counts;
}

/* --- what is missing -------------------------------------------------------------------------------- */

static void squeeze(struct vhu_judge *j)
{
	size_t n = 0;

	for (size_t i = 0; i < j->n_kept; i++)
		if (j->kept[i])
			j->kept[n++] = j->kept[i];
	j->n_kept = n;
}

/* What was found in it so far does not count either, unless it stands alone: when it was lost is not known.
 */
static void make_partial(struct vhu_judge *j, struct vhu_one_session *s)
{
	if (s->partial)
		return;
	s->partial = true;
	j->counts.partial++;
	for (size_t i = 0; s->found && i < j->n_kept; i++) {
		if (j->kept[i]->session != s->number || j->kept[i]->alone)
			continue;
		free(j->kept[i]);
		j->kept[i] = NULL;
		j->counts.dropped++;
	}
	squeeze(j);
}

/* Somebody lost something: every session so far may be the one. */
static void doubt_all(struct vhu_judge *j)
{
	j->losses++;
	j->doubted = j->counts.sessions;
}

/* Numbers that are missing, or came back, leave every session in doubt that is open then. */
static void check_seq(struct vhu_judge *j, const struct vhu_record *r)
{
	if (r->seq != j->next_seq)
		doubt_all(j);
	j->next_seq = VHU_MAX(j->next_seq, r->seq + 1);
}

/* A tap that counts offsets tells by them what it missed; one that does not leaves them 0. */
static bool stream_jumps(struct vhu_one_session *s, const struct vhu_record *r)
{
	uint64_t *next = &s->next[r->channel == VHU_CAP_BACKEND][r->dir == VHU_CAP_DIR_BE];
	bool jumps = r->stream_off && r->stream_off != *next;

	*next = r->stream_off + r->orig_len;
	return jumps;
}

/* --- sessions --------------------------------------------------------------------------------------- */

/* A new session of this number; what was open under it is over. */
static int begin(struct vhu_judge *j, const struct vhu_record *r, bool seen, struct vhu_one_session **ret,
		 struct vhu_err *err)
{
	struct vhu_one_session *s;
	struct vhu_oracle *o;
	int code = vhu_sessions_begin(j->sessions, r->connection, &s, err);

	if (code == 0)
		code = vhu_sessions_oracle(j->sessions, s, &o, err);
	if (code < 0)
		return code;
	vhu_oracle_tell(o, found, j);
	s->losses = j->losses;
	s->number = ++j->counts.sessions;
	if (!seen)
		make_partial(j, s);
	*ret = s;
	return 0;
}

static int find(struct vhu_judge *j, const struct vhu_record *r, struct vhu_one_session **ret,
		struct vhu_err *err)
{
	struct vhu_one_session *s = vhu_sessions_find(j->sessions, r->connection);
	int code = s ? 0 : begin(j, r, false, &s, err);

	if (code < 0)
		return code;
	if (s->losses != j->losses)
		make_partial(j, s);
	s->losses = j->losses;
	*ret = s;
	return 0;
}

/* It may come out late. */
static enum vhu_device device_of(const struct vhu_judge *j, uint32_t connection)
{
	return j->config.device == VHU_DEV_ANY && j->config.guess
		       ? vhu_device_guess_of(j->config.guess, connection)
		       : j->config.device;
}

/* --- messages --------------------------------------------------------------------------------------- */

/* What the tap did not see whole is not judged, but may change what both sides assume. */
static void judge_frame(struct vhu_judge *j, struct vhu_oracle *o, struct vhu_frame *f,
			const struct vhu_record *r)
{
	struct vhu_obs obs = {.kind = VHU_OBS_FRAME, .frame = f, .intended = r->flags & VHU_CAP_INTENDED};

	if (r->flags & VHU_CAP_FDS_LOST) {
		f->defects &= ~(uint32_t)VHU_DEFECT_FDS_LOST;
		if (!f->defects)
			vhu_session_apply(&o->session, f, obs.intended);
		j->counts.unjudged++;
		return;
	}
	vhu_oracle_observe(o, &obs);
	j->counts.messages++;
}

static int judge_message(struct vhu_judge *j, const struct vhu_record *r, struct vhu_err *err)
{
	struct vhu_one_session *s;
	struct vhu_oracle *o;
	struct vhu_frame f;
	int code = find(j, r, &s, err);

	if (code < 0)
		return code;
	if (r->dir == VHU_CAP_DIR_BE && r->tgid)
		s->back_end = r->tgid;
	if (r->channel == VHU_CAP_GPU || s->closed) {
		j->counts.unjudged++;
		return 0;
	}
	if (stream_jumps(s, r) || r->flags & (VHU_CAP_LOST_BEFORE | VHU_CAP_TRUNCATED))
		make_partial(j, s);
	/* Raw bytes of which nobody knows whose fault they are. */
	if (r->flags & VHU_CAP_TRUNCATED || vhu_record_is_foreign(r) ||
	    (s->partial && r->flags & VHU_CAP_MALFORMED)) {
		make_partial(j, s);
		j->counts.unjudged++;
		return 0;
	}
	code = vhu_sessions_oracle(j->sessions, s, &o, err);
	if (code == 0)
		code = vhu_record_frame_borrow(r, j->fds, &f, err);
	if (code < 0)
		return code;
	vhu_frame_settle(&f);
	o->session.device = device_of(j, r->connection);
	o->partial = s->partial;
	j->session = s;
	judge_frame(j, o, &f, r);
	return j->code;
}

/* --- rings ------------------------------------------------------------------------------------------- */

/* What the device may write; all there is where that does not show. */
static uint64_t writable(const struct vhu_ring_record *ring)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < ring->n_desc; i++) {
		const struct vhu_ring_desc d = vhu_ring_record_desc(ring, i);

		if (d.flags & VHU_C_DESC_F_INDIRECT && d.len / VHU_C_DESC_SIZE != ring->n_desc - i - 1)
			return UINT64_MAX;
		sum += d.flags & VHU_C_DESC_F_WRITE && !(d.flags & VHU_C_DESC_F_INDIRECT) ? d.len : 0;
	}
	return sum;
}

/* It starts, or stands still, by what the messages before it said. */
static int judge_layout(struct vhu_rings *rings, const struct vhu_oracle *o,
			const struct vhu_ring_record *ring, struct vhu_err *err)
{
	const struct vhu_ring_state *state = vhu_session_ring(&o->session, ring->queue);

	if (state && vhu_ring_runs(state))
		return vhu_rings_start(rings, ring->queue, ring->size, ring->packed, err);
	if (state && state->suspended)
		vhu_rings_stop(rings, ring->queue);
	else
		vhu_rings_doubt(rings, ring->queue);
	return 0;
}

static int judge_sound_ring(struct vhu_one_session *s, struct vhu_oracle *o,
			    const struct vhu_ring_record *ring, struct vhu_err *err)
{
	switch (ring->kind) {
	case VHU_CAP_RING_LAYOUT:
		return judge_layout(s->rings, o, ring, err);
	case VHU_CAP_RING_AVAIL:
		vhu_rings_avail(s->rings, ring->queue, ring->head, writable(ring));
		return 0;
	case VHU_CAP_RING_USED:
		vhu_rings_used(s->rings, o, ring->queue, ring->id, ring->id == VHU_CAP_NO_ID, ring->len,
			       ring->index);
		return 0;
	default:
		return 0;
	}
}

/* Only where nothing is missing, and nothing was spoilt on purpose. */
static int judge_ring(struct vhu_judge *j, const struct vhu_record *r, struct vhu_err *err)
{
	struct vhu_one_session *s = vhu_sessions_find(j->sessions, r->connection);
	struct vhu_ring_record ring;
	struct vhu_oracle *o;
	bool sound = vhu_ring_record_parse(r, &ring);
	int code;

	if (!s || s->closed)
		return 0;
	code = vhu_sessions_oracle(j->sessions, s, &o, err);
	if (code == 0 && !s->rings)
		code = vhu_rings_new(&s->rings, err);
	if (code < 0)
		return code;
	if (s->partial || s->losses != j->losses || o->session.tainted || !sound)
		vhu_rings_doubt(s->rings, VHU_SESSION_RINGS);
	else if (r->flags & (VHU_CAP_INTENDED | VHU_CAP_LOST_BEFORE))
		vhu_rings_doubt(s->rings, ring.queue);
	if (!sound)
		return 0;
	o->session.device = device_of(j, r->connection);
	o->partial = s->partial;
	j->session = s;
	code = judge_sound_ring(s, o, &ring, err);
	return code < 0 ? code : j->code;
}

/* --- connections ------------------------------------------------------------------------------------ */

/*
 * The end of a connection while an answer is due: a back-end that gives up and one that somebody stopped
 * look the same from here.
 */
static int judge_close(struct vhu_judge *j, const struct vhu_record *r, struct vhu_err *err)
{
	struct vhu_obs obs = {.kind = VHU_OBS_EOF, .channel = VHU_CHAN_MAIN};
	struct vhu_one_session *s = vhu_sessions_find(j->sessions, r->connection);
	struct vhu_oracle *o;
	int code;

	if (!s || s->closed)
		return 0;
	code = vhu_sessions_oracle(j->sessions, s, &o, err);
	if (code < 0)
		return code;
	o->partial = s->partial || s->losses != j->losses;
	j->softly = true;
	j->session = s;
	if (r->dir == VHU_CAP_DIR_BE)
		vhu_oracle_observe(o, &obs);
	j->softly = false;
	vhu_sessions_close(j->sessions, s);
	return 0;
}

/* Signals that a process brings upon itself. */
static bool crashed(int status)
{
	static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS};

	for (size_t i = 0; i < VHU_ARRAY_SIZE(signals); i++)
		if (WIFSIGNALED(status) && WTERMSIG(status) == signals[i])
			return true;
	return false;
}

static int judge_exit(struct vhu_judge *j, const struct vhu_record *r, struct vhu_err *err)
{
	struct vhu_one_session *s = r->connection ? vhu_sessions_find(j->sessions, r->connection) : NULL;
	int status = r->len >= 4 ? (int)vhu_le_get(r->payload, 4) : 0;
	char text[40];
	struct vhu_obs obs = {.kind = VHU_OBS_EXIT, .text = text};
	struct vhu_oracle o = {0};

	if (!s || !s->back_end || s->back_end != r->tgid || !crashed(status))
		return 0;
	snprintf(text, sizeof(text), "its end by signal %d", WTERMSIG(status));
	vhu_oracle_init(&o, device_of(j, r->connection), 0, found, j);
	j->session = s;
	vhu_oracle_observe(&o, &obs);
	return j->code;
}

static int judge_life(struct vhu_judge *j, const struct vhu_record *r, struct vhu_err *err)
{
	struct vhu_one_session *s;

	switch (r->kind) {
	case VHU_CAP_LIFE_CONNECT:
	case VHU_CAP_LIFE_ACCEPT:
		/* Both tell of one connection. */
		s = r->connection ? vhu_sessions_find(j->sessions, r->connection) : NULL;
		if (!r->connection || (s && !s->closed && !s->next[0][0] && !s->next[0][1]))
			return 0;
		return begin(j, r, true, &s, err);
	case VHU_CAP_LIFE_CLOSE:
		return judge_close(j, r, err);
	case VHU_CAP_LIFE_EXIT:
		return judge_exit(j, r, err);
	case VHU_CAP_LIFE_LOST:
		s = r->connection ? vhu_sessions_find(j->sessions, r->connection) : NULL;
		if (s)
			make_partial(j, s);
		else
			doubt_all(j);
		return 0;
	default:
		return 0;
	}
}

/* --- the end of the file ------------------------------------------------------------------------------ */

/* The recorder's own count: on which connections, as far as it knows. */
static void on_loss(void *ctx, uint32_t connection, uint64_t lost)
{
	struct vhu_judge *j = ctx;
	struct vhu_one_session *s = connection ? vhu_sessions_find(j->sessions, connection) : NULL;

	if (!connection)
		doubt_all(j);
	else if (s)
		make_partial(j, s);
}

int vhu_judge_record(struct vhu_judge *j, const struct vhu_record *r, uint64_t number, long long offset,
		     struct vhu_err *err)
{
	check_seq(j, r);
	if (j->config.only && r->connection && r->connection != j->config.only)
		return 0;
	j->record = r;
	j->number = number;
	j->offset = offset;
	if (r->connection && vhu_record_is_message(r))
		return judge_message(j, r, err);
	if (r->channel == VHU_CAP_META && r->kind == VHU_CAP_META_END)
		vhu_record_losses(r, on_loss, j);
	if (r->connection && r->channel == VHU_CAP_RING)
		return judge_ring(j, r, err);
	return r->channel == VHU_CAP_LIFE ? judge_life(j, r, err) : 0;
}

void vhu_judge_end(struct vhu_judge *j)
{
	for (size_t i = 0; i < j->n_kept; i++) {
		if (j->kept[i]->alone || j->kept[i]->session > j->doubted)
			continue;
		free(j->kept[i]);
		j->kept[i] = NULL;
		j->counts.dropped++;
	}
	squeeze(j);
}

bool vhu_judge_finding(struct vhu_judge *j, size_t i, struct vhu_judged *ret)
{
	if (i >= j->n_kept)
		return false;
	*ret = j->kept[i]->told;
	ret->f = &j->kept[i]->f;
	return true;
}
