#include "cli/guest.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define ROW(member) .offset = offsetof(struct vhu_guest_cli, member)

static const char group_load[] = "Load";
static const char group_ring[] = "Rings";
static const char group_disturb[] = "Disturbances";
static const char group_report[] = "Report";

enum { DEPTH_MAX = 32768, PERCENT_DEFAULT = 50 };

static const char *const rw_names[] = {
	[VHU_GUEST_READ] = "read",	     [VHU_GUEST_WRITE] = "write",   [VHU_GUEST_RANDREAD] = "randread",
	[VHU_GUEST_RANDWRITE] = "randwrite", [VHU_GUEST_RANDRW] = "randrw", [VHU_GUEST_VERIFY] = "verify",
};

const char *vhu_guest_rw_name(enum vhu_guest_rw rw)
{
	return rw_names[rw];
}

/* --- values that are no plain text or number -------------------------------------------------- */

static int set_rw(void *opts, const char *arg, struct vhu_err *err)
{
	struct vhu_guest_cli *o = opts;
	size_t len = strcspn(arg, ":");
	uint64_t percent = PERCENT_DEFAULT;

	for (size_t i = 0; i < VHU_ARRAY_SIZE(rw_names); i++) {
		if (strlen(rw_names[i]) != len || strncmp(rw_names[i], arg, len))
			continue;
		if (arg[len] && i != VHU_GUEST_RANDRW)
			return vhu_err_set(err, -EINVAL, "'%s': only randrw takes a percentage of reads",
					   arg);
		if (arg[len] && (vhu_u64_parse(arg + len + 1, &percent) < 0 || percent > 100))
			return vhu_err_set(err, -EINVAL, "'%s' is no percentage of reads from 0 to 100",
					   arg + len + 1);
		o->rw = (enum vhu_guest_rw)i;
		o->read_percent = (unsigned)percent;
		return 0;
	}
	return vhu_err_set(err, -EINVAL,
			   "'%s' is none of read, write, randread, randwrite, randrw[:PERCENT], verify", arg);
}

static int set_runtime(void *opts, const char *arg, struct vhu_err *err)
{
	char *end;
	double s = strtod(arg, &end);

	if (end == arg || *end || !(s > 0) || s > 1e8)
		return vhu_err_set(err, -EINVAL, "'%s' is no number of seconds", arg);
	((struct vhu_guest_cli *)opts)->runtime_ns = (uint64_t)(s * 1e9);
	return 0;
}

static int set_ring(void *opts, const char *arg, struct vhu_err *err)
{
	struct vhu_guest_cli *o = opts;

	if (strcmp(arg, "split") && strcmp(arg, "packed"))
		return vhu_err_set(err, -EINVAL, "'%s' is none of split, packed", arg);
	o->packed = !strcmp(arg, "packed");
	return 0;
}

static int set_notify(void *opts, const char *arg, struct vhu_err *err)
{
	struct vhu_guest_cli *o = opts;

	o->notify = !strcmp(arg, "poll") ? VHU_GUEST_POLL : VHU_GUEST_EVENT;
	o->event_idx = !strcmp(arg, "event-idx");
	if (o->notify == VHU_GUEST_EVENT && !o->event_idx && strcmp(arg, "event"))
		return vhu_err_set(err, -EINVAL, "'%s' is none of poll, event, event-idx", arg);
	return 0;
}

static int set_cpus(void *opts, const char *arg, struct vhu_err *err)
{
	struct vhu_guest_cli *o = opts;
	const long most = sysconf(_SC_NPROCESSORS_CONF);
	const char *at = arg;

	for (o->n_cpus = 0; o->n_cpus < VHU_GUEST_CPUS_MAX; at++) {
		char *end;
		unsigned long cpu = strtoul(at, &end, 10);

		if (end == at || (*end && *end != ','))
			break;
		if (cpu >= (unsigned long)most)
			return vhu_err_set(err, -EINVAL, "'%s': the machine has processors 0 to %ld", arg,
					   most - 1);
		o->cpu[o->n_cpus++] = (unsigned)cpu;
		at = end;
		if (!*at)
			return 0;
	}
	return vhu_err_set(err, -EINVAL, "'%s' is no list of processors, such as 0,2,4", arg);
}

/* --- the rows -------------------------------------------------------------------------------- */

