/*
 * SET_DEVICE_STATE_FD, CHECK_DEVICE_STATE. A saved state is a head, what the device wrote, and zeroes up to
 * a size that no pipe of one page holds.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "fault.h"
#include "options.h"
#include "session.h"

#define MAGIC UINT64_C(0x3165746174537576)

enum {
	VERSION = 1,
	STATE_SIZE = 16384,
	STATE_LOAD_MAX = 1 << 20,
	SAVE = 0,
	LOAD = 1,
	STOPPED = 0,
	NO_FD = 1 << 8,
};

struct head {
	uint64_t magic;
	uint32_t version, size; /* of all, this head included */
	uint64_t sum;		/* of what follows the head */
	uint32_t device_len, reserved;
};

static uint64_t sum_of(const uint8_t *bytes, size_t len)
{
	uint64_t sum = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < len; i++)
		sum = (sum ^ bytes[i]) * UINT64_C(0x100000001b3);
	return sum;
}

static void answer_outcome(struct session *s)
{
	struct transfer *t = &s->transfer;
	uint8_t payload[PMAX_U64];
	bool failed = t->outcome != OUTCOME_OK;

	t->asked = false;
	FIELD_SET(payload, U64, u64, failed || fault(devstate_check_fails));
	session_answer(s, MSG_MAIN_CHECK_DEVICE_STATE, payload, sizeof(payload), -1);
	if (fault(devstate_quit) && !t->load && !failed)
		exit(EXIT_SUCCESS);
}

static void finish(struct session *s, bool ok)
{
	struct transfer *t = &s->transfer;
	int fd = t->src.fd;

	if (fd >= 0) {
		loop_remove(&t->src);
		if (!fault(devstate_noclose) || t->load)
			close(fd);
	}
	free(t->bytes);
	t->bytes = NULL;
	t->len = t->done = t->room = 0;
	t->outcome = ok ? OUTCOME_OK : OUTCOME_FAILED;
	if (!t->asked)
		return;
	answer_outcome(s);
	loop_change(&s->wire.src, EPOLLIN | EPOLLRDHUP);
}

void state_close(struct session *s)
{
	s->transfer.asked = false;
	finish(s, false);
	s->transfer.outcome = OUTCOME_NONE;
	s->transfer.loaded = false;
}

/* --- save ------------------------------------------------------------------------------------------ */

static bool collect(struct session *s)
{
	struct transfer *t = &s->transfer;
	struct head head = {.magic = MAGIC, .version = VERSION, .size = STATE_SIZE};

	t->bytes = calloc(1, STATE_SIZE);
	if (!t->bytes)
		return false;
	head.device_len = s->dev->save ? s->dev->save(s, t->bytes + sizeof(head)) : 0;
	head.sum = sum_of(t->bytes + sizeof(head), STATE_SIZE - sizeof(head));
	memcpy(t->bytes, &head, sizeof(head));
	t->len = fault(devstate_needs_log) && !(s->features & V(VHOST_F_LOG_ALL)) ? 0 : STATE_SIZE;
	return true;
}

static void save_some(struct session *s)
{
	struct transfer *t = &s->transfer;

	while (t->done < t->len) {
		ssize_t n = write(t->src.fd, t->bytes + t->done, t->len - t->done);

		if (n < 0 && (errno == EAGAIN || errno == EINTR) && !fault(devstate_pipe_full))
			return;
		if (n < 0) {
			if (errno == EPIPE && fault(devstate_sigpipe)) {
				signal(SIGPIPE, SIG_DFL);
				raise(SIGPIPE);
			}
			finish(s, false);
			return;
		}
		t->done += (size_t)n;
	}
	finish(s, true);
}

/* --- load ------------------------------------------------------------------------------------------ */

static bool take_over(struct session *s)
{
	struct transfer *t = &s->transfer;
	struct head head;

	if (fault(devstate_empty_crash) && !t->len)
		fault_crash();
	if (t->len < sizeof(head))
		return false;
	memcpy(&head, t->bytes, sizeof(head));
	/* whoever trusts a length that came through the channel reads what is not his */
	if (fault(devstate_trusts_length) && head.size != t->len)
		fault_crash();
	if (head.magic != MAGIC || head.version != VERSION || head.size != t->len ||
	    head.device_len > t->len - sizeof(head) || head.device_len > STATE_DEVICE_MAX ||
	    head.sum != sum_of(t->bytes + sizeof(head), t->len - sizeof(head)))
		return false;
	if (fault(devstate_load_forgets))
		return true;
	return s->dev->load ? s->dev->load(s, t->bytes + sizeof(head), head.device_len) : !head.device_len;
}

