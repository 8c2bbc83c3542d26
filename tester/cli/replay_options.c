#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/replay.h"

#define ROW(member) .offset = offsetof(struct vhu_replay_cli, member)

static const char group_replay[] = "Replay";
static const char group_report[] = "Reports";

static int set_speed(void *opts, const char *arg, struct vhu_err *err)
{
	struct vhu_replay_cli *o = opts;

	if (strcmp(arg, "asap") && strcmp(arg, "recorded"))
		return vhu_err_set(err, -EINVAL, "'%s' is none of asap, recorded", arg);
	o->paced = !strcmp(arg, "recorded");
	return 0;
}

static const struct vhu_option rows[] = {
	{"io", 'i', NULL, group_replay,
	 "push verified block I/O through each ring while it is enabled; it writes with --allow-writes",
	 VHU_OPTION_FLAG, ROW(io)},
	{"session", 'n', "N", group_replay,
	 "this session alone (vhu-trace stats lists them); default: all whose socket is that of the first",
	 VHU_OPTION_NUMBER, ROW(session), .min = 1, .max = UINT32_MAX},
	{"socket", 0, "PATH", group_replay,
	 "the sessions that went over this socket, by the name that the capture gives it", VHU_OPTION_TEXT,
	 ROW(socket)},
	{"until", 'u', "N", group_replay, "nothing behind record N", VHU_OPTION_NUMBER, ROW(until), .min = 1,
	 .max = UINT32_MAX},
	{"speed", 0, "HOW", group_replay, "asap (default), or recorded: each message at its time",
	 VHU_OPTION_CALL, .set = set_speed},
	{"keep-going", 'k', NULL, group_replay, "go on behind a divergence, and tell all of them",
	 VHU_OPTION_FLAG, ROW(keep_going)},
	{"ignore", 'I', "FIELD", group_replay,
	 "MESSAGE.field, or MESSAGE: may differ from the recorded reply; may be given again", VHU_OPTION_LIST,
	 ROW(ignore)},
	{"strict", 0, NULL, group_replay, "violations of SHOULD fail as well", VHU_OPTION_FLAG, ROW(strict)},
	{"seed", 0, "S", group_replay, "of what --io writes; default 1", VHU_OPTION_NUMBER, ROW(seed),
	 .max = UINT64_MAX},
	{"json", 0, "FILE", group_report, "the result as JSON; - is standard output", VHU_OPTION_TEXT,
	 ROW(json)},
	{"help", 'h', NULL, group_report, "this text", VHU_OPTION_FLAG, ROW(help)},
	{"version", 'V', NULL, group_report, "the program's version", VHU_OPTION_FLAG, ROW(version)},
};

static const struct vhu_option_part part = {rows, VHU_ARRAY_SIZE(rows)};
static const struct vhu_option_part *const parts[] = {&vhu_target_options, &part};

const struct vhu_option_table vhu_replay_options = {
	.program = "vhu-replay",
	.usage = "TARGET [OPTIONS] CAPTURE.pcap",
	.intro = "Plays the front-end's side of a captured session against a live back-end and compares each "
		 "answer with the recorded one. With --reference the back-end is made like the captured one.",
	.outro = "The last line counts: 'N messages replayed, M replies compared, K divergences, I I/Os\n"
		 "verified'.\n"
		 "\n"
		 "Exit codes: 0 no divergence, 1 a divergence, a violation that is not in the capture, or\n"
		 "lost I/O, 2 usage or a wrong capture, 3 the tester itself is at fault, 4 the target died,\n"
		 "hung or cannot be reached.\n"
		 "\n"
		 "Examples:\n"
		 "  vhu-replay --reference captures/blk-boot.pcap\n"
		 "  vhu-replay --backend /run/vhost.sock --ignore GET_CONFIG.num_queues bug.pcap\n"
		 "  vhu-replay --spawn './backend --socket {socket} --image {image}' --io bug.pcap\n",
	.parts = parts,
	.n_parts = VHU_ARRAY_SIZE(parts),
};

static bool is_read_once(const char *path)
{
	struct stat st;

	return !strcmp(path, "-") || (stat(path, &st) == 0 && S_ISFIFO(st.st_mode));
}

static int check(struct vhu_replay_cli *o, struct vhu_err *err)
{
	int code = vhu_target_cli_check(&o->target, err);

	if (code < 0 || o->help || o->version)
		return code;
	if (!vhu_target_cli_named(&o->target))
		return vhu_err_set(err, -EINVAL,
				   "no target: nothing says what to play against\n"
				   "  give --backend, --spawn, --listen or --reference");
	if (o->parsed.rest.n != 1)
		return vhu_err_set(err, -EINVAL,
				   o->parsed.rest.n ? "usage: one capture at a time"
						    : "usage: no capture is named\n"
						      "  give a .pcap file, or - for standard input");
	if (o->target.reference && is_read_once(o->parsed.rest.items[0]))
		return vhu_err_set(err, -EINVAL,
				   "--reference: the back-end reads the capture too, so it has "
				   "to be a file");
	return 0;
}

int vhu_replay_cli_parse(int argc, char **argv, struct vhu_replay_cli *ret, struct vhu_err *err)
{
	int code;

	*ret = (struct vhu_replay_cli){.program = argv[0], .seed = 1};
	vhu_target_cli_init(&ret->target);
	code = vhu_options_parse(&vhu_replay_options, argc, argv, ret, &ret->parsed, err);
	if (code == 0)
		code = check(ret, err);
	if (code < 0)
		vhu_replay_cli_done(ret);
	return code;
}

void vhu_replay_cli_done(struct vhu_replay_cli *o)
{
	vhu_parsed_done(&o->parsed);
	vhu_words_done(&o->ignore);
}
