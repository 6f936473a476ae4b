// Operations on one inode of the model: permissions, attributes, attributes by name, data.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tests/model/volume.h"

namespace prism::model {

inline constexpr uint32_t kMayRead = 4;
inline constexpr uint32_t kMayWrite = 2;
inline constexpr uint32_t kMayExecute = 1;

// The subset of `want` that is granted to the caller, root's privileges included.
uint32_t Granted(const fs::Caller& caller, const Node& node, uint32_t want);
// kAccess unless all of `want` is granted, or nothing is to be checked.
Status Check(const fs::Caller& caller, const Node& node, uint32_t want);
// The same for data: nobody opens a file here, so its owner may always read and write what he could
// open when he made it (RFC 1813, section 4.4), and who may execute a file may read it.
Status CheckData(const fs::Caller& caller, const Node& node, uint32_t want);
bool IsOwner(const fs::Caller& caller, const Node& node);  // or root, or nothing is checked

// ctime now, and a new change number.
void Touch(Node& node);
void TouchData(Node& node);    // mtime too
void TouchAccess(Node& node);  // atime by the rule of relatime
void KillPrivileges(Node& node);

Status CheckSetAttr(const fs::Caller& caller, const Node& node, const fs::SetAttr& changes);
// Without permission checks. A mode is taken as it is.
void ApplySetAttr(Node& node, const fs::SetAttr& changes);
// What to do in the name of this caller: set-id bits that he may not give fall away.
fs::SetAttr Effective(const fs::Caller& caller, const Node& node, const fs::SetAttr& changes);

Status CheckXattrName(const Node& node, std::string_view name);
Status SetXattr(Node& node, std::string_view name, std::string_view value, fs::XattrMode mode);
std::vector<std::string> XattrNames(const Node& node);

void WriteBytes(Node& node, uint64_t offset, std::string_view bytes);  // grows the file
std::string ReadBytes(const Node& node, uint64_t offset, uint64_t length);
void Resize(Node& node, uint64_t size);
void Punch(Node& node, uint64_t offset, uint64_t length);

}  // namespace prism::model
