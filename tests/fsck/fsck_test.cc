// Each test of damage plants one kind of it into a copy of a whole store, and expects to be told.
#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "cow/chunk_row.h"
#include "fs/base/bytes.h"
#include "tests/fsck/fixture.h"

namespace prism::fs {
namespace {

class FsckTest : public StoreToDamage {
 protected:
  FsckTest() {
    auto host = Open();
    Must(host->Create("base", false));
    Fill(*host);
    Must(host->Clone("base", {"clone", "other"}, "a-key"));
    Must(host->Snapshot({"clone@kept"}, 0));
    auto fs = Must(host->Attach("clone", false));
    Make(*fs, kRootInode, "new in the clone", FileType::kRegular, Noise(300000, 9));
  }

  void Fill(Host& host) {
    auto fs = Must(host.Attach("base", false));
    const InodeId dir = Make(*fs, kRootInode, "directory", FileType::kDirectory);
    const InodeId below = Make(*fs, dir, "below", FileType::kDirectory);
    for (int i = 0; i < 200; ++i)
      Make(*fs, i % 2 == 0 ? dir : below, "small" + std::to_string(i), FileType::kRegular, "text");
    const InodeId big = Make(*fs, kRootInode, "big", FileType::kRegular, Noise(500000, 1));
    Must(fs->Link(Caller{}, big, dir, "a second name"));
    Make(*fs, dir, "link", FileType::kSymlink);
    Must(fs->Setxattr(Caller{}, big, "user.name", "value", XattrMode::kSet));
    Must(fs->Fsync(Caller{}, big, false));
    Must(host.Flush());
  }
};

bool IsFile(const InodeRecord& record) { return record.attr.type == FileType::kRegular; }
bool IsDirectory(const InodeRecord& record) { return record.attr.type == FileType::kDirectory; }

TEST_F(FsckTest, AWholeStoreIsWhole) {
  const cow::CheckReport report = Check(true);
  EXPECT_EQ(Text(report), "");
  EXPECT_EQ(report.volumes, 4u);
  EXPECT_EQ(report.inodes, 4 * 205u + 1);
  EXPECT_GE(report.data_bytes, 800000u);
}

TEST_F(FsckTest, OnlineWhileItServes) {
  HostOptions options;
  options.directory = store_;
  options.checkpoint_interval_ms = 20;
  auto host = Must(Host::Open(options));
  EXPECT_EQ(CheckStore(store_, false).error().code, Err::kBusy);
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    auto fs = Must(host->Attach("other", false));
    for (uint32_t i = 0; !stop; ++i) {
      const std::string name = "w" + std::to_string(i % 20);
      if (auto old = fs->Unlink(Caller{}, kRootInode, name))
        Must(fs->Release(Caller{}, old->removed.ino));
      Make(*fs, kRootInode, name, FileType::kRegular, Noise(100000, i % 50));
      if (i % 10 == 0) Must(host->Clone("other", {"c" + std::to_string(i)}));
      if (i % 10 == 5) Must(host->Destroy({"c" + std::to_string(i - 5)}));
    }
  });
  for (int i = 0; i < 15; ++i) EXPECT_EQ(Text(Must(host->Check(true))), "");
  stop = true;
  writer.join();
}

TEST_F(FsckTest, WhereThereIsNoStore) {
  EXPECT_EQ(CheckStore(directory_.Path("none"), false).error().code, Err::kNoEntry);
  EXPECT_FALSE(std::filesystem::exists(directory_.Path("none")));
}

TEST_F(FsckTest, ContentThatChanged) {
  for (const auto& file : std::filesystem::directory_iterator(store_ + "/segments")) {
    std::fstream bytes(file.path(), std::ios::in | std::ios::out | std::ios::binary);
    bytes.seekp(10000);
    bytes.put('?');
  }
  EXPECT_EQ(Check().damage_count, 0u) << "only --data reads it";
  ExpectFound("do not verify", true);
  ExpectFound("is lost with chunk", true);
}

