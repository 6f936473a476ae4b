// Doing an Operation, and its Reply.
#include <fmt/format.h>

#include <algorithm>

#include "tests/model/random_ops.h"

namespace prism::model {
namespace {

using fs::Caller;
using fs::FileSystem;

void Take(Reply& reply, const fs::EntryResult& result) {
  reply.attrs = {result.attr, result.parent.before, result.parent.after};
  reply.created = result.created;
  reply.text = result.created ? "created" : "found";
}
void Take(Reply& reply, const fs::RemoveResult& result) {
  reply.attrs = {result.removed, result.parent.before, result.parent.after};
}
void Take(Reply& reply, const fs::Change& result) { reply.attrs = {result.before, result.after}; }
void Take(Reply& reply, const fs::Attr& result) { reply.attrs = {result}; }
void Take(Reply& reply, const std::string& result) { reply.text = result; }
void Take(Reply& reply, uint32_t result) { reply.text = std::to_string(result); }
void Take(Reply& reply, uint64_t result) { reply.number = result; }
void Take(Reply& reply, std::vector<std::string> result) {
  std::sort(result.begin(), result.end());
  for (const std::string& name : result) reply.text += name + "\n";
}
void Take(Reply& reply, const fs::WriteResult& result) {
  reply.attrs = {result.change.before, result.change.after};
  reply.text = fmt::format("{} at {}", result.length, result.offset);
}
void Take(Reply& reply, const fs::RenameResult& result) {
  reply.attrs = {result.moved, result.from_parent.before, result.from_parent.after,
                 result.to_parent.before, result.to_parent.after};
  if (result.replaced) reply.attrs.push_back(*result.replaced);
}
void Take(Reply&, const fs::StatfsResult&) {}  // compared by Walk

template <typename T>
Reply Taken(const Result<T>& result) {
  Reply reply;
  if (!result) {
    reply.err = result.error();
    return reply;
  }
  if constexpr (!std::is_void_v<T>) Take(reply, *result);
  return reply;
}

std::span<const std::byte> Bytes(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

Reply PerformCreate(FileSystem& file_system, const Caller& caller, const Operation& op,
                    InodeId target) {
  fs::CreateArgs args;
  args.parent = target;
  args.name = op.name;
  args.type = op.type;
  args.mode = op.mode;
  args.umask = op.umask;
  args.exclusivity = op.exclusivity;
  args.verifier = op.verifier;
  args.initial = op.changes;
  args.rdev_major = 5;
  args.rdev_minor = op.mode;
  if (op.type == fs::FileType::kSymlink) {
    args.symlink_target = op.data;
  } else {
    args.data = Bytes(op.data);
  }
  return Taken(file_system.Create(caller, args));
}

Reply PerformRead(FileSystem& file_system, const Caller& caller, const Operation& op,
                  InodeId target) {
  std::string buffer(std::min<uint64_t>(op.length, fs::kIoMax), '\0');
  auto result =
      file_system.Read(caller, target, op.offset, std::as_writable_bytes(std::span(buffer)));
  Reply reply;
  if (!result) {
    reply.err = result.error();
    return reply;
  }
  buffer.resize(result->length);
  reply.text = buffer + (result->eof ? "|eof" : "|more");
  reply.attrs = {result->attr};
  return reply;
}

Reply PerformReaddir(FileSystem& file_system, const Caller& caller, const Operation& op,
                     InodeId target) {
  struct Listed {
    std::string name;
    fs::Attr attr;
    bool operator<(const Listed& other) const { return name < other.name; }
  };
  Reply reply;
  std::vector<Listed> entries;
  uint64_t cookie = 0;
  while (entries.size() < 10000) {  // an implementation may fail to end
    auto result =
        file_system.Readdir(caller, target, cookie, op.with_attr, [&](const fs::DirEntry& entry) {
          fs::Attr attr;
          if (entry.attr != nullptr) attr = *entry.attr;
          attr.ino = entry.ino;
          attr.type = entry.type;
          cookie = entry.cookie;
          entries.push_back({std::string(entry.name), attr});
          return entries.size() % 5 != 0;  // several calls, also for a few entries
        });
    if (!result) {
      reply.err = result.error();
      return reply;
    }
    if (result->eof) break;
  }
  std::sort(entries.begin(), entries.end());
  for (const Listed& entry : entries) {
    reply.text += entry.name + "\n";
    reply.attrs.push_back(entry.attr);
  }
  return reply;
}

Reply PerformWrite(FileSystem& file_system, const Caller& caller, const Operation& op,
                   InodeId target) {
  fs::WriteArgs args;
  args.ino = target;
  args.offset = op.offset;
  args.data = Bytes(op.data);
  args.append = op.append;
  args.kill_privileges = op.kill_privileges;
  return Taken(file_system.Write(caller, args));
}

// Extended attributes and what concerns more than one inode's data.
Reply PerformRest(FileSystem& file_system, const Caller& caller, const Operation& op,
                  InodeId target, InodeId other) {
  switch (op.kind) {
    case OpKind::kFallocate:
      return Taken(file_system.Fallocate(caller, target, static_cast<fs::FallocateMode>(op.flags),
                                         op.offset, op.length));
    case OpKind::kSeek:
      return Taken(
          file_system.Seek(caller, target, op.offset, static_cast<fs::SeekWhence>(op.flags)));
    case OpKind::kCopyRange:
      return Taken(
          file_system.CopyRange(caller, target, op.offset, other, op.other_offset, op.length));
    case OpKind::kGetxattr:
      return Taken(file_system.Getxattr(caller, target, op.name));
    case OpKind::kSetxattr:
      return Taken(file_system.Setxattr(caller, target, op.name, op.data,
                                        static_cast<fs::XattrMode>(op.flags)));
    case OpKind::kListxattr:
      return Taken(file_system.Listxattr(caller, target));
    case OpKind::kRemovexattr:
      return Taken(file_system.Removexattr(caller, target, op.name));
    case OpKind::kFsync:
      return Taken(file_system.Fsync(caller, target, op.with_attr));
    case OpKind::kSync:
      return Taken(file_system.Sync(caller));
    case OpKind::kStatfs:
      return Taken(file_system.Statfs(caller));
    default:
      return Taken(file_system.Release(caller, target));
  }
}

}  // namespace

Reply Perform(FileSystem& file_system, const Operation& op, InodeId target, InodeId other) {
  Caller caller{op.uid, op.gid, op.groups, op.check_permission};
  switch (op.kind) {
    case OpKind::kCreate:
      return PerformCreate(file_system, caller, op, target);
    case OpKind::kLink:
      return Taken(file_system.Link(caller, other, target, op.name));
    case OpKind::kUnlink:
      return Taken(file_system.Unlink(caller, target, op.name));
    case OpKind::kRmdir:
      return Taken(file_system.Rmdir(caller, target, op.name));
    case OpKind::kRename:
      return Taken(file_system.Rename(caller, target, op.name, other, op.other_name, op.flags));
    case OpKind::kLookup:
      return Taken(file_system.Lookup(caller, target, op.name));
    case OpKind::kReaddir:
      return PerformReaddir(file_system, caller, op, target);
    case OpKind::kGetattr:
      return Taken(file_system.Getattr(caller, target));
    case OpKind::kSetattr:
      return Taken(file_system.Setattr(caller, target, op.changes));
    case OpKind::kAccess:
      return Taken(file_system.Access(caller, target, op.flags));
    case OpKind::kReadlink:
      return Taken(file_system.Readlink(caller, target));
    case OpKind::kRead:
      return PerformRead(file_system, caller, op, target);
    case OpKind::kWrite:
      return PerformWrite(file_system, caller, op, target);
    default:
      return PerformRest(file_system, caller, op, target, other);
  }
}

}  // namespace prism::model
