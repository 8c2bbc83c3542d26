#!/usr/bin/env python3
"""How often the cases find fault with a back-end that has none: 0 is right.

    false_alarms.py BUILD [REPEATS [BUSY_REPEATS]]

The whole set in random order with two jobs, 100 times; then 20 times beside programs that take all CPU time.
"""
import json
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def alarms(build):
    """How many cases did not pass."""
    command = [os.path.join(build, 'vhu-conform'), '--reference', '--shuffle', '--jobs', '2', '-q', '--json', '-', 'cases']
    run = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    report = json.loads(run.stdout)
    bad = [case['id'] for case in report['cases'] if case['verdict'] not in ('pass', 'skip')]
    for case in bad:
        print(f'alarm: {case}')
    return len(bad)


def main(build, repeats=100, busy_repeats=20):
    quiet = sum(alarms(build) for _ in range(int(repeats)))
    hogs = [subprocess.Popen([sys.executable, '-c', 'while True: pass']) for _ in range(os.cpu_count() or 1)]
    try:
        busy = sum(alarms(build) for _ in range(int(busy_repeats)))
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()
    print(f'{quiet} alarms in {repeats} runs, {busy} alarms in {busy_repeats} runs beside busy processors')
    return 1 if quiet or busy else 0


if __name__ == '__main__':
    sys.exit(main(os.path.abspath(sys.argv[1]), *sys.argv[2:4]))
