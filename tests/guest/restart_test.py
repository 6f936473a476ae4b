"""The server is killed in the middle of a guest's work, and started again on the same port: the
guest waits (a hard mount), goes on, and everything that it did is there, once."""
import time

import support

WORKERS = 8
ROUNDS = 25  # of each
KILLS_IN_ROUNDS = 4
PARTS = 3
PART_BYTES = 40 << 20
UNIT_BYTES = 8 << 20
# First many requests at once, so that every kill meets some that are done and not answered: all are
# such that sending them again fails, and with `set -e` the job.
# Then direct writes of 40 MiB, each hundreds of unstable WRITEs and one COMMIT in the end, with
# nothing beside them that would make them durable: a kill in the middle loses what was written, and
# only the server's new verifier makes the guest send it again.
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
for child in $children; do wait $child; done

for part in $(seq {PARTS}); do
  seq $part 2000000 | head -c {UNIT_BYTES} > /tmp/unit
  cat /tmp/unit /tmp/unit /tmp/unit /tmp/unit /tmp/unit > /tmp/data
  echo "part $part"
  dd if=/tmp/data of=parts/$part bs={PART_BYTES} oflag=direct 2> /dev/null
  cmp /tmp/data parts/$part
done
sync
echo 3 > /proc/sys/vm/drop_caches
cat parts/* | wc -c
echo verified
"""


def part(number):
    unit = b"".join(b"%d\n" % i for i in range(number, UNIT_BYTES // 6))[:UNIT_BYTES]
    return unit * (PART_BYTES // UNIT_BYTES)


class RestartTest(support.GuestTest):
    guest_options = ("--mount-options", "nolock,wsize=65536")
    # Nothing but a COMMIT makes unstable writes durable meanwhile.
    server_options = ("--flush-interval-ms", "60000", "--checkpoint-interval-ms", "60000")

    def test_killed_servers(self):
        self.server.prism("create", "vm-1")
        guest = self.start_guest("--job", JOB, "vm-1")
        rounds = WORKERS * ROUNDS
        kill_at = [kill * rounds // (KILLS_IN_ROUNDS + 1) for kill in range(1, KILLS_IN_ROUNDS + 1)]
        kill_at += [rounds + part for part in range(1, PARTS + 1)]
        lines = []
        for line in guest.stdout:
            lines.append(line.strip())
            if len(lines) in kill_at:
                # Of the direct write, about a second, some has arrived by then.
                time.sleep(0.3 if lines[-1].startswith("part") else 0)
                self.server.kill()
                time.sleep(0.2)
                self.server.start()
        self.assertEqual(guest.wait(), 0, "\n".join(lines[-20:]))

        every = [(worker, i) for worker in range(1, WORKERS + 1) for i in range(1, ROUNDS + 1)]
        self.assertEqual(sorted(lines[:rounds]), sorted(f"round {w} {i}" for w, i in every))
        self.assertEqual(lines[rounds:], [f"part {number}" for number in range(1, PARTS + 1)] +
                         [str(PARTS * PART_BYTES), "verified"])
        exported = self.export("vm-1")
        for number in range(1, PARTS + 1):
            self.assertTrue((exported / f"parts/{number}").read_bytes() == part(number), number)
        names = {f"{worker}/{kind}-{i}" for kind in ("link", "soft") for worker, i in every}
        self.assertEqual({str(path.relative_to(exported / "names"))
                          for path in (exported / "names").glob("*/*")}, names)
        for worker, i in every:
            self.assertEqual((exported / f"names/{worker}/link-{i}").read_text(),
                             f"content of {i}\n")


if __name__ == "__main__":
    support.main()
