/*
 * The command line.
 */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "dev_net.h"
#include "device.h"
#include "fault.h"
#include "like.h"
#include "options.h"
#include "server.h"

#ifndef VHU_VERSION
#define VHU_VERSION "unknown"
#endif

enum {
	EXIT_USAGE = 2,
	SIZE_DEFAULT = 64 << 20,
	QUEUES_DEFAULT = 4,
	MEM_SLOTS_DEFAULT = 32,
	MEM_SLOTS_MAX = 509,
	ZONE_MIN = 512, /* sectors */
	LONG_PATH = 106,
};

enum { GPU_FEATURES = 3 }; /* EDID, DMABUF2 */

struct options options = {
	.fd = -1,
	.size = SIZE_DEFAULT,
	.queues = QUEUES_DEFAULT,
	.mem_slots = MEM_SLOTS_DEFAULT,
	.config_size = C_CONFIG_SIZE_MAX,
	.blk_size = C_SECTOR_SIZE,
	.gpu_asks = true,
	.gpu_features = GPU_FEATURES,
};

/* Options without a short form. */
enum {
	OPT_FD = UCHAR_MAX + 1,
	OPT_BLK_SIZE,
	OPT_CONFIG,
	OPT_CONTROL_QUEUE,
	OPT_FEATURES,
	OPT_FLASH,
	OPT_LATENCY,
	OPT_LIKE,
	OPT_LIKE_SESSION,
	OPT_LIST_FAULTS,
	OPT_MEM_SLOTS,
	OPT_CONFIG_SIZE,
	OPT_NULL,
	OPT_ONE_SHOT,
	OPT_POLL,
	OPT_PRINT_CAPABILITIES,
	OPT_PROTOCOL_FEATURES,
	OPT_REORDER,
	OPT_REPLY_STYLE,
	OPT_SIZE,
	OPT_SOCKET_PATH,
	OPT_ZONED,
};

static const struct option table[] = {
	{"socket", required_argument, NULL, 's'},
	{"socket-path", required_argument, NULL, OPT_SOCKET_PATH},
	{"fd", required_argument, NULL, OPT_FD},
	{"client", no_argument, NULL, 'c'},
	{"one-shot", no_argument, NULL, OPT_ONE_SHOT},
	{"device", required_argument, NULL, 'd'},
	{"image", required_argument, NULL, 'i'},
	{"blk-file", required_argument, NULL, 'i'},
	{"size", required_argument, NULL, OPT_SIZE},
	{"queues", required_argument, NULL, 'q'},
	{"read-only", no_argument, NULL, 'r'},
	{"null", no_argument, NULL, OPT_NULL},
	{"latency", required_argument, NULL, OPT_LATENCY},
	{"poll", no_argument, NULL, OPT_POLL},
	{"reorder", no_argument, NULL, OPT_REORDER},
	{"blk-size", required_argument, NULL, OPT_BLK_SIZE},
	{"flash", no_argument, NULL, OPT_FLASH},
	{"zoned", required_argument, NULL, OPT_ZONED},
	{"control-queue", no_argument, NULL, OPT_CONTROL_QUEUE},
	{"mem-slots", required_argument, NULL, OPT_MEM_SLOTS},
	{"config-size", required_argument, NULL, OPT_CONFIG_SIZE},
	{"features", required_argument, NULL, OPT_FEATURES},
	{"protocol-features", required_argument, NULL, OPT_PROTOCOL_FEATURES},
	{"config", required_argument, NULL, OPT_CONFIG},
	{"reply-style", required_argument, NULL, OPT_REPLY_STYLE},
	{"like-session", required_argument, NULL, OPT_LIKE_SESSION},
	{"like", required_argument, NULL, OPT_LIKE},
	{"fault", required_argument, NULL, 'F'},
	{"list-faults", no_argument, NULL, OPT_LIST_FAULTS},
	{"print-capabilities", no_argument, NULL, OPT_PRINT_CAPABILITIES},
	{"verbose", no_argument, NULL, 'v'},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'},
	{NULL, 0, NULL, 0},
};

