#!/usr/bin/env python3
"""Whole outputs of programs, byte for byte.

    run_golden.py BUILD [--update] [NAME…]

tests/golden/NAME/cmd is a shell command (run in that folder, with the build folder in $B and first in PATH); `out`,
`err` and `rc` beside it are what it gives (missing: empty, 0). `filter`, where there is one, is a file of sed commands that
replaces what differs between runs (times). The last line counts.
"""
import os
import subprocess
import sys

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'golden')


def read(path):
    if not os.path.exists(path):
        return ''
    with open(path, encoding='utf-8') as text:
        return text.read()


def write(path, text):
    if text:
        with open(path, 'w', encoding='utf-8') as out:
            out.write(text)
    elif os.path.exists(path):
        os.unlink(path)


def run(folder, build):
    env = dict(os.environ, B=build, PATH=build + os.pathsep + os.environ['PATH'], NO_COLOR='1')
    done = subprocess.run(['sh', '-c', read(os.path.join(folder, 'cmd'))], cwd=folder, env=env, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = done.stdout, done.stderr
    script = os.path.join(folder, 'filter')
    if os.path.exists(script):
        out, err = (subprocess.run(['sed', '-E', '-f', script], input=text, stdout=subprocess.PIPE, text=True,
                                   check=True).stdout for text in (out, err))
    return {'out': out, 'err': err, 'rc': f'{done.returncode}\n' if done.returncode else ''}


def main(args):
    update = '--update' in args
    build, *names = [arg for arg in args if arg != '--update']
    build = os.path.abspath(build)
    failed = 0
    names = names or sorted(name for name in os.listdir(HERE) if os.path.exists(os.path.join(HERE, name, 'cmd')))
    for name in names:
        folder = os.path.join(HERE, name)
        got = run(folder, build)
        wrong = [part for part, text in got.items() if text != read(os.path.join(folder, part))]
        if update:
            for part, text in got.items():
                write(os.path.join(folder, part), text)
        elif wrong:
            failed += 1
            for part in wrong:
                diff = subprocess.run(['diff', '-u', os.path.join(folder, part), '-'], input=got[part], text=True,
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
                print(f'{name}/{part} differs:\n{diff.stdout}')
    print(f'{len(names) - failed} passed, {failed} failed')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
