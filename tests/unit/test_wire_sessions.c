/* Frames recorded between real front-ends and back-ends (tests/data/frames.txt) against what they are known
 * to say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <wire/frame.h>

enum { LINE = 4096, BYTES = 1024, FIELDS = 32 };

struct recorded {
	enum vhu_dir dir;
	enum vhu_channel channel;
	uint8_t bytes[BYTES];
	size_t len;
	unsigned n_fds;
	const char *name;
	char *field[FIELDS]; /* "name=value" */
	size_t n_fields;
	char line[LINE];
};

static FILE *file;

static int open_data(void **state)
{
	file = fopen(VHU_TEST_DATA "/frames.txt", "re");
	return file ? 0 : -1;
}

static int close_data(void **state)
{
	fclose(file);
	return 0;
}

/* The bytes are those of a little-endian host. */
static void start_reading(void)
{
	uint16_t one = 1;

	if (!*(uint8_t *)&one)
		skip();
	rewind(file);
}

/* The next frame of the file; false at its end. */
static bool next(struct recorded *r)
{
	char *save = NULL, *word;
	uint64_t n = 0;
	long len;

	do {
		if (!fgets(r->line, sizeof(r->line), file))
			return false;
		assert_non_null(strchr(r->line, '\n'));
	} while (r->line[0] == '#');

	word = strtok_r(r->line, " \n", &save);
	assert_true(!strcmp(word, "fe") || !strcmp(word, "be"));
	r->dir = !strcmp(word, "fe") ? VHU_DIR_FE : VHU_DIR_BE;
	word = strtok_r(NULL, " \n", &save);
	for (r->channel = VHU_CHAN_MAIN; strcmp(word, vhu_channel_name(r->channel)); r->channel++)
		assert_true(r->channel < VHU_CHAN_MAX);
	len = vhu_hex_parse(strtok_r(NULL, " \n", &save), r->bytes, sizeof(r->bytes));
	assert_true(len >= VHU_C_HEADER_SIZE);
	r->len = (size_t)len;
	assert_int_equal(vhu_u64_parse(strtok_r(NULL, " \n", &save), &n), 0);
	r->n_fds = (unsigned)n;
	r->name = strtok_r(NULL, " \n", &save);
	assert_non_null(r->name);
	for (r->n_fields = 0; (word = strtok_r(NULL, " \n", &save)); r->n_fields++) {
		assert_true(r->n_fields < FIELDS);
		r->field[r->n_fields] = word;
	}
	return true;
}

static void decode(const struct recorded *r, struct vhu_frame *ret)
{
	struct vhu_assembler a;

	vhu_assembler_init(&a, r->channel, r->dir);
	assert_int_equal(vhu_assembler_feed(&a, r->bytes, r->len, NULL, 0, false, NULL), 0);
	assert_int_equal(vhu_assembler_next(&a, ret, NULL), 1);
	vhu_assembler_done(&a);
}

/* Splits "name=value"; a number, or bytes with *ret_len > 0. */
static void split_field(const char *field, char name[64], uint64_t *ret, uint8_t *bytes, size_t *ret_len)
{
	const char *value = strchr(field, '=');

	assert_non_null(value);
	assert_true(value - field < 64);
	memcpy(name, field, (size_t)(value - field));
	name[value - field] = '\0';
	*ret_len = 0;
	if (!strncmp(++value, "hex:", 4)) {
		long len = vhu_hex_parse(value + 4, bytes, BYTES);

		assert_true(len > 0);
		*ret_len = (size_t)len;
	} else {
		assert_int_equal(vhu_u64_parse(value, ret), 0);
	}
}

static void recorded_frames_say_what_they_said(void **state)
{
	static struct recorded r;
	size_t n = 0;

	start_reading();
	for (; next(&r); n++) {
		struct vhu_frame f;
		struct vhu_buf text = {0}, wire = {0};

		decode(&r, &f);
		const struct vhu_msg_row *row = vhu_frame_row(&f);
		enum vhu_payload pl = vhu_frame_payload(&f);
		bool reply = vhu_frame_is_reply(&f);

		assert_non_null(row);
		assert_string_equal(row->name, r.name);
		assert_int_equal(f.defects, 0);
		assert_int_equal(!!(f.flags & VHU_C_HEADER_REPLY), reply);
		assert_true(vhu_payload_size_ok(pl, f.payload, f.len));
		assert_true(r.n_fds <= (reply ? row->reply_fds_max : row->fds_max));
		/* A u64 in place of a region is an acknowledgement, and brings none. */
		if (pl != VHU_PL_U64)
			assert_true(r.n_fds >= (reply ? row->reply_fds_min : row->fds_min));

		for (size_t i = 0; i < r.n_fields; i++) {
			uint8_t bytes[BYTES];
			const uint8_t *got_bytes;
			uint64_t value = 0, got = 0;
			size_t len, got_len;
			char name[64];

			split_field(r.field[i], name, &value, bytes, &len);
			if (len) {
				assert_true(vhu_frame_bytes(&f, pl, name, &got_bytes, &got_len));
				assert_int_equal(got_len, len);
				assert_memory_equal(got_bytes, bytes, len);
			} else {
				if (!vhu_frame_get(&f, pl, name, &got))
					fail_msg("%s has no %s", r.name, name);
				assert_int_equal(got, value);
			}
		}
		vhu_frame_describe(&f, VHU_DEV_BLK, &text);
		assert_non_null(strstr(text.data, r.name));
		/* Nothing odd was seen in the field. */
		assert_null(strstr(text.data, "[flags"));
		assert_null(strstr(text.data, " here)"));
		assert_int_equal(vhu_frame_encode(&f, &wire, NULL), 0);
		assert_int_equal(wire.len, r.len);
		assert_memory_equal(wire.data, r.bytes, r.len);
		vhu_buf_done(&wire);
		vhu_buf_done(&text);
		vhu_frame_done(&f);
	}
	assert_true(n > 150);
}

