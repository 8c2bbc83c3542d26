/* A recording from its first to its last connection. */
#include <errno.h>
#include <string.h>

#include "peer.h"
#include "story.h"

/* --- what the recording is of ------------------------------------------------------------------------------
 */

/* Words of a back-end's name that say what device it is. */
static const struct {
	const char *word;
	enum vhu_device device;
} back_ends[] = {
	{"storage-daemon", VHU_DEV_BLK},
	{"user-blk", VHU_DEV_BLK},
	{"vhost-blk", VHU_DEV_BLK},
	{"testpmd", VHU_DEV_NET},
	{"passt", VHU_DEV_NET},
	{"vswitch", VHU_DEV_NET},
	{"virtiofsd", VHU_DEV_FS},
	{"vsock", VHU_DEV_VSOCK},
	{"gpu", VHU_DEV_GPU},
	{"scsi", VHU_DEV_SCSI},
	{"input", VHU_DEV_INPUT},
	{"rng", VHU_DEV_RNG},
	{"i2c", VHU_DEV_I2C},
	{"gpio", VHU_DEV_GPIO},
	{"sound", VHU_DEV_SOUND},
	{"console", VHU_DEV_CONSOLE},
	{"crypto", VHU_DEV_CRYPTO},
	{"snd", VHU_DEV_SOUND},
	{"scmi", VHU_DEV_SCMI},
	{"device-can", VHU_DEV_CAN},
	{"device-rtc", VHU_DEV_RTC},
	{"device-spi", VHU_DEV_SPI},
};

static enum vhu_device device_of_back_end(const char *name)
{
	for (size_t i = 0; i < VHU_ARRAY_SIZE(back_ends); i++)
		if (strstr(name, back_ends[i].word))
			return back_ends[i].device;
	return VHU_DEV_ANY;
}

/* "dev0 ONE, dev1 OTHER" of a recording whose name ends in "-dev1" is OTHER. */
static const char *own_back_end(const struct vhu_tape *t)
{
	const char *dev = strrchr(t->name, '-');
	const char *own = dev && strncmp(dev, "-dev", 4) == 0 ? strstr(t->back, dev + 1) : NULL;

	return own ? own : t->back;
}

/* The size of config space tells some devices apart, features others. */
static enum vhu_device device_of_frames(const struct vhu_tape *t)
{
	for (size_t i = 0; i < t->n_items; i++) {
		const struct vhu_frame *f = &t->items[i].frame;

		if (t->items[i].kind != VHU_TAPE_FRAME || f->channel != VHU_CHAN_MAIN)
			continue;
		if (f->request == VHU_ID_GET_CONFIG && f->size == 12 + 8)
			return VHU_DEV_VSOCK;
		if (f->request == VHU_ID_GET_CONFIG)
			return VHU_DEV_BLK;
		if (f->request == VHU_ID_GET_FEATURES && f->dir == VHU_DIR_BE &&
		    (vhu_frame_u64(f, "u64") & VHU_V(VIRTIO_NET_F_MRG_RXBUF)))
			return VHU_DEV_NET;
		if (f->request == VHU_ID_GPU_SET_SOCKET)
			return VHU_DEV_GPU;
	}
	return VHU_DEV_ANY;
}

static enum vhu_device device_of(const struct vhu_tape *t)
{
	char word[32];
	size_t len = strcspn(t->name, "-");
	const struct vhu_device_row *row;
	enum vhu_device device = device_of_back_end(own_back_end(t));

	if (device != VHU_DEV_ANY)
		return device;
	snprintf(word, sizeof(word), "%.*s", (int)VHU_MIN(len, sizeof(word) - 1), t->name);
	row = vhu_device_by_name(word);
	if (!row)
		device = device_of_back_end(word);
	return row ? row->device : device != VHU_DEV_ANY ? device : device_of_frames(t);
}

