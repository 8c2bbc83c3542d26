/* The options that every program which drives a target has in common. */
#pragma once

#include "cli/options.h"
#include "spec/layout.h"
#include "spec/spec.h"

struct vhu_loop;
struct vhu_target;

/* Stands first in a program's struct of options: the rows' offsets count from there. */
struct vhu_target_cli {
	const char *backend, *spawn, *listen, *after_start;
	bool reference;
	const char *fault;		/* NULL: none */
	bool one_shot, spawn_per_case;
	uint64_t image_size;		/* 0: the default */
	uint64_t queues;		/* 0: found out */
	enum vhu_device device;		/* VHU_DEV_ANY: found out */
	bool allow_writes;
	uint64_t settle_ms;		/* 0: found out */
	enum vhu_backing memory;
	uint64_t timeout_ms;
	uint64_t max_time_s;		/* 0: no bound */
	const char *like;		/* no option: the capture whose back-end the reference is made like */
	uint32_t like_session;		/* … that of this session */
	const char *dir;		/* no option: where sockets and images go; NULL: TMPDIR */
};

extern const struct vhu_option_part vhu_target_options;

void vhu_target_cli_init(struct vhu_target_cli *t);
/* Whether one is named at all. */
bool vhu_target_cli_named(const struct vhu_target_cli *t);
/* What contradicts itself is -EINVAL. Settles what follows (--reference may write). */
int vhu_target_cli_check(struct vhu_target_cli *t, struct vhu_err *err);
/* Whether we start the process ourselves. */
bool vhu_target_cli_spawns(const struct vhu_target_cli *t);
/* For reports: the socket, the command, the reference with its fault. */
void vhu_target_cli_name(const struct vhu_target_cli *t, struct vhu_buf *out);

/* The command line of the reference back-end. argv is NULL-terminated; free() it. */
struct vhu_reference {
	char *argv[16];
};
int vhu_reference_command(const struct vhu_target_cli *t, struct vhu_reference *ret, struct vhu_err *err);
void vhu_reference_done(struct vhu_reference *r);

/* The target as the options say; nothing is started yet. */
int vhu_target_cli_new(struct vhu_loop *loop, const struct vhu_target_cli *t, struct vhu_target **ret,
		       struct vhu_err *err);
