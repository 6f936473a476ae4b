// Directories are written by whichever thread is free. Every file is made by name in an open
// directory, exclusively and without following symlinks, so nothing is written outside of the
// target even if somebody plays with it meanwhile.
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

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

// A directory's place below the target, without a descriptor.
struct PathNode {
  std::shared_ptr<PathNode> parent;  // none: the target itself
  std::string name;

  // Not by recursion: a tree may be deeper than the stack.
  ~PathNode() {
    while (parent && parent.use_count() == 1) parent = std::exchange(parent->parent, nullptr);
  }
};

struct TargetDir {
  std::shared_ptr<PathNode> node;
  UniqueFd fd;
};

struct Task {
  std::shared_ptr<TargetDir> parent;  // none: the target itself
  std::shared_ptr<PathNode> node;
  fs::Attr attr;
};

// Where a file with several names was made first.
struct FirstName {
  std::shared_ptr<PathNode> dir;
  std::string name;
};

std::string PathOf(const PathNode& node, std::string_view name = {}) {
  std::string path(name);
  for (const PathNode* at = &node; at->parent; at = at->parent.get())
    path.insert(0, at->name + "/");
  return Printable(path.empty() ? "the root" : path);
}

class DirectoryExport {
 public:
  DirectoryExport(fs::FileSystem& source, Progress& progress)
      : source_(source), progress_(progress), is_root_(geteuid() == 0) {}

  Outcome<void> Run(const std::string& path);

 private:
  Outcome<void> WriteDirectory(Task& task);
  Outcome<void> WriteEntry(const std::shared_ptr<TargetDir>& dir, const Entry& entry);
  Outcome<void> Make(const std::shared_ptr<TargetDir>& dir, const Entry& entry);
  Outcome<void> MakeRegular(TargetDir& dir, const Entry& entry);
  Outcome<void> MakeOther(TargetDir& dir, const Entry& entry);
  Outcome<void> LinkTo(const FirstName& first, TargetDir& dir, const std::string& name);
  Outcome<void> CopyContent(int fd, const fs::Attr& attr, const std::string& what);
  Outcome<void> CopyRange(int fd, InodeId ino, uint64_t offset, uint64_t length,
                          const std::string& what);

  // Owner, mode, extended attributes, times; in this order, because a change of owner clears
  // set-id bits and capabilities, and a mode must be there before its ACL.
  Outcome<void> SetAttributes(int fd, const fs::Attr& attr, const std::string& what);
  Outcome<void> SetAttributesByName(int dir_fd, const std::string& name, const fs::Attr& attr,
                                    const std::string& what);
  Outcome<void> SetXattrs(int fd, const std::string& path, InodeId ino, const std::string& what);
  // True if the lack of root's rights explains errno; says so once.
  bool Excused(const char* what);

  fs::FileSystem& source_;
  Progress& progress_;
  const bool is_root_;
  std::atomic<bool> excused_{false};
  UniqueFd top_;
  TaskPool<Task> pool_;
  LinkTable<InodeId, FirstName> links_;
  std::atomic<uint64_t> directories_seen_{1}, directories_done_{0};
};

std::array<timespec, 2> TimesOf(const fs::Attr& attr) {
  return {timespec{attr.atime.sec, attr.atime.nsec}, timespec{attr.mtime.sec, attr.mtime.nsec}};
}

Outcome<bool> IsEmpty(const std::string& path) {
  std::unique_ptr<DIR, int (*)(DIR*)> list(opendir(path.c_str()), closedir);
  if (!list) return ExplainErrno(errno, fmt::format("cannot open the directory {}", path));
  while (const dirent* entry = readdir(list.get())) {
    std::string_view name = entry->d_name;
    if (name != "." && name != "..") return false;
  }
  return true;
}

Outcome<void> DirectoryExport::Run(const std::string& path) {
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
    return ExplainErrno(errno, fmt::format("cannot make the directory {}", path));
  PRISM_ASSIGN(bool empty, IsEmpty(path));
  if (!empty)
    return Explain(Err::kNotEmpty, "{} is not empty: name a new or an empty directory", path);
  top_ = UniqueFd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!top_.valid()) return ExplainErrno(errno, fmt::format("cannot open {}", path));
  Result<fs::Attr> root = source_.Getattr(kRootCaller, kRootInode);
  if (!root) return ExplainErr(root.error(), "cannot read the volume's root");
  pool_.Push({nullptr, std::make_shared<PathNode>(), *root});
  const unsigned threads = std::clamp(std::thread::hardware_concurrency(), 1u, 8u);
  return pool_.Run(threads, [this](Task& task) { return WriteDirectory(task); });
}

