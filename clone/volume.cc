#include "clone/volume.h"

#include <algorithm>

#include "clone/catalog.h"
#include "fs/base/check.h"

namespace prism::clone {

using cow::Key;

class VolumeReadView : public cow::ReadView {
 public:
  // A part never changes, and goes only when nobody can look at it any more, who all do so under
  // locks of their own (clone/composition.h).
  explicit VolumeReadView(std::shared_ptr<Volume> volume, bool locked)
      : volume_(std::move(volume)) {
    if (locked) lock_ = std::shared_lock(volume_->mutex_);
  }

  Result<bool> Get(Key key, std::string& value) const override {
    if (volume_->destroyed()) return Fail(Err::kStale);
    return volume_->engine_.forest().Get(volume_->tree_.node, key, value);
  }
  Status Scan(Key first, Key last,
              FunctionRef<bool(Key, std::string_view)> visitor) const override {
    if (volume_->destroyed()) return Fail(Err::kStale);
    return volume_->engine_.forest().Scan(volume_->tree_.node, first, last, visitor);
  }
  cow::VolumeUsage Usage() const override { return volume_->row_.Usage(); }

 private:
  std::shared_ptr<Volume> volume_;
  std::shared_lock<FairSharedMutex> lock_;
};

// Keeps its changes aside until Commit: puts and erasures by key, ranges apart.
class VolumeTransaction : public cow::WriteTransaction {
 public:
  explicit VolumeTransaction(std::shared_ptr<Volume> volume)
      : volume_(std::move(volume)),
        admitted_(volume_->engine_.Admit()),
        writers_lock_(volume_->writers_),
        lock_(volume_->mutex_),
        next_ino_(volume_->row_.next_ino) {}

  Result<bool> Get(Key key, std::string& value) const override {
    if (volume_->destroyed()) return Fail(Err::kStale);
    auto it = std::lower_bound(pending_.begin(), pending_.end(), key, Before);
    if (it != pending_.end() && it->key == key) {
      if (it->kind == Mutation::Kind::kErase) return false;
      value = it->value;
      return true;
    }
    if (InErasedRange(key)) return false;
    return volume_->engine_.forest().Get(volume_->tree_.node, key, value);
  }

  Status Scan(Key first, Key last,
              FunctionRef<bool(Key, std::string_view)> visitor) const override {
    if (volume_->destroyed()) return Fail(Err::kStale);
    auto next = std::lower_bound(pending_.begin(), pending_.end(), first, Before);
    bool stopped = false;
    // Pending puts below `limit` come before the tree's next item.
    auto visit_pending = [&](Key limit) {
      for (; !stopped && next != pending_.end() && next->key < limit; ++next)
        if (next->kind == Mutation::Kind::kPut) stopped = !visitor(next->key, next->value);
    };
    PRISM_TRY(volume_->engine_.forest().Scan(
        volume_->tree_.node, first, last, [&](Key key, std::string_view value) {
          visit_pending(key);
          if (stopped) return false;
          bool replaced = next != pending_.end() && next->key == key;
          if (replaced || InErasedRange(key)) return true;
          stopped = !visitor(key, value);
          return !stopped;
        }));
    visit_pending(last);
    return {};
  }

  cow::VolumeUsage Usage() const override { return volume_->row_.Usage(); }

  void Put(Key key, std::string value) override {
    PRISM_CHECK(value.size() <= cow::kValueMax);
    Set({Mutation::Kind::kPut, key, {}, std::move(value)});
  }
  void Erase(Key key) override { Set({Mutation::Kind::kErase, key, {}, {}}); }
  void EraseRange(Key first, Key last) override {
    ranges_.push_back({Mutation::Kind::kEraseRange, first, last, {}});
  }
  InodeId AllocateInode() override { return next_ino_++; }
  void AddUsage(int64_t inodes, int64_t bytes) override {
    inodes_delta_ += inodes;
    bytes_delta_ += bytes;
  }

  Result<Lsn> Commit() override {
    PRISM_CHECK(lock_.owns_lock());
    Result<Lsn> lsn = CommitLocked();
    lock_.unlock();
    writers_lock_.unlock();
    return lsn;
  }

 private:
  static bool Before(const Mutation& mutation, Key key) { return mutation.key < key; }

  void Set(Mutation mutation) {
    auto it = std::lower_bound(pending_.begin(), pending_.end(), mutation.key, Before);
    if (it != pending_.end() && it->key == mutation.key)
      *it = std::move(mutation);
    else
      pending_.insert(it, std::move(mutation));
  }

  bool InErasedRange(Key key) const {
    for (const Mutation& range : ranges_)
      if (!(key < range.key) && key < range.last) return true;
    return false;
  }

