/*
 * Every message and every payload, from the tables: encoded, taken apart at every byte and put
 * together again, cut at every byte, and every field written and read at the edges of its range.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <wire/frame.h>

enum { SMALL = 512 }; /* frames up to here are split at every byte, larger ones here and there */

/* --- frames of every kind -------------------------------------------------------------------- */

/* Payload sizes to try: the smallest, and for variable ones some more. Returns how many. */
static size_t sizes_of(enum vhu_payload pl, size_t out[4])
{
	const struct vhu_payload_row *row = vhu_payload_row(pl);
	size_t n = 0;

	out[n++] = row->min;
	for (size_t extra = 32; extra <= 256 && row->min + extra <= row->max; extra *= 8)
		out[n++] = row->min + extra;
	if (row->max > row->min && row->max <= VHU_FRAME_PAYLOAD_MAX)
		out[n++] = row->max;
	return n;
}

/* A frame of that payload with bytes that are all different from their neighbours. */
static void build(struct vhu_frame *f, const struct vhu_msg_row *row, bool reply, enum vhu_payload pl,
		  size_t len)
{
	const struct vhu_field_row *field;

	assert_int_equal(vhu_frame_request(f, row->msg, NULL), 0);
	if (reply) {
		f->dir = f->dir == VHU_DIR_FE ? VHU_DIR_BE : VHU_DIR_FE;
		f->flags |= VHU_C_HEADER_REPLY;
	}
	assert_int_equal(vhu_frame_resize(f, len, NULL), 0);
	for (size_t i = 0; i < len; i++)
		f->payload[i] = (uint8_t)(i * 7 + 3);
	for (size_t i = 0; (field = vhu_payload_field(pl, i)); i++) {
		size_t element = field->size ? field->size : 1;

		if (field->count && strcmp(field->count, "END"))
			assert_int_equal(vhu_frame_set(f, pl, field->count, (len - field->offset) / element),
					 0);
	}
	assert_true(vhu_payload_size_ok(pl, f->payload, f->len));
}

static void same(const struct vhu_frame *a, const struct vhu_frame *b)
{
	assert_int_equal(a->channel, b->channel);
	assert_int_equal(a->dir, b->dir);
	assert_int_equal(a->request, b->request);
	assert_int_equal(a->flags, b->flags);
	assert_int_equal(a->size, b->size);
	assert_int_equal(a->len, b->len);
	assert_int_equal(a->defects, b->defects);
	if (a->len)
		assert_memory_equal(a->payload, b->payload, a->len);
	else
		assert_null(b->payload);
}

static void feed(struct vhu_assembler *a, const char *bytes, size_t len)
{
	assert_int_equal(vhu_assembler_feed(a, bytes, len, NULL, 0, false, NULL), 0);
}

static void nothing_yet(struct vhu_assembler *a)
{
	struct vhu_frame f;

	assert_int_equal(vhu_assembler_next(a, &f, NULL), 0);
}

/* The frame in two pieces, cut at `cut`. */
static void split_at(const struct vhu_frame *f, const struct vhu_buf *wire, size_t cut)
{
	struct vhu_assembler a;
	struct vhu_frame got;

	vhu_assembler_init(&a, f->channel, f->dir);
	feed(&a, wire->data, cut);
	if (cut < wire->len)
		nothing_yet(&a);
	feed(&a, wire->data + cut, wire->len - cut);
	assert_int_equal(vhu_assembler_next(&a, &got, NULL), 1);
	same(f, &got);
	vhu_frame_done(&got);
	nothing_yet(&a);
	assert_int_equal(vhu_assembler_end(&a, &got, NULL), 0);
	vhu_assembler_done(&a);
}

