#include "clone/records.h"

#include <algorithm>

#include "fs/base/bytes.h"

namespace prism::clone {
namespace {

using cow::RecordType;

constexpr uint8_t kRowVersion = 3;

// A count in a record is believed only as far as the bytes that follow could hold that many.
bool Plausible(const ByteReader& reader, uint32_t count, size_t bytes_each) {
  return !reader.failed() && count <= reader.remaining() / bytes_each;
}

void PutKey(ByteWriter& writer, cow::Key key) {
  writer.Put(key.hi);
  writer.Put(key.lo);
}

cow::Key GetKey(ByteReader& reader) {
  cow::Key key;
  key.hi = reader.Get<uint64_t>();
  key.lo = reader.Get<uint64_t>();
  return key;
}

void PutTexts(ByteWriter& writer, const std::vector<std::string>& texts) {
  writer.Put(static_cast<uint32_t>(texts.size()));
  for (const std::string& text : texts) writer.PutString(text);
}

std::vector<std::string> GetTexts(ByteReader& reader) {
  std::vector<std::string> texts;
  for (uint32_t left = reader.Get<uint32_t>(); left > 0 && !reader.failed(); --left)
    texts.emplace_back(reader.GetString());
  return texts;
}

void PutQuota(ByteWriter& writer, const cow::Quota& quota) {
  writer.Put(quota.bytes);
  writer.Put(quota.inodes);
  writer.Put(static_cast<uint8_t>(quota.exclusive));
}

cow::Quota GetQuota(ByteReader& reader) {
  cow::Quota quota;
  quota.bytes = reader.Get<uint64_t>();
  quota.inodes = reader.Get<uint64_t>();
  quota.exclusive = reader.Get<uint8_t>() != 0;
  return quota;
}

void PutLineage(ByteWriter& writer, const VolumeRow& row) {
  writer.Put(row.line);
  writer.Put(row.changed);
  writer.Put(static_cast<uint32_t>(row.past.size()));
  for (const Place& place : row.past) {
    writer.Put(place.line);
    writer.Put(place.at);
  }
}

void GetLineage(ByteReader& reader, VolumeRow& row) {
  row.line = reader.Get<uint64_t>();
  row.changed = reader.Get<Lsn>();
  for (uint32_t left = reader.Get<uint32_t>(); left > 0 && !reader.failed(); --left) {
    const auto line = reader.Get<uint64_t>();
    row.past.push_back({line, reader.Get<Lsn>()});
  }
}

void PutRow(ByteWriter& writer, const VolumeRow& row) {
  writer.Put(kRowVersion);
  writer.PutString(row.name);
  writer.PutString(row.parent);
  writer.Put(static_cast<uint8_t>(row.importing));
  writer.Put(row.created_sec);
  writer.Put(row.root);
  writer.Put(row.next_ino);
  writer.Put(row.inodes);
  writer.Put(row.bytes);
  writer.Put(row.hash_key.first);
  writer.Put(row.hash_key.second);
  writer.Put(row.parent_id);
  writer.Put(row.snapshot_of);
  writer.Put(row.expires_sec);
  PutTexts(writer, row.holds);
  writer.Put(row.usage.node_bytes);
  writer.Put(row.usage.inline_bytes);
  writer.Put(row.usage.chunk_bytes);
  writer.Put(row.usage.own_chunk_bytes);
  writer.Put(row.own_from);
  writer.Put(row.birth_node_bytes);
  PutQuota(writer, row.quota);
  writer.Put(static_cast<uint8_t>(row.sealed));
  writer.Put(static_cast<uint8_t>(row.flushed));
  PutLineage(writer, row);
  PutComposition(writer, row.composition);
}

bool GetRow(ByteReader& reader, VolumeRow& row) {
  uint8_t version = reader.Get<uint8_t>();
  row.name = reader.GetString();
  row.parent = reader.GetString();
  row.importing = reader.Get<uint8_t>() != 0;
  row.created_sec = reader.Get<int64_t>();
  row.root = reader.Get<uint64_t>();
  row.next_ino = reader.Get<uint64_t>();
  row.inodes = reader.Get<uint64_t>();
  row.bytes = reader.Get<uint64_t>();
  row.hash_key.first = reader.Get<uint64_t>();
  row.hash_key.second = reader.Get<uint64_t>();
  row.parent_id = reader.Get<VolumeId>();
  row.snapshot_of = reader.Get<VolumeId>();
  row.expires_sec = reader.Get<int64_t>();
  row.holds = GetTexts(reader);
  row.usage.node_bytes = reader.Get<uint64_t>();
  row.usage.inline_bytes = reader.Get<uint64_t>();
  row.usage.chunk_bytes = reader.Get<uint64_t>();
  row.usage.own_chunk_bytes = reader.Get<uint64_t>();
  row.own_from = reader.Get<ChunkId>();
  row.birth_node_bytes = reader.Get<uint64_t>();
  row.quota = GetQuota(reader);
  row.sealed = reader.Get<uint8_t>() != 0;
  row.flushed = reader.Get<uint8_t>() != 0;
  GetLineage(reader, row);
  Result<Composition> composition = GetComposition(reader);
  if (!composition) return false;
  row.composition = std::move(*composition);
  return version == kRowVersion && reader.Finished() && !row.name.empty();
}

}  // namespace

cow::VolumeUsage VolumeRow::Usage() const {
  cow::VolumeUsage all;
  all.inodes = inodes;
  all.bytes = bytes;
  all.quota = quota;
  if (quota.exclusive) {
    all.charged_from = own_from;
    const auto grown = static_cast<int64_t>(usage.node_bytes - birth_node_bytes);
    all.charged_bytes = usage.own_chunk_bytes + static_cast<uint64_t>(std::max<int64_t>(0, grown));
  } else {
    all.charged_bytes = all.bytes + usage.node_bytes - usage.inline_bytes;
  }
  return all;
}

Lineage LineageUntilNow(const VolumeRow& row) {
  const bool goes_on = row.snapshot_of == 0 && !IsUnchanging(row.name);
  return goes_on ? Continue(row.past, {row.line, row.changed}) : row.past;
}

std::string VolumeRow::Encode() const {
  std::string out;
  ByteWriter writer(out);
  PutRow(writer, *this);
  return out;
}

Result<VolumeRow> VolumeRow::Decode(VolumeId id, std::string_view bytes) {
  VolumeRow row;
  ByteReader reader(bytes);
  if (id == 0 || !GetRow(reader, row)) return Fail(Err::kCorrupt);
  row.id = id;
  return row;
}

std::string ChangeRecord::Encode() const {
  std::string out;
  size_t size = 40;
  for (const Mutation& mutation : mutations) size += 37 + mutation.value.size();
  out.reserve(size);
  ByteWriter writer(out);
  writer.Put(RecordType::kChange);
  writer.Put(volume);
  writer.Put(next_ino);
  writer.Put(inodes_delta);
  writer.Put(bytes_delta);
  writer.Put(static_cast<uint32_t>(mutations.size()));
  for (const Mutation& mutation : mutations) {
    writer.Put(mutation.kind);
    PutKey(writer, mutation.key);
    if (mutation.kind == Mutation::Kind::kPut) writer.PutString(mutation.value);
    if (mutation.kind == Mutation::Kind::kEraseRange) PutKey(writer, mutation.last);
  }
  return out;
}

Result<ChangeRecord> ChangeRecord::Decode(std::string_view payload) {
  ByteReader reader(payload);
  ChangeRecord record;
  record.volume = reader.Get<VolumeId>();
  record.next_ino = reader.Get<InodeId>();
  record.inodes_delta = reader.Get<int64_t>();
  record.bytes_delta = reader.Get<int64_t>();
  uint32_t count = reader.Get<uint32_t>();
  if (!Plausible(reader, count, 17)) return Fail(Err::kCorrupt);
  record.mutations.reserve(count);
  for (uint32_t i = 0; i < count; ++i) {
    Mutation mutation;
    mutation.kind = reader.Get<Mutation::Kind>();
    mutation.key = GetKey(reader);
    if (mutation.kind == Mutation::Kind::kPut) mutation.value = reader.GetString();
    if (mutation.kind == Mutation::Kind::kEraseRange) mutation.last = GetKey(reader);
    if (mutation.kind > Mutation::Kind::kEraseRange || mutation.value.size() > cow::kValueMax)
      return Fail(Err::kCorrupt);
    record.mutations.push_back(std::move(mutation));
  }
  if (!reader.Finished()) return Fail(Err::kCorrupt);
  return record;
}

std::string CreateRecord::Encode() const {
  std::string out;
  ByteWriter writer(out);
  writer.Put(RecordType::kCreate);
  writer.Put(row.id);
  PutRow(writer, row);
  return out;
}

Result<CreateRecord> CreateRecord::Decode(std::string_view payload) {
  ByteReader reader(payload);
  CreateRecord record;
  record.row.id = reader.Get<VolumeId>();
  if (record.row.id == 0 || !GetRow(reader, record.row)) return Fail(Err::kCorrupt);
  return record;
}

std::string CloneRecord::Encode() const {
  std::string out;
  ByteWriter writer(out);
  writer.Put(RecordType::kClone);
  writer.Put(source);
  writer.Put(created_sec);
  writer.Put(static_cast<uint32_t>(targets.size()));
  for (const auto& [id, name] : targets) {
    writer.Put(id);
    writer.PutString(name);
  }
  PutQuota(writer, quota);
  writer.Put(static_cast<uint8_t>(flushed));
  return out;
}

Result<CloneRecord> CloneRecord::Decode(std::string_view payload) {
  ByteReader reader(payload);
  CloneRecord record;
  record.source = reader.Get<VolumeId>();
  record.created_sec = reader.Get<int64_t>();
  uint32_t count = reader.Get<uint32_t>();
  if (!Plausible(reader, count, 12)) return Fail(Err::kCorrupt);
  for (uint32_t i = 0; i < count; ++i) {
    VolumeId id = reader.Get<VolumeId>();
    record.targets.emplace_back(id, reader.GetString());
  }
  record.quota = GetQuota(reader);
  record.flushed = reader.Get<uint8_t>() != 0;
  if (!reader.Finished()) return Fail(Err::kCorrupt);
  return record;
}

std::string RevealRecord::Encode() const {
  std::string out;
  ByteWriter writer(out);
  writer.Put(RecordType::kReveal);
  for (const auto& [id, name] : volumes) {
    writer.Put(id);
    writer.PutString(name);
  }
  return out;
}

Result<RevealRecord> RevealRecord::Decode(std::string_view payload) {
  ByteReader reader(payload);
  RevealRecord record;
  while (reader.remaining() > 0 && !reader.failed()) {
    const VolumeId id = reader.Get<VolumeId>();
    record.volumes.emplace_back(id, reader.GetString());
  }
  if (!reader.Finished()) return Fail(Err::kCorrupt);
  return record;
}

std::string SealRecord::Encode() const {
  std::string out;
  ByteWriter writer(out);
  writer.Put(RecordType::kSeal);
  writer.Put(volume);
  return out;
}

Result<SealRecord> SealRecord::Decode(std::string_view payload) {
  ByteReader reader(payload);
  SealRecord record;
  record.volume = reader.Get<VolumeId>();
  if (!reader.Finished()) return Fail(Err::kCorrupt);
  return record;
}

std::string SnapshotRecord::Encode() const {
  std::string out;
  ByteWriter writer(out);
  writer.Put(RecordType::kSnapshot);
  writer.Put(created_sec);
  writer.Put(expires_sec);
  for (const Target& target : targets) {
    writer.Put(target.source);
    writer.Put(target.id);
    writer.PutString(target.label);
  }
  return out;
}

Result<SnapshotRecord> SnapshotRecord::Decode(std::string_view payload) {
  ByteReader reader(payload);
  SnapshotRecord record;
  record.created_sec = reader.Get<int64_t>();
  record.expires_sec = reader.Get<int64_t>();
  while (reader.remaining() > 0 && !reader.failed()) {
    Target target;
    target.source = reader.Get<VolumeId>();
    target.id = reader.Get<VolumeId>();
    target.label = reader.GetString();
    record.targets.push_back(std::move(target));
  }
  if (!reader.Finished()) return Fail(Err::kCorrupt);
  return record;
}

std::string RollbackRecord::Encode() const {
  std::string out;
  ByteWriter writer(out);
  writer.Put(RecordType::kRollback);
  writer.Put(volume);
  writer.Put(snapshot);
  return out;
}

Result<RollbackRecord> RollbackRecord::Decode(std::string_view payload) {
  ByteReader reader(payload);
  RollbackRecord record;
  record.volume = reader.Get<VolumeId>();
  record.snapshot = reader.Get<VolumeId>();
  if (!reader.Finished()) return Fail(Err::kCorrupt);
  return record;
}

std::string ReplaceRecord::Encode() const {
  std::string out;
  ByteWriter writer(out);
  writer.Put(RecordType::kReplace);
  writer.Put(volume);
  writer.Put(source);
  writer.Put(snapshot);
  writer.Put(created_sec);
  writer.PutString(label);
  writer.Put(own_bytes);
  return out;
}

Result<ReplaceRecord> ReplaceRecord::Decode(std::string_view payload) {
  ByteReader reader(payload);
  ReplaceRecord record;
  record.volume = reader.Get<VolumeId>();
  record.source = reader.Get<VolumeId>();
  record.snapshot = reader.Get<VolumeId>();
  record.created_sec = reader.Get<int64_t>();
  record.label = reader.GetString();
  if (reader.remaining() > 0) record.own_bytes = reader.Get<int64_t>();  // older ones have none
  if (!reader.Finished()) return Fail(Err::kCorrupt);
  return record;
}

std::string KeepRecord::Encode() const {
  std::string out;
  ByteWriter writer(out);
  writer.Put(RecordType::kKeep);
  writer.Put(volume);
  writer.Put(expires_sec);
  PutTexts(writer, holds);
  return out;
}

Result<KeepRecord> KeepRecord::Decode(std::string_view payload) {
  ByteReader reader(payload);
  KeepRecord record;
  record.volume = reader.Get<VolumeId>();
  record.expires_sec = reader.Get<int64_t>();
  record.holds = GetTexts(reader);
  if (!reader.Finished()) return Fail(Err::kCorrupt);
  return record;
}

std::string QuotaRecord::Encode() const {
  std::string out;
  ByteWriter writer(out);
  writer.Put(RecordType::kQuota);
  writer.Put(volume);
  PutQuota(writer, quota);
  return out;
}

Result<QuotaRecord> QuotaRecord::Decode(std::string_view payload) {
  ByteReader reader(payload);
  QuotaRecord record;
  record.volume = reader.Get<VolumeId>();
  record.quota = GetQuota(reader);
  if (!reader.Finished()) return Fail(Err::kCorrupt);
  return record;
}

std::string DestroyRecord::Encode() const {
  std::string out;
  ByteWriter writer(out);
  writer.Put(RecordType::kDestroy);
  for (VolumeId id : volumes) writer.Put(id);
  return out;
}

Result<DestroyRecord> DestroyRecord::Decode(std::string_view payload) {
  ByteReader reader(payload);
  DestroyRecord record;
  while (reader.remaining() > 0 && !reader.failed())
    record.volumes.push_back(reader.Get<VolumeId>());
  if (!reader.Finished()) return Fail(Err::kCorrupt);
  return record;
}

std::string RenameRecord::Encode(RecordType type) const {
  std::string out;
  ByteWriter writer(out);
  writer.Put(type);
  writer.Put(volume);
  writer.PutString(name);
  return out;
}

Result<RenameRecord> RenameRecord::Decode(std::string_view payload) {
  ByteReader reader(payload);
  RenameRecord record;
  record.volume = reader.Get<VolumeId>();
  record.name = reader.GetString();
  if (!reader.Finished()) return Fail(Err::kCorrupt);
  return record;
}

}  // namespace prism::clone
