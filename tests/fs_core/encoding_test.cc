// Records, cookies, access control lists, dirty blocks.
#include <gtest/gtest.h>

#include <random>

#include "fs/base/bytes.h"
#include "fs/core/acl.h"
#include "fs/core/dir_cookie.h"
#include "fs/core/dirty_block.h"
#include "fs/core/inode_record.h"
#include "fs/core/times.h"

namespace prism::fs {
namespace {

TEST(InodeRecordTest, RoundTripAndDamage) {
  InodeRecord record;
  record.attr = {.ino = 77,
                 .type = FileType::kRegular,
                 .mode = 06751,
                 .nlink = 3,
                 .uid = 1000,
                 .gid = 4294967294u,
                 .size = 1ull << 59,
                 .used_bytes = 12345,
                 .rdev_major = 8,
                 .rdev_minor = 17,
                 .atime = {-5, 999999999},
                 .mtime = {1, 2},
                 .ctime = {3, 4},
                 .btime = {5, 6},
                 .change = 1ull << 60};
  record.stored_size = record.attr.size;
  record.stored_used = record.attr.used_bytes;
  record.flags = kHasXattrs | kHasVerifier;
  record.xattr_name_bytes = 99;
  record.verifier = 0x1122334455667788;
  const std::string value = EncodeInode(record);
  auto decoded = DecodeInode(77, value);
  ASSERT_TRUE(decoded);
  EXPECT_EQ(*decoded, record);
  for (size_t length = 0; length < value.size(); ++length)
    EXPECT_FALSE(DecodeInode(77, value.substr(0, length)));
  EXPECT_FALSE(DecodeInode(77, value + 'x'));
  std::string other_version = value;
  other_version[0] = 2;
  EXPECT_FALSE(DecodeInode(77, other_version));
  std::string bad_type = value;
  bad_type[1] = 8;
  EXPECT_FALSE(DecodeInode(77, bad_type));
}

TEST(InodeRecordTest, WaitingSizeIsNotStored) {
  InodeRecord record;
  record.attr.size = 100;
  record.stored_size = 40;
  EXPECT_EQ(DecodeInode(1, EncodeInode(record))->attr.size, 40u);
}

TEST(DirCookieTest, HashIsKeyedAndKnown) {
  // SipHash-1-3 of the empty string under the reference key, from its authors' vectors.
  const HashKey key{0x0706050403020100, 0x0f0e0d0c0b0a0908};
  EXPECT_EQ(NameHash(key, ""), 0xabac0158050fc4dcull >> 5);
  EXPECT_NE(NameHash(key, "a"), NameHash({1, 2}, "a"));
  EXPECT_GE(FirstCookie(key, "a"), 16u);
  EXPECT_EQ(FirstCookie(key, "a") % kCookieSlots, 0u);
}

TEST(DirCookieTest, EntriesRoundTrip) {
  const std::string value = EncodeEntry(42, FileType::kSymlink, "name");
  auto entry = DecodeEntry(value);
  ASSERT_TRUE(entry);
  EXPECT_EQ(entry->ino, 42u);
  EXPECT_EQ(entry->type, FileType::kSymlink);
  EXPECT_EQ(entry->name, "name");
  EXPECT_FALSE(DecodeEntry(value.substr(0, 9)));
}

Acl Full() {
  return {{kAclUserObj, 7, ~0u}, {kAclUser, 6, 10},  {kAclGroupObj, 5, ~0u},
          {kAclGroup, 4, 20},    {kAclMask, 4, ~0u}, {kAclOther, 0, ~0u}};
}

TEST(AclTest, ParsesAndRejects) {
  Acl shuffled = {Full()[3], Full()[5], Full()[0], Full()[4], Full()[2], Full()[1]};
  EXPECT_FALSE(ParseAcl(FormatAcl(shuffled)));
  EXPECT_EQ(*ParseAcl(FormatAcl(Full())), Full());
  auto without = [](size_t at) {
    Acl acl = Full();
    acl.erase(acl.begin() + static_cast<std::ptrdiff_t>(at));
    return ParseAcl(FormatAcl(acl));
  };
  for (size_t required : {0, 2, 4, 5}) EXPECT_FALSE(without(required)) << required;
  for (size_t optional : {1, 3}) EXPECT_TRUE(without(optional));
  Acl twice = Full();
  twice.insert(twice.begin(), twice[0]);
  EXPECT_FALSE(ParseAcl(FormatAcl(twice)));
  EXPECT_TRUE(ParseAcl("")->empty());
  EXPECT_EQ(ParseAcl(std::string("\1\0\0\0", 4)).error(), Err::kNotSupported);
  EXPECT_FALSE(ParseAcl(std::string("\2\0\0", 3)));
  EXPECT_FALSE(ParseAcl(FormatAcl(Full()).substr(0, 9)));
  EXPECT_TRUE(ParseAcl(FormatAcl({}))->empty());
  Acl bad_permission = Full();
  bad_permission[0].perm = 8;
  EXPECT_FALSE(ParseAcl(FormatAcl(bad_permission)));
}

TEST(AclTest, ModeMaskAndChecks) {
  EXPECT_EQ(ModeOfAcl(Full()), 0740u);
  Acl acl = Full();
  ApplyModeToAcl(acl, 0664);
  EXPECT_EQ(ModeOfAcl(acl), 0664u);
  EXPECT_EQ(acl[2].perm, 5u) << "the owning group keeps its own entry, the mask changes";
  acl = Full();
  EXPECT_EQ(InheritAcl(acl, 0600), 0600u);
  EXPECT_TRUE(AclGrants(Full(), {1, 1}, 1, 1, 7)) << "owner";
  EXPECT_TRUE(AclGrants(Full(), {10, 1}, 1, 2, 4)) << "named user";
  EXPECT_FALSE(AclGrants(Full(), {10, 1}, 1, 2, 2)) << "masked";
  EXPECT_TRUE(AclGrants(Full(), {11, 20}, 1, 2, 4)) << "named group";
  EXPECT_FALSE(AclGrants(Full(), {11, 2}, 1, 2, 1)) << "group masked, no fall-through to other";
  EXPECT_FALSE(AclGrants(Full(), {11, 3}, 1, 2, 4)) << "other";
  const uint32_t groups[] = {9, 20};
  EXPECT_TRUE(AclGrants(Full(), {11, 3, groups}, 1, 2, 4)) << "supplementary";
}

TEST(DirtyBlockTest, TakesMemoryForWhatIsWritten) {
  const std::string text(4096, 'x');
  DirtyBlock block;
  block.Write(cow::kBlockSize - 4096, std::as_bytes(std::span(text)));
  EXPECT_LT(block.MemoryBytes(), 5000u);
  block.Write(cow::kBlockSize - 3 * 4096, std::as_bytes(std::span(text)));
  EXPECT_LT(block.MemoryBytes(), 20000u);
  block.Write(0, std::as_bytes(std::span(text)));
  ASSERT_TRUE(block.Covers(0, 4096));
  EXPECT_EQ(block.BytesTo(4096)[4095], std::byte{'x'});
  EXPECT_EQ(block.ValidBytes(), 3 * 4096u);
}

TEST(DirtyBlockTest, AgreesWithPlainBytes) {
  std::mt19937 random(5);
  for (int round = 0; round < 30; ++round) {
    DirtyBlock block, older;
    std::string content(cow::kBlockSize, 0), valid(cow::kBlockSize, 0);
    std::string old_content(cow::kBlockSize, 0), old_valid(cow::kBlockSize, 0);
    for (int i = 0; i < 20; ++i) {
      const uint32_t length = 1 + random() % (round % 2 == 0 ? 300 : 30000);
      const uint32_t offset = random() % (cow::kBlockSize - length);
      const std::string text(length, static_cast<char>('a' + random() % 26));
      const bool to_old = i % 3 == 0;
      (to_old ? older : block).Write(offset, std::as_bytes(std::span(text)));
      (to_old ? old_content : content).replace(offset, length, text);
      (to_old ? old_valid : valid).replace(offset, length, std::string(length, 1));
    }
    const uint32_t cut = random() % cow::kBlockSize;
    older.Truncate(cut);
    std::fill(old_valid.begin() + cut, old_valid.end(), 0);
    block.PutUnder(older);
    uint64_t count = 0;
    for (size_t i = 0; i < content.size(); ++i) {
      if (!valid[i] && old_valid[i]) content[i] = old_content[i];
      valid[i] |= old_valid[i];
      count += valid[i] != 0;
    }
    EXPECT_EQ(block.ValidBytes(), count);
    std::string out(cow::kBlockSize, '.');
    block.CopyTo(0, std::as_writable_bytes(std::span(out)));
    for (size_t i = 0; i < out.size(); ++i) ASSERT_EQ(out[i], valid[i] ? content[i] : '.') << i;
    for (size_t i = 1; i < block.ranges().size(); ++i)
      ASSERT_LT(block.ranges()[i - 1].end, block.ranges()[i].begin);
  }
}

TEST(TimesTest, Relatime) {
  const Timespec now{1000000, 0};
  EXPECT_TRUE(AtimeIsDue({.atime = {5, 0}, .mtime = {5, 0}, .ctime = {1, 0}}, now));
  EXPECT_TRUE(AtimeIsDue({.atime = {5, 0}, .mtime = {1, 0}, .ctime = {6, 0}}, now));
  EXPECT_TRUE(AtimeIsDue({.atime = {1000000 - 86400, 0}}, now));
  EXPECT_FALSE(AtimeIsDue({.atime = {999999, 0}, .mtime = {1, 0}, .ctime = {1, 0}}, now));
}

}  // namespace
}  // namespace prism::fs
