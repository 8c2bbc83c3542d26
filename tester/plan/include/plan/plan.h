/*
 * A case compiled: every loop expanded, every name resolved, every value either a constant or
 * an expression over saved variables. Immutable; owns an arena. The engine runs it and knows no
 * JSON; other sources (captures, fuzz seeds) compile to the same.
 */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "spec/layout.h"
#include "spec/spec.h"

/* --- values ---------------------------------------------------------------------------------- */

enum vhu_value_op {
	VHU_OP_FIRST, VHU_OP_ADD, VHU_OP_SUB, VHU_OP_MUL, VHU_OP_OR, VHU_OP_AND, VHU_OP_ANDNOT, VHU_OP_XOR
};

struct vhu_term {
	enum vhu_value_op op;		/* FIRST for the first */
	bool is_var;
	uint64_t u;			/* constant */
	unsigned var;			/* index into plan->vars */
};

/* Terms from left to right, in u64. One constant term: a constant. n == 0: not given. */
struct vhu_value {
	const struct vhu_term *terms;
	unsigned n;
};

bool vhu_value_is_const(const struct vhu_value *v);
/* -ERANGE on a wrap of + - *, -ENODATA if a variable is not set yet (its index in *ret). */
int vhu_value_eval(const struct vhu_value *v, const uint64_t *vars, const bool *set, uint64_t *ret);

enum vhu_match_op {
	VHU_MATCH_EQ, VHU_MATCH_NE, VHU_MATCH_LT, VHU_MATCH_LE, VHU_MATCH_GT, VHU_MATCH_GE,
	VHU_MATCH_IN, VHU_MATCH_HAS, VHU_MATCH_LACKS, VHU_MATCH_MASKED,	/* (x & mask) == value */
	VHU_MATCH_MULTIPLE_OF, VHU_MATCH_ANY,
	VHU_MATCH_BYTES, VHU_MATCH_PREFIX, VHU_MATCH_LEN,	/* of byte fields */
};

struct vhu_match_term {
	enum vhu_match_op op;
	struct vhu_value value;
	struct vhu_value mask;		/* MASKED */
	const struct vhu_value *list;	/* IN */
	size_t n_list;
	const uint8_t *bytes;		/* BYTES, PREFIX */
	size_t n_bytes;
};

/* All terms must hold. n == 0: not given. */
struct vhu_matcher {
	const struct vhu_match_term *terms;
	size_t n;
	enum vhu_namespace ns;		/* how bits are named when it is described */
	enum vhu_device device;
};

/* 1 it holds, 0 it does not (the term that failed in *ret_term), or a negative errno of vhu_value_eval. */
int vhu_match_u64(const struct vhu_matcher *m, uint64_t x, const uint64_t *vars, const bool *set,
		  size_t *ret_term);
int vhu_match_bytes(const struct vhu_matcher *m, const uint8_t *bytes, size_t len, const uint64_t *vars,
		    const bool *set, size_t *ret_term);
/* What it accepts, in words: "= 0x8", "has VERSION_1", "one of 1, 2". */
void vhu_matcher_describe(const struct vhu_matcher *m, const uint64_t *vars, const bool *set, char *out,
			  size_t cap);

/* --- parts of steps -------------------------------------------------------------------------- */

struct vhu_assign {			/* payload field := value */
	const char *field;		/* a field or bit field of the payload's row */
	struct vhu_value value;
	const uint8_t *bytes;		/* a byte field */
	size_t n_bytes;
};

struct vhu_region_assign {		/* one region of `region: [ … ]` or of the memory verb */
	struct vhu_value gpa, size, uaddr, offset;	/* n == 0: chosen by the engine */
	enum vhu_backing backing;
};

struct vhu_field_match {
	const char *field;
	struct vhu_matcher match;
};

struct vhu_save {
	unsigned var;
	const char *field;		/* of the reply, "fd0" …; or of a layout */
};

enum vhu_fd_source {
	VHU_FD_CALL, VHU_FD_KICK, VHU_FD_ERR, VHU_FD_EVENTFD, VHU_FD_MEMORY, VHU_FD_LOG,
	VHU_FD_INFLIGHT, VHU_FD_SOCKET, VHU_FD_PIPE, VHU_FD_READONLY, VHU_FD_KICK_BLOCKING,
	VHU_FD_PIPE_UNREAD, VHU_FD_PIPE_UNWRITTEN, VHU_FD_STATE, VHU_FD_STATE_NARROW, VHU_FD_KICK_PIPE,
	VHU_FD_CALL_PIPE, VHU_FD_CALL_FULL, VHU_FD_CALL_OF_0, VHU_FD_DIRECTORY, VHU_FD_HUGE,
	VHU_FD_MEMFD, VHU_FD_OBJECT,
};

