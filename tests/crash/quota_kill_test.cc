// Writers at their volumes' quotas, killed at any point: afterwards what is counted is what is
// there, the quotas hold, and deleting makes room.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <random>
#include <thread>
#include <vector>

#include "fs/core/host.h"
#include "fs/core/store_check.h"
#include "tests/support/noise.h"
#include "tests/support/result.h"
#include "tests/support/temp_dir.h"

namespace prism::crash {
namespace {

using fs::Caller;
using test::Must;
using test::Noise;

constexpr uint64_t kQuota = 3 << 20;
constexpr uint64_t kInodes = 150;
// Saving makes nodes, which are not asked for (docs/DESIGN.md).
constexpr uint64_t kNodes = kQuota / 20;
const std::vector<std::string> kVolumes = {"whole", "exclusive", "composed", "composed-exclusive"};

Err Write(fs::FileSystem& files, InodeId ino, uint64_t offset, const std::string& data) {
  fs::WriteArgs write;
  write.ino = ino;
  write.offset = offset;
  write.data = std::as_bytes(std::span(data));
  return test::ErrOf(files.Write(Caller{}, write));
}

Result<InodeId> Create(fs::FileSystem& files, InodeId parent, const std::string& name) {
  fs::CreateArgs create;
  create.parent = parent;
  create.name = name;
  create.type = fs::FileType::kRegular;
  PRISM_ASSIGN(const fs::EntryResult made, files.Create(Caller{}, create));
  return made.attr.ino;
}

std::vector<std::pair<std::string, InodeId>> List(fs::FileSystem& files, InodeId dir) {
  std::vector<std::pair<std::string, InodeId>> names;
  Must(files.Readdir(Caller{}, dir, 0, false, [&](const fs::DirEntry& entry) {
    names.emplace_back(entry.name, entry.ino);
    return true;
  }));
  return names;
}

class QuotaKill : public testing::Test {
 protected:
  std::unique_ptr<fs::Host> Open() {
    fs::HostOptions options;
    options.directory = directory_.Path("store");
    options.flush_interval_ms = 20;
    options.checkpoint_interval_ms = 100;
    return Must(fs::Host::Open(options));
  }

