/* What a case needs of its target, and whether this one has it. */
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "internal.h"

struct needs {
	struct compile *c;
	bool negotiated;
	bool met;
	char *why;
	size_t cap;
};

/* The first reason is the one that is told. */
static void VHU_PRINTF(2, 3) unmet(struct needs *n, const char *format, ...)
{
	va_list args;

	if (!n->met)
		return;
	n->met = false;
	va_start(args, format);
	vsnprintf(n->why, n->cap, format, args);
	va_end(args);
}

/* --- devices ---------------------------------------------------------------------------------------- */

static const char *device_name_at(void *ctx, size_t i)
{
	return i < VHU_DEV_MAX ? vhu_device_row((enum vhu_device)i)->name : NULL;
}

static const char *device_name(enum vhu_device device)
{
	return device < VHU_DEV_MAX ? vhu_device_row(device)->name : "unknown";
}

static void need_device(struct needs *n, const struct node *list)
{
	bool found = !list->json;
	struct vhu_buf names = {0};
	char near[HINT_CAP];

	for (size_t i = 0; i < json_array_size(list->json); i++) {
		struct node name = NODE_AT(list, i);
		const char *text = json_string_value(name.json);
		const struct vhu_device_row *row = text ? vhu_device_by_name(text) : NULL;

		if (text && !row)
			vhu_diag(n->c->report, name.path, "no device '%s'%s", text,
				 vhu_hint(near, text, device_name_at, NULL));
		if (!row)
			continue;
		vhu_buf_printf(&names, "%s%s", names.len ? " or " : "", row->name);
		found |= row->device == n->c->facts.device;
	}
	/* The union is every device that the case names. */
	if (!found && (n->c->facts.known || n->negotiated))
		unmet(n, "needs a %s device, the target's is %s%s", vhu_buf_text(&names),
		      device_name(n->c->facts.device),
		      n->c->facts.device == VHU_DEV_ANY ? " (--device tells)" : "");
	vhu_buf_done(&names);
}

/* --- features ----------------------------------------------------------------------------------------- */

static const char *kind_name(enum vhu_namespace ns)
{
	return ns == VHU_NS_VIRTIO ? "feature" : "protocol feature";
}

static uint64_t have(const struct needs *n, enum vhu_namespace ns)
{
	if (ns == VHU_NS_VIRTIO)
		return n->negotiated ? n->c->when_features : n->c->facts.features;
	return n->negotiated ? n->c->plan->pfeatures : n->c->facts.pfeatures;
}

/* Whether a bit means what the name says on this device. */
static bool of_this_device(const struct needs *n, const struct vhu_feature_row *row)
{
	return row->device == VHU_DEV_ANY || row->device == n->c->facts.device ||
	       (!n->c->facts.known && !n->c->file->n_devices);
}

static bool has(const struct needs *n, enum vhu_namespace ns, const struct vhu_feature_row *row)
{
	return of_this_device(n, row) && (have(n, ns) >> row->bit & 1);
}

static void need_all(struct needs *n, const struct node *list, enum vhu_namespace ns)
{
	for (size_t i = 0; i < json_array_size(list->json); i++) {
		struct node name = NODE_AT(list, i);
		const struct vhu_feature_row *row = vhu_get_feature(n->c, &name, ns);

		if (!row || has(n, ns, row))
			continue;
		if (of_this_device(n, row))
			unmet(n, "needs %s %s, which the target does not offer", kind_name(ns), row->name);
		else
			unmet(n, "needs %s, a feature of %s devices; the target's is %s", row->name,
			      device_name(row->device), device_name(n->c->facts.device));
	}
}

static void need_none(struct needs *n, const struct node *list, enum vhu_namespace ns)
{
	for (size_t i = 0; i < json_array_size(list->json); i++) {
		struct node name = NODE_AT(list, i);
		const struct vhu_feature_row *row = vhu_get_feature(n->c, &name, ns);

		if (row && has(n, ns, row))
			unmet(n, "needs a target without %s %s, this one offers it", kind_name(ns),
			      row->name);
	}
}

static void need_one(struct needs *n, const struct node *list, enum vhu_namespace ns)
{
	struct vhu_buf names = {0};
	bool found = !json_array_size(list->json);

	for (size_t i = 0; i < json_array_size(list->json); i++) {
		struct node name = NODE_AT(list, i);
		const struct vhu_feature_row *row = vhu_get_feature(n->c, &name, ns);

		if (!row)
			continue;
		vhu_buf_printf(&names, "%s%s", names.len ? ", " : "", row->name);
		found |= has(n, ns, row);
	}
	if (!found)
		unmet(n, "needs one of the %ss %s, the target offers none", kind_name(ns),
		      vhu_buf_text(&names));
	vhu_buf_done(&names);
}

static void need_features(struct needs *n, const struct node *object,
			  void (*check)(struct needs *n, const struct node *list, enum vhu_namespace ns))
{
	struct node features = NODE_GET(object, "features"),
		    pfeatures = NODE_GET(object, "protocol_features");

	check(n, &features, VHU_NS_VIRTIO);
	check(n, &pfeatures, VHU_NS_PROTOCOL);
}