/* The stream ends after `cut` bytes of the frame. */
static void end_at(const struct vhu_frame *f, const struct vhu_buf *wire, size_t cut)
{
	struct vhu_assembler a;
	struct vhu_frame got;
	struct vhu_buf text = {0}, again = {0};

	vhu_assembler_init(&a, f->channel, f->dir);
	feed(&a, wire->data, cut);
	nothing_yet(&a);
	assert_int_equal(vhu_assembler_end(&a, &got, NULL), cut > 0);
	if (cut) {
		assert_true(got.defects & VHU_DEFECT_TRUNCATED);
		assert_int_equal(!!(got.defects & VHU_DEFECT_HEADER_CUT), cut < VHU_C_HEADER_SIZE);
		if (cut >= VHU_C_HEADER_SIZE) {
			assert_int_equal(got.request, f->request);
			assert_int_equal(got.size, f->size);
			assert_int_equal(got.len, cut - VHU_C_HEADER_SIZE);
		}
		/* What came is what goes back on the wire. */
		assert_int_equal(vhu_frame_encode(&got, &again, NULL), 0);
		assert_int_equal(again.len, cut);
		assert_memory_equal(again.data, wire->data, cut);
		vhu_frame_describe(&got, VHU_DEV_BLK, &text);
		assert_non_null(strstr(vhu_buf_text(&text), "[truncated]"));
		assert_int_equal(vhu_assembler_end(&a, &got, NULL), 0);
		vhu_frame_done(&got);
	}
	vhu_buf_done(&again);
	vhu_buf_done(&text);
	vhu_assembler_done(&a);
}

static void check_frame(const struct vhu_frame *f)
{
	struct vhu_buf wire = {0}, text = {0};

	assert_int_equal(vhu_frame_encode(f, &wire, NULL), 0);
	assert_int_equal(wire.len, VHU_C_HEADER_SIZE + f->len);
	for (size_t cut = 0; cut <= wire.len; cut += cut < SMALL ? 1 : 4093)
		split_at(f, &wire, cut);
	for (size_t cut = 0; cut < wire.len; cut += cut < SMALL ? 1 : 4093)
		end_at(f, &wire, cut);

	vhu_frame_describe(f, VHU_DEV_BLK, &text);
	assert_true(text.len > 2);
	assert_null(strchr(text.data, '\n'));
	assert_non_null(strstr(text.data, vhu_frame_row(f)->name));
	assert_int_equal(!!strstr(text.data, " reply"), vhu_frame_is_reply(f));
	vhu_buf_done(&text);
	vhu_buf_done(&wire);
}

static void check_kind(const struct vhu_msg_row *row, bool reply, enum vhu_payload pl)
{
	size_t size[4], n = sizes_of(pl, size);

	for (size_t i = 0; i < n; i++) {
		struct vhu_frame f;

		build(&f, row, reply, pl, size[i]);
		assert_int_equal(vhu_frame_is_reply(&f), reply);
		assert_ptr_equal(vhu_frame_row(&f), row);
		check_frame(&f);
		vhu_frame_done(&f);
	}
}

static void every_message_survives_the_wire(void **state)
{
	for (int i = 0; i < VHU_MSG_MAX; i++) {
		const struct vhu_msg_row *row = vhu_msg_row((enum vhu_msg)i);

		check_kind(row, false, row->request);
		check_kind(row, false, row->request_alt);
		if (row->answer == VHU_ANSWER_NEVER)
			continue;
		check_kind(row, true, row->reply);
		check_kind(row, true, row->reply_alt);
		check_kind(row, true, VHU_PL_U64);
	}
}

/* --- which layout a frame has ---------------------------------------------------------------- */

static enum vhu_payload layout_of(enum vhu_msg msg, bool reply, size_t len)
{
	struct vhu_frame f;
	enum vhu_payload pl;

	assert_int_equal(vhu_frame_request(&f, msg, NULL), 0);
	if (reply)
		f.dir = f.dir == VHU_DIR_FE ? VHU_DIR_BE : VHU_DIR_FE;
	assert_int_equal(vhu_frame_resize(&f, len, NULL), 0);
	pl = vhu_frame_payload(&f);
	vhu_frame_done(&f);
	return pl;
}

