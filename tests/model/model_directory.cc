// Entries: finding, creating, linking, listing.
#include "fs/base/check.h"
#include "tests/model/model_file_system.h"
#include "tests/model/node.h"

namespace prism::model {

Result<ModelFileSystem::Entry> ModelFileSystem::FindEntry(const fs::Caller& caller, InodeId dir,
                                                          std::string_view name) {
  Entry entry;
  PRISM_TRY(fs::CheckName(name));
  PRISM_ASSIGN(entry.dir, FindDirectory(dir));
  PRISM_TRY(Check(caller, *entry.dir, kMayExecute));
  auto found = entry.dir->entries.find(std::string(name));
  if (found == entry.dir->entries.end()) return entry;
  PRISM_ASSIGN(entry.node, Find(found->second.ino));
  return entry;
}

// Also checks that a name may be added, once it is known to be free.
Result<ModelFileSystem::Entry> ModelFileSystem::FindNewEntry(const fs::Caller& caller, InodeId dir,
                                                             std::string_view name) {
  PRISM_ASSIGN(Entry entry, FindEntry(caller, dir, name));
  if (entry.node != nullptr) return entry;
  if (entry.dir->nlink == 0) return Fail(Err::kNoEntry);
  PRISM_TRY(Check(caller, *entry.dir, kMayWrite | kMayExecute));
  return entry;
}

void ModelFileSystem::AddEntry(Node& dir, std::string_view name, Node& node) {
  uint64_t cookie = ++dir.last_cookie;
  dir.entries[std::string(name)] = {cookie, node.ino};
  dir.names_by_cookie[cookie] = name;
  if (node.is_directory()) {
    node.parent = dir.ino;
    ++dir.nlink;
  }
  TouchData(dir);
}

void ModelFileSystem::RemoveEntry(Node& dir, std::string_view name, Node& node) {
  auto found = dir.entries.find(std::string(name));
  PRISM_CHECK(found != dir.entries.end() && found->second.ino == node.ino);
  dir.names_by_cookie.erase(found->second.cookie);
  dir.entries.erase(found);
  if (node.is_directory()) --dir.nlink;
  TouchData(dir);
}

namespace {

bool IsDevice(fs::FileType type) {
  return type == fs::FileType::kBlockDevice || type == fs::FileType::kCharDevice;
}

Status CheckCreate(const fs::CreateArgs& args) {
  using fs::FileType;
  if (args.type < FileType::kRegular || args.type > FileType::kFifo) return Fail(Err::kInvalid);
  if (args.exclusivity > fs::Exclusivity::kVerified) return Fail(Err::kInvalid);
  bool regular = args.type == FileType::kRegular;
  if (!regular && (args.exclusivity != fs::Exclusivity::kGuarded || !args.data.empty()))
    return Fail(Err::kInvalid);
  if (args.data.size() > fs::kInitialDataMax) return Fail(Err::kInvalid);
  if (args.type == FileType::kSymlink) {
    if (args.symlink_target.empty()) return Fail(Err::kInvalid);
    if (args.symlink_target.size() > fs::kSymlinkMax) return Fail(Err::kNameTooLong);
    if (args.symlink_target.find('\0') != std::string_view::npos) return Fail(Err::kInvalid);
  } else if (!args.symlink_target.empty()) {
    return Fail(Err::kInvalid);
  }
  return {};
}

}  // namespace

Node ModelFileSystem::NewNode(const fs::Caller& caller, const fs::CreateArgs& args,
                              const Node& dir) const {
  constexpr uint32_t kSetGid = 02000;
  Node node;
  node.ino = world_->last_ino + 1;
  node.type = args.type;
  node.uid = caller.uid;
  node.gid = caller.gid;
  node.nlink = node.is_directory() ? 2 : 1;
  node.mode = args.mode & 07777;
  if (!dir.default_acl.empty() && args.type != fs::FileType::kSymlink) {
    node.access_acl = InheritAcl(dir.default_acl, node.mode);
    if (node.is_directory()) node.default_acl = dir.default_acl;
  } else {
    node.mode &= ~(args.umask & 0777);
  }
  if ((dir.mode & kSetGid) != 0) {
    node.gid = dir.gid;
    bool strip = (args.mode & (kSetGid | 0010)) == (kSetGid | 0010) && caller.check_permission &&
                 caller.uid != 0 && !InGroup(caller, dir.gid);
    if (node.is_directory()) {
      node.mode |= kSetGid;
    } else if (strip) {
      node.mode &= ~kSetGid;
    }
  }
  if (args.type == fs::FileType::kSymlink) node.mode = 0777;
  if (IsDevice(args.type)) {
    node.rdev_major = args.rdev_major;
    node.rdev_minor = args.rdev_minor;
  }
  if (args.exclusivity == fs::Exclusivity::kVerified) node.verifier = args.verifier;
  node.target = args.symlink_target;
  node.atime = node.mtime = node.ctime = node.btime = Now();
  return node;
}

Result<fs::EntryResult> ModelFileSystem::OpenExisting(const fs::Caller& caller,
                                                      const fs::CreateArgs& args, Node& dir,
                                                      Node& node) {
  bool same = args.exclusivity == fs::Exclusivity::kVerified && node.verifier == args.verifier;
  bool open = same || args.exclusivity == fs::Exclusivity::kUnchecked;
  if (!open || node.type != fs::FileType::kRegular) return Fail(Err::kExists);
  if (!same && args.initial.size) {
    fs::SetAttr truncate;
    truncate.size = args.initial.size;
    truncate.kill_privileges = args.initial.kill_privileges;
    PRISM_TRY(CheckSetAttr(caller, node, truncate));
    PRISM_TRY(Changeable({&node}));
    ApplySetAttr(node, Effective(caller, node, truncate));
    Notify(fs::Event::Kind::kInode, node.ino);
  }
  return fs::EntryResult{AttrOf(node), {AttrOf(dir), AttrOf(dir)}, false};
}

Result<fs::EntryResult> ModelFileSystem::Create(const fs::Caller& caller,
                                                const fs::CreateArgs& args) {
  std::lock_guard lock(world_->mutex);
  PRISM_TRY(Writable());
  PRISM_TRY(CheckCreate(args));
  PRISM_ASSIGN(Entry entry, FindNewEntry(caller, args.parent, args.name));
  if (entry.node != nullptr) return OpenExisting(caller, args, *entry.dir, *entry.node);

  if (IsDevice(args.type) && caller.check_permission && caller.uid != 0) return Fail(Err::kPerm);

  Node made = NewNode(caller, args, *entry.dir);
  WriteBytes(made, 0, {reinterpret_cast<const char*>(args.data.data()), args.data.size()});
  for (const fs::Xattr& xattr : args.xattrs)
    PRISM_TRY(SetXattr(made, xattr.name, xattr.value, fs::XattrMode::kSet));
  fs::Caller trusted = caller;
  trusted.check_permission = false;
  PRISM_TRY(CheckSetAttr(trusted, made, args.initial));
  ApplySetAttr(made, args.initial);
  PRISM_TRY(Changeable({entry.dir}));

  fs::Change parent{AttrOf(*entry.dir), {}};
  Node& node = volume_->nodes[++world_->last_ino] = made;
  PRISM_CHECK(node.ino == world_->last_ino);
  AddEntry(*entry.dir, args.name, node);
  parent.after = AttrOf(*entry.dir);
  Notify(fs::Event::Kind::kEntry, entry.dir->ino, args.name);
  return fs::EntryResult{AttrOf(node), parent, true};
}

Result<fs::EntryResult> ModelFileSystem::Link(const fs::Caller& caller, InodeId ino,
                                              InodeId dir_ino, std::string_view name) {
  std::lock_guard lock(world_->mutex);
  PRISM_TRY(Writable());
  PRISM_TRY(fs::CheckName(name));
  PRISM_ASSIGN(Node * node, Find(ino));
  PRISM_ASSIGN(Entry entry, FindNewEntry(caller, dir_ino, name));
  if (entry.node != nullptr) return Fail(Err::kExists);
  if (node->is_directory()) return Fail(Err::kPerm);
  if (node->nlink == 0) return Fail(Err::kNoEntry);
  if (node->nlink >= fs::kLinkMax) return Fail(Err::kTooManyLinks);
  PRISM_TRY(Changeable({node, entry.dir}));
  fs::Change parent{AttrOf(*entry.dir), {}};
  ++node->nlink;
  Touch(*node);
  AddEntry(*entry.dir, name, *node);
  parent.after = AttrOf(*entry.dir);
  Notify(fs::Event::Kind::kEntry, dir_ino, name);
  Notify(fs::Event::Kind::kInode, ino);
  return fs::EntryResult{AttrOf(*node), parent, true};
}

Result<fs::ReaddirResult> ModelFileSystem::Readdir(const fs::Caller& caller, InodeId dir_ino,
                                                   uint64_t cookie, bool with_attr,
                                                   FunctionRef<bool(const fs::DirEntry&)> visitor) {
  std::lock_guard lock(world_->mutex);
  PRISM_ASSIGN(Node * dir, FindDirectory(dir_ino));
  PRISM_TRY(Check(caller, *dir, kMayRead));
  Accessed(*dir);
  size_t visited = 0;
  auto next = dir->names_by_cookie.upper_bound(cookie);
  bool wanted = true;
  for (; next != dir->names_by_cookie.end() && visited < fs::kReaddirEntriesMax; ++next) {
    PRISM_ASSIGN(const Node* node, Find(dir->entries.at(next->second).ino));
    fs::Attr attr = AttrOf(*node);
    ++visited;
    wanted =
        visitor({next->first, node->ino, node->type, next->second, with_attr ? &attr : nullptr});
    if (!wanted) break;
  }
  bool eof = wanted && next == dir->names_by_cookie.end();
  return fs::ReaddirResult{eof, AttrOf(*dir)};
}

}  // namespace prism::model
