#!/usr/bin/env python3
"""What the tester says in a persona's case is what the persona says, message for message: each case of a persona is
recorded on the reference back-end, and the check of recorded front-ends finds no difference.

    run_personas.py BUILD
"""
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PERSONAS = ['cloud-hypervisor', 'crosvm', 'firecracker', 'qemu']
DEVICES = ['blk', 'fs', 'gpio', 'gpu', 'i2c', 'input', 'net', 'rng', 'scsi', 'vsock']
# Cases in which the front-end does what no persona would, and why.
OTHERS = {'cloud-hypervisor/blk-life'}  # resumes by hand


def profile_of(case):
    with open(os.path.join(ROOT, 'cases', case + '.json'), encoding='utf-8') as file:
        return json.load(file).get('profile')


def record(build, device, folder):
    """case -> its recordings"""
    target = [os.path.join(build, 'vhu-backend'), '--socket', '{socket}', '--device', device, '--queues', '40']
    subprocess.run([os.path.join(build, 'vhu-conform'), '--spawn', shlex.join(target).replace("'{socket}'", '{socket}'),
                    '--device', device, '--quiet', '--record', folder] + [f'cases/{name}' for name in PERSONAS],
                   cwd=ROOT, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    made = {}
    for where, _folders, files in os.walk(folder):
        for file in sorted(files):
            path = os.path.join(where, file)
            case = re.split('[#%]', os.path.relpath(path, folder)[:-len('.pcap')])[0]
            made.setdefault(case, []).append(path)
    return made


def main(build):
    build = os.path.abspath(build)
    sessions, bad = 0, []
    for device in DEVICES:
        with tempfile.TemporaryDirectory() as folder:
            for case, paths in record(build, device, folder).items():
                if case in OTHERS or not profile_of(case):
                    continue
                done = subprocess.run([os.path.join(build, 'vhu-fidelity'), '-v', '--persona', profile_of(case), '--device',
                                       device, *paths], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                sessions += len(paths)
                if done.returncode:
                    bad.append(f'{case} on {device}:\n{done.stdout}')
    print('\n'.join(bad))
    print(f'{sessions} sessions of personas, {len(bad)} cases with differences')
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
