// Settings of front ends, and the write verifier, which is one. Rows of the meta table: see
// cow/FORMAT.md.
#include <spdlog/spdlog.h>
#include <sys/random.h>

#include "fs/base/bytes.h"
#include "fs/core/host_impl.h"

namespace prism::fs {
namespace {

constexpr std::string_view kPrefix = "setting/";
constexpr std::string_view kVerifierKey = "write-verifier";

tl::unexpected<Failure> SettingFailed(Err err, std::string_view key) {
  return Explain(err, "setting {} of the store ({}): see the server's log", key, NameOf(err));
}

std::string RowKey(std::string_view key) { return std::string(kPrefix).append(key); }

}  // namespace

Outcome<std::string> HostImpl::Setting(std::string_view key) {
  std::string value;
  Result<bool> found = catalog_->engine().kv().Get(cow::Table::kMeta, RowKey(key), value);
  if (!found) return SettingFailed(found.error(), key);
  return *found ? value : std::string();
}

Outcome<void> HostImpl::SetSetting(std::string_view key, std::string_view value) {
  cow::Kv& kv = catalog_->engine().kv();
  std::unique_ptr<cow::KvBatch> batch = kv.NewBatch();
  if (value.empty()) {
    batch->Delete(cow::Table::kMeta, RowKey(key));
  } else {
    batch->Put(cow::Table::kMeta, RowKey(key), value);
  }
  if (Status written = kv.Write(*batch); !written) return SettingFailed(written.error(), key);
  return {};
}

Outcome<std::vector<std::pair<std::string, std::string>>> HostImpl::Settings(
    std::string_view prefix) {
  std::vector<std::pair<std::string, std::string>> found;
  const std::string wanted = RowKey(prefix);
  Status scanned = catalog_->engine().kv().Scan(
      cow::Table::kMeta, [&](std::string_view key, std::string_view value) {
        if (key.starts_with(wanted)) found.emplace_back(key.substr(kPrefix.size()), value);
        return true;
      });
  if (!scanned) return SettingFailed(scanned.error(), prefix);
  return found;
}

// The row: verifier u64, saved u8. "Saved" is taken away before anything can be written, and given
// back when all has been.
Outcome<void> HostImpl::LoadWriteVerifier() {
  PRISM_ASSIGN(const std::string row, Setting(kVerifierKey));
  ByteReader reader(row);
  write_verifier_ = reader.Get<uint64_t>();
  const bool saved = reader.Get<uint8_t>() == 1;
  if (!reader.Finished() || !saved) {
    if (::getrandom(&write_verifier_, sizeof write_verifier_, 0) != sizeof write_verifier_)
      return Explain(Err::kIo, "no random numbers");
  }
  std::string now;
  ByteWriter writer(now);
  writer.Put(write_verifier_);
  writer.Put(uint8_t{0});
  return SetSetting(kVerifierKey, now);
}

void HostImpl::NoteAllSaved() {
  std::string row;
  ByteWriter writer(row);
  writer.Put(write_verifier_);
  writer.Put(uint8_t{1});
  if (Outcome<void> set = SetSetting(kVerifierKey, row); !set)
    spdlog::error("{}", set.error().message);
}

}  // namespace prism::fs