/* --- numbers and config space -------------------------------------------------------------------- */

static void need_numbers(struct needs *n, const struct node *needs)
{
	json_int_t queues = json_integer_value(json_object_get(needs->json, "queues"));
	json_int_t slots = json_integer_value(json_object_get(needs->json, "mem_slots"));
	struct node capacity = NODE_GET(needs, "capacity");
	const struct vhu_facts *f = &n->c->facts;
	uint64_t sectors;

	if (queues > (json_int_t)f->queues)
		unmet(n, "needs %" JSON_INTEGER_FORMAT " rings, the target has %u", queues, f->queues);
	if (slots > 0 && (uint64_t)slots > f->mem_slots)
		unmet(n, "needs %" JSON_INTEGER_FORMAT " memory slots, the target has %" PRIu64, slots,
		      f->mem_slots);
	if (capacity.json && vhu_get_count(n->c, &capacity, "the capacity", 0, UINT64_MAX, &sectors) &&
	    sectors > f->capacity)
		unmet(n, "needs a disk of %" PRIu64 " sectors, this one has %" PRIu64, sectors, f->capacity);
}

static const char *config_field_at(void *ctx, size_t i)
{
	const struct vhu_config_row *row = vhu_config_row(*(const enum vhu_device *)ctx, i);

	return row ? row->field : NULL;
}

static void need_field(struct needs *n, const struct node *match, const char *name)
{
	struct compile *c = n->c;
	enum vhu_device device = c->facts.device;
	const struct vhu_config_row *row = device < VHU_DEV_MAX ? vhu_config_by_name(device, name) : NULL;
	struct vhu_matcher m;
	char text[160], near[HINT_CAP];
	uint64_t value;
	size_t term;

	if (!row && !c->facts.known)
		vhu_diag_key(c->report, match->path, "config space of %s has no field '%s'%s",
			     device_name(device), name, vhu_hint(near, name, config_field_at, &device));
	if (!vhu_get_match(c, match, MATCH_NUMBER, VHU_NS_NONE, &m) || (row && !c->facts.known))
		return;
	if (!row || row->offset + row->size > c->facts.config_size || row->size > 8) {
		unmet(n, "needs '%s' of config space, which the target does not show", name);
		return;
	}
	if (row->feature && !(row->feature & c->facts.features)) {
		unmet(n, "needs '%s' of config space, which its feature bit does not make valid", name);
		return;
	}
	value = vhu_le_get(c->facts.config + row->offset, row->size);
	if (vhu_match_u64(&m, value, NULL, NULL, &term) == 1)
		return;
	vhu_matcher_describe(&m, NULL, NULL, text, sizeof(text));
	unmet(n, "needs config space with %s %s, the target has %" PRIu64, name, text, value);
}

static void need_config(struct needs *n, const struct node *needs)
{
	struct node config = NODE_GET(needs, "config");
	const char *name;
	json_t *value;

	json_object_foreach(config.json, name, value) {
		struct node match = NODE_GET(&config, name);

		need_field(n, &match, name);
	}
}

/* A disk that is written zone by zone is no place for a case that knows nothing of zones. */
static void need_any_sector(struct needs *n, const struct node *device, const struct node *features)
{
	bool zoned = false;

	for (size_t i = 0; i < json_array_size(features->json); i++) {
		const char *name = json_string_value(json_array_get(features->json, i));

		zoned |= name && !strcmp(name, "VIRTIO_BLK_F_ZONED");
	}
	if (device->json && !n->negotiated && !zoned && vhu_facts_host_managed(&n->c->facts))
		unmet(n, "needs a disk without zones, this one is host-managed");
}

bool vhu_needs_met(struct compile *c, const struct node *needs, bool negotiated, char *why, size_t cap)
{
	struct needs n = {.c = c, .negotiated = negotiated, .met = true, .why = why, .cap = cap};
	struct node device = NODE_GET(needs, "device"), without = NODE_GET(needs, "without"),
		    any = NODE_GET(needs, "any"), features = NODE_GET(needs, "features");
	const char *ring = json_string_value(json_object_get(needs->json, "ring"));

	need_device(&n, &device);
	need_any_sector(&n, &device, &features);
	need_features(&n, needs, need_all);
	need_features(&n, &without, need_none);
	need_features(&n, &any, need_one);
	need_numbers(&n, needs);
	need_config(&n, needs);
	if (vhu_get_bool(needs, "spawn", false) && !c->facts.spawn)
		unmet(&n, "needs a target that we start and stop ourselves: --spawn");
	if (vhu_get_bool(needs, "hugetlb", false) && !c->facts.hugetlb)
		unmet(&n, "needs huge pages, none are free here");
	if (ring && !strcmp(ring, "packed") && !(c->facts.features & VHU_V(VIRTIO_F_RING_PACKED)))
		unmet(&n, "needs packed rings, which the target does not offer");
	return n.met;
}
