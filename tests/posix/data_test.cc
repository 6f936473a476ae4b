// Reading, writing, mapping and the shape of files.
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include <cstdlib>
#include <cstring>
#include <memory>

#include "tests/posix/posix.h"

namespace prism::posix {
namespace {

constexpr off_t kBlock = 65536;
constexpr off_t kTiB = off_t{1} << 40;

class DataTest : public Posix {
 protected:
  std::string ReadAt(int fd, off_t offset, size_t length) {
    std::string buffer(length, '?');
    ssize_t count = pread(fd, buffer.data(), length, offset);
    EXPECT_GE(count, 0);
    buffer.resize(count < 0 ? 0 : count);
    return buffer;
  }
  void WriteAt(int fd, off_t offset, std::string_view data) {
    EXPECT_EQ(pwrite(fd, data.data(), data.size(), offset), static_cast<ssize_t>(data.size()));
  }
};

TEST_F(DataTest, WhatIsWrittenIsReadAlsoThroughAnotherDescriptor) {
  std::string path = MakeFile("f");
  Fd writer(open(path.c_str(), O_WRONLY)), reader(open(path.c_str(), O_RDONLY));
  std::string data = Pattern(300000);
  WriteAt(writer.get(), 0, data);
  EXPECT_EQ(ReadAt(reader.get(), 0, data.size()), data);
  WriteAt(writer.get(), 65530, "across the edge");
  data.replace(65530, 15, "across the edge");
  EXPECT_EQ(ReadAt(reader.get(), 0, data.size()), data);
  EXPECT_EQ(Stat(path).st_size, 300000);
}

TEST_F(DataTest, DescriptorsAreCheckedForTheirMode) {
  std::string path = MakeFile("f", "data");
  Fd reader(open(path.c_str(), O_RDONLY)), writer(open(path.c_str(), O_WRONLY));
  char byte = 'x';
  EXPECT_ERRNO(EBADF, write(reader.get(), &byte, 1));
  EXPECT_ERRNO(EBADF, read(writer.get(), &byte, 1));
  EXPECT_ERRNO(EINVAL, ftruncate(reader.get(), 1));
}

TEST_F(DataTest, AppendsGoToTheEndOfAll) {
  std::string path = MakeFile("f", "start");
  Fd one(open(path.c_str(), O_WRONLY | O_APPEND)), two(open(path.c_str(), O_WRONLY | O_APPEND));
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(write(one.get(), "1", 1), 1);
    EXPECT_EQ(write(two.get(), "22", 2), 2);
  }
  EXPECT_EQ(Stat(path).st_size, 5 + 150);
  std::string expected = "start";
  for (int i = 0; i < 50; ++i) expected += "122";
  EXPECT_EQ(Contents(path), expected);
}

TEST_F(DataTest, ProcessesAppendWithoutLosingAnything) {
  std::string path = MakeFile("f");
  pid_t children[4];
  for (int i = 0; i < 4; ++i) {
    children[i] = fork();
    if (children[i] != 0) continue;
    int fd = open(path.c_str(), O_WRONLY | O_APPEND);
    std::string line(100, static_cast<char>('a' + i));
    for (int n = 0; n < 100; ++n)
      if (write(fd, line.data(), line.size()) != 100) _exit(1);
    _exit(0);
  }
  for (pid_t child : children) {
    int status = 1;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
  }
  std::string all = Contents(path);
  ASSERT_EQ(all.size(), 40000u);
  for (size_t i = 0; i < all.size(); i += 100)
    EXPECT_EQ(all.substr(i, 100), std::string(100, all[i]));
}

TEST_F(DataTest, OTruncEmptiesAndOExclRefuses) {
  std::string path = MakeFile("f", "data");
  EXPECT_ERRNO(EEXIST, open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY, 0644));
  EXPECT_EQ(Contents(path), "data");
  Fd fd(open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0600));
  EXPECT_TRUE(fd.ok());
  EXPECT_EQ(Stat(path).st_size, 0);
  EXPECT_EQ(Stat(path).st_mode & 07777, 0644u);
}

TEST_F(DataTest, TruncateUpAndDown) {
  std::string data = Pattern(200000);
  std::string path = MakeFile("f", data);
  for (off_t size : {131073, 131072, 65537, 4096, 4095, 1, 0}) {
    EXPECT_CALL(truncate(path.c_str(), size));
    EXPECT_EQ(Contents(path), data.substr(0, size));
  }
  EXPECT_CALL(truncate(path.c_str(), 100000));
  EXPECT_EQ(Contents(path), std::string(100000, '\0'));
  EXPECT_ERRNO(EINVAL, truncate(path.c_str(), -1));
  EXPECT_ERRNO(EISDIR, truncate(Path().c_str(), 0));
}

