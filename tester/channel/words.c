#include "channel/target.h"

#include <errno.h>
#include <string.h>

/* The words follow their pointers in one allocation. */
struct splitter {
	const char *text, *at;
	char *out;
};

static int quote_open(const struct splitter *s, const char *opened, struct vhu_err *err)
{
	return vhu_err_set(err, -EINVAL, "command: the quote %c at column %zu is not closed: %s", *opened,
			   (size_t)(opened - s->text) + 1, s->text);
}

static int single_quoted(struct splitter *s, struct vhu_err *err)
{
	const char *opened = s->at++;

	while (*s->at && *s->at != '\'')
		*s->out++ = *s->at++;
	if (!*s->at)
		return quote_open(s, opened, err);
	s->at++;
	return 0;
}

static int double_quoted(struct splitter *s, struct vhu_err *err)
{
	const char *opened = s->at++;

	while (*s->at && *s->at != '"') {
		/* Before anything else a backslash stands for itself. */
		if (*s->at == '\\' && s->at[1] && strchr("\"\\$`\n", s->at[1])) {
			s->at++;
			if (*s->at == '\n') {
				s->at++;
				continue;
			}
		}
		*s->out++ = *s->at++;
	}
	if (!*s->at)
		return quote_open(s, opened, err);
	s->at++;
	return 0;
}

static int escaped(struct splitter *s, struct vhu_err *err)
{
	s->at++;
	if (!*s->at)
		return vhu_err_set(err, -EINVAL, "command: nothing follows the backslash at its end: %s",
				   s->text);
	if (*s->at != '\n')
		*s->out++ = *s->at;
	s->at++;
	return 0;
}

/* From the first character of a word to behind its last. */
static int word(struct splitter *s, struct vhu_err *err)
{
	int r = 0;

	while (r == 0 && *s->at && !strchr(" \t\n", *s->at)) {
		if (*s->at == '\'')
			r = single_quoted(s, err);
		else if (*s->at == '"')
			r = double_quoted(s, err);
		else if (*s->at == '\\')
			r = escaped(s, err);
		else
			*s->out++ = *s->at++;
	}
	*s->out++ = '\0';
	return r;
}

int vhu_words_split(const char *text, char ***ret_words, size_t *ret_n, struct vhu_err *err)
{
	size_t len = strlen(text), most = len / 2 + 2, n = 0;
	char **words = malloc(most * sizeof(*words) + len + 2);

	if (!words)
		return vhu_err_set(err, -ENOMEM, "command: out of memory");

	struct splitter s = {.text = text, .at = text, .out = (char *)(words + most)};

	for (;;) {
		/* A line that goes on is white space, too. */
		while ((*s.at && strchr(" \t\n", *s.at)) || (*s.at == '\\' && s.at[1] == '\n'))
			s.at += *s.at == '\\' ? 2 : 1;
		if (!*s.at)
			break;
		words[n++] = s.out;
		int r = word(&s, err);
		if (r < 0) {
			free(words);
			return r;
		}
	}
	words[n] = NULL;
	*ret_words = words;
	*ret_n = n;
	return 0;
}

void vhu_words_free(char **words)
{
	free(words);
}
