#include "fs/core/store_check.h"

#include <map>
#include <memory>
#include <set>

#include "clone/records.h"
#include "clone/request_table.h"
#include "cow/kv_snapshot.h"
#include "cow/store_check.h"
#include "fs/base/bytes.h"
#include "fs/core/composed_check.h"
#include "fs/core/host_impl.h"
#include "fs/core/volume_check.h"

namespace prism::fs {
namespace {

using clone::VolumeRow;

class Checker {
 public:
  Checker(cow::Kv& tables, cow::Kv* live, const std::string& directory,
          const cow::CarriedChunks* carried)
      : tables_(tables), live_(live), store_(tables, directory + "/segments", carried, report_) {}

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
    CheckCompositions();
    std::string next;
    PRISM_ASSIGN(const bool found, tables_.Get(cow::Table::kMeta, "next-volume", next));
    ByteReader reader(next);
    if (found && !rows_.empty() && reader.Get<VolumeId>() <= rows_.rbegin()->first)
      report_.Say("volume {}: its number was never given out", rows_.rbegin()->first);
    clone::RequestTable requests;
    if (!requests.Load(tables_)) report_.Say("the answers to requests do not decode");
    return {};
  }

  void CheckCompositions() {
    std::set<VolumeId> used;
    for (const auto& [id, row] : rows_)
      for (const clone::Graft& graft : row.composition.grafts) {
        used.insert(graft.part);
        const auto part = rows_.find(graft.part);
        if (part == rows_.end() || graft.part >= id || !clone::IsPart(part->second.name))
          report_.Say("volume {}: it is made of part {}, which is not there", id, graft.part);
        else if (part->second.composition.prefixes() != graft.prefixes)
          report_.Say("volume {}: it is made of {} trees of part {}, which has {}", id,
                      graft.prefixes, graft.part, part->second.composition.prefixes());
      }
    for (const auto& [id, row] : rows_)
      if (clone::IsPart(row.name) && !used.contains(id))
        report_.Say("volume {}: it is a part, and no volume is made of it", id);
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
    // Alone, the tree of such a volume is no file system.
    const bool composed = !row.composition.grafts.empty() || row.composition.partial;
    std::unique_ptr<ComposedCheck> parts;
    if (composed) parts = ComposedCheck::Open(tables_, rows_, whole_, row, name, report_);
    VolumeCheck volume(name, parts ? parts->keys() : HashKeys(row.hash_key), store_.bad_chunks(),
                       report_);
    cow::TreeUsage usage;
    const bool whole = store_.WalkTree("volume " + name, row.root, row.own_from, usage,
                                       [&](cow::Key key, std::string_view value) {
                                         if (parts) return parts->AddOwn(key, value);
                                         if (!composed) volume.Add(key, value);
                                       });
    // Where parts are missing, what is left does not fit together, and would only hide that.
    if (!whole) return;
    whole_.insert(row.id);
    if (row.importing && usage.node_bytes == cow::kNodeHeaderBytes) return;  // not begun
    Compare(name, "bytes of nodes", row.usage.node_bytes, usage.node_bytes);
    Compare(name, "bytes inline", row.usage.inline_bytes, usage.inline_bytes);
    Compare(name, "bytes of chunks", row.usage.chunk_bytes, usage.chunk_bytes);
    Compare(name, "bytes of its own chunks", row.usage.own_chunk_bytes, usage.own_chunk_bytes);
    // Its rules are being followed.
    if (row.importing && row.composition.composed()) return;
    if (composed && !parts) return;
    if (parts) parts->GiveAll(volume);
    volume.Finish();
    if (!row.composition.uncounted) {
      Compare(name, "inodes", row.inodes, volume.inodes());
      Compare(name, "bytes of files", row.bytes, volume.bytes());
    }
    const InodeId last = parts ? parts->last_ino() : volume.last_ino();
    if (last >= row.next_ino)
      report_.Say("volume {}: inode {} was never given out: the next is {}", name, last,
                  row.next_ino);
  }

  void Compare(const std::string& name, const char* what, uint64_t said, uint64_t found) {
    if (said != found)
      report_.Say("volume {}: its row says {} {}, and there are {}", name, said, what, found);
  }

  cow::Kv& tables_;
  cow::Kv* const live_;
  cow::CheckReport report_;
  cow::StoreCheck store_;
  std::map<VolumeId, VolumeRow> rows_;
  std::set<VolumeId> whole_;  // whose trees could be read
};

}  // namespace

Outcome<cow::CheckReport> CheckTables(cow::Kv& tables, cow::Kv* live, const std::string& directory,
                                      bool data, const cow::CarriedChunks* carried) {
  Checker checker(tables, live, directory, carried);
  Status run = checker.Run(data);
  if (!run && run.error() == Err::kCorrupt)
    checker.report().Say("a table cannot be read: the log says where");
  else if (!run)
    return Explain(run.error(), "the tables of {} cannot be read: see the log", directory);
  return std::move(checker.report());
}

// As of now: a checkpoint puts all that was done before into the tables.
Outcome<cow::CheckReport> HostImpl::Check(bool data) {
  cow::Engine& engine = catalog_->engine();
  if (!engine.Checkpoint()) return Explain(Err::kIo, "the store accepts no changes: see the log");
  const std::unique_ptr<cow::Kv> tables = cow::SnapshotOf(engine.kv());
  return CheckTables(*tables, &engine.kv(), options_.directory, data);
}

}  // namespace prism::fs
