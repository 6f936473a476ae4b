"""A guest is paused by its monitor and goes on, with requests under way: shortly; for a while, in
which it costs the server and others nothing; and while the server is killed and started again, twice.
Its programs notice nothing, and all that they did is there, once."""
import time

import rounds
import support

WORKERS = 8
ROUNDS = 30  # of each
IDLE_S = 5
JOB = rounds.SHELL + f"""
set -e
children=
for worker in $(seq {WORKERS}); do
  work $worker {ROUNDS} &
  children="$children $!"
done
for child in $children; do wait $child; done
dd if=/dev/urandom of=/tmp/data bs=64k count=256 2> /dev/null
echo writing
dd if=/tmp/data of=data bs=64k 2> /dev/null
cmp /tmp/data data
echo 3 > /proc/sys/vm/drop_caches
cmp /tmp/data data
echo verified
"""


class LanePauseTest(support.GuestTest):
    guest_options = ("--lane", "shm")
    # Nothing makes unstable writes durable meanwhile: those of a server that was killed are the
    # mount's to repeat.
    server_options = ("--flush-interval-ms", "60000", "--checkpoint-interval-ms", "60000")

    def test_pauses(self):
        self.server.prism("create", "vm-1")
        neighbour = support.Neighbour(self.server, "neighbour")
        self.addCleanup(neighbour.end)
        guest = self.start_guest("--qmp", str(self.directory / "qmp"), "--job", JOB, "vm-1")
        printed, others = [], []
        every = WORKERS * ROUNDS
        pauses = {every // 8: self.nothing, every // 4: lambda: self.idle(neighbour),
                  every // 2: self.restart, every * 3 // 4: lambda: (self.restart(), self.restart())}
        for line in guest.stdout:
            done = rounds.of_line(line)
            (printed if done else others).append(done or line.strip())
            if done and len(printed) in pauses:
                self.pause(pauses.pop(len(printed)))
            elif line == "writing\n":
                time.sleep(0.1)  # some of it has arrived by then
                self.pause(self.restart)
        self.assertEqual(guest.wait(), 0)
        self.assertEqual(others, ["writing", "verified"])
        self.assertEqual(pauses, {})
        every = [(str(worker), i) for worker in range(1, WORKERS + 1) for i in range(1, ROUNDS + 1)]
        self.assertEqual(sorted(printed), sorted(every))
        exported = self.export("vm-1")
        for worker in range(1, WORKERS + 1):
            self.assertEqual(rounds.verify(self, exported / str(worker), ROUNDS), ROUNDS)

    def pause(self, meanwhile):
        qmp = support.Qmp(self.directory / "qmp")
        try:
            qmp.command("stop")
            meanwhile()
            qmp.command("cont")
        finally:
            qmp.close()

    def nothing(self):
        time.sleep(0.5)

    def idle(self, neighbour):
        """The neighbour works for the first half of the time, and rests for the second."""
        neighbour.begin()
        median_s, worst_s = neighbour.seconds()
        neighbour.end()
        before_s = self.server.cpu_s()
        time.sleep(IDLE_S)
        used_s = self.server.cpu_s() - before_s
        support.report("during a pause: the neighbour's median and worst, in ms, and the server's "
                       f"CPU time in {IDLE_S} s", [round(1000 * s, 2)
                                                   for s in (median_s, worst_s, used_s)])
        self.assertLess(used_s, 0.1 * IDLE_S)

    def restart(self):
        self.server.kill()
        time.sleep(0.2)
        self.server.start()


if __name__ == "__main__":
    support.main()
