/* Look-ups of feature bits, and their text form. */
#include "spec/spec.h"

#include <string.h>

#include "tables.h"

static const char pfeature_prefix[] = "VHOST_USER_PROTOCOL_F_";

struct feature_table {
	const struct vhu_feature_row *row;
	size_t n;
	const struct vhu_alias_row *alias;
};

static struct feature_table table_of(enum vhu_namespace ns)
{
	static const struct vhu_alias_row no_alias[] = {{NULL, 0}};

	switch (ns) {
	case VHU_NS_VIRTIO:
		return (struct feature_table){vhu_tab_vfeature, VHU_VROW_COUNT, vhu_tab_vfeature_alias};
	case VHU_NS_PROTOCOL:
		return (struct feature_table){vhu_tab_pfeature, VHU_PROW_COUNT, vhu_tab_pfeature_alias};
	case VHU_NS_STATUS:
		return (struct feature_table){vhu_tab_status, VHU_SROW_COUNT, no_alias};
	case VHU_NS_NONE:
		break;
	}
	return (struct feature_table){NULL, 0, no_alias};
}

const struct vhu_feature_row *vhu_feature_row(enum vhu_namespace ns, size_t i)
{
	struct feature_table t = table_of(ns);

	return i < t.n ? &t.row[i] : NULL;
}

const struct vhu_feature_row *vhu_feature_by_name(enum vhu_namespace ns, const char *name)
{
	struct feature_table t = table_of(ns);

	if (ns == VHU_NS_PROTOCOL && !strncmp(name, pfeature_prefix, strlen(pfeature_prefix)))
		name += strlen(pfeature_prefix);
	for (size_t i = 0; i < t.n; i++)
		if (!strcmp(t.row[i].name, name))
			return &t.row[i];
	for (; t.alias->name; t.alias++)
		if (!strcmp(t.alias->name, name))
			return &t.row[t.alias->index];
	return NULL;
}

const char *vhu_feature_name_at(void *ctx, size_t i)
{
	struct feature_table t = table_of(*(const enum vhu_namespace *)ctx);

	if (i < t.n)
		return t.row[i].name;
	for (i -= t.n; t.alias->name && i; i--)
		t.alias++;
	return t.alias->name;
}

/*
 * Two rows with one bit, of one device or both of none, are two equal cases: they do not
 * compile. That a device's bit is none of the transport's, the table tests see to.
 */
#define BIT_KEY(device, bit) ((unsigned)(device) << 8 | (bit))

static const struct vhu_feature_row *vfeature_by_key(unsigned key)
{
	switch (key) {
#define VHU_VFEATURE(name, bit, device, ...)                                                                 \
	case BIT_KEY(VHU_DEV_##device, bit):                                                                 \
		return &vhu_tab_vfeature[VHU_VROW_##name];
#include <vhu/virtio_features.def>
	}
	return NULL;
}

static const struct vhu_feature_row *pfeature_by_bit(unsigned bit)
{
	switch (bit) {
#define VHU_PFEATURE(name, number, ...)                                                                      \
	case (number):                                                                                       \
		return &vhu_tab_pfeature[VHU_PROW_##name];
#include <vhu/protocol_features.def>
	}
	return NULL;
}

static const struct vhu_feature_row *status_by_bit(unsigned bit)
{
	switch (bit) {
#define VHU_STATUS_BIT(upper, name, number, ...)                                                             \
	case (number):                                                                                       \
		return &vhu_tab_status[VHU_SROW_##upper];
#include <vhu/payloads.def>
	}
	return NULL;
}

const struct vhu_feature_row *vhu_feature_by_bit(enum vhu_namespace ns, unsigned bit, enum vhu_device device)
{
	const struct vhu_feature_row *row;

	if (bit > 63)
		return NULL;
	switch (ns) {
	case VHU_NS_VIRTIO:
		row = vfeature_by_key(BIT_KEY(VHU_DEV_ANY, bit));
		return row ? row : vfeature_by_key(BIT_KEY(device, bit));
	case VHU_NS_PROTOCOL:
		return pfeature_by_bit(bit);
	case VHU_NS_STATUS:
		return status_by_bit(bit);
	case VHU_NS_NONE:
		break;
	}
	return NULL;
}

uint64_t vhu_features_known(enum vhu_namespace ns, enum vhu_device device)
{
	struct feature_table t = table_of(ns);
	uint64_t known = 0;

	for (size_t i = 0; i < t.n; i++)
		if (!t.row[i].opt_in && (t.row[i].device == VHU_DEV_ANY || t.row[i].device == device))
			known |= UINT64_C(1) << t.row[i].bit;
	return known;
}

uint64_t vhu_features_with_needs(enum vhu_namespace ns, enum vhu_device device, uint64_t bits)
{
	uint64_t before;

	do {
		before = bits;
		for (unsigned bit = 0; bit < 64; bit++) {
			const struct vhu_feature_row *row =
				bits >> bit & 1 ? vhu_feature_by_bit(ns, bit, device) : NULL;

			if (row && (row->needs & ~bits))
				bits &= ~(UINT64_C(1) << bit);
		}
	} while (bits != before);
	return bits;
}

/* "VERSION_1" of VIRTIO_F_VERSION_1, "RO" of VIRTIO_BLK_F_RO. */
static const char *short_name(const struct vhu_feature_row *row)
{
	const char *tail = strstr(row->name, "_F_");

	return tail ? tail + 3 : row->name;
}

char *vhu_bit_names(enum vhu_namespace ns, enum vhu_device device, uint64_t value, char *out, size_t cap)
{
	size_t len = 0;

	if (!cap)
		return out;
	snprintf(out, cap, "%s", value ? "" : "none");
	for (unsigned bit = 0; bit < 64 && len < cap; bit++) {
		if (!(value >> bit & 1))
			continue;
		const struct vhu_feature_row *row = vhu_feature_by_bit(ns, bit, device);
		const char *gap = len ? " | " : "";
		int n = row ? snprintf(out + len, cap - len, "%s%s", gap, short_name(row))
			    : snprintf(out + len, cap - len, "%sbit %u", gap, bit);
		len += n > 0 ? (size_t)n : 0;
	}
	return out;
}
