#!/usr/bin/env python3
"""Runs the cases on a real back-end of this machine, against its baseline.

    run.py BUILD NAME

NAME is a row of BACKENDS. Exit 77 with the reason where the program is not installed.
"""
import os
import shlex
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
# As a word of a command.
HERE_QUOTED = shlex.quote(HERE)

# Back-ends that connect to a front-end that listens.
CLIENTS = {'dpdk-testpmd-client'}
# name: program (a path, or looked for on PATH), command, options, cases.
# A baseline NAME.json beside this file holds the known findings; docs/findings.md justifies each.
CORE = ['cases/core']
# Frames through one port that returns them, in both forms of rings.
NET = ['--device', 'net', '--ring', 'both']
FRAMES = ['cases/net', 'cases/qemu/net-frames.json', 'cases/qemu/net-frames-reconnect.json']
BACKENDS = {
    'qemu-storage-daemon': (
        'qemu-storage-daemon',
        'qemu-storage-daemon --blockdev driver=file,node-name=d,filename={image},discard=unmap '
        '--export type=vhost-user-blk,id=e,node-name=d,addr.type=unix,addr.path={socket},writable=on,num-queues=4',
        ['--device', 'blk'], CORE + ['cases/blk']),
    'dpdk-testpmd': ('dpdk-testpmd', f'{HERE_QUOTED}/testpmd.sh {{socket}}', ['--device', 'net'], CORE),
    'dpdk-testpmd-1-pair': ('dpdk-testpmd', f'{HERE_QUOTED}/testpmd.sh {{socket}} 1', NET + ['--queues', '2'], FRAMES),
    'dpdk-testpmd-4-pairs': ('dpdk-testpmd', f'{HERE_QUOTED}/testpmd.sh {{socket}} 4', NET + ['--queues', '8'], FRAMES),
    # It connects, as to QEMU with server=on.
    'dpdk-testpmd-client': ('dpdk-testpmd', f'{HERE_QUOTED}/testpmd.sh {{socket}} 4 client=1', NET + ['--queues', '8'],
                            ['cases/qemu/net-frames.json']),
    'openvswitch': (
        '/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk', f'{HERE_QUOTED}/openvswitch.sh {{socket}}',
        ['--device', 'net', '--timeout', '20000'], CORE),
    'virtiofsd': (
        '/usr/lib/qemu/virtiofsd',
        f'/usr/lib/qemu/virtiofsd --socket-path={{socket}} -f -o source={HERE_QUOTED} -o sandbox=chroot',
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
    conform = [os.path.join(os.path.abspath(build), 'vhu-conform'), '--memory', 'memfd'] + options + cases
    if name in CLIENTS:
        return run_client(conform, command)
    run = subprocess.run(conform + ['--spawn', command], cwd=ROOT, stdin=subprocess.DEVNULL)
    return run.returncode


def run_client(conform, command):
    """The back-end is started beside us, and connects whenever we listen."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'socket')
        with subprocess.Popen(shlex.split(command.format(socket=path)), stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as backend:
            try:
                return subprocess.run(conform + ['--listen', path], cwd=ROOT, stdin=subprocess.DEVNULL).returncode
            finally:
                backend.kill()


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:3]))
