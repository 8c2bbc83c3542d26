/* From files to plans: ids, rows, libraries, blocks, places. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "plan_case.h"

#define FENCE "{\"fence\": true}"

static struct vhu_plan *compile(struct work *w, size_t i)
{
	struct vhu_facts facts = work_facts();
	struct vhu_compile_opts opts = {.facts = &facts, .allow_writes = true};
	struct vhu_plan *p = NULL;

	assert_int_equal(vhu_plan_from_case(w->set, i, &opts, &p, &w->diags, &w->err), 0);
	assert_string_equal(vhu_buf_text(&w->text), "");
	assert_non_null(p);
	return p;
}

/* One case from its start, further keys and steps. */
static struct vhu_plan *plan_of(struct work *w, const char *start, const char *extra, const char *steps)
{
	work_case("x.json", start, extra, steps);
	assert_int_equal(work_load(w, ".", "x.json"), 0);
	assert_string_equal(vhu_buf_text(&w->text), "");
	assert_int_equal(vhu_case_set_count(w->set), 1);
	return compile(w, 0);
}

static void ids_are(const struct work *w, const char *expected)
{
	struct vhu_buf ids = {0};

	for (size_t i = 0; i < vhu_case_set_count(w->set); i++)
		vhu_buf_printf(&ids, "%s%s", i ? " " : "", vhu_case_set_info(w->set, i)->id);
	assert_string_equal(vhu_buf_text(&ids), expected);
	vhu_buf_done(&ids);
}

/* --- files
 * -------------------------------------------------------------------------------------------------- */

static void test_ids(void **state)
{
	static const struct {
		const char *path, *ids;
	} rows[] = {
		{"cases", "a b/c b/d#one b/d#two e"}, {"cases/b", "b/c b/d#one b/d#two"},
		{"b", "b/c b/d#one b/d#two"}, /* a folder below the root, by name */
		{"b/d", "b/d#one b/d#two"},	      {"b/d#two", "b/d#two"},
		{"cases/b/d.json#one", "b/d#one"},    {"./cases/b/../a.json", "a"},
	};
	struct work w;

	work_start(&w);
	work_folder("cases");
	work_folder("cases/b");
	work_folder("cases/.git");
	work_case("cases/e.json", "owned", "", FENCE);
	work_case("cases/a.json", "owned", "", FENCE);
	work_case("cases/b/d.json", "owned", "\"rows\": [{\"row\": \"one\"}, {\"row\": \"two\"}],", FENCE);
	work_case("cases/b/c.json", "owned", "", FENCE);
	work_write("cases/.git/x.json", "no case");
	work_write("cases/README.md", "no case");
	for (size_t i = 0; i < VHU_ARRAY_SIZE(rows); i++) {
		assert_int_equal(work_load(&w, "cases", rows[i].path), 0);
		assert_string_equal(vhu_buf_text(&w.text), "");
		ids_are(&w, rows[i].ids);
	}
	/* Outside of the root, and without one. */
	assert_int_equal(work_load(&w, "cases/b", "cases/a.json"), 0);
	ids_are(&w, "a");
	assert_int_equal(work_load(&w, NULL, "cases/b/c.json"), 0);
	ids_are(&w, "b/c");
	assert_int_equal(work_load(&w, NULL, "b/c"), -ENOENT);
	work_end(&w);
}

/* However often a case is named, it is there once. */
static void test_once(void **state)
{
	const char *const paths[] = {"cases", "cases/a.json", "a", "a#one"};
	struct work w;

	work_start(&w);
	work_folder("cases");
	work_case("cases/a.json", "owned", "\"rows\": [{\"row\": \"one\"}, {\"row\": \"two\"}],", FENCE);
	assert_int_equal(vhu_case_set_load("cases", paths, 4, &w.set, &w.diags, &w.err), 0);
	ids_are(&w, "a#one a#two");
	work_end(&w);
}

static void test_info(void **state)
{
	const struct vhu_case_info *info;
	struct work w;

	work_start(&w);
	work_case("x.json", "owned",
		  "\"tags\": [\"smoke\", \"may-kill\"], \"needs\": {\"device\": [\"net\", \"blk\"]},", FENCE);
	assert_int_equal(work_load(&w, ".", "x.json"), 0);
	info = vhu_case_set_info(w.set, 0);
	assert_string_equal(info->title, "A title that is long");
	assert_string_equal(info->file, "x.json");
	assert_int_equal(info->n_requirements, 2);
	assert_int_equal(info->requirements[1], VHU_REQ_HDR_02);
	assert_int_equal(info->n_tags, 2);
	assert_string_equal(info->tags[0], "smoke");
	assert_int_equal(info->n_devices, 2);
	assert_int_equal(info->devices[0], VHU_DEV_NET);
	assert_true(info->may_kill);
	assert_null(vhu_case_set_info(w.set, 1));
	work_end(&w);
}

