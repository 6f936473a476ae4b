"""A guest whose root file system is a clone of a Debian root: with systemd up to multi-user.target,
and with a small init."""
import support

SYSTEMD_JOB = """
set -e
systemctl is-active multi-user.target
systemctl is-system-running --wait || {
  systemctl --failed --no-legend --plain
  systemctl list-jobs --no-legend
  journalctl -b -p warning --no-pager | tail -n 40
  exit 1
}
dpkg -l | grep -c '^ii'
findmnt -no FSTYPE /
echo "from systemd" > /root/written
mkdir /root/directory
ln /root/written /root/directory/hard
useradd --create-home guest
su guest -c 'echo mine > ~/note'
[ "$(stat -c %U:%a /home/guest/note)" = guest:644 ]
echo done
"""
SMALL_JOB = """
set -e
[ "$(cat /root/written)" = "from systemd" ]
dpkg --verify coreutils dpkg
dpkg -l | grep -c '^ii'
grep -c '^guest:' /etc/passwd
echo "from a small init" >> /root/written
echo done
"""


class RootTest(support.GuestTest):
    root_type = "nfs"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.root = support.debian_root()
        cls.server.prism("import", "-q", f"dir:{cls.root}", "base", timeout_s=300)
        cls.server.prism("clone", "base", "vm-1", "vm-2", "vm-3", "vm-4")
        cls.packages = support.run("dpkg", "--root", cls.root, "-l").count("\nii ")

    def test_boot_and_work(self):
        booted = self.run_guest("--mode", "root", "--job", SYSTEMD_JOB, "vm-1")
        self.assertEqual(booted.output.split(),
                         ["active", "running", str(self.packages), self.root_type, "done"])
        self.assertIn("reboot: Power down", booted.console)
        support.report("boot to multi-user.target (systemd), s", booted.seconds("ready"))
        small = self.run_guest("--mode", "root", "--init", "small", "--job", SMALL_JOB, "vm-1")
        self.assertEqual(small.output.split(), [str(self.packages), "1", "done"])
        self.assertIn("reboot: Power down", small.console)
        support.report("boot to a job (small init), s", small.seconds("ready"))

        exported = self.export("vm-1")
        self.assertEqual((exported / "root/written").read_text(),
                         "from systemd\nfrom a small init\n")
        self.assertEqual((exported / "root/directory/hard").stat().st_ino,
                         (exported / "root/written").stat().st_ino)
        self.assertEqual((exported / "home/guest/note").read_text(), "mine\n")
        # Nothing of the tool is in the clone.
        self.assertFalse((exported / "prism").exists() or (exported / "run/prism").exists())
        for untouched in ("base", "vm-2"):
            self.assert_same_tree(self.root, self.export(untouched), ["-t"])


if __name__ == "__main__":
    support.main()