struct vhu_fd_spec {
	enum vhu_fd_source source;
	struct vhu_value size;		/* MEMFD */
	unsigned object;		/* OBJECT: index into plan->objects */
	uint64_t signals;		/* OBJECT, an eventfd: written to it before it goes out */
};

/* Outcomes as bits. */
enum {
	VHU_OUT_REPLY = 1 << 0,
	VHU_OUT_ACK = 1 << 1,
	VHU_OUT_NACK = 1 << 2,
	VHU_OUT_CLOSES = 1 << 3,
	VHU_OUT_SILENT = 1 << 4,
	VHU_OUT_ALIVE = 1 << 5,
	VHU_OUT_DEAD = 1 << 6,
	VHU_OUT_NONE = 1 << 7,
	VHU_OUT_ACCEPTS = 1 << 8,	/* ack, or silent where no acknowledgement was asked for */
	VHU_OUT_REJECTS = 1 << 9,	/* nack or closes; without REPLY_ACK also silent */
};
/* "ack or closes" in out. */
char *vhu_outcomes_describe(uint32_t outcomes, char *out, size_t cap);

struct vhu_breaks {
	bool set;
	enum vhu_req req;		/* VHU_REQ_MAX: malformed */
	unsigned malformed;		/* enum vhu_malformed */
};

/* "byte_N" is a field of every answer with config space: the N-th byte of what was read. */
bool vhu_config_byte(const char *field, unsigned *ret);

enum vhu_state {
	VHU_STATE_CONNECTED, VHU_STATE_OWNED, VHU_STATE_NEGOTIATED, VHU_STATE_MAPPED, VHU_STATE_RUNNING
};
const char *vhu_state_name(enum vhu_state s);

enum { VHU_KEEP_MEMORY = 1 << 0, VHU_KEEP_RINGS = 1 << 1, VHU_KEEP_INFLIGHT = 1 << 2, VHU_KEEP_LOG = 1 << 3 };
enum vhu_base_from { VHU_BASE_USED, VHU_BASE_AVAIL, VHU_BASE_SAVED, VHU_BASE_VALUE };

/* --- steps ----------------------------------------------------------------------------------- */

enum vhu_verb {
	VHU_VERB_SEND, VHU_VERB_RAW, VHU_VERB_RECV, VHU_VERB_FENCE, VHU_VERB_CONNECT, VHU_VERB_CLOSE,
	VHU_VERB_RECONNECT, VHU_VERB_TARGET, VHU_VERB_PROGRAM, VHU_VERB_RING, VHU_VERB_IO, VHU_VERB_CHAIN,
	VHU_VERB_FRAMES,
	VHU_VERB_AWAIT, VHU_VERB_MEMORY, VHU_VERB_LOG,
	VHU_VERB_INFLIGHT, VHU_VERB_IOTLB, VHU_VERB_STATE, VHU_VERB_PHASE, VHU_VERB_ASSERT, VHU_VERB_NOTE,
	/* of captures: no case file has them */
	VHU_VERB_RECORDED, VHU_VERB_ANSWER, VHU_VERB_END, VHU_VERB_FILL, VHU_VERB_SIGNAL, VHU_VERB_OFFER,
	VHU_VERB_USED,
	VHU_VERB_MAX
};
const char *vhu_verb_name(enum vhu_verb v);

struct vhu_step_send {
	const struct vhu_msg_row *row;	/* NULL: unknown request, by number */
	uint32_t request;
	enum vhu_channel channel;	/* main, or backend (only answers make sense there) */
	const struct vhu_assign *with;
	size_t n_with;
	const struct vhu_region_assign *regions;	/* `with: {region: [ … ]}` */
	size_t n_regions;
	bool regions_given;
	const struct vhu_fd_spec *fds;
	size_t n_fds;
	bool fds_given;			/* else what the message takes */
	enum { VHU_NR_PROFILE, VHU_NR_YES, VHU_NR_NO } need_reply;
	struct vhu_value flags, size;	/* n == 0: true ones */
	const uint8_t *payload;		/* in place of fields */
	size_t n_payload;
	bool payload_given;
	const uint8_t *tail;
	size_t n_tail;
	const size_t *pieces;
	size_t n_pieces;
	bool hold;			/* goes out in one write with the next message */
	const struct vhu_field_match *reply;
	size_t n_reply;
	struct vhu_matcher reply_size;
	int reply_fds;			/* -1: by the tables */
	const struct vhu_save *save;
	size_t n_save;
};

