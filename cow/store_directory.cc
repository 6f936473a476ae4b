#include "cow/store_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "cow/file.h"

namespace prism::cow {
namespace {

Outcome<void> CheckMarker(int descriptor, const std::string& directory) {
  char line[64] = {};
  ssize_t length = ::pread(descriptor, line, sizeof line - 1, 0);
  if (length < 0) return ExplainErrno(errno, directory + "/PRISM");
  unsigned format = 0;
  if (std::sscanf(line, "prism store format %u", &format) != 1)
    return Explain(Err::kInvalid, "{} is not a Prism store: its file PRISM says something else",
                   directory);
  if (format > kStoreFormat)
    return Explain(Err::kNotSupported,
                   "the store in {} has format {}; this server knows formats up to {}: "
                   "use the newer prismd that wrote it",
                   directory, format, kStoreFormat);
  if (format < kStoreFormat)
    return Explain(Err::kNotSupported,
                   "the store in {} has format {}; this server reads format {} alone: "
                   "export its volumes with the older prismd that wrote it, and import them",
                   directory, format, kStoreFormat);
  return {};
}

Outcome<void> WriteMarker(int descriptor, const std::string& directory) {
  std::string line = fmt::format("prism store format {}\n", kStoreFormat);
  if (::pwrite(descriptor, line.data(), line.size(), 0) != static_cast<ssize_t>(line.size()) ||
      ::fsync(descriptor) != 0)
    return ExplainErrno(errno, directory + "/PRISM");
  if (!SyncDirectory(directory) || !SyncDirectory(directory + "/.."))
    return Explain(Err::kIo, "{} or the directory that it is in cannot be synced", directory);
  return {};
}

}  // namespace

Outcome<int> LockStoreDirectory(const std::string& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error)
    return Explain(Err::kIo, "cannot create the store directory {}: {}", directory,
                   error.message());
  (void)::chmod(directory.c_str(), 0700);  // it holds everybody's files; a failure changes nothing
  std::string path = directory + "/PRISM";
  bool exists = std::filesystem::exists(path, error);
  if (!exists && !std::filesystem::is_empty(directory, error))
    return Explain(Err::kInvalid,
                   "{} is not empty and not a Prism store: name another directory for --store",
                   directory);
  int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (descriptor < 0) return ExplainErrno(errno, path);
  Outcome<void> outcome;
  if (::flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
    outcome = Explain(Err::kBusy, "another prismd has the store in {} open", directory);
  } else {
    struct stat status;
    bool empty = ::fstat(descriptor, &status) == 0 && status.st_size == 0;
    outcome = empty ? WriteMarker(descriptor, directory) : CheckMarker(descriptor, directory);
  }
  if (!outcome) {
    ::close(descriptor);
    return tl::unexpected(outcome.error());
  }
  return descriptor;
}

}  // namespace prism::cow
