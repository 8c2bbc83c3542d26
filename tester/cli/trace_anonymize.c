/* vhu-trace anonymize: the same capture without what is private. */
#include "trace/anonymize.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <string.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "trace_command.h"

/* When the copy begins: the second one of all times, since 0 means now to the writer. */
#define EPOCH_NS UINT64_C(1000000000)

struct copy {
	struct vhu_trace_input *in;
	struct vhu_scrubber *scrubber;
	struct vhu_trace_writer *out;
	struct vhu_arena *arena;
	uint32_t next_seq;
	uint64_t first_ns;
};

/* The writer numbers records itself, so that what is missing has to be told. */
static int tell_missing(struct copy *c, const struct vhu_record *r, struct vhu_err *err)
{
	uint32_t missing = r->seq > c->next_seq ? r->seq - c->next_seq : 0;
	uint8_t bytes[8];
	struct vhu_record lost = {.t_ns = r->t_ns,
				  .channel = VHU_CAP_LIFE,
				  .tap = r->tap,
				  .kind = VHU_CAP_LIFE_LOST,
				  .payload = bytes,
				  .len = sizeof(bytes)};

	c->next_seq = VHU_MAX(c->next_seq, r->seq + 1);
	if (!missing)
		return 0;
	vhu_le_put(bytes, sizeof(bytes), missing);
	vhu_trace_writer_lost(c->out, 0, missing);
	return vhu_trace_writer_put(c->out, &lost, err);
}

/* What the closing record said was lost is said again. */
static void keep_loss(void *ctx, uint32_t connection, uint64_t lost)
{
	struct copy *c = ctx;

	vhu_trace_writer_lost(c->out, connection, lost);
}

static int copy_records(const struct vhu_trace_opts *o, struct copy *c)
{
	struct vhu_err err = {0};
	struct vhu_record r, scrubbed;
	int more;

	while ((more = vhu_trace_next(c->in, &r)) > 0) {
		int code;

		/* How long things took says much, when they were says who did them. */
		r.t_ns = EPOCH_NS + (r.t_ns > c->first_ns ? r.t_ns - c->first_ns : 0);
		code = tell_missing(c, &r, &err);
		if (r.channel == VHU_CAP_META && r.kind == VHU_CAP_META_END)
			vhu_record_losses(&r, keep_loss, c);
		if (r.channel == VHU_CAP_META || (o->session && r.connection && r.connection != o->session))
			continue;
		vhu_arena_reset(c->arena);
		if (code == 0)
			code = vhu_scrubber_record(c->scrubber, vhu_trace_device_of(c->in, &r), &r, c->arena,
						   &scrubbed, &err);
		if (code == 0)
			code = vhu_trace_writer_put(c->out, &scrubbed, &err);
		if (code < 0)
			return vhu_trace_complain(&err);
	}
	return more < 0 ? -more : VHU_EXIT_OK;
}

/* Writing would destroy what is still to be read. */
static bool same_file(const char *a, const char *b)
{
	struct stat x, y;

	return !stat(a, &x) && !stat(b, &y) && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static int copy(const struct vhu_trace_opts *o, struct copy *c)
{
	const char *meta = vhu_trace_reader_meta(c->in->reader);
	struct vhu_arena *texts = vhu_arena_new();
	struct vhu_trace_meta m = {0};
	struct vhu_record first;
	struct vhu_err err = {0};
	int code;

	c->arena = vhu_arena_new();
	if (!c->arena || !texts) {
		vhu_err_errno(&err, -ENOMEM, "anonymize");
		code = vhu_trace_complain(&err);
	} else if (vhu_scrubber_meta(meta, texts, &m, &err) < 0 ||
		   vhu_scrubber_new(&c->scrubber, &err) < 0) {
		code = vhu_trace_complain(&err);
	} else if (vhu_trace_next(c->in, &first) != 1) {
		code = VHU_EXIT_USAGE;
	} else {
		m.t_ns = EPOCH_NS;
		c->first_ns = first.t_ns;
		c->next_seq = first.seq + 1;
		code = vhu_trace_writer_new(o->files[1], &m, &c->out, &err) < 0 ? vhu_trace_complain(&err)
										: copy_records(o, c);
	}
	if (code == VHU_EXIT_OK && c->in->ended) {
		if (vhu_trace_writer_close(c->out, &err) < 0)
			code = vhu_trace_complain(&err);
	} else {
		vhu_trace_writer_free(c->out);
	}
	vhu_scrubber_free(c->scrubber);
	vhu_arena_free(c->arena);
	vhu_arena_free(texts);
	return code;
}

int vhu_command_anonymize(const struct vhu_trace_opts *o)
{
	struct vhu_trace_input in;
	struct copy c = {.in = &in};
	struct vhu_err err = {0};
	int code;

	if (strcmp(o->files[1], "-") != 0 && same_file(o->files[0], o->files[1])) {
		vhu_err_set(&err, -EINVAL, "anonymize: %s and %s are the same file", o->files[0],
			    o->files[1]);
		return vhu_trace_complain(&err);
	}
	code = vhu_trace_open(o, &in);
	if (code != VHU_EXIT_OK)
		return code;
	code = copy(o, &c);
	vhu_trace_close(&in);
	return code;
}