static const struct vhu_option rows[] = {
	{"rw", 0, "PATTERN", group_load,
	 "read, write, randread (default), randwrite, randrw[:PERCENT of reads], or verify: write "
	 "everything, "
	 "then read it back",
	 VHU_OPTION_CALL, .set = set_rw},
	{"bs", 0, "SIZE", group_load, "bytes of a request; K, M allowed; default 4K", VHU_OPTION_SIZE,
	 ROW(bs), .min = 512, .max = 16 << 20},
	{"depth", 'D', "N", group_load, "requests in flight on each queue; default 32", VHU_OPTION_NUMBER,
	 ROW(depth), .min = 1, .max = DEPTH_MAX},
	{"size", 0, "SIZE", group_load, "use so much of the disk; default all of it", VHU_OPTION_SIZE,
	 ROW(size), .min = 512, .max = UINT64_C(1) << 60},
	{"runtime", 't', "SECONDS", group_load,
	 "how long; default until it has done its part (--ios, verify) or a signal ends it", VHU_OPTION_CALL,
	 .set = set_runtime},
	{"ios", 'n', "N", group_load, "so many requests in all", VHU_OPTION_NUMBER, ROW(ios), .min = 1,
	 .max = UINT64_C(1) << 60},
	{"rate", 0, "IOPS", group_load, "at most so many requests a second in all", VHU_OPTION_NUMBER,
	 ROW(rate), .min = 1, .max = 1000000000},
	{"verify", 'V', NULL, group_load,
	 "what is written names its place and generation, and every read is checked against what was "
	 "written last",
	 VHU_OPTION_FLAG, ROW(verify)},
	{"seed", 0, "S", group_load, "of everything random; default 1", VHU_OPTION_NUMBER, ROW(seed),
	 .max = UINT64_MAX},
	{"ring", 0, "FORMAT", group_ring, "split (default) or packed", VHU_OPTION_CALL, .set = set_ring},
	{"ring-size", 0, "N", group_ring,
	 "descriptors of a ring; default the power of two that holds all requests, at least 128",
	 VHU_OPTION_NUMBER, ROW(ring_size), .min = 1, .max = 32768},
	{"notify", 0, "HOW", group_ring,
	 "poll: look at the ring all the time; event: sleep until called; event-idx (default): with the "
	 "feature of that name",
	 VHU_OPTION_CALL, .set = set_notify},
	{"indirect", 'i', NULL, group_ring, "each request in an indirect table of its own", VHU_OPTION_FLAG,
	 ROW(indirect)},
	{"in-order", 0, NULL, group_ring, "negotiate use in order", VHU_OPTION_FLAG, ROW(in_order)},
	{"cpus", 0, "LIST", group_ring, "pin the thread of queue N to the N-th of these processors",
	 VHU_OPTION_CALL, .set = set_cpus},
	{"crash-every", 0, "MS", group_disturb,
	 "with --spawn or --reference: kill the back-end that often under load, start it anew, go on where "
	 "the requests in flight were",
	 VHU_OPTION_NUMBER, ROW(crash_every_ms), .min = 1, .max = 86400000},
	{"reconnect-every", 0, "MS", group_disturb, "stop the rings and make the connection anew that often",
	 VHU_OPTION_NUMBER, ROW(reconnect_every_ms), .min = 1, .max = 86400000},
	{"then", 0, "COMMAND", group_disturb,
	 "with --spawn and --runtime: this back-end takes over in the middle, with the same memory, rings, "
	 "requests in flight, device state and {image}; the dirty log is judged before",
	 VHU_OPTION_TEXT, ROW(then)},
	{"json", 'j', "FILE", group_report, "the figures as JSON; - is standard output", VHU_OPTION_TEXT,
	 ROW(json)},
	{"quiet", 'q', NULL, group_report, "no live line", VHU_OPTION_FLAG, ROW(quiet)},
	{"help", 'h', NULL, group_report, "this text", VHU_OPTION_FLAG, ROW(help)},
	{"version", 0, NULL, group_report, "the version", VHU_OPTION_FLAG, ROW(version)},
};

static const struct vhu_option_part own = {rows, VHU_ARRAY_SIZE(rows)};
static const struct vhu_option_part *const parts[] = {&vhu_target_options, &own};

const struct vhu_option_table vhu_guest_options = {
	.program = "vhu-guest",
	.usage = "[TARGET] [OPTIONS]",
	.intro = "The guest of a vhost-user back-end, without a virtual machine: real block I/O through "
		 "virtqueues in shared memory, at full speed, with every used entry checked.",
	.outro = "Exit codes: 0 nothing failed, 1 the target failed something (lost, doubled or wrong\n"
		 "data, I/O errors), 2 usage, 3 the tester itself is at fault, 4 the target died, hung or\n"
		 "cannot be reached, 5 nothing ran.\n"
		 "\n"
		 "Examples:\n"
		 "  vhu-guest --reference --rw randread --depth 64 --runtime 10\n"
		 "  vhu-guest --backend /run/vhost.sock --rw randrw:70 --verify --allow-writes -t 60\n"
		 "  vhu-guest --spawn './backend --socket {socket} --image {image}' --rw randwrite --verify "
		 "\\\n"
		 "            --crash-every 100 --runtime 10\n",
	.parts = parts,
	.n_parts = VHU_ARRAY_SIZE(parts),
};

