/* What the files of the engine share: the state of one running case. */
#pragma once

#include <sys/types.h>

#include "capabilities.h"
#include "channel/chan.h"
#include "channel/target.h"
#include "device/driver.h"
#include "engine/engine.h"
#include "event/loop.h"
#include "mem/file.h"
#include "mem/mem.h"
#include "plan/plan.h"
#include "plan/script.h"
#include "trace/log.h"
#include "vring/vring.h"
#include "wire/frame.h"

enum {
	VHU_INBOX_MAX = 64, /* back-end requests that wait for a step */
	VHU_LENT_MAX = 64,  /* descriptors kept open for the case's life */
	VHU_CAME_MAX = 64,  /* messages that wait to be compared */
	VHU_HELD_KINDS = 3, /* of struct vhu_holdings */
};

/* What a spawned target holds while one fresh connection is open. pid 0: unknown. */
struct vhu_holdings {
	pid_t pid;
	int fds, maps;
	long heap_kib;
};

struct vhu_engine {
	struct vhu_loop *loop;
	struct vhu_target *target;
	struct vhu_engine_opts opts;
	struct vhu_trace_log *trace;
	struct vhu_recording *recording; /* NULL: none */
	uint64_t rtt_ns;	  /* the shortest round trip seen; 0: none yet */
	unsigned rings;		  /* indexes below this exist, by the probe; 0: unknown */
	uint64_t capacity;	  /* blk: sectors, from the probe */
	bool growth_unseen[2];	  /* blk: in a case before it did not notice; [1]: did not tell */
	bool no_peer;		  /* net: in a case before, nobody returned frames */
	size_t config_size;	  /* bytes of config space that the target gives */
	struct vhu_holdings held; /* as last seen */
	uint64_t opened;	  /* connections, in all */
	uint64_t opened_when_held;
	struct {
		long by[VHU_HELD_KINDS];
		uint64_t connections; /* 0: not known */
	} lost; /* what the target loses with connections, whatever is said on them */
	pid_t case_pid;		  /* the process that the last case that ran was run on */
	struct vhu_capabilities capabilities; /* of the target's program */
	struct vhu_run *run;	  /* the case that runs, for the exit callback */
};

/* One connection of a case. */
struct vhu_conn {
	struct vhu_run *r;
	unsigned index;
	bool used; /* it was opened in this case */
	struct vhu_chan *main, *backend, *gpu;
	struct vhu_oracle oracle;
	uint64_t features, pfeatures; /* to negotiate */
	bool logging;
	bool no_status;
	bool framing_lost; /* we sent half a message: no fence can be believed */
	bool hold;	   /* the next message waits for the one behind it */
	bool not_ours;	   /* what is being looked at is a captured front-end's doing */

	bool closed; /* the peer ended it */
	bool heard;  /* the peer has said something */
	int closed_errno;
	bool close_told;      /* and a step has dealt with it */
	uint64_t last_serial; /* of the request that was answered last */
	uint64_t watch;	      /* serial whose answer is kept */
	bool have_answer;
	struct vhu_frame answer;

	/* requests of the back-end that a recv step will take; most are answered on arrival */
	struct vhu_inbox_item {
		struct vhu_frame f;
		bool answered;
	} inbox[VHU_INBOX_MAX];
	size_t n_inbox;
	uint64_t asides[VHU_INBOX_MAX]; /* of messages beside the steps that are not answered yet */
	size_t n_asides;
	size_t since; /* step at which it was opened */
	unsigned wanted[VHU_MSG_MAX]; /* requests of each kind that steps were looked for, since then */
	bool silent; /* of a captured session: a request did not come when it came then */
	uint64_t requests; /* seen in all */
	uint64_t config_changes; /* that it has told of */

	/* of a replay: messages on the main channel that no step has looked at yet */
	struct vhu_frame came[VHU_CAME_MAX];
	size_t n_came;
};

/* Per ring, what the driver does not know. */
struct vhu_ring_run {
	struct vhu_source *call; /* watched */
	int call_fd;		 /* that `call` watches */
	uint64_t calls, errors;	 /* since the last check */
	bool started;		 /* by us, on some connection */
	bool stopped;		 /* answered GET_VRING_BASE: nothing may move any more */
	bool busy_stop;		 /* requests were in flight then */
	uint16_t used_at_stop;
	bool base_known;
	bool base_is_used; /* the next start sets the used index as memory has it then */
	uint32_t base;	   /* what the next start sets: from the last stop */
};

