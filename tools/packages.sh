# Sourced by tools/quickstart and tools/test: installs Debian packages that are missing.

# need PACKAGE…: those of them that are not installed.
missing_packages() {
	for package; do
		dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || printf '%s\n' "$package"
	done
}

# install_packages PACKAGE…: installs what is missing, as root or through sudo; says what to do where it can't.
install_packages() {
	missing=$(missing_packages "$@" | tr '\n' ' ')
	[ -n "$missing" ] || return 0
	if [ "$(id -u)" = 0 ]; then
		as_root=
	elif command -v sudo >/dev/null 2>&1; then
		as_root=sudo
	else
		printf '%s: missing packages: %s\n' "$0" "$missing" >&2
		printf '%s: not root and no sudo; install them with: apt-get install %s\n' "$0" "$missing" >&2
		return 1
	fi
	printf '%s: installing %s\n' "$0" "$missing"
	$as_root apt-get update -q >/dev/null || true
	# shellcheck disable=SC2086
	DEBIAN_FRONTEND=noninteractive $as_root ${as_root:+env DEBIAN_FRONTEND=noninteractive} \
		apt-get install -q -y --no-install-recommends $missing >/dev/null || {
		printf '%s: could not install: %s\n' "$0" "$missing" >&2
		return 1
	}
}

# try_packages PACKAGE…: the same for what only some tests need; without them these are skipped.
try_packages() {
	install_packages "$@" || printf '%s: tests that need them will be skipped\n' "$0" >&2
}

build_packages='gcc libc6-dev linux-libc-dev meson ninja-build pkg-config libjansson-dev libpcap-dev libarchive-dev'
test_packages='clang bpftool libbpf-dev libcmocka-dev clang-format libasan8 libubsan1 libclang-rt-14-dev python3'
interop_packages='qemu-system-common qemu-utils qemu-system-gui dpdk-dev openvswitch-switch-dpdk tshark strace'
