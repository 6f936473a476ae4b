// A store on a file system that fills up: clear errors, deletion still works, nothing is lost.
// On a tmpfs of its own, so it needs root.
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <filesystem>

#include "fs/core/host.h"
#include "tests/crash/content.h"
#include "tests/crash/worker.h"

namespace prism::crash {
namespace {

const fs::Caller kRoot;
constexpr uint64_t kFileBytes = 1 << 20;

class FullDiskTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root, to mount a tmpfs";
    disk_ = folder_.path() + "/disk";
    std::filesystem::create_directory(disk_);
    ASSERT_EQ(::mount("none", disk_.c_str(), "tmpfs", 0, "size=420m"), 0) << std::strerror(errno);
    mounted_ = true;
    ASSERT_TRUE(Open());
    ASSERT_TRUE(host_->Create("a", false).has_value());
    Attach();
  }
  void TearDown() override {
    fs_.reset();
    host_.reset();
    if (mounted_) {
      EXPECT_EQ(::umount2(disk_.c_str(), MNT_DETACH), 0);
    }
  }

  bool Open() {
    fs::HostOptions options;
    options.directory = disk_ + "/store";
    options.dirty_bytes_max = 16 << 20;
    options.flush_interval_ms = 50;
    options.checkpoint_interval_ms = 200;
    auto host = fs::Host::Open(options);
    if (!host) fmt::print("open: {}\n", host.error().message);
    if (host) host_ = std::move(*host);
    return host.has_value();
  }
  void Attach() {
    auto fs = host_->Attach("a", false);
    ASSERT_TRUE(fs.has_value());
    fs_ = *fs;
  }

