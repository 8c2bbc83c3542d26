/* What is private goes, what is structure stays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <base/arena.h>
#include <trace/anonymize.h>

enum { BYTES = 400 };

struct fixture {
	enum vhu_device device;
	struct vhu_arena *arena;
	struct vhu_scrubber *scrubber;
	uint8_t bytes[BYTES];
};

static struct fixture open_for(enum vhu_device device)
{
	struct fixture x = {.device = device, .arena = vhu_arena_new()};

	assert_non_null(x.arena);
	assert_int_equal(vhu_scrubber_new(&x.scrubber, NULL), 0);
	return x;
}

static void close_it(struct fixture *x)
{
	vhu_scrubber_free(x->scrubber);
	vhu_arena_free(x->arena);
}

static struct vhu_record scrub(struct fixture *x, const struct vhu_record *r)
{
	struct vhu_record ret;

	assert_int_equal(vhu_scrubber_record(x->scrubber, x->device, r, x->arena, &ret, NULL), 0);
	assert_true(ret.flags & VHU_CAP_SCRUBBED);
	assert_int_equal(ret.len, r->len);
	return ret;
}

/* The payload of a message of this id, scrubbed. */
static const uint8_t *message(struct fixture *x, enum vhu_cap_channel channel, enum vhu_cap_direction dir,
			      uint32_t id, const void *payload, size_t len)
{
	struct vhu_record r = {.channel = channel, .dir = dir, .connection = 1, .payload = x->bytes};

	assert_true(VHU_C_HEADER_SIZE + len <= BYTES);
	vhu_ne_put(x->bytes, 4, id);
	vhu_ne_put(x->bytes + 4, 4, 1);
	vhu_ne_put(x->bytes + 8, 4, len);
	memcpy(x->bytes + VHU_C_HEADER_SIZE, payload, len);
	r.len = VHU_C_HEADER_SIZE + len;
	r.orig_len = (uint32_t)r.len;
	r = scrub(x, &r);
	assert_memory_equal(r.payload, x->bytes, VHU_C_HEADER_SIZE);
	return r.payload + VHU_C_HEADER_SIZE;
}

static bool zero(const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (bytes[i])
			return false;
	return true;
}

enum { CONFIG_HEAD = 12, CONFIG = 40 };

static const uint8_t *config(struct fixture *x, uint8_t *payload)
{
	vhu_ne_put(payload, 4, 0);
	vhu_ne_put(payload + 4, 4, CONFIG);
	vhu_ne_put(payload + 8, 4, 0);
	memset(payload + CONFIG_HEAD, 0x5a, CONFIG);
	return message(x, VHU_CAP_MAIN, VHU_CAP_DIR_BE, VHU_ID_GET_CONFIG, payload, CONFIG_HEAD + CONFIG);
}

static void config_space_loses_what_names_somebody(void **state)
{
	uint8_t payload[CONFIG_HEAD + CONFIG];
	struct fixture net = open_for(VHU_DEV_NET), blk = open_for(VHU_DEV_BLK), any = open_for(VHU_DEV_ANY),
		       scsi = open_for(VHU_DEV_SCSI);
	const uint8_t *bytes = config(&net, payload);

	assert_true(zero(bytes + CONFIG_HEAD, 6)); /* the MAC address */
	assert_memory_equal(bytes + CONFIG_HEAD + 6, payload + CONFIG_HEAD + 6, 28 - 6);
	assert_true(zero(bytes + CONFIG_HEAD + 28, CONFIG - 28));
	assert_memory_equal(config(&blk, payload), payload, sizeof(payload));
	/* Behind the last field: nobody knows what. */
	bytes = config(&scsi, payload);
	assert_memory_equal(bytes, payload, CONFIG_HEAD + 36);
	assert_true(zero(bytes + CONFIG_HEAD + 36, CONFIG - 36));
	bytes = config(&any, payload);
	assert_memory_equal(bytes, payload, CONFIG_HEAD);
	assert_true(zero(bytes + CONFIG_HEAD, CONFIG));
	close_it(&net);
	close_it(&blk);
	close_it(&scsi);
	close_it(&any);
}

