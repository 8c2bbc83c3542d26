/*
 * Private to the plan room: how a case file is read.
 *
 * The shape of a file (keys, types, words) is data (keys.c); shape.c checks a file against it and schema.c
 * prints it. Then each case is compiled: expand.c walks the steps with its loops unrolled, a verb_*.c
 * function fills each step, judge.c walks the plan and looks at every frame. Names of variables are
 * resolved where they are used, so that a bit name is looked up in the namespace of its field.
 */
#pragma once

#include <jansson.h>

#include "base/arena.h"
#include "base/buf.h"
#include "plan/plan.h"

enum {
	LIMIT_FILE_BYTES = 1 << 20,
	LIMIT_DEPTH = 8, /* of blocks */
	LIMIT_STEPS = 65536,
	LIMIT_SEEN = 4 * LIMIT_STEPS, /* steps and blocks, those of branches that are not taken included */
	LIMIT_LOOKUPS = 16,	      /* variables that stand for variables */
	LIMIT_TERMS = 64,	      /* of an expression */
	LIMIT_BYTES = 65536,	      /* of one hex string */
	LIMIT_VARS = 1024,
	LIMIT_CONNS = 256,
	LIMIT_SEGMENTS = 1024,
	LIMIT_STATE_BYTES = 1 << 24,
	LIMIT_STATE_PIECES = 4096,
	LIMIT_FOLDERS = 16,  /* one in the other */
	LIMIT_ERRORS = 1000, /* lines; the rest is only counted */
	UNION_QUEUES = 4,    /* what --check compiles against */
	UNION_MEM_SLOTS = 32,
	UNION_CAPACITY = 131072,
};

#define LIMIT_INTEGER ((json_int_t)1 << 53) /* above: write it as a string */

/* --- places in files, and errors -------------------------------------------------------------- */

struct source {
	const char *file; /* as the user named it */
	char *text;
	size_t len;
	json_t *root;
	bool broken; /* its shape is wrong: the steps that are are passed over */
};

/* A place in a file: a chain up to a root that names the file. Lives on the stack. */
struct path {
	const struct path *up; /* NULL: a root */
	const char *key;       /* NULL: an element */
	size_t index;
	const char *loop;	     /* "[q=1]" behind it in `where`, or NULL */
	const struct source *source; /* of a root */
	const struct path *via;	     /* of a root: where its macro is used, or NULL */
};

#define PATH_KEY(parent, name) (&(struct path){.up = (parent), .key = (name)})
#define PATH_INDEX(parent, i)  (&(struct path){.up = (parent), .index = (i)})

void vhu_path_pointer(const struct path *p, struct vhu_buf *out); /* RFC 6901 */
/* With loops and macros, for people. */
void vhu_path_where(const struct path *p, struct vhu_buf *out);

const struct source *vhu_path_source(const struct path *p);

struct report {
	struct vhu_diags *diags;
	unsigned muted;
	bool shallow;  /* shapes: a step inside a step is not looked at */
	size_t errors; /* reported through this one, repeated ones included */
};

void vhu_diag(struct report *r, const struct path *at, const char *format, ...) VHU_PRINTF(3, 4);
/* The same at the key instead of the value. */
void vhu_diag_key(struct report *r, const struct path *at, const char *format, ...) VHU_PRINTF(3, 4);
/* At a place that is no longer on the stack. */
void vhu_diag_at(struct report *r, const struct source *source, const char *pointer, const char *format, ...)
	VHU_PRINTF(4, 5);

/* At a line and column that are known. */
void vhu_diag_line(struct report *r, const struct source *source, unsigned line, unsigned column,
		   const char *format, ...) VHU_PRINTF(5, 6);

enum { HINT_CAP = 160 };
/* "; did you mean 'x'?" or "" in out. */
const char *vhu_hint(char out[HINT_CAP], const char *name, const char *(*next)(void *ctx, size_t i),
		     void *ctx);
/* Candidates from an array of words that ends with NULL: ctx is the array. */
const char *vhu_word_at(void *ctx, size_t i);
const char *vhu_hint_word(char out[HINT_CAP], const char *name, const char *const *words);
/* Index of a word, or -1. */
int vhu_word_index(const char *const *words, const char *text);

/* --- shapes ----------------------------------------------------------------------------------- */

