#include "cow/segment_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <utility>

#include "fs/base/check.h"

namespace prism::cow {
namespace {

// For the journal's files and the checkpoint's tables, so that a full disk never stops those.
constexpr uint64_t kReserveBytes = uint64_t{256} << 20;
constexpr int64_t kFreeCheckInterval_ms = 50;  // in which a disk may take 100 MiB
constexpr uint32_t kUnitsPerBlock = 4096 / SegmentStore::kUnitBytes;  // of the file system

constexpr size_t kRunMax = 64;  // reads or writes with one system call
constexpr uint64_t kGapMax = 4096;
constexpr uint64_t kWriteBackFrom = 256u << 10;

uint64_t OffsetOf(const SegmentRead& read) {
  return uint64_t{read.extent.unit} * SegmentStore::kUnitBytes + read.offset;
}

bool IsNext(const SegmentRead& before, const SegmentRead& after) {
  const uint64_t end = OffsetOf(before) + before.out.size();
  return before.extent.segment == after.extent.segment && OffsetOf(after) >= end &&
         OffsetOf(after) - end <= kGapMax;
}

int64_t NowMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

SegmentStore::SegmentStore(std::string directory, bool read_only)
    : directory_(std::move(directory)), read_only_(read_only) {
  if (read_only) return;
  std::error_code error;
  std::filesystem::create_directories(directory_, error);
  if (error) spdlog::error("segment directory {}: {}", directory_, error.message());
}

std::string SegmentStore::PathOf(uint32_t segment) const {
  return fmt::format("{}/{:08}", directory_, segment);
}

Status SegmentStore::MarkUsed(const Extent& extent) {
  uint32_t units = UnitsOf(extent.length_bytes);
  if (extent.segment == 0 || units == 0 || units > kUnits || extent.unit > kUnits - units)
    return Fail(Err::kCorrupt);
  std::lock_guard lock(mutex_);
  Segment& segment = segments_[extent.segment];
  last_segment_ = std::max(last_segment_, extent.segment);
  for (uint32_t unit = extent.unit; unit < extent.unit + units; ++unit) {
    uint64_t bit = uint64_t{1} << (unit % 64);
    if (segment.bitmap[unit / 64] & bit) return Fail(Err::kCorrupt);
    segment.bitmap[unit / 64] |= bit;
  }
  segment.used += units;
  used_units_ += units;
  return {};
}

void SegmentStore::RemoveUnused() {
  if (read_only_) return;
  std::lock_guard lock(mutex_);
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory_, error)) {
    uint64_t number = std::strtoull(entry.path().filename().c_str(), nullptr, 10);
    if (number == 0 || segments_.contains(static_cast<uint32_t>(number))) continue;
    std::error_code remove_error;
    std::filesystem::remove(entry.path(), remove_error);
    if (remove_error) spdlog::error("remove {}: {}", entry.path().string(), remove_error.message());
  }
  if (error) spdlog::error("segment directory {}: {}", directory_, error.message());
}

Result<std::vector<Extent>> SegmentStore::Write(std::span<const std::string_view> contents,
                                                bool soon) {
  PRISM_CHECK(!read_only_);
  uint64_t size_bytes = 0;
  for (std::string_view bytes : contents) {
    PRISM_CHECK(!bytes.empty() && bytes.size() <= kSegmentBytes);
    size_bytes += uint64_t{UnitsOf(static_cast<uint32_t>(bytes.size()))} * kUnitBytes;
  }
  if (FreeBytes() < size_bytes) return Fail(Err::kNoSpace);
  std::vector<Extent> extents;
  {
    std::lock_guard lock(mutex_);
    for (std::string_view bytes : contents)
      extents.push_back(Allocate(static_cast<uint32_t>(bytes.size())));
  }
  if (Status written = WriteExtents(contents, extents); !written) {
    Free(std::move(extents));
    return Fail(written.error());
  }
  // A fast disk takes more between two looks at its free space than is kept back.
  free_bytes_ -= static_cast<int64_t>(size_bytes);
  std::lock_guard lock(mutex_);
  for (const Extent& extent : extents) (soon ? unsynced_ : unsynced_later_).insert(extent.segment);
  return extents;
}

