// A disk that can lose its power: replays what the shim noted and says what could be there after.
//
// Kept is what was synced. Of what was not, any part may be there: of each 4 KiB page (or 512-byte
// sector) of a file any of its versions since the last sync; of each directory the names after any
// prefix of the changes since it was synced. So a name whose directory was never synced may be
// missing although its file was synced: stricter than ext4, as POSIX allows.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "tests/crash/content.h"
#include "tests/crash/power_log.h"

namespace prism::crash {

class PowerDisk {
 public:
  enum class Loss { kNothing, kEverything, kRandomPages, kRandomSectors };

  PowerDisk();
  // All that is below `directory` is on disk.
  void LoadSynced(const std::string& directory);

  // One record; handles of an earlier process are forgotten by NewProcess.
  void Apply(const PowerRecord& record, std::string_view path, std::string_view path2,
             std::string_view data);
  void NewProcess() { handles_.clear(); }

  // What a loss of power now could leave.
  void Materialize(const std::string& directory, Loss loss, std::mt19937_64& rng) const;

 private:
  struct Change {
    uint64_t sequence = 0;
    PowerRecord::Kind kind = PowerRecord::Kind::kWrite;
    uint64_t offset = 0;
    uint64_t length = 0;
    std::shared_ptr<const std::string> data;  // nullptr: zeros
  };
  struct Node;
  using NodePtr = std::shared_ptr<Node>;
  struct NameChange {
    uint64_t sequence = 0;
    std::string removed;  // empty: none
    std::string added;    // empty: none
    NodePtr node;         // what was added
  };
  struct Node {
    bool directory = false;
    // A file.
    Content synced;
    std::vector<Change> changes;
    // A directory.
    std::map<std::string, NodePtr> synced_names;
    std::map<std::string, NodePtr> names;  // now
    std::vector<NameChange> name_changes;
  };

  NodePtr Find(std::string_view path) const;
  NodePtr ParentOf(std::string_view path, std::string& name) const;
  void OnOpen(const PowerRecord& record, std::string_view path);
  void OnRename(std::string_view from, std::string_view to);
  void AddName(Node& directory, NameChange change);
  void Synced(Node& node, uint64_t before, bool failed);
  static void ApplyChange(const Change& change, Content& content);
  static void Load(Node& node, const std::string& directory);
  static void WriteDirectory(const Node& node, const std::string& path, Loss loss,
                             std::mt19937_64& rng);
  static Content Survivor(const Node& node, Loss loss, std::mt19937_64& rng);

  NodePtr root_;
  uint64_t sequence_ = 0;
  std::map<uint64_t, NodePtr> handles_;
  std::map<uint64_t, uint64_t> sync_begins_;
};

// Reads records one after another.
class PowerLogReader {
 public:
  explicit PowerLogReader(std::string_view log) : log_(log) {}
  bool Next();  // false: the end

  const PowerRecord& record() const { return record_; }
  std::string_view path() const { return path_; }
  std::string_view path2() const { return path2_; }
  std::string_view data() const { return data_; }

 private:
  std::string_view log_;
  PowerRecord record_;
  std::string_view path_, path2_, data_;
};

}  // namespace prism::crash
