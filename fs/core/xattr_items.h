// Extended attributes as kXattr items.
//
// lo = a 59-bit keyed hash of the name, times 16, plus a slot; value: name length u8, name, value.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "cow/volume_map.h"
#include "fs/base/function_ref.h"
#include "fs/core/dir_cookie.h"
#include "fs/core/inode_record.h"

namespace prism::fs {

inline constexpr std::string_view kAccessAclName = "system.posix_acl_access";
inline constexpr std::string_view kDefaultAclName = "system.posix_acl_default";
inline constexpr std::string_view kCapabilityName = "security.capability";

// nullopt: it has none of that name.
Result<std::optional<std::string>> LoadXattr(const cow::ReadView& view, const HashKeys& key,
                                             const InodeRecord& record, std::string_view name);
// Visits the names in key order.
Status ListXattrs(const cow::ReadView& view, const InodeRecord& record,
                  FunctionRef<void(std::string_view)> visitor);

// Adds or replaces; keeps the record's flags and xattr_name_bytes right, the caller stores it.
// kNoSpace: more names than listxattr can return.
Status PutXattr(cow::WriteTransaction& transaction, const HashKeys& key, InodeRecord& record,
                std::string_view name, std::string_view value);
// False: there was none.
Result<bool> EraseXattr(cow::WriteTransaction& transaction, const HashKeys& key,
                        InodeRecord& record, std::string_view name);

}  // namespace prism::fs
