#include "fs/core/store_check.h"

#include <filesystem>
#include <map>
#include <set>

#include "clone/records.h"
#include "clone/request_table.h"
#include "cow/kv_snapshot.h"
#include "cow/store_check.h"
#include "cow/store_directory.h"
#include "fs/base/bytes.h"
#include "fs/base/unique_fd.h"
#include "fs/core/host_impl.h"
#include "fs/core/volume_check.h"

namespace prism::fs {
namespace {

using clone::VolumeRow;

class Checker {
 public:
  Checker(cow::Kv& tables, cow::Kv* live, const std::string& directory)
      : tables_(tables), live_(live), store_(tables, directory + "/segments", report_) {}

  Status Run(bool data) {
    PRISM_TRY(ReadRows());
    PRISM_TRY(store_.Recount(Roots()));
    if (data) {
      PRISM_TRY(store_.VerifyData([this](ChunkId id, const cow::ChunkRow& row) {
        return live_ == nullptr || IsCurrent(id, row);
      }));
    }
    for (const auto& [id, row] : rows_) CheckVolume(row);
    return {};
  }
  cow::CheckReport& report() { return report_; }

 private:
  Status ReadRows() {
    PRISM_TRY(tables_.Scan(cow::Table::kVolume, [&](std::string_view key, std::string_view value) {
      const VolumeId id = cow::IdFromKey(key);
      ++report_.volumes;
      Result<VolumeRow> row = VolumeRow::Decode(id, value);
      if (row)
        rows_.emplace(id, std::move(*row));
      else
        report_.Say("volume {}: its row does not decode", id);
      return true;
    }));
    std::set<std::pair<VolumeId, std::string>> names;
    for (const auto& [id, row] : rows_) {
      if (row.snapshot_of != 0 && !rows_.contains(row.snapshot_of))
        report_.Say("volume {}: it is a snapshot of volume {}, which is not there", id,
                    row.snapshot_of);
      if (!names.emplace(row.snapshot_of, row.name).second)
        report_.Say("volume {}: its name {} is another's too", id, row.name);
    }
    std::string next;
    PRISM_ASSIGN(const bool found, tables_.Get(cow::Table::kMeta, "next-volume", next));
    ByteReader reader(next);
    if (found && !rows_.empty() && reader.Get<VolumeId>() <= rows_.rbegin()->first)
      report_.Say("volume {}: its number was never given out", rows_.rbegin()->first);
    clone::RequestTable requests;
    if (!requests.Load(tables_)) report_.Say("the answers to requests do not decode");
    return {};
  }

  // All that refers to trees from outside of them: one reference each.
  std::vector<cow::NodeId> Roots() const {
    std::vector<cow::NodeId> roots;
    for (const auto& [id, row] : rows_) roots.push_back(row.root);
    return roots;
  }

  bool IsCurrent(ChunkId id, const cow::ChunkRow& row) const {
    std::string value;
    Result<bool> found = live_->Get(cow::Table::kChunk, cow::IdKey(id), value);
    if (!found || !*found) return false;
    Result<cow::ChunkRow> now = cow::ChunkRow::Decode(value);
    return now && now->extent.segment == row.extent.segment && now->extent.unit == row.extent.unit;
  }

  std::string NameOfRow(const VolumeRow& row) const {
    auto owner = rows_.find(row.snapshot_of);
    return row.snapshot_of == 0 || owner == rows_.end() ? row.name
                                                        : owner->second.name + "@" + row.name;
  }

  void CheckVolume(const VolumeRow& row) {
    const std::string name = NameOfRow(row);
    VolumeCheck volume(name, row.hash_key, store_.bad_chunks(), report_);
    cow::TreeUsage usage;
    // The tree of a composed volume has changes of its parts' items: alone it is no file system.
    const bool composed = row.composition.composed();
    const bool whole = store_.WalkTree("volume " + name, row.root, row.own_from, usage,
                                       [&](cow::Key key, std::string_view value) {
                                         if (!composed) volume.Add(key, value);
                                       });
    // Where parts are missing, what is left does not fit together, and would only hide that.
    if (!whole) return;
    if (row.importing && usage.node_bytes == cow::kNodeHeaderBytes) return;  // not begun
    if (!composed) volume.Finish();
    auto compare = [&](const char* what, uint64_t said, uint64_t found) {
      if (said != found)
        report_.Say("volume {}: its row says {} {}, and there are {}", name, said, what, found);
    };
    if (!composed) {
      compare("inodes", row.inodes, volume.inodes());
      compare("bytes of files", row.bytes, volume.bytes());
    }
    compare("bytes of nodes", row.usage.node_bytes, usage.node_bytes);
    compare("bytes inline", row.usage.inline_bytes, usage.inline_bytes);
    compare("bytes of chunks", row.usage.chunk_bytes, usage.chunk_bytes);
    compare("bytes of its own chunks", row.usage.own_chunk_bytes, usage.own_chunk_bytes);
    if (volume.last_ino() >= row.next_ino)
      report_.Say("volume {}: inode {} was never given out: the next is {}", name,
                  volume.last_ino(), row.next_ino);
  }

  cow::Kv& tables_;
  cow::Kv* const live_;
  cow::CheckReport report_;
  cow::StoreCheck store_;
  std::map<VolumeId, VolumeRow> rows_;
};

}  // namespace

Outcome<cow::CheckReport> CheckTables(cow::Kv& tables, cow::Kv* live, const std::string& directory,
                                      bool data) {
  Checker checker(tables, live, directory);
  Status run = checker.Run(data);
  if (!run && run.error() == Err::kCorrupt)
    checker.report().Say("a table cannot be read: the log says where");
  else if (!run)
    return Explain(run.error(), "the tables of {} cannot be read: see the log", directory);
  return std::move(checker.report());
}

Outcome<cow::CheckReport> CheckStore(const std::string& directory, bool data) {
  std::error_code error;
  if (!std::filesystem::exists(directory + "/PRISM", error))
    return Explain(Err::kNoEntry, "there is no store in {}", directory);
  PRISM_ASSIGN(const int descriptor, cow::LockStoreDirectory(directory));
  const UniqueFd lock(descriptor);
  cow::RocksOptions options;
  options.directory = directory + "/db";
  Outcome<std::unique_ptr<cow::Kv>> tables = cow::OpenRocksKv(options);
  if (!tables && tables.error().code == Err::kCorrupt) {
    cow::CheckReport report;
    report.Say("{}", tables.error().message);
    return report;
  }
  PRISM_TRY(tables);
  return CheckTables(**tables, nullptr, directory, data);
}

// As of now: a checkpoint puts all that was done before into the tables.
Outcome<cow::CheckReport> HostImpl::Check(bool data) {
  cow::Engine& engine = catalog_->engine();
  if (!engine.Checkpoint()) return Explain(Err::kIo, "the store accepts no changes: see the log");
  const std::unique_ptr<cow::Kv> tables = cow::SnapshotOf(engine.kv());
  return CheckTables(*tables, &engine.kv(), options_.directory, data);
}

}  // namespace prism::fs