static void library(const char *path, const char *macro)
{
	char text[300];

	snprintf(text, sizeof(text),
		 "{\"why\": \"For cases of this test, to be found.\", \"macros\": {\"%s\": {\"steps\": "
		 "[{\"fence\": true}]}}}",
		 macro);
	work_write(path, text);
}

/* Beside the file, above it, below the root; nobody else's. */
static void test_libraries(void **state)
{
	struct work w;

	work_start(&w);
	work_folder("cases");
	work_folder("cases/lib");
	work_folder("cases/core");
	work_folder("cases/core/lib");
	work_folder("cases/core/ring");
	work_folder("cases/blk");
	work_folder("cases/blk/lib");
	library("cases/lib/a.json", "everywhere");
	library("cases/core/lib/a.json", "in_core");
	library("cases/blk/lib/a.json", "in_blk");
	work_case("cases/core/ring/x.json", "owned", "", "{\"use\": \"everywhere\"}, {\"use\": \"in_core\"}");
	work_case("cases/blk/y.json", "owned", "", "{\"use\": \"in_blk\"}, {\"use\": \"in_core\"}");
	assert_int_equal(work_load(&w, "cases", "cases"), 0);
	assert_string_equal(vhu_buf_text(&w.text),
			    "cases/blk/y.json:4:28: /steps/1/use: no macro 'in_core'\n");
	ids_are(&w, "core/ring/x");
	/* Without a root the folders above are looked at. */
	assert_int_equal(work_load(&w, NULL, "cases/core/ring/x.json"), 0);
	assert_string_equal(vhu_buf_text(&w.text), "");
	ids_are(&w, "core/ring/x");
	/* Two of one name in a folder. */
	library("cases/lib/b.json", "everywhere");
	assert_int_equal(work_load(&w, "cases", "cases/core"), 0);
	assert_string_equal(vhu_buf_text(&w.text), "cases/lib/b.json:1:60: /macros/everywhere: macro "
						   "'everywhere' is in cases/lib/a.json, too\n");
	work_end(&w);
}

/* --- blocks
 * ---------------------------------------------------------------------------------------------------- */

static void wheres_are(const struct vhu_plan *p, const char *const *wheres, size_t n)
{
	assert_int_equal(p->n_steps, n);
	for (size_t i = 0; i < n; i++)
		assert_string_equal(p->steps[i].where, wheres[i]);
}

static void test_loops(void **state)
{
	static const char *const wheres[] = {
		"/steps/0[q=0]/do/0",		"/steps/0[q=1]/do/0",	   "/steps/1[index=0xffff]/do/0",
		"/steps/1[index=7]/do/0",	"/steps/1[index=#2]/do/0", "/steps/2[i=0]/do/0[q=2]/do/0",
		"/steps/2[i=0]/do/0[q=3]/do/0", "/steps/2[i=0]/do/1",	   "/steps/2[i=1]/do/0[q=2]/do/0",
		"/steps/2[i=1]/do/0[q=3]/do/0", "/steps/2[i=1]/do/1",	   "/steps/3[q=3]/do/0",
		"/steps/3[q=1]/do/0",		"/steps/4[q=1]/do/0",	   "/steps/4[q=2]/do/0",
		"/steps/5[q=0]/do/0",		"/steps/5[q=1]/do/0",	   "/steps/5[q=2]/do/0",
		"/steps/5[q=3]/do/0",
	};
	struct work w;
	struct vhu_plan *p;

	work_start(&w);
	p = plan_of(&w, "owned", "\"queues\": 2,",
		    "{\"for_each_queue\": \"q\", \"do\": [" FENCE "]},\n"
		    "{\"for_each\": \"index\", \"in\": [\"0xffff\", 7, {\"a\": 1}], \"do\": [" FENCE "]},\n"
		    "{\"repeat\": 2, \"do\": [{\"for_each_queue\": \"q\", \"of\": \"unused\", \"do\": [" FENCE
		    "]}, {\"note\": \"n\"}]},\n"
		    "{\"for_each_queue\": \"q\", \"of\": [3, 1], \"do\": [" FENCE "]},\n"
		    "{\"for_each_queue\": \"q\", \"of\": {\"from\": 1, \"to\": 2}, \"do\": [" FENCE "]},\n"
		    "{\"for_each_queue\": \"q\", \"of\": \"all\", \"do\": [" FENCE "]}");
	wheres_are(p, wheres, VHU_ARRAY_SIZE(wheres));
	assert_int_equal(p->steps[7].verb, VHU_VERB_NOTE);
	assert_string_equal(p->steps[7].note, "n");
	vhu_plan_free(p);
	work_end(&w);
}

