// Archives made to do harm, or merely broken: each a clear error, and nothing outside of what it
// names is touched.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>

#include "tests/cli/support.h"

namespace prism::tool {
namespace {

struct Header {
  std::string name;
  char type = '0';
  std::string link;
  std::string data;
  uint64_t claimed_size = ~uint64_t{0};  // else that of data
  std::string device_major = "0000000", device_minor = "0000000";
  std::string uid = "0000000";
  std::string size_field;  // raw, if not empty
};

// One ustar entry (POSIX.1-1988), byte for byte as told.
std::string Entry(const Header& header) {
  std::string block(512, '\0');
  auto put = [&](size_t at, const std::string& text) { text.copy(&block[at], text.size()); };
  put(0, header.name.substr(0, 100));
  put(100, "0000644");
  put(108, header.uid);
  put(116, "0000000");
  const uint64_t size =
      header.claimed_size == ~uint64_t{0} ? header.data.size() : header.claimed_size;
  if (!header.size_field.empty())
    put(124, header.size_field);
  else if (size < (uint64_t{1} << 33))
    put(124, fmt::format("{:011o}", size));
  else  // base 256
    for (int i = 0; i < 8; ++i)
      block[135 - i] = static_cast<char>(size >> (8 * i)), block[124] = '\x80';
  put(136, "14000000000");
  block[156] = header.type;
  put(157, header.link.substr(0, 100));
  put(257, std::string("ustar\0", 6) + "00");
  put(329, header.device_major);
  put(337, header.device_minor);
  block.replace(148, 8, "        ");
  uint32_t sum = 0;
  for (unsigned char byte : block) sum += byte;
  put(148, fmt::format("{:06o}", sum) + std::string("\0 ", 2));
  std::string data = header.data;
  data.resize((data.size() + 511) / 512 * 512);
  return block + data;
}

std::string PaxRecord(const std::string& key, const std::string& value) {
  size_t length = key.size() + value.size() + 3;
  length += std::to_string(length + std::to_string(length).size()).size();
  return fmt::format("{} {}={}\n", length, key, value);
}

std::string Pax(const std::string& records, const Header& header) {
  return Entry({.name = "pax", .type = 'x', .data = records}) + Entry(header);
}

const std::string kEnd(1024, '\0');

class HostileTarTest : public testing::Test {
 protected:
  Outcome<void> Import(const std::string& bytes) {
    std::ofstream(directory_ / "archive", std::ios::binary) << bytes;
    Progress progress(Progress::Style::kSilent, "import");
    Outcome<void> outcome = ImportTar(*volume_, directory_ / "archive", progress);
    warnings_ = progress.Finish().warnings;
    return outcome;
  }
  // The import fails with this code and a message that has these words.
  void ExpectFails(const std::string& bytes, Err code, const std::string& words) {
    Outcome<void> outcome = Import(bytes);
    ASSERT_FALSE(outcome);
    EXPECT_EQ(NameOf(outcome.error().code), NameOf(code)) << outcome.error().message;
    EXPECT_NE(outcome.error().message.find(words), std::string::npos) << outcome.error().message;
  }

