#include "tests/fs_core/fake_volume.h"

#include <algorithm>
#include <cstring>

#include "cow/extent.h"
#include "fs/base/check.h"

namespace prism::fs::testing {

Result<std::vector<cow::ChunkPin>> FakeStore::PutAll(Contents contents) {
  std::vector<cow::ChunkPin> pins;
  for (std::span<const std::byte> data : contents) {
    PRISM_ASSIGN(cow::ChunkPin pin, PutOne(data));
    pins.push_back(std::move(pin));
  }
  return pins;
}

Result<cow::ChunkPin> FakeStore::PutOne(std::span<const std::byte> data) {
  PRISM_CHECK(!data.empty() && data.size() <= cow::kBlockSize);
  ++puts;
  if (on_put) on_put();
  if (fail_puts) return Fail(Err::kNoSpace);
  std::string bytes(reinterpret_cast<const char*>(data.data()), data.size());
  std::lock_guard lock(mutex_);
  auto [found, inserted] = ids_.try_emplace(bytes, next_);
  if (inserted) chunks_[next_++].bytes = std::move(bytes);
  ++chunks_[found->second].pins;
  return cow::ChunkPin(this, found->second, static_cast<uint8_t>((data.size() + 1023) / 1024));
}

Status FakeStore::ReadAll(std::span<const cow::ChunkRead> reads) {
  if (fail_reads) return Fail(Err::kIo);
  std::lock_guard lock(mutex_);
  for (const auto& [id, offset, out, kept] : reads) {
    auto found = chunks_.find(id);
    if (found == chunks_.end()) return Fail(Err::kCorrupt);
    const std::string& bytes = found->second.bytes;
    const size_t length =
        offset < bytes.size() ? std::min<size_t>(out.size(), bytes.size() - offset) : 0;
    if (length > 0) std::memcpy(out.data(), bytes.data() + offset, length);
    if (length < out.size()) std::memset(out.data() + length, 0, out.size() - length);
  }
  return {};
}

void FakeStore::Unpin(ChunkId id) {
  std::lock_guard lock(mutex_);
  --chunks_.at(id).pins;
  FreeIfUnused(id);
}

void FakeStore::FreeIfUnused(ChunkId id) {
  Chunk& chunk = chunks_.at(id);
  PRISM_CHECK(chunk.references >= 0 && chunk.pins >= 0);
  if (chunk.references > 0 || chunk.pins > 0) return;
  ids_.erase(chunk.bytes);
  chunks_.erase(id);
}

void FakeStore::AddReferences(std::string_view extent_value, int64_t sign) {
  auto pieces = cow::DecodeExtent(extent_value);
  PRISM_CHECK(pieces.has_value() && !pieces->empty());
  std::lock_guard lock(mutex_);
  for (const cow::Piece& piece : *pieces) {
    PRISM_CHECK(chunks_.contains(piece.chunk));  // else it was freed too early
    chunks_.at(piece.chunk).references += sign;
    FreeIfUnused(piece.chunk);
  }
}

size_t FakeStore::chunks() const {
  std::lock_guard lock(mutex_);
  return chunks_.size();
}

std::map<ChunkId, int64_t> FakeStore::References() const {
  std::lock_guard lock(mutex_);
  std::map<ChunkId, int64_t> references;
  for (const auto& [id, chunk] : chunks_) references[id] = chunk.references;
  return references;
}

size_t FakeStore::pins() const {
  std::lock_guard lock(mutex_);
  size_t pins = 0;
  for (const auto& [id, chunk] : chunks_) pins += static_cast<size_t>(chunk.pins);
  return pins;
}

size_t FakeStore::ChunkBytes(ChunkId id) const {
  std::lock_guard lock(mutex_);
  return chunks_.at(id).bytes.size();
}

class FakeView : public cow::ReadView {
 public:
  explicit FakeView(FakeVolume& volume) : volume_(volume), lock_(volume.mutex_) {}

  Result<bool> Get(cow::Key key, std::string& value) const override {
    auto found = volume_.items_.find(key);
    if (found == volume_.items_.end()) return false;
    value = found->second;
    return true;
  }
  Status Scan(cow::Key first, cow::Key last,
              FunctionRef<bool(cow::Key, std::string_view)> visitor) const override {
    for (auto at = volume_.items_.lower_bound(first);
         at != volume_.items_.end() && at->first < last; ++at)
      if (!visitor(at->first, at->second)) break;
    return {};
  }
  cow::VolumeUsage Usage() const override { return volume_.UsageLocked(); }

 private:
  FakeVolume& volume_;
  std::shared_lock<std::shared_mutex> lock_;
};

class FakeTransaction : public cow::WriteTransaction {
 public:
  explicit FakeTransaction(FakeVolume& volume) : volume_(volume), lock_(volume.mutex_) {}

