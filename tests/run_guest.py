#!/usr/bin/env python3
"""vhu-guest: what it finds of back-ends that do not keep to the rules, at full speed, and that it finds no more.

    run_guest.py BUILD [NAME…]

Each row is a load on the reference back-end, with a planted fault or without, and the requirement of the finding that it
has to give. A load that ends as it may not (no report, an exit code of the tester's own failure) fails. The last line counts.
"""
import json
import os
import shlex
import subprocess
import sys

SOUND = '--rw randrw --verify --ios 2000'
# Waits for what never comes: longer than a busy machine may keep everybody waiting.
HANG = SOUND + ' --timeout 3000'
KILLED = '--rw randrw --verify --runtime 0.8 --crash-every 100'
# A stop finds requests in flight, however long it takes to come about.
UNDRAINED = 'state-stop-no-drain --latency 1000000'
STOP = '--runtime 0.3 --reconnect-every 200'
# Some faults show once in a while: the ring's second lap, an eighth chain.
MOVE = '--rw randrw --verify --runtime 0.3'

# name, fault or options of the back-end or None, options, requirements of which one has to be found, kinds of `errors` that all have to be counted
# (neither: there must be no finding at all), and WARN where it may not be more
LOADS = [
    ('split', None, SOUND, ()),
    ('split, polled', None, SOUND + ' --notify poll', ()),
    ('split, without event index', None, SOUND + ' --notify event --queues 3', ()),
    ('split, indirect, in order', None, SOUND + ' --indirect --in-order --queues 2', ()),
    ('packed', None, SOUND + ' --ring packed', ()),
    ('packed, in order, 100 slots', None, SOUND + ' --ring packed --in-order --ring-size 100', ()),
    ('packed, indirect, polled', None, SOUND + ' --ring packed --indirect --notify poll --queues 2', ()),
    ('killed', None, KILLED, ()),
    ('packed, killed', None, KILLED + ' --ring packed', ()),
    ('packed, killed, without event index', None, KILLED + ' --ring packed --notify event', ()),
    # ids, lengths and indexes that lie
    ('id of another descriptor', 'used-id-last', HANG, ('RING-01',)),
    ('used twice', 'used-dup', SOUND, ('RING-02', 'duplicated')),
    ('never used', 'used-lost', HANG, ('RING-02', 'lost')),
    ('length 0', 'used-len-zero', SOUND, ('RING-03',)),
    ('length of the one before', 'used-len-stale', SOUND, ('RING-04',)),
    ('length of all buffers', 'used-len-total', SOUND, ('RING-04',)),
    ('index that jumps', 'used-idx-jump', SOUND, ('RING-01', 'RING-02', 'RING-08')),
    ('elements behind the ring', 'used-idx-no-mask', SOUND, ('RING-01', 'RING-02', 'RING-04')),
    ('first of a batch', 'in-order-first', SOUND + ' --in-order', ('RING-01', 'RING-46')),
    ('packed: wrong marks', 'packed-wrong-marks', HANG + ' --ring packed', ('PACKED-05',)),
    ('packed: used twice', 'packed-twice', HANG + ' --ring packed', ('PACKED-05',)),
    ('packed: length', 'packed-len-sum', SOUND + ' --ring packed', ('PACKED-07',)),
    ('packed: without WRITE', 'packed-write-flag', SOUND + ' --ring packed', ('PACKED-06',)),
    ('packed: wrap counter', 'packed-wrap-jump', HANG + ' --ring packed --ring-size 100', ('PACKED-05',)),
    ('packed: header written', 'packed-ro-write', SOUND + ' --ring packed', ('PACKED-10',)),
    ('packed: event structure', 'packed-event-garbage', SOUND + ' --ring packed', ('PACKED-25',)),
    # calls
    ('never calls', 'call-never', HANG, ('RING-34',)),
    ('never calls, without event index', 'call-never', HANG + ' --notify event', ('RING-31',)),
    ('packed: never calls', 'packed-place-off', HANG + ' --ring packed', ('PACKED-24',)),
    # data
    ('another sector', 'blk-read-off1', SOUND, ('BLK-01', 'misplaced')),
    ('last sector not written', 'blk-write-short', SOUND, ('BLK-02', 'torn')),
    ('most are not written', 'blk-batch-lost', SOUND + ' --size 1M --ios 8000', ('BLK-02', 'lost', 'stale')),
    ('nothing is read', '--null', SOUND, ('BLK-01', 'lost')),
    ('status elsewhere', 'blk-status-first', SOUND, ('BLK-07',)),
    ('status of four bytes', 'blk-status-wide', SOUND, ('RING-18',)),
    # the stop
    ('stops with requests in flight', UNDRAINED, STOP, ('VRING-13',)),
    ('packed: stops with requests in flight', UNDRAINED, STOP + ' --ring packed', ('VRING-13',)),
    ('completes after the stop', UNDRAINED, STOP + ' --settle 2500', ('VRING-60', 'WARN')),
]

