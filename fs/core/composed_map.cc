#include "fs/core/composed_map.h"

#include <vector>

#include "clone/composition.h"
#include "fs/base/check.h"
#include "fs/core/directory.h"
#include "fs/core/inode_record.h"

namespace prism::fs {

using cow::ItemType;
using cow::Key;
using cow::MakeKey;

// Reads through a view of the own tree, which may be a transaction.
class ComposedReader {
 public:
  ComposedReader(ComposedMap& map, const cow::ReadView& own) : map_(map), own_(own) {}

  Result<bool> Get(Key key, std::string& value) const {
    if (const Err broken = map_.broken_.load(std::memory_order_acquire); broken != Err::kOk)
      return Fail(broken);
    PRISM_ASSIGN(const Origin origin, map_.tree_.Get(own_, key, value));
    if (origin == Origin::kNone) return false;
    if (!map_.IsChecked(key.ino())) return true;
    if (key.type() == ItemType::kInode) return ShowInode(key.ino(), origin, value);
    if (key.type() == ItemType::kParent) return ShowParent(value);
    return true;
  }

  Status Scan(Key first, Key last, FunctionRef<bool(Key, std::string_view)> visitor) const {
    if (const Err broken = map_.broken_.load(std::memory_order_acquire); broken != Err::kOk)
      return Fail(broken);
    if (first.type() != ItemType::kParent || !map_.IsChecked(first.ino()))
      return map_.tree_.Scan(own_, first, last, visitor);
    Status failed;
    PRISM_TRY(map_.tree_.Scan(own_, first, last, [&](Key key, std::string_view value) {
      const Result<bool> shown = ShowParent(value);
      if (!shown) failed = Fail(shown.error());
      return shown && (!*shown || visitor(key, value));
    }));
    return failed;
  }

 private:
  using Origin = GraftedTree::Origin;

  // A parent of damaged bytes is shown: who decodes it says so.
  Result<bool> ShowParent(std::string_view value) const {
    const Result<InodeId> dir = ParentDirectoryIn(value);
    return dir ? IsInside(*dir) : Result<bool>(true);
  }

  Result<bool> ShowInode(InodeId ino, Origin origin, std::string& value) const {
    if (value.size() < kLinksEnd) return true;  // damaged, as above
    const uint32_t nlink = LinksIn(value);
    // Unlinked here, and perhaps held; what was so in a part was nobody's then.
    if (nlink == 0) return origin == Origin::kOwn;
    if (IsDirectoryIn(value) || nlink == 1) return IsInside(ino);
    uint32_t inside = 0;
    PRISM_TRY(Scan(MakeKey(ItemType::kParent, ino), cow::EndKey(ItemType::kParent, ino),
                   [&](Key, std::string_view) {
                     ++inside;
                     return true;
                   }));
    if (inside == 0) return false;
    SetLinksIn(value, inside);
    map_.Remember(ino);
    return true;
  }

  Result<bool> IsInside(InodeId ino) const {
    if (map_.IsKnownInside(ino)) return true;
    std::vector<InodeId> parents;
    PRISM_TRY(map_.tree_.Scan(own_, MakeKey(ItemType::kParent, ino),
                              cow::EndKey(ItemType::kParent, ino),
                              [&](Key, std::string_view value) {
                                if (const auto dir = ParentDirectoryIn(value))
                                  parents.push_back(*dir);
                                return true;
                              }));
    for (const InodeId dir : parents) {
      PRISM_ASSIGN(const bool inside, LeadsToRoot(dir));
      if (!inside) continue;
      map_.Remember(ino);
      return true;
    }
    return false;
  }

  Result<bool> LeadsToRoot(InodeId dir) const {
    std::vector<InodeId> way;
    std::string value;
    while (!map_.IsKnownInside(dir)) {
      // As IsWithin: damage must not loop forever.
      if (way.size() == (size_t{1} << 20)) return Fail(Err::kCorrupt);
      way.push_back(dir);
      PRISM_ASSIGN(const Origin origin,
                   map_.tree_.Get(own_, MakeKey(ItemType::kParent, dir), value));
      if (origin == Origin::kNone) return false;
      PRISM_ASSIGN(dir, ParentDirectoryIn(value));
    }
    for (const InodeId step : way) map_.Remember(step);
    return true;
  }

