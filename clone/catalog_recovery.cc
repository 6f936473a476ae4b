// The catalog's part in checkpoints and recovery.
#include <spdlog/spdlog.h>

#include "clone/catalog.h"
#include "cow/overlay_kv.h"
#include "fs/base/bytes.h"
#include "fs/base/check.h"

namespace prism::clone {
namespace {

using cow::RecordType;

constexpr const char* kNextIdKey = "next-volume";

}  // namespace

Outcome<std::unique_ptr<Catalog>> Catalog::Open(const cow::EngineOptions& options) {
  std::unique_ptr<Catalog> catalog(new Catalog);
  PRISM_ASSIGN(catalog->engine_, cow::Engine::Open(options));
  PRISM_TRY(catalog->LoadRows());
  PRISM_TRY(catalog->engine_->Recover(*catalog));
  catalog->DropHidden();
  std::vector<std::string> unfinished;
  for (const CatalogEntry& entry : catalog->List())
    if (entry.row.importing) unfinished.push_back(entry.row.name);
  if (!unfinished.empty()) {
    spdlog::info("dropping {} unfinished import(s)", unfinished.size());
    PRISM_TRY(catalog->Destroy(unfinished));
  }
  return catalog;
}

Outcome<std::unique_ptr<Catalog>> Catalog::OpenToLook(const cow::EngineOptions& options,
                                                      std::unique_ptr<cow::OverlayKv> tables) {
  std::unique_ptr<Catalog> catalog(new Catalog);
  PRISM_ASSIGN(catalog->engine_, cow::Engine::OpenToLook(options, std::move(tables)));
  PRISM_TRY(catalog->LoadRows());
  PRISM_TRY(catalog->engine_->Recover(*catalog));
  return catalog;
}

Outcome<void> Catalog::LoadRows() {
  VolumeId damaged = 0;
  Status scanned =
      engine_->kv().Scan(cow::Table::kVolume, [&](std::string_view key, std::string_view value) {
        VolumeId id = cow::IdFromKey(key);
        Result<VolumeRow> row = VolumeRow::Decode(id, value);
        if (!row) {
          damaged = id == 0 ? ~VolumeId{0} : id;
          return false;
        }
        // A snapshot's volume is older, and so has a smaller id.
        if (row->snapshot_of != 0 && !by_id_.contains(row->snapshot_of)) {
          damaged = id;
          return false;
        }
        for (const Graft& graft : row->composition.grafts)  // so are its parts
          if (!by_id_.contains(graft.part)) damaged = id;
        if (damaged != 0) return false;
        Adopt(std::make_shared<Volume>(*engine_, *this, std::move(*row)));
        return true;
      });
  if (!requests_.Load(engine_->kv()))
    return Explain(Err::kCorrupt, "the answers to requests, in the table meta, are damaged");
  std::string value;
  Result<bool> found = engine_->kv().Get(cow::Table::kMeta, kNextIdKey, value);
  if (!scanned || damaged != 0 || !found)
    return Explain(Err::kCorrupt, "the table of volumes is damaged at volume {}", damaged);
  if (*found) next_id_ = std::max(next_id_, ByteReader(value).Get<VolumeId>());
  return {};
}

void Catalog::MarkChanged(Volume& volume) {
  std::lock_guard lock(changed_mutex_);
  if (volume.row_changed_) return;
  volume.row_changed_ = true;
  changed_.push_back(volume.shared_from_this());
}

void Catalog::Freeze() {
  std::lock_guard lock(changed_mutex_);
  frozen_rows_.clear();
  for (const auto& volume : changed_) {
    volume->row_changed_ = false;
    if (!volume->destroyed()) frozen_rows_.push_back(volume->row_);
  }
  changed_.clear();
  frozen_destroyed_.swap(destroyed_);
  destroyed_.clear();
  frozen_next_id_ = next_id_;
  requests_.Freeze();
}

void Catalog::Write(cow::KvBatch& batch) {
  for (const VolumeRow& row : frozen_rows_)
    batch.Put(cow::Table::kVolume, cow::IdKey(row.id), row.Encode());
  for (VolumeId id : frozen_destroyed_) batch.Delete(cow::Table::kVolume, cow::IdKey(id));
  requests_.Write(batch);
  std::string next;
  ByteWriter(next).Put(frozen_next_id_);
  batch.Put(cow::Table::kMeta, kNextIdKey, next);
}

Result<std::shared_ptr<Volume>> Catalog::ForReplay(VolumeId id) {
  auto it = by_id_.find(id);
  if (it == by_id_.end()) return Fail(Err::kCorrupt);
  return it->second;
}

Status Catalog::ReplayRecord(uint8_t type, std::string_view payload, Lsn lsn) {
  switch (static_cast<RecordType>(type)) {
    case RecordType::kChange: {
      PRISM_ASSIGN(ChangeRecord record, ChangeRecord::Decode(payload));
      PRISM_ASSIGN(std::shared_ptr<Volume> volume, ForReplay(record.volume));
      std::vector<cow::NodePtr> pins;
      PRISM_TRY(volume->Prefault(record, pins));
      volume->Apply(record, lsn);
      return {};
    }
    case RecordType::kCreate: {
      PRISM_ASSIGN(CreateRecord record, CreateRecord::Decode(payload));
      ApplyCreate(std::move(record.row));
      return {};
    }
    case RecordType::kClone: {
      PRISM_ASSIGN(CloneRecord record, CloneRecord::Decode(payload));
      PRISM_ASSIGN(std::shared_ptr<Volume> source, ForReplay(record.source));
      ApplyClone(*source, record);
      return {};
    }
    case RecordType::kRequest: {
      PRISM_ASSIGN(RequestRecord record, RequestRecord::Decode(payload));
      ByteReader reader(record.done);
      const auto done = reader.Get<RecordType>();
      if (done == RecordType::kRequest) break;
      PRISM_TRY(ReplayRecord(static_cast<uint8_t>(done), reader.GetBytes(reader.remaining()), lsn));
      requests_.Add(record, lsn);
      return {};
    }
    case RecordType::kCompose:
    case RecordType::kComposed:
    case RecordType::kCounted:
    case RecordType::kUncounted:
      return ReplayCompose(static_cast<RecordType>(type), payload);
    case RecordType::kSnapshot:
    case RecordType::kRollback:
    case RecordType::kKeep:
    case RecordType::kReplace:
      return ReplaySnapshots(static_cast<RecordType>(type), payload, lsn);
    case RecordType::kReveal:
    case RecordType::kSeal:
      return ReplayBirth(static_cast<RecordType>(type), payload);
    case RecordType::kDestroy: {
      PRISM_ASSIGN(DestroyRecord record, DestroyRecord::Decode(payload));
      for (VolumeId id : record.volumes) {
        PRISM_ASSIGN(std::shared_ptr<Volume> volume, ForReplay(id));
        ApplyDestroy(*volume);
      }
      return {};
    }
    case RecordType::kRename: {
      PRISM_ASSIGN(RenameRecord record, RenameRecord::Decode(payload));
      PRISM_ASSIGN(std::shared_ptr<Volume> volume, ForReplay(record.volume));
      ApplyRename(volume, record.name);
      return {};
    }
    case RecordType::kPublish: {
      PRISM_ASSIGN(RenameRecord record, RenameRecord::Decode(payload));
      PRISM_ASSIGN(std::shared_ptr<Volume> volume, ForReplay(record.volume));
      volume->row_.importing = false;
      MarkChanged(*volume);
      return {};
    }
    case RecordType::kQuota: {
      PRISM_ASSIGN(QuotaRecord record, QuotaRecord::Decode(payload));
      PRISM_ASSIGN(std::shared_ptr<Volume> volume, ForReplay(record.volume));
      ApplyQuota(*volume, record.quota);
      return {};
    }
    case RecordType::kChunk:
      break;
  }
  return Fail(Err::kCorrupt);
}

}  // namespace prism::clone
