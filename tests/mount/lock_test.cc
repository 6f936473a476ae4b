// Locks of two mounts of one volume: who sees whom, and when locks go by themselves.
#include <sys/wait.h>

#include "tests/mount/lock_support.h"

namespace prism::mount {
namespace {

TEST_F(LockTest, FcntlLocksAreSeenByTheOtherMount) {
  EXPECT_EQ(Fcntl(here_, F_SETLK, F_WRLCK, 2, 4), 0);
  EXPECT_EQ(Fcntl(there_, F_SETLK, F_WRLCK, 5, 1), EAGAIN);
  EXPECT_EQ(Fcntl(there_, F_SETLK, F_RDLCK, 0, 0), EAGAIN);
  EXPECT_EQ(Fcntl(there_, F_SETLK, F_WRLCK, 6, 1), 0);
  EXPECT_EQ(Fcntl(here_, F_SETLK, F_RDLCK, 2, 4), 0);
  EXPECT_EQ(Fcntl(there_, F_SETLK, F_RDLCK, 0, 6), 0);
  EXPECT_EQ(Fcntl(here_, F_SETLK, F_WRLCK, 2, 1), EAGAIN);
}

TEST_F(LockTest, GetlkNamesTheHolder) {
  EXPECT_EQ(Getlk(there_).l_type, F_UNLCK);
  EXPECT_EQ(Fcntl(here_, F_SETLK, F_RDLCK, 2, 4), 0);
  struct flock lock = Getlk(there_);
  EXPECT_EQ(lock.l_type, F_RDLCK);
  EXPECT_EQ(lock.l_start, 2);
  EXPECT_EQ(lock.l_len, 4);
  EXPECT_EQ(lock.l_pid, 0);  // of another mount
  EXPECT_EQ(Getlk(there_, 0, 0, F_RDLCK).l_type, F_UNLCK);
  const pid_t parent = getpid();
  Process child([&] {
    struct flock seen = Getlk(here_);
    return seen.l_pid == parent && seen.l_type == F_RDLCK ? 0 : 1;
  });
  EXPECT_EQ(child.Result(), 0);
  EXPECT_EQ(Fcntl(here_, F_SETLK, F_WRLCK, 100, 0), 0);
  lock = Getlk(there_, 50);
  EXPECT_EQ(lock.l_type, F_WRLCK);
  EXPECT_EQ(lock.l_start, 100);
  EXPECT_EQ(lock.l_len, 0);
}

TEST_F(LockTest, FlocksAreSeenByTheOtherMount) {
  EXPECT_EQ(Flock(here_, LOCK_EX | LOCK_NB), 0);
  EXPECT_EQ(Flock(there_, LOCK_SH | LOCK_NB), EAGAIN);
  EXPECT_EQ(Flock(here_, LOCK_SH | LOCK_NB), 0);
  EXPECT_EQ(Flock(there_, LOCK_SH | LOCK_NB), 0);
  EXPECT_EQ(Flock(there_, LOCK_EX | LOCK_NB), EAGAIN);
  EXPECT_EQ(Flock(here_, LOCK_UN), 0);
  EXPECT_EQ(Flock(there_, LOCK_EX | LOCK_NB), 0);
  const int again = Open(1);
  EXPECT_EQ(Flock(again, LOCK_SH | LOCK_NB), EAGAIN);
  close(again);
}

TEST_F(LockTest, FcntlAndFlockDoNotSeeEachOther) {
  EXPECT_EQ(Fcntl(here_, F_SETLK, F_WRLCK), 0);
  EXPECT_EQ(Flock(there_, LOCK_EX | LOCK_NB), 0);
  const int again = Open(0);
  EXPECT_EQ(Flock(again, LOCK_SH | LOCK_NB), EAGAIN);
  close(again);
}

TEST_F(LockTest, ProcessesOfOneMountConflictToo) {
  EXPECT_EQ(Fcntl(here_, F_SETLK, F_WRLCK, 0, 5), 0);
  Process child([&] { return Fcntl(here_, F_SETLK, F_RDLCK, 4, 1); });
  EXPECT_EQ(child.Result(), EAGAIN);
  Process beside([&] { return Fcntl(here_, F_SETLK, F_WRLCK, 5, 1); });
  EXPECT_EQ(beside.Result(), 0);
  EXPECT_EQ(Fcntl(here_, F_SETLK, F_WRLCK, 5, 1), EAGAIN);
}

TEST_F(LockTest, ClosingAnyDescriptorGivesUpTheProcesssFcntlLocks) {
  EXPECT_EQ(Fcntl(here_, F_SETLK, F_WRLCK, 0, 5), 0);
  EXPECT_EQ(Fcntl(here_, F_SETLK, F_WRLCK, 8, 1), 0);
  close(Open(0, "f", O_RDONLY));
  EXPECT_EQ(Fcntl(there_, F_SETLK, F_WRLCK), 0);
  // Another process's close is none of its business.
  Process child([&] { return close(there_) == 0 ? 0 : errno; });
  EXPECT_EQ(child.Result(), 0);
  EXPECT_EQ(Fcntl(here_, F_SETLK, F_RDLCK), EAGAIN);
}

TEST_F(LockTest, AFlockLastsUntilTheLastDescriptorOfTheOpenFile) {
  const int first = Open(0);
  EXPECT_EQ(Flock(first, LOCK_EX | LOCK_NB), 0);
  const int second = dup(first);
  Process child([&] { return 0; });  // has both too
  EXPECT_EQ(child.Result(), 0);
  close(first);
  EXPECT_EQ(Flock(there_, LOCK_EX | LOCK_NB), EAGAIN);
  close(second);
  EXPECT_EQ(Flock(there_, LOCK_EX | LOCK_NB), EAGAIN);
  child.Kill();
  EXPECT_TRUE(Eventually([&] { return Flock(there_, LOCK_EX | LOCK_NB) == 0; }));
}

TEST_F(LockTest, OpenFileDescriptionLocksBelongToTheOpenFile) {
  const int first = Open(0), second = Open(0);
  EXPECT_EQ(Fcntl(first, F_OFD_SETLK, F_WRLCK, 0, 5), 0);
  EXPECT_EQ(Fcntl(second, F_OFD_SETLK, F_RDLCK, 0, 1), EAGAIN);
  EXPECT_EQ(Fcntl(there_, F_SETLK, F_RDLCK, 4, 1), EAGAIN);
  close(Open(0));  // is not theirs
  EXPECT_EQ(Fcntl(second, F_OFD_SETLK, F_RDLCK, 0, 1), EAGAIN);
  close(first);
  EXPECT_TRUE(Eventually([&] { return Fcntl(second, F_OFD_SETLK, F_WRLCK, 0, 5) == 0; }));
  close(second);
  EXPECT_TRUE(Eventually([&] { return Fcntl(there_, F_SETLK, F_WRLCK, 0, 0) == 0; }));
}

TEST_F(LockTest, AKilledProcesssLocksGo) {
  Process child([&] {
    const int fd = open(Path("f").c_str(), O_RDWR);
    return Fcntl(fd, F_SETLK, F_WRLCK, 0, 3) + Flock(fd, LOCK_EX | LOCK_NB);
  });
  ASSERT_EQ(child.Result(), 0);
  EXPECT_EQ(Fcntl(there_, F_SETLK, F_RDLCK), EAGAIN);
  EXPECT_EQ(Flock(there_, LOCK_SH | LOCK_NB), EAGAIN);
  child.Kill();
  EXPECT_TRUE(Eventually([&] { return Fcntl(there_, F_SETLK, F_WRLCK) == 0; }));
  EXPECT_TRUE(Eventually([&] { return Flock(there_, LOCK_EX | LOCK_NB) == 0; }));
}

TEST_F(LockTest, AFileWithoutLocksCostsNoCall) {
  close(Open(0));
  file_system().Reset();
  for (int i = 0; i < 10; ++i) close(Open(0));
  EXPECT_EQ(file_system().Calls("*"), 0u) << file_system().Summary();
  // Nor does one that another process has locked.
  Process child([&] { return Fcntl(here_, F_SETLK, F_WRLCK, 0, 3); });
  ASSERT_EQ(child.Result(), 0);
  for (int i = 0; i < 10; ++i) close(Open(0));
  EXPECT_EQ(file_system().Calls("Lock"), 1u);
  EXPECT_EQ(file_system().Calls("*"), 1u) << file_system().Summary();
  child.End();
  EXPECT_TRUE(Eventually([&] { return file_system().Calls("Unlock") == 1; }));
  EXPECT_EQ(file_system().Calls("*"), 2u) << file_system().Summary();
}

TEST_F(LockTest, LocksOnAReadOnlyDescriptorAndOnDirectories) {
  const int reader = Open(0, "f", O_RDONLY);
  EXPECT_EQ(Fcntl(reader, F_SETLK, F_WRLCK), EBADF);
  EXPECT_EQ(Fcntl(reader, F_SETLK, F_RDLCK), 0);
  EXPECT_EQ(Flock(reader, LOCK_EX | LOCK_NB), 0);
  close(reader);
  // The kernel keeps directories' locks to itself.
  const int directory = Open(0, "", O_RDONLY | O_DIRECTORY);
  const int same = Open(0, "", O_RDONLY | O_DIRECTORY);
  EXPECT_EQ(Flock(directory, LOCK_EX | LOCK_NB), 0);
  EXPECT_EQ(Flock(same, LOCK_EX | LOCK_NB), EAGAIN);
  close(directory);
  close(same);
}

TEST_F(LockTest, AnUnlinkedFilesLocksWork) {
  EXPECT_EQ(unlink(Path("f").c_str()), 0);
  EXPECT_EQ(Fcntl(here_, F_SETLK, F_WRLCK), 0);
  EXPECT_EQ(Fcntl(there_, F_SETLK, F_WRLCK), EAGAIN);
  EXPECT_EQ(Fcntl(here_, F_SETLK, F_UNLCK), 0);
  EXPECT_EQ(Fcntl(there_, F_SETLK, F_WRLCK), 0);
}

TEST_F(LockTest, AMountThatIsAbortedGivesUpItsLocks) {
  EXPECT_EQ(Fcntl(here_, F_SETLK, F_WRLCK), 0);
  EXPECT_EQ(Flock(here_, LOCK_EX), 0);
  EXPECT_EQ(Fcntl(there_, F_SETLK, F_WRLCK), EAGAIN);
  session(0).Abort();
  ASSERT_TRUE(session(0).WaitEnded(std::chrono::seconds(5)));
  DropMount(0);
  EXPECT_TRUE(Eventually([&] { return Fcntl(there_, F_SETLK, F_WRLCK) == 0; }));
  EXPECT_EQ(Flock(there_, LOCK_EX | LOCK_NB), 0);
}

TEST_F(LockTest, LocalLocksStayInTheirMount) {
  const size_t local = AddMount({.share_locks = false});
  const int first = Open(local), second = Open(local);
  EXPECT_EQ(Fcntl(here_, F_SETLK, F_WRLCK), 0);
  EXPECT_EQ(Fcntl(first, F_SETLK, F_WRLCK), 0);
  EXPECT_EQ(Flock(here_, LOCK_EX | LOCK_NB), 0);
  EXPECT_EQ(Flock(first, LOCK_EX | LOCK_NB), 0);
  EXPECT_EQ(Flock(second, LOCK_EX | LOCK_NB), EAGAIN);
  EXPECT_EQ(file_system(local).Calls("Lock"), 0u);
  close(first);
  EXPECT_EQ(Flock(second, LOCK_EX | LOCK_NB), 0);
  close(second);
}

}  // namespace
}  // namespace prism::mount
