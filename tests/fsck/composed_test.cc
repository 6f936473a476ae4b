// Composed volumes: their files are recounted across the seams, and damage is found on each side.
#include <chrono>
#include <thread>

#include "fs/base/bytes.h"
#include "tests/fsck/fixture.h"

namespace prism::fs {
namespace {

using clone::kPrefixShift;
using cow::MakeKey;

constexpr Caller kRoot{};

bool IsGrafted(cow::Key key) { return key.ino() >> kPrefixShift != 0; }

class ComposedFsck : public StoreToDamage {
 protected:
  ComposedFsck() {
    auto host = Open();
    MakeSource(*host);
    ComposeOptions options;
    options.base = "source";
    using Kind = ComposeRule::Kind;
    options.rules = {{Kind::kGraft, "source", "/dir", "/part"},
                     {Kind::kGraft, "source", "/big", "/dir/sub/big"},
                     {Kind::kExclude, "", "", "/dir/excluded"},
                     {Kind::kVolatile, "", "", "/tmp"}};
    Must(host->Compose("new", options));
    Change(*host);
    Must(host->Clone("new", {"twin"}));
    Must(host->Snapshot({"new@kept"}, 0));
    ComposeOptions again;
    again.rules = {{Kind::kGraft, "new", "/", "/all"}};
    Must(host->Compose("again", again));
    for (const char* name : {"twin", "again"}) Must(host->Attach(name, false));
    Must(host->Flush());
    Must(host->Drain());
    for (const char* name : {"new", "twin", "again", "new@kept"})
      while (Must(host->Show(name)).uncounted)
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }

  static void MakeSource(Host& host) {
    Must(host.Create("source", false));
    auto fs = Must(host.Attach("source", false));
    const InodeId dir = Make(*fs, kRootInode, "dir", FileType::kDirectory);
    const InodeId sub = Make(*fs, dir, "sub", FileType::kDirectory);
    const InodeId excluded = Make(*fs, dir, "excluded", FileType::kDirectory);
    const InodeId tmp = Make(*fs, kRootInode, "tmp", FileType::kDirectory);
    for (int i = 0; i < 40; ++i) {
      Make(*fs, dir, "file" + std::to_string(i), FileType::kRegular, "text");
      Make(*fs, excluded, "x" + std::to_string(i), FileType::kRegular, "text");
      Make(*fs, tmp, "t" + std::to_string(i), FileType::kRegular, "text");
    }
    const InodeId big = Make(*fs, kRootInode, "big", FileType::kRegular, Noise(300000, 1));
    Must(fs->Link(kRoot, big, sub, "big too"));
    Must(fs->Link(kRoot, big, excluded, "big three"));
    Make(*fs, dir, "large", FileType::kRegular, Noise(200000, 2));
    Make(*fs, sub, "link", FileType::kSymlink);
    Must(fs->Setxattr(kRoot, big, "user.name", "value", XattrMode::kSet));
  }

  static InodeId Find(FileSystem& fs, InodeId dir, const std::string& name) {
    return Must(fs.Lookup(kRoot, dir, name)).attr.ino;
  }

  // All kinds of changes of what came with the part.
  static void Change(Host& host) {
    auto fs = Must(host.Attach("new", false));
    const InodeId part = Find(*fs, kRootInode, "part");
    const InodeId tmp = Find(*fs, kRootInode, "tmp");
    Make(*fs, tmp, "temporary", FileType::kRegular, Noise(100000, 3));
    Make(*fs, part, "new here", FileType::kRegular, Noise(50000, 4));
    Must(fs->Unlink(kRoot, part, "file1"));
    Must(fs->Link(kRoot, Find(*fs, part, "file2"), kRootInode, "linked"));
    Must(fs->Rename(kRoot, part, "file3", kRootInode, "moved", 0));
    WriteArgs write;
    write.ino = Find(*fs, part, "large");
    write.offset = 70000;
    const std::string text(5000, 'w');
    write.data = std::as_bytes(std::span(text));
    Must(fs->Write(kRoot, write));
    write.ino = Find(*fs, part, "file4");
    write.offset = 2;
    Must(fs->Write(kRoot, write));
  }
  using StoreToDamage::Change;

