#!/usr/bin/env python3
"""The captures of captures/: nothing in them breaks a rule, and each plays against a back-end made like the recorded one.

    run_captures.py BUILD
"""
import glob
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def run(*words):
    return subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


def check(build, path):
    """The oracle has nothing to say that the baseline beside the capture does not know."""
    done = run(f'{build}/vhu-trace', 'check', path)
    return '' if done.returncode == 0 else done.stdout


CHECKS = {'check': check}


def main(build):
    passed = failed = 0
    for path in sorted(glob.glob(f'{ROOT}/captures/*.pcap')):
        for name, what in CHECKS.items():
            wrong = what(build, path)
            passed, failed = passed + (not wrong), failed + bool(wrong)
            if wrong:
                print(f'FAIL {name} {os.path.relpath(path, ROOT)}\n{wrong}')
    print(f'{passed} passed, {failed} failed')
    return 1 if failed or not passed else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
