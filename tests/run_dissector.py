#!/usr/bin/env python3
"""The Wireshark dissector through tshark: it reads what vhu-trace reads, and survives what is broken.

    run_dissector.py BUILD

Exit code 77 where there is no tshark.
"""
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MAKE = os.path.join(ROOT, 'tests', 'make_capture.py')
SESSIONS = os.path.join(ROOT, 'tests', 'data', 'sessions')


def tshark(build, path, *args):
    done = subprocess.run(['tshark', '-X', f'lua_script:{build}/tools/gen/vhost_user.lua', '-r', path, *args],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    errors = [line for line in (done.stdout + done.stderr).split('\n') if re.search(r'lua|Lua', line)]
    return done.stdout, errors


def show(build, path, *args):
    done = subprocess.run([f'{build}/vhu-trace', 'show', path, *args], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          text=True)
    return done.stdout.split('\n')[:-1]


def expect(what, left, right):
    return '' if left == right else f'{what}: {left!r} is not {right!r}'


def check_fields(build, path):
    """Names, sizes and some fields of each message are those that vhu-trace shows."""
    out, errors = tshark(build, path, '-T', 'fields', '-E', 'separator=|', '-e', 'vhost_user.name', '-e',
                         'vhost_user.reply', '-e', 'vhost_user.index', '-Y', 'vhost_user.name')
    got = [line.split('|') for line in out.split('\n')[:-1]]
    lines = show(build, path, '-f', '!type=other')
    names = [re.search(r'[<>] (request \d+|\w+)', line)[1] for line in lines]
    yield expect('Lua', errors, [])
    yield expect('names', [row[0] for row in got], names)
    indexes = [(re.search(r' index=(\d+)', line) or ['', ''])[1] for line in lines]
    yield expect('indexes', [row[2].split(',')[0] for row in got], indexes)


FILTERS = {
    'vhost_user.name == "SET_VRING_NUM" && vhost_user.num == 128': ('-f', 'SET_VRING_NUM num=128'),
    'vhost_user.fd.kind == 5 && vhost_user.index == 0': ('-f', 'index=0 fds=1'),
    'vhost_user.need_reply == 1': None,
    'vhost_user.connection == 1 && vhost_user.nfds > 0': ('-n', '1', '-f', 'fds>0'),
    'vhost_user.memory_size > 0': ('-f', 'ADD_MEM_REG|SET_MEM_TABLE dir=fe'),
    'vhost_user.life == 1': ('-f', 'connect'),
    'vhost_user.record.channel == 2': ('-f', 'channel=backend'),
}


def check_filters(build, path):
    for display, ours in FILTERS.items():
        out, errors = tshark(build, path, '-Y', display)
        yield expect(f'Lua in {display}', errors, [])
        if ours:
            yield expect(display, len(out.split('\n')) - 1, len(show(build, path, *ours)))


def check_features(build, path):
    out, _ = tshark(build, path, '-Y', 'vhost_user.feature == "REPLY_ACK"', '-T', 'fields', '-e', 'vhost_user.name')
    yield expect('features', sorted(set(out.split())), ['GET_PROTOCOL_FEATURES', 'SET_PROTOCOL_FEATURES'])


def check_details(build, path):
    out, errors = tshark(build, path, '-V')
    yield expect('Lua', errors, [])
    yield expect('details', 'Malformed' in out, False)


def check_broken(build, folder):
    """Whatever stands in the bytes, no error of the dissector itself."""
    source = os.path.join(SESSIONS, 'blk-migrate-q11.txt')
    path = os.path.join(folder, 'broken.pcap')
    for n, edit in enumerate(['3:2:ffff', '3:2:3800', '9:64:ffffffff', '12:58:ffff', '14:58:0100', '20:4:63', '22:4:03',
                              '24:4:04', '26:4:05', '28:6:10', '30:1:07', '31:0:05']):
        with open(path, 'wb') as out:
            subprocess.run([sys.executable, MAKE, '--edit', edit, source], stdout=out, check=True)
        yield expect(f'Lua with {edit}', tshark(build, path, '-V')[1], [])


def main(build):
    if not shutil.which('tshark'):
        print('skipped: there is no tshark (package tshark)')
        return 77
    passed = failed = 0
    with tempfile.TemporaryDirectory() as folder:
        jobs = [(check, path) for path in sorted(glob.glob(f'{ROOT}/captures/*.pcap'))[:3]
                for check in (check_fields, check_details)]
        gpu = os.path.join(folder, 'gpu.pcap')
        with open(gpu, 'wb') as out:
            subprocess.run([sys.executable, MAKE, os.path.join(SESSIONS, 'gpu-uefi-q10.txt')], stdout=out, check=True)
        one = f'{ROOT}/captures/blk-4q.pcap'
        jobs += [(check_fields, gpu), (check_filters, one), (check_features, one), (check_broken, folder)]
        for check, path in jobs:
            wrong = [line for line in check(build, path) if line]
            passed, failed = passed + (not wrong), failed + bool(wrong)
            for line in wrong:
                print(f'{check.__name__} {os.path.basename(path)}: {line}')
    print(f'{passed} passed, {failed} failed')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main(os.path.abspath(sys.argv[1])))