  // Creates, overwrites, sets attributes and removes, at random, for ever. Where only what is new
  // counts, whole blocks are overwritten: of another chunk what is left would count on
  // (docs/DESIGN.md).
  static void Work(fs::Host& host, const std::string& volume, uint32_t seed) {
    const auto files = Must(host.Attach(volume, false));
    std::mt19937 random(seed);
    for (uint32_t i = 0;; ++i) {
      const auto names = List(*files, kRootInode);
      const InodeId some = names.empty() ? 0 : names[random() % names.size()].second;
      Err err = Err::kOk;
      switch (random() % 8) {
        case 0:
        case 1:
        case 2: {
          const auto made = Create(*files, kRootInode, "n" + std::to_string(seed + i));
          err =
              made ? Write(*files, *made, 0, Noise(1 + random() % 60'000, random())) : made.error();
          break;
        }
        case 3:
        case 4:
          if (some != 0 && volume.ends_with("exclusive"))
            err = Write(*files, some, random() % 4 * 65536, Noise(65536, random()));
          else if (some != 0)
            err = Write(*files, some, random() % 200'000, Noise(20'000, random()));
          break;
        case 5:
          if (some != 0)
            err = test::ErrOf(files->Setxattr(Caller{}, some, "user.x", Noise(500, random()),
                                              fs::XattrMode::kSet));
          break;
        case 6:
          if (some != 0) err = test::ErrOf(files->Fsync(Caller{}, some, false));
          break;
        default:
          if (!names.empty() && random() % 3 == 0) {
            const auto& [name, ino] = names[random() % names.size()];
            if (files->Unlink(Caller{}, kRootInode, name)) Must(files->Release(Caller{}, ino));
          }
      }
      // Another writer may have removed it; directories are none to write to.
      const bool expected = err == Err::kOk || err == Err::kQuota || err == Err::kStale ||
                            err == Err::kIsDirectory || err == Err::kNoEntry;
      if (!expected) {
        ADD_FAILURE() << NameOf(err);
        ::_exit(1);
      }
    }
  }

  pid_t Start(uint32_t seed) {
    const pid_t pid = ::fork();
    if (pid != 0) return pid;
    const auto host = Open();
    std::vector<std::thread> threads;
    for (const std::string& volume : kVolumes)
      for (int i = 0; i < 2; ++i)
        threads.emplace_back([&, s = seed += 1'000'000] { Work(*host, volume, s); });
    for (std::thread& thread : threads) thread.join();
    ::_exit(0);
  }

  void MakeVolumes() {
    const auto host = Open();
    for (const char* name : {"whole", "source"}) Must(host->Create(name, false));
    {
      const auto files = Must(host->Attach("source", false));
      for (int i = 0; i < 40; ++i)
        Must(test::ErrOf(Create(*files, kRootInode, "s" + std::to_string(i))) == Err::kOk
                 ? Status()
                 : Status(Fail(Err::kIo)));
      for (const auto& [name, ino] : List(*files, kRootInode))
        EXPECT_EQ(Write(*files, ino, 0, Noise(ino % 2 == 0 ? 1500 : 30'000, 3)), Err::kOk);
    }
    Must(host->Clone("source", {"exclusive"}));
    fs::ComposeOptions compose;
    compose.rules = {{fs::ComposeRule::Kind::kGraft, "source", "/", "/part"}};
    Must(host->Compose("composed", compose));
    compose.base = "source";
    Must(host->Compose("composed-exclusive", compose));
    for (const std::string& name : kVolumes)
      Must(host->SetQuota(
          name, {.bytes = kQuota, .inodes = kInodes, .exclusive = name.ends_with("exclusive")}));
  }

  void ExpectWhole() {
    const cow::CheckReport report = Must(fs::CheckStore(directory_.Path("store"), true));
    EXPECT_EQ(report.damage_count, 0u);
    for (const std::string& damage : report.damages) ADD_FAILURE() << damage;
    EXPECT_TRUE(report.journal_included);
    replayed_ += report.journal_records;
  }

  void ExpectHard(fs::Host& host, const std::string& name) {
    const fs::VolumeInfo info = Must(host.Show(name));
    EXPECT_LE(info.charged_bytes, kQuota + kNodes) << name;
    EXPECT_LE(info.inodes, kInodes) << name;
    const auto files = Must(host.Attach(name, false));
    Err err = Err::kOk;
    uint64_t more = 0;
    for (uint32_t i = 0; err == Err::kOk && i < 400; ++i) {
      const auto made = Create(*files, kRootInode, "more" + std::to_string(++names_));
      err = made ? Write(*files, *made, 0, Noise(50'000, names_)) : made.error();
      more += err == Err::kOk ? 50'000 : 0;
    }
    EXPECT_EQ(err, Err::kQuota) << name;
    EXPECT_LE(more, kQuota) << name;
  }

  void ExpectRoomByDeleting(fs::Host& host, const std::string& name) {
    {
      const auto files = Must(host.Attach(name, false));
      for (const auto& [file, ino] : List(*files, kRootInode))
        if (file != "part") Must(files->Unlink(Caller{}, kRootInode, file));
    }
    Must(host.Drain());
    const fs::VolumeInfo info = Must(host.Show(name));
    EXPECT_LT(info.charged_bytes, kQuota / 2) << name;
    const auto files = Must(host.Attach(name, false));
    const auto made = Create(*files, kRootInode, "again" + std::to_string(++names_));
    ASSERT_TRUE(made.has_value()) << name;
    EXPECT_EQ(Write(*files, *made, 0, Noise(200'000, 1)), Err::kOk) << name;
  }

  test::TempDir directory_;
  uint64_t replayed_ = 0;
  uint32_t names_ = 0;
};

TEST_F(QuotaKill, WhatIsCountedIsThereAndQuotasHold) {
  MakeVolumes();
  std::mt19937 random(11);
  for (uint32_t round = 0; round < 8; ++round) {
    const pid_t pid = Start(round * 100'000'000 + 1);
    ASSERT_GT(pid, 0);
    ::usleep(300'000 + random() % 700'000);
    ASSERT_EQ(::kill(pid, SIGKILL), 0);
    int status = 0;
    ASSERT_EQ(::waitpid(pid, &status, 0), pid);
    ASSERT_TRUE(WIFSIGNALED(status)) << "it ended by itself: " << status;
    ExpectWhole();
    const auto host = Open();
    for (const std::string& name : kVolumes) ExpectHard(*host, name);
    EXPECT_EQ(Must(host->Check(false)).damage_count, 0u);
    if (round % 2 == 1)
      for (const std::string& name : kVolumes) ExpectRoomByDeleting(*host, name);
  }
  ExpectWhole();
  EXPECT_GT(replayed_, 200u);
}

}  // namespace
}  // namespace prism::crash