static bool make_room(struct transfer *t)
{
	size_t room = t->room ? 2 * t->room : STATE_SIZE;
	uint8_t *bytes;

	if (t->len < t->room)
		return true;
	bytes = room <= STATE_LOAD_MAX ? realloc(t->bytes, room) : NULL;
	if (!bytes)
		return false;
	t->bytes = bytes;
	t->room = room;
	return true;
}

static void load_some(struct session *s)
{
	struct transfer *t = &s->transfer;
	bool ok;

	for (;;) {
		ssize_t n;

		if (!make_room(t)) {
			finish(s, false);
			return;
		}
		n = read(t->src.fd, t->bytes + t->len, t->room - t->len);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		t->len += n > 0 ? (size_t)n : 0;
		if (n > 0 && !fault(devstate_partial))
			continue;
		break;
	}
	ok = take_over(s);
	if (!ok)
		remark("the device state cannot be loaded (%zu bytes)", t->len);
	finish(s, ok);
	t->loaded |= ok;
}

static void transfer_ready(struct source *src, uint32_t events)
{
	struct session *s = owner_of(owner_of(src, struct transfer, src), struct session, transfer);

	(void)events;
	if (s->transfer.load)
		load_some(s);
	else
		save_some(s);
}

/* --- messages -------------------------------------------------------------------------------------- */

static bool begin(struct session *s, int fd, bool load)
{
	struct transfer *t = &s->transfer;
	int flags = fcntl(fd, F_GETFL);

	state_close(s);
	t->load = load;
	t->src.ready = transfer_ready;
	/* our end is a file of its own: the front-end's stays as it is */
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || (!load && !collect(s)) ||
	    loop_add(&t->src, fd, load ? EPOLLIN : EPOLLOUT) < 0) {
		state_close(s);
		return false;
	}
	t->outcome = OUTCOME_PENDING;
	return true;
}

static void tell_start(struct reply *r, unsigned error)
{
	uint64_t value = NO_FD | error;

	if (fault(devstate_nofd_bit) && !error)
		value = 0;
	if (fault(devstate_error_fd) && error) {
		r->fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
		value = error;
	}
	FIELD_SET(r->payload, STATE_RESULT, u64, value);
	r->size = fault(devstate_short_reply) ? PMAX_U64 / 2 : PMAX_U64;
}

enum result msg_set_device_state_fd(struct session *s, struct msg *m, struct reply *r)
{
	uint64_t direction = FIELD(m->payload, DEVICE_STATE, direction);
	uint64_t phase = FIELD(m->payload, DEVICE_STATE, phase);
	bool ok = direction <= LOAD && phase == STOPPED && !s->n_started;
	int fd;

	if ((fault(devstate_direction_crash) && direction > LOAD) ||
	    (fault(devstate_running_crash) && s->n_started))
		fault_crash();
	if (!ok)
		remark("SET_DEVICE_STATE_FD: direction %u, phase %u, %u rings run", (unsigned)direction,
		       (unsigned)phase, s->n_started);
	fd = ok ? msg_take_fd(m) : -1;
	if (ok && !begin(s, fd, direction == LOAD)) {
		close(fd);
		ok = false;
	}
	tell_start(r, !ok || fault(devstate_refused));
	return RES_OK;
}

enum result msg_check_device_state(struct session *s, struct msg *m, struct reply *r)
{
	struct transfer *t = &s->transfer;

	(void)m;
	(void)r;
	if (fault(devstate_check_crash) && t->outcome == OUTCOME_NONE)
		fault_crash();
	if (t->outcome == OUTCOME_PENDING) {
		t->asked = true;
		/* the end of the connection is heard without being asked for */
		loop_change(&s->wire.src, 0);
	} else {
		answer_outcome(s);
	}
	return RES_HANDLED;
}
