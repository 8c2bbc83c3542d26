/* The loop: what it watches, when it ends, and what callbacks may do to it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <event/loop.h>
#include <fcntl.h>
#include <sys/eventfd.h>

#include "fds_open.h"

/* Long enough that a test which gets there has failed. */
static const uint64_t patience_ns = UINT64_C(20000000000);

static struct vhu_loop *loop_new(void)
{
	struct vhu_loop *loop = NULL;

	assert_int_equal(vhu_loop_new(&loop, NULL), 0);
	return loop;
}

/* --- something to watch ---------------------------------------------------------------------- */

struct spot {
	struct vhu_loop *loop;
	int fd;
	struct vhu_source *source;
	unsigned calls;
	uint32_t events;
	struct spot *victim; /* freed by the callback */
	bool drain, arm_next;
};

static void on_spot(void *ctx, uint32_t events)
{
	struct spot *s = ctx;
	uint64_t count;

	s->calls++;
	s->events = events;
	if (s->drain)
		assert_int_equal(read(s->fd, &count, sizeof(count)), sizeof(count));
	if (s->victim) {
		vhu_source_free(s->victim->source);
		s->victim->source = NULL;
		s->victim = NULL;
	}
	if (s->arm_next) {
		s->arm_next = false;
		assert_int_equal(vhu_source_modify(s->source, EPOLLOUT, NULL), 0);
	}
}

static void spot_init(struct spot *s, struct vhu_loop *loop, bool ready, uint32_t events)
{
	*s = (struct spot){.loop = loop, .fd = eventfd(ready, EFD_CLOEXEC | EFD_NONBLOCK)};
	assert_true(s->fd >= 0);
	assert_int_equal(vhu_loop_add_fd(loop, s->fd, events, on_spot, s, &s->source, NULL), 0);
}

static void spot_done(struct spot *s)
{
	vhu_source_free(s->source);
	close(s->fd);
}

static bool was_called(void *ctx)
{
	return ((struct spot *)ctx)->calls;
}

static bool never(void *ctx)
{
	return false;
}

static bool always(void *ctx)
{
	return true;
}

/* --- ends of a run --------------------------------------------------------------------------- */

static void done_before_waiting(void **state)
{
	struct vhu_loop *loop = loop_new();

	assert_int_equal(vhu_loop_run_until(loop, always, NULL, 0, false, NULL), 0);
	assert_int_equal(vhu_loop_run_until(loop, always, NULL, UINT64_MAX, false, NULL), 0);
	vhu_loop_free(loop);
	vhu_loop_free(NULL);
}

static void done_by_an_event(void **state)
{
	struct vhu_loop *loop = loop_new();
	struct spot s;

	spot_init(&s, loop, true, EPOLLIN);
	assert_int_equal(vhu_loop_run_until(loop, was_called, &s, vhu_now_ns() + patience_ns, false, NULL),
			 0);
	assert_int_equal(s.calls, 1);
	assert_int_equal(s.events, EPOLLIN);
	/* Level-triggered: what was not read is told again. */
	assert_int_equal(vhu_loop_poll(loop, NULL), 0);
	assert_int_equal(s.calls, 2);
	spot_done(&s);
	vhu_loop_free(loop);
}

static void the_deadline_ends_a_run(void **state)
{
	struct vhu_loop *loop = loop_new();
	struct vhu_err err = {0};
	uint64_t deadline;

	for (unsigned spin = 0; spin < 2; spin++) {
		deadline = vhu_now_ns() + 300000;
		assert_int_equal(vhu_loop_run_until(loop, never, NULL, deadline, spin, &err), -ETIME);
		assert_true(vhu_now_ns() >= deadline);
		assert_int_equal(err.code, -ETIME);
		assert_int_equal(vhu_loop_run_until(loop, NULL, NULL, 0, spin, &err), -ETIME);
	}
	vhu_loop_free(loop);
}

struct standstill {
	struct spot *awaited;
	bool over;
};