  TemporaryDirectory directory_;
  ModelVolume volume_;
  uint64_t warnings_ = 0;
};

TEST_F(HostileTarTest, AnOrdinaryArchiveIsRead) {
  ASSERT_TRUE(Import(Entry({.name = "dir/", .type = '5'}) +
                     Entry({.name = "dir/file", .data = "hello"}) + kEnd));
  EXPECT_EQ(Content(*volume_, "dir/file"), "hello");
}

TEST_F(HostileTarTest, AbsoluteNamesStayInside) {
  ASSERT_TRUE(Import(Entry({.name = "//etc/passwd", .data = "x"}) + kEnd));
  EXPECT_EQ(Content(*volume_, "etc/passwd"), "x");
}

TEST_F(HostileTarTest, DotDotIsAnError) {
  ExpectFails(Entry({.name = "../escape", .data = "x"}) + kEnd, Err::kInvalid, "'..'");
  ExpectFails(Entry({.name = "a/b/../c", .data = "x"}) + kEnd, Err::kInvalid, "'..'");
  ExpectFails(Entry({.name = "link", .type = '1', .link = "../../etc/passwd"}) + kEnd,
              Err::kInvalid, "'..'");
}

TEST_F(HostileTarTest, SymlinksAreNotFollowed) {
  ExpectFails(Entry({.name = "out", .type = '2', .link = "/etc"}) +
                  Entry({.name = "out/passwd", .data = "x"}) + kEnd,
              Err::kLoop, "out, a symlink");
  ExpectFails(Entry({.name = "hard", .type = '1', .link = "out/passwd"}) + kEnd, Err::kLoop,
              "out, a symlink");
  // A symlink to anywhere is content like any other.
  EXPECT_EQ(*volume_->Readlink(kRootCaller, Find(*volume_, "out")->ino), "/etc");
}

TEST_F(HostileTarTest, AFileIsNotADirectory) {
  ExpectFails(
      Entry({.name = "file", .data = "x"}) + Entry({.name = "file/below", .data = "x"}) + kEnd,
      Err::kNotDirectory, "file, which is not a directory");
}

TEST_F(HostileTarTest, HardLinksNeedWhatTheyName) {
  ExpectFails(Entry({.name = "link", .type = '1', .link = "absent"}) + kEnd, Err::kNoEntry,
              "absent, which the archive has not brought");
  ExpectFails(Entry({.name = "dir/", .type = '5'}) +
                  Entry({.name = "link", .type = '1', .link = "dir"}) + kEnd,
              Err::kIsDirectory, "a directory");
  ExpectFails(Entry({.name = "link", .type = '1', .link = "."}) + kEnd, Err::kIsDirectory, "root");
  ASSERT_TRUE(Import(Entry({.name = "self", .data = "x"}) +
                     Entry({.name = "self", .type = '1', .link = "./self"}) + kEnd));
  EXPECT_EQ(Content(*volume_, "self"), "x");
}

TEST_F(HostileTarTest, AbsurdSizesAreRefusedOrAreTruncation) {
  ExpectFails(Entry({.name = "file", .claimed_size = uint64_t{1} << 62}) + kEnd, Err::kTooLarge,
              "beyond the largest file");
  ExpectFails(Entry({.name = "file", .data = "x", .claimed_size = uint64_t{1} << 45}),
              Err::kInvalid, "cannot be read");
  Outcome<void> negative =
      Import(Entry({.name = "file", .size_field = std::string(12, '\xff')}) + kEnd);
  EXPECT_FALSE(negative);
}

TEST_F(HostileTarTest, ANegativeOrHugeOwnerIsRefused) {
  const std::string records = PaxRecord("uid", "99999999999");
  ExpectFails(Pax(records, {.name = "file", .data = "x"}) + kEnd, Err::kInvalid, "owner");
}

TEST_F(HostileTarTest, LongNamesAndTargetsAreRefused) {
  ExpectFails(Pax(PaxRecord("path", std::string(256, 'n')), {.name = "file", .data = "x"}) + kEnd,
              Err::kNameTooLong, "256 bytes");
  ExpectFails(Pax(PaxRecord("path", std::string(70000, '/') + "x"), {.name = "file"}) + kEnd,
              Err::kNameTooLong, "path");
  ExpectFails(
      Pax(PaxRecord("linkpath", std::string(5000, 'l')), {.name = "file", .type = '2'}) + kEnd,
      Err::kInvalid, "its target has");
  ExpectFails(Entry({.name = "link", .type = '2'}) + kEnd, Err::kInvalid, "its target has 0 bytes");
}

TEST_F(HostileTarTest, AVeryDeepPathIsCheap) {
  std::string path;
  for (int i = 0; i < 5000; ++i) path += "d/";
  ASSERT_TRUE(Import(Pax(PaxRecord("path", path + "file"), {.name = "x", .data = "deep"}) + kEnd));
  EXPECT_EQ(Content(*volume_, path + "file"), "deep");
}

TEST_F(HostileTarTest, AnArchiveThatEndsEarlyIsAnError) {
  const std::string whole = Entry({.name = "a", .data = std::string(3000, 'a')}) +
                            Entry({.name = "b", .data = std::string(200000, 'b')});
  for (size_t length : {300u, 800u, 3200u, 4000u, 100000u}) {
    SCOPED_TRACE(length);
    ModelVolume fresh;
    std::ofstream(directory_ / "archive", std::ios::binary) << whole.substr(0, length);
    Progress progress(Progress::Style::kSilent, "import");
    Outcome<void> outcome = ImportTar(*fresh, directory_ / "archive", progress);
    EXPECT_FALSE(outcome);
  }
}

TEST_F(HostileTarTest, ATruncatedCompressedArchiveIsAnError) {
  std::ofstream(directory_ / "whole", std::ios::binary)
      << Entry({.name = "a", .data = std::string(300000, 'a')}) + kEnd;
  for (const char* compression : {"gzip", "xz", "zstd"}) {
    SCOPED_TRACE(compression);
    ASSERT_EQ(Shell(fmt::format("{0} < {1} | head -c -20 > {2}", compression, directory_ / "whole",
                                directory_ / "cut"))
                  .exit_code,
              0);
    ModelVolume fresh;
    Progress progress(Progress::Style::kSilent, "import");
    EXPECT_FALSE(ImportTar(*fresh, directory_ / "cut", progress));
  }
}

TEST_F(HostileTarTest, WhatIsNoArchiveIsAnError) {
  ExpectFails("", Err::kInvalid, "cannot be read");
  ExpectFails(std::string(5000, 'x'), Err::kInvalid, "cannot be read");
  Progress progress(Progress::Style::kSilent, "import");
  EXPECT_EQ(ImportTar(*volume_, directory_ / "absent", progress).error().code, Err::kNoEntry);
}

TEST_F(HostileTarTest, DeviceNumbersThatLinuxLacksAreRefused) {
  ExpectFails(Entry({.name = "dev", .type = '3', .device_major = "7777777"}) + kEnd, Err::kInvalid,
              "device");
  ExpectFails(Entry({.name = "dev", .type = '4', .device_minor = "7777777"}) + kEnd, Err::kInvalid,
              "device");
  ASSERT_TRUE(Import(
      Entry({.name = "dev", .type = '3', .device_major = "0000005", .device_minor = "0000001"}) +
      kEnd));
  EXPECT_EQ(Find(*volume_, "dev")->rdev_major, 5u);
}

TEST_F(HostileTarTest, TheLaterOfTwoEntriesWins) {
  ASSERT_TRUE(
      Import(Entry({.name = "x", .data = "first"}) + Entry({.name = "x", .data = "second"}) +
             Entry({.name = "y", .type = '2', .link = "/etc/passwd"}) +
             Entry({.name = "y", .data = "a file now"}) + Entry({.name = "d/", .type = '5'}) +
             Entry({.name = "d", .data = "file"}) + Entry({.name = "x", .type = '5'}) +
             Entry({.name = "x/in", .data = "inner"}) + kEnd));
  EXPECT_EQ(Content(*volume_, "x/in"), "inner");
  EXPECT_EQ(Content(*volume_, "y"), "a file now");
  EXPECT_EQ(Content(*volume_, "d"), "file");
}

TEST_F(HostileTarTest, ADirectoryWithContentsIsNotReplaced) {
  ExpectFails(Entry({.name = "d/in", .data = "x"}) + Entry({.name = "d", .data = "file"}) + kEnd,
              Err::kNotEmpty, "has contents");
}

TEST_F(HostileTarTest, TheRootIsADirectory) {
  ExpectFails(Entry({.name = ".", .type = '2', .link = "/etc"}) + kEnd, Err::kInvalid, "root");
  ExpectFails(Entry({.name = "/.", .data = "x"}) + kEnd, Err::kInvalid, "root");
}

TEST_F(HostileTarTest, ReplacingAFileThatHasOtherNamesLeavesThem) {
  ASSERT_TRUE(Import(Entry({.name = "a", .data = "old"}) +
                     Entry({.name = "b", .type = '1', .link = "a"}) +
                     Entry({.name = "a", .data = "new"}) + kEnd));
  EXPECT_EQ(Content(*volume_, "a"), "new");
  EXPECT_EQ(Content(*volume_, "b"), "old");
}

TEST_F(HostileTarTest, AttributesOfOtherNamespacesAreLeftOutWithAWarning) {
  ASSERT_TRUE(Import(
      Pax(PaxRecord("SCHILY.xattr.user.ok", "1") + PaxRecord("SCHILY.xattr.system.evil", "1"),
          {.name = "file", .data = "x"}) +
      kEnd));
  EXPECT_EQ(warnings_, 1u);
  EXPECT_EQ(*volume_->Getxattr(kRootCaller, Find(*volume_, "file")->ino, "user.ok"), "1");
}

TEST_F(HostileTarTest, CpioBringsTheContentWithTheLastName) {
  auto entry = [](const std::string& name, int ino, int mode, const std::string& data) {
    std::string bytes =
        fmt::format("070701{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}", ino, mode, 1, 2, 2,
                    1600000000, data.size()) +
        fmt::format("{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}", 0, 0, 0, 0, name.size() + 1, 0) + name +
        '\0';
    bytes.resize((bytes.size() + 3) / 4 * 4);
    bytes += data;
    bytes.resize((bytes.size() + 3) / 4 * 4);
    return bytes;
  };
  ASSERT_TRUE(Import(entry("a", 5, 0100644, "") + entry("b", 5, 0100644, "hello") +
                     entry("TRAILER!!!", 0, 0, "")));
  EXPECT_EQ(Content(*volume_, "a"), "hello");
  EXPECT_EQ(Find(*volume_, "a")->ino, Find(*volume_, "b")->ino);
  EXPECT_EQ(Find(*volume_, "a")->mtime.sec, 1600000000);
}

TEST_F(HostileTarTest, SparseMapsThatLieAreErrors) {
  // GNU sparse 1.0: the map is at the start of the data.
  auto sparse = [](const std::string& map, uint64_t real_size) {
    std::string data = map;
    data.resize(512);
    return Pax(PaxRecord("GNU.sparse.major", "1") + PaxRecord("GNU.sparse.minor", "0") +
                   PaxRecord("GNU.sparse.name", "file") +
                   PaxRecord("GNU.sparse.realsize", std::to_string(real_size)),
               {.name = "file", .data = data + std::string(512, 'd')}) +
           kEnd;
  };
  ASSERT_TRUE(Import(sparse("1\n65536\n512\n", 131072)));
  EXPECT_EQ(Find(*volume_, "file")->size, 131072u);
  EXPECT_EQ(Content(*volume_, "file").substr(65536, 512), std::string(512, 'd'));
  EXPECT_FALSE(Import(sparse("1\n65536\n512\n", 1000)));  // beyond the size
  EXPECT_FALSE(Import(sparse("1\n9223372036854775807\n512\n", 1000)));
  EXPECT_FALSE(Import(sparse("99999999999\n1\n1\n", 1000)));  // more ranges than bytes
}

}  // namespace
}  // namespace prism::tool