static void test_loop_values(void **state)
{
	struct work w;
	struct vhu_plan *p;
	uint64_t u;

	work_start(&w);
	p = plan_of(&w, "mapped", "",
		    "{\"for_each\": \"r\", \"in\": [{\"msg\": \"SET_VRING_NUM\", \"n\": 64}, {\"msg\": "
		    "\"SET_VRING_NUM\", \"n\": \"$m\"}], \"do\": [\n"
		    "{\"repeat\": 2, \"do\": [{\"send\": \"$r.msg\", \"with\": {\"num\": \"$r.n\", "
		    "\"index\": \"$i\"}}]}]}"
		    "], \"vars\": {\"m\": 256}, \"see\": [\"x\"");
	assert_int_equal(p->n_steps, 4);
	for (size_t i = 0; i < 4; i++) {
		const struct vhu_step_send *s = &p->steps[i].send;

		assert_int_equal(s->row->msg, VHU_MSG_SET_VRING_NUM);
		assert_int_equal(vhu_value_eval(&s->with[0].value, NULL, NULL, &u), 0);
		assert_int_equal(u, i < 2 ? 64 : 256);
		assert_int_equal(vhu_value_eval(&s->with[1].value, NULL, NULL, &u), 0);
		assert_int_equal(u, i % 2);
	}
	/* Rings that messages name have to be there. */
	assert_int_equal(p->layout.n_rings, 2);
	vhu_plan_free(p);
	work_end(&w);
}

static void test_macros(void **state)
{
	static const char *const wheres[] = {
		"/steps/0[q=1]/do/0 (cases/lib/l.json /macros/outer/steps/0)",
		("/steps/0[q=1]/do/0 (cases/lib/l.json /macros/outer/steps/1) (cases/lib/l.json "
		"/macros/inner/steps/0[i=0]/do/0)"),
		"/steps/1 (x.json /macros/own/steps/0)",
	};
	struct work w;
	struct vhu_plan *p;
	uint64_t u;

	work_start(&w);
	work_folder("cases");
	work_folder("cases/lib");
	work_write("cases/lib/l.json",
		   "{\"macros\": {\n"
		   "\"outer\": {\"params\": {\"size\": null, \"queue\": 0}, \"steps\": [\n"
		   " {\"send\": \"SET_VRING_NUM\", \"with\": {\"index\": \"$queue\", \"num\": \"$size\"}},\n"
		   " {\"use\": \"inner\", \"with\": {\"n\": \"$queue\"}}]},\n"
		   "\"inner\": {\"params\": {\"n\": null, \"twice\": \"$n * 2\"}, \"steps\": [\n"
		   " {\"repeat\": 1, \"do\": [{\"memory\": \"fill\", \"gpa\": \"$twice\", \"len\": 1}]}]}}}");
	work_case("x.json", "mapped",
		  "\"queues\": 2, \"vars\": {\"v\": 5}, \"macros\": {\"own\": {\"steps\": [{\"memory\": "
		  "\"fill\", \"gpa\": \"$v\", \"len\": 1}]}},",
		  "{\"for_each_queue\": \"q\", \"of\": [1], \"do\": [{\"use\": \"outer\", \"with\": "
		  "{\"size\": \"$q * 64\", \"queue\": \"$q\"}}]},\n"
		  "{\"use\": \"own\"}");
	assert_int_equal(work_load(&w, "cases", "x.json"), 0);
	p = compile(&w, 0);
	wheres_are(p, wheres, VHU_ARRAY_SIZE(wheres));
	assert_int_equal(vhu_value_eval(&p->steps[0].send.with[1].value, NULL, NULL, &u), 0);
	assert_int_equal(u, 64);
	assert_int_equal(vhu_value_eval(&p->steps[1].memory.gpa, NULL, NULL, &u), 0);
	assert_int_equal(u, 2);
	assert_int_equal(vhu_value_eval(&p->steps[2].memory.gpa, NULL, NULL, &u), 0);
	assert_int_equal(u, 5);
	vhu_plan_free(p);
	/* A library's macro sees nothing of the case but what it is given. */
	work_write(
		"cases/lib/l.json",
		"{\"macros\": {\"m\": {\"steps\": [{\"memory\": \"fill\", \"gpa\": \"$v\", \"len\": 1}]}}}");
	work_case("x.json", "mapped", "\"vars\": {\"v\": 5},", "{\"use\": \"m\"}");
	assert_int_equal(work_load(&w, "cases", "x.json"), 0);
	assert_string_equal(vhu_buf_text(&w.text), "cases/lib/l.json:1:55: /macros/m/steps/0/gpa: nothing "
						   "sets $v before this step (used by x.json /steps/0)\n");
	work_end(&w);
}

