#include "fs/core/request_log.h"

#include <algorithm>
#include <string>

#include "fs/base/bytes.h"

namespace prism::fs {
namespace {

cow::Key KeyOf(uint64_t sequence) {
  return cow::MakeKey(cow::ItemType::kRequest, 0, sequence % RequestLog::kSlots);
}

}  // namespace

Status RequestLog::Load(const cow::ReadView& view) {
  if (loaded_) return {};
  bool damaged = false;
  std::vector<Entry> found;
  PRISM_TRY(view.Scan(cow::MakeKey(cow::ItemType::kRequest, 0),
                      cow::EndKey(cow::ItemType::kRequest, 0),
                      [&](cow::Key, std::string_view bytes) {
                        ByteReader reader(bytes);
                        Entry entry;
                        entry.sequence = reader.Get<uint64_t>();
                        entry.request.client = reader.Get<uint64_t>();
                        entry.request.number = reader.Get<uint32_t>();
                        entry.request.checksum = reader.Get<uint32_t>();
                        entry.ino = reader.Get<uint64_t>();
                        damaged = damaged || !reader.Finished();
                        found.push_back(entry);
                        return !damaged;
                      }));
  if (damaged) return Fail(Err::kCorrupt);
  std::sort(found.begin(), found.end(),
            [](const Entry& a, const Entry& b) { return a.sequence < b.sequence; });
  ring_.resize(kSlots);
  for (const Entry& entry : found) Insert(entry);
  if (!found.empty()) next_ = found.back().sequence + 1;
  loaded_ = true;
  return {};
}

void RequestLog::Insert(const Entry& entry) {
  Entry& slot = ring_[entry.sequence % kSlots];
  if (slot.sequence > entry.sequence) return;
  if (slot.sequence != 0) done_.erase(slot.request);
  slot = entry;
  done_[entry.request] = entry.ino;
}

Result<RequestLog::Entry> RequestLog::Note(cow::WriteTransaction& transaction,
                                           const RequestId& request, InodeId ino) {
  std::lock_guard lock(mutex_);
  PRISM_TRY(Load(transaction));
  Entry entry{request, ino, next_++, resets_};
  std::string value;
  ByteWriter writer(value);
  writer.Put(entry.sequence);
  writer.Put(request.client);
  writer.Put(request.number);
  writer.Put(request.checksum);
  writer.Put(ino);
  transaction.Put(KeyOf(entry.sequence), std::move(value));
  return entry;
}

void RequestLog::Noted(const Entry& entry) {
  if (entry.sequence == 0) return;
  std::lock_guard lock(mutex_);
  if (entry.tree == resets_) Insert(entry);
}

void RequestLog::Reset() {
  std::lock_guard lock(mutex_);
  ++resets_;
  loaded_ = false;
  next_ = 1;
  ring_.clear();
  done_.clear();
}

Result<InodeId> RequestLog::Find(cow::VolumeMap& map, const RequestId& request) {
  {
    std::lock_guard lock(mutex_);
    if (loaded_) {
      auto found = done_.find(request);
      if (found == done_.end()) return Fail(Err::kNoEntry);
      return found->second;
    }
  }
  auto view = map.Read();
  std::lock_guard lock(mutex_);
  PRISM_TRY(Load(*view));
  auto found = done_.find(request);
  if (found == done_.end()) return Fail(Err::kNoEntry);
  return found->second;
}

}  // namespace prism::fs
