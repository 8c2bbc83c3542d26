#!/usr/bin/env python3
"""vhu-guest against a bare loop on libblkio, on the same qemu-storage-daemon, in turns.

    io.py BUILD [--seconds S] [--pairs N]

Ours, theirs, theirs, ours …, pinned alike: for each cell the ratio of I/Os a second (min, median, max), and of the
processor time of the guest's side for each I/O. Needs libblkio (PKG_CONFIG_PATH) and qemu-storage-daemon; without one it
says so and is skipped.
"""
import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

SKIP = 77
MIB = 1 << 20
CELLS = [(rw, depth, 1) for depth in (1, 32, 128) for rw in ('read', 'write')] + [('read', 32, 4), ('write', 32, 4)]
MEDIA = {
    'null-co': 'driver=null-co,node-name=d,size=1073741824',
    'tmpfs': 'driver=file,node-name=d,filename={image}',
}


class Daemon:
    """qemu-storage-daemon with one export, on the processors of `cpus`."""

    def __init__(self, folder, medium, cpus):
        self.socket = os.path.join(folder, medium + '.sock')
        image = os.path.join(folder, 'image')
        with open(image, 'wb') as file:
            for _ in range(256):
                file.write(b'\0' * MIB)
        export = (f'type=vhost-user-blk,id=e,node-name=d,addr.type=unix,addr.path={self.socket},writable=on,'
                  'num-queues=4,iothread=t')
        self.process = subprocess.Popen(
            ['qemu-storage-daemon', '--object', 'iothread,id=t', '--blockdev', MEDIA[medium].format(image=image),
             '--export', export], preexec_fn=lambda: os.sched_setaffinity(0, cpus))
        deadline = time.monotonic() + 10
        while not os.path.exists(self.socket) and time.monotonic() < deadline:
            time.sleep(0.01)

    def stop(self):
        self.process.terminate()
        self.process.wait()


def theirs(loop, socket, cell, seconds, cpus):
    rw, depth, queues = cell
    command = [loop, socket, rw, '4096', str(depth), str(queues), str(seconds)]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True,
                         preexec_fn=lambda: os.sched_setaffinity(0, cpus)).stdout.split()
    ios, runtime, cpu = int(out[0]), float(out[1]), float(out[2])
    return ios / runtime, cpu / ios


def ours(guest, socket, cell, seconds, cpus, *more):
    rw, depth, queues = cell
    command = [guest, '--backend', socket, '--rw', 'rand' + rw, '--depth', str(depth), '--queues', str(queues),
               '--runtime', str(seconds), '--allow-writes', '-q', '--json', '-', *more]
    out = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True,
                                    preexec_fn=lambda: os.sched_setaffinity(0, cpus)).stdout)
    return out['iops'], out['cpu_s'] / max(out['ios'], 1)


def compare(run_ours, run_theirs, pairs):
    """Ratios of each pair; the order turns with every pair."""
    iops, cpu, rate = [], [], []
    for pair in range(pairs):
        if pair % 2:
            b, a = run_theirs(), run_ours()
        else:
            a, b = run_ours(), run_theirs()
        iops.append(a[0] / b[0])
        cpu.append(a[1] / b[1])
        rate.append(b[0])
    return iops, cpu, statistics.median(rate)


def show(name, iops, cpu, rate):
    print(f'{name:28} IOPS ours : theirs {min(iops):.2f} {statistics.median(iops):.2f} {max(iops):.2f}   '
          f'CPU an I/O {statistics.median(cpu):.2f}   theirs {rate:.0f} IOPS', flush=True)


def build_loop(folder):
    flags = subprocess.run(['pkg-config', '--cflags', '--libs', 'blkio'], stdout=subprocess.PIPE,
                           stderr=subprocess.DEVNULL, text=True)
    if flags.returncode:
        print('skipped: pkg-config finds no blkio (set PKG_CONFIG_PATH)')
        sys.exit(SKIP)
    loop = os.path.join(folder, 'bench-blkio')
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'blkio_loop.c')
    words = flags.stdout.split()
    paths = ['-Wl,-rpath,' + w[2:] for w in words if w.startswith('-L')]
    subprocess.run(['cc', '-O2', '-D_GNU_SOURCE', '-o', loop, source, *words, *paths, '-lpthread'], check=True)
    return loop


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('build')
    parser.add_argument('--seconds', type=float, default=0.5)
    parser.add_argument('--pairs', type=int, default=7)
    args = parser.parse_args()
    if not shutil.which('qemu-storage-daemon'):
        print('skipped: there is no qemu-storage-daemon')
        return SKIP
    guest = os.path.join(args.build, 'vhu-guest')
    cpus = sorted(os.sched_getaffinity(0))
    side, far = ({cpus[0]}, {cpus[-1]}) if len(cpus) > 1 else (set(cpus), set(cpus))
    medians = []
    with tempfile.TemporaryDirectory(dir='/dev/shm') as folder:
        loop = build_loop(folder)
        for medium in MEDIA:
            daemon = Daemon(folder, medium, far)
            try:
                for cell in CELLS:
                    iops, cpu, rate = compare(lambda: ours(guest, daemon.socket, cell, args.seconds, side),
                                              lambda: theirs(loop, daemon.socket, cell, args.seconds, side), args.pairs)
                    show(f'{medium} {cell[0]} depth {cell[1]} queues {cell[2]}', iops, cpu, rate)
                    medians.append(statistics.median(iops))
                if medium == 'tmpfs':
                    for cell in (('read', 32, 1), ('write', 32, 1)):
                        iops, cpu, rate = compare(
                            lambda: ours(guest, daemon.socket, cell, args.seconds, side, '--verify'),
                            lambda: theirs(loop, daemon.socket, cell, args.seconds, side), args.pairs)
                        show(f'{medium} {cell[0]} depth 32 verified', iops, cpu, rate)
            finally:
                daemon.stop()
    mean = math.exp(statistics.fmean(math.log(m) for m in medians))
    print(f'geometric mean {mean:.3f}, lowest cell {min(medians):.2f}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