static void requests_have_their_layout(void **state)
{
	assert_int_equal(layout_of(VHU_MSG_GET_FEATURES, false, 0), VHU_PL_NONE);
	assert_int_equal(layout_of(VHU_MSG_GET_FEATURES, false, 8), VHU_PL_MAX);
	assert_int_equal(layout_of(VHU_MSG_SET_FEATURES, false, 8), VHU_PL_FEATURES);
	assert_int_equal(layout_of(VHU_MSG_SET_FEATURES, false, 4), VHU_PL_MAX);
	assert_int_equal(layout_of(VHU_MSG_SET_LOG_BASE, false, 16), VHU_PL_LOG);
	assert_int_equal(layout_of(VHU_MSG_SET_LOG_BASE, false, 8), VHU_PL_U64);
	assert_int_equal(layout_of(VHU_MSG_ADD_MEM_REG, false, 40), VHU_PL_MEM_REG);
	assert_int_equal(layout_of(VHU_MSG_ADD_MEM_REG, false, 8), VHU_PL_U64);
	assert_int_equal(layout_of(VHU_MSG_SET_MEM_TABLE, false, 8), VHU_PL_MEM_TABLE);
	assert_int_equal(layout_of(VHU_MSG_SET_MEM_TABLE, false, 264), VHU_PL_MEM_TABLE);
	assert_int_equal(layout_of(VHU_MSG_SET_MEM_TABLE, false, 296), VHU_PL_MAX);
	/* Tail padding of the C structure may be missing. */
	assert_int_equal(layout_of(VHU_MSG_IOTLB_MSG, false, 32), VHU_PL_IOTLB);
	assert_int_equal(layout_of(VHU_MSG_IOTLB_MSG, false, 26), VHU_PL_IOTLB);
	assert_int_equal(layout_of(VHU_MSG_IOTLB_MSG, false, 27), VHU_PL_MAX);
	assert_int_equal(layout_of(VHU_MSG_SET_INFLIGHT_FD, false, 20), VHU_PL_INFLIGHT);
}

static void replies_have_their_layout(void **state)
{
	assert_int_equal(layout_of(VHU_MSG_GET_FEATURES, true, 8), VHU_PL_FEATURES);
	assert_int_equal(layout_of(VHU_MSG_SET_OWNER, true, 8), VHU_PL_U64);
	assert_int_equal(layout_of(VHU_MSG_SET_OWNER, true, 4), VHU_PL_MAX);
	assert_int_equal(layout_of(VHU_MSG_SET_MEM_TABLE, true, 8), VHU_PL_U64);
	assert_int_equal(layout_of(VHU_MSG_SET_MEM_TABLE, true, 40), VHU_PL_MEM_TABLE);
	assert_int_equal(layout_of(VHU_MSG_ADD_MEM_REG, true, 40), VHU_PL_MEM_REG);
	assert_int_equal(layout_of(VHU_MSG_SET_LOG_BASE, true, 0), VHU_PL_NONE);
	assert_int_equal(layout_of(VHU_MSG_SET_LOG_BASE, true, 8), VHU_PL_U64);
	assert_int_equal(layout_of(VHU_MSG_SET_LOG_BASE, true, 16), VHU_PL_LOG);
	/* Both shapes of an error, and a refusal. */
	assert_int_equal(layout_of(VHU_MSG_GET_CONFIG, true, 0), VHU_PL_NONE);
	assert_int_equal(layout_of(VHU_MSG_GET_CONFIG, true, 12), VHU_PL_CONFIG);
	assert_int_equal(layout_of(VHU_MSG_GET_CONFIG, true, 8), VHU_PL_U64);
	assert_int_equal(layout_of(VHU_MSG_POSTCOPY_ADVISE, true, 0), VHU_PL_NONE);
	assert_int_equal(layout_of(VHU_MSG_SET_DEVICE_STATE_FD, true, 8), VHU_PL_STATE_RESULT);
	assert_int_equal(layout_of(VHU_MSG_BACKEND_CONFIG_CHANGE_MSG, true, 8), VHU_PL_U64);
	assert_int_equal(layout_of(VHU_MSG_GET_SHMEM_CONFIG, true, 2056), VHU_PL_SHMEM_CONFIG);
}

