#!/usr/bin/env python3
"""Back-ends that send nonsense: the tester finds fault with them, ends in time, and is not at fault itself.

    run_hostile.py BUILD

The last line counts.
"""
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path.insert(0, os.path.join(HERE, 'hostile'))
import backend  # noqa: E402

CASES = ['cases/core/features', 'cases/core/owner', 'cases/core/backend-channel', 'cases/blk/read.json']
# Random answers are for every case there is.
ALL_CASES = {'noise': ['cases', '--jobs', '2']}
# Modes in which not even the probe gets an answer: the target can't be used, which is exit code 4.
HOPELESS = {'garbage', 'silent', 'die'}


def check(build, mode):
    """Why it is wrong, or None."""
    command = [os.path.join(build, 'vhu-conform'), '--spawn',
               f"'{sys.executable}' '{os.path.join(HERE, 'hostile', 'backend.py')}' {mode} {{socket}}", '--device', 'blk',
               '--allow-writes', '--timeout', '400', '-q', '--json', '-'] + ALL_CASES.get(mode, CASES)
    run = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         text=True, timeout=240)
    if run.returncode not in ((4,) if mode in HOPELESS else (1, 4)):
        return f'exit code {run.returncode}: {run.stderr.strip()}'
    if 'Sanitizer' in run.stderr or 'runtime error' in run.stderr:
        return run.stderr
    report = json.loads(run.stdout)
    if report['summary']['broken']:
        broken = [case for case in report['cases'] if case['verdict'] == 'broken'][0]
        return f'{broken["id"]} is broken: {broken.get("skip_reason") or broken.get("broken_reason") or broken}'
    if mode not in HOPELESS and not report['summary']['fail']:
        return 'nothing was found'
    return None


def main(build):
    failed = 0
    for mode in backend.MODES:
        wrong = check(os.path.abspath(build), mode)
        if wrong:
            failed += 1
            print(f'{mode}: {wrong}')
    print(f'{len(backend.MODES) - failed} passed, {failed} failed')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
