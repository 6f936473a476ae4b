#include "tests/crash/executor.h"

#include <fmt/format.h>

#include <chrono>
#include <set>
#include <thread>

namespace prism::crash {
namespace {

const fs::Caller kRoot;

// What was asked for, and a result that may hold less, as a Status.
template <typename T>
Status Done(const Result<T>& result) {
  return result ? Status() : Status(Fail(result.error()));
}

std::span<const std::byte> BytesOf(const std::string& bytes) {
  return std::as_bytes(std::span(bytes));
}

template <typename T>
Status DoneOutcome(const Outcome<T>& outcome) {
  if (outcome) return {};
  fmt::print(stderr, "volume operation: {}\n", outcome.error().message);
  return Fail(outcome.error().code);
}

}  // namespace

Result<InodeId> Executor::Resolve(std::string_view path) {
  InodeId ino = kRootInode;
  while (!path.empty()) {
    size_t slash = path.find('/');
    PRISM_ASSIGN(fs::EntryResult entry, fs_.Lookup(kRoot, ino, path.substr(0, slash)));
    ino = entry.attr.ino;
    path = slash == path.npos ? std::string_view() : path.substr(slash + 1);
  }
  return ino;
}

Result<Executor::Place> Executor::ResolveParent(std::string_view path) {
  size_t slash = path.rfind('/');
  if (slash == path.npos) return Place{kRootInode, path};
  PRISM_ASSIGN(InodeId directory, Resolve(path.substr(0, slash)));
  return Place{directory, path.substr(slash + 1)};
}

Status Executor::Run(const Op& op) {
  switch (op.kind) {
    case OpKind::kCreate:
    case OpKind::kMkdir:
    case OpKind::kSymlink:
    case OpKind::kFifo:
      return Create(op);
    case OpKind::kRename:
    case OpKind::kExchange:
      return Rename(op);
    case OpKind::kUnlink:
    case OpKind::kRmdir:
      return Remove(op);
    case OpKind::kSync:
      return fs_.Sync(kRoot);
    case OpKind::kPause:
      std::this_thread::sleep_for(std::chrono::milliseconds(op.length));
      return {};
    default:
      break;
  }
  PRISM_ASSIGN(InodeId ino, Resolve(op.path));
  switch (op.kind) {
    case OpKind::kFsync:
      return fs_.Fsync(kRoot, ino, false);
    case OpKind::kLink: {
      PRISM_ASSIGN(Place place, ResolveParent(op.other));
      return Done(fs_.Link(kRoot, ino, place.directory, place.name));
    }
    case OpKind::kWrite:
    case OpKind::kWriteSync:
      return Write(op, ino);
    case OpKind::kCopyRange:
      return Copy(op, ino);
    default:
      return Change(op, ino);
  }
}

Status Executor::Create(const Op& op) {
  PRISM_ASSIGN(Place place, ResolveParent(op.path));
  std::string data = Payload(op.tag, op.length);
  fs::CreateArgs args;
  args.parent = place.directory;
  args.name = place.name;
  args.mode = op.mode;
  switch (op.kind) {
    case OpKind::kMkdir:
      args.type = fs::FileType::kDirectory;
      break;
    case OpKind::kSymlink:
      args.type = fs::FileType::kSymlink;
      args.symlink_target = op.other;
      break;
    case OpKind::kFifo:
      args.type = fs::FileType::kFifo;
      break;
    default:
      args.data = BytesOf(data);
  }
  return Done(fs_.Create(kRoot, args));
}

Status Executor::Write(const Op& op, InodeId ino) {
  std::string data = Payload(op.tag, op.length);
  fs::WriteArgs args;
  args.ino = ino;
  args.offset = op.offset;
  args.data = BytesOf(data);
  if (op.kind == OpKind::kWriteSync) args.stability = fs::Stability::kFileSync;
  PRISM_ASSIGN(fs::WriteResult written, fs_.Write(kRoot, args));
  bool stable = op.kind == OpKind::kWrite || written.committed == fs::Stability::kFileSync;
  return written.length == op.length && stable ? Status() : Status(Fail(Err::kIo));
}

Status Executor::Copy(const Op& op, InodeId ino) {
  PRISM_ASSIGN(InodeId target, Resolve(op.other));
  PRISM_ASSIGN(fs::Attr source, fs_.Getattr(kRoot, ino));
  uint64_t length = op.offset < source.size ? std::min(op.length, source.size - op.offset) : 0;
  for (uint64_t done = 0; done < length;) {
    PRISM_ASSIGN(uint64_t copied,
                 fs_.CopyRange(kRoot, ino, op.offset + done, target, op.tag + done, length - done));
    if (copied == 0) return Fail(Err::kIo);
    done += copied;
  }
  return {};
}

Status Executor::Rename(const Op& op) {
  PRISM_ASSIGN(Place from, ResolveParent(op.path));
  PRISM_ASSIGN(Place to, ResolveParent(op.other));
  uint32_t flags = op.kind == OpKind::kExchange ? fs::kRenameExchange : fs::kRenameNone;
  PRISM_ASSIGN(fs::RenameResult result,
               fs_.Rename(kRoot, from.directory, from.name, to.directory, to.name, flags));
  if (result.replaced && result.replaced->nlink == 0)
    return fs_.Release(kRoot, result.replaced->ino);
  return {};
}

Status Executor::Remove(const Op& op) {
  PRISM_ASSIGN(Place place, ResolveParent(op.path));
  auto removed = op.kind == OpKind::kRmdir ? fs_.Rmdir(kRoot, place.directory, place.name)
                                           : fs_.Unlink(kRoot, place.directory, place.name);
  PRISM_TRY(Done(removed));
  // Some stay held, as by a process that has the file open when the server dies.
  bool hold = op.path.size() % 3 == 0;
  if (removed->removed.nlink == 0 && !hold) return fs_.Release(kRoot, removed->removed.ino);
  return {};
}

Status Executor::Change(const Op& op, InodeId ino) {
  fs::SetAttr changes;
  switch (op.kind) {
    case OpKind::kTruncate:
      changes.size = op.offset;
      break;
    case OpKind::kSetMode:
      changes.mode = op.mode;
      break;
    case OpKind::kSetOwner:
      changes.uid = static_cast<uint32_t>(op.offset);
      changes.gid = static_cast<uint32_t>(op.length);
      break;
    case OpKind::kSetMtime:
      changes.mtime = fs::Timespec{static_cast<int64_t>(op.offset), op.mode};
      break;
    case OpKind::kPunch:
      return Done(fs_.Fallocate(kRoot, ino, fs::FallocateMode::kPunchHole, op.offset, op.length));
    case OpKind::kZeroRange:
      return Done(fs_.Fallocate(kRoot, ino, fs::FallocateMode::kZeroRange, op.offset, op.length));
    case OpKind::kSetXattr:
      return fs_.Setxattr(kRoot, ino, op.other, Payload(op.tag, op.length), fs::XattrMode::kSet);
    case OpKind::kRemoveXattr:
      return fs_.Removexattr(kRoot, ino, op.other);
    default:
      return Fail(Err::kNotSupported);
  }
  return Done(fs_.Setattr(kRoot, ino, changes));
}

Status RunOnHost(fs::Host& host, const Op& op) {
  switch (op.kind) {
    case OpKind::kVolumeCreate:
      return DoneOutcome(host.Create(op.path, false));
    case OpKind::kVolumeClone:
      return DoneOutcome(host.Clone(op.path, {op.other}));
    case OpKind::kVolumeDestroy:
      return DoneOutcome(host.Destroy({op.path}, true));
    case OpKind::kVolumeSnapshot:
      return DoneOutcome(host.Snapshot({op.other}, 0));
    case OpKind::kVolumeRollback:
      return DoneOutcome(host.Rollback(op.path));
    case OpKind::kVolumeRename:
      return DoneOutcome(host.Rename(op.path, op.other));
    case OpKind::kCheckpoint:
      return host.Checkpoint();
    case OpKind::kFlush:
      return host.Flush();
    case OpKind::kPause:
      std::this_thread::sleep_for(std::chrono::milliseconds(op.length));
      return {};
    default:
      return Fail(Err::kNotSupported);
  }
}

namespace {

// Collects one volume.
class Reader {
 public:
  Reader(fs::FileSystem& fs, std::string& errors) : fs_(fs), errors_(errors) {}