HANDOVERS = [
    ('split', None, MOVE, ()),
    ('split, four queues, small blocks', None, MOVE + ' --queues 4 --bs 512', ()),
    ('split, in order, large blocks', None, MOVE + ' --in-order --bs 16K', ()),
    ('packed', None, MOVE + ' --ring packed --queues 2', ()),
    ('packed, indirect, 31 slots', None, MOVE + ' --ring packed --indirect --ring-size 31 --depth 16', ()),
    ('marks nothing', 'log-none', MOVE, ('LOG-01', 'LOG-02')),
    ('marks late', 'log-late', MOVE + ' --rate 500 --depth 4', ('LOG-19',)),
    ('marks the first page only', 'log-first-page', MOVE + ' --bs 16K', ('LOG-01',)),
    ('marks no used entries', 'log-used-none', MOVE, ('LOG-02',)),
    ('packed: marks no used entries', 'packed-log-none', MOVE + ' --ring packed', ('LOG-28',)),
    ('writes behind the log', 'log-tail', MOVE, ('LOG-25',)),
    ('counts bits from the top', 'log-bit-order', MOVE, ('LOG-01', 'LOG-02')),
    ('drops the state', 'devstate-load-forgets', MOVE, ('DEVSTATE-07',)),
    ('refuses to move the state', 'devstate-refused', MOVE, ('DEVSTATE-02',)),
    ('leaves requests in flight', 'state-stop-no-drain --latency 10000000', MOVE + ' --timeout 20000', ('VRING-13',)),
]


def command(build, fault):
    """Of the back-end, with its fault or its options."""
    backend = shlex.quote(os.path.join(build, 'vhu-backend')) + ' --socket {socket} --image {image}'
    if fault:
        backend += ' ' + fault if fault.startswith('--') else ' --fault ' + fault
    return backend


def run(words):
    """Exit code and report; None where there is none."""
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
                          timeout=240)
    if 'Sanitizer' in done.stderr or 'runtime error' in done.stderr or not done.stdout:
        return done.returncode, None, done.stderr.strip()
    return done.returncode, json.loads(done.stdout), done.stderr.strip()


def judge(code, report, text, wanted):
    """Why it is wrong, or None."""
    if report is None:
        return f'exit code {code}: {text}'
    found = {finding['requirement'] for finding in report['findings']}
    wrong = {name: count for name, count in report['errors'].items() if count}
    if code not in (0, 1):
        return f'exit code {code}, found {sorted(found)}'
    kinds = {name for name in wanted if name in report['errors']}
    if wanted and not found & set(wanted) or kinds - set(wrong):
        return f'found {sorted(found)} and {wrong}, not {" or ".join(wanted)}'
    if 'WARN' in wanted and report['verdict'] != 'WARN':
        return f'the verdict is {report["verdict"]}'
    if not wanted and (found or wrong or code):
        return f'exit code {code}, found {sorted(found)}, errors {wrong}'
    return None


def handover(report):
    if not report or not report['handover']:
        return 'nothing was handed over'
    if not report['handover']['dirty_log_pages'] or not report['handover']['state_bytes']:
        return f'handed over with {report["handover"]}'
    return None


def main(build, *names):
    build = os.path.abspath(build)
    guest = [os.path.join(build, 'vhu-guest'), '-q', '--json', '-']
    passed = failed = 0
    for name, fault, options, wanted in LOADS:
        if names and name not in names:
            continue
        words = guest + ['--spawn', command(build, fault)] + shlex.split(options)
        wrong = judge(*run(words), wanted)
        passed, failed = passed + (not wrong), failed + bool(wrong)
        if wrong:
            print(f'{name}: {wrong}\n  {shlex.join(words)}', flush=True)
    for name, fault, options, wanted in HANDOVERS:
        if names and name not in names:
            continue
        # Who takes over has the fault as well, but not what makes it show.
        heir = fault.split()[0] if fault else None
        words = guest + ['--spawn', command(build, fault), '--then', command(build, heir)] + shlex.split(options)
        code, report, text = run(words)
        wrong = judge(code, report, text, wanted) or (None if wanted else handover(report))
        passed, failed = passed + (not wrong), failed + bool(wrong)
        if wrong:
            print(f'handover, {name}: {wrong}\n  {shlex.join(words)}', flush=True)
    print(f'{passed} passed, {failed} failed')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
