/* Values and matchers: worked out, told in words, and read from a file. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "plan_case.h"

#define CONST(op, value)                                                                                     \
	{                                                                                                    \
		VHU_OP_##op, false, value, 0                                                                 \
	}
#define VAR(op, index)                                                                                       \
	{                                                                                                    \
		VHU_OP_##op, true, 0, index                                                                  \
	}
#define VALUE(...)                                                                                           \
	((struct vhu_value){(const struct vhu_term[]){__VA_ARGS__},                                          \
			    VHU_ARRAY_SIZE(((const struct vhu_term[]){__VA_ARGS__}))})
#define NUMBER(u) VALUE(CONST(FIRST, u))

static void test_eval(void **state)
{
	const struct {
		struct vhu_value v;
		int r;
		uint64_t u;
	} rows[] = {
		{NUMBER(7), 0, 7},
		{VALUE(CONST(FIRST, 7), CONST(ADD, 3), CONST(SUB, 10)), 0, 0},
		{VALUE(CONST(FIRST, 7), CONST(MUL, 6), CONST(ADD, 1)), 0, 43},
		{VALUE(CONST(FIRST, 12), CONST(OR, 3), CONST(AND, 6), CONST(XOR, 1)), 0, 7},
		{VALUE(CONST(FIRST, 15), CONST(ANDNOT, 6)), 0, 9},
		{VALUE(CONST(FIRST, UINT64_MAX), CONST(ADD, 1)), -ERANGE, 0},
		{VALUE(CONST(FIRST, 0), CONST(SUB, 1)), -ERANGE, 0},
		{VALUE(CONST(FIRST, UINT64_C(1) << 32), CONST(MUL, UINT64_C(1) << 32)), -ERANGE, 0},
		{VALUE(CONST(FIRST, UINT64_MAX), CONST(MUL, 1)), 0, UINT64_MAX},
		{VALUE(VAR(FIRST, 0), CONST(ADD, 1)), 0, 101},
		{VALUE(CONST(FIRST, 1), VAR(OR, 1)), -ENODATA, 1}, /* the index of what is not set */
	};
	const uint64_t vars[] = {100, 0};
	const bool set[] = {true, false};

	for (size_t i = 0; i < VHU_ARRAY_SIZE(rows); i++) {
		uint64_t u = 0;

		assert_int_equal(vhu_value_eval(&rows[i].v, vars, set, &u), rows[i].r);
		if (rows[i].r != -ERANGE)
			assert_int_equal(u, rows[i].u);
	}
}

static void test_const(void **state)
{
	struct vhu_value none = {0};
	struct vhu_value constant = NUMBER(1), variable = VALUE(CONST(FIRST, 1), VAR(ADD, 0));
	uint64_t u;

	assert_true(vhu_value_is_const(&constant));
	assert_false(vhu_value_is_const(&variable));
	assert_false(vhu_value_is_const(&none));
	/* Without any variables at hand, too. */
	assert_int_equal(vhu_value_eval(&variable, NULL, NULL, &u), -ENODATA);
}

static int match(struct vhu_match_term term, uint64_t x)
{
	const struct vhu_matcher m = {.terms = &term, .n = 1};
	size_t which = 99;
	int r = vhu_match_u64(&m, x, NULL, NULL, &which);

	assert_true(r != 0 || which == 0);
	return r;
}