static const char help[] =
	"Usage: vhu-backend --socket PATH --device NAME [OPTION]…\n"
	"The reference vhost-user back-end: it keeps to the specification, save for the faults asked for.\n"
	"\n"
	"Connection (one of):\n"
	"  -s, --socket PATH        listen on PATH (also --socket-path); one front-end at a time is served\n"
	"      --fd N               use the inherited socket N, listening or connected\n"
	"  -c, --client             with --socket: connect to PATH, again and again\n"
	"      --one-shot           end with the first front-end\n"
	"Device:\n"
	"  -d, --device NAME        blk (default), net, fs … (what is known is listed for an unknown one)\n"
	"  -i, --image FILE         the medium (also --blk-file); default is memory\n"
	"      --size BYTES         of that memory, with K, M or G (64M)\n"
	"  -q, --queues N           request queues, 1 to 256 (4)\n"
	"  -r, --read-only          offer a read-only device\n"
	"      --null               complete reads and writes at once, without data\n"
	"      --latency US         let each request take that many microseconds (0)\n"
	"      --reorder            execute requests in another order than they came\n"
	"      --poll               look at the rings all the time, not only when kicked\n"
	"      --blk-size BYTES     logical block size (512)\n"
	"      --flash              offer wear figures and secure erase\n"
	"      --zoned SECTORS      a flash disk of empty zones; the first is written as any disk\n"
	"      --control-queue      serve the control queue of a network device, one more than --queues\n"
	"To look like another back-end:\n"
	"      --features MASK      offer only these of the virtio features\n"
	"      --protocol-features MASK  offer only these of the protocol features\n"
	"      --config HEX         config space begins with these bytes\n"
	"      --config-size BYTES  config space has at most so many bytes, 1 to 256\n"
	"      --mem-slots N        memory slots, 1 to 509 (32)\n"
	"      --reply-style WORD   log-echo (default), log-u64 or log-empty: how SET_LOG_BASE is answered;\n"
	"                           base-low: GET_VRING_BASE tells 16 bits only; ungated: messages are\n"
	"                           served without their protocol feature; ack-always: need_reply is\n"
	"                           answered without REPLY_ACK; area-first: with INFLIGHT_SHMFD no ring\n"
	"                           starts without its buffer; may be given again\n"
	"      --like CAPTURE       all of these, and --queues, as a captured back-end had them\n"
	"      --like-session N     before --like: the back-end of this session, of several\n"
	"Faults:\n"
	"  -F, --fault ID           misbehave; may be given again\n"
	"      --list-faults        a line a fault: id, requirements, what it does wrong\n"
	"Other:\n"
	"      --print-capabilities JSON for management programs\n"
	"  -v, --verbose            say on stderr what was refused and why\n"
	"  -h, --help  -V, --version\n"
	"\n"
	"SIGHUP makes it look at the image's size again; SIGTERM and SIGINT end it.\n";

