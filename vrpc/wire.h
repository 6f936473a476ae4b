// How the contract's values look in a message: flat, little-endian, no padding between fields.
//
// A struct is the sequence of its fields, named once in FieldsOf for both directions. Integers have
// their width; bool and enums one byte, whose range the decoder checks; a string is u32 length and
// bytes; an optional is a bool and, if true, the value; an Attr is a WireAttr. Decoded strings are
// views into the bytes they were decoded from, which must be private memory.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <vector>

#include "fs/base/bytes.h"
#include "fs/contract/file_system.h"

namespace prism::vrpc {

// fs::Attr with every byte in its place.
struct WireAttr {
  uint64_t ino;
  uint64_t size;
  uint64_t used_bytes;
  uint64_t change;
  int64_t atime_sec;
  int64_t mtime_sec;
  int64_t ctime_sec;
  int64_t btime_sec;
  uint32_t atime_nsec;
  uint32_t mtime_nsec;
  uint32_t ctime_nsec;
  uint32_t btime_nsec;
  uint32_t mode;
  uint32_t nlink;
  uint32_t uid;
  uint32_t gid;
  uint32_t rdev_major;
  uint32_t rdev_minor;
  uint32_t type;
  uint32_t reserved;  // 0
};
static_assert(sizeof(WireAttr) == 112);

inline constexpr uint32_t kNanosecondsPerSecond = 1'000'000'000;

// The values an enum of the contract may have: first and last, with none missing between.
template <typename E>
struct EnumRange;
template <>
struct EnumRange<fs::FileType> {
  static constexpr auto kFirst = fs::FileType::kRegular, kLast = fs::FileType::kFifo;
};
template <>
struct EnumRange<fs::Exclusivity> {
  static constexpr auto kFirst = fs::Exclusivity::kGuarded, kLast = fs::Exclusivity::kVerified;
};
template <>
struct EnumRange<fs::Stability> {
  static constexpr auto kFirst = fs::Stability::kUnstable, kLast = fs::Stability::kFileSync;
};
template <>
struct EnumRange<fs::FallocateMode> {
  static constexpr auto kFirst = fs::FallocateMode::kAllocate,
                        kLast = fs::FallocateMode::kZeroRangeKeep;
};
template <>
struct EnumRange<fs::SeekWhence> {
  static constexpr auto kFirst = fs::SeekWhence::kData, kLast = fs::SeekWhence::kHole;
};
template <>
struct EnumRange<fs::XattrMode> {
  static constexpr auto kFirst = fs::XattrMode::kSet, kLast = fs::XattrMode::kReplace;
};
template <>
struct EnumRange<fs::Event::Kind> {
  static constexpr auto kFirst = fs::Event::Kind::kInode, kLast = fs::Event::Kind::kLockGranted;
};
template <>
struct EnumRange<fs::LockKind> {
  static constexpr auto kFirst = fs::LockKind::kPosix, kLast = fs::LockKind::kNetwork;
};
template <>
struct EnumRange<fs::Reclaim> {
  static constexpr auto kFirst = fs::Reclaim::kNo, kLast = fs::Reclaim::kLast;
};
template <>
struct EnumRange<fs::LockType> {
  static constexpr auto kFirst = fs::LockType::kUnlock, kLast = fs::LockType::kExclusive;
};

inline auto FieldsOf(fs::Change& v) { return std::tie(v.before, v.after); }
inline auto FieldsOf(fs::SetAttr& v) {
  return std::tie(v.mode, v.uid, v.gid, v.size, v.atime, v.mtime, v.atime_now, v.mtime_now,
                  v.kill_privileges, v.if_ctime);
}
inline auto FieldsOf(fs::StatfsResult& v) {
  return std::tie(v.total_bytes, v.free_bytes, v.used_bytes, v.files, v.free_files);
}
inline auto FieldsOf(fs::EntryResult& v) { return std::tie(v.attr, v.parent, v.created); }
inline auto FieldsOf(fs::RemoveResult& v) { return std::tie(v.removed, v.parent); }
inline auto FieldsOf(fs::RenameResult& v) {
  return std::tie(v.from_parent, v.to_parent, v.moved, v.replaced);
}
inline auto FieldsOf(fs::ReadResult& v) { return std::tie(v.length, v.eof, v.attr); }
inline auto FieldsOf(fs::WriteResult& v) {
  return std::tie(v.length, v.offset, v.committed, v.change);
}
inline auto FieldsOf(fs::LockHolder& v) {
  return std::tie(v.kind, v.type, v.start, v.length, v.pid, v.own_client, v.owner);
}

class Encoder {
 public:
  explicit Encoder(std::string& out) : writer_(out) {}

