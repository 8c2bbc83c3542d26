/*
 * Captures of any bytes: whatever stands in a file, the reader and all that vhu-trace does with it stay
 * within their bounds. With libFuzzer (clang, -fsanitize=fuzzer) the bytes come from there; else
 *
 *   fuzz-trace [-n RUNS] [-s SEED] [-t SECONDS] SEED-FILE…
 *
 * changes the seeds itself, the same way for the same seed, and counts.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/rng.h"
#include "cli/judge.h"
#include "plan/plan.h"
#include "trace/anonymize.h"
#include "trace/diff.h"
#include "trace/filter.h"
#include "trace/ladder.h"
#include "trace/stats.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

/* --- what is done with a capture ------------------------------------------------------------------ */

/* Record by record, as show, stats, check and anonymize do. */
static void stream(const uint8_t *bytes, size_t len)
{
	const struct vhu_judge_config config = {VHU_DEV_ANY, NULL, 0, {true, VHU_SINCE_V11_1}};
	struct vhu_arena *arena = vhu_arena_new(), *other = vhu_arena_new();
	struct vhu_trace_reader *reader = NULL;
	struct vhu_trace_stats *stats = NULL;
	struct vhu_scrubber *scrubber = NULL;
	struct vhu_filter *filter = NULL;
	struct vhu_judge *judge = NULL;
	struct vhu_record r, scrubbed;
	struct vhu_kind_count kind;
	struct vhu_trace_meta meta;
	struct vhu_judged judged;
	struct vhu_buf text = {0};
	uint64_t number;
	long long offset;

	if (arena && other && !vhu_trace_reader_new_mem(bytes, len, &reader, NULL) &&
	    !vhu_trace_stats_new(0, &stats, NULL) && !vhu_judge_new(&config, &judge, NULL) &&
	    !vhu_scrubber_new(&scrubber, NULL) &&
	    !vhu_filter_parse("!SET_OWNER index>=0 type=request|reply", &filter, NULL)) {
		vhu_trace_reader_borrow(reader);
		vhu_scrubber_meta(vhu_trace_reader_meta(reader), other, &meta, NULL);
		while (vhu_trace_reader_next(reader, arena, &r, NULL) == 1) {
			vhu_trace_reader_position(reader, &number, &offset);
			vhu_buf_reset(&text);
			vhu_record_describe(&r, VHU_DEV_BLK, &text);
			vhu_filter_match(filter, &r);
			vhu_trace_stats_add(stats, &r, NULL);
			vhu_judge_record(judge, &r, number, offset, NULL);
			if (!vhu_scrubber_record(scrubber, len & 1 ? VHU_DEV_ANY : VHU_DEV_NET, &r, other,
						 &scrubbed, NULL)) {
				vhu_buf_reset(&text);
				vhu_record_encode(&scrubbed, 0, &text, NULL);
			}
			vhu_arena_reset(arena);
			vhu_arena_reset(other);
		}
		vhu_judge_end(judge);
		for (size_t i = 0; vhu_judge_finding(judge, i, &judged); i++)
			;
		for (size_t i = 0; vhu_trace_stats_kind(stats, i, &kind); i++)
			;
		vhu_trace_reader_notes(reader);
	}
	vhu_buf_done(&text);
	vhu_filter_free(filter);
	vhu_scrubber_free(scrubber);
	vhu_judge_free(judge);
	vhu_trace_stats_free(stats);
	vhu_trace_reader_free(reader);
	vhu_arena_free(arena);
	vhu_arena_free(other);
}

/* As a plan, and that as a case, as replay and case do. */
static void compile(const struct vhu_trace *t, bool io)
{
	struct vhu_replay_opts opts = {.spawned = true, .io = io};
	struct vhu_buf notes = {0}, text = {0};
	struct vhu_plan *plan = NULL;
	struct vhu_err err;

	opts.device = vhu_trace_guess_device(t, &opts);
	if (!vhu_plan_from_trace(t, &opts, &plan, &notes, &err)) {
		vhu_plan_to_case(plan, "any", &text, &err);
		vhu_plan_free(plan);
	}
	vhu_buf_done(&notes);
	vhu_buf_done(&text);
}

