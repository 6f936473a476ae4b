"""A hostile guest tries everything that its lane's device offers (device_attack.cc), while another
machine has a segment full of canaries and a program of the host works on a volume of its own."""
import array
import json
import mmap
import os
import pathlib
import re
import secrets
import socket
import struct

import support

DEVICE_ATTACK = os.environ["DEVICE_ATTACK"]
_PAGE_BYTES = 4096
# The guest says what it does next, so that the host can tell what the work of others costs then.
JOB = """
set -e
mkdir /m
phase() { echo "phase $1"; }
# One whose session the server has ended may have another, a few a second.
mount_bad() {
  umount -l /m 2> /dev/null || true  # not mounted yet, the first time
  for try in $(seq 50); do
    if prism-mount --lane shm --log /dev/kmsg bad /m; then return; fi
    sleep 0.2
  done
  exit 1
}
phase idle
sleep 3
phase busy
timeout 3 sh -c 'while :; do :; done' || true  # 143: how timeout ends it
mount_bad
echo mine > /m/file
phase registers
device_attack CANARY search registers registers registers
phase doorbells
device_attack CANARY doorbells doorbells doorbells
phase storm
device_attack CANARY storm
phase rings
device_attack CANARY rings
mount_bad
phase scribble
for i in 1 2 3 4 5; do device_attack CANARY scribble restore; done
phase done
device_attack CANARY search
mount_bad
cat /m/file
prism-mount --umount /m
"""


class Neighbour:
    """Another machine's side of its port, as QEMU takes it: the segment and its eventfds. All of
    the segment but its header carries a canary."""

    def __init__(self, path, vectors):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._socket.settimeout(10)
        self._rungs, self._memory, self.size = [], None, 0
        for i in range(3 + 2 * vectors):
            number, fd = self._receive()
            if i == 2:
                assert number == -1
                self.size = os.fstat(fd).st_size
                self._memory = mmap.mmap(fd, self.size)
                os.close(fd)
            elif i >= 3 + vectors:
                self._rungs.append(fd)
            elif fd is not None:
                os.close(fd)
        # Not of zeros and ones, so that noise does not hit it.
        self.canary = secrets.token_bytes(32)
        for at in range(_PAGE_BYTES, self.size, len(self.canary)):
            self._memory[at:at + len(self.canary)] = self.canary
        self._before = self._memory[:]
        self.was_rung()

    def _receive(self):
        data, fds, _, _ = socket.recv_fds(self._socket, 8, 1)
        while len(data) < 8:
            more = self._socket.recv(8 - len(data))
            assert more, "the server has closed the port"
            data += more
        return struct.unpack("<q", data)[0], fds[0] if fds else None

    def was_rung(self):
        """How many of its eventfds have been rung since the last look."""
        count = 0
        for fd in self._rungs:
            os.set_blocking(fd, False)
            try:
                count += os.eventfd_read(fd) > 0
            except BlockingIOError:
                pass
        return count

    def is_intact(self):
        return self._memory[:] == self._before

    def close(self):
        self._socket.close()
        for fd in self._rungs:
            os.close(fd)
        self._memory.close()


class IsolationTest(support.GuestTest):

    def setUp(self):
        for volume in ("bad", "good", "host"):
            self.server.prism("create", volume)
        self.mount = self.directory / "mnt"
        self.mount.mkdir()
        self.server.prism("mount", "--log", str(self.directory / "mount.log"), "host",
                          str(self.mount))
        self.addCleanup(self.server.prism, "umount", str(self.mount))
        port = json.loads(self.server.prism("--json", "attach", "neighbour", "--volume", "good"))
        self.neighbour = Neighbour(port["result"]["socket"], port["result"]["vectors"])
        self.addCleanup(self.neighbour.close)

    def test_everything_that_the_device_offers(self):
        job = JOB.replace("CANARY", self.neighbour.canary.hex())
        load = support.Load(self.mount)
        self.addCleanup(load.end)
        guest = self.start_guest("--lane", "shm", "--mode", "bare", "--program", DEVICE_ATTACK,
                                 "--job", job, "bad")
        lines, phases = [], []
        for line in guest.stdout:
            word, _, phase = line.strip().partition(" ")
            if word == "phase":
                load.enter(phase)
                phases.append(phase)
            lines.append(line.strip())
        load.end()
        self.assertEqual(guest.wait(), 0, "\n".join(lines))
        self.assertIsNone(load.failure)
        # Nothing of the other was read (device_attack says so), written, or woken.
        self.assertEqual(lines[-1], "mine", "\n".join(lines))
        self.assertEqual(lines.count("search"), 2)
        self.assertTrue(self.neighbour.is_intact())
        self.assertEqual(self.neighbour.was_rung(), 0)

        for phase in phases:
            support.report(f"mkdir and rmdir of another, us, while the guest is at {phase}",
                           load.summary(phase))
        busy = load.summary("busy")
        for phase in ("registers", "doorbells", "storm", "rings", "scribble"):
            during = load.summary(phase)
            if during is not None and during["calls"] >= 100:  # else it says nothing
                self.assertLess(during["p50"], 20 * busy["p50"], phase)
                self.assertLess(during["max"], 5e6, phase)

        # The offender has lost its session, for a reason.
        log = self.server.log.read_text()
        drops = re.findall(r"^.*is dropped: .*$", log, re.MULTILINE)
        self.assertTrue(drops, log[-4000:])
        support.report("reasons", sorted({line.partition("is dropped: ")[2] for line in drops}))


if __name__ == "__main__":
    support.main()