struct vhu_step_raw {
	const uint8_t *bytes;
	size_t n_bytes;
	enum vhu_channel channel;
	const struct vhu_fd_spec *fds;
	size_t n_fds;
};

struct vhu_step_recv {
	const struct vhu_msg_row *row;
	const struct vhu_field_match *with;
	size_t n_with;
	int fds;			/* -1: any legal number */
	enum { VHU_RECV_ACK, VHU_RECV_NACK, VHU_RECV_NONE, VHU_RECV_LATE, VHU_RECV_FIELDS } answer;
	const struct vhu_assign *fields;
	size_t n_fields;
	bool optional;			/* waits only until the next fence */
	const struct vhu_save *save;
	size_t n_save;
};

struct vhu_step_reconnect {
	enum vhu_state state;
	uint32_t keep;			/* VHU_KEEP_… */
	enum vhu_base_from base_from;
	struct vhu_value base;
	bool features_given;
	uint64_t features;		/* instead of the case's offer */
	bool no_status;			/* the guest driver knows nothing of the reconnect */
	const char *profile;		/* NULL: the case's */
};

/* A phase of the persona, in its order. */
enum vhu_phase_word {
	VHU_DO_PHASE_START, VHU_DO_PHASE_STOP, VHU_DO_PHASE_PAUSE, VHU_DO_PHASE_RESUME,
	VHU_DO_PHASE_RESET, VHU_DO_PHASE_SWITCH, VHU_DO_PHASE_RECONFIG, VHU_DO_PHASE_WRITE_CONFIG,
	VHU_DO_PHASE_PLUG, VHU_DO_PHASE_UNPLUG,
	VHU_DO_PHASE_LOG_ON, VHU_DO_PHASE_LOG_OFF, VHU_DO_PHASE_SAVE, VHU_DO_PHASE_LOAD,
	VHU_DO_PHASE_ANNOUNCE, VHU_DO_PHASE_ADVISE, VHU_DO_PHASE_LISTEN, VHU_DO_PHASE_POSTCOPY_END
};

struct vhu_step_phase {
	enum vhu_phase_word phase;
	unsigned pairs;			/* net: that the guest uses from now on; 0: as before */
	unsigned rings;			/* START: that the guest sets up, from ring 0 on; 0: all */
	uint8_t value;			/* WRITE_CONFIG: what the guest writes */
};

enum vhu_target_op {
	VHU_TARGET_KILL, VHU_TARGET_STOP, VHU_TARGET_CONTINUE, VHU_TARGET_RESTART, VHU_TARGET_AWAIT_EXIT,
	VHU_TARGET_IDLE, VHU_TARGET_GROW
};

/* What is done with another process of the target's program; most start it in one of its ways. */
enum vhu_program_op {
	VHU_DO_PROGRAM_CAPABILITIES, VHU_DO_PROGRAM_SCHEMA, VHU_DO_PROGRAM_BESIDE, VHU_DO_PROGRAM_SOCKET_PATH,
	VHU_DO_PROGRAM_FD, VHU_DO_PROGRAM_BOTH, VHU_DO_PROGRAM_QUIET, VHU_DO_PROGRAM_STALE,
	VHU_DO_PROGRAM_RELATIVE, VHU_DO_PROGRAM_LONG, VHU_DO_PROGRAM_TOO_LONG,
	VHU_DO_PROGRAM_READ_ONLY_FOLDER,
	VHU_DO_PROGRAM_NO_FOLDER, VHU_DO_PROGRAM_NO_IMAGE, VHU_DO_PROGRAM_READ_ONLY,
	VHU_DO_PROGRAM_AGAIN, VHU_DO_PROGRAM_STAYS,
	VHU_DO_PROGRAM_END, VHU_DO_PROGRAM_MAX
};

