/* What the recorder's marks mean: who ran the test, and the guest, did this. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

/* The modules that drive a device. */
static const char *const modules[VHU_DEV_MAX] = {
	[VHU_DEV_BLK] = "virtio_blk",
	[VHU_DEV_NET] = "virtio_net",
	[VHU_DEV_FS] = "virtiofs",
	[VHU_DEV_VSOCK] = "vmw_vsock_virtio_transport",
	[VHU_DEV_SCSI] = "virtio_scsi",
	[VHU_DEV_GPU] = "virtio_gpu",
	[VHU_DEV_INPUT] = "virtio_input",
	[VHU_DEV_RNG] = "virtio_rng",
	[VHU_DEV_CONSOLE] = "virtio_console",
	[VHU_DEV_I2C] = "i2c_virtio",
	[VHU_DEV_GPIO] = "gpio_virtio",
	[VHU_DEV_SOUND] = "virtio_snd",
	[VHU_DEV_CRYPTO] = "virtio_crypto",
	[VHU_DEV_CAN] = "virtio_can",
	[VHU_DEV_RTC] = "virtio_rtc",
	[VHU_DEV_SPI] = "spi_virtio",
};

/* Before the number of pairs that the guest uses from now on. */
static const char combined[] = " combined ";

/* Words that begin the mark, and a word that it has somewhere; the first row that fits counts. */
static const struct {
	const char *begin, *has;
	enum mark mark;
} table[] = {
	{"destination qemu starts", "", MARK_INCOMING},
	{"qemu start", "", MARK_START},
	{"guest userspace ready", "", MARK_BOOTED},
	{"guest: modprobe virtio_pci", "", MARK_PROBE_PCI},
	{"guest: ", "/drivers/virtio-pci/bind", MARK_PROBE_PCI},
	{"guest: ", "/remove", MARK_REMOVE_PCI},
	{"guest: ", "/drivers/virtio-pci/unbind", MARK_REMOVE_PCI},
	{"guest: rmmod virtio_pci", "", MARK_REMOVE_PCI},
	{"guest: ", "/rescan", MARK_PROBE_PCI},
	{"guest: poweroff", "", MARK_GUEST_OFF},
	{"guest: reboot", "", MARK_REBOOT},
	{"guest: echo", "cache_type", MARK_WRITE_CONFIG},
	{"qmp: system_reset", "", MARK_MACHINE_RESET},
	{"qmp: stop", "", MARK_PAUSE},
	{"qmp: set_link", " off", MARK_LINK_OFF},
	{"qmp: cont", "", MARK_RESUME},
	{"qmp: set_link", " on", MARK_LINK_ON},
	{"qmp: migrate_cancel", "", MARK_MIGRATE_CANCEL},
	{"qmp: migrate", "", MARK_MIGRATE},
	{"source: migrate-start-postcopy", "", MARK_POSTCOPY},
	{"source:", "postcopy", MARK_MIGRATE_POSTCOPY},
	{"source:", "migrate", MARK_MIGRATE},
	{"migration completed", "", MARK_MIGRATED},
	{"guest: ethtool -L", combined, MARK_PAIRS},
	{"qmp: object-add", "pc-dimm", MARK_PLUG},
	{"qmp: device_del", " dm", MARK_UNPLUG},
	{"qmp: device_del", "", MARK_GUEST_RESET},
	{"qmp: device_add", "", MARK_ADD_DEVICE},
	{"qmp: quit", "", MARK_QUIT},
	{"back-end killed", "", MARK_KILLED},
};

/* '-' and '_' are the same in a module's name; more words may follow it. */
static bool is_module(const char *text, const char *command, enum vhu_device device)
{
	const char *module = device < VHU_DEV_MAX ? modules[device] : NULL;
	size_t len = strlen(command);

	if (!module || strncmp(text, command, len) != 0)
		return false;
	for (text += len; *module && (*text == *module || (*text == '-' && *module == '_')); text++)
		module++;
	return !*module && (!*text || *text == ' ');
}

enum mark vhu_mark_of(const char *text, enum vhu_device device)
{
	for (size_t i = 0; i < VHU_ARRAY_SIZE(table); i++)
		if (strncmp(text, table[i].begin, strlen(table[i].begin)) == 0 && strstr(text, table[i].has))
			return table[i].mark;
	if (is_module(text, "guest: rmmod ", device))
		return MARK_GUEST_RESET;
	if (is_module(text, "guest: modprobe ", device))
		return MARK_DRIVER;
	return strncmp(text, "guest", 5) == 0 || strncmp(text, "qmp:", 4) == 0 ? MARK_UNKNOWN : MARK_NONE;
}

unsigned vhu_mark_pairs(const char *text)
{
	const char *at = strstr(text, combined);

	return at ? (unsigned)strtoul(at + strlen(combined), NULL, 10) : 0;
}
