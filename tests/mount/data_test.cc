// Data through the mount: what reads, writes, maps and holes give, and what they cost.
#include <dirent.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <future>
#include <random>
#include <thread>

#include "tests/mount/mount_fixture.h"

namespace prism::mount {
namespace {

class DataTest : public MountTest {
 protected:
  int Open(const std::string& name, int flags) {
    int fd = open(Path(name).c_str(), flags, 0644);
    EXPECT_GE(fd, 0) << name << ": " << strerror(errno);
    return fd;
  }
  std::string Pread(int fd, size_t size, off_t offset) {
    std::string bytes(size, '\0');
    ssize_t n = pread(fd, bytes.data(), size, offset);
    if (n < 0) return "<errno " + std::to_string(errno) + ">";
    bytes.resize(static_cast<size_t>(n));
    return bytes;
  }
};

std::string RandomBytes(size_t size) {
  std::mt19937_64 random(size);
  std::string bytes(size, '\0');
  for (size_t i = 0; i + 8 <= size; i += 8) {
    uint64_t word = random();
    std::memcpy(&bytes[i], &word, 8);
  }
  return bytes;
}

TEST_F(DataTest, WritesAndReadsBackAtOddOffsets) {
  std::string content = RandomBytes(5 << 20);
  int fd = Open("f", O_RDWR | O_CREAT);
  for (size_t at = 0; at < content.size();) {
    size_t size = std::min<size_t>(content.size() - at, 777777);
    ASSERT_EQ(pwrite(fd, &content[at], size, static_cast<off_t>(at)), static_cast<ssize_t>(size));
    at += size;
  }
  EXPECT_TRUE(Pread(fd, content.size(), 0) == content);
  EXPECT_TRUE(Pread(fd, 100000, 1234567) == content.substr(1234567, 100000));
  // Not from the kernel's cache.
  ASSERT_EQ(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
  file_system().Reset();
  EXPECT_TRUE(Pread(fd, content.size(), 0) == content);
  EXPECT_GE(file_system().Calls("Read"), 5u);
  EXPECT_EQ(Pread(fd, 10, 5 << 20), "");
  EXPECT_EQ(Pread(fd, 10, (5 << 20) - 3).size(), 3u);
  close(fd);
}

TEST_F(DataTest, OpenReadAndCloseOfACachedFileCostNothing) {
  WriteFile(Path("f"), "hello");
  EXPECT_EQ(ReadFile(Path("f")), "hello");
  struct stat st;
  ASSERT_EQ(stat(Path("f").c_str(), &st), 0);
  file_system().Reset();
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(ReadFile(Path("f")), "hello");
    int fd = Open("f", O_RDONLY);
    ASSERT_EQ(fstat(fd, &st), 0);
    close(fd);
  }
  EXPECT_EQ(file_system().Calls("*"), 0u) << file_system().Summary();
}

TEST_F(DataTest, ANewFileCostsLookupAndCreate) {
  WriteFile(Path("other"), "");
  file_system().Reset();
  int fd = Open("new", O_WRONLY | O_CREAT | O_EXCL);
  close(fd);
  // The kernel asks for the changed directory again before it lets the next one be made.
  EXPECT_LE(file_system().Calls("Getattr"), 1u);
  EXPECT_LE(file_system().Calls("*"), 3u) << file_system().Summary();
  EXPECT_EQ(file_system().Calls("Create"), 1u);
}

// Without FUSE_HANDLE_KILLPRIV_V2 each write would ask for security.capability first.
TEST_F(DataTest, WritesCostOneCallEach) {
  int fd = Open("f", O_WRONLY | O_CREAT);
  ASSERT_EQ(write(fd, "x", 1), 1);
  file_system().Reset();
  for (int i = 0; i < 20; ++i) ASSERT_EQ(write(fd, "x", 1), 1);
  EXPECT_EQ(file_system().Calls("Write"), 20u);
  EXPECT_EQ(file_system().Calls("*"), 20u) << file_system().Summary();
  close(fd);
}

TEST_F(DataTest, LargeRequestsReachTheFileSystemWhole) {
  std::string content = RandomBytes(8 << 20);
  int fd = Open("f", O_RDWR | O_CREAT);
  ASSERT_EQ(write(fd, content.data(), content.size()), static_cast<ssize_t>(content.size()));
  EXPECT_LE(file_system().Calls("Write"), 9u);
  ASSERT_EQ(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
  file_system().Reset();
  ASSERT_EQ(lseek(fd, 0, SEEK_SET), 0);
  std::string back(content.size(), '\0');
  for (size_t at = 0; at < back.size(); at += 128 << 10)
    ASSERT_EQ(read(fd, &back[at], 128 << 10), 128 << 10);
  EXPECT_TRUE(back == content);
  EXPECT_LE(file_system().Calls("Read"), 20u) << file_system().Summary();
  close(fd);
}

TEST_F(DataTest, AppendGoesToTheEndAlsoFromTwoMounts) {
  AddMount();
  int first = Open("f", O_WRONLY | O_CREAT | O_APPEND);
  int second = open(Path("f", 1).c_str(), O_WRONLY | O_APPEND);
  ASSERT_GE(second, 0);
  std::thread other([&] {
    for (int i = 0; i < 300; ++i) ASSERT_EQ(write(second, "second\n", 7), 7);
  });
  for (int i = 0; i < 300; ++i) ASSERT_EQ(write(first, "first\n", 6), 6);
  other.join();
  EXPECT_TRUE(Eventually([&] { return ReadFile(Path("f")).size() == 300u * 13; }));
  std::string text = ReadFile(Path("f"));
  size_t firsts = 0, seconds = 0;
  for (size_t at = 0; at < text.size();) {
    size_t end = text.find('\n', at);
    ASSERT_NE(end, std::string::npos);
    std::string line = text.substr(at, end - at);
    firsts += line == "first";
    seconds += line == "second";
    at = end + 1;
  }
  EXPECT_EQ(firsts, 300u);
  EXPECT_EQ(seconds, 300u);
  EXPECT_EQ(ReadFile(Path("f", 1)), text);
  close(first);
  close(second);
}

TEST_F(DataTest, DirectAppendsOfManyRequestsStayInOrder) {
  std::string content = RandomBytes(6 << 20);
  void* memory = nullptr;
  ASSERT_EQ(posix_memalign(&memory, 4096, content.size()), 0);
  std::memcpy(memory, content.data(), content.size());
  int fd = Open("f", O_WRONLY | O_CREAT | O_APPEND | O_DIRECT);
  ASSERT_EQ(write(fd, memory, content.size()), static_cast<ssize_t>(content.size()));
  close(fd);
  free(memory);
  EXPECT_TRUE(ReadFile(Path("f")) == content);
}

TEST_F(DataTest, DirectIo) {
  std::string content = RandomBytes(3 << 20);
  WriteFile(Path("f"), content);
  int fd = Open("f", O_RDWR | O_DIRECT);
  void* memory = nullptr;
  ASSERT_EQ(posix_memalign(&memory, 4096, content.size()), 0);
  ASSERT_EQ(pread(fd, memory, content.size(), 0), static_cast<ssize_t>(content.size()));
  EXPECT_EQ(std::memcmp(memory, content.data(), content.size()), 0);
  std::memset(memory, 'd', 8192);
  ASSERT_EQ(pwrite(fd, memory, 8192, 4096), 8192);
  EXPECT_EQ(ReadFile(Path("f")).substr(4090, 12), content.substr(4090, 6) + "dddddd");
  file_system().Reset();
  ASSERT_EQ(pread(fd, memory, 4096, 4096), 4096);
  EXPECT_EQ(file_system().Calls("Read"), 1u);
  free(memory);
  close(fd);
}

TEST_F(DataTest, SharedMapsWriteThroughToTheFileSystem) {
  AddMount();
  WriteFile(Path("f"), std::string(10000, 'a'));
  EXPECT_EQ(ReadFile(Path("f", 1)).size(), 10000u);
  int fd = Open("f", O_RDWR);
  char* map = static_cast<char*>(mmap(nullptr, 10000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  ASSERT_NE(map, MAP_FAILED);
  EXPECT_EQ(map[9999], 'a');
  map[5000] = 'B';
  // One cache for maps and reads.
  EXPECT_EQ(Pread(fd, 1, 5000), "B");
  ASSERT_EQ(pwrite(fd, "C", 1, 5001), 1);
  EXPECT_EQ(map[5001], 'C');
  ASSERT_EQ(msync(map, 10000, MS_SYNC), 0);
  EXPECT_GE(file_system().Calls("Fsync") + file_system().Calls("Fdatasync"), 1u);
  EXPECT_TRUE(Eventually([&] { return ReadFile(Path("f", 1)).substr(5000, 2) == "BC"; }));
  struct stat st;
  ASSERT_EQ(fstat(fd, &st), 0);
  EXPECT_EQ(st.st_size, 10000);
  // That unmapping writes dirty pages; in another process, because it locks the address space until
  // they are written, and ours has the threads that write them.
  const pid_t child = fork();
  if (child == 0) {
    map[1] = 'D';
    munmap(map, 10000);
    _exit(0);
  }
  ASSERT_GT(child, 0);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  munmap(map, 10000);
  close(fd);
  EXPECT_TRUE(Eventually([&] { return ReadFile(Path("f", 1)).substr(0, 2) == "aD"; }));
}

TEST_F(DataTest, PrivateMapsDoNot) {
  WriteFile(Path("f"), "aaaa");
  int fd = Open("f", O_RDWR);
  char* map = static_cast<char*>(mmap(nullptr, 4, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
  ASSERT_NE(map, MAP_FAILED);
  map[0] = 'b';
  munmap(map, 4);
  close(fd);
  EXPECT_EQ(ReadFile(Path("f")), "aaaa");
}

TEST_F(DataTest, AnUnlinkedFileLivesUntilItIsClosed) {
  WriteFile(Path("f"), "before");
  struct stat st;
  int fd = Open("f", O_RDWR);
  ASSERT_EQ(fstat(fd, &st), 0);
  ASSERT_EQ(unlink(Path("f").c_str()), 0);
  EXPECT_EQ(ReadFile(Path("f")), "<errno 2>");
  EXPECT_EQ(Pread(fd, 10, 0), "before");
  ASSERT_EQ(pwrite(fd, "after!!", 7, 3), 7);
  ASSERT_EQ(ftruncate(fd, 8), 0);
  ASSERT_EQ(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
  EXPECT_EQ(Pread(fd, 20, 0), "befafter");
  ASSERT_EQ(fchmod(fd, 0600), 0);
  struct stat now;
  ASSERT_EQ(fstat(fd, &now), 0);
  EXPECT_EQ(now.st_nlink, 0u);
  EXPECT_EQ(now.st_mode & 07777, 0600u);
  EXPECT_EQ(file_system().released().count(st.st_ino), 0u);
  close(fd);
  EXPECT_TRUE(Eventually([&] { return file_system().released().count(st.st_ino) == 1; }));
  EXPECT_EQ(file_system().Calls("ReleaseFailed"), 0u);
}

TEST_F(DataTest, AFileReplacedByRenameLivesUntilItIsClosed) {
  WriteFile(Path("old"), "old");
  WriteFile(Path("new"), "new");
  struct stat st;
  int fd = Open("old", O_RDONLY);
  ASSERT_EQ(fstat(fd, &st), 0);
  ASSERT_EQ(rename(Path("new").c_str(), Path("old").c_str()), 0);
  EXPECT_EQ(ReadFile(Path("old")), "new");
  EXPECT_EQ(Pread(fd, 10, 0), "old");
  close(fd);
  EXPECT_TRUE(Eventually([&] { return file_system().released().count(st.st_ino) == 1; }));
}

TEST_F(DataTest, ARemovedDirectoryIsReleased) {
  ASSERT_EQ(mkdir(Path("d").c_str(), 0755), 0);
  struct stat st;
  int fd = Open("d", O_RDONLY | O_DIRECTORY);
  ASSERT_EQ(fstat(fd, &st), 0);
  ASSERT_EQ(rmdir(Path("d").c_str()), 0);
  EXPECT_EQ(openat(fd, "x", O_CREAT | O_WRONLY, 0600), -1);
  EXPECT_EQ(errno, ENOENT);
  close(fd);
  EXPECT_TRUE(Eventually([&] { return file_system().released().count(st.st_ino) == 1; }));
}

TEST_F(DataTest, HolesAndFallocate) {
  int fd = Open("f", O_RDWR | O_CREAT);
  ASSERT_EQ(ftruncate(fd, off_t{1} << 42), 0);
  ASSERT_EQ(pwrite(fd, "data", 4, 1 << 20), 4);
  struct stat st;
  ASSERT_EQ(fstat(fd, &st), 0);
  EXPECT_EQ(st.st_size, off_t{1} << 42);
  EXPECT_LE(st.st_blocks, 256);
  off_t data = lseek(fd, 0, SEEK_DATA);
  EXPECT_LE(data, 1 << 20);
  EXPECT_GT(data, 0);
  off_t hole = lseek(fd, data, SEEK_HOLE);
  EXPECT_GE(hole, (1 << 20) + 4);
  EXPECT_EQ(lseek(fd, off_t{1} << 42, SEEK_DATA), -1);
  EXPECT_EQ(errno, ENXIO);

  ASSERT_EQ(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1 << 20, 65536), 0);
  EXPECT_EQ(Pread(fd, 4, 1 << 20), std::string(4, '\0'));
  EXPECT_EQ(lseek(fd, 0, SEEK_DATA), -1);
  ASSERT_EQ(ftruncate(fd, 100), 0);
  ASSERT_EQ(pwrite(fd, "abc", 3, 0), 3);
  ASSERT_EQ(fallocate(fd, FALLOC_FL_ZERO_RANGE, 1, 1), 0);
  EXPECT_EQ(Pread(fd, 3, 0), std::string("a\0c", 3));
  ASSERT_EQ(fallocate(fd, 0, 0, 200), 0);
  ASSERT_EQ(fstat(fd, &st), 0);
  EXPECT_EQ(st.st_size, 200);
  ASSERT_EQ(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 300), 0);
  ASSERT_EQ(fstat(fd, &st), 0);
  EXPECT_EQ(st.st_size, 200);
  for (int mode : {FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE, FALLOC_FL_UNSHARE_RANGE}) {
    EXPECT_EQ(fallocate(fd, mode, 0, 4096), -1);
    EXPECT_EQ(errno, EOPNOTSUPP) << mode;
  }
  close(fd);
}

TEST_F(DataTest, TruncateDropsCachedBytes) {
  WriteFile(Path("f"), std::string(10000, 'x'));
  int fd = Open("f", O_RDWR);
  EXPECT_EQ(Pread(fd, 4, 9990), "xxxx");
  ASSERT_EQ(ftruncate(fd, 5000), 0);
  ASSERT_EQ(ftruncate(fd, 10000), 0);
  EXPECT_EQ(Pread(fd, 4, 4998), std::string("xx\0\0", 4));
  close(fd);
  fd = Open("f", O_WRONLY | O_TRUNC);
  close(fd);
  EXPECT_EQ(ReadFile(Path("f")), "");
  EXPECT_EQ(truncate(Path("f").c_str(), INT64_MAX), -1);
  EXPECT_EQ(errno, EFBIG);
}

TEST_F(DataTest, CopyFileRange) {
  std::string content = RandomBytes(2 << 20);
  WriteFile(Path("from"), content);
  WriteFile(Path("to"), "");
  int from = Open("from", O_RDONLY), to = Open("to", O_RDWR);
  off_t from_at = 4096, to_at = 0;
  size_t done = 0;
  while (done < 1 << 20) {
    ssize_t n = copy_file_range(from, &from_at, to, &to_at, (1 << 20) - done, 0);
    ASSERT_GT(n, 0) << strerror(errno);
    done += static_cast<size_t>(n);
  }
  EXPECT_GE(file_system().Calls("CopyRange"), 1u);
  EXPECT_TRUE(ReadFile(Path("to")) == content.substr(4096, 1 << 20));
  EXPECT_EQ(ioctl(to, FICLONE, from), -1);
  EXPECT_EQ(errno, EOPNOTSUPP);
  int flags;
  EXPECT_EQ(ioctl(to, FS_IOC_GETFLAGS, &flags), -1);
  EXPECT_EQ(errno, ENOTTY);
  close(from);
  close(to);
}

TEST_F(DataTest, SyncCallsReachTheFileSystem) {
  int fd = Open("f", O_WRONLY | O_CREAT);
  ASSERT_EQ(fsync(fd), 0);
  EXPECT_EQ(file_system().Calls("Fsync"), 1u);
  ASSERT_EQ(write(fd, "x", 1), 1);
  ASSERT_EQ(fdatasync(fd), 0);
  EXPECT_EQ(file_system().Calls("Fdatasync"), 1u);
  close(fd);
  file_system().Reset();
  fd = Open("f", O_WRONLY | O_SYNC);
  ASSERT_EQ(write(fd, "x", 1), 1);
  EXPECT_EQ(file_system().Calls("Fsync"), 1u) << file_system().Summary();
  close(fd);
  file_system().Reset();
  fd = Open("f", O_WRONLY | O_DSYNC);
  ASSERT_EQ(write(fd, "x", 1), 1);
  EXPECT_EQ(file_system().Calls("Fdatasync"), 1u) << file_system().Summary();
  close(fd);
  fd = Open("f", O_WRONLY | O_SYNC | O_DIRECT);
  alignas(4096) static char page[4096];
  ASSERT_EQ(write(fd, page, sizeof page), 4096);
  EXPECT_EQ(file_system().last_write().stability, fs::Stability::kFileSync);
  close(fd);
  fd = Open("", O_RDONLY | O_DIRECTORY);
  file_system().Reset();
  ASSERT_EQ(fsync(fd), 0);
  EXPECT_EQ(file_system().Calls("Fsync"), 1u);
  close(fd);
}

TEST_F(DataTest, FsyncsThatWaitKeepNobodyElseWaiting) {
  std::promise<void> go;
  std::shared_future<void> gate = go.get_future();
  std::atomic<int> waiting{0};
  file_system().before_fsync = [&] {
    ++waiting;
    gate.wait();
  };
  constexpr int kThreads = 6;
  std::vector<std::thread> threads;
  std::atomic<int> failures{0};
  for (int i = 0; i < kThreads; ++i)
    threads.emplace_back([&, i] {
      int fd = open(Path("f" + std::to_string(i)).c_str(), O_CREAT | O_WRONLY, 0600);
      if (write(fd, "x", 1) != 1 || fsync(fd) != 0) ++failures;
      close(fd);
    });
  EXPECT_TRUE(Eventually([&] { return waiting == kThreads; }));
  WriteFile(Path("other"), "served");
  int fd = Open("other", O_RDONLY | O_DIRECT);
  EXPECT_GE(fd, 0);
  struct stat st;
  EXPECT_EQ(fstat(fd, &st), 0);
  close(fd);
  EXPECT_EQ(waiting, kThreads);
  go.set_value();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
}

TEST_F(DataTest, ATemporaryFileWithoutNameIsNotSupported) {
  EXPECT_EQ(open(Path("").c_str(), O_TMPFILE | O_RDWR, 0600), -1);
  EXPECT_EQ(errno, EOPNOTSUPP);
}

TEST_F(DataTest, LocksWorkWithinTheMount) {
  WriteFile(Path("f"), "x");
  int fd = Open("f", O_RDWR);
  struct flock lock = {
      .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1, .l_pid = 0};
  ASSERT_EQ(fcntl(fd, F_SETLK, &lock), 0);
  std::string path = Path("f");
  EXPECT_EQ(
      RunAs(0, 0,
            [&] {
              int other = open(path.c_str(), O_RDWR);
              struct flock mine = {
                  .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1, .l_pid = 0};
              if (fcntl(other, F_SETLK, &mine) == 0) return 1;
              return errno == EAGAIN || errno == EACCES ? 0 : 2;
            }),
      0);
  close(fd);
}

}  // namespace
}  // namespace prism::mount
