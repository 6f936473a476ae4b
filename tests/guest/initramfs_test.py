"""A Debian image boots from a volume over the lane with nothing of tools/guest: its own initramfs,
made by initramfs-tools with what `cmake --install --component guest` puts there, and what `prism
attach` prints for QEMU and for the kernel's command line."""
import json
import os
import shutil
import sys

import support

sys.path.insert(0, str(support.SOURCE / "tools/guest.d"))
import kernel  # noqa: E402
import machine  # noqa: E402

# What the image does by itself once it is up; it then powers off.
CHECK = """
{
  systemctl is-system-running --wait || systemctl --failed --no-legend --plain
  findmnt -no FSTYPE,SOURCE /
  [ -d /sys/class/net ] && ls /sys/class/net
  uname -r
} > /root/said 2>&1
"""
UNIT = """[Unit]
Description=Says how the boot went
After=multi-user.target
SuccessAction=poweroff
FailureAction=poweroff
[Service]
Type=exec
ExecStart=/bin/sh /root/check
"""


class InitramfsTest(support.GuestTest):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cache = kernel.cache_directory()
        with kernel.locked(cache):
            cls.kernel = kernel.find(None, cache)
        cls.root = cls.directory / "root"
        support.run("cp", "-a", support.debian_root(), cls.root)
        modules = cls.root / "lib/modules" / cls.kernel.version
        modules.parent.mkdir(exist_ok=True)
        shutil.copytree(cls.kernel.tree / "lib/modules" / cls.kernel.version, modules)
        # Of the kernel's package, the cache does not keep this; mkinitramfs wants to know it.
        (cls.root / "boot" / f"config-{cls.kernel.version}").write_text("CONFIG_RD_GZIP=y\n")
        support.run("cmake", "--install", os.environ["PRISM_BUILD_DIR"], "--component", "guest",
                    env={**os.environ, "DESTDIR": str(cls.root)})

    def make_initramfs(self):
        """As the package of a kernel does when it is installed."""
        support.run("unshare", "--mount", "chroot", self.root, "mkinitramfs", "-o", "/boot/initrd",
                    self.kernel.version, timeout_s=support.PATIENCE_S)
        return self.root / "boot/initrd"

    def add_check(self):
        units = self.root / "etc/systemd/system"
        (self.root / "root/check").write_text(CHECK)
        (units / "check.service").write_text(UNIT)
        (units / "multi-user.target.wants").mkdir(exist_ok=True)
        (units / "multi-user.target.wants/check.service").symlink_to("../check.service")

    def start_qemu(self, initramfs, attached):
        console = self.directory / "console"
        guest = support.Guest(
            ["setpriv", "--pdeathsig", "KILL", "timeout", str(support.PATIENCE_S),
             "qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-machine", "q35", "-m", "768",
             "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
             "-serial", f"file:{console}", "-kernel", str(self.kernel.vmlinux),
             "-initrd", str(initramfs), *attached["qemu"],
             "-append", f"{machine.COMMAND_LINE} quiet {attached['kernel']}"], console)
        self.addCleanup(guest.end)
        self.last_guest = guest
        return guest

    def test_an_image_boots(self):
        initramfs = self.make_initramfs()
        self.add_check()
        self.server.prism("import", "-q", f"dir:{self.root}", "vm-1", timeout_s=300)
        attached = json.loads(self.server.prism("--json", "attach", "machine", "--volume", "vm-1"))
        guest = self.start_qemu(initramfs, attached)
        self.assertEqual(guest.wait(), 0)
        console = guest.console.read_text(errors="replace")
        self.assertIn("reboot: Power down", console)
        said = (self.export("vm-1") / "root/said").read_text().split()
        self.assertEqual(said, ["running", "fuse.prism", "prism:vm-1", "lo", self.kernel.version])


if __name__ == "__main__":
    support.main()
