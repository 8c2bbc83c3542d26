#!/usr/bin/env python3
"""Runs the cases on a real back-end of this machine, against its baseline.

    run.py BUILD NAME

NAME is a row of BACKENDS. Exit 77 with the reason where the program is not installed.
"""
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))

# name: program (a path, or looked for on PATH), command, options, cases.
# A baseline NAME.json beside this file holds the known findings; docs/findings.md justifies each.
CORE = ['cases/core']
BACKENDS = {
    'qemu-storage-daemon': (
        'qemu-storage-daemon',
        'qemu-storage-daemon --blockdev driver=file,node-name=d,filename={image},discard=unmap '
        '--export type=vhost-user-blk,id=e,node-name=d,addr.type=unix,addr.path={socket},writable=on,num-queues=4',
        ['--device', 'blk'], CORE + ['cases/blk']),
    'dpdk-testpmd': ('dpdk-testpmd', f'{HERE}/testpmd.sh {{socket}}', ['--device', 'net'], CORE),
    'openvswitch': (
        '/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk', f'{HERE}/openvswitch.sh {{socket}}',
        ['--device', 'net'], CORE),
    'virtiofsd': (
        '/usr/lib/qemu/virtiofsd',
        f'/usr/lib/qemu/virtiofsd --socket-path={{socket}} -f -o source={HERE} -o sandbox=chroot',
        ['--device', 'fs'], CORE),
    'vhost-user-gpu': (
        '/usr/lib/qemu/vhost-user-gpu', '/usr/lib/qemu/vhost-user-gpu --socket-path={socket}',
        ['--device', 'gpu'], CORE),
}
# What needs more than its program: the reason why it can't run here, or None.
OBSTACLES = {
    'virtiofsd': lambda: None if os.geteuid() == 0 else 'it confines itself, for which it must be root',
}


def obstacle(name):
    """Why it can't run here, or None."""
    program = BACKENDS[name][0]
    if not shutil.which(program):
        return f'{program} is not installed'
    return OBSTACLES.get(name, lambda: None)()


def main(build, name):
    why = obstacle(name)
    if why:
        print(f'SKIP: {name}: {why}')
        return 77
    _program, command, options, cases = BACKENDS[name]
    baseline = os.path.join(HERE, name + '.json')
    if os.path.exists(baseline):
        options = options + ['--baseline', baseline]
    run = subprocess.run([os.path.join(os.path.abspath(build), 'vhu-conform'), '--spawn', command, '--memory', 'memfd'] + options +
                         cases,
                         cwd=ROOT, stdin=subprocess.DEVNULL)
    return run.returncode


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:3]))
