/* Ring memory that changes while the device reads it: what another CPU of a guest that means harm does. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>

#include "ring.h"

enum { HOLD_MAX = 128 }; /* stores in a row: from a flicker to long enough for a check and what follows it */

struct vhu_flip {
	pthread_t thread;
	struct vhu_place place;
	uint64_t value, other;
	bool over;
};

static void hold(const struct vhu_flip *f, uint64_t value, unsigned times)
{
	for (unsigned i = 0; i < times; i++)
		vhu_place_store(&f->place, value);
}

static void *flip(void *arg)
{
	struct vhu_flip *f = arg;

	for (unsigned round = 0; !__atomic_load_n(&f->over, __ATOMIC_RELAXED); round++) {
		hold(f, f->other, round % HOLD_MAX + 1);
		hold(f, f->value, round % HOLD_MAX + 1);
	}
	return NULL;
}

/* Signals are for the thread that knows what to do with them. */
static int start(struct vhu_flip *f)
{
	sigset_t all, was;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &was);
	r = pthread_create(&f->thread, NULL, flip, f);
	pthread_sigmask(SIG_SETMASK, &was, NULL);
	return -r;
}

int vhu_vring_flip(struct vhu_vring *v, const char *at, uint64_t value, uint64_t other, struct vhu_err *err)
{
	_cleanup_(vhu_freep) struct vhu_flip *f = calloc(1, sizeof(*f));
	int r;

	if (!f)
		return vhu_err_set(err, -ENOMEM, "out of memory");
	vhu_vring_still(v);
	r = v->ops->find(v, at, &f->place, err);
	if (r < 0)
		return r;
	f->value = value;
	f->other = other;
	r = start(f);
	if (r < 0)
		return vhu_err_errno(err, r, "cannot start a thread");
	v->spoilt = true;
	v->flip = f;
	f = NULL;
	return 0;
}

void vhu_vring_still(struct vhu_vring *v)
{
	if (!v->flip)
		return;
	__atomic_store_n(&v->flip->over, true, __ATOMIC_RELAXED);
	pthread_join(v->flip->thread, NULL);
	free(v->flip);
	v->flip = NULL;
}