__attribute__((format(printf, 1, 0))) static void say(const char *format, va_list args)
{
	fputs("vhu-backend: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
}

void complain(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(format, args);
	va_end(args);
}

void remark(const char *format, ...)
{
	va_list args;

	if (!options.verbose)
		return;
	va_start(args, format);
	say(format, args);
	va_end(args);
}

__attribute__((noreturn)) static void usage(const char *what, const char *why)
{
	complain("%s: %s (see --help)", what, why);
	exit(EXIT_USAGE);
}

/* A number with an optional K, M or G; anything else ends the program. */
static uint64_t number(const char *option, const char *text, uint64_t min, uint64_t max)
{
	static const char units[] = "KMG";
	unsigned long long value;
	const char *unit;
	unsigned shift = 0;
	char *end;

	errno = 0;
	value = strtoull(text, &end, 0);
	unit = *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
	if (unit) {
		shift = 10 * (unsigned)(unit - units + 1);
		end++;
	}
	if (errno || !isdigit((unsigned char)*text) || *end || value > (UINT64_MAX >> shift) ||
	    (value <<= shift) < min || value > max) {
		complain("%s %s: a number from %llu to %llu is expected (see --help)", option, text,
			 (unsigned long long)min, (unsigned long long)max);
		exit(EXIT_USAGE);
	}
	return value;
}

static void config_parse(const char *text)
{
	size_t len = strlen(text);

	if (!len || len % 2 || len / 2 > sizeof(options.config) ||
	    strspn(text, "0123456789abcdefABCDEF") != len)
		usage("--config", "up to 256 bytes are expected, two hexadecimal digits each");
	options.config_len = (unsigned)(len / 2);
	for (size_t i = 0; i < options.config_len; i++) {
		char digits[] = {text[2 * i], text[2 * i + 1], '\0'};

		options.config[i] = (uint8_t)strtoul(digits, NULL, 16);
	}
}

static void fault_parse(const char *id)
{
	if (!fault_enable(id)) {
		complain("--fault %s: there is no such fault (see --list-faults)", id);
		exit(EXIT_USAGE);
	}
}

static void style_parse(const char *word)
{
	if (!strcmp(word, "log-echo"))
		options.log_reply = LOG_REPLY_ECHO;
	else if (!strcmp(word, "log-u64"))
		options.log_reply = LOG_REPLY_U64;
	else if (!strcmp(word, "log-empty"))
		options.log_reply = LOG_REPLY_EMPTY;
	else if (!strcmp(word, "base-low"))
		options.base_low = true;
	else if (!strcmp(word, "ungated"))
		options.ungated = true;
	else if (!strcmp(word, "ack-always"))
		options.ack_always = true;
	else if (!strcmp(word, "area-first"))
		options.area_first = true;
	else
		usage("--reply-style",
		      "log-echo, log-u64, log-empty, base-low, ungated, ack-always or area-first is "
		      "expected");
}

/* What makes it look like another back-end. */
static void look_option(int c)
{
	static uint32_t session;

	switch (c) {
	case OPT_MEM_SLOTS:
		options.mem_slots = (unsigned)number("--mem-slots", optarg, 1, MEM_SLOTS_MAX);
		break;
	case OPT_CONFIG_SIZE:
		options.config_size = (unsigned)number("--config-size", optarg, 1, C_CONFIG_SIZE_MAX);
		break;
	case OPT_FEATURES:
		options.features = number("--features", optarg, 0, UINT64_MAX);
		options.has_features = true;
		break;
	case OPT_PROTOCOL_FEATURES:
		options.pfeatures = number("--protocol-features", optarg, 0, UINT64_MAX);
		options.has_pfeatures = true;
		break;
	case OPT_CONFIG:
		config_parse(optarg);
		break;
	case OPT_REPLY_STYLE:
		style_parse(optarg);
		break;
	case OPT_LIKE_SESSION:
		session = (uint32_t)number("--like-session", optarg, 1, UINT16_MAX);
		break;
	case OPT_LIKE:
		like_capture(optarg, session);
		break;
	case OPT_CONTROL_QUEUE:
		options.control_queue = true;
		break;
	case OPT_FLASH:
		options.flash = true;
		break;
	case OPT_ZONED:
		options.zoned = (uint32_t)number("--zoned", optarg, ZONE_MIN, UINT32_MAX);
		break;
	}
}

/* How management programs name the socket. */
static void socket_option(int c)
{
	if (c == OPT_FD) {
		if (fault(prog_fd))
			usage("--fd", "it is no option");
		options.fd = (int)number("--fd", optarg, 0, INT_MAX);
		return;
	}
	if (fault(prog_socket_path))
		usage("--socket-path", "it is no option");
	if (fault(prog_long_path) && strlen(optarg) > LONG_PATH)
		fault_crash();
	options.socket = optarg;
	options.managed = true;
}

static void one_option(int c, bool *capabilities)
{
	switch (c) {
	case 's':
		options.socket = optarg;
		break;
	case OPT_SOCKET_PATH:
	case OPT_FD:
		socket_option(c);
		break;
	case 'c':
		options.client = true;
		break;
	case 'i':
		options.image = optarg;
		break;
	case OPT_SIZE:
		options.size =
			number("--size", optarg, C_SECTOR_SIZE, 1ULL << 44) / C_SECTOR_SIZE * C_SECTOR_SIZE;
		break;
	case 'q':
		options.queues = (unsigned)number("--queues", optarg, 1, C_VRING_INDEX_MAX + 1);
		break;
	case 'r':
		if (fault(prog_read_only_unknown))
			usage("--read-only", "there is no such option");
		options.read_only = true;
		break;
	case OPT_ONE_SHOT:
		options.one_shot = true;
		break;
	case OPT_NULL:
		options.null = true;
		break;
	case OPT_POLL:
		options.poll = true;
		break;
	case OPT_REORDER:
		options.reorder = true;
		break;
	case OPT_LATENCY:
		options.latency_ns = number("--latency", optarg, 0, 60000000) * 1000;
		break;
	case OPT_BLK_SIZE:
		options.blk_size = (uint32_t)number("--blk-size", optarg, C_SECTOR_SIZE, 1 << 16);
		if (options.blk_size & (options.blk_size - 1))
			usage("--blk-size", "a power of two is expected");
		break;
	case 'F':
		fault_parse(optarg);
		break;
	case OPT_PRINT_CAPABILITIES:
		*capabilities = true;
		break;
	case 'v':
		options.verbose = true;
		break;
	default:
		look_option(c);
	}
}

/* What ends the program by itself, whatever else was given. */
static void answer_and_exit(int c)
{
	switch (c) {
	case 'h':
		fputs(help, stdout);
		break;
	case 'V':
		puts("vhu-backend " VHU_VERSION);
		break;
	case OPT_LIST_FAULTS:
		fault_list(stdout);
		break;
	default:
		return;
	}
	exit(fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS);
}

static void check(void)
{
	struct stat st;

	if (!options.socket && options.fd < 0)
		usage("no socket", "give --socket PATH or --fd N");
	if (options.socket && options.fd >= 0 && !fault(prog_both))
		usage("--socket and --fd", "only one of them can be given");
	if (options.client && !options.socket)
		usage("--client", "it needs --socket PATH");
	if (options.fd >= 0 && (fstat(options.fd, &st) < 0 || !S_ISSOCK(st.st_mode)))
		usage("--fd", "the descriptor is no socket");
	if (options.image && stat(options.image, &st) < 0)
		usage(options.image, strerror(errno));
}

const struct device *options_parse(int argc, char **argv)
{
	const char *name = device_blk.name;
	const struct device *dev;
	bool capabilities = false;
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, "s:cd:i:q:rF:vhV", table, NULL)) != -1) {
		if (c == '?')
			usage(argv[optind - 1], "it is no option, or lacks its argument");
		answer_and_exit(c);
		if (c == 'd')
			name = optarg;
		else
			one_option(c, &capabilities);
	}
	if (optind < argc)
		usage(argv[optind], "it is no option");
	dev = device_find(name);
	if (!dev) {
		complain("--device %s: there is no such device; known are:", name);
		device_list(stderr);
		fputc('\n', stderr);
		exit(EXIT_USAGE);
	}
	if (capabilities) {
		if (fault(prog_capabilities_serves) && options.socket)
			server_open();
		puts(fault(prog_capabilities_type) ? "{\"type\":\"disk\"}" : dev->capabilities);
		exit(fflush(stdout) || fault(prog_capabilities_status) ? EXIT_FAILURE : EXIT_SUCCESS);
	}
	check();
	/* It comes behind the pairs that were asked for. */
	if (dev == &device_net && net_ctrl_on() && options.queues <= C_VRING_INDEX_MAX)
		options.queues++;
	return dev;
}
