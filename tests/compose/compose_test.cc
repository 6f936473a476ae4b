// What a composed volume is, through the contract.
#include <set>

#include "tests/compose/fixture.h"

namespace prism::compose {
namespace {

// As `cp -a` of some of a tree: what Describe says, its links counted among these paths alone.
std::map<std::string, std::string> Part(Tree& tree, const std::string& dir) {
  std::map<std::string, std::string> part = tree.Describe(dir);
  std::map<InodeId, std::set<std::string>> names;
  for (const auto& [path, text] : part) {
    const Attr attr = Must(tree.Stat(dir + path));
    if (attr.type != FileType::kDirectory) names[attr.ino].insert(path);
  }
  for (auto& [path, text] : part) {
    const Attr attr = Must(tree.Stat(dir + path));
    if (attr.type == FileType::kDirectory) continue;
    const size_t links = text.find(" links ") + 7;
    text.replace(links, text.find(' ', links) - links, std::to_string(names[attr.ino].size()));
    if (names[attr.ino].size() == 1) text = text.substr(0, text.find(" same as "));
  }
  return part;
}

TEST_F(Compose, APartIsWhatACopyOfItWouldBe) {
  MakeSource("source");
  Must(Make("new", "", {Graft("source", "/a", "/etc/a"), Graft("source", "/deep", "/deep")}));
  Tree source = Attach("source");
  Tree made = Attach("new");
  EXPECT_EQ(made.Describe("/etc/a"), Part(source, "/a"));
  EXPECT_EQ(made.Describe("/deep"), Part(source, "/deep"));
  EXPECT_EQ(made.Names(""), (std::vector<std::string>{"deep", "etc"}));
  made.Inodes();
}

TEST_F(Compose, ItIsAsItWasAtTheCut) {
  MakeSource("source");
  Tree source = Attach("source");
  const auto before = Part(source, "/a");
  Must(Make("new", "", {Graft("source", "/a", "/a")}));
  source.Write("/a/small", "changed");
  source.Write("/a/added", "added");
  EXPECT_EQ(source.Unlink("/a/big"), Err::kOk);
  Tree made = Attach("new");
  EXPECT_EQ(made.Describe("/a"), before);
  Must(host_->Checkpoint());
  Must(host_->Destroy({"source"}));
  Must(host_->Drain());
  EXPECT_EQ(made.Describe("/a"), before);
}

TEST_F(Compose, NothingElseIsReachedByNumber) {
  MakeSource("base");
  MakeSource("source", "!");
  Must(Make("new", "base",
            {Graft("source", "/a", "/a"), Exclude("/deep/er"), Empty("/b"),
             Graft("source", "/deep/file-7", "/seven")}));
  Tree made = Attach("new");
  const std::map<InodeId, std::string> inside = made.Inodes();
  EXPECT_EQ(made.Names("/b").size(), 0u);
  EXPECT_EQ(made.Read("/seven"), "7");
  size_t reached = 0;
  for (const InodeId ino : AllNumbers(4)) {
    const auto attr = made.files().Getattr(kRoot, ino);
    if (attr) ++reached;
    EXPECT_EQ(ErrOf(attr), inside.contains(ino) ? Err::kOk : Err::kStale) << ino;
    if (inside.contains(ino)) continue;
    EXPECT_EQ(ErrOf(made.files().Link(kRoot, ino, kRootInode, "stolen")), Err::kStale);
    std::byte buffer[16];
    EXPECT_EQ(ErrOf(made.files().Read(kRoot, ino, 0, buffer)), Err::kStale);
    EXPECT_EQ(ErrOf(made.files().Lookup(kRoot, ino, "er")), Err::kStale);
  }
  EXPECT_EQ(reached, inside.size());
}

TEST_F(Compose, EverythingWorksAcrossTheSeams) {
  MakeSource("source");
  Must(Make("new", "", {Graft("source", "/a", "/a"), Graft("source", "/deep", "/x/deep")}));
  Tree made = Attach("new");
  const InodeId big = made.Ino("/a/big");
  EXPECT_EQ(made.Rename("/a/big", "/x/deep/big"), Err::kOk);
  EXPECT_EQ(made.Ino("/x/deep/big"), big);
  EXPECT_EQ(Must(made.Stat("/x/deep/big")).nlink, 1u);  // its names elsewhere are other parts'
  EXPECT_EQ(made.Rename("/a/sub", "/x/sub"), Err::kOk);
  EXPECT_EQ(made.Read("/x/sub/file"), "in sub");
  made.Link("/x/sub/file", "/x/deep/er/linked");
  EXPECT_EQ(Must(made.Stat("/x/sub/file")).nlink, 2u);
  EXPECT_EQ(made.Rename("/x", "/x/deep/er/x"), Err::kInvalid);  // into itself
  EXPECT_EQ(made.Rename("/x/deep", "/a/deep"), Err::kOk);       // a graft's root
  EXPECT_EQ(made.Read("/a/deep/er/linked"), "in sub");
  made.Write("/a/deep/er/linked", "IN");
  EXPECT_EQ(made.Read("/x/sub/file"), "IN sub");
  EXPECT_EQ(made.Unlink("/x/sub/file"), Err::kOk);
  EXPECT_EQ(Must(made.Stat("/a/deep/er/linked")).nlink, 1u);
  EXPECT_EQ(Must(made.files().Lookup(kRoot, made.Ino("/a/deep"), "..")).attr.ino, made.Ino("/a"));
  EXPECT_EQ(made.Unlink("/a/link"), Err::kOk);
  EXPECT_EQ(ErrOf(made.Stat("/a/link")), Err::kNoEntry);
  made.Write("/a/link", "now a file");
  EXPECT_EQ(made.Read("/a/link"), "now a file");
  made.Inodes();
  Tree source = Attach("source");
  EXPECT_EQ(source.Read("/a/sub/file"), "in sub");
  EXPECT_EQ(ErrOf(source.Stat("/deep/er/linked")), Err::kNoEntry);
}

}  // namespace
}  // namespace prism::compose
