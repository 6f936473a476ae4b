// A preloaded library between a server and the kernel: notes what happens to the files of its
// store, or makes calls fail. It changes nothing about other files.
//
// Written through memory mappings nothing would be seen: the stores use none (RocksDB's option for
// it is off), and a shared writable mapping of a watched file ends the process. The one exception,
// not watched: the journal's tail, which counts for nothing after a power cut.
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <mutex>
#include <string>
#include <string_view>

#include "tests/crash/power_log.h"

namespace {

using prism::crash::PowerRecord;

template <typename F>
F* Next(const char* name) {
  return reinterpret_cast<F*>(::dlsym(RTLD_NEXT, name));
}
#define PRISM_NEXT(name) static auto* const next = Next<decltype(name)>(#name)

constexpr int kDescriptorsMax = 65536;

class Shim {
 public:
  Shim() {
    const char* store = ::getenv(prism::crash::kShimStore);
    if (store == nullptr) return;
    store_ = std::string(store) + "/";
    if (const char* log = ::getenv(prism::crash::kShimLog))
      log_ = Next<decltype(::open)>("open")(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (const char* fail = ::getenv(prism::crash::kShimFail)) {
      char fail_class[16] = {}, how[16] = {};
      if (::sscanf(fail, "%15s %ld %d %15s", fail_class, &fail_at_, &fail_errno_, how) != 4)
        ::abort();
      fail_class_ = fail_class;
      fail_always_ = std::string_view(how) == "always";
    }
    if (const char* lie = ::getenv(prism::crash::kShimLie)) lie_ = lie;
  }

  // The part of a watched path below the store, or nullptr.
  const char* Below(const char* path) const {
    if (store_.empty() || path == nullptr) return nullptr;
    if (std::strncmp(path, store_.c_str(), store_.size()) == 0) {
      const char* below = path + store_.size();
      for (const char* mapped : {"journal/tail", "held-locks"})  // not believed after a power cut
        if (std::strcmp(below, mapped) == 0) return nullptr;
      return below;
    }
    bool itself = std::strlen(path) == store_.size() - 1 &&
                  std::strncmp(path, store_.c_str(), store_.size() - 1) == 0;
    return itself ? "" : nullptr;
  }
  // 0: not watched.
  uint64_t HandleOf(int fd) const {
    return fd >= 0 && fd < kDescriptorsMax ? handles_[static_cast<size_t>(fd)].load() : 0;
  }
  void Opened(int fd, const char* below, bool truncated, bool directory) {
    if (fd < 0 || fd >= kDescriptorsMax) return;
    PowerRecord record;
    record.kind = PowerRecord::Kind::kOpen;
    record.flags = (truncated ? prism::crash::kPowerTruncated : 0u) |
                   (directory ? prism::crash::kPowerDirectory : 0u);
    record.handle = ++next_handle_;
    handles_[static_cast<size_t>(fd)] = record.handle;
    Log(record, below);
  }
  void Closed(int fd) {
    if (fd >= 0 && fd < kDescriptorsMax) handles_[static_cast<size_t>(fd)] = 0;
  }

  void Log(PowerRecord record, std::string_view path = {}, std::string_view path2 = {},
           std::string_view data = {}) {
    if (log_ < 0) return;
    record.path_bytes = static_cast<uint32_t>(path.size());
    record.path2_bytes = static_cast<uint32_t>(path2.size());
    std::array<struct iovec, 4> parts = {{{&record, sizeof record},
                                          {const_cast<char*>(path.data()), path.size()},
                                          {const_cast<char*>(path2.data()), path2.size()},
                                          {const_cast<char*>(data.data()), data.size()}}};
    size_t total = sizeof record + path.size() + path2.size() + data.size();
    static auto* const writev_next = Next<decltype(::writev)>("writev");
    std::lock_guard lock(log_mutex_);
    if (writev_next(log_, parts.data(), 4) != static_cast<ssize_t>(total)) ::abort();
  }
  void LogWrite(uint64_t handle, uint64_t offset, const char* data, size_t length) {
    PowerRecord record;
    record.kind = PowerRecord::Kind::kWrite;
    record.handle = handle;
    record.offset = offset;
    record.length = length;
    std::string_view bytes(data, length);
    bool zeros = bytes.find_first_not_of('\0') == bytes.npos;
    if (zeros) record.flags = prism::crash::kPowerZeros;
    Log(record, {}, {}, zeros ? std::string_view() : bytes);
  }
  void LogNumbers(PowerRecord::Kind kind, uint64_t handle, uint64_t offset, uint64_t length = 0) {
    PowerRecord record;
    record.kind = kind;
    record.handle = handle;
    record.offset = offset;
    record.length = length;
    Log(record);
  }

  // True: this call is to fail, and errno is set.
  bool Fails(std::string_view call_class, const char* call, const char* what) {
    if (fail_class_ != call_class) return false;
    long number = ++calls_;
    if (number < fail_at_ || (number > fail_at_ && !fail_always_)) return false;
    if (number == fail_at_) SayFired(call, what);
    errno = fail_errno_;
    return true;
  }
  bool LiesAboutSync(int fd) const {
    if (!lie_.starts_with("sync")) return false;
    char path[4096] = {};
    if (::readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), path, sizeof path - 1) <= 0)
      return false;
    return std::strstr(path, lie_.c_str() + 4) != nullptr;
  }
  bool LiesAboutWrite() { return lie_ == "write" && ++lie_count_ % 20 == 0; }
  uint64_t NextSync() { return ++next_sync_; }

