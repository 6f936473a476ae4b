// The codec: every message there and back, and every way of being malformed: cut at each length,
// with a byte too many, with each byte changed.
#include "vrpc/wire.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/vrpc/echo_fs.h"
#include "vrpc/messages.h"
#include "vrpc/operations.h"

namespace prism::vrpc {
namespace {

template <typename T>
std::string Encoded(const T& value) {
  std::string bytes;
  Encoder(bytes).Put(value);
  return bytes;
}

template <typename T>
bool Decodes(std::string_view bytes, T& value) {
  Decoder decoder(bytes);
  decoder.Get(value);
  return decoder.Finished();
}

// Encoding what was decoded gives the same bytes: nothing is lost, and nothing has two forms.
template <typename T>
void CheckMessage(const T& value) {
  std::string bytes = Encoded(value);
  T decoded{};
  ASSERT_TRUE(Decodes(bytes, decoded));
  EXPECT_EQ(Encoded(decoded), bytes);
  for (size_t length = 0; length < bytes.size(); ++length) {
    // A copy of exactly this size, so that a sanitizer sees one byte too far.
    std::vector<char> cut(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(length));
    T other{};
    EXPECT_FALSE(Decodes({cut.data(), cut.size()}, other)) << length;
  }
  T other{};
  EXPECT_FALSE(Decodes(bytes + '\0', other));
  for (size_t i = 0; i < bytes.size(); ++i) {
    for (unsigned char mask : {0x01, 0x80, 0xff}) {
      std::string changed = bytes;
      changed[i] = static_cast<char>(changed[i] ^ mask);
      T accepted{};
      if (Decodes(changed, accepted)) {
        EXPECT_EQ(Encoded(accepted), changed);
      }
    }
  }
}

const fs::SetAttr kAllSet{.mode = 07777,
                          .uid = 1,
                          .gid = 2,
                          .size = 3,
                          .atime = fs::Timespec{-1, 4},
                          .mtime = fs::Timespec{5, 999'999'999},
                          .atime_now = true,
                          .mtime_now = true,
                          .kill_privileges = true};

TEST(WireTest, Requests) {
  CheckMessage(Nothing{});
  CheckMessage(InoRequest{~InodeId{0}});
  CheckMessage(NameRequest{1, "name"});
  CheckMessage(NameRequest{1, ""});
  CheckMessage(SetattrRequest{1, {}});
  CheckMessage(SetattrRequest{1, kAllSet});
  CheckMessage(AccessRequest{1, 7});
  CheckMessage(ReadRequest{1, 2, 3});
  CheckMessage(WriteRequest{1, 2, true, true, fs::Stability::kDataSync, true});
  CheckMessage(CreateRequest{.parent = 1,
                             .name = "name",
                             .type = fs::FileType::kFifo,
                             .mode = 1,
                             .umask = 2,
                             .rdev_major = 3,
                             .rdev_minor = 4,
                             .symlink_target = "target",
                             .exclusivity = fs::Exclusivity::kVerified,
                             .verifier = 5,
                             .initial = kAllSet,
                             .data_bytes = 6,
                             .xattr_count = 7});
  CheckMessage(LinkRequest{1, 2, "name"});
  CheckMessage(RenameRequest{1, "from", 2, "to", 3});
  CheckMessage(ReaddirRequest{1, 2, true, 3, 4});
  CheckMessage(FsyncRequest{1, true});
  CheckMessage(SetxattrRequest{1, "name", fs::XattrMode::kReplace});
  CheckMessage(FallocateRequest{1, fs::FallocateMode::kZeroRangeKeep, 2, 3});
  CheckMessage(SeekRequest{1, 2, fs::SeekWhence::kHole});
  CheckMessage(CopyRangeRequest{1, 2, 3, 4, 5});
  CheckMessage(LockRequest{
      {1, fs::LockKind::kNetwork, fs::LockType::kExclusive, 2, 3, "owner", 4, true, ~uint64_t{0}}});
  CheckMessage(CancelLockRequest{~uint64_t{0}});
  CheckMessage(DropLocksRequest{1, "prefix"});
  CheckMessage(FindDoneRequest{7});
  CheckMessage(AnswerBarrierRequest{~uint64_t{0}, true});
}

TEST(WireTest, Replies) {
  fs::Change change{EchoAttr(1), EchoAttr(2)};
  CheckMessage(EchoAttr(12345));
  CheckMessage(change);
  CheckMessage(fs::StatfsResult{1, 2, 3, 4, 5});
  CheckMessage(fs::EntryResult{EchoAttr(3), change, true});
  CheckMessage(fs::RemoveResult{EchoAttr(3), change});
  CheckMessage(fs::RenameResult{change, change, EchoAttr(4), std::nullopt});
  CheckMessage(fs::RenameResult{change, change, EchoAttr(4), EchoAttr(5)});
  CheckMessage(fs::ReadResult{1, true, EchoAttr(6)});
  CheckMessage(fs::WriteResult{1, 2, fs::Stability::kFileSync, change});
  CheckMessage(AccessReply{7});
  CheckMessage(ReadlinkReply{"target"});
  CheckMessage(ReaddirReply{true, EchoAttr(7), 9});
  CheckMessage(ListxattrReply{3});
  CheckMessage(OffsetReply{~uint64_t{0}});
  CheckMessage(TestLockReply{});
  CheckMessage(TestLockReply{
      fs::LockHolder{fs::LockKind::kNetwork, fs::LockType::kExclusive, 1, 2, 3, true, "owner"}});
}

TEST(WireTest, AttributesKeepEveryField) {
  for (InodeId ino : {InodeId{0}, InodeId{1}, InodeId{77777}}) {
    fs::Attr attr;
    ASSERT_TRUE(Decodes(Encoded(EchoAttr(ino)), attr));
    EXPECT_EQ(attr, EchoAttr(ino));
  }
}

TEST(WireTest, ValuesOutOfRangeAreRefused) {
  fs::Attr attr = EchoAttr(1), decoded;
  attr.mode = 010000;
  EXPECT_FALSE(Decodes(Encoded(attr), decoded));
  attr = EchoAttr(1);
  attr.btime.nsec = 1'000'000'000;
  EXPECT_FALSE(Decodes(Encoded(attr), decoded));
  attr = EchoAttr(1);
  attr.type = static_cast<fs::FileType>(8);
  EXPECT_FALSE(Decodes(Encoded(attr), decoded));
  attr.type = static_cast<fs::FileType>(0);
  EXPECT_FALSE(Decodes(Encoded(attr), decoded));
  SeekRequest seek;
  EXPECT_FALSE(Decodes(Encoded(SeekRequest{1, 2, static_cast<fs::SeekWhence>(2)}), seek));
  LockRequest lock;
  EXPECT_FALSE(Decodes(Encoded(LockRequest{{.kind = static_cast<fs::LockKind>(3)}}), lock));
  EXPECT_FALSE(Decodes(Encoded(LockRequest{{.type = static_cast<fs::LockType>(3)}}), lock));
  fs::Timespec time;
  EXPECT_FALSE(Decodes(Encoded(fs::Timespec{0, 1'000'000'000}), time));
}

TEST(WireTest, ListsAllocateByWhatIsThere) {
  std::vector<fs::Xattr> xattrs = {{"user.a", "1"}, {"user.b", ""}}, read;
  std::string bytes;
  AppendXattrs(bytes, xattrs);
  ASSERT_TRUE(ReadXattrs(bytes, 2, read));
  ASSERT_EQ(read.size(), 2u);
  EXPECT_EQ(read[0].name, "user.a");
  EXPECT_EQ(read[0].value, "1");
  for (uint32_t count : {0u, 1u, 3u, 0xffffffffu}) {
    read.clear();
    EXPECT_FALSE(ReadXattrs(bytes, count, read)) << count;
    EXPECT_LE(read.size(), 3u);
  }
  std::vector<std::string> names = {"a", "", "b"}, read_names;
  bytes.clear();
  AppendNames(bytes, names);
  ASSERT_TRUE(ReadNames(bytes, 3, read_names));
  EXPECT_EQ(read_names, names);
  read_names.clear();
  EXPECT_FALSE(ReadNames(bytes, 0xffffffffu, read_names));
  EXPECT_LE(read_names.size(), 4u);
}

TEST(WireTest, DirectoryEntries) {
  fs::Attr attr = EchoAttr(5), decoded_attr;
  std::string longest(fs::kNameMax, 'n');
  for (const fs::Attr* with : {static_cast<const fs::Attr*>(nullptr), &std::as_const(attr)}) {
    std::string bytes;
    AppendDirEntry(bytes, {9, 10, fs::FileType::kSocket, longest, with});
    EXPECT_LE(bytes.size(), kDirEntryBytesMax);
    fs::DirEntry entry;
    Decoder decoder(bytes);
    ASSERT_TRUE(ReadDirEntry(decoder, entry, decoded_attr));
    EXPECT_TRUE(decoder.Finished());
    EXPECT_EQ(entry.name, longest);
    ASSERT_EQ(entry.attr != nullptr, with != nullptr);
    if (with != nullptr) {
      EXPECT_EQ(*entry.attr, attr);
    }
    for (size_t length = 0; length < bytes.size(); ++length) {
      Decoder cut(std::string_view(bytes).substr(0, length));
      EXPECT_FALSE(ReadDirEntry(cut, entry, decoded_attr));
    }
  }
  for (const std::string& name : {std::string(), std::string(fs::kNameMax + 1, 'n')}) {
    std::string bytes;
    AppendDirEntry(bytes, {9, 10, fs::FileType::kSocket, name, nullptr});
    fs::DirEntry entry;
    Decoder decoder(bytes);
    EXPECT_FALSE(ReadDirEntry(decoder, entry, decoded_attr));
  }
}

// Handlers get random bodies and payloads, as a client may send them.
TEST(WireTest, HandlersTakeAnyBytes) {
  EchoFs fs;
  std::mt19937_64 random(1);
  std::vector<std::byte> payload(kDirEntryBytesMax * 40);
  std::array<int, kOpCount> accepted{};
  for (int i = 0; i < 200'000; ++i) {
    uint16_t op = static_cast<uint16_t>(random() % kOpCount);
    std::string body(random() % 64, '\0');
    for (char& c : body) c = random() % 4 != 0 ? '\0' : static_cast<char>(random() % 8);
    for (size_t p = 0; p < 64; ++p) payload[p] = static_cast<std::byte>(random() % 4);
    std::string reply, scratch;
    ServeContext context{.fs = fs,
                         .caller = {},
                         .body = body,
                         .payload = payload,
                         .payload_bytes = static_cast<uint32_t>(random() % 64),
                         .reply = reply,
                         .scratch = scratch};
    if (FindOperation(op)->serve(context) == Err::kOk) ++accepted[op];
    ASSERT_LE(context.reply_payload_bytes, payload.size());
  }
  EXPECT_GT(accepted[static_cast<size_t>(Op::kGetattr)], 0);  // the bytes are not all nonsense
  EXPECT_EQ(FindOperation(kOpCount), nullptr);
  EXPECT_STREQ(NameOfOp(kOpCount), "unknown");
}

}  // namespace
}  // namespace prism::vrpc
