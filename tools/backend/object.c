/*
 * GET_SHARED_OBJECT, and what is told of objects on the back-end channel.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fault.h"
#include "options.h"
#include "session.h"

enum { FAULT_TEXT_UUID = 36 };

/* 6ba7b812-9dad-41d1-80b4-00c04fd430c8 */
static const uint8_t uuid[PMAX_SHARED] = {0x6b, 0xa7, 0xb8, 0x12, 0x9d, 0xad, 0x41, 0xd1,
					  0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4, 0x30, 0xc8};

static void send_uuid(struct session *s)
{
	uint8_t payload[FAULT_TEXT_UUID] = {0};

	memcpy(payload, uuid, sizeof(uuid));
	if (fault(shobj_uuid_order)) {
		static const uint8_t from[] = {3, 2, 1, 0, 5, 4, 7, 6};

		for (size_t i = 0; i < sizeof(from); i++)
			payload[i] = uuid[from[i]];
	}
	channel_send(s, MSG_BACKEND_BACKEND_SHARED_OBJECT_ADD, payload,
		     fault(shobj_uuid_text) ? FAULT_TEXT_UUID : PMAX_SHARED, -1);
}

bool object_tell(struct session *s)
{
	if (s->object.fd >= 0 || !options_asks(MSG_BACKEND_BACKEND_SHARED_OBJECT_ADD) ||
	    !((s->pfeatures & P(SHARED_OBJECT)) || fault(shobj_unneg)))
		return false;
	s->object.fd = memfd_create("vhu-object", MFD_CLOEXEC);
	if (s->object.fd < 0)
		return false;
	send_uuid(s);
	return true;
}

void object_close(struct session *s)
{
	if (s->object.fd >= 0)
		close(s->object.fd);
	s->object.fd = -1;
}

enum result msg_get_shared_object(struct session *s, struct msg *m, struct reply *r)
{
	static const uint8_t nil[PMAX_SHARED];
	bool known = s->object.fd >= 0 && memcmp(m->payload, uuid, sizeof(uuid)) == 0;

	if (fault(shobj_nil_crash) && memcmp(m->payload, nil, sizeof(nil)) == 0)
		fault_crash();
	memcpy(r->payload, m->payload, m->size);
	r->size = m->size;
	if ((known && !fault(shobj_forgotten)) || fault(shobj_any))
		r->fd = fcntl(known ? s->object.fd : STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	return RES_OK;
}