/* A request of the case that is not settled yet. */
struct vhu_io_run {
	struct vhu_io *io;
	const struct vhu_step *step;
	const char *tag;
	bool settled; /* judged; kept because its tag may be asked for */
};

struct vhu_log_run {
	int fd;
	uint64_t size, offset, file_size;
	uint8_t *file, *map; /* map: the log in it */
};

/* A range that a case has mapped; the latest that covers an IOVA counts. */
struct vhu_iommu_map {
	uint64_t iova, size, gpa;
	unsigned perm; /* 0: not mapped */
};

/*
 * The fake guest's IOMMU, which translates where the guest negotiated VIRTIO_F_ACCESS_PLATFORM: what a case
 * has mapped, else all of memory at VHU_IOVA_SHIFT.
 */
struct vhu_iommu_run {
	struct vhu_iommu_map *maps;
	size_t n_maps;
	uint64_t granule; /* bytes that one update covers at most */
	bool hold;	  /* what the back-end asks for waits in the inbox */
	uint64_t last;	  /* the page that was asked for last, and how often in a row */
	unsigned repeats;
};

/* Where the back-end has a region of the guest's. */
struct vhu_postcopy_region {
	uint64_t base, size, gpa;
};

/* The userfaultfd that the back-end gave, and the guest addresses that it waited for. */
struct vhu_postcopy_run {
	int fd;
	struct vhu_source *source;
	struct vhu_postcopy_region regions[VHU_C_MEM_TABLE_REGIONS];
	size_t n_regions;
	uint64_t seen[256];
	size_t n_seen;
	size_t n_stray; /* faults outside what the back-end told of */
};

struct vhu_inflight_run {
	int fd;
	uint64_t size, offset;
	uint16_t queues, queue_size;
	uint8_t *map;
};

/* A region that the target was given and that no guest memory of ours stands behind. */
struct vhu_foreign {
	unsigned conn; /* whose table it is in */
	uint64_t gpa, size, uaddr, offset;
	int fd;
};

/* The transfer of device state that a step has begun, and what was saved last. */
struct vhu_state_run {
	int fd; /* our end of the channel; -1: none */
	bool over; /* it was refused, or came to its end: nothing is left to move */
	uint8_t *saved;
	size_t n_saved, cap;
};

struct vhu_run {
	struct vhu_engine *e;
	const struct vhu_plan *plan;
	struct vhu_result *res;
	const struct vhu_step *step; /* the one that runs; NULL in prelude and epilogue */
	const char *phase;	     /* "start: running", "epilogue" … for findings outside of steps */
	size_t step_index;

	struct vhu_conn *conns;
	size_t n_conns;
	struct vhu_driver *driver;
	struct vhu_ring_run *rings;
	size_t n_rings;
	struct vhu_io_run *ios;
	size_t n_ios, cap_ios;
	bool reconnected;	  /* the device was set up before, on a connection */
	unsigned pairs;		  /* net: that the guest uses; 0: all */
	bool loops[VHU_LAYOUT_RINGS_MAX / 2]; /* net: a frame of this pair has come back */
	size_t last_added_region; /* SIZE_MAX: none */
	size_t plugged;		  /* regions that the guest has got beyond the layout's */
	bool carried;		  /* the rings came over from another connection, and have not run since */
	unsigned ready;		  /* rings that the guest has set up, from 0 on; 0: all */
	struct vhu_log_run log;
	struct vhu_inflight_run inflight;
	struct vhu_iommu_run iommu;
	struct vhu_state_run state;
	struct vhu_postcopy_run postcopy;
	struct vhu_program *program; /* another process of the target's program, or NULL */
	struct vhu_foreign *foreign; /* of the table that the target has now */
	size_t n_foreign;
	struct vhu_filled {
		uint64_t dev, inode, at, len;
	} * filled; /* of a replay: what was recorded of memory, and stands there */
	size_t n_filled;
	struct vhu_disk_run *disk; /* of a replay: what the disk holds, as far as it was written here */
	struct vhu_played *played; /* of a replay: its rings, once recorded requests go through them */
	int *objects; /* of a replay: descriptors of plan->objects; -1: not made yet */
	bool index_put;	   /* of a replay: a ring did not begin at 0, and has left that in memory */
	uint64_t start_ns; /* of a replay: when its first step ran, by vhu_run_now() */
	struct vhu_replay_io *io; /* of a replay: requests through the captured rings */
	int lent[VHU_LENT_MAX]; /* other ends of pipes and sockets that the target holds */
	size_t n_lent;
	uint64_t *vars;
	bool *vars_set;

