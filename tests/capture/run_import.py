#!/usr/bin/env python3
"""What strace saw of a run is what the tester recorded of it, whatever strace was told to write.

    run_import.py BUILD

Exit code 77 where strace is missing or may not trace. The last line counts.
"""
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, HERE)
import records  # noqa: E402
import run_proxy  # noqa: E402

CASES = ['cases/core/backend-channel', 'cases/core/header/answers-in-order.json']
CALLS = 'trace=sendmsg,recvmsg,read,write,socket,connect,accept4,close'
# Options of strace, and whether everything is in its log.
WAYS = {
    'usual': (['-xx', '-s', '65536', '-e', CALLS], True),
    'annotated': (['-xx', '-s', '65536', '-yy', '-ttt', '-e', CALLS], True),
    'everything': (['-s', '65536', '-y', '-tt', '-T'], True),
    'relative': (['-x', '-s', '65536', '-r', '-e', 'trace=%network,read,write,close,clone,fork,vfork'], True),
    'unusual': (['-xx', '-s', '65536', '-Y', '-n', '-i', '-r', '-ttt', '-T', '-X', 'raw'], True),
    'cut': (['-xx', '-s', '40', '-ttt', '-e', CALLS], False),
}


def run(build, folder, options, split):
    """The logs and the tester's own recordings."""
    log, recorded = os.path.join(folder, 'log'), os.path.join(folder, 'recorded')
    subprocess.run(['strace', '-ff' if split else '-f', '-o', log, *options, os.path.join(build, 'vhu-conform'), '--reference',
                    '-q', '--record', recorded, *CASES], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                   check=True, env=dict(os.environ, ASAN_OPTIONS='detect_leaks=0'))  # which trace as well
    logs = sorted(os.path.join(folder, name) for name in os.listdir(folder) if name.startswith('log'))
    return logs, run_proxy.recorded_sessions(recorded)


def holds(ours, its, whole):
    """Whether the tester's session is the imported one; a cut one has as many messages and descriptors."""
    for key in set(ours.streams) | set(its.streams):
        mine, theirs = ours.streams.get(key, [b'', []]), its.streams.get(key, [b'', []])
        if key[1] == records.FRONT_END:
            mine, theirs = theirs, mine
        if whole and mine[0][:len(theirs[0])] != theirs[0]:
            return False
        if not whole and mine[0][:12] != theirs[0][:12]:
            return False
        if len(mine[1]) < len(theirs[1]):
            return False
    return True


def check(build, way, split=False):
    options, whole = WAYS[way]
    folder = tempfile.mkdtemp(prefix='vhu-import-')
    try:
        logs, expected = run(build, folder, options, split)
        out = os.path.join(folder, 'out.pcap')
        done = subprocess.run([os.path.join(build, 'vhu-capture'), 'import', out, *logs], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
        if done.returncode or 'anitizer' in done.stderr or 'runtime error' in done.stderr:
            yield f'exit code {done.returncode}: {done.stderr}'
            return
        ours = [session for _number, session in sorted(records.sessions(records.read(out)).items())]
        at = 0
        for _time, name, session in expected:
            # Some cases send nothing that a session could be known by.
            if session.messages < 4:
                continue
            while at < len(ours) and not holds(ours[at], session, whole):
                at += 1
            if at == len(ours):
                yield f'{name}: a session of {session.messages} messages is not there'
                at = 0
                break
            at += 1
        print(f'{way}: {len(expected)} sessions of the tester, {len(ours)} in the logs')
        if not whole and 'trace with -s' not in done.stderr:
            yield 'nobody is told that the log is cut'
    finally:
        shutil.rmtree(folder)


def main(build):
    build = os.path.abspath(build)
    if not shutil.which('strace') or subprocess.run(['strace', '-o', '/dev/null', 'true'], stderr=subprocess.DEVNULL).returncode:
        print('SKIP: strace is missing, or tracing is not allowed')
        return 77
    checks = [(way, False) for way in WAYS] + [('annotated', True)]
    failed = 0
    for way, split in checks:
        wrong = list(check(build, way, split))
        for text in wrong:
            print(f'{way}{" -ff" if split else ""}: {text}')
        failed += bool(wrong)
    print(f'{len(checks) - failed} passed, {failed} failed')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