static void unknown_requests_have_none(void **state)
{
	struct vhu_frame f = {.channel = VHU_CHAN_MAIN, .request = 99, .flags = 1};

	assert_null(vhu_frame_row(&f));
	assert_int_equal(vhu_frame_payload(&f), VHU_PL_MAX);
	assert_int_equal(vhu_frame_u64(&f, "u64"), 0);
	f.dir = VHU_DIR_BE;
	assert_int_equal(vhu_frame_resize(&f, 8, NULL), 0);
	assert_int_equal(vhu_frame_payload(&f), VHU_PL_U64);
	vhu_frame_done(&f);
}

static void sizes_follow_the_counts(void **state)
{
	uint8_t payload[300] = {0};

	payload[0] = 2;
	assert_true(vhu_payload_size_ok(VHU_PL_MEM_TABLE, payload, 72));
	assert_false(vhu_payload_size_ok(VHU_PL_MEM_TABLE, payload, 40));
	assert_false(vhu_payload_size_ok(VHU_PL_MEM_TABLE, payload, 73));
	assert_false(vhu_payload_size_ok(VHU_PL_MEM_TABLE, payload, 7));
	memset(payload, 0xff, 4);
	assert_false(vhu_payload_size_ok(VHU_PL_MEM_TABLE, payload, 264));
	memset(payload, 0, 12);
	payload[4] = 57;
	assert_true(vhu_payload_size_ok(VHU_PL_CONFIG, payload, 69));
	assert_false(vhu_payload_size_ok(VHU_PL_CONFIG, payload, 68));
	assert_true(vhu_payload_size_ok(VHU_PL_SHMEM_CONFIG, payload, 16));
	assert_false(vhu_payload_size_ok(VHU_PL_SHMEM_CONFIG, payload, 17));
	assert_true(vhu_payload_size_ok(VHU_PL_IOTLB, payload, 26));
	assert_false(vhu_payload_size_ok(VHU_PL_IOTLB, payload, 25));
	assert_true(vhu_payload_size_ok(VHU_PL_NONE, NULL, 0));
	assert_false(vhu_payload_size_ok(VHU_PL_NONE, payload, 1));
	assert_false(vhu_payload_size_ok(VHU_PL_MAX, payload, 0));
}

/* --- fields ---------------------------------------------------------------------------------- */

/* One number: `offset` and `size` of the word it stands in, `shift` and `width` inside it. */
static void check_number(struct vhu_frame *f, enum vhu_payload pl, const char *name, size_t offset,
			 size_t size, unsigned shift, unsigned width)
{
	uint64_t max = width == 64 ? UINT64_MAX : (UINT64_C(1) << width) - 1;
	uint64_t values[] = {0, 1, max, max / 2, max / 2 + 1, max / 3};
	uint8_t before[SMALL * 5];
	uint64_t got;
	size_t len = f->len;

	assert_true(len <= sizeof(before));
	for (int fill = 0; fill < 2; fill++) {
		memset(f->payload, fill ? 0xff : 0, len);
		for (size_t i = 0; i < VHU_ARRAY_SIZE(values); i++) {
			uint64_t word = fill ? UINT64_MAX : 0;

			memset(before, fill ? 0xff : 0, len);
			word = (word & ~(max << shift)) | values[i] << shift;
			vhu_ne_put(before + offset, size, word);
			assert_int_equal(vhu_frame_set(f, pl, name, values[i]), 0);
			/* That number, and nothing beside it. */
			assert_memory_equal(f->payload, before, len);
			assert_true(vhu_frame_get(f, pl, name, &got));
			assert_int_equal(got, values[i]);
		}
		if (max != UINT64_MAX) {
			memcpy(before, f->payload, len);
			assert_int_equal(vhu_frame_set(f, pl, name, max + 1), -ERANGE);
			assert_int_equal(vhu_frame_set(f, pl, name, UINT64_MAX), -ERANGE);
			assert_memory_equal(f->payload, before, len);
		}
	}
	/* One byte too short. */
	got = 42;
	f->len = offset + size - 1;
	assert_int_equal(vhu_frame_set(f, pl, name, 0), -ENOSPC);
	assert_false(vhu_frame_get(f, pl, name, &got));
	assert_int_equal(got, 42);
	f->len = len;
}