/* Whether the front-end never got beyond its questions: the user wants more queues than there are. */
static bool asks_only(const struct vhu_tape *t)
{
	for (size_t i = 0; i < t->n_items; i++) {
		const struct vhu_frame *f = &t->items[i].frame;

		if (t->items[i].kind == VHU_TAPE_FRAME && f->channel == VHU_CHAN_MAIN &&
		    f->dir == VHU_DIR_FE && f->request == VHU_ID_SET_OWNER)
			return false;
	}
	return true;
}

/* Rings that any message speaks of, from 0 on without a gap. */
static unsigned queues_of(const struct vhu_tape *t, bool pairs)
{
	bool seen[RINGS_MAX] = {false};
	unsigned n = 0;

	for (size_t i = 0; i < t->n_items; i++) {
		const struct vhu_frame *f = &t->items[i].frame;
		const struct vhu_msg_row *row = vhu_msg_by_id(f->channel, f->request);

		if (t->items[i].kind == VHU_TAPE_FRAME && f->channel == VHU_CHAN_MAIN &&
		    f->dir == VHU_DIR_FE && row && row->scope == VHU_SCOPE_RING && f->len >= 4 &&
		    vhu_ne_get(f->payload, 4) < RINGS_MAX)
			seen[vhu_ne_get(f->payload, 4)] = true;
	}
	while (n < RINGS_MAX && seen[n])
		n++;
	if (n == 0 && !pairs && asks_only(t))
		return RINGS_MAX;
	return pairs ? VHU_MAX((n + 1) & ~1u, 2u) : VHU_MAX(n, 1u);
}

/*
 * Rings that share a vector are walked downwards, those with a line or a vector of their own upwards: most
 * walks say which. What follows SET_VRING_ENABLE (and translations) goes upwards in any case.
 */
static enum vhu_vectors vectors_of(const struct vhu_tape *t)
{
	const struct vhu_frame *last = NULL, *before = NULL;
	int down = 0;

	for (size_t i = 0; i < t->n_items; i++) {
		const struct vhu_frame *f = &t->items[i].frame;

		if (t->items[i].kind != VHU_TAPE_FRAME || f->channel != VHU_CHAN_MAIN || f->dir != VHU_DIR_FE)
			continue;
		if (before && before->request != VHU_ID_SET_VRING_CALL &&
		    before->request != VHU_ID_SET_VRING_ENABLE && before->request != VHU_ID_IOTLB_MSG &&
		    last->request == VHU_ID_SET_VRING_CALL && f->request == VHU_ID_SET_VRING_CALL)
			down += vhu_frame_u64(f, "index") < vhu_frame_u64(last, "index") ? 1 : -1;
		before = last;
		last = f;
	}
	return down > 0 ? VHU_VECTORS_SHARED : down < 0 ? VHU_VECTORS_OWN : VHU_VECTORS_AS_USUAL;
}

/* --- connections ---------------------------------------------------------------------------------------- */

static bool is_said(const struct vhu_tape_item *item, unsigned conn)
{
	return item->kind == VHU_TAPE_FRAME && item->conn == conn && item->frame.channel == VHU_CHAN_MAIN &&
	       item->frame.dir == VHU_DIR_FE;
}

static bool has_marks(const struct vhu_tape *t)
{
	for (size_t i = 0; i < t->n_items; i++)
		if (t->items[i].kind == VHU_TAPE_MARK && t->items[i].conn == 0)
			return true;
	return false;
}

/* Whether another connection comes behind the one that opens at `first`, and no other front-end before it. */
static bool opens_again(const struct vhu_tape *t, size_t first)
{
	for (size_t i = first + 1; i < t->n_items; i++) {
		if (t->items[i].kind == VHU_TAPE_OPEN)
			return true;
		if (t->items[i].kind == VHU_TAPE_MARK &&
		    vhu_mark_of(t->items[i].text, VHU_DEV_ANY) > MARK_UNKNOWN)
			return false;
	}
	return false;
}

/*
 * ms; recordings with marks count in them. Who is killed so soon after a message may have been killed amid a
 * phase.
 */
enum { A_MOMENT = 50 };

