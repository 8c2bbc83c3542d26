"""Captures, read by nothing of the programs under test."""
import struct

META, MAIN, BACKEND, RING, MEM, LIFE, GPU, STATE = range(8)
FRONT_END, BACK_END = 1, 2
TRUNCATED, LOST_BEFORE, PARTIAL, MALFORMED = 1, 2, 4, 8
CONNECT, ACCEPT, CLOSE, START, EXIT, STOP, LOST = range(1, 8)
FD_TLV, ERRNO_TLV = 1, 8


class Record:
    """One packet."""

    def __init__(self, packet, time):
        (version, self.dir, header, self.channel, self.tap, self.flags, self.connection, self.orig_len, self.offset,
         self.tgid, self.tid, n_fds, self.kind, self.seq, _snd, _rcv) = struct.unpack_from('<BBHBBHIIQIIHHIQQ', packet)
        if version != 1:
            raise ValueError(f'version {version}')
        self.time, self.payload, self.fds, self.errno = time, packet[header:], [], None
        at = 56
        while at + 4 <= header:
            kind, size = struct.unpack_from('<HH', packet, at)
            if not kind:
                break
            value = packet[at + 4:at + 4 + size]
            if kind == FD_TLV:
                self.fds.append(struct.unpack('<BBHIQQQ', value))
            elif kind == ERRNO_TLV:
                self.errno, = struct.unpack('<i', value)
            at += 4 + (size + 3) // 4 * 4
        if len(self.fds) != n_fds:
            raise ValueError(f'{len(self.fds)} descriptors of {n_fds}')


def read(path):
    """All records of a file."""
    with open(path, 'rb') as capture:
        data = capture.read()
    if data[:4] != b'\x4d\x3c\xb2\xa1' or struct.unpack_from('<I', data, 20)[0] != 147:
        raise ValueError(f'{path} is no capture')
    records, at = [], 24
    while at + 16 <= len(data):
        seconds, nanoseconds, kept, _length = struct.unpack_from('<IIII', data, at)
        records.append(Record(data[at + 16:at + 16 + kept], seconds * 10**9 + nanoseconds))
        at += 16 + kept
    if at != len(data):
        raise ValueError(f'{path} is cut off')
    return records


class Session:
    """What went over one connection: bytes and kinds of descriptors, by channel and direction."""

    def __init__(self):
        self.streams, self.life, self.records, self.messages = {}, [], [], 0

    def add(self, record):
        self.records.append(record)
        if record.channel == LIFE:
            self.life.append(record)
        elif record.channel in (MAIN, BACKEND, GPU):
            stream = self.streams.setdefault((record.channel, record.dir), [b'', []])
            stream[1] += [(len(stream[0]), fd[0]) for fd in record.fds]
            stream[0] += record.payload
            self.messages += 1


def sessions(records):
    """By connection number."""
    found = {}
    for record in records:
        if record.connection:
            found.setdefault(record.connection, Session()).add(record)
    return found
