/*
 * Watches unix stream sockets: each part of a stream is seen where the reader's kernel copies it out, with
 * the descriptors that travel with it. Connections that speak vhost-user are found by the first header, by
 * the name of their socket's file, or because their socket was passed over one that does.
 */
#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "bpf/kernel.h"
#include "capture/tap.h"

char vhu_license[] SEC("license") = "Dual BSD/GPL";

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
	RIGHTS = 1,
	SOL = 1,
	RING_BYTES = 8 << 20,
};
#define HUGETLBFS 0x958458f6u
#define TMPFS	  0x01021994u

/* Kinds of descriptor as captures have them (wire/frame.h). */
enum { UNKNOWN, MEMFD, HUGETLB, SHM, FILE_, EVENTFD, SOCKET, PIPE, USERFAULT, DEVICE, OTHER };

/* Set by the loader. */
const volatile char vhu_names[VHU_TAP_NAMES_MAX][VHU_TAP_NAME] = {};
const volatile __u32 vhu_n_names = 0;
const volatile __u32 vhu_self = 0; /* our own process: what it does with sockets is of no interest */

__u64 vhu_last_connection = 0;
__u64 vhu_lost = 0;
__u32 vhu_flush = 0; /* set by the loader at the end: nothing shall wait any more */

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, RING_BYTES);
} vhu_ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, VHU_TAP_FLOWS_MAX);
	__type(key, __u64);
	__type(value, struct vhu_tap_flow);
} vhu_flows SEC(".maps");

/* Processes that take part. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u32);
} vhu_processes SEC(".maps");

/* Room to build events: one for each program that can interrupt another one. */
struct scratch {
	union {
		struct vhu_tap_open open;
		struct vhu_tap_numbers numbers;
		__u8 room[sizeof(struct vhu_tap_data) + VHU_TAP_HEADER + 2 * VHU_TAP_PART];
	};
	struct vhu_tap_flow flow[2];
	__u32 since_wake;
	/* Of this CPU: who reads just now, and the number of that read. */
	__u64 reader_task, read;
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
	h->sock = f ? f->sock : 0;
	h->flow = f ? f->flow : 0;
}

/* The reader sleeps until there is something worth waking up for, or its time is over. */
static __always_inline bool emit(struct scratch *s, void *event, __u32 len)
{
	__u64 flags = BPF_RB_NO_WAKEUP;

	if (bpf_ringbuf_query(&vhu_ring, BPF_RB_AVAIL_DATA) > RING_BYTES / 8) {
		if (s->since_wake++ % VHU_TAP_WAKE_EVERY == 0)
			flags = BPF_RB_FORCE_WAKEUP;
	} else {
		s->since_wake = 0;
	}
	if (bpf_ringbuf_output(&vhu_ring, event, len, flags) == 0)
		return true;
	__sync_fetch_and_add(&vhu_lost, 1);
	return false;
}

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
	return sk->sk_socket->file->f_inode->i_ino;
}

static __always_inline struct sock *peer_of(const struct sock *sk)
{
	return BPF_CORE_READ((const struct unix_sock *)sk, peer);
}

static __always_inline struct vhu_tap_flow *flow_of(const struct sock *sk)
{
	__u64 key = (__u64)sk;

	return bpf_map_lookup_elem(&vhu_flows, &key);
}

