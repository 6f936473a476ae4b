// POSIX 1003.1e access control lists as Linux knows them: the bytes of system.posix_acl_access and
// system.posix_acl_default (acl(5), linux/posix_acl_xattr.h), their relation to the mode bits, and
// the permission check.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/error.h"
#include "fs/contract/file_system.h"

namespace prism::model {

enum class AclTag : uint16_t {
  kUserObj = 0x01,
  kUser = 0x02,
  kGroupObj = 0x04,
  kGroup = 0x08,
  kMask = 0x10,
  kOther = 0x20,
};

inline constexpr uint32_t kAclNoId = 0xffffffff;  // of entries that name nobody

struct AclEntry {
  AclTag tag = AclTag::kUserObj;
  uint16_t perm = 0;  // r 4, w 2, x 1
  uint32_t id = kAclNoId;
  bool operator==(const AclEntry&) const = default;
};

// In the order of the tags above. Empty: there is no list.
using Acl = std::vector<AclEntry>;

std::string EncodeAcl(const Acl& acl);
// kInvalid for anything the kernel's posix_acl_valid() refuses; kNotSupported for another version.
// No bytes, and a header alone, are the empty list.
Result<Acl> DecodeAcl(std::string_view bytes);

// The nine permission bits that stand for this list.
uint32_t ModeOfAcl(const Acl& acl);
// True when the nine bits say all that the list says.
bool AclIsOnlyMode(const Acl& acl);
// chmod(2) of a file with a list: owner, mask (or group, without a mask) and others follow.
void ApplyModeToAcl(uint32_t mode, Acl& acl);
// What a new file gets from its directory's default list: changes `mode` (its nine bits) and
// returns the access list, which is empty when the mode says all.
Acl InheritAcl(const Acl& default_acl, uint32_t& mode);

bool InGroup(const fs::Caller& caller, uint32_t gid);
// The bits of `want` (r 4, w 2, x 1) that are granted, without regard to root's privileges.
uint32_t GrantedBy(const fs::Caller& caller, uint32_t uid, uint32_t gid, uint32_t mode,
                   const Acl& acl, uint32_t want);

}  // namespace prism::model
