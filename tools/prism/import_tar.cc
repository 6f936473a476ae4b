#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <unordered_map>

#include "tools/prism/archive_acl.h"
#include "tools/prism/archive_text.h"
#include "tools/prism/format.h"
#include "tools/prism/host_file.h"
#include "tools/prism/tar_tree.h"
#include "tools/prism/transfer.h"

namespace prism::tool {
namespace {

constexpr size_t kReadBlockBytes = 256 << 10;
constexpr uint32_t kMajorMax = 4095;           // Linux: 12 bits
constexpr uint32_t kMinorMax = (1 << 20) - 1;  // and 20

using ArchiveReader = std::unique_ptr<archive, int (*)(archive*)>;

class TarImport {
 public:
  TarImport(fs::FileSystem& target, Progress& progress)
      : target_(target), progress_(progress), tree_(target) {}

  Outcome<void> Run(const std::string& path);

 private:
  Outcome<void> Open(const std::string& path);
  Outcome<void> HandleEntry();
  Outcome<void> HandleHardLink(const TarTree::Place& place);
  Outcome<void> HandleDirectory(const std::optional<TarTree::Place>& place);
  Outcome<void> HandleRegular(const TarTree::Place& place);
  Outcome<void> HandleOther(const TarTree::Place& place, mode_t type);

  Outcome<void> ReadAttributes();
  Outcome<void> ReadXattrs();
  Outcome<uint64_t> ReadSize();
  Outcome<InodeId> Make(const TarTree::Place& place, fs::FileType type, fs::CreateArgs args);
  Outcome<void> CopyContent(InodeId ino, uint64_t size);
  Outcome<void> FinishDirectories();
  tl::unexpected<Failure> ArchiveFailure();

  struct Directory {
    fs::SetAttr attributes;
    std::string default_acl;
  };

  fs::FileSystem& target_;
  Progress& progress_;
  ArchiveReader reader_{nullptr, archive_read_free};
  UniqueFd file_;
  uint64_t file_size_ = 0;  // 0: not known
  TarTree tree_;
  std::unordered_map<InodeId, Directory> directories_;  // to be finished at the end
  bool noted_slash_ = false;

