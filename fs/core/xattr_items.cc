#include "fs/core/xattr_items.h"

#include <spdlog/spdlog.h>

#include "fs/base/bytes.h"
#include "fs/contract/limits.h"

namespace prism::fs {
namespace {

using cow::ItemType;
using cow::Key;
using cow::MakeKey;

struct XattrProbe {
  std::optional<Key> found;
  std::string value;  // of what was found
  uint64_t free_lo = 0;
};

struct XattrItem {
  std::string_view name;
  std::string_view value;
};

Result<XattrItem> DecodeItem(InodeId ino, std::string_view bytes) {
  ByteReader reader(bytes);
  XattrItem item;
  item.name = reader.GetBytes(reader.Get<uint8_t>());
  item.value = reader.GetBytes(reader.remaining());
  if (reader.failed() || item.name.empty()) {
    spdlog::error("inode {}: an extended attribute does not decode", ino);
    return Fail(Err::kCorrupt);
  }
  return item;
}

Result<XattrProbe> Probe(const cow::ReadView& view, const HashKeys& key, InodeId ino,
                         std::string_view name) {
  const uint64_t first = FirstCookie(key.Of(ino), name);
  XattrProbe probe;
  uint32_t taken = 0;
  Status decoded;
  auto visit = [&](Key key_of_item, std::string_view bytes) {
    auto item = DecodeItem(ino, bytes);
    if (!item) {
      decoded = Fail(item.error());
      return false;
    }
    taken |= 1u << (key_of_item.lo - first);
    if (item->name != name) return true;
    probe.found = key_of_item;
    probe.value = item->value;
    return false;
  };
  PRISM_TRY(view.Scan(MakeKey(ItemType::kXattr, ino, first),
                      MakeKey(ItemType::kXattr, ino, first + kCookieSlots), visit));
  PRISM_TRY(decoded);
  for (uint64_t slot = kCookieSlots; slot-- > 0;)
    if ((taken & (1u << slot)) == 0) probe.free_lo = first + slot;
  return probe;
}

uint32_t FlagOf(std::string_view name) {
  if (name == kAccessAclName) return kHasAccessAcl;
  if (name == kDefaultAclName) return kHasDefaultAcl;
  if (name == kCapabilityName) return kHasCapability;
  return 0;
}

}  // namespace

Result<std::optional<std::string>> LoadXattr(const cow::ReadView& view, const HashKeys& key,
                                             const InodeRecord& record, std::string_view name) {
  if ((record.flags & kHasXattrs) == 0) return std::nullopt;
  PRISM_ASSIGN(XattrProbe probe, Probe(view, key, record.attr.ino, name));
  if (!probe.found) return std::nullopt;
  return std::move(probe.value);
}

Status ListXattrs(const cow::ReadView& view, const InodeRecord& record,
                  FunctionRef<void(std::string_view)> visitor) {
  if ((record.flags & kHasXattrs) == 0) return {};
  const InodeId ino = record.attr.ino;
  Status decoded;
  PRISM_TRY(view.Scan(MakeKey(ItemType::kXattr, ino), cow::EndKey(ItemType::kXattr, ino),
                      [&](Key, std::string_view bytes) {
                        auto item = DecodeItem(ino, bytes);
                        if (!item) {
                          decoded = Fail(item.error());
                          return false;
                        }
                        visitor(item->name);
                        return true;
                      }));
  return decoded;
}

Status PutXattr(cow::WriteTransaction& transaction, const HashKeys& key, InodeRecord& record,
                std::string_view name, std::string_view value) {
  const InodeId ino = record.attr.ino;
  XattrProbe probe;
  if ((record.flags & kHasXattrs) == 0) {
    probe.free_lo = FirstCookie(key.Of(ino), name);
  } else {
    PRISM_ASSIGN(probe, Probe(transaction, key, ino, name));
  }
  if (!probe.found) {
    if (probe.free_lo == 0 || record.xattr_name_bytes + name.size() + 1 > kXattrListMax)
      return Fail(Err::kNoSpace);
    record.xattr_name_bytes += static_cast<uint32_t>(name.size() + 1);
  }
  std::string item;
  item.reserve(1 + name.size() + value.size());
  ByteWriter writer(item);
  writer.Put(static_cast<uint8_t>(name.size()));
  writer.PutBytes(name);
  writer.PutBytes(value);
  transaction.Put(probe.found ? *probe.found : MakeKey(ItemType::kXattr, ino, probe.free_lo),
                  std::move(item));
  record.flags |= kHasXattrs | FlagOf(name);
  return {};
}

Result<bool> EraseXattr(cow::WriteTransaction& transaction, const HashKeys& key,
                        InodeRecord& record, std::string_view name) {
  if ((record.flags & kHasXattrs) == 0) return false;
  PRISM_ASSIGN(const XattrProbe probe, Probe(transaction, key, record.attr.ino, name));
  if (!probe.found) return false;
  transaction.Erase(*probe.found);
  const uint32_t bytes = static_cast<uint32_t>(name.size() + 1);
  record.xattr_name_bytes -= record.xattr_name_bytes < bytes ? record.xattr_name_bytes : bytes;
  record.flags &= ~FlagOf(name);
  if (record.xattr_name_bytes == 0) record.flags &= ~uint32_t{kHasXattrs};
  return true;
}

}  // namespace prism::fs
