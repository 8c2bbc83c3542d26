/*
 * Rows of messages.def and protocol_features.def as lookups.
 */
#include "proto.h"

#define ROW_MAIN(name_, id_, scope_, req, req_alt, rep, rep_alt, answer_, fmin, fmax, rmin, rmax, gate_,     \
		 ...)                                                                                        \
	[id_] = {.name = #name_,                                                                             \
		 .min = PMIN_##req,                                                                          \
		 .max = PMAX_##req,                                                                          \
		 .alt_min = PMIN_##req_alt,                                                                  \
		 .alt_max = PMAX_##req_alt,                                                                  \
		 .answer = ANSWER_##answer_,                                                                 \
		 .fds_min = fmin,                                                                            \
		 .fds_max = fmax,                                                                            \
		 .gate = gate_},
#define ROW_BACKEND(...)
#define ROW_GPU(...)
#define VHU_MESSAGE(channel, ...) ROW_##channel(__VA_ARGS__)
static const struct msg_row rows[] = {
#include <vhu/messages.def>
};

#define VHU_PFEATURE(name, bit_, needs_, ...) {.bit = 1ULL << (bit_), .needs = needs_},
static const struct {
	uint64_t bit, needs;
} pfeatures[] = {
#include <vhu/protocol_features.def>
};

const struct msg_row *proto_row(uint32_t id)
{
	if (id >= sizeof(rows) / sizeof(rows[0]) || !rows[id].name)
		return NULL;
	return &rows[id];
}

uint64_t proto_unmet(uint64_t mask)
{
	uint64_t unmet = 0;

	for (size_t i = 0; i < sizeof(pfeatures) / sizeof(pfeatures[0]); i++) {
		if ((mask & pfeatures[i].bit) && (pfeatures[i].needs & ~mask))
			unmet |= pfeatures[i].bit;
	}
	return unmet;
}