static void test_match(void **state)
{
	const struct vhu_value list[] = {NUMBER(2), NUMBER(4)};
	static const struct {
		enum vhu_match_op op;
		uint64_t value, yes, no;
	} rows[] = {
		{VHU_MATCH_EQ, 5, 5, 6},  {VHU_MATCH_NE, 5, 6, 5},    {VHU_MATCH_LT, 5, 4, 5},
		{VHU_MATCH_LE, 5, 5, 6},  {VHU_MATCH_GT, 5, 6, 5},    {VHU_MATCH_GE, 5, 5, 4},
		{VHU_MATCH_HAS, 6, 7, 5}, {VHU_MATCH_LACKS, 6, 9, 3}, {VHU_MATCH_MULTIPLE_OF, 4, 8, 6},
	};

	for (size_t i = 0; i < VHU_ARRAY_SIZE(rows); i++) {
		assert_int_equal(
			match((struct vhu_match_term){rows[i].op, NUMBER(rows[i].value)}, rows[i].yes), 1);
		assert_int_equal(
			match((struct vhu_match_term){rows[i].op, NUMBER(rows[i].value)}, rows[i].no), 0);
	}
	/* Nothing is a multiple of 0. */
	assert_int_equal(match((struct vhu_match_term){VHU_MATCH_MULTIPLE_OF, NUMBER(0)}, 0), 0);
	assert_int_equal(match((struct vhu_match_term){VHU_MATCH_ANY}, 77), 1);
	assert_int_equal(match((struct vhu_match_term){.op = VHU_MATCH_IN, .list = list, .n_list = 2}, 4), 1);
	assert_int_equal(match((struct vhu_match_term){.op = VHU_MATCH_IN, .list = list, .n_list = 2}, 3), 0);
	assert_int_equal(match((struct vhu_match_term){VHU_MATCH_MASKED, NUMBER(4), NUMBER(6)}, 0x15), 1);
	assert_int_equal(match((struct vhu_match_term){VHU_MATCH_MASKED, NUMBER(4), NUMBER(6)}, 0x17), 0);
	assert_int_equal(match((struct vhu_match_term){VHU_MATCH_EQ, VALUE(VAR(FIRST, 0))}, 0), -ENODATA);
}

/* All terms have to hold; the one that does not is told. */
static void test_match_all(void **state)
{
	const struct vhu_match_term terms[] = {{VHU_MATCH_GE, NUMBER(2)}, {VHU_MATCH_LE, NUMBER(4)}};
	const struct vhu_matcher m = {.terms = terms, .n = 2}, none = {0};
	size_t which;

	assert_int_equal(vhu_match_u64(&m, 3, NULL, NULL, &which), 1);
	assert_int_equal(vhu_match_u64(&m, 1, NULL, NULL, &which), 0);
	assert_int_equal(which, 0);
	assert_int_equal(vhu_match_u64(&m, 5, NULL, NULL, &which), 0);
	assert_int_equal(which, 1);
	assert_int_equal(vhu_match_u64(&none, 5, NULL, NULL, &which), 1);
}

static void test_match_bytes(void **state)
{
	const uint8_t bytes[] = {1, 2, 3};
	const struct {
		struct vhu_match_term term;
		size_t len;
		int r;
	} rows[] = {
		{{.op = VHU_MATCH_BYTES, .bytes = bytes, .n_bytes = 3}, 3, 1},
		{{.op = VHU_MATCH_BYTES, .bytes = bytes, .n_bytes = 3}, 2, 0},
		{{.op = VHU_MATCH_BYTES, .bytes = bytes, .n_bytes = 0}, 0, 1},
		{{.op = VHU_MATCH_PREFIX, .bytes = bytes, .n_bytes = 2}, 3, 1},
		{{.op = VHU_MATCH_PREFIX, .bytes = bytes, .n_bytes = 3}, 2, 0},
		{{.op = VHU_MATCH_PREFIX, .bytes = bytes + 1, .n_bytes = 2}, 3, 0},
		{{.op = VHU_MATCH_LEN, .value = NUMBER(3)}, 3, 1},
		{{.op = VHU_MATCH_LEN, .value = NUMBER(3)}, 2, 0},
		{{.op = VHU_MATCH_ANY}, 2, 1},
		{{.op = VHU_MATCH_EQ, .value = NUMBER(1)}, 1, 0},
	};

	for (size_t i = 0; i < VHU_ARRAY_SIZE(rows); i++) {
		const struct vhu_matcher m = {.terms = &rows[i].term, .n = 1};
		size_t which;

		assert_int_equal(
			vhu_match_bytes(&m, rows[i].len ? bytes : NULL, rows[i].len, NULL, NULL, &which),
			rows[i].r);
	}
}

