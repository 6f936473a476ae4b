"""What the guest tests share: a server with NFS, its command, and guests on its volumes.

The programs come from the environment (CMakeLists.txt sets it): PRISMD, PRISM; the tree's root from
PRISM_SOURCE_DIR. Every process is ended by its id, every file is below one temporary directory.
"""
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import unittest

PRISMD = os.environ["PRISMD"]
PRISM = os.environ["PRISM"]
SOURCE = pathlib.Path(os.environ["PRISM_SOURCE_DIR"])
GUEST = str(SOURCE / "tools/guest")
ROOT_PACKAGES = "systemd,systemd-sysv,udev,dbus,netbase,nfs-common,rpcbind,initramfs-tools"
_UNAVAILABLE = 126  # of tools/guest
_SKIPPED = 77  # for CTest: SKIP_RETURN_CODE
_READY_TIMEOUT_S = 120
# Only against hanging: on a busy host a guest takes ten times as long as on an idle one.
PATIENCE_S = 600
_TAIL_LINES = 60


def run(*command, timeout_s=60, **options):
    """Runs what must succeed; its stdout as text."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=timeout_s, text=True, **options)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))}: exit {done.returncode}\n"
                             f"{done.stdout}{done.stderr}")
    return done.stdout


class Server:
    """prismd on a store and a port of its own; `kill` and `start` again keep both."""

    def __init__(self, directory, *options):
        self.directory = pathlib.Path(directory)
        self.control = str(self.directory / "control.sock")
        self.log = self.directory / "prismd.log"
        with socket.socket() as chosen:
            chosen.bind(("127.0.0.1", 0))
            self.nfs = f"127.0.0.1:{chosen.getsockname()[1]}"
        self._options = options
        self._process = None
        self.start()

    def start(self):
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                [PRISMD, "--store", str(self.directory / "store"), "--control", self.control,
                 "--nfs", self.nfs, *self._options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end_s = time.monotonic() + _READY_TIMEOUT_S
        while subprocess.run([PRISM, "--control", self.control, "ping"],
                             capture_output=True).returncode != 0:
            if self._process.poll() is not None or time.monotonic() > end_s:
                raise AssertionError(f"the server did not start:\n{self.log.read_text()}")
            time.sleep(0.05)

    def kill(self):
        self._process.kill()
        self._process.wait()

    def stop(self):
        """A clean end; an unclean one is a failure of the test."""
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        if code != 0:
            raise AssertionError(f"the server ended with {code}:\n{tail(self.log)}")

    def prism(self, *arguments, timeout_s=120):
        return run(PRISM, "--control", self.control, *arguments, timeout_s=timeout_s)

    def json(self, *arguments):
        return json.loads(self.prism("--json", *arguments))["result"]

    @contextlib.contextmanager
    def stopped(self):
        """It does nothing, but is there. Not while the host has something of it mounted."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def cpu_s(self):
        """What it has used of the processors."""
        stat = pathlib.Path(f"/proc/{self._process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")

    def guest(self, *arguments):
        """The command line that starts a guest on this server."""
        return [GUEST, "--control", self.control, "--nfs", self.nfs, *arguments]


class Guest(subprocess.Popen):
    """A guest that runs: its job's output is `stdout`, a pipe; its console is in a file."""

    def __init__(self, command, console):
        self.console = console
        with open(console, "wb") as file:
            super().__init__(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=file,
                             text=True, errors="replace")

    def end(self):
        if self.poll() is None:
            self.terminate()
            self.wait()
        self.stdout.close()


class Qmp:
    """QEMU's monitor, by the socket that tools/guest --qmp has named."""

    def __init__(self, path):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE_S)
        self._socket.connect(str(path))
        self._file = self._socket.makefile("r")
        self._answer()  # its greeting
        self.command("qmp_capabilities")

    def command(self, name):
        self._socket.sendall(json.dumps({"execute": name}).encode())
        answer = self._answer()
        if "return" not in answer:
            raise AssertionError(f"QEMU answers {name} with {answer}")
        return answer["return"]

    def _answer(self):
        while "event" in (answer := json.loads(self._file.readline())):
            pass
        return answer

    def close(self):
        self._file.close()
        self._socket.close()


