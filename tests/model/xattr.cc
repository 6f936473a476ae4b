#include <algorithm>

#include "tests/model/node.h"

namespace prism::model {
namespace {

constexpr std::string_view kAccessAcl = "system.posix_acl_access";
constexpr std::string_view kDefaultAcl = "system.posix_acl_default";

Status SetAcl(Node& node, std::string_view name, std::string_view value) {
  if (node.type == fs::FileType::kSymlink)
    return value.empty() ? Status() : Status(Fail(Err::kNotSupported));
  PRISM_ASSIGN(Acl acl, DecodeAcl(value));
  if (name == kDefaultAcl) {
    if (!node.is_directory() && !acl.empty()) return Fail(Err::kAccess);
    node.default_acl = acl;
  } else {
    node.access_acl.clear();
    if (!acl.empty()) {
      node.mode = (node.mode & ~0777u) | ModeOfAcl(acl);
      if (!AclIsOnlyMode(acl)) node.access_acl = acl;
    }
  }
  Touch(node);
  return {};
}

}  // namespace

Status CheckXattrName(const Node& node, std::string_view name) {
  if (name.empty() || name.size() > fs::kXattrNameMax) return Fail(Err::kRange);
  if (name.find('\0') != name.npos) return Fail(Err::kInvalid);
  if (name == kAccessAcl || name == kDefaultAcl) return {};
  for (std::string_view prefix : {"user.", "trusted.", "security."}) {
    if (!name.starts_with(prefix)) continue;
    if (name.size() == prefix.size()) return Fail(Err::kInvalid);
    bool holds_user = node.is_directory() || node.type == fs::FileType::kRegular;
    return prefix == "user." && !holds_user ? Status(Fail(Err::kPerm)) : Status();
  }
  return Fail(Err::kNotSupported);
}

std::vector<std::string> XattrNames(const Node& node) {
  std::vector<std::string> names;
  if (!node.access_acl.empty()) names.emplace_back(kAccessAcl);
  if (!node.default_acl.empty()) names.emplace_back(kDefaultAcl);
  for (const auto& [name, value] : node.xattrs) names.push_back(name);
  return names;
}

Status SetXattr(Node& node, std::string_view name, std::string_view value, fs::XattrMode mode) {
  if (mode > fs::XattrMode::kReplace) return Fail(Err::kInvalid);
  PRISM_TRY(CheckXattrName(node, name));
  if (value.size() > fs::kXattrValueMax) return Fail(Err::kTooBig);
  if (name == kAccessAcl || name == kDefaultAcl) return SetAcl(node, name, value);

  bool exists = node.xattrs.contains(std::string(name));
  if (exists && mode == fs::XattrMode::kCreate) return Fail(Err::kExists);
  if (!exists && mode == fs::XattrMode::kReplace) return Fail(Err::kNoAttribute);
  if (!exists) {
    size_t list_size = name.size() + 1;
    for (const std::string& other : XattrNames(node)) list_size += other.size() + 1;
    if (list_size > fs::kXattrListMax) return Fail(Err::kNoSpace);
  }
  node.xattrs[std::string(name)] = value;
  Touch(node);
  return {};
}

}  // namespace prism::model