TEST_F(DataTest, ShrinkingAndGrowingShowsZerosThroughAnOpenDescriptorAndAMapping) {
  std::string path = MakeFile("f", Pattern(8192));
  Fd fd(open(path.c_str(), O_RDWR));
  char* map = static_cast<char*>(mmap(nullptr, 8192, PROT_READ, MAP_SHARED, fd.get(), 0));
  ASSERT_NE(map, MAP_FAILED);
  EXPECT_NE(map[5000], 0);
  EXPECT_CALL(ftruncate(fd.get(), 100));
  EXPECT_CALL(ftruncate(fd.get(), 8192));
  EXPECT_EQ(ReadAt(fd.get(), 90, 20).substr(10), std::string(10, '\0'));
  EXPECT_EQ(map[100], 0);
  EXPECT_EQ(map[5000], 0);
  munmap(map, 8192);
}

TEST_F(DataTest, SharedMappingsAreWrittenBackAndSeeWrites) {
  std::string path = MakeFile("f", Pattern(100000));
  Fd fd(open(path.c_str(), O_RDWR));
  char* map =
      static_cast<char*>(mmap(nullptr, 100000, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0));
  ASSERT_NE(map, MAP_FAILED);
  std::memcpy(map + 70000, "by mapping", 10);
  EXPECT_CALL(msync(map, 100000, MS_SYNC));
  EXPECT_EQ(ReadAt(fd.get(), 70000, 10), "by mapping");
  WriteAt(fd.get(), 10, "by write");
  EXPECT_EQ(std::string(map + 10, 8), "by write");
  munmap(map, 100000);
  EXPECT_EQ(Contents(path).substr(70000, 10), "by mapping");
}

TEST_F(DataTest, PrivateMappingsStayPrivate) {
  std::string path = MakeFile("f", "original");
  Fd fd(open(path.c_str(), O_RDONLY));
  char* map =
      static_cast<char*>(mmap(nullptr, 8, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd.get(), 0));
  ASSERT_NE(map, MAP_FAILED);
  map[0] = 'X';
  EXPECT_EQ(Contents(path), "original");
  munmap(map, 8);
}

TEST_F(DataTest, SharedMappingsAreSharedBetweenProcesses) {
  std::string path = MakeFile("f", std::string(4096, '.'));
  Fd fd(open(path.c_str(), O_RDWR));
  char* map =
      static_cast<char*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0));
  ASSERT_NE(map, MAP_FAILED);
  EXPECT_EQ(InChild([&] {
              int own = open(path.c_str(), O_RDWR);
              void* theirs = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, own, 0);
              if (theirs == MAP_FAILED) return errno;
              static_cast<char*>(theirs)[7] = 'c';
              return 0;
            }),
            0);
  EXPECT_EQ(map[7], 'c');
  munmap(map, 4096);
}

TEST_F(DataTest, DirectIoReadsAndWritesAligned) {
  std::string path = MakeFile("f", Pattern(2 * kBlock));
  Fd fd(open(path.c_str(), O_RDWR | O_DIRECT));
  ASSERT_TRUE(fd.ok());
  std::unique_ptr<char, decltype(&std::free)> buffer(
      static_cast<char*>(std::aligned_alloc(4096, kBlock)), &std::free);
  std::memset(buffer.get(), 'd', kBlock);
  EXPECT_EQ(pwrite(fd.get(), buffer.get(), kBlock, 4096), kBlock);
  std::string expected = Pattern(2 * kBlock);
  expected.replace(4096, kBlock, kBlock, 'd');
  EXPECT_EQ(Contents(path), expected);
  EXPECT_EQ(pread(fd.get(), buffer.get(), 4096, 0), 4096);
  EXPECT_EQ(std::string(buffer.get(), 4096), expected.substr(0, 4096));
  EXPECT_EQ(pread(fd.get(), buffer.get(), 4096, 2 * kBlock), 0);
}

TEST_F(DataTest, VectoredIoWorks) {
  std::string path = MakeFile("f");
  Fd fd(open(path.c_str(), O_RDWR));
  char a[] = "abc", b[] = "defgh";
  iovec out[] = {{a, 3}, {b, 5}};
  EXPECT_EQ(pwritev(fd.get(), out, 2, 1), 8);
  char c[5], d[5];
  iovec in[] = {{c, 5}, {d, 5}};
  EXPECT_EQ(preadv(fd.get(), in, 2, 0), 9);
  EXPECT_EQ(std::string(c + 1, 4), "abcd");
}

