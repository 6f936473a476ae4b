// A store whose server was killed: what only the journal has is checked too, and nothing changed.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "cow/chunk_row.h"
#include "cow/journal.h"
#include "fs/base/bytes.h"
#include "tests/fsck/fixture.h"

namespace prism::fs {
namespace {

class JournalFsck : public StoreToDamage {
 protected:
  // Runs `change` on a host in a process of its own, which is then killed.
  template <typename F>
  void KillAfter(F&& change) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      HostOptions options;
      options.directory = store_;
      options.checkpoint_interval_ms = 3600'000;
      auto host = Host::Open(options);
      if (!host) ::_exit(1);
      change(**host);
      if (::testing::Test::HasFailure()) ::_exit(1);
      (void)::kill(::getpid(), SIGKILL);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(pid, &status, 0), pid);
    ASSERT_TRUE(WIFSIGNALED(status)) << "it ended by itself: " << status;
  }

  static void Fill(Host& host) {
    Must(host.Create("base", false));
    auto fs = Must(host.Attach("base", false));
    const InodeId dir = Make(*fs, kRootInode, "dir", FileType::kDirectory);
    for (int i = 0; i < 100; ++i)
      Make(*fs, dir, "file" + std::to_string(i), FileType::kRegular, Noise(9000 + i, i));
    Must(host.Flush());
  }
  static void GoOn(Host& host) {
    auto fs = Must(host.Attach("base", false));
    const InodeId dir = Must(fs->Lookup(Caller{}, kRootInode, "dir")).attr.ino;
    for (int i = 0; i < 50; ++i) Must(fs->Unlink(Caller{}, dir, "file" + std::to_string(i)));
    for (int i = 0; i < 20; ++i) {
      const InodeId ino =
          Make(*fs, dir, "new" + std::to_string(i), FileType::kRegular, Noise(5000 + i, 1000 + i));
      Must(fs->Fsync(Caller{}, ino, false));
    }
    Must(host.Clone("base", {"clone"}));
    Must(host.Compose("composed", {"base",
                                   {{ComposeRule::Kind::kGraft, "clone", "/dir", "/part"},
                                    {ComposeRule::Kind::kExclude, "", "", "/dir"}}}));
    Must(host.Destroy({"clone"}));
    Must(host.Flush());
  }

  // Everything that can be seen of the store's files.
  std::map<std::string, std::string> Files() const {
    std::map<std::string, std::string> files;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(store_)) {
      struct stat status {};
      EXPECT_EQ(::lstat(entry.path().c_str(), &status), 0);
      std::ostringstream content;
      if (entry.is_regular_file()) content << std::ifstream(entry.path()).rdbuf();
      files[entry.path()] = fmt::format("{} {}.{} {} {}", status.st_size, status.st_mtim.tv_sec,
                                        status.st_mtim.tv_nsec, status.st_blocks,
                                        std::hash<std::string>()(std::move(content).str()));
    }
    return files;
  }
};

TEST_F(JournalFsck, WhatOnlyTheJournalHasIsCheckedAndNothingChanges) {
  KillAfter(Fill);
  const cow::CheckReport first = Check(true);
  EXPECT_EQ(Text(first), "");
  EXPECT_GT(first.journal_records, 100u);
  EXPECT_TRUE(first.journal_included);
  EXPECT_EQ(first.inodes, 102u);
  EXPECT_GE(first.data_bytes, 100 * 9000u);
  { Open(); }
  EXPECT_EQ(Check().journal_records, 0u) << "all is in a checkpoint";

  KillAfter(GoOn);
  const auto before = Files();
  const cow::CheckReport report = Check(true);
  EXPECT_EQ(Text(report), "");
  EXPECT_GT(report.journal_records, 70u);
  const auto after = Files();
  EXPECT_EQ(before.size(), after.size());
  for (const auto& [path, what] : before) EXPECT_EQ(after.at(path), what) << path;

  auto host = Open();
  const cow::CheckReport online = Must(host->Check(true));
  EXPECT_EQ(Text(online), "");
  EXPECT_EQ(online.inodes, report.inodes);
  EXPECT_EQ(online.chunks, report.chunks);
  EXPECT_EQ(online.volumes, report.volumes);
}

