/* vhu-conform as a whole: exit codes, jobs, signals, what it leaves behind. Needs VHU_CONFORM. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/buf.h"

enum { WORDS_MAX = 24 };

static char folder[] = "/tmp/vhu-program-XXXXXX";
static const char *program;

struct ended {
	int status;
	struct vhu_buf out, err;
};

static void ended_done(struct ended *e)
{
	vhu_buf_done(&e->out);
	vhu_buf_done(&e->err);
}

/* Good until eight others were asked for. */
static char *in_folder(const char *name)
{
	static char paths[8][128];
	static unsigned next;
	char *path = paths[next++ % 8];

	snprintf(path, 128, "%s/%s", folder, name);
	return path;
}

static void read_file(const char *path, struct vhu_buf *to)
{
	FILE *f = fopen(path, "re");
	char bytes[4096];
	size_t n;

	assert_non_null(f);
	while ((n = fread(bytes, 1, sizeof(bytes), f)) > 0)
		vhu_buf_add(to, bytes, n);
	fclose(f);
}

static pid_t start(const char *const *words)
{
	const char *argv[WORDS_MAX + 2] = {program};
	pid_t pid;

	for (size_t n = 0; words[n]; n++) {
		assert_true(n < WORDS_MAX);
		argv[n + 1] = words[n];
	}
	pid = fork();
	if (pid == 0) {
		dup2(open(in_folder("out"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), STDOUT_FILENO);
		dup2(open(in_folder("err"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), STDERR_FILENO);
		execv(program, (char *const *)argv);
		_exit(127);
	}
	assert_true(pid > 0);
	return pid;
}

static struct ended finish(pid_t pid)
{
	struct ended e = {0};

	assert_int_equal(waitpid(pid, &e.status, 0), pid);
	read_file(in_folder("out"), &e.out);
	read_file(in_folder("err"), &e.err);
	return e;
}

#define assert_exits(code, part, ...)                                                                        \
	do {                                                                                                 \
		const char *const words_[] = {__VA_ARGS__, NULL};                                            \
		struct ended ended_ = finish(start(words_));                                                 \
		if (!WIFEXITED(ended_.status) || WEXITSTATUS(ended_.status) != (code) ||                     \
		    (!strstr(vhu_buf_text(&ended_.out), part) && !strstr(vhu_buf_text(&ended_.err), part)))  \
			fail_msg("status 0x%x\n%s\n%s", ended_.status, vhu_buf_text(&ended_.out),            \
				 vhu_buf_text(&ended_.err));                                                 \
		ended_done(&ended_);                                                                         \
	} while (0)

/* --- what it is run with ----------------------------------------------------------------------- */

static void write_case(const char *name, const char *requirement, const char *rest)
{
	FILE *f = fopen(in_folder(name), "we");

	assert_non_null(f);
	fprintf(f,
		"{\"title\": \"A test of the tester\", \"why\": \"So that the tester itself works.\", "
		"\"requirements\": [\"%s\"],\n%s}\n",
		requirement, rest);
	fclose(f);
}

static const char good[] = "\"start\": \"connected\", \"steps\": [{\"send\": \"GET_FEATURES\"}]";
/* No back-end offers that many bits. */
static const char bad[] = "\"start\": \"connected\", \"steps\": "
	"[{\"send\": \"GET_FEATURES\", \"reply\": {\"u64\": \"0xffffffffffffffff\"}}]";
static const char unmet[] =
	"\"needs\": {\"queues\": 255}, \"start\": \"connected\", \"steps\": [{\"send\": \"GET_FEATURES\"}]";

static int setup(void **state)
{
	static const char *const rows =
		"\"rows\": [{\"row\": \"a\"}, {\"row\": \"b\"}, {\"row\": \"c\"}, {\"row\": \"d\"}],\n";
	char text[512];

	program = getenv("VHU_CONFORM");
	if (!program || access(program, X_OK))
		return 0;
	if (!mkdtemp(folder))
		return -1;
	setenv("TMPDIR", folder, 1);
	mkdir(in_folder("cases"), 0700);
	mkdir(in_folder("cases/core"), 0700);
	write_case("cases/core/good.json", "FEAT-01", good);
	write_case("cases/core/bad.json", "FEAT-01", bad);
	write_case("cases/core/unmet.json", "FEAT-01", unmet);
	snprintf(text, sizeof(text), "%s%s", rows, good);
	write_case("cases/core/many.json", "FEAT-01", text);
	write_case("wrong.json", "FEAT-01",
		   "\"start\": \"connected\", \"steps\": [{\"sned\": \"GET_FEATURES\"}]");
	setenv("VHU_CASES", in_folder("cases"), 1);
	return 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *at)
{
	return remove(path);
}

static int teardown(void **state)
{
	return nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS) && access(folder, F_OK) == 0 ? -1 : 0;
}

static void need_program(void)
{
	if (!program || access(program, X_OK))
		skip();
}

/* Nothing of the target is left: no socket, no image, no folder. */
static void assert_tidy(void)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;

	assert_non_null(dir);
	while ((entry = readdir(dir)))
		assert_true(strncmp(entry->d_name, "vhu-", 4));
	closedir(dir);
}

