#include "tail.h"

#include <string.h>

/* What begins a report, and where its name ends. */
static const struct {
	const char *pattern, *tool, *end;
	bool keep;     /* the pattern belongs to the name */
	bool valgrind; /* only in lines of valgrind's */
} reports[] = {
	{"ERROR: AddressSanitizer: ", "ASan", " on ", false, false},
	{"ERROR: LeakSanitizer: ", "LSan", NULL, false, false},
	{"WARNING: MemorySanitizer: ", "MSan", NULL, false, false},
	{"WARNING: ThreadSanitizer: ", "TSan", " (pid=", false, false},
	{"runtime error: ", "UBSan", NULL, false, false},
	{"Invalid read of size", "valgrind", NULL, true, true},
	{"Invalid write of size", "valgrind", NULL, true, true},
	{"Invalid free()", "valgrind", NULL, true, true},
	{"Conditional jump or move depends on uninitialised", "valgrind", NULL, true, true},
	{"Use of uninitialised value", "valgrind", NULL, true, true},
	{"Syscall param", "valgrind", NULL, true, true},
};

/* The whole output is looked at: a report is often longer than what is kept. */
static void scan_line(struct tail *t)
{
	t->line[t->line_len] = '\0';
	t->line_len = 0;
	for (size_t i = 0; i < VHU_ARRAY_SIZE(reports) && !t->report[0]; i++) {
		const char *found = strstr(t->line, reports[i].pattern);

		if (!found || (reports[i].valgrind && strncmp(t->line, "==", 2) != 0))
			continue;
		if (!reports[i].keep)
			found += strlen(reports[i].pattern);

		const char *end = reports[i].end ? strstr(found, reports[i].end) : NULL;
		size_t len = end ? (size_t)(end - found) : strlen(found);

		snprintf(t->report, sizeof(t->report), "%s: %.*s", reports[i].tool, (int)len, found);
	}
}

static void scan(struct tail *t, const char *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (bytes[i] == '\n')
			scan_line(t);
		else if (t->line_len < sizeof(t->line) - 1)
			t->line[t->line_len++] = bytes[i];
	}
}

void vhu_tail_add(struct tail *t, const char *bytes, size_t len)
{
	scan(t, bytes, len);
	if (len > TAIL_BYTES) {
		bytes += len - TAIL_BYTES;
		len = TAIL_BYTES;
	}
	if (t->len + len > sizeof(t->text)) {
		size_t keep = VHU_MIN(t->len, (size_t)TAIL_BYTES);

		memmove(t->text, t->text + t->len - keep, keep);
		t->len = keep;
	}
	memcpy(t->text + t->len, bytes, len);
	t->len += len;
}

static size_t line_start(const struct tail *t, size_t end)
{
	while (end > 0 && t->text[end - 1] != '\n')
		end--;
	return end;
}

char *vhu_tail_text(const struct tail *t)
{
	size_t from = t->len > TAIL_BYTES ? t->len - TAIL_BYTES : 0;
	size_t at = t->len;

	for (unsigned lines = 0; lines < TAIL_LINES && at > from; lines++)
		at = line_start(t, at - 1);
	from = VHU_MAX(from, at);

	size_t len = t->len - from;
	char *text = malloc(len + 1);

	if (!text)
		return NULL;
	/* It becomes a C string; a NUL in it would hide the rest. */
	for (size_t i = 0; i < len; i++)
		text[i] = t->text[from + i] ? t->text[from + i] : '?';
	text[len] = '\0';
	return text;
}

char *vhu_tail_last_line(const struct tail *t, char *out, size_t cap)
{
	size_t end = t->len;

	while (end > 0 && (t->text[end - 1] == '\n' || t->text[end - 1] == '\r' || t->text[end - 1] == ' '))
		end--;

	size_t start = line_start(t, end);

	snprintf(out, cap, "%.*s", (int)(end - start), t->text + start);
	return out;
}