	struct vhu_holdings held; /* at the end, when it was proved alive */
	bool hostile;		  /* the case has spoilt a ring on purpose */
	bool stop;		  /* no further step makes sense */
	bool broken;		  /* a failure of ours */
	bool skipped;
	bool interrupted;
	bool exited; /* the spawned target ended and nobody wanted that */
	bool exit_in_order;
	bool session_over; /* we have ended one */
	bool session_before; /* another run had connections; the last of them ended a moment ago */
	bool turned_away;  /* one right behind it was not served, and was made anew */
	bool exit_told;
	bool inherited; /* the process has been through another case */
	char exit_what[160];
	bool calm_before;  /* the target slept when it was looked at first */
	bool death_wanted; /* the last thing the case wanted was its end */
	bool closed;	   /* a connection ended: a death that shows later belongs to this step */
	struct vhu_step closing;
	bool closing_accepted; /* that end was a legal answer */
};

/* --- result.c: findings and verdicts -------------------------------------------------------------- */

void vhu_run_found(void *ctx, const struct vhu_finding *f); /* for oracles; ctx is the conn */
void vhu_run_finding(struct vhu_run *r, struct vhu_finding *f);
/* An expectation of the case that was not met; cites the step's requirement. */
void VHU_PRINTF(5, 6) vhu_run_unmet(struct vhu_run *r, const struct vhu_step *s, enum vhu_finding_kind kind,
				    const char *accepted, const char *actual, ...);
void VHU_PRINTF(2, 3) vhu_run_broken(struct vhu_run *r, const char *format, ...);
void VHU_PRINTF(2, 3) vhu_run_skip(struct vhu_run *r, const char *format, ...);
void vhu_run_conclude(struct vhu_run *r);

/* --- conn.c ----------------------------------------------------------------------------------------- */

/* Connects; a target that cannot be reached is a finding and stops the case. */
bool vhu_conn_open(struct vhu_run *r, struct vhu_conn *c);
void vhu_conn_close(struct vhu_conn *c);
bool vhu_conn_live(const struct vhu_conn *c);
/* Which request's answer is kept in `answer` from now on; what was kept is dropped. */
void vhu_conn_watch(struct vhu_conn *c, uint64_t serial);
/* Observes and sends; returns the serial, 0 when it could not be sent (BROKEN). */
uint64_t vhu_conn_send(struct vhu_conn *c, const struct vhu_frame *f, bool intended, const size_t *pieces,
		       size_t n_pieces);
/* The same for a message beside the step's own, whose answer goes on being watched for. */
uint64_t vhu_conn_send_aside(struct vhu_conn *c, const struct vhu_frame *f);
/* The request of the back-end was dealt with by a step: it goes. */
void vhu_conn_inbox_drop(struct vhu_conn *c, size_t i);
/* A frame came or goes out: it is told to the trace, the oracle and the capture. */
void vhu_conn_observe(struct vhu_conn *c, const struct vhu_frame *f, bool intended);
/* The later step of the plan that wants to see this request of the back-end itself; NULL: none. */
const struct vhu_step *vhu_conn_step_wants(struct vhu_conn *c, const struct vhu_frame *f);
/* Of a captured session: what is still to come so comes before the connection ends, or by the settle time. */
void vhu_conn_await_asides(struct vhu_conn *c);
/* The same before a message that was sent after it then: a device that it stops would not ask any more.
 * One that let us wait in vain is not waited for again. */
void vhu_conn_keep_order(struct vhu_conn *c);
/* Its request is answered as it says when it comes, and nobody waits for it. */
bool vhu_conn_answers_aside(const struct vhu_conn *c, const struct vhu_step *s);
/* Another channel: returns the descriptor of its far end (the caller's), or -1 (told). */
int vhu_conn_channel_open(struct vhu_conn *c, enum vhu_channel channel, const struct vhu_chan_events *events,
			  struct vhu_chan **ret);
