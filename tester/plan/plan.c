/* The plan itself: names of its parts, and its end. */
#include "internal.h"

const char *vhu_state_name(enum vhu_state s)
{
	return vhu_words_state[s];
}

const char *vhu_verb_name(enum vhu_verb v)
{
	for (size_t i = 0; i < vhu_n_verbs; i++)
		if (vhu_verbs[i].verb == v)
			return vhu_verbs[i].name;
	return "?";
}

void vhu_plan_free(struct vhu_plan *p)
{
	/* The plan lies in its arena itself. */
	if (p)
		vhu_arena_free(p->arena);
}
