"""A guest mounts a clone and works in it; the clone holds exactly that, and nothing else does."""
import hashlib
import os
import pathlib

import support

HERE = pathlib.Path(__file__).resolve().parent


def make_base(top):
    (top / "etc").mkdir(parents=True)
    (top / "lib").mkdir()
    for name in ("a", "b"):
        (top / "share" / name).mkdir(parents=True)
        (top / "share" / name / "file").write_text(name)
    (top / "etc/motd").write_text("welcome to the base\n")
    (top / "etc/hosts").write_text("127.0.0.1 localhost\n")
    (top / "lib/large").write_bytes(numbers(1 << 20))
    (top / "lib/alias").symlink_to("large")
    os.link(top / "etc/motd", top / "share/motd")


def numbers(size_bytes):
    """What `seq` prints."""
    return b"".join(b"%d\n" % i for i in range(1, 1000001))[:size_bytes]


class MountTest(support.GuestTest):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.base = cls.directory / "base"
        make_base(cls.base)
        cls.server.prism("import", f"dir:{cls.base}", "base")
        cls.server.prism("clone", "base", "vm-1", "vm-2", "vm-3")

    def test_work_in_a_clone(self):
        sums = {"LARGE_SHA256": hashlib.sha256(numbers(1 << 20)).hexdigest(),
                "CONTENT_SHA256": hashlib.sha256(numbers(1 << 22)).hexdigest()}
        expected = self.directory / "expected"
        support.run("cp", "-a", self.base, expected)
        support.run("sh", HERE / "work.sh", cwd=expected, env={**os.environ, **sums})

        job = self.directory / "job"
        job.write_text("".join(f"{name}={value}\n" for name, value in sums.items()) +
                       (HERE / "work.sh").read_text())
        done = self.run_guest("--job-file", str(job), "vm-1")
        self.assertEqual(done.output, "work done\n")
        support.report("boot to the mount, s", done.seconds("mounted"))
        support.report("work, s", round(done.seconds("off") - done.seconds("ready"), 2))

        self.assert_same_tree(expected, self.export("vm-1"), [])
        moved = self.directory / "exported-vm-1" / "work" / "moved"
        self.assertEqual(moved.stat().st_mtime_ns, (expected / "work/moved").stat().st_mtime_ns)
        # The others are what was imported, times included.
        for untouched in ("base", "vm-2"):
            self.assert_same_tree(self.base, self.export(untouched), ["-t"])

    def test_the_tool_says_how_it_went(self):
        self.assertEqual(self.run_guest("--job", "echo out; exit 7", "vm-3", status=7).output,
                         "out\n")
        late = self.run_guest("--job", "sleep 60", "--timeout-s", "6", "vm-3", status=124)
        self.assertIn("not done after 6 s", late.console)
        absent = self.run_guest("--job", "true", "vm-9", status=125)
        self.assertIn("vm-9", absent.console)


if __name__ == "__main__":
    support.main()
