/*
 * Kick, call and error descriptors: eventfds or pipes of the peer's, blocking or not.
 */
#ifndef BACKEND_NOTIFY_H
#define BACKEND_NOTIFY_H

#include <stdbool.h>

/* Whether fd is of a kind that can carry notifications. */
bool notify_usable(int fd);
/* Signals; a full or dead peer is not an error. */
void notify_signal(int fd);
/* Takes what was signalled. False once nothing will ever come (closed pipe, not readable). */
bool notify_take(int fd, unsigned long long *ret_count);

#endif
