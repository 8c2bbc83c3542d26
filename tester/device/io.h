/* Requests and the driver, as the files of this room see them. */
#pragma once

#include "device/driver.h"
#include "device/ledger.h"
#include "vring/vring.h"

enum {
	KEPT_IOS_MAX = 64,	  /* requests whose buffers are watched after their return … */
	KEPT_BYTES_MAX = 2 << 20, /* … and their bytes */
};

enum io_role { IO_HEADER, IO_DATA, IO_STATUS, IO_PART, IO_RAW };

/* One descriptor of a request. */
struct io_buf {
	uint64_t gpa;
	uint32_t len;
	uint32_t at; /* where its bytes are in out or in */
	enum io_role role;
	bool in;
	bool live;		 /* gpa was allocated */
	struct vhu_raw_desc raw; /* IO_RAW */
};

struct vhu_io {
	struct vhu_driver *d;
	struct vhu_io *prev, *next;
	enum vhu_io_op op;
	uint32_t type; /* of a block request */
	uint64_t sector;
	uint32_t count, statuses;
	enum vhu_pattern pattern;
	uint64_t pattern_arg;
	bool verify, indirect, raw;
	unsigned queue;
	uint16_t head;
	uint64_t seq, done_seq;

	struct io_buf *buf;
	size_t n_buf, cap_buf;
	uint8_t *out, *in; /* our copies: what was sent; what came back, complete from then on */
	size_t out_len, in_len;
	uint64_t data_len;

	bool done, abandoned, freed;
	bool batch; /* its used length is not the device's word */
	uint8_t status;
	uint32_t used_len;
	struct vhu_ledger_write write;
	struct vhu_ledger_read read;
};

struct io_list {
	struct vhu_io *first, *last;
};

struct vhu_driver {
	struct vhu_driver_opts opts;
	const struct vhu_device_ops *ops;
	struct vhu_mem *mem;
	struct vhu_vring **ring;
	size_t n_rings;
	struct vhu_ledger *ledger;
	uint64_t n_submitted, n_done;
	struct io_list ios;  /* submitted, not freed, or not returned */
	struct io_list kept; /* freed; their buffers are watched before they are used again */
	size_t n_kept, kept_bytes;
	struct io_list lost;		/* abandoned and freed: the device may still use the buffers */
	bool rings_given;		/* a descriptor gives ring memory to the device to write */
	char id[VHU_C_BLK_ID_SIZE + 1]; /* the device's id string, once it was read */
	bool id_known;
	struct vhu_net *net; /* frames and what became of them, once there were any */
};

/* A device type: what the buffers of its requests mean. */
struct vhu_device_ops {
	const char *name;
	/* Pushes the buffers of a request. */
	int (*build)(struct vhu_io *io, const struct vhu_io_spec *spec, struct vhu_err *err);
	/* Writes the bytes that the device shall read to io->out. */
	void (*fill)(struct vhu_io *io, const struct vhu_io_spec *spec);
	/* It is about to be sent: book it. 0 or -ENOMEM. */
	int (*begin)(struct vhu_io *io);
	/* It will not come back: never sent, or abandoned. */
	void (*drop)(struct vhu_io *io, bool sent);
	/* It came back: io->in, used_len and batch are set. */
	void (*complete)(struct vhu_io *io);
	uint32_t (*expected_len)(const struct vhu_io *io);
	char *(*describe)(const struct vhu_io *io, char *out, size_t cap);
	/* NULL, or: what a ring gave back by now was completed. */
	void (*reaped)(struct vhu_driver *d, unsigned queue);
};

extern const struct vhu_device_ops vhu_blk_ops;
extern const struct vhu_device_ops vhu_net_ops;
extern const struct vhu_device_ops vhu_chain_ops; /* free chains only */
const struct vhu_device_ops *vhu_device_ops_find(enum vhu_device device);

/* audit.c: region 0 holds the rings up to here, where the first data range begins */
uint64_t vhu_driver_rings_end(const struct vhu_driver *d);

/* io.c */
int vhu_io_push(struct vhu_io *io, bool in, uint64_t len, enum io_role role, struct vhu_err *err);
/* Guest memory for all of it, and room for the copies. */
int vhu_io_lay_out(struct vhu_io *io, struct vhu_err *err);
/* out to the guest's memory, and poison to where the device shall write. */
void vhu_io_write(struct vhu_io *io);
/* It came back: what was written goes to io->in, and what was wrongly written is told. */
void vhu_io_collect(struct vhu_io *io);
/* Paints its buffers anew: the device has no business in them any more. */
void vhu_io_refill(struct vhu_io *io);
/* The readable buffers of a request in flight. */
void vhu_io_check_readable(struct vhu_io *io);
/* The buffers of a request that came back: whether they were touched since. */
void vhu_io_check_refill(struct vhu_io *io);
/* Gives its memory back, ours and the guest's. */
void vhu_io_destroy(struct vhu_io *io);
/* The byte that in[at] held at submission. */
uint8_t vhu_io_poison(const struct vhu_io *io, size_t at);
/* The first whole word of poison in in[from … to-1], or `to`. */
size_t vhu_io_unwritten(const struct vhu_io *io, size_t from, size_t to);
/* Tells of the first byte of in[0 … claimed-1] that the device counts and did not write (yet). */
void vhu_io_check_claim(struct vhu_io *io, size_t claimed);
/* Whether the device wrote anything at all. */
bool vhu_io_touched(const struct vhu_io *io);
/* Whether the word at in[at], which was unwritten, has been written by now. */
bool vhu_io_came(const struct vhu_io *io, size_t at);

/* chain.c: free chains, for every type */
int vhu_chain_build(struct vhu_io *io, const struct vhu_io_spec *spec, struct vhu_err *err);
void vhu_chain_fill(struct vhu_io *io, const struct vhu_io_spec *spec);
void vhu_chain_complete(struct vhu_io *io);
char *vhu_chain_describe(const struct vhu_io *io, char *out, size_t cap);

/* net.c */
void vhu_net_free(struct vhu_net *n);

/* driver.c */
void vhu_driver_report(struct vhu_io *io, enum vhu_breach breach, uint64_t gpa, const char *format, ...)
	VHU_PRINTF(4, 5);
void vhu_driver_report_memory(struct vhu_driver *d, enum vhu_breach breach, uint64_t gpa, const char *text);
void vhu_driver_report_ring(struct vhu_driver *d, enum vhu_breach breach, unsigned queue, const char *text);
/* Takes buffers back that are only kept to be watched. False if there are none. */
bool vhu_driver_reclaim(struct vhu_driver *d);
