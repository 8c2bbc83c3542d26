/*
 * Block device: features and config space.
 */
#include <endian.h>

#include "buffers.h"
#include "dev_blk.h"
#include "fault.h"
#include "options.h"

enum {
	BLOCK_4K = 4096,
	HEADS = 16,
	SECTORS = 63,
};

uint32_t blk_block_size(void)
{
	return fault(blk_sector_blksize) || fault(cfg_capacity_blocks) ? BLOCK_4K : options.blk_size;
}

uint64_t blk_features(void)
{
	uint64_t features = V(VIRTIO_BLK_F_SIZE_MAX) | V(VIRTIO_BLK_F_SEG_MAX) | V(VIRTIO_BLK_F_BLK_SIZE) |
			    V(VIRTIO_BLK_F_FLUSH) | V(VIRTIO_BLK_F_TOPOLOGY) | V(VIRTIO_BLK_F_CONFIG_WCE) |
			    V(VIRTIO_BLK_F_MQ) | V(VIRTIO_BLK_F_DISCARD) | V(VIRTIO_BLK_F_WRITE_ZEROES);

	if (blk.store.size / C_SECTOR_SIZE >= HEADS * SECTORS)
		features |= V(VIRTIO_BLK_F_GEOMETRY);
	if (blk.flash)
		features |= V(VIRTIO_BLK_F_LIFETIME) | V(VIRTIO_BLK_F_SECURE_ERASE);
	if (zones_on()) {
		features &= ~(V(VIRTIO_BLK_F_DISCARD) | V(VIRTIO_BLK_F_WRITE_ZEROES));
		features |= V(VIRTIO_BLK_F_ZONED);
	}
	if (fault(cfg_zoned_none))
		features |= V(VIRTIO_BLK_F_ZONED);
	if (blk.read_only)
		features |= V(VIRTIO_BLK_F_RO);
	if (fault(cfg_no_flush))
		features &= ~(V(VIRTIO_BLK_F_FLUSH) | V(VIRTIO_BLK_F_CONFIG_WCE));
	if (fault(cfg_wce_noflush))
		features &= ~V(VIRTIO_BLK_F_FLUSH);
	return features;
}

/* Without flush requests the driver cannot use a volatile cache: it starts in write-through mode. */
void blk_features_set(struct session *s, uint64_t old)
{
	uint64_t cache = V(VIRTIO_BLK_F_FLUSH) | V(VIRTIO_BLK_F_CONFIG_WCE);

	if (!((s->features ^ old) & cache))
		return;
	blk.writeback_set = false;
	blk.writeback = (s->features & cache) != V(VIRTIO_BLK_F_CONFIG_WCE) || fault(cfg_wce_init);
}

static void put_limits(uint8_t *to)
{
	uint32_t align = blk_block_size() / C_SECTOR_SIZE;

	PUT_CONFIG(to, BLK_max_discard_sectors, fault(cfg_discard_0) ? 0 : BLK_RANGE_SECTORS);
	PUT_CONFIG(to, BLK_max_discard_seg, BLK_RANGES);
	PUT_CONFIG(to, BLK_discard_sector_alignment, align);
	PUT_CONFIG(to, BLK_max_write_zeroes_sectors, BLK_RANGE_SECTORS);
	PUT_CONFIG(to, BLK_max_write_zeroes_seg, BLK_RANGES);
	PUT_CONFIG(to, BLK_write_zeroes_may_unmap, fault(cfg_may_unmap) ? 7 : 1);
}

static void put_flash(uint8_t *to)
{
	uint32_t align = zones_on() ? zones_sectors() : blk_block_size() / C_SECTOR_SIZE;

	if (!blk.flash)
		return;
	PUT_CONFIG(to, BLK_max_secure_erase_sectors, fault(cfg_erase_0) ? 0 : BLK_RANGE_SECTORS);
	PUT_CONFIG(to, BLK_max_secure_erase_seg, BLK_RANGES);
	PUT_CONFIG(to, BLK_secure_erase_sector_alignment, fault(zone_erase_align) ? 1 : align);
	if (!zones_on())
		return;
	PUT_CONFIG(to, BLK_zoned_zone_sectors, zones_sectors());
	PUT_CONFIG(to, BLK_zoned_max_open_zones, BLK_ZONES_OPEN);
	PUT_CONFIG(to, BLK_zoned_max_active_zones, BLK_ZONES_ACTIVE);
	PUT_CONFIG(to, BLK_zoned_max_append_sectors, BLK_ZONE_APPEND);
	PUT_CONFIG(to, BLK_zoned_write_granularity, fault(zone_granularity_0) ? 0 : blk_block_size());
	PUT_CONFIG(to, BLK_zoned_model, C_BLK_Z_HM);
}

