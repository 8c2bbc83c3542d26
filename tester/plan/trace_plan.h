/* What the files share that compile a capture. */
#pragma once

#include <limits.h>

#include "plan/plan.h"
#include "session/session.h"
#include "trace/trace.h"
#include "wire/frame.h"

/* Steps of back-end requests that were not answered yet. */
struct asked {
	size_t *steps;
	size_t n, cap;
};

struct trace_ring;
struct translation;
struct vhu_ring_record;

/* Which of them; a descriptor that is no eventfd: nobody of ours signals by it. */
#define VHU_TRACE_STRANGE UINT_MAX
enum vhu_trace_signals { VHU_TRACE_KICK, VHU_TRACE_CALL, VHU_TRACE_SIGNALS };

/* One connection of the capture while its records pass by. */
struct track {
	uint32_t connection;
	unsigned conn; /* index in the plan */
	bool opened, closed;
	bool provoked;		     /* what was sent last may well have ended it */
	bool saving, loading;	     /* device state goes through a pipe */
	struct vhu_buf state;	     /* what was loaded, as far as it is in the capture */
	bool state_cut;		     /* and that is not all of it */
	bool lengths_wrong;	     /* something was wrong with what came back through its rings */
	bool bare;		     /* what went through them is in part not in the capture */
	struct vhu_session *session; /* while it is open */
	bool behind_iommu;	     /* the device's addresses are what the messages say … */
	struct translation *iotlb;   /* … all of them, in their order */
	size_t n_iotlb, iotlb_read;  /* records that were looked through */
	struct asked asked[VHU_CHAN_MAX];
	struct trace_ring *rings; /* by number, once one was set up */
	unsigned *signals[VHU_TRACE_SIGNALS]; /* by ring, once there are any: the object, plus 1 */
};

/* An object of the plan, and how later records name it. */
struct known_object {
	enum vhu_object_kind kind;
	bool by_inode;
	uint64_t a, b; /* device and inode; or process and number */
	unsigned object;
};

/* A buffer for requests in flight, and how a message that brings it back is known. */
struct given_inflight {
	bool any; /* there is one by now */
	uint64_t size, offset;
	struct vhu_fd_info fd;
};

struct trace_compile {
	const struct vhu_trace *trace;
	const struct vhu_replay_opts *opts;
	struct vhu_arena *arena;
	struct vhu_plan *plan;
	struct vhu_buf *notes;
	size_t n_notes;
	struct track *tracks;
	size_t n_tracks;
	bool *busy; /* connections of the plan; those that ended are used again */
	size_t n_conns;
	struct vhu_step *steps;
	size_t n_steps, cap_steps;
	struct vhu_object *objects;
	struct known_object *known;
	size_t n_objects, cap_objects;
	uint64_t start_ns, last_ns;
	bool started;	    /* the first connection is open */
	bool dead;	    /* the target was killed: it is started before the next connection */
	struct given_inflight inflight; /* what the target gave last */
	bool saved_state;
	size_t no_fds;	   /* messages whose descriptors were not seen */
	size_t others_fds; /* descriptors of a kind that we don't make */
	size_t drawings;   /* messages of the graphics channel that come as the guest draws */
	size_t no_memory, no_ring; /* records of these kinds that are not played */
	size_t bare;	   /* requests that are played without their contents */
	unsigned n_offers; /* requests */
	struct vhu_err *err;
};

/* A new step for this record; NULL: out of memory (told). */
struct vhu_step *vhu_trace_step(struct trace_compile *c, enum vhu_verb verb, const struct track *t,
				const struct vhu_record *r);

/* A line about what is played otherwise than it was. */
void VHU_PRINTF(2, 3) vhu_trace_note(struct trace_compile *c, const char *format, ...);

/*
 * trace_sessions.c: whether a session is played; what is missing of it; which are left out. -EINVAL with text
 * where none is played.
 */
bool vhu_trace_chosen(const struct vhu_trace *t, const struct vhu_replay_opts *opts,
		      const struct vhu_session_ref *s);
void vhu_trace_tell_partial(struct trace_compile *c, const struct vhu_session_ref *s);
int vhu_trace_tell_choice(struct trace_compile *c);

/* Whether what is loaded next is known. */
bool vhu_trace_has_state(const struct trace_compile *c, const struct track *t);

