/*
 * To look like the back-end of a capture: what it offered and how it answered becomes `options`. Of a file
 * with several back-ends it is the one whose socket this session went over; 0: what all sessions say.
 */
#ifndef BACKEND_LIKE_H
#define BACKEND_LIKE_H

#include "options.h"

/* Reads the capture; ends the program with a message if it is none. What is not in it stays as it is. */
void like_capture(const char *path, uint32_t session);

#endif
