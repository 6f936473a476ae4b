// The only file that includes RocksDB. Which of its features are used, and which are land mines in
// Debian's 7.8.3 (no DeleteRange, no ingestion, no atomic flush without WAL, no WAL recycling), is
// written in docs/DESIGN.md.
#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>
#include <spdlog/spdlog.h>

#include <array>
#include <cstdarg>
#include <cstdio>
#include <filesystem>
#include <vector>

#include "cow/kv.h"
#include "cow/kv_snapshot.h"
#include "fs/base/check.h"

namespace prism::cow {
namespace {

constexpr std::array<const char*, kTableCount> kFamilyNames = {"meta", "volume", "node",
                                                               "ref",  "chunk",  "fingerprint"};

rocksdb::Slice SliceOf(std::string_view bytes) { return {bytes.data(), bytes.size()}; }
std::string_view ViewOf(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

Err ErrOf(const rocksdb::Status& status) {
  spdlog::error("store: {}", status.ToString());
  if (status.IsCorruption()) return Err::kCorrupt;
  if (status.IsNoSpace()) return Err::kNoSpace;
  return Err::kIo;
}

rocksdb::ColumnFamilyOptions FamilyOptions(Table table, const RocksOptions& options,
                                           const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::BlockBasedTableOptions blocks;
  blocks.block_cache = cache;
  blocks.format_version = 5;
  blocks.cache_index_and_filter_blocks = true;
  // Absence is the usual answer for these two: a node without a row has one reference, a
  // fingerprint without a row is new content.
  if (table == Table::kRef || table == Table::kFingerprint)
    blocks.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10, false));
  rocksdb::ColumnFamilyOptions family;
  if (table == Table::kNode) blocks.block_size = 16 * 1024;
  family.table_factory.reset(rocksdb::NewBlockBasedTableFactory(blocks));
  family.write_buffer_size =
      table == Table::kNode ? options.memtable_bytes : options.memtable_bytes / 4;
  family.compression = table == Table::kNode ? rocksdb::kLZ4Compression : rocksdb::kNoCompression;
  family.level_compaction_dynamic_level_bytes = true;
  return family;
}

// RocksDB's own log file is written without a check of errors, and Debian's build, which has its
// assertions on, ends the process at the first line that a full disk does not take.
class RocksLog : public rocksdb::Logger {
 public:
  RocksLog() : rocksdb::Logger(rocksdb::WARN_LEVEL) {}
  using rocksdb::Logger::Logv;
  void Logv(const char* format, va_list arguments) override {
    char line[1024];
    (void)std::vsnprintf(line, sizeof line, format, arguments);
    spdlog::warn("store: {}", line);
  }
};

class RocksBatch : public KvBatch {
 public:
  explicit RocksBatch(const std::vector<rocksdb::ColumnFamilyHandle*>& families)
      : families_(families) {}
  void Put(Table table, std::string_view key, std::string_view value) override {
    Must(batch_.Put(families_[static_cast<size_t>(table)], SliceOf(key), SliceOf(value)));
  }
  void Delete(Table table, std::string_view key) override {
    Must(batch_.Delete(families_[static_cast<size_t>(table)], SliceOf(key)));
  }
  uint64_t SizeBytes() const override { return batch_.GetDataSize(); }
  rocksdb::WriteBatch& batch() { return batch_; }

 private:
  // Adding to a batch in memory fails only on misuse.
  static void Must(const rocksdb::Status& status) { PRISM_CHECK(status.ok()); }

  const std::vector<rocksdb::ColumnFamilyHandle*>& families_;
  rocksdb::WriteBatch batch_;
};

class RocksKv;

class RocksSnapshot : public Kv {
 public:
  explicit RocksSnapshot(RocksKv& kv);
  ~RocksSnapshot() override;
  Result<bool> Get(Table table, std::string_view key, std::string& value) override;
  Status Scan(Table table, FunctionRef<bool(std::string_view, std::string_view)> visitor) override {
    return ScanFrom(table, {}, visitor);
  }
  Status ScanFrom(Table table, std::string_view from,
                  FunctionRef<bool(std::string_view, std::string_view)> visitor) override;
  std::unique_ptr<KvBatch> NewBatch() override;
  uint64_t SizeBytes() override;
  Status Write(KvBatch&) override { return Fail(Err::kReadOnly); }

 private:
  RocksKv& kv_;
  const rocksdb::Snapshot* const snapshot_;
};

class RocksKv : public Kv {
 public:
  RocksKv(rocksdb::DB* db, std::vector<rocksdb::ColumnFamilyHandle*> families)
      : db_(db), families_(std::move(families)) {}
  ~RocksKv() override {
    for (rocksdb::ColumnFamilyHandle* family : families_)
      (void)db_->DestroyColumnFamilyHandle(family);
    rocksdb::Status status = db_->Close();
    if (!status.ok()) spdlog::error("store: close: {}", status.ToString());
  }

  Result<bool> Get(Table table, std::string_view key, std::string& value) override {
    rocksdb::Status status = db_->Get({}, Family(table), SliceOf(key), &value);
    if (status.ok()) return true;
    if (status.IsNotFound()) return false;
    return Fail(ErrOf(status));
  }

  Status Scan(Table table, FunctionRef<bool(std::string_view, std::string_view)> visitor) override {
    rocksdb::ReadOptions options;
    options.fill_cache = false;
    std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(options, Family(table)));
    it->SeekToFirst();
    return Visit(*it, visitor);
  }

