// Holes: Seek, Fallocate, CopyRange.
#include <algorithm>

#include "tests/conformance/suite.h"

namespace prism::conformance {
namespace {

constexpr uint64_t kTiB = uint64_t{1} << 40;
constexpr uint64_t kBlock = 65536;  // implementations keep holes at least this finely

class SparseTest : public Conformance {
 protected:
  void SetUp() override { NEEDS(kRangeOps); }
  Result<uint64_t> Seek(InodeId ino, uint64_t offset, SeekWhence whence) {
    return fs_->Seek(kKernel, ino, offset, whence);
  }
  Err FallocateErr(InodeId ino, FallocateMode mode, uint64_t offset, uint64_t length) {
    return ErrOf(fs_->Fallocate(kKernel, ino, mode, offset, length));
  }
  // copy_file_range may stop early; callers go on, and so does this.
  uint64_t Copy(InodeId from, uint64_t from_offset, InodeId to, uint64_t to_offset,
                uint64_t length) {
    uint64_t done = 0;
    while (done < length) {
      uint64_t piece = Must(
          fs_->CopyRange(kKernel, from, from_offset + done, to, to_offset + done, length - done));
      if (piece == 0) break;
      done += piece;
    }
    return done;
  }
};

TEST_F(SparseTest, SeekFindsDataAndHoles) {
  InodeId ino = MakeFile(kRootInode, "f");
  WriteAt(ino, 2 * kBlock, Pattern(kBlock));
  Truncate(ino, 5 * kBlock);
  EXPECT_EQ(Must(Seek(ino, 0, SeekWhence::kData)), 2 * kBlock);
  EXPECT_EQ(Must(Seek(ino, 0, SeekWhence::kHole)), 0u);
  EXPECT_EQ(Must(Seek(ino, 7, SeekWhence::kHole)), 7u);
  EXPECT_EQ(Must(Seek(ino, 2 * kBlock, SeekWhence::kHole)), 3 * kBlock);
  EXPECT_EQ(Must(Seek(ino, 2 * kBlock + 5, SeekWhence::kData)), 2 * kBlock + 5);
  EXPECT_EQ(Must(Seek(ino, 3 * kBlock - 1, SeekWhence::kHole)), 3 * kBlock);
  EXPECT_EQ(ErrOf(Seek(ino, 3 * kBlock, SeekWhence::kData)), Err::kNoSuchExtent);
  EXPECT_EQ(Must(Seek(ino, 5 * kBlock - 1, SeekWhence::kHole)), 5 * kBlock - 1);
}

TEST_F(SparseTest, SeekAtOrBeyondTheEndHasNoExtent) {
  InodeId ino = MakeFile(kRootInode, "f", "data");
  for (auto whence : {SeekWhence::kData, SeekWhence::kHole}) {
    EXPECT_EQ(ErrOf(Seek(ino, 4, whence)), Err::kNoSuchExtent);
    EXPECT_EQ(ErrOf(Seek(ino, ~uint64_t{0}, whence)), Err::kNoSuchExtent);
  }
  InodeId empty = MakeFile(kRootInode, "empty");
  EXPECT_EQ(ErrOf(Seek(empty, 0, SeekWhence::kData)), Err::kNoSuchExtent);
  EXPECT_EQ(ErrOf(Seek(empty, 0, SeekWhence::kHole)), Err::kNoSuchExtent);
}

TEST_F(SparseTest, TheEndOfAFullFileIsAHole) {
  for (size_t size : {size_t{1}, size_t{100}, size_t{5000}, size_t{200000}}) {
    InodeId ino = MakeFile(kRootInode, "f" + std::to_string(size), Pattern(size));
    EXPECT_EQ(Must(Seek(ino, 0, SeekWhence::kData)), 0u);
    EXPECT_EQ(Must(Seek(ino, 0, SeekWhence::kHole)), size);
    EXPECT_EQ(Must(Seek(ino, size - 1, SeekWhence::kData)), size - 1);
  }
}

TEST_F(SparseTest, SeekCrossesTerabytesOfHole) {
  InodeId ino = MakeFile(kRootInode, "f");
  WriteAt(ino, 300 * kTiB, "far");
  EXPECT_EQ(Must(Seek(ino, 1, SeekWhence::kData)), 300 * kTiB);
  Truncate(ino, 900 * kTiB);
  EXPECT_EQ(ErrOf(Seek(ino, 301 * kTiB, SeekWhence::kData)), Err::kNoSuchExtent);
}

TEST_F(SparseTest, SeekOnOtherTypesIsRefused) {
  NEEDS(kDataOfAnyType);
  EXPECT_EQ(ErrOf(Seek(kRootInode, 0, SeekWhence::kData)), Err::kIsDirectory);
  InodeId fifo = Must(Create(kRootInode, "p", FileType::kFifo)).attr.ino;
  EXPECT_EQ(ErrOf(Seek(fifo, 0, SeekWhence::kData)), Err::kInvalid);
}

TEST_F(SparseTest, ValuesOutsideTheEnumerationsAreMalformed) {
  NEEDS(kAnyValue);
  InodeId file = MakeFile(kRootInode, "f", "data");
  EXPECT_TRUE(IsMalformed(ErrOf(Seek(file, 0, static_cast<SeekWhence>(2)))));
  EXPECT_TRUE(IsMalformed(FallocateErr(file, static_cast<FallocateMode>(5), 0, 1)));
  EXPECT_EQ(ReadAll(file), "data");
}

TEST_F(SparseTest, PunchedRangesReadAsZerosAndKeepTheSize) {
  for (auto [offset, length] : {std::pair<uint64_t, uint64_t>{0, 1},
                                {0, 4096},
                                {1, 4095},
                                {4095, 2},
                                {4096, kBlock},
                                {100, 150000},
                                {kBlock, kBlock},
                                {199999, 1},
                                {150000, 1000000},
                                {300000, 5},
                                {0, fs::kFileSizeMax}}) {
    std::string data = Pattern(200000);
    std::string name = std::to_string(offset) + "+" + std::to_string(length);
    InodeId ino = MakeFile(kRootInode, name, data);
    EXPECT_EQ(FallocateErr(ino, FallocateMode::kPunchHole, offset, length), Err::kOk);
    for (uint64_t i = offset; i < std::min<uint64_t>(offset + length, data.size()); ++i)
      data[i] = '\0';
    EXPECT_EQ(GetAttr(ino).size, 200000u) << name;
    EXPECT_TRUE(ReadAll(ino) == data) << name;
  }
}

TEST_F(SparseTest, PunchedBlocksAreHoles) {
  InodeId ino = MakeFile(kRootInode, "f", Pattern(4 * kBlock));
  uint64_t used = GetAttr(ino).used_bytes;
  EXPECT_GE(used, 4 * kBlock);
  EXPECT_EQ(FallocateErr(ino, FallocateMode::kPunchHole, kBlock, 2 * kBlock), Err::kOk);
  EXPECT_EQ(Must(Seek(ino, 0, SeekWhence::kHole)), kBlock);
  EXPECT_EQ(Must(Seek(ino, kBlock, SeekWhence::kData)), 3 * kBlock);
  EXPECT_EQ(GetAttr(ino).used_bytes, used - 2 * kBlock);
  EXPECT_EQ(FallocateErr(ino, FallocateMode::kPunchHole, 0, 4 * kBlock), Err::kOk);
  EXPECT_EQ(GetAttr(ino).used_bytes, 0u);
}

TEST_F(SparseTest, ZeroRangeZerosAndGrowsUnlessToldToKeepTheSize) {
  std::string data = Pattern(10000);
  InodeId ino = MakeFile(kRootInode, "f", data);
  EXPECT_EQ(FallocateErr(ino, FallocateMode::kZeroRangeKeep, 9000, 5000), Err::kOk);
  EXPECT_EQ(ReadAll(ino), data.substr(0, 9000) + std::string(1000, '\0'));
  EXPECT_EQ(FallocateErr(ino, FallocateMode::kZeroRange, 8000, 5000), Err::kOk);
  EXPECT_EQ(ReadAll(ino), data.substr(0, 8000) + std::string(5000, '\0'));
}

TEST_F(SparseTest, AllocateKeepsWhatIsThereAndGrowsUnlessToldNotTo) {
  std::string data = Pattern(5000);
  InodeId ino = MakeFile(kRootInode, "f", data);
  EXPECT_EQ(FallocateErr(ino, FallocateMode::kAllocateKeep, 0, 100000), Err::kOk);
  EXPECT_EQ(ReadAll(ino), data);
  EXPECT_EQ(FallocateErr(ino, FallocateMode::kAllocate, 1000, 1000), Err::kOk);
  EXPECT_EQ(ReadAll(ino), data);
  EXPECT_EQ(FallocateErr(ino, FallocateMode::kAllocate, 4000, 60000), Err::kOk);
  EXPECT_EQ(ReadAll(ino), data + std::string(64000 - 5000, '\0'));
}

TEST_F(SparseTest, FallocateTellsTheChange) {
  InodeId ino = MakeFile(kRootInode, "f", Pattern(5000));
  Attr before = GetAttr(ino);
  fs::Change change = Must(fs_->Fallocate(kKernel, ino, FallocateMode::kZeroRange, 4000, 2000));
  EXPECT_EQ(change.before, before);
  EXPECT_EQ(change.after, GetAttr(ino));
  ExpectChanged(change.after, before);
  EXPECT_GE(change.after.mtime, before.mtime);
  EXPECT_EQ(change.after.size, 6000u);
}

TEST_F(SparseTest, FallocateRefusesNonsense) {
  InodeId ino = MakeFile(kRootInode, "f", "data");
  InodeId fifo = Must(Create(kRootInode, "p", FileType::kFifo)).attr.ino;
  for (auto mode :
       {FallocateMode::kAllocate, FallocateMode::kAllocateKeep, FallocateMode::kPunchHole,
        FallocateMode::kZeroRange, FallocateMode::kZeroRangeKeep}) {
    EXPECT_EQ(FallocateErr(ino, mode, 0, 0), Err::kInvalid);
    EXPECT_EQ(FallocateErr(ino, mode, fs::kFileSizeMax, 1), Err::kTooLarge);
    EXPECT_EQ(FallocateErr(kRootInode, mode, 0, 1), Err::kIsDirectory);
    if (Can(Feature::kDataOfAnyType)) {
      EXPECT_EQ(FallocateErr(fifo, mode, 0, 1), Err::kInvalid);
    }
    if (Can(Feature::kAnyOffset)) {
      EXPECT_EQ(FallocateErr(ino, mode, 1, ~uint64_t{0}), Err::kTooLarge);
      EXPECT_EQ(FallocateErr(ino, mode, ~uint64_t{0}, ~uint64_t{0}), Err::kTooLarge);
    }
  }
  EXPECT_EQ(ReadAll(ino), "data");
}

TEST_F(SparseTest, CopyRangeCopiesBetweenFilesAtAnyAlignment) {
  std::string source = Pattern(300000, 1);
  InodeId from = MakeFile(kRootInode, "from", source);
  int number = 0;
  for (auto [from_offset, to_offset, length] :
       {std::tuple<uint64_t, uint64_t, uint64_t>{0, 0, 300000},
        {0, 0, kBlock},
        {kBlock, 2 * kBlock, kBlock},
        {4096, 8192, 4096 * 20},
        {1, 2, 3},
        {65535, 3, 70000},
        {100, 250000, 100000},
        {4096, 1, 65536}}) {
    std::string expected = Pattern(200000, 2);
    InodeId to = MakeFile(kRootInode, "to" + std::to_string(++number), expected);
    EXPECT_EQ(Copy(from, from_offset, to, to_offset, length), length);
    expected.resize(std::max<size_t>(expected.size(), to_offset + length), '\0');
    expected.replace(to_offset, length, source, from_offset, length);
    EXPECT_TRUE(ReadAll(to) == expected) << number;
  }
  EXPECT_TRUE(ReadAll(from) == source);
}

TEST_F(SparseTest, CopiesAreIndependentAfterwards) {
  std::string data = Pattern(3 * kBlock);
  InodeId from = MakeFile(kRootInode, "from", data);
  InodeId to = MakeFile(kRootInode, "to");
  Copy(from, 0, to, 0, 3 * kBlock);
  WriteAt(from, 10, "changed in from");
  WriteAt(to, kBlock, "changed in to");
  Must(fs_->Unlink(kKernel, kRootInode, "from"));
  Must(fs_->Release(kKernel, from));
  data.replace(kBlock, 13, "changed in to");
  EXPECT_TRUE(ReadAll(to) == data);
}

TEST_F(SparseTest, CopyRangeStopsAtTheEndOfTheSource) {
  InodeId from = MakeFile(kRootInode, "from", "0123456789");
  InodeId to = MakeFile(kRootInode, "to");
  EXPECT_EQ(Copy(from, 4, to, 2, 1000), 6u);
  EXPECT_EQ(ReadAll(to), std::string("\0\0", 2) + "456789");
  Attr before = GetAttr(to);
  EXPECT_EQ(Must(fs_->CopyRange(kKernel, from, 10, to, 0, 5)), 0u);
  EXPECT_EQ(Must(fs_->CopyRange(kKernel, from, kTiB, to, 0, 5)), 0u);
  EXPECT_EQ(Must(fs_->CopyRange(kKernel, from, 0, to, 0, 0)), 0u);
  EXPECT_EQ(GetAttr(to).change, before.change);
}

TEST_F(SparseTest, CopyRangeWithinOneFileMustNotOverlap) {
  std::string data = Pattern(200000);
  InodeId ino = MakeFile(kRootInode, "f", data);
  EXPECT_EQ(ErrOf(fs_->CopyRange(kKernel, ino, 0, ino, 99, 100)), Err::kInvalid);
  EXPECT_EQ(ErrOf(fs_->CopyRange(kKernel, ino, 99, ino, 0, 100)), Err::kInvalid);
  EXPECT_EQ(ErrOf(fs_->CopyRange(kKernel, ino, 5, ino, 5, 1)), Err::kInvalid);
  EXPECT_EQ(Copy(ino, 0, ino, 100000, 100000), 100000u);
  data.replace(100000, 100000, data, 0, 100000);
  EXPECT_TRUE(ReadAll(ino) == data);
}

TEST_F(SparseTest, CopyRangeCarriesHoles) {
  InodeId from = MakeFile(kRootInode, "from");
  WriteAt(from, 4 * kBlock, Pattern(kBlock));
  Truncate(from, 10 * kBlock);
  InodeId to = MakeFile(kRootInode, "to", Pattern(10 * kBlock, 9));
  EXPECT_EQ(Copy(from, 0, to, 0, 10 * kBlock), 10 * kBlock);
  EXPECT_TRUE(ReadAll(to) == ReadAll(from));
  EXPECT_EQ(Must(Seek(to, 0, SeekWhence::kData)), 4 * kBlock);
  EXPECT_EQ(Must(Seek(to, 4 * kBlock, SeekWhence::kHole)), 5 * kBlock);
}

TEST_F(SparseTest, CopyRangeRefusesNonsense) {
  InodeId from = MakeFile(kRootInode, "from", "data");
  InodeId to = MakeFile(kRootInode, "to");
  EXPECT_EQ(ErrOf(fs_->CopyRange(kKernel, kRootInode, 0, to, 0, 1)), Err::kIsDirectory);
  EXPECT_EQ(ErrOf(fs_->CopyRange(kKernel, from, 0, kRootInode, 0, 1)), Err::kIsDirectory);
  EXPECT_EQ(ErrOf(fs_->CopyRange(kKernel, from, 0, to, fs::kFileSizeMax, 1)), Err::kTooLarge);
  if (Can(Feature::kAnyOffset)) {
    EXPECT_EQ(ErrOf(fs_->CopyRange(kKernel, from, 0, to, ~uint64_t{0}, 1)), Err::kTooLarge);
  }
  EXPECT_EQ(ErrOf(fs_->CopyRange(kKernel, from, 0, kInodeMax - 5, 0, 1)), Err::kStale);
  EXPECT_EQ(GetAttr(to).size, 0u);
}

TEST_F(SparseTest, CopyRangeSetsTheTargetsTimes) {
  InodeId from = MakeFile(kRootInode, "from", "data");
  InodeId to = MakeFile(kRootInode, "to");
  SetTimes(to, {1, 0}, {1, 0});
  Attr before = GetAttr(to);
  Copy(from, 0, to, 0, 4);
  EXPECT_GT(GetAttr(to).mtime, before.mtime);
  ExpectChanged(GetAttr(to), before);
}

}  // namespace
}  // namespace prism::conformance
