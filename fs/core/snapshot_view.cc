#include "fs/core/snapshot_view.h"

#include <unistd.h>

#include <algorithm>

namespace prism::fs {
namespace {

constexpr int kShift = 36;
constexpr InodeId kInnerMask = (InodeId{1} << kShift) - 1;
constexpr InodeId kTagMask = (kSnapshotBit >> kShift) - 1;
constexpr size_t kAttachedMax = 64;   // snapshots at a time; others take their places
constexpr uint64_t kFirstCookie = 3;  // the contract keeps 1 and 2

bool IsInside(InodeId ino) { return (ino & kSnapshotBit) != 0 && ino != kSnapshotDir; }
InodeId TagOf(VolumeId snapshot) { return snapshot & kTagMask; }

// An inode of a snapshot, both ways.
struct Inside {
  std::shared_ptr<FileSystem> fs;
  InodeId ino = 0;  // its own
  InodeId tag = 0;

  InodeId Seen(InodeId inner) const { return kSnapshotBit | tag << kShift | inner; }
  // kNoEntry: a number that has no place in ours.
  Status See(Attr& attr) const {
    if (attr.ino > kInnerMask) return Fail(Err::kNoEntry);
    attr.ino = Seen(attr.ino);
    return {};
  }
};

class SnapshotView final : public FileSystem {
 public:
  SnapshotView(Host& host, VolumeId volume, std::shared_ptr<FileSystem> base,
               std::function<bool(const VolumeInfo&)> visible)
      : host_(host), volume_(volume), base_(std::move(base)), visible_(std::move(visible)) {}