  // Changes an item of this type that the own tree of "new" has of a grafted inode.
  template <typename F>
  void ChangeGrafted(ItemType type, F&& edit) {
    ChangeItem(type,
               [&](cow::Node& node, size_t i) { return IsGrafted(node.keys[i]) && edit(node, i); });
  }
  template <typename F>
  void ChangeGraftedRecord(F&& edit) {
    ChangeRecord(
        [&](InodeRecord& record) { return record.attr.ino >> kPrefixShift != 0 && edit(record); });
  }
};

TEST_F(ComposedFsck, AWholeStoreIsWhole) {
  const cow::CheckReport report = Check(true);
  EXPECT_EQ(Text(report), "");
  auto host = Open();
  uint64_t inodes = 0;
  for (const VolumeInfo& volume : host->List()) inodes += volume.inodes;
  EXPECT_EQ(Must(host->Show("new")).inodes, Must(host->Show("twin")).inodes + 1) << "temporary";
  EXPECT_GE(report.inodes, inodes) << "and the parts";
  EXPECT_EQ(Text(Must(host->Check(false))), "");
}

TEST_F(ComposedFsck, Totals) {
  ChangeVolume("new", [](clone::VolumeRow& row) {
    ++row.inodes;
    --row.bytes;
    row.next_ino = 5;
  });
  for (const char* words : {"volume new: its row says", "inodes, and there are",
                            "bytes of files, and there are", "was never given out: the next is 5"})
    ExpectFound(words);
}

TEST_F(ComposedFsck, LinkCounts) {
  ChangeGraftedRecord([](InodeRecord& record) {
    return record.attr.type == FileType::kRegular && record.attr.nlink == 2 &&
           (record.attr.nlink = 1);
  });
  ExpectFound("its link count is 1, and it has 2 names");
  ChangeGraftedRecord([](InodeRecord& record) {
    return record.attr.type == FileType::kDirectory && ++record.attr.nlink > 0;
  });
  ExpectFound(", and should be ");
}

TEST_F(ComposedFsck, SizesAndUse) {
  ChangeGraftedRecord([](InodeRecord& record) {
    return record.attr.type == FileType::kRegular && record.stored_used > 100000 &&
           ++record.stored_used;
  });
  ExpectFound("bytes, and says");
  ChangeGraftedRecord([](InodeRecord& record) {
    record.stored_size = record.attr.size += kEntrySize;
    return record.attr.type == FileType::kDirectory;
  });
  ExpectFound("entries, and it has");
}

TEST_F(ComposedFsck, ANameThatComesBack) {
  ChangeGrafted(ItemType::kDirEntry, [](cow::Node& node, size_t i) {
    return node.value(i).empty() && (node.EraseAt(i), true);
  });
  ExpectFound("entries, and it has");
}

TEST_F(ComposedFsck, ANameThatIsHidden) {
  cow::Key there{};
  ChangeItem(ItemType::kDirEntry, [&](cow::Node& node, size_t i) {
    const auto entry = DecodeEntry(node.value(i));
    if (!entry || entry->name != "file9") return false;
    there = {node.keys[i].hi + (InodeId{1} << kPrefixShift), node.keys[i].lo};
    return true;
  });
  ChangeGrafted(ItemType::kDirEntry, [&](cow::Node& node, size_t) {
    const size_t at = node.LowerBound(there);
    node.InsertValue(at, there, "");
    return true;
  });
  ExpectFound("entries, and it has");
  ExpectFound("it knows 1 names, and entries give it 0");
}

TEST_F(ComposedFsck, AParentThatIsGone) {
  ChangeGrafted(ItemType::kParent, [](cow::Node& node, size_t i) {
    return !node.value(i).empty() && (node.ReplaceValue(i, ""), true);
  });
  ExpectFound("names, and entries give it");
}

TEST_F(ComposedFsck, AnEntryOfNoInode) {
  ChangeGrafted(ItemType::kInode, [](cow::Node& node, size_t i) {
    return !node.value(i).empty() && (node.ReplaceValue(i, ""), true);
  });
  ExpectFound(", which is not there");
  ExpectFound("volume new, inode");
}

TEST_F(ComposedFsck, ItemsThatDoNotDecode) {
  for (ItemType type : {ItemType::kInode, ItemType::kDirEntry, ItemType::kParent})
    ChangeGrafted(type, [](cow::Node& node, size_t i) {
      return !node.value(i).empty() && (node.ReplaceValue(i, "?"), true);
    });
  for (const char* words :
       {"its record does not decode", "does not decode", "one of its parents does not decode"})
    ExpectFound(words);
}

TEST_F(ComposedFsck, NumbersOfNoPart) {
  ChangeGrafted(ItemType::kDirEntry, [](cow::Node& node, size_t) {
    const cow::Key strange = MakeKey(ItemType::kDirEntry, (InodeId{200} << kPrefixShift) + 7, 64);
    node.InsertValue(node.LowerBound(strange), strange, "?");
    return true;
  });
  ExpectFound("no part has numbers like this one");
}

TEST_F(ComposedFsck, PartsThatDoNotFit) {
  ChangeVolume("new", [](clone::VolumeRow& row) { row.composition.grafts[0].part = 999; });
  ExpectFound("it is made of part 999, which is not there");
  ChangeVolume("again", [](clone::VolumeRow& row) { ++row.composition.grafts[0].prefixes; });
  ExpectFound("trees of part");
}

TEST_F(ComposedFsck, APartThatNobodyHas) {
  for (const char* name : {"new", "twin", "kept", "again"})
    ChangeVolume(name, [](clone::VolumeRow& row) { row.composition.grafts.clear(); });
  ExpectFound("it is a part, and no volume is made of it");
}

// What is wrong in a part is said of it and of what is made of it, and nothing is run into.
TEST_F(ComposedFsck, DamageOfAPart) {
  ChangeItem(ItemType::kDirEntry, [](cow::Node& node, size_t i) {
    const auto entry = DecodeEntry(node.value(i));
    return entry && entry->name == "file9" && !IsGrafted(node.keys[i]) && (node.EraseAt(i), true);
  });
  for (const char* words : {"volume source, inode", "volume new, inode", "volume again, inode",
                            "volume new@kept, inode", "volume #part-"})
    ExpectFound(words);
  Change([](cow::Kv& kv, cow::KvBatch& batch) {
    const auto row = Row(kv, Table::kVolume, [&](std::string_view key, std::string_view value) {
      return Must(clone::VolumeRow::Decode(cow::IdFromKey(key), value)).name == "source";
    });
    const auto volume = Must(clone::VolumeRow::Decode(cow::IdFromKey(row.first), row.second));
    batch.Delete(Table::kNode, cow::IdKey(volume.root));
  });
  ExpectFound("cannot be read");
}

// Nobody else's files stay uncounted for it; and what it may have is not forgotten.
TEST_F(ComposedFsck, AVolumeThatCannotBeCounted) {
  // Wherever /dir/sub/link's record is: in the part that is grafted, and not needed to do so.
  InodeId link = 0;
  ChangeItem(ItemType::kDirEntry, [&](cow::Node& node, size_t i) {
    const auto entry = DecodeEntry(node.value(i));
    link = entry && entry->name == "link" ? entry->ino : 0;
    return link != 0;
  });
  Change([&](cow::Kv& kv, cow::KvBatch& batch) {
    Must(kv.Scan(Table::kNode, [&](std::string_view key, std::string_view value) {
      const cow::NodePtr node(Must(cow::Node::Decode(cow::IdFromKey(key), value)));
      const size_t at = node->LowerBound(MakeKey(ItemType::kInode, link));
      if (!node->is_leaf() || at == node->count()) return true;
      if (!(node->keys[at] == MakeKey(ItemType::kInode, link))) return true;
      std::string bytes(value);
      bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
      batch.Put(Table::kNode, key, bytes);
      return true;
    }));
  });
  auto host = Open();
  Must(host->Create("fine", false));
  Make(*Must(host->Attach("fine", false)), kRootInode, "file", FileType::kRegular, "text");
  using Kind = ComposeRule::Kind;
  ComposeOptions options;
  options.rules = {{Kind::kGraft, "source", "/dir", "/a"}};
  Must(host->Compose("bad", options));
  options.rules = {{Kind::kGraft, "fine", "/", "/a"}};
  Must(host->Compose("good", options));
  for (int i = 0; i < 200 && Must(host->Show("good")).uncounted; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_FALSE(Must(host->Show("good")).uncounted);
  EXPECT_EQ(Must(host->Show("good")).inodes, 3u);
  EXPECT_TRUE(Must(host->Show("bad")).uncounted);
  EXPECT_GE(Must(host->Show("bad")).inodes, 40u) << "at most";
}

TEST_F(ComposedFsck, OnlineToo) {
  ChangeGrafted(ItemType::kDirEntry, [](cow::Node& node, size_t i) {
    return node.value(i).empty() && (node.EraseAt(i), true);
  });
  auto host = Open();
  const cow::CheckReport report = Must(host->Check(false));
  EXPECT_NE(Text(report).find("entries, and it has"), std::string::npos) << Text(report);
}

}  // namespace
}  // namespace prism::fs
