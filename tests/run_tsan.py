#!/usr/bin/env python3
"""ThreadSanitizer over whatever has threads: the rings' stress tests, and vhu-guest with several queues.

    run_tsan.py BUILD

Builds a second time, below BUILD, with -fsanitize=thread; without a compiler that has it the test is skipped. The last
line counts.
"""
import os
import shlex
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SKIP = 77
UNITS = ['test_vring_hot', 'test_vring_split', 'test_vring_packed']
LOAD = '-q --rw randrw --verify --queues 3 --runtime 0.5 '
LOADS = [
    '--reference ' + LOAD,
    '--reference --ring packed --notify poll ' + LOAD,
    '--reference --crash-every 150 ' + LOAD,
    '--reference --reconnect-every 100 ' + LOAD,
    '--spawn {backend} --then {backend} ' + LOAD,
    '--reference=used-dup ' + LOAD,
    # A deadline that a busy machine keeps.
    '--reference=call-never ' + LOAD + '--timeout 1000 --runtime 2',
]


def has_tsan(compiler, folder):
    """Whether a program with it can be built, and runs here."""
    source, program = os.path.join(folder, 'tsan.c'), os.path.join(folder, 'tsan')
    with open(source, 'w', encoding='ascii') as file:
        file.write('int main(void) { return 0; }\n')
    build = subprocess.run([*compiler, '-fsanitize=thread', '-o', program, source], stderr=subprocess.DEVNULL)
    return build.returncode == 0 and subprocess.run([program], stderr=subprocess.DEVNULL).returncode == 0


def build_all(folder):
    if not os.path.exists(os.path.join(folder, 'build.ninja')):
        subprocess.run(['meson', 'setup', folder, ROOT, '-Doptimization=1', '-Db_sanitize=thread', '-Db_lundef=false',
                        '-Debpf=disabled'], check=True, stdout=subprocess.DEVNULL)
    targets = ['vhu-guest', 'vhu-backend', *('tests/' + unit for unit in UNITS)]
    done = subprocess.run(['ninja', '-C', folder, *targets], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        print(done.stdout[-4000:])
    return done.returncode == 0


def main(build):
    folder = os.path.join(os.path.abspath(build), 'tsan')
    os.makedirs(folder, exist_ok=True)
    if not shutil.which('meson') or not shutil.which('ninja'):
        print('skipped: meson and ninja are not in PATH')
        return SKIP
    if not has_tsan(shlex.split(os.environ.get('CC', 'cc')), folder):
        print('skipped: the compiler has no ThreadSanitizer that works here')
        return SKIP
    if not build_all(folder):
        print('0 passed, 1 failed')
        return 1
    backend = shlex.quote(os.path.join(folder, 'vhu-backend')) + ' --socket {socket} --image {image}'
    commands = [[os.path.join(folder, 'tests', unit)] for unit in UNITS]
    commands += [[os.path.join(folder, 'vhu-guest'), *(word.replace('{backend}', backend) for word in shlex.split(load))]
                 for load in LOADS]
    failed = 0
    for words in commands:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              env=dict(os.environ, TSAN_OPTIONS='exitcode=66'), timeout=240)
        if done.returncode not in (0, 1) or 'ThreadSanitizer' in done.stderr:
            failed += 1
            print(f'{shlex.join(words)}: exit code {done.returncode}\n{done.stderr[-3000:]}', flush=True)
    print(f'{len(commands) - failed} passed, {failed} failed')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
