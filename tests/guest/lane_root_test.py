"""As root_test.py, over the lane: a guest without any network whose root file system prism-mount
serves. Then it is killed, and comes back."""
import os
import pathlib
import signal

import root_test
import support

# Nothing is synced: what a program has been told is written must outlive the machine.
WORK = """
set -e
dd if=/bin/bash of=/root/bash bs=64k 2> /dev/null
for i in $(seq 300); do echo $i > /root/file-$i; done
mv /root/file-7 /root/renamed
sha256sum < /root/bash
echo written
exec sleep 1000
"""
CHECK = """
set -e
cat $(seq -f /root/file-%.0f 300 | grep -v 'file-7$') /root/renamed | wc -l
sha256sum < /root/bash
echo again >> /root/renamed
echo done
"""
# As systemd-shutdown does, long after the last question; programs and the shell are in memory.
STOPPED = """
set -e
mount=$(/run/prism/busybox pidof @rism-mount)
[ ! -e /etc/initrd-release ]
cat > /run/ask << 'END'
b=/run/prism/busybox
$b sleep 12
{ $b sleep 5; kill -CONT $1; } &
kill -STOP $1
read before rest < /proc/uptime
[ ! -e /etc/initrd-release ]
read after rest < /proc/uptime
[ $((${after%.*} - ${before%.*})) -ge 4 ] || echo "stopped, not asked"
wait
END
cd /run
exec /run/prism/busybox sh /run/ask $mount
"""


class LaneRootTest(root_test.RootTest):
    guest_options = ("--lane", "shm")
    root_type = "fuse.prism"

    def test_killed_and_back(self):
        guest = self.start_guest("--mode", "root", "--init", "small", "--job", WORK, "vm-3")
        checksum = guest.stdout.readline()
        self.assertEqual(guest.stdout.readline(), "written\n")
        qemu = pathlib.Path(f"/proc/{guest.pid}/task/{guest.pid}/children").read_text().split()
        self.assertEqual(len(qemu), 1)
        os.kill(int(qemu[0]), signal.SIGKILL)
        self.assertEqual(guest.wait(), 125)  # the guest ended before its job
        back = self.run_guest("--mode", "root", "--init", "small", "--job", CHECK, "vm-3")
        self.assertEqual(back.output, f"300\n{checksum}done\n")
        exported = self.export("vm-3")
        self.assertEqual((exported / "root/renamed").read_text(), "7\nagain\n")

    def test_a_stopped_mount_is_not_asked_what_systemd_asks(self):
        done = self.run_guest("--mode", "root", "--init", "small", "--job", STOPPED, "vm-4")
        self.assertEqual(done.output, "stopped, not asked\n")


if __name__ == "__main__":
    support.main()