  Volume ReadAll() {
    ReadDirectory(kRootInode, "", nullptr);
    return std::move(volume_);
  }
  size_t inodes() const { return 1 + all_.size(); }

 private:
  template <typename T>
  bool Good(const Result<T>& result, const std::string& path, const char* what) {
    if (!result) errors_ += fmt::format("{}: {}: {}\n", path, what, NameOf(result.error()));
    return result.has_value();
  }

  void ReadDirectory(InodeId directory, const std::string& path, Realm* realm) {
    struct Found {
      std::string name;
      fs::Attr attr;
    };
    std::vector<Found> entries;
    for (uint64_t cookie = 0;;) {
      auto listed = fs_.Readdir(kRoot, directory, cookie, true, [&](const fs::DirEntry& entry) {
        entries.push_back({std::string(entry.name), *entry.attr});
        cookie = entry.cookie;
        return true;
      });
      if (!Good(listed, path, "readdir") || listed->eof) break;
    }
    for (const Found& entry : entries) {
      std::string child = path.empty() ? entry.name : path + "/" + entry.name;
      Realm& into = realm != nullptr ? *realm : volume_[entry.name];
      auto looked_up = fs_.Lookup(kRoot, directory, entry.name);
      if (!Good(looked_up, child, "lookup")) continue;
      looked_up->attr.atime = entry.attr.atime;  // we read it ourselves, by another of its names
      if (looked_up->attr != entry.attr) errors_ += child + ": readdir and lookup differ\n";
      if (!into.names.emplace(child, entry.attr.ino).second) errors_ += child + ": listed twice\n";
      all_.insert(entry.attr.ino);
      if (!into.objects.contains(entry.attr.ino)) ReadObject(entry.attr, child, into);
      if (entry.attr.type == fs::FileType::kDirectory) ReadDirectory(entry.attr.ino, child, &into);
    }
  }

