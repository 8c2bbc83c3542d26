#!/usr/bin/env python3
"""Nobody notices the proxy: the same verdicts with it as without, and it writes down what the tester saw.

    run_proxy.py BUILD [CASE…]

The last line counts.
"""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, HERE)
import records  # noqa: E402

CASES = ['cases/core', 'cases/blk']
PATIENCE = 20


def wait_for(path):
    """Until the socket is there, and nobody is about to listen on it."""
    bound = re.compile(rf' 00000000 0001 01 +\d+ {re.escape(path)}$', re.M)
    for _ in range(PATIENCE * 100):
        if os.path.exists(path):
            with open('/proc/net/unix', encoding='utf-8', errors='replace') as sockets:
                if not bound.search(sockets.read()):
                    return
        time.sleep(0.01)
    raise TimeoutError(path)


class Programs:
    """A back-end, and the proxy before it."""

    def __init__(self, build, folder, extra=()):
        self.build, self.folder = build, folder
        self.target, self.listen, self.out = (os.path.join(folder, name) for name in ('target', 'listen', 'out.pcap'))
        image = os.path.join(folder, 'image')
        with open(image, 'wb') as disk:
            disk.truncate(64 << 20)
        self.backend = subprocess.Popen([self.program('vhu-backend'), '--socket', self.target, '--image', image, *extra])
        wait_for(self.target)
        self.proxy = subprocess.Popen([self.program('vhu-capture'), self.out, '--proxy', f'{self.listen}={self.target}'],
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_for(self.listen)

    def program(self, name):
        return os.path.join(self.build, name)

    def conform(self, socket, *more):
        """A report."""
        done = subprocess.run([self.program('vhu-conform'), '--backend', socket, '--allow-writes', '--json', '-', *more],
                              cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        return json.loads(done.stdout)

    def stop_proxy(self):
        """Its exit code and what it said; the capture."""
        self.proxy.send_signal(signal.SIGINT)
        out, err = self.proxy.communicate(timeout=PATIENCE)
        return self.proxy.returncode, out + err, records.read(self.out)

    def stop(self):
        for process in (self.proxy, self.backend):
            if process.poll() is None:
                process.kill()
                process.communicate()


def verdicts(report):
    """What counts of a report: times and wording of skips do not."""
    return {case['id']: (case['verdict'], sorted(f['requirement'] for f in case['findings'])) for case in report['cases']}


def begins(longer, shorter):
    """Whether a stream is the other's beginning, with the same descriptors at the same bytes."""
    length = len(shorter[0])
    return longer[0][:length] == shorter[0] and [fd for fd in longer[1] if fd[0] < length] == shorter[1]


def fits(mine, theirs):
    """
    Whether the proxy's session can be the tester's: neither saw what the other did not get, and what was underway when
    a side closed need not have arrived.
    """
    for key in set(mine.streams) | set(theirs.streams):
        ours, its = mine.streams.get(key, [b'', []]), theirs.streams.get(key, [b'', []])
        if not (begins(ours, its) if key[1] == records.BACK_END else begins(its, ours)):
            return False
    return True


def recorded_sessions(folder):
    """What the tester recorded itself, in the order in which it happened."""
    found = []
    for where, _folders, names in os.walk(folder):
        for name in names:
            part = records.read(os.path.join(where, name))
            for number, session in records.sessions(part).items():
                first = min(r.time for r in part if r.connection == number)
                found.append((first, os.path.join(os.path.relpath(where, folder), name), session))
    return sorted(found, key=lambda entry: entry[0])


def compare_sessions(capture, folder):
    """Each session of the tester is one of the proxy's, in the same order. Yields what is wrong."""
    ours = [session for _number, session in sorted(records.sessions(capture).items())]
    at, found = 0, 0
    for _time, name, session in recorded_sessions(folder):
        if not session.messages:
            continue
        for i in range(at, len(ours)):
            if fits(ours[i], session):
                at, found = i + 1, found + 1
                break
        else:
            yield f'{name}: a session of {session.messages} messages is not in the capture'
    print(f'{found} sessions of the tester, {len(ours)} of the proxy')
    if not found:
        yield 'no session was compared'


def check_numbers(capture):
    for number, record in enumerate(capture):
        if record.seq != number:
            yield f'record {number} says that it is {record.seq}'
    ends = [record for record in capture if record.channel == records.META]
    if len(ends) != 2 or json.loads(ends[1].payload)['records'] != len(capture):
        yield 'the closing record is missing or wrong'


def check_cases(build, cases, extra=()):
    """The whole of it, for one back-end."""
    folder = tempfile.mkdtemp(prefix='vhu-proxy-')
    programs = Programs(build, folder, extra)
    try:
        recorded = os.path.join(folder, 'recorded')
        through = programs.conform(programs.listen, '--record', recorded, *cases)
        direct = programs.conform(programs.target, *cases)
        code, text, capture = programs.stop_proxy()
        if code or 'anitizer' in text or 'runtime error' in text:
            yield f'vhu-capture: exit code {code}: {text}'
        one, other = verdicts(direct), verdicts(through)
        for case in sorted(set(one) | set(other)):
            if one.get(case) != other.get(case):
                yield f'{case}: {one.get(case)} without the proxy, {other.get(case)} with it'
        print(f'{through["summary"]["pass"]} cases passed, {through["summary"]["fail"]} failed')
        yield from check_numbers(capture)
        yield from compare_sessions(capture, recorded)
    finally:
        programs.stop()
        shutil.rmtree(folder)


# The reference, and one that breaks rules: what is found through the proxy is what is found without it.
TARGETS = [([], CASES), (['--fault', 'reply-double'], ['cases/core/reply', 'cases/core/vring'])]


def main(build, cases):
    build, failed = os.path.abspath(build), 0
    for extra, usual in TARGETS:
        wrong = list(check_cases(build, cases or usual, extra))
        for text in wrong:
            print(f'{" ".join(extra) or "reference"}: {text}')
        failed += bool(wrong)
    print(f'{len(TARGETS) - failed} passed, {failed} failed')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1], sys.argv[2:]))
