#!/usr/bin/env python3
"""What the tester says in a persona's case is what the persona says, message for message: each case of a persona is
recorded on the reference back-end, and the check of recorded front-ends finds no difference.

    run_personas.py BUILD
"""
import json
import os
import shlex
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PERSONAS = ['cloud-hypervisor', 'crosvm', 'firecracker', 'qemu']
DEVICES = ['blk', 'can', 'console', 'crypto', 'fs', 'gpio', 'gpu', 'i2c', 'input', 'net', 'rng', 'rtc', 'scsi', 'sound', 'spi', 'vsock']
# All but CONFIGURE_MEM_SLOTS, for cases that leave it out: the personas take what is offered.
NO_SLOTS = ['--protocol-features', hex(0xffffffff & ~(1 << 15))]
# Cases whose front-end also does what no persona would: gives up, reads config space to judge it, is another process.
OTHERS = {'qemu/half-a-set-up', 'qemu/blk-deaf-reconnect', 'qemu/blk-cache-mode-written', 'qemu/blk-migration-in'}


def case_file(case):
    with open(os.path.join(ROOT, 'cases', case.partition('#')[0] + '.json'), encoding='utf-8') as file:
        return json.load(file)


def profile_of(case):
    data = case_file(case)
    profile = data.get('profile', '')
    if profile.startswith('$'):
        profile = next(one[profile[1:]] for one in data['rows'] if one['row'] == case.partition('#')[2])
    return profile


def leaves_out(case):
    return 'drop_protocol_features' in case_file(case).get('offer', {})


def record(build, device, more, folder):
    """(case, recording)"""
    target = [os.path.join(build, 'vhu-backend'), '--socket', '{socket}', '--device', device, '--queues', '40', *more]
    if device == 'blk':
        target += ['--image', '{image}']
    command = ' '.join(word if word in ('{socket}', '{image}') else shlex.quote(word) for word in target)
    subprocess.run([os.path.join(build, 'vhu-conform'), '--spawn', command,
                    '--device', device, '--quiet', '--record', folder] + [f'cases/{name}' for name in PERSONAS],
                   cwd=ROOT, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    for where, _folders, files in os.walk(folder):
        for file in sorted(files):
            path = os.path.join(where, file)
            yield os.path.relpath(path, folder)[:-len('.pcap')].partition('%')[0], path


def judge(build, device, more, bad):
    """The number of sessions looked at."""
    sessions = 0
    with tempfile.TemporaryDirectory() as folder:
        for case, path in record(build, device, more, folder):
            if case.partition('#')[0] in OTHERS or not profile_of(case) or leaves_out(case) != bool(more):
                continue
            done = subprocess.run([os.path.join(build, 'vhu-fidelity'), '-v', '--persona', profile_of(case), '--device',
                                   device, path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            sessions += 1
            if done.returncode:
                bad.append(f'{case} on {device}:\n{done.stdout}')
    return sessions


def main(build):
    build = os.path.abspath(build)
    sessions, bad = 0, []
    for device in DEVICES:
        for more in [], NO_SLOTS:
            sessions += judge(build, device, more, bad)
    print('\n'.join(bad))
    print(f'{sessions} sessions of personas, {len(bad)} with differences')
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