/* As a whole, as ladder and diff do. */
static void whole(const uint8_t *bytes, size_t len)
{
	const struct vhu_diff_opts opts = {.all = true};
	struct vhu_arena *arena = vhu_arena_new();
	struct vhu_trace *t = NULL;

	if (!arena || vhu_trace_load_mem(bytes, len, &t, NULL) < 0) {
		vhu_arena_free(arena);
		return;
	}
	for (size_t i = 0; i < t->n_sessions && i < 3; i++) {
		struct vhu_ladder ladder;
		struct vhu_diff diff;
		struct vhu_buf text = {0};

		if (!vhu_ladder_new(&t->sessions[i], VHU_DEV_ANY, arena, &ladder, NULL)) {
			vhu_ladder_text(&ladder, "any", &text);
			vhu_ladder_svg(&ladder, "any", &text);
		}
		vhu_trace_diff(&t->sessions[0], &t->sessions[i], &opts, arena, &diff, NULL);
		vhu_buf_done(&text);
	}
	compile(t, len & 1);
	vhu_trace_free(t);
	vhu_arena_free(arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	stream(bytes, len);
	whole(bytes, len);
	return 0;
}

#ifndef VHU_LIBFUZZER
/* --- changes --------------------------------------------------------------------------------------- */

enum { BYTES_MAX = 1 << 20, SEEDS_MAX = 64 };

struct seed {
	uint8_t *bytes;
	size_t len;
};

/* Where a record begins, most of the time: that is where changes are worth most. */
static size_t some_place(struct vhu_rng *rng, const struct seed *s)
{
	size_t at = 24, target = vhu_rng_below(rng, s->len);

	if (vhu_rng_below(rng, 4) == 0)
		return target;
	while (at + 16 < s->len) {
		size_t len = 16 + (size_t)vhu_le_get(s->bytes + at + 8, 4);

		if (len > s->len - at || at + len > target)
			return at + vhu_rng_below(rng, VHU_MIN(len, s->len - at));
		at += len;
	}
	return target;
}

static void change(struct vhu_rng *rng, struct seed *s)
{
	static const uint64_t odd[] = {0,	   1,	       0x7f,   0x80,	   0xff,
				       0x7fff,	   0x8000,     0xffff, 0x7fffffff, 0x80000000,
				       0xffffffff, UINT64_MAX, 4096,   65536,	   262144};
	size_t at = some_place(rng, s), some = vhu_rng_below(rng, 400), n;

	switch (vhu_rng_below(rng, 8)) {
	case 0:
		s->bytes[at] ^= (uint8_t)(1u << vhu_rng_below(rng, 8));
		break;
	case 1:
		s->bytes[at] = (uint8_t)vhu_rng_u64(rng);
		break;
	case 2:
	case 3:
		n = (size_t)1 << vhu_rng_below(rng, 4);
		if (at + n <= s->len)
			vhu_le_put(s->bytes + at, n, odd[vhu_rng_below(rng, VHU_ARRAY_SIZE(odd))]);
		break;
	case 4:
		s->len = VHU_MAX(at, (size_t)1); /* cut off */
		break;
	case 5: /* a piece is gone */
		n = VHU_MIN(s->len - at, some);
		memmove(s->bytes + at, s->bytes + at + n, s->len - at - n);
		s->len = VHU_MAX(s->len - n, (size_t)1);
		break;
	case 6: /* or twice there */
		n = VHU_MIN(VHU_MIN(s->len - at, BYTES_MAX - s->len), some);
		memmove(s->bytes + at + n, s->bytes + at, s->len - at);
		s->len += n;
		break;
	default: /* or somewhere else, too */
		n = VHU_MIN(s->len - at, some);
		memmove(s->bytes + vhu_rng_below(rng, s->len - n + 1), s->bytes + at, n);
	}
}

static bool read_seed(const char *path, struct seed *s)
{
	FILE *file = fopen(path, "rbe");

	s->bytes = file ? malloc(BYTES_MAX) : NULL;
	s->len = s->bytes ? fread(s->bytes, 1, BYTES_MAX / 2, file) : 0;
	if (file)
		fclose(file);
	return s->len > 0;
}

static uint64_t number(const char *text)
{
	uint64_t value;

	if (text && !vhu_u64_parse(text, &value))
		return value;
	fputs("usage: fuzz-trace [-n RUNS] [-s SEED] [-t SECONDS] SEED-FILE…\n", stderr);
	exit(2);
}

int main(int argc, char **argv)
{
	static struct seed seeds[SEEDS_MAX];
	struct seed work = {malloc(BYTES_MAX), 0};
	uint64_t runs = UINT64_MAX, first = 1, seconds = 0, start = vhu_now_ns(), done = 0;
	size_t n = 0;
	int c;

	while ((c = getopt(argc, argv, "n:s:t:")) != -1)
		*(c == 'n' ? &runs : c == 's' ? &first : &seconds) = number(c == '?' ? NULL : optarg);
	for (; optind < argc && n < SEEDS_MAX; optind++)
		n += read_seed(argv[optind], &seeds[n]);
	if (!n || !work.bytes || (runs == UINT64_MAX && !seconds))
		number(NULL);
	for (; done < runs; done++) {
		struct vhu_rng rng;

		if (seconds && vhu_now_ns() - start > seconds * UINT64_C(1000000000))
			break;
		vhu_rng_init(&rng, first + done);
		work.len = seeds[done % n].len;
		memcpy(work.bytes, seeds[done % n].bytes, work.len);
		for (uint64_t i = done < n ? 0 : 1 + vhu_rng_below(&rng, 6); i > 0; i--)
			change(&rng, &work);
		LLVMFuzzerTestOneInput(work.bytes, work.len);
	}
	printf("%" PRIu64 " executions, seeds %" PRIu64 " to %" PRIu64 "\n", done, first, first + done - 1);
	for (size_t i = 0; i < n; i++)
		free(seeds[i].bytes);
	free(work.bytes);
	return 0;
}
#endif
