// The walk: directories are scanned by whichever thread is free; their entries are handled in
// batches, so that one huge directory keeps all threads busy as well. No path is built per file:
// everything is relative to an open directory, and a path is put together only for a message.
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <optional>

#include "tools/prism/format.h"
#include "tools/prism/host_file.h"
#include "tools/prism/link_table.h"
#include "tools/prism/task_pool.h"
#include "tools/prism/transfer.h"

namespace prism::tool {
namespace {

constexpr size_t kBatchEntries = 128;

// A directory of the source that is being copied. Finished when the last user lets it go.
struct SourceDir {
  std::shared_ptr<SourceDir> parent;
  std::string name;  // within the parent; of the top: its path
  InodeId ino = 0;   // of its copy
  UniqueFd fd;
  fs::SetAttr attributes;                  // set when its entries are there
  std::optional<std::string> default_acl;  // likewise: entries would inherit from it
  std::atomic<int> pending{1};             // batches and the scan itself

  // Not by recursion: a tree may be deeper than the stack.
  ~SourceDir() {
    while (parent && parent.use_count() == 1) parent = std::exchange(parent->parent, nullptr);
  }
  std::string Path() const {
    std::string path = name;
    for (const SourceDir* dir = parent.get(); dir; dir = dir->parent.get())
      path.insert(0, dir->name + (dir->name.ends_with('/') ? "" : "/"));
    return Printable(path);
  }
};

struct SourceEntry {
  std::string name;
  unsigned char type;  // DT_*
};

using HostInode = std::pair<dev_t, ino_t>;

// Without entries: scan the directory.
struct Task {
  std::shared_ptr<SourceDir> dir;
  std::vector<SourceEntry> entries;
};

class DirectoryImport {
 public:
  DirectoryImport(fs::FileSystem& target, const ImportOptions& options, Progress& progress)
      : target_(target), options_(options), progress_(progress) {}

  Outcome<void> Run(const std::string& path);

 private:
  Outcome<void> Scan(const std::shared_ptr<SourceDir>& dir);
  Outcome<void> HandleEntries(const Task& task);
  Outcome<void> HandleEntry(const std::shared_ptr<SourceDir>& dir, const SourceEntry& entry);
  Outcome<void> FinishOne(SourceDir& dir);

  Outcome<void> CopyDirectory(const std::shared_ptr<SourceDir>& parent, const std::string& name);
  Outcome<void> CopyRegular(SourceDir& dir, const std::string& name);
  Outcome<void> CopyContent(int fd, const struct stat& st, InodeId ino, const std::string& what);
  Outcome<void> CopyRange(int fd, InodeId ino, uint64_t begin, uint64_t end,
                          const std::string& what);
  Outcome<void> CopyOther(SourceDir& dir, const std::string& name, const struct stat& st);

  // Makes a further name if this file has one already; otherwise calls make(), which makes it.
  Outcome<void> LinkOrMake(SourceDir& dir, const std::string& name, const struct stat& st,
                           FunctionRef<Outcome<InodeId>()> make);
  Outcome<InodeId> Make(const fs::CreateArgs& args, SourceDir& dir, const std::string& name);
  void WarnVanished(SourceDir& dir, const std::string& name);
  tl::unexpected<Failure> At(const Failure& failure, SourceDir& dir, const std::string& name);

