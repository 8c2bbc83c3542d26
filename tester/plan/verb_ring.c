/* Rings and shared memory: ring, memory, log, inflight. */
#include <string.h>

#include "internal.h"

/* Keys of a step that only some of its words take; `set` has a bit for each word. */
struct only {
	const char *key;
	unsigned set;
};

static void check_only(struct compile *c, const struct node *n, const char *verb, const char *const *words,
		       int word, const struct only *rules)
{
	for (; rules->key; rules++) {
		struct node key = NODE_GET(n, rules->key);

		if (key.json && !(rules->set >> word & 1))
			vhu_diag_key(c->report, key.path, "'%s' does not go with \"%s\": \"%s\"", rules->key,
				     verb, words[word]);
	}
}

static bool need_key(struct compile *c, const struct node *n, const char *key, const char *word)
{
	if (json_object_get(n->json, key))
		return true;
	vhu_diag(c->report, n->path, "'%s' needs '%s'", word, key);
	return false;
}

static bool match_key(struct compile *c, const struct node *n, const char *key, struct vhu_matcher *ret)
{
	struct node match = NODE_GET(n, key);

	return !match.json || vhu_get_match(c, &match, MATCH_NUMBER, VHU_NS_NONE, ret);
}

static bool value_key(struct compile *c, const struct node *n, const char *key, struct vhu_value *ret)
{
	struct node value = NODE_GET(n, key);

	return !value.json || vhu_get_value(c, &value, VHU_NS_NONE, ret);
}

/* --- ring
 * ---------------------------------------------------------------------------------------------------- */

#define ON(op) (1u << VHU_RING_##op)

static const struct only ring_only[] = {
	{"base", ON(START) | ON(STOP)},
	{"save", ON(STOP)},
	{"at", ON(POKE) | ON(FLIP)},
	{"value", ON(POKE) | ON(KICK) | ON(FLIP)},
	{"other", ON(FLIP)},
	{"used", ON(CHECK)},
	{"called", ON(CHECK)},
	{"stale", ON(CHECK)},
	{"error", ON(CHECK)},
	{"kicks", ON(CHECK)},
	{"idle", ON(CHECK)},
	{"settle_ms", ON(CHECK)},
	{0},
};

enum { SPLIT = 1, PACKED = 2 };

/* What of which format can be named; '#' stands for an index. */
static const struct place {
	const char *form;
	unsigned formats;
} places[] = {
	{"desc[#].addr", SPLIT | PACKED},
	{"desc[#].len", SPLIT | PACKED},
	{"desc[#].flags", SPLIT | PACKED},
	{"desc[#].next", SPLIT},
	{"desc[#].id", PACKED},
	{"avail.flags", SPLIT},
	{"avail.idx", SPLIT},
	{"avail.ring[#]", SPLIT},
	{"avail.used_event", SPLIT},
	{"used.flags", SPLIT},
	{"used.idx", SPLIT},
	{"used.ring[#].id", SPLIT},
	{"used.ring[#].len", SPLIT},
	{"used.avail_event", SPLIT},
	{"driver.offset", PACKED},
	{"driver.flags", PACKED},
	{"device.offset", PACKED},
	{"device.flags", PACKED},
	{"inflight.features", SPLIT | PACKED},
	{"inflight.version", SPLIT | PACKED},
	{"inflight.desc_num", SPLIT | PACKED},
	{"inflight.last_batch_head", SPLIT},
	{"inflight.used_idx", SPLIT | PACKED},
	{"inflight.desc[#].inflight", SPLIT | PACKED},
	{"inflight.desc[#].next", SPLIT | PACKED},
	{"inflight.desc[#].counter", SPLIT | PACKED},
	{"inflight.free_head", PACKED},
	{"inflight.old_free_head", PACKED},
	{"inflight.old_used_idx", PACKED},
	{"inflight.used_wrap_counter", PACKED},
	{"inflight.old_used_wrap_counter", PACKED},
	{"inflight.desc[#].last", PACKED},
	{"inflight.desc[#].num", PACKED},
	{"inflight.desc[#].id", PACKED},
	{"inflight.desc[#].flags", PACKED},
	{"inflight.desc[#].len", PACKED},
	{"inflight.desc[#].addr", PACKED},
};

static const char *place_at(void *ctx, size_t i)
{
	return i < VHU_ARRAY_SIZE(places) ? places[i].form : NULL;
}

