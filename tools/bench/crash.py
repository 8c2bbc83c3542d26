#!/usr/bin/env python3
"""A hundred deaths of the back-end under load, on split and packed rings: nothing lost, doubled or torn.

    crash.py BUILD [--kills N]
"""
import argparse
import json
import os
import subprocess
import sys

EVERY_MS = 40


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('build')
    parser.add_argument('--kills', type=int, default=100)
    args = parser.parse_args()
    backend = os.path.join(args.build, 'vhu-backend') + ' --socket {socket} --image {image}'
    bad = 0
    for ring, options in (('split', ''), ('packed', ''), ('split', ' --reorder'), ('packed', ' --reorder')):
        command = [os.path.join(args.build, 'vhu-guest'), '--spawn', backend + options, '--rw', 'randrw', '--verify',
                   '--ring', ring, '--crash-every', str(EVERY_MS), '--runtime', str((args.kills + 0.5) * EVERY_MS / 1000),
                   '-q', '--json', '-']
        out = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True).stdout)
        recovery = {name: f'{value / 1e6:.1f} ms' for name, value in out['recovery_ns'].items()}
        wrong = {name: count for name, count in out['errors'].items() if count}
        bad += bool(wrong) or out['recovered_ios'] < out['crashes'] or bool(out['idle_kills'])
        print(f"{ring}{options}: {out['crashes']} kills, {out['ios']} I/Os, {out['recovered_ios']} recovered, "
              f"errors {wrong or 'none'}, recovery {recovery}", flush=True)
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