  fs::FileSystem& target_;
  const ImportOptions options_;
  Progress& progress_;
  dev_t device_ = 0;
  TaskPool<Task> pool_;
  LinkTable<HostInode, InodeId> links_;
  std::atomic<uint64_t> directories_seen_{1}, directories_done_{0};
};

std::string WhatAt(SourceDir& dir, const std::string& name) {
  return dir.Path() + "/" + Printable(name);
}

Outcome<void> DirectoryImport::Run(const std::string& path) {
  auto root = std::make_shared<SourceDir>();
  root->name = path;
  root->ino = kRootInode;
  root->fd = OpenQuietly(AT_FDCWD, path.c_str(), O_RDONLY | O_DIRECTORY);
  struct stat st = {};
  if (!root->fd.valid() || fstat(root->fd.get(), &st) != 0)
    return ExplainErrno(errno, fmt::format("cannot open the directory {}", path));
  device_ = st.st_dev;
  root->attributes = SetAttrOf(st);

  PRISM_ASSIGN(std::vector<fs::Xattr> xattrs, ReadHostXattrs(root->fd.get()));
  for (fs::Xattr& xattr : xattrs) {
    if (xattr.name == kDefaultAclXattr) {
      root->default_acl = std::move(xattr.value);
      continue;
    }
    Status set =
        target_.Setxattr(kRootCaller, kRootInode, xattr.name, xattr.value, fs::XattrMode::kSet);
    if (!set) return ExplainErr(set.error(), fmt::format("cannot set {} of the root", xattr.name));
  }
  pool_.Push({std::move(root), {}});
  const unsigned threads =
      options_.threads ? options_.threads : std::clamp(std::thread::hardware_concurrency(), 1u, 8u);
  return pool_.Run(std::min(threads, 64u), [this](Task& task) {
    return task.entries.empty() ? Scan(task.dir) : HandleEntries(task);
  });
}

Outcome<void> DirectoryImport::Scan(const std::shared_ptr<SourceDir>& dir) {
  if (!dir->fd.valid())
    dir->fd =
        OpenQuietly(dir->parent->fd.get(), dir->name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  const int list_fd = dir->fd.valid() ? fcntl(dir->fd.get(), F_DUPFD_CLOEXEC, 0) : -1;
  if (list_fd < 0) return ExplainErrno(errno, fmt::format("cannot open {}", dir->Path()));
  std::unique_ptr<DIR, int (*)(DIR*)> list(fdopendir(list_fd), closedir);
  if (!list) {
    close(list_fd);
    return ExplainErrno(ENOMEM, fmt::format("cannot list {}", dir->Path()));
  }

  Task batch{dir, {}};
  auto hand_over = [&]() -> Outcome<void> {
    if (batch.entries.empty()) return {};
    Task full{dir, std::exchange(batch.entries, {})};
    dir->pending.fetch_add(1);
    if (pool_.Busy()) return HandleEntries(full);
    pool_.Push(std::move(full));
    return {};
  };
  while (true) {
    errno = 0;
    const dirent* entry = readdir(list.get());
    if (!entry && errno != 0)
      return ExplainErrno(errno, fmt::format("cannot list {}", dir->Path()));
    if (!entry) break;
    std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    batch.entries.push_back({std::string(name), entry->d_type});
    if (batch.entries.size() == kBatchEntries) PRISM_TRY(hand_over());
  }
  // The last batch, often the only one, is handled here and now.
  if (!batch.entries.empty()) {
    dir->pending.fetch_add(1);
    PRISM_TRY(HandleEntries(batch));
  }
  return FinishOne(*dir);
}

Outcome<void> DirectoryImport::HandleEntries(const Task& task) {
  for (const SourceEntry& entry : task.entries) PRISM_TRY(HandleEntry(task.dir, entry));
  return FinishOne(*task.dir);
}

Outcome<void> DirectoryImport::HandleEntry(const std::shared_ptr<SourceDir>& dir,
                                           const SourceEntry& entry) {
  if (entry.type == DT_REG) return CopyRegular(*dir, entry.name);
  if (entry.type == DT_DIR) return CopyDirectory(dir, entry.name);
  struct stat st = {};
  if (fstatat(dir->fd.get(), entry.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno != ENOENT) return ExplainErrno(errno, WhatAt(*dir, entry.name));
    WarnVanished(*dir, entry.name);
    return {};
  }
  if (S_ISREG(st.st_mode)) return CopyRegular(*dir, entry.name);
  if (S_ISDIR(st.st_mode)) return CopyDirectory(dir, entry.name);
  return CopyOther(*dir, entry.name, st);
}

Outcome<void> DirectoryImport::FinishOne(SourceDir& dir) {
  if (dir.pending.fetch_sub(1) != 1) return {};
  if (dir.default_acl) {
    Status set = target_.Setxattr(kRootCaller, dir.ino, kDefaultAclXattr, *dir.default_acl,
                                  fs::XattrMode::kSet);
    if (!set) return ExplainErr(set.error(), fmt::format("cannot set the ACL of {}", dir.Path()));
  }
  // Last: making the entries has changed the times.
  Result<fs::Change> set = target_.Setattr(kRootCaller, dir.ino, dir.attributes);
  if (!set) return ExplainErr(set.error(), fmt::format("cannot set attributes of {}", dir.Path()));
  progress_.AddDirectory();
  const double done = static_cast<double>(++directories_done_);
  progress_.SetFraction(done / static_cast<double>(directories_seen_));
  return {};
}

Outcome<void> DirectoryImport::CopyDirectory(const std::shared_ptr<SourceDir>& parent,
                                             const std::string& name) {
  UniqueFd fd = OpenQuietly(parent->fd.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  struct stat st = {};
  if (!fd.valid() || fstat(fd.get(), &st) != 0) {
    if (errno != ENOENT) return ExplainErrno(errno, WhatAt(*parent, name));
    WarnVanished(*parent, name);
    return {};
  }
  auto xattrs = ReadHostXattrs(fd.get());
  if (!xattrs) return At(xattrs.error(), *parent, name);

  auto dir = std::make_shared<SourceDir>();
  std::erase_if(*xattrs, [&](fs::Xattr& xattr) {
    if (xattr.name != kDefaultAclXattr) return false;
    dir->default_acl = std::move(xattr.value);
    return true;
  });
  fs::CreateArgs args;
  args.type = fs::FileType::kDirectory;
  args.initial = SetAttrOf(st);
  args.xattrs = *xattrs;
  PRISM_ASSIGN(dir->ino, Make(args, *parent, name));
  dir->parent = parent;
  dir->name = name;
  dir->attributes = args.initial;
  ++directories_seen_;
  if (st.st_dev != device_ && !options_.cross_file_systems) {
    progress_.Note(
        fmt::format("{}: another file system is mounted here; its content is left out "
                    "(--cross-file-systems takes it)",
                    WhatAt(*parent, name)));
    return FinishOne(*dir);
  }
  pool_.Push({std::move(dir), {}});
  return {};
}

Outcome<void> DirectoryImport::CopyRegular(SourceDir& dir, const std::string& name) {
  UniqueFd fd = OpenQuietly(dir.fd.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  struct stat st = {};
  if (!fd.valid() || fstat(fd.get(), &st) != 0) {
    if (errno != ENOENT) return ExplainErrno(errno, WhatAt(dir, name));
    WarnVanished(dir, name);
    return {};
  }
  if (!S_ISREG(st.st_mode)) {
    progress_.Warn(fmt::format("{}: left out: its type changed meanwhile", WhatAt(dir, name)));
    return {};
  }
  return LinkOrMake(dir, name, st, [&]() -> Outcome<InodeId> {
    auto xattrs = ReadHostXattrs(fd.get());
    if (!xattrs) return At(xattrs.error(), dir, name);
    fs::CreateArgs args;
    args.type = fs::FileType::kRegular;
    args.initial = SetAttrOf(st);
    args.xattrs = *xattrs;

    const auto size = static_cast<uint64_t>(st.st_size);
    const bool whole = static_cast<uint64_t>(st.st_blocks) * 512 >= size ||
                       lseek(fd.get(), 0, SEEK_HOLE) >= st.st_size;
    if (size > fs::kInitialDataMax || !whole) {
      PRISM_ASSIGN(InodeId ino, Make(args, dir, name));
      PRISM_TRY(CopyContent(fd.get(), st, ino, WhatAt(dir, name)));
      progress_.AddFile(0);
      return ino;
    }
    thread_local std::array<std::byte, fs::kInitialDataMax> buffer;
    size_t got = 0;
    while (got < size) {
      const ssize_t part = read(fd.get(), buffer.data() + got, size - got);
      if (part < 0 && errno == EINTR) continue;
      if (part < 0) return ExplainErrno(errno, WhatAt(dir, name));
      if (part == 0) break;
      got += part;
    }
    if (got < size)
      progress_.Warn(fmt::format("{}: became shorter while it was read", WhatAt(dir, name)));
    args.data = std::span(buffer.data(), got);
    PRISM_ASSIGN(InodeId ino, Make(args, dir, name));
    progress_.AddFile(got);
    return ino;
  });
}

Outcome<void> DirectoryImport::CopyContent(int fd, const struct stat& st, InodeId ino,
                                           const std::string& what) {
  const auto size = static_cast<uint64_t>(st.st_size);
  if (size > fs::kFileSizeMax) return ExplainErr(Err::kTooLarge, what);
  uint64_t offset = 0;
  while (offset < size) {
    const off_t data = lseek(fd, static_cast<off_t>(offset), SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;
    const bool can_seek = data >= 0 || errno != EINVAL;
    if (data < 0 && can_seek) return ExplainErrno(errno, what);
    const off_t hole = can_seek ? lseek(fd, data, SEEK_HOLE) : st.st_size;
    if (hole < 0) return ExplainErrno(errno, what);
    const uint64_t begin = can_seek ? static_cast<uint64_t>(data) : 0;
    const uint64_t end = std::min(static_cast<uint64_t>(hole), size);
    if (begin < end) PRISM_TRY(CopyRange(fd, ino, begin, end, what));
    offset = std::max(end, begin + 1);
  }
  fs::SetAttr last;
  last.size = size;  // a hole at the end
  last.atime = SetAttrOf(st).atime;
  last.mtime = SetAttrOf(st).mtime;
  Result<fs::Change> set = target_.Setattr(kRootCaller, ino, last);
  if (!set) return ExplainErr(set.error(), what);
  return {};
}

Outcome<void> DirectoryImport::CopyRange(int fd, InodeId ino, uint64_t begin, uint64_t end,
                                         const std::string& what) {
  thread_local std::vector<std::byte> buffer(fs::kIoMax);
  for (uint64_t offset = begin; offset < end;) {
    const size_t want = std::min<uint64_t>(buffer.size(), end - offset);
    const ssize_t got = pread(fd, buffer.data(), want, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ExplainErrno(errno, what);
    if (got == 0) {
      progress_.Warn(fmt::format("{}: became shorter while it was read", what));
      return {};
    }
    for (size_t done = 0; done < static_cast<size_t>(got);) {
      fs::WriteArgs args;
      args.ino = ino;
      args.offset = offset + done;
      args.data = std::span(buffer.data() + done, got - done);
      Result<fs::WriteResult> wrote = target_.Write(kRootCaller, args);
      if (!wrote)
        return ExplainErr(wrote.error(), fmt::format("cannot write the copy of {}", what));
      if (wrote->length == 0) return Explain(Err::kProtocol, "{}: a write wrote nothing", what);
      done += wrote->length;
    }
    offset += got;
    progress_.AddBytes(got);
  }
  return {};
}

Outcome<void> DirectoryImport::CopyOther(SourceDir& dir, const std::string& name,
                                         const struct stat& st) {
  return LinkOrMake(dir, name, st, [&]() -> Outcome<InodeId> {
    auto xattrs = ReadHostXattrs(dir.fd.get(), name.c_str());
    if (!xattrs) return At(xattrs.error(), dir, name);
    std::array<char, fs::kSymlinkMax + 1> link;
    fs::CreateArgs args;
    args.type = FileTypeOf(st.st_mode);
    args.initial = SetAttrOf(st);
    args.xattrs = *xattrs;
    if (args.type == fs::FileType::kSymlink) {
      const ssize_t length = readlinkat(dir.fd.get(), name.c_str(), link.data(), link.size());
      if (length < 0) return ExplainErrno(errno, WhatAt(dir, name));
      args.symlink_target = std::string_view(link.data(), length);
    }
    if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) {
      args.rdev_major = major(st.st_rdev);
      args.rdev_minor = minor(st.st_rdev);
    }
    PRISM_ASSIGN(InodeId ino, Make(args, dir, name));
    progress_.AddOther();
    return ino;
  });
}

Outcome<void> DirectoryImport::LinkOrMake(SourceDir& dir, const std::string& name,
                                          const struct stat& st,
                                          FunctionRef<Outcome<InodeId>()> make) {
  if (st.st_nlink < 2) {
    PRISM_TRY(make());
    return {};
  }
  const HostInode key{st.st_dev, st.st_ino};
  std::optional<InodeId> known;
  if (!links_.Claim(key, st.st_nlink, known))
    return Explain(Err::kIo, "{}: stopped", WhatAt(dir, name));  // another thread has failed
  if (known) {
    Result<fs::EntryResult> linked = target_.Link(kRootCaller, *known, dir.ino, name);
    if (!linked)
      return ExplainErr(linked.error(), fmt::format("cannot link {}", WhatAt(dir, name)));
    progress_.AddHardLink();
    return {};
  }
  Outcome<InodeId> made = make();
  links_.Resolve(key, made ? std::optional(*made) : std::nullopt);
  if (!made) return tl::unexpected(std::move(made).error());
  return {};
}

Outcome<InodeId> DirectoryImport::Make(const fs::CreateArgs& args, SourceDir& dir,
                                       const std::string& name) {
  fs::CreateArgs complete = args;
  complete.parent = dir.ino;
  complete.name = name;
  complete.mode = *args.initial.mode;
  Result<fs::EntryResult> made = target_.Create(kRootCaller, complete);
  if (!made)
    return ExplainErr(made.error(), fmt::format("cannot make the copy of {}", WhatAt(dir, name)));
  return made->attr.ino;
}

void DirectoryImport::WarnVanished(SourceDir& dir, const std::string& name) {
  progress_.Warn(fmt::format("{}: left out: it vanished meanwhile", WhatAt(dir, name)));
}

tl::unexpected<Failure> DirectoryImport::At(const Failure& failure, SourceDir& dir,
                                            const std::string& name) {
  return Explain(failure.code, "{}: {}", WhatAt(dir, name), failure.message);
}

}  // namespace

Outcome<void> ImportDirectory(fs::FileSystem& target, const std::string& path,
                              const ImportOptions& options, Progress& progress) {
  RaiseDescriptorLimit();
  return DirectoryImport(target, options, progress).Run(path);
}

}  // namespace prism::tool
