/*
 * The network device's control queue (dev_net_ctrl.c, dev_net_rss.c), for its frames and its config space.
 */
#ifndef BACKEND_DEV_NET_H
#define BACKEND_DEV_NET_H

#include "session.h"

/* Whether the device serves one: --control-queue, or a fault of it. */
bool net_ctrl_on(void);
/* What is offered along with it. */
uint64_t net_ctrl_features(void);
/* Pairs of queues that there are; the control queue lies behind them. */
unsigned net_pairs(const struct session *s);
/* The address in config space. */
const uint8_t *net_mac(void);
void net_ctrl_reset(void);
/* Whether a ring is it, by what was negotiated. */
bool net_ctrl_ring(const struct session *s, const struct ring *r);
int64_t net_ctrl_execute(struct session *s, struct chain *c);

/* Receive offloads that the guest has switched off, by their features' bits. */
uint64_t net_ctrl_switched_off(void);

/* Kinds of hash that there are. */
uint64_t net_rss_types(void);
/* Without steering; as at first, without hashes as well. */
void net_rss_off(void);
void net_rss_reset(void);
/* Takes the parameters of a command; false if they are none. `data` has at least its fixed part. */
bool net_rss_set(const struct session *s, const uint8_t *data, size_t len);
bool net_hash_set(const struct session *s, const uint8_t *data, size_t len);
/* The hash of a frame and its kind, as headers tell it; 0: it has none. */
uint32_t net_hash(const uint8_t *frame, size_t len, unsigned *ret_report);
/* The pair that gets a frame; -1: not steered. */
int net_rss_pair(const uint8_t *frame, size_t len);

#endif