 private:
  void SayFired(const char* call, const char* what) {
    const char* path = ::getenv(prism::crash::kShimFired);
    if (path == nullptr) return;
    int fd = Next<decltype(::open)>("open")(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    std::string text = std::string(call) + " " + what;
    (void)!Next<decltype(::write)>("write")(fd, text.data(), text.size());
    Next<decltype(::close)>("close")(fd);
  }

  std::string store_;  // with a slash at its end
  int log_ = -1;
  std::mutex log_mutex_;
  std::array<std::atomic<uint64_t>, kDescriptorsMax> handles_{};
  std::atomic<uint64_t> next_handle_{0};
  std::atomic<uint64_t> next_sync_{0};
  std::string fail_class_;
  long fail_at_ = 0;
  int fail_errno_ = EIO;
  bool fail_always_ = false;
  std::atomic<long> calls_{0};
  std::string lie_;
  std::atomic<long> lie_count_{0};
};

Shim& TheShim() {
  static Shim* const shim = new Shim;  // outlives all destructors
  return *shim;
}

int OpenWatched(const char* below, const char* path, int flags, mode_t mode) {
  PRISM_NEXT(open);
  bool exists = ::access(path, F_OK) == 0;
  bool creates = (flags & O_CREAT) != 0 && !exists;
  if (creates && TheShim().Fails("name", "open", path)) return -1;
  int fd = next(path, flags, mode);
  if (fd < 0) return fd;
  int saved = errno;
  struct stat status;
  bool directory = ::fstat(fd, &status) == 0 && S_ISDIR(status.st_mode);
  TheShim().Opened(fd, below, (flags & O_TRUNC) != 0 && exists, directory);
  errno = saved;
  return fd;
}

template <typename F>
int Sync(int fd, const char* name, F* next) {
  Shim& shim = TheShim();
  uint64_t handle = shim.HandleOf(fd);
  if (handle == 0) return next(fd);
  if (shim.LiesAboutSync(fd)) return 0;
  uint64_t number = shim.NextSync();
  shim.LogNumbers(PowerRecord::Kind::kSyncBegin, handle, number);
  if (shim.Fails("sync", name, "")) {
    int saved = errno;
    shim.LogNumbers(PowerRecord::Kind::kSyncFailed, handle, number);
    errno = saved;
    return -1;
  }
  int result = next(fd);
  if (result == 0) shim.LogNumbers(PowerRecord::Kind::kSyncEnd, handle, number);
  return result;
}

}  // namespace

