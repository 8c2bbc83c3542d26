/* vhu-capture: its options and its main function. */
#pragma once

#include "cli/options.h"

extern const struct vhu_option_table vhu_capture_options;

int vhu_capture_main(int argc, char **argv);
struct vhu_trace_meta;

/*
 * Makes `output` out of logs; tells its errors, returns the exit code. The time in `meta` is the first
 * record's.
 */
int vhu_capture_import(const char *output, const struct vhu_trace_meta *meta, const char *const *logs,
		       size_t n, bool quiet);
