/* Lines of strace as values. What cannot be understood is passed over; nothing in them is trusted. */
#pragma once

#include "base/arena.h"
#include "base/err.h"

enum strace_kind { STRACE_WORD, STRACE_STRING, STRACE_LIST, STRACE_STRUCT };

/* Text is terminated by a NUL that `len` does not count; strings may have others inside. */
struct strace_value {
	enum strace_kind kind;
	const char *name; /* of a structure's member; NULL: it has none */
	const char *text; /* of a word: as it stands there; of a string: its bytes */
	size_t len;
	bool cut;	  /* "..." stands behind it, or for more of its elements */
	const char *note; /* what strace says of a descriptor in <>; NULL: nothing */
	struct strace_value *first, *next;
};

struct strace_call {
	const char *name;
	struct strace_value *args; /* a list of them */
	int64_t result;		   /* -1: an error */
	const char *result_note;
	int error; /* errno of it, 0: none or unknown */
};

enum { STRACE_TIDS_MAX = 4096, STRACE_LINE_MAX = 16 << 20 };

/* One call of a log, or the end of a process. */
struct strace_line {
	uint32_t tid; /* 0: the line does not say */
	bool timed;   /* it says a time; otherwise the line's number stands for it, a microsecond each */
	uint64_t begun_ns, t_ns; /* when the call began, and when it returned */
	bool ended;		 /* the process is gone: no call, but a wait status */
	bool broken;		 /* a call, `call.name`, that is not whole or cannot be understood */
	uint32_t maker; /* the only thread that is making another one meanwhile, or a process; 0: none, or
			   several */
	bool shares;	/* and that one has the same descriptors */
	int status;
	struct strace_call call;
};

struct strace_reader;

/* -ENOMEM. */
int vhu_strace_new(struct strace_reader **ret, struct vhu_err *err);
void vhu_strace_free(struct strace_reader *r);
/*
 * A line of the log, without its end. 1: *ret is a whole call (its parts live until the next line),
 * 0: nothing yet, or nothing of interest (`broken` may be set); -ENOMEM.
 */
int vhu_strace_line(struct strace_reader *r, const char *line, size_t len, struct strace_line *ret,
		    struct vhu_err *err);

/* An argument by its place, NULL if there are fewer. */
const struct strace_value *vhu_strace_arg(const struct strace_call *c, unsigned i);
/* A member of a structure by name; also as older versions write it, "name(count)". */
const struct strace_value *vhu_strace_member(const struct strace_value *v, const char *name);
/* A whole number; false if it is none. */
bool vhu_strace_number(const struct strace_value *v, int64_t *ret);
/* Whether a word has this among its flags, or is a number with that bit. */
bool vhu_strace_has(const struct strace_value *v, const char *flag, int64_t bit);
/* Whether a word is this name, or that number. */
bool vhu_strace_is(const struct strace_value *v, const char *name, int64_t number);