  ComposedMap& map_;
  const cow::ReadView& own_;
};

class ComposedView : public cow::ReadView {
 public:
  ComposedView(ComposedMap& map, std::unique_ptr<cow::ReadView> own)
      : own_(std::move(own)), reader_(map, *own_) {}
  Result<bool> Get(Key key, std::string& value) const override { return reader_.Get(key, value); }
  Status Scan(Key first, Key last,
              FunctionRef<bool(Key, std::string_view)> visitor) const override {
    return reader_.Scan(first, last, visitor);
  }

  cow::VolumeUsage Usage() const override { return own_->Usage(); }

 private:
  const std::unique_ptr<cow::ReadView> own_;
  const ComposedReader reader_;
};

class ComposedTransaction : public cow::WriteTransaction {
 public:
  ComposedTransaction(ComposedMap& map, std::unique_ptr<cow::WriteTransaction> own, bool anything)
      : map_(map), anything_(anything), own_(std::move(own)), reader_(map, *own_) {}

  Result<bool> Get(Key key, std::string& value) const override { return reader_.Get(key, value); }
  Status Scan(Key first, Key last,
              FunctionRef<bool(Key, std::string_view)> visitor) const override {
    return reader_.Scan(first, last, visitor);
  }

  void Put(Key key, std::string value) override {
    PRISM_CHECK(!value.empty() || map_.tree_.Find(key) == nullptr);
    CheckWritable(key);
    own_->Put(key, std::move(value));
  }

  // What only the own tree has goes; of what a part has it must say so.
  void Erase(Key key) override {
    CheckWritable(key);
    const GraftedTree::Graft* graft = map_.tree_.Find(key);
    std::string value;
    const Result<bool> below =
        graft == nullptr ? Result<bool>(false) : GraftedTree::GetInPart(*graft, key, value);
    if (!below) {
      failed_ = Fail(below.error());
    } else if (*below) {
      own_->Put(key, {});
    } else {
      own_->Erase(key);
    }
  }

  void EraseRange(Key first, Key last) override {
    CheckWritable(first);
    own_->EraseRange(first, last);
    const GraftedTree::Graft* graft = map_.tree_.Find(first);
    if (graft == nullptr) return;
    const Status scanned =
        GraftedTree::ScanInPart(*graft, first, last, [&](Key key, std::string_view) {
          own_->Put(key, {});
          return true;
        });
    if (!scanned) failed_ = scanned;
  }

  InodeId AllocateInode() override {
    const InodeId ino = own_->AllocateInode();
    if (ino > clone::kNumberMax) failed_ = Fail(Err::kNoSpace);
    return ino;
  }
  void AddUsage(int64_t inodes, int64_t bytes) override { own_->AddUsage(inodes, bytes); }
  cow::VolumeUsage Usage() const override { return own_->Usage(); }
  Result<Lsn> Commit() override {
    PRISM_TRY(failed_);
    return own_->Commit();
  }

 private:
  void CheckWritable(Key key) {
    const GraftedTree::Graft* graft = map_.tree_.Find(key.ino());
    if (graft != nullptr && graft->read_only && !anything_) failed_ = Fail(Err::kReadOnly);
  }

  ComposedMap& map_;
  const bool anything_;
  const std::unique_ptr<cow::WriteTransaction> own_;
  const ComposedReader reader_;
  Status failed_;  // told by Commit
};

std::unique_ptr<cow::ReadView> ComposedMap::Read() {
  return std::make_unique<ComposedView>(*this, own_->Read());
}

std::unique_ptr<cow::WriteTransaction> ComposedMap::Begin(bool anything) {
  return std::make_unique<ComposedTransaction>(*this, own_->Write(), anything);
}

bool ComposedMap::read_only(InodeId ino) const {
  const GraftedTree::Graft* graft = tree_.Find(ino);
  return own_->read_only() || (graft != nullptr && graft->read_only);
}

std::pair<uint64_t, uint64_t> ComposedMap::hash_key(InodeId ino) const {
  const GraftedTree::Graft* graft = tree_.Find(ino);
  return graft == nullptr ? own_->hash_key() : GraftedTree::HashKeyIn(*graft, ino);
}

void ComposedMap::ForgetInside() {
  for (std::atomic<InodeId>& slot : inside_) slot.store(0, std::memory_order_relaxed);
}

}  // namespace prism::fs
