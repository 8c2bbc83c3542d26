#!/usr/bin/env python3
"""A back-end that is out to break its tester.

    backend.py MODE SOCKET

It answers like a small device until MODE says otherwise.
"""
import array
import os
import random
import socket
import struct
import sys

GET_FEATURES, GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES, GET_QUEUE_NUM, SET_BACKEND_REQ_FD = 1, 15, 16, 17, 21
GET_CONFIG, GET_VRING_BASE, SET_OWNER = 24, 11, 3
VERSION, REPLY, NEED_REPLY = 1, 4, 8
FEATURES = 1 << 32 | 1 << 30
PROTOCOL_FEATURES = 1 << 0 | 1 << 3 | 1 << 5 | 1 << 9    # MQ, REPLY_ACK, BACKEND_REQ, CONFIG


class Peer:
    """One front-end."""

    def __init__(self, sock):
        self.sock, self.backend, self.first = sock, None, False

    def read(self, size):
        data, fds = b'', []
        while len(data) < size:
            part, ancillary, _flags, _address = self.sock.recvmsg(size - len(data), socket.CMSG_SPACE(64 * 4))
            for _level, _kind, raw in ancillary:
                numbers = array.array('i')
                numbers.frombytes(raw[:len(raw) - len(raw) % 4])
                fds += numbers
            if not part:
                raise EOFError
            data += part
        return data, fds

    def receive(self):
        head, fds = self.read(12)
        request, flags, size = struct.unpack('=III', head)
        return request, flags, self.read(size)[0] if size else b'', fds

    def send(self, request, payload=b'', flags=VERSION | REPLY, size=None, fds=()):
        head = struct.pack('=III', request, flags, len(payload) if size is None else size)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))] if fds else []
        self.sock.sendmsg([head + payload], ancillary)

    def honest(self, request, flags, payload):
        answers = {GET_FEATURES: FEATURES, GET_PROTOCOL_FEATURES: PROTOCOL_FEATURES, GET_QUEUE_NUM: 1}
        if request in answers:
            self.send(request, struct.pack('=Q', answers[request]))
        elif request == GET_VRING_BASE:
            self.send(request, payload)
        elif request == GET_CONFIG:
            self.send(request, payload[:12] + struct.pack('<Q', 2048).ljust(len(payload) - 12, b'\0')[:len(payload) - 12])
        elif flags & NEED_REPLY:
            self.send(request, struct.pack('=Q', 0))


def garbage(peer, request, flags, payload):
    peer.sock.send(random.Random(request).randbytes(random.Random(len(payload)).randrange(1, 4000)))


NOISE = random.Random(1)


def noise(peer, request, flags, payload):
    """Well-framed answers of random bytes, once the first connection has been served."""
    if peer.first:
        peer.honest(request, flags, payload)
    else:
        peer.send(request, NOISE.randbytes(NOISE.choice([0, 1, 7, 8, 12, 20, 256])))


def half_header(peer, request, flags, payload):
    peer.sock.send(struct.pack('=IH', request, VERSION))
    raise EOFError


def huge_length(peer, request, flags, payload):
    peer.send(request, b'\0' * 8, size=0xffffffff)


def many_fds(peer, request, flags, payload):
    peer.send(request, struct.pack('=Q', FEATURES), fds=[0] * 200)


def cut_payload(peer, request, flags, payload):
    peer.send(request, b'\0' * 3, size=8)
    raise EOFError


def silent(peer, request, flags, payload):
    pass


def hang_up(peer, request, flags, payload):
    raise EOFError


def die(peer, request, flags, payload):
    os.abort()


def twice(peer, request, flags, payload):
    peer.honest(request, flags, payload)
    peer.honest(request, flags, payload)


def flood(peer, request, flags, payload):
    """Requests on the back-end channel without end, none of which waits for its answer."""
    if request == SET_BACKEND_REQ_FD and peer.backend is not None:
        peer.backend.setblocking(False)
        try:
            for number in range(20000):
                peer.backend.send(struct.pack('=III', number % 12, VERSION | NEED_REPLY, 0))
        except OSError:
            pass
    peer.honest(request, flags, payload)


def channel_garbage(peer, request, flags, payload):
    if request == SET_BACKEND_REQ_FD and peer.backend is not None:
        peer.backend.send(b'\xff' * 999)
    peer.honest(request, flags, payload)


MODES = {'garbage': garbage, 'half-header': half_header, 'huge-length': huge_length, 'many-fds': many_fds,
         'cut-payload': cut_payload, 'silent': silent, 'hang-up': hang_up, 'die': die, 'twice': twice, 'flood': flood,
         'channel-garbage': channel_garbage, 'noise': noise}
# The first messages are answered honestly by all but these, so that cases get under way.
FROM_THE_START = {'garbage', 'silent', 'hang-up', 'die', 'noise'}


def serve(peer, mode):
    seen = 0
    while True:
        request, flags, payload, fds = peer.receive()
        if request == SET_BACKEND_REQ_FD and fds:
            peer.backend = socket.socket(fileno=fds.pop(0))
        for fd in fds:
            os.close(fd)
        seen += 1
        if mode in FROM_THE_START or seen > 2:
            MODES[mode](peer, request, flags, payload)
        else:
            peer.honest(request, flags, payload)


def main(mode, path):
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen(8)
    first = True
    while True:
        sock, _address = server.accept()
        try:
            peer = Peer(sock)
            peer.first, first = first, False
            serve(peer, mode)
        except (EOFError, OSError):
            pass
        sock.close()


if __name__ == '__main__':
    main(*sys.argv[1:3])
