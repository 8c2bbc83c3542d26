/* Events, sockets and the flows between them: what all programs share. Part of tap.bpf.c. */
#pragma once

enum {
	UNIX = 1,
	STREAM = 1,
	RCV_SHUTDOWN = 1,
	PEEK = 2,
	RESET = -104,
	EXITING = 4,
	GROUP_EXIT = 4,
	HEADER = 12,
	REQUEST_MAX = 64,
	SIZE_MAX_BELIEVED = 65536,
	S_FMT = 0170000,
	S_SOCKET = 0140000,
	S_REGULAR = 0100000,
	S_BLOCK = 0060000,
	S_CHAR = 0020000,
	S_FIFO = 0010000,
	CHECKED_READS = 64,
	SEEN_PEEKING,
	MOUNTS = 4,
	RIGHTS = 1,
	SOL = 1,
	PLACES_TRIED = 32, /* before a connection is not recorded */
	CLAIM_TRIES = 256, /* until another CPU has opened it */
	PLAIN_MAX = 32,	   /* bytes that are read without a call */
	NEXT_MAX = 256,	   /* bytes of an event without much around them */
	NEAR = 4,	   /* sockets that a CPU remembers */
	NOWHERE = ~0u,
	WAKE_BYTES = 512 << 10, /* between two looks at how full the ring is */
};
#define HUGETLBFS 0x958458f6u
#define TMPFS	  0x01021994u

/* Kinds of descriptor as captures have them (wire/frame.h). */
enum { UNKNOWN, MEMFD, HUGETLB, SHM, FILE_, EVENTFD, SOCKET, PIPE, USERFAULT, DEVICE, OTHER };

/* Set by the loader. */
const volatile char vhu_names[VHU_TAP_NAMES_MAX][VHU_TAP_NAME] = {};
const volatile char vhu_folders[VHU_TAP_NAMES_MAX][VHU_TAP_NAME] = {}; /* "": any */
const volatile __u32 vhu_n_names = 0;
const volatile __u32 vhu_pids[VHU_TAP_NAMES_MAX] = {};
const volatile __u32 vhu_n_pids = 0;
const volatile __u32 vhu_all = 0;
const volatile __u32 vhu_pages = 0; /* whether bytes in pages can be read */
const volatile __u32 vhu_casts = 0; /* whether any address can be read like a structure */
const volatile __u32 vhu_self = 0;  /* our own process: what it does with sockets is of no interest */

__u64 vhu_last_connection = 0;
__u64 vhu_lost = 0;
__u64 vhu_opened = 0; /* counts connections once they can be found */
__u32 vhu_reads = 0;  /* set by the loader while the end of each read is told */
__u32 vhu_flush = 0;  /* set by the loader at the end: nothing shall wait any more */

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, VHU_TAP_RING);
} vhu_ring SEC(".maps");

/* Where each flow is kept, by the kernel's address of the sending end. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, VHU_TAP_FLOWS_MAX);
	__type(key, __u64);
	__type(value, __u32);
} vhu_places SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, VHU_TAP_FLOWS_MAX);
	__type(key, __u32);
	__type(value, struct vhu_tap_flow);
} vhu_flows SEC(".maps");

/* Connections, by half the number of a flow, that turned out to be of no interest. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, VHU_TAP_FLOWS_MAX);
	__type(key, __u64);
	__type(value, __u64);
} vhu_refused SEC(".maps");

/* Processes that take part. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u32);
} vhu_processes SEC(".maps");

/*
 * A sending end that was looked for on this CPU, and where its flow is kept. A stranger has none, and was not
 * asked for by name; that holds until flows are opened again.
 */
struct near {
	__u64 sock;
	__u64 ino, opened; /* of a stranger */
	__u32 place;
};

