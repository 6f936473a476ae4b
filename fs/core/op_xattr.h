// Checks of arguments that Create shares with Setattr and Setxattr.
#pragma once

#include <string_view>

#include "fs/contract/file_system.h"

namespace prism::fs {

// A name of one of the namespaces user, trusted and security, or one of the two ACLs, and a value
// that it may have on a file of this type.
Status CheckXattr(FileType type, std::string_view name, std::string_view value);
// The same of the name alone. kPerm: user attributes are for files and directories.
Status CheckXattrName(FileType type, std::string_view name);

// kInvalid: nanoseconds of a second or more.
Status CheckTimes(const SetAttr& changes);

}  // namespace prism::fs
