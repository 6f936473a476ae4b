// What a quota refuses, what it never refuses, and what it counts.
#include <atomic>
#include <thread>

#include "tests/conformance/suite.h"

namespace prism::conformance {
namespace {

constexpr uint64_t kKib = 1024;
constexpr uint64_t kMib = kKib * 1024;

class QuotaTest : public Conformance {
 protected:
  void Set(const cow::QuotaChange& change) { Must(driver_->host().SetQuota(kVolume, change)); }
  void SetBytes(uint64_t bytes) { Set({.bytes = bytes}); }
  fs::VolumeInfo Info(const std::string& name = kVolume) {
    return Must(driver_->host().Show(name));
  }
  fs::StatfsResult Usage() { return Must(fs_->Statfs(kKernel)); }

  static Err Write(FileSystem& file_system, InodeId ino, uint64_t offset, std::string_view data) {
    fs::WriteArgs args;
    args.ino = ino;
    args.offset = offset;
    args.data = AsBytes(data);
    return ErrOf(file_system.Write(kKernel, args));
  }
  // Appends until something is refused; returns the bytes taken.
  uint64_t Fill(InodeId ino, uint64_t at, size_t step) {
    const uint64_t begin = at;
    for (Err err = Err::kOk; err == Err::kOk; at += err == Err::kOk ? step : 0) {
      err = Write(*fs_, ino, at, Pattern(step, static_cast<uint32_t>(at)));
      if (err != Err::kOk) EXPECT_EQ(NameOf(err), NameOf(Err::kQuota));
      if (at - begin > 64 * kMib) {
        ADD_FAILURE() << "nothing was ever refused";
        break;
      }
    }
    return at - begin;
  }
  void Remove(std::string_view name, InodeId ino) {
    Must(fs_->Unlink(kKernel, kRootInode, name));
    Must(fs_->Release(kKernel, ino));
  }
};

TEST_F(QuotaTest, GrowthEndsThereAndWhatWasTakenIsKept) {
  NEEDS(kQuota);
  SetBytes(kMib);
  const InodeId ino = MakeFile(kRootInode, "f");
  const uint64_t written = Fill(ino, 0, 64 * kKib);
  EXPECT_GE(written, kMib - 128 * kKib);
  EXPECT_LT(written, kMib);
  Must(fs_->Fsync(kKernel, ino, false));
  EXPECT_EQ(Usage().total_bytes, kMib);
  EXPECT_LT(Usage().free_bytes, 128 * kKib);
  EXPECT_LE(Info().charged_bytes, kMib);
  EXPECT_EQ(ReadAt(ino, written - 10, 100).size(), 10u) << "nothing of what was refused";
}

TEST_F(QuotaTest, OverwritingAndDeletingWorkWhenFull) {
  NEEDS(kQuota);
  SetBytes(kMib);
  const InodeId keep = MakeFile(kRootInode, "keep", Pattern(200000));
  const InodeId ino = MakeFile(kRootInode, "f");
  const uint64_t written = Fill(ino, 0, 4 * kKib);
  for (uint64_t at = 0; at + 10000 < written; at += 50000) WriteAt(ino, at, Pattern(10000, 7));
  SetBytes(100 * kKib);  // now far above
  WriteAt(keep, 0, Pattern(200000, 8));
  Must(fs_->Fsync(kKernel, keep, false));
  EXPECT_EQ(ReadAll(keep), Pattern(200000, 8));
  EXPECT_EQ(Write(*fs_, keep, 200000, Pattern(8192)), Err::kQuota);
  EXPECT_EQ(ErrOf(Create(kRootInode, "new")), Err::kQuota);
  EXPECT_EQ(ErrOf(Create(kRootInode, "dir", FileType::kDirectory)), Err::kQuota);
  EXPECT_EQ(ErrOf(fs_->Link(kKernel, keep, kRootInode, "link")), Err::kQuota);
  Must(fs_->Rename(kKernel, kRootInode, "keep", kRootInode, "kept", 0));
  Chmod(keep, 0600);
  Remove("f", ino);
  Truncate(keep, 20000);
  Must(fs_->Sync(kKernel));
  EXPECT_EQ(ReadAll(keep), Pattern(200000, 8).substr(0, 20000));
  EXPECT_EQ(Write(*fs_, keep, 20000, Pattern(8192)), Err::kOk) << "there is room again";
}

TEST_F(QuotaTest, InodesAreBounded) {
  NEEDS(kQuota);
  Set({.inodes = Info().inodes + 2});
  const InodeId first = MakeFile(kRootInode, "1");
  MakeDir(kRootInode, "2");
  EXPECT_EQ(ErrOf(Create(kRootInode, "3")), Err::kQuota);
  EXPECT_EQ(ErrOf(Create(kRootInode, "3", FileType::kSymlink)), Err::kQuota);
  Must(fs_->Link(kKernel, first, kRootInode, "another name"));
  EXPECT_EQ(Usage().free_files, 0u);
  WriteAt(first, 0, Pattern(100000));
  Must(fs_->Unlink(kKernel, kRootInode, "another name"));
  Remove("1", first);
  MakeFile(kRootInode, "3");
  Set({.inodes = 0});
  MakeFile(kRootInode, "4");
}

TEST_F(QuotaTest, OneByteInEachUnitCountsAsUnits) {
  NEEDS(kQuota);
  SetBytes(256 * kKib);
  const InodeId ino = MakeFile(kRootInode, "f");
  uint64_t taken = 0;
  while (taken < 200 && Write(*fs_, ino, taken * 8192, "x") == Err::kOk) ++taken;
  EXPECT_GE(taken, 56u);
  EXPECT_LT(taken, 64u);
  Must(fs_->Fsync(kKernel, ino, false));
  EXPECT_LE(Info().logical_bytes, 256 * kKib);
}

TEST_F(QuotaTest, SmallFilesCountTheirBytes) {
  NEEDS(kQuota);
  SetBytes(64 * kKib);
  uint64_t made = 0;
  for (; made < 1000; ++made) {
    auto file = Create(kRootInode, "f" + std::to_string(made));
    if (!file) break;
    const Err err = Write(*fs_, file->attr.ino, 0, Pattern(1000));
    if (err != Err::kOk) break;
  }
  EXPECT_GE(made, 30u);
  EXPECT_LT(made, 64u);
}

TEST_F(QuotaTest, NamesAndAttributesCountToo) {
  NEEDS(kQuota);
  NEEDS(kXattrs);
  SetBytes(256 * kKib);
  const InodeId ino = MakeFile(kRootInode, "f");
  int set = 0;
  Err err = Err::kOk;
  for (; set < 100 && err == Err::kOk; ++set)
    err = ErrOf(fs_->Setxattr(kKernel, ino, "user." + std::to_string(set), Pattern(10000),
                              XattrMode::kSet));
  EXPECT_EQ(NameOf(err), NameOf(Err::kQuota));
  EXPECT_GE(set, 20);
  EXPECT_LE(set, 27);
  Must(fs_->Removexattr(kKernel, ino, "user.1"));
  Must(fs_->Setxattr(kKernel, ino, "user.small", "value", XattrMode::kSet));
}

TEST_F(QuotaTest, CopyingByReferenceAndAllocatingCount) {
  NEEDS(kQuota);
  NEEDS(kRangeOps);
  const InodeId from = MakeFile(kRootInode, "from", Pattern(512 * kKib));
  const InodeId to = MakeFile(kRootInode, "to");
  SetBytes(kMib);
  EXPECT_EQ(Must(fs_->CopyRange(kKernel, from, 0, to, 0, 256 * kKib)), 256 * kKib);
  EXPECT_EQ(ErrOf(fs_->CopyRange(kKernel, from, 0, to, 256 * kKib, 512 * kKib)), Err::kQuota);
  EXPECT_EQ(ErrOf(fs_->Fallocate(kKernel, to, FallocateMode::kAllocate, 0, kMib)), Err::kQuota);
  Must(fs_->Fallocate(kKernel, to, FallocateMode::kAllocate, 0, 256 * kKib));
  Must(fs_->Fallocate(kKernel, from, FallocateMode::kPunchHole, 0, 512 * kKib));
}

TEST_F(QuotaTest, ManyWritersDoNotPassItTogether) {
  NEEDS(kQuota);
  constexpr uint64_t kBytes = 4 * kMib;
  SetBytes(kBytes);
  std::vector<InodeId> files;
  for (int i = 0; i < 4; ++i) files.push_back(MakeFile(kRootInode, "f" + std::to_string(i)));
  std::atomic<uint64_t> taken{0};
  std::vector<std::thread> writers;
  for (InodeId ino : files)
    writers.emplace_back([&, ino] {
      for (uint64_t at = 0; at < 2 * kBytes; at += 32 * kKib) {
        if (Write(*fs_, ino, at, Pattern(32 * kKib, static_cast<uint32_t>(ino * 1000 + at))) !=
            Err::kOk)
          return;
        taken += 32 * kKib;
      }
    });
  for (std::thread& writer : writers) writer.join();
  EXPECT_LE(taken, kBytes);
  EXPECT_GE(taken, kBytes - 512 * kKib);
  for (InodeId ino : files) Must(fs_->Fsync(kKernel, ino, false));
  EXPECT_LE(Info().logical_bytes, kBytes);
}

TEST_F(QuotaTest, AnExclusiveOneCountsWhatCameSinceTheClone) {
  NEEDS(kQuota);
  const InodeId ino = MakeFile(kRootInode, "f", Pattern(900000));
  Must(driver_->host().Clone(kVolume, {"c"}, {}, {.bytes = 256 * kKib, .exclusive = true}));
  EXPECT_LT(Info("c").charged_bytes, 4 * kKib);
  auto clone = driver_->Attach("c");
  const InodeId copy = Must(clone->Lookup(kKernel, kRootInode, "f")).attr.ino;
  // What is overwritten is new, although the file does not grow.
  uint64_t taken = 0;
  while (taken < 900000 &&
         Write(*clone, copy, taken, Pattern(16 * kKib, static_cast<uint32_t>(taken))) == Err::kOk)
    taken += 16 * kKib;
  EXPECT_GE(taken, 176 * kKib);
  EXPECT_LE(taken, 256 * kKib);
  EXPECT_EQ(Write(*clone, copy, 0, Pattern(16 * kKib, 77)), Err::kOk) << "its own, once more";
  Must(clone->Fsync(kKernel, copy, false));
  WriteAt(ino, 900000, Pattern(900000));
  EXPECT_EQ(Info().quota.bytes, 0u) << "the source has none";
  SetAttr empty;
  empty.size = 0;
  Must(clone->Setattr(kKernel, copy, empty));
  EXPECT_EQ(Write(*clone, copy, 0, Pattern(128 * kKib, 5)), Err::kOk);
}

TEST_F(QuotaTest, ClonesInheritItAndARollbackLeavesIt) {
  NEEDS(kQuota);
  fs::Host& host = driver_->host();
  Set({.bytes = kMib, .inodes = 50});
  Must(host.Snapshot({std::string(kVolume) + "@s"}, 0));
  Must(host.Clone(kVolume, {"a"}));
  Must(host.Clone(kVolume, {"b"}, {}, {.bytes = 0}));
  Set({.bytes = 2 * kMib});
  Must(host.Rollback(std::string(kVolume) + "@s"));
  EXPECT_EQ(Info().quota, (cow::Quota{2 * kMib, 50, false}));
  EXPECT_EQ(Info("a").quota, (cow::Quota{kMib, 50, false}));
  EXPECT_EQ(Info("b").quota, (cow::Quota{0, 50, false}));
  EXPECT_EQ(host.SetQuota(std::string(kVolume) + "@s", {.bytes = 1}).error().code, Err::kInvalid);
  EXPECT_EQ(host.SetQuota("none", {.bytes = 1}).error().code, Err::kNoEntry);
}

}  // namespace
}  // namespace prism::conformance
