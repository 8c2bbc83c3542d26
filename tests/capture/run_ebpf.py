#!/usr/bin/env python3
"""Sessions of others, seen through eBPF: what the tester itself saw, and what only a watcher sees.

    run_ebpf.py BUILD [NAME…]

Exit 77, with the reason, where the machine does not allow it. The last line counts.
"""
import array
import bisect
import ctypes
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import records  # noqa: E402
import run_proxy  # noqa: E402

GET_FEATURES, SET_FEATURES, SET_OWNER, SET_VRING_NUM, SET_VRING_KICK, SET_BACKEND_REQ_FD = 1, 2, 3, 8, 12, 21
SET_CONFIG, GPU_SET_SOCKET = 25, 33
VERSION, REPLY = 1, 4
MEMFD, HUGETLB, SHM, FILE, EVENTFD, SOCKET, PIPE, USERFAULT, DEVICE = range(1, 10)
SIZE_VALID, INODE_VALID, SEALS_VALID = 1, 2, 4
PATIENCE = 20


class Refused(Exception):
    """This machine does not let us."""


class Capture:
    """A running vhu-capture."""

    def __init__(self, build, *what, out=None):
        self.folder = tempfile.mkdtemp(prefix='vhu-ebpf-')
        self.out = out or os.path.join(self.folder, 'out.pcap')
        self.process = subprocess.Popen([os.path.join(build, 'vhu-capture'), self.out, *what], stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE)
        line = self.process.stderr.readline().decode()
        if 'recording' not in line:
            raise Refused(line + self.process.stderr.read().decode())

    def stop(self, number=signal.SIGINT):
        """What it wrote. Everything that was sent before is in it."""
        self.process.send_signal(number)
        self.text, err = self.process.communicate(timeout=PATIENCE)
        if self.process.returncode or b'anitizer' in err or b'runtime error' in err:
            raise AssertionError(f'exit code {self.process.returncode}: {err.decode()}')
        if self.out == '-':
            return None
        found = records.read(self.out)
        shutil.rmtree(self.folder)
        return found


def message(request, payload=b'', flags=VERSION, size=None):
    return struct.pack('<III', request, flags, len(payload) if size is None else size) + payload


class Pair:
    """A front-end and a back-end in this process, connected over a socket's file."""

    def __init__(self, build, *what, capture=True):
        self.folder = tempfile.mkdtemp(prefix='vhu-pair-')
        self.path = os.path.join(self.folder, 'socket')
        self.capture = Capture(build, '--socket', self.path, *what) if capture else None
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.path)
        self.listener.listen()
        self.front, self.back = self.connect()

    def connect(self):
        front = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        front.connect(self.path)
        return front, self.listener.accept()[0]

    def ask(self, *reads):
        """A message of the front-end and its answer, read in these pieces."""
        self.front.sendall(message(GET_FEATURES))
        got = [self.back.recv(n) for n in reads or (12,)]
        self.back.sendall(message(GET_FEATURES, b'\5' * 8, VERSION | REPLY))
        self.front.recv(20)
        return got

    def stop(self):
        """Records without those of the file itself."""
        try:
            found = self.capture.stop()
        finally:
            for end in (self.front, self.back, self.listener):
                end.close()
            shutil.rmtree(self.folder)
        return [record for record in found if record.channel != records.META]


def messages(found):
    return [record for record in found if record.channel != records.LIFE]


def life(found):
    return [(record.kind, record.dir) for record in found if record.channel == records.LIFE]


def expect(what, got, wanted):
    if got != wanted:
        yield f'{what}: {got!r} instead of {wanted!r}'


# --- checks: each yields what is wrong ------------------------------------------------------------------------

FLAGS, NUMBER = 1, 3  # their places in a descriptor
STAND_IN = 16  # its number is not the sender's


def describe_same(mine, theirs):
    """Descriptors as both recorded them, their numbers aside."""
    n = min(len(mine), len(theirs))
    plain = [[fd[:FLAGS] + (fd[FLAGS] & ~STAND_IN,) + fd[FLAGS + 1:NUMBER] + fd[NUMBER + 1:] for fd in side[:n]]
             for side in (mine, theirs)]
    return plain[0] == plain[1]


def other_numbers(mine, theirs):
    """How many have another number than the tester says: a watcher's are a good guess on a busy machine."""
    return sum(a[NUMBER] != b[NUMBER] for a, b in zip(mine, theirs))


