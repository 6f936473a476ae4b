// The store below the engine: ordered tables with atomic, durable batches. RocksDB behind it; only
// rocks_kv.cc knows that.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "fs/base/failure.h"
#include "fs/base/function_ref.h"

namespace prism::cow {

// Names are on disk (column families): never change. cow/FORMAT.md says what each row holds.
enum class Table : uint8_t { kMeta, kVolume, kNode, kRef, kChunk, kFingerprint };
inline constexpr size_t kTableCount = 6;

// 8 bytes, big-endian, so that ids sort as numbers.
std::string IdKey(uint64_t id);
uint64_t IdFromKey(std::string_view key);  // 0 if it is not 8 bytes

class KvBatch {
 public:
  virtual ~KvBatch() = default;
  virtual void Put(Table table, std::string_view key, std::string_view value) = 0;
  virtual void Delete(Table table, std::string_view key) = 0;
  virtual uint64_t SizeBytes() const = 0;
};

// Thread-safe. Every error of the medium is kIo, of verification kCorrupt; both are logged here.
class Kv {
 public:
  virtual ~Kv() = default;
  virtual Result<bool> Get(Table table, std::string_view key, std::string& value) = 0;
  // In key order, until the visitor returns false.
  virtual Status Scan(Table table,
                      FunctionRef<bool(std::string_view, std::string_view)> visitor) = 0;
  // The same from the first key at or after `from`; for few rows, which the store then caches.
  virtual Status ScanFrom(Table table, std::string_view from,
                          FunctionRef<bool(std::string_view, std::string_view)> visitor) = 0;
  virtual std::unique_ptr<KvBatch> NewBatch() = 0;
  // What the store occupies: its tables on disk and in memory, without the write-ahead log.
  virtual uint64_t SizeBytes() = 0;
  // Atomic, and on disk when it returns. The batch must be of this store.
  virtual Status Write(KvBatch& batch) = 0;
};

struct RocksOptions {
  std::string directory;
  uint64_t block_cache_bytes = uint64_t{128} << 20;
  uint64_t memtable_bytes = uint64_t{64} << 20;
};

Outcome<std::unique_ptr<Kv>> OpenRocksKv(const RocksOptions& options);
// The same to look at, of tables that are there: no file is changed, and writing fails.
Outcome<std::unique_ptr<Kv>> OpenRocksKvToLook(const RocksOptions& options);

}  // namespace prism::cow