TEST_F(FsckTest, ASegmentThatIsShortOrMissing) {
  for (const auto& file : std::filesystem::directory_iterator(store_ + "/segments"))
    std::filesystem::resize_file(file.path(), 20000);
  ExpectFound("lies behind the end of segment 1");
  std::filesystem::remove_all(store_ + "/segments");
  ExpectFound("segment 1: its file is missing");
}

TEST_F(FsckTest, ANodeThatIsMissing) {
  Change([](cow::Kv& kv, cow::KvBatch& batch) {
    batch.Delete(Table::kNode, FirstRow(kv, Table::kNode).first);
  });
  ExpectFound("it is missing, and");
  ExpectFound("cannot be read");
}

TEST_F(FsckTest, ANodeThatChanged) {
  Change([](cow::Kv& kv, cow::KvBatch& batch) {
    auto [key, value] = FirstRow(kv, Table::kNode);
    value[value.size() / 2] = static_cast<char>(value[value.size() / 2] ^ 1);
    batch.Put(Table::kNode, key, value);
  });
  ExpectFound("it does not verify");
}

TEST_F(FsckTest, ANodeThatNothingRefersTo) {
  Change([](cow::Kv&, cow::KvBatch& batch) {
    const cow::Node node(1000000, 0);
    batch.Put(Table::kNode, cow::IdKey(node.id), node.Encode());
  });
  ExpectFound("node 1000000: nothing refers to it");
  ExpectFound("node 1000000: its number was never given out");
  ExpectFound("the superblock says");
}

TEST_F(FsckTest, ItemsInTheWrongPlace) {
  Change([](cow::Kv& kv, cow::KvBatch& batch) {
    const auto row = Row(kv, Table::kNode, [](std::string_view key, std::string_view value) {
      const cow::NodePtr node(Must(cow::Node::Decode(cow::IdFromKey(key), value)));
      return !node->is_leaf() && node->count() > 2;
    });
    const cow::NodePtr node(Must(cow::Node::Decode(cow::IdFromKey(row.first), row.second)));
    std::swap(node->children[1], node->children[2]);
    batch.Put(Table::kNode, row.first, node->Encode());
  });
  ExpectFound("holds what does not belong there");
}

TEST_F(FsckTest, CountsOfReferences) {
  Change([](cow::Kv& kv, cow::KvBatch& batch) {
    std::string seven;
    ByteWriter(seven).Put(uint32_t{7});
    batch.Put(Table::kRef, FirstRow(kv, Table::kRef).first, seven);
    batch.Put(Table::kRef, cow::IdKey(2000000), seven);
  });
  ExpectFound(": 7 references are counted, and there are");
  ExpectFound("node 2000000: 7 references are counted, and there is no such node");
}

TEST_F(FsckTest, CountsAndSizesOfChunks) {
  Change([](cow::Kv& kv, cow::KvBatch& batch) {
    auto [key, value] = FirstRow(kv, Table::kChunk);
    cow::ChunkRow row = Must(cow::ChunkRow::Decode(value));
    row.references += 5;
    std::string changed;
    row.EncodeTo(changed);
    batch.Put(Table::kChunk, key, changed);
  });
  ExpectFound(" references are counted, and there are");
  ChangeItem(ItemType::kExtent, [](cow::Node& node, size_t i) {
    auto pieces = Must(cow::DecodeExtent(node.value(i)));
    ++pieces[0].stored_kib;
    node.ReplaceValue(i, cow::EncodeExtent(pieces));
    return true;
  });
  ExpectFound(" KiB, and pieces say ");
}

TEST_F(FsckTest, AChunkThatIsMissing) {
  Change([](cow::Kv& kv, cow::KvBatch& batch) {
    batch.Delete(Table::kChunk, FirstRow(kv, Table::kChunk).first);
  });
  ExpectFound("chunk 1: it is missing, and 2 pieces refer to it");
  ExpectFound("a fingerprint is of chunk");
  ExpectFound("is lost with chunk");
}

