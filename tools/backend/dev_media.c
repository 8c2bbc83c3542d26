/*
 * Devices with a control queue: graphics without a screen, sound without a card.
 */
#include <string.h>

#include "buffers.h"
#include "dev_small.h"
#include "fault.h"

/* --- gpu -------------------------------------------------------------------------------------- */

enum {
	GPU_CREATE_2D = 0x0101,
	GPU_UNREF = 0x0102,
	GPU_OK = 0x1100,
	GPU_ERR_UNSPEC = 0x1200,
	GPU_ERR_RESOURCE = 0x1203,
	GPU_FENCE = 1 << 0,
};

static uint32_t gpu_events = 1;

static unsigned gpu_config(struct session *s, uint8_t *to)
{
	(void)s;
	PUT_CONFIG(to, GPU_events_read, gpu_events);
	PUT_CONFIG(to, GPU_num_scanouts, fault(cfg_gpu_scanouts) ? 17 : 1);
	return CONFIG_SIZE_GPU - CFGLEN_GPU_blob_alignment;
}

/* Bits written to events_clear are cleared in events_read. */
static bool gpu_set_config(struct session *s, uint32_t offset, uint32_t size, uint32_t flags,
			   const uint8_t *bytes)
{
	(void)s;
	(void)flags;
	if (offset != CFG_GPU_events_clear || size != CFGLEN_GPU_events_clear)
		return false;
	if (!fault(cfg_gpu_events))
		gpu_events &= ~(uint32_t)le64toh(field_get(bytes, size));
	return true;
}

static void gpu_reset(struct session *s)
{
	(void)s;
	gpu_events = 1;
}

static int64_t gpu_execute(struct session *s, struct ring *r, struct chain *c)
{
	enum { HEADER = LAY_gpu_header_padding + LAYLEN_gpu_header_padding };
	static uint64_t resource; /* the one that there is; 0: none */
	uint8_t request[HEADER + LAYLEN_gpu_resource_id] = {0}, answer[HEADER] = {0};
	size_t len = chain_gather(c, request, sizeof(request));
	uint64_t flags = LAYOUT(request, gpu_header, flags), id = LAYOUT(request + HEADER, gpu_resource, id);
	uint32_t type = GPU_ERR_UNSPEC;

	(void)r;
	if (len == sizeof(request) && LAYOUT(request, gpu_header, type) == GPU_CREATE_2D) {
		resource = id;
		type = GPU_OK;
	} else if (len == sizeof(request) && LAYOUT(request, gpu_header, type) == GPU_UNREF) {
		type = id && id == resource ? GPU_OK : fault(queues_gpu_error) ? GPU_OK : GPU_ERR_RESOURCE;
	}
	PUT_LAYOUT(answer, gpu_header_type, type);
	if (flags & GPU_FENCE) {
		PUT_LAYOUT(answer, gpu_header_flags, GPU_FENCE);
		PUT_LAYOUT(answer, gpu_header_fence_id,
		    fault(queues_gpu_fence) ? 0 : LAYOUT(request, gpu_header, fence_id));
	}
	return chain_answer(s, c, answer, sizeof(answer));
}

const struct device device_gpu = {
	.name = "gpu",
	.capabilities = "{\"type\":\"gpu\",\"features\":[]}",
	.open = small_open,
	.close = small_nothing,
	.features_set = small_features_set,
	.reset = gpu_reset,
	.changed = small_unchanged,
	.features = small_no_features,
	.config = gpu_config,
	.set_config = gpu_set_config,
	.execute = gpu_execute,
};

/* --- sound ------------------------------------------------------------------------------------ */

enum {
	SOUND_PCM_INFO = 0x0100,
	SOUND_OK = 0x8000,
	SOUND_BAD_MSG = 0x8001,
	SOUND_JACKS = 1,
	SOUND_STREAMS = 2,
	SOUND_PCM_BYTES = 32,
};

static unsigned sound_config(struct session *s, uint8_t *to)
{
	(void)s;
	PUT_CONFIG(to, SOUND_jacks, SOUND_JACKS);
	PUT_CONFIG(to, SOUND_streams, SOUND_STREAMS);
	PUT_CONFIG(to, SOUND_chmaps, 1);
	/* A fault: a field in the middle was left out. */
	return fault(cfg_sound_short) ? CFG_SOUND_streams + CFGLEN_SOUND_streams : CFG_SOUND_controls;
}

static int64_t sound_execute(struct session *s, struct ring *r, struct chain *c)
{
	enum { QUERY = LAY_sound_query_size + LAYLEN_sound_query_size, STATUS = LAYLEN_sound_status_code };
	uint8_t request[QUERY] = {0}, answer[STATUS + SOUND_STREAMS * SOUND_PCM_BYTES] = {0};
	size_t len = chain_gather(c, request, sizeof(request));
	uint64_t first = LAYOUT(request, sound_query, start_id), count = LAYOUT(request, sound_query, count);
	bool known = len == QUERY && LAYOUT(request, sound_query, code) == SOUND_PCM_INFO &&
		     first + count <= SOUND_STREAMS && LAYOUT(request, sound_query, size) == SOUND_PCM_BYTES;

	(void)r;
	PUT_LAYOUT(answer, sound_status_code, known || fault(queues_sound_range) ? SOUND_OK : SOUND_BAD_MSG);
	return chain_answer(s, c, answer, STATUS + (known ? count * SOUND_PCM_BYTES : 0));
}

const struct device device_sound = {
	SMALL_DEVICE("sound", "sound"), .features = small_no_features,  .config = sound_config,
	.set_config = small_refuse,	.execute = sound_execute,
};