  void ReadObject(const fs::Attr& attr, const std::string& path, Realm& realm) {
    Object& object = realm.objects[attr.ino];
    object.type = attr.type;
    object.mode = attr.mode;
    object.uid = attr.uid;
    object.gid = attr.gid;
    object.nlink = attr.nlink;
    object.mtime = attr.mtime;
    if (attr.type == fs::FileType::kSymlink) {
      auto target = fs_.Readlink(kRoot, attr.ino);
      if (Good(target, path, "readlink")) object.target = *target;
    }
    auto names = fs_.Listxattr(kRoot, attr.ino);
    if (Good(names, path, "listxattr")) {
      for (const std::string& name : *names) {
        auto value = fs_.Getxattr(kRoot, attr.ino, name);
        if (Good(value, path, "getxattr")) object.xattrs[name] = *value;
      }
    }
    if (attr.type == fs::FileType::kRegular) ReadBody(attr, path, object.content);
  }

  void ReadBody(const fs::Attr& attr, const std::string& path, Content& content) {
    std::vector<std::byte> buffer(256 << 10);
    for (uint64_t at = 0; at < attr.size;) {
      auto data = fs_.Seek(kRoot, attr.ino, at, fs::SeekWhence::kData);
      if (!data && data.error() == Err::kNoSuchExtent) break;
      if (!Good(data, path, "seek")) break;
      at = *data / kPieceBytes * kPieceBytes;
      auto read = fs_.Read(kRoot, attr.ino, at, buffer);
      if (!Good(read, path, fmt::format("read at {}", at).c_str())) break;
      content.Write(at, {reinterpret_cast<const char*>(buffer.data()), read->length});
      at += read->length;
      if (read->eof) break;
      if (read->length == 0) {
        errors_ += path + ": an empty read before the end\n";
        break;
      }
    }
    if (content.size() > attr.size) errors_ += path + ": reads beyond its size\n";
    content.Truncate(attr.size);
  }

  fs::FileSystem& fs_;
  std::string& errors_;
  Volume volume_;
  std::set<InodeId> all_;
};

}  // namespace

Volume ReadVolume(fs::FileSystem& fs, std::optional<uint64_t> inodes_expected,
                  std::string& errors) {
  Reader reader(fs, errors);
  Volume volume = reader.ReadAll();
  if (inodes_expected && reader.inodes() != *inodes_expected)
    errors +=
        fmt::format("{} inodes are counted, {} have names\n", *inodes_expected, reader.inodes());
  return volume;
}

}  // namespace prism::crash