Status SegmentStore::WriteExtents(std::span<const std::string_view> contents,
                                  std::span<const Extent> extents) {
  static constexpr std::array<char, kUnitBytes> kPadding{};  // of a unit that is not full
  for (size_t first = 0; first < extents.size();) {
    std::shared_ptr<File> file;
    {
      std::lock_guard lock(mutex_);
      PRISM_ASSIGN(file, FileOf(extents[first].segment));
    }
    std::vector<std::string_view> parts;
    uint32_t next = extents[first].unit;
    size_t end = first;
    for (; end < extents.size() && end - first < kRunMax; ++end) {
      if (extents[end].segment != extents[first].segment || extents[end].unit != next) break;
      if (const size_t filled = end == first ? 0 : contents[end - 1].size() % kUnitBytes;
          filled > 0)
        parts.emplace_back(kPadding.data(), kUnitBytes - filled);
      parts.push_back(contents[end]);
      next += UnitsOf(extents[end].length_bytes);
    }
    const uint64_t offset = uint64_t{extents[first].unit} * kUnitBytes;
    PRISM_TRY(file->WriteAt(offset, parts));
    // Much will be synced soon: the disk may begin, so that whoever waits then waits less.
    const uint64_t size_bytes = uint64_t{next - extents[first].unit} * kUnitBytes;
    if (size_bytes >= kWriteBackFrom) file->StartWriteBack(offset, size_bytes);
    window_.Add(file, offset, size_bytes);
    first = end;
  }
  return {};
}

Status SegmentStore::WriteAgain(const Extent& extent, std::string_view bytes) {
  if (read_only_) return {};
  PRISM_CHECK(bytes.size() == extent.length_bytes);
  std::lock_guard lock(mutex_);
  PRISM_ASSIGN(std::shared_ptr<File> file, FileOf(extent.segment));
  PRISM_TRY(file->WriteAt(uint64_t{extent.unit} * kUnitBytes, bytes));
  unsynced_later_.insert(extent.segment);
  return {};
}

// REQUIRES: mutex_.
Extent SegmentStore::Allocate(uint32_t length_bytes) {
  uint32_t units = UnitsOf(length_bytes);
  uint32_t unit = 0;
  bool found = active_ != 0 && AllocateFrom(segments_[active_], cursor_, units, unit);
  // What is free in the emptiest may be in pieces too small: then no other is searched.
  if (!found && UseEmptiest()) found = AllocateFrom(segments_[active_], 0, units, unit);
  if (!found) {
    UseNew();
    PRISM_CHECK(AllocateFrom(segments_[active_], 0, units, unit));
  }
  cursor_ = unit + units;
  used_units_ += units;
  return Extent{active_, unit, length_bytes};
}

bool SegmentStore::AllocateFrom(Segment& segment, uint32_t from, uint32_t units, uint32_t& found) {
  uint32_t run = 0;
  for (uint32_t unit = from; unit < kUnits;) {
    uint64_t word = segment.bitmap[unit / 64];
    if (unit % 64 == 0 && word == ~uint64_t{0}) {
      run = 0;
      unit += 64;
      continue;
    }
    run = (word >> (unit % 64)) & 1 ? 0 : run + 1;
    ++unit;
    if (run < units) continue;
    found = unit - units;
    for (uint32_t taken = found; taken < unit; ++taken)
      segment.bitmap[taken / 64] |= uint64_t{1} << (taken % 64);
    segment.used += units;
    return true;
  }
  return false;
}

