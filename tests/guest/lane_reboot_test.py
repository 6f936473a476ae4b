"""A guest reboots inside of a running QEMU, whose connection and device stay: in the middle of its
work, with requests under way. The next boot gets its lane, what had been made durable is there,
nothing of the boot before is done twice or after it, what that held is free, and others go on."""
import mmap
import os
import pathlib
import shutil
import struct
import time

import rounds
import support

WORKERS = 8
ROUNDS = 10  # of each worker of the last boot
RESET_AT_ROUNDS = 40
# Twice it is reset. Each boot looks whether anything still happens that is not its own doing, and
# whether it gets the locks of the boot before: also that of a mount which this boot does not have yet.
JOB = rounds.SHELL + """
set -e
echo
boot=$(($(cat boot 2> /dev/null || echo 0) + 1))
echo $boot > boot
sync boot
hold() {
  said=/tmp/${1##*/}
  hold_lock $1 > $said &
  until [ -s $said ]; do usleep 10000; done
  cat $said
}
look() { find . -exec stat -c '%n %s %h %Y %Z' {} + | sort | sha256sum; cat boot-*/*/log; }
if [ $boot -gt 1 ]; then
  look > /tmp/before
  sleep 3
  look | cmp - /tmp/before
  echo settled
  hold lock-$((boot - 1))
fi
hold lock
mkdir -p /second
prism-mount --lane shm --log /dev/kmsg vm-1 /second
hold /second/lock-$boot
echo "boot $boot"
mkdir boot-$boot
limit=100000
[ $boot -lt 3 ] || limit=ROUNDS
children=
for worker in $(seq WORKERS); do
  work boot-$boot/$worker $limit &
  children="$children $!"
done
for child in $children; do wait $child; done
kill $(pidof hold_lock)
prism-mount --umount /second
echo finished
""".replace("ROUNDS", str(ROUNDS)).replace("WORKERS", str(WORKERS))
SETTLED = ["settled", "held", "held", "held"]
# As the root file system; it resets itself.
ROOT_JOB = rounds.SHELL + """
set -e
cd /work
echo
if [ -e first ]; then
  set second 20
else
  set first 100000
  (until [ -e first/4/link-5 ]; do sleep 0.1; done; echo b > /proc/sysrq-trigger) &
fi
mkdir $1
sync .
children=
for worker in 1 2 3 4; do
  work $1/$worker $2 &
  children="$children $!"
done
for child in $children; do wait $child; done
echo finished
"""


