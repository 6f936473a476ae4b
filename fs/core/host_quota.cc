// What volumes may grow to.
#include <fmt/format.h>

#include "fs/core/host_impl.h"

namespace prism::fs {

std::string TextOf(const cow::QuotaChange& change) {
  auto text = [](const auto& value) {
    return value ? std::to_string(static_cast<uint64_t>(*value)) : std::string();
  };
  return fmt::format("{},{},{}", text(change.bytes), text(change.inodes), text(change.exclusive));
}

// What waits in memory is written first: it was not counted as the new quota counts.
Outcome<VolumeInfo> HostImpl::SetQuota(std::string_view name, const cow::QuotaChange& change,
                                       std::string_view request_key) {
  PRISM_ASSIGN(const clone::Request request,
               clone::NameRequest(request_key, "quota", {std::string(name), TextOf(change)}));
  PRISM_ASSIGN(const auto done, catalog_->FindDone(request));
  if (done) return InfoOf(done->front());
  PRISM_ASSIGN(clone::CatalogEntry entry, catalog_->Find(name));
  PRISM_ASSIGN(const DataGate gate, GateOf(entry.row.id));
  PRISM_ASSIGN(entry, catalog_->SetQuota(name, change, request));
  return InfoOf(entry);
}

}  // namespace prism::fs