static bool called_after_a_standstill(void *ctx)
{
	struct standstill *s = ctx;
	uint64_t end = vhu_now_ns() + 650000000;

	while (!s->over && vhu_now_ns() < end)
		continue;
	s->over = true;
	return was_called(s->awaited);
}

/* What stands still is the machine: what was waited for could not happen. */
static void a_standstill_costs_no_time(void **state)
{
	struct vhu_loop *loop = loop_new();
	struct spot fired = {0};
	struct standstill s = {.awaited = &fired};
	uint64_t began = vhu_now_ns();

	assert_int_equal(vhu_loop_add_timer(loop, 700000000, 0, on_spot, &fired, &fired.source, NULL), 0);
	assert_int_equal(vhu_loop_run_until(loop, called_after_a_standstill, &s,
					    vhu_loop_now(loop) + 600000000, false, NULL),
			 0);
	assert_true(vhu_loop_now(loop) - began < vhu_now_ns() - began);
	vhu_source_free(fired.source);
	vhu_loop_free(loop);
}

/* An alarm set for one run must neither end a later one early nor be missing in it. */
static void deadlines_of_several_runs(void **state)
{
	static const uint64_t waits_ns[] = {2000000, 100000, 3000000, 50000, 1000000};
	struct vhu_loop *loop = loop_new();
	struct spot s;

	spot_init(&s, loop, true, EPOLLIN);
	for (size_t i = 0; i < VHU_ARRAY_SIZE(waits_ns); i++) {
		uint64_t deadline = vhu_now_ns() + waits_ns[i];

		s.calls = 0;
		assert_int_equal(
			vhu_loop_run_until(loop, was_called, &s, vhu_now_ns() + patience_ns, false, NULL), 0);
		assert_int_equal(vhu_source_modify(s.source, 0, NULL), 0);
		assert_int_equal(vhu_loop_run_until(loop, never, NULL, deadline, false, NULL), -ETIME);
		assert_true(vhu_now_ns() >= deadline);
		assert_int_equal(vhu_source_modify(s.source, EPOLLIN, NULL), 0);
	}
	spot_done(&s);
	vhu_loop_free(loop);
}

static void what_is_ready_by_the_deadline_is_handled(void **state)
{
	struct vhu_loop *loop = loop_new();
	struct spot s;

	spot_init(&s, loop, true, EPOLLIN);
	assert_int_equal(vhu_loop_run_until(loop, was_called, &s, 0, false, NULL), 0);
	assert_int_equal(vhu_loop_run_until(loop, never, &s, 0, false, NULL), -ETIME);
	assert_int_equal(s.calls, 2);
	spot_done(&s);
	vhu_loop_free(loop);
}

struct countdown {
	unsigned left;
};

static bool counted_down(void *ctx)
{
	struct countdown *c = ctx;

	return !c->left || !--c->left;
}

static void spinning_polls_a_condition(void **state)
{
	struct vhu_loop *loop = loop_new();
	struct countdown c = {1000};
	struct spot s;

	spot_init(&s, loop, true, EPOLLIN);
	assert_int_equal(vhu_loop_run_until(loop, counted_down, &c, vhu_now_ns() + patience_ns, true, NULL),
			 0);
	assert_int_equal(c.left, 0);
	assert_int_equal(s.calls, 999);
	spot_done(&s);
	vhu_loop_free(loop);
}

static void polling_does_not_wait(void **state)
{
	struct vhu_loop *loop = loop_new();
	struct spot s;

	spot_init(&s, loop, false, EPOLLIN);
	assert_int_equal(vhu_loop_poll(loop, NULL), 0);
	assert_int_equal(s.calls, 0);
	spot_done(&s);
	vhu_loop_free(loop);
}

/* --- sources --------------------------------------------------------------------------------- */

