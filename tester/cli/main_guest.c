#include "cli/guest.h"

int main(int argc, char **argv)
{
	return vhu_guest_main(argc, argv);
}
