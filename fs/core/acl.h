// POSIX access control lists (POSIX 1003.1e draft 17, acl(5)) in the form that Linux passes them:
// a header of version 2 u32, then per entry tag u16, permissions u16, id u32, little-endian.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/error.h"

namespace prism::fs {

enum AclTag : uint16_t {  // linux/posix_acl.h
  kAclUserObj = 0x01,
  kAclUser = 0x02,
  kAclGroupObj = 0x04,
  kAclGroup = 0x08,
  kAclMask = 0x10,
  kAclOther = 0x20,
};

struct AclEntry {
  uint16_t tag = 0;
  uint16_t perm = 0;  // rwx
  uint32_t id = 0;    // of kAclUser and kAclGroup
  bool operator==(const AclEntry&) const = default;
};

// In the order of tags: owner, users, owning group, groups, mask, other.
using Acl = std::vector<AclEntry>;

// As Linux' posix_acl_valid. kInvalid: malformed, out of order, a required entry missing or twice,
// or entries that need a mask without one. kNotSupported: another version. An empty list (nothing,
// or a header alone) is valid: it means "none".
Result<Acl> ParseAcl(std::string_view value);
std::string FormatAcl(const Acl& acl);

// The permission bits that stat shows for this ACL: owner, mask (or owning group), other.
uint32_t ModeOfAcl(const Acl& acl);
// True if it says no more than those bits do.
bool IsMinimalAcl(const Acl& acl);
// chmod: owner, mask (or owning group) and other become those of mode.
void ApplyModeToAcl(Acl& acl, uint32_t mode);
// What a new file gets from its directory's default ACL: masks `acl` by the mode that was asked
// for, and returns the permission bits that result (posix_acl_create).
uint32_t InheritAcl(Acl& acl, uint32_t mode);

struct AclSubject {
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::span<const uint32_t> groups = {};
};
bool InGroup(const AclSubject& subject, uint32_t gid);
// acl(5), "Access check algorithm". want: rwx bits, all of which must be granted.
bool AclGrants(const Acl& acl, const AclSubject& subject, uint32_t owner, uint32_t group,
               uint32_t want);

}  // namespace prism::fs
