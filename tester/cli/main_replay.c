#include "cli/replay.h"

int main(int argc, char **argv)
{
	return vhu_replay_main(argc, argv);
}