  Status ScanFrom(Table table, std::string_view from,
                  FunctionRef<bool(std::string_view, std::string_view)> visitor) override {
    std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator({}, Family(table)));
    it->Seek(SliceOf(from));
    return Visit(*it, visitor);
  }

  std::unique_ptr<KvBatch> NewBatch() override { return std::make_unique<RocksBatch>(families_); }

  uint64_t SizeBytes() override {
    uint64_t total = 0;
    for (const char* property :
         {"rocksdb.total-sst-files-size", "rocksdb.cur-size-all-mem-tables"}) {
      uint64_t value = 0;
      if (db_->GetAggregatedIntProperty(property, &value)) total += value;
    }
    return total;
  }

  Status Write(KvBatch& batch) override {
    rocksdb::WriteOptions options;
    options.sync = true;
    rocksdb::Status status = db_->Write(options, &static_cast<RocksBatch&>(batch).batch());
    if (!status.ok()) return Fail(ErrOf(status));
    return {};
  }

 private:
  friend class RocksSnapshot;

  static Status Visit(rocksdb::Iterator& it,
                      FunctionRef<bool(std::string_view, std::string_view)> visitor) {
    for (; it.Valid(); it.Next())
      if (!visitor(ViewOf(it.key()), ViewOf(it.value()))) return {};
    if (!it.status().ok()) return Fail(ErrOf(it.status()));
    return {};
  }
  rocksdb::ColumnFamilyHandle* Family(Table table) { return families_[static_cast<size_t>(table)]; }

  std::unique_ptr<rocksdb::DB> db_;
  std::vector<rocksdb::ColumnFamilyHandle*> families_;
};

RocksSnapshot::RocksSnapshot(RocksKv& kv) : kv_(kv), snapshot_(kv.db_->GetSnapshot()) {}
RocksSnapshot::~RocksSnapshot() { kv_.db_->ReleaseSnapshot(snapshot_); }

Result<bool> RocksSnapshot::Get(Table table, std::string_view key, std::string& value) {
  rocksdb::ReadOptions options;
  options.snapshot = snapshot_;
  rocksdb::Status status = kv_.db_->Get(options, kv_.Family(table), SliceOf(key), &value);
  if (status.ok()) return true;
  if (status.IsNotFound()) return false;
  return Fail(ErrOf(status));
}

Status RocksSnapshot::ScanFrom(Table table, std::string_view from,
                               FunctionRef<bool(std::string_view, std::string_view)> visitor) {
  rocksdb::ReadOptions options;
  options.snapshot = snapshot_;
  options.fill_cache = false;
  std::unique_ptr<rocksdb::Iterator> it(kv_.db_->NewIterator(options, kv_.Family(table)));
  it->Seek(SliceOf(from));
  return RocksKv::Visit(*it, visitor);
}

std::unique_ptr<KvBatch> RocksSnapshot::NewBatch() { return kv_.NewBatch(); }
uint64_t RocksSnapshot::SizeBytes() { return kv_.SizeBytes(); }

}  // namespace

std::unique_ptr<Kv> SnapshotOf(Kv& kv) {
  return std::make_unique<RocksSnapshot>(static_cast<RocksKv&>(kv));
}

std::string IdKey(uint64_t id) {
  std::string key(8, '\0');
  for (int i = 7; i >= 0; --i, id >>= 8) key[i] = static_cast<char>(id & 0xff);
  return key;
}

uint64_t IdFromKey(std::string_view key) {
  if (key.size() != 8) return 0;
  uint64_t id = 0;
  for (char c : key) id = id << 8 | static_cast<uint8_t>(c);
  return id;
}

namespace {

Outcome<std::unique_ptr<Kv>> Open(const RocksOptions& options, bool read_only) {
  rocksdb::DBOptions db_options;
  db_options.create_if_missing = !read_only;
  db_options.create_missing_column_families = !read_only;
  db_options.max_background_jobs = 2;
  db_options.bytes_per_sync = 1 << 20;
  db_options.wal_bytes_per_sync = 1 << 20;
  db_options.max_total_wal_size = 4 * options.memtable_bytes;
  db_options.max_open_files = 512;
  // Nodes that are read together were often written together: let the kernel see that.
  db_options.advise_random_on_open = false;
  // A log reserved at its full size would take 70 MB from the chunks' disk for rows of kilobytes.
  db_options.allow_fallocate = false;
  db_options.info_log = std::make_shared<RocksLog>();
  std::shared_ptr<rocksdb::Cache> cache = rocksdb::NewLRUCache(options.block_cache_bytes);
  std::vector<rocksdb::ColumnFamilyDescriptor> descriptors;
  descriptors.emplace_back(rocksdb::kDefaultColumnFamilyName, rocksdb::ColumnFamilyOptions());
  for (size_t i = 0; i < kTableCount; ++i)
    descriptors.emplace_back(kFamilyNames[i], FamilyOptions(static_cast<Table>(i), options, cache));
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* db = nullptr;
  std::error_code ignored;  // it would log an error about the directory of a new store
  if (!read_only) std::filesystem::create_directories(options.directory, ignored);
  const rocksdb::Status status =
      read_only
          ? rocksdb::DB::OpenForReadOnly(db_options, options.directory, descriptors, &handles, &db)
          : rocksdb::DB::Open(db_options, options.directory, descriptors, &handles, &db);
  if (!status.ok()) {
    return Explain(status.IsCorruption() ? Err::kCorrupt : Err::kIo,
                   "cannot open the store in {}: {}", options.directory, status.ToString());
  }
  (void)db->DestroyColumnFamilyHandle(handles[0]);  // the default family holds nothing
  handles.erase(handles.begin());
  return std::unique_ptr<Kv>(new RocksKv(db, std::move(handles)));
}

}  // namespace

Outcome<std::unique_ptr<Kv>> OpenRocksKv(const RocksOptions& options) {
  return Open(options, false);
}

Outcome<std::unique_ptr<Kv>> OpenRocksKvToLook(const RocksOptions& options) {
  return Open(options, true);
}

}  // namespace prism::cow