def descriptors(session):
    kept = {}
    for record in session.records:
        if record.channel in (records.MAIN, records.BACKEND):
            kept.setdefault((record.channel, record.dir), []).extend(record.fds)
    return kept


def other_descriptors(mine, theirs):
    """Whether one of them has described another descriptor."""
    mine, theirs = descriptors(mine), descriptors(theirs)
    return any(not describe_same(mine.get(key, []), list_) for key, list_ in theirs.items())


def begin_of(session):
    return min(record.time for record in session.records)


def same_session(mine, theirs):
    """
    Whether the capture's session is the tester's: all that the tester got is in it, and all that it sent, unless the
    back-end had closed by then.
    """
    if not run_proxy.fits(mine, theirs):
        return False
    closed = (records.CLOSE, records.BACK_END) in life(mine.records)
    return closed or all(len(mine.streams.get(key, [b''])[0]) >= len(stream[0]) for key, stream in theirs.streams.items())


def check_tester(build):
    """Each session that the tester recorded is in the capture, byte for byte, with its descriptors."""
    folder = tempfile.mkdtemp(prefix='vhu-ebpf-')
    target, image, recorded = (os.path.join(folder, name) for name in ('target', 'image', 'recorded'))
    with open(image, 'wb') as disk:
        disk.truncate(64 << 20)
    backend = subprocess.Popen([os.path.join(build, 'vhu-backend'), '--socket', target, '--image', image])
    try:
        run_proxy.wait_for(target)
        capture = Capture(build, '--socket', target)
        subprocess.run([os.path.join(build, 'vhu-conform'), '--backend', target, '--allow-writes', '-q', '--record', recorded,
                        'cases/core', 'cases/blk'], cwd=run_proxy.ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        found = capture.stop()
        yield from run_proxy.check_numbers(found)
        ours = sorted(records.sessions(found).items(), key=lambda entry: begin_of(entry[1]))
        begins, same = [begin_of(session) for _number, session in ours], 0
        seen = wrong = 0
        for _time, name, session in run_proxy.recorded_sessions(recorded):
            if not session.messages:
                continue
            at = bisect.bisect(begins, begin_of(session))
            near = [entry for entry in ours[max(0, at - 16):at + 16] if same_session(entry[1], session)]
            # Two sessions of one case may say the same: their descriptors' identities tell them apart.
            near.sort(key=lambda entry: (other_descriptors(entry[1], session), abs(begin_of(entry[1]) - begin_of(session))))
            if not near:
                yield f'{name}: a session of {session.messages} messages is not in the capture'
                continue
            same += 1
            mine, theirs = descriptors(near[0][1]), descriptors(session)
            for key, list_ in theirs.items():
                if not describe_same(mine.get(key, []), list_):
                    yield f'{name}: descriptors {mine.get(key)} instead of {list_}'
                # The tester cannot know what a back-end calls its own.
                if key[1] == records.FRONT_END:
                    seen += len(list_)
                    wrong += other_numbers(mine.get(key, []), list_)
        print(f'{same} sessions of the tester, {len(ours)} captured; {wrong} of {seen} descriptors with another number')
        if wrong * 20 > seen:
            yield f'{wrong} of {seen} descriptors have another number'
    finally:
        backend.kill()
        backend.wait()
        shutil.rmtree(folder)


def check_pieces(build):
    """How the reader cut the stream is told; what it only looked at counts once."""
    pair = Pair(build)
    pair.front.sendall(message(GET_FEATURES) + message(SET_OWNER) + message(SET_FEATURES, b'\1' * 8))
    pair.back.recv(12, socket.MSG_PEEK)
    pair.back.recv(30)                          # two messages, and 6 bytes of the third
    pair.back.recv(6)
    pair.back.recv(100)
    pair.ask()
    for byte in message(SET_VRING_NUM, b'\2' * 8):
        pair.front.sendall(bytes([byte]))
        pair.back.recv(1)
    found = messages(pair.stop())
    yield from expect('messages', [(r.dir, r.offset, len(r.payload), r.flags >> 7 & 3) for r in found], [
        (1, 0, 12, 2 * 0), (1, 12, 12, 2), (1, 24, 20, 3), (1, 44, 12, 0), (2, 0, 20, 0), (1, 56, 20, 1)])
    yield from expect('third', found[2].payload, message(SET_FEATURES, b'\1' * 8))


def check_peeks(build):
    """Who looks at each message first, and then reads it byte by byte, however many there are."""
    pair = Pair(build)
    for _ in range(20):
        pair.front.sendall(message(GET_FEATURES))
        pair.back.recv(12, socket.MSG_PEEK)
        for _ in range(12):
            pair.back.recv(1)
    found = messages(pair.stop())
    yield from expect('offsets', [r.offset for r in found], list(range(0, 240, 12)))


def check_nonsense(build):
    """What is no vhost-user is kept as it is, on a socket that was asked for."""
    pair = Pair(build)
    pair.front.sendall(b'GET / HTTP/1.1\r\n\r\n')
    pair.back.recv(100)
    pair.front.sendall(b'and more')
    pair.back.recv(100)
    found = messages(pair.stop())
    yield from expect('raw', [(r.flags & records.MALFORMED, r.payload) for r in found],
                      [(8, b'GET / HTTP/1.1\r\n\r\n'), (8, b'and more')])


def check_large(build):
    """Messages larger than a buffer's head, and one that comes in many reads."""
    pair = Pair(build)
    payload = bytes(i * 7 & 255 for i in range(60000))
    pair.front.sendall(message(SET_FEATURES, payload))
    got = b''
    while len(got) < 12 + len(payload):
        got += pair.back.recv(7000)
    pair.ask()
    found = messages(pair.stop())
    yield from expect('lengths', [r.orig_len for r in found], [60012, 12, 20])
    if found[0].flags & records.TRUNCATED:
        print('  note: this kernel does not show what lies in pages')
    yield from expect('bytes', found[0].payload, message(SET_FEATURES, payload)[:len(found[0].payload)])


def memfd(size):
    fd = os.memfd_create('guest', os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    return fd


def eventfd():
    libc = ctypes.CDLL(None)
    return libc.eventfd(0, 0)


def check_descriptors(build):
    """Kinds, sizes, identities and the sender's numbers; many at once."""
    pair = Pair(build)
    with tempfile.TemporaryFile() as plain, tempfile.TemporaryFile(dir='/dev/shm') as shared:
        plain.truncate(123)
        shared.truncate(4096)
        fds = [memfd(1 << 21), eventfd(), plain.fileno(), shared.fileno(), pair.listener.fileno(), os.pipe()[0],
               os.open('/dev/null', os.O_RDONLY)]
        socket.send_fds(pair.front, [message(SET_VRING_KICK, b'\0' * 8)], fds)
        socket.recv_fds(pair.back, 20, 10)
        many = [fds[1]] * 253
        pair.front.sendmsg([message(SET_VRING_KICK, b'\1' * 8)],
                           [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', many))])
        _data, _fds, _flags, _peer = pair.back.recvmsg(20, socket.CMSG_SPACE(4 * 253))
        stats = [os.fstat(fd) for fd in fds]
    found = messages(pair.stop())
    yield from expect('messages', [len(r.fds) for r in found], [7, 253])
    first = found[0].fds
    yield from expect('kinds', [fd[0] for fd in first], [MEMFD, EVENTFD, FILE, SHM, SOCKET, PIPE, DEVICE])
    yield from expect('numbers', [fd[3] for fd in first], fds)
    yield from expect('identities', [fd[5:] for fd in first], [(s.st_dev, s.st_ino) for s in stats])
    yield from expect('sizes', [fd[4] for fd in first if fd[1] & SIZE_VALID], [1 << 21, 123, 4096])
    yield from expect('seals', [fd[2] for fd in first if fd[1] & SEALS_VALID][0], 0)
    yield from expect('many', {(fd[0], fd[3]) for fd in found[1].fds}, {(EVENTFD, fds[1])})


def check_channels(build):
    """A back-end's channel belongs to the session over which its socket was passed, and so does a GPU's."""
    pair = Pair(build)
    pair.ask()
    ours, theirs = socket.socketpair()
    socket.send_fds(pair.front, [message(SET_BACKEND_REQ_FD)], [theirs.fileno()])
    _data, (end,), _flags, _peer = socket.recv_fds(pair.back, 12, 1)
    theirs.close()
    back = socket.socket(fileno=end)
    back.sendall(message(2))
    ours.recv(12)
    ours.sendall(message(2, b'\0' * 8, VERSION | REPLY))
    back.recv(20)
    screen, gpu = socket.socketpair()
    socket.send_fds(pair.front, [message(GPU_SET_SOCKET)], [gpu.fileno()])
    _data, (end,), _flags, _peer = socket.recv_fds(pair.back, 12, 1)
    gpu.close()
    painter = socket.socket(fileno=end)
    frame = struct.pack('<III', 8, 0, 300000) + bytes(300000)
    left = memoryview(frame)
    while left:
        left = left[painter.send(left[:8192]):]
        screen.recv(8192)
    found = messages(pair.stop())
    yield from expect('channels', [(r.channel, r.dir, r.connection, r.orig_len) for r in found], [
        (records.MAIN, 1, 1, 12), (records.MAIN, 2, 1, 20), (records.MAIN, 1, 1, 12), (records.BACKEND, 2, 1, 12),
        (records.BACKEND, 1, 1, 20), (records.MAIN, 1, 1, 12), (records.GPU, 2, 1, 300012)])
    for end in (ours, back, screen, painter):
        end.close()


def check_late(build):
    """A session that is older than the capture begins where a message does, and says so."""
    pair = Pair(build, capture=False)
    pair.ask()
    pair.front.sendall(message(SET_VRING_NUM, b'\2' * 8))
    pair.back.recv(15)
    pair.capture = Capture(build, '--socket', pair.path)
    pair.back.recv(5)                           # the rest of one: not believed
    pair.front.sendall(message(SET_VRING_NUM, b'\3' * 8))
    pair.back.recv(20)
    pair.ask()
    found = pair.stop()
    yield from expect('messages', [(r.dir, len(r.payload), r.flags & records.LOST_BEFORE) for r in messages(found)],
                      [(1, 20, 2), (1, 12, 0), (2, 20, 2)])


def check_idle(build):
    """One that is older and has said nothing yet is whole."""
    pair = Pair(build, capture=False)
    pair.capture = Capture(build, '--socket', pair.path)
    pair.ask()
    found = pair.stop()
    yield from expect('messages', [(r.dir, r.flags) for r in messages(found)], [(1, 0), (2, 0)])
    yield from expect('life', life(found), [(records.CONNECT, 1), (records.STOP, 0)])


def check_ends(build):
    """Who closed first, what was cut off, and what was never read."""
    pair = Pair(build)
    pair.ask()
    pair.front.sendall(message(SET_FEATURES, b'\1' * 8)[:15])
    pair.back.recv(100)
    pair.front.close()
    pair.back.recv(100)
    pair.back.close()
    pair.front, pair.back = pair.connect()
    pair.ask()
    pair.front.sendall(message(SET_OWNER))
    pair.back.close()
    time.sleep(0.3)
    try:
        pair.front.sendall(message(SET_OWNER))  # refused: it never was on its way
    except BrokenPipeError:
        pass
    found = pair.stop()
    one, two = ([r for r in found if r.connection == n] for n in (1, 2))
    yield from expect('cut', [(len(r.payload), r.flags & records.PARTIAL) for r in messages(one)], [(12, 0), (20, 0), (15, 4)])
    yield from expect('closed', life(one), [(records.CONNECT, 1), (records.CLOSE, 1)])
    yield from expect('unread', [len(r.payload) for r in messages(two)], [12, 20, 12])
    yield from expect('closed', life(two), [(records.CONNECT, 1), (records.CLOSE, 2)])


def check_death(build):
    """A back-end that is killed: the capture says how, and that it was the back-end."""
    pair = Pair(build)
    child = os.fork()
    if not child:
        pair.front.close()
        pair.back.recv(12)
        pair.back.sendall(message(GET_FEATURES, b'\0' * 8, VERSION | REPLY))
        os.kill(os.getpid(), signal.SIGKILL)
    pair.back.close()
    pair.front.sendall(message(GET_FEATURES))
    pair.front.recv(20)
    os.waitpid(child, 0)
    pair.front.recv(1)
    found = pair.stop()
    yield from expect('life', life(found), [(records.CONNECT, 1), (records.EXIT, 2), (records.CLOSE, 2)])
    yield from expect('status', [r.payload for r in found if r.kind == records.EXIT], [struct.pack('<I', signal.SIGKILL)])
    yield from expect('process', [r.tgid for r in found if r.kind == records.EXIT], [child])


def check_pid(build):
    """By process, from either side; other processes' sessions are not in it."""
    for side in ('front', 'back'):
        pair = Pair(build, capture=False)
        ready, go = os.pipe(), os.pipe()
        child = os.fork()
        if not child:
            os.read(go[0], 1)
            if side == 'front':
                pair.front.sendall(message(GET_FEATURES))
                pair.front.recv(20)
            else:
                pair.back.recv(12)
                pair.back.sendall(message(GET_FEATURES, b'\0' * 8, VERSION | REPLY))
            os._exit(0)
        pair.capture = Capture(build, '--pid', str(child))
        other = socket.socketpair()
        other[0].sendall(message(GET_FEATURES))
        other[1].recv(12)
        os.write(go[1], b'x')
        if side == 'front':
            pair.back.recv(12)
            pair.back.sendall(message(GET_FEATURES, b'\0' * 8, VERSION | REPLY))
        else:
            pair.front.sendall(message(GET_FEATURES))
            pair.front.recv(20)
        os.waitpid(child, 0)
        found = pair.stop()
        yield from expect(side, [(r.connection, r.dir) for r in messages(found)], [(1, 1), (1, 2)])
        for end in (*ready, *go):
            os.close(end)
        for end in other:
            end.close()


def check_pid_ends(build):
    """With the process and its sessions the recording ends."""
    pair = Pair(build, capture=False)
    go = os.pipe()
    child = os.fork()
    if not child:
        pair.front.close()
        pair.listener.close()
        os.read(go[0], 1)
        os._exit(0)
    pair.back.close()
    capture = Capture(build, '--pid', str(child))
    os.write(go[1], b'x')
    os.waitpid(child, 0)
    try:
        capture.process.wait(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        yield 'it goes on without the process'
    capture.stop()
    for end in (pair.front, pair.listener):
        end.close()
    for end in go:
        os.close(end)
    shutil.rmtree(pair.folder)


def check_all(build):
    """Everything that speaks vhost-user, and nothing that does not."""
    capture = Capture(build, '--all')
    mine = []
    for first in (message(GET_FEATURES), b'l\1\0\1' + bytes(40), bytes(64), b'\1\0\0\0\1\0\0\0\x11\0\0\0' + bytes(17)):
        one, other = socket.socketpair()
        for _ in range(3):
            one.sendall(first)
            other.recv(100)
        mine.append((os.fstat(one.fileno()).st_ino, one, other))
    seen = [r for r in capture.stop() if r.tgid == os.getpid() and r.channel == records.MAIN]
    yield from expect('messages', [(r.dir, r.payload) for r in seen], [(1, message(GET_FEATURES))] * 3)
    for _ino, one, other in mine:
        one.close()
        other.close()


def check_many(build):
    """Many sessions at a time, one after the other over the same socket's file, and all at once."""
    pair = Pair(build)
    for _ in range(300):
        front, back = pair.connect()
        front.sendall(message(GET_FEATURES))
        back.recv(12)
        back.close()
        front.close()
    ends = [pair.connect() for _ in range(200)]
    for turn in range(3):
        for front, back in ends:
            front.sendall(message(SET_VRING_NUM, struct.pack('<II', turn, 1)))
            back.recv(12)
            back.recv(8)
    found = pair.stop()
    by_session = records.sessions(found)
    yield from expect('sessions', len(by_session), 500)
    yield from expect('messages', sorted({s.messages for s in by_session.values()}), [1, 3])
    for end in sum(ends, ()):
        end.close()


def check_flood_beside(build):
    """What others send takes no room from the session that was asked for."""
    pair = Pair(build)
    pair.capture.process.send_signal(signal.SIGSTOP)
    pair.ask()
    child = os.fork()
    if not child:
        one, other = socket.socketpair()
        for _ in range(150000):
            one.send(message(SET_VRING_NUM, bytes(8)))
            other.recv(20)
        os._exit(0)
    os.waitpid(child, 0)
    pair.ask()
    pair.capture.process.send_signal(signal.SIGCONT)
    found = messages(pair.stop())
    yield from expect('messages', [(r.dir, r.offset, r.flags) for r in found], [(1, 0, 0), (2, 0, 0), (1, 12, 0), (2, 20, 0)])


def check_lost(build):
    """A recorder that cannot follow says what it lost, and goes on where messages begin."""
    pair, sent = Pair(build), 200000            # more than the ring has room for
    pair.ask()
    pair.capture.process.send_signal(signal.SIGSTOP)
    size = 212
    for turn in range(sent):
        pair.front.send(message(SET_CONFIG, struct.pack('<I', turn) + bytes(size - 16)))
        pair.back.recv(size)
    first, second = (pair.front, pair.back), pair.connect()
    pair.front, pair.back = second              # a session whose start nobody tells
    pair.ask()
    pair.capture.process.send_signal(signal.SIGCONT)
    time.sleep(0.5)
    pair.ask()
    pair.front, pair.back = first
    pair.ask()
    found = pair.stop()
    late = [(r.dir, len(r.payload), r.flags & records.LOST_BEFORE) for r in messages(found) if r.connection == 2]
    yield from expect('late', late, [(1, 12, 2), (2, 20, 2)])
    for end in second:
        end.close()
    found = [r for r in found if r.connection != 2]
    got = [r for r in messages(found) if r.dir == records.FRONT_END]
    lost = sum(struct.unpack('<Q', r.payload)[0] for r in found if r.channel == records.LIFE and r.kind == records.LOST)
    yield from expect('counted', len(got) + lost >= sent + 2, True)
    if not lost:
        yield 'nothing was lost'
    yield from expect('offsets', {r.offset for r in got[1:-1]} <= {12 + size * turn for turn in range(sent)}, True)
    yield from expect('contents', all(r.payload[12:16] == struct.pack('<I', (r.offset - 12) // size) for r in got[1:-1]), True)
    jumps = [b for a, b in zip(got, got[1:]) if b.offset != a.offset + a.orig_len]
    yield from expect('marks', [bool(r.flags & records.LOST_BEFORE) for r in jumps], [True] * len(jumps))
    yield from expect('last', (got[-1].payload, got[-1].offset), (message(GET_FEATURES), 12 + size * sent))


def check_stop(build):
    """SIGINT and SIGTERM end it with a whole file; a pipe gets each record at once, and may go away."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        found = Capture(build, '--all').stop(number)
        yield from expect(f'signal {number}', [r.channel for r in found if r.channel == records.META], [0, 0])
    folder = tempfile.mkdtemp(prefix='vhu-ebpf-')
    path = os.path.join(folder, 'socket')
    capture = Capture(build, '--socket', path, out='-')
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen()
    front = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    front.connect(path)
    back = listener.accept()[0]
    front.sendall(message(GET_FEATURES))
    back.recv(12)
    got = b''
    while message(GET_FEATURES) not in got:
        piece = os.read(capture.process.stdout.fileno(), 65536)
        if not piece:
            yield 'the pipe ended'
            break
        got += piece
    capture.process.stdout.close()
    for _ in range(100):
        front.sendall(message(GET_FEATURES))
        back.recv(12)
    try:
        capture.process.wait(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        yield 'it goes on without a reader'
        capture.process.kill()
    yield from expect('exit code', capture.process.returncode, 0)
    capture.process.stderr.close()
    shutil.rmtree(folder)


def check_privileges(build):
    """None are left while it records; without any it says what it takes, and what does without."""
    capture = Capture(build, '--all')
    with open(f'/proc/{capture.process.pid}/status', encoding='ascii') as status:
        lines = dict(line.rstrip('\n').split(':\t', 1) for line in status)
    yield from expect('capabilities', [lines[name] for name in ('CapPrm', 'CapEff', 'NoNewPrivs')], ['0' * 16, '0' * 16, '1'])
    capture.stop()
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        done = subprocess.run([os.path.join(build, 'vhu-capture'), os.path.join(folder, 'x'), '--all'], stderr=subprocess.PIPE,
                              text=True, preexec_fn=lambda: (os.setgid(65534), os.setuid(65534)))
    yield from expect('without', (done.returncode, 'CAP_BPF' in done.stderr, '--proxy' in done.stderr), (3, True, True))


CHECKS = [value for name, value in list(globals().items()) if name.startswith('check_')]


def main(build, names):
    build, failed, done = os.path.abspath(build), 0, 0
    try:
        Capture(build, '--all').stop()
    except Refused as reason:
        print(f'skipped: {reason}')
        return 77
    for check in CHECKS:
        if names and check.__name__[6:] not in names:
            continue
        wrong = list(check(build))
        for text in wrong:
            print(f'{check.__name__[6:]}: {text}')
        failed += bool(wrong)
        done += 1
    print(f'{done - failed} passed, {failed} failed')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1], sys.argv[2:]))