enum vhu_ring_op {
	VHU_RING_START, VHU_RING_STOP, VHU_RING_ENABLE, VHU_RING_DISABLE, VHU_RING_KICK, VHU_RING_POKE,
	VHU_RING_CHECK, VHU_RING_FLIP
};

struct vhu_step_ring {
	enum vhu_ring_op op;
	unsigned queue;
	struct vhu_matcher base;	/* STOP: on the reply; START: eq value is the base to set */
	const char *at;			/* POKE, FLIP */
	struct vhu_value value;		/* POKE, FLIP; KICK: what is written, n 0: 1 */
	struct vhu_value other;		/* FLIP */
	struct vhu_matcher used, called, stale, error, kicks;	/* CHECK */
	bool idle;
	uint32_t settle_ms;		/* 0: the run's */
	const struct vhu_save *save;
	size_t n_save;
};

struct vhu_step_io {
	unsigned op;			/* enum vhu_io_op of device/driver.h, in that order */
	unsigned queue;
	struct vhu_value sector;
	uint32_t count, times;
	unsigned pattern;		/* enum vhu_pattern */
	uint64_t pattern_arg;
	bool verify;
	const uint32_t *segments;
	size_t n_segments;
	bool indirect;
	uint32_t type;
	bool kick, wait;
	const char *tag;		/* NULL: none */
	uint32_t statuses;		/* accepted status bytes as bits; 0: any */
	struct vhu_matcher used_len;
};

struct vhu_chain_elem {
	enum { VHU_ELEM_OUT, VHU_ELEM_IN, VHU_ELEM_DESC } kind;
	const uint8_t *bytes;		/* OUT, constant part; n_bytes long */
	size_t n_bytes;
	const struct vhu_assign *fields;	/* OUT by layout */
	size_t n_fields;
	const char *layout;
	uint32_t len;			/* IN */
	struct vhu_matcher match;	/* IN, bytes */
	const struct vhu_field_match *matches;	/* IN by layout */
	size_t n_matches;
	const struct vhu_save *save;		/* IN by layout */
	size_t n_save;
	struct vhu_value addr, dlen, flags, next, id;	/* DESC; n == 0: chosen */
};

struct vhu_step_chain {
	const struct vhu_chain_elem *elems;
	size_t n_elems;
	unsigned queue;
	bool indirect, kick, wait;
	bool unmet_skips;		/* it asks: another answer ends the case as SKIP */
	const char *tag;
	struct vhu_matcher used_len;
};

enum vhu_frames_expect { VHU_FRAMES_BACK, VHU_FRAMES_NONE, VHU_FRAMES_ANY };

/* Frames of a network device, on each of the pairs. */
struct vhu_step_frames {
	uint32_t count;			/* on each pair */
	enum { VHU_PAIRS_LISTED, VHU_PAIRS_ON, VHU_PAIRS_OFF } which;	/* of those that are started */
	const uint32_t *pairs, *sizes;	/* LISTED; sizes in turn */
	size_t n_pairs, n_sizes;
	const uint32_t *segments;	/* what is sent: all pieces but the last; none: header, frame */
	size_t n_segments;
	const uint32_t *buffers;	/* what is received: the segments of a buffer */
	size_t n_buffers;
	bool one_piece;			/* header and frame in one descriptor */
	bool indirect;
	bool partial;			/* the checksum is left to the device */
	struct vhu_chain_elem header;	/* OUT by layout: fields that are not 0 */
	struct vhu_chain_elem received;	/* IN by layout: what the header of each that comes has to hold */
	enum vhu_frames_expect expect;
	int arrive;			/* the pair on which all have to come; -1: not said */
};

struct vhu_step_await {
	enum { VHU_AWAIT_TAGS, VHU_AWAIT_ALL, VHU_AWAIT_ANY } what;
	const char *const *tags;
	size_t n_tags;
	bool exactly_once, in_order;
	uint32_t statuses;		/* 0: as each request says */
};

enum vhu_memory_op {
	VHU_MEMORY_MAP, VHU_MEMORY_ADD, VHU_MEMORY_REMOVE, VHU_MEMORY_FILL, VHU_MEMORY_CHECK,
	VHU_MEMORY_FAULTED
};

