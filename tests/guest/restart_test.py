"""The server is killed in the middle of a guest's work, and started again on the same port: the
guest waits (a hard mount), goes on, and everything that it did is there, once."""
import hashlib
import subprocess
import threading
import time

import support

KILLS = 3
ROUNDS = 150
# Every operation that a lost reply would make fail when it is sent again, with `set -e`; and beside
# it large unstable writes, which the server may forget only before their COMMIT.
JOB = f"""
set -e
mkdir names
seq 1 4000000 | head -c 25000000 > large &
writer=$!
i=0
while [ $i -lt {ROUNDS} ]; do
  i=$((i + 1))
  mkdir names/dir-$i
  echo "content of $i" > names/dir-$i/new
  mv names/dir-$i/new names/file-$i
  ln names/file-$i names/link-$i
  ln -s file-$i names/soft-$i
  rm names/file-$i
  rmdir names/dir-$i
  echo "round $i"
done
wait $writer
[ "$(cat names/soft-1 2> /dev/null)" = "" ]
[ "$(ls names | wc -l)" = {2 * ROUNDS} ]
sync
echo 3 > /proc/sys/vm/drop_caches
sha256sum < large
echo verified
"""


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
        for line in guest.stdout:
            lines.append(line.strip())
            if lines[-1] in [f"round {(kill + 1) * ROUNDS // (KILLS + 1)}" for kill in range(KILLS)]:
                self.server.kill()
                time.sleep(0.2)
                self.server.start()
        guest.wait()
        reader.join()
        self.assertEqual(guest.returncode, 0, "\n".join(lines[-20:] + console))

        large = b"".join(b"%d\n" % i for i in range(1, 4000001))[:25000000]
        self.assertEqual(lines[:ROUNDS], [f"round {i}" for i in range(1, ROUNDS + 1)])
        self.assertEqual(lines[ROUNDS:], [f"{hashlib.sha256(large).hexdigest()}  -", "verified"])
        exported = self.export("vm-1")
        self.assertEqual((exported / "large").read_bytes(), large)
        names = {f"{kind}-{i}" for kind in ("link", "soft") for i in range(1, ROUNDS + 1)}
        self.assertEqual({path.name for path in (exported / "names").iterdir()}, names)
        for i in range(1, ROUNDS + 1):
            self.assertEqual((exported / f"names/link-{i}").read_text(), f"content of {i}\n")

    def end(self, guest):
        if guest.poll() is None:
            guest.terminate()
            guest.wait()
        guest.stdout.close()
        guest.stderr.close()


if __name__ == "__main__":
    support.main()
