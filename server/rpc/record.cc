#include "server/rpc/record.h"

#include <algorithm>
#include <cstring>

#include "fs/base/check.h"

namespace prism::rpc {

RecordBuffer RecordBuffer::Make(size_t capacity_bytes, const std::shared_ptr<Client>& client) {
  if (client == nullptr || capacity_bytes <= kFreeBytes) return {capacity_bytes, Charge()};
  const uint64_t charged = capacity_bytes - kFreeBytes;
  if (!client->TryCharge(charged)) return {};
  return {capacity_bytes, Charge(client, charged)};
}

RecordReader::State RecordReader::Broken(std::string_view why) {
  if (why_.empty()) why_ = why;
  return State::kBroken;
}

RecordReader::State RecordReader::Poll() {
  if (!why_.empty()) return State::kBroken;
  while (!complete_) {
    if (!in_fragment_) {
      if (end_ - parsed_ < 4) return State::kNeedMore;
      if (!ReadMark()) return State::kBroken;
    }
    Absorb();
    if (fragment_left_ > 0) return State::kNeedMore;
    in_fragment_ = false;
    complete_ = last_fragment_;
  }
  if (received_bytes_ == 0) return Broken("an empty record");
  return State::kRecord;
}

bool RecordReader::ReadMark() {
  uint32_t mark;
  std::memcpy(&mark, buffer_.data() + parsed_, 4);
  mark = __builtin_bswap32(mark);
  parsed_ += 4;
  if (received_bytes_ == 0) record_begin_ = parsed_;  // the first mark is simply left behind
  fragment_left_ = mark & ~kLastFragment;
  last_fragment_ = (mark & kLastFragment) != 0;
  in_fragment_ = true;
  if (fragment_left_ > record_max_bytes_ - received_bytes_) {
    Broken("a record above the limit");
    return false;
  }
  if (fragment_left_ == 0 && ++empty_fragments_ > kEmptyFragmentsMax) {
    Broken("too many empty fragments");
    return false;
  }
  return true;
}

void RecordReader::Absorb() {
  const size_t here = std::min(fragment_left_, end_ - parsed_);
  fragment_left_ -= here;
  received_bytes_ += here;
  if (!shedding_) {
    if (assembled_end() != parsed_ && here > 0)
      std::memmove(buffer_.data() + assembled_end(), buffer_.data() + parsed_, here);
    record_bytes_ += here;
  }
  parsed_ += here;
}

std::span<std::byte> RecordReader::Space() {
  PRISM_CHECK(!complete_ && why_.empty());
  if (!buffer_) buffer_ = RecordBuffer::Make(RecordBuffer::kFreeBytes, client_);
  // What must come before anything can be done.
  const size_t want = in_fragment_ ? fragment_left_ : 4 - (end_ - parsed_);
  if (room() < want) Compact();
  if (room() < want && !shedding_) {
    const size_t needed = end_ + want;
    if (room() == 0 || needed <= largest_record_bytes_) Grow(needed);
  }
  // Never much beyond the end of a record: its buffer may go with it, and the rest is copied then.
  return {buffer_.data() + end_,
          std::min(room(), std::max(in_fragment_ ? want : 0, RecordBuffer::kFreeBytes))};
}

// Moves what is kept to the front of the buffer, and closes the gaps.
void RecordReader::Compact() {
  const size_t unparsed = end_ - parsed_;
  if (record_begin_ > 0)
    std::memmove(buffer_.data(), buffer_.data() + record_begin_, record_bytes_);
  std::memmove(buffer_.data() + record_bytes_, buffer_.data() + parsed_, unparsed);
  record_begin_ = 0;
  parsed_ = record_bytes_;
  end_ = parsed_ + unparsed;
}

void RecordReader::Grow(size_t needed_bytes) {
  const size_t proven = std::max({kProofBytes, 4 * record_bytes_, largest_record_bytes_});
  // More fragments may follow: growing by each of them would copy all the others each time.
  const size_t useful =
      in_fragment_ && last_fragment_
          ? needed_bytes
          : std::max({needed_bytes, 2 * buffer_.capacity(), largest_record_bytes_});
  RecordBuffer larger =
      RecordBuffer::Make(std::min({useful, proven, record_max_bytes_ + kGapBytes}), client_);
  if (!larger) {
    shedding_ = true;
    record_bytes_ = std::min(record_bytes_, kHeadBytes);
    return Compact();
  }
  std::memcpy(larger.data(), buffer_.data(), end_);
  buffer_ = std::move(larger);
}

void RecordReader::StartRecord() {
  if (!shedding_) largest_record_bytes_ = std::max(largest_record_bytes_, record_bytes_);
  ++records_;
  record_bytes_ = 0;
  received_bytes_ = 0;
  empty_fragments_ = 0;
  complete_ = false;
  shedding_ = false;
  if (parsed_ == end_) parsed_ = end_ = 0;
  record_begin_ = parsed_;
}

void RecordReader::Pop() {
  PRISM_CHECK(complete_);
  StartRecord();
}

std::span<const std::byte> RecordReader::Take(RecordBuffer& storage) {
  PRISM_CHECK(complete_);
  const std::span<const std::byte> bytes = record();
  if (bytes.size() <= kCopyBytes) {
    if (storage.capacity() < kCopyBytes) storage = RecordBuffer(kCopyBytes, Charge());
    std::memcpy(storage.data(), bytes.data(), bytes.size());
    StartRecord();
    return {storage.data(), bytes.size()};
  }
  const size_t tail = end_ - parsed_;
  RecordBuffer rest;
  if (tail > 0) {
    PRISM_CHECK(tail <= RecordBuffer::kFreeBytes);  // Space() sees to it
    rest = RecordBuffer(RecordBuffer::kFreeBytes, Charge());
    std::memcpy(rest.data(), buffer_.data() + parsed_, tail);
  }
  storage = std::move(buffer_);
  buffer_ = std::move(rest);
  StartRecord();
  record_begin_ = parsed_ = 0;
  end_ = tail;
  return bytes;
}

void RecordReader::Idle() {
  if (!mid_record() && buffer_.capacity() > RecordBuffer::kFreeBytes) buffer_ = RecordBuffer();
}

}  // namespace prism::rpc