static bool is_number(const struct vhu_field_row *field)
{
	return (field->kind == VHU_FIELD_UINT || field->kind == VHU_FIELD_PAD) &&
	       (field->size == 1 || field->size == 2 || field->size == 4 || field->size == 8);
}

static void check_region_fields(struct vhu_frame *f, enum vhu_payload pl, const struct vhu_field_row *region)
{
	const struct vhu_field_row *field;
	char name[64];
	uint64_t got;

	for (size_t n = 0; (field = vhu_payload_field(VHU_PL_REGION, n)); n++) {
		size_t last = region->count ? 7 : 0;

		for (size_t i = 0; i <= last; i += 7) {
			size_t at = region->offset + i * region->size + field->offset;

			if (region->count)
				snprintf(name, sizeof(name), "region[%zu].%s", i, field->name);
			else
				snprintf(name, sizeof(name), "%s", field->name);
			check_number(f, pl, name, at, field->size, 0, (unsigned)(8 * field->size));
			assert_int_equal(vhu_frame_set_region(f, pl, i, field->name, 0x1234567890), 0);
			assert_true(vhu_frame_get(f, pl, name, &got));
			assert_int_equal(got, 0x1234567890);
			assert_true(vhu_frame_region(f, pl, i, field->name, &got));
			assert_int_equal(got, 0x1234567890);
		}
		assert_false(vhu_frame_region(f, pl, last + 1, field->name, &got));
		assert_int_equal(vhu_frame_set_region(f, pl, last + 1, field->name, 1),
				 region->count ? -ENOSPC : -ENOENT);
	}
}

static void every_field_at_its_edges(void **state)
{
	for (int i = 0; i < VHU_PL_MAX; i++) {
		enum vhu_payload pl = (enum vhu_payload)i;
		const struct vhu_payload_row *row = vhu_payload_row(pl);
		const struct vhu_field_row *field;
		const struct vhu_bits_row *bits;
		struct vhu_frame f = {0};

		/* Pictures behind the fields are left out. */
		if (row->max == 0)
			continue;
		assert_int_equal(vhu_frame_resize(&f, VHU_MIN(row->max, (size_t)SMALL * 5), NULL), 0);
		for (size_t n = 0; (field = vhu_payload_field(pl, n)); n++) {
			if (field->kind == VHU_FIELD_REGION)
				check_region_fields(&f, pl, field);
			else if (is_number(field) && !field->count && field->offset + field->size <= f.len)
				check_number(&f, pl, field->name, field->offset, field->size, 0,
					     (unsigned)(8 * field->size));
		}
		for (size_t n = 0; (bits = vhu_payload_bits(pl, n)); n++) {
			field = vhu_field_by_name(pl, bits->field);
			check_number(&f, pl, bits->name, field->offset, field->size, bits->first,
				     bits->width);
		}
		vhu_frame_done(&f);
	}
}

static void elements_of_arrays(void **state)
{
	struct vhu_frame f = {0};
	uint64_t got;

	assert_int_equal(vhu_frame_resize(&f, 8 + 8 * 3, NULL), 0);
	check_number(&f, VHU_PL_SHMEM_CONFIG, "mem_size[0]", 8, 8, 0, 64);
	check_number(&f, VHU_PL_SHMEM_CONFIG, "mem_size[2]", 24, 8, 0, 64);
	check_number(&f, VHU_PL_SHMEM_CONFIG, "mem_size[0x2]", 24, 8, 0, 64);
	assert_int_equal(vhu_frame_set(&f, VHU_PL_SHMEM_CONFIG, "mem_size[3]", 1), -ENOSPC);
	assert_int_equal(vhu_frame_set(&f, VHU_PL_SHMEM_CONFIG, "mem_size[4294967295]", 1), -ENOSPC);
	assert_false(vhu_frame_get(&f, VHU_PL_SHMEM_CONFIG, "mem_size[3]", &got));
	vhu_frame_done(&f);
}

