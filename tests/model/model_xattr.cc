// Extended attributes: who may do what (xattr(7)); tests/model/xattr.cc has the rest.
#include "tests/model/model_file_system.h"
#include "tests/model/node.h"

namespace prism::model {
namespace {

bool IsAcl(std::string_view name) { return name.starts_with("system."); }

Status MayWriteXattr(const fs::Caller& caller, const Node& node, std::string_view name) {
  if (!caller.check_permission || caller.uid == 0) return {};
  if (name.starts_with("trusted.") || name.starts_with("security.")) return Fail(Err::kPerm);
  bool sticky = node.is_directory() && (node.mode & 01000) != 0;
  if ((IsAcl(name) || sticky) && !IsOwner(caller, node)) return Fail(Err::kPerm);
  return IsAcl(name) ? Status() : Check(caller, node, kMayWrite);
}

Status MayReadXattr(const fs::Caller& caller, const Node& node, std::string_view name) {
  if (!caller.check_permission || caller.uid == 0) return {};
  if (name.starts_with("trusted.")) return Fail(Err::kNoAttribute);
  return name.starts_with("user.") ? Check(caller, node, kMayRead) : Status();
}

}  // namespace

Result<std::string> ModelFileSystem::Getxattr(const fs::Caller& caller, InodeId ino,
                                              std::string_view name) {
  std::lock_guard lock(world_->mutex);
  PRISM_ASSIGN(Node * node, Find(ino));
  if (Status valid = CheckXattrName(*node, name); !valid)
    return Fail(valid.error() == Err::kPerm ? Err::kNoAttribute : valid.error());
  PRISM_TRY(MayReadXattr(caller, *node, name));
  if (IsAcl(name)) {
    const Acl& acl = name == "system.posix_acl_default" ? node->default_acl : node->access_acl;
    if (acl.empty()) return Fail(Err::kNoAttribute);
    return EncodeAcl(acl);
  }
  auto found = node->xattrs.find(std::string(name));
  if (found == node->xattrs.end()) return Fail(Err::kNoAttribute);
  return found->second;
}

Status ModelFileSystem::Setxattr(const fs::Caller& caller, InodeId ino, std::string_view name,
                                 std::string_view value, fs::XattrMode mode) {
  std::lock_guard lock(world_->mutex);
  PRISM_TRY(Writable());
  PRISM_ASSIGN(Node * node, Find(ino));
  PRISM_TRY(CheckXattrName(*node, name));
  PRISM_TRY(MayWriteXattr(caller, *node, name));
  if (IsAcl(name) && node->type == fs::FileType::kSymlink) return Fail(Err::kNotSupported);
  Node changed = *node;
  PRISM_TRY(SetXattr(changed, name, value, mode));
  PRISM_TRY(Changeable({node}));
  *node = std::move(changed);
  bool keeps_set_gid = !caller.check_permission || caller.uid == 0 || InGroup(caller, node->gid);
  if (IsAcl(name) && !keeps_set_gid) node->mode &= ~02000u;
  Notify(fs::Event::Kind::kInode, ino);
  return {};
}

Result<std::vector<std::string>> ModelFileSystem::Listxattr(const fs::Caller& caller, InodeId ino) {
  std::lock_guard lock(world_->mutex);
  PRISM_ASSIGN(Node * node, Find(ino));
  std::vector<std::string> names = XattrNames(*node);
  if (caller.check_permission && caller.uid != 0)
    std::erase_if(names, [](const std::string& name) { return name.starts_with("trusted."); });
  return names;
}

Status ModelFileSystem::Removexattr(const fs::Caller& caller, InodeId ino, std::string_view name) {
  std::lock_guard lock(world_->mutex);
  PRISM_TRY(Writable());
  PRISM_ASSIGN(Node * node, Find(ino));
  PRISM_TRY(CheckXattrName(*node, name));
  PRISM_TRY(MayWriteXattr(caller, *node, name));
  if (!IsAcl(name) && !node->xattrs.contains(std::string(name))) return Fail(Err::kNoAttribute);
  PRISM_TRY(Changeable({node}));
  if (IsAcl(name)) {
    PRISM_TRY(SetXattr(*node, name, {}, fs::XattrMode::kSet));
  } else {
    node->xattrs.erase(std::string(name));
    Touch(*node);
  }
  Notify(fs::Event::Kind::kInode, ino);
  return {};
}

}  // namespace prism::model
