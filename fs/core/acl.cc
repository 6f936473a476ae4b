#include "fs/core/acl.h"

#include <algorithm>

#include "fs/base/bytes.h"

namespace prism::fs {
namespace {

constexpr uint32_t kAclVersion = 2;
constexpr uint32_t kNoId = 0xffffffff;

bool HasId(uint16_t tag) { return tag == kAclUser || tag == kAclGroup; }

AclEntry* Find(Acl& acl, uint16_t tag) {
  auto found = std::find_if(acl.begin(), acl.end(), [&](auto& entry) { return entry.tag == tag; });
  return found == acl.end() ? nullptr : &*found;
}

const AclEntry* Find(const Acl& acl, uint16_t tag) { return Find(const_cast<Acl&>(acl), tag); }

// The entry that the group bits of the mode stand for.
AclEntry* GroupClass(Acl& acl) {
  AclEntry* mask = Find(acl, kAclMask);
  return mask != nullptr ? mask : Find(acl, kAclGroupObj);
}

bool IsValidSet(const Acl& acl) {
  size_t owners = 0, groups = 0, others = 0, masks = 0, named = 0;
  uint16_t last = 0;
  for (const AclEntry& entry : acl) {
    owners += entry.tag == kAclUserObj;
    groups += entry.tag == kAclGroupObj;
    others += entry.tag == kAclOther;
    masks += entry.tag == kAclMask;
    named += HasId(entry.tag);
    if (entry.tag < last) return false;
    last = entry.tag;
  }
  return owners == 1 && groups == 1 && others == 1 && masks <= 1 && (named == 0 || masks == 1);
}

}  // namespace

Result<Acl> ParseAcl(std::string_view value) {
  if (value.empty()) return Acl{};
  ByteReader reader(value);
  const uint32_t version = reader.Get<uint32_t>();
  if (reader.failed()) return Fail(Err::kInvalid);
  if (version != kAclVersion) return Fail(Err::kNotSupported);
  if (reader.remaining() % 8 != 0) return Fail(Err::kInvalid);
  Acl acl;
  acl.reserve(reader.remaining() / 8);
  while (reader.remaining() > 0) {
    AclEntry entry;
    entry.tag = reader.Get<uint16_t>();
    entry.perm = reader.Get<uint16_t>();
    entry.id = reader.Get<uint32_t>();
    if (entry.perm > 7) return Fail(Err::kInvalid);
    switch (entry.tag) {
      case kAclUser:
      case kAclGroup:
        if (entry.id == kNoId) return Fail(Err::kInvalid);
        break;
      case kAclUserObj:
      case kAclGroupObj:
      case kAclMask:
      case kAclOther:
        entry.id = kNoId;
        break;
      default:
        return Fail(Err::kInvalid);
    }
    acl.push_back(entry);
  }
  if (!acl.empty() && !IsValidSet(acl)) return Fail(Err::kInvalid);
  return acl;
}

std::string FormatAcl(const Acl& acl) {
  std::string value;
  value.reserve(4 + 8 * acl.size());
  ByteWriter writer(value);
  writer.Put(kAclVersion);
  for (const AclEntry& entry : acl) {
    writer.Put(entry.tag);
    writer.Put(entry.perm);
    writer.Put(entry.id);
  }
  return value;
}

uint32_t ModeOfAcl(const Acl& acl) {
  Acl& entries = const_cast<Acl&>(acl);
  return static_cast<uint32_t>(Find(entries, kAclUserObj)->perm << 6) |
         static_cast<uint32_t>(GroupClass(entries)->perm << 3) | Find(entries, kAclOther)->perm;
}

bool IsMinimalAcl(const Acl& acl) { return acl.size() == 3; }

void ApplyModeToAcl(Acl& acl, uint32_t mode) {
  Find(acl, kAclUserObj)->perm = (mode >> 6) & 7;
  GroupClass(acl)->perm = (mode >> 3) & 7;
  Find(acl, kAclOther)->perm = mode & 7;
}

uint32_t InheritAcl(Acl& acl, uint32_t mode) {
  Find(acl, kAclUserObj)->perm &= (mode >> 6) & 7;
  GroupClass(acl)->perm &= (mode >> 3) & 7;
  Find(acl, kAclOther)->perm &= mode & 7;
  return ModeOfAcl(acl);
}

bool InGroup(const AclSubject& subject, uint32_t gid) {
  return subject.gid == gid ||
         std::find(subject.groups.begin(), subject.groups.end(), gid) != subject.groups.end();
}

bool AclGrants(const Acl& acl, const AclSubject& subject, uint32_t owner, uint32_t group,
               uint32_t want) {
  const AclEntry* mask_entry = Find(acl, kAclMask);
  const uint32_t mask = mask_entry == nullptr ? 7 : mask_entry->perm;
  if (subject.uid == owner) return (Find(acl, kAclUserObj)->perm & want) == want;
  for (const AclEntry& entry : acl)
    if (entry.tag == kAclUser && entry.id == subject.uid) return (entry.perm & mask & want) == want;
  bool in_some_group = false;
  for (const AclEntry& entry : acl) {
    const bool applies = (entry.tag == kAclGroupObj && InGroup(subject, group)) ||
                         (entry.tag == kAclGroup && InGroup(subject, entry.id));
    if (!applies) continue;
    in_some_group = true;
    if ((entry.perm & mask & want) == want) return true;
  }
  return !in_some_group && (Find(acl, kAclOther)->perm & want) == want;
}

}  // namespace prism::fs
