/*
 * Block device: zones of a host-managed disk. The first zone is conventional, all others are written at
 * their write pointer only; what was not written reads as zeroes.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>

#include "buffers.h"
#include "dev_blk.h"
#include "fault.h"

enum {
	REPORT_HEAD = LAY_blk_zone_report_reserved + LAYLEN_blk_zone_report_reserved,
	DESCRIPTOR = LAY_blk_zone_reserved + LAYLEN_blk_zone_reserved,
	UNUSABLE = 64, /* sectors at the end of a zone that hold no data */
};

struct zone {
	uint64_t start, cap, wp;
	uint8_t type, state;
};

static struct {
	struct zone *zone;
	uint8_t *report;
	uint64_t n;
	uint32_t sectors;
} zones;

bool zones_on(void)
{
	return zones.n;
}

uint32_t zones_sectors(void)
{
	return zones.sectors;
}

static int empty(struct zone *z)
{
	z->state = C_BLK_ZS_EMPTY;
	z->wp = z->start;
	return store_zero(&blk.store, z->start * C_SECTOR_SIZE, z->cap * C_SECTOR_SIZE, true);
}

int zones_open(uint32_t sectors)
{
	uint64_t capacity = blk.store.size / C_SECTOR_SIZE;

	zones.sectors = sectors;
	zones.n = (capacity + sectors - 1) / sectors;
	zones.zone = calloc(zones.n, sizeof(*zones.zone));
	zones.report = calloc(zones.n + 1, DESCRIPTOR);
	if (!zones.zone || !zones.report)
		return -ENOMEM;
	for (uint64_t i = 0; i < zones.n; i++) {
		struct zone *z = &zones.zone[i];
		uint64_t left = capacity - i * sectors, len = left < sectors ? left : sectors;
		int r;

		z->start = z->wp = i * sectors;
		z->cap = len;
		z->type = i ? C_BLK_ZT_SWR : C_BLK_ZT_CONV;
		z->state = C_BLK_ZS_NOT_WP;
		if (!i)
			continue;
		if (len > UNUSABLE)
			z->cap -= UNUSABLE;
		r = empty(z);
		if (r < 0)
			return r;
	}
	return 0;
}

void zones_close(void)
{
	free(zones.zone);
	free(zones.report);
	zones.zone = NULL;
	zones.report = NULL;
	zones.n = 0;
}

static struct zone *zone_at(uint64_t sector)
{
	return sector / zones.sectors < zones.n ? &zones.zone[sector / zones.sectors] : NULL;
}

static bool is_open(const struct zone *z)
{
	return z->state == C_BLK_ZS_IOPEN || z->state == C_BLK_ZS_EOPEN;
}

static bool is_active(const struct zone *z)
{
	return is_open(z) || z->state == C_BLK_ZS_CLOSED;
}

uint8_t zones_report(uint64_t sector, uint64_t room, const uint8_t **ret, size_t *ret_len)
{
	const struct zone *z = zone_at(sector);
	uint64_t n = 0;

	if (!z || room < REPORT_HEAD)
		return C_BLK_S_ZONE_INVALID_CMD;
	memset(zones.report, 0, (zones.n + 1) * DESCRIPTOR);
	for (; z < zones.zone + zones.n && room - REPORT_HEAD >= (n + 1) * DESCRIPTOR; z++, n++) {
		uint8_t *at = zones.report + REPORT_HEAD + n * DESCRIPTOR;

		PUT_LAYOUT(at, blk_zone_z_cap, z->cap);
		PUT_LAYOUT(at, blk_zone_z_start, z->start);
		PUT_LAYOUT(at, blk_zone_z_wp, z->wp);
		PUT_LAYOUT(at, blk_zone_z_type, z->type);
		PUT_LAYOUT(at, blk_zone_z_state, z->state);
	}
	PUT_LAYOUT(zones.report, blk_zone_report_nr_zones, fault(zone_report_count) ? zones.n : n);
	*ret = zones.report;
	*ret_len = REPORT_HEAD + n * DESCRIPTOR;
	return C_BLK_S_OK;
}

/* Opens a zone. Zones that writes have opened are closed when there is no room for another. */
static uint8_t open_zone(struct zone *z, uint8_t state)
{
	bool unlimited =
		state == C_BLK_ZS_EOPEN ? fault(zone_open_unlimited) : fault(zone_write_unlimited);
	unsigned open = 0, active = 0;
	struct zone *idle = NULL;

	for (uint64_t i = 0; i < zones.n; i++) {
		open += is_open(&zones.zone[i]);
		active += is_active(&zones.zone[i]);
		if (zones.zone[i].state == C_BLK_ZS_IOPEN)
			idle = &zones.zone[i];
	}
	if (!is_active(z) && active >= BLK_ZONES_ACTIVE && !unlimited)
		return C_BLK_S_ZONE_ACTIVE_RESOURCE;
	if (!is_open(z) && open >= BLK_ZONES_OPEN && !unlimited) {
		if (!idle)
			return C_BLK_S_ZONE_OPEN_RESOURCE;
		idle->state = C_BLK_ZS_CLOSED;
	}
	z->state = state;
	return C_BLK_S_OK;
}

