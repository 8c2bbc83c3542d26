#!/usr/bin/env python3
"""Captures for tests, made without our own writer.

    make_capture.py [OPTION…] SESSION > OUT.pcap

SESSION is a recording as text (tests/data/sessions/*.txt; each connection goes to a socket of its own) or as lines of
JSON with `conn`, `ch`, `dir`, `raw`, `fds` (all go to one).

    --repeat N        the sessions N times, with connection numbers of their own
    --interleave      …all at once, message by message, instead of one after the other
    --beside SESSION  another session beside it, of another device and on other sockets; nobody says of which
    --start N         without the first N messages and the start of their connections
    --swap            the file's numbers in big-endian order
    --pcapng          as pcapng, as Wireshark writes it
    --microseconds    the file's time stamps in microseconds
    --linktype N      another link type
    --version N       another version of the pseudo-header
    --cut BYTES       without the last bytes of the file
    --no-end          without the closing record
    --lost N          the closing record tells of N lost records
    --edit N:OFF:HEX  bytes of record N (from 0, with its pseudo-header) replaced
    --drop N          without record N; sequence numbers stay
    --swap-records N  records N and N+1 change places
"""
import argparse
import json
import struct
import sys

META, MAIN, BACKEND, RING, MEM, LIFE, GPU, STATE = range(8)
CHANNELS = {'main': MAIN, 'backend': BACKEND, 'gpu': GPU}
DIRS = {'fe': 1, 'be': 2}
KINDS = {'memfd': 1, 'hugetlb': 2, 'shm': 3, 'file': 4, 'eventfd': 5, 'socket': 6, 'pipe': 7, 'userfaultfd': 8}
CONNECT, CLOSE = 1, 3
FD, COMM, PATH = 1, 2, 4
HEADER, TRUNCATED = 12, 1
FD_OF = {'SET_VRING_CALL': 'eventfd', 'SET_VRING_KICK': 'eventfd', 'SET_VRING_ERR': 'eventfd', 'SET_MEM_TABLE': 'memfd',
         'ADD_MEM_REG': 'memfd', 'SET_BACKEND_REQ_FD': 'socket', 'GPU_SET_SOCKET': 'socket', 'SET_LOG_BASE': 'memfd',
         'SET_LOG_FD': 'eventfd', 'GET_INFLIGHT_FD': 'memfd', 'SET_INFLIGHT_FD': 'memfd',
         'SET_DEVICE_STATE_FD': 'pipe', 'POSTCOPY_ADVISE': 'userfaultfd'}
START_NS = 1_700_000_000_000_000_000


def tlv(kind, value):
    return struct.pack('<HH', kind, len(value)) + value + b'\0' * (-len(value) % 4)


def fd_value(kind, number, size=0, ino=0):
    flags = (1 if size else 0) | (2 if ino else 0)
    return struct.pack('<BBHIQQQ', KINDS.get(kind, 0), flags, 0, number, size, 1 if ino else 0, ino)


class Capture:
    """Records, and how they become a file."""

    def __init__(self, version=1):
        self.version = version
        self.records = []
        self.offsets = {}

    def add(self, t_ns, channel, direction, connection, payload, kind=0, tlvs=b'', fds=0, flags=0):
        offset, length = 0, len(payload)
        if channel in (MAIN, BACKEND, GPU):
            # Recordings keep the beginnings of long messages.
            if length >= HEADER:
                length = max(length, HEADER + struct.unpack_from('<I', payload, 8)[0])
            flags |= TRUNCATED if length > len(payload) else 0
            key = (connection, channel, direction)
            offset = self.offsets.get(key, 0)
            self.offsets[key] = offset + length
        if tlvs:
            tlvs += struct.pack('<HH', 0, 0)
            tlvs += b'\0' * (-len(tlvs) % 8)
        self.records.append((t_ns, channel, direction, connection, payload, kind, tlvs, fds, flags, offset, length))

    def packet(self, seq, record):
        _, channel, direction, connection, payload, kind, tlvs, fds, flags, offset, length = record
        head = struct.pack('<BBHBBHIIQIIHHIQQ', self.version, direction, 56 + len(tlvs), channel, 4, flags, connection,
                           length, offset, 0, 0, fds, kind, seq, 0, 0)
        return head + tlvs + payload

    def packets(self):
        return [(record[0], self.packet(seq, record)) for seq, record in enumerate(self.records)]


def sessions_of(path):
    """Events of a recording: (connection, 'open', socket), (connection, 'close', who), (connection, who, channel, bytes, fds)."""
    events, device = [], None
    with open(path, encoding='utf-8') as lines:
        for line in lines:
            if line.startswith('{'):
                event = json.loads(line)
                t_ns = event.get('t', 0) * 1000000
                if 'raw' in event:
                    fds = [(fd.get('kind', ''), fd.get('size', 0), fd.get('label', '')) for fd in event.get('fds', [])]
                    events.append((t_ns, event['conn'], event['dir'], event['ch'], bytes.fromhex(event['raw']), fds))
                elif event.get('ev') == 'open':
                    events.append((t_ns, event['conn'], 'open', 'dev'))
                elif event.get('ev') == 'close' and event.get('ch', 'main') == 'main':
                    events.append((t_ns, event['conn'], 'close', event['by']))
                elif event.get('ev') == 'meta':
                    device = event['file'].split('-')[0]
                continue
            words = line.split()
            t_ns = len(events) * 100000
            if not words or words[0] in ('#', 'explained'):
                continue
            if words[0] == 'device':
                device = words[1]
            elif words[1] == 'open':
                events.append((t_ns, int(words[0]), 'open', words[0]))
            elif words[1] == 'close':
                if words[3:] in ([], ['main']):
                    events.append((t_ns, int(words[0]), 'close', words[2]))
            else:
                fds = [(FD_OF.get(words[5] if len(words) > 5 else '', ''), 0, '')] * int(words[4])
                events.append((t_ns, int(words[0]), words[1], words[2], bytes.fromhex(words[3]), fds))
    return events, device