  void Put(bool v) { writer_.Put(static_cast<uint8_t>(v)); }
  template <typename T>
  requires(std::is_integral_v<T> || std::is_enum_v<T>) void Put(T v) { writer_.Put(v); }
  void Put(std::string_view v) { writer_.PutString(v); }
  void Put(const std::string& v) { writer_.PutString(v); }
  void Put(const fs::Timespec& v) {
    writer_.Put(v.sec);
    writer_.Put(v.nsec);
  }
  void Put(const fs::Attr& v);
  template <typename T>
  void Put(const std::optional<T>& v) {
    Put(v.has_value());
    if (v) Put(*v);
  }
  template <typename T>
  requires requires(T& v) { FieldsOf(v); }
  void Put(const T& v) {
    std::apply([this](const auto&... field) { (Put(field), ...); }, FieldsOf(const_cast<T&>(v)));
  }

 private:
  ByteWriter writer_;
};

// As ByteReader: reads on after a failure, and tells once at the end.
class Decoder {
 public:
  explicit Decoder(std::string_view bytes) : reader_(bytes) {}

  void Get(bool& v) {
    auto byte = reader_.Get<uint8_t>();
    if (byte > 1) valid_ = false;
    v = byte == 1;
  }
  template <typename T>
  requires std::is_integral_v<T>
  void Get(T& v) { v = reader_.Get<T>(); }
  template <typename E>
  requires std::is_enum_v<E>
  void Get(E& v) {
    auto raw = reader_.Get<std::underlying_type_t<E>>();
    constexpr auto first = static_cast<std::underlying_type_t<E>>(EnumRange<E>::kFirst);
    constexpr auto last = static_cast<std::underlying_type_t<E>>(EnumRange<E>::kLast);
    bool known = raw <= last && static_cast<decltype(raw)>(raw - first) <= last - first;
    if (!known) valid_ = false;
    v = known ? static_cast<E>(raw) : EnumRange<E>::kFirst;
  }
  void Get(std::string_view& v) { v = reader_.GetString(); }
  void Get(std::string& v) { v = reader_.GetString(); }
  void Get(fs::Timespec& v) {
    v.sec = reader_.Get<int64_t>();
    v.nsec = reader_.Get<uint32_t>();
    if (v.nsec >= kNanosecondsPerSecond) valid_ = false;
  }
  void Get(fs::Attr& v);
  template <typename T>
  void Get(std::optional<T>& v) {
    bool present;
    Get(present);
    v.reset();
    if (present) Get(v.emplace());
  }
  template <typename T>
  requires requires(T& v) { FieldsOf(v); }
  void Get(T& v) {
    std::apply([this](auto&... field) { (Get(field), ...); }, FieldsOf(v));
  }

  size_t remaining() const { return reader_.remaining(); }
  bool failed() const { return !valid_ || reader_.failed(); }
  // Everything was read and nothing was missing.
  bool Complete() const { return reader_.Finished(); }
  // Besides, every value was in its range.
  bool Finished() const { return valid_ && Complete(); }

 private:
  ByteReader reader_;
  bool valid_ = true;
};

// Lists in a payload: the entries one after the other, their number in the message.
void AppendXattrs(std::string& out, std::span<const fs::Xattr> xattrs);
// False: malformed. Allocates by what is there, never by what is claimed.
bool ReadXattrs(std::string_view bytes, uint32_t count, std::vector<fs::Xattr>& xattrs);

void AppendNames(std::string& out, const std::vector<std::string>& names);
bool ReadNames(std::string_view bytes, uint32_t count, std::vector<std::string>& names);

// Entries of a directory listing.
void AppendDirEntry(std::string& out, const fs::DirEntry& entry);
inline constexpr size_t kDirEntryBytesMax = 8 + 8 + 1 + 4 + fs::kNameMax + 1 + sizeof(WireAttr);
// entry.attr then points to attr, if there were attributes. False: malformed.
bool ReadDirEntry(Decoder& decoder, fs::DirEntry& entry, fs::Attr& attr);

}  // namespace prism::vrpc
