// A check of a store that nobody serves: its last checkpoint, and what the journal adds to that.
#include <filesystem>

#include "clone/catalog.h"
#include "cow/chunk_row.h"
#include "cow/overlay_kv.h"
#include "cow/record.h"
#include "cow/store_check.h"
#include "cow/store_directory.h"
#include "fs/base/bytes.h"
#include "fs/base/unique_fd.h"
#include "fs/core/store_check.h"

namespace prism::fs {
namespace {

using cow::CheckReport;

class OfflineCheck {
 public:
  OfflineCheck(cow::Kv& tables, const std::string& directory)
      : tables_(tables), directory_(directory) {}

  // The checkpoint first: the engine is never run on what is damaged.
  Outcome<CheckReport> Run(bool data) {
    CheckReport journal;
    ReadJournal(journal);
    const bool goes_on = records_ > 0 && journal.damage_count == 0;
    PRISM_ASSIGN(CheckReport report, CheckTables(tables_, nullptr, directory_, data && !goes_on));
    if (goes_on && report.damage_count == 0) return CheckReplayed(data);
    if (goes_on && data) {
      PRISM_ASSIGN(report, CheckTables(tables_, nullptr, directory_, true));
    }
    for (const std::string& damage : journal.damages) report.Say("{}", damage);
    report.journal_records = records_;
    report.journal_included = records_ == 0;
    return report;
  }

 private:
  // How much there is, whether it follows on the checkpoint, and the bytes that it carries.
  void ReadJournal(CheckReport& report) {
    std::string value;
    const Result<bool> found = tables_.Get(cow::Table::kMeta, "superblock", value);
    constexpr size_t kCutAt = sizeof(uint32_t) + 3 * sizeof(uint64_t);
    Lsn cut = 0;  // of a store that has not had a checkpoint
    if (!found || (*found && value.size() != kCutAt + sizeof(Lsn))) return;  // CheckTables says so
    if (*found) cut = ByteReader(std::string_view(value).substr(kCutAt)).Get<Lsn>();
    cow::Journal journal(directory_ + "/journal", {}, true);
    const Status read = journal.Replay(cut, [&](Lsn, std::string_view payload) -> Status {
      ++records_;
      ByteReader reader(payload);
      if (reader.Get<cow::RecordType>() != cow::RecordType::kChunk) return {};
      const auto id = reader.Get<ChunkId>();
      if (!cow::ChunkRow::DecodeFrom(reader)) return {};  // its replay says so
      if (const std::string_view bytes = reader.GetBytes(reader.remaining()); !bytes.empty())
        carried_[id] = bytes;
      return {};
    });
    if (!read && read.error() != Err::kCorrupt)
      report.Say("the journal of {} cannot be read after record {} ({})", directory_,
                 cut + records_, NameOf(read.error()));
    else if (!read)
      report.Say("the journal goes on after record {} of {} with what does not follow ({})",
                 cut + records_, directory_, NameOf(read.error()));
  }

  Outcome<CheckReport> CheckReplayed(bool data) {
    cow::EngineOptions options;
    options.directory = directory_;
    CheckReport report;
    auto catalog = clone::Catalog::OpenToLook(options, std::make_unique<cow::OverlayKv>(tables_));
    if (catalog) {
      PRISM_ASSIGN(report,
                   CheckTables((*catalog)->engine().kv(), nullptr, directory_, data, &carried_));
    } else {
      report.Say("what the journal holds does not apply to the last checkpoint: {}",
                 catalog.error().message);
    }
    report.journal_records = records_;
    report.journal_included = catalog.has_value();
    return report;
  }

  cow::Kv& tables_;
  const std::string directory_;
  uint64_t records_ = 0;
  cow::CarriedChunks carried_;
};

}  // namespace

Outcome<CheckReport> CheckStore(const std::string& directory, bool data) {
  std::error_code error;
  if (!std::filesystem::exists(directory + "/PRISM", error))
    return Explain(Err::kNoEntry, "there is no store in {}", directory);
  PRISM_ASSIGN(const int descriptor, cow::LockStoreDirectory(directory));
  const UniqueFd lock(descriptor);
  cow::RocksOptions options;
  options.directory = directory + "/db";
  Outcome<std::unique_ptr<cow::Kv>> tables = cow::OpenRocksKvToLook(options);
  if (!tables && tables.error().code == Err::kCorrupt) {
    CheckReport report;
    report.Say("{}", tables.error().message);
    return report;
  }
  PRISM_TRY(tables);
  return OfflineCheck(**tables, directory).Run(data);
}

}  // namespace prism::fs