static void test_describe(void **state)
{
	const struct vhu_value list[] = {NUMBER(1), NUMBER(2)};
	const uint8_t bytes[] = {0xab, 0xcd};
	const struct {
		struct vhu_match_term term;
		enum vhu_namespace ns;
		const char *text;
	} rows[] = {
		{{VHU_MATCH_EQ, NUMBER(8)}, VHU_NS_NONE, "= 8"},
		{{VHU_MATCH_EQ, NUMBER(128)}, VHU_NS_NONE, "= 0x80"},
		{{VHU_MATCH_HAS, NUMBER(VHU_V(VIRTIO_F_VERSION_1))}, VHU_NS_VIRTIO, "has VERSION_1"},
		{{VHU_MATCH_LACKS, NUMBER(VHU_P(MQ) | VHU_P(CONFIG))}, VHU_NS_PROTOCOL, "lacks MQ | CONFIG"},
		{{.op = VHU_MATCH_IN, .list = list, .n_list = 2}, VHU_NS_NONE, "one of 1, 2"},
		{{VHU_MATCH_MASKED, NUMBER(1), NUMBER(3)}, VHU_NS_NONE, "= 1 in the bits 3"},
		{{.op = VHU_MATCH_PREFIX, .bytes = bytes, .n_bytes = 2}, VHU_NS_NONE, "starts with ab cd"},
		{{VHU_MATCH_LT, VALUE(VAR(FIRST, 0))}, VHU_NS_NONE, "< (not known yet)"},
		{{VHU_MATCH_ANY}, VHU_NS_NONE, "anything"},
	};
	const struct vhu_match_term both[] = {{VHU_MATCH_GE, NUMBER(1)}, {VHU_MATCH_LE, NUMBER(4)}};
	const struct vhu_matcher two = {.terms = both, .n = 2};
	char text[80], little[6];

	for (size_t i = 0; i < VHU_ARRAY_SIZE(rows); i++) {
		const struct vhu_matcher m = {&rows[i].term, 1, rows[i].ns, VHU_DEV_ANY};

		vhu_matcher_describe(&m, NULL, NULL, text, sizeof(text));
		assert_string_equal(text, rows[i].text);
	}
	vhu_matcher_describe(&two, NULL, NULL, text, sizeof(text));
	assert_string_equal(text, ">= 1 and <= 4");
	vhu_matcher_describe(&two, NULL, NULL, little, sizeof(little));
	assert_string_equal(little, ">= 1 ");
	assert_string_equal(vhu_outcomes_describe(VHU_OUT_ACK, text, sizeof(text)), "ack");
	assert_string_equal(
		vhu_outcomes_describe(VHU_OUT_ACK | VHU_OUT_CLOSES | VHU_OUT_REJECTS, text, sizeof(text)),
		"ack, closes or rejects");
	assert_string_equal(vhu_outcomes_describe(VHU_OUT_ACK | VHU_OUT_CLOSES, little, sizeof(little)),
			    "ack o");
}

/* --- as they stand in a file --------------------------------------------------------------------- */