enum shape_kind {
	SHAPE_ANYTHING,
	SHAPE_TEXT, /* min … max characters */
	SHAPE_FORM, /* text of a form (struct form) */
	SHAPE_BOOL,
	SHAPE_TRUE,
	SHAPE_INTEGER, /* min … max */
	SHAPE_EXPR,    /* an expression as text */
	SHAPE_BYTES,
	SHAPE_WORD,   /* one of `words` */
	SHAPE_LIST,   /* of `of`, min … max elements (max 0: any number) */
	SHAPE_OBJECT, /* `keys`, and no others; at least min */
	SHAPE_MAP,    /* any key of a form to `of`, but for those of `keys`; at least min */
	SHAPE_EITHER, /* the first of `any` that takes this JSON type */
	SHAPE_STEP,   /* one of the vhu_verbs */
};

struct form {
	const char *pattern;	      /* for the schema */
	const char *words;	      /* for people: "lower-case letters, digits and _" */
	bool (*ok)(const char *text); /* NULL: looked at where it is used */
};

struct shape {
	enum shape_kind kind;
	const char *def; /* name in the schema's $defs, or NULL: printed in place */
	const struct form *form;
	const char *const *words; /* WORD; FORM: for hints, or NULL */
	const struct shape *of;
	const struct key *keys;
	const struct shape *const *any;
	long long min, max;
	bool unique;
};

struct key {
	const char *name;
	const struct shape *shape;
	bool required;
};

extern const struct shape vhu_shape_case, vhu_shape_library, vhu_shape_step, vhu_shape_value, vhu_shape_count,
	vhu_shape_bytes, vhu_shape_match, vhu_shape_name;
extern const char *const vhu_words_state[];
extern const char *const vhu_words_phase[];
extern const char *const vhu_words_outcome[];
extern const char *const vhu_words_backing[];
extern const char *const vhu_words_rings[];
extern const char *const vhu_words_status[];
extern const char *const vhu_words_pattern[];
extern const char *const vhu_words_keep[];
extern const char *const vhu_words_base[];
extern const char *const vhu_words_target[];
extern const char *const vhu_words_program[];
extern const char *const vhu_words_signal[];
extern const char *const vhu_words_ring[];
extern const char *const vhu_words_format[];
extern const char *const vhu_words_io[];
extern const char *const vhu_words_frames[];
extern const char *const vhu_words_pairs[];
extern const char *const vhu_words_memory[];
extern const char *const vhu_words_log[];
extern const char *const vhu_words_inflight[];
extern const char *const vhu_words_iotlb[];
extern const char *const vhu_words_transfer[];
extern const char *const vhu_words_content[];
extern const char *const vhu_words_cmp[];
extern const char *const vhu_words_fd[];
extern const char *const vhu_words_channel[];
extern const char *const vhu_words_close[];
extern const char *const vhu_words_answer[];

/* True if the value fits; else errors were reported. */
bool vhu_shape_check(struct report *r, const struct shape *s, json_t *json, const struct path *at);
/* Whether a step by itself fits, blocks inside it left out. Reports nothing. */
bool vhu_shape_step_ok(json_t *step);
/* "a list", "a real number" … */
const char *vhu_json_type(const json_t *json);

bool vhu_form_name_ok(const char *text);  /* lower case: variables, macros, tags */
bool vhu_form_upper_ok(const char *text); /* upper case: names of the tables */
bool vhu_form_expr_ok(const char *text);  /* TERM or TERM OP TERM … */

/* --- vhu_verbs ------------------------------------------------------------------------------------ */

struct compile;
struct node;

struct verb {
	const char *name; /* the key that makes a step this one */
	const struct shape *shape;
	enum vhu_verb verb; /* VHU_VERB_MAX: a block */
	void (*step)(struct compile *c, const struct node *n, struct vhu_step *step);
	void (*block)(struct compile *c, const struct node *n);
};

extern const struct verb vhu_verbs[];
extern const size_t vhu_n_verbs;
/* The verb of a step; NULL with *ret_count = how many keys were vhu_verbs (0 or more than 1). */
const struct verb *vhu_verb_of(json_t *step, size_t *ret_count);
const char *vhu_verb_name_at(void *ctx, size_t i);

/* --- what compiles ---------------------------------------------------------------------------- */

/* A name that stands for a value: a variable of the file, a row's key, a loop's, a macro's parameter. */
struct binding {
	const struct binding *up;
	const char *name;
	uint64_t u; /* where json is NULL */
	json_t *json;
	const struct path *path;     /* of json */
	const struct binding *scope; /* where the names in json are looked up */
};

