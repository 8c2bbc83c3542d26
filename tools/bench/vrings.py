#!/usr/bin/env python3
"""What it costs to start and to stop a network device of 1, 4, 16, 64 and 128 pairs of rings, as QEMU does it.

    vrings.py BUILD

By the clock of the recording: from the first message of a phase to the last. The best of several rounds counts. The cost
of a ring may not grow with their number. Both ends run on one processor: an answer from another one takes twice as long, and
where they are put is up to chance.
"""
import json
import os
import re
import subprocess
import sys
import tempfile

PAIRS = (1, 4, 16, 64, 128)
ROUNDS = 20
GROWTH = 2  # how much dearer a ring may be among 256 than among 32


def case(pairs):
    return {
        'title': f'{pairs} pairs of rings', 'why': 'Starts and stops of large machines are downtime of their guests.',
        'requirements': ['STATE-22'], 'needs': {'device': ['net']}, 'queues': 2 * pairs, 'profile': 'qemu-10.0',
        'offer': {'drop_protocol_features': ['CONFIGURE_MEM_SLOTS']}, 'ring': 'split', 'start': 'owned',
        'steps': [{'repeat': ROUNDS, 'do': [{'phase': 'start', 'pairs': pairs}, {'fence': True}, {'phase': 'stop'}, {'fence': True},
                                            {'phase': 'reset'}]}]}


def moments(build, recording):
    """(seconds, message) of what the front-end sent on the main channel."""
    shown = subprocess.run([os.path.join(build, 'vhu-trace'), 'show', recording], check=True, stdout=subprocess.PIPE, text=True)
    for line in shown.stdout.splitlines():
        found = re.match(r'\s*\d+\s+([0-9.]+) \[\d+\]\s+> (\w+)(?! reply)(.*)', line)
        if found and ' reply ' not in line:
            yield float(found[1]), found[2]


def costs(build, recording):
    """The fastest start and stop, in seconds: fences lie between the phases, and behind a stop."""
    best = {'start': float('inf'), 'stop': float('inf')}
    begin, phase = None, None
    for when, message in moments(build, recording):
        if message == 'GET_FEATURES':
            if phase:
                best[phase] = min(best[phase], when - begin)
            begin, phase = when, 'stop' if phase == 'start' else None
        elif message == 'SET_FEATURES' and phase is None:
            begin, phase = when, 'start'
    return best


def on_one_processor():
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def measure(build, pairs, folder):
    path = os.path.join(folder, f'pairs-{pairs}.json')
    with open(path, 'w', encoding='utf-8') as file:
        json.dump(case(pairs), file)
    backend = os.path.join(os.path.abspath(build), f'vhu-backend --socket {{socket}} --device net --queues {2 * pairs}')
    subprocess.run([os.path.join(build, 'vhu-conform'), '--spawn', backend, '--device', 'net', '-q', '--record', folder, path],
                   check=True, stdout=subprocess.DEVNULL, preexec_fn=on_one_processor)
    for where, _folders, files in os.walk(folder):
        for name in files:
            if name == f'pairs-{pairs}.pcap':
                return costs(build, os.path.join(where, name))
    raise RuntimeError('no recording')


def main(build):
    each = {}
    with tempfile.TemporaryDirectory() as folder:
        for pairs in PAIRS:
            cost = measure(build, pairs, folder)
            each[pairs] = {phase: seconds / (2 * pairs) for phase, seconds in cost.items()}
            print(f'{2 * pairs:3} vrings ({pairs:3} pairs): ' + ', '.join(
                f'{phase} {seconds * 1e3:.2f} ms ({seconds / (2 * pairs) * 1e6:.1f} us a ring)'
                for phase, seconds in cost.items()), flush=True)
    bad = [phase for phase in ('start', 'stop') if each[128][phase] > GROWTH * each[16][phase]]
    print('linear' if not bad else 'NOT linear: ' + ', '.join(bad))
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
