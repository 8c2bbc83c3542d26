/* Bytes that were read, and headers that wait. Part of tap.bpf.c. */
#pragma once

/* Different for different reads; 0: not known. */
static __always_inline __u64 this_read(void)
{
	const struct scratch *s = scratch(FOR_COPY);

	return s && vhu_reads ? ((__u64)bpf_get_smp_processor_id() << 48) + s->read + 1 : 0;
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
	__u32 head[4];

	if (len != VHU_TAP_HEADER || f->stashed || f->left || at + len > skb->len - skb->data_len)
		return false;
	load16(skb->data + at, head);
	if (!head[2] || head[2] > SIZE_MAX_BELIEVED)
		return false;
	__builtin_memcpy(f->stash, head, sizeof(f->stash));
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

/* `len` bytes of the buffer from `at` on as events; the end of what cannot be had is missing. */
static __always_inline void emit_bytes(const struct sk_buff *skb, struct vhu_tap_flow *f, __u32 at, __u32 len,
				       __u32 n_fds, __u32 flags, __u32 which)
{
	struct scratch *s = scratch(which);
	struct vhu_tap_data *d = (void *)s;

	if (!s)
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