Outcome<void> DirectoryExport::WriteDirectory(Task& task) {
  auto dir = std::make_shared<TargetDir>();
  dir->node = task.node;
  dir->fd = UniqueFd(task.parent ? openat(task.parent->fd.get(), task.node->name.c_str(),
                                          O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
                                 : fcntl(top_.get(), F_DUPFD_CLOEXEC, 0));
  task.parent.reset();
  const std::string what = PathOf(*task.node);
  if (!dir->fd.valid()) return ExplainErrno(errno, fmt::format("cannot open {}", what));
  PRISM_TRY(ForEachEntry(source_, task.attr.ino,
                         [&](const Entry& entry) { return WriteEntry(dir, entry); }));
  // Last: making the entries has changed the times, and they would inherit from a default ACL.
  PRISM_TRY(SetAttributes(dir->fd.get(), task.attr, what));
  progress_.AddDirectory();
  const double done = static_cast<double>(++directories_done_);
  progress_.SetFraction(done / static_cast<double>(directories_seen_));
  return {};
}

Outcome<void> DirectoryExport::WriteEntry(const std::shared_ptr<TargetDir>& dir,
                                          const Entry& entry) {
  if (entry.attr.type == fs::FileType::kDirectory) {
    const std::string what = PathOf(*dir->node, entry.name);
    if (mkdirat(dir->fd.get(), entry.name.c_str(), 0700) != 0)
      return ExplainErrno(errno, fmt::format("cannot make {}", what));
    auto node = std::make_shared<PathNode>();
    node->parent = dir->node;
    node->name = entry.name;
    ++directories_seen_;
    pool_.Push({dir, std::move(node), entry.attr});
    return {};
  }
  if (entry.attr.nlink < 2) return Make(dir, entry);
  std::optional<FirstName> first;
  if (!links_.Claim(entry.attr.ino, entry.attr.nlink, first))
    return Explain(Err::kIo, "stopped");  // another thread has failed, with a better message
  if (first) return LinkTo(*first, *dir, entry.name);
  Outcome<void> made = Make(dir, entry);
  links_.Resolve(entry.attr.ino,
                 made ? std::optional(FirstName{dir->node, entry.name}) : std::nullopt);
  return made;
}

Outcome<void> DirectoryExport::Make(const std::shared_ptr<TargetDir>& dir, const Entry& entry) {
  return entry.attr.type == fs::FileType::kRegular ? MakeRegular(*dir, entry)
                                                   : MakeOther(*dir, entry);
}

Outcome<void> DirectoryExport::LinkTo(const FirstName& first, TargetDir& dir,
                                      const std::string& name) {
  std::vector<const std::string*> way;
  for (const PathNode* at = first.dir.get(); at->parent; at = at->parent.get())
    way.push_back(&at->name);
  UniqueFd from(fcntl(top_.get(), F_DUPFD_CLOEXEC, 0));
  for (auto step = way.rbegin(); step != way.rend() && from.valid(); ++step)
    from = UniqueFd(
        openat(from.get(), (*step)->c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!from.valid() || linkat(from.get(), first.name.c_str(), dir.fd.get(), name.c_str(), 0) != 0)
    return ExplainErrno(errno, fmt::format("cannot link {} to {}", PathOf(*dir.node, name),
                                           PathOf(*first.dir, first.name)));
  progress_.AddHardLink();
  return {};
}

Outcome<void> DirectoryExport::MakeRegular(TargetDir& dir, const Entry& entry) {
  const std::string what = PathOf(*dir.node, entry.name);
  UniqueFd fd(openat(dir.fd.get(), entry.name.c_str(),
                     O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd.valid()) return ExplainErrno(errno, fmt::format("cannot make {}", what));
  PRISM_TRY(CopyContent(fd.get(), entry.attr, what));
  PRISM_TRY(SetAttributes(fd.get(), entry.attr, what));
  progress_.AddFile(0);
  return {};
}

Outcome<void> DirectoryExport::CopyContent(int fd, const fs::Attr& attr, const std::string& what) {
  uint64_t end = 0;
  Outcome<void> copied =
      ForEachDataRange(source_, attr, [&](uint64_t offset, uint64_t length) -> Outcome<void> {
        end = offset + length;
        return CopyRange(fd, attr.ino, offset, length, what);
      });
  if (!copied) return Explain(copied.error().code, "{}: {}", what, copied.error().message);
  if (end < attr.size && ftruncate(fd, static_cast<off_t>(attr.size)) != 0)
    return ExplainErrno(errno, fmt::format("cannot set the size of {}", what));
  return {};
}

Outcome<void> DirectoryExport::CopyRange(int fd, InodeId ino, uint64_t offset, uint64_t length,
                                         const std::string& what) {
  thread_local std::vector<std::byte> buffer(fs::kIoMax);
  while (length > 0) {
    auto part = std::span(buffer).first(std::min<uint64_t>(buffer.size(), length));
    Result<fs::ReadResult> read = source_.Read(kRootCaller, ino, offset, part);
    if (!read) return ExplainErr(read.error(), fmt::format("cannot read {}", what));
    if (read->length == 0) {
      progress_.Warn(fmt::format("{}: became shorter while it was read", what));
      return {};
    }
    if (read->length > part.size()) return Explain(Err::kProtocol, "{}: read too much", what);
    if (!WriteFully(fd, part.data(), read->length, offset))
      return ExplainErrno(errno, fmt::format("cannot write {}", what));
    progress_.AddBytes(read->length);
    offset += read->length;
    length -= read->length;
  }
  return {};
}

Outcome<void> DirectoryExport::MakeOther(TargetDir& dir, const Entry& entry) {
  const fs::Attr& attr = entry.attr;
  const std::string what = PathOf(*dir.node, entry.name);
  int made;
  if (attr.type == fs::FileType::kSymlink) {
    Result<std::string> target = source_.Readlink(kRootCaller, attr.ino);
    if (!target) return ExplainErr(target.error(), fmt::format("cannot read {}", what));
    made = symlinkat(target->c_str(), dir.fd.get(), entry.name.c_str());
  } else {
    made = mknodat(dir.fd.get(), entry.name.c_str(), ModeOf(attr.type) | 0600,
                   makedev(attr.rdev_major, attr.rdev_minor));
  }
  if (made != 0) return ExplainErrno(errno, fmt::format("cannot make {}", what));
  PRISM_TRY(SetAttributesByName(dir.fd.get(), entry.name, attr, what));
  progress_.AddOther();
  return {};
}

bool DirectoryExport::Excused(const char* what) {
  if (is_root_ || (errno != EPERM && errno != EINVAL)) return false;
  if (!excused_.exchange(true))
    progress_.Warn(fmt::format("only root can set every {}; run as root to keep them", what));
  return true;
}

Outcome<void> DirectoryExport::SetAttributes(int fd, const fs::Attr& attr,
                                             const std::string& what) {
  if (fchown(fd, attr.uid, attr.gid) != 0 && !Excused("owner"))
    return ExplainErrno(errno, fmt::format("cannot set the owner of {}", what));
  if (fchmod(fd, attr.mode) != 0 && !Excused("mode"))
    return ExplainErrno(errno, fmt::format("cannot set the mode of {}", what));
  PRISM_TRY(SetXattrs(fd, {}, attr.ino, what));
  if (futimens(fd, TimesOf(attr).data()) != 0)
    return ExplainErrno(errno, fmt::format("cannot set the times of {}", what));
  return {};
}

Outcome<void> DirectoryExport::SetAttributesByName(int dir_fd, const std::string& name,
                                                   const fs::Attr& attr, const std::string& what) {
  if (fchownat(dir_fd, name.c_str(), attr.uid, attr.gid, AT_SYMLINK_NOFOLLOW) != 0 &&
      !Excused("owner"))
    return ExplainErrno(errno, fmt::format("cannot set the owner of {}", what));
  const std::string path = fmt::format("/proc/self/fd/{}/{}", dir_fd, name);
  if (attr.type != fs::FileType::kSymlink) {
    // fchmodat follows symlinks; a descriptor of the thing itself does not.
    UniqueFd self(openat(dir_fd, name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    struct stat st = {};
    if (!self.valid() || fstat(self.get(), &st) != 0 || S_ISLNK(st.st_mode) ||
        chmod(fmt::format("/proc/self/fd/{}", self.get()).c_str(), attr.mode) != 0)
      return ExplainErrno(errno ? errno : EIO, fmt::format("cannot set the mode of {}", what));
  }
  PRISM_TRY(SetXattrs(-1, path, attr.ino, what));
  if (utimensat(dir_fd, name.c_str(), TimesOf(attr).data(), AT_SYMLINK_NOFOLLOW) != 0)
    return ExplainErrno(errno, fmt::format("cannot set the times of {}", what));
  return {};
}

Outcome<void> DirectoryExport::SetXattrs(int fd, const std::string& path, InodeId ino,
                                         const std::string& what) {
  Result<std::vector<fs::Xattr>> xattrs = ReadXattrs(source_, ino);
  if (!xattrs) return ExplainErr(xattrs.error(), fmt::format("cannot read attributes of {}", what));
  for (const fs::Xattr& xattr : *xattrs) {
    const char* name = xattr.name.c_str();
    const int set = path.empty()
                        ? fsetxattr(fd, name, xattr.value.data(), xattr.value.size(), 0)
                        : lsetxattr(path.c_str(), name, xattr.value.data(), xattr.value.size(), 0);
    if (set != 0 && !Excused("attribute"))
      return ExplainErrno(errno, fmt::format("cannot set {} of {}", Printable(xattr.name), what));
  }
  return {};
}

}  // namespace

Outcome<void> ExportDirectory(fs::FileSystem& source, const std::string& path, Progress& progress) {
  RaiseDescriptorLimit();
  return DirectoryExport(source, progress).Run(path);
}

}  // namespace prism::tool
