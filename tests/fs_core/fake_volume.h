// A volume that is a std::map and a store that is in memory, with the checks an engine would need.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <string>
#include <unordered_map>

#include "cow/volume_map.h"

namespace prism::fs::testing {

using Items = std::map<cow::Key, std::string>;

// Counts references as an engine does: one for each piece of each item of each volume. A chunk that
// nobody refers to or pins is gone at once, and reading it fails.
class FakeStore : public cow::ChunkStore, public cow::ChunkPin::Owner {
 public:
  Result<std::vector<cow::ChunkPin>> PutAll(Contents contents) override;
  Status ReadAll(std::span<const cow::ChunkRead> reads) override;
  uint64_t FreeBytes() override { return free_bytes; }
  void Unpin(ChunkId id) override;

  void AddReferences(std::string_view extent_value, int64_t sign);
  size_t chunks() const;
  std::map<ChunkId, int64_t> References() const;
  size_t pins() const;
  size_t ChunkBytes(ChunkId id) const;

  std::atomic<uint64_t> free_bytes{uint64_t{1} << 40};
  std::atomic<int> puts{0};
  std::atomic<bool> fail_puts{false};
  std::function<void()> on_put;  // called before each, without a lock
  std::atomic<bool> fail_reads{false};

 private:
  struct Chunk {
    std::string bytes;
    int64_t references = 0;
    int64_t pins = 0;
  };
  Result<cow::ChunkPin> PutOne(std::span<const std::byte> data);
  void FreeIfUnused(ChunkId id);

  mutable std::mutex mutex_;
  std::unordered_map<ChunkId, Chunk> chunks_;
  std::unordered_map<std::string, ChunkId> ids_;
  ChunkId next_ = 1;
};

class FakeVolume : public cow::VolumeMap {
 public:
  explicit FakeVolume(FakeStore& store) : store_(store) {}
  ~FakeVolume() override;

  std::unique_ptr<cow::ReadView> Read() override;
  std::unique_ptr<cow::WriteTransaction> Write() override;
  Status WaitDurable(Lsn lsn) override;
  Lsn LastLsn() override { return lsn_; }
  cow::VolumeUsage Usage() override;
  bool read_only() const override { return is_read_only; }
  bool destroyed() const override { return is_destroyed; }
  std::pair<uint64_t, uint64_t> hash_key() const override { return hash_key_value; }

  // A copy at this instant: its items, usage and inode counter.
  std::unique_ptr<FakeVolume> Clone();
  const Items& items() const { return items_; }
  Lsn durable() const { return durable_; }

  std::atomic<bool> is_read_only{false};
  std::atomic<bool> is_destroyed{false};
  std::atomic<int> fail_commits{0};  // that many of the next fail
  std::atomic<int> commits{0};
  std::pair<uint64_t, uint64_t> hash_key_value{0x0706050403020100, 0x0f0e0d0c0b0a0908};
  cow::Quota quota;  // bodies of files alone count
  // Called under the volume's lock after each commit: what a crash right then would leave.
  std::function<void(const FakeVolume&)> after_commit;

 private:
  friend class FakeView;
  friend class FakeTransaction;

  cow::VolumeUsage UsageLocked() const;

  FakeStore& store_;
  mutable std::shared_mutex mutex_;
  Items items_;
  int64_t inodes_ = 0;
  int64_t bytes_ = 0;
  InodeId next_inode_ = kRootInode + 1;
  std::atomic<Lsn> lsn_{0};
  std::atomic<Lsn> durable_{0};
};

// What is wrong with a volume's items, in words; empty if nothing is: link counts, entries and
// parents, directory sizes, sizes and used bytes of bodies, flags, orphans, usage. `usage` false:
// skips the totals.
std::string Verify(const FakeVolume& volume, std::optional<cow::VolumeUsage> usage);

}  // namespace prism::fs::testing
