#!/usr/bin/env python3
"""What a capture holds of memory and rings is played: a request that stands in a recorded ring is served, and so is one that
was made available; it has to come back as it did then.

    run_memory.py BUILD
"""
import os
import signal
import struct
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
import make_capture  # noqa: E402
import run_proxy  # noqa: E402

SESSION = os.path.join(os.path.dirname(HERE), 'data', 'sessions', 'blk-1q-q7.2.txt')
MEM, RING = make_capture.MEM, make_capture.RING
RING_AREA, BUFFER, INFLIGHT = 1, 2, 3
RAW, ZERO, PATTERN = range(3)
KICK, CALL, AVAIL, USED, LAYOUT = 1, 2, 4, 5, 6
REGION = 10
SET_VRING_ADDR, GET_VRING_BASE, SET_VRING_ENABLE, ADD_MEM_REG, GET_FEATURES = 9, 11, 18, 37, 1
NEXT, WRITE = 1, 2
HEADER, DATA, STATUS = 0x1000, 0x2000, 0x3000


def descriptor(at, length, flags, following):
    return struct.pack('<QIHH', at, length, flags, following)


class Builder:
    """The first start of the session, with a read in its ring, and its end."""

    def __init__(self, capture, region, how):
        self.capture, self.region, self.last, self.features, self.how = capture, region, 0, None, how

    def memory(self, offset, content, kind=RING_AREA, encoding=RAW, length=None):
        payload = struct.pack('<QII', offset, length or len(content), encoding) + content
        gpa, size, uaddr, file_offset = self.region
        tlvs = make_capture.tlv(REGION, struct.pack('<QQQQQQ', gpa, uaddr, size, file_offset, 0, 0))
        self.capture.add(self.last, MEM, 0, 1, payload, kind=kind, tlvs=tlvs)

    def request(self, address):
        """Address of descriptors and available ring: a read of one sector."""
        base = self.region[2]
        desc, _used, avail = (part - base for part in struct.unpack_from('<QQQ', address, 8))
        self.memory(desc, descriptor(HEADER, 16, NEXT, 1) + descriptor(DATA, 512, NEXT | WRITE, 2) +
                    descriptor(STATUS, 1, WRITE, 0))
        self.memory(avail, struct.pack('<HHH', 0, 1, 0))
        self.memory(HEADER, b'', BUFFER, ZERO, 16)
        self.memory(DATA, b'\x55' * 8, BUFFER, PATTERN, 512)
        self.memory(0, b'\0' * 64, INFLIGHT)

    def ring(self, kind, payload, direction=1):
        self.capture.add(self.last, RING, direction, 1, payload, kind=kind)

    def offer(self, head, kind, contents, came_back):
        """A request of one sector, as it was made available and came back; places in the table told, or not."""
        slots = (head, head + 2, head + 1) if head else (0, 0, 0)
        writable = WRITE if not kind else 0
        parts = [(HEADER, 16, NEXT, slots[0]), (DATA, 512, NEXT | writable, slots[1]), (STATUS, 1, WRITE, slots[2])]
        data = struct.pack('<IIQ', kind, 0, 1) + (b'' if not kind else b'\x5a' * 512) if contents else b''
        self.ring(AVAIL, struct.pack('<IHHII', 0, head, 3, 0, len(data)) +
                  b''.join(struct.pack('<QIHH', *part) for part in parts) + data)
        self.ring(KICK, struct.pack('<IIQ', 0, 0, 1))
        self.ring(USED, struct.pack('<IIIIQII', 0, head, came_back, 0, 0, 1, 0) + b'\0', 2)
        self.ring(CALL, struct.pack('<IIQ', 0, 0, 1), 2)

    def kick(self):
        if self.how != 'memory':
            self.ring(LAYOUT, struct.pack('<IHHQQQII', 0, 128, 0, 0, 0, 0, 0, 0))
            self.offer(0, 0, True, 513)
            self.offer(5, 1, True, 7 if self.how == 'other' else 1)
            self.offer(0, 0, False, 513)
            return
        self.ring(KICK, struct.pack('<IIQ', 0, 0, 1))
        self.ring(AVAIL, b'\0' * 16)
        # Two answers later it was looked at.
        for _ in range(2):
            for event in self.features:
                make_capture.add_event(self.capture, event, self.last, 0, {})


def build(how):
    events, _device = make_capture.sessions_of(SESSION)
    capture = make_capture.Capture()
    capture.add(make_capture.START_NS, make_capture.META, 0, 0,
                b'{"format":"vhu-capture","version":1,"level":3,"target":{"device":"blk"}}', kind=1)
    builder, features = None, []
    for event in events:
        t_ns = make_capture.START_NS + event[0]
        raw = event[4] if len(event) > 4 else b''
        request, flags = struct.unpack_from('<II', raw) if raw else (0, 0)
        if request == ADD_MEM_REG and event[2] == 'fe':
            builder = Builder(capture, struct.unpack_from('<QQQQ', raw, 20), how)
            builder.features = features[:2]
        if request == GET_FEATURES:
            features.append(event)
        if request == GET_VRING_BASE and event[2] == 'be':
            made = {'avail': 3, 'other': 3}.get(how, 0)
            event = event[:4] + (raw[:16] + struct.pack('<I', made),) + event[5:]
        if builder:
            builder.last = t_ns
        if builder and how == 'memory' and request == SET_VRING_ADDR:
            builder.request(raw[12:])
        make_capture.add_event(capture, event, t_ns, 0, {})
        if builder and how and request == SET_VRING_ENABLE and raw[16] == 1:
            builder.kick()
        if request == GET_VRING_BASE and event[2] == 'be':
            break
    return capture