/* --- what they come to ----------------------------------------------------------------------- */

bool vhu_guest_writes(const struct vhu_guest_cli *o)
{
	return o->rw != VHU_GUEST_READ && o->rw != VHU_GUEST_RANDREAD;
}

/* The power of two that holds every descriptor. */
static uint64_t ring_size(const struct vhu_guest_cli *o)
{
	uint64_t need = o->depth * (o->indirect ? 1 : VHU_GUEST_PARTS), size = 128;

	while (size < need)
		size *= 2;
	return size;
}

static int check_rings(struct vhu_guest_cli *o, struct vhu_err *err)
{
	uint64_t need = o->depth * (o->indirect ? 1 : VHU_GUEST_PARTS);

	if (!o->ring_size)
		o->ring_size = ring_size(o);
	if (o->ring_size > 32768 || o->ring_size < need)
		return vhu_err_set(err, -EINVAL,
				   "--depth: %llu requests need %llu descriptors, the ring has %llu\n  "
				   "--indirect takes one for each request",
				   (unsigned long long)o->depth, (unsigned long long)need,
				   (unsigned long long)VHU_MIN(o->ring_size, (uint64_t)32768));
	/* A table in a descriptor is no longer than its ring, either. */
	if (o->ring_size < VHU_GUEST_PARTS)
		return vhu_err_set(err, -EINVAL,
				   "--ring-size: a request is a chain of %d descriptors, and a chain may "
				   "not be longer than its ring",
				   VHU_GUEST_PARTS);
	if (!o->packed && (o->ring_size & (o->ring_size - 1)))
		return vhu_err_set(err, -EINVAL, "--ring-size: a split ring's is a power of two");
	return 0;
}

static int check(struct vhu_guest_cli *o, struct vhu_err *err)
{
	int code = vhu_target_cli_check(&o->target, err);

	if (code < 0)
		return code;
	if (o->parsed.rest.n)
		return vhu_err_set(err, -EINVAL, "'%s' is no option", o->parsed.rest.items[0]);
	if (!vhu_target_cli_named(&o->target))
		return vhu_err_set(err, -EINVAL,
				   "no target: nothing says what to load\n"
				   "  give --backend, --spawn, --listen or --reference");
	if (o->bs % 512)
		return vhu_err_set(err, -EINVAL, "--bs: must be a multiple of 512");
	if (vhu_guest_writes(o) && !o->target.allow_writes)
		return vhu_err_set(err, -EINVAL,
				   "--rw %s: it changes the disk\n  say --allow-writes if it may",
				   rw_names[o->rw]);
	if ((o->crash_every_ms || o->then) && !vhu_target_cli_spawns(&o->target))
		return vhu_err_set(err, -EINVAL, "--crash-every, --then: only with --spawn or --reference");
	if (o->then && (!o->runtime_ns || o->crash_every_ms || o->reconnect_every_ms))
		return vhu_err_set(err, -EINVAL, "--then: with --runtime, and without other disturbances");
	if (o->reconnect_every_ms && o->crash_every_ms)
		return vhu_err_set(err, -EINVAL, "--reconnect-every: not together with --crash-every");
	if (o->target.device != VHU_DEV_ANY && o->target.device != VHU_DEV_BLK)
		return vhu_err_set(err, -EINVAL, "--device: the load is made of block requests");
	o->verify |= o->rw == VHU_GUEST_VERIFY;
	return check_rings(o, err);
}

int vhu_guest_opts_parse(int argc, char **argv, struct vhu_guest_cli *ret, struct vhu_err *err)
{
	struct vhu_guest_cli o = {.rw = VHU_GUEST_RANDREAD,
				  .bs = 4096,
				  .depth = 32,
				  .seed = 1,
				  .notify = VHU_GUEST_EVENT,
				  .event_idx = true};
	int code;

	vhu_target_cli_init(&o.target);
	code = vhu_options_parse(&vhu_guest_options, argc, argv, &o, &o.parsed, err);
	if (code == 0 && !o.help && !o.version)
		code = check(&o, err);
	if (code < 0) {
		vhu_guest_opts_done(&o);
		return code;
	}
	*ret = o;
	return 0;
}

void vhu_guest_opts_done(struct vhu_guest_cli *o)
{
	vhu_parsed_done(&o->parsed);
}
