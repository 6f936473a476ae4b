#include "cow/overlay_kv.h"

namespace prism::cow {

class OverlayBatch : public KvBatch {
 public:
  void Put(Table table, std::string_view key, std::string_view value) override {
    rows_[static_cast<size_t>(table)].insert_or_assign(std::string(key), std::string(value));
    size_bytes_ += key.size() + value.size();
  }
  void Delete(Table table, std::string_view key) override {
    rows_[static_cast<size_t>(table)].insert_or_assign(std::string(key), std::nullopt);
    size_bytes_ += key.size();
  }
  uint64_t SizeBytes() const override { return size_bytes_; }

 private:
  friend class OverlayKv;
  std::array<OverlayKv::Rows, kTableCount> rows_;
  uint64_t size_bytes_ = 0;
};

Result<bool> OverlayKv::Get(Table table, std::string_view key, std::string& value) {
  const Rows& rows = changed_[static_cast<size_t>(table)];
  const auto found = rows.find(key);
  if (found == rows.end()) return below_.Get(table, key, value);
  if (found->second) value = *found->second;
  return found->second.has_value();
}

Status OverlayKv::Scan(Table table, FunctionRef<bool(std::string_view, std::string_view)> visitor) {
  return ScanFrom(table, {}, visitor);
}

Status OverlayKv::ScanFrom(Table table, std::string_view from,
                           FunctionRef<bool(std::string_view, std::string_view)> visitor) {
  const Rows& rows = changed_[static_cast<size_t>(table)];
  auto next = rows.lower_bound(from);
  bool more = true;
  // The changed rows below `limit`; true: one is at it, and says what is there.
  auto visit_changed = [&](const std::string_view* limit) {
    for (; more && next != rows.end() && (limit == nullptr || next->first <= *limit); ++next) {
      const bool same = limit != nullptr && next->first == *limit;
      if (next->second) more = visitor(next->first, *next->second);
      if (same) return ++next, true;
    }
    return false;
  };
  PRISM_TRY(below_.ScanFrom(table, from, [&](std::string_view key, std::string_view value) {
    if (!visit_changed(&key) && more) more = visitor(key, value);
    return more;
  }));
  visit_changed(nullptr);
  return {};
}

std::unique_ptr<KvBatch> OverlayKv::NewBatch() { return std::make_unique<OverlayBatch>(); }

Status OverlayKv::Write(KvBatch& batch) {
  auto& rows = static_cast<OverlayBatch&>(batch).rows_;
  for (size_t table = 0; table < kTableCount; ++table)
    for (auto& [key, value] : rows[table]) changed_[table].insert_or_assign(key, std::move(value));
  return {};
}

}  // namespace prism::cow