def write(capture, path):
    data = struct.pack('<IHHiIII', 0xa1b23c4d, 2, 4, 0, 0, 262144, 147)
    for t_ns, packet in capture.packets():
        data += struct.pack('<IIII', t_ns // 10**9, t_ns % 10**9, len(packet), len(packet)) + packet
    with open(path, 'wb') as out:
        out.write(data)


def replay(build_folder, path, *options):
    return subprocess.run([f'{build_folder}/vhu-replay', *(options if '--spawn' in options else ('--reference', *options)), path],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False).stdout


def through_proxy(build_folder, folder, path, *options):
    """The capture played through a proxy, and what that has recorded."""
    out, sockets = f'{folder}/proxy.pcap', [f'{folder}/back', f'{folder}/front']
    backend = subprocess.Popen([f'{build_folder}/vhu-backend', '--socket', sockets[0], '--device', 'blk'])
    proxy = subprocess.Popen([f'{build_folder}/vhu-capture', out, '--proxy', f'{sockets[1]}={sockets[0]}', '-q', *options])
    for socket in sockets:
        run_proxy.wait_for(socket)
    subprocess.run([f'{build_folder}/vhu-replay', '--backend', sockets[1], '--keep-going', path], stdout=subprocess.DEVNULL,
                   check=False)
    proxy.send_signal(signal.SIGINT)
    proxy.wait()
    backend.kill()
    backend.wait()
    return out


def not_served(path):
    """What a back-end says that was served is made nothing, so that it is compared."""
    with open(path, 'rb') as capture:
        data = capture.read()
    answer = struct.pack('<IIII', GET_VRING_BASE, 5, 8, 0)
    with open(path, 'wb') as capture:
        capture.write(data.replace(answer + struct.pack('<I', 1), answer + struct.pack('<I', 0)))


def shown(build_folder, path):
    return subprocess.run([f'{build_folder}/vhu-trace', 'show', path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          text=True, check=False).stdout


def main(build_folder):
    wrong, told = [], {}
    ours = ['--spawn', f'{build_folder}/vhu-backend --socket {{socket}} --device blk']
    with tempfile.TemporaryDirectory() as folder:
        path = f'{folder}/memory.pcap'
        for how in ('memory', 'avail', 'other', ''):
            write(build(how), path)
            told[how] = replay(build_folder, path)
            told[how, 'io'] = replay(build_folder, path, '--io')
            told[how, 'spawned'] = replay(build_folder, path, *ours, '--keep-going')
            told[how, 'shown'] = shown(build_folder, path)
        write(build('memory'), path)
        for name, options in (('proxy', ['--memory']), ('plain', [])):
            capture = through_proxy(build_folder, folder, path, *options)
            told[name, 'shown'] = shown(build_folder, capture)
            not_served(capture)
            told[name] = replay(build_folder, capture)
        told['plain', 'memory'] = str('memory of' in told['plain', 'shown'])
    checks = [
        ('the request is served', 'memory', 'num: 0x0 recorded, 0x1 now'),
        ('the inflight buffer is not', 'memory', 'note: 1 memory records not replayed'),
        ('what was made available is not', 'memory', 'note: 1 ring records not replayed'),
        ('--io takes the rings', ('memory', 'io'), 'note: 5 memory records not replayed (--io takes the rings)'),
        ('an empty ring stays so', '', ', 0 divergences'),
        ('requests are served and come back', 'avail', '22 messages replayed, 12 replies compared, 0 divergences'),
        ('contents that are missing are told', 'avail', 'note: 1 requests have no contents'),
        ('another length is told', 'other', 'the request comes back otherwise'),
        ('with that length', 'other', '  now       1 bytes written'),
        ('nothing is written to a disk that is not ours', ('avail', 'spawned'), 'note: 2 ring records not replayed'),
        ('--io takes these rings', ('avail', 'io'), 'ring records not replayed'),
        ('requests are shown', ('avail', 'shown'),
         '> avail queue=0 head=5 index=0 descriptors=3 [0x1000+16 0x2000+512 0x3000+1w] contents=528'),
        ('what came back is shown', ('avail', 'shown'), '< used queue=0 id=5 len=1 index=0 hash=0x0 contents=1'),
        ('rings are shown', ('avail', 'shown'), '> layout queue=0 size=128 split desc=0x0 driver=0x0 device=0x0 base=0'),
        ('memory is shown', ('memory', 'shown'), '> memory of buffer region=0x0+0x10000000 offset=0x1000 length=16 (zeroes)'),
        ('a proxy records the ring', ('proxy', 'shown'), '> memory of ring region=0x0+0x10000000 offset='),
        ('and what waits in it', ('proxy', 'shown'), '> memory of buffer region=0x0+0x10000000 offset=0x1000 length=16 (zeroes)'),
        ('with which it was served', ('proxy', 'shown'), '< GET_VRING_BASE reply index=0 num=1'),
        ('it is served again', 'proxy', 'num: 0x0 recorded, 0x1 now'),
        ('memory is in no capture unless asked for', ('plain', 'memory'), 'False'),
        ('so there is nothing to serve', 'plain', ', 0 divergences'),
    ]
    for name, which, wanted in checks:
        if wanted not in told[which]:
            wrong.append(f'FAIL {name}: no "{wanted}" in\n{told[which]}')
    print('\n'.join(wrong + [f'{len(checks) - len(wrong)} passed, {len(wrong)} failed']))
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
