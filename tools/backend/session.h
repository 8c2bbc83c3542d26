/*
 * One connection: what was negotiated and set, and how messages change it.
 */
#ifndef BACKEND_SESSION_H
#define BACKEND_SESSION_H

#include "device.h"
#include "inflight.h"
#include "iotlb.h"
#include "memory.h"
#include "object.h"
#include "postcopy.h"
#include "ring.h"
#include "shm.h"
#include "state.h"
#include "wire.h"

enum result {
	RES_OK,
	RES_REFUSED, /* told by a non-zero acknowledgement where one was asked for, else by a hang-up */
	RES_HANDLED, /* the handler answered by itself */
	RES_END,     /* nothing that the protocol could tell: hang up */
};

struct reply {
	uint32_t size;
	int fd; /* goes along; -1: none */
	uint8_t payload[PAYLOAD_MAX];
};

/* Something to do after a while. */
struct later {
	uint64_t due_ns; /* 0: free */
	void (*act)(struct session *s, uint64_t arg);
	uint64_t arg;
};

enum { LATER_MAX = 8, HELD_MARKS_MAX = 4096 };

struct dirty_log {
	struct mapping map;
	uint64_t size;
	int fd; /* of SET_LOG_FD: hears of changes; -1: none */
	bool touched;
};

struct session {
	const struct device *dev;
	struct wire wire;
	bool ending;
	unsigned connections;

	uint64_t features, pfeatures;
	bool features_set;     /* SET_FEATURES came */
	bool features_refused; /* the last one was not accepted */
	uint8_t status;
	bool status_seen; /* SET_STATUS came: DRIVER_OK counts */
	uint16_t mtu;	  /* of the host, by NET_SET_MTU; 0: not told */

	struct memory mem;
	struct dirty_log log;
	struct inflight inflight;
	struct iotlb iotlb;
	struct transfer transfer;
	struct object object;
	struct postcopy postcopy;

	struct ring *rings;
	unsigned n_rings;
	unsigned n_started, n_polled, n_due, last_started;
	bool again;
	uint64_t busy_ns; /* when a polled ring last had work */

	struct wire screen;  /* of a graphics device */
	bool screen_asked;
	struct wire channel; /* for requests of the back-end */
	uint32_t asked;	     /* our request that is not yet answered; 0: none */
	bool config_pending; /* a change to tell */
	struct shm shm;
	uint64_t look_ns; /* when to look at the medium again */

	struct later later[LATER_MAX];

	/* only planted faults look at these */
	bool owned, reset_before, first_table_seen, inflight_given;
	bool deaf, restless, answers_bare, no_bit30_before, log_waits, features_asked, status_frozen;
	unsigned acks_late, mask_asked, messages, acks;
	uint32_t held_request;
	uint64_t held_value;
	struct dirty_log old_log;
	struct {
		uint64_t gpa, len;
	} held_marks[HELD_MARKS_MAX];
	unsigned n_held_marks;
	bool log_deaf, log_over, first_over;
	unsigned first_rings, halves;
};

int session_init(struct session *s, const struct device *dev, unsigned n_rings, unsigned mem_slots);
void session_done(struct session *s);
/* Serves one connection to its end (takes fd). */
void session_serve(struct session *s, int fd);

/* Features that we offer on this connection. */
uint64_t session_offer(const struct session *s);
uint64_t session_protocol_offer(const struct session *s);
bool session_held(const struct session *s);
void session_later(struct session *s, uint64_t delay_ns, void (*act)(struct session *s, uint64_t arg),
		   uint64_t arg);

/* A reply or an acknowledgement; takes fd (-1: none). */
void session_answer(struct session *s, uint32_t request, const uint8_t *payload, uint32_t size, int fd);

/* Guest memory changed: rings look for their addresses again. */
void session_remap(struct session *s);
void session_run_all(struct session *s);

/* Handlers: msg_*.c. The payload has a legal size and the number of descriptors is legal. */
typedef enum result msg_handler(struct session *s, struct msg *m, struct reply *r);

msg_handler msg_get_features, msg_set_features, msg_set_owner, msg_reset_owner, msg_get_protocol_features,
	msg_set_protocol_features, msg_get_queue_num, msg_reset_device, msg_set_status, msg_get_status;
msg_handler msg_set_mem_table, msg_get_max_mem_slots, msg_add_mem_reg, msg_rem_mem_reg, msg_set_log_base,
	msg_set_log_fd;
msg_handler msg_set_vring_num, msg_set_vring_addr, msg_set_vring_base, msg_get_vring_base, msg_set_vring_kick,
	msg_set_vring_call, msg_set_vring_err, msg_set_vring_enable, msg_set_vring_endian, msg_vring_kick,
	msg_get_vring_base_skip_drain;
msg_handler msg_get_config, msg_set_config, msg_set_backend_req_fd;
msg_handler msg_get_inflight_fd, msg_set_inflight_fd, msg_iotlb;
msg_handler msg_get_shmem_config;
msg_handler msg_net_set_mtu, msg_send_rarp;
msg_handler msg_set_device_state_fd, msg_check_device_state, msg_get_shared_object;
msg_handler msg_postcopy_advise, msg_postcopy_listen, msg_postcopy_end;

/* Dirty log: log.c. */
int log_open(struct dirty_log *log, int fd, uint64_t offset, uint64_t size);
void log_close(struct dirty_log *log);
/* Marks len bytes at guest address gpa, when the front-end wants to know. */
void log_mark(struct session *s, uint64_t gpa, uint64_t len);
/* What a planted fault held back. */
void log_catch_up(struct session *s);
/* Tells the descriptor of SET_LOG_FD when marks were made. */
void log_tell(struct session *s);

/* The socket of GPU_SET_SOCKET: screen.c. Takes fd, unless it fails before there is a connection. */
int screen_open(struct session *s, int fd);
void screen_close(struct session *s);

/* Back-end channel: channel.c. */
int channel_open(struct session *s, int fd);
void channel_close(struct session *s);
/* Config space changed: the front-end is told as soon as that is allowed. */
void channel_config_changed(struct session *s);
/* Tells what is pending and allowed by now. */
void channel_tell(struct session *s);
void channel_ring_started(struct ring *r);
/* Remembers a signal of the ring in *due, and tells it. False where there are no in-band notifications. */
bool channel_signal(struct ring *r, bool *due);
/* Sends a request of ours, of which one at a time may be out where it is answered; takes fd (-1: none). */
void channel_send(struct session *s, uint32_t request, const uint8_t *payload, uint32_t size, int fd);

#endif
