/*
 * The network device's control queue (dev_net_ctrl.c), for its frames and its config space.
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

#endif
