#include "cli/conform.h"

int main(int argc, char **argv)
{
	return vhu_conform_main(argc, argv);
}
