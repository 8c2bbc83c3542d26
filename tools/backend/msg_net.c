/*
 * Messages of network devices: the host's MTU, and frames that tell where a guest has gone.
 */
#include "fault.h"
#include "options.h"
#include "session.h"

enum { MTU_MIN = 68, MTU_MAX = UINT16_MAX };

enum result msg_net_set_mtu(struct session *s, struct msg *m, struct reply *r)
{
	uint64_t mtu = FIELD(m->payload, U64, u64);

	(void)r;
	if (options.mtu_any)
		return RES_OK;
	if (fault(net_mtu_any) ? mtu == MTU_MIN : mtu < MTU_MIN || mtu > MTU_MAX)
		return RES_REFUSED;
	if (fault(net_mtu_refused))
		return RES_REFUSED;
	s->mtu = (uint16_t)mtu;
	return RES_OK;
}

/* The wire ends here: nobody would hear of it. */
enum result msg_send_rarp(struct session *s, struct msg *m, struct reply *r)
{
	(void)m;
	(void)r;
	if (fault(net_rarp_crash) && !s->n_started)
		fault_crash();
	return RES_OK;
}
