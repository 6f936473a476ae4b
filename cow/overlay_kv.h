// The tables of a store with changes that are kept in memory: what they would be.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <string>

#include "cow/kv.h"

namespace prism::cow {

// THREADS: one.
class OverlayKv : public Kv {
 public:
  // `below` outlives it, does not change meanwhile, and is never written to.
  explicit OverlayKv(Kv& below) : below_(below) {}

  Result<bool> Get(Table table, std::string_view key, std::string& value) override;
  Status Scan(Table table, FunctionRef<bool(std::string_view, std::string_view)> visitor) override;
  Status ScanFrom(Table table, std::string_view from,
                  FunctionRef<bool(std::string_view, std::string_view)> visitor) override;
  std::unique_ptr<KvBatch> NewBatch() override;
  uint64_t SizeBytes() override { return below_.SizeBytes(); }
  Status Write(KvBatch& batch) override;

 private:
  friend class OverlayBatch;
  using Rows = std::map<std::string, std::optional<std::string>, std::less<>>;  // nullopt: deleted

  Kv& below_;
  std::array<Rows, kTableCount> changed_;
};

}  // namespace prism::cow
