#!/usr/bin/env python3
"""Recorded front-ends are reproduced without a difference; a recording that was spoilt shows one, at that place.

    run_fidelity.py BUILD [RECORDED…]

Every message of the front-end is left out, swapped with the next one, gets another flag, loses or gets a descriptor, in
a copy of the recording each.
"""
import collections
import copy
import glob
import json
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
BATCH = 200
# How far (in lines) a difference may lie from what was spoilt: a message that lacks is told where the next one stands.
NEAR = 8


def run(program, paths):
    """path -> [(line, text)], or None where it could not be read."""
    done = subprocess.run([program, '-v', *paths], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    result, lines = dict.fromkeys(paths), None
    for line in done.stdout.splitlines():
        head = re.match(r'(.*): \d+ messages, \d+ differences$', line)
        if head:
            lines = result[head[1]] = []
        elif lines is not None and re.match(r'\t\d+: ', line):
            number, text = line[1:].split(': ', 1)
            lines.append((int(number), text))
    return result


def is_said(record):
    return 'ev' not in record and record['ch'] == 'main' and record['dir'] == 'fe'


def with_flags(record):
    raw = bytearray.fromhex(record['raw'])
    raw[4] ^= 8
    return {**record, 'raw': raw.hex()}


def with_descriptors(record):
    fds = copy.deepcopy(record.get('fds', []))
    if not fds:
        yield 'descriptor more', [{'kind': 'eventfd', 'label': 'new', 'count': 0}]
        return
    yield 'descriptor less', fds[1:]
    yield 'descriptor more', fds + fds[:1]
    yield 'other descriptor', [{**fds[0], 'kind': 'pipe' if fds[0]['kind'] == 'eventfd' else 'eventfd'}] + fds[1:]


def is_last_word(records, i):
    """The last message before the back-end hung up by itself: whether another was on its way nobody can tell."""
    for record in records[i + 1:]:
        if is_said(record) or 'killed' in record.get('text', ''):
            return False
        if record.get('ev') == 'close':
            return record['by'] == 'be'
    return False


def is_unmapping(record):
    """IOTLB_MSG, invalidate."""
    return record['raw'].startswith('16000000') and record['raw'][2 * 37:2 * 38] == '03'


def same(a, b):
    """Whether an exchange changes nothing: what descriptors are for, the place says; the guest unmaps as it likes."""
    if is_unmapping(a) and is_unmapping(b):
        return True
    kinds = [[fd['kind'] for fd in record.get('fds', [])] for record in (a, b)]
    return a['raw'] == b['raw'] and kinds[0] == kinds[1]


def spoilt(records):
    """(what, line, records)"""
    said = [i for i, record in enumerate(records) if is_said(record)]
    for k, i in enumerate(said):
        before, after = records[:i], records[i + 1:]
        if not is_last_word(records, i):
            yield 'left out', i, before + after
        yield 'flag', i, before + [with_flags(records[i])] + after
        for what, fds in with_descriptors(records[i]):
            yield what, i, before + [{**records[i], 'fds': fds}] + after
        j = said[k + 1] if k + 1 < len(said) else None
        if j and records[i]['conn'] == records[j]['conn'] and not same(records[i], records[j]):
            swapped = list(records)
            swapped[i], swapped[j] = records[j], records[i]
            yield 'swapped', i, swapped


def judge_batch(program, name, batch, counts):
    bad = []
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for number, (what, i, records) in enumerate(batch):
            paths.append(os.path.join(folder, f'{number}.jsonl'))
            with open(paths[-1], 'w', encoding='utf-8') as out:
                out.write(''.join(json.dumps(record) + '\n' for record in records))
        result = run(program, paths)
        for path, (what, i, records) in zip(paths, batch):
            counts[what] += 1
            lines = result[path]
            if not lines or all(abs(line - (i + 1)) > NEAR for line, _ in lines):
                bad.append(f'{name}:{i + 1}: {what}: ' + ('not seen' if not lines else f'seen elsewhere: {lines[0]}'))
    return bad


def judge(program, path, counts):
    with open(path, encoding='utf-8') as source:
        records = [json.loads(line) for line in source]
    bad, batch = [], []
    for one in spoilt(records):
        batch.append(one)
        if len(batch) == BATCH:
            bad += judge_batch(program, os.path.basename(path), batch, counts)
            batch = []
    return bad + (judge_batch(program, os.path.basename(path), batch, counts) if batch else [])


def main():
    program = os.path.join(sys.argv[1], 'vhu-fidelity')
    paths = sys.argv[2:] or sorted(glob.glob(os.path.join(HERE, 'data', 'fidelity', '*.jsonl')))
    bad, counts = [], collections.Counter()
    for path, lines in run(program, paths).items():
        bad += [f'{path}: not read'] if lines is None else [f'{path}:{line}: {text}' for line, text in lines]
    for path in paths:
        bad += judge(program, path, counts)
    print('\n'.join(bad))
    print(f'{len(paths)} recordings, {sum(counts.values())} times spoilt (' +
          ', '.join(f'{what} {n}' for what, n in counts.items()) + f'), {len(bad)} wrong')
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
