#include "fs/mount/daemon.h"

#include <fcntl.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/sinks/syslog_sink.h>
#include <spdlog/spdlog.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "fs/base/check.h"

namespace prism::mount {
namespace {

constexpr char kLive = 'L';
constexpr char kFailed = 'F';  // then the code in one byte, and the message to the end

constexpr size_t kMessageMax = 4096;

void WriteAll(int fd, const std::string& bytes) {
  size_t done = 0;
  while (done < bytes.size()) {
    ssize_t n = write(fd, bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;  // the parent has gone: nobody wants to know
    done += static_cast<size_t>(n);
  }
}

std::string ReadToEnd(int fd) {
  std::string bytes;
  char buffer[512];
  while (bytes.size() < kMessageMax) {
    ssize_t n = read(fd, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    bytes.append(buffer, static_cast<size_t>(n));
    if (bytes[0] == kLive) break;
  }
  return bytes;
}

// -1 or a descriptor of the log file, opened while errors can still be told.
Outcome<int> OpenLog(const std::string& path) {
  if (path.empty()) return -1;
  int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
  if (fd < 0) return ExplainErrno(errno, "log file " + path);
  return fd;
}

// The log goes to stderr, which is the file; without a file to syslog.
void LeaveTerminal(int log_fd) {
  setsid();
  PRISM_CHECK(chdir("/") == 0);
  int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null_fd >= 0) {
    dup2(null_fd, STDIN_FILENO);
    dup2(null_fd, STDOUT_FILENO);
    dup2(log_fd >= 0 ? log_fd : null_fd, STDERR_FILENO);
    close(null_fd);
  }
  spdlog::set_default_logger(log_fd >= 0
                                 ? spdlog::stderr_logger_mt("mount")
                                 : spdlog::syslog_logger_mt("mount", "prism-mount", LOG_PID));
  spdlog::flush_on(spdlog::level::info);
}

[[noreturn]] void RunChild(int report_fd, int log_fd, const Service& service) {
  LeaveTerminal(log_fd);
  bool live = false;
  Outcome<void> outcome = service([&] {
    live = true;
    WriteAll(report_fd, std::string(1, kLive));
    close(report_fd);
  });
  if (!outcome) {
    spdlog::error(outcome.error().message);
    if (!live)
      WriteAll(report_fd, std::string{kFailed, static_cast<char>(outcome.error().code)} +
                              outcome.error().message.substr(0, kMessageMax - 2));
  }
  spdlog::shutdown();
  std::_Exit(outcome ? 0 : 1);
}

Outcome<void> WaitLive(int report_fd, pid_t child) {
  std::string report = ReadToEnd(report_fd);
  if (!report.empty() && report[0] == kLive) return {};
  int status = 0;
  waitpid(child, &status, 0);
  auto code = report.size() >= 2 ? static_cast<uint8_t>(report[1]) : kErrCount;
  if (report.size() >= 2 && report[0] == kFailed && code < kErrCount)
    return tl::unexpected(Failure{static_cast<Err>(code), report.substr(2)});
  if (WIFSIGNALED(status))
    return Explain(Err::kIo, "the mount's process died of signal {} ({}) before it was live",
                   WTERMSIG(status), strsignal(WTERMSIG(status)));
  return Explain(Err::kIo, "the mount's process ended with status {} before it was live",
                 WEXITSTATUS(status));
}

}  // namespace

Outcome<void> RunInBackground(const std::string& log_path, const Service& service) {
  PRISM_ASSIGN(int log_fd, OpenLog(log_path));
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return ExplainErrno(errno, "pipe");
  fflush(nullptr);
  pid_t child = fork();
  if (child < 0) return ExplainErrno(errno, "fork");
  if (child == 0) {
    close(ends[0]);
    RunChild(ends[1], log_fd, service);
  }
  close(ends[1]);
  if (log_fd >= 0) close(log_fd);
  Outcome<void> outcome = WaitLive(ends[0], child);
  close(ends[0]);
  return outcome;
}

}  // namespace prism::mount