static void contents_of_messages_go(void **state)
{
	struct fixture x = open_for(VHU_DEV_ANY);
	uint8_t payload[300];
	const uint32_t num[] = {3, 128};
	const uint8_t *bytes;

	memset(payload, 0x5a, sizeof(payload));
	/* A MAC address, pictures, bytes of an unknown message. */
	assert_true(zero(message(&x, VHU_CAP_MAIN, VHU_CAP_DIR_FE, VHU_ID_SEND_RARP, payload, 8), 8));
	assert_true(zero(message(&x, VHU_CAP_MAIN, VHU_CAP_DIR_FE, 250, payload, 100), 100));
	assert_memory_equal(message(&x, VHU_CAP_MAIN, VHU_CAP_DIR_FE, VHU_ID_SET_VRING_NUM, num, 8), num, 8);
	/* A table of two regions, and what its sender had in the places of the others. */
	vhu_ne_put(payload, 4, 2);
	bytes = message(&x, VHU_CAP_MAIN, VHU_CAP_DIR_FE, VHU_ID_SET_MEM_TABLE, payload, 264);
	assert_memory_equal(bytes, payload, 8 + 2 * 32);
	assert_true(zero(bytes + 8 + 2 * 32, 6 * 32));
	close_it(&x);
}

static void identities_stay_distinct(void **state)
{
	struct fixture x = open_for(VHU_DEV_ANY);
	uint8_t a[16], b[16], first[16];
	const uint8_t *bytes;

	memset(a, 0x11, sizeof(a));
	memset(b, 0x22, sizeof(b));
	bytes = message(&x, VHU_CAP_BACKEND, VHU_CAP_DIR_BE, VHU_ID_BACKEND_SHARED_OBJECT_ADD, a, 16);
	memcpy(first, bytes, 16);
	assert_memory_not_equal(first, a, 16);
	bytes = message(&x, VHU_CAP_BACKEND, VHU_CAP_DIR_BE, VHU_ID_BACKEND_SHARED_OBJECT_ADD, b, 16);
	assert_memory_not_equal(bytes, first, 16);
	bytes = message(&x, VHU_CAP_BACKEND, VHU_CAP_DIR_BE, VHU_ID_BACKEND_SHARED_OBJECT_REMOVE, a, 16);
	assert_memory_equal(bytes, first, 16);
	close_it(&x);
}

static void names_and_numbers_go(void **state)
{
	const struct vhu_fd_info fd = {.kind = VHU_FDK_MEMFD,
				       .size_valid = true,
				       .inode_valid = true,
				       .number = 9,
				       .size = 4096,
				       .dev = 77,
				       .inode = 4711};
	const struct vhu_record_finding finding = {"HDR-01", "fail", "of /home/somebody"};
	const struct vhu_record r = {.channel = VHU_CAP_LIFE,
				     .kind = VHU_CAP_LIFE_CONNECT,
				     .dir = VHU_CAP_DIR_FE,
				     .connection = 1,
				     .tgid = 5000,
				     .tid = 5001,
				     .snd_ino = 123456,
				     .comm = "somebody",
				     .peer_comm = "else",
				     .path = "/home/somebody/a.sock",
				     .text = "a remark",
				     .step = "core/a\t/steps/0 (/home/somebody/lib.json /macros/m/steps/1)",
				     .fds = &fd,
				     .n_fds = 1,
				     .findings = &finding,
				     .n_findings = 1};
	struct fixture x = open_for(VHU_DEV_ANY);
	struct vhu_record s = scrub(&x, &r), again = scrub(&x, &r);

	assert_string_equal(s.comm, "front-end");
	assert_string_equal(s.peer_comm, "back-end");
	assert_string_equal(s.path, "/socket-1");
	assert_string_equal(s.step, "core/a\t/steps/0");
	assert_null(s.text);
	assert_string_equal(s.findings[0].requirement, "HDR-01");
	assert_string_equal(s.findings[0].summary, "");
	assert_int_equal(s.tgid, 1);
	assert_int_equal(s.tid, 2);
	assert_int_equal(s.snd_ino, 1);
	assert_int_equal(s.rcv_ino, 0);
	assert_int_equal(s.fds[0].inode, 1);
	assert_int_equal(s.fds[0].size, 4096);
	assert_int_equal(s.fds[0].number, 9);
	assert_int_equal(again.tgid, 1);
	assert_int_equal(again.fds[0].inode, 1);
	close_it(&x);
}