static const struct place *find_place(const char *form)
{
	for (size_t i = 0; i < VHU_ARRAY_SIZE(places); i++)
		if (!strcmp(places[i].form, form))
			return &places[i];
	return NULL;
}

static bool in_inflight(const char *at)
{
	return at && !strncmp(at, "inflight.", strlen("inflight."));
}

/* A descriptor of a split ring lies where the case says; in a packed one it depends on what was before. */
static void check_format(struct compile *c, const struct path *at, const struct place *place)
{
	bool packed = c->file->ring == FILE_RING_PACKED;

	vhu_plan_split_only(c, "places in the ring");
	if (!(place->formats & (packed ? PACKED : SPLIT)))
		vhu_diag(c->report, at, "'%s' is not in %s ring", place->form,
			 packed ? "a packed" : "a split");
}

/* Puts indexes into `ret` as numbers ("desc[$i]" too), and a '#' for each into `form`. */
static bool number_indexes(struct compile *c, const struct node *n, const char *text, struct vhu_buf *ret,
			   struct vhu_buf *form)
{
	while (*text) {
		const char *open = strchr(text, '['), *close = open ? strchr(open, ']') : NULL;
		json_t *index;
		uint64_t u;
		bool ok;

		if (!close) {
			vhu_buf_puts(ret, text);
			vhu_buf_puts(form, text);
			break;
		}
		vhu_buf_add(ret, text, (size_t)(open - text));
		vhu_buf_add(form, text, (size_t)(open - text));
		index = json_stringn(open + 1, (size_t)(close - open - 1));
		ok = vhu_get_count(c, &(struct node){index, n->path, n->scope}, "an index", 0,
				   VHU_C_VRING_SIZE_MAX - 1, &u);
		json_decref(index);
		if (!ok)
			return false;
		vhu_buf_printf(ret, "[%llu]", (unsigned long long)u);
		vhu_buf_puts(form, "[#]");
		text = close + 1;
	}
	return true;
}

/* `at`: a place in the ring or in its inflight region. NULL: there is none, which is told. */
static const char *place_key(struct compile *c, const struct node *n)
{
	struct node at = NODE_GET(n, "at");
	struct vhu_buf text = {0}, form = {0};
	const char *text_at = NULL;
	char near[HINT_CAP];

	if (number_indexes(c, &at, json_string_value(at.json), &text, &form)) {
		const struct place *place = find_place(vhu_buf_text(&form));

		if (!place)
			vhu_diag(c->report, at.path, "no place '%s' in a ring%s", json_string_value(at.json),
				 vhu_hint(near, vhu_buf_text(&form), place_at, NULL));
		else
			check_format(c, at.path, place);
		text_at = vhu_plan_text(c, vhu_buf_text(&text));
	}
	vhu_buf_done(&text);
	vhu_buf_done(&form);
	return text_at;
}

static void ring_poke(struct compile *c, const struct node *n, struct vhu_step_ring *r)
{
	const char *word = vhu_words_ring[r->op];
	struct node at = NODE_GET(n, "at");

	/* The inflight region may be made what a back-end leaves that dies: that breaks no rule. */
	if (!json_object_get(n->json, "breaks") && !in_inflight(json_string_value(at.json)))
		vhu_diag(c->report, n->path, "'%s' needs 'breaks': it writes what no driver writes", word);
	if (need_key(c, n, "at", word))
		r->at = place_key(c, n);
	if (need_key(c, n, "value", word))
		value_key(c, n, "value", &r->value);
	if (r->op == VHU_RING_FLIP && need_key(c, n, "other", word))
		value_key(c, n, "other", &r->other);
	if (r->op == VHU_RING_FLIP && in_inflight(r->at))
		vhu_diag(c->report, at.path, "'flip' changes what is in the ring");
}

static void ring_check(struct compile *c, const struct node *n, struct vhu_step_ring *r)
{
	json_t *settle = json_object_get(n->json, "settle_ms");

	match_key(c, n, "used", &r->used);
	match_key(c, n, "called", &r->called);
	match_key(c, n, "stale", &r->stale);
	match_key(c, n, "error", &r->error);
	match_key(c, n, "kicks", &r->kicks);
	r->idle = vhu_get_bool(n, "idle", false);
	r->settle_ms = json_is_integer(settle) ? (uint32_t)json_integer_value(settle) : 0;
	if (!json_object_get(n->json, "used") && !json_object_get(n->json, "called") &&
	    !json_object_get(n->json, "stale") && !json_object_get(n->json, "error") &&
	    !json_object_get(n->json, "kicks") && !r->idle)
		vhu_diag(c->report, n->path,
			 "nothing to check: give 'used', 'called', 'stale', 'error', 'kicks' or 'idle'");
}

