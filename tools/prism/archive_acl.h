// POSIX ACLs between the form of Linux's extended attributes and libarchive's.
//
// Linux: a little-endian u32 version (2), then per entry u16 tag, u16 permissions, u32 id, ordered
// by tag and id (linux/posix_acl_xattr.h).
#pragma once

#include <archive_entry.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace prism::tool {

// The attribute's value for one kind of ACL (ARCHIVE_ENTRY_ACL_TYPE_ACCESS or _DEFAULT) of an
// entry; empty if it has none.
std::string AclXattrOf(archive_entry* entry, int type);

// Adds an attribute's value to an entry; false if it is not a valid ACL.
bool AddAclToEntry(archive_entry* entry, int type, std::string_view value);

// The permissions of the ACL's mask, which stat(2) shows as those of the group; nothing without
// one.
std::optional<uint32_t> AclMaskOf(std::string_view value);

}  // namespace prism::tool
