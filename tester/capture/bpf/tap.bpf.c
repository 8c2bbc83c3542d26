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

#include "bpf/flows.h"
#include "bpf/fds.h"
#include "bpf/bytes.h"

char vhu_license[] SEC("license") = "Dual BSD/GPL";

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
 * Bytes that are only looked at come again. Who does so does it from the start, so that later reads of
 * others are not asked any more.
 */
static __always_inline bool peeks(struct vhu_tap_flow *f)
{
	struct call call;

	if (f->checked == CHECKED_READS)
		return false;
	this_call(&call);
	if (call.peeks)
		f->checked = SEEN_PEEKING;
	else if (f->checked != SEEN_PEEKING)
		f->checked++;
	return call.peeks;
}

static __always_inline void meet_reader(struct vhu_tap_flow *f)
{
	__u64 task = bpf_get_current_task();

	if (task == f->reader_task)
		return;
	f->reader_task = task;
	take_part(f, true, FOR_COPY);
}

/* A reader's kernel copies `len` bytes out of a buffer. */
SEC("tp_btf/skb_copy_datagram_iovec")
int BPF_PROG(vhu_copied, const struct sk_buff *skb, int len)
{
	const struct sock *sk = skb->sk;
	struct vhu_tap_flow *f;
	struct scratch *s;
	__u32 at, n_fds;
	__u64 ino;

	if (!sk || !is_stream_here(sk) || len <= 0)
		return 0;
	s = scratch(FOR_COPY);
	ino = inode_here(sk);
	f = known(sk, ino, s);
	if (!f)
		f = wanted(sk, ino, skb, FOR_COPY);
	if (!f || !s || f->state == VHU_TAP_IGNORED || peeks(f))
		return 0;
	s->reading = f->peer;
	count_read(f, s);
	/* Who reads does not change inside a message. */
	if (!f->left)
		meet_reader(f);
	learn_peer(f);
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
	f = known(sk, inode_here(sk), scratch(FOR_DROP));
	if (!f || f->state == VHU_TAP_IGNORED)
		return 0;
	this_call(&call);
	if (call.sends &&
	    !(BPF_CORE_READ((const struct task_struct *)bpf_get_current_task(), flags) & EXITING))
		return 0;
	f->read++;
	f->this_read = 0;
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
	/*
	 * What has been read in part gave its descriptors away already, and what is not there any more may be
	 * anything. The reader goes on meanwhile, so this is looked at behind them.
	 */
	fds = (const void *)last != &sk->sk_receive_queue && fds_of(last);
	barrier();
	none = (const void *)last == &sk->sk_receive_queue || consumed_of(last) ||
	       sk->sk_receive_queue.prev != last;
	fds = fds && !none;
	ino = inode_here(sender);
	task = bpf_get_current_task();
	if (!fds && !none && s->sender == (__u64)sender && s->sender_ino == ino && s->sender_id == task)
		return 0;
	f = known(sender, ino, s);
	if (!f && (const void *)last != &sk->sk_receive_queue)
		f = wanted(sender, ino, last, FOR_SEND);
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
static __always_inline void take_end(const struct sock *reader, int error)
{
	struct vhu_tap_flow *own = flow_of(reader), *f;
	struct scratch *s = scratch(FOR_COPY);

	if (!own || !s)
		return;
	f = flow_at(own->peer);
	if (!f || f->state == VHU_TAP_IGNORED || f->ended || f->flow != (own->flow ^ 1))
		return;
	flush(f, FOR_COPY);
	f->ended = emit_end(s, f, VHU_TAP_END, error);
}

/* A read is over. */
SEC("tp_btf/sock_recv_length")
int BPF_PROG(vhu_received, const struct sock *sk, int got)
{
	struct scratch *s = scratch(FOR_COPY);

	if (!s)
		return 0;
	if (got > 0) {
		/* Of interest only behind a copy of ours. */
		if (s->reading == (__u64)sk) {
			s->reading = 0;
			s->read++;
		}
		return 0;
	}
	if (!is_stream_here(sk))
		return 0;
	if (got == RESET || (got == 0 && sk->sk_shutdown & RCV_SHUTDOWN))
		take_end(sk, got);
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
	if (!f->ino && (__u64)peer_of(sk) == f->peer)
		f->ino = ino; /* accepted by now */
	return f->ino && ino != f->ino;
}

static long look_at(void *map, const __u64 *key, const __u32 *place, void *ctx)
{
	struct vhu_tap_flow *f = bpf_map_lookup_elem(&vhu_flows, place), *peer;
	struct scratch *s = scratch(FOR_OTHER);
	__u64 number;

	if (!f || !f->sock)
		return 0;
	peer = flow_at(f->peer);
	number = f->flow / 2;
	if (bpf_map_lookup_elem(&vhu_refused, &number))
		f->state = VHU_TAP_IGNORED;
	if (peer && peer->flow != (f->flow ^ 1))
		peer = NULL;
	if (s && !f->closed && (is_closed(f) || (!f->ino && (!peer || peer->closed))))
		f->closed = emit_end(s, f, VHU_TAP_CLOSED, 0);
	if (f->closed || (peer && peer->closed) || vhu_flush)
		flush(f, FOR_DROP);
	if (vhu_flush && f->lost)
		emit_flow(f, s);
	if (f->closed && (!peer || peer->closed))
		forget_flow(f);
	return 0;
}

SEC("raw_tp/sys_enter")
int vhu_sweep(void *ctx)
{
	bpf_for_each_map_elem(&vhu_places, look_at, NULL, 0);
	return 0;
}