/* A JSON value, where it stands, and what its names mean. */
struct node {
	json_t *json; /* NULL: not given */
	const struct path *path;
	const struct binding *scope;
};

struct casefile {
	struct source source;
	const char *id; /* without row */
	const char *title, *why;
	enum vhu_req *requirements;
	size_t n_requirements;
	enum vhu_req *cites; /* and what steps name */
	size_t n_cites;
	const char **tags;
	size_t n_tags;
	enum vhu_device *devices;
	size_t n_devices;
	json_t *rows;	     /* NULL: none */
	char *real, *folder; /* its real path, and that of where it lies */
	enum { FILE_RING_ANY, FILE_RING_SPLIT, FILE_RING_PACKED } ring;
	bool library;
	bool bad; /* has errors: its cases are left out */
};

struct entry {
	const struct casefile *file;
	json_t *row; /* NULL: the file has none */
	size_t row_index;
	struct vhu_case_info info;
};

struct vhu_case_set {
	struct vhu_arena *arena;
	char *root;
	struct casefile **files; /* cases and libraries, each allocated */
	size_t n_files, cap_files;
	struct entry *entries;
	size_t n_entries, cap_entries;
};

/* What steps inherit from the blocks around them. */
struct defaults {
	const char *note;
	enum vhu_req requirement;
	uint32_t within_ms;
};

/* Where a step of the plan came from. */
struct origin {
	const struct source *source;
	const char *pointer;
};

/* Places of a file that were complained about: a loop's rounds all come from one. */
enum { TOLD_MAX = 64 };
struct told {
	const struct origin *place[TOLD_MAX];
	size_t n;
};
/* True the first time. */
bool vhu_told_once(struct told *t, const struct origin *o);

struct compile {
	struct report *report;
	struct vhu_arena *arena;
	const struct vhu_case_set *set;
	const struct casefile *file;
	const struct path *top;		  /* the case's root */
	const struct binding *root_scope; /* what the case's own macros see */
	const struct vhu_compile_opts *opts;
	struct vhu_facts facts; /* the target's, or the union */
	struct vhu_plan *plan;
	uint64_t when_features; /* what `when` is judged on */
	bool twin;		/* the packed one of a case that is written for any ring */
	bool device_is_blk;	/* `io` is possible here */
	bool device_is_net;	/* `frames` are */
	bool needs_spawn;

	struct vhu_step *steps; /* malloc'ed while it grows */
	struct origin *origins;
	size_t n_steps, cap_steps;
	const char **vars;
	bool *var_visible;
	size_t n_vars;
	const char **conns;
	size_t n_conns;
	const char **tags;
	size_t n_tags, cap_tags;
	unsigned n_rings;     /* rings that the layout has to have */
	json_t **used_macros; /* of the case's own */
	size_t n_used, cap_used;

	bool cited[VHU_REQ_MAX]; /* by a step */
	struct defaults defaults;
	const struct macro *active; /* innermost macro that is being expanded */
	unsigned depth, lookups;
	size_t n_seen;
	unsigned silent; /* inside a branch that is not taken: parsed, not emitted */
	bool too_many;
	bool oom;
};

/* Zeroed memory of the plan; NULL sets c->oom. */
void *vhu_plan_take(struct compile *c, size_t count, size_t size);
const char *vhu_plan_text(struct compile *c, const char *text);

/* The member of an object; json NULL if there is none. `path` is filled in for the caller. */
struct node vhu_node_get(const struct node *n, const char *key, struct path *path);
#define NODE_GET(n, name) vhu_node_get((n), (name), &(struct path){0})
struct node vhu_node_at(const struct node *n, size_t i, struct path *path);
#define NODE_AT(n, i) vhu_node_at((n), (i), &(struct path){0})

/* Why this case can't run on this target; the first reason stays. */
void vhu_plan_skip(struct compile *c, const char *format, ...) VHU_PRINTF(2, 3);

/* What speaks of a split ring: the case has no packed twin. Says nothing of a case for packed rings only. */
void vhu_plan_split_only(struct compile *c, const char *what);

/* expr.c: values. Errors are reported; false then. */
bool vhu_get_value(struct compile *c, const struct node *n, enum vhu_namespace ns, struct vhu_value *ret);
/* A value that has to be known now, min … max. */
bool vhu_get_count(struct compile *c, const struct node *n, const char *what, uint64_t min, uint64_t max,
		   uint64_t *ret);
