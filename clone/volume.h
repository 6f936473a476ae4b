// One volume: a tree, its lock, and transactions on it.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <vector>

#include "clone/records.h"
#include "cow/engine.h"
#include "cow/volume_map.h"
#include "fs/base/fair_shared_mutex.h"

namespace prism::clone {

class Catalog;

// THREADS: the VolumeMap methods from any thread. One thread must not have two views or
// transactions of one volume at a time.
class Volume : public cow::VolumeMap, public std::enable_shared_from_this<Volume> {
 public:
  Volume(cow::Engine& engine, Catalog& catalog, VolumeRow row);

  std::unique_ptr<cow::ReadView> Read() override;
  std::unique_ptr<cow::WriteTransaction> Write() override;
  Status WaitDurable(Lsn lsn) override { return engine_.journal().WaitDurable(lsn); }
  Lsn LastLsn() override { return last_lsn_.load(std::memory_order_acquire); }
  cow::VolumeUsage Usage() override;
  bool read_only() const override { return unchanging_ || sealed_.load(std::memory_order_acquire); }
  bool destroyed() const override { return destroyed_.load(std::memory_order_acquire); }
  std::pair<uint64_t, uint64_t> hash_key() const override { return row_.hash_key; }

  VolumeId id() const { return row_.id; }
  // No transaction is under way while this is held, none begins, and reading goes on. Transactions
  // take it first. REQUIRES: whoever holds it needs none itself.
  std::unique_lock<FairSharedMutex> HoldWriters() { return std::unique_lock(writers_); }
  Composition composition();
  cow::NodeId Root();
  uint64_t times_replaced() const { return replaced_.load(std::memory_order_acquire); }
  bool is_snapshot() const { return row_.snapshot_of != 0; }  // never changes

 private:
  friend class Catalog;
  friend class VolumeReadView;
  friend class VolumeTransaction;

  // Applies the mutations. REQUIRES: lock exclusive, gate held, prefaulted; during recovery neither
  // lock is needed.
  void Apply(const ChangeRecord& record, Lsn lsn);
  Status Prefault(const ChangeRecord& record, std::vector<cow::NodePtr>& pins);
  // The row of a clone or snapshot made now, without its own id and name.
  VolumeRow DescendantRow(std::string full_name) const;

  cow::Engine& engine_;
  Catalog& catalog_;
  const bool unchanging_;  // a snapshot, a pin or a part
  const bool is_part_;
  std::atomic<bool> sealed_;  // set once
  FairSharedMutex writers_;   // taken before mutex_, by transactions alone
  FairSharedMutex mutex_;     // the volume's lock
  // Changed with mutex_ and the gate held, so either suffices to read. The name, the parent,
  // `importing` and what keeps it are the catalog's and guarded by its lock.
  VolumeRow row_;
  std::map<std::string, std::shared_ptr<Volume>, std::less<>> snapshots_;  // by label; as the name
  cow::TreeRoot tree_;
  std::atomic<Lsn> last_lsn_{0};
  std::atomic<uint64_t> replaced_{0};  // how often it has been given another tree, or lost totals
  std::atomic<bool> destroyed_{false};
  bool row_changed_ = false;  // guarded by the catalog's changed_mutex_
};

}  // namespace prism::clone