static void names_that_are_none(void **state)
{
	static const char *const names[] = {
		"",
		"nmu",
		"index ",
		"mem_size",
		"mem_size[]",
		"mem_size[-1]",
		"mem_size[1",
		"mem_size]0[",
		"mem_size[0]x",
		"mem_size[0].u64",
		"mem_size[4294967296]",
		"num_regions[0]",
		"[0]",
		"padding[0]",
		"mem_size[00000000000000000000000000000000000000000000000000000000000000000000000000000]",
		"a_name_that_is_much_longer_than_any_field_has_and_longer_than_a_buffer_for_it[0]",
	};
	struct vhu_frame f = {0};
	uint64_t got = 5;

	assert_int_equal(vhu_frame_resize(&f, 264, NULL), 0);
	for (size_t i = 0; i < VHU_ARRAY_SIZE(names); i++) {
		assert_int_equal(vhu_frame_set(&f, VHU_PL_SHMEM_CONFIG, names[i], 0), -ENOENT);
		assert_false(vhu_frame_get(&f, VHU_PL_SHMEM_CONFIG, names[i], &got));
	}
	assert_false(vhu_frame_get(&f, VHU_PL_MEM_TABLE, "region", &got));
	assert_false(vhu_frame_get(&f, VHU_PL_MEM_TABLE, "region[0]", &got));
	assert_false(vhu_frame_get(&f, VHU_PL_MEM_TABLE, "region[0].size", &got));
	assert_false(vhu_frame_get(&f, VHU_PL_MEM_TABLE, "region[0].", &got));
	assert_false(vhu_frame_get(&f, VHU_PL_MEM_TABLE, "guest_phys_addr", &got));
	assert_false(vhu_frame_get(&f, VHU_PL_MEM_REG, "region[0].memory_size", &got));
	assert_false(vhu_frame_get(&f, VHU_PL_SHARED, "uuid", &got));
	assert_false(vhu_frame_get(&f, VHU_PL_IOTLB, "tail", &got));
	assert_false(vhu_frame_get(&f, VHU_PL_MAX, "u64", &got));
	assert_false(vhu_frame_region(&f, VHU_PL_U64, 0, "memory_size", &got));
	assert_false(vhu_frame_region(&f, VHU_PL_MEM_TABLE, SIZE_MAX, "memory_size", &got));
	assert_int_equal(got, 5);
	vhu_frame_done(&f);
}

static void byte_fields(void **state)
{
	static const uint8_t data[300] = {1, 2, 3};
	struct vhu_frame f;
	const uint8_t *bytes;
	size_t len;

	/* One that reaches to the end moves the end. */
	assert_int_equal(vhu_frame_request(&f, VHU_MSG_SET_CONFIG, NULL), 0);
	assert_int_equal(f.len, 12);
	assert_false(vhu_frame_bytes(&f, VHU_PL_CONFIG, "payload", &bytes, &len));
	assert_int_equal(vhu_frame_set_bytes(&f, VHU_PL_CONFIG, "payload", data, 3), 0);
	assert_int_equal(f.len, 15);
	assert_int_equal(f.size, 15);
	assert_true(vhu_frame_bytes(&f, VHU_PL_CONFIG, "payload", &bytes, &len));
	assert_int_equal(len, 3);
	assert_memory_equal(bytes, data, 3);
	assert_int_equal(vhu_frame_set_bytes(&f, VHU_PL_CONFIG, "payload", NULL, 0), 0);
	assert_int_equal(f.len, 12);
	assert_int_equal(vhu_frame_set_bytes(&f, VHU_PL_CONFIG, "payload", data, (size_t)1 << 40), -E2BIG);
	assert_int_equal(vhu_frame_set_bytes(&f, VHU_PL_CONFIG, "offset", data, 3), -ENOENT);
	vhu_frame_done(&f);

	/* One of fixed size is filled up. */
	assert_int_equal(vhu_frame_request(&f, VHU_MSG_GET_SHARED_OBJECT, NULL), 0);
	memset(f.payload, 0xee, f.len);
	assert_int_equal(vhu_frame_set_bytes(&f, VHU_PL_SHARED, "uuid", data, 3), 0);
	assert_memory_equal(f.payload, data, 16);
	assert_int_equal(vhu_frame_set_bytes(&f, VHU_PL_SHARED, "uuid", data, 17), -ERANGE);
	assert_int_equal(vhu_frame_resize(&f, 10, NULL), 0);
	assert_int_equal(vhu_frame_set_bytes(&f, VHU_PL_SHARED, "uuid", data, 3), -ENOSPC);
	assert_true(vhu_frame_bytes(&f, VHU_PL_SHARED, "uuid", &bytes, &len));
	assert_int_equal(len, 10);
	vhu_frame_done(&f);
}