bool blk_accepts(uint64_t features)
{
	return !zones_on() || (features & V(VIRTIO_BLK_F_ZONED)) || fault(zone_features_ok);
}

static void put_geometry(uint8_t *to, uint64_t sectors)
{
	uint64_t cylinders = sectors / (HEADS * SECTORS);
	uint32_t block = blk_block_size();
	unsigned exp = 0;

	PUT_CONFIG(to, BLK_geometry_cylinders,
		   cylinders < UINT16_MAX && !fault(cfg_geometry) ? cylinders : UINT16_MAX);
	PUT_CONFIG(to, BLK_geometry_heads, fault(cfg_geometry) ? UINT8_MAX : HEADS);
	PUT_CONFIG(to, BLK_geometry_sectors, SECTORS);
	while ((block << exp) < BLOCK_4K)
		exp++;
	PUT_CONFIG(to, BLK_topology_physical_block_exp, fault(cfg_topology) ? 64 : exp);
	PUT_CONFIG(to, BLK_topology_min_io_size, 1U << exp);
}

unsigned blk_config(struct session *s, uint8_t *to)
{
	uint64_t sectors = (fault(grow_config_old) ? blk.opened : blk.store.size) / C_SECTOR_SIZE;
	uint32_t block = blk_block_size();

	if (fault(grow_config_twice) && blk.store.size > blk.opened)
		sectors += (blk.store.size - blk.opened) / C_SECTOR_SIZE;
	if (fault(cfg_capacity_blocks))
		PUT_CONFIG(to, BLK_capacity, sectors / (block / C_SECTOR_SIZE));
	else
		PUT_CONFIG(to, BLK_capacity, sectors);
	PUT_CONFIG(to, BLK_size_max, BLK_SIZE_MAX);
	PUT_CONFIG(to, BLK_seg_max,
		   fault(cfg_segmax_0) ? 0 : fault(cfg_segmax_ring) ? C_VRING_SIZE_MAX : BLK_SEG_MAX);
	PUT_CONFIG(to, BLK_blk_size, fault(cfg_blk_size_swap) ? __builtin_bswap32(block) : block);
	put_geometry(to, sectors);
	PUT_CONFIG(to, BLK_writeback, blk.writeback);
	PUT_CONFIG(to, BLK_unused0, fault(cfg_not_zeroed) || blk.writeback_wide ? UINT8_MAX : 0);
	PUT_CONFIG(to, BLK_num_queues,
		   fault(cfg_numq_0) ? 0 : fault(cfg_numq) ? 2 * s->n_rings + 1 : s->n_rings);
	put_limits(to);
	put_flash(to);
	memset(to + CFG_BLK_unused1, 0, CFGLEN_BLK_unused1);
	if (options.config_len)
		memcpy(to, options.config, options.config_len);
	if (blk.writeback_set)
		PUT_CONFIG(to, BLK_writeback, blk.writeback);
	return options.config_len > CONFIG_SIZE_BLK ? options.config_len : CONFIG_SIZE_BLK;
}

/* A driver may write the cache mode and nothing else. */
static bool set_by_driver(struct session *s, uint32_t offset, uint32_t size, const uint8_t *bytes)
{
	if (!(s->features & V(VIRTIO_BLK_F_CONFIG_WCE)) || offset != CFG_BLK_writeback ||
	    size != CFGLEN_BLK_writeback || bytes[0] > 1)
		return false;
	blk.writeback = bytes[0];
	blk.writeback_set = true;
	blk.writeback_wide = fault(config_set_wide);
	return true;
}

/* A migrated device has the config space that it had; only the cache mode is state. */
static bool set_by_migration(struct session *s, uint32_t offset, uint32_t size, const uint8_t *bytes)
{
	uint8_t now[C_CONFIG_SIZE_MAX] = {0};

	blk_config(s, now);
	for (uint32_t i = 0; i < size; i++) {
		if (offset + i != CFG_BLK_writeback && bytes[i] != now[offset + i])
			return false;
		if (offset + i == CFG_BLK_writeback && bytes[i] > 1)
			return false;
	}
	if (offset <= CFG_BLK_writeback && CFG_BLK_writeback - offset < size)
		blk.writeback = bytes[CFG_BLK_writeback - offset];
	return true;
}

bool blk_set_config(struct session *s, uint32_t offset, uint32_t size, uint32_t flags, const uint8_t *bytes)
{
	if (fault(config_ro_write) && offset + size <= C_CONFIG_SIZE_MAX) {
		unsigned len = blk_config(s, options.config);

		memcpy(options.config + offset, bytes, size);
		options.config_len = len;
		return true;
	}
	switch (flags) {
	case C_CONFIG_WRITABLE:
		return set_by_driver(s, offset, size, bytes);
	case C_CONFIG_MIGRATION:
		return set_by_migration(s, offset, size, bytes);
	default:
		return false;
	}
}
