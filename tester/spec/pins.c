/*
 * The numbers in include/vhu/ against the kernel's headers, as far as these know them. Nothing
 * here ends up in a program: what does not agree does not compile.
 */
#include "spec/spec.h"

#include <linux/vhost_types.h>
#include <linux/virtio_balloon.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_console.h>
#include <linux/virtio_crypto.h>
#include <linux/virtio_fs.h>
#include <linux/virtio_gpio.h>
#include <linux/virtio_gpu.h>
#include <linux/virtio_i2c.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_input.h>
#include <linux/virtio_iommu.h>
#include <linux/virtio_mem.h>
#include <linux/virtio_net.h>
#include <linux/virtio_pmem.h>
#include <linux/virtio_ring.h>
#include <linux/virtio_scmi.h>
#include <linux/virtio_scsi.h>
#include <linux/virtio_snd.h>
#include <linux/virtio_vsock.h>

#define PIN(a, b) _Static_assert((a) == (b), #a " is " #b)

/* --- feature bits ------------------------------------------------------------------------------ */

/* The left name is pasted, the right one expands to the kernel's number. */
#define PIN_BIT(name) _Static_assert(VHU_VF_##name == (name), "bit of " #name)

PIN_BIT(VIRTIO_F_NOTIFY_ON_EMPTY);
PIN_BIT(VHOST_F_LOG_ALL);
PIN_BIT(VIRTIO_F_ANY_LAYOUT);
PIN_BIT(VIRTIO_RING_F_INDIRECT_DESC);
PIN_BIT(VIRTIO_RING_F_EVENT_IDX);
PIN_BIT(VIRTIO_F_VERSION_1);
PIN_BIT(VIRTIO_F_ACCESS_PLATFORM);
PIN_BIT(VIRTIO_F_RING_PACKED);
PIN_BIT(VIRTIO_F_IN_ORDER);
PIN_BIT(VIRTIO_F_ORDER_PLATFORM);
PIN_BIT(VIRTIO_F_SR_IOV);
PIN_BIT(VIRTIO_F_RING_RESET);

PIN_BIT(VIRTIO_BLK_F_BARRIER);
PIN_BIT(VIRTIO_BLK_F_SIZE_MAX);
PIN_BIT(VIRTIO_BLK_F_SEG_MAX);
PIN_BIT(VIRTIO_BLK_F_GEOMETRY);
PIN_BIT(VIRTIO_BLK_F_RO);
PIN_BIT(VIRTIO_BLK_F_BLK_SIZE);
PIN_BIT(VIRTIO_BLK_F_SCSI);
PIN_BIT(VIRTIO_BLK_F_FLUSH);
PIN_BIT(VIRTIO_BLK_F_TOPOLOGY);
PIN_BIT(VIRTIO_BLK_F_CONFIG_WCE);
PIN_BIT(VIRTIO_BLK_F_MQ);
PIN_BIT(VIRTIO_BLK_F_DISCARD);
PIN_BIT(VIRTIO_BLK_F_WRITE_ZEROES);
PIN_BIT(VIRTIO_BLK_F_SECURE_ERASE);

