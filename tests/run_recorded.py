#!/usr/bin/env python3
"""What vhu-conform records of its own cases, rings and all: it breaks no rule, plays with 0 divergences on a back-end
made like the recorded one, and makes a case that does the same.

    run_recorded.py BUILD [CASE…]

Without a name: the cases below.
"""
import concurrent.futures
import glob
import os
import subprocess
import sys
import tempfile

import run_captures

ROOT = run_captures.ROOT

# By device: folders and cases. Of disks those that say something of their own of rings, memory, connections, logs.
CASES = {
    'blk': [
        # data, of each kind of chain and of several queues
        'blk/read-write', 'blk/all-queues-at-once', 'blk/indirect', 'blk/indirect-fills-the-ring', 'blk/in-order',
        'blk/packed-base-told', 'blk/packed-in-order', 'blk/queue-sizes', 'blk/event-at-the-wrap', 'blk/get-id',
        'blk/beyond-capacity-read', 'blk/grown-disk*', 'blk/byte-order-big',
        # what is wrong on purpose
        'blk/header-too-short', 'blk/no-status-buffer', 'blk/ring-bad-head-between-good-ones',
        'blk/failed-request-changes-no-ring', 'blk/wrong-direction-on-each-queue',
        # several connections, requests in flight
        'blk/config-before-features', 'blk/reconnect-*', 'blk/*inflight-crash*', 'blk/inflight-resubmit-in-order',
        'blk/stop-leaves-requests-in-flight', 'blk/stop-skips-the-drain',
        # memory, log, IOMMU, notifications by messages
        'blk/packed-memory-removed-in-io', 'core/memory/table-without-the-rings', 'blk/dirty-log-*', 'core/log/base-without-fd',
        'core/iotlb/*', 'blk/iommu-*', 'core/inband/*',
        # the same request refused as malformed first, then taken
        'core/inflight/set-without-fd', 'core/vring/addr-wrong-size', 'core/status/features-ok-after-a-refusal',
    ],
    'net': ['net'], 'fs': ['fs'], 'vsock': ['vsock'], 'scsi': ['scsi'],
}


def record(build, device, level, cases, folder):
    """The captures of these cases on the reference."""
    out = f'{folder}/{device}-{level}'
    done = subprocess.run([f'{build}/vhu-conform', '--reference', '--device', device, '--record', out, '--record-level',
                           str(level), '--timeout', '20000', *cases], cwd=ROOT, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        print(done.stdout)
    return sorted(glob.glob(f'{out}/**/*.pcap', recursive=True)), done.returncode != 0


def judge(build, path):
    """What is wrong with one, a line each."""
    checks = {'check': run_captures.check, 'replay': run_captures.replay, 'round trip': run_captures.round_trip}
    return [f'FAIL {name} {"/".join(path.split("/")[-3:])}\n{wrong}'
            for name, check in checks.items() if (wrong := check(build, path))]


def main(build, *names):
    passed = failed = 0
    build = os.path.abspath(build)
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for device, patterns in CASES.items():
            chosen = [path for pattern in patterns for path in glob.glob(f'{ROOT}/cases/{pattern}*')
                      if not names or any(name in path for name in names)]
            for level in (2, 3) if chosen else ():
                paths, broken = record(build, device, level, chosen, folder)
                failed += broken
                for wrong in pool.map(lambda path: judge(build, path), paths):
                    passed, failed = passed + (not wrong), failed + bool(wrong)
                    print('\n'.join(wrong), end='\n' if wrong else '')
    print(f'{passed} passed, {failed} failed')
    return 1 if failed or not passed else 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