struct vhu_step_memory {
	enum vhu_memory_op op;
	const struct vhu_region_assign *regions;
	size_t n_regions;
	struct vhu_value gpa, len;
	unsigned pattern;
	uint64_t pattern_arg;
	const uint8_t *match;
	size_t n_match;
	struct vhu_value value;		/* n 0: the pattern; else a number in `len` bytes */
	bool big;			/* with its highest byte first */
	bool quirk;			/* CHECK: other content is told as a quirk */
	bool wait;			/* CHECK: until it is so */
};

enum vhu_log_op { VHU_LOG_START, VHU_LOG_STOP, VHU_LOG_CLEAR, VHU_LOG_CHECK };

struct vhu_dirty {
	const char *buffers;		/* tag, or NULL */
	int ring;			/* -1: not a ring */
	struct vhu_value gpa, len;
};

struct vhu_step_log {
	enum vhu_log_op op;
	const unsigned *queues;
	size_t n_queues;		/* 0: all that the case uses */
	uint64_t offset;		/* where in its descriptor a new log starts */
	const struct vhu_dirty *dirty;
	size_t n_dirty;
	bool only, at_once;
	struct vhu_matcher marked;	/* CHECK: pages that are marked in all */
};

enum vhu_inflight_op { VHU_INFLIGHT_GET, VHU_INFLIGHT_SET, VHU_INFLIGHT_CHECK, VHU_INFLIGHT_CLEAR };

struct vhu_step_inflight {
	enum vhu_inflight_op op;
	struct vhu_value queues, queue_size;
	/* CHECK: of all queues, then of the first queue's region; the highest counter of its entries */
	struct vhu_matcher entries, version, desc_num, used_idx, counter;
	unsigned queue;
	const char *at;			/* CHECK: a place in that queue's region, or NULL */
	struct vhu_matcher is;		/* what it holds */
};

enum vhu_iotlb_op {
	VHU_IOTLB_MAP, VHU_IOTLB_UPDATE, VHU_IOTLB_INVALIDATE, VHU_IOTLB_HOLD, VHU_IOTLB_AWAIT,
	VHU_IOTLB_SERVE
};

struct vhu_step_iotlb {
	enum vhu_iotlb_op op;
	struct vhu_value iova, gpa, size;	/* size n 0: all memory; of iova and gpa one may be missing */
	unsigned perm;			/* MAP, UPDATE */
	uint64_t granule;		/* SERVE: bytes that one answer covers at most */
	struct vhu_matcher wants;	/* AWAIT: on the permission asked for */
};

enum vhu_transfer_op { VHU_TRANSFER_READ, VHU_TRANSFER_WRITE, VHU_TRANSFER_CLOSE };

/* The channel of SET_DEVICE_STATE_FD. */
struct vhu_step_state {
	enum vhu_transfer_op op;
	struct vhu_matcher size;	/* READ: all bytes read so far */
	uint64_t count;			/* READ: as many; 0: to the end */
	enum { VHU_CONTENT_SAVED, VHU_CONTENT_HALF, VHU_CONTENT_RANDOM, VHU_CONTENT_GIVEN } content;
	uint64_t len;			/* RANDOM, GIVEN */
	const uint8_t *bytes;		/* GIVEN: of a capture */
	uint64_t pieces;		/* WRITE: each when the one before was taken */
};

/* A message that a capture says was sent: as it stands, whatever it breaks. */
struct vhu_step_recorded {
	const struct vhu_msg_row *row;	/* NULL: unknown request */
	uint32_t request, flags, size;
	const uint8_t *payload;
	size_t n_payload;
	const struct vhu_fd_spec *fds;	/* in place of those that travelled then */
	size_t n_fds;
	bool inflight;			/* size and offset are those of the buffer that the target gave us */
	bool intended;			/* it broke a rule on purpose */
};

/*
 * A message that a capture says came: the next one on the main channel, or one of the kind on the back-end
 * channel, has to be like it.
 */
struct vhu_step_answer {
	enum vhu_channel channel;
	uint32_t request, flags;
	const uint8_t *payload;
	const uint8_t *mask;		/* bytes that count have their bits set; NULL: all count */
	size_t n_payload;
	size_t n_fds;
	bool any_size;			/* the size of the payload may differ */
	bool optional;			/* not waited for: what made it come is not in the capture */
	bool answered;			/* back-end channel: by the front-end, with `value` … */
	uint64_t value;
	const uint8_t *reply;		/* … graphics channel: with these bytes */
	size_t n_reply;
};