  // A file of content that nothing else has, on disk when this succeeds.
  Status WriteFile(uint64_t number) {
    std::string name = std::to_string(number);
    fs::CreateArgs create;
    create.parent = kRootInode;
    create.name = name;
    create.mode = 0644;
    PRISM_ASSIGN(fs::EntryResult made, fs_->Create(kRoot, create));
    std::string data = Content(number);
    fs::WriteArgs write;
    write.ino = made.attr.ino;
    write.data = std::as_bytes(std::span(data));
    PRISM_TRY(fs_->Write(kRoot, write));
    return fs_->Fsync(kRoot, made.attr.ino, false);
  }
  static std::string Content(uint64_t number) {
    return Payload(1'000'003 + 48 * number, kFileBytes);  // not compressible, not zeros
  }
  void ExpectFile(uint64_t number) {
    auto found = fs_->Lookup(kRoot, kRootInode, std::to_string(number));
    ASSERT_TRUE(found.has_value()) << number;
    std::string data(kFileBytes, '\0');
    auto read = fs_->Read(kRoot, found->attr.ino, 0, std::as_writable_bytes(std::span(data)));
    ASSERT_TRUE(read.has_value()) << number << ": " << NameOf(read.error());
    EXPECT_TRUE(data == Content(number)) << number;
  }
  Status Remove(uint64_t number) {
    PRISM_ASSIGN(fs::RemoveResult removed, fs_->Unlink(kRoot, kRootInode, std::to_string(number)));
    return fs_->Release(kRoot, removed.removed.ino);
  }
  // Writes until it does not go on; returns how many were acknowledged.
  uint64_t Fill(uint64_t from, Err& error) {
    for (uint64_t number = from; number < from + 1000; ++number) {
      Status status = WriteFile(number);
      if (status) continue;
      error = status.error();
      return number;
    }
    return from + 1000;
  }
  // Takes what is left of the disk behind the server's back.
  void TakeTheRest() {
    int fd = ::open((disk_ + "/filler").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    std::string block(1 << 20, 'x');
    while (::write(fd, block.data(), block.size()) > 0) continue;
    block.resize(4096);
    while (::write(fd, block.data(), block.size()) > 0) continue;
    ::close(fd);
  }

  TemporaryFolder folder_;
  std::string disk_;
  bool mounted_ = false;
  std::unique_ptr<fs::Host> host_;
  std::shared_ptr<fs::FileSystem> fs_;
};

TEST_F(FullDiskTest, SaysSoAndRecoversByDeletion) {
  Err error = Err::kOk;
  const uint64_t count = Fill(0, error);
  EXPECT_EQ(NameOf(error), NameOf(Err::kNoSpace));
  ASSERT_GT(count, 20u);
  for (uint64_t number = 0; number < count; ++number) ExpectFile(number);
  (void)Remove(count);  // the one that failed, if its name is there

  // All that needs no more space still works.
  fs::SetAttr mode;
  mode.mode = 0600;
  auto first = fs_->Lookup(kRoot, kRootInode, "0");
  ASSERT_TRUE(first.has_value());
  EXPECT_TRUE(fs_->Setattr(kRoot, first->attr.ino, mode).has_value());
  EXPECT_TRUE(fs_->Rename(kRoot, kRootInode, "0", kRootInode, "zero", 0).has_value());
  EXPECT_TRUE(fs_->Rename(kRoot, kRootInode, "zero", kRootInode, "0", 0).has_value());
  EXPECT_TRUE(fs_->Sync(kRoot).has_value());
  for (uint64_t number = count / 2; number < count; ++number)
    EXPECT_TRUE(Remove(number).has_value()) << number;
  EXPECT_TRUE(host_->Drain().has_value());
  ::usleep(300'000);  // longer than what is known about free space may be old

  const uint64_t again = Fill(2000, error);
  EXPECT_GT(again, 2000 + count / 2 - 8) << "space did not come back";
  EXPECT_EQ(NameOf(error), NameOf(Err::kNoSpace));
  (void)Remove(again);

  fs_.reset();
  host_.reset();
  ASSERT_TRUE(Open()) << "a full store does not open";
  Attach();
  for (uint64_t number = 0; number < count / 2; ++number) ExpectFile(number);
  for (uint64_t number = 2000; number < again; ++number) ExpectFile(number);
  EXPECT_TRUE(host_->Destroy({"a"}).has_value());
  EXPECT_TRUE(host_->Drain().has_value());
  EXPECT_EQ(host_->Stats().chunks, 0u);
}

// Even the space that is kept back for the journal and the checkpoint goes, to somebody else.
TEST_F(FullDiskTest, NotOneByteLeft) {
  for (uint64_t number = 0; number < 10; ++number) ASSERT_TRUE(WriteFile(number).has_value());
  TakeTheRest();
  ::usleep(300'000);
  uint64_t acknowledged = 10;
  for (uint64_t number = 10; number < 60; ++number) {
    Status status = WriteFile(number);
    if (status) {
      EXPECT_EQ(acknowledged, number);
      acknowledged = number + 1;
    } else {
      EXPECT_TRUE(status.error() == Err::kNoSpace || status.error() == Err::kIo ||
                  status.error() == Err::kExists)
          << NameOf(status.error());
    }
    ExpectFile(0);
  }
  // Metadata until what the journal has allocated is used up.
  for (uint64_t i = 0; i < 2000; ++i) {
    std::string value = Payload(77 + i, 60000);
    if (!fs_->Setxattr(kRoot, kRootInode, "user.x", value, fs::XattrMode::kSet)) break;
    if (!fs_->Fsync(kRoot, kRootInode, false)) break;
  }
  fs_.reset();
  host_.reset();  // its last checkpoint may fail: nothing that was acknowledged depends on it
  const bool opened = Open();
  if (opened) {
    Attach();
    for (uint64_t number = 0; number < acknowledged; ++number) ExpectFile(number);
    fs_.reset();
    host_.reset();
  }
  fmt::print("{} files were acknowledged; with no byte left the store {}\n", acknowledged,
             opened ? "opens" : "refuses to open");
  ASSERT_TRUE(std::filesystem::remove(disk_ + "/filler"));
  ASSERT_TRUE(Open());
  Attach();
  for (uint64_t number = 0; number < acknowledged; ++number) ExpectFile(number);
  EXPECT_TRUE(WriteFile(5000).has_value());
  ExpectFile(5000);
}

}  // namespace
}  // namespace prism::crash