/* Makes the back-end channel; returns the descriptor to send (the caller's), or -1. */
int vhu_conn_backend_open(struct vhu_conn *c);
void vhu_conn_backend_close(struct vhu_conn *c);
/* Takes what the back-end has asked so far. */
void vhu_conn_backend_catch_up(struct vhu_conn *c);
/* Answers a request of the back-end: u64, or nothing where none was asked for. */
void vhu_conn_answer(struct vhu_conn *c, const struct vhu_frame *request, uint64_t value);

/* --- gpu.c: our side of the graphics channel ---------------------------------------------------------- */

/* Returns the descriptor to send (the caller's), or -1; one that was open ends. */
int vhu_gpu_open(struct vhu_conn *c);
void vhu_gpu_close(struct vhu_conn *c);
/* Takes what the back-end has shown and asked so far. */
void vhu_gpu_catch_up(struct vhu_conn *c);

/* --- record.c: what happens, for a capture; nothing where none is made --------------------------------- */

/* Until taken back, nothing of it is sure to be told: a connection that belongs to no case. */
void vhu_record_aside(struct vhu_run *r);
void vhu_record_take_back(struct vhu_run *r, bool keep);
void vhu_record_opened(struct vhu_conn *c);
void vhu_record_closed(struct vhu_conn *c, enum vhu_dir by, int errno_value);
void vhu_record_exited(struct vhu_run *r, int status);
/* Who looks on at the rings; NULL: nobody. */
const struct vhu_ring_watch *vhu_record_watch(struct vhu_run *r);
/* What the rings gave back by now is told before what comes next. */
void vhu_record_catch_up(struct vhu_conn *c);
/* Bytes of device state went through the pipe. */
void vhu_record_state(struct vhu_conn *c, enum vhu_dir dir, const uint8_t *bytes, size_t len);
/* A frame in either direction, with the findings from `first_finding` on that it gave. */
void vhu_record_frame_seen(struct vhu_conn *c, const struct vhu_frame *f, bool intended, const size_t *pieces,
			   size_t n_pieces, size_t first_finding);
void vhu_record_raw(struct vhu_conn *c, enum vhu_channel channel, const uint8_t *bytes, size_t len,
		    const int *fds, size_t n_fds);

/* --- settle.c --------------------------------------------------------------------------------------- */

uint64_t vhu_run_deadline(const struct vhu_run *r, const struct vhu_step *s);
/* The clock that deadlines are of: vhu_loop_now(). */
uint64_t vhu_run_now(const struct vhu_run *r);
uint64_t vhu_run_settle_ns(const struct vhu_run *r);
/* Runs the loop until done or a deadline: 0, -ETIME; other failures mark the case and return it. */
int vhu_run_wait(struct vhu_run *r, bool (*done)(void *ctx), void *ctx, uint64_t deadline_ns, bool spin);
void vhu_run_closed_at(struct vhu_conn *c, const struct vhu_step *s);
/* Watches that nothing happens. */
void vhu_run_settle(struct vhu_run *r, uint64_t ns);

/* One request on its way to a verdict. */
struct vhu_exchange {
	struct vhu_conn *c;
	const struct vhu_step *s;      /* for where, expect, tolerate, within; may be a pseudo step */
	const struct vhu_msg_row *row; /* NULL: unknown */
	uint64_t serial;
	enum vhu_due due; /* as it was when sent */
	bool need_reply;
	bool intended;
};
/*
 * Waits for what the step expects and judges it. Returns the outcome (one VHU_OUT_ bit), 0 if
 * the case cannot go on. The answer, if there is one, is in c->answer.
 */
uint32_t vhu_exchange_settle(struct vhu_exchange *x);
/* A fence on a connection: true if it came back. Otherwise the connection is gone or hangs (told). */
bool vhu_conn_fence(struct vhu_conn *c, const struct vhu_step *s, const struct vhu_msg_row *row);

/* --- prelude.c ---------------------------------------------------------------------------------------- */

/* Everything about the moment that the legal value of a field depends on. */
struct vhu_moment vhu_run_moment(struct vhu_conn *c);
/* Builds, sends and settles one message of a script; its pseudo step is `s`. False if the case stops. */
bool vhu_run_item(struct vhu_conn *c, const struct vhu_script_item *item, const struct vhu_step *s,
		  struct vhu_moment *m);
