/*
 * What a device type does. To add one: a file dev_NAME.c with its operations, and a line in device.c.
 */
#ifndef BACKEND_DEVICE_H
#define BACKEND_DEVICE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "ring.h"

enum { NO_COMPLETION = -1 };

struct device {
	const char *name;
	const char *capabilities; /* JSON of --print-capabilities */
	int (*open)(void);
	void (*close)(void);
	/* Feature bits of the device type. */
	uint64_t (*features)(void);
	uint64_t protocol_features; /* of the device type */
	/* Whether the device can work with these; NULL: with any. */
	bool (*accepts)(uint64_t features);
	/* The session's features became what s->features says. */
	void (*features_set)(struct session *s, uint64_t old);
	/* A new connection, or RESET_DEVICE. */
	void (*reset)(struct session *s);
	/* Writes config space to `to` (C_CONFIG_SIZE_MAX bytes) and returns its length. */
	unsigned (*config)(struct session *s, uint8_t *to);
	bool (*set_config)(struct session *s, uint32_t offset, uint32_t size, uint32_t flags,
			   const uint8_t *bytes);
	/* Writes the device's own state to `to` (STATE_DEVICE_MAX bytes) and returns its length. */
	uint32_t (*save)(const struct session *s, uint8_t *to);
	/* Takes it over. */
	bool (*load)(struct session *s, const uint8_t *bytes, uint32_t len);
	/* Looks whether the device itself changed its config space. */
	bool (*changed)(struct session *s);
	/* Whether it leaves the buffers of a ring where they are: it has nothing for them. NULL: no. */
	bool (*keeps)(const struct session *s, const struct ring *r);
	/*
	 * How many of the `waiting` requests of a ring it takes at once, which are published together; NULL:
	 * all of them, or one after another where it may have nothing for them.
	 */
	unsigned (*wants)(struct session *s, struct ring *r, unsigned waiting);
	/* Executes a request; the used length, or NO_COMPLETION. */
	int64_t (*execute)(struct session *s, struct ring *r, struct chain *c);
};

/* NULL for an unknown name. */
const struct device *device_find(const char *name);
void device_list(FILE *to);

extern const struct device device_blk, device_net, device_scsi, device_vsock, device_fs, device_gpu;
extern const struct device device_input, device_crypto, device_console, device_sound;
extern const struct device device_rng, device_i2c, device_gpio, device_can, device_spi, device_rtc;
extern const struct device device_scmi;

#endif
