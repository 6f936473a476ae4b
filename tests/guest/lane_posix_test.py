"""The POSIX suite on a volume that a guest has mounted over the lane, run from that volume."""
import os
import shutil

import support

POSIX_SUITE = os.environ["POSIX_SUITE"]
# Compares the server's clock with the caller's, which under emulation is another one.
TWO_CLOCKS = "AttributesTest.TimesAreSetToTheNanosecond"


class LanePosixTest(support.GuestTest):
    guest_options = ("--lane", "shm")

    def test_posix_suite(self):
        tree = self.directory / "tree"
        tree.mkdir()
        shutil.copy(POSIX_SUITE, tree / "posix_suite")
        (tree / "tmp").mkdir()
        self.server.prism("import", "-q", f"dir:{tree}", "vm-1")
        done = self.run_guest("--memory-mib", "1024",
                              "--job", "./posix_suite --dir /mnt/tmp --gtest_brief=1 "
                              f"--gtest_filter=-{TWO_CLOCKS}", "vm-1")
        self.assertIn("[  PASSED  ]", done.output)
        self.assertNotIn("FAILED", done.output)
        support.report("boot to the mount, s", done.seconds("mounted"))
        support.report("suite, s", round(done.seconds("off") - done.seconds("ready"), 2))


if __name__ == "__main__":
    support.main()
