#!/usr/bin/env python3
"""A thousand reconnects as QEMU makes them, with verified I/O in between: nothing lost, nothing leaked, and how fast.

    reconnects.py BUILD [--rounds N]

The descriptors of both processes are counted through /proc all the while: in the last third of the run there may be no
more of them than in the first.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

STORAGE_DAEMON = ('qemu-storage-daemon --blockdev driver=file,node-name=d,filename={image} --export '
                  'type=vhost-user-blk,id=e,node-name=d,addr.type=unix,addr.path={socket},writable=on,num-queues=4')
QUEUES = 4


def case(rounds):
    every_queue = {'for_each_queue': 'q', 'do': [
        {'io': 'write', 'queue': '$q', 'sector': '$i * 64', 'times': 2},
        {'io': 'read', 'queue': '$q', 'sector': '$i * 64', 'times': 2}]}
    return {
        'title': 'A thousand reconnects with I/O in between', 'why': 'What is lost or leaked once a day stops a host in a year.',
        'requirements': ['OWNER-15', 'STATE-08'], 'needs': {'device': ['blk'], 'capacity': 65536}, 'queues': QUEUES,
        'profile': 'qemu-10.0', 'ring': 'split', 'writes': True, 'start': 'owned',
        'steps': [{'phase': 'reset'}, {'phase': 'start'},
                  {'repeat': rounds, 'do': [every_queue, {'close': 'main'},
                                            {'reconnect': 'owned', 'keep': ['memory', 'rings', 'inflight'], 'base': 'used'},
                                            {'phase': 'start'}]},
                  {'for_each_queue': 'q', 'do': [{'io': 'read', 'queue': '$q', 'times': 4}]}]}


def children_of(pid):
    try:
        with open(f'/proc/{pid}/task/{pid}/children', encoding='ascii') as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


def descriptors(pid):
    try:
        return len(os.listdir(f'/proc/{pid}/fd'))
    except OSError:
        return 0


def watch(process):
    """[(tester, target)]: how many descriptors they had, from time to time."""
    counts = []
    while process.poll() is None:
        children = children_of(process.pid)
        if children:
            counts.append((descriptors(process.pid), max(map(descriptors, children))))
        time.sleep(0.002)
    return counts


def growth(counts):
    third = max(len(counts) // 3, 1)
    return [max(one[side] for one in counts[-third:]) - max(one[side] for one in counts[:third]) for side in (0, 1)]


def run(build, name, target, rounds):
    """One line; whether all was well."""
    with tempfile.TemporaryDirectory() as folder:
        path, report = os.path.join(folder, 'reconnects.json'), os.path.join(folder, 'report.json')
        with open(path, 'w', encoding='utf-8') as file:
            json.dump(case(rounds), file)
        with subprocess.Popen([os.path.join(build, 'vhu-conform'), '--spawn', target, '--device', 'blk', '--allow-writes',
                               '-q', '--json', report, path], stdout=subprocess.DEVNULL) as process:
            counts = watch(process)
        with open(report, encoding='utf-8') as file:
            result = json.load(file)
    one = result['cases'][0]
    more = growth(counts)
    well = one['verdict'] == 'pass' and max(more) <= 0
    print(f'{name}: {rounds} reconnects in {one["duration_us"] / 1e6:.2f} s, {rounds / one["duration_us"] * 1e6:.0f}/s, '
          f'{result["summary"]["ios"]} I/Os; {one["verdict"]}; descriptors more at the end: tester {more[0]}, back-end {more[1]} '
          f'({len(counts)} looks)', flush=True)
    return well


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('build')
    parser.add_argument('--rounds', type=int, default=1000)
    args = parser.parse_args()
    reference = os.path.join(os.path.abspath(args.build), 'vhu-backend') + ' --socket {socket} --image {image}'
    well = run(args.build, 'vhu-backend', reference, args.rounds)
    if shutil.which('qemu-storage-daemon'):
        well &= run(args.build, 'qemu-storage-daemon', STORAGE_DAEMON, args.rounds)
    else:
        print('SKIP: qemu-storage-daemon is not installed')
    return 0 if well else 1


if __name__ == '__main__':
    sys.exit(main())
