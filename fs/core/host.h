// All volumes of a store, as file systems: what the control plane and the front ends work with.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cow/check_report.h"
#include "cow/quota.h"
#include "fs/base/failure.h"
#include "fs/base/function_ref.h"
#include "fs/contract/file_system.h"
#include "fs/core/compose.h"
#include "fs/core/diff.h"
#include "fs/core/merge.h"

namespace prism::fs {

enum class Compression : uint8_t { kNone = 0, kLz4 = 1, kZstd = 2 };

struct HostOptions {
  std::string directory;                        // created if absent
  Compression compression = Compression::kLz4;  // of chunks written from now on
  uint64_t node_cache_bytes = uint64_t{512} << 20;
  uint64_t chunk_cache_bytes = uint64_t{512} << 20;
  uint64_t dirty_bytes_max = uint64_t{256} << 20;  // file data not yet given to the store
  uint32_t flush_interval_ms = 1000;  // unsynced operations become durable within about this
  uint32_t checkpoint_interval_ms = 10000;
  // For so long after a start, files that were open and unlinked, and the locks of volumes that had
  // some, are kept for clients that resume.
  uint32_t resume_grace_ms = 0;
};

struct VolumeInfo {
  VolumeId id = 0;
  std::string name;
  // The name of what it was cloned from, or last rebased on, as it was then; empty if created.
  std::string parent;
  VolumeId parent_id = 0;    // which may be gone
  VolumeId snapshot_of = 0;  // not 0: a read-only snapshot of that volume
  bool importing = false;
  bool sealed = false;   // for good: nobody can change it, but clones of it
  bool flushed = false;  // a clone behind a barrier, which all clients of its source passed
  int64_t created_sec = 0;
  int64_t expires_sec = 0;  // it goes by itself then, unless held; 0: never
  std::vector<std::string> holds;
  uint64_t inodes = 0;
  uint64_t logical_bytes = 0;
  // Stored bytes of all that it refers to: its tree, and chunks, each once in each block of a file.
  uint64_t referenced_bytes = 0;
  cow::Quota quota;
  uint64_t charged_bytes = 0;  // what counts against quota.bytes
  uint32_t attached = 0;       // FileSystem objects alive
  bool composed = false;
  // inodes, logical_bytes and charged_bytes are at most that: it is still being counted.
  bool uncounted = false;
};

struct ExclusiveUsage {
  uint64_t bytes = 0;           // stored bytes that would come back if these volumes went
  uint64_t metadata_bytes = 0;  // of them, tree nodes
  uint64_t inodes = 0;          // whose records are in such nodes
  uint64_t volumes = 1;         // how many these are
  // Of all of them, at the same instant: see VolumeInfo.
  uint64_t all_inodes = 0;
  uint64_t logical_bytes = 0;
  uint64_t referenced_bytes = 0;
  bool uncounted = false;  // all_inodes and logical_bytes are at most that
};

struct StoreStats {
  uint64_t volumes = 0;
  uint64_t logical_bytes = 0;   // sum over volumes, each counted whole
  uint64_t unique_bytes = 0;    // distinct content, before compression
  uint64_t stored_bytes = 0;    // the same as stored, after compression, in allocation units
  uint64_t metadata_bytes = 0;  // what RocksDB holds: tree nodes, chunk rows, fingerprints
  uint64_t chunks = 0;
  uint64_t nodes = 0;
  uint64_t journal_records = 0;  // since start
  uint64_t checkpoints = 0;
  uint64_t free_bytes = 0;
  uint64_t pending_nodes = 0;  // trees of destroyed volumes still to be walked; 0: all came back
};

// What is done to clones before anybody sees them.
struct Preparation {
  // Called once for each target, with its name and the clone, which it may change at will. A
  // failure is that of the whole call.
  FunctionRef<Outcome<void>(std::string_view target, FileSystem& clone)> prepare;
  std::string description;  // all that decides what it does, as far as the caller chose it
};

struct CloneOptions {
  std::string_view request_key = {};
  const Preparation* preparation = nullptr;
  // The clients of the source are asked to write what they hold, and the cut waits so long for it.
  std::optional<uint32_t> barrier_ms = {};
  cow::QuotaChange quota = {};
};
inline constexpr uint32_t kBarrierMsMax = 600000;

struct CloneResult {
  std::vector<VolumeInfo> volumes;
  // With a barrier, why it was none, and the cut is as after a power cut of its clients; or empty.
  std::string reason;
};

// Who looks at a volume as it is at one instant.
struct Inspection {
  FunctionRef<Outcome<void>(FileSystem& cut)> inspect;  // a failure is that of the whole call
  std::string description;                              // as that of Preparation
};

// Volume names: 1..128 bytes of [A-Za-z0-9._-], not beginning with '.' or '-'.
// Snapshots are read-only volumes named NAME@LABEL (128 bytes at most), which belong to the volume
// NAME: they are renamed with it, and it is not destroyed without them. Everything that takes the
// name of a volume takes that of a snapshot, but where it says otherwise.
class Host {
 public:
  // Recovers the store by itself. Fails with words: another server has it (kBusy), a newer format
  // (kNotSupported), not a store (kInvalid), damage (kCorrupt).
  static Outcome<std::unique_ptr<Host>> Open(const HostOptions& options);
  virtual ~Host() = default;  // writes everything back; FileSystem objects must be gone

