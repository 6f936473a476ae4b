// Every operation, asked over a lane and directly: the same answer, and the same question seen.
#include <functional>

#include "tests/vrpc/lane_fixture.h"
#include "vrpc/messages.h"
#include "vrpc/wire.h"

namespace prism::vrpc {
namespace {

constexpr uint32_t kGroups[] = {7, 8, 4000000000u};
const fs::Caller kCaller{.uid = 1000, .gid = 1001, .groups = kGroups, .check_permission = true};

// Results as bytes, so that every type can be compared.
template <typename T>
std::string Bytes(const Result<T>& result) {
  if (!result) return std::string(NameOf(result.error()));
  std::string bytes = "ok ";
  if constexpr (std::is_same_v<T, std::vector<std::string>>)
    AppendNames(bytes, *result);
  else
    Encoder(bytes).Put(*result);
  return bytes;
}
std::string Bytes(const Status& status) {
  return std::string(status ? "ok" : NameOf(status.error()));
}

class OperationsTest : public LaneFixture {
 protected:
  void SetUp() override {
    StartServer();
    client_ = Connect();
    ASSERT_NE(client_, nullptr);
  }

  // call: takes a FileSystem&, returns a Result or Status.
  template <typename Call>
  void SameOverLane(const char* what, Call call) {
    EchoFs direct;
    std::string expected = Bytes(call(static_cast<fs::FileSystem&>(direct)));
    std::string actual = Bytes(call(static_cast<fs::FileSystem&>(*client_)));
    EXPECT_EQ(expected, actual) << what;
    auto expected_log = direct.TakeLog();
    EXPECT_EQ(expected_log, echo()->TakeLog()) << what;
    EXPECT_EQ(expected_log.size(), 1u) << what;
  }

