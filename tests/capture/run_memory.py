#!/usr/bin/env python3
"""What a capture holds of memory and rings is played: a request that stands in a recorded ring is served.

    run_memory.py BUILD
"""
import os
import struct
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
import make_capture  # noqa: E402

SESSION = os.path.join(os.path.dirname(HERE), 'data', 'sessions', 'blk-1q-q7.2.txt')
MEM, RING = make_capture.MEM, make_capture.RING
RING_AREA, BUFFER, INFLIGHT = 1, 2, 3
RAW, ZERO, PATTERN = range(3)
KICK, AVAIL = 1, 4
REGION = 10
SET_VRING_ADDR, GET_VRING_BASE, SET_VRING_ENABLE, ADD_MEM_REG, GET_FEATURES = 9, 11, 18, 37, 1
NEXT, WRITE = 1, 2
HEADER, DATA, STATUS = 0x1000, 0x2000, 0x3000


def descriptor(at, length, flags, following):
    return struct.pack('<QIHH', at, length, flags, following)


class Builder:
    """The first start of the session, with a read in its ring, and its end."""

    def __init__(self, capture, region):
        self.capture, self.region, self.last, self.features = capture, region, 0, None

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

    def kick(self):
        self.capture.add(self.last, RING, 1, 1, struct.pack('<IIQ', 0, 0, 1), kind=KICK)
        self.capture.add(self.last, RING, 1, 1, b'\0' * 16, kind=AVAIL)
        # Two answers later it was looked at.
        for _ in range(2):
            for event in self.features:
                make_capture.add_event(self.capture, event, self.last, 0, {})


def build(with_memory):
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
            builder = Builder(capture, struct.unpack_from('<QQQQ', raw, 20))
            builder.features = features[:2]
        if request == GET_FEATURES:
            features.append(event)
        if request == GET_VRING_BASE and event[2] == 'be':
            event = event[:4] + (raw[:16] + struct.pack('<I', 0),) + event[5:]
        if builder:
            builder.last = t_ns
        if builder and with_memory and request == SET_VRING_ADDR:
            builder.request(raw[12:])
        make_capture.add_event(capture, event, t_ns, 0, {})
        if builder and with_memory and request == SET_VRING_ENABLE and raw[16] == 1:
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
    return subprocess.run([f'{build_folder}/vhu-replay', '--reference', *options, path], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False).stdout


def main(build_folder):
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        path = f'{folder}/memory.pcap'
        write(build(True), path)
        played, with_io = replay(build_folder, path), replay(build_folder, path, '--io')
        write(build(False), path)
        empty = replay(build_folder, path)
    for name, text, wanted in [
            ('the request is served', played, 'num: 0x0 recorded, 0x1 now'),
            ('the inflight buffer is not', played, 'note: 1 memory records not replayed'),
            ('what was made available is not', played, 'note: 1 ring records not replayed'),
            ('--io takes the rings', with_io, 'note: 5 memory records not replayed (--io takes the rings)'),
            ('an empty ring stays so', empty, ', 0 divergences')]:
        if wanted not in text:
            wrong.append(f'FAIL {name}: no "{wanted}" in\n{text}')
    print('\n'.join(wrong + [f'{5 - len(wrong)} passed, {len(wrong)} failed']))
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