TEST_F(DataTest, SyncCallsSucceed) {
  std::string path = MakeFile("f", "data");
  Fd fd(open(path.c_str(), O_RDWR)), dir(open(Path().c_str(), O_RDONLY | O_DIRECTORY));
  EXPECT_CALL(fsync(fd.get()));
  EXPECT_CALL(fdatasync(fd.get()));
  EXPECT_CALL(fsync(dir.get()));
  EXPECT_CALL(syncfs(fd.get()));
  Fd synced(open(path.c_str(), O_WRONLY | O_SYNC));
  EXPECT_EQ(write(synced.get(), "sync", 4), 4);
}

TEST_F(DataTest, FarOffsetsAreSparse) {
  std::string path = MakeFile("f");
  Fd fd(open(path.c_str(), O_RDWR));
  WriteAt(fd.get(), 10 * kTiB, "far");
  EXPECT_EQ(Stat(path).st_size, 10 * kTiB + 3);
  EXPECT_LT(Stat(path).st_blocks * 512, 1 << 20);
  EXPECT_EQ(ReadAt(fd.get(), 10 * kTiB - 1, 10), std::string("\0far", 4));
}

TEST_F(DataTest, SeekFindsDataAndHoles) {
  std::string path = MakeFile("f");
  Fd fd(open(path.c_str(), O_RDWR));
  WriteAt(fd.get(), 4 * kBlock, Pattern(kBlock));
  EXPECT_CALL(ftruncate(fd.get(), 10 * kBlock));
  EXPECT_EQ(lseek(fd.get(), 0, SEEK_DATA), 4 * kBlock);
  EXPECT_EQ(lseek(fd.get(), 0, SEEK_HOLE), 0);
  EXPECT_EQ(lseek(fd.get(), 4 * kBlock, SEEK_HOLE), 5 * kBlock);
  EXPECT_ERRNO(ENXIO, lseek(fd.get(), 5 * kBlock, SEEK_DATA));
  EXPECT_ERRNO(ENXIO, lseek(fd.get(), 10 * kBlock, SEEK_HOLE));
  EXPECT_ERRNO(ENXIO, lseek(fd.get(), 10 * kBlock, SEEK_DATA));
}

TEST_F(DataTest, SeekSeesDataThatIsStillInTheCache) {
  std::string path = MakeFile("f");
  Fd fd(open(path.c_str(), O_RDWR));
  EXPECT_CALL(ftruncate(fd.get(), 4 * kBlock));
  WriteAt(fd.get(), kBlock, Pattern(kBlock));
  EXPECT_EQ(lseek(fd.get(), 0, SEEK_DATA), kBlock);
  EXPECT_EQ(lseek(fd.get(), kBlock, SEEK_HOLE), 2 * kBlock);
}

TEST_F(DataTest, FallocatePunchesZeroesAndGrows) {
  std::string data = Pattern(4 * kBlock);
  std::string path = MakeFile("f", data);
  Fd fd(open(path.c_str(), O_RDWR));
  EXPECT_CALL(fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, kBlock, kBlock));
  data.replace(kBlock, kBlock, kBlock, '\0');
  EXPECT_EQ(Contents(path), data);
  EXPECT_EQ(lseek(fd.get(), 0, SEEK_HOLE), kBlock);
  EXPECT_CALL(fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 100, 50));
  data.replace(100, 50, 50, '\0');
  EXPECT_EQ(Contents(path), data);
  EXPECT_CALL(fallocate(fd.get(), FALLOC_FL_ZERO_RANGE, 3 * kBlock, 2 * kBlock));
  data.resize(3 * kBlock);
  data.resize(5 * kBlock, '\0');
  EXPECT_EQ(Contents(path), data);
  EXPECT_CALL(fallocate(fd.get(), 0, 5 * kBlock, 10));
  EXPECT_EQ(Stat(path).st_size, 5 * kBlock + 10);
  EXPECT_CALL(fallocate(fd.get(), FALLOC_FL_KEEP_SIZE, 0, 100 * kBlock));
  EXPECT_EQ(Stat(path).st_size, 5 * kBlock + 10);
  EXPECT_ERRNO(EINVAL, fallocate(fd.get(), 0, 0, 0));
  EXPECT_ERRNO(EOPNOTSUPP, fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE, 0, 1));
}

TEST_F(DataTest, FallocateOnAReadOnlyDescriptorIsRefused) {
  Fd fd(open(MakeFile("f", "data").c_str(), O_RDONLY));
  EXPECT_ERRNO(EBADF, fallocate(fd.get(), 0, 0, 10));
}

