/* Bytes that were read, and headers that wait. Part of tap.bpf.c. */
#pragma once

/* What is copied next belongs to a new read, unless the last one is known to go on. */
static __always_inline void count_read(struct vhu_tap_flow *f, const struct scratch *s)
{
	__u64 now = vhu_reads ? ((__u64)bpf_get_smp_processor_id() << 48) + s->read + 1 : 0;

	if (!now || now != f->this_read)
		f->read++;
	f->this_read = now;
}

/* The header that waits comes first. Returns its length. */
static __always_inline __u32 unstash(struct vhu_tap_flow *f, __u8 *bytes, __u32 *before_read)
{
	*before_read = f->stashed ? f->stash_read : 0;
	if (!f->stashed)
		return 0;
	__builtin_memcpy(bytes, f->stash, VHU_TAP_HEADER);
	f->stashed = 0;
	return VHU_TAP_HEADER;
}

/* Fills in all but how many bytes there are. Returns how many of them waited. */
static __always_inline __u32 begin_data(struct vhu_tap_data *d, struct vhu_tap_flow *f, __u32 flags)
{
	__u32 before;

	fill_head(&d->head, VHU_TAP_DATA, sizeof(*d), f);
	d->sock = f->sock;
	d->sender = f->sender;
	d->reader = f->reader;
	d->read = f->read;
	d->missing = d->n_fds = 0;
	d->flags = flags;
	d->lost = f->lost;
	before = unstash(f, d->bytes, &d->before_read);
	d->off = f->off - before;
	return before;
}

static __always_inline void end_data(struct scratch *s, struct vhu_tap_data *d, struct vhu_tap_flow *f,
				     __u32 kept)
{
	bool told;

	d->kept = kept;
	d->head.len = sizeof(*d) + kept;
	told = emit(s, d, sizeof(*d) + kept);
	f->lost += !told;
	f->told_sender = f->sender;
	f->told_reader = told ? f->reader : 0;
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
	__u32 head[4];

	if (len != VHU_TAP_HEADER || f->stashed || f->left || at + len > skb->len - skb->data_len)
		return false;
	load16(skb->data + at, head);
	if (!head[2] || head[2] > SIZE_MAX_BELIEVED)
		return false;
	__builtin_memcpy(f->stash, head, sizeof(f->stash));
	f->stash_read = f->read;
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
		if (f->left != ~0u)
			f->left = len < f->left ? f->left - len : 0;
		return;
	}
	/* A header in pieces: too much to follow, from here on nothing waits. */
	if (kept < VHU_TAP_HEADER) {
		f->left = ~0u;
		return;
	}
	__builtin_memcpy(&size, bytes + 8, sizeof(size));
	if (size <= SIZE_MAX_BELIEVED && len < size + VHU_TAP_HEADER)
		f->left = size + VHU_TAP_HEADER - len;
}

extern int bpf_dynptr_from_skb(struct __sk_buff *skb, __u64 flags, struct bpf_dynptr *ret) __weak __ksym;

/*
 * Copies at most `len` bytes from `at` on; returns how many. A buffer's bytes lie behind its head, or in
 * pages, which only newer kernels give access to.
 */
static __always_inline __u32 load(const struct sk_buff *skb, __u32 at, __u8 *to, __u32 len)
{
	__u32 linear = skb->len - skb->data_len;

	if (len > VHU_TAP_PART)
		len = VHU_TAP_PART;
	if (at + len > linear && vhu_pages) {
		struct bpf_dynptr d;

		if (bpf_dynptr_from_skb((void *)skb, 0, &d) < 0)
			return 0;
		/* The verifier has to see the bound right where it counts. */
		barrier_var(len);
		len &= 2 * VHU_TAP_PART - 1;
		return bpf_dynptr_read(to, len, &d, at, 0) < 0 ? 0 : len;
	}
	if (at >= linear)
		return 0;
	if (len > linear - at)
		len = linear - at;
	if (vhu_casts && len <= PLAIN_MAX) {
		for (__u32 i = 0; i < PLAIN_MAX; i += 16)
			if (i < len)
				load16(skb->data + at + i, (__u32 *)(to + i));
		return len;
	}
	barrier_var(len);
	len &= 2 * VHU_TAP_PART - 1;
	return len && bpf_probe_read_kernel(to, len, skb->data + at) < 0 ? 0 : len;
}

/* Data of which there is little to tell. False: it is not such. */
static __always_inline bool emit_next(const struct sk_buff *skb, struct vhu_tap_flow *f, __u32 at, __u32 len,
				      struct scratch *s)
{
	struct vhu_tap_next *n = (void *)s;
	__u32 before = f->stashed ? VHU_TAP_HEADER : 0;

	if (!f->told_reader || f->told_reader != f->reader || f->told_sender != f->sender || len > NEXT_MAX ||
	    load(skb, at, n->bytes + before, len) != len)
		return false;
	fill_head(&n->head, VHU_TAP_NEXT, sizeof(*n) + before + len, f);
	n->read = f->read;
	unstash(f, n->bytes, &n->before_read);
	measure(f, n->bytes + before, len, len);
	f->off += len;
	if (!emit(s, n, sizeof(*n) + before + len)) {
		f->lost++;
		f->told_reader = 0;
	}
	return true;
}

/* `len` bytes of the buffer from `at` on as events; the end of what cannot be had is missing. */
static __always_inline void emit_bytes(const struct sk_buff *skb, struct vhu_tap_flow *f, __u32 at, __u32 len,
				       __u32 n_fds, __u32 flags, __u32 which)
{
	struct scratch *s = scratch(which);
	struct vhu_tap_data *d = (void *)s;

	if (!s || (!n_fds && !flags && emit_next(skb, f, at, len, s)))
		return;
	for (int i = 0; i < VHU_TAP_PARTS_MAX; i++) {
		__u32 before = begin_data(d, f, flags), part = 0;

		if (i < VHU_TAP_PARTS_MAX - 1)
			part = load(skb, at, d->bytes + before, len);
		if (!i)
			measure(f, d->bytes + before, part, len);
		d->missing = part ? 0 : len;
		d->n_fds = i ? 0 : n_fds;
		barrier_var(part);
		part &= 2 * VHU_TAP_PART - 1;
		end_data(s, d, f, before + part);
		f->off += part ? part : len;
		if (!part || part == len)
			break;
		at += part;
		len -= part;
	}
}