// False: at least three quarters of every other segment are used. Filling holes in nearly full
// segments would scatter what is written together.
bool SegmentStore::UseEmptiest() {
  uint32_t best = 0;
  uint32_t least_used = kUnits / 4 * 3;
  for (const auto& [number, segment] : segments_) {
    if (number == active_ || segment.used >= least_used) continue;
    best = number;
    least_used = segment.used;
  }
  if (best != 0) active_ = best;
  return best != 0;
}

void SegmentStore::UseNew() { active_ = ++last_segment_; }

// REQUIRES: mutex_.
Result<std::shared_ptr<File>> SegmentStore::FileOf(uint32_t segment) {
  auto it = open_.find(segment);
  if (it != open_.end()) {
    open_order_.splice(open_order_.end(), open_order_, it->second.position);
    return it->second.file;
  }
  PRISM_ASSIGN(File file, File::Open(PathOf(segment), O_RDWR | O_CREAT));
  PRISM_ASSIGN(const uint64_t size, file.Size());
  directory_unsynced_ |= size == 0;  // made just now: its name must reach the disk with its bytes
  if (open_.size() >= kOpenFilesMax) {
    open_.erase(open_order_.front());
    open_order_.pop_front();
  }
  open_order_.push_back(segment);
  auto shared = std::make_shared<File>(std::move(file));
  open_[segment] = {shared, std::prev(open_order_.end())};
  return shared;
}

Status SegmentStore::Read(std::span<SegmentRead> reads) {
  std::sort(reads.begin(), reads.end(), [](const SegmentRead& a, const SegmentRead& b) {
    return std::pair(a.extent.segment, OffsetOf(a)) < std::pair(b.extent.segment, OffsetOf(b));
  });
  for (size_t first = 0; first < reads.size();) {
    size_t end = first + 1;
    while (end < reads.size() && end - first < kRunMax && IsNext(reads[end - 1], reads[end])) ++end;
    PRISM_TRY(ReadRun(reads.subspan(first, end - first)));
    first = end;
  }
  return {};
}

Status SegmentStore::ReadRun(std::span<const SegmentRead> run) {
  std::shared_ptr<File> file;
  {
    std::lock_guard lock(mutex_);
    PRISM_ASSIGN(file, FileOf(run.front().extent.segment));
  }
  std::array<std::byte, kGapMax> gap;  // what lies between two extents, wanted by nobody
  std::vector<std::span<std::byte>> parts;
  uint64_t at = OffsetOf(run.front());
  for (const SegmentRead& read : run) {
    PRISM_CHECK(read.offset + read.out.size() <= read.extent.length_bytes);
    if (OffsetOf(read) > at) parts.push_back(std::span(gap).first(OffsetOf(read) - at));
    parts.push_back(read.out);
    at = OffsetOf(read) + read.out.size();
  }
  return file->ReadAt(OffsetOf(run.front()), parts);
}

void SegmentStore::Free(std::vector<Extent> extents) {
  if (read_only_) return;
  std::sort(extents.begin(), extents.end(), [](const Extent& a, const Extent& b) {
    return std::pair(a.segment, a.unit) < std::pair(b.segment, b.unit);
  });
  for (size_t i = 0; i < extents.size();) {
    const uint32_t segment = extents[i].segment;
    const uint32_t first = extents[i].unit;
    uint32_t end = first;
    for (; i < extents.size() && extents[i].segment == segment && extents[i].unit == end; ++i)
      end += UnitsOf(extents[i].length_bytes);
    std::lock_guard lock(mutex_);
    FreeRun(segment, first, end);
  }
  free_checked_ms_ = 0;
}

// REQUIRES: mutex_.
void SegmentStore::FreeRun(uint32_t number, uint32_t first, uint32_t end) {
  Segment& segment = segments_[number];
  for (uint32_t unit = first; unit < end; ++unit) {
    PRISM_CHECK(IsUsed(segment, unit));
    segment.bitmap[unit / 64] &= ~(uint64_t{1} << (unit % 64));
  }
  segment.used -= end - first;
  used_units_ -= end - first;
  if (segment.used > 0)
    Punch(number, first, end);
  else
    RemoveSegment(number);
}