class LaneMemory:
    """The words of a machine's segment that tell what its first lane does (vrpc/PROTOCOL.md)."""

    def __init__(self, qemu):
        segment = next(link for link in pathlib.Path(f"/proc/{qemu}/fd").iterdir()
                       if os.readlink(link).startswith("/memfd:prism-lane"))
        with open(segment, "rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        self._queues = struct.unpack_from("<I", self._map, 28)[0]

    def hello_seq(self):
        return self._word(0)

    def waiting(self):
        """The queues with a request that the server has not taken."""
        pages = [4096 * (1 + queue) for queue in range(self._queues)]
        return sum(self._word(page) != self._word(page + 128) for page in pages)

    def _word(self, at):
        return struct.unpack_from("<I", self._map, 4096 + at)[0]

    def close(self):
        self._map.close()


class LaneRebootTest(support.GuestTest):
    guest_options = ("--lane", "shm", "--reboots", "--program", os.environ["HOLD_LOCK"])

    def test_resets_at_work(self):
        self.server.prism("create", "vm-1")
        neighbour = support.Neighbour(self.server, "neighbour")
        self.addCleanup(neighbour.end)
        guest = self.start_guest("--qmp", str(self.directory / "qmp"), "--job", JOB, "vm-1")
        lines = Lines(guest)
        self.assertEqual(lines.until("boot 1"), ["held", "held"])
        qmp = support.Qmp(self.directory / "qmp")
        self.addCleanup(qmp.close)
        lines.work(RESET_AT_ROUNDS)
        neighbour.begin()
        before_s, _ = neighbour.seconds()
        neighbour.begin()
        qmp.command("system_reset")
        self.assertEqual(lines.until("boot 2")[-4:], SETTLED)
        during_s, worst_s = neighbour.seconds()
        support.report("the neighbour's median before and during a reset, and worst, in ms",
                       [round(1000 * s, 2) for s in (before_s, during_s, worst_s)])
        self.assertLess(during_s, max(20 * before_s, 0.05))
        self.assert_lanes(sessions={0: 2, 1: 2})
        neighbour.end()

        # Now with requests in the rings when the next boot says hello: the server is stopped
        # meanwhile, and finds both.
        lines.work(RESET_AT_ROUNDS)
        memory = LaneMemory(qemu_of(guest))
        self.addCleanup(memory.close)
        said = memory.hello_seq()
        with self.server.stopped():
            self.wait_until(lambda: memory.waiting() >= 2)
            qmp.command("system_reset")
            self.wait_until(lambda: memory.hello_seq() != said)
            self.assertGreaterEqual(memory.waiting(), 2)
        self.assertEqual(lines.until("boot 3")[-4:], SETTLED)
        self.assert_lanes(sessions={0: 3, 1: 3})
        self.assertEqual(lines.until("finished")[-1:], [])
        self.assertEqual(guest.wait(), 0)
        self.assert_work(self.export("vm-1"), lines.printed, "boot-3", WORKERS, ROUNDS)

    def test_root_resets_itself(self):
        root = self.directory / "root"
        for name in ("bin", "dev", "proc", "root", "run", "sys", "tmp", "work"):
            (root / name).mkdir(parents=True)
        shutil.copy(shutil.which("busybox"), root / "bin/busybox")
        for applet in support.run("busybox", "--list").split():
            if applet != "busybox":
                (root / "bin" / applet).symlink_to("busybox")
        self.server.prism("import", "-q", f"dir:{root}", "root-1")
        guest = self.start_guest("--mode", "root", "--init", "small", "--job", ROOT_JOB, "root-1")
        lines = Lines(guest)
        lines.until("finished")
        self.assertEqual(guest.wait(), 0)
        self.assert_work(self.export("root-1") / "work", lines.printed, "second", 4, 20)

    def wait_until(self, condition):
        end_s = time.monotonic() + support.PATIENCE_S
        while not condition():
            self.assertLess(time.monotonic(), end_s)
            time.sleep(0.01)

    def assert_lanes(self, sessions):
        """Those of the guest have had so many sessions, and have one; nobody was dropped."""
        lanes = [lane for lane in self.server.json("lanes")
                 if lane["vm"].startswith("guest-")]
        self.assertEqual({lane["lane"]: lane["sessions"] for lane in lanes}, sessions)
        for lane in lanes:
            self.assertTrue(lane["attached"], lane)
            self.assertEqual(lane["drops"], 0, lane)

    def assert_work(self, exported, printed, last, workers, last_rounds):
        """Of all boots; that of the last one is complete."""
        tops = {directory.split("/")[0] for directory in printed}
        self.assertIn(last, tops)
        self.assertGreater(len(tops), 1)
        for top in tops:
            for worker in range(1, workers + 1):
                name = f"{top}/{worker}"
                done = rounds.verify(self, exported / name, printed.get(name, 0))
                if top == last:
                    self.assertEqual(done, last_rounds, name)


class Lines:
    """What a guest prints; how far each of its workers has come."""

    def __init__(self, guest):
        self._guest = guest
        self.printed = {}

    def until(self, wanted):
        """The other lines before this one."""
        others = []
        for line in self._lines():
            if line == wanted:
                return others
            others.append(line)
        raise AssertionError(f"the guest has not said '{wanted}', but: {others[-20:]}")

    def work(self, count):
        """Until so many rounds more are done."""
        end = sum(self.printed.values()) + count
        for line in self._lines(with_rounds=True):
            if line is None and sum(self.printed.values()) >= end:
                return
        raise AssertionError("the guest has stopped working")

    def _lines(self, with_rounds=False):
        for line in self._guest.stdout:
            done = rounds.of_line(line)
            if done is not None:
                directory, number = done
                self.printed[directory] = max(number, self.printed.get(directory, 0))
                if with_rounds:
                    yield None
            elif line.strip():
                yield line.strip()


def qemu_of(guest):
    children = pathlib.Path(f"/proc/{guest.pid}/task/{guest.pid}/children").read_text().split()
    return int(children[0])


if __name__ == "__main__":
    support.main()
