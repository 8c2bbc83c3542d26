#!/usr/bin/env python3
"""The captures of captures/: nothing in them breaks a rule, each plays against a back-end made like the recorded one,
and makes a case that does the same. So do recorded sessions as lines of JSON.

    run_captures.py BUILD [CAPTURE.pcap | SESSION.jsonl]…

Without a name: those of captures/ and tests/data/fidelity/.
"""
import concurrent.futures
import glob
import json
import os
import shlex
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def run(*words):
    return subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


def check(build, path):
    """The oracle has nothing to say that the baseline beside the capture does not know."""
    done = run(f'{build}/vhu-trace', 'check', path)
    return '' if done.returncode == 0 else done.stdout


def replay(build, path, *options):
    """The report of a replay on a back-end made like the captured one."""
    # A disk that somebody else fills may hold up a write that has to be durable.
    done = run(f'{build}/vhu-replay', '--reference', '--timeout', '20000', *options, path)
    return '' if done.returncode == 0 else done.stdout


def replay_io(build, path):
    """With requests of our own through the captured rings."""
    return replay(build, path, '--io') if os.path.basename(path).startswith('blk') else ''


# A planted fault, and the message at which it has to show, where a capture has that at all.
FAULTS = {'mq-num-0': 'GET_QUEUE_NUM reply', 'feat-get-length': 'GET_FEATURES reply',
          'proto-get-length': 'GET_PROTOCOL_FEATURES reply', 'reply-get-none': 'GET_VRING_BASE reply',
          'vring-base-reply-index': 'GET_VRING_BASE reply index=1'}
# Who says nothing shows by the deadline alone, which has to be long enough for all that is answered before.
SILENT, PATIENCE_MS = 'reply-get-none', {True: '3000', False: '20000'}


def faults(build, path):
    """A back-end with a fault is stopped at the message that shows it."""
    wrong = []
    shown = run(f'{build}/vhu-trace', 'show', path).stdout
    for fault, message in FAULTS.items():
        if f'< {message}' not in shown:
            continue
        done = subprocess.run([f'{build}/vhu-replay', f'--reference={fault}', '--timeout', PATIENCE_MS[fault == SILENT],
                               '--json', '-', path], stdout=subprocess.PIPE, text=True, check=False)
        diverged = json.loads(done.stdout)['diverged'] if done.stdout else []
        if done.returncode not in (1, 4) or not diverged or f'< {message}' not in diverged[0]['recorded']:
            wrong.append(f'  {fault}: exit {done.returncode}, {diverged[:1]}')
    return '\n'.join(wrong)


def round_trip(build, path):
    """Record, make a case of it, run it, record that: the same session."""
    name = os.path.basename(path)[:-len('.pcap')]
    with tempfile.TemporaryDirectory() as folder:
        case = f'{folder}/{name}.json'
        done = run(f'{build}/vhu-trace', 'case', '--output', case, path)
        if done.returncode:
            return done.stdout
        with open(case, encoding='utf-8') as text:
            devices = json.load(text)['needs'].get('device', ['blk'])
        like = shlex.join([f'{build}/vhu-backend', '--device', devices[0], '--like', path]) + ' --socket {socket}'
        done = run(f'{build}/vhu-conform', '--spawn', like + (' --image {image}' if devices == ['blk'] else ''),
                   '--record', folder, case)
        if done.returncode:
            return done.stdout
        done = run(f'{build}/vhu-trace', 'diff', path, f'{folder}/{name}.pcap')
        return done.stdout if done.returncode else ''


CHECKS = {'check': check, 'replay': replay, 'replay --io': replay_io, 'faults': faults, 'round trip': round_trip}


def convert(path, folder):
    """A session of lines of JSON as a capture."""
    capture = os.path.join(folder, os.path.basename(path)[:-len('.jsonl')] + '.pcap')
    with open(capture, 'wb') as out:
        subprocess.run([sys.executable, f'{ROOT}/tests/make_capture.py', path], stdout=out, check=True)
    return capture


def judge(build, path, folder):
    """What each check of one finds wrong."""
    converted = path.endswith('.jsonl')
    capture = convert(path, folder) if converted else path
    # What the programs of a recording that was not ours do is judged elsewhere.
    return {name: CHECKS[name](build, capture) for name in (['replay', 'round trip'] if converted else CHECKS)}


def main(build, *paths):
    paths = paths or sorted(glob.glob(f'{ROOT}/captures/*.pcap') + glob.glob(f'{ROOT}/tests/data/fidelity/*.jsonl'))
    passed = failed = 0
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, found in zip(paths, pool.map(lambda path: judge(build, path, folder), paths)):
            for name, wrong in found.items():
                passed, failed = passed + (not wrong), failed + bool(wrong)
                if wrong:
                    print(f'FAIL {name} {os.path.relpath(path, ROOT)}\n{wrong}')
    print(f'{passed} passed, {failed} failed')
    return 1 if failed or not passed else 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
