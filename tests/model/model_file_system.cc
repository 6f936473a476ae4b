#include "tests/model/model_file_system.h"

#include <algorithm>

#include "fs/base/check.h"
#include "tests/model/node.h"

namespace prism::model {

ModelFileSystem::ModelFileSystem(std::shared_ptr<World> world, std::shared_ptr<Volume> volume)
    : world_(std::move(world)), volume_(std::move(volume)) {
  volume_->attached.push_back(this);
}

ModelFileSystem::~ModelFileSystem() {
  std::lock_guard lock(world_->mutex);
  std::erase(volume_->attached, this);
  volume_->locks.Drop(this, 0, {});
  GrantLocks();
  std::set<InodeId> held = std::move(held_);
  held_.clear();
  for (InodeId ino : held) Forget(ino);
}

void ModelFileSystem::SetListener(fs::EventListener* listener) {
  std::lock_guard lock(world_->mutex);  // listeners are called under it
  listener_ = listener;
}

void ModelFileSystem::Notify(fs::Event::Kind kind, InodeId ino, std::string_view name) {
  for (ModelFileSystem* other : volume_->attached)
    if (other != this && other->listener_ != nullptr)
      other->listener_->OnEvent({kind, ino, std::string(name)});
}

void ModelFileSystem::Orphan(Node& node) {
  PRISM_CHECK(node.nlink == 0);
  for (ModelFileSystem* holder : volume_->attached) holder->held_.insert(node.ino);
  Notify(fs::Event::Kind::kOrphaned, node.ino);
}

void ModelFileSystem::Forget(InodeId ino) {
  for (const ModelFileSystem* holder : volume_->attached)
    if (holder->held_.contains(ino)) return;
  volume_->nodes.erase(ino);
}

void ModelFileSystem::TreeReplaced() {
  std::erase_if(held_, [&](InodeId ino) {
    auto found = volume_->nodes.find(ino);
    return found == volume_->nodes.end() || found->second.nlink > 0;
  });
  if (listener_ != nullptr) listener_->OnEvent({fs::Event::Kind::kAll, 0, {}});
}

Status ModelFileSystem::Release(const fs::Caller&, InodeId ino) {
  std::lock_guard lock(world_->mutex);
  if (volume_->destroyed) return Fail(Err::kStale);
  volume_->locks.Drop(this, ino, {});
  GrantLocks();
  if (held_.erase(ino) == 0) return Fail(Err::kInvalid);
  Forget(ino);
  return {};
}

Status ModelFileSystem::Writable() const {
  if (volume_->destroyed) return Fail(Err::kStale);
  if (volume_->read_only()) return Fail(Err::kReadOnly);
  return {};
}

Status ModelFileSystem::Changeable(std::initializer_list<const Node*> nodes) {
  for (const Node* node : nodes)
    if (node != nullptr && node->read_only) return Fail(Err::kReadOnly);
  return {};
}

Result<Node*> ModelFileSystem::Find(InodeId ino) {
  if (volume_->destroyed) return Fail(Err::kStale);
  auto found = volume_->nodes.find(ino);
  if (found == volume_->nodes.end()) return Fail(Err::kStale);
  // What had lost its last name before the snapshot was made has nobody to hold it there.
  if (volume_->is_snapshot() && found->second.nlink == 0) return Fail(Err::kStale);
  return &found->second;
}

Result<Node*> ModelFileSystem::FindDirectory(InodeId ino) {
  PRISM_ASSIGN(Node * node, Find(ino));
  if (!node->is_directory()) return Fail(Err::kNotDirectory);
  return node;
}

Result<Node*> ModelFileSystem::FindRegular(InodeId ino) {
  PRISM_ASSIGN(Node * node, Find(ino));
  if (node->is_directory()) return Fail(Err::kIsDirectory);
  if (node->type != fs::FileType::kRegular) return Fail(Err::kInvalid);
  return node;
}

Result<fs::StatfsResult> ModelFileSystem::Statfs(const fs::Caller&) {
  std::lock_guard lock(world_->mutex);
  if (volume_->destroyed) return Fail(Err::kStale);
  fs::StatfsResult result;
  result.files = volume_->nodes.size();
  for (const auto& [ino, node] : volume_->nodes) result.used_bytes += AttrOf(node).used_bytes;
  result.free_bytes = kFreeBytes;
  result.total_bytes = result.used_bytes + result.free_bytes;
  result.free_files = kInodeMax - world_->last_ino;
  return result;
}

Result<fs::EntryResult> ModelFileSystem::Lookup(const fs::Caller& caller, InodeId dir_ino,
                                                std::string_view name) {
  std::lock_guard lock(world_->mutex);
  if (name.empty()) return Fail(Err::kNoEntry);
  if (name != "." && name != "..") PRISM_TRY(fs::CheckName(name));
  PRISM_ASSIGN(Node * dir, FindDirectory(dir_ino));
  Node* node = dir;
  if (name == "..") {
    PRISM_TRY(Check(caller, *dir, kMayExecute));
    if (dir->nlink == 0) return Fail(Err::kNoEntry);
    PRISM_ASSIGN(node, Find(dir->parent));
  } else if (name == ".") {
    PRISM_TRY(Check(caller, *dir, kMayExecute));
  } else {
    PRISM_ASSIGN(Entry entry, FindEntry(caller, dir_ino, name));
    if (entry.node == nullptr) return Fail(Err::kNoEntry);
    node = entry.node;
  }
  return fs::EntryResult{AttrOf(*node), {AttrOf(*dir), AttrOf(*dir)}, false};
}

Result<fs::Attr> ModelFileSystem::Getattr(const fs::Caller&, InodeId ino) {
  std::lock_guard lock(world_->mutex);
  PRISM_ASSIGN(Node * node, Find(ino));
  return AttrOf(*node);
}

Result<fs::Change> ModelFileSystem::Setattr(const fs::Caller& caller, InodeId ino,
                                            const fs::SetAttr& changes) {
  std::lock_guard lock(world_->mutex);
  PRISM_TRY(Writable());
  PRISM_ASSIGN(Node * node, Find(ino));
  PRISM_TRY(CheckSetAttr(caller, *node, changes));
  PRISM_TRY(Changeable({node}));
  fs::Attr before = AttrOf(*node);
  ApplySetAttr(*node, Effective(caller, *node, changes));
  if (AttrOf(*node) != before) Notify(fs::Event::Kind::kInode, ino);
  return fs::Change{before, AttrOf(*node)};
}

Result<uint32_t> ModelFileSystem::Access(const fs::Caller& caller, InodeId ino, uint32_t mask) {
  std::lock_guard lock(world_->mutex);
  PRISM_ASSIGN(Node * node, Find(ino));
  uint32_t granted = 0;
  for (uint32_t bit : {kMayRead, kMayWrite, kMayExecute})
    if ((mask & bit) != 0) granted |= Granted(caller, *node, bit);
  const bool has_content = node->is_directory() || node->type == fs::FileType::kRegular ||
                           node->type == fs::FileType::kSymlink;
  if (has_content && (volume_->read_only() || node->read_only)) granted &= ~uint32_t{kMayWrite};
  return granted;
}

Result<std::string> ModelFileSystem::Readlink(const fs::Caller&, InodeId ino) {
  std::lock_guard lock(world_->mutex);
  PRISM_ASSIGN(Node * node, Find(ino));
  if (node->type != fs::FileType::kSymlink) return Fail(Err::kInvalid);
  Accessed(*node);
  return node->target;
}

Status ModelFileSystem::Fsync(const fs::Caller&, InodeId ino, bool) {
  std::lock_guard lock(world_->mutex);
  PRISM_TRY(Find(ino));
  return {};
}

Status ModelFileSystem::Sync(const fs::Caller&) {
  std::lock_guard lock(world_->mutex);
  if (volume_->destroyed) return Fail(Err::kStale);
  return {};
}

}  // namespace prism::model