def add_event(capture, event, t_ns, base, numbers):
    connection = event[1] + base
    if event[2] == 'open':
        tlvs = tlv(COMM, b'qemu-system-x86') + tlv(PATH, b'/run/vhost/%s.sock' % event[3].encode())
        capture.add(t_ns, LIFE, 1, connection, b'', kind=CONNECT, tlvs=tlvs)
    elif event[2] == 'close':
        capture.add(t_ns, LIFE, DIRS.get(event[3], 0), connection, b'', kind=CLOSE)
    else:
        tlvs = b''
        for kind, size, label in event[5]:
            number = numbers.setdefault((base, label), 20 + len(numbers)) if label else 20 + len(numbers)
            ino = number + 1000 if kind in ('memfd', 'file') else 0
            tlvs += tlv(FD, fd_value(kind, number, size, ino))
        capture.add(t_ns, CHANNELS[event[3]], DIRS[event[2]], connection, event[4], tlvs=tlvs, fds=len(event[5]))


def without_start(events, n):
    left = []
    for event in events:
        if event[2] in DIRS and n > 0:
            n -= 1
        elif event[2] not in ('open',):
            left.append(event)
    return left


def build(args):
    events, device = sessions_of(args.session)
    if args.start:
        events = without_start(events, args.start)
    if args.beside:
        above = max(event[1] for event in events)
        beside = [(event[0], event[1] + above) + (('open', f'beside-{event[3]}') if event[2] == 'open' else event[2:])
                  for event in sessions_of(args.beside)[0]]
        events, device = sorted(events + beside, key=lambda event: event[0]), None
    capture = Capture(args.version)
    meta = {'format': 'vhu-capture', 'version': 1, 'level': 0, 'tool': 'make_capture.py',
            'target': {'device': device} if device else {}}
    capture.add(START_NS, META, 0, 0, json.dumps(meta).encode(), kind=1)
    step = max([event[1] for event in events], default=0)
    span = events[-1][0] + 1000000 if events else 0
    order = [(copy, event) for copy in range(args.repeat) for event in events]
    if args.interleave:
        order = [(copy, event) for event in events for copy in range(args.repeat)]
    numbers = {}
    for copy, event in order:
        shift = 0 if args.interleave else copy * span
        add_event(capture, event, START_NS + event[0] + shift, copy * step, numbers)
    if not args.no_end:
        last = capture.records[-1][0]
        capture.add(last, META, 0, 0, json.dumps({'records': len(capture.records) + 1, 'lost': args.lost}).encode(), kind=2)
    return capture


def block(order, kind, body):
    size = struct.pack(order + 'I', len(body) + 12)
    return struct.pack(order + 'I', kind) + size + body + size


def write(capture, args, out):
    order = '>' if args.swap else '<'
    magic, unit = (0xa1b2c3d4, 1000) if args.microseconds else (0xa1b23c4d, 1)
    data = struct.pack(order + 'IHHiIII', magic, 2, 4, 0, 0, 262144, args.linktype)
    packets = capture.packets()
    for edit in args.edit:
        number, offset, text = edit.split(':')
        t_ns, packet = packets[int(number)]
        patch = bytes.fromhex(text)
        packets[int(number)] = (t_ns, packet[:int(offset)] + patch + packet[int(offset) + len(patch):])
    if args.swap_records is not None:
        at = args.swap_records
        packets[at], packets[at + 1] = packets[at + 1], packets[at]
    for number in sorted(args.drop, reverse=True):
        del packets[number]
    if args.pcapng:
        out.write(block(order, 0x0a0d0d0a, struct.pack(order + 'IHHq', 0x1a2b3c4d, 1, 0, -1)))
        out.write(block(order, 1, struct.pack(order + 'HHIHHBxxxHH', args.linktype, 0, 262144, 9, 1, 9, 0, 0)))
        for t_ns, packet in packets:
            head = struct.pack(order + 'IIIII', 0, t_ns >> 32, t_ns & 0xffffffff, len(packet), len(packet))
            out.write(block(order, 6, head + packet + b'\0' * (-len(packet) % 4)))
        return
    parts = [data]
    for t_ns, packet in packets:
        parts.append(struct.pack(order + 'IIII', t_ns // 10**9, t_ns % 10**9 // unit, len(packet), len(packet)))
        parts.append(packet)
    data = b''.join(parts)
    out.write(data[:len(data) - args.cut])


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    for name in ('--repeat', '--start', '--version', '--cut', '--lost', '--linktype', '--swap-records'):
        parser.add_argument(name, type=int, default={'--repeat': 1, '--version': 1, '--linktype': 147,
                                                     '--swap-records': None}.get(name, 0))
    for name in ('--interleave', '--swap', '--pcapng', '--microseconds', '--no-end'):
        parser.add_argument(name, action='store_true')
    parser.add_argument('--beside')
    parser.add_argument('--edit', action='append', default=[])
    parser.add_argument('--drop', action='append', type=int, default=[])
    parser.add_argument('session')
    args = parser.parse_args()
    write(build(args), args, sys.stdout.buffer)


if __name__ == '__main__':
    main()
