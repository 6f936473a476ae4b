// Import and export: a tree of files from outside into a volume, and back.
//
// Everything works through fs::FileSystem alone, as root (permissions are not checked), so that the
// same code runs over a VRPC channel, on the engine in process, and on the reference model.
//
// KEPT: type, mode with set-id and sticky bits, owner, atime and mtime to the nanosecond, hard
// links, symlink targets, device numbers, FIFOs, sockets, holes, and the extended attributes of
// user.*, trusted.*, security.* (file capabilities) and POSIX ACLs. ctime and btime are those of
// the copy: POSIX has no means to set them.
//
// A transfer that fails says where and why; it is the caller who throws away what was half made.
#pragma once

#include <atomic>
#include <string>

#include "fs/base/failure.h"
#include "fs/contract/file_system.h"
#include "tools/prism/progress.h"

namespace prism::tool {

struct ImportOptions {
  unsigned threads = 0;             // 0: as many as suits the machine (directories only)
  bool cross_file_systems = false;  // enter file systems that are mounted below the source
};

// Copies the tree below `path` into the (empty) volume. The root's attributes become those of the
// volume's root. Directories where another file system is mounted are made, but stay empty, unless
// options.cross_file_systems. A source that changes meanwhile is noted as a warning.
Outcome<void> ImportDirectory(fs::FileSystem& target, const std::string& path,
                              const ImportOptions& options, Progress& progress);

// Unpacks a tar (ustar, pax, GNU) or cpio archive, with any compression that libarchive reads;
// path "-" is standard input.
//
// Archives are hostile. Names are resolved in the volume one component at a time and never through
// a symlink, so nothing can point outside. Leading slashes are dropped (a note says so). An error,
// naming the entry: "..", a parent that is a symlink or another non-directory, a hard link to what
// is not there or to a directory, names over 255 bytes, sizes, owners or device numbers beyond the
// limits, unknown types, and an archive that ends early. A later entry of the same name replaces
// the earlier one; a directory that is there already keeps its contents and gets the new
// attributes.
Outcome<void> ImportTar(fs::FileSystem& target, const std::string& path, Progress& progress);

// Writes the volume's tree into the directory `path`, which is made if absent and must be empty.
// Without root's rights, owners and privileged attributes cannot be set: that is a warning.
Outcome<void> ExportDirectory(fs::FileSystem& source, const std::string& path, Progress& progress);

// Writes a pax archive; path "-" is standard output. A file appears under its name only when it is
// complete. Sockets have no form in tar: they are left out with a warning.
Outcome<void> ExportTar(fs::FileSystem& source, const std::string& path, Progress& progress);

// Shared by the four above.

// Root, whose permissions are not checked.
inline constexpr fs::Caller kRootCaller = {};

// "what: No such file or directory".
tl::unexpected<Failure> ExplainErr(Err err, std::string_view what);

// True for the attributes that a transfer keeps.
bool KeepsXattr(std::string_view name);

inline constexpr std::string_view kAccessAclXattr = "system.posix_acl_access";
inline constexpr std::string_view kDefaultAclXattr = "system.posix_acl_default";

// All kept attributes of an inode of a volume.
Result<std::vector<fs::Xattr>> ReadXattrs(fs::FileSystem& source, InodeId ino);

// Calls visit(offset, length) for each range of data of a file of this size, in order; ranges that
// are not visited are holes.
Outcome<void> ForEachDataRange(fs::FileSystem& source, const fs::Attr& attr,
                               FunctionRef<Outcome<void>(uint64_t offset, uint64_t length)> visit);

// Visits every entry of a directory with its attributes, outside of Readdir, so that `visit` may
// use the file system.
struct Entry {
  std::string name;
  fs::Attr attr;
};
Outcome<void> ForEachEntry(fs::FileSystem& source, InodeId dir,
                           FunctionRef<Outcome<void>(const Entry&)> visit);

}  // namespace prism::tool
