/* vhu-guest: its options and its main function. */
#pragma once

#include "cli/target_options.h"
#include "device/guest.h"

struct vhu_guest_cli {
	struct vhu_target_cli target;	/* first: the common rows count from here */
	bool help, version, quiet;
	enum vhu_guest_rw rw;
	unsigned read_percent;
	uint64_t bs, depth, size, ios, ring_size, rate, seed;
	uint64_t runtime_ns;		/* 0: none given */
	uint64_t crash_every_ms, reconnect_every_ms;
	bool packed, event_idx, in_order, indirect, verify;
	enum vhu_guest_notify notify;
	unsigned cpu[VHU_GUEST_CPUS_MAX], n_cpus;
	const char *then, *json;
	struct vhu_parsed parsed;
};

extern const struct vhu_option_table vhu_guest_options;

/* Parses and checks; -EINVAL with text. */
int vhu_guest_opts_parse(int argc, char **argv, struct vhu_guest_cli *ret, struct vhu_err *err);
void vhu_guest_opts_done(struct vhu_guest_cli *o);
/* Whether it changes the disk. */
bool vhu_guest_writes(const struct vhu_guest_cli *o);
const char *vhu_guest_rw_name(enum vhu_guest_rw rw);

/* The report of a load, as text and as JSON. */
struct vhu_load_result;
void vhu_guest_report_text(const struct vhu_guest_cli *o, const struct vhu_load_result *r,
			   struct vhu_buf *out);
int vhu_guest_report_json(const struct vhu_guest_cli *o, const struct vhu_load_result *r, FILE *to,
			  struct vhu_err *err);
/* Everything that was lost, doubled or wrong. */
uint64_t vhu_guest_errors(const struct vhu_guest_errors *e);

int vhu_guest_main(int argc, char **argv);
