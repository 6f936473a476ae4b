// Bodies of files: what is stored how, and that reading never sees the difference.
#include <algorithm>
#include <atomic>
#include <random>
#include <thread>
#include <utility>

#include "fs/core/block_composer.h"
#include "fs/core/file_limits.h"
#include "fs/core/inode_record.h"
#include "tests/fs_core/harness.h"

namespace prism::fs::testing {
namespace {

using cow::kBlockSize;
using cow::kUnitSize;

class DataTest : public FsTest {};

TEST_F(DataTest, SmallFilesAreInlineUntilTheyGrow) {
  const InodeId ino = Make("f");
  const std::string small = Pattern(100, 1);
  Write(ino, 0, small);
  EXPECT_EQ(ReadAll(ino), small);
  EXPECT_EQ(Stat(ino).used_bytes, 100u) << "known before the flush";
  Flush();
  EXPECT_EQ(store_.chunks(), 0u);
  EXPECT_EQ(ReadAll(ino), small);
  EXPECT_EQ(volume_->Usage().bytes, 100u);
  Write(ino, 90, Pattern(20, 2));
  Flush();
  EXPECT_EQ(ReadAll(ino), small.substr(0, 90) + Pattern(20, 2));
  // Growing elsewhere turns the first block into a chunk, too.
  Write(ino, 3 * kBlockSize, "far");
  Flush();
  EXPECT_EQ(store_.chunks(), 2u);
  EXPECT_EQ(Stat(ino).size, 3 * kBlockSize + 3);
  EXPECT_EQ(Read(ino, 0, 110), small.substr(0, 90) + Pattern(20, 2));
  EXPECT_EQ(Read(ino, 3 * kBlockSize, 10), "far");
  EXPECT_EQ(Read(ino, 110, 10), std::string(10, '\0'));
  CheckAll();
}

TEST_F(DataTest, FreshBlocksAreOneChunkWithAnExactTail) {
  const InodeId ino = Make("f");
  const std::string text = Pattern(2 * kBlockSize + 5000, 3);
  Write(ino, 0, text);
  Flush();
  ASSERT_EQ(Pieces(ino, 0).size(), 1u);
  ASSERT_EQ(Pieces(ino, 2).size(), 1u);
  EXPECT_EQ(store_.ChunkBytes(Pieces(ino, 2)[0].chunk), 5000u);
  EXPECT_EQ(Pieces(ino, 2)[0].units, 2u);
  EXPECT_EQ(ReadAll(ino), text);
  EXPECT_EQ(Stat(ino).used_bytes, 2 * kBlockSize + 2 * kUnitSize);
}

TEST_F(DataTest, ZerosAreHoles) {
  const InodeId ino = Make("f");
  std::string text = Pattern(kBlockSize, 4) + std::string(kBlockSize, '\0');
  text.replace(2 * kUnitSize, kUnitSize, std::string(kUnitSize, '\0'));
  Write(ino, 0, text);
  Flush();
  EXPECT_EQ(store_.chunks(), 1u);
  EXPECT_EQ(Pieces(ino, 0).size(), 2u);
  EXPECT_EQ(Stat(ino).used_bytes, 15 * kUnitSize);
  EXPECT_EQ(ReadAll(ino), text);
  Write(ino, 0, std::string(kBlockSize, '\0'));
  Flush();
  EXPECT_EQ(store_.chunks(), 0u);
  EXPECT_EQ(Stat(ino).used_bytes, 0u);
  EXPECT_EQ(ReadAll(ino), std::string(2 * kBlockSize, '\0'));
}

TEST_F(DataTest, SmallOverwritesArePiecesUntilThereAreTooMany) {
  const InodeId ino = Make("f");
  std::string text = Pattern(kBlockSize, 5);
  Write(ino, 0, text);
  Flush();
  for (int i = 0; i < 16; i += 2) {
    const std::string part = Pattern(100, 50 + i);
    Write(ino, i * kUnitSize + 1000, part);
    text.replace(i * kUnitSize + 1000, 100, part);
    Flush();
    EXPECT_EQ(ReadAll(ino), text);
    EXPECT_LE(Pieces(ino, 0).size(), kPiecesMax);
    if (i != 2) continue;
    EXPECT_EQ(Pieces(ino, 0).size(), 4u);
    EXPECT_EQ(store_.ChunkBytes(Pieces(ino, 0)[0].chunk), kUnitSize);
  }
  CheckAll();
}

TEST_F(DataTest, SizeAndDataAppearTogether) {
  const InodeId ino = Make("f");
  // After each commit: what a crash would leave must not show a byte that was not written.
  std::string text = Pattern((kFlushBlocksMax + 40) * kBlockSize + 777, 6);
  int checked = 0;
  volume_->after_commit = [&](const FakeVolume& volume) {
    EXPECT_EQ(Verify(volume, std::nullopt), "");
    std::string value = volume.items().at(cow::MakeKey(cow::ItemType::kInode, ino));
    const uint64_t size = DecodeInode(ino, value)->stored_size;
    const uint64_t blocks = (size + kBlockSize - 1) / kBlockSize;
    for (uint64_t block = 0; block < blocks; ++block)
      EXPECT_TRUE(volume.items().contains(cow::MakeKey(cow::ItemType::kExtent, ino, block)));
    ++checked;
  };
  Write(ino, 0, text);
  EXPECT_EQ(checked, 0);
  EXPECT_EQ(Stat(ino).size, text.size());
  Flush();
  EXPECT_EQ(checked, 2) << "in two transactions";
  volume_->after_commit = nullptr;
  EXPECT_EQ(ReadAll(ino), text);
}

// Writes and reads in the middle of a flush, which then succeeds or not.
TEST_F(DataTest, WritesDuringAFlushAreKept) {
  for (bool fails : {false, true}) {
    const InodeId ino = Make("f");
    std::string text = Pattern(2 * kBlockSize, 7 + fails);
    Write(ino, 0, text);
    bool once = true;
    store_.on_put = [&] {
      if (!std::exchange(once, false)) return;
      Write(ino, 100, "middle");
      Write(ino, 2 * kBlockSize, "end");
      EXPECT_EQ(Read(ino, 90, 20), text.substr(90, 10) + "middle" + text.substr(106, 4));
    };
    volume_->fail_commits = fails ? 1 : 0;
    EXPECT_EQ(core_->Flush().has_value(), !fails);
    store_.on_put = nullptr;
    text.replace(100, 6, "middle");
    text += "end";
    EXPECT_EQ(ReadAll(ino), text);
    EXPECT_GT(core_->dirty_bytes(), 0u);
    Flush();
    EXPECT_EQ(ReadAll(ino), text);
    EXPECT_EQ(core_->dirty_bytes(), 0u);
    Remove("f");
  }
}

// As with tail -f, of a file that is clean when the reader comes and grows while it looks.
TEST_F(DataTest, WhoeverSeesTheNewSizeSeesTheNewData) {
  constexpr uint64_t kEnd = 200'000;
  const InodeId ino = Make("f");
  std::atomic<uint64_t> size{0};
  std::thread writer([&] {
    for (uint64_t at = 0; at < kEnd; at += 50, size = at) {
      Write(ino, at, std::string(50, 'x'));
      Flush();
    }
  });
  uint64_t zeros = 0;
  while (size < kEnd) {
    const std::string found = Read(ino, size, 1000);
    zeros += static_cast<uint64_t>(std::count(found.begin(), found.end(), '\0'));
  }
  writer.join();
  EXPECT_EQ(zeros, 0u);
}

TEST_F(DataTest, TruncationHidesWhatWasThere) {
  for (bool flush : {false, true}) {
    for (uint64_t size : {0ull, 1ull, 4096ull, 5000ull, 65536ull, 70000ull, 131072ull}) {
      const InodeId ino = Make("f");
      std::string text = Pattern(2 * kBlockSize + 6000, 8);
      Write(ino, 0, text);
      if (flush) Flush();
      Truncate(ino, size);
      EXPECT_EQ(ReadAll(ino), text.substr(0, size));
      if (flush) CheckAll();
      Truncate(ino, text.size());
      EXPECT_EQ(ReadAll(ino), text.substr(0, size) + std::string(text.size() - size, '\0'));
      Flush();
      EXPECT_EQ(ReadAll(ino), text.substr(0, size) + std::string(text.size() - size, '\0'));
      CheckAll();
      Remove("f");
    }
  }
  EXPECT_EQ(store_.chunks(), 0u);
  EXPECT_EQ(volume_->Usage().bytes, 0u);
  EXPECT_EQ(volume_->Usage().inodes, 1u);
}

TEST_F(DataTest, LargeSparseFilesAreCutInSteps) {
  const InodeId ino = Make("f");
  // More blocks than one transaction erases, spread over a very large file.
  constexpr int kBlocks = 2500;
  for (int i = 0; i < kBlocks; ++i) Write(ino, (uint64_t{1} << 45) / kBlocks * i, "x");
  Flush();
  EXPECT_EQ(Stat(ino).used_bytes, uint64_t{kBlocks} * kUnitSize);
  volume_->after_commit = [](const FakeVolume& volume) {
    EXPECT_EQ(Verify(volume, std::nullopt), "");
  };
  const int before = volume_->commits;
  Truncate(ino, 10);
  EXPECT_GE(volume_->commits - before, 3);
  volume_->after_commit = nullptr;
  EXPECT_EQ(ReadAll(ino), "x" + std::string(9, '\0'));
  EXPECT_EQ(volume_->Usage().bytes, kUnitSize);
}

TEST_F(DataTest, PunchAndZero) {
  const InodeId ino = Make("f");
  std::string text = Pattern(4 * kBlockSize, 9);
  Write(ino, 0, text);
  auto punch = [&](FallocateMode mode, uint64_t offset, uint64_t length) {
    ASSERT_TRUE(fs_->Fallocate(root_, ino, mode, offset, length));
    const uint64_t end = std::min<uint64_t>(offset + length, text.size());
    if (offset < end) text.replace(offset, end - offset, std::string(end - offset, '\0'));
    if (mode == FallocateMode::kZeroRange || mode == FallocateMode::kAllocate)
      text.resize(std::max<size_t>(text.size(), offset + length));
    EXPECT_EQ(Stat(ino).size, text.size());
    EXPECT_EQ(ReadAll(ino), text);
    CheckAll();
  };
  punch(FallocateMode::kPunchHole, 100, 200);
  punch(FallocateMode::kPunchHole, kUnitSize, kUnitSize);
  EXPECT_EQ(Stat(ino).used_bytes, 63 * kUnitSize);
  punch(FallocateMode::kZeroRange, kBlockSize - 10, 2 * kBlockSize + 20);
  punch(FallocateMode::kPunchHole, kBlockSize + 5, 1000);
  punch(FallocateMode::kZeroRangeKeep, 4 * kBlockSize - 5000, 90000);
  punch(FallocateMode::kZeroRange, 4 * kBlockSize - 7000, 90000);
  punch(FallocateMode::kAllocate, text.size() + 5, 10);
  punch(FallocateMode::kPunchHole, 0, text.size());
  EXPECT_EQ(store_.chunks(), 0u);
  const InodeId small = Make("small");
  Write(small, 0, "0123456789");
  ASSERT_TRUE(fs_->Fallocate(root_, small, FallocateMode::kPunchHole, 2, 3));
  EXPECT_EQ(ReadAll(small), std::string("01\0\0\0", 5) + "56789");
  ASSERT_TRUE(fs_->Fallocate(root_, small, FallocateMode::kPunchHole, 0, 10));
  EXPECT_EQ(Stat(small).used_bytes, 0u);
}

TEST_F(DataTest, SeekFindsDataAndHoles) {
  const InodeId ino = Make("f");
  Write(ino, kBlockSize, Pattern(3 * kUnitSize, 10));
  Write(ino, 9 * kBlockSize + 100, "x");
  auto seek = [&](uint64_t offset, SeekWhence whence) {
    auto at = fs_->Seek(root_, ino, offset, whence);
    if (at) return static_cast<int64_t>(*at);
    EXPECT_EQ(at.error(), Err::kNoSuchExtent);
    return int64_t{-1};
  };
  EXPECT_EQ(seek(0, SeekWhence::kData), kBlockSize);
  EXPECT_EQ(seek(0, SeekWhence::kHole), 0);
  EXPECT_EQ(seek(kBlockSize + 7, SeekWhence::kData), kBlockSize + 7);
  EXPECT_EQ(seek(kBlockSize, SeekWhence::kHole), kBlockSize + 3 * kUnitSize);
  EXPECT_EQ(seek(kBlockSize + 3 * kUnitSize, SeekWhence::kData), 9 * kBlockSize);
  EXPECT_EQ(seek(9 * kBlockSize, SeekWhence::kHole), 9 * kBlockSize + 101) << "the end is a hole";
  EXPECT_EQ(seek(9 * kBlockSize + 101, SeekWhence::kData), -1);
  EXPECT_EQ(seek(9 * kBlockSize + 101, SeekWhence::kHole), -1);
}

TEST_F(DataTest, CopyRangeSharesWhatIsAligned) {
  const InodeId from = Make("from"), to = Make("to");
  const std::string text = Pattern(3 * kBlockSize + 5000, 11);
  Write(from, 0, text);
  auto copy = [&](InodeId source, uint64_t at, InodeId target, uint64_t to_at, uint64_t length) {
    uint64_t done = 0;
    while (done < length) {
      auto copied = fs_->CopyRange(root_, source, at + done, target, to_at + done, length - done);
      EXPECT_TRUE(copied);
      if (!copied || *copied == 0) break;
      done += *copied;
    }
    return done;
  };
  EXPECT_EQ(copy(from, 0, to, 0, UINT64_MAX >> 8), text.size());
  EXPECT_EQ(store_.chunks(), 4u) << "by reference, its tail too";
  EXPECT_EQ(ReadAll(to), text);
  CheckAll();
  const int puts = store_.puts;
  EXPECT_EQ(copy(from, kUnitSize, to, 4 * kBlockSize + kUnitSize, 2 * kUnitSize), 2 * kUnitSize);
  EXPECT_EQ(store_.puts, puts);
  EXPECT_EQ(Read(to, 4 * kBlockSize + kUnitSize, 2 * kUnitSize),
            text.substr(kUnitSize, 2 * kUnitSize));
  EXPECT_EQ(copy(from, 10, to, 20, 100000), 100000u) << "through memory";
  EXPECT_EQ(Read(to, 20, 100000), text.substr(10, 100000));
  EXPECT_EQ(copy(to, 0, to, 8 * kBlockSize, kBlockSize), kBlockSize);
  EXPECT_EQ(Read(to, 8 * kBlockSize, kBlockSize), Read(to, 0, kBlockSize));
  EXPECT_EQ(fs_->CopyRange(root_, to, 0, to, 100, 1000).error(), Err::kInvalid);
  Flush();
  CheckAll();
}

TEST_F(DataTest, FailedFlushKeepsEverything) {
  const InodeId ino = Make("f");
  const std::string text = Pattern(3 * kBlockSize, 12);
  Write(ino, 0, text);
  volume_->fail_commits = 1;
  EXPECT_FALSE(core_->Flush());
  EXPECT_EQ(ReadAll(ino), text);
  EXPECT_EQ(store_.pins(), 0u);
  EXPECT_EQ(store_.chunks(), 0u);
  Write(ino, 10, "new");
  std::string expected = text;
  expected.replace(10, 3, "new");
  store_.fail_puts = true;
  EXPECT_EQ(fs_->Fsync(root_, ino, false).error(), Err::kNoSpace);
  store_.fail_puts = false;
  EXPECT_EQ(ReadAll(ino), expected);
  ASSERT_TRUE(fs_->Fsync(root_, ino, false));
  EXPECT_EQ(ReadAll(ino), expected);
  EXPECT_EQ(volume_->durable(), volume_->LastLsn());
  volume_->fail_commits = 1;
  SetAttr cut;
  cut.size = 5;
  EXPECT_FALSE(fs_->Setattr(root_, ino, cut));
  EXPECT_EQ(Stat(ino).size, text.size());
  EXPECT_EQ(ReadAll(ino), expected);
}

TEST_F(DataTest, RenameOverSavesTheNewDataFirst) {
  const InodeId old_file = Make("name");
  Write(old_file, 0, "old");
  Flush();
  const InodeId new_file = Make("temp");
  Write(new_file, 0, "new");
  ASSERT_TRUE(fs_->Rename(root_, kRootInode, "temp", kRootInode, "name", 0));
  std::string value;
  EXPECT_TRUE(volume_->items().contains(cow::MakeKey(cow::ItemType::kInlineData, new_file)));
  ASSERT_TRUE(fs_->Release(root_, old_file));
}

TEST_F(DataTest, BudgetBoundsWhatWaits) {
  const InodeId ino = Make("f");
  const std::string text = Pattern(1 << 20, 13);
  for (int i = 0; i < 100; ++i) Write(ino, uint64_t{1 << 20} * i, text);
  EXPECT_LE(budget_.bytes(), kBudget + (2 << 20));
  EXPECT_EQ(Read(ino, 70 << 20, 1 << 20), text);
  // Every other byte: the list of ranges is bounded, too.
  const InodeId ragged = Make("ragged");
  for (int i = 0; i < 2000; ++i) Write(ragged, 2 * i, "x");
  EXPECT_EQ(Read(ragged, 0, 4), std::string("x\0x\0", 4));
  store_.free_bytes = 1000;
  WriteArgs args;
  args.ino = ino;
  args.data = Bytes(text);
  EXPECT_EQ(fs_->Write(root_, args).error(), Err::kNoSpace);
  store_.free_bytes = uint64_t{1} << 40;
}

TEST_F(DataTest, AppendAndStability) {
  const InodeId ino = Make("f");
  WriteArgs args;
  args.ino = ino;
  args.append = true;
  args.offset = 999;
  args.data = Bytes("abc");
  EXPECT_EQ(fs_->Write(root_, args)->offset, 0u);
  auto second = fs_->Write(root_, args);
  EXPECT_EQ(second->offset, 3u);
  EXPECT_EQ(second->committed, Stability::kUnstable);
  EXPECT_EQ(second->change.before.size, 3u);
  EXPECT_EQ(second->change.after.size, 6u);
  EXPECT_GT(second->change.after.change, second->change.before.change);
  args.stability = Stability::kFileSync;
  EXPECT_EQ(fs_->Write(root_, args)->committed, Stability::kFileSync);
  EXPECT_EQ(volume_->durable(), volume_->LastLsn());
  EXPECT_EQ(ReadAll(ino), "abcabcabc");
}

TEST_F(DataTest, AttributesDoNotChangeByFlushing) {
  const InodeId ino = Make("f");
  Write(ino, 0, Pattern(100000, 14));
  SetAttr chmod;
  chmod.mode = 0600;
  ASSERT_TRUE(fs_->Setattr(root_, ino, chmod));
  Write(ino, 50, "more");
  const Attr before = Stat(ino);
  Flush();
  Attr after = Stat(ino);
  EXPECT_EQ(before, after);
  SetAttr times;
  times.mtime = Timespec{5, 5};
  times.atime = Timespec{6, 6};
  Write(ino, 50, "again");
  ASSERT_TRUE(fs_->Setattr(root_, ino, times));
  EXPECT_EQ(Stat(ino).mtime, (Timespec{5, 5}));
  Flush();
  EXPECT_EQ(Stat(ino).mtime, (Timespec{5, 5}));
  EXPECT_EQ(Stat(ino).atime, (Timespec{6, 6}));
  ReadAll(ino);
  const Timespec read = Stat(ino).atime;
  EXPECT_GT(read.sec, 1000);
  Flush();
  EXPECT_EQ(Stat(ino).atime, read);
  ASSERT_TRUE(fs_->Setattr(root_, ino, times));
  Flush();
  EXPECT_EQ(Stat(ino).atime, (Timespec{6, 6}));
}

TEST_F(DataTest, DamagedChunksAreErrors) {
  const InodeId ino = Make("f");
  Write(ino, 0, Pattern(kBlockSize, 15));
  Flush();
  store_.fail_reads = true;
  std::string out(10, 0);
  EXPECT_EQ(fs_->Read(root_, ino, 0, std::as_writable_bytes(std::span(out))).error(), Err::kIo);
  store_.fail_reads = false;
}

// Everything above, at random, against a plain string.
TEST_F(DataTest, RandomOperationsAgreeWithAString) {
  std::mt19937_64 random(1234);
  for (int round = 0; round < 40; ++round) {
    const InodeId ino = Make("f");
    const uint64_t span = round % 3 == 0 ? 6000 : 5 * kBlockSize;
    std::string text;
    auto offset = [&] {
      const uint64_t at = random() % span;
      return random() % 3 == 0 ? at / kUnitSize * kUnitSize : at;
    };
    for (int step = 0; step < 60; ++step) {
      const uint64_t at = offset();
      const uint64_t length = 1 + random() % (random() % 2 == 0 ? 100 : span / 2);
      switch (random() % 9) {
        case 0: {
          Truncate(ino, at);
          text.resize(at);
          break;
        }
        case 1: {
          ASSERT_TRUE(fs_->Fallocate(root_, ino, FallocateMode::kPunchHole, at, length));
          for (uint64_t i = at; i < std::min(at + length, text.size()); ++i) text[i] = 0;
          break;
        }
        case 2:
          Flush();
          break;
        case 3: {
          const uint64_t to = at % kBlockSize + random() % 5 * kBlockSize;
          if (std::max(at, to) - std::min(at, to) < length || at >= text.size()) break;
          auto copied = fs_->CopyRange(root_, ino, at, ino, to, length);
          ASSERT_TRUE(copied);
          const std::string part = text.substr(at, *copied);
          ASSERT_EQ(part.size(), *copied);
          if (text.size() < to + part.size()) text.resize(to + part.size());
          text.replace(to, part.size(), part);
          break;
        }
        default: {
          std::string part = random() % 6 == 0 ? std::string(length, '\0')
                                               : Pattern(length, static_cast<uint32_t>(random()));
          Write(ino, at, part);
          if (text.size() < at + length) text.resize(at + length);
          text.replace(at, length, part);
        }
      }
      ASSERT_EQ(Stat(ino).size, text.size());
      const uint64_t from = offset();
      ASSERT_EQ(Read(ino, from, 9000), from < text.size() ? text.substr(from, 9000) : "");
      if (step % 10 != 0) continue;
      ASSERT_TRUE(ReadAll(ino) == text) << round << " " << step;
    }
    Flush();
    ASSERT_TRUE(ReadAll(ino) == text) << round;
    CheckAll();
    Remove("f");
  }
  EXPECT_EQ(store_.chunks(), 0u);
  EXPECT_EQ(volume_->Usage().bytes, 0u);
}

}  // namespace
}  // namespace prism::fs::testing
