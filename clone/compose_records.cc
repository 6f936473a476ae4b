// The journal's records of composed volumes.
#include "clone/records.h"
#include "fs/base/bytes.h"

namespace prism::clone {

using cow::RecordType;

std::string ComposeRecord::Encode() const {
  std::string out;
  ByteWriter writer(out);
  writer.Put(RecordType::kCompose);
  writer.Put(row.id);
  writer.PutString(row.Encode());
  writer.Put(from);
  for (const auto& [part, source] : parts) {
    writer.Put(part);
    writer.Put(source);
  }
  return out;
}

Result<ComposeRecord> ComposeRecord::Decode(std::string_view payload) {
  ByteReader reader(payload);
  ComposeRecord record;
  const auto id = reader.Get<VolumeId>();
  PRISM_ASSIGN(record.row, VolumeRow::Decode(id, reader.GetString()));
  record.from = reader.Get<VolumeId>();
  while (reader.remaining() > 0 && !reader.failed()) {
    const auto part = reader.Get<VolumeId>();
    record.parts.emplace_back(part, reader.Get<VolumeId>());
  }
  if (!reader.Finished()) return Fail(Err::kCorrupt);
  return record;
}

std::string ComposedRecord::Encode() const {
  std::string out;
  ByteWriter writer(out);
  writer.Put(RecordType::kComposed);
  writer.Put(volume);
  writer.Put(static_cast<uint8_t>(partial));
  return out;
}

Result<ComposedRecord> ComposedRecord::Decode(std::string_view payload) {
  ByteReader reader(payload);
  ComposedRecord record;
  record.volume = reader.Get<VolumeId>();
  record.partial = reader.Get<uint8_t>() != 0;
  if (!reader.Finished()) return Fail(Err::kCorrupt);
  return record;
}

std::string CountedRecord::Encode() const {
  std::string out;
  ByteWriter writer(out);
  writer.Put(RecordType::kCounted);
  writer.Put(volume);
  writer.Put(inodes);
  writer.Put(bytes);
  return out;
}

Result<CountedRecord> CountedRecord::Decode(std::string_view payload) {
  ByteReader reader(payload);
  CountedRecord record;
  record.volume = reader.Get<VolumeId>();
  record.inodes = reader.Get<int64_t>();
  record.bytes = reader.Get<int64_t>();
  if (!reader.Finished()) return Fail(Err::kCorrupt);
  return record;
}

std::string UncountedRecord::Encode() const {
  std::string out;
  ByteWriter writer(out);
  writer.Put(RecordType::kUncounted);
  writer.Put(volume);
  return out;
}

Result<UncountedRecord> UncountedRecord::Decode(std::string_view payload) {
  ByteReader reader(payload);
  UncountedRecord record;
  record.volume = reader.Get<VolumeId>();
  if (!reader.Finished()) return Fail(Err::kCorrupt);
  return record;
}

}  // namespace prism::clone
