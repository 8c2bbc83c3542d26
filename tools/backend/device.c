/*
 * The device types.
 */
#include <stddef.h>
#include <string.h>

#include "device.h"

static const struct device *const devices[] = {
	&device_blk,   &device_net,    &device_scsi,	&device_vsock, &device_fs,  &device_gpu,
	&device_input, &device_crypto, &device_console, &device_sound, &device_rng, &device_i2c,
	&device_gpio,  &device_can,    &device_spi,	&device_rtc,   &device_scmi,
};

enum { DEVICES = sizeof(devices) / sizeof(devices[0]) };

const struct device *device_find(const char *name)
{
	for (size_t i = 0; i < DEVICES; i++) {
		if (!strcmp(devices[i]->name, name))
			return devices[i];
	}
	return NULL;
}

void device_list(FILE *to)
{
	for (size_t i = 0; i < DEVICES; i++)
		fprintf(to, "%s%s", i ? ", " : "", devices[i]->name);
}