/* Room to build events: one for each program that can interrupt another one. */
struct scratch {
	union {
		struct vhu_tap_open open;
		struct vhu_tap_numbers numbers;
		__u8 room[sizeof(struct vhu_tap_data) + VHU_TAP_HEADER + 2 * VHU_TAP_PART];
	};
	struct vhu_tap_flow flow[2];
	/* Of this CPU: bytes since the last look at the ring; the socket that is read just now, the number of
	 * that read. */
	__u64 unsaid, reading, read;
	struct near near[NEAR];
	__u64 opened; /* what vhu_opened was before flows were looked for */
	/* Who sent last, and through which socket. */
	__u64 sender, sender_ino, sender_id;
};

enum { FOR_COPY, FOR_DROP, FOR_SEND, FOR_OTHER, N_SCRATCH };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, N_SCRATCH);
	__type(key, __u32);
	__type(value, struct scratch);
} vhu_scratch SEC(".maps");

/* --- events ------------------------------------------------------------------------------------------ */

static __always_inline struct scratch *scratch(__u32 which)
{
	return bpf_map_lookup_elem(&vhu_scratch, &which);
}

static __always_inline void fill_head(struct vhu_tap_head *h, __u32 kind, __u32 len,
				      const struct vhu_tap_flow *f)
{
	h->kind = kind;
	h->len = len;
	h->t_ns = bpf_ktime_get_ns();
	h->flow = f ? f->flow : 0;
}

/* The recorder looks by itself now and then: it is woken only when room gets scarce. */
static __always_inline bool emit(struct scratch *s, void *event, __u32 len)
{
	__u64 flags = BPF_RB_NO_WAKEUP;

	s->unsaid += len;
	if (s->unsaid > WAKE_BYTES) {
		s->unsaid = 0;
		if (bpf_ringbuf_query(&vhu_ring, BPF_RB_AVAIL_DATA) > VHU_TAP_RING / 2)
			flags = BPF_RB_FORCE_WAKEUP;
	}
	if (bpf_ringbuf_output(&vhu_ring, event, len, flags) == 0)
		return true;
	__sync_fetch_and_add(&vhu_lost, 1);
	return false;
}

extern void *bpf_rdonly_cast(const void *obj, __u32 type) __weak __ksym;

/* --- sockets ----------------------------------------------------------------------------------------- */

static __always_inline bool is_stream(const struct sock *sk)
{
	return BPF_CORE_READ(sk, __sk_common.skc_family) == UNIX && BPF_CORE_READ(sk, sk_type) == STREAM;
}

static __always_inline __u64 inode_of(const struct sock *sk)
{
	struct socket_alloc *a = (void *)BPF_CORE_READ(sk, sk_socket);

	return a ? BPF_CORE_READ(a, vfs_inode.i_ino) : 0;
}

/*
 * The same for sockets that the kernel hands to a program or that one finds from there: such loads are plain,
 * the ones above are calls. What runs for each message uses these.
 */
static __always_inline bool is_stream_here(const struct sock *sk)
{
	return sk->__sk_common.skc_family == UNIX && sk->sk_type == STREAM;
}

static __always_inline __u64 inode_here(const struct sock *sk)
{
	const struct socket_alloc *a;

	if (!vhu_casts)
		return sk->sk_socket->file->f_inode->i_ino;
	a = bpf_rdonly_cast(sk->sk_socket, bpf_core_type_id_kernel(struct socket_alloc));
	return a->vfs_inode.i_ino;
}

static __always_inline struct sock *peer_of(const struct sock *sk)
{
	return BPF_CORE_READ((const struct unix_sock *)sk, peer);
}

static __always_inline struct vhu_tap_flow *flow_at(__u64 sock)
{
	const __u32 *place = bpf_map_lookup_elem(&vhu_places, &sock);

	return place ? bpf_map_lookup_elem(&vhu_flows, place) : NULL;
}

static __always_inline struct vhu_tap_flow *flow_of(const struct sock *sk)
{
	return flow_at((__u64)sk);
}

