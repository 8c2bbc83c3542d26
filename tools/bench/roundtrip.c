/*
 * GET_FEATURES round trips a second: through plan, engine and oracle, against a bare
 * sendmsg/recvmsg loop with the same peer, both on one CPU. Prints the ratio of each pair.
 *
 *   bench-roundtrip VHU-BACKEND [--bare|--replay]     --bare: only the bare loop, nanoseconds a round trip;
 *   --replay: what a replay of the same round trips, captured, comes to
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/buf.h"
#include "channel/target.h"
#include "engine/engine.h"
#include "event/loop.h"
#include "plan/plan.h"
#include "trace/file.h"
#include "trace/trace.h"

enum { ROUNDS = 20000, PAIRS = 5 };

static const char case_text[] =
	"{\"title\": \"Round trips\", \"why\": \"How fast the engine asks and judges.\", \"requirements\": "
	"[\"FEAT-01\"],"
	" \"start\": \"connected\", \"steps\": [{\"repeat\": %d, \"do\": [{\"send\": \"GET_FEATURES\"}]}]}";

static _Noreturn void die(const char *what, const struct vhu_err *err)
{
	fprintf(stderr, "bench-roundtrip: %s: %s\n", what, err ? err->text : strerror(errno));
	exit(1);
}

/* The peer inherits the CPU: a round trip across two costs several times more. */
static void pin(void)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	if (sched_setaffinity(0, sizeof(one), &one) < 0)
		die("sched_setaffinity", NULL);
}

static double bare(struct vhu_target *t)
{
	uint32_t request[3] = {VHU_ID_GET_FEATURES, VHU_C_HEADER_VERSION, 0};
	uint8_t reply[64], control[CMSG_SPACE(sizeof(int) * 8)];
	struct vhu_err err = {0};
	uint64_t start;
	int fd;

	if (vhu_target_connect(t, &fd, &err) < 0)
		die("connect", &err);
	start = vhu_now_ns();
	for (int i = 0; i < ROUNDS; i++) {
		struct iovec out = {.iov_base = request, .iov_len = sizeof(request)},
			     in = {.iov_base = reply, .iov_len = sizeof(reply)};
		struct msghdr send = {.msg_iov = &out, .msg_iovlen = 1};
		struct msghdr recv = {.msg_iov = &in,
				      .msg_iovlen = 1,
				      .msg_control = control,
				      .msg_controllen = sizeof(control)};

		if (sendmsg(fd, &send, MSG_NOSIGNAL) != (ssize_t)sizeof(request))
			die("sendmsg", NULL);
		while (in.iov_len == sizeof(reply) && recvmsg(fd, &recv, 0) < VHU_C_HEADER_SIZE + 8)
			die("recvmsg", NULL);
	}
	start = vhu_now_ns() - start;
	close(fd);
	return (double)start / ROUNDS;
}

static struct vhu_plan *make_plan(struct vhu_case_set **set)
{
	char dir[] = "/tmp/vhu-bench-XXXXXX", path[64];
	const char *paths[] = {path};
	struct vhu_facts facts = {
		.known = true, .device = VHU_DEV_BLK, .features = ~UINT64_C(0), .queues = 1};
	struct vhu_compile_opts opts = {.facts = &facts};
	struct vhu_buf text = {0};
	struct vhu_diags diags = {.text = &text};
	struct vhu_plan *plan;
	struct vhu_err err = {0};
	FILE *f;

	if (!mkdtemp(dir))
		die("mkdtemp", NULL);
	snprintf(path, sizeof(path), "%s/round-trips.json", dir);
	f = fopen(path, "w");
	if (!f)
		die(path, NULL);
	fprintf(f, case_text, ROUNDS);
	fclose(f);
	if (vhu_case_set_load(dir, paths, 1, set, &diags, &err) < 0 || diags.errors ||
	    vhu_plan_from_case(*set, 0, &opts, &plan, &diags, &err) < 0)
		die(vhu_buf_text(&text), &err);
	unlink(path);
	rmdir(dir);
	vhu_buf_done(&text);
	return plan;
}