  // Of the entry at hand.
  archive_entry* entry_ = nullptr;
  fs::SetAttr attributes_;
  std::vector<fs::Xattr> xattrs_;
  std::string default_acl_;
};

tl::unexpected<Failure> TarImport::ArchiveFailure() {
  const char* text = archive_error_string(reader_.get());
  return Explain(Err::kInvalid, "the archive cannot be read: {}", text ? text : "unknown error");
}

Outcome<void> TarImport::Open(const std::string& path) {
  if (path != "-") {
    file_ = UniqueFd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file_.valid()) return ExplainErrno(errno, fmt::format("cannot open {}", path));
    struct stat st = {};
    if (fstat(file_.get(), &st) == 0 && S_ISREG(st.st_mode)) file_size_ = st.st_size;
  }
  reader_.reset(archive_read_new());
  archive* reader = reader_.get();
  archive_read_support_filter_all(reader);
  archive_read_support_format_tar(reader);
  archive_read_support_format_cpio(reader);
  if (archive_read_open_fd(reader, path == "-" ? STDIN_FILENO : file_.get(), kReadBlockBytes) !=
      ARCHIVE_OK)
    return ArchiveFailure();
  return {};
}

Outcome<void> TarImport::Run(const std::string& path) {
  Utf8Locale locale;
  PRISM_TRY(Open(path));
  while (true) {
    const int status = archive_read_next_header(reader_.get(), &entry_);
    if (status == ARCHIVE_EOF) break;
    if (status == ARCHIVE_RETRY) continue;
    if (status < ARCHIVE_WARN) return ArchiveFailure();
    const char* raw_name = archive_entry_pathname(entry_);
    const std::string name = Printable(raw_name ? raw_name : "?");
    if (status == ARCHIVE_WARN) {
      const char* text = archive_error_string(reader_.get());
      // Names need not be UTF-8 here; those that are not come as the bytes that they are.
      if (!raw_name || !text || !std::strstr(text, "can't be converted"))
        progress_.Warn(fmt::format("entry {}: {}", name, text ? text : "unknown warning"));
    }
    Outcome<void> outcome = HandleEntry();
    if (!outcome)
      return Explain(outcome.error().code, "entry {}: {}", name, outcome.error().message);
    if (file_size_ > 0)
      progress_.SetFraction(static_cast<double>(archive_filter_bytes(reader_.get(), -1)) /
                            static_cast<double>(file_size_));
  }
  return FinishDirectories();
}

Outcome<void> TarImport::HandleEntry() {
  const char* path = archive_entry_pathname(entry_);
  if (!path) return Explain(Err::kInvalid, "the entry has no usable name");
  if (path[0] == '/' && !std::exchange(noted_slash_, true))
    progress_.Note("absolute names: leading slashes are dropped");
  const mode_t type = archive_entry_filetype(entry_);
  const bool is_hard_link = archive_entry_hardlink(entry_) != nullptr;
  PRISM_ASSIGN(std::optional<TarTree::Place> place, tree_.Find(path));
  PRISM_TRY(ReadAttributes());
  if (!is_hard_link && type == AE_IFDIR) return HandleDirectory(place);
  if (!place) return Explain(Err::kInvalid, "the root can only be a directory");
  if (is_hard_link) return HandleHardLink(*place);
  if (type == AE_IFREG) return HandleRegular(*place);
  return HandleOther(*place, type);
}

Outcome<void> TarImport::ReadAttributes() {
  const int64_t uid = archive_entry_uid(entry_), gid = archive_entry_gid(entry_);
  if (uid < 0 || uid >= UINT32_MAX || gid < 0 || gid >= UINT32_MAX)
    return Explain(Err::kInvalid, "the owner {}:{} is not one that Linux has", uid, gid);
  attributes_ = {};
  attributes_.uid = static_cast<uint32_t>(uid);
  attributes_.gid = static_cast<uint32_t>(gid);
  auto time = [](time_t sec, long nsec) {
    return FromPaxTime({sec, static_cast<uint32_t>(std::clamp(nsec, 0l, 999999999l))});
  };
  attributes_.mtime = time(archive_entry_mtime(entry_), archive_entry_mtime_nsec(entry_));
  attributes_.atime = archive_entry_atime_is_set(entry_)
                          ? time(archive_entry_atime(entry_), archive_entry_atime_nsec(entry_))
                          : *attributes_.mtime;
  PRISM_TRY(ReadXattrs());
  uint32_t mode = archive_entry_perm(entry_) & 07777;
  for (const fs::Xattr& xattr : xattrs_) {
    // libarchive gives the owning group's permissions here; stat and chmod mean the mask's.
    if (xattr.name == kAccessAclXattr)
      if (auto mask = AclMaskOf(xattr.value)) mode = (mode & ~070u) | *mask << 3;
  }
  attributes_.mode = mode;
  return {};
}

Outcome<void> TarImport::ReadXattrs() {
  std::map<std::string, std::string> found;  // the format may tell one twice
  const char* name;
  const void* value;
  size_t size;
  archive_entry_xattr_reset(entry_);
  while (archive_entry_xattr_next(entry_, &name, &value, &size) == ARCHIVE_OK) {
    if (!name || !KeepsXattr(name)) {
      progress_.Warn(
          fmt::format("{}: the attribute {} is left out: not one of user., trusted., "
                      "security. or an ACL",
                      Printable(archive_entry_pathname(entry_)), Printable(name ? name : "?")));
      continue;
    }
    std::string_view key = name;
    if (key.size() > fs::kXattrNameMax || size > fs::kXattrValueMax)
      return Explain(Err::kTooBig, "an extended attribute is too large ({} bytes)", size);
    found[std::string(key)] = std::string(static_cast<const char*>(value), size);
  }
  std::string access = AclXattrOf(entry_, ARCHIVE_ENTRY_ACL_TYPE_ACCESS);
  if (!access.empty()) found[std::string(kAccessAclXattr)] = std::move(access);
  default_acl_ = AclXattrOf(entry_, ARCHIVE_ENTRY_ACL_TYPE_DEFAULT);
  // A default ACL waits for the end: what is made in the directory would inherit from it.
  if (auto raw = found.extract(std::string(kDefaultAclXattr))) default_acl_ = raw.mapped();
  xattrs_.clear();
  for (auto& [key, content] : found) xattrs_.push_back({key, std::move(content)});
  return {};
}

Outcome<uint64_t> TarImport::ReadSize() {
  const int64_t size = archive_entry_size_is_set(entry_) ? archive_entry_size(entry_) : 0;
  if (size < 0) return Explain(Err::kInvalid, "the size {} is negative", size);
  if (static_cast<uint64_t>(size) > fs::kFileSizeMax)
    return Explain(Err::kTooLarge, "the size {} is beyond the largest file", size);
  return static_cast<uint64_t>(size);
}

Outcome<InodeId> TarImport::Make(const TarTree::Place& place, fs::FileType type,
                                 fs::CreateArgs args) {
  args.parent = place.dir;
  args.name = place.name;
  args.type = type;
  args.mode = *attributes_.mode;
  args.initial = attributes_;
  args.xattrs = xattrs_;
  Result<fs::EntryResult> made = target_.Create(kRootCaller, args);
  if (!made && made.error() == Err::kExists) {
    PRISM_ASSIGN(InodeId removed, tree_.Remove(place));
    directories_.erase(removed);
    made = target_.Create(kRootCaller, args);
  }
  if (!made) return ExplainErr(made.error(), "cannot make it in the volume");
  return made->attr.ino;
}

Outcome<void> TarImport::HandleDirectory(const std::optional<TarTree::Place>& place) {
  InodeId ino = kRootInode;
  bool existed = true;
  if (place) {
    PRISM_ASSIGN(std::optional<InodeId> known, tree_.FindDirectory(*place));
    existed = known.has_value();
    if (known) {
      ino = *known;
    } else {
      PRISM_ASSIGN(ino, Make(*place, fs::FileType::kDirectory, {}));
      tree_.Remember(*place, ino);
    }
  }
  if (existed) {
    for (const fs::Xattr& xattr : xattrs_) {
      Status set = target_.Setxattr(kRootCaller, ino, xattr.name, xattr.value, fs::XattrMode::kSet);
      if (!set) return ExplainErr(set.error(), fmt::format("cannot set {}", xattr.name));
    }
  }
  directories_[ino] = {attributes_, default_acl_};
  progress_.AddDirectory();
  return {};
}

Outcome<void> TarImport::HandleHardLink(const TarTree::Place& place) {
  const char* target_path = archive_entry_hardlink(entry_);
  PRISM_ASSIGN(InodeId ino, tree_.FindExisting(target_path));
  auto refers_to = target_.Lookup(kRootCaller, place.dir, place.name);
  if (!refers_to || refers_to->attr.ino != ino) {
    if (refers_to) {
      PRISM_ASSIGN(InodeId removed, tree_.Remove(place));
      directories_.erase(removed);
    }
    Result<fs::EntryResult> linked = target_.Link(kRootCaller, ino, place.dir, place.name);
    if (!linked)
      return ExplainErr(linked.error(), fmt::format("cannot link to {}", Printable(target_path)));
  }
  progress_.AddHardLink();
  // Some formats bring the content with the last name.
  PRISM_ASSIGN(uint64_t size, ReadSize());
  if (size > 0) PRISM_TRY(CopyContent(ino, size));
  return {};
}

Outcome<void> TarImport::HandleRegular(const TarTree::Place& place) {
  PRISM_ASSIGN(uint64_t size, ReadSize());
  if (size > fs::kInitialDataMax || archive_entry_sparse_count(entry_) > 0) {
    PRISM_ASSIGN(InodeId ino, Make(place, fs::FileType::kRegular, {}));
    PRISM_TRY(CopyContent(ino, size));
    progress_.AddFile(0);
    return {};
  }
  std::vector<std::byte> data(size);
  size_t done = 0;
  while (done < size) {
    const la_ssize_t got = archive_read_data(reader_.get(), data.data() + done, size - done);
    if (got < 0) return ArchiveFailure();
    if (got == 0) return Explain(Err::kInvalid, "the archive ends early");
    done += got;
  }
  std::byte beyond;
  if (archive_read_data(reader_.get(), &beyond, 1) != 0)
    return Explain(Err::kInvalid, "its data lies outside of its size");
  fs::CreateArgs args;
  args.data = data;
  PRISM_TRY(Make(place, fs::FileType::kRegular, args));
  progress_.AddFile(size);
  return {};
}

Outcome<void> TarImport::CopyContent(InodeId ino, uint64_t size) {
  std::vector<std::byte> pending;
  uint64_t pending_offset = 0;
  auto flush = [&]() -> Outcome<void> {
    for (size_t done = 0; done < pending.size();) {
      fs::WriteArgs args;
      args.ino = ino;
      args.offset = pending_offset + done;
      args.data = std::span(pending).subspan(done);
      Result<fs::WriteResult> wrote = target_.Write(kRootCaller, args);
      if (!wrote) return ExplainErr(wrote.error(), "cannot write to the volume");
      if (wrote->length == 0) return Explain(Err::kProtocol, "a write wrote nothing");
      done += wrote->length;
    }
    progress_.AddBytes(pending.size());
    pending_offset += pending.size();
    pending.clear();
    return {};
  };

  pending.reserve(fs::kIoMax);
  uint64_t position = 0;
  while (true) {
    const void* block;
    size_t length;
    int64_t offset;
    const int status = archive_read_data_block(reader_.get(), &block, &length, &offset);
    if (status == ARCHIVE_EOF) break;
    if (status == ARCHIVE_RETRY) continue;
    if (status < ARCHIVE_WARN) return ArchiveFailure();
    const auto begin = static_cast<uint64_t>(offset);
    if (length == 0) continue;
    if (offset < 0 || begin < position || begin > size || length > size - begin)
      return Explain(Err::kInvalid, "its data lies outside of its size");
    position = begin + length;
    auto rest = std::span(static_cast<const std::byte*>(block), length);
    if (begin != pending_offset + pending.size()) {
      PRISM_TRY(flush());
      pending_offset = begin;
    }
    while (!rest.empty()) {
      const size_t take = std::min(rest.size(), fs::kIoMax - pending.size());
      pending.insert(pending.end(), rest.begin(), rest.begin() + take);
      rest = rest.subspan(take);
      if (pending.size() == fs::kIoMax) PRISM_TRY(flush());
    }
  }
  PRISM_TRY(flush());
  fs::SetAttr last;
  last.size = size;  // a hole at the end
  last.atime = attributes_.atime;
  last.mtime = attributes_.mtime;
  Result<fs::Change> set = target_.Setattr(kRootCaller, ino, last);
  if (!set) return ExplainErr(set.error(), "cannot set its size and times");
  return {};
}

Outcome<void> TarImport::HandleOther(const TarTree::Place& place, mode_t type) {
  fs::CreateArgs args;
  if (type == AE_IFLNK) {
    const char* target = archive_entry_symlink(entry_);
    args.symlink_target = target ? target : "";
    if (args.symlink_target.empty() || args.symlink_target.size() > fs::kSymlinkMax)
      return Explain(Err::kInvalid, "its target has {} bytes, not 1 to {}",
                     args.symlink_target.size(), fs::kSymlinkMax);
  } else if (type == AE_IFCHR || type == AE_IFBLK) {
    const uint64_t major = archive_entry_rdevmajor(entry_), minor = archive_entry_rdevminor(entry_);
    if (major > kMajorMax || minor > kMinorMax)
      return Explain(Err::kInvalid, "the device {}:{} is not one that Linux has", major, minor);
    args.rdev_major = static_cast<uint32_t>(major);
    args.rdev_minor = static_cast<uint32_t>(minor);
  } else if (type != AE_IFIFO && type != AE_IFSOCK) {
    return Explain(Err::kInvalid, "its type {:o} is unknown", type);
  }
  PRISM_TRY(Make(place, FileTypeOf(type), args));
  progress_.AddOther();
  return {};
}

Outcome<void> TarImport::FinishDirectories() {
  for (auto& [ino, directory] : directories_) {
    if (!directory.default_acl.empty()) {
      Status set = target_.Setxattr(kRootCaller, ino, kDefaultAclXattr, directory.default_acl,
                                    fs::XattrMode::kSet);
      if (!set) return ExplainErr(set.error(), "cannot set the default ACL of a directory");
    }
    Result<fs::Change> set = target_.Setattr(kRootCaller, ino, directory.attributes);
    if (!set) return ExplainErr(set.error(), "cannot set the attributes of a directory");
  }
  return {};
}

}  // namespace

Outcome<void> ImportTar(fs::FileSystem& target, const std::string& path, Progress& progress) {
  return TarImport(target, progress).Run(path);
}

}  // namespace prism::tool
