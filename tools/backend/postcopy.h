/*
 * Postcopy: the front-end gets our userfaultfd and serves the pages that have not arrived.
 */
#ifndef BACKEND_POSTCOPY_H
#define BACKEND_POSTCOPY_H

#include <stdbool.h>

#include "wire.h"

struct session;
struct region;

struct postcopy {
	int fd; /* the userfaultfd; -1: not advised */
	bool listening;
	bool ack_due; /* the bases were told, the front-end has to acknowledge them */
};

/* Whether this process may open a userfaultfd at all. */
bool postcopy_possible(void);
/* In listen mode: registers regions and answers with where they are. False: they cannot be registered. */
bool postcopy_tell_bases(struct session *s, struct msg *m, const struct region *regions, unsigned n,
			 unsigned at);
/* The front-end's acknowledgement of that. */
bool postcopy_is_ack(const struct session *s, const struct msg *m);
void postcopy_close(struct session *s);

#endif