static double through_engine(struct vhu_loop *loop, struct vhu_target *t, const struct vhu_plan *plan,
			     struct vhu_trace_writer *record)
{
	struct vhu_replay replay = {0};
	struct vhu_engine_opts opts = {.timeout_ns = UINT64_C(5000000000),
				       .judge = {.spec = VHU_SINCE_V11_1},
				       .device = VHU_DEV_BLK,
				       .replay = &replay};
	struct vhu_engine *e;
	struct vhu_result res;
	struct vhu_err err = {0};
	double ns;

	if (vhu_engine_new(loop, t, &opts, &e, &err) < 0 ||
	    (record && vhu_engine_record(e, record, 0, &err) < 0) || vhu_engine_run(e, plan, &res, &err) < 0)
		die("engine", &err);
	if (plan->recorded && (replay.divergences || replay.compared < ROUNDS))
		die("the replay differs", NULL);
	if (record)
		vhu_engine_record(e, NULL, 0, &err);
	if (res.verdict != VHU_PASS)
		die(res.n_findings ? res.findings[0].summary : res.reason, NULL);
	ns = (double)res.duration_ns / ROUNDS;
	vhu_result_done(&res);
	vhu_engine_free(e);
	return ns;
}

/* The same as a capture of it. */
static struct vhu_plan *make_replay(struct vhu_loop *loop, struct vhu_target *t, const struct vhu_plan *plan,
				    struct vhu_trace **ret_trace)
{
	char dir[] = "/tmp/vhu-bench-XXXXXX", path[64];
	struct vhu_trace_meta meta = {.tool = "bench-roundtrip"};
	struct vhu_replay_opts opts = {.device = VHU_DEV_BLK};
	struct vhu_trace_writer *w;
	struct vhu_plan *replay;
	struct vhu_buf notes = {0};
	struct vhu_err err = {0};

	if (!mkdtemp(dir))
		die("mkdtemp", NULL);
	snprintf(path, sizeof(path), "%s/round-trips.pcap", dir);
	if (vhu_trace_writer_new(path, &meta, &w, &err) < 0)
		die(path, &err);
	through_engine(loop, t, plan, w);
	if (vhu_trace_writer_close(w, &err) < 0 || vhu_trace_load(path, ret_trace, &err) < 0 ||
	    vhu_plan_from_trace(*ret_trace, &opts, &replay, &notes, &err) < 0)
		die(path, &err);
	unlink(path);
	rmdir(dir);
	vhu_buf_done(&notes);
	return replay;
}

static void compare(struct vhu_loop *loop, struct vhu_target *t, const struct vhu_plan *plan,
		    const char *what)
{
	for (int i = 0; i < PAIRS; i++) {
		double theirs = bare(t), ours = through_engine(loop, t, plan, NULL);

		printf("round trips a second: %s %.0f, bare %.0f, ratio %.2f\n", what, 1e9 / ours,
		       1e9 / theirs, theirs / ours);
	}
}

int main(int argc, char **argv)
{
	char command[512];
	struct vhu_target_opts opts = {
		.how = VHU_TARGET_SPAWN, .command = command, .timeout_ns = UINT64_C(5000000000)};
	struct vhu_case_set *set = NULL;
	struct vhu_plan *plan, *replay;
	struct vhu_trace *trace;
	struct vhu_loop *loop;
	struct vhu_target *t;
	struct vhu_err err = {0};

	if (argc < 2) {
		fprintf(stderr, "usage: bench-roundtrip VHU-BACKEND [--bare|--replay]\n");
		return 2;
	}
	pin();
	snprintf(command, sizeof(command), "'%s' --socket {socket}", argv[1]);
	if (vhu_loop_new(&loop, &err) < 0 || vhu_target_new(loop, &opts, &t, &err) < 0)
		die("target", &err);
	plan = make_plan(&set);
	bare(t);
	if (argc > 2 && !strcmp(argv[2], "--replay")) {
		replay = make_replay(loop, t, plan, &trace);
		compare(loop, t, replay, "replay");
		vhu_plan_free(replay);
		vhu_trace_free(trace);
	} else if (argc > 2) {
		printf("%.0f\n", bare(t));
	} else {
		compare(loop, t, plan, "engine");
	}
	vhu_plan_free(plan);
	vhu_case_set_free(set);
	vhu_target_free(t);
	vhu_loop_free(loop);
	return 0;
}