/* What a capture says that stood in shared memory. */
struct vhu_step_fill {
	bool known;			/* in this file, at `offset`; else where `uaddr` is */
	unsigned object;
	uint64_t offset, uaddr, len;
	const uint8_t *bytes;		/* over and over; n 0: zeroes */
	size_t n_bytes;
};

/* A descriptor in a ring. An INDIRECT one has its table in memory, with so many bytes for the device. */
struct vhu_offer_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint64_t writable;
};

/* What it does on a disk. */
struct vhu_offer_disk {
	enum {
		VHU_DISK_NOTHING,	/* that matters */
		VHU_DISK_READ,
		VHU_DISK_WRITE,
		VHU_DISK_CHANGE,	/* something that cannot be foreseen */
	} does;
	uint64_t sector, count;
	const uint8_t *bytes;		/* WRITE */
	struct vhu_offer_buffer {
		uint64_t uaddr;
		uint32_t len;
	} *in;				/* what the device writes: the data, and a byte of status behind it */
	size_t n_in;
};

/* A request of the recording is made available. */
struct vhu_step_offer {
	unsigned queue;
	uint16_t head;			/* as it was */
	unsigned number;		/* of the request, from 0 */
	bool fresh;			/* the first one since the ring has its base */
	const struct vhu_offer_desc *desc;
	size_t n;
	unsigned kick, call;		/* objects that signal the ring, plus 1; 0: none */
	struct vhu_offer_disk disk;
};

/* It comes back, with this length. */
struct vhu_step_used {
	unsigned queue, number;
	uint32_t len;
	bool any_len;
	unsigned call;
	bool seen;			/* it is in the capture, and the ring stood there behind it: */
	uint32_t index;
	bool late;			/* that is all there is to know: its connection was gone */
};

enum vhu_cmp {
	VHU_CMP_EQ, VHU_CMP_NE, VHU_CMP_LT, VHU_CMP_LE, VHU_CMP_GT, VHU_CMP_GE, VHU_CMP_HAS, VHU_CMP_LACKS
};

struct vhu_step_assert {
	struct vhu_value a, b;
	enum vhu_cmp op;
	const char *text;		/* "$a == $b" as it stood */
	const char *says;		/* NULL: none */
};

struct vhu_step {
	enum vhu_verb verb;
	const char *where;		/* "/steps/4[q=1]/do/0 (cases/lib/once.json /macros/once/steps/2)" */
	const char *note;		/* or NULL */
	enum vhu_req requirement;	/* of an unmet expectation: the step's, else the case's first */
	uint32_t within_ms;		/* 0: the run's deadline */
	unsigned conn;			/* index into plan->conns */
	bool expect_given;
	uint32_t expect, tolerate;	/* VHU_OUT_…; 0: the default */
	uint32_t skip;			/* legal, but what follows is about another outcome */
	struct vhu_breaks breaks;
	uint32_t record;		/* number of the capture's record behind it */
	uint64_t at_ns;			/* and its time, from the first of them */
	union {
		struct vhu_step_send send;
		struct vhu_step_raw raw;
		struct vhu_step_recv recv;
		struct vhu_step_recorded recorded;
		struct vhu_step_answer answer;
		struct vhu_step_fill fill;
		struct vhu_step_offer offer;
		struct vhu_step_used used;
		struct { unsigned object; uint64_t value; } signal;	/* a kick of the recorded guest */
		struct { bool provoked; } end;	/* the target hung up: over what it was sent, or not */
		struct { const struct vhu_msg_row *row; } fence;	/* NULL: GET_FEATURES */
		struct vhu_step_reconnect reconnect;	/* RECONNECT, and CONNECT (conn is the new one) */
		/* unread: answers were on their way (captures) */
		struct { bool main, backend, write_side, unread; } close;
		struct { enum vhu_target_op op; int signal; uint64_t by; } target; /* GROW: bytes */
		struct { enum vhu_program_op op; } program;
		struct vhu_step_ring ring;
		struct vhu_step_io io;
		struct vhu_step_chain chain;
		struct vhu_step_frames frames;
		struct vhu_step_await await;
		struct vhu_step_memory memory;
		struct vhu_step_log log;
		struct vhu_step_inflight inflight;
		struct vhu_step_iotlb iotlb;
		struct vhu_step_state state;
		struct vhu_step_phase phase;
		struct vhu_step_assert assertion;
	};
};