class Load:
    """A program that works on a volume, by the pace of which the server is judged: a mkdir and an
    rmdir together, again and again."""

    def __init__(self, directory):
        self._path = directory / "load"
        self._times = {}
        self._phase = None
        self._ended = threading.Event()
        self.failure = None
        self._thread = threading.Thread(target=self._run)

    def enter(self, phase):
        """From the first time on, it works."""
        self._times.setdefault(phase, [])
        self._phase = phase
        if self._thread.ident is None:
            self._thread.start()

    def end(self):
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self):
        while not self._ended.wait(0.001):
            start_s = time.monotonic()
            try:
                self._path.mkdir()
                self._path.rmdir()
            except OSError as failure:
                self.failure = failure
                return
            self._times[self._phase].append(time.monotonic() - start_s)

    def times_s(self, phase):
        return sorted(self._times.get(phase, []))

    def summary(self, phase):
        """In us; None: nothing was done in it."""
        times = self.times_s(phase)
        if not times:
            return None
        return {"p50": round(statistics.median(times) * 1e6),
                "p99": round(times[len(times) * 99 // 100] * 1e6),
                "max": round(times[-1] * 1e6), "calls": len(times)}


class Neighbour:
    """Another attached machine whose volume a program works on; in the host, for its speed is what is
    of interest."""

    def __init__(self, server, name):
        self._server, self._directory = server, server.directory / name
        self._directory.mkdir()
        server.prism("create", name)
        vm = f"vm-{name}"
        port = server.json("attach", vm, "--volume", name)["socket"]
        server.prism("mount", "--socket", port, name, str(self._directory))
        self._load, self._phase, self._is_ended = Load(self._directory), 0, False
        self._load.enter(0)

    def begin(self):
        self._phase += 1
        self._load.enter(self._phase)

    def seconds(self):
        """Median and worst of the operations since `begin`; waits until there have been some."""
        end_s = time.monotonic() + PATIENCE_S
        while len(times := self._load.times_s(self._phase)) < 20:
            if self._load.failure is not None or time.monotonic() > end_s:
                raise AssertionError(f"the neighbour does not go on: {self._load.failure}")
            time.sleep(0.01)
        return times[len(times) // 2], times[-1]

    def end(self):
        if self._is_ended:
            return
        self._is_ended = True
        self._load.end()
        self._server.prism("umount", str(self._directory))
        if self._load.failure is not None:
            raise AssertionError(f"the neighbour was disturbed: {self._load.failure}")


class Done:
    """How a guest ended: `status`, `output` (the job's), `console` (with what the tool says)."""

    def __init__(self, status, output, console):
        self.status, self.output, self.console = status, output, console

    def seconds(self, event):
        """When "mounted", "ready" or "off" came, from the start of QEMU."""
        found = re.search(rf"^guest: {event} after ([0-9.]+) s$", self.console, re.MULTILINE)
        return float(found.group(1)) if found else None


class GuestTest(unittest.TestCase):
    maxDiff = 20000
    server_options = ()
    guest_options = ()

    @classmethod
    def setUpClass(cls):
        cls.exit_stack = contextlib.ExitStack()
        cls.addClassCleanup(cls.exit_stack.close)
        cls.directory = pathlib.Path(
            cls.exit_stack.enter_context(tempfile.TemporaryDirectory(prefix="prism-guest-test-")))
        cls.server = Server(cls.directory, *cls.server_options)
        cls.exit_stack.callback(cls.server.stop)

    def start_guest(self, *arguments):
        """Starts a guest; it ends with the test, and after PATIENCE_S if nothing else is said."""
        self.guests = getattr(self, "guests", 0) + 1
        guest = Guest(self.server.guest("--timeout-s", str(PATIENCE_S), *self.guest_options,
                                        *arguments),
                      self.directory / f"console-{self.id()}-{self.guests}")
        self.addCleanup(guest.end)
        self.last_guest = guest
        return guest

    def run_guest(self, *arguments, status=0):
        """Runs a guest to its end. It must end with `status`."""
        guest = self.start_guest(*arguments)
        output = guest.stdout.read()
        self.assertEqual(guest.wait(), status, f"the job said:\n{lines_tail(output)}")
        return Done(status, output, guest.console.read_text(errors="replace"))

    def explain(self):
        """What a failure needs to be understood, short: a log of a CI run may be cut."""
        guest = getattr(self, "last_guest", None)
        if guest is not None:
            report(f"console of the last guest (exit status {guest.poll()})",
                   "\n" + tail(guest.console))
        report("the server's log", "\n" + tail(self.server.log))
        lanes = subprocess.run([PRISM, "--control", self.server.control, "list", "--lanes"],
                               capture_output=True, text=True, timeout=60)
        report("lanes", "\n" + lines_tail(lanes.stdout + lanes.stderr))

    def export(self, volume):
        """The volume's content, as a directory of the host."""
        target = self.directory / f"exported-{volume}"
        shutil.rmtree(target, ignore_errors=True)
        self.server.prism("export", "-q", volume, f"dir:{target}")
        return target

    def assert_same_tree(self, expected, actual, options):
        """rsync finds nothing to change: types, modes, owners, links, content, and `options`."""
        said = run("rsync", "-rlpgoDHAXn", "--checksum", "--delete", "--itemize-changes", *options,
                   f"{expected}/", f"{actual}/")
        self.assertEqual(said, "")


def debian_root():
    """A Debian root with systemd, made once and kept in the cache of tools/guest."""
    cache = pathlib.Path(run(GUEST, "--prepare").strip())
    root = cache / f"debian-root-{ROOT_PACKAGES.replace(',', '-')}"
    if not root.is_dir():
        run(SOURCE / "tools/debian-root", "--include", ROOT_PACKAGES, root, timeout_s=900)
    return root


def lines_tail(text):
    return "\n".join(line[:300] for line in text.splitlines()[-_TAIL_LINES:])


def tail(path):
    return lines_tail(path.read_text(errors="replace")) if path.exists() else "(none)"


class _ExplainingResult(unittest.TextTestResult):
    """A test that has failed also says what its guest and its server said."""

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self._explain(test, error)

    def addError(self, test, error):
        super().addError(test, error)
        self._explain(test, error)

    def _explain(self, test, error):
        # At once, for what is printed in the end may never come.
        traceback.print_exception(*error)
        if isinstance(test, GuestTest):
            test.explain()


def report(name, value):
    print(f"{name}: {value}", file=sys.stderr, flush=True)


def main():
    """Runs the tests; ends with 77 if this host cannot have QEMU or the kernel."""
    done = subprocess.run([GUEST, "--prepare"], capture_output=True, text=True)
    if done.returncode == _UNAVAILABLE:
        print(f"SKIPPED: {done.stderr.strip()}")
        sys.exit(_SKIPPED)
    if done.returncode != 0:
        sys.exit(f"tools/guest --prepare: {done.stderr.strip()}")
    unittest.main(verbosity=2,
                  testRunner=unittest.TextTestRunner(resultclass=_ExplainingResult, verbosity=2))
