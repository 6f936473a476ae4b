// The journal: what makes single operations durable between checkpoints.
//
// Records gather in memory; a thread that needs one durable either finds somebody already syncing
// and waits, or becomes the leader and writes everything gathered so far, so a lone client pays no
// hand-off and a crowd shares one sync. The format, and what recovery accepts, is in cow/FORMAT.md.
//
// Files are journal/NNNNNNNN, each written up to kFileBytes and never shrunk; one that a checkpoint
// no longer needs is renamed and written again, because overwriting allocated blocks syncs twice as
// fast as growing a file. Old content cannot be mistaken for new: the file's number is part of
// every record's checksum, and sequence numbers must follow each other.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

#include "cow/file.h"
#include "cow/journal_tail.h"
#include "fs/base/function_ref.h"
#include "fs/base/types.h"

namespace prism::cow {

class Journal {
 public:
  // `before_write` runs before bytes go to the file: it makes durable what they refer to.
  // read_only: only Replay is called, and no file is changed.
  Journal(std::string directory, std::function<Status()> before_write, bool read_only = false);

  // Recovery, before any Append: visits the records after `cut` in order, to the first that does
  // not verify, and then those that a killed process had not yet written (journal_tail.h); later
  // Appends go on after the last one visited. kCorrupt: records between `cut` and the first one
  // found are missing.
  Status Replay(Lsn cut, FunctionRef<Status(Lsn, std::string_view)> visitor);

  // What has been visited is in a durable checkpoint: begins to keep a tail. Before any Append.
  void Start();

  // Any thread. The record is ordered now and durable when WaitDurable(lsn) returns.
  Lsn Append(std::string_view payload);
  // After a failed write or sync every call fails with kIo: memory is ahead of the disk, and only
  // a restart brings them together.
  Status WaitDurable(Lsn lsn);

  Lsn last_lsn() const;
  uint64_t bytes_since_trim() const;
  size_t buffered_bytes() const;
  // All records up to `cut` are in a durable checkpoint.
  Status Trim(Lsn cut);

 private:
  struct FileInfo {
    Lsn first = 0;
    Lsn last = 0;
  };
  static constexpr uint64_t kFileBytes = uint64_t{32} << 20;

  Status WriteOut(std::string bytes, Lsn first, Lsn last);
  Status StartFile(Lsn first);
  Status ReplayFile(uint64_t number, Lsn cut, FunctionRef<Status(Lsn, std::string_view)> visitor);
  std::string PathOf(uint64_t number) const;

  const std::string directory_;
  const std::function<Status()> before_write_;
  const bool read_only_;

  mutable std::mutex mutex_;
  std::condition_variable durable_changed_;
  std::string buffer_;                  // guarded by mutex_: encoded records not yet written
  Lsn buffer_first_ = 0;                // guarded by mutex_
  Lsn last_ = 0;                        // guarded by mutex_: of the last record appended
  Lsn durable_ = 0;                     // guarded by mutex_
  JournalTail tail_;                    // guarded by mutex_: the same records, for a next process
  bool leading_ = false;                // guarded by mutex_: a leader is writing
  bool failed_ = false;                 // guarded by mutex_
  uint64_t bytes_since_trim_ = 0;       // guarded by mutex_
  std::map<uint64_t, FileInfo> files_;  // guarded by mutex_: by number

  // The leader's alone.
  File file_;
  uint64_t file_number_ = 0;
  uint64_t file_offset_ = 0;
  std::string spare_path_;  // guarded by mutex_: a file to write again
};

}  // namespace prism::cow
