#!/usr/bin/env python3
"""Replays the captures of captures/ on the back-ends that they are of, with requests of our own through the rings of disks.

    captures.py BUILD NAME

NAME is a row of BACKENDS. Exit 77 with the reason where the program is not installed.
"""
import json
import os
import subprocess
import sys
import tempfile

import run

ROOT = run.ROOT
DAEMON = ('qemu-storage-daemon --blockdev driver=file,node-name=d,filename={{image}},discard=unmap '
          '--export type=vhost-user-blk,id=e,node-name=d,addr.type=unix,addr.path={{socket}},writable=on,num-queues={}')

# name: command with its number of queues (pairs), options, {capture: that number}. As tools/captures/make starts them.
BACKENDS = {
    'qemu-storage-daemon': (DAEMON, ['--io', '--image-size', '64M'], {
        'blk-1q': 1, 'blk-4q': 4, 'blk-hot-unplug': 1, 'blk-migrate': 1, 'blk-paused': 1, 'blk-reboot': 1,
        'blk-reconnect-after-driver-ok': 1, 'blk-reconnect-before-driver': 1, 'blk-stop-cont': 2}),
    'dpdk-testpmd': (f'{run.HERE_QUOTED}/testpmd.sh {{{{socket}}}} {{}}', [], {
        'net-1q': 1, 'net-4q-switched': 4, 'net-packed': 1, 'net-reconnect': 2}),
    'virtiofsd': ('/usr/lib/qemu/virtiofsd --socket-path={{socket}} -f -o source={share} -o sandbox=chroot', [], {'fs': 1}),
}
# Nothing is asked of a disk before its rings start.
WITHOUT_IO = {'blk-paused'}


def main(build, name):
    obstacle = run.obstacle(name)
    if obstacle:
        print(f'SKIP: {name}: {obstacle}')
        return 77
    command, options, captures = BACKENDS[name]
    failed = 0
    with tempfile.TemporaryDirectory() as share:
        for capture, queues in captures.items():
            done = subprocess.run(
                [os.path.join(os.path.abspath(build), 'vhu-replay'), '--spawn', command.format(queues, share=share),
                 *options, '--json', '-', f'{ROOT}/captures/{capture}.pcap'],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
            report = json.loads(done.stdout) if done.stdout else {}
            ios = report.get('ios', 0)
            well = done.returncode == 0 and (ios > 0) == ('--io' in options and capture not in WITHOUT_IO)
            failed += not well
            print(f'{"PASS" if well else "FAIL"} {capture}: {report.get("replayed")} messages, {ios} I/Os')
            if not well:
                print(f'  exit code {done.returncode}\n{done.stdout}{done.stderr}')
    print(f'{len(captures) - failed} passed, {failed} failed')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:3]))
