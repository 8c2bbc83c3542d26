/* Holds a file against its shape: keys, types and words, before anything is compiled. */
#include <errno.h>
#include <string.h>

#include "internal.h"

/* --- forms of text ------------------------------------------------------------------------------ */

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_upper(char c)
{
	return c >= 'A' && c <= 'Z';
}

static bool is_lower(char c)
{
	return c >= 'a' && c <= 'z';
}

static bool is_hex(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

bool vhu_form_name_ok(const char *text)
{
	if (!is_lower(*text) && *text != '_')
		return false;
	for (text++; *text; text++)
		if (!is_lower(*text) && !is_digit(*text) && *text != '_')
			return false;
	return true;
}

static size_t upper_len(const char *text)
{
	size_t n = 0;

	if (!is_upper(*text))
		return 0;
	while (is_upper(text[n]) || is_digit(text[n]) || text[n] == '_')
		n++;
	return n;
}

bool vhu_form_upper_ok(const char *text)
{
	size_t n = upper_len(text);

	return n && !text[n];
}

/* Bytes of the term at the start of text; 0 if there is none. */
static size_t term_len(const char *text)
{
	size_t n = 0;

	if (text[0] == '0' && text[1] == 'x') {
		for (n = 2; is_hex(text[n]); n++)
			;
		return n > 2 && n <= 18 ? n : 0;
	}
	if (is_digit(text[0])) {
		while (is_digit(text[n]))
			n++;
		return n <= 20 ? n : 0;
	}
	if (text[0] != '$')
		return upper_len(text);
	for (n = 1; is_lower(text[n]) || is_upper(text[n]) || text[n] == '_' ||
		    (n > 1 && (is_digit(text[n]) || text[n] == '.'));
	     n++)
		;
	return n > 1 ? n : 0;
}

static size_t op_len(const char *text)
{
	if (!strncmp(text, "&~", 2))
		return 2;
	return *text && strchr("+-*|&^", *text) ? 1 : 0;
}

bool vhu_form_expr_ok(const char *text)
{
	for (;;) {
		size_t n = term_len(text);

		if (!n)
			return false;
		text += n;
		if (!*text)
			return true;
		n = *text == ' ' ? op_len(text + 1) : 0;
		if (!n || text[1 + n] != ' ')
			return false;
		text += n + 2;
	}
}

static size_t characters(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

/* --- words for people ----------------------------------------------------------------------------- */

const char *vhu_json_type(const json_t *json)
{
	switch (json_typeof(json)) {
	case JSON_OBJECT:
		return "an object";
	case JSON_ARRAY:
		return "a list";
	case JSON_STRING:
		return "a string";
	case JSON_INTEGER:
		return "an integer";
	case JSON_REAL:
		return "a real number";
	case JSON_TRUE:
		return "true";
	case JSON_FALSE:
		return "false";
	case JSON_NULL:
		return "null";
	}
	return "something else";
}

static void describe_words(const char *const *words, struct vhu_buf *out)
{
	if (words[1])
		vhu_buf_puts(out, "one of ");
	for (size_t i = 0; words[i]; i++)
		vhu_buf_printf(out, "%s%s", i ? ", " : "", words[i]);
}

/* What a shape is, in a word; NULL where that takes a list of words, or is several things. */
static const char *shape_name_of(const struct shape *s)
{
	switch (s->kind) {
	case SHAPE_ANYTHING:
		return "anything";
	case SHAPE_TEXT:
		return "a string";
	case SHAPE_FORM:
		return s->form->words;
	case SHAPE_BOOL:
		return "true or false";
	case SHAPE_TRUE:
		return "true";
	case SHAPE_INTEGER:
		return "an integer";
	case SHAPE_EXPR:
		return "an expression";
	case SHAPE_BYTES:
		return "bytes in hex";
	case SHAPE_LIST:
		return "a list";
	case SHAPE_OBJECT:
	case SHAPE_MAP:
	case SHAPE_STEP:
		return "an object";
	case SHAPE_WORD:
	case SHAPE_EITHER:
		break;
	}
	return NULL;
}

/* Appends " or " and what the shape is, each thing once. */
static void describe(const struct shape *s, struct vhu_buf *out)
{
	const char *name = shape_name_of(s);

	if (s->kind == SHAPE_EITHER) {
		for (size_t i = 0; s->any[i]; i++)
			describe(s->any[i], out);
		return;
	}
	if (name && strstr(vhu_buf_text(out), name))
		return;
	if (out->len)
		vhu_buf_puts(out, " or ");
	if (name)
		vhu_buf_puts(out, name);
	else
		describe_words(s->words, out);
}

/* --- types ----------------------------------------------------------------------------------------- */

static bool takes_type(const struct shape *s, const json_t *json)
{
	switch (s->kind) {
	case SHAPE_ANYTHING:
		return true;
	case SHAPE_TEXT:
	case SHAPE_FORM:
	case SHAPE_EXPR:
	case SHAPE_BYTES:
	case SHAPE_WORD:
		return json_is_string(json);
	case SHAPE_BOOL:
		return json_is_boolean(json);
	case SHAPE_TRUE:
		return json_is_true(json);
	case SHAPE_INTEGER:
		return json_is_integer(json);
	case SHAPE_LIST:
		return json_is_array(json);
	case SHAPE_OBJECT:
	case SHAPE_MAP:
	case SHAPE_STEP:
		return json_is_object(json);
	case SHAPE_EITHER:
		for (size_t i = 0; s->any[i]; i++)
			if (takes_type(s->any[i], json))
				return true;
		return false;
	}
	return false;
}

static bool wrong_type(struct report *r, const struct shape *s, const json_t *json, const struct path *at)
{
	struct vhu_buf want = {0};

	describe(s, &want);
	vhu_diag(r, at, "expected %s, not %s", vhu_buf_text(&want), vhu_json_type(json));
	vhu_buf_done(&want);
	return false;
}

/* --- single values ---------------------------------------------------------------------------------- */

static bool check_text(struct report *r, const struct shape *s, json_t *json, const struct path *at)
{
	size_t n = characters(json_string_value(json));

	if (s->max && n > (size_t)s->max) {
		vhu_diag(r, at, "%zu characters, at most %lld are allowed", n, s->max);
		return false;
	}
	if (n < (size_t)s->min) {
		vhu_diag(r, at, "%zu characters, at least %lld are needed", n, s->min);
		return false;
	}
	return true;
}

static bool check_form(struct report *r, const struct shape *s, json_t *json, const struct path *at)
{
	const char *text = json_string_value(json);
	char near[HINT_CAP];

	if (!s->form->ok || s->form->ok(text))
		return true;
	vhu_diag(r, at, "'%s' is not %s%s", text, s->form->words,
		 s->words ? vhu_hint_word(near, text, s->words) : "");
	return false;
}

static bool check_expr(struct report *r, json_t *json, const struct path *at)
{
	const char *text = json_string_value(json);

	if (vhu_form_expr_ok(text))
		return true;
	vhu_diag(r, at,
		 "'%s' is no expression: terms (12, 0x1f, NAME, $variable) joined by + - * | & &~ ^ with one "
		 "space on "
		 "either side",
		 text);
	return false;
}

static bool check_bytes(struct report *r, json_t *json, const struct path *at)
{
	const char *text = json_string_value(json);
	uint8_t bytes[LIMIT_BYTES];
	long n = vhu_hex_parse(text, bytes, sizeof(bytes));

	if (n >= 0)
		return true;
	if (n == -ENOSPC)
		vhu_diag(r, at, "more than %d bytes", LIMIT_BYTES);
	else
		vhu_diag(r, at, "not hex: two digits for each byte, spaces allowed between bytes");
	return false;
}

static bool check_word(struct report *r, const struct shape *s, json_t *json, const struct path *at)
{
	const char *text = json_string_value(json);
	struct vhu_buf want = {0};
	char near[HINT_CAP];

	if (vhu_word_index(s->words, text) >= 0)
		return true;
	describe_words(s->words, &want);
	vhu_diag(r, at, "'%s' is not %s%s", text, vhu_buf_text(&want), vhu_hint_word(near, text, s->words));
	vhu_buf_done(&want);
	return false;
}

static bool check_integer(struct report *r, const struct shape *s, json_t *json, const struct path *at)
{
	long long value = json_integer_value(json);

	if (value < 0 && s->min >= 0)
		vhu_diag(r, at, "%lld is negative", value);
	else if (value < s->min)
		vhu_diag(r, at, "%lld is too small: at least %lld", value, s->min);
	else if (value > s->max && s->max == LIMIT_INTEGER - 1)
		vhu_diag(r, at, "%lld is above 2^53 - 1: write it as a string, \"0x%llx\"", value,
			 (unsigned long long)value);
	else if (value > s->max)
		vhu_diag(r, at, "%lld is too large: at most %lld", value, s->max);
	else
		return true;
	return false;
}

/* --- lists and objects -------------------------------------------------------------------------------- */

static bool check_list(struct report *r, const struct shape *s, json_t *json, const struct path *at)
{
	bool ok = true;

	if (json_array_size(json) < (size_t)s->min) {
		vhu_diag(r, at, s->min > 1 ? "the list needs at least %lld elements" : "the list is empty",
			 s->min);
		ok = false;
	}
	if (s->max && json_array_size(json) > (size_t)s->max) {
		vhu_diag(r, at, "the list takes at most %lld elements", s->max);
		ok = false;
	}
	for (size_t i = 0; i < json_array_size(json); i++) {
		json_t *element = json_array_get(json, i);

		ok &= vhu_shape_check(r, s->of, element, PATH_INDEX(at, i));
		for (size_t k = 0; s->unique && k < i; k++) {
			if (!json_equal(json_array_get(json, k), element))
				continue;
			vhu_diag(r, PATH_INDEX(at, i), "the same as element %zu", k);
			ok = false;
			break;
		}
	}
	return ok;
}

static const char *key_name_at(void *ctx, size_t i)
{
	return ((const struct key *)ctx)[i].name;
}

static const struct key *key_find(const struct key *keys, const char *name)
{
	for (; keys->name; keys++)
		if (!strcmp(keys->name, name))
			return keys;
	return NULL;
}

static bool check_required(struct report *r, const struct key *keys, json_t *json, const struct path *at)
{
	bool ok = true;

	for (const struct key *k = keys; k->name; k++) {
		if (!k->required || json_object_get(json, k->name))
			continue;
		vhu_diag(r, at, "'%s' is missing", k->name);
		ok = false;
	}
	return ok;
}

/* `what` is the verb for which a key is unknown, or NULL. */
static bool check_keys(struct report *r, const struct key *keys, const char *what, json_t *json,
		       const struct path *at)
{
	const char *name;
	json_t *value;
	char near[HINT_CAP];
	bool ok = true;

	json_object_foreach(json, name, value) {
		const struct key *k = key_find(keys, name);

		if (k) {
			ok &= vhu_shape_check(r, k->shape, value, PATH_KEY(at, name));
			continue;
		}
		vhu_hint(near, name, key_name_at, (void *)keys);
		if (what)
			vhu_diag_key(r, PATH_KEY(at, name), "unknown key '%s' of '%s'%s", name, what, near);
		else
			vhu_diag_key(r, PATH_KEY(at, name), "unknown key '%s'%s", name, near);
		ok = false;
	}
	return check_required(r, keys, json, at) && ok;
}

static bool check_map(struct report *r, const struct shape *s, json_t *json, const struct path *at)
{
	const char *name;
	json_t *value;
	bool ok = true;

	if (json_object_size(json) < (size_t)s->min) {
		vhu_diag(r, at, "the object is empty");
		ok = false;
	}
	json_object_foreach(json, name, value) {
		const struct key *k = s->keys ? key_find(s->keys, name) : NULL;

		if (!s->form->ok(name)) {
			vhu_diag_key(r, PATH_KEY(at, name), "'%s' is not %s", name, s->form->words);
			ok = false;
		}
		ok &= vhu_shape_check(r, k ? k->shape : s->of, value, PATH_KEY(at, name));
	}
	return (!s->keys || check_required(r, s->keys, json, at)) && ok;
}

static bool check_object(struct report *r, const struct shape *s, json_t *json, const struct path *at)
{
	bool ok = check_keys(r, s->keys, NULL, json, at);

	if (json_object_size(json) < (size_t)s->min) {
		vhu_diag(r, at, "the object is empty");
		ok = false;
	}
	return ok;
}

static bool no_verb(struct report *r, json_t *json, const struct path *at)
{
	const char *name, *near;
	json_t *value;

	json_object_foreach(json, name, value) {
		near = vhu_nearest_name(name, vhu_verb_name_at, NULL);
		if (!near || !strcmp(near, name))
			continue;
		vhu_diag_key(r, PATH_KEY(at, name), "unknown key '%s', and no verb; did you mean '%s'?", name,
			     near);
		return false;
	}
	vhu_diag(r, at, "the step has no verb");
	return false;
}

static bool two_verbs(struct report *r, json_t *json, const struct path *at)
{
	const char *first = NULL, *name;
	json_t *value;

	json_object_foreach(json, name, value) {
		bool is_verb = false;

		for (size_t i = 0; i < vhu_n_verbs; i++)
			is_verb |= vhu_verbs[i].verb != VHU_VERB_NOTE && !strcmp(vhu_verbs[i].name, name);
		if (!is_verb)
			continue;
		if (first) {
			vhu_diag_key(r, PATH_KEY(at, name), "two verbs in one step: '%s' and '%s'", first,
				     name);
			return false;
		}
		first = name;
	}
	return false;
}

static bool check_step(struct report *r, json_t *json, const struct path *at)
{
	size_t count;
	const struct verb *v = vhu_verb_of(json, &count);

	if (!v)
		return count ? two_verbs(r, json, at) : no_verb(r, json, at);
	return check_keys(r, v->shape->keys, v->name, json, at);
}

/* Text that is none of several things that text can be here. */
static bool no_such_text(struct report *r, const struct shape *s, const char *string, const struct path *at)
{
	struct vhu_buf want = {0};
	char near[HINT_CAP] = "";

	for (size_t i = 0; s->any[i]; i++)
		if (s->any[i]->kind == SHAPE_WORD && !near[0])
			vhu_hint_word(near, string, s->any[i]->words);
	describe(s, &want);
	vhu_diag(r, at, "'%s' is not %s%s", string, vhu_buf_text(&want), near);
	vhu_buf_done(&want);
	return false;
}

static bool check_either(struct report *r, const struct shape *s, json_t *json, const struct path *at)
{
	struct report quiet = {.muted = 1, .shallow = true};
	const struct shape *first = NULL;
	size_t takers = 0;

	for (size_t i = 0; s->any[i]; i++) {
		if (!takes_type(s->any[i], json))
			continue;
		if (!takers++)
			first = s->any[i];
		if (vhu_shape_check(&quiet, s->any[i], json, at))
			return true;
	}
	if (takers > 1 && json_is_string(json))
		return no_such_text(r, s, json_string_value(json), at);
	return first ? vhu_shape_check(r, first, json, at) : wrong_type(r, s, json, at);
}

bool vhu_shape_check(struct report *r, const struct shape *s, json_t *json, const struct path *at)
{
	if (!takes_type(s, json))
		return wrong_type(r, s, json, at);
	switch (s->kind) {
	case SHAPE_ANYTHING:
	case SHAPE_BOOL:
	case SHAPE_TRUE:
		return true;
	case SHAPE_TEXT:
		return check_text(r, s, json, at);
	case SHAPE_FORM:
		return check_form(r, s, json, at);
	case SHAPE_EXPR:
		return check_expr(r, json, at);
	case SHAPE_BYTES:
		return check_bytes(r, json, at);
	case SHAPE_WORD:
		return check_word(r, s, json, at);
	case SHAPE_INTEGER:
		return check_integer(r, s, json, at);
	case SHAPE_LIST:
		return check_list(r, s, json, at);
	case SHAPE_OBJECT:
		return check_object(r, s, json, at);
	case SHAPE_MAP:
		return check_map(r, s, json, at);
	case SHAPE_EITHER:
		return check_either(r, s, json, at);
	case SHAPE_STEP:
		return r->shallow ? true : check_step(r, json, at);
	}
	return false;
}

bool vhu_shape_step_ok(json_t *step)
{
	struct report quiet = {.muted = 1, .shallow = true};
	struct path nowhere = {0};

	return json_is_object(step) && check_step(&quiet, step, &nowhere);
}