static __always_inline struct near *near_of(__u64 ino, struct scratch *s)
{
	return &s->near[ino % NEAR];
}

/* The same as flow_of, soon where it is the same again and again on this CPU. */
static __always_inline struct vhu_tap_flow *flow_near(const struct sock *sk, __u64 ino, struct scratch *s)
{
	__u64 sock = (__u64)sk;
	struct near *near = near_of(ino, s);
	struct vhu_tap_flow *f;
	const __u32 *place;

	if (near->sock == sock && near->place != NOWHERE) {
		f = bpf_map_lookup_elem(&vhu_flows, &near->place);
		if (f && f->sock == sock)
			return f;
	}
	place = bpf_map_lookup_elem(&vhu_places, &sock);
	if (!place)
		return NULL;
	near->sock = sock;
	near->place = *place;
	return bpf_map_lookup_elem(&vhu_flows, place);
}

/* An address may serve again for another socket. */
static __always_inline bool is_stranger(const struct sock *sk, __u64 ino, struct scratch *s)
{
	const struct near *near = near_of(ino, s);

	return near->sock == (__u64)sk && near->place == NOWHERE && near->ino == ino &&
	       near->opened == vhu_opened;
}

static __always_inline void remember_stranger(const struct sock *sk, __u64 ino, struct scratch *s)
{
	struct near *near = near_of(ino, s);

	if (!ino)
		return; /* it is not accepted yet */
	near->sock = (__u64)sk;
	near->ino = ino;
	near->opened = s->opened;
	near->place = NOWHERE;
}

/* Room for a flow of this socket, which may have some of an earlier life already. NULL: there is none. */
static __always_inline struct vhu_tap_flow *place_for(__u64 sock, __u64 number)
{
	struct vhu_tap_flow *f = flow_at(sock);

	for (__u32 i = 0; i < PLACES_TRIED && !f; i++) {
		__u32 place = (number + i) % VHU_TAP_FLOWS_MAX;
		struct vhu_tap_flow *try = bpf_map_lookup_elem(&vhu_flows, &place);

		if (!try || __sync_val_compare_and_swap(&try->taken, 0, 1))
			continue;
		if (bpf_map_update_elem(&vhu_places, &sock, &place, BPF_ANY) < 0)
			try->taken = 0;
		else
			f = try;
	}
	return f;
}

static __always_inline void forget_flow(struct vhu_tap_flow *f)
{
	__u64 sock = f->sock;

	f->sock = 0;
	bpf_map_delete_elem(&vhu_places, &sock);
	f->taken = 0;
}

static __always_inline bool same_name(const volatile char *want, const __u64 *have)
{
	const volatile __u64 *words = (const volatile __u64 *)want;
	__u64 differ = 0;

	for (__u32 k = 0; k < VHU_TAP_NAME / 8; k++)
		differ |= words[k] ^ have[k];
	return !differ;
}

/*
 * Whether the socket's file is one of those that were asked for, by its name and its folder's. At the root of
 * a file system the folder has no name of its own; the loader looks at the whole path.
 */
static __always_inline bool is_named(const struct sock *sk)
{
	const struct dentry *file = BPF_CORE_READ((const struct unix_sock *)sk, path.dentry);
	__u64 name[VHU_TAP_NAME / 8] = {}, folder[VHU_TAP_NAME / 8] = {};
	bool root;

	if (!file || bpf_probe_read_kernel_str(name, sizeof(name), BPF_CORE_READ(file, d_name.name)) < 0 ||
	    bpf_probe_read_kernel_str(folder, sizeof(folder), BPF_CORE_READ(file, d_parent, d_name.name)) < 0)
		return false;
	root = *(const char *)folder == '/';
	for (__u32 i = 0; i < VHU_TAP_NAMES_MAX; i++) {
		if (i >= vhu_n_names)
			break;
		if (same_name(vhu_names[i], name) &&
		    (root || !vhu_folders[i][0] || same_name(vhu_folders[i], folder)))
			return true;
	}
	return false;
}

