#include "fs/mount/fuse_connection.h"

#include <linux/fuse.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "fs/contract/limits.h"
#include "fs/mount/mount_point.h"

namespace prism::mount {
namespace {

constexpr double kLong = 86400;  // seconds
// Where entries cannot all be dropped at once, after an overflow of events, they are asked for
// again.
constexpr double kEntryTimeoutWithoutEpoch = 10;

// Since protocol 7.44 (Linux 6.16): all cached entries are looked up afresh. Newer than the header.
constexpr int kNotifyIncEpoch = 8;
constexpr unsigned kEpochMinor = 44;

ssize_t WriteDevice(int fd, struct iovec* iov, int count, void*) {
  return Worker::WriteReply(fd, iov, count);
}

ssize_t ReadDevice(int fd, void* buffer, size_t size, void*) { return read(fd, buffer, size); }

constexpr fuse_custom_io kDeviceIo = {.writev = WriteDevice, .read = ReadDevice};

std::string MountOptionsOf(const SessionOptions& options) {
  std::string text =
      fmt::format("subtype={},fsname=prism:{},default_permissions,suid,dev,max_read={}",
                  kFuseSubtype, options.volume, fs::kIoMax);
  if (options.allow_other) text += ",allow_other";
  text += options.read_only ? ",ro" : ",rw";
  return text;
}

// libfuse's words belong in our log.
void ForwardLog(fuse_log_level level, const char* format, va_list arguments) {
  char line[512];
  vsnprintf(line, sizeof line, format, arguments);
  std::string_view text(line);
  while (text.ends_with('\n')) text.remove_suffix(1);
  spdlog::log(level <= FUSE_LOG_ERR ? spdlog::level::err : spdlog::level::info, "libfuse: {}",
              text);
}

fuse_lowlevel_ops AllOps() {
  fuse_lowlevel_ops ops = {};
  InstallMetaOps(ops);
  InstallDirOps(ops);
  InstallListOps(ops);
  InstallFileOps(ops);
  InstallXattrOps(ops);
  InstallLockOps(ops);
  return ops;
}

}  // namespace

Outcome<std::unique_ptr<FuseConnection>> FuseConnection::Mount(const SessionOptions& options,
                                                               MountContext& context) {
  fuse_set_log_func(ForwardLog);
  std::string mount_options = MountOptionsOf(options);
  std::vector<std::string> words = {"prism", "-o", mount_options};
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  fuse_args args = FUSE_ARGS_INIT(static_cast<int>(pointers.size()), pointers.data());
  static const fuse_lowlevel_ops kOps = AllOps();
  fuse_session* session = fuse_session_new(&args, &kOps, sizeof kOps, &context);
  fuse_opt_free_args(&args);
  if (session == nullptr)
    return Explain(Err::kInvalid, "libfuse refuses the options \"{}\"", mount_options);
  std::unique_ptr<FuseConnection> connection(new FuseConnection(session));
  errno = 0;
  if (fuse_session_mount(session, options.directory.c_str()) != 0) {
    int error = errno == 0 ? EIO : errno;
    return Explain(ErrFromErrno(error),
                   "cannot mount on {}: is /dev/fuse there, and are you root? (the log says more)",
                   options.directory);
  }
  int status = fuse_session_custom_io(session, &kDeviceIo, fuse_session_fd(session));
  if (status != 0) return Explain(Err::kIo, "libfuse refuses custom I/O: {}", status);
  return connection;
}

FuseConnection::~FuseConnection() {
  // Leaves the mount point alone when the kernel has let go of it already.
  fuse_session_unmount(session_);
  fuse_session_destroy(session_);
}

std::unique_ptr<Worker> FuseConnection::NewWorker() {
  return std::make_unique<Worker>(fuse_session_fd(session_), agreed_);
}

void FuseConnection::Process(std::span<std::byte> request) {
  fuse_buf buffer = {};
  buffer.mem = request.data();
  buffer.size = request.size();
  fuse_session_process_buf(session_, &buffer);
}

void FuseConnection::Agree(fuse_conn_info& info, MountContext& context) {
  constexpr unsigned kFeatures =
      FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO | FUSE_CAP_DONT_MASK | FUSE_CAP_POSIX_ACL |
      FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO |
      FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_EXPLICIT_INVAL_DATA | FUSE_CAP_EXPORT_SUPPORT;
  // Not wanted: WRITEBACK_CACHE (a clone must have every write that returned), AUTO_INVAL_DATA (own
  // writes would drop the own cache), HANDLE_KILLPRIV (see worker.h), splice (one more system call
  // per request, and data comes from and goes to shared memory anyway).
  info.want = info.capable & kFeatures;
  if (context.share_locks)
    info.want |= info.capable & (FUSE_CAP_POSIX_LOCKS | FUSE_CAP_FLOCK_LOCKS);
  info.max_write = fs::kIoMax;
  info.max_read = fs::kIoMax;
  info.max_readahead = fs::kIoMax;
  info.max_background = 64;
  info.congestion_threshold = 48;
  info.time_gran = 1;
  context.attr_timeout_s = kLong;
  if (context.entry_timeout_s == 0)
    context.entry_timeout_s = info.proto_minor >= kEpochMinor ? kLong : kEntryTimeoutWithoutEpoch;
}

void FuseConnection::DropInode(InodeId ino) {
  fuse_lowlevel_notify_inval_inode(session_, ino, 0, 0);
}

void FuseConnection::WaitTaken() {
  pollfd waiting = {.fd = fuse_session_fd(session_), .events = POLLIN, .revents = 0};
  for (int i = 0; i < 10000 && poll(&waiting, 1, 0) > 0 && (waiting.revents & POLLERR) == 0; ++i)
    usleep(100);
}

void FuseConnection::DropAttributes(InodeId ino) {
  fuse_lowlevel_notify_inval_inode(session_, ino, -1, 0);
}

void FuseConnection::DropEntry(InodeId dir, const std::string& name) {
  fuse_lowlevel_notify_inval_entry(session_, dir, name.data(), name.size());
}

void FuseConnection::DropAllEntries() {
  fuse_out_header header = {.len = sizeof header, .error = kNotifyIncEpoch, .unique = 0};
  // An older kernel says EINVAL; its entries expire by themselves.
  if (write(fuse_session_fd(session_), &header, sizeof header) < 0 && errno != EINVAL)
    spdlog::debug("notice to the kernel: {}", errno);
}

}  // namespace prism::mount
