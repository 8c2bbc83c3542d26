/*
 * The Wireshark dissector: what the tables say as Lua tables, then the code that reads with them.
 *
 *   gen-dissector CODE.lua
 */
#include <ctype.h>
#include <string.h>

#include "spec/spec.h"
#include "trace/record.h"

static void put_string(const char *text)
{
	putchar('"');
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			putchar('\\');
		putchar(*text);
	}
	putchar('"');
}

static const char *payload_name(enum vhu_payload pl)
{
	return vhu_payload_row(pl)->name;
}

/* --- messages -------------------------------------------------------------------------------------- */

static void message(const struct vhu_msg_row *row)
{
	printf("\t[%u] = {name = \"%s\", request = \"%s\", request_alt = \"%s\", reply = \"%s\", reply_alt = "
	       "\"%s\"},\n",
	       row->id, row->name, payload_name(row->request), payload_name(row->request_alt),
	       payload_name(row->reply), payload_name(row->reply_alt));
}

static void messages(void)
{
	for (int channel = 0; channel < VHU_CHAN_MAX; channel++) {
		printf("messages[%d] = {\n", (int)vhu_cap_channel_of((enum vhu_channel)channel));
		for (int msg = 0; msg < VHU_MSG_MAX; msg++)
			if ((int)vhu_msg_row((enum vhu_msg)msg)->channel == channel)
				message(vhu_msg_row((enum vhu_msg)msg));
		puts("}");
	}
}

/* --- payloads -------------------------------------------------------------------------------------- */

static void field(const struct vhu_field_row *f)
{
	static const char *const kinds[] = {[VHU_FIELD_UINT] = "uint",
					    [VHU_FIELD_BYTES] = "bytes",
					    [VHU_FIELD_PAD] = "pad",
					    [VHU_FIELD_REGION] = "region"};
	static const char *const spaces[] = {[VHU_NS_NONE] = NULL,
					     [VHU_NS_VIRTIO] = "virtio",
					     [VHU_NS_PROTOCOL] = "protocol",
					     [VHU_NS_STATUS] = "status"};
	const char *space = spaces[vhu_field_namespace(f->payload, f->name)];

	printf("\t\t{name = \"%s\", offset = %zu, size = %zu, kind = \"%s\"", f->name, f->offset, f->size,
	       kinds[f->kind]);
	if (f->count)
		fputs(", array = true", stdout);
	if (space)
		printf(", names = \"%s\"", space);
	fputs(", meaning = ", stdout);
	put_string(f->meaning);
	puts("},");
}

static void payload(enum vhu_payload pl)
{
	const struct vhu_payload_row *row = vhu_payload_row(pl);
	const struct vhu_bits_row *bits;
	const struct vhu_field_row *f;

	printf("payloads[\"%s\"] = {min = %zu, max = %zu, fields = {\n", row->name, row->min, row->max);
	for (size_t i = 0; (f = vhu_payload_field(pl, i)); i++)
		field(f);
	puts("\t}, bits = {");
	for (size_t i = 0; (bits = vhu_payload_bits(pl, i)); i++) {
		printf("\t\t{field = \"%s\", first = %u, width = %u, name = \"%s\", meaning = ", bits->field,
		       bits->first, bits->width, bits->name);
		put_string(bits->meaning);
		puts("},");
	}
	puts("\t}}");
}

/* --- names ------------------------------------------------------------------------------------------ */

/* Bits below 24 mean something else on each device, which a capture need not say. */
static void feature_names(const char *name, enum vhu_namespace ns)
{
	printf("features[\"%s\"] = {", name);
	for (unsigned bit = 0; bit < 64; bit++) {
		const struct vhu_feature_row *row = vhu_feature_by_bit(ns, bit, VHU_DEV_ANY);

		if (row)
			printf("[%u] = \"%s\", ", bit, row->name);
	}
	puts("}");
}

static void names(const char *name, const char *(*of)(unsigned i), unsigned n)
{
	printf("names[\"%s\"] = {", name);
	for (unsigned i = 0; i < n; i++)
		if (strcmp(of(i), "?") != 0)
			printf("[%u] = \"%s\", ", i, of(i));
	puts("}");
}

static const char *channel_name(unsigned i)
{
	return vhu_cap_channel_name((enum vhu_cap_channel)i);
}

static const char *tap_name(unsigned i)
{
	return vhu_cap_tap_name((enum vhu_cap_tap)i);
}

static const char *fd_name(unsigned i)
{
	return vhu_fd_kind_name((enum vhu_fd_kind)i);
}

static void constants(void)
{
	printf("local VERSION, HEADER, MESSAGE_HEADER = %d, %d, %d\n", VHU_CAP_VERSION, VHU_CAP_HEADER,
	       VHU_C_HEADER_SIZE);
	printf("local BIG_ENDIAN, REPLY, NEED_REPLY, VERSION_MASK = %d, %d, %d, %d\n", VHU_CAP_BIG_ENDIAN,
	       VHU_C_HEADER_REPLY, VHU_C_HEADER_NEED_REPLY, VHU_C_HEADER_VERSION_MASK);
}

static int copy(const char *path)
{
	FILE *code = fopen(path, "re");
	int c;

	if (!code) {
		perror(path);
		return 1;
	}
	while ((c = getc(code)) != EOF)
		putchar(c);
	fclose(code);
	return 0;
}

int main(int argc, char **argv)
{
	int code;

	if (argc != 2) {
		fputs("usage: gen-dissector CODE.lua\n", stderr);
		return 2;
	}
	puts("-- Wireshark dissector of vhost-user captures. Generated from include/vhu/ and "
	     "tools/wireshark/.\n");
	puts("local messages, payloads, features, names = {}, {}, {}, {}");
	constants();
	messages();
	for (int pl = 0; pl < VHU_PL_MAX; pl++)
		payload((enum vhu_payload)pl);
	feature_names("virtio", VHU_NS_VIRTIO);
	feature_names("protocol", VHU_NS_PROTOCOL);
	feature_names("status", VHU_NS_STATUS);
	names("channel", channel_name, VHU_CAP_CHANNEL_MAX);
	names("tap", tap_name, VHU_CAP_TAP_MAX);
	names("life", vhu_cap_life_name, VHU_CAP_LIFE_MAX);
	names("ring", vhu_cap_ring_name, VHU_CAP_RING_MAX);
	names("fd", fd_name, VHU_FDK_MAX);
	puts("");
	code = copy(argv[1]);
	return code || ferror(stdout) || fflush(stdout) ? 1 : 0;
}
