"""The server is killed in the middle of a guest's work, and started again on the same port: the
guest waits (a hard mount), goes on, and everything that it did is there, once."""
import subprocess
import threading
import time

import support

KILLS = 5
WORKERS = 8
ROUNDS = 25  # of each
PARTS = 24
PART_BYTES = 2000000
# Many at once, so that every kill meets requests that are done and not answered: all of them are
# such that sending them again fails, and with `set -e` the job. Beside them, unstable writes, which
# the server may forget only before their COMMIT.
JOB = f"""
set -e
work() {{
  mkdir names/$1
  i=0
  while [ $i -lt {ROUNDS} ]; do
    i=$((i + 1))
    mkdir names/$1/dir-$i
    echo "content of $i" > names/$1/dir-$i/new
    mv names/$1/dir-$i/new names/$1/file-$i
    ln names/$1/file-$i names/$1/link-$i
    ln -s file-$i names/$1/soft-$i
    rm names/$1/file-$i
    rmdir names/$1/dir-$i
    echo "round $1 $i"
  done
}}
mkdir names parts
children=
for worker in $(seq {WORKERS}); do
  work $worker &
  children="$children $!"
done
for part in $(seq {PARTS}); do
  seq $part 1000000 | head -c {PART_BYTES} > parts/$part
done
for child in $children; do wait $child; done
sync
echo 3 > /proc/sys/vm/drop_caches
cat parts/* | wc -c
echo verified
"""


def part(number):
    data = b"".join(b"%d\n" % i for i in range(number, PART_BYTES // 4))
    return data[:PART_BYTES]


class RestartTest(support.GuestTest):

    def test_killed_servers(self):
        self.server.prism("create", "vm-1")
        guest = subprocess.Popen(
            self.server.guest("--timeout-s", "200", "--job", JOB, "vm-1"),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(self.end, guest)
        console = []
        reader = threading.Thread(target=lambda: console.append(guest.stderr.read()))
        reader.start()
        lines = []
        kills = 0
        for line in guest.stdout:
            lines.append(line.strip())
            if len(lines) >= (kills + 1) * WORKERS * ROUNDS // (KILLS + 1) and kills < KILLS:
                self.server.kill()
                time.sleep(0.2)
                self.server.start()
                kills += 1
        guest.wait()
        reader.join()
        self.assertEqual(guest.returncode, 0, "\n".join(lines[-20:] + console))

        self.assertEqual(kills, KILLS)
        every = [(worker, i) for worker in range(1, WORKERS + 1) for i in range(1, ROUNDS + 1)]
        self.assertEqual(sorted(lines[:-2]), sorted(f"round {worker} {i}" for worker, i in every))
        self.assertEqual(lines[-2:], [str(PARTS * PART_BYTES), "verified"])
        exported = self.export("vm-1")
        for number in range(1, PARTS + 1):
            self.assertTrue((exported / f"parts/{number}").read_bytes() == part(number), number)
        names = {f"{worker}/{kind}-{i}" for kind in ("link", "soft") for worker, i in every}
        self.assertEqual({str(path.relative_to(exported / "names"))
                          for path in (exported / "names").glob("*/*")}, names)
        for worker, i in every:
            self.assertEqual((exported / f"names/{worker}/link-{i}").read_text(),
                             f"content of {i}\n")

    def end(self, guest):
        if guest.poll() is None:
            guest.terminate()
            guest.wait()
        guest.stdout.close()
        guest.stderr.close()


if __name__ == "__main__":
    support.main()