/* From its opening at `first` up to its end, or the end of the recording. */
static int get_segment(const struct vhu_tape *t, size_t first, size_t heard, struct segment *ret)
{
	bool killed = false;
	uint64_t spoke = 0;
	size_t i;

	*ret = (struct segment){
		.tape = t, .conn = t->items[first].conn, .first = first, .heard = VHU_MAX(first, heard)};
	ret->alone = has_marks(t);
	ret->said = calloc(t->n_items, sizeof(*ret->said));
	if (!ret->said)
		return -ENOMEM;
	for (i = first; i < t->n_items; i++) {
		const struct vhu_tape_item *item = &t->items[i];

		if (is_said(item, ret->conn)) {
			ret->said[ret->n_said++] = i;
			killed = false;
			spoke = item->time;
		} else if (item->kind == VHU_TAPE_MARK) {
			enum mark mark = vhu_mark_of(item->text, VHU_DEV_ANY);

			ret->alone &= mark == MARK_NONE;
			if (mark != MARK_KILLED)
				continue;
			killed = true;
			ret->at_once = item->time && item->time - spoke <= A_MOMENT;
		} else if (item->kind == VHU_TAPE_CLOSE && item->conn == ret->conn &&
			   (strcmp(item->text, "main") == 0 || item->text[0] == '\0')) {
			/* Who was killed has hung up, whoever noticed. */
			ret->by_be = item->by_be || killed;
			break;
		}
	}
	ret->killed = killed;
	ret->again = has_marks(t) && opens_again(t, first);
	ret->open_end = i == t->n_items && !has_marks(t);
	ret->end = i;
	return 0;
}

/* --- the whole -------------------------------------------------------------------------------------------
 */

static void on_odd(void *ctx, const struct vhu_tape_item *item, const char *what)
{
	struct story *s = ctx;
	const struct vhu_msg_row *row = vhu_msg_by_id(item->frame.channel, item->frame.request);

	s->result->differences++;
	if (s->text)
		vhu_buf_printf(s->text, "\t%zu: %s: %s\n", item->line, row ? row->name : "unknown message",
			       what);
}

/* Another process: it knows nothing; but where the rings stood migrates with the guest. */
static void new_front(struct story *s)
{
	struct front *f = &s->front;
	struct ring rings[RINGS_MAX];
	uint32_t symbols = f->symbols;
	unsigned queues = f->queues;
	enum vhu_vectors vectors = f->facts.vectors;
	bool marked = f->marked;

	memcpy(rings, f->ring, sizeof(rings));
	memset(f, 0, sizeof(*f));
	if (s->starting_incoming || !marked)
		memcpy(f->ring, rings, sizeof(rings));
	f->symbols = symbols;
	f->queues = queues;
	f->marked = marked;
	f->unsure = !marked;
	f->incoming = s->starting_incoming;
	/* Nobody is announced where nobody listens. */
	f->announced = s->link_down ? ANNOUNCES : 0;
	s->link_down &= s->starting_incoming;
	f->facts.profile = s->result->profile;
	f->facts.device = s->result->device;
	f->facts.pairs_on = 1;
	f->facts.vectors = vectors;
	s->starting = s->starting_incoming = false;
	s->resets = true;
}

/* Whether the back-end hung up instead of answering: what the front-end was about has failed. */
static bool died_asked(const struct segment *seg)
{
	size_t i = seg->n_said ? seg->said[seg->n_said - 1] : seg->end;
	uint32_t asked = i < seg->end ? seg->tape->items[i].frame.request : 0;
	const struct vhu_msg_row *row = vhu_msg_by_id(VHU_CHAN_MAIN, asked);

	for (; i < seg->end; i++) {
		const struct vhu_frame *f = &seg->tape->items[i].frame;

		if (seg->tape->items[i].kind == VHU_TAPE_FRAME && f->channel == VHU_CHAN_MAIN &&
		    f->dir == VHU_DIR_BE && f->request == asked)
			return false;
	}
	return row && row->answer == VHU_ANSWER_ALWAYS;
}