static void buffers_and_memory_go(void **state)
{
	struct fixture x = open_for(VHU_DEV_ANY);
	struct vhu_record r = {.channel = VHU_CAP_MEM, .connection = 1, .payload = x.bytes, .len = 100};

	memset(x.bytes, 0x5a, sizeof(x.bytes));
	r = scrub(&x, &r);
	assert_memory_equal(r.payload, x.bytes, 16);
	assert_true(zero(r.payload + 16, 84));
	r = (struct vhu_record){.channel = VHU_CAP_STATE, .connection = 1, .payload = x.bytes, .len = 100};
	r = scrub(&x, &r);
	assert_true(zero(r.payload, 100));
	/* Two descriptors, then what they point to. */
	vhu_le_put(x.bytes + 6, 2, 2);
	vhu_le_put(x.bytes + 12, 4, 40);
	r = (struct vhu_record){.channel = VHU_CAP_RING,
				.kind = VHU_CAP_RING_AVAIL,
				.connection = 1,
				.payload = x.bytes,
				.len = 100};
	r = scrub(&x, &r);
	assert_memory_equal(r.payload, x.bytes, 48);
	assert_true(zero(r.payload + 48, 52));
	vhu_le_put(x.bytes + 24, 4, 60);
	r = (struct vhu_record){.channel = VHU_CAP_RING,
				.kind = VHU_CAP_RING_USED,
				.connection = 1,
				.payload = x.bytes,
				.len = 100};
	r = scrub(&x, &r);
	assert_memory_equal(r.payload, x.bytes, 16);
	assert_true(zero(r.payload + 16, 8)); /* the hash */
	assert_true(zero(r.payload + 32, 68));
	/* What stands behind what is known, of kinds that are not known, and where framing was lost. */
	for (unsigned i = 0; i < 6; i++) {
		static const struct {
			enum vhu_cap_channel channel;
			unsigned kind, flags;
			size_t kept;
		} rows[] = {
			{VHU_CAP_RING, VHU_CAP_RING_KICK, 0, 16}, {VHU_CAP_LIFE, VHU_CAP_LIFE_START, 0, 0},
			{VHU_CAP_LIFE, VHU_CAP_LIFE_EXIT, 0, 4},  {VHU_CAP_LIFE, VHU_CAP_LIFE_LOST, 0, 8},
			{VHU_CAP_LIFE, 99, 0, 0},		  {VHU_CAP_MAIN, 0, VHU_CAP_MALFORMED, 0},
		};

		r = (struct vhu_record){.channel = rows[i].channel,
					.kind = (uint16_t)rows[i].kind,
					.flags = (uint16_t)rows[i].flags,
					.connection = 1,
					.payload = x.bytes,
					.len = 100};
		r = scrub(&x, &r);
		assert_memory_equal(r.payload, x.bytes, rows[i].kept);
		assert_true(zero(r.payload + rows[i].kept, 100 - rows[i].kept));
	}
	/* What makes no sense may be anything. */
	vhu_le_put(x.bytes + 24, 4, 600);
	r.payload = x.bytes;
	r = scrub(&x, &r);
	assert_true(zero(r.payload, 100));
	close_it(&x);
}

static void the_target_is_its_device_type_only(void **state)
{
	struct vhu_arena *arena = vhu_arena_new();
	struct vhu_trace_meta m;

	assert_int_equal(
		vhu_scrubber_meta(
			"{\"format\":\"vhu-capture\",\"version\":1,\"level\":2,\"tool\":\"t\",\"target\":"
			"{\"device\":\"blk\",\"socket\":\"/home/x\"},\"mask\":[\"A.b\",7]}",
			arena, &m, NULL),
		0);
	assert_int_equal(m.level, 2);
	assert_string_equal(m.target, "{\"device\": \"blk\"}");
	assert_int_equal(m.n_mask, 1);
	assert_string_equal(m.mask[0], "A.b");
	vhu_arena_free(arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(config_space_loses_what_names_somebody),
		cmocka_unit_test(contents_of_messages_go),
		cmocka_unit_test(identities_stay_distinct),
		cmocka_unit_test(names_and_numbers_go),
		cmocka_unit_test(buffers_and_memory_go),
		cmocka_unit_test(the_target_is_its_device_type_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
