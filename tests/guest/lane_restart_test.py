"""As restart_test.py, over the lane: QEMU cannot connect its device again, so what it shares with the
server is kept while no server runs, and the guest's mount goes on with the next one."""
import restart_test
import support


class LaneRestartTest(restart_test.RestartTest):
    guest_options = ("--lane", "shm")


if __name__ == "__main__":
    support.main()