  // All of these are durable when they return, and all or nothing. A request_key, where there is
  // one, names the call: who repeats it with the same key and the same arguments, also after a
  // crash, gets the first answer and nothing is done again; other arguments are kInvalid. The last
  // thousand or so are remembered.
  virtual Outcome<VolumeInfo> Create(std::string_view name, bool importing,
                                     std::string_view request_key = {}) = 0;
  // An import is invisible to Clone and Attach-by-mount until published; volumes still importing
  // at start are destroyed.
  virtual Outcome<void> Publish(std::string_view name) = 0;
  // One atomic cut for all targets: everything that returned before is in each, nothing later.
  virtual Outcome<std::vector<VolumeInfo>> Clone(std::string_view source,
                                                 const std::vector<std::string>& targets,
                                                 std::string_view request_key = {},
                                                 const cow::QuotaChange& quota = {}) = 0;
  // The same with options. What a preparation does to the clones is done before they are there for
  // anybody: none is ever seen, nor left by a crash, without it.
  virtual Outcome<CloneResult> CloneWith(std::string_view source,
                                         const std::vector<std::string>& targets,
                                         const CloneOptions& options) = 0;
  // What a volume may grow to, from now on, whatever it holds already. Growth beyond is kQuota,
  // over every front end; what has been acknowledged before is never refused later. Clones inherit
  // it, unless Clone is told otherwise; a rollback does not change it. Not of a snapshot
  // (kInvalid).
  virtual Outcome<VolumeInfo> SetQuota(std::string_view name, const cow::QuotaChange& change,
                                       std::string_view request_key = {}) = 0;
  // From now on and for good, whoever would change the volume is answered kReadOnly; it can be
  // renamed, cloned and destroyed. What is sealed is exactly what was inspected: kBusy if
  // the volume keeps changing meanwhile. Sealing twice is no error, and inspects nothing. Not of
  // snapshots (kInvalid).
  virtual Outcome<VolumeInfo> Seal(std::string_view name, const Inspection& inspection,
                                   std::string_view request_key = {}) = 0;
  // Only looks; at snapshots too.
  virtual Outcome<VolumeInfo> Inspect(std::string_view name, const Inspection& inspection) = 0;
  // `names` are NAME@LABEL, of one or several volumes; one cut for all, as Clone. ttl_sec: how long
  // they live, 0 for as long as they are not destroyed.
  virtual Outcome<std::vector<VolumeInfo>> Snapshot(const std::vector<std::string>& names,
                                                    int64_t ttl_sec,
                                                    std::string_view request_key = {}) = 0;
  // The snapshot's volume becomes what the snapshot is, in use or not; returns the volume. Its
  // clients are told to drop all they know (Event::kAll); inodes that the snapshot lacks are kStale
  // to them, and their numbers are not used again. Snapshots made since stay.
  virtual Outcome<VolumeInfo> Rollback(std::string_view snapshot,
                                       std::string_view request_key = {}) = 0;
  // The same of one file or directory alone, "/a/b", with all below it: everything else stays. A
  // snapshot is made first (MergeReport::kept). What was moved into it since goes; what was moved
  // out of it, and is still there, stays there too, and comes back as a file of its own; so does a
  // file that has names on both sides and has changed. kNoEntry: the snapshot has nothing there.
  virtual Outcome<MergeReport> RollbackPath(std::string_view snapshot, std::string_view path,
                                            std::string_view request_key = {}) = 0;
  // Each of `names` becomes `onto` with its own changes since their common ancestor: a snapshot of
  // that, or a volume that has not changed since, must still be there, or MergeOptions::from say
  // what to take (kNoEntry). Reports are in the order of the names. Conflicts: nothing is done to
  // any. Otherwise each is exchanged by one step, in use or not, as by Rollback; where the numbers
  // of files are concerned, both sides' stay. What comes from `onto` already is done.
  virtual Outcome<std::vector<MergeReport>> Rebase(const std::vector<std::string>& names,
                                                   std::string_view onto,
                                                   const MergeOptions& options,
                                                   std::string_view request_key = {}) = 0;
  // The changes of `child` since they were one go into `into`, likewise. `child` stays as it is.
  virtual Outcome<MergeReport> Merge(std::string_view child, std::string_view into,
                                     const MergeOptions& options,
                                     std::string_view request_key = {}) = 0;
  // A volume out of parts of several, all as they are at one instant: see fs/core/compose.h. One
  // file system: everything works across the seams, and nothing outside of the parts is reached.
  // Costs the rules, not the files. What is cut off comes back, as space, with the volume.
  virtual Outcome<VolumeInfo> Compose(std::string_view name, const ComposeOptions& options,
                                      std::string_view request_key = {}) = 0;
  // Where a file of a volume comes from. Its path: as the volume has it now.
  virtual Outcome<Explanation> ExplainFile(std::string_view name, std::string_view path) = 0;
  // While a volume or snapshot has holds it is not destroyed (kBusy), nor does it expire. Holding
  // twice, or releasing what is not held, is no error. Tags are made as names are.
  virtual Outcome<VolumeInfo> Hold(std::string_view name, std::string_view tag,
                                   std::string_view request_key = {}) = 0;
  virtual Outcome<VolumeInfo> Release(std::string_view name, std::string_view tag,
                                      std::string_view request_key = {}) = 0;
  // At once, attached or not: its FileSystem objects answer kStale from then on. A volume that has
  // snapshots is kBusy unless they are named too or `recursive` is set.
  virtual Outcome<void> Destroy(const std::vector<std::string>& names, bool recursive = false,
                                std::string_view request_key = {}) = 0;
  // A snapshot gets a new label of the same volume.
  virtual Outcome<VolumeInfo> Rename(std::string_view from, std::string_view to,
                                     std::string_view request_key = {}) = 0;

