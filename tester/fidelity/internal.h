#pragma once

#include "fidelity/fidelity.h"
#include "plan/persona.h"

enum {
	RINGS_MAX = 256,
	REGIONS_MAX = 64,
	SPOKEN_MAX = 16 * RINGS_MAX, /* messages of one phase */
	SYMBOLS_MAX = 1 << 18,
	LABELS_TRACKED = 1 << 16,
	PAYLOAD_MAX = 320,
	FDS_MAX = 8,
	PENDING_MAX = 64,
	MISSES_MAX = 256,
	ID_MAX = 64,
	ANNOUNCES = 5, /* of a guest that arrived by migration */
};

/* --- what the front-end says ---------------------------------------------------------------------------- */

/*
 * A descriptor that it sends: the same symbol stands for the same object. 0: none that could be known
 * again.
 */
struct spoken_fd {
	enum vhu_fd_kind kind; /* UNKNOWN: any file that memory may come from */
	uint32_t symbol;
	uint32_t label;	  /* 0, or the recorded object that it has to be */
	long least, most; /* what an eventfd may hold on its way */
	const char *name; /* of a memfd, or NULL */
	uint32_t shared;  /* with symbol 0: what it is shared as, SHARED_… */
};
/* Objects that several messages may name; in bindings above all symbols. */
enum { SHARED_MEMORY = 1 << 30, SHARED_AREA };

struct spoken {
	enum vhu_msg msg;
	unsigned queue;
	bool need_reply;
	uint8_t payload[PAYLOAD_MAX]; /* as it has to be, where masked[] is 0 */
	uint8_t masked[PAYLOAD_MAX];
	size_t len;
	bool any_len; /* the guest chose how much */
	struct spoken_fd fds[FDS_MAX];
	size_t n_fds;
};

/* --- the recording, connection by connection ----------------------------------------------------------- */

struct segment {
	const struct vhu_tape *tape;
	unsigned conn;
	size_t first, end; /* items */
	size_t heard;	   /* marks before this one were heard already */
	size_t *said;	   /* items: the front-end's messages on the main channel, in order */
	size_t n_said;
	bool by_be;  /* the back-end hung up */
	bool open_end; /* the recorder stopped before it ended */
	bool again;    /* the same front-end opens another one */
	bool alone;    /* nobody did anything while it lasted */
	bool killed; /* because the test killed it, between two phases unless … */
	bool at_once;	 /* … right behind a message, */
	bool unanswered; /* … before it answered the last one */
};

/* Whether the front-end may have been cut off in the middle of a phase. */
static inline bool vhu_may_be_cut(const struct segment *s)
{
	return s->open_end || s->unanswered || (s->by_be && (!s->killed || s->at_once));
}

const struct vhu_tape_item *vhu_said_at(const struct segment *s, size_t i);

/*
 * --- the guest and its user ------------------------------------------------------------------------------
 */

/* label 0: nothing is known of it but that it has to be there. */
struct region {
	uint64_t gpa, size, uaddr, offset, file;
	uint32_t label;
};

/* What the guest, or who runs it, chose for a start; taken from the messages ahead. */
struct choice {
	bool any; /* there is a start ahead */
	uint64_t features;
	bool ready[RINGS_MAX];
	uint32_t num[RINGS_MAX], base[RINGS_MAX];
	bool base_seen[RINGS_MAX];
	uint64_t desc[RINGS_MAX], used[RINGS_MAX]; /* as SET_VRING_ADDR gives them; 0: not told */
	struct region regions[REGIONS_MAX];
	size_t n_regions;
	struct region gone[REGIONS_MAX];
	size_t n_gone;
	bool table; /* the regions come in one message */
};

/*
 * --- the front-end
 * ----------------------------------------------------------------------------------------
 */

struct ring {
	bool ready; /* the guest has set it up */
	bool base_known;
	uint32_t num, base;
	uint64_t used; /* as it was last told; 0: never */
	uint32_t setup_call, call; /* symbols */
	unsigned stops;		   /* on this connection */
};

/* All that a front-end knows of its device. Copied to try things out. */
struct front {
	const struct segment *seg;
	struct vhu_facts_of_front facts;
	bool ready[RINGS_MAX];
	struct ring ring[RINGS_MAX];
	struct region regions[REGIONS_MAX]; /* the guest's memory, as far as it was told */
	size_t n_regions;
	struct region fresh[REGIONS_MAX]; /* of the phase at hand */
	struct region gone;		  /* the last that was unplugged */
	size_t n_fresh;
	size_t n_gone; /* of the phase at hand: regions that the guest no longer has */
	unsigned queues;
	bool set_up, started, lost_started, deaf, marked;
	bool mem_known;		  /* the back-end has been told of regions since the set-up */
	bool keeps;		  /* the last stop was no reset: rings go on where they were */
	bool unsure;		  /* no mark says what stopped it last */
	bool unreset;		  /* a reset would have been heard since the last stop, and was not */
	bool incoming;		  /* the destination of a migration */
	unsigned announced;	  /* so many times, there */
	bool paused;		  /* the last stop was its user's */
	bool log_unsure;	  /* a migration ends: whether logging is on the next start tells */
	bool drops;		  /* its link was down since the last start: what the guest sent is gone */
	unsigned pending;	  /* memory modules that came while the device was not started, */
	unsigned leaving;	  /* … and that may have gone */
	bool denied;		  /* the back-end refused the last message */
	bool starting;		  /* in a start, whose refusals matter */
	bool refused;		  /* by the back-end: what a start needs, or what a set-up needs */
	bool running[RINGS_MAX];  /* in a start: the rings that have been started */
	bool mapped;		  /* … and the back-end took the memory of this part */
	bool broken;		  /* a start failed, which ends the connection */
	bool gave_up;		  /* in its set-up: it hangs up */
	bool unserved;		  /* … so the front-end moved the rings on by itself */
	unsigned parts_told;	  /* parts of the device that know of all regions but fresh ones */
	bool booted; /* an operating system runs */
	bool plugged;		  /* the region at hand is of a module of its own */
	uint32_t symbols;
	uint32_t log_symbol; /* of this phase */
	uint32_t area_label;
	uint64_t area_size, area_offset;
	uint16_t cursor[ID_MAX];     /* replies taken, by request */
	uint64_t misses[MISSES_MAX]; /* pages to translate, oldest first */
	size_t n_misses;
	uint64_t translated; /* the page that is due */
	size_t at;	     /* where what happens now begins, of what was said */
	enum { TRANSLATING_NOTHING, TRANSLATING_PAGE, TRANSLATING_GUEST } translating;
	unsigned sessions; /* that the guest has open */
	uint8_t write_cache;
	bool write_cache_known;
};

