#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <unordered_map>

#include "tools/prism/archive_acl.h"
#include "tools/prism/archive_text.h"
#include "tools/prism/format.h"
#include "tools/prism/host_file.h"
#include "tools/prism/transfer.h"

namespace prism::tool {
namespace {

constexpr int kWriteBlockBytes = 1 << 20;
constexpr int kLastBlockBytes = 10240;  // as tar
// A span of address space that reads as zeros; libarchive skips what is declared a hole without
// looking at it, but wants a pointer to that many bytes.
constexpr size_t kHoleSpanBytes = size_t{1} << 30;

using ArchiveWriter = std::unique_ptr<archive, int (*)(archive*)>;
using EntryPtr = std::unique_ptr<archive_entry, void (*)(archive_entry*)>;

// The file under its final name appears when it is complete.
class OutputFile {
 public:
  OutputFile() = default;
  ~OutputFile() {
    if (!temporary_.empty()) unlink(temporary_.c_str());
  }
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  Outcome<void> Open(const std::string& path);
  Outcome<void> Commit();
  int fd() const { return path_.empty() ? STDOUT_FILENO : fd_.get(); }

 private:
  std::string path_;  // empty: standard output
  std::string temporary_;
  UniqueFd fd_;
};

Outcome<void> OutputFile::Open(const std::string& path) {
  if (path == "-") {
    if (isatty(STDOUT_FILENO))
      return Explain(Err::kInvalid,
                     "an archive is not for a terminal: redirect it, or name a file");
    return {};
  }
  path_ = path;
  struct stat st = {};
  if (stat(path.c_str(), &st) == 0 && !S_ISREG(st.st_mode)) {  // a pipe, a tape
    fd_ = UniqueFd(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  } else {
    temporary_ = path + ".XXXXXX";
    fd_ = UniqueFd(mkostemp(temporary_.data(), O_CLOEXEC));
    if (!fd_.valid()) temporary_.clear();
    const mode_t mask = umask(0);
    umask(mask);
    if (fd_.valid()) fchmod(fd_.get(), 0666 & ~mask);
  }
  if (!fd_.valid()) return ExplainErrno(errno, fmt::format("cannot write {}", path));
  return {};
}

Outcome<void> OutputFile::Commit() {
  if (temporary_.empty()) return {};
  if (fsync(fd_.get()) != 0 || rename(temporary_.c_str(), path_.c_str()) != 0)
    return ExplainErrno(errno, fmt::format("cannot write {}", path_));
  temporary_.clear();
  return {};
}

class TarExport {
 public:
  TarExport(fs::FileSystem& source, Progress& progress) : source_(source), progress_(progress) {}

  Outcome<void> Run(const std::string& path);

 private:
  struct Directory {
    fs::Attr attr;
    std::string path;  // ends with '/'
  };

  Outcome<void> WriteDirectory(const Directory& dir);
  Outcome<void> WriteEntry(const std::string& path, const fs::Attr& attr);
  Outcome<void> AddXattrs(archive_entry* entry, const std::string& path, InodeId ino);
  Outcome<void> WriteContent(archive_entry* entry, const std::string& path, const fs::Attr& attr);
  Outcome<void> WriteRange(const std::string& path, const fs::Attr& attr, uint64_t offset,
                           uint64_t length);
  Outcome<void> WriteZeros(uint64_t length);
  Outcome<void> WriteHeader(archive_entry* entry, const std::string& path);
  Outcome<void> WriteBytes(const void* bytes, size_t length);
  tl::unexpected<Failure> ArchiveFailure(std::string_view what);

  fs::FileSystem& source_;
  Progress& progress_;
  ArchiveWriter writer_{nullptr, archive_write_free};
  std::vector<Directory> directories_;                    // to be written
  std::unordered_map<InodeId, std::string> first_names_;  // of files with several
  std::unique_ptr<void, void (*)(void*)> zeros_{nullptr,
                                                [](void* at) { munmap(at, kHoleSpanBytes); }};
  uint64_t directories_seen_ = 1, directories_done_ = 0;
};

tl::unexpected<Failure> TarExport::ArchiveFailure(std::string_view what) {
  const char* text = archive_error_string(writer_.get());
  const int error_number = archive_errno(writer_.get());
  return Explain(error_number > 0 ? ErrFromErrno(error_number) : Err::kIo, "{}: {}", what,
                 text ? text : "the archive cannot be written");
}

Outcome<void> TarExport::Run(const std::string& path) {
  Utf8Locale locale;
  OutputFile file;
  PRISM_TRY(file.Open(path));
  void* zeros =
      mmap(nullptr, kHoleSpanBytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (zeros == MAP_FAILED) return ExplainErrno(errno, "cannot map memory");
  zeros_.reset(zeros);

  writer_.reset(archive_write_new());
  archive_write_set_format_pax(writer_.get());
  // The form of extended attributes that GNU tar reads, too.
  archive_write_set_format_option(writer_.get(), "pax", "xattrheader", "SCHILY");
  archive_write_set_bytes_per_block(writer_.get(), kWriteBlockBytes);
  archive_write_set_bytes_in_last_block(writer_.get(), kLastBlockBytes);
  if (archive_write_open_fd(writer_.get(), file.fd()) != ARCHIVE_OK) return ArchiveFailure(path);

  Result<fs::Attr> root = source_.Getattr(kRootCaller, kRootInode);
  if (!root) return ExplainErr(root.error(), "cannot read the volume's root");
  directories_.push_back({*root, "./"});
  while (!directories_.empty()) {
    Directory dir = std::move(directories_.back());
    directories_.pop_back();
    PRISM_TRY(WriteDirectory(dir));
    progress_.SetFraction(static_cast<double>(++directories_done_) /
                          static_cast<double>(directories_seen_));
  }
  if (archive_write_close(writer_.get()) != ARCHIVE_OK) return ArchiveFailure(path);
  return file.Commit();
}

// All of a directory comes directly after it: tar sets its times once something else follows.
Outcome<void> TarExport::WriteDirectory(const Directory& dir) {
  PRISM_TRY(WriteEntry(dir.path, dir.attr));
  return ForEachEntry(source_, dir.attr.ino, [&](const Entry& entry) -> Outcome<void> {
    std::string path = dir.path + entry.name;
    if (entry.attr.type != fs::FileType::kDirectory) return WriteEntry(path, entry.attr);
    directories_.push_back({entry.attr, path + '/'});
    ++directories_seen_;
    return {};
  });
}

Outcome<void> TarExport::WriteEntry(const std::string& path, const fs::Attr& attr) {
  if (attr.type == fs::FileType::kSocket) {
    progress_.Warn(fmt::format("{}: left out: tar has no form for sockets", Printable(path)));
    return {};
  }
  EntryPtr entry(archive_entry_new(), archive_entry_free);
  archive_entry_copy_pathname(entry.get(), path.c_str());
  archive_entry_set_filetype(entry.get(), ModeOf(attr.type));
  archive_entry_set_perm(entry.get(), attr.mode);
  archive_entry_set_uid(entry.get(), attr.uid);
  archive_entry_set_gid(entry.get(), attr.gid);
  const fs::Timespec mtime = ToPaxTime(attr.mtime), atime = ToPaxTime(attr.atime);
  archive_entry_set_mtime(entry.get(), mtime.sec, mtime.nsec);
  archive_entry_set_atime(entry.get(), atime.sec, atime.nsec);
  archive_entry_set_size(entry.get(), 0);

  if (attr.type != fs::FileType::kDirectory && attr.nlink > 1) {
    auto [first, is_first] = first_names_.try_emplace(attr.ino, path);
    if (!is_first) {
      archive_entry_copy_hardlink(entry.get(), first->second.c_str());
      archive_entry_unset_size(entry.get());
      progress_.AddHardLink();
      return WriteHeader(entry.get(), path);
    }
  }
  PRISM_TRY(AddXattrs(entry.get(), path, attr.ino));
  switch (attr.type) {
    case fs::FileType::kRegular:
      progress_.AddFile(0);
      return WriteContent(entry.get(), path, attr);
    case fs::FileType::kSymlink: {
      Result<std::string> target = source_.Readlink(kRootCaller, attr.ino);
      if (!target) return ExplainErr(target.error(), Printable(path));
      archive_entry_copy_symlink(entry.get(), target->c_str());
      break;
    }
    case fs::FileType::kBlockDevice:
    case fs::FileType::kCharDevice:
      archive_entry_set_rdevmajor(entry.get(), attr.rdev_major);
      archive_entry_set_rdevminor(entry.get(), attr.rdev_minor);
      break;
    default:
      break;
  }
  if (attr.type == fs::FileType::kDirectory)
    progress_.AddDirectory();
  else
    progress_.AddOther();
  return WriteHeader(entry.get(), path);
}

Outcome<void> TarExport::AddXattrs(archive_entry* entry, const std::string& path, InodeId ino) {
  Result<std::vector<fs::Xattr>> xattrs = ReadXattrs(source_, ino);
  if (!xattrs)
    return ExplainErr(xattrs.error(), fmt::format("{}: cannot read attributes", Printable(path)));
  for (const fs::Xattr& xattr : *xattrs) {
    const bool is_access = xattr.name == kAccessAclXattr;
    if (is_access || xattr.name == kDefaultAclXattr) {
      const int type = is_access ? ARCHIVE_ENTRY_ACL_TYPE_ACCESS : ARCHIVE_ENTRY_ACL_TYPE_DEFAULT;
      if (!AddAclToEntry(entry, type, xattr.value))
        progress_.Warn(fmt::format("{}: {} is left out: not valid", Printable(path), xattr.name));
    } else if (xattr.name.find('=') != std::string::npos) {
      progress_.Warn(fmt::format("{}: {} is left out: tar has no form for '=' in its name",
                                 Printable(path), Printable(xattr.name)));
    } else {
      archive_entry_xattr_add_entry(entry, xattr.name.c_str(), xattr.value.data(),
                                    xattr.value.size());
    }
  }
  return {};
}

Outcome<void> TarExport::WriteContent(archive_entry* entry, const std::string& path,
                                      const fs::Attr& attr) {
  struct Range {
    uint64_t offset, length;
  };
  std::vector<Range> ranges;
  PRISM_TRY(ForEachDataRange(source_, attr, [&](uint64_t offset, uint64_t length) -> Outcome<void> {
    ranges.push_back({offset, length});
    return {};
  }));
  archive_entry_set_size(entry, static_cast<int64_t>(attr.size));
  const bool sparse = ranges.size() != 1 || ranges[0].length != attr.size;
  if (sparse && attr.size > 0) {
    for (const Range& range : ranges)
      archive_entry_sparse_add_entry(entry, static_cast<int64_t>(range.offset),
                                     static_cast<int64_t>(range.length));
    // A file without any data: an empty range at the end says so.
    if (ranges.empty()) archive_entry_sparse_add_entry(entry, static_cast<int64_t>(attr.size), 0);
  }
  PRISM_TRY(WriteHeader(entry, path));
  uint64_t position = 0;
  for (const Range& range : ranges) {
    PRISM_TRY(WriteZeros(range.offset - position));
    PRISM_TRY(WriteRange(path, attr, range.offset, range.length));
    position = range.offset + range.length;
  }
  return WriteZeros(attr.size - position);
}

Outcome<void> TarExport::WriteRange(const std::string& path, const fs::Attr& attr, uint64_t offset,
                                    uint64_t length) {
  thread_local std::vector<std::byte> buffer(fs::kIoMax);
  while (length > 0) {
    auto part = std::span(buffer).first(std::min<uint64_t>(buffer.size(), length));
    Result<fs::ReadResult> read = source_.Read(kRootCaller, attr.ino, offset, part);
    if (!read) return ExplainErr(read.error(), fmt::format("{}: cannot read", Printable(path)));
    if (read->length > part.size()) return Explain(Err::kProtocol, "{}: read too much", path);
    if (read->length == 0) {  // the header has promised the length
      progress_.Warn(fmt::format("{}: became shorter: filled with zeros", Printable(path)));
      return WriteZeros(length);
    }
    PRISM_TRY(WriteBytes(part.data(), read->length));
    progress_.AddBytes(read->length);
    offset += read->length;
    length -= read->length;
  }
  return {};
}

Outcome<void> TarExport::WriteZeros(uint64_t length) {
  while (length > 0) {
    const size_t part = std::min<uint64_t>(length, kHoleSpanBytes);
    PRISM_TRY(WriteBytes(zeros_.get(), part));
    length -= part;
  }
  return {};
}

Outcome<void> TarExport::WriteHeader(archive_entry* entry, const std::string& path) {
  const int status = archive_write_header(writer_.get(), entry);
  if (status == ARCHIVE_OK) return {};
  if (status < ARCHIVE_WARN) return ArchiveFailure(Printable(path));
  const char* text = archive_error_string(writer_.get());
  // Names need not be UTF-8; those that are not are written as the bytes that they are, marked so.
  if (!text || !std::strstr(text, "Can't translate"))
    progress_.Warn(fmt::format("{}: {}", Printable(path), text ? text : "unknown warning"));
  return {};
}

Outcome<void> TarExport::WriteBytes(const void* bytes, size_t length) {
  const auto* at = static_cast<const char*>(bytes);
  while (length > 0) {
    const la_ssize_t wrote = archive_write_data(writer_.get(), at, length);
    if (wrote <= 0) return ArchiveFailure("cannot write the archive");
    at += wrote;
    length -= wrote;
  }
  return {};
}

}  // namespace

Outcome<void> ExportTar(fs::FileSystem& source, const std::string& path, Progress& progress) {
  return TarExport(source, progress).Run(path);
}

}  // namespace prism::tool