  Result<Lsn> CommitLocked() {
    cow::Engine& engine = volume_->engine_;
    if (volume_->destroyed()) return Fail(Err::kStale);
    if (pending_.empty() && ranges_.empty()) return Lsn{0};
    if (!admitted_) return Fail(admitted_.error());
    if (volume_->sealed_) return Fail(Err::kReadOnly);  // sealed since the operation began
    bool grows = inodes_delta_ > 0 || bytes_delta_ > 0;
    if (grows && engine.chunks().FreeBytes() == 0) return Fail(Err::kNoSpace);
    ChangeRecord record;
    record.volume = volume_->id();
    record.next_ino = next_ino_;
    record.inodes_delta = inodes_delta_;
    record.bytes_delta = bytes_delta_;
    record.mutations = std::move(ranges_);
    std::move(pending_.begin(), pending_.end(), std::back_inserter(record.mutations));
    std::vector<cow::NodePtr> pins;
    PRISM_TRY(volume_->Prefault(record, pins));
    std::string payload = record.Encode();
    std::shared_lock gate(engine.gate());
    Lsn lsn = engine.journal().Append(payload);
    volume_->Apply(record, lsn);
    return lsn;
  }

  std::shared_ptr<Volume> volume_;
  Status admitted_;  // asked before the lock is taken: it may wait for a checkpoint
  std::shared_lock<FairSharedMutex> writers_lock_;
  std::unique_lock<FairSharedMutex> lock_;
  std::vector<Mutation> pending_;  // by key
  std::vector<Mutation> ranges_;
  InodeId next_ino_;
  int64_t inodes_delta_ = 0;
  int64_t bytes_delta_ = 0;
};

Volume::Volume(cow::Engine& engine, Catalog& catalog, VolumeRow row)
    : engine_(engine),
      catalog_(catalog),
      unchanging_(row.snapshot_of != 0 || IsUnchanging(row.name)),
      is_part_(IsPart(row.name)),
      sealed_(row.sealed),
      row_(std::move(row)) {
  tree_.volume = row_.id;
  tree_.node = row_.root;
  tree_.own_from = row_.own_from;
  tree_.usage = row_.usage;
}

std::unique_ptr<cow::ReadView> Volume::Read() {
  return std::make_unique<VolumeReadView>(shared_from_this(), !is_part_);
}

std::unique_ptr<cow::WriteTransaction> Volume::Write() {
  return std::make_unique<VolumeTransaction>(shared_from_this());
}

cow::VolumeUsage Volume::Usage() {
  std::shared_lock lock(mutex_);
  return row_.Usage();
}

Composition Volume::composition() {
  std::shared_lock lock(mutex_);
  return row_.composition;
}

cow::NodeId Volume::Root() {
  std::shared_lock lock(mutex_);
  return tree_.node;
}

VolumeRow Volume::DescendantRow(std::string full_name) const {
  VolumeRow row = row_;
  row.parent = std::move(full_name);
  row.parent_id = row_.id;
  row.snapshot_of = 0;
  row.expires_sec = 0;
  row.holds.clear();
  row.sealed = row.flushed = false;
  row.past = LineageUntilNow(row_);
  row.line = 0;
  row.changed = 0;
  return row;
}

Status Volume::Prefault(const ChangeRecord& record, std::vector<cow::NodePtr>& pins) {
  for (const Mutation& mutation : record.mutations) {
    if (mutation.kind == Mutation::Kind::kEraseRange)
      PRISM_TRY(engine_.forest().PrefaultRange(tree_.node, mutation.key, mutation.last, pins));
    else
      PRISM_TRY(engine_.forest().Prefault(tree_.node, mutation.key, pins));
  }
  return {};
}

void Volume::Apply(const ChangeRecord& record, Lsn lsn) {
  cow::Forest& forest = engine_.forest();
  for (const Mutation& mutation : record.mutations) {
    switch (mutation.kind) {
      case Mutation::Kind::kPut:
        forest.Put(tree_, mutation.key, mutation.value);
        break;
      case Mutation::Kind::kErase:
        forest.Erase(tree_, mutation.key);
        break;
      case Mutation::Kind::kEraseRange:
        forest.EraseRange(tree_, mutation.key, mutation.last);
        break;
    }
  }
  row_.root = tree_.node;
  row_.usage = tree_.usage;
  row_.next_ino = std::max(row_.next_ino, record.next_ino);
  row_.inodes += static_cast<uint64_t>(record.inodes_delta);
  row_.bytes += static_cast<uint64_t>(record.bytes_delta);
  row_.changed = lsn;
  last_lsn_.store(lsn, std::memory_order_release);
  catalog_.MarkChanged(*this);
}

}  // namespace prism::clone
