#!/usr/bin/env python3
"""What a run of all cases costs beside its floor, and how much memory it takes.

    cases.py BUILD

Floor: the bare time of the same number of messages (half of them round trips, as bench-roundtrip measures them), the
time that starting the processes takes, and the settle time spent. Everything is pinned to one CPU: a round trip
across two costs several times more.
"""
import json
import os
import resource
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RUNS = 5


def bare_round_trip_s(build):
    command = [os.path.join(build, 'tools', 'bench', 'bench-roundtrip'), os.path.join(build, 'vhu-backend'), '--bare']
    return int(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout) / 1e9


def process_start_s(build):
    """Both programs, doing nothing."""
    start = time.monotonic()
    for program in ('vhu-conform', 'vhu-backend'):
        subprocess.run([os.path.join(build, program), '--version'], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - start


def run(build):
    command = [os.path.join(build, 'vhu-conform'), '--reference', '-q', '--json', '-', 'cases']
    start = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    wall = time.monotonic() - start
    return wall, json.loads(done.stdout)


def main(build):
    os.sched_setaffinity(0, {0})
    trip, start = bare_round_trip_s(build), process_start_s(build)
    print(f'a bare round trip {trip * 1e6:.1f} us, starting both programs {start * 1e3:.1f} ms')
    for _ in range(RUNS):
        wall, report = run(build)
        cost = report['summary']
        floor = cost['messages'] / 2 * trip + start + cost['settle_us'] / 1e6
        print(f'{len(report["cases"])} cases, {cost["messages"]} messages, {cost["ios"]} I/Os: {wall * 1e3:.0f} ms; '
              f'floor {floor * 1e3:.0f} ms (settle {cost["settle_us"] / 1e3:.0f} ms); ratio {wall / floor:.2f}')
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f'peak resident memory of the largest process, guest memory that it touched included: {peak:.1f} MiB')
    return 0


if __name__ == '__main__':
    sys.exit(main(os.path.abspath(sys.argv[1])))
