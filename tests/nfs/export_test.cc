// MOUNT version 3, and who may use an export as whom.
#include "tests/nfs/nfs_fixture.h"

namespace prism::nfs3 {
namespace {

enum : uint32_t { kMnt = 1, kDump = 2, kUmnt = 3, kUmntall = 4, kExport = 5 };

class ExportTest : public NfsFixture {
 protected:
  uint32_t Mnt(const std::string& path) {
    return Connect().Mount(kMnt, Args().Text(path)).status();
  }
  void SetRules(const std::string& rules) { test::Must(exports_->SetRules(kVolume, rules)); }
  // "client:path" of each.
  std::vector<std::string> Dump() {
    Results results = Connect().Mount(kDump, Args());
    std::vector<std::string> mounts;
    while (results.in().Bool()) {
      std::string client(results.in().String(255));
      mounts.push_back(client + ":" + std::string(results.in().String(1024)));
    }
    EXPECT_TRUE(results.Finished());
    return mounts;
  }
  // "path client client" of each.
  std::vector<std::string> Exported() {
    Results results = Connect().Mount(kExport, Args());
    std::vector<std::string> exported;
    while (results.in().Bool()) {
      std::string text(results.in().String(1024));
      while (results.in().Bool()) text += " " + std::string(results.in().String(255));
      exported.push_back(text);
    }
    EXPECT_TRUE(results.Finished());
    return exported;
  }
  // Who owns what this user makes.
  std::pair<uint32_t, uint32_t> OwnerOfNew(const User& user) {
    Client client = Connect();
    client.Become(user);
    static int number = 0;
    const std::string name = "new-" + std::to_string(++number);
    Results results = client.Nfs(NFSPROC3_CREATE, Where(root_, name).U32(1).Sattr(0666));
    EXPECT_EQ(results.status(), NFS3_OK);
    results.GetPostOpHandle();
    const Fattr attr = results.GetPostOp().value_or(Fattr{});
    return {attr.uid, attr.gid};
  }
  void OpenRoot() {
    EXPECT_EQ(Connect().StatusOf(NFSPROC3_SETATTR, Args().Text(root_).Sattr(0777).U32(0)), NFS3_OK);
  }
};

TEST_F(ExportTest, MntFindsVolumesAndDirectoriesBelow) {
  Client client = Connect();
  const std::string dir = client.Mkdir(root_, "dir");
  client.Mkdir(dir, "sub");
  client.Create(root_, "file");
  EXPECT_EQ(RootOf(kVolume), root_);
  EXPECT_EQ(RootOf("volume/"), root_);
  EXPECT_EQ(RootOf("volume/dir"), dir);
  EXPECT_EQ(RootOf("volume//dir/sub"), client.Lookup(dir, "sub"));
  EXPECT_EQ(Mnt("/none"), NFS3ERR_NOENT);
  EXPECT_EQ(Mnt("/"), NFS3ERR_NOENT);
  EXPECT_EQ(Mnt(""), NFS3ERR_NOENT);
  EXPECT_EQ(Mnt("/volume/none"), NFS3ERR_NOENT);
  EXPECT_EQ(Mnt("/volume/file"), NFS3ERR_NOTDIR);
  EXPECT_NE(Mnt("/volume/../volume"), NFS3_OK);
  EXPECT_NE(Mnt("/volume/dir/.."), NFS3_OK);
}

TEST_F(ExportTest, MntTellsAuthSys) {
  Results results = Connect().Mount(kMnt, Args().Text("/volume"));
  ASSERT_EQ(results.status(), NFS3_OK);
  results.GetHandle();
  EXPECT_EQ(results.in().U32(), 1u);
  EXPECT_EQ(results.in().U32(), 1u) << "AUTH_SYS";
  EXPECT_TRUE(results.Finished());
}

TEST_F(ExportTest, DumpTellsWhatUmntAndUmntallTakeAway) {
  Connect().Mount(kUmntall, Args());
  EXPECT_TRUE(Dump().empty());
  Connect().Mkdir(root_, "dir");
  EXPECT_EQ(Mnt("/volume"), NFS3_OK);
  EXPECT_EQ(Mnt("/volume"), NFS3_OK);
  EXPECT_EQ(Mnt("/volume/dir"), NFS3_OK);
  EXPECT_EQ(Dump(), (std::vector<std::string>{"127.0.0.1:/volume", "127.0.0.1:/volume/dir"}));
  EXPECT_TRUE(Connect().Mount(kUmnt, Args().Text("/volume")).Finished());
  EXPECT_EQ(Dump(), std::vector<std::string>{"127.0.0.1:/volume/dir"});
  EXPECT_TRUE(Connect().Mount(kUmntall, Args()).Finished());
  EXPECT_TRUE(Dump().empty());
}

TEST_F(ExportTest, ExportListsWhatThisClientMayUse) {
  EXPECT_EQ(Exported(), std::vector<std::string>{"/volume 127.0.0.0/8"});
  test::Must(host_->Create("foreign", false));
  test::Must(exports_->SetRules("foreign", "10.0.0.0/24(insecure)"));
  test::Must(host_->Create("import", true));
  test::Must(exports_->SetRules("import", "*(insecure)"));
  EXPECT_EQ(Exported(), std::vector<std::string>{"/volume 127.0.0.0/8"});
  SetRules("127.0.0.1(insecure) 10.0.0.0/24(ro)");
  EXPECT_EQ(Exported(), std::vector<std::string>{"/volume 127.0.0.1 10.0.0.0/24"});
}

TEST_F(ExportTest, ByDefaultAPrivilegedPortIsNeeded) {
  SetRules("");
  EXPECT_EQ(Mnt("/volume"), NFS3ERR_ACCES);
  EXPECT_EQ(Connect().StatusOf(NFSPROC3_GETATTR, Args().Text(root_)), NFS3ERR_ACCES)
      << "a handle alone is no way in";
  EXPECT_TRUE(Exported().empty());
}

TEST_F(ExportTest, OtherAddressesAreRefusedAtOnce) {
  Client client = Connect();
  EXPECT_EQ(client.StatusOf(NFSPROC3_GETATTR, Args().Text(root_)), NFS3_OK);
  SetRules("10.1.2.3(insecure)");
  EXPECT_EQ(client.StatusOf(NFSPROC3_GETATTR, Args().Text(root_)), NFS3ERR_ACCES);
  EXPECT_EQ(client.StatusOf(NFSPROC3_REMOVE, Where(root_, "x")), NFS3ERR_ACCES);
  SetRules("10.1.2.3(insecure) 127.0.0.1(insecure)");
  EXPECT_EQ(client.StatusOf(NFSPROC3_GETATTR, Args().Text(root_)), NFS3_OK);
}

TEST_F(ExportTest, ASnapshotIsAnExportWithTheRulesOfItsVolume) {
  Client client = Connect();
  client.Create(root_, "file");
  test::Must(host_->Snapshot({"volume@before"}, 0));
  client.Create(root_, "later");
  EXPECT_EQ(Exported(),
            (std::vector<std::string>{"/volume 127.0.0.0/8", "/volume@before 127.0.0.0/8"}));
  const std::string root = RootOf("volume@before");
  client.Lookup(root, "file");
  EXPECT_EQ(client.StatusOf(NFSPROC3_LOOKUP, Where(root, "later")), NFS3ERR_NOENT);
  EXPECT_EQ(client.StatusOf(NFSPROC3_CREATE, Where(root, "new").U32(1).Sattr(0666)), NFS3ERR_ROFS);
  EXPECT_EQ(client.StatusOf(NFSPROC3_REMOVE, Where(root, "file")), NFS3ERR_ROFS);
  SetRules("10.1.2.3(insecure)");
  EXPECT_EQ(client.StatusOf(NFSPROC3_GETATTR, Args().Text(root)), NFS3ERR_ACCES);
  test::Must(exports_->SetRules("volume@before", "127.0.0.1(insecure)"));
  EXPECT_EQ(client.StatusOf(NFSPROC3_GETATTR, Args().Text(root)), NFS3_OK) << "its own";
}

// What the client knew of the volume goes with its handles: those are of files that are gone.
TEST_F(ExportTest, ARollbackMakesHandlesOfLaterFilesStale) {
  Client client = Connect();
  const std::string kept = client.Create(root_, "kept");
  test::Must(host_->Snapshot({"volume@before"}, 0));
  const std::string later = client.Create(root_, "later");
  test::Must(host_->Rollback("volume@before"));
  EXPECT_EQ(client.StatusOf(NFSPROC3_GETATTR, Args().Text(later)), NFS3ERR_STALE);
  EXPECT_EQ(client.StatusOf(NFSPROC3_GETATTR, Args().Text(kept)), NFS3_OK);
  EXPECT_NE(client.Create(root_, "new"), later);
  EXPECT_EQ(client.StatusOf(NFSPROC3_GETATTR, Args().Text(later)), NFS3ERR_STALE);
  Restart();
  EXPECT_EQ(Connect().StatusOf(NFSPROC3_GETATTR, Args().Text(later)), NFS3ERR_STALE);
}

TEST_F(ExportTest, ARebaseKeepsTheHandlesOfOwnFilesAndIsSeenAtOnce) {
  Client client = Connect();
  client.Create(root_, "old");
  test::Must(host_->Snapshot({"volume@before"}, 0));
  test::Must(host_->Clone("volume@before", {"base"}));
  auto base = test::Must(host_->Attach("base", false));
  fs::CreateArgs args;
  args.parent = kRootInode;
  args.name = "new";
  test::Must(base->Create({}, args));
  const std::string own = client.Create(root_, "own");
  test::Must(host_->Rebase({"volume"}, "base", {}));
  EXPECT_EQ(client.StatusOf(NFSPROC3_GETATTR, Args().Text(own)), NFS3_OK);
  EXPECT_EQ(client.Lookup(root_, "own"), own);
  EXPECT_NE(client.Lookup(root_, "new"), own);
  client.Lookup(root_, "old");
}

TEST_F(ExportTest, ReadOnlyRefusesEveryChange) {
  Client client = Connect();
  const std::string file = client.Create(root_, "file");
  SetRules("*(ro,insecure)");
  const std::pair<uint32_t, Args> kChanges[] = {
      {NFSPROC3_SETATTR, Args().Text(file).Sattr(0600).U32(0)},
      {NFSPROC3_WRITE, Args().Text(file).U64(0).U32(1).U32(0).Text("x")},
      {NFSPROC3_CREATE, Where(root_, "x").U32(1).Sattr()},
      {NFSPROC3_CREATE, Where(root_, "file").U32(0).Sattr()},
      {NFSPROC3_MKDIR, Where(root_, "x").Sattr()},
      {NFSPROC3_SYMLINK, Where(root_, "x").Sattr().Text("t")},
      {NFSPROC3_MKNOD, Where(root_, "x").U32(7).Sattr()},
      {NFSPROC3_REMOVE, Where(root_, "file")},
      {NFSPROC3_RMDIR, Where(root_, "file")},
      {NFSPROC3_RENAME, Args().Text(root_).Text("file").Text(root_).Text("y")},
      {NFSPROC3_LINK, Args().Text(file).Text(root_).Text("y")},
  };
  for (const auto& [procedure, args] : kChanges)
    EXPECT_EQ(client.StatusOf(procedure, args), NFS3ERR_ROFS) << procedure;
  EXPECT_EQ(client.Lookup(root_, "file"), file);
  Results access = client.Nfs(NFSPROC3_ACCESS, Args().Text(file).U32(0x3f));
  access.GetPostOp();
  EXPECT_EQ(access.in().U32() & 0x1c, 0u) << "no MODIFY, EXTEND, DELETE";
}

TEST_F(ExportTest, RootIsRootUnlessSquashed) {
  OpenRoot();
  using Owner = std::pair<uint32_t, uint32_t>;
  EXPECT_EQ(OwnerOfNew({0, 0}), Owner(0, 0));
  SetRules("*(insecure,root_squash)");
  EXPECT_EQ(OwnerOfNew({0, 0}), Owner(65534, 65534));
  EXPECT_EQ(OwnerOfNew({1000, 0}), Owner(1000, 65534));
  EXPECT_EQ(OwnerOfNew({1000, 1001}), Owner(1000, 1001));
  SetRules("*(insecure,root_squash,anonuid=77,anongid=78)");
  EXPECT_EQ(OwnerOfNew({0, 0}), Owner(77, 78));
  SetRules("*(insecure,all_squash,anonuid=5)");
  EXPECT_EQ(OwnerOfNew({1000, 1000}), Owner(5, 65534));
}

TEST_F(ExportTest, GroupsOfRootAreSquashedToo) {
  Client root = Connect();
  const std::string file = root.Create(root_, "file");
  EXPECT_EQ(root.StatusOf(NFSPROC3_SETATTR, Args().Text(file).Sattr(0640).U32(0)), NFS3_OK);
  auto may_read = [&](const User& user) {
    Client client = Connect();
    client.Become(user);
    return client.StatusOf(NFSPROC3_READ, Args().Text(file).U64(0).U32(1)) == NFS3_OK;
  };
  EXPECT_TRUE(may_read({1000, 1000, {0}}));
  EXPECT_FALSE(may_read({1000, 1000, {7}}));
  SetRules("*(insecure,root_squash)");
  EXPECT_FALSE(may_read({1000, 1000, {0}}));
}

TEST_F(ExportTest, RulesLiveThroughARestart) {
  SetRules("127.0.0.1(ro,insecure)");
  Restart();
  EXPECT_EQ(Connect().StatusOf(NFSPROC3_MKDIR, Where(root_, "x").Sattr()), NFS3ERR_ROFS);
}

}  // namespace
}  // namespace prism::nfs3