/* What a phase says, put together by walking the persona with the front-end's facts. */
struct speech {
	struct spoken *said; /* SPOKEN_MAX */
	size_t n;
};

/*
 * The n-th reply to `id` on this connection (for GET_VRING_BASE: of those for that ring); NULL if there is
 * none.
 */
const struct vhu_tape_item *vhu_reply_at(const struct segment *s, uint32_t id, unsigned n);
const struct vhu_tape_item *vhu_reply_of_ring(const struct segment *s, unsigned queue, unsigned n);

/* Makes one message of an item; takes the replies that come with it into the front-end. 0 or -errno. */
int vhu_speak(struct front *f, const struct vhu_script_item *item, struct spoken *ret);
/* Walks one phase (or, from CONNECTED or OWNED, the states up to `to`). */
int vhu_front_walk(struct front *f, enum vhu_phase from, enum vhu_phase to, struct speech *out,
		   struct vhu_err *err);
/*
 * A start, up to its end or to a message that the back-end refused: then that part fails, and the parts that
 * were started are stopped again, the last one first.
 */
int vhu_front_start(struct front *f, struct speech *out, struct vhu_err *err);
/* The states of the device: a new connection, a start with what the guest chose, a stop. */
void vhu_front_connect(struct front *f, const struct segment *s);
void vhu_front_take_features(struct front *f, const struct choice *c);
void vhu_front_prepare_start(struct front *f, const struct choice *c);
void vhu_front_stopped(struct front *f);
void vhu_front_plug(struct front *f, const struct choice *c);
/* The update that answers the oldest question, as far as any from `at` on does. */
void vhu_front_translate(struct front *f, size_t at);
void vhu_front_unplug(struct front *f, const struct region *gone);
/* One region goes: the first that the table ahead no longer has. */
void vhu_front_shrink(struct front *f, const struct choice *c);
/* Reads what the guest chose from the messages from `at` on. */
void vhu_choice_read(const struct front *f, size_t at, struct choice *ret);

/*
 * --- comparing
 * ---------------------------------------------------------------------------------------------
 */

/* Which recorded object is which of ours. */
struct bindings {
	uint32_t *label_of;  /* by symbol */
	uint32_t *symbol_of; /* by label; or SHARED_… */
};

enum match { MATCH_SAME, MATCH_DIFFERS, MATCH_OTHER };
/* `why` (cap bytes): what differs. */
enum match vhu_match_spoken(const struct bindings *b, const struct spoken *s,
			    const struct vhu_tape_item *item, char *why, size_t cap);
void vhu_bind_fds(struct bindings *b, const struct spoken *s, const struct vhu_tape_item *item);

struct alignment {
	size_t cost; /* differences */
	size_t matches;
	size_t consumed; /* recorded messages that belong to it */
};
/*
 * The best way to lay a speech over the recording from `at` on; its end there is free. `step`, if not NULL,
 * is told each message: expected (or NULL: the recording has one too many) and recorded (or NULL: it lacks
 * one).
 */
typedef void align_step(void *ctx, const struct spoken *expected, const struct vhu_tape_item *recorded);
int vhu_align(const struct bindings *b, const struct speech *s, const struct segment *seg, size_t at,
	      struct alignment *ret, align_step *step, void *ctx);

/*
 * --- marks
 * ---------------------------------------------------------------------------------------------------
 */

enum mark {
	MARK_NONE,
	MARK_UNKNOWN, /* something that the guest or its user did */
	MARK_START,
	MARK_INCOMING,
	MARK_BOOTED,
	MARK_PROBE_PCI,
	MARK_REMOVE_PCI,
	MARK_DRIVER,
	MARK_GUEST_RESET,
	MARK_GUEST_OFF,
	MARK_REBOOT,
	MARK_MACHINE_RESET,
	MARK_PAUSE,
	MARK_LINK_OFF,
	MARK_LINK_ON,
	MARK_RESUME,
	MARK_MIGRATE,
	MARK_MIGRATE_POSTCOPY,
	MARK_MIGRATE_CANCEL,
	MARK_MIGRATED,
	MARK_PAIRS,
	MARK_POSTCOPY,
	MARK_PLUG,
	MARK_UNPLUG,
	MARK_WRITE_CONFIG,
	MARK_ADD_DEVICE,
	MARK_KILLED,
	MARK_QUIT,
};
/* What a mark means for a device. */
enum mark vhu_mark_of(const char *text, enum vhu_device device);
/* How many pairs a MARK_PAIRS names. */
unsigned vhu_mark_pairs(const char *text);