PIN_BIT(VIRTIO_NET_F_CSUM);
PIN_BIT(VIRTIO_NET_F_GUEST_CSUM);
PIN_BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS);
PIN_BIT(VIRTIO_NET_F_MTU);
PIN_BIT(VIRTIO_NET_F_MAC);
PIN_BIT(VIRTIO_NET_F_GSO);
PIN_BIT(VIRTIO_NET_F_GUEST_TSO4);
PIN_BIT(VIRTIO_NET_F_GUEST_TSO6);
PIN_BIT(VIRTIO_NET_F_GUEST_ECN);
PIN_BIT(VIRTIO_NET_F_GUEST_UFO);
PIN_BIT(VIRTIO_NET_F_HOST_TSO4);
PIN_BIT(VIRTIO_NET_F_HOST_TSO6);
PIN_BIT(VIRTIO_NET_F_HOST_ECN);
PIN_BIT(VIRTIO_NET_F_HOST_UFO);
PIN_BIT(VIRTIO_NET_F_MRG_RXBUF);
PIN_BIT(VIRTIO_NET_F_STATUS);
PIN_BIT(VIRTIO_NET_F_CTRL_VQ);
PIN_BIT(VIRTIO_NET_F_CTRL_RX);
PIN_BIT(VIRTIO_NET_F_CTRL_VLAN);
PIN_BIT(VIRTIO_NET_F_CTRL_RX_EXTRA);
PIN_BIT(VIRTIO_NET_F_GUEST_ANNOUNCE);
PIN_BIT(VIRTIO_NET_F_MQ);
PIN_BIT(VIRTIO_NET_F_CTRL_MAC_ADDR);
PIN_BIT(VIRTIO_NET_F_NOTF_COAL);
PIN_BIT(VIRTIO_NET_F_HASH_REPORT);
PIN_BIT(VIRTIO_NET_F_RSS);
PIN_BIT(VIRTIO_NET_F_RSC_EXT);
PIN_BIT(VIRTIO_NET_F_STANDBY);
PIN_BIT(VIRTIO_NET_F_SPEED_DUPLEX);

PIN_BIT(VIRTIO_SCSI_F_INOUT);
PIN_BIT(VIRTIO_SCSI_F_HOTPLUG);
PIN_BIT(VIRTIO_SCSI_F_CHANGE);
PIN_BIT(VIRTIO_SCSI_F_T10_PI);
PIN_BIT(VIRTIO_VSOCK_F_SEQPACKET);
PIN_BIT(VIRTIO_GPU_F_VIRGL);
PIN_BIT(VIRTIO_GPU_F_EDID);
PIN_BIT(VIRTIO_GPU_F_RESOURCE_UUID);
PIN_BIT(VIRTIO_GPU_F_RESOURCE_BLOB);
PIN_BIT(VIRTIO_GPU_F_CONTEXT_INIT);
PIN_BIT(VIRTIO_CONSOLE_F_SIZE);
PIN_BIT(VIRTIO_CONSOLE_F_MULTIPORT);
PIN_BIT(VIRTIO_CONSOLE_F_EMERG_WRITE);
PIN_BIT(VIRTIO_BALLOON_F_MUST_TELL_HOST);
PIN_BIT(VIRTIO_BALLOON_F_STATS_VQ);
PIN_BIT(VIRTIO_BALLOON_F_DEFLATE_ON_OOM);
PIN_BIT(VIRTIO_BALLOON_F_FREE_PAGE_HINT);
PIN_BIT(VIRTIO_BALLOON_F_PAGE_POISON);
PIN(VHU_VF_VIRTIO_BALLOON_F_PAGE_REPORTING, VIRTIO_BALLOON_F_REPORTING);
PIN_BIT(VIRTIO_IOMMU_F_INPUT_RANGE);
PIN_BIT(VIRTIO_IOMMU_F_DOMAIN_RANGE);
PIN_BIT(VIRTIO_IOMMU_F_MAP_UNMAP);
PIN_BIT(VIRTIO_IOMMU_F_BYPASS);
PIN_BIT(VIRTIO_IOMMU_F_PROBE);
PIN_BIT(VIRTIO_IOMMU_F_MMIO);
PIN_BIT(VIRTIO_IOMMU_F_BYPASS_CONFIG);
PIN_BIT(VIRTIO_MEM_F_ACPI_PXM);
PIN_BIT(VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE);
PIN_BIT(VIRTIO_I2C_F_ZERO_LENGTH_REQUEST);
PIN_BIT(VIRTIO_GPIO_F_IRQ);
PIN_BIT(VIRTIO_SCMI_F_P2A_CHANNELS);
PIN_BIT(VIRTIO_SCMI_F_SHARED_MEMORY);

