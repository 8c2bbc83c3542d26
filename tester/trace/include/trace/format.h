/*
 * The capture file: classic pcap with nanoseconds and link type USER0, each record a 56-byte pseudo-header,
 * TLVs and one vhost-user message (docs/capture-format.md). Our numbers are little-endian; messages stay as
 * they were.
 */
#pragma once

enum {
	VHU_CAP_VERSION = 1,
	VHU_CAP_LINKTYPE = 147,			/* DLT_USER0 */
	VHU_CAP_HEADER = 56,			/* bytes before the TLVs */
	VHU_CAP_HEADER_SOFT = 4096,		/* with them; texts are cut, descriptors not */
	VHU_CAP_HEADER_MAX = 16384,		/* 253 descriptors */
	VHU_CAP_RECORD_MAX = 262144,		/* libpcap refuses what is longer, and all behind it */
	VHU_CAP_CONNECTIONS_MAX = 65535,
	VHU_CAP_FDS_MAX = 253,
	VHU_CAP_PIECE = 65536,			/* of raw streams, memory and device state */
	VHU_CAP_FD_SIZE = 32,
	VHU_CAP_REGION_SIZE = 48,
	VHU_CAP_TLV_CRITICAL = 0x8000,
	VHU_CAP_FINDINGS_MAX = 16,		/* in one record */
	VHU_CAP_RECVS_MAX = 512,
};

enum vhu_cap_direction { VHU_CAP_DIR_NONE, VHU_CAP_DIR_FE, VHU_CAP_DIR_BE, VHU_CAP_DIR_MAX };

enum vhu_cap_channel {
	VHU_CAP_META, VHU_CAP_MAIN, VHU_CAP_BACKEND, VHU_CAP_RING, VHU_CAP_MEM, VHU_CAP_LIFE, VHU_CAP_GPU,
	VHU_CAP_STATE, VHU_CAP_CHANNEL_MAX
};

enum vhu_cap_tap {
	VHU_CAP_TAP_UNKNOWN, VHU_CAP_TAP_SELF, VHU_CAP_TAP_PROXY, VHU_CAP_TAP_EBPF, VHU_CAP_TAP_IMPORT,
	VHU_CAP_TAP_MAX
};

/* Flags of a record. */
enum {
	VHU_CAP_TRUNCATED = 1 << 0,	/* payload cut; orig_len is true */
	VHU_CAP_LOST_BEFORE = 1 << 1,	/* the tap lost something on this connection just before */
	VHU_CAP_PARTIAL = 1 << 2,	/* the connection ended inside this message */
	VHU_CAP_MALFORMED = 1 << 3,	/* framing cannot be trusted from here on: raw bytes */
	VHU_CAP_BIG_ENDIAN = 1 << 4,	/* the payload's byte order */
	VHU_CAP_FDS_LOST = 1 << 5,
	VHU_CAP_INTENDED = 1 << 6,	/* a violation that the tester sent on purpose */
	VHU_CAP_SPLIT = 1 << 7,		/* came in more than one read */
	VHU_CAP_JOINED = 1 << 8,	/* shared a read with the message before it */
	VHU_CAP_SCRUBBED = 1 << 9,	/* content was replaced */
};

enum {
	VHU_CAP_TLV_END, VHU_CAP_TLV_FD, VHU_CAP_TLV_COMM, VHU_CAP_TLV_PEER_COMM, VHU_CAP_TLV_PATH,
	VHU_CAP_TLV_STEP, VHU_CAP_TLV_FINDING, VHU_CAP_TLV_RECVS, VHU_CAP_TLV_ERRNO, VHU_CAP_TLV_TEXT,
	VHU_CAP_TLV_REGION
};

enum { VHU_CAP_META_HEAD = 1, VHU_CAP_META_END = 2 };

enum vhu_cap_life {
	VHU_CAP_LIFE_CONNECT = 1, VHU_CAP_LIFE_ACCEPT, VHU_CAP_LIFE_CLOSE, VHU_CAP_LIFE_START,
	VHU_CAP_LIFE_EXIT, VHU_CAP_LIFE_STOP, VHU_CAP_LIFE_LOST, VHU_CAP_LIFE_MAX
};

enum vhu_cap_ring {
	VHU_CAP_RING_KICK = 1, VHU_CAP_RING_CALL, VHU_CAP_RING_ERR, VHU_CAP_RING_AVAIL, VHU_CAP_RING_USED,
	VHU_CAP_RING_LAYOUT, VHU_CAP_RING_MAX
};

/* Bytes of ring records: all of an event's and a layout's, of others what stands before their contents. */
enum {
	VHU_CAP_EVENT_LEN = 16,
	VHU_CAP_AVAIL_HEAD = 16,
	VHU_CAP_AVAIL_ENTRY = 16,	/* of the table of descriptors behind that head */
	VHU_CAP_USED_HEAD = 32,
	VHU_CAP_LAYOUT_LEN = 40,
};
/* The id of a USED: the index moved, and no element is there. */
#define VHU_CAP_NO_ID UINT32_MAX

/* What a memory record is about, and how its bytes are written. */
enum vhu_cap_mem {
	VHU_CAP_MEM_RING = 1, VHU_CAP_MEM_BUFFER, VHU_CAP_MEM_INFLIGHT, VHU_CAP_MEM_LOG, VHU_CAP_MEM_MAX
};
enum vhu_cap_encoding { VHU_CAP_RAW, VHU_CAP_ZERO, VHU_CAP_PATTERN, VHU_CAP_ENCODING_MAX };
enum {
	VHU_CAP_MEM_HEAD = 16,		/* offset, length, encoding; at most VHU_CAP_PIECE bytes behind */
	VHU_CAP_PATTERN_LEN = 8,
};
