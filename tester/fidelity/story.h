#pragma once

#include "internal.h"

enum event {
	EVENT_SETUP,
	EVENT_START,
	EVENT_STOP,
	EVENT_PAUSE,
	EVENT_RESUME,
	EVENT_RESET,
	EVENT_MACHINE_RESET,
	EVENT_SWITCH,
	EVENT_LOG_ON,
	EVENT_LOG_OFF,
	EVENT_RECONFIG,
	EVENT_WRITE_CONFIG,
	EVENT_PLUG,
	EVENT_PLUG_TABLE,
	EVENT_UNPLUG,
	EVENT_UNPLUG_TABLE,
	EVENT_SAVE,
	EVENT_LOAD,
	EVENT_ANNOUNCE,
	EVENT_ADVISE,
	EVENT_LISTEN,
	EVENT_POSTCOPY_END,
	EVENT_OPEN_SESSION,
	EVENT_CLOSE_SESSION,
	EVENT_TRANSLATE,
	EVENT_MAX
};

enum { DEPTH = 2 };

struct story {
	const struct vhu_tape *tape;
	struct vhu_buf *text;
	struct vhu_fidelity *result;
	struct vhu_err *err;
	struct front front;
	struct front tries[DEPTH + 1];
	struct bindings bindings;
	struct choice choice;
	struct speech speech, scratch;
	bool marks; /* somebody wrote down what guest and user did */
	size_t at;  /* the front-end's messages that are explained */
	size_t cue; /* items of the connection whose meaning is taken */
	struct {
		enum event event;
	} due[PENDING_MAX]; /* events that have to come, in order */
	size_t n_due;
	bool cut;			  /* the connection ended in the middle of a phase, */
	bool half_set_up;		  /* … the first set-up */
	bool machine_stops;		  /* … the next stop, so the reset behind it is the machine's */
	bool link_down;			  /* the guest's, which migrates with it */
	bool just_back;			  /* on a new connection nothing but the set-up was told */
	bool tries_again;		  /* the last set-up of this front-end failed */
	bool firmware;			  /* the last reset that is due is not the machine's but firmware's */
	unsigned guest_resets;		  /* since the machine came up */
	bool resets;			  /* the next stop is a reset, as far as the marks tell */
	bool pci;			  /* the guest's PCI transport is loaded */
	bool found_again;		  /* it finds the device again after the next stop, which resets it */
	bool driver;			  /* … and its driver, which resets it at poweroff */
	bool resumed;			  /* a stopped device starts before anything else happens */
	bool starting, starting_incoming; /* a new front-end since the last connection */
};

/* The event has to come now. */
void vhu_story_due(struct story *s, enum event e);
/* Takes in the marks and the back-end's requests up to where the story stands. */
void vhu_story_cues(struct story *s);
/* What a mark between two connections says. */
void vhu_story_mark(struct story *s, const char *text);
/* Firmware resets the device once it has got so far, unless the machine goes down or is reset before. */
void vhu_story_overtake_firmware(struct story *s);
/* What follows from an event that has just been told. */
void vhu_story_followed(struct story *s, enum event e);
/* Tells one connection, from its set-up to its end. */
int vhu_story_connection(struct story *s, const struct segment *seg);