/* Whether the socket's file is one of those that were asked for. */
static __always_inline bool is_named(const struct sock *sk)
{
	const unsigned char *name = BPF_CORE_READ((const struct unix_sock *)sk, path.dentry, d_name.name);
	__u64 have[VHU_TAP_NAME / 8] = {};

	if (!name || bpf_probe_read_kernel_str(have, sizeof(have), name) < 0)
		return false;
	for (__u32 i = 0; i < VHU_TAP_NAMES_MAX; i++) {
		const volatile __u64 *want = (const volatile __u64 *)vhu_names[i];
		__u64 differ = 0;

		if (i >= vhu_n_names)
			break;
		for (__u32 k = 0; k < VHU_TAP_NAME / 8; k++)
			differ |= want[k] ^ have[k];
		if (!differ)
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

/* Whether what is left of the buffer begins as a vhost-user message does. */
static __always_inline bool speaks(const struct sk_buff *skb)
{
	__u32 consumed = consumed_of(skb), head[3];

	if (skb->len < consumed + HEADER ||
	    bpf_probe_read_kernel(head, sizeof(head), skb->data + consumed) < 0)
		return false;
	return head[0] >= 1 && head[0] <= REQUEST_MAX && (head[1] & ~0xcu) == 1 &&
	       head[2] <= SIZE_MAX_BELIEVED;
}

/* --- flows ------------------------------------------------------------------------------------------- */

static __always_inline void fill_flow(struct vhu_tap_flow *f, const struct sock *sk, const struct sock *peer,
				      __u64 number)
{
	__builtin_memset(f, 0, sizeof(*f));
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

/* Both directions of a connection become known. */
static __noinline struct vhu_tap_flow *open_flows(const struct sock *sk, const struct sock *peer, __u32 which)
{
	struct scratch *s = scratch(which);
	__u64 number, key = (__u64)sk, peer_key = (__u64)peer;

	if (!s)
		return NULL;
	number = (__sync_fetch_and_add(&vhu_last_connection, 1) + 1) * 2;
	fill_flow(&s->flow[0], sk, peer, number);
	bpf_map_update_elem(&vhu_flows, &key, &s->flow[0], BPF_ANY);
	fill_flow(&s->flow[1], peer, sk, number + 1);
	if (peer)
		bpf_map_update_elem(&vhu_flows, &peer_key, &s->flow[1], BPF_ANY);
	fill_head(&s->open.head, VHU_TAP_OPEN, sizeof(s->open), &s->flow[0]);
	s->open.flow[0] = s->flow[0];
	s->open.flow[1] = s->flow[1];
	fill_path(&s->open, sk, peer);
	emit(s, &s->open, sizeof(s->open));
	return bpf_map_lookup_elem(&vhu_flows, &key);
}

/*
 * The flow of a sending end whose socket has the inode `ino`; NULL if it is of no interest. A kernel address
 * may serve again for another socket.
 */
static __always_inline struct vhu_tap_flow *known(const struct sock *sk, __u64 ino)
{
	struct vhu_tap_flow *f = flow_of(sk);

	if (!f || (ino && f->ino && ino != f->ino))
		return NULL;
	if (ino && !f->ino)
		f->ino = ino;
	return f;
}

static __always_inline struct vhu_tap_flow *wanted(const struct sock *sk, const struct sock *peer,
						   const struct sk_buff *skb, __u32 which)
{
	if (!(speaks(skb) || (vhu_n_names && (is_named(sk) || (peer && is_named(peer))))))
		return NULL;
	if ((__u32)(bpf_get_current_pid_tgid() >> 32) == vhu_self)
		return NULL;
	return open_flows(sk, peer, which);
}

/* Who sends or reads has changed; told when the process is another one than before. */
static __noinline void take_part(struct vhu_tap_flow *f, bool reads, __u32 which)
{
	__u64 now = bpf_get_current_pid_tgid(), before = reads ? f->reader : f->sender;
	const struct task_struct *leader;
	__u32 tgid = now >> 32;
	struct scratch *s;

	if (reads)
		f->reader = now;
	else
		f->sender = now;
	if (now >> 32 == before >> 32)
		return;
	leader = BPF_CORE_READ((const struct task_struct *)bpf_get_current_task(), group_leader);
	bpf_probe_read_kernel_str(reads ? f->reader_comm : f->comm, VHU_TAP_COMM, &leader->comm);
	bpf_map_update_elem(&vhu_processes, &tgid, &tgid, BPF_ANY);
	s = scratch(which);
	if (!s)
		return;
	fill_head(&s->open.head, VHU_TAP_FLOW, sizeof(struct vhu_tap_change), f);
	s->open.flow[0] = *f;
	emit(s, &s->open, sizeof(struct vhu_tap_change));
}

/* --- descriptors ------------------------------------------------------------------------------------- */

static __always_inline bool begins(const char *text, const char *with, int n)
{
	for (int i = 0; i < n; i++)
		if (text[i] != with[i])
			return false;
	return true;
}

static __always_inline __u8 kind_of_name(const struct file *file)
{
	char name[16] = {};

	bpf_probe_read_kernel_str(name, sizeof(name), BPF_CORE_READ(file, f_path.dentry, d_name.name));
	if (begins(name, "[eventfd", 8))
		return EVENTFD;
	if (begins(name, "[userfaultfd", 12))
		return USERFAULT;
	if (begins(name, "memfd:", 6))
		return MEMFD;
	return UNKNOWN;
}

/* A file of tmpfs that lies in a folder "shm". */
static __always_inline bool is_shm(const struct file *file)
{
	const struct vfsmount *mnt = BPF_CORE_READ(file, f_path.mnt);
	const struct mount *m = (const void *)mnt - bpf_core_field_offset(struct mount, mnt);
	char name[8] = {};

	bpf_probe_read_kernel_str(name, sizeof(name), BPF_CORE_READ(m, mnt_mountpoint, d_name.name));
	return begins(name, "shm", 4);
}

static __always_inline void describe_regular(const struct file *file, const struct inode *inode,
					     struct vhu_tap_fd *e)
{
	__u32 magic = (__u32)BPF_CORE_READ(inode, i_sb, s_magic);

	e->has_size = 1;
	e->size = (__u64)BPF_CORE_READ(inode, i_size);
	if (magic == HUGETLBFS) {
		const struct hugetlbfs_inode_info *i =
			(const void *)inode - bpf_core_field_offset(struct hugetlbfs_inode_info, vfs_inode);

		e->kind = HUGETLB;
		e->has_seals = 1;
		e->seals = BPF_CORE_READ(i, seals);
		return;
	}
	if (magic == TMPFS) {
		const struct shmem_inode_info *i =
			(const void *)inode - bpf_core_field_offset(struct shmem_inode_info, vfs_inode);

		e->has_seals = 1;
		e->seals = BPF_CORE_READ(i, seals);
	}
	e->kind = kind_of_name(file);
	if (e->kind != MEMFD)
		e->kind = magic == TMPFS && is_shm(file) ? SHM : FILE_;
}

/* A function of its own, so that its branches are looked at once and not for each of many descriptors. */
__noinline int vhu_describe_fd(__u64 address, __u64 sock, __u64 flow)
{
	const struct file *file = (const void *)address;
	const struct inode *inode = BPF_CORE_READ(file, f_inode);
	struct scratch *s = scratch(FOR_OTHER);
	struct vhu_tap_fd e = {};
	__u32 mode;

	if (!s)
		return 0;
	mode = BPF_CORE_READ(inode, i_mode) & S_FMT;
	fill_head(&e.head, VHU_TAP_FD, sizeof(e), NULL);
	e.head.sock = sock;
	e.head.flow = flow;
	e.object = address;
	e.ino = BPF_CORE_READ(inode, i_ino);
	e.dev = BPF_CORE_READ(inode, i_sb, s_dev);
	if (mode == S_REGULAR)
		describe_regular(file, inode, &e);
	else if (mode == S_SOCKET)
		e.kind = SOCKET;
	else if (mode == S_FIFO)
		e.kind = PIPE;
	else if (mode == S_CHAR || mode == S_BLOCK)
		e.kind = DEVICE;
	else
		e.kind = kind_of_name(file);
	if (e.kind == UNKNOWN)
		e.kind = OTHER;
	emit(s, &e, sizeof(e));
	if (e.kind == SOCKET) {
		const struct socket *passed = BPF_CORE_READ(file, private_data);
		const struct sock *sk = BPF_CORE_READ(passed, sk);

		/* A channel of the same session may speak through it: all that comes is of interest. */
		if (sk && is_stream(sk) && !known(sk, inode_of(sk)))
			open_flows(sk, peer_of(sk), FOR_OTHER);
	}
	return 0;
}

static __always_inline __u32 emit_fds(const struct sk_buff *skb, const struct vhu_tap_flow *f)
{
	const struct scm_fp_list *list = fds_of(skb);
	__u32 n;

	if (!list)
		return 0;
	n = (__u16)BPF_CORE_READ(list, count);
	for (__u32 i = 0; i < VHU_TAP_FDS_MAX; i++) {
		struct file *file = NULL;

		if (i >= n)
			break;
		bpf_probe_read_kernel(&file, sizeof(file), (const void *)&list->fp + i * sizeof(file));
		vhu_describe_fd((__u64)file, f->sock, f->flow);
	}
	return n;
}

/* --- bytes ------------------------------------------------------------------------------------------- */

/* Different for different reads. */
static __always_inline __u64 this_read(void)
{
	const struct scratch *s = scratch(FOR_COPY);

	return s ? ((__u64)bpf_get_smp_processor_id() << 48) + s->read + 1 : 0;
}

/* Fills in all but how many bytes there are; the header that waits comes first. Returns its length. */
static __always_inline __u32 begin_data(struct vhu_tap_data *d, struct vhu_tap_flow *f, __u32 flags)
{
	__u32 before = f->stashed;

	fill_head(&d->head, VHU_TAP_DATA, sizeof(*d), f);
	d->off = f->off;
	d->read = this_read();
	d->sender = f->sender;
	d->reader = f->reader;
	d->missing = d->n_fds = 0;
	d->flags = flags;
	d->lost = f->lost;
	d->before = before;
	d->before_read = f->stash_read;
	if (!before)
		return 0;
	__builtin_memcpy(d->bytes, f->stash, VHU_TAP_HEADER);
	d->off -= VHU_TAP_HEADER;
	f->stashed = 0;
	return VHU_TAP_HEADER;
}

static __always_inline void end_data(struct scratch *s, struct vhu_tap_data *d, struct vhu_tap_flow *f,
				     __u32 kept)
{
	d->kept = kept;
	d->head.len = sizeof(*d) + kept;
	if (!emit(s, d, sizeof(*d) + kept))
		f->lost++;
}

/* Nothing follows a header that waits. */
static __always_inline void flush(struct vhu_tap_flow *f, __u32 which)
{
	struct scratch *s = scratch(which);

	if (s && f->stashed)
		end_data(s, (void *)s, f, begin_data((void *)s, f, 0));
}

/* A header alone, with a payload to come. */
static __always_inline bool stash(const struct sk_buff *skb, struct vhu_tap_flow *f, __u32 at, __u32 len)
{
	__u32 head[3];

	if (len != VHU_TAP_HEADER || f->stashed || f->left || at + len > skb->len - skb->data_len ||
	    bpf_probe_read_kernel(head, sizeof(head), skb->data + at) < 0 || !head[2] ||
	    head[2] > SIZE_MAX_BELIEVED)
		return false;
	__builtin_memcpy(f->stash, head, sizeof(head));
	f->stash_read = this_read();
	f->stashed = VHU_TAP_HEADER;
	f->left = head[2];
	f->off += VHU_TAP_HEADER;
	return true;
}

/* Keeps track of where messages end, so that only what starts one is taken for a header. */
static __always_inline void measure(struct vhu_tap_flow *f, const __u8 *bytes, __u32 kept, __u32 len)
{
	__u32 size;

	if (f->left) {
		f->left = len < f->left ? f->left - len : 0;
		return;
	}
	if (kept < VHU_TAP_HEADER)
		return;
	__builtin_memcpy(&size, bytes + 8, sizeof(size));
	if (size <= SIZE_MAX_BELIEVED && len < size + VHU_TAP_HEADER)
		f->left = size + VHU_TAP_HEADER - len;
}

/* `len` bytes of the buffer from `at` on as events; what lies in pages and not in the buffer itself is
 * missing. */
static __always_inline void emit_bytes(const struct sk_buff *skb, struct vhu_tap_flow *f, __u32 at, __u32 len,
				       __u32 n_fds, __u32 flags, __u32 which)
{
	struct scratch *s = scratch(which);
	__u32 linear = skb->len - skb->data_len;
	const unsigned char *data = skb->data;
	struct vhu_tap_data *d = (void *)s;

	if (!s)
		return;
	for (int i = 0; i < VHU_TAP_PARTS_MAX; i++) {
		__u32 part = len > VHU_TAP_PART ? VHU_TAP_PART : len, before = begin_data(d, f, flags);

		if (at >= linear || i == VHU_TAP_PARTS_MAX - 1)
			part = 0;
		else if (part > linear - at)
			part = linear - at;
		/* The verifier has to see the bound right where it counts. */
		barrier_var(part);
		part &= 2 * VHU_TAP_PART - 1;
		if (part && bpf_probe_read_kernel(d->bytes + before, part, data + at) < 0)
			part = 0;
		if (!i)
			measure(f, d->bytes + before, part, len);
		d->missing = part ? 0 : len;
		d->n_fds = i ? 0 : n_fds;
		end_data(s, d, f, before + part);
		f->off += part ? part : len;
		if (!part || part == len)
			break;
		at += part;
		len -= part;
	}
}

/* --- system calls ------------------------------------------------------------------------------------ */

/* What the current process asked the kernel to do; nothing is known of what io_uring does. */
struct call {
	bool sends, peeks;
	__u64 message; /* of sendmsg, else 0 */
};

static __always_inline void this_call(struct call *ret)
{
	const struct pt_regs *r = (const void *)bpf_task_pt_regs(bpf_get_current_task_btf());
#if defined(__TARGET_ARCH_x86)
	enum {
		WRITE = 1,
		WRITEV = 20,
		SENDTO = 44,
		RECVFROM = 45,
		SENDMSG = 46,
		RECVMSG = 47,
		SENDMMSG = 307
	};
	__u64 number = r->orig_ax, second = r->si, third = r->dx, fourth = r->r10;
#elif defined(__TARGET_ARCH_arm64)
	enum {
		WRITE = 64,
		WRITEV = 66,
		SENDTO = 206,
		RECVFROM = 207,
		SENDMSG = 211,
		RECVMSG = 212,
		SENDMMSG = 269
	};
	__u64 number = (__u64)r->syscallno, second = r->user_regs.regs[1], third = r->user_regs.regs[2],
	      fourth = r->user_regs.regs[3];
#else
	enum { WRITE = 1, WRITEV, SENDTO, RECVFROM, SENDMSG, RECVMSG, SENDMMSG };
	__u64 number = 0, second = 0, third = 0, fourth = 0;
#endif

	ret->message = number == SENDMSG ? second : 0;
	ret->sends = number == WRITE || number == WRITEV || number == SENDTO || number == SENDMSG ||
		     number == SENDMMSG;
	ret->peeks = ((number == RECVMSG && third & PEEK) || (number == RECVFROM && fourth & PEEK)) != 0;
}

/* --- programs ---------------------------------------------------------------------------------------- */

/*
 * Bytes that are only looked at come again. Who does so does it from the start, so that later reads are not
 * asked any more.
 */
static __always_inline bool peeks(struct vhu_tap_flow *f)
{
	struct call call;

	if (f->checked >= CHECKED_READS)
		return false;
	this_call(&call);
	if (!call.peeks)
		f->checked++;
	return call.peeks;
}

/* A reader's kernel copies `len` bytes out of a buffer. */
SEC("tp_btf/skb_copy_datagram_iovec")
int BPF_PROG(vhu_copied, const struct sk_buff *skb, int len)
{
	const struct sock *sk = skb->sk;
	struct vhu_tap_flow *f;
	struct scratch *s;
	__u32 at, n_fds;
	__u64 task;

	if (!sk || !is_stream_here(sk) || len <= 0)
		return 0;
	f = known(sk, inode_here(sk));
	if (!f)
		f = wanted(sk, peer_of(sk), skb, FOR_COPY);
	s = scratch(FOR_COPY);
	if (!f || !s || f->state == VHU_TAP_IGNORED || peeks(f))
		return 0;
	task = bpf_get_current_task();
	s->reader_task = task;
	if (task != f->reader_task) {
		f->reader_task = task;
		take_part(f, true, FOR_COPY);
	}
	at = consumed_of(skb);
	n_fds = emit_fds(skb, f);
	if (n_fds || !stash(skb, f, at, (__u32)len))
		emit_bytes(skb, f, at, (__u32)len, n_fds, 0, FOR_COPY);
	return 0;
}

/* A buffer goes away: with a reader that never read it, or because it could not even be sent. */
SEC("tp_btf/kfree_skb")
int BPF_PROG(vhu_dropped, const struct sk_buff *skb)
{
	const struct sock *sk = skb->sk;
	struct vhu_tap_flow *f;
	struct call call;
	__u32 consumed, len;

	if (!sk || !is_stream_here(sk))
		return 0;
	f = known(sk, inode_here(sk));
	if (!f || f->state == VHU_TAP_IGNORED)
		return 0;
	this_call(&call);
	if (call.sends &&
	    !(BPF_CORE_READ((const struct task_struct *)bpf_get_current_task(), flags) & EXITING))
		return 0;
	consumed = consumed_of(skb);
	len = skb->len;
	if (len > consumed)
		emit_bytes(skb, f, consumed, len - consumed, emit_fds(skb, f), VHU_TAP_UNREAD, FOR_DROP);
	return 0;
}

struct user_msghdr {
	__u64 name, namelen, iov, iovlen, control, controllen;
};

struct user_iovec {
	__u64 base, len;
};

struct user_cmsghdr {
	__u64 len;
	__s32 level, type;
};

/*
 * What the sender of a message calls its descriptors. `sure`: there are some with the buffer that was just
 * queued; else it has been read already, and only what surely is one buffer counts.
 */
static __noinline void emit_numbers(const struct vhu_tap_flow *f, bool sure)
{
	struct scratch *s = scratch(FOR_SEND);
	struct user_msghdr m;
	struct user_cmsghdr c;
	struct user_iovec v = {};
	struct call call;
	__u64 size;

	this_call(&call);
	if (!s || !call.message || bpf_probe_read_user(&m, sizeof(m), (const void *)call.message) < 0 ||
	    m.controllen < sizeof(c) || bpf_probe_read_user(&c, sizeof(c), (const void *)m.control) < 0 ||
	    c.level != SOL || c.type != RIGHTS || c.len < sizeof(c) + sizeof(__s32) ||
	    c.len > sizeof(c) + sizeof(__s32) * VHU_TAP_FDS_MAX)
		return;
	bpf_probe_read_user(&v, sizeof(v), (const void *)m.iov);
	if (!sure && (m.iovlen > 2 || v.len > VHU_TAP_PART))
		return;
	size = c.len - sizeof(c);
	barrier_var(size);
	size &= 1023; /* for the verifier */
	if (bpf_probe_read_user(s->numbers.number, size, (const void *)m.control + sizeof(c)) < 0)
		return;
	fill_head(&s->numbers.head, VHU_TAP_NUMBERS, sizeof(s->numbers), f);
	s->numbers.n = size / sizeof(__s32);
	emit(s, &s->numbers, sizeof(s->numbers));
}

/* A sender has queued something: who it is, what it calls its descriptors. A new connection is found here
 * already. */
SEC("tp_btf/sk_data_ready")
int BPF_PROG(vhu_queued, const struct sock *sk)
{
	const struct unix_sock *receiver;
	const struct sock *sender;
	const struct sk_buff *last;
	struct vhu_tap_flow *f;
	struct scratch *s = scratch(FOR_SEND);
	bool none, fds;
	__u64 task, ino;

	if (!s || !is_stream_here(sk))
		return 0;
	receiver = bpf_skc_to_unix_sock((void *)sk);
	sender = receiver ? receiver->peer : NULL;
	last = sk->sk_receive_queue.prev;
	if (!sender || !last)
		return 0;
	none = (const void *)last == &sk->sk_receive_queue;
	fds = !none && fds_of(last);
	ino = inode_here(sender);
	task = bpf_get_current_task();
	if (!fds && !none && s->sender == (__u64)sender && s->sender_ino == ino && s->sender_id == task)
		return 0;
	f = known(sender, ino);
	if (!f && !none)
		f = wanted(sender, sk, last, FOR_SEND);
	if (!f || f->state == VHU_TAP_IGNORED)
		return 0;
	s->sender = (__u64)sender;
	s->sender_ino = ino;
	s->sender_id = task;
	take_part(f, false, FOR_SEND);
	if (fds || none)
		emit_numbers(f, fds);
	return 0;
}

/* The reader has come to the stream's end. */
static __always_inline void emit_end(const struct sock *reader, int error)
{
	struct vhu_tap_flow *own = flow_of(reader), *f;
	struct scratch *s = scratch(FOR_COPY);
	struct vhu_tap_end e = {};

	if (!own || !s)
		return;
	f = bpf_map_lookup_elem(&vhu_flows, &own->peer);
	if (!f || f->state == VHU_TAP_IGNORED || f->ended || f->flow != (own->flow ^ 1))
		return;
	f->ended = 1;
	flush(f, FOR_COPY);
	fill_head(&e.head, VHU_TAP_END, sizeof(e), f);
	e.error = error;
	emit(s, &e, sizeof(e));
}

/* A read is over. */
SEC("tp_btf/sock_recv_length")
int BPF_PROG(vhu_received, const struct sock *sk, int got)
{
	struct scratch *s = scratch(FOR_COPY);

	if (!s || !is_stream_here(sk))
		return 0;
	if (got > 0) {
		/* Of interest only behind a copy of ours. */
		if (s->reader_task == bpf_get_current_task()) {
			s->reader_task = 0;
			s->read++;
		}
		return 0;
	}
	if (got == RESET || (got == 0 && sk->sk_shutdown & RCV_SHUTDOWN))
		emit_end(sk, got);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(vhu_exited, const struct task_struct *task)
{
	__u32 tgid = (__u32)BPF_CORE_READ(task, tgid);
	struct scratch *s = scratch(FOR_OTHER);
	struct vhu_tap_exit e = {};

	if (BPF_CORE_READ(task, signal, live.counter) || !bpf_map_lookup_elem(&vhu_processes, &tgid) || !s)
		return 0;
	bpf_map_delete_elem(&vhu_processes, &tgid);
	fill_head(&e.head, VHU_TAP_EXIT, sizeof(e), NULL);
	e.tgid = tgid;
	e.status = (__u32)(BPF_CORE_READ(task, signal, flags) & GROUP_EXIT
				   ? BPF_CORE_READ(task, signal, group_exit_code)
				   : BPF_CORE_READ(task, exit_code));
	emit(s, &e, sizeof(e));
	return 0;
}

/* --- closed sockets ---------------------------------------------------------------------------------- */

/*
 * Nothing tells when a socket is closed, so the loader asks now and then. What a socket's memory is used for
 * by then does not matter: it is not this socket's inode that is found there.
 */
static __always_inline bool is_closed(struct vhu_tap_flow *f)
{
	const struct sock *sk = (const void *)f->sock;
	__u64 ino = 0;

	if (is_stream(sk))
		ino = inode_of(sk);
	if (!f->ino)
		f->ino = ino; /* accepted by now */
	return f->ino && ino != f->ino;
}

static long look_at(void *map, const __u64 *key, struct vhu_tap_flow *f, void *ctx)
{
	struct vhu_tap_flow *peer = bpf_map_lookup_elem(&vhu_flows, &f->peer);
	struct scratch *s = scratch(FOR_OTHER);
	struct vhu_tap_end e = {};

	if (peer && peer->flow != (f->flow ^ 1))
		peer = NULL;
	if (!f->closed && (is_closed(f) || (!f->ino && (!peer || peer->closed)))) {
		f->closed = 1;
		fill_head(&e.head, VHU_TAP_CLOSED, sizeof(e), f);
		if (s && f->state != VHU_TAP_IGNORED)
			emit(s, &e, sizeof(e));
	}
	if (f->closed || (peer && peer->closed) || vhu_flush)
		flush(f, FOR_DROP);
	if (f->closed && (!peer || peer->closed))
		bpf_map_delete_elem(map, key);
	return 0;
}

SEC("raw_tp/sys_enter")
int vhu_sweep(void *ctx)
{
	bpf_for_each_map_elem(&vhu_flows, look_at, NULL, 0);
	return 0;
}
