// A composed volume over NFS.
#include <set>

#include "clone/composition.h"
#include "server/nfs3/file_handle.h"
#include "tests/nfs/nfs_fixture.h"

namespace prism::nfs3 {
namespace {

using ComposedTest = NfsFixture;

TEST_F(ComposedTest, IsOneFileSystemAndItsHandlesOutliveTheSource) {
  Client client = Connect();
  const std::string dir = client.Mkdir(root_, "dir");
  const std::string outside = client.Create(root_, "outside");
  client.Create(dir, "file");
  fs::ComposeRule graft{fs::ComposeRule::Kind::kGraft, kVolume, "/dir", "/a/part", false};
  fs::ComposeRule again = graft;
  again.path = "/b";
  test::Must(host_->Compose("new", {{}, {graft, again}}));
  test::Must(host_->Destroy({kVolume}));
  test::Must(exports_->SetRules("new", "127.0.0.0/8(insecure)"));

  const std::string root = RootOf("new");
  const std::string part = client.Lookup(client.Lookup(root, "a"), "part");
  const std::string file = client.Lookup(part, "file");
  const std::string other = client.Lookup(client.Lookup(root, "b"), "file");
  const std::set<uint64_t> numbers = {client.Getattr(part).fileid, client.Getattr(file).fileid,
                                      client.Getattr(other).fileid, client.Getattr(root).fileid};
  EXPECT_EQ(numbers.size(), 4u);
  for (const std::string& handle : {part, file, other})
    EXPECT_EQ(client.Getattr(handle).fsid, client.Getattr(root).fsid);
  EXPECT_EQ(client.StatusOf(NFSPROC3_LINK, Args().Text(file).Text(root).Text("linked")), NFS3_OK);
  EXPECT_EQ(client.Getattr(file).nlink, 2u);
  EXPECT_EQ(
      client.StatusOf(NFSPROC3_RENAME,
                      Args().Text(part).Text("file").Text(client.Lookup(root, "b")).Text("x")),
      NFS3_OK);
  client.Create(part, "made");
  EXPECT_EQ(client.StatusOf(NFSPROC3_GETATTR, Args().Text(outside)), NFS3ERR_STALE);

  Restart();
  Client later = Connect();
  EXPECT_EQ(later.Getattr(file).nlink, 2u);
  EXPECT_EQ(later.Getattr(later.Lookup(later.Lookup(RootOf("new"), "b"), "x")).fileid,
            later.Getattr(file).fileid);
}

// With the store's own key: so it is not the handle's MAC alone that keeps them out.
TEST_F(ComposedTest, ForgedHandlesOfWhatWasNotChosenAreStale) {
  Client client = Connect();
  const std::string dir = client.Mkdir(root_, "dir"), other = client.Mkdir(root_, "other");
  for (const char* name : {"a", "b", "c"}) {
    client.Create(dir, name);
    client.Create(other, name);
  }
  const std::vector<fs::ComposeRule> rules = {
      {fs::ComposeRule::Kind::kGraft, kVolume, "/dir", "/part", false},
      {fs::ComposeRule::Kind::kExclude, {}, {}, "/other", false},
      {fs::ComposeRule::Kind::kExclude, {}, {}, "/dir/a", false}};
  const fs::VolumeInfo made = test::Must(host_->Compose("new", {kVolume, rules}));
  test::Must(exports_->SetRules("new", "127.0.0.0/8(insecure)"));
  const std::string root = RootOf("new"), part = client.Lookup(root, "part");
  std::set<uint64_t> inside = {client.Getattr(root).fileid, client.Getattr(part).fileid,
                               client.Getattr(client.Lookup(root, "dir")).fileid};
  for (const char* name : {"a", "b", "c"}) {
    inside.insert(client.Getattr(client.Lookup(part, name)).fileid);
    if (*name != 'a')
      inside.insert(client.Getattr(client.Lookup(client.Lookup(root, "dir"), name)).fileid);
  }
  EXPECT_EQ(inside.size(), 8u);

  const auto codec = test::Must(HandleCodec::Open(*host_));
  size_t reached = 0;
  for (InodeId prefix = 0; prefix < 4; ++prefix)
    for (VolumeId maker = 0; maker <= made.id; ++maker)
      for (InodeId number = 0; number < 20; ++number) {
        const InodeId ino =
            (prefix << clone::kPrefixShift) + (maker << clone::kInodeLineBits) + number;
        const HandleBytes bytes = codec->Encode({made.id, ino});
        const std::string handle(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        const bool is_inside = inside.contains(ino);
        reached += is_inside;
        EXPECT_EQ(client.StatusOf(NFSPROC3_GETATTR, Args().Text(handle)),
                  is_inside ? NFS3_OK : NFS3ERR_STALE)
            << ino;
        if (is_inside) continue;
        EXPECT_EQ(client.StatusOf(NFSPROC3_LINK, Args().Text(handle).Text(root).Text("stolen")),
                  NFS3ERR_STALE);
        EXPECT_EQ(client.StatusOf(NFSPROC3_LOOKUP, Args().Text(handle).Text("a")), NFS3ERR_STALE);
      }
  EXPECT_EQ(reached, inside.size());
}

TEST_F(ComposedTest, ReadOnlyPartsAnswerRofs) {
  Client client = Connect();
  client.Create(root_, "file");
  test::Must(
      host_->Compose("new", {{}, {{fs::ComposeRule::Kind::kGraft, kVolume, "/", "/part", true}}}));
  test::Must(exports_->SetRules("new", "127.0.0.0/8(insecure)"));
  const std::string root = RootOf("new");
  const std::string part = client.Lookup(root, "part");
  EXPECT_EQ(client.StatusOf(NFSPROC3_REMOVE, Where(part, "file")), NFS3ERR_ROFS);
  EXPECT_EQ(client.StatusOf(NFSPROC3_MKDIR, Where(part, "x").Sattr()), NFS3ERR_ROFS);
  EXPECT_EQ(
      client.StatusOf(NFSPROC3_WRITE,
                      Args().Text(client.Lookup(part, "file")).U64(0).U32(1).U32(0).Text("x")),
      NFS3ERR_ROFS);
  client.Create(root, "beside");
}

}  // namespace
}  // namespace prism::nfs3
