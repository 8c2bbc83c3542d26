#!/usr/bin/env python3
"""What watching costs: 200,000 messages between two local processes, bare, captured and traced.

    capture.py BUILD [--rounds N] [--messages N] [--only WAY,…] [--kinds KIND,…]

Ways alternate: bare, ours, bare, ours. Prints a line a way: seconds (least, median, most), messages a second and the
ratio to bare, both of the least and of the medians; the processor's time a message, of those who talk and of those who
record: on a machine that others use too it says more than the seconds. For captures also what the file says: messages
and how many were lost. Last, how much of the machine others had meanwhile.
"""
import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time


class Absent(Exception):
    pass


def flood(build, listen, connect, kind, n, prefix=()):
    done = subprocess.run([*prefix, os.path.join(build, 'tools/bench/bench-flood'), listen, connect, kind, str(n)],
                          stdout=subprocess.PIPE, text=True, check=True)
    return tuple(float(word) for word in done.stdout.split())


def bare(build, folder, kind, n):
    path = os.path.join(folder, 's')
    return flood(build, path, path, kind, n), 0, None


def start_capture(build, file, *args):
    capture = subprocess.Popen([os.path.join(build, 'vhu-capture'), file, *args], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    line = capture.stderr.readline()
    if 'recording' not in line:
        raise Absent(line.strip() + ' ' + capture.stderr.read().strip())
    return capture, processor_seconds(capture.pid)


def processor_seconds(pid):
    with open(f'/proc/{pid}/stat', encoding='ascii') as stat:
        words = stat.read().rsplit(')', 1)[1].split()
    return (int(words[11]) + int(words[12])) / os.sysconf('SC_CLK_TCK')


def end_capture(build, started, file):
    """Its processor seconds since it was ready, and what its file says."""
    capture, before = started
    capture.send_signal(signal.SIGINT)
    capture.stdout.read()
    _, status, usage = os.wait4(capture.pid, 0)
    capture.returncode = os.waitstatus_to_exitcode(status)
    if capture.returncode:
        sys.exit(f'vhu-capture: exit {capture.returncode}')
    stats = subprocess.run([os.path.join(build, 'vhu-trace'), 'stats', '--json', file], stdout=subprocess.PIPE, check=True)
    return usage.ru_utime + usage.ru_stime - before, json.loads(stats.stdout)


def ebpf(build, folder, kind, n):
    path, file = os.path.join(folder, 's'), os.path.join(folder, 'c.pcap')
    capture = start_capture(build, file, '--socket', path)
    seconds = flood(build, path, path, kind, n)
    return seconds, *end_capture(build, capture, file)


def proxy(build, folder, kind, n):
    path, front, file = (os.path.join(folder, name) for name in ('s', 'p', 'c.pcap'))
    capture = start_capture(build, file, '--proxy', f'{front}={path}')
    seconds = flood(build, path, front, kind, n)
    return seconds, *end_capture(build, capture, file)


def strace(build, folder, kind, n):
    if not shutil.which('strace'):
        raise Absent('no strace')
    path = os.path.join(folder, 's')
    prefix = ('strace', '-f', '-xx', '-s', '65536', '-e', 'trace=sendmsg,recvmsg,sendto,recvfrom,read,write,socket,'
              'connect,accept4,close', '-o', os.path.join(folder, 'trace'))
    # A hundred times slower than the rest: a tenth of the messages tells as much.
    return tuple(10 * seconds for seconds in flood(build, path, path, kind, n // 10, prefix)), 0, None


WAYS = {'bare': bare, 'ebpf': ebpf, 'proxy': proxy, 'strace': strace}


def busy():
    """The processors' seconds of all, so far."""
    with open('/proc/stat', encoding='ascii') as stat:
        words = [int(word) for word in stat.readline().split()[1:]]
    return (sum(words[:3]) + sum(words[5:8])) / os.sysconf('SC_CLK_TCK')


class Runs:
    """Of one way."""

    def __init__(self):
        self.seconds, self.talkers, self.recorder, self.told = [], [], [], None

    def add(self, talk, recorder, told):
        self.seconds.append(talk[0])
        self.talkers.append(talk[1])
        self.recorder.append(recorder)
        self.told = told or self.told

    def line(self, kind, way, n, bare):
        low, mid, high = min(self.seconds), statistics.median(self.seconds), max(self.seconds)
        line = f'{kind:7} {way:6} {low:7.3f} {mid:7.3f} {high:7.3f} s {n / low:8.0f} messages/s'
        if bare and bare is not self:
            line += (f'  {min(bare.seconds) / low:.2f} of bare, medians {statistics.median(bare.seconds) / mid:.2f}, '
                     f'by processor time {min(bare.talkers) / min(self.talkers):.2f};')
        line += f'  {min(self.talkers) / n * 1e9:5.0f} ns a message'
        if self.told:
            line += (f' + {min(self.recorder) / n * 1e9:.0f} recording  '
                     f'{self.told["messages"]} captured, {self.told["lost"]} lost')
        return line


def run(args, kind, ways):
    runs = {}
    for turn in range(args.rounds):
        for way in list(ways):
            if way == 'strace' and turn:
                continue # slow, and no figure of ours
            with tempfile.TemporaryDirectory() as folder:
                try:
                    result = WAYS[way](args.build, folder, kind, args.messages)
                except Absent as reason:
                    print(f'{kind} {way}: skipped: {reason}')
                    ways.remove(way)
                    continue
            runs.setdefault(way, Runs()).add(*result)
            time.sleep(0.1)
    return runs


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('build')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--messages', type=int, default=200000)
    parser.add_argument('--only', default=','.join(WAYS))
    parser.add_argument('--kinds', default='flood,backend,ping')
    args = parser.parse_args()
    ways = [way for way in WAYS if way in args.only.split(',')]
    before, start, own = busy(), time.monotonic(), os.times()
    for kind in args.kinds.split(','):
        runs = run(args, kind, ways)
        for way, result in runs.items():
            print(result.line(kind, way, args.messages, runs.get('bare')), flush=True)
    now, seconds = os.times(), time.monotonic() - start
    ours = sum(now[:4]) - sum(own[:4])
    print(f'others had {max(0, busy() - before - ours) / seconds / os.cpu_count():.0%} of the machine')


if __name__ == '__main__':
    main()
