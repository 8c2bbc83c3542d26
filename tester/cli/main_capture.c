#include "cli/capture.h"

int main(int argc, char **argv)
{
	return vhu_capture_main(argc, argv);
}
