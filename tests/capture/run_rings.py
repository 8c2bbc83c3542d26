#!/usr/bin/env python3
"""What goes through rings is recorded, judged and played: a failing case is a bug report that plays itself.

    run_rings.py BUILD
"""
import os
import struct
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
import run_hostile_captures as captures  # noqa: E402

# A planted fault, a case that it fails, and the requirement that is found: by the case, by the replay on a back-end with
# the fault, and (unless the records alone don't show it) by vhu-trace check.
FAULTS = [
    ('used-id-last', 'read', 'RING-01', True),
    ('used-dup', 'read-write', 'RING-02', True),
    ('used-len-total', 'read', 'RING-04', True),
    ('used-idx-jump', 'read-write', 'RING-08', True),
    ('desc-write', 'read', 'RING-14', False),
    ('call-never', 'each-batch-is-signalled', 'RING-31', False),
    ('packed-id-first', 'packed-base-told', 'PACKED-04', True),
    ('blk-write-short', 'read-write', 'BLK-02', False),
    ('blk-read-off1', 'read-write', 'BLK-01', False),
]
# It never comes back: no rule is named, the request is.
LOST = ('used-lost', 'read-write')
SOUND = ['read-write', 'indirect', 'indirect-fills-the-ring', 'packed-base-told', 'used-index-comes-from-memory', 'in-order',
         'reset-starts-at-0']


# MQ, REPLY_ACK, CONFIG, RESET_DEVICE, STATUS, DEVICE_STATE: what the back-end asks by itself comes when it comes.
QUIET = '0x92209'
INFLIGHT = 1 << 12
RING, USED, SET_VRING_BASE = 3, 5, 10


def cut_short(path):
    """As if one request alone had come back in the packed ring before its back-end died."""
    head, packets = captures.packets_of(path)
    used = [one for one in packets if one[1][4] == RING and struct.unpack_from('<H', one[1], 34)[0] == USED and
            struct.unpack_from('<I', one[1], 8)[0] == 1]
    index, = struct.unpack_from('<I', used[0][1], captures.payload_at(used[0][1]) + 12)
    _first, (packet, at), *_rest = captures.each(packets, SET_VRING_BASE, 1)
    struct.pack_into('<I', packet, at + 4, index << 16 | index)
    captures.write(path, head, [one for one in packets if not any(one is other for other in used[1:])])


class Rings:
    def __init__(self, build, folder):
        self.build, self.folder = build, folder
        self.cases = os.path.join(HERE, '../../cases')
        self.passed, self.failed = 0, 0

    def run(self, program, *options):
        got = subprocess.run([f'{self.build}/{program}', *options], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True, check=False)
        return got.returncode, got.stdout

    def record(self, case, fault='', level=3, area='blk', device='blk', protocol_features=QUIET):
        out = f'{self.folder}/{fault or level}'
        backend = f'{self.build}/vhu-backend --socket {{socket}} --device {device}'
        backend += f' --protocol-features {protocol_features}'
        if device == 'blk':
            backend += ' --image {image}'
        self.run('vhu-conform', '--spawn', backend + (f' --fault {fault}' if fault else ''), '--device', device, '--strict',
                 '--timeout', '1000', '--allow-writes', '--record', out, '--record-level', str(level),
                 f'{self.cases}/{area}/{case.split("#")[0]}.json')
        return f'{out}/{area}/{case}.pcap'

    def replay(self, path, fault='', timeout=10000):
        return self.run('vhu-replay', f'--reference={fault}' if fault else '--reference', '--timeout', str(timeout), path)

    def expect(self, what, good, told):
        self.passed += good
        self.failed += not good
        if not good:
            print(f'FAIL {what}:\n{told}')

    def faults(self):
        for fault, case, requirement, by_records in FAULTS:
            path = self.record(case, fault)
            code, told = self.replay(path, fault, 1000)
            self.expect(f'{fault}: the replay shows it', code in (1, 4) and f'FAIL {requirement}:' in told, told)
            code, told = self.replay(path)
            self.expect(f'{fault}: a sound back-end has 0 divergences', code == 0 and ', 0 divergences' in told, told)
            code, told = self.run('vhu-trace', 'check', path)
            self.expect(f'{fault}: check tells it' if by_records else f'{fault}: check tells nothing of rings',
                        by_records == (f'FAIL {requirement} ' in told), told)
        fault, case = LOST
        path = self.record(case, fault)
        code, told = self.replay(path, fault, 1000)
        self.expect(f'{fault}: the replay shows it', code == 4 and 'recorded  > avail' in told, told)
        code, told = self.replay(path)
        self.expect(f'{fault}: a sound back-end has 0 divergences', code == 0 and ', 0 divergences' in told, told)

    def sound(self):
        for case in SOUND:
            path = self.record(case)
            code, told = self.replay(path)
            self.expect(f'{case} plays', code == 0 and ', 0 divergences' in told and 'ring records not' not in told, told)
            code, told = self.run('vhu-trace', 'check', path)
            self.expect(f'{case} is judged', code == 0 and ': 0 failed' in told and 'RING-' not in told, told)

    def crash(self):
        """What this back-end did in the ring before it died is more than what the recorded one had done."""
        path = self.record('packed-inflight-crash', protocol_features=hex(int(QUIET, 0) | INFLIGHT))
        cut_short(path)
        code, told = self.replay(path)
        self.expect('a ring goes on where it was left', code == 0 and ', 0 divergences' in told, told)

    def levels(self):
        for level, kinds in enumerate(([], ['kick', 'call', 'layout'], ['avail', 'used'], [])):
            shown = self.run('vhu-trace', 'show', '-f', 'channel=ring', self.record('read', level=level))[1]
            for kind in kinds:
                self.expect(f'level {level} has {kind}', f' {kind} queue=0' in shown, shown)
            if not level:
                self.expect('level 0 has nothing of rings', 'queue=' not in shown, shown)
            contents = any(f'contents={n}' in shown for n in (16, 513, 4097))
            self.expect(f'level {level} has contents only if it is 3', contents == (level == 3), shown)

    def state(self):
        """The state that a device gives is there in full, or as a number of bytes."""
        for level in (2, 3):
            path = self.record('load-in-pieces#two', level=level, area='core/device-state', device='fs')
            shown = self.run('vhu-trace', 'show', '-f', 'channel=state', path)[1]
            code, told = self.run('vhu-replay', '--reference', '--device', 'fs', path)
            self.expect(f'level {level} tells of the state', '< state of ' in shown and '> state of ' in shown, shown)
            self.expect(f'level {level} of it plays', code == 0, told)


def main(build):
    with tempfile.TemporaryDirectory() as folder:
        rings = Rings(build, folder)
        rings.levels()
        rings.state()
        rings.sound()
        rings.crash()
        rings.faults()
    print(f'{rings.passed} passed, {rings.failed} failed')
    return 1 if rings.failed else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
