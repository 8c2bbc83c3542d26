#include "cli/fidelity.h"

int main(int argc, char **argv)
{
	return vhu_fidelity_main(argc, argv);
}