/* The text of a string, or of the variable that it names; NULL after an error. */
const char *vhu_get_text(struct compile *c, const struct node *n, const char *what);
bool vhu_get_bytes(struct compile *c, const struct node *n, const uint8_t **ret, size_t *ret_len);
bool vhu_get_bool(const struct node *n, const char *key, bool otherwise);
/* The word's index; `otherwise` if the key is absent. */
int vhu_get_word(const struct node *n, const char *key, const char *const *words, int otherwise);
/* A list of feature names to a mask. */
bool vhu_get_names(struct compile *c, const struct node *n, enum vhu_namespace ns, uint64_t *ret);
const struct vhu_feature_row *vhu_get_feature(struct compile *c, const struct node *n, enum vhu_namespace ns);

/* scope.c */
struct lookup {
	enum { LOOKUP_NONE, LOOKUP_U64, LOOKUP_JSON, LOOKUP_SAVED } kind;
	uint64_t u;
	struct node node; /* JSON */
	unsigned var;	  /* SAVED */
};
/* What "$name" or "$name.field" (without $) means; reports what it can't find. */
bool vhu_binding_lookup(struct compile *c, const struct node *at, const char *name, struct lookup *ret);
bool vhu_binding_name_ok(struct compile *c, const struct path *at, const char *name);
/* Index of a variable that a step saves; it is visible from now on. */
bool vhu_var_save(struct compile *c, const struct node *at, const char *name, unsigned *ret);

/* match.c */
enum match_kind { MATCH_NUMBER, MATCH_BYTES };
bool vhu_get_match(struct compile *c, const struct node *n, enum match_kind kind, enum vhu_namespace ns,
		   struct vhu_matcher *ret);

/* needs.c */
/* Whether they are met; if not, why in `why`. `negotiated`: judged on what the case will have, not on the
 * offer. */
bool vhu_needs_met(struct compile *c, const struct node *needs, bool negotiated, char *why, size_t cap);
void vhu_plan_negotiate(struct compile *c, const struct node *top);
/* A negotiation of its own: `named` of what is offered, and bit 30. */
uint64_t vhu_plan_negotiate_named(struct compile *c, uint64_t named);

/* expand.c */
void vhu_steps_expand(struct compile *c, const struct node *steps);
void vhu_block_for_each_queue(struct compile *c, const struct node *n);
void vhu_block_for_each(struct compile *c, const struct node *n);
void vhu_block_repeat(struct compile *c, const struct node *n);
void vhu_block_when(struct compile *c, const struct node *n);
void vhu_block_use(struct compile *c, const struct node *n);
/* macro.c */
struct macro {
	const struct casefile *file;
	const char *name;
	json_t *json;
	const struct macro *up; /* in whose expansion this one is used */
};
bool vhu_macro_find(const struct compile *c, const char *name, struct macro *ret);
const char *vhu_macro_name_at(void *ctx, size_t i);
/* Whether the macros of a library may be used by a case. */
bool vhu_library_serves(const struct vhu_case_set *set, const struct casefile *library,
			const struct casefile *f);

/* head.c */
bool vhu_head_parse(struct vhu_case_set *set, struct casefile *f, struct report *r);
bool vhu_requirement_get(struct report *r, json_t *json, const struct path *at, enum vhu_req *ret);
/* The same where the case judges by it: it has to bind the back-end's side, and to show. */
bool vhu_requirement_cite(struct report *r, json_t *json, const struct path *at, enum vhu_req *ret);

/* verb_io.c */
/* Fields of a layout of the device, for what it reads. */
void vhu_get_layout_fields(struct compile *c, const struct node *n, struct vhu_chain_elem *e);
/* Fields of e->layout and what they have to be. */
void vhu_get_layout_matches(struct compile *c, const struct node *n, struct vhu_chain_elem *e);
void vhu_need_indirect(struct compile *c);

