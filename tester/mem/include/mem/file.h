/* Files that are shared with a target: ours, which it cannot cut short, and its own, which it can. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * A memfd of so many zero bytes. Nobody who gets it can make it shorter: what we map of it stays.
 * `flags` are further ones of memfd_create, `seals` further ones that it gets. -1 and errno on failure.
 */
int vhu_memfd(const char *name, uint64_t size, unsigned flags, int seals);

/*
 * Runs look(ctx), which may read and write mappings of a file that somebody else can cut short. False: the
 * file ended under it, and look did not come to its end; it holds nothing that would have to be given back.
 */
bool vhu_mem_guarded(void (*look)(void *ctx), void *ctx);
