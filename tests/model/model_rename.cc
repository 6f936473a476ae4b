// Unlink, Rmdir, Rename, in the order of checks of Linux' fs/namei.c.
#include "tests/model/model_file_system.h"
#include "tests/model/node.h"

namespace prism::model {

Status ModelFileSystem::MayRemove(const fs::Caller& caller, const Node& dir, const Node& victim,
                                  bool as_directory) const {
  PRISM_TRY(Check(caller, dir, kMayWrite | kMayExecute));
  bool sticky = (dir.mode & 01000) != 0;
  if (sticky && !IsOwner(caller, dir) && !IsOwner(caller, victim)) return Fail(Err::kPerm);
  if (as_directory && !victim.is_directory()) return Fail(Err::kNotDirectory);
  if (!as_directory && victim.is_directory()) return Fail(Err::kIsDirectory);
  return {};
}

Result<fs::RemoveResult> ModelFileSystem::Remove(const fs::Caller& caller, InodeId dir_ino,
                                                 std::string_view name, bool as_directory) {
  PRISM_ASSIGN(Entry entry, FindEntry(caller, dir_ino, name));
  if (entry.node == nullptr) return Fail(Err::kNoEntry);
  Node& dir = *entry.dir;
  Node& node = *entry.node;
  PRISM_TRY(MayRemove(caller, dir, node, as_directory));
  if (as_directory && !node.entries.empty()) return Fail(Err::kNotEmpty);
  PRISM_TRY(Changeable({&dir, &node}));

  fs::RemoveResult result;
  result.parent.before = AttrOf(dir);
  RemoveEntry(dir, name, node);
  node.nlink = as_directory ? 0 : node.nlink - 1;
  Touch(node);
  result.parent.after = AttrOf(dir);
  result.removed = AttrOf(node);
  Notify(fs::Event::Kind::kEntry, dir_ino, name);
  if (node.nlink == 0) {
    Orphan(node);
  } else {
    Notify(fs::Event::Kind::kInode, node.ino);
  }
  return result;
}

Result<fs::RemoveResult> ModelFileSystem::Unlink(const fs::Caller& caller, InodeId dir,
                                                 std::string_view name) {
  std::lock_guard lock(world_->mutex);
  PRISM_TRY(Writable());
  return Remove(caller, dir, name, false);
}

Result<fs::RemoveResult> ModelFileSystem::Rmdir(const fs::Caller& caller, InodeId dir,
                                                std::string_view name) {
  std::lock_guard lock(world_->mutex);
  PRISM_TRY(Writable());
  return Remove(caller, dir, name, true);
}

// True for a directory and itself as well. One that was removed is inside of nothing.
bool ModelFileSystem::IsInside(const Node& inner, const Node& outer) {
  if (inner.nlink == 0) return false;
  const Node* node = &inner;
  while (node->ino != outer.ino) {
    if (node->ino == kRootInode) return false;
    node = &volume_->nodes.at(node->parent);
  }
  return true;
}

Status ModelFileSystem::MayRename(const fs::Caller& caller, const Entry& from, const Entry& to,
                                  uint32_t flags) {
  bool exchange = (flags & fs::kRenameExchange) != 0;
  bool is_directory = from.node->is_directory();
  PRISM_TRY(MayRemove(caller, *from.dir, *from.node, is_directory));
  if (to.node == nullptr) {
    if (to.dir->nlink == 0) return Fail(Err::kNoEntry);
    PRISM_TRY(Check(caller, *to.dir, kMayWrite | kMayExecute));
  } else {
    bool as_directory = exchange ? to.node->is_directory() : is_directory;
    PRISM_TRY(MayRemove(caller, *to.dir, *to.node, as_directory));
  }
  if (from.dir != to.dir) {  // ".." changes
    if (is_directory) PRISM_TRY(Check(caller, *from.node, kMayWrite));
    if (exchange && to.node->is_directory()) PRISM_TRY(Check(caller, *to.node, kMayWrite));
  }
  if (to.node != nullptr && !exchange && !to.node->entries.empty()) return Fail(Err::kNotEmpty);
  return {};
}

Result<fs::RenameResult> ModelFileSystem::Rename(const fs::Caller& caller, InodeId from_dir,
                                                 std::string_view from_name, InodeId to_dir,
                                                 std::string_view to_name, uint32_t flags) {
  std::lock_guard lock(world_->mutex);
  PRISM_TRY(Writable());
  bool exchange = flags == fs::kRenameExchange;
  for (std::string_view name : {from_name, to_name}) PRISM_TRY(fs::CheckName(name));
  if (flags > fs::kRenameExchange) return Fail(Err::kInvalid);
  for (InodeId dir : {from_dir, to_dir}) PRISM_TRY(FindDirectory(dir));
  PRISM_ASSIGN(Entry from, FindEntry(caller, from_dir, from_name));
  PRISM_ASSIGN(Entry to, FindEntry(caller, to_dir, to_name));
  if (from.node == nullptr) return Fail(Err::kNoEntry);
  if (to.node != nullptr && flags == fs::kRenameNoReplace) return Fail(Err::kExists);
  if (to.node == nullptr && exchange) return Fail(Err::kNoEntry);
  if (from.node->is_directory() && IsInside(*to.dir, *from.node)) return Fail(Err::kInvalid);
  if (to.node != nullptr && to.node->is_directory() && IsInside(*from.dir, *to.node))
    return Fail(exchange ? Err::kInvalid : Err::kNotEmpty);

  fs::RenameResult result;
  result.from_parent.before = AttrOf(*from.dir);
  result.to_parent.before = AttrOf(*to.dir);
  bool same = from.node == to.node;  // two names of one file, or one name: nothing happens
  if (!same) {
    PRISM_TRY(MayRename(caller, from, to, flags));
    PRISM_TRY(Changeable({from.dir, from.node, to.dir, to.node}));
    RemoveEntry(*from.dir, from_name, *from.node);
    if (to.node != nullptr) RemoveEntry(*to.dir, to_name, *to.node);
    AddEntry(*to.dir, to_name, *from.node);
    if (exchange) AddEntry(*from.dir, from_name, *to.node);
    Touch(*from.node);
    if (to.node != nullptr) {
      if (!exchange) to.node->nlink = to.node->is_directory() ? 0 : to.node->nlink - 1;
      Touch(*to.node);
    }
    Notify(fs::Event::Kind::kEntry, from_dir, from_name);
    Notify(fs::Event::Kind::kEntry, to_dir, to_name);
    Notify(fs::Event::Kind::kInode, from.node->ino);
  }
  result.from_parent.after = AttrOf(*from.dir);
  result.to_parent.after = AttrOf(*to.dir);
  result.moved = AttrOf(*from.node);
  if (to.node != nullptr && !same) {
    result.replaced = AttrOf(*to.node);
    if (to.node->nlink == 0) {
      Orphan(*to.node);
    } else {
      Notify(fs::Event::Kind::kInode, to.node->ino);
    }
  }
  return result;
}

}  // namespace prism::model