/* Brings a connection from one state to another by the persona's script. */
bool vhu_run_prelude(struct vhu_conn *c, enum vhu_state from, enum vhu_state to, const char *profile,
		     const struct vhu_step *s);
/* A pseudo step in place of the given one: default expectations whatever that one says. */
struct vhu_step vhu_run_plain_step(const struct vhu_step *s);
/* Where a ring goes on: where it was stopped, where memory says, or at 0 on fresh ring memory. */
uint32_t vhu_run_ring_place(struct vhu_run *r, unsigned queue);
void vhu_run_ring_started(struct vhu_run *r, unsigned queue);
/* Starts one ring: driver and messages. */
bool vhu_run_ring_start(struct vhu_conn *c, unsigned queue, const char *profile, const struct vhu_step *s);
/* Stops one ring; the base of the reply in *ret_base. `needlessly`: with need_reply, beside the reply. */
bool vhu_run_ring_stop(struct vhu_conn *c, unsigned queue, bool needlessly, const struct vhu_step *s,
		       uint32_t *ret_base);
/* The same for a ring that somebody else looks after: it is told where it stops, and nothing is reaped. */
bool vhu_run_ring_base(struct vhu_conn *c, unsigned queue, const struct vhu_step *s);
/* Attaches what a message carries by its row; false: BROKEN. */
bool vhu_run_attach_fds(struct vhu_conn *c, struct vhu_frame *f, const struct vhu_step_send *send);
bool vhu_run_driver(struct vhu_run *r); /* makes memory and rings if there are none yet */
void vhu_run_watch_calls(struct vhu_run *r, unsigned queue);
void vhu_run_unwatch_calls(struct vhu_run *r);

/* --- do_phase.c --------------------------------------------------------------------------------------- */

/* What a script needs to know of the session, to bring it from one state to another. */
struct vhu_script_opts vhu_run_script_opts(struct vhu_conn *c, enum vhu_state from, enum vhu_state to,
					   const char *profile);

/* --- notify.c ----------------------------------------------------------------------------------------- */

/* Kicks a ring: its descriptor, or a message where the session has none. False if the case stops. */
bool vhu_run_kick(struct vhu_conn *c, unsigned queue, const struct vhu_step *s);
/* Whether the back-end can tell us of used buffers: by the call descriptor in service, or by messages. */
bool vhu_run_has_call(const struct vhu_run *r, unsigned queue);
/* Whether that is by messages, on this connection. */
bool vhu_conn_kicks_inband(const struct vhu_conn *c, unsigned queue);
bool vhu_conn_calls_inband(const struct vhu_conn *c, unsigned queue);
/* A call or error that came as a message. */
void vhu_run_signalled(struct vhu_conn *c, const struct vhu_frame *f);
/* A request to map shared memory: it has to be possible. */
void vhu_run_shm(struct vhu_conn *c, const struct vhu_frame *f);
/* Descriptors that the session was not given at the ring's start are none in service. */
void vhu_run_drop_unsent(struct vhu_conn *c, unsigned queue);

/* --- foreign.c ---------------------------------------------------------------------------------------- */

/* A memory message of ours went out with these descriptors. */
void vhu_run_foreign_note(struct vhu_conn *c, const struct vhu_frame *f);
/*
 * A ring in memory of which only the target knows what it is for is about to start: its indexes are put where
 * SET_VRING_BASE said.
 */
void vhu_run_foreign_ring(struct vhu_conn *c, const struct vhu_frame *f);
/* The region that holds `len` bytes at a user address whole, until memory changes; NULL if none does. */
const struct vhu_foreign *vhu_run_foreign_of(const struct vhu_conn *c, uint64_t uaddr, uint64_t len);
/* Their file and the place in it; -1 if no region holds them. */
int vhu_run_foreign_at(const struct vhu_conn *c, uint64_t uaddr, uint64_t len, uint64_t *ret_offset);
/*
 * Guest addresses of a captured ring's parts, and the regions that they are in, unless ret_in is NULL. False:
 * they are not known.
 */