static void test_expressions(void **state)
{
	static const struct {
		const char *text; /* JSON */
		uint64_t u;
	} rows[] = {
		{"9007199254740991", (UINT64_C(1) << 53) - 1},
		{"\"0xffffffffffffffff\"", UINT64_MAX},
		{"\"18446744073709551615\"", UINT64_MAX},
		{"\"3 * 512 + 128 - 1\"", 1663},
		{"\"0xff &~ 0xf | 1 ^ 3\"", 0xf2},
		{"\"VHOST_F_LOG_ALL\"", UINT64_C(1) << 26},
		{"\"STATUS_DRIVER_OK | STATUS_DRIVER\"", 6},
		{"\"BLK_T_DISCARD\"", 11},
		{"[]", 0},
		{"[\"VIRTIO_F_VERSION_1\", \"MQ\", \"$one\"]", (UINT64_C(1) << 32) | 1},
		{"\"$one + $two\"", 3},
		{"\"$sum * 2\"", 6}, /* what a variable stands for is one value */
		{"\"$case.queues * $case.queue_size\"", 512},
		{"\"$target.capacity - 1\"", 131071},
		{"\"$target.queue_num + $target.mem_slots\"", 36},
		{"\"$target.features & VHOST_F_LOG_ALL\"", UINT64_C(1) << 26},
		{"\"$target.protocol_features & 1\"", 1},
		{"\"$mem.size\"", 64 << 20},
	};
	struct work w;
	struct vhu_compile_opts opts = {0};

	work_start(&w);
	for (size_t i = 0; i < VHU_ARRAY_SIZE(rows); i++) {
		char step[200];
		struct vhu_plan *p = NULL;
		uint64_t u;

		snprintf(step, sizeof(step), "{\"memory\": \"fill\", \"gpa\": %s, \"len\": 1}", rows[i].text);
		work_case("x.json", "mapped",
			  "\"queues\": 4, \"vars\": {\"one\": 1, \"two\": 2, \"sum\": \"$one + $two\"},",
			  step);
		assert_int_equal(work_load(&w, ".", "x.json"), 0);
		assert_string_equal(vhu_buf_text(&w.text), "");
		assert_int_equal(vhu_plan_from_case(w.set, 0, &opts, &p, &w.diags, &w.err), 0);
		assert_true(vhu_value_is_const(&p->steps[0].memory.gpa));
		assert_int_equal(vhu_value_eval(&p->steps[0].memory.gpa, NULL, NULL, &u), 0);
		assert_int_equal(u, rows[i].u);
		vhu_plan_free(p);
	}
	work_end(&w);
}

/* A saved variable stays one; its constant neighbours stay, too. */
static void test_saved(void **state)
{
	struct work w;
	struct vhu_compile_opts opts = {0};
	struct vhu_plan *p = NULL;
	const bool set[] = {true, true};
	const uint64_t vars[] = {0x14, 5};
	uint64_t u;

	work_start(&w);
	work_case("x.json", "connected", "\"vars\": {\"alias\": \"$offer &~ 4\"},",
		  "{\"send\": \"GET_FEATURES\", \"save\": {\"offer\": \"u64\"}},\n"
		  "{\"assert\": [\"$alias | 3\", \"has\", \"$offer & 0x10\"]}");
	assert_int_equal(work_load(&w, ".", "x.json"), 0);
	assert_string_equal(vhu_buf_text(&w.text), "");
	assert_int_equal(vhu_plan_from_case(w.set, 0, &opts, &p, &w.diags, &w.err), 0);
	assert_int_equal(p->n_vars, 1);
	assert_string_equal(p->vars[0], "offer");
	assert_int_equal(p->steps[0].send.n_save, 1);
	assert_string_equal(p->steps[0].send.save[0].field, "u64");
	assert_string_equal(p->steps[1].assertion.text, "$alias | 3 has $offer & 0x10");
	assert_int_equal(p->steps[1].assertion.op, VHU_CMP_HAS);
	assert_int_equal(vhu_value_eval(&p->steps[1].assertion.a, vars, set, &u), 0);
	assert_int_equal(u, 0x13);
	assert_int_equal(vhu_value_eval(&p->steps[1].assertion.b, vars, set, &u), 0);
	assert_int_equal(u, 0x10);
	vhu_plan_free(p);
	work_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_eval),	    cmocka_unit_test(test_const),
		cmocka_unit_test(test_match),	    cmocka_unit_test(test_match_all),
		cmocka_unit_test(test_match_bytes), cmocka_unit_test(test_describe),
		cmocka_unit_test(test_expressions), cmocka_unit_test(test_saved),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