static void test_exit_codes(void **state)
{
	need_program();
	assert_exits(0, "1 passed, 0 failed, 0 warned, 0 skipped in ", "--reference", "core/good");
	assert_exits(1, "0 passed, 1 failed, 0 warned, 0 skipped in ", "--reference", "core/bad");
	assert_exits(1, " --reference --seed 1 core/bad", "--reference", "core/bad");
	assert_exits(2, "no target", "core/good");
	assert_exits(2, "no file, folder or case", "--reference", "core/none");
	assert_exits(2, "wrong.json:2:", "--reference", in_folder("wrong.json"));
	assert_exits(3, "No space left", "--reference", "core/good", "--json", "/dev/full");
	assert_exits(3, "/nonexistent/x", "--reference", "core/good", "--junit", "/nonexistent/x");
	assert_exits(4, "the target cannot be reached", "--backend", in_folder("nobody"), "core/good");
	assert_exits(4, "exited with status 1", "--spawn", "false {socket}", "core/good");
	assert_exits(5, "nothing to run", "--reference", "--filter", "nothing*");
	assert_exits(5, "0 passed, 0 failed, 0 warned, 1 skipped in ", "--reference", "core/unmet");
	assert_exits(0, "0 passed, 0 failed, 0 warned, 1 skipped in ", "--reference", "core/unmet",
		     "--allow-empty");
	assert_tidy();
}

static void test_questions(void **state)
{
	need_program();
	assert_exits(0, "core/many#c", "--list");
	assert_exits(0, "FEAT-01", "--list", "core/good");
	assert_exits(5, "nothing to run", "--list", "--tag", "none");
	assert_exits(0, "", "--check");
	assert_exits(2, "wrong.json:2:", "--check", in_folder("wrong.json"));
	assert_exits(0, "core/bad  A test of the tester", "--explain", "FEAT-01");
	assert_exits(0, "message 1 of the main channel", "--explain", "VHOST_USER_GET_FEATURES");
	assert_exits(0, "protocol feature, bit 3", "--explain", "reply_ack");
	assert_exits(0, "So that the tester itself works.", "--explain", "core/good");
	assert_exits(2, "is called so", "--explain", "nothing-like-that-at-all");
	assert_exits(0, "$schema", "--schema");
	assert_exits(0, "Usage: vhu-conform", "--help");
	assert_exits(0, "vhu-conform " VHU_VERSION, "--version");
}

static void test_variants(void **state)
{
	need_program();
	assert_exits(0, "PASS core/many#b ", "--reference", "core/many#b");
	assert_exits(0, "1 passed, 0 failed", "--reference", "core/many#b");
	assert_exits(0, "4 passed, 0 failed", "--reference", "core/many");
}

static json_t *load_json(const char *name)
{
	json_t *root = json_load_file(in_folder(name), 0, NULL);

	assert_non_null(root);
	return root;
}