TEST_F(JournalFsck, RebasesAndMergesToo) {
  KillAfter([](Host& host) {
    Fill(host);
    Must(host.Snapshot({"base@v1"}, 0));
    Must(host.Clone("base", {"web", "side"}));
    for (const char* name : {"web", "base"}) {
      auto fs = Must(host.Attach(name, false));
      for (int i = 0; i < 20; ++i)
        Make(*fs, kRootInode, name + std::to_string(i), FileType::kRegular,
             Noise(30000, *name + i));
    }
    Must(host.Flush());
    Must(host.Snapshot({"base@v2"}, 0));
    Must(host.Rebase({"web"}, "base@v2", {}));
    Must(host.Clone("web", {"child"}));
    Make(*Must(host.Attach("child", false)), kRootInode, "more", FileType::kRegular,
         Noise(100000, 999));
    Must(host.Merge("child", "web", {}));
    Must(host.SetQuota("web", {.exclusive = true}));
    Must(host.Flush());
  });
  const cow::CheckReport report = Check(true);
  EXPECT_EQ(Text(report), "");
  EXPECT_TRUE(report.journal_included);
  auto host = Open();
  const VolumeInfo web = Must(host->Show("web"));
  EXPECT_EQ(web.parent, "base@v2");
  EXPECT_GE(web.charged_bytes, 20 * 30000u + 100000u);
  EXPECT_LE(web.charged_bytes, 20 * 30000u + 100000u + 60000u);
  EXPECT_EQ(Text(Must(host->Check(true))), "");
}

// A power cut may take what the journal holds another time.
TEST_F(JournalFsck, BytesThatTheJournalCarriesAreNotLost) {
  KillAfter(Fill);
  { Open(); }
  uint64_t end = 0;
  Change([&](cow::Kv& kv, cow::KvBatch&) {
    Must(kv.Scan(Table::kChunk, [&](std::string_view, std::string_view value) {
      const cow::Extent extent = Must(cow::ChunkRow::Decode(value)).extent;
      end = std::max<uint64_t>(end, extent.unit * uint64_t{1024} + extent.length_bytes);
      return true;
    }));
  });
  KillAfter(GoOn);
  const std::string segment = store_ + "/segments/00000001";
  ASSERT_GT(std::filesystem::file_size(segment), end);
  std::filesystem::resize_file(segment, end);
  EXPECT_EQ(Text(Check(true)), "");
  std::filesystem::resize_file(segment, end - 4096);
  ExpectFound("lies behind the end of segment 1");
  std::filesystem::resize_file(segment, end);
  ExpectFound("do not verify", true);
}

TEST_F(JournalFsck, TheJournalOfADamagedStoreIsLeftOut) {
  KillAfter(Fill);
  { Open(); }
  KillAfter(GoOn);
  ChangeVolume("base", [](clone::VolumeRow& row) { ++row.bytes; });
  const cow::CheckReport report = Check(true);
  EXPECT_NE(Text(report).find("bytes of files"), std::string::npos) << Text(report);
  EXPECT_GT(report.journal_records, 70u);
  EXPECT_FALSE(report.journal_included);
  EXPECT_GT(report.data_bytes, 0u) << "its data is read all the same";
}

TEST_F(JournalFsck, RecordsThatDoNotFollowOrApply) {
  {
    auto host = Open();
    Fill(*host);
  }
  Lsn cut = 0;
  std::string superblock;
  Change([&](cow::Kv& kv, cow::KvBatch&) {
    Must(kv.Get(Table::kMeta, "superblock", superblock));
    cut = ByteReader(std::string_view(superblock).substr(28)).Get<Lsn>();
  });
  {
    cow::Journal journal(store_ + "/journal", [] { return Status(); });
    Must(journal.Replay(cut, [](Lsn, std::string_view) { return Status(); }));
    ASSERT_EQ(journal.last_lsn(), cut);
    Must(journal.WaitDurable(
        journal.Append(clone::RenameRecord{999, "nobody"}.Encode(cow::RecordType::kRename))));
  }
  ExpectFound("does not apply to the last checkpoint");
  EXPECT_EQ(Check().journal_records, 1u);
  EXPECT_FALSE(Check().journal_included);
  Change([&](cow::Kv&, cow::KvBatch& batch) {
    std::string earlier = superblock.substr(0, 28);
    ByteWriter(earlier).Put(cut - cut / 2);
    batch.Put(Table::kMeta, "superblock", earlier);
  });
  for (const auto& file : std::filesystem::directory_iterator(store_ + "/journal"))
    if (file.path().filename() == "00000001") std::filesystem::remove(file.path());
  ExpectFound("with what does not follow");
}

}  // namespace
}  // namespace prism::fs
