// Waiting for locks: wake-ups across mounts, signals, circles, lost events.
#include <signal.h>

#include <atomic>
#include <thread>

#include "tests/mount/lock_support.h"

namespace prism::mount {
namespace {

constexpr int kStillMs = 150;  // what has not happened by then waits

TEST_F(LockTest, FcntlWaitsForTheOtherMount) {
  ASSERT_EQ(Fcntl(here_, F_SETLK, F_WRLCK, 0, 5), 0);
  Process waiter([&] { return Fcntl(there_, F_SETLKW, F_WRLCK, 4, 4); });
  EXPECT_FALSE(waiter.done(kStillMs));
  EXPECT_EQ(Fcntl(here_, F_SETLK, F_UNLCK, 0, 4), 0);
  EXPECT_FALSE(waiter.done(kStillMs));
  EXPECT_EQ(Fcntl(here_, F_SETLK, F_UNLCK, 4, 1), 0);
  EXPECT_EQ(waiter.Result(), 0);
  EXPECT_EQ(Fcntl(here_, F_SETLK, F_RDLCK, 7, 1), EAGAIN);
}

TEST_F(LockTest, FlockWaitsForTheOtherMount) {
  ASSERT_EQ(Flock(here_, LOCK_EX), 0);
  Process first([&] { return Flock(there_, LOCK_SH); });
  Process second([&] { return Flock(Open(1), LOCK_SH); });
  EXPECT_FALSE(first.done(kStillMs));
  EXPECT_FALSE(second.done());
  EXPECT_EQ(Flock(here_, LOCK_UN), 0);  // closing would not do: the children have it too
  EXPECT_EQ(first.Result(), 0);
  EXPECT_EQ(second.Result(), 0);
}

TEST_F(LockTest, ManyMayWaitAndTheMountServesOn) {
  ASSERT_EQ(Fcntl(here_, F_SETLK, F_WRLCK), 0);
  std::vector<std::unique_ptr<Process>> waiters;
  for (int i = 0; i < 12; ++i)  // more than the mount has threads
    waiters.push_back(
        std::make_unique<Process>([&, i] { return Fcntl(there_, F_SETLKW, F_WRLCK, i, 1); }));
  EXPECT_FALSE(waiters.back()->done(kStillMs));
  WriteFile(Path("g", 1), "served");
  EXPECT_EQ(ReadFile(Path("g", 1)), "served");
  EXPECT_EQ(Fcntl(here_, F_SETLK, F_UNLCK), 0);
  for (const auto& waiter : waiters) EXPECT_EQ(waiter->Result(), 0);
}

void OnSignal(int) {}

TEST_F(LockTest, ASignalInterruptsWaiting) {
  ASSERT_EQ(Fcntl(here_, F_SETLK, F_WRLCK), 0);
  ASSERT_EQ(Flock(here_, LOCK_EX), 0);
  auto interruptible = [](const std::function<int()>& wait) {
    struct sigaction action = {};
    action.sa_handler = OnSignal;  // without SA_RESTART
    sigaction(SIGUSR1, &action, nullptr);
    return wait();
  };
  Process fcntl_waiter(
      [&] { return interruptible([&] { return Fcntl(there_, F_SETLKW, F_WRLCK); }); });
  Process flock_waiter([&] { return interruptible([&] { return Flock(there_, LOCK_EX); }); });
  EXPECT_FALSE(fcntl_waiter.done(kStillMs));
  EXPECT_FALSE(flock_waiter.done());
  fcntl_waiter.Signal(SIGUSR1);
  flock_waiter.Signal(SIGUSR1);
  EXPECT_EQ(fcntl_waiter.Result(), EINTR);
  EXPECT_EQ(flock_waiter.Result(), EINTR);
  // Nothing was left in the queue that would take it now.
  EXPECT_EQ(Fcntl(here_, F_SETLK, F_UNLCK), 0);
  EXPECT_EQ(Flock(here_, LOCK_UN), 0);
  EXPECT_EQ(Fcntl(here_, F_SETLK, F_WRLCK), 0);
  EXPECT_EQ(Flock(here_, LOCK_EX | LOCK_NB), 0);
  EXPECT_EQ(file_system(1).Calls("CancelLock"), 2u);
}

TEST_F(LockTest, AKilledWaiterLeavesTheQueue) {
  ASSERT_EQ(Fcntl(here_, F_SETLK, F_WRLCK), 0);
  Process waiter([&] { return Fcntl(there_, F_SETLKW, F_WRLCK); });
  EXPECT_FALSE(waiter.done(kStillMs));
  waiter.Kill();
  EXPECT_EQ(Fcntl(here_, F_SETLK, F_UNLCK), 0);
  EXPECT_TRUE(Eventually([&] { return Fcntl(here_, F_SETLK, F_WRLCK) == 0; }));
}

TEST_F(LockTest, AKilledHolderWakesWhoWaits) {
  Process holder([&] { return Flock(Open(0), LOCK_EX); });
  ASSERT_EQ(holder.Result(), 0);
  Process waiter([&] { return Flock(there_, LOCK_EX); });
  EXPECT_FALSE(waiter.done(kStillMs));
  holder.Kill();
  EXPECT_EQ(waiter.Result(), 0);
}

TEST_F(LockTest, ACircleThroughTwoMountsIsADeadlock) {
  WriteFile(Path("g"), "");
  const int other_here = Open(0, "g");
  ASSERT_EQ(Fcntl(here_, F_SETLK, F_WRLCK), 0);
  const int other_there = Open(1, "g");
  Process second([&] {
    if (Fcntl(other_there, F_SETLK, F_WRLCK) != 0) return -2;
    return Fcntl(there_, F_SETLKW, F_WRLCK);
  });
  EXPECT_FALSE(second.done(kStillMs));
  EXPECT_EQ(Fcntl(other_here, F_SETLKW, F_WRLCK), EDEADLK);
  EXPECT_EQ(Fcntl(here_, F_SETLK, F_UNLCK), 0);
  EXPECT_EQ(second.Result(), 0);
  close(other_here);
  close(other_there);
}

TEST_F(LockTest, AGrantThatWasNotHeardIsAskedFor) {
  ASSERT_EQ(Fcntl(here_, F_SETLK, F_WRLCK), 0);
  Process waiter([&] { return Fcntl(there_, F_SETLKW, F_WRLCK); });
  Process another([&] { return Fcntl(there_, F_SETLKW, F_WRLCK); });
  EXPECT_FALSE(waiter.done(kStillMs));
  file_system(1).Mute();
  EXPECT_EQ(Fcntl(here_, F_SETLK, F_UNLCK), 0);
  EXPECT_FALSE(waiter.done(kStillMs));
  EXPECT_FALSE(another.done());
  file_system(1).Inject({.kind = fs::Event::Kind::kAll});
  EXPECT_TRUE(Eventually([&] { return waiter.done() || another.done(); }));
  EXPECT_NE(waiter.done(kStillMs), another.done());
}

TEST_F(LockTest, AMountThatEndsAnswersWhoWaits) {
  ASSERT_EQ(Fcntl(here_, F_SETLK, F_WRLCK), 0);
  Process waiter([&] { return Fcntl(there_, F_SETLKW, F_WRLCK); });
  EXPECT_FALSE(waiter.done(kStillMs));
  session(1).Abort();
  EXPECT_GT(waiter.Result(), 0);
  ASSERT_TRUE(session(1).WaitEnded(std::chrono::seconds(5)));
  DropMount(1);
  EXPECT_EQ(Fcntl(here_, F_SETLK, F_RDLCK), 0);
}

// A counter in a file, read and written under a lock by processes of both mounts.
TEST_F(LockTest, ALockMakesReadAndWriteOneStep) {
  constexpr int kProcesses = 4, kSteps = 50;
  auto count = [&](int fd) {
    for (int i = 0; i < kSteps; ++i) {
      if (const int error = Fcntl(fd, F_SETLKW, F_WRLCK); error != 0) return error;
      uint64_t value = 0;
      if (pread(fd, &value, sizeof value, 0) != sizeof value) return 201;
      ++value;
      if (pwrite(fd, &value, sizeof value, 0) != sizeof value) return 202;
      if (Fcntl(fd, F_SETLK, F_UNLCK) != 0) return 203;
    }
    return 0;
  };
  WriteFile(Path("counter"), std::string(8, '\0'));
  std::vector<std::unique_ptr<Process>> processes;
  for (int i = 0; i < kProcesses; ++i)
    processes.push_back(std::make_unique<Process>([&, i] {
      // What is read must come from the server, not from a cache that hears of changes later.
      const int fd = open(Path("counter", static_cast<size_t>(i % 2)).c_str(), O_RDWR | O_DIRECT);
      return fd < 0 ? errno : count(fd);
    }));
  for (const auto& process : processes) EXPECT_EQ(process->Result(), 0);
  uint64_t value = 0;
  ReadFile(Path("counter")).copy(reinterpret_cast<char*>(&value), sizeof value);
  EXPECT_EQ(value, uint64_t{kProcesses} * kSteps);
}

}  // namespace
}  // namespace prism::mount
