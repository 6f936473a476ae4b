"""One run of a guest under QEMU, without KVM: emulation runs any kernel, on any host."""
import os
import re
import secrets
import selectors
import shutil
import socket
import subprocess
import sys
import time

from kernel import UnavailableError

# no_timer_check: on a busy host the timer's interrupts come too late for the kernel's test of them,
# which then panics.
COMMAND_LINE = ("console=ttyS0 panic=-1 no_timer_check mitigations=off nokaslr "
                 "random.trust_cpu=on cryptomgr.notests")
EXIT_TIMEOUT = 124
EXIT_GUEST_FAILED = 125
EXIT_UNAVAILABLE = 126
_AFTER_EXIT_TIMEOUT_S = 60


class Machine:
    """Started by `start`, followed to its end by `follow`; `stop` leaves nothing behind."""

    def __init__(self, kernel, lane, arguments):
        """`arguments`: those of tools/guest."""
        self.mark = f"prism-guest-{secrets.token_hex(8)}".encode()
        self.is_interactive = arguments.job is None
        self.boot_s = {}  # "mounted", "ready": seconds after the start of QEMU
        self._kernel = kernel
        self._options = ["-accel", "tcg,thread=multi", "-cpu", "max",
                         "-machine", lane.machine, "-nodefaults", "-no-user-config",
                         "-display", "none", "-m", str(arguments.memory_mib),
                         "-smp", str(arguments.cpus), *lane.devices]
        if not arguments.reboots:
            self._options.append("-no-reboot")
        if arguments.qmp is not None:
            path = arguments.qmp.replace(",", ",,")
            self._options += ["-qmp", f"unix:{path},server=on,wait=off"]
        self._command_line = " ".join([COMMAND_LINE, *lane.kernel_arguments,
                                       *([] if arguments.verbose else ["quiet"])])
        self._qemu = None
        self._line = None
        self._pending = b""
        self._status = None

    def start(self, initramfs):
        """`initramfs` is the archive itself: it is nowhere on disk, so nothing of it can stay."""
        qemu = shutil.which("qemu-system-x86_64")
        if qemu is None:
            raise UnavailableError("qemu-system-x86_64 is not installed: run tools/setup")
        self._line, theirs = socket.socketpair()
        serial = "mon:stdio" if self.is_interactive else "stdio"
        memory = os.memfd_create("initramfs")
        with open(memory, "wb", closefd=False) as file:
            file.write(initramfs)
        # The guest ends with us, even if we are killed.
        command = ["setpriv", "--pdeathsig", "KILL", qemu, *self._options,
                   "-kernel", str(self._kernel.vmlinux), "-initrd", f"/dev/fd/{memory}",
                   "-append", self._command_line, "-serial", serial,
                   "-chardev", f"socket,id=line,fd={theirs.fileno()}", "-serial", "chardev:line"]
        self._start_s = time.monotonic()
        with theirs:
            self._qemu = subprocess.Popen(
                command, pass_fds=[memory, theirs.fileno()],
                stdin=None if self.is_interactive else subprocess.DEVNULL,
                stdout=None if self.is_interactive else subprocess.PIPE)
        os.close(memory)

    def follow(self, timeout_s):
        """Passes on what the guest prints until it ends: the job's output to stdout, its console to
        stderr (or, with a user at the console, QEMU has the terminal). Returns the job's exit
        status, EXIT_TIMEOUT, or EXIT_GUEST_FAILED if the guest ended without one."""
        end_s = None if timeout_s is None else self._start_s + timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(self._line, selectors.EVENT_READ, self._take_line)
            if not self.is_interactive:
                selector.register(self._qemu.stdout, selectors.EVENT_READ, _take_console)
            while selector.get_map():
                wait_s = None if end_s is None else end_s - time.monotonic()
                ready = selector.select(None if wait_s is None else max(wait_s, 0))
                if not ready and wait_s is not None and wait_s <= 0:
                    if self._status is not None:
                        _say("the guest does not power off: ended")
                        return self._status
                    _say(f"the guest is not done after {timeout_s} s: ended")
                    return EXIT_TIMEOUT
                for key, _ in ready:
                    data = _read(key.fd)
                    if data:
                        key.data(data)
                    else:
                        selector.unregister(key.fileobj)
                if self._status is not None and end_s is None:
                    end_s = time.monotonic() + _AFTER_EXIT_TIMEOUT_S
        self._write_job(self._pending)
        _say(f"off after {time.monotonic() - self._start_s:.2f} s")
        if self._status is None and not self.is_interactive:
            _say("the guest ended before its job did")
            return EXIT_GUEST_FAILED
        return self._status or 0

    def stop(self):
        if self._qemu is not None:
            self._qemu.kill()
            self._qemu.wait()
            self._qemu = None
        if self._line is not None:
            self._line.close()

    def _take_line(self, data):
        """Separates what the job prints from what init tells: "MARK WORDS" and a newline."""
        self._pending += data
        while True:
            head, found, rest = self._pending.partition(self.mark)
            words, ended, after = rest.partition(b"\n")
            if not found or not ended:
                break
            self._write_job(head)
            self._pending = after
            self._take_event(words.decode(errors="replace").strip())
        if not found:
            # What may be the beginning of a mark waits for the rest.
            held = next((n for n in range(len(self.mark), 0, -1)
                         if self._pending.endswith(self.mark[:n])), 0)
            keep = len(self._pending) - held
            self._write_job(self._pending[:keep])
            self._pending = self._pending[keep:]

    def _take_event(self, event):
        name, _, rest = event.partition(" ")
        if name in ("mounted", "ready"):
            self.boot_s[name] = time.monotonic() - self._start_s
            _say(f"{name} after {self.boot_s[name]:.2f} s")
        elif name == "exit" and re.fullmatch(r"[0-9]{1,3}", rest):
            self._status = int(rest)
        elif name == "failed":
            _say(f"failed: {rest}")
            self._status = EXIT_GUEST_FAILED

    def _write_job(self, data):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def _read(fd):
    try:
        return os.read(fd, 1 << 16)
    except ConnectionResetError:
        return b""


def _take_console(data):
    sys.stderr.buffer.write(data.replace(b"\r\n", b"\n"))
    sys.stderr.buffer.flush()


def _say(text):
    print(f"guest: {text}", file=sys.stderr, flush=True)