static __always_inline __u32 consumed_of(const struct sk_buff *skb)
{
	return *(const __u32 *)((const void *)skb->cb +
				bpf_core_field_offset(struct unix_skb_parms, consumed));
}

static __always_inline struct scm_fp_list *fds_of(const struct sk_buff *skb)
{
	return *(struct scm_fp_list *const *)((const void *)skb->cb +
					      bpf_core_field_offset(struct unix_skb_parms, fp));
}

/* 16 bytes of kernel memory as plain loads, which newer kernels allow; the others take a call. */
static __always_inline void load16(const void *from, __u32 *to)
{
	const struct in6_addr *a;

	if (!vhu_casts) {
		bpf_probe_read_kernel(to, 16, from);
		return;
	}
	a = bpf_rdonly_cast(from, bpf_core_type_id_kernel(struct in6_addr));
	to[0] = a->in6_u.u6_addr32[0];
	to[1] = a->in6_u.u6_addr32[1];
	to[2] = a->in6_u.u6_addr32[2];
	to[3] = a->in6_u.u6_addr32[3];
}

/* Whether what is left of the buffer begins as a vhost-user message does. */
static __always_inline bool speaks(const struct sk_buff *skb)
{
	__u32 consumed = consumed_of(skb), head[4] = {};

	if (skb->len < consumed + HEADER)
		return false;
	load16(skb->data + consumed, head);
	return head[0] >= 1 && head[0] <= REQUEST_MAX && (head[1] & ~0xcu) == 1 &&
	       head[2] <= SIZE_MAX_BELIEVED;
}

/* --- flows ------------------------------------------------------------------------------------------- */

static __always_inline void fill_flow(struct vhu_tap_flow *f, const struct sock *sk, const struct sock *peer,
				      __u64 number)
{
	__builtin_memset(f, 0, sizeof(*f));
	f->taken = 1;
	f->flow = number;
	f->sock = (__u64)sk;
	f->peer = (__u64)peer;
	f->ino = inode_of(sk);
	f->peer_ino = peer ? inode_of(peer) : 0;
	/* What the peer was told of us when it connected, accepted, or was made. */
	if (peer)
		f->owner = BPF_CORE_READ(peer, sk_peer_pid, numbers[0].nr);
}

static __always_inline void fill_path(struct vhu_tap_open *o, const struct sock *sk, const struct sock *peer)
{
	const struct unix_sock *u = (const void *)sk;
	const struct unix_address *addr = BPF_CORE_READ(u, addr);
	const struct inode *inode;
	int len;

	o->path_of_peer = 0;
	if (!addr && peer) {
		u = (const void *)peer;
		addr = BPF_CORE_READ(u, addr);
		o->path_of_peer = 1;
	}
	o->path_len = 0;
	o->path_ino = 0;
	o->path_dev = 0;
	if (!addr)
		return;
	len = BPF_CORE_READ(addr, len) - 2;
	if (len > 0 && len <= VHU_TAP_PATH)
		o->path_len = (__u32)len;
	bpf_probe_read_kernel(o->path, VHU_TAP_PATH, (const void *)&addr->name + 2);
	inode = BPF_CORE_READ(u, path.dentry, d_inode);
	if (inode) {
		o->path_ino = BPF_CORE_READ(inode, i_ino);
		o->path_dev = BPF_CORE_READ(inode, i_sb, s_dev);
	}
}

/* Whether it could be told: else it is tried again. */
static __always_inline bool emit_end(struct scratch *s, const struct vhu_tap_flow *f, __u32 kind, int error)
{
	struct vhu_tap_end e = {};

	if (f->state == VHU_TAP_IGNORED)
		return true;
	fill_head(&e.head, kind, sizeof(e), f);
	e.error = error;
	e.lost = f->lost;
	return emit(s, &e, sizeof(e));
}

