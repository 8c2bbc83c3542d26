/* Prints the shapes as a JSON Schema (draft 2020-12). */
#include <string.h>

#include "internal.h"

#define PATTERN_TERM  "(0x[0-9a-fA-F]{1,16}|[0-9]{1,20}|\\$[A-Za-z_][A-Za-z0-9_.]*|[A-Z][A-Z0-9_]*)"
#define PATTERN_EXPR  "^" PATTERN_TERM "( (\\+|-|\\*|\\||&|&~|\\^) " PATTERN_TERM ")*$"
#define PATTERN_BYTES "^([0-9a-fA-F]{2}( ?[0-9a-fA-F]{2})*)?$"

static json_t *shape_schema(json_t *defs, const struct shape *s);

static void set_text(json_t *o, const char *key, const char *text)
{
	json_object_set_new(o, key, json_string(text));
}

static json_t *of_type(const char *type)
{
	json_t *o = json_object();

	set_text(o, "type", type);
	return o;
}

static json_t *of_pattern(const char *pattern)
{
	json_t *o = of_type("string");

	set_text(o, "pattern", pattern);
	return o;
}

/* `name` only where the bound says something. */
static void bound(json_t *o, const char *name, long long value)
{
	if (value)
		json_object_set_new(o, name, json_integer(value));
}

static json_t *text_schema(const struct shape *s)
{
	json_t *o = of_type("string");

	bound(o, "minLength", s->min);
	bound(o, "maxLength", s->max);
	return o;
}

static json_t *integer_schema(const struct shape *s)
{
	json_t *o = of_type("integer");

	json_object_set_new(o, "minimum", json_integer(s->min));
	json_object_set_new(o, "maximum", json_integer(s->max));
	return o;
}

static json_t *word_schema(const struct shape *s)
{
	json_t *o = json_object(), *words = json_array();

	for (size_t i = 0; s->words[i]; i++)
		json_array_append_new(words, json_string(s->words[i]));
	json_object_set_new(o, "enum", words);
	return o;
}

static json_t *list_schema(json_t *defs, const struct shape *s)
{
	json_t *o = of_type("array");

	json_object_set_new(o, "items", shape_schema(defs, s->of));
	bound(o, "minItems", s->min);
	bound(o, "maxItems", s->max);
	if (s->unique)
		json_object_set_new(o, "uniqueItems", json_true());
	return o;
}

static void put_keys(json_t *defs, json_t *o, const struct key *keys)
{
	json_t *properties = json_object(), *required = json_array();

	for (const struct key *k = keys; k->name; k++) {
		json_object_set_new(properties, k->name, shape_schema(defs, k->shape));
		if (k->required)
			json_array_append_new(required, json_string(k->name));
	}
	if (json_array_size(required))
		json_object_set(o, "required", required);
	json_decref(required);
	json_object_set_new(o, "properties", properties);
}

static json_t *object_schema(json_t *defs, const struct shape *s)
{
	json_t *o = of_type("object");

	json_object_set_new(o, "additionalProperties", json_false());
	bound(o, "minProperties", s->min);
	put_keys(defs, o, s->keys);
	return o;
}

static json_t *map_schema(json_t *defs, const struct shape *s)
{
	json_t *o = of_type("object"), *form = json_object();

	set_text(form, "pattern", s->form->pattern);
	json_object_set_new(o, "propertyNames", form);
	if (s->of->kind != SHAPE_ANYTHING)
		json_object_set_new(o, "additionalProperties", shape_schema(defs, s->of));
	bound(o, "minProperties", s->min);
	if (s->keys)
		put_keys(defs, o, s->keys);
	return o;
}

static json_t *choice(const char *word, json_t *alternatives)
{
	json_t *o = json_object();

	json_object_set_new(o, word, alternatives);
	return o;
}

static json_t *either_schema(json_t *defs, const struct shape *s)
{
	json_t *any = json_array();

	for (size_t i = 0; s->any[i]; i++)
		json_array_append_new(any, shape_schema(defs, s->any[i]));
	return choice("anyOf", any);
}

static json_t *step_schema(json_t *defs)
{
	json_t *one = json_array();

	for (size_t i = 0; i < vhu_n_verbs; i++)
		json_array_append_new(one, shape_schema(defs, vhu_verbs[i].shape));
	return choice("oneOf", one);
}

static json_t *file_schema(json_t *defs)
{
	json_t *one = json_array();

	json_array_append_new(one, shape_schema(defs, &vhu_shape_case));
	json_array_append_new(one, shape_schema(defs, &vhu_shape_library));
	return choice("oneOf", one);
}

static json_t *body(json_t *defs, const struct shape *s)
{
	switch (s->kind) {
	case SHAPE_ANYTHING:
		return json_object();
	case SHAPE_TEXT:
		return text_schema(s);
	case SHAPE_FORM:
		return of_pattern(s->form->pattern);
	case SHAPE_BOOL:
		return of_type("boolean");
	case SHAPE_TRUE:
		return json_pack("{s:b}", "const", 1);
	case SHAPE_INTEGER:
		return integer_schema(s);
	case SHAPE_EXPR:
		return of_pattern(PATTERN_EXPR);
	case SHAPE_BYTES:
		return of_pattern(PATTERN_BYTES);
	case SHAPE_WORD:
		return word_schema(s);
	case SHAPE_LIST:
		return list_schema(defs, s);
	case SHAPE_OBJECT:
		return object_schema(defs, s);
	case SHAPE_MAP:
		return map_schema(defs, s);
	case SHAPE_EITHER:
		return either_schema(defs, s);
	case SHAPE_STEP:
		return step_schema(defs);
	}
	return NULL;
}

/* A shape with a name is printed once; wherever it stands is a reference. */
static json_t *shape_schema(json_t *defs, const struct shape *s)
{
	char ref[64];

	if (!s->def)
		return body(defs, s);
	if (!json_object_get(defs, s->def)) {
		/* First, so that a shape which holds itself ends. */
		json_object_set_new(defs, s->def, json_true());
		json_object_set_new(defs, s->def, body(defs, s));
	}
	snprintf(ref, sizeof(ref), "#/$defs/%s", s->def);
	return json_pack("{s:s}", "$ref", ref);
}

char *vhu_case_schema(void)
{
	json_t *defs = json_object(), *top = file_schema(defs), *o = json_object();
	char *text;

	set_text(o, "$schema", "https://json-schema.org/draft/2020-12/schema");
	set_text(o, "title", "vhu-conform case file");
	set_text(o, "description",
		 "Shape only: names of messages, fields, features and requirements are checked when a case "
		 "is compiled.");
	json_object_update(o, top);
	json_object_set(o, "$defs", defs);
	text = json_dumps(o, JSON_INDENT(1));
	json_decref(top);
	json_decref(defs);
	json_decref(o);
	return text;
}
