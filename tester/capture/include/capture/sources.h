/* The sources that there are. */
#pragma once

#include "capture/source.h"

/* Passive, through eBPF; where it was not built in, its open says so. */
extern const struct vhu_source_ops vhu_source_ebpf;

/* Listens at a path, connects to another for each connection there, and passes everything on. */
extern const struct vhu_source_ops vhu_source_proxy;