/* trace_came.c: a message of the back-end; what the front-end answered on its channel. -ENOMEM. */
int vhu_trace_came(struct trace_compile *c, struct track *t, const struct vhu_record *r,
		   const struct vhu_frame *f);
void vhu_trace_answered(struct trace_compile *c, struct track *t, const struct vhu_frame *f);
/* A message of either on the graphics channel. -ENOMEM. */
int vhu_trace_gpu(struct trace_compile *c, struct track *t, const struct vhu_record *r);

/* trace_ring.c: a record of a ring; where one stands from now on; whose area is in the capture. -ENOMEM. */
int vhu_trace_ring(struct trace_compile *c, struct track *t, const struct vhu_record *r);
int vhu_trace_note_ring(struct trace_compile *c, struct track *t, const struct vhu_frame *f);
int vhu_trace_note_area(struct trace_compile *c, struct track *t, uint64_t uaddr, uint64_t len);
/* The front-end is about to hang up: what it still waits for comes before. */
int vhu_trace_rings_end(struct trace_compile *c, struct track *t);
void vhu_trace_rings_done(struct track *t);
/* Whether requests of the capture go through it since it has its base. */
bool vhu_trace_ring_begun(const struct track *t, uint64_t queue);

enum { VHU_TRACE_BLK_HEAD = 16 }; /* type, priority, sector of a disk's request */
/* Bytes of it that the device reads. */
uint64_t vhu_trace_read_len(const struct vhu_ring_record *q);

/* trace_disk.c: what a request that is played does on a disk. -ENOMEM. */
int vhu_trace_disk(struct trace_compile *c, const struct track *t, const struct vhu_record *r,
		   const struct vhu_ring_record *q, struct vhu_offer_disk *ret);

/* trace_iotlb.c: has the session's translations at hand, if it has an IOMMU. -ENOMEM. */
int vhu_trace_iotlb(struct trace_compile *c, struct track *t);
void vhu_trace_iotlb_done(struct track *t);
/* Where the device's address is for the front-end, and how much of `len` lies there together; 0: nowhere. */
uint64_t vhu_trace_user(const struct track *t, uint32_t seq, uint64_t at, uint64_t len, uint64_t *ret);
/* Steps for translations that come only behind this record, when the recorded device has asked. -ENOMEM. */
int vhu_trace_foretell(struct trace_compile *c, const struct track *t, const struct vhu_record *r,
		       uint64_t at, uint64_t len);

/* trace_memory.c: a record of memory. -ENOMEM. */
int vhu_trace_memory(struct trace_compile *c, struct track *t, const struct vhu_record *r);
/* Which descriptor signals a ring from now on. -ENOMEM. */
int vhu_trace_note_signal(struct track *t, const struct vhu_frame *f, const struct vhu_step_recorded *sent);
/* The object that does, plus 1; 0: none. */
unsigned vhu_trace_signal(const struct track *t, uint64_t queue, enum vhu_trace_signals which);
/* Tells what of it is not played. */
void vhu_trace_tell_memory(struct trace_compile *c);

/*
 * The file of a REGION, by its inode; *known false where that is not told. -ENOMEM.
 */
int vhu_trace_file(struct trace_compile *c, const uint64_t *region, bool *known, unsigned *ret);

/* trace_fds.c: the answer to GET_INFLIGHT_FD; others of it bring no buffer. */
void vhu_trace_note_inflight(struct trace_compile *c, const struct vhu_record *r, const struct vhu_frame *f);
/* Fills in s->fds. -ENOMEM. */
int vhu_trace_fds(struct trace_compile *c, struct track *t, const struct vhu_record *r,
		  const struct vhu_frame *f, struct vhu_step_recorded *s);

/* How many descriptors a message has to carry by its own words. */
size_t vhu_trace_fds_due(const struct vhu_frame *f);

/* trace_mask.c: which bytes of a frame of the back-end have to be as they were. -ENOMEM, -EINVAL. */
int vhu_trace_mask(struct trace_compile *c, const struct track *t, const struct vhu_frame *f,
		   struct vhu_step_answer *s);
/* -EINVAL with text unless each of them names a message, or a field of one of its replies. */
int vhu_trace_mask_check(const char *const *names, size_t n, const char *what, struct vhu_err *err);