/* verb_*.c */
void vhu_verb_send(struct compile *c, const struct node *n, struct vhu_step *step);
void vhu_verb_raw(struct compile *c, const struct node *n, struct vhu_step *step);
void vhu_verb_recv(struct compile *c, const struct node *n, struct vhu_step *step);
void vhu_verb_fence(struct compile *c, const struct node *n, struct vhu_step *step);
void vhu_verb_connect(struct compile *c, const struct node *n, struct vhu_step *step);
void vhu_verb_close(struct compile *c, const struct node *n, struct vhu_step *step);
void vhu_verb_reconnect(struct compile *c, const struct node *n, struct vhu_step *step);
void vhu_verb_target(struct compile *c, const struct node *n, struct vhu_step *step);
void vhu_verb_program(struct compile *c, const struct node *n, struct vhu_step *step);
void vhu_verb_ring(struct compile *c, const struct node *n, struct vhu_step *step);
void vhu_verb_io(struct compile *c, const struct node *n, struct vhu_step *step);
void vhu_verb_chain(struct compile *c, const struct node *n, struct vhu_step *step);
void vhu_verb_frames(struct compile *c, const struct node *n, struct vhu_step *step);
void vhu_verb_await(struct compile *c, const struct node *n, struct vhu_step *step);
void vhu_verb_memory(struct compile *c, const struct node *n, struct vhu_step *step);
void vhu_verb_log(struct compile *c, const struct node *n, struct vhu_step *step);
void vhu_verb_inflight(struct compile *c, const struct node *n, struct vhu_step *step);
void vhu_verb_iotlb(struct compile *c, const struct node *n, struct vhu_step *step);
void vhu_verb_state(struct compile *c, const struct node *n, struct vhu_step *step);
void vhu_verb_phase(struct compile *c, const struct node *n, struct vhu_step *step);
void vhu_verb_assert(struct compile *c, const struct node *n, struct vhu_step *step);
void vhu_verb_note(struct compile *c, const struct node *n, struct vhu_step *step);

/* parts.c: what several vhu_verbs have */
void vhu_get_common(struct compile *c, const struct node *n, struct vhu_step *step);
bool vhu_get_message(struct compile *c, const struct node *n, enum vhu_channel channel,
		     const struct vhu_msg_row **ret, uint32_t *ret_id);
/* The two layouts that a message may have (often the same), and whose they are: "SET_VRING_NUM". */
struct layouts {
	enum vhu_payload payload[2];
	const char *what;
};
/* What an answer of ours to a back-end's request is laid out as: a u64 where it has no reply of its own. */
struct layouts vhu_answer_layouts(const struct vhu_msg_row *row, const char *what);
/* fields.c; region fields of `with` are left to get_regions, whose keys are those of a region. */
bool vhu_get_assigns(struct compile *c, const struct node *n, const struct layouts *l,
		     const struct vhu_assign **ret, size_t *ret_n);
bool vhu_get_regions(struct compile *c, const struct node *n, const char *const keys[],
		     const struct vhu_region_assign **ret, size_t *ret_n);
bool vhu_get_field_matches(struct compile *c, const struct node *n, const struct layouts *l,
			   const struct vhu_field_match **ret, size_t *ret_n);
bool vhu_get_saves(struct compile *c, const struct node *n, const struct layouts *l, unsigned fds,
		   const struct vhu_save **ret, size_t *ret_n);
bool vhu_get_fds(struct compile *c, const struct node *n, const struct vhu_fd_spec **ret, size_t *ret_n,
		 bool *ret_given);
/* Notes that a ring is used; one that the target does not have is an error, or a reason to skip. */
bool vhu_queue_use(struct compile *c, const struct path *at, uint64_t queue);
bool vhu_get_queue(struct compile *c, const struct node *n, unsigned *ret);
bool vhu_get_pattern(struct compile *c, const struct node *n, unsigned *ret, uint64_t *ret_arg);
uint32_t vhu_get_statuses(const struct node *n, uint32_t otherwise);
const char *vhu_get_tag(struct compile *c, const struct node *n);
bool vhu_tag_check(struct compile *c, const struct path *at, const char *tag);
int vhu_case_conn_find(const struct compile *c, const char *name);

bool vhu_profile_check(struct compile *c, const struct node *n);

/* judge.c */
void vhu_plan_judge(struct compile *c);
/* script.c */
const char *vhu_profile_name_at(void *ctx, size_t i);
/* reach.c */
void vhu_plan_reach(struct compile *c);
/* compile.c: one row of a file; opts->facts NULL: the union. */
int vhu_case_compile(const struct vhu_case_set *set, const struct entry *e,
		     const struct vhu_compile_opts *opts, struct report *r, struct vhu_plan **ret,
		     struct vhu_err *err);
