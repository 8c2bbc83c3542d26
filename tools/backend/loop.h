/*
 * One epoll loop for everything that can become ready, and the signals that end or reload the program.
 */
#ifndef BACKEND_LOOP_H
#define BACKEND_LOOP_H

#include <stdbool.h>
#include <stdint.h>

/* Something to wait for; embedded in its owner. fd is -1 while it is not watched. */
struct source {
	int fd;
	void (*ready)(struct source *src, uint32_t events);
};

#define owner_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Sets up epoll and the signal handlers; path is removed at the end, also at a forced one (may be NULL). */
int loop_init(const char *path);
void loop_done(void);

int loop_add(struct source *src, int fd, uint32_t events);
void loop_change(struct source *src, uint32_t events);
void loop_remove(struct source *src);

/* Waits at most timeout_ns (-1: for ever) and calls what is ready. */
void loop_wait(int64_t timeout_ns);

bool loop_stopping(void);
/* True once after each SIGHUP. */
bool loop_reload(void);

uint64_t now_ns(void);

#endif
