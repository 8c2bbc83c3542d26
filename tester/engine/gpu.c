/*
 * The graphics channel: on the socket of GPU_SET_SOCKET the back-end asks for displays and shows what the
 * guest draws. Our side of it is a front-end with one display and nobody before it: requests are answered,
 * pictures are taken and dropped.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "internal.h"

enum {
	FEATURES = 3, /* EDID, DMABUF2 */
	RESP_DISPLAY_INFO = 0x1101,
	RESP_EDID = 0x1104,
	RESP_HEAD = 24, /* struct virtio_gpu_ctrl_hdr */
	WIDTH_AT = 8,	/* in what stands of each display behind it */
	HEIGHT_AT = 12,
	ENABLED_AT = 16,
	WIDTH = 1280,
	HEIGHT = 800,
	EDID_AT = RESP_HEAD + 8, /* behind its length */
	EDID_LEN = 128,
};

static void put_displays(uint8_t *to)
{
	vhu_le_put(to, 4, RESP_DISPLAY_INFO);
	vhu_le_put(to + RESP_HEAD + WIDTH_AT, 4, WIDTH);
	vhu_le_put(to + RESP_HEAD + HEIGHT_AT, 4, HEIGHT);
	vhu_le_put(to + RESP_HEAD + ENABLED_AT, 4, 1);
}

/* As little as makes one: its pattern, version 1.4 and the sum of all bytes. */
static void put_edid(uint8_t *to)
{
	static const uint8_t head[] = {0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0};
	uint8_t *edid = to + EDID_AT, sum = 0;

	vhu_le_put(to, 4, RESP_EDID);
	vhu_le_put(to + RESP_HEAD, 4, EDID_LEN);
	memcpy(edid, head, sizeof(head));
	edid[18] = 1;
	edid[19] = 4;
	for (size_t i = 0; i < EDID_LEN - 1; i++)
		sum = (uint8_t)(sum + edid[i]);
	edid[EDID_LEN - 1] = (uint8_t)-sum;
}

/* What a front-end answers of which nothing is known. */
static int usual(struct vhu_frame *answer, const struct vhu_msg_row *row, struct vhu_err *err)
{
	int rc = vhu_frame_resize(answer, vhu_payload_row(row->reply)->min, err);

	if (rc < 0)
		return rc;
	switch ((int)row->msg) {
	case VHU_MSG_GPU_GET_PROTOCOL_FEATURES:
		vhu_frame_set(answer, row->reply, "u64", FEATURES);
		break;
	case VHU_MSG_GPU_GET_DISPLAY_INFO:
		put_displays(answer->payload);
		break;
	case VHU_MSG_GPU_GET_EDID:
		put_edid(answer->payload);
		break;
	default:
		break;
	}
	return 0;
}

/* What the step says in its place, or of it. */
static int as_step_says(struct vhu_run *r, struct vhu_frame *answer, const struct vhu_msg_row *row,
			const struct vhu_step *s, struct vhu_err *err)
{
	int rc = 0;

	if (s->verb == VHU_VERB_ANSWER && s->answer.answered) {
		rc = vhu_frame_resize(answer, s->answer.n_reply, err);
		if (rc == 0 && s->answer.n_reply)
			memcpy(answer->payload, s->answer.reply, s->answer.n_reply);
	}
	for (size_t i = 0; s->verb == VHU_VERB_RECV && i < s->recv.n_fields; i++) {
		uint64_t value;

		if (vhu_run_value(r, &s->recv.fields[i].value, &value))
			vhu_frame_set(answer, row->reply, s->recv.fields[i].field, value);
	}
	return rc;
}

static void answer(struct vhu_conn *c, const struct vhu_msg_row *row, const struct vhu_step *s)
{
	struct vhu_frame f = {
		.channel = VHU_CHAN_GPU, .dir = VHU_DIR_FE, .request = row->id, .flags = VHU_C_HEADER_REPLY};
	struct vhu_err err = {0};
	int rc = usual(&f, row, &err);

	if (rc == 0 && s)
		rc = as_step_says(c->r, &f, row, s, &err);
	if (rc == 0)
		vhu_conn_observe(c, &f, false);
	if (rc == 0 && c->gpu)
		rc = vhu_chan_send(c->gpu, &f, NULL, 0, 0, &err);
	if (rc < 0)
		vhu_run_broken(c->r, "%s", err.text);
	vhu_frame_done(&f);
}

static void on_frame(void *ctx, struct vhu_frame *f)
{
	const struct vhu_msg_row *row = vhu_frame_row(f);
	struct vhu_conn *c = ctx;
	const struct vhu_step *s = f->defects ? NULL : vhu_conn_step_wants(c, f);

	vhu_conn_observe(c, f, false);
	if (!f->defects && row && row->answer == VHU_ANSWER_ALWAYS)
		answer(c, row, s);
	if (s && c->n_inbox < VHU_INBOX_MAX)
		c->inbox[c->n_inbox++] = (struct vhu_inbox_item){.f = *f, .answered = true};
	else
		vhu_frame_done(f);
}

static void on_closed(void *ctx, int errno_value)
{
	struct vhu_conn *c = ctx;

	vhu_trace_log_note(c->r->e->trace, vhu_now_ns(), c->index + 1,
			   "the back-end closed the graphics channel");
}

static const struct vhu_chan_events events = {.frame = on_frame, .closed = on_closed};

int vhu_gpu_open(struct vhu_conn *c)
{
	vhu_gpu_close(c);
	return vhu_conn_channel_open(c, VHU_CHAN_GPU, &events, &c->gpu);
}

void vhu_gpu_close(struct vhu_conn *c)
{
	vhu_chan_free(c->gpu);
	c->gpu = NULL;
}

void vhu_gpu_catch_up(struct vhu_conn *c)
{
	if (c->gpu)
		vhu_chan_drain(c->gpu);
}
