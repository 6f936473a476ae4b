// Runs a worker process (tests/crash/crash_worker.cc) and kills it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/crash/realm.h"

namespace prism::crash {

struct WorkerOptions {
  std::string mode;  // "run", "open", "dump", "empty"
  std::string store;
  std::string folder;              // for the worker's files, outside of the store
  const Script* script = nullptr;  // run
  uint64_t seed = 1;               // chooses intervals and cache sizes
  bool canary_skip_sync = false;   // acknowledges without syncing: a test must notice
  bool stay = false;  // does not close at the end of the script, but waits to be killed
  std::optional<uint64_t> kill_after_events;
  std::optional<uint64_t> kill_after_us;  // after its start
  uint64_t linger_ms = 0;                 // stay: how long to wait after the script's end
  std::vector<std::pair<std::string, std::string>> environment;
};

struct WorkerResult {
  std::vector<Event> events;
  bool killed = false;  // by us
  int exit_code = -1;   // -1: did not exit by itself
  int signal = 0;
  std::string log;     // what it wrote to stderr
  std::string errors;  // dump, empty: what does not hold together
  Store found;         // dump

  bool good() const { return exit_code == 0; }
  std::string Describe() const;
};

WorkerResult RunWorker(const WorkerOptions& options);

// A temporary folder that goes with the object.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// A number from the environment: more rounds, another seed.
uint64_t FromEnvironment(const char* name, uint64_t otherwise);
std::string ReadWholeFile(const std::string& path);

}  // namespace prism::crash
