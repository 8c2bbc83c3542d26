#include "cli/trace.h"

int main(int argc, char **argv)
{
	return vhu_trace_main(argc, argv);
}
