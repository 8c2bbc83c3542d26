/*
 * The rows of faults.def: names, lookup, listing.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fault.h"
#include "loop.h"

/* Every requirement as an enumerator, so that a fault that names a missing row does not compile. */
#define VHU_REQUIREMENT(area, number, ...) REQ_##area##_##number,
enum requirement {
#include <vhu/requirements.def>
};

struct fault_req {
	const char *id;
	enum requirement row;
};

enum { FAULT_REQS_MAX = 6 };

#define UNPAREN(...) __VA_ARGS__
#define R(area, number)                                                                                      \
	{                                                                                                    \
#area "-" #number, REQ_##area##_##number                                                     \
	}
#define VHU_FAULT(name_, area_, reqs_, summary_)                                                             \
	{.name = #name_, .reqs = {UNPAREN reqs_}, .summary = summary_},
static const struct {
	const char *name;
	struct fault_req reqs[FAULT_REQS_MAX];
	const char *summary;
} faults[] = {
#include <vhu/faults.def>
};

bool fault_on[FAULT_COUNT];

static bool same_name(const char *name, const char *id)
{
	for (; *name && *id; name++, id++) {
		if (*name != *id && !(*name == '_' && *id == '-'))
			return false;
	}
	return !*name && !*id;
}

bool fault_enable(const char *id)
{
	for (size_t i = 0; i < FAULT_COUNT; i++) {
		if (same_name(faults[i].name, id)) {
			fault_on[i] = true;
			return true;
		}
	}
	return false;
}

bool fault_any(const char *prefix)
{
	for (size_t i = 0; i < FAULT_COUNT; i++) {
		if (fault_on[i] && !strncmp(faults[i].name, prefix, strlen(prefix)))
			return true;
	}
	return false;
}

void fault_list(FILE *to)
{
	for (size_t i = 0; i < FAULT_COUNT; i++) {
		for (const char *c = faults[i].name; *c; c++)
			fputc(*c == '_' ? '-' : *c, to);
		for (size_t k = 0; k < FAULT_REQS_MAX && faults[i].reqs[k].id; k++)
			fprintf(to, "%c%s", k ? ',' : ' ', faults[i].reqs[k].id);
		fprintf(to, " %s\n", faults[i].summary);
	}
}

void fault_crash(void)
{
	char *volatile nowhere = (char *)sizeof(long);

	*nowhere = 1;
	abort();
}

void fault_hang(void)
{
	while (!loop_stopping())
		pause();
}

void fault_pause_ms(unsigned ms)
{
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

	nanosleep(&t, NULL);
}
