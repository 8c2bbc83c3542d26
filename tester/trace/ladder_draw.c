/* Sequence diagrams as text and as SVG. */
#include <inttypes.h>
#include <string.h>

#include "trace/ladder.h"

/* --- text --------------------------------------------------------------------------------------------- */

enum { TIME = 14, LANE = 76, LANE_BEYOND = 60 };

static size_t width_of(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

/* At most `max` characters; a cut is marked. Returns the width. */
static size_t put_cut(struct vhu_buf *out, const char *text, size_t max)
{
	size_t width = width_of(text), n = 0;
	bool cut = width > max;

	for (size_t i = 0; text[i]; i++) {
		n += ((unsigned char)text[i] & 0xc0) != 0x80;
		if (n > max - cut)
			break;
		vhu_buf_add(out, &text[i], 1);
	}
	if (cut)
		vhu_buf_puts(out, "…");
	return cut ? max : width;
}

static void put_many(struct vhu_buf *out, const char *what, size_t n)
{
	for (; n > 0; n--)
		vhu_buf_puts(out, what);
}

/* "-- TEXT ------>", `width` characters between two lines. */
static void put_arrow(struct vhu_buf *out, const struct vhu_ladder_row *row, bool right, size_t width)
{
	const char *dash = row->reply ? "." : "-";
	size_t used;

	vhu_buf_puts(out, right ? dash : "<");
	vhu_buf_puts(out, dash);
	vhu_buf_puts(out, " ");
	used = 3 + put_cut(out, row->text, width - 6);
	vhu_buf_puts(out, " ");
	put_many(out, dash, width - used - 2);
	vhu_buf_puts(out, right ? ">" : dash);
}

static void put_gutter(struct vhu_buf *out, const struct vhu_ladder_row *row, size_t loop)
{
	char text[40];

	if (loop)
		snprintf(text, sizeof(text), "%zux", loop);
	else
		snprintf(text, sizeof(text), "%" PRIu64 ".%06" PRIu64, row->t_ns / 1000000000,
			 row->t_ns % 1000000000 / 1000);
	vhu_buf_printf(out, "%*s  ", TIME - 2, text);
}

/* A row that is no arrow: `text` on a line of `fill` over the first lane. */
static void put_bar(struct vhu_buf *out, const char *text, size_t times, const char *fill, bool beyond)
{
	char counted[32] = "";
	size_t used;

	if (times > 1)
		snprintf(counted, sizeof(counted), " (%zu times)", times);
	vhu_buf_puts(out, "|");
	put_many(out, fill, 2);
	vhu_buf_puts(out, " ");
	used = 3 + put_cut(out, text, LANE - 24);
	vhu_buf_puts(out, counted);
	used += width_of(counted);
	vhu_buf_puts(out, " ");
	put_many(out, fill, LANE - used - 1);
	vhu_buf_puts(out, "|");
	if (beyond)
		vhu_buf_printf(out, "%*s|", LANE_BEYOND, "");
	vhu_buf_puts(out, "\n");
}

void vhu_ladder_text(const struct vhu_ladder *l, const char *title, struct vhu_buf *out)
{
	size_t loop = 0;

	vhu_buf_printf(out, "%s\n\n%*s%-*s", title, TIME, "", l->beyond ? LANE - 4 : LANE - 7, "front-end");
	vhu_buf_printf(out, "back-end");
	if (l->beyond)
		vhu_buf_printf(out, "%*s", LANE_BEYOND, "front-end (back-end's channel)");
	vhu_buf_puts(out, "\n");
	for (size_t i = 0; i < l->n; i++) {
		const struct vhu_ladder_row *row = &l->rows[i];

		put_gutter(out, row, row->kind == VHU_LADDER_MESSAGE ? loop : 0);
		switch (row->kind) {
		case VHU_LADDER_LOOP:
			put_bar(out, row->text, 1, "=", l->beyond);
			loop = row->times;
			break;
		case VHU_LADDER_END:
			put_bar(out, "end", 1, "=", l->beyond);
			loop = 0;
			break;
		case VHU_LADDER_NOTE:
			put_bar(out, row->text, row->times, " ", l->beyond);
			break;
		case VHU_LADDER_MESSAGE:
			vhu_buf_puts(out, "|");
			if (row->beyond)
				vhu_buf_printf(out, "%*s|", LANE, "");
			/* Beyond, the front-end stands right. */
			put_arrow(out, row, row->beyond ? !row->to_backend : row->to_backend,
				  row->beyond ? LANE_BEYOND : LANE);
			vhu_buf_puts(out, "|");
			if (l->beyond && !row->beyond)
				vhu_buf_printf(out, "%*s|", LANE_BEYOND, "");
			vhu_buf_puts(out, "\n");
			break;
		}
	}
}

/* --- SVG ---------------------------------------------------------------------------------------------- */

enum { ROW = 22, TOP = 64, LEFT = 130, GAP = 620, GAP_BEYOND = 520, RIGHT = 40, LABEL_MAX = 74 };

static void put_escaped(struct vhu_buf *out, const char *text, size_t max)
{
	struct vhu_buf cut = {0};

	put_cut(&cut, text, max);
	for (const char *p = vhu_buf_text(&cut); *p; p++) {
		if (*p == '<')
			vhu_buf_puts(out, "&lt;");
		else if (*p == '>')
			vhu_buf_puts(out, "&gt;");
		else if (*p == '&')
			vhu_buf_puts(out, "&amp;");
		else if (*p == '"')
			vhu_buf_puts(out, "&quot;");
		else
			vhu_buf_add(out, p, 1);
	}
	vhu_buf_done(&cut);
}

static void svg_text(struct vhu_buf *out, int x, int y, const char *class, const char *text, size_t max)
{
	vhu_buf_printf(out, "<text x=\"%d\" y=\"%d\" class=\"%s\">", x, y, class);
	put_escaped(out, text, max);
	vhu_buf_puts(out, "</text>\n");
}

static void svg_time(struct vhu_buf *out, const struct vhu_ladder_row *row, int y)
{
	char text[32];

	snprintf(text, sizeof(text), "%" PRIu64 ".%06" PRIu64, row->t_ns / 1000000000,
		 row->t_ns % 1000000000 / 1000);
	svg_text(out, LEFT - 12, y, "time", text, sizeof(text));
}

static void svg_message(struct vhu_buf *out, const struct vhu_ladder_row *row, int y)
{
	int left = row->beyond ? LEFT + GAP : LEFT,
	    right = row->beyond ? LEFT + GAP + GAP_BEYOND : LEFT + GAP;
	bool to_right = row->beyond ? !row->to_backend : row->to_backend;

	vhu_buf_puts(out, "<g><title>");
	put_escaped(out, row->text, SIZE_MAX);
	vhu_buf_printf(out, "</title><line x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\" class=\"%s\"/>\n",
		       to_right ? left : right, y + 4, to_right ? right - 2 : left + 2, y + 4,
		       row->reply ? "reply" : "request");
	svg_text(out, left + 10, y, "label", row->text,
		 row->beyond ? LABEL_MAX * GAP_BEYOND / GAP : LABEL_MAX);
	vhu_buf_puts(out, "</g>\n");
}

/* The frame of the loop that begins at row i. */
static void svg_loop(struct vhu_buf *out, const struct vhu_ladder *l, size_t i, int y)
{
	size_t end = i;

	while (l->rows[end].kind != VHU_LADDER_END)
		end++;
	vhu_buf_printf(out, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" class=\"loop\"/>\n", LEFT - 6,
		       y - 15, GAP + 12, (int)(end - i) * ROW + 14);
	svg_text(out, LEFT + 10, y, "loop-label", l->rows[i].text, LABEL_MAX);
}

static void svg_note(struct vhu_buf *out, const struct vhu_ladder_row *row, int y)
{
	struct vhu_buf text = {0};

	vhu_buf_puts(&text, row->text);
	if (row->times > 1)
		vhu_buf_printf(&text, " (%zu times)", row->times);
	svg_text(out, LEFT + 10, y, "note", vhu_buf_text(&text), LABEL_MAX);
	vhu_buf_done(&text);
}

static const char style[] =
	"<style>text{font:13px monospace}.time{text-anchor:end;fill:#777}.note{fill:#777;font-style:italic}"
	".loop{fill:#f3f6ff;stroke:#99b}.loop-label{fill:#446;font-weight:bold}.head{font-weight:bold;"
	"text-anchor:middle}.title{font-size:15px;font-weight:bold}.life{stroke:#bbb}.request{stroke:#036;"
	"marker-end:url(#tip)}.reply{stroke:#063;stroke-dasharray:5 3;marker-end:url(#tip)}</style>\n"
	"<defs><marker id=\"tip\" viewBox=\"0 0 10 10\" refX=\"9\" refY=\"5\" markerWidth=\"7\" "
	"markerHeight=\"7\" "
	"orient=\"auto\"><path d=\"M0 0L10 5L0 10z\"/></marker></defs>\n";

static void svg_lane(struct vhu_buf *out, int x, int height, const char *name)
{
	vhu_buf_printf(out, "<line x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\" class=\"life\"/>\n", x, TOP - 14,
		       x, height - 10);
	svg_text(out, x, TOP - 20, "head", name, LABEL_MAX);
}

void vhu_ladder_svg(const struct vhu_ladder *l, const char *title, struct vhu_buf *out)
{
	/* A file of millions of rows is no picture; the numbers still have to fit. */
	int n = (int)VHU_MIN(l->n, (size_t)1000000), height = TOP + n * ROW + ROW;
	int width = LEFT + GAP + (l->beyond ? GAP_BEYOND : 0) + RIGHT + 60;

	vhu_buf_printf(out,
		       "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
		       "viewBox=\"0 0 %d %d\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n",
		       width, height, width, height);
	vhu_buf_puts(out, style);
	svg_text(out, 16, 22, "title", title, 2 * LABEL_MAX);
	/* Frames lie behind the lines. */
	for (int i = 0; i < n; i++)
		if (l->rows[i].kind == VHU_LADDER_LOOP)
			svg_loop(out, l, (size_t)i, TOP + i * ROW + 14);
	svg_lane(out, LEFT, height, "front-end");
	svg_lane(out, LEFT + GAP, height, "back-end");
	if (l->beyond)
		svg_lane(out, LEFT + GAP + GAP_BEYOND, height, "front-end (back-end's channel)");
	for (int i = 0; i < n; i++) {
		const struct vhu_ladder_row *row = &l->rows[i];
		int y = TOP + i * ROW + 14;

		if (row->kind == VHU_LADDER_END)
			continue;
		svg_time(out, row, y);
		if (row->kind == VHU_LADDER_MESSAGE)
			svg_message(out, row, y);
		else if (row->kind == VHU_LADDER_NOTE)
			svg_note(out, row, y);
	}
	vhu_buf_puts(out, "</svg>\n");
}