  void SetListener(EventListener* listener) override { base_->SetListener(listener); }
  Result<StatfsResult> Statfs(const Caller& caller) override { return base_->Statfs(caller); }
  Result<EntryResult> Lookup(const Caller& caller, InodeId dir, std::string_view name) override;
  Result<Attr> Getattr(const Caller& caller, InodeId ino) override;
  Result<Change> Setattr(const Caller& caller, InodeId ino, const SetAttr& changes) override {
    PRISM_TRY(Writable(ino));
    return base_->Setattr(caller, ino, changes);
  }
  Result<uint32_t> Access(const Caller& caller, InodeId ino, uint32_t mask) override;
  Result<std::string> Readlink(const Caller& caller, InodeId ino) override {
    PRISM_ASSIGN(const Inside at, Find(ino));
    return at.fs->Readlink(caller, at.ino);
  }
  Result<ReadResult> Read(const Caller& caller, InodeId ino, uint64_t offset,
                          std::span<std::byte> buffer) override;
  Result<KeptRead> ReadKept(const Caller& caller, InodeId ino, uint64_t offset,
                            size_t length) override;
  Result<WriteResult> Write(const Caller& caller, const WriteArgs& args) override {
    PRISM_TRY(Writable(args.ino));
    return base_->Write(caller, args);
  }
  Result<EntryResult> Create(const Caller& caller, const CreateArgs& args) override {
    PRISM_TRY(Writable(args.parent, args.name));
    return base_->Create(caller, args);
  }
  Result<EntryResult> Link(const Caller& caller, InodeId ino, InodeId dir,
                           std::string_view name) override {
    PRISM_TRY(Writable(ino));
    PRISM_TRY(Writable(dir, name));
    return base_->Link(caller, ino, dir, name);
  }
  Result<RemoveResult> Unlink(const Caller& caller, InodeId dir, std::string_view name) override {
    PRISM_TRY(Writable(dir, name));
    return base_->Unlink(caller, dir, name);
  }
  Result<RemoveResult> Rmdir(const Caller& caller, InodeId dir, std::string_view name) override {
    PRISM_TRY(Writable(dir, name));
    return base_->Rmdir(caller, dir, name);
  }
  Result<RenameResult> Rename(const Caller& caller, InodeId from_dir, std::string_view from_name,
                              InodeId to_dir, std::string_view to_name, uint32_t flags) override {
    PRISM_TRY(Writable(from_dir, from_name));
    PRISM_TRY(Writable(to_dir, to_name));
    return base_->Rename(caller, from_dir, from_name, to_dir, to_name, flags);
  }
  Result<ReaddirResult> Readdir(const Caller& caller, InodeId dir, uint64_t cookie, bool with_attr,
                                FunctionRef<bool(const DirEntry&)> visitor) override;
  Status Fsync(const Caller& caller, InodeId ino, bool data_only) override {
    return (ino & kSnapshotBit) != 0 ? Status() : base_->Fsync(caller, ino, data_only);
  }
  Status Sync(const Caller& caller) override { return base_->Sync(caller); }
  Result<std::string> Getxattr(const Caller& caller, InodeId ino, std::string_view name) override {
    if (ino == kSnapshotDir) return Fail(Err::kNoAttribute);
    PRISM_ASSIGN(const Inside at, Find(ino));
    return at.fs->Getxattr(caller, at.ino, name);
  }
  Status Setxattr(const Caller& caller, InodeId ino, std::string_view name, std::string_view value,
                  XattrMode mode) override {
    PRISM_TRY(Writable(ino));
    return base_->Setxattr(caller, ino, name, value, mode);
  }
  Result<std::vector<std::string>> Listxattr(const Caller& caller, InodeId ino) override {
    if (ino == kSnapshotDir) return std::vector<std::string>{};
    PRISM_ASSIGN(const Inside at, Find(ino));
    return at.fs->Listxattr(caller, at.ino);
  }
  Status Removexattr(const Caller& caller, InodeId ino, std::string_view name) override {
    PRISM_TRY(Writable(ino));
    return base_->Removexattr(caller, ino, name);
  }
  Result<Change> Fallocate(const Caller& caller, InodeId ino, FallocateMode mode, uint64_t offset,
                           uint64_t length) override {
    PRISM_TRY(Writable(ino));
    return base_->Fallocate(caller, ino, mode, offset, length);
  }
  Result<uint64_t> Seek(const Caller& caller, InodeId ino, uint64_t offset,
                        SeekWhence whence) override {
    PRISM_ASSIGN(const Inside at, Find(ino));
    return at.fs->Seek(caller, at.ino, offset, whence);
  }
  Result<uint64_t> CopyRange(const Caller& caller, InodeId from, uint64_t from_offset, InodeId to,
                             uint64_t to_offset, uint64_t length) override {
    PRISM_TRY(Writable(to));
    if ((from & kSnapshotBit) != 0) return Fail(Err::kNotSupported);  // the bytes are copied then
    return base_->CopyRange(caller, from, from_offset, to, to_offset, length);
  }
  Status Release(const Caller& caller, InodeId ino) override { return base_->Release(caller, ino); }
  Result<InodeId> FindDone(const RequestId& request) override { return base_->FindDone(request); }
  Status AnswerBarrier(const Caller& caller, uint64_t cookie, bool written) override {
    return base_->AnswerBarrier(caller, cookie, written);
  }
  Status Lock(const Caller& caller, const LockArgs& args) override {
    return (args.ino & kSnapshotBit) != 0 ? Status() : base_->Lock(caller, args);
  }
  Result<std::optional<LockHolder>> TestLock(const Caller& caller, const LockArgs& args) override {
    if ((args.ino & kSnapshotBit) != 0) return std::optional<LockHolder>();
    return base_->TestLock(caller, args);
  }
  Status CancelLock(const Caller& caller, uint64_t cookie) override {
    return base_->CancelLock(caller, cookie);
  }
  Status DropLocks(const Caller& caller, InodeId ino, std::string_view owner_prefix) override {
    return (ino & kSnapshotBit) != 0 ? Status() : base_->DropLocks(caller, ino, owner_prefix);
  }

 private:
  // kReadOnly: it is in .snapshot, or is that name.
  static Status Writable(InodeId ino, std::string_view name = {}) {
    const bool virtually = ino == kRootInode && name == kSnapshotDirName;
    if ((ino & kSnapshotBit) != 0 || virtually) return Fail(Err::kReadOnly);
    return {};
  }
  // By id: in the order of their making, and none twice with one tag.
  std::vector<VolumeInfo> Snapshots() const;
  std::string LabelOf(const VolumeInfo& snapshot) const {
    return snapshot.name.substr(snapshot.name.find('@') + 1);
  }
  Result<Inside> Enter(const VolumeInfo& snapshot);
  // What an inode number stands for: the volume itself, for one that is in no snapshot. kStale: its
  // snapshot is gone. .snapshot itself is kIsDirectory.
  Result<Inside> Find(InodeId ino);
  Result<Attr> DirAttr(const Caller& caller);
  Result<EntryResult> LookupLabel(const Caller& caller, std::string_view label);
  Result<ReaddirResult> ListLabels(const Caller& caller, uint64_t cookie, bool with_attr,
                                   FunctionRef<bool(const DirEntry&)> visitor);