/* The base that `start` sets is a value, not a condition. */
static void start_base(struct compile *c, const struct node *n)
{
	struct node base = NODE_GET(n, "base");

	if (json_is_object(base.json) &&
	    (json_object_size(base.json) != 1 || !json_object_get(base.json, "eq")))
		vhu_diag(c->report, base.path, "'start' sets one base: give a value");
}

void vhu_verb_ring(struct compile *c, const struct node *n, struct vhu_step *step)
{
	struct vhu_step_ring *r = &step->ring;
	struct node save = NODE_GET(n, "save");
	const struct layouts base = {{VHU_PL_VRING_BASE, VHU_PL_VRING_BASE}, "the reply to GET_VRING_BASE"};
	int word = vhu_get_word(n, "ring", vhu_words_ring, 0);

	r->op = (enum vhu_ring_op)word;
	check_only(c, n, "ring", vhu_words_ring, word, ring_only);
	vhu_get_queue(c, n, &r->queue);
	match_key(c, n, "base", &r->base);
	if (r->base.n)
		vhu_plan_split_only(c, "indexes");
	if (r->op == VHU_RING_START)
		start_base(c, n);
	if (save.json && r->op == VHU_RING_STOP)
		vhu_get_saves(c, &save, &base, 0, &r->save, &r->n_save);
	if (r->op == VHU_RING_KICK)
		value_key(c, n, "value", &r->value);
	else if (r->op == VHU_RING_POKE || r->op == VHU_RING_FLIP)
		ring_poke(c, n, r);
	else if (r->op == VHU_RING_CHECK)
		ring_check(c, n, r);
}

/* --- memory
 * ------------------------------------------------------------------------------------------------------ */

#undef ON
#define ON(op) (1u << VHU_MEMORY_##op)

static const struct only memory_only[] = {
	{"regions", ON(MAP) | ON(ADD) | ON(REMOVE)},
	{"gpa", ON(FILL) | ON(CHECK) | ON(FAULTED)},
	{"len", ON(FILL) | ON(CHECK) | ON(FAULTED)},
	{"pattern", ON(FILL) | ON(CHECK)},
	{"match", ON(CHECK)},
	{"value", ON(FILL)},
	{"byte_order", ON(FILL)},
	{"quirk", ON(CHECK)},
	{"wait", ON(CHECK)},
	{0},
};

static void memory_bytes(struct compile *c, const struct node *n, struct vhu_step_memory *m)
{
	struct node pattern = NODE_GET(n, "pattern"), match = NODE_GET(n, "match");
	const char *word = vhu_words_memory[m->op];
	const char *order = json_string_value(json_object_get(n->json, "byte_order"));

	if (need_key(c, n, "gpa", word))
		value_key(c, n, "gpa", &m->gpa);
	if (need_key(c, n, "len", word))
		value_key(c, n, "len", &m->len);
	value_key(c, n, "value", &m->value);
	if (pattern.json && m->value.n)
		vhu_diag(c->report, n->path, "'fill' takes either 'pattern' or 'value'");
	m->pattern = (unsigned)vhu_word_index(vhu_words_pattern, "zero");
	vhu_get_pattern(c, &pattern, &m->pattern, &m->pattern_arg);
	if (pattern.json && (!strcmp(vhu_words_pattern[m->pattern], "stamp") ||
			     !strcmp(vhu_words_pattern[m->pattern], "seed")))
		vhu_diag(c->report, pattern.path, "memory takes fill:AB or zero");
	m->big = order && !strcmp(order, "big");
	if (order && !m->value.n)
		vhu_diag_key(c->report, n->path, "'byte_order' goes with 'value'");
	m->quirk = vhu_get_bool(n, "quirk", false);
	m->wait = vhu_get_bool(n, "wait", false);
	if (match.json)
		vhu_get_bytes(c, &match, &m->match, &m->n_match);
	if (m->op == VHU_MEMORY_CHECK && !match.json == !pattern.json)
		vhu_diag(c->report, n->path, "'check' needs either 'match' or 'pattern'");
}

