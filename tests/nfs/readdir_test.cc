// READDIR and READDIRPLUS: cookies, limits of size, listings while the directory changes.
#include <atomic>
#include <cstdlib>
#include <map>
#include <set>
#include <thread>

#include "tests/nfs/nfs_fixture.h"

namespace prism::nfs3 {
namespace {

struct Entry {
  uint64_t fileid = 0;
  std::string name;
  uint64_t cookie = 0;
  std::optional<Fattr> attr;
  std::optional<std::string> handle;
};

struct Page {
  uint32_t status = 0;
  size_t size_bytes = 0;  // of READDIR3resok
  std::optional<Fattr> dir;
  uint64_t verifier = 0;
  std::vector<Entry> entries;
  bool eof = false;
};

class ReaddirTest : public NfsFixture {
 protected:
  static Page Parse(Results results, bool plus) {
    Page page;
    page.status = results.status();
    page.size_bytes = results.in().remaining().size();
    page.dir = results.GetPostOp();
    if (page.status != NFS3_OK) return page;
    page.verifier = results.in().U64();
    while (results.in().Bool()) {
      Entry entry;
      entry.fileid = results.in().U64();
      entry.name = results.in().String(kNameMax);
      entry.cookie = results.in().U64();
      if (plus) {
        entry.attr = results.GetPostOp();
        entry.handle = results.GetPostOpHandle();
      }
      page.entries.push_back(std::move(entry));
    }
    page.eof = results.in().Bool();
    EXPECT_TRUE(results.Finished());
    return page;
  }
  Page Readdir(std::string_view dir, uint64_t cookie, uint64_t verifier, uint32_t count) {
    return Parse(
        client_.Nfs(NFSPROC3_READDIR, Args().Text(dir).U64(cookie).U64(verifier).U32(count)),
        false);
  }
  Page Readdirplus(std::string_view dir, uint64_t cookie, uint64_t verifier, uint32_t dircount,
                   uint32_t maxcount) {
    return Parse(
        client_.Nfs(NFSPROC3_READDIRPLUS,
                    Args().Text(dir).U64(cookie).U64(verifier).U32(dircount).U32(maxcount)),
        true);
  }
  // The whole directory, page by page; every reply within `count`. "." and ".." too.
  std::vector<Entry> List(std::string_view dir, uint32_t count, bool plus = false) {
    std::vector<Entry> all;
    uint64_t cookie = 0, verifier = 0;
    for (bool eof = false; !eof;) {
      Page page = plus ? Readdirplus(dir, cookie, verifier, count, count)
                       : Readdir(dir, cookie, verifier, count);
      EXPECT_EQ(page.status, NFS3_OK);
      EXPECT_LE(page.size_bytes, count);
      if (page.status != NFS3_OK || (page.entries.empty() && !page.eof)) {
        ADD_FAILURE() << "no progress";
        return all;
      }
      all.insert(all.end(), page.entries.begin(), page.entries.end());
      if (!page.entries.empty()) cookie = page.entries.back().cookie;
      verifier = page.verifier;
      eof = page.eof;
    }
    return all;
  }
  // Directly, for each change over NFS waits for the disk.
  void Fill(fs::FileSystem& file_system, int from, int to) {
    for (int i = from; i < to; ++i) {
      const std::string name = "entry-" + std::to_string(i);
      fs::CreateArgs args;
      args.parent = kRootInode;
      args.name = name;
      args.mode = 0644;
      test::Must(file_system.Create({}, args));
    }
  }
  std::shared_ptr<fs::FileSystem> Attach() { return test::Must(host_->Attach(kVolume, false)); }

