/* vhu-conform --record: what a capture of our own run holds. Needs VHU_CONFORM. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "trace/trace.h"

static char folder[] = "/tmp/vhu-recording-XXXXXX";

static int VHU_PRINTF(1, 2) run(const char *format, ...)
{
	struct vhu_buf command = {0};
	va_list ap;
	char text[512];
	int status;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	vhu_buf_printf(&command, "'%s' --reference -q --device blk --record '%s' %s >/dev/null 2>&1",
		       getenv("VHU_CONFORM"), folder, text);
	status = system(vhu_buf_text(&command));
	vhu_buf_done(&command);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static struct vhu_trace *load(const char *id)
{
	struct vhu_trace *t = NULL;
	struct vhu_err err = {0};
	char path[256];

	snprintf(path, sizeof(path), "%s/%s.pcap", folder, id);
	if (vhu_trace_load(path, &t, &err) < 0)
		fail_msg("%s", err.text);
	assert_string_equal(t->notes, "");
	assert_true(t->complete);
	return t;
}

static const struct vhu_record *find(const struct vhu_trace *t, uint32_t request, enum vhu_cap_direction dir)
{
	for (size_t i = 0; i < t->n_records; i++)
		if (t->records[i]->channel == VHU_CAP_MAIN && t->records[i]->dir == dir &&
		    vhu_ne_get(t->records[i]->payload, 4) == request)
			return t->records[i];
	return NULL;
}

static void a_case_is_recorded(void **state)
{
	const struct vhu_record *r;
	struct vhu_trace *t;

	assert_int_equal(run("blk/read-write"), 0);
	t = load("blk/read-write");
	/* The one by which the target shows that it lives is none of the case. */
	assert_int_equal(t->n_sessions, 1);
	assert_int_equal(t->records[1]->channel, VHU_CAP_LIFE);
	assert_int_equal(t->records[1]->kind, VHU_CAP_LIFE_CONNECT);
	r = find(t, VHU_ID_SET_MEM_TABLE, VHU_CAP_DIR_FE);
	assert_non_null(r);
	assert_true(r->n_fds > 0 && r->fds[0].size_valid && r->fds[0].size > 0);
	assert_int_equal(r->tap, VHU_CAP_TAP_SELF);
	assert_string_equal(r->step, "blk/read-write\tstart: running");
	assert_non_null(find(t, VHU_ID_GET_FEATURES, VHU_CAP_DIR_BE));
	/* Each direction's bytes follow each other. */
	for (size_t i = 0; i < t->n_sessions; i++) {
		uint64_t off[VHU_CAP_CHANNEL_MAX][VHU_CAP_DIR_MAX] = {{0}};

		assert_false(t->sessions[i].partial);
		for (size_t k = 0; k < t->sessions[i].n; k++) {
			r = t->sessions[i].records[k];
			if (!vhu_record_is_message(r))
				continue;
			assert_int_equal(r->stream_off, off[r->channel][r->dir]);
			off[r->channel][r->dir] += r->orig_len;
		}
	}
	vhu_trace_free(t);
}

static void a_finding_stands_beside_its_message(void **state)
{
	const struct vhu_record *r;
	struct vhu_trace *t;
	bool found = false;

	assert_int_equal(run("--reference=hdr-reply-bit core/features/stable"), 1);
	t = load("core/features/stable");
	for (size_t i = 0; i < t->n_records; i++) {
		r = t->records[i];
		found |= r->n_findings && r->dir == VHU_CAP_DIR_BE && !strcmp(r->findings[0].verdict, "FAIL");
	}
	assert_true(found);
	vhu_trace_free(t);
}

static void what_fails_behind_the_case_is_recorded(void **state)
{
	struct vhu_trace *t;

	assert_int_equal(run("--reference=hdr-eof-hang --timeout 200 core/header/connect-and-close"), 4);
	t = load("core/header/connect-and-close");
	/* No gap in the numbers, and the request that got no answer is there. */
	for (size_t i = 0; i < t->n_records; i++)
		assert_int_equal(t->records[i]->seq, i);
	assert_true(t->sessions[t->n_sessions - 1].messages == 1);
	vhu_trace_free(t);
}

static void a_bundle_holds_what_failed(void **state)
{
	char command[512];

	assert_int_equal(run("--bundle '%s/b.tar' --reference=hdr-reply-bit core/features", folder), 1);
	/* The results as JSON, and sessions of failed cases only. */
	snprintf(command, sizeof(command),
		 "cd '%s' && mkdir x && tar -C x -xf b.tar && test -s x/report.json && "
		 "test -s x/sessions/core/features/stable.pcap && rm -r x",
		 folder);
	assert_int_equal(system(command), 0);
	assert_int_equal(run("--bundle '%s/c.tar' core/features/stable", folder), 0);
	snprintf(command, sizeof(command), "test \"$(tar -tf '%s/c.tar')\" = report.json", folder);
	assert_int_equal(system(command), 0);
	assert_int_equal(run("--bundle /nowhere/c.tar core/features/stable"), 3);
}

static void a_file_that_cannot_be_written_is_told(void **state)
{
	assert_int_equal(run("--record /dev/null blk/read-write"), 3);
}

static int make_folder(void **state)
{
	return getenv("VHU_CONFORM") && mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -r '%s'", folder);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_case_is_recorded),
		cmocka_unit_test(a_finding_stands_beside_its_message),
		cmocka_unit_test(what_fails_behind_the_case_is_recorded),
		cmocka_unit_test(a_bundle_holds_what_failed),
		cmocka_unit_test(a_file_that_cannot_be_written_is_told),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
