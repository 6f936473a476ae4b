// Says whether what a crash left is allowed: RocksDB's idea of an expected state.
//
// Of the events that a worker told before it died follows, for each thread, what must be there
// (acknowledged), what may be there (begun), and that the operations on names and attributes
// survive as a prefix. Bytes of files that nobody has synced may be old or new, piece by piece:
// they travel beside the metadata. A clone has everything that returned before it was asked for,
// data included, and nothing that began after it returned.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tests/crash/realm.h"

namespace prism::crash {

// How a run ended. A process that is killed leaves to the next one all that it had acknowledged
// about names and attributes (cow/journal_tail.h); a power cut only what had been synced.
enum class End : uint8_t { kKilled, kPowerCut };

class Oracle {
 public:
  // All three must outlive it.
  Oracle(const Store& initial, const Script& script, std::span<const Event> events,
         End end = End::kKilled);

  // What is wrong, a message each; empty: nothing.
  std::vector<std::string> Check(const Store& found);

  uint64_t acknowledged() const { return acknowledged_; }  // operations that had to survive

 private:
  struct Window {               // of one thread's operations
    uint32_t metadata_min = 0;  // so many have survived at least
    uint32_t data_min = 0;      // of all its files
    uint32_t max = 0;
    bool counts_fsyncs = false;  // single files may be ahead of data_min
  };
  struct Expected {
    std::string origin;           // of `initial`; empty: created new
    std::vector<Window> windows;  // by thread; empty: nobody worked in it
  };
  using Volumes = std::map<std::string, Expected>;

  void ReadEvents(std::span<const Event> events);
  void OnEnd(const Event& event);
  void OnStable(uint32_t thread, bool data_of_all);
  Window LiveWindow(uint32_t thread) const;
  bool IsBusy(const std::string& volume) const;
  Volumes ExpectVolumes(bool with_pending) const;
  void CheckVolume(const std::string& name, const Expected& expected, const Volume& found);
  void CheckThread(const std::string& name, uint32_t thread, const Window& window,
                   const Realm& found);
  std::map<ObjectId, uint32_t> StableFiles(uint32_t thread, const Window& window) const;
  std::string CheckData(uint32_t thread, const Window& window,
                        const std::map<std::string, ObjectId>& names, const Realm& found) const;
  const Realm& InitialRealm(uint32_t thread) const;

  const Store& initial_;
  const Script& script_;
  uint64_t acknowledged_ = 0;
  std::vector<std::string> problems_;

  std::vector<uint32_t> begun_;
  std::vector<uint32_t> returned_;
  std::vector<std::vector<uint32_t>> at_begin_;  // what had returned when the thread's last began
  std::vector<uint32_t> metadata_min_;
  std::vector<uint32_t> data_min_;
  std::vector<std::vector<uint32_t>> fsyncs_;  // operations of a thread that made one file durable
  struct Cut {
    std::vector<uint32_t> min;
    std::vector<uint32_t> max;
  };
  std::map<uint32_t, Cut> cuts_;  // of clones, by the operation of the volumes' thread
};

}  // namespace prism::crash
