#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

static const char *const verdict_names[VHU_VERDICT_MAX] = {
	[VHU_PASS] = "PASS", [VHU_WARN] = "WARN",     [VHU_FAIL] = "FAIL",
	[VHU_SKIP] = "SKIP", [VHU_BROKEN] = "BROKEN",
};

const char *vhu_verdict_name(enum vhu_verdict v)
{
	return verdict_names[v];
}

static const char *const malformed_names[VHU_MALFORMED_MAX] = {
#define VHU_MALFORMED(name, text, ...) [VHU_MALFORMED_##name] = text,
#include <vhu/malformed.def>
};

const char *vhu_malformed_name(enum vhu_malformed kind)
{
	return malformed_names[kind];
}

enum vhu_malformed vhu_malformed_by_name(const char *name)
{
	int i;

	for (i = 0; i < VHU_MALFORMED_MAX; i++)
		if (!strcmp(malformed_names[i], name))
			break;
	return (enum vhu_malformed)i;
}

/* A rule younger than the version judged by, or young and gated by nothing that was negotiated. */
static bool too_young(const struct vhu_req_row *row, enum vhu_since spec)
{
	if (row->since == VHU_SINCE_ANY)
		return false;
	if (row->since > spec)
		return true;
	return row->since > VHU_SINCE_V7_2 && !row->p_on && !row->v_on;
}

const char *vhu_known_gap(enum vhu_req req, bool front)
{
	static const struct {
		enum vhu_req req;
		bool front;
		const char *who;
	} gaps[] = {
#define VHU_KNOWN_GAP(area, number, who) {VHU_REQ_##area##_##number, false, who},
#include <vhu/known_gaps.def>
#define VHU_DEVIATION(script, area, number, who) {VHU_REQ_##area##_##number, true, who},
#include <vhu/profiles.def>
	};

	for (size_t i = 0; i < VHU_ARRAY_SIZE(gaps); i++)
		if (gaps[i].req == req && gaps[i].front == front)
			return gaps[i].who;
	return NULL;
}

enum vhu_verdict vhu_finding_grade(const struct vhu_finding *f, const struct vhu_judge_opts *opts)
{
	const struct vhu_req_row *row = vhu_req_row(f->req);
	bool soft = row->level != VHU_LEVEL_MUST || vhu_known_gap(f->req, f->front);

	if (f->kind == VHU_FINDING_QUIRK || too_young(row, opts->spec))
		return VHU_WARN;
	if (soft && f->kind != VHU_FINDING_ROBUST && !opts->strict)
		return VHU_WARN;
	if (row->level == VHU_LEVEL_MAY && f->kind != VHU_FINDING_ROBUST)
		return VHU_WARN;
	return VHU_FAIL;
}

bool vhu_finding_stands_alone(enum vhu_req req)
{
	static const enum vhu_req rows[] = {
		VHU_REQ_HDR_01,	   VHU_REQ_HDR_02,	  VHU_REQ_HDR_03,	 VHU_REQ_HDR_06,
		VHU_REQ_HDR_07,	   VHU_REQ_HDR_11,	  VHU_REQ_MEM_02,	 VHU_REQ_MEM_49,
		VHU_REQ_VRING_12,  VHU_REQ_VRING_79,	  VHU_REQ_VRING_80,	 VHU_REQ_CONFIG_29,
		VHU_REQ_PROTO_09,  VHU_REQ_PROTO_10,	  VHU_REQ_OWNER_04,	 VHU_REQ_INBAND_06,
		VHU_REQ_INBAND_07, VHU_REQ_BACKENDREQ_05, VHU_REQ_BACKENDREQ_14, VHU_REQ_BACKENDREQ_16,
		VHU_REQ_SHOBJ_07,  VHU_REQ_IOTLB_25,	  VHU_REQ_PROG_16,
	};

	for (size_t i = 0; i < VHU_ARRAY_SIZE(rows); i++)
		if (rows[i] == req)
			return true;
	return false;
}

void vhu_finding_init(struct vhu_finding *f, enum vhu_req req, enum vhu_finding_kind kind, const char *format,
		      ...)
{
	va_list ap;

	memset(f, 0, sizeof(*f));
	f->req = req;
	f->kind = kind;
	va_start(ap, format);
	vsnprintf(f->summary, sizeof(f->summary), format, ap);
	va_end(ap);
}

void vhu_finding_frame(struct vhu_finding *f, const struct vhu_frame *frame, enum vhu_device device)
{
	struct vhu_buf text = {0};
	struct vhu_buf bytes = {0};

	vhu_frame_describe(frame, device, &text);
	snprintf(f->message, sizeof(f->message), "%s", vhu_buf_text(&text));
	if (!vhu_frame_encode(frame, &bytes, NULL))
		vhu_hex_format(bytes.data, bytes.len, f->hex, sizeof(f->hex));
	vhu_buf_done(&text);
	vhu_buf_done(&bytes);
}

bool vhu_differs(struct vhu_judgement *j, const char *accepted, const char *actual, ...)
{
	va_list ap;

	snprintf(j->accepted, sizeof(j->accepted), "%s", accepted);
	va_start(ap, actual);
	vsnprintf(j->actual, sizeof(j->actual), actual, ap);
	va_end(ap);
	return true;
}
