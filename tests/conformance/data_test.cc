// Read, Write and sizes.
#include <algorithm>

#include "tests/conformance/suite.h"

namespace prism::conformance {
namespace {

constexpr uint64_t kTiB = uint64_t{1} << 40;

using DataTest = Conformance;

TEST_F(DataTest, ReadsBackWhatWasWrittenAtEveryBoundary) {
  InodeId ino = MakeFile(kRootInode, "f");
  std::string expected;
  uint32_t seed = 0;
  for (uint64_t edge : {4096, 8192, 65536, 131072, 1048576}) {
    for (int shift : {-1, 0, 1}) {
      std::string piece = Pattern(3, ++seed);
      uint64_t offset = edge + shift - 1;
      WriteAt(ino, offset, piece);
      expected.resize(std::max<size_t>(expected.size(), offset + piece.size()), '\0');
      expected.replace(offset, piece.size(), piece);
    }
  }
  EXPECT_EQ(GetAttr(ino).size, expected.size());
  EXPECT_EQ(ReadAll(ino), expected);
}

TEST_F(DataTest, ASmallFileGrowsByteByByte) {
  InodeId ino = MakeFile(kRootInode, "f");
  std::string expected;
  for (int i = 0; i < 300; ++i) {
    WriteAt(ino, expected.size(), std::string(1, static_cast<char>('a' + i % 26)));
    expected += static_cast<char>('a' + i % 26);
  }
  EXPECT_EQ(ReadAll(ino), expected);
}

TEST_F(DataTest, OverwritesChangeOnlyTheirRange) {
  std::string expected = Pattern(300000);
  InodeId ino = MakeFile(kRootInode, "f", expected);
  uint32_t seed = 1;
  for (auto [offset, size] : {std::pair{0, 1},
                              {1, 4096},
                              {4096, 4096},
                              {65530, 12},
                              {65536, 65536},
                              {100, 250000},
                              {299999, 1},
                              {131071, 2}}) {
    std::string piece = Pattern(size, ++seed);
    WriteAt(ino, offset, piece);
    expected.replace(offset, size, piece);
    ASSERT_EQ(ReadAll(ino), expected) << offset << "+" << size;
  }
}

TEST_F(DataTest, ReadsStopAtTheEndAndSaySo) {
  InodeId ino = MakeFile(kRootInode, "f", Pattern(5000));
  std::byte buffer[8192];
  auto read = [&](uint64_t offset, size_t length) {
    return Must(fs_->Read(kKernel, ino, offset, std::span(buffer, length)));
  };
  EXPECT_EQ(read(0, 4999).length, 4999u);
  EXPECT_FALSE(read(0, 4999).eof);
  EXPECT_TRUE(read(0, 5000).eof);
  EXPECT_EQ(read(0, 8192).length, 5000u);
  EXPECT_TRUE(read(0, 8192).eof);
  EXPECT_EQ(read(4999, 10).length, 1u);
  EXPECT_EQ(read(5000, 10).length, 0u);
  EXPECT_TRUE(read(5000, 10).eof);
  EXPECT_EQ(read(kTiB, 10).length, 0u);
  EXPECT_EQ(read(0, 10).attr.size, 5000u);
  if (!Can(Feature::kAnyOffset)) return;
  EXPECT_EQ(read(~uint64_t{0}, 10).length, 0u);
  EXPECT_TRUE(read(~uint64_t{0}, 10).eof);
}

TEST_F(DataTest, ReadsNeverTouchTheBufferBeyondTheirLength) {
  InodeId ino = MakeFile(kRootInode, "f", "0123456789");
  std::string buffer(64, '#');
  Must(fs_->Read(kKernel, ino, 4, std::as_writable_bytes(std::span(buffer.data(), 32))));
  EXPECT_EQ(buffer.substr(0, 6), "456789");
  EXPECT_EQ(buffer.substr(32), std::string(32, '#'));
}

// Read by caches that have it already, that do not yet, and never had it.
TEST_F(DataTest, KeptBytesAreThoseOfThatMoment) {
  const std::string body = Pattern(300000) + std::string(100000, '\0') + Pattern(70001, 2);
  InodeId ino = MakeFile(kRootInode, "f", body);
  auto text_of = [](const fs::KeptRead& read) {
    std::string text;
    for (const KeptBytes& part : read.parts)
      text.append(reinterpret_cast<const char*>(part.bytes.data()), part.bytes.size());
    return text;
  };
  std::vector<std::pair<fs::KeptRead, std::string>> kept;
  auto check = [&](uint64_t offset, size_t length) {
    auto read = fs_->ReadKept(kKernel, ino, offset, length);
    ASSERT_TRUE(read) << NameOf(read.error());
    const std::string expected = offset < body.size() ? body.substr(offset, length) : "";
    ASSERT_EQ(read->result.length, expected.size()) << offset << "+" << length;
    EXPECT_EQ(read->result.attr.size, body.size());
    ASSERT_TRUE(text_of(*read) == expected) << offset << "+" << length;
    kept.emplace_back(std::move(*read), expected);
  };
  for (int time = 0; time < 4; ++time) {
    for (auto [offset, length] : {std::pair<uint64_t, size_t>{0, 470001},
                                  {0, 500000},
                                  {1, 65536},
                                  {65536, 65536},
                                  {70000, 10},
                                  {290000, 150000},
                                  {470000, 1000},
                                  {600000, 1000},
                                  {5, 0}})
      ASSERT_NO_FATAL_FAILURE(check(offset, length));
    ASSERT_EQ(ErrOf(fs_->Fsync(kKernel, ino, false)), Err::kOk);
  }
  WriteAt(ino, 0, Pattern(200000, 9));
  ASSERT_EQ(ErrOf(fs_->Fsync(kKernel, ino, false)), Err::kOk);
  Truncate(ino, 10);
  for (const auto& [read, expected] : kept) EXPECT_TRUE(text_of(read) == expected);
}

TEST_F(DataTest, LargestIoWorks) {
  std::string data = Pattern(fs::kIoMax);
  InodeId ino = MakeFile(kRootInode, "f");
  WriteAt(ino, 777, data);
  EXPECT_EQ(ReadAt(ino, 777, fs::kIoMax), data);
  EXPECT_EQ(GetAttr(ino).size, 777 + fs::kIoMax);
}

TEST_F(DataTest, LargerIoIsRefusedOrCut) {
  NEEDS(kBoundedIo);
  InodeId ino = MakeFile(kRootInode, "f", Pattern(777));
  std::string more(fs::kIoMax + 1, 'x');
  EXPECT_TRUE(IsMalformed(WriteErr(kKernel, ino, 0, more)));
  auto read = fs_->Read(kKernel, ino, 0, std::as_writable_bytes(std::span(more)));
  EXPECT_TRUE(read ? read->length <= fs::kIoMax : read.error() == Err::kInvalid);
  EXPECT_EQ(GetAttr(ino).size, 777u);
}

TEST_F(DataTest, WritesOfNothingChangeNothing) {
  InodeId ino = MakeFile(kRootInode, "f", "abc");
  Attr before = GetAttr(ino);
  WriteAt(ino, 1000, "");
  EXPECT_EQ(GetAttr(ino), before);
}

TEST_F(DataTest, AppendsGoToTheEndWhateverTheOffset) {
  NEEDS(kAppend);
  InodeId ino = MakeFile(kRootInode, "f", "start");
  fs::WriteArgs args;
  args.ino = ino;
  args.offset = 1;
  args.append = true;
  args.data = AsBytes("-end");
  fs::WriteResult result = Must(fs_->Write(kKernel, args));
  EXPECT_EQ(result.offset, 5u);
  EXPECT_EQ(result.length, 4u);
  EXPECT_EQ(ReadAll(ino), "start-end");
}

TEST_F(DataTest, AppendsAtAnOffsetWantTheEndThere) {
  NEEDS(kAppendAt);
  InodeId ino = MakeFile(kRootInode, "f", "start");
  fs::WriteArgs args;
  args.ino = ino;
  args.append = args.append_at = true;
  args.data = AsBytes("-end");
  for (uint64_t wrong : {0, 4, 6}) {
    args.offset = wrong;
    EXPECT_EQ(ErrOf(fs_->Write(kKernel, args)), Err::kAgain) << wrong;
  }
  EXPECT_EQ(ReadAll(ino), "start");
  args.offset = 5;
  EXPECT_EQ(Must(fs_->Write(kKernel, args)).offset, 5u);
  EXPECT_EQ(ErrOf(fs_->Write(kKernel, args)), Err::kAgain);
  EXPECT_EQ(ReadAll(ino), "start-end");
}

TEST_F(DataTest, WritesTellTheChangeAndTheirStability) {
  InodeId ino = MakeFile(kRootInode, "f", "1234");
  for (auto stability :
       {fs::Stability::kUnstable, fs::Stability::kDataSync, fs::Stability::kFileSync}) {
    Attr before = GetAttr(ino);
    fs::WriteArgs args;
    args.ino = ino;
    args.offset = before.size;
    args.data = AsBytes("x");
    args.stability = stability;
    fs::WriteResult result = Must(fs_->Write(kKernel, args));
    EXPECT_GE(result.committed, stability);
    EXPECT_EQ(result.change.before, before);
    EXPECT_EQ(result.change.after.size, before.size + 1);
    ExpectChanged(result.change.after, before);
    EXPECT_GE(result.change.after.mtime, before.mtime);
    EXPECT_EQ(result.change.after.mtime, result.change.after.ctime);
  }
}

TEST_F(DataTest, FarOffsetsAreSparse) {
  InodeId ino = MakeFile(kRootInode, "f", "head");
  for (uint64_t offset : {kTiB - 1, 5 * kTiB, 700 * kTiB, fs::kFileSizeMax - 3})
    WriteAt(ino, offset, "far");
  EXPECT_EQ(GetAttr(ino).size, fs::kFileSizeMax);
  EXPECT_EQ(ReadAt(ino, 0, 8), std::string("head\0\0\0\0", 8));
  EXPECT_EQ(ReadAt(ino, 5 * kTiB - 2, 6), std::string("\0\0far\0", 6));
  EXPECT_EQ(ReadAt(ino, kTiB - 1, 3), "far");
  EXPECT_EQ(ReadAt(ino, fs::kFileSizeMax - 3, 100), "far");
  EXPECT_LT(GetAttr(ino).used_bytes, uint64_t{1} << 20);
}

TEST_F(DataTest, NothingGoesBeyondTheLargestFile) {
  InodeId ino = MakeFile(kRootInode, "f", "data");
  EXPECT_EQ(WriteErr(kKernel, ino, fs::kFileSizeMax, "x"), Err::kTooLarge);
  EXPECT_EQ(WriteErr(kKernel, ino, fs::kFileSizeMax - 1, "xy"), Err::kTooLarge);
  SetAttr changes;
  changes.size = fs::kFileSizeMax + 1;
  EXPECT_EQ(ErrOf(fs_->Setattr(kKernel, ino, changes)), Err::kTooLarge);
  if (Can(Feature::kAnyOffset)) {
    EXPECT_EQ(WriteErr(kKernel, ino, ~uint64_t{0}, "x"), Err::kTooLarge);
    changes.size = ~uint64_t{0};
    EXPECT_EQ(ErrOf(fs_->Setattr(kKernel, ino, changes)), Err::kTooLarge);
  }
  EXPECT_EQ(ReadAll(ino), "data");
  Truncate(ino, fs::kFileSizeMax);
  EXPECT_EQ(GetAttr(ino).size, fs::kFileSizeMax);
}

TEST_F(DataTest, DirectoriesHaveNoData) {
  std::byte buffer[4];
  InodeId dir = MakeDir(kRootInode, "d");
  EXPECT_EQ(ErrOf(fs_->Read(kKernel, dir, 0, buffer)), Err::kIsDirectory);
  EXPECT_EQ(WriteErr(kKernel, dir, 0, "x"), Err::kIsDirectory);
  SetAttr resize;
  resize.size = 1;
  EXPECT_EQ(ErrOf(fs_->Setattr(kKernel, dir, resize)), Err::kIsDirectory);
}

TEST_F(DataTest, SpecialFilesHaveNoData) {
  NEEDS(kDataOfAnyType);
  std::byte buffer[4];
  SetAttr resize;
  resize.size = 1;
  for (FileType type : {FileType::kSymlink, FileType::kFifo, FileType::kSocket,
                        FileType::kCharDevice, FileType::kBlockDevice}) {
    std::string name = "s" + std::to_string(static_cast<int>(type));
    InodeId ino = Must(Create(kRootInode, name, type)).attr.ino;
    EXPECT_EQ(ErrOf(fs_->Read(kKernel, ino, 0, buffer)), Err::kInvalid);
    EXPECT_EQ(WriteErr(kKernel, ino, 0, "x"), Err::kInvalid);
    EXPECT_EQ(ErrOf(fs_->Setattr(kKernel, ino, resize)), Err::kInvalid);
  }
}

TEST_F(DataTest, TruncateCutsAndWhatWasBeyondNeverComesBack) {
  for (uint64_t size : {0, 1, 100, 4095, 4096, 4097, 65535, 65536, 65537, 131072, 199999}) {
    std::string name = "f" + std::to_string(size);
    std::string data = Pattern(200000);
    InodeId ino = MakeFile(kRootInode, name, data);
    Truncate(ino, size);
    EXPECT_EQ(GetAttr(ino).size, size);
    EXPECT_EQ(ReadAll(ino), data.substr(0, size)) << size;
    Truncate(ino, 200000);
    EXPECT_EQ(ReadAll(ino), data.substr(0, size) + std::string(200000 - size, '\0')) << size;
  }
}

TEST_F(DataTest, WritingBeyondATruncatedEndLeavesZerosBetween) {
  std::string data = Pattern(10000);
  InodeId ino = MakeFile(kRootInode, "f", data);
  Truncate(ino, 1234);
  WriteAt(ino, 9000, "x");
  EXPECT_EQ(ReadAll(ino), data.substr(0, 1234) + std::string(9000 - 1234, '\0') + "x");
}

TEST_F(DataTest, SmallFilesTruncateAndExtend) {
  InodeId ino = MakeFile(kRootInode, "f", "0123456789");
  Truncate(ino, 4);
  Truncate(ino, 7);
  EXPECT_EQ(ReadAll(ino), std::string("0123\0\0\0", 7));
  WriteAt(ino, 5, "ab");
  EXPECT_EQ(ReadAll(ino), std::string("0123\0ab", 7));
  Truncate(ino, 0);
  EXPECT_EQ(ReadAll(ino), "");
}

TEST_F(DataTest, TruncateSetsMtimeCtimeAndChange) {
  InodeId ino = MakeFile(kRootInode, "f", "0123456789");
  SetTimes(ino, {1, 1}, {2, 2});
  Attr before = GetAttr(ino);
  SetAttr changes;
  changes.size = 3;
  fs::Change change = Must(fs_->Setattr(kKernel, ino, changes));
  EXPECT_EQ(change.before, before);
  EXPECT_EQ(change.after, GetAttr(ino));
  EXPECT_GT(change.after.mtime, before.mtime);
  EXPECT_EQ(change.after.atime, before.atime);
  EXPECT_GE(change.after.ctime, before.ctime);
  ExpectChanged(change.after, before);
}

TEST_F(DataTest, ManyRandomWritesReadBack) {
  InodeId ino = MakeFile(kRootInode, "f");
  std::string expected;
  uint64_t state = 42;
  auto random = [&](uint64_t bound) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (state >> 33) % bound;
  };
  for (int i = 0; i < 400; ++i) {
    uint64_t offset = random(500000);
    std::string piece = Pattern(1 + random(i % 10 == 0 ? 100000 : 5000), i);
    if (i % 37 == 36) {
      Truncate(ino, offset);
      expected.resize(offset, '\0');
      continue;
    }
    WriteAt(ino, offset, piece);
    expected.resize(std::max<size_t>(expected.size(), offset + piece.size()), '\0');
    expected.replace(offset, piece.size(), piece);
  }
  EXPECT_TRUE(ReadAll(ino) == expected);
}

TEST_F(DataTest, FsyncAndSyncSucceedOnWhatIsThere) {
  InodeId ino = MakeFile(kRootInode, "f", "x");
  EXPECT_EQ(ErrOf(fs_->Fsync(kKernel, ino, false)), Err::kOk);
  EXPECT_EQ(ErrOf(fs_->Fsync(kKernel, ino, true)), Err::kOk);
  EXPECT_EQ(ErrOf(fs_->Fsync(kKernel, kRootInode, false)), Err::kOk);
  EXPECT_EQ(ErrOf(fs_->Sync(kKernel)), Err::kOk);
  EXPECT_EQ(ReadAll(ino), "x");
}

}  // namespace
}  // namespace prism::conformance