#define VHU_VFEATURE(name, bit, ...) _Static_assert((bit) < 64, "a feature word has 64 bits: " #name);
#include <vhu/virtio_features.def>
#define VHU_PFEATURE(name, bit, ...) _Static_assert((bit) < 64, "a feature word has 64 bits: " #name);
#include <vhu/protocol_features.def>

/* --- constants --------------------------------------------------------------------------------- */

PIN(VHU_C_VRING_F_LOG, 1 << VHOST_VRING_F_LOG);
PIN(VHU_C_LOG_PAGE, VHOST_PAGE_SIZE);
PIN(VHU_C_IOTLB_MISS, VHOST_IOTLB_MISS);
PIN(VHU_C_IOTLB_UPDATE, VHOST_IOTLB_UPDATE);
PIN(VHU_C_IOTLB_INVALIDATE, VHOST_IOTLB_INVALIDATE);
PIN(VHU_C_IOTLB_ACCESS_FAIL, VHOST_IOTLB_ACCESS_FAIL);
PIN(VHU_C_STATUS_ACKNOWLEDGE, VIRTIO_CONFIG_S_ACKNOWLEDGE);
PIN(VHU_C_STATUS_DRIVER, VIRTIO_CONFIG_S_DRIVER);
PIN(VHU_C_STATUS_DRIVER_OK, VIRTIO_CONFIG_S_DRIVER_OK);
PIN(VHU_C_STATUS_FEATURES_OK, VIRTIO_CONFIG_S_FEATURES_OK);
PIN(VHU_C_STATUS_NEEDS_RESET, VIRTIO_CONFIG_S_NEEDS_RESET);
PIN(VHU_C_STATUS_FAILED, VIRTIO_CONFIG_S_FAILED);
PIN(VHU_C_DESC_F_NEXT, VRING_DESC_F_NEXT);
PIN(VHU_C_DESC_F_WRITE, VRING_DESC_F_WRITE);
PIN(VHU_C_DESC_F_INDIRECT, VRING_DESC_F_INDIRECT);
PIN(VHU_C_DESC_SIZE, sizeof(struct vring_desc));
PIN(VHU_C_DESC_SIZE, sizeof(struct vring_packed_desc));
PIN(VHU_C_DESC_ALIGN, VRING_DESC_ALIGN_SIZE);
PIN(VHU_C_AVAIL_ALIGN, VRING_AVAIL_ALIGN_SIZE);
PIN(VHU_C_USED_ALIGN, VRING_USED_ALIGN_SIZE);
PIN(VHU_C_AVAIL_F_NO_INTERRUPT, VRING_AVAIL_F_NO_INTERRUPT);
PIN(VHU_C_USED_F_NO_NOTIFY, VRING_USED_F_NO_NOTIFY);
PIN(VHU_C_NET_F_NEEDS_CSUM, VIRTIO_NET_HDR_F_NEEDS_CSUM);
PIN(VHU_C_NET_F_DATA_VALID, VIRTIO_NET_HDR_F_DATA_VALID);
PIN(VHU_C_NET_GSO_TCPV4, VIRTIO_NET_HDR_GSO_TCPV4);
PIN(VHU_C_NET_GSO_UDP, VIRTIO_NET_HDR_GSO_UDP);
PIN(VHU_C_NET_GSO_TCPV6, VIRTIO_NET_HDR_GSO_TCPV6);
PIN(VHU_C_NET_GSO_ECN, VIRTIO_NET_HDR_GSO_ECN);
PIN(VHU_C_BLK_T_IN, VIRTIO_BLK_T_IN);
PIN(VHU_C_BLK_T_OUT, VIRTIO_BLK_T_OUT);
PIN(VHU_C_BLK_T_FLUSH, VIRTIO_BLK_T_FLUSH);
PIN(VHU_C_BLK_T_GET_ID, VIRTIO_BLK_T_GET_ID);
PIN(VHU_C_BLK_T_DISCARD, VIRTIO_BLK_T_DISCARD);
PIN(VHU_C_BLK_T_WRITE_ZEROES, VIRTIO_BLK_T_WRITE_ZEROES);
PIN(VHU_C_BLK_T_SECURE_ERASE, VIRTIO_BLK_T_SECURE_ERASE);
PIN(VHU_C_BLK_S_OK, VIRTIO_BLK_S_OK);
PIN(VHU_C_BLK_S_IOERR, VIRTIO_BLK_S_IOERR);
PIN(VHU_C_BLK_S_UNSUPP, VIRTIO_BLK_S_UNSUPP);
PIN(VHU_C_BLK_ID_SIZE, VIRTIO_BLK_ID_BYTES);
PIN(VHU_C_BLK_RANGE_UNMAP, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP);

