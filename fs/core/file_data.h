// The bodies of regular files: what waits in memory over what the map holds.
//
// Writing copies into the file's state (fs/core/file_state.h) and is seen at once. A flush, which
// the host's Flusher begins early where full blocks gather, cuts the waiting bytes into chunks,
// gives them to the store without holding any view, and commits the pieces together with size and
// times, so that after a crash a file never has a size without its data. Bodies of at most
// kInlineMax bytes live in one kInlineData item until they grow.
//
// INVARIANTS of what is stored: bytes at or beyond stored_size read as zeros and no extent lies
// wholly beyond it; stored_used is the sum of the pieces' units (or the inline item's length).
// THREADS: any.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "cow/volume_map.h"
#include "fs/base/function_ref.h"
#include "fs/contract/file_system.h"
#include "fs/core/block_composer.h"
#include "fs/core/data_barrier.h"
#include "fs/core/file_limits.h"
#include "fs/core/file_state.h"
#include "fs/core/flusher.h"
#include "fs/core/holds.h"
#include "fs/core/times.h"

namespace prism::fs {

class FileData {
 public:
  // Whether the caller may: sees the merged record. Its error is what the operation returns.
  using Check = FunctionRef<Status(const cow::ReadView&, const InodeRecord&)>;
  // Further changes to the record within the operation's last transaction.
  using Edit = FunctionRef<Status(cow::WriteTransaction&, InodeRecord&)>;

  // flusher may be null: nothing is saved early.
  FileData(VolumeId volume, cow::VolumeMap& map, cow::ChunkStore& store, DirtyBudget& budget,
           const Holds& holds, Flusher* flusher)
      : volume_(volume),
        map_(map),
        store_(store),
        budget_(budget),
        holds_(holds),
        flusher_(flusher),
        files_(budget) {}
  ~FileData() { early_.Stop(); }  // waits for early flushes

  // LoadInode, with all that waits in memory laid over it. Also kStale: it has neither a link nor
  // a holder, and is not yet freed.
  Result<InodeRecord> Load(const cow::ReadView& view, InodeId ino) const;

  Result<ReadResult> Read(InodeId ino, uint64_t offset, std::span<std::byte> buffer, Check check) {
    return Read(ino, offset, buffer, check, nullptr);
  }
  // The same of up to `length` bytes, those in the store's cache where they are.
  Result<KeptRead> ReadKept(InodeId ino, uint64_t offset, size_t length, Check check);
  enum class Append : uint8_t {
    kNo,
    kYes,  // wherever the file ends
    kAt,   // if it ends at `offset`, else kAgain
  };
  // The result says kUnstable; Flush makes more of it.
  Result<WriteResult> Write(InodeId ino, uint64_t offset, Append append,
                            std::span<const std::byte> data, Check check);

  // What has been written to this file before the call goes into transactions. A file that is gone
  // has nothing to flush.
  Status Flush(InodeId ino);
  // The same for all files that became dirty at or before `time`, and for times of reading.
  Status FlushAll(std::chrono::steady_clock::time_point time);
  // Forgets all that waits for this inode, or for all: they are gone.
  void Discard(InodeId ino);
  void DiscardAll();

  Result<Change> SetSize(InodeId ino, uint64_t size, Check check, Edit edit);
  // Zeros of [from, to): holes, where whole units are. grow: the file ends at `to` at least.
  Result<Change> Zero(InodeId ino, uint64_t from, uint64_t to, bool grow, Check check, Edit edit);
  Result<uint64_t> Seek(InodeId ino, uint64_t offset, SeekWhence whence, Check check);
  // Copies by reference as much of the range as can be; 0: none of it can, copy the bytes instead.
  Result<uint64_t> Share(InodeId from, uint64_t from_offset, InodeId to, uint64_t to_offset,
                         uint64_t length, Edit edit);

  // Puts `body` of a new file into its record and the transaction: inline, or as `block`, which
  // ComposeInitial made of it before.
  Result<ComposedBlock> ComposeInitial(std::span<const std::byte> body);
  void PutInitial(cow::WriteTransaction& transaction, InodeRecord& record,
                  std::span<const std::byte> body, const ComposedBlock& block);

  // Reading it has moved its atime, if relatime says so.
  void NoteRead(const cow::ReadView& view, const InodeRecord& record);
  // Something of this file may wait here.
  bool IsWaiting(InodeId ino) const { return files_.Find(ino) != nullptr; }

  // No write enters any more, and no operation of several transactions is half done.
  void Stop() {
    barrier_.Stop();
    cut_barrier_.Stop();
  }
  void Resume() {
    cut_barrier_.Resume();
    barrier_.Resume();
  }
  LazyTimes& lazy_times() { return lazy_times_; }
  // Whether the volume's quota leaves room for so much more beside what waits here. kQuota: it does
  // not. Asked where something grows, never where something goes.
  Status RequireRoom(const cow::ReadView& view, uint64_t inodes, uint64_t bytes) const;
  // What waits here, as it counts against the quota.
  uint64_t reserved() const { return files_.reserved(); }
  // What the files' used_bytes show beyond what is stored.
  uint64_t expected_used() const { return files_.expected_used(); }
  uint64_t dirty_bytes() const { return files_.bytes(); }