/* --- what is known of the target ------------------------------------------------------------- */

struct vhu_facts {
	bool known;			/* false: --check, compile against the union */
	enum vhu_device device;
	uint64_t features, pfeatures;	/* offered */
	uint64_t queue_num;		/* GET_QUEUE_NUM's answer; 0: not told */
	unsigned queues;		/* rings that it really serves, as far as we know */
	uint64_t mem_slots;		/* 0: not told */
	uint8_t config[256];
	size_t config_size;		/* bytes of config that are valid */
	uint64_t capacity;		/* blk: sectors */
	bool read_only;
	bool spawn;			/* we can kill and restart it */
	bool image;			/* its disk is a file that we made for it */
	bool one_shot;
	bool hugetlb;			/* huge pages are free here */
	uint64_t rtt_ns;		/* of the first GET_FEATURES */
};

/* It offers what does not exist on such a device. */
bool vhu_facts_contradict(const struct vhu_facts *f, enum vhu_device device);
/* Beyond doubt, or well enough where that is what is assumed (or nothing is). */
bool vhu_facts_look_like_a_disk(const struct vhu_facts *f, enum vhu_device assumed);
/* The only device that has such features and such a config space (as long as it was read); else ANY. */
enum vhu_device vhu_facts_device(const struct vhu_facts *f);
/* A disk that is written zone by zone, as its config space tells. */
bool vhu_facts_host_managed(const struct vhu_facts *f);

/* --- what descriptors of a capture stood for --------------------------------------------------- */

enum vhu_object_kind { VHU_OBJECT_FILE, VHU_OBJECT_EVENT };

struct vhu_object {
	enum vhu_object_kind kind;
	uint64_t size;			/* FILE: sparse, so that any size will do */
	bool hugetlb;			/* FILE: it was of huge pages; memory of another kind does as well */
};

/* --- the plan -------------------------------------------------------------------------------- */

struct vhu_plan {
	struct vhu_arena *arena;
	const char *id;			/* "blk/read-write", "core/ring/bad-index#num" */
	const char *title, *why, *file;
	const enum vhu_req *requirements;
	size_t n_requirements;
	const enum vhu_req *step_requirements;	/* what single steps name besides, each once */
	size_t n_step_requirements;
	enum vhu_device device;		/* whose I/O it does; the target's */
	enum vhu_state start;
	const char *profile;
	bool own_persona;		/* the case is about it, and it stands for a real front-end */
	uint64_t features, pfeatures;	/* to negotiate on the first connection: facts ∩ offer */
	unsigned queues;		/* rings that `running` starts */
	uint16_t queue_size;
	bool packed;
	bool writes;
	bool may_kill;			/* tagged so: run last */
	struct vhu_layout layout;
	const char *const *conns;	/* names; [0] is the first connection */
	size_t n_conns;
	const char *const *vars;	/* names of saved variables */
	size_t n_vars;
	const struct vhu_step *steps;
	size_t n_steps;
	bool recorded;			/* made of a capture */
	const char *captured;		/* a case made of one: from where; what it sends is not judged */
	const struct vhu_object *objects;
	size_t n_objects;
	uint64_t disk;			/* recorded: bytes of the disk, at its largest; 0: unknown */
	const char *skip;		/* why it can't run on this target, or NULL */
};

void vhu_plan_free(struct vhu_plan *p);

/* --- from case files ------------------------------------------------------------------------- */

/* Errors of case files, one a line: "FILE:LINE:COLUMN: JSON PATH: WHAT". */
struct vhu_diags {
	struct vhu_buf *text;
	size_t errors;
};

struct vhu_case_set;

struct vhu_case_info {
	const char *id;			/* with #ROW and %packed where they apply */
	const char *file;
	const char *title;
	const enum vhu_req *requirements;	/* the file's */
	size_t n_requirements;
	const enum vhu_req *cites;	/* those, then what steps of any of its rows name; each once */
	size_t n_cites;
	const char *const *tags;
	size_t n_tags;
	const enum vhu_device *devices;	/* needs.device; n 0: any */
	size_t n_devices;
	bool may_kill;
	bool packed;			/* it runs on packed rings … */
	bool twin;			/* … as its file also does on split ones: the id ends with %packed */
};

