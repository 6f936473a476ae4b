"""A guest with Debian's lock daemons mounts a volume without `nolock`: its locks and those
of a FUSE mount on the host exclude each other."""
import errno
import fcntl
import os
import socket
import subprocess
import time
import unittest

import support

# Small steps, one line for each; the host answers by making a file.
JOB = """
set -e
hostname vm-1
mkdir -p /run/rpcbind
rpcbind
rpc.statd --no-notify
options=vers=3,proto=tcp,port=PORT,mountport=PORT,mountproto=tcp,noac,addr=10.0.2.2
/run/prism/busybox mount -t nfs -o $options 10.0.2.2:/shared /mnt
cd /mnt
wait_for() {
  for try in $(seq 600); do [ ! -e "$1" ] || return 0; sleep 0.1; done
  echo "the host never said $1"
  exit 1
}
flock -x file sh -c '
  echo locked by the guest
  for try in $(seq 600); do [ ! -e release ] || exit 0; sleep 0.1; done; exit 1'
echo released by the guest
wait_for held
if flock -n -x file true; then echo "locked twice"; exit 1; fi
echo refused to the guest
: > refused
flock -w 60 -x file echo locked again by the guest
echo done
"""


def is_reachable(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class LockTest(support.GuestTest):
    server_options = ("--portmap",)

    @classmethod
    def setUpClass(cls):
        cls.portmapper = None
        if not is_reachable(111):
            # Always on 127.0.0.1 too; naming that itself makes Debian 12's crash.
            cls.portmapper = subprocess.Popen(["rpcbind", "-f", "-h", "127.0.0.2"],
                                              stdin=subprocess.DEVNULL)
            cls.addClassCleanup(cls.end_portmapper)
            while not is_reachable(111):
                if cls.portmapper.poll() is not None:
                    raise unittest.SkipTest("rpcbind does not run here")
                time.sleep(0.05)
        super().setUpClass()

    @classmethod
    def end_portmapper(cls):
        cls.portmapper.terminate()
        cls.portmapper.wait()

    def setUp(self):
        self.server.prism("import", "-q", f"dir:{support.debian_root()}", "base", timeout_s=300)
        self.server.prism("clone", "base", "vm-1")
        self.server.prism("create", "shared")
        self.server.prism("access", "shared", "127.0.0.1(insecure)")
        self.mount = self.directory / "mnt"
        self.mount.mkdir()
        self.server.prism("mount", "shared", str(self.mount))
        self.addCleanup(self.server.prism, "umount", str(self.mount))

    def test_guest_and_host(self):
        port = self.server.nfs.rpartition(":")[2]
        (self.mount / "file").write_text("locked")
        guest = self.start_guest("--mode", "root", "--init", "small",
                                 "--job", JOB.replace("PORT", port), "vm-1")
        with open(self.mount / "file", "r+", encoding="utf-8") as file:
            self.expect(guest, "locked by the guest")
            self.assertFalse(self.try_lock(file))
            (self.mount / "release").touch()
            self.expect(guest, "released by the guest")
            self.assertTrue(self.try_lock(file))
            (self.mount / "held").touch()
            self.expect(guest, "refused to the guest")
            fcntl.lockf(file, fcntl.LOCK_UN)
            self.expect(guest, "locked again by the guest")
            self.expect(guest, "done")
        self.assertEqual(guest.wait(), 0)

    def expect(self, guest, line):
        self.assertEqual(guest.stdout.readline().strip(), line)

    def try_lock(self, file):
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            return False


if __name__ == "__main__":
    support.main()
