#include "tests/model/acl.h"

#include <algorithm>

#include "fs/base/bytes.h"

namespace prism::model {
namespace {

constexpr uint32_t kVersion = 2;

bool NamesSomebody(AclTag tag) { return tag == AclTag::kUser || tag == AclTag::kGroup; }

AclEntry* FindTag(Acl& acl, AclTag tag) {
  auto found = std::find_if(acl.begin(), acl.end(), [&](auto& e) { return e.tag == tag; });
  return found == acl.end() ? nullptr : &*found;
}

uint16_t PermOf(const Acl& acl, AclTag tag) {
  const AclEntry* entry = FindTag(const_cast<Acl&>(acl), tag);
  return entry == nullptr ? 0 : entry->perm;
}

// The entry whose bits the mode's group bits stand for.
AclEntry* GroupClass(Acl& acl) {
  AclEntry* mask = FindTag(acl, AclTag::kMask);
  return mask != nullptr ? mask : FindTag(acl, AclTag::kGroupObj);
}

bool IsValid(const Acl& acl) {
  auto count = [&](AclTag tag) {
    return std::count_if(acl.begin(), acl.end(), [&](auto& e) { return e.tag == tag; });
  };
  if (count(AclTag::kUserObj) != 1 || count(AclTag::kGroupObj) != 1) return false;
  if (count(AclTag::kOther) != 1 || count(AclTag::kMask) > 1) return false;
  if (count(AclTag::kUser) + count(AclTag::kGroup) > 0 && count(AclTag::kMask) == 0) return false;
  return std::is_sorted(acl.begin(), acl.end(), [](auto& a, auto& b) { return a.tag < b.tag; });
}

}  // namespace

std::string EncodeAcl(const Acl& acl) {
  std::string bytes;
  ByteWriter writer(bytes);
  writer.Put(kVersion);
  for (const AclEntry& entry : acl) {
    writer.Put(static_cast<uint16_t>(entry.tag));
    writer.Put(entry.perm);
    writer.Put(entry.id);
  }
  return bytes;
}

Result<Acl> DecodeAcl(std::string_view bytes) {
  if (bytes.empty()) return Acl{};
  ByteReader reader(bytes);
  uint32_t version = reader.Get<uint32_t>();
  if (reader.failed()) return Fail(Err::kInvalid);
  if (version != kVersion) return Fail(Err::kNotSupported);
  if (reader.remaining() % 8 != 0) return Fail(Err::kInvalid);
  Acl acl;
  while (reader.remaining() > 0) {
    AclEntry entry;
    entry.tag = static_cast<AclTag>(reader.Get<uint16_t>());
    entry.perm = reader.Get<uint16_t>();
    entry.id = reader.Get<uint32_t>();
    if ((entry.perm & ~7) != 0) return Fail(Err::kInvalid);
    if (!NamesSomebody(entry.tag)) entry.id = kAclNoId;
    if (NamesSomebody(entry.tag) && entry.id == kAclNoId) return Fail(Err::kInvalid);
    switch (entry.tag) {
      case AclTag::kUserObj:
      case AclTag::kUser:
      case AclTag::kGroupObj:
      case AclTag::kGroup:
      case AclTag::kMask:
      case AclTag::kOther:
        break;
      default:
        return Fail(Err::kInvalid);
    }
    acl.push_back(entry);
  }
  if (!acl.empty() && !IsValid(acl)) return Fail(Err::kInvalid);
  return acl;
}

uint32_t ModeOfAcl(const Acl& acl) {
  uint32_t group = GroupClass(const_cast<Acl&>(acl))->perm;
  return (PermOf(acl, AclTag::kUserObj) << 6) | (group << 3) | PermOf(acl, AclTag::kOther);
}

bool AclIsOnlyMode(const Acl& acl) { return acl.size() == 3; }

void ApplyModeToAcl(uint32_t mode, Acl& acl) {
  FindTag(acl, AclTag::kUserObj)->perm = (mode >> 6) & 7;
  GroupClass(acl)->perm = (mode >> 3) & 7;
  FindTag(acl, AclTag::kOther)->perm = mode & 7;
}

Acl InheritAcl(const Acl& default_acl, uint32_t& mode) {
  Acl acl = default_acl;
  ApplyModeToAcl(ModeOfAcl(acl) & mode, acl);
  mode = (mode & ~0777u) | ModeOfAcl(acl);
  return AclIsOnlyMode(acl) ? Acl{} : acl;
}

bool InGroup(const fs::Caller& caller, uint32_t gid) {
  return caller.gid == gid ||
         std::find(caller.groups.begin(), caller.groups.end(), gid) != caller.groups.end();
}

namespace {

uint32_t GrantedByAcl(const fs::Caller& caller, uint32_t gid, const Acl& acl, uint32_t want) {
  uint32_t mask = 7;
  for (const AclEntry& entry : acl)
    if (entry.tag == AclTag::kMask) mask = entry.perm;
  for (const AclEntry& entry : acl)
    if (entry.tag == AclTag::kUser && entry.id == caller.uid) return entry.perm & mask & want;

  // Among the groups one entry that grants everything wanted is enough; entries do not add up.
  bool member = false;
  for (const AclEntry& entry : acl) {
    bool matches = (entry.tag == AclTag::kGroupObj && InGroup(caller, gid)) ||
                   (entry.tag == AclTag::kGroup && InGroup(caller, entry.id));
    if (!matches) continue;
    member = true;
    if ((entry.perm & mask & want) == want) return want;
  }
  return member ? 0 : PermOf(acl, AclTag::kOther) & want;
}

}  // namespace

uint32_t GrantedBy(const fs::Caller& caller, uint32_t uid, uint32_t gid, uint32_t mode,
                   const Acl& acl, uint32_t want) {
  if (caller.uid == uid) return (mode >> 6) & want;
  if (!acl.empty()) return GrantedByAcl(caller, gid, acl, want);
  if (InGroup(caller, gid)) return (mode >> 3) & want;
  return mode & want;
}

}  // namespace prism::model
