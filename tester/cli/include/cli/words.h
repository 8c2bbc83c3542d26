/* Columns of the requirement table in words. */
#pragma once

#include "spec/spec.h"

const char *vhu_party_words(enum vhu_party p);	/* "the back-end" … */
const char *vhu_since_words(enum vhu_since s);	/* "7.2" … */
const char *vhu_seen_words(enum vhu_seen s);	/* "yes", "partly", "no" */
