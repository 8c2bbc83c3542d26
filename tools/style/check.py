#!/usr/bin/env python3
"""What the compiler cannot see: sizes, includes, widths, names, titles of cases, links in documents.

    check.py [ROOT]

One line a finding; the last line counts: `N passed, N failed`.
"""
import json
import os
import re
import subprocess
import sys

MAX_FILE, MAX_FUNCTION, MAX_COLUMNS, TAB = 800, 100, 110, 8
FUNCTION = re.compile(r'^[a-z].*\)$|^[a-z].*,$')
PUBLIC = re.compile(r'^(?!static|typedef|extern|struct|enum|union|#|/|\s)[a-z][\w \*]*?\**(\w+)\(')


def sources(root, *endings):
    for top in ('tester', 'tools', 'tests', 'include', 'cases', 'docs', '.'):
        for folder, folders, names in os.walk(os.path.join(root, top)):
            if top == '.':
                folders[:] = []
            folders[:] = sorted(f for f in folders if not f.startswith('build'))
            for name in sorted(names):
                if name.endswith(endings):
                    yield os.path.normpath(os.path.join(folder, name))


def lines_of(path):
    with open(path, encoding='utf-8') as text:
        return text.read().split('\n')


def check_sizes(root):
    for path in sources(root, '.c', '.h'):
        lines = lines_of(path)
        if len(lines) > MAX_FILE:
            yield path, len(lines), f'{len(lines)} lines; more than {MAX_FILE} are more than one thing'
        start = None
        for number, line in enumerate(lines, 1):
            if line == '{':
                start = number
            elif line.startswith('}') and start:
                if number - start > MAX_FUNCTION:
                    yield path, start, f'a function of {number - start} lines'
                start = None


def check_widths(root):
    for path in sources(root, '.c', '.h'):
        for number, line in enumerate(lines_of(path), 1):
            if len(line.expandtabs(TAB)) > MAX_COLUMNS:
                yield path, number, f'{len(line.expandtabs(TAB))} columns'
            if line != line.rstrip():
                yield path, number, 'space at the end of the line'


def check_includes(root):
    for path in sources(root, '.c', '.h'):
        for number, line in enumerate(lines_of(path), 1):
            include = re.match(r'#\s*include\s+["<]([^">]+)', line)
            if not include:
                continue
            if '..' in include.group(1):
                yield path, number, 'an include with `..` goes around the layers'
            if '/tools/backend/' in '/' + path.replace(os.sep, '/') and '/' in include.group(1):
                if not re.match(r'(vhu/\w+\.def|sys/|linux/|arpa/|netinet/)', include.group(1)):
                    yield path, number, 'the reference back-end shares only vhu/*.def with what judges it'


def check_marks(root):
    for path in sources(root, '.c', '.h', '.def', '.md', '.py', '.build'):
        if path.endswith('check.py'):
            continue
        for number, line in enumerate(lines_of(path), 1):
            if re.search(r'\b(TODO|FIXME|XXX|HACK)\b', line):
                yield path, number, 'an unfinished thing belongs in the tracker'


def check_public_names(root):
    for path in sources(root, '.c'):
        if '/tester/' not in '/' + path.replace(os.sep, '/') or 'main_' in path:
            continue
        for number, line in enumerate(lines_of(path), 1):
            name = PUBLIC.match(line)
            if name and not name.group(1).startswith('vhu_') and name.group(1) not in ('main', 'if', 'for', 'while', 'BPF_PROG'):
                yield path, number, f'{name.group(1)} leaves its file without the prefix vhu_'


def check_titles(root):
    seen = {}
    for path in sources(root, '.json'):
        if '/cases/' not in '/' + path.replace(os.sep, '/'):
            continue
        with open(path, encoding='utf-8') as text:
            case = json.load(text)
        title = case.get('title')
        if title is None:
            continue
        if re.search(r'\bshould\b', title, re.I):
            yield path, 1, 'a title states what a back-end does, without "should"'
        if title in seen:
            yield path, 1, f'the same title as {seen[title]}'
        seen[title] = path


def check_links(root):
    for path in sources(root, '.md'):
        for number, line in enumerate(lines_of(path), 1):
            for link in re.findall(r'\]\(([^)#]+)(?:#[^)]*)?\)', line):
                if '://' not in link and not os.path.exists(os.path.join(os.path.dirname(path), link)):
                    yield path, number, f'a link to {link}, which does not exist'


def check_shell(root):
    for name in ('tools/quickstart', 'tools/test', 'tools/packages.sh', '.ci/run'):
        run = subprocess.run(['sh', '-n', os.path.join(root, name)], stderr=subprocess.PIPE, text=True)
        if run.returncode:
            yield name, 1, run.stderr.strip()


def main(root):
    checks = [check_sizes, check_widths, check_includes, check_marks, check_public_names, check_titles, check_links,
              check_shell]
    failed = 0
    for check in checks:
        found = list(check(root))
        failed += bool(found)
        for path, number, text in found:
            print(f'{os.path.relpath(path, root)}:{number}: {text}')
    print(f'{len(checks) - failed} passed, {failed} failed')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.dirname(os.path.dirname(
        os.path.abspath(__file__))))))
