// File handles: what is not one of this store's, or not any more, opens nothing.
#include "tests/nfs/nfs_fixture.h"

namespace prism::nfs3 {
namespace {

using HandleTest = NfsFixture;

TEST_F(HandleTest, EveryAlteredBitIsRefused) {
  Client client = Connect();
  const std::string file = client.Create(root_, "file");
  ASSERT_LE(file.size(), kFhSizeMax);
  for (size_t bit = 0; bit < file.size() * 8; ++bit) {
    std::string forged = file;
    forged[bit / 8] = static_cast<char>(forged[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_EQ(client.StatusOf(NFSPROC3_GETATTR, Args().Text(forged)), NFS3ERR_BADHANDLE) << bit;
  }
}

TEST_F(HandleTest, OtherLengthsAreRefused) {
  Client client = Connect();
  for (size_t length = 0; length <= kFhSizeMax; ++length) {
    if (length == root_.size()) continue;
    std::string handle = root_ + std::string(kFhSizeMax, '\0');
    handle.resize(length);
    EXPECT_EQ(client.StatusOf(NFSPROC3_GETATTR, Args().Text(handle)), NFS3ERR_BADHANDLE) << length;
  }
}

TEST_F(HandleTest, EveryProcedureRefusesABadHandleWithABodyOfItsOwn) {
  Client client = Connect();
  const std::string bad(root_.size(), 'x');
  struct Row {
    uint32_t procedure;
    Args args;
    size_t words;  // of the body after the status: absent attributes
  };
  const Row kRows[] = {
      {NFSPROC3_GETATTR, Args().Text(bad), 0},
      {NFSPROC3_SETATTR, Args().Text(bad).Sattr().U32(0), 2},
      {NFSPROC3_LOOKUP, Where(bad, "x"), 1},
      {NFSPROC3_ACCESS, Args().Text(bad).U32(1), 1},
      {NFSPROC3_READLINK, Args().Text(bad), 1},
      {NFSPROC3_READ, Args().Text(bad).U64(0).U32(1), 1},
      {NFSPROC3_WRITE, Args().Text(bad).U64(0).U32(1).U32(0).Text("x"), 2},
      {NFSPROC3_CREATE, Where(bad, "x").U32(1).Sattr(), 2},
      {NFSPROC3_MKDIR, Where(bad, "x").Sattr(), 2},
      {NFSPROC3_SYMLINK, Where(bad, "x").Sattr().Text("t"), 2},
      {NFSPROC3_MKNOD, Where(bad, "x").U32(7).Sattr(), 2},
      {NFSPROC3_REMOVE, Where(bad, "x"), 2},
      {NFSPROC3_RMDIR, Where(bad, "x"), 2},
      {NFSPROC3_RENAME, Args().Text(bad).Text("x").Text(root_).Text("y"), 4},
      {NFSPROC3_LINK, Args().Text(bad).Text(root_).Text("y"), 3},
      {NFSPROC3_READDIR, Args().Text(bad).U64(0).U64(0).U32(4096), 1},
      {NFSPROC3_READDIRPLUS, Args().Text(bad).U64(0).U64(0).U32(4096).U32(4096), 1},
      {NFSPROC3_FSSTAT, Args().Text(bad), 1},
      {NFSPROC3_FSINFO, Args().Text(bad), 1},
      {NFSPROC3_PATHCONF, Args().Text(bad), 1},
      {NFSPROC3_COMMIT, Args().Text(bad).U64(0).U32(0), 2},
  };
  for (const Row& row : kRows) {
    Results results = client.Nfs(row.procedure, row.args);
    EXPECT_EQ(results.status(), NFS3ERR_BADHANDLE) << row.procedure;
    EXPECT_EQ(results.in().remaining().size(), 4 * row.words) << row.procedure;
  }
}

TEST_F(HandleTest, AHandleOfAnotherStoreIsRefused) {
  test::TempDir elsewhere;
  auto other = test::Must(fs::Host::Open({.directory = elsewhere.Path("store")}));
  test::Must(other->Create(kVolume, false));
  Exports exports(*other);
  test::Must(exports.SetRules(kVolume, "127.0.0.0/8(insecure)"));
  auto service = test::Must(server::NfsService::Start(*other, exports, {.listen = "127.0.0.1:0"}));
  Client client(service->address());
  EXPECT_EQ(client.StatusOf(NFSPROC3_GETATTR, Args().Text(root_)), NFS3ERR_BADHANDLE);
}

TEST_F(HandleTest, WhatWasRemovedIsStale) {
  Client client = Connect();
  const std::string file = client.Create(root_, "file"), dir = client.Mkdir(root_, "dir");
  EXPECT_EQ(client.StatusOf(NFSPROC3_REMOVE, Where(root_, "file")), NFS3_OK);
  EXPECT_EQ(client.StatusOf(NFSPROC3_RMDIR, Where(root_, "dir")), NFS3_OK);
  const std::string again = client.Create(root_, "file");
  EXPECT_NE(again, file);
  for (const std::string& handle : {file, dir})
    EXPECT_EQ(client.StatusOf(NFSPROC3_GETATTR, Args().Text(handle)), NFS3ERR_STALE);
  EXPECT_EQ(client.StatusOf(NFSPROC3_READ, Args().Text(file).U64(0).U32(1)), NFS3ERR_STALE);
  EXPECT_EQ(client.StatusOf(NFSPROC3_MKDIR, Where(dir, "x").Sattr(0755)), NFS3ERR_STALE);
}

TEST_F(HandleTest, WhatAnotherClientHoldsOpenIsStaleAllTheSame) {
  Client client = Connect();
  auto mount = test::Must(host_->Attach(kVolume, false));  // holds what is unlinked
  const std::string file = client.Create(root_, "file");
  EXPECT_EQ(client.StatusOf(NFSPROC3_REMOVE, Where(root_, "file")), NFS3_OK);
  EXPECT_EQ(client.StatusOf(NFSPROC3_GETATTR, Args().Text(file)), NFS3ERR_STALE);
}

TEST_F(HandleTest, HandlesLiveThroughARestartAndARenamingOfTheVolume) {
  const std::string file = Connect().Create(root_, "file");
  const Fattr attr = Connect().Getattr(file);
  test::Must(host_->Rename(kVolume, "renamed"));
  EXPECT_EQ(Connect().Getattr(file), attr);
  Restart();
  EXPECT_EQ(Connect().Getattr(file), attr);
  EXPECT_EQ(RootOf("renamed"), root_);
}

TEST_F(HandleTest, AClonesHandlesAreItsOwn) {
  Client client = Connect();
  const std::string file = client.Create(root_, "file");
  test::Must(host_->Clone(kVolume, {"clone"}));
  test::Must(exports_->SetRules("clone", "127.0.0.0/8(insecure)"));
  const std::string clone_root = RootOf("clone");
  EXPECT_NE(clone_root, root_);
  const std::string clone_file = client.Lookup(clone_root, "file");
  EXPECT_NE(clone_file, file);
  EXPECT_NE(client.Getattr(clone_file).fsid, client.Getattr(file).fsid);
  // No way from one to the other.
  EXPECT_EQ(client.StatusOf(NFSPROC3_LINK, Args().Text(file).Text(clone_root).Text("x")),
            NFS3ERR_XDEV);
  EXPECT_EQ(
      client.StatusOf(NFSPROC3_RENAME, Args().Text(root_).Text("file").Text(clone_root).Text("x")),
      NFS3ERR_XDEV);
  test::Must(host_->Destroy({"clone"}));
  EXPECT_EQ(client.StatusOf(NFSPROC3_GETATTR, Args().Text(clone_file)), NFS3ERR_STALE);
  EXPECT_EQ(client.StatusOf(NFSPROC3_GETATTR, Args().Text(file)), NFS3_OK);
}

}  // namespace
}  // namespace prism::nfs3
