/*
 * Which records of a capture somebody wants to see: terms that all have to fit, parted by blanks.
 *
 *   SET_VRING_*            the name of a message ("kick", "connect" … of other records), as a glob
 *   !GET_*                 not that
 *   channel=main|backend   also ring, mem, life, gpu, state, meta
 *   dir=fe                 who sent it: fe, be
 *   type=request           request, reply, other
 *   session=2  record=10  fds=1  size=40
 *   index=1  num>=256      a field of the payload, by its name; bits too (no_fd=1)
 *
 * Numbers take = != < <= > >=, texts = and !=. `|` stands between values of = and !=.
 */
#pragma once

#include "trace/record.h"

struct vhu_filter;

/* -EINVAL with text: what is wrong, and where. */
int vhu_filter_parse(const char *text, struct vhu_filter **ret, struct vhu_err *err);
bool vhu_filter_match(const struct vhu_filter *f, const struct vhu_record *r);
void vhu_filter_free(struct vhu_filter *f);
