/* vhu-fidelity: its main function. */
#pragma once

int vhu_fidelity_main(int argc, char **argv);
