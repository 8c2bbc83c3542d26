/* What the world around the front-end says: marks, and requests of the back-end. */
#include <string.h>

#include "story.h"

void vhu_story_due(struct story *s, enum event e)
{
	if (s->n_due < PENDING_MAX)
		s->due[s->n_due++].event = e;
}

static bool is_connected(const struct story *s)
{
	return s->front.seg && s->cue < s->front.seg->end;
}

/* A disk's cache mode: the message comes only if it changes. */
static void write_cache(struct story *s, const char *text)
{
	struct front *f = &s->front;
	uint8_t wanted = strstr(text, "write back") != NULL;

	if (f->facts.device != VHU_DEV_BLK || !f->started || !f->write_cache_known ||
	    f->write_cache == wanted || !(f->facts.features & VHU_V(VIRTIO_BLK_F_CONFIG_WCE)))
		return;
	f->write_cache = wanted;
	vhu_story_due(s, EVENT_WRITE_CONFIG);
}

void vhu_story_overtake_firmware(struct story *s)
{
	if (s->firmware && s->n_due && s->due[s->n_due - 1].event == EVENT_MACHINE_RESET)
		s->n_due--;
	s->firmware = false;
}

/* What stops a device whose connection is lost is heard by nobody. */
static void stop_unheard(struct story *s)
{
	struct front *f = &s->front;

	if (is_connected(s) || !f->started)
		return;
	f->keeps = !s->resets;
	vhu_front_stopped(f);
}

static void machine_reset(struct story *s, bool guest_first)
{
	const bool runs = s->front.started || s->resumed || (is_connected(s) && s->front.lost_started);

	vhu_story_overtake_firmware(s);
	s->resets = true;
	s->pci = s->driver = s->front.booted = false;
	s->front.keeps &= runs;
	s->guest_resets = 0;
	s->machine_stops = !guest_first;
	/* The machine resets each device, and firmware again; the first time stops one that runs, unless the
	 * guest did so before. */
	s->firmware = true;
	stop_unheard(s);
	s->front.lost_started &= is_connected(s);
	if (is_connected(s)) {
		vhu_story_due(s, EVENT_MACHINE_RESET);
		if (guest_first || !runs)
			vhu_story_due(s, EVENT_MACHINE_RESET);
	}
}

static bool resets_next(const struct story *s)
{
	const struct vhu_tape_item *item = vhu_said_at(s->front.seg, s->at);

	return item && item->frame.request == VHU_ID_RESET_DEVICE;
}

/* Its driver resets each device that the guest finds. */
static void probe_pci(struct story *s)
{
	const struct front *f = &s->front;

	s->resets = true;
	/* Unless it is told late; firmware has resets of its own. */
	if (is_connected(s) && !s->pci && !f->started && f->set_up && (!s->guest_resets || resets_next(s)))
		vhu_story_due(s, EVENT_RESET);
	s->pci = true;
}

static void plug(struct story *s)
{
	const bool slots = s->front.facts.pfeatures & VHU_P(CONFIGURE_MEM_SLOTS);

	if (!is_connected(s) || !s->front.started)
		s->front.pending++;
	else
		vhu_story_due(s, slots ? EVENT_PLUG : EVENT_PLUG_TABLE);
}

/* A device that is not started logs from its start on. */
static void migrate(struct story *s)
{
	struct front *f = &s->front;

	s->resets = f->paused = f->log_unsure = false;
	if (!f->incoming && !f->started)
		f->facts.logging = f->facts.features_offered & VHU_V(VHOST_F_LOG_ALL);
}

/* At the destination. */
static void postcopy(struct story *s, enum event e)
{
	if (is_connected(s) && s->front.incoming && (s->front.facts.pfeatures & VHU_P(PAGEFAULT)))
		vhu_story_due(s, e);
}

