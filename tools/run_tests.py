#!/usr/bin/env python3
"""Runs the test suites of one or more build folders and counts single tests over all of them.

    run_tests.py BUILD [SANITIZED_BUILD…]

In further folders the suites `interop`, `style`, `mutants` and `tsan` are left out: they say nothing new there. Skips are
printed with their reasons. The last line is `N passed, N failed, N skipped`.
"""
import json
import os
import re
import subprocess
import sys

ONLY_ONCE = {'interop', 'style', 'mutants', 'tsan'}
# A test program may say how many tests it holds: cmocka's closing lines, or `N passed, N failed, N skipped`.
COUNTS = re.compile(r'^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$', re.M)
CMOCKA_PASSED = re.compile(r'^\[  PASSED  \] (\d+) test\(s\)\.', re.M)
CMOCKA_SKIPPED = re.compile(r'^\[  SKIPPED \] (\d+) test\(s\)', re.M)


def run(build, extra):
    command = ['meson', 'test', '-C', build, '--no-rebuild', '--print-errorlogs'] + extra
    status = subprocess.run(command, stdin=subprocess.DEVNULL).returncode
    log = os.path.join(build, 'meson-logs', 'testlog.json')
    with open(log, encoding='utf-8') as lines:
        return status, [json.loads(line) for line in lines]


def count(test):
    """passed, failed, skipped of one test program."""
    out = test.get('stdout', '')
    found = COUNTS.findall(out)
    if found:
        return tuple(int(n or 0) for n in found[-1])
    if test['result'] == 'SKIP':
        return 0, 0, 1
    if test['result'] != 'OK':
        return 0, 1, 0
    passed = sum(int(n) for n in CMOCKA_PASSED.findall(out)) or 1
    return passed, 0, sum(int(n) for n in CMOCKA_SKIPPED.findall(out))


def main(builds):
    total = [0, 0, 0]
    bad = False
    reasons = []
    for number, build in enumerate(builds):
        extra = [] if number == 0 else [arg for suite in sorted(ONLY_ONCE) for arg in ('--no-suite', suite)]
        status, tests = run(build, extra)
        bad |= status != 0
        for test in tests:
            for i, n in enumerate(count(test)):
                total[i] += n
            reasons += re.findall(r'^SKIP: .*$', test.get('stdout', ''), re.M)
    for reason in sorted(set(reasons)):
        print(reason)
    if bad and not total[1]:
        total[1] = 1
    print('{} passed, {} failed, {} skipped'.format(*total))
    return 1 if bad or total[1] else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