static uint8_t close_zone(struct zone *z)
{
	if (!is_active(z))
		return C_BLK_S_ZONE_INVALID_CMD;
	if (!fault(zone_close_stays))
		z->state = z->wp == z->start ? C_BLK_ZS_EMPTY : C_BLK_ZS_CLOSED;
	return C_BLK_S_OK;
}

static uint8_t finish_zone(struct zone *z)
{
	if (!is_active(z) && z->state != C_BLK_ZS_FULL)
		return C_BLK_S_ZONE_INVALID_CMD;
	z->state = C_BLK_ZS_FULL;
	return C_BLK_S_OK;
}

static uint8_t reset_zone(struct zone *z)
{
	uint64_t wp = z->wp;

	if (empty(z) < 0)
		return C_BLK_S_IOERR;
	if (fault(zone_reset_wp))
		z->wp = wp;
	return C_BLK_S_OK;
}

static uint8_t reset_all(void)
{
	for (uint64_t i = 1; i < zones.n; i++) {
		if (reset_zone(&zones.zone[i]) != C_BLK_S_OK)
			return C_BLK_S_IOERR;
		if (fault(zone_reset_all_first))
			break;
	}
	return C_BLK_S_OK;
}

uint8_t zones_manage(uint32_t type, uint64_t sector)
{
	struct zone *z = zone_at(sector);

	if (type == C_BLK_T_ZONE_RESET_ALL)
		return reset_all();
	if (!z || sector != z->start)
		return C_BLK_S_ZONE_INVALID_CMD;
	if (z->type == C_BLK_ZT_CONV)
		return fault(zone_conv_ok) ? C_BLK_S_OK : C_BLK_S_ZONE_INVALID_CMD;
	switch (type) {
	case C_BLK_T_ZONE_OPEN:
		if (z->state != C_BLK_ZS_FULL)
			return open_zone(z, C_BLK_ZS_EOPEN);
		return fault(zone_open_full) ? C_BLK_S_OK : C_BLK_S_ZONE_INVALID_CMD;
	case C_BLK_T_ZONE_CLOSE:
		return close_zone(z);
	case C_BLK_T_ZONE_FINISH:
		return finish_zone(z);
	default:
		return reset_zone(z);
	}
}

uint8_t zones_erase(uint64_t sector, uint64_t sectors)
{
	if (fault(zone_erase_only_data))
		return C_BLK_S_OK;
	if (sector % zones.sectors || sectors % zones.sectors)
		return C_BLK_S_ZONE_INVALID_CMD;
	for (; sectors; sector += zones.sectors, sectors -= zones.sectors) {
		struct zone *z = zone_at(sector);

		if (z && z->type == C_BLK_ZT_SWR && reset_zone(z) != C_BLK_S_OK)
			return C_BLK_S_IOERR;
	}
	return C_BLK_S_OK;
}

static bool in_one_zone(uint64_t sector, uint64_t sectors)
{
	return !sectors || zone_at(sector) == zone_at(sector + sectors - 1);
}

uint8_t zones_read(uint64_t sector, uint64_t sectors)
{
	return in_one_zone(sector, sectors) || fault(zone_span_read) ? C_BLK_S_OK : C_BLK_S_ZONE_INVALID_CMD;
}

uint8_t zones_write(uint64_t sector, uint64_t sectors)
{
	struct zone *z = zone_at(sector);
	uint8_t status;

	if (!in_one_zone(sector, sectors) || (z && z->state == C_BLK_ZS_FULL))
		return C_BLK_S_ZONE_INVALID_CMD;
	if (!z || z->type == C_BLK_ZT_CONV)
		return C_BLK_S_OK;
	if (sector != z->wp)
		return fault(zone_write_anywhere) ? C_BLK_S_OK : C_BLK_S_ZONE_UNALIGNED_WP;
	if (z->wp - z->start + sectors > z->cap)
		return fault(zone_beyond_cap) ? C_BLK_S_OK : C_BLK_S_ZONE_INVALID_CMD;
	if (sectors * C_SECTOR_SIZE % blk_block_size())
		return C_BLK_S_ZONE_UNALIGNED_WP;
	status = is_open(z) ? C_BLK_S_OK : open_zone(z, C_BLK_ZS_IOPEN);
	if (status != C_BLK_S_OK)
		return status;
	z->wp += sectors;
	if (z->wp == z->start + z->cap)
		z->state = C_BLK_ZS_FULL;
	return C_BLK_S_OK;
}

uint8_t zones_append(uint64_t sector, uint64_t sectors, uint64_t *ret_at)
{
	struct zone *z = zone_at(sector);
	uint64_t at;
	uint8_t status;

	if (!z || z->type != C_BLK_ZT_SWR || (sector != z->start && !fault(zone_append_inside)) ||
	    (sectors > BLK_ZONE_APPEND && !fault(zone_append_max)))
		return C_BLK_S_ZONE_INVALID_CMD;
	at = z->wp;
	status = zones_write(at, sectors);
	*ret_at = at;
	return status;
}