static void interest_can_change(void **state)
{
	struct vhu_loop *loop = loop_new();
	struct spot s;

	spot_init(&s, loop, true, EPOLLIN);
	s.arm_next = true;
	assert_int_equal(vhu_loop_poll(loop, NULL), 0);
	assert_int_equal(s.events, EPOLLIN);
	assert_int_equal(vhu_loop_poll(loop, NULL), 0);
	assert_int_equal(s.events, EPOLLOUT);
	assert_int_equal(vhu_source_modify(s.source, EPOLLIN | EPOLLOUT, NULL), 0);
	assert_int_equal(vhu_loop_poll(loop, NULL), 0);
	assert_int_equal(s.events, EPOLLIN | EPOLLOUT);
	assert_int_equal(vhu_source_modify(s.source, 0, NULL), 0);
	assert_int_equal(vhu_loop_poll(loop, NULL), 0);
	assert_int_equal(s.calls, 3);
	spot_done(&s);
	vhu_loop_free(loop);
}

static void a_source_may_free_itself(void **state)
{
	struct vhu_loop *loop = loop_new();
	struct spot s;

	spot_init(&s, loop, true, EPOLLIN);
	s.victim = &s;
	assert_int_equal(vhu_loop_poll(loop, NULL), 0);
	assert_int_equal(vhu_loop_poll(loop, NULL), 0);
	assert_int_equal(s.calls, 1);
	spot_done(&s);
	vhu_loop_free(loop);
}

/* Of two that are ready in one batch the first to be called frees the other. */
static void a_source_may_free_another_of_its_batch(void **state)
{
	struct vhu_loop *loop = loop_new();
	struct spot a, b;

	spot_init(&a, loop, true, EPOLLIN);
	spot_init(&b, loop, true, EPOLLIN);
	a.victim = &b;
	b.victim = &a;
	assert_int_equal(vhu_loop_poll(loop, NULL), 0);
	assert_int_equal(a.calls + b.calls, 1);
	assert_true(!a.source != !b.source);
	spot_done(&a);
	spot_done(&b);
	vhu_loop_free(loop);
}

struct maker {
	struct vhu_loop *loop;
	struct spot *old;
	struct spot fresh;
};

/* The new source gets the old one's descriptor number, and perhaps its memory. */
static void replace(void *ctx, uint32_t events)
{
	struct maker *m = ctx;

	if (!m->old)
		return;
	spot_done(m->old);
	m->old->source = NULL;
	m->old = NULL;
	spot_init(&m->fresh, m->loop, false, EPOLLIN);
}

static void an_event_of_the_old_is_not_the_new_ones(void **state)
{
	struct vhu_loop *loop = loop_new();
	struct maker first = {.loop = loop}, second = {.loop = loop};
	struct vhu_source *a, *b;
	struct spot old;
	int one = eventfd(1, EFD_CLOEXEC), other = eventfd(1, EFD_CLOEXEC);

	assert_int_equal(vhu_loop_add_fd(loop, one, EPOLLIN, replace, &first, &a, NULL), 0);
	spot_init(&old, loop, true, EPOLLIN);
	first.old = &old;
	assert_int_equal(vhu_loop_add_fd(loop, other, EPOLLIN, replace, &second, &b, NULL), 0);
	assert_int_equal(vhu_loop_poll(loop, NULL), 0);
	assert_null(first.old);
	assert_int_equal(vhu_loop_poll(loop, NULL), 0);
	assert_int_equal(first.fresh.calls, 0);
	spot_done(&first.fresh);
	vhu_source_free(a);
	vhu_source_free(b);
	close(one);
	close(other);
	vhu_loop_free(loop);
}

static void sources_go_with_the_loop(void **state)
{
	struct vhu_loop *loop = loop_new();
	struct vhu_source *timer;
	struct spot s[3];

	for (size_t i = 0; i < 3; i++)
		spot_init(&s[i], loop, true, EPOLLIN);
	vhu_source_free(s[1].source);
	assert_int_equal(vhu_loop_add_timer(loop, 1, 0, on_spot, &s[0], &timer, NULL), 0);
	vhu_loop_free(loop);
	for (size_t i = 0; i < 3; i++)
		close(s[i].fd);
	vhu_source_free(NULL);
}

