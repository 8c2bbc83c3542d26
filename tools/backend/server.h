/*
 * Where connections come from.
 */
#ifndef BACKEND_SERVER_H
#define BACKEND_SERVER_H

#include <stdbool.h>

/* Listens, or finds out what the inherited descriptor is. Says what went wrong. */
int server_open(void);
/* The next connection; -1 when there will be none. */
int server_next(void);
/* Closes the socket and removes its file. */
void server_close(void);

#endif
