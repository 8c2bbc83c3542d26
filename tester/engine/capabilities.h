/* What a program prints for --print-capabilities. */
#pragma once

#include <jansson.h>

#include "engine/engine.h"

struct vhu_target;

struct vhu_capabilities {
	bool looked;		/* it was asked */
	json_t *json;		/* an object; NULL: it does not follow the conventions */
	char why[200];		/* and how that showed */
	bool in_order;		/* it ended with status 0 */
	char end[160];
};

/*
 * Starts the program with --print-capabilities, once in an engine's life. Whether it follows the conventions,
 * by which it prints a JSON object; -EINTR.
 */
int vhu_engine_capabilities(struct vhu_engine *e, struct vhu_err *err);
void vhu_capabilities_done(struct vhu_capabilities *c);
/* Parses the output of a program: an object, or NULL. */
json_t *vhu_capabilities_parse(const char *text);
/* Whether the type is known, and its features where these are listed; says in `what` which is not. */
bool vhu_capabilities_known(const json_t *json, char *what, size_t cap);
/* Whether that feature is in their list. */
bool vhu_capabilities_list(const json_t *json, const char *feature);
/* The device of its type; VHU_DEV_ANY: it is none that we know. */
enum vhu_device vhu_capabilities_device(const json_t *json);