static void what_cannot_be_watched_is_said(void **state)
{
	struct vhu_loop *loop = loop_new();
	struct vhu_source *source = NULL;
	struct vhu_err err = {0};
	struct spot s;
	int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	assert_int_equal(vhu_loop_add_fd(loop, -1, EPOLLIN, on_spot, NULL, &source, &err), -EBADF);
	assert_non_null(strstr(err.text, "descriptor -1"));
	assert_int_equal(vhu_loop_add_fd(loop, file, EPOLLIN, on_spot, NULL, &source, &err), -EPERM);
	assert_null(source);
	spot_init(&s, loop, false, EPOLLIN);
	assert_int_equal(vhu_loop_add_fd(loop, s.fd, EPOLLIN, on_spot, NULL, &source, NULL), -EEXIST);
	spot_done(&s);
	close(file);
	vhu_loop_free(loop);
}

/* More than one batch takes, all ready. */
static void many_sources(void **state)
{
	enum { MANY = 100 };
	struct vhu_loop *loop = loop_new();
	static struct spot s[MANY];
	unsigned called = 0;

	for (size_t i = 0; i < MANY; i++) {
		spot_init(&s[i], loop, true, EPOLLIN);
		s[i].drain = true;
	}
	for (unsigned round = 0; round < MANY && called < MANY; round++) {
		assert_int_equal(vhu_loop_poll(loop, NULL), 0);
		called = 0;
		for (size_t i = 0; i < MANY; i++)
			called += s[i].calls;
	}
	for (size_t i = 0; i < MANY; i++) {
		assert_int_equal(s[i].calls, 1);
		spot_done(&s[i]);
	}
	vhu_loop_free(loop);
}

/* --- timers ---------------------------------------------------------------------------------- */

static bool thrice(void *ctx)
{
	return ((struct spot *)ctx)->calls >= 3;
}

static void timers(void **state)
{
	struct vhu_loop *loop = loop_new();
	struct spot once = {0}, often = {0};
	struct vhu_source *a, *b;
	uint64_t start = vhu_now_ns();

	assert_int_equal(vhu_loop_add_timer(loop, 0, 0, on_spot, &once, &a, NULL), 0);
	assert_int_equal(vhu_loop_add_timer(loop, 200000, 100000, on_spot, &often, &b, NULL), 0);
	assert_int_equal(vhu_loop_run_until(loop, thrice, &often, start + patience_ns, false, NULL), 0);
	assert_true(vhu_now_ns() >= start + 400000);
	assert_int_equal(once.calls, 1);
	/* Each frees itself in its callback. */
	often.calls = 0;
	often.victim = &often;
	often.source = b;
	assert_int_equal(vhu_loop_run_until(loop, was_called, &often, start + patience_ns, false, NULL), 0);
	assert_null(often.source);
	vhu_source_free(a);
	vhu_loop_free(loop);
}

/* --- signals --------------------------------------------------------------------------------- */

static void signals_interrupt_until_acknowledged(void **state)
{
	static const int watched[] = {SIGUSR1, SIGUSR2};
	struct vhu_loop *loop = loop_new();
	struct vhu_err err = {0};
	uint64_t deadline = vhu_now_ns() + patience_ns;

	assert_int_equal(vhu_loop_watch_signals(loop, watched, 2, NULL), 0);
	assert_int_equal(vhu_loop_signalled(loop), 0);
	kill(getpid(), SIGUSR2);
	assert_int_equal(vhu_loop_run_until(loop, never, NULL, deadline, false, &err), -EINTR);
	assert_int_equal(err.code, -EINTR);
	assert_non_null(strstr(err.text, "signal"));
	assert_int_equal(vhu_loop_signalled(loop), SIGUSR2);
	assert_int_equal(vhu_loop_run_until(loop, always, NULL, deadline, false, NULL), -EINTR);
	vhu_loop_acknowledge(loop);
	assert_int_equal(vhu_loop_signalled(loop), 0);
	assert_int_equal(vhu_loop_run_until(loop, always, NULL, deadline, false, NULL), 0);
	assert_int_equal(vhu_loop_run_until(loop, never, NULL, 0, false, NULL), -ETIME);
	vhu_loop_free(loop);
}