TEST_F(DataTest, CopyFileRangeCopies) {
  std::string data = Pattern(3 * kBlock + 77);
  Fd from(open(MakeFile("from", data).c_str(), O_RDONLY));
  std::string path = MakeFile("to", "0123456789");
  Fd to(open(path.c_str(), O_RDWR));
  off_t in = 5, out = 3;
  size_t left = data.size() - 5;
  while (left > 0) {
    ssize_t count = copy_file_range(from.get(), &in, to.get(), &out, left, 0);
    ASSERT_GT(count, 0) << std::strerror(errno);
    left -= count;
  }
  EXPECT_EQ(Contents(path), "012" + data.substr(5));
  in = data.size();
  EXPECT_EQ(copy_file_range(from.get(), &in, to.get(), &out, 10, 0), 0);
}

TEST_F(DataTest, CopyFileRangeRefusesOverlapsAndWrongDescriptors) {
  std::string path = MakeFile("f", Pattern(1000));
  Fd fd(open(path.c_str(), O_RDWR)), append(open(path.c_str(), O_RDWR | O_APPEND));
  Fd reader(open(path.c_str(), O_RDONLY)), dir(open(Path().c_str(), O_RDONLY));
  off_t in = 0, out = 500;
  EXPECT_ERRNO(EINVAL, copy_file_range(fd.get(), &in, fd.get(), &out, 600, 0));
  in = out = 0;
  EXPECT_ERRNO(EBADF, copy_file_range(fd.get(), &in, reader.get(), &out, 10, 0));
  EXPECT_ERRNO(EBADF, copy_file_range(reader.get(), &in, append.get(), &out, 10, 0));
  EXPECT_ERRNO(EISDIR, copy_file_range(dir.get(), &in, fd.get(), &out, 10, 0));
}

TEST_F(DataTest, SendfileCopies) {
  std::string data = Pattern(200000);
  Fd from(open(MakeFile("from", data).c_str(), O_RDONLY));
  std::string path = MakeFile("to");
  Fd to(open(path.c_str(), O_WRONLY));
  ssize_t count = 0;
  while ((count = sendfile(to.get(), from.get(), nullptr, 1 << 20)) > 0) {
  }
  EXPECT_EQ(count, 0);
  EXPECT_EQ(Contents(path), data);
}

TEST_F(DataTest, AnUnlinkedFileLivesUntilItIsClosed) {
  std::string path = MakeFile("f", "data");
  Fd fd(open(path.c_str(), O_RDWR));
  EXPECT_CALL(unlink(path.c_str()));
  EXPECT_FALSE(Exists(path));
  struct stat attr {};
  EXPECT_CALL(fstat(fd.get(), &attr));
  EXPECT_EQ(attr.st_nlink, 0u);
  WriteAt(fd.get(), 4, "-more");
  EXPECT_EQ(ReadAt(fd.get(), 0, 100), "data-more");
  EXPECT_CALL(fchmod(fd.get(), 0400));
  EXPECT_CALL(ftruncate(fd.get(), 2));
  EXPECT_CALL(fsync(fd.get()));
  MakeFile("f", "another");
  EXPECT_EQ(ReadAt(fd.get(), 0, 100), "da");
}

TEST_F(DataTest, AnUnlinkedMappedFileKeepsItsPages) {
  std::string path = MakeFile("f", Pattern(8192));
  char* map = nullptr;
  {
    Fd fd(open(path.c_str(), O_RDWR));
    map = static_cast<char*>(mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0));
  }
  ASSERT_NE(map, MAP_FAILED);
  EXPECT_CALL(unlink(path.c_str()));
  EXPECT_EQ(std::string(map, 8192), Pattern(8192));
  map[4096] = 'x';
  EXPECT_CALL(msync(map, 8192, MS_SYNC));
  munmap(map, 8192);
}

TEST_F(DataTest, TemporaryFilesWorkOrAreSaidNotTo) {
  Fd fd(open(Path().c_str(), O_TMPFILE | O_RDWR, 0600));
  if (!fd.ok()) {
    EXPECT_EQ(ErrnoName(errno), "EOPNOTSUPP");
    return;
  }
  WriteAt(fd.get(), 0, "temporary");
  EXPECT_TRUE(List(Path()).empty());
}

TEST_F(DataTest, ProgramsRunFromHere) {
  std::string script = MakeFile("script", "#!/bin/sh\nexit 42\n", 0755);
  EXPECT_EQ(InChild([&] {
              execl(script.c_str(), script.c_str(), nullptr);
              return errno;
            }),
            42);
  EXPECT_CALL(chmod(script.c_str(), 0644));
  EXPECT_EQ(ErrnoName(InChild([&] {
              execl(script.c_str(), script.c_str(), nullptr);
              return errno;
            })),
            "EACCES");
}

}  // namespace
}  // namespace prism::posix
