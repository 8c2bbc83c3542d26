#include "capabilities.h"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>

#include "channel/program.h"
#include "internal.h"

/* A program that takes the option for something else may run on. */
static const uint64_t patience_ns = UINT64_C(1000000000);

/* The schema's names of types that have no device of ours, or another name there. */
static const struct {
	const char *type;
	enum vhu_device device;
} types[] = {
	{"block", VHU_DEV_BLK}, {"9p", VHU_DEV_ANY},	{"balloon", VHU_DEV_ANY},
	{"caif", VHU_DEV_ANY},	{"rpmsg", VHU_DEV_ANY}, {"rproc-serial", VHU_DEV_ANY},
};

/* Types whose features are listed. */
static const struct {
	const char *type, *feature;
} features[] = {
	{"block", "read-only"}, {"block", "blk-file"},	{"input", "evdev-path"},
	{"input", "no-grab"},	{"gpu", "render-node"}, {"gpu", "virgl"},
};

json_t *vhu_capabilities_parse(const char *text)
{
	json_t *json = json_loads(text, 0, NULL);

	if (json_is_object(json))
		return json;
	json_decref(json);
	return NULL;
}

static bool known_feature(const char *type, const char *feature)
{
	bool listed = false;

	for (size_t i = 0; i < VHU_ARRAY_SIZE(features); i++) {
		if (strcmp(features[i].type, type))
			continue;
		listed = true;
		if (feature && !strcmp(features[i].feature, feature))
			return true;
	}
	return !listed && feature;
}

static bool known_type(const char *type)
{
	for (size_t i = 0; i < VHU_ARRAY_SIZE(types); i++)
		if (!strcmp(types[i].type, type))
			return true;
	return vhu_device_by_name(type);
}

bool vhu_capabilities_known(const json_t *json, char *what, size_t cap)
{
	const char *type = json_string_value(json_object_get(json, "type"));
	json_t *list = json_object_get(json, "features");

	if (!type || !known_type(type)) {
		snprintf(what, cap, type ? "the type '%s'" : "no type%s", type ? type : "");
		return false;
	}
	if (list && !json_is_array(list)) {
		snprintf(what, cap, "'features' that are no array");
		return false;
	}
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *feature = json_string_value(json_array_get(list, i));

		if (known_feature(type, feature))
			continue;
		snprintf(what, cap, feature ? "the feature '%s'" : "a feature that is no text%s",
			 feature ? feature : "");
		return false;
	}
	return true;
}

bool vhu_capabilities_list(const json_t *json, const char *feature)
{
	json_t *list = json_object_get(json, "features");

	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *name = json_string_value(json_array_get(list, i));

		if (name && !strcmp(name, feature))
			return true;
	}
	return false;
}

enum vhu_device vhu_capabilities_device(const json_t *json)
{
	const char *type = json_string_value(json_object_get(json, "type"));
	const struct vhu_device_row *row = type ? vhu_device_by_name(type) : NULL;

	for (size_t i = 0; type && i < VHU_ARRAY_SIZE(types); i++)
		if (!strcmp(types[i].type, type))
			return types[i].device;
	return row ? row->device : VHU_DEV_ANY;
}

void vhu_capabilities_done(struct vhu_capabilities *c)
{
	json_decref(c->json);
	*c = (struct vhu_capabilities){0};
}

/* What came of it. */
static int note(struct vhu_capabilities *c, const struct vhu_program *p, struct vhu_err *err)
{
	_cleanup_(vhu_freep) char *text = vhu_program_output(p);

	if (!text)
		return vhu_err_set(err, -ENOMEM, "out of memory");
	c->json = vhu_capabilities_parse(text);
	c->in_order = !vhu_program_crashed(p) && WEXITSTATUS(vhu_program_status(p)) == 0;
	vhu_program_describe(p, c->end, sizeof(c->end));
	if (!c->json)
		snprintf(c->why, sizeof(c->why), "it prints no JSON object for --print-capabilities");
	return 0;
}

int vhu_engine_capabilities(struct vhu_engine *e, struct vhu_err *err)
{
	struct vhu_capabilities *c = &e->capabilities;
	struct vhu_program *p = NULL;
	struct vhu_err why = {0};
	int r;

	if (c->looked)
		return c->json != NULL;
	r = vhu_program_start(e->target, VHU_PROGRAM_CAPABILITIES, NULL, &p, &why);
	if (r == 0)
		r = vhu_program_await(p, vhu_loop_now(e->loop) + patience_ns, &why);
	if (r == 0) {
		r = note(c, p, &why);
	} else if (r != -EINTR) {
		snprintf(c->why, sizeof(c->why), "%.190s",
			 r == -ETIME ? "it runs on when asked for --print-capabilities" : why.text);
		r = r == -ENOMEM ? r : 0;
	}
	if (p)
		vhu_program_free(p);
	if (r < 0) {
		if (err)
			*err = why;
		return r;
	}
	c->looked = true;
	return c->json != NULL;
}
