/* What a capture no longer needs once it is attached. */
#pragma once

#include "base/err.h"

/*
 * Gives up all capabilities for good, and becomes who called sudo where that is known. Without privileges
 * there is nothing to do. -errno with text.
 */
int vhu_privileges_drop(struct vhu_err *err);
