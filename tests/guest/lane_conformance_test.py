"""The conformance suite in a guest, over the lane: each test mounts an empty volume of its own there,
as prism-mount does, and talks to the mount. The host has made the volumes before."""
import os
import pathlib
import re

import support

CONFORMANCE = pathlib.Path(os.environ["CONFORMANCE"])
# Claims about who is in between, not about the lane.
NOT_HERE = (
    # Linux 6.1 with the BPF LSM lets anybody set security.* where the file system does not object.
    "XattrTest.TrustedAndSecurityAreRoots",
    # Asks at once what a guest that polls hears of within 50 ms: that another mount has unlinked.
    "OrphanTest.EveryClientThatLivesHoldsWhatAnyOfThemUnlinks",
)
# Without what is skipped; the status is in what is printed.
JOB = f"""{CONFORMANCE.name} --gtest_brief=1 --gtest_color=no --gtest_filter=-{":".join(NOT_HERE)} |
  grep -vE 'Skipped$|^this way to the volume has no' """ + """|| true"""


class LaneConformanceTest(support.GuestTest):

    def test_conformance_suite(self):
        # Listing needs neither root nor a device; a test is an indented line.
        tests = re.findall(r"^  \S", support.run(CONFORMANCE, "--gtest_list_tests"), re.MULTILINE)
        volumes = [f"test-{number}" for number in range(1, len(tests) + 1)]
        self.server.prism("create", "empty")
        self.server.prism("clone", "empty", *volumes)
        attach = [word for volume in volumes for word in ("--attach", volume)]
        done = self.run_guest("--lane", "shm", "--mode", "bare", "--memory-mib", "1024", *attach,
                              "--program", CONFORMANCE,
                              "--job", JOB, "empty")
        self.assertEqual(re.findall(r"FAILED  \] (\S+)", done.output), [],
                         support.lines_tail(done.output))
        passed = re.search(r"PASSED  \] (\d+) tests", done.output)
        self.assertTrue(passed, support.lines_tail(done.output))
        # A way to the volume lacks some features, but the most can be said: see the suite's README.
        self.assertGreater(int(passed.group(1)), len(tests) // 2)
        support.report("claims that hold", passed.group(1))
        support.report("claims that this way cannot say", len(tests) - int(passed.group(1)))
        support.report("suite, s", round(done.seconds("off") - done.seconds("ready"), 2))


if __name__ == "__main__":
    support.main()
