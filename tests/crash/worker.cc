#include "tests/crash/worker.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "fs/base/check.h"

namespace prism::crash {
namespace {

using Clock = std::chrono::steady_clock;

// Everything that the child needs between fork and exec, made before the fork.
struct Command {
  std::vector<std::string> arguments;
  std::vector<std::string> environment;
};

Command MakeCommand(const WorkerOptions& options, int event_descriptor) {
  Command command;
  command.arguments = {PRISM_CRASH_WORKER,
                       options.mode,
                       options.store,
                       options.folder,
                       std::to_string(options.seed),
                       std::to_string(event_descriptor),
                       options.stay ? "stay" : "close",
                       options.canary_skip_sync ? "skip-sync" : "honest"};
  for (char** entry = environ; *entry != nullptr; ++entry) command.environment.push_back(*entry);
  for (const auto& [name, value] : options.environment)
    command.environment.push_back(name + "=" + value);
  return command;
}

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& text : strings) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

pid_t Spawn(Command& command, const std::string& log_path, int event_descriptor) {
  std::vector<char*> arguments = Pointers(command.arguments);
  std::vector<char*> environment = Pointers(command.environment);
  pid_t pid = ::fork();
  PRISM_CHECK(pid >= 0);
  if (pid > 0) return pid;
  int log = ::open(log_path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  ::dup2(log, 2);
  ::dup2(log, 1);
  ::fcntl(event_descriptor, F_SETFD, 0);
  ::execve(arguments[0], arguments.data(), environment.data());
  ::_exit(127);
}

// Reads events until the worker is gone, and kills it when it is time.
class Watch {
 public:
  Watch(const WorkerOptions& options, pid_t pid, int descriptor)
      : options_(options), pid_(pid), descriptor_(descriptor), start_(Clock::now()) {}

  void Run(WorkerResult& result) {
    for (;;) {
      struct pollfd poll_descriptor = {descriptor_, POLLIN, 0};
      int ready = ::poll(&poll_descriptor, 1, Timeout_ms(result));
      if (Due(result)) Kill(result);
      if (ready <= 0) continue;
      char buffer[1 << 16];
      ssize_t length = ::read(descriptor_, buffer, sizeof buffer);
      if (length <= 0) return;
      pending_.append(buffer, static_cast<size_t>(length));
      TakeEvents(result);
    }
  }

 private:
  bool Due(const WorkerResult& result) const {
    auto age = Clock::now() - start_;
    if (options_.kill_after_events && result.events.size() >= *options_.kill_after_events)
      return true;
    if (options_.kill_after_us && age >= std::chrono::microseconds(*options_.kill_after_us))
      return true;
    return done_ && options_.stay &&
           Clock::now() - done_at_ >= std::chrono::milliseconds(options_.linger_ms);
  }
  int Timeout_ms(const WorkerResult& result) const {
    if (result.killed) return -1;
    return options_.kill_after_us || done_ ? 1 : 1000;
  }
  void Kill(WorkerResult& result) {
    if (!result.killed && pid_ > 0) ::kill(pid_, SIGKILL);
    result.killed = true;
  }
  void TakeEvents(WorkerResult& result) {
    size_t at = 0;
    for (; pending_.size() - at >= sizeof(Event); at += sizeof(Event)) {
      Event event;
      std::memcpy(&event, pending_.data() + at, sizeof event);
      result.events.push_back(event);
      if (event.kind == Event::Kind::kDone) {
        done_ = true;
        done_at_ = Clock::now();
      }
      if (!result.killed && Due(result)) Kill(result);
    }
    pending_.erase(0, at);
  }

  const WorkerOptions& options_;
  const pid_t pid_;
  const int descriptor_;
  const Clock::time_point start_;
  Clock::time_point done_at_;
  bool done_ = false;
  std::string pending_;
};

}  // namespace

std::string ReadWholeFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream content;
  content << in.rdbuf();
  return content.str();
}

std::string WorkerResult::Describe() const {
  return fmt::format("exit code {}, signal {}, {} events{}\n{}{}", exit_code, signal, events.size(),
                     killed ? ", killed" : "", errors, log);
}

WorkerResult RunWorker(const WorkerOptions& options) {
  std::filesystem::create_directories(options.folder);
  const std::string folder = options.folder + "/";
  for (const char* name : {"dump", "errors", "log"}) std::filesystem::remove(folder + name);
  if (options.script != nullptr)
    std::ofstream(folder + "script", std::ios::binary) << EncodeScript(*options.script);
  int ends[2];
  PRISM_CHECK(::pipe2(ends, O_CLOEXEC) == 0);
  Command command = MakeCommand(options, ends[1]);
  pid_t pid = Spawn(command, folder + "log", ends[1]);
  ::close(ends[1]);
  WorkerResult result;
  Watch(options, pid, ends[0]).Run(result);
  ::close(ends[0]);
  int status = 0;
  PRISM_CHECK(::waitpid(pid, &status, 0) == pid);
  if (WIFEXITED(status)) result.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) result.signal = WTERMSIG(status);
  result.log = ReadWholeFile(folder + "log");
  result.errors = ReadWholeFile(folder + "errors");
  if (options.mode == "dump" && result.good() &&
      !DecodeStore(ReadWholeFile(folder + "dump"), result.found))
    result.errors += "the dump does not decode\n";
  return result;
}

TemporaryFolder::TemporaryFolder() {
  const char* base = std::getenv("PRISM_CRASH_DIR");
  path_ = (base != nullptr ? std::filesystem::path(base) : std::filesystem::temp_directory_path()) /
          "prism-crash-XXXXXX";
  PRISM_CHECK(::mkdtemp(path_.data()) != nullptr);
}

TemporaryFolder::~TemporaryFolder() {
  if (std::getenv("PRISM_CRASH_KEEP") != nullptr) {
    fmt::print("kept: {}\n", path_);
    return;
  }
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 0);
}

}  // namespace prism::crash
