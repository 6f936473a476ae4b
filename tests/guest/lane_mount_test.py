"""As mount_test.py, over the lane: a guest without any network mounts a clone by prism-mount."""
import mount_test
import support


class LaneMountTest(mount_test.MountTest):
    guest_options = ("--lane", "shm")


class InterruptTest(support.GuestTest):
    """A guest with an IOMMU waits for interrupts instead of polling."""
    guest_options = ("--lane", "shm", "--wait", "irq")

    def test_interrupts(self):
        self.server.prism("create", "vm-1")
        done = self.run_guest("--job", """
            set -e
            for i in $(seq 50); do dd if=/bin/busybox of=$i bs=64k conv=fsync 2> /dev/null; done
            ls | wc -l
            grep -c vfio-msix /proc/interrupts
            awk '/vfio-msix/ { sum += $2 } END { print sum }' /proc/interrupts
            """, "vm-1")
        files, vectors, interrupts = map(int, done.output.split())
        self.assertEqual(files, 50)
        self.assertGreater(vectors, 1)
        # A wait for the disk is too long to spin.
        self.assertGreater(interrupts, 25)
        support.report("interrupts", interrupts)


if __name__ == "__main__":
    support.main()
