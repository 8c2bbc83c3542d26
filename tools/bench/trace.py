#!/usr/bin/env python3
"""How fast vhu-trace reads a large capture, beside a bare libpcap loop over it, and in how much memory.

    trace.py BUILD [BYTES]

The capture (1 GiB) is made in a temporary folder of recorded sessions, one after the other and 10,000 side by side.
"""
import os
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SESSION = os.path.join(ROOT, 'tests', 'data', 'sessions', 'net-stop-cont-reset-q7.2.txt')
REPEATS = 3


def run(command, want=0):
    """Least seconds of some runs, highest peak of memory in MiB, what it printed last."""
    best, peak, last = None, 0, ''
    for _ in range(REPEATS):
        with tempfile.TemporaryFile() as out:
            start = time.monotonic()
            child = subprocess.Popen(command, stdout=out)
            _, status, usage = os.wait4(child.pid, 0)
            seconds = time.monotonic() - start
            child.returncode = os.waitstatus_to_exitcode(status)
            out.seek(max(0, out.seek(0, os.SEEK_END) - 4096))
            last = out.read().decode().strip().split('\n')[-1]
        if child.returncode != want:
            raise SystemExit(f'{command}: exit code {child.returncode}: {last}')
        best = seconds if best is None else min(best, seconds)
        peak = max(peak, usage.ru_maxrss / 1024)
    return best, peak, last


def make(build, folder, name, size, *options):
    small, large = os.path.join(folder, 'small.pcap'), os.path.join(folder, name)
    with open(small, 'wb') as out:
        subprocess.run([sys.executable, os.path.join(ROOT, 'tests', 'make_capture.py'), *options, SESSION], stdout=out,
                       check=True)
    helper = os.path.join(build, 'tools', 'bench', 'bench-trace')
    if size:
        subprocess.run([helper, 'make', small, large, str(size)], check=True)
    else:
        os.rename(small, large)
    return large


def measure(build, path, commands):
    helper, trace = os.path.join(build, 'tools', 'bench', 'bench-trace'), os.path.join(build, 'vhu-trace')
    bare, _, counted = run([helper, 'loop', path])
    mib = os.path.getsize(path) / 2**20
    print(f'{os.path.basename(path)}: {mib:.0f} MiB, {counted}; bare libpcap loop {bare:.2f} s, {mib / bare:.0f} MiB/s')
    for words in commands:
        seconds, peak, last = run([trace, *words, path])
        print(f'  {" ".join(words):34} {seconds:6.2f} s  {bare / seconds:.2f} of the bare loop  peak {peak:.1f} MiB')
        if words == ['check']:
            print(f'    {last}')


def main(build, size=2**30):
    with tempfile.TemporaryDirectory() as folder:
        path = make(build, folder, 'large.pcap', int(size))
        measure(build, path, [['stats'], ['check'], ['show'], ['show', '--filter', 'SET_VRING_ADDR index=1']])
        os.unlink(path)
        path = make(build, folder, 'interleaved.pcap', 0, '--repeat', '10000', '--interleave')
        measure(build, path, [['stats'], ['check']])


if __name__ == '__main__':
    main(os.path.abspath(sys.argv[1]), *sys.argv[2:3])