void vhu_verb_memory(struct compile *c, const struct node *n, struct vhu_step *step)
{
	static const char *const keys[] = {"gpa", "size", "uaddr", "offset", NULL};
	struct vhu_step_memory *m = &step->memory;
	struct node regions = NODE_GET(n, "regions");
	int word = vhu_get_word(n, "memory", vhu_words_memory, 0);

	m->op = (enum vhu_memory_op)word;
	check_only(c, n, "memory", vhu_words_memory, word, memory_only);
	if (regions.json)
		vhu_get_regions(c, &regions, keys, &m->regions, &m->n_regions);
	if (m->op != VHU_MEMORY_MAP && m->n_regions > 1)
		vhu_diag(c->report, regions.path, "'%s' speaks of one region", vhu_words_memory[word]);
	if (m->op == VHU_MEMORY_FILL || m->op == VHU_MEMORY_CHECK || m->op == VHU_MEMORY_FAULTED)
		memory_bytes(c, n, m);
}

/* --- log ------------------------------------------------------------------------------------------- */

#undef ON
#define ON(op) (1u << VHU_LOG_##op)

static const struct only log_only[] = {
	{"queues", ON(START) | ON(STOP)},
	{"offset", ON(START)},
	{"dirty", ON(CHECK)},
	{"only", ON(CHECK)},
	{"at_once", ON(CHECK)},
	{"marked", ON(CHECK)},
	{0},
};

static void log_queues(struct compile *c, const struct node *n, struct vhu_step_log *l)
{
	size_t count = json_array_size(n->json);
	unsigned *queues = count ? vhu_plan_take(c, count, sizeof(*queues)) : NULL;

	for (size_t i = 0; queues && i < count; i++) {
		struct node queue = NODE_AT(n, i);
		uint64_t q;

		if (vhu_get_count(c, &queue, "a queue", 0, VHU_LAYOUT_RINGS_MAX - 1, &q) &&
		    vhu_queue_use(c, queue.path, q))
			queues[i] = (unsigned)q;
	}
	l->queues = queues;
	l->n_queues = queues ? count : 0;
}

static void get_dirty(struct compile *c, const struct node *n, struct vhu_dirty *d)
{
	struct node ring = NODE_GET(n, "ring"), buffers = NODE_GET(n, "buffers");
	bool place = json_object_get(n->json, "gpa");
	uint64_t q;

	d->ring = -1;
	if ((buffers.json != NULL) + (ring.json != NULL) + place != 1 ||
	    !place != !json_object_get(n->json, "len")) {
		vhu_diag(c->report, n->path, "give 'buffers', 'ring', or 'gpa' with 'len'");
		return;
	}
	if (buffers.json && vhu_tag_check(c, buffers.path, json_string_value(buffers.json)))
		d->buffers = vhu_plan_text(c, json_string_value(buffers.json));
	if (ring.json && vhu_get_count(c, &ring, "a queue", 0, VHU_LAYOUT_RINGS_MAX - 1, &q) &&
	    vhu_queue_use(c, ring.path, q))
		d->ring = (int)q;
	value_key(c, n, "gpa", &d->gpa);
	value_key(c, n, "len", &d->len);
}

void vhu_verb_log(struct compile *c, const struct node *n, struct vhu_step *step)
{
	struct vhu_step_log *l = &step->log;
	struct node queues = NODE_GET(n, "queues"), dirty = NODE_GET(n, "dirty"),
		    offset = NODE_GET(n, "offset");
	int word = vhu_get_word(n, "log", vhu_words_log, 0);
	struct vhu_dirty *list;

	l->op = (enum vhu_log_op)word;
	check_only(c, n, "log", vhu_words_log, word, log_only);
	log_queues(c, &queues, l);
	if (offset.json && vhu_get_count(c, &offset, "an offset", 0, UINT32_MAX, &l->offset) &&
	    l->offset % VHU_C_LOG_PAGE)
		vhu_diag(c->report, offset.path, "a log starts at a multiple of %d", VHU_C_LOG_PAGE);
	l->only = vhu_get_bool(n, "only", false);
	l->at_once = vhu_get_bool(n, "at_once", false);
	match_key(c, n, "marked", &l->marked);
	l->n_dirty = json_array_size(dirty.json);
	list = vhu_plan_take(c, l->n_dirty, sizeof(*list));
	for (size_t i = 0; list && i < l->n_dirty; i++) {
		struct node d = NODE_AT(&dirty, i);

		get_dirty(c, &d, &list[i]);
	}
	l->dirty = list;
	if (l->op == VHU_LOG_CHECK && !l->n_dirty && !l->only && !json_object_get(n->json, "marked"))
		vhu_diag(c->report, n->path, "nothing to check: give 'dirty', 'only' or 'marked'");
}

