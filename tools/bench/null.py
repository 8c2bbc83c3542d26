#!/usr/bin/env python3
"""What the guest's side costs: vhu-guest on `vhu-backend --null` beside a bare ring between two threads.

    null.py BUILD [--seconds S] [--pairs N]

Both poll, on the same two processors: requests a second, what of a request's time the checks of used entries are, the
latency at depth 1 beside the time that a word takes there and back, and the memory that the guest takes beside its guest
memory.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time


class Backend:
    def __init__(self, build, folder, cpu, *options):
        self.socket = os.path.join(folder, 'null.sock')
        self.process = subprocess.Popen(
            [os.path.join(build, 'vhu-backend'), '--socket', self.socket, '--null', *options],
            preexec_fn=lambda: os.sched_setaffinity(0, {cpu}))
        while not os.path.exists(self.socket):
            time.sleep(0.01)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def guest(build, socket, depth, seconds, cpu, *more):
    command = [os.path.join(build, 'vhu-guest'), '--backend', socket, '--rw', 'randread', '--depth', str(depth),
               '--runtime', str(seconds), '--notify', 'poll', '-q', '--json', '-', *more]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True,
                                     preexec_fn=lambda: os.sched_setaffinity(0, {cpu})).stdout)


def bench(build, name, *words):
    command = [os.path.join(build, 'tools', 'bench', name), *words]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def bare(build, *words):
    return float(bench(build, 'bench-two-threads', *words))


def checks(build):
    """Nanoseconds that the checks of a used entry take."""
    return float(bench(build, 'bench-ring').split('checks')[1].split()[0])


def throughput(args, socket, cpus):
    for depth in (32, 128):
        ratios, floor, oracle = [], [], []
        for _ in range(args.pairs):
            floor.append(bare(args.build, str(depth), str(args.seconds)))
            iops = guest(args.build, socket, depth, args.seconds, cpus[0])['iops']
            ratios.append(iops / floor[-1])
            oracle.append(checks(args.build) * iops / 1e9)
        print(f'depth {depth}: ours : two bare threads {min(ratios):.2f} {statistics.median(ratios):.2f} '
              f'{max(ratios):.2f}   floor {statistics.median(floor):.0f} requests a second   '
              f"oracle's cost {100 * statistics.median(oracle):.1f} %", flush=True)


def latency(args, socket, cpus):
    times, words, requests = [], [], []
    for _ in range(args.pairs):
        words.append(bare(args.build, '1', '1', '--line'))
        requests.append(1e9 / bare(args.build, '1', str(args.seconds)))
        times.append(guest(args.build, socket, 1, args.seconds, cpus[0])['latency_ns']['p50'])
    print(f'depth 1: p50 {statistics.median(times):.0f} ns, a word there and back {statistics.median(words):.0f} ns, '
          f'a request of two bare threads {statistics.median(requests):.0f} ns', flush=True)


def memory(args, socket):
    """Resident memory that is neither guest memory (shared) nor mapped from files."""
    command = [os.path.join(args.build, 'vhu-guest'), '--backend', socket, '--depth', '341', '--ring-size', '1024',
               '--queues', '16', '--runtime', '2', '-q']
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    time.sleep(1.5)
    with open(f'/proc/{process.pid}/status', encoding='ascii') as status:
        anonymous = next(int(line.split()[1]) for line in status if line.startswith('RssAnon'))
    process.wait()
    print(f'16 queues of 1024: {anonymous / 1024:.1f} MiB beside guest memory', flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('build')
    parser.add_argument('--seconds', type=float, default=0.5)
    parser.add_argument('--pairs', type=int, default=7)
    args = parser.parse_args()
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        print('skipped: two processors are needed')
        return 77
    with tempfile.TemporaryDirectory() as folder:
        with Backend(args.build, folder, cpus[1], '--poll') as backend:
            throughput(args, backend.socket, cpus)
            latency(args, backend.socket, cpus)
        with Backend(args.build, folder, cpus[1], '--queues', '16') as backend:
            memory(args, backend.socket)
    return 0


if __name__ == '__main__':
    sys.exit(main())
