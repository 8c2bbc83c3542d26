/*
 * What a case file may hold, as data. The checker, the schema and the table of vhu_verbs are made of these
 * rows, so they can't disagree. A new verb: its keys here, a row in `vhu_verbs`, a function in verb_NAME.c.
 */
#include <string.h>

#include "internal.h"

/* --- words, in the order of their enums -------------------------------------------------------------- */

const char *const vhu_words_state[] = {"connected", "owned", "negotiated", "mapped", "running", NULL};
const char *const vhu_words_outcome[] =
	{"reply", "ack", "nack", "closes", "silent", "alive", "dead", "none", "accepts",
				     "rejects", NULL};
const char *const vhu_words_backing[] = {"auto", "hugetlb", "memfd", NULL};
const char *const vhu_words_rings[] = {"page", "tight", NULL};
const char *const vhu_words_status[] = {"ok", "ioerr", "unsupp", "zone_invalid_cmd", "zone_unaligned_wp",
	"zone_open_resource", "zone_active_resource", NULL};
const char *const vhu_words_pattern[] = {"stamp", "fill", "seed", "zero", NULL};
const char *const vhu_words_keep[] = {"memory", "rings", "inflight", "log", NULL};
const char *const vhu_words_base[] = {"used", "avail", "saved", NULL};
const char *const vhu_words_target[] = {"kill", "stop", "continue", "restart", "await-exit", "idle",
	"grow", NULL};
const char *const vhu_words_program[] = {"capabilities", "capabilities-schema", "capabilities-beside",
	"socket-path", "fd", "socket-path-and-fd", "null-output", "stale-socket", "relative-path",
	"long-path", "too-long-path", "read-only-folder", "missing-folder", "missing-image", "read-only",
	"again",
	"stays", "end", NULL};
const char *const vhu_words_signal[] = {"KILL", "TERM", "INT", "ABRT", NULL};
const char *const vhu_words_ring[] = {"start", "stop", "enable", "disable", "kick", "poke", "check",
	"flip", NULL};
const char *const vhu_words_io[] = {"read", "write", "flush", "discard", "write_zeroes", "get_id", "raw",
	NULL};
const char *const vhu_words_memory[] = {"map", "add", "remove", "fill", "check", "faulted", NULL};
const char *const vhu_words_log[] = {"start", "stop", "clear", "check", NULL};
const char *const vhu_words_inflight[] = {"get", "set", "check", "clear", NULL};
const char *const vhu_words_iotlb[] = {"map", "update", "invalidate", "hold", "await", "serve", NULL};
const char *const vhu_words_transfer[] = {"read", "write", "close", NULL};
const char *const vhu_words_content[] = {"saved", "half", "random", NULL};
const char *const vhu_words_cmp[] = {"==", "!=", "<", "<=", ">", ">=", "has", "lacks", NULL};
const char *const vhu_words_fd[] =
	{"call", "kick", "err", "eventfd", "memory", "log", "inflight", "socket", "pipe",
				"readonly", "kick-blocking", "pipe-unread", "pipe-unwritten", "state",
				"state-narrow", "kick-pipe", "call-pipe", "call-full", "call-of-0",
				"directory", "huge", NULL};
const char *const vhu_words_channel[] = {"main", "backend", NULL};
const char *const vhu_words_phase[] = {
	"start", "stop", "pause", "resume", "reset", "switch", "reconfigure", "write-config", "plug",
	"unplug", "log-on", "log-off", "save", "load", "announce", "advise", "listen", "postcopy-end", NULL};
const char *const vhu_words_close[] = {"main", "backend", "both", "write", NULL};
const char *const vhu_words_answer[] = {"ack", "nack", "none", "late", NULL};
static const char *const words_all[] = {"all", NULL};
static const char *const words_used[] = {"used", "all", "unused", NULL};
const char *const vhu_words_pairs[] = {"on", "off", NULL};
const char *const vhu_words_frames[] = {"back", "none", "any", NULL};
static const char *const words_await[] = {"all", "any", NULL};
static const char *const words_status_any[] = {"ok", "ioerr", "unsupp", "zone_invalid_cmd",
	"zone_unaligned_wp", "zone_open_resource", "zone_active_resource", "any", NULL};
static const char *const words_unmet[] = {"skip", NULL};
static const char *const words_byte_order[] = {"little", "big", NULL};
static const char *const words_order[] = {"any", "submitted", NULL};
const char *const vhu_words_format[] = {"any", "split", "packed", NULL};
static const char *const words_need_ring[] = {"split", "packed", NULL};