static void the_first_signal_counts(void **state)
{
	static const int first[] = {SIGUSR1}, more[] = {SIGUSR2};
	struct vhu_loop *loop = loop_new();

	assert_int_equal(vhu_loop_watch_signals(loop, first, 1, NULL), 0);
	assert_int_equal(vhu_loop_watch_signals(loop, more, 1, NULL), 0);
	kill(getpid(), SIGUSR1);
	assert_int_equal(vhu_loop_poll(loop, NULL), 0);
	kill(getpid(), SIGUSR2);
	assert_int_equal(vhu_loop_poll(loop, NULL), 0);
	assert_int_equal(vhu_loop_signalled(loop), SIGUSR1);
	vhu_loop_free(loop);
}

/* What was pending is gone with the loop, and the mask is as it was. */
static void freeing_the_loop_gives_signals_back(void **state)
{
	static const int watched[] = {SIGUSR1};
	struct vhu_loop *loop = loop_new();
	sigset_t before, during, after;

	sigprocmask(SIG_BLOCK, NULL, &before);
	assert_int_equal(vhu_loop_watch_signals(loop, watched, 1, NULL), 0);
	sigprocmask(SIG_BLOCK, NULL, &during);
	assert_true(sigismember(&during, SIGUSR1));
	kill(getpid(), SIGUSR1);
	vhu_loop_free(loop);
	sigprocmask(SIG_BLOCK, NULL, &after);
	for (int i = 1; i < NSIG; i++)
		assert_int_equal(sigismember(&before, i), sigismember(&after, i));
}

static void signals_that_are_none(void **state)
{
	static const int bad[] = {4711};
	struct vhu_loop *loop = loop_new();
	struct vhu_err err = {0};

	assert_int_equal(vhu_loop_watch_signals(loop, bad, 1, &err), -EINVAL);
	assert_non_null(strstr(err.text, "4711"));
	vhu_loop_free(loop);
}

/* --- descriptors ----------------------------------------------------------------------------- */

static void descriptors_are_counted_and_closed(void **state)
{
	static const int watched[] = {SIGUSR1};
	int before = fds_open();
	struct vhu_loop *loop = loop_new();
	struct vhu_source *timer;

	assert_int_equal(fds_open() - before, vhu_loop_fds(loop));
	assert_int_equal(vhu_loop_watch_signals(loop, watched, 1, NULL), 0);
	assert_int_equal(fds_open() - before, vhu_loop_fds(loop));
	assert_int_equal(vhu_loop_add_timer(loop, 1, 1, on_spot, NULL, &timer, NULL), 0);
	assert_int_equal(fds_open() - before, vhu_loop_fds(loop));
	vhu_source_free(timer);
	assert_int_equal(fds_open() - before, vhu_loop_fds(loop));
	vhu_loop_free(loop);
	assert_int_equal(fds_open(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(done_before_waiting),
		cmocka_unit_test(done_by_an_event),
		cmocka_unit_test(the_deadline_ends_a_run),
		cmocka_unit_test(a_standstill_costs_no_time),
		cmocka_unit_test(deadlines_of_several_runs),
		cmocka_unit_test(what_is_ready_by_the_deadline_is_handled),
		cmocka_unit_test(spinning_polls_a_condition),
		cmocka_unit_test(polling_does_not_wait),
		cmocka_unit_test(interest_can_change),
		cmocka_unit_test(a_source_may_free_itself),
		cmocka_unit_test(a_source_may_free_another_of_its_batch),
		cmocka_unit_test(an_event_of_the_old_is_not_the_new_ones),
		cmocka_unit_test(sources_go_with_the_loop),
		cmocka_unit_test(what_cannot_be_watched_is_said),
		cmocka_unit_test(many_sources),
		cmocka_unit_test(timers),
		cmocka_unit_test(signals_interrupt_until_acknowledged),
		cmocka_unit_test(the_first_signal_counts),
		cmocka_unit_test(freeing_the_loop_gives_signals_back),
		cmocka_unit_test(signals_that_are_none),
		cmocka_unit_test(descriptors_are_counted_and_closed),
	};

	return cmocka_run_group_tests_name("event_loop", tests, NULL, NULL);
}
