/*
 * Recordings as JSON lines: `meta` first, then messages with their raw bytes, and events. Each message says
 * things twice, decoded and raw; where the two disagree the record is odd, which counts as a difference.
 */
#include "base/arena.h"
#include "tape_priv.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

enum { LINE_MAX_BYTES = 1 << 24, RAW_MAX = 1 << 16, LABELS_MAX = 1 << 16 };

struct loader {
	struct vhu_tape *t;
	const char *path;
	size_t line;
	const char **labels;
	size_t n_labels;
	uint64_t numbered[8]; /* objects of each kind so far */
	struct vhu_err *err;
};

static int wrong(struct loader *l, const char *what)
{
	return vhu_err_set(l->err, -EINVAL, "%s:%zu: %s", l->path, l->line, what);
}

static const char *text_of(struct loader *l, const json_t *o, const char *key)
{
	const char *text = json_string_value(json_object_get(o, key));
	const char *copy = vhu_arena_strdup(l->t->arena, text ? text : "");

	return copy ? copy : "";
}

/* Numbers stand as numbers or as "0x…". */
static bool number_of(const json_t *v, uint64_t *ret)
{
	if (json_is_integer(v)) {
		*ret = (uint64_t)json_integer_value(v);
		return true;
	}
	return json_is_string(v) && vhu_u64_parse(json_string_value(v), ret) == 0;
}

static uint32_t label_of(struct loader *l, const char *text)
{
	for (size_t i = 0; i < l->n_labels; i++)
		if (strcmp(l->labels[i], text) == 0)
			return (uint32_t)i + 1;
	if (l->n_labels == LABELS_MAX)
		return 0;
	l->labels[l->n_labels] = vhu_arena_strdup(l->t->arena, text);
	return l->labels[l->n_labels] ? (uint32_t)++l->n_labels : 0;
}

/* A kind of descriptor, and with which letter a recorder begins its labels. */
static const struct kind_row {
	const char *name;
	enum vhu_fd_kind kind;
	char letter;
} kinds[] = {
	{"eventfd", VHU_FDK_EVENTFD, 'e'}, {"memfd", VHU_FDK_MEMFD, 'm'},   {"hugetlb", VHU_FDK_HUGETLB, 'h'},
	{"file", VHU_FDK_FILE, 'f'},	   {"socket", VHU_FDK_SOCKET, 's'}, {"pipe", VHU_FDK_PIPE, 'p'},
	{"other", VHU_FDK_OTHER, 'x'},
};

static const struct kind_row *kind_of(const char *name)
{
	for (size_t i = 0; name && i < VHU_ARRAY_SIZE(kinds); i++)
		if (strcmp(kinds[i].name, name) == 0)
			return &kinds[i];
	return NULL;
}

/* What a record says against itself: what only another kind has, or a number before its turn. */
static const char *check_fd(struct loader *l, const json_t *o, const struct kind_row *row, const char *label)
{
	uint64_t *most = &l->numbered[row - kinds], number;

	if (json_object_get(o, "count") && row->kind != VHU_FDK_EVENTFD)
		return "a descriptor of two kinds";
	if (json_object_get(o, "fname") && row->kind != VHU_FDK_MEMFD)
		return "a descriptor of two kinds";
	/* Recorders number the objects of each kind as they come: "e1", "e2" … */
	if (!label || !label[0] || !strchr("emhfspx", label[0]) || vhu_u64_parse(label + 1, &number) < 0)
		return NULL;
	if (label[0] != row->letter)
		return "a descriptor of two kinds";
	if (number > *most + 1)
		return "an object that comes later";
	*most = VHU_MAX(*most, number);
	return NULL;
}

static int get_fds(struct loader *l, const json_t *list, struct vhu_tape_item *item)
{
	size_t n = json_array_size(list);
	struct vhu_tape_fd *fds;

	if (n == 0)
		return 0;
	fds = vhu_arena_array(l->t->arena, n, sizeof(*fds));
	if (!fds)
		return vhu_err_set(l->err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < n; i++) {
		const json_t *o = json_array_get(list, i);
		const char *label = json_string_value(json_object_get(o, "label"));
		const struct kind_row *row = kind_of(json_string_value(json_object_get(o, "kind")));
		uint64_t count, size;

		if (row && !item->odd)
			item->odd = check_fd(l, o, row, label);
		fds[i].kind = row ? row->kind : VHU_FDK_UNKNOWN;
		fds[i].label = label ? label_of(l, label) : 0;
		fds[i].count = number_of(json_object_get(o, "count"), &count) ? (long)count : -1;
		fds[i].size = number_of(json_object_get(o, "size"), &size) ? size : 0;
		fds[i].blocking =
			fds[i].kind == VHU_FDK_EVENTFD && json_is_false(json_object_get(o, "nonblock"));
		fds[i].name = text_of(l, o, "fname");
	}
	item->fds = fds;
	item->n_fds = n;
	return 0;
}