// Gives the file system its blocks back: what is free in a segment would not be seen as free space
// by anybody else, nor by FreeBytes(). REQUIRES: mutex_, so that nobody takes the units meanwhile.
void SegmentStore::Punch(uint32_t number, uint32_t first, uint32_t end) {
  const Segment& segment = segments_[number];
  auto is_free = [&](uint32_t from, uint32_t to) {
    while (from < to && !IsUsed(segment, from)) ++from;
    return from == to;
  };
  const uint32_t low = first / kUnitsPerBlock * kUnitsPerBlock;
  const uint32_t high = (end + kUnitsPerBlock - 1) / kUnitsPerBlock * kUnitsPerBlock;
  first = is_free(low, first) ? low : low + kUnitsPerBlock;
  end = is_free(end, high) ? high : high - kUnitsPerBlock;
  if (first >= end) return;
  Result<std::shared_ptr<File>> file = FileOf(number);
  if (!file) return;  // has been logged; the units are free all the same
  const auto offset = static_cast<off_t>(first) * kUnitBytes;
  const auto length = static_cast<off_t>(end - first) * kUnitBytes;
  if (::fallocate((*file)->descriptor(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset,
                  length) != 0 &&
      errno != EOPNOTSUPP)
    spdlog::warn("punch {}: {}", PathOf(number), std::strerror(errno));
}

// REQUIRES: mutex_.
void SegmentStore::RemoveSegment(uint32_t number) {
  segments_.erase(number);
  unsynced_.erase(number);
  unsynced_later_.erase(number);
  if (active_ == number) active_ = 0;
  auto it = open_.find(number);
  if (it != open_.end()) {
    open_order_.erase(it->second.position);
    open_.erase(it);
  }
  std::string path = PathOf(number);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT)
    spdlog::error("unlink {}: {}", path, std::strerror(errno));
}

Status SegmentStore::Sync() {
  std::lock_guard one_at_a_time(sync_mutex_);
  if (sync_failed_) return Fail(Err::kIo);
  std::set<uint32_t> segments;
  bool directory = false;
  {
    std::lock_guard lock(mutex_);
    segments.swap(unsynced_);
    for (uint32_t segment : segments) unsynced_later_.erase(segment);
    std::swap(directory, directory_unsynced_);
  }
  Status synced = SyncFiles(segments, directory);
  sync_failed_ = !synced;
  return synced;
}

Status SegmentStore::SyncFiles(const std::set<uint32_t>& segments, bool directory) {
  for (uint32_t segment : segments) {
    std::shared_ptr<File> file;
    {
      std::lock_guard lock(mutex_);
      if (!segments_.contains(segment)) continue;  // removed meanwhile
      PRISM_ASSIGN(file, FileOf(segment));
    }
    PRISM_TRY(file->SyncData());
  }
  if (directory) PRISM_TRY(SyncDirectory(directory_));
  return {};
}

Status SegmentStore::SyncAll() {
  {
    std::lock_guard lock(mutex_);
    unsynced_.merge(unsynced_later_);
  }
  return Sync();
}

bool SegmentStore::NeedsSync() const {
  std::lock_guard lock(mutex_);
  return !unsynced_.empty() || directory_unsynced_;
}

uint64_t SegmentStore::FreeBytes() {
  int64_t now_ms = NowMs();
  if (now_ms - free_checked_ms_.load() < kFreeCheckInterval_ms && free_checked_ms_.load() != 0)
    return static_cast<uint64_t>(std::max<int64_t>(free_bytes_, 0));
  struct statvfs status;
  if (::statvfs(directory_.c_str(), &status) != 0) return 0;
  uint64_t available = uint64_t{status.f_bavail} * status.f_frsize;
  const uint64_t free = available > kReserveBytes ? available - kReserveBytes : 0;
  free_bytes_ = static_cast<int64_t>(free);
  free_checked_ms_ = now_ms;
  return free;
}

}  // namespace prism::cow