extern "C" {

// Called by the worker: its events get their place among the writes.
void prism_power_mark(const void* data, size_t length) {
  PowerRecord record;
  record.kind = PowerRecord::Kind::kMark;
  record.length = length;
  TheShim().Log(record, {}, {}, {static_cast<const char*>(data), length});
}

int open(const char* path, int flags, ...) {
  mode_t mode = 0;
  if ((flags & (O_CREAT | O_TMPFILE)) != 0) {
    va_list arguments;
    va_start(arguments, flags);
    mode = va_arg(arguments, mode_t);
    va_end(arguments);
  }
  PRISM_NEXT(open);
  const char* below = TheShim().Below(path);
  return below == nullptr ? next(path, flags, mode) : OpenWatched(below, path, flags, mode);
}

int close(int fd) {
  PRISM_NEXT(close);
  TheShim().Closed(fd);
  return next(fd);
}

ssize_t write(int fd, const void* data, size_t length) {
  PRISM_NEXT(write);
  Shim& shim = TheShim();
  uint64_t handle = shim.HandleOf(fd);
  if (handle == 0) return next(fd, data, length);
  if (shim.Fails("write", "write", "")) return -1;
  if (shim.LiesAboutWrite()) {
    ::lseek(fd, static_cast<off_t>(length), SEEK_CUR);
    return static_cast<ssize_t>(length);
  }
  ssize_t written = next(fd, data, length);
  if (written > 0)
    shim.LogWrite(handle, static_cast<uint64_t>(::lseek(fd, 0, SEEK_CUR) - written),
                  static_cast<const char*>(data), static_cast<size_t>(written));
  return written;
}

ssize_t pwrite(int fd, const void* data, size_t length, off_t offset) {
  PRISM_NEXT(pwrite);
  Shim& shim = TheShim();
  uint64_t handle = shim.HandleOf(fd);
  if (handle == 0) return next(fd, data, length, offset);
  if (shim.Fails("write", "pwrite", "")) return -1;
  if (shim.LiesAboutWrite()) return static_cast<ssize_t>(length);
  ssize_t written = next(fd, data, length, offset);
  if (written > 0)
    shim.LogWrite(handle, static_cast<uint64_t>(offset), static_cast<const char*>(data),
                  static_cast<size_t>(written));
  return written;
}

ssize_t writev(int fd, const struct iovec* parts, int count) {
  PRISM_NEXT(writev);
  if (TheShim().HandleOf(fd) == 0) return next(fd, parts, count);
  return count == 0 ? 0 : write(fd, parts[0].iov_base, parts[0].iov_len);  // a short write
}

ssize_t pwritev(int fd, const struct iovec* parts, int count, off_t offset) {
  PRISM_NEXT(pwritev);
  if (TheShim().HandleOf(fd) == 0) return next(fd, parts, count, offset);
  return count == 0 ? 0 : pwrite(fd, parts[0].iov_base, parts[0].iov_len, offset);
}

ssize_t pread(int fd, void* data, size_t length, off_t offset) {
  PRISM_NEXT(pread);
  if (TheShim().HandleOf(fd) != 0 && TheShim().Fails("read", "pread", "")) return -1;
  return next(fd, data, length, offset);
}

ssize_t preadv(int fd, const struct iovec* parts, int count, off_t offset) {
  PRISM_NEXT(preadv);
  if (TheShim().HandleOf(fd) != 0 && TheShim().Fails("read", "pread", "")) return -1;
  return next(fd, parts, count, offset);
}

ssize_t read(int fd, void* data, size_t length) {
  PRISM_NEXT(read);
  if (TheShim().HandleOf(fd) != 0 && TheShim().Fails("read", "read", "")) return -1;
  return next(fd, data, length);
}

int ftruncate(int fd, off_t size) {
  PRISM_NEXT(ftruncate);
  uint64_t handle = TheShim().HandleOf(fd);
  if (handle == 0) return next(fd, size);
  if (TheShim().Fails("write", "ftruncate", "")) return -1;
  int result = next(fd, size);
  if (result == 0)
    TheShim().LogNumbers(PowerRecord::Kind::kTruncate, handle, static_cast<uint64_t>(size));
  return result;
}

int fallocate(int fd, int mode, off_t offset, off_t length) {
  PRISM_NEXT(fallocate);
  Shim& shim = TheShim();
  uint64_t handle = shim.HandleOf(fd);
  if (handle == 0) return next(fd, mode, offset, length);
  if (shim.Fails("write", "fallocate", "")) return -1;
  int result = next(fd, mode, offset, length);
  if (result != 0) return result;
  uint64_t begin = static_cast<uint64_t>(offset);
  uint64_t bytes = static_cast<uint64_t>(length);
  if ((mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0)
    shim.LogNumbers(PowerRecord::Kind::kZero, handle, begin, bytes);
  if ((mode & FALLOC_FL_KEEP_SIZE) == 0)
    shim.LogNumbers(PowerRecord::Kind::kGrow, handle, begin + bytes);
  return result;
}

int fsync(int fd) {
  PRISM_NEXT(fsync);
  return Sync(fd, "fsync", next);
}

int fdatasync(int fd) {
  PRISM_NEXT(fdatasync);
  return Sync(fd, "fdatasync", next);
}

int rename(const char* from, const char* to) {
  PRISM_NEXT(rename);
  const char* below = TheShim().Below(from);
  const char* to_below = TheShim().Below(to);
  if (below == nullptr || to_below == nullptr) return next(from, to);
  if (TheShim().Fails("name", "rename", to)) return -1;
  int result = next(from, to);
  PowerRecord record;
  record.kind = PowerRecord::Kind::kRename;
  if (result == 0) TheShim().Log(record, below, to_below);
  return result;
}

int unlink(const char* path) {
  PRISM_NEXT(unlink);
  const char* below = TheShim().Below(path);
  if (below == nullptr) return next(path);
  if (TheShim().Fails("name", "unlink", path)) return -1;
  int result = next(path);
  PowerRecord record;
  record.kind = PowerRecord::Kind::kUnlink;
  if (result == 0) TheShim().Log(record, below);
  return result;
}

int remove(const char* path) {
  PRISM_NEXT(remove);
  return TheShim().Below(path) == nullptr ? next(path) : unlink(path);
}

int mkdir(const char* path, mode_t mode) {
  PRISM_NEXT(mkdir);
  const char* below = TheShim().Below(path);
  if (below == nullptr) return next(path, mode);
  if (TheShim().Fails("name", "mkdir", path)) return -1;
  int result = next(path, mode);
  PowerRecord record;
  record.kind = PowerRecord::Kind::kMkdir;
  if (result == 0) TheShim().Log(record, below);
  return result;
}

void* mmap(void* address, size_t length, int protection, int flags, int fd, off_t offset) {
  PRISM_NEXT(mmap);
  bool writes = (protection & PROT_WRITE) != 0 && (flags & MAP_SHARED) != 0 && fd >= 0;
  if (writes && TheShim().HandleOf(fd) != 0) ::abort();
  return next(address, length, protection, flags, fd, offset);
}

}  // extern "C"
