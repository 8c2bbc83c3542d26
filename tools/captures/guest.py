"""The guest of the captures: Debian's cloud kernel and a busybox initramfs whose shell sits on the serial line."""
import glob
import os
import shutil
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
# With what they depend on. The bus is loaded at boot, a device's driver by its scenario.
MODULES = ['virtio_pci', 'virtio_blk', 'virtio_net', 'virtiofs', 'acpiphp', 'pciehp']
APPLETS = ['sh', 'mount', 'umount', 'mkdir', 'dd', 'cat', 'echo', 'modprobe', 'rmmod', 'ip', 'ping', 'poweroff', 'sync',
           'sleep', 'setsid', 'stty']
INIT = '''#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
modprobe virtio_pci
echo guest-is-up
exec setsid sh -c 'exec sh </dev/ttyS0 >/dev/ttyS0 2>&1'
'''


def run(*words, **more):
    return subprocess.run(words, check=True, **more)


def kernel(cache):
    """The folder of the unpacked kernel package, fetched once."""
    root = os.path.join(cache, 'kernel')
    if not os.path.isdir(root):
        part = root + '.part'
        shutil.rmtree(part, ignore_errors=True)
        os.makedirs(part)
        shown = run('apt-cache', 'depends', '--no-recommends', '--no-suggests', 'linux-image-cloud-amd64',
                    stdout=subprocess.PIPE, text=True).stdout
        package = next(line.split()[1] for line in shown.splitlines() if 'Depends: linux-image-' in line)
        run('apt-get', '-q', 'download', package, cwd=part, stdout=subprocess.DEVNULL)
        run('dpkg-deb', '-x', glob.glob(f'{part}/*.deb')[0], part)
        os.rename(part, root)
    return root


def copy_modules(root, tree):
    """MODULES and what they need; those that the kernel has built in are there anyway."""
    version = os.path.basename(glob.glob(f'{root}/lib/modules/*')[0])
    wanted, seen = list(MODULES), set()
    while wanted:
        name = wanted.pop()
        found = glob.glob(f'{root}/lib/modules/{version}/**/{name}.ko', recursive=True)
        if name in seen or not found:
            continue
        seen.add(name)
        to = f'{tree}/lib/modules/{version}'
        os.makedirs(to, exist_ok=True)
        shutil.copy(found[0], to)
        needs = run('modinfo', '-F', 'depends', found[0], stdout=subprocess.PIPE, text=True).stdout
        wanted += [need.strip() for need in needs.split(',') if need.strip()]
    run('depmod', '-b', tree, version, stderr=subprocess.DEVNULL)


def build(cache):
    """Kernel image and initramfs, made once in the cache folder."""
    root = kernel(cache)
    image = glob.glob(f'{root}/boot/vmlinuz-*')[0]
    initramfs = os.path.join(cache, 'initramfs.gz')
    if os.path.exists(initramfs):
        return image, initramfs
    tree = os.path.join(cache, 'tree')
    shutil.rmtree(tree, ignore_errors=True)
    for folder in ('bin', 'proc', 'sys', 'dev', 'mnt', 'lib'):
        os.makedirs(f'{tree}/{folder}')
    shutil.copy('/bin/busybox', f'{tree}/bin/busybox')
    for name in APPLETS:
        os.symlink('busybox', f'{tree}/bin/{name}')
    run('cc', '-O2', '-static', '-o', f'{tree}/bin/chan', f'{HERE}/chan.c')
    copy_modules(root, tree)
    with open(f'{tree}/init', 'w', encoding='utf-8') as file:
        file.write(INIT)
    os.chmod(f'{tree}/init', 0o755)
    with open(initramfs + '.part', 'wb') as out:
        find = subprocess.Popen(['find', '.', '-print0'], cwd=tree, stdout=subprocess.PIPE)
        cpio = subprocess.Popen(['cpio', '--null', '-o', '-H', 'newc', '--quiet'], cwd=tree, stdin=find.stdout,
                                stdout=subprocess.PIPE)
        run('gzip', '-1', stdin=cpio.stdout, stdout=out)
    os.rename(initramfs + '.part', initramfs)
    return image, initramfs
