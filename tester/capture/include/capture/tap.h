/*
 * What the eBPF programs (bpf/tap.bpf.c) and their loader (src_ebpf.c) say to each other. A flow is one
 * direction of a socket, known by the kernel's address of the sending end and a number that is never used
 * again.
 */
#pragma once

#ifndef __bpf__
#include <linux/types.h>
#endif

enum {
	VHU_TAP_FLOWS_MAX = 8192,
	VHU_TAP_PART = 4096,	/* bytes in one event */
	VHU_TAP_PARTS_MAX = 17, /* of one read; what lies behind them is only counted */
	VHU_TAP_FDS_MAX = 253,
	VHU_TAP_NAMES_MAX = 16,
	VHU_TAP_NAME = 64, /* of a socket's file, cut */
	VHU_TAP_PATH = 108,
	VHU_TAP_COMM = 16,
	VHU_TAP_RING = 32 << 20, /* bytes, between kernel and recorder */
};

enum vhu_tap_kind {
	VHU_TAP_OPEN = 1, /* a connection that may be one of ours: both flows */
	VHU_TAP_FLOW,	  /* who sends and who reads has changed */
	VHU_TAP_FD,	  /* one descriptor; those of a read come before its data */
	VHU_TAP_DATA,
	VHU_TAP_NEXT,	 /* data like most: all there is to say of it is what it adds to the data before */
	VHU_TAP_NUMBERS, /* what the sender calls the descriptors that it just sent */
	VHU_TAP_END,	 /* the reader saw the end of the stream, or an error */
	VHU_TAP_CLOSED,	 /* the sending end is closed */
	VHU_TAP_EXIT,	 /* a process that takes part has ended */
};

/* Times are CLOCK_MONOTONIC; processes are (tgid << 32 | tid). */
struct vhu_tap_head {
	__u32 kind, len; /* len: of the whole event */
	__u64 t_ns;
	__u64 flow;
};

enum { VHU_TAP_WATCHED, VHU_TAP_IGNORED };
enum { VHU_TAP_HEADER = 12 }; /* of a message */

/* Also the value of the map of flows. */
struct vhu_tap_flow {
	__u64 flow; /* 2n and 2n + 1 are one connection */
	__u64 sock, peer;
	__u64 ino, peer_ino;  /* of the sockets; 0: not known (yet) */
	__u64 off;	      /* bytes read so far */
	__u64 checked;	      /* reads so far that were looked at for peeking, or that there was some */
	__u64 sender, reader; /* who last did so; 0: nobody yet */
	__u64 told_sender, told_reader; /* with the last DATA; reader 0: the next data is told in full */
	__u64 reader_task;		/* `reader` as the kernel's address of it */
	__u64 this_read;		/* the kernel's number of the last read, */
	__u32 read;			/* and ours */
	__u32 owner; /* tgid that made the sending end's socket, as its peer was told; 0: unknown */
	__u32 state;
	__u32 ended, closed;
	__u32 lost; /* parts that found no room in the ring */
	/* A header that was read alone waits for the read behind it: one event instead of two. */
	__u32 stashed, stash_read;
	__u8 stash[VHU_TAP_HEADER];
	__u32 left;	  /* bytes to come of a message whose header was seen */
	__u32 named, pad; /* it was asked for by the name of its file */
	__u64 taken;	  /* the place in the map */
	char comm[VHU_TAP_COMM], reader_comm[VHU_TAP_COMM];
};

struct vhu_tap_open {
	struct vhu_tap_head head;
	struct vhu_tap_flow flow[2];
	__u64 path_ino;		 /* of the socket's file, 0: none */
	__u32 path_dev;		 /* as the kernel has it: major << 20 | minor */
	__u32 path_len;		 /* of `path`; abstract names begin with a NUL */
	__u32 path_of_peer, pad; /* flow[1] is bound to it */
	char path[VHU_TAP_PATH + 4];
};

struct vhu_tap_change {
	struct vhu_tap_head head;
	struct vhu_tap_flow flow;
};

struct vhu_tap_fd {
	struct vhu_tap_head head;
	__u64 object; /* the same for the same open file */
	__u64 size, ino;
	__u32 dev, seals;
	__u8 kind, has_seals, has_size, pad[5];
};

enum { VHU_TAP_UNREAD = 1 }; /* went away with the reader */

/* Reads are numbered from 1 for each flow. A header of `before_read` comes first, if that is not 0. */
struct vhu_tap_data {
	struct vhu_tap_head head;
	__u64 sock; /* the sending end */
	__u64 off;
	__u64 sender, reader;
	__u32 read, before_read;
	__u32 kept, missing;
	__u32 n_fds, flags;
	__u32 lost; /* of this flow, so far */
	__u32 pad;
	__u8 bytes[];
};

/* Right behind what was told of this flow before, of the same sender and reader, nothing missing or lost. */
struct vhu_tap_next {
	struct vhu_tap_head head;
	__u32 read, before_read;
	__u8 bytes[];
};

struct vhu_tap_numbers {
	struct vhu_tap_head head;
	__u32 n, pad;
	__s32 number[VHU_TAP_FDS_MAX];
};

/* END and CLOSED. */
struct vhu_tap_end {
	struct vhu_tap_head head;
	__s32 error;
	__u32 lost; /* of this flow, so far */
};

struct vhu_tap_exit {
	struct vhu_tap_head head;
	__u32 tgid, status;
};