static void packed_bases_by_bits(void **state)
{
	struct vhu_frame f;

	assert_int_equal(vhu_frame_request(&f, VHU_MSG_SET_VRING_BASE, NULL), 0);
	assert_int_equal(vhu_frame_set(&f, VHU_PL_VRING_BASE, "avail_off", 11), 0);
	assert_int_equal(vhu_frame_set(&f, VHU_PL_VRING_BASE, "avail_wrap", 1), 0);
	assert_int_equal(vhu_frame_set(&f, VHU_PL_VRING_BASE, "used_off", 12), 0);
	assert_int_equal(vhu_frame_set(&f, VHU_PL_VRING_BASE, "used_wrap", 1), 0);
	assert_int_equal(vhu_frame_u64(&f, "num"), 0x800c800b);
	assert_int_equal(vhu_frame_u64(&f, "avail_idx"), 0x800b);
	vhu_frame_done(&f);
}

/* Places that are known when the code is compiled are those that the tables name. */
static void places(void **state)
{
	struct place {
		enum vhu_payload pl;
		const char *name;
		struct vhu_slot slot;
	};
	static const struct place all[] = {
#define VHU_FIELD(pl, name, ...) {VHU_PL_##pl, #name, VHU_SLOT(pl, name)},
#define VHU_BITS(pl, field, first, width, name, ...) {VHU_PL_##pl, #name, VHU_SLOT(pl, name)},
#include <vhu/payloads.def>
	};
	uint8_t bytes[64 * 1024];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7 + 3);
	for (size_t i = 0; i < VHU_ARRAY_SIZE(all); i++) {
		const struct vhu_field_row *row = vhu_field_by_name(all[i].pl, all[i].name);
		struct vhu_frame f = {.payload = bytes, .len = vhu_payload_row(all[i].pl)->min};
		uint64_t by_name = 0, by_place = 0;
		bool there = vhu_frame_get(&f, all[i].pl, all[i].name, &by_name);

		if (row && (row->count || row->kind != VHU_FIELD_UINT))
			continue; /* no single number */
		assert_int_equal(vhu_frame_load(&f, all[i].slot, &by_place), there);
		assert_int_equal(by_place, by_name);
	}
}

/* Whatever layout has an "index": it is the ring's. */
static void rings(void **state)
{
	uint8_t bytes[64] = {5, 0, 0, 0, 9};

	for (int pl = 0; pl < VHU_PL_MAX; pl++) {
		struct vhu_frame f = {.payload = bytes, .settled = true, .layout = (enum vhu_payload)pl};
		bool has = vhu_field_by_name(f.layout, "index") || vhu_bits_by_name(f.layout, "index");
		uint64_t index = 77;

		assert_false(vhu_frame_ring(&f, &index));
		assert_int_equal(index, 0);
		f.len = sizeof(bytes);
		assert_int_equal(vhu_frame_ring(&f, &index), has);
		assert_int_equal(index, has ? 5 : 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_message_survives_the_wire),
		cmocka_unit_test(requests_have_their_layout),
		cmocka_unit_test(replies_have_their_layout),
		cmocka_unit_test(unknown_requests_have_none),
		cmocka_unit_test(sizes_follow_the_counts),
		cmocka_unit_test(every_field_at_its_edges),
		cmocka_unit_test(elements_of_arrays),
		cmocka_unit_test(names_that_are_none),
		cmocka_unit_test(byte_fields),
		cmocka_unit_test(packed_bases_by_bits),
		cmocka_unit_test(places),
		cmocka_unit_test(rings),
	};

	return cmocka_run_group_tests_name("wire_codec", tests, NULL, NULL);
}
