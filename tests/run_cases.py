#!/usr/bin/env python3
"""All cases on the reference back-end without a fault: each passes, or is skipped for a reason. The last line counts.

    run_cases.py BUILD

As root, the huge pages that the cases need are reserved for the run and given back.
"""
import concurrent.futures
import json
import os
import shlex
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
POOL = '/proc/sys/vm/nr_hugepages'
PERSONAS = ['cases/cloud-hypervisor', 'cases/crosvm', 'cases/firecracker', 'cases/qemu']
# folders of no device of their own
FOR_ALL = {'core', 'lib'} | {os.path.basename(folder) for folder in PERSONAS}
# Whose life the personas' cases tell, beside disks.
LIVES = ['fs', 'gpio', 'gpu', 'i2c', 'input', 'net', 'rng', 'scsi', 'vsock']
PAGES = 40  # of 2 MiB: the guest memory of one case, and some to spare


# Two programs that wait for each other leave half of the time to others.
JOBS = 2 * (os.cpu_count() or 1)


def hugepages():
    """How many the machine keeps."""
    try:
        with open(POOL, encoding='ascii') as pool:
            return int(pool.read())
    except OSError:
        return 0


def reserve(number):
    try:
        with open(POOL, 'w', encoding='ascii') as pool:
            pool.write(f'{number}\n')
    except OSError:
        pass


# The reference as other disks.
DISKS = [['--flash', '--size', '5G'], ['--zoned', '2048']]
# As a network device that serves its control queue, behind one pair and behind two.
CONTROLS = [['--control-queue', '--queues', '2'], ['--control-queue', '--queues', '4']]
SLOW = [['--queues', '8', '--latency', '100']]
# As other back-ends: of old times, with little to offer, without acknowledgements, with rings that are looked at,
# with rings that wait for their buffer of requests in flight.
OTHERS = [['--features', '0x100000200'], ['--features', '0x140000200', '--protocol-features', '0x1'],
          ['--features', '0xfffffffdffffffff', '--protocol-features', '0xffffbff7'], ['--poll', '--reorder'],
          ['--reply-style', 'area-first']]


def run(build, arguments, disk=None):
    """One run of vhu-conform: its report, and whether it ended well."""
    build = os.path.abspath(build)
    target = ['--reference']
    if disk:
        target = ['--spawn', ' '.join([shlex.quote(os.path.join(build, 'vhu-backend')), '--socket', '{socket}', '--image',
                                       '{image}'] + disk)]
    done = subprocess.run([os.path.join(build, 'vhu-conform')] + target + ['--json', '-'] + arguments,
                          cwd=ROOT, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
    return json.loads(done.stdout), done.returncode == 0


def tell(report):
    """What did not pass, and why the rest was skipped."""
    reasons = {}
    for case in report['cases']:
        if case['verdict'] in ('fail', 'broken', 'warn', 'flaky'):
            print(f'{case["verdict"].upper()} {case["id"]} {case.get("broken_reason") or ""}'.rstrip())
            for finding in case['findings']:
                print(f'  {finding["requirement"]}: {finding["summary"]} ({finding["actual"]["text"]})')
        elif case['verdict'] == 'skip':
            reasons.setdefault(case['skip_reason'], []).append(case['id'])
    for reason, cases in sorted(reasons.items()):
        print(f'SKIP: {len(cases)} cases: {reason} ({cases[0]} …)')


def forgive_the_end(report):
    """A program that serves one front-end ends along with its connection, which is told and does not fail a case."""
    for case in report['cases']:
        if case['verdict'] == 'warn' and {finding['requirement'] for finding in case['findings']} == {'PROG-16'}:
            case['verdict'] = 'pass'
            report['summary']['warn'] -= 1
            report['summary']['pass'] += 1


def other_devices():
    """The devices beside blk that have a folder of cases."""
    return sorted(set(os.listdir(os.path.join(ROOT, 'cases'))) - FOR_ALL - {'blk'})


def all_runs():
    """Arguments, and what of the reference back-end is special; those that take long come first."""
    both = ['cases/core', 'cases/blk']
    yield both,
    yield ['--ring', 'packed', *both],
    yield from ((both, other) for other in OTHERS)
    yield from ((['cases/blk'], disk) for disk in DISKS)
    yield from ((['--device', device, f'cases/{device}'],) for device in other_devices())
    yield from ((['--device', 'net', 'cases/net'], ['--device', 'net', *more]) for more in CONTROLS + SLOW)
    yield PERSONAS,
    yield from ((['--device', device, *PERSONAS], ['--device', device, '--queues', '40']) for device in LIVES)
    yield ['cases/core'], ['--one-shot']


def main(build):
    before = hugepages()
    try:
        reserve(before + PAGES * JOBS)
        with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
            runs = list(pool.map(lambda one: run(build, *one), all_runs()))
        forgive_the_end(runs[-1][0])
        if runs[0][0]['target']['memory'] == 'hugetlb':
            # With so few pages that a new guest has to wait for those of the old one.
            reserve(before + PAGES)
            runs.append(run(build, ['--memory', 'hugetlb', 'cases/blk']))
        else:
            print('SKIP: cases in huge pages: none could be reserved')
    finally:
        reserve(before)
    counts = [0, 0, 0]
    for report, _well in runs:
        tell(report)
        summary = report['summary']
        counts[0] += summary['pass']
        counts[1] += sum(summary[kind] for kind in ('fail', 'warn', 'broken', 'flaky'))
        counts[2] += summary['skip']
    print('{} passed, {} failed, {} skipped'.format(*counts))
    return 1 if counts[1] or not all(well for _report, well in runs) else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
