// Record marking on a TCP stream, RFC 5531 section 11.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "server/rpc/memory.h"

namespace prism::rpc {

inline constexpr uint32_t kLastFragment = 0x80000000;

// Memory that records are read into; never initialized. Above kFreeBytes it is charged to a client.
class RecordBuffer {
 public:
  static constexpr size_t kFreeBytes = 16 << 10;

  RecordBuffer() = default;
  RecordBuffer(size_t capacity_bytes, Charge charge)
      : bytes_(std::make_unique_for_overwrite<std::byte[]>(capacity_bytes)),
        capacity_bytes_(capacity_bytes),
        charge_(std::move(charge)) {}
  // As large as asked for, or without memory if the client must not have that much.
  static RecordBuffer Make(size_t capacity_bytes, const std::shared_ptr<Client>& client);

  std::byte* data() { return bytes_.get(); }
  const std::byte* data() const { return bytes_.get(); }
  size_t capacity() const { return capacity_bytes_; }
  explicit operator bool() const { return bytes_ != nullptr; }

 private:
  std::unique_ptr<std::byte[]> bytes_;
  size_t capacity_bytes_ = 0;
  Charge charge_;
};

// Puts records together from what the socket delivers, whatever its pieces and the fragments are.
//
// Memory follows what has arrived, not what a mark claims: at most four times as much, or what the
// largest record so far has needed. A record for which the client must not have the memory loses
// its tail while it is read on (truncated()), so that it can be refused in form and the connection
// goes on; nothing ever waits for memory.
// Bytes are not copied on the way, but for the first 16 KiB of a large record and those of records
// of several fragments.
class RecordReader {
 public:
  enum class State : uint8_t {
    kNeedMore,
    kRecord,  // record() is complete
    kBroken,  // not record marking, or beyond the bounds; see why()
  };
  // client may be null: nothing is charged, all is bounded by record_max_bytes alone.
  RecordReader(size_t record_max_bytes, std::shared_ptr<Client> client)
      : record_max_bytes_(record_max_bytes), client_(std::move(client)) {}

  // Where the next bytes of the stream go (never empty), and that n of them are there. Only in
  // state kNeedMore.
  std::span<std::byte> Space();
  void Filled(size_t size_bytes) { end_ += size_bytes; }

  State Poll();
  // Whether there is something to deal with before more is read.
  bool Pending() { return Poll() != State::kNeedMore; }
  std::span<const std::byte> record() const {
    return {buffer_.data() + record_begin_, record_bytes_};
  }
  bool truncated() const { return shedding_; }
  std::string_view why() const { return why_; }

  // The record has been dealt with.
  void Pop();
  // The same, but it lives on in `storage`; what it returns points there.
  std::span<const std::byte> Take(RecordBuffer& storage);

  // Whether the stream is inside of a record.
  bool mid_record() const { return end_ > parsed_ || in_fragment_ || received_bytes_ > 0; }
  uint64_t records() const { return records_; }              // that have been dealt with
  size_t received_bytes() const { return received_bytes_; }  // of the record to come
  // Gives back what large records have needed, if there is nothing in it.
  void Idle();

 private:
  static constexpr uint32_t kEmptyFragmentsMax = 16;  // in a record
  static constexpr size_t kProofBytes = 64 << 10;
  static constexpr size_t kGapBytes = 4 << 10;   // beside the largest record, for marks
  static constexpr size_t kHeadBytes = 8 << 10;  // kept of a record that loses its tail
  static constexpr size_t kCopyBytes = 4 << 10;  // below this a copy is cheaper than a new buffer

  State Broken(std::string_view why);
  bool ReadMark();
  void Absorb();
  void Compact();
  void Grow(size_t needed_bytes);
  void StartRecord();
  size_t assembled_end() const { return record_begin_ + record_bytes_; }
  size_t room() const { return buffer_.capacity() - end_; }

  const size_t record_max_bytes_;
  const std::shared_ptr<Client> client_;
  RecordBuffer buffer_;
  // Positions in buffer_: the record so far, what has been looked at, what is there. Between the
  // first two are marks that have been dealt with.
  size_t record_begin_ = 0;
  size_t record_bytes_ = 0;
  size_t parsed_ = 0;
  size_t end_ = 0;
  size_t received_bytes_ = 0;  // of this record, kept or not
  size_t fragment_left_ = 0;
  bool in_fragment_ = false;
  bool last_fragment_ = false;
  bool complete_ = false;
  bool shedding_ = false;
  uint32_t empty_fragments_ = 0;
  uint64_t records_ = 0;
  size_t largest_record_bytes_ = 0;
  std::string_view why_;
};

}  // namespace prism::rpc
