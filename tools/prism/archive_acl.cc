#include "tools/prism/archive_acl.h"

#include <archive.h>

#include <algorithm>
#include <array>
#include <tuple>
#include <vector>

#include "fs/base/bytes.h"

namespace prism::tool {
namespace {

constexpr uint32_t kVersion = 2;
constexpr uint16_t kMaskTag = 0x10;
constexpr uint32_t kNoId = 0xffffffff;
constexpr size_t kEntryBytes = 8;

struct Tag {
  uint16_t linux_tag;
  int archive_tag;
  bool has_id;
};
constexpr std::array<Tag, 6> kTags = {{
    {0x01, ARCHIVE_ENTRY_ACL_USER_OBJ, false},
    {0x02, ARCHIVE_ENTRY_ACL_USER, true},
    {0x04, ARCHIVE_ENTRY_ACL_GROUP_OBJ, false},
    {0x08, ARCHIVE_ENTRY_ACL_GROUP, true},
    {kMaskTag, ARCHIVE_ENTRY_ACL_MASK, false},
    {0x20, ARCHIVE_ENTRY_ACL_OTHER, false},
}};

struct AclEntry {
  uint16_t tag;
  uint16_t permissions;
  uint32_t id;
  bool operator<(const AclEntry& other) const {
    return std::tie(tag, id) < std::tie(other.tag, other.id);
  }
};

std::optional<std::vector<AclEntry>> Decode(std::string_view value) {
  ByteReader reader(value);
  if (reader.Get<uint32_t>() != kVersion || reader.remaining() % kEntryBytes != 0) return {};
  std::vector<AclEntry> entries;
  while (reader.remaining() > 0) {
    AclEntry entry{};
    entry.tag = reader.Get<uint16_t>();
    entry.permissions = reader.Get<uint16_t>();
    entry.id = reader.Get<uint32_t>();
    if (entry.permissions > 7) return {};
    entries.push_back(entry);
  }
  return entries;
}

}  // namespace

std::string AclXattrOf(archive_entry* entry, int type) {
  std::vector<AclEntry> entries;
  if (archive_entry_acl_reset(entry, type) == 0) return {};
  int entry_type, permset, tag, id;
  const char* name;
  while (archive_entry_acl_next(entry, type, &entry_type, &permset, &tag, &id, &name) ==
         ARCHIVE_OK) {
    auto known = std::find_if(kTags.begin(), kTags.end(),
                              [&](const Tag& row) { return row.archive_tag == tag; });
    if (known == kTags.end()) continue;
    entries.push_back({known->linux_tag, static_cast<uint16_t>(permset & 7),
                       known->has_id ? static_cast<uint32_t>(id) : kNoId});
  }
  if (entries.empty()) return {};
  std::sort(entries.begin(), entries.end());
  std::string value;
  ByteWriter writer(value);
  writer.Put(kVersion);
  for (const AclEntry& acl_entry : entries) {
    writer.Put(acl_entry.tag);
    writer.Put(acl_entry.permissions);
    writer.Put(acl_entry.id);
  }
  return value;
}

bool AddAclToEntry(archive_entry* entry, int type, std::string_view value) {
  auto entries = Decode(value);
  if (!entries) return false;
  for (const AclEntry& acl_entry : *entries) {
    auto known = std::find_if(kTags.begin(), kTags.end(),
                              [&](const Tag& row) { return row.linux_tag == acl_entry.tag; });
    if (known == kTags.end()) return false;
    const int id = known->has_id ? static_cast<int>(acl_entry.id) : -1;
    if (archive_entry_acl_add_entry(entry, type, acl_entry.permissions, known->archive_tag, id,
                                    nullptr) != ARCHIVE_OK)
      return false;
  }
  return true;
}

std::optional<uint32_t> AclMaskOf(std::string_view value) {
  auto entries = Decode(value);
  if (!entries) return {};
  for (const AclEntry& entry : *entries)
    if (entry.tag == kMaskTag) return entry.permissions;
  return {};
}

}  // namespace prism::tool
