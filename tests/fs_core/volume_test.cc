// Entries, orphans, clients, gates: what the conformance suite does not see.
#include <atomic>
#include <cstring>
#include <thread>

#include "fs/core/dir_cookie.h"
#include "fs/core/file_limits.h"
#include "fs/core/inode_record.h"
#include "fs/core/request_log.h"
#include "tests/fs_core/harness.h"

namespace prism::fs::testing {
namespace {

class VolumeCoreTest : public FsTest {
 protected:
  bool HasItem(cow::ItemType type, InodeId ino) {
    return volume_->items().contains(cow::MakeKey(type, ino));
  }
};

TEST_F(VolumeCoreTest, CreateIsOneTransactionAndWithoutLeftovers) {
  const Xattr xattrs[] = {{"user.a", "1"}, {"security.capability", "cap"}};
  CreateArgs args;
  args.parent = kRootInode;
  args.name = "file";
  args.data = Bytes("hello");
  args.xattrs = xattrs;
  args.initial.mode = 04755;
  args.initial.uid = 12;
  args.initial.mtime = Timespec{1, 2};
  const int before = volume_->commits;
  auto made = fs_->Create(root_, args);
  ASSERT_TRUE(made);
  EXPECT_EQ(volume_->commits - before, 1);
  EXPECT_EQ(made->attr.mode, 04755u);
  EXPECT_EQ(made->attr.uid, 12u);
  EXPECT_EQ(made->attr.mtime, (Timespec{1, 2}));
  EXPECT_EQ(ReadAll(made->attr.ino), "hello");
  CheckAll();
  // A refused one leaves nothing, neither in the map nor in the store.
  const std::string large = Pattern(50000, 1);
  args.name = "other";
  args.data = Bytes(large);
  volume_->fail_commits = 1;
  EXPECT_EQ(fs_->Create(root_, args).error(), Err::kIo);
  EXPECT_EQ(fs_->Lookup(root_, kRootInode, "other").error(), Err::kNoEntry);
  EXPECT_EQ(store_.chunks(), 0u);
  ASSERT_TRUE(fs_->Create(root_, args));
  EXPECT_EQ(store_.chunks(), 1u);
}

TEST_F(VolumeCoreTest, NamesOfOneHashLiveInSlots) {
  // With a known key, names whose hashes are equal cannot be found by search; so put entries into
  // the slots of one name by hand, as if they had collided.
  const InodeId ino = Make("a");
  const uint64_t first = FirstCookie(volume_->hash_key(), "b");
  {
    auto transaction = volume_->Write();
    for (uint64_t slot = 0; slot < 15; ++slot)
      transaction->Put(cow::MakeKey(cow::ItemType::kDirEntry, kRootInode, first + slot),
                       EncodeEntry(ino, FileType::kRegular, "x" + std::to_string(slot)));
    ASSERT_TRUE(transaction->Commit());
  }
  const InodeId b = Make("b");
  auto found = fs_->Lookup(root_, kRootInode, "b");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->attr.ino, b);
  EXPECT_TRUE(HasItem(cow::ItemType::kInode, b));
  EXPECT_TRUE(
      volume_->items().contains(cow::MakeKey(cow::ItemType::kDirEntry, kRootInode, first + 15)));
  EXPECT_EQ(fs_->Link(root_, ino, kRootInode, "b").error(), Err::kExists);
  Remove("b");
  {
    auto transaction = volume_->Write();
    transaction->Put(cow::MakeKey(cow::ItemType::kDirEntry, kRootInode, first + 15),
                     EncodeEntry(ino, FileType::kRegular, "y"));
    ASSERT_TRUE(transaction->Commit());
  }
  EXPECT_EQ(fs_->Link(root_, ino, kRootInode, "b").error(), Err::kNoSpace) << "all slots taken";
  auto transaction = volume_->Write();
  for (uint64_t slot = 0; slot < 16; ++slot)
    transaction->Erase(cow::MakeKey(cow::ItemType::kDirEntry, kRootInode, first + slot));
  ASSERT_TRUE(transaction->Commit());
}

TEST_F(VolumeCoreTest, LargeOrphansAreFreedInSteps) {
  const InodeId ino = Make("f");
  for (int i = 0; i < 2500; ++i) Write(ino, uint64_t{1 << 20} * i, "x");
  Flush();
  ASSERT_TRUE(fs_->Unlink(root_, kRootInode, "f"));
  CheckAll();
  EXPECT_FALSE(*core_->ReapOrphans()) << "the search for leftovers passes over what is held";
  EXPECT_EQ(Read(ino, 0, 1), "x") << "held";
  ASSERT_TRUE(fs_->Release(root_, ino));
  EXPECT_EQ(fs_->Getattr(root_, ino).error(), Err::kStale);
  EXPECT_TRUE(HasItem(cow::ItemType::kInode, ino)) << "only a step of it has gone";
  CheckAll();
  int rounds = 0;
  for (auto more = core_->ReapOrphans(1); more && *more; more = core_->ReapOrphans(1)) ++rounds;
  EXPECT_GE(rounds, 1);
  EXPECT_EQ(volume_->Usage().inodes, 1u);
  EXPECT_EQ(volume_->Usage().bytes, 0u);
  EXPECT_EQ(store_.chunks(), 0u);
}

TEST_F(VolumeCoreTest, OrphansOfAnEarlierRunAreFound) {
  const InodeId ino = Make("f");
  Write(ino, 0, Pattern(100000, 3));
  const InodeId dir = Make("d", FileType::kDirectory);
  Flush();
  ASSERT_TRUE(fs_->Unlink(root_, kRootInode, "f"));
  ASSERT_TRUE(fs_->Rmdir(root_, kRootInode, "d"));
  // The process dies: nothing is released.
  std::shared_ptr<FakeVolume> crashed = volume_->Clone();
  ++clones_;
  DirtyBudget budget(kBudget);
  auto core = VolumeCore::Open(crashed, store_, budget, CoreOptions{8});
  auto fs = core->Attach();
  EXPECT_EQ(fs->Getattr(root_, ino).error(), Err::kStale) << "nobody here holds it";
  EXPECT_EQ(fs->Getattr(root_, dir).error(), Err::kStale);
  EXPECT_EQ(fs->Release(root_, ino).error(), Err::kInvalid);
  EXPECT_FALSE(*core->ReapOrphans());
  EXPECT_EQ(crashed->Usage().inodes, 1u);
  EXPECT_EQ(Verify(*crashed, crashed->Usage()), "");
  EXPECT_EQ(Read(ino, 0, 5), Pattern(100000, 3).substr(0, 5));
}

TEST_F(VolumeCoreTest, UnsavedDataOfAnOrphanIsNeverSaved) {
  const InodeId ino = Make("f");
  Write(ino, 0, Pattern(100000, 3));
  Remove("f");
  Flush();
  EXPECT_EQ(store_.puts, 0);
  EXPECT_EQ(budget_.bytes(), 0u);
}

TEST_F(VolumeCoreTest, DestroyedVolumesDropWhatWaits) {
  const InodeId ino = Make("f");
  Write(ino, 0, Pattern(100000, 3));
  volume_->is_destroyed = true;
  EXPECT_EQ(fs_->Getattr(root_, ino).error(), Err::kStale);
  WriteArgs args;
  args.ino = ino;
  args.data = Bytes("x");
  EXPECT_EQ(fs_->Write(root_, args).error(), Err::kStale);
  EXPECT_TRUE(core_->Flush());
  EXPECT_EQ(core_->dirty_bytes(), 0u);
  volume_->is_destroyed = false;
}

TEST_F(VolumeCoreTest, ReadOnlyVolumesChangeNothing) {
  const InodeId ino = Make("f");
  Write(ino, 0, "abc");
  Flush();
  const Attr before = Stat(ino);
  volume_->is_read_only = true;
  const Items items = volume_->items();
  EXPECT_EQ(ReadAll(ino), "abc");
  EXPECT_TRUE(fs_->Readdir(root_, kRootInode, 0, true, [](const DirEntry&) { return true; }));
  SetAttr chmod;
  chmod.mode = 0;
  EXPECT_EQ(fs_->Setattr(root_, ino, chmod).error(), Err::kReadOnly);
  EXPECT_EQ(fs_->Unlink(root_, kRootInode, "f").error(), Err::kReadOnly);
  EXPECT_EQ(fs_->Removexattr(root_, ino, "user.x").error(), Err::kReadOnly);
  EXPECT_TRUE(core_->Flush());
  EXPECT_TRUE(fs_->Sync(root_));
  EXPECT_TRUE(core_->ReapOrphans());
  EXPECT_EQ(volume_->items(), items);
  EXPECT_EQ(Stat(ino), before);
  volume_->is_read_only = false;
}

TEST_F(VolumeCoreTest, NumbersThatNeverWereAreStale) {
  for (InodeId ino : {InodeId{0}, InodeId{999}, kInodeMax, kInodeMax + 1, kInodeMax + 2,
                      ~InodeId{0}, (InodeId{1} << 56) | kRootInode}) {
    EXPECT_EQ(fs_->Getattr(root_, ino).error(), Err::kStale) << ino;
    EXPECT_EQ(fs_->Lookup(root_, ino, "x").error(), Err::kStale);
    EXPECT_EQ(fs_->Unlink(root_, ino, "x").error(), Err::kStale);
    EXPECT_EQ(fs_->Fsync(root_, ino, false).error(), Err::kStale);
    EXPECT_EQ(fs_->Seek(root_, ino, 0, SeekWhence::kData).error(), Err::kStale);
    EXPECT_EQ(fs_->Release(root_, ino).error(), Err::kInvalid);
    SetAttr cut;
    cut.size = 0;
    EXPECT_EQ(fs_->Setattr(root_, ino, cut).error(), Err::kStale);
    WriteArgs args;
    args.ino = ino;
    args.data = Bytes("x");
    EXPECT_EQ(fs_->Write(root_, args).error(), Err::kStale);
  }
  EXPECT_EQ(core_->dirty_bytes(), 0u);
}

TEST_F(VolumeCoreTest, AClientThatHoldsNothingFindsUnlinkedFilesStale) {
  auto network = core_->Attach({.holds_orphans = false});
  const InodeId held = Make("held");
  const InodeId unheld = Make("unheld");
  ASSERT_TRUE(fs_->Unlink(root_, kRootInode, "held"));
  EXPECT_TRUE(fs_->Getattr(root_, held));
  EXPECT_EQ(network->Getattr(root_, held).error(), Err::kStale);
  std::byte byte;
  EXPECT_EQ(network->Read(root_, held, 0, std::span(&byte, 1)).error(), Err::kStale);
  ASSERT_TRUE(fs_->Release(root_, held));
  // Without a holder, what is unlinked goes at once.
  fs_.reset();
  ASSERT_TRUE(network->Unlink(root_, kRootInode, "unheld"));
  EXPECT_EQ(network->Getattr(root_, unheld).error(), Err::kStale);
  EXPECT_EQ(network->Statfs(root_)->files, 1u);
}

TEST_F(VolumeCoreTest, RequestsThatWereDoneAreRemembered) {
  auto id = [](uint32_t number) { return RequestId{7, number, number * 3}; };
  const RequestId create = id(1), link = id(2), rename = id(3), unlink = id(4), failed = id(5);
  const RequestId set = id(6), removed = id(7);
  Caller caller;
  CreateArgs args;
  args.parent = kRootInode;
  args.name = "f";
  caller.request = &create;
  const InodeId ino = fs_->Create(caller, args)->attr.ino;
  caller.request = &set;
  ASSERT_TRUE(fs_->Setxattr(caller, ino, "user.a", "1", XattrMode::kCreate));
  caller.request = &removed;
  ASSERT_TRUE(fs_->Removexattr(caller, ino, "user.a"));
  caller.request = &link;
  ASSERT_TRUE(fs_->Link(caller, ino, kRootInode, "g"));
  caller.request = &rename;
  ASSERT_TRUE(fs_->Rename(caller, kRootInode, "g", kRootInode, "h", 0));
  caller.request = &unlink;
  ASSERT_TRUE(fs_->Unlink(caller, kRootInode, "h"));
  caller.request = &failed;
  ASSERT_FALSE(fs_->Unlink(caller, kRootInode, "h"));
  // A new core, as after a restart, reads them from the map.
  auto again = VolumeCore::Open(volume_, store_, budget_, {});
  auto other = again->Attach();
  for (const RequestId& done : {create, set, removed, link, rename, unlink}) {
    EXPECT_EQ(fs_->FindDone(done).value(), ino) << done.number;
    EXPECT_EQ(other->FindDone(done).value(), ino) << done.number;
  }
  EXPECT_EQ(fs_->FindDone(failed).error(), Err::kNoEntry);
  EXPECT_EQ(other->FindDone(RequestId{8, 1, 3}).error(), Err::kNoEntry);
  // The oldest are forgotten, in memory and in the map.
  for (uint32_t number = 100; number < 100 + RequestLog::kSlots; ++number) {
    const RequestId request = id(number);
    caller.request = &request;
    const std::string name = "f" + std::to_string(number);
    args.name = name;
    ASSERT_TRUE(fs_->Create(caller, args));
  }
  auto third = VolumeCore::Open(volume_, store_, budget_, {})->Attach();
  for (auto* fs : {fs_.get(), third.get()}) {
    EXPECT_EQ(fs->FindDone(unlink).error(), Err::kNoEntry);
    EXPECT_TRUE(fs->FindDone(id(100)));
    EXPECT_TRUE(fs->FindDone(id(99 + RequestLog::kSlots)));
  }
}

TEST_F(VolumeCoreTest, AnInterruptedClientFindsWhatItHeld) {
  const InodeId held = Make("held"), released = Make("released"), others = Make("others");
  for (const char* name : {"held", "released", "others"})
    ASSERT_TRUE(fs_->Unlink(root_, kRootInode, name));
  ASSERT_TRUE(fs_->Release(root_, released));
  Write(held, 0, "written after its name had gone");
  core_->KeepOrphans();
  fs_.reset();  // the server stops
  ASSERT_EQ(core_->ReapOrphans().value(), false);
  ASSERT_TRUE(core_->Flush());

  CoreOptions options{7};
  options.leftovers_from = std::chrono::steady_clock::now() + std::chrono::hours(1);
  core_ = VolumeCore::Open(volume_, store_, budget_, options);
  ASSERT_EQ(core_->ReapOrphans().value(), false);
  auto stranger = core_->Attach();
  EXPECT_EQ(stranger->Getattr(root_, held).error(), Err::kStale);
  auto resumed = core_->Resume();
  ASSERT_TRUE(resumed);
  EXPECT_EQ((*resumed)->Getattr(root_, held)->nlink, 0u);
  EXPECT_EQ((*resumed)->Getattr(root_, held)->size, 31u);
  EXPECT_EQ((*resumed)->Getattr(root_, released).error(), Err::kStale);
  EXPECT_EQ(stranger->Release(root_, held).error(), Err::kInvalid);
  ASSERT_TRUE((*resumed)->Release(root_, held));
  EXPECT_EQ((*resumed)->Getattr(root_, held).error(), Err::kStale);
  // What another client had held, the resumed one does not know of, and keeps until it goes.
  EXPECT_TRUE((*resumed)->Getattr(root_, others));
  resumed->reset();
  EXPECT_EQ(stranger->Getattr(root_, others).error(), Err::kStale);
  stranger.reset();
}

TEST_F(VolumeCoreTest, LeftoversGoWhenNobodyComesForThem) {
  const InodeId left = Make("left");
  ASSERT_TRUE(fs_->Unlink(root_, kRootInode, "left"));
  core_->KeepOrphans();
  fs_.reset();
  core_ = VolumeCore::Open(volume_, store_, budget_, CoreOptions{7});
  ASSERT_EQ(core_->ReapOrphans().value(), false);
  auto late = core_->Resume();
  ASSERT_TRUE(late);
  EXPECT_EQ((*late)->Getattr(root_, left).error(), Err::kStale);
  EXPECT_EQ(volume_->Usage().inodes, 1u);
}

TEST_F(VolumeCoreTest, WhatReturnedBeforeTheGateIsInTheClone) {
  // Writers count upwards in files of their own, and say how far they are.
  constexpr int kWriters = 3;
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> done[kWriters] = {};
  InodeId inodes[kWriters];
  for (int i = 0; i < kWriters; ++i) inodes[i] = Make("f" + std::to_string(i));
  std::vector<std::thread> writers;
  for (int i = 0; i < kWriters; ++i) {
    writers.emplace_back([&, i] {
      for (uint64_t n = 1; !stop; ++n) {
        WriteArgs args;
        args.ino = inodes[i];
        args.offset = n % 50 * 8000;
        std::string text(8000, static_cast<char>(n));
        std::memcpy(text.data(), &n, sizeof n);
        args.data = Bytes(text);
        if (!fs_->Write(root_, args)) break;
        done[i] = n;
      }
    });
  }
  for (int round = 0; round < 20; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    uint64_t before[kWriters];
    for (int i = 0; i < kWriters; ++i) before[i] = done[i];
    std::shared_ptr<FakeVolume> clone;
    uint64_t frozen[kWriters];
    {
      auto gate = core_->LockData();
      ASSERT_TRUE(gate);
      for (int i = 0; i < kWriters; ++i) frozen[i] = done[i];
      EXPECT_EQ(core_->dirty_bytes(), 0u);
      clone = volume_->Clone();
      for (int i = 0; i < kWriters; ++i) EXPECT_LE(done[i], frozen[i] + 1);
    }
    ++clones_;
    EXPECT_EQ(Verify(*clone, clone->Usage()), "");
    DirtyBudget budget(kBudget);
    auto core = VolumeCore::Open(clone, store_, budget, CoreOptions{9});
    auto fs = core->Attach();
    for (int i = 0; i < kWriters; ++i) {
      uint64_t highest = 0;
      for (uint64_t slot = 0; slot < 50; ++slot) {
        uint64_t n = 0;
        auto read =
            fs->Read(root_, inodes[i], slot * 8000, std::as_writable_bytes(std::span(&n, 1)));
        ASSERT_TRUE(read);
        highest = std::max(highest, n);
      }
      EXPECT_GE(highest, before[i]);
      EXPECT_LE(highest, frozen[i] + 1);
    }
  }
  stop = true;
  for (auto& writer : writers) writer.join();
  for (auto& count : done) EXPECT_GT(count, 20u);
}

TEST_F(VolumeCoreTest, AClonesCutNeverFallsIntoATruncation) {
  constexpr uint64_t kSmall = 7;
  const InodeId ino = Make("f");
  for (int i = 0; i < 6000; ++i) Write(ino, uint64_t{1 << 16} * i, "x");
  const uint64_t size = Stat(ino).size;
  const InodeId copy = Make("copy");
  std::atomic<bool> stop{false};
  std::atomic<int> cycles{0};
  std::thread truncating([&] {
    // Sharing refills what truncation takes, in transactions that only ever make it longer.
    while (!stop) {
      for (uint64_t done = 0; done < size;) {
        auto copied = fs_->CopyRange(root_, ino, done, copy, done, size - done);
        ASSERT_TRUE(copied);
        done += *copied;
      }
      Truncate(copy, kSmall);
      ++cycles;
    }
  });
  for (int round = 0; round < 100 || cycles < 5; ++round) {
    auto gate = core_->LockData();
    ASSERT_TRUE(gate);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    std::shared_ptr<FakeVolume> first = volume_->Clone();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    std::shared_ptr<FakeVolume> second = volume_->Clone();
    clones_ += 2;
    const cow::Key key = cow::MakeKey(cow::ItemType::kInode, copy);
    const uint64_t before = DecodeInode(copy, first->items().at(key))->attr.size;
    const uint64_t after = DecodeInode(copy, second->items().at(key))->attr.size;
    EXPECT_TRUE(after >= before || after == kSmall) << before << ", then " << after;
  }
  stop = true;
  truncating.join();
}

TEST_F(VolumeCoreTest, EverybodyAtOnce) {
  // Threads on a few names and files; the checker says whether the volume is still whole.
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> operations{0};
  auto other = core_->Attach();
  for (int i = 0; i < 4; ++i) Make("f" + std::to_string(i));
  auto work = [&](uint32_t seed) {
    uint32_t state = seed;
    auto random = [&](uint32_t n) {
      state = state * 1664525u + 1013904223u;
      return (state >> 8) % n;
    };
    FileSystem& fs = seed % 2 == 0 ? *fs_ : *other;
    const std::string text = Pattern(70000, seed);
    std::string buffer(70000, 0);
    while (!stop) {
      ++operations;
      const std::string name = "f" + std::to_string(random(4));
      auto found = fs.Lookup(root_, kRootInode, name);
      if (!found) {
        CreateArgs args;
        args.parent = kRootInode;
        args.name = name;
        args.data = Bytes(text).first(random(5000));
        (void)fs.Create(root_, args);
        continue;
      }
      const InodeId ino = found->attr.ino;
      const uint64_t offset = random(200000);
      switch (random(12)) {
        case 0:
          if (auto removed = fs.Unlink(root_, kRootInode, name);
              removed && removed->removed.nlink == 0) {
            (void)fs_->Release(root_, removed->removed.ino);
            (void)other->Release(root_, removed->removed.ino);
          }
          break;
        case 1: {
          SetAttr cut;
          cut.size = offset;
          (void)fs.Setattr(root_, ino, cut);
          break;
        }
        case 2:
          (void)fs.Fallocate(root_, ino, FallocateMode::kPunchHole, offset, 30000);
          break;
        case 3:
          (void)fs.Fsync(root_, ino, false);
          break;
        case 4:
          (void)fs.Rename(root_, kRootInode, name, kRootInode, "f" + std::to_string(random(4)), 0);
          break;
        case 5: {
          auto to = fs.Lookup(root_, kRootInode, "f" + std::to_string(random(4)));
          if (to) (void)fs.CopyRange(root_, ino, 0, to->attr.ino, 65536 * random(3), 65536);
          break;
        }
        case 6:
          (void)fs.Link(root_, ino, kRootInode, "f" + std::to_string(random(4)));
          break;
        case 7:
          (void)core_->FlushAged(std::chrono::steady_clock::time_point::max());
          break;
        case 8:
          (void)fs.Read(root_, ino, offset, std::as_writable_bytes(std::span(buffer)));
          break;
        default: {
          WriteArgs args;
          args.ino = ino;
          args.offset = offset;
          args.data = Bytes(text).first(random(70000));
          (void)fs.Write(root_, args);
        }
      }
    }
  };
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < 4; ++i) threads.emplace_back(work, i + 1);
  for (int i = 0; i < 10; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    std::shared_ptr<FakeVolume> now = volume_->Clone();
    EXPECT_EQ(Verify(*now, now->Usage()), "");
    ASSERT_TRUE(core_->ReapOrphans());
  }
  stop = true;
  for (auto& thread : threads) thread.join();
  EXPECT_GT(operations, 500u);
  // Renames orphan files that nobody releases here: the clients' end does.
  other.reset();
}

}  // namespace
}  // namespace prism::fs::testing
