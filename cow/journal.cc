#include "cow/journal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <vector>

#include "fs/base/bytes.h"
#include "fs/base/check.h"

namespace prism::cow {
namespace {

constexpr uint64_t kFileMagic = 0x314c4e4a4d535250;  // "PRSMJNL1"
constexpr size_t kFileHeaderBytes = 32;              // magic, number, first lsn, checksum
constexpr size_t kRecordHeaderBytes = 20;            // length u32, lsn u64, checksum u64
constexpr size_t kRecordMax = 64u << 20;
constexpr size_t kLengthAndLsn = 12;

// The number of the file is part of it, so that what an older file of the same blocks held is
// never taken for a record of this one. It is mixed in by the leader, who alone knows it.
uint64_t Checksum(std::string_view record, uint64_t file_number) {
  uint64_t seed = XXH3_64bits_withSeed(record.data(), kLengthAndLsn, file_number);
  std::string_view payload = record.substr(kRecordHeaderBytes);
  return XXH3_64bits_withSeed(payload.data(), payload.size(), seed);
}

void SealRecords(std::string& bytes, uint64_t file_number) {
  for (size_t at = 0; at < bytes.size();) {
    uint32_t length;
    std::memcpy(&length, bytes.data() + at, sizeof length);
    size_t size = kRecordHeaderBytes + length;
    uint64_t checksum = Checksum(std::string_view(bytes).substr(at, size), file_number);
    std::memcpy(bytes.data() + at + kLengthAndLsn, &checksum, sizeof checksum);
    at += size;
  }
}

std::string FileHeader(uint64_t number, Lsn first) {
  std::string header;
  ByteWriter writer(header);
  writer.Put(kFileMagic);
  writer.Put(number);
  writer.Put(first);
  writer.Put(static_cast<uint64_t>(XXH3_64bits(header.data(), header.size())));
  return header;
}

}  // namespace

Journal::Journal(std::string directory, std::function<Status()> before_write, bool read_only)
    : directory_(std::move(directory)),
      before_write_(std::move(before_write)),
      read_only_(read_only) {}

std::string Journal::PathOf(uint64_t number) const {
  return fmt::format("{}/{:08}", directory_, number);
}

Status Journal::Replay(Lsn cut, FunctionRef<Status(Lsn, std::string_view)> visitor) {
  std::vector<uint64_t> numbers;
  std::error_code error;
  if (!read_only_) std::filesystem::create_directories(directory_, error);
  for (const auto& entry : std::filesystem::directory_iterator(directory_, error)) {
    uint64_t number = std::strtoull(entry.path().filename().c_str(), nullptr, 10);
    if (number > 0) numbers.push_back(number);
  }
  if (error) {
    spdlog::error("journal directory {}: {}", directory_, error.message());
    return Fail(Err::kIo);
  }
  std::sort(numbers.begin(), numbers.end());
  last_ = cut;
  for (uint64_t number : numbers) {
    PRISM_TRY(ReplayFile(number, cut, visitor));
    file_number_ = number;
  }
  tail_.Open(directory_ + "/tail", read_only_);
  auto keep = [&](Lsn lsn, std::string_view payload) -> Status {
    PRISM_TRY(visitor(lsn, payload));
    last_ = lsn;
    return {};
  };
  PRISM_TRY(tail_.Visit(last_, keep));
  durable_ = last_;
  buffer_first_ = last_ + 1;
  return {};
}

void Journal::Start() {
  std::lock_guard lock(mutex_);
  tail_.Start(last_ + 1);
}

// Stops quietly at the first record that does not verify: that is where the last run was cut off.
// The next file, if there is one, then begins with the same sequence number or is older content.
Status Journal::ReplayFile(uint64_t number, Lsn cut,
                           FunctionRef<Status(Lsn, std::string_view)> visitor) {
  PRISM_ASSIGN(File file, File::Open(PathOf(number), O_RDONLY));
  PRISM_ASSIGN(uint64_t size, file.Size());
  std::string content(std::min<uint64_t>(size, uint64_t{1} << 30), '\0');
  PRISM_TRY(file.ReadAt(0, std::as_writable_bytes(std::span(content.data(), content.size()))));
  ByteReader header(content);
  header.Get<uint64_t>();
  header.Get<uint64_t>();
  Lsn first = header.Get<uint64_t>();
  files_[number] = {first, 0};
  if (content.size() < kFileHeaderBytes ||
      content.compare(0, kFileHeaderBytes, FileHeader(number, first)) != 0)
    return {};
  Lsn expected = first;
  size_t at = kFileHeaderBytes;
  while (content.size() - at >= kRecordHeaderBytes) {
    ByteReader reader(std::string_view(content).substr(at));
    uint32_t length = reader.Get<uint32_t>();
    Lsn lsn = reader.Get<uint64_t>();
    uint64_t checksum = reader.Get<uint64_t>();
    if (lsn != expected || length > kRecordMax || length > reader.remaining()) break;
    std::string_view record = std::string_view(content).substr(at, kRecordHeaderBytes + length);
    if (Checksum(record, number) != checksum) break;
    if (lsn > cut) {
      if (lsn != last_ + 1) {
        spdlog::error("journal: record {} is followed by {}", last_, lsn);
        return Fail(Err::kCorrupt);
      }
      PRISM_TRY(visitor(lsn, record.substr(kRecordHeaderBytes)));
      last_ = lsn;
    }
    files_[number].last = lsn;
    ++expected;
    at += record.size();
  }
  return {};
}

Lsn Journal::Append(std::string_view payload) {
  PRISM_CHECK(payload.size() <= kRecordMax && !read_only_);
  std::unique_lock lock(mutex_);
  Lsn lsn = ++last_;
  ByteWriter writer(buffer_);
  writer.Put(static_cast<uint32_t>(payload.size()));
  writer.Put(lsn);
  writer.Put(uint64_t{0});
  writer.PutBytes(payload);
  tail_.Append(lsn, payload);
  return lsn;
}

Status Journal::WaitDurable(Lsn lsn) {
  std::unique_lock lock(mutex_);
  PRISM_CHECK(lsn <= last_);
  for (;;) {
    if (durable_ >= lsn) return {};
    if (failed_) return Fail(Err::kIo);
    if (!leading_) break;
    durable_changed_.wait(lock);
  }
  leading_ = true;
  std::string bytes;
  bytes.swap(buffer_);
  Lsn first = buffer_first_;
  Lsn last = last_;
  buffer_first_ = last + 1;
  tail_.Switch(last + 1);
  lock.unlock();
  Status status = WriteOut(std::move(bytes), first, last);
  lock.lock();
  leading_ = false;
  if (status)
    durable_ = last;
  else
    failed_ = true;
  durable_changed_.notify_all();
  return status;
}

Status Journal::WriteOut(std::string bytes, Lsn first, Lsn last) {
  PRISM_TRY(before_write_());
  if (!file_.is_open() || file_offset_ + bytes.size() > kFileBytes) PRISM_TRY(StartFile(first));
  SealRecords(bytes, file_number_);
  PRISM_TRY(file_.WriteAt(file_offset_, bytes));
  PRISM_TRY(file_.SyncData());
  file_offset_ += bytes.size();
  std::lock_guard lock(mutex_);
  files_[file_number_].last = last;
  bytes_since_trim_ += bytes.size();
  return {};
}

Status Journal::StartFile(Lsn first) {
  uint64_t number = file_number_ + 1;
  std::string path = PathOf(number);
  std::string spare;
  {
    std::lock_guard lock(mutex_);
    spare.swap(spare_path_);
  }
  if (!spare.empty() && std::rename(spare.c_str(), path.c_str()) != 0) {
    spdlog::error("rename {} to {}: {}", spare, path, std::strerror(errno));
    return Fail(Err::kIo);
  }
  PRISM_ASSIGN(file_, File::Open(path, O_RDWR | O_CREAT));
  PRISM_ASSIGN(uint64_t size, file_.Size());
  if (size < kFileBytes) {  // written, not only reserved: syncs then change no metadata
    std::string zeros(1 << 20, '\0');
    for (uint64_t at = 0; at < kFileBytes; at += zeros.size()) PRISM_TRY(file_.WriteAt(at, zeros));
  }
  std::string header = FileHeader(number, first);
  PRISM_TRY(file_.WriteAt(0, header));
  PRISM_TRY(file_.SyncData());
  PRISM_TRY(SyncDirectory(directory_));
  file_number_ = number;
  file_offset_ = header.size();
  std::lock_guard lock(mutex_);
  files_[number] = {first, 0};
  return {};
}

Lsn Journal::last_lsn() const {
  std::lock_guard lock(mutex_);
  return last_;
}

uint64_t Journal::bytes_since_trim() const {
  std::lock_guard lock(mutex_);
  return bytes_since_trim_ + buffer_.size();
}

size_t Journal::buffered_bytes() const {
  std::lock_guard lock(mutex_);
  return buffer_.size();
}

Status Journal::Trim(Lsn cut) {
  if (read_only_) return {};
  std::lock_guard lock(mutex_);
  if (leading_) return {};  // the leader may be starting a file; the next checkpoint trims
  bytes_since_trim_ = 0;
  for (auto it = files_.begin(); it != files_.end();) {
    if (it->first >= file_number_ || it->second.last > cut) break;
    std::string path = PathOf(it->first);
    if (spare_path_.empty()) {
      spare_path_ = path;
    } else if (::unlink(path.c_str()) != 0) {
      spdlog::error("unlink {}: {}", path, std::strerror(errno));
      return Fail(Err::kIo);
    }
    it = files_.erase(it);
  }
  return {};
}

}  // namespace prism::cow
