/*
 * vhu-backend: a vhost-user back-end written from the specification alone, to be tested against.
 *
 * It shares no code with the tester; both are made from the tables in include/vhu. Without --fault it
 * keeps to the specification and survives whatever a front-end sends; each row of faults.def is one
 * place in this code that does one thing wrong on purpose.
 *
 *   server.c                   where connections come from
 *   session.c, msg_*.c         one connection: dispatch by messages.def, a handler a message
 *   wire.c, channel.c          messages on sockets; the channel for requests of our own
 *   memory.c, log.c            guest memory, its addresses, its dirty log
 *   ring.c, ring_split.c, ring_packed.c, chain.c
 *                              life of a ring; its layouts; buffers of a request
 *   device.c, dev_*.c, store.c what requests mean, and the medium
 *   fault.c                    the faults
 *   loop.c, notify.c           waiting; descriptors of the peer's
 *
 * To add a message: a handler in msg_*.c and its line in session.c. To add a fault: a row in faults.def
 * and one `if (fault(name))`. To add a device: see device.h.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "chain.h"
#include "fault.h"
#include "options.h"
#include "server.h"
#include "session.h"

static struct session session;

static bool is_null(int fd)
{
	struct stat st, null;

	return fstat(fd, &st) == 0 && stat("/dev/null", &null) == 0 && st.st_rdev == null.st_rdev;
}

static int serve(const struct device *dev)
{
	int r, fd;

	r = chain_init();
	if (r == 0)
		r = session_init(&session, dev, options.queues, options.mem_slots);
	if (r < 0) {
		complain("cannot start: %s", strerror(-r));
		return EXIT_FAILURE;
	}
	while (!loop_stopping()) {
		fd = server_next();
		if (fd < 0)
			break;
		session_serve(&session, fd);
		if (fault(prog_sigterm_crash) && loop_stopping())
			fault_crash();
		if (fault(prog_end_signal) && !loop_stopping())
			raise(SIGKILL);
		if (options.one_shot)
			break;
	}
	return EXIT_SUCCESS;
}

/* How a program that was started by management software gets the start wrong. */
static void start_wrongly(void)
{
	if (fault(prog_daemon) && options.managed && daemon(1, 1) < 0)
		complain("cannot become a daemon");
	if (fault(prog_needs_stderr) && is_null(STDERR_FILENO))
		exit(EXIT_FAILURE);
	if (fault(prog_child_stays) && options.managed && fork() == 0)
		pause();
}

int main(int argc, char **argv)
{
	const struct device *dev = options_parse(argc, argv);
	int r, status = EXIT_FAILURE;

	start_wrongly();
	r = loop_init(options.client ? NULL : options.socket);
	if (r == 0)
		r = dev->open();
	if (r < 0) {
		complain("%s: %s", options.image ? options.image : "cannot start", strerror(-r));
		loop_done();
		return EXIT_FAILURE;
	}
	if (server_open() == 0)
		status = serve(dev);
	server_close();
	session_done(&session);
	chain_done();
	dev->close();
	loop_done();
	return fault(prog_status_0) ? EXIT_SUCCESS : status;
}