  std::shared_ptr<Client> client_;
};

TEST_F(OperationsTest, Null) { EXPECT_TRUE(client_->Null()); }

TEST_F(OperationsTest, OnInodes) {
  SameOverLane("statfs", [](auto& fs) { return fs.Statfs(kCaller); });
  SameOverLane("getattr", [](auto& fs) { return fs.Getattr(kCaller, 42); });
  SameOverLane("getattr of nothing",
               [](auto& fs) { return fs.Getattr(kCaller, EchoFs::kStaleInode); });
  SameOverLane("access", [](auto& fs) { return fs.Access(kCaller, 3, 7); });
  SameOverLane("empty readlink", [](auto& fs) { return fs.Readlink(kCaller, 0); });
  SameOverLane("longest readlink", [](auto& fs) { return fs.Readlink(kCaller, fs::kSymlinkMax); });
  SameOverLane("fsync", [](auto& fs) { return fs.Fsync(kCaller, 5, true); });
  SameOverLane("sync", [](auto& fs) { return fs.Sync(kCaller); });
  SameOverLane("release", [](auto& fs) { return fs.Release(kCaller, 6); });
  SameOverLane("release of nothing",
               [](auto& fs) { return fs.Release(kCaller, EchoFs::kStaleInode); });
  SameOverLane("seek", [](auto& fs) {
    return fs.Seek(kCaller, 6, uint64_t{1} << 45, fs::SeekWhence::kHole);
  });
  SameOverLane("fallocate", [](auto& fs) {
    return fs.Fallocate(kCaller, 6, fs::FallocateMode::kZeroRangeKeep, 9, fs::kFileSizeMax);
  });
  SameOverLane("copy", [](auto& fs) { return fs.CopyRange(kCaller, 1, 2, 3, 4, 500); });
}

TEST_F(OperationsTest, Setattr) {
  SameOverLane("nothing", [](auto& fs) { return fs.Setattr(kCaller, 1, {}); });
  SameOverLane("all", [](auto& fs) {
    return fs.Setattr(kCaller, 1,
                      {.mode = 07777,
                       .uid = 1,
                       .gid = 2,
                       .size = uint64_t{1} << 59,
                       .atime = fs::Timespec{-5, 999'999'999},
                       .mtime = fs::Timespec{5, 0},
                       .kill_privileges = true});
  });
  SameOverLane("now", [](auto& fs) {
    return fs.Setattr(kCaller, 1, {.atime_now = true, .mtime_now = true});
  });
}

TEST_F(OperationsTest, Names) {
  std::string longest(fs::kNameMax, 'n'), too_long(70000, 'n');
  for (std::string_view name : {std::string_view("a"), std::string_view(longest)}) {
    SameOverLane("lookup", [&](auto& fs) { return fs.Lookup(kCaller, 1, name); });
    SameOverLane("link", [&](auto& fs) { return fs.Link(kCaller, 4, 1, name); });
    SameOverLane("unlink", [&](auto& fs) { return fs.Unlink(kCaller, 1, name); });
    SameOverLane("rmdir", [&](auto& fs) { return fs.Rmdir(kCaller, 1, name); });
    SameOverLane("rename", [&](auto& fs) {
      return fs.Rename(kCaller, 1, name, 2, "other", fs::kRenameExchange);
    });
    SameOverLane("rename without a victim",
                 [&](auto& fs) { return fs.Rename(kCaller, 1, "other", 2, name, 0); });
  }
  // Not the same question, but the same answer.
  EXPECT_EQ(client_->Lookup(kCaller, 1, too_long).error(), Err::kNameTooLong);
}

TEST_F(OperationsTest, ReadAndWrite) {
  for (size_t size : {size_t{0}, size_t{1}, size_t{4096}, size_t{100'001}, fs::kIoMax}) {
    std::vector<std::byte> data(size);
    for (size_t i = 0; i < size; ++i) data[i] = static_cast<std::byte>(i * 31);
    SameOverLane("write", [&](auto& fs) {
      return fs.Write(kCaller, {.ino = 3,
                                .offset = uint64_t{1} << 40,
                                .data = data,
                                .append = size % 2 == 1,
                                .stability = fs::Stability::kFileSync,
                                .kill_privileges = size == 1});
    });
    std::vector<std::byte> direct(size), over_lane(size);
    EchoFs direct_fs;
    // The inode's number is the length that is there: all, and one less.
    for (InodeId ino : {InodeId{size}, InodeId{size > 0 ? size - 1 : 0}}) {
      auto expected = direct_fs.Read(kCaller, ino, 77, direct);
      auto actual = client_->Read(kCaller, ino, 77, over_lane);
      EXPECT_EQ(Bytes(expected), Bytes(actual));
      EXPECT_EQ(direct, over_lane);
    }
    echo()->TakeLog();
  }
  std::vector<std::byte> too_much(fs::kIoMax + 1);
  EXPECT_EQ(client_->Write(kCaller, {.ino = 3, .data = too_much}).error(), Err::kInvalid);
  EXPECT_EQ(client_->Read(kCaller, 3, 0, too_much).error(), Err::kInvalid);
}

TEST_F(OperationsTest, Create) {
  SameOverLane("plain", [](auto& fs) { return fs.Create(kCaller, {.parent = 1, .name = "f"}); });
  std::vector<std::byte> data(fs::kInitialDataMax, std::byte{0x5a});
  std::vector<fs::Xattr> xattrs = {{"user.a", ""},
                                   {"security.capability", std::string("\0\1\2", 3)},
                                   {"user.big", std::string(fs::kXattrValueMax, 'x')}};
  std::string target(fs::kSymlinkMax, 't');
  SameOverLane("everything", [&](auto& fs) {
    return fs.Create(kCaller, {.parent = 1,
                               .name = "f",
                               .type = fs::FileType::kSymlink,
                               .mode = 0644,
                               .umask = 022,
                               .rdev_major = 5,
                               .rdev_minor = 6,
                               .symlink_target = target,
                               .exclusivity = fs::Exclusivity::kVerified,
                               .verifier = ~uint64_t{0},
                               .initial = {.mode = 0600, .uid = 5, .mtime = fs::Timespec{1, 2}},
                               .data = data,
                               .xattrs = xattrs});
  });
  std::vector<std::byte> too_much(fs::kIoMax + 1);
  auto refused = client_->Create(kCaller, {.parent = 1, .name = "f", .data = too_much});
  EXPECT_EQ(refused.error(), Err::kTooLarge);
  std::vector<fs::Xattr> many(20, {"user.big", std::string(fs::kXattrValueMax, 'x')});
  refused = client_->Create(kCaller, {.parent = 1, .name = "f", .xattrs = many});
  EXPECT_EQ(refused.error(), Err::kTooBig);
}

TEST_F(OperationsTest, Xattrs) {
  for (InodeId ino : {InodeId{0}, InodeId{1}, InodeId{499}, InodeId{fs::kXattrValueMax}}) {
    SameOverLane("get", [&](auto& fs) { return fs.Getxattr(kCaller, ino, "user.x"); });
    SameOverLane("list", [&](auto& fs) { return fs.Listxattr(kCaller, ino); });
    SameOverLane("remove", [&](auto& fs) { return fs.Removexattr(kCaller, ino, "user.x"); });
    SameOverLane("set", [&](auto& fs) {
      return fs.Setxattr(kCaller, ino, "user.x", std::string(ino, 'y'), fs::XattrMode::kReplace);
    });
  }
  std::string too_big(2 * fs::kIoMax, 'x');
  EXPECT_EQ(client_->Setxattr(kCaller, 1, "user.x", too_big, fs::XattrMode::kSet).error(),
            Err::kTooBig);
}

struct Listing {
  std::vector<std::string> entries;
  bool eof = false;
};

Listing List(fs::FileSystem& fs, uint64_t cookie, bool with_attr, size_t stop_after) {
  Listing listing;
  auto visit = [&](const fs::DirEntry& e) {
    if (listing.entries.size() == stop_after) return false;
    std::string bytes;
    AppendDirEntry(bytes, e);
    listing.entries.push_back(std::move(bytes));
    return true;
  };
  auto result = fs.Readdir(kCaller, 9, cookie, with_attr, visit);
  EXPECT_TRUE(result);
  if (result) {
    EXPECT_EQ(result->dir, EchoAttr(9));
    listing.eof = result->eof;
  }
  return listing;
}

TEST_F(OperationsTest, Readdir) {
  EchoFs direct;
  for (bool with_attr : {false, true}) {
    for (uint64_t cookie : {uint64_t{0}, uint64_t{3}, uint64_t{1990}, uint64_t{2002}}) {
      for (size_t stop_after : {size_t{0}, size_t{1}, size_t{300}, size_t{100'000}}) {
        Listing expected = List(direct, cookie, with_attr, stop_after);
        Listing actual = List(*client_, cookie, with_attr, stop_after);
        EXPECT_EQ(expected.entries, actual.entries) << cookie << " " << stop_after;
        EXPECT_EQ(expected.eof, actual.eof) << cookie << " " << stop_after;
      }
    }
  }
}

TEST_F(OperationsTest, Locks) {
  std::string longest(fs::kLockOwnerMax, '\xfe');
  for (std::string_view owner : {std::string_view(), std::string_view(longest)}) {
    fs::LockArgs args{.ino = 7,
                      .kind = fs::LockKind::kNetwork,
                      .type = fs::LockType::kExclusive,
                      .start = 1,
                      .length = fs::kLockOffsetMax,
                      .owner = owner,
                      .pid = ~uint32_t{0},
                      .wait = true,
                      .cookie = ~uint64_t{0}};
    SameOverLane("queued", [&](auto& fs) { return fs.Lock(kCaller, args); });
    SameOverLane("held", [&](auto& fs) -> Status {
      auto holder = fs.TestLock(kCaller, args);
      if (!holder) return Fail(holder.error());
      EXPECT_TRUE(*holder && (*holder)->kind == args.kind && (*holder)->type == args.type &&
                  (*holder)->start == args.start && (*holder)->length == args.length &&
                  (*holder)->pid == args.pid && (*holder)->own_client &&
                  (*holder)->owner == args.owner);
      return {};
    });
    args.wait = false;
    SameOverLane("granted", [&](auto& fs) { return fs.Lock(kCaller, args); });
    args.ino = 0;
    SameOverLane("free", [&](auto& fs) -> Status {
      auto holder = fs.TestLock(kCaller, args);
      EXPECT_TRUE(holder && !*holder);
      return {};
    });
    args.ino = EchoFs::kStaleInode;
    SameOverLane("stale", [&](auto& fs) -> Status {
      PRISM_TRY(fs.TestLock(kCaller, args));
      return {};
    });
    SameOverLane("drop", [&](auto& fs) { return fs.DropLocks(kCaller, 8, owner); });
  }
  SameOverLane("cancel", [](auto& fs) { return fs.CancelLock(kCaller, uint64_t{1} << 63); });
  SameOverLane("cancel of nothing", [](auto& fs) { return fs.CancelLock(kCaller, 0); });
}

TEST_F(OperationsTest, TooManyGroupsAreInvalid) {
  std::vector<uint32_t> groups(fs::kGroupsMax, 1);
  EXPECT_TRUE(client_->Getattr({.groups = groups}, 1));
  groups.push_back(1);
  EXPECT_EQ(client_->Getattr({.groups = groups}, 1).error(), Err::kInvalid);
}

}  // namespace
}  // namespace prism::vrpc
