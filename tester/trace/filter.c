/* Which records of a capture are shown. */
#include "trace/filter.h"

#include <errno.h>
#include <string.h>

enum { TERMS_MAX = 32, VALUES_MAX = 16, FIELD_MAX = 64 };

enum operator{ IS, IS_NOT, LESS, AT_MOST, MORE, AT_LEAST };

static const struct {
	const char *sign;
	enum operator op;
} signs[] = {{"!=", IS_NOT}, {"<=", AT_MOST}, {">=", AT_LEAST}, {"=", IS}, {"<", LESS}, {">", MORE}};

struct subject { /* what terms look at */
	const struct vhu_record *r;
	struct vhu_frame *f; /* NULL: not a message, or not needed */
	char scratch[VHU_RECORD_NAME_CAP];
};

/* A key: a text or a number of a record. */
struct key {
	const char *name;
	const char *(*text)(struct subject *s);
	uint64_t (*number)(struct subject *s);
	const char *values; /* that texts can have, parted by blanks; NULL: any */
};

struct term {
	bool not ;
	const struct key *key; /* NULL: a field of the payload */
	char field[FIELD_MAX];
	enum operator op;
	char *values[VALUES_MAX]; /* into the filter's text */
	uint64_t numbers[VALUES_MAX];
	size_t n_values;
};

struct vhu_filter {
	char *text;
	bool needs_frame;
	size_t n_terms;
	struct term terms[TERMS_MAX];
};

/* --- keys ------------------------------------------------------------------------------------------- */

static const char *key_name(struct subject *s)
{
	return vhu_record_name(s->r, s->scratch);
}

static const char *key_channel(struct subject *s)
{
	return vhu_cap_channel_name(s->r->channel);
}

static const char *key_dir(struct subject *s)
{
	return s->r->dir == VHU_CAP_DIR_FE ? "fe" : s->r->dir == VHU_CAP_DIR_BE ? "be" : "none";
}

static const char *key_type(struct subject *s)
{
	if (!vhu_record_is_message(s->r))
		return "other";
	return vhu_record_is_reply(s->r) ? "reply" : "request";
}

static uint64_t key_session(struct subject *s)
{
	return s->r->connection;
}

static uint64_t key_record(struct subject *s)
{
	return s->r->seq;
}

static uint64_t key_fds(struct subject *s)
{
	return s->r->n_fds;
}

static const struct key keys[] = {
	{"name", key_name},
	{"channel", key_channel, NULL, "meta main backend ring mem life gpu state"},
	{"dir", key_dir, NULL, "fe be none"},
	{"type", key_type, NULL, "request reply other"},
	{"session", NULL, key_session},
	{"record", NULL, key_record},
	{"fds", NULL, key_fds},
};

static bool is_bits_or_field(const char *name)
{
	for (int pl = 0; pl < VHU_PL_MAX; pl++)
		if (vhu_field_by_name(pl, name) || vhu_bits_by_name(pl, name))
			return true;
	return false;
}

/* Keys, then the fields of all payloads. */
static const char *name_at(void *ctx, size_t i)
{
	if (i < VHU_ARRAY_SIZE(keys))
		return keys[i].name;
	i -= VHU_ARRAY_SIZE(keys);
	for (int pl = 0; pl < VHU_PL_MAX; pl++) {
		enum vhu_payload payload = pl;
		size_t n = 0;

		while (vhu_field_name_at(&payload, n))
			n++;
		if (i < n)
			return vhu_field_name_at(&payload, i);
		i -= n;
	}
	return NULL;
}

/* --- parsing ---------------------------------------------------------------------------------------- */

static int wrong(const struct vhu_filter *f, const char *at, struct vhu_err *err, const char *what,
		 const char *word)
{
	return vhu_err_set(err, -EINVAL, "filter, column %zu: %s%s%s%s", (size_t)(at - f->text) + 1,
			   word ? "'" : "", word ? word : "", word ? "' " : "", what);
}

static int set_key(const struct vhu_filter *f, struct term *t, const char *at, struct vhu_err *err)
{
	char base[FIELD_MAX];
	const char *near;

	for (size_t i = 0; i < VHU_ARRAY_SIZE(keys); i++) {
		if (!strcmp(keys[i].name, t->field)) {
			t->key = &keys[i];
			return 0;
		}
	}
	snprintf(base, sizeof(base), "%.*s", (int)strcspn(t->field, "["), t->field);
	if (is_bits_or_field(base))
		return 0;
	near = vhu_nearest_name(t->field, name_at, NULL);
	if (!near)
		return wrong(f, at, err, "is no key and no field of a payload", t->field);
	return vhu_err_set(err, -EINVAL,
			   "filter, column %zu: '%s' is no key and no field of a payload\n"
			   "  did you mean '%s'?",
			   (size_t)(at - f->text) + 1, t->field, near);
}

static bool among(const char *values, const char *value)
{
	size_t len = strlen(value);

	for (const char *p = values; *p; p += strcspn(p, " "), p += strspn(p, " "))
		if (strcspn(p, " ") == len && !strncmp(p, value, len))
			return true;
	return false;
}