  Client client_ = Connect();
};

TEST_F(ReaddirTest, DotAndDotDotComeFirstWithTheirNumbers) {
  const std::string dir = client_.Mkdir(root_, "dir");
  const uint64_t root = client_.Getattr(root_).fileid, self = client_.Getattr(dir).fileid;
  for (bool plus : {false, true}) {
    std::vector<Entry> entries = List(dir, 4096, plus);
    ASSERT_EQ(entries.size(), 2u);
    EXPECT_EQ(entries[0].name, ".");
    EXPECT_EQ(entries[0].fileid, self);
    EXPECT_EQ(entries[1].name, "..");
    EXPECT_EQ(entries[1].fileid, root);
    entries = List(root_, 4096, plus);
    ASSERT_EQ(entries.size(), 3u);
    EXPECT_EQ(entries[1].fileid, root) << ".. of the root";
  }
}

TEST_F(ReaddirTest, ReadirplusTellsAttributesAndHandles) {
  client_.Create(root_, "file");
  client_.Mkdir(root_, "dir");
  for (const Entry& entry : List(root_, 8192, true)) {
    ASSERT_TRUE(entry.attr && entry.handle) << entry.name;
    EXPECT_EQ(entry.attr->fileid, entry.fileid);
    EXPECT_EQ(*entry.handle, client_.Lookup(root_, entry.name)) << entry.name;
    Fattr attr = client_.Getattr(*entry.handle);
    attr.atime = entry.attr->atime;  // listing sets the directory's own
    EXPECT_EQ(*entry.attr, attr) << entry.name;
  }
}

TEST_F(ReaddirTest, RepliesStayWithinTheCountAndListEverythingOnce) {
  auto file_system = Attach();
  Fill(*file_system, 0, 500);
  for (bool plus : {false, true}) {
    for (uint32_t count : {300u, 512u, 1000u, 4096u, 65536u}) {
      std::set<std::string> names;
      for (const Entry& entry : List(root_, count, plus))
        EXPECT_TRUE(names.insert(entry.name).second) << entry.name;
      EXPECT_EQ(names.size(), 502u) << count;
    }
  }
}

TEST_F(ReaddirTest, LargerCountsThanTheServerGivesAreCut) {
  auto file_system = Attach();
  Fill(*file_system, 0, 10000);
  for (uint32_t count : {uint32_t{1} << 20, 0xffffffffu}) {
    Page page = Readdir(root_, 0, 0, count);
    EXPECT_EQ(page.status, NFS3_OK);
    EXPECT_GT(page.entries.size(), 1000u);
    EXPECT_LE(page.size_bytes, kDirMax);
  }
}

TEST_F(ReaddirTest, ACountWithRoomForNoEntryIsTooSmall) {
  client_.Create(root_, std::string(255, 'n'));
  for (uint32_t count : {0u, 4u, 100u, 120u}) {
    EXPECT_EQ(Readdir(root_, 0, 0, count).status, NFS3ERR_TOOSMALL) << count;
    EXPECT_EQ(Readdirplus(root_, 0, 0, count, count).status, NFS3ERR_TOOSMALL) << count;
  }
  Page dots = Readdir(root_, 0, 0, 4096);
  ASSERT_EQ(dots.entries.size(), 3u);
  EXPECT_EQ(Readdir(root_, dots.entries[1].cookie, dots.verifier, 250).status, NFS3ERR_TOOSMALL);
  EXPECT_EQ(Readdir(root_, dots.entries[2].cookie, dots.verifier, 250).status, NFS3_OK)
      << "the end needs no room";
}

TEST_F(ReaddirTest, DircountLimitsNamesAndMaxcountTheReply) {
  auto file_system = Attach();
  Fill(*file_system, 0, 200);
  Page few = Readdirplus(root_, 0, 0, 300, 65536);
  EXPECT_EQ(few.status, NFS3_OK);
  EXPECT_FALSE(few.eof);
  size_t names = 0;
  for (const Entry& entry : few.entries) names += 8 + 4 + ((entry.name.size() + 3) & ~3) + 8;
  EXPECT_LE(names, 300u);
  EXPECT_GE(few.entries.size(), 5u);
  Page all = Readdirplus(root_, 0, 0, 65536, 65536);
  EXPECT_TRUE(all.eof);
  EXPECT_EQ(all.entries.size(), 202u);
}

TEST_F(ReaddirTest, CookiesNeedTheirVerifier) {
  client_.Create(root_, "file");
  Page page = Readdir(root_, 0, 0, 4096);
  const uint64_t cookie = page.entries[0].cookie;
  EXPECT_EQ(Readdir(root_, cookie, page.verifier, 4096).status, NFS3_OK);
  EXPECT_EQ(Readdir(root_, cookie, page.verifier + 1, 4096).status, NFS3ERR_BAD_COOKIE);
  EXPECT_EQ(Readdirplus(root_, cookie, page.verifier + 1, 4096, 4096).status, NFS3ERR_BAD_COOKIE);
  EXPECT_EQ(Readdir(root_, ~uint64_t{0}, page.verifier, 4096).status, NFS3ERR_BAD_COOKIE);
}

TEST_F(ReaddirTest, OtherThingsThanDirectoriesAreNotListed) {
  const std::string file = client_.Create(root_, "file");
  EXPECT_EQ(Readdir(file, 0, 0, 4096).status, NFS3ERR_NOTDIR);
  EXPECT_EQ(Readdirplus(file, 0, 0, 4096, 4096).status, NFS3ERR_NOTDIR);
}

TEST_F(ReaddirTest, AListingGoesOnAfterARestart) {
  {
    auto file_system = Attach();
    Fill(*file_system, 0, 100);
  }
  Page first = Readdir(root_, 0, 0, 1024);
  ASSERT_FALSE(first.eof);
  Restart();
  client_ = Connect();
  Page second = Readdir(root_, first.entries.back().cookie, first.verifier, 65536);
  ASSERT_EQ(second.status, NFS3_OK);
  EXPECT_TRUE(second.eof);
  EXPECT_EQ(first.entries.size() + second.entries.size(), 102u);
}

// PRISM_NFS_ENTRIES=1000000 for the long run.
TEST_F(ReaddirTest, ALargeDirectoryIsListedOnceWhileItChanges) {
  const char* wanted = std::getenv("PRISM_NFS_ENTRIES");
  const int count = wanted != nullptr ? std::atoi(wanted) : 100000;
  auto file_system = Attach();
  Fill(*file_system, 0, count);
  std::atomic<bool> stop{false};
  std::atomic<int> changes{0};
  // Every tenth of the first entries goes; new ones come and go.
  std::thread changer([&] {
    for (int i = 0; !stop; ++i) {
      if (i < count / 10)
        test::Must(file_system->Unlink({}, kRootInode, "entry-" + std::to_string(10 * i)));
      Fill(*file_system, count + i, count + i + 1);
      if (i % 3 == 0)
        test::Must(file_system->Unlink({}, kRootInode, "entry-" + std::to_string(count + i)));
      ++changes;
    }
  });
  for (bool plus : {false, true}) {
    std::map<std::string, int> seen;
    for (const Entry& entry : List(root_, 65536, plus)) ++seen[entry.name];
    for (const auto& [name, times] : seen) EXPECT_EQ(times, 1) << name;
    int missing = 0;
    for (int i = 0; i < count; ++i)
      if (i % 10 != 0 && seen.count("entry-" + std::to_string(i)) == 0) ++missing;
    EXPECT_EQ(missing, 0);
  }
  stop = true;
  changer.join();
  EXPECT_GT(changes, 100);
}

}  // namespace
}  // namespace prism::nfs3
