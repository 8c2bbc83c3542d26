/*
 * Devices without a medium. dev_config.c: those whose control plane is all that there is; their requests come
 * back unserved. dev_bus.c: those with small requests of a fixed form.
 * dev_media.c: those with a control queue.
 */
#ifndef BACKEND_DEV_SMALL_H
#define BACKEND_DEV_SMALL_H

#include "device.h"
#include "session.h"

int small_open(void);
void small_nothing(void);
void small_features_set(struct session *s, uint64_t old);
void small_reset(struct session *s);
unsigned small_no_config(struct session *s, uint8_t *to);
bool small_refuse(struct session *s, uint32_t offset, uint32_t size, uint32_t flags, const uint8_t *bytes);
bool small_unchanged(struct session *s);
/* Gives the buffers back with nothing written. */
int64_t small_return(struct session *s, struct ring *r, struct chain *c);

/* What all of them share; a later initializer of the same member wins. */
#define SMALL_DEVICE(id, type)                                                                               \
	.name = id, .capabilities = "{\"type\":\"" type "\",\"features\":[]}", .open = small_open,           \
	.close = small_nothing, .features_set = small_features_set, .reset = small_reset,                    \
	.changed = small_unchanged

#endif