/* --- forms ------------------------------------------------------------------------------------------- */

static bool id_ok(const char *text)
{
	static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";

	return *text && !strchr(".-_", *text) && !text[strspn(text, set)];
}

/* One term: the name of a message, its number, or a variable. */
static bool message_ok(const char *text)
{
	return vhu_form_expr_ok(text) && !strchr(text, ' ');
}

static bool tag_ok(const char *text)
{
	return *text && text[strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-")] == '\0';
}

static bool bit_name_ok(const char *text)
{
	return vhu_form_upper_ok(text) || (*text == '$' && vhu_form_expr_ok(text));
}

static bool fd_ok(const char *text)
{
	if (!strncmp(text, "memfd:", 6))
		return vhu_form_expr_ok(text + 6) && !strchr(text, ' ');
	return !strcmp(text, "auto") || vhu_word_index(vhu_words_fd, text) >= 0;
}

static bool fill_ok(const char *text)
{
	if (!strncmp(text, "fill:", 5))
		return strlen(text) == 7 && strspn(text + 5, "0123456789abcdefABCDEF") == 2;
	return !strncmp(text, "seed:", 5) && text[5] && strlen(text) <= 24 &&
	       !text[5 + strspn(text + 5, "0123456789")];
}

static bool breaks_ok(const char *text)
{
	return strncmp(text, "malformed:", 10) ? id_ok(text) : tag_ok(text + 10);
}

static const struct form form_name = {
	"^[a-z_][a-z0-9_]*$", "a name of lower-case letters, digits and _", vhu_form_name_ok};
static const struct form form_upper = {
	"^[A-Z][A-Z0-9_]*$", "a name of the tables (upper case, digits and _)",
	vhu_form_upper_ok};
static const struct form form_bit = {
	"^(\\$[A-Za-z_][A-Za-z0-9_.]*|[A-Z][A-Z0-9_]*)$", "a bit's name", bit_name_ok};
static const struct form form_message = {
	"^([A-Z][A-Z0-9_]*|0x[0-9a-fA-F]{1,8}|[0-9]{1,10}|\\$[A-Za-z_][A-Za-z0-9_.]*)$",
	"the name of a message, its number or a $variable", message_ok};
static const struct form form_id = {"^[A-Za-z0-9][A-Za-z0-9._-]*$", "an id", id_ok};
static const struct form form_tag = {"^[a-z0-9-]+$", "a word of lower-case letters, digits and -", tag_ok};
static const struct form form_fd = {
	"^(auto|call|kick|err|eventfd|memory|log|inflight|socket|pipe|readonly|"
	"kick-blocking|pipe-unread|pipe-unwritten|state|state-narrow|kick-pipe|call-pipe|call-full|"
	"call-of-0|directory|huge|"
	"memfd:(0x[0-9a-fA-F]{1,16}|[0-9]{1,20}|\\$[A-Za-z_][A-Za-z0-9_.]*))$",
	"one of auto, call, kick, err, eventfd, memory, log, inflight, socket, pipe, readonly, "
	"kick-blocking, pipe-unread, pipe-unwritten, state, state-narrow, kick-pipe, call-pipe, call-full, "
	"call-of-0, directory, huge, memfd:SIZE",
	fd_ok};
static const struct form form_fill = {
	"^(fill:[0-9a-fA-F]{2}|seed:[0-9]{1,19})$", "fill:AB or seed:N", fill_ok};
static const struct form form_place = {
	"^(desc|avail|used|driver|device|inflight)(\\[[^\\]]+\\])?(\\.[a-z_]+(\\[[^\\]]+\\])?)*$",
	"a place in a ring", NULL};
static const struct form form_breaks = {"^(malformed:[a-z0-9-]+|[A-Za-z0-9][A-Za-z0-9._-]*)$",
					"a requirement or malformed:KIND", breaks_ok};

/* clang-format off: tables */
#define ANY(...) .any = (const struct shape *const[]){__VA_ARGS__, NULL}
#define KEYS(...) .keys = (const struct key[]){__VA_ARGS__, {0}}

/* --- values ------------------------------------------------------------------------------------------ */

static const struct shape anything = {SHAPE_ANYTHING};
static const struct shape boolean = {SHAPE_BOOL};
static const struct shape true_only = {SHAPE_TRUE};
static const struct shape text = {SHAPE_TEXT};
static const struct shape text_given = {SHAPE_TEXT, .min = 1};
static const struct shape texts = {SHAPE_LIST, .of = &text_given};
static const struct shape integer = {SHAPE_INTEGER, .max = LIMIT_INTEGER - 1};
static const struct shape expr = {SHAPE_EXPR, "expr"};
static const struct shape bit_name = {SHAPE_FORM, .form = &form_bit};
static const struct shape bit_names = {SHAPE_LIST, .of = &bit_name, .unique = true};
const struct shape vhu_shape_value = {SHAPE_EITHER, "value", ANY(&integer, &expr, &bit_names)};
const struct shape vhu_shape_count = {SHAPE_EITHER, "count", ANY(&integer, &expr)};
static const struct shape counts = {SHAPE_LIST, .of = &vhu_shape_count, .min = 1};
const struct shape vhu_shape_bytes = {SHAPE_BYTES, "bytes"};
const struct shape vhu_shape_name = {SHAPE_FORM, "name", .form = &form_name};
static const struct shape names_used = {SHAPE_LIST, .of = &vhu_shape_name, .min = 1};
static const struct shape id = {SHAPE_FORM, "id", .form = &form_id};
static const struct shape ids = {SHAPE_LIST, "ids", .of = &id, .min = 1, .unique = true};
static const struct shape upper = {SHAPE_FORM, .form = &form_upper};
static const struct shape names = {SHAPE_LIST, "names", .of = &upper, .unique = true};
static const struct shape outcome = {SHAPE_WORD, "outcome", .words = vhu_words_outcome};
static const struct shape outcome_list = {SHAPE_LIST, .of = &outcome, .min = 1, .unique = true};
static const struct shape outcomes = {SHAPE_EITHER, "outcomes", ANY(&outcome, &outcome_list)};
static const struct shape breaks = {SHAPE_FORM, "breaks", .form = &form_breaks};
static const struct shape state = {SHAPE_WORD, "start", .words = vhu_words_state};
static const struct shape within = {SHAPE_INTEGER, .min = 1, .max = 60000};
static const struct shape channel = {SHAPE_WORD, .words = vhu_words_channel};
static const struct shape backing = {SHAPE_WORD, .words = vhu_words_backing};

static const struct shape fields;
static const struct shape field_list = {SHAPE_LIST, .of = &fields};
static const struct shape field_bytes = {SHAPE_OBJECT, KEYS({"bytes", &vhu_shape_bytes, true})};
static const struct shape field = {SHAPE_EITHER, "field",
				   ANY(&vhu_shape_value, &field_bytes, &field_list)};
static const struct shape fields = {SHAPE_MAP, "fields", .form = &form_name, .of = &field};

static const struct shape matches;
static const struct shape match_list = {SHAPE_LIST, .of = &matches};
static const struct shape value_list = {SHAPE_LIST, .of = &vhu_shape_value, .min = 1};
static const struct shape match_terms = {SHAPE_OBJECT, .min = 1, KEYS(
	{"eq", &vhu_shape_value}, {"ne", &vhu_shape_value}, {"lt", &vhu_shape_value},
	{"le", &vhu_shape_value}, {"gt", &vhu_shape_value}, {"ge", &vhu_shape_value},
	{"in", &value_list}, {"has", &vhu_shape_value}, {"lacks", &vhu_shape_value},
	{"mask", &vhu_shape_value}, {"multiple_of", &vhu_shape_value}, {"any", &true_only},
	{"bytes", &vhu_shape_bytes}, {"prefix", &vhu_shape_bytes}, {"len", &vhu_shape_value})};
const struct shape vhu_shape_match = {SHAPE_EITHER, "match",
				  ANY(&vhu_shape_value, &match_terms, &match_list)};
static const struct shape matches = {SHAPE_MAP, "matches", .form = &form_name, .of = &vhu_shape_match};

static const struct shape fd = {SHAPE_FORM, "fd", .form = &form_fd, .words = vhu_words_fd};
static const struct shape fds = {SHAPE_LIST, .of = &fd};
static const struct shape fd_count = {SHAPE_INTEGER, .max = 253};
static const struct shape reply_fds = {SHAPE_EITHER, ANY(&fd_count, &texts)};
static const struct shape save = {SHAPE_MAP, "save", .form = &form_name, .of = &text_given, .min = 1};

/* --- verbs ------------------------------------------------------------------------------------------- */

#define EVERY {"note", &text}, {"requirement", &id}, {"within_ms", &within}
#define CONN {"conn", &text_given}
#define PROVOKES {"expect", &outcomes}, {"tolerate", &outcomes}, {"skip", &outcomes}, {"breaks", &breaks}

static const struct shape piece = {SHAPE_INTEGER, .min = 1, .max = LIMIT_BYTES};
static const struct shape pieces = {SHAPE_LIST, .of = &piece, .min = 1};
static const struct shape message_text = {SHAPE_FORM, .form = &form_message};
static const struct shape message = {SHAPE_EITHER, "message", ANY(&integer, &message_text)};
static const struct shape step_send = {SHAPE_OBJECT, "step_send", KEYS(
	{"send", &message, true}, {"with", &fields}, {"fds", &fds}, {"need_reply", &boolean},
	{"flags", &vhu_shape_value}, {"size", &vhu_shape_count}, {"payload", &vhu_shape_bytes},
	{"tail", &vhu_shape_bytes}, {"pieces", &pieces}, {"hold", &boolean}, {"on", &channel},
	{"reply", &matches},
	{"reply_fds", &reply_fds}, {"reply_size", &vhu_shape_match}, {"save", &save}, PROVOKES,
	CONN, EVERY)};
static const struct shape step_raw = {SHAPE_OBJECT, "step_raw", KEYS(
	{"raw", &vhu_shape_bytes, true}, {"fds", &fds}, {"on", &channel}, PROVOKES, CONN, EVERY)};
static const struct shape answer_word = {SHAPE_WORD, .words = vhu_words_answer};
static const struct shape answer = {SHAPE_EITHER, ANY(&answer_word, &fields)};
static const struct shape step_recv = {SHAPE_OBJECT, "step_recv", KEYS(
	{"recv", &message, true}, {"on", &channel}, {"with", &matches}, {"fds", &fd_count},
	{"answer", &answer}, {"optional", &boolean}, {"save", &save}, CONN, EVERY)};
static const struct shape fence = {SHAPE_EITHER, ANY(&true_only, &message_text)};
static const struct shape step_fence = {SHAPE_OBJECT, "step_fence", KEYS(
	{"fence", &fence, true}, PROVOKES, CONN, EVERY)};
static const struct shape step_connect = {SHAPE_OBJECT, "step_connect", KEYS(
	{"connect", &text_given, true}, {"to", &state, true}, {"profile", &text_given}, EVERY)};
static const struct shape close_word = {SHAPE_WORD, .words = vhu_words_close};
static const struct shape step_close = {SHAPE_OBJECT, "step_close", KEYS(
	{"close", &close_word, true}, {"expect", &outcomes}, CONN, EVERY)};
static const struct shape keep_word = {SHAPE_WORD, .words = vhu_words_keep};
static const struct shape keep = {SHAPE_LIST, .of = &keep_word, .unique = true};
static const struct shape base_word = {SHAPE_WORD, .words = vhu_words_base};
static const struct shape base = {SHAPE_EITHER, ANY(&base_word, &integer, &expr)};
static const struct shape step_reconnect = {SHAPE_OBJECT, "step_reconnect", KEYS(
	{"reconnect", &state, true}, {"keep", &keep}, {"base", &base}, {"features", &names},
	{"status", &boolean}, {"profile", &text_given}, CONN, EVERY)};
static const struct shape target_word = {SHAPE_WORD, .words = vhu_words_target};
static const struct shape signal_word = {SHAPE_WORD, .words = vhu_words_signal};
static const struct shape step_target = {SHAPE_OBJECT, "step_target", KEYS(
	{"target", &target_word, true}, {"signal", &signal_word}, {"by", &vhu_shape_count},
	{"expect", &outcomes}, EVERY)};
static const struct shape program_word = {SHAPE_WORD, .words = vhu_words_program};
static const struct shape step_program = {SHAPE_OBJECT, "step_program", KEYS(
	{"program", &program_word, true}, {"expect", &outcomes}, EVERY)};
static const struct shape ring_word = {SHAPE_WORD, .words = vhu_words_ring};
static const struct shape place = {SHAPE_FORM, .form = &form_place};
static const struct shape settle = {SHAPE_INTEGER, .min = 1, .max = 5000};
static const struct shape step_ring = {SHAPE_OBJECT, "step_ring", KEYS(
	{"ring", &ring_word, true}, {"queue", &vhu_shape_count}, {"base", &vhu_shape_match},
	{"at", &place}, {"value", &vhu_shape_value}, {"other", &vhu_shape_value},
	{"used", &vhu_shape_match},
	{"called", &vhu_shape_match}, {"stale", &vhu_shape_match}, {"error", &vhu_shape_match},
	{"kicks", &vhu_shape_match},
	{"idle", &boolean}, {"settle_ms", &settle}, {"save", &save}, PROVOKES, CONN, EVERY)};
static const struct shape io_word = {SHAPE_WORD, .words = vhu_words_io};
static const char *const words_plain_pattern[] = {"stamp", "zero", NULL};
static const struct shape pattern_word = {SHAPE_WORD, .words = words_plain_pattern};
static const struct shape pattern_fill = {SHAPE_FORM, .form = &form_fill};
static const struct shape pattern = {SHAPE_EITHER, ANY(&pattern_word, &pattern_fill)};
static const struct shape status_any = {SHAPE_WORD, .words = words_status_any};
static const struct shape status_word = {SHAPE_WORD, .words = vhu_words_status};
static const struct shape status_list = {SHAPE_LIST, .of = &status_word, .min = 1, .unique = true};
static const struct shape status = {SHAPE_EITHER, ANY(&status_any, &status_list)};
static const struct shape step_io = {SHAPE_OBJECT, "step_io", KEYS(
	{"io", &io_word, true}, {"queue", &vhu_shape_count}, {"sector", &vhu_shape_count},
	{"count", &vhu_shape_count}, {"times", &vhu_shape_count}, {"pattern", &pattern},
	{"verify", &boolean}, {"segments", &counts}, {"indirect", &boolean},
	{"type", &vhu_shape_count}, {"kick", &boolean}, {"wait", &boolean},
	{"tag", &vhu_shape_name}, {"status", &status}, {"used_len", &vhu_shape_match}, CONN, EVERY)};
static const struct shape out = {SHAPE_EITHER, ANY(&vhu_shape_bytes, &fields)};
static const struct shape in_match = {SHAPE_EITHER, ANY(&vhu_shape_bytes, &match_terms, &matches)};
static const struct shape desc = {SHAPE_OBJECT, KEYS(
	{"addr", &vhu_shape_value}, {"len", &vhu_shape_value}, {"flags", &vhu_shape_value},
	{"next", &vhu_shape_value}, {"id", &vhu_shape_value})};
static const struct shape elem = {SHAPE_OBJECT, "element", .min = 1, KEYS(
	{"out", &out}, {"in", &vhu_shape_count}, {"match", &in_match}, {"layout", &text_given},
	{"save", &save}, {"desc", &desc})};
static const struct shape chain = {SHAPE_LIST, .of = &elem, .min = 1};
static const struct shape unmet = {SHAPE_WORD, .words = words_unmet};
static const struct shape step_chain = {SHAPE_OBJECT, "step_chain", KEYS(
	{"chain", &chain, true}, {"queue", &vhu_shape_count}, {"tag", &vhu_shape_name},
	{"kick", &boolean}, {"wait", &boolean}, {"used_len", &vhu_shape_match},
	{"indirect", &boolean}, {"unmet", &unmet}, PROVOKES, CONN, EVERY)};
static const struct shape frames_word = {SHAPE_WORD, .words = vhu_words_frames};
static const struct shape pair_word = {SHAPE_WORD, .words = vhu_words_pairs};
static const struct shape pair_list = {SHAPE_EITHER, ANY(&pair_word, &counts)};
static const struct shape cuts = {SHAPE_LIST, .of = &vhu_shape_count};
static const struct shape step_frames = {SHAPE_OBJECT, "step_frames", KEYS(
	{"frames", &vhu_shape_count, true}, {"pairs", &pair_list}, {"sizes", &counts}, {"segments", &cuts},
	{"buffers", &counts}, {"indirect", &boolean}, {"partial", &boolean}, {"header", &fields},
	{"received", &matches}, {"come", &frames_word}, {"arrive", &vhu_shape_count}, CONN, EVERY)};
static const struct shape await_word = {SHAPE_WORD, .words = words_await};
static const struct shape await = {SHAPE_EITHER, ANY(&await_word, &names_used)};
static const struct shape order = {SHAPE_WORD, .words = words_order};
static const struct shape step_await = {SHAPE_OBJECT, "step_await", KEYS(
	{"await", &await, true}, {"exactly_once", &boolean}, {"order", &order}, {"status", &status},
	CONN, EVERY)};
static const struct shape byte_order = {SHAPE_WORD, .words = words_byte_order};
static const struct shape memory_word = {SHAPE_WORD, .words = vhu_words_memory};
static const struct shape region = {SHAPE_OBJECT, "region", KEYS(
	{"gpa", &vhu_shape_value}, {"size", &vhu_shape_value}, {"uaddr", &vhu_shape_value},
	{"offset", &vhu_shape_value}, {"backing", &backing})};
static const struct shape regions = {SHAPE_LIST, .of = &region, .min = 1};
static const struct shape step_memory = {SHAPE_OBJECT, "step_memory", KEYS(
	{"memory", &memory_word, true}, {"regions", &regions}, {"gpa", &vhu_shape_value},
	{"len", &vhu_shape_count}, {"pattern", &pattern}, {"match", &vhu_shape_bytes},
	{"value", &vhu_shape_value}, {"byte_order", &byte_order}, {"quirk", &boolean}, {"wait", &boolean},
	PROVOKES, CONN, EVERY)};
static const struct shape log_word = {SHAPE_WORD, .words = vhu_words_log};
static const struct shape all_word = {SHAPE_WORD, .words = words_all};
static const struct shape log_queues = {SHAPE_EITHER, ANY(&all_word, &counts)};
static const struct shape dirty = {SHAPE_OBJECT, "dirty", .min = 1, KEYS(
	{"buffers", &vhu_shape_name}, {"ring", &vhu_shape_count}, {"gpa", &vhu_shape_value},
	{"len", &vhu_shape_count})};
static const struct shape dirties = {SHAPE_LIST, .of = &dirty, .min = 1};
static const struct shape step_log = {SHAPE_OBJECT, "step_log", KEYS(
	{"log", &log_word, true}, {"queues", &log_queues}, {"offset", &vhu_shape_count},
	{"dirty", &dirties}, {"only", &boolean}, {"at_once", &boolean},
	{"marked", &vhu_shape_match}, PROVOKES, CONN, EVERY)};
static const struct shape inflight_word = {SHAPE_WORD, .words = vhu_words_inflight};
static const struct shape step_inflight = {SHAPE_OBJECT, "step_inflight", KEYS(
	{"inflight", &inflight_word, true}, {"queues", &vhu_shape_count},
	{"queue_size", &vhu_shape_count}, {"entries", &vhu_shape_match},
	{"version", &vhu_shape_match}, {"desc_num", &vhu_shape_match}, {"used_idx", &vhu_shape_match},
	{"counter", &vhu_shape_match}, {"queue", &vhu_shape_count}, {"at", &place},
	{"is", &vhu_shape_match}, PROVOKES, CONN, EVERY)};
static const struct shape iotlb_word = {SHAPE_WORD, .words = vhu_words_iotlb};
static const struct shape granule = {SHAPE_INTEGER, .min = 4096, .max = 1 << 30};
static const struct shape step_iotlb = {SHAPE_OBJECT, "step_iotlb", KEYS(
	{"iotlb", &iotlb_word, true}, {"iova", &vhu_shape_value}, {"gpa", &vhu_shape_value},
	{"size", &vhu_shape_value}, {"perm", &vhu_shape_count}, {"granule", &granule},
	{"wants", &vhu_shape_match}, PROVOKES, CONN, EVERY)};
static const struct shape transfer_word = {SHAPE_WORD, .words = vhu_words_transfer};
static const struct shape content_word = {SHAPE_WORD, .words = vhu_words_content};
static const struct shape step_state = {SHAPE_OBJECT, "step_state", KEYS(
	{"state", &transfer_word, true}, {"size", &vhu_shape_match}, {"count", &vhu_shape_count},
	{"content", &content_word}, {"len", &vhu_shape_count}, {"pieces", &vhu_shape_count}, CONN, EVERY)};
static const struct shape phase_word = {SHAPE_WORD, .words = vhu_words_phase};
static const struct shape cache_mode = {SHAPE_INTEGER, .min = 0, .max = 1};
static const struct shape step_phase = {SHAPE_OBJECT, "step_phase", KEYS(
	{"phase", &phase_word, true}, {"pairs", &vhu_shape_count}, {"rings", &vhu_shape_count},
	{"value", &cache_mode}, CONN, EVERY)};
static const struct shape claim_part = {SHAPE_EITHER, ANY(&vhu_shape_value, &text)};
static const struct shape claim = {SHAPE_LIST, .of = &claim_part, .min = 3, .max = 3};
static const struct shape step_assert = {SHAPE_OBJECT, "step_assert", KEYS(
	{"assert", &claim, true}, {"says", &text_given}, EVERY)};
static const struct shape step_note = {SHAPE_OBJECT, "step_note", KEYS({"note", &text_given, true})};

/* --- blocks ------------------------------------------------------------------------------------------ */

const struct shape vhu_shape_step = {SHAPE_STEP, "step"};
static const struct shape steps = {SHAPE_LIST, "steps", .of = &vhu_shape_step, .min = 1};
static const struct shape of_word = {SHAPE_WORD, .words = words_used};
static const struct shape of_range = {SHAPE_OBJECT, KEYS(
	{"from", &vhu_shape_count, true}, {"to", &vhu_shape_count, true})};
static const struct shape of = {SHAPE_EITHER, ANY(&of_word, &counts, &of_range)};
static const struct shape step_for_each_queue = {SHAPE_OBJECT, "step_for_each_queue", KEYS(
	{"for_each_queue", &vhu_shape_name, true}, {"of", &of}, {"do", &steps, true}, EVERY)};
static const struct shape any_object = {SHAPE_MAP, .form = &form_name, .of = &anything};
static const struct shape item = {SHAPE_EITHER, ANY(&vhu_shape_value, &any_object, &text)};
static const struct shape items = {SHAPE_LIST, .of = &item, .min = 1};
static const struct shape step_for_each = {SHAPE_OBJECT, "step_for_each", KEYS(
	{"for_each", &vhu_shape_name, true}, {"in", &items, true}, {"do", &steps, true}, EVERY)};
static const struct shape rounds = {SHAPE_INTEGER, .min = 1, .max = LIMIT_STEPS};
static const struct shape repeat = {SHAPE_EITHER, ANY(&rounds, &expr)};
static const struct shape step_repeat = {SHAPE_OBJECT, "step_repeat", KEYS(
	{"repeat", &repeat, true}, {"do", &steps, true}, EVERY)};
static const struct shape needs;
static const struct shape step_when = {SHAPE_OBJECT, "step_when", KEYS(
	{"when", &needs, true}, {"do", &steps, true}, {"else", &steps}, EVERY)};
static const struct shape params = {SHAPE_MAP, .form = &form_name, .of = &anything};
static const struct shape step_use = {SHAPE_OBJECT, "step_use", KEYS(
	{"use", &vhu_shape_name, true}, {"with", &params}, EVERY)};

const struct verb vhu_verbs[] = {
	{"send", &step_send, VHU_VERB_SEND, vhu_verb_send},
	{"raw", &step_raw, VHU_VERB_RAW, vhu_verb_raw},
	{"recv", &step_recv, VHU_VERB_RECV, vhu_verb_recv},
	{"fence", &step_fence, VHU_VERB_FENCE, vhu_verb_fence},
	{"connect", &step_connect, VHU_VERB_CONNECT, vhu_verb_connect},
	{"close", &step_close, VHU_VERB_CLOSE, vhu_verb_close},
	{"reconnect", &step_reconnect, VHU_VERB_RECONNECT, vhu_verb_reconnect},
	{"target", &step_target, VHU_VERB_TARGET, vhu_verb_target},
	{"program", &step_program, VHU_VERB_PROGRAM, vhu_verb_program},
	{"ring", &step_ring, VHU_VERB_RING, vhu_verb_ring},
	{"io", &step_io, VHU_VERB_IO, vhu_verb_io},
	{"chain", &step_chain, VHU_VERB_CHAIN, vhu_verb_chain},
	{"frames", &step_frames, VHU_VERB_FRAMES, vhu_verb_frames},
	{"await", &step_await, VHU_VERB_AWAIT, vhu_verb_await},
	{"memory", &step_memory, VHU_VERB_MEMORY, vhu_verb_memory},
	{"log", &step_log, VHU_VERB_LOG, vhu_verb_log},
	{"inflight", &step_inflight, VHU_VERB_INFLIGHT, vhu_verb_inflight},
	{"iotlb", &step_iotlb, VHU_VERB_IOTLB, vhu_verb_iotlb},
	{"state", &step_state, VHU_VERB_STATE, vhu_verb_state},
	{"phase", &step_phase, VHU_VERB_PHASE, vhu_verb_phase},
	{"assert", &step_assert, VHU_VERB_ASSERT, vhu_verb_assert},
	{"for_each_queue", &step_for_each_queue, VHU_VERB_MAX, NULL, vhu_block_for_each_queue},
	{"for_each", &step_for_each, VHU_VERB_MAX, NULL, vhu_block_for_each},
	{"repeat", &step_repeat, VHU_VERB_MAX, NULL, vhu_block_repeat},
	{"when", &step_when, VHU_VERB_MAX, NULL, vhu_block_when},
	{"use", &step_use, VHU_VERB_MAX, NULL, vhu_block_use},
	{"note", &step_note, VHU_VERB_NOTE, vhu_verb_note},
};
const size_t vhu_n_verbs = VHU_ARRAY_SIZE(vhu_verbs);

/* clang-format on */

const struct verb *vhu_verb_of(json_t *step, size_t *ret_count)
{
	const struct verb *found = NULL;

	*ret_count = 0;
	for (size_t i = 0; i < vhu_n_verbs; i++) {
		/* A note is a verb only by itself: it stands last and any other verb beats it. */
		bool is_note = vhu_verbs[i].verb == VHU_VERB_NOTE;

		if (!json_object_get(step, vhu_verbs[i].name) || (is_note && found))
			continue;
		found = &vhu_verbs[i];
		++*ret_count;
	}
	/* With another key beside it, it is a step whose verb is misspelt. */
	if (found && found->verb == VHU_VERB_NOTE && json_object_size(step) > 1)
		*ret_count = 0;
	return *ret_count == 1 ? found : NULL;
}

const char *vhu_verb_name_at(void *ctx, size_t i)
{
	return i < vhu_n_verbs ? vhu_verbs[i].name : NULL;
}

/* clang-format off: tables */
/* --- the file ---------------------------------------------------------------------------------------- */

static const struct shape bits_of = {SHAPE_OBJECT, .min = 1, KEYS(
	{"features", &names}, {"protocol_features", &names})};
static const struct shape queue_count = {SHAPE_INTEGER, .min = 1, .max = 256};
static const struct shape positive = {SHAPE_INTEGER, .min = 1, .max = LIMIT_INTEGER - 1};
static const struct shape device_names = {SHAPE_LIST, .of = &text_given, .min = 1, .unique = true};
static const struct shape need_ring = {SHAPE_WORD, .words = words_need_ring};
static const struct shape needs = {SHAPE_OBJECT, "needs", KEYS(
	{"device", &device_names}, {"features", &names}, {"protocol_features", &names},
	{"without", &bits_of}, {"any", &bits_of}, {"queues", &queue_count},
	{"mem_slots", &positive}, {"capacity", &vhu_shape_count}, {"config", &matches},
	{"spawn", &boolean}, {"hugetlb", &boolean}, {"ring", &need_ring})};

static const struct shape macro_why = {SHAPE_TEXT};
static const struct shape macro = {SHAPE_OBJECT, "macro", KEYS(
	{"why", &macro_why}, {"params", &params}, {"steps", &steps, true})};
static const struct shape macros = {SHAPE_MAP, "macros", .form = &form_name, .of = &macro, .min = 1};

static const struct shape title = {SHAPE_TEXT, .min = 8, .max = 80};
static const struct shape why = {SHAPE_TEXT, .min = 20};
static const struct shape tag = {SHAPE_FORM, .form = &form_tag};
static const struct shape tags = {SHAPE_LIST, .of = &tag, .unique = true};
static const struct shape offer = {SHAPE_OBJECT, KEYS(
	{"features", &names}, {"protocol_features", &names}, {"drop_features", &names},
	{"drop_protocol_features", &names})};
static const struct shape queues = {SHAPE_EITHER, ANY(&queue_count, &all_word, &expr)};
static const struct shape entries = {SHAPE_INTEGER, .min = 1, .max = VHU_C_VRING_SIZE_MAX};
static const struct shape queue_size = {SHAPE_EITHER, ANY(&entries, &expr)};
static const struct shape format = {SHAPE_WORD, .words = vhu_words_format};
static const struct shape region_count = {SHAPE_INTEGER, .min = 1, .max = 509};
static const struct shape ring_parts = {SHAPE_WORD, .words = vhu_words_rings};
static const struct shape memory = {SHAPE_OBJECT, KEYS(
	{"size", &vhu_shape_value}, {"regions", &region_count}, {"backing", &backing},
	{"rings", &ring_parts})};
static const struct shape vars = {SHAPE_MAP, .form = &form_name, .of = &vhu_shape_value};
static const struct shape row = {SHAPE_MAP, .form = &form_name, .of = &anything, KEYS(
	{"row", &tag, true})};
static const struct shape rows = {SHAPE_LIST, .of = &row, .min = 1};

const struct shape vhu_shape_case = {SHAPE_OBJECT, "case", KEYS(
	{"title", &title, true}, {"why", &why, true}, {"captured", &text_given}, {"requirements", &ids, true},
	{"tags", &tags},
	{"see", &texts}, {"needs", &needs}, {"start", &state, true}, {"profile", &text_given},
	{"writes", &boolean}, {"offer", &offer}, {"queues", &queues}, {"queue_size", &queue_size},
	{"ring", &format}, {"memory", &memory}, {"vars", &vars}, {"rows", &rows},
	{"macros", &macros}, {"steps", &steps, true})};
const struct shape vhu_shape_library = {SHAPE_OBJECT, "library", KEYS(
	{"why", &why}, {"macros", &macros, true})};