/* --- inflight
 * -------------------------------------------------------------------------------------------------------- */

#undef ON
#define ON(op) (1u << VHU_INFLIGHT_##op)

static const struct only inflight_only[] = {
	{"queues", ON(GET)},	 {"queue_size", ON(GET)}, {"entries", ON(CHECK)}, {"version", ON(CHECK)},
	{"desc_num", ON(CHECK)}, {"used_idx", ON(CHECK)}, {"counter", ON(CHECK)}, {"at", ON(CHECK)},
	{"is", ON(CHECK)},	 {"queue", ON(CHECK)},	  {0},
};

void vhu_verb_inflight(struct compile *c, const struct node *n, struct vhu_step *step)
{
	struct vhu_step_inflight *f = &step->inflight;
	struct node at = NODE_GET(n, "at");
	int word = vhu_get_word(n, "inflight", vhu_words_inflight, 0);

	f->op = (enum vhu_inflight_op)word;
	check_only(c, n, "inflight", vhu_words_inflight, word, inflight_only);
	value_key(c, n, "queues", &f->queues);
	value_key(c, n, "queue_size", &f->queue_size);
	vhu_get_queue(c, n, &f->queue);
	match_key(c, n, "entries", &f->entries);
	match_key(c, n, "version", &f->version);
	match_key(c, n, "desc_num", &f->desc_num);
	match_key(c, n, "used_idx", &f->used_idx);
	match_key(c, n, "counter", &f->counter);
	match_key(c, n, "is", &f->is);
	if (at.json && need_key(c, n, "is", "at")) {
		f->at = place_key(c, n);
		if (f->at && !in_inflight(f->at))
			vhu_diag(c->report, at.path, "'%s' is not in the inflight region", f->at);
	}
	if (json_object_get(n->json, "is"))
		need_key(c, n, "at", "is");
	if (f->op == VHU_INFLIGHT_CHECK && !at.json && !json_object_get(n->json, "entries") &&
	    !json_object_get(n->json, "version") && !json_object_get(n->json, "desc_num") &&
	    !json_object_get(n->json, "used_idx") && !json_object_get(n->json, "counter"))
		vhu_diag(c->report, n->path,
			 "nothing to check: give 'at', 'entries', 'version', 'desc_num', 'used_idx' or "
			 "'counter'");
}

/* --- device state ---------------------------------------------------------------------------------- */

#undef ON
#define ON(op) (1u << VHU_TRANSFER_##op)

static const struct only state_only[] = {
	{"size", ON(READ)}, {"count", ON(READ)},   {"content", ON(WRITE)},
	{"len", ON(WRITE)}, {"pieces", ON(WRITE)}, {0},
};

static void count_key(struct compile *c, const struct node *n, const char *key, uint64_t max, uint64_t *ret)
{
	struct node count = NODE_GET(n, key);

	if (count.json)
		vhu_get_count(c, &count, key, 1, max, ret);
}

void vhu_verb_state(struct compile *c, const struct node *n, struct vhu_step *step)
{
	struct vhu_step_state *s = &step->state;
	int word = vhu_get_word(n, "state", vhu_words_transfer, 0);

	s->op = (enum vhu_transfer_op)word;
	check_only(c, n, "state", vhu_words_transfer, word, state_only);
	match_key(c, n, "size", &s->size);
	s->content = vhu_get_word(n, "content", vhu_words_content, VHU_CONTENT_SAVED);
	s->pieces = 1;
	count_key(c, n, "count", LIMIT_STATE_BYTES, &s->count);
	count_key(c, n, "len", LIMIT_STATE_BYTES, &s->len);
	count_key(c, n, "pieces", LIMIT_STATE_PIECES, &s->pieces);
	if (s->op == VHU_TRANSFER_WRITE && (s->content == VHU_CONTENT_RANDOM) != (s->len != 0))
		vhu_diag(c->report, n->path, "'len' goes with \"content\": \"random\", and that needs it");
}