enum { VHU_RING_PARTS = 3 };
bool vhu_run_captured_ring(struct vhu_conn *c, const struct vhu_ring_state *ring, struct vhu_ring_layout *ret,
			   const struct vhu_foreign *ret_in[VHU_RING_PARTS]);
/* The region as one of the layout, where there is room: its place there. */
size_t vhu_layout_add_foreign(struct vhu_layout *l, const struct vhu_foreign *g);
/* A new connection has no memory yet. */
void vhu_run_foreign_forget(struct vhu_conn *c);
void vhu_run_foreign_release(struct vhu_run *r);

/* --- replay_io.c -------------------------------------------------------------------------------------- */

/* A message of the front-end went out; one of the back-end came. */
void vhu_run_io_note_sent(struct vhu_conn *c, const struct vhu_frame *f);
void vhu_run_io_note_came(struct vhu_conn *c, const struct vhu_frame *f);
/* Pushes verified requests through every ring that lives. */
void vhu_run_io_push(struct vhu_conn *c, const struct vhu_step *s);
/* Looks at what the device left in memory, and lets go of it; rings that live go on with the next request. */
void vhu_run_io_end(struct vhu_run *r);
/* The guest as the driver has it; NULL: there is none. */
const struct vhu_layout *vhu_run_io_layout(const struct vhu_run *r);
/* The ring signals by (a copy of) this descriptor from now on; -1: by none. */
void vhu_run_lend_fd(struct vhu_vring *v, enum vhu_vring_fd which, int fd);
/* Whether a ring that starts goes on where it stopped, since nothing was said of it. */
bool vhu_run_io_resumes(const struct vhu_run *r, unsigned queue);
void vhu_run_io_release(struct vhu_run *r);

/* --- do_replay.c -------------------------------------------------------------------------------------- */

/* The descriptor that stands for object i of the plan, made when it is first asked for; -1 (errno). */
int vhu_run_object(struct vhu_run *r, unsigned i);
void vhu_run_objects_release(struct vhu_run *r);
/* The buffer that GET_INFLIGHT_FD gave, for the SET_INFLIGHT_FD that follows. */
void vhu_run_take_inflight(struct vhu_run *r, struct vhu_frame *f);
/* Takes a frame of the main channel for the step that will compare it. */
void vhu_run_came(struct vhu_conn *c, struct vhu_frame *f);
/* Tells of frames that came by now and that the recording does not have. */
void vhu_run_unasked(struct vhu_conn *c, const struct vhu_step *s);
/* What the recording has here does not come. */
void vhu_run_replay_missing(struct vhu_conn *c, const struct vhu_step *s);
/* A request of the recording came back with this length, if that is known. */
void vhu_run_used_compare(struct vhu_run *r, const struct vhu_step *s, uint32_t len, bool known);

/* --- replay_ring.c ----------------------------------------------------------------------------------- */

void vhu_run_played_release(struct vhu_run *r);
/* Recorded requests that are out in the ring which starts there go on in it. */
enum vhu_played_start { VHU_PLAYED_NONE, VHU_PLAYED_BUSY, VHU_PLAYED_OVER };
/* What a ring that is about to start finds in its place; if nothing goes on there, it is wiped. */
enum vhu_played_start vhu_run_played_start(struct vhu_conn *c, const struct vhu_ring_state *ring,
					   unsigned queue);
/*
 * The target told where a ring has stopped; where the recorded front-end goes on there, this one's place
 * stands in for it, while requests are out. So does the place of a ring that was left as its back-end died:
 * it may have come further than the recorded one.
 */
void vhu_run_played_stopped(const struct vhu_conn *c, const struct vhu_step_answer *was,
			    const struct vhu_frame *f);
void vhu_run_played_base(const struct vhu_conn *c, struct vhu_frame *f);
/* What the rings gave back is looked at, once more before the connection ends. */
void vhu_run_played_look(struct vhu_conn *c, bool last);
/* The ring was kicked by this object. */
void vhu_run_played_kicked(struct vhu_run *r, unsigned object);
/* A breach of the rules by the target of a replay. */
void vhu_run_replay_breach(void *ctx, const struct vhu_ring_event *event);

/* --- replay_disk.c ------------------------------------------------------------------------------------- */