/*
 * Reads case files: each path is a file, a folder (recursive, in the order of names; lib/ holds
 * macros), or a case id below `root`. All errors of all files go to diags; files with errors are
 * left out. -ENOENT for a path that is none of these, -ENOMEM.
 */
int vhu_case_set_load(const char *root, const char *const *paths, size_t n, struct vhu_case_set **ret,
		      struct vhu_diags *diags, struct vhu_err *err);
void vhu_case_set_free(struct vhu_case_set *s);
size_t vhu_case_set_count(const struct vhu_case_set *s);	/* cases: files × rows × rings */
const struct vhu_case_info *vhu_case_set_info(const struct vhu_case_set *s, size_t i);

struct vhu_compile_opts {
	const struct vhu_facts *facts;	/* NULL: --check */
	const char *profile;		/* for cases that fix none; NULL: "plain" */
	bool allow_writes;
	enum vhu_backing backing;	/* AUTO: what the case says */
};

/*
 * Compiles one case. 0 and *ret (its `skip` says if it does not apply to this target), -EINVAL
 * with diags if the file is wrong. Frames of ours are judged on the way: an illegal one without
 * `breaks` and a `breaks` on a legal one are errors.
 */
int vhu_plan_from_case(const struct vhu_case_set *s, size_t i, const struct vhu_compile_opts *opts,
		       struct vhu_plan **ret, struct vhu_diags *diags, struct vhu_err *err);

/* --- from captures ----------------------------------------------------------------------------- */

struct vhu_record;
struct vhu_trace;
struct vhu_session_ref;

struct vhu_replay_opts {
	enum vhu_device device;
	uint32_t session;		/* this connection alone; 0: all with one socket: */
	const char *socket;		/* this one; NULL: the first session's */
	uint32_t until;			/* no record behind this one; 0: all */
	bool spawned;			/* we can kill the target and start it again */
	bool writes;			/* what changes a disk may be played */
	bool io;			/* requests will go through the rings: what they change may differ */
	const char *const *ignore;	/* "MESSAGE.field", or "MESSAGE": fields of replies that may differ */
	size_t n_ignore;
};

/*
 * Compiles a capture: what the front-end sent is sent again, in the order of the file, and what the
 * back-end sent is expected. What cannot be replayed is left out, with a line in `notes`. -EINVAL with text
 * if nothing of it can be, or for a field that no message has. The trace has to live as long as the plan.
 */
int vhu_plan_from_trace(const struct vhu_trace *t, const struct vhu_replay_opts *opts, struct vhu_plan **ret,
			struct vhu_buf *notes, struct vhu_err *err);
/*
 * Writes such a plan as a case file. `from` says where it comes from. What the front-end sent is there by
 * name, and what came back, less what may differ; steps that are repeated for each ring are loops.
 */
int vhu_plan_to_case(const struct vhu_plan *plan, const char *from, struct vhu_buf *out, struct vhu_err *err);
/*
 * The device that the sessions which these options choose are of, by what the capture says and by their
 * messages; VHU_DEV_ANY if nothing tells.
 */
enum vhu_device vhu_trace_guess_device(const struct vhu_trace *t, const struct vhu_replay_opts *opts);

/* The first session that they choose; 0: none. */
uint32_t vhu_trace_first(const struct vhu_trace *t, const struct vhu_replay_opts *opts);

/* The device of each session of a capture, record by record. Out of memory it knows less. */
struct vhu_device_guess;

/* `meta` is the capture's META text. NULL: out of memory. */
struct vhu_device_guess *vhu_device_guess_new(const char *meta);
void vhu_device_guess_free(struct vhu_device_guess *g);
void vhu_device_guess_note(struct vhu_device_guess *g, const struct vhu_record *r);
enum vhu_device vhu_device_guess_of(const struct vhu_device_guess *g, uint32_t connection);
/* What all records of a capture tell; and of one of its sessions, also what others over its socket told. */
struct vhu_device_guess *vhu_device_guess_over(const struct vhu_trace *t);
enum vhu_device vhu_device_guess_session(struct vhu_device_guess *g, const struct vhu_trace *t,
					 const struct vhu_session_ref *s);

/* The JSON Schema (draft 2020-12) of case files, generated from the same rows that parse them. malloc'ed. */
char *vhu_case_schema(void);