/* The status bits stand in two tables. */
#define VHU_STATUS_BIT(upper, name, bit, meaning) enum { STATUS_MASK_##upper = 1 << (bit) };
#include <vhu/payloads.def>
PIN((int)STATUS_MASK_ACKNOWLEDGE, (int)VHU_C_STATUS_ACKNOWLEDGE);
PIN((int)STATUS_MASK_DRIVER, (int)VHU_C_STATUS_DRIVER);
PIN((int)STATUS_MASK_DRIVER_OK, (int)VHU_C_STATUS_DRIVER_OK);
PIN((int)STATUS_MASK_FEATURES_OK, (int)VHU_C_STATUS_FEATURES_OK);
PIN((int)STATUS_MASK_NEEDS_RESET, (int)VHU_C_STATUS_NEEDS_RESET);
PIN((int)STATUS_MASK_FAILED, (int)VHU_C_STATUS_FAILED);

/* --- payloads ---------------------------------------------------------------------------------- */

enum {
#define VHU_PAYLOAD(name, min, max, section) MIN_##name = (min), MAX_##name = (max),
#define VHU_FIELD(payload, name, offset, size, ...)                                                          \
	AT_##payload##_##name = (offset), SIZE_##payload##_##name = (size),
#include <vhu/payloads.def>
};

