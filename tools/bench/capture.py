#!/usr/bin/env python3
"""What watching costs: 200,000 messages between two local processes, bare, captured and traced.

    capture.py BUILD [--rounds N] [--messages N] [--only WAY,…]

Ways alternate, and the fastest run of each counts, so that what else the machine does weighs less. Prints a line a way: seconds,
messages a second, the ratio to bare, and for captures what the file says: messages and how many were lost.
"""
import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time


class Absent(Exception):
    pass


def flood(build, listen, connect, kind, n, prefix=()):
    done = subprocess.run([*prefix, os.path.join(build, 'tools/bench/bench-flood'), listen, connect, kind, str(n)],
                          stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)


def bare(build, folder, kind, n):
    path = os.path.join(folder, 's')
    return flood(build, path, path, kind, n), None


def start_capture(build, file, *args):
    capture = subprocess.Popen([os.path.join(build, 'vhu-capture'), file, *args], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    line = capture.stderr.readline()
    if 'recording' not in line:
        raise Absent(line.strip() + ' ' + capture.stderr.read().strip())
    return capture


def end_capture(build, capture, file):
    capture.send_signal(signal.SIGINT)
    capture.communicate()
    if capture.returncode:
        sys.exit(f'vhu-capture: exit {capture.returncode}')
    stats = subprocess.run([os.path.join(build, 'vhu-trace'), 'stats', '--json', file], stdout=subprocess.PIPE, check=True)
    return json.loads(stats.stdout)


def ebpf(build, folder, kind, n):
    path, file = os.path.join(folder, 's'), os.path.join(folder, 'c.pcap')
    capture = start_capture(build, file, '--socket', path)
    seconds = flood(build, path, path, kind, n)
    return seconds, end_capture(build, capture, file)


def proxy(build, folder, kind, n):
    path, front, file = (os.path.join(folder, name) for name in ('s', 'p', 'c.pcap'))
    capture = start_capture(build, file, '--proxy', f'{front}={path}')
    seconds = flood(build, path, front, kind, n)
    return seconds, end_capture(build, capture, file)


def strace(build, folder, kind, n):
    if not shutil.which('strace'):
        raise Absent('no strace')
    path = os.path.join(folder, 's')
    prefix = ('strace', '-f', '-xx', '-s', '65536', '-e', 'trace=sendmsg,recvmsg,sendto,recvfrom,read,write,socket,'
              'connect,accept4,close', '-o', os.path.join(folder, 'trace'))
    # A hundred times slower than the rest: a tenth of the messages tells as much.
    return 10 * flood(build, path, path, kind, n // 10, prefix), None


WAYS = {'bare': bare, 'ebpf': ebpf, 'proxy': proxy, 'strace': strace}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('build')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--messages', type=int, default=200000)
    parser.add_argument('--only', default=','.join(WAYS))
    args = parser.parse_args()
    ways = [way for way in WAYS if way in args.only.split(',')]
    for kind in ('flood', 'ping'):
        best, told = {}, {}
        for turn in range(args.rounds):
            for way in list(ways):
                if way == 'strace' and turn:
                    continue # slow, and no figure of ours
                with tempfile.TemporaryDirectory() as folder:
                    try:
                        seconds, told[way] = WAYS[way](args.build, folder, kind, args.messages)
                    except Absent as reason:
                        print(f'{kind} {way}: skipped: {reason}')
                        ways.remove(way)
                        continue
                best[way] = min(seconds, best.get(way, seconds))
                time.sleep(0.1)
        for way, seconds in best.items():
            line = f'{kind} {way:6} {seconds:8.3f} s {args.messages / seconds:10.0f} messages/s'
            if way != 'bare' and 'bare' in best:
                line += f'  {best["bare"] / seconds:.2f} of bare'
            if told[way]:
                line += f'  {told[way]["messages"]} captured, {told[way]["lost"]} lost'
            print(line, flush=True)


if __name__ == '__main__':
    main()