/* --- what a record says twice --------------------------------------------------------------------------- */

static const char *check_number(struct loader *l, const json_t *o, const char *key, uint64_t right)
{
	const json_t *v = json_object_get(o, key);
	uint64_t is;

	if (!v)
		return NULL;
	if (json_is_boolean(v))
		is = json_is_true(v);
	else if (!number_of(v, &is))
		return vhu_arena_printf(l->t->arena, "%s is no number", key);
	if (is == right)
		return NULL;
	return vhu_arena_printf(l->t->arena, "%s is 0x%llx, the raw bytes say 0x%llx", key,
				(unsigned long long)is, (unsigned long long)right);
}

static const char *check_header(struct loader *l, const json_t *o, const struct vhu_frame *f)
{
	const struct vhu_msg_row *row = vhu_msg_by_id(f->channel, f->request);
	const char *name = json_string_value(json_object_get(o, "name"));
	const struct {
		const char *key;
		uint64_t right;
	} numbers[] = {
		{"id", f->request},    {"flags", f->flags},	     {"size", f->size},
		{"ver", f->flags & 3}, {"reply", f->flags >> 2 & 1}, {"nr", f->flags >> 3 & 1},
	};
	const char *odd = NULL;

	for (size_t i = 0; !odd && i < VHU_ARRAY_SIZE(numbers); i++)
		odd = check_number(l, o, numbers[i].key, numbers[i].right);
	if (!odd && row && name && vhu_msg_by_name(name) != row)
		odd = vhu_arena_printf(l->t->arena, "name is %s, the raw bytes say %s", name, row->name);
	return odd;
}

static const char *check_payload(struct loader *l, const json_t *p, const struct vhu_frame *f)
{
	static const struct {
		const char *key, *field;
	} fields[] = {
		{"u64", "u64"},
		{"idx", "index"},
		{"nofd", "no_fd"},
		{"num", "num"},
		{"base", "num"},
		{"desc", "descriptor"},
		{"used", "used"},
		{"avail", "available"},
		{"log", "log"},
		{"gpa", "guest_phys_addr"},
		{"uaddr", "userspace_addr"},
		{"off", "mmap_offset"},
		{"offset", "offset"},
		{"iova", "iova"},
	};
	enum vhu_payload pl = vhu_frame_payload(f);
	const char *odd = NULL;
	uint64_t right;

	if (f->len < f->size || pl == VHU_PL_MAX)
		return NULL;
	for (size_t i = 0; !odd && i < VHU_ARRAY_SIZE(fields); i++)
		if (json_object_get(p, fields[i].key) && vhu_frame_get(f, pl, fields[i].field, &right))
			odd = check_number(l, p, fields[i].key, right);
	return odd;
}

/* --- lines -------------------------------------------------------------------------------------------------
 */

static int get_raw(struct loader *l, const json_t *o, struct vhu_frame *f)
{
	const char *hex = json_string_value(json_object_get(o, "raw"));
	size_t cap = hex ? strlen(hex) / 2 : 0;
	uint8_t *raw;
	long n;

	if (cap < VHU_C_HEADER_SIZE || cap > RAW_MAX)
		return wrong(l, "a message without its raw bytes");
	raw = vhu_arena_alloc(l->t->arena, cap);
	if (!raw)
		return vhu_err_set(l->err, -ENOMEM, "out of memory");
	n = vhu_hex_parse(hex, raw, cap);
	if (n < VHU_C_HEADER_SIZE)
		return wrong(l, "raw is not hex");
	f->request = (uint32_t)vhu_le_get(raw, 4);
	f->flags = (uint32_t)vhu_le_get(raw + 4, 4);
	f->size = (uint32_t)vhu_le_get(raw + 8, 4);
	f->payload = raw + VHU_C_HEADER_SIZE;
	f->len = VHU_MIN((size_t)n - VHU_C_HEADER_SIZE, (size_t)f->size);
	return 0;
}

