#!/usr/bin/env python3
"""Runs the test suites of two build folders and counts single tests over both.

    run_tests.py BUILD SANITIZED_BUILD

Suites to which a sanitizer adds nothing (what `recorded` says in many runs, `rings` says in few) run in the first folder
alone; those that say the same in both builds, and of which it is asked that nothing bad happens, in the second alone. Skips
are printed with their reasons, and behind them the end of what each failed test said: who keeps only the end of a long log
has what he looks for. The last line is `N passed, N failed, N skipped`.
"""
import json
import os
import re
import subprocess
import sys

PLAIN_ONLY = ['dissector', 'interop', 'mutants', 'recorded', 'style', 'tsan']
SANITIZED_ONLY = ['fidelity', 'hostile']
# Two programs that wait for each other leave half of the time to others.
JOBS = 2 * (os.cpu_count() or 1)
# A test program may say how many tests it holds: cmocka's closing lines, or `N passed, N failed, N skipped`.
COUNTS = re.compile(r'^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$', re.M)
CMOCKA_PASSED = re.compile(r'^\[  PASSED  \] (\d+) test\(s\)\.', re.M)
# What passed says nothing about what failed.
PASSED = re.compile(r'^(\[ {7}OK|\[ RUN|PASS|SKIP)|: PASS\b')
TOLD_LINES = 40
CMOCKA_SKIPPED = re.compile(r'^\[  SKIPPED \] (\d+) test\(s\)', re.M)


def run(build, without):
    # A busy machine is slow, which is no failure.
    command = ['meson', 'test', '-C', build, '--no-rebuild', '--print-errorlogs', '--num-processes', str(JOBS),
               '--timeout-multiplier', '4']
    command += [word for suite in without for word in ('--no-suite', suite)]
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


def tell_failure(build, test):
    """What a test that failed said last."""
    print(f'FAILED: {test["name"]} in {build}: {test["result"]}, exit code {test.get("returncode")}')
    for stream in ('stdout', 'stderr'):
        lines = [line for line in test.get(stream, '').splitlines() if not PASSED.search(line)]
        for line in lines[-TOLD_LINES:]:
            print(f'  {line[:400]}')


def main(plain, sanitized):
    total = [0, 0, 0]
    bad = False
    reasons = []
    failures = []
    for build, without in ((plain, SANITIZED_ONLY), (sanitized, PLAIN_ONLY)):
        status, tests = run(build, without)
        bad |= status != 0
        for test in tests:
            for i, n in enumerate(count(test)):
                total[i] += n
            reasons += re.findall(r'^SKIP: .*$', test.get('stdout', ''), re.M)
            if test['result'] not in ('OK', 'SKIP', 'EXPECTEDFAIL'):
                failures.append((build, test))
    for reason in sorted(set(reasons)):
        print(reason)
    for failure in failures:
        tell_failure(*failure)
    if bad and not total[1]:
        total[1] = 1
    print('{} passed, {} failed, {} skipped'.format(*total))
    return 1 if bad or total[1] else 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
