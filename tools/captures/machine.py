"""QEMU under test of a capture: its serial line as a shell, and QMP."""
import json
import os
import selectors
import socket
import subprocess
import time

PATIENCE = 60  # seconds for anything to happen, under emulation


class Failed(Exception):
    """A scenario did not go as planned."""


class Line:
    """A socket read until something was said."""

    def __init__(self, path, proc):
        self.sock = socket.socket(socket.AF_UNIX)
        self.seen = b''
        end = time.monotonic() + PATIENCE
        while True:
            try:
                self.sock.connect(path)
                return
            except OSError as why:
                if proc.poll() is not None or time.monotonic() > end:
                    raise Failed(f'{path}: {why}') from why
                time.sleep(0.05)

    def until(self, text, start=0):
        """Reads on until `text` was said behind offset `start`; the offset behind it."""
        want = text.encode()
        end = time.monotonic() + PATIENCE
        selector = selectors.DefaultSelector()
        selector.register(self.sock, selectors.EVENT_READ)
        while (at := self.seen.find(want, start)) < 0:
            if not selector.select(max(0, end - time.monotonic())):
                raise Failed(f'nobody said "{text}"; the last was: {self.seen[-600:].decode(errors="replace")}')
            got = self.sock.recv(65536)
            if not got:
                raise Failed(f'the line ended before "{text}": {self.seen[-600:].decode(errors="replace")}')
            self.seen += got
        return at + len(want)


class Machine:
    """One QEMU with a guest at a shell. `where` is its folder for sockets."""

    def __init__(self, where, kernel, initramfs, words, cmdline='', memory=256, cpus=1, name='vm'):
        self.where = os.path.join(where, name)
        os.makedirs(self.where)
        self.proc = subprocess.Popen([
            'qemu-system-x86_64', '-nodefaults', '-no-user-config', '-display', 'none', '-accel', 'tcg', '-M',
            'q35,memory-backend=mem', '-m', str(memory), '-smp', str(cpus), '-object',
            f'memory-backend-memfd,id=mem,size={memory}M,share=on', '-kernel', kernel, '-initrd', initramfs, '-append',
            f'console=ttyS0 quiet panic=-1 {cmdline}', '-chardev',
            f'socket,id=ser,path={self.where}/serial,server=on,wait=off', '-serial', 'chardev:ser', '-qmp',
            f'unix:{self.where}/qmp,server=on,wait=off', *words])
        self.qmp = Line(f'{self.where}/qmp', self.proc)
        self.qmp.until('QMP')
        self.ids = 0
        self.monitor('qmp_capabilities')
        self.serial = Line(f'{self.where}/serial', self.proc)
        self.said = 0

    def monitor(self, command, **arguments):
        """A QMP command's answer, as bytes behind it."""
        self.ids += 1
        start = len(self.qmp.seen)
        mark = f'"id": "c{self.ids}"'
        self.qmp.sock.sendall(json.dumps(
            {'execute': command, 'arguments': arguments, 'id': f'c{self.ids}'}).encode() + b'\n')
        self.qmp.until(mark, start)
        end = self.qmp.until('\n', self.qmp.seen.find(mark.encode(), start))
        answer = json.loads(self.qmp.seen[:end].splitlines()[-1])
        if 'error' in answer:
            raise Failed(f'{command}: {answer["error"]["desc"]}')
        return answer['return']

    def event(self, name, start=0):
        """Waits until QEMU has told of an event."""
        return self.qmp.until(f'"event": "{name}"', start)

    def booted(self):
        """The guest's shell is there; it shall not say again what it was told."""
        self.said = self.serial.until('guest-is-up', self.said)
        self.serial.sock.sendall(b'stty -echo; echo "quiet"-now\n')
        self.said = self.serial.until('quiet-now', self.said)

    def shell(self, command):
        """Runs a command in the guest, which has to succeed."""
        self.ids += 1
        self.serial.sock.sendall(f'{command}; echo "[{self.ids}=$?]"\n'.encode())
        at = self.serial.until(f'[{self.ids}=', self.said)
        end = self.serial.until(']', at)
        self.said = end
        if self.serial.seen[at:end] != b'0]':
            raise Failed(f'in the guest: {command}: {self.serial.seen[at - 600:end].decode(errors="replace")}')

    def connected(self, chardev, wanted=True):
        """Waits until a reconnecting chardev is connected, or is not."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            state = next(c['filename'] for c in self.monitor('query-chardev') if c['label'] == chardev)
            if state.startswith('disconnected') != wanted:
                return
            time.sleep(0.05)
        raise Failed(f'{chardev} is still {state}')

    def load(self, *drivers):
        for name in drivers:
            self.shell(f'modprobe {name}')

    def ended(self):
        """Waits for QEMU's own end."""
        if self.proc.wait(PATIENCE):
            raise Failed(f'QEMU ended with {self.proc.returncode}')

    def poweroff(self):
        self.serial.sock.sendall(b'sync; poweroff -f\n')
        self.ended()

    def kill(self):
        if self.proc.poll() is None:
            self.proc.kill()
            self.proc.wait()
