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
static void probe_pci(struct story *s, const char *text)
{
	const struct front *f = &s->front;

	s->resets = true;
	/* Unless it is told late; firmware has resets of its own. */
	if (is_connected(s) && !s->pci && !f->started && f->set_up && (!s->guest_resets || resets_next(s)))
		vhu_story_due(s, EVENT_RESET);
	s->pci = true;
}

static void plug(struct story *s, const char *text)
{
	const bool slots = s->front.facts.pfeatures & VHU_P(CONFIGURE_MEM_SLOTS);

	if (!is_connected(s) || !s->front.started)
		s->front.pending++;
	else
		vhu_story_due(s, slots ? EVENT_PLUG : EVENT_PLUG_TABLE);
}

/* Unless the guest refuses. */
static void unplug(struct story *s, const char *text)
{
	struct front *f = &s->front;

	if (is_connected(s) && f->started)
		return; /* that shows */
	if (f->pending)
		f->pending--;
	else
		f->leaving++;
}

/* A device that is not started logs from its start on. */
static void migrate(struct story *s, const char *text)
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

static void new_device(struct story *s, const char *text)
{
	/* Who did not notice that its connection was lost is another one now. */
	s->starting |= !is_connected(s) && s->front.deaf;
}

static void arrive(struct story *s, const char *text)
{
	s->starting_incoming = true;
}

static void start(struct story *s, const char *text)
{
	s->guest_resets = 0;
	s->driver &= s->starting_incoming;
	s->starting = true;
}

static void booted(struct story *s, const char *text)
{
	/* Once more: the machine was reset. */
	s->pci &= !s->front.booted;
	s->front.booted = true;
	s->guest_resets = 0; /* those before were firmware's */
}

static void remove_pci(struct story *s, const char *text)
{
	const bool found = strstr(text, "/rescan");

	s->resets = true;
	s->pci = false;
	s->found_again = s->front.started && found;
	if (found && is_connected(s) && !s->front.started && s->front.set_up)
		vhu_story_due(s, EVENT_RESET);
}

static void driver(struct story *s, const char *text)
{
	s->driver = true;
}

static void resume(struct story *s, const char *text)
{
	s->resets = true;
	s->resumed = !s->front.started && s->front.keeps && !s->n_due;
}

static void link_on(struct story *s, const char *text)
{
	s->link_down = false;
	resume(s, text);
}

static void link_off(struct story *s, const char *text)
{
	s->link_down = true;
	s->front.drops = s->front.paused = true;
	s->resets = false;
}

static void pause_guest(struct story *s, const char *text)
{
	s->front.paused = true;
	s->resets = false;
	stop_unheard(s);
}

static void guest_reset(struct story *s, const char *text)
{
	s->resets = true;
	stop_unheard(s);
}

static void guest_off(struct story *s, const char *text)
{
	s->resets = s->driver;
}

static void reboot(struct story *s, const char *text)
{
	machine_reset(s, s->driver);
}

static void reset(struct story *s, const char *text)
{
	machine_reset(s, false);
}

static void listen_for_pages(struct story *s, const char *text)
{
	s->resets = false;
	postcopy(s, EVENT_LISTEN);
}

static void migrated(struct story *s, const char *text)
{
	s->front.log_unsure = true;
}

static void set_pairs(struct story *s, const char *text)
{
	/* Nobody is told of that. */
	if (!is_connected(s))
		s->front.facts.pairs_on = vhu_mark_pairs(text);
}

static void quit(struct story *s, const char *text)
{
	s->resets = false;
	vhu_story_overtake_firmware(s);
}

static void migrate_postcopy(struct story *s, const char *text)
{
	migrate(s, text);
	postcopy(s, EVENT_ADVISE);
}

/* What each mark means to the device; the others mean nothing. */
static void (*const means[])(struct story *s, const char *text) = {
	[MARK_START] = start,
	[MARK_INCOMING] = arrive,
	[MARK_BOOTED] = booted,
	[MARK_ADD_DEVICE] = new_device,
	[MARK_REMOVE_PCI] = remove_pci,
	[MARK_PROBE_PCI] = probe_pci,
	[MARK_DRIVER] = driver,
	[MARK_GUEST_RESET] = guest_reset,
	[MARK_GUEST_OFF] = guest_off,
	[MARK_REBOOT] = reboot,
	[MARK_MACHINE_RESET] = reset,
	[MARK_PAUSE] = pause_guest,
	[MARK_RESUME] = resume,
	[MARK_LINK_OFF] = link_off,
	[MARK_LINK_ON] = link_on,
	[MARK_PAIRS] = set_pairs,
	[MARK_PLUG] = plug,
	[MARK_UNPLUG] = unplug,
	[MARK_WRITE_CONFIG] = write_cache,
	[MARK_MIGRATE] = migrate,
	[MARK_MIGRATE_POSTCOPY] = migrate_postcopy,
	[MARK_POSTCOPY] = listen_for_pages,
	[MARK_MIGRATE_CANCEL] = migrated,
	[MARK_MIGRATED] = migrated,
	[MARK_QUIT] = quit,
};

void vhu_story_mark(struct story *s, const char *text)
{
	const enum mark mark = vhu_mark_of(text, s->front.facts.device);

	/* Behind one that we do not know, all shows in what follows, as if there were none. */
	if (s->marks && mark != MARK_NONE)
		s->front.marked = mark != MARK_UNKNOWN;
	if ((size_t)mark < VHU_ARRAY_SIZE(means) && means[mark])
		means[mark](s, text);
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