struct vhu_disk_io;
/* A request is about to be made available; NULL: nothing of it is looked at. */
struct vhu_disk_io *vhu_run_disk_begin(struct vhu_run *r, const struct vhu_offer_disk *disk);
/* It came back, through this ring. */
void vhu_run_disk_end(struct vhu_conn *c, struct vhu_disk_io *io, unsigned queue);
void vhu_run_disk_release(struct vhu_run *r);

/* --- do_*.c -------------------------------------------------------------------------------------------- */

typedef void vhu_do_fn(struct vhu_run *r, const struct vhu_step *s);
vhu_do_fn vhu_do_send, vhu_do_raw, vhu_do_recv, vhu_do_fence, vhu_do_connect, vhu_do_close, vhu_do_reconnect;
vhu_do_fn vhu_do_target, vhu_do_assert, vhu_do_note;
vhu_do_fn vhu_do_ring, vhu_do_io, vhu_do_chain, vhu_do_await, vhu_do_memory, vhu_do_log, vhu_do_inflight;
vhu_do_fn vhu_do_frames;
vhu_do_fn vhu_do_iotlb;
vhu_do_fn vhu_do_state, vhu_do_phase;
vhu_do_fn vhu_do_program;
vhu_do_fn vhu_do_recorded, vhu_do_answer, vhu_do_end, vhu_do_fill, vhu_do_signal,
	vhu_do_offer, vhu_do_used;

/* A value or matcher of the case; false: BROKEN was said. */
bool vhu_run_value(struct vhu_run *r, const struct vhu_value *v, uint64_t *ret);
/* A matcher that does not hold is a finding; `what` names the value. */
void vhu_run_match(struct vhu_run *r, const struct vhu_step *s, const struct vhu_matcher *m, const char *what,
		   uint64_t x);
/* A number of a received frame: a payload's field, or one of the config space that it carries. */
bool vhu_run_field(const struct vhu_run *r, const struct vhu_frame *f, const char *name, uint64_t *ret);
void vhu_run_save(struct vhu_run *r, const struct vhu_save *save, size_t n, const struct vhu_frame *f);
void vhu_run_epilogue(struct vhu_run *r);
/* A ring that has stopped goes on: a breach. */
void vhu_run_moved_after_stop(struct vhu_run *r, unsigned queue, const char *how);
/* Sends one message as the step's own, with need_reply where that is allowed. */
bool vhu_run_step_message(struct vhu_conn *c, const struct vhu_step *s, const struct vhu_script_item *item);
/* Asks for the area and maps it; a finding if it cannot be mapped. `needlessly`: with need_reply. */
bool vhu_run_inflight_get(struct vhu_conn *c, const struct vhu_step *s, uint64_t queues, uint64_t size,
			  bool needlessly);
/* The same memory, the rings formatted anew: a guest that reset its device. */
bool vhu_run_reset_rings(struct vhu_run *r);
/* Lets go of the buffer. */
void vhu_run_inflight_release(struct vhu_run *r);
/* A place in the buffer ("inflight.desc[3].next") of the published layout. */
void vhu_run_inflight_poke(struct vhu_run *r, const struct vhu_step *s, uint64_t value);

/* --- do_iotlb.c -------------------------------------------------------------------------------------- */

/*
 * Of a replay: where the captured IOMMU says that these bytes are, by what it has told the back-end. False:
 * it has not, or they are apart. Without an IOMMU addresses are what they are.
 */
bool vhu_run_captured_uaddr(struct vhu_conn *c, uint64_t iova, uint64_t len, uint64_t *ret);
/* What the captured front-end has told of translations. */
void vhu_run_captured_iotlb(struct vhu_conn *c, const struct vhu_frame *f);
/* A back-end that misses a translation which was told, or one of our own memory, gets it (again). */
void vhu_run_io_missed(struct vhu_conn *c, const struct vhu_frame *f);
/* A request of the back-end about translations came: answered, or left in the inbox (true). */
bool vhu_run_iotlb_keeps(struct vhu_conn *c, const struct vhu_frame *f);

/* --- replay_memory.c --------------------------------------------------------------------------------- */

/* Whether a recording said what stands at this place of the file. */
bool vhu_run_is_filled(const struct vhu_run *r, int fd, uint64_t at);

/* --- do_grow.c --------------------------------------------------------------------------------------- */

