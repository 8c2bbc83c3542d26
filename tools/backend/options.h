/*
 * What the command line says.
 */
#ifndef BACKEND_OPTIONS_H
#define BACKEND_OPTIONS_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "proto.h"

/* A refusal comes after all where requests of the back-end's own show that the work was begun. */
enum refusal { NOT_REFUSED, REFUSED_AT_ONCE, REFUSED_AFTER_ALL };

enum { REFUSALS_MAX = 64 }; /* more are taken */

/* Which of the requests of one kind that are acknowledged the captured back-end refused. */
struct refusals {
	unsigned n;
	struct {
		unsigned nth; /* from 0 */
		enum refusal how;
	} at[REFUSALS_MAX];
	bool always;
	unsigned asked; /* by now */
};

struct options {
	const char *socket;
	int fd;	      /* inherited socket; -1: none */
	bool managed; /* the socket was named as management programs do */
	bool client;
	bool one_shot; /* one front-end is served */
	const char *image; /* NULL: memory of `size` bytes */
	uint64_t size;
	unsigned queues;
	unsigned mem_slots;
	unsigned config_size; /* bytes of config space at most */
	uint32_t blk_size;
	uint32_t zoned; /* sectors of a zone; 0: no zones */
	bool flash;
	bool control_queue; /* of a network device: it is served */
	bool read_only, null, verbose;
	uint64_t latency_ns; /* how long each request takes */
	bool reorder;	     /* requests are executed in another order than they came */
	bool poll;	     /* rings are looked at all the time */
	bool has_features, has_pfeatures;
	uint64_t features, pfeatures; /* the offer, when the command line gives one */
	bool exact;		      /* it is offered as it stands, also what is not served */
	uint64_t queue_num;	      /* what GET_QUEUE_NUM tells; 0: how many there are */
	enum { LOG_REPLY_ECHO, LOG_REPLY_U64, LOG_REPLY_EMPTY } log_reply;
	bool base_low;	 /* GET_VRING_BASE tells bits 0 to 15 only */
	/* For the features of the graphics channel: never, over the first socket of a session, over each … */
	enum { GPU_ASKS_NEVER, GPU_ASKS_ONCE, GPU_ASKS_ALWAYS } gpu_asks;
	uint64_t gpu_features; /* … and agrees to these */
	uint64_t unasked; /* requests of our own that are not made, a bit each */
	struct refusals refusals[64]; /* by request of the front-end */
	bool ungated;	 /* messages are served without their protocol feature */
	bool unoffered;	 /* features are taken that were not offered */
	bool mtu_any;	 /* whatever MTU the front-end names is taken */
	bool ack_always; /* need_reply is answered without REPLY_ACK */
	bool area_first; /* with INFLIGHT_SHMFD no ring starts without its buffer */
	uint8_t config[C_CONFIG_SIZE_MAX];
	unsigned config_len; /* bytes of config that replace the device's own; 0: none */
};

extern struct options options;

/* Whether we make this request of our own. */
static inline bool options_asks(uint32_t request)
{
	return request >= 64 || !(options.unasked >> request & 1);
}

/* What the captured back-end did with it now. To be asked once for each that is acknowledged. */
static inline enum refusal options_refuse(uint32_t request)
{
	struct refusals *r;
	unsigned nth;

	if (request >= 64)
		return NOT_REFUSED;
	r = &options.refusals[request];
	nth = r->asked++;
	if (r->always)
		return REFUSED_AT_ONCE;
	for (unsigned i = 0; i < r->n; i++)
		if (r->at[i].nth == nth)
			return r->at[i].how;
	return NOT_REFUSED;
}

struct device;

/* Fills `options` and finds the device; ends the program for --help and the like, and for mistakes. */
const struct device *options_parse(int argc, char **argv);

/* A line on stderr: an error, or with --verbose what was refused and why. */
__attribute__((format(printf, 1, 2))) void complain(const char *format, ...);
__attribute__((format(printf, 1, 2))) void remark(const char *format, ...);

#endif