/* A socket that had this address before: it is gone, whether or not that was noticed. */
static __always_inline void bury(const struct sock *sk, struct scratch *s)
{
	struct vhu_tap_flow *f = flow_of(sk);

	if (f && !f->closed)
		emit_end(s, f, VHU_TAP_CLOSED, 0);
}

/* The flow of this very connection, if it is known by now; others at these addresses have other inodes. */
static __always_inline struct vhu_tap_flow *opened_flow(const struct sock *sk, const struct sock *peer)
{
	struct vhu_tap_flow *f = flow_of(sk);

	if (!f || f->closed || f->peer != (__u64)peer || (!f->ino && !f->peer_ino) ||
	    (f->ino && f->ino != inode_of(sk)) || (f->peer_ino && f->peer_ino != inode_of(peer)))
		return NULL;
	return f;
}

/*
 * Who answers at once may be here, on another CPU, while the first message's sender still is: one of them
 * opens the flows, the other one waits for that. True: it is us.
 */
static __always_inline bool claim(__u64 pair, const struct sock *sk, const struct sock *peer)
{
	const __u32 nowhere = NOWHERE;

	for (__u32 i = 0; i < CLAIM_TRIES; i++) {
		if (bpf_map_update_elem(&vhu_places, &pair, &nowhere, BPF_NOEXIST) == 0)
			return true;
		if (opened_flow(sk, peer))
			return false;
	}
	return true; /* whoever had it is gone */
}

/* Both directions of a connection become known. */
static __noinline struct vhu_tap_flow *open_flows(const struct sock *sk, const struct sock *peer, bool named,
						  __u32 which)
{
	struct scratch *s = scratch(which);
	struct vhu_tap_flow *f, *back;
	__u64 number, pair;

	if (!s)
		return NULL;
	/* Addresses of sockets are even. There is no arithmetic on pointers, but on what was kept of them. */
	s->flow[0].sock = (__u64)sk;
	pair = (*(volatile __u64 *)&s->flow[0].sock ^ (__u64)peer) | 1;
	if (peer) {
		bool ours = claim(pair, sk, peer);

		f = opened_flow(sk, peer);
		if (f && ours)
			bpf_map_delete_elem(&vhu_places, &pair);
		if (f || !ours)
			return f;
	}
	bury(sk, s);
	if (peer)
		bury(peer, s);
	number = (__sync_fetch_and_add(&vhu_last_connection, 1) + 1) * 2;
	fill_flow(&s->flow[0], sk, peer, number);
	s->flow[0].named = named;
	fill_flow(&s->flow[1], peer, sk, number + 1);
	s->flow[1].named = named;
	f = place_for((__u64)sk, number);
	if (f)
		*f = s->flow[0];
	back = peer ? place_for((__u64)peer, number + 1) : NULL;
	if (back)
		*back = s->flow[1];
	fill_head(&s->open.head, VHU_TAP_OPEN, sizeof(s->open), &s->flow[0]);
	s->open.flow[0] = s->flow[0];
	s->open.flow[1] = s->flow[1];
	fill_path(&s->open, sk, peer);
	emit(s, &s->open, sizeof(s->open));
	__sync_fetch_and_add(&vhu_opened, 1);
	bpf_map_delete_elem(&vhu_places, &pair);
	return f;
}

/*
 * The flow of a sending end whose socket has the inode `ino`; NULL if it is of no interest. A kernel address
 * may serve again for another socket.
 */
static __always_inline struct vhu_tap_flow *known(const struct sock *sk, __u64 ino, struct scratch *s)
{
	struct vhu_tap_flow *f;

	if (!s || is_stranger(sk, ino, s))
		return NULL;
	s->opened = *(volatile __u64 *)&vhu_opened;
	f = flow_near(sk, ino, s);
	if (!f || (ino && f->ino && ino != f->ino))
		return NULL;
	if (ino && !f->ino) {
		/* It was not accepted yet when it was seen first: the other end tells whether it is the same.
		 */
		const struct sock *peer = peer_of(sk);
		const struct vhu_tap_flow *back = flow_of(peer);

		if ((__u64)peer != f->peer || !back || back->flow != (f->flow ^ 1) ||
		    back->ino != inode_of(peer))
			return NULL;
		f->ino = ino;
	}
	return f;
}