/* The target's disk grows behind its back; once it has noticed the case goes on, else it is SKIP. */
void vhu_run_grow(struct vhu_run *r, const struct vhu_step *s);

/* --- do_log.c ---------------------------------------------------------------------------------------- */

/* A fresh dirty log in place of the last one, if any. False: BROKEN. */
bool vhu_run_log_make(struct vhu_run *r, uint64_t offset);
void vhu_run_log_release(struct vhu_run *r);

/* --- do_state.c -------------------------------------------------------------------------------------- */

/*
 * A new channel for device state: the end to send, or -1 (errno). `to_us`: we read. `narrow`: it holds as
 * little as the kernel allows.
 */
int vhu_run_state_channel(struct vhu_run *r, bool to_us, bool narrow);
/* SET_DEVICE_STATE_FD was settled: a channel of the back-end's takes the place of ours, a refusal ends it. */
void vhu_run_state_answered(struct vhu_conn *c);
void vhu_run_state_release(struct vhu_run *r);

/* --- postcopy.c -------------------------------------------------------------------------------------- */

/* An answer of the back-end on the main channel: a userfaultfd, its addresses, the end of postcopy. */
void vhu_run_postcopy_saw(struct vhu_conn *c, const struct vhu_frame *f);
/* Whether the back-end has waited for a page of this guest memory. */
bool vhu_run_postcopy_faulted(const struct vhu_run *r, uint64_t gpa, uint64_t len);
void vhu_run_postcopy_release(struct vhu_run *r);

/* --- engine.c ---------------------------------------------------------------------------------------- */

/*
 * The process ended in order where the end of the connection would have been in order: a program that serves
 * one guest may do both in one. It is told as a quirk, and counts as the end of the connection.
 */
bool vhu_run_exit_forgiven(struct vhu_run *r);

/* --- identify.c -------------------------------------------------------------------------------------- */

/* The target's device, VHU_DEV_ANY: it is not known. `f`: features, and config space where it gives one. */
enum vhu_device vhu_engine_identify(struct vhu_engine *e, const struct vhu_facts *f);

/* --- leak.c ------------------------------------------------------------------------------------------ */

struct vhu_holdings vhu_run_holdings(const struct vhu_run *r);
/* After a case: descriptors or mappings that grow with each run of it are a finding. */
void vhu_engine_check_leaks(struct vhu_engine *e, const struct vhu_plan *plan, struct vhu_result *ret,
			    const struct vhu_holdings *now);
/*
 * Starts a spawned target that does not run, and looks at what it holds before it has served a case, so that
 * a leak in the first case of a new process shows as in any other.
 */
void vhu_engine_meet(struct vhu_engine *e);

/* One run of a plan. *ret_held is what the target held at its end. -ENOMEM. */
int vhu_engine_run_once(struct vhu_engine *e, const struct vhu_plan *plan, struct vhu_result *ret,
			struct vhu_holdings *ret_held);
/* --- ios.c -------------------------------------------------------------------------------------------- */

/*
 * Takes what the rings give back until done(ctx), asking for calls and sleeping on them. As vhu_run_wait; it
 * ends as well when no connection is left.
 */
int vhu_run_wait_rings(struct vhu_run *r, bool (*done)(void *ctx), void *ctx, uint64_t deadline_ns);
/* No connection is left that could bring anything. */
bool vhu_run_connection_lost(const struct vhu_run *r);
/* The connection or the process is gone while requests were waited for. */
void vhu_run_gone(struct vhu_run *r, const struct vhu_step *s);
/* Makes what was added to a ring visible and kicks it. */
void vhu_run_publish(struct vhu_run *r, const struct vhu_step *s, unsigned queue, bool kick);
/* The bytes of a layout's fields; false: BROKEN was said. */
bool vhu_run_build_out(struct vhu_run *r, const struct vhu_chain_elem *e, uint8_t *bytes);
/* The matchers of an element on the fields of what came, as far as that reaches. */
void vhu_run_match_fields(struct vhu_run *r, const struct vhu_step *s, const struct vhu_chain_elem *e,
			  const uint8_t *bytes, size_t len);
/* Waits until every request of `tag` (NULL: all) is done and settles them. */
void vhu_run_finish_ios(struct vhu_run *r, const struct vhu_step *s, const char *tag);
void vhu_run_forget_ios(struct vhu_run *r);