  Result<bool> Get(cow::Key key, std::string& value) const override {
    if (auto found = changes_.find(key); found != changes_.end()) {
      if (!found->second) return false;
      value = *found->second;
      return true;
    }
    auto found = volume_.items_.find(key);
    if (found == volume_.items_.end()) return false;
    value = found->second;
    return true;
  }
  Status Scan(cow::Key first, cow::Key last,
              FunctionRef<bool(cow::Key, std::string_view)> visitor) const override {
    auto old = volume_.items_.lower_bound(first);
    auto changed = changes_.lower_bound(first);
    for (;;) {
      const bool has_old = old != volume_.items_.end() && old->first < last;
      const bool has_changed = changed != changes_.end() && changed->first < last;
      if (!has_old && !has_changed) return {};
      if (has_changed && (!has_old || changed->first <= old->first)) {
        if (has_old && old->first == changed->first) ++old;
        auto now = changed++;
        if (now->second && !visitor(now->first, *now->second)) return {};
      } else {
        auto now = old++;
        if (!visitor(now->first, now->second)) return {};
      }
    }
  }
  void Put(cow::Key key, std::string value) override {
    PRISM_CHECK(value.size() <= cow::kValueMax);
    changes_[key] = std::move(value);
  }
  void Erase(cow::Key key) override { changes_[key] = std::nullopt; }
  void EraseRange(cow::Key first, cow::Key last) override {
    auto pending = changes_.lower_bound(first);
    PRISM_CHECK(pending == changes_.end() || pending->first >= last);
    for (auto at = volume_.items_.lower_bound(first);
         at != volume_.items_.end() && at->first < last; ++at)
      changes_[at->first] = std::nullopt;
  }
  cow::VolumeUsage Usage() const override { return volume_.UsageLocked(); }
  InodeId AllocateInode() override { return volume_.next_inode_++; }
  void AddUsage(int64_t inodes, int64_t bytes) override {
    inodes_ += inodes;
    bytes_ += bytes;
  }
  Result<Lsn> Commit() override {
    PRISM_CHECK(lock_.owns_lock());
    auto result = Apply();
    lock_.unlock();
    return result;
  }

 private:
  Result<Lsn> Apply() {
    if (volume_.is_destroyed) return Fail(Err::kStale);
    if (volume_.fail_commits > 0) {
      --volume_.fail_commits;
      return Fail(Err::kIo);
    }
    if (changes_.empty() && inodes_ == 0 && bytes_ == 0) return Lsn{0};
    for (const auto& [key, value] : changes_)
      if (value && key.type() == cow::ItemType::kExtent) volume_.store_.AddReferences(*value, 1);
    for (auto& [key, value] : changes_) {
      auto old = volume_.items_.find(key);
      if (old != volume_.items_.end()) {
        if (key.type() == cow::ItemType::kExtent) volume_.store_.AddReferences(old->second, -1);
        volume_.items_.erase(old);
      }
      if (value) volume_.items_.emplace(key, std::move(*value));
    }
    volume_.inodes_ += inodes_;
    volume_.bytes_ += bytes_;
    PRISM_CHECK(volume_.inodes_ >= 0 && volume_.bytes_ >= 0);
    ++volume_.commits;
    if (volume_.after_commit) volume_.after_commit(volume_);
    return ++volume_.lsn_;
  }

  FakeVolume& volume_;
  std::unique_lock<std::shared_mutex> lock_;
  std::map<cow::Key, std::optional<std::string>> changes_;
  int64_t inodes_ = 0;
  int64_t bytes_ = 0;
};

FakeVolume::~FakeVolume() {
  for (const auto& [key, value] : items_)
    if (key.type() == cow::ItemType::kExtent) store_.AddReferences(value, -1);
}

std::unique_ptr<cow::ReadView> FakeVolume::Read() { return std::make_unique<FakeView>(*this); }

std::unique_ptr<cow::WriteTransaction> FakeVolume::Write() {
  return std::make_unique<FakeTransaction>(*this);
}

Status FakeVolume::WaitDurable(Lsn lsn) {
  // Nobody may wait for the medium with the volume locked.
  std::unique_lock lock(mutex_);
  PRISM_CHECK(lsn <= lsn_);
  if (durable_ < lsn) durable_ = lsn;
  return {};
}

cow::VolumeUsage FakeVolume::UsageLocked() const {
  cow::VolumeUsage usage;
  usage.inodes = static_cast<uint64_t>(inodes_);
  usage.bytes = usage.charged_bytes = static_cast<uint64_t>(bytes_);
  usage.quota = quota;
  return usage;
}

cow::VolumeUsage FakeVolume::Usage() {
  std::shared_lock lock(mutex_);
  return UsageLocked();
}

std::unique_ptr<FakeVolume> FakeVolume::Clone() {
  std::shared_lock lock(mutex_);
  auto clone = std::make_unique<FakeVolume>(store_);
  clone->items_ = items_;
  clone->inodes_ = inodes_;
  clone->bytes_ = bytes_;
  clone->quota = quota;
  clone->next_inode_ = next_inode_;
  clone->hash_key_value = hash_key_value;
  for (const auto& [key, value] : items_)
    if (key.type() == cow::ItemType::kExtent) store_.AddReferences(value, 1);
  return clone;
}

}  // namespace prism::fs::testing
