#include "clone/request_table.h"

#include <xxhash.h>

#include <algorithm>

#include "fs/base/bytes.h"

namespace prism::clone {
namespace {

constexpr std::string_view kPrefix = "request/";

std::string RowKey(uint64_t sequence) { return std::string(kPrefix).append(cow::IdKey(sequence)); }

void PutAnswer(ByteWriter& writer, const std::vector<VolumeRow>& answer) {
  writer.Put(static_cast<uint32_t>(answer.size()));
  for (const VolumeRow& row : answer) {
    writer.Put(row.id);
    writer.PutString(row.Encode());
  }
}

Result<std::vector<VolumeRow>> GetAnswer(ByteReader& reader) {
  std::vector<VolumeRow> answer;
  for (uint32_t left = reader.Get<uint32_t>(); left > 0 && !reader.failed(); --left) {
    const VolumeId id = reader.Get<VolumeId>();
    PRISM_ASSIGN(VolumeRow row, VolumeRow::Decode(id, reader.GetString()));
    answer.push_back(std::move(row));
  }
  return answer;
}

}  // namespace

Outcome<Request> NameRequest(std::string_view key, std::string_view verb,
                             const std::vector<std::string>& arguments) {
  if (key.empty()) return Request{};
  if (key.size() > kRequestKeyMax)
    return Explain(Err::kInvalid, "a request key has at most {} bytes", kRequestKeyMax);
  std::string what;
  ByteWriter writer(what);
  writer.PutString(verb);
  for (const std::string& argument : arguments) writer.PutString(argument);
  return Request{std::string(key), XXH3_64bits(what.data(), what.size())};
}

std::string RequestRecord::Encode() const {
  std::string out;
  ByteWriter writer(out);
  writer.Put(cow::RecordType::kRequest);
  writer.PutString(key);
  writer.Put(checksum);
  PutAnswer(writer, answer);
  writer.PutBytes(done);
  return out;
}

Result<RequestRecord> RequestRecord::Decode(std::string_view payload) {
  ByteReader reader(payload);
  RequestRecord record;
  record.key = reader.GetString();
  record.checksum = reader.Get<uint64_t>();
  PRISM_ASSIGN(record.answer, GetAnswer(reader));
  record.done = reader.GetBytes(reader.remaining());
  if (!reader.Finished() || record.key.empty()) return Fail(Err::kCorrupt);
  return record;
}

const RequestTable::Done* RequestTable::Find(std::string_view key) const {
  auto found = done_.find(std::string(key));
  return found == done_.end() ? nullptr : &found->second;
}

void RequestTable::Add(const RequestRecord& record, Lsn lsn) {
  Kept kept{next_++, record.key, {}};
  ByteWriter writer(kept.row);
  writer.PutString(record.key);
  writer.Put(record.checksum);
  PutAnswer(writer, record.answer);
  added_.emplace_back(kept.sequence, kept.row);
  Insert(std::move(kept), {record.checksum, record.answer, lsn});
}

void RequestTable::Insert(Kept kept, Done done) {
  done_[kept.key] = std::move(done);
  kept_bytes_ += kept.row.size();
  kept_.push_back(std::move(kept));
  while (kept_.size() > kRequestsMax || (kept_bytes_ > kAnswerBytesMax && kept_.size() > 1)) {
    kept_bytes_ -= kept_.front().row.size();
    done_.erase(kept_.front().key);
    dropped_.push_back(kept_.front().sequence);
    kept_.pop_front();
  }
}

Status RequestTable::Load(cow::Kv& kv) {
  bool damaged = false;
  PRISM_TRY(kv.Scan(cow::Table::kMeta, [&](std::string_view key, std::string_view value) {
    if (!key.starts_with(kPrefix)) return true;
    Kept kept{cow::IdFromKey(key.substr(kPrefix.size())), {}, std::string(value)};
    ByteReader reader(value);
    kept.key = reader.GetString();
    Done done;
    done.checksum = reader.Get<uint64_t>();
    Result<std::vector<VolumeRow>> answer = GetAnswer(reader);
    damaged = !answer || !reader.Finished();
    if (damaged) return false;
    done.answer = std::move(*answer);
    next_ = kept.sequence + 1;
    Insert(std::move(kept), std::move(done));
    return true;
  }));
  if (damaged) return Fail(Err::kCorrupt);
  return {};
}

void RequestTable::Freeze() {
  frozen_added_ = std::exchange(added_, {});
  frozen_dropped_ = std::exchange(dropped_, {});
}

void RequestTable::Write(cow::KvBatch& batch) {
  for (const auto& [sequence, row] : frozen_added_)
    batch.Put(cow::Table::kMeta, RowKey(sequence), row);
  for (uint64_t sequence : frozen_dropped_) batch.Delete(cow::Table::kMeta, RowKey(sequence));
}

}  // namespace prism::clone
