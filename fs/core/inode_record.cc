#include "fs/core/inode_record.h"

#include <spdlog/spdlog.h>

#include <cstring>

#include "fs/base/bytes.h"

namespace prism::fs {
namespace {

constexpr uint8_t kVersion = 1;
constexpr size_t kRecordBytes = 120;
constexpr size_t kTypeAt = 1;
constexpr size_t kLinksAt = 8;
static_assert(kLinksEnd == kLinksAt + sizeof(uint32_t));

void PutTime(ByteWriter& writer, const Timespec& time) {
  writer.Put(time.sec);
  writer.Put(time.nsec);
}

Timespec GetTime(ByteReader& reader) {
  Timespec time;
  time.sec = reader.Get<int64_t>();
  time.nsec = reader.Get<uint32_t>();
  return time;
}

}  // namespace

std::string EncodeInode(const InodeRecord& record) {
  const Attr& attr = record.attr;
  const bool regular = attr.type == FileType::kRegular;
  std::string value;
  value.reserve(kRecordBytes);
  ByteWriter writer(value);
  writer.Put(kVersion);
  writer.Put(attr.type);
  writer.Put(static_cast<uint16_t>(attr.mode));
  writer.Put(record.flags);
  writer.Put(attr.nlink);
  writer.Put(attr.uid);
  writer.Put(attr.gid);
  writer.Put(attr.rdev_major);
  writer.Put(attr.rdev_minor);
  writer.Put(regular ? record.stored_size : attr.size);
  writer.Put(regular ? record.stored_used : attr.used_bytes);
  PutTime(writer, attr.atime);
  PutTime(writer, attr.mtime);
  PutTime(writer, attr.ctime);
  PutTime(writer, attr.btime);
  writer.Put(attr.change);
  writer.Put(record.xattr_name_bytes);
  writer.Put(record.verifier);
  return value;
}

Result<InodeRecord> DecodeInode(InodeId ino, std::string_view value) {
  ByteReader reader(value);
  InodeRecord record;
  Attr& attr = record.attr;
  attr.ino = ino;
  const uint8_t version = reader.Get<uint8_t>();
  const uint8_t type = reader.Get<uint8_t>();
  attr.type = static_cast<FileType>(type);
  attr.mode = reader.Get<uint16_t>();
  record.flags = reader.Get<uint32_t>();
  attr.nlink = reader.Get<uint32_t>();
  attr.uid = reader.Get<uint32_t>();
  attr.gid = reader.Get<uint32_t>();
  attr.rdev_major = reader.Get<uint32_t>();
  attr.rdev_minor = reader.Get<uint32_t>();
  attr.size = record.stored_size = reader.Get<uint64_t>();
  attr.used_bytes = record.stored_used = reader.Get<uint64_t>();
  attr.atime = GetTime(reader);
  attr.mtime = GetTime(reader);
  attr.ctime = GetTime(reader);
  attr.btime = GetTime(reader);
  attr.change = reader.Get<uint64_t>();
  record.xattr_name_bytes = reader.Get<uint32_t>();
  record.verifier = reader.Get<uint64_t>();
  if (!reader.Finished() || version != kVersion || type < 1 ||
      type > static_cast<uint8_t>(FileType::kFifo)) {
    spdlog::error("inode {}: its record of {} bytes does not decode", ino, value.size());
    return Fail(Err::kCorrupt);
  }
  return record;
}

uint32_t LinksIn(std::string_view value) {
  return ByteReader(value.substr(kLinksAt)).Get<uint32_t>();
}

bool IsDirectoryIn(std::string_view value) {
  return static_cast<FileType>(value[kTypeAt]) == FileType::kDirectory;
}

void SetLinksIn(std::string& value, uint32_t nlink) {
  std::memcpy(value.data() + kLinksAt, &nlink, sizeof nlink);
}

Result<InodeRecord> LoadInodeEvenDying(const cow::ReadView& view, InodeId ino) {
  if (ino == 0 || ino > kInodeMax) return Fail(Err::kStale);
  thread_local std::string value;
  PRISM_ASSIGN(const bool found, view.Get(cow::MakeKey(cow::ItemType::kInode, ino), value));
  if (!found) return Fail(Err::kStale);
  return DecodeInode(ino, value);
}

Result<InodeRecord> LoadInode(const cow::ReadView& view, InodeId ino) {
  auto record = LoadInodeEvenDying(view, ino);
  if (record && (record->flags & kDying) != 0) return Fail(Err::kStale);
  return record;
}

void StoreInode(cow::WriteTransaction& transaction, const InodeRecord& record) {
  transaction.Put(cow::MakeKey(cow::ItemType::kInode, record.attr.ino), EncodeInode(record));
}

}  // namespace prism::fs
