/*
 * Findings in a capture that are known and explained:
 * {"format": "vhu-trace-baseline", "version": 1,
 *  "findings": [{"requirement": ID, "summary": TEXT, "why": TEXT}]}
 * A finding is known by its requirement and, where an entry has one, its summary.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "oracle/oracle.h"

struct vhu_known;

/* An empty one for path NULL. -EINVAL with file, line, column and path; what open says. */
int vhu_known_load(const char *path, struct vhu_known **ret, struct vhu_err *err);
void vhu_known_free(struct vhu_known *k);
/* Why it is known, or NULL. */
const char *vhu_known_why(struct vhu_known *k, const struct vhu_finding *f);
/* Entries that explained nothing, as a list: "HDR-01, MEM-02", "" if all did. */
void vhu_known_unused(const struct vhu_known *k, struct vhu_buf *out);

/* The other way round: the findings of this run, with the reasons that were known before. */
int vhu_known_learn(struct vhu_known *k, const struct vhu_finding *f, struct vhu_err *err);
/* Writes what was learnt; *ret_open: entries that still lack their reason. */
int vhu_known_save(const struct vhu_known *k, const char *path, size_t *ret_open, struct vhu_err *err);

/* "NAME.baseline.json" for "NAME.pcap"; false if it would not fit, or for a pipe. */
bool vhu_known_path(const char *capture, char *out, size_t cap);