TEST_F(FsckTest, AChunkThatNothingRefersTo) {
  Change([](cow::Kv& kv, cow::KvBatch& batch) {
    cow::ChunkRow row = Must(cow::ChunkRow::Decode(FirstRow(kv, Table::kChunk).second));
    std::string value;
    row.EncodeTo(value);
    batch.Put(Table::kChunk, cow::IdKey(3000000), value);
  });
  ExpectFound("chunk 3000000: 2 references are counted, and there are 0");
  ExpectFound("chunk 3000000: its number was never given out");
  ExpectFound("overlaps chunk");
  ExpectFound("chunk 3000000: it is not found by its fingerprint");
}

TEST_F(FsckTest, RowsThatDoNotDecode) {
  Change([](cow::Kv& kv, cow::KvBatch& batch) {
    batch.Put(Table::kChunk, FirstRow(kv, Table::kChunk).first, "?");
    batch.Put(Table::kVolume, cow::IdKey(77), "?");
    batch.Put(Table::kMeta, "superblock", "?");
    batch.Put(Table::kMeta, "dead", "?");
    const auto request = Row(kv, Table::kMeta, [](std::string_view key, std::string_view) {
      return key.starts_with("request/");
    });
    batch.Put(Table::kMeta, request.first, "?");
  });
  ExpectFound("chunk 1: its row does not decode");
  ExpectFound("volume 77: its row does not decode");
  ExpectFound("the superblock does not decode");
  ExpectFound("the list of dropped trees does not decode");
  ExpectFound("the answers to requests do not decode");
}

TEST_F(FsckTest, TotalsOfVolumes) {
  ChangeVolume("clone", [](clone::VolumeRow& row) {
    ++row.inodes;
    ++row.bytes;
    ++row.usage.node_bytes;
    ++row.usage.inline_bytes;
    ++row.usage.chunk_bytes;
    ++row.usage.own_chunk_bytes;
    row.next_ino = 100;
  });
  for (const char* words :
       {"inodes, and there are", "bytes of files", "bytes of nodes", "bytes inline",
        "bytes of chunks", "bytes of its own chunks", "was never given out: the next is 100"})
    ExpectFound(words);
}

TEST_F(FsckTest, VolumesThatDoNotFitTogether) {
  ChangeVolume("other", [](clone::VolumeRow& row) { row.name = "base"; });
  ExpectFound("its name base is another's too");
  ChangeVolume("kept", [](clone::VolumeRow& row) { row.snapshot_of = 99; });
  ExpectFound("it is a snapshot of volume 99, which is not there");
}

TEST_F(FsckTest, AnEntryOfNoInode) {
  ChangeItem(ItemType::kInode, [](cow::Node& node, size_t i) {
    if (node.keys[i].ino() == kRootInode) return false;
    node.EraseAt(i);
    return true;
  });
  ExpectFound(", which is not there");
  ExpectFound("it has items, and no record");
}

TEST_F(FsckTest, LinkCounts) {
  ChangeRecord([](InodeRecord& record) { return IsFile(record) && ++record.attr.nlink > 1; });
  ExpectFound("its link count is 2, and it has 1 names");
  ChangeRecord([](InodeRecord& record) { return IsDirectory(record) && ++record.attr.nlink > 0; });
  ExpectFound(", and should be ");
}

TEST_F(FsckTest, SizesAndUse) {
  ChangeRecord([](InodeRecord& record) {
    record.stored_size = record.attr.size += kEntrySize;
    return IsDirectory(record);
  });
  ExpectFound(" entries, and it has ");
  ChangeRecord([](InodeRecord& record) {
    return IsFile(record) && record.stored_used > 4096 && (record.stored_size = 5);
  });
  ExpectFound("lies beyond its size 5");
  ChangeRecord([](InodeRecord& record) { return IsFile(record) && ++record.stored_used; });
  ExpectFound(" bytes, and says ");
}

