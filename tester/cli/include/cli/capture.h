/* vhu-capture: its options and its main function. */
#pragma once

#include "cli/options.h"

extern const struct vhu_option_table vhu_capture_options;

int vhu_capture_main(int argc, char **argv);
/* Makes `output` out of logs; tells its errors, returns the exit code. */
int vhu_capture_import(const char *output, const char *const *logs, size_t n, bool quiet);
