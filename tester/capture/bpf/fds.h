/* Descriptors that travel. Part of tap.bpf.c. */
#pragma once

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

/* A file of a tmpfs that is mounted as "shm"; a mount over a mount lies on the root of the one below. */
static __always_inline bool is_shm(const struct file *file)
{
	const struct vfsmount *mnt = BPF_CORE_READ(file, f_path.mnt);
	const struct mount *m = (const void *)mnt - bpf_core_field_offset(struct mount, mnt);

	for (int i = 0; i < MOUNTS; i++) {
		char name[8] = {};

		bpf_probe_read_kernel_str(name, sizeof(name), BPF_CORE_READ(m, mnt_mountpoint, d_name.name));
		if (begins(name, "shm", 4))
			return true;
		if (name[0] != '/')
			return false;
		m = BPF_CORE_READ(m, mnt_parent);
	}
	return false;
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
__noinline int vhu_describe_fd(__u64 address, __u64 flow)
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
		if (sk && is_stream(sk) && !known(sk, inode_of(sk), s))
			open_flows(sk, peer_of(sk), false, FOR_OTHER);
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
		vhu_describe_fd((__u64)file, f->flow);
	}
	return n;
}