#define PIN_MEMBER(row_at, row_size, type, member)                                                           \
	_Static_assert((row_at) == offsetof(struct type, member), "offset of " #type "." #member);           \
	_Static_assert((row_size) == sizeof(((struct type *)0)->member), "size of " #type "." #member)
#define PIN_FIELD(payload, name, type, member)                                                               \
	PIN_MEMBER(AT_##payload##_##name, SIZE_##payload##_##name, type, member)

PIN(MIN_VRING_STATE, sizeof(struct vhost_vring_state));
PIN_FIELD(VRING_STATE, index, vhost_vring_state, index);
PIN_FIELD(VRING_STATE, num, vhost_vring_state, num);
PIN(MIN_VRING_BASE, sizeof(struct vhost_vring_state));
PIN_FIELD(VRING_BASE, index, vhost_vring_state, index);
PIN_FIELD(VRING_BASE, num, vhost_vring_state, num);
PIN(MIN_VRING_ADDR, sizeof(struct vhost_vring_addr));
PIN_FIELD(VRING_ADDR, index, vhost_vring_addr, index);
PIN_FIELD(VRING_ADDR, flags, vhost_vring_addr, flags);
PIN_FIELD(VRING_ADDR, descriptor, vhost_vring_addr, desc_user_addr);
PIN_FIELD(VRING_ADDR, used, vhost_vring_addr, used_user_addr);
PIN_FIELD(VRING_ADDR, available, vhost_vring_addr, avail_user_addr);
PIN_FIELD(VRING_ADDR, log, vhost_vring_addr, log_guest_addr);
PIN(MIN_REGION, sizeof(struct vhost_memory_region));
PIN_FIELD(REGION, guest_phys_addr, vhost_memory_region, guest_phys_addr);
PIN_FIELD(REGION, memory_size, vhost_memory_region, memory_size);
PIN_FIELD(REGION, userspace_addr, vhost_memory_region, userspace_addr);
PIN(MIN_MEM_TABLE, sizeof(struct vhost_memory));
PIN_FIELD(MEM_TABLE, num_regions, vhost_memory, nregions);
PIN(AT_MEM_TABLE_region, offsetof(struct vhost_memory, regions));
PIN(SIZE_MEM_TABLE_region, MIN_REGION);
PIN(SIZE_MEM_REG_region, MIN_REGION);
PIN(MAX_MEM_TABLE, (int)AT_MEM_TABLE_region + (int)VHU_C_MEM_TABLE_REGIONS * (int)MIN_REGION);
PIN(MIN_IOTLB, sizeof(struct vhost_iotlb_msg));
PIN_FIELD(IOTLB, iova, vhost_iotlb_msg, iova);
PIN_FIELD(IOTLB, size, vhost_iotlb_msg, size);
PIN_FIELD(IOTLB, uaddr, vhost_iotlb_msg, uaddr);
PIN_FIELD(IOTLB, perm, vhost_iotlb_msg, perm);
PIN_FIELD(IOTLB, type, vhost_iotlb_msg, type);
PIN(MIN_VIRTIO_GPU_RESP_DISPLAY_INFO, sizeof(struct virtio_gpu_resp_display_info));
PIN(MIN_VIRTIO_GPU_RESP_EDID, sizeof(struct virtio_gpu_resp_edid));

/* --- devices ----------------------------------------------------------------------------------- */

enum {
#define VHU_DEVICE(name, id, config_size, section) ID_##name = (id), CONFIG_SIZE_##name = (config_size),
#define VHU_CONFIG(device, field, offset, size, feature)                                                     \
	CONFIG_AT_##device##_##field = (offset), CONFIG_SIZE_##device##_##field = (size),
#include <vhu/devices.def>
};

/* Never called: two devices with one id are two equal cases, which do not compile. */
__attribute__((unused)) static bool device_id_known(unsigned id)
{
	switch (id) {
#define VHU_DEVICE(name, number, ...) case (number):
#include <vhu/devices.def>
		return true;
	}
	return false;
}

PIN(ID_NET, VIRTIO_ID_NET);
PIN(ID_BLK, VIRTIO_ID_BLOCK);
PIN(ID_CONSOLE, VIRTIO_ID_CONSOLE);
PIN(ID_RNG, VIRTIO_ID_RNG);
PIN(ID_BALLOON, VIRTIO_ID_BALLOON);
PIN(ID_SCSI, VIRTIO_ID_SCSI);
PIN(ID_GPU, VIRTIO_ID_GPU);
PIN(ID_RTC, VIRTIO_ID_CLOCK);
PIN(ID_INPUT, VIRTIO_ID_INPUT);
PIN(ID_VSOCK, VIRTIO_ID_VSOCK);
PIN(ID_CRYPTO, VIRTIO_ID_CRYPTO);
PIN(ID_IOMMU, VIRTIO_ID_IOMMU);
PIN(ID_MEM, VIRTIO_ID_MEM);
PIN(ID_SOUND, VIRTIO_ID_SOUND);
PIN(ID_FS, VIRTIO_ID_FS);
PIN(ID_PMEM, VIRTIO_ID_PMEM);
PIN(ID_RPMB, VIRTIO_ID_RPMB);
PIN(ID_SCMI, VIRTIO_ID_SCMI);
PIN(ID_I2C, VIRTIO_ID_I2C_ADAPTER);
PIN(ID_CAN, VIRTIO_ID_CAN);
PIN(ID_GPIO, VIRTIO_ID_GPIO);

/* Configuration fields; `member` where the kernel has another name, NAME where it has the same. */
#define PIN_CONFIG(device, field, type, member)                                                              \
	PIN_MEMBER(CONFIG_AT_##device##_##field, CONFIG_SIZE_##device##_##field, type, member)
#define PIN_BLK(name)	 PIN_CONFIG(BLK, name, virtio_blk_config, name)
#define PIN_NET(name)	 PIN_CONFIG(NET, name, virtio_net_config, name)
#define PIN_SCSI(name)	 PIN_CONFIG(SCSI, name, virtio_scsi_config, name)
#define PIN_GPU(name)	 PIN_CONFIG(GPU, name, virtio_gpu_config, name)
#define PIN_INPUT(name)	 PIN_CONFIG(INPUT, name, virtio_input_config, name)
#define PIN_CRYPTO(name) PIN_CONFIG(CRYPTO, name, virtio_crypto_config, name)
#define PIN_MEM(name)	 PIN_CONFIG(MEM, name, virtio_mem_config, name)

PIN_BLK(capacity);
PIN_BLK(size_max);
PIN_BLK(seg_max);
PIN_CONFIG(BLK, geometry_cylinders, virtio_blk_config, geometry.cylinders);
PIN_CONFIG(BLK, geometry_heads, virtio_blk_config, geometry.heads);
PIN_CONFIG(BLK, geometry_sectors, virtio_blk_config, geometry.sectors);
PIN_BLK(blk_size);
PIN_CONFIG(BLK, topology_physical_block_exp, virtio_blk_config, physical_block_exp);
PIN_CONFIG(BLK, topology_alignment_offset, virtio_blk_config, alignment_offset);
PIN_CONFIG(BLK, topology_min_io_size, virtio_blk_config, min_io_size);
PIN_CONFIG(BLK, topology_opt_io_size, virtio_blk_config, opt_io_size);
PIN_CONFIG(BLK, writeback, virtio_blk_config, wce);
PIN_CONFIG(BLK, unused0, virtio_blk_config, unused);
PIN_BLK(num_queues);
PIN_BLK(max_discard_sectors);
PIN_BLK(max_discard_seg);
PIN_BLK(discard_sector_alignment);
PIN_BLK(max_write_zeroes_sectors);
PIN_BLK(max_write_zeroes_seg);
PIN_BLK(write_zeroes_may_unmap);
PIN_BLK(unused1);
PIN_BLK(max_secure_erase_sectors);
PIN_BLK(max_secure_erase_seg);
PIN_BLK(secure_erase_sector_alignment);

PIN_NET(mac);
PIN_NET(status);
PIN_NET(max_virtqueue_pairs);
PIN_NET(mtu);
PIN_NET(speed);
PIN_NET(duplex);
PIN_NET(rss_max_key_size);
PIN_NET(rss_max_indirection_table_length);
PIN_NET(supported_hash_types);

PIN_SCSI(num_queues);
PIN_SCSI(seg_max);
PIN_SCSI(max_sectors);
PIN_SCSI(cmd_per_lun);
PIN_SCSI(event_info_size);
PIN_SCSI(sense_size);
PIN_SCSI(cdb_size);
PIN_SCSI(max_channel);
PIN_SCSI(max_target);
PIN_SCSI(max_lun);
PIN(CONFIG_SIZE_SCSI, sizeof(struct virtio_scsi_config));

PIN_CONFIG(VSOCK, guest_cid, virtio_vsock_config, guest_cid);
PIN(CONFIG_SIZE_VSOCK, sizeof(struct virtio_vsock_config));
PIN_CONFIG(FS, tag, virtio_fs_config, tag);
PIN_CONFIG(FS, num_request_queues, virtio_fs_config, num_request_queues);

PIN_GPU(events_read);
PIN_GPU(events_clear);
PIN_GPU(num_scanouts);
PIN_GPU(num_capsets);

PIN_INPUT(select);
PIN_INPUT(subsel);
PIN_CONFIG(INPUT, u_size, virtio_input_config, size); /* a message has a size of its own */
PIN_INPUT(reserved);
PIN_INPUT(u);
PIN(CONFIG_SIZE_INPUT, sizeof(struct virtio_input_config));

PIN_CRYPTO(status);
PIN_CRYPTO(max_dataqueues);
PIN_CRYPTO(crypto_services);
PIN_CRYPTO(cipher_algo_l);
PIN_CRYPTO(cipher_algo_h);
PIN_CRYPTO(hash_algo);
PIN_CRYPTO(mac_algo_l);
PIN_CRYPTO(mac_algo_h);
PIN_CRYPTO(aead_algo);
PIN_CRYPTO(max_cipher_key_len);
PIN_CRYPTO(max_auth_key_len);
PIN_CRYPTO(akcipher_algo);
PIN_CRYPTO(max_size);
PIN(CONFIG_SIZE_CRYPTO, sizeof(struct virtio_crypto_config));

PIN_MEM(block_size);
PIN_MEM(node_id);
PIN_MEM(addr);
PIN_MEM(region_size);
PIN_MEM(usable_region_size);
PIN_MEM(plugged_size);
PIN_MEM(requested_size);
PIN(CONFIG_SIZE_MEM, sizeof(struct virtio_mem_config));

PIN(CONFIG_SIZE_CONSOLE, sizeof(struct virtio_console_config));
PIN(CONFIG_SIZE_BALLOON, sizeof(struct virtio_balloon_config));
PIN(CONFIG_SIZE_IOMMU, sizeof(struct virtio_iommu_config));
PIN(CONFIG_SIZE_PMEM, sizeof(struct virtio_pmem_config));
PIN(CONFIG_SIZE_GPIO, sizeof(struct virtio_gpio_config));
PIN(CONFIG_AT_SOUND_controls, sizeof(struct virtio_snd_config));

/* --- request layouts ----------------------------------------------------------------------------- */

enum {
#define VHU_LAYOUT(device, layout, field, offset, size)                                                      \
	LAYOUT_AT_##layout##_##field = (offset), LAYOUT_SIZE_##layout##_##field = (size),
#include <vhu/devices.def>
};

#define PIN_LAYOUT(layout, field, type, member)                                                              \
	PIN_MEMBER(LAYOUT_AT_##layout##_##field, LAYOUT_SIZE_##layout##_##field, type, member)

PIN_LAYOUT(net_header, flags, virtio_net_hdr_v1, flags);
PIN_LAYOUT(net_header, gso_type, virtio_net_hdr_v1, gso_type);
PIN_LAYOUT(net_header, hdr_len, virtio_net_hdr_v1, hdr_len);
PIN_LAYOUT(net_header, gso_size, virtio_net_hdr_v1, gso_size);
PIN_LAYOUT(net_header, csum_start, virtio_net_hdr_v1, csum_start);
PIN_LAYOUT(net_header, csum_offset, virtio_net_hdr_v1, csum_offset);
PIN_LAYOUT(net_header, num_buffers, virtio_net_hdr_v1, num_buffers);
PIN_LAYOUT(net_ctrl, class, virtio_net_ctrl_hdr, class);
PIN_LAYOUT(net_ctrl, command, virtio_net_ctrl_hdr, cmd);
PIN_LAYOUT(net_ctrl_mq, virtqueue_pairs, virtio_net_ctrl_mq, virtqueue_pairs);
PIN_LAYOUT(blk_outhdr, type, virtio_blk_outhdr, type);
PIN_LAYOUT(blk_outhdr, reserved, virtio_blk_outhdr, ioprio);
PIN_LAYOUT(blk_outhdr, sector, virtio_blk_outhdr, sector);
PIN_LAYOUT(blk_range, sector, virtio_blk_discard_write_zeroes, sector);
PIN_LAYOUT(blk_range, num_sectors, virtio_blk_discard_write_zeroes, num_sectors);
PIN_LAYOUT(blk_range, flags, virtio_blk_discard_write_zeroes, flags);