/* The same cases in the same order with the same verdicts, however many processes ran them. */
static void test_jobs(void **state)
{
	static const char *const jobs[] = {"1", "3"};
	json_t *cases[2];

	need_program();
	for (size_t i = 0; i < 2; i++) {
		json_t *root;

		assert_exits(1, "5 passed, 1 failed, 0 warned, 1 skipped in ", "--reference", "--jobs",
			     jobs[i], "--json", in_folder("report.json"));
		root = load_json("report.json");
		cases[i] = json_incref(json_object_get(root, "cases"));
		json_decref(root);
	}
	assert_int_equal(json_array_size(cases[0]), 7);
	assert_int_equal(json_array_size(cases[1]), 7);
	for (size_t i = 0; i < 7; i++) {
		static const char *const keys[] = {"id",	   "title",	  "verdict",
						   "requirements", "skip_reason", "messages"};

		for (size_t k = 0; k < VHU_ARRAY_SIZE(keys); k++) {
			const json_t *a = json_object_get(json_array_get(cases[0], i), keys[k]);
			const json_t *b = json_object_get(json_array_get(cases[1], i), keys[k]);

			assert_true(a == b || json_equal(a, b));
		}
	}
	json_decref(cases[0]);
	json_decref(cases[1]);
	assert_tidy();
}

static void test_repeat_and_fail_fast(void **state)
{
	need_program();
	assert_exits(0, "  5 runs", "--reference", "--repeat", "5", "core/good");
	assert_exits(1, "stopped: core/bad failed", "--reference", "--fail-fast");
	assert_exits(1, "0 passed, 1 failed, 0 warned, 6 skipped", "--reference", "--fail-fast");
}

static void test_baseline(void **state)
{
	char file[128];

	need_program();
	strcpy(file, in_folder("known.json"));
	assert_exits(2, "known.json", "--reference", "core/bad", "--baseline", file);
	assert_exits(0, "Known failures", "--reference", "core/bad", "--baseline", file, "--update-baseline");
	assert_exits(0, "0 passed, 0 failed, 1 warned", "--reference", "core/bad", "--baseline", file);
	assert_exits(0, "1 passed, 0 failed, 1 warned", "--reference", "core/bad", "core/good", "--baseline",
		     file);
}

/* A signal ends the run, with whole reports; what was not run is left out. */
static void interrupt(int sig, const char *jobs)
{
	char report[128];
	const char *const words[] = {"--reference", "--repeat", "1000000",   "--jobs",	  jobs,
				     "--json",	    report,	"core/good", "core/many", NULL};
	json_t *root;
	struct ended e;
	pid_t pid;

	strcpy(report, in_folder("report.json"));
	unlink(report);
	pid = start(words);
	/* The report is opened when everything is ready to run. */
	while (access(report, F_OK) && waitpid(pid, NULL, WNOHANG) == 0)
		sched_yield();
	assert_int_equal(kill(pid, sig), 0);
	e = finish(pid);
	assert_true(WIFEXITED(e.status));
	assert_int_equal(WEXITSTATUS(e.status), 128 + sig);
	assert_non_null(strstr(vhu_buf_text(&e.out), "interrupted by SIG"));
	root = load_json("report.json");
	assert_true(json_array_size(json_object_get(root, "cases")) < 5);
	assert_non_null(json_object_get(json_object_get(root, "summary"), "stopped"));
	json_decref(root);
	ended_done(&e);
	assert_tidy();
}

static void test_signals(void **state)
{
	need_program();
	interrupt(SIGINT, "1");
	interrupt(SIGTERM, "1");
	interrupt(SIGINT, "2");
	interrupt(SIGTERM, "2");
}

static void test_max_time(void **state)
{
	need_program();
	assert_exits(4, "out of time", "--reference", "--repeat", "1000000", "--max-time", "1", "core/good",
		     "core/many");
	assert_exits(4, "0 passed, 0 failed, 0 warned, 5 skipped", "--reference", "--repeat", "1000000",
		     "--max-time", "1", "--jobs", "2", "core/good", "core/many");
	assert_tidy();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exit_codes),
		cmocka_unit_test(test_questions),
		cmocka_unit_test(test_variants),
		cmocka_unit_test(test_jobs),
		cmocka_unit_test(test_repeat_and_fail_fast),
		cmocka_unit_test(test_baseline),
		cmocka_unit_test(test_signals),
		cmocka_unit_test(test_max_time),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
