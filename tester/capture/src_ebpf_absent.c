/* Stands in for the passive source where libbpf, clang or bpftool were not there. */
#include <errno.h>

#include "capture/sources.h"

static int absent_open(const struct vhu_source_opts *o, vhu_record_sink *sink, void *ctx, void **ret,
		       struct vhu_err *err)
{
	return vhu_err_set(err, -EOPNOTSUPP,
			   "eBPF: not built in; meson's -Debpf=enabled says what it takes\n"
			   "  without it: --proxy LISTEN=TARGET");
}

const struct vhu_source_ops vhu_source_ebpf = {.name = "ebpf", .tap = VHU_CAP_TAP_EBPF, .open = absent_open};
