/*
 * Whole sessions recorded between real front-ends and back-ends (tests/data/sessions/) through
 * the oracle. Both parties are in daily use: a finding is a false alarm of ours unless the file
 * says why it is right.
 *
 * A line is `CONNECTION WHO CHANNEL BYTES DESCRIPTORS NAME`, `CONNECTION open`,
 * `CONNECTION close WHO CHANNEL`, `device NAME`, or `explained REQUIREMENT`.
 */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "oracle/oracle.h"
#include "wire/frame.h"

enum { CONNECTIONS = 8, LINE = 4096, BYTES = 1024, EXPECTED = 8 };

struct connection {
	struct vhu_oracle oracle;
	bool open;
};

struct replay {
	const char *file;
	unsigned line, n_frames, n_findings;
	enum vhu_device device;
	struct connection conn[CONNECTIONS];
	char expected[EXPECTED][32]; /* findings that the file explains: "HDR-08", "malformed:order" */
	bool seen[EXPECTED];
	size_t n_expected;
	const char *text; /* the line being read */
};

static bool explained(struct replay *r, const char *name)
{
	for (size_t i = 0; i < r->n_expected; i++) {
		if (!strcmp(r->expected[i], name)) {
			r->seen[i] = true;
			return true;
		}
	}
	return false;
}

static void found(void *ctx, const struct vhu_finding *f)
{
	struct replay *r = ctx;

	if (explained(r, vhu_req_row(f->req)->id))
		return;
	r->n_findings++;
	print_error("%s:%u: %s %s: %s (accepted: %s)\n  %s\n", r->file, r->line, vhu_req_row(f->req)->id,
		    f->summary, f->actual, f->accepted, f->message);
}

/* What the tester itself would be stopped from sending, rows and malformations alike. */
static void judge_front_end(struct replay *r, struct connection *c, const struct vhu_frame *f)
{
	struct vhu_illegal illegal[8];
	size_t n = vhu_oracle_illegal(&c->oracle.session, f, illegal, VHU_ARRAY_SIZE(illegal));

	for (size_t i = 0; i < n; i++) {
		char name[32];

		/* The others come as findings. */
		if (illegal[i].broken != VHU_REQ_MAX)
			continue;
		snprintf(name, sizeof(name), "malformed:%s", vhu_malformed_name(illegal[i].malformed));
		if (explained(r, name))
			continue;
		r->n_findings++;
		print_error("%s:%u: %s %s\n", r->file, r->line, name, illegal[i].text);
	}
}

static void one_frame(struct replay *r, struct connection *c, char *words)
{
	struct vhu_obs obs = {.kind = VHU_OBS_FRAME};
	struct vhu_assembler a;
	struct vhu_frame f = {0};
	uint8_t bytes[BYTES];
	char dir[4], channel[16], hex[2 * BYTES + 1];
	unsigned n_fds;
	long len;

	assert_int_equal(sscanf(words, "%3s %15s %2048s %u", dir, channel, hex, &n_fds), 4);
	len = vhu_hex_parse(hex, bytes, sizeof(bytes));
	assert_true(len >= VHU_C_HEADER_SIZE);
	vhu_assembler_init(&a, strcmp(channel, "backend") ? VHU_CHAN_MAIN : VHU_CHAN_BACKEND,
			   strcmp(dir, "fe") ? VHU_DIR_BE : VHU_DIR_FE);
	assert_int_equal(vhu_assembler_feed(&a, bytes, (size_t)len, NULL, 0, false, NULL), 0);
	assert_int_equal(vhu_assembler_next(&a, &f, NULL), 1);
	vhu_assembler_done(&a);
	/* Only their number counts. */
	for (unsigned i = 0; i < n_fds; i++)
		assert_int_equal(vhu_frame_give_fd(&f, -1, NULL), 0);

	if (f.dir == VHU_DIR_FE)
		judge_front_end(r, c, &f);
	obs.frame = &f;
	vhu_oracle_observe(&c->oracle, &obs);
	vhu_frame_done(&f);
	r->n_frames++;
}

/* The back-end hung up: that may leave no answer owing. */
static void one_end(struct connection *c, char *words)
{
	struct vhu_obs obs = {.kind = VHU_OBS_EOF, .channel = VHU_CHAN_MAIN};

	if (!strncmp(words, "be main", 7))
		vhu_oracle_observe(&c->oracle, &obs);
}

static void one_line(struct replay *r, char *line)
{
	struct connection *c;
	unsigned conn;
	int at = 0;
	char word[32];

	if (*line == '#')
		return;
	if (sscanf(line, "device %31s", word) == 1) {
		assert_non_null(vhu_device_by_name(word));
		r->device = vhu_device_by_name(word)->device;
		return;
	}
	if (sscanf(line, "explained %31s", word) == 1) {
		assert_true(r->n_expected < EXPECTED);
		snprintf(r->expected[r->n_expected++], sizeof(r->expected[0]), "%s", word);
		return;
	}
	assert_int_equal(sscanf(line, "%u %n", &conn, &at), 1);
	assert_true(conn < CONNECTIONS);
	c = &r->conn[conn];
	line += at;
	if (!strncmp(line, "open", 4)) {
		vhu_oracle_init(&c->oracle, r->device, 0, found, r);
		c->open = true;
		return;
	}
	assert_true(c->open);
	if (!strncmp(line, "close ", 6))
		one_end(c, line + 6);
	else
		one_frame(r, c, line);
}

static void replay(const char *name)
{
	static struct replay r;
	static char line[LINE], path[512];
	FILE *file;

	memset(&r, 0, sizeof(r));
	r.file = name;
	r.device = VHU_DEV_ANY;
	snprintf(path, sizeof(path), VHU_TEST_DATA "/sessions/%s", name);
	file = fopen(path, "re");
	assert_non_null(file);
	for (r.line = 1; fgets(line, sizeof(line), file); r.line++) {
		assert_non_null(strchr(line, '\n'));
		one_line(&r, line);
	}
	fclose(file);
	assert_true(r.n_frames > 0);
	assert_int_equal(r.n_findings, 0);
	/* An explanation that explains nothing any more has to go. */
	for (size_t i = 0; i < r.n_expected; i++)
		if (!r.seen[i])
			fail_msg("%s: no finding of %s", name, r.expected[i]);
}

static void test_recorded_session(void **state)
{
	uint16_t one = 1;

	/* The bytes are those of a little-endian host. */
	if (!*(uint8_t *)&one)
		skip();
	replay(*state);
}

static int recordings(const struct dirent *d)
{
	size_t len = strlen(d->d_name);

	return len > 4 && !strcmp(d->d_name + len - 4, ".txt");
}

int main(void)
{
	struct dirent **names;
	int n = scandir(VHU_TEST_DATA "/sessions", &names, recordings, alphasort), failed;
	struct CMUnitTest *tests = n > 0 ? calloc((size_t)n, sizeof(*tests)) : NULL;

	if (!tests)
		return 1;
	for (int i = 0; i < n; i++) {
		tests[i] =
			(struct CMUnitTest)cmocka_unit_test_prestate(test_recorded_session, names[i]->d_name);
		tests[i].name = names[i]->d_name;
	}
	failed = _cmocka_run_group_tests("recorded sessions", tests, (size_t)n, NULL, NULL);
	for (int i = 0; i < n; i++)
		free(names[i]);
	free(names);
	free(tests);
	return failed;
}
