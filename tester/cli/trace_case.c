/* vhu-trace case: a capture becomes a case file. */
#include <errno.h>

#include "trace_command.h"

int vhu_command_case(const struct vhu_trace_opts *o)
{
	struct vhu_err err = {0};

	vhu_err_set(&err, -ENOSYS, "case: not part of this build");
	return vhu_trace_complain(&err);
}