TEST_F(FsckTest, FlagsAndAttributes) {
  ChangeRecord([](InodeRecord& record) {
    return IsFile(record) && (record.flags & kHasXattrs) == 0 && (record.flags |= kHasXattrs);
  });
  ExpectFound("bytes of attribute names, and there are");
  ChangeRecord([](InodeRecord& record) {
    return IsFile(record) && (record.flags & kHasInlineData) != 0 &&
           (record.flags &= ~uint32_t{kHasInlineData}) != ~0u;
  });
  ExpectFound("its flags say that its body is not inline");
}

TEST_F(FsckTest, ItemsThatDoNotDecode) {
  for (ItemType type :
       {ItemType::kInode, ItemType::kDirEntry, ItemType::kExtent, ItemType::kParent})
    ChangeItem(type, [](cow::Node& node, size_t i) {
      if (node.keys[i].ino() == kRootInode) return false;
      node.ReplaceValue(i, "?");
      return true;
    });
  for (const char* words :
       {"its record does not decode", "does not decode", "one of its parents does not decode"})
    ExpectFound(words);
}

TEST_F(FsckTest, NamesAndParents) {
  ChangeItem(ItemType::kParent, [](cow::Node& node, size_t i) { return node.EraseAt(i), true; });
  ExpectFound("it knows 0 names, and entries give it 1, or others");
  ChangeItem(ItemType::kDirEntry, [](cow::Node& node, size_t i) {
    const auto entry = Must(DecodeEntry(node.value(i)));
    if (entry.type != FileType::kRegular) return false;
    node.ReplaceValue(i, EncodeEntry(entry.ino, FileType::kFifo, "another name"));
    return true;
  });
  ExpectFound("is at the wrong cookie");
  ExpectFound("has another type than inode");
}

TEST_F(FsckTest, UnlinkedAndUnknown) {
  ChangeItem(ItemType::kParent, [](cow::Node& node, size_t i) {
    const InodeId ino = node.keys[i].ino();
    if (ino < 205 || i + 1 < node.count()) return false;  // the last leaf of a tree
    node.InsertValue(i + 1, cow::MakeKey(ItemType::kOrphan, ino), "");
    node.InsertValue(i + 2, cow::MakeKey(ItemType::kRequest, 0, 5), "?");
    node.InsertValue(i + 3, cow::MakeKey(static_cast<ItemType>(15), 5), "?");
    return true;
  });
  ExpectFound(", and it is among the unlinked");
  ExpectFound("request 5 does not decode");
  ExpectFound("an item of type 15 is unknown");
}

TEST_F(FsckTest, DirectoriesThatOnlyNameEachOther) {
  // "directory" is moved below "below", which is in "directory".
  InodeId directory = 0, below = 0;
  ChangeItem(ItemType::kDirEntry, [&](cow::Node& node, size_t i) {
    const auto entry = Must(DecodeEntry(node.value(i)));
    if (entry.name == "directory") directory = entry.ino;
    return entry.name == "directory" && (node.EraseAt(i), true);
  });
  ChangeItem(ItemType::kDirEntry, [&](cow::Node& node, size_t i) {
    const auto entry = Must(DecodeEntry(node.value(i)));
    if (entry.name == "below") below = entry.ino;
    return entry.name == "below" && (node.ReplaceValue(i, node.value(i)), true);
  });
  ChangeItem(ItemType::kParent, [&](cow::Node& node, size_t i) {
    if (node.keys[i].ino() != directory) return false;
    std::string value;
    ByteWriter writer(value);
    writer.Put(below);
    writer.Put(uint64_t{64});
    node.ReplaceValue(i, value);
    return true;
  });
  ExpectFound("no way leads from this directory to the root");
}

}  // namespace
}  // namespace prism::fs