  Host& host_;
  const VolumeId volume_;
  const std::shared_ptr<FileSystem> base_;
  const std::function<bool(const VolumeInfo&)> visible_;
  std::mutex mutex_;
  std::map<InodeId, std::shared_ptr<FileSystem>> attached_;  // by tag; guarded by mutex_
};

std::vector<VolumeInfo> SnapshotView::Snapshots() const {
  std::vector<VolumeInfo> snapshots;
  for (VolumeInfo& info : host_.List())
    if (info.snapshot_of == volume_ && visible_(info)) snapshots.push_back(std::move(info));
  std::sort(snapshots.begin(), snapshots.end(),
            [](const VolumeInfo& a, const VolumeInfo& b) { return a.id < b.id; });
  for (size_t i = 1; i < snapshots.size();) {
    const bool taken = std::any_of(
        snapshots.begin(), snapshots.begin() + static_cast<ptrdiff_t>(i),
        [&](const VolumeInfo& older) { return TagOf(older.id) == TagOf(snapshots[i].id); });
    if (taken)
      snapshots.erase(snapshots.begin() + static_cast<ptrdiff_t>(i));
    else
      ++i;
  }
  return snapshots;
}

Result<Inside> SnapshotView::Enter(const VolumeInfo& snapshot) {
  const InodeId tag = TagOf(snapshot.id);
  std::lock_guard lock(mutex_);
  auto found = attached_.find(tag);
  if (found != attached_.end()) return Inside{found->second, kRootInode, tag};
  Outcome<std::shared_ptr<FileSystem>> fs = host_.Attach(snapshot.id);
  if (!fs) return Fail(fs.error().code);
  if (attached_.size() >= kAttachedMax) attached_.erase(attached_.begin());
  attached_[tag] = *fs;
  return Inside{std::move(*fs), kRootInode, tag};
}

Result<Inside> SnapshotView::Find(InodeId ino) {
  if (ino == kSnapshotDir) return Fail(Err::kIsDirectory);
  if (!IsInside(ino)) return Inside{base_, ino, 0};
  const InodeId tag = (ino >> kShift) & kTagMask;
  {
    std::lock_guard lock(mutex_);
    auto found = attached_.find(tag);
    if (found != attached_.end()) return Inside{found->second, ino & kInnerMask, tag};
  }
  for (const VolumeInfo& snapshot : Snapshots()) {
    if (TagOf(snapshot.id) != tag) continue;
    PRISM_ASSIGN(Inside inside, Enter(snapshot));
    inside.ino = ino & kInnerMask;
    return inside;
  }
  return Fail(Err::kStale);
}

// As old as the volume: what changes in it is told by events.
Result<Attr> SnapshotView::DirAttr(const Caller& caller) {
  PRISM_ASSIGN(const Attr root, base_->Getattr(caller, kRootInode));
  Attr attr;
  attr.ino = kSnapshotDir;
  attr.type = FileType::kDirectory;
  attr.mode = 0555;
  attr.nlink = 2;
  attr.atime = attr.mtime = attr.ctime = attr.btime = root.btime;
  return attr;
}

Result<EntryResult> SnapshotView::LookupLabel(const Caller& caller, std::string_view label) {
  for (const VolumeInfo& snapshot : Snapshots()) {
    if (LabelOf(snapshot) != label) continue;
    PRISM_ASSIGN(const Inside inside, Enter(snapshot));
    EntryResult result;
    PRISM_ASSIGN(result.attr, inside.fs->Getattr(caller, kRootInode));
    PRISM_TRY(inside.See(result.attr));
    PRISM_ASSIGN(result.parent.before, DirAttr(caller));
    result.parent.after = result.parent.before;
    return result;
  }
  return Fail(Err::kNoEntry);
}

Result<EntryResult> SnapshotView::Lookup(const Caller& caller, InodeId dir, std::string_view name) {
  const bool into = dir == kRootInode && name == kSnapshotDirName;
  if (into || (dir == kSnapshotDir && name == ".")) {
    EntryResult result;
    PRISM_ASSIGN(result.attr, DirAttr(caller));
    PRISM_ASSIGN(result.parent.before, into ? base_->Getattr(caller, kRootInode) : DirAttr(caller));
    result.parent.after = result.parent.before;
    return result;
  }
  if (dir == kSnapshotDir && name == "..") return base_->Lookup(caller, kRootInode, ".");
  if (dir == kSnapshotDir) {
    PRISM_TRY(CheckName(name));
    return LookupLabel(caller, name);
  }
  if (!IsInside(dir)) return base_->Lookup(caller, dir, name);
  PRISM_ASSIGN(const Inside at, Find(dir));
  if (at.ino == kRootInode && name == "..") return Lookup(caller, kSnapshotDir, ".");
  PRISM_ASSIGN(EntryResult result, at.fs->Lookup(caller, at.ino, name));
  for (Attr* attr : {&result.attr, &result.parent.before, &result.parent.after})
    PRISM_TRY(at.See(*attr));
  return result;
}

Result<Attr> SnapshotView::Getattr(const Caller& caller, InodeId ino) {
  if (ino == kSnapshotDir) return DirAttr(caller);
  PRISM_ASSIGN(const Inside at, Find(ino));
  PRISM_ASSIGN(Attr attr, at.fs->Getattr(caller, at.ino));
  if (IsInside(ino)) PRISM_TRY(at.See(attr));
  return attr;
}

Result<uint32_t> SnapshotView::Access(const Caller& caller, InodeId ino, uint32_t mask) {
  if (ino == kSnapshotDir) return mask & ~uint32_t{W_OK};
  PRISM_ASSIGN(const Inside at, Find(ino));
  return at.fs->Access(caller, at.ino, mask);
}

Result<ReadResult> SnapshotView::Read(const Caller& caller, InodeId ino, uint64_t offset,
                                      std::span<std::byte> buffer) {
  PRISM_ASSIGN(const Inside at, Find(ino));
  PRISM_ASSIGN(ReadResult result, at.fs->Read(caller, at.ino, offset, buffer));
  if (IsInside(ino)) PRISM_TRY(at.See(result.attr));
  return result;
}

Result<KeptRead> SnapshotView::ReadKept(const Caller& caller, InodeId ino, uint64_t offset,
                                        size_t length) {
  PRISM_ASSIGN(const Inside at, Find(ino));
  PRISM_ASSIGN(KeptRead read, at.fs->ReadKept(caller, at.ino, offset, length));
  if (IsInside(ino)) PRISM_TRY(at.See(read.result.attr));
  return read;
}

Result<ReaddirResult> SnapshotView::ListLabels(const Caller& caller, uint64_t cookie,
                                               bool with_attr,
                                               FunctionRef<bool(const DirEntry&)> visitor) {
  ReaddirResult result{.eof = true, .dir = {}};
  PRISM_ASSIGN(result.dir, DirAttr(caller));
  size_t visited = 0;
  for (const VolumeInfo& snapshot : Snapshots()) {
    DirEntry entry;
    entry.cookie = kFirstCookie + snapshot.id;
    if (entry.cookie <= cookie) continue;
    Result<EntryResult> found = LookupLabel(caller, LabelOf(snapshot));
    if (!found) continue;  // gone meanwhile
    const std::string label = LabelOf(snapshot);
    entry.ino = found->attr.ino;
    entry.type = FileType::kDirectory;
    entry.name = label;
    if (with_attr) entry.attr = &found->attr;
    result.eof = false;
    if (visited++ == kReaddirEntriesMax || !visitor(entry)) return result;
    result.eof = true;
  }
  return result;
}

Result<ReaddirResult> SnapshotView::Readdir(const Caller& caller, InodeId dir, uint64_t cookie,
                                            bool with_attr,
                                            FunctionRef<bool(const DirEntry&)> visitor) {
  if (dir == kSnapshotDir) return ListLabels(caller, cookie, with_attr, visitor);
  if (!IsInside(dir)) return base_->Readdir(caller, dir, cookie, with_attr, visitor);
  PRISM_ASSIGN(const Inside at, Find(dir));
  auto translate = [&](const DirEntry& inner) {
    DirEntry entry = inner;
    if (inner.ino > kInnerMask) return true;
    entry.ino = at.Seen(inner.ino);
    if (inner.attr == nullptr) return visitor(entry);
    Attr attr = *inner.attr;
    attr.ino = entry.ino;
    entry.attr = &attr;
    return visitor(entry);
  };
  PRISM_ASSIGN(ReaddirResult result, at.fs->Readdir(caller, at.ino, cookie, with_attr, translate));
  PRISM_TRY(at.See(result.dir));
  return result;
}

}  // namespace

std::shared_ptr<FileSystem> WithSnapshots(Host& host, VolumeId volume,
                                          std::shared_ptr<FileSystem> base,
                                          std::function<bool(const VolumeInfo&)> visible) {
  return std::make_shared<SnapshotView>(host, volume, std::move(base), std::move(visible));
}

}  // namespace prism::fs