 private:
  struct Batch;
  struct BatchEntry;
  using StatePtr = std::shared_ptr<FileState>;

  BlockName NameOfBlock(InodeId ino, uint64_t block) const { return {volume_, ino, block}; }

  // file_data_read.cc
  // What a read has found at buffer[at] on, and not copied there.
  struct KeptPart {
    size_t at = 0;
    KeptBytes kept;
  };
  Result<ReadResult> Read(InodeId ino, uint64_t offset, std::span<std::byte> buffer, Check check,
                          std::vector<KeptPart>* kept);
  Status ReadStored(const cow::ReadView& view, const InodeRecord& record, uint64_t offset,
                    std::span<std::byte> out, std::vector<KeptPart>* kept) const;
  Status ReadExtents(const cow::ReadView& view, InodeId ino, uint64_t offset,
                     std::span<std::byte> out, std::vector<KeptPart>* kept) const;
  Result<std::vector<cow::Piece>> LoadPieces(const cow::ReadView& view, InodeId ino,
                                             uint64_t block) const;

  // file_data_write.cc
  Status MakeRoom(size_t bytes);
  void CopyIn(FileState& state, uint64_t offset, std::span<const std::byte> data, bool& ragged);
  void DropActive(FileState& state);
  void FlushEarly(const StatePtr& state, bool wait);
  Result<Change> NoteWritten(FileState& state, uint64_t end, uint64_t added);

  Result<WriteResult> TryWrite(InodeId ino, uint64_t offset, Append append,
                               std::span<const std::byte> data, Check check);

  // file_data_quota.cc. REQUIRES of all: data_lock, exclusively.
  Status Reserve(FileState& state, uint64_t offset, size_t length);
  Result<uint64_t> NewUnits(const cow::ReadView& view, const FileState& state, uint64_t block,
                            uint32_t units, bool over_unsaved) const;
  void FreeReserved(FileState& state);

  // file_data_flush.cc. REQUIRES of all: the state's flush_lock.
  Status FlushLocked(FileState& state);
  Status FlushFull(FileState& state);  // up to the last full block
  Status FlushUpTo(FileState& state, uint64_t last_block);
  bool TakeBatch(FileState& state, uint64_t last_block, Batch& batch);
  Status SaveBatch(FileState& state, Batch& batch);
  Status ReadBatchInputs(FileState& state, Batch& batch);
  Status ComposeBatch(FileState& state, Batch& batch);
  Status ComposeEntries(const FileState& state, const Batch& batch, std::span<BatchEntry> entries);
  Status CommitBatch(FileState& state, Batch& batch);
  void FinishBatch(FileState& state, bool saved);
  void DiscardLocked(FileState& state);
  Status FlushTimes();

  // file_data_cut.cc. REQUIRES of all: flush_lock and data_lock, exclusively.
  Result<uint64_t> EraseFromEnd(InodeId ino, uint64_t first, uint64_t end, bool shrink);
  Result<uint64_t> EraseBlocks(cow::WriteTransaction& transaction, InodeId ino, uint64_t first,
                               uint64_t end);
  struct Edge;
  Result<Edge> ComposeEdge(InodeId ino, uint64_t from, uint64_t to, uint64_t size);
  Status PutEdge(cow::WriteTransaction& transaction, InodeRecord& record, const Edge& edge);
  Result<Change> ResizeLocked(FileState& state, uint64_t size, bool may_be_unsaved, Edit edit);
  Result<Change> ShrinkLocked(FileState& state, const InodeRecord& old, uint64_t size, Edit edit);
  void SetWaitingSize(FileState& state, uint64_t size);
  Status CommitShrink(FileState& state, cow::WriteTransaction& transaction,
                      const InodeRecord& record);
  Result<Change> ZeroLocked(FileState& state, uint64_t from, uint64_t to, bool grow, Edit edit);
  Status CutInline(cow::WriteTransaction& transaction, InodeRecord& record, uint64_t from,
                   uint64_t to, bool truncate);
  // A state whose file has nothing unsaved, both its locks held.
  struct Quiet;
  Result<Quiet> LockQuiet(InodeId ino);
  void RemoveIfClean(FileState& state);

  // file_data_share.cc
  struct ShareRange;
  Result<uint64_t> FitRange(ShareRange& range) const;
  Result<uint64_t> ShareLocked(FileState& target, const ShareRange& range, Edit edit);

  const VolumeId volume_;
  cow::VolumeMap& map_;
  cow::ChunkStore& store_;
  DirtyBudget& budget_;
  const Holds& holds_;
  Flusher* const flusher_;
  FileTable files_;
  LazyTimes lazy_times_;
  DataBarrier barrier_;      // writers
  DataBarrier early_;        // early flushes; stopped once, at the end
  DataBarrier cut_barrier_;  // truncating and punching, outside of the other
};

}  // namespace prism::fs
