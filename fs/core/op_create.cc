#include <algorithm>

#include "fs/core/directory_attr.h"
#include "fs/core/op_xattr.h"
#include "fs/core/permission.h"
#include "fs/core/volume_fs.h"

namespace prism::fs {
namespace {

constexpr uint32_t kPermissionBits = 0777;
constexpr uint32_t kModeBits = 07777;
constexpr uint32_t kSetGid = 02000;
constexpr uint32_t kGroupExecute = 00010;
constexpr uint64_t kNewInodeBytes = 384;  // record, entry, parent, and the keys of them

Status CheckArgs(const CreateArgs& args) {
  PRISM_TRY(CheckName(args.name));
  if (args.type < FileType::kRegular || args.type > FileType::kFifo) return Fail(Err::kInvalid);
  if (args.type == FileType::kSymlink) {
    const std::string_view target = args.symlink_target;
    if (target.size() > kSymlinkMax) return Fail(Err::kNameTooLong);
    if (target.empty() || target.find('\0') != target.npos) return Fail(Err::kInvalid);
  } else if (!args.symlink_target.empty()) {
    return Fail(Err::kInvalid);
  }
  if (args.exclusivity > Exclusivity::kVerified) return Fail(Err::kInvalid);
  const bool regular = args.type == FileType::kRegular;
  if (!regular && (!args.data.empty() || args.exclusivity != Exclusivity::kGuarded))
    return Fail(Err::kInvalid);
  if (args.data.size() > kInitialDataMax) return Fail(Err::kInvalid);
  if (args.initial.size && !regular)
    return Fail(args.type == FileType::kDirectory ? Err::kIsDirectory : Err::kInvalid);
  if (args.initial.size && *args.initial.size > kFileSizeMax) return Fail(Err::kTooLarge);
  PRISM_TRY(CheckTimes(args.initial));
  for (const Xattr& xattr : args.xattrs) PRISM_TRY(CheckXattr(args.type, xattr.name, xattr.value));
  return {};
}

// What a new file takes of a quota beside its body: its items in the tree.
uint64_t ItemBytes(const CreateArgs& args) {
  uint64_t bytes = kNewInodeBytes + args.name.size() + args.symlink_target.size();
  for (const Xattr& xattr : args.xattrs) bytes += xattr.name.size() + xattr.value.size();
  return bytes;
}

}  // namespace

struct VolumeFs::NewInode {
  InodeRecord record;
  Timespec now;
  Acl access_acl;           // empty: none
  std::string default_acl;  // for a directory: its parent's
};

Status VolumeFs::DecideModeAndOwner(const cow::ReadView& view, const Caller& caller,
                                    const CreateArgs& args, const InodeRecord& dir,
                                    NewInode& made) {
  Attr& attr = made.record.attr;
  const bool directory = args.type == FileType::kDirectory;
  attr.uid = caller.uid;
  attr.gid = (dir.attr.mode & kSetGid) != 0 ? dir.attr.gid : caller.gid;
  if (args.type == FileType::kSymlink) {
    attr.mode = kPermissionBits;
    return {};
  }
  attr.mode = args.mode & kModeBits;
  if ((dir.attr.mode & kSetGid) != 0 && directory) attr.mode |= kSetGid;
  const bool set_gid_executable =
      (attr.mode & (kSetGid | kGroupExecute)) == (kSetGid | kGroupExecute);
  if (!directory && set_gid_executable && !IsRoot(caller) && !IsMember(caller, attr.gid))
    attr.mode &= ~kSetGid;
  if ((dir.flags & kHasDefaultAcl) == 0) {
    attr.mode &= ~(args.umask & kPermissionBits);
    return {};
  }
  PRISM_ASSIGN(auto inherited, LoadXattr(view, impl_.key, dir, kDefaultAclName));
  if (!inherited) return Fail(Err::kCorrupt);
  auto acl = ParseAcl(*inherited);
  if (!acl || acl->empty()) return Fail(Err::kCorrupt);
  attr.mode = (attr.mode & ~kPermissionBits) | InheritAcl(*acl, attr.mode);
  if (!IsMinimalAcl(*acl)) made.access_acl = std::move(*acl);
  if (directory) made.default_acl = std::move(*inherited);
  return {};
}

Status VolumeFs::PutNewInode(cow::WriteTransaction& transaction, const CreateArgs& args,
                             const ComposedBlock& block, NewInode& made) {
  InodeRecord& record = made.record;
  Attr& attr = record.attr;
  if (!made.access_acl.empty())
    PRISM_TRY(PutXattr(transaction, impl_.key, record, kAccessAclName, FormatAcl(made.access_acl)));
  if (!made.default_acl.empty())
    PRISM_TRY(PutXattr(transaction, impl_.key, record, kDefaultAclName, made.default_acl));
  for (const Xattr& xattr : args.xattrs)
    PRISM_TRY(StoreXattr(transaction, record, xattr.name, xattr.value));
  switch (attr.type) {
    case FileType::kRegular: {
      const uint64_t size = args.initial.size.value_or(args.data.size());
      if (!args.data.empty())
        impl_.data.PutInitial(transaction, record,
                              args.data.first(std::min<uint64_t>(size, args.data.size())), block);
      record.stored_size = attr.size = size;
      break;
    }
    case FileType::kSymlink:
      attr.size = args.symlink_target.size();
      transaction.Put(cow::MakeKey(cow::ItemType::kSymlink, attr.ino),
                      std::string(args.symlink_target));
      break;
    case FileType::kBlockDevice:
    case FileType::kCharDevice:
      attr.rdev_major = args.rdev_major;
      attr.rdev_minor = args.rdev_minor;
      break;
    default:
      break;
  }
  PRISM_TRY(ApplyAttr(transaction, record, args.initial, made.now));
  attr.change = 1;
  if (args.exclusivity == Exclusivity::kVerified) {
    record.flags |= kHasVerifier;
    record.verifier = args.verifier;
  }
  StoreInode(transaction, record);
  transaction.AddUsage(1, 0);
  return {};
}

// The name exists.
Result<EntryResult> VolumeFs::OpenExisting(const Caller& caller, const CreateArgs& args,
                                           const InodeRecord& dir, const FoundEntry& found,
                                           Transaction transaction) {
  if (args.exclusivity == Exclusivity::kGuarded || found.type != FileType::kRegular)
    return Fail(Err::kExists);
  EntryResult result;
  result.parent = Change{dir.attr, dir.attr};
  PRISM_ASSIGN(const InodeRecord record, Load(*transaction, found.ino));
  transaction.reset();
  result.attr = record.attr;
  if (args.exclusivity == Exclusivity::kVerified) {
    if ((record.flags & kHasVerifier) == 0 || record.verifier != args.verifier)
      return Fail(Err::kExists);
    return result;
  }
  if (!args.initial.size) return result;
  SetAttr truncate;
  truncate.size = args.initial.size;
  truncate.kill_privileges = args.initial.kill_privileges;
  PRISM_ASSIGN(const Change change, Setattr(caller, found.ino, truncate));
  result.attr = change.after;
  return result;
}

Result<EntryResult> VolumeFs::Create(const Caller& caller, const CreateArgs& args) {
  PRISM_TRY(Writable());
  PRISM_TRY(CheckArgs(args));
  ComposedBlock block;  // hashed and stored before the volume is locked
  if (!args.data.empty()) {
    const uint64_t size = args.initial.size.value_or(args.data.size());
    PRISM_ASSIGN(block, impl_.data.ComposeInitial(
                            args.data.first(std::min<uint64_t>(size, args.data.size()))));
  }
  Transaction transaction = impl_.map->Write();
  PRISM_ASSIGN(InodeRecord dir, LoadDirectory(*transaction, args.parent));
  PRISM_TRY(RequireAccess(*transaction, impl_.key, caller, dir, kMayExecute));
  PRISM_ASSIGN(const EntryProbe probe, ProbeEntry(*transaction, impl_.key, args.parent, args.name));
  if (probe.found) return OpenExisting(caller, args, dir, *probe.found, std::move(transaction));
  if (dir.attr.nlink == 0) return Fail(Err::kNoEntry);
  PRISM_TRY(RequireAccess(*transaction, impl_.key, caller, dir, kMayWrite | kMayExecute));
  const bool directory = args.type == FileType::kDirectory;
  const bool device = args.type == FileType::kBlockDevice || args.type == FileType::kCharDevice;
  if (device && !IsRoot(caller)) return Fail(Err::kPerm);
  if (directory && dir.attr.nlink >= kLinkMax) return Fail(Err::kTooManyLinks);
  if (probe.free_cookie == 0) return Fail(Err::kNoSpace);
  const uint64_t body = block.pieces.empty() ? args.data.size() : UsedBytes(block.pieces);
  PRISM_TRY(impl_.data.RequireRoom(*transaction, 1, ItemBytes(args) + body));

  NewInode made;
  made.now = Now();
  Attr& attr = made.record.attr;
  attr.ino = transaction->AllocateInode();
  attr.type = args.type;
  attr.nlink = directory ? 2 : 1;
  attr.atime = attr.mtime = attr.ctime = attr.btime = made.now;
  PRISM_TRY(DecideModeAndOwner(*transaction, caller, args, dir, made));
  PRISM_TRY(PutNewInode(*transaction, args, block, made));
  PutEntry(*transaction, args.parent, probe.free_cookie, attr.ino, args.type, args.name);
  PRISM_TRY(AddParent(*transaction, attr.ino, args.type, args.parent, probe.free_cookie));
  EntryResult result;
  result.parent.before = dir.attr;
  TouchDirectory(dir.attr, made.now, 1, directory ? 1 : 0);
  StoreInode(*transaction, dir);
  result.parent.after = dir.attr;
  result.attr = attr;
  result.created = true;
  PRISM_TRY(Commit(std::move(transaction), {.request = caller.request, .ino = attr.ino}));
  impl_.clients.TellEntry(id_, args.parent, args.name);
  return result;
}

}  // namespace prism::fs
