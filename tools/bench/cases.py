#!/usr/bin/env python3
"""What a run of all cases costs beside its floor, how fast it goes, and how much memory it takes.

    cases.py BUILD

Floor: the bare time of the same number of messages (half of them round trips, as bench-roundtrip measures them), the
time that starting the processes takes, and the settle time spent. Everything is pinned to one CPU: a round trip
across two costs several times more. Then the whole set with two jobs, on all CPUs. The best of several runs counts.
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


def run(build, *options):
    """Wall time and report of one run of all cases."""
    command = [os.path.join(build, 'vhu-conform'), '--reference', '-q', '--json', '-', *options, 'cases']
    start = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    return time.monotonic() - start, json.loads(done.stdout)


def best(build, *options):
    return min((run(build, *options) for _ in range(RUNS)), key=lambda one: one[0])


def rates(name, wall, report):
    cost = report['summary']
    ran = len(report['cases']) - cost['skip']
    print(f'{name}: {ran} cases in {wall:.2f} s, {ran / wall:.0f} cases/s, {cost["messages"] / wall:.0f} messages/s; '
          f'{cost["ios"]} I/Os; settle time {cost["settle_us"] / 1e6:.2f} s')


def main(build):
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpus)})
    trip, start = bare_round_trip_s(build), process_start_s(build)
    print(f'a bare round trip {trip * 1e6:.1f} us, starting both programs {start * 1e3:.1f} ms')
    wall, report = best(build)
    rates('one CPU', wall, report)
    cost = report['summary']
    floor = cost['messages'] / 2 * trip + start + cost['settle_us'] / 1e6
    print(f'floor {floor:.2f} s, {cost["messages"] / floor:.0f} messages/s; ratio {wall / floor:.2f}, '
          f'without settle time {(wall - cost["settle_us"] / 1e6) / (floor - cost["settle_us"] / 1e6):.2f}')
    os.sched_setaffinity(0, cpus)
    rates('--jobs 2', *best(build, '--jobs', '2'))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f'peak resident memory of the largest process, guest memory that it touched included: {peak:.1f} MiB')
    return 0


if __name__ == '__main__':
    sys.exit(main(os.path.abspath(sys.argv[1])))
