/* vhu-trace: its options and its main function. */
#pragma once

#include "cli/options.h"

extern const struct vhu_option_table vhu_trace_options;

int vhu_trace_main(int argc, char **argv);