  virtual std::vector<VolumeInfo> List() = 0;  // by name; each is followed by its snapshots
  virtual Outcome<VolumeInfo> Show(std::string_view name) = 0;
  virtual Outcome<VolumeInfo> Show(VolumeId id) = 0;
  virtual Outcome<ExclusiveUsage> Exclusive(std::string_view name) = 0;
  // What would come back if Destroy were called so; and its errors.
  virtual Outcome<ExclusiveUsage> WouldFree(const std::vector<std::string>& names,
                                            bool recursive) = 0;
  // What has become of `a` in `b`, both as they are at one instant.
  virtual Outcome<DiffResult> Diff(std::string_view a, std::string_view b,
                                   const DiffOptions& options) = 0;
  virtual StoreStats Stats() = 0;
  // Recounts the store as it is at one instant, while it goes on: fs/core/store_check.h. `data`:
  // also reads and verifies what all chunks hold.
  virtual Outcome<cow::CheckReport> Check(bool data) = 0;

  // A FileSystem for one client; see HOLDS in the contract. importing: the one that fills an
  // import.
  virtual Outcome<std::shared_ptr<FileSystem>> Attach(std::string_view name, bool importing) = 0;
  // The same for who was given a volume, not a name: it may have been renamed. Imports are kBusy.
  virtual Outcome<std::shared_ptr<FileSystem>> Attach(VolumeId id) = 0;

  // The same for a client that had one when the server was stopped or killed, and has kept what it
  // knows of it: it holds every unlinked file that was left then, as if it had never been away. For
  // HostOptions::resume_grace_ms after the start; later they are gone.
  virtual Outcome<std::shared_ptr<FileSystem>> Resume(VolumeId id) = 0;
  // The server stops, and the clients will resume: what they alone hold is not freed any more when
  // their FileSystem objects go, and that they have locks not forgotten.
  virtual void KeepOrphans() = 0;

  // The same for a front end whose handles name volumes by id, and whose clients say nothing when
  // they have forgotten a file (NFS): unlinked inodes are kStale to it at once, whoever holds them.
  virtual Outcome<std::shared_ptr<FileSystem>> AttachNetwork(VolumeId id) = 0;

  // A mark after which WaitDurable finds everything that has returned before on disk, on whichever
  // volume; data written with Stability::kUnstable excepted. So replies can wait together.
  virtual uint64_t Mark() = 0;
  virtual Status WaitDurable(uint64_t mark) = 0;
  // RFC 1813, writeverf3: changes when, and only when, data may have been lost that had been
  // written with Stability::kUnstable. So it survives a restart that found everything saved.
  virtual uint64_t WriteVerifier() const = 0;

  // Small values that front ends keep in the store: keys, rules. Durable when Set returns; an empty
  // value removes. Keys and values of those whose key begins with `prefix`, in order.
  virtual Outcome<std::string> Setting(std::string_view key) = 0;  // absent: empty
  virtual Outcome<void> SetSetting(std::string_view key, std::string_view value) = 0;
  virtual Outcome<std::vector<std::pair<std::string, std::string>>> Settings(
      std::string_view prefix) = 0;

  // For tests and benchmarks: everything dirty to the journal; a checkpoint now; wait until the
  // reaper has nothing left to do (and a checkpoint has recorded it).
  virtual Status Flush() = 0;
  virtual Status Checkpoint() = 0;
  virtual Status Drain() = 0;
};

}  // namespace prism::fs
