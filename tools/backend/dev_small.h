/*
 * Devices without a medium. dev_config.c: those whose control plane is all that there is; their requests come
 * back unserved. dev_bus.c: those with small requests of a fixed form.
 * dev_media.c: those with a control queue. dev_hosts.c: those with a host behind. dev_net.c: network; its
 * control queue, where it is served, is dev_net_ctrl.c.
 */
#ifndef BACKEND_DEV_SMALL_H
#define BACKEND_DEV_SMALL_H

#include "device.h"
#include "session.h"

int small_open(void);
void small_nothing(void);
void small_features_set(struct session *s, uint64_t old);
void small_reset(struct session *s);
uint64_t small_no_features(void);
unsigned small_no_config(struct session *s, uint8_t *to);
bool small_refuse(struct session *s, uint32_t offset, uint32_t size, uint32_t flags, const uint8_t *bytes);
bool small_unchanged(struct session *s);
/* Gives the buffers back with nothing written. */
int64_t small_return(struct session *s, struct ring *r, struct chain *c);

/* dev_net.c: frames that are sent come back. */
int64_t net_execute(struct session *s, struct ring *r, struct chain *c);
unsigned net_wants(struct session *s, struct ring *r, unsigned waiting);
bool net_keeps(const struct session *s, const struct ring *r);
void net_reset(struct session *s);

/* dev_hosts.c: what these do with their queues. */
int64_t fs_execute(struct session *s, struct ring *r, struct chain *c);
int64_t scsi_execute(struct session *s, struct ring *r, struct chain *c);
bool scsi_keeps(const struct session *s, const struct ring *r);
int64_t vsock_execute(struct session *s, struct ring *r, struct chain *c);
bool vsock_keeps(const struct session *s, const struct ring *r);
void vsock_reset(struct session *s);
int64_t crypto_execute(struct session *s, struct ring *r, struct chain *c);
unsigned crypto_queues(const struct session *s); /* for data; the one behind them is for control */

/* What all of them share; a later initializer of the same member wins. */
#define SMALL_DEVICE(id, type)                                                                               \
	.name = id, .capabilities = "{\"type\":\"" type "\",\"features\":[]}", .open = small_open,           \
	.close = small_nothing, .features_set = small_features_set, .reset = small_reset,                    \
	.changed = small_unchanged

#endif