void vhu_story_mark(struct story *s, const char *text)
{
	struct front *f = &s->front;
	const enum mark mark = vhu_mark_of(text, f->facts.device);

	/* Behind one that we do not know, all shows in what follows, as if there were none. */
	if (s->marks && mark != MARK_NONE)
		f->marked = mark != MARK_UNKNOWN;
	switch (mark) {
	case MARK_NONE:
	case MARK_UNKNOWN:
	case MARK_KILLED:
		break;
	case MARK_ADD_DEVICE:
		/* Who did not notice that its connection was lost is another one now. */
		s->starting |= !is_connected(s) && f->deaf;
		break;
	case MARK_INCOMING:
		s->starting_incoming = true;
		break;
	case MARK_START:
		s->guest_resets = 0;
		s->driver &= s->starting_incoming;
		s->starting = true;
		break;
	case MARK_BOOTED:
		/* Once more: the machine was reset. */
		s->pci &= !f->booted;
		f->booted = true;
		break;
	case MARK_REMOVE_PCI:
		s->resets = true;
		s->pci = false;
		s->found_again = f->started && strstr(text, "/rescan");
		break;
	case MARK_PROBE_PCI:
		probe_pci(s);
		break;
	case MARK_DRIVER:
		s->driver = true;
		break;
	case MARK_LINK_ON:
	case MARK_RESUME:
		s->link_down &= mark != MARK_LINK_ON;
		s->resets = true;
		s->resumed = !f->started && f->keeps && !s->n_due;
		break;
	case MARK_GUEST_RESET:
		s->resets = true;
		stop_unheard(s);
		break;
	case MARK_GUEST_OFF:
		s->resets = s->driver;
		break;
	case MARK_REBOOT:
		machine_reset(s, s->driver);
		break;
	case MARK_MACHINE_RESET:
		machine_reset(s, false);
		break;
	case MARK_MIGRATE:
		migrate(s);
		break;
	case MARK_MIGRATE_POSTCOPY:
		migrate(s);
		postcopy(s, EVENT_ADVISE);
		break;
	case MARK_POSTCOPY:
		s->resets = false;
		postcopy(s, EVENT_LISTEN);
		break;
	case MARK_MIGRATE_CANCEL:
	case MARK_MIGRATED:
		f->log_unsure = true;
		break;
	case MARK_PAIRS:
		/* Nobody is told of that. */
		if (!is_connected(s))
			f->facts.pairs_on = vhu_mark_pairs(text);
		break;
	case MARK_LINK_OFF:
		s->link_down = true;
		f->drops = f->paused = true;
		s->resets = false;
		break;
	case MARK_PAUSE:
		f->paused = true;
		s->resets = false;
		stop_unheard(s);
		break;
	case MARK_QUIT:
		s->resets = false;
		vhu_story_overtake_firmware(s);
		break;
	case MARK_PLUG:
		plug(s);
		break;
	case MARK_WRITE_CONFIG:
		write_cache(s, text);
		break;
	}
}

static void request(struct story *s, const struct vhu_frame *frame)
{
	struct front *f = &s->front;

	if (frame->request == VHU_ID_BACKEND_CONFIG_CHANGE_MSG && f->started)
		vhu_story_due(s, EVENT_RECONFIG);
	else if (frame->request == VHU_ID_BACKEND_IOTLB_MSG && f->n_misses < MISSES_MAX)
		f->misses[f->n_misses++] = vhu_frame_u64(frame, "iova");
}

void vhu_story_cues(struct story *s)
{
	const struct segment *seg = s->front.seg;
	size_t here = s->at < seg->n_said ? seg->said[s->at] : seg->end;

	if (s->cue < seg->heard)
		s->cue = seg->heard;
	for (; s->cue < here; s->cue++) {
		const struct vhu_tape_item *item = &seg->tape->items[s->cue];

		if (item->kind == VHU_TAPE_MARK)
			vhu_story_mark(s, item->text);
		else if (item->kind == VHU_TAPE_FRAME && item->conn == seg->conn &&
			 item->frame.dir == VHU_DIR_BE && item->frame.channel == VHU_CHAN_BACKEND)
			request(s, &item->frame);
	}
}

static void due_first(struct story *s, enum event e)
{
	memmove(&s->due[1], &s->due[0], VHU_MIN(s->n_due, (size_t)PENDING_MAX - 1) * sizeof(s->due[0]));
	s->n_due = VHU_MIN(s->n_due + 1, (size_t)PENDING_MAX);
	s->due[0].event = e;
}

void vhu_story_followed(struct story *s, enum event e)
{
	struct front *f = &s->front;

	s->resumed &= e != EVENT_START;
	s->just_back = false;
	s->guest_resets = e == EVENT_MACHINE_RESET ? 0 : s->guest_resets + (e == EVENT_RESET);
	if (e == EVENT_STOP && f->marked && !f->keeps) {
		if (s->found_again)
			due_first(s, EVENT_RESET);
		due_first(s, s->machine_stops ? EVENT_MACHINE_RESET : EVENT_RESET);
		s->machine_stops = s->found_again = false;
	}
}