static void connection_lost(struct story *s, const struct segment *seg)
{
	struct front *f = &s->front;

	s->tries_again = s->half_set_up && seg->again;
	if (!seg->by_be && f->broken) {
		f->lost_started = true;
		return;
	}
	if (!seg->by_be) {
		s->starting = true; /* whoever hung up is gone, or its device is */
		return;
	}
	if (!seg->tape->tester && !s->half_set_up)
		f->deaf |= vhu_profile_is_deaf(f->facts.profile, f->facts.device, f->started);
	if (f->deaf) {
		f->started &= !died_asked(seg);
		return;
	}
	if (f->started && vhu_profile_forgets(f->facts.profile, f->facts.device))
		return;
	if (s->half_set_up) {
		s->starting = true; /* it tries again from the beginning */
		return;
	}
	f->lost_started |= f->started;
	f->started = false;
}

static int tell_all(struct story *s)
{
	const struct vhu_tape *t = s->tape;
	int rc = 0;

	/* Whoever tries again at once may open the next connection before the last one is closed. */
	for (size_t i = 0, heard = 0; rc == 0 && i < t->n_items; i++) {
		struct segment seg;

		if (t->items[i].kind == VHU_TAPE_MARK && i >= heard)
			vhu_story_mark(s, t->items[i].text);
		if (t->items[i].kind != VHU_TAPE_OPEN)
			continue;
		rc = get_segment(t, i, heard, &seg);
		if (rc < 0)
			return vhu_err_errno(s->err, rc, "a recording");
		if (s->starting)
			new_front(s);
		vhu_peer_check(&seg, on_odd, s);
		rc = vhu_story_connection(s, &seg);
		if (seg.unanswered && !s->cut)
			on_odd(s, vhu_said_at(&seg, seg.n_said - 1), "has no answer");
		connection_lost(s, &seg);
		s->front.seg = NULL;
		heard = VHU_MAX(heard, seg.end + 1);
		free(seg.said);
	}
	return rc;
}

static void done(struct story *s)
{
	free(s->bindings.label_of);
	free(s->bindings.symbol_of);
	free(s->speech.said);
	free(s->scratch.said);
	free(s);
}

static struct story *new_story(void)
{
	struct story *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->bindings.label_of = calloc(SYMBOLS_MAX, sizeof(uint32_t));
	s->bindings.symbol_of = calloc(LABELS_TRACKED, sizeof(uint32_t));
	s->speech.said = calloc(SPOKEN_MAX, sizeof(struct spoken));
	s->scratch.said = calloc(SPOKEN_MAX, sizeof(struct spoken));
	if (s->bindings.label_of && s->bindings.symbol_of && s->speech.said && s->scratch.said)
		return s;
	done(s);
	return NULL;
}

int vhu_fidelity_run(const struct vhu_tape *tape, const struct vhu_fidelity_opts *opts, struct vhu_buf *text,
		     struct vhu_fidelity *ret, struct vhu_err *err)
{
	struct story *s;
	int rc;

	*ret = (struct vhu_fidelity){
		.messages = tape->messages,
		.profile = opts->profile ? opts->profile : vhu_profile_of_version("qemu", tape->front),
		.device = opts->device != VHU_DEV_ANY ? opts->device : device_of(tape),
	};
	if (!ret->profile)
		return vhu_err_set(err, -EINVAL,
				   "the recording does not say which front-end it is of: --persona does");
	if (ret->device == VHU_DEV_ANY)
		return vhu_err_set(err, -EINVAL,
				   "the recording does not say which device it is of: --device does");
	s = new_story();
	if (!s)
		return vhu_err_set(err, -ENOMEM, "out of memory");
	s->tape = tape;
	s->text = text;
	s->result = ret;
	s->err = err;
	s->starting = true;
	s->front.marked = s->marks = has_marks(tape);
	s->front.facts.vectors = vectors_of(tape);
	s->front.queues = queues_of(tape, vhu_profile_has_pairs(ret->profile, ret->device));
	err->text[0] = '\0';
	rc = tell_all(s);
	done(s);
	return rc;
}