/* Who reads from the flow was accepted: its inode tells it from a later socket at the same address. */
static __always_inline void learn_peer(struct vhu_tap_flow *f)
{
	struct vhu_tap_flow *back;

	if (f->peer_ino)
		return;
	f->peer_ino = inode_of((const struct sock *)f->peer);
	back = flow_at(f->peer);
	if (back && back->flow == (f->flow ^ 1) && !back->ino)
		back->ino = f->peer_ino;
}

static __always_inline bool is_asked_for(__u32 pid)
{
	for (__u32 i = 0; i < VHU_TAP_NAMES_MAX; i++) {
		if (i >= vhu_n_pids)
			break;
		if (vhu_pids[i] == pid)
			return true;
	}
	return false;
}

/* One of the processes that were asked for, as far as can be told from here. */
static __always_inline bool is_theirs(const struct sock *sk, const struct sock *peer)
{
	return vhu_n_pids && (is_asked_for((__u32)(bpf_get_current_pid_tgid() >> 32)) ||
			      is_asked_for(BPF_CORE_READ(sk, sk_peer_pid, numbers[0].nr)) ||
			      (peer && is_asked_for(BPF_CORE_READ(peer, sk_peer_pid, numbers[0].nr))));
}

/*
 * A connection that was not seen before. What was asked for by name counts whatever it says; else it has to
 * speak vhost-user. A process that takes part in a session may have its other channels.
 */
static __always_inline struct vhu_tap_flow *wanted(const struct sock *sk, __u64 ino,
						   const struct sk_buff *skb, __u32 which)
{
	__u32 tgid = (__u32)(bpf_get_current_pid_tgid() >> 32);
	struct scratch *s = scratch(which);
	const struct sock *peer;
	bool named = false, stranger;

	if (!s || tgid == vhu_self)
		return NULL;
	stranger = is_stranger(sk, ino, s);
	if (stranger && !speaks(skb))
		return NULL;
	peer = peer_of(sk);
	if (!stranger && vhu_n_names)
		named = is_named(sk) || (peer && is_named(peer));
	if (!named && !stranger)
		remember_stranger(sk, ino, s);
	if (!named &&
	    (!speaks(skb) || !(vhu_all || is_theirs(sk, peer) || bpf_map_lookup_elem(&vhu_processes, &tgid))))
		return NULL;
	return open_flows(sk, peer, named, which);
}

static __always_inline void emit_flow(const struct vhu_tap_flow *f, struct scratch *s)
{
	if (!s)
		return;
	fill_head(&s->open.head, VHU_TAP_FLOW, sizeof(struct vhu_tap_change), f);
	s->open.flow[0] = *f;
	emit(s, &s->open, sizeof(struct vhu_tap_change));
}

/* Who sends or reads has changed; told when the process is another one than before. */
static __noinline void take_part(struct vhu_tap_flow *f, bool reads, __u32 which)
{
	__u64 now = bpf_get_current_pid_tgid(), before = reads ? f->reader : f->sender;
	const struct task_struct *leader;
	__u32 tgid = now >> 32;

	if (reads)
		f->reader = now;
	else
		f->sender = now;
	if (now >> 32 == before >> 32)
		return;
	leader = BPF_CORE_READ((const struct task_struct *)bpf_get_current_task(), group_leader);
	bpf_probe_read_kernel_str(reads ? f->reader_comm : f->comm, VHU_TAP_COMM, &leader->comm);
	bpf_map_update_elem(&vhu_processes, &tgid, &tgid, BPF_ANY);
	emit_flow(f, scratch(which));
}
