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
	LONG_VALUE = UCHAR_MAX + 1, /* of an option that was given by its name */
	HELP_COLUMN = 30,
	HELP_WIDTH = 100,
};

enum { GPU_FEATURES = 3 }; /* EDID, DMABUF2 */

struct options options = {
	.fd = -1,
	.size = SIZE_DEFAULT,
	.queues = QUEUES_DEFAULT,
	.mem_slots = MEM_SLOTS_DEFAULT,
	.config_size = C_CONFIG_SIZE_MAX,
	.blk_size = C_SECTOR_SIZE,
	.gpu_asks = GPU_ASKS_ALWAYS,
	.gpu_features = GPU_FEATURES,
};

enum {
#define VHU_BACKEND_OPTION(id, ...) OPT_##id,
#include "vhu/backend_options.def"
	OPT_MAX
};

static const struct row {
	char letter; /* or 0 */
	const char *name, *arg, *group, *help;
} rows[OPT_MAX] = {
#define VHU_BACKEND_OPTION(id, ...) [OPT_##id] = {__VA_ARGS__},
#include "vhu/backend_options.def"
};

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
	static const char *const log_replies[] = {
		[LOG_REPLY_ECHO] = "log-echo", [LOG_REPLY_U64] = "log-u64", [LOG_REPLY_EMPTY] = "log-empty"};
	static const struct {
		const char *word;
		bool *on;
	} habits[] = {
		{"base-low", &options.base_low},     {"ungated", &options.ungated},
		{"unoffered", &options.unoffered},   {"ack-always", &options.ack_always},
		{"area-first", &options.area_first},
	};

	for (unsigned i = 0; i < sizeof(log_replies) / sizeof(log_replies[0]); i++) {
		if (!strcmp(word, log_replies[i])) {
			options.log_reply = i;
			return;
		}
	}
	for (unsigned i = 0; i < sizeof(habits) / sizeof(habits[0]); i++) {
		if (!strcmp(word, habits[i].word)) {
			*habits[i].on = true;
			return;
		}
	}
	usage("--reply-style", "log-echo, log-u64, log-empty, base-low, ungated, unoffered, ack-always or "
			       "area-first is expected");
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
	case OPT_SOCKET:
		options.socket = optarg;
		break;
	case OPT_SOCKET_PATH:
	case OPT_FD:
		socket_option(c);
		break;
	case OPT_CLIENT:
		options.client = true;
		break;
	case OPT_IMAGE:
	case OPT_BLK_FILE:
		options.image = optarg;
		break;
	case OPT_SIZE:
		options.size =
			number("--size", optarg, C_SECTOR_SIZE, 1ULL << 44) / C_SECTOR_SIZE * C_SECTOR_SIZE;
		break;
	case OPT_QUEUES:
		options.queues = (unsigned)number("--queues", optarg, 1, C_VRING_INDEX_MAX + 1);
		break;
	case OPT_READ_ONLY:
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
	case OPT_FAULT:
		fault_parse(optarg);
		break;
	case OPT_PRINT_CAPABILITIES:
		*capabilities = true;
		break;
	case OPT_VERBOSE:
		options.verbose = true;
		break;
	default:
		look_option(c);
	}
}

/* Words of `text` from `column` on, and from HELP_COLUMN on in the lines that follow. */
static void print_wrapped(const char *text)
{
	size_t column = HELP_COLUMN;

	while (*text) {
		size_t len = strcspn(text, " ");

		if (column + 1 + len > HELP_WIDTH)
			column = (size_t)printf("\n%*s", HELP_COLUMN, "") - 1;
		column += (size_t)printf(" %.*s", (int)len, text);
		text += len + strspn(text + len, " ");
	}
	putchar('\n');
}

static void print_help(void)
{
	const char *group = "";

	puts("Usage: vhu-backend --socket PATH --device NAME [OPTION]…\n"
	     "The reference vhost-user back-end: it keeps to the specification, save for the faults asked "
	     "for.\n");
	for (const struct row *r = rows; r < rows + OPT_MAX; r++) {
		int width;

		if (strcmp(group, r->group))
			printf("%s:\n", r->group);
		group = r->group;
		width = r->letter ? printf("  -%c, ", r->letter) : printf("      ");
		width += printf("--%s %s", r->name, r->arg ? r->arg : "");
		if (width + 1 > HELP_COLUMN)
			width = printf("\n") - 1;
		printf("%*s", HELP_COLUMN - width, "");
		print_wrapped(r->help);
	}
	puts("\nSIGHUP makes it look at the image's size again; SIGTERM and SIGINT end it.");
}

/* What ends the program by itself, whatever else was given. */
static void answer_and_exit(int c)
{
	switch (c) {
	case OPT_HELP:
		print_help();
		break;
	case OPT_VERSION:
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

/* The next option's row; -1: there is none. */
static int next_option(int argc, char **argv)
{
	static struct option table[OPT_MAX + 1];
	static char letters[2 * OPT_MAX + 1];
	char *letter = letters;
	int c;

	for (int i = 0; i < OPT_MAX; i++) {
		int takes = rows[i].arg ? required_argument : no_argument;

		table[i] = (struct option){rows[i].name, takes, NULL, LONG_VALUE + i};
		if (rows[i].letter)
			letter += sprintf(letter, "%c%s", rows[i].letter, rows[i].arg ? ":" : "");
	}
	opterr = 0;
	c = getopt_long(argc, argv, letters, table, NULL);
	if (c == '?')
		usage(argv[optind - 1], "it is no option, or lacks its argument");
	for (int i = 0; i < OPT_MAX && c < LONG_VALUE; i++)
		if (rows[i].letter == c)
			return i;
	return c < 0 ? c : c - LONG_VALUE;
}

const struct device *options_parse(int argc, char **argv)
{
	const char *name = device_blk.name;
	const struct device *dev;
	bool capabilities = false;
	int c;

	while ((c = next_option(argc, argv)) >= 0) {
		answer_and_exit(c);
		if (c == OPT_DEVICE)
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
