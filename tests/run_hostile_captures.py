#!/usr/bin/env python3
"""Captures that lie, or that are damaged: replay, case and check end in time, with an exit code of theirs, and without a crash.

    run_hostile_captures.py BUILD [RUNS]

RUNS (default 24) of the captures are spoilt at random, the same each time.
"""
import os
import random
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import make_capture  # noqa: E402

ROOT = os.path.dirname(HERE)
SESSION = os.path.join(HERE, 'data', 'sessions', 'blk-4q-q11.txt')
HUGE = 1 << 63
PATIENCE = 60
GOOD = {'vhu-replay': (0, 1, 2, 4), 'vhu-trace': (0, 1, 2, 5), 'vhu-backend': (0, 2)}


def run(build, wrong, name, *words, accepted=None):
    """Runs a program; what it should not have done goes to `wrong`. Its output."""
    begin = time.monotonic()
    try:
        done = subprocess.run([os.path.join(build, words[0]), *words[1:]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        wrong.append(f'{name}: {" ".join(words)} hangs')
        return ''
    said = (done.stdout + done.stderr).decode(errors='replace')
    if done.returncode not in (accepted or GOOD[words[0]]) or 'Sanitizer' in said or 'runtime error' in said:
        wrong.append(f'{name}: {" ".join(words)}: exit code {done.returncode} after {time.monotonic() - begin:.1f} s\n'
                     f'{said[-3000:]}')
    return said


def packets_of(path):
    """The records of a capture, as (head, packet), behind its file header."""
    with open(path, 'rb') as file:
        data = file.read()
    at, found = 24, []
    while at + 16 <= len(data):
        size = struct.unpack_from('<I', data, at + 8)[0]
        found.append((data[at:at + 16], bytearray(data[at + 16:at + 16 + size])))
        at += 16 + size
    return data[:24], found


def write(path, head, packets):
    with open(path, 'wb') as out:
        out.write(head)
        for packet_head, packet in packets:
            out.write(packet_head[:8] + struct.pack('<II', len(packet), len(packet)) + bytes(packet))


def payload_at(packet):
    return struct.unpack_from('<H', packet, 2)[0]


def each(packets, request, direction):
    """Messages of the main channel of that kind: (packet, where its payload begins)."""
    for _head, packet in packets:
        at = payload_at(packet)
        if packet[4] == 1 and packet[1] == direction and len(packet) >= at + 12 and \
                struct.unpack_from('<I', packet, at)[0] == request:
            yield packet, at + 12


# --- lies ---------------------------------------------------------------------------------------------------------

def huge_memory(packets):
    """Regions of 2^63 bytes in files as large."""
    for packet, at in each(packets, 37, 1):
        struct.pack_into('<Q', packet, at + 16, HUGE)
        struct.pack_into('<BBHIQ', packet, 60, 1, 3, 0, 40, HUGE)


def wrapping_memory(packets):
    for packet, at in each(packets, 37, 1):
        struct.pack_into('<QQQQ', packet, at + 8, 2**64 - 4096, 2**64 - 1, 2**64 - 8192, 2**64 - 1)


def rings_255(packets):
    """Ring 3 is ring 255 throughout."""
    for request in (8, 9, 10, 11, 12, 13, 14, 18):
        for direction in (1, 2):
            for packet, at in each(packets, request, direction):
                if packet[at] == 3:
                    packet[at] = 255


def rings_out_of_range(packets):
    for request in (8, 9, 10, 11, 18):
        for packet, at in each(packets, request, 1):
            struct.pack_into('<I', packet, at, 0xffffffff)


def ring_sizes(packets):
    for packet, at in each(packets, 8, 1):
        struct.pack_into('<I', packet, at + 4, 0xffffffff)


def ring_addresses(packets):
    for packet, at in each(packets, 9, 1):
        struct.pack_into('<QQQ', packet, at + 8, 2**64 - 1, 2**64 - 16, 2**63)


def answers_lie(packets):
    """Sizes in the header and the payload of answers say what is not there."""
    for request in (1, 15, 17, 24, 36):
        for packet, at in each(packets, request, 2):
            struct.pack_into('<I', packet, at - 4, 0xfffffff0)
    for packet, at in each(packets, 24, 2):
        struct.pack_into('<II', packet, at, 0xfffffff0, 0xffffffff)


def config_lies(packets):
    for packet, at in each(packets, 24, 2):
        struct.pack_into('<II', packet, at, 0xfffffff0, 0xffffffff)


def numbers_lie(packets):
    """Queues and slots without end."""
    for request in (17, 36):
        for packet, at in each(packets, request, 2):
            struct.pack_into('<Q', packet, at, 2**64 - 1)


def capacity_lies(packets):
    for packet, at in each(packets, 24, 2):
        struct.pack_into('<Q', packet, at + 12, 2**64 - 1)


LIES = [huge_memory, wrapping_memory, rings_255, rings_out_of_range, ring_sizes, ring_addresses, answers_lie, config_lies,
        numbers_lie, capacity_lies]


def at_random(packets, rng):
    """A few bytes of records, records that are lost, doubled, exchanged, cut."""
    for _ in range(rng.randint(1, 12)):
        i = rng.randrange(1, len(packets))
        packet = packets[i][1]
        what = rng.randrange(8)
        if what < 4 and packet:
            at = payload_at(packet) if len(packet) > 4 else 0
            k = rng.randrange(min(at, len(packet) - 1), len(packet)) if rng.random() < 0.8 else rng.randrange(len(packet))
            packet[k] = rng.choice([0, 1, 0x7f, 0x80, 0xff, rng.randrange(256)])
        elif what == 4:
            del packets[i]
        elif what == 5:
            packets.insert(i, (packets[i][0], bytearray(packet)))
        elif what == 6:
            packets[i], packets[i - 1] = packets[i - 1], packets[i]
            if i == 1:
                packets[0], packets[1] = packets[1], packets[0]
        else:
            del packet[rng.randrange(max(1, len(packet))):]
        if len(packets) < 3:
            return


def judge(build, wrong, name, path):
    common = ['--reference', '--timeout', '150', '--device', 'blk', '--memory', 'memfd']
    run(build, wrong, name, 'vhu-replay', *common, '--io', path)
    run(build, wrong, name, 'vhu-replay', *common, '--keep-going', path)
    run(build, wrong, name, 'vhu-trace', 'case', path)
    run(build, wrong, name, 'vhu-trace', 'check', path)


def many_sessions(build, wrong, folder):
    """10,000 sessions at once, and one after the other."""
    path = f'{folder}/many.pcap'
    for words, accepted, wanted in [(['--interleave'], (2,), 'sessions are open side by side'), ([], (0,), ' 0 divergences')]:
        with open(path, 'wb') as out:
            subprocess.run([sys.executable, f'{HERE}/make_capture.py', '--start', '0', '--repeat', '10000', *words,
                            f'{HERE}/golden/inputs/short-session.txt'], stdout=out, check=True)
        said = run(build, wrong, 'many sessions', 'vhu-replay', '--reference', '--device', 'blk', path, accepted=accepted)
        if wanted not in said:
            wrong.append(f'many sessions: no "{wanted}" in {said[-500:]}')
        for command in ('check', 'show', 'stats', 'ladder'):
            run(build, wrong, 'many sessions', 'vhu-trace', command, path, accepted=(0,))
        run(build, wrong, 'many sessions', 'vhu-trace', 'diff', path, path, accepted=(0,))
        run(build, wrong, 'many sessions', 'vhu-replay', '--reference', '--device', 'blk', '--session', '9999', path,
            accepted=(0,))


def main(build, runs='24'):
    wrong, n = [], 0
    with tempfile.TemporaryDirectory() as folder:
        path = f'{folder}/a.pcap'
        whole = f'{folder}/whole.pcap'
        with open(whole, 'wb') as out:
            subprocess.run([sys.executable, f'{HERE}/make_capture.py', SESSION], stdout=out, check=True)
        for lie in LIES:
            head, packets = packets_of(whole)
            lie(packets)
            write(path, head, packets)
            judge(build, wrong, lie.__name__, path)
            n += 1
        seeds = [whole, f'{ROOT}/captures/blk-reconnect-after-driver-ok.pcap', f'{ROOT}/captures/blk-migrate.pcap']
        for number in range(int(runs)):
            head, packets = packets_of(seeds[number % len(seeds)])
            at_random(packets, random.Random(number))
            write(path, head, packets)
            judge(build, wrong, f'at random, {number}', path)
            n += 1
        many_sessions(build, wrong, folder)
        n += 1
    print('\n'.join(wrong[:10]))
    print(f'{n} captures, {len(wrong)} wrong')
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main(os.path.abspath(sys.argv[1]), *sys.argv[2:]))
