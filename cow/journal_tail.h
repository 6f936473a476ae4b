// What the journal has taken and not yet written, in memory that outlives the process.
//
// An operation that nobody asked to be durable waits in the journal's buffer, up to the flush
// interval. Its client is on this machine: a power cut ends both, but when only the server is
// killed, the client lives on and has seen the operation done. So each record is also put into a
// mapped file, whose pages the kernel keeps. It is never synced, and believed by the next server
// only if the machine has not been started since: after a power cut, the records in the journal's
// files are all there is, as they refer to nothing that was not synced before them.
//
// journal/tail: two areas in turn, so that one takes records while the other's are being written
// to a journal file. cow/FORMAT.md has the bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "cow/boot_memory.h"
#include "fs/base/failure.h"
#include "fs/base/function_ref.h"
#include "fs/base/types.h"

namespace prism::cow {

// THREADS: none of its own; the journal's mutex guards it.
class JournalTail {
 public:
  // What one area holds. A record that finds no room, and all that follow it until the next Switch,
  // are then as safe as the buffer alone makes them.
  static constexpr size_t kAreaBytes = size_t{16} << 20;

  // Maps the file, making it if it is not there. A tail that cannot be had is logged and does
  // nothing: the store is then as it would be without. read_only: only Visit is called, and the
  // file stays as it is.
  void Open(const std::string& path, bool read_only = false);

  // Before Start: the records after `last`, in order and without gaps, that the previous
  // process left on this boot of the machine. Stops when the visitor fails.
  Status Visit(Lsn last, FunctionRef<Status(Lsn, std::string_view)> visitor) const;

  // Forgets all; the next record is `first`. Call when what was visited is durable.
  void Start(Lsn first);
  // The records from `first` on go to the other area, whose old ones are forgotten. Call when those
  // are durable.
  void Switch(Lsn first);
  // Nothing before Start.
  void Append(Lsn lsn, std::string_view payload);

 private:
  struct Area;
  Area* area(size_t index) const;

  BootMemory memory_;
  std::byte* base_ = nullptr;
  BootId boot_{};
  size_t current_ = 0;
  size_t offset_ = 0;      // of the next record in the current area
  uint64_t seed_ = 0;      // of the current area's checksums
  bool overflown_ = true;  // nothing more fits until Switch
};

}  // namespace prism::cow
