/*
 * Where a value stands in a JSON text. jansson knows positions only while it parses; this
 * scanner walks the text again, only when there is an error to report.
 */
#pragma once

#include "base/util.h"

struct vhu_json_pos {
	unsigned line;		/* from 1 */
	unsigned column;	/* from 1, in bytes */
};

/*
 * The position of the value at `path` ("/steps/3/with/num", RFC 6901 with ~0 and ~1; "" is
 * the whole text). With `key` true, of the member's key instead of its value. Works on any
 * text that jansson accepted. False if there is no such path; *ret is then the nearest
 * ancestor that exists.
 */
bool vhu_json_find(const char *text, size_t len, const char *path, bool key, struct vhu_json_pos *ret);