/* The payload without the tail padding of a C structure, in which real programs leave anything. */
static size_t meant_len(const struct vhu_frame *f, enum vhu_payload pl)
{
	const struct vhu_field_row *field, *last = NULL;

	for (size_t i = 0; (field = vhu_payload_field(pl, i)); i++)
		last = field;
	return last && last->kind == VHU_FIELD_PAD ? last->offset : f->len;
}

/* What was said, said by us, is the same bytes. */
static void known_fields_make_the_recorded_bytes(void **state)
{
	static struct recorded r;

	start_reading();
	while (next(&r)) {
		struct vhu_frame seen, f;

		decode(&r, &seen);
		enum vhu_payload pl = vhu_frame_payload(&seen);

		assert_int_equal(vhu_frame_request(&f, vhu_frame_row(&seen)->msg, NULL), 0);
		f.dir = r.dir;
		f.flags = seen.flags;
		assert_int_equal(vhu_frame_resize(&f, seen.len, NULL), 0);
		for (size_t i = 0; i < r.n_fields; i++) {
			uint8_t bytes[BYTES];
			uint64_t value = 0;
			size_t len;
			char name[64];

			split_field(r.field[i], name, &value, bytes, &len);
			if (len)
				assert_int_equal(vhu_frame_set_bytes(&f, pl, name, bytes, len), 0);
			else
				assert_int_equal(vhu_frame_set(&f, pl, name, value), 0);
		}
		assert_int_equal(f.size, seen.size);
		assert_int_equal(f.len, seen.len);
		if (f.len)
			assert_memory_equal(f.payload, seen.payload, meant_len(&f, pl));
		vhu_frame_done(&f);
		vhu_frame_done(&seen);
	}
}

/* All frames of one sender on one channel behind each other, in pieces that fit nothing. */
static void read_as_stream(enum vhu_channel channel, enum vhu_dir dir, size_t piece)
{
	static struct recorded r;
	struct vhu_buf stream = {0}, again = {0};
	struct vhu_assembler a;
	struct vhu_frame f;
	size_t sent = 0, got = 0;

	start_reading();
	while (next(&r)) {
		if (r.channel == channel && r.dir == dir) {
			vhu_buf_add(&stream, r.bytes, r.len);
			sent++;
		}
	}
	vhu_assembler_init(&a, channel, dir);
	for (size_t at = 0; at < stream.len; at += piece) {
		size_t len = VHU_MIN(piece, stream.len - at);

		assert_int_equal(vhu_assembler_feed(&a, stream.data + at, len, NULL, 0, false, NULL), 0);
		while (vhu_assembler_next(&a, &f, NULL) == 1) {
			assert_int_equal(vhu_frame_encode(&f, &again, NULL), 0);
			vhu_frame_done(&f);
			got++;
		}
	}
	assert_int_equal(vhu_assembler_end(&a, &f, NULL), 0);
	vhu_assembler_done(&a);
	assert_int_equal(got, sent);
	assert_int_equal(again.len, stream.len);
	if (stream.len)
		assert_memory_equal(again.data, stream.data, stream.len);
	vhu_buf_done(&stream);
	vhu_buf_done(&again);
}

static void recorded_frames_as_streams(void **state)
{
	static const size_t pieces[] = {1, 7, 12, 20, 61, 4096, 1 << 20};

	for (int channel = 0; channel < VHU_CHAN_MAX; channel++) {
		for (size_t i = 0; i < VHU_ARRAY_SIZE(pieces); i++) {
			read_as_stream((enum vhu_channel)channel, VHU_DIR_FE, pieces[i]);
			read_as_stream((enum vhu_channel)channel, VHU_DIR_BE, pieces[i]);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(recorded_frames_say_what_they_said),
		cmocka_unit_test(known_fields_make_the_recorded_bytes),
		cmocka_unit_test(recorded_frames_as_streams),
	};

	return cmocka_run_group_tests_name("wire_sessions", tests, open_data, close_data);
}