/* What a block says holds for its steps, unless they say otherwise. */
static void test_inherited(void **state)
{
	struct work w;
	struct vhu_plan *p;

	work_start(&w);
	p = plan_of(&w, "owned", "",
		    "{\"repeat\": 1, \"requirement\": \"HDR-05\", \"note\": \"outer\", \"within_ms\": 7, "
		    "\"do\": [" FENCE ",\n"
		    " {\"fence\": true, \"requirement\": \"HDR-04\", \"note\": \"own\", \"within_ms\": "
		    "9}]}, " FENCE);
	assert_int_equal(p->steps[0].requirement, VHU_REQ_HDR_05);
	assert_string_equal(p->steps[0].note, "outer");
	assert_int_equal(p->steps[0].within_ms, 7);
	assert_int_equal(p->steps[1].requirement, VHU_REQ_HDR_04);
	assert_string_equal(p->steps[1].note, "own");
	assert_int_equal(p->steps[1].within_ms, 9);
	assert_int_equal(p->steps[2].requirement, VHU_REQ_HDR_01);
	assert_null(p->steps[2].note);
	vhu_plan_free(p);
	work_end(&w);
}

static void test_when(void **state)
{
	static const struct {
		const char *needs;
		bool met;
	} rows[] = {
		{"{\"features\": [\"VIRTIO_F_VERSION_1\"]}", true},
		{"{\"features\": [\"VIRTIO_BLK_F_RO\"]}", false},
		{"{\"features\": [\"VHOST_F_LOG_ALL\"]}", true},    /* will be set when it is needed */
		{"{\"features\": [\"VIRTIO_F_IN_ORDER\"]}", false}, /* offered, and not negotiated */
		{"{\"protocol_features\": [\"CONFIG\"]}", false},   /* dropped by the case */
		{"{\"without\": {\"protocol_features\": [\"CONFIG\"]}}", true},
		{"{\"any\": {\"protocol_features\": [\"CONFIG\", \"MQ\"]}}", true},
		{"{\"any\": {\"protocol_features\": [\"CONFIG\", \"STATUS\"]}}", false},
		{"{\"queues\": 4}", true},
		{"{\"queues\": 5}", false},
		{"{\"config\": {\"num_queues\": {\"ge\": 4}}}", true},
		{"{\"config\": {\"num_queues\": 5}}", false},
		{"{\"device\": [\"net\", \"blk\"]}", true},
		{"{\"device\": [\"net\"]}", false},
		{"{\"capacity\": 131073}", false},
		{"{\"spawn\": true}", true},
	};
	struct work w;

	work_start(&w);
	for (size_t i = 0; i < VHU_ARRAY_SIZE(rows); i++) {
		char steps[300];
		struct vhu_plan *p;

		snprintf(steps, sizeof(steps),
			 "{\"when\": %s, \"do\": [" FENCE "], \"else\": [{\"note\": \"no\"}]}",
			 rows[i].needs);
		p = plan_of(&w, "owned", "\"offer\": {\"drop_protocol_features\": [\"CONFIG\"]},", steps);
		assert_int_equal(p->n_steps, 1);
		if (p->steps[0].verb != (rows[i].met ? VHU_VERB_FENCE : VHU_VERB_NOTE))
			fail_msg("%s", rows[i].needs);
		assert_string_equal(p->steps[0].where, rows[i].met ? "/steps/0/do/0" : "/steps/0/else/0");
		vhu_plan_free(p);
	}
	work_end(&w);
}

