// A store to be damaged: its tables can be changed behind its back.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "clone/records.h"
#include "cow/kv.h"
#include "cow/node.h"
#include "fs/core/directory.h"
#include "fs/core/host.h"
#include "fs/core/inode_record.h"
#include "fs/core/store_check.h"
#include "tests/support/noise.h"
#include "tests/support/result.h"
#include "tests/support/temp_dir.h"

namespace prism::fs {

using cow::ItemType;
using cow::Table;
using test::Must;
using test::Noise;

inline InodeId Make(FileSystem& fs, InodeId dir, const std::string& name, FileType type,
                    std::string_view data = {}) {
  CreateArgs args;
  args.parent = dir;
  args.name = name;
  args.type = type;
  args.mode = 0755;
  if (type == FileType::kSymlink) args.symlink_target = "somewhere";
  const InodeId ino = Must(fs.Create(Caller{}, args)).attr.ino;
  for (size_t at = 0; at < data.size(); at += kIoMax) {
    WriteArgs write;
    write.ino = ino;
    write.offset = at;
    write.data = std::as_bytes(std::span(data.substr(at, kIoMax)));
    Must(fs.Write(Caller{}, write));
  }
  return ino;
}

class StoreToDamage : public ::testing::Test {
 protected:
  StoreToDamage() : store_(directory_.Path("store")) {}

  std::unique_ptr<Host> Open() {
    HostOptions options;
    options.directory = store_;
    return Must(Host::Open(options));
  }
  cow::CheckReport Check(bool data = false) { return Must(CheckStore(store_, data)); }
  static std::string Text(const cow::CheckReport& report) {
    std::string text;
    for (const std::string& damage : report.damages) text += damage + "\n";
    return text;
  }

  template <typename F>
  void Change(F&& change) {
    cow::RocksOptions options;
    options.directory = store_ + "/db";
    auto kv = Must(cow::OpenRocksKv(options));
    auto batch = kv->NewBatch();
    change(*kv, *batch);
    Must(kv->Write(*batch));
  }
  // The first row of a table that `wanted` likes.
  template <typename F>
  static std::pair<std::string, std::string> Row(cow::Kv& kv, Table table, F&& wanted) {
    std::pair<std::string, std::string> row;
    Must(kv.Scan(table, [&](std::string_view key, std::string_view value) {
      if (!wanted(key, value)) return true;
      row = {std::string(key), std::string(value)};
      return false;
    }));
    EXPECT_FALSE(row.first.empty()) << "nothing to damage";
    return row;
  }
  static std::pair<std::string, std::string> FirstRow(cow::Kv& kv, Table table) {
    return Row(kv, table, [](auto, auto) { return true; });
  }
  // Changes one item of this type in the first leaf where `edit` says that it did.
  template <typename F>
  void ChangeItem(ItemType type, F&& edit) {
    bool done = false;
    Change([&](cow::Kv& kv, cow::KvBatch& batch) {
      Must(kv.Scan(Table::kNode, [&](std::string_view key, std::string_view value) {
        const cow::NodePtr node(Must(cow::Node::Decode(cow::IdFromKey(key), value)));
        for (size_t i = 0; node->is_leaf() && !done && i < node->count(); ++i) {
          if (node->keys[i].type() != type) continue;
          done = edit(*node, i);
        }
        if (done) batch.Put(Table::kNode, key, node->Encode());
        return !done;
      }));
    });
    EXPECT_TRUE(done) << "nothing to damage";
  }
  // The same for the record of the first inode that `edit` likes.
  template <typename F>
  void ChangeRecord(F&& edit) {
    ChangeItem(ItemType::kInode, [&](cow::Node& node, size_t i) {
      if (node.value(i).empty()) return false;  // a composed volume's: it is gone
      InodeRecord record = Must(DecodeInode(node.keys[i].ino(), node.value(i)));
      if (!edit(record)) return false;
      node.ReplaceValue(i, EncodeInode(record));
      return true;
    });
  }
  template <typename F>
  void ChangeVolume(const std::string& name, F&& edit) {
    Change([&](cow::Kv& kv, cow::KvBatch& batch) {
      const auto row = Row(kv, Table::kVolume, [&](std::string_view key, std::string_view value) {
        return Must(clone::VolumeRow::Decode(cow::IdFromKey(key), value)).name == name;
      });
      auto volume = Must(clone::VolumeRow::Decode(cow::IdFromKey(row.first), row.second));
      edit(volume);
      batch.Put(Table::kVolume, row.first, volume.Encode());
    });
  }

  void ExpectFound(const std::string& words, bool data = false) {
    const cow::CheckReport report = Check(data);
    EXPECT_GT(report.damage_count, 0u) << "expected: " << words;
    EXPECT_NE(Text(report).find(words), std::string::npos) << words << "\nin\n" << Text(report);
  }

  test::TempDir directory_;
  const std::string store_;
};

}  // namespace prism::fs