static int check_value(const struct vhu_filter *f, struct term *t, size_t i, struct vhu_err *err)
{
	const char *value = t->values[i];

	if (t->key && t->key->text) {
		if (t->op != IS && t->op != IS_NOT)
			return wrong(f, value, err, "a text takes = and != only", NULL);
		if (!t->key->values || among(t->key->values, value))
			return 0;
		return vhu_err_set(err, -EINVAL, "filter, column %zu: '%s' is none of: %s",
				   (size_t)(value - f->text) + 1, value, t->key->values);
	}
	return vhu_u64_parse(value, &t->numbers[i]) < 0 ? wrong(f, value, err, "is no number", value) : 0;
}

/* Splits `text` at the bars; it is the filter's own copy. */
static int set_values(const struct vhu_filter *f, struct term *t, char *text, struct vhu_err *err)
{
	while (text) {
		char *bar = strchr(text, '|');
		int code;

		if (bar)
			*bar = '\0';
		if (t->n_values == VALUES_MAX)
			return wrong(f, text, err, "is one value too many", text);
		t->values[t->n_values++] = text;
		code = check_value(f, t, t->n_values - 1, err);
		if (code < 0)
			return code;
		text = bar ? bar + 1 : NULL;
	}
	if (t->n_values > 1 && t->op != IS && t->op != IS_NOT)
		return wrong(f, t->values[1], err, "'|' goes with = and != only", NULL);
	return 0;
}

static int parse_term(struct vhu_filter *f, char *word, struct vhu_err *err)
{
	struct term *t = &f->terms[f->n_terms];
	char *sign;
	int code;

	if (f->n_terms == TERMS_MAX)
		return wrong(f, word, err, "is one term too many", word);
	t->not = *word == '!';
	word += t->not ;
	sign = word + strcspn(word, "=<>!");
	if (!*sign) {
		t->key = &keys[0]; /* a name alone */
		code = *word ? set_values(f, t, word, err) : wrong(f, word, err, "a name is missing", NULL);
		f->n_terms += code == 0;
		return code;
	}
	snprintf(t->field, sizeof(t->field), "%.*s", (int)VHU_MIN(sign - word, (long)FIELD_MAX - 1), word);
	code = set_key(f, t, word, err);
	for (size_t i = 0; code == 0 && i < VHU_ARRAY_SIZE(signs); i++) {
		size_t len = strlen(signs[i].sign);

		if (strncmp(sign, signs[i].sign, len) != 0)
			continue;
		t->op = signs[i].op;
		f->needs_frame |= !t->key;
		f->n_terms++;
		return set_values(f, t, sign + len, err);
	}
	return code < 0 ? code : wrong(f, sign, err, "is no comparison", sign);
}

int vhu_filter_parse(const char *text, struct vhu_filter **ret, struct vhu_err *err)
{
	struct vhu_filter *f = calloc(1, sizeof(*f));
	int code = 0;
	char *p;

	if (!f || !(f->text = strdup(text))) {
		free(f);
		return vhu_err_errno(err, -ENOMEM, "filter");
	}
	for (p = f->text; *p && code == 0;) {
		size_t len = strcspn(p, " \t");
		bool last = !p[len];

		p[len] = '\0';
		if (len)
			code = parse_term(f, p, err);
		p += len + !last;
	}
	if (code == 0 && !f->n_terms)
		code = vhu_err_set(err, -EINVAL, "filter: it is empty");
	if (code < 0) {
		vhu_filter_free(f);
		return code;
	}
	*ret = f;
	return 0;
}

void vhu_filter_free(struct vhu_filter *f)
{
	if (f)
		free(f->text);
	free(f);
}

/* --- matching --------------------------------------------------------------------------------------- */

static bool compare(enum operator op, uint64_t a, uint64_t b)
{
	switch (op) {
	case IS:
	case IS_NOT:
		return a == b; /* of several values; the caller turns it round */
	case LESS:
		return a < b;
	case AT_MOST:
		return a <= b;
	case MORE:
		return a > b;
	case AT_LEAST:
		return a >= b;
	}
	return false;
}

/* A field that is not there fits nothing, neither = nor !=. */
static bool field_fits(const struct term *t, struct subject *s)
{
	uint64_t value;
	bool found = false;

	if (!s->f || !vhu_frame_get(s->f, vhu_frame_payload(s->f), t->field, &value))
		return false;
	for (size_t i = 0; i < t->n_values; i++)
		found |= compare(t->op, value, t->numbers[i]);
	return t->op == IS_NOT ? !found : found;
}

static bool term_fits(const struct term *t, struct subject *s)
{
	bool found = false;

	if (!t->key)
		return field_fits(t, s);
	for (size_t i = 0; i < t->n_values && !found; i++)
		found = t->key->text ? vhu_glob(t->values[i], t->key->text(s))
				     : compare(t->op, t->key->number(s), t->numbers[i]);
	return t->op == IS_NOT ? !found : found;
}

bool vhu_filter_match(const struct vhu_filter *f, const struct vhu_record *r)
{
	_cleanup_(vhu_frame_done) struct vhu_frame frame = {0};
	struct subject s = {.r = r};

	if (f->needs_frame && vhu_record_is_message(r) && vhu_record_frame(r, &frame, NULL) == 0)
		s.f = &frame;
	for (size_t i = 0; i < f->n_terms; i++)
		if (term_fits(&f->terms[i], &s) == f->terms[i].not )
			return false;
	return true;
}