/* A variable that both branches save is there behind them. */
static void test_when_saves(void **state)
{
	struct work w;
	struct vhu_plan *p;

	work_start(&w);
	p = plan_of(&w, "connected", "",
		    "{\"when\": {\"queues\": 9}, \"do\": [{\"send\": \"GET_FEATURES\", \"save\": {\"f\": "
		    "\"u64\"}}],\n"
		    " \"else\": [{\"send\": \"GET_FEATURES\", \"save\": {\"f\": \"u64\"}}]}, {\"assert\": "
		    "[\"$f\", \"!=\", 0]}");
	assert_int_equal(p->n_steps, 2);
	assert_int_equal(p->n_vars, 1);
	vhu_plan_free(p);
	work_end(&w);
}

/* --- rows, and the worked examples
 * ------------------------------------------------------------------------------ */

static void test_rows(void **state)
{
	struct work w;
	struct vhu_plan *p;
	uint64_t u;

	work_start(&w);
	work_case("x.json", "mapped",
		  "\"vars\": {\"base\": 2}, \"rows\": [{\"row\": \"num\", \"message\": \"SET_VRING_NUM\", "
		  "\"n\": \"$base * 32\"},\n"
		  "{\"row\": \"base\", \"message\": \"SET_VRING_BASE\", \"n\": 3}],",
		  "{\"send\": \"$message\", \"with\": {\"num\": \"$n\"}}");
	assert_int_equal(work_load(&w, ".", "x.json"), 0);
	ids_are(&w, "x#num x#base");
	p = compile(&w, 0);
	assert_string_equal(p->id, "x#num");
	assert_int_equal(p->steps[0].send.row->msg, VHU_MSG_SET_VRING_NUM);
	assert_int_equal(vhu_value_eval(&p->steps[0].send.with[0].value, NULL, NULL, &u), 0);
	assert_int_equal(u, 64);
	vhu_plan_free(p);
	p = compile(&w, 1);
	assert_int_equal(p->steps[0].send.row->msg, VHU_MSG_SET_VRING_BASE);
	vhu_plan_free(p);
	work_end(&w);
}

static void test_examples(void **state)
{
	static const struct {
		const char *id;
		size_t steps;
	} rows[] = {
		{"blk/dirty-log", 10},		 {"blk/inflight-crash", 163},
		{"blk/odd-splits", 19},		 {"blk/reconnect-no-driver-ok", 9},
		{"core/neg/features", 7},	 {"core/once/device-scope", 17},
		{"core/ring/bad-index#num", 7},	 {"core/ring/bad-index#addr", 7},
		{"core/ring/bad-index#base", 7}, {"core/ring/bad-index#enable", 7},
		{"core/ring/call-replaced", 40},
	};
	struct work w;
	size_t n = 0, twins = 0;

	work_start(&w);
	assert_int_equal(work_load(&w, VHU_TEST_DATA "/plan", VHU_TEST_DATA "/plan"), 0);
	assert_string_equal(vhu_buf_text(&w.text), "");
	for (size_t i = 0; i < vhu_case_set_count(w.set); i++) {
		struct vhu_plan *p;

		if (vhu_case_set_info(w.set, i)->twin) {
			twins++;
			continue;
		}
		p = compile(&w, i);
		assert_true(n < VHU_ARRAY_SIZE(rows));
		assert_string_equal(p->id, rows[n].id);
		assert_null(p->skip);
		assert_int_equal(p->n_steps, rows[n++].steps);
		vhu_plan_free(p);
	}
	assert_int_equal(n, VHU_ARRAY_SIZE(rows));
	assert_int_equal(twins, 7);
	work_end(&w);
}

/* The schema is one, and names every verb. */
static void test_schema(void **state)
{
	static const char *const parts[] = {
		"\"$schema\": \"https://json-schema.org/draft/2020-12/schema\"",
		"\"step_send\"",
		"\"step_for_each_queue\"",
		"\"step_note\"",
		"\"drop_protocol_features\"",
		"\"await-exit\"",
		"\"#/$defs/library\"",
	};
	char *text = vhu_case_schema();

	assert_non_null(text);
	for (size_t i = 0; i < VHU_ARRAY_SIZE(parts); i++)
		if (!strstr(text, parts[i]))
			fail_msg("no %s in the schema", parts[i]);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ids),    cmocka_unit_test(test_once),
		cmocka_unit_test(test_info),   cmocka_unit_test(test_libraries),
		cmocka_unit_test(test_loops),  cmocka_unit_test(test_loop_values),
		cmocka_unit_test(test_macros), cmocka_unit_test(test_inherited),
		cmocka_unit_test(test_when),   cmocka_unit_test(test_when_saves),
		cmocka_unit_test(test_rows),   cmocka_unit_test(test_examples),
		cmocka_unit_test(test_schema),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
