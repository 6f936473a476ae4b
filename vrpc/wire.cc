#include "vrpc/wire.h"

#include <cstring>

namespace prism::vrpc {

void Encoder::Put(const fs::Attr& v) {
  WireAttr wire{.ino = v.ino,
                .size = v.size,
                .used_bytes = v.used_bytes,
                .change = v.change,
                .atime_sec = v.atime.sec,
                .mtime_sec = v.mtime.sec,
                .ctime_sec = v.ctime.sec,
                .btime_sec = v.btime.sec,
                .atime_nsec = v.atime.nsec,
                .mtime_nsec = v.mtime.nsec,
                .ctime_nsec = v.ctime.nsec,
                .btime_nsec = v.btime.nsec,
                .mode = v.mode,
                .nlink = v.nlink,
                .uid = v.uid,
                .gid = v.gid,
                .rdev_major = v.rdev_major,
                .rdev_minor = v.rdev_minor,
                .type = static_cast<uint32_t>(v.type),
                .reserved = 0};
  writer_.PutBytes({reinterpret_cast<const char*>(&wire), sizeof wire});
}

void Decoder::Get(fs::Attr& v) {
  std::string_view bytes = reader_.GetBytes(sizeof(WireAttr));
  if (bytes.empty()) return;
  WireAttr wire;
  std::memcpy(&wire, bytes.data(), sizeof wire);
  if (wire.type < static_cast<uint32_t>(EnumRange<fs::FileType>::kFirst) ||
      wire.type > static_cast<uint32_t>(EnumRange<fs::FileType>::kLast) || wire.mode > 07777 ||
      wire.atime_nsec >= kNanosecondsPerSecond || wire.mtime_nsec >= kNanosecondsPerSecond ||
      wire.ctime_nsec >= kNanosecondsPerSecond || wire.btime_nsec >= kNanosecondsPerSecond ||
      wire.reserved != 0) {
    valid_ = false;
    return;
  }
  v.ino = wire.ino;
  v.type = static_cast<fs::FileType>(wire.type);
  v.mode = wire.mode;
  v.nlink = wire.nlink;
  v.uid = wire.uid;
  v.gid = wire.gid;
  v.size = wire.size;
  v.used_bytes = wire.used_bytes;
  v.rdev_major = wire.rdev_major;
  v.rdev_minor = wire.rdev_minor;
  v.atime = {wire.atime_sec, wire.atime_nsec};
  v.mtime = {wire.mtime_sec, wire.mtime_nsec};
  v.ctime = {wire.ctime_sec, wire.ctime_nsec};
  v.btime = {wire.btime_sec, wire.btime_nsec};
  v.change = wire.change;
}

void AppendXattrs(std::string& out, std::span<const fs::Xattr> xattrs) {
  Encoder encoder(out);
  for (const fs::Xattr& xattr : xattrs) {
    encoder.Put(xattr.name);
    encoder.Put(xattr.value);
  }
}

bool ReadXattrs(std::string_view bytes, uint32_t count, std::vector<fs::Xattr>& xattrs) {
  Decoder decoder(bytes);
  for (uint32_t i = 0; i < count; ++i) {
    fs::Xattr& xattr = xattrs.emplace_back();
    decoder.Get(xattr.name);
    decoder.Get(xattr.value);
    if (decoder.failed()) return false;
  }
  return decoder.Finished();
}

void AppendNames(std::string& out, const std::vector<std::string>& names) {
  Encoder encoder(out);
  for (const std::string& name : names) encoder.Put(name);
}

bool ReadNames(std::string_view bytes, uint32_t count, std::vector<std::string>& names) {
  Decoder decoder(bytes);
  for (uint32_t i = 0; i < count; ++i) {
    decoder.Get(names.emplace_back());
    if (decoder.failed()) return false;
  }
  return decoder.Finished();
}

void AppendDirEntry(std::string& out, const fs::DirEntry& entry) {
  Encoder encoder(out);
  encoder.Put(entry.cookie);
  encoder.Put(entry.ino);
  encoder.Put(entry.type);
  encoder.Put(entry.name);
  encoder.Put(entry.attr != nullptr);
  if (entry.attr != nullptr) encoder.Put(*entry.attr);
}

bool ReadDirEntry(Decoder& decoder, fs::DirEntry& entry, fs::Attr& attr) {
  decoder.Get(entry.cookie);
  decoder.Get(entry.ino);
  decoder.Get(entry.type);
  decoder.Get(entry.name);
  bool has_attr;
  decoder.Get(has_attr);
  if (has_attr) decoder.Get(attr);
  entry.attr = has_attr ? &attr : nullptr;
  return !decoder.failed() && !entry.name.empty() && entry.name.size() <= fs::kNameMax;
}

}  // namespace prism::vrpc