static int get_message(struct loader *l, const json_t *o, struct vhu_tape_item *item)
{
	const char *channel = json_string_value(json_object_get(o, "ch"));
	const char *dir = json_string_value(json_object_get(o, "dir"));
	struct vhu_frame *f = &item->frame;
	int rc;

	item->kind = VHU_TAPE_FRAME;
	if (!channel || !dir)
		return wrong(l, "neither an event nor a message");
	f->channel = strcmp(channel, "backend") == 0 ? VHU_CHAN_BACKEND
		     : strcmp(channel, "gpu") == 0   ? VHU_CHAN_GPU
						     : VHU_CHAN_MAIN;
	f->dir = strcmp(dir, "be") == 0 ? VHU_DIR_BE : VHU_DIR_FE;
	rc = get_raw(l, o, f);
	if (rc == 0)
		rc = get_fds(l, json_object_get(o, "fds"), item);
	if (rc < 0)
		return rc;
	if (!item->odd)
		item->odd = check_header(l, o, f);
	if (!item->odd)
		item->odd = check_payload(l, json_object_get(o, "p"), f);
	l->t->messages++;
	return 0;
}

static void get_meta(struct loader *l, const json_t *o)
{
	l->t->front = text_of(l, o, "qemu");
	l->t->back = text_of(l, o, "backend");
	l->t->name = text_of(l, o, "file");
}

static int get_line(struct loader *l, const json_t *o)
{
	const char *ev = json_string_value(json_object_get(o, "ev"));
	struct vhu_tape_item *item;
	uint64_t conn = 0;

	if (!json_is_object(o))
		return wrong(l, "not a JSON object");
	if (ev && strcmp(ev, "meta") == 0) {
		get_meta(l, o);
		return 0;
	}
	item = vhu_tape_add(l->t);
	if (!item)
		return vhu_err_set(l->err, -ENOMEM, "out of memory");
	number_of(json_object_get(o, "conn"), &conn);
	item->conn = (unsigned)conn;
	item->line = l->line;
	number_of(json_object_get(o, "t"), &item->time);
	if (!ev)
		return get_message(l, o, item);
	if (strcmp(ev, "open") == 0) {
		item->kind = VHU_TAPE_OPEN;
	} else if (strcmp(ev, "close") == 0) {
		item->kind = VHU_TAPE_CLOSE;
		item->by_be = strcmp(text_of(l, o, "by"), "be") == 0;
		item->text = text_of(l, o, "ch");
	} else if (strcmp(ev, "mark") == 0) {
		item->kind = VHU_TAPE_MARK;
		item->text = text_of(l, o, "text");
	} else if (strcmp(ev, "cut") == 0) {
		return wrong(l, "records were left out of this recording: it cannot be judged");
	} else {
		l->t->n_items--;
	}
	return 0;
}

static int get_lines(struct loader *l, FILE *in)
{
	_cleanup_(vhu_freep) char *line = NULL;
	size_t cap = 0;
	ssize_t len;
	int rc = 0;

	while (rc == 0 && (len = getline(&line, &cap, in)) > 0) {
		json_error_t where;
		json_t *o;

		l->line++;
		if (len > LINE_MAX_BYTES)
			return wrong(l, "the line is too long");
		if (line[strspn(line, " \t\r\n")] == '\0')
			continue;
		o = json_loadb(line, (size_t)len, JSON_REJECT_DUPLICATES, &where);
		if (!o)
			return vhu_err_set(l->err, -EINVAL, "%s:%zu:%d: %s", l->path, l->line, where.column,
					   where.text);
		rc = get_line(l, o);
		json_decref(o);
	}
	if (rc == 0 && ferror(in))
		return vhu_err_errno(l->err, -errno, "%s", l->path);
	return rc;
}

int vhu_tape_load_json(const char *path, struct vhu_tape **ret, struct vhu_err *err)
{
	_cleanup_(vhu_fclosep) FILE *in = fopen(path, "re");
	_cleanup_(vhu_freep) const char **labels = calloc(LABELS_MAX, sizeof(*labels));
	struct loader l = {.path = path, .labels = labels, .err = err};
	int rc;

	if (!in)
		return vhu_err_errno(err, -errno, "%s", path);
	l.t = vhu_tape_new();
	if (!l.t || !labels) {
		vhu_tape_free(l.t);
		return vhu_err_set(err, -ENOMEM, "out of memory");
	}
	rc = get_lines(&l, in);
	if (rc == 0 && l.t->n_items == 0)
		rc = wrong(&l, "an empty recording");
	if (rc < 0) {
		vhu_tape_free(l.t);
		return rc;
	}
	*ret = l.t;
	return 0;
}
